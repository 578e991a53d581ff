package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"html"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// guide is a page of docs/apps, run as it is written against the demo LMS: its
// Caddyfile and programs, changed only as docs/apps/README.md tells readers to.
type guide struct {
	*gradedSite
	name   string
	origin string            // of the site, where the guide has https://tool.example.edu
	files  map[string]string // what the guide has under a name, not yet used
	text   string
	config string // the Caddyfile that runs
}

var (
	guideFile = regexp.MustCompile("`([^` ]+)`:$")
	guideCurl = regexp.MustCompile(`(?m)^(curl .+) # (.+)$`)
)

// openGuide reads a page. Every block in it belongs to a file, whose name ends
// the paragraph before it, or holds commands; and each has to be used.
func openGuide(tb testing.TB, name string) *guide {
	tb.Helper()
	c := newCaddy(tb)
	g := &guide{
		gradedSite: &gradedSite{caddy: c, platform: c}, name: name,
		origin: c.origin("127.0.0.1"), files: make(map[string]string),
	}
	text, err := os.ReadFile("../docs/apps/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	g.text = string(text)
	var file, kind, before string
	var open bool
	for line := range strings.Lines(g.text) {
		switch fence := strings.HasPrefix(line, "```"); {
		case fence && open:
			open = false
		case fence:
			open, file, kind = true, "", strings.TrimSpace(line[3:])
			if m := guideFile.FindStringSubmatch(before); m != nil {
				file = m[1]
			}
			if _, twice := g.files[file]; twice || (file == "") != (kind == "sh") {
				tb.Fatalf("%s: the block %s after %q: which file is it?", name, kind, before)
			}
		case open && file != "":
			g.files[file] += line
		case strings.TrimSpace(line) != "":
			before = strings.TrimSpace(line)
		}
	}
	tb.Cleanup(func() {
		if len(g.files) > 0 && !tb.Failed() {
			tb.Errorf("%s: nothing looks at %v", name, slices.Collect(maps.Keys(g.files)))
		}
	})
	return g
}

// take returns a file of the guide with some of its words changed, by turns what
// is there and what it is to be; all of them have to be there.
func (g *guide) take(file string, changes ...string) string {
	g.tb.Helper()
	text, ok := g.files[file]
	if !ok {
		g.tb.Fatalf("%s has no file %s", g.name, file)
	}
	delete(g.files, file)
	for i := 0; i+1 < len(changes); i += 2 {
		if !strings.Contains(text, changes[i]) {
			g.tb.Fatalf("%s: there is no %s in %s", g.name, changes[i], file)
		}
		text = strings.ReplaceAll(text, changes[i], changes[i+1])
	}
	return text
}

var guidePlatform = regexp.MustCompile(`platform moodle \{[^}]*\}`)

// run starts Caddy with the guide's Caddyfile and the demo LMS, as the README
// says. Whoever asks for errors gets them from Caddy's own log.
func (g *guide) run(changes ...string) {
	g.tb.Helper()
	site := g.take("/etc/caddy/Caddyfile", changes...)
	if n := len(guidePlatform.FindAllString(site, -1)); n != 1 {
		g.tb.Fatalf("%s: %d platforms in the Caddyfile", g.name, n)
	}
	site = guidePlatform.ReplaceAllString(site, "import demo")
	demo := openGuide(g.tb, "README.md").take("demo.caddyfile",
		"http://127.0.0.1:8080", g.origin, "127.0.0.1:8080", "127.0.0.1:$PORT", "lms.localhost:8080", "lms.localhost:$PORT",
		"auto_https off", "auto_https off\n\tadmin localhost:$ADMIN")
	g.config = demo + g.here(site)
	g.start(g.config)
}

// here writes the site's address here in the place of that in the guide.
func (g *guide) here(text string) string {
	return strings.NewReplacer("https://tool.example.edu", g.origin, "tool.example.edu {", g.origin+" {").Replace(text)
}

// write stores a file of the guide below a folder of the test.
func (g *guide) writeTo(dir, file string, changes ...string) {
	g.tb.Helper()
	writeFile(g.tb, dir, filepath.Base(file), g.here(g.take(file, changes...)))
}

// enter opens the tool from a course of the LMS and returns the page at which
// the person lands.
func (g *guide) enter(b *browser, person, course string) *answer {
	b.tb.Helper()
	return g.launchFrom(b, person, "/initiate/"+course+"/tool.the-tool")
}

// is checks an answer's status, and that it says all of these.
func (a *answer) is(tb testing.TB, what string, status int, says ...string) {
	tb.Helper()
	if a.StatusCode != status {
		tb.Errorf("%s: %d %s", what, a.StatusCode, a.body)
	}
	for _, s := range says {
		if !strings.Contains(a.body, s) {
			tb.Errorf("%s: %q is not in %s", what, s, a.body)
		}
	}
}

// curls runs the guide's commands with curl, each of which says behind # with
// what its output begins.
func (g *guide) curls(options ...string) {
	g.tb.Helper()
	commands := guideCurl.FindAllStringSubmatch(g.text, -1)
	if len(commands) == 0 {
		g.tb.Errorf("%s has nothing to try", g.name)
	}
	dir := g.tb.TempDir()
	writeFile(g.tb, dir, ".curlrc", strings.Join(append(options, "noproxy = *"), "\n"))
	for _, m := range commands {
		cmd := exec.CommandContext(g.tb.Context(), "bash", "-c", g.here(m[1])) //nolint:gosec // our own page
		cmd.Env = append(os.Environ(), "CURL_HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), m[2]) {
			g.tb.Errorf("%s: %s: %v, %s, expected %s", g.name, m[1], err, out, m[2])
		}
	}
}

// program is a process that a test runs beside Caddy, until the test ends.
func program(tb testing.TB, network, address string, cmd *exec.Cmd) {
	tb.Helper()
	log := new(logBuffer)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		tb.Fatalf("%v: scripts/setup.sh installs it", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tb.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			tb.Errorf("%s did not stop within 10 s", cmd)
		}
		if tb.Failed() {
			tb.Logf("%s:\n%s", cmd, log)
		}
	})
	until(tb, fmt.Sprintf("%s to listen", cmd), func() bool {
		conn, err := net.DialTimeout(network, address, time.Second)
		if err == nil {
			_ = conn.Close()
			return true
		}
		select {
		case ended := <-done:
			done <- ended
			tb.Fatalf("%s ended: %v\n%s", cmd, ended, log)
		default:
		}
		return false
	})
}

