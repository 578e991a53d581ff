package jose_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/internal/jose"
	"github.com/caddy-lti/lti/internal/ltitest"
)

const payload = `{"sub":"user-1","n":1}`

func b64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// with returns a copy of a JWK with more members; a nil value removes one.
func with(jwk map[string]any, more map[string]any) map[string]any {
	out := maps.Clone(jwk)
	for name, val := range more {
		if val == nil {
			delete(out, name)
		} else {
			out[name] = val
		}
	}
	return out
}

// keySet parses a set of these members.
func keySet(tb testing.TB, members ...map[string]any) *jose.KeySet {
	tb.Helper()
	doc, err := json.Marshal(map[string]any{"keys": members})
	if err != nil {
		tb.Fatal(err)
	}
	set, err := jose.ParseKeySet(doc)
	if err != nil {
		tb.Fatalf("ParseKeySet: %v", err)
	}
	return set
}

// one parses a set of one key that has to be usable.
func one(tb testing.TB, member map[string]any) *jose.PublicKey {
	tb.Helper()
	set := keySet(tb, member)
	if set.Len() != 1 {
		tb.Fatalf("the key was left out: %v", set.Skipped())
	}
	return set.All()[0]
}

// verify does what a reader of tokens does.
func verify(compact string, keys ...*jose.PublicKey) ([]byte, error) {
	tok, err := jose.Parse(compact)
	if err != nil {
		return nil, err
	}
	return tok.Verify(keys, jose.Algorithms)
}

// pairs are keys of every kind that can verify, with the algorithms that each
// of them is for.
func pairs(tb testing.TB) []struct {
	name string
	key  ltitest.Key
	algs []string
} {
	tb.Helper()
	return []struct {
		name string
		key  ltitest.Key
		algs []string
	}{
		{"RSA", ltitest.RSAKey(tb, 0, "k"), []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}},
		{"P-256", ltitest.ECKey(tb, elliptic.P256(), "k"), []string{"ES256"}},
		{"P-384", ltitest.ECKey(tb, elliptic.P384(), "k"), []string{"ES384"}},
		{"P-521", ltitest.ECKey(tb, elliptic.P521(), "k"), []string{"ES512"}},
		{"Ed25519", ltitest.EdKey(tb, "k"), []string{"EdDSA"}},
	}
}

// Every algorithm with every kind of key: a signature made with the right key is
// good with that key, and with no other kind of key, whatever the header says.
func TestAlgorithmsAndKeys(t *testing.T) {
	all := pairs(t)
	for _, signer := range all {
		for _, alg := range signer.algs {
			tok := signer.key.Sign(map[string]any{"alg": alg, "kid": "k"}, []byte(payload), nil)
			for _, holder := range all {
				got, err := verify(tok, one(t, holder.key.JWK()))
				switch {
				case holder.name == signer.name && (err != nil || string(got) != payload):
					t.Errorf("%s with the %s key that signed: %q, %v", alg, holder.name, got, err)
				case holder.name != signer.name && !errors.Is(err, jose.ErrAlgorithm):
					t.Errorf("%s signed by %s with the %s key: %q, %v, expected ErrAlgorithm", alg, signer.name, holder.name, got, err)
				}
			}
		}
	}
	// A header that names an algorithm of another kind does not make the key one.
	for _, holder := range all {
		for _, alg := range jose.Algorithms {
			if slices.Contains(holder.algs, alg) {
				continue
			}
			parts := strings.Split(holder.key.Sign(map[string]any{"alg": holder.algs[0], "kid": "k"}, []byte(payload), nil), ".")
			parts[0] = b64([]byte(`{"alg":"` + alg + `","kid":"k"}`))
			if _, err := verify(strings.Join(parts, "."), one(t, holder.key.JWK())); !errors.Is(err, jose.ErrAlgorithm) {
				t.Errorf("%s with a %s key: %v, expected ErrAlgorithm", alg, holder.name, err)
			}
		}
	}
}

// One RSA key serves six algorithms; a signature is good for the one that the
// header names, and that stands under the signature.
func TestAlgorithmsOfOneKey(t *testing.T) {
	key := ltitest.RSAKey(t, 0, "k")
	pub := one(t, key.JWK())
	algs := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	for _, made := range algs {
		parts := strings.Split(key.Sign(map[string]any{"alg": made, "kid": "k"}, []byte(payload), nil), ".")
		for _, said := range algs {
			if said == made {
				continue
			}
			parts[0] = b64([]byte(`{"alg":"` + said + `","kid":"k"}`))
			if _, err := verify(strings.Join(parts, "."), pub); !errors.Is(err, jose.ErrSignature) {
				t.Errorf("signed with %s, header changed to %s: %v, expected ErrSignature", made, said, err)
			}
		}
	}
}

