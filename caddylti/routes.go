package caddylti

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-lti/lti/internal/page"
	"github.com/caddy-lti/lti/lti"
)

// serveRoute answers a request at or below the base. Nothing from here ever
// reaches the app.
func (h *Handler) serveRoute(w http.ResponseWriter, r *http.Request, rest string) error {
	type route struct {
		methods []string
		serve   func(http.ResponseWriter, *http.Request) error
		form    bool
	}
	if call, ok := strings.CutPrefix(rest, "/api/v1/"); ok && h.API != nil {
		return h.serveAPI(w, r, call)
	}
	var rt route
	switch name, arg, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/"); {
	case rest == "":
		rt = route{[]string{http.MethodGet, http.MethodHead}, func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Cache-Control", "no-store")
			http.Redirect(w, r, h.Base+"/", http.StatusFound)
			return nil
		}, false}
	case rest == "/":
		rt = route{[]string{http.MethodGet, http.MethodHead}, h.serveIndex, false}
	case rest == "/login", name == "login" && h.platform(arg) != nil:
		rt = route{[]string{http.MethodGet, http.MethodPost}, func(w http.ResponseWriter, r *http.Request) error {
			return h.serveLogin(w, r, arg)
		}, true}
	case rest == "/config.json":
		rt = route{[]string{http.MethodGet, http.MethodHead}, h.serveConfig, false}
	case rest == "/launch":
		rt = route{[]string{http.MethodPost}, h.serveLaunch, true}
	case rest == "/jwks.json":
		rt = route{[]string{http.MethodGet, http.MethodHead}, h.serveKeys, false}
	case rest == "/logout":
		rt = route{[]string{http.MethodPost}, h.serveLogout, true}
	case rest == "/grades" && h.scores():
		rt = route{[]string{http.MethodGet, http.MethodPost}, h.serveGrades, true}
	case rest == "/score" && h.Grade.browser():
		rt = route{[]string{http.MethodPost}, h.serveScore, false}
	case rest == "/pick" && h.Items != nil:
		rt = route{[]string{http.MethodGet, http.MethodPost}, h.servePick, true}
	case rest == "/deeplink" && h.links():
		rt = route{[]string{http.MethodPost}, h.serveDeepLink, true}
	case rest == "/register" && h.Registration != nil:
		rt = route{[]string{http.MethodGet}, h.serveRegister, false}
	case rest == "/inspect":
		rt = route{[]string{http.MethodGet}, h.serveInspection, true}
	case rest == "/frame.js":
		rt = route{[]string{http.MethodGet, http.MethodHead}, h.serveFrameScript, false}
	case rest == "/return" && h.needs.extras:
		rt = route{[]string{http.MethodGet}, h.serveReturn, false}
	case rest == "/auth" && len(h.peers) > 0:
		rt = route{[]string{http.MethodGet, http.MethodHead}, h.serveAuth, false}
	default:
		skipQuery(r)
		return h.refuse(w, r, &refusal{err: lti.Refuse(lti.CodeNotFound, "no such route: %s", lti.Quote(rest)), form: true})
	}
	if !slices.Contains(rt.methods, r.Method) {
		skipQuery(r)
		w.Header().Set("Allow", strings.Join(rt.methods, ", "))
		return h.refuse(w, r, &refusal{err: lti.Refuse(lti.CodeMethodNotAllowed, "%s %s", lti.Quote(r.Method), lti.Quote(rest)), form: rt.form})
	}
	return rt.serve(w, r)
}

// skipQuery keeps a request that no route serves out of the access log if it has
// a query: a link checker's HEAD, or a link copied with a slash too many, holds
// the same invite, hints or token as the request that was meant.
func skipQuery(r *http.Request) {
	if r.URL.RawQuery != "" {
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	}
}

// serveKeys publishes the tool's public keys (Security Framework §6.3).
func (h *Handler) serveKeys(w http.ResponseWriter, r *http.Request) error {
	ready, err := h.app.open()
	if err != nil {
		return h.refuse(w, r, &refusal{err: unavailable(err)})
	}
	return writeCacheable(w, r, "application/json", ready.ring.PublicKeys())
}

// serveFrameScript is the script with which a page has its frame resized.
func (h *Handler) serveFrameScript(w http.ResponseWriter, r *http.Request) error {
	return writeCacheable(w, r, "text/javascript; charset=utf-8", frameScript)
}

