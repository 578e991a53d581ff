package memory

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-lti/lti/store"
	"github.com/caddy-lti/lti/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(_ *testing.T, now func() time.Time) store.Store {
		return New(Options{Now: now})
	})
}

func TestSweepReturnsMemory(t *testing.T) {
	clock := storetest.NewClock()
	s := New(Options{Now: clock.Now})
	defer s.Close()
	ctx := t.Context()

	const many = 3*sweepBatch + shrinkFrom
	for i := range many {
		if err := s.Put(ctx, fmt.Sprint("short", i), nil, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	for _, ttl := range []time.Duration{0, time.Hour} {
		if err := s.Put(ctx, fmt.Sprint("long", ttl), []byte("x"), ttl); err != nil {
			t.Fatal(err)
		}
	}
	clock.Advance(time.Minute)

	n, err := s.Sweep(ctx)
	if err != nil || n != many {
		t.Fatalf("Sweep = %d, %v; want %d", n, err, many)
	}
	if len(s.records) != 2 || len(s.queue) != 1 {
		t.Errorf("%d records and %d in the queue are left, want 2 and 1", len(s.records), len(s.queue))
	}
	if s.peak > shrinkFrom || cap(s.queue) > shrinkFrom {
		t.Errorf("the map for %d records and a queue for %d were kept", s.peak, cap(s.queue))
	}
	for _, ttl := range []time.Duration{0, time.Hour} {
		if _, err := s.Get(ctx, fmt.Sprint("long", ttl)); err != nil {
			t.Errorf("live record with ttl %s: %v", ttl, err)
		}
	}
	if n, err := s.Sweep(ctx); n != 0 || err != nil {
		t.Errorf("second Sweep = %d, %v; want 0", n, err)
	}
}

func TestRewritesLeaveNothingInTheQueue(t *testing.T) {
	s := New(Options{})
	defer s.Close()
	ctx := t.Context()
	for i := range 100 {
		if err := s.Put(ctx, "k", nil, time.Duration(i)*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		if ok, err := s.Swap(ctx, "k", nil, nil, time.Duration(i)*time.Hour); !ok || err != nil {
			t.Fatalf("Swap = %t, %v", ok, err)
		}
	}
	if len(s.queue) != 1 {
		t.Errorf("%d queue entries for one record", len(s.queue))
	}
	if err := s.Delete(ctx, "k"); err != nil || len(s.queue) != 0 {
		t.Errorf("Delete = %v, %d queue entries left", err, len(s.queue))
	}
}

func TestBackgroundSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		if err := s.Put(t.Context(), "k", nil, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(defaultSweepInterval) // the bubble's clock: no real time passes
		synctest.Wait()
		s.mu.RLock()
		left := len(s.records)
		s.mu.RUnlock()
		if left != 0 {
			t.Errorf("%d records left after the interval", left)
		}
		// A sweep goroutine that outlived Close would fail the bubble.
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := s.Sweep(context.Background()); !errors.Is(err, store.ErrClosed) {
			t.Errorf("Sweep after Close: %v, want ErrClosed", err)
		}
	})
}

func BenchmarkPut(b *testing.B) { storetest.BenchmarkPut(b, New(Options{})) }
func BenchmarkGet(b *testing.B) { storetest.BenchmarkGet(b, New(Options{})) }
