package outbox

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-lti/lti/store"
	"github.com/caddy-lti/lti/store/memory"
)

// hooked is a store whose conditional writes a test can hold or refuse: for the
// moments that the model meets too rarely.
type hooked struct {
	store.Store
	mu   sync.Mutex
	hook func(key string) error
}

func (h *hooked) set(hook func(key string) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = hook
}

func (h *hooked) before(key string) error {
	h.mu.Lock()
	hook := h.hook
	h.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(key)
}

func (h *hooked) PutIfAbsent(ctx context.Context, key string, val []byte, ttl time.Duration) (bool, error) {
	if err := h.before(key); err != nil {
		return false, err
	}
	return h.Store.PutIfAbsent(ctx, key, val, ttl)
}

func (h *hooked) Swap(ctx context.Context, key string, old, val []byte, ttl time.Duration) (bool, error) {
	if err := h.before(key); err != nil {
		return false, err
	}
	return h.Store.Swap(ctx, key, old, val, ttl)
}

// withHook runs a test on an outbox with a hooked store, and another outbox on
// what lies under it.
func withHook(t *testing.T, test func(t *testing.T, h *hooked, o, other *Outbox)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		inner := memory.New(memory.Options{})
		h := &hooked{Store: inner}
		o, other := Open(h, Config{Node: "a"}), Open(inner, Config{Node: "b"})
		test(t, h, o, other)
		for _, o := range []*Outbox{o, other} {
			if err := o.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
		inner.Close()
	})
}

func delivers(context.Context, Entry) Result { return Result{Outcome: Delivered} }

func wantState(t *testing.T, o *Outbox, id string, want State) {
	t.Helper()
	if e, err := o.Get(t.Context(), id); err != nil || e.State != want {
		t.Errorf("entry is %s (%s), %v; want %s", e.State, e.Reason, err, want)
	}
}

// TestSlowPut: a Put is held before its last write, into a new lane and into an
// old one, until another node has cleared its content away.
func TestSlowPut(t *testing.T) {
	withHook(t, func(t *testing.T, h *hooked, o, other *Outbox) {
		o.SetSender(delivers)
		for range 2 {
			held := make(chan struct{})
			var first atomic.Bool
			h.set(func(key string) error {
				if strings.HasPrefix(key, laneKey("")) && first.CompareAndSwap(false, true) {
					<-held
				}
				return nil
			})
			var (
				wg  sync.WaitGroup
				got Entry
				err error
			)
			wg.Go(func() { got, err = o.Put(t.Context(), score("a", "1")) })
			time.Sleep(2 * strayAge)
			left, lerr := other.store.List(t.Context(), pendingPrefix, "", 10)
			if lerr != nil || len(left) != 0 {
				t.Errorf("content of a Put that takes too long: %q, %v", left, lerr)
			}
			close(held)
			wg.Wait()
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			wantState(t, o, got.ID, StateDelivered)
		}
	})
}

// TestPutAfterConclusion: an entry comes after the result of the one before has
// been written, and before its lane is let go.
func TestPutAfterConclusion(t *testing.T) {
	withHook(t, func(t *testing.T, _ *hooked, o, _ *Outbox) {
		n := score("a", "1")
		lane := laneOf(n.Platform, n.Lane)
		j := o.claim(lane, n.Platform)
		if j == nil || o.claim(lane, n.Platform) != nil {
			t.Fatal("a job has no single owner")
		}
		o.SetSender(delivers)
		e, err := o.Put(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		wantState(t, o, e.ID, StateQueued)
		o.release(j, again{}) // as one that has seen nothing left to do
		time.Sleep(time.Second)
		wantState(t, o, e.ID, StateDelivered)
	})
}

// TestSameKeyOnTwoNodes: while one node is about to name an entry, the other
// takes it by the same idempotency key, sends it and has its lane forget it.
func TestSameKeyOnTwoNodes(t *testing.T) {
	withHook(t, func(t *testing.T, h *hooked, o, other *Outbox) {
		var calls atomic.Int64
		send := func(_ context.Context, e Entry) Result {
			if string(e.Body) == "1" {
				calls.Add(1)
			}
			return Result{Outcome: Delivered}
		}
		other.SetSender(send)
		held := make(chan struct{})
		h.set(func(key string) error {
			if strings.HasPrefix(key, laneKey("")) {
				<-held
			}
			return nil
		})
		n := score("a", "1")
		n.Key = "k"
		var (
			wg       sync.WaitGroup
			first    Entry
			firstErr error
		)
		wg.Go(func() { first, firstErr = o.Put(t.Context(), n) })
		synctest.Wait()
		second, err := other.Put(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for range 3 {
			if _, err := other.Put(t.Context(), score("a", "2")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		o.SetSender(send)
		close(held)
		wg.Wait()
		if firstErr != nil || first.ID != second.ID {
			t.Errorf("Put = %+v, %v; the other node has %+v", first, firstErr, second)
		}
		time.Sleep(2 * strayAge)
		wantState(t, o, second.ID, StateDelivered)
		if e, err := o.Get(t.Context(), second.ID); err != nil || calls.Load() != 1 || e.Attempts != 1 {
			t.Errorf("%d calls; entry %+v, %v", calls.Load(), e, err)
		}
	})
}

// TestRetryCutOff: a Retry dies between its two writes.
func TestRetryCutOff(t *testing.T) {
	withHook(t, func(t *testing.T, h *hooked, o, _ *Outbox) {
		o.SetSender(func(context.Context, Entry) Result { return Result{Outcome: Dead, Reason: "no"} })
		e, err := o.Put(t.Context(), score("a", "1"))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.set(func(key string) error {
			if strings.HasPrefix(key, laneKey("")) {
				return errFlaky
			}
			return nil
		})
		if _, err := o.Retry(t.Context(), e.ID); !errors.Is(err, errFlaky) {
			t.Fatalf("Retry: %v", err)
		}
		wantState(t, o, e.ID, StateDead)
		h.set(nil)
		time.Sleep(2 * strayAge)
		wantState(t, o, e.ID, StateDead)
		if left, err := h.List(t.Context(), pendingPrefix, "", 10); err != nil || len(left) != 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
		o.SetSender(delivers)
		if _, err := o.Retry(t.Context(), e.ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantState(t, o, e.ID, StateDelivered)
	})
}
