package devlms

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Media types of AGS 2.0 (§3.2.5, §3.3.4, §3.4.2).
const (
	typeLineItem  = "application/vnd.ims.lis.v2.lineitem+json"
	typeLineItems = "application/vnd.ims.lis.v2.lineitemcontainer+json"
	typeResults   = "application/vnd.ims.lis.v2.resultcontainer+json"
	typeScore     = "application/vnd.ims.lis.v1.score+json"
)

// Values of options that are on or off.
const (
	optionOn  = "on"
	optionOff = "off"
)

const defaultMaximum = 100

// claimEndpoint is the claim of AGS 2.0 §3.1.
const claimEndpoint = "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"

// agsOn tells whether the tool may use the grade services: by default if it has
// keys, for without them it gets no token.
func (t *Tool) agsOn() bool { return t.isOn(t.AGS) }

// isOn tells what an option is that depends on the tool's keys by default.
func (t *Tool) isOn(option string) bool { return option == optionOn || option == "" && t.JWKSURL != "" }

// graded tells whether the activity has a line item of its own.
func (a *activity) graded() bool { return !a.Ungraded && a.Tool.agsOn() }

func (a *activity) maximum() float64 {
	switch {
	case a.ScoreMaximum > 0:
		return a.ScoreMaximum
	case a.Tool.ScoreMaximum > 0:
		return a.Tool.ScoreMaximum
	}
	return defaultMaximum
}

// refusal is why a service does not do what was asked.
type refusal struct {
	status int
	reason string
}

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// endpointClaim is what the tool learns at a launch; nil means that it may not
// use the services.
func (p *platform) endpointClaim(issuer string, c *course, a *activity) map[string]any {
	claim := lineItemsClaim(issuer, c, a.Tool)
	if claim == nil {
		return nil
	}
	b := p.state.book(issuer)
	// Present only if there is exactly one for the link (AGS 2.0 §3.1).
	var own []*lineItem
	for _, item := range p.lineItems(b, c, a.Tool) {
		if item.resourceLink == a.resourceLinkID(c) {
			own = append(own, item)
		}
	}
	if len(own) == 1 && !p.quirk(b, quirkNoLineItem) {
		claim["lineitem"] = own[0].url(issuer, a.Tool, "")
	}
	return claim
}

// lineItemsClaim is the part of it that a message without a link has.
func lineItemsClaim(issuer string, c *course, t *Tool) map[string]any {
	if !t.agsOn() {
		return nil
	}
	return map[string]any{"scope": t.granted(agsScopes), "lineitems": lineItemsURL(issuer, c, t)}
}

// typeID is the query of the services' URLs. They have one as Moodle's have,
// where /scores and /results go before it.
func typeID(t *Tool) string { return "type_id=" + url.QueryEscape(t.Deployment) }

func lineItemsURL(issuer string, c *course, t *Tool) string {
	return issuer + "/ags/" + c.ID + "/lineitems?" + typeID(t)
}

// call is a call of a service whose token is good.
type call struct {
	*visit

	book   *book
	tool   *Tool
	course *course
	target string
	query  url.Values
}

// calls serves a path of a service: each method has the scopes of which a token
// must have one, and the media type of its answer ("" is none) or of its body.
func (p *platform) calls(target string, methods map[string]serviceMethod) func(*visit) error {
	return p.service(target, func(v *visit, b *book) error {
		method := v.r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		m := methods[method]
		c, refused := p.authorize(v, b, target, m.scopes)
		if refused == nil {
			refused = p.checkMedia(v, b, m)
		}
		served := refused == nil
		if served {
			refused = m.serve(c)
		}
		if refused == nil {
			return nil
		}
		v.note.problem = refused.reason
		p.log.Debug("call of a service refused", zap.String("path", v.r.URL.Path),
			zap.Int("status", refused.status), zap.String("reason", refused.reason))
		if served && target == targetScores && p.quirk(b, quirkWholeSeconds) {
			answerInStatusLine(v, refused)
			return nil
		}
		answerProblem(v, refused.status, refused.reason)
		return nil
	})
}

type serviceMethod struct {
	scopes []string
	accept string // what the answer is
	body   string // what the body must be
	serve  func(*call) *refusal
}

// authorize checks the token of a call, then whether what is called exists.
func (p *platform) authorize(v *visit, b *book, target string, scopes []string) (*call, *refusal) {
	scheme, token, _ := strings.Cut(v.r.Header.Get("Authorization"), " ")
	f, _ := p.faultFor(b, target)
	challenge := func(errorCode, scope string) {
		value := `Bearer realm="devlms"`
		if errorCode != "" {
			value += `, error="` + errorCode + `"`
		}
		if scope != "" {
			value += `, scope="` + scope + `"`
		}
		v.w.Header().Set("WWW-Authenticate", value)
	}
	if !strings.EqualFold(scheme, "Bearer") || strings.TrimSpace(token) == "" {
		challenge("", "")
		return nil, refuse(http.StatusUnauthorized, "the access token is missing")
	}
	access, ok := b.redeemToken(strings.TrimSpace(token), p.now(), f.kind == faultExpired)
	var t *Tool
	if ok {
		t = p.toolByClient(b, access.clientID)
	}
	if t == nil {
		challenge("invalid_token", "")
		return nil, refuse(http.StatusUnauthorized, "the access token is unknown or has expired")
	}
	v.note.tool = t
	// What the tool may do now, not when it got the token.
	allowed := t.scopes()
	if !slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(access.scopes, s) && slices.Contains(allowed, s) }) {
		challenge("insufficient_scope", strings.Join(scopes, " "))
		return nil, refuse(http.StatusForbidden, "the access token does not have the scope for this")
	}
	query, err := url.ParseQuery(v.r.URL.RawQuery)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the query cannot be read")
	}
	// Left out is all right, as in Moodle. Something else is most often a path
	// that was put behind the query.
	if query.Has("type_id") && query.Get("type_id") != t.Deployment {
		return nil, refuse(http.StatusBadRequest, "type_id is not the tool's: was a path appended to the query?")
	}
	c := findCourse(v.args[0])
	if c == nil {
		return nil, refuse(http.StatusNotFound, "there is no such course")
	}
	return &call{visit: v, book: b, tool: t, course: c, target: target, query: query}, nil
}

