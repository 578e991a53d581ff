package caddylti

import (
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/lti"
)

// frameOrigin returns the origin of a URL as a content security policy names it,
// or nothing if it cannot be named.
func frameOrigin(raw string) string {
	// Only the origin counts; fragments are no harm.
	raw, _, _ = strings.Cut(raw, "#")
	u, err := httpx.CheckURL(raw)
	if err != nil {
		return ""
	}
	for i := range len(u.Host) {
		switch c := u.Host[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._:[]", c) >= 0:
		default:
			return "" // what else a host may hold would end the directive, or mean more hosts
		}
	}
	return originOf(u)
}

// framesOf returns where the platform's pages are, as far as a launch says:
// where the person is to return to, and the platform's own address.
func framesOf(l *lti.Launch) []string {
	var origins []string
	for _, raw := range []string{l.Presentation.ReturnURL, l.ToolPlatform.URL} {
		if o := frameOrigin(raw); o != "" && !slices.Contains(origins, o) {
			origins = append(origins, o)
		}
	}
	return origins
}

// frameAncestors returns the directive that lets the launching platform, and
// nobody else, show the app in a frame.
func (h *Handler) frameAncestors(f *facts) string {
	origins := slices.Clone(f.Frames)
	if p := h.platform(f.Platform); p != nil {
		origins = append(origins, p.origins...)
		if len(origins) == 0 {
			origins = append(origins, frameOrigin(f.Issuer), frameOrigin(p.registration.AuthURL))
		}
	}
	sources := []string{frameAncestors, "'self'"}
	for _, o := range origins {
		if o != "" && !slices.Contains(sources, o) {
			sources = append(sources, o)
		}
	}
	return strings.Join(sources, " ")
}

const (
	cspHeader      = "Content-Security-Policy"
	frameAncestors = "frame-ancestors"
)

// allowFrames puts the directive in the place of what the app's content security
// policy says of frames; its other directives stay as they are.
func allowFrames(header http.Header, directive string) {
	lines := header[cspHeader]
	if len(lines) == 0 {
		header[cspHeader] = []string{directive}
		return
	}
	found := false
	changed := make([]string, 0, len(lines))
	for _, line := range lines {
		policies := strings.Split(line, ",")
		for i, policy := range policies {
			var kept []string
			replaced := false
			for d := range strings.SplitSeq(policy, ";") {
				name, _, _ := strings.Cut(strings.TrimLeft(d, " \t"), " ")
				name, _, _ = strings.Cut(name, "\t")
				switch {
				case !strings.EqualFold(name, frameAncestors):
					kept = append(kept, d)
				case !replaced: // of several, the first would count
					kept = append(kept, d[:len(d)-len(strings.TrimLeft(d, " \t"))]+directive)
					replaced = true
				}
			}
			policies[i] = strings.Join(kept, ";")
			found = found || replaced
		}
		changed = append(changed, strings.Join(policies, ","))
	}
	if !found {
		if strings.TrimSpace(changed[0]) == "" {
			changed[0] = directive
		} else {
			changed[0] = strings.TrimRight(changed[0], "; \t") + "; " + directive
		}
	}
	header[cspHeader] = changed
}

// frameCookie gives a Set-Cookie line what a cookie needs in a frame of another
// site. All else in it stays as it is.
func frameCookie(line string) string {
	parts := strings.Split(line, ";")
	var b strings.Builder
	b.WriteString(strings.TrimRight(parts[0], " \t"))
	for _, attr := range parts[1:] {
		name, _, _ := strings.Cut(strings.TrimSpace(attr), "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "", "secure", "samesite", "partitioned":
		default:
			b.WriteByte(';')
			b.WriteString(attr)
		}
	}
	b.WriteString("; Secure; SameSite=None; Partitioned")
	return b.String()
}

// whereGood reads where a cookie is good that is set by an answer to a request
// for that path (RFC 6265 §5.1.4).
func whereGood(line, requestPath string) appCookie {
	parts := strings.Split(line, ";")
	name, _, _ := strings.Cut(parts[0], "=")
	c := appCookie{Name: strings.TrimSpace(name)}
	for _, attr := range parts[1:] {
		key, val, _ := strings.Cut(strings.TrimSpace(attr), "=")
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "path":
			c.Path = strings.TrimSpace(val)
		case "domain":
			c.Domain = strings.TrimSpace(val)
		}
	}
	if !strings.HasPrefix(c.Path, "/") {
		c.Path = path.Dir(requestPath)
		if strings.HasSuffix(requestPath, "/") && requestPath != "/" {
			c.Path = strings.TrimSuffix(requestPath, "/")
		}
		if !strings.HasPrefix(c.Path, "/") {
			c.Path = "/"
		}
	}
	return c
}

// inside returns the public address of a redirect that leads to the app under a
// name which only it uses: its own address behind the proxy, or ours with
// another scheme or without the port. All others are left alone.
func (h *Handler) inside(r *http.Request, location string) string {
	if !strings.HasPrefix(location, "http://") && !strings.HasPrefix(location, "https://") {
		return ""
	}
	u, err := url.Parse(location)
	if err != nil || u.User != nil || u.Host == "" {
		return ""
	}
	origin, err := h.public(r)
	if err != nil || originOf(u) == origin {
		return ""
	}
	own, err := url.Parse(origin)
	if err != nil || !(sameHost(u, own) || isUpstream(r, u)) {
		return ""
	}
	_, rest, _ := strings.Cut(location, "://")
	return origin + rest[len(u.Host):]
}

// sameHost reports whether u is the site's host, as an app names it that does
// not know which port or scheme it is reached by.
func sameHost(u, own *url.URL) bool {
	return strings.EqualFold(u.Hostname(), own.Hostname()) && (u.Port() == "" || u.Port() == own.Port() || u.Port() == "80" || u.Port() == "443")
}

// isUpstream reports whether u is the address at which the proxy behind us
// reached the app.
func isUpstream(r *http.Request, u *url.URL) bool {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return false
	}
	val, _ := repl.GetString("http.reverse_proxy.upstream.hostport")
	if val == "" {
		return false
	}
	host, port, err := net.SplitHostPort(val)
	if err != nil {
		host, port = val, "80"
	}
	if asked := u.Port(); asked != port && !(asked == "" && (port == "80" || port == "443")) {
		return false
	}
	return strings.EqualFold(u.Hostname(), host) || (httpx.IsLocalHost(host) && httpx.IsLocalHost(u.Hostname()))
}
