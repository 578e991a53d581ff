package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/ltitest"
	"github.com/caddy-lti/lti/internal/redistest"
)

// nodes are two servers that are one tool: on one Redis server and one storage,
// behind a balancer that the test directs.
type nodes struct {
	*tool // as people see it, by the balancer
	redis *redistest.Server
	a, b  *caddy
	text  string // the Caddyfile of each

	to atomic.Pointer[caddy]
}

// newNodes starts two nodes with this site block, in which $URL stands for the
// public origin.
func newNodes(t *testing.T, p *ltitest.Platform, site string) *nodes {
	t.Helper()
	n := &nodes{redis: redistest.Start(t), a: newCaddy(t), b: newCaddy(t)}
	n.tool = &tool{caddy: &caddy{tb: t, port: n.balance(t, 0), log: new(logBuffer)}, host: "tool.localhost", base: "/lti", platform: p}
	n.text = n.config(t.TempDir()) + strings.ReplaceAll(site, "$URL", n.url(""))
	n.a.start(n.text)
	n.b.start(n.text)
	n.to.Store(n.a)
	return n
}

// balance starts the balancer, at a port of its own if that is 0, and returns the
// port.
func (n *nodes) balance(t *testing.T, port int) int {
	t.Helper()
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)) //nolint:noctx // closed with the server
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: ln, Config: &http.Server{ReadHeaderTimeout: time.Minute, Handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", n.to.Load().port)})
			r.Out.Host = r.In.Host
		},
		FlushInterval: -1,
	}}}
	srv.Start()
	t.Cleanup(srv.Close)
	return ln.Addr().(*net.TCPAddr).Port
}

// config is the global options, with a storage.
func (n *nodes) config(storage string) string {
	return global("\tstorage file_system " + storage + "\n" + strings.Replace(ltiGlobal, "lti {", "lti {\n\t\tstore redis "+n.redis.URL, 1))
}

// by has what follows done by one of the nodes.
func (n *nodes) by(c *caddy) *tool {
	n.to.Store(c)
	return n.tool
}

// other is the other node.
func (n *nodes) other(c *caddy) *caddy {
	if c == n.a {
		return n.b
	}
	return n.a
}

// nodesSite is a site of nodes with a platform.
func nodesSite(p *ltitest.Platform, options, behind string) string {
	return toolSite(p, "\t\turl $URL\n"+options, behind)
}

// One node begins what another goes on with; what is good once is good once on
// both.
func TestNodesAreOneTool(t *testing.T) {
	p := ltitest.NewPlatform(t)
	n := newNodes(t, p, nodesSite(p, "", echo))
	var keys []string
	for round, first := range []*caddy{n.a, n.b} {
		second := n.other(first)
		v := n.by(first).newVisitor(t)
		attempt, err := v.begin(sub("ann"))
		if err != nil {
			t.Fatal(err)
		}
		n.by(second)
		id, err := v.finish(attempt)
		if err != nil {
			t.Fatalf("round %d: %v\n%s", round, err, second.log)
		}
		for _, c := range []*caddy{first, second, first} {
			n.by(c).newVisitor(t).mustBe(t, "the session", id, "ann")
		}
		n.by(first)
		if _, err := v.with(attempt.cookies).finish(attempt); err == nil || !strings.Contains(err.Error(), "nonce_reused") {
			t.Errorf("the launch once more, on the other node: %v", err)
		}
		keys = append(keys, newBrowser(t).get(n.url("/lti/jwks.json")).body)
	}
	if keys[0] != keys[1] || !strings.Contains(keys[0], `"kid"`) {
		t.Errorf("the nodes have the keys %s and %s", keys[0], keys[1])
	}
	// On both at the same instant.
	for range 20 {
		v := n.newVisitor(t)
		attempt, err := v.begin(sub("bob"))
		if err != nil {
			t.Fatal(err)
		}
		var good, used atomic.Int32
		var wg sync.WaitGroup
		for _, c := range []*caddy{n.a, n.b} {
			at := &tool{caddy: c, host: n.host, base: n.base, platform: p}
			post := func() {
				req, err := http.NewRequest(http.MethodPost, at.url("/lti/launch"), strings.NewReader(attempt.form))
				if err != nil {
					t.Error(err)
					return
				}
				req.Host = strings.TrimPrefix(n.url(""), "http://")
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				req.Header.Set("Accept", "application/json")
				for name, value := range attempt.cookies {
					req.AddCookie(&http.Cookie{Name: name, Value: value}) //nolint:gosec // of a request
				}
				switch res := newBrowser(t).do(req); {
				case res.StatusCode == http.StatusSeeOther:
					good.Add(1)
				case strings.Contains(res.body, "nonce_reused"):
					used.Add(1)
				default:
					t.Errorf("%d %s", res.StatusCode, res.body)
				}
			}
			wg.Go(post)
		}
		wg.Wait()
		if good.Load() != 1 || used.Load() != 1 {
			t.Fatalf("one launch was good %d times", good.Load())
		}
	}
}

