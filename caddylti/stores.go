package caddylti

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-lti/lti/store"
	"github.com/caddy-lti/lti/store/bolt"
	"github.com/caddy-lti/lti/store/memory"
)

func init() {
	caddy.RegisterModule(BoltStore{})
	caddy.RegisterModule(MemoryStore{})
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

// Interface guards
var (
	_ caddy.Provisioner = (*BoltStore)(nil)
	_ caddy.Validator   = (*BoltStore)(nil)
	_ StoreProvider     = (*BoltStore)(nil)
	_ StoreProvider     = (*MemoryStore)(nil)
)
