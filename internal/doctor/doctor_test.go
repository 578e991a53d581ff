package doctor

import (
	"context"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/internal/fault"
	"github.com/caddy-lti/lti/internal/jose"
	"github.com/caddy-lti/lti/internal/ltitest"
	"github.com/caddy-lti/lti/internal/service"
	"github.com/caddy-lti/lti/store"
	"github.com/caddy-lti/lti/store/memory"
)

// broken is a configuration that breaks rules: exactly those in want, as check/rule.
type broken struct {
	name string
	want []string
	says string // part of the text, or of what helps, of one of them
	run  func(t *testing.T) []Finding
}

func ofPlatform(damage func(*platform)) func(*testing.T) []Finding {
	return func(t *testing.T) []Finding {
		p := newPlatform(t)
		damage(p)
		return p.examine()
	}
}

func ofSite(damage func(*site)) func(*testing.T) []Finding {
	return func(t *testing.T) []Finding {
		s := newSite(t)
		damage(s)
		return s.examine()
	}
}

func ofApp(a App, lines ...string) func(*testing.T) []Finding {
	a.Subject, a.Site, a.Platforms = "/", "https://tool.example.edu", []string{"https://moodle.example.edu"}
	return func(*testing.T) []Finding { return Headers(header(lines...), a) }
}

func header(lines ...string) http.Header {
	h := make(http.Header)
	for _, line := range lines {
		name, val, _ := strings.Cut(line, ": ")
		h.Add(name, val)
	}
	return h
}

func ofStore(damage func(store.Store) store.Store) func(*testing.T) []Finding {
	return func(t *testing.T) []Finding {
		st := memory.New(memory.Options{})
		t.Cleanup(func() { _ = st.Close() })
		return Store(t.Context(), damage(st))
	}
}

// jwk is a public RSA key of so many bits.
func jwk(t *testing.T, kid string, bits int) map[string]any {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits)-1))
	if err != nil {
		t.Fatal(err)
	}
	n.SetBit(n, bits-1, 1).SetBit(n, 0, 1)
	return map[string]any{"kty": "RSA", "kid": kid, "n": base64.RawURLEncoding.EncodeToString(n.Bytes()), "e": "AQAB"}
}

// gradebook takes scores, or does not.
type gradebook struct {
	scores    map[string]float64 // by person
	sent      int
	lost      bool // it shows nothing of what it took
	resultErr error
	refusal   error
}

func (g *gradebook) SendScore(_ context.Context, _ string, s ags.Score) error {
	if g.refusal != nil {
		return g.refusal
	}
	g.sent++
	s.SetDefaults()
	if err := ags.ValidateScore(&s); err != nil {
		return err
	}
	if !g.lost {
		g.scores[s.UserID] = *s.ScoreGiven
	}
	return nil
}

func (g *gradebook) Results(_ context.Context, _, userID string) iter.Seq2[ags.Result, error] {
	return func(yield func(ags.Result, error) bool) {
		if g.resultErr != nil {
			yield(ags.Result{}, g.resultErr)
			return
		}
		for who, score := range g.scores { // a platform that ignores the filter
			if !yield(ags.Result{UserID: who, ResultScore: &score}, nil) {
				return
			}
		}
	}
}

func ofScore(g *gradebook, want int, replace bool) func(*testing.T) []Finding {
	return func(t *testing.T) []Finding {
		if g.scores == nil {
			g.scores = make(map[string]float64)
		}
		g.scores["somebody-else"] = 1
		g.sent = 0
		found := Score(t.Context(), g, TestScore{
			Platform: "moodle", LineItem: "https://moodle.example.edu/li/1", UserID: "test-student", Replace: replace, Time: time.Now(),
		})
		if g.sent != want {
			t.Errorf("%d scores were sent, want %d", g.sent, want)
		}
		return found
	}
}

// liar is a store that fails, or does something else than it says.
type liar struct {
	store.Store
	failing error
	loses   bool
	twice   bool
	blind   bool
	races   bool
	keeps   bool
	slow    time.Duration
}

func (l *liar) Get(ctx context.Context, key string) ([]byte, error) {
	time.Sleep(l.slow) // in synctest's time
	if l.loses {
		return nil, store.ErrNotFound
	}
	return l.Store.Get(ctx, key)
}

func (l *liar) PutIfAbsent(ctx context.Context, key string, val []byte, ttl time.Duration) (bool, error) {
	if l.failing != nil {
		return false, l.failing
	}
	made, err := l.Store.PutIfAbsent(ctx, key, val, ttl)
	return made || l.twice, err
}

func (l *liar) Swap(ctx context.Context, key string, old, val []byte, ttl time.Duration) (bool, error) {
	if l.races {
		return false, nil
	}
	return l.Store.Swap(ctx, key, old, val, ttl)
}

