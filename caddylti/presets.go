package caddylti

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-lti/lti/lti"
)

// endpoints are what a platform is known by and where it is.
type endpoints struct {
	issuer    string
	authURL   string
	tokenURL  string
	audience  string // of assertions; empty is tokenURL
	jwksURL   string
	userScope string
}

// preset is what is known of an LMS product. In URLs, {issuer} and {client_id}
// stand for those of the platform; what an administrator has to look up is
// missing.
type preset struct {
	endpoints

	// scoreExtensions are members that scores may have beyond the specification.
	scoreExtensions []string
}

var presets = map[string]preset{
	// The issuer is the site's address (wwwroot), without a slash at the end and
	// perhaps with a path. User ids are unique in the site, and each site is an
	// issuer of its own.
	"moodle": {endpoints: endpoints{
		authURL:   "{issuer}/mod/lti/auth.php",
		tokenURL:  "{issuer}/mod/lti/token.php",
		jwksURL:   "{issuer}/mod/lti/certs.php",
		userScope: string(lti.ScopeClient),
	}},
	// Hosted Canvas: one issuer for every school of the world, and a client id
	// may be inherited by many of them. User ids are unique within a school,
	// which tool_platform.guid names. The authorization endpoint has been on
	// sso.canvaslms.com since August 2023; messages for platform storage come
	// from there as well.
	"canvas":      canvas("https://canvas.instructure.com", "https://sso.canvaslms.com"),
	"canvas-beta": canvas("https://canvas.beta.instructure.com", "https://sso.beta.canvaslms.com"),
	"canvas-test": canvas("https://canvas.test.instructure.com", "https://sso.test.canvaslms.com"),
	// A Canvas of one's own, whose lti_iss is its address. If that was left as it
	// came, the issuer is hosted Canvas's, and the URLs have to be written.
	"canvas-own": canvas("", "{issuer}"),
	// One issuer, one portal and one key for all schools: user ids are unique
	// within a deployment, which is a school.
	"blackboard": {endpoints: endpoints{
		issuer:    "https://blackboard.com",
		authURL:   "https://developer.blackboard.com/api/v1/gateway/oidcauth",
		tokenURL:  "https://developer.blackboard.com/api/v1/gateway/oauth2/jwttoken",
		jwksURL:   "https://developer.blackboard.com/api/v1/management/applications/{client_id}/jwks.json",
		userScope: string(lti.ScopeDeployment),
	}},
	// The issuer is the school's address; tokens come from a service for all,
	// which has a name of its own.
	"brightspace": {endpoints: endpoints{
		authURL:   "{issuer}/d2l/lti/authenticate",
		tokenURL:  "https://auth.brightspace.com/core/connect/token",
		audience:  "https://api.brightspace.com/auth/token",
		jwksURL:   "{issuer}/d2l/.well-known/jwks",
		userScope: string(lti.ScopeClient),
	}},
	// The token URL ends with a number that Sakai gives the tool.
	"sakai": {endpoints: endpoints{
		authURL:   "{issuer}/imsoidc/lti13/oidc_auth",
		jwksURL:   "{issuer}/imsblis/lti13/keyset",
		userScope: string(lti.ScopeClient),
	}},
	"schoology": {endpoints: endpoints{
		issuer:    "https://schoology.schoology.com",
		authURL:   "https://lti-service.svc.schoology.com/lti-service/authorize-redirect",
		tokenURL:  "https://lti-service.svc.schoology.com/lti-service/access-token",
		jwksURL:   "https://lti-service.svc.schoology.com/lti-service/.well-known/jwks",
		userScope: string(lti.ScopeDeployment),
	}},
	// Token and key set URLs hold an id of the block or configuration.
	"openedx": {endpoints: endpoints{
		authURL:   "{issuer}/api/lti_consumer/v1/launch/",
		userScope: string(lti.ScopeClient),
	}},
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
		endpoints: endpoints{
			issuer:    issuer,
			authURL:   sso + "/api/lti/authorize_redirect",
			tokenURL:  sso + "/login/oauth2/token",
			jwksURL:   sso + "/api/lti/security/jwks",
			userScope: string(lti.ScopeTenant),
		},
		scoreExtensions: []string{"https://canvas.instructure.com/lti/submission"},
	}
}

// presetNames lists the presets for messages.
func presetNames() string {
	return strings.Join(slices.Sorted(maps.Keys(presets)), ", ")
}

// fill sets what a platform's configuration leaves open.
func (p preset) fill(e *endpoints, clientID string) {
	e.issuer = cmp.Or(e.issuer, p.issuer)
	expand := strings.NewReplacer("{issuer}", strings.TrimSuffix(e.issuer, "/"), "{client_id}", url.PathEscape(clientID))
	for _, f := range []struct {
		to  *string
		val string
	}{
		{&e.authURL, p.authURL}, {&e.jwksURL, p.jwksURL}, {&e.userScope, p.userScope},
	} {
		*f.to = cmp.Or(*f.to, expand.Replace(f.val))
	}
	// The audience belongs to the token URL: with another one it may be wrong.
	if e.tokenURL == "" {
		e.tokenURL = expand.Replace(p.tokenURL)
		e.audience = cmp.Or(e.audience, p.audience)
	}
}
