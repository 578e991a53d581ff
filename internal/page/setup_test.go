package page

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var addresses = map[string]string{
	"target": "https://tool.example/", "login": "https://tool.example/lti/login", "redirect": "https://tool.example/lti/launch",
	"redirects": `["https://tool.example/lti/launch"]`, "jwks": "https://tool.example/lti/jwks.json", "links": "https://tool.example/pick",
	"config": "https://tool.example/lti/config.json", "domain": "tool.example", "origin": "https://tool.example",
	"custom": "course=$Context.id\nlevel=1", "customs": `["course=$Context.id","level=1"]`,
}

// What setup.json says can all be shown: nothing is misspelt, and each platform is
// told all that a launch needs.
func TestSetupGuides(t *testing.T) {
	var own []LMS
	dec := json.NewDecoder(bytes.NewReader(setupJSON))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&own); err != nil {
		t.Fatal(err)
	}
	r := newRenderer(t)
	word := func(id string) {
		if r.English().Word(id) == "" {
			t.Errorf("there is no word %s", id)
		}
	}
	var ids []string
	for _, l := range own {
		ids = append(ids, l.ID)
		if l.ID == "" || (l.Name == "") != (l.ID == "another") || len(l.Lines) == 0 {
			t.Errorf("%+v", l)
		}
		for _, f := range l.Forms {
			if (f.Where == "") != (l.Name == "") {
				t.Errorf("%s: a form is nowhere", l.ID)
			}
			for _, f := range f.Fields {
				ways := 0
				for _, s := range []string{f.Address, f.Text, f.Do} {
					if s != "" {
						ways++
					}
				}
				if ways != 1 {
					t.Errorf("%s: %s is filled in %d ways", l.ID, f.Label, ways)
				}
				if f.Address != "" && addresses[f.Address] == "" {
					t.Errorf("%s: there is no address %s", l.ID, f.Address)
				}
				if f.Do != "" {
					word("setup_do_" + f.Do)
					if f.Otherwise != "" {
						word("setup_do_" + f.Otherwise)
					}
				}
				if f.Label == "" {
					word(f.Address + "_label")
					word(f.Address + "_help")
				}
				if all := (&Uses{true, true, true, true, true}); !all.has(f.When) {
					t.Errorf("%s: a tool never uses %s", l.ID, f.When)
				}
			}
		}
		for _, v := range l.Gives {
			if v.Label == "" {
				word("setup_give_" + v.Option)
			}
			// Whatever is to be written in the Caddyfile stands in its lines.
			if got := strings.Contains("\n"+strings.Join(l.Lines, "\n"), "\n"+v.Option+" "); got == v.Preset {
				t.Errorf("%s: %s is known to the preset: %v, in the lines: %v", l.ID, v.Option, v.Preset, got)
			}
		}
	}
	if !slices.Equal(ids, []string{"moodle", "canvas", "blackboard", "brightspace", "sakai", "schoology", "openedx", "another"}) {
		t.Errorf("platforms %q", ids)
	}
	if guides, err := Guides(map[string]string{"login": "https://tool.example/lti/login"}, Uses{}); err != nil || len(guides[7].Forms[0].Fields) != 1 {
		t.Errorf("what a tool does not have is asked for: %+v, %v", guides[7], err)
	}
	for _, uses := range []Uses{{}, {true, true, true, true, true}} {
		guides, err := Guides(addresses, uses)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range guides {
			values := make(map[string]bool)
			for _, f := range l.Forms {
				for _, f := range f.Fields {
					values[f.Value] = true
				}
			}
			if l.ID == "canvas" {
				if !values[addresses["config"]] || !values[addresses["redirect"]] {
					t.Errorf("%s: %v", l.ID, values)
				}
				continue
			}
			if !values[addresses["custom"]] && !values[addresses["customs"]] {
				t.Errorf("%s is not told the custom parameters", l.ID)
			}
			for _, need := range []string{"login", "jwks"} {
				if !values[addresses[need]] {
					t.Errorf("%s with %+v is not told %s", l.ID, uses, need)
				}
			}
			if !values[addresses["redirect"]] && !values[addresses["redirects"]] {
				t.Errorf("%s with %+v is not told where messages go", l.ID, uses)
			}
		}
	}
}

