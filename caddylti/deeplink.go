package caddylti

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/deeplink"
	"github.com/caddy-lti/lti/internal/page"
	"github.com/caddy-lti/lti/lti"
	"github.com/caddy-lti/lti/store"
)

// DeepLinking says who chooses content for a course, and where.
type DeepLinking struct {
	// App sends deep-linking launches to the app, which answers them by the API
	// or by the route /deeplink. Default: the built-in picker, if there are
	// items; else such launches are refused.
	App bool `json:"app,omitempty"`

	// Path is the page of the app where they land. Default: the target that the
	// launch names.
	Path string `json:"path,omitempty"`

	// AllowRoles lists the roles of which a person needs at least one, as
	// AllowRoles of the site does. Default: instructors and administrators.
	AllowRoles []string `json:"allow_roles,omitempty"`

	roles []string
}

// pickerRoles are those who may add content where nothing else is said.
var pickerRoles = append(slices.Clone(instructorRoles),
	"http://purl.imsglobal.org/vocab/lis/v2/institution/person#Administrator",
	"http://purl.imsglobal.org/vocab/lis/v2/system/person#Administrator",
	"http://purl.imsglobal.org/vocab/lis/v2/system/person#SysAdmin",
)

func (h *Handler) provisionDeepLinking() error {
	d := h.DeepLinking
	if d == nil {
		return nil
	}
	for _, name := range d.AllowRoles {
		uri, err := lti.ParseRole(name)
		if err != nil {
			return fmt.Errorf("deep_linking: allow role: %w", err)
		}
		d.roles = append(d.roles, uri)
	}
	switch c := classify(d.Path); {
	case d.Path == "":
	case !d.App:
		return errors.New("deep_linking: a path is for the app's own picker: write app before it")
	case c.odd || h.under(c.path):
		return fmt.Errorf("deep_linking: path %q: expected the path of a page outside of %s", d.Path, h.Base)
	}
	return h.checkPicker()
}

// checkPicker refuses two pickers, and rules for none.
func (h *Handler) checkPicker() error {
	switch {
	case h.Items != nil && h.linksApp():
		return errors.New("items is for the built-in picker, deep_linking app for the app's own: choose one")
	case h.DeepLinking != nil && !h.DeepLinking.App && h.Items == nil:
		return errors.New("deep_linking: write app, or what there is to choose from, as items")
	}
	return nil
}

// linksApp reports whether the app has a picker of its own.
func (h *Handler) linksApp() bool { return h.DeepLinking != nil && h.DeepLinking.App }

// links reports whether deep-linking launches are accepted.
func (h *Handler) links() bool { return h.Items != nil || h.linksApp() }

// mayPick reports whether a person may add content.
func (h *Handler) mayPick(f *facts) bool {
	if d := h.DeepLinking; d != nil && len(d.roles) > 0 {
		return f.hasRole(d.roles)
	}
	return f.hasRole(pickerRoles)
}

// maxPending bounds what is kept of a deep-linking request.
const maxPending = store.MaxValueLen

// pending makes what has to be kept of a deep-linking launch until it is
// answered.
func (h *Handler) pending(l *lti.Launch, f *facts, now time.Time) (json.RawMessage, error) {
	if !h.mayPick(f) {
		return nil, lti.Refuse(lti.CodeRoleRefused, "none of the person's roles may add content: see allow of deep_linking")
	}
	kept, err := json.Marshal(deeplink.NewRequest(l, now))
	if err != nil {
		return nil, err
	}
	if len(kept) > maxPending {
		return nil, lti.Refuse(lti.CodeDeepLinkingInvalid, "deep_linking_settings has %d bytes, more than can be kept", len(kept))
	}
	return kept, nil
}

// pickTarget is where a deep-linking launch lands.
func (h *Handler) pickTarget(target, origin, launchID string) string {
	switch {
	case h.Items != nil:
		target = origin + h.Base + "/pick"
	case h.DeepLinking.Path != "":
		target = origin + h.DeepLinking.Path
	}
	// Several may be under way at once, and each answer is for its own.
	target, fragment, _ := strings.Cut(target, "#")
	sep := "?"
	if strings.Contains(target, "?") {
		sep = "&"
	}
	if target += sep + launchParam + "=" + launchID; fragment != "" {
		target += "#" + fragment
	}
	return target
}

func (h *Handler) pendingKey(r *http.Request, launchID string) string {
	return "deeplink:" + h.site(r) + " " + launchID
}

// keepPending stores what pending made.
func (h *Handler) keepPending(r *http.Request, ready *ready, a *accepted) error {
	if len(a.Pick) == 0 {
		return nil
	}
	if err := ready.store.Put(r.Context(), h.pendingKey(r, a.LaunchID), a.Pick, deeplink.Lifetime); err != nil {
		return unavailable(err)
	}
	return nil
}

