package caddylti

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-lti/lti/internal/page"
	"github.com/caddy-lti/lti/lti"
)

// refusal is an answer that is not what was asked for.
type refusal struct {
	err      error
	platform string // name, if known
	page     string // id of the page; default: the code
	// form is set on the routes that browsers reach by posting a form: there, a
	// request without Sec-Fetch-Mode may be for a person too.
	form bool
	// window is what the person may open instead, in a window of its own.
	window *page.Form
	// notes say what is wrong, to people who write the app.
	notes []string
	// back is where a launch that was believed wants the person back.
	back string
	// more is for the log.
	more []zap.Field
	// watch is for the administrator who asked to see this launch; nil is nobody.
	watch *watch
}

// refuse answers with a page where a person is looking, and with a problem
// document (RFC 9457) otherwise. Neither says more than the rule that was
// broken; the log has the rest under the same reference.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, ref *refusal) error {
	var e *lti.Error
	if !errors.As(ref.err, &e) {
		e = &lti.Error{Code: lti.CodeStoreUnavailable, Err: ref.err}
	}
	rule := e.Rule()
	status := rule.Status
	reference := randomText(6)
	h.logRefusal(r, ref, e, reference)

	id := ref.page
	if id == "" {
		id = string(e.Code)
	}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set("http.lti.error.code", string(e.Code))
	}
	hdr := w.Header()
	hdr.Set("Cache-Control", "no-store")
	hdr.Set("Referrer-Policy", "no-referrer")
	hdr.Add("Vary", "Sec-Fetch-Mode, Accept")
	if quiet(e.Code) {
		reference = ""
	}
	if forPerson(r, ref.form) {
		return h.in(r).Write(w, status, page.Page{
			ID: id, Reference: reference, Window: ref.window, Notes: ref.notes,
			Back: withMessages(ref.back, url.Values{
				"lti_errormsg": {h.in(r).Title(id)}, "lti_errorlog": {string(e.Code) + " " + reference},
			}),
		})
	}
	hdr.Set("Content-Type", "application/problem+json")
	hdr.Set("X-Content-Type-Options", "nosniff")
	title := h.pages.English().Title(id)
	if title == "" {
		title = h.pages.English().Title("failed")
	}
	doc, err := json.Marshal(struct {
		Type      string `json:"type"`
		Title     string `json:"title"`
		Status    int    `json:"status"`
		Code      string `json:"code"`
		Detail    string `json:"detail,omitempty"`
		Reference string `json:"reference,omitempty"`
	}{"about:blank", title, status, string(e.Code), strings.Join(ref.notes, "; "), reference})
	if err != nil {
		return err
	}
	w.WriteHeader(status)
	_, err = w.Write(doc)
	return err
}

// unavailable is the error of a store, or of keys, that cannot be used.
func unavailable(err error) error { return &lti.Error{Code: lti.CodeStoreUnavailable, Err: err} }

// codeOf returns the rule that an error is about, or nothing.
func codeOf(err error) lti.Code {
	if e, ok := errors.AsType[*lti.Error](err); ok {
		return e.Code
	}
	return ""
}

// quiet reports whether a refusal is everyday life that needs no reference, and
// no line in the log beside that of the access log.
func quiet(code lti.Code) bool {
	switch code {
	case lti.CodeSessionMissing, lti.CodeNotFound, lti.CodeMethodNotAllowed:
		return true
	}
	return false
}

func (h *Handler) logRefusal(r *http.Request, ref *refusal, e *lti.Error, reference string) {
	level, msg := zapcore.WarnLevel, "refused"
	switch {
	case quiet(e.Code) && caddyhttp.GetVar(r.Context(), caddyhttp.LogSkipVar) == true:
		level = zapcore.InfoLevel // the only line about it
	case quiet(e.Code):
		level = zapcore.DebugLevel
	case e.Code == lti.CodeStoreUnavailable:
		level, msg = zapcore.ErrorLevel, "the store or the tool's keys cannot be used"
	}
	c := h.logger.Check(level, msg)
	if c == nil {
		return
	}
	rule := e.Rule()
	fields := []zap.Field{
		zap.String("code", string(e.Code)),
		zap.String("detail", e.Detail),
		zap.String("specification", rule.Section),
		zap.String("who_can_mend_it", string(rule.Mender)),
		zap.String("reference", reference),
		zap.String("platform", ref.platform),
		zap.String("host", r.Host),
		zap.Int("status", rule.Status),
	}
	if ip := clientIP(r); ip != "" {
		fields = append(fields, zap.String("client_ip", ip))
	}
	if e.Err != nil {
		fields = append(fields, zap.Error(e.Err))
	}
	c.Write(append(fields, ref.more...)...)
}

// clientIP returns the address of whoever asks, as Caddy makes it out.
func clientIP(r *http.Request) string {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return ip
}

// forPerson reports whether the answer will be seen by a person: the request is
// a navigation.
func forPerson(r *http.Request, form bool) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	if !form && r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	for _, v := range r.Header["Accept"] {
		if strings.Contains(v, "text/html") || strings.Contains(v, "application/xhtml+xml") {
			return true
		}
	}
	return false
}
