package devlms

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-lti/lti/internal/jose"
)

// shownMessage is a message as /inspect.json and the pages show it.
type shownMessage struct {
	ID      uint64    `json:"id"`
	Kind    string    `json:"kind"`
	Label   string    `json:"label"`
	Summary string    `json:"summary,omitempty"`
	Time    time.Time `json:"time"`
	Millis  float64   `json:"milliseconds"`
	From    string    `json:"from"` // lms or tool
	Tool    string    `json:"tool,omitempty"`
	Person  string    `json:"person,omitempty"`
	Launch  string    `json:"launch,omitempty"`
	Outcome string    `json:"outcome"` // ok or failed
	Problem string    `json:"problem,omitempty"`
	Fault   string    `json:"fault,omitempty"`

	Method     string      `json:"method"`
	URL        string      `json:"url"`
	Parameters []parameter `json:"parameters,omitempty"`
	Tokens     []token     `json:"tokens,omitempty"`
	Request    half        `json:"request"`
	Status     int         `json:"status,omitempty"`
	Answer     *half       `json:"answer,omitempty"`
	Granted    uint64      `json:"token_request,omitempty"` // the message that brought the access token
	Uses       []uint64    `json:"token_uses,omitempty"`    // where it was used
	Other      uint64      `json:"other,omitempty"`         // of the same exchange

	ToolTitle  string `json:"-"`
	PersonName string `json:"-"`
	Took       string `json:"-"`
	Clock      string `json:"-"`
	Ago        string `json:"-"`
	Raw        string `json:"-"`

	of *message
}

// half is one direction of an exchange.
type half struct {
	Headers []shownHeader `json:"headers,omitempty"`
	Body    string        `json:"body,omitempty"`
	Size    int64         `json:"size"`
	// Note says why the body is not all that was sent.
	Note string `json:"note,omitempty"`

	Pretty string `json:"-"` // the body for people, if it is not shown otherwise
}

type shownHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// parameter is a field of a form or of a query.
type parameter struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	About string `json:"about,omitempty"`
	Spec  string `json:"spec,omitempty"`
}

// token is a signed token, taken apart.
type token struct {
	Name      string  `json:"name"` // the parameter that it came in
	Header    []claim `json:"header,omitempty"`
	Claims    []claim `json:"claims,omitempty"`
	Signature string  `json:"signature"` // valid, invalid or unchecked
	KeyID     string  `json:"kid,omitempty"`
	Reason    string  `json:"reason,omitempty"`  // why it is not valid
	Problem   string  `json:"problem,omitempty"` // what cannot be taken apart

	compact string
}

// claim is a member of a token's header or payload.
type claim struct {
	Name   string          `json:"name"`
	Value  json.RawMessage `json:"value"`
	When   string          `json:"when,omitempty"` // of a time, in words
	About  string          `json:"about,omitempty"`
	Spec   string          `json:"spec,omitempty"`
	Pretty string          `json:"-"`
}

// Values of token.Signature.
const (
	signatureValid     = "valid"
	signatureInvalid   = "invalid"
	signatureUnchecked = "unchecked"
)

// Values of shownMessage.Outcome.
const (
	outcomeOK     = "ok"
	outcomeFailed = "failed"
)

// show makes views of messages, oldest first, with as much as a list shows.
func (p *platform) show(list []*message) []*shownMessage {
	launches := make(map[string]string) // by deep linking request
	granted := make(map[string]uint64)  // by access token
	uses := make(map[string][]uint64)
	for _, m := range list {
		if m.request != "" && m.launch != "" {
			launches[m.request] = m.launch
		}
		switch {
		case m.token == "":
		case m.kind == kindToken:
			granted[m.token] = m.serial
		default:
			uses[m.token] = append(uses[m.token], m.serial)
		}
	}
	shown := make([]*shownMessage, 0, len(list))
	for _, m := range list {
		s := p.showMessage(m)
		if s.Launch == "" && m.request != "" {
			s.Launch = cmp.Or(launches[m.request], fingerprint(m.request))
		}
		switch {
		case m.token == "":
		case m.kind == kindToken:
			s.Uses = uses[m.token]
		default:
			s.Granted = granted[m.token]
		}
		shown = append(shown, s)
	}
	return shown
}

