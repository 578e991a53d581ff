package e2e

import (
	"bufio"
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/lab"
	"github.com/caddy-lti/lti/internal/ltitest"
)

// The conformance table is testdata/launch and, what concerns every tool, the
// catalogue of the laboratory, internal/lab/cases: a folder for each case, below
// valid or invalid, whose case.json holds what differs from a good launch.
// Everything not named there is as in ltitest.Platform.Claims and launch_test.go.
//
// Each case has a site and a platform of its own, with a key set that nobody
// else has fetched; all sites are in one Caddy.

// conformanceCase is a case.json.
type conformanceCase struct {
	name  string
	valid bool

	lab.Info
	Config   []string `json:"config"`   // further lines of the lti block
	Platform []string `json:"platform"` // further lines of the platform's block
	// Edge marks a case that lies so close to a limit of time that it says
	// nothing if the machine was slow; it is repeated then.
	Edge bool `json:"edge"`

	deviation
	// Control is what remains different when the case's own difference is
	// undone. Default: nothing.
	Control deviation `json:"control"`

	Expect struct {
		Status int    `json:"status"`
		Code   string `json:"code"`
		// Location is where a good launch lands. Default: {origin}/.
		Location string `json:"location"`
		// Headers are what the app must get; null is for a header that must not
		// be there.
		Headers map[string]*string `json:"headers"`
		// Fetches is how often the launch may have the key set fetched.
		Fetches *int64 `json:"fetches"`
	} `json:"expect"`
}

// deviation is how a launch differs from a good one, or the key set.
type deviation struct {
	lab.Deviation
	JWKS *keySetVariant `json:"jwks"`
}

// keySetVariant is what the platform's JWKS URL answers.
type keySetVariant struct {
	// Keys are members of the set. "of" takes a key of keys as it is published,
	// with the rest of the member over it; "pad" pads its base64url.
	Keys     []any  `json:"keys"`
	Body     string `json:"body"` // instead of the keys
	Status   int    `json:"status"`
	Hang     bool   `json:"hang"` // never answers
	Fill     int    `json:"fill"` // bytes of white space before the document
	Redirect string `json:"redirect"`
	// Then is what the second request and all later ones get.
	Then *keySetVariant `json:"then"`
}

func readCases(tb testing.TB) []*conformanceCase {
	tb.Helper()
	paths, err := filepath.Glob("testdata/launch/*/*/case.json")
	if err != nil {
		tb.Fatal(err)
	}
	portable, err := filepath.Glob("../internal/lab/cases/*/*/case.json")
	if err != nil {
		tb.Fatal(err)
	}
	paths = append(paths, portable...)
	var cases []*conformanceCase
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		folder := filepath.Dir(path)
		c := &conformanceCase{name: filepath.Base(folder), valid: filepath.Base(filepath.Dir(folder)) == "valid"}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		if err := dec.Decode(c); err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
		switch {
		case c.Description == "" || c.Reference == "":
			tb.Errorf("%s: needs a description and a reference", path)
		case c.valid && (c.Expect.Status != http.StatusSeeOther || len(c.Expect.Headers) == 0):
			tb.Errorf("%s: a valid case expects 303 and headers", path)
		case !c.valid && (c.Expect.Status < 400 || c.Expect.Status > 499 || c.Expect.Code == ""):
			tb.Errorf("%s: an invalid case expects a status of 4xx and a code", path)
		}
		cases = append(cases, c)
	}
	if len(cases) < 200 {
		tb.Fatalf("found only %d cases", len(cases))
	}
	return cases
}

// TestConformance runs the table.
func TestConformance(t *testing.T) {
	w := newConformance(t, readCases(t))
	w.keepSecret("Ann Example", "ann@school.example", "user-1")
	t.Run("case", func(t *testing.T) { // ends when all of them have
		for _, c := range w.cases {
			kind, run := "invalid", w.refuse
			if c.valid {
				kind, run = "valid", w.accept
			}
			t.Run(kind+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				run(t, c)
			})
		}
	})
	w.checkLog(t)
}

