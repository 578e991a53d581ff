package caddylti

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/page"
	"github.com/caddy-lti/lti/lti"
)

// A launch has to come back to the browser in which it began, and leave a
// session there. In an LMS's frame browsers may keep no cookie, so there is a
// ladder:
//
//  1. a partitioned cookie, which most browsers keep. Where it is not known to
//     come back, one redirect to ourselves finds out, before the platform's hint
//     is spent (/login?probe=);
//  2. the platform's storage (LTI OIDC Login with LTI Client Side postMessages),
//     if it offers one. It proves the browser, but gives no session in the frame;
//  3. one click that opens a window, where cookies are first-party: the login
//     goes on there (a ticket posted to /login), or a launch that is proven ends
//     there (a ticket posted to /launch).
//
// A ticket is in a page of ours, never in a URL. It begins or ends one launch,
// and only our own page may post it.

// maxProbe bounds the URL of the redirect to ourselves. Longer hints of a
// platform go unprobed.
const maxProbe = 8 << 10

// probes reports whether it has to be found out if the browser keeps cookies.
func probes(r *http.Request, storage bool) bool {
	if keepsCookies(r) {
		return false
	}
	if r.Header.Get("Sec-Fetch-Dest") == "" {
		// No browser, or one that is too old to say.
		return storage || strings.HasPrefix(r.UserAgent(), "Mozilla/")
	}
	return framed(r)
}

// framed reports whether the browser says that the answer is for a frame.
func framed(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "iframe", "frame", "embed", "object":
		return true
	}
	return false
}

// goOn sends the browser on with a login: to the platform, or first to ourselves.
func (h *Handler) goOn(w http.ResponseWriter, r *http.Request, ready *ready, p *Platform, st *loginState, origin string, probe bool, seen *watch) error {
	if probe {
		sealed, err := h.seal(r, ready, forProbe, st)
		if err != nil {
			return err
		}
		if location := origin + h.Base + "/login?probe=" + sealed; len(location) <= maxProbe {
			h.logger.Info("login received; the browser is asked at this site's own address whether it keeps cookies", zap.String("platform", p.Name), zap.String("address", origin))
			redirect(w, http.StatusFound, location)
			return nil
		}
		st.Storage = "" // it cannot be told whether it is needed
	}
	location, err := h.authURL(r, ready, p, st, origin)
	if err != nil {
		return err
	}
	h.logger.Info("login begun", zap.String("platform", p.Name))
	seen.passed(stepSent, p.registration.AuthURL)
	redirect(w, http.StatusFound, location)
	return nil
}

// authURL makes the authentication request of a login.
func (h *Handler) authURL(r *http.Request, ready *ready, p *Platform, st *loginState, origin string) (string, error) {
	kept := *st
	kept.Browser = nil
	if len(st.LoginHint)+len(st.MessageHint) > maxKeptHints || st.Way == wayWindow || (!framed(r) && st.Storage == "") {
		// Outside of frames there is nothing that a new beginning could mend.
		kept.LoginHint, kept.MessageHint = "", ""
	}
	state, err := h.seal(r, ready, forState, &kept)
	if err != nil {
		return "", err
	}
	return lti.AuthRequest{
		ClientID:    p.registration.ClientID,
		RedirectURI: origin + h.Base + "/launch",
		LoginHint:   st.LoginHint,
		MessageHint: st.MessageHint,
		State:       state,
		Nonce:       st.Nonce,
	}.URL(p.registration.AuthURL)
}

func redirect(w http.ResponseWriter, status int, location string) {
	hdr := w.Header()
	hdr.Set("Cache-Control", "no-store")
	hdr.Set("Referrer-Policy", "no-referrer")
	hdr.Set("Location", location)
	w.WriteHeader(status)
}

