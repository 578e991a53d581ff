package bolt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/caddy-lti/lti/store"
	"github.com/caddy-lti/lti/store/storetest"
)

// childEnv makes the test binary a writer that is killed, or one that holds
// the lock: see [TestMain].
const childEnv = "CADDYLTI_STORE_TEST_CHILD"

const fileName = "lti.db"

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		if err := child(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child opens the store in its working folder. As a "holder" it waits for the end of its
// input; as a "writer" it writes, until killed, and prints each key that the
// store acknowledged.
func child(role string) error {
	s, err := Open(fileName, Options{})
	if err != nil {
		return err
	}
	if role == "holder" {
		fmt.Println("open")
		_, err := bufio.NewReader(os.Stdin).ReadString('\n')
		return errors.Join(err, s.Close())
	}
	failed := make(chan error)
	var print sync.Mutex
	for i := range 8 {
		go func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("%d-%d", i, n)
				if err := childWrite(s, key, n); err != nil {
					failed <- err
					return
				}
				print.Lock()
				fmt.Println(key)
				print.Unlock()
			}
		}()
	}
	return <-failed
}

// childWrite writes a value under key, each third one by a swap.
func childWrite(s *Store, key string, n int) error {
	ctx, val, ttl := context.Background(), []byte("value of "+key), time.Duration(n%2)*time.Hour
	if n%3 != 0 {
		return s.Put(ctx, key, val, ttl)
	}
	draft := []byte("draft")
	if err := s.Put(ctx, key, draft, time.Minute); err != nil {
		return err
	}
	ok, err := s.Swap(ctx, key, draft, val, ttl)
	if err == nil && !ok {
		err = errors.New("lost a swap against nobody")
	}
	return err
}

// startChild runs the test binary as a child in the given role.
func startChild(t *testing.T, role, path string) (cmd *exec.Cmd, out *bufio.Scanner, stop func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.CommandContext(t.Context(), self)
	cmd.Dir = filepath.Dir(path)
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(stdout), func() { _ = stdin.Close() }
}

func mustOpen(t *testing.T, path string, now func() time.Time) *Store {
	t.Helper()
	s, err := Open(path, Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func tempPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), fileName)
}

func put(t *testing.T, s *Store, key, val string, ttl time.Duration) {
	t.Helper()
	if err := s.Put(t.Context(), key, []byte(val), ttl); err != nil {
		t.Fatalf("Put(%q): %v", key, err)
	}
}

func swap(t *testing.T, s *Store, key, old, val string, ttl time.Duration, want bool) {
	t.Helper()
	if ok, err := s.Swap(t.Context(), key, []byte(old), []byte(val), ttl); ok != want || err != nil {
		t.Errorf("Swap(%q, %q) = %t, %v; want %t", key, old, ok, err, want)
	}
}

