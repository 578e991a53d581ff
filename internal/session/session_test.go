package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-lti/lti/store"
	"github.com/caddy-lti/lti/store/memory"
)

const (
	site = "tool.example/lti"
	ann  = "person ann"
	bob  = "person bob"
)

var limits = Limits{Idle: 2 * time.Hour, Max: 12 * time.Hour}

// spy is a store that is watched and can be made to fail.
type spy struct {
	store.Store

	puts, gets atomic.Int64
	fail       atomic.Pointer[error]              // what the next operations answer
	afterGet   atomic.Pointer[func(key string)]   // called when an answer has been found
	onPut      func(key string, val []byte) error // called before a write
}

func newSpy(tb testing.TB) *spy {
	tb.Helper()
	st := memory.New(memory.Options{})
	tb.Cleanup(func() { _ = st.Close() })
	return &spy{Store: st}
}

func (s *spy) failWith(err error) {
	if err == nil {
		s.fail.Store(nil)
	} else {
		s.fail.Store(&err)
	}
}

func (s *spy) Get(ctx context.Context, key string) ([]byte, error) {
	s.gets.Add(1)
	if err := s.fail.Load(); err != nil {
		return nil, *err
	}
	val, err := s.Store.Get(ctx, key)
	if f := s.afterGet.Load(); f != nil {
		(*f)(key)
	}
	return val, err
}

func (s *spy) Put(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	s.puts.Add(1)
	if err := s.fail.Load(); err != nil {
		return *err
	}
	if s.onPut != nil {
		if err := s.onPut(key, val); err != nil {
			return err
		}
	}
	return s.Store.Put(ctx, key, val, ttl)
}

func (s *spy) Delete(ctx context.Context, key string) error {
	if err := s.fail.Load(); err != nil {
		return *err
	}
	return s.Store.Delete(ctx, key)
}

// decode stands for what the product makes of the data.
func decode(data []byte) (any, error) {
	if string(data) == `"undecodable"` {
		return nil, errors.New("cannot decode")
	}
	return string(data), nil
}

// newManager makes a Manager that ends with the test.
func newManager(tb testing.TB, st store.Store) *Manager {
	tb.Helper()
	m := NewManager(st, nil, decode, func(msg string, err error) { tb.Errorf("warned: %s: %v", msg, err) })
	tb.Cleanup(func() { _ = m.Close() })
	return m
}

// create makes a session as a launch does: in the family of the previous one if
// that is the same person's, else that one ends.
func create(tb testing.TB, m *Manager, person string, previous *Session) string {
	tb.Helper()
	id, err := tryCreate(tb.Context(), m, person, `{"of":"`+person+`"}`, previous)
	if err != nil {
		tb.Fatalf("Create: %v", err)
	}
	return id
}

func tryCreate(ctx context.Context, m *Manager, person, data string, previous *Session) (string, error) {
	if previous != nil && previous.Person() != person {
		if err := m.End(ctx, previous, limits); err != nil {
			return "", err
		}
	}
	return m.Create(ctx, New{Site: site, Person: person, Previous: previous, Launch: Launch{ID: rand.Text(), Path: "/"}, Data: []byte(data)}, limits)
}

func find(tb testing.TB, m *Manager, id string) *Session {
	tb.Helper()
	s, err := m.Find(tb.Context(), site, id, limits)
	if err != nil {
		tb.Fatalf("Find: %v", err)
	}
	return s
}

// alive reports whether the id is good; anything but "no" is an error.
func alive(tb testing.TB, m *Manager, id string) bool {
	tb.Helper()
	_, err := m.Find(tb.Context(), site, id, limits)
	if err != nil && !errors.Is(err, ErrNotFound) {
		tb.Errorf("Find: %v", err)
	}
	return err == nil
}

