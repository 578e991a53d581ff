package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// writeFile makes a file below a folder, with the folders that it needs.
func writeFile(tb testing.TB, dir, name, content string) {
	tb.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		tb.Fatal(err)
	}
}

// shows checks what a page answers.
func shows(tb testing.TB, what string, res *answer, status int, body string) {
	tb.Helper()
	if res.StatusCode != status || strings.TrimSpace(res.body) != body {
		tb.Errorf("%s: %d %q, expected %d %q", what, res.StatusCode, res.body, status, body)
	}
}

// launchAt is mustLaunch with a target of this path; it returns where the
// browser is sent.
func (t *tool) launchAt(b *browser, path string, diff map[string]any) string {
	b.tb.Helper()
	all := map[string]any{ltitest.Claim("target_link_uri"): t.url(path)}
	maps.Copy(all, diff)
	return t.mustLaunch(b, all).Header.Get("Location")
}

func TestStaticSite(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "index.html", "home")
	writeFile(t, dir, "ch1/index.html", "chapter 1")
	writeFile(t, dir, "ch1/notes é.txt", "notes")
	writeFile(t, dir, "assets/style.css", "css")
	writeFile(t, dir, "lti/secret.html", "hidden by the routes")
	tool := startTool(t, "\t\tpublic /assets/*", "root * "+dir+"\n\tfile_server")
	b := newBrowser(t)
	for _, path := range []string{"/", "/index.html", "/ch1/", "/ch1", "/missing", "/assets", "/assets/../index.html"} {
		isPage(t, path, b.get(tool.url(path)), http.StatusUnauthorized, true)
	}
	shows(t, "public", b.get(tool.url("/assets/style.css")), 200, "css")
	if res := b.get(tool.url("/assets/missing.css")); res.StatusCode != 404 || strings.Contains(res.body, "course") {
		t.Errorf("public, missing: %d %q", res.StatusCode, res.body)
	}
	if got := tool.launchAt(b, "/ch1/", nil); got != tool.url("/ch1/") {
		t.Errorf("landed at %s", got)
	}
	for path, body := range map[string]string{
		"/": "home", "/ch1/": "chapter 1", "/ch1/notes%20%C3%A9.txt": "notes", "/ch1/notes%20é.txt": "notes", "/assets/style.css": "css",
	} {
		shows(t, path, b.get(tool.url(path)), 200, body)
	}
	if res := b.get(tool.url("/ch1")); res.StatusCode != http.StatusPermanentRedirect || res.Header.Get("Location") != "/ch1/" {
		t.Errorf("/ch1: %d, Location %q", res.StatusCode, res.Header.Get("Location"))
	}
	if res := b.get(tool.url("/missing")); res.StatusCode != http.StatusNotFound {
		t.Errorf("/missing: %d", res.StatusCode)
	}
	isPage(t, "a file under the base", b.get(tool.url("/lti/secret.html")), http.StatusNotFound, true)
}

// A single-page app answers every path with its page; the routes of LTI stay.
func TestSinglePageApp(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "index.html", "the app")
	writeFile(t, dir, "app.js", "js")
	for name, behind := range map[string]string{
		"try_files": "root * " + dir + "\n\ttry_files {path} /index.html\n\tfile_server",
		"rewrite":   "root * " + dir + "\n\t@page not path *.js\n\trewrite @page /index.html\n\tfile_server",
		// A blanket redirect is behind the gate.
		"redir": "root * " + dir + "\n\tredir /old /course/1\n\t@far not path /course/* /app.js /quiz\n\tredir @far /course/1\n\ttry_files {path} /index.html\n\tfile_server",
	} {
		t.Run(name, func(t *testing.T) {
			tool := startTool(t, "\t\tpublic *.js", behind)
			b := newBrowser(t)
			isPage(t, "deep path", b.get(tool.url("/course/5/quiz")), http.StatusUnauthorized, true)
			shows(t, "asset", b.get(tool.url("/app.js")), 200, "js")
			if res := b.get(tool.url("/lti/jwks.json")); res.Header.Get("Content-Type") != "application/json" || !strings.Contains(res.body, `"keys"`) {
				t.Errorf("key set: %d %s", res.StatusCode, res.body)
			}
			isPage(t, "no such route", b.get(tool.url("/lti/course/1")), http.StatusNotFound, true)
			isPage(t, "launch", b.get(tool.url("/lti/launch")), http.StatusMethodNotAllowed, true)
			if got, want := tool.launchAt(b, "/course/5/quiz?step=2#top", nil), tool.url("/course/5/quiz?step=2#top"); got != want {
				t.Errorf("landed at %s, expected %s", got, want)
			}
			for _, path := range []string{"/course/5/quiz", "/course/5/quiz?step=2", "/course/"} {
				shows(t, path, b.get(tool.url(path)), 200, "the app")
			}
			if res := b.get(tool.url("/lti/")); !strings.Contains(res.body, tool.url("/lti/launch")) {
				t.Errorf("set-up page: %d %s", res.StatusCode, res.body)
			}
		})
	}
}