func wantValue(t *testing.T, s *Store, key, val string) {
	t.Helper()
	if got, err := s.Get(t.Context(), key); err != nil || string(got) != val {
		t.Errorf("Get(%q) = %q, %v; want %q", key, got, err, val)
	}
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		s, err := Open(tempPath(t), Options{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestReopenKeeps(t *testing.T) {
	path, clock := tempPath(t), storetest.NewClock()
	s := mustOpen(t, path, clock.Now)
	put(t, s, "forever", "1", 0)
	put(t, s, "long", "2", time.Hour)
	put(t, s, "short", "3", time.Minute)
	put(t, s, "swapped", "4", time.Minute)
	swap(t, s, "swapped", "4", "5", time.Hour, true)
	put(t, s, "shortened", "6", 0)
	swap(t, s, "shortened", "6", "7", time.Minute, true)
	swap(t, s, "forever", "another", "8", time.Minute, false)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Minute)

	s = mustOpen(t, path, clock.Now)
	wantValue(t, s, "forever", "1")
	wantValue(t, s, "long", "2")
	wantValue(t, s, "swapped", "5")
	for _, key := range []string{"short", "shortened"} {
		if _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get(%q), expired: %v, want ErrNotFound", key, err)
		}
	}
	swap(t, s, "swapped", "4", "x", 0, false)
	swap(t, s, "shortened", "7", "x", 0, false)
	swap(t, s, "swapped", "5", "9", 0, true)
	wantValue(t, s, "swapped", "9")
	if ok, err := s.PutIfAbsent(t.Context(), "long", nil, time.Hour); ok || err != nil {
		t.Errorf("a nonce was good again after reopening: %t, %v", ok, err)
	}
}

func TestKilledWriterLosesNothingAcknowledged(t *testing.T) {
	path := tempPath(t)
	cmd, out, _ := startChild(t, "writer", path)
	var keys []string
	for out.Scan() {
		keys = append(keys, out.Text())
		if len(keys) == 500 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); len(keys) < 500 {
		t.Fatalf("the child ended after %d keys: %v", len(keys), err)
	}
	s := mustOpen(t, path, nil)
	for _, key := range keys {
		wantValue(t, s, key, "value of "+key)
	}
	put(t, s, "after", "the crash", 0)
}

func TestLocked(t *testing.T) {
	path := tempPath(t)
	cmd, out, stop := startChild(t, "holder", path)
	if !out.Scan() {
		t.Fatal("the child does not hold the file")
	}
	_, err := Open(path, Options{})
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("Open of a locked file: %v, want ErrLocked", err)
	}
	for _, part := range []string{path, "another Caddy", "caddy reload"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not mention %q", err, part)
		}
	}
	stop()
	_ = cmd.Wait()
	mustOpen(t, path, nil)
}