func (p *platform) showMessage(m *message) *shownMessage {
	s := &shownMessage{
		ID: m.serial, Kind: m.kind, Label: labelOf(m.kind), Time: m.at.UTC(), Millis: float64(m.took.Microseconds()) / 1000,
		From: "tool", Tool: m.tool, ToolTitle: m.toolTitle, Person: m.person, Launch: m.launch, Outcome: outcomeOK, Problem: m.problem, Fault: m.fault,
		Method: m.method, URL: readable(m.url), Status: m.status, Other: m.other,
		of: m, Took: words(m.took), Clock: clock(m.at, p.now()), Ago: ago(p.now().Sub(m.at)),
	}
	if m.toTool {
		s.From = "lms"
	}
	if m.status >= 400 || m.fate != "" || m.problem != "" {
		s.Outcome = outcomeFailed
	}
	if m.kind == kindScore && s.Person == "" {
		// Nobody is at a browser; it is about somebody.
		s.Person = scoreOfBody(m.body.data).User
	}
	if who := findPerson(s.Person); who != nil {
		s.PersonName = who.Name()
	} else {
		s.Person = ""
	}
	s.Parameters = parametersOf(m)
	for _, param := range s.Parameters {
		if name := param.Name; name == "id_token" || name == "JWT" || name == "client_assertion" {
			s.Tokens = append(s.Tokens, takeApart(m, name, param.Value))
		}
	}
	s.Summary = clip(summary(s), 160)
	return s
}

// complete adds what only who looks at a message wants to know.
func (p *platform) complete(s *shownMessage) {
	m := s.of
	s.Request = halfOf(m.header, &m.body)
	if m.unread {
		s.Request.Note = "The LMS did not read the body to its end."
	}
	if m.isForm() {
		s.Request.Pretty = "" // the parameters say it all
	}
	if m.status != 0 || m.fate != "" {
		answer := halfOf(m.answerHeader, &m.answer)
		switch {
		case m.fate != "":
			answer.Note = strings.TrimSpace(m.fate + " " + answer.Note)
		case m.page:
			answer.Note = "A page of the LMS for the person at the browser."
		}
		s.Answer = &answer
	}
	for i := range s.Tokens {
		t := &s.Tokens[i]
		t.Signature, t.Reason = p.signature(m, t.compact)
		for _, list := range [][]claim{t.Header, t.Claims} {
			for i := range list {
				list[i].Pretty = pretty(readable(string(list[i].Value)))
			}
		}
	}
	s.Raw = raw(s, m)
}

func halfOf(header []field, body *kept) half {
	h := half{Size: body.size, Body: readable(string(body.data))}
	for _, f := range header {
		h.Headers = append(h.Headers, shownHeader{f.Name, readable(f.Value)})
	}
	if body.cut() {
		h.Note = fmt.Sprintf("Cut: only the first %d of %d bytes are kept.", maxMessageBody, body.size)
	}
	h.Pretty = pretty(h.Body)
	return h
}

func (m *message) isForm() bool {
	kind, _, _ := mime.ParseMediaType(valueOf(m.header, "Content-Type"))
	return kind == formType
}

// parametersOf lists the fields of a form, or of a query.
func parametersOf(m *message) []parameter {
	var list []parameter
	add := func(name, value string) {
		a := aboutParameters[m.kind][name]
		list = append(list, parameter{readable(name), readable(value), a.text, a.spec})
	}
	for _, f := range m.form {
		add(f.Name, f.Value)
	}
	forms := []string{}
	if _, query, ok := strings.Cut(m.url, "?"); ok && !m.toTool {
		forms = append(forms, query)
	}
	if m.isForm() {
		forms = append(forms, string(m.body.data))
	}
	for _, form := range forms {
		for pair := range strings.SplitSeq(form, "&") {
			name, value, _ := strings.Cut(pair, "=")
			if pair != "" {
				add(unescape(name), unescape(value))
			}
		}
	}
	return list
}

// unescape decodes a part of a form; what cannot be decoded is shown as it came.
func unescape(s string) string {
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}