func TestGuideStatic(t *testing.T) {
	g := openGuide(t, "static.md")
	dir := t.TempDir()
	g.writeTo(dir, "/srv/site/index.html")
	g.writeTo(dir, "/srv/site/quiz.html")
	for _, name := range []string{"ch1.html", "ch2.html", "finished.html", "style.css", "solutions/quiz.html"} {
		writeFile(t, dir, name, "plain")
	}
	g.run("/srv/site", dir)
	g.curls()

	page := func(path string) string { return g.origin + path }
	maeve, robin, ada := newBrowser(t), newBrowser(t), newBrowser(t)
	g.enter(maeve, "u-2001", "c-31").is(t, "a learner", 200, "Welcome, Maeve O&#39;Hara.")
	if res := maeve.get(page("/")); strings.Contains(res.body, "/lti/grades") {
		t.Errorf("a learner sees the teacher's link: %s", res.body)
	}
	maeve.get(page("/ch1.html")).is(t, "a chapter", 200, "plain")
	g.arrives(t, "a visit", "The tool", "u-2001", 50)
	maeve.get(page("/ch2.html"))
	g.arrives(t, "both visits", "The tool", "u-2001", 100)
	maeve.get(page("/members.csv")).is(t, "a learner's roster", 403)

	g.enter(robin, "u-2003", "c-31")
	robin.get(page("/finished.html"))
	g.arrives(t, "the last page", "The tool", "u-2003", 100)

	g.enter(ada, "u-1001", "c-31").is(t, "a teacher", 200, `<a href="/lti/grades">`)
	ada.get(page("/members.csv")).is(t, "the roster", 200, "u-2001")
	ada.get(page("/solutions/quiz.html")).is(t, "what nobody may see", 404)
	// She is instructor and administrator.
	g.enter(newBrowser(t), "u-1002", "c-31").is(t, "another teacher", 200, `<a href="/lti/grades">`)

	// The quiz, in a browser, in the frame of the LMS.
	ctx := newChrome(t)
	inner := g.openInFrame(ctx, "Zoë", "/")
	run(inner, t,
		chromedp.Click(`//a[text()="Quiz"]`),
		chromedp.Click(`//button[text()="Two"]`),
		chromedp.WaitVisible(`//p[@id="result"][text()="It is in the gradebook."]`),
	)
	g.arrives(t, "the quiz", "The tool", "u-2002", 100)
}

