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
	p := Page{ID: id, Reference: "S4mpl3Rf", Back: "https://lms.example/course/7"}
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
		p.Checks = []Check{{CheckOK, "the platform recognises the tool", "", ""}, {CheckNote, "a note", "look at it", "tool administrator"}, {CheckFailed, "sample failure", "mend it", "platform administrator"}}
		musts = append(musts, must{"the registration", "sample-registration"}, must{"what was found", "sample failure"}, must{"the button that ends it", `id="done"`})
	case "registration_dry_run":
		p.Document, p.Checks = "{\n  \"sample_document\": true\n}", []Check{{CheckNote, "sample note", "", ""}}
		musts = append(musts, must{"the document", "sample_document"}, must{"what was found", "sample note"})
	case "inspection_waiting", "inspection_running":
		p.Course, p.Refresh = "lms → tool.example", 3
	case "inspection_passed", "inspection_failed":
		p.Checks = []Check{{CheckOK, "sample step", "", ""}, {CheckFailed, "sample failure", "mend it", "tool administrator"}, {CheckOpen, "not reached", "", ""}}
		p.Document = "sample_document"
		musts = append(musts, must{"what was found", "sample failure"}, must{"the document", "sample_document"})
	case "grades":
		p.Course, p.Next = "SMPL-101", "/lti/grades?after=sample"
		now := time.Date(2026, 11, 25, 13, 7, 0, 0, time.UTC)
		p.Scores = []Score{
			{When: now, Learner: "Zoë Yamada", Activity: "Quiz 7", Given: &one, Most: &two, State: "state_delivered"},
			{When: now, Learner: "u-17", State: "state_queued"},
			{When: now, Learner: "u-18", State: "state_replaced"},
			{When: now, Learner: "u-19", State: "state_skipped", Reason: "sample reason"},
			{When: now, Learner: "u-20", Given: &one, Most: &two, State: "state_dead", Reason: "no access", Resend: sampleForm()},
		}
		musts = append(musts, mustPost...)
		musts = append(musts, must{"who it is about", "Zoë Yamada"}, must{"why it was", "sample reason"}, must{"where older scores are", "after=sample"})
	case "deep_link_refused", "registration_failed", "registration_refused":
		p.Notes = []string{"sample note: /content_items/0/url"}
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
