package caddylti

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/seal"
	"github.com/caddy-lti/lti/lti"
)

const (
	// stateLifetime is how long a login may take.
	stateLifetime = 10 * time.Minute

	maxLoginBody  = 64 << 10
	maxLaunchBody = 256 << 10

	// maxDeployment is the length that lti_deployment_id may have at login; it
	// travels in the state.
	maxDeployment = 255
)

// loginState is what a login knew. It travels sealed in the state parameter, so
// that a login costs the server nothing.
type loginState struct {
	At         int64  `json:"t"` // Unix seconds
	Cookie     string `json:"c"` // name of the cookie that binds it to the browser
	Proof      []byte `json:"b"` // hash of that cookie's value
	Nonce      string `json:"n"`
	Platform   []byte `json:"p"` // hash of issuer and client id
	Target     []byte `json:"l"` // hash of the login's target_link_uri
	Deployment string `json:"d,omitempty"`
}

// registrationHash names a registration in a state.
func registrationHash(p *lti.Platform) []byte {
	return shortHash(p.Issuer + "\x00" + p.ClientID)
}

func shortHash(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:16]
}

func (h *Handler) statePurpose(r *http.Request) string { return "state " + h.site(r) }

// serveLogin begins a launch (Security Framework §5.1.1.1): it sends the browser
// to the platform with an authentication request.
func (h *Handler) serveLogin(w http.ResponseWriter, r *http.Request, name string) error {
	// The query may hold hints that are worth something to others.
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	ref := &refusal{form: true}
	fail := func(err error) error {
		ref.err = err
		return h.refuse(w, r, ref)
	}
	values, err := loginValues(w, r)
	if err != nil {
		return fail(err)
	}
	req, err := lti.ParseLoginRequest(values)
	if err != nil {
		return fail(err)
	}
	p, err := h.choosePlatform(req, name)
	if err != nil {
		return fail(err)
	}
	ref.platform = p.Name
	if len(req.DeploymentID) > maxDeployment {
		return fail(lti.Refuse(lti.CodeRequestMalformed, "lti_deployment_id is longer than %d bytes", maxDeployment))
	}
	origin, err := h.public(r)
	if err != nil {
		return fail(err)
	}
	ready, err := h.app.open()
	if err != nil {
		return fail(&lti.Error{Code: lti.CodeStoreUnavailable, Err: err})
	}
	now := time.Now()
	cookie, secret := newStateCookie(w, r, now)
	st := loginState{
		At: now.Unix(), Cookie: cookie, Proof: proof(secret), Nonce: randomText(16),
		Platform: registrationHash(&p.registration), Target: shortHash(req.TargetLinkURI), Deployment: req.DeploymentID,
	}
	plain, err := json.Marshal(st)
	if err != nil {
		return fail(err)
	}
	location, err := lti.AuthRequest{
		ClientID:    p.registration.ClientID,
		RedirectURI: origin + h.Base + "/launch",
		LoginHint:   req.LoginHint,
		MessageHint: req.MessageHint,
		State:       ready.ring.Sealer().Seal(h.statePurpose(r), plain),
		Nonce:       st.Nonce,
	}.URL(p.registration.AuthURL)
	if err != nil {
		return fail(err)
	}
	h.logger.Info("login begun", zap.String("platform", p.Name))
	hdr := w.Header()
	hdr.Set("Cache-Control", "no-store")
	hdr.Set("Referrer-Policy", "no-referrer")
	hdr.Set("Location", location)
	w.WriteHeader(http.StatusFound)
	return nil
}

// proof is what the state knows of the cookie that has to come back.
func proof(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// loginValues returns the parameters of a login initiation. Platforms put them
// into the query or into a form, and some a part into each.
func loginValues(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, lti.Refuse(lti.CodeRequestMalformed, "the query cannot be read")
	}
	if r.Method != http.MethodPost {
		return values, nil
	}
	form, err := readForm(w, r, maxLoginBody)
	if err != nil {
		return nil, err
	}
	for name, vals := range form {
		values[name] = append(values[name], vals...)
	}
	return values, nil
}

