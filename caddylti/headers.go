package caddylti

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
)

const (
	maxHeaderValue = 1 << 10
	maxHeaders     = 6 << 10
)

// Header sets, each with all of the one before it.
const (
	setOff = iota
	setMinimal
	setStandard
	setFull
)

var headerSets = map[string]int{"off": setOff, "minimal": setMinimal, "standard": setStandard, "full": setFull}

// extraHeader is a header of the configuration.
type extraHeader struct {
	name  string // canonical
	value string // with placeholders
	// own is set where all placeholders are of the launch: the value then stays
	// the same for a session.
	own bool
}

var placeholder = regexp.MustCompile(`\{([^{}]+)\}`)

// forbiddenHeaders may not be set by `header`: they are ours, or carry
// credentials, or belong to the connection.
var forbiddenHeaders = []string{
	"Authorization", "Proxy-Authorization", "Cookie", "Host", "Connection", "Keep-Alive", "Proxy-Connection",
	"Proxy-Authenticate", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Expect",
}

// tokenHeader carries the token for the API to the app, and to nobody else.
const tokenHeader = "X-Lti-Token"

var headerName = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

// checkHeader refuses names that `header` may not set, and placeholders of ours
// that do not exist: nothing would ever be sent.
func checkHeader(name, value string) error {
	if err := checkHeaderName(name); err != nil {
		return err
	}
	for _, m := range placeholder.FindAllStringSubmatch(value, -1) {
		if _, ok := new(facts).lookUp(m[1]); !ok && strings.HasPrefix(m[1], "http.lti.") {
			return fmt.Errorf("header %s: there is no placeholder {%s}", name, m[1])
		}
	}
	return nil
}

// checkHeaderName refuses names that `header` may not set.
func checkHeaderName(name string) error {
	if !headerName.MatchString(name) {
		return fmt.Errorf("header %q: expected a name of letters, digits and hyphens", name)
	}
	canonical := http.CanonicalHeaderKey(name)
	if identityHeader(canonical) || slices.Contains(forbiddenHeaders, canonical) {
		return fmt.Errorf("header %s: this one cannot be set here; choose a name of your own, such as X-Course", name)
	}
	return nil
}

func (h *Handler) provisionHeaders() error {
	if h.Headers == "" {
		h.Headers = "standard"
	}
	set, ok := headerSets[h.Headers]
	if !ok {
		return fmt.Errorf("headers %q: expected off, minimal, standard or full", h.Headers)
	}
	h.needs = needs{people: set >= setStandard, extras: set >= setFull}
	for _, name := range slices.Sorted(maps.Keys(h.ExtraHeaders)) {
		value := h.ExtraHeaders[name]
		if err := checkHeader(name, value); err != nil {
			return err
		}
		x := extraHeader{name: http.CanonicalHeaderKey(name), value: value, own: true}
		if slices.Contains(h.strip, x.name) {
			return fmt.Errorf("header %s is there twice", x.name)
		}
		for _, m := range placeholder.FindAllStringSubmatch(value, -1) {
			key := m[1]
			if !strings.HasPrefix(key, "http.lti.") && !strings.HasPrefix(key, "http.auth.user.") {
				x.own = false
			}
			people, extras := neededFor(key)
			h.needs.people = h.needs.people || people
			h.needs.extras = h.needs.extras || extras
		}
		h.extra = append(h.extra, x)
		h.strip = append(h.strip, x.name)
	}
	return nil
}

// identityHeader reports whether the name, however it is spelled, is one that
// this plugin vouches for. CGI turns hyphens into underscores (RFC 3875 §4.1.18),
// and servers that speak it do so with dots, or with whatever else is neither
// letter nor digit: all of that is the same here.
func identityHeader(name string) bool {
	return foldedPrefix(name, "x-lti-") || foldedPrefix(name, "remote-")
}

// foldedPrefix reports whether name begins with prefix, which is in lower case
// and has letters, digits and hyphens only.
func foldedPrefix(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		default:
			c = '-'
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}

// stripped reports whether a header of the client must not reach the app.
func (h *Handler) stripped(name string) bool {
	// Nearly all names can be told apart by the first letter.
	switch name[0] {
	case 'X', 'x', 'R', 'r':
		if identityHeader(name) {
			return true
		}
	}
	for _, s := range h.strip {
		if len(name) == len(s) && foldedPrefix(name, strings.ToLower(s)) {
			return true
		}
	}
	return false
}