// A key that names its algorithm is for no other.
func TestAlgorithmOfTheKeyIsPinned(t *testing.T) {
	key := ltitest.RSAKey(t, 0, "k")
	for _, tc := range []struct {
		jwkAlg any
		alg    string
		ok     bool
	}{
		{"RS256", "RS256", true},
		{"RS256", "RS512", false},
		{"RS256", "PS256", false},
		{"PS384", "PS384", true},
		{"RSA-OAEP", "RS256", false},
		{"none", "RS256", false},
		{"HS256", "RS256", false},
		{"", "RS256", true},
		{nil, "RS512", true},
	} {
		tok := key.Sign(map[string]any{"alg": tc.alg, "kid": "k"}, []byte(payload), nil)
		_, err := verify(tok, one(t, with(key.JWK(), map[string]any{"alg": tc.jwkAlg})))
		if tc.ok && err != nil {
			t.Errorf("JWK of %v, token of %s: %v", tc.jwkAlg, tc.alg, err)
		}
		if !tc.ok && !errors.Is(err, jose.ErrAlgorithm) {
			t.Errorf("JWK of %v, token of %s: %v, expected ErrAlgorithm", tc.jwkAlg, tc.alg, err)
		}
	}
}

// The caller's list counts, not only this package's.
func TestAllowedAlgorithms(t *testing.T) {
	key := ltitest.RSAKey(t, 0, "k")
	tok, err := jose.Parse(key.Sign(map[string]any{"alg": "RS512", "kid": "k"}, []byte(payload), nil))
	if err != nil {
		t.Fatal(err)
	}
	keys := []*jose.PublicKey{one(t, key.JWK())}
	for _, allowed := range [][]string{nil, {"RS256"}, {"rs512"}, {"RS256", "PS512"}} {
		if _, err := tok.Verify(keys, allowed); !errors.Is(err, jose.ErrAlgorithm) {
			t.Errorf("RS512 where %v are allowed: %v, expected ErrAlgorithm", allowed, err)
		}
	}
	if _, err := tok.Verify(keys, []string{"RS256", "RS512"}); err != nil {
		t.Errorf("RS512 where it is allowed: %v", err)
	}
	if _, err := tok.Verify(nil, []string{"RS512"}); !errors.Is(err, jose.ErrSignature) {
		t.Errorf("without keys: %v, expected ErrSignature", err)
	}
}

// none and the symmetric algorithms can be reached on no way: not by the header,
// not by the caller's list, not by the public key's bytes as a secret.
func TestNoneAndSymmetricNever(t *testing.T) {
	key := ltitest.RSAKey(t, 0, "k")
	pub := one(t, key.JWK())
	der, err := x509.MarshalPKIXPublicKey(key.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(key.JWK())
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]byte{
		"nothing":                 nil,
		"DER of the public key":   der,
		"PEM of the public key":   pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"PKCS #1 of the same":     x509.MarshalPKCS1PublicKey(key.Private.Public().(*rsa.PublicKey)),
		"the modulus":             key.Private.Public().(*rsa.PublicKey).N.Bytes(),
		"the key's JSON document": jwk,
	}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "HS256", "HS384", "HS512", "hs256", "rs256", "RS256 ", "RS1", "ES256K", "dir", "RSA-OAEP"} {
		for name, secret := range secrets {
			if !strings.HasPrefix(alg, "HS") && secret != nil {
				continue
			}
			header := map[string]any{"alg": alg, "kid": "k"}
			sign := func() string {
				if strings.HasPrefix(alg, "HS") {
					return key.Sign(header, []byte(payload), secret)
				}
				// Unsigned; the last part may not be empty, so it is given one.
				raw, _ := json.Marshal(header)
				return b64(raw) + "." + b64([]byte(payload)) + "." + b64([]byte("x"))
			}
			tok, err := jose.Parse(sign())
			if !errors.Is(err, jose.ErrAlgorithm) {
				t.Errorf("alg %q with %s as secret: %v, expected ErrAlgorithm", alg, name, err)
			}
			if tok != nil {
				if _, err := tok.Verify([]*jose.PublicKey{pub}, []string{alg}); err == nil {
					t.Errorf("alg %q with %s as secret was verified", alg, name)
				}
			}
		}
	}
	// With its signature left away, none has two and a half parts.
	raw, _ := json.Marshal(map[string]any{"alg": "none", "kid": "k"})
	if _, err := jose.Parse(b64(raw) + "." + b64([]byte(payload)) + "."); !errors.Is(err, jose.ErrMalformed) {
		t.Errorf("none without a signature: %v, expected ErrMalformed", err)
	}
}

