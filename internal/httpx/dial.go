package httpx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// maxAddrs bounds how many addresses of one name are tried.
const maxAddrs = 8

// dialer opens the connections of the transport. It resolves names itself,
// judges each address and dials what it has judged, so that a second answer of
// the DNS cannot slip in between.
type dialer struct {
	allow   []AllowRule
	timeout time.Duration // for the name and all its addresses
	lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error)
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
}

func newDialer(allow []AllowRule, timeout time.Duration) *dialer {
	return &dialer{
		allow:   allow,
		timeout: timeout,
		lookup:  net.DefaultResolver.LookupNetIP,
		dial:    (&net.Dialer{}).DialContext,
	}
}

// DialContext has the form that [net/http.Transport] wants.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	addrs, err := d.resolve(ctx, network, address)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	var errs []error
	for i, addr := range addrs {
		// A dead address must leave time for those after it.
		share := time.Until(deadline) / time.Duration(len(addrs)-i)
		conn, err := d.dialOne(ctx, share, network, addr)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (d *dialer) dialOne(ctx context.Context, timeout time.Duration, network string, addr netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return d.dial(ctx, network, addr.String())
}

// resolve returns the addresses behind host:port that may be dialled. A name
// with public and private addresses keeps the public ones, as is usual where
// a network translates (NAT64) or has a DNS of its own.
func (d *dialer) resolve(ctx context.Context, network, address string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, network, service)
	if err != nil {
		return nil, err
	}
	found, err := d.addrs(ctx, host)
	if err != nil {
		return nil, err
	}
	var good []netip.AddrPort
	var first error
	for _, addr := range found {
		// A mapped address reaches the IPv4 host inside it. A zone would be
		// lost on the way, so it is looked at before.
		if addr.Zone() == "" {
			addr = addr.Unmap()
		}
		ap := netip.AddrPortFrom(addr, uint16(port)) //nolint:gosec // LookupPort knows no larger ones
		switch why := refused(addr); {
		case why == "" || d.allowed(ap):
			good = append(good, ap)
		case first == nil:
			first = &PrivateAddressError{Host: host, Addr: ap, Kind: why}
		}
	}
	switch {
	case len(good) > 0:
		return good[:min(len(good), maxAddrs)], nil
	case first != nil:
		return nil, first
	default:
		return nil, &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
	}
}

// addrs returns the addresses of a name, or the one that host is.
func (d *dialer) addrs(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	if isLocalName(host) {
		// Go asks the DNS for names below localhost; RFC 6761 forbids that.
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	}
	return d.lookup(ctx, "ip", host)
}

func (d *dialer) allowed(addr netip.AddrPort) bool {
	for _, r := range d.allow {
		if r.permits(addr) {
			return true
		}
	}
	return false
}

// PrivateAddressError says which address was refused. It is an
// [ErrPrivateAddress].
type PrivateAddressError struct {
	Host string         // as the URL has it
	Addr netip.AddrPort // what the host is, or resolves to
	Kind string         // why the address counts as private, such as "loopback"
}

func (e *PrivateAddressError) Error() string {
	return fmt.Sprintf("%v: %s is %s (%s); if that is meant, allow it in the global lti options: http_client { allow_private %s }",
		ErrPrivateAddress, e.Host, e.Addr.Addr(), e.Kind, e.Addr)
}

// Unwrap makes the error match [ErrPrivateAddress].
func (e *PrivateAddressError) Unwrap() error { return ErrPrivateAddress }
