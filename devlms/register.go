package devlms

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	configurationPath = "/.well-known/openid-configuration"
	registerPath      = "/register"
	tokenParam        = "registration_token"

	// offerLifetime is how long a registration may take, as in Canvas and Moodle.
	offerLifetime = time.Hour

	maxOffers       = 1_000
	maxRegistration = 64 << 10
)

// offer is one registration that the administrator has begun. Its id and its secret
// together are the registration token.
type offer struct {
	id, secret string
	issuer     string
	url        string // of the tool, where it begins
	inWindow   bool
	expires    time.Time

	// Under the lock of the state.
	used    bool
	tool    string // the name of what has come of it
	refused string // why it was refused last
}

func (o *offer) token() string { return o.id + "." + o.secret }

// propose remembers an offer.
func (s *state) propose(o *offer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offers.add(o.id, o)
}

// offer returns one of an issuer, or nil, and what has come of it.
func (s *state) offer(issuer, id string) (o *offer, tool, refused string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, _ = s.offers.get(id)
	if o == nil || o.issuer != issuer {
		return nil, "", ""
	}
	return o, o.tool, o.refused
}

// offered finds the offer of a token that is still good.
func (s *state) offered(issuer, token string, now time.Time) (*offer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, secret, _ := strings.Cut(token, ".")
	o, _ := s.offers.get(id)
	switch {
	case o == nil || o.issuer != issuer || subtle.ConstantTimeCompare([]byte(o.secret), []byte(secret)) != 1:
		return nil, errors.New("the registration token is not one of this platform")
	case o.used:
		return nil, errors.New("the registration token was used before")
	case !now.Before(o.expires):
		return nil, errors.New("the registration token has expired")
	}
	return o, nil
}

// claim uses an offer, once.
func (s *state) claim(o *offer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !o.used
	o.used = true
	return first
}

// concluded remembers what has come of an offer: a tool, or why not, and then it is
// as good as before.
func (s *state) concluded(o *offer, tool, refused string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.tool, o.refused, o.used = tool, refused, tool != ""
}

// initiation is the URL that the tool is opened with (LTI Dynamic Registration 1.0
// §3.1). What it had in its query stays as it is.
func (p *platform) initiation(o *offer) string {
	configuration := o.issuer + configurationPath
	token := tokenParam + "=" + url.QueryEscape(o.token())
	query := "openid_configuration=" + url.QueryEscape(configuration)
	switch p.registration.Token {
	case tokenURL:
		query = "openid_configuration=" + url.QueryEscape(configuration+"?"+token)
	case tokenConfig:
		query = "openid_configuration=" + url.QueryEscape(configuration+"?"+token) + "&" + token
	default:
		query += "&" + token
	}
	switch {
	case !strings.Contains(o.url, "?"):
		return o.url + "?" + query
	case strings.HasSuffix(o.url, "?"), strings.HasSuffix(o.url, "&"):
		return o.url + query
	}
	return o.url + "&" + query
}

// registering serves what tools call to register, from their servers or from a page
// of theirs: nothing rests on cookies here, so a page of any origin may.
func (p *platform) registering(serve func(*visit) error) func(*visit) error {
	return func(v *visit) error {
		if p.registration.Off {
			return p.notFound(v)
		}
		h := v.w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		if v.r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, POST")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Accept")
			v.w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return serve(v)
	}
}

