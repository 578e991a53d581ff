package service

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/jose"
)

const (
	scopeScore  = "https://purl.imsglobal.org/spec/lti-ags/scope/score"
	scopeResult = "https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly"
)

// fake is a platform without a network, so that synctest can move its clock.
type fake struct {
	mu     sync.Mutex
	tokens int               // asked for
	forms  []url.Values      // of the requests for tokens
	calls  []*httpx.Request  // of the service
	valid  func(string) bool // what the service takes; nil takes all

	tokenAnswer func(n int) (*httpx.Response, error)
	answer      func(r *httpx.Request) (*httpx.Response, error)
	delay       time.Duration // of the token endpoint
	pause       time.Duration // of the service

	open atomic.Int64 // bodies that nobody has closed
	then io.Reader    // what comes after a body that is read as it comes
}

func (f *fake) Do(ctx context.Context, r *httpx.Request) (*httpx.Response, error) {
	f.mu.Lock()
	if strings.HasSuffix(r.URL, "/token") {
		f.tokens++
		n := f.tokens
		form, _ := url.ParseQuery(string(r.Body))
		f.forms = append(f.forms, form)
		f.mu.Unlock()
		if f.delay > 0 {
			select {
			case <-time.After(f.delay):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if f.tokenAnswer != nil {
			return f.tokenAnswer(n)
		}
		return reply(200, fmt.Sprintf(`{"access_token":"tok%d","token_type":"Bearer","expires_in":3600}`, n)), nil
	}
	// The answer is made at once, and arrives after a while.
	defer time.Sleep(f.pause)
	defer f.mu.Unlock()
	f.calls = append(f.calls, r)
	if f.valid != nil && !f.valid(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
		return reply(401, `{"status":401,"reason":"Unauthorized"}`), nil
	}
	if f.answer != nil {
		return f.answer(r)
	}
	return reply(200, "[]"), nil
}

// Open is Do with the body after the header.
func (f *fake) Open(ctx context.Context, r *httpx.Request) (*httpx.Stream, error) {
	resp, err := f.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	f.open.Add(1)
	return &httpx.Stream{Status: resp.Status, Reason: resp.Reason, Header: resp.Header, Body: &body{Reader: io.MultiReader(bytes.NewReader(resp.Body), f.then), f: f}}, nil
}

type body struct {
	io.Reader
	f *fake
}

// endless is a body without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func (b *body) Close() error {
	b.f.open.Add(-1)
	return nil
}

func (f *fake) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tokens
}

func reply(status int, body string) *httpx.Response {
	return &httpx.Response{Status: status, Header: http.Header{}, Body: []byte(body)}
}

func sign(claims []byte) (string, error) { return "S3cr3t." + string(claims), nil }

var platform = &Platform{Name: "moodle", Issuer: "https://lms.example", ClientID: "client", TokenURL: "https://lms.example/token"}

func access() Access {
	return Access{Platform: platform, Deployment: "13", Origins: []string{"https://lms.example"}}
}

const serviceURL = "https://lms.example/li/7?type_id=3&secret=S3cr3t"

func newTest(t *testing.T, f *fake) *Client {
	t.Helper()
	c := New(Config{HTTP: f, Sign: sign})
	t.Cleanup(c.Close)
	return c
}

func get(t *testing.T, c *Client, scopes ...string) (*Response, *Error) {
	t.Helper()
	if len(scopes) == 0 {
		scopes = []string{scopeScore}
	}
	resp, err := c.Do(t.Context(), access(), scopes, Request{Method: "GET", URL: serviceURL, Accept: "application/x"})
	if err == nil {
		return resp, nil
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%T is no *Error: %v", err, err)
	}
	if resp != nil {
		t.Errorf("an answer beside %v", err)
	}
	if strings.Contains(e.Error(), "S3cr3t") {
		t.Errorf("%q holds a secret", e)
	}
	return nil, e
}

