package caddylti

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/registry"
	"github.com/caddy-lti/lti/internal/session"
	"github.com/caddy-lti/lti/lti"
	"github.com/caddy-lti/lti/store"
)

// serveLaunch is the redirect URI (Security Framework §5.1.1.3): it believes the
// platform's message or not, and if it does, makes a session and sends the
// browser to the page that was meant.
func (h *Handler) serveLaunch(w http.ResponseWriter, r *http.Request) error {
	ref := &refusal{form: true}
	if err := h.launch(w, r, ref); err != nil {
		ref.err = err
		ref.watch.ended(r, ref)
		return h.refuse(w, r, ref)
	}
	ref.watch.ended(r, ref)
	return nil
}

func (h *Handler) launch(w http.ResponseWriter, r *http.Request, ref *refusal) error {
	now := time.Now()
	form, err := readForm(w, r, maxLaunchBody)
	if err != nil {
		return err
	}
	ready, err := h.app.open()
	if err != nil {
		return unavailable(err)
	}
	if form.Has("ticket") && !form.Has("state") {
		a, err := h.redeem(r, ready, form.Get("ticket"), now, ref)
		if err != nil {
			return err
		}
		if err := h.signIn(w, r, ready, a); err != nil {
			return err
		}
		if !keepsCookies(r) {
			return h.checkLanding(w, r, ready, a.Target, now)
		}
		redirect(w, http.StatusSeeOther, a.Target)
		return nil
	}
	res, err := lti.ParseAuthResponse(form)
	if err != nil {
		if _, p, _ := h.unseal(r, ready.ring.Sealer(), forState, form.Get("state"), now); p != nil {
			ref.platform = p.Name
		}
		ref.watch = h.watchLaunch(r, ready, nil, form, now)
		return err
	}
	if err := h.app.refresh(r.Context(), ready); err != nil {
		return unavailable(err)
	}
	// The state comes first: without it neither a token nor an error is anyone's.
	st, p, err := h.unseal(r, ready.ring.Sealer(), forState, res.State, now)
	if p != nil {
		ref.platform = p.Name
	}
	ref.watch = h.watchLaunch(r, ready, st, form, now)
	ref.watch.passed(stepAnswer, "")
	if err != nil {
		return err
	}
	ref.watch.passed(stepState, "")
	var ask bool // the platform's storage has to say whose browser it is
	how := st.Way
	once := cmp.Or(st.Once, st.Nonce)
	if err := st.proven(r); err != nil {
		if codeOf(err) != lti.CodeStateCookieMissing {
			return err
		}
		// A launch that took place has taken its cookie away.
		if used, err := isUsed(r, ready, once); err != nil {
			return err
		} else if used {
			return usedBefore()
		}
		if st.Storage == "" {
			return err
		}
		how = wayStorage
		if ask = !form.Has("storage_proof"); !ask {
			if err := h.storageProven(r, st, form); err != nil {
				ref.window, _ = h.beginInWindow(r, ready, st, now)
				return err
			}
		}
	}
	ref.watch.passed(stepBrowser, "")
	if res.Error != "" {
		return h.platformError(r, ready, st, res, ref, now)
	}
	a, err := h.accept(r, p, st, res, ref)
	if err != nil {
		return err
	}
	if ask {
		ref.watch.passed(stepBrowser, "the platform's storage is being asked")
		return h.askStorage(w, r, ready, st, p, res, now)
	}
	// Only now, when everything else is in order, is the nonce used up; and
	// whoever uses it first, wins.
	fresh, err := useUp(r, ready, once, time.Unix(st.At, 0).Add(2*stateLifetime+time.Minute).Sub(now))
	if err != nil {
		return err
	}
	if !fresh {
		return usedBefore()
	}
	ref.watch.passed(stepOnce, "")
	a.At, a.Way = now.Unix(), how
	if how == wayStorage && !keepsCookies(r) {
		return h.endInWindow(w, r, ready, a, ref.watch)
	}
	if secrets := cookies(r, st.Cookie); len(secrets) > 0 {
		a.login = secrets[0]
		setCookie(w, st.Cookie, "", -1)
	}
	if err := h.signIn(w, r, ready, a); err != nil {
		return err
	}
	ref.watch.passed(stepSession, "")
	redirect(w, http.StatusSeeOther, a.Target)
	return nil
}

