// Package keyring keeps the tool's own keys: the pairs that sign what it sends
// to platforms (Security Framework §6), and those that seal what it gives to
// browsers. They live in shared storage, so that all nodes have the same, and
// are made, and replaced, under the storage's lock.
//
// A new signing key is published before it is used, for platforms keep a copy of
// the key set, and stays published for a while after the next one has replaced it.
package keyring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"
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

	// maxOverlap is how long at most a key is published before it is used, and
	// after it was.
	maxOverlap = 48 * time.Hour
)

// Ring holds the keys. It is safe for concurrent use, and changes only by
// [Ring.Refresh], [Ring.Rotate] and [Ring.Replace].
type Ring struct {
	storage Storage
	now     func() time.Time
	keys    atomic.Pointer[keys]
}

// keys does not change.
type keys struct {
	stored  []byte    // as the storage has them
	signing []signing // the oldest first
	sealer  *seal.Sealer
	public  []byte
}

type signing struct {
	*jose.Key
	created, from time.Time
}

type document struct {
	Version int `json:"version"`
	// Signing keys, the oldest first.
	Signing []signingKey `json:"signing"`
	// Sealing keys. The first is in use.
	Sealing []sealingKey `json:"sealing"`
}

type signingKey struct {
	Created time.Time `json:"created"`
	// From is when it begins to be used. Default: Created.
	From time.Time `json:"from,omitzero"`
	PEM  string    `json:"pem"`
}

func (k *signingKey) from() time.Time {
	if k.From.IsZero() {
		return k.Created
	}
	return k.From
}

type sealingKey struct {
	Created time.Time `json:"created"`
	Key     []byte    `json:"key"`
}

// Open reads the ring, making it if there is none yet. A ring that cannot be
// read is an error, never replaced: new keys would lock the tool out of every
// platform that knows the old ones.
func Open(ctx context.Context, st Storage) (*Ring, error) {
	r := &Ring{storage: st, now: time.Now}
	err := r.Refresh(ctx)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	err = r.locked(ctx, func() error {
		// Another node may have been faster.
		if err := r.Refresh(ctx); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		now := r.moment()
		key, err := newKey(now, now)
		if err != nil {
			return err
		}
		return r.write(ctx, &document{
			Signing: []signingKey{*key},
			Sealing: []sealingKey{{Created: now, Key: seal.NewKey()}},
		})
	})
	return r, err
}

func (r *Ring) moment() time.Time { return r.now().UTC().Truncate(time.Second) }

// locked holds the storage's lock, so that no other node changes the keys.
func (r *Ring) locked(ctx context.Context, f func() error) error {
	if err := r.storage.Lock(ctx, lockName); err != nil {
		return fmt.Errorf("locking the tool's keys: %w", err)
	}
	// Unlocking must happen even where ctx has ended meanwhile.
	defer func() { _ = r.storage.Unlock(context.WithoutCancel(ctx), lockName) }()
	return f()
}

func newKey(created, from time.Time) (*signingKey, error) {
	key, err := jose.GenerateKey()
	if err != nil {
		return nil, err
	}
	pem, err := key.MarshalPEM()
	if err != nil {
		return nil, err
	}
	return &signingKey{Created: created, From: from, PEM: string(pem)}, nil
}

func (r *Ring) write(ctx context.Context, doc *document) error {
	doc.Version = version
	data, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("writing the tool's keys: %w", err)
	}
	if err := r.storage.Store(ctx, storageKey, data); err != nil {
		return fmt.Errorf("storing the tool's keys as %s: %w", storageKey, err)
	}
	return r.Refresh(ctx)
}

// Refresh reads the keys anew: another node may have replaced some.
func (r *Ring) Refresh(ctx context.Context) error {
	data, err := r.load(ctx)
	if err != nil {
		return err
	}
	if known := r.keys.Load(); known != nil && bytes.Equal(known.stored, data) {
		return nil
	}
	doc, err := parse(data)
	if err != nil {
		return err
	}
	k := &keys{stored: data}
	public := make([]*jose.Key, 0, len(doc.Signing))
	for i, s := range doc.Signing {
		key, err := jose.ParsePrivateKey([]byte(s.PEM))
		if err != nil {
			return fmt.Errorf("signing key %d in %s is damaged: %w", i, storageKey, err)
		}
		k.signing = append(k.signing, signing{key, s.Created, s.from()})
		public = append(public, key)
	}
	var sealing [][]byte
	for _, s := range doc.Sealing {
		sealing = append(sealing, s.Key)
	}
	if k.sealer, err = seal.New(sealing...); err != nil {
		return fmt.Errorf("sealing keys in %s: %w", storageKey, err)
	}
	slices.Reverse(public)
	if k.public, err = jose.PublicSet(public...); err != nil {
		return err
	}
	r.keys.Store(k)
	return nil
}