// cleanRequest takes from the request whatever could pass for ours, and puts in
// what we say of v, who may be nobody. The token for the API is for protected
// paths only.
func (h *Handler) cleanRequest(r *http.Request, v *visit, protected bool) {
	var own []headerField
	if v != nil {
		own = h.identity(v)
	}
	// To put many into a map that is too small costs more than a new one does.
	header, anew := r.Header, len(own) > 6
	if anew {
		header = make(http.Header, len(r.Header)+len(own)+len(h.extra))
	}
	for name, vals := range r.Header {
		kept := vals
		switch {
		case name == "" || h.stripped(name):
			kept = nil
		case name == "Cookie":
			kept = withoutOurs(vals)
		case name == "Connection":
			kept = connection(vals)
		}
		if len(kept) > 0 {
			header[name] = kept
		} else if !anew {
			delete(header, name)
		}
	}
	for _, f := range own {
		header[f.name] = f.vals
	}
	if v != nil && protected && h.API != nil {
		header[tokenHeader] = h.token(r, v)
	}
	if v != nil {
		for _, x := range h.extra {
			if x.own {
				continue
			}
			repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
			if val := headerValue(repl.ReplaceAll(x.value, "")); val != "" && len(val) <= maxHeaderValue {
				header[x.name] = []string{val}
			}
		}
	}
	r.Header = header
	// What a client sends after the body could not be looked at any more.
	r.Trailer = nil
}

