package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// legacyApp is an app that was never made for frames: it answers with the headers
// that the query asks for.
func legacyApp(tb testing.TB) *httptest.Server {
	tb.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		for _, h := range q["h"] {
			name, val, _ := strings.Cut(h, ": ")
			w.Header().Add(name, strings.ReplaceAll(val, "UPSTREAM", r.Context().Value(http.LocalAddrContextKey).(interface{ String() string }).String()))
		}
		w.Header().Set("X-Seen-Cookie", r.Header.Get("Cookie"))
		switch q.Get("s") {
		case "302":
			w.WriteHeader(http.StatusFound)
		case "304":
			w.WriteHeader(http.StatusNotModified)
		case "500":
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	tb.Cleanup(srv.Close)
	return srv
}

// answering makes a path at which legacyApp answers so.
func answering(path, status string, headers ...string) string {
	return path + "?" + url.Values{"s": {status}, "h": headers}.Encode()
}

func TestFramingHeaders(t *testing.T) {
	app := legacyApp(t)
	tl := startTool(t, "public /open/*\n\t\tpublic /pass", "reverse_proxy "+app.Listener.Addr().String())
	b := newBrowser(t)
	tl.mustLaunch(b, map[string]any{ltitest.Claim("launch_presentation"): map[string]any{"return_url": "https://school.lms.example:8443/back?x=y"}})
	issuer, _ := url.Parse(tl.platform.Issuer)
	frames := "frame-ancestors 'self' https://school.lms.example:8443 " + issuer.Scheme + "://" + issuer.Host
	for _, tt := range []struct {
		name    string
		status  string
		headers []string
		want    []string // of Content-Security-Policy
	}{
		{"nothing said", "", nil, []string{frames}},
		{"an old header", "", []string{"X-Frame-Options: DENY"}, []string{frames}},
		{"two old headers", "", []string{"X-Frame-Options: DENY", "X-Frame-Options: SAMEORIGIN"}, []string{frames}},
		{"none", "", []string{"Content-Security-Policy: frame-ancestors 'none'"}, []string{frames}},
		{"among others", "", []string{"Content-Security-Policy: default-src 'self'; frame-ancestors 'none'; img-src *"}, []string{"default-src 'self'; " + frames + "; img-src *"}},
		{"others only", "", []string{"Content-Security-Policy: default-src 'self'; img-src *;"}, []string{"default-src 'self'; img-src *; " + frames}},
		{"in capitals", "", []string{"Content-Security-Policy: Frame-Ancestors 'self' https://x.example;script-src 'none'"}, []string{frames + ";script-src 'none'"}},
		{"twice in one", "", []string{"Content-Security-Policy: frame-ancestors 'none'; frame-ancestors 'self'"}, []string{frames}},
		{"two policies in a line", "", []string{"Content-Security-Policy: frame-ancestors 'none', default-src 'self'; frame-ancestors 'self'"}, []string{frames + ", default-src 'self'; " + frames}},
		{"two lines", "", []string{"Content-Security-Policy: default-src 'self'", "Content-Security-Policy: frame-ancestors 'none'"}, []string{"default-src 'self'", frames}},
		{"only a report", "", []string{"Content-Security-Policy-Report-Only: frame-ancestors 'none'"}, []string{frames}},
		{"an error", "500", []string{"X-Frame-Options: DENY"}, []string{frames}},
		{"a redirect", "302", []string{"X-Frame-Options: DENY", "Location: /x"}, []string{frames}},
		{"not modified", "304", []string{"X-Frame-Options: DENY"}, []string{frames}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, path := range []string{"/page", "/open/page"} {
				res := b.get(tl.url(answering(path, tt.status, tt.headers...)))
				if got := res.Header["Content-Security-Policy"]; !slices.Equal(got, tt.want) {
					t.Errorf("%s: got %q, expected %q", path, got, tt.want)
				}
				if got := res.Header["X-Frame-Options"]; got != nil {
					t.Errorf("%s: X-Frame-Options is %q", path, got)
				}
			}
		})
	}
	t.Run("nobody signed in", func(t *testing.T) {
		res := newBrowser(t).get(tl.url(answering("/open/page", "", "X-Frame-Options: DENY", "Content-Security-Policy: frame-ancestors 'none'")))
		if res.Header.Get("X-Frame-Options") != "DENY" || res.Header.Get("Content-Security-Policy") != "frame-ancestors 'none'" {
			t.Errorf("got %v", res.Header)
		}
	})
}

