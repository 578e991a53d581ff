package devlms

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"
)

// setFaults sets them as a test of a tool does, over the control route.
func (l *tooled) setFaults(form url.Values) *httptest.ResponseRecorder {
	l.t.Helper()
	w := l.do(http.MethodPost, "/faults", form, local)
	if w.Code != 200 {
		l.t.Fatalf("%v: %d %s", form, w.Code, w.Body)
	}
	return w
}

// listen serves the LMS over HTTP. The requests are taken for ones to its origin.
func (l *tooled) listen() *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = "lms.localhost:8080"
		if err := l.serve(w, r, false); err != nil {
			panic(err)
		}
	}))
	l.t.Cleanup(server.Close)
	return server
}

func (l *tooled) request(server *httptest.Server, token, method, path, kind, body string) (*http.Response, error) {
	l.t.Helper()
	r, err := http.NewRequestWithContext(l.t.Context(), method, server.URL+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(r) // unlike a client, it never asks twice
}

// TestFaultAnswers: what is wrong with the answers of each target.
func TestFaultAnswers(t *testing.T) {
	for _, tc := range []struct {
		fault  string
		status int // 0: no answer
		header string
		value  string
		done   int // of two scores, how many were taken
	}{
		{"off", 200, "", "", 2},
		{"down", 0, "", "", 0},
		{"503", 503, "", "", 0},
		{"500", 500, "", "", 0},
		{"429", 429, "Retry-After", "1", 0},
		{"429 30", 429, "Retry-After", "30", 0},
		{"429 2m", 429, "Retry-After", "120", 0},
		{"429 date 30", 429, "Retry-After", "Fri, 15 Jan 2027 08:00:30 GMT", 0},
		{"redirect", 302, "Location", "https://elsewhere.invalid/", 0},
		{"redirect https://trap.example/x", 302, "Location", "https://trap.example/x", 0},
		{"slow 1ms", 200, "", "", 2},
		{"half", 200, "", "", 1},
		{"lost", 0, "", "", 2},
		{"truncated", 200, "", "", 2},
		{"expired", 401, "WWW-Authenticate", `Bearer realm="devlms", error="invalid_token"`, 1},
	} {
		for _, target := range []string{targetAGS, targetScores} {
			t.Run(target+" "+tc.fault, func(t *testing.T) {
				l := newTooled(t)
				server := l.listen()
				token := l.accessToken()
				l.setFaults(url.Values{target: {tc.fault}})
				for n := range 2 {
					resp, err := l.request(server, token, "POST", below(itemPath, "/scores"), typeScore, scoreOf("timestamp", fmt.Sprintf("2027-01-15T08:00:0%d.1Z", n)))
					if n == 1 {
						continue
					}
					if tc.status == 0 {
						if err == nil {
							t.Fatalf("answered: %d", resp.StatusCode)
						}
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					_, err = io.ReadAll(resp.Body)
					if (err != nil) != (tc.fault == "truncated") {
						t.Errorf("reading the body: %v", err)
					}
					if resp.StatusCode != tc.status || resp.Header.Get(tc.header) != tc.value {
						t.Errorf("%d, %s %q", resp.StatusCode, tc.header, resp.Header.Get(tc.header))
					}
				}
				taken := 0
				for _, s := range l.gradesJSON().Scores {
					if s.Status == 200 {
						taken++
					}
				}
				if taken != tc.done {
					t.Errorf("%d scores were taken, expected %d", taken, tc.done)
				}
				// Line items suffer only from what befell all of AGS.
				l.setFaults(url.Values{"reset": {"count"}})
				token = l.accessToken()
				resp, err := l.request(server, token, "GET", itemsPath, "", "")
				suffers := err != nil || resp.StatusCode != 200
				if wants := target == targetAGS && (tc.status == 0 || tc.status != 200); suffers != wants {
					t.Errorf("line items suffer: %t", suffers)
				}
			})
		}
	}
}

func TestFaultsOfToken(t *testing.T) {
	for _, tc := range []struct {
		fault string
		codes []int
	}{
		{"500", []int{500, 500}},
		{"429 5", []int{429, 429}},
		{"half", []int{200, 503, 200, 503}},
		{"redirect", []int{302}},
		{"off", []int{200}},
	} {
		l := newTooled(t)
		l.faults = map[string]fault{targetToken: {kind: fault500, text: "500"}} // overruled
		l.setFaults(url.Values{"token": {tc.fault}})
		for n, want := range tc.codes {
			if w := l.do("POST", "/token", l.form(l.assertion(), scopeScore)); w.Code != want {
				t.Errorf("%s, request %d: %d, expected %d", tc.fault, n, w.Code, want)
			}
		}
	}
	l := newTooled(t)
	l.setFaults(url.Values{"html_token": {"on"}})
	for _, scope := range []string{scopeScore, "none"} {
		w := l.do("POST", "/token", l.form(l.assertion(), scope))
		if ct := w.Header().Get("Content-Type"); ct != "text/html; charset=utf-8" || !strings.HasPrefix(w.Body.String(), "{") {
			t.Errorf("%s: %s %s", scope, ct, w.Body)
		}
	}
}

// TestTruncated: the length is that of the whole, the bytes are not.
func TestTruncated(t *testing.T) {
	l := newTooled(t)
	server := l.listen()
	token := l.accessToken()
	l.setFaults(url.Values{"ags": {"truncated"}})
	resp, err := l.request(server, token, "GET", itemsPath, "", "")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(body) == 0 || int64(len(body)) != resp.ContentLength/2 {
		t.Errorf("%d of %d bytes: %v", len(body), resp.ContentLength, err)
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), typeLineItems) {
		t.Errorf("headers %v", resp.Header)
	}
}

// TestHang: nothing is answered until the client leaves, the fault is switched,
// or the server stops.
func TestHang(t *testing.T) {
	for _, how := range []string{"leaves", "switched", "stops"} {
		t.Run(how, func(t *testing.T) {
			l := newTooled(t)
			server := l.listen()
			token := l.accessToken()
			l.setFaults(url.Values{"scores": {"hang"}})
			ctx, cancel := context.WithCancel(t.Context())
			r, err := http.NewRequestWithContext(ctx, "POST", server.URL+below(itemPath, "/scores"), strings.NewReader(scoreOf()))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Content-Type", typeScore)
			over := make(chan error)
			go func() {
				resp, err := http.DefaultTransport.RoundTrip(r)
				if err == nil {
					err = fmt.Errorf("answered: %d", resp.StatusCode)
				} else {
					err = nil
				}
				over <- err
			}()
			// It has begun once it is counted.
			b := l.state.book(testOrigin)
			for begun := false; !begun; {
				b.mu.Lock()
				begun = b.counts.Scores == 1
				b.mu.Unlock()
				runtime.Gosched()
			}
			stopped := make(chan error, 1)
			switch how {
			case "leaves":
				cancel()
			case "switched":
				l.setFaults(url.Values{"scores": {"off"}})
			case "stops":
				go func() { stopped <- server.Config.Shutdown(t.Context()) }()
				if err := <-stopped; err != nil {
					t.Error(err)
				}
			}
			if err := <-over; err != nil {
				t.Error(err)
			}
			cancel()
			if g := l.gradesJSON(); len(g.Scores) != 0 {
				t.Errorf("taken: %+v", g.Scores)
			}
		})
	}
}

func TestSlowIsLetGo(t *testing.T) {
	r := httptest.NewRequest("POST", testOrigin+"/token", strings.NewReader("x"))
	v := &visit{w: httptest.NewRecorder(), r: r}
	changed := make(chan struct{})
	close(changed)
	if !delay(v, fault{kind: faultSlow, wait: time.Hour}, changed, nil) {
		t.Error("the call was dropped")
	}
	if body, _ := io.ReadAll(v.r.Body); string(body) != "x" {
		t.Errorf("body %q", body)
	}
}

// TestStatusLine: Moodle says why only there.
func TestStatusLine(t *testing.T) {
	l := newTooled(t)
	server := l.listen()
	token := l.accessToken()
	l.setFaults(url.Values{"whole_seconds": {"on"}})
	for _, tc := range []struct{ body, status string }{
		{scoreOf(), "200 OK"},
		{scoreOf(), "409 Refusing score with an earlier timestamp for item site.chapter-1-b and user u-2001"},
		{scoreOf("userId", "u-9é"), "400 userId is nobody of this course"},
	} {
		resp, err := l.request(server, token, "POST", below(itemPath, "/scores"), typeScore, tc.body)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.Status != tc.status || (resp.StatusCode != 200 && string(body) != "[]") {
			t.Errorf("expected %s, got %s %s %v", tc.status, resp.Status, body, err)
		}
	}
	// Where there is no such place, the status is all.
	l.setFaults(url.Values{"whole_seconds": {"on"}})
	if w := l.post(token, scoreOf()); w.Code != 409 || w.Body.String() != "[]" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestExpiredOncePerToken: the one retry with a new token must not run into it
// again and again, but each token does once.
func TestExpiredOncePerToken(t *testing.T) {
	l := newTooled(t)
	first, second := l.accessToken(), l.accessToken()
	l.setFaults(url.Values{"ags": {"expired"}})
	for n, token := range []string{first, first, second, second, first} {
		want := []int{401, 200, 401, 200, 200}[n]
		if w := l.call(token, "GET", itemsPath, "", ""); w.Code != want {
			t.Errorf("call %d: %d, expected %d", n, w.Code, want)
		}
	}
}

func TestCount(t *testing.T) {
	l := newTooled(t)
	token := l.accessToken()
	l.do("POST", "/token", url.Values{})
	l.post(token, scoreOf())
	l.post("none", scoreOf())
	l.call(token, "GET", itemsPath, "", "")
	l.setFaults(url.Values{"ags": {"500"}, "token": {"slow 1ms"}})
	l.post(token, scoreOf())
	w := l.do("GET", "/faults", nil, local)
	if got := w.Body.String(); got != `{"faults":{"ags":"500","token":"slow 1ms"},"count":{"token":2,"scores":3,"members":0,"other":1}}` {
		t.Errorf("got %s", got)
	}
	w = l.setFaults(url.Values{"reset": {"faults", "count", "grades"}, "erase": {"on"}})
	if got := w.Body.String(); got != `{"faults":{"erase":"on"},"count":{"token":0,"scores":0,"members":0,"other":0}}` {
		t.Errorf("got %s", got)
	}
	if got := l.do("GET", "/grades.json", nil, local).Body.String(); got != `{"scores":[],"forgotten":0,"grades":[]}` {
		t.Errorf("got %s", got)
	}
}

func TestControlIsForThisMachine(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			local(r)
			r.Header.Set(name, value)
		}
	}
	for _, tc := range []struct {
		name   string
		change func(*http.Request)
		code   int
	}{
		{"loopback", local, 200},
		{"IPv6", func(r *http.Request) { r.RemoteAddr = "[::1]:1" }, 200},
		{"same origin", header("Origin", testOrigin), 200},
		{"elsewhere", func(r *http.Request) { r.RemoteAddr = "192.0.2.1:1" }, 403},
		{"no address", func(r *http.Request) { r.RemoteAddr = "@" }, 403},
		{"through a proxy", header("X-Forwarded-For", "127.0.0.1"), 403},
		{"through another", header("Forwarded", "for=127.0.0.1"), 403},
		{"through a third", header("Via", "1.1 x"), 403},
		{"from a page elsewhere", header("Origin", "https://evil.example"), 403},
		{"from a page beside it", header("Sec-Fetch-Site", "same-site"), 403},
	} {
		l := newTooled(t)
		w := l.do("POST", "/faults", url.Values{"ags": {"down"}}, tc.change)
		if on := l.fault(l.state.book(testOrigin), targetAGS).kind != ""; w.Code != tc.code || on != (tc.code == 200) {
			t.Errorf("%s: %d, switched %t", tc.name, w.Code, on)
		}
		if w := l.do("GET", "/grades.json", nil, tc.change); strings.HasPrefix(tc.name, "from") == (w.Code == 403) && tc.code == 403 {
			t.Errorf("%s: grades.json: %d", tc.name, w.Code)
		}
	}
}

