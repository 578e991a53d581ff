package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// What needs a session: the path as the client sent it, decoded once,
// case-sensitively; whatever could be read in two ways always does.
func TestProtectedPaths(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	sites := map[string]string{
		"all":     "",
		"public":  "\t\tpublic /assets/* /about *.css\n\t\tpublic \"/with space\" /schön/*",
		"protect": "\t\tprotect /app/* /only *.php",
		"both":    "\t\tpublic /x/* /y /z\n\t\tprotect /x/private/* /z",
		"pass":    "\t\tunauthenticated pass\n\t\tpublic /about",
	}
	var blocks string
	for name, options := range sites {
		blocks += ltiSite(name+".localhost", p, options, a.proxy())
	}
	tool := startSites(t, p, "", blocks)
	b := newBrowser(t)
	for name := range sites {
		tool.at(name+".localhost", "/lti").mustLaunch(b, nil)
	}
	open := map[string][]string{
		"public": {
			"/about", "/about?x=1", "/about?x=/../../secret", "/about?a;b=%2f", "/%61bout", "/%61%62%6F%75%74", "/abou%74",
			"/assets/", "/assets/x", "/assets/x/y.js", "/%61ssets/x", "/assets/%78", "/assets/%20", "/assets/x?/../y",
			"/assets/...", "/assets/.hidden", "/assets/..x", "/assets/x..", "/assets/x.", "/assets/~x", "/assets/a=b,c@d:e",
			"/assets/%252e%252e/secret", "/assets/%252f", "/assets/%2525", "/assets/x;v=1", "/assets/x;v=1.css", "/assets/caf%C3%A9",
			"/style.css", "/deep/er/style.css", "/.css", "/style%2ecss", "/style%2Ecss", "/style.css?v=2", "/style.%63ss", "/a;b/style.css", "/a;/.css",
			"/with%20space", "/sch%C3%B6n/x", "/sch%c3%b6n/",
			"http://public.localhost:$PORT/about", "http://PUBLIC.localhost:$PORT/assets/x?y",
		},
		"protect": {
			"/", "/apple", "/App/x", "/APP", "/appx/", "/x/app/y", "/app.html", "/only2", "/Only", "/x.php5", "/x.PHP", "/xphp", "/free?x=/app/",
			"/app%20/x", "/%41pp/x",
		},
		"both": {"/x/a", "/x/", "/x/privateer", "/y", "/other", "/x/Private/a", "/zz"},
		"pass": {"/", "/secret", "/about", "/a//b", "/a/../b", "/a%2fb", "/a%5cb", "/a\\b", "/..;/x"},
	}
	shut := map[string][]string{
		"all": {"/", "/x", "/favicon.ico", "/robots.txt", "/.well-known/x", "/index.html", "/ltix", "/LTI/login", "/?x", "/*"},
		"public": {
			"/", "/about/", "/aboutx", "/abou", "/About", "/ABOUT", "/%41bout", "/about%20", "/about%3Fx", "/about%23", "/about;x", "/about;", "/about%3b",
			"//about", "/./about", "/x/../about", "/%2e/about", "/%2E%2E/about", "/about/.", "/about/..", "/about/../about", "/about//", "/about%2f",
			"/about%5c", "/about\\", "/\\about", "/about%00", "/%00about", "/..;/about", "/x/..;a=b/about",
			"/assets", "/asset", "/Assets/x", "/%41ssets/x", "/assetsx", "/assets;x/y", "/x/assets/y",
			"/assets//", "/assets//x", "/assets/.", "/assets/..", "/assets/./x", "/assets/../secret", "/assets/x/../y", "/assets/x/../../secret",
			"/assets/%2e", "/assets/%2e%2e", "/assets/%2e%2e/secret", "/assets/.%2e/secret", "/assets/%2E./secret", "/assets/%2e%2e%2fsecret",
			"/assets/..%2fsecret", "/assets/..%2Fsecret", "/assets%2fx", "/assets/x%2f..%2f..%2fsecret", "/assets/%5c..%5csecret",
			"/assets/..\\secret", "/assets\\..\\secret", "/assets/..%5csecret", "/assets/..%5Csecret", "/assets/x\\y", "/assets/x%00", "/assets/%00.css",
			"/assets/..;/secret", "/assets/..;x=y/secret", "/assets/.;/x", "/assets/%2e%2e;/secret", "/assets/..%3b/secret", "/assets/x/..;/..;/secret",
			"/style.CSS", "/style.css/", "/style.css/x", "/style.css.", "/style.css%20", "/style.css%00", "/style%00.css", "/style.css;x", "/stylecss",
			"/secret;.css", "/secret;x.css", "/secret;x=y.css", "/secret%3B.css", "/secret/;.css", "/x/../style.css", "//style.css", "/x%2fstyle.css",
			"/sch%F6n/x", "/Sch%C3%B6n/x", "/with+space",
			"http://public.localhost:$PORT", "http://public.localhost:$PORT/", "http://public.localhost:$PORT/secret", "http://public.localhost:$PORT//about",
			"http://public.localhost:$PORT/assets/../about", "http://public.localhost:$PORT/assets%2f", "http://public.localhost:$PORT?/about",
		},
		"protect": {
			"/app", "/app/", "/app/x", "/app?x", "/app/x?y", "/%61pp/x", "/a%70%70", "/app;v=1", "/app;v=1/x", "/app;/x", "/app/;x", "/;/app/x", "/x;/..;/app/",
			"/only", "/onl%79", "/only?x", "/only;x", "/only%3Bx", "/x.php", "/deep/x.php", "/x.php?y", "/x.ph%70", "/x.php;y", "/x%2ephp", "/.php",
			// These could mean anything.
			"//", "//x", "/./x", "/../x", "/x/..", "/x//y", "/x\\y", "/x%5cy", "/x%2fy", "/x%2Fy", "/x%00", "/%2e%2e/x", "/..;/x", "/free/..;/app/x",
			"http://protect.localhost:$PORT/app/x", "http://protect.localhost:$PORT",
		},
		"both": {"/x/private/", "/x/private/a", "/x/private", "/z", "/x/%70rivate/a", "/x/a/../b", "/x;y/private/a", "//x/a"},
	}
	check := func(name, target string, open bool) {
		t.Helper()
		site := tool.at(name+".localhost", "/lti")
		target = tool.expand(target)
		res := site.rawGet(t, target, "Accept: */*")
		if open {
			if !res.reached() || res.StatusCode != http.StatusOK {
				t.Errorf("%s, no session: %s did not reach the app: %d", name, target, res.StatusCode)
			} else if ids := identity(res.app(t).Header); len(ids) > 0 {
				t.Errorf("%s, no session: %s reached the app with %v", name, target, ids)
			}
		} else if res.reached() || res.StatusCode != http.StatusUnauthorized || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s, no session: %s was answered %d (%s), reached the app: %t", name, target, res.StatusCode, res.Header.Get("Content-Type"), res.reached())
		}
		res = site.rawGet(t, target, site.sessionLine(t, b))
		if !res.reached() {
			t.Errorf("%s, with a session: %s did not reach the app: %d", name, target, res.StatusCode)
			return
		}
		if got := res.app(t).Header.Get("Remote-User"); got != "user-1@lms" {
			t.Errorf("%s, with a session: %s reached the app for %q", name, target, got)
		}
		if private := res.Header.Get("Cache-Control") == "private"; private == (open && name != "pass" || target == "/about") {
			t.Errorf("%s, with a session: %s: private: %t", name, target, private)
		}
	}
	for name, targets := range open {
		for _, target := range targets {
			check(name, target, true)
		}
	}
	for name, targets := range shut {
		for _, target := range targets {
			check(name, target, false)
		}
	}
}