// conformance is what all cases share.
type conformance struct {
	cases     []*conformanceCase
	caddy     *caddy
	app       *recordingApp
	stranger  *trap             // a server that nothing but the token's header names
	private   *trap             // one on an address that may not be asked
	other     *ltitest.Platform // a second registration, whose key has the same kid
	keys      map[string]ltitest.Key
	platforms map[string]*ltitest.Platform // by case

	mu       sync.Mutex
	refusals []seenRefusal
	secrets  []string // what may be in no line of ours in the log
}

func (w *conformance) keepSecret(secrets ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets = append(w.secrets, secrets...)
}

type seenRefusal struct{ site, code, reference string }

func newConformance(tb testing.TB, cases []*conformanceCase) *conformance {
	tb.Helper()
	w := &conformance{
		cases: cases, app: newRecordingApp(tb), stranger: newTrap(tb, "127.0.0.1:0"), private: newTrap(tb, "127.0.0.2:0"),
		keys: conformanceKeys(tb), platforms: make(map[string]*ltitest.Platform),
	}
	w.other = ltitest.NewPlatform(tb)
	w.other.Issuer, w.other.ClientID, w.other.Key = "https://other.example", "client-2", w.keys["rsa-2"]
	w.other.ServeKeys(w.other.Key.JWK())

	// The stores have tests of their own; in memory this takes half the time.
	var file strings.Builder
	file.WriteString("{\n\tadmin localhost:$ADMIN\n\tauto_https off\n\tdefault_bind 127.0.0.1\n" +
		"\tlti {\n\t\tstore memory\n\t\thttp_client {\n\t\t\ttimeout 3s\n\t\t\tallow_private 127.0.0.1\n\t\t}\n\t}\n}\n")
	file.WriteString(w.site("elsewhere", w.other, nil, nil))
	for _, c := range cases {
		p := ltitest.NewPlatform(tb)
		w.platforms[c.name] = p
		file.WriteString(w.site(c.name, p, c.Platform, c.Config))
	}
	w.caddy = startCaddy(tb, file.String())
	return w
}

// site is the site block of a case.
func (w *conformance) site(name string, p *ltitest.Platform, platform, config []string) string {
	if !slices.ContainsFunc(platform, func(line string) bool { return strings.HasPrefix(line, "deployment ") }) {
		platform = append([]string{"deployment " + p.Deployment}, platform...)
	}
	file := fmt.Sprintf(`http://%s.localhost:$PORT {
	lti {
		platform lms {
			issuer %s
			client_id %s
			auth_url https://lms.example/auth
			jwks_url %s
			%s
		}
		%s
	}
	reverse_proxy %s
}
`, name, p.Issuer, p.ClientID, p.JWKSURL(), strings.Join(platform, "\n\t\t\t"), strings.Join(config, "\n\t\t"), w.app.addr)
	return strings.NewReplacer("$JWKS", p.JWKSURL(), "$OTHER_JWKS", w.other.JWKSURL()).Replace(file)
}

// conformanceKeys are keys that a case can name. All have the kid key-1.
func conformanceKeys(tb testing.TB) map[string]ltitest.Key {
	tb.Helper()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		tb.Fatal(err)
	}
	const kid = "key-1"
	return map[string]ltitest.Key{
		"rsa":    ltitest.RSAKey(tb, 0, kid),
		"rsa-2":  ltitest.RSAKey(tb, 1, kid),
		"weak":   {ID: kid, Private: weak},
		"ec-256": ltitest.ECKey(tb, elliptic.P256(), kid),
		"ec-384": ltitest.ECKey(tb, elliptic.P384(), kid),
		"ec-521": ltitest.ECKey(tb, elliptic.P521(), kid),
		"ed":     ltitest.EdKey(tb, kid),
	}
}