// TestSwitching: a form with a mistake changes nothing.
func TestSwitching(t *testing.T) {
	for _, tc := range []struct{ form, want string }{
		{"ags=down&nrps=down", `unknown fault \"nrps\"`},
		{"ags=gone", "bad value"},
		{"ags=", "the value is missing"},
		{"ags=down&ags=hang", "more than once"},
		{"ags=down 5", "nothing after down"},
		{"ags=slow x", "bad time"},
		{"ags=slow -1s", "bad time"},
		{"ags=slow 3601", "bad time"},
		{"ags=slow 2h", "bad time"},
		{"ags=slow 99999999999", "bad time"},
		{"ags=429 soon", "bad time"},
		{"ags=429 date 5 6", "bad time"},
		{"ags=redirect javascript:1", "bad URL"},
		{"ags=redirect https://a.example/ x", "one URL"},
		{"token=expired", "expired for ags"},
		{"whole_seconds=yes", "on or off"},
		{"whole_seconds=on 1", "on or off"},
		{"ags=loop", "loop for members"},
		{"token=foreign", "foreign for members"},
		{"members=no_user_id 1", "nothing after it"},
		{"members=foreign javascript:1", "bad URL"},
		{"members=foreign https://a.example/ x", "one URL after foreign"},
		{"members=gone", "also loop, foreign"},
		{"inactive=yes", "on or off"},
		{"page_size=0", "a number"},
		{"page_size=on", "a number"},
		{"reset=all", "reset: bad value"},
		{"reset=count&x=on", "unknown fault"},
	} {
		l := newTooled(t)
		l.accessToken()
		form, err := url.ParseQuery(tc.form)
		if err != nil {
			t.Fatal(err)
		}
		w := l.do("POST", "/faults", form, local)
		if w.Code != 400 || !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("%s: %d %s", tc.form, w.Code, w.Body)
		}
		if got := l.do("GET", "/faults", nil, local).Body.String(); got != `{"faults":{},"count":{"token":1,"scores":0,"members":0,"other":0}}` {
			t.Errorf("%s: %s", tc.form, got)
		}
	}
}

// TestDownClosesTheConnection looks at the wire: not a byte comes.
func TestDownClosesTheConnection(t *testing.T) {
	l := newTooled(t)
	server := l.listen()
	l.setFaults(url.Values{"token": {"down"}})
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	if _, err := bufio.NewReader(conn).ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("expected the end, got %v", err)
	}
}

// TestBooksAreBounded: requests under many names take no more memory, and the
// demos of one process do not share grades.
func TestBooksAreBounded(t *testing.T) {
	st := newState()
	first := st.book("http://a.localhost")
	if st.book("http://a.localhost") != first || st.book("http://b.localhost") == first {
		t.Error("books are mixed up")
	}
	for i := range maxBooks + 10 {
		st.book(fmt.Sprint(i))
	}
	if n := len(st.books.entries); n != maxBooks {
		t.Errorf("%d books", n)
	}
}