// serveProbe is where the browser comes back to with the cookie that it was
// given, or without.
func (h *Handler) serveProbe(w http.ResponseWriter, r *http.Request, sealed string, ref *refusal) error {
	now := time.Now()
	ready, err := h.app.open()
	if err != nil {
		return unavailable(err)
	}
	st, p, err := h.unseal(r, ready.ring.Sealer(), forProbe, sealed, now)
	if p != nil {
		ref.platform = p.Name
	}
	if err != nil {
		return err
	}
	ref.watch = h.rewatch(ready, st, now)
	origin, err := h.public(r)
	if err != nil {
		return err
	}
	if st.proven(r) == nil {
		st.Storage = ""
		ref.watch.passed(stepCookie, "the browser keeps cookies here")
		return h.goOn(w, r, ready, p, st, origin, false, ref.watch)
	}
	if st.Way == wayWindow {
		ref.page = "cookies_off"
		return lti.Refuse(lti.CodeStateCookieMissing, "the browser keeps no cookie, not even in a window of its own")
	}
	ref.watch.passed(stepCookie, "the browser keeps no cookie in this frame; with one click the launch goes on in a window")
	pg := page.Page{ID: "new_window"}
	if pg.Window, err = h.beginInWindow(r, ready, st, now); err != nil {
		return err
	}
	if st.Storage != "" {
		ref.watch.passed(stepCookie, "the browser keeps no cookie in this frame; the platform's storage is asked")
		secret := randomText(32)
		asked := *st
		asked.Secret = hashOf(secret)
		next, err := h.authURL(r, ready, p, &asked, origin)
		if err != nil {
			return err
		}
		pg.Exchange = &page.Exchange{
			Origin: storageOrigin(p.registration.AuthURL), Frame: st.Storage,
			Key: storageKey(st), Value: secret, Next: next,
		}
		h.logger.Info("login begun, with the platform's storage, for the browser keeps no cookie in this frame", zap.String("platform", p.Name))
	} else {
		h.logger.Info("the browser keeps no cookie in this frame: the person is asked to open a window", zap.String("platform", p.Name))
	}
	return h.in(r).Write(w, http.StatusOK, pg)
}

// storageKey is under which the platform stores; the nonce keeps launches apart.
func storageKey(st *loginState) string { return "lti_state_" + st.Nonce }

// beginInWindow returns the form that begins the login anew in a window of its
// own, or nil if the platform's hints are not known.
func (h *Handler) beginInWindow(r *http.Request, ready *ready, st *loginState, now time.Time) (*page.Form, error) {
	if st.LoginHint == "" {
		return nil, nil //nolint:nilnil // no form is an answer
	}
	t := loginState{
		At: now.Unix(), Platform: st.Platform, Target: st.Target, Deployment: st.Deployment,
		LoginHint: st.LoginHint, MessageHint: st.MessageHint,
		Once: randomText(16), Way: wayWindow, Browser: browserOf(r), Inspection: st.Inspection,
	}
	sealed, err := h.seal(r, ready, forWindow, &t)
	if err != nil {
		return nil, err
	}
	return &page.Form{Action: h.Base + "/login", Values: []page.Value{{Name: "ticket", Value: sealed}}}, nil
}

// browserOf tells browsers apart roughly: a ticket is posted by the page that it
// is in, so whoever calls himself otherwise has it from somewhere else.
func browserOf(r *http.Request) []byte { return shortHash("browser " + r.UserAgent()) }

// ownPage refuses what was not posted by a page of this site. Unlike for logout,
// whoever does not say where he comes from is refused.
func (h *Handler) ownPage(r *http.Request) error {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		if site == "same-origin" {
			return nil
		}
	} else if origin, err := h.public(r); err == nil && r.Header.Get("Origin") == origin {
		return nil
	}
	return lti.Refuse(lti.CodeRequestForeignOrigin, "only a page of this site may post this")
}

