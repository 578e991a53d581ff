// Package seal encrypts small values that leave the server and come back: what
// a login knew, carried in the state parameter. AES-256-GCM with a random nonce
// for each value; the purpose is authenticated too, so that a value sealed for
// one thing, or one site, opens nowhere else.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
)

// KeySize is the length of a key, in bytes.
const KeySize = 32

// ErrInvalid is returned for a value that was not sealed with one of the keys
// for this purpose.
var ErrInvalid = errors.New("not a value sealed here")

// Sealer seals with its first key and opens with any. It is safe for
// concurrent use.
type Sealer struct {
	aeads []cipher.AEAD
}

// NewKey returns a fresh random key.
func NewKey() []byte {
	key := make([]byte, KeySize)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the program instead
	return key
}

// New makes a Sealer; keys[0] seals.
func New(keys ...[]byte) (*Sealer, error) {
	if len(keys) == 0 {
		return nil, errors.New("no sealing key")
	}
	s := new(Sealer)
	for _, key := range keys {
		if len(key) != KeySize {
			return nil, fmt.Errorf("sealing key of %d bytes, expected %d", len(key), KeySize)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("making cipher: %w", err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("making cipher: %w", err)
		}
		s.aeads = append(s.aeads, aead)
	}
	return s, nil
}

// Seal returns plain, encrypted and authenticated together with purpose, in
// base64url.
func (s *Sealer) Seal(purpose string, plain []byte) string {
	return base64.RawURLEncoding.EncodeToString(s.aeads[0].Seal(nil, nil, plain, []byte(purpose)))
}

// Open undoes Seal.
func (s *Sealer) Open(purpose, sealed string) ([]byte, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil {
		return nil, ErrInvalid
	}
	for _, aead := range s.aeads {
		if plain, err := aead.Open(nil, nil, raw, []byte(purpose)); err == nil {
			return plain, nil
		}
	}
	return nil, ErrInvalid
}
