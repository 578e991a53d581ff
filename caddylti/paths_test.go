package caddylti

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		in   string
		path string
		odd  bool
	}{
		{"/", "/", false},
		{"/a", "/a", false},
		{"/a/", "/a/", false},
		{"/a/b.html?x=//../", "/a/b.html", false},
		{"/a%20b", "/a b", false},
		{"/%61", "/a", false},
		{"/%C3%A9", "/é", false},
		{"/%252e%252e/", "/%2e%2e/", false}, // decoded once, not twice
		{"/a;b=c/d", "/a;b=c/d", false},
		{"/...", "/...", false},
		{"/.a", "/.a", false},
		{"/a..", "/a..", false},
		{"/a/.well-known", "/a/.well-known", false},
		{"/%25", "/%", false},

		{"", "", true},
		{"a", "a", true},
		{"*", "*", true},
		{"//", "", true},
		{"/a//b", "/a//b", true},
		{"/a/b//", "/a/b//", true},
		{"/.", "/.", true},
		{"/..", "/..", true},
		{"/./a", "/./a", true},
		{"/a/../b", "/a/../b", true},
		{"/a/..", "/a/..", true},
		{"/%2e%2e/a", "/../a", true},
		{"/.%2E/a", "/../a", true},
		{"/%2e", "/.", true},
		{"/a/..;/b", "/a/..;/b", true},
		{"/a/..;x=1/b", "/a/..;x=1/b", true},
		{"/a/.;/b", "/a/.;/b", true},
		{"/a/%2e%2e;/b", "/a/..;/b", true},
		{`/a\b`, `/a\b`, true},
		{"/a%5cb", `/a\b`, true},
		{"/a%5Cb", `/a\b`, true},
		{"/a%2fb", "/a/b", true},
		{"/a%2Fb", "/a/b", true},
		{"/a%00b", "/a\x00b", true},
		{"/%2f", "//", true},
		{"https://evil.example/a", "", true},
		{"//evil.example/a", "", true},
	} {
		got := classify(tc.in)
		if got.odd != tc.odd {
			t.Errorf("classify(%q): odd %v, want %v", tc.in, got.odd, tc.odd)
		}
		if tc.path != "" && got.path != tc.path {
			t.Errorf("classify(%q): path %q, want %q", tc.in, got.path, tc.path)
		}
	}
}

// What counts is the path that the client sent, not what this server made of it.
func TestClassifyRequestLooksAtTheOriginal(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/lti/login", nil)
	orig := *r
	ctx := context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, orig)
	rewritten := r.Clone(ctx)
	rewritten.URL = &url.URL{Path: "/index.html"}
	if got := classifyRequest(rewritten); got.path != "/lti/login" {
		t.Errorf("got %q", got.path)
	}
	if got := classifyRequest(r); got.path != "/lti/login" {
		t.Errorf("without Caddy's context: %q", got.path)
	}
}

func TestCleaned(t *testing.T) {
	for in, want := range map[string]string{
		"/":                   "/",
		"":                    "/",
		"*":                   "/*",
		"//lti//login":        "/lti/login",
		"/x/../lti/login":     "/lti/login",
		"/x/..;a/lti;b/login": "/lti/login",
		`/x\..\lti`:           "/lti",
		"/../../lti":          "/lti",
		"/./lti/":             "/lti",
		"/lti/./../lti/x":     "/lti/x",
		"/lti/..":             "/",
		"/LTI":                "/LTI",
	} {
		if got := (location{path: in}).cleaned(); got != want {
			t.Errorf("cleaned %q: %q, want %q", in, got, want)
		}
	}
}

