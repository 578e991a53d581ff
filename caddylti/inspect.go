package caddylti

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/inspect"
	"github.com/caddy-lti/lti/internal/page"
	"github.com/caddy-lti/lti/lti"
)

// The steps of a launch, as an inspection shows them; those of lti.Check are among
// them.
const (
	stepLogin    = "login"
	stepPlatform = "platform"
	stepCookie   = "cookie"
	stepSent     = "sent"
	stepAnswer   = "answer"
	stepState    = "state"
	stepBrowser  = "browser"
	stepAgrees   = "agrees"
	stepLanding  = "landing"
	stepRole     = "role"
	stepOnce     = "once"
	stepSession  = "session"
)

// inspected are all steps, in their order.
var inspected = []struct{ name, says string }{
	{stepLogin, "The login request has iss, login_hint and target_link_uri."},
	{stepPlatform, "Its issuer and client id are those of a platform of this site."},
	{stepCookie, "It is known where the launch can be bound to the browser."},
	{stepSent, "The browser is sent to the platform."},
	{stepAnswer, "The platform's answer comes as a form with state."},
	{stepState, "The state was made by this site, less than ten minutes ago."},
	{stepBrowser, "The answer comes from the browser in which the login began."},
	{stepAgrees, "The platform agrees: it sends an id_token and no error."},
	{string(lti.CheckSignature), "A key of the platform has signed the token, with an algorithm that is allowed."},
	{string(lti.CheckParties), "iss, aud and azp are those of the registration."},
	{string(lti.CheckTimes), "exp, iat and nbf fit the clock of this server."},
	{string(lti.CheckNonce), "The nonce is the one of this login."},
	{string(lti.CheckMessage), "LTI version, message type and resource link are there, and wanted here."},
	{string(lti.CheckDeployment), "The deployment is known here, and the one of the login."},
	{string(lti.CheckPerson), "It says who this is, and in which roles."},
	{string(lti.CheckTarget), "The token has a target_link_uri."},
	{string(lti.CheckDeepLinking), "If content is to be chosen, it says how and where to answer."},
	{stepLanding, "The launch leads to a page of this site."},
	{stepRole, "The person's roles are let in here, and the platform's name for the person can be had."},
	{stepOnce, "This launch has not been used before."},
	{stepSession, "A session begins, and the browser goes to the page."},
}

// faultAt has the steps of those rules that are not always checked at the same
// place.
var faultAt = map[string]string{
	string(lti.CodeStateMissing):        stepAnswer,
	string(lti.CodeStateInvalid):        stepState,
	string(lti.CodeStateCookieMissing):  stepBrowser,
	string(lti.CodeStateCookieMismatch): stepBrowser,
	string(lti.CodeStorageFailed):       stepBrowser,
	string(lti.CodePlatformError):       stepAgrees,
}

// watch notes what is seen of a launch that an administrator asked to see. A nil
// watch notes nothing.
type watch struct {
	h          *Handler
	ready      *ready
	now        time.Time
	candidates []inspect.Waiting // for a login, as long as it is not known whose it is
	issuer     string            // that the login names
	begins     bool              // what was seen before counts no more
	id, run    string
	seen       inspect.Seen
}

// waiting returns those inspections of this site that wait.
func (h *Handler) waiting(r *http.Request, ready *ready, now time.Time) ([]inspect.Waiting, error) {
	all, err := ready.inspections.Waiting(r.Context(), now)
	if len(all) == 0 || err != nil {
		return nil, err
	}
	origin, err := h.public(r)
	if err != nil {
		return nil, nil //nolint:nilerr // such a request is refused anyway
	}
	return slices.DeleteFunc(all, func(w inspect.Waiting) bool { return !h.isHere(w.Site, origin) }), nil
}

// isHere reports whether an address that was taken down for this tool is the one of
// a request. The port of one may have been a guess.
func (h *Handler) isHere(site, origin string) bool {
	a, errA := url.Parse(site)
	b, errB := url.Parse(origin)
	return errA == nil && errB == nil && h.isAt(site) && a.Hostname() == b.Hostname()
}

// watchLogin watches a login, if anybody waits for one.
func (h *Handler) watchLogin(r *http.Request, ready *ready, values url.Values, now time.Time) (*watch, error) {
	waiting, err := h.waiting(r, ready, now)
	if len(waiting) == 0 || err != nil {
		return nil, err
	}
	w := &watch{h: h, ready: ready, now: now, candidates: waiting, issuer: values.Get("iss"), begins: true, run: randomText(8)}
	w.came(r, values, "iss", "client_id", "lti_deployment_id", "target_link_uri", "lti_storage_target")
	return w, nil
}