func TestCreateAndFind(t *testing.T) {
	m := newManager(t, newSpy(t))
	id := create(t, m, ann, nil)
	for range 2 { // from the store, then from memory
		s := find(t, m, id)
		if s.Person() != ann || s.Value != `{"of":"person ann"}` || s.Ended() || m.Over(s, limits) {
			t.Errorf("found %q with %v", s.Person(), s.Value)
		}
	}
	if find(t, m, id) != find(t, m, id) {
		t.Error("one session is held twice")
	}
	for _, other := range []string{"other.example/lti", "tool.example/wiki/lti", "tool.example:8080/lti", "", "/lti"} {
		if s, err := m.Find(t.Context(), other, id, limits); !errors.Is(err, ErrNotFound) {
			t.Errorf("at %q: %v, %v", other, s, err)
		}
	}
	if !alive(t, m, id) {
		t.Error("asking elsewhere ended the session")
	}
	for i := range id {
		changed := []byte(id)
		changed[i] = map[bool]byte{true: 'B', false: 'A'}[changed[i] == 'A']
		if alive(t, m, string(changed)) {
			t.Fatalf("found with character %d changed", i)
		}
	}
}

// An id is 256 random bits that nobody else learns: not from another id, and not
// from the store.
func TestIDs(t *testing.T) {
	st := newSpy(t)
	var written bytes.Buffer
	st.onPut = func(key string, val []byte) error {
		written.WriteString(key)
		written.Write(val)
		return nil
	}
	m := newManager(t, st)
	seen := make(map[string]bool)
	var values [32]map[byte]bool // of each byte of the secret
	for range 1000 {
		id := create(t, m, ann, nil)
		raw, err := base64.RawURLEncoding.Strict().DecodeString(id)
		if err != nil || len(raw) != 4+32+8 {
			t.Fatalf("id %q: %d bytes, %v", id, len(raw), err)
		}
		secret := string(raw[4 : 4+32])
		if seen[secret] {
			t.Fatal("the same id twice")
		}
		seen[secret] = true
		for i := range values {
			if values[i] == nil {
				values[i] = make(map[byte]bool)
			}
			values[i][secret[i]] = true
		}
		if strings.Contains(written.String(), id) || strings.Contains(written.String(), secret) {
			t.Fatal("the store has the id")
		}
		written.Reset()
	}
	for i := range values {
		if n := len(values[i]); n < 200 { // 251 on average
			t.Errorf("byte %d has %d values in 1000 ids", i, n)
		}
	}
}

func TestIdleLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, newSpy(t))
		id := create(t, m, ann, nil)
		// Each use gives it two hours more.
		for range 5 {
			time.Sleep(2*time.Hour - time.Millisecond)
			if !alive(t, m, id) {
				t.Fatal("ended before it had been idle for two hours")
			}
		}
		s := find(t, m, id)
		time.Sleep(2*time.Hour - time.Millisecond)
		if m.Over(s, limits) {
			t.Error("over too early")
		}
		time.Sleep(time.Millisecond)
		if !m.Over(s, limits) || s.Ended() {
			t.Errorf("over %v, ended %v; it has been idle for two hours", m.Over(s, limits), s.Ended())
		}
		if alive(t, m, id) {
			t.Error("found after two idle hours")
		}
		if alive(t, m, id) {
			t.Error("found at the second try")
		}
	})
}

// A session that nobody asked for has the same limit in the store.
func TestIdleLimitInStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, newSpy(t))
		soon, late := create(t, m, ann, nil), create(t, m, ann, nil)
		time.Sleep(2*time.Hour - time.Millisecond)
		if !alive(t, m, soon) {
			t.Error("not found just before its limit")
		}
		time.Sleep(time.Millisecond)
		if alive(t, m, late) {
			t.Error("found at its limit")
		}
	})
}

func TestMaxLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, newSpy(t))
		id := create(t, m, ann, nil)
		begun := time.Now()
		for time.Since(begun) < 11*time.Hour {
			time.Sleep(time.Minute)
			if !alive(t, m, id) {
				t.Fatalf("ended after %s of steady use", time.Since(begun))
			}
		}
		time.Sleep(time.Hour - time.Millisecond)
		if !alive(t, m, id) {
			t.Error("ended before twelve hours")
		}
		time.Sleep(time.Millisecond)
		if alive(t, m, id) {
			t.Error("found after twelve hours")
		}
	})
}