func TestAssertion(t *testing.T) {
	key, err := jose.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 24, 4, 0, 0, 9e8, time.UTC)
	f := new(fake)
	c := New(Config{HTTP: f, Now: func() time.Time { return now }, Sign: func(claims []byte) (string, error) {
		return key.Sign(json.RawMessage(claims))
	}})
	defer c.Close()
	a := access()
	do := func(p Platform, deployment string) map[string]any {
		t.Helper()
		c.Forget()
		a.Platform, a.Deployment = &p, deployment
		if _, err := c.Do(t.Context(), a, []string{scopeScore, scopeResult, scopeScore}, Request{Method: "GET", URL: serviceURL}); err != nil {
			t.Fatal(err)
		}
		form := f.forms[len(f.forms)-1]
		if form.Get("grant_type") != "client_credentials" || form.Get("scope") != scopeResult+" "+scopeScore ||
			form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || len(form) != 4 {
			t.Errorf("form %v", form)
		}
		tok, err := jose.Parse(form.Get("client_assertion"))
		if err != nil {
			t.Fatal(err)
		}
		if tok.KeyID() != key.ID() {
			t.Errorf("kid %q", tok.KeyID())
		}
		doc, err := jose.PublicSet(key)
		if err != nil {
			t.Fatal(err)
		}
		set, err := jose.ParseKeySet(doc)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := tok.Verify(set.Find(key.ID()), []string{"RS256"})
		if err != nil {
			t.Fatal(err)
		}
		var claims map[string]any
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		return claims
	}
	claims := do(*platform, "13")
	jti, _ := claims["jti"].(string)
	if len(jti) < 22 {
		t.Errorf("jti %q is too short to be unique", jti)
	}
	for name, want := range map[string]any{
		"iss": "client", "sub": "client", "aud": "https://lms.example/token",
		"iat": float64(now.Unix() - 10), "exp": float64(now.Unix() + 290),
		"https://purl.imsglobal.org/spec/lti/claim/deployment_id": "13",
	} {
		if claims[name] != want {
			t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
	p := *platform
	p.Audience = "https://api.brightspace.com/auth/token?a=1&b=<2>"
	p.ClientID = `a"b\u0000`
	again := do(p, "")
	if again["aud"] != p.Audience || again["iss"] != p.ClientID || again["sub"] != p.ClientID {
		t.Errorf("claims %v", again)
	}
	if again["jti"] == jti {
		t.Error("the jti was used twice")
	}
	if _, ok := again["https://purl.imsglobal.org/spec/lti/claim/deployment_id"]; ok {
		t.Error("an empty deployment is sent")
	}
}

func TestTokenIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(fake)
		c := newTest(t, f)
		for range 3 {
			if _, e := get(t, c); e != nil {
				t.Fatal(e)
			}
		}
		if _, e := get(t, c, scopeScore, scopeResult); e != nil {
			t.Fatal(e)
		}
		if _, e := get(t, c, scopeResult, scopeScore, scopeScore); e != nil {
			t.Fatal(e)
		}
		a := access()
		a.Deployment = "14"
		if _, err := c.Do(t.Context(), a, []string{scopeScore}, Request{Method: "GET", URL: serviceURL}); err != nil {
			t.Fatal(err)
		}
		if f.asked() != 3 {
			t.Errorf("%d tokens for three different needs", f.asked())
		}
		time.Sleep(time.Hour - time.Minute - time.Second)
		get(t, c)
		if f.asked() != 3 {
			t.Error("the token was renewed too early")
		}
		time.Sleep(2 * time.Second)
		get(t, c)
		if f.asked() != 4 {
			t.Error("the token was used in its last minute")
		}
		c.Forget()
		get(t, c)
		if f.asked() != 5 {
			t.Error("Forget forgot nothing")
		}
		if got := f.calls[len(f.calls)-1].Header.Get("Authorization"); got != "Bearer tok5" {
			t.Errorf("Authorization %q", got)
		}
	})
}

func TestOneRequestForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{delay: 5 * time.Second}
		c := newTest(t, f)
		var wg sync.WaitGroup
		// The first gives up; what it began goes on for the others.
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			_, err := c.Do(ctx, access(), []string{scopeScore}, Request{Method: "GET", URL: serviceURL})
			if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Canceled || !errors.Is(err, context.Canceled) {
				t.Errorf("the one who gave up: %v", err)
			}
		})
		synctest.Wait()
		for range 50 {
			wg.Go(func() {
				if _, e := get(t, c); e != nil {
					t.Error(e)
				}
			})
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		if f.asked() != 1 {
			t.Errorf("%d requests for one token", f.asked())
		}
	})
}

func TestCloseEndsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{delay: time.Hour}
		c := New(Config{HTTP: f, Sign: sign})
		done := make(chan *Error)
		go func() {
			_, e := get(t, c)
			done <- e
		}()
		synctest.Wait()
		c.Close()
		if e := <-done; e == nil || e.Kind != Canceled {
			t.Errorf("after Close: %v", e)
		}
		c.Forget()
		if _, e := get(t, c); e == nil || e.Kind != Canceled || !e.Retry {
			t.Errorf("a request after Close: %v", e)
		}
	})
}

func TestForgetDuringRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{delay: time.Second}
		c := newTest(t, f)
		done := make(chan *Error)
		go func() {
			_, e := get(t, c)
			done <- e
		}()
		synctest.Wait()
		c.Forget()
		if e := <-done; e != nil {
			t.Error(e)
		}
		get(t, c)
		if f.asked() != 2 {
			t.Errorf("%d requests: what was under way at Forget is used after it", f.asked())
		}
	})
}

func TestFailureIsToldToAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		after := ""
		f := &fake{tokenAnswer: func(int) (*httpx.Response, error) {
			r := reply(503, "<html><head><title>x</title></head><body><h1>Down for <b>maintenance</b></h1><script>x()</script></body>")
			if after != "" {
				r.Header.Set("Retry-After", after)
			}
			return r, nil
		}}
		c := newTest(t, f)
		for range 100 {
			if _, e := get(t, c); e == nil || e.Kind != ServerError || !e.Token || !e.Retry || e.Words != "Down for maintenance" {
				t.Fatalf("%+v", e)
			}
		}
		if f.asked() != 1 {
			t.Errorf("%d requests to an endpoint that is down", f.asked())
		}
		time.Sleep(4 * time.Second)
		after = "30"
		get(t, c)
		if f.asked() != 2 {
			t.Error("the failure is told for too long")
		}
		time.Sleep(20 * time.Second)
		if _, e := get(t, c); f.asked() != 2 || e.After != 30*time.Second {
			t.Errorf("Retry-After: %d requests, %v", f.asked(), e.After)
		}
		time.Sleep(11 * time.Second)
		after = "86400"
		get(t, c)
		time.Sleep(61 * time.Second)
		get(t, c)
		if f.asked() != 4 {
			t.Errorf("%d requests: Retry-After keeps the endpoint from being asked for too long", f.asked())
		}
	})
}

func TestUnauthorized(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		current := ""
		f := &fake{valid: func(tok string) bool { return tok == current }, delay: time.Second}
		c := newTest(t, f)
		current = "tok1"
		get(t, c)
		current = "tok2" // the platform has lost the first
		f.pause = 500 * time.Millisecond
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond) // some while others renew, or after
				if _, e := get(t, c); e != nil {
					t.Error(e)
				}
			})
		}
		wg.Wait()
		if f.asked() != 2 {
			t.Errorf("%d tokens, want 2", f.asked())
		}
		f.pause = 0
		// It loses the new one, too, at once: not one token a request.
		current = "tok3"
		_, e := get(t, c)
		if f.asked() != 2 || e == nil || !e.Retry || e.After <= 0 || e.After > renewGap {
			t.Errorf("%d tokens, %+v", f.asked(), e)
		}
		time.Sleep(e.After)
		if _, e := get(t, c); e != nil {
			t.Error(e)
		}

		// Now it takes none at all.
		time.Sleep(renewGap)
		current = "none"
		n := len(f.calls)
		_, e = get(t, c)
		if e == nil || e.Kind != TokenRefused || e.Retry || e.Whose != ToolAdmin || e.Status != 401 || e.Token {
			t.Fatalf("%+v", e)
		}
		if f.asked() != 4 || len(f.calls) != n+2 {
			t.Errorf("%d tokens, %d requests, want one renewal and one repetition", f.asked(), len(f.calls)-n)
		}
		for range 10 {
			if _, e := get(t, c); e == nil || e.Retry || e.Whose != ToolAdmin {
				t.Fatalf("%+v", e)
			}
		}
		if f.asked() != 4 {
			t.Errorf("%d tokens for a service that takes none", f.asked())
		}
	})
}

// open asks for an answer to be read as it comes, and reads it.
func open(t *testing.T, c *Client, f *fake) (string, *Error) {
	t.Helper()
	_, body, err := c.For(access()).Open(t.Context(), []string{scopeScore}, "GET", serviceURL, http.Header{"Accept": {"application/x"}}, 0)
	var read []byte
	if err == nil {
		read, err = io.ReadAll(body)
		body.Close()
	} else if body != nil {
		t.Errorf("a body beside %v", err)
	}
	if n := f.open.Load(); n != 0 {
		t.Errorf("%d bodies are left open", n)
	}
	if err == nil {
		return string(read), nil
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%T is no *Error: %v", err, err)
	}
	if strings.Contains(e.Error(), "S3cr3t") {
		t.Errorf("%q holds a secret", e)
	}
	return string(read), e
}

func TestOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		current := "tok1"
		f := &fake{valid: func(tok string) bool { return tok == current }, then: strings.NewReader("")}
		c := newTest(t, f)
		if body, e := open(t, c, f); e != nil || body != "[]" {
			t.Errorf("%q, %v", body, e)
		}
		r := f.calls[0]
		if r.Method != "GET" || r.URL != serviceURL || r.Header.Get("Accept") != "application/x" || r.MaxBytes != defaultMaxBytes {
			t.Errorf("request %+v", r)
		}
		// The token is renewed once, and not again within a while.
		current = "tok2"
		if body, e := open(t, c, f); e != nil || body != "[]" || f.asked() != 2 || len(f.calls) != 3 {
			t.Errorf("%q, %v after %d tokens and %d requests", body, e, f.asked(), len(f.calls))
		}
		current = "tok3"
		if _, e := open(t, c, f); e == nil || e.Kind != TokenRefused || !e.Retry || e.After <= 0 || f.asked() != 2 {
			t.Errorf("%+v after %d tokens", e, f.asked())
		}
		current = "tok2"

		for status, kind := range map[int]Kind{404: NotFound, 302: Redirected, 429: RateLimited} {
			f.answer = func(*httpx.Request) (*httpx.Response, error) {
				r := reply(status, `{"reason":"Because of tok2"}`)
				r.Header.Set("Retry-After", "17")
				return r, nil
			}
			_, e := open(t, c, f)
			if e == nil || e.Kind != kind || e.Status != status || e.Words != "Because of …" || e.Platform != "moodle" || (e.After == 17*time.Second) != e.Retry {
				t.Errorf("%d: %+v", status, e)
			}
		}
		// Words without end, or that cannot be read, do not hide the status.
		f.then = endless{}
		f.answer = func(*httpx.Request) (*httpx.Response, error) { return reply(503, "Down. "), nil }
		if _, e := open(t, c, f); e == nil || e.Kind != ServerError || !strings.HasPrefix(e.Words, "Down. xxx") {
			t.Errorf("%+v", e)
		}
		f.then = iotest.ErrReader(errors.New("broken"))
		f.answer = func(*httpx.Request) (*httpx.Response, error) { return reply(503, "Down"), nil }
		if _, e := open(t, c, f); e == nil || e.Kind != ServerError || e.Words != "Down" {
			t.Errorf("%+v", e)
		}
		f.answer = func(*httpx.Request) (*httpx.Response, error) { return nil, errors.New("no route") }
		if _, e := open(t, c, f); e == nil || e.Kind != Unreachable || !e.Retry {
			t.Errorf("%+v", e)
		}
	})
}

