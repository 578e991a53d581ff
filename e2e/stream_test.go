package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// streams is an app whose answers go on: an echo over WebSocket at /ws, events
// at /events (one at once, and one for each text from next), a large file in two
// parts at /big (the second when next says so).
type streams struct {
	*httptest.Server
	opened chan http.Header // of each request, as it begins
	closed chan string      // path of each request that has ended
	next   chan string
}

func newStreams(tb testing.TB) *streams {
	tb.Helper()
	s := &streams{opened: make(chan http.Header, 16), closed: make(chan string, 16), next: make(chan string)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.opened <- r.Header
		defer func() { s.closed <- r.URL.Path }()
		ctl := http.NewResponseController(w)
		switch r.URL.Path {
		case "/ws":
			conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
			if err != nil {
				tb.Errorf("app: %v", err)
				return
			}
			defer func() { _ = conn.CloseNow() }()
			for {
				typ, msg, err := conn.Read(context.Background())
				if err != nil || conn.Write(context.Background(), typ, msg) != nil {
					return
				}
			}
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: hello\n\n")
			_ = ctl.Flush()
			for {
				select {
				case text := <-s.next:
					if _, err := io.WriteString(w, "data: "+text+"\n\n"); err != nil {
						return
					}
					_ = ctl.Flush()
				case <-r.Context().Done():
					return
				}
			}
		case "/big":
			_, _ = w.Write(bigFile[:len(bigFile)/2])
			_ = ctl.Flush()
			select {
			case <-s.next:
				_, _ = w.Write(bigFile[len(bigFile)/2:])
			case <-r.Context().Done():
			}
		}
	}))
	tb.Cleanup(s.CloseClientConnections)
	return s
}

func (s *streams) proxy() string { return "reverse_proxy " + s.Listener.Addr().String() }

// bigFile is what nothing between compresses or guesses.
var bigFile = func() []byte {
	buf := make([]byte, 32<<20)
	_, _ = rand.Read(buf)
	return buf
}()

// patience is how long a test waits for an event that has to come.
const patience = 30 * time.Second

func await[T any](tb testing.TB, what string, ch <-chan T) T {
	tb.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		tb.Fatalf("%s: nothing happened", what)
		panic("unreachable")
	}
}

// stream is one that is open in a browser. Whether it still works is found out
// with say; ended is closed when it has been cut off.
type stream struct {
	say   func() error
	ended <-chan struct{}
}

// openWebSocket opens a WebSocket with the browser's cookies.
func (t *tool) openWebSocket(tb testing.TB, b *browser, path string) stream {
	tb.Helper()
	conn, res, err := t.dial(tb, b, path)
	if err != nil {
		tb.Fatalf("WebSocket: %v %v", err, res)
	}
	tb.Cleanup(func() { _ = conn.CloseNow() })
	ended, echoes := make(chan struct{}), make(chan string)
	go func() {
		defer close(ended)
		for {
			_, msg, err := conn.Read(context.Background())
			if err != nil {
				return
			}
			select {
			case echoes <- string(msg):
			case <-time.After(patience):
				return
			}
		}
	}()
	return stream{ended: ended, say: func() error {
		if err := conn.Write(context.Background(), websocket.MessageText, []byte("are you there?")); err != nil {
			return err
		}
		select {
		case msg := <-echoes:
			if msg != "are you there?" {
				return fmt.Errorf("the echo is %q", msg)
			}
			return nil
		case <-ended:
			return errors.New("closed")
		case <-time.After(patience):
			return errors.New("no echo")
		}
	}}
}

func (t *tool) dial(tb testing.TB, b *browser, path string) (*websocket.Conn, *http.Response, error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	header := http.Header{"Origin": {t.url("")}, "Sec-Fetch-Mode": {"websocket"}}
	b.mu.Lock()
	for name, value := range b.jar[t.host] {
		header.Add("Cookie", name+"="+value)
	}
	b.mu.Unlock()
	return websocket.Dial(ctx, t.url(path), &websocket.DialOptions{HTTPClient: b.client, HTTPHeader: header}) //nolint:bodyclose // closed with the connection
}