// A configuration with shorter limits holds for sessions that are there.
func TestLimitsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, newSpy(t))
		ids := []string{create(t, m, ann, nil), create(t, m, ann, nil)}
		for _, id := range ids {
			find(t, m, id)
		}
		time.Sleep(time.Hour)
		for i, short := range []Limits{{Idle: 30 * time.Minute, Max: 12 * time.Hour}, {Idle: 2 * time.Hour, Max: time.Hour}} {
			if _, err := m.Find(t.Context(), site, ids[i], short); !errors.Is(err, ErrNotFound) {
				t.Errorf("with limits %v after an hour: %v", short, err)
			}
		}
	})
}

// When a session was last used is written down once in a tenth of its idle time,
// away from the request, and at the end.
func TestLastUseIsWrittenLazily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSpy(t)
		m := newManager(t, st)
		id := create(t, m, ann, nil)
		if n := st.puts.Load(); n != 1 {
			t.Fatalf("%d writes at the launch, expected 1", n)
		}
		expect := func(n int64) {
			t.Helper()
			synctest.Wait()
			if got := st.puts.Load(); got != n {
				t.Errorf("%d writes after %s, expected %d", got, time.Since(find(t, m, id).created), n)
			}
		}
		for range 720 - 1 { // nearly twelve minutes
			time.Sleep(time.Second)
			find(t, m, id)
		}
		expect(1)
		time.Sleep(time.Second)
		find(t, m, id)
		expect(2)
		for range 3600 {
			time.Sleep(time.Second)
			find(t, m, id)
		}
		expect(2 + 5)
		// The store does not stand in the way of the request.
		blocked := make(chan struct{})
		st.onPut = func(string, []byte) error { <-blocked; return nil }
		time.Sleep(time.Hour)
		find(t, m, id)
		find(t, m, id)
		synctest.Wait()
		close(blocked)
		expect(8)
	})
}

func TestCloseWritesLastUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSpy(t)
		m := newManager(t, st)
		id, unused := create(t, m, ann, nil), create(t, m, ann, nil)
		find(t, m, unused)
		time.Sleep(5 * time.Minute)
		find(t, m, id)
		before := st.puts.Load()
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if n := st.puts.Load() - before; n != 1 {
			t.Errorf("%d writes at the end, expected one for the session that was used", n)
		}
		again := newManager(t, st)
		time.Sleep(2*time.Hour - time.Millisecond)
		if !alive(t, again, id) {
			t.Error("after a restart the session ended early")
		}
		if alive(t, again, unused) {
			t.Error("a restart prolonged a session")
		}
		// A second Close is harmless.
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A busy server ends, too: each session is written, and a store that can write
// many at once is let to.
func TestCloseWritesMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSpy(t)
		m := newManager(t, st)
		ids := make([]string, 2000)
		for i := range ids {
			ids[i] = create(t, m, fmt.Sprint("person ", i), nil)
			find(t, m, ids[i])
		}
		time.Sleep(5 * time.Minute)
		for _, id := range ids {
			find(t, m, id)
		}
		var now, most atomic.Int64
		st.onPut = func(string, []byte) error {
			n := now.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			time.Sleep(5 * time.Millisecond) // a disk
			now.Add(-1)
			return nil
		}
		begun := time.Now()
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > 100*time.Millisecond || most.Load() > closeWriters {
			t.Errorf("took %s with up to %d writes at once", took, most.Load())
		}
		st.onPut = nil
		again := newManager(t, st)
		time.Sleep(2*time.Hour - time.Second)
		for _, id := range ids {
			if !alive(t, again, id) {
				t.Fatal("after a restart a session ended early")
			}
		}
	})
}

