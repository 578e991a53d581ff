package doctor

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddy-lti/lti/internal/fault"
)

var (
	cookieSameSite = define(rule{
		CheckCookies, "same_site", Failure, fault.ToolAdmin,
		"write app_cookies on in the lti block, or have the app set Secure, SameSite=None and Partitioned", "",
	})
	cookiePartitioned = define(rule{
		CheckCookies, "not_partitioned", Warning, fault.ToolAdmin,
		"write app_cookies on in the lti block, or have the app set Partitioned", "",
	})
	cookiePrefix = define(rule{
		CheckCookies, "prefix", Failure, fault.Developer,
		"have the app keep what the name promises: Secure, and for __Host- Path=/ and no Domain", "",
	})
	cookieDomain = define(rule{
		CheckCookies, "domain", Failure, fault.Developer,
		"have the app leave Domain out, or tell it the site's public name", "",
	})
	cookieName = define(rule{
		CheckCookies, "name", Failure, fault.Developer,
		"have the app name it otherwise: this name is the plugin's, which keeps it from the app", "",
	})
	cookieSize = define(rule{
		CheckCookies, "size", Failure, fault.Developer,
		"have the app keep less in it: browsers take 4096 bytes at most", "",
	})
)

// maxCookie is how many bytes of name and value a browser takes (RFC 6265bis §5.7).
const maxCookie = 4096

// cookie is a Set-Cookie line. Its attributes, in lower case, have their values.
type cookie struct {
	name  string
	size  int // of name and value
	attrs map[string]string
}

func parseCookie(line string) cookie {
	parts := strings.Split(line, ";")
	name, value, _ := strings.Cut(parts[0], "=")
	c := cookie{name: strings.TrimSpace(name), attrs: make(map[string]string)}
	c.size = len(c.name) + len(strings.TrimSpace(value))
	for _, attr := range parts[1:] {
		key, val, _ := strings.Cut(attr, "=")
		c.attrs[strings.ToLower(strings.TrimSpace(key))] = strings.ToLower(strings.TrimSpace(val))
	}
	return c
}

func (c *cookie) has(attr string) bool {
	_, ok := c.attrs[attr]
	return ok
}

// cookies judges those that an answer sets: by name, never by value.
func (r *report) cookies(h http.Header, a App) {
	site, err := url.Parse(a.Site)
	if err != nil {
		return
	}
	var mended []string
	for _, line := range h.Values("Set-Cookie") {
		c := parseCookie(line)
		secure := a.Cookies || c.has("secure")
		switch {
		case c.name == "__Host-lti" || strings.HasPrefix(c.name, "__Host-lti-"):
			r.broken(cookieName, "the app sets the cookie %s", c.name)
		case c.size > maxCookie:
			r.broken(cookieSize, "the app's cookie %s has %d bytes", c.name, c.size)
		case strings.HasPrefix(c.name, "__Host-") && (c.attrs["path"] != "/" || c.attrs["domain"] != "" || !secure),
			strings.HasPrefix(c.name, "__Secure-") && !secure:
			r.broken(cookiePrefix, "browsers do not take the app's cookie %s: its attributes do not fit its name", c.name)
		case !within(site.Hostname(), c.attrs["domain"]):
			r.broken(cookieDomain, "browsers do not take the app's cookie %s, which is for %s", c.name, c.attrs["domain"])
		case a.Cookies:
			mended = append(mended, c.name)
		case !secure || c.attrs["samesite"] != "none":
			r.broken(cookieSameSite, "the app's cookie %s does not come back from a frame", c.name)
		case !c.has("partitioned"):
			r.broken(cookiePartitioned, "the app's cookie %s does not come back from a frame where the browser blocks third-party cookies", c.name)
		default:
			r.ok(CheckCookies, "the app's cookie %s works in a frame", c.name)
		}
	}
	if len(mended) > 0 {
		r.ok(CheckCookies, "app_cookies on makes %s work in a frame", list(mended))
	}
}

// within reports whether a cookie's Domain is one that the host may set; empty is.
func within(host, domain string) bool {
	domain = strings.TrimPrefix(domain, ".")
	return domain == "" || host == domain || strings.HasSuffix(host, "."+domain)
}
