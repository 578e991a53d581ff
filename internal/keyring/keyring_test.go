package keyring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/certmagic"
)

func fileStorage(t *testing.T) *certmagic.FileStorage {
	t.Helper()
	return &certmagic.FileStorage{Path: t.TempDir()}
}

func TestOpenMakesOneRing(t *testing.T) {
	st := fileStorage(t)
	const nodes = 4
	rings := make([]*Ring, nodes)
	var wg sync.WaitGroup
	for i := range nodes {
		wg.Go(func() {
			ring, err := Open(t.Context(), st)
			if err != nil {
				t.Error(err)
			}
			rings[i] = ring
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, r := range rings[1:] {
		if !bytes.Equal(r.PublicKeys(), rings[0].PublicKeys()) {
			t.Error("nodes that started at once have different signing keys")
		}
	}
	if plain, err := rings[1].Sealer().Open("p", rings[0].Sealer().Seal("p", []byte("x"))); err != nil || string(plain) != "x" {
		t.Errorf("one node cannot open what another sealed: %v", err)
	}
}

func TestPublicKeysArePublic(t *testing.T) {
	ring, err := Open(t.Context(), fileStorage(t))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(ring.PublicKeys(), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Keys) != 1 {
		t.Fatalf("%d keys", len(doc.Keys))
	}
	for _, name := range []string{"kty", "n", "e", "kid", "alg", "use"} {
		if doc.Keys[0][name] == "" {
			t.Errorf("key has no %s", name)
		}
		delete(doc.Keys[0], name)
	}
	if len(doc.Keys[0]) > 0 {
		t.Errorf("key set has members that do not belong there: %v", doc.Keys[0])
	}
}

func TestDamagedRingIsNotReplaced(t *testing.T) {
	for _, content := range []string{"", "{", `{"version":1}`, `{"version":2}`, `{"version":1,"signing":[]}`, `{"version":1,"signing":[{"pem":"secret"}]}`} {
		st := fileStorage(t)
		if err := st.Store(t.Context(), storageKey, []byte(content)); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), st)
		if err == nil {
			t.Errorf("%q: no error", content)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells the content: %v", err)
		}
		after, err := st.Load(t.Context(), storageKey)
		if err != nil || string(after) != content {
			t.Errorf("%q became %q, %v", content, after, err)
		}
	}
}

type failing struct{ *certmagic.FileStorage }

var errDisk = errors.New("disk full")

func (failing) Store(context.Context, string, []byte) error { return errDisk }

func TestStorageFailure(t *testing.T) {
	if _, err := Open(t.Context(), failing{fileStorage(t)}); !errors.Is(err, errDisk) {
		t.Errorf("expected the storage's error, got %v", err)
	}
}
