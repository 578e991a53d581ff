package dynreg

import (
	"strings"

	"github.com/caddy-lti/lti/lti"
)

// Guess is which of the known products a platform seems to be.
type Guess struct {
	Preset string        // the name of the Caddyfile's preset, or ""
	Scope  lti.UserScope // what a user id is unique in
}

// byIssuer has the issuers that many schools share, where a wrong scope would make
// one person of two. No product_family_code talks them out of it.
var byIssuer = map[string]string{
	"https://canvas.instructure.com":      "canvas",
	"https://canvas.beta.instructure.com": "canvas-beta",
	"https://canvas.test.instructure.com": "canvas-test",
	"https://blackboard.com":              "blackboard",
	"https://schoology.schoology.com":     "schoology",
}

// byProduct has the product_family_codes, in small letters.
var byProduct = map[string]string{
	"moodle":          "moodle",
	"canvas":          "canvas-own", // hosted Canvas is known by its issuer
	"blackboardlearn": "blackboard",
	"blackboard":      "blackboard",
	"desire2learn":    "brightspace",
	"brightspace":     "brightspace",
	"d2l":             "brightspace",
	"sakai":           "sakai",
	"schoology":       "schoology",
	"openedx":         "openedx",
	"open-edx":        "openedx",
	"edx":             "openedx",
}

// Guess tells from issuer and product_family_code which product a platform is.
func (c *Configuration) Guess() Guess {
	name := byIssuer[c.Issuer]
	if name == "" {
		name = byProduct[strings.ToLower(c.Product)]
	}
	switch name {
	case "canvas", "canvas-beta", "canvas-test", "canvas-own":
		return Guess{name, lti.ScopeTenant}
	case "blackboard", "schoology":
		return Guess{name, lti.ScopeDeployment}
	default:
		return Guess{name, lti.ScopeClient}
	}
}

func (c *Configuration) isCanvas() bool { return strings.HasPrefix(c.Guess().Preset, "canvas") }
