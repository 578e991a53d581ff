package httpx

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func open(t *testing.T, c *Client, rawURL string, limit int64) (*Stream, error) {
	t.Helper()
	s, err := c.Open(t.Context(), &Request{Method: "GET", URL: rawURL, MaxBytes: limit, Header: http.Header{"Authorization": {"Bearer S3cr3t"}}})
	if err != nil {
		if s != nil {
			t.Errorf("an answer beside %v", err)
		}
		checkMessage(t, err)
		return nil, err
	}
	t.Cleanup(func() { s.Body.Close() })
	return s, nil
}

func TestOpen(t *testing.T) {
	s := newSite(t, Config{})
	more := make(chan struct{})
	s.handle("/roster", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer S3cr3t" || r.URL.RawQuery != query[1:] {
			t.Errorf("%s with %v", r.URL, r.Header)
		}
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(299)
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-more
		_, _ = io.WriteString(w, "second")
	})
	stream, err := open(t, s.client, s.URL+"/roster"+query, 11)
	if err != nil {
		t.Fatal(err)
	}
	if stream.Status != 299 || stream.Header.Get("X-Answer") != "yes" || stream.Reason != "" {
		t.Errorf("answer %+v", stream)
	}
	first := make([]byte, 5)
	if _, err := io.ReadFull(stream.Body, first); err != nil || string(first) != "first" {
		t.Errorf("%q, %v before the rest is sent", first, err)
	}
	close(more)
	if rest, err := io.ReadAll(stream.Body); err != nil || string(rest) != "second" {
		t.Errorf("rest %q, %v", rest, err)
	}
	if err := stream.Body.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	s := newPlainSite(t, Config{})
	s.handle("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			t.Error("the redirect was followed")
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	if stream, err := open(t, s.client, s.URL+"/", 1000); err != nil || stream.Status != 307 {
		t.Errorf("redirect: %+v, %v", stream, err)
	}
	if _, err := open(t, New(Config{}), s.URL+"/"+query, 1); !errors.Is(err, ErrPrivateAddress) {
		t.Errorf("%v, want ErrPrivateAddress", err)
	}
	if _, err := open(t, s.client, "http://lms.example.edu/"+query, 1); err == nil {
		t.Error("http was used")
	}
}

func TestOpenLimit(t *testing.T) {
	s := newSite(t, Config{})
	s.handle("/", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("chunked") != "" {
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = w.Write(bytes.Repeat([]byte("x"), 1000))
	})
	for _, chunked := range []string{"", "&chunked=1"} {
		for limit, fits := range map[int64]bool{1001: true, 1000: true, 999: false, 0: false} {
			stream, err := open(t, s.client, s.URL+"/?S3cr3t"+chunked, limit)
			var body []byte
			if err == nil {
				body, err = io.ReadAll(stream.Body)
			}
			switch {
			case fits && (err != nil || len(body) != 1000):
				t.Errorf("limit %d%s: %d bytes, %v", limit, chunked, len(body), err)
			case !fits && (!errors.Is(err, ErrTooLarge) || int64(len(body)) > limit):
				t.Errorf("limit %d%s: %d bytes, %v; want ErrTooLarge", limit, chunked, len(body), err)
			}
			if !fits && stream != nil {
				if n, err := stream.Body.Read(make([]byte, 9)); n != 0 || !errors.Is(err, ErrTooLarge) {
					t.Errorf("after the limit: %d, %v", n, err)
				}
			}
			if err != nil {
				checkMessage(t, err)
			}
		}
	}
}

// What is cut off on its way must never pass for the whole.
func TestOpenCutOff(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(make([]byte, 5000))
	_ = z.Close()
	s := newPlainSite(t, Config{})
	for name, answer := range map[string]string{
		"length":      "Content-Length: 100\r\n\r\nhalf",
		"chunk":       "Transfer-Encoding: chunked\r\n\r\n64\r\nhalf",
		"last chunk":  "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"end mark":    "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
		"gzip":        "Content-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + zipped.String()[:20],
		"gzip, close": "Content-Encoding: gzip\r\n\r\n" + zipped.String()[:20],
	} {
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n"+answer)
		})
		stream, err := open(t, s.client, s.URL+"/"+query, 10_000)
		if err != nil {
			t.Fatal(name, err)
		}
		if body, err := io.ReadAll(stream.Body); err == nil {
			t.Errorf("%s: %q passes for the whole", name, body)
		} else {
			checkMessage(t, err)
		}
	}

	h2 := newSite(t, Config{})
	h2.handle("/", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	stream, err := open(t, h2.client, h2.URL+"/"+query, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(stream.Body); err == nil {
		t.Errorf("HTTP/2: %q passes for the whole", body)
	} else {
		checkMessage(t, err)
	}
}

// pipes is a network of one server that exists only in the test, so that
// synctest can move its clock.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// bubble has f ask a server whose time is that of the test alone.
func bubble(t *testing.T, h http.HandlerFunc, f func(t *testing.T, c *Client)) {
	synctest.Test(t, func(t *testing.T) {
		network := make(pipes)
		srv := &http.Server{Handler: h}
		go func() { _ = srv.Serve(network) }()
		c := New(Config{})
		c.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			network <- theirs
			return ours, nil
		}
		f(t, c)
		c.CloseIdle()
		_ = srv.Close()
		synctest.Wait()
	})
}

