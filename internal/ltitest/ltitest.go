// Package ltitest is a learning platform for tests: it publishes keys, makes
// good id_tokens, and bad ones of every kind. Unlike the demo LMS it enforces
// nothing.
package ltitest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // for the longer algorithms
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Claim returns the full name of a claim of LTI core.
func Claim(name string) string { return "https://purl.imsglobal.org/spec/lti/claim/" + name }

// Key is a key pair of a platform.
type Key struct {
	ID      string
	Private crypto.Signer
}

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

// JWK returns the public key as a member of a key set, without alg and use.
func (k Key) JWK() map[string]any {
	b64 := base64.RawURLEncoding.EncodeToString
	switch pub := k.Private.Public().(type) {
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "kid": k.ID, "n": b64(pub.N.Bytes()), "e": b64(big.NewInt(int64(pub.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil {
			panic(err)
		}
		size := (len(point) - 1) / 2
		return map[string]any{
			"kty": "EC", "kid": k.ID, "crv": pub.Params().Name,
			"x": b64(point[1 : 1+size]), "y": b64(point[1+size:]),
		}
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "kid": k.ID, "crv": "Ed25519", "x": b64(pub)}
	default:
		panic(fmt.Sprintf("key of type %T", pub))
	}
}

// Sign makes a compact JWS of any header and payload with the algorithm that
// the header's alg names: RS*, PS*, ES*, EdDSA, HS* (with secret), or none.
func (k Key) Sign(header map[string]any, payload, secret []byte) string {
	head, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	alg, _ := header["alg"].(string)
	return k.SignBytes(head, payload, alg, secret)
}

// SignBytes is Sign for a header that no marshaller would write.
func (k Key) SignBytes(header, payload []byte, alg string, secret []byte) string {
	b64 := base64.RawURLEncoding.EncodeToString
	input := b64(header) + "." + b64(payload)
	return input + "." + b64(k.signature(alg, []byte(input), secret))
}

func (k Key) signature(alg string, input, secret []byte) []byte {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[strings.TrimLeft(alg, "RSPEH")]
	digest := func() []byte {
		h := hash.New()
		h.Write(input)
		return h.Sum(nil)
	}
	var sig []byte
	var err error
	switch {
	case alg == "EdDSA":
		sig, err = k.Private.Sign(nil, input, crypto.Hash(0))
	case strings.HasPrefix(alg, "RS"):
		sig, err = k.Private.Sign(rand.Reader, digest(), hash)
	case strings.HasPrefix(alg, "PS"):
		sig, err = k.Private.Sign(rand.Reader, digest(), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash})
	case strings.HasPrefix(alg, "ES"):
		key := k.Private.(*ecdsa.PrivateKey)
		var r, s *big.Int
		if r, s, err = ecdsa.Sign(rand.Reader, key, digest()); err == nil {
			size := (key.Params().BitSize + 7) / 8
			sig = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		}
	case strings.HasPrefix(alg, "HS"):
		mac := hmac.New(hash.New, secret)
		mac.Write(input)
		sig = mac.Sum(nil)
	}
	if err != nil {
		panic(err)
	}
	return sig
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
	now := time.Now().Unix()
	return map[string]any{
		"iss": p.Issuer, "aud": p.ClientID, "sub": "user-1", "iat": now, "exp": now + 300, "nonce": nonce,
		Claim("version"):         "1.3.0",
		Claim("message_type"):    "LtiResourceLinkRequest",
		Claim("deployment_id"):   p.Deployment,
		Claim("target_link_uri"): target,
		Claim("resource_link"):   map[string]any{"id": "link-1", "title": "Quiz 1"},
		Claim("roles"):           []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"},
		Claim("context"):         map[string]any{"id": "course-1", "label": "BIO1", "title": "Biology"},
		"name":                   "Ann Example", "given_name": "Ann", "family_name": "Example", "email": "ann@school.example",
	}
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
func With(m, more map[string]any) map[string]any {
	out := maps.Clone(m)
	for name, val := range more {
		if val == Absent {
			delete(out, name)
		} else {
			out[name] = val
		}
	}
	return out
}

// Absent stands for a member that is not there.
const Absent = "\x00absent"

// Thumb shortens a text for messages.
func Thumb(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:6])
}