// rewatch goes on watching a launch.
func (h *Handler) rewatch(ready *ready, st *loginState, now time.Time) *watch {
	if st == nil || st.Inspection == "" {
		return nil
	}
	w := &watch{h: h, ready: ready, now: now}
	w.id, w.run, _ = strings.Cut(st.Inspection, ".")
	return w
}

// watchLaunch watches the platform's answer. One without a state of ours is nobody's,
// and shown to those who wait for any.
func (h *Handler) watchLaunch(r *http.Request, ready *ready, st *loginState, form url.Values, now time.Time) *watch {
	w := h.rewatch(ready, st, now)
	if w == nil && st == nil {
		waiting, err := h.waiting(r, ready, now)
		if err != nil || len(waiting) == 0 {
			return nil
		}
		w = &watch{h: h, ready: ready, now: now, candidates: waiting, begins: true, run: randomText(8)}
	}
	if w == nil {
		return nil
	}
	w.came(r, form, "error", "lti_message_type", "lti_version", "lti_storage_target", "storage_error")
	if token := form.Get("id_token"); token != "" {
		w.seen.Token = inspect.Token(token)
	}
	return w
}

func (w *watch) came(r *http.Request, values url.Values, open ...string) {
	w.seen.Came = []inspect.Message{{Request: r.Method + " " + r.URL.Path, Params: inspect.Params(values, open...)}}
}

// passed notes that a step found nothing wrong.
func (w *watch) passed(step, note string) {
	if w == nil {
		return
	}
	w.seen.Steps = addStep(w.seen.Steps, inspect.Step{Name: step, Note: note})
}

func addStep(steps []inspect.Step, s inspect.Step) []inspect.Step {
	if i := slices.IndexFunc(steps, func(o inspect.Step) bool { return o.Name == s.Name }); i >= 0 {
		steps[i] = s
		return steps
	}
	return append(steps, s)
}

// verified notes the steps of a Verifier.
func (w *watch) verified() func(lti.Check) {
	if w == nil {
		return nil
	}
	return func(c lti.Check) { w.passed(string(c), "") }
}

// of says whose login it is.
func (w *watch) of(p *Platform) {
	if w == nil {
		return
	}
	w.take(func(c inspect.Waiting) bool { return c.Platform == "" || c.Platform == p.Name })
	w.passed(stepPlatform, p.Name)
}

// take has the launch be shown to the one that has waited longest.
func (w *watch) take(fits func(inspect.Waiting) bool) {
	if i := slices.IndexFunc(w.candidates, fits); i >= 0 {
		w.id = w.candidates[i].ID
	}
}

// name is what the state keeps of the watch.
func (w *watch) name() string {
	if w == nil || w.id == "" {
		return ""
	}
	return w.id + "." + w.run
}

// watchTimeout is how long noting may take.
const watchTimeout = 5 * time.Second

// ended notes how the request ended.
func (w *watch) ended(r *http.Request, ref *refusal) {
	if w == nil {
		return
	}
	if w.id == "" && ref.err != nil {
		w.take(func(c inspect.Waiting) bool {
			p := w.h.platform(c.Platform)
			return c.Platform == "" || p != nil && p.registration.Issuer == w.issuer
		})
	}
	if w.id == "" {
		return
	}
	if e, ok := errors.AsType[*lti.Error](ref.err); ok {
		rule := e.Rule()
		w.seen.Fault = &inspect.Fault{Code: string(e.Code), Detail: e.Detail, Section: rule.Section, Mender: string(rule.Mender)}
		if e.Err != nil {
			w.seen.Fault.Detail = strings.TrimPrefix(e.Detail+": "+e.Err.Error(), ": ")
		}
	}
	done := ref.err != nil && ref.window == nil || len(w.seen.Steps) > 0 && w.seen.Steps[len(w.seen.Steps)-1].Name == stepSession
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), watchTimeout)
	defer cancel()
	err := w.ready.inspections.Change(ctx, w.id, w.now, func(i *inspect.Inspection) bool {
		if w.begins {
			i.Run, i.Seen = w.run, inspect.Seen{}
		}
		if i.Run != w.run {
			return false // a later login is looked at
		}
		i.Done = done
		for _, s := range w.seen.Steps {
			i.Seen.Steps = addStep(i.Seen.Steps, s)
		}
		i.Seen.Fault = w.seen.Fault
		if w.seen.Token != "" {
			i.Seen.Token = w.seen.Token
		}
		if len(w.seen.Came) > 0 {
			i.Seen.Came = append(i.Seen.Came[:min(len(i.Seen.Came), 1)], w.seen.Came...)
		}
		return true
	})
	if err != nil && !errors.Is(err, inspect.ErrUnknown) {
		w.h.logger.Error("what an inspection saw could not be kept", zap.Error(err))
	}
}

