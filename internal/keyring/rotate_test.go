package keyring

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-lti/lti/internal/jose"
)

// shared is storage that several nodes have.
type shared struct {
	mu   sync.Mutex
	vals map[string][]byte
	lock sync.Mutex
}

func (s *shared) Load(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	val, ok := s.vals[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return val, nil
}

func (s *shared) Store(_ context.Context, key string, val []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vals == nil {
		s.vals = make(map[string][]byte)
	}
	s.vals[key] = val
	return nil
}

func (s *shared) Lock(context.Context, string) error   { s.lock.Lock(); return nil }
func (s *shared) Unlock(context.Context, string) error { s.lock.Unlock(); return nil }

func published(t *testing.T, r *Ring) (ids []string) {
	t.Helper()
	var doc struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(r.PublicKeys(), &doc); err != nil {
		t.Fatal(err)
	}
	for _, k := range doc.Keys {
		ids = append(ids, k.ID)
	}
	return ids
}

// signer returns the kid of what the ring signs, after checking that a platform
// that knows the published keys accepts it.
func signer(t *testing.T, r *Ring, document []byte) string {
	t.Helper()
	compact, err := r.Sign(map[string]string{"a": "b"})
	if err != nil {
		t.Fatal(err)
	}
	token, err := jose.Parse(compact)
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.ParseKeySet(document)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.Verify(set.Find(token.KeyID()), jose.Algorithms); err != nil {
		t.Errorf("signed by %s, which is not published: %v", token.KeyID(), err)
	}
	return token.KeyID()
}

// Over two years of two nodes, a platform that fetches the keys once a day accepts
// everything, and each key is used for as long as was said.
func TestRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 90 * 24 * time.Hour
		st := new(shared)
		nodes := make([]*Ring, 2)
		for i := range nodes {
			var err error
			if nodes[i], err = Open(t.Context(), st); err != nil {
				t.Fatal(err)
			}
		}
		var copied []byte // at the platform
		used := make(map[string]time.Duration)
		var order []string
		for hour := range 2 * 365 * 24 / 6 { // in steps of six hours
			for i, r := range nodes {
				if (hour+i)%2 == 0 { // in turns, so that each learns of the other's
					if _, err := r.Rotate(t.Context(), every); err != nil {
						t.Fatal(err)
					}
				}
				if err := r.Refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if hour%4 == 0 {
				copied = slices.Clone(nodes[0].PublicKeys())
			}
			id := signer(t, nodes[hour%2], copied)
			if used[id] == 0 {
				order = append(order, id)
			}
			used[id] += 6 * time.Hour
			if n := len(published(t, nodes[0])); n > 2 {
				t.Fatalf("%d keys are published", n)
			}
			time.Sleep(6 * time.Hour)
		}
		if len(order) != 9 {
			t.Errorf("%d keys in two years: %v", len(order), used)
		}
		for _, id := range order[1 : len(order)-1] {
			if d := used[id] - every; d < -6*time.Hour || d > 6*time.Hour {
				t.Errorf("a key was used for %s", used[id])
			}
		}
		if n := len(published(t, nodes[0])); n != 1 {
			t.Errorf("%d keys are published between rotations", n)
		}
	})
}

// Of nodes that find it necessary at once, one makes the key.
func TestRotateAtOnce(t *testing.T) {
	st := new(shared)
	now := time.Now()
	nodes := make([]*Ring, 4)
	for i := range nodes {
		r, err := Open(t.Context(), st)
		if err != nil {
			t.Fatal(err)
		}
		r.now = func() time.Time { return now.Add(100 * 24 * time.Hour) }
		nodes[i] = r
	}
	var wg sync.WaitGroup
	made := make([]bool, len(nodes))
	for i, r := range nodes {
		wg.Go(func() {
			var err error
			if made[i], err = r.Rotate(t.Context(), 90*24*time.Hour); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(slices.DeleteFunc(made, func(b bool) bool { return !b })); n != 1 {
		t.Errorf("%d nodes made a key", n)
	}
	for _, r := range nodes {
		if ids := published(t, r); len(ids) != 2 || !bytes.Equal(r.PublicKeys(), nodes[0].PublicKeys()) {
			t.Errorf("published: %v", ids)
		}
	}
}

func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := Open(t.Context(), new(shared))
		if err != nil {
			t.Fatal(err)
		}
		sealed := r.Sealer().Seal("p", []byte("x"))
		old := signer(t, r, r.PublicKeys())
		if err := r.Replace(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		ids := published(t, r)
		if len(ids) != 2 || ids[1] != old || signer(t, r, r.PublicKeys()) != old {
			t.Errorf("at first: %v, signed by %s", ids, signer(t, r, r.PublicKeys()))
		}
		if all := r.Keys(); len(all) != 2 || all[0].InUse || !all[1].InUse || all[0].From.Sub(all[0].Created) != maxOverlap {
			t.Errorf("%+v", all)
		}
		time.Sleep(maxOverlap)
		if got := signer(t, r, r.PublicKeys()); got != ids[0] {
			t.Errorf("after two days: %s", got)
		}
		if err := r.Replace(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if now := published(t, r); len(now) != 1 || slices.Contains(ids, now[0]) || signer(t, r, r.PublicKeys()) != now[0] {
			t.Errorf("at once: %v", now)
		}
		current := signer(t, r, r.PublicKeys())
		for range 3 {
			if err := r.Replace(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if n := len(published(t, r)); n != 2 || signer(t, r, r.PublicKeys()) != current {
				t.Errorf("again and again: %d keys", n)
			}
		}
		// Whoever keeps the ring withdraws the old one when nobody needs it.
		for day, want := range []int{2, 2, 2, 2, 1, 1} {
			if _, err := r.Rotate(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			if n := len(published(t, r)); n != want {
				t.Errorf("on day %d: %d keys", day, n)
			}
			time.Sleep(24 * time.Hour)
		}
		// What was sealed before opens as ever.
		if plain, err := r.Sealer().Open("p", sealed); err != nil || string(plain) != "x" {
			t.Errorf("%q %v", plain, err)
		}
	})
}
