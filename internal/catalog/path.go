package catalog

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/caddy-lti/lti/internal/httpx"
)

// nowhere stands for the origin of a site that is not known.
const nowhere = "https://site.invalid"

var errOutside = errors.New("expected a path of this site, which begins with one slash")

// site decides what is of the site.
type site struct {
	origin   string
	reserved func(string) bool
}

// CleanPath returns a path of the site, with its query, percent-encoded. What
// could lead elsewhere, or mean one thing to us and another to the server behind
// us, is refused: other hosts, //, backslashes and encoded slashes, dot segments,
// control characters. So are fragments, which a launch cannot open.
func CleanPath(raw string) (string, error) {
	clean, _, err := cleanPath(raw)
	return clean, err
}

// cleanPath returns the path without its query decoded, too.
func cleanPath(raw string) (clean, plain string, err error) {
	if !strings.HasPrefix(raw, "/") || strings.HasPrefix(raw, "//") {
		return "", "", errOutside
	}
	if strings.Contains(raw, "#") {
		return "", "", errors.New("a path with # cannot be opened by a launch")
	}
	u, err := url.Parse(raw)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		return "", "", fmt.Errorf("not a path: %w", err)
	}
	if strings.Contains(u.Path, `\`) || strings.ContainsFunc(u.Path, unicode.IsControl) {
		return "", "", errors.New(`backslashes and control characters are not possible in a path`)
	}
	clean = u.EscapedPath()
	if strings.Contains(strings.ToLower(clean), "%2f") {
		return "", "", errors.New("an encoded slash is not possible in a path")
	}
	for rest, more := u.Path[1:], true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		// Java servers drop what follows a semicolon, so that "..;" climbs.
		bare, _, _ := strings.Cut(segment, ";")
		if bare == "." || bare == ".." || (segment == "" && more) {
			return "", "", errors.New("dot segments and // are not possible in a path")
		}
	}
	if u.RawQuery != "" {
		clean += "?" + encodeQuery(u.RawQuery)
	}
	if len(clean) > maxPath {
		return "", "", fmt.Errorf("longer than %d bytes", maxPath)
	}
	return clean, u.Path, nil
}

// encodeQuery encodes what may not stand in a URL, and nothing twice.
func encodeQuery(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// decoded is the inverse, for people's eyes and for searching.
func decoded(p string) string {
	if plain, err := url.PathUnescape(p); err == nil {
		return plain
	}
	return p
}

// page returns the path of an item, which may be given by an absolute URL of the
// site.
func (s *site) page(raw string) (string, error) {
	if s.origin != "" && strings.Contains(raw, "://") {
		if origin, err := httpx.Origin(raw); err == nil && origin == s.origin {
			raw = pathOf(raw)
		}
	}
	clean, plain, err := cleanPath(raw)
	if err != nil {
		return "", err
	}
	if s.reserved != nil && s.reserved(plain) {
		return "", errors.New("this path is not the site's own")
	}
	return clean, nil
}

// pathOf cuts scheme and host off an absolute URL.
func pathOf(raw string) string {
	_, rest, _ := strings.Cut(raw, "://")
	i := strings.IndexAny(rest, "/?#")
	switch {
	case i < 0:
		return "/"
	case rest[i] != '/':
		return "/" + rest[i:]
	}
	return rest[i:]
}

// image returns the path of a picture that a page names, or nothing if that is
// not of this site.
func (s *site) image(raw, page string) string {
	origin := s.origin
	if origin == "" {
		origin = nowhere
	}
	base, err := url.Parse(origin + page)
	if err != nil {
		return ""
	}
	u, err := base.Parse(strings.TrimSpace(raw))
	if err != nil || u.Opaque != "" {
		return ""
	}
	u.Fragment, u.RawFragment = "", ""
	abs := u.String()
	if got, err := httpx.Origin(abs); err != nil || got != origin {
		return ""
	}
	clean, err := CleanPath(pathOf(abs))
	if err != nil {
		return ""
	}
	return clean
}