// configuration is the platform's configuration (LTI Dynamic Registration 1.0 §3.4,
// OpenID Connect Discovery §3).
func (p *platform) configuration(v *visit) error {
	endpoint := v.issuer + registerPath
	switch p.registration.Token {
	case tokenConfig:
		if _, refused := p.offerOf(v); refused != nil {
			return p.refuseRegistration(v, http.StatusUnauthorized, refused)
		}
	case tokenURL:
		if token := v.r.URL.Query().Get(tokenParam); token != "" {
			endpoint += "?" + tokenParam + "=" + url.QueryEscape(token)
		}
	}
	own := map[string]any{
		"product_family_code": productFamily,
		"version":             productVersion,
		"messages_supported": []map[string]any{
			{"type": messageResourceLink},
			{"type": messageDeepLink, "placements": []string{placeContent}},
		},
		"variables": variables,
	}
	if p.registration.Messages == messagesStrings {
		own["messages_supported"] = []string{messageResourceLink, messageDeepLink}
		own["placements"] = []string{"AddContentMenu"}
	}
	answerJSON(v, http.StatusOK, "application/json", map[string]any{
		"issuer":                                v.issuer,
		"authorization_endpoint":                v.issuer + "/auth",
		"registration_endpoint":                 endpoint,
		"jwks_uri":                              v.issuer + "/jwks",
		"token_endpoint":                        v.issuer + tokenPath,
		"token_endpoint_auth_methods_supported": []string{authMethod},
		"token_endpoint_auth_signing_alg_values_supported": []string{signingAlg},
		"scopes_supported":                      append([]string{scopeOpenID}, allScopes()...),
		"response_types_supported":              []string{responseType},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{signingAlg},
		"claims_supported":                      claimsSupported,
		platformMember:                          own,
	})
	return nil
}

// register is the registration endpoint (LTI Dynamic Registration 1.0 §3.5).
func (p *platform) register(v *visit) error {
	v.w.Header().Set("Cache-Control", "no-store")
	o, refused := p.offerOf(v)
	if refused != nil {
		return p.refuseRegistration(v, http.StatusUnauthorized, refused)
	}
	m, refused := p.readRegistration(v)
	if refused == nil && !p.state.claim(o) {
		return p.refuseRegistration(v, http.StatusUnauthorized, &authError{invalidToken, "the registration token was used before"})
	}
	var a *applicant
	if refused == nil {
		var ok bool
		if a, ok = p.apply(p.state.book(v.issuer), m, strings.ToLower(rand.Text()[:16])); !ok {
			refused = &authError{invalidMetadata, "no more tools can register here until the administrator has removed some"}
		}
	}
	if refused != nil {
		p.state.concluded(o, "", refused.description)
		return p.refuseRegistration(v, http.StatusBadRequest, refused)
	}
	p.state.concluded(o, a.Name, "")
	p.log.Info("a tool has registered itself and waits for the administrator",
		zap.String("tool", a.Name), zap.String("client_id", a.ClientID), zap.String("login", a.LoginURL))
	answerJSON(v, http.StatusCreated, "application/json", a.registered(p.registration))
	return nil
}

// offerOf checks the token of a request.
func (p *platform) offerOf(v *visit) (*offer, *authError) {
	token := v.r.URL.Query().Get(tokenParam)
	if p.registration.Token != tokenURL {
		var scheme string
		scheme, token, _ = strings.Cut(v.r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || strings.TrimSpace(token) == "" {
			return nil, &authError{"", "the registration token is missing: it goes into the header Authorization, after Bearer"}
		}
	}
	o, err := p.state.offered(v.issuer, strings.TrimSpace(token), p.now())
	if err != nil {
		return nil, &authError{invalidToken, err.Error()}
	}
	return o, nil
}

func (p *platform) readRegistration(v *visit) (*metadata, *authError) {
	if kind, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, &authError{invalidMetadata, "the content type must be application/json"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(v.w, v.r.Body, maxRegistration))
	if err != nil {
		return nil, &authError{invalidMetadata, "the registration cannot be read, or is too large"}
	}
	return readMetadata(body, p.registration.gives)
}

// refuseRegistration answers as OpenID Connect Registration §3.3 says, or as Moodle
// does.
func (p *platform) refuseRegistration(v *visit, status int, refused *authError) error {
	p.log.Debug("registration refused", zap.String("error", refused.code), zap.String("description", refused.description))
	if status == http.StatusUnauthorized {
		challenge := "Bearer"
		if refused.code != "" { // none where there was no token (RFC 6750 §3.1)
			challenge += ` error="` + refused.code + `"`
		}
		v.w.Header().Set("WWW-Authenticate", challenge)
	}
	if p.registration.Errors == errorsText {
		h := v.w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		v.w.WriteHeader(status)
		_, _ = io.WriteString(v.w, refused.description)
		return nil
	}
	code := refused.code
	if code == "" {
		code = invalidToken
	}
	answerJSON(v, status, "application/json", map[string]string{"error": code, "error_description": refused.description})
	return nil
}