// Who may show the app in a frame: the platform that launched, by what it says
// and what is configured, and nobody else.
func TestFrameAncestors(t *testing.T) {
	p := ltitest.NewPlatform(t)
	issuer, _ := url.Parse(p.Issuer)
	own := issuer.Scheme + "://" + issuer.Host
	site := func(host, more string) string {
		block := strings.Replace(platformBlock(p), "jwks_url", more+"\n\t\t\tjwks_url", 1)
		return "http://" + host + ".localhost:$PORT {\n\tlti {\n\t\t" + block + "\n\t}\n\trespond ok\n}\n"
	}
	c := startCaddy(t, global(ltiGlobal)+site("own", "")+site("shared", "user_scope tenant")+site("named", "origin https://apps.example https://apps.example:444")+
		site("sharednamed", "user_scope deployment\n\t\t\torigin https://apps.example"))
	presentation := func(returnURL any) map[string]any {
		return map[string]any{ltitest.Claim("launch_presentation"): map[string]any{"return_url": returnURL}, ltitest.Claim("tool_platform"): map[string]any{"guid": "g"}}
	}
	for _, tt := range []struct {
		name, host string
		claims     map[string]any
		want       string
	}{
		{"the issuer's", "own", nil, own},
		{"where people return to", "own", presentation("https://www.school.example/x"), "https://www.school.example " + own},
		{"the same place", "own", presentation(own + "/back"), own},
		{"its home page", "own", map[string]any{ltitest.Claim("tool_platform"): map[string]any{"guid": "g", "url": "https://home.example/"}}, "https://home.example " + own},
		{"shared", "shared", presentation("https://school.instructure.example/x"), "https://school.instructure.example"},
		{"shared, says nothing", "shared", map[string]any{ltitest.Claim("tool_platform"): map[string]any{"guid": "g"}}, own},
		{"configured", "named", nil, "https://apps.example https://apps.example:444 " + own},
		{"shared, configured", "sharednamed", presentation("https://school.example/x"), "https://school.example https://apps.example"},
		{"not https", "own", presentation("http://school.example/x"), own},
		{"a script", "own", presentation("javascript:alert(1)"), own},
		{"an injection", "own", presentation("https://a.example;script-src *"), own},
		{"a star", "own", presentation("https://*/x"), own},
		{"a list", "own", presentation("https://a.example,https://b.example"), own},
		{"a user", "own", presentation("https://a.example@b.example/"), own},
		{"no text", "own", presentation(5), own},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tl := &tool{caddy: c, host: tt.host + ".localhost", base: "/lti", platform: p}
			b := newBrowser(t)
			tl.mustLaunch(b, tt.claims)
			if got, want := b.get(tl.url("/")).Header.Get("Content-Security-Policy"), "frame-ancestors 'self' "+tt.want; got != want {
				t.Errorf("got %q, expected %q", got, want)
			}
		})
	}
}

func TestAppCookies(t *testing.T) {
	app := legacyApp(t)
	tl := startTool(t, "public /open/*", "reverse_proxy "+app.Listener.Addr().String())
	b := newBrowser(t)
	tl.mustLaunch(b, nil)
	const end = "; Secure; SameSite=None; Partitioned"
	for _, tt := range []struct{ set, want string }{
		{"sid=1", "sid=1" + end},
		{"sid=1; path=/app; HttpOnly", "sid=1; path=/app; HttpOnly" + end},
		{"sid=1; SameSite=Lax", "sid=1" + end},
		{"sid=1; samesite=strict; Path=/;secure", "sid=1; Path=/" + end},
		{"sid=a b=c,d; Expires=Wed, 21 Oct 2037 07:28:00 GMT; Max-Age=60", "sid=a b=c,d; Expires=Wed, 21 Oct 2037 07:28:00 GMT; Max-Age=60" + end},
		{"sid=; Max-Age=0; Path=/", "sid=; Max-Age=0; Path=/" + end},
		{"sid=1; Domain=tool.localhost; Priority=High", "sid=1; Domain=tool.localhost; Priority=High" + end},
		{"sid=1; Secure; SameSite=None; Partitioned", "sid=1" + end},
		{"XSRF-TOKEN=x%3D", "XSRF-TOKEN=x%3D" + end},
		{"=v", "=v" + end},
		{"flag", "flag" + end},
	} {
		for _, path := range []string{"/page", "/open/page"} {
			if got := b.get(tl.url(answering(path, "", "Set-Cookie: "+tt.set))).Header["Set-Cookie"]; !slices.Equal(got, []string{tt.want}) {
				t.Errorf("%s: %q becomes %q, expected %q", path, tt.set, got, tt.want)
			}
		}
	}
	if got := b.get(tl.url(answering("/page", "302", "Set-Cookie: a=1", "Set-Cookie: b=2; SameSite=Lax"))).Header["Set-Cookie"]; !slices.Equal(got, []string{"a=1" + end, "b=2" + end}) {
		t.Errorf("two on a redirect: %q", got)
	}
}

