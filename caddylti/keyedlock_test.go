package caddylti

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/redistest"
	"github.com/caddy-lti/lti/store/redis"
)

// One at a time holds a lock, on whichever node; who gives up keeps nobody waiting.
func TestMakingLock(t *testing.T) {
	srv := redistest.Start(t)
	at, err := redis.ParseURL(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	var nodes [2]makingLock
	for i := range nodes {
		st, err := redis.Open(t.Context(), at, redis.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = st.Close() })
		nodes[i].shared = st
	}
	var inside, passed atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			unlock, err := nodes[i%2].lock(t.Context(), "k")
			if err != nil {
				t.Error(err)
				return
			}
			if inside.Add(1) != 1 {
				t.Error("two hold the lock")
			}
			passed.Add(1)
			inside.Add(-1)
			unlock()
		})
	}
	wg.Wait()
	if passed.Load() != 8 {
		t.Errorf("%d have had the lock", passed.Load())
	}

	unlock, err := nodes[0].lock(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	other, err := nodes[1].lock(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	other()
	for _, n := range []*makingLock{&nodes[0], &nodes[1]} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := n.lock(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a lock that is held: %v", err)
		}
		cancel()
	}
	unlock()
	for i := range nodes {
		unlock, err := nodes[i].lock(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		unlock()
	}
}