// What the platform says is text: it is neither evaluated nor a template.
func TestPlaceholders(t *testing.T) {
	p := ltitest.NewPlatform(t)
	dir := t.TempDir()
	writeFile(t, dir, "page.html", `{{placeholder "http.lti.user.name"}}|{{placeholder "http.lti.context.title" | html}}|{{placeholder "http.auth.user.id"}}|{{.Req.Header.Get "Remote-Name"}}`)
	all := []string{
		"http.auth.user.id", "http.auth.user.name", "http.auth.user.email", "http.lti.user.id", "http.lti.user.name", "http.lti.user.given_name",
		"http.lti.user.family_name", "http.lti.user.email", "http.lti.user.locale", "http.lti.roles", "http.lti.groups", "http.lti.platform", "http.lti.issuer",
		"http.lti.client_id", "http.lti.deployment_id", "http.lti.context.id", "http.lti.context.label", "http.lti.context.title", "http.lti.resource_link.id",
		"http.lti.resource_link.title", "http.lti.message_type", "http.lti.return_url", "http.lti.custom.chapter",
	}
	var line []string
	for _, name := range all {
		line = append(line, name+"={"+name+"}")
	}
	behind := "root * " + dir + "\n\theader Early [{http.lti.platform}]\n\theader >Late [{http.lti.platform}]\n\t" +
		"handle /page.html {\n\t\ttemplates\n\t\tfile_server\n\t}\n\thandle {\n\t\trespond \"" + strings.Join(line, "|") + "\"\n\t}"
	tool := startSites(t, p, "", ltiSite("tool.localhost", p, "\t\theaders full\n\t\tpublic /public", behind)+
		ltiSite("minimal.localhost", p, "\t\theaders minimal\n\t\tpublic /public", behind))
	values := func(res *answer) map[string]string {
		t.Helper()
		got := make(map[string]string)
		for part := range strings.SplitSeq(res.body, "|") {
			name, value, _ := strings.Cut(part, "=")
			got[name] = value
		}
		if len(got) != len(all) {
			t.Fatalf("%d %s", res.StatusCode, res.body)
		}
		return got
	}
	b := newBrowser(t)
	for _, host := range []string{"tool.localhost", "minimal.localhost"} {
		for name, value := range values(b.get(tool.at(host, "/lti").url("/public"))) {
			if value != "" {
				t.Errorf("%s: nobody is signed in and %s is %q", host, name, value)
			}
		}
	}
	diff := map[string]any{
		"name": "Zoë <b>{env.HOME}{{env \"HOME\"}}</b> 100%", "locale": "de",
		ltitest.Claim("context"):             map[string]any{"id": "c-1", "label": "{http.request.uri}", "title": "<script>"},
		ltitest.Claim("launch_presentation"): map[string]any{"return_url": "https://lms.example/back"},
		ltitest.Claim("custom"):              map[string]any{"chapter": "{http.auth.user.id}"},
	}
	want := map[string]string{
		"http.auth.user.id": "user-1@lms", "http.auth.user.name": diff["name"].(string), "http.auth.user.email": "ann@school.example",
		"http.lti.user.id": "user-1", "http.lti.user.name": diff["name"].(string), "http.lti.user.given_name": "Ann", "http.lti.user.family_name": "Example",
		"http.lti.user.email": "ann@school.example", "http.lti.user.locale": "de", "http.lti.roles": role("membership#Learner"), "http.lti.groups": "Learner",
		"http.lti.platform": "lms", "http.lti.issuer": p.Issuer, "http.lti.client_id": "client-1", "http.lti.deployment_id": "dep-1",
		"http.lti.context.id": "c-1", "http.lti.context.label": "{http.request.uri}", "http.lti.context.title": "<script>",
		"http.lti.resource_link.id": "link-1", "http.lti.resource_link.title": "Quiz 1", "http.lti.message_type": "LtiResourceLinkRequest",
		"http.lti.return_url": "https://lms.example/back", "http.lti.custom.chapter": "{http.auth.user.id}",
	}
	tool.mustLaunch(b, diff)
	for _, path := range []string{"/x", "/public"} {
		res := b.get(tool.url(path))
		sameMap(t, path, values(res), want)
		// At site level, header runs before lti; but when it is told to wait for
		// the answer.
		if early, late := res.Header.Get("Early"), res.Header.Get("Late"); strings.Contains(early, "lms") || late != "[lms]" {
			t.Errorf("%s: header has %q before, %q after", path, early, late)
		}
	}
	shows(t, "template", b.get(tool.url("/page.html")), 200,
		"Zoë <b>{env.HOME}{{env \"HOME\"}}</b> 100%|&lt;script&gt;|user-1@lms|Zo%C3%AB <b>{env.HOME}{{env \"HOME\"}}</b> 100%25")

	// What the header set leaves out is not there either.
	minimal := tool.at("minimal.localhost", "/lti")
	minimal.mustLaunch(b, diff)
	for name := range want {
		switch strings.TrimPrefix(name, "http.lti.") {
		case "http.auth.user.name", "http.auth.user.email", "user.name", "user.given_name", "user.family_name", "user.email", "user.locale",
			"context.label", "context.title", "resource_link.title", "return_url", "custom.chapter":
			want[name] = ""
		}
	}
	sameMap(t, "minimal", values(b.get(minimal.url("/x"))), want)
}

// cgi is what a FastCGI app is told.
type cgi struct {
	Env    map[string]string
	Header http.Header
	URI    string
}

// newFastCGI starts an app that speaks FastCGI and returns its address.
func newFastCGI(tb testing.TB) string {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ln.Close() })
	go func() {
		_ = fcgi.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(cgi{fcgi.ProcessEnv(r), r.Header, r.URL.RequestURI()})
		}))
	}()
	return ln.Addr().String()
}