func valueOf(list []field, name string) string {
	for _, f := range list {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// takeApart decodes a signed token. Nothing that is read here counts for more than
// showing it.
func takeApart(m *message, name, compact string) token {
	t := token{Name: name, compact: compact}
	parts := strings.Split(compact, ".")
	if m.body.cut() {
		t.Problem = "The body is longer than what is kept, so the token is not whole."
	} else if len(parts) != 3 {
		t.Problem = fmt.Sprintf("A signed token has three parts, this has %d.", len(parts))
	}
	t.Header = decodePart(parts[0], "header", aboutHeader, m.at, &t.Problem)
	if len(parts) > 1 {
		t.Claims = decodePart(parts[1], "payload", aboutClaims, m.at, &t.Problem)
	}
	t.KeyID, _ = jsonText(memberOf(t.Header, "kid"))
	t.KeyID = readable(t.KeyID)
	return t
}

// signature says what became of the check of a signature.
func (p *platform) signature(m *message, compact string) (signature, reason string) {
	switch {
	case m.toTool:
		return p.checkOwn(compact)
	case m.check != nil && (m.check.sum == sha256.Sum256([]byte(compact)) || m.body.cut()):
		return m.check.result()
	}
	return signatureUnchecked, "The LMS refused the message before it came to the signature."
}

func (c *check) result() (signature, reason string) {
	if c.err != "" {
		return signatureInvalid, c.err
	}
	return signatureValid, "Checked when it came, with the tool's key set " + c.keysURL + "."
}

// checkOwn checks what the LMS itself has signed.
func (p *platform) checkOwn(compact string) (signature, reason string) {
	set, err := p.state.publicKeys()
	if err != nil {
		return signatureUnchecked, err.Error()
	}
	keys, err := jose.ParseKeySet(set)
	if err != nil {
		return signatureUnchecked, err.Error()
	}
	signed, err := jose.Parse(compact)
	if err == nil {
		_, err = signed.Verify(keys.Find(signed.KeyID()), []string{"RS256"})
	}
	if err != nil {
		return signatureInvalid, err.Error()
	}
	return signatureValid, "Signed by this LMS; the key is in its own key set."
}

// decodePart decodes the header or the payload of a token, in its own order.
func decodePart(part, what string, known map[string]about, at time.Time, problem *string) []claim {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		*problem = cmp.Or(*problem, "The "+what+" is not base64url.")
		return nil
	}
	list, err := members(data)
	if err != nil {
		*problem = cmp.Or(*problem, "The "+what+" is not a JSON object: "+clip(readable(err.Error()), 200)+".")
	}
	for i := range list {
		c := &list[i]
		if a, ok := known[c.Name]; ok {
			c.About, c.Spec = a.text, a.spec
		}
		if then, ok := numericDate(c.Value); ok && dateClaims[c.Name] {
			// Who wrote it counted whole seconds.
			at := at.Truncate(time.Second)
			c.When = then.UTC().Format("2 Jan 2006, 15:04:05 UTC") + ", " + relation(then.Sub(at))
		}
	}
	return list
}

// members reads an object in the order in which it is written, and as far as it can
// be read.
func members(data []byte) ([]claim, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	open, err := d.Token()
	if err != nil {
		return nil, err
	}
	if open != json.Delim('{') {
		return nil, fmt.Errorf("it begins with %v", open)
	}
	var list []claim
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return list, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return list, err
		}
		list = append(list, claim{Name: readable(fmt.Sprint(name)), Value: value})
	}
	_, err = d.Token()
	return list, err
}

func memberOf(list []claim, name string) json.RawMessage {
	for _, c := range list {
		if c.Name == name {
			return c.Value
		}
	}
	return nil
}

// summary says in a few words what a message is about.
func summary(s *shownMessage) string {
	param := func(name string) string {
		for _, p := range s.Parameters {
			if p.Name == name {
				return p.Value
			}
		}
		return ""
	}
	var claims []claim
	if len(s.Tokens) > 0 {
		claims = s.Tokens[0].Claims
	}
	path, _, _ := strings.Cut(s.URL, "?")
	switch s.Kind {
	case kindLogin:
		return "for " + param("target_link_uri")
	case kindAuth:
		return "answer wanted at " + param("redirect_uri")
	case kindResponse:
		if code := param("error"); code != "" {
			return code + ": " + param("error_description")
		}
		text, _ := jsonText(memberOf(claims, claimPrefix+"message_type"))
		return readable(text)
	case kindDeepLink:
		var items []json.RawMessage
		_ = json.Unmarshal(memberOf(claims, claimDeepLink+"content_items"), &items)
		return fmt.Sprintf("content items: %d", len(items))
	case kindToken:
		var names []string
		for scope := range strings.FieldsSeq(param("scope")) {
			names = append(names, scope[strings.LastIndexByte(scope, '/')+1:])
		}
		return "for " + strings.Join(names, ", ")
	case kindScore:
		if score := scoreOfBody(s.of.body.data); score.Maximum != "" {
			return readable(fmt.Sprintf("%s of %s for %s, %s", cmp.Or(score.Given, "nothing"), score.Maximum, score.User, score.Grading))
		}
	case kindRegistration:
		var asked struct {
			Name string `json:"client_name"`
		}
		if json.Unmarshal(s.of.body.data, &asked) == nil && asked.Name != "" {
			return "of " + readable(asked.Name)
		}
	case kindReturn:
		return cmp.Or(param("lti_errormsg"), param("lti_msg"), path)
	case kindToolKeys:
		return s.URL
	}
	return s.Method + " " + path
}