// What is no path at all does not get past the gate either.
func TestOddRequestLines(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	tool := startSites(t, p, "", ltiSite("tool.localhost", p, "\t\tpublic /*", a.proxy())+
		ltiSite("gated.localhost", p, "", a.proxy()))
	for _, host := range []string{"tool.localhost", "gated.localhost"} {
		site := tool.at(host, "/lti")
		b := newBrowser(t)
		site.mustLaunch(b, nil)
		for _, line := range []struct{ method, target string }{
			{"OPTIONS", "*"},
			{"GET", "*"},
			{"CONNECT", fmt.Sprintf("%s:%d", host, tool.port)},
			{"GET", "x"},
			{"GET", "\\x"},
			{"GET", "http:/a//b"},
			{"GET", "/%zz"},
			{"GET", fmt.Sprintf("http://%s:%d\\x", host, tool.port)},
			{"GET", fmt.Sprintf("http://user@%s:%d/../x", host, tool.port)},
			{"TRACE", "/a//b"},
			{strings.Repeat("X", 40), "/a/../b"},
		} {
			before := a.requests.Load()
			res := site.raw(t, site.head(line.method, line.target)+"\n")
			if a.requests.Load() != before {
				t.Errorf("%s: %s %s reached the app: %d", host, line.method, line.target, res.StatusCode)
			}
			if res.StatusCode < 300 && line.method != "OPTIONS" && !res.reached() {
				t.Errorf("%s: %s %s: %d", host, line.method, line.target, res.StatusCode)
			}
		}
		// The host of an absolute-form target counts, not the header.
		res := site.rawGet(t, "http://other.localhost/secret", site.sessionLine(t, b))
		if res.reached() {
			t.Errorf("%s: a target of another host reached the app", host)
		}
	}
	// Every method needs a session.
	site := tool.at("gated.localhost", "/lti")
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "CONNECT"} {
		res := site.raw(t, site.head(method, "/x", "Content-Length: 0")+"\n")
		if res.reached() || res.StatusCode < 400 || (res.StatusCode != http.StatusUnauthorized && method != "CONNECT") {
			t.Errorf("%s without a session: %d", method, res.StatusCode)
		}
	}
}

