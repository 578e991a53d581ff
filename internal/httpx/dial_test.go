package httpx

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRefused(t *testing.T) {
	for addr, want := range map[string]string{
		"93.184.216.34":            "",
		"1.1.1.1":                  "",
		"9.255.255.255":            "",
		"11.0.0.0":                 "",
		"100.63.255.255":           "",
		"100.128.0.0":              "",
		"172.15.255.255":           "",
		"172.32.0.0":               "",
		"192.0.1.1":                "",
		"198.17.255.255":           "",
		"198.20.0.0":               "",
		"223.255.255.255":          "",
		"2606:4700::1111":          "",
		"2a00:1450::1":             "",
		"2001:4860:4860::8888":     "",
		"2003::1":                  "",
		"0.0.0.0":                  "this host",
		"0.1.2.3":                  "this host",
		"10.0.0.0":                 "private",
		"10.255.255.255":           "private",
		"100.64.0.0":               "carrier-grade NAT",
		"100.100.100.200":          "carrier-grade NAT", // Alibaba's metadata
		"100.127.255.255":          "carrier-grade NAT",
		"127.0.0.1":                "loopback",
		"127.255.255.255":          "loopback",
		"168.63.129.16":            "cloud metadata",
		"169.254.169.254":          "link-local",
		"172.16.0.0":               "private",
		"172.31.255.255":           "private",
		"192.0.0.192":              "protocol assignments", // Oracle's metadata
		"192.0.2.1":                "documentation",
		"192.88.99.1":              "6to4 relay",
		"192.168.0.1":              "private",
		"198.18.0.1":               "benchmark",
		"198.19.255.255":           "benchmark",
		"198.51.100.1":             "documentation",
		"203.0.113.1":              "documentation",
		"224.0.0.1":                "multicast",
		"239.255.255.255":          "multicast",
		"240.0.0.1":                "reserved",
		"255.255.255.255":          "reserved",
		"::":                       "this host",
		"::1":                      "loopback",
		"::7f00:1":                 "IPv4-compatible",
		"::5db8:d822":              "IPv4-compatible", // of a public one
		"64:ff9b::7f00:1":          "NAT64",
		"64:ff9b::5db8:d822":       "NAT64",
		"64:ff9b:1::1":             "NAT64",
		"64:ff9b:2::1":             "reserved",
		"100::1":                   "reserved", // discard-only
		"2001::1":                  "Teredo",
		"2001:0:ffff::1":           "Teredo",
		"2001:2::1":                "benchmark",
		"2001:20::1":               "protocol assignments",
		"2001:db8::1":              "documentation",
		"2002:7f00:1::":            "6to4",
		"3fff::1":                  "documentation",
		"3fff:1000::1":             "",
		"4000::1":                  "reserved",
		"5f00::1":                  "reserved",
		"fc00::1":                  "private",
		"fd00:ec2::254":            "private", // Amazon's metadata
		"fe80::1":                  "link-local",
		"fec0::1":                  "reserved",
		"ff02::1":                  "multicast",
		"fe80::1%eth0":             "zoned",
		"2606:4700::1111%eth0":     "zoned",
		"::ffff:0:5db8:d822":       "reserved", // IPv4-translated
		"::ffff:93.184.216.34%lo0": "zoned",
	} {
		a, err := netip.ParseAddr(addr)
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		if got := refused(a); got != want {
			t.Errorf("refused(%s) = %q, want %q", addr, got, want)
		}
	}
	if got := refused(netip.Addr{}); got == "" {
		t.Error("the zero address is not refused")
	}
}

// fakeNet is a network and a DNS that exist only in the test.
type fakeNet struct {
	names  map[string][]string
	dialed []string
	dead   []string // addresses that refuse
	slow   []string // addresses that never answer
	asked  []string
}