// A crash loses at most a tenth of the idle time, and never a session in use.
func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSpy(t)
		m := newManager(t, st)
		id := create(t, m, ann, nil)
		for range 23 { // 115 minutes: the last write is from minute 105 or later
			time.Sleep(5 * time.Minute)
			find(t, m, id)
		}
		synctest.Wait()
		again := newManager(t, st) // the first one never wrote what it knew
		time.Sleep(2*time.Hour - 12*time.Minute - time.Millisecond)
		s := find(t, again, id)
		if s.Person() != ann || s.Value != `{"of":"person ann"}` {
			t.Errorf("found %q with %v", s.Person(), s.Value)
		}
	})
}

// The sessions that a person opens in one browser live side by side.
func TestSamePersonAgain(t *testing.T) {
	m := newManager(t, newSpy(t))
	first := create(t, m, ann, nil)
	second := create(t, m, ann, find(t, m, first))
	third := create(t, m, ann, find(t, m, second))
	for _, id := range []string{first, second, third} {
		if !alive(t, m, id) {
			t.Errorf("session %s has ended", id)
		}
	}
	if first == second || second == third {
		t.Error("a launch did not get a new id")
	}
}

// Somebody else's launch ends all that the person before had open in that
// browser, wherever it is known, and nothing in other browsers.
func TestAnotherPerson(t *testing.T) {
	st := newSpy(t)
	m := newManager(t, st)
	elsewhere := create(t, m, ann, nil) // ann's other browser
	first := create(t, m, ann, nil)
	second := create(t, m, ann, find(t, m, first))
	notLoaded := create(t, m, ann, find(t, m, first))
	held := find(t, m, first)
	bobs := create(t, m, bob, find(t, m, second))
	for name, id := range map[string]string{"first": first, "second": second, "one that nobody has used yet": notLoaded} {
		if alive(t, m, id) {
			t.Errorf("ann's session lives on: %s", name)
		}
		if alive(t, newManager(t, st), id) {
			t.Errorf("ann's session lives on for another node or after a restart: %s", name)
		}
	}
	if !held.Ended() || !m.Over(held, limits) {
		t.Error("a request of the old session that is under way is not told")
	}
	for name, id := range map[string]string{"bob's": bobs, "ann's in the other browser": elsewhere} {
		if !alive(t, m, id) || !alive(t, newManager(t, st), id) {
			t.Errorf("%s session has ended", name)
		}
	}
	if s := find(t, m, bobs); s.Person() != bob {
		t.Errorf("bob is %q", s.Person())
	}
	// And back again.
	anns := create(t, m, ann, find(t, m, bobs))
	if alive(t, m, bobs) || !alive(t, m, anns) || alive(t, m, first) {
		t.Error("ann's new launch did not end bob's session alone")
	}
}

func TestEnd(t *testing.T) {
	st := newSpy(t)
	m := newManager(t, st)
	first := create(t, m, ann, nil)
	second := create(t, m, ann, find(t, m, first))
	s := find(t, m, first)
	find(t, m, second)
	for range 2 { // a second time is harmless
		if err := m.End(t.Context(), s, limits); err != nil {
			t.Fatal(err)
		}
	}
	if alive(t, m, first) || alive(t, m, second) || alive(t, newManager(t, st), second) {
		t.Error("found after it was ended")
	}
	// Whoever launches now, with the dead session's object still at hand, begins
	// a family of their own.
	if id := create(t, m, ann, s); !alive(t, m, id) {
		t.Error("a launch after the end made a session that is dead already")
	}
	if id := create(t, m, bob, s); !alive(t, m, id) {
		t.Error("a launch after the end made a session that is dead already")
	}
}

// The mark of an ended family outlives each session of it.
func TestEndedStaysEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSpy(t)
		m := newManager(t, st)
		first := create(t, m, ann, nil)
		second := create(t, m, ann, find(t, m, first))
		if err := m.End(t.Context(), find(t, m, first), limits); err != nil {
			t.Fatal(err)
		}
		for range 13 * 60 {
			if alive(t, newManager(t, st), second) {
				t.Fatal("an ended session came back")
			}
			time.Sleep(time.Minute)
		}
	})
}

