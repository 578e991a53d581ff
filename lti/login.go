package lti

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const (
	maxHint        = 4 << 10
	maxMessageHint = 8 << 10
	maxURL         = 4 << 10
)

// LoginRequest is a third-party-initiated login (Security Framework §5.1.1.1,
// LTI 1.3 §4.1). Nothing in it is signed.
type LoginRequest struct {
	Issuer        string
	ClientID      string // may be empty
	LoginHint     string
	TargetLinkURI string
	MessageHint   string // lti_message_hint, may be empty
	DeploymentID  string // lti_deployment_id, may be empty
	// StorageTarget is the frame of the platform that stores for the tool, or
	// _parent (LTI OIDC Login with LTI Client Side postMessages); empty if the
	// platform offers no storage.
	StorageTarget string
}

// ParseLoginRequest reads the parameters of a login initiation, from the query
// or from a form. Parameters that are not known are ignored, as are empty
// optional ones; a known one that occurs with two values is refused.
func ParseLoginRequest(v url.Values) (*LoginRequest, error) {
	req := new(LoginRequest)
	for _, p := range []struct {
		name    string
		to      *string
		limit   int
		missing Code
	}{
		{"iss", &req.Issuer, maxURL, CodeIssuerMissing},
		{"login_hint", &req.LoginHint, maxHint, CodeLoginHintMissing},
		{"target_link_uri", &req.TargetLinkURI, maxURL, CodeTargetMissing},
		{"client_id", &req.ClientID, maxURL, ""},
		{"lti_message_hint", &req.MessageHint, maxMessageHint, ""},
		{"lti_deployment_id", &req.DeploymentID, maxURL, ""},
	} {
		val, err := single(v, p.name)
		if err != nil {
			return nil, err
		}
		if val == "" && p.missing != "" {
			return nil, Refuse(p.missing, "the login initiation has no %s", p.name)
		}
		if len(val) > p.limit {
			return nil, Refuse(CodeRequestTooLarge, "%s is longer than %d bytes", p.name, p.limit)
		}
		*p.to = val
	}
	target, err := single(v, "lti_storage_target")
	if err != nil {
		return nil, err
	}
	if target != "" {
		req.StorageTarget = storageTarget(target)
	}
	return req, nil
}

// storageTarget returns the name of a frame. Anyone can begin a login, so a name
// that would reach something else in a browser's window means the parent, as
// does whatever is no name.
func storageTarget(name string) string {
	if !frameName.MatchString(name) || slices.Contains(windowMembers, name) {
		return "_parent"
	}
	return name
}

var (
	frameName     = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	windowMembers = []string{
		"opener", "top", "parent", "self", "window", "frames", "location", "document", "closed", "length", "name",
		"postMessage", "close", "focus", "blur", "then", "constructor", "prototype", "__proto__", "hasOwnProperty",
		"toString", "valueOf", "_self", "_top", "_blank",
	}
)

// single returns the only value of a parameter.
func single(v url.Values, name string) (string, error) {
	switch vals := slices.Compact(slices.Clone(v[name])); len(vals) {
	case 0:
		return "", nil
	case 1:
		return vals[0], nil
	default:
		return "", Refuse(CodeRequestMalformed, "%s is there %d times, with different values", name, len(vals))
	}
}

// AuthRequest is the authentication request with which the tool answers
// (Security Framework §5.1.1.2, LTI 1.3 §4.1.1).
type AuthRequest struct {
	ClientID    string
	RedirectURI string
	LoginHint   string
	MessageHint string
	State       string
	Nonce       string
}

// URL returns the address to send the browser to. A query that the
// authorization endpoint already has is kept as it is, but for the parameters
// that are ours.
func (a AuthRequest) URL(authURL string) (string, error) {
	u, err := url.Parse(authURL)
	if err != nil {
		return "", err
	}
	ours := url.Values{
		"scope":         {"openid"},
		"response_type": {"id_token"},
		"response_mode": {"form_post"},
		"prompt":        {"none"},
		"client_id":     {a.ClientID},
		"redirect_uri":  {a.RedirectURI},
		"login_hint":    {a.LoginHint},
		"state":         {a.State},
		"nonce":         {a.Nonce},
	}
	if a.MessageHint != "" {
		ours.Set("lti_message_hint", a.MessageHint)
	}
	var query []string
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(name); err == nil {
			name = decoded
		}
		if pair != "" && !ours.Has(name) {
			query = append(query, pair)
		}
	}
	u.RawQuery = strings.Join(append(query, ours.Encode()), "&")
	u.ForceQuery = false
	return u.String(), nil
}

// AuthResponse is what the platform has the browser post to the redirect URI
// (Security Framework §5.1.1.3): a token, or an error.
type AuthResponse struct {
	State            string
	IDToken          string
	Error            string // OpenID Connect Core §3.1.2.6
	ErrorDescription string
}

// ParseAuthResponse reads the fields of a launch. A field that occurs twice is
// refused, even with equal values: two parsers might choose differently.
func ParseAuthResponse(v url.Values) (*AuthResponse, error) {
	for _, name := range []string{"state", "id_token", "error"} {
		if n := len(v[name]); n > 1 {
			return nil, Refuse(CodeRequestMalformed, "%s is there %d times", name, n)
		}
	}
	res := &AuthResponse{
		State: v.Get("state"), IDToken: v.Get("id_token"),
		Error: v.Get("error"), ErrorDescription: v.Get("error_description"),
	}
	if res.State == "" {
		return nil, Refuse(CodeStateMissing, "the launch has no state")
	}
	if res.Error == "" && res.IDToken == "" {
		return nil, Refuse(CodeTokenMissing, "the launch has neither id_token nor error")
	}
	return res, nil
}
