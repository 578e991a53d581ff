package caddylti

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/keyring"
	"github.com/caddy-lti/lti/internal/seal"
	"github.com/caddy-lti/lti/store"
	"github.com/caddy-lti/lti/store/bolt"
	"github.com/caddy-lti/lti/store/memory"
	"github.com/caddy-lti/lti/store/redis"
)

func init() {
	caddy.RegisterModule(BoltStore{})
	caddy.RegisterModule(MemoryStore{})
	caddy.RegisterModule(RedisStore{})
}

// StoreProvider is a module in the namespace lti.stores.
type StoreProvider interface {
	// Key names the store: configurations with the same key share one.
	Key() string
	// Open opens it. It is called once for all configurations that share it,
	// and never while a configuration is only validated.
	Open() (store.Store, error)
}

// BoltStore keeps everything in one file. It is the default.
type BoltStore struct {
	// Path of the file. Default: lti/lti.db in Caddy's data directory.
	Path string `json:"path,omitempty"`

	path string
}

// CaddyModule returns the Caddy module information.
func (BoltStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "lti.stores.bolt", New: func() caddy.Module { return new(BoltStore) }}
}

// Provision finds out where the file is.
func (b *BoltStore) Provision(caddy.Context) error {
	if b.Path == "" {
		b.path = filepath.Join(caddy.AppDataDir(), "lti", "lti.db")
		return nil
	}
	p, err := caddy.NewReplacer().ReplaceOrErr(b.Path, true, true)
	if err != nil {
		return fmt.Errorf("store bolt: path: %w", err)
	}
	if b.path, err = filepath.Abs(p); err != nil {
		return fmt.Errorf("store bolt: path: %w", err)
	}
	return nil
}

// Validate checks the path as far as that is possible without opening it.
func (b *BoltStore) Validate() error {
	info, err := os.Stat(b.path)
	if err == nil && info.IsDir() {
		return fmt.Errorf("store bolt: %s is a directory, expected a file", b.path)
	}
	return nil
}

// Key implements StoreProvider.
func (b *BoltStore) Key() string { return "bolt:" + b.path }

// Open implements StoreProvider.
func (b *BoltStore) Open() (store.Store, error) { return bolt.Open(b.path, bolt.Options{}) }

// MemoryStore keeps everything in memory: a restart ends all sessions, and
// forgets which launches have been used. It is for trying things out.
type MemoryStore struct{}

// CaddyModule returns the Caddy module information.
func (MemoryStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "lti.stores.memory", New: func() caddy.Module { return new(MemoryStore) }}
}

// Key implements StoreProvider.
func (MemoryStore) Key() string { return "memory" }

// Open implements StoreProvider.
func (MemoryStore) Open() (store.Store, error) { return memory.New(memory.Options{}), nil }

// RedisStore keeps everything on a Redis server, which several nodes may use: they
// are one tool then. They need one storage of Caddy's, too, where the tool's keys
// are.
type RedisStore struct {
	// URL is where the server is: redis://USER:PASSWORD@HOST:PORT/DATABASE,
	// rediss:// for TLS, or unix://PATH. Required.
	URL string `json:"url,omitempty"`

	at     *redis.Address
	logger *zap.Logger
}

// openTimeout is how long a store on the network may take to be opened.
const openTimeout = 15 * time.Second

// CaddyModule returns the Caddy module information.
func (RedisStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "lti.stores.redis", New: func() caddy.Module { return new(RedisStore) }}
}

// Provision reads the URL.
func (r *RedisStore) Provision(ctx caddy.Context) error {
	r.logger = ctx.Logger()
	if r.URL == "" {
		return errors.New("store redis: the URL is missing, as in redis://10.0.0.5:6379/0")
	}
	var err error
	if r.at, err = redisAddress(r.URL); err != nil {
		return fmt.Errorf("store redis: %w", err)
	}
	return nil
}

// redisAddress reads a URL that may have placeholders.
func redisAddress(text string) (*redis.Address, error) {
	url, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	if err != nil {
		return nil, err
	}
	return redis.ParseURL(url)
}

// Key implements StoreProvider.
func (r *RedisStore) Key() string { return "redis:" + r.at.Key() }

// Open implements StoreProvider.
func (r *RedisStore) Open() (store.Store, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	return redis.Open(ctx, r.at, redis.Options{Warn: func(msg string) { r.logger.Warn(msg, zap.String("redis", r.at.String())) }})
}

// nodesKey is where a store that several nodes use has a word that all of them can
// read.
const nodesKey = "nodes:keys"

// sameKeys makes sure that the nodes on a store have the same keys. With keys of
// its own a node could read no state that another has sealed, and platforms would
// not know what it signs.
func sameKeys(ctx context.Context, st store.Shared, ring *keyring.Ring) error {
	for {
		sealed, err := st.Get(ctx, nodesKey)
		if err == nil {
			if _, err := ring.Sealer().Open(nodesKey, string(sealed)); errors.Is(err, seal.ErrInvalid) {
				return fmt.Errorf("the tool's keys in Caddy's storage are not those of the other nodes on this store: "+
					"give all nodes one storage (the global option storage). If the keys were meant to be replaced, delete the record %s of the store", nodesKey)
			}
			return err
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if _, err := st.PutIfAbsent(ctx, nodesKey, []byte(ring.Sealer().Seal(nodesKey, nil)), 0); err != nil {
			return err
		}
	}
}

// Interface guards
var (
	_ caddy.Provisioner = (*BoltStore)(nil)
	_ caddy.Validator   = (*BoltStore)(nil)
	_ StoreProvider     = (*BoltStore)(nil)
	_ StoreProvider     = (*MemoryStore)(nil)
	_ caddy.Provisioner = (*RedisStore)(nil)
	_ StoreProvider     = (*RedisStore)(nil)
)