// recordingApp is what stands behind the sites.
type recordingApp struct {
	addr string

	mu     sync.Mutex
	counts map[string]int         // by host
	last   map[string]http.Header // by host
}

func newRecordingApp(tb testing.TB) *recordingApp {
	tb.Helper()
	a := &recordingApp{counts: make(map[string]int), last: make(map[string]http.Header)}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		host, _, _ := strings.Cut(r.Host, ":")
		a.mu.Lock()
		defer a.mu.Unlock()
		a.counts[host]++
		a.last[host] = r.Header
	}))
	tb.Cleanup(srv.Close)
	a.addr = srv.Listener.Addr().String()
	return a
}

// seen returns how many requests for the host there were, and the last one's
// headers.
func (a *recordingApp) seen(host string) (int, http.Header) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts[host], a.last[host]
}

// trap is a server that should not be asked. It publishes the key rsa-2 in case
// it is, so that whoever asks also falls for it.
type trap struct {
	url string

	mu     sync.Mutex
	counts map[string]int // by first segment of the path
}

func newTrap(tb testing.TB, addr string) *trap {
	tb.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		tb.Fatalf("this system has no second loopback address: %v", err)
	}
	doc, err := json.Marshal(map[string]any{"keys": []any{ltitest.RSAKey(tb, 1, "key-1").JWK()}})
	if err != nil {
		tb.Fatal(err)
	}
	tr := &trap{counts: make(map[string]int)}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		tr.mu.Lock()
		tr.counts[name]++
		tr.mu.Unlock()
		_, _ = w.Write(doc)
	}))
	_ = srv.Listener.Close()
	srv.Listener = ln
	srv.Start()
	tb.Cleanup(srv.Close)
	tr.url = srv.URL
	return tr
}

func (tr *trap) seen(name string) int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.counts[name]
}

// refuse runs an invalid case.
func (w *conformance) refuse(t *testing.T, c *conformanceCase) {
	w.serveKeys(t, c, c.JWKS)
	if c.JWKS == nil {
		w.serveKeys(t, c, c.Control.JWKS)
		w.mustAccept(t, c, newBrowser(t))
	}
	var b *browser
	var later, a *attempt
	var res *answer
	var before int
	var fetches int64
	for range 20 {
		b = newBrowser(t)
		later = w.begin(t, c, &c.Control, b) // a login of the same browser, to be finished later
		a = w.begin(t, c, &c.deviation, b)
		before, _ = w.app.seen(a.tool.host)
		if c.Used {
			used := *a
			used.d = &c.Control
			if res := used.post(t); res.StatusCode != http.StatusSeeOther {
				t.Fatalf("the launch that is to be repeated: %d %s", res.StatusCode, res.body)
			}
		}
		fetches = a.tool.platform.Fetches.Load()
		res = a.post(t)
		if a.inTime() {
			break
		}
	}
	code, reference := readRefusal(t, res, c.Page)
	if c.Page {
		code = c.Expect.Code // is in the log only
	}
	if res.StatusCode != c.Expect.Status || code != c.Expect.Code {
		t.Errorf("got %d %s, expected %d %s", res.StatusCode, code, c.Expect.Status, c.Expect.Code)
	}
	if reference != "" {
		w.mu.Lock()
		w.refusals = append(w.refusals, seenRefusal{a.tool.host, c.Expect.Code, reference})
		w.mu.Unlock()
	} else {
		t.Errorf("the answer has no reference: %s", res.body)
	}
	if got := res.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control of the refusal: %q", got)
	}
	for _, cookie := range res.Cookies() {
		if !strings.HasPrefix(cookie.Name, "__Host-lti-s-") && cookie.MaxAge >= 0 {
			t.Errorf("the refusal sets the cookie %s", cookie.Name)
		}
	}
	wantPage := http.StatusUnauthorized
	if c.Used {
		wantPage = http.StatusOK // by the launch before
		before++
	}
	if res := b.get(a.tool.url("/")); res.StatusCode != wantPage {
		t.Errorf("a page afterwards: %d, expected %d", res.StatusCode, wantPage)
	}
	if after, _ := w.app.seen(a.tool.host); after != before {
		t.Errorf("the app saw %d requests, expected %d", after, before)
	}
	w.checkTraps(t, c)
	if want := c.Expect.Fetches; want != nil {
		if got := a.tool.platform.Fetches.Load() - fetches; got != *want {
			t.Errorf("the key set was fetched %d times, expected %d", got, *want)
		}
	}

	if c.JWKS != nil {
		w.serveKeys(t, c, c.Control.JWKS)
		w.mustAccept(t, c, newBrowser(t))
	}
	if res := later.post(t); res.StatusCode != http.StatusSeeOther {
		t.Errorf("the other login of this browser can no longer be finished: %d %s", res.StatusCode, res.body)
	}
	if res := b.get(a.tool.url("/")); res.StatusCode != http.StatusOK {
		t.Errorf("a page after the other login: %d", res.StatusCode)
	}
}

