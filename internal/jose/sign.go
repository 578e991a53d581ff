package jose

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// Key is a private RSA key that signs with RS256, the algorithm that every LTI
// platform knows (Security Framework §6).
type Key struct {
	id   string
	priv *rsa.PrivateKey
}

// GenerateKey makes a new RSA-2048 key. Its kid is its RFC 7638 thumbprint, so
// that no kid is ever used for two keys.
func GenerateKey() (*Key, error) {
	priv, err := rsa.GenerateKey(rand.Reader, minRSABits)
	if err != nil {
		return nil, fmt.Errorf("generating RSA key: %w", err)
	}
	return newKey(priv)
}

func newKey(priv *rsa.PrivateKey) (*Key, error) {
	pub, err := jwk.FromRaw(&priv.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("reading RSA key: %w", err)
	}
	sum, err := pub.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("making a key id: %w", err)
	}
	return &Key{id: base64.RawURLEncoding.EncodeToString(sum), priv: priv}, nil
}

// ParsePrivateKey reads what MarshalPEM wrote.
func ParsePrivateKey(data []byte) (*Key, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("no PEM block of type PRIVATE KEY")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading private key: %w", err)
	}
	priv, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("private key is %T, expected RSA", parsed)
	}
	return newKey(priv)
}

// MarshalPEM returns the private key as PKCS #8 in PEM.
func (k *Key) MarshalPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.priv)
	if err != nil {
		return nil, fmt.Errorf("writing private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Signer returns the private key, for those who sign what [Key.Sign] would not.
func (k *Key) Signer() crypto.Signer { return k.priv }

// ID returns the key's kid.
func (k *Key) ID() string { return k.id }

// Sign marshals claims with encoding/json and returns them as a compact JWS.
func (k *Key) Sign(claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("marshalling claims: %w", err)
	}
	hdr := jws.NewHeaders()
	if err := errors.Join(hdr.Set(jws.KeyIDKey, k.id), hdr.Set(jws.TypeKey, "JWT")); err != nil {
		return "", fmt.Errorf("making JWS header: %w", err)
	}
	out, err := jws.Sign(payload, jws.WithKey(jwa.RS256, k.priv, jws.WithProtectedHeaders(hdr)))
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return string(out), nil
}

// PublicSet returns the JWKS document of the keys, public members only.
func PublicSet(keys ...*Key) ([]byte, error) {
	type member struct {
		KeyType   string `json:"kty"`
		Algorithm string `json:"alg"`
		Use       string `json:"use"`
		ID        string `json:"kid"`
		N         string `json:"n"`
		E         string `json:"e"`
	}
	doc := struct {
		Keys []member `json:"keys"`
	}{Keys: make([]member, 0, len(keys))}
	for _, k := range keys {
		doc.Keys = append(doc.Keys, member{
			KeyType: "RSA", Algorithm: "RS256", Use: "sig", ID: k.id,
			N: base64.RawURLEncoding.EncodeToString(k.priv.N.Bytes()),
			E: base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.priv.E)).Bytes()),
		})
	}
	return json.Marshal(doc)
}