func TestOpenBreaksOff(t *testing.T) {
	for _, tt := range []struct {
		err   error
		kind  Kind
		retry bool
	}{
		{io.ErrUnexpectedEOF, Unreachable, true},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), TimedOut, true},
		{fmt.Errorf("x: %w", httpx.ErrTooLarge), MalformedAnswer, false},
	} {
		f := &fake{then: iotest.ErrReader(tt.err)}
		body, e := open(t, newTest(t, f), f)
		if body != "[]" || e == nil || e.Kind != tt.kind || e.Retry != tt.retry || !errors.Is(e, tt.err) {
			t.Errorf("%v: %q, %+v", tt.err, body, e)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := newTest(t, &fake{then: iotest.ErrReader(context.Canceled)})
	_, body, err := c.For(access()).Open(ctx, nil, "GET", serviceURL, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err = io.ReadAll(body)
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Canceled || !e.Retry {
		t.Errorf("%v", err)
	}
}

func TestOnlyNamedOrigins(t *testing.T) {
	f := new(fake)
	c := newTest(t, f)
	for _, raw := range []string{
		"https://evil.example/li", "https://lms.example:8443/li", "https://lms.example.evil.example/", "http://lms.example/li",
		"https://lms.example@evil.example/", "//lms.example/", "https://lms.example%2f.evil.example/", "https://u:S3cr3t@lms.example/",
		"http://lms.localhost/?S3cr3t", "",
	} {
		_, err := c.Do(t.Context(), access(), []string{scopeScore}, Request{Method: "GET", URL: raw})
		_, _, opened := c.For(access()).Open(t.Context(), []string{scopeScore}, "GET", raw, nil, 0)
		for _, err := range []error{err, opened} {
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Kind != ForeignURL || e.Retry {
				t.Errorf("%q: %v", raw, err)
			} else if strings.Contains(err.Error(), "S3cr3t") {
				t.Errorf("%q holds a secret", err)
			}
		}
	}
	if f.asked() != 0 || len(f.calls) != 0 {
		t.Error("something was sent")
	}
	if _, err := c.Do(t.Context(), access(), nil, Request{Method: "GET", URL: "https://LMS.example:443/li"}); err != nil {
		t.Error(err)
	}
	a := access()
	a.Origins = nil
	if _, err := c.Do(t.Context(), a, nil, Request{Method: "GET", URL: serviceURL}); err == nil {
		t.Error("a launch that named no service has one")
	}
}

func TestMoodleTokens(t *testing.T) {
	var recorded map[string]json.RawMessage
	data, err := os.ReadFile("testdata/moodle-token.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &recorded); err != nil {
		t.Fatal(err)
	}
	type want struct {
		kind  Kind
		words string
		whose Party
		retry bool
	}
	wants := map[string]want{
		"all scopes":              {},
		"one scope":               {},
		"known and unknown scope": {ScopeNotGranted, "", PlatformAdmin, false},
		"only unknown scope":      {ScopeNotGranted, "invalid_scope", PlatformAdmin, false},
		"no scope":                {TokenRefused, "invalid_request", ToolAdmin, false},
		"sub unknown":             {TokenRefused, "invalid_client", ToolAdmin, true},
		"expired":                 {TokenRefused, "Expired token", ToolAdmin, true},
		"iat 30 s ahead":          {TokenRefused, "Cannot handle token with iat prior to 2026-11-24T05:01:48+0100", ToolAdmin, true},
		"unknown kid":             {TokenRefused, `"kid" invalid, unable to lookup correct key`, ToolAdmin, true},
		"no kid":                  {TokenRefused, "error/Error: kid must be provided in JWT header.", ToolAdmin, true},
	}
	for name, w := range wants {
		var r struct {
			Status  int
			Headers map[string]string
			Body    json.RawMessage
		}
		if err := json.Unmarshal(recorded[name], &r); err != nil {
			t.Fatal(name, err)
		}
		body := string(r.Body)
		var text string
		if json.Unmarshal(r.Body, &text) == nil {
			body = text
		}
		body = strings.Replace(body, "<32 characters>", "0123456789abcdef0123456789abcdef", 1)
		f := &fake{tokenAnswer: func(int) (*httpx.Response, error) {
			return &httpx.Response{Status: r.Status, Header: http.Header{"Content-Type": {r.Headers["content-type"]}}, Body: []byte(body)}, nil
		}}
		c := newTest(t, f)
		scopes := []string{scopeScore}
		if name == "known and unknown scope" {
			scopes = append(scopes, "https://unknown.example/scope")
		}
		_, e := get(t, c, scopes...)
		if w.kind == "" {
			if e != nil {
				t.Errorf("%s: %v", name, e)
			}
			continue
		}
		if e == nil || e.Kind != w.kind || e.Words != w.words || e.Whose != w.whose || e.Retry != w.retry || !e.Token {
			t.Errorf("%s: %+v, want %+v", name, e, w)
			continue
		}
		if e.Kind == ScopeNotGranted && (len(e.Scopes) != 1 || !strings.Contains(e.Error(), e.Scopes[0])) {
			t.Errorf("%s: %v does not name the scope", name, e)
		}
		if w.words == "Expired token" && !strings.Contains(e.Error(), "clock") {
			t.Errorf("%v does not mention the clock", e)
		}
	}
}

func TestParseToken(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, tt := range []struct {
		body string
		life time.Duration // 0 is an error
	}{
		{`{"access_token":"a","token_type":"bearer","expires_in":3600}`, time.Hour - time.Minute},
		{`{"access_token":"a","token_type":"BEARER","expires_in":"3600"}`, time.Hour - time.Minute},
		{`{"access_token":"a","expires_in":100.5}`, 90 * time.Second},
		{`{"access_token":"a"}`, 9 * time.Minute},
		{`{"access_token":"a","expires_in":null}`, 9 * time.Minute},
		{`{"access_token":"a","expires_in":0}`, 9 * time.Minute},
		{`{"access_token":"a","expires_in":-5}`, 9 * time.Minute},
		{`{"access_token":"a","expires_in":"soon"}`, 9 * time.Minute},
		{`{"access_token":"a","expires_in":{}}`, 9 * time.Minute},
		{`{"access_token":"a","expires_in":"NaN"}`, 9 * time.Minute},
		{`{"access_token":"a","expires_in":1e300}`, 12*time.Hour - time.Minute},
		{`{"access_token":"a","scope":"` + scopeScore + ` x"}`, 9 * time.Minute},
		{`{"access_token":"a","scope":["` + scopeScore + `"]}`, 9 * time.Minute},
		{`{"access_token":"a","scope":null}`, 9 * time.Minute},
		{`{"access_token":"a","scope":""}`, 9 * time.Minute},
		{`{"access_token":"a","scope":"` + scopeScore + `s"}`, 0},
		{`{"access_token":"a","scope":["x"]}`, 0},
		{`{"access_token":"a","token_type":"mac"}`, 0},
		{`{"access_token":""}`, 0},
		{`{"access_token":"a b"}`, 0},
		{`{"access_token":"a\r\nX: y"}`, 0},
		{`{"access_token":"é"}`, 0},
		{`{"access_token":"` + strings.Repeat("a", maxTokenLength+1) + `"}`, 0},
		{`{"access_token":5}`, 0},
		{`[]`, 0},
		{``, 0},
		{`<html>`, 0},
		{`null`, 0},
	} {
		tok, e := parseToken([]byte(tt.body), now, scopeScore)
		if (e != nil) != (tt.life == 0) || (tok == nil) != (e != nil) {
			t.Errorf("%.80s: %v, %v", tt.body, tok, e)
		} else if tok != nil && tok.expires.Sub(now) != tt.life {
			t.Errorf("%.80s: kept for %v, want %v", tt.body, tok.expires.Sub(now), tt.life)
		}
	}
}

func TestStatuses(t *testing.T) {
	now := time.Date(2026, 11, 24, 4, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		resp  httpx.Response
		kind  Kind
		whose Party
		retry bool
		after time.Duration
		words string
	}{
		{resp: httpx.Response{Status: 409, Reason: "Refusing score with an earlier timestamp for item 51 and user 5", Body: []byte("[]")}, kind: Conflict, whose: Caller, words: "Refusing score with an earlier timestamp for item 51 and user 5"},
		{resp: httpx.Response{Status: 400, Reason: `Incorrect score received{"userId":"5","comment":"private"}`, Body: []byte("[]")}, kind: BadRequest, whose: Caller, words: "Incorrect score received"},
		{resp: httpx.Response{Status: 404, Body: []byte(`{"status":404,"reason":"Not Found: Grade item 99999 doesn't exist","request":{"method":"GET"}}`)}, kind: NotFound, whose: PlatformAdmin, words: "Not Found: Grade item 99999 doesn't exist"},
		{resp: httpx.Response{Status: 422, Body: []byte(`{"errors":[{"message":"User not found"}]}`)}, kind: Unprocessable, whose: Caller, words: "User not found"},
		{resp: httpx.Response{Status: 422, Body: []byte(`{"errors":{"type":"unprocessable_entity","message":"ScoreMaximum not supplied"}}`)}, kind: Unprocessable, whose: Caller, words: "ScoreMaximum not supplied"},
		{resp: httpx.Response{Status: 400, Body: []byte(`{"error":"invalid_x","error_description":"why"}`)}, kind: BadRequest, whose: Caller, words: "invalid_x: why"},
		{resp: httpx.Response{Status: 403, Body: []byte("403 Forbidden (Rate Limit Exceeded)")}, kind: RateLimited, whose: Nobody, retry: true, words: "403 Forbidden (Rate Limit Exceeded)"},
		{resp: httpx.Response{Status: 403}, kind: Forbidden, whose: PlatformAdmin},
		{resp: httpx.Response{Status: 429, Header: http.Header{"Retry-After": {"17"}}}, kind: RateLimited, whose: Nobody, retry: true, after: 17 * time.Second},
		{resp: httpx.Response{Status: 503, Header: http.Header{"Retry-After": {"Tue, 24 Nov 2026 04:02:00 GMT"}}}, kind: ServerError, whose: PlatformAdmin, retry: true, after: 2 * time.Minute},
		{resp: httpx.Response{Status: 503, Header: http.Header{"Retry-After": {"Tue, 24 Nov 2020 04:02:00 GMT"}}}, kind: ServerError, whose: PlatformAdmin, retry: true},
		{resp: httpx.Response{Status: 503, Header: http.Header{"Retry-After": {"999999999"}}}, kind: ServerError, whose: PlatformAdmin, retry: true, after: time.Hour},
		{resp: httpx.Response{Status: 503, Header: http.Header{"Retry-After": {"-1"}}}, kind: ServerError, whose: PlatformAdmin, retry: true},
		{resp: httpx.Response{Status: 504}, kind: TimedOut, whose: PlatformAdmin, retry: true},
		{resp: httpx.Response{Status: 501}, kind: ServerError, whose: PlatformAdmin},
		{resp: httpx.Response{Status: 302}, kind: Redirected, whose: PlatformAdmin},
		{resp: httpx.Response{Status: 304}, kind: Redirected, whose: PlatformAdmin},
		{resp: httpx.Response{Status: 101}, kind: MalformedAnswer, whose: PlatformAdmin},
		{resp: httpx.Response{Status: 412}, kind: BadRequest, whose: Caller},
		{resp: httpx.Response{Status: 410}, kind: NotFound, whose: PlatformAdmin},
		{resp: httpx.Response{Status: 400, Body: []byte("token S3cr3t\x1b[31m \u202egpj\n\n is bad\xff")}, kind: BadRequest, whose: Caller, words: "token … [31m gpj is bad�"},
		{resp: httpx.Response{Status: 400, Body: []byte(strings.Repeat("é", 300))}, kind: BadRequest, whose: Caller, words: strings.Repeat("é", 200) + "…"},
		{resp: httpx.Response{Status: 400, Body: []byte(`{"message":` + strings.Repeat(`[`, 50) + strings.Repeat(`]`, 50) + `}`)}, kind: BadRequest, whose: Caller},
	} {
		e := fromStatus(&tt.resp, now, "S3cr3t")
		if e.Kind != tt.kind || e.Whose != tt.whose || e.Retry != tt.retry || e.After != tt.after || e.Words != tt.words || e.Status != tt.resp.Status {
			t.Errorf("%d %s %.60s: %+v", tt.resp.Status, tt.resp.Reason, tt.resp.Body, e)
		}
	}
}

func TestEntriesAreBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	c := New(Config{HTTP: new(fake), Sign: sign, Now: func() time.Time { return now }})
	defer c.Close()
	a := access()
	for i := range maxEntries + 50 {
		a.Deployment = fmt.Sprint(i)
		now = now.Add(time.Millisecond)
		if _, err := c.Do(t.Context(), a, nil, Request{Method: "GET", URL: serviceURL}); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.entries) > maxEntries {
		t.Errorf("%d entries", len(c.entries))
	}
	if c.entries[newKey(a, nil)] == nil {
		t.Error("the newest is not among them")
	}
}

func TestSignFails(t *testing.T) {
	c := New(Config{HTTP: new(fake), Sign: func([]byte) (string, error) { return "", errors.New("no key") }})
	defer c.Close()
	if _, e := get(t, c); e == nil || e.Whose != ToolAdmin || !strings.Contains(e.Error(), "no key") {
		t.Errorf("%v", e)
	}
}

// With a real client and server: what arrives, and that a redirect is not
// followed by the token.
func TestOverTheWire(t *testing.T) {
	mux := http.NewServeMux()
	srv := httptest.NewTLSServer(mux)
	defer srv.Close()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if ct := r.Header.Get("Content-Type"); ct != "application/x-www-form-urlencoded" {
			t.Errorf("Content-Type %q", ct)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `{"access_token":"abc","token_type":"Bearer","expires_in":3600,"scope":"`+scopeScore+`"}`)
	})
	mux.HandleFunc("/li", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer abc" || !slices.Equal(r.Header.Values("Content-Type"), []string{"application/vnd.ims.lis.v1.score+json"}) {
			t.Errorf("header %v", r.Header)
		}
		if _, ok := r.Header["Accept"]; ok {
			t.Error("an Accept was sent")
		}
		w.WriteHeader(204)
	})
	mux.HandleFunc("/list", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer abc" {
			t.Errorf("header %v", r.Header)
		}
		w.Header().Set("Link", "</2>; rel=next")
		_, _ = io.WriteString(w, "[1]")
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/stolen", http.StatusTemporaryRedirect)
	})
	large := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, strings.Repeat("x", defaultMaxBytes+1))
		}
	}
	mux.HandleFunc("/taken", large(200))
	mux.HandleFunc("/repair", large(503))
	mux.HandleFunc("/tokens/repair", large(503))
	mux.HandleFunc("/tokens/page", large(200))
	mux.HandleFunc("/stolen", func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") })

	rule, err := httpx.ParseAllow(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	web := httpx.New(httpx.Config{AllowPrivate: []httpx.AllowRule{rule}, RootCAs: roots})
	defer web.CloseIdle()
	c := New(Config{HTTP: web, Sign: sign})
	defer c.Close()
	p := *platform
	p.TokenURL = srv.URL + "/token"
	session := c.For(Access{Platform: &p, Origins: []string{srv.URL}})
	h := http.Header{"Content-Type": {"application/vnd.ims.lis.v1.score+json"}}
	if _, _, err := session.Call(t.Context(), []string{scopeScore}, "POST", srv.URL+"/li?S3cr3t", h, []byte("{}"), 0); err != nil {
		t.Error(err)
	}
	_, _, err = session.Call(t.Context(), []string{scopeScore}, "POST", srv.URL+"/moved?S3cr3t", h, nil, 0)
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind != Redirected || e.Retry || strings.Contains(e.Error(), "S3cr3t") {
		t.Errorf("moved: %v", err)
	}

	// A page of any size is no verdict on what was sent.
	if _, _, err := session.Call(t.Context(), []string{scopeScore}, "POST", srv.URL+"/taken", h, nil, 0); err != nil {
		t.Errorf("taken: %v", err)
	}
	_, _, err = session.Call(t.Context(), []string{scopeScore}, "GET", srv.URL+"/taken", h, nil, 1<<10)
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != MalformedAnswer || e.Retry {
		t.Errorf("a list without end: %v", err)
	}
	_, _, err = session.Call(t.Context(), []string{scopeScore}, "POST", srv.URL+"/repair", h, nil, 0)
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != ServerError || !e.Retry {
		t.Errorf("under repair: %v", err)
	}
	for path, kind := range map[string]Kind{"/tokens/repair": ServerError, "/tokens/page": MalformedAnswer} {
		repaired := p
		repaired.TokenURL = srv.URL + path
		_, _, err := c.For(Access{Platform: &repaired, Origins: []string{srv.URL}}).Call(t.Context(), nil, "GET", srv.URL+"/li", nil, nil, 0)
		if e, ok := errors.AsType[*Error](err); !ok || e.Kind != kind || !e.Retry || !e.Token {
			t.Errorf("%s: %v", path, err)
		}
	}

	stream, body, err := session.Open(t.Context(), []string{scopeScore}, "GET", srv.URL+"/list?S3cr3t", nil, 100)
	if err != nil {
		t.Fatal(err)
	}
	if read, err := io.ReadAll(body); string(read) != "[1]" || err != nil || stream.Get("Link") != "</2>; rel=next" {
		t.Errorf("%q, %v, header %v", read, err, stream)
	}
	body.Close()
	_, _, err = session.Open(t.Context(), []string{scopeScore}, "GET", srv.URL+"/moved?S3cr3t", nil, 0)
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Redirected || strings.Contains(e.Error(), "S3cr3t") {
		t.Errorf("moved: %v", err)
	}

	// A private address, a dead server.
	p.TokenURL = "https://10.0.0.1/token?S3cr3t"
	c.Forget()
	_, _, err = session.Call(t.Context(), nil, "GET", srv.URL+"/li", nil, nil, 0)
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Unreachable || e.Whose != ToolAdmin || e.Retry || !strings.Contains(e.Error(), "allow_private") || strings.Contains(e.Error(), "S3cr3t") {
		t.Errorf("private: %v", err)
	}
	p.TokenURL = srv.URL + "/token"
	srv.Close()
	_, _, err = session.Call(t.Context(), nil, "GET", srv.URL+"/li", nil, nil, 0)
	if e, ok := errors.AsType[*Error](err); ok && e.Kind == Unreachable && e.Whose == ToolAdmin {
		c.Forget() // the failure before is told for a moment
	}
	_, _, err = session.Call(t.Context(), nil, "GET", srv.URL+"/li", nil, nil, 0)
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Unreachable || !e.Retry || !e.Token {
		t.Errorf("dead: %v", err)
	}
	p.TokenURL = "http://lms.example/token"
	c.Forget()
	_, _, err = session.Call(t.Context(), nil, "GET", srv.URL+"/li", nil, nil, 0)
	if e, ok := errors.AsType[*Error](err); !ok || e.Whose != ToolAdmin || e.Retry {
		t.Errorf("http: %v", err)
	}
}

func TestTimeout(t *testing.T) {
	f := &fake{answer: func(*httpx.Request) (*httpx.Response, error) {
		return nil, fmt.Errorf("get https://lms.example/li: wait for the answer: %w", context.DeadlineExceeded)
	}}
	if _, e := get(t, newTest(t, f)); e == nil || e.Kind != TimedOut || !e.Retry || e.Token || !errors.Is(e, context.DeadlineExceeded) {
		t.Errorf("%+v", e)
	}
	f.answer = func(*httpx.Request) (*httpx.Response, error) { return nil, fmt.Errorf("x: %w", httpx.ErrTooLarge) }
	if _, e := get(t, newTest(t, f)); e == nil || e.Kind != MalformedAnswer || e.Retry {
		t.Errorf("%+v", e)
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add([]byte(`{"access_token":"a","token_type":"bearer","expires_in":3600,"scope":"x"}`))
	f.Add([]byte(`{"access_token":"a","expires_in":"1e9","scope":["x"]}`))
	f.Add([]byte("{\n  \"error\" : \"\"kid\" invalid\"\n}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		now := time.Unix(1000, 0)
		tok, e := parseToken(body, now, "x")
		if (tok == nil) == (e == nil) {
			t.Fatalf("%v, %v", tok, e)
		}
		if tok != nil && (!sound(tok.value) || !tok.expires.After(now) || tok.expires.Sub(now) > maxLifetime) {
			t.Errorf("%+v", tok)
		}
		w := words(&httpx.Response{Status: 400, Body: body})
		if n := len([]rune(w)); n > maxWords+1 || strings.ContainsAny(w, "{\n\r\x00\x1b") {
			t.Errorf("words %q", w)
		}
	})
}
