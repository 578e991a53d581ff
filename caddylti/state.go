package caddylti

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"time"

	"github.com/caddy-lti/lti/internal/seal"
	"github.com/caddy-lti/lti/lti"
)

// stateLifetime is how long a login may take, and how long the click may take
// that opens a window.
const stateLifetime = 10 * time.Minute

// maxKeptHints bounds the hints of the platform that travel in the state: it is
// part of a URL.
const maxKeptHints = 2 << 10

// loginState is what a login knew. It travels sealed, in the state parameter
// and in what the browser brings back before that, so that a login costs the
// server nothing.
type loginState struct {
	At         int64  `json:"t"`           // Unix seconds
	Cookie     string `json:"c,omitempty"` // name of the cookie that binds it to the browser
	Proof      []byte `json:"b,omitempty"` // hash of that cookie's value
	Nonce      string `json:"n"`
	Platform   []byte `json:"p"` // hash of issuer and client id
	Target     []byte `json:"l"` // hash of the login's target_link_uri
	Deployment string `json:"d,omitempty"`

	// Storage is the platform's frame that stores what no cookie does, if it has
	// one, and Secret the hash of what was given to it.
	Storage string `json:"s,omitempty"`
	Secret  []byte `json:"h,omitempty"`

	// Once marks what is good once: all that comes of one page's ticket is one
	// launch. Default: the nonce.
	Once string `json:"o,omitempty"`
	// Way is how the launch came to be where it is.
	Way way `json:"w,omitempty"`
	// Browser is a hash of the browser's name, in tickets.
	Browser []byte `json:"u,omitempty"`

	// LoginHint and MessageHint are the platform's, for a launch that may have to
	// be begun again.
	LoginHint   string `json:"lh,omitempty"`
	MessageHint string `json:"mh,omitempty"`

	// Inspection is the one that watches this launch, and its run.
	Inspection string `json:"i,omitempty"`
}

// way is what binds a launch to the browser: the first step of the ladder that
// held.
type way string

const (
	wayCookie  way = "cookie"  // in the LMS's frame, or where the LMS opened it
	wayStorage way = "storage" // LTI Platform Storage, then a window
	wayWindow  way = "window"  // one click opened a window, with a cookie there
)

// Purposes of sealed values. The site is added to them.
const (
	forState   = "state "   // at the platform
	forProbe   = "probe "   // on the way to ourselves
	forWindow  = "window "  // in a page, to begin a login in a window
	forLaunch  = "launch "  // in a page, to end a launch in a window
	forToken   = "token "   // with the app: the session of a launch
	forHandle  = "handle "  // with the app: where scores of a learner go
	forLanding = "landing " // on the way to ourselves, at the end of that
)

func (h *Handler) purpose(r *http.Request, what string) string { return what + h.site(r) }

// seal closes a value for this site.
func (h *Handler) seal(r *http.Request, ready *ready, what string, v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return ready.ring.Sealer().Seal(h.purpose(r, what), plain), nil
}

// unseal opens a state that was sealed for that, and finds its platform.
func (h *Handler) unseal(r *http.Request, sealer *seal.Sealer, what, sealed string, now time.Time) (*loginState, *Platform, error) {
	invalid, expired := lti.CodeStateInvalid, lti.CodeStateExpired
	if what == forWindow {
		invalid, expired = lti.CodeTicketInvalid, lti.CodeTicketExpired
	}
	plain, err := sealer.Open(h.purpose(r, what), sealed)
	if err != nil {
		return nil, nil, lti.Refuse(invalid, "it was not made by this site")
	}
	st := new(loginState)
	if err := json.Unmarshal(plain, st); err != nil {
		return nil, nil, &lti.Error{Code: invalid, Err: err}
	}
	var p *Platform
	for _, candidate := range h.all() {
		if subtle.ConstantTimeCompare(registrationHash(&candidate.registration), st.Platform) == 1 {
			p = candidate
		}
	}
	if age := now.Sub(time.Unix(st.At, 0)); age > stateLifetime {
		return st, p, lti.Refuse(expired, "it was made %s ago, more than %s", age.Round(time.Second), stateLifetime)
	}
	if p == nil {
		return st, nil, lti.Refuse(lti.CodePlatformUnknown, "the platform of this login is no longer configured")
	}
	return st, p, nil
}

// proven checks that the request comes from the browser in which the login
// began: it has the cookie.
func (st *loginState) proven(r *http.Request) error {
	secrets := cookies(r, st.Cookie)
	if len(secrets) == 0 {
		return lti.Refuse(lti.CodeStateCookieMissing, "the browser did not send back the cookie of this login: it blocks cookies in this frame, or the launch was begun elsewhere")
	}
	for _, secret := range secrets {
		if subtle.ConstantTimeCompare(hashOf(secret), st.Proof) == 1 {
			return nil
		}
	}
	return lti.Refuse(lti.CodeStateCookieMismatch, "the cookie of this login has another value: the launch was begun in another browser")
}

// bind gives the state a cookie of its own.
func (st *loginState) bind(w http.ResponseWriter, r *http.Request, now time.Time) {
	cookie, secret := newStateCookie(w, r, now)
	st.Cookie, st.Proof = cookie, hashOf(secret)
}

// hashOf is what a state knows of a secret that has to come back.
func hashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

func shortHash(s string) []byte { return hashOf(s)[:16] }

// registrationHash names a registration in a state.
func registrationHash(p *lti.Platform) []byte {
	return shortHash(p.Issuer + "\x00" + p.ClientID)
}