func (r *Ring) load(ctx context.Context) ([]byte, error) {
	data, err := r.storage.Load(ctx, storageKey)
	if err != nil {
		return nil, fmt.Errorf("loading the tool's keys from %s: %w", storageKey, err)
	}
	return data, nil
}

func (r *Ring) read(ctx context.Context) (*document, error) {
	data, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	return parse(data)
}

// parse reads what is stored. Nothing of the content may get into an error.
func parse(data []byte) (*document, error) {
	doc := new(document)
	if json.Unmarshal(data, doc) != nil {
		return nil, fmt.Errorf("the tool's keys in %s are damaged: restore them from a backup", storageKey)
	}
	if doc.Version != version {
		return nil, fmt.Errorf("the tool's keys in %s are of version %d, this program knows version %d", storageKey, doc.Version, version)
	}
	if len(doc.Signing) == 0 {
		return nil, fmt.Errorf("no signing key in %s", storageKey)
	}
	return doc, nil
}

// overlap is how long a key is published before and after its use, where keys are
// used for so long.
func overlap(every time.Duration) time.Duration {
	if every == 0 {
		return maxOverlap
	}
	return min(every/4, maxOverlap)
}

// Rotate makes a new signing key if the newest is older than every, which is how
// long each is used, and forgets those whose time is over. It says whether anything
// has changed. Of all nodes that find it necessary at once, one makes it.
func (r *Ring) Rotate(ctx context.Context, every time.Duration) (bool, error) {
	due := func(created time.Time) bool { return every > 0 && !r.now().Before(created.Add(every)) }
	k := r.keys.Load()
	if !due(k.signing[len(k.signing)-1].created) && !r.outdated(len(k.signing), func(i int) time.Time { return k.signing[i].from }, overlap(every)) {
		return false, nil
	}
	changed := false
	err := r.locked(ctx, func() error {
		doc, err := r.read(ctx)
		if err != nil {
			return err
		}
		now := r.moment()
		if newest := doc.Signing[len(doc.Signing)-1]; due(newest.Created) {
			key, err := newKey(now, now.Add(overlap(every)))
			if err != nil {
				return err
			}
			doc.Signing, changed = append(doc.Signing, *key), true
		}
		for r.outdated(len(doc.Signing), func(i int) time.Time { return doc.Signing[i].from() }, overlap(every)) {
			doc.Signing, changed = doc.Signing[1:], true
		}
		if !changed {
			return r.Refresh(ctx)
		}
		return r.write(ctx, doc)
	})
	return changed, err
}

// outdated reports whether the oldest key was replaced so long ago that nobody
// needs it any more.
func (r *Ring) outdated(n int, from func(int) time.Time, keep time.Duration) bool {
	return n > 1 && !r.now().Before(from(1).Add(keep))
}

// Replace makes a new signing key now, in the place of one that waits for its use. It
// is used in two days, so that platforms have it by then, or at once: then the others
// are withdrawn, as is needed where somebody may have taken them.
func (r *Ring) Replace(ctx context.Context, atOnce bool) error {
	return r.locked(ctx, func() error {
		doc, err := r.read(ctx)
		if err != nil {
			return err
		}
		now := r.moment()
		from := now.Add(maxOverlap)
		if atOnce {
			from, doc.Signing = now, nil
		}
		doc.Signing = slices.DeleteFunc(doc.Signing, func(k signingKey) bool { return now.Before(k.from()) })
		key, err := newKey(now, from)
		if err != nil {
			return err
		}
		doc.Signing = append(doc.Signing, *key)
		return r.write(ctx, doc)
	})
}

// inUse returns the newest key whose time has come.
func (r *Ring) inUse() *signing {
	all, now := r.keys.Load().signing, r.now()
	for i := len(all) - 1; i > 0; i-- {
		if !now.Before(all[i].from) {
			return &all[i]
		}
	}
	return &all[0]
}

// Sealer seals with the ring's keys.
func (r *Ring) Sealer() *seal.Sealer { return r.keys.Load().sealer }

// Sign returns claims as a JWS of the key in use.
func (r *Ring) Sign(claims any) (string, error) { return r.inUse().Sign(claims) }

// Created returns when the signing key in use was made.
func (r *Ring) Created() time.Time { return r.inUse().created }

// PublicKeys returns the JWKS document of the signing keys, newest first.
func (r *Ring) PublicKeys() []byte { return r.keys.Load().public }

// KeyInfo is what there is to say of a signing key.
type KeyInfo struct {
	ID      string // kid
	Created time.Time
	From    time.Time // when its use begins
	InUse   bool
}

// Keys returns the signing keys, the newest first.
func (r *Ring) Keys() []KeyInfo {
	current := r.inUse()
	var all []KeyInfo
	for _, s := range slices.Backward(r.keys.Load().signing) {
		all = append(all, KeyInfo{s.ID(), s.created, s.from, s.ID() == current.ID()})
	}
	return all
}