// openInFrame clicks to the tool as a person of the LMS, and returns the frame.
func (g *guide) openInFrame(ctx context.Context, person, path string) context.Context {
	g.tb.Helper()
	be(ctx, g.tb, g.lms("/"), person)
	run(ctx, g.tb,
		chromedp.Click(firstCourse),
		chromedp.Click(`//a[text()="The tool"]`),
		chromedp.WaitVisible(chromedp.CSS(`iframe.tool`)),
	)
	return frame(ctx, g.tb, g.origin+path)
}

// handsIn hands in, as a person and as another site's page, and sees the score
// arrive.
func (g *guide) handsIn(path string) {
	g.tb.Helper()
	g.enter(newBrowser(g.tb), "u-2001", "c-31").is(g.tb, "a name with an apostrophe", 200, "Hello, Maeve O&#")
	learner := newBrowser(g.tb)
	g.enter(learner, "u-2002", "c-31").is(g.tb, "a learner", 200, "Hello, Zoë Łukasiewicz-山田.", "Hand in</button>")
	for _, origin := range []string{"", "null", "https://evil.example"} {
		learner.post(g.origin+path, "", "Origin", origin).is(g.tb, "a form of "+origin, 403, "This form is not ours")
	}
	learner.post(g.origin+path, "", "Origin", g.origin).is(g.tb, "handed in", 200, "The score is delivered")
	g.arrives(g.tb, "the score", "The tool", "u-2002", 80)
	g.fault(g.tb, "scores", "503")
	learner.post(g.origin+path, "", "Origin", g.origin).is(g.tb, "the LMS is down", 200, "The score is queued")
	g.fault(g.tb, "scores", "off")

	teacher := newBrowser(g.tb)
	res := g.enter(teacher, "u-1001", "c-31")
	res.is(g.tb, "a teacher", 200, "Hello, Ada Moreau.", "<li>Maeve O&#", "<li>Zoë Łukasiewicz-山田")
	if strings.Contains(res.body, "<li>Ada") || strings.Contains(res.body, "Hand in") {
		g.tb.Errorf("a teacher sees %s", res.body)
	}
	if err := g.reload(strings.Replace(g.config, "\tapi\n", "\tapi {\n\t\t\tfrom 10.9.9.9\n\t\t}\n", 1)); err != nil {
		g.tb.Fatal(err)
	}
	learner.post(g.origin+path, "", "Origin", g.origin).is(g.tb, "the API refuses", 200, "The score is this address may not call the API")
	if err := g.reload(g.config); err != nil {
		g.tb.Fatal(err)
	}
}

func TestGuidePHP(t *testing.T) {
	g := openGuide(t, "php.md")
	dir := t.TempDir()
	g.writeTo(dir, "/srv/app/index.php")
	g.writeTo(dir, "/srv/app/lti.php")
	writeFile(t, dir, "config/db.ini", "secret")
	fpm := t.TempDir()
	writeFile(t, fpm, "php-fpm.conf", strings.NewReplacer("$DIR", fpm, "$AS", asUser()).Replace(
		"[global]\nerror_log = $DIR/php-fpm.log\n[app]\n$AS\nlisten = $DIR/php.sock\npm = static\npm.max_children = 4\n"+
			"php_admin_value[error_log] = $DIR/php.log\nphp_admin_flag[log_errors] = on\n"))
	g.run("/srv/app", dir, "/run/php/php-fpm.sock", startPHP(t, fpm))
	g.curls()
	g.handsIn("/")

	b := newBrowser(t)
	g.enter(b, "u-2001", "c-31").is(t, "what PHP is told", 200, "You are u-2001@demo, maeve.ohara@university.example")
	b.get(g.origin+"/index.php", "Remote-User", "u-1001@demo", "Remote_User", "u-1001@demo", "Remote-Groups", "Instructor").
		is(t, "somebody forging", 200, "You are u-2001@demo", "Hand in")
	b.get(g.origin+"/config/db.ini").is(t, "what is not for browsers", 404)
	if log, _ := os.ReadFile(filepath.Join(fpm, "php.log")); len(log) > 0 {
		t.Errorf("PHP complains: %s", log)
	}
}