// problem is a problem document (RFC 9457).
type problem struct {
	Type, Title, Code, Reference string
	Status                       int
}

// isPage checks that an answer is a page of ours for a person, or if not, a
// problem document.
func isPage(tb testing.TB, what string, res *answer, status int, page bool) {
	tb.Helper()
	if res.StatusCode != status || res.reached() {
		tb.Errorf("%s: %d, expected %d", what, res.StatusCode, status)
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"} {
		if got := res.Header.Values(name); !slices.Equal(got, []string{want}) {
			tb.Errorf("%s: %s is %q, expected %q", what, name, got, want)
		}
	}
	if page {
		if got := res.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
			tb.Errorf("%s: expected a page, got %q", what, got)
		}
		if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
			tb.Errorf("%s: Content-Security-Policy is %q", what, csp)
		}
		if res.Request == nil || res.Request.Method != http.MethodHead {
			if !strings.Contains(res.body, "<h1") || !strings.Contains(res.body, "</html>") {
				tb.Errorf("%s: the page is %q", what, res.body)
			}
		}
		return
	}
	if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
		tb.Errorf("%s: expected a problem document, got %q", what, got)
	}
	if res.Request != nil && res.Request.Method == http.MethodHead {
		return
	}
	var doc problem
	if err := json.Unmarshal([]byte(res.body), &doc); err != nil {
		tb.Errorf("%s: %v: %q", what, err, res.body)
	}
	if doc.Status != status || doc.Title == "" || doc.Type == "" || doc.Code == "" {
		tb.Errorf("%s: the document is %s", what, res.body)
	}
}