// openEvents opens an event stream with the browser's cookies.
func (t *tool) openEvents(tb testing.TB, b *browser, s *streams, accept string) stream {
	tb.Helper()
	req := b.request("GET", t.url("/events"), nil, "Accept", accept, "Cookie", strings.TrimPrefix(t.sessionLine(tb, b), "Cookie: "))
	res, err := b.client.Transport.RoundTrip(req)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Cache-Control") != "private" {
		tb.Fatalf("events: %d, Cache-Control %q", res.StatusCode, res.Header.Get("Cache-Control"))
	}
	ended, events := make(chan struct{}), make(chan string, 16)
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				events <- text
			}
		}
	}()
	if text := await(tb, "the first event", events); text != "hello" {
		tb.Fatalf("the first event is %q", text)
	}
	return stream{ended: ended, say: func() error {
		select {
		case s.next <- "news":
		case <-ended:
			return errors.New("ended")
		case <-time.After(patience):
			return errors.New("the app takes no news")
		}
		select {
		case text := <-events:
			if text != "news" {
				return fmt.Errorf("the event is %q", text)
			}
			return nil
		case <-ended:
			return errors.New("ended")
		case <-time.After(patience):
			return errors.New("no event")
		}
	}}
}

func TestStreamsNeedASession(t *testing.T) {
	s := newStreams(t)
	tool := startTool(t, "", s.proxy())
	b := newBrowser(t)
	for what, session := range map[string]string{"none": "", "wrong": "AAAA", "random": strings.Repeat("A", 48)} {
		b.setCookie(tool.host, sessionCookie, session)
		conn, res, err := tool.dial(t, b, "/ws")
		if err == nil {
			_ = conn.CloseNow()
			t.Fatalf("session %s: a WebSocket was opened", what)
		}
		if res == nil || res.StatusCode != http.StatusUnauthorized || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("session %s: WebSocket: %v %v", what, err, res)
		}
		isPage(t, "events, session "+what, b.get(tool.url("/events"), "Accept", "text/event-stream"), http.StatusUnauthorized, false)
	}
	select {
	case header := <-s.opened:
		t.Errorf("a request reached the app: %v", header)
	default:
	}
	tool.mustLaunch(b, nil)
	ws := tool.openWebSocket(t, b, "/ws")
	if got := await(t, "the WebSocket at the app", s.opened); got.Get("Remote-User") != "user-1@lms" || got.Get("Cookie") != "" || got.Get("Origin") != tool.url("") {
		t.Errorf("the app saw %v", got)
	}
	if err := ws.say(); err != nil {
		t.Errorf("WebSocket: %v", err)
	}
	events := tool.openEvents(t, b, s, "text/event-stream")
	if got := await(t, "the events at the app", s.opened); got.Get("Remote-User") != "user-1@lms" {
		t.Errorf("the app saw %v", got)
	}
	if err := events.say(); err != nil {
		t.Errorf("events: %v", err)
	}
}

// A stream ends with its session, at once, on both sides.
func TestStreamsEndWithTheSession(t *testing.T) {
	for what, end := range map[string]func(testing.TB, *tool, *browser){
		"logout": func(tb testing.TB, tool *tool, b *browser) {
			tb.Helper()
			if res := b.post(tool.url("/lti/logout"), "", "Sec-Fetch-Site", "same-origin"); res.StatusCode != http.StatusOK {
				tb.Errorf("logout: %d", res.StatusCode)
			}
		},
		"a different person's launch": func(tb testing.TB, tool *tool, b *browser) {
			tb.Helper()
			tool.mustLaunch(b, map[string]any{"sub": "user-2"})
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newStreams(t)
			tool := startTool(t, "", s.proxy())
			b, bystander := newBrowser(t), newBrowser(t)
			tool.mustLaunch(bystander, nil) // the same person in another browser
			other := tool.openWebSocket(t, bystander, "/ws")
			tool.mustLaunch(b, nil)
			old := tool.sessionLine(t, b)
			ws := tool.openWebSocket(t, b, "/ws")
			events := tool.openEvents(t, b, s, "text/event-stream")
			// The same person's next launch ends nothing.
			tool.mustLaunch(b, map[string]any{ltitest.Claim("resource_link"): map[string]any{"id": "link-2"}})
			second := tool.openWebSocket(t, b, "/ws")
			for name, st := range map[string]stream{"WebSocket": ws, "events": events, "second WebSocket": second} {
				if err := st.say(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}

			end(t, tool, b)
			await(t, "the WebSocket", ws.ended)
			await(t, "the events", events.ended)
			await(t, "the WebSocket of the next launch", second.ended)
			var gone []string
			for range 3 {
				gone = append(gone, await(t, "the app's end", s.closed))
			}
			slices.Sort(gone)
			if !slices.Equal(gone, []string{"/events", "/ws", "/ws"}) {
				t.Errorf("at the app, these have ended: %v", gone)
			}
			if res := tool.rawGet(t, "/x", old); res.StatusCode != http.StatusUnauthorized {
				t.Errorf("the old id: %d", res.StatusCode)
			}
			if err := other.say(); err != nil {
				t.Errorf("the WebSocket of another browser: %v", err)
			}
		})
	}
}