func TestGuideAnyLanguage(t *testing.T) {
	for file, interpreter := range map[string]string{"/srv/app/app.py": "python3", "/srv/app/app.mjs": "node"} {
		t.Run(interpreter, func(t *testing.T) {
			g := openGuide(t, "any-language.md")
			dir, port := t.TempDir(), fmt.Sprint(freePort(t))
			for _, other := range []string{"/srv/app/app.py", "/srv/app/app.mjs"} {
				g.writeTo(dir, other, "9000", port)
			}
			program(t, "tcp", "127.0.0.1:"+port, exec.Command(interpreter, filepath.Join(dir, filepath.Base(file)))) //nolint:gosec // our own page
			g.run("9000", port)
			g.curls()
			g.handsIn("/done")

			teacher := newBrowser(t)
			res := g.launchFrom(teacher, "u-1001", "/deeplink/start/c-31/tool")
			form := sentJWT.FindStringSubmatch(res.body)
			if form == nil {
				t.Fatalf("nothing for the LMS in %s", res.body)
			}
			teacher.post(html.UnescapeString(form[1]), url.Values{"JWT": {form[2]}}.Encode())
			teacher.get(g.lms("/course/c-31")).is(t, "the course", 200, "Quiz 7")
		})
	}
}

// nginx is Debian's, before the Caddy of the guide.
type nginxGuide struct {
	*guide
	app  *app
	port int    // of nginx, which is 443 in the guide
	dir  string // of nginx
}

// errors is what nginx logs.
func (g *nginxGuide) errors() string {
	log, err := os.ReadFile(filepath.Join(g.dir, "error.log"))
	if err != nil {
		g.tb.Error(err)
	}
	return string(log)
}

// startNginx runs the guide with one of its two ways for nginx, and what the
// Caddyfile is to have besides.
func startNginx(tb testing.TB, way, options string) *nginxGuide {
	tb.Helper()
	g := &nginxGuide{openGuide(tb, "nginx.md"), newApp(tb), freePort(tb), tb.TempDir()}
	g.origin = "https://tool.example.edu"
	backend := g.app.Listener.Addr().String()
	g.run("8081", "$PORT", "127.0.0.1:9000", backend, "forward_auth 127.0.0.1", "forward_auth 127.0.0.1\n"+options)

	dir := g.dir
	signed := httptest.NewTLSServer(nil)
	defer signed.Close()
	cert := signed.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		tb.Fatal(err)
	}
	writeFile(tb, dir, "tool.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})))
	writeFile(tb, dir, "tool.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	ways := map[string]string{}
	for _, name := range []string{"tool", "tool-auth"} {
		changes := []string{
			"listen 443", fmt.Sprintf("listen 127.0.0.1:%d", g.port), "127.0.0.1:8081", fmt.Sprintf("127.0.0.1:%d", g.caddy.port),
			"/etc/ssl/certs", dir, "/etc/ssl/private", dir,
		}
		if name == "tool-auth" {
			changes = append(changes, "127.0.0.1:9000", backend)
		}
		ways[name] = g.take("/etc/nginx/sites-available/"+name, changes...)
	}
	writeFile(tb, dir, "site", ways[way])
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	writeFile(tb, dir, "nginx.conf", strings.NewReplacer("$DIR", dir, "$USER", user).Replace(`include /etc/nginx/modules-enabled/*.conf;
$USER
daemon off;
pid $DIR/pid;
error_log $DIR/error.log;
events {}
http {
	access_log off;
	client_body_temp_path $DIR/body;
	proxy_temp_path $DIR/proxy;
	fastcgi_temp_path $DIR/fastcgi;
	uwsgi_temp_path $DIR/uwsgi;
	scgi_temp_path $DIR/scgi;
	include $DIR/site;
}
`))
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("nginx:\n%s", g.errors())
		}
	})
	program(tb, "tcp", fmt.Sprintf("127.0.0.1:%d", g.port), exec.Command("/usr/sbin/nginx", "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "error.log"))) //nolint:gosec // Debian's own binary
	return g
}

// browser finds nginx at the address that the guide gives the site.
func (g *nginxGuide) browser() *browser {
	b := newBrowser(g.tb)
	transport := b.client.Transport.(*http.Transport)
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // on loopback, with a key of the test's own
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == "tool.example.edu:443" {
			addr = fmt.Sprintf("tool.example.edu:%d", g.port)
		}
		return dial(ctx, network, addr)
	}
	return b
}

