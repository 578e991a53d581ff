package catalog

import (
	"net/url"
	"strings"
	"testing"
)

func TestCleanPath(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"/", "/"},
		{"/quiz-7", "/quiz-7"},
		{"/a/b/", "/a/b/"},
		{"/a b.html", "/a%20b.html"},
		{"/übung.html", "/%C3%BCbung.html"},
		{"/%C3%BCbung.html", "/%C3%BCbung.html"},
		{"/100%25", "/100%25"},
		{"/what%3F", "/what%3F"},
		{"/a:b", "/a:b"},
		{"/..a/.well-known/a..b", "/..a/.well-known/a..b"},
		{"/p?id=3&x=a%2Fb", "/p?id=3&x=a%2Fb"},
		{"/p?q=ü \"<", "/p?q=%C3%BC%20%22%3C"},
		{"/p?next=//x/../y", "/p?next=//x/../y"},
		{"/p?", "/p"},
	} {
		if got, err := CleanPath(tc.in); err != nil || got != tc.want {
			t.Errorf("CleanPath(%q) = %q, %v; expected %q", tc.in, got, err, tc.want)
		}
	}
	for _, in := range []string{
		"", "quiz", "?x", "#x", "https://evil.example/", "//evil.example/x", "///x", `\\evil.example`, `/\evil.example`, "/a\\b", "/%5Cevil.example",
		"/a//b", "/a/../b", "/a/..", "/.", "/./a", "/%2e%2e/a", "/a/%2E./b", "/..;/a", "/a/.;x=1/b", "/a%2Fb", "/a%2fb",
		"/a\x00", "/a%00b", "/a\nb", "/a%0Ab", "/a%7F", "/a\x7f", "/a%C2%85b", "/%zz", "/a%", "/a#b", "javascript:alert(1)", " /a", "\t/a",
		"/" + strings.Repeat("x", maxPath), "/" + strings.Repeat("ü", maxPath/4),
	} {
		if got, err := CleanPath(in); err == nil {
			t.Errorf("CleanPath(%q) = %q, expected an error", in, got)
		}
	}
}

func TestOwnOrigin(t *testing.T) {
	s := &site{origin: "https://tool.example"}
	for _, tc := range []struct{ in, want string }{
		{"https://tool.example", "/"},
		{"https://tool.example/", "/"},
		{"https://TOOL.example:443/a?b", "/a?b"},
		{"https://tool.example?b", "/?b"},
		{"/a", "/a"},
		{"http://tool.example/a", ""},
		{"https://tool.example.evil/a", ""},
		{"https://tool.example@evil.example/a", ""},
		{"https://tool.example//evil.example", ""},
		{"https://tool.example/a/../b", ""},
		{"https://tool.example/a#b", ""},
		{`https://tool.example\@evil.example/a`, ""},
	} {
		got, err := s.page(tc.in)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("page(%q) = %q, %v; expected %q", tc.in, got, err, tc.want)
		}
	}
	if got, err := new(site).page("https://tool.example/a"); err == nil {
		t.Errorf("without a known origin: %q", got)
	}
}

func TestImage(t *testing.T) {
	for _, tc := range []struct{ origin, in, want string }{
		{"", "/i.png", "/i.png"},
		{"", "i.png", "/course/i.png"},
		{"", "../i.png?v=2#x", "/i.png?v=2"},
		{"", "../../../i.png", "/i.png"},
		{"", "sub dir/ü.png", "/course/sub%20dir/%C3%BC.png"},
		{"", "https://tool.example/i.png", ""},
		{"https://tool.example", "https://tool.example/i.png", "/i.png"},
		{"https://tool.example", "//tool.example/i.png", "/i.png"},
		{"https://tool.example", "http://tool.example/i.png", ""},
		{"https://tool.example", "https://cdn.example/i.png", ""},
		{"https://tool.example", "//cdn.example/i.png", ""},
		{"", "//cdn.example/i.png", ""},
		{"", "data:image/png;base64,AAAA", ""},
		{"", "javascript:alert(1)", ""},
		{"", `\\cdn.example\i.png`, ""},
		{"", "/a//b.png", ""},
		{"", "%zz", ""},
	} {
		if got := (&site{origin: tc.origin}).image(tc.in, "/course/page.html"); got != tc.want {
			t.Errorf("image(%q) of %q = %q, expected %q", tc.in, tc.origin, got, tc.want)
		}
	}
}

func FuzzCleanPath(f *testing.F) {
	for _, s := range []string{"/", "/a b?c=ü", "/%2e%2e/", "//x", "/a;b/..;/c", "/a%2fb", "/\\x", "/a?b?c#d", "/é%21"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		clean, err := CleanPath(raw)
		if err != nil {
			return
		}
		if again, err := CleanPath(clean); err != nil || again != clean {
			t.Fatalf("CleanPath(%q) = %q, but of that %q, %v", raw, clean, again, err)
		}
		for i := range len(clean) {
			if clean[i] <= ' ' || clean[i] >= 0x7f || clean[i] == '\\' {
				t.Fatalf("CleanPath(%q) = %q", raw, clean)
			}
		}
		// A browser on the site stays there, at that very path.
		base, _ := url.Parse("https://tool.example/lti/deeplink")
		u, err := base.Parse(clean)
		if err != nil || u.Host != "tool.example" || u.Scheme != "https" || u.RequestURI() != clean {
			t.Fatalf("CleanPath(%q) = %q leads to %v, %v", raw, clean, u, err)
		}
	})
}