// Who is signed out on one node is signed out on the other at once, and what goes
// on there ends.
func TestNodesSignOut(t *testing.T) {
	p := ltitest.NewPlatform(t)
	app := newStreams(t)
	n := newNodes(t, p, nodesSite(p, "", app.proxy()))
	gone := func(b *browser, where *caddy) {
		t.Helper()
		until(t, "the other node to know", func() bool {
			return n.by(where).refuses(b)
		})
	}
	for what, end := range map[string]func(b *browser){
		"signed out":     func(b *browser) { b.post(n.url("/lti/logout"), "x=") },
		"another person": func(b *browser) { n.mustLaunch(b, sub("bob")) },
		"command line": func(*browser) {
			other := &tool{caddy: n.b, host: n.host, base: n.base, platform: p}
			other.ltiDoes(t, "sessions", "end", "--user", "user-1@lms")
		},
	} {
		t.Run(what, func(t *testing.T) {
			b := newBrowser(t)
			n.by(n.a).mustLaunch(b, nil)
			left := newBrowser(t)
			left.setCookie(n.host, "__Host-lti", b.cookie(n.host, "__Host-lti"))
			ws := n.by(n.a).openWebSocket(t, b, "/ws")
			if err := ws.say(); err != nil {
				t.Fatal(err)
			}
			if n.by(n.b).refuses(left) {
				t.Fatal("the other node does not know the session")
			}
			end(b)
			gone(left, n.a)
			gone(left, n.b)
			await(t, "the WebSocket of the other node ends", ws.ended)
		})
	}
}

// refuses reports whether a page is refused.
func (t *tool) refuses(b *browser) bool {
	b.tb.Helper()
	return b.get(t.url("/page"), "Accept", "application/json").StatusCode == http.StatusUnauthorized
}

// A platform that registers with one node launches on the other.
func TestNodesRegistration(t *testing.T) {
	p := newRegistrar(t)
	n := newNodes(t, p.Platform, registrationSiteBlock("url $URL\n\t\t"+registrationBlock))
	if res := n.by(n.a).register(newBrowser(t), p); res.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", res.StatusCode, mainOf(res.body))
	}
	// Launched there too, its people are known here, where it has never been.
	b := newBrowser(t)
	n.mustLaunch(b, nil)
	n.by(n.b)
	until(t, "the other node to know the platform", func() bool {
		return strings.Contains(b.get(n.url("/")).body, "user=user-1@127-0-0-1-")
	})
	n.mustLaunch(newBrowser(t), nil)
	if p.posts.Load() != 1 {
		t.Errorf("the platform was asked %d times", p.posts.Load())
	}
	on := &tool{caddy: n.b}
	list := on.ltiDoes(t, "registrations", "list")
	on.ltiDoes(t, "registrations", "remove", idShown.FindString(list))
	if res := newBrowser(t).get(n.by(n.a).loginURL()); res.StatusCode != http.StatusForbidden {
		t.Errorf("a platform that was removed on one node begins a launch on the other: %d", res.StatusCode)
	}
}