var frameScript = page.FrameScript()

// writeCacheable sends what is the same for everybody.
func writeCacheable(w http.ResponseWriter, r *http.Request, contentType string, body []byte) error {
	sum := sha256.Sum256(body)
	hdr := w.Header()
	hdr.Set("Content-Type", contentType)
	hdr.Set("Cache-Control", "public, max-age=3600")
	hdr.Set("X-Content-Type-Options", "nosniff")
	hdr.Set("Etag", `"`+base64.RawURLEncoding.EncodeToString(sum[:12])+`"`)
	if r.Header.Get("If-None-Match") == hdr.Get("Etag") {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	_, err := w.Write(body)
	return err
}

// serveLogout ends the session, and with it all of the same person in this
// browser. Only this site's own pages can have it called.
func (h *Handler) serveLogout(w http.ResponseWriter, r *http.Request) error {
	if !h.sameOrigin(r) {
		return h.refuse(w, r, &refusal{err: lti.Refuse(lti.CodeRequestForeignOrigin, "logout was asked for by another site's page"), form: true})
	}
	ready, err := h.app.open()
	if err != nil {
		return h.refuse(w, r, &refusal{err: err, form: true})
	}
	held, err := h.held(r, ready, cookies(r, h.cookie))
	if err != nil {
		return h.refuse(w, r, &refusal{err: err, form: true})
	}
	for _, s := range held {
		launchedIn(r, s.Value.(*facts).Language)
		if err := ready.sessions.End(r.Context(), s, h.limits); err != nil {
			return h.refuse(w, r, &refusal{err: err, platform: s.Value.(*facts).Platform, form: true})
		}
	}
	if err := h.forget(w, r, ready); err != nil {
		return h.refuse(w, r, &refusal{err: err, form: true})
	}
	setCookie(w, h.cookie, "", -1)
	setCookie(w, h.mark, "", -1)
	if !forPerson(r, true) {
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return h.in(r).Write(w, http.StatusOK, page.Page{ID: "signed_out"})
}

// sameOrigin reports whether a page of this site made the request, or something
// that is no browser.
func (h *Handler) sameOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin"
	}
	from := r.Header.Get("Origin")
	if from == "" {
		return true
	}
	origin, err := h.public(r)
	return err == nil && from == origin
}

// serveAuth tells a front end on one of the trusted addresses who a request
// comes from: 200 with the identity headers, or 401. It passes on the request's
// cookies and asks for nothing else.
func (h *Handler) serveAuth(w http.ResponseWriter, r *http.Request) error {
	if !containsPeer(h.peers, r.RemoteAddr) {
		return h.refuse(w, r, &refusal{err: lti.Refuse(lti.CodeNotFound, "%s is not among the addresses of forward_auth", r.RemoteAddr)})
	}
	w.Header().Set("Cache-Control", "no-store")
	v, err := h.visit(r)
	switch {
	case err != nil:
		return h.refuse(w, r, &refusal{err: err})
	case v == nil:
		return h.refuse(w, r, &refusal{err: &lti.Error{Code: lti.CodeSessionMissing}})
	case len(h.roles) > 0 && !v.facts.hasRole(h.roles):
		return h.refuse(w, r, &refusal{err: lti.Refuse(lti.CodeRoleRefused, "none of the person's roles is allowed here"), platform: v.facts.Platform})
	}
	// The access log has the headers of answers.
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	h.cleanRequest(r, v, false)
	for _, f := range h.identity(v) {
		w.Header()[f.name] = f.vals
	}
	for _, x := range h.extra {
		if vals := r.Header[x.name]; len(vals) > 0 {
			w.Header()[x.name] = vals
		}
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

type netPrefix = netip.Prefix

// parsePrefixes reads addresses and networks.
func parsePrefixes(list []string) ([]netPrefix, error) {
	var out []netPrefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			addr, err := netip.ParseAddr(s)
			if err != nil {
				return nil, err
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		out = append(out, p)
	}
	return out, nil
}

// containsPeer reports whether the connection comes from one of the prefixes.
// What a proxy says of its client does not count.
func containsPeer(prefixes []netPrefix, remote string) bool {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	addr := ap.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(prefixes, func(p netPrefix) bool { return p.Contains(addr) })
}
