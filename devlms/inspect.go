package devlms

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/jwkset"
)

// Bounds of what the inspector remembers.
const (
	maxMessages     = 500
	maxMessageBody  = 64 << 10
	maxMessageText  = 8 << 10 // a URL, a header, a problem
	maxJournalBytes = 16 << 20
)

// message is what went between the LMS and a tool, in either direction, as the
// inspector shows it. It does not change once it is in the journal.
type message struct {
	serial uint64
	kind   string
	toTool bool   // the LMS sent it; else the tool did, or its browser for it
	issuer string // "" for what is not of one issuer
	at     time.Time
	took   time.Duration
	fate   string // how the exchange ended, if it has no status

	tool, toolTitle string
	person          string // the id of who sat at the browser
	launch          string // names the launch or the registration that it belongs to; see launchName
	request         string // the id of a deep linking request
	token           string // fingerprint of the access token that came or went
	other           uint64 // what the same exchange brought besides

	method, url string
	header      []field
	body        kept
	unread      bool // the body never was
	form        []field

	status       int
	answerHeader []field
	answer       kept
	page         bool // the answer is a page for people, and not kept
	problem      string
	fault        string
	check        *check
}

// check is what became of the signature of a token that a tool has sent.
type check struct {
	sum     [sha256.Size]byte // of the token
	keysURL string
	err     string // "" means that it is good
}

func (m *message) bytes() int {
	n := 512 + len(m.url) + len(m.problem) + len(m.body.data) + len(m.answer.data)
	for _, list := range [][]field{m.header, m.form, m.answerHeader} {
		for _, f := range list {
			n += len(f.Name) + len(f.Value)
		}
	}
	return n
}

// kept is the beginning of a body.
type kept struct {
	data []byte
	size int64 // of the whole
}

func (k *kept) add(p []byte) {
	k.size += int64(len(p))
	if room := maxMessageBody - len(k.data); room > 0 {
		k.data = append(k.data, p[:min(room, len(p))]...)
	}
}

func (k *kept) cut() bool { return k.size > maxMessageBody }

// journal holds the latest messages.
type journal struct {
	mu       sync.Mutex
	messages []*message // oldest first
	bytes    int
	serial   uint64
	dropped  uint64
}

// add appends messages of one exchange, each knowing the other.
func (j *journal) add(list ...*message) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, m := range list {
		j.serial++
		m.serial = j.serial
		if len(list) == 2 {
			m.other = m.serial + 1 - 2*uint64(i)
		}
		j.messages = append(j.messages, m)
		j.bytes += m.bytes()
	}
	for len(j.messages) > maxMessages || j.bytes > maxJournalBytes {
		j.bytes -= j.messages[0].bytes()
		j.messages[0] = nil // nothing behind the slice keeps it
		j.messages = j.messages[1:]
		j.dropped++
	}
}

// of lists what an issuer sees, oldest first, and how many messages fell out of
// the journal, whosever they were.
func (j *journal) of(issuer string) (list []*message, dropped uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, m := range j.messages {
		if m.issuer == issuer || m.issuer == "" {
			list = append(list, m)
		}
	}
	return list, j.dropped
}

// clear forgets what an issuer sees.
func (j *journal) clear(issuer string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var left []*message
	j.bytes = 0
	for _, m := range j.messages {
		if m.issuer != issuer && m.issuer != "" {
			left = append(left, m)
			j.bytes += m.bytes()
		}
	}
	j.messages = left
}

// note is what the serving of a request says about it to the inspector.
type note struct {
	pattern string // of the route
	tool    *Tool
	launch  string
	request string
	sent    *autoPost // the form that the browser takes to the tool
	check   *check
	problem string
	fault   string
	page    bool // the answer is a page for people
	status  int  // of an answer that went past the ResponseWriter
	answer  string
}

// launchName names the launch of an lti_message_hint. The hint itself opens it.
func launchName(hint string) string {
	if hint == "" {
		return ""
	}
	return fingerprint(hint)
}

func fingerprint(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:6])
}