func (l *liar) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if l.blind {
		return nil, nil
	}
	return l.Store.List(ctx, prefix, after, limit)
}

func (l *liar) Delete(ctx context.Context, key string) error {
	if l.keeps {
		return nil
	}
	return l.Store.Delete(ctx, key)
}

func lying(l liar) func(*testing.T) []Finding {
	return ofStore(func(st store.Store) store.Store { l.Store = st; return &l })
}

func moved(by time.Duration) func(http.Header) {
	return func(h http.Header) { h.Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat)) }
}

const tokenAt = "/token"

// cases has at least one configuration for each rule that breaks it.
var cases = []broken{
	{"an address that must not be asked", []string{"connection/invalid_url"}, "https is required", ofPlatform(func(p *platform) {
		p.reg = func(r *Registration) { r.KeysURL = "http://moodle.example.edu/jwks?" + secret }
	})},
	{"all addresses of another scheme", []string{"connection/invalid_url"}, "token_url", ofPlatform(func(p *platform) {
		p.reg = func(r *Registration) { r.KeysURL, r.AuthURL, r.TokenURL = "ftp://a/", "jwks", "https://a@b/" }
	})},
	{"no such host", []string{"connection/no_such_host"}, "nowhere.example.org is not in the DNS", ofPlatform(func(p *platform) {
		p.reg = func(r *Registration) { r.TokenURL = foreign(r.TokenURL, "nowhere.example.org") }
	})},
	{"DNS is down", []string{"connection/dns_down"}, "down.example.net", ofPlatform(func(p *platform) {
		p.reg = func(r *Registration) { r.KeysURL = foreign(r.KeysURL, "down.example.net") }
	})},
	{"a private address", []string{"connection/private"}, "allow_private 127.0.0.1:", ofPlatform(func(p *platform) { p.tooPrivate = true })},
	{"nobody listens", []string{"connection/refused"}, "", ofPlatform(func(p *platform) {
		p.reg = func(r *Registration) {
			r.AuthURL = foreign(r.AuthURL, fmt.Sprintf("%s:%d", platformName, closedPort(p.t)))
		}
	})},
	{"it hangs", []string{"connection/timeout"}, "did not answer in time", ofPlatform(func(p *platform) {
		p.client.Timeout = 300 * time.Millisecond
		p.routes["/jwks"] = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	})},
	{"the token endpoint hangs", []string{"connection/timeout"}, tokenAt, ofPlatform(func(p *platform) {
		p.client.Timeout = 300 * time.Millisecond
		p.routes[tokenAt] = func(_ http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm() // or the server would not notice
			<-r.Context().Done()
		}
	})},
	{"the connection breaks", []string{"connection/broken"}, "", ofPlatform(func(p *platform) {
		p.routes["/auth"] = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	})},
	{"broken off", []string{"connection/canceled"}, "", ofPlatform(func(p *platform) {
		ctx, cancel := context.WithCancel(p.ctx)
		cancel()
		p.ctx = ctx
	})},

	{"an expired certificate", []string{"certificate/expired"}, "expired on", ofPlatform(func(p *platform) { p.cert.NotAfter = time.Now().Add(-time.Hour) })},
	{"a certificate of tomorrow", []string{"certificate/expired"}, "not valid before", ofPlatform(func(p *platform) { p.cert.NotBefore = time.Now().Add(time.Hour) })},
	{"an unknown authority", []string{"certificate/authority"}, "intermediate", ofPlatform(func(p *platform) { p.client.RootCAs = x509.NewCertPool() })},
	{"a certificate that signs itself", []string{"certificate/self_signed"}, "", ofPlatform(func(p *platform) { p.self = true })},
	{"a certificate of another host", []string{"certificate/name"}, platformName, ofPlatform(func(p *platform) { p.cert.DNSNames = []string{"www.example.edu"} })},
	{"a certificate for clients", []string{"certificate/invalid"}, "", ofPlatform(func(p *platform) {
		p.cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})},
	{"no TLS", []string{"certificate/no_tls"}, "", ofPlatform(func(p *platform) { p.tls = nil })},
	{"TLS of the last century", []string{"certificate/handshake"}, "", ofPlatform(func(p *platform) {
		p.tls.MinVersion, p.tls.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	})},

	{"no key set there", []string{"jwks/missing"}, "404", ofPlatform(func(p *platform) { delete(p.routes, "/jwks") })},
	{"key set out of order", []string{"jwks/status"}, "503", ofPlatform(func(p *platform) { p.routes["/jwks"] = always(503, "later") })},
	{"key set redirected to http", []string{"jwks/redirect"}, "", ofPlatform(func(p *platform) {
		p.routes["/jwks"] = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://localhost/jwks", http.StatusFound)
		}
	})},
	{"key set moved", []string{"jwks/moved"}, "/new", ofPlatform(func(p *platform) {
		p.routes["/new"] = p.routes["/jwks"]
		p.routes["/jwks"] = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/new?"+secret, http.StatusFound) }
	})},
	{"key set too large", []string{"jwks/too_large"}, "", ofPlatform(func(p *platform) { p.routes["/jwks"] = always(200, strings.Repeat(" ", 1<<20)) })},
	{"a page instead of a key set", []string{"jwks/unreadable"}, "not JSON", ofPlatform(func(p *platform) { p.routes["/jwks"] = always(200, "<html>Log in") })},
	{"an empty key set", []string{"jwks/no_keys"}, "", ofPlatform(func(p *platform) { p.keys = []map[string]any{} })},
	{"keys of another kind", []string{"jwks/algorithm"}, "ES256", ofPlatform(func(p *platform) {
		p.keys = []map[string]any{ltitest.ECKey(p.t, elliptic.P256(), "ec").JWK()}
		p.reg = func(r *Registration) { r.Algorithms = []string{"RS256"} }
	})},
	{"a weak key beside a good one", []string{"jwks/weak_key"}, "1024 bits", ofPlatform(func(p *platform) { p.keys = append(p.keys, jwk(p.t, "weak", 1024)) })},
	{"a weak key only", []string{"jwks/no_keys", "jwks/weak_key"}, "", ofPlatform(func(p *platform) { p.keys = []map[string]any{jwk(p.t, "weak", 1024)} })},
	{"a key without kid", []string{"jwks/no_kid"}, "", ofPlatform(func(p *platform) { p.keys = append(p.keys, jwk(p.t, "", 2048)) })},
	{"no key with a kid", []string{"jwks/no_keys", "jwks/no_kid"}, "", ofPlatform(func(p *platform) { p.keys = []map[string]any{jwk(p.t, "", 2048)} })},
	{"a kid twice", []string{"jwks/duplicate_kid"}, "key-1", ofPlatform(func(p *platform) { p.keys = append(p.keys, jwk(p.t, "key-1", 2048)) })},
	{"a key for encryption", []string{"jwks/unusable_key"}, "", ofPlatform(func(p *platform) {
		key := jwk(p.t, "enc", 2048)
		key["use"] = "enc"
		p.keys = append(p.keys, key)
	})},

	{"no login there", []string{"auth/missing"}, "404", ofPlatform(func(p *platform) { delete(p.routes, "/auth") })},
	{"a login that says 404", []string{"auth/unclear"}, "Moodle", ofPlatform(func(p *platform) { p.routes["/auth"] = always(404, "Invalid request") })},
	{"a login out of order", []string{"auth/broken"}, "500", ofPlatform(func(p *platform) { p.routes["/auth"] = always(500, "") })},

	{"no token URL", []string{"token/no_url"}, "rosters", ofPlatform(func(p *platform) { p.reg = func(r *Registration) { r.TokenURL = "" } })},
	{"keys that cannot sign", []string{"token/unsigned"}, "damaged", ofPlatform(func(p *platform) {
		p.sign = func([]byte) (string, error) { return "", errors.New("the keys are damaged") }
	})},
	{"no token endpoint there", []string{"token/missing"}, "404", ofPlatform(func(p *platform) { delete(p.routes, tokenAt) })},
	{"the token endpoint moved", []string{"token/moved"}, "302", ofPlatform(func(p *platform) {
		p.routes[tokenAt] = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/new", http.StatusFound) }
	})},
	// Moodle's words, in JSON that is none.
	{"the platform does not find our key", []string{"token/tool_keys"}, "https://tool.example.edu/lti/jwks.json", ofPlatform(func(p *platform) {
		p.routes[tokenAt] = always(400, "{\n  \"error\" : \"\"kid\" invalid, unable to lookup correct key\"\n}")
	})},
	{"the platform does not know the client", []string{"token/refused"}, "client_id", ofPlatform(func(p *platform) {
		p.reg = func(r *Registration) { r.ClientID = "client-2" }
	})},
	{"a page instead of a token", []string{"token/malformed"}, "", ofPlatform(func(p *platform) { p.routes[tokenAt] = always(200, "<html>") })},
	{"too many requests", []string{"token/rate_limited"}, "", ofPlatform(func(p *platform) { p.routes[tokenAt] = always(429, "") })},
	{"the token endpoint is out of order", []string{"token/broken"}, "", ofPlatform(func(p *platform) { p.routes[tokenAt] = always(503, "") })},
	{"a token as HTML, as Moodle has it", []string{"token/content_type"}, "text/html", ofPlatform(func(p *platform) {
		give := p.token
		p.routes[tokenAt] = func(w http.ResponseWriter, r *http.Request) { give(htmlWriter{w}, r) }
	})},
	{"a token for a moment", []string{"token/short_lived"}, "", ofPlatform(func(p *platform) { p.expires = 5 })},
	{"the platform wants its issuer as audience", []string{"audience/wrong"}, "token_audience https://moodle.example.edu ", ofPlatform(func(p *platform) {
		p.audience = "https://" + platformName
	})},
	{"the platform wants another audience", []string{"audience/refused"}, "invalid audience", ofPlatform(func(p *platform) {
		p.routes[tokenAt] = always(400, `{"error": "invalid_client", "error_description": "invalid audience"}`)
	})},
	{"no rosters", []string{"scopes/not_granted"}, "rosters will not work", ofPlatform(func(p *platform) { p.grants = allScopes[:2] })},
	{"no rosters, and so nothing", []string{"scopes/not_granted"}, "rosters will not work", ofPlatform(func(p *platform) { p.grants, p.whole = allScopes[:2], true })},
	{"out of order while scopes are looked for", []string{"token/broken"}, "", ofPlatform(func(p *platform) {
		give := p.token
		p.grants, p.whole = nil, true
		p.routes[tokenAt] = func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.FormValue("scope"), " ") {
				give(w, r)
				return
			}
			refuse(w, 503, "")
		}
	})},

	{"a clock far ahead", []string{"clock/wrong"}, " ahead of this one", ofPlatform(func(p *platform) { p.date = moved(10 * time.Minute) })},
	{"a clock far behind", []string{"clock/wrong"}, "behind", ofPlatform(func(p *platform) { p.date = moved(-10 * time.Minute) })},
	{"a clock ahead by more than is allowed here", []string{"clock/wrong"}, "", ofPlatform(func(p *platform) {
		p.date = moved(20 * time.Second)
		p.reg = func(r *Registration) { r.Leeway = 10 * time.Second }
	})},
	{"a clock behind", []string{"clock/behind"}, "s behind this one", ofPlatform(func(p *platform) { p.date = moved(-31 * time.Second) })},
	{"a clock a little ahead", []string{"clock/off"}, "ahead", ofPlatform(func(p *platform) { p.date = moved(20 * time.Second) })},
	{"a clock that says so", []string{"clock/refused"}, "clock", ofPlatform(func(p *platform) {
		p.routes[tokenAt] = always(400, `{"error": "Cannot handle token with iat prior to 2026-11-24T05:01:48+0100"}`)
	})},
	{"no clock", []string{"clock/no_date"}, "", ofPlatform(func(p *platform) { p.date = func(h http.Header) { h["Date"] = nil } })},

	{"a public URL with http", []string{"public_url/invalid"}, "https is required", ofSite(func(s *site) { s.look.URL = "http://tool.example.edu" })},
	{"a public URL with a path", []string{"public_url/invalid"}, "more than", ofSite(func(s *site) { s.look.URL = "https://tool.example.edu/lti" })},
	{"a public URL that is private", []string{"public_url/private"}, "127.0.0.1 (loopback)", ofSite(func(s *site) { s.name = "tool.example.edu"; s.cert = certificate(s.name) })},
	{"a site that is not in the DNS", []string{"connection/no_such_host"}, "correct url", ofSite(func(s *site) { s.look.URL = "https://nowhere.example.org" })},
	{"a site where nobody listens", []string{"connection/refused"}, "see that Caddy runs", ofSite(func(s *site) {
		s.look.URL = fmt.Sprintf("https://tool.localhost:%d", closedPort(s.t))
	})},
	{"a site that hangs", []string{"connection/timeout"}, "", ofSite(func(s *site) {
		s.look.Timeout = 300 * time.Millisecond
		s.paths["GET /lti/jwks.json"] = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	})},
	{"a site with an unknown authority", []string{"certificate/authority"}, "platforms will not trust it", ofSite(func(s *site) { s.look.RootCAs = x509.NewCertPool() })},
	{"a site with an expired certificate", []string{"certificate/expired"}, "Caddy's log", ofSite(func(s *site) { s.cert.NotAfter = time.Now().Add(-time.Hour) })},
	{"a site with another's certificate", []string{"certificate/name"}, "Caddyfile", ofSite(func(s *site) { s.cert.DNSNames = []string{"other.localhost"} })},
	{"a certificate that ends soon", []string{"certificate/expires_soon"}, "", ofSite(func(s *site) { s.cert.NotAfter = time.Now().AddDate(0, 0, 7) })},
	{"an authority that ends soon", []string{"certificate/expires_soon"}, "", ofSite(func(s *site) { s.auth = newAuthority(s.t, 7) })},
	{"no keys at the site", []string{"public_keys/status"}, "404", ofSite(func(s *site) { delete(s.paths, "GET /lti/jwks.json") })},
	{"a page instead of the keys", []string{"public_keys/unreadable"}, "", ofSite(func(s *site) { s.paths["GET /lti/jwks.json"] = always(200, "<html>") })},
	{"another server's keys", []string{"public_keys/differ"}, "another server", ofSite(func(s *site) { s.look.KeyIDs = []string{"other"} })},
	{"a cache with old keys", []string{"public_keys/stale"}, "", ofSite(func(s *site) { s.look.KeyIDs = append(s.look.KeyIDs, "new") })},
	{"a site with another clock", []string{"clock/wrong"}, "of this machine", ofSite(func(s *site) { s.date = moved(time.Hour) })},
	{"a site whose clock is a little behind", []string{"clock/off"}, "", ofSite(func(s *site) { s.date = moved(-20 * time.Second) })},
	{"a login that something else answers", []string{"routes/login"}, "403", ofSite(func(s *site) { s.paths["GET /lti/login"] = always(403, `{"code": "waf"}`) })},
	{"a login that leads elsewhere", []string{"routes/login"}, "leads to https://sso.example.edu/", ofSite(func(s *site) {
		s.paths["GET /lti/login"] = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://sso.example.edu/?"+secret, http.StatusFound)
		}
	})},
	{"a launch that is cut off", []string{"routes/launch"}, "does not answer", ofSite(func(s *site) {
		s.paths["POST /lti/launch"] = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	})},
	{"a launch that is kept away", []string{"routes/launch"}, "403", ofSite(func(s *site) { s.paths["POST /lti/launch"] = always(403, "Forbidden") })},
	{"no plain HTTP", []string{"plain_http/closed"}, "port 80", ofSite(func(s *site) { s.plain = nil })},
	{"plain HTTP without redirect", []string{"plain_http/not_redirected"}, "200", ofSite(func(s *site) {
		s.plain = func(http.ResponseWriter, *http.Request) {}
	})},
	{"plain HTTP leads elsewhere", []string{"plain_http/elsewhere"}, "www.example.edu", ofSite(func(s *site) {
		s.plain = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://www.example.edu/", http.StatusFound)
		}
	})},

	{"DENY", []string{"frame/x_frame_options"}, "frame on", ofApp(App{}, "X-Frame-Options: DENY")},
	{"SAMEORIGIN twice", []string{"frame/x_frame_options"}, "", ofApp(App{}, "X-Frame-Options: SAMEORIGIN", "X-Frame-Options: SAMEORIGIN")},
	{"an obsolete value", []string{"frame/anybody"}, "", ofApp(App{}, "X-Frame-Options: ALLOW-FROM https://moodle.example.edu")},
	{"frame-ancestors none", []string{"frame/frame_ancestors"}, "https://moodle.example.edu", ofApp(App{}, "Content-Security-Policy: default-src *; frame-ancestors 'none'")},
	{"frame-ancestors self", []string{"frame/frame_ancestors"}, "", ofApp(App{}, "Content-Security-Policy: frame-ancestors 'self' https://other.example.edu")},
	{"one of two policies", []string{"frame/frame_ancestors"}, "", ofApp(App{}, "Content-Security-Policy: frame-ancestors *, frame-ancestors https://moodle.example.edu:8443")},
	{"no word of frames", []string{"frame/anybody"}, "", ofApp(App{}, "Content-Security-Policy: default-src 'self'")},
	{"a sandbox", []string{"frame/sandbox"}, "allow-forms, allow-same-origin", ofApp(App{Frame: true}, "Content-Security-Policy: sandbox allow-scripts")},
	{"a page of its own world", []string{"isolation/isolated"}, "", ofApp(App{Frame: true},
		"Cross-Origin-Opener-Policy: same-origin", "Cross-Origin-Embedder-Policy: require-corp; report-to=x")},
	{"a camera", []string{"isolation/permissions"}, "camera, fullscreen", ofApp(App{Frame: true}, "Permissions-Policy: camera=(self), fullscreen=*, geolocation=(), usb=(self)")},

	{"a cookie as PHP sets it", []string{"cookies/same_site"}, "PHPSESSID", ofApp(App{Frame: true}, "Set-Cookie: PHPSESSID="+secret+"; path=/; HttpOnly")},
	{"a cookie without Secure", []string{"cookies/same_site"}, "", ofApp(App{Frame: true}, "Set-Cookie: a=1; SameSite=None; Partitioned")},
	{"a cookie for third parties", []string{"cookies/not_partitioned"}, "", ofApp(App{Frame: true}, "Set-Cookie: a=1; Secure; SameSite=None")},
	{"a cookie whose name promises more", []string{"cookies/prefix"}, "", ofApp(App{Frame: true, Cookies: true}, "Set-Cookie: __Host-a=1; Path=/app")},
	{"a cookie whose name promises Secure", []string{"cookies/prefix"}, "", ofApp(App{Frame: true}, "Set-Cookie: __Secure-a=1; SameSite=None")},
	{"a cookie of another host", []string{"cookies/domain"}, "app.internal", ofApp(App{Frame: true, Cookies: true}, "Set-Cookie: a=1; Domain=app.internal")},
	{"a cookie of ours", []string{"cookies/name"}, "", ofApp(App{Frame: true, Cookies: true}, "Set-Cookie: __Host-lti=1; Path=/; Secure")},
	{"a cookie that is too large", []string{"cookies/size"}, "5001", ofApp(App{Frame: true, Cookies: true}, "Set-Cookie: a="+strings.Repeat("x", 5000))},

	{"a redirect to http", []string{"redirects/insecure"}, "http://tool.example.edu", ofApp(App{}, "X-Frame-Options: x", "Content-Security-Policy: frame-ancestors *", "Location: http://tool.example.edu/a?"+secret)},
	{"a redirect to the app's own address", []string{"redirects/internal"}, "http://localhost:8080", ofApp(App{Upstream: "10.0.0.1:80", Frame: true}, "Location: http://localhost:8080/a")},
	{"a redirect to a private address", []string{"redirects/internal"}, "", ofApp(App{Frame: true}, "Location: http://10.1.2.3/a")},
	{"a redirect to plain HTTP elsewhere", []string{"redirects/mixed"}, "", ofApp(App{Frame: true}, "Location: http://www.example.edu/a")},
	{"a redirect to a sign-in", []string{"redirects/elsewhere"}, "", ofApp(App{Frame: true}, "Location: //sso.example.edu/login")},

	{"a store that is closed", []string{"store/failed"}, "closed", ofStore(func(st store.Store) store.Store { _ = st.Close(); return st })},
	{"a store that is full", []string{"store/failed"}, "disk full", lying(liar{failing: errors.New("disk full")})},
	{"a store that loses", []string{"store/wrong"}, "read it", lying(liar{loses: true})},
	{"a store that gives twice", []string{"store/wrong"}, "good twice", lying(liar{twice: true})},
	{"a store that lists nothing", []string{"store/wrong"}, "list", lying(liar{blind: true})},
	{"a store that swaps nothing", []string{"store/wrong"}, "somebody else", lying(liar{races: true})},
	{"a store that keeps all", []string{"store/wrong"}, "still there", lying(liar{keeps: true})},
	{"a slow store", []string{"store/slow"}, "1.5s", func(t *testing.T) (found []Finding) {
		synctest.Test(t, func(t *testing.T) { found = lying(liar{slow: 500 * time.Millisecond})(t) })
		return found
	}},

	{"no keys", []string{"keys/none"}, "", func(*testing.T) []Finding { return Keys([]byte(`{"keys": []}`), time.Time{}, time.Now()) }},
	{"no key set", []string{"keys/none"}, "", func(*testing.T) []Finding { return Keys(nil, time.Time{}, time.Now()) }},
	{"a weak key of the tool", []string{"keys/none", "keys/weak"}, "1024", func(t *testing.T) []Finding {
		doc, _ := json.Marshal(map[string]any{"keys": []any{jwk(t, "a", 1024)}})
		return Keys(doc, time.Time{}, time.Now())
	}},
	{"an old key", []string{"keys/old"}, "", func(t *testing.T) []Finding { return Keys(toolKeys(t), time.Now().AddDate(-2, 0, 0), time.Now()) }},
	{"a key of tomorrow", []string{"keys/future"}, "", func(t *testing.T) []Finding { return Keys(toolKeys(t), time.Now().AddDate(0, 0, 1), time.Now()) }},

	{"a score that exists", []string{"score/exists"}, "nothing was sent", ofScore(&gradebook{scores: map[string]float64{"test-student": 1}}, 0, false)},
	{"a score that cannot be seen", []string{"score/unseen"}, "nothing was sent", ofScore(&gradebook{resultErr: ags.ErrNotAllowed}, 0, false)},
	{"a score that is refused", []string{"score/refused"}, "not a learner", ofScore(&gradebook{
		refusal: &ags.Error{Op: "send a score", Hint: "the platform says this person is not a learner here", Whose: ags.Developer},
	}, 0, false)},
	{"a score that does not show", []string{"score/not_shown"}, "", ofScore(&gradebook{lost: true}, 1, false)},
}

