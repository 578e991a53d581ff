package caddylti

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-lti/lti/lti"
)

const (
	maxLoginBody  = 64 << 10
	maxLaunchBody = 256 << 10

	// maxDeployment is the length that lti_deployment_id may have at login; it
	// travels in the state.
	maxDeployment = 255
)

// serveLogin begins a launch (Security Framework §5.1.1.1): it sends the browser
// to the platform with an authentication request. It is also where the browser
// comes back to while it is found out how the launch can be bound to it.
func (h *Handler) serveLogin(w http.ResponseWriter, r *http.Request, name string) error {
	// The query may hold hints that are worth something to others.
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	ref := &refusal{form: true}
	if err := h.login(w, r, name, ref); err != nil {
		ref.err = err
		ref.watch.ended(r, ref)
		return h.refuse(w, r, ref)
	}
	ref.watch.ended(r, ref)
	return nil
}

func (h *Handler) login(w http.ResponseWriter, r *http.Request, name string, ref *refusal) error {
	ref.platform = name
	values, err := loginValues(w, r)
	if err != nil {
		return err
	}
	if !values.Has("iss") {
		switch {
		case r.Method == http.MethodGet && values.Has("probe"):
			return h.serveProbe(w, r, values.Get("probe"), ref)
		case r.Method == http.MethodGet && values.Has("landed"):
			return h.serveLanding(w, r, values.Get("landed"), ref)
		case r.Method == http.MethodPost && values.Has("ticket"):
			return h.serveWindowLogin(w, r, values, ref)
		}
	}
	ready, err := h.app.open()
	if err != nil {
		return unavailable(err)
	}
	now := time.Now()
	if ref.watch, err = h.watchLogin(r, ready, values, now); err != nil {
		return unavailable(err)
	}
	req, err := lti.ParseLoginRequest(values)
	if err != nil {
		// The log says who has to mend it, as far as that can be told.
		said := &lti.LoginRequest{Issuer: values.Get("iss"), ClientID: values.Get("client_id")}
		if p, _ := h.choosePlatform(said, name); p != nil {
			ref.platform = p.Name
		}
		return err
	}
	ref.watch.passed(stepLogin, "")
	// Another node may have registered the platform a moment ago.
	if err := h.app.refresh(r.Context(), ready); err != nil {
		return unavailable(err)
	}
	p, err := h.choosePlatform(req, name)
	if err != nil {
		return err
	}
	ref.platform = p.Name
	ref.watch.of(p)
	if len(req.DeploymentID) > maxDeployment {
		return lti.Refuse(lti.CodeRequestMalformed, "lti_deployment_id is longer than %d bytes", maxDeployment)
	}
	origin, err := h.public(r)
	if err != nil {
		return err
	}
	st := &loginState{
		At: now.Unix(), Nonce: randomText(16),
		Platform: registrationHash(&p.registration), Target: shortHash(req.TargetLinkURI), Deployment: req.DeploymentID,
		Way: wayCookie, LoginHint: req.LoginHint, MessageHint: req.MessageHint,
		Inspection: ref.watch.name(),
	}
	probe := probes(r, req.StorageTarget != "")
	if probe {
		st.Storage = req.StorageTarget
	}
	st.bind(w, r, now)
	return h.goOn(w, r, ready, p, st, origin, probe, ref.watch)
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
	body, err := readBody(w, r, limit)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, lti.Refuse(lti.CodeRequestMalformed, "the form cannot be read")
	}
	return form, nil
}

// bodyTimeout is how long the body of a request to our own routes may take to come.
// None is large.
const bodyTimeout = 30 * time.Second

// readSoon reads a body of so many bytes at most, which has to come soon. Whoever
// trickles one would else have a connection and a goroutine for as long as he likes.
func readSoon(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	ctl := http.NewResponseController(w)
	_ = ctl.SetReadDeadline(time.Now().Add(bodyTimeout)) // where that is possible
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err == nil { // else nobody waits for the rest
		_ = ctl.SetReadDeadline(time.Time{})
	}
	return body, err
}

// readBody reads the body of a request that a browser sends.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	body, err := readSoon(w, r, limit)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, lti.Refuse(lti.CodeRequestTooLarge, "the body is larger than %d bytes", limit)
	}
	if err != nil {
		return nil, lti.Refuse(lti.CodeRequestMalformed, "the body broke off, or did not come within %s", bodyTimeout)
	}
	return body, nil
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
	for _, p := range h.all() {
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
	case len(found) == 0 && h.waits(req):
		return nil, lti.Refuse(lti.CodePlatformPending, "the platform with issuer %s registered itself and waits for approval: caddy lti registrations approve ID", lti.Quote(req.Issuer))
	case len(found) == 0:
		return nil, lti.Refuse(lti.CodePlatformUnknown, "no platform here has issuer %s and client id %s", lti.Quote(req.Issuer), lti.Quote(req.ClientID))
	default:
		return nil, lti.Refuse(lti.CodePlatformAmbiguous, "%d platforms have issuer %s and the login names no client id: use %s/login/NAME, or have client_id sent", len(found), lti.Quote(req.Issuer), h.Base)
	}
}
