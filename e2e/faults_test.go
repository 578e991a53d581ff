package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// ends runs a command that has to fail, and returns what it said. A server that
// starts although it should not is ended.
func ends(tb testing.TB, cmd *exec.Cmd) string {
	tb.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	timer := time.AfterFunc(60*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		tb.Errorf("%v succeeded:\n%s", cmd.Args, &out)
	case !errors.As(err, &exit) || exit.ExitCode() < 0:
		tb.Errorf("%v: %v:\n%s", cmd.Args, err, &out)
	}
	for _, bad := range []string{"panic:", "goroutine ", "DATA RACE"} {
		if strings.Contains(out.String(), bad) {
			tb.Errorf("%v crashed:\n%s", cmd.Args, &out)
		}
	}
	return out.String()
}

// fails starts a server that has to refuse to, and says so with all these words
// in its last line.
func (c *caddy) fails(tb testing.TB, caddyfile string, words ...string) {
	tb.Helper()
	out := ends(tb, c.command("run", "--config", c.write(caddyfile), "--adapter", "caddyfile"))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := lines[len(lines)-1]
	for _, word := range words {
		if !strings.Contains(last, word) {
			tb.Errorf("the last line does not say %q:\n%s", word, out)
		}
	}
}

// defaultStore is where the store is if nothing is said of it.
func (c *caddy) defaultStore() string { return filepath.Join(c.dir, "caddy", "lti", "lti.db") }

// until polls until ok, and fails the test if that takes too long.
func until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("waited in vain for %s", what)
		}
	}
}

// A second Caddy with the same data folder does not start, and says why. To
// validate a configuration beside a running server is allowed.
func TestStoreIsLocked(t *testing.T) {
	p := ltitest.NewPlatform(t)
	site := global(ltiGlobal) + toolSite(p, "", echo)
	tool := &tool{caddy: startCaddy(t, site), host: "tool.localhost", base: "/lti", platform: p}
	v := tool.newVisitor(t)
	id := v.launch(t, nil)

	second := newCaddy(t)
	second.dir = tool.dir
	second.fails(t, site, tool.defaultStore(), "another Caddy", "caddy reload")
	if out, err := second.command("validate", "--config", second.write(site), "--adapter", "caddyfile").CombinedOutput(); err != nil {
		t.Errorf("caddy validate beside the running server: %v\n%s", err, out)
	}
	v.mustBe(t, "the session of the first Caddy", id, "user-1")
	if another := v.launch(t, nil); another == id {
		t.Error("no new session")
	}
	// When the first one has ended, the second can have it.
	tool.stop()
	second.port = tool.port // sessions are good for one address
	tool.caddy = second
	tool.start(site)
	tool.newVisitor(t).mustBe(t, "the session of the first Caddy at the second", id, "user-1")
}

// A store that cannot be used is an error at the start, and stays as it is: never
// is a fresh one made in its place.
func TestStoreIsUnusable(t *testing.T) {
	p := ltitest.NewPlatform(t)
	site := global(ltiGlobal) + toolSite(p, "", echo)
	tool := &tool{caddy: startCaddy(t, site), host: "tool.localhost", base: "/lti", platform: p}
	id := tool.newVisitor(t).launch(t, nil)
	tool.stop()
	path := tool.defaultStore()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		content []byte
		says    string
	}{
		{"rubbish", bytes.Repeat([]byte("rubbish "), 8192), "damaged"},
		{"empty", nil, "damaged"},
		{"cut off", good[:len(good)/2], "damaged"},
		{"zeros", make([]byte, len(good)), "damaged"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := os.WriteFile(path, tc.content, 0o600); err != nil {
				t.Fatal(err)
			}
			tool.fails(t, site, path, tc.says)
			if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, tc.content) {
				t.Errorf("the file has been changed: %d bytes, now %d, %v", len(tc.content), len(left), err)
			}
		})
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	t.Run("a folder", func(t *testing.T) {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		tool.fails(t, site, path, "directory")
		out := ends(t, tool.command("validate", "--config", tool.write(site), "--adapter", "caddyfile"))
		if !strings.Contains(out, path) || !strings.Contains(out, "directory") {
			t.Errorf("caddy validate says %s", out)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a file for a folder", func(t *testing.T) {
		file := filepath.Join(tool.dir, "file")
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		inside := filepath.Join(file, "lti.db")
		tool.fails(t, global("\tlti {\n\t\tstore bolt "+inside+"\n\t}")+toolSite(p, "", echo), inside, "not a directory")
	})
	// With the file back in its place, all is as before.
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	tool.start(site)
	tool.newVisitor(t).mustBe(t, "the session from before", id, "user-1")
}