// accept checks the platform's message, and makes of it what is kept.
func (h *Handler) accept(r *http.Request, p *Platform, st *loginState, res *lti.AuthResponse, ref *refusal) (*accepted, error) {
	origin, err := h.public(r)
	if err != nil {
		return nil, err
	}
	ref.watch.passed(stepAgrees, "")
	verifier := lti.Verifier{Anonymous: h.Anonymous == "allow", Accepts: h.accepts, Passed: ref.watch.verified()}
	l, err := verifier.Verify(r.Context(), &p.registration, p.keys, res.IDToken, lti.Expected{Nonce: st.Nonce, Deployment: st.Deployment})
	if err != nil {
		return nil, err
	}
	ref.more = append(ref.more, zap.String("deployment_id", l.DeploymentID), zap.String("message_type", l.MessageType))
	ref.back = l.Presentation.ReturnURL
	launchedIn(r, h.pages.Match(l.Locale))
	target, err := h.target(r, l, origin)
	if err != nil {
		return nil, err
	}
	ref.watch.passed(stepLanding, "")
	if len(h.roles) > 0 && !l.HasRole(h.roles...) {
		return nil, lti.Refuse(lti.CodeRoleRefused, "none of the person's roles is allowed here")
	}
	remoteUser, err := h.remoteUser(p, l)
	if err != nil {
		return nil, err
	}
	ref.watch.passed(stepRole, "")
	if !bytes.Equal(shortHash(l.TargetLinkURI), st.Target) {
		h.logger.Warn("the signed target_link_uri differs from the one of the login, which is ignored", append(ref.more, zap.String("platform", p.Name))...)
	}
	launchID := randomText(16)
	kept := h.keep(p, l, launchID, remoteUser)
	var pick json.RawMessage
	if l.MessageType == lti.MessageDeepLinking {
		if pick, err = h.pending(l, kept, time.Now()); err != nil {
			return nil, err
		}
		target = h.pickTarget(target, origin, launchID)
	}
	data, err := json.Marshal(kept)
	if err != nil {
		return nil, err
	}
	return &accepted{
		Pick:     pick,
		Platform: p.Name, LaunchID: launchID, Person: personKey(p, l, launchID), Target: target, Facts: data,
		Activity:   activityOf(l, launchID),
		Deployment: l.DeploymentID, Message: l.MessageType,
	}, nil
}

// activityOf tells activities apart: launches of one lead to one cell of the
// gradebook.
func activityOf(l *lti.Launch, launchID string) string {
	if l.MessageType == lti.MessageDeepLinking {
		return launchID // each has an answer of its own
	}
	sum := shortHash(fmt.Sprintf("%q %q %q %q %q", l.Issuer, l.ClientID, l.DeploymentID, l.Context.ID, l.ResourceLink.ID))
	return base64.RawURLEncoding.EncodeToString(sum)
}

// signIn makes the session of an accepted launch.
func (h *Handler) signIn(w http.ResponseWriter, r *http.Request, ready *ready, a *accepted) error {
	if err := h.learnDeployment(r, ready, a); err != nil {
		return err
	}
	if err := h.newSession(w, r, ready, a); err != nil {
		return err
	}
	if err := h.keepPending(r, ready, a); err != nil {
		return err
	}
	if err := h.rememberCourse(r, ready, a.Facts); err != nil {
		return err
	}
	h.app.launches.WithLabelValues(a.Platform, string(a.Way)).Inc()
	h.logger.Info("launch accepted",
		zap.String("platform", a.Platform),
		zap.String("deployment_id", a.Deployment),
		zap.String("message_type", a.Message),
		zap.String("launch_id", a.LaunchID),
		zap.String("way", string(a.Way)))
	return nil
}

// learnDeployment has a platform that registered itself without naming a
// deployment be known by the first that launches, and refuses any other from then
// on.
func (h *Handler) learnDeployment(r *http.Request, ready *ready, a *accepted) error {
	p := h.platform(a.Platform)
	if p == nil || p.id == "" || !p.registration.AnyDeployment {
		return nil
	}
	reg, err := ready.registry.Learn(r.Context(), p.id, a.Deployment)
	switch {
	case errors.Is(err, registry.ErrUnknown):
		return lti.Refuse(lti.CodePlatformUnknown, "the platform of this launch has been removed")
	case err != nil:
		return unavailable(err)
	case reg.Rule != registry.DeploymentFirst:
		return nil
	case !slices.Contains(reg.Deployments, a.Deployment):
		return lti.Refuse(lti.CodeDeploymentUnknown, "%s; another deployment launched first", lti.Quote(a.Deployment))
	}
	return h.app.refresh(r.Context(), ready)
}