// serveWindowLogin begins a login in the window that one click opened.
func (h *Handler) serveWindowLogin(w http.ResponseWriter, r *http.Request, form url.Values, ref *refusal) error {
	now := time.Now()
	// The URL of the page with the ticket is not told to anyone, so that old
	// browsers do not say where its form comes from either. Anybody can begin a
	// login; it is the cookie then set that counts.
	if r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != "null" {
		if err := h.ownPage(r); err != nil {
			return err
		}
	}
	ready, err := h.app.open()
	if err != nil {
		return unavailable(err)
	}
	st, p, err := h.unseal(r, ready.ring.Sealer(), forWindow, form.Get("ticket"), now)
	if p != nil {
		ref.platform = p.Name
	}
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(st.Browser, browserOf(r)) != 1 {
		return lti.Refuse(lti.CodeTicketElsewhere, "the ticket was given to another browser")
	}
	used, err := isUsed(r, ready, st.Once)
	if err != nil {
		return err
	}
	if used {
		return lti.Refuse(lti.CodeTicketUsed, "the launch of this ticket has taken place")
	}
	origin, err := h.public(r)
	if err != nil {
		return err
	}
	probe := !keepsCookies(r)
	st.At, st.Nonce, st.Browser = now.Unix(), randomText(16), nil
	st.bind(w, r, now)
	ref.watch = h.rewatch(ready, st, now)
	ref.watch.passed(stepCookie, "the person clicked, and the launch goes on in a window")
	return h.goOn(w, r, ready, p, st, origin, probe, ref.watch)
}

// accepted is a launch in which nothing was found wrong.
type accepted struct {
	At       int64           `json:"t"` // Unix seconds
	Once     string          `json:"o"`
	Browser  []byte          `json:"u"`
	Way      way             `json:"w"`
	Platform string          `json:"p"`
	Person   string          `json:"k"`
	Target   string          `json:"l"`
	Activity string          `json:"a"`
	Facts    json.RawMessage `json:"f"`
	Pick     json.RawMessage `json:"dl,omitempty"` // the deep-linking request, if it is one

	login string // the secret that bound it to this browser

	// For the log.
	LaunchID   string `json:"i"`
	Deployment string `json:"d"`
	Message    string `json:"m"`
}

// endInWindow answers a launch that is proven where no session can be: one click
// opens a window for it.
func (h *Handler) endInWindow(w http.ResponseWriter, r *http.Request, ready *ready, a *accepted, seen *watch) error {
	a.Once, a.Browser = randomText(16), browserOf(r)
	sealed, err := h.seal(r, ready, forLaunch, a)
	if err != nil {
		return err
	}
	seen.passed(stepSession, "after one click, in a window: the browser keeps no cookie in this frame")
	return h.in(r).Write(w, http.StatusOK, page.Page{ID: "new_window", TellOrigin: true, Window: &page.Form{
		Action: h.Base + "/launch", Values: []page.Value{{Name: "ticket", Value: sealed}},
	}})
}

// redeem opens what endInWindow sealed: once, in the same browser, soon.
func (h *Handler) redeem(r *http.Request, ready *ready, sealed string, now time.Time, ref *refusal) (*accepted, error) {
	if err := h.ownPage(r); err != nil {
		return nil, err
	}
	plain, err := ready.ring.Sealer().Open(h.purpose(r, forLaunch), sealed)
	if err != nil {
		return nil, lti.Refuse(lti.CodeTicketInvalid, "it was not made by this site")
	}
	a := new(accepted)
	if err := json.Unmarshal(plain, a); err != nil {
		return nil, &lti.Error{Code: lti.CodeTicketInvalid, Err: err}
	}
	ref.platform = a.Platform
	age := now.Sub(time.Unix(a.At, 0))
	if age > stateLifetime {
		return nil, lti.Refuse(lti.CodeTicketExpired, "it was made %s ago, more than %s", age.Round(time.Second), stateLifetime)
	}
	if subtle.ConstantTimeCompare(a.Browser, browserOf(r)) != 1 {
		return nil, lti.Refuse(lti.CodeTicketElsewhere, "the ticket was given to another browser")
	}
	if h.platform(a.Platform) == nil {
		return nil, lti.Refuse(lti.CodePlatformUnknown, "the platform of this launch is no longer configured")
	}
	fresh, err := useUp(r, ready, a.Once, stateLifetime-age+time.Minute)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, lti.Refuse(lti.CodeTicketUsed, "the ticket has been used before")
	}
	return a, nil
}