// watch serves a request and keeps what it was, however serving it ends. Nothing
// waits for that: what is kept is copied as it passes.
func (p *platform) watch(v *visit, serve func(*visit) error) (err error) {
	in := &inTap{ReadCloser: v.r.Body}
	out := &outTap{ResponseWriter: v.w}
	// A copy, for the server looks at the body of its own one before it answers.
	r := v.r.WithContext(v.r.Context())
	r.Body, v.r = in, r
	v.under, v.w = v.w, out
	began, finished := p.now(), false
	defer func() {
		if finished && err == nil {
			readRest(r, in, out)
		}
		m := &message{issuer: v.issuer, at: began, took: p.now().Sub(began), body: in.kept, unread: !in.ended && r.ContentLength != 0}
		m.status, m.answer = out.status, out.kept
		switch {
		case !finished:
			m.fate = "The LMS broke the connection off."
		case err != nil:
			m.status, m.problem = http.StatusInternalServerError, clipped(err.Error())
		case m.status == 0 && !out.hijacked:
			m.status = http.StatusOK
		}
		p.keep(v, r, out, m)
	}()
	err = serve(v)
	finished = true
	return err
}

// readRest reads what the serving did not of a body, so that it can be shown why
// it was refused. net/http would read it as well before it answers (writeHeader in
// server.go), so nobody waits longer.
func readRest(r *http.Request, in *inTap, out *outTap) {
	if r.ProtoMajor != 1 || r.Close || r.Header.Get("Expect") != "" || out.hijacked ||
		r.ContentLength <= 0 || r.ContentLength > maxMessageBody || in.ended {
		return
	}
	_, _ = io.Copy(io.Discard, in)
}

// keep makes the messages of an exchange.
func (p *platform) keep(v *visit, r *http.Request, out *outTap, m *message) {
	n := &v.note
	m.kind = kindOf(n.pattern)
	form := n.sent != nil
	forPeople := (n.page || m.status == http.StatusSeeOther) && m.status < 400 && !form
	if m.kind == kindNone || forPeople && !slices.Contains(browserKinds, m.kind) {
		return
	}
	if n.tool != nil {
		m.tool, m.toolTitle = n.tool.Name, n.tool.Title
	}
	if v.person != nil {
		m.person = v.person.ID
	}
	m.launch, m.request, m.check, m.fault = n.launch, n.request, n.check, n.fault
	m.problem = cmp.Or(m.problem, clipped(n.problem))
	m.method, m.url = r.Method, clipped(quiet(r.URL.RequestURI()))
	m.header = headers(r.Header, "Accept", "Content-Type", "Authorization", "Origin", "User-Agent", "If-None-Match")
	for i, f := range m.header {
		if f.Name == "Authorization" {
			m.header[i].Value, m.token = shortened(f.Value)
		}
	}
	if m.kind == kindConfiguration || m.kind == kindRegistration {
		// What one registration token was used for belongs together.
		m.launch = m.token
		if token := r.URL.Query().Get("registration_token"); token != "" {
			m.launch = fingerprint(token)
		}
	}
	m.answerHeader = headers(out.Header(), "Content-Type", "Link", "Location", "Retry-After", "WWW-Authenticate", "Allow", "Cache-Control")
	if n.status != 0 {
		m.status, m.answer = n.status, kept{[]byte(n.answer), int64(len(n.answer))}
	}
	if m.page = n.page; m.page {
		m.answer = kept{}
	}
	if token := accessTokenIn(m.answer.data); token != "" {
		m.token = fingerprint(token)
	}
	m.body.data, m.answer.data = []byte(quiet(string(m.body.data))), []byte(quiet(string(m.answer.data)))

	if !form {
		p.state.journal.add(m)
		return
	}
	sent := *m
	sent.kind, sent.toTool, sent.method, sent.url = kindLogin, true, http.MethodPost, clipped(n.sent.Action)
	sent.header, sent.body, sent.unread, sent.check, sent.token = []field{{"Content-Type", formType}}, kept{}, false, nil, ""
	sent.status, sent.answerHeader, sent.took, sent.page = 0, nil, 0, false
	for _, f := range n.sent.Fields {
		sent.form = append(sent.form, field{f.Name, quiet(f.Value)})
	}
	switch {
	case m.kind == kindAuth:
		sent.kind = kindResponse
		p.state.journal.add(m, &sent)
		return
	case m.launch == "":
		sent.kind = kindOther
	}
	// That somebody asked for the form is no message of its own.
	p.state.journal.add(&sent)
}

