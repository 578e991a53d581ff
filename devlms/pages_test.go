package devlms

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// checkPostPage checks a page that sends itself to a tool.
func checkPostPage(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	csp := w.Header().Get("Content-Security-Policy")
	if !strings.Contains(csp, "script-src "+submitScriptHash) || strings.Contains(csp, "form-action") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
	body := w.Body.String()
	if !strings.Contains(body, "<script>"+submitScript+"</script>") {
		t.Errorf("no script that the policy allows: %s", body)
	}
	if _, noscript, _ := strings.Cut(body, "<noscript>"); !strings.Contains(noscript, "Continue</button>") {
		t.Error("no button for browsers without scripts")
	}
	if cc := w.Header().Get("Cache-Control"); cc != "no-store" {
		t.Errorf("cache control %q", cc)
	}
	if rp := w.Header().Get("Referrer-Policy"); rp == "no-referrer" {
		t.Error("tools would see Origin: null")
	}
}

func TestInitiation(t *testing.T) {
	l := newLMS(t)
	w := l.get("/initiate" + chapter1)
	checkPostPage(t, w)
	action, fields := readPost(t, w)
	if action != "http://site.localhost:8080/lti/login?keep=this&that=1" {
		t.Errorf("action %s", action)
	}
	hint := fields.Get("lti_message_hint")
	if !strings.HasPrefix(hint, `{"activity":"site.chapter-1-b","launchid":"`) {
		t.Errorf("hint %s", hint)
	}
	for name, want := range map[string]string{
		"iss": testOrigin, "target_link_uri": testTarget, "login_hint": "u-2001", "lti_message_hint": hint,
		"client_id": "demo-site", "lti_deployment_id": "1",
	} {
		if got := fields[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: expected %q, got %q", name, want, got)
		}
	}
	if len(fields) != 6 {
		t.Errorf("fields %v", fields)
	}

	_, again := readPost(t, l.get("/initiate"+chapter1))
	if again.Get("lti_message_hint") == hint {
		t.Error("two launches share a hint")
	}
	l.who = ""
	if w := l.get("/initiate" + chapter1); w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "<form") {
		t.Errorf("nobody signed in: %d", w.Code)
	}
}