// filled makes a store with many pages and returns its bytes, and how many of
// them are in use.
func filled(t *testing.T, path string) (content []byte, used int64) {
	t.Helper()
	s := mustOpen(t, path, nil)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := range 4 {
				key := fmt.Sprintf("%d-%d", i, n)
				if err := s.Put(t.Context(), key, make([]byte, 2000), time.Duration(n%2)*time.Hour); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// Small writes go to pages that are free by now, bbolt's list of these
	// included: the end of the file is ours again.
	for i := range 5 {
		put(t, s, "last", fmt.Sprint(i), 0)
	}
	if err := s.db.View(func(tx *bbolt.Tx) error { used = tx.Size(); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content, used
}

func TestBrokenFileIsAnErrorAndStays(t *testing.T) {
	whole, used := filled(t, tempPath(t))
	random := make([]byte, 100_000)
	rnd := rand.NewChaCha8([32]byte{1})
	_, _ = rnd.Read(random)
	firstPages := append([]byte{}, whole...)
	_, _ = rnd.Read(firstPages[:2*os.Getpagesize()])

	for _, tt := range []struct {
		name    string
		content []byte
		says    string
	}{
		{"empty", nil, "empty file; remove it if a fresh start is meant"},
		{"short text", []byte("not a database\n"), "damaged"},
		{"random", random, "damaged"},
		{"zeros", make([]byte, 100_000), "damaged"},
		{"both meta pages lost", firstPages, "damaged"},
		{"truncated to half", whole[:used/2], "damaged"},
		{"truncated to the meta pages", whole[:2*os.Getpagesize()], "damaged"},
		{"truncated to a page and a bit", whole[:os.Getpagesize()+100], "damaged"},
		{"truncated to 100 bytes", whole[:100], "damaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := tempPath(t)
			if err := os.WriteFile(path, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			// Twice: the first attempt must not keep the lock.
			for range 2 {
				_, err := Open(path, Options{})
				if !errors.Is(err, ErrCorrupt) {
					t.Fatalf("Open: %v, want ErrCorrupt", err)
				}
				_, rest, named := strings.Cut(err.Error(), path) // the path has the test's name
				if !named || !strings.Contains(rest, tt.says) {
					t.Errorf("%q does not name the file and say %q", err, tt.says)
				}
			}
			after, err := os.ReadFile(path)
			if err != nil || string(after) != string(tt.content) {
				t.Errorf("Open changed the file: %d bytes, were %d, %v", len(after), len(tt.content), err)
			}
		})
	}
}

func TestTruncatedAnywhere(t *testing.T) {
	whole, used := filled(t, tempPath(t))
	path, found := tempPath(t), 0
	for size := int64(os.Getpagesize()); size < used; size += int64(os.Getpagesize()) {
		if err := os.WriteFile(path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path, Options{})
		if !errors.Is(err, ErrCorrupt) {
			t.Fatalf("Open of the first %d bytes of %d: %v, want ErrCorrupt", size, used, err)
		}
		if strings.Contains(err.Error(), "truncated,") {
			found++
		}
	}
	// Where bbolt itself stumbles over a page that is gone, it says so.
	if found == 0 {
		t.Error("no error says that the file is truncated")
	}
}

// TestDamagedPages overwrites pages at random. What happens then depends on
// the page; that the process, its callers and Close all survive does not.
func TestDamagedPages(t *testing.T) {
	whole, _ := filled(t, tempPath(t))
	page := os.Getpagesize()
	rnd := rand.New(rand.NewPCG(1, 2))
	fill := rand.NewChaCha8([32]byte{2})
	failed := 0
	for n := range len(whole)/page - 2 {
		content := append([]byte{}, whole...)
		broken := content[(n+2)*page : (n+3)*page]
		if rnd.IntN(2) == 0 {
			clear(broken)
		} else {
			// Garbage in the header can be taken for a size; that is a test of
			// bbolt, and of the machine's memory.
			_, _ = fill.Read(broken[16:])
		}
		path := tempPath(t)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, Options{})
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("page %d: Open: %v, want ErrCorrupt", n+2, err)
			}
			failed++
			continue
		}
		for i := range 4 {
			key := fmt.Sprintf("%d-1", 4*i)
			old, _ := s.Get(t.Context(), key)
			if ok, err := s.Swap(t.Context(), key, old, make([]byte, 3000), 0); err != nil {
				if ok || !errors.Is(err, ErrCorrupt) {
					t.Errorf("page %d: Swap = %t, %v; want ErrCorrupt", n+2, ok, err)
				}
				failed++
			}
			if err := s.Put(t.Context(), key, make([]byte, 100), 0); err != nil {
				if !errors.Is(err, ErrCorrupt) {
					t.Errorf("page %d: Put: %v, want ErrCorrupt", n+2, err)
				}
				failed++
			}
		}
		_, _ = s.Sweep(t.Context())
		if err := s.Close(); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("page %d: Close: %v", n+2, err)
		}
	}
	if failed == 0 {
		t.Error("no damage was noticed: the test does not test")
	}
}

func TestPanicInAWrite(t *testing.T) {
	s := mustOpen(t, tempPath(t), nil)
	put(t, s, "a", "1", 0)
	err := s.write(t.Context(), func(tx *bbolt.Tx) (bool, error) {
		_ = tx.Bucket(recordsBucket).Put([]byte("b"), []byte("12345678x"))
		panic("page 7: invalid type")
	})
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "page 7") {
		t.Errorf("panic in a write: %v, want ErrCorrupt with the reason", err)
	}
	// Nothing is written any more, everything that is whole can be read.
	if err := s.Put(t.Context(), "a", nil, 0); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Put afterwards: %v, want ErrCorrupt", err)
	}
	if ok, err := s.Swap(t.Context(), "a", []byte("1"), nil, 0); ok || !errors.Is(err, ErrCorrupt) {
		t.Errorf("Swap afterwards = %t, %v; want ErrCorrupt", ok, err)
	}
	wantValue(t, s, "a", "1")
	if _, err := s.Get(t.Context(), "b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the failed write is visible: %v", err)
	}
}