// mustAccept is the control: the same flow without the difference.
func (w *conformance) mustAccept(t *testing.T, c *conformanceCase, b *browser) {
	t.Helper()
	a := w.begin(t, c, &c.Control, b)
	before, _ := w.app.seen(a.tool.host)
	if res := a.post(t); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("without the difference, the launch is refused too: %d %s", res.StatusCode, res.body)
	}
	if res := b.get(a.tool.url("/")); res.StatusCode != http.StatusOK {
		t.Fatalf("without the difference, the page is refused: %d", res.StatusCode)
	}
	if after, _ := w.app.seen(a.tool.host); after != before+1 {
		t.Fatalf("without the difference, the app saw %d requests, expected 1", after-before)
	}
}

// accept runs a valid case.
func (w *conformance) accept(t *testing.T, c *conformanceCase) {
	w.serveKeys(t, c, c.JWKS)
	b := newBrowser(t)
	var a *attempt
	var res *answer
	var fetches int64
	for range 20 {
		a = w.begin(t, c, &c.deviation, b)
		fetches = a.tool.platform.Fetches.Load()
		res = a.post(t)
		if a.inTime() {
			break
		}
	}
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("got %d, expected 303: %s", res.StatusCode, res.body)
	}
	want := c.Expect.Location
	if want == "" {
		want = "{origin}/"
	}
	want, _ = a.expand(t, want).(string)
	if got := res.Header.Get("Location"); got != want {
		t.Errorf("landed at %s, expected %s", got, want)
	}
	w.checkTraps(t, c)
	if want := c.Expect.Fetches; want != nil {
		if got := a.tool.platform.Fetches.Load() - fetches; got != *want {
			t.Errorf("the key set was fetched %d times, expected %d", got, *want)
		}
	}
	page, _, _ := strings.Cut(res.Header.Get("Location"), "#")
	if res := b.get(page); res.StatusCode != http.StatusOK {
		t.Fatalf("the page where the launch lands: %d %s", res.StatusCode, res.body)
	}
	n, header := w.app.seen(a.tool.host)
	if n != 1 {
		t.Errorf("the app saw %d requests, expected 1", n)
	}
	for name, want := range c.Expect.Headers {
		got := header.Values(name)
		switch {
		case want == nil && len(got) > 0:
			t.Errorf("%s is %q, expected none", name, got)
		case want != nil && (len(got) != 1 || got[0] != a.expand(t, *want)):
			t.Errorf("%s is %q, expected %q", name, got, a.expand(t, *want))
		}
	}
}

// checkTraps sees to it that nobody followed what a token named.
func (w *conformance) checkTraps(t *testing.T, c *conformanceCase) {
	t.Helper()
	if n := w.stranger.seen(c.name); n != 0 {
		t.Errorf("%d requests to a URL of the token", n)
	}
	if n := w.private.seen(c.name); n != 0 {
		t.Errorf("%d requests to a private address", n)
	}
}