// htmlWriter calls everything HTML.
type htmlWriter struct{ http.ResponseWriter }

func (w htmlWriter) Write(p []byte) (int, error) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	return w.ResponseWriter.Write(p)
}

func toolKeys(t *testing.T) []byte {
	t.Helper()
	doc, err := jose.PublicSet(toolKey())
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestEachRuleIsBroken(t *testing.T) {
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			found := tc.run(t)
			sound(t, found)
			if got := brokenRules(found); !slices.Equal(got, tc.want) {
				t.Errorf("broken are %v, want %v: %+v", got, tc.want, found)
			}
			says := func(f Finding) bool { return f.Level != OK && strings.Contains(f.Text+" "+f.Mend+" ", tc.says) }
			if !slices.ContainsFunc(found, says) {
				t.Errorf("nothing says %q: %+v", tc.says, found)
			}
		})
	}
	for _, r := range rules {
		if name := string(r.check) + "/" + r.name; !slices.ContainsFunc(cases, func(tc broken) bool { return slices.Contains(tc.want, name) }) {
			t.Errorf("nothing breaks %s", name)
		}
	}
}

func TestHealthy(t *testing.T) {
	whole := map[string]func(*testing.T) []Finding{
		"a platform": ofPlatform(func(*platform) {}),
		"a platform whose keys come from a cache": ofPlatform(func(p *platform) {
			keys := p.routes["/jwks"]
			p.routes["/jwks"] = func(w http.ResponseWriter, r *http.Request) {
				moved(-2 * time.Hour)(w.Header())
				w.Header().Set("Age", "7200")
				keys(w, r)
			}
		}),
		"a platform whose keys come from a cache that says nothing": ofPlatform(func(p *platform) {
			keys := p.routes["/jwks"]
			p.routes["/jwks"] = func(w http.ResponseWriter, r *http.Request) {
				moved(-2 * time.Hour)(w.Header())
				keys(w, r)
			}
		}),
		"a platform without services": ofPlatform(func(p *platform) {
			p.reg = func(r *Registration) { r.Scopes, r.TokenURL = nil, "" }
		}),
		"a platform with a login that is a redirect": ofPlatform(func(p *platform) {
			p.routes["/auth"] = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) }
		}),
		"a platform with a long error page": ofPlatform(func(p *platform) { p.routes["/auth"] = always(400, strings.Repeat("x", 2<<20)) }),
		"a platform that wants its audience": ofPlatform(func(p *platform) {
			p.audience = "https://auth.example.edu"
			p.reg = func(r *Registration) { r.Audience = "https://auth.example.edu" }
		}),
		"a site": ofSite(func(*site) {}),
		"a certificate that lives for days": ofSite(func(s *site) {
			s.cert.NotBefore, s.cert.NotAfter = time.Now().AddDate(0, 0, -3), time.Now().AddDate(0, 0, 3)
		}),
		"an app that forbids frames, mended": ofApp(App{Frame: true, Cookies: true, Upstream: "app.internal:8080"},
			"X-Frame-Options: DENY", "Content-Security-Policy: frame-ancestors 'none'",
			"Set-Cookie: a=1", "Set-Cookie: b=2; SameSite=Strict; Domain=.example.edu", "Location: http://app.internal:8080/a"),
		"an app that forbids nothing": ofApp(App{Frame: true, Cookies: true}, "Location: /a"),
		"an app that does it all itself": ofApp(App{},
			"X-Frame-Options: DENY", "Content-Security-Policy: frame-ancestors https://*.example.edu", "Permissions-Policy: camera=()",
			"Cross-Origin-Opener-Policy: same-origin", "Location: https://tool.example.edu/b",
			"Set-Cookie: __Host-a=1; Path=/; Secure; SameSite=None; Partitioned"),
		"a store":               ofStore(func(st store.Store) store.Store { return st }),
		"keys":                  func(t *testing.T) []Finding { return Keys(toolKeys(t), time.Now().AddDate(0, -1, 0), time.Now()) },
		"keys of unknown age":   func(t *testing.T) []Finding { return Keys(toolKeys(t), time.Time{}, time.Now()) },
		"a score":               ofScore(new(gradebook), 1, false),
		"a score that replaces": ofScore(&gradebook{scores: map[string]float64{"test-student": 1}}, 1, true),
	}
	for name, run := range whole {
		t.Run(name, func(t *testing.T) {
			found := run(t)
			sound(t, found)
			if names := brokenRules(found); len(names) > 0 {
				t.Errorf("broken are %v: %+v", names, found)
			}
			if ExitStatus(found) != 0 {
				t.Error("the exit status is not 0")
			}
		})
	}
}

