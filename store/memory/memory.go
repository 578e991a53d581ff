// Package memory is a [store.Store] in the memory of this process, for tests
// and for demonstrations. A restart forgets everything.
package memory

import (
	"bytes"
	"container/heap"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-lti/lti/store"
)

const (
	defaultSweepInterval = time.Minute

	// sweepBatch bounds how many records one sweep removes before it lets
	// others have the lock.
	sweepBatch = 1000

	// shrinkFrom is the size from which a map that has emptied is replaced: a
	// Go map keeps its tables however many entries are deleted.
	shrinkFrom = 4096
)

// Options sets up a [Store]. The zero value is good.
type Options struct {
	// Now is the clock; nil means [time.Now].
	Now func() time.Time

	// SweepInterval is the time between two sweeps; 0 means one minute.
	SweepInterval time.Duration
}

// Store is a [store.Store] in memory. Make it with [New].
type Store struct {
	now func() time.Time

	mu      sync.RWMutex
	closed  bool
	records map[string]*record
	queue   queue // the records that expire, earliest first
	peak    int   // the most records since the map was made

	stop chan struct{}
	done chan struct{}
}

var _ store.Store = (*Store)(nil)

// New returns an empty store. Its goroutine sweeps until Close.
func New(opts Options) *Store {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.SweepInterval <= 0 {
		opts.SweepInterval = defaultSweepInterval
	}
	s := &Store{
		now:     opts.Now,
		records: make(map[string]*record),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	go s.sweepEvery(opts.SweepInterval)
	return s
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	if err := store.CheckKey(key); err != nil {
		return nil, err
	}
	r := s.live(key)
	if r == nil {
		return nil, store.ErrNotFound
	}
	return bytes.Clone(r.val), nil
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return err
	}
	if err := store.CheckPut(key, val, ttl); err != nil {
		return err
	}
	s.put(key, val, ttl)
	return nil
}

// PutIfAbsent implements [store.Store].
func (s *Store) PutIfAbsent(ctx context.Context, key string, val []byte, ttl time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return false, err
	}
	if err := store.CheckPut(key, val, ttl); err != nil {
		return false, err
	}
	if s.live(key) != nil {
		return false, nil
	}
	s.put(key, val, ttl)
	return true, nil
}

// Swap implements [store.Store].
func (s *Store) Swap(ctx context.Context, key string, old, val []byte, ttl time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return false, err
	}
	if err := store.CheckPut(key, val, ttl); err != nil {
		return false, err
	}
	r := s.live(key)
	if r == nil || !bytes.Equal(r.val, old) {
		return false, nil
	}
	s.put(key, val, ttl)
	return true, nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return err
	}
	if err := store.CheckKey(key); err != nil {
		return err
	}
	if r := s.records[key]; r != nil {
		s.remove(r)
	}
	return nil
}

// List implements [store.Store]. It looks at every key.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	if err := store.CheckList(prefix, after, limit); err != nil {
		return nil, err
	}
	now := s.now()
	var found []*record
	for key, r := range s.records {
		if key > after && strings.HasPrefix(key, prefix) && !store.Expired(now, r.expiry) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b *record) int { return strings.Compare(a.key, b.key) })
	list := make([]store.Record, 0, min(limit, len(found)))
	for _, r := range found[:min(limit, len(found))] {
		list = append(list, store.Record{Key: r.key, Value: bytes.Clone(r.val)})
	}
	return list, nil
}

// Close implements [store.Store].
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.records, s.queue = nil, nil
	s.mu.Unlock()

	close(s.stop)
	<-s.done
	return nil
}

// Sweep frees the records that have expired and returns how many there were.
// The store does so by itself; expired records are never returned in any case.
func (s *Store) Sweep(ctx context.Context) (int, error) {
	total := 0
	for {
		n, err := s.sweepOnce(ctx)
		total += n
		if err != nil || n < sweepBatch {
			return total, err
		}
	}
}

func (s *Store) sweepOnce(ctx context.Context) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	now, n := s.now(), 0
	for n < sweepBatch && len(s.queue) > 0 && store.Expired(now, s.queue[0].expiry) {
		s.remove(s.queue[0])
		n++
	}
	s.shrink()
	return n, nil
}

func (s *Store) sweepEvery(interval time.Duration) {
	defer close(s.done)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			// The only error is that the store was closed, and then stop is too.
			_, _ = s.Sweep(context.Background())
		}
	}
}

// The methods below need the lock.

func (s *Store) usable(ctx context.Context) error {
	if s.closed {
		return store.ErrClosed
	}
	return ctx.Err()
}

func (s *Store) live(key string) *record {
	r := s.records[key]
	if r == nil || store.Expired(s.now(), r.expiry) {
		return nil
	}
	return r
}

func (s *Store) put(key string, val []byte, ttl time.Duration) {
	if old := s.records[key]; old != nil {
		s.remove(old)
	}
	r := &record{key: key, val: bytes.Clone(val), expiry: store.Expiry(s.now(), ttl), index: -1}
	s.records[key] = r
	s.peak = max(s.peak, len(s.records))
	if r.expiry != 0 {
		heap.Push(&s.queue, r)
	}
}

func (s *Store) remove(r *record) {
	delete(s.records, r.key)
	if r.index >= 0 {
		heap.Remove(&s.queue, r.index)
	}
}

// shrink returns the memory of a map that once held far more than it does now.
func (s *Store) shrink() {
	if s.peak < shrinkFrom || len(s.records) > s.peak/4 {
		return
	}
	records := make(map[string]*record, len(s.records))
	maps.Copy(records, s.records)
	s.records = records
	s.queue = append(make(queue, 0, len(s.queue)), s.queue...)
	s.peak = len(records)
}

// record is a value and its place in the queue, -1 if it never expires.
type record struct {
	key    string
	val    []byte
	expiry int64
	index  int
}

// queue is a [heap.Interface] of records by expiry.
type queue []*record

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].expiry < q[j].expiry }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	r := x.(*record)
	r.index = len(*q)
	*q = append(*q, r)
}

func (q *queue) Pop() any {
	old := *q
	last := len(old) - 1
	r := old[last]
	old[last] = nil // or the array keeps the record alive
	*q = old[:last]
	r.index = -1
	return r
}