func (n *fakeNet) dialer(t *testing.T, allow ...string) *dialer {
	t.Helper()
	d := newDialer(nil, connectTimeout)
	for _, s := range allow {
		r, err := ParseAllow(s)
		if err != nil {
			t.Fatal(err)
		}
		d.allow = append(d.allow, r)
	}
	d.lookup = func(_ context.Context, _, host string) ([]netip.Addr, error) {
		n.asked = append(n.asked, host)
		var addrs []netip.Addr
		for _, a := range n.names[host] {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		return addrs, nil
	}
	d.dial = func(ctx context.Context, _, address string) (net.Conn, error) {
		n.dialed = append(n.dialed, address)
		switch {
		case slices.Contains(n.dead, address):
			return nil, errors.New("connection refused: " + address)
		case slices.Contains(n.slow, address):
			<-ctx.Done()
			return nil, ctx.Err()
		}
		conn, other := net.Pipe()
		_ = other.Close()
		return conn, nil
	}
	return d
}

func TestDial(t *testing.T) {
	for _, tt := range []struct {
		name    string
		names   []string // what the DNS says of lms.example.edu
		allow   []string
		address string // default lms.example.edu:443
		dialed  []string
		refused string // the address in the error
	}{
		{name: "public", names: []string{"93.184.216.34"}, dialed: []string{"93.184.216.34:443"}},
		{name: "private", names: []string{"10.0.0.1"}, refused: "10.0.0.1"},
		{name: "private, network allowed", names: []string{"10.0.0.1"}, allow: []string{"10.0.0.0/8"}, dialed: []string{"10.0.0.1:443"}},
		{name: "private, other port allowed", names: []string{"10.0.0.1"}, allow: []string{"10.0.0.1:8080"}, refused: "10.0.0.1"},
		{name: "private, port allowed", names: []string{"10.0.0.1"}, allow: []string{"10.0.0.1:443"}, dialed: []string{"10.0.0.1:443"}},
		{name: "public beside private", names: []string{"10.0.0.1", "64:ff9b::1", "93.184.216.34"}, dialed: []string{"93.184.216.34:443"}},
		{name: "mapped private", names: []string{"::ffff:10.0.0.1"}, refused: "10.0.0.1"},
		{name: "mapped public", names: []string{"::ffff:93.184.216.34"}, dialed: []string{"93.184.216.34:443"}},
		{name: "mapped, allowed by its IPv4 form", names: []string{"::ffff:10.0.0.1"}, allow: []string{"10.0.0.1"}, dialed: []string{"10.0.0.1:443"}},
		{name: "literal", address: "93.184.216.34:443", dialed: []string{"93.184.216.34:443"}},
		{name: "private literal", address: "169.254.169.254:80", refused: "169.254.169.254"},
		{name: "mapped literal", address: "[::ffff:127.0.0.1]:80", refused: "127.0.0.1"},
		{name: "zoned literal", address: "[fe80::1%lo]:80", allow: []string{"fe80::/10"}, refused: "fe80::1%lo"},
		{name: "zoned mapped literal", address: "[::ffff:93.184.216.34%lo]:80", refused: "::ffff:93.184.216.34%lo"},
		{name: "localhost", address: "localhost:80", refused: "127.0.0.1"},
		{name: "below localhost", address: "lms.LOCALHOST.:80", refused: "127.0.0.1"},
		{name: "localhost, allowed", address: "a.localhost:80", allow: []string{"127.0.0.1:80"}, dialed: []string{"127.0.0.1:80"}},
		{name: "localhost, IPv6 allowed", address: "a.localhost:80", allow: []string{"::1"}, dialed: []string{"[::1]:80"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := &fakeNet{names: map[string][]string{
				"lms.example.edu": tt.names,
				// The DNS may say what it likes of these, it is not asked.
				"localhost": {"93.184.216.34"}, "a.localhost": {"93.184.216.34"}, "lms.LOCALHOST.": {"93.184.216.34"},
			}}
			if tt.address == "" {
				tt.address = "lms.example.edu:443"
			}
			conn, err := n.dialer(t, tt.allow...).DialContext(t.Context(), "tcp", tt.address)
			if conn != nil {
				_ = conn.Close()
			}
			if !slices.Equal(n.dialed, tt.dialed) {
				t.Errorf("dialed %v, want %v", n.dialed, tt.dialed)
			}
			if tt.refused == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var private *PrivateAddressError
			if !errors.Is(err, ErrPrivateAddress) || !errors.As(err, &private) {
				t.Fatalf("error %v, want ErrPrivateAddress", err)
			}
			host, port, _ := net.SplitHostPort(tt.address)
			for _, part := range []string{host, tt.refused, "http_client { allow_private", ":" + port + " }"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not mention %q", err, part)
				}
			}
		})
	}
}