// The same holds for the tool's keys, which every platform knows.
func TestKeysAreDamaged(t *testing.T) {
	p := ltitest.NewPlatform(t)
	site := global(ltiGlobal) + toolSite(p, "", echo)
	tool := &tool{caddy: startCaddy(t, site), host: "tool.localhost", base: "/lti", platform: p}
	before := newBrowser(t).get(tool.url("/lti/jwks.json")).body
	tool.stop()
	path := filepath.Join(tool.dir, "caddy", "lti", "keyring.json")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, []byte("{"), bytes.Replace(good, []byte("PRIVATE KEY"), []byte("LOST KEY"), 1)} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		tool.fails(t, site, "lti/keyring.json", "damaged")
		if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, bad) {
			t.Errorf("the keys have been replaced: %v", err)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	tool.start(site)
	if after := newBrowser(t).get(tool.url("/lti/jwks.json")).body; after != before {
		t.Errorf("the keys were %s, now they are %s", before, after)
	}
	if strings.Contains(tool.log.String(), "PRIVATE") {
		t.Error("the log shows keys")
	}
}

// A limit of the size of files stands for a full disk, where nothing can be
// mounted.
func TestNoRoomForStore(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal("there is no bash to set a limit with")
	}
	p := ltitest.NewPlatform(t)
	site := global(ltiGlobal) + toolSite(p, "", echo)
	c := newCaddy(t)
	run := c.command("run", "--config", c.write(site), "--adapter", "caddyfile")
	limited := exec.Command(bash, append([]string{"-c", `ulimit -f 60 && exec "$@"`, "bash"}, run.Args...)...)
	limited.Dir, limited.Env = run.Dir, run.Env
	out := ends(t, limited)
	if !strings.Contains(out, c.defaultStore()) || !strings.Contains(out, "file too large") {
		t.Errorf("a store that cannot grow: %s", out)
	}
	// Half a store is not left for the next start.
	tool := &tool{caddy: c, host: "tool.localhost", base: "/lti", platform: p}
	tool.start(site)
	tool.newVisitor(t).launch(t, nil)
}

// smallDisk mounts a disk of that size, or skips the test.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		unlessCI(t, "cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestDiskIsFullAtStart(t *testing.T) {
	disk := smallDisk(t, "64k")
	p := ltitest.NewPlatform(t)
	path := filepath.Join(disk, "sub", "lti.db")
	c := newCaddy(t)
	site := global("\tlti {\n\t\tstore bolt "+path+"\n\t}") + toolSite(p, "", echo)
	c.fails(t, site, path, "no space left")
	if _, err := os.Stat(path); err == nil {
		t.Error("half a store was left behind")
	}
}