// serveInspection shows an inspection to whoever has its link.
func (h *Handler) serveInspection(w http.ResponseWriter, r *http.Request) error {
	// The query is the secret.
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	ref := &refusal{form: true}
	i, err := h.inspection(r)
	if err != nil {
		ref.err = err
		if codeOf(err) == lti.CodeNotFound {
			ref.page = "inspection_unknown"
		}
		return h.refuse(w, r, ref)
	}
	return h.in(r).Write(w, http.StatusOK, inspectionPage(i))
}

func (h *Handler) inspection(r *http.Request) (*inspect.Inspection, error) {
	ready, err := h.app.open()
	if err != nil {
		return nil, unavailable(err)
	}
	origin, err := h.public(r)
	if err != nil {
		return nil, err
	}
	i, err := ready.inspections.Look(r.Context(), r.URL.Query().Get("key"))
	switch {
	case errors.Is(err, inspect.ErrUnknown), err == nil && !h.isHere(i.Site, origin):
		return nil, lti.Refuse(lti.CodeNotFound, "no such inspection")
	case err != nil:
		return nil, unavailable(err)
	}
	return i, nil
}

// inspectionRefresh is how often the page looks again, in seconds.
const inspectionRefresh = 3

func inspectionPage(i *inspect.Inspection) page.Page {
	p := page.Page{ID: "inspection_waiting", Course: i.Site}
	if i.Platform != "" {
		p.Course = i.Platform + " → " + i.Site
	}
	if !i.Done {
		p.Refresh = inspectionRefresh
	}
	if i.Run == "" {
		return p
	}
	switch {
	case i.Seen.Fault != nil:
		p.ID = "inspection_failed"
	case i.Done:
		p.ID = "inspection_passed"
	default:
		p.ID = "inspection_running"
	}
	p.Checks, p.Document = inspectedChecks(&i.Seen), cameText(&i.Seen)
	return p
}

// inspectedChecks are the steps, up to the one that failed and beyond.
func inspectedChecks(seen *inspect.Seen) []page.Check {
	passed := func(name string) int {
		return slices.IndexFunc(seen.Steps, func(s inspect.Step) bool { return s.Name == name })
	}
	last := -1
	for i, step := range inspected {
		if passed(step.name) >= 0 {
			last = i
		}
	}
	failed := len(inspected)
	if f := seen.Fault; f != nil {
		failed = last + 1
		if at := faultAt[f.Code]; at != "" {
			failed = slices.IndexFunc(inspected, func(s struct{ name, says string }) bool { return s.name == at })
		}
		failed = min(failed, len(inspected)-1)
	}
	var out []page.Check
	for i, step := range inspected {
		at := passed(step.name)
		switch {
		case i == failed:
			f := seen.Fault
			c := page.Check{State: page.CheckFailed, Text: step.says, Who: f.Mender, Mend: f.Code}
			if f.Detail != "" {
				c.Mend += ": " + f.Detail
			}
			if f.Section != "" {
				c.Mend += " (" + f.Section + ")"
			}
			out = append(out, c)
		case i > failed, at < 0:
			if step.name != stepCookie {
				out = append(out, page.Check{State: page.CheckOpen, Text: step.says})
			}
		default:
			text := step.says
			if note := seen.Steps[at].Note; note != "" {
				text = strings.TrimSuffix(text, ".") + ": " + note
			}
			out = append(out, page.Check{State: page.CheckOK, Text: text})
		}
	}
	return out
}

// cameText shows what the browser brought.
func cameText(seen *inspect.Seen) string {
	var b strings.Builder
	for _, m := range seen.Came {
		fmt.Fprintf(&b, "%s\n", m.Request)
		for _, p := range m.Params {
			fmt.Fprintf(&b, "  %s = %s\n", p.Name, p.Value)
		}
		b.WriteByte('\n')
	}
	if seen.Token != "" {
		fmt.Fprintf(&b, "id_token\n%s\n", seen.Token)
	}
	return strings.TrimSpace(b.String())
}
