package devlms

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Registration is how tools may register themselves (LTI Dynamic Registration
// 1.0), and what about that is as in a certain LMS.
type Registration struct {
	// No tool can register itself. Default: false.
	Off bool `json:"off,omitempty"`

	// Where the answer to a registration names the deployment: `tool`, in the tool
	// configuration, as Moodle does; `top`, beside it, as Canvas does; or `none`,
	// for the deployment is made when the administrator activates the tool, as in
	// Brightspace and Blackboard. Default: tool.
	Deployment string `json:"deployment,omitempty"`

	// What messages_supported of the platform's configuration has: `objects` with a
	// type, as the specification says, or `strings` with placements beside them, as
	// in older Moodles. Default: objects.
	Messages string `json:"messages,omitempty"`

	// Where the registration token is wanted: `registration`, in the registration
	// alone, as in Moodle; `config`, in the request for the platform's configuration
	// as well, as in Canvas; or `url`, for no token is given, and the URLs of
	// configuration and registration carry the secret, as in Blackboard. Default:
	// registration.
	Token string `json:"token,omitempty"`

	// How registrations are refused: `json`, as OpenID Connect Registration §3.3
	// says, or `text`, a line of it, as in Moodle. Default: json.
	Errors string `json:"errors,omitempty"`

	// The scopes that tools get, though the platform's configuration offers all; the
	// administrator can only take away from them: `lineitem`, `lineitem.readonly`, `result.readonly`, `score` and
	// `contextmembership.readonly`, or only `none`. A registration that asks for
	// others is answered without these. Default: all that are asked for.
	Scopes []string `json:"scopes,omitempty"`

	// What the application_type of the answer is: `string`, or `array` as in some
	// Moodles. Default: string.
	ApplicationType string `json:"application_type,omitempty"`
}

// Values of the options of Registration; the first of each is the default.
const (
	deploymentTool = "tool"
	deploymentTop  = "top"
	deploymentNone = "none"

	messagesObjects = "objects"
	messagesStrings = "strings"

	tokenRegistration = "registration"
	tokenConfig       = "config"
	tokenURL          = "url"

	errorsJSON = "json"
	errorsText = "text"

	typeString = "string"
	typeArray  = "array"

	scopesNone = "none"
)

// choice is an option of which one of a few values is chosen.
type choice struct {
	option string
	value  *string
	values []string
}

func (r *Registration) choices() []choice {
	return []choice{
		{"deployment", &r.Deployment, []string{deploymentTool, deploymentTop, deploymentNone}},
		{"messages", &r.Messages, []string{messagesObjects, messagesStrings}},
		{"token", &r.Token, []string{tokenRegistration, tokenConfig, tokenURL}},
		{"errors", &r.Errors, []string{errorsJSON, errorsText}},
		{"application_type", &r.ApplicationType, []string{typeString, typeArray}},
	}
}

func (c choice) check(value string) error {
	if !slices.Contains(c.values, value) {
		last := len(c.values) - 1
		return fmt.Errorf("bad value %q: expected %s or %s", value, strings.Join(c.values[:last], ", "), c.values[last])
	}
	return nil
}

func (r *Registration) check() error {
	for _, c := range r.choices() {
		if *c.value == "" {
			continue
		}
		if r.Off {
			return fmt.Errorf("it is off, so %s means nothing", c.option)
		}
		if err := c.check(*c.value); err != nil {
			return fmt.Errorf("%s: %w", c.option, err)
		}
	}
	if r.Off && r.Scopes != nil {
		return errors.New("it is off, so scopes means nothing")
	}
	return checkScopes(r.Scopes)
}

// scopeName is the short name of a scope, the last part of its URL.
func scopeName(scope string) string { return scope[strings.LastIndexByte(scope, '/')+1:] }

// allScopes are those of all services.
func allScopes() []string { return append(slices.Clone(agsScopes), scopeMembers) }

func checkScopes(names []string) error {
	var known []string
	for _, scope := range allScopes() {
		known = append(known, scopeName(scope))
	}
	for i, name := range names {
		switch {
		case name == scopesNone && len(names) > 1:
			return fmt.Errorf("scopes: %s goes with no other", scopesNone)
		case name != scopesNone && !slices.Contains(known, name):
			return fmt.Errorf("scopes: bad value %q: expected %s or %s", name, strings.Join(known, ", "), scopesNone)
		case slices.Contains(names[:i], name):
			return fmt.Errorf("scopes: %s is given twice", name)
		}
	}
	return nil
}

// gives tells whether a scope that a tool asks for is granted.
func (r *Registration) gives(scope string) bool {
	return len(r.Scopes) == 0 || scope == scopeOpenID || slices.Contains(r.Scopes, scopeName(scope))
}
