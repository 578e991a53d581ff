package caddylti

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// cookiePrefix begins the name of every cookie of ours. The browser
	// guarantees for __Host- that no other host has set it.
	cookiePrefix      = "__Host-lti"
	stateCookiePrefix = cookiePrefix + "-s-"

	// markPrefix begins the name of a cookie that outlives the session's, which
	// ends with the browser: what the app left there may not, and this one tells
	// the next launch whose that is. It opens nothing. No browser keeps a cookie
	// for longer than 400 days (RFC 6265bis).
	markPrefix = cookiePrefix + "p"
	markAge    = 400 * 24 * 60 * 60

	// maxLogins is how many logins of one browser may be under way.
	maxLogins = 20
)

// sessionCookieName returns the name for a base: two blocks of one host must
// not overwrite each other's.
func sessionCookieName(base string) string {
	if base == "/lti" {
		return cookiePrefix
	}
	sum := sha256.Sum256([]byte(base))
	return cookiePrefix + "-" + hex.EncodeToString(sum[:4])
}

// setCookie sets a cookie that works in a frame of another site, in every
// browser that lets any cookie work there. A negative age deletes it, 0 keeps it
// until the browser ends.
func setCookie(w http.ResponseWriter, name, value string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: age,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode, Partitioned: true,
	})
}

// cookies returns the values of all cookies with that name, without parsing the
// others. A browser may hold two, one of them partitioned.
func cookies(r *http.Request, name string) []string {
	var vals []string
	for _, line := range r.Header["Cookie"] {
		for line != "" {
			var part string
			part, line, _ = strings.Cut(line, ";")
			if n, v, ok := strings.Cut(strings.TrimSpace(part), "="); ok && n == name && len(vals) < 4 {
				vals = append(vals, v)
			}
		}
	}
	return vals
}

// keepsCookies reports whether the request has a cookie of ours, which shows
// that the browser lets them work here.
func keepsCookies(r *http.Request) bool {
	for _, line := range r.Header["Cookie"] {
		if strings.HasPrefix(line, cookiePrefix) || strings.Contains(line, " "+cookiePrefix) || strings.Contains(line, ";"+cookiePrefix) {
			return true
		}
	}
	return false
}

// ours reports whether a cookie is one of this plugin's, of whatever block.
func ours(name string) bool {
	rest, ok := strings.CutPrefix(name, cookiePrefix)
	rest = strings.TrimPrefix(rest, "p")
	return ok && (rest == "" || rest[0] == '-')
}

// withoutOurs returns the Cookie headers that the app may see.
func withoutOurs(lines []string) []string {
	var kept []string
	for _, line := range lines {
		if !strings.Contains(line, cookiePrefix) {
			kept = append(kept, line)
			continue
		}
		parts := strings.Split(line, ";")
		parts = slices.DeleteFunc(parts, func(part string) bool {
			name, _, _ := strings.Cut(strings.TrimSpace(part), "=")
			return ours(strings.TrimSpace(name))
		})
		if rest := strings.TrimSpace(strings.Join(parts, ";")); rest != "" {
			kept = append(kept, rest)
		}
	}
	return kept
}

// newStateCookie binds a login to the browser: it returns the name of a new
// cookie and its secret, and deletes the oldest where there are too many.
func newStateCookie(w http.ResponseWriter, r *http.Request, now time.Time) (name, secret string) {
	type login struct {
		name string
		at   int64
	}
	var logins []login
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			n, _, _ := strings.Cut(strings.TrimSpace(part), "=")
			if rest, ok := strings.CutPrefix(n, stateCookiePrefix); ok && len(n) < 64 {
				stamp, _, _ := strings.Cut(rest, "-")
				at, err := strconv.ParseInt(stamp, 36, 64)
				if err != nil {
					at = 0 // garbage counts as ancient
				}
				logins = append(logins, login{n, at})
			}
		}
	}
	slices.SortFunc(logins, func(a, b login) int { return cmp.Compare(b.at, a.at) })
	for i, l := range logins {
		if i >= maxLogins-1 && i < 4*maxLogins {
			setCookie(w, l.name, "", -1)
		}
	}
	name = stateCookiePrefix + strconv.FormatInt(now.UnixMicro(), 36) + "-" + rand.Text()[:6]
	secret = randomText(32)
	setCookie(w, name, secret, int(stateLifetime/time.Second))
	return name, secret
}

// loginSecrets returns what binds other logins under way to the browser.
func loginSecrets(r *http.Request, but string) []string {
	var secrets []string
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			name, secret, _ := strings.Cut(strings.TrimSpace(part), "=")
			if strings.HasPrefix(name, stateCookiePrefix) && len(secret) > 32 && secret != but && len(secrets) < maxLogins {
				secrets = append(secrets, secret)
			}
		}
	}
	return secrets
}

// randomText returns n random bytes in base64url.
func randomText(n int) string {
	buf := make([]byte, n)
	_, _ = rand.Read(buf) // never fails
	return base64.RawURLEncoding.EncodeToString(buf)
}
