package session

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/redistest"
	"github.com/caddy-lti/lti/store"
	"github.com/caddy-lti/lti/store/redis"
)

// clock is one for all nodes.
type clock struct{ atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.Store(time.Date(2030, time.March, 1, 12, 0, 0, 0, time.UTC).UnixMilli())
	return c
}

func (c *clock) now() time.Time { return time.UnixMilli(c.Load()) }

func (c *clock) advance(d time.Duration) { c.Add(d.Milliseconds()) }

// newNode makes a Manager with a connection to Redis of its own.
func newNode(t *testing.T, url string, now func() time.Time) *Manager {
	t.Helper()
	at, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	st, err := redis.Open(t.Context(), at, redis.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	m := NewManager(st, now, decode, func(msg string, err error) { t.Logf("warned: %s: %v", msg, err) })
	t.Cleanup(func() {
		_ = m.Close()
		_ = st.Close()
	})
	until(t, "the node hears others", func() bool { return !m.deaf.Load() })
	return m
}

// until waits for something that takes a moment.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); !done(); <-tick.C {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("it does not happen that %s", what)
		}
	}
}

// used is when the store says a session was last used.
func used(t *testing.T, m *Manager, s *Session) time.Time {
	t.Helper()
	rec, err := m.read(t.Context(), s.key)
	if err != nil {
		t.Fatal(err)
	}
	return time.UnixMilli(rec.Used)
}

func TestEndedOnAnotherNode(t *testing.T) {
	srv := redistest.Start(t)
	a, b := newNode(t, srv.URL, time.Now), newNode(t, srv.URL, time.Now)
	id := create(t, a, "ada", nil)
	onA, onB := find(t, a, id), find(t, b, id)
	other := create(t, b, "bob", nil)
	find(t, a, other)
	watched, cancel := a.Watch(t.Context(), onA, limits)
	defer cancel()
	if err := b.End(t.Context(), onB, limits); err != nil {
		t.Fatal(err)
	}
	until(t, "the other node knows of the end", func() bool { return !alive(t, a, id) })
	select {
	case <-watched.Done():
	case <-time.After(20 * time.Second):
		t.Error("what goes on longer than a request goes on")
	}
	if !onA.Ended() || !alive(t, a, other) || a.deaf.Load() {
		t.Error("the wrong one has ended")
	}
}

// A node that does not hear the others asks the store each time, and catches up
// with what it has missed.
func TestEndedWhileDeaf(t *testing.T) {
	srv := redistest.Start(t)
	line := srv.Line()
	a, b := newNode(t, line.URL, time.Now), newNode(t, srv.URL, time.Now)
	for round := range 20 {
		id, kept, unasked := create(t, a, "ada", nil), create(t, a, "bob", nil), create(t, a, "cay", nil)
		find(t, a, id)
		find(t, a, kept)
		watched, cancel := a.Watch(t.Context(), find(t, a, unasked), limits)
		line.Cut()
		until(t, "the node notices", a.deaf.Load)
		for _, ends := range []string{id, unasked} {
			if err := b.End(t.Context(), find(t, b, ends), limits); err != nil {
				t.Fatal(err)
			}
		}
		if alive(t, a, id) {
			t.Fatalf("round %d: an ended session is good", round)
		}
		if !alive(t, a, kept) {
			t.Fatalf("round %d: one that was not ended is not", round)
		}
		until(t, "the node hears again", func() bool { return !a.deaf.Load() })
		select {
		case <-watched.Done():
		case <-time.After(20 * time.Second):
		}
		if watched.Err() == nil {
			t.Fatalf("round %d: what goes on in a session that nobody has asked for goes on", round)
		}
		cancel()
	}
}

// interrupted has something happen after an answer of the store.
type interrupted struct {
	*redis.Store
	after func(key string)
}