// The disk fills up while the server runs: launches are refused with 503, whoever
// is signed in stays so, and when there is room again all goes on.
func TestDiskFillsUp(t *testing.T) {
	disk := smallDisk(t, "3m")
	p := ltitest.NewPlatform(t)
	store := strings.Replace(ltiGlobal, "\tlti {\n", "\tlti {\n\t\tstore bolt "+filepath.Join(disk, "lti.db")+"\n", 1)
	tool := &tool{caddy: startCaddy(t, global(store)+toolSite(p, "", echo)), host: "tool.localhost", base: "/lti", platform: p}
	v := tool.newVisitor(t)
	ids := []string{v.launch(t, nil)}

	ballast, err := os.Create(filepath.Join(disk, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ballast.Close() }()
	for err == nil {
		_, err = ballast.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	// The store may have some room of its own.
	full := false
	for range 500 {
		a, err := v.begin(nil)
		if err != nil {
			t.Fatalf("a login needs no room: %v", err)
		}
		id, err := v.finish(a)
		if err == nil {
			ids = append(ids, id)
			continue
		}
		full = true
		if !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "store_unavailable") {
			t.Errorf("a launch on a full disk: %v", err)
		}
		break
	}
	if !full {
		t.Fatal("500 launches fit on a full disk")
	}
	until(t, "the log to name the cause", func() bool { return strings.Contains(tool.log.String(), "no space left") })
	for i, id := range ids {
		v.mustBe(t, fmt.Sprintf("session %d of %d on a full disk", i, len(ids)), id, "user-1")
	}
	if err := os.Remove(ballast.Name()); err != nil {
		t.Fatal(err)
	}
	_ = ballast.Close()
	ids = append(ids, v.launch(t, nil))
	tool.kill()
	tool.start(global(store) + toolSite(p, "", echo))
	v = tool.newVisitor(t)
	for i, id := range ids {
		v.mustBe(t, fmt.Sprintf("session %d of %d after a restart", i, len(ids)), id, "user-1")
	}
}

// A reload that is refused changes nothing: not the store, not the sessions, not
// how the platform is talked to.
func TestRefusedReload(t *testing.T) {
	p := ltitest.NewPlatform(t)
	site := global(ltiGlobal) + toolSite(p, "", echo)
	tool := &tool{caddy: startCaddy(t, site), host: "tool.localhost", base: "/lti", platform: p}
	v := tool.newVisitor(t)
	id := v.launch(t, nil)

	folder := filepath.Join(tool.dir, "folder")
	corrupt := filepath.Join(tool.dir, "corrupt.db")
	if err := errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(corrupt, bytes.Repeat([]byte("x"), 8192), 0o600)); err != nil {
		t.Fatal(err)
	}
	other := startCaddy(t, global("\tlti {\n\t\tstore bolt $DIR/locked.db\n\t}")+toolSite(p, "", echo))
	locked := filepath.Join(other.dir, "locked.db")

	// None of them allows loopback, where this platform is.
	for i, tc := range []struct{ path, says string }{
		{folder, "directory"}, {corrupt, "damaged"}, {locked, "another Caddy"}, {filepath.Join(corrupt, "lti.db"), "not a directory"},
	} {
		err := tool.load(global("\tlti {\n\t\tstore bolt "+tc.path+"\n\t}") + toolSite(p, "", echo))
		if err == nil || !strings.Contains(err.Error(), tc.path) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("reload with %s: %v", tc.path, err)
		}
		v.mustBe(t, "the session, after a reload with "+tc.path, id, "user-1")
		// The platform has a new key each time, which has to be fetched; after
		// three of them, one in 30 seconds may be.
		if i < 2 {
			p.Key = ltitest.RSAKey(t, (i+1)%2, fmt.Sprintf("key-%d", i+2))
			p.ServeKeys(p.Key.JWK())
		}
		if _, err := v.begin(nil); err != nil {
			t.Errorf("login after a reload with %s: %v", tc.path, err)
		}
		v.launch(t, nil)
	}
	// What is wrong elsewhere in the configuration does the same.
	if err := tool.load(global("") + toolSite(p, "\t\tsession {\n\t\t\tidle 20h\n\t\t\tmax 1h\n\t\t}", echo)); err == nil || !strings.Contains(err.Error(), "idle") {
		t.Errorf("reload with senseless limits: %v", err)
	}
	// A listener that cannot be had is found out when all else has started.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	taken := fmt.Sprintf("http://taken.localhost:%d {\n\trespond x\n}\n", ln.Addr().(*net.TCPAddr).Port)
	if err := tool.load(global("\tlti {\n\t\tstore bolt $DIR/new.db\n\t}") + toolSite(p, "", echo) + taken); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("reload with a port that is taken: %v", err)
	}
	v.mustBe(t, "the session, after all", id, "user-1")
	v.launch(t, nil)
	// And one that is good is taken.
	if err := tool.reload(global(ltiGlobal) + toolSite(p, "\t\tsession {\n\t\t\tidle 3h\n\t\t}", echo)); err != nil {
		t.Error(err)
	}
	v.mustBe(t, "the session, after a good reload", id, "user-1")
}

