package httpx

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// AllowRule permits private addresses: a network, or one address and perhaps
// one of its ports. Make it with [ParseAllow]; the zero value permits nothing.
type AllowRule struct {
	prefix netip.Prefix
	port   uint16 // 0 means every port
}

// ParseAllow parses a word of the option allow_private: a network such as
// 10.1.0.0/16, an address, or an address with a port such as 127.0.0.1:8080 or
// [::1]:8080.
func ParseAllow(s string) (AllowRule, error) {
	r, err := parseAllow(s)
	if err != nil {
		return AllowRule{}, fmt.Errorf("allow_private %q: %w", s, err)
	}
	return r, nil
}

func parseAllow(s string) (AllowRule, error) {
	if strings.Contains(s, "%") {
		return AllowRule{}, errors.New("addresses with a zone cannot be allowed")
	}
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return AllowRule{}, errors.New("not a network such as 10.1.0.0/16; ports go with single addresses only")
		}
		if p.Addr().Is4In6() {
			return AllowRule{}, errors.New("an IPv4 network must be written as one, such as 10.1.0.0/16")
		}
		if p != p.Masked() {
			return AllowRule{}, fmt.Errorf("not the start of a network; did you mean %s or %s?", p.Masked(), p.Addr())
		}
		return AllowRule{prefix: p}, nil
	}

	host, port, err := splitPort(s)
	if err != nil {
		return AllowRule{}, err
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return AllowRule{}, errors.New("not an address, address:port or network; names cannot be allowed, their addresses can")
	}
	if addr.Is4In6() {
		return AllowRule{}, fmt.Errorf("an IPv4 address must be written as one: %s", addr.Unmap())
	}
	return AllowRule{prefix: netip.PrefixFrom(addr, addr.BitLen()), port: port}, nil
}

// splitPort splits the port off an address, 0 if there is none.
func splitPort(s string) (host string, port uint16, err error) {
	var digits string
	switch bracketed, ok := strings.CutPrefix(s, "["); {
	case ok:
		host, digits, ok = strings.Cut(bracketed, "]")
		if !ok || !strings.Contains(host, ":") {
			return "", 0, errors.New("brackets go around an IPv6 address, as in [::1]:8080")
		}
		if digits == "" {
			return host, 0, nil
		}
		if digits, ok = strings.CutPrefix(digits, ":"); !ok {
			return "", 0, errors.New("after the brackets only :port can follow, as in [::1]:8080")
		}
	case strings.Count(s, ":") == 1:
		host, digits, _ = strings.Cut(s, ":")
	default:
		return s, 0, nil
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%q is not a port", digits)
	}
	return host, uint16(n), nil
}

// String returns the rule in the form that [ParseAllow] reads.
func (r AllowRule) String() string {
	switch {
	case !r.prefix.IsValid():
		return ""
	case r.port != 0:
		return netip.AddrPortFrom(r.prefix.Addr(), r.port).String()
	case r.prefix.IsSingleIP():
		return r.prefix.Addr().String()
	default:
		return r.prefix.String()
	}
}

func (r AllowRule) permits(addr netip.AddrPort) bool {
	// A zone never matches: Contains sees to it.
	return r.prefix.Contains(addr.Addr()) && (r.port == 0 || r.port == addr.Port())
}