func (s *interrupted) Get(ctx context.Context, key string) ([]byte, error) {
	val, err := s.Store.Get(ctx, key)
	if s.after != nil {
		s.after(key)
	}
	return val, err
}

// A session that is being loaded while the node catches up is no exception.
func TestEndedBetweenLoadAndCatchUp(t *testing.T) {
	srv := redistest.Start(t)
	b := newNode(t, srv.URL, time.Now)
	id := create(t, b, "ada", nil)
	onB := find(t, b, id)
	a := newNode(t, srv.URL, time.Now)
	st := &interrupted{Store: a.store.(*redis.Store)}
	a.store = st
	st.after = func(key string) {
		if key != endKey(onB.family.id) {
			return
		}
		st.after = nil
		// Ended elsewhere, which nobody hears, and then heard again.
		if err := b.store.Put(t.Context(), key, []byte("1"), time.Hour); err != nil {
			t.Error(err)
		}
		if err := a.catchUp(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if alive(t, a, id) {
		t.Error("a session that has ended is good")
	}
	if st.after != nil {
		t.Error("nothing happened while it was loaded")
	}
}

// Without its store nobody knows who has been signed out: nobody gets in, and
// nobody is signed out by that.
func TestStoreAway(t *testing.T) {
	srv := redistest.Start(t)
	m := newNode(t, srv.URL, time.Now)
	id := create(t, m, "ada", nil)
	find(t, m, id)
	srv.Kill()
	until(t, "the node notices", m.deaf.Load)
	begin := time.Now()
	if _, err := m.Find(t.Context(), site, id, limits); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("without the store: %v", err)
	}
	if took := time.Since(begin); took > 3*askTimeout {
		t.Errorf("that took %s", took)
	}
	srv.Run()
	find(t, m, id)
	until(t, "the node hears again", func() bool { return !m.deaf.Load() })
	find(t, m, id)
}

// A session that is used on one node does not come to its end on another.
func TestUsedOnAnotherNode(t *testing.T) {
	srv := redistest.Start(t)
	c := newClock()
	a, b := newNode(t, srv.URL, c.now), newNode(t, srv.URL, c.now)
	id := create(t, a, "ada", nil)
	onA := find(t, a, id)
	watched, cancel := a.Watch(t.Context(), onA, limits)
	defer cancel()
	c.advance(limits.Idle * 8 / 10)
	onB := find(t, b, id)
	until(t, "the use is written down", func() bool { return used(t, b, onB).Equal(c.now()) })
	c.advance(limits.Idle * 8 / 10)
	if !alive(t, a, id) {
		t.Error("the session has ended, though it was used on the other node")
	}
	if a.Over(onA, limits) || watched.Err() != nil {
		t.Error("so has what goes on in it")
	}
	until(t, "that use is written down", func() bool { return used(t, a, onA).Equal(c.now()) })

	// A use that one node has not written down does not take back a later one.
	c.advance(limits.Idle / 20)
	find(t, a, id)
	c.advance(limits.Idle * 3 / 10)
	find(t, b, id)
	until(t, "the use is written down", func() bool { return used(t, b, onB).Equal(c.now()) })
	last := c.now()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if got := used(t, b, onB); !got.Equal(last) {
		t.Errorf("the store says %s, the last use was at %s", got, last)
	}

	c.advance(limits.Idle)
	if alive(t, b, id) {
		t.Error("a session that nobody uses goes on")
	}
}

// A session ended elsewhere is not brought back by the end of a node.
func TestCloseBringsNothingBack(t *testing.T) {
	srv := redistest.Start(t)
	c := newClock()
	a, b := newNode(t, srv.URL, c.now), newNode(t, srv.URL, c.now)
	id := create(t, a, "ada", nil)
	s := find(t, a, id)
	c.advance(limits.Idle / 20)
	find(t, a, id)
	if err := b.End(t.Context(), find(t, b, id), limits); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.Get(t.Context(), s.key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the record of an ended session: %v", err)
	}
}
