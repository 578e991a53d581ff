package caddylti

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/session"
	"github.com/caddy-lti/lti/lti"
)

// serveLaunch is the redirect URI (Security Framework §5.1.1.3): it believes the
// platform's message or not, and if it does, makes a session and sends the
// browser to the page that was meant.
func (h *Handler) serveLaunch(w http.ResponseWriter, r *http.Request) error {
	begun := time.Now()
	ref := &refusal{form: true}
	target, err := h.launch(w, r, begun, ref)
	if err != nil {
		ref.err = err
		return h.refuse(w, r, ref)
	}
	hdr := w.Header()
	hdr.Set("Cache-Control", "no-store")
	hdr.Set("Referrer-Policy", "no-referrer")
	hdr.Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

func (h *Handler) launch(w http.ResponseWriter, r *http.Request, now time.Time, ref *refusal) (string, error) {
	form, err := readForm(w, r, maxLaunchBody)
	if err != nil {
		return "", err
	}
	res, err := lti.ParseAuthResponse(form)
	if err != nil {
		return "", err
	}
	ready, err := h.app.open()
	if err != nil {
		return "", &lti.Error{Code: lti.CodeStoreUnavailable, Err: err}
	}
	// The state comes first: without it neither a token nor an error is anyone's.
	st, p, err := h.openState(r, ready.ring.Sealer(), res.State, now)
	if p != nil {
		ref.platform = p.Name
	}
	if err != nil {
		return "", err
	}
	if res.Error != "" {
		return "", h.platformError(res, ref)
	}
	origin, err := h.public(r)
	if err != nil {
		return "", err
	}
	verifier := lti.Verifier{Anonymous: h.Anonymous == "allow", Accepts: h.accepts}
	l, err := verifier.Verify(r.Context(), &p.registration, p.keys, res.IDToken, lti.Expected{Nonce: st.Nonce, Deployment: st.Deployment})
	if err != nil {
		return "", err
	}
	ref.more = append(ref.more, zap.String("deployment_id", l.DeploymentID), zap.String("message_type", l.MessageType))
	target, err := h.target(l, origin)
	if err != nil {
		return "", err
	}
	if len(h.roles) > 0 && !l.HasRole(h.roles...) {
		return "", lti.Refuse(lti.CodeRoleRefused, "none of the person's roles is allowed here")
	}
	remoteUser, err := h.remoteUser(p, l)
	if err != nil {
		return "", err
	}
	// Only now, when everything else is in order, is the nonce used up; and
	// whoever uses it first, wins.
	left := time.Unix(st.At, 0).Add(stateLifetime + time.Minute).Sub(now)
	fresh, err := ready.store.PutIfAbsent(r.Context(), "nonce:"+st.Nonce, []byte{1}, left)
	if err != nil {
		return "", &lti.Error{Code: lti.CodeStoreUnavailable, Err: err}
	}
	if !fresh {
		return "", lti.Refuse(lti.CodeNonceReused, "this launch has been used before")
	}
	launchID := randomText(16)
	f := h.keep(p, l, launchID, remoteUser)
	data, err := json.Marshal(f)
	if err != nil {
		return "", err
	}
	if err := h.newSession(w, r, ready, personKey(p, l, launchID), data); err != nil {
		return "", err
	}
	setCookie(w, st.Cookie, "", -1)
	fields := []zap.Field{
		zap.String("platform", p.Name),
		zap.String("deployment_id", l.DeploymentID),
		zap.String("message_type", l.MessageType),
		zap.String("launch_id", launchID),
		zap.Duration("login_took", now.Sub(time.Unix(st.At, 0)).Round(time.Second)),
	}
	h.logger.Info("launch accepted", fields...)
	if !bytes.Equal(shortHash(l.TargetLinkURI), st.Target) {
		h.logger.Warn("the signed target_link_uri differs from the one of the login, which is ignored", fields...)
	}
	return target, nil
}

// newSession makes the session of a launch and gives its id to the browser.
// What somebody else had open there ends.
func (h *Handler) newSession(w http.ResponseWriter, r *http.Request, ready *ready, person string, data []byte) error {
	held, err := h.held(r, ready)
	if err != nil {
		return err
	}
	var previous *session.Session
	for _, s := range held {
		if s.Person() == person {
			previous = s
		} else if err := ready.sessions.End(r.Context(), s, h.limits); err != nil {
			return &lti.Error{Code: lti.CodeStoreUnavailable, Err: err}
		}
	}
	id, err := ready.sessions.Create(r.Context(), h.site(r), person, data, previous, h.limits)
	if err != nil {
		return &lti.Error{Code: lti.CodeStoreUnavailable, Err: err}
	}
	setCookie(w, h.cookie, id, 0)
	return nil
}

// target returns the address at which a launch lands: the signed
// target_link_uri, if it is of this site (LTI 1.3 §5.3.4).
func (h *Handler) target(l *lti.Launch, origin string) (string, error) {
	if path := h.Messages[l.MessageType]; path != "" {
		return origin + path, nil
	}
	foreign := func(why string) error {
		return lti.Refuse(lti.CodeTargetForeign, "target_link_uri %s; this site is %s", why, origin)
	}
	raw := l.TargetLinkURI
	if strings.ContainsAny(raw, "\\\r\n\t\x00") {
		return "", foreign("has characters that do not belong in a URL")
	}
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" {
		return "", foreign("is not a URL")
	}
	if u.User != nil {
		return "", foreign("has a user name in it")
	}
	if originOf(u) != origin {
		return "", foreign("is of another site, " + lti.Quote(originOf(u)))
	}
	if u.Path == "" {
		u.Path = "/"
	}
	// The tool's own addresses stand for the tool: administrators enter the
	// launch URL, and certification sends it.
	where := classifyURL(u)
	if h.under(where.path) || (where.odd && h.under(where.cleaned())) {
		return origin + h.Home, nil
	}
	out := origin + u.EscapedPath()
	if u.RawQuery != "" || u.ForceQuery {
		out += "?" + escapeRest(u.RawQuery)
	}
	if u.Fragment != "" {
		out += "#" + u.EscapedFragment()
	}
	return out, nil
}

// escapeRest escapes what may not stand in a Location header and leaves the
// rest of a query as it is.
func escapeRest(query string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(query) {
		if c := query[i]; c <= 0x20 || c >= 0x7f || c == '"' || c == '<' || c == '>' {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// platformError is the answer to a platform that says no (OpenID Connect Core
// §3.1.2.6). Its words never reach the page.
func (h *Handler) platformError(res *lti.AuthResponse, ref *refusal) error {
	switch res.Error {
	case "login_required", "interaction_required", "account_selection_required", "consent_required":
		ref.page = "platform_login_required"
	case "launch_no_longer_valid": // Canvas
		ref.page = "platform_launch_expired"
	}
	// Whom its words name is not known, so they are for those who ask for them.
	h.logger.Debug("words of a platform that broke off", zap.String("platform", ref.platform), zap.String("error_description", lti.Quote(res.ErrorDescription)))
	return lti.Refuse(lti.CodePlatformError, "the platform answered %s; its words are logged at level DEBUG", lti.Quote(res.Error))
}
