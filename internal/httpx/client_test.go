package httpx

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

const query = "?token=S3cr3t"

// site is a server on loopback and a client that may talk to it.
type site struct {
	*httptest.Server
	client *Client
	mux    *http.ServeMux
}

// newSite starts a TLS server with HTTP/2.
func newSite(t *testing.T, cfg Config) *site {
	t.Helper()
	mux := http.NewServeMux()
	srv := httptest.NewUnstartedServer(mux)
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	cfg.RootCAs = x509.NewCertPool()
	cfg.RootCAs.AddCert(srv.Certificate())
	return &site{Server: srv, client: newClient(t, cfg, srv), mux: mux}
}

// newPlainSite starts a server without TLS.
func newPlainSite(t *testing.T, cfg Config) *site {
	t.Helper()
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	return &site{Server: srv, client: newClient(t, cfg, srv), mux: mux}
}

func newClient(t *testing.T, cfg Config, srv *httptest.Server) *Client {
	t.Helper()
	cfg.AllowPrivate = append(cfg.AllowPrivate, allow(t, srv.Listener.Addr().String()))
	c := New(cfg)
	t.Cleanup(func() {
		c.CloseIdle()
		srv.Close()
	})
	return c
}

func allow(t *testing.T, s string) AllowRule {
	t.Helper()
	r, err := ParseAllow(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *site) handle(path string, h http.HandlerFunc) { s.mux.HandleFunc(path, h) }

// fail fetches a path, which must fail with an error that keeps the query to
// itself.
func (s *site) fail(t *testing.T, path string, want error) error {
	t.Helper()
	resp, err := s.client.Get(t.Context(), s.URL+path+query, "", 1000)
	if err == nil {
		t.Fatalf("Get %s: status %d, want an error", path, resp.Status)
	}
	if resp != nil {
		t.Errorf("Get %s returned an answer beside the error", path)
	}
	if want != nil && !errors.Is(err, want) {
		t.Errorf("Get %s: %v, want %v", path, err, want)
	}
	checkMessage(t, err)
	return err
}

func checkMessage(t *testing.T, err error) {
	t.Helper()
	if strings.Contains(err.Error(), "S3cr3t") {
		t.Errorf("%q contains the query", err)
	}
}

func TestGet(t *testing.T) {
	s := newSite(t, Config{UserAgent: "tool/1"})
	s.handle("/jwks", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "%s %s %s %s", r.Proto, r.UserAgent(), r.Header.Get("Accept"), r.URL.RawQuery)
	})
	resp, err := s.client.Get(t.Context(), s.URL+"/jwks"+query, "application/json", 1000)
	if err != nil {
		t.Fatal(err)
	}
	if want := "HTTP/2.0 tool/1 application/json token=S3cr3t"; string(resp.Body) != want {
		t.Errorf("body %q, want %q", resp.Body, want)
	}
	if resp.Status != http.StatusAccepted || resp.Header.Get("Content-Type") != "application/json" || resp.URL != s.URL+"/jwks"+query {
		t.Errorf("answer %+v", resp)
	}
	resp, err = s.client.Get(t.Context(), s.URL+"/missing", "", 1000)
	if err != nil || resp.Status != http.StatusNotFound {
		t.Errorf("missing page: %+v, %v; want a 404 without error", resp, err)
	}
}

func TestGetRefusesURLs(t *testing.T) {
	c := New(Config{})
	for _, raw := range []string{"", "http://lms.example.edu/" + query, "https://u:p@lms.example.edu/" + query, "ftp://lms.example.edu/", "https://x\x7f/" + query} {
		if _, err := c.Get(t.Context(), raw, "", 1); err == nil {
			t.Errorf("Get(%q) succeeded", raw)
		} else {
			checkMessage(t, err)
		}
	}
}

