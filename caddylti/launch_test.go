package caddylti

import (
	"errors"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/lti"
)

func TestTarget(t *testing.T) {
	const origin = "https://tool.example"
	for _, tc := range []struct{ in, want string }{ // an empty want is a refusal
		{"https://tool.example/quiz", "https://tool.example/quiz"},
		{"https://tool.example/", "https://tool.example/"},
		{"https://tool.example", "https://tool.example/"},
		{"https://tool.example?a=b", "https://tool.example/?a=b"},
		{"https://tool.example/q?", "https://tool.example/q?"},
		{"https://tool.example/q?a=b&a=c&d#part-2", "https://tool.example/q?a=b&a=c&d#part-2"},
		{"https://tool.example/q?a=%zz;b", "https://tool.example/q?a=%zz;b"},
		{"https://tool.example/a%2Fb%20c", "https://tool.example/a%2Fb%20c"},
		{"https://tool.example/é?q=é#é", "https://tool.example/%C3%A9?q=%C3%A9#%C3%A9"},
		{"https://tool.example/q?a=<b>\"c\" d", "https://tool.example/q?a=%3Cb%3E%22c%22%20d"},
		{"HTTPS://TOOL.example/Quiz", "https://tool.example/Quiz"},
		{"https://tool.example:443/quiz", "https://tool.example/quiz"},
		{"https://tool.example:/quiz", "https://tool.example/quiz"},

		// The tool's own addresses stand for the tool.
		{"https://tool.example/lti", "https://tool.example/start"},
		{"https://tool.example/lti/", "https://tool.example/start"},
		{"https://tool.example/lti/launch", "https://tool.example/start"},
		{"https://tool.example/lti/login?x=y", "https://tool.example/start"},
		{"https://tool.example/lti/unheard/of", "https://tool.example/start"},
		{"https://tool.example/%6cti/logout", "https://tool.example/start"},
		{"https://tool.example/x/../lti/logout", "https://tool.example/start"},
		{"https://tool.example//lti/logout", "https://tool.example/start"},
		{"https://tool.example/lti%2flogout", "https://tool.example/start"},
		{"https://tool.example/ltix", "https://tool.example/ltix"},
		{"https://tool.example/LTI/launch", "https://tool.example/LTI/launch"},

		// Stays here, whatever it looks like.
		{"https://tool.example//evil.example/", "https://tool.example//evil.example/"},
		{"https://tool.example/https://evil.example/", "https://tool.example/https://evil.example/"},
		{"https://tool.example/?next=https://evil.example/", "https://tool.example/?next=https://evil.example/"},
		{"https://tool.example/@evil.example/", "https://tool.example/@evil.example/"},

		// Open redirects.
		{"", ""},
		{"https://evil.example/", ""},
		{"https://tool.example.evil.example/", ""},
		{"https://eviltool.example/", ""},
		{"https://sub.tool.example/", ""},
		{"https://tool.example./", ""},
		{"https://tool.example:8443/", ""},
		{"https://tool.example:80/", ""},
		{"http://tool.example/", ""},
		{"http://tool.example:443/", ""},
		{"ftp://tool.example/", ""},
		{"//tool.example/quiz", ""},
		{"/quiz", ""},
		{"quiz", ""},
		{"?a=b", ""},
		{"#a", ""},
		{"https:", ""},
		{"https:/tool.example/", ""},
		{"https:tool.example/", ""},
		{"https:///tool.example/", ""},
		{"https://tool.example@evil.example/", ""},
		{"https://tool.example:443@evil.example/", ""},
		{"https://user@tool.example/", ""},
		{"https://user:pass@tool.example/", ""},
		{`https://tool.example\@evil.example/`, ""},
		{`https://evil.example\@tool.example/`, ""},
		{`https:\\tool.example\`, ""},
		{`https://tool.example/a\b`, ""},
		{"https://tool.example%2eevil.example/", ""},
		{"https://tool.example%00.evil.example/", ""},
		{"https://tool.example\t.evil.example/", ""},
		{"https://tool.example/\r\nSet-Cookie: a=b", ""},
		{"https://tool.example/\x00", ""},
		{" https://tool.example/", ""},
		{"https://tool。example/", ""},
		{"javascript:alert(1)", ""},
		{"javascript://tool.example/%0aalert(1)", ""},
		{"data:text/html,x", ""},
		{"https://[::1]/", ""},
		{"https://tool.example]/", ""},
	} {
		h := &Handler{Base: "/lti", Home: "/start"}
		got, err := h.target(httptest.NewRequest("POST", "https://tool.example/lti/launch", nil), &lti.Launch{TargetLinkURI: tc.in, MessageType: lti.MessageResourceLink}, origin)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%q: got %q, %v; want %q", tc.in, got, err, tc.want)
			continue
		}
		if err != nil {
			var e *lti.Error
			if !errors.As(err, &e) || e.Code != lti.CodeTargetForeign {
				t.Errorf("%q: %v", tc.in, err)
			}
			continue
		}
		if u, err := url.Parse(got); err != nil || u.Scheme+"://"+u.Host != origin || !strings.HasPrefix(got, origin+"/") {
			t.Errorf("%q: %q leads elsewhere", tc.in, got)
		}
	}
}

func TestTargetOfMessage(t *testing.T) {
	h := &Handler{Base: "/lti", Home: "/", Messages: map[string]string{"LtiFooRequest": "/foo?x=y", "LtiBarRequest": ""}}
	for _, tc := range []struct{ typ, in, want string }{
		// With a path of its own, the message's target does not matter.
		{"LtiFooRequest", "https://tool.example/quiz", "https://tool.example/foo?x=y"},
		{"LtiFooRequest", "https://evil.example/", "https://tool.example/foo?x=y"},
		{"LtiBarRequest", "https://tool.example/quiz", "https://tool.example/quiz"},
		{"LtiBarRequest", "https://evil.example/", ""},
	} {
		got, err := h.target(httptest.NewRequest("POST", "https://tool.example/lti/launch", nil), &lti.Launch{TargetLinkURI: tc.in, MessageType: tc.typ}, "https://tool.example")
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s to %q: got %q, %v; want %q", tc.typ, tc.in, got, err, tc.want)
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"https://tool.example/a?b#c", "https://tool.example\\@evil.example", "//evil.example", "https://tool.example/%2e%2e/lti"} {
		f.Add(s)
	}
	h := &Handler{Base: "/lti", Home: "/"}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := h.target(httptest.NewRequest("POST", "https://tool.example/lti/launch", nil), &lti.Launch{TargetLinkURI: s}, "https://tool.example")
		if err != nil {
			return
		}
		if !strings.HasPrefix(got, "https://tool.example/") {
			t.Errorf("%q: %q leads elsewhere", s, got)
		}
		for i := range len(got) {
			if got[i] <= 0x20 || got[i] >= 0x7f || got[i] == '\\' {
				t.Errorf("%q: %q has the byte %#x", s, got, got[i])
			}
		}
	})
}
