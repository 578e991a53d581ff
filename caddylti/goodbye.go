package caddylti

import (
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/lti"
)

// maxMessage bounds what a platform is given to show or to log.
const maxMessage = 500

// serveReturn sends the person back to the platform, with what the app has to
// say: msg and errormsg for the person, log and errorlog for the platform's log.
func (h *Handler) serveReturn(w http.ResponseWriter, r *http.Request) error {
	// The address holds a secret of the platform.
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	v, err := h.visit(r)
	switch {
	case err != nil:
		return h.refuse(w, r, &refusal{err: err})
	case v == nil:
		return h.refuse(w, r, &refusal{err: &lti.Error{Code: lti.CodeSessionMissing}})
	}
	messages := make(url.Values)
	asked := r.URL.Query()
	for _, name := range []string{"msg", "errormsg", "log", "errorlog"} {
		if text := asked.Get(name); text != "" {
			messages.Set("lti_"+name, cut(text, maxMessage))
		}
	}
	location := withMessages(v.facts.ReturnURL, messages)
	if location == "" {
		return h.refuse(w, r, &refusal{err: lti.Refuse(lti.CodeNotFound, "the platform gave no return_url")})
	}
	redirect(w, http.StatusSeeOther, location)
	return nil
}

// cut shortens a text to at most that many bytes, at the end of a character.
func cut(s string, limit int) string {
	for i := range s {
		if i > limit {
			return s[:i-1]
		}
	}
	if len(s) > limit {
		return s[:0]
	}
	return s
}

// withMessages adds to a launch's return URL what the platform is to show and to
// log (LTI 1.3 §5.4.4: lti_msg, lti_errormsg, lti_log, lti_errorlog). It returns
// nothing if the return URL is none.
func withMessages(returnURL string, messages url.Values) string {
	u, err := httpx.CheckURL(returnURL)
	if err != nil {
		return ""
	}
	query := messages.Encode()
	if u.RawQuery != "" && query != "" {
		query = "&" + query
	}
	u.RawQuery += query
	return u.String()
}