func TestGetRefusesPrivate(t *testing.T) {
	s := newPlainSite(t, Config{})
	s.handle("/", func(http.ResponseWriter, *http.Request) { t.Error("the server was reached") })
	s.client = New(Config{AllowPrivate: []AllowRule{allow(t, "127.0.0.1:1"), allow(t, "10.0.0.0/8")}})
	for _, host := range []string{"127.0.0.1", "localhost", "lms.localhost", "127.0.0.2"} {
		s.URL = "http://" + host + ":" + s.port()
		err := s.fail(t, "/", ErrPrivateAddress)
		if !strings.Contains(err.Error(), host) || !strings.Contains(err.Error(), "allow_private") {
			t.Errorf("%q does not name the host and the option", err)
		}
	}
	for _, raw := range []string{"https://[::ffff:127.0.0.1]/", "https://169.254.169.254/latest/"} {
		if _, err := s.client.Get(t.Context(), raw, "", 1); !errors.Is(err, ErrPrivateAddress) {
			t.Errorf("Get(%q): %v, want ErrPrivateAddress", raw, err)
		}
	}
}

func (s *site) port() string {
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	return port
}

func TestGetLocalNames(t *testing.T) {
	s := newPlainSite(t, Config{})
	s.handle("/", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })
	for _, host := range []string{"localhost", "lms.localhost", "a.b.LOCALHOST"} {
		host += ":" + s.port()
		resp, err := s.client.Get(t.Context(), "http://"+host+"/", "", 1000)
		if err != nil {
			t.Error(err)
		} else if !strings.EqualFold(string(resp.Body), host) {
			t.Errorf("host %q arrived as %q", host, resp.Body)
		}
	}
}

func TestNoProxyFromEnvironment(t *testing.T) {
	if p := New(Config{}).transport.Proxy; p != nil {
		t.Error("the transport asks for a proxy")
	}
}

func TestTimeouts(t *testing.T) {
	release := make(chan struct{})
	s := newPlainSite(t, Config{Timeout: 100 * time.Millisecond})
	t.Cleanup(func() { close(release) }) // runs before the server waits for its handlers
	flush := func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }
	s.handle("/hanging", func(http.ResponseWriter, *http.Request) { <-release })
	s.handle("/slow-body", func(w http.ResponseWriter, r *http.Request) {
		// A byte now and then would keep an idle timeout happy for ever.
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			_, _ = io.WriteString(w, "x")
			flush(w)
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			case <-release:
				return
			}
		}
	})
	s.handle("/slow-redirects", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(60 * time.Millisecond):
		case <-r.Context().Done():
		}
		http.Redirect(w, r, "/slow-redirects"+query, http.StatusFound)
	})
	for _, path := range []string{"/hanging", "/slow-body", "/slow-redirects"} {
		t.Run(path[1:], func(t *testing.T) {
			err := s.fail(t, path, nil)
			var nerr net.Error
			timeout := errors.As(err, &nerr) && nerr.Timeout()
			if !timeout && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want a timeout", err)
			}
		})
	}
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.client.Get(ctx, s.URL+"/hanging"+query, "", 1); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want context.Canceled", err)
		}
	})
}

func TestSilentServers(t *testing.T) {
	// Servers that accept and say nothing, or too much.
	for name, tt := range map[string]struct {
		scheme string
		talk   func(net.Conn)
		says   string
	}{
		"no TLS handshake": {"https", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, ""},
		"endless headers": {"http", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for err := error(nil); err == nil; {
				_, err = io.WriteString(c, "X-Header: "+strings.Repeat("x", 1000)+"\r\n")
			}
		}, "headers exceeded"},
		"nonsense": {"http", func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n") }, "malformed"},
		"cut off": {"http", func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		}, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					wg.Go(func() {
						defer c.Close()
						if _, err := c.Read(make([]byte, 4096)); err == nil {
							tt.talk(c)
						}
					})
				}
			})
			c := New(Config{Timeout: 300 * time.Millisecond, AllowPrivate: []AllowRule{allow(t, ln.Addr().String())}})
			_, err = c.Get(t.Context(), tt.scheme+"://"+ln.Addr().String()+"/"+query, "", 1000)
			if err == nil || tt.says != "" && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Get: %v, want an error with %q", err, tt.says)
			} else {
				checkMessage(t, err)
			}
			_ = ln.Close()
			wg.Wait() // the client has closed its end
		})
	}
}

func TestRefusedConnection(t *testing.T) {
	s := newPlainSite(t, Config{})
	s.Close()
	s.fail(t, "/", nil)
}