// Where the client does not say that it wants events, they stop all the same
// when there is one to send.
func TestEventsNobodyAnnouncedEndWithTheSession(t *testing.T) {
	s := newStreams(t)
	tool := startTool(t, "", s.proxy())
	b := newBrowser(t)
	tool.mustLaunch(b, nil)
	events := tool.openEvents(t, b, s, "*/*")
	if err := events.say(); err != nil {
		t.Fatal(err)
	}
	b.post(tool.url("/lti/logout"), "", "Sec-Fetch-Site", "same-origin")
	if err := events.say(); err == nil {
		t.Error("an event came after the logout")
	}
	await(t, "the events", events.ended)
}

func TestStreamsEndAtTheLimits(t *testing.T) {
	for _, c := range []struct {
		name, limits string
		use          bool // all the time
		least        time.Duration
	}{
		{"idle", "\t\tsession {\n\t\t\tidle 3s\n\t\t\tmax 1h\n\t\t}", false, 3 * time.Second},
		{"max", "\t\tsession {\n\t\t\tidle 3s\n\t\t\tmax 8s\n\t\t}", true, 8 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStreams(t)
			tool := startTool(t, c.limits, s.proxy())
			b := newBrowser(t)
			begun := time.Now()
			tool.mustLaunch(b, nil)
			ws := tool.openWebSocket(t, b, "/ws")
			events := tool.openEvents(t, b, s, "text/event-stream")
			// Requests keep the session; what is said over a stream does not.
			for used := begun; time.Since(used) < 4*time.Second; {
				if res := b.get(tool.url("/x")); res.StatusCode != http.StatusOK {
					t.Fatalf("after %s: %d", time.Since(begun), res.StatusCode)
				}
				if await(t, "the app", s.opened); await(t, "the app", s.closed) != "/x" {
					t.Fatal("a stream has ended too early")
				}
			}
			last := time.Now()
			if err := errors.Join(ws.say(), events.say()); err != nil {
				t.Errorf("after %s: %v", time.Since(begun), err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				<-ws.ended
				<-events.ended
			}()
			go func() {
				for { // the app speaks to nobody
					select {
					case <-s.opened:
					case <-s.closed:
					case <-t.Context().Done():
						return
					}
				}
			}()
			for alive := true; alive; {
				if c.use {
					_ = b.get(tool.url("/x"))
				} else {
					_ = ws.say() // no use of the session
				}
				select {
				case <-done:
					alive = false
				default:
					if time.Since(last) > patience {
						t.Fatal("the streams go on")
					}
				}
			}
			after := time.Since(last)
			if c.use {
				after = time.Since(begun)
			}
			if after < c.least-100*time.Millisecond { // last is a moment after the last use
				t.Errorf("ended after %s", after)
			}
			if res := b.get(tool.url("/x")); res.StatusCode != http.StatusUnauthorized {
				t.Errorf("after the limit: %d", res.StatusCode)
			}
		})
	}
}

