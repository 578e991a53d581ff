// Package keyring keeps the tool's own keys: the pairs that sign what it sends
// to platforms (Security Framework §6), and those that seal what it gives to
// browsers. They live in shared storage, so that all nodes have the same, and
// are made once, under the storage's lock.
package keyring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/caddy-lti/lti/internal/jose"
	"github.com/caddy-lti/lti/internal/seal"
)

// Storage is the part of certmagic's storage that a keyring needs. Load answers
// fs.ErrNotExist for what is not there.
type Storage interface {
	Load(ctx context.Context, key string) ([]byte, error)
	Store(ctx context.Context, key string, val []byte) error
	Lock(ctx context.Context, name string) error
	Unlock(ctx context.Context, name string) error
}

const (
	storageKey = "lti/keyring.json"
	lockName   = "lti_keyring"
	version    = 1
)

// Ring holds the keys. The first of each kind is in use; the others are those
// that it replaced. It does not change.
type Ring struct {
	created []time.Time // of the signing keys
	signing []*jose.Key
	sealer  *seal.Sealer
	public  []byte
}

type document struct {
	Version int          `json:"version"`
	Signing []signingKey `json:"signing"`
	Sealing []sealingKey `json:"sealing"`
}

type signingKey struct {
	Created time.Time `json:"created"`
	PEM     string    `json:"pem"`
}

type sealingKey struct {
	Created time.Time `json:"created"`
	Key     []byte    `json:"key"`
}

// Open reads the ring, making it if there is none yet. A ring that cannot be
// read is an error, never replaced: new keys would lock the tool out of every
// platform that knows the old ones.
func Open(ctx context.Context, st Storage) (*Ring, error) {
	ring, err := load(ctx, st)
	if !errors.Is(err, fs.ErrNotExist) {
		return ring, err
	}
	if err := st.Lock(ctx, lockName); err != nil {
		return nil, fmt.Errorf("locking the tool's keys: %w", err)
	}
	// Unlocking must happen even where ctx has ended meanwhile.
	defer func() { _ = st.Unlock(context.WithoutCancel(ctx), lockName) }()
	// Another node may have been faster.
	ring, err = load(ctx, st)
	if !errors.Is(err, fs.ErrNotExist) {
		return ring, err
	}
	key, err := jose.GenerateKey()
	if err != nil {
		return nil, err
	}
	pem, err := key.MarshalPEM()
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC().Truncate(time.Second)
	data, err := json.Marshal(document{
		Version: version,
		Signing: []signingKey{{Created: now, PEM: string(pem)}},
		Sealing: []sealingKey{{Created: now, Key: seal.NewKey()}},
	})
	if err != nil {
		return nil, fmt.Errorf("writing the tool's keys: %w", err)
	}
	if err := st.Store(ctx, storageKey, data); err != nil {
		return nil, fmt.Errorf("storing the tool's keys as %s: %w", storageKey, err)
	}
	return load(ctx, st)
}

func load(ctx context.Context, st Storage) (*Ring, error) {
	data, err := st.Load(ctx, storageKey)
	if err != nil {
		return nil, fmt.Errorf("loading the tool's keys from %s: %w", storageKey, err)
	}
	// Nothing of the content may get into an error.
	var doc document
	if json.Unmarshal(data, &doc) != nil {
		return nil, fmt.Errorf("the tool's keys in %s are damaged: restore them from a backup", storageKey)
	}
	if doc.Version != version {
		return nil, fmt.Errorf("the tool's keys in %s are of version %d, this program knows version %d", storageKey, doc.Version, version)
	}
	ring := new(Ring)
	for i, k := range doc.Signing {
		key, err := jose.ParsePrivateKey([]byte(k.PEM))
		if err != nil {
			return nil, fmt.Errorf("signing key %d in %s is damaged: %w", i, storageKey, err)
		}
		ring.signing, ring.created = append(ring.signing, key), append(ring.created, k.Created)
	}
	if len(ring.signing) == 0 {
		return nil, fmt.Errorf("no signing key in %s", storageKey)
	}
	var keys [][]byte
	for _, k := range doc.Sealing {
		keys = append(keys, k.Key)
	}
	if ring.sealer, err = seal.New(keys...); err != nil {
		return nil, fmt.Errorf("sealing keys in %s: %w", storageKey, err)
	}
	if ring.public, err = jose.PublicSet(ring.signing...); err != nil {
		return nil, err
	}
	return ring, nil
}

// Sealer seals with the ring's keys.
func (r *Ring) Sealer() *seal.Sealer { return r.sealer }

// Sign returns claims as a JWS of the key in use.
func (r *Ring) Sign(claims any) (string, error) { return r.signing[0].Sign(claims) }

// Created returns when the signing key in use was made.
func (r *Ring) Created() time.Time { return r.created[0] }

// KeyInfo is what there is to say of a signing key.
type KeyInfo struct {
	ID      string // kid
	Created time.Time
}

// Keys returns the signing keys, the one in use first.
func (r *Ring) Keys() []KeyInfo {
	all := make([]KeyInfo, len(r.signing))
	for i, k := range r.signing {
		all[i] = KeyInfo{k.ID(), r.created[i]}
	}
	return all
}

// PublicKeys returns the JWKS document of the signing keys, newest first.
func (r *Ring) PublicKeys() []byte { return r.public }
