package page

import (
	"slices"
	"time"
)

// sample is a page as it may come, to try templates with.
type sample struct {
	Page
	musts []must
}

// must is what a page may not leave out.
type must struct{ what, text string }

// Samples are all pages as they may come, with all that may be on them.
func (l *Language) Samples() []Page {
	var all []Page
	for _, s := range l.samples() {
		all = append(all, s.Page)
	}
	return all
}

// samples are all pages, each with all that may be on it.
func (l *Language) samples() []sample {
	var all []sample
	for id := range l.texts.Pages {
		all = append(all, l.samplesOf(id)...)
	}
	slices.SortStableFunc(all, func(a, b sample) int {
		switch {
		case a.ID < b.ID:
			return -1
		case a.ID > b.ID:
			return 1
		}
		return 0
	})
	return all
}

const (
	sampleAction = "https://lms.example/sample/action"
	sampleTicket = "sample-ticket"
)

func sampleForm() *Form {
	return &Form{Action: sampleAction, Values: []Value{{"sample", sampleTicket}}}
}

var mustPost = []must{{"the address that a form is posted to", sampleAction}, {"a value that a form posts", sampleTicket}}

// samplesOf returns the page in the forms that it comes in.
func (l *Language) samplesOf(id string) []sample {
	p := Page{ID: id, Reference: "Zx4mQ9_k", Back: "https://lms.example/course/7"}
	text := l.texts.Pages[id]
	musts := []must{{"the title", text.Title}, {"the reference", p.Reference}, {"the way back", p.Back}}
	own := l.r.own[id] != nil // whose words may be others
	if own {
		musts = musts[1:]
	}
	one, two := 8.5, 10.0
	switch id {
	case "index":
		p.Setup = sampleSetup()
		musts = append(musts, must{"an address to be copied", "https://tool.example/sample/login"}, must{"the registration by a link", l.Word("setup_link_help")},
			must{"the lines for the Caddyfile", "CLIENT-ID"}, must{"the JSON for Canvas", "sample_json"}, must{"the element with the id said", `id="said"`})
	case "registered", "registered_pending":
		p.Course, p.Done = "lms.example", DoneButton
		p.Fields = []Field{{l.Word("registered_name"), "", "lms-example-1a2b3c"}, {l.Word("registered_id"), "", "sample-registration"}}
		p.Checks = []Check{
			{CheckOK, "keys that can be used: 2, for RS256", "", ""},
			{CheckNote, "the platform gives the tool no token yet", "activate the tool in the platform", "platform administrator"},
			{CheckFailed, "login: nobody listens at lms.example", "start the web server, or open its port", "platform administrator"},
		}
		musts = append(musts, must{"the registration", "sample-registration"}, must{"what was found", "nobody listens at lms.example"}, must{"the button that ends it", `id="done"`})
	case "registration_dry_run":
		p.Document = "{\n  \"application_type\": \"web\",\n  \"client_name\": \"tool.example\"\n}"
		p.Checks = []Check{{CheckNote, "the platform does not offer rosters", "", ""}}
		musts = append(musts, must{"the document", "application_type"}, must{"what was found", "does not offer rosters"})
	case "inspection_waiting", "inspection_running":
		p.Course, p.Refresh = "lms → tool.example", 3
	case "inspection_passed", "inspection_failed":
		p.Course = "lms → https://tool.example/lti"
		p.Checks = []Check{
			{CheckOK, "The state was made by this site, less than ten minutes ago.", "", ""},
			{CheckFailed, "The deployment is known here, and the one of the login.", "deployment_unknown: “7” (LTI 1.3 §3.1.3)", "administrator of the tool"},
			{CheckOpen, "It says who this is, and in which roles.", "", ""},
		}
		p.Document = "POST /lti/launch\n  state = ‹412 characters›\n  id_token = ‹1380 characters›"
		musts = append(musts, must{"what was found", "deployment_unknown"}, must{"the document", "1380 characters"})
	case "grades":
		p.Course, p.Next = "SMPL-101", "/lti/grades?after=sample"
		now := time.Date(2026, 11, 25, 13, 7, 0, 0, time.UTC)
		p.Scores = []Score{
			{When: now, Learner: "Zoë Yamada", Activity: "Quiz 7", Given: &one, Most: &two, State: "state_delivered"},
			{When: now.Add(-time.Hour), Learner: "u-17", Activity: "Quiz 7", Given: &two, Most: &two, State: "state_queued"},
			{When: now.Add(-2 * time.Hour), Learner: "u-18", Activity: "Quiz 7", Given: &one, Most: &two, State: "state_replaced"},
			{When: now.Add(-3 * time.Hour), Learner: "u-19", State: "state_skipped", Reason: "the platform takes no score of this person"},
			{When: now.Add(-4 * time.Hour), Learner: "u-20", Activity: "Quiz 6", Given: &one, Most: &two, State: "state_dead", Reason: "the platform refused it: 403", Resend: sampleForm()},
		}
		musts = append(musts, mustPost...)
		musts = append(musts, must{"who it is about", "Zoë Yamada"}, must{"why it was", "takes no score of this person"}, must{"where older scores are", "after=sample"})
	case "deep_link_refused", "registration_failed", "registration_refused":
		p.Notes = []string{"content_items[0].url: https://elsewhere.example is not a page of this site"}
		musts = append(musts, must{"what is wrong", p.Notes[0]})
	case "picked":
		p.Post = sampleForm()
		musts = append(musts, mustPost...)
		musts = append(musts, must{"the form with the id post", `id="post"`})
	case "picker":
		return l.pickers(&p, musts)
	case "new_window", "storage_failed":
		p.Window = sampleForm()
		musts = append(musts, mustPost...)
		asking := p
		asking.Exchange = &Exchange{Origin: "https://lms.example", Frame: "_parent", Key: "sample-key", Value: "sample-value", Next: "https://lms.example/auth"}
		asked := append(slices.Clone(musts), must{"the question to the platform's storage", "sample-key"}, must{"the element with the id wait", `id="wait"`})
		if id == "storage_failed" {
			asking.Exchange.Value, asking.Exchange.Next, asking.Exchange.Proof = "", "", &Form{Action: "/lti/launch", Values: []Value{{"state", "sample-state"}}}
			asked = append(asked, must{"the form with the id proof", `id="proof"`}, must{"a value that a form posts", "sample-state"})
		}
		return []sample{{p, musts}, {asking, asked}}
	case "state_cookie_missing", "state_cookie_mismatch", "nonce_reused", "platform_login_required_frame", "platform_launch_expired", "state_expired", "token_expired":
		p.Window = sampleForm()
		musts = append(musts, mustPost...)
	}
	return []sample{{p, musts}}
}

