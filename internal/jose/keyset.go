package jose

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

const (
	maxKeys    = 100
	minRSABits = 2048
	maxRSABits = 8192
)

// ErrKeySize says of a key that was left out that it is too weak, or so large that
// checking a signature would be an attack.
var ErrKeySize = errors.New("RSA key of a size that is not used")

// PublicKey is one verification key of a platform.
type PublicKey struct {
	id        string
	algorithm string // empty: any of its kind
	raw       any    // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// ID returns the kid of the key, which may be empty.
func (k *PublicKey) ID() string { return k.id }

// KeySet holds the usable keys of a platform. It does not change.
type KeySet struct {
	keys    []*PublicKey
	skipped []error
}

// Len returns the number of usable keys.
func (s *KeySet) Len() int { return len(s.keys) }

// Skipped says for each key that was left out, why.
func (s *KeySet) Skipped() []error { return s.skipped }

// Find returns the keys with that kid; there should be one, but some sets carry
// several under one name.
func (s *KeySet) Find(kid string) []*PublicKey {
	var found []*PublicKey
	for _, k := range s.keys {
		if k.id == kid {
			found = append(found, k)
		}
	}
	return found
}

// All returns every key of the set.
func (s *KeySet) All() []*PublicKey { return s.keys }

// ParseKeySet reads a JWKS document (RFC 7517 §5). Keys that cannot be used are
// left out, with the reason in Skipped; a document without a single usable key
// is no error here, but one that is no JWKS is.
func ParseKeySet(data []byte) (*KeySet, error) {
	var doc struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("key set is not JSON: %w", err)
	}
	if doc.Keys == nil {
		return nil, errors.New(`key set has no "keys" array`)
	}
	if len(*doc.Keys) > maxKeys {
		return nil, fmt.Errorf("key set has %d keys, more than %d", len(*doc.Keys), maxKeys)
	}
	set := new(KeySet)
	for i, raw := range *doc.Keys {
		key, err := parsePublicKey(raw)
		if err != nil {
			set.skipped = append(set.skipped, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		set.keys = append(set.keys, key)
	}
	return set, nil
}

func parsePublicKey(data []byte) (*PublicKey, error) {
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("not an object: %w", err)
	}
	switch m["kty"] {
	case "RSA", "EC", "OKP":
	default:
		return nil, fmt.Errorf("kty %v is not for public keys", m["kty"])
	}
	if use, ok := m["use"].(string); ok && use != "" && use != "sig" {
		return nil, fmt.Errorf("use is %q", clip(use))
	}
	// What is not needed is not looked at: certificates, operations, private
	// members that somebody published by mistake.
	clean := make(map[string]any, 6)
	for _, name := range []string{"kty", "crv", "n", "e", "x", "y"} {
		if s, ok := m[name].(string); ok {
			// The framework's own example pads its base64url.
			clean[name] = strings.TrimRight(s, "=")
		}
	}
	buf, err := json.Marshal(clean)
	if err != nil {
		return nil, err
	}
	parsed, err := jwk.ParseKey(buf)
	if err != nil {
		return nil, errors.New("malformed key")
	}
	var raw any
	if err := parsed.Raw(&raw); err != nil {
		return nil, errors.New("malformed key")
	}
	key := &PublicKey{raw: raw}
	switch k := raw.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return nil, fmt.Errorf("%w: %d bits", ErrKeySize, n)
		}
		if k.E < 3 || k.E%2 == 0 {
			return nil, errors.New("RSA key with an unusable exponent")
		}
	case *ecdsa.PublicKey:
		if _, err := k.ECDH(); err != nil {
			return nil, errors.New("EC key is not on its curve")
		}
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return nil, errors.New("Ed25519 key of a wrong length")
		}
	default:
		return nil, fmt.Errorf("keys of type %T are not for signatures", raw)
	}
	if kid, ok := m["kid"].(string); ok {
		if len(kid) > maxKeyID {
			return nil, errors.New("kid too long")
		}
		key.id = kid
	}
	if alg, ok := m["alg"].(string); ok {
		key.algorithm = alg
	}
	return key, nil
}