// What is no stream of events is brought to its end, even past the session's.
func TestLargeDownloads(t *testing.T) {
	s := newStreams(t)
	p := ltitest.NewPlatform(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "big.bin"), bigFile, 0o600); err != nil {
		t.Fatal(err)
	}
	limits := "\t\tsession {\n\t\t\tidle 3s\n\t\t\tmax 1h\n\t\t}"
	tool := startSites(t, p, "", ltiSite("tool.localhost", p, limits, s.proxy())+
		ltiSite("files.localhost", p, "", "root * "+dir+"\n\tfile_server"))
	want := sha256.Sum256(bigFile)

	t.Run("past the idle limit", func(t *testing.T) {
		b := newBrowser(t)
		tool.mustLaunch(b, nil)
		session := strings.TrimPrefix(tool.sessionLine(t, b), "Cookie: ")
		res, err := b.client.Transport.RoundTrip(b.request("GET", tool.url("/big"), nil, "Cookie", session))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		got := make([]byte, len(bigFile)/2)
		if _, err := io.ReadFull(res.Body, got); err != nil {
			t.Fatal(err)
		}
		events := tool.openEvents(t, b, s, "text/event-stream")
		await(t, "the end of the session", events.ended)
		if res := tool.rawGet(t, "/big", "Cookie: "+session); res.StatusCode != http.StatusUnauthorized {
			t.Fatalf("the session: %d", res.StatusCode)
		}
		s.next <- "the rest"
		rest, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got)+len(rest), err)
		}
		if sha256.Sum256(append(got, rest...)) != want {
			t.Error("the file has changed on its way")
		}
	})

	t.Run("of the file server", func(t *testing.T) {
		site, b := tool.at("files.localhost", "/lti"), newBrowser(t)
		site.mustLaunch(b, nil)
		res := b.get(site.url("/big.bin"))
		if sha256.Sum256([]byte(res.body)) != want || res.ContentLength != int64(len(bigFile)) {
			t.Errorf("%d: %d bytes of %d", res.StatusCode, len(res.body), res.ContentLength)
		}
		res = b.get(site.url("/big.bin"), "Range", "bytes=1000000-1000099")
		if res.StatusCode != http.StatusPartialContent || !bytes.Equal([]byte(res.body), bigFile[1000000:1000100]) {
			t.Errorf("range: %d, %d bytes", res.StatusCode, len(res.body))
		}
		res = b.do(b.request("HEAD", site.url("/big.bin"), nil))
		if res.StatusCode != http.StatusOK || res.ContentLength != int64(len(bigFile)) || res.Header.Get("Cache-Control") != "private" {
			t.Errorf("HEAD: %d, %d bytes, %v", res.StatusCode, res.ContentLength, res.Header)
		}
	})
}

func TestAnswersPassAsTheyAre(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		switch r.URL.Path {
		case "/hints":
			h.Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			h.Set("Link", "</other.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			h.Del("Link")
			h.Set("X-Final", "yes")
			_, _ = io.WriteString(w, "page")
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/trailer":
			h.Set("Trailer", "X-Checksum")
			_, _ = io.WriteString(w, "body")
			h.Set("X-Checksum", "sum")
		case "/upload":
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "%d %v", n, err)
		default:
			h.Set("Content-Length", "12345")
			h.Set("X-Final", "yes")
		}
	}))
	t.Cleanup(srv.Close)
	tool := startTool(t, "\t\tpublic /public/*", "uri strip_prefix /public\n\treverse_proxy "+srv.Listener.Addr().String())
	b := newBrowser(t)
	tool.mustLaunch(b, nil)
	for prefix, private := range map[string]string{"": "private", "/public": ""} {
		var hints []string
		req := b.request("GET", tool.url(prefix+"/hints"), nil)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, header["Link"], len(header["Cache-Control"])))
				return nil
			},
		}))
		res := b.do(req)
		if want := []string{"103 [</style.css>; rel=preload] 0", "103 [</other.css>; rel=preload] 0"}; !slices.Equal(hints, want) {
			t.Errorf("%s: early hints %q, expected %q", prefix, hints, want)
		}
		if res.StatusCode != http.StatusOK || res.body != "page" || res.Header.Get("X-Final") != "yes" || res.Header.Get("Link") != "" || res.Header.Get("Cache-Control") != private {
			t.Errorf("%s: after the hints: %d %q %v", prefix, res.StatusCode, res.body, res.Header)
		}
		res = b.get(tool.url(prefix + "/none"))
		if res.StatusCode != http.StatusNoContent || res.body != "" || res.Header.Get("Content-Length") != "" || res.Header.Get("Cache-Control") != private {
			t.Errorf("%s: 204: %d %q %v", prefix, res.StatusCode, res.body, res.Header)
		}
		res = b.do(b.request("HEAD", tool.url(prefix+"/head"), nil))
		if res.StatusCode != http.StatusOK || res.ContentLength != 12345 || res.Header.Get("X-Final") != "yes" || res.Header.Get("Cache-Control") != private {
			t.Errorf("%s: HEAD: %d, %d bytes, %v", prefix, res.StatusCode, res.ContentLength, res.Header)
		}
		res = b.get(tool.url(prefix + "/trailer"))
		if res.body != "body" || res.Trailer.Get("X-Checksum") != "sum" {
			t.Errorf("%s: trailers %v", prefix, res.Trailer)
		}
		res = b.do(b.request("POST", tool.url(prefix+"/upload"), bytes.NewReader(bigFile), "Expect", "100-continue", "Content-Type", "application/octet-stream"))
		if res.body != fmt.Sprintf("%d <nil>", len(bigFile)) {
			t.Errorf("%s: upload: %d %q", prefix, res.StatusCode, res.body)
		}
	}
}