func TestUnder(t *testing.T) {
	h := &Handler{Base: "/wiki/lti"}
	for p, want := range map[string]bool{
		"/wiki/lti": true, "/wiki/lti/": true, "/wiki/lti/login": true, "/wiki/lti/a/b": true,
		"/wiki/ltix": false, "/wiki": false, "/wiki/": false, "/": false, "": false, "/lti": false, "/WIKI/LTI": false, "/wiki/lti;a": false,
	} {
		if got := h.under(p); got != want {
			t.Errorf("under(%q) = %v", p, got)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		pattern, path string
		want          bool
	}{
		{"/about", "/about", true},
		{"/about", "/about/", false},
		{"/about", "/aboutus", false},
		{"/about", "/About", false},
		{"/assets/*", "/assets/", true},
		{"/assets/*", "/assets/a/b.css", true},
		{"/assets/*", "/assets", false},
		{"/assets/*", "/assetsx", false},
		{"/assets/*", "/x/assets/a", false},
		{"/img-*", "/img-1.png", true},
		{"/img-*", "/img-", true},
		{"/*", "/", true},
		{"/*", "/anything/at/all", true},
		{"*.css", "/a/b.css", true},
		{"*.css", "/.css", true},
		{"*.css", "/a.css/b", false},
		{"*.css", "/a.CSS", false},
		{"*.css", "/a.css;x", false},
		{"/", "/", true},
		{"/", "/a", false},
	} {
		if got := match(tc.pattern, tc.path); got != tc.want {
			t.Errorf("match(%q, %q) = %v", tc.pattern, tc.path, got)
		}
		if err := checkPattern(tc.pattern); err != nil {
			t.Errorf("checkPattern(%q): %v", tc.pattern, err)
		}
	}
	for _, pattern := range []string{"", "*", "**", "a", "a*", "/a*b", "/a*/", "*a*", "*a/b", "*/", "/**", "https://x/*", "/a%20b", "/a?x", "/a#b", "/a/../b", "/a//*", `/a\b`} {
		if err := checkPattern(pattern); err == nil {
			t.Errorf("checkPattern(%q): no error", pattern)
		}
	}
}

func TestProtects(t *testing.T) {
	for _, tc := range []struct {
		name    string
		public  []string
		protect []string
		want    map[string]bool
	}{
		{"all", nil, nil, map[string]bool{"/": true, "/a": true, "/favicon.ico": true}},
		{
			"all but public",
			[]string{"/assets/*", "/healthz", "*.css"},
			nil,
			map[string]bool{
				"/": true, "/assets": true, "/assets/a": false, "/healthz": false, "/healthz/": true, "/x/y.css": false, "/HEALTHZ": true,
				"/assets/../secret": true, "/assets//a": true, "/assets/..%2fsecret": true, "/assets/%2e%2e/secret": true, "/assets/..;/secret": true,
				`/assets\..\secret`: true, "/assets/a%00.css": true, "/secret%2f.css": true, "/assets/%61": false, "/assets/a;b": false,
			},
		},
		{"everything public", []string{"/*"}, nil, map[string]bool{"/": false, "/a": false, "//": true, "/a/..": true}},
		{
			"only some", nil,
			[]string{"/app/*", "/members", "/quiz-*"},
			map[string]bool{
				"/": false, "/app/": true, "/app": true, "/app/x": true, "/apple": false, "/members": true, "/members/": false, "/quiz-1": true,
				"/app;jsessionid=1/x": true, "/members;x": true, "/free;x": false,
				// What means different things to different servers is protected.
				"/free/../app/x": true, "/%2fapp": true, "//app/x": true, `/\app`: true, "/./free": true,
			},
		},
		{
			"protect wins",
			[]string{"/app/*"},
			[]string{"/app/*"},
			map[string]bool{"/app/x": true, "/": false},
		},
		{
			"protect wins over a part",
			[]string{"/app/assets/*"},
			[]string{"/app/*"},
			map[string]bool{"/app/assets/a.css": true, "/other": false},
		},
		{"a suffix", nil, []string{"*.pdf"}, map[string]bool{"/a.pdf": true, "/a.html": false, "/a.pdf;x": true, "/a.pdf/": false}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &Handler{Base: "/lti", Public: tc.public, Protect: tc.protect}
			for p, want := range tc.want {
				if got := h.protects(classify(p)); got != want {
					// classify takes what begins with // for a host: that is odd too.
					t.Errorf("protects(%q) = %v, want %v", p, got, want)
				}
			}
		})
	}
}
