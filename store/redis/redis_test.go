package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/caddy-lti/lti/internal/redistest"
	"github.com/caddy-lti/lti/store"
	"github.com/caddy-lti/lti/store/storetest"
)

// open opens the store at a URL.
func open(tb testing.TB, url string, opts Options) *Store {
	tb.Helper()
	a, err := ParseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := Open(context.Background(), a, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// count asks Redis how many records there are, and how many keys the indexes have.
func count(tb testing.TB, s *Store) (records, index, expiry int) {
	tb.Helper()
	ctx := tb.Context()
	names, err := redis.Strings(s.do(ctx, command("KEYS", recordsName+"*")))
	if err != nil {
		tb.Fatal(err)
	}
	size := func(name string) int {
		n, err := redis.Int(s.do(ctx, command("ZCARD", name)))
		if err != nil {
			tb.Fatal(err)
		}
		return n
	}
	return len(names), size(indexName), size(expiryName)
}

func TestStore(t *testing.T) {
	srv := redistest.Start(t)
	n := 0
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		n++
		return open(t, srv.Database(n), Options{Now: now})
	})
}

// Two nodes on one server are one store.
func TestNodes(t *testing.T) {
	srv := redistest.Start(t)
	a, b := open(t, srv.URL, Options{}), open(t, srv.URL, Options{})
	nodes := []*Store{a, b}
	ctx := t.Context()
	if err := a.Put(ctx, "k", []byte("v"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Get(ctx, "k"); err != nil || string(got) != "v" {
		t.Errorf("the other node reads %q, %v", got, err)
	}
	for round := range 50 {
		var won, swapped atomic.Int32
		var wg sync.WaitGroup
		once, shared := fmt.Sprint("once", round), fmt.Sprint("shared", round)
		if err := a.Put(ctx, shared, []byte("old"), 0); err != nil {
			t.Fatal(err)
		}
		for i := range 8 {
			wg.Go(func() {
				if ok, err := nodes[i%2].PutIfAbsent(ctx, once, []byte("x"), time.Hour); err != nil {
					t.Error(err)
				} else if ok {
					won.Add(1)
				}
				if ok, err := nodes[i%2].Swap(ctx, shared, []byte("old"), fmt.Append(nil, i), 0); err != nil {
					t.Error(err)
				} else if ok {
					swapped.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || swapped.Load() != 1 {
			t.Fatalf("%d nodes were the first, and %d swapped", won.Load(), swapped.Load())
		}
	}
}

// What was acknowledged is there after the server has been killed, and the store
// finds it again by itself.
func TestServerKilled(t *testing.T) {
	srv := redistest.Start(t)
	s := open(t, srv.URL, Options{})
	ctx := t.Context()
	for i := range 100 {
		if err := s.Put(ctx, fmt.Sprint("k", i), []byte("v"), time.Duration(i%2)*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range maxIdle { // each on a connection of its own
		wg.Go(func() {
			if _, err := s.Get(ctx, "k1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	srv.Kill()
	srv.Run()
	if _, err := s.Get(ctx, "k1"); err != nil {
		t.Errorf("all connections are from before: %v", err)
	}
	srv.Kill()
	if _, err := s.Get(ctx, "k1"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("without a server: %v", err)
	}
	if ok, err := s.PutIfAbsent(ctx, "k1", nil, 0); err == nil || ok {
		t.Errorf("without a server: %t, %v", ok, err)
	}
	srv.Run()
	list, err := s.List(ctx, "k", "", 1000)
	if err != nil || len(list) != 100 {
		t.Errorf("%d records are left, %v", len(list), err)
	}
}

// A user may be allowed no more than docs/nodes.md says.
func TestLeastRights(t *testing.T) {
	guide, err := os.ReadFile("../../docs/nodes.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rule, _ := strings.Cut(string(guide), "ACL SETUSER caddy on >PASSWORD ")
	rule, _, _ = strings.Cut(rule, "\n")
	srv := redistest.Start(t)
	args := []any{"SETUSER", "caddy", "on", ">PASSWORD"}
	for word := range strings.FieldsSeq(rule) {
		args = append(args, word)
	}
	admin := open(t, srv.URL, Options{})
	if _, err := admin.do(t.Context(), command("ACL", args...)); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	n := 0
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		if n++; n > 1 {
			if _, err := admin.do(t.Context(), command("FLUSHALL")); err != nil {
				t.Fatal(err)
			}
		}
		s := open(t, strings.Replace(srv.URL, "redis://", "redis://caddy:PASSWORD@", 1), Options{Now: now})
		h := newHeard()
		if err := s.Listen("t", h.listener()); err != nil {
			t.Fatal(err)
		}
		h.want(t, "hears")
		if err := s.Tell(t.Context(), "t", "1"); err != nil {
			t.Fatal(err)
		}
		h.want(t, "1")
		if _, err := s.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// A server that hangs holds nobody for ever, and a call that was given up can be
// made again.
func TestServerHangs(t *testing.T) {
	srv := redistest.Start(t)
	s := open(t, srv.URL, Options{})
	srv.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call with little time: %v", err)
	}
	begin := time.Now()
	if err := s.Put(t.Context(), "k", nil, 0); err == nil {
		t.Error("a hanging server has acknowledged")
	}
	if took := time.Since(begin); took > 2*callTimeout {
		t.Errorf("the call took %s", took)
	}
	srv.Thaw()
	if err := s.Put(t.Context(), "k", []byte("v"), 0); err != nil {
		t.Error(err)
	}
}

// The answer of a call gets lost, which is then repeated: it does not take itself
// for somebody else.
func TestAnswerLost(t *testing.T) {
	srv := redistest.Start(t)
	l := srv.Line()
	s := open(t, l.URL, Options{})
	ctx := t.Context()
	if err := s.Put(ctx, "warm", nil, 0); err != nil { // the script is known by now
		t.Fatal(err)
	}
	l.Lose(1)
	if ok, err := s.PutIfAbsent(ctx, "k", []byte("1"), time.Hour); !ok || err != nil {
		t.Errorf("PutIfAbsent = %t, %v", ok, err)
	}
	if l.Losing() {
		t.Fatal("no answer was lost")
	}
	l.Lose(1)
	if ok, err := s.Swap(ctx, "k", []byte("1"), []byte("2"), time.Hour); !ok || err != nil {
		t.Errorf("Swap = %t, %v", ok, err)
	}
	if ok, err := s.PutIfAbsent(ctx, "k", []byte("1"), time.Hour); ok || err != nil {
		t.Errorf("PutIfAbsent of what is there = %t, %v", ok, err)
	}
	if ok, err := s.Swap(ctx, "k", []byte("1"), []byte("2"), time.Hour); ok || err != nil {
		t.Errorf("Swap of what has changed = %t, %v", ok, err)
	}
}

// What has expired is freed, and what is deleted leaves nothing.
func TestSweep(t *testing.T) {
	srv := redistest.Start(t)
	clock := storetest.NewClock()
	s := open(t, srv.URL, Options{Now: clock.Now})
	ctx := t.Context()
	const many = sweepBatch + 10
	for i := range many {
		if err := s.Put(ctx, fmt.Sprint("short", i), nil, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	for key, ttl := range map[string]time.Duration{"long": time.Hour, "forever": 0, "lengthened": time.Minute, "kept": time.Minute, "deleted": time.Hour} {
		if err := s.Put(ctx, key, nil, ttl); err != nil {
			t.Fatal(err)
		}
	}
	if ok, err := s.Swap(ctx, "lengthened", nil, nil, time.Hour); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := s.Put(ctx, "kept", nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, "deleted"); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Minute)
	if n, err := s.sweep(ctx); n != 0 || err != nil {
		t.Errorf("at once %d were freed, %v: another node's clock may be behind", n, err)
	}
	clock.Advance(sweepGrace)
	for _, want := range []int{sweepBatch, many - sweepBatch, 0} {
		if n, err := s.sweep(ctx); n != want || err != nil {
			t.Errorf("%d were freed, %v; expected %d", n, err, want)
		}
	}
	if records, index, expiry := count(t, s); records != 4 || index != 4 || expiry != 2 {
		t.Errorf("%d records are left, %d keys in the index and %d in that of ends", records, index, expiry)
	}
}

func TestOpenRefuses(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	locked := redistest.Start(t, "--requirepass", "the-right-one")
	at := strings.TrimPrefix(locked.URL, "redis://")
	for name, tt := range map[string]struct{ url, want string }{
		"nobody there":   {"redis://user:not-for-the-log@" + closed.Addr().String(), "refused"},
		"no password":    {locked.URL, "NOAUTH"},
		"wrong password": {"redis://default:not-for-the-log@" + at, "WRONGPASS"},
		"forgetful":      {redistest.Start(t, "--maxmemory-policy", "allkeys-lru").URL, "is allkeys-lru"},
		"cluster":        {redistest.Start(t, "--cluster-enabled", "yes", "--databases", "1").URL, "Redis Cluster"},
		"replica":        {redistest.Start(t, "--replicaof", "127.0.0.1 1").URL, "READONLY"},
		"no memory":      {redistest.Start(t, "--maxmemory", "100kb").URL, "OOM"},
		"no such":        {strings.TrimSuffix(redistest.Start(t).URL, "0") + "77", "DB index"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := ParseURL(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Open(t.Context(), a, Options{})
			if err == nil {
				_ = s.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), a.String()) || strings.Contains(err.Error(), "not-for-the-log") {
				t.Errorf("%v", err)
			}
		})
	}
	for _, url := range []string{"redis://default:the-right-one@" + at, "unix://default:the-right-one@" + locked.Socket() + "?db=3"} {
		if err := open(t, url, Options{}).Put(t.Context(), "k", nil, 0); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestWarnsOfLoss(t *testing.T) {
	var warned []string
	open(t, redistest.Start(t, "--appendonly", "no").URL, Options{Warn: func(msg string) { warned = append(warned, msg) }})
	if len(warned) != 1 || !strings.Contains(warned[0], "appendonly") {
		t.Errorf("it says %q", warned)
	}
	warned = nil
	open(t, redistest.Start(t).URL, Options{Warn: func(msg string) { warned = append(warned, msg) }})
	if len(warned) != 0 {
		t.Errorf("it says %q", warned)
	}
}

func TestParseURL(t *testing.T) {
	for url, want := range map[string]string{
		"redis://10.0.0.5":                      "10.0.0.5:6379/0",
		"redis://10.0.0.5:7000/3":               "10.0.0.5:7000/3",
		"rediss://u:secret@redis.example.edu/1": "redis.example.edu:6379/1",
		"redis://[::1]:7000":                    "[::1]:7000/0",
		"unix:///run/redis/redis.sock?db=2":     "/run/redis/redis.sock/2",
	} {
		a, err := ParseURL(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if a.String() != want {
			t.Errorf("%s is %s, expected %s", url, a, want)
		}
	}
	for _, url := range []string{
		"", "10.0.0.5", "10.0.0.5:6379", "http://u:secret@h", "redis://", "redis:///0", "redis://u:secret@h:port", "redis://u:secret@h/x", "redis://u:secret@h/0/1",
		"redis://u:secret@h?nonsense=1", "redis://u:secret@h#0", "redis://u:%zzsecret@h", "unix://", "redis://u:secret@h?db=1", "unix:///s?db=x", "unix:///s?x=1", "unix://h/s",
	} {
		a, err := ParseURL(url)
		switch {
		case err == nil:
			t.Errorf("%s is %s", url, a)
		case strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "redis://[USER:PASSWORD@]HOST"):
			t.Errorf("%s: %v", url, err)
		}
	}
	one, _ := ParseURL("redis://a:b@h/1")
	for _, other := range []string{"redis://a:c@h/1", "redis://b:b@h/1", "redis://a:b@i/1", "redis://a:b@h/2", "unix://a:b@/h?db=1"} {
		if a, err := ParseURL(other); err != nil || a.Key() == one.Key() {
			t.Errorf("%s: %v, or the key of another", other, err)
		}
	}
}

// heard is a listener that writes down what it hears.
type heard struct {
	mu    sync.Mutex
	lines []string
	last  string
	more  chan struct{}
	fail  atomic.Bool
}

func newHeard() *heard { return &heard{more: make(chan struct{}, 1000), last: "deaf"} }

func (h *heard) add(line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if line == "deaf" && h.last == line {
		return
	}
	h.last = line
	h.lines = append(h.lines, line)
	h.more <- struct{}{}
}

func (h *heard) listener() store.Listener {
	return store.Listener{
		Heard: h.add,
		Deaf:  func() { h.add("deaf") },
		Hears: func(context.Context) error {
			if h.fail.Swap(false) {
				h.add("fails")
				return errors.New("not yet")
			}
			h.add("hears")
			return nil
		},
	}
}

// want waits for the next lines.
func (h *heard) want(tb testing.TB, lines ...string) {
	tb.Helper()
	for {
		h.mu.Lock()
		got := slices.Clone(h.lines[:min(len(lines), len(h.lines))])
		if len(got) == len(lines) {
			h.lines = h.lines[len(lines):]
		}
		h.mu.Unlock()
		if len(got) == len(lines) {
			if !slices.Equal(got, lines) {
				tb.Fatalf("heard %q, expected %q", got, lines)
			}
			return
		}
		select {
		case <-h.more:
		case <-time.After(20 * time.Second):
			tb.Fatalf("heard %q, expected %q", got, lines)
		}
	}
}

// One node tells another, which notices when it may have missed something.
func TestListen(t *testing.T) {
	srv := redistest.Start(t)
	l := srv.Line()
	a, b := open(t, srv.URL, Options{}), open(t, l.URL, Options{})
	ctx := t.Context()
	h, other := newHeard(), newHeard()
	for topic, h := range map[string]*heard{"t": h, "other": other} {
		if err := b.Listen(topic, h.listener()); err != nil {
			t.Fatal(err)
		}
		h.want(t, "hears")
	}
	tell := func(msg string) {
		t.Helper()
		if err := a.Tell(ctx, "t", msg); err != nil {
			t.Fatal(err)
		}
	}
	tell("1")
	tell("2")
	h.want(t, "1", "2")

	h.fail.Store(true)
	l.Cut()
	h.want(t, "deaf", "fails", "deaf", "hears")
	tell("3")
	h.want(t, "3")

	srv.Freeze()
	h.want(t, "deaf")
	srv.Thaw()
	h.want(t, "hears")
	tell("4")
	h.want(t, "4")

	srv.Kill()
	h.want(t, "deaf")
	srv.Run()
	h.want(t, "hears")
	tell("5")
	h.want(t, "5")
	other.mu.Lock()
	defer other.mu.Unlock()
	for _, line := range other.lines {
		if line != "deaf" && line != "hears" {
			t.Errorf("on another topic: %q", line)
		}
	}
}

func TestListenAfterClose(t *testing.T) {
	srv := redistest.Start(t)
	s := open(t, srv.URL, Options{})
	h := newHeard()
	if err := s.Listen("t", h.listener()); err != nil {
		t.Fatal(err)
	}
	h.want(t, "hears")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Listen("t", h.listener()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Listen of a closed store: %v", err)
	}
	if err := s.Tell(t.Context(), "t", "1"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Tell of a closed store: %v", err)
	}
}

func BenchmarkPut(b *testing.B) {
	storetest.BenchmarkPut(b, open(b, redistest.Start(b).URL, Options{}))
}

func BenchmarkGet(b *testing.B) {
	storetest.BenchmarkGet(b, open(b, redistest.Start(b).URL, Options{}))
}