// A navigation gets a page, anything else a problem document.
func TestPageOrProblem(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	site := func(options string) string { return global(ltiGlobal) + toolSite(p, options, a.proxy()) }
	tool := &tool{caddy: startCaddy(t, site("")), host: "tool.localhost", base: "/lti", platform: p}
	in := newBrowser(t)
	tool.mustLaunch(in, nil)
	if res := in.get(tool.url("/x")); !res.reached() {
		t.Fatalf("with a session: %d", res.StatusCode)
	}
	// From now on learners are not allowed.
	if err := tool.reload(site("\t\tallow role instructor")); err != nil {
		t.Fatal(err)
	}
	out := newBrowser(t)
	const html = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for _, c := range []struct {
		method, mode, accept string
		page                 bool
	}{
		{"GET", "navigate", html, true},
		{"GET", "navigate", "*/*", true},
		{"GET", "navigate", "", true},
		{"POST", "navigate", html, true},
		{"HEAD", "navigate", html, true},
		{"GET", "cors", html, false},
		{"GET", "no-cors", html, false},
		{"GET", "same-origin", html, false},
		{"GET", "websocket", html, false},
		{"GET", "cors", "application/json", false},
		{"POST", "cors", html, false},
		{"GET", "", html, true},
		{"GET", "", "text/html", true},
		{"GET", "", "application/json, text/html;q=0.1", true},
		{"HEAD", "", html, true},
		{"GET", "", "*/*", false},
		{"GET", "", "", false},
		{"GET", "", "application/json", false},
		{"GET", "", "image/avif,image/webp,*/*;q=0.8", false},
		{"GET", "", "text/event-stream", false},
		{"POST", "", html, false},
		{"PUT", "", html, false},
		{"DELETE", "", html, false},
		{"OPTIONS", "", html, false},
	} {
		request := func(b *browser, path string) *answer {
			req := b.request(c.method, tool.url(path), nil)
			req.Header.Del("Accept")
			for name, value := range map[string]string{"Sec-Fetch-Mode": c.mode, "Accept": c.accept} {
				if value != "" {
					req.Header.Set(name, value)
				}
			}
			return b.do(req)
		}
		what := fmt.Sprintf("%s mode=%q accept=%q", c.method, c.mode, c.accept)
		before := a.requests.Load()
		isPage(t, "no session, "+what, request(out, "/x"), http.StatusUnauthorized, c.page)
		isPage(t, "role refused, "+what, request(in, "/x"), http.StatusForbidden, c.page)
		if n := a.requests.Load() - before; n > 0 {
			t.Errorf("%s: %d requests reached the app", what, n)
		}
	}
	vary := strings.Join(out.get(tool.url("/x")).Header.Values("Vary"), ",")
	if !strings.Contains(vary, "Sec-Fetch-Mode") || !strings.Contains(vary, "Accept") {
		t.Errorf("Vary is %q", vary)
	}
	// Nothing of the request comes back.
	for _, header := range [][]string{nil, {"Accept", "*/*"}} {
		res := out.get(tool.url("/secret-<script>alert(1)</script>?q=needle"), header...)
		if strings.Contains(res.body, "needle") || strings.Contains(res.body, "secret-") || strings.Contains(res.body, "<script") {
			t.Errorf("the refusal repeats the request: %s", res.body)
		}
	}
}

func TestRoutesUnderBase(t *testing.T) {
	a := newApp(t)
	tool := startTool(t, "\t\tpublic /*", a.proxy())
	in, out := newBrowser(t), newBrowser(t)
	tool.mustLaunch(in, nil)
	for _, b := range []*browser{in, out} {
		for _, path := range []string{
			"/nope", "/login/", "/login/nobody", "/login/lms/x", "/launch/", "/launch/x", "/jwks", "/jwks.json/", "/auth", "/Login", "/index.html", "/api/v1/launch", "/config.json/x",
		} {
			isPage(t, path, b.get(tool.url("/lti"+path)), http.StatusNotFound, true)
			isPage(t, path, b.get(tool.url("/lti"+path), "Accept", "*/*"), http.StatusNotFound, false)
		}
		for _, c := range []struct{ path, allow string }{
			{"/login", "GET, POST"},
			{"/login/lms", "GET, POST"},
			{"/launch", "POST"},
			{"/logout", "POST"},
			{"/jwks.json", "GET, HEAD"},
			{"/", "GET, HEAD"},
			{"", "GET, HEAD"},
		} {
			allowed := strings.Split(c.allow, ", ")
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} {
				if slices.Contains(allowed, method) {
					continue
				}
				res := b.do(b.request(method, tool.url("/lti"+c.path), nil, "Sec-Fetch-Mode", "cors"))
				what := method + " " + c.path
				isPage(t, what, res, http.StatusMethodNotAllowed, false)
				if got := res.Header.Get("Allow"); got != c.allow {
					t.Errorf("%s: Allow is %q, expected %q", what, got, c.allow)
				}
			}
		}
		isPage(t, "GET /launch", b.get(tool.url("/lti/launch")), http.StatusMethodNotAllowed, true)
		if res := b.get(tool.url("/lti")); res.StatusCode != http.StatusFound || res.Header.Get("Location") != "/lti/" {
			t.Errorf("the base itself: %d, Location %q", res.StatusCode, res.Header.Get("Location"))
		}
		for _, path := range []string{"/", "/jwks.json"} {
			get, head := b.get(tool.url("/lti"+path)), b.do(b.request("HEAD", tool.url("/lti"+path), nil))
			if get.StatusCode != 200 || head.StatusCode != 200 || head.body != "" || get.Header.Get("Content-Type") != head.Header.Get("Content-Type") {
				t.Errorf("%s: GET %d, HEAD %d %q", path, get.StatusCode, head.StatusCode, head.body)
			}
		}
	}
	if n := a.requests.Load(); n > 0 {
		t.Errorf("%d requests reached the app", n)
	}
}