var pageReference = regexp.MustCompile(`<p class="reference">[^<]*<code[^>]*>([^<]+)</code>`)

// readRefusal returns code and reference of a problem document, or the
// reference of a page.
func readRefusal(t *testing.T, res *answer, page bool) (code, reference string) {
	t.Helper()
	if page {
		if got := res.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
			t.Errorf("Content-Type %q, expected a page", got)
		}
		if m := pageReference.FindStringSubmatch(res.body); m != nil {
			reference = m[1]
		}
		if strings.Contains(res.body, "<script") || strings.Contains(res.body, "onerror") {
			t.Errorf("the page has a script in it: %s", res.body)
		}
		return "", reference
	}
	if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q, expected a problem document", got)
	}
	var doc struct {
		Status    int    `json:"status"`
		Code      string `json:"code"`
		Title     string `json:"title"`
		Reference string `json:"reference"`
	}
	if err := json.Unmarshal([]byte(res.body), &doc); err != nil {
		t.Errorf("problem document: %v: %s", err, res.body)
	}
	if doc.Status != res.StatusCode || doc.Title == "" {
		t.Errorf("problem document of an answer %d: %s", res.StatusCode, res.body)
	}
	return doc.Code, doc.Reference
}

// checkLog looks for each refusal in Caddy's log, under its reference, and sees
// to it that no line of ours tells who somebody is.
func (w *conformance) checkLog(t *testing.T) {
	t.Helper()
	missing := make(map[string]seenRefusal)
	for _, r := range w.refusals {
		missing[r.reference] = r
	}
	// The log is written before the answer, but read by another goroutine.
	deadline := time.After(10 * time.Second)
	for done := false; !done; {
		text := w.caddy.log.String()
		done = true
		for ref := range missing {
			done = done && strings.Contains(text, ref)
		}
		select {
		case <-deadline:
			done = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	lines := bufio.NewScanner(strings.NewReader(w.caddy.log.String()))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Logger    string `json:"logger"`
			Code      string `json:"code"`
			Reference string `json:"reference"`
			Host      string `json:"host"`
			Mender    string `json:"who_can_mend_it"`
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil || !strings.Contains(line.Logger, "lti") {
			continue
		}
		for _, secret := range w.secrets {
			if strings.Contains(lines.Text(), secret) {
				t.Errorf("the log tells %q: %s", secret, lines.Text())
			}
		}
		if seen, ok := missing[line.Reference]; ok {
			delete(missing, line.Reference)
			site, _, _ := strings.Cut(line.Host, ":")
			if line.Code != seen.code || site != seen.site || line.Mender == "" {
				t.Errorf("%s: the log has under %s, expected the code %s: %s", seen.site, seen.reference, seen.code, lines.Text())
			}
		}
	}
	for _, r := range missing {
		t.Errorf("%s: the log has nothing under the reference %s (%s)", r.site, r.reference, r.code)
	}
}

// attempt is one launch on its way.
type attempt struct {
	w      *conformance
	c      *conformanceCase
	d      *deviation
	tool   *tool
	b      *browser
	auth   url.Values // the authentication request
	cookie string     // the name of the login's cookie
	secret string     // its value
	token  string
	minted time.Time
}

// inTime reports whether the answer came so soon that the case has been tried.
func (a *attempt) inTime() bool {
	return !a.c.Edge || time.Since(a.minted) < 900*time.Millisecond
}

// begin starts a login in the browser.
func (w *conformance) begin(t *testing.T, c *conformanceCase, d *deviation, b *browser) *attempt {
	t.Helper()
	a := &attempt{
		w: w, c: c, d: d, b: b,
		tool: &tool{caddy: w.caddy, host: c.name + ".localhost", base: "/lti", platform: w.platforms[c.name]},
	}
	a.login(t)
	w.keepSecret(a.auth.Get("nonce"), a.auth.Get("state"), a.secret)
	return a
}

func (a *attempt) login(t *testing.T) {
	t.Helper()
	p := a.tool.platform
	q, err := a.d.MakeLogin(map[string]any{
		"iss": p.Issuer, "login_hint": "hint", "client_id": p.ClientID, "target_link_uri": a.tool.url("/"),
	}, a.fill(t))
	if err != nil {
		t.Fatal(err)
	}
	known := a.b.stateCookies(a.tool.host)
	res := a.b.passProbe(a.b.get(a.tool.url("/lti/login?" + q.Encode())))
	loc, err := res.Location()
	if res.StatusCode != http.StatusFound || err != nil {
		t.Fatalf("login: %d %s", res.StatusCode, res.body)
	}
	a.auth = loc.Query()
	for name, val := range a.b.stateCookies(a.tool.host) {
		if _, ok := known[name]; !ok {
			a.cookie, a.secret = name, val
		}
	}
	if a.cookie == "" {
		t.Fatal("the login set no cookie")
	}
}

// stateCookies returns the cookies of logins that the browser holds.
func (b *browser) stateCookies(host string) map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := make(map[string]string)
	for name, val := range b.jar[host] {
		if strings.HasPrefix(name, "__Host-lti-s-") {
			found[name] = val
		}
	}
	return found
}

