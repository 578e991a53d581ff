package doctor

import (
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/internal/fault"
)

func mustURL(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

var findings = []Finding{
	{Check: CheckJWKS, Subject: "moodle", Level: OK, Text: "keys that can be used: 1, for RS256"},
	{Check: CheckToken, Rule: "content_type", Subject: "moodle", Level: Note, Text: "the token comes as HTML", Whose: fault.Nobody},
	{Check: CheckPublicURL, Subject: "https://tool.example.edu", Level: OK, Text: "fine"},
	{Check: CheckCertificate, Rule: "expired", Subject: "moodle", Level: Failure, Text: "it expired", Mend: "renew it", Whose: fault.PlatformAdmin},
	{Check: CheckToken, Rule: "rate_limited", Subject: "moodle", Level: Note, Text: "slow down", Mend: "look again", Whose: fault.Nobody},
}

func TestWriteText(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := WriteText(&b, findings, false); err != nil {
		t.Fatal(err)
	}
	want := `moodle
  failure  certificate  it expired
           → platform administrator: renew it
  note     token        the token comes as HTML
  note     token        slow down
           → look again
  ok       jwks         keys that can be used: 1, for RS256

https://tool.example.edu
  ok       public_url   fine
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	if err := WriteText(&b, findings, true); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); !strings.Contains(got, "  \x1b[31mfailure\x1b[0m  certificate") || !strings.Contains(got, "\x1b[32mok     \x1b[0m") {
		t.Errorf("in colour: %q", got)
	}
}

func TestExitStatus(t *testing.T) {
	t.Parallel()
	if got := ExitStatus(findings); got != 1 {
		t.Errorf("with a failure: %d", got)
	}
	if got := ExitStatus(slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return f.Level == Failure })); got != 0 {
		t.Errorf("without: %d", got)
	}
	if got := ExitStatus([]Finding{{Level: Warning}}); got != 0 {
		t.Errorf("with a warning: %d", got)
	}
}

// docs/doctor.md has a row for each rule, with its level and who can mend it, and a
// section for each check.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| `(\\w+)` \\| (\\w+) \\| .+ \\| .+ \\| ([^|]+) \\|$").FindAllStringSubmatch(string(doc), -1) {
		got = append(got, strings.Join(m[1:], " | "))
	}
	for _, r := range rules {
		who := string(r.whose)
		if r.own != "" && r.whose != fault.ToolAdmin {
			who += "; of the site: " + string(fault.ToolAdmin)
		}
		want = append(want, strings.Join([]string{string(r.check), r.name, string(r.level), who}, " | "))
	}
	slices.Sort(got)
	slices.Sort(want)
	for _, row := range want {
		if !slices.Contains(got, row) {
			t.Errorf("docs/doctor.md lacks %s", row)
		}
	}
	for i, row := range got {
		if !slices.Contains(want, row) {
			t.Errorf("docs/doctor.md has %s, which is no rule", row)
		}
		if i > 0 && got[i-1] == row {
			t.Errorf("docs/doctor.md has %s twice", row)
		}
	}
}