// Redis stops: nobody gets in, and nobody is signed out. The nodes find it again by
// themselves.
func TestNodesWithoutRedis(t *testing.T) {
	p := ltitest.NewPlatform(t)
	n := newNodes(t, p, nodesSite(p, "public /open/*", echo))
	b := newBrowser(t)
	n.mustLaunch(b, nil)
	page := func() *answer { return b.get(n.url("/page"), "Accept", "text/html", "Sec-Fetch-Mode", "navigate") }
	for what, fail := range map[string]struct{ down, up func() }{
		"killed": {n.redis.Kill, n.redis.Run},
		"hangs":  {n.redis.Freeze, n.redis.Thaw},
	} {
		for _, c := range []*caddy{n.a, n.b} {
			if res := n.by(c).launch(newBrowser(t), nil); res.StatusCode != http.StatusSeeOther {
				t.Fatalf("%s, before: %d", what, res.StatusCode)
			}
		}
		fail.down()
		until(t, "the page says that the tool is out of order", func() bool {
			begin := time.Now()
			res := page()
			if took := time.Since(begin); took > 8*time.Second {
				t.Errorf("%s: the answer took %s", what, took)
			}
			if res.StatusCode == http.StatusUnauthorized {
				t.Fatalf("%s: people are told that they are not signed in", what)
			}
			return res.StatusCode == http.StatusServiceUnavailable && strings.Contains(res.body, "out of order")
		})
		if res := newBrowser(t).get(n.url("/open/x")); res.StatusCode != http.StatusOK {
			t.Errorf("%s: a public page: %d", what, res.StatusCode)
		}
		if res := newBrowser(t).get(n.loginURL()); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: a login: %d %s", what, res.StatusCode, mainOf(res.body))
		}
		fail.up()
		for _, c := range []*caddy{n.a, n.b} {
			n.by(c)
			until(t, "the page comes back", func() bool { return page().StatusCode == http.StatusOK })
			n.mustLaunch(newBrowser(t), nil)
		}
	}
	if log := n.b.log.String(); !strings.Contains(log, "Redis at 127.0.0.1:") {
		t.Errorf("the log does not say which server it is about:\n%s", log)
	}
}