// headers picks those that matter.
func headers(h http.Header, names ...string) []field {
	var list []field
	for _, name := range names {
		for _, value := range h.Values(name) {
			list = append(list, field{name, clipped(value)})
		}
	}
	return list
}

// inTap keeps the beginning of a body as it is read.
type inTap struct {
	io.ReadCloser
	kept

	ended bool
}

func (t *inTap) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	t.add(p[:n])
	if err != nil {
		t.ended = true
	}
	return n, err
}

// outTap keeps the beginning of an answer as it is written.
type outTap struct {
	http.ResponseWriter
	kept

	status   int
	hijacked bool
}

func (t *outTap) WriteHeader(status int) {
	if t.status < 200 {
		t.status = status
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *outTap) Write(p []byte) (int, error) {
	if t.status < 200 {
		t.status = http.StatusOK
	}
	n, err := t.ResponseWriter.Write(p)
	t.add(p[:n])
	return n, err
}

// Unwrap leads http.ResponseController to what else the writer can.
func (t *outTap) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *outTap) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(t.ResponseWriter).Hijack()
	t.hijacked = err == nil
	return conn, buf, err
}

// limit bounds what is read of a body. The server's own writer hears of what is
// too large, for it closes the connection then.
func (v *visit) limit(n int64) {
	v.r.Body = http.MaxBytesReader(v.under, v.r.Body, n)
}

// watchedFetcher keeps what the LMS itself asks a tool for. It is a value that can
// be compared, as key sets do with fetchers.
type watchedFetcher struct {
	jwkset.Fetcher

	p    *platform
	tool *Tool
}

func (f watchedFetcher) Get(ctx context.Context, url, accept string, maxBytes int64) (*httpx.Response, error) {
	began := f.p.now()
	res, err := f.Fetcher.Get(ctx, url, accept, maxBytes)
	m := &message{
		kind: kindToolKeys, toTool: true, at: began, took: f.p.now().Sub(began),
		tool: f.tool.Name, toolTitle: f.tool.Title,
		method: http.MethodGet, url: clipped(url), header: []field{{"Accept", accept}},
	}
	if err != nil {
		m.fate, m.problem = "The LMS got no answer that it could use.", clipped(remedy(err).Error())
	} else {
		m.status = res.Status
		m.answerHeader = headers(res.Header, "Content-Type", "Cache-Control", "Location")
		m.answer.add(res.Body)
	}
	f.p.state.journal.add(m)
	return res, err
}

// secrets are the names of what opens doors for whoever reads it; secretValue finds
// them in JSON, in a query and in a form.
var (
	secrets     = []string{"access_token", "registration_token", "refresh_token", "client_secret"}
	secretValue = regexp.MustCompile(`((?:` + strings.Join(secrets, "|") + `)(?:"\s*:\s*"|=))([^"&\s]{0,6})([^"&\s]*)`)
)

// quiet shortens secrets. Signed tokens stay: they are good once.
func quiet(s string) string {
	if !slices.ContainsFunc(secrets, func(name string) bool { return strings.Contains(s, name) }) {
		return s // much faster
	}
	return secretValue.ReplaceAllString(s, "$1$2…")
}

// accessTokenIn returns the token that an answer of the token endpoint brings.
func accessTokenIn(answer []byte) string {
	if !bytes.Contains(answer, []byte(`"access_token"`)) {
		return ""
	}
	found := secretValue.FindSubmatch(answer)
	if found == nil {
		return ""
	}
	return string(found[2]) + string(found[3])
}

var credential = regexp.MustCompile(`^\S+ +(\S+)\s*$`)

// shortened is an Authorization header as it may be shown, and the fingerprint of
// the token in it.
func shortened(value string) (shown, print string) {
	at := credential.FindStringSubmatchIndex(value)
	if at == nil {
		return value[:min(len(value), 6)] + "…", ""
	}
	token := value[at[2]:at[3]]
	return value[:at[2]] + token[:min(len(token), 6)] + "…", fingerprint(token)
}

// clipped bounds what is kept of a text.
func clipped(s string) string {
	if len(s) <= maxMessageText {
		return s
	}
	return s[:maxMessageText] + "…"
}