// post sends the platform's answer, or what is made of it.
func (a *attempt) post(t *testing.T) *answer {
	t.Helper()
	d := a.d
	a.minted = time.Now()
	a.token = a.makeToken(t)
	if len(a.token) > 100 {
		a.w.keepSecret(a.token[len(a.token)-100:])
	}
	body, err := d.MakeBody(a.auth.Get("state"), a.token, a.fill(t))
	if err != nil {
		t.Fatal(err)
	}
	accept := "application/json"
	if d.Page {
		accept = "text/html"
	}
	header := []string{"Accept", accept}
	if d.ContentType != "" {
		header = append(header, "Content-Type", d.ContentType)
	}
	target := a.tool.url("/lti/launch")
	if d.Query != "" {
		query, _ := a.expand(t, d.Query).(string)
		target += "?" + query
	}

	b := a.b
	switch d.Cookies {
	case "":
	case "dropped":
		b = newBrowser(t)
	case "other-browser":
		b = newBrowser(t)
		busy := *a
		busy.b, busy.d = b, &deviation{}
		busy.login(t)
	case "forged":
		b.setCookie(a.tool.host, a.cookie, strings.Repeat("A", len(a.secret)))
	case "shadowed":
		header = append(header, "Cookie", a.cookie+"="+strings.Repeat("A", len(a.secret)))
	case "kept":
		b.setCookie(a.tool.host, a.cookie, a.secret)
	default:
		t.Fatalf("unknown cookies %q", d.Cookies)
	}
	return b.post(target, body, header...)
}