// A tool that uses nothing is not given anything, and says so where the platform
// would give it without being asked.
func TestSetupNeeds(t *testing.T) {
	fields := func(id string, uses Uses) map[string]string {
		guides, err := Guides(addresses, uses)
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[string]string)
		for _, l := range guides {
			if l.ID != id {
				continue
			}
			for _, f := range l.Forms {
				for _, f := range f.Fields {
					found[f.Label] = f.Value + f.Text + f.Do
				}
			}
		}
		return found
	}
	for _, tc := range []struct {
		id, label string
		uses      Uses
		want      string
	}{
		{"moodle", "Share launcher's name with tool", Uses{}, "Never"},
		{"moodle", "Share launcher's name with tool", Uses{Name: true}, "Always"},
		{"moodle", "Share launcher's email with tool", Uses{Name: true}, "Never"},
		{"moodle", "Share launcher's email with tool", Uses{Email: true}, "Always"},
		{"moodle", "Content Selection URL", Uses{}, ""},
		{"moodle", "Content Selection URL", Uses{Links: true}, "https://tool.example/pick"},
		{"moodle", "IMS LTI Names and Role Provisioning", Uses{Scores: true}, ""},
		{"moodle", "Accept grades from the tool", Uses{Scores: true}, "Always"},
		{"brightspace", "Extensions: Deep Linking", Uses{}, "leave"},
		{"brightspace", "Extensions: Deep Linking", Uses{Links: true}, "tick"},
		{"blackboard", "Type", Uses{}, "Course content tool"},
		{"blackboard", "Allow Membership Service Access", Uses{Roster: true}, "Yes"},
	} {
		if got := fields(tc.id, tc.uses)[tc.label]; got != tc.want {
			t.Errorf("%s, %+v: %s: %q, want %q", tc.id, tc.uses, tc.label, got, tc.want)
		}
	}
}

func TestSetupPage(t *testing.T) {
	r := newRenderer(t)
	const evil = `</pre><script>alert(1)</script>"`
	at := map[string]string{}
	for id := range addresses {
		at[id] = "https://tool.example/" + id + evil
	}
	guides, err := Guides(at, Uses{true, true, true, true, true})
	if err != nil {
		t.Fatal(err)
	}
	res, body := render(t, r, Page{ID: "index", Setup: &Setup{Guides: guides, Link: true, JSON: evil}})
	if strings.Count(body, "<script") != 1 || strings.Contains(body, "<script>alert") {
		t.Error("an address or the JSON was not escaped")
	}
	if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'sha256-") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
	// Each button copies something that is there, and says what.
	ids := make(map[string]int)
	for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(body, -1) {
		ids[m[1]]++
	}
	for id, n := range ids {
		if n != 1 {
			t.Errorf("%d elements have the id %s", n, id)
		}
	}
	buttons := regexp.MustCompile(`<button type="button" class="copy" data-of="([^"]+)" aria-label="Copy: [^"]+" hidden>Copy</button>`).FindAllStringSubmatch(body, -1)
	for _, m := range buttons {
		if ids[m[1]] == 0 {
			t.Errorf("a button copies %s, which is not there", m[1])
		}
	}
	if n := strings.Count(body, "<button"); n != len(buttons) || n < 40 {
		t.Errorf("%d buttons, of which %d copy", n, len(buttons))
	}
	if strings.Contains(body, "%!") {
		t.Error("a word was not filled in")
	}
	for _, open := range []string{"details", "summary", "dl", "dt", "dd", "div", "p", "pre", "code", "h2", "h3"} {
		if a, b := strings.Count(body, "<"+open+">")+strings.Count(body, "<"+open+" "), strings.Count(body, "</"+open+">"); a != b {
			t.Errorf("<%s> is opened %d times and closed %d times", open, a, b)
		}
	}
	if _, body := render(t, r, Page{ID: "index", Setup: &Setup{Guides: guides}}); strings.Contains(body, r.English().Word("setup_link")) {
		t.Error("a site without registration speaks of a link")
	}
}
