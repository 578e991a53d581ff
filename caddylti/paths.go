package caddylti

import (
	"errors"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

var basePath = regexp.MustCompile(`^(/[A-Za-z0-9_-]+)+$`)

// location is the path of a request, as the client sent it.
type location struct {
	path string // decoded once
	// odd paths mean one thing to us and perhaps another to what stands behind
	// us: dot segments, empty segments, backslashes, encoded slashes, NUL. They
	// are never public and never ours.
	odd bool
}

// classifyRequest looks at the path before anything in this server rewrote it.
func classifyRequest(r *http.Request) location {
	u := r.URL
	if orig, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && orig.URL != nil {
		u = orig.URL
	}
	return classifyURL(u)
}

func classifyURL(u *url.URL) location {
	l := location{path: u.Path}
	// RawPath is set only where the encoding is not the default one; an encoded
	// slash never is.
	if u.RawPath != "" {
		raw := strings.ToLower(u.RawPath)
		for _, enc := range []string{"%2f", "%5c", "%00"} {
			if strings.Contains(raw, enc) {
				l.odd = true
			}
		}
	}
	if l.path == "" || l.path[0] != '/' || strings.ContainsAny(l.path, "\\\x00") {
		l.odd = true
		return l
	}
	for rest := l.path[1:]; ; {
		segment, after, more := strings.Cut(rest, "/")
		if segment == "" && more {
			l.odd = true
		}
		// Java servers drop what follows a semicolon, so that "..;" climbs.
		if bare, _, _ := strings.Cut(segment, ";"); bare == "." || bare == ".." {
			l.odd = true
		}
		if !more {
			return l
		}
		rest = after
	}
}

// classify reads a path of a configuration.
func classify(p string) location {
	u, err := url.Parse(p)
	if err != nil || u.Scheme != "" || u.Host != "" {
		return location{path: p, odd: true}
	}
	return classifyURL(u)
}

// cleaned is what a server might make of an odd path.
func (l location) cleaned() string {
	p := strings.ReplaceAll(l.path, `\`, "/")
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return path.Clean("/" + strings.Join(segments, "/"))
}

// ambiguous reports whether what stands behind us may read the path otherwise
// than we do.
func (l location) ambiguous() bool { return l.odd || strings.IndexByte(l.path, ';') >= 0 }

// through reports whether an ambiguous path leads to the base or through it.
func (h *Handler) through(l location) bool {
	at := "/"
	for segment := range strings.SplitSeq(strings.ReplaceAll(l.path, `\`, "/"), "/") {
		bare, _, _ := strings.Cut(segment, ";")
		if at = path.Join(at, bare); at == h.Base {
			return true
		}
	}
	return false
}

// under reports whether the path is the base or below it.
func (h *Handler) under(p string) bool {
	return len(p) >= len(h.Base) && p[:len(h.Base)] == h.Base && (len(p) == len(h.Base) || p[len(h.Base)] == '/')
}

// protects reports whether a session is needed there.
func (h *Handler) protects(l location) bool {
	switch {
	case l.odd:
		return true
	case len(h.Protect) > 0:
		if matchProtect(h.Protect, l.path) {
			return true
		}
		return l.ambiguous() && matchProtect(h.Protect, l.cleaned())
	default:
		// Java servers read /grades;x.css as /grades: both have to be public.
		return !matchAny(h.Public, l.path) || (l.ambiguous() && !matchAny(h.Public, l.cleaned()))
	}
}

// checkPattern refuses what matchAny does not understand.
func checkPattern(p string) error {
	switch star := strings.IndexByte(p, '*'); {
	case strings.ContainsAny(p, "?#%"):
		return errors.New("expected a path without a query, as it is decoded: /a b and not /a%20b")
	case strings.HasPrefix(p, "/") && classifyURL(&url.URL{Path: p}).odd:
		return errors.New("expected a path without dot segments, // and \\, for such paths are protected in any case")
	case p == "*":
		return errors.New("write /* for everything")
	case star < 0 && strings.HasPrefix(p, "/"):
	case star == len(p)-1 && strings.HasPrefix(p, "/"):
	case star == 0 && !strings.ContainsAny(p[1:], "*/"):
	default:
		return errors.New("expected a path (/about), a prefix (/assets/*) or a suffix (*.css)")
	}
	return nil
}

func matchAny(patterns []string, p string) bool {
	for _, pattern := range patterns {
		if match(pattern, p) {
			return true
		}
	}
	return false
}

func match(pattern, p string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(p, prefix)
	}
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(p, suffix)
	}
	return pattern == p
}

// matchProtect is matchAny, but that a folder covers its own name too: what
// answers there is the folder's.
func matchProtect(patterns []string, p string) bool {
	return matchAny(patterns, p) || matchAny(patterns, p+"/")
}