// Legacy apps read REMOTE_USER, and HTTP_* variables, in which hyphen,
// underscore and dot look alike.
func TestFastCGI(t *testing.T) {
	p := ltitest.NewPlatform(t)
	addr, dir := newFastCGI(t), t.TempDir()
	writeFile(t, dir, "index.php", "<?php")
	writeFile(t, dir, "admin.php", "<?php")
	const options = "\t\tpublic /public /public.php /public/*\n\t\tanonymous allow"
	sites := map[string]string{
		"php.localhost":   "root * " + dir + "\n\tphp_fastcgi " + addr,
		"proxy.localhost": "root * " + dir + "\n\treverse_proxy " + addr + " {\n\t\ttransport fastcgi {\n\t\t\tsplit .php\n\t\t}\n\t}",
	}
	for _, aliases := range []string{"", expectedAliases} {
		var blocks string
		for host, behind := range sites {
			blocks += ltiSite(host, p, options, behind)
		}
		tool := startSites(t, p, aliases, blocks)
		for host := range sites {
			site := tool.at(host, "/lti")
			get := func(what, path string, lines ...string) cgi {
				t.Helper()
				res := site.rawGet(t, path, append(lines, "Own: kept")...)
				var got cgi
				if err := json.Unmarshal([]byte(res.body), &got); err != nil || got.Header.Get("Own") != "kept" {
					t.Fatalf("%s, %s: %d %s", host, what, res.StatusCode, res.body)
				}
				if s := fmt.Sprint(got); strings.Contains(s, "forged") {
					t.Errorf("%s, %s: the app got %s", host, what, s)
				}
				return got
			}
			var forged []string
			for _, name := range forgeries {
				if !strings.Contains(fold(name), "course") {
					forged = append(forged, name+": forged")
				}
			}
			forged = append(forged, "Remote_User: forged", "REMOTE.USER: forged", "Auth-Type: x")

			isPage(t, host, site.rawGet(t, "/index.php", "Accept: text/html"), http.StatusUnauthorized, true)
			for _, lines := range [][]string{nil, forged} {
				got := get("nobody", "/public", lines...)
				if got.Env["REMOTE_USER"] != "" || len(identity(got.Header)) > 0 {
					t.Errorf("%s, nobody: REMOTE_USER %q, headers %v", host, got.Env["REMOTE_USER"], identity(got.Header))
				}
			}
			b := newBrowser(t)
			site.mustLaunch(b, nil)
			for _, path := range []string{"/index.php", "/index.php/info?x=1", "/public"} {
				for _, lines := range [][]string{nil, forged} {
					got := get(path, path, append(slices.Clone(lines), site.sessionLine(t, b))...)
					if got.Env["REMOTE_USER"] != "user-1@lms" {
						t.Errorf("%s%s: REMOTE_USER is %q", host, path, got.Env["REMOTE_USER"])
					}
					sameMap(t, host+path, withoutLaunchID(t, host, identity(got.Header)), learner(p))
					if got.Header.Get("Cookie") != "" {
						t.Errorf("%s%s: HTTP_COOKIE is %q", host, path, got.Header.Get("Cookie"))
					}
				}
			}
			site.mustLaunch(b, map[string]any{"sub": ltitest.Absent})
			got := get("anonymous", "/index.php", append(slices.Clone(forged), site.sessionLine(t, b))...)
			if got.Env["REMOTE_USER"] != "" || got.Header.Get("Remote-User") != "" || got.Header.Get("X-Lti-Platform") != "lms" {
				t.Errorf("%s, anonymous: REMOTE_USER %q, headers %v", host, got.Env["REMOTE_USER"], identity(got.Header))
			}
		}
	}
}

// A root at site level is settled before anybody is known: it has to be an
// option of file_server, or stand in a route.
func TestRootsByCourse(t *testing.T) {
	p := ltitest.NewPlatform(t)
	dir := t.TempDir()
	for _, course := range []string{"bio", "art"} {
		writeFile(t, dir, course+"/page.html", "page of "+course)
	}
	writeFile(t, dir, "page.html", "page of nobody")
	root := dir + "/{http.lti.context.id}"
	behind := map[string]string{
		"option.localhost": ltiSite("option.localhost", p, "\t\tpublic /page.html", "file_server {\n\t\troot "+root+"\n\t}"),
		"route.localhost": fmt.Sprintf("http://route.localhost:$PORT {\n\troute {\n\t\tlti {\n\t\t%s\n\t\tpublic /page.html\n\t\t}\n\t\troot * %s\n\t\tfile_server\n\t}\n}\n",
			platformBlock(p), root),
		"site.localhost": ltiSite("site.localhost", p, "\t\tpublic /page.html", "root * "+root+"\n\tfile_server"),
	}
	var sites string
	for _, block := range behind {
		sites += block
	}
	tool := startSites(t, p, "", sites)
	for host := range behind {
		site := tool.at(host, "/lti")
		nobody := newBrowser(t)
		shows(t, host+", nobody", nobody.get(site.url("/page.html")), 200, "page of nobody")
		for _, course := range []string{"bio", "art"} {
			b := newBrowser(t)
			site.mustLaunch(b, map[string]any{ltitest.Claim("context"): map[string]any{"id": course}})
			want := "page of " + course
			if host == "site.localhost" {
				want = "page of nobody" // the placeholder was empty
			}
			shows(t, host+", "+course, b.get(site.url("/page.html")), 200, want)
			if res := b.get(site.url("/bio/page.html")); (res.StatusCode == http.StatusOK) != (host == "site.localhost") {
				t.Errorf("%s: the folder of another course: %d %s", host, res.StatusCode, res.body)
			}
		}
	}
}

