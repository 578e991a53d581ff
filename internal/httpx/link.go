package httpx

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// ErrForeignLink says that the next page would lie with another server, which
// must not see the bearer token.
var ErrForeignLink = errors.New("the link to the next page leads to another origin")

// Origin returns scheme, host and port of an address that [CheckURL] accepts,
// in one spelling: lower case, without the scheme's own port.
func Origin(raw string) (string, error) {
	u, err := CheckURL(raw)
	if err != nil {
		return "", err
	}
	return origin(u), nil
}

func origin(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return scheme + "://" + host
}

// NextPage returns where the answer to a request for base says that the next
// page is: its Link with rel=next (RFC 8288), resolved, otherwise as it came.
// It is empty on the last page, and an [ErrForeignLink] on another origin.
//
// Moodle 4.5 and 5.1 put rel in typographic quotes and escape the URL for HTML
// (rel=“next”, &amp;). Both are understood.
func NextPage(h http.Header, base string) (string, error) {
	for _, field := range h.Values("Link") {
		for field != "" {
			var target, params string
			target, params, field = cutLink(field)
			if target != "" && isNext(params) {
				return nextPage(target, base)
			}
		}
	}
	return "", nil
}

func nextPage(target, base string) (string, error) {
	from, err := CheckURL(base)
	if err != nil {
		return "", err
	}
	// No URL of sense has "&amp;" in it. Other entities stay: "&lt=1" is a
	// parameter of that name.
	to, err := from.Parse(strings.ReplaceAll(target, "&amp;", "&"))
	if err != nil {
		return "", fmt.Errorf("link to the next page: %w", cause(err))
	}
	to.Fragment, to.RawFragment = "", ""
	next := to.String()
	if to, err = CheckURL(next); err != nil {
		return "", fmt.Errorf("link to the next page: %w", err)
	}
	if origin(to) != origin(from) {
		return "", fmt.Errorf("%w: %s", ErrForeignLink, origin(to))
	}
	return next, nil
}

// cutLink takes the first link off a header field: what stands between its
// angle brackets, its parameters, and the rest of the field. A comma within
// either does not end it, unlike one between them (RFC 8288 §3). The target is
// empty where there is no link any more.
func cutLink(field string) (target, params, rest string) {
	_, field, ok := strings.Cut(field, "<")
	if !ok {
		return "", "", ""
	}
	if target, field, ok = strings.Cut(field, ">"); !ok {
		return "", "", ""
	}
	quoted := false
	for i := 0; i < len(field); i++ {
		switch c := field[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			return strings.TrimSpace(target), field[:i], field[i+1:]
		}
	}
	return strings.TrimSpace(target), field, ""
}

// isNext tells whether next is among the relation types of a link. The first
// rel counts (RFC 8288 §3.3), and one with an anchor is about something else.
func isNext(params string) bool {
	next, seen := false, false
	for param := range splitParams(params) {
		name, value, _ := strings.Cut(param, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "anchor":
			return false
		case "rel":
			if seen {
				continue
			}
			seen = true
			value = strings.Trim(strings.TrimSpace(value), `"“”`)
			for rel := range strings.FieldsSeq(value) {
				next = next || strings.EqualFold(rel, "next")
			}
		}
	}
	return next
}

// splitParams yields what stands between semicolons outside of quotes.
func splitParams(s string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		quoted, start := false, 0
		for i := 0; i < len(s); i++ {
			switch c := s[i]; {
			case quoted && c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case c == ';' && !quoted:
				if !yield(s[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(s[start:])
	}
}