func (a *attempt) makeToken(t *testing.T) string {
	t.Helper()
	p := a.tool.platform
	token, err := a.d.MakeToken(lab.Message{
		Claims: p.Claims(a.auth.Get("nonce"), a.tool.url("/")), Header: p.Header(), Keys: a.w.keys, Fill: a.fill(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// expand fills in the words in braces; see lab.Expand.
func (a *attempt) expand(t *testing.T, v any) any {
	t.Helper()
	val, err := lab.Expand(v, a.fill(t))
	if err != nil {
		t.Fatal(err)
	}
	return val
}

func (a *attempt) fill(t *testing.T) lab.Fill {
	return func(name, arg string) (any, error) {
		t.Helper()
		if val, known, err := lab.FillCommon(name, arg, a.minted); known {
			return val, err
		}
		switch name {
		case "origin":
			return a.tool.url(""), nil
		case "site":
			return strings.TrimPrefix(a.tool.url(""), "http://"), nil
		case "host":
			return a.tool.host, nil
		case "port":
			return strconv.Itoa(a.tool.port), nil
		case "issuer":
			return a.tool.platform.Issuer, nil
		case "client":
			return a.tool.platform.ClientID, nil
		case "nonce", "state":
			return a.authOf(t, arg).Get(name), nil
		case "token":
			return a.token, nil
		case "stranger":
			return a.w.stranger.url + "/" + a.c.name, nil
		case "private":
			return a.w.private.url + "/" + a.c.name, nil
		case "jwk":
			return a.w.keys[arg].JWK(), nil
		case "x5c":
			return a.w.certificate(t, arg), nil
		}
		return nil, fmt.Errorf("unknown word {%s}", name)
	}
}

// authOf returns the authentication request of this login or another one.
func (a *attempt) authOf(t *testing.T, whose string) url.Values {
	t.Helper()
	another := *a
	another.d = &deviation{}
	switch whose {
	case "":
		return a.auth
	case "SAME":
	case "OTHER":
		another.b = newBrowser(t)
	case "ELSEWHERE":
		another.tool = &tool{caddy: a.w.caddy, host: "elsewhere.localhost", base: "/lti", platform: a.w.other}
	default:
		t.Fatalf("whose state is %q?", whose)
	}
	another.login(t)
	return another.auth
}

// certificate returns a chain of one self-signed certificate (RFC 7515 §4.1.6).
func (w *conformance) certificate(t *testing.T, key string) []string {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lms.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	signer := w.keys[key].Private
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return []string{base64.StdEncoding.EncodeToString(der)}
}

// serveKeys has the case's platform publish keys in that way; nil is the good
// one.
func (w *conformance) serveKeys(t *testing.T, c *conformanceCase, v *keySetVariant) {
	t.Helper()
	p := w.platforms[c.name]
	if v == nil {
		p.ServeKeys(p.Key.JWK())
		return
	}
	a := &attempt{w: w, c: c, d: &deviation{}, tool: &tool{platform: p}}
	first := w.keySetHandler(t, a, v)
	if v.Then == nil {
		p.ServeJWKS(first)
		return
	}
	then := w.keySetHandler(t, a, v.Then)
	var once sync.Once
	p.ServeJWKS(func(rw http.ResponseWriter, r *http.Request) {
		serve := then
		once.Do(func() { serve = first })
		serve(rw, r)
	})
}

func (w *conformance) keySetHandler(t *testing.T, a *attempt, v *keySetVariant) http.HandlerFunc {
	t.Helper()
	members := make([]any, 0, len(v.Keys))
	for _, member := range v.Keys {
		diff, ok := a.expand(t, member).(map[string]any)
		if !ok {
			members = append(members, member)
			continue
		}
		jwk := make(map[string]any)
		if of, ok := diff["of"].(string); ok {
			jwk = w.keys[of].JWK()
		}
		pad := diff["pad"] == true
		diff = maps.Clone(diff)
		delete(diff, "of")
		delete(diff, "pad")
		jwk = ltitest.With(jwk, diff)
		for _, name := range []string{"n", "e", "x", "y"} {
			if s, ok := jwk[name].(string); ok && pad {
				jwk[name] = s + strings.Repeat("=", (4-len(s)%4)%4)
			}
		}
		members = append(members, jwk)
	}
	doc, err := json.Marshal(map[string]any{"keys": members})
	if err != nil {
		t.Fatal(err)
	}
	if v.Body != "" {
		doc = []byte(v.Body)
	}
	redirect, _ := a.expand(t, v.Redirect).(string)
	return func(rw http.ResponseWriter, r *http.Request) {
		if v.Hang {
			<-r.Context().Done()
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		if redirect != "" {
			http.Redirect(rw, r, redirect, http.StatusFound)
			return
		}
		if v.Status != 0 {
			rw.WriteHeader(v.Status)
		}
		_, _ = io.CopyN(rw, endless(' '), int64(v.Fill))
		_, _ = rw.Write(doc)
	}
}

// endless reads as one byte again and again.
type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}