// checkMedia compares the media types. HTTP would have */* fit anything; real
// LMSs want to read the exact type, or no Accept header at all.
func (p *platform) checkMedia(v *visit, b *book, m serviceMethod) *refusal {
	strict := p.quirk(b, quirkStrictAccept)
	if m.body != "" {
		got := v.r.Header.Get("Content-Type")
		kind, _, err := mime.ParseMediaType(got)
		switch {
		case strict && got != m.body:
			return refuse(http.StatusBadRequest, "No handler found for %s  %s", v.r.URL.Path, truncate(got))
		case err != nil || kind != m.body:
			return refuse(http.StatusUnsupportedMediaType, "the content type must be %s", m.body)
		}
	}
	accept := v.r.Header.Values("Accept")
	if m.accept == "" || len(accept) == 0 {
		return nil
	}
	all := strings.Join(accept, ",")
	if strict {
		if all != m.accept {
			return refuse(http.StatusBadRequest, "No handler found for %s %s", v.r.URL.Path, truncate(all))
		}
		return nil
	}
	for one := range strings.SplitSeq(all, ",") {
		kind, params, err := mime.ParseMediaType(strings.TrimSpace(one))
		if q, qErr := strconv.ParseFloat(params["q"], 64); err == nil && kind == m.accept && (qErr != nil || q > 0) {
			return nil
		}
	}
	return refuse(http.StatusNotAcceptable, "the Accept header must have %s, or be absent", m.accept)
}

// cut returns the part of a list of n entries that the answer holds, and says
// where the next one is (AGS 2.0 §3.2.6; RFC 8288).
func (p *platform) cut(c *call, n int) (from, to int, refused *refusal) {
	from, to = 0, n
	if c.query.Has("from") {
		start, err := strconv.Atoi(c.query.Get("from"))
		if err != nil || start < 0 {
			return 0, 0, refuse(http.StatusBadRequest, "from is not a number")
		}
		from = min(start, n)
	}
	limit := 0
	if c.query.Has("limit") {
		var err error
		if limit, err = strconv.Atoi(c.query.Get("limit")); err != nil || limit < 1 {
			return 0, 0, refuse(http.StatusBadRequest, "limit must be a number above 0")
		}
	}
	if most := p.fault(c.book, quirkPageSize).size; most > 0 && (limit == 0 || limit > most) {
		limit = most
	}
	if limit == 0 {
		return from, to, nil
	}
	to = min(n, from+min(limit, n)) // no sum is too large
	page := func(start int) string {
		q := maps.Clone(c.query)
		q.Set("limit", strconv.Itoa(limit))
		q.Set("from", strconv.Itoa(start))
		return c.issuer + c.r.URL.EscapedPath() + "?" + q.Encode()
	}
	links := []string{"<" + page(0) + `>; rel="first"`}
	if to < n {
		links = append(links, "<"+page(to)+`>; rel="next"`)
	}
	value := strings.Join(links, ", ")
	if p.quirk(c.book, quirkBrokenLink) {
		value = strings.NewReplacer("&", "&amp;", `rel="first"`, "rel=“first”", `rel="next"`, "rel=“next”").Replace(value)
	}
	c.w.Header().Set("Link", value)
	return from, to, nil
}

// answerJSON answers a service. As from real LMSs, it comes with a charset.
func answerJSON(v *visit, status int, contentType string, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte("{}")
	}
	h := v.w.Header()
	if !strings.Contains(contentType, "charset") && strings.Contains(contentType, "vnd.ims") {
		contentType += "; charset=utf-8"
	}
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	v.w.WriteHeader(status)
	_, _ = v.w.Write(data)
}

// answerProblem says why a service refuses, in Moodle's form.
func answerProblem(v *visit, status int, reason string) {
	answerJSON(v, status, "application/json", map[string]any{"status": status, "reason": reason})
}

// answerInStatusLine refuses a score as Moodle does: the body is an empty list,
// and the reason stands where only HTTP/1 has room for it.
func answerInStatusLine(v *visit, r *refusal) {
	const contentType = typeScore + "; charset=utf-8"
	if v.r.ProtoMajor == 1 {
		if conn, buf, err := http.NewResponseController(v.w).Hijack(); err == nil {
			defer conn.Close()
			_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
			reason := strings.Map(func(c rune) rune {
				if c < ' ' || c > '~' {
					return '?'
				}
				return c
			}, truncate(r.reason))
			fmt.Fprintf(buf, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]", r.status, reason, contentType)
			_ = buf.Flush()
			v.note.status, v.note.answer = r.status, "[]"
			return
		}
	}
	answerJSON(v, r.status, contentType, []string{})
}

// isLoopback tells whether an address, as in RemoteAddr, is this machine's own.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