func TestPages(t *testing.T) {
	for _, tc := range []struct {
		name, who, path string
		code            int
		has, lacks      []string
	}{
		{"home of nobody", "", "/", 200, []string{"for tests only", "Choose a person", "Zoë Łukasiewicz-山田", "ASTRO-101", testOrigin + "/auth", testOrigin + "/jwks", "demo-echo"}, []string{"This is you", "sign out"}},
		{"home of somebody", "u-2002", "/", 200, []string{"This is you", "sign out"}, nil},
		{"home on the way to a course", "", "/?next=/course/c-31", 200, []string{`value="/course/c-31"`, "Choose a person first"}, nil},
		{"home on the way elsewhere", "", "/?next=//evil.example/", 200, nil, []string{"evil"}},
		{"course", "u-2001", "/course/c-31", 200, []string{"for tests only", "Stars &amp; Planets", "/course/c-31/activity/site.chapter-2", "new window", "/course/c-31/roster", "/course/c-31/gradebook", "Chapter &#34;1&#34; &lt;b&gt;&amp;"}, []string{"<b>"}},
		{"course of nobody", "", "/course/c-31", 303, nil, nil},
		{"no course", "u-2001", "/course/c-1", 404, []string{"for tests only"}, nil},
		{"activity in a frame", "u-2001", "/course/c-31/activity/site.chapter-1-b", 200, []string{`<iframe`, `src="/initiate/c-31/site.chapter-1-b"`, `title="Chapter &#34;1&#34; &lt;b&gt;&amp;"`, "clipboard-write http://site.localhost:8080 https://other.example"}, []string{"_blank", "<b>"}},
		{"activity in a window", "u-2001", "/course/c-31/activity/site.chapter-2", 200, []string{`action="/initiate/c-31/site.chapter-2" target="_blank"`}, []string{"<iframe"}},
		{"no activity", "u-2001", "/course/c-31/activity/site.none", 404, nil, nil},
		{"no launch", "u-2001", "/initiate/c-31/site.none", 404, nil, nil},
		{"roster of a teacher", "u-1001", "/course/c-31/roster", 200, []string{"Robin Vale", "the role only", "robin.vale@"}, nil},
		{"roster of a learner", "u-2001", "/course/c-31/roster", 200, []string{"Robin Vale", "Ada Moreau"}, []string{"@university"}},
		{"gradebook of an administrator", "u-1002", "/course/c-32/gradebook", 200, []string{"No scores yet", `<th scope="row">Maeve O&#39;Hara`, `<th scope="row">Robin Vale`, "Chapter 2"}, []string{`<th scope="row">Ada`}},
		{"gradebook of a learner", "u-2001", "/course/c-32/gradebook", 200, []string{"No scores yet", `<th scope="row">Maeve O&#39;Hara`}, []string{`<th scope="row">Robin Vale`}},
		{"return", "u-2001", "/return/c-31?lti_errormsg=%3Cscript%3Ebad&lti_msg=fine&lti_log=x", 200, []string{"&lt;script&gt;bad", "fine", `target="_top"`}, []string{"<script"}},
		{"style", "", "/assets/style.css", 200, []string{"prefers-color-scheme"}, nil},
		{"icon", "", "/assets/icon.svg", 200, []string{"<svg"}, nil},
		{"nowhere", "", "/nowhere", 404, nil, nil},
		{"slash at the end", "u-2001", "/course/c-31/", 404, nil, nil},
		{"no part of a path", "u-2001", "/course//roster", 404, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLMS(t)
			l.who = tc.who
			w := l.get(tc.path)
			if w.Code != tc.code {
				t.Fatalf("expected %d, got %d", tc.code, w.Code)
			}
			for _, s := range tc.has {
				if !strings.Contains(w.Body.String(), s) {
					t.Errorf("%q is missing in %s", s, w.Body)
				}
			}
			for _, s := range tc.lacks {
				if strings.Contains(w.Body.String(), s) {
					t.Errorf("%q is in %s", s, w.Body)
				}
			}
			if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") && tc.code != 303 {
				if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'self'") {
					t.Errorf("policy %q", csp)
				}
			}
		})
	}
}

func TestSentOnFromCourse(t *testing.T) {
	l := newLMS(t)
	l.who = ""
	if got := l.get("/course/c-31/roster").Header().Get("Location"); got != "/?next=%2Fcourse%2Fc-31%2Froster" {
		t.Errorf("location %s", got)
	}
}

func TestMethods(t *testing.T) {
	l := newLMS(t)
	for _, tc := range []struct {
		method, path, allow string
	}{
		{http.MethodPost, "/", "GET"},
		{http.MethodGet, "/person", "POST"},
		{http.MethodPut, "/auth", "GET, POST"},
		{"ET", "/auth", "GET, POST"},
		{http.MethodPost, "/initiate" + chapter1, "GET"},
	} {
		w := l.do(tc.method, tc.path, nil)
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != tc.allow {
			t.Errorf("%s %s: %d, Allow %q", tc.method, tc.path, w.Code, w.Header().Get("Allow"))
		}
	}
	if w := l.do(http.MethodHead, "/", nil); w.Code != http.StatusOK {
		t.Errorf("HEAD: %d", w.Code)
	}
}

