package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-lti/lti/store"
	"github.com/caddy-lti/lti/store/bolt"
	"github.com/caddy-lti/lti/store/memory"
)

// TestNodes: what one node dies with, another one sends, but not before the
// lease has ended.
func TestNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory.New(memory.Options{})
		w := &world{t: t, inner: st, arrived: map[string][]arrival{}, sending: map[string]*process{}}
		p := &process{Store: st, w: w, writes: -1}
		a := Open(quiet{p}, Config{Node: "a"})
		a.SetSender(func(ctx context.Context, _ Entry) Result {
			p.crash()
			<-ctx.Done()
			return Result{}
		})
		sending, err := a.Put(t.Context(), score("a", "1"))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		start := time.Now()

		b := Open(st, Config{Node: "b"})
		var calls atomic.Int64
		var at time.Time
		b.SetSender(func(context.Context, Entry) Result {
			calls.Add(1)
			at = time.Now()
			return Result{Outcome: Delivered}
		})
		time.Sleep(59 * time.Second)
		if calls.Load() != 0 {
			t.Error("sent while another node has the lease")
		}
		e, err := b.Wait(t.Context(), sending.ID)
		if err != nil || e.State != StateDelivered || at.Sub(start) != time.Minute || !e.Time.Equal(sending.Time) {
			t.Errorf("entry is %+v, %v, sent after %s", e, err, at.Sub(start))
		}

		// A third node queues and dies before it sends.
		c := Open(st, Config{Node: "c"})
		left, err := c.Put(t.Context(), score("c", "1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3*time.Minute + time.Second)
		if e, err := b.Get(t.Context(), left.ID); err != nil || e.State != StateDelivered {
			t.Errorf("what another node left is %+v, %v", e, err)
		}
		if n := calls.Load(); n != 2 {
			t.Errorf("%d calls", n)
		}
		for _, o := range []*Outbox{a, b} {
			if err := o.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		st.Close()
	})
}

// quiet is a process without the model's dice.
type quiet struct{ *process }

func (q quiet) PutIfAbsent(ctx context.Context, key string, val []byte, ttl time.Duration) (bool, error) {
	if !q.alive() {
		return false, errCrashed
	}
	return q.Store.PutIfAbsent(ctx, key, val, ttl)
}

func (q quiet) Swap(ctx context.Context, key string, old, val []byte, ttl time.Duration) (bool, error) {
	if !q.alive() {
		return false, errCrashed
	}
	return q.Store.Swap(ctx, key, old, val, ttl)
}

func (q quiet) Get(ctx context.Context, key string) ([]byte, error) {
	if !q.alive() {
		return nil, errCrashed
	}
	return q.Store.Get(ctx, key)
}

func (q quiet) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if !q.alive() {
		return nil, errCrashed
	}
	return q.Store.List(ctx, prefix, after, limit)
}

// away is a store that can be switched off.
type away struct {
	store.Store
	off atomic.Bool
}

func (a *away) Swap(ctx context.Context, key string, old, val []byte, ttl time.Duration) (bool, error) {
	if a.off.Load() {
		return false, errFlaky
	}
	return a.Store.Swap(ctx, key, old, val, ttl)
}

func (a *away) PutIfAbsent(ctx context.Context, key string, val []byte, ttl time.Duration) (bool, error) {
	if a.off.Load() {
		return false, errFlaky
	}
	return a.Store.PutIfAbsent(ctx, key, val, ttl)
}

func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := memory.New(memory.Options{})
		st := &away{Store: inner}
		var warned atomic.Int64
		o := Open(st, Config{Alone: true, Warn: func(string, error) { warned.Add(1) }})
		var calls atomic.Int64
		o.SetSender(func(context.Context, Entry) Result {
			calls.Add(1)
			st.off.Store(true)
			return Result{Outcome: Delivered}
		})
		e, err := o.Put(t.Context(), score("a", "1"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if _, err := o.Put(t.Context(), score("b", "1")); !errors.Is(err, errFlaky) {
			t.Errorf("Put without a store: %v", err)
		}
		if got, err := o.Get(t.Context(), e.ID); err != nil || got.State != StateQueued {
			t.Errorf("entry is %+v, %v", got, err)
		}
		st.off.Store(false)
		time.Sleep(time.Minute)
		if got, err := o.Get(t.Context(), e.ID); err != nil || got.State != StateDelivered {
			t.Errorf("entry is %+v, %v", got, err)
		}
		if n := warned.Load(); calls.Load() != 1 || n < 1 || n > 12 {
			t.Errorf("%d calls, %d warnings", calls.Load(), n)
		}
		if err := o.Close(t.Context()); err != nil {
			t.Error(err)
		}
		inner.Close()
	})
}