// useUp marks what is good once as used, and says whether it was still good.
func useUp(r *http.Request, ready *ready, once string, left time.Duration) (bool, error) {
	fresh, err := ready.store.PutIfAbsent(r.Context(), "nonce:"+once, []byte{1}, left)
	if err != nil {
		return false, unavailable(err)
	}
	return fresh, nil
}

func usedBefore() error {
	return lti.Refuse(lti.CodeNonceReused, "this launch has been used before")
}

// isUsed reports whether useUp was called.
func isUsed(r *http.Request, ready *ready, once string) (bool, error) {
	switch _, err := ready.store.Get(r.Context(), "nonce:"+once); {
	case err == nil:
		return true, nil
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	default:
		return false, unavailable(err)
	}
}

// newSession makes the session of a launch and gives its id to the browser.
// What somebody else had open there ends, and what the site left there of
// somebody else is forgotten.
func (h *Handler) newSession(w http.ResponseWriter, r *http.Request, ready *ready, a *accepted) error {
	site, ids := h.site(r), cookies(r, h.cookie)
	held, err := h.held(r, ready, ids)
	if err != nil {
		return err
	}
	var previous *session.Session
	for _, s := range held {
		if s.Person() == a.Person {
			previous = s
		} else if err := ready.sessions.End(r.Context(), s, h.limits); err != nil {
			return unavailable(err)
		}
	}
	launch := session.Launch{ID: a.LaunchID, Path: "/", Activity: a.Activity}
	if u, err := url.Parse(a.Target); err == nil {
		launch.Path, launch.Query = u.Path, u.RawQuery
	}
	id, err := ready.sessions.Create(r.Context(), session.New{
		Site: site, Person: a.Person, Launch: launch, Data: a.Facts,
		Previous: previous, Login: a.login, Others: loginSecrets(r, a.login),
	}, h.limits)
	if err != nil {
		return unavailable(err)
	}
	stranger := func(id string) bool { return !session.IsOf(site, id, a.Person) }
	if slices.ContainsFunc(ids, stranger) || slices.ContainsFunc(cookies(r, h.mark), stranger) {
		if err := h.forget(w, r, ready); err != nil {
			return err
		}
	} else if err := ready.book.save(r.Context(), site); err != nil {
		return unavailable(err)
	}
	setCookie(w, h.cookie, id, 0)
	setCookie(w, h.mark, session.Mark(site, a.Person), markAge)
	return nil
}

// target returns the address at which a launch lands: the signed
// target_link_uri, if it is of this site (LTI 1.3 §5.3.4).
func (h *Handler) target(r *http.Request, l *lti.Launch, origin string) (string, error) {
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
		return cmp.Or(h.itemTarget(r, l, origin, ""), origin+h.Home), nil
	}
	out := origin + u.EscapedPath()
	if u.RawQuery != "" || u.ForceQuery {
		out += "?" + escapeRest(u.RawQuery)
	}
	if moved := h.itemTarget(r, l, origin, strings.TrimPrefix(out, origin)); moved != "" {
		return moved, nil
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
func (h *Handler) platformError(r *http.Request, ready *ready, st *loginState, res *lti.AuthResponse, ref *refusal, now time.Time) error {
	switch res.Error {
	case "login_required", "interaction_required", "account_selection_required", "consent_required":
		ref.page = "platform_login_required"
		// In a frame the browser may have kept the platform's own cookie back.
		if framed(r) {
			var err error
			if ref.window, err = h.beginInWindow(r, ready, st, now); err != nil {
				return err
			}
			if ref.window != nil {
				ref.page = "platform_login_required_frame"
			}
		}
	case "launch_no_longer_valid": // Canvas
		ref.page = "platform_launch_expired"
	}
	// Whom its words name is not known, so they are for those who ask for them.
	h.logger.Debug("words of a platform that broke off", zap.String("platform", ref.platform), zap.String("error_description", lti.Quote(res.ErrorDescription)))
	return lti.Refuse(lti.CodePlatformError, "the platform answered %s; its words are logged at level DEBUG", lti.Quote(res.Error))
}
