package caddylti

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/page"
	"github.com/caddy-lti/lti/lti"
)

// lmsGuides returns the text of the guide to each platform, by its id.
func lmsGuides(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("../docs/lms/*.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, name := range names {
		if id := strings.TrimSuffix(filepath.Base(name), ".md"); id != "README" {
			all[id] = readFile(t, name)
		}
	}
	if len(all) != 7 {
		t.Fatalf("%d guides", len(all))
	}
	return all
}

// lmsForms writes, as Markdown, what the set-up page shows of a platform for a tool
// that uses everything.
func lmsForms(t *testing.T, id string) string {
	t.Helper()
	h := &Handler{
		Base: "/lti", Home: "/", Headers: "standard", API: new(API), Items: new(Items),
		Registration: &Registration{custom: map[string]string{"chapter": "7"}},
	}
	setup, err := h.setup("https://tool.example.edu")
	if err != nil {
		t.Fatal(err)
	}
	var texts struct{ Words map[string]string }
	if err := json.Unmarshal([]byte(readFile(t, "../internal/page/texts/en.json")), &texts); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(setup.Guides, func(l page.LMS) bool { return l.ID == id })
	if i < 0 {
		t.Fatalf("the set-up page does not have %s", id)
	}
	l := setup.Guides[i]
	needs := map[string]string{
		"links": "`items`, `deep_linking`", "scores": "`grade`, `api`", "roster": "`grade`, `api`, `roster`",
		"name": "`headers standard` or `full`", "email": "`headers standard` or `full`",
	}
	var b strings.Builder
	for _, f := range l.Forms {
		fmt.Fprintf(&b, "**%s**\n\n| field | enter | for |\n|---|---|---|\n", f.Where)
		for _, f := range f.Fields {
			enter := f.Text
			switch {
			case f.Value != "":
				enter = "`" + strings.ReplaceAll(f.Value, "\n", "`, `") + "`"
			case f.Do != "":
				enter = texts.Words["setup_do_"+f.Do]
			}
			need := needs[f.When]
			switch {
			case strings.HasPrefix(f.Address, "custom"):
				need = "`registration` with `custom`"
			case f.When != "" && f.Otherwise == "leave":
				need += "; else " + texts.Words["setup_do_leave"]
			case f.When != "" && f.Otherwise != "":
				need += "; else " + f.Otherwise
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", f.Label, enter, cmp.Or(need, "always"))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "**%s**\n\n| it shows | in the Caddyfile |\n|---|---|\n", l.Shown)
	for _, v := range l.Gives {
		if v.Preset {
			fmt.Fprintf(&b, "| %s | the preset has it |\n", v.Label)
		} else {
			fmt.Fprintf(&b, "| %s | `%s` |\n", v.Label, v.Option)
		}
	}
	return b.String()
}

// Guides and set-up page say the same of the platforms' forms.
func TestLMSGuidesHaveTheForms(t *testing.T) {
	for id, text := range lmsGuides(t) {
		if forms := lmsForms(t, id); !strings.Contains(text, "\n"+forms) {
			t.Errorf("docs/lms/%s.md does not have what the set-up page shows:\n%s", id, forms)
		}
	}
}

// adaptedPlatforms are the platforms of all blocks of a Caddyfile.
func adaptedPlatforms(t *testing.T, source string) []*Platform {
	t.Helper()
	out, _, err := adaptCaddyfile(source)
	if err != nil {
		t.Fatal(err)
	}
	var found []*Platform
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, v := range v {
				walk(v)
			}
		case map[string]any:
			if v["handler"] == "lti" {
				data, err := json.Marshal(v["platforms"])
				if err != nil {
					t.Fatal(err)
				}
				var here []*Platform
				if err := json.Unmarshal(data, &here); err != nil {
					t.Fatal(err)
				}
				found = append(found, here...)
			}
			for _, v := range v {
				walk(v)
			}
		}
	}
	var config any
	if err := json.Unmarshal(out, &config); err != nil {
		t.Fatal(err)
	}
	walk(config)
	return found
}

// The first Caddyfile of each guide has the platform with its preset, which comes
// to what the guide's table of endpoints says. With a registration link, another
// one needs no platform.
func TestLMSGuidesHaveTheEndpoints(t *testing.T) {
	t.Setenv("LTI_INVITE", "c0ffee0123456789abcdef0123456789")
	for id, text := range lmsGuides(t) {
		blocks := regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$").FindAllStringSubmatch(text, -1)
		if len(blocks) == 0 {
			t.Errorf("%s: no Caddyfile", id)
			continue
		}
		platforms := adaptedPlatforms(t, blocks[0][1])
		if len(platforms) == 0 || platforms[0].Preset != id {
			t.Errorf("%s: the first Caddyfile has no platform with the preset", id)
			continue
		}
		p := platforms[0]
		if err := p.resolve(); err != nil {
			t.Fatal(id, err)
		}
		r := p.registration
		want := map[string]string{
			"issuer": r.Issuer, "auth_url": r.AuthURL, "jwks_url": p.keysURL, "user_scope": string(r.UserScope),
			"token_url": p.service.TokenURL, "token_audience": cmp.Or(p.service.Audience, p.service.TokenURL),
		}
		_, table, _ := strings.Cut(text, "\n| option | comes to |\n|---|---|\n")
		table, _, _ = strings.Cut(table, "\n\n")
		got := make(map[string]string)
		for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| `([^`]+)` \\|$").FindAllStringSubmatch(table, -1) {
			got[m[1]] = m[2]
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: the table of endpoints has\n%v, the Caddyfile comes to\n%v", id, got, want)
		}
		guide := lmsGuide(t, id)
		if links := strings.Contains(text, "/lti/register"); links != (guide.Link != "") {
			t.Errorf("%s: a registration link in the guide: %v, on the set-up page: %q", id, links, guide.Link)
		}
		if guide.Link != "" && !strings.Contains(text, "\n**"+guide.Link+"**\n") {
			t.Errorf("%s: the guide does not say where the link goes: **%s**", id, guide.Link)
		}
	}
}

func lmsGuide(t *testing.T, id string) page.LMS {
	t.Helper()
	all, err := page.Guides(nil, page.Uses{})
	if err != nil {
		t.Fatal(err)
	}
	return all[slices.IndexFunc(all, func(l page.LMS) bool { return l.ID == id })]
}

// What the guides to the platforms write as code and is not the platform's own,
// exists: options, presets, error codes, commands, headers, routes.
func TestLMSGuidesNameWhatExists(t *testing.T) {
	words := make(map[string]bool)
	for _, section := range readReference(t) {
		for name := range section {
			words[name] = true
		}
	}
	for name := range presets {
		words[name] = true
	}
	for code := range lti.Codes() {
		words[string(code)] = true
	}
	reference, commands, doctor, api := readFile(t, reference), readFile(t, "../docs/commands.md"), readFile(t, "../docs/doctor.md"), readFile(t, "../docs/api.md")
	pages, err := page.New()
	if err != nil {
		t.Fatal(err)
	}
	h := &Handler{Base: "/lti", pages: pages, logger: zap.NewNop(), API: new(API), Items: new(Items), Registration: new(Registration)}
	names := lmsGuides(t)
	names["README"] = readFile(t, "../docs/lms/README.md")
	checked := 0
	for id, text := range names {
		text = regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
		if id != "README" { // what the other tests compare
			text = strings.Replace(text, lmsForms(t, id), "", 1)
			before, after, _ := strings.Cut(text, "\n| option | comes to |\n")
			_, after, _ = strings.Cut(after, "\n\n")
			text = before + after
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(text, -1) {
			checked++
			code := m[1]
			first, _, _ := strings.Cut(code, " ")
			path, ours := strings.CutPrefix(strings.TrimPrefix(code, "https://tool.example.edu"), "/lti/")
			switch {
			case ours:
				path, _, _ = strings.Cut(path, "#")
				path, _, _ = strings.Cut(path, "?")
				rec := httptest.NewRecorder()
				if err := h.serveRoute(rec, httptest.NewRequest(http.MethodDelete, "/lti/", nil), "/"+path); err != nil {
					t.Fatal(err)
				}
				if rec.Code != http.StatusMethodNotAllowed {
					t.Errorf("%s: %s: there is no such route", id, code)
				}
			case strings.HasPrefix(code, "https://"):
			case strings.HasPrefix(code, "caddy lti "):
				verb := strings.Join(strings.Fields(code)[:min(4, len(strings.Fields(code)))], " ")
				verb, _, _ = strings.Cut(verb, " -")
				if !strings.Contains(commands, "| `"+verb) {
					t.Errorf("%s: there is no command %s", id, code)
				}
			case strings.HasPrefix(code, "X-LTI-"), strings.HasPrefix(code, "Remote-"):
				if !strings.Contains(reference, "`"+code+"`") {
					t.Errorf("%s: there is no header %s", id, code)
				}
			case words[first], slices.Contains(lmsOwn, code):
			case strings.Contains(doctor, "\n| `"+strings.Replace(code, ": ", "` | `", 1)+"` |"):
			case strings.Contains(api, "\n| `"+code+"` |"):
			case regexp.MustCompile(`^4711@[a-z]+\.[A-Z]+$`).MatchString(code):
			default:
				t.Errorf("%s: `%s` is no option, preset, code, command, header or route", id, code)
			}
		}
	}
	if checked < 200 {
		t.Errorf("only %d were looked at", checked)
	}
	for _, own := range lmsOwn {
		if !slices.ContainsFunc(slices.Collect(maps.Values(names)), func(s string) bool { return strings.Contains(s, "`"+own+"`") }) {
			t.Errorf("%s is in no guide", own)
		}
	}
}

// lmsOwn is what the guides write as code and is the platforms' own.
var lmsOwn = []string{"106:8865…", "&amp;", "sub", "ltiResourceLink"}