// The end falls between the two answers of the store that a load needs.
func TestEndDuringLoad(t *testing.T) {
	for _, tc := range []struct {
		after   string
		evicted bool // nothing of the family is in memory
	}{{"sess:", false}, {"ended:", false}, {"sess:", true}, {"ended:", true}} {
		t.Run(fmt.Sprintf("after %s %v", tc.after, tc.evicted), func(t *testing.T) {
			st := newSpy(t)
			other := newManager(t, st)
			m := newManager(t, st)
			id := create(t, other, ann, nil)
			s := find(t, m, create(t, m, ann, find(t, other, id))) // of the same family
			if tc.evicted {
				m.evictAll()
			}
			var once sync.Once
			hook := func(key string) {
				if strings.HasPrefix(key, tc.after) {
					once.Do(func() {
						if err := m.End(context.Background(), s, limits); err != nil {
							t.Error(err)
						}
					})
				}
			}
			st.afterGet.Store(&hook)
			if alive(t, m, id) {
				t.Error("loaded a session that had been ended meanwhile")
			}
			if alive(t, m, id) {
				t.Error("and it stayed")
			}
		})
	}
}

// Many requests at once with a session that ends: none that begins after the end
// is let in.
func TestEndRace(t *testing.T) {
	const rounds, clients = 50, 8
	for range rounds {
		st := newSpy(t)
		yield := func(string) { runtime.Gosched() }
		st.afterGet.Store(&yield)
		m := newManager(t, st)
		first := create(t, m, ann, nil)
		s := find(t, m, first)
		second := create(t, m, ann, s)
		var over atomic.Bool
		var wg sync.WaitGroup
		for i := range clients {
			id := []string{first, second}[i%2]
			wg.Go(func() {
				for range 20 {
					late := over.Load()
					_, err := m.Find(context.Background(), site, id, limits)
					switch {
					case err != nil && !errors.Is(err, ErrNotFound):
						t.Errorf("Find: %v", err)
					case late && err == nil:
						t.Error("found after the end")
						return
					}
				}
			})
		}
		if err := m.End(t.Context(), s, limits); err != nil {
			t.Fatal(err)
		}
		over.Store(true)
		wg.Wait()
		if t.Failed() {
			return
		}
	}
}

// Everything at once, for the race detector: requests, launches of two people in
// one browser, logouts.
func TestConcurrentUse(t *testing.T) {
	m := newManager(t, newSpy(t))
	ids := make(chan string, 64)
	ids <- create(t, m, ann, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		person := []string{ann, bob}[i%2]
		wg.Go(func() {
			for n := range 200 {
				id := <-ids
				s, err := m.Find(context.Background(), site, id, limits)
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Errorf("Find: %v", err)
				}
				if err == nil && n%50 == 49 {
					if err := m.End(context.Background(), s, limits); err != nil {
						t.Errorf("End: %v", err)
					}
				}
				if n%5 == 0 || err != nil {
					if id, err = tryCreate(context.Background(), m, person, "1", s); err != nil {
						t.Errorf("Create: %v", err)
					}
				}
				ids <- id
			}
		})
	}
	wg.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	refs := 0
	for _, f := range m.families {
		refs += f.refs
	}
	if refs != len(m.sessions) {
		t.Errorf("families count %d sessions, %d are held", refs, len(m.sessions))
	}
}

// What is held in memory is bounded, and what had to go is found again.
func TestEviction(t *testing.T) {
	m := newManager(t, newSpy(t))
	const extra = 500
	ids := make([]string, maxCached+extra)
	for i := range ids {
		ids[i] = create(t, m, fmt.Sprint("person ", i), nil)
		find(t, m, ids[i])
		if n := len(m.sessions); n > maxCached {
			t.Fatalf("%d sessions are held, at most %d should be", n, maxCached)
		}
	}
	for i := 0; i < len(ids); i += 7 {
		if s := find(t, m, ids[i]); s.Person() != fmt.Sprint("person ", i) {
			t.Fatalf("session %d is of %q", i, s.Person())
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sessions) != maxCached || len(m.families) != maxCached {
		t.Errorf("%d sessions and %d families are held, expected %d", len(m.sessions), len(m.families), maxCached)
	}
}

// evictAll makes the Manager forget what it holds, as if others had pushed it
// out.
func (m *Manager) evictAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for sum := range m.sessions {
		m.drop(sum)
	}
}