// What is wrong with a host is said once, however many addresses it has.
func TestOneFindingForOneHost(t *testing.T) {
	t.Parallel()
	found := ofPlatform(func(p *platform) { p.self = true })(t)
	if len(found) != 1 {
		t.Errorf("found %+v, want the certificate and nothing else", found)
	}
}

// The store's record is gone afterwards, however the check ended.
func TestStoreLeavesNothing(t *testing.T) {
	t.Parallel()
	st := memory.New(memory.Options{})
	defer st.Close()
	for _, l := range []liar{{}, {races: true}, {blind: true}} {
		l.Store = st
		Store(t.Context(), &l)
		left, err := st.List(t.Context(), "", "", 10)
		if err != nil || len(left) > 0 {
			t.Errorf("%+v: left are %v, %v", l, left, err)
		}
	}
}

// Who has to mend a refused score is what the platform's answer says.
func TestWhoseRefusedScore(t *testing.T) {
	t.Parallel()
	for whose, want := range map[fault.Party]fault.Party{ags.Developer: ags.Developer, ags.ToolAdmin: ags.ToolAdmin, fault.Nobody: fault.PlatformAdmin, "": fault.PlatformAdmin} {
		found := Score(t.Context(), &gradebook{refusal: &ags.Error{Whose: whose, Op: "x", Hint: "y"}}, TestScore{Platform: "moodle", Replace: true})
		if len(found) != 1 || found[0].Whose != want {
			t.Errorf("%q: %+v", whose, found)
		}
	}
}