func TestUnknownAuthority(t *testing.T) {
	s := newSite(t, Config{})
	s.client = New(Config{RootCAs: x509.NewCertPool(), AllowPrivate: []AllowRule{allow(t, "127.0.0.1")}})
	err := s.fail(t, "/", nil)
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		t.Errorf("error %v, want an unknown authority", err)
	}
}

func TestOldTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	s := &site{Server: srv, client: newClient(t, Config{RootCAs: roots}, srv)}
	s.fail(t, "/", nil)
}

func TestLimit(t *testing.T) {
	s := newSite(t, Config{})
	s.handle("/sized", func(w http.ResponseWriter, r *http.Request) {
		var n int
		_, _ = fmt.Sscan(r.FormValue("n"), &n)
		if r.FormValue("chunked") != "" {
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = w.Write(bytes.Repeat([]byte("x"), n))
	})
	for _, chunked := range []string{"", "&chunked=1"} {
		for n, fits := range map[int]bool{0: true, 999: true, 1000: true, 1001: false, 100_000: false} {
			resp, err := s.client.Get(t.Context(), fmt.Sprintf("%s/sized?n=%d%s", s.URL, n, chunked), "", 1000)
			switch {
			case fits && (err != nil || len(resp.Body) != n):
				t.Errorf("%d bytes%s: %+v, %v", n, chunked, resp, err)
			case !fits && !errors.Is(err, ErrTooLarge):
				t.Errorf("%d bytes%s: %v, want ErrTooLarge", n, chunked, err)
			}
		}
	}
	if _, err := s.client.Get(t.Context(), s.URL+"/sized?n=1", "", 0); !errors.Is(err, ErrTooLarge) {
		t.Errorf("limit 0: %v, want ErrTooLarge", err)
	}
}

func TestHugeBodyIsNotRead(t *testing.T) {
	s := newPlainSite(t, Config{})
	done := make(chan int64, 1)
	s.handle("/endless", func(w http.ResponseWriter, _ *http.Request) {
		var sent int64
		chunk := make([]byte, 64<<10)
		for {
			n, err := w.Write(chunk)
			sent += int64(n)
			if err != nil || sent > 1<<30 {
				done <- sent
				return
			}
		}
	})
	s.fail(t, "/endless", ErrTooLarge)
	if sent := <-done; sent > 1<<28 {
		t.Errorf("the client took %d bytes for a limit of 1000", sent)
	}
}

func TestGzip(t *testing.T) {
	s := newSite(t, Config{})
	zip := func(n int) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(make([]byte, n))
		_ = w.Close()
		return b.Bytes()
	}
	bomb := zip(4 << 20)
	send := func(path string, body []byte) {
		s.handle(path, func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				t.Error("the client does not accept gzip")
			}
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(body)
		})
	}
	send("/good", zip(1000))
	send("/over", zip(1001))
	send("/bomb", bomb)
	send("/broken", zip(500)[:20])
	resp, err := s.client.Get(t.Context(), s.URL+"/good", "", 1000)
	if err != nil || len(resp.Body) != 1000 {
		t.Errorf("good: %+v, %v", resp, err)
	}
	s.fail(t, "/over", ErrTooLarge)
	s.fail(t, "/broken", nil)
	// The compressed form fits into the limit, what is inside does not.
	if _, err := s.client.Get(t.Context(), s.URL+"/bomb", "", int64(len(bomb))+1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("bomb of %d bytes: %v, want ErrTooLarge", len(bomb), err)
	}
}