func TestLogout(t *testing.T) {
	a := newApp(t)
	tool := startTool(t, "", a.proxy())
	logout := tool.url("/lti/logout")
	// still reports whether an id of a session is good.
	still := func(cookie string) bool { return tool.rawGet(t, "/x", cookie).reached() }

	t.Run("only from this site's pages", func(t *testing.T) {
		b := newBrowser(t)
		tool.mustLaunch(b, nil)
		cookie := tool.sessionLine(t, b)
		isPage(t, "GET", b.get(logout), http.StatusMethodNotAllowed, true)
		for _, header := range [][]string{
			{"Origin", "https://evil.example"},
			{"Origin", "null"},
			{"Origin", "http://other.localhost"},
			{"Origin", "http://tool.localhost"}, // another port
			{"Origin", "https://" + tool.host},
			{"Origin", tool.url("") + ".evil.example"},
			{"Sec-Fetch-Site", "cross-site"},
			{"Sec-Fetch-Site", "same-site"},
			{"Sec-Fetch-Site", "none"},
			{"Sec-Fetch-Site", "cross-site", "Origin", tool.url("")},
			{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"},
		} {
			res := b.post(logout, "", header...)
			if res.StatusCode != http.StatusForbidden || len(res.Header.Values("Set-Cookie")) > 0 || !still(cookie) {
				t.Errorf("%q: %d, Set-Cookie %q, session there: %t", header, res.StatusCode, res.Header.Values("Set-Cookie"), still(cookie))
			}
		}
	})

	t.Run("works", func(t *testing.T) {
		for _, c := range []struct {
			header []string
			status int
		}{
			{[]string{"Origin", tool.url(""), "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate"}, 200},
			{[]string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"}, 204},
			{[]string{"Origin", tool.url("")}, 200},
			{[]string{"Accept", "*/*"}, 204}, // no browser
		} {
			b := newBrowser(t)
			tool.mustLaunch(b, nil)
			older := tool.sessionLine(t, b)
			tool.mustLaunch(b, nil) // the same person again: both ids are good
			cookie := tool.sessionLine(t, b)
			if older == cookie || !still(older) || !still(cookie) {
				t.Fatalf("%q: ids %t, %t", c.header, still(older), still(cookie))
			}
			bystander := newBrowser(t) // the same person in another browser
			tool.mustLaunch(bystander, nil)
			before := a.requests.Load()
			res := b.post(logout, "", c.header...)
			if res.StatusCode != c.status || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%q: %d, Cache-Control %q", c.header, res.StatusCode, res.Header.Get("Cache-Control"))
			}
			if a.requests.Load() != before {
				t.Errorf("%q: logout reached the app", c.header)
			}
			if b.cookie(tool.host, sessionCookie) != "" {
				t.Errorf("%q: the cookie is still there", c.header)
			}
			if still(cookie) || still(older) {
				t.Errorf("%q: ids are still good: this %t, older %t", c.header, still(cookie), still(older))
			}
			if !still(tool.sessionLine(t, bystander)) {
				t.Errorf("%q: the session of another browser has ended too", c.header)
			}
			tool.mustLaunch(b, nil)
			if !still(tool.sessionLine(t, b)) || still(cookie) {
				t.Errorf("%q: after the next launch: new id good: %t, old id good: %t", c.header, still(tool.sessionLine(t, b)), still(cookie))
			}
		}
	})

	t.Run("of nobody", func(t *testing.T) {
		b := newBrowser(t)
		if res := b.post(logout, "", "Sec-Fetch-Site", "same-origin"); res.StatusCode != http.StatusOK {
			t.Errorf("%d", res.StatusCode)
		}
	})
}