// The header's own keys, and addresses of keys, are never used.
func TestKeysInTheHeaderAreIgnored(t *testing.T) {
	good, evil := ltitest.RSAKey(t, 0, "k"), ltitest.RSAKey(t, 1, "k")
	pub := one(t, good.JWK())
	cert := base64.StdEncoding.EncodeToString([]byte("not looked at"))
	for name, more := range map[string]map[string]any{
		"jwk": {"jwk": evil.JWK()},
		"jku": {"jku": "https://evil.example/jwks"},
		"x5u": {"x5u": "https://evil.example/cert"},
		"x5c": {"x5c": []string{cert}},
		"x5t": {"x5t": b64([]byte("01234567890123456789"))},
		// Not even to see whether they are well-formed.
		"jwk null":      {"jwk": nil},
		"jwk malformed": {"jwk": map[string]any{"kty": "unheard of"}},
		"jwk symmetric": {"jwk": map[string]any{"kty": "oct", "k": "AAAA"}},
		"x5c malformed": {"x5c": []int{1}},
		"x5u malformed": {"x5u": 7},
		"typ malformed": {"typ": 5},
	} {
		header := map[string]any{"alg": "RS256", "kid": "k"}
		maps.Copy(header, more)
		if _, err := verify(evil.Sign(header, []byte(payload), nil), pub); !errors.Is(err, jose.ErrSignature) {
			t.Errorf("%s of another key: %v, expected ErrSignature", name, err)
		}
		if got, err := verify(good.Sign(header, []byte(payload), nil), pub); err != nil || string(got) != payload {
			t.Errorf("%s beside a good signature: %q, %v", name, got, err)
		}
	}
}

func TestCriticalHeadersAreRefused(t *testing.T) {
	key := ltitest.RSAKey(t, 0, "k")
	for _, header := range []string{
		`{"alg":"RS256","kid":"k","crit":["exp"],"exp":1}`,
		`{"alg":"RS256","kid":"k","crit":["b64"],"b64":false}`,
		`{"alg":"RS256","kid":"k","crit":[]}`,
		`{"alg":"RS256","kid":"k","crit":null}`,
		`{"alg":"RS256","kid":"k","b64":false}`,
		`{"alg":"RS256","kid":"k","b64":true}`,
		`{"alg":"RS256","kid":"k","cr\u0069t":["exp"]}`,
	} {
		if _, err := verify(signRaw(key, header), one(t, key.JWK())); !errors.Is(err, jose.ErrCritical) {
			t.Errorf("%s: %v, expected ErrCritical", header, err)
		}
	}
	// Names are compared exactly.
	if _, err := verify(signRaw(key, `{"alg":"RS256","kid":"k","Crit":["exp"]}`), one(t, key.JWK())); err != nil {
		t.Errorf("a member that is not crit: %v", err)
	}
}

// signRaw makes a token with RS256 whose header is exactly that text.
func signRaw(key ltitest.Key, header string) string {
	input := b64([]byte(header)) + "." + b64([]byte(payload))
	sum := sha256.Sum256([]byte(input))
	sig, err := key.Private.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return input + "." + b64(sig)
}