func TestChoosePerson(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for _, tc := range []struct {
		name     string
		form     url.Values
		change   func(*http.Request)
		code     int
		location string
		cookie   string
	}{
		{"same origin", url.Values{"person": {"u-2002"}}, header("Sec-Fetch-Site", "same-origin"), 303, "/", "devlms_user=u-2002; Path=/; HttpOnly; SameSite=Lax"},
		{"origin only", url.Values{"person": {"u-2002"}}, header("Origin", testOrigin), 303, "/", "devlms_user=u-2002; Path=/; HttpOnly; SameSite=Lax"},
		{"https", url.Values{"person": {"u-2002"}}, func(r *http.Request) { r.URL.Scheme = "https" }, 303, "/", "devlms_user=u-2002; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{"back to a course", url.Values{"person": {"u-2002"}, "next": {"/course/c-31/roster"}}, nil, 303, "/course/c-31/roster", "devlms_user=u-2002; Path=/; HttpOnly; SameSite=Lax"},
		{"back to elsewhere", url.Values{"person": {"u-2002"}, "next": {"//evil.example"}}, nil, 303, "/", "devlms_user=u-2002; Path=/; HttpOnly; SameSite=Lax"},
		{"nobody", url.Values{"person": {""}, "next": {"/course/c-31"}}, nil, 303, "/", "devlms_user=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"},
		{"stranger", url.Values{"person": {"u-9"}}, nil, 400, "", ""},
		{"cross-site", url.Values{"person": {"u-2002"}}, header("Sec-Fetch-Site", "cross-site"), 403, "", ""},
		{"same site, other origin", url.Values{"person": {"u-2002"}}, header("Sec-Fetch-Site", "same-site"), 403, "", ""},
		{"foreign origin", url.Values{"person": {"u-2002"}}, header("Origin", "http://evil.localhost"), 403, "", ""},
		{"origin null", url.Values{"person": {"u-2002"}}, header("Origin", "null"), 403, "", ""},
		{"huge", url.Values{"person": {strings.Repeat("x", 5<<10)}}, nil, 400, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLMS(t)
			l.who = ""
			if tc.change == nil {
				tc.change = func(*http.Request) {}
			}
			w := l.do(http.MethodPost, "/person", tc.form, tc.change)
			if w.Code != tc.code || w.Header().Get("Location") != tc.location || w.Header().Get("Set-Cookie") != tc.cookie {
				t.Errorf("got %d, Location %q, Set-Cookie %q", w.Code, w.Header().Get("Location"), w.Header().Get("Set-Cookie"))
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	for _, tc := range []struct {
		issuer, url string
		code        int
	}{
		{"", "http://localhost/", 200},
		{"", "http://lms.LOCALHOST:8080/", 200},
		{"", "http://127.0.0.1:8080/", 200},
		{"", "http://[::1]:8080/", 200},
		{"", "https://lms.example/", 200},
		{"", "http://lms.example/", 403},
		{"", "http://localhost.example/", 403},
		{"", "http://notlocalhost/", 403},
		{"", "http://192.168.1.2/", 403},
		{"", "http://127.0.0.1.example/", 403},
		{"https://lms.example", "https://LMS.example/", 200},
		{"https://lms.example", "http://lms.example/", 403},
		{"https://lms.example", "https://other.example/", 403},
		{"https://lms.example", "http://localhost/", 403},
		{"http://lms.localhost:8080", "http://lms.localhost:8080/", 200},
		{"http://lms.localhost:8080", "http://lms.localhost/", 403},
	} {
		for _, path := range []string{"", "jwks", "assets/style.css"} {
			l := newLMS(t)
			l.issuer = tc.issuer
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, tc.url+path, nil)
			if err := l.serve(w, r, strings.HasPrefix(tc.url, "https:")); err != nil {
				t.Fatal(err)
			}
			if w.Code != tc.code {
				t.Errorf("issuer %q, %s%s: expected %d, got %d", tc.issuer, tc.url, path, tc.code, w.Code)
			}
			if tc.code == 403 && !strings.Contains(w.Body.String(), "demo") {
				t.Errorf("%s: no explanation: %s", tc.url, w.Body)
			}
		}
	}
}

func TestEmptyHost(t *testing.T) {
	l := newLMS(t)
	w := l.do(http.MethodGet, "/", nil, func(r *http.Request) { r.Host = "" })
	if w.Code != http.StatusForbidden {
		t.Errorf("got %d", w.Code)
	}
}

func TestTruncate(t *testing.T) {
	if got := truncate(strings.Repeat("é", 300) + "x"); got != strings.Repeat("é", 250)+"…" {
		t.Errorf("got %q", got)
	}
	if got := truncate("x" + strings.Repeat("é", 300)); got != "x"+strings.Repeat("é", 249)+"…" {
		t.Errorf("got %q", got)
	}
}