// connection leaves of the Connection header what concerns the connection. A
// client that names our headers in it would have the proxy behind us remove
// them.
func connection(vals []string) []string {
	var kept []string
	for _, line := range vals {
		for token := range strings.SplitSeq(line, ",") {
			token = strings.TrimSpace(token)
			switch strings.ToLower(token) {
			case "upgrade", "keep-alive", "close", "te", "http2-settings":
				kept = append(kept, token)
			}
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return []string{strings.Join(kept, ", ")}
}

type headerField struct {
	name string // canonical
	vals []string
}

// derived is what comes of a session under one configuration. It is made once;
// whoever gets it must not change it.
type derived struct {
	h      *Handler
	fields []headerField // that tell the app who it is
	frames string        // the frame-ancestors directive for the app's answers
	// token is the token for the API, once it was needed: one for requests that
	// are sure to belong to the launch, and one for others.
	token [2]atomic.Value // []string
	// reports bounds the scores that the person's pages report.
	reports pace
}

func (h *Handler) derived(v *visit) *derived {
	if got, ok := v.session.Derived.Load().(*derived); ok && got.h == h {
		return got
	}
	made := &derived{h: h, fields: h.makeIdentity(v.facts), frames: h.frameAncestors(v.facts)}
	v.session.Derived.Store(made)
	return made
}

// token returns the header with the token for the API.
func (h *Handler) token(r *http.Request, v *visit) []string {
	kept := &h.derived(v).token[0]
	if v.unsure {
		kept = &h.derived(v).token[1]
	}
	if vals, ok := kept.Load().([]string); ok {
		return vals
	}
	vals := []string{h.apiToken(r, v)}
	kept.Store(vals)
	return vals
}

// identity returns the headers that tell the app who v is.
func (h *Handler) identity(v *visit) []headerField { return h.derived(v).fields }

func (h *Handler) makeIdentity(f *facts) []headerField {
	type candidate struct{ name, value string }
	var wanted []candidate
	add := func(name, value string) {
		if value = headerValue(value); value != "" {
			wanted = append(wanted, candidate{http.CanonicalHeaderKey(name), value})
		}
	}
	var dropped []string
	set := headerSets[h.Headers]
	// In the order of worth: where there is not room for all, the last go first.
	if set >= setMinimal {
		roles, whole := joinRoles(f.Roles)
		if !whole {
			dropped = append(dropped, "X-LTI-Roles")
		}
		if f.RemoteUser != "" {
			wanted = append(wanted, candidate{"Remote-User", f.RemoteUser}) // encoded already
		}
		add("Remote-Groups", f.groups())
		add("X-LTI-User-Id", f.Subject)
		add("X-LTI-Platform", f.Platform)
		if roles != "" {
			wanted = append(wanted, candidate{"X-Lti-Roles", roles}) // encoded already
		}
		add("X-LTI-Context-Id", f.ContextID)
		add("X-LTI-Resource-Link-Id", f.ResourceLink)
		add("X-LTI-Message-Type", f.Message)
		add("X-LTI-Launch-Id", f.LaunchID)
		if takes := f.DeepLinking; takes != nil {
			add("X-LTI-Accept-Types", strings.Join(takes.AcceptTypes, ","))
			add("X-LTI-Accept-Targets", strings.Join(takes.AcceptTargets, ","))
			add("X-LTI-Accept-Media-Types", strings.Join(takes.AcceptMediaTypes, ","))
			add("X-LTI-Accept-Multiple", strconv.FormatBool(takes.AcceptMultiple))
			if takes.AcceptLineItem != nil {
				add("X-LTI-Accept-Line-Item", strconv.FormatBool(*takes.AcceptLineItem))
			}
		}
	}
	if set >= setStandard {
		add("X-LTI-Issuer", f.Issuer)
		add("X-LTI-Client-Id", f.ClientID)
		add("X-LTI-Deployment-Id", f.Deployment)
		add("Remote-Name", f.Name)
		add("Remote-Email", f.Email)
		add("X-LTI-Locale", f.Locale)
		add("X-LTI-Context-Label", f.ContextLabel)
		add("X-LTI-Context-Title", f.ContextTitle)
		add("X-LTI-Resource-Link-Title", f.ResourceTitle)
	}
	for _, x := range h.extra {
		if x.own {
			add(x.name, f.replaceAll(x.value))
		}
	}
	if set >= setFull {
		add("X-LTI-Return-Url", f.ReturnURL)
		for _, name := range slices.Sorted(maps.Keys(f.Custom)) {
			add("X-LTI-Custom-"+name, f.Custom[name])
		}
	}
	// The list of what was left out has its place too.
	room := maxHeaders - len("X-Lti-Dropped") - maxHeaderValue/2
	fields := make([]headerField, 0, len(wanted)+1)
	for _, c := range wanted {
		if size := len(c.name) + len(c.value) + len(": \r\n"); len(c.value) <= maxHeaderValue && size <= room {
			room -= size
			fields = append(fields, headerField{c.name, []string{c.value}})
		} else {
			dropped = append(dropped, c.name)
		}
	}
	if len(dropped) > 0 {
		fields = append(fields, headerField{"X-Lti-Dropped", []string{joinWithin(dropped, ", ", maxHeaderValue/2)}})
	}
	return fields
}

// joinRoles returns the role URIs, separated by spaces, those of the course
// first, and whether there was room for all.
func joinRoles(uris []string) (string, bool) {
	sorted := slices.Clone(uris)
	rank := func(uri string) int {
		if strings.HasPrefix(uri, "http://purl.imsglobal.org/vocab/lis/v2/membership") {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(sorted, func(a, b string) int { return rank(a) - rank(b) })
	for i, uri := range sorted {
		// A role with a space in it would become two.
		sorted[i] = strings.ReplaceAll(headerValue(uri), " ", "%20")
	}
	joined := joinWithin(sorted, " ", maxHeaderValue)
	return joined, len(joined) == len(strings.Join(sorted, " "))
}

// joinWithin joins as many of the items as have room.
func joinWithin(items []string, sep string, limit int) string {
	n := 0
	for i, item := range items {
		if i > 0 {
			n += len(sep)
		}
		if n += len(item); n > limit {
			return strings.Join(items[:i], sep)
		}
	}
	return strings.Join(items, sep)
}

// headerValue makes a header value of any text: control characters are removed,
// % and what is not ASCII becomes %XX.
func headerValue(s string) string {
	plain := true
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e || s[i] == '%' {
			plain = false
			break
		}
	}
	if !plain {
		const digits = "0123456789ABCDEF"
		var b strings.Builder
		for i := range len(s) {
			switch c := s[i]; {
			case c < 0x20 || c == 0x7f:
			case c > 0x7e || c == '%':
				b.WriteByte('%')
				b.WriteByte(digits[c>>4])
				b.WriteByte(digits[c&15])
			default:
				b.WriteByte(c)
			}
		}
		s = b.String()
	}
	return strings.Trim(s, " ")
}