func TestParseHeader(t *testing.T) {
	key := ltitest.RSAKey(t, 0, "k")
	for _, tc := range []struct {
		header string
		want   error
	}{
		{`{"alg":"RS256","kid":"k"}`, nil},
		{`{"typ":"JWT","alg":"RS256","kid":"k","extra":{"a":1}}`, nil},
		{` { "alg" : "RS256" , "kid" : "k" } `, nil},
		{`{"alg":"RS256","kid":"` + strings.Repeat("k", 512) + `"}`, nil},
		{`{"alg":"RS256","kid":"` + strings.Repeat("k", 513) + `"}`, jose.ErrMalformed},
		{`{"alg":"RS256","kid":7}`, jose.ErrMalformed},
		{`{"alg":"RS256","kid":["k"]}`, jose.ErrMalformed},
		{`{"alg":"RS256","kid":{}}`, jose.ErrMalformed},
		{`{"alg":"RS256"}`, jose.ErrNoKeyID},
		{`{"alg":"RS256","kid":""}`, jose.ErrNoKeyID},
		{`{"alg":"RS256","kid":null}`, jose.ErrNoKeyID},
		{`{"alg":"RS256","Kid":"k"}`, jose.ErrNoKeyID},
		{`{"kid":"k"}`, jose.ErrMalformed},
		{`{"Alg":"RS256","kid":"k"}`, jose.ErrMalformed},
		{`{"alg":"","kid":"k"}`, jose.ErrMalformed},
		{`{"alg":null,"kid":"k"}`, jose.ErrMalformed},
		{`{"alg":["RS256"],"kid":"k"}`, jose.ErrMalformed},
		// Two readers could choose differently between duplicates.
		{`{"alg":"RS256","alg":"RS256","kid":"k"}`, jose.ErrMalformed},
		{`{"alg":"none","alg":"RS256","kid":"k"}`, jose.ErrMalformed},
		{`{"alg":"RS256","kid":"evil","kid":"k"}`, jose.ErrMalformed},
		{`{"alg":"RS256","kid":"k","k\u0069d":"k"}`, jose.ErrMalformed},
		{`["alg","RS256"]`, jose.ErrMalformed},
		{`"RS256"`, jose.ErrMalformed},
		{`null`, jose.ErrMalformed},
		{`{"alg":"RS256","kid":"k"`, jose.ErrMalformed},
		{`{"alg":"RS256","kid":"k"}{}`, jose.ErrMalformed},
		{`not json`, jose.ErrMalformed},
	} {
		tok, err := jose.Parse(signRaw(key, tc.header))
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, expected %v", tc.header, err, tc.want)
		}
		// Only ErrNoKeyID comes with a token, and that has no kid.
		if (tok != nil) != (tc.want == nil || errors.Is(tc.want, jose.ErrNoKeyID)) {
			t.Errorf("%s: token %v with error %v", tc.header, tok, err)
		}
		if tok != nil && (tok.Algorithm() != "RS256" || (tok.KeyID() == "") != errors.Is(err, jose.ErrNoKeyID)) {
			t.Errorf("%s: alg %q, kid %q", tc.header, tok.Algorithm(), tok.KeyID())
		}
		if tc.want == nil {
			if _, err := verify(signRaw(key, tc.header), one(t, key.JWK())); err != nil {
				t.Errorf("%s: %v", tc.header, err)
			}
		}
	}
}

// Only the compact form is read, in one spelling.
func TestParseForm(t *testing.T) {
	key := ltitest.RSAKey(t, 0, "k")
	good := signRaw(key, `{"alg":"RS256","kid":"k"}`)
	parts := strings.Split(good, ".")
	head, body, sig := parts[0], parts[1], parts[2]
	if _, err := verify(good, one(t, key.JWK())); err != nil {
		t.Fatalf("the good token: %v", err)
	}
	flat := fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, body, head, sig)
	general := fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, body, head, sig)
	for name, tok := range map[string]string{
		"nothing":                    "",
		"one part":                   head,
		"two parts":                  head + "." + body,
		"two parts and a dot":        head + "." + body + ".",
		"four parts":                 good + "." + sig,
		"five parts, as a JWE":       good + "." + sig + "." + sig,
		"dots only":                  "..",
		"no header":                  "." + body + "." + sig,
		"no payload":                 head + ".." + sig,
		"no signature":               head + "." + body + ".",
		"JSON, flattened":            flat,
		"JSON, general":              general,
		"JSON with dots around":      "." + flat + ".",
		"a space before":             " " + good,
		"a space after":              good + " ",
		"a newline after":            good + "\n",
		"a newline in the signature": head + "." + body + "." + sig[:8] + "\n" + sig[8:],
		"CRLF in the header":         head[:8] + "\r\n" + head[8:] + "." + body + "." + sig,
		"padding":                    head + "==." + body + "." + sig,
		"the other alphabet":         head + "." + body + "." + "+/" + sig[2:],
		"a NUL":                      good + "\x00",
		"non-canonical signature":    head + "." + body + "." + nonCanonical(t, sig),
		"non-canonical payload":      head + "." + nonCanonical(t, body) + "." + sig,
	} {
		if _, err := jose.Parse(tok); !errors.Is(err, jose.ErrMalformed) {
			t.Errorf("%s: %v, expected ErrMalformed", name, err)
		}
	}
	// Whatever single character is changed, the token is another.
	pub := one(t, key.JWK())
	for i := range good {
		changed := []byte(good)
		changed[i] = map[bool]byte{true: 'B', false: 'A'}[changed[i] == 'A']
		if _, err := verify(string(changed), pub); err == nil {
			t.Fatalf("verified with character %d changed", i)
		}
	}
}

