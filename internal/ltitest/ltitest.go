// Package ltitest is a learning platform for tests: it publishes keys, makes
// good id_tokens, and bad ones of every kind. Unlike the demo LMS it enforces
// nothing.
package ltitest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/lab"
)

// Claim returns the full name of a claim of LTI core.
func Claim(name string) string { return lab.Claim(name) }

// Key is a key pair of a platform.
type Key = lab.Key

var (
	rsaOnce sync.Once
	rsaKeys [2]*rsa.PrivateKey
)

// RSAKey returns one of two RSA keys that are made once a process.
func RSAKey(tb testing.TB, which int, kid string) Key {
	tb.Helper()
	rsaOnce.Do(func() {
		for i := range rsaKeys {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				tb.Fatal(err)
			}
			rsaKeys[i] = key
		}
	})
	return Key{ID: kid, Private: rsaKeys[which]}
}

// ECKey makes a new EC key.
func ECKey(tb testing.TB, curve elliptic.Curve, kid string) Key {
	tb.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return Key{ID: kid, Private: key}
}

// EdKey makes a new Ed25519 key.
func EdKey(tb testing.TB, kid string) Key {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return Key{ID: kid, Private: key}
}

// Platform is an LMS as the tool sees it: an issuer, keys behind a URL, and
// whatever it signs.
type Platform struct {
	Issuer     string
	ClientID   string
	Deployment string
	Key        Key
	// Server serves the key set at /jwks.
	Server *httptest.Server
	// Fetches counts requests for the key set.
	Fetches atomic.Int64

	mu   sync.Mutex
	jwks http.HandlerFunc
}

// NewPlatform starts a platform with one RSA key, kid "key-1".
func NewPlatform(tb testing.TB) *Platform {
	tb.Helper()
	p := &Platform{
		Issuer: "https://lms.example", ClientID: "client-1", Deployment: "dep-1",
		Key: RSAKey(tb, 0, "key-1"),
	}
	p.ServeKeys(p.Key.JWK())
	mux := http.NewServeMux()
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, r *http.Request) {
		p.Fetches.Add(1)
		p.mu.Lock()
		serve := p.jwks
		p.mu.Unlock()
		serve(w, r)
	})
	p.Server = httptest.NewServer(mux)
	tb.Cleanup(p.Server.Close)
	return p
}

// JWKSURL is where the key set is.
func (p *Platform) JWKSURL() string { return p.Server.URL + "/jwks" }

// ServeKeys has the key set consist of these members from now on.
func (p *Platform) ServeKeys(keys ...map[string]any) {
	doc, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	p.ServeJWKS(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(doc)
	})
}

// ServeJWKS answers requests for the key set from now on.
func (p *Platform) ServeJWKS(f http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jwks = f
}

// Claims returns the claims of a good launch of a learner.
func (p *Platform) Claims(nonce, target string) map[string]any {
	return lab.GoodClaims(p.Issuer, p.ClientID, p.Deployment, nonce, target, time.Now())
}

// Header returns the header of a good id_token.
func (p *Platform) Header() map[string]any {
	return map[string]any{"alg": "RS256", "typ": "JWT", "kid": p.Key.ID}
}

// Token signs claims as a good id_token.
func (p *Platform) Token(claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return p.Key.Sign(p.Header(), payload, nil)
}

// With returns a copy of m with the members of more; the value Absent removes.
func With(m, more map[string]any) map[string]any { return lab.With(m, more) }

// Absent stands for a member that is not there.
const Absent = lab.Absent

// Thumb shortens a text for messages.
func Thumb(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:6])
}