// drip answers with n bytes, one each pause.
func drip(pause time.Duration, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for range n {
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(pause):
			case <-r.Context().Done():
				return
			}
		}
	}
}

func TestOpenTimes(t *testing.T) {
	const lms = "http://localhost/" + query
	t.Run("slow", func(t *testing.T) {
		bubble(t, drip(9*time.Second, 20), func(t *testing.T, c *Client) {
			s, err := open(t, c, lms, 100)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(s.Body); err != nil || len(body) != 20 {
				t.Errorf("three minutes of steady flow: %d bytes, %v", len(body), err)
			}
		})
	})
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		bytes   int
		after   time.Duration
	}{
		{"stalled", drip(time.Hour, 2), 1, 10 * time.Second},
		{"dripping", drip(9*time.Second, 1000), 34, 300 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.handler, func(t *testing.T, c *Client) {
				start := time.Now()
				s, err := open(t, c, lms, 10_000)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(s.Body)
				if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || len(body) != tt.bytes || took != tt.after {
					t.Errorf("%d bytes and %v after %s, want %d and a timeout after %s", len(body), err, took, tt.bytes, tt.after)
				}
				checkMessage(t, err)
			})
		})
	}
	t.Run("silent", func(t *testing.T) {
		silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		bubble(t, silent, func(t *testing.T, c *Client) {
			start := time.Now()
			_, err := open(t, c, lms, 100)
			var timeout net.Error
			if took := time.Since(start); !errors.As(err, &timeout) || !timeout.Timeout() || took != 10*time.Second {
				t.Errorf("%v after %s, want a timeout", err, took)
			}
		})
	})
	t.Run("slow caller", func(t *testing.T) {
		bubble(t, drip(0, 3), func(t *testing.T, c *Client) {
			s, err := open(t, c, lms, 100)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				time.Sleep(time.Hour)
				if _, err := io.ReadFull(s.Body, make([]byte, 1)); err != nil {
					t.Fatalf("byte %d: %v", i, err)
				}
			}
		})
	})
	t.Run("given up", func(t *testing.T) {
		bubble(t, drip(time.Second, 1000), func(t *testing.T, c *Client) {
			ctx, cancel := context.WithCancel(t.Context())
			s, err := c.Open(ctx, &Request{Method: "GET", URL: lms, MaxBytes: 1000})
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			if _, err := io.ReadAll(s.Body); !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want context.Canceled", err)
			}
			s.Body.Close()
		})
	})
}

// The two versions of HTTP report the end of a request differently.
func TestOpenStalledHTTP2(t *testing.T) {
	s := newSite(t, Config{Timeout: 100 * time.Millisecond})
	for _, path := range []string{"/silent", "/half"} {
		s.handle(path, func(w http.ResponseWriter, r *http.Request) {
			if path == "/half" {
				_, _ = io.WriteString(w, "half")
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
		})
		stream, err := open(t, s.client, s.URL+path+query, 1000)
		if err == nil {
			_, err = io.ReadAll(stream.Body)
		}
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() || errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want a timeout", path, err)
		}
	}
}

func TestOpenConnections(t *testing.T) {
	s := newPlainSite(t, Config{})
	left := make(chan struct{}, 1)
	s.handle("/whole", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })
	s.handle("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, strings.Repeat("x", 4096))
		}
		left <- struct{}{}
	})
	whole := func() string {
		stream, err := open(t, s.client, s.URL+"/whole", 100)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(stream.Body)
		stream.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	if a, b := whole(), whole(); a != b {
		t.Errorf("connections from %s and %s: none was used again", a, b)
	}
	// A body that is closed early is not read to its end.
	stream, err := open(t, s.client, s.URL+"/endless", 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stream.Body, make([]byte, 10)); err != nil {
		t.Error(err)
	}
	stream.Body.Close()
	<-left
}

// A server that notices that we give up may still end its answer as if that were
// all.
func TestOpenGivenUpIsNotTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		why  error
		want error
	}{
		{"by the caller", nil, context.Canceled},
		{"for want of time", errStalled, context.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(tt.why)
			timer := time.AfterFunc(time.Hour, func() {})
			defer timer.Stop()
			b := &streamBody{ctx: ctx, what: "get it", body: strings.NewReader(""), timer: timer, wait: time.Minute, left: time.Minute}
			if n, err := b.Read(make([]byte, 1)); n != 0 || errors.Is(err, io.EOF) || !errors.Is(err, tt.want) {
				t.Errorf("%d, %v; want %v", n, err, tt.want)
			}
		})
	}
}
