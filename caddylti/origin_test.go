package caddylti

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-lti/lti/lti"
)

func TestPublic(t *testing.T) {
	site := origin{hosts: map[string]bool{"tool.example.edu": true, "tool.localhost": true, "127.0.0.1": true, "::1": true}, ports: map[string]bool{"8443": true, "8080": true}}
	for _, tc := range []struct {
		name      string
		where     origin
		host      string
		tls       bool
		trusted   bool
		forwarded string // X-Forwarded-Proto
		want      string // empty: refused
	}{
		{"https", site, "tool.example.edu", true, false, "", "https://tool.example.edu"},
		{"host in upper case", site, "TOOL.Example.edu", true, false, "", "https://tool.example.edu"},
		{"port of the server", site, "tool.example.edu:8443", true, false, "", "https://tool.example.edu:8443"},
		{"port of https", site, "tool.example.edu:443", true, false, "", "https://tool.example.edu"},
		{"port of http, odd but true", site, "tool.example.edu:80", true, false, "", "https://tool.example.edu:80"},
		{"http on localhost", site, "tool.localhost:8080", false, false, "", "http://tool.localhost:8080"},
		{"http on localhost, port 80", site, "tool.localhost:80", false, false, "", "http://tool.localhost"},
		{"loopback", site, "127.0.0.1:8080", false, false, "", "http://127.0.0.1:8080"},
		{"IPv6", site, "[::1]:8080", false, false, "", "http://[::1]:8080"},
		{"IPv6 without a port", site, "[::1]", false, false, "", "http://[::1]"},
		{"behind a trusted proxy", site, "tool.example.edu", false, true, "https", "https://tool.example.edu"},
		{"in upper case", site, "tool.example.edu", false, true, "HTTPS", "https://tool.example.edu"},
		{"behind two", site, "tool.example.edu", false, true, "https, http", "https://tool.example.edu"},
		{"localhost behind a trusted proxy", site, "tool.localhost:8080", false, true, "https", "https://tool.localhost:8080"},

		{"another host", site, "evil.example", true, false, "", ""},
		{"a host that begins alike", site, "tool.example.edu.evil.example", true, false, "", ""},
		{"trailing dot", site, "tool.example.edu.", true, false, "", ""},
		{"port of nobody", site, "tool.example.edu:9999", true, false, "", ""},
		{"no host", site, "", true, false, "", ""},
		{"http", site, "tool.example.edu", false, false, "", ""},
		{"anybody can say https", site, "tool.example.edu", false, false, "https", ""},
		{"the trusted proxy saw http", site, "tool.example.edu", false, true, "http", ""},
		{"the first proxy saw http", site, "tool.example.edu", false, true, "http, https", ""},
		{"no hosts known", origin{}, "tool.example.edu", true, false, "", ""},

		// With url, nothing that a client says matters.
		{"fixed", origin{fixed: "https://tool.example.edu"}, "evil.example", false, false, "http", "https://tool.example.edu"},
		{"fixed, another host", origin{fixed: "https://tool.example.edu", hosts: site.hosts}, "tool.localhost", true, true, "http", "https://tool.example.edu"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Host = tc.host
			if tc.tls {
				r.TLS = new(tls.ConnectionState)
			}
			if tc.forwarded != "" {
				r.Header.Set("X-Forwarded-Proto", tc.forwarded)
			}
			r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.TrustedProxyVarKey: tc.trusted}))
			got, err := (&Handler{where: tc.where}).public(r)
			if got != tc.want || (err == nil) != (tc.want != "") {
				t.Fatalf("got %q, %v; want %q", got, err, tc.want)
			}
			var e *lti.Error
			if err != nil && (!errors.As(err, &e) || e.Code != lti.CodePublicURLUnknown) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestPublicOrigin(t *testing.T) {
	for raw, want := range map[string]string{
		"https://tool.example.edu":      "https://tool.example.edu",
		"https://tool.example.edu/":     "https://tool.example.edu",
		"HTTPS://Tool.Example.EDU":      "https://tool.example.edu",
		"https://tool.example.edu:443":  "https://tool.example.edu",
		"https://tool.example.edu:8443": "https://tool.example.edu:8443",
		"http://tool.localhost:8080":    "http://tool.localhost:8080",
		"http://localhost:80":           "http://localhost",
		"http://127.1.2.3":              "http://127.1.2.3",
		"http://[::1]:8080":             "http://[::1]:8080",

		"":                                  "",
		"tool.example.edu":                  "",
		"http://tool.example.edu":           "",
		"http://localhost.example.edu":      "",
		"http://10.0.0.1":                   "",
		"https://tool.example.edu/app":      "",
		"https://tool.example.edu/?":        "",
		"https://tool.example.edu#x":        "",
		"https://user@tool.example.edu":     "",
		"https://":                          "",
		"https://tool.example.edu:99999":    "",
		"wss://tool.example.edu":            "",
		"https://tool.example.edu/ https:/": "",
		"https://*.example.edu":             "",
		"https://bücher.example.edu":        "",
	} {
		if got, err := publicOrigin(raw); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", raw, got, err, want)
		}
	}
}

func TestOriginOf(t *testing.T) {
	for raw, want := range map[string]string{
		"https://a:443/x": "https://a", "http://a:80": "http://a", "https://a:80": "https://a:80", "http://a:443": "http://a:443",
		"https://A.B:8443?x": "https://a.b:8443", "https://[::1]:443": "https://[::1]", "https://a:": "https://a", "https://a:4443": "https://a:4443",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := originOf(u); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}

func TestListenPorts(t *testing.T) {
	got := listenPorts(&caddyhttp.Server{Listen: []string{":443", "127.0.0.1:9000-9002", "[::1]:8443", "udp/:1", "nonsense:x"}})
	want := map[string]bool{"443": true, "9000": true, "9001": true, "9002": true, "8443": true, "1": true}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSplitHost(t *testing.T) {
	for in, want := range map[string][2]string{
		"a": {"a", ""}, "A:1": {"a", "1"}, "[::1]:1": {"::1", "1"}, "[::1]": {"::1", ""}, "::1": {"::1", ""}, "": {"", ""}, "a:": {"a", ""},
	} {
		if host, port := splitHost(in); host != want[0] || port != want[1] {
			t.Errorf("%q: %q, %q", in, host, port)
		}
	}
}

func TestContainsPeer(t *testing.T) {
	prefixes, err := parsePrefixes([]string{"127.0.0.1", "10.1.0.0/16", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	for remote, want := range map[string]bool{
		"127.0.0.1:1": true, "[::ffff:127.0.0.1]:1": true, "10.1.255.255:1": true, "[fd00::1]:1": true, "[fd00::1%eth0]:1": true,
		"127.0.0.2:1": false, "10.2.0.1:1": false, "[::1]:1": false, "127.0.0.1": false, "": false, "localhost:1": false, "@": false,
	} {
		if got := containsPeer(prefixes, remote); got != want {
			t.Errorf("%q: %v", remote, got)
		}
	}
	if containsPeer(nil, "127.0.0.1:1") {
		t.Error("nobody is trusted, somebody is")
	}
	if _, err := parsePrefixes([]string{"127.0.0.1", "x"}); err == nil {
		t.Error("x is a network")
	}
}