// readForm reads a posted form of at most that many bytes.
func readForm(w http.ResponseWriter, r *http.Request, limit int64) (url.Values, error) {
	mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mt != "application/x-www-form-urlencoded" {
		return nil, lti.Refuse(lti.CodeRequestMalformed, "the Content-Type is %s, expected application/x-www-form-urlencoded", lti.Quote(r.Header.Get("Content-Type")))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, lti.Refuse(lti.CodeRequestTooLarge, "the form is larger than %d bytes", limit)
	}
	if err != nil {
		return nil, lti.Refuse(lti.CodeRequestMalformed, "the form could not be read to its end")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, lti.Refuse(lti.CodeRequestMalformed, "the form cannot be read")
	}
	return form, nil
}

// choosePlatform finds the registration that a login is for (LTI 1.3 §4.1.3):
// by the name in the path, by issuer and client id, or by the issuer alone where
// that leaves no choice.
func (h *Handler) choosePlatform(req *lti.LoginRequest, name string) (*Platform, error) {
	fits := func(p *Platform) bool {
		return p.registration.Issuer == req.Issuer && (req.ClientID == "" || p.registration.ClientID == req.ClientID)
	}
	if name != "" {
		p := h.platform(name)
		if !fits(p) {
			return nil, lti.Refuse(lti.CodePlatformUnknown, "the login for platform %s names issuer %s and client id %s, it is registered with %s and %s",
				name, lti.Quote(req.Issuer), lti.Quote(req.ClientID), lti.Quote(p.registration.Issuer), lti.Quote(p.registration.ClientID))
		}
		return p, nil
	}
	var found []*Platform
	for _, p := range h.Platforms {
		if fits(p) {
			found = append(found, p)
		}
	}
	known := len(found)
	if known > 1 && req.DeploymentID != "" {
		// Deployments are unique within an issuer, if they are listed.
		found = slices.DeleteFunc(found, func(p *Platform) bool { return !p.registration.HasDeployment(req.DeploymentID) })
	}
	switch {
	case len(found) == 0 && known > 1:
		return nil, lti.Refuse(lti.CodeDeploymentUnknown, "%d platforms have issuer %s, the login names no client id, and none of them lists its deployment %s", known, lti.Quote(req.Issuer), lti.Quote(req.DeploymentID))
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0:
		return nil, lti.Refuse(lti.CodePlatformUnknown, "no platform here has issuer %s and client id %s", lti.Quote(req.Issuer), lti.Quote(req.ClientID))
	default:
		return nil, lti.Refuse(lti.CodePlatformAmbiguous, "%d platforms have issuer %s and the login names no client id: use %s/login/NAME, or have client_id sent", len(found), lti.Quote(req.Issuer), h.Base)
	}
}

// openState undoes what serveLogin sealed, and checks that it is this browser's.
func (h *Handler) openState(r *http.Request, sealer *seal.Sealer, state string, now time.Time) (*loginState, *Platform, error) {
	plain, err := sealer.Open(h.statePurpose(r), state)
	if err != nil {
		return nil, nil, lti.Refuse(lti.CodeStateInvalid, "the state was not made by this site")
	}
	st := new(loginState)
	if err := json.Unmarshal(plain, st); err != nil {
		return nil, nil, &lti.Error{Code: lti.CodeStateInvalid, Err: err}
	}
	var p *Platform
	for _, candidate := range h.Platforms {
		if subtle.ConstantTimeCompare(registrationHash(&candidate.registration), st.Platform) == 1 {
			p = candidate
		}
	}
	age := now.Sub(time.Unix(st.At, 0))
	if age > stateLifetime {
		return st, p, lti.Refuse(lti.CodeStateExpired, "the login began %s ago, more than %s", age.Round(time.Second), stateLifetime)
	}
	secrets := cookies(r, st.Cookie)
	if len(secrets) == 0 {
		return st, p, lti.Refuse(lti.CodeStateCookieMissing, "the browser did not send back the cookie of this login: it blocks cookies in this frame, or the launch was begun elsewhere")
	}
	for _, secret := range secrets {
		if subtle.ConstantTimeCompare(proof(secret), st.Proof) == 1 {
			if p == nil {
				return st, nil, lti.Refuse(lti.CodePlatformUnknown, "the platform of this login is no longer configured")
			}
			return st, p, nil
		}
	}
	return st, p, lti.Refuse(lti.CodeStateCookieMismatch, "the cookie of this login has another value: the launch was begun in another browser")
}