func TestWatch(t *testing.T) {
	// over waits for the fake clock to reach the end of ctx.
	over := func(ctx context.Context, begun time.Time) time.Duration {
		<-ctx.Done()
		return time.Since(begun)
	}
	t.Run("idle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newManager(t, newSpy(t))
			begun := time.Now()
			ctx, cancel := m.Watch(t.Context(), find(t, m, create(t, m, ann, nil)), limits)
			defer cancel()
			if took := over(ctx, begun); took != limits.Idle {
				t.Errorf("ended after %s, expected %s", took, limits.Idle)
			}
		})
	})
	t.Run("max", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newManager(t, newSpy(t))
			begun := time.Now()
			id := create(t, m, ann, nil)
			ctx, cancel := m.Watch(t.Context(), find(t, m, id), limits)
			defer cancel()
			for ctx.Err() == nil {
				time.Sleep(time.Hour)
				alive(t, m, id) // other requests keep it from being idle
				synctest.Wait()
			}
			if took := time.Since(begun); took != limits.Max {
				t.Errorf("ended after %s, expected %s", took, limits.Max)
			}
		})
	})
	t.Run("the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newManager(t, newSpy(t))
			begun := time.Now()
			id := create(t, m, ann, nil)
			other := create(t, m, ann, find(t, m, id))
			ctx, cancel := m.Watch(t.Context(), find(t, m, id), limits)
			defer cancel()
			time.Sleep(time.Minute)
			synctest.Wait()
			if ctx.Err() != nil {
				t.Fatal("ended for no reason")
			}
			if err := m.End(t.Context(), find(t, m, other), limits); err != nil {
				t.Fatal(err)
			}
			if took := over(ctx, begun); took != time.Minute {
				t.Errorf("ended after %s, expected at once", took)
			}
		})
	})
	t.Run("the end, while others push it out of memory", func(t *testing.T) {
		for _, loadedAgain := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t, newSpy(t))
				begun := time.Now()
				id := create(t, m, ann, nil)
				s := find(t, m, id)
				m.evictAll()
				if loadedAgain {
					find(t, m, id)
				}
				ctx, cancel := m.Watch(t.Context(), s, limits)
				defer cancel()
				time.Sleep(time.Minute)
				m.evictAll()
				if err := m.End(t.Context(), find(t, m, id), limits); err != nil {
					t.Fatal(err)
				}
				if took := over(ctx, begun); took != time.Minute {
					t.Errorf("ended after %s, expected at once", took)
				}
				synctest.Wait()
				m.evictAll()
				if n := len(m.families); n != 0 {
					t.Errorf("%d families are still held", n)
				}
			})
		}
	})
	t.Run("after the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newManager(t, newSpy(t))
			s := find(t, m, create(t, m, ann, nil))
			if err := m.End(t.Context(), s, limits); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			ctx, cancel := m.Watch(t.Context(), s, limits)
			defer cancel()
			if took := over(ctx, begun); took != 0 {
				t.Errorf("ended after %s, expected at once", took)
			}
		})
	})
	t.Run("the request's own end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newManager(t, newSpy(t))
			s := find(t, m, create(t, m, ann, nil))
			parent, stop := context.WithCancel(t.Context())
			ctx, cancel := m.Watch(parent, s, limits)
			defer cancel()
			stop()
			<-ctx.Done()
			_, cancel = m.Watch(t.Context(), s, limits)
			cancel()
			synctest.Wait() // nothing is left running: the bubble would not end
			m.evictAll()
			if n := len(m.families); n != 0 {
				t.Errorf("%d families are still held", n)
			}
		})
	})
}

