package httpx

import (
	"strings"
	"testing"
)

func TestCheckURL(t *testing.T) {
	for raw, says := range map[string]string{
		"https://lms.example.edu":                     "",
		"https://lms.example.edu:8443/a/b?c=d":        "",
		"HTTPS://LMS.example.edu/":                    "",
		"https://93.184.216.34/":                      "",
		"https://[2606:2800::1]:443/":                 "",
		"https://10.0.0.1/":                           "", // for the dialer to judge
		"https://lms.example.edu/%2F?q=%23":           "",
		"http://localhost/":                           "",
		"http://LocalHost:8080/x?y":                   "",
		"http://lms.localhost./":                      "",
		"http://127.8.9.1:80/":                        "",
		"http://[::1]/":                               "",
		"":                                            "not absolute",
		"/path":                                       "not absolute",
		"//lms.example.edu/":                          "not absolute",
		"lms.example.edu":                             "not absolute",
		"lms.example.edu:443":                         "invalid URL",
		"https:":                                      "no host",
		"https:///path":                               "no host",
		"https://:443/":                               "no host",
		"https:lms.example.edu":                       "no host",
		"ftp://lms.example.edu/":                      `scheme "ftp"`,
		"file:///etc/passwd":                          `scheme "file"`,
		"http://lms.example.edu/":                     "https is required",
		"http://localhost.example.edu/":               "https is required",
		"http://notlocalhost/":                        "https is required",
		"http://10.0.0.1/":                            "https is required",
		"http://0.0.0.0/":                             "https is required",
		"http://[::ffff:127.0.0.1]/":                  "https is required",
		"http://127.1/":                               "https is required",
		"http://2130706433/":                          "https is required",
		"https://user@lms.example.edu/":               "user",
		"https://user:pass@lms.example.edu/":          "user",
		"http://localhost@evil.example/":              "user",
		"https://lms.example.edu/#part":               "fragment",
		"https://lms.example.edu/#":                   "fragment",
		"https://[fe80::1%25eth0]/":                   "zone",
		"https://lms.example.edu:0/":                  "port",
		"https://lms.example.edu:65536/":              "port",
		"https://lms.example.edu:/":                   "port",
		"https://lms.example.edu:x/?secret":           "port",
		"https://lms.exa mple.edu/?secret":            "invalid",
		"https://lms.example.edu/%zz?secret":          "invalid",
		"https://lms.example.edu/?secret\x00":         "invalid",
		"https://lms.example.edu/\r\nHost: x?secret":  "invalid",
		"https://[::1/?secret":                        "invalid",
		"http://lms.example.edu/token?secret":         "https is required",
		"https://user:pa@ss@lms.example.edu/?secret#": "invalid URL",
	} {
		u, err := CheckURL(raw)
		switch {
		case says == "" && err != nil:
			t.Errorf("CheckURL(%q): %v", raw, err)
		case says != "" && (err == nil || !strings.Contains(err.Error(), says)):
			t.Errorf("CheckURL(%q): %v, want an error with %q", raw, err, says)
		case (u == nil) != (err != nil):
			t.Errorf("CheckURL(%q) = %v, %v", raw, u, err)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("CheckURL(%q): %q contains the query", raw, err)
		}
	}
}

func TestIsLocalHost(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost":          true,
		"localhost.":         true,
		"LOCALHOST":          true,
		"lms.localhost":      true,
		"a.b.LocalHost.":     true,
		"127.0.0.1":          true,
		"127.255.255.254":    true,
		"::1":                true,
		"":                   false,
		".":                  false,
		".localhost":         false,
		"a..localhost":       false,
		"localhost..":        false,
		"mylocalhost":        false,
		"localhost.evil.com": false,
		"128.0.0.1":          false,
		"0.0.0.0":            false,
		"::":                 false,
		"::ffff:127.0.0.1":   false,
		"::1%eth0":           false,
		"127.1":              false,
		"0x7f000001":         false,
		"10.0.0.1":           false,
	} {
		if got := IsLocalHost(host); got != want {
			t.Errorf("IsLocalHost(%q) = %t, want %t", host, got, want)
		}
	}
}

func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{
		"https://lms.example.edu/jwks?x=1", "http://localhost:80/", "https://[::1]:1/",
		"https://u:p@h/", "http://h/?", "https://h#f", "https://h:0", "//h", "https://%41/",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		const secret = "S3cr3tQu3ry"
		for _, raw := range []string{raw, raw + "?" + secret} {
			u, err := CheckURL(raw)
			if err != nil {
				if before, _, ok := strings.Cut(raw, "?"); ok && !strings.Contains(before, secret) && strings.Contains(err.Error(), secret) {
					t.Errorf("CheckURL(%q): %q contains the query", raw, err)
				}
				continue
			}
			if u.Scheme != "https" && (u.Scheme != "http" || !IsLocalHost(u.Hostname())) {
				t.Errorf("CheckURL(%q) accepts scheme %q", raw, u.Scheme)
			}
			if u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
				t.Errorf("CheckURL(%q) = %#v", raw, u)
			}
			if again, err := CheckURL(u.String()); err != nil || again.Host != u.Host {
				t.Errorf("CheckURL(%q) does not accept its own result %q: %v", raw, u, err)
			}
		}
	})
}