// sampleSetup has all guides with all fields.
func sampleSetup() *Setup {
	addresses := make(map[string]string)
	for _, name := range []string{"target", "login", "redirect", "redirects", "jwks", "links", "config", "domain", "origin", "custom", "customs"} {
		addresses[name] = "https://tool.example/sample/" + name
	}
	guides, err := Guides(addresses, Uses{true, true, true, true, true})
	if err != nil {
		panic(err) // it is embedded
	}
	return &Setup{Guides: guides, Link: true, JSON: `{"sample_json": true}`}
}

func (l *Language) pickers(p *Page, musts []must) []sample {
	with := func(pk *Picker, more ...must) sample {
		pk.Action, pk.Answer = "/lti/pick?sample", "/lti/deeplink?sample"
		out := *p
		out.Picker = pk
		return sample{out, append(append(slices.Clone(musts),
			must{"the form with the id picker", `id="picker"`}, must{"where the list is asked for", pk.Action}, must{"where the choice goes", pk.Answer}), more...)}
	}
	return []sample{
		with(&Picker{
			Query: "tide", From: 20, Total: 61, Earlier: 0, Later: 40, Multiple: true, Points: true, Incomplete: true, Gone: true,
			Results: []Choice{
				{ID: "sample-a", Title: "Tides", Text: "Ebb and flow", Image: "/tides.png", Where: "/ch1/tides.html", Chosen: true},
				{ID: "sample-b", Title: "Quiz", Where: "/quiz.html"},
			},
			Chosen: []Chosen{{ID: "sample-a", Title: "Tides", Where: "/ch1/tides.html", Points: "x", Wrong: true}, {ID: "sample-c", Title: "Reef", Where: "/reef.html", Points: "12.5"}},
		}, must{"something to choose", "sample-b"}, must{"something that was chosen", "sample-c"}),
		with(&Picker{Earlier: -1, Later: -1}),
		with(&Picker{Earlier: -1, Later: -1, Slow: true, Multiple: true}),
	}
}
