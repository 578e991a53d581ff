// Package storetest is the suite that every [store.Store] passes: each
// sentence of the contract is one of its subtests.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-lti/lti/store"
)

// Clock is a clock that moves only when told to. It is safe for concurrent use.
type Clock struct{ ns atomic.Int64 }

// NewClock returns a clock that stands at a fixed time.
func NewClock() *Clock {
	c := &Clock{}
	c.ns.Store(time.Date(2030, time.March, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

// Now returns the time of the clock.
func (c *Clock) Now() time.Time { return time.Unix(0, c.ns.Load()) }

// Advance moves the clock on by d.
func (c *Clock) Advance(d time.Duration) { c.ns.Add(int64(d)) }

// env is what one subtest works with.
type env struct {
	*testing.T
	store.Store
	clock *Clock
	ctx   context.Context
}

// Run runs the suite. open returns an empty store that lives by the given
// clock; Run closes it.
func Run(t *testing.T, open func(t *testing.T, now func() time.Time) store.Store) {
	for _, tt := range []struct {
		name string
		test func(e *env)
	}{
		{"GetReturnsWhatWasPut", testGet},
		{"PutReplaces", testPutReplaces},
		{"PutReplacesLifetime", testPutReplacesLifetime},
		{"PutIfAbsent", testPutIfAbsent},
		{"PutIfAbsentOneWinner", testOneWinner},
		{"PutIfAbsentOneWinnerOverExpired", testOneWinnerOverExpired},
		{"Swap", testSwap},
		{"SwapOfAbsent", testSwapOfAbsent},
		{"SwapOfEmptyValue", testSwapOfEmptyValue},
		{"SwapReplacesLifetime", testSwapReplacesLifetime},
		{"SwapOneWinner", testSwapOneWinner},
		{"SwapLosesNoIncrement", testSwapLosesNoIncrement},
		{"Delete", testDelete},
		{"List", testList},
		{"ListLeavesOutExpired", testListLeavesOutExpired},
		{"ListPages", testListPages},
		{"ListCopies", testListCopies},
		{"ListLimits", testListLimits},
		{"ListDuringWrites", testListDuringWrites},
		{"Expiry", testExpiry},
		{"ExpiryRoundsUp", testExpiryRoundsUp},
		{"WritesOverExpired", testOverExpired},
		{"ValuesAreCopies", testCopies},
		{"BinaryKeysAndValues", testBinary},
		{"Limits", testLimits},
		{"ContextDone", testContext},
		{"Closed", testClosed},
		{"CloseDuringCalls", testCloseDuringCalls},
		{"ConcurrentUse", testConcurrent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := NewClock()
			s := open(t, clock.Now)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			tt.test(&env{T: t, Store: s, clock: clock, ctx: t.Context()})
		})
	}
}

func (e *env) put(key, val string, ttl time.Duration) {
	e.Helper()
	if err := e.Put(e.ctx, key, []byte(val), ttl); err != nil {
		e.Fatalf("Put(%q): %v", key, err)
	}
}

func (e *env) putIfAbsent(key, val string, ttl time.Duration, want bool) {
	e.Helper()
	got, err := e.PutIfAbsent(e.ctx, key, []byte(val), ttl)
	if err != nil {
		e.Fatalf("PutIfAbsent(%q): %v", key, err)
	}
	if got != want {
		e.Errorf("PutIfAbsent(%q) = %t, want %t", key, got, want)
	}
}

func (e *env) swap(key, old, val string, ttl time.Duration, want bool) {
	e.Helper()
	got, err := e.Swap(e.ctx, key, []byte(old), []byte(val), ttl)
	if err != nil {
		e.Fatalf("Swap(%q, %q): %v", key, old, err)
	}
	if got != want {
		e.Errorf("Swap(%q, %q) = %t, want %t", key, old, got, want)
	}
}

func (e *env) want(key, val string) {
	e.Helper()
	got, err := e.Get(e.ctx, key)
	if err != nil {
		e.Errorf("Get(%q): %v, want %q", key, err, val)
	} else if string(got) != val {
		e.Errorf("Get(%q) = %q, want %q", key, got, val)
	}
}

func (e *env) wantNone(key string) {
	e.Helper()
	got, err := e.Get(e.ctx, key)
	if !errors.Is(err, store.ErrNotFound) {
		e.Errorf("Get(%q) = %q, %v; want ErrNotFound", key, got, err)
	}
	if got != nil {
		e.Errorf("Get(%q) returned %q beside the error", key, got)
	}
}

func testGet(e *env) {
	e.wantNone("a")
	e.put("a", "1", 0)
	e.put("ab", "2", time.Hour)
	e.want("a", "1")
	e.want("ab", "2")
	e.wantNone("b")
}

func testPutReplaces(e *env) {
	e.put("a", "a longer value", 0)
	e.put("a", "new", 0)
	e.want("a", "new")
}

func testPutReplacesLifetime(e *env) {
	e.put("longer", "1", time.Minute)
	e.put("longer", "2", time.Hour)
	e.put("shorter", "1", time.Hour)
	e.put("shorter", "2", time.Minute)
	e.put("unlimited", "1", time.Minute)
	e.put("unlimited", "2", 0)
	e.put("limited", "1", 0)
	e.put("limited", "2", time.Minute)
	e.clock.Advance(time.Minute)
	e.want("longer", "2")
	e.wantNone("shorter")
	e.want("unlimited", "2")
	e.wantNone("limited")
}

func testPutIfAbsent(e *env) {
	e.putIfAbsent("a", "1", time.Minute, true)
	e.putIfAbsent("a", "2", time.Hour, false)
	e.want("a", "1")
	e.clock.Advance(time.Minute)
	e.wantNone("a") // the refused call has not prolonged it
	e.put("b", "1", 0)
	e.putIfAbsent("b", "2", 0, false)
	e.want("b", "1")
}

// race lets 32 callers compete, each with its own value, and returns the
// values of the winners.
func (e *env) race(write func(val []byte) (bool, error)) []string {
	e.Helper()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		wins []string
	)
	start := make(chan struct{})
	for i := range 32 {
		wg.Go(func() {
			val := fmt.Sprint("caller ", i)
			<-start
			ok, err := write([]byte(val))
			if err != nil {
				e.Errorf("%s: %v", val, err)
			}
			if ok {
				mu.Lock()
				wins = append(wins, val)
				mu.Unlock()
			}
		})
	}
	close(start)
	wg.Wait()
	return wins
}

// raceIfAbsent lets callers compete to create key.
func (e *env) raceIfAbsent(key string) []string {
	e.Helper()
	return e.race(func(val []byte) (bool, error) {
		return e.PutIfAbsent(e.ctx, key, val, time.Minute)
	})
}

func testOneWinner(e *env) {
	for round := range 10 {
		key := fmt.Sprint("round ", round)
		wins := e.raceIfAbsent(key)
		if len(wins) != 1 {
			e.Fatalf("round %d: %d winners: %q", round, len(wins), wins)
		}
		e.want(key, wins[0])
	}
}

func testOneWinnerOverExpired(e *env) {
	for round := range 5 {
		wins := e.raceIfAbsent("again")
		if len(wins) != 1 {
			e.Fatalf("round %d: %d winners: %q", round, len(wins), wins)
		}
		e.want("again", wins[0])
		e.clock.Advance(time.Minute)
	}
}

func testSwap(e *env) {
	e.put("a", "one", time.Minute)
	e.put("b", "two", 0)
	for _, other := range []string{"", "on", "one ", "one\x00", "\x00one", "One", "two"} {
		e.swap("a", other, "x", time.Hour, false)
	}
	e.want("a", "one")
	e.swap("a", "one", "a longer value", time.Minute, true)
	e.want("a", "a longer value")
	e.swap("a", "one", "x", time.Minute, false)
	e.swap("a", "a longer value", "one", time.Minute, true)
	e.swap("a", "one", "one", time.Minute, true) // no change of the value is a swap, too
	e.swap("a", "one", "three", time.Minute, true)
	e.swap("a", "one", "x", time.Hour, false)
	e.want("a", "three")
	e.want("b", "two")
	e.clock.Advance(time.Minute)
	e.wantNone("a") // the refused calls have not prolonged it
}

func testSwapOfAbsent(e *env) {
	e.put("expired", "1", time.Minute)
	e.put("expired and empty", "", time.Minute)
	e.clock.Advance(time.Minute - time.Millisecond)
	e.swap("expired", "1", "2", time.Millisecond, true)
	e.clock.Advance(time.Millisecond)
	e.put("deleted", "1", 0)
	if err := e.Store.Delete(e.ctx, "deleted"); err != nil {
		e.Fatalf("Delete: %v", err)
	}
	for _, key := range []string{"never there", "expired", "expired and empty", "deleted"} {
		for _, old := range []string{"", "1", "2"} {
			e.swap(key, old, "x", 0, false)
		}
		if ok, err := e.Swap(e.ctx, key, nil, []byte("x"), 0); ok || err != nil {
			e.Errorf("Swap(%q, nil) = %t, %v; want false", key, ok, err)
		}
		e.wantNone(key)
		e.putIfAbsent(key, "new", 0, true)
	}
}

func testSwapOfEmptyValue(e *env) {
	for name, old := range map[string][]byte{"empty": {}, "nil": nil} {
		e.put("a", "", 0)
		if ok, err := e.Swap(e.ctx, "a", old, []byte("1"), 0); !ok || err != nil {
			e.Errorf("Swap of an empty value for %s old = %t, %v; want true", name, ok, err)
		}
		e.want("a", "1")
		if ok, err := e.Swap(e.ctx, "a", old, []byte("x"), 0); ok || err != nil {
			e.Errorf("Swap of a value for %s old = %t, %v; want false", name, ok, err)
		}
		e.want("a", "1")
		if ok, err := e.Swap(e.ctx, "a", []byte("1"), old, 0); !ok || err != nil {
			e.Errorf("Swap to %s = %t, %v; want true", name, ok, err)
		}
		e.want("a", "")
	}
}

func testSwapReplacesLifetime(e *env) {
	e.put("longer", "1", time.Minute)
	e.swap("longer", "1", "2", time.Hour, true)
	e.put("shorter", "1", time.Hour)
	e.swap("shorter", "1", "2", time.Minute, true)
	e.put("unlimited", "1", time.Minute)
	e.swap("unlimited", "1", "2", 0, true)
	e.put("limited", "1", 0)
	e.swap("limited", "1", "2", time.Minute, true)
	e.put("anew", "1", time.Minute)
	e.put("same value", "1", time.Minute)
	e.swap("same value", "1", "1", time.Hour, true)
	e.clock.Advance(time.Minute - time.Millisecond)
	e.want("shorter", "2")
	e.want("limited", "2")
	e.swap("anew", "1", "2", time.Minute, true)
	e.clock.Advance(time.Millisecond)
	e.want("longer", "2")
	e.wantNone("shorter")
	e.want("unlimited", "2")
	e.wantNone("limited")
	e.want("anew", "2")
	e.want("same value", "1")
	e.clock.Advance(time.Minute - 2*time.Millisecond)
	e.want("anew", "2")
	e.clock.Advance(time.Millisecond)
	e.wantNone("anew")
	e.clock.Advance(time.Hour)
	e.wantNone("longer")
	e.wantNone("same value")
	e.want("unlimited", "2")
}

func testSwapOneWinner(e *env) {
	last := "start"
	e.put("a", last, time.Minute)
	for round := range 10 {
		wins := e.race(func(val []byte) (bool, error) {
			val = fmt.Appendf(val, " of round %d", round)
			return e.Swap(e.ctx, "a", []byte(last), val, time.Minute)
		})
		if len(wins) != 1 {
			e.Fatalf("round %d: %d winners: %q", round, len(wins), wins)
		}
		last = fmt.Sprintf("%s of round %d", wins[0], round)
		e.want("a", last)
	}
}

// testSwapLosesNoIncrement counts with many callers, who each try until they
// have won: of n that meet, one goes on, so none waits for ever.
func testSwapLosesNoIncrement(e *env) {
	const callers, increments = 16, 50
	e.put("counter", "0", 0)
	increment := func() error {
		for {
			old, err := e.Get(e.ctx, "counter")
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(string(old))
			if err != nil {
				return err
			}
			ok, err := e.Swap(e.ctx, "counter", old, []byte(strconv.Itoa(n+1)), time.Hour)
			if ok || err != nil {
				return err
			}
		}
	}
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range increments {
				if err := increment(); err != nil {
					e.Errorf("increment: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	e.want("counter", strconv.Itoa(callers*increments))
}

func testDelete(e *env) {
	if err := e.Store.Delete(e.ctx, "never there"); err != nil {
		e.Errorf("Delete of a missing key: %v", err)
	}
	e.put("a", "1", 0)
	e.put("b", "2", time.Hour)
	for _, key := range []string{"a", "b", "a"} {
		if err := e.Store.Delete(e.ctx, key); err != nil {
			e.Errorf("Delete(%q): %v", key, err)
		}
		e.wantNone(key)
	}
	e.putIfAbsent("a", "3", 0, true)

	// An expired record may go in silence, too.
	e.put("c", "4", time.Minute)
	e.clock.Advance(time.Minute)
	if err := e.Store.Delete(e.ctx, "c"); err != nil {
		e.Errorf("Delete of an expired record: %v", err)
	}
}

func testExpiry(e *env) {
	e.put("a", "1", time.Minute)
	e.put("forever", "2", 0)
	e.clock.Advance(time.Minute - time.Millisecond)
	e.want("a", "1")
	e.putIfAbsent("a", "x", 0, false)
	e.clock.Advance(time.Millisecond)
	e.wantNone("a")
	e.clock.Advance(100 * 365 * 24 * time.Hour)
	e.want("forever", "2")
}

func testExpiryRoundsUp(e *env) {
	e.clock.Advance(300 * time.Microsecond)
	e.put("a", "1", time.Nanosecond)
	e.want("a", "1")
	e.clock.Advance(699 * time.Microsecond)
	e.want("a", "1")
	e.clock.Advance(time.Microsecond)
	e.wantNone("a")
}

func testOverExpired(e *env) {
	for _, key := range []string{"put", "absent", "absent forever"} {
		e.put(key, "old", time.Minute)
	}
	e.clock.Advance(time.Hour)
	e.put("put", "new", time.Minute)
	e.putIfAbsent("absent", "new", time.Minute, true)
	e.putIfAbsent("absent forever", "new", 0, true)
	for _, key := range []string{"put", "absent", "absent forever"} {
		e.want(key, "new")
	}
	e.clock.Advance(time.Minute)
	e.wantNone("put")
	e.wantNone("absent")
	e.want("absent forever", "new")
}

func testCopies(e *env) {
	// A store may treat its first few bytes in another way than the rest.
	for i := range 32 {
		e.put(fmt.Sprint("filler ", i), strings.Repeat("x", 1000), 0)
	}
	in := []byte("value")
	if err := e.Put(e.ctx, "put", in, 0); err != nil {
		e.Fatal(err)
	}
	if _, err := e.PutIfAbsent(e.ctx, "absent", in, 0); err != nil {
		e.Fatal(err)
	}
	e.put("swap", "before", 0)
	old := []byte("before")
	if ok, err := e.Swap(e.ctx, "swap", old, in, 0); !ok || err != nil {
		e.Fatalf("Swap = %t, %v", ok, err)
	}
	if string(old) != "before" || string(in) != "value" {
		e.Errorf("Swap changed its arguments to %q and %q", old, in)
	}
	copy(in, "XXXXX")
	copy(old, "ZZZZZ")
	for _, key := range []string{"put", "absent", "swap"} {
		e.want(key, "value")
		out, err := e.Get(e.ctx, key)
		if err != nil {
			e.Fatal(err)
		}
		copy(out, "YYYYY")
		_ = append(out, "beyond"...)
		e.want(key, "value")
	}
}

func testBinary(e *env) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	keys := []string{"\x00", "\x00\x00", "\xff", "\xff\xfe not utf-8", "a\x00b", "a", "a/b:c*?[d]\r\n", string(all)}
	for i, key := range keys {
		e.put(key, string(all)+fmt.Sprint(i), time.Hour)
	}
	for i, key := range keys {
		e.want(key, string(all)+fmt.Sprint(i))
	}
	e.put("empty", "", 0)
	e.want("empty", "")
	if err := e.Put(e.ctx, "nil", nil, 0); err != nil {
		e.Errorf("Put of nil: %v", err)
	}
	e.want("nil", "")
	e.putIfAbsent("empty", "x", 0, false)
	for i, key := range keys {
		e.swap(key, string(all), "x", 0, false)
		e.swap(key, string(all)+fmt.Sprint(i), fmt.Sprint(i)+string(all), time.Hour, true)
	}
	for i, key := range keys {
		e.want(key, fmt.Sprint(i)+string(all))
	}
}

func testLimits(e *env) {
	longest := strings.Repeat("k", store.MaxKeyLen)
	largest := bytes.Repeat([]byte("v"), store.MaxValueLen)
	e.put(longest, string(largest), time.Hour)
	e.want(longest, string(largest))
	e.putIfAbsent(longest, "x", 0, false)
	e.swap(longest, string(largest)+"v", "x", 0, false) // no value can be so long
	e.swap(longest, string(largest[1:])+"w", "x", 0, false)
	e.swap(longest, string(largest), string(largest[1:])+"w", time.Hour, true)
	e.want(longest, string(largest[1:])+"w")

	for _, key := range []string{"", longest + "k"} {
		_, err := e.Get(e.ctx, key)
		e.invalid(fmt.Sprintf("Get with a key of %d bytes", len(key)), err)
		e.invalid("Put", e.Put(e.ctx, key, nil, 0))
		_, err = e.PutIfAbsent(e.ctx, key, nil, 0)
		e.invalid("PutIfAbsent", err)
		_, err = e.Swap(e.ctx, key, nil, nil, 0)
		e.invalid("Swap", err)
		e.invalid("Delete", e.Store.Delete(e.ctx, key))
	}
	for _, tt := range []struct {
		name string
		val  []byte
		ttl  time.Duration
	}{
		{"large value", append(largest, 'v'), 0},
		{"negative ttl", nil, -1},
	} {
		e.invalid("Put with "+tt.name, e.Put(e.ctx, "k", tt.val, tt.ttl))
		ok, err := e.PutIfAbsent(e.ctx, "k", tt.val, tt.ttl)
		e.invalid("PutIfAbsent with "+tt.name, err)
		if ok {
			e.Errorf("PutIfAbsent with %s claims to have written", tt.name)
		}
		e.wantNone("k")
		e.put("there", "1", 0)
		for _, old := range []string{"1", "2"} {
			ok, err = e.Swap(e.ctx, "there", []byte(old), tt.val, tt.ttl)
			e.invalid("Swap with "+tt.name, err)
			if ok {
				e.Errorf("Swap with %s claims to have written", tt.name)
			}
		}
		e.want("there", "1")
	}
}

func (e *env) invalid(what string, err error) {
	e.Helper()
	if !errors.Is(err, store.ErrInvalid) {
		e.Errorf("%s: %v, want ErrInvalid", what, err)
	}
}

// calls runs each method once, on a record that exists.
func (e *env) calls(ctx context.Context) map[string]error {
	_, getErr := e.Get(ctx, "a")
	ok, absentErr := e.PutIfAbsent(ctx, "other", []byte("x"), 0)
	if ok && absentErr != nil {
		e.Errorf("PutIfAbsent = true, %v", absentErr)
	}
	ok, swapErr := e.Swap(ctx, "a", []byte("1"), []byte("x"), 0)
	if ok && swapErr != nil {
		e.Errorf("Swap = true, %v", swapErr)
	}
	list, listErr := e.List(ctx, "", "", 10)
	if list != nil && listErr != nil {
		e.Errorf("List = %q, %v", list, listErr)
	}
	return map[string]error{
		"Get":         getErr,
		"List":        listErr,
		"Put":         e.Put(ctx, "a", []byte("x"), 0),
		"PutIfAbsent": absentErr,
		"Swap":        swapErr,
		"Delete":      e.Store.Delete(ctx, "a"),
	}
}

func testContext(e *env) {
	e.put("a", "1", 0)
	canceled, cancel := context.WithCancel(e.ctx)
	cancel()
	expired, cancel := context.WithDeadline(e.ctx, time.Unix(0, 0))
	defer cancel()
	for ctx, want := range map[context.Context]error{
		canceled: context.Canceled,
		expired:  context.DeadlineExceeded,
	} {
		for method, err := range e.calls(ctx) {
			if !errors.Is(err, want) {
				e.Errorf("%s: %v, want %v", method, err, want)
			}
		}
	}
	e.want("a", "1") // nothing was done
	e.wantNone("other")
}

func testClosed(e *env) {
	e.put("a", "1", 0)
	if err := e.Close(); err != nil {
		e.Fatalf("Close: %v", err)
	}
	canceled, cancel := context.WithCancel(e.ctx)
	cancel()
	for _, ctx := range []context.Context{e.ctx, canceled} {
		for method, err := range e.calls(ctx) {
			if !errors.Is(err, store.ErrClosed) {
				e.Errorf("%s after Close: %v, want ErrClosed", method, err)
			}
		}
	}
	if err := e.Put(e.ctx, "", nil, -1); !errors.Is(err, store.ErrClosed) {
		e.Errorf("invalid Put after Close: %v, want ErrClosed", err)
	}
	if _, err := e.Swap(e.ctx, "", nil, nil, -1); !errors.Is(err, store.ErrClosed) {
		e.Errorf("invalid Swap after Close: %v, want ErrClosed", err)
	}
	if _, err := e.List(e.ctx, "", "", 0); !errors.Is(err, store.ErrClosed) {
		e.Errorf("invalid List after Close: %v, want ErrClosed", err)
	}
	if err := e.Close(); err != nil {
		e.Errorf("second Close: %v", err)
	}
}

// testCloseDuringCalls closes the store under load: each call either works or
// says that the store is closed.
func testCloseDuringCalls(e *env) {
	var wg sync.WaitGroup
	var started sync.WaitGroup
	for i := range 8 {
		started.Add(1)
		wg.Go(func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("%d-%d", i, n%4)
				if err := e.Put(e.ctx, key, []byte("x"), time.Hour); err != nil {
					if !errors.Is(err, store.ErrClosed) {
						e.Errorf("Put: %v", err)
					}
					if n == 0 {
						started.Done()
					}
					return
				}
				if _, err := e.Get(e.ctx, key); err != nil && !errors.Is(err, store.ErrClosed) {
					e.Errorf("Get: %v", err)
				}
				if n == 0 {
					started.Done()
				}
			}
		})
	}
	started.Wait()
	var closers sync.WaitGroup
	for range 2 {
		closers.Go(func() {
			if err := e.Close(); err != nil {
				e.Errorf("Close: %v", err)
			}
		})
	}
	closers.Wait()
	wg.Wait()
}

func testConcurrent(e *env) {
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := range 10 {
				key := fmt.Sprintf("%d-%d", i, n)
				if err := e.Put(e.ctx, key, []byte(key), time.Hour); err != nil {
					e.Errorf("Put: %v", err)
				}
				if got, err := e.Get(e.ctx, key); err != nil || string(got) != key {
					e.Errorf("Get(%q) after Put = %q, %v", key, got, err)
				}
				if n%2 == 0 {
					if err := e.Store.Delete(e.ctx, key); err != nil {
						e.Errorf("Delete: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	for i := range 16 {
		for n := range 10 {
			key := fmt.Sprintf("%d-%d", i, n)
			if n%2 == 0 {
				e.wantNone(key)
			} else {
				e.want(key, key)
			}
		}
	}
}

// BenchmarkPut measures writes of a session's size, one after the other. It
// closes s.
func BenchmarkPut(b *testing.B, s store.Store) {
	defer s.Close()
	val := make([]byte, 1024)
	ctx := context.Background()
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if err := s.Put(ctx, fmt.Sprintf("sess:%032d", n%10_000), val, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGet measures reads of a session's size. It closes s.
func BenchmarkGet(b *testing.B, s store.Store) {
	defer s.Close()
	val := make([]byte, 1024)
	ctx := context.Background()
	const many = 512
	keys := make([]string, many)
	for n := range keys {
		keys[n] = fmt.Sprintf("sess:%032d", n)
		if err := s.Put(ctx, keys[n], val, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if _, err := s.Get(ctx, keys[n%many]); err != nil {
			b.Fatal(err)
		}
	}
}