func TestMalformedIDs(t *testing.T) {
	st := newSpy(t)
	m := newManager(t, st)
	good := create(t, m, ann, nil)
	before := st.gets.Load()
	for _, id := range []string{
		"", "x", good[1:], good + "A", good + "=", " " + good[1:], good[:47] + "\n", good[:46] + "\r\n",
		good[:47] + "=", good[:47] + "+", good[:47] + "/", good[:47] + "\x00", good[:46] + "é", strings.Repeat("A", 1<<16),
	} {
		if s, err := m.Find(t.Context(), site, id, limits); !errors.Is(err, ErrNotFound) {
			t.Errorf("%.60q: %v, %v", id, s, err)
		}
	}
	if n := st.gets.Load() - before; n != 0 {
		t.Errorf("the store was asked %d times for what cannot be an id", n)
	}
}

// A store that fails is no reason to call somebody a stranger.
func TestStoreFailures(t *testing.T) {
	broken := errors.New("disk on fire")
	st := newSpy(t)
	m := newManager(t, st)
	id := create(t, m, ann, nil)
	loaded := create(t, m, ann, nil)
	s := find(t, m, loaded)
	st.failWith(broken)
	if _, err := m.Find(t.Context(), site, id, limits); !errors.Is(err, broken) || errors.Is(err, ErrNotFound) {
		t.Errorf("Find: %v", err)
	}
	if !alive(t, m, loaded) {
		t.Error("a session in memory needs the store")
	}
	if id, err := tryCreate(t.Context(), m, ann, "1", nil); !errors.Is(err, broken) || id != "" {
		t.Errorf("Create: %q, %v", id, err)
	}
	if id, err := tryCreate(t.Context(), m, bob, "1", s); !errors.Is(err, broken) || id != "" {
		t.Errorf("Create of another person: %q, %v", id, err)
	}
	if err := m.End(t.Context(), s, limits); !errors.Is(err, broken) {
		t.Errorf("End: %v", err)
	}
	if s.Ended() {
		t.Error("ended in memory and not in the store: it would come back after a restart")
	}
	st.failWith(store.ErrClosed)
	if _, err := m.Find(t.Context(), site, id, limits); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Find in a closed store: %v", err)
	}
	st.failWith(nil)
	if !alive(t, m, id) {
		t.Error("not found after the store had recovered")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Find(ctx, site, create(t, m, ann, nil), limits); !errors.Is(err, context.Canceled) {
		t.Errorf("Find of somebody who went away: %v", err)
	}
}

// The mark of the end cannot be read: the session may not be let in.
func TestEndMarkUnreadable(t *testing.T) {
	broken := errors.New("disk on fire")
	st := newSpy(t)
	m := newManager(t, st)
	id := create(t, m, ann, nil)
	hook := func(key string) {
		if strings.HasPrefix(key, "sess:") {
			st.failWith(broken)
		}
	}
	st.afterGet.Store(&hook)
	if s, err := m.Find(t.Context(), site, id, limits); !errors.Is(err, broken) || s != nil {
		t.Errorf("Find: %v, %v", s, err)
	}
}

func TestUnreadableRecords(t *testing.T) {
	st := newSpy(t)
	m := newManager(t, st)
	id, err := tryCreate(t.Context(), m, ann, `"undecodable"`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Find(t.Context(), site, id, limits); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("data that cannot be decoded: %v", err)
	}
	var key string
	st.onPut = func(k string, _ []byte) error { key = k; return nil }
	id = create(t, m, ann, nil)
	st.onPut = nil
	if err := st.Put(t.Context(), key, []byte("{"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Find(t.Context(), site, id, limits); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("a damaged record: %v", err)
	}
}

// Writing down the last use fails: somebody is told, and the session lives.
func TestWriterFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSpy(t)
		var warned []string
		m := NewManager(st, nil, decode, func(msg string, err error) { warned = append(warned, msg+": "+err.Error()) })
		id := create(t, m, ann, nil)
		find(t, m, id)
		st.failWith(errors.New("disk full"))
		time.Sleep(time.Hour)
		find(t, m, id)
		synctest.Wait()
		if len(warned) != 1 || !strings.Contains(warned[0], "disk full") {
			t.Errorf("warnings %q", warned)
		}
		// The next request tries again.
		st.failWith(nil)
		puts := st.puts.Load()
		time.Sleep(time.Second)
		find(t, m, id)
		synctest.Wait()
		if n := st.puts.Load() - puts; n != 1 {
			t.Errorf("%d writes after the store had recovered, expected 1", n)
		}
		time.Sleep(time.Minute)
		find(t, m, id)
		st.failWith(errors.New("disk full"))
		if err := m.Close(); err == nil || !strings.Contains(err.Error(), "1 session") || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("Close did not say what is lost: %v", err)
		}
	})
}

