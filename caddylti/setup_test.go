package caddylti

import (
	"regexp"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-lti/lti/internal/page"
)

// The lines that the set-up page shows for the Caddyfile work once they are filled
// in, and what a preset is said to know, it knows.
func TestSetupLines(t *testing.T) {
	guides, err := page.Guides(nil, page.Uses{})
	if err != nil {
		t.Fatal(err)
	}
	h := &Handler{Base: "/lti", Home: "/"}
	setup, err := h.setup("https://tool.example.edu")
	if err != nil || len(setup.Guides) != len(guides) || len(guides) == 0 {
		t.Fatal(setup, err)
	}
	for _, l := range guides {
		block := l.Caddyfile()
		filled := regexp.MustCompile(`\b(CLIENT-ID|APPLICATION-ID|DEPLOYMENT-ID|NUMBER|ID|AUTH|TOKEN|JWKS)\b`).ReplaceAllString(block, "4711")
		if regexp.MustCompile(`[A-Z]{2}`).MatchString(filled) {
			t.Errorf("%s: who knows what to fill in?\n%s", l.ID, filled)
		}
		source := "tool.example.edu {\n\tlti {\n" + string(caddyfile.Format([]byte(filled))) + "\n\t}\n}\n"
		out, _, err := adaptCaddyfile(source)
		if err != nil {
			t.Fatalf("%s: %v", l.ID, err)
		}
		if err := validateJSON(t, out); err != nil {
			t.Errorf("%s: %v", l.ID, err)
		}
		known := presets[l.ID]
		has := map[string]bool{
			"issuer": known.issuer != "", "auth_url": known.authURL != "", "token_url": known.tokenURL != "",
			"jwks_url": known.jwksURL != "", "token_audience": known.audience != "",
		}
		for _, v := range l.Gives {
			if v.Preset != has[v.Option] {
				t.Errorf("%s: the page says that the preset has %s: %v", l.ID, v.Option, v.Preset)
			}
		}
	}
}