func TestFailingWriteFailsAlone(t *testing.T) {
	s := mustOpen(t, tempPath(t), nil)
	put(t, s, "swapped", "old", 0)
	bad := errors.New("bad")
	errs := make(chan error, 20)
	gate := make(chan struct{})
	var holding sync.WaitGroup
	holding.Add(1)
	go func() { // keeps the writer busy while the others gather
		errs <- s.write(t.Context(), func(*bbolt.Tx) (bool, error) { holding.Done(); <-gate; return false, nil })
	}()
	holding.Wait()
	failing := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		failing <- s.write(t.Context(), func(*bbolt.Tx) (bool, error) { return false, bad })
	})
	for i := range 19 {
		wg.Go(func() {
			ok, err := s.PutIfAbsent(t.Context(), fmt.Sprint(i), []byte("x"), 0)
			if err == nil && !ok {
				err = errors.New("lost against nobody")
			}
			errs <- err
		})
	}
	swapped := make(chan string, 10)
	for i := range cap(swapped) {
		wg.Go(func() {
			val := fmt.Sprint("by ", i)
			ok, err := s.Swap(t.Context(), "swapped", []byte("old"), []byte(val), 0)
			if err != nil {
				t.Errorf("Swap beside the failing write: %v", err)
			}
			if ok {
				swapped <- val
			}
		})
	}
	close(gate)
	wg.Wait()
	if len(swapped) != 1 {
		t.Fatalf("%d swaps won, want 1", len(swapped))
	}
	wantValue(t, s, "swapped", <-swapped)
	if err := <-failing; !errors.Is(err, bad) {
		t.Errorf("failing write: %v", err)
	}
	for range 20 {
		if err := <-errs; err != nil {
			t.Errorf("write beside the failing one: %v", err)
		}
	}
	for i := range 19 {
		wantValue(t, s, fmt.Sprint(i), "x")
	}
}

func TestConcurrentWritesShareTransactions(t *testing.T) {
	s := mustOpen(t, tempPath(t), nil)
	txID := func() (id int) {
		if err := s.db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }); err != nil {
			t.Fatal(err)
		}
		return id
	}
	before := txID()
	const writes = 400
	var wg sync.WaitGroup
	for i := range writes {
		wg.Go(func() {
			if err := s.Put(t.Context(), fmt.Sprint(i), nil, 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := txID() - before; n > writes/4 {
		t.Errorf("%d transactions for %d concurrent writes", n, writes)
	}
	before = txID()
	if ok, err := s.PutIfAbsent(t.Context(), "1", nil, 0); ok || err != nil {
		t.Errorf("PutIfAbsent = %t, %v", ok, err)
	}
	swap(t, s, "1", "another", "x", 0, false)
	swap(t, s, "missing", "", "x", 0, false)
	if err := s.Delete(t.Context(), "missing"); err != nil {
		t.Error(err)
	}
	if n := txID() - before; n != 0 {
		t.Errorf("%d transactions for changes that change nothing", n)
	}
}

func TestContextEndsTheWait(t *testing.T) {
	s := mustOpen(t, tempPath(t), nil)
	gate := make(chan struct{})
	var holding, wg sync.WaitGroup
	holding.Add(1)
	wg.Go(func() {
		_ = s.write(t.Context(), func(*bbolt.Tx) (bool, error) { holding.Done(); <-gate; return false, nil })
	})
	holding.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		if err := s.Put(ctx, "k", nil, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("Put: %v, want context.Canceled", err)
		}
		close(gate)
	})
	cancel()
	wg.Wait()
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a write that was given up while it queued took place: %v", err)
	}
}