func TestGuideNginx(t *testing.T) {
	t.Run("through Caddy", func(t *testing.T) { testGuideNginx(t, "tool", 1<<20) })
	t.Run("auth_request", func(t *testing.T) { testGuideNginx(t, "tool-auth", 6) })
	t.Run("much to say, and a role that is not allowed", func(t *testing.T) {
		// As long as headers get.
		var options string
		for i := range 12 {
			options += fmt.Sprintf("header X-More-%d %s\n", i, strings.Repeat("x", 1000))
		}
		g := startNginx(t, "tool-auth", options)
		b := g.browser()
		g.enter(b, "u-2001", "c-31").app(t)
		if err := g.reload(strings.Replace(g.config, options, "allow role instructor\n", 1)); err != nil {
			t.Fatal(err)
		}
		isPage(t, "a learner where only teachers are allowed", b.get(g.origin+"/x"), http.StatusForbidden, true)
		// What "When it fails" says.
		if err := g.reload(strings.Replace(g.config, "forward_auth 127.0.0.1\n", "forward_auth 10.9.9.9\n", 1)); err != nil {
			t.Fatal(err)
		}
		if res := b.get(g.origin + "/x"); res.StatusCode != http.StatusInternalServerError || !strings.Contains(g.errors(), "auth request unexpected status: 404") {
			t.Errorf("nginx may not ask: %d, and it logs %s", res.StatusCode, g.errors())
		}
	})
}

