// Package e2e tests the product from outside: a Caddy process with this plugin,
// real HTTP, a real browser.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bin is a Caddy with the race detector, built once.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "caddylti-e2e")
	if err != nil {
		panic(err)
	}
	bin = filepath.Join(dir, "caddy")
	build := exec.Command("go", "build", "-race", "-tags", "nobadger,nomysql,nopgx", "-o", bin, "./cmd/caddy") //nolint:gosec // fixed arguments
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building Caddy: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// caddy is a running server.
type caddy struct {
	tb    testing.TB
	dir   string // data and configuration
	port  int    // of the sites
	admin int
	cmd   *exec.Cmd
	done  chan error
	log   *logBuffer
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// freePort returns a port that nobody listens on.
func freePort(tb testing.TB) int {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().(*net.TCPAddr).Port
}

// newCaddy prepares a server in a folder of its own. It is not running yet.
func newCaddy(tb testing.TB) *caddy {
	tb.Helper()
	return &caddy{tb: tb, dir: tb.TempDir(), port: freePort(tb), admin: freePort(tb)}
}

// startCaddy runs a server with a Caddyfile in which $PORT stands for the
// sites' port, $ADMIN for the admin API's and $DIR for the server's folder.
func startCaddy(tb testing.TB, caddyfile string) *caddy {
	tb.Helper()
	c := newCaddy(tb)
	c.start(caddyfile)
	return c
}

// expand fills in the variables of a Caddyfile.
func (c *caddy) expand(caddyfile string) string {
	return strings.NewReplacer(
		"$PORT", fmt.Sprint(c.port), "$ADMIN", fmt.Sprint(c.admin), "$DIR", c.dir,
	).Replace(caddyfile)
}

// write stores a Caddyfile and returns its path.
func (c *caddy) write(caddyfile string) string {
	c.tb.Helper()
	path := filepath.Join(c.dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(c.expand(caddyfile)), 0o600); err != nil {
		c.tb.Fatal(err)
	}
	return path
}

// command prepares a run of the binary with the server's own data folder.
func (c *caddy) command(args ...string) *exec.Cmd {
	cmd := exec.Command(bin, args...) //nolint:gosec // our own binary
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+c.dir, "XDG_CONFIG_HOME="+c.dir, "HOME="+c.dir, "GORACE=halt_on_error=0")
	return cmd
}

// launch starts the process without waiting for it to serve.
func (c *caddy) launch(caddyfile string) {
	c.tb.Helper()
	path := c.write(caddyfile)
	c.log = new(logBuffer)
	c.cmd = c.command("run", "--config", path, "--adapter", "caddyfile")
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	if err := c.cmd.Start(); err != nil {
		c.tb.Fatal(err)
	}
	done := make(chan error, 1)
	cmd := c.cmd
	go func() { done <- cmd.Wait() }()
	c.done = done
}

