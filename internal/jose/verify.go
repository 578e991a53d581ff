package jose

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/caddy-lti/lti/internal/strictjson"
)

// Algorithms lists the signature algorithms that can be verified. The none
// algorithm and the symmetric ones are not among them and cannot be added (LTI
// 1.3 forbids both: Security Framework §5.4, certification guide §4.2).
var Algorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// The ways in which a token can be unacceptable before any claim is read.
var (
	ErrMalformed = errors.New("not a compact JWS")
	ErrCritical  = errors.New("the header demands an extension (crit)")
	ErrNoKeyID   = errors.New("the header has no kid")
	ErrAlgorithm = errors.New("signature algorithm not allowed")
	ErrSignature = errors.New("signature does not match")
)

// maxKeyID bounds the length of a kid, in bytes.
const maxKeyID = 512

// Token is a JWS in compact form whose header has been read and whose signature
// has not been checked yet. Its payload is out of reach until then.
type Token struct {
	signed    string // header and payload as they came, which is what is signed
	payload   []byte
	signature []byte
	algorithm string
	keyID     string
}

// Parse reads the header of a compact JWS. Missing kid is ErrNoKeyID: the
// token is returned with it for those few platforms that send none.
func Parse(compact string) (*Token, error) {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("%w: %d parts instead of 3", ErrMalformed, len(parts))
	}
	var decoded [3][]byte
	for i, part := range parts {
		// Strict: the last character of a part may carry no stray bits, or one
		// signature could be written in several ways.
		raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || len(raw) == 0 || strings.ContainsAny(part, "\r\n") {
			return nil, fmt.Errorf("%w: part %d is not base64url", ErrMalformed, i+1)
		}
		decoded[i] = raw
	}
	members, err := strictjson.Object(decoded[0])
	if err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	for _, name := range []string{"crit", "b64"} {
		if _, ok := members[name]; ok {
			return nil, ErrCritical
		}
	}
	t := &Token{signed: parts[0] + "." + parts[1], payload: decoded[1], signature: decoded[2]}
	if err := json.Unmarshal(members["alg"], &t.algorithm); err != nil || t.algorithm == "" {
		return nil, fmt.Errorf("%w: header has no alg", ErrMalformed)
	}
	if !slices.Contains(Algorithms, t.algorithm) {
		return nil, fmt.Errorf("%w: %q", ErrAlgorithm, clip(t.algorithm))
	}
	if raw, ok := members["kid"]; ok && string(raw) != "null" {
		if err := json.Unmarshal(raw, &t.keyID); err != nil {
			return nil, fmt.Errorf("%w: kid is not a string", ErrMalformed)
		}
	}
	if len(t.keyID) > maxKeyID {
		return nil, fmt.Errorf("%w: kid longer than %d bytes", ErrMalformed, maxKeyID)
	}
	if t.keyID == "" {
		return t, ErrNoKeyID
	}
	return t, nil
}

// KeyID returns the header's kid.
func (t *Token) KeyID() string { return t.keyID }

// Algorithm returns the header's alg.
func (t *Token) Algorithm() string { return t.algorithm }

// Verify checks the signature with each of keys that suits the token's
// algorithm, which has to be in allowed, and returns the payload.
func (t *Token) Verify(keys []*PublicKey, allowed []string) ([]byte, error) {
	if !slices.Contains(allowed, t.algorithm) {
		return nil, fmt.Errorf("%w: %s", ErrAlgorithm, t.algorithm)
	}
	// Not jws.Verify, which reads the header once more, members that nobody has
	// vouched for yet included, and writes it anew before it checks.
	verifier, err := jws.NewVerifier(jwa.SignatureAlgorithm(t.algorithm))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrAlgorithm, t.algorithm)
	}
	suits := false
	for _, k := range keys {
		if !k.Suits(t.algorithm) {
			continue
		}
		suits = true
		if verifier.Verify([]byte(t.signed), t.signature, k.raw) == nil {
			return t.payload, nil
		}
	}
	if len(keys) > 0 && !suits {
		return nil, fmt.Errorf("%w: key %q is not for %s", ErrAlgorithm, clip(t.keyID), t.algorithm)
	}
	return nil, ErrSignature
}

// Suits reports whether the key may verify signatures made with alg: it must be
// of that kind, and a key that names its algorithm is for no other.
func (k *PublicKey) Suits(alg string) bool {
	if k.algorithm != "" && k.algorithm != alg {
		return false
	}
	switch key := k.raw.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return alg == "ES256"
		case elliptic.P384():
			return alg == "ES384"
		case elliptic.P521():
			return alg == "ES512"
		}
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