// request returns the deep-linking request of a visit, if it can still be
// answered.
func (h *Handler) request(r *http.Request, ready *ready, v *visit) (*deeplink.Request, error) {
	if v.facts.Message != lti.MessageDeepLinking {
		return nil, lti.Refuse(lti.CodeDeepLinkMissing, "the launch was not for choosing content")
	}
	if !h.mayPick(v.facts) {
		return nil, lti.Refuse(lti.CodeRoleRefused, "none of the person's roles may add content")
	}
	val, err := ready.store.Get(r.Context(), h.pendingKey(r, v.facts.LaunchID))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, lti.Refuse(lti.CodeDeepLinkExpired, "the launch was more than %s ago", deeplink.Lifetime)
	case err != nil:
		return nil, unavailable(err)
	}
	req := new(deeplink.Request)
	if err := json.Unmarshal(val, req); err != nil {
		return nil, unavailable(err)
	}
	used, err := isUsed(r, ready, onceOf(v))
	if err != nil {
		return nil, err
	}
	if used {
		return nil, lti.Refuse(lti.CodeDeepLinkUsed, "the platform has been told already what was chosen")
	}
	return req, nil
}

// onceOf marks the one answer of a deep-linking launch.
func onceOf(v *visit) string { return "deeplink " + v.facts.LaunchID }

// answer signs what was chosen, once.
func (h *Handler) answer(r *http.Request, ready *ready, v *visit, res *deeplink.Response) (*deeplink.Answer, error) {
	req, err := h.request(r, ready, v)
	if err != nil {
		return nil, err
	}
	origin, err := h.public(r)
	if err != nil {
		return nil, err
	}
	site := deeplink.Site{Home: origin + h.Home, Owns: func(u *url.URL) bool { return h.owns(origin, u) }}
	answer, err := req.Answer(time.Now(), ready.ring, site, res)
	switch {
	case errors.Is(err, deeplink.ErrExpired):
		return nil, lti.Refuse(lti.CodeDeepLinkExpired, "the launch was more than %s ago", deeplink.Lifetime)
	case err != nil:
		if _, ok := errors.AsType[deeplink.FieldErrors](err); ok {
			return nil, &lti.Error{Code: lti.CodeDeepLinkRefused, Err: err}
		}
		return nil, unavailable(err)
	}
	// Only now, when there is an answer, is the request used up.
	fresh, err := useUp(r, ready, onceOf(v), deeplink.Lifetime)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, lti.Refuse(lti.CodeDeepLinkUsed, "the platform has been told already what was chosen")
	}
	fields := []zap.Field{
		zap.String("platform", v.facts.Platform), zap.String("launch_id", v.facts.LaunchID), zap.Int("items", len(res.Items)),
	}
	if len(answer.Dropped) > 0 {
		h.logger.Warn("content chosen; the platform takes no line items here, so they were left out", append(fields, zap.Strings("dropped", answer.Dropped))...)
	} else {
		h.logger.Info("content chosen", fields...)
	}
	return answer, nil
}

// sendAnswer is the page that posts an answer to the platform.
func (h *Handler) sendAnswer(w http.ResponseWriter, r *http.Request, answer *deeplink.Answer) error {
	return h.in(r).Write(w, http.StatusOK, page.Page{ID: "picked", Post: &page.Form{
		Action: answer.ReturnURL, Values: []page.Value{{Name: "JWT", Value: answer.JWT}},
	}})
}

// picking finds out who chooses content. Other sites' pages cannot have it done.
func (h *Handler) picking(r *http.Request) (*ready, *visit, error) {
	if r.Method == http.MethodPost && !h.sameOrigin(r) {
		return nil, nil, lti.Refuse(lti.CodeRequestForeignOrigin, "content was to be chosen by another site's page")
	}
	v, err := h.visit(r)
	if err != nil {
		return nil, nil, err
	}
	if v == nil {
		return nil, nil, &lti.Error{Code: lti.CodeSessionMissing}
	}
	if v.unsure && v.facts.Message == lti.MessageDeepLinking {
		return nil, v, lti.Refuse(lti.CodeDeepLinkMissing, "several launches are open in this browser, and the request could belong to any of them: it has to come from the page where the launch landed, or name it as lti_launch_id")
	}
	ready, err := h.app.open()
	if err != nil {
		return nil, nil, unavailable(err)
	}
	return ready, v, nil
}

// serveDeepLink takes what was chosen, from the built-in picker or from a page of
// the app, and has the browser tell the platform.
func (h *Handler) serveDeepLink(w http.ResponseWriter, r *http.Request) error {
	ref := &refusal{form: true}
	answer, shown, err := h.deepLink(w, r, ref)
	switch {
	case err != nil:
		ref.err = err
		return h.refuse(w, r, ref)
	case shown:
		return nil
	}
	return h.sendAnswer(w, r, answer)
}

