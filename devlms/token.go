package devlms

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/strictjson"
)

const (
	tokenPath = "/token"

	grantType     = "client_credentials"
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	formType      = "application/x-www-form-urlencoded"

	// accessLifetime is what the Security Framework recommends, and the most
	// that an assertion may be good for.
	accessLifetime = time.Hour

	maxTokenBody = 64 << 10
)

// Scopes of AGS (AGS 2.0 §3.1).
const (
	scopeLineItem     = "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem"
	scopeLineItemRead = "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem.readonly"
	scopeResult       = "https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly"
	scopeScore        = "https://purl.imsglobal.org/spec/lti-ags/scope/score"
)

// scopeMembers is the scope of NRPS 2.0 §2.
const scopeMembers = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"

// scopeOpenID is that of launches. Moodle lists it, so tools may register for it; no
// access token has it.
const scopeOpenID = "openid"

var agsScopes = []string{scopeLineItem, scopeLineItemRead, scopeResult, scopeScore}

// scopes are those that a tool may ask for.
func (t *Tool) scopes() []string {
	var scopes []string
	if t.agsOn() {
		scopes = append(scopes, agsScopes...)
	}
	if t.nrpsOn() {
		scopes = append(scopes, scopeMembers)
	}
	return t.granted(scopes)
}

// token is the token endpoint (Security Framework §4.1, RFC 6749 §4.4, RFC 7523).
func (p *platform) token(v *visit, b *book) error {
	params, refused := tokenParams(v)
	var t *Tool
	if refused == nil {
		t, refused = p.client(v, b, params)
	}
	var granted []string
	if refused == nil {
		// What is not known is dropped, as Moodle does it (RFC 6749 §3.3).
		for scope := range strings.FieldsSeq(params.Get("scope")) {
			if slices.Contains(t.scopes(), scope) && !slices.Contains(granted, scope) {
				granted = append(granted, scope)
			}
		}
		if len(granted) == 0 {
			refused = &authError{"invalid_scope", "none of the scopes is offered to this tool"}
		}
	}
	if refused != nil {
		v.note.problem = refused.code + ": " + refused.description
		p.log.Debug("token request refused",
			zap.String("error", refused.code),
			zap.String("description", refused.description))
		p.answerToken(v, b, http.StatusBadRequest, map[string]any{
			"error": refused.code, "error_description": refused.description,
		})
		return nil
	}
	token := rand.Text()
	b.issue(token, &accessToken{clientID: t.ClientID, scopes: granted, expires: p.now().Add(accessLifetime)})
	p.answerToken(v, b, http.StatusOK, map[string]any{
		"access_token": token,
		"token_type":   "Bearer",
		"expires_in":   int(accessLifetime.Seconds()),
		"scope":        strings.Join(granted, " "),
	})
	return nil
}

func (p *platform) answerToken(v *visit, b *book, status int, body map[string]any) {
	h := v.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	contentType := "application/json"
	if p.quirk(b, quirkHTMLToken) {
		contentType = "text/html; charset=utf-8"
	}
	answerJSON(v, status, contentType, body)
}

// tokenParams reads the form of a token request; nothing in the query counts.
func tokenParams(v *visit) (url.Values, *authError) {
	if kind, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type")); err != nil || kind != formType {
		return nil, &authError{"invalid_request", "the content type must be " + formType}
	}
	v.limit(maxTokenBody)
	if err := v.r.ParseForm(); err != nil {
		return nil, &authError{"invalid_request", "the form cannot be read"}
	}
	params := v.r.PostForm
	for _, values := range params {
		if len(values) > 1 { // RFC 6749 §3.2
			return nil, &authError{"invalid_request", "a parameter is given more than once"}
		}
	}
	switch {
	case params.Get("grant_type") == "":
		return nil, &authError{"invalid_request", "grant_type is missing"}
	case params.Get("grant_type") != grantType:
		return nil, &authError{"unsupported_grant_type", "grant_type must be " + grantType}
	case params.Get("client_assertion_type") != assertionType:
		return nil, &authError{"invalid_request", "client_assertion_type must be " + assertionType}
	case params.Get("client_assertion") == "":
		return nil, &authError{"invalid_request", "client_assertion is missing"}
	case strings.TrimSpace(params.Get("scope")) == "":
		return nil, &authError{"invalid_request", "scope is missing"}
	}
	return params, nil
}