func TestDamagedRecords(t *testing.T) {
	with(t, Config{}, func(t *testing.T, r *rig) {
		r.SetSender(nil)
		lost := r.put(score("lost", "1"))
		damaged := r.put(score("damaged", "1"))
		bad := r.put(score("bad lane", "1"))
		for key, val := range map[string]string{
			pendingKey(damaged.ID):              "x",
			laneKey(laneOf("moodle", bad.Lane)): "x",
			pendingPrefix + "nonsense":          "x\n",
		} {
			if err := r.st.Put(t.Context(), key, []byte(val), 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.st.Delete(t.Context(), pendingKey(lost.ID)); err != nil {
			t.Fatal(err)
		}
		r.SetSender(r.sender)
		time.Sleep(time.Hour)
		r.want(lost.ID, StateDead, "lost")
		if _, err := r.Put(t.Context(), score("bad lane", "2")); !errors.Is(err, errRecord) {
			t.Errorf("Put into a damaged lane: %v", err)
		}
		r.want(r.put(score("lost", "2")).ID, StateDelivered, "")
		r.want(r.put(score("damaged", "2")).ID, StateDelivered, "")
	})
}

// TestBolt: a file, its outbox dropped and opened again.
func TestBolt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lti.db")
	st, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := Open(st, Config{Alone: true})
	started := make(chan struct{})
	o.SetSender(func(ctx context.Context, _ Entry) Result {
		close(started)
		<-ctx.Done()
		return Result{}
	})
	e, err := o.Put(t.Context(), score("a", `{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	<-started
	st.Close() // the end of that process, as far as the file is concerned

	if st, err = bolt.Open(path, bolt.Options{}); err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	p := Open(st, Config{Alone: true})
	p.SetSender(func(context.Context, Entry) Result { return Result{Outcome: Delivered} })
	got, err := p.Wait(t.Context(), e.ID)
	if err != nil || got.State != StateDelivered || string(got.Body) != `{"a":1}` {
		t.Errorf("entry is %+v, %v", got, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_ = o.Close(ended)
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func FuzzRecords(f *testing.F) {
	id := strings.Repeat("0", idLen)
	c := &content{Platform: "p", Lane: "l", body: []byte("{\n}")}
	val, _ := c.encode(time.Unix(1, 0))
	f.Add(val)
	it := item{ID: id, State: StateDead, Done: 1, Lease: &lease{}}
	val, _ = encode(&final{content: *c, Item: it}, c.body)
	f.Add(val)
	val, _ = json.Marshal(&lane{Version: 1, Items: []item{it, {ID: id, State: StateQueued}}})
	f.Add(val)
	f.Add([]byte(`{"i":[null]}`))
	f.Add([]byte("null\n"))
	f.Fuzz(func(t *testing.T, val []byte) {
		if c, err := decodeContent(val); err == nil {
			if _, err := c.encode(time.Unix(1, 0)); err != nil {
				t.Errorf("content cannot be written again: %v", err)
			}
		}
		if fin, err := decodeFinal(val); err == nil {
			e := entry(&fin.content, &fin.Item)
			if !e.State.Final() || !validID(e.ID) {
				t.Errorf("final entry %+v", e)
			}
		}
		l, err := decodeLane(val)
		if err != nil {
			if !errors.Is(err, errRecord) {
				t.Errorf("error %v", err)
			}
			return
		}
		// Whatever a lane says, nobody stumbles over it.
		now := time.Unix(1_700_000_000, 0)
		if at, _, _, err := l.timeFor(time.Time{}, true, now); err == nil && at <= l.Last {
			t.Errorf("time %d after %d", at, l.Last)
		}
		o := &Outbox{cfg: Config{Alone: true}}
		o.replaceOlder(l, len(l.Items), func(it *item) bool { return o.leased(it, now) }, now)
		if next := l.newest(); next != nil {
			l.giveUp(next, time.Hour, now)
		}
		l.forget([]string{id})
		if l.find(id) != nil {
			t.Error("an entry was not forgotten")
		}
	})
}