// A node that is given other keys than the others does not start, nor one without
// its server.
func TestNodesRefuseToStart(t *testing.T) {
	p := ltitest.NewPlatform(t)
	n := newNodes(t, p, nodesSite(p, "", echo))
	site := strings.ReplaceAll(nodesSite(p, "", echo), "$URL", n.url(""))
	newCaddy(t).fails(t, n.config(t.TempDir())+site, "keys", "storage", "nodes:keys")
	n.b.stop()
	n.redis.Kill()
	text := strings.Replace(n.text, "redis://", "redis://user:not-for-the-log@", 1)
	n.b.fails(t, text, "Redis at 127.0.0.1:", "refused")
	out, err := n.b.command("validate", "--config", n.b.write(text), "--adapter", "caddyfile").CombinedOutput()
	if err != nil {
		t.Errorf("caddy validate asks the server: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "not-for-the-log") {
		t.Errorf("a password is shown:\n%s", out)
	}
	n.redis.Run()
	n.b.start(n.text)
	n.by(n.b).mustLaunch(newBrowser(t), nil)
	// From one file to several nodes, and back, by a reload.
	for _, store := range []string{"memory", "redis " + n.redis.URL} {
		if err := n.b.reload(strings.Replace(n.text, "store redis "+n.redis.URL, "store "+store, 1)); err != nil {
			t.Fatal(err)
		}
		n.by(n.b).mustLaunch(newBrowser(t), nil)
	}
}

// A score that one node took is known to the other, which sends it if the first is
// gone.
func TestNodesScores(t *testing.T) {
	s := newGradedSite(t, "", "")
	s.stop()
	n := &nodes{redis: redistest.Start(t), a: newCaddy(t), b: newCaddy(t)}
	n.balance(t, s.port)
	text := strings.Replace(s.text, "\tlti {", "\tstorage file_system "+t.TempDir()+"\n\tlti {\n\t\tstore redis "+n.redis.URL, 1)
	text = strings.Replace(text, "$PORT {\n\tlti {", fmt.Sprintf("$PORT {\n\tlti {\n\t\turl %s", s.site("")), 1)
	n.a.start(text)
	n.b.start(text)
	by := func(c *caddy) *gradedSite {
		n.to.Store(c)
		return s
	}

	token := by(n.a).open(newBrowser(t), "u-2001", "c-31", "quiz-one")
	s.fault(t, "scores", "503")
	res := s.call(t, token, "POST", "scores", `{"scoreGiven": 8, "scoreMaximum": 10}`)
	if res.StatusCode != http.StatusAccepted {
		t.Fatalf("%d %s", res.StatusCode, res.body)
	}
	id := res.json(t)["id"].(string)
	state := func(id string) string {
		t.Helper()
		got, _ := by(n.b).call(t, token, "GET", "scores/"+id, "").json(t)["state"].(string)
		return got
	}
	// The token of a launch, and the score, are known to the other node, too.
	if got := state(id); got != "queued" {
		t.Errorf("the other node says %q", got)
	}
	const next = `{"scoreGiven": 9, "scoreMaximum": 10}`
	one := by(n.b).call(t, token, "POST", "scores", next, "Idempotency-Key", "k")
	two := by(n.a).call(t, token, "POST", "scores", next, "Idempotency-Key", "k")
	if one.json(t)["id"] != two.json(t)["id"] {
		t.Errorf("a repeat on the other node: %s and %s", one.body, two.body)
	}
	last := s.call(t, token, "POST", "scores", `{"scoreGiven": 10, "scoreMaximum": 10}`).json(t)["id"].(string)
	n.a.kill()
	s.fault(t, "scores", "off")
	for begin := time.Now(); state(last) != "delivered"; <-time.After(100 * time.Millisecond) {
		if time.Since(begin) > 2*time.Minute {
			t.Fatalf("the score is %s\n%s", state(last), n.b.log)
		}
	}
	if got := state(id); got != "replaced" {
		t.Errorf("the first score is %s", got)
	}
	scores, grades := s.gradebook(t)
	if good := scores[len(scores)-1]; good.ScoreGiven != 10 || good.UserID != "u-2001" || len(grades) != 1 {
		t.Errorf("the LMS got %+v, %+v", scores, grades)
	}
}

// From one server with its file to Redis nothing is lost: neither who is signed in
// nor a score that waits.
func TestMoveToRedis(t *testing.T) {
	s := newGradedSite(t, "", "")
	b := newBrowser(t)
	token := s.open(b, "u-2001", "c-31", "quiz-one")
	s.fault(t, "scores", "503")
	id := s.call(t, token, "POST", "scores", `{"scoreGiven": 8, "scoreMaximum": 10}`).json(t)["id"].(string)
	srv := redistest.Start(t)
	move := func(args ...string) (string, error) {
		out, err := s.command(append([]string{"lti", "store", "copy"}, args...)...).CombinedOutput()
		return string(out), err
	}
	missing := s.defaultStore() + "x"
	for _, tt := range []struct{ says, file, url string }{
		{"stop Caddy first", s.defaultStore(), srv.URL},
		{"no such file", missing, srv.URL},
		{"expected redis://", s.defaultStore(), "10.0.0.5"},
	} {
		if out, err := move(tt.file, tt.url); err == nil || !strings.Contains(out, tt.says) {
			t.Errorf("copying %s to %s: %v %s", tt.file, tt.url, err, out)
		}
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a file was made")
	}
	s.stop()
	for _, says := range []string{"; 0 were there already", "\n0 records were copied"} {
		if out, err := move(s.defaultStore(), srv.URL); err != nil || !strings.Contains("\n"+out, says) {
			t.Errorf("%v %s, expected %q", err, out, says)
		}
	}
	s.fault(t, "scores", "off")
	s.start(strings.Replace(s.text, "\tlti {", "\tlti {\n\t\tstore redis "+srv.URL, 1))
	if res := b.get(s.site("/one/")); res.StatusCode != http.StatusOK {
		t.Errorf("who was signed in gets %d", res.StatusCode)
	}
	until(t, "the score to be delivered", func() bool {
		return s.call(t, token, "GET", "scores/"+id, "").json(t)["state"] == "delivered"
	})
}