// TestAbandonedSwapKeepsItsArguments gives a swap up while the writer is at
// it: what the caller does with its slices then is none of the writer's concern.
func TestAbandonedSwapKeepsItsArguments(t *testing.T) {
	var hold atomic.Bool
	reached, gate := make(chan struct{}), make(chan struct{})
	s := mustOpen(t, tempPath(t), func() time.Time {
		if hold.CompareAndSwap(true, false) {
			close(reached)
			select {
			case <-gate:
			case <-time.After(10 * time.Second): // a Swap that does not give up
			}
		}
		return time.Now()
	})
	put(t, s, "k", "old", 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hold.Store(true)
	var wg sync.WaitGroup
	wg.Go(func() { <-reached; cancel() }) // the writer asks for the time before it compares
	old, val := []byte("old"), []byte("new")
	if ok, err := s.Swap(ctx, "k", old, val, 0); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("Swap = %t, %v; want context.Canceled", ok, err)
	}
	copy(old, "XXX")
	copy(val, "YYY")
	close(gate)
	wg.Wait()
	put(t, s, "other", "", 0) // the writer is done with the swap
	wantValue(t, s, "k", "new")
}

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(tx *bbolt.Tx) error
		want error
		says string
	}{
		{"newer", func(tx *bbolt.Tx) error {
			return tx.Bucket(metaBucket).Put(formatKey, []byte("caddylti/2"))
		}, ErrNewerFormat, "format 2"},
		{"nonsense", func(tx *bbolt.Tx) error {
			return tx.Bucket(metaBucket).Put(formatKey, []byte("caddylti/x"))
		}, ErrCorrupt, "unknown format"},
		{"no format", func(tx *bbolt.Tx) error {
			return tx.Bucket(metaBucket).Delete(formatKey)
		}, ErrCorrupt, "unknown format"},
		{"bucket missing", func(tx *bbolt.Tx) error {
			return tx.DeleteBucket(expiryBucket)
		}, ErrCorrupt, "bucket expiry is missing"},
		{"another program's", func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket([]byte("theirs"))
			return errors.Join(err, tx.DeleteBucket(metaBucket))
		}, ErrCorrupt, "another program's"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := tempPath(t)
			s := mustOpen(t, path, nil)
			put(t, s, "k", "precious", 0)
			if err := s.db.Update(tt.edit); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				_, err := Open(path, Options{})
				if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("Open: %v, want %v with %q", err, tt.want, tt.says)
				}
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("Open changed the file (%v)", err)
			}
		})
	}
}

func TestEmptyDatabaseIsSetUp(t *testing.T) {
	path := tempPath(t)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, mustOpen(t, path, nil), "k", "v", 0)
}

func TestPlaces(t *testing.T) {
	dir := t.TempDir()
	t.Run("folder and file are private", func(t *testing.T) {
		path := filepath.Join(dir, "new", "deep", fileName)
		mustOpen(t, path, nil)
		for p, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
			info, err := os.Stat(p)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != want {
				t.Errorf("%s has mode %o, want %o", p, info.Mode().Perm(), want)
			}
		}
	})
	t.Run("a folder", func(t *testing.T) {
		if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("Open of a folder: %v", err)
		}
	})
	t.Run("below a file", func(t *testing.T) {
		file := filepath.Join(dir, "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(filepath.Join(file, fileName), Options{})
		if err == nil || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), file) {
			t.Errorf("Open below a file: %v", err)
		}
	})
}