// nonCanonical returns another spelling of the same bytes: the last character
// carries stray bits.
func nonCanonical(t *testing.T, part string) string {
	t.Helper()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	want, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range alphabet {
		other := part[:len(part)-1] + string(c)
		if got, err := base64.RawURLEncoding.DecodeString(other); err == nil && other != part && bytes.Equal(got, want) {
			return other
		}
	}
	t.Fatalf("%d characters have no other spelling: choose another example", len(part))
	return ""
}

// Several keys under one kid: each is tried.
func TestFind(t *testing.T) {
	a, b, other := ltitest.RSAKey(t, 0, "same"), ltitest.RSAKey(t, 1, "same"), ltitest.ECKey(t, elliptic.P256(), "other")
	set := keySet(t, b.JWK(), other.JWK(), a.JWK(), with(ltitest.EdKey(t, "").JWK(), map[string]any{"kid": nil}))
	if set.Len() != 4 || len(set.All()) != 4 || len(set.Skipped()) != 0 {
		t.Fatalf("%d keys, skipped %v", set.Len(), set.Skipped())
	}
	if n := len(set.Find("same")); n != 2 {
		t.Errorf("%d keys named same, expected 2", n)
	}
	for _, kid := range []string{"Same", "same ", "unknown"} {
		if n := len(set.Find(kid)); n != 0 {
			t.Errorf("%d keys found for %q", n, kid)
		}
	}
	if _, err := verify(a.Sign(map[string]any{"alg": "RS256", "kid": "same"}, []byte(payload), nil), set.Find("same")...); err != nil {
		t.Errorf("signed with the second key of that name: %v", err)
	}
	if id := set.Find("other")[0].ID(); id != "other" {
		t.Errorf("the key is called %q", id)
	}
}