// deepLink returns the answer, unless the picker was shown again.
func (h *Handler) deepLink(w http.ResponseWriter, r *http.Request, ref *refusal) (answer *deeplink.Answer, shown bool, err error) {
	ready, v, err := h.picking(r)
	if v != nil {
		ref.platform = v.facts.Platform
	}
	if err != nil {
		return nil, false, err
	}
	var res *deeplink.Response
	if h.Items != nil {
		form, err := readForm(w, r, maxPickForm)
		if err != nil {
			return nil, false, err
		}
		req, err := h.request(r, ready, v)
		if err != nil {
			return nil, false, err
		}
		choice, err := h.readChoice(r, form)
		if err != nil {
			return nil, false, err
		}
		if res = choice.response(req, form.Get("do") == "cancel"); res == nil {
			return nil, true, h.showPicker(w, r, http.StatusUnprocessableEntity, v, req, choice)
		}
	} else if res, err = readChosen(w, r); err != nil {
		return nil, false, refusedItems(ref, err)
	}
	answer, err = h.answer(r, ready, v, res)
	return answer, false, refusedItems(ref, err)
}

// refusedItems has the page say what is wrong with items.
func refusedItems(ref *refusal, err error) error {
	fields, ok := errors.AsType[deeplink.FieldErrors](err)
	if !ok {
		return err
	}
	for _, f := range fields {
		ref.notes = append(ref.notes, f.Error())
	}
	if codeOf(err) == "" {
		err = &lti.Error{Code: lti.CodeDeepLinkRefused, Err: err}
	}
	return err
}

// readChosen reads what a page of the app posts: the body of the API's call, or
// a form with the same names, where content_items is JSON.
func readChosen(w http.ResponseWriter, r *http.Request) (*deeplink.Response, error) {
	if mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && mt == "application/json" {
		data, err := readBody(w, r, deeplink.MaxBytes)
		if err != nil {
			return nil, err
		}
		return parseChosen(data)
	}
	form, err := readForm(w, r, deeplink.MaxBytes)
	if err != nil {
		return nil, err
	}
	body := make(map[string]json.RawMessage)
	for name := range form {
		val := form.Get(name)
		if name == "content_items" {
			if !json.Valid([]byte(val)) {
				return nil, lti.Refuse(lti.CodeRequestMalformed, "content_items is not JSON")
			}
			body[name] = json.RawMessage(val)
			continue
		}
		if body[name], err = json.Marshal(val); err != nil {
			return nil, err
		}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return parseChosen(data)
}

func parseChosen(data []byte) (*deeplink.Response, error) {
	res, err := deeplink.ParseResponse(data)
	if err != nil {
		if _, ok := errors.AsType[deeplink.FieldErrors](err); ok {
			return nil, err
		}
		return nil, &lti.Error{Code: lti.CodeRequestMalformed, Err: err}
	}
	return res, nil
}

// apiDeepLink takes what the app chose, and answers with the form that its page
// is to be, or with what that form posts.
func (h *Handler) apiDeepLink(w http.ResponseWriter, r *http.Request, c *caller, _ string) error {
	if c.visit == nil {
		return refuseAPI(http.StatusForbidden, problemForbidden, "a key has no launch: this call needs the X-LTI-Token of one")
	}
	data, err := readAPIBody(w, r, deeplink.MaxBytes)
	if err != nil {
		return err
	}
	ready, err := h.app.open()
	if err != nil {
		return unavailable(err)
	}
	// Whether it can be answered at all comes first.
	if err := c.mustBeSure(); err != nil {
		return err
	}
	if _, err := h.request(r, ready, c.visit); err != nil {
		return deepLinkProblem(err)
	}
	res, err := deeplink.ParseResponse(data)
	if err != nil {
		return deepLinkProblem(err)
	}
	answer, err := h.answer(r, ready, c.visit, res)
	if err != nil {
		return deepLinkProblem(err)
	}
	w.Header().Add("Vary", "Accept")
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		return writeJSON(w, http.StatusOK, struct {
			ReturnURL string `json:"return_url"`
			JWT       string `json:"jwt"`
		}{answer.ReturnURL, answer.JWT})
	}
	return h.sendAnswer(w, r, answer)
}

// deepLinkProblem is the API's refusal for an error.
func deepLinkProblem(err error) error {
	if fields, ok := errors.AsType[deeplink.FieldErrors](err); ok {
		return &problem{status: http.StatusUnprocessableEntity, code: problemInvalid, field: fields[0].Field, detail: fields.Error()}
	}
	switch code := codeOf(err); code {
	case lti.CodeDeepLinkMissing:
		return refuseAPI(http.StatusConflict, problemService, "the launch was not for choosing content")
	case lti.CodeRoleRefused:
		return refuseAPI(http.StatusForbidden, problemForbidden, "none of the person's roles may add content: see deep_linking")
	case lti.CodeDeepLinkExpired:
		return refuseAPI(http.StatusGone, string(code), "the launch was more than %s ago, and the platform waits no longer", deeplink.Lifetime)
	case lti.CodeDeepLinkUsed:
		return refuseAPI(http.StatusConflict, string(code), "the platform has been told already what was chosen")
	case "":
		return refuseAPI(http.StatusBadRequest, problemBody, "the body is not one JSON object, or has a member twice")
	}
	return err
}