func TestFrameAndCookiesOff(t *testing.T) {
	app := legacyApp(t)
	tl := startTool(t, "frame off\n\t\tapp_cookies off", "reverse_proxy "+app.Listener.Addr().String())
	b := newBrowser(t)
	tl.mustLaunch(b, nil)
	res := b.get(tl.url(answering("/page", "302", "X-Frame-Options: DENY", "Content-Security-Policy: frame-ancestors 'none'", "Set-Cookie: a=1; SameSite=Lax", "Location: http://UPSTREAM/x")))
	if res.Header.Get("X-Frame-Options") != "DENY" || res.Header.Get("Content-Security-Policy") != "frame-ancestors 'none'" || res.Header.Get("Set-Cookie") != "a=1; SameSite=Lax" ||
		res.Header.Get("Location") != "http://"+app.Listener.Addr().String()+"/x" {
		t.Errorf("got %v", res.Header)
	}
}

// Redirects of an app that does not know where it is lead to the site; others
// lead where they led.
func TestRedirectsStayInside(t *testing.T) {
	app := legacyApp(t)
	tl := startTool(t, "", "reverse_proxy "+app.Listener.Addr().String())
	_, port, _ := strings.Cut(app.Listener.Addr().String(), ":")
	b := newBrowser(t)
	tl.mustLaunch(b, nil)
	for to, want := range map[string]string{
		"http://UPSTREAM/x?y=http://UPSTREAM/#z":      tl.url("/x?y=http://" + app.Listener.Addr().String() + "/#z"),
		"http://localhost:" + port + "/x":             tl.url("/x"),
		"https://UPSTREAM/x":                          tl.url("/x"),
		"http://UPSTREAM":                             tl.url(""),
		"http://tool.localhost/x":                     tl.url("/x"),
		"https://tool.localhost/x":                    tl.url("/x"),
		"http://TOOL.localhost:80/x":                  tl.url("/x"),
		tl.url("/x"):                                  tl.url("/x"),
		"/x":                                          "/x",
		"x/../y":                                      "x/../y",
		"//UPSTREAM/x":                                "//" + app.Listener.Addr().String() + "/x",
		"http://127.0.0.1:1/x":                        "http://127.0.0.1:1/x",
		"http://tool.localhost:1/x":                   "http://tool.localhost:1/x",
		"https://elsewhere.example/x":                 "https://elsewhere.example/x",
		"http://tool.localhost@evil.example/x":        "http://tool.localhost@evil.example/x",
		"http://tool.localhost.evil.example/x":        "http://tool.localhost.evil.example/x",
		"http://elsewhere.example/?http://UPSTREAM/x": "http://elsewhere.example/?http://" + app.Listener.Addr().String() + "/x",
		"mailto:ann@example.edu":                      "mailto:ann@example.edu",
	} {
		if got := b.get(tl.url(answering("/page", "302", "Location: "+to))).Header.Get("Location"); got != want {
			t.Errorf("%s becomes %s, expected %s", to, got, want)
		}
	}
}