// What platforms publish beside a good key costs that key only.
func TestUnusableKeysAreLeftOut(t *testing.T) {
	good := ltitest.RSAKey(t, 0, "good")
	rsaJWK := good.JWK()
	ec := ltitest.ECKey(t, elliptic.P256(), "ec").JWK()
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := p224.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	agreement, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	modulus := func(bits int) string {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return b64(n.Add(n, big.NewInt(1)).Bytes())
	}
	exponent := func(e int64) string { return b64(big.NewInt(e).Bytes()) }
	for name, member := range map[string]map[string]any{
		"a symmetric key":            {"kty": "oct", "kid": "bad", "k": b64([]byte("secret")), "alg": "HS256"},
		"a post-quantum key":         {"kty": "AKP", "kid": "bad", "alg": "ML-DSA-44", "pub": "AAAA"},
		"no kty":                     with(rsaJWK, map[string]any{"kty": nil}),
		"kty in small letters":       with(rsaJWK, map[string]any{"kty": "rsa"}),
		"kty of a wrong type":        with(rsaJWK, map[string]any{"kty": 1}),
		"a key for encryption":       with(rsaJWK, map[string]any{"use": "enc"}),
		"an unknown use":             with(rsaJWK, map[string]any{"use": "tls"}),
		"RSA of 1024 bits":           with(rsaJWK, map[string]any{"n": modulus(1024)}),
		"RSA of 2047 bits":           with(rsaJWK, map[string]any{"n": modulus(2047)}),
		"RSA of 16384 bits":          with(rsaJWK, map[string]any{"n": modulus(16384)}),
		"RSA without modulus":        with(rsaJWK, map[string]any{"n": nil}),
		"RSA with an empty modulus":  with(rsaJWK, map[string]any{"n": ""}),
		"RSA without exponent":       with(rsaJWK, map[string]any{"e": nil}),
		"RSA, exponent 1":            with(rsaJWK, map[string]any{"e": exponent(1)}),
		"RSA, exponent 2":            with(rsaJWK, map[string]any{"e": exponent(2)}),
		"RSA, even exponent":         with(rsaJWK, map[string]any{"e": exponent(65536)}),
		"RSA, exponent not base64":   with(rsaJWK, map[string]any{"e": "§"}),
		"RSA, exponent a number":     with(rsaJWK, map[string]any{"e": 65537}),
		"EC off its curve":           with(ec, map[string]any{"y": b64(make([]byte, 32))}),
		"EC at infinity":             with(ec, map[string]any{"x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}),
		"EC without y":               with(ec, map[string]any{"y": nil}),
		"EC of another curve's name": with(ec, map[string]any{"crv": "P-384"}),
		"EC of an unknown curve":     with(ec, map[string]any{"crv": "P-257"}),
		"EC of P-224":                {"kty": "EC", "kid": "bad", "crv": "P-224", "x": b64(point[1:29]), "y": b64(point[29:])},
		"Ed25519, too short":         {"kty": "OKP", "kid": "bad", "crv": "Ed25519", "x": b64(make([]byte, 31))},
		"Ed25519, too long":          {"kty": "OKP", "kid": "bad", "crv": "Ed25519", "x": b64(make([]byte, 33))},
		"Ed25519, empty":             {"kty": "OKP", "kid": "bad", "crv": "Ed25519", "x": ""},
		"X25519":                     {"kty": "OKP", "kid": "bad", "crv": "X25519", "x": b64(agreement.PublicKey().Bytes())},
		"a kid that is too long":     with(rsaJWK, map[string]any{"kid": strings.Repeat("k", 513)}),
	} {
		set := keySet(t, member, rsaJWK)
		if set.Len() != 1 || len(set.Skipped()) != 1 || len(set.Find("good")) != 1 {
			t.Errorf("%s: %d keys left, skipped %v; expected that one to be left out", name, set.Len(), set.Skipped())
		}
	}
	for _, raw := range []string{`null`, `1`, `"RSA"`, `[]`, `{}`} {
		doc := fmt.Sprintf(`{"keys":[%s]}`, raw)
		set, err := jose.ParseKeySet([]byte(doc))
		if err != nil || set.Len() != 0 || len(set.Skipped()) != 1 {
			t.Errorf("%s: %v, %v", doc, set, err)
		}
	}
}

// The reasons go into logs: a key that somebody published by mistake does not.
func TestSkippedTellsNoSecret(t *testing.T) {
	set := keySet(t, map[string]any{"kty": "oct", "k": "dG9wc2VjcmV0", "kid": "shared"},
		map[string]any{"kty": "RSA", "n": "AQAB", "e": "AQAB", "d": "dG9wc2VjcmV0", "kid": "weak"})
	if len(set.Skipped()) != 2 {
		t.Fatalf("skipped %v", set.Skipped())
	}
	if text := fmt.Sprint(set.Skipped()); strings.Contains(text, "dG9wc2VjcmV0") {
		t.Errorf("the reason shows the key: %s", text)
	}
}

// What is sloppy but harmless is tolerated.
func TestSloppyKeysAreUsed(t *testing.T) {
	key := ltitest.RSAKey(t, 0, "k")
	tok := key.Sign(map[string]any{"alg": "RS256", "kid": "k"}, []byte(payload), nil)
	jwk := key.JWK()
	pad := func(name string) string {
		s := jwk[name].(string)
		return s + strings.Repeat("=", (4-len(s)%4)%4)
	}
	priv, ok := key.Private.(*rsa.PrivateKey)
	if !ok {
		t.Fatal("not an RSA key")
	}
	for name, more := range map[string]map[string]any{
		// Security Framework's own example pads.
		"padded base64url":               {"n": pad("n"), "e": pad("e")},
		"more padding than needed":       {"n": jwk["n"].(string) + "==", "e": jwk["e"].(string) + "="},
		"use sig":                        {"use": "sig"},
		"use empty":                      {"use": ""},
		"a certificate that is none":     {"x5c": []string{"rubbish"}, "x5t": "rubbish"},
		"operations of a wrong type":     {"key_ops": "verify"},
		"unknown members":                {"x-moodle": map[string]any{"a": []int{1}}},
		"a private member by mistake":    {"d": b64(priv.D.Bytes())},
		"a null where a string would be": {"alg": json.RawMessage("null"), "use": json.RawMessage("null")},
	} {
		pub := one(t, with(jwk, more))
		if got, err := verify(tok, pub); err != nil || string(got) != payload {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestParseKeySetDocuments(t *testing.T) {
	many := func(n int) string {
		return `{"keys":[` + strings.TrimSuffix(strings.Repeat(`{"kty":"RSA"},`, n), ",") + `]}`
	}
	for name, doc := range map[string]string{
		"nothing":            ``,
		"HTML":               `<!DOCTYPE html><title>Login</title>`,
		"null":               `null`,
		"a list":             `[]`,
		"no keys":            `{}`,
		"keys null":          `{"keys":null}`,
		"keys an object":     `{"keys":{}}`,
		"keys a string":      `{"keys":"x"}`,
		"cut off":            `{"keys":[{"kty":"RSA"`,
		"something after it": `{"keys":[]} x`,
		"101 keys":           many(101),
	} {
		if set, err := jose.ParseKeySet([]byte(doc)); err == nil {
			t.Errorf("%s: %v, expected an error", name, set)
		}
	}
	for name, doc := range map[string]string{"empty": `{"keys":[]}`, "100 bad keys": many(100)} {
		if set, err := jose.ParseKeySet([]byte(doc)); err != nil || set.Len() != 0 {
			t.Errorf("%s: %v, %v", name, set, err)
		}
	}
}

func TestSignAndVerify(t *testing.T) {
	key, err := jose.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jose.PublicSet(key)
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.ParseKeySet(doc)
	if err != nil {
		t.Fatal(err)
	}
	// A member name that needs escaping stays one name (GHSA-4cf7-xm37-g63h).
	claims := map[string]any{`x":0,"admin`: true, "iss": "client-1", "html": "<&>"}
	compact, err := key.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := jose.Parse(compact)
	if err != nil {
		t.Fatal(err)
	}
	if tok.KeyID() != key.ID() || tok.Algorithm() != "RS256" {
		t.Errorf("header says kid %q, alg %q", tok.KeyID(), tok.Algorithm())
	}
	got, err := tok.Verify(set.Find(key.ID()), []string{"RS256"})
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("signed %s, verified %s", want, got)
	}
	if _, err := key.Sign(map[string]any{"f": func() {}}); err == nil {
		t.Error("claims that are no JSON were signed")
	}
}

func TestPublicSetIsPublic(t *testing.T) {
	var keys []*jose.Key
	for range 2 {
		key, err := jose.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	data, err := jose.PublicSet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string][]map[string]string
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc) != 1 || len(doc["keys"]) != 2 {
		t.Fatalf("document %s", data)
	}
	for i, m := range doc["keys"] {
		if names := slices.Sorted(maps.Keys(m)); !slices.Equal(names, []string{"alg", "e", "kid", "kty", "n", "use"}) {
			t.Errorf("key %d has the members %v", i, names)
		}
		if m["kid"] != keys[i].ID() || m["kty"] != "RSA" || m["alg"] != "RS256" || m["use"] != "sig" || m["e"] != "AQAB" {
			t.Errorf("key %d is %v", i, m)
		}
		// The kid is the RFC 7638 thumbprint: members in that order, no spaces.
		sum := sha256.Sum256([]byte(`{"e":"AQAB","kty":"RSA","n":"` + m["n"] + `"}`))
		if m["kid"] != b64(sum[:]) {
			t.Errorf("kid %s is not the key's thumbprint %s", m["kid"], b64(sum[:]))
		}
	}
	if data, err = jose.PublicSet(); err != nil || string(data) != `{"keys":[]}` {
		t.Errorf("a set of no keys: %s, %v", data, err)
	}
}

func TestPEM(t *testing.T) {
	key, err := jose.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := jose.ParsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	one, err1 := jose.PublicSet(key)
	other, err2 := jose.PublicSet(again)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if key.ID() != again.ID() || !bytes.Equal(one, other) {
		t.Errorf("%s became %s", one, other)
	}
	ec, err := x509.MarshalPKCS8PrivateKey(ltitest.ECKey(t, elliptic.P256(), "k").Private)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edDER, err := x509.MarshalPKCS8PrivateKey(ed)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"nothing":      nil,
		"no PEM":       []byte("rubbish"),
		"another type": bytes.ReplaceAll(text, []byte("PRIVATE KEY"), []byte("RSA PRIVATE KEY")),
		"cut off":      text[:len(text)/2],
		"damaged":      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("rubbish")}),
		"an EC key":    pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ec}),
		"an Ed key":    pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: edDER}),
	} {
		if key, err := jose.ParsePrivateKey(bad); err == nil {
			t.Errorf("%s: %v, expected an error", name, key)
		}
	}
}