// Several blocks on one host: none knows what another knows.
func TestSeveralBlocksOnOneHost(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	block := func(name, options string) string {
		return fmt.Sprintf("\thandle /%s/* {\n\t\tlti {\n\t\t%s\n\t\tbase /%s/lti\n%s\n\t\t}\n\t\trequest_header Who \"[{http.lti.user.id}][{http.auth.user.id}]\"\n\t\t%s\n\t}\n",
			name, platformBlock(p), name, options, a.proxy())
	}
	tool := startSites(t, p, "", "http://tool.localhost:$PORT {\n"+
		block("wiki", "\t\tunauthenticated pass\n\t\theader X-Wiki {http.lti.context.id}")+
		block("quiz", "\t\theader X-Quiz {http.lti.context.id}")+
		block("wiki/deep", "")+
		"\thandle {\n\t\trespond \"front [{http.lti.user.id}][{http.auth.user.id}]\"\n\t}\n}\n")
	wiki, quiz, deep := tool.at(tool.host, "/wiki/lti"), tool.at(tool.host, "/quiz/lti"), tool.at(tool.host, "/wiki/deep/lti")
	b := newBrowser(t)

	if got := wiki.mustLaunch(b, map[string]any{ltitest.Claim("target_link_uri"): tool.url("/wiki/lti/launch")}).Header.Get("Location"); got != tool.url("/wiki/") {
		t.Errorf("the wiki's home is %s", got)
	}
	wikiID := wiki.sessionLine(t, b)
	if len(b.jar[tool.host]) != 2 { // with the one that outlives it
		t.Errorf("cookies %v", b.jar[tool.host])
	}
	isPage(t, "the quiz has a launch of its own", b.get(tool.url("/quiz/x")), http.StatusUnauthorized, true)
	isPage(t, "so has the folder in the wiki", b.get(tool.url("/wiki/deep/x")), http.StatusUnauthorized, true)

	other := newBrowser(t)
	quiz.mustLaunch(other, map[string]any{"sub": "user-2", "name": "Bob", ltitest.Claim("roles"): []string{role("membership#Instructor")}})
	quizID := quiz.sessionLine(t, other)
	name := func(line string) string { n, _, _ := strings.Cut(strings.TrimPrefix(line, "Cookie: "), "="); return n }
	value := func(line string) string { _, v, _ := strings.Cut(line, "="); return v }
	if name(wikiID) == name(quizID) || name(wikiID) == sessionCookie || name(quizID) == sessionCookie {
		t.Errorf("the cookies are %s and %s", name(wikiID), name(quizID))
	}
	// An id of one, under whatever name, is worth nothing in another.
	for _, cookie := range []string{quizID, "Cookie: " + name(wikiID) + "=" + value(quizID), "Cookie: " + sessionCookie + "=" + value(wikiID)} {
		got := tool.rawGet(t, "/wiki/x", cookie).app(t)
		if ids := identity(got.Header); len(ids) > 0 || got.Header.Get("Who") != "[][]" || got.Header.Get("X-Wiki") != "" || got.Header.Get("X-Quiz") != "" {
			t.Errorf("the wiki takes %s: %v, %q", cookie, ids, got.Header)
		}
	}
	for _, cookie := range []string{wikiID, "Cookie: " + name(quizID) + "=" + value(wikiID), "Cookie: " + sessionCookie + "=" + value(quizID)} {
		if res := tool.rawGet(t, "/quiz/x", cookie); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("the quiz takes %s: %d", cookie, res.StatusCode)
		}
		if res := tool.rawGet(t, "/wiki/deep/x", cookie); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("the folder in the wiki takes %s: %d", cookie, res.StatusCode)
		}
	}
	// With both, each app is told its own.
	both := "Cookie: " + strings.TrimPrefix(wikiID, "Cookie: ") + "; " + strings.TrimPrefix(quizID, "Cookie: ") + "; own=1"
	forged := []string{"X-Quiz: forged", "X-Wiki: forged", "X-LTI-User-Id: forged"}
	for path, want := range map[string]string{"/wiki/x": "user-1", "/quiz/x": "user-2"} {
		got := tool.rawGet(t, path, append(forged, both)...).app(t)
		if got.Header.Get("Remote-User") != want+"@lms" || got.Header.Get("Who") != "["+want+"]["+want+"@lms]" || got.Header.Get("Cookie") != "own=1" {
			t.Errorf("%s: the app got %v", path, got.Header)
		}
		mine := "X-Wiki"
		if path == "/quiz/x" {
			mine = "X-Quiz"
		}
		if got.Header.Get(mine) != "course-1" {
			t.Errorf("%s: %s is %q", path, mine, got.Header.Values(mine))
		}
	}
	if res := tool.rawGet(t, "/", both); strings.Contains(res.body, "user-") {
		t.Errorf("outside of all blocks: %s", res.body)
	}
	deep.mustLaunch(b, map[string]any{"sub": "user-3"})
	if got := b.get(tool.url("/wiki/deep/x")).app(t); got.Header.Get("Remote-User") != "user-3@lms" {
		t.Errorf("in the folder of the wiki: %q", got.Header.Get("Remote-User"))
	}
	// The different person of that launch is of another block.
	if got := b.get(tool.url("/wiki/x")).app(t); got.Header.Get("Remote-User") != "user-1@lms" {
		t.Errorf("in the wiki: %q", got.Header.Get("Remote-User"))
	}
	if res := b.post(tool.url("/wiki/deep/lti/logout"), "", "Sec-Fetch-Site", "same-origin"); res.StatusCode != http.StatusOK {
		t.Errorf("logout: %d", res.StatusCode)
	}
	isPage(t, "after the logout", b.get(tool.url("/wiki/deep/x")), http.StatusUnauthorized, true)
	if got := b.get(tool.url("/wiki/x")).app(t); got.Header.Get("Remote-User") != "user-1@lms" {
		t.Errorf("in the wiki, after the logout of another block: %q", got.Header.Get("Remote-User"))
	}
}

// Where a request passes two blocks, what the outer one knows ends at the inner.
func TestBlockInsideABlock(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	inner := "handle /wiki/* {\n\t\tlti {\n\t\t" + platformBlock(p) + "\n\t\tbase /wiki/lti\n\t\tunauthenticated pass\n\t\t}\n\t\t" +
		"request_header Who \"[{http.lti.user.id}][{http.auth.user.id}]\"\n\t\t" + a.proxy() + "\n\t}\n\t"
	tool := startSites(t, p, "", ltiSite("tool.localhost", p, "", inner+"handle {\n\t\t"+a.proxy()+"\n\t}"))
	b := newBrowser(t)
	isPage(t, "nobody", b.get(tool.url("/wiki/x")), http.StatusUnauthorized, true)
	tool.mustLaunch(b, nil)
	if got := b.get(tool.url("/x")).app(t); got.Header.Get("Remote-User") != "user-1@lms" {
		t.Errorf("outside: %v", got.Header)
	}
	if got := b.get(tool.url("/wiki/x")).app(t); len(identity(got.Header)) > 0 || got.Header.Get("Who") != "[][]" {
		t.Errorf("inside: %v", got.Header)
	}
}

// An id is worth nothing on another host, though block and store are alike.
func TestSessionIsOfOneHost(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	tool := startSites(t, p, "", fmt.Sprintf("http://a.localhost:$PORT, http://b.localhost:$PORT {\n\tlti {\n\t\t%s\n\t}\n\t%s\n}\n", platformBlock(p), a.proxy())+
		ltiSite("c.localhost", p, "", a.proxy()))
	site, b := tool.at("a.localhost", "/lti"), newBrowser(t)
	site.mustLaunch(b, nil)
	cookie := site.sessionLine(t, b)
	if !site.rawGet(t, "/x", cookie).reached() {
		t.Error("the session does not work where it was made")
	}
	for _, host := range []string{"b.localhost", "c.localhost"} {
		if res := tool.at(host, "/lti").rawGet(t, "/x", cookie); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d", host, res.StatusCode)
		}
	}
	for _, host := range []string{"A.LOCALHOST", "a.Localhost"} {
		if res := tool.at(host, "/lti").rawGet(t, "/x", cookie); !res.reached() {
			t.Errorf("%s: %d", host, res.StatusCode)
		}
	}
}