// client finds out which tool made the assertion (RFC 7523 §3).
func (p *platform) client(v *visit, b *book, params url.Values) (*Tool, *authError) {
	invalid := func(format string, args ...any) *authError {
		return &authError{"invalid_client", fmt.Sprintf(format, args...)}
	}
	assertion := params.Get("client_assertion")
	// Whose keys to take is in what they have signed. What is read here counts
	// for nothing else.
	var clientID string
	if parts := strings.Split(assertion, "."); len(parts) == 3 {
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err == nil {
			if claims, err := strictjson.Object(payload); err == nil {
				_ = json.Unmarshal(claims["sub"], &clientID)
			}
		}
	}
	if clientID == "" {
		return nil, invalid("client_assertion is no JWT with a sub")
	}
	t := p.toolByClient(b, clientID)
	v.note.tool = t
	switch {
	case t == nil:
		return nil, invalid("sub is no client id that is registered here")
	case t.JWKSURL == "":
		return nil, invalid("the tool was registered without a key set")
	}
	payload, err := p.verify(v, t, assertion)
	if err != nil {
		return nil, invalid("client_assertion: %s", truncate(err.Error()))
	}
	claims, err := strictjson.Object(payload)
	if err != nil {
		return nil, invalid("client_assertion: the claims cannot be read")
	}
	if id := params.Get("client_id"); id != "" && id != t.ClientID {
		return nil, invalid("client_id is not the sub of the assertion")
	}
	if reason := p.checkAssertion(t, v.issuer+tokenPath, claims); reason != "" {
		return nil, invalid("%s", reason)
	}
	return t, nil
}

// checkAssertion says what is wrong with the claims of an assertion. The jti is
// the last: a refused assertion does not use it up.
func (p *platform) checkAssertion(t *Tool, tokenURL string, claims map[string]json.RawMessage) string {
	text := func(name string) (s string) {
		_ = json.Unmarshal(claims[name], &s)
		return s
	}
	now := p.now()
	exp, expOK := numericDate(claims["exp"])
	iat, iatOK := numericDate(claims["iat"])
	jti := text("jti")
	_, hasDeployment := claims[claimPrefix+"deployment_id"]
	switch {
	case text("iss") != t.ClientID:
		return "iss must be the client id"
	case text("sub") != t.ClientID:
		return "sub must be the client id"
	case !isAudience(claims["aud"], tokenURL):
		return "aud must be " + tokenURL
	case !expOK:
		return "exp is missing or not a number"
	case !iatOK:
		return "iat is missing or not a number"
	case !now.Before(exp):
		return "exp has passed"
	case exp.After(now.Add(accessLifetime)):
		return "exp is more than an hour ahead"
	case iat.After(now.Add(p.leeway)):
		return "iat is ahead of the clock"
	case iat.After(exp):
		return "iat is after exp"
	// LTI Core 1.3 §6.2.1 lets it be left out.
	case hasDeployment && text(claimPrefix+"deployment_id") != t.Deployment:
		return "deployment_id is not the tool's"
	case jti == "":
		return "jti is missing or not a string"
	case !p.state.firstAssertion(t.ClientID, jti):
		return "jti was used before"
	}
	return ""
}

// isAudience takes a string or an array that holds it (RFC 7519 §4.1.3).
func isAudience(raw json.RawMessage, want string) bool {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return one == want
	}
	var many []string
	return json.Unmarshal(raw, &many) == nil && slices.Contains(many, want)
}

// numericDate reads seconds since 1970 (RFC 7519 §2). A number in quotes is
// none, whatever the examples of the Security Framework show.
func numericDate(raw json.RawMessage) (time.Time, bool) {
	var seconds *float64
	if json.Unmarshal(raw, &seconds) != nil || seconds == nil || math.Abs(*seconds) > 1e11 {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(*seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), true
}