// Whatever is parsed: a token has three parts, a listed algorithm and a bounded
// kid, and no key that did not sign it verifies it.
func FuzzParse(f *testing.F) {
	key, stranger := ltitest.RSAKey(f, 0, "k"), ltitest.RSAKey(f, 1, "k")
	good := signRaw(key, `{"alg":"RS256","kid":"k"}`)
	for _, seed := range []string{
		good,
		signRaw(key, `{"alg":"RS256"}`),
		signRaw(key, `{"alg":"HS256","kid":"k"}`),
		signRaw(key, `{"alg":"RS256","kid":"k","crit":["x"]}`),
		signRaw(key, `{"alg":"PS512","kid":"k","jwk":{"kty":"RSA"}}`),
		key.Sign(map[string]any{"alg": "PS256", "kid": "k"}, []byte(payload), nil),
		"", "..", "a.b.c", `{"payload":"","signatures":[]}`,
	} {
		f.Add(seed)
	}
	mine := []*jose.PublicKey{one(f, stranger.JWK())}
	f.Fuzz(func(t *testing.T, compact string) {
		tok, err := jose.Parse(compact)
		if err != nil && !errors.Is(err, jose.ErrMalformed) && !errors.Is(err, jose.ErrCritical) &&
			!errors.Is(err, jose.ErrAlgorithm) && !errors.Is(err, jose.ErrNoKeyID) {
			t.Fatalf("an error without a name: %v", err)
		}
		if tok == nil {
			if err == nil {
				t.Fatal("neither token nor error")
			}
			return
		}
		if strings.Count(compact, ".") != 2 || !slices.Contains(jose.Algorithms, tok.Algorithm()) || len(tok.KeyID()) > 512 {
			t.Fatalf("accepted alg %q, kid %q of %q", tok.Algorithm(), tok.KeyID(), compact)
		}
		if got, err := tok.Verify(mine, jose.Algorithms); err == nil {
			t.Fatalf("verified %q with a key that did not sign it: %q", compact, got)
		}
	})
}