func (c *caddy) start(caddyfile string) {
	c.tb.Helper()
	c.launch(caddyfile)
	c.tb.Cleanup(func() { c.stop() })
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", c.port), time.Second)
		if err == nil {
			_ = conn.Close()
			if strings.Contains(c.log.String(), "serving initial configuration") {
				return
			}
		}
		select {
		case err := <-c.done:
			c.cmd = nil
			c.tb.Fatalf("Caddy ended: %v\n%s", err, c.log)
		case <-ctx.Done():
			c.tb.Fatalf("Caddy did not start\n%s", c.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the server as a service manager would, and looks for data races.
func (c *caddy) stop() {
	c.tb.Helper()
	if c.cmd == nil {
		return
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(20 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.done
		c.tb.Errorf("Caddy did not stop within 20 s\n%s", c.log)
	}
	c.cmd = nil
	c.checkRaces()
	if c.tb.Failed() {
		c.tb.Logf("log of Caddy:\n%s", c.log)
	}
}

func (c *caddy) checkRaces() {
	c.tb.Helper()
	if strings.Contains(c.log.String(), "DATA RACE") {
		c.tb.Errorf("data race in Caddy:\n%s", c.log)
	}
}

// kill ends the server without warning.
func (c *caddy) kill() {
	c.tb.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.tb.Fatal(err)
	}
	<-c.done
	c.cmd = nil
	c.checkRaces()
}

// reload loads another Caddyfile into the running server.
func (c *caddy) reload(caddyfile string) error {
	path := c.write(caddyfile)
	out, err := c.command("reload", "--config", path, "--adapter", "caddyfile", "--address", fmt.Sprintf("localhost:%d", c.admin), "--force").CombinedOutput()
	if err != nil {
		return fmt.Errorf("reload: %w\n%s", err, out)
	}
	return nil
}

// global is the global options of most tests; client is what the lti block holds.
func global(options string) string {
	return "{\n\tadmin localhost:$ADMIN\n\tauto_https off\n\tdefault_bind 127.0.0.1\n\tdebug\n" + options + "\n}\n"
}

// origin is the address of a site of the server.
func (c *caddy) origin(host string) string { return fmt.Sprintf("http://%s:%d", host, c.port) }

// browser is an HTTP client that keeps cookies as browsers keep them for names
// below localhost, where plain HTTP is as good as TLS. It follows no redirect.
type browser struct {
	tb     testing.TB
	mu     sync.Mutex
	jar    map[string]map[string]string // host → name → value
	client *http.Client
	// forgetful browsers keep no cookie.
	forgetful bool
}

func newBrowser(tb testing.TB) *browser {
	tb.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		},
		DisableCompression: true,
	}
	tb.Cleanup(transport.CloseIdleConnections)
	return &browser{
		tb: tb, jar: make(map[string]map[string]string),
		client: &http.Client{
			Transport:     transport,
			Timeout:       30 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body string
}

// do sends a request with the browser's cookies and keeps those that come back.
func (b *browser) do(req *http.Request) *answer {
	b.tb.Helper()
	host := req.URL.Hostname()
	if req.Host != "" {
		host, _, _ = strings.Cut(req.Host, ":")
	}
	b.mu.Lock()
	for name, value := range b.jar[host] {
		req.Header.Add("Cookie", name+"="+value)
	}
	b.mu.Unlock()
	if lines := req.Header["Cookie"]; len(lines) > 1 {
		req.Header.Set("Cookie", strings.Join(lines, "; "))
	}
	res, err := b.client.Do(req)
	if err != nil {
		b.tb.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.tb.Fatalf("%s %s: reading the answer: %v", req.Method, req.URL, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range res.Cookies() {
		if b.forgetful {
			break
		}
		if b.jar[host] == nil {
			b.jar[host] = make(map[string]string)
		}
		if c.MaxAge < 0 {
			delete(b.jar[host], c.Name)
		} else {
			b.jar[host][c.Name] = c.Value
		}
	}
	return &answer{res, string(body)}
}

// cookie returns the value of a cookie that the browser holds.
func (b *browser) cookie(host, name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.jar[host][name]
}

// setCookie puts a cookie into the browser; an empty value removes it.
func (b *browser) setCookie(host, name, value string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.jar[host] == nil {
		b.jar[host] = make(map[string]string)
	}
	if value == "" {
		delete(b.jar[host], name)
	} else {
		b.jar[host][name] = value
	}
}

// get navigates to a page.
func (b *browser) get(url string, header ...string) *answer {
	b.tb.Helper()
	return b.do(b.request(http.MethodGet, url, nil, header...))
}

// post submits a form.
func (b *browser) post(url string, form string, header ...string) *answer {
	b.tb.Helper()
	req := b.request(http.MethodPost, url, strings.NewReader(form), header...)
	if req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return b.do(req)
}

// request makes a request; header holds names and values by turns.
func (b *browser) request(method, url string, body io.Reader, header ...string) *http.Request {
	b.tb.Helper()
	req, err := http.NewRequestWithContext(b.tb.Context(), method, url, body)
	if err != nil {
		b.tb.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}
