package httpx

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseAllow(t *testing.T) {
	for _, tt := range []struct {
		in, out string // out is empty if it is in
		permits []string
		not     []string
	}{
		{"10.1.0.0/16", "", []string{"10.1.0.0:1", "10.1.255.255:443"}, []string{"10.0.255.255:443", "10.2.0.0:443", "[::ffff:10.1.0.1]:443"}},
		{"127.0.0.1", "", []string{"127.0.0.1:1", "127.0.0.1:65535"}, []string{"127.0.0.2:1", "[::1]:1"}},
		{"127.0.0.1:8080", "", []string{"127.0.0.1:8080"}, []string{"127.0.0.1:8081", "127.0.0.1:80", "127.0.0.2:8080"}},
		{"10.0.0.5/32", "10.0.0.5", []string{"10.0.0.5:1"}, []string{"10.0.0.4:1"}},
		{"0.0.0.0/0", "", []string{"127.0.0.1:1"}, []string{"[::1]:1"}},
		{"::1", "", []string{"[::1]:443"}, []string{"127.0.0.1:443", "[::1%lo]:443", "[::2]:443"}},
		{"[::1]", "::1", []string{"[::1]:443"}, []string{"[::2]:443"}},
		{"[::1]:8080", "", []string{"[::1]:8080"}, []string{"[::1]:443"}},
		{"fd00::/8", "", []string{"[fd12::1]:443"}, []string{"[fe80::1]:443"}},
	} {
		r, err := ParseAllow(tt.in)
		if err != nil {
			t.Errorf("ParseAllow(%q): %v", tt.in, err)
			continue
		}
		want := tt.out
		if want == "" {
			want = tt.in
		}
		if r.String() != want {
			t.Errorf("ParseAllow(%q) = %s, want %s", tt.in, r, want)
		}
		for _, addr := range tt.permits {
			if !r.permits(netip.MustParseAddrPort(addr)) {
				t.Errorf("%s does not permit %s", r, addr)
			}
		}
		for _, addr := range tt.not {
			if r.permits(netip.MustParseAddrPort(addr)) {
				t.Errorf("%s permits %s", r, addr)
			}
		}
	}
}

func TestParseAllowErrors(t *testing.T) {
	for in, says := range map[string]string{
		"":                    "names cannot be allowed",
		"localhost":           "names cannot be allowed",
		"lms.example.edu:443": "names cannot be allowed",
		"10.0.0":              "not an address",
		"10.1.0.5/16":         "did you mean 10.1.0.0/16 or 10.1.0.5?",
		"10.0.0.0/33":         "not a network",
		"10.0.0.0/8:443":      "ports go with single addresses",
		"10.0.0.0/":           "not a network",
		"127.0.0.1:0":         `"0" is not a port`,
		"127.0.0.1:65536":     "is not a port",
		"127.0.0.1:http":      "is not a port",
		"127.0.0.1:":          "is not a port",
		"127.0.0.1:+80":       "is not a port",
		"[::1":                "brackets",
		"[127.0.0.1]:80":      "brackets",
		"[::1]x":              "after the brackets",
		"[::1]:":              "is not a port",
		"::ffff:10.0.0.1":     "must be written as one: 10.0.0.1",
		"::ffff:10.0.0.0/104": "must be written as one",
		"fe80::1%eth0":        "zone",
		"fe80::%eth0/64":      "zone",
		" 10.0.0.1":           "not an address",
	} {
		r, err := ParseAllow(in)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("ParseAllow(%q) = %q, %v; want an error with %q", in, r, err, says)
		}
		if r != (AllowRule{}) || r.String() != "" || r.permits(netip.MustParseAddrPort("0.0.0.0:0")) {
			t.Errorf("ParseAllow(%q) returned the rule %q beside the error", in, r)
		}
	}
}

func FuzzParseAllow(f *testing.F) {
	for _, seed := range []string{"10.1.0.0/16", "127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "::1", "fd00::/8", "[::1]", "a:1", "%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseAllow(s)
		if err != nil {
			if r != (AllowRule{}) {
				t.Errorf("ParseAllow(%q) = %v beside %v", s, r, err)
			}
			return
		}
		again, err := ParseAllow(r.String())
		if err != nil || again != r {
			t.Errorf("ParseAllow(%q) = %s, which parses to %s, %v", s, r, again, err)
		}
		port := max(r.port, 1)
		if !r.permits(netip.AddrPortFrom(r.prefix.Addr(), port)) {
			t.Errorf("ParseAllow(%q) = %s does not permit its own address", s, r)
		}
	})
}