func TestMatchers(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	const matchers = `
	@teacher lti role instructor
	@anyone lti role learner INSTRUCTOR institution:staff
	@grader lti role Instructor#Grader
	@bio lti context course-1 course-9
	@label lti context BIO1
	@platform lti platform other lms
	@foreign lti platform other
	@message lti message LtiResourceLinkRequest
	@review lti message LtiSubmissionReviewRequest
	@all {
		lti {
			role instructor
			context BIO1 course-7
			platform lms
			message LtiResourceLinkRequest
		}
	}
	@stranger not lti platform lms
	@teacherHere {
		path /x
		lti role instructor
	}
`
	names := []string{"teacher", "anyone", "grader", "bio", "label", "platform", "foreign", "message", "review", "all", "stranger", "teacherHere"}
	var before, after string
	for _, name := range names {
		before += "\theader @" + name + " Before-" + name + " yes\n"       // runs before lti
		after += "\trequest_header @" + name + " After-" + name + " yes\n" // runs after it
	}
	options := "\t\theaders minimal\n\t\tpublic /public\n\t\tmessage LtiSubmissionReviewRequest"
	tool := startSites(t, p, "", ltiSite("tool.localhost", p, options, matchers+before+after+a.proxy())+
		ltiSite("handle.localhost", p, options, `@teacher lti role instructor
	handle @teacher {
		respond "for teachers"
	}
	handle {
		respond "for all"
	}`)+
		fmt.Sprintf("http://route.localhost:$PORT {\n\t@teacher lti role instructor\n\troute {\n\t\trespond @teacher \"before\"\n\t\tlti {\n\t\t%s\n\t\t}\n\t\trespond \"after\"\n\t}\n}\n", platformBlock(p))+
		fmt.Sprintf("http://folder.localhost:$PORT {\n\t@teacher lti role instructor\n\theader @teacher Teacher yes\n\thandle /app/* {\n\t\tlti {\n\t\t%s\n\t\tbase /app/lti\n\t\t}\n\t\thandle @teacher {\n\t\t\trespond \"teacher\"\n\t\t}\n\t\trespond \"other\"\n\t}\n\thandle {\n\t\trespond \"outside\"\n\t}\n}\n", platformBlock(p)))

	check := func(what string, res *answer, want ...string) {
		t.Helper()
		got := res.app(t)
		for _, name := range names {
			expected := slices.Contains(want, name)
			if m := res.Header.Get("Before-"+name) == "yes"; m != expected {
				t.Errorf("%s: before lti, @%s matches: %t", what, name, m)
			}
			if m := got.Header.Get("After-"+name) == "yes"; m != expected {
				t.Errorf("%s: after lti, @%s matches: %t", what, name, m)
			}
		}
	}
	for _, c := range []struct {
		what string
		diff map[string]any
		want []string
	}{
		{"learner", nil, []string{"anyone", "bio", "label", "platform", "message"}},
		{"teacher", map[string]any{ltitest.Claim("roles"): []string{role("membership#Instructor")}}, []string{"teacher", "teacherHere", "anyone", "bio", "label", "platform", "message", "all"}},
		{"grader", map[string]any{ltitest.Claim("roles"): []string{role("membership/Instructor#Grader")}}, []string{"grader", "bio", "label", "platform", "message"}},
		{"learner who is called Instructor", map[string]any{ltitest.Claim("roles"): []string{role("membership/Learner#Instructor")}}, []string{"bio", "label", "platform", "message"}},
		{"instructor of the institution", map[string]any{ltitest.Claim("roles"): []string{role("institution/person#Instructor")}}, []string{"bio", "label", "platform", "message"}},
		{"other course", map[string]any{ltitest.Claim("context"): map[string]any{"id": "course-2"}}, []string{"anyone", "platform", "message"}},
		{"no course", map[string]any{ltitest.Claim("context"): ltitest.Absent}, []string{"anyone", "platform", "message"}},
		{
			"other message",
			map[string]any{
				ltitest.Claim("message_type"):                            "LtiSubmissionReviewRequest",
				ltitest.Claim("for_user"):                                map[string]any{"user_id": "user-9"},
				"https://purl.imsglobal.org/spec/lti-ags/claim/endpoint": map[string]any{"lineitem": "https://lms.example/items/1"},
			},
			[]string{"anyone", "bio", "label", "platform", "review"},
		},
	} {
		b := newBrowser(t)
		tool.mustLaunch(b, c.diff)
		check(c.what, b.get(tool.url("/x")), c.want...)
		check(c.what+", public", b.get(tool.url("/public")), slices.DeleteFunc(slices.Clone(c.want), func(name string) bool { return name == "teacherHere" })...)
	}
	nobody := newBrowser(t)
	check("nobody", nobody.get(tool.url("/public")), "stranger")
	nobody.setCookie(tool.host, sessionCookie, strings.Repeat("A", 48))
	check("a wrong id", nobody.get(tool.url("/public")), "stranger")
	if res := nobody.get(tool.url("/x"), "X-Lti-Roles", role("membership#Instructor"), "Remote-Groups", "Instructor"); res.StatusCode != 401 || res.Header.Get("Before-teacher") != "" {
		t.Errorf("a forged role: %d %v", res.StatusCode, res.Header)
	}

	teacher, learner := newBrowser(t), newBrowser(t)
	for host, want := range map[string][3]string{ // teacher, learner, nobody
		"handle.localhost": {"for teachers", "for all", ""},
		"route.localhost":  {"before", "after", ""},
	} {
		site := tool.at(host, "/lti")
		site.mustLaunch(teacher, map[string]any{ltitest.Claim("roles"): []string{"Instructor"}})
		site.mustLaunch(learner, nil)
		shows(t, host+", teacher", teacher.get(site.url("/x")), 200, want[0])
		shows(t, host+", learner", learner.get(site.url("/x")), 200, want[1])
		isPage(t, host+", nobody", nobody.get(site.url("/x")), 401, true)
	}
	site := tool.at("folder.localhost", "/app/lti")
	site.mustLaunch(teacher, map[string]any{ltitest.Claim("roles"): []string{"Instructor"}})
	site.mustLaunch(learner, nil)
	for _, c := range []struct {
		b          *browser
		path, body string
		header     string
	}{
		{teacher, "/app/x", "teacher", "yes"},
		{learner, "/app/x", "other", ""},
		{teacher, "/x", "outside", ""}, // outside of the block, nobody is known
		{learner, "/x", "outside", ""},
		{teacher, "/application", "outside", ""},
	} {
		res := c.b.get(site.url(c.path))
		shows(t, c.path, res, 200, c.body)
		if got := res.Header.Get("Teacher"); got != c.header {
			t.Errorf("%s (%s): Teacher is %q", c.path, c.body, got)
		}
	}
}