// counts returns how many records and index entries the file holds.
func (s *Store) counts(t *testing.T) (records, index int) {
	t.Helper()
	if err := s.db.View(func(tx *bbolt.Tx) error {
		records = tx.Bucket(recordsBucket).Stats().KeyN
		index = tx.Bucket(expiryBucket).Stats().KeyN
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return records, index
}

func TestSweep(t *testing.T) {
	clock := storetest.NewClock()
	s := mustOpen(t, tempPath(t), clock.Now)
	var wg sync.WaitGroup
	const short = 2*sweepBatch + 10
	for i := range short {
		wg.Go(func() {
			if err := s.Put(t.Context(), fmt.Sprint("short", i), []byte("x"), time.Minute); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	put(t, s, "long", "x", time.Hour)
	put(t, s, "forever", "x", 0)
	put(t, s, "prolonged", "x", time.Minute)
	put(t, s, "prolonged", "x", time.Hour)
	put(t, s, "made to last", "x", time.Minute)
	put(t, s, "made to last", "x", 0)
	put(t, s, "prolonged by a swap", "w", time.Minute)
	swap(t, s, "prolonged by a swap", "w", "x", time.Hour, true)
	put(t, s, "made to last by a swap", "w", time.Minute)
	swap(t, s, "made to last by a swap", "w", "x", 0, true)
	put(t, s, "deleted", "x", time.Minute)
	if err := s.Delete(t.Context(), "deleted"); err != nil {
		t.Fatal(err)
	}
	if records, index := s.counts(t); records != short+6 || index != short+3 {
		t.Fatalf("%d records and %d index entries, want %d and %d", records, index, short+6, short+3)
	}

	clock.Advance(time.Minute - time.Millisecond)
	if n, err := s.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("Sweep before the time = %d, %v; want 0", n, err)
	}
	clock.Advance(time.Millisecond)
	if n, err := s.Sweep(t.Context()); n != short || err != nil {
		t.Errorf("Sweep = %d, %v; want %d", n, err, short)
	}
	if records, index := s.counts(t); records != 6 || index != 3 {
		t.Errorf("%d records and %d index entries are left, want 6 and 3", records, index)
	}
	for _, key := range []string{
		"long", "forever", "prolonged", "made to last", "prolonged by a swap", "made to last by a swap",
	} {
		wantValue(t, s, key, "x")
	}
}

func TestSweepLeavesTheSuccessor(t *testing.T) {
	// An entry without its record, as only damage could leave it, must not
	// take another record along.
	clock := storetest.NewClock()
	s := mustOpen(t, tempPath(t), clock.Now)
	put(t, s, "k", "x", time.Hour)
	if err := s.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(expiryBucket).Put([]byte("\x00\x00\x00\x00\x00\x00\x00\x01k"), nil)
	}); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("Sweep = %d, %v; want 0", n, err)
	}
	wantValue(t, s, "k", "x")
	if _, index := s.counts(t); index != 1 {
		t.Errorf("%d index entries left, want 1", index)
	}
}

func TestBackgroundSweep(t *testing.T) {
	path := tempPath(t)
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, "k", "x", 30*time.Second)
		time.Sleep(defaultSweepInterval) // the bubble's clock: no real time passes
		synctest.Wait()
		if records, index := s.counts(t); records+index != 0 {
			t.Errorf("%d records and %d index entries left after the interval", records, index)
		}
		// A goroutine that outlived Close would fail the bubble.
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := s.Sweep(context.Background()); !errors.Is(err, store.ErrClosed) {
			t.Errorf("Sweep after Close: %v, want ErrClosed", err)
		}
	})
}

func benchStore(b *testing.B) *Store {
	b.Helper()
	s, err := Open(filepath.Join(b.TempDir(), fileName), Options{})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkPut(b *testing.B) { storetest.BenchmarkPut(b, benchStore(b)) }
func BenchmarkGet(b *testing.B) { storetest.BenchmarkGet(b, benchStore(b)) }

func BenchmarkPutParallel(b *testing.B) {
	s := benchStore(b)
	defer s.Close()
	val := make([]byte, 1024)
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		r := rand.New(rand.NewPCG(rand.Uint64(), 1))
		for pb.Next() {
			if err := s.Put(context.Background(), fmt.Sprintf("sess:%032d", r.IntN(10_000)), val, time.Hour); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func TestEach(t *testing.T) {
	clock := storetest.NewClock()
	s := mustOpen(t, tempPath(t), clock.Now)
	for key, ttl := range map[string]time.Duration{"a": 0, "b": time.Hour, "c": time.Minute, "d": 2 * time.Minute} {
		put(t, s, key, "of "+key, ttl)
	}
	clock.Advance(time.Minute)
	var got []string
	each := func(end string) error {
		got = nil
		return s.Each(t.Context(), func(r store.Record, left time.Duration) error {
			got = append(got, fmt.Sprintf("%s %s %s", r.Key, r.Value, left))
			if r.Key == end {
				return context.Canceled
			}
			return nil
		})
	}
	if err := each(""); err != nil || strings.Join(got, ", ") != "a of a 0s, b of b 59m0s, d of d 1m0s" {
		t.Errorf("%q, %v", got, err)
	}
	if err := each("b"); !errors.Is(err, context.Canceled) || len(got) != 2 {
		t.Errorf("ended at the second: %q, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := each(""); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