// Somebody else's launch, and a logout, make the browser forget what the app
// left there.
func TestForget(t *testing.T) {
	app := legacyApp(t)
	options := "public /open/*"
	tl := startTool(t, options, "reverse_proxy "+app.Listener.Addr().String())
	b := newBrowser(t)
	tl.mustLaunch(b, sub("ann"))
	b.get(tl.url(answering("/wiki/edit", "", "Set-Cookie: wiki=1; Path=/wiki/", "Set-Cookie: deep=1", "Set-Cookie: dom=1; Domain=tool.localhost; Path=/")))
	b.setCookie(tl.host, "script", "set-by-a-script")

	// The same person again: nothing is lost.
	res := tl.mustLaunch(b, sub("ann"))
	if res.Header.Get("Clear-Site-Data") != "" || len(res.Cookies()) != 3 {
		t.Errorf("the same person: %q, %v", res.Header.Get("Clear-Site-Data"), res.Header["Set-Cookie"])
	}
	// What is known of the app's cookies survives a crash after a launch.
	tl.kill()
	tl.start(global(ltiGlobal) + toolSite(tl.platform, options, "reverse_proxy "+app.Listener.Addr().String()))

	check := func(what string, res *answer) {
		t.Helper()
		if got := res.Header.Get("Clear-Site-Data"); got != `"cache", "storage"` {
			t.Errorf("%s: Clear-Site-Data is %q", what, got)
		}
		all := strings.Join(res.Header["Set-Cookie"], "\n")
		for _, want := range []string{
			"wiki=; Path=/wiki/; Max-Age=0", "deep=; Path=/wiki; Max-Age=0", "dom=; Path=/; Max-Age=0; Secure; SameSite=None; Domain=tool.localhost",
			"script=; Path=/; Max-Age=0",
		} {
			n := 0
			for _, line := range res.Header["Set-Cookie"] {
				if strings.HasPrefix(line, want) {
					n++
				}
			}
			if n != 2 {
				t.Errorf("%s: %q is there %d times, expected once for each jar, in\n%s", what, want, n, all)
			}
		}
		if strings.Contains(all, "__Host-lti=; Path=/; Max-Age=0; Secure; SameSite=None") || strings.Contains(all, "__Host-ltip=; Path=/; Max-Age=0; Secure; SameSite=None") {
			t.Errorf("%s: our own cookie is among them:\n%s", what, all)
		}
	}
	check("another person", tl.mustLaunch(b, sub("bob")))
	if seen := b.get(tl.url("/page")).Header.Get("X-Seen-Cookie"); seen != "" {
		t.Errorf("the app got %q of the person before", seen)
	}
	// Even where the session of the person before has long ended.
	b.setCookie(tl.host, "script", "set-by-a-script")
	id := b.cookie(tl.host, "__Host-lti")
	if res := newBrowserWith(t, tl.host, id).post(tl.url("/lti/logout"), "", "Sec-Fetch-Site", "same-origin"); res.StatusCode != http.StatusOK {
		t.Fatalf("logout elsewhere: %d", res.StatusCode)
	}
	check("another person after a session that has ended", tl.mustLaunch(b, sub("cleo")))
	// The same person after such a session loses nothing.
	id = b.cookie(tl.host, "__Host-lti")
	newBrowserWith(t, tl.host, id).post(tl.url("/lti/logout"), "", "Sec-Fetch-Site", "same-origin")
	if res := tl.mustLaunch(b, sub("cleo")); res.Header.Get("Clear-Site-Data") != "" {
		t.Error("the same person after a session that has ended: everything is forgotten")
	}
	// Nor if the browser was closed meanwhile, which takes the session's cookie
	// along, but not all of the app's. Somebody else finds nothing then either.
	b.setCookie(tl.host, "__Host-lti", "")
	if res := tl.mustLaunch(b, sub("cleo")); res.Header.Get("Clear-Site-Data") != "" {
		t.Error("the same person after the browser was closed: everything is forgotten")
	}
	b.setCookie(tl.host, "script", "set-by-a-script")
	b.setCookie(tl.host, "__Host-lti", "")
	check("another person after the browser was closed", tl.mustLaunch(b, sub("dora")))
	b.setCookie(tl.host, "script", "set-by-a-script")
	check("logout", b.post(tl.url("/lti/logout"), "", "Sec-Fetch-Site", "same-origin"))
}

func newBrowserWith(tb testing.TB, host, id string) *browser {
	tb.Helper()
	b := newBrowser(tb)
	b.setCookie(host, "__Host-lti", id)
	return b
}

// The way back to the platform, with what the app has to say.
func TestReturn(t *testing.T) {
	tl := startTool(t, "headers full", echo)
	b := newBrowser(t)
	presentation := map[string]any{ltitest.Claim("launch_presentation"): map[string]any{"return_url": "https://lms.example/back?sesskey=S", "locale": "nl-NL"}}
	if res := b.get(tl.url("/lti/return")); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a launch: %d", res.StatusCode)
	}
	tl.mustLaunch(b, presentation)
	for asked, want := range map[string]string{
		"":                  "https://lms.example/back?sesskey=S",
		"?msg=Well+done%21": "https://lms.example/back?sesskey=S&lti_msg=Well+done%21",
		"?errormsg=a&errorlog=b&log=c&sesskey=evil": "https://lms.example/back?sesskey=S&lti_errorlog=b&lti_errormsg=a&lti_log=c",
		"?msg=" + strings.Repeat("x", 600):          "https://lms.example/back?sesskey=S&lti_msg=" + strings.Repeat("x", 500),
	} {
		res := b.get(tl.url("/lti/return" + asked))
		if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != want {
			t.Errorf("%s: %d to %s, expected %s", asked, res.StatusCode, res.Header.Get("Location"), want)
		}
		if res.Header.Get("Referrer-Policy") != "no-referrer" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", asked, res.Header)
		}
	}
	other := startTool(t, "allow role instructor", echo)
	res := other.launch(newBrowser(t), presentation)
	if res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, `href="https://lms.example/back?sesskey=S&amp;lti_errorlog=role_refused&#43;`) ||
		!strings.Contains(res.body, "lti_errormsg=This&#43;is&#43;not&#43;open&#43;to&#43;you") {
		t.Errorf("a role that may not in: %d %s", res.StatusCode, res.body)
	}
	if res := newBrowser(t).get(other.url("/lti/return")); res.StatusCode != http.StatusNotFound {
		t.Errorf("where no return URL is kept: %d", res.StatusCode)
	}
}