func TestNamedRoute(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	gate := fmt.Sprintf("&(gate) {\n\tlti {\n\t\t%s\n\t\turl http://tool.localhost:$PORT\n\t\tpublic /public\n\t}\n}\n", platformBlock(p))
	tool := startSites(t, p, "", gate+"http://tool.localhost:$PORT {\n\t@teacher lti role instructor\n\tinvoke gate\n\trequest_header @teacher Teacher yes\n\t"+a.proxy()+"\n}\n")
	b := newBrowser(t)
	isPage(t, "nobody", b.get(tool.url("/x")), 401, true)
	if got := b.get(tool.url("/public"), "Remote-User", "forged").app(t); len(identity(got.Header)) > 0 {
		t.Errorf("public: %v", got.Header)
	}
	if got := tool.launchAt(b, "/x?y", map[string]any{ltitest.Claim("roles"): []string{"Instructor"}}); got != tool.url("/x?y") {
		t.Errorf("landed at %s", got)
	}
	got := b.get(tool.url("/x")).app(t)
	if got.Header.Get("Remote-User") != "user-1@lms" || got.Header.Get("Cookie") != "" {
		t.Errorf("the app got %v", got.Header)
	}
	if got := b.get(tool.url("/x")).app(t); got.Header.Get("Remote-Groups") != "Instructor" {
		t.Errorf("the app got %v", got.Header)
	}
}

