package httpx

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// CheckURL parses an address that the plugin may ask, and tells whether it
// may: an absolute https URL with a host, without user and fragment. Plain
// http is good for the hosts of [IsLocalHost] only. Which addresses the host
// may have is decided when it is dialled.
//
// The error never contains the query, which may hold a secret.
func CheckURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("invalid URL: %w", cause(err))
	}
	switch host := u.Hostname(); {
	case u.Scheme == "":
		return nil, errors.New("invalid URL: not absolute: it must begin with https://")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("invalid URL: scheme %q: https is required", u.Scheme)
	case host == "":
		return nil, errors.New("invalid URL: no host")
	case u.User != nil:
		return nil, errors.New("invalid URL: it must not contain a user")
	case strings.Contains(raw, "#"):
		return nil, errors.New("invalid URL: it must not contain a fragment")
	case strings.Contains(host, "%"):
		return nil, errors.New("invalid URL: host with a zone")
	case !validPort(u):
		return nil, errors.New("invalid URL: bad port")
	case u.Scheme == "http" && !IsLocalHost(host):
		return nil, fmt.Errorf("invalid URL: http to %q: https is required, except for localhost", host)
	}
	return u, nil
}

func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && n > 0
}

// IsLocalHost tells whether host, a name or an address without port, is one
// for which http is good enough: localhost, names below it, 127.0.0.0/8 and
// ::1. That makes it no less private to the client.
func IsLocalHost(host string) bool {
	if isLocalName(host) {
		return true
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" || addr.Is4In6() {
		return false
	}
	return addr.IsLoopback()
}

// isLocalName tells whether name is localhost or below it (RFC 6761, 6.3).
func isLocalName(name string) bool {
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(name, ".")), ".")
	return labels[len(labels)-1] == "localhost" && !slices.Contains(labels, "")
}

// Param is a parameter of a query: its name and its value.
type Param [2]string

// WithParams adds parameters with a value to the query of a URL, after what is
// there. It works on the text, so that nothing else in it changes.
func WithParams(raw string, params ...Param) (string, error) {
	if _, err := CheckURL(raw); err != nil {
		return "", err
	}
	for _, p := range params {
		name, value := p[0], p[1]
		if value == "" {
			continue
		}
		switch {
		case !strings.Contains(raw, "?"):
			raw += "?"
		case !strings.HasSuffix(raw, "?") && !strings.HasSuffix(raw, "&"):
			raw += "&"
		}
		raw += name + "=" + url.QueryEscape(value)
	}
	return raw, nil
}

// display is u for messages: without user, query and fragment.
func display(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}
