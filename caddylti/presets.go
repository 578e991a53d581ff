package caddylti

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddy-lti/lti/lti"
)

// preset is what is known of an LMS product. In URLs, {issuer} stands for the
// platform's issuer.
type preset struct {
	issuer    string // where all customers share one
	authURL   string
	tokenURL  string
	jwksURL   string
	userScope lti.UserScope
}

var presets = map[string]preset{
	// The issuer is the site's address (wwwroot), without a slash at the end and
	// perhaps with a path. User ids are unique in the site, and each site is an
	// issuer of its own.
	"moodle": {
		authURL:   "{issuer}/mod/lti/auth.php",
		tokenURL:  "{issuer}/mod/lti/token.php",
		jwksURL:   "{issuer}/mod/lti/certs.php",
		userScope: lti.ScopeClient,
	},
	// Hosted Canvas: one issuer for every school of the world, and a client id
	// may be inherited by many of them. User ids are unique within a school,
	// which tool_platform.guid names. The authorization endpoint has been on
	// sso.canvaslms.com since August 2023; messages for platform storage come
	// from there as well.
	"canvas":      canvas("https://canvas.instructure.com", "https://sso.canvaslms.com"),
	"canvas-beta": canvas("https://canvas.beta.instructure.com", "https://sso.beta.canvaslms.com"),
	"canvas-test": canvas("https://canvas.test.instructure.com", "https://sso.test.canvaslms.com"),
}

// canvasStorage is where Canvas stores for tools, by the authorization endpoint
// of registrations from before August 2023.
var canvasStorage = map[string]string{
	"https://canvas.instructure.com":      "https://sso.canvaslms.com",
	"https://canvas.beta.instructure.com": "https://sso.beta.canvaslms.com",
	"https://canvas.test.instructure.com": "https://sso.test.canvaslms.com",
}

func canvas(issuer, sso string) preset {
	return preset{
		issuer:    issuer,
		authURL:   sso + "/api/lti/authorize_redirect",
		tokenURL:  sso + "/login/oauth2/token",
		jwksURL:   sso + "/api/lti/security/jwks",
		userScope: lti.ScopeTenant,
	}
}

// presetNames lists the presets for messages.
func presetNames() string {
	return strings.Join(slices.Sorted(maps.Keys(presets)), ", ")
}

// apply fills what the platform's configuration leaves open.
func (p preset) apply(issuer, authURL, tokenURL, jwksURL, userScope *string) {
	fill := func(to *string, val string) {
		if *to == "" {
			*to = val
		}
	}
	fill(issuer, p.issuer)
	for to, pattern := range map[*string]string{authURL: p.authURL, tokenURL: p.tokenURL, jwksURL: p.jwksURL} {
		fill(to, strings.ReplaceAll(pattern, "{issuer}", strings.TrimSuffix(*issuer, "/")))
	}
	fill(userScope, string(p.userScope))
}