// hangingServer accepts connections, says nothing, and counts them. Whoever waits
// for it is let go when the test ends, or on release.
func hangingServer(t *testing.T) (addr string, waiting *atomic.Int64, release func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	waiting = new(atomic.Int64)
	var mu sync.Mutex
	var conns []net.Conn
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			waiting.Add(1)
		}
	}()
	release = sync.OnceFunc(func() {
		_ = ln.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range conns {
			_ = conn.Close()
		}
	})
	t.Cleanup(release)
	return ln.Addr().String(), waiting, release
}

// A platform that is down, or that hangs, keeps nothing from starting and nobody
// else waiting.
func TestDeadPlatforms(t *testing.T) {
	p := ltitest.NewPlatform(t)
	hangs, waiting, release := hangingServer(t)
	downLn, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := downLn.Addr().String()
	_ = downLn.Close()
	platform := func(name, client, addr string) string {
		return strings.NewReplacer("platform lms", "platform "+name, "client_id client-1", "client_id "+client, p.JWKSURL(), "http://"+addr+"/jwks").
			Replace(platformBlock(p)) + "\n"
	}
	dead := platform("hangs", "client-hangs", hangs) + platform("down", "client-down", down)
	slow := strings.Replace(ltiGlobal, "http_client {\n", "http_client {\n\t\t\ttimeout 1m\n", 1)
	tool := &tool{caddy: startCaddy(t, global(slow)+toolSite(p, dead, echo)), host: "tool.localhost", base: "/lti", platform: p}
	// launch is one of another platform of the same issuer.
	launch := func(client string) (string, error) {
		v := tool.newVisitor(t)
		q := url.Values{"iss": {p.Issuer}, "login_hint": {"x"}, "client_id": {client}, "target_link_uri": {tool.url("/")}}
		res, err := v.send("/lti/login?"+q.Encode(), "")
		if err != nil {
			return "", err
		}
		loc, err := res.Location()
		if err != nil {
			return "", fmt.Errorf("login: %d %s", res.StatusCode, res.body)
		}
		claims := ltitest.With(p.Claims(loc.Query().Get("nonce"), tool.url("/")), map[string]any{"aud": client})
		v.client.Timeout = 2 * time.Minute
		return v.finish(&attemptOf{form: url.Values{"state": {loc.Query().Get("state")}, "id_token": {p.Token(claims)}}.Encode()})
	}
	if n := waiting.Load(); n != 0 {
		t.Errorf("the platform was asked %d times before anybody needed it", n)
	}
	hung := make(chan error, 3)
	for range cap(hung) {
		go func() {
			_, err := launch("client-hangs")
			hung <- err
		}()
	}
	until(t, "a launch to hang", func() bool { return waiting.Load() > 0 })
	// Meanwhile the others come and go.
	v := tool.newVisitor(t)
	for range 10 {
		v.mustBe(t, "somebody of another platform", v.launch(t, nil), "user-1")
	}
	if _, err := launch("client-down"); err == nil || !strings.Contains(err.Error(), "401") || !strings.Contains(err.Error(), "keys_unavailable") {
		t.Errorf("a launch of a platform that is down: %v", err)
	}
	select {
	case err := <-hung:
		t.Errorf("the dead platform is not dead: %v", err)
	default:
	}
	if n := waiting.Load(); n != 1 {
		t.Errorf("%d connections to the platform that hangs, expected one however many wait", n)
	}
	// Nor does a reload wait for it.
	if err := tool.load(global(slow) + toolSite(p, dead+"\t\theaders full", echo)); err != nil {
		t.Fatal(err)
	}
	v.launch(t, nil)
	release()
	for range cap(hung) {
		if err := <-hung; err == nil || !strings.Contains(err.Error(), "401") || !strings.Contains(err.Error(), "keys_unavailable") {
			t.Errorf("a launch of the platform that hung: %v", err)
		}
	}
}