// A site's certificate is its own administrator's, a platform's is not.
func TestWhoseCertificate(t *testing.T) {
	t.Parallel()
	ofOthers := ofPlatform(func(p *platform) { p.client.RootCAs = x509.NewCertPool() })(t)
	own := ofSite(func(s *site) { s.look.RootCAs = x509.NewCertPool() })(t)
	find := func(found []Finding) Finding {
		i := slices.IndexFunc(found, func(f Finding) bool { return f.Check == CheckCertificate })
		if i < 0 {
			t.Fatalf("no certificate in %+v", found)
		}
		return found[i]
	}
	if f := find(ofOthers); f.Whose != fault.PlatformAdmin || f.Subject != "moodle" {
		t.Errorf("platform: %+v", f)
	}
	if f := find(own); f.Whose != fault.ToolAdmin || !strings.HasPrefix(f.Subject, "https://tool.localhost") {
		t.Errorf("site: %+v", f)
	}
}

func TestPublicAddress(t *testing.T) {
	t.Parallel()
	o := &outside{report: &report{subject: "https://public.example.net"}, Outside: Outside{Timeout: time.Minute}}
	o.url = mustURL(t, "https://public.example.net")
	o.address(t.Context())
	if len(o.found) != 1 || o.found[0].Level != OK || !strings.Contains(o.found[0].Text, "8.8.8.8") {
		t.Errorf("found %+v", o.found)
	}
}