func TestRedirects(t *testing.T) {
	s := newSite(t, Config{})
	plain := newPlainSite(t, Config{})
	plain.handle("/", func(http.ResponseWriter, *http.Request) { t.Error("the plain server was reached") })
	private := newSite(t, Config{})
	private.handle("/", func(http.ResponseWriter, *http.Request) { t.Error("the private server was reached") })
	// The plain server may be dialled: what keeps us off it is the scheme.
	s.client.transport.DialContext = newDialer([]AllowRule{
		allow(t, s.Listener.Addr().String()),
		allow(t, plain.Listener.Addr().String()),
	}, time.Second).DialContext

	s.handle("/end", func(w http.ResponseWriter, r *http.Request) {
		for _, h := range []string{"Referer", "Cookie", "Authorization"} {
			if v := r.Header.Get(h); v != "" {
				t.Errorf("after the redirect: %s: %s", h, v)
			}
		}
		_, _ = io.WriteString(w, r.Header.Get("Accept"))
	})
	to := func(path, location string) {
		s.handle(path, func(w http.ResponseWriter, _ *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
			w.Header()["Location"] = []string{location}
			w.WriteHeader(http.StatusFound)
		})
	}
	to("/3", "/2"+query)
	to("/2", "1#part")
	to("/1", s.URL+"/end")
	to("/4", "/3")
	to("/loop", "/loop"+query)
	to("/plain", plain.URL+"/"+query)
	to("/private", private.URL+"/"+query)
	to("/metadata", "https://169.254.169.254/"+query)
	to("/http", "http://lms.example.edu/"+query)
	to("/user", "https://u:p@127.0.0.1/"+query)
	to("/scheme", "file:///etc/passwd"+query)
	to("/unreadable", "https://x:y/"+query)
	to("/escape", "https://x/%zz"+query)

	resp, err := s.client.Get(t.Context(), s.URL+"/3", "text/x", 1000)
	if err != nil || string(resp.Body) != "text/x" || resp.URL != s.URL+"/end" {
		t.Errorf("three redirects: %+v, %v", resp, err)
	}
	for path, want := range map[string]error{
		"/4": ErrRedirect, "/loop": ErrRedirect, "/plain": ErrRedirect, "/http": ErrRedirect, "/user": ErrRedirect,
		"/scheme": ErrRedirect, "/unreadable": ErrRedirect, "/escape": ErrRedirect,
		"/private": ErrPrivateAddress, "/metadata": ErrPrivateAddress,
	} {
		s.fail(t, path, want)
	}

	for status, follows := range map[int]bool{300: false, 301: true, 302: true, 303: true, 304: false, 307: true, 308: true} {
		path := fmt.Sprint("/status/", status)
		s.handle(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/end")
			w.WriteHeader(status)
		})
		resp, err := s.client.Get(t.Context(), s.URL+path, "", 1000)
		if err != nil || (resp.Status == http.StatusOK) != follows {
			t.Errorf("status %d: %+v, %v; followed should be %t", status, resp, err, follows)
		}
	}
	s.handle("/nowhere", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusFound) })
	if resp, err := s.client.Get(t.Context(), s.URL+"/nowhere", "", 1000); err != nil || resp.Status != http.StatusFound {
		t.Errorf("redirect without Location: %+v, %v", resp, err)
	}
}

func TestRedirectToAnotherHost(t *testing.T) {
	s := newPlainSite(t, Config{})
	s.handle("/", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Host, "a.") {
			http.Redirect(w, r, "http://b.localhost:"+s.port()+"/", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, r.Host)
	})
	resp, err := s.client.Get(t.Context(), "http://a.localhost:"+s.port()+"/", "", 1000)
	if err != nil || !strings.HasPrefix(string(resp.Body), "b.localhost:") {
		t.Errorf("redirect to another host: %+v, %v", resp, err)
	}
}

func TestConnectionsAreReusedAndClosed(t *testing.T) {
	s := newPlainSite(t, Config{})
	s.handle("/", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) })
	get := func() string {
		t.Helper()
		resp, err := s.client.Get(t.Context(), s.URL, "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		return string(resp.Body)
	}
	first := get()
	if again := get(); again != first {
		t.Errorf("second request came from %s, the first from %s", again, first)
	}
	s.client.CloseIdle()
	if again := get(); again == first {
		t.Error("CloseIdle left the connection open")
	}
}

func TestDisplay(t *testing.T) {
	u, err := url.Parse("https://u:p@h:1/a%2Fb?q=S3cr3t#f")
	if err != nil {
		t.Fatal(err)
	}
	if got := display(u); got != "https://h:1/a%2Fb" {
		t.Errorf("display = %q", got)
	}
}

func TestMappedRuleIsUnreachable(t *testing.T) {
	// Rules are written in IPv4 form, and addresses are judged in it.
	if allow(t, "127.0.0.0/8").permits(netip.MustParseAddrPort("[::ffff:127.0.0.1]:80")) {
		t.Error("a mapped address matches before it is unmapped")
	}
}