// No id that somebody makes up finds anything, or breaks anything.
func FuzzFind(f *testing.F) {
	st := memory.New(memory.Options{})
	f.Cleanup(func() { _ = st.Close() })
	m := newManager(f, st)
	id := create(f, m, ann, nil)
	f.Add(site, id)
	f.Add(site, "")
	f.Add(site, strings.Repeat("A", 48))
	f.Add("", id)
	f.Add(site, id[:46]+"\r\n")
	f.Fuzz(func(t *testing.T, where, given string) {
		s, err := m.Find(t.Context(), where, given, limits)
		if given == id && where == site {
			if err != nil {
				t.Fatalf("the real one: %v", err)
			}
			return
		}
		if s != nil || !errors.Is(err, ErrNotFound) {
			t.Fatalf("found %v, %v for %q at %q", s, err, given, where)
		}
	})
}

// What every protected request pays.
func BenchmarkFind(b *testing.B) {
	m := newManager(b, newSpy(b))
	id := create(b, m, ann, nil)
	find(b, m, id)
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.Find(b.Context(), site, id, limits); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		ctx := b.Context()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := m.Find(ctx, site, id, limits); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("unknown", func(b *testing.B) {
		raw := make([]byte, idSize)
		_, _ = rand.Read(raw)
		unknown := base64.RawURLEncoding.EncodeToString(raw)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.Find(b.Context(), site, unknown, limits); !errors.Is(err, ErrNotFound) {
				b.Fatal(err)
			}
		}
	})
}

// Administrators see and end what is there, in memory or not.
func TestEachAndEndEach(t *testing.T) {
	st := newSpy(t)
	m := newManager(t, st)
	first := create(t, m, ann, nil)
	second := create(t, m, ann, find(t, m, first)) // of the same family
	third := create(t, m, bob, nil)
	fourth := create(t, m, ann, nil) // another browser
	list := func(m *Manager) (all []Info) {
		t.Helper()
		if err := m.Each(t.Context(), func(i Info) bool { all = append(all, i); return true }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	all := list(newManager(t, st))
	if len(all) != 4 {
		t.Fatalf("%v", all)
	}
	seen := make(map[string]bool)
	for _, i := range all {
		if len(i.ID) != 16 || seen[i.ID] || i.Created.IsZero() || i.Value == nil {
			t.Errorf("%+v", i)
		}
		seen[i.ID] = true
	}
	stops := 0
	if err := m.Each(t.Context(), func(Info) bool { stops++; return false }); err != nil || stops != 1 {
		t.Errorf("asked %d times after a no: %v", stops, err)
	}
	of := find(t, m, second)
	n, err := m.EndEach(t.Context(), limits, func(i Info) bool { return i.ID == adminID(of.Key()) })
	if err != nil || n != 1 {
		t.Errorf("%d ended, %v", n, err)
	}
	if alive(t, m, first) || alive(t, m, second) || !alive(t, m, third) || !alive(t, m, fourth) {
		t.Error("not the family, or more than that, was ended")
	}
	if left := list(m); len(left) != 2 {
		t.Errorf("after that: %v", left)
	}
	// By a process that has none of them in memory.
	n, err = newManager(t, st).EndEach(t.Context(), limits, func(i Info) bool { return i.Value == `{"of":"`+ann+`"}` })
	if err != nil || n != 1 || alive(t, newManager(t, st), fourth) || !alive(t, newManager(t, st), third) {
		t.Errorf("%d ended, %v", n, err)
	}
}