// Whatever a platform answers: no panic, no key that is not for signatures, and
// each key is either there or left out with a reason.
func FuzzParseKeySet(f *testing.F) {
	key := ltitest.RSAKey(f, 0, "k")
	for _, jwk := range []map[string]any{
		key.JWK(), ltitest.ECKey(f, elliptic.P256(), "ec").JWK(), ltitest.ECKey(f, elliptic.P521(), "ec5").JWK(), ltitest.EdKey(f, "ed").JWK(),
		{"kty": "oct", "k": "AAAA"},
		{"kty": "RSA", "n": "", "e": "AQAB"},
		{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
	} {
		doc, err := json.Marshal(map[string]any{"keys": []any{jwk}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	f.Add([]byte(`{"keys":[]}`))
	f.Add([]byte(`{"keys":[null,1,{}]}`))
	var toks []*jose.Token
	for _, alg := range jose.Algorithms {
		raw, _ := json.Marshal(map[string]any{"alg": alg, "kid": "k"})
		tok, err := jose.Parse(b64(raw) + "." + b64([]byte(payload)) + "." + b64(make([]byte, 64)))
		if err != nil {
			f.Fatal(err)
		}
		toks = append(toks, tok)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := jose.ParseKeySet(data)
		if err != nil {
			return
		}
		var doc struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatalf("accepted what is no JSON: %v", err)
		}
		if set.Len() != len(set.All()) || set.Len()+len(set.Skipped()) != len(doc.Keys) {
			t.Fatalf("%d keys and %d reasons of %d members", set.Len(), len(set.Skipped()), len(doc.Keys))
		}
		for _, k := range set.All() {
			if !slices.Contains(set.Find(k.ID()), k) {
				t.Fatalf("key %q is not found by its name", k.ID())
			}
		}
		// A key with whatever numbers must not break the arithmetic behind it.
		for _, tok := range toks {
			if _, err := tok.Verify(set.All(), jose.Algorithms); err == nil {
				t.Fatalf("a signature of zeros was verified")
			}
		}
	})
}