func testGuideNginx(t *testing.T, way string, most int) {
	t.Helper()
	g := startNginx(t, way, "")
	g.curls("insecure", fmt.Sprintf("connect-to = tool.example.edu:443:127.0.0.1:%d", g.port))
	b := g.browser()
	at := func(path string) string { return g.origin + path }
	isPage(t, "nobody", b.get(at("/x")), http.StatusUnauthorized, true)
	isPage(t, "nobody's script", b.get(at("/x"), "Sec-Fetch-Mode", "cors"), http.StatusUnauthorized, false)
	other := b.request(http.MethodGet, at("/x"), nil)
	other.Host = "other.example"
	isPage(t, "under another name", b.do(other), http.StatusUnauthorized, true)
	if n := g.app.requests.Load(); n > 0 {
		t.Fatalf("%d requests reached the app before anybody was there", n)
	}

	first := g.enter(b, "u-2001", "c-31").app(t)
	got := identity(first.Header)
	for name, want := range map[string]string{
		"Remote-User": "u-2001@demo", "Remote-Groups": "Learner", "Remote-Name": "Maeve O'Hara", "Remote-Email": "maeve.ohara@university.example", "X-Lti-Context-Id": "c-31",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, expected %q", name, got[name], want)
		}
	}
	if len(got) > most || got["X-Lti-Resource-Link-Id"] == "" || first.Host != "tool.example.edu" {
		t.Errorf("the app got %v, Host %s", got, first.Host)
	}

	// What a client makes up, one by one and all at once.
	forge := b.request(http.MethodGet, at("/x?y"), nil)
	for _, name := range forgeries {
		if !strings.Contains(strings.ToLower(name), "course") { // that one is not in the guide
			forge.Header[name] = []string{"eve", "eve"}
			one := b.request(http.MethodGet, at("/x?y"), nil)
			one.Header[name] = []string{"eve"}
			sameMap(t, name, identity(b.do(one).app(t).Header), got)
		}
	}
	sameMap(t, "forged", identity(b.do(forge).app(t).Header), got)

	// Requests, cookies and redirects are the app's own.
	b.setCookie("tool.example.edu", "app", "1")
	b.setCookie("tool.example.edu", "lang", "de")
	sent := b.post(at("/save?x=%2F"), "body").app(t)
	if sent.URI != "/save?x=%2F" || sent.Body != "body" || sent.Method != http.MethodPost {
		t.Errorf("the app got %+v", sent)
	}
	cookies := strings.Split(strings.TrimSuffix(sent.Header.Get("Cookie"), ";"), "; ") // where one of the gate's was the last
	slices.Sort(cookies)
	if !slices.Equal(cookies, []string{"app=1", "lang=de"}) {
		t.Errorf("the app got the cookies %q", cookies)
	}
	if way == "tool-auth" {
		g.keepsCookies(b)
	}
	res := b.get(at("/x?status=302&set=Location:http://" + g.app.Listener.Addr().String() + "/y&set=X-Frame-Options:DENY&set=Set-Cookie:" + url.QueryEscape("s=1; Path=/app; SameSite=Lax")))
	// Where it does not listen at 443, nginx names its port.
	if got := strings.Replace(res.Header.Get("Location"), fmt.Sprintf(":%d", g.port), "", 1); got != at("/y") {
		t.Errorf("the app's redirect leads to %s", got)
	}
	cookie := res.Cookies()
	if len(cookie) != 1 || cookie[0].Value != "1" || cookie[0].Path != "/app" || !cookie[0].Secure || cookie[0].SameSite != http.SameSiteNoneMode || !cookie[0].Partitioned {
		t.Errorf("the app's cookie is %v", res.Header["Set-Cookie"])
	}
	if policy := res.Header.Get("Content-Security-Policy"); res.Header.Get("X-Frame-Options") != "" || !strings.HasPrefix(policy, "frame-ancestors 'self' ") {
		t.Errorf("who may frame it: %v", res.Header)
	}
	if res.Header.Get("Cache-Control") != "private" {
		t.Errorf("Cache-Control is %q", res.Header["Cache-Control"])
	}

	// The gate's own addresses.
	if way == "tool-auth" {
		for _, path := range []string{"/lti/auth", "/lti%2Fauth", "//lti/auth", "/x/../lti/auth"} {
			if res := b.get(at(path)); res.StatusCode != http.StatusNotFound || len(identity(res.Header)) > 0 {
				t.Errorf("%s: %d %v", path, res.StatusCode, res.Header)
			}
		}
	}
	// Two courses in two tabs.
	g.enter(b, "u-2001", "c-32")
	if got := b.get(at("/x")).app(t).Header.Get("X-LTI-Context-Id"); got != "c-32" {
		t.Errorf("the newest launch is of the course %s", got)
	}
	isPage(t, "no launch's name", b.get(at("/x?lti_launch_id=none")), http.StatusUnauthorized, true)

	session := b.cookie("tool.example.edu", sessionCookie)
	b.post(at("/lti/logout"), "", "Sec-Fetch-Site", "same-origin")
	isPage(t, "after the logout", b.get(at("/x")), http.StatusUnauthorized, true)
	b.setCookie("tool.example.edu", sessionCookie, session)
	isPage(t, "with the session of before", b.get(at("/x")), http.StatusUnauthorized, true)
}

// keepsCookies sends the session ($) among other cookies, in orders in which
// browsers have them: those of the app get to it, the gate's do not.
func (g *nginxGuide) keepsCookies(b *browser) {
	g.tb.Helper()
	pairs := func(header string) (all []string) {
		for pair := range strings.SplitSeq(header, ";") {
			if pair = strings.TrimSpace(pair); pair != "" {
				all = append(all, pair)
			}
		}
		return all
	}
	session := sessionCookie + "=" + b.cookie("tool.example.edu", sessionCookie)
	for _, header := range []string{
		"$", "$; a=1", "a=1; $", "$;a=1", "$; __Host-lti-s-x=1; a=1; __Host-lti-s-y=2",
		"__Host-lti-s-x=1; a=1; $; b=2; __Host-lti-s-y=2; c=3", `a=__Host-lti; $; ab="x; y=z"`,
	} {
		sent := strings.Replace(header, "$", session, 1)
		bare := g.browser() // no cookies of its own
		bare.forgetful = true
		got := pairs(bare.get(g.origin+"/x", "Cookie", sent).app(g.tb).Header.Get("Cookie"))
		want := slices.DeleteFunc(pairs(sent), func(pair string) bool { return strings.HasPrefix(pair, sessionCookie) })
		if !slices.Equal(got, want) {
			g.tb.Errorf("of the cookies %s the app got %q", header, got)
		}
	}
}