// handle_path changes the path that the app sees, not the one that is judged.
func TestHandlePath(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	tool := startSites(t, p, "", fmt.Sprintf("http://tool.localhost:$PORT {\n\thandle_path /wiki/* {\n\t\tlti {\n\t\t%s\n\t\tbase /wiki/lti\n\t\tpublic /wiki/assets/* /secret\n\t\t}\n\t\t%s\n\t}\n\thandle {\n\t\trespond \"front\"\n\t}\n}\n", platformBlock(p), a.proxy()))
	site, b := tool.at(tool.host, "/wiki/lti"), newBrowser(t)
	for _, path := range []string{"/wiki/", "/wiki/page", "/wiki/secret", "/wiki/assets", "/wiki/assets/../page", "/wiki/%61ssets/%2e%2e/x"} {
		if res := site.rawGet(t, path); res.StatusCode != 401 || res.reached() {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	if got := site.rawGet(t, "/wiki/assets/x?y").app(t); got.URI != "/assets/x?y" {
		t.Errorf("public: the app got %s", got.URI)
	}
	if got := site.launchAt(b, "/wiki/page?x=1", nil); got != tool.url("/wiki/page?x=1") {
		t.Errorf("landed at %s", got)
	}
	if got := b.get(tool.url("/wiki/page?x=1")).app(t); got.URI != "/page?x=1" || got.Header.Get("Remote-User") != "user-1@lms" {
		t.Errorf("the app got %s %v", got.URI, got.Header)
	}
	if res := b.get(tool.url("/wiki/lti/nothing")); res.StatusCode != 404 || res.reached() {
		t.Errorf("a route that is not there: %d", res.StatusCode)
	}
	shows(t, "front", b.get(tool.url("/")), 200, "front")
}

// The person has one name: in Remote-User, REMOTE_USER, the placeholder and the
// access log.
func TestOneNameForAPerson(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	addr := newFastCGI(t)
	scoped := func(scope string) string {
		return strings.Replace(platformBlock(p), "client_id", "user_scope "+scope+"\n\t\t\tclient_id", 1)
	}
	site := func(host, block, options string) string {
		return fmt.Sprintf("http://%s:$PORT {\n\tlog {\n\t\toutput file $DIR/access.log\n\t\tformat json\n\t}\n\tlti {\n\t\t%s\n%s\n\t}\n\t"+
			"handle /fcgi {\n\t\treverse_proxy %s {\n\t\t\ttransport fastcgi\n\t\t}\n\t}\n\thandle /respond {\n\t\trespond {http.auth.user.id}\n\t}\n\t%s\n}\n",
			host, block, options, addr, a.proxy())
	}
	tool := startSites(t, p, "", site("client.localhost", platformBlock(p), "\t\tpublic /open")+
		site("tenant.localhost", scoped("tenant"), "")+
		site("deployment.localhost", scoped("deployment"), "")+
		site("email.localhost", platformBlock(p), "\t\tuser email\n\t\theaders minimal")+
		site("emailscope.localhost", scoped("tenant"), "\t\tuser email")+
		site("username.localhost", platformBlock(p), "\t\tuser ext.user_username")+
		site("sourced.localhost", platformBlock(p), "\t\tuser lis.person_sourcedid\n\t\theaders off"))
	guid := func(guid string) map[string]any {
		return map[string]any{ltitest.Claim("tool_platform"): map[string]any{"guid": guid}}
	}
	logged := func(uri string) (users []string) {
		data, err := os.Open(filepath.Join(tool.dir, "access.log"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = data.Close() }()
		for lines := bufio.NewScanner(data); lines.Scan(); {
			var entry struct {
				UserID  string `json:"user_id"`
				Request struct {
					URI     string
					Headers http.Header
				}
			}
			if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(lines.Text(), "__Host-lti") {
				t.Errorf("the access log has a cookie of ours: %s", lines.Text())
			}
			if entry.Request.URI == uri {
				users = append(users, entry.UserID)
			}
		}
		return users
	}
	n := 0
	for _, c := range []struct {
		host string
		diff map[string]any
		want string // empty: refused
	}{
		{"client", nil, "user-1@lms"},
		{"client", guid("tenant-1"), "user-1@lms"},
		{"client", map[string]any{"sub": "a b%@c/"}, "a b%25@c/@lms"},
		{"client", map[string]any{"sub": "eve@other"}, "eve@other@lms"},
		{"tenant", guid("tenant-1"), "user-1@lms.tenant-1"},
		{"tenant", guid("tenant-2"), "user-1@lms.tenant-2"},
		{"tenant", nil, "user-1@lms.deployment-dep-1"},
		{"deployment", guid("tenant-1"), "user-1@lms.dep-1"},
		{"email", nil, "ann@school.example"},
		{"email", map[string]any{"email": "zoë@school.example"}, "zo%C3%AB@school.example"},
		{"email", map[string]any{"email": ltitest.Absent}, ""},
		{"emailscope", guid("tenant-1"), "ann@school.example"},
		{"username", map[string]any{ltitest.Claim("ext"): map[string]any{"user_username": "ann"}}, "ann"},
		{"username", nil, ""},
		{"sourced", map[string]any{ltitest.Claim("lis"): map[string]any{"person_sourcedid": "SIS-7"}}, "SIS-7"},
		{"sourced", nil, ""},
	} {
		n++
		site, b := tool.at(c.host+".localhost", "/lti"), newBrowser(t)
		res := site.launch(b, c.diff)
		if c.want == "" {
			isPage(t, c.host, res, http.StatusForbidden, true)
			continue
		}
		if res.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: launch: %d %s", c.host, res.StatusCode, res.body)
			continue
		}
		header := b.get(site.url(fmt.Sprintf("/app?n=%d", n))).app(t).Header
		if got := header.Get("Remote-User"); got != c.want && c.host != "sourced" {
			t.Errorf("%s: Remote-User is %q, expected %q", c.host, got, c.want)
		}
		shows(t, c.host, b.get(site.url("/respond")), 200, c.want)
		var env cgi
		if err := json.Unmarshal([]byte(b.get(site.url("/fcgi")).body), &env); err != nil || env.Env["REMOTE_USER"] != c.want {
			t.Errorf("%s: REMOTE_USER is %q, expected %q (%v)", c.host, env.Env["REMOTE_USER"], c.want, err)
		}
		if got := logged(fmt.Sprintf("/app?n=%d", n)); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s: the access log has %q, expected %q", c.host, got, c.want)
		}
	}
	nobody, site1 := newBrowser(t), tool.at("client.localhost", "/lti")
	nobody.get(site1.url("/refused"), "Remote-User", "eve@lms")
	nobody.get(site1.url("/open?nobody"), "Remote-User", "eve@lms")
	for _, uri := range []string{"/refused", "/open?nobody"} {
		if got := logged(uri); !slices.Equal(got, []string{""}) {
			t.Errorf("%s: the access log has %q", uri, got)
		}
	}
}

// Where user ids are unique in a tenant only, the same id of two tenants is two
// people.
func TestScopesTellPeopleApart(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	block := strings.Replace(platformBlock(p), "client_id", "user_scope tenant\n\t\t\tclient_id", 1)
	tool := startSites(t, p, "", "http://tool.localhost:$PORT {\n\tlti {\n\t\t"+block+"\n\t}\n\t"+a.proxy()+"\n}\n")
	tenant := func(guid string) map[string]any {
		return map[string]any{ltitest.Claim("tool_platform"): map[string]any{"guid": guid}}
	}
	b := newBrowser(t)
	tool.mustLaunch(b, tenant("one"))
	first := tool.sessionLine(t, b)
	tool.mustLaunch(b, tenant("one"))
	if res := tool.rawGet(t, "/x", first); !res.reached() {
		t.Errorf("the same person's older session: %d", res.StatusCode)
	}
	tool.mustLaunch(b, tenant("two"))
	if res := tool.rawGet(t, "/x", first); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("after the launch of another tenant's person, the old id: %d", res.StatusCode)
	}
	if got := tool.rawGet(t, "/x", tool.sessionLine(t, b)).app(t).Header.Get("Remote-User"); got != "user-1@lms.two" {
		t.Errorf("Remote-User is %q", got)
	}
}