func TestFrameSources(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		source, origin string
		want           bool
	}{
		{"*", "https://lms.example", true},
		{"https:", "https://lms.example", true},
		{"http:", "https://lms.example", false},
		{"https://lms.example", "https://lms.example", true},
		{"HTTPS://LMS.example/", "https://lms.example", true},
		{"http://lms.example", "https://lms.example", true}, // upgraded
		{"https://lms.example", "http://lms.example", false},
		{"lms.example", "https://lms.example", true},
		{"lms.example:443", "https://lms.example", true},
		{"lms.example:*", "https://lms.example:8443", true},
		{"lms.example", "https://lms.example:8443", false},
		{"https://lms.example:8443", "https://lms.example:8443", true},
		{"lms.example:80", "http://lms.example", true},
		{"*.example", "https://lms.example", true},
		{"*.lms.example", "https://lms.example", false},
		{"*.example", "https://evil-example", false},
		{"'none'", "https://lms.example", false},
		{"'self'", "https://lms.example", false},
		{"lms.example", "%", false},
	} {
		if got := allows(tc.source, tc.origin); got != tc.want {
			t.Errorf("%s for %s: %v", tc.source, tc.origin, got)
		}
	}
}

// A slow answer is no wrong clock.
func TestLatencyIsNoSkew(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for date, want := range map[time.Duration]time.Duration{ // both after an answer was asked for that takes 10 s
		0: 0, 9 * time.Second: 0, -time.Second: 0, // the last may be a second less a moment later
		11 * time.Second: time.Second, 30 * time.Second: 20 * time.Second, -30 * time.Second: -29 * time.Second,
	} {
		s := sample{at, at.Add(10 * time.Second), header("Date: " + at.Add(date).Format(http.TimeFormat))}
		if got, ok := s.skew(); !ok || got != want {
			t.Errorf("an answer of %s: skew %s, want %s", date, got, want)
		}
	}
}

func TestServiceWords(t *testing.T) {
	t.Parallel()
	if got := services([]string{ags.ScopeScore, "https://example.org/more"}); got != "scores, what needs https://example.org/more" {
		t.Errorf("services: %s", got)
	}
	x := examination{reg: Registration{Platform: service.Platform{Issuer: "https://lms.example/", TokenURL: "https://lms.example/token"}}}
	want := []string{"https://lms.example/", "https://lms.example"}
	if got := x.audiences(); !slices.Equal(got, want) {
		t.Errorf("audiences to try: %v, want %v", got, want)
	}
}