// No request reaches loopback unless that is configured: not directly, not by a
// redirect.
func TestOutgoingRequests(t *testing.T) {
	p := ltitest.NewPlatform(t)
	reach := func(t *testing.T, options string) (*tool, error) {
		t.Helper()
		tool := &tool{caddy: startCaddy(t, global("\tlti {\n"+options+"\t}")+toolSite(p, "", echo)), host: "tool.localhost", base: "/lti", platform: p}
		v := tool.newVisitor(t)
		a, err := v.begin(nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.finish(a)
		return tool, err
	}
	refused := func(t *testing.T, tool *tool, err error, words ...string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "401") || !strings.Contains(err.Error(), "keys_unavailable") {
			t.Errorf("the launch: %v, expected keys_unavailable", err)
		}
		if err != nil && strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("the answer tells where the platform is: %v", err)
		}
		until(t, "the log to say what to configure", func() bool {
			for line := range strings.Lines(tool.log.String()) {
				found := strings.Contains(line, "keys_unavailable")
				for _, word := range words {
					found = found && strings.Contains(line, word)
				}
				if found {
					return true
				}
			}
			return false
		})
	}
	hostPort := strings.TrimPrefix(p.Server.URL, "http://")
	t.Run("loopback", func(t *testing.T) {
		tool, err := reach(t, "")
		refused(t, tool, err, "loopback", "allow_private "+hostPort, `"platform":"lms"`)
		if n := p.Fetches.Load(); n != 0 {
			t.Errorf("%d requests reached loopback", n)
		}
		// The remedy works at once, although the tries are used up.
		v := tool.newVisitor(t)
		for range 5 {
			a, err := v.begin(nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = v.finish(a)
			refused(t, tool, err, "allow_private "+hostPort)
		}
		if err := tool.load(global("\tlti {\n\t\thttp_client {\n\t\t\tallow_private "+hostPort+"\n\t\t}\n\t}") + toolSite(p, "", echo)); err != nil {
			t.Fatal(err)
		}
		v.launch(t, nil)
	})
	t.Run("another port", func(t *testing.T) {
		before := p.Fetches.Load()
		tool, err := reach(t, "\t\thttp_client {\n\t\t\tallow_private 127.0.0.1:1\n\t\t}\n")
		refused(t, tool, err, "loopback", "allow_private "+hostPort)
		if n := p.Fetches.Load() - before; n != 0 {
			t.Errorf("%d requests reached a port that is not allowed", n)
		}
	})
	t.Run("redirect", func(t *testing.T) {
		var reached atomic.Int64
		inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			reached.Add(1)
			_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{p.Key.JWK()}})
		}))
		defer inside.Close()
		p.ServeJWKS(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, inside.URL+"/internal?secret=1", http.StatusFound)
		})
		tool, err := reach(t, "\t\thttp_client {\n\t\t\tallow_private "+hostPort+"\n\t\t}\n")
		refused(t, tool, err, "loopback", "allow_private "+strings.TrimPrefix(inside.URL, "http://"))
		if n := reached.Load(); n != 0 {
			t.Errorf("%d requests followed a redirect to a private address", n)
		}
		if strings.Contains(tool.log.String(), "secret=1") {
			t.Error("the log shows the query of the redirect")
		}
		// Where both are allowed, it is followed.
		if err := tool.load(global(ltiGlobal) + toolSite(p, "", echo)); err != nil {
			t.Fatal(err)
		}
		tool.newVisitor(t).launch(t, nil)
		if reached.Load() == 0 {
			t.Error("an allowed redirect was not followed: the test above shows nothing")
		}
	})
}