func TestDialAsksOnce(t *testing.T) {
	// A name that is public when judged and private when dialled: there is
	// no second question that could be answered differently.
	n := &fakeNet{names: map[string][]string{"rebind.example": {"93.184.216.34"}}}
	d := n.dialer(t)
	answer := d.lookup
	d.lookup = func(ctx context.Context, network, host string) ([]netip.Addr, error) {
		defer func() { n.names[host] = []string{"127.0.0.1"} }()
		return answer(ctx, network, host)
	}
	conn, err := d.DialContext(t.Context(), "tcp", "rebind.example:443")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if len(n.asked) != 1 || !slices.Equal(n.dialed, []string{"93.184.216.34:443"}) {
		t.Errorf("asked for %v, dialed %v", n.asked, n.dialed)
	}
	if _, err := d.DialContext(t.Context(), "tcp", "rebind.example:443"); !errors.Is(err, ErrPrivateAddress) {
		t.Errorf("second connection: %v, want ErrPrivateAddress", err)
	}
}

func TestDialGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNet{
			names: map[string][]string{"lms.example.edu": {"2606:4700::1", "93.184.216.34", "93.184.216.35"}},
			slow:  []string{"[2606:4700::1]:443"},
			dead:  []string{"93.184.216.34:443"},
		}
		start := time.Now()
		conn, err := n.dialer(t).DialContext(t.Context(), "tcp", "lms.example.edu:443")
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		if len(n.dialed) != 3 {
			t.Errorf("dialed %v", n.dialed)
		}
		if took := time.Since(start); took > connectTimeout/2 {
			t.Errorf("a dead address took %s", took)
		}
	})
}

func TestDialErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNet{
			names: map[string][]string{
				"dead.example": {"1.0.0.1", "1.0.0.2"},
				"slow.example": {"1.0.0.3", "1.0.0.4"},
				"many.example": slices.Repeat([]string{"1.0.0.1"}, 500),
			},
			dead: []string{"1.0.0.1:443", "1.0.0.2:443"},
			slow: []string{"1.0.0.3:443", "1.0.0.4:443"},
		}
		d := n.dialer(t)
		_, err := d.DialContext(t.Context(), "tcp", "dead.example:443")
		if err == nil || !strings.Contains(err.Error(), "1.0.0.1") || !strings.Contains(err.Error(), "1.0.0.2") {
			t.Errorf("two dead addresses: %v", err)
		}
		start := time.Now()
		_, err = d.DialContext(t.Context(), "tcp", "slow.example:443")
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != connectTimeout {
			t.Errorf("two slow addresses: %v after %s", err, took)
		}
		var dns *net.DNSError
		if _, err = d.DialContext(t.Context(), "tcp", "none.example:443"); !errors.As(err, &dns) {
			t.Errorf("no address: %v", err)
		}
		n.dialed = nil
		_, _ = d.DialContext(t.Context(), "tcp", "many.example:443")
		if len(n.dialed) != maxAddrs {
			t.Errorf("%d of 500 addresses dialed, want %d", len(n.dialed), maxAddrs)
		}
	})
}