type bodyOfScore struct {
	Given   json.Number `json:"scoreGiven"`
	Maximum json.Number `json:"scoreMaximum"`
	User    string      `json:"userId"`
	Grading string      `json:"gradingProgress"`
}

func scoreOfBody(data []byte) (score bodyOfScore) {
	if json.Unmarshal(data, &score) != nil {
		return bodyOfScore{}
	}
	return score
}

// raw is the message as text that can be copied.
func raw(s *shownMessage, m *message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", s.Method, s.URL)
	write := func(h *half) {
		for _, f := range h.Headers {
			fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
		}
		if h.Body != "" {
			fmt.Fprintf(&b, "\n%s\n", h.Body)
		}
		if h.Note != "" {
			fmt.Fprintf(&b, "\n(%s)\n", h.Note)
		}
	}
	write(&s.Request)
	if len(m.form) > 0 {
		form := make([]string, 0, len(m.form))
		for _, f := range m.form {
			form = append(form, url.QueryEscape(f.Name)+"="+url.QueryEscape(f.Value))
		}
		fmt.Fprintf(&b, "\n%s\n", strings.Join(form, "&"))
	}
	if s.Answer != nil {
		b.WriteString("\n")
		if s.Status != 0 {
			fmt.Fprintf(&b, "%d %s\n", s.Status, http.StatusText(s.Status))
		}
		write(s.Answer)
	}
	return b.String()
}

// maxDepth keeps what is indented to a size that is a small multiple of what came.
const maxDepth = 32

// pretty indents JSON; anything else stays as it is.
func pretty(text string) string {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	var buf bytes.Buffer
	if deepest > maxDepth || json.Indent(&buf, []byte(text), "", "  ") != nil {
		return text
	}
	return buf.String()
}

// readable replaces what is no text, and what would change the order or look of
// the rest.
func readable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < ' ' || r >= 0x7f && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f:
			return '\ufffd'
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// clip bounds what is shown in a list.
func clip(s string, limit int) string {
	if runes := []rune(s); len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return s
}

// units are those in which people count time.
var units = []struct {
	of   time.Duration
	name string
}{
	{24 * time.Hour, "day"},
	{time.Hour, "hour"},
	{time.Minute, "minute"},
	{time.Second, "second"},
	{time.Millisecond, "millisecond"},
}

// words says how long something is, in two units at most.
func words(d time.Duration) string {
	var parts []string
	for _, u := range units {
		n := int64(d / u.of)
		d %= u.of
		if n > 0 && len(parts) < 2 {
			word := strconv.FormatInt(n, 10) + " " + u.name
			if n > 1 {
				word += "s"
			}
			parts = append(parts, word)
		}
	}
	if parts == nil {
		return "less than a millisecond"
	}
	return strings.Join(parts, " ")
}

func ago(d time.Duration) string {
	if d < time.Second {
		return "just now"
	}
	return words(d.Truncate(time.Second)) + " ago"
}

// relation says where a time lies, seen from another one.
func relation(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d > 0:
		return words(d) + " after this message"
	case d < 0:
		return words(-d) + " before this message"
	}
	return "the time of this message"
}

// clock is a time as a list shows it: of another day, with the day.
func clock(at, now time.Time) string {
	at, now = at.UTC(), now.UTC()
	if at.YearDay() != now.YearDay() || at.Year() != now.Year() {
		return at.Format("2 Jan, 15:04:05 UTC")
	}
	return at.Format("15:04:05 UTC")
}