// After a bit of everything, the log holds nothing that is worth something to a
// thief, and nothing of a person beyond their id.
func TestLogsTellNoSecrets(t *testing.T) {
	p := ltitest.NewPlatform(t)
	// With access logs and debugging on, as where somebody looks for a fault.
	app := newRecordingApp(t)
	behind := "log\n\thandle /proxied/* {\n\t\treverse_proxy " + app.addr + "\n\t}\n\thandle {\n\t\t" + echo + "\n\t}"
	tool := &tool{host: "tool.localhost", base: "/lti", platform: p}
	tool.caddy = startCaddy(t, global(ltiGlobal+"\n\tlog {\n\t\tlevel DEBUG\n\t\texclude http.handlers.reverse_proxy http.reverse_proxy.transport.http\n\t}")+
		toolSite(p, "\t\theaders full\n\t\theader X-Given {http.lti.user.given_name}\n\t\tforward_auth 127.0.0.1", behind))

	secrets := make(map[string]string) // text → what it is
	hide := func(what, text string) string {
		if len(text) < 5 {
			t.Fatalf("%s %q is too short to be looked for", what, text)
		}
		secrets[text] = what
		return text
	}
	people := func(n int) map[string]any {
		return map[string]any{
			"sub":         fmt.Sprintf("person-%d", n),
			"name":        hide("name", fmt.Sprintf("Zoë Zimmermann%d", n)),
			"given_name":  hide("given name", fmt.Sprintf("Givenzoe%d", n)),
			"family_name": hide("family name", fmt.Sprintf("Familyzimmermann%d", n)),
			"email":       hide("e-mail address", fmt.Sprintf("zimmermann%d@school.example", n)),
			ltitest.Claim("custom"): map[string]any{
				"note": hide("custom parameter", fmt.Sprintf("customsecret%d", n)),
			},
		}
	}
	n := 0
	begin := func(v *visitor, post bool) (state, nonce string) {
		n++
		q := url.Values{
			"iss": {p.Issuer}, "client_id": {p.ClientID}, "target_link_uri": {tool.url("/page")},
			"login_hint":       {hide("login_hint", fmt.Sprintf("loginhint%dx", n))},
			"lti_message_hint": {hide("lti_message_hint", fmt.Sprintf("messagehint%dx", n))},
		}
		path, form := "/lti/login?"+q.Encode(), ""
		if post {
			path, form = "/lti/login", q.Encode()
		}
		res, err := v.send(path, form)
		if err != nil {
			t.Fatal(err)
		}
		loc, err := res.Location()
		if err != nil {
			t.Fatalf("login: %d %s", res.StatusCode, res.body)
		}
		for _, c := range res.Cookies() {
			if c.Value != "" {
				hide("state cookie", c.Value)
			}
		}
		return hide("state", loc.Query().Get("state")), hide("nonce", loc.Query().Get("nonce"))
	}
	post := func(v *visitor, form url.Values, status int) {
		t.Helper()
		res, err := v.send("/lti/launch", form.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != status {
			t.Errorf("a launch: %d %s, expected %d", res.StatusCode, res.body, status)
		}
		for _, c := range res.Cookies() {
			if c.Value != "" {
				hide("session cookie", c.Value)
			}
		}
	}
	token := func(claims map[string]any) string {
		tok := p.Token(claims)
		for part := range strings.SplitSeq(tok, ".") {
			if len(part) > 100 { // not the header, which is the same each time
				hide("part of an id_token", part[:60])
			}
		}
		return hide("id_token", tok)
	}
	visit := func(v *visitor, paths ...string) {
		t.Helper()
		for _, path := range paths {
			if res, err := v.send(path, ""); err != nil || res.StatusCode != http.StatusOK {
				t.Errorf("%s: %v, %v", path, res, err)
			}
		}
	}
	for i := range 3 {
		v := tool.newVisitor(t)
		state, nonce := begin(v, i%2 == 1)
		form := url.Values{"state": {state}, "id_token": {token(ltitest.With(p.Claims(nonce, tool.url("/page")), people(i)))}}
		cookies := v.with(v.cookies)
		post(tool.newVisitor(t), form, http.StatusForbidden)
		post(v, form, http.StatusSeeOther)
		visit(v, "/page", "/proxied/x", "/lti/", "/lti/jwks.json", "/lti/auth")
		post(cookies, form, http.StatusUnauthorized) // once more
		if i == 1 {
			if res, err := v.send("/lti/logout", "x="); err != nil || res.StatusCode != http.StatusNoContent {
				t.Errorf("logout: %v, %v", res, err)
			}
		}
		if res, err := tool.newVisitor(t).send("/page", ""); err != nil || res.StatusCode != http.StatusUnauthorized {
			t.Errorf("a stranger: %v, %v", res, err)
		}
		// A launch for each way to be refused that shows something of the token.
		for _, diff := range []map[string]any{
			{"exp": 1},
			{"aud": "other"},
			{"iss": "https://other.example"},
			{"nonce": hide("wrong nonce", fmt.Sprintf("wrongnonce%d", i))},
			{ltitest.Claim("deployment_id"): "other"},
			{ltitest.Claim("target_link_uri"): "https://evil.example/?" + hide("query of a target", fmt.Sprintf("querysecret%d", i))},
			{ltitest.Claim("roles"): "not a list"},
			{"sub": strings.Repeat(hide("sub that is too long", "toolongsub"), 50)},
		} {
			state, nonce := begin(v, false)
			claims := ltitest.With(ltitest.With(p.Claims(nonce, tool.url("/page")), people(10+i)), diff)
			res, err := v.send("/lti/launch", url.Values{"state": {state}, "id_token": {token(claims)}}.Encode())
			if err != nil || res.StatusCode < 400 || res.StatusCode >= 500 {
				t.Errorf("a launch with %v: %v, %v", diff, res, err)
			}
		}
		state, nonce = begin(v, false)
		bad := token(ltitest.With(p.Claims(nonce, tool.url("/page")), people(20+i)))
		post(v, url.Values{"state": {state}, "id_token": {bad[:len(bad)-4] + "AAAA"}}, http.StatusUnauthorized)
		post(v, url.Values{"state": {hide("foreign state", "foreignstate"+state)}, "id_token": {bad}}, http.StatusBadRequest)
		post(v, url.Values{"state": {state}, "error": {"login_required"}}, http.StatusForbidden)
		// What cannot be read at all.
		for _, query := range []string{"login_hint=" + hide("hint of a bad login", fmt.Sprintf("badlogin%dx", i)), "iss=https://evil.example&login_hint=" + hide("hint of an unknown platform", fmt.Sprintf("unknown%dx", i)) + "&target_link_uri=x"} {
			if res, err := v.send("/lti/login?"+query, ""); err != nil || res.StatusCode < 400 {
				t.Errorf("a bad login: %v, %v", res, err)
			}
		}
	}
	if err := tool.load(global(ltiGlobal) + toolSite(p, "\t\theaders full", behind)); err != nil {
		t.Fatal(err)
	}
	tool.stop()
	if _, header := app.seen("tool.localhost"); header.Get("Remote-Email") == "" || header.Get("X-Given") == "" {
		t.Errorf("the app was told nothing that could be in the log: %v", header)
	}

	log := tool.log.String()
	for text, what := range secrets {
		for _, form := range []string{text, url.QueryEscape(text), strings.ReplaceAll(text, "ë", `\u00eb`)} {
			if before, after, found := strings.Cut(log, form); found {
				before = before[strings.LastIndex(before, "\n")+1:]
				after, _, _ = strings.Cut(after, "\n")
				t.Errorf("the log shows a %s, %q: %s", what, text, before+form+after)
				break
			}
		}
	}
	// The log is worth looking at: it has what it should have.
	accepted, refused, pages, logins := 0, 0, 0, 0
	for line := range strings.Lines(log) {
		var entry struct {
			Logger, Msg, Code string
			Request           struct{ URI string }
		}
		if json.Unmarshal([]byte(line), &entry) != nil {
			continue
		}
		switch {
		case entry.Msg == "launch accepted":
			accepted++
		case entry.Msg == "refused" && entry.Code != "":
			refused++
		case strings.HasPrefix(entry.Logger, "http.log.access") && strings.HasPrefix(entry.Request.URI, "/page"):
			pages++
		case strings.HasPrefix(entry.Logger, "http.log.access") && strings.HasPrefix(entry.Request.URI, "/lti/login"):
			logins++
		}
	}
	if accepted != 3 || refused < 40 || pages != 6 {
		t.Errorf("the log has %d accepted launches, %d refusals, %d pages: is it complete?", accepted, refused, pages)
	}
	if logins > 0 {
		t.Errorf("%d logins are in the access log", logins)
	}
}

// unlessCI skips a test that needs more rights than a developer may have. In CI
// nothing is skipped.
func unlessCI(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
