package caddylti

import (
	"cmp"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-lti/lti/lti"
)

// The addresses that the platforms' own documentation and code give.
func TestPresets(t *testing.T) {
	const school, client = "https://school.example.edu/moodle", "c 1"
	want := map[string]endpoints{
		"moodle": {
			issuer: school, authURL: school + "/mod/lti/auth.php", tokenURL: school + "/mod/lti/token.php",
			jwksURL: school + "/mod/lti/certs.php", userScope: "client",
		},
		"canvas": {
			issuer: "https://canvas.instructure.com", authURL: "https://sso.canvaslms.com/api/lti/authorize_redirect",
			tokenURL: "https://sso.canvaslms.com/login/oauth2/token", jwksURL: "https://sso.canvaslms.com/api/lti/security/jwks", userScope: "tenant",
		},
		"canvas-beta": {
			issuer: "https://canvas.beta.instructure.com", authURL: "https://sso.beta.canvaslms.com/api/lti/authorize_redirect",
			tokenURL: "https://sso.beta.canvaslms.com/login/oauth2/token", jwksURL: "https://sso.beta.canvaslms.com/api/lti/security/jwks", userScope: "tenant",
		},
		"canvas-test": {
			issuer: "https://canvas.test.instructure.com", authURL: "https://sso.test.canvaslms.com/api/lti/authorize_redirect",
			tokenURL: "https://sso.test.canvaslms.com/login/oauth2/token", jwksURL: "https://sso.test.canvaslms.com/api/lti/security/jwks", userScope: "tenant",
		},
		"canvas-own": {
			issuer: school, authURL: school + "/api/lti/authorize_redirect",
			tokenURL: school + "/login/oauth2/token", jwksURL: school + "/api/lti/security/jwks", userScope: "tenant",
		},
		"blackboard": {
			issuer: "https://blackboard.com", authURL: "https://developer.blackboard.com/api/v1/gateway/oidcauth",
			tokenURL:  "https://developer.blackboard.com/api/v1/gateway/oauth2/jwttoken",
			jwksURL:   "https://developer.blackboard.com/api/v1/management/applications/c%201/jwks.json",
			userScope: "deployment",
		},
		"brightspace": {
			issuer: school, authURL: school + "/d2l/lti/authenticate", tokenURL: "https://auth.brightspace.com/core/connect/token",
			audience: "https://api.brightspace.com/auth/token", jwksURL: school + "/d2l/.well-known/jwks", userScope: "client",
		},
		"sakai": {
			issuer: school, authURL: school + "/imsoidc/lti13/oidc_auth", jwksURL: school + "/imsblis/lti13/keyset", userScope: "client",
		},
		"schoology": {
			issuer: "https://schoology.schoology.com", authURL: "https://lti-service.svc.schoology.com/lti-service/authorize-redirect",
			tokenURL: "https://lti-service.svc.schoology.com/lti-service/access-token",
			jwksURL:  "https://lti-service.svc.schoology.com/lti-service/.well-known/jwks", userScope: "deployment",
		},
		"openedx": {issuer: school, authURL: school + "/api/lti_consumer/v1/launch/", userScope: "client"},
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
			var e endpoints
			if known.issuer == "" {
				e.issuer = w.issuer
			}
			known.fill(&e, client)
			if e != w {
				t.Errorf("got  %+v\nwant %+v", e, w)
			}
			// The same by way of a configuration, with what the preset leaves open.
			p := &Platform{
				Name: "lms", Preset: name, ClientID: client, Deployments: []string{"1"},
				JWKSURL: cmp.Or(w.jwksURL, "https://keys.example"),
			}
			if known.issuer == "" {
				p.Issuer = w.issuer
			}
			if err := p.resolve(); err != nil {
				t.Fatal(err)
			}
			r := p.registration
			got := endpoints{r.Issuer, r.AuthURL, p.service.TokenURL, p.service.Audience, p.keysURL, string(r.UserScope)}
			w.jwksURL = cmp.Or(w.jwksURL, "https://keys.example")
			if got != w {
				t.Errorf("resolved to %+v\nwant %+v", got, w)
			}
			// Its pages are at the issuer, unless that is one for all.
			if shown := slices.Contains(p.origins, frameOrigin(r.Issuer)); shown != (known.issuer == "") {
				t.Errorf("frames of the issuer: %t", shown)
			}
			// What is written wins over what is known.
			e = endpoints{"https://i.example", "https://a.example", "https://t.example", "", "https://j.example", "deployment"}
			mine := e
			if known.fill(&e, client); e != mine {
				t.Errorf("overridden: %+v", e)
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