// landing is where a window goes on to once it is known to keep cookies.
type landing struct {
	At     int64  `json:"t"` // Unix seconds
	Target string `json:"l"`
}

// checkLanding sends a window on by way of ourselves.
func (h *Handler) checkLanding(w http.ResponseWriter, r *http.Request, ready *ready, target string, now time.Time) error {
	origin, err := h.public(r)
	if err != nil {
		return err
	}
	sealed, err := h.seal(r, ready, forLanding, landing{now.Unix(), target})
	if err != nil {
		return err
	}
	if location := origin + h.Base + "/login?landed=" + sealed; len(location) <= maxProbe {
		target = location
	}
	redirect(w, http.StatusSeeOther, target)
	return nil
}

// serveLanding is where the window comes back to, with the cookie of its
// session or without.
func (h *Handler) serveLanding(w http.ResponseWriter, r *http.Request, sealed string, ref *refusal) error {
	ready, err := h.app.open()
	if err != nil {
		return unavailable(err)
	}
	plain, err := ready.ring.Sealer().Open(h.purpose(r, forLanding), sealed)
	if err != nil {
		return lti.Refuse(lti.CodeTicketInvalid, "it was not made by this site")
	}
	var to landing
	if err := json.Unmarshal(plain, &to); err != nil {
		return &lti.Error{Code: lti.CodeTicketInvalid, Err: err}
	}
	if age := time.Since(time.Unix(to.At, 0)); age > stateLifetime {
		return lti.Refuse(lti.CodeTicketExpired, "it was made %s ago, more than %s", age.Round(time.Second), stateLifetime)
	}
	if !keepsCookies(r) {
		ref.page = "cookies_off"
		return lti.Refuse(lti.CodeSessionMissing, "the browser keeps no cookie, not even in a window of its own")
	}
	h.logger.Info("the window keeps cookies, and goes on to its page")
	redirect(w, http.StatusSeeOther, to.Target)
	return nil
}

// askStorage answers a launch in which nothing is wrong but that no cookie shows
// whose browser it is: the page asks the platform's storage, and posts the
// launch once more with what it said.
func (h *Handler) askStorage(w http.ResponseWriter, r *http.Request, ready *ready, st *loginState, p *Platform, res *lti.AuthResponse, now time.Time) error {
	pg := page.Page{ID: "storage_failed", TellOrigin: true, Exchange: &page.Exchange{
		Origin: storageOrigin(p.registration.AuthURL), Frame: st.Storage, Key: storageKey(st),
		Proof: &page.Form{Action: h.Base + "/launch", Values: []page.Value{
			{Name: "state", Value: res.State}, {Name: "id_token", Value: res.IDToken},
		}},
	}}
	var err error
	if pg.Window, err = h.beginInWindow(r, ready, st, now); err != nil {
		return err
	}
	return h.in(r).Write(w, http.StatusOK, pg)
}

// storageProven checks what the platform's storage said. That our own page
// asked it is as important as the answer: whoever began the login knows it too.
func (h *Handler) storageProven(r *http.Request, st *loginState, form url.Values) error {
	if err := h.ownPage(r); err != nil {
		return err
	}
	if reason := form.Get("storage_error"); reason != "" {
		return lti.Refuse(lti.CodeStorageFailed, "the platform's storage, in frame %s, failed: %s", lti.Quote(st.Storage), lti.Quote(reason))
	}
	if subtle.ConstantTimeCompare(hashOf(form.Get("storage_proof")), st.Secret) != 1 {
		return lti.Refuse(lti.CodeStorageFailed, "the platform's storage, in frame %s, gave back something else than it got", lti.Quote(st.Storage))
	}
	return nil
}

// storageOrigin is where messages for the platform's storage go, and where
// answers come from: the origin of the authorization endpoint. Old
// registrations with Canvas have an endpoint where the storage is not.
func storageOrigin(authURL string) string {
	u, err := url.Parse(authURL)
	if err != nil {
		return "" // it was checked when the configuration was loaded
	}
	origin := originOf(u)
	if moved, ok := canvasStorage[origin]; ok {
		return moved
	}
	return origin
}