func TestForwardAuthRoute(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	sites := map[string]string{
		"none.localhost":    "",
		"peer.localhost":    "\t\tforward_auth 127.0.0.1\n\t\tallow role learner instructor\n\t\theader X-Course {http.lti.context.label}\n\t\theader X-Path {http.request.method}",
		"net.localhost":     "\t\tforward_auth 10.0.0.0/8 127.0.0.0/8 ::1",
		"foreign.localhost": "\t\tforward_auth 10.9.9.9 192.168.0.0/16",
	}
	var blocks string
	for host, options := range sites {
		blocks += ltiSite(host, p, options+"\n\t\tpublic /public/*", a.proxy())
	}
	// Whatever a trusted proxy says of its client, the peer is the proxy.
	tool := startSites(t, p, "\tservers {\n\t\ttrusted_proxies static 127.0.0.1\n\t}", blocks)
	b := newBrowser(t)
	for host := range sites {
		tool.at(host, "/lti").mustLaunch(b, nil)
	}
	for _, host := range []string{"none.localhost", "foreign.localhost"} {
		site := tool.at(host, "/lti")
		for _, lines := range [][]string{
			nil, {site.sessionLine(t, b)}, {site.sessionLine(t, b), "X-Forwarded-For: 10.9.9.9"}, {site.sessionLine(t, b), "X-Real-IP: 10.9.9.9", "Forwarded: for=10.9.9.9"},
		} {
			res := site.rawGet(t, "/lti/auth", lines...)
			isPage(t, host+fmt.Sprint(lines), res, http.StatusNotFound, false)
			if len(identity(res.Header)) > 0 {
				t.Errorf("%s: %v", host, identity(res.Header))
			}
		}
	}
	for _, host := range []string{"peer.localhost", "net.localhost"} {
		site := tool.at(host, "/lti")
		for _, lines := range [][]string{
			nil, {"Remote-User: eve", "X-LTI-User-Id: eve"}, {"Cookie: __Host-lti=" + strings.Repeat("A", 48)}, {"X-Forwarded-Uri: /public/x", "X-Forwarded-Method: GET"},
		} {
			res := site.rawGet(t, "/lti/auth", lines...)
			isPage(t, host+fmt.Sprint(lines), res, http.StatusUnauthorized, false)
			if len(identity(res.Header)) > 0 {
				t.Errorf("%s: %v", host, identity(res.Header))
			}
		}
		for _, method := range []string{"GET", "HEAD"} {
			res := site.raw(t, site.head(method, "/lti/auth", site.sessionLine(t, b), "Remote-User: eve", "X-LTI-Roles: eve", "X-Course: eve", "X-Forwarded-For: 8.8.8.8")+"\n")
			if res.StatusCode != http.StatusOK || res.body != "" || res.Header.Get("Cache-Control") != "no-store" || len(res.Header.Values("Set-Cookie")) > 0 {
				t.Errorf("%s: %d %q %v", host, res.StatusCode, res.body, res.Header)
			}
			sameMap(t, host, withoutLaunchID(t, host, identity(res.Header)), learner(p))
			if host == "peer.localhost" && (res.Header.Get("X-Course") != "BIO1" || res.Header.Get("X-Path") != method) {
				t.Errorf("%s: X-Course %q, X-Path %q", host, res.Header.Values("X-Course"), res.Header.Values("X-Path"))
			}
		}
		if res := b.post(site.url("/lti/auth"), ""); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: POST: %d, Allow %q", host, res.StatusCode, res.Header.Get("Allow"))
		}
	}
	if n := a.requests.Load(); n > 0 {
		t.Errorf("%d requests reached the app", n)
	}
}

// Caddy's own forward_auth, in a server of its own, asks a Caddy with lti.
func TestForwardAuthOfAnotherServer(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	front := newCaddy(t)
	back := startCaddy(t, global(ltiGlobal)+fmt.Sprintf(
		"http://tool.localhost:$PORT {\n\tlti {\n\t\t%s\n\t\turl %s\n\t\tforward_auth 127.0.0.1\n\t\tallow role learner\n\t}\n\trespond \"not the app\" 500\n}\n",
		platformBlock(p), front.origin("tool.localhost")))
	front.start(global("") + fmt.Sprintf(`
http://tool.localhost:$PORT {
	handle /lti/* {
		reverse_proxy 127.0.0.1:%d
	}
	handle {
		forward_auth 127.0.0.1:%d {
			uri /lti/auth
			copy_headers Remote-User Remote-Groups Remote-Name Remote-Email X-LTI-User-Id X-LTI-Roles X-LTI-Context-Id X-LTI-Resource-Link-Id X-LTI-Launch-Id
		}
		%s
	}
}
`, back.port, back.port, a.proxy()))
	tool := &tool{caddy: front, host: "tool.localhost", base: "/lti", platform: p}
	b := newBrowser(t)
	isPage(t, "nobody", b.get(tool.url("/x")), http.StatusUnauthorized, true)
	isPage(t, "nobody's script", b.get(tool.url("/x"), "Sec-Fetch-Mode", "cors"), http.StatusUnauthorized, false)
	isPage(t, "nobody, forging", b.get(tool.url("/x"), "Remote-User", "eve", "X-LTI-User-Id", "eve"), http.StatusUnauthorized, true)
	if n := a.requests.Load(); n > 0 {
		t.Errorf("%d requests reached the app", n)
	}
	if got := tool.launchAt(b, "/x?y=1", nil); got != tool.url("/x?y=1") {
		t.Errorf("landed at %s", got)
	}
	for _, header := range [][]string{nil, {"Remote-User", "eve", "Remote-Groups", "Instructor", "X-Lti-Roles", "eve"}} {
		got := b.get(tool.url("/x?y=1"), header...).app(t)
		want := learner(p)
		for name := range want {
			if !slices.Contains([]string{"Remote-User", "Remote-Groups", "Remote-Name", "Remote-Email", "X-Lti-User-Id", "X-Lti-Roles", "X-Lti-Context-Id", "X-Lti-Resource-Link-Id"}, name) {
				delete(want, name)
			}
		}
		sameMap(t, fmt.Sprint(header), withoutLaunchID(t, fmt.Sprint(header), identity(got.Header)), want)
		if got.URI != "/x?y=1" {
			t.Errorf("the app got %s", got.URI)
		}
	}
	if res := b.post(tool.url("/x"), "body"); res.app(t).Body != "body" {
		t.Errorf("POST: %+v", res.app(t))
	}
	// Several launches at once: the request belongs to the one whose page it is.
	tool.mustLaunch(b, activity(tool, "one", "/one/"))
	tool.mustLaunch(b, activity(tool, "two", "/two/?unit=ü"))
	var one string
	for path, link := range map[string]string{"/one/": "one", "/two/x": "two", "/one/y?z": "one", "/two/?unit=%C3%BC": "two"} {
		got := b.get(tool.url(path)).app(t)
		if got.Header.Get("X-Lti-Resource-Link-Id") != link {
			t.Errorf("%s is of the launch %v", path, got.Header)
		}
		if link == "one" {
			one = got.Header.Get("X-Lti-Launch-Id")
		}
	}
	if got := b.get(tool.url("/two/?lti_launch_id=" + one)).app(t); got.Header.Get("X-Lti-Resource-Link-Id") != "one" {
		t.Errorf("named by its id, the launch is %v", got.Header)
	}
	isPage(t, "no launch's name", b.get(tool.url("/one/?lti_launch_id=x")), http.StatusUnauthorized, true)
	b.post(tool.url("/lti/logout"), "", "Sec-Fetch-Site", "same-origin")
	isPage(t, "after the logout", b.get(tool.url("/x")), http.StatusUnauthorized, true)
}
