package caddylti

import (
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-lti/lti/lti"
)

// The addresses that the platforms' own documentation and code give.
func TestPresets(t *testing.T) {
	type urls struct {
		issuer, auth, token, jwks string
		scope                     lti.UserScope
	}
	want := map[string]urls{
		"moodle": {
			"https://school.example.edu/moodle", "https://school.example.edu/moodle/mod/lti/auth.php",
			"https://school.example.edu/moodle/mod/lti/token.php", "https://school.example.edu/moodle/mod/lti/certs.php", lti.ScopeClient,
		},
		"canvas": {
			"https://canvas.instructure.com", "https://sso.canvaslms.com/api/lti/authorize_redirect",
			"https://sso.canvaslms.com/login/oauth2/token", "https://sso.canvaslms.com/api/lti/security/jwks", lti.ScopeTenant,
		},
		"canvas-beta": {
			"https://canvas.beta.instructure.com", "https://sso.beta.canvaslms.com/api/lti/authorize_redirect",
			"https://sso.beta.canvaslms.com/login/oauth2/token", "https://sso.beta.canvaslms.com/api/lti/security/jwks", lti.ScopeTenant,
		},
		"canvas-test": {
			"https://canvas.test.instructure.com", "https://sso.test.canvaslms.com/api/lti/authorize_redirect",
			"https://sso.test.canvaslms.com/login/oauth2/token", "https://sso.test.canvaslms.com/api/lti/security/jwks", lti.ScopeTenant,
		},
	}
	for name := range presets {
		if _, ok := want[name]; !ok {
			t.Errorf("preset %s is not tested", name)
		}
	}
	for name, w := range want {
		t.Run(name, func(t *testing.T) {
			known, ok := presets[name]
			if !ok {
				t.Fatal("no such preset")
			}
			var issuer, auth, token, jwks, scope string
			if known.issuer == "" {
				issuer = w.issuer
			}
			known.apply(&issuer, &auth, &token, &jwks, &scope)
			if got := (urls{issuer, auth, token, jwks, lti.UserScope(scope)}); got != w {
				t.Errorf("got  %+v\nwant %+v", got, w)
			}
			// The same by way of a configuration.
			p := &Platform{Name: "lms", Preset: name, ClientID: "c", Deployments: []string{"1"}}
			if known.issuer == "" {
				p.Issuer = w.issuer
			}
			if err := p.resolve(); err != nil {
				t.Fatal(err)
			}
			if r := p.registration; r.Issuer != w.issuer || r.AuthURL != w.auth || p.keysURL != w.jwks || r.UserScope != w.scope {
				t.Errorf("resolved to %+v, keys at %s", r, p.keysURL)
			}
			// What is written wins over what is known.
			issuer, auth, token, jwks, scope = "https://i.example", "https://a.example", "https://t.example", "https://j.example", "deployment"
			known.apply(&issuer, &auth, &token, &jwks, &scope)
			if got, want := (urls{issuer, auth, token, jwks, lti.UserScope(scope)}), (urls{"https://i.example", "https://a.example", "https://t.example", "https://j.example", lti.ScopeDeployment}); got != want {
				t.Errorf("overridden: %+v", got)
			}
		})
	}
}

func TestResolveDefaults(t *testing.T) {
	p := &Platform{
		Name: "lms", Issuer: "https://lms.example.edu", AuthURL: "https://lms.example.edu/auth", JWKSURL: "https://lms.example.edu/jwks",
		ClientID: "c", Deployments: []string{"1", "2"},
	}
	if err := p.resolve(); err != nil {
		t.Fatal(err)
	}
	r := p.registration
	if r.UserScope != lti.ScopeClient || r.Leeway != lti.DefaultLeeway || len(r.Algorithms) != len(lti.Algorithms()) || r.AnyDeployment || len(r.Deployments) != 2 {
		t.Errorf("%+v", r)
	}
	p.Deployments = []string{"any"}
	if err := p.resolve(); err != nil || !p.registration.AnyDeployment {
		t.Errorf("%v, %+v", err, p.registration)
	}
	// An issuer is what the platform says, byte for byte; a slash at its end is
	// only left out of what is made of it.
	p = &Platform{Name: "lms", Preset: "moodle", Issuer: "https://moodle.example.edu/", ClientID: "c", Deployments: []string{"1"}}
	if err := p.resolve(); err != nil {
		t.Fatal(err)
	}
	if p.registration.Issuer != "https://moodle.example.edu/" || p.registration.AuthURL != "https://moodle.example.edu/mod/lti/auth.php" {
		t.Errorf("%+v", p.registration)
	}
}

// Secrets of the environment do not find their way into the configuration that
// the admin API shows.
func TestResolveLeavesTheConfigurationAlone(t *testing.T) {
	t.Setenv("CADDYLTI_TEST_HOST", "lms.example.edu")
	t.Setenv("CADDYLTI_TEST_CLIENT", "secret-client")
	p := &Platform{Name: "lms", Preset: "moodle", Issuer: "https://{env.CADDYLTI_TEST_HOST}", ClientID: "{env.CADDYLTI_TEST_CLIENT}", Deployments: []string{"any"}}
	before := *p
	if err := p.resolve(); err != nil {
		t.Fatal(err)
	}
	if p.registration.Issuer != "https://lms.example.edu" || p.registration.ClientID != "secret-client" {
		t.Errorf("%+v", p.registration)
	}
	if p.Issuer != before.Issuer || p.ClientID != before.ClientID || p.AuthURL != "" || p.Leeway != caddy.Duration(0) || p.Algorithms != nil {
		t.Errorf("the configuration became %+v", p)
	}
}
