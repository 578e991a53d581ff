package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // for the algorithms
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// Key is a key pair of a platform. It signs whatever it is told to.
type Key struct {
	ID      string
	Private crypto.Signer
}

// JWK returns the public key as a member of a key set, without alg and use.
func (k Key) JWK() map[string]any {
	switch pub := k.Private.Public().(type) {
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "kid": k.ID, "n": encode(pub.N.Bytes()), "e": encode(big.NewInt(int64(pub.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil {
			panic(err)
		}
		size := (len(point) - 1) / 2
		return map[string]any{
			"kty": "EC", "kid": k.ID, "crv": pub.Params().Name,
			"x": encode(point[1 : 1+size]), "y": encode(point[1+size:]),
		}
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "kid": k.ID, "crv": "Ed25519", "x": encode(pub)}
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
	input := encode(header) + "." + encode(payload)
	return input + "." + encode(k.signature(alg, []byte(input), secret))
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

// algorithm is what the key signs with unless a header says otherwise.
func (k Key) algorithm() string {
	switch pub := k.Private.Public().(type) {
	case *ecdsa.PublicKey:
		return map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[pub.Params().BitSize]
	case ed25519.PublicKey:
		return "EdDSA"
	}
	return "RS256"
}

// signsWith reports whether the key can sign with that algorithm.
func (k Key) signsWith(alg string) bool {
	if _, ok := k.Private.(*rsa.PrivateKey); ok {
		return slices.Contains([]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, alg)
	}
	return alg == k.algorithm()
}

// as returns the public key, of RSA, in one of the forms that a confused verifier
// might take for an HMAC secret.
func (k Key) as(form string) ([]byte, error) {
	pub, ok := k.Private.Public().(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the key is %T, not RSA", k.Private)
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, err
	}
	switch form {
	case "pem":
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}), nil
	case "pkcs1-pem":
		return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(pub)}), nil
	case "der":
		return spki, nil
	case "jwk":
		return json.Marshal(k.JWK())
	case "modulus":
		return pub.N.Bytes(), nil
	case "empty":
		return nil, nil
	}
	return nil, fmt.Errorf("unknown form of a public key %q", form)
}

var (
	encode = base64.RawURLEncoding.EncodeToString
	decode = base64.RawURLEncoding.DecodeString
)
