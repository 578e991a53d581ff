package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-lti/lti/store"
)

func (e *env) list(prefix, after string, limit int) []store.Record {
	e.Helper()
	list, err := e.List(e.ctx, prefix, after, limit)
	if err != nil {
		e.Fatalf("List(%q, %q, %d): %v", prefix, after, limit, err)
	}
	return list
}

func (e *env) wantList(prefix, after string, limit int, want ...string) {
	e.Helper()
	var got []string
	for _, r := range e.list(prefix, after, limit) {
		got = append(got, r.Key)
		if string(r.Value) != "value of "+r.Key {
			e.Errorf("List(%q, %q, %d) has %q under %q", prefix, after, limit, r.Value, r.Key)
		}
	}
	if !slices.Equal(got, want) {
		e.Errorf("List(%q, %q, %d) = %q, want %q", prefix, after, limit, got, want)
	}
}

func testList(e *env) {
	e.wantList("", "", 10)
	e.wantList("a", "", 10)
	keys := []string{
		"\x00", "a", "a:", "a:\x00", "a:1", "a:10", "a:2", "a:\xff", "a:\xff\xff", "a;", "b", "\xfe", "\xff", "\xff\x00", "\xff\xff",
	}
	for _, i := range rand.Perm(len(keys)) { //nolint:gosec // an order, no secret
		e.put(keys[i], "value of "+keys[i], time.Duration(i%2)*time.Hour)
	}
	e.wantList("", "", 1000, keys...)
	e.wantList("", "", 3, keys[:3]...)
	e.wantList("", "a:1", 1000, keys[5:]...)
	e.wantList("a:", "", 1000, keys[2:9]...)
	e.wantList("a:", "", 7, keys[2:9]...)
	e.wantList("a:", "", 2, "a:", "a:\x00")
	e.wantList("a:", "a:\x00", 2, "a:1", "a:10")
	e.wantList("a:", "a:100", 2, "a:2", "a:\xff") // after is no key
	e.wantList("a:", "Z", 2, "a:", "a:\x00")      // after lies before the prefix
	e.wantList("a:", "a", 1, "a:")
	e.wantList("a:", "a:", 1, "a:\x00")
	e.wantList("a:", "a:\xff\xff", 10)
	e.wantList("a:", "b", 10) // after lies behind it
	e.wantList("a:1", "", 10, "a:1", "a:10")
	e.wantList("a:10", "", 10, "a:10")
	e.wantList("a:101", "", 10)
	e.wantList("\xff", "", 10, "\xff", "\xff\x00", "\xff\xff")
	e.wantList("\xff\xff", "", 10, "\xff\xff")
	e.wantList("\xff\xff", "\xff\xff", 10)
	e.wantList("", "\xff\xff", 10)

	if err := e.Store.Delete(e.ctx, "a:1"); err != nil {
		e.Fatal(err)
	}
	e.swap("a:10", "value of a:10", "other", 0, true)
	e.swap("a:10", "other", "value of a:10", 0, true)
	e.wantList("a:1", "", 10, "a:10")
}

func testListLeavesOutExpired(e *env) {
	for i := range 10 {
		key := fmt.Sprint("k", i)
		e.put(key, "value of "+key, time.Duration(1+i%2)*time.Minute)
	}
	e.put("k9", "value of k9", 0)
	e.clock.Advance(time.Minute - time.Millisecond)
	e.wantList("k", "", 2, "k0", "k1")
	e.clock.Advance(time.Millisecond)
	// A page is full although what has expired lies between.
	e.wantList("k", "", 3, "k1", "k3", "k5")
	e.wantList("k", "k3", 100, "k5", "k7", "k9")
	e.put("k2", "value of k2", time.Hour)
	e.wantList("k", "", 2, "k1", "k2")
	e.clock.Advance(time.Minute)
	e.wantList("", "", 100, "k2", "k9")
}

func testListPages(e *env) {
	const many = 2*store.MaxListLen + 345
	var wg sync.WaitGroup
	for part := range 8 {
		wg.Go(func() {
			for i := part; i < many; i += 8 {
				for _, prefix := range []string{"p:", "q:"} {
					key := fmt.Sprintf("%s%05d", prefix, i)
					if err := e.Put(e.ctx, key, []byte("value of "+key), time.Hour); err != nil {
						e.Errorf("Put: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	n, after := 0, ""
	for {
		page := e.list("p:", after, store.MaxListLen)
		for _, r := range page {
			if want := fmt.Sprintf("p:%05d", n); r.Key != want || string(r.Value) != "value of "+want {
				e.Fatalf("record %d is %q = %q", n, r.Key, r.Value)
			}
			n++
		}
		if len(page) < store.MaxListLen {
			break
		}
		after = page[len(page)-1].Key
	}
	if n != many {
		e.Errorf("pages have %d records, want %d", n, many)
	}
}

func testListCopies(e *env) {
	e.put("a", "value of a", 0)
	e.put("b", "", 0)
	list := e.list("", "", 10)
	if len(list) != 2 || len(list[1].Value) != 0 {
		e.Fatalf("List = %q", list)
	}
	copy(list[0].Value, "XXXXX")
	_ = append(list[0].Value, "beyond"...)
	e.want("a", "value of a")
	e.put("a", "another value", 0)
	if got := string(list[0].Value); got != "XXXXX of a" {
		e.Errorf("a value that was returned became %q", got)
	}
}

func testListLimits(e *env) {
	longest := strings.Repeat("k", store.MaxKeyLen)
	e.put(longest, "value of "+longest, 0)
	e.wantList(longest, longest[1:], 1, longest)
	e.wantList("", longest, 1)
	for _, tt := range []struct {
		name, prefix, after string
		limit               int
	}{
		{"long prefix", longest + "k", "", 1},
		{"long after", "", longest + "k", 1},
		{"no limit", "", "", 0},
		{"negative limit", "", "", -1},
		{"large limit", "", "", store.MaxListLen + 1},
	} {
		list, err := e.List(e.ctx, tt.prefix, tt.after, tt.limit)
		e.invalid("List with "+tt.name, err)
		if list != nil {
			e.Errorf("List with %s returned %q beside the error", tt.name, list)
		}
	}
}

// testListDuringWrites lists while others write: what they leave alone is
// always there, in order and once.
func testListDuringWrites(e *env) {
	const still = 50
	for i := range still {
		key := fmt.Sprintf("l:%03d", i)
		e.put(key, "value of "+key, time.Hour)
	}
	var (
		wg   sync.WaitGroup
		stop atomic.Bool
	)
	for i := range 4 {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				key := fmt.Sprintf("l:%03d/%d", (7*n+i)%still, i)
				if err := e.Put(e.ctx, key, []byte("value of "+key), time.Hour); err != nil {
					e.Errorf("Put: %v", err)
					return
				}
				if n%2 == 0 {
					if err := e.Store.Delete(e.ctx, key); err != nil {
						e.Errorf("Delete: %v", err)
						return
					}
				}
			}
		})
	}
	for range 20 {
		var last string
		seen := 0
		for _, r := range e.list("l:", "", store.MaxListLen) {
			if r.Key <= last || string(r.Value) != "value of "+r.Key {
				e.Errorf("List has %q = %q after %q", r.Key, r.Value, last)
			}
			last = r.Key
			if len(r.Key) == len("l:000") {
				seen++
			}
		}
		if seen != still {
			e.Errorf("List has %d of %d records that nobody writes", seen, still)
		}
	}
	stop.Store(true)
	wg.Wait()
}
