package devlms

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"go.uber.org/zap"
)

// maxAuthBody limits the body of an authentication request.
const maxAuthBody = 64 << 10

// authError is what the platform answers instead of a token (OpenID Connect
// Core §3.1.2.6). The description never repeats what the request said.
type authError struct {
	code        string
	description string
}

// auth is the authorization endpoint: the second step of a launch (Security
// Framework §5.1.1.2). It sends nothing to an address that is not registered.
func (p *platform) auth(v *visit) error {
	params, err := authParams(v)
	if err != nil {
		return p.refuse(v, http.StatusBadRequest, "This is no authentication request", err.Error())
	}

	b, clientID := p.state.book(v.issuer), only(params, "client_id")
	t := p.toolByClient(b, clientID)
	if t == nil {
		if slices.ContainsFunc(p.waiting(b), func(a *applicant) bool { return a.ClientID == clientID }) {
			return p.refuse(v, http.StatusForbidden, "Not activated",
				"The tool has registered itself, but the administrator of this LMS has not activated it.")
		}
		return p.refuse(v, http.StatusBadRequest, "Unknown tool",
			"The client_id of the authentication request is missing or belongs to no tool that is registered here.")
	}
	v.note.tool, v.note.launch = t, launchName(only(params, "lti_message_hint"))
	redirectURI := only(params, "redirect_uri")
	if !slices.Contains(t.RedirectURIs, redirectURI) {
		return p.refuse(v, http.StatusBadRequest, "Unknown redirect URI",
			"The redirect_uri of the authentication request is missing or not exactly one of those registered for "+t.Title+". "+
				"Nothing was sent to the tool.")
	}

	post := autoPost{Tool: t.Title, Action: redirectURI}
	token, refused := "", p.checkAuth(v, t, params)
	if refused == nil {
		token, refused, err = p.answer(v, t, params)
		if err != nil {
			return err
		}
	}
	if refused != nil {
		v.note.problem = refused.code + ": " + refused.description
		p.log.Debug("authentication request refused",
			zap.String("tool", t.Name),
			zap.String("error", refused.code),
			zap.String("description", refused.description))
		post.Fields = []field{{"error", refused.code}, {"error_description", refused.description}}
	} else {
		post.Fields = []field{{"id_token", token}}
		// With a token only, as in Canvas. Not every LMS says it a second time.
		if target := p.storageTarget(); target != "" {
			post.Fields = append(post.Fields, field{"lti_storage_target", target})
		}
	}
	if state := only(params, "state"); state != "" {
		post.Fields = append(post.Fields, field{"state", state})
	}
	return p.renderPost(v, post)
}

// checkAuth checks all that does not depend on the launch, in a fixed order, so
// that of several mistakes always the same one is named.
func (p *platform) checkAuth(v *visit, t *Tool, params url.Values) *authError {
	// RFC 6749 §3.1: parameters must not be included more than once.
	for _, name := range []string{
		"scope", "response_type", "response_mode", "prompt", "nonce", "state", "login_hint", "lti_message_hint",
	} {
		if len(params[name]) > 1 {
			return &authError{"invalid_request", name + " is given more than once"}
		}
	}
	nonce, hint := params.Get("nonce"), params.Get("login_hint")
	switch {
	case params.Get("scope") != "openid":
		return &authError{"invalid_scope", "scope must be exactly openid"}
	case params.Get("response_type") != "id_token":
		return &authError{"unsupported_response_type", "response_type must be id_token"}
	case params.Get("response_mode") != "form_post":
		return &authError{"invalid_request", "response_mode must be form_post"}
	case params.Get("prompt") != "none":
		return &authError{"invalid_request", "prompt must be none"}
	case nonce == "":
		return &authError{"invalid_request", "nonce is missing"}
	case !p.state.firstUse(t.ClientID, nonce):
		return &authError{"invalid_request", "nonce was used before"}
	case params.Get("state") == "":
		return &authError{"invalid_request", "state is missing"}
	case hint == "":
		return &authError{"invalid_request", "login_hint is missing"}
	case v.person == nil:
		return &authError{"login_required", "nobody is signed in to the LMS in this browser, or it kept the LMS cookie back"}
	case hint != v.person.ID:
		return &authError{"access_denied", "login_hint is not the person who is signed in"}
	}
	return nil
}

// answer spends the lti_message_hint and signs the token of its launch.
func (p *platform) answer(v *visit, t *Tool, params url.Values) (string, *authError, error) {
	const gone = "launch_no_longer_valid" // Canvas's code
	hint := params.Get("lti_message_hint")
	if hint == "" {
		return "", &authError{"invalid_request", "lti_message_hint is missing"}, nil
	}
	l, ok := p.state.redeem(hint)
	switch {
	case !ok:
		return "", &authError{gone, "lti_message_hint was used before, or is not the one that was sent"}, nil
	case p.now().After(l.expires):
		return "", &authError{gone, "lti_message_hint is more than five minutes old"}, nil
	case l.issuer != v.issuer || l.clientID != t.ClientID || l.person != v.person.ID:
		return "", &authError{gone, "lti_message_hint belongs to another launch"}, nil
	}
	v.note.request = l.asked.name()
	c, nonce := findCourse(l.course), params.Get("nonce")
	var claims map[string]any
	if l.asked != nil {
		claims = p.deepLinkToken(v.issuer, nonce, v.person, c, t, l.asked)
	} else {
		a := p.activity(p.state.book(v.issuer), c, l.activity)
		if a == nil || a.Tool != t {
			return "", &authError{gone, "the activity is no longer there"}, nil
		}
		claims = p.idToken(v.issuer, nonce, v.person, c, a)
	}

	key, err := p.state.signingKey()
	if err != nil {
		return "", nil, fmt.Errorf("making the signing key of the demo LMS: %w", err)
	}
	token, err := key.Sign(claims)
	if err != nil {
		return "", nil, fmt.Errorf("signing an id_token: %w", err)
	}
	if l.asked != nil {
		p.state.expect(l.asked)
	}
	return token, nil, nil
}

// authParams reads the parameters from the place that belongs to the method;
// no mixture of query and body is taken.
func authParams(v *visit) (url.Values, error) {
	if v.r.Method != http.MethodPost {
		params, err := url.ParseQuery(v.r.URL.RawQuery)
		if err != nil {
			return nil, fmt.Errorf("the query string cannot be read: %w", err)
		}
		return params, nil
	}
	v.limit(maxAuthBody)
	if err := v.r.ParseForm(); err != nil {
		return nil, fmt.Errorf("the form cannot be read: %w", err)
	}
	return v.r.PostForm, nil
}

// only returns a parameter that was given exactly once.
func only(params url.Values, name string) string {
	if len(params[name]) != 1 {
		return ""
	}
	return params[name][0]
}
