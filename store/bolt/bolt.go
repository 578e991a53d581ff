// Package bolt is a [store.Store] in one file, kept by bbolt. It is the
// default: durable, and with nothing to install beside it.
//
// # The file
//
// Three buckets hold everything:
//
//   - meta: the format of the file;
//   - records: key → 8 bytes of expiry (milliseconds since 1970, big-endian,
//     0 for never), then the value;
//   - expiry: 8 bytes of expiry, then the key → nothing.
//
// The last one is sorted by time, so a sweep reads what is due and never the
// records that live. Freed space is used again; the file does not shrink.
//
// # Writes
//
// One goroutine writes. It takes every call that waits into one transaction,
// so that concurrent writers share the cost of reaching the disk, and a lone
// one need not wait for company. bbolt's own Batch is not used because it
// commits in a goroutine where nobody can recover: a damaged page would end
// the process, and with it every other site that Caddy serves.
//
// # Damage
//
// bbolt panics when it meets a damaged page. Here that becomes [ErrCorrupt].
// After one in a write the file is not written to again; reads go on. A file
// that does not open is never replaced by a fresh one: it holds grades that
// have not been sent yet.
package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/caddy-lti/lti/store"
)

// Errors of this package, beside those of package store.
var (
	// ErrLocked says that another process has the file open.
	ErrLocked = errors.New("locked by another process")

	// ErrCorrupt says that the file is damaged, or not one of ours.
	ErrCorrupt = errors.New("damaged, or not a file of this store")

	// ErrNewerFormat says that a newer version of this package wrote the file.
	ErrNewerFormat = errors.New("written by a newer version")
)

const (
	defaultSweepInterval = time.Minute

	// sweepBatch bounds how many records one transaction removes, and so how
	// long a write may have to wait for a sweep.
	sweepBatch = 1000

	// writeBatch bounds how many writes share a transaction.
	writeBatch = 1000

	expiryLen = 8 // bytes of a time, in records and in the index
)

var (
	recordsBucket = []byte("records")
	expiryBucket  = []byte("expiry")
)

// Options sets up a [Store]. The zero value is good.
type Options struct {
	// Now is the clock; nil means [time.Now].
	Now func() time.Time

	// SweepInterval is the time between two sweeps; 0 means one minute.
	SweepInterval time.Duration
}

// Store is a [store.Store] in a file. Make it with [Open].
type Store struct {
	path string
	now  func() time.Time
	db   *bbolt.DB

	writes chan *write
	stop   chan struct{} // closed by Close
	wg     sync.WaitGroup

	closeOnce sync.Once

	// The writer's own, and Close's after it.
	broken error // why nothing is written any more
	stuck  bool  // bbolt's writer lock can no longer be had
}

var _ store.Store = (*Store)(nil)

// write is one change under way.
type write struct {
	do   func(tx *bbolt.Tx) (changed bool, err error)
	done chan error // takes one answer without blocking
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	if err := store.CheckKey(key); err != nil {
		return nil, err
	}
	var val []byte
	err := s.read(func(tx *bbolt.Tx) error {
		rec, err := s.live(tx, []byte(key))
		if err != nil {
			return err
		}
		if rec == nil {
			return store.ErrNotFound
		}
		// The record lies in the mapped file, which ends with the transaction.
		val = append([]byte{}, rec[expiryLen:]...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return val, nil
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	if err := store.CheckPut(key, val, ttl); err != nil {
		return err
	}
	k, rec := []byte(key), newRecord(val)
	return s.write(ctx, func(tx *bbolt.Tx) (bool, error) {
		return true, s.put(tx, k, rec, ttl)
	})
}

// PutIfAbsent implements [store.Store].
func (s *Store) PutIfAbsent(ctx context.Context, key string, val []byte, ttl time.Duration) (bool, error) {
	return s.putIf(ctx, key, val, ttl, func(rec []byte) bool { return rec == nil })
}

// Swap implements [store.Store].
func (s *Store) Swap(ctx context.Context, key string, old, val []byte, ttl time.Duration) (bool, error) {
	// The writer may compare after the caller has given up and used old again.
	old = bytes.Clone(old)
	return s.putIf(ctx, key, val, ttl, func(rec []byte) bool {
		return rec != nil && bytes.Equal(rec[expiryLen:], old)
	})
}

// putIf writes a record if cond accepts the one that lives under key, nil for
// none, and says whether it did. It runs cond in the writer, perhaps twice.
func (s *Store) putIf(
	ctx context.Context, key string, val []byte, ttl time.Duration, cond func(rec []byte) bool,
) (bool, error) {
	if err := s.usable(ctx); err != nil {
		return false, err
	}
	if err := store.CheckPut(key, val, ttl); err != nil {
		return false, err
	}
	k, rec := []byte(key), newRecord(val)
	var won bool
	err := s.write(ctx, func(tx *bbolt.Tx) (bool, error) {
		won = false // a batch that fails runs again
		old, err := s.live(tx, k)
		if err != nil || !cond(old) {
			return false, err
		}
		won = true
		return true, s.put(tx, k, rec, ttl)
	})
	// The writer may still be at work after an error, so won is not read then.
	if err != nil {
		return false, err
	}
	return won, nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	if err := store.CheckKey(key); err != nil {
		return err
	}
	k := []byte(key)
	return s.write(ctx, func(tx *bbolt.Tx) (bool, error) {
		return remove(tx, k)
	})
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	if err := store.CheckList(prefix, after, limit); err != nil {
		return nil, err
	}
	list := []store.Record{}
	err := s.read(func(tx *bbolt.Tx) error {
		c := tx.Bucket(recordsBucket).Cursor()
		k, rec := c.Seek([]byte(max(prefix, after)))
		if k != nil && string(k) == after {
			k, rec = c.Next()
		}
		for ; k != nil && bytes.HasPrefix(k, []byte(prefix)) && len(list) < limit; k, rec = c.Next() {
			val, _, err := s.valueOf(rec)
			if err != nil {
				return err
			}
			if val != nil {
				list = append(list, store.Record{Key: string(k), Value: val})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// valueOf returns a copy of the value of a record, nil if it has expired, and how
// long it lives on, 0 for ever.
func (s *Store) valueOf(rec []byte) (val []byte, left time.Duration, err error) {
	if len(rec) < expiryLen {
		return nil, 0, fmt.Errorf("%w: record of %d bytes", ErrCorrupt, len(rec))
	}
	now, expiry := s.now(), expiryOf(rec)
	if store.Expired(now, expiry) {
		return nil, 0, nil
	}
	if expiry != 0 {
		left = time.UnixMilli(expiry).Sub(now)
	}
	return append([]byte{}, rec[expiryLen:]...), left, nil
}

// Each calls f for each live record, in the order of keys, with the lifetime that
// is left of it, 0 for ever. It ends with the error of f.
func (s *Store) Each(ctx context.Context, f func(r store.Record, left time.Duration) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	var failed error // f, which is no matter of the file
	err := s.read(func(tx *bbolt.Tx) error {
		c := tx.Bucket(recordsBucket).Cursor()
		for k, rec := c.First(); k != nil && failed == nil; k, rec = c.Next() {
			val, left, err := s.valueOf(rec)
			if err != nil {
				return err
			}
			if val != nil {
				failed = f(store.Record{Key: string(k), Value: val}, left)
			}
		}
		return nil
	})
	return errors.Join(failed, err)
}

// Sweep frees the space of records that have expired and returns how many
// there were. The store does so by itself; expired records are never returned
// in any case.
func (s *Store) Sweep(ctx context.Context) (int, error) {
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	total := 0
	for {
		var n, seen int
		err := s.write(ctx, func(tx *bbolt.Tx) (bool, error) {
			var err error
			n, seen, err = s.reap(tx)
			return seen > 0, err
		})
		if err != nil {
			return total, err
		}
		total += n
		if seen < sweepBatch {
			return total, nil
		}
	}
}

// Close implements [store.Store].
func (s *Store) Close() error {
	var err error
	s.closeOnce.Do(func() {
		close(s.stop)
		s.wg.Wait()
		if s.stuck {
			// bbolt would wait for its own lock for ever.
			err = fmt.Errorf("store file %s: left open until the process ends: %w", s.path, s.broken)
			return
		}
		if err = s.db.Close(); err != nil {
			err = fmt.Errorf("store file %s: %w", s.path, err)
		}
	})
	return err
}

// usable tells whether a call may begin.
func (s *Store) usable(ctx context.Context) error {
	select {
	case <-s.stop:
		return store.ErrClosed
	default:
		return ctx.Err()
	}
}

// read runs fn in a read transaction.
func (s *Store) read(fn func(tx *bbolt.Tx) error) error {
	_, err := guard(func() error { return s.db.View(fn) })
	return s.explain(err)
}

// write has the writer run do and waits until its transaction is on the disk.
func (s *Store) write(ctx context.Context, do func(tx *bbolt.Tx) (bool, error)) error {
	w := &write{do: do, done: make(chan error, 1)}
	select {
	case s.writes <- w:
	case <-s.stop:
		return store.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-w.done:
		return s.explain(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// explain adds the file to an error that an administrator will read.
func (s *Store) explain(err error) error {
	switch {
	case err == nil, errors.Is(err, store.ErrNotFound),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return store.ErrClosed
	default:
		return fmt.Errorf("store file %s: %w", s.path, err)
	}
}

// writer commits writes until the store is closed.
func (s *Store) writer() {
	for {
		select {
		case <-s.stop:
			return
		case w := <-s.writes:
			s.commit(s.gather(w))
		}
	}
}

// gather adds to w the writes that wait already. They gathered while the last
// transaction was on its way to the disk.
func (s *Store) gather(w *write) []*write {
	batch := []*write{w}
	for len(batch) < writeBatch {
		select {
		case w := <-s.writes:
			batch = append(batch, w)
		default:
			return batch
		}
	}
	return batch
}

// commit runs a batch in one transaction and answers each of its writes. If
// one fails, none has happened.
func (s *Store) commit(batch []*write) {
	err := s.update(func(tx *bbolt.Tx) (changed bool, err error) {
		for _, w := range batch {
			c, err := w.do(tx)
			if err != nil {
				return false, err
			}
			changed = changed || c
		}
		return changed, nil
	})
	if err != nil && s.broken == nil && len(batch) > 1 {
		// One write met something that it alone should suffer from.
		for _, w := range batch {
			w.done <- s.update(w.do)
		}
		return
	}
	for _, w := range batch {
		w.done <- err
	}
}

// update runs fn in a write transaction, which is thrown away if fn changed
// nothing.
func (s *Store) update(fn func(tx *bbolt.Tx) (bool, error)) error {
	if s.broken != nil {
		return s.broken
	}
	var tx *bbolt.Tx
	panicked, err := guard(func() (err error) {
		if tx, err = s.db.Begin(true); err != nil {
			return err
		}
		changed, err := fn(tx)
		if err != nil || !changed {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	})
	if panicked {
		s.broken = err
		s.stuck = tx == nil
		if tx != nil {
			_, err := guard(tx.Rollback)
			s.stuck = err != nil && !errors.Is(err, berrors.ErrTxClosed)
		}
	}
	return err
}

// sweeper sweeps until the store is closed.
func (s *Store) sweeper(interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			// What keeps a sweep from writing keeps every Put from it, too,
			// and there it is somebody's error.
			_, _ = s.Sweep(context.Background())
		}
	}
}

// reap removes what is due, at most sweepBatch records. It returns how
// many records it removed and how many entries of the index it looked at.
func (s *Store) reap(tx *bbolt.Tx) (n, seen int, err error) {
	now := s.now()
	index, records := tx.Bucket(expiryBucket), tx.Bucket(recordsBucket)
	var due [][]byte // a cursor does not survive deletions
	c := index.Cursor()
	for k, _ := c.First(); k != nil && len(due) < sweepBatch; k, _ = c.Next() {
		if len(k) <= expiryLen {
			return 0, 0, fmt.Errorf("%w: entry of %d bytes in the index", ErrCorrupt, len(k))
		}
		if !store.Expired(now, expiryOf(k)) {
			break
		}
		due = append(due, append([]byte{}, k...))
	}
	for _, k := range due {
		if err := index.Delete(k); err != nil {
			return 0, 0, err
		}
		key := k[expiryLen:]
		rec := records.Get(key)
		if len(rec) < expiryLen || expiryOf(rec) != expiryOf(k) {
			continue // not this entry's record
		}
		if err := records.Delete(key); err != nil {
			return 0, 0, err
		}
		n++
	}
	return n, len(due), nil
}

// live returns the record under key, or nil if there is none that lives. It
// is valid until the transaction ends or writes.
func (s *Store) live(tx *bbolt.Tx, key []byte) ([]byte, error) {
	rec := tx.Bucket(recordsBucket).Get(key)
	switch {
	case rec == nil:
		return nil, nil
	case len(rec) < expiryLen:
		return nil, fmt.Errorf("%w: record of %d bytes", ErrCorrupt, len(rec))
	case store.Expired(s.now(), expiryOf(rec)):
		return nil, nil
	}
	return rec, nil
}

// put writes a record and its entry in the index, in place of any other.
func (s *Store) put(tx *bbolt.Tx, key, rec []byte, ttl time.Duration) error {
	if _, err := remove(tx, key); err != nil {
		return err
	}
	expiry := store.Expiry(s.now(), ttl)
	binary.BigEndian.PutUint64(rec, uint64(expiry)) //nolint:gosec // times are not negative
	if expiry != 0 {
		if err := tx.Bucket(expiryBucket).Put(indexKey(rec, key), nil); err != nil {
			return err
		}
	}
	return tx.Bucket(recordsBucket).Put(key, rec)
}

// remove deletes a record and its entry in the index.
func remove(tx *bbolt.Tx, key []byte) (found bool, err error) {
	records := tx.Bucket(recordsBucket)
	rec := records.Get(key)
	if rec == nil {
		return false, nil
	}
	if len(rec) >= expiryLen && expiryOf(rec) != 0 {
		if err := tx.Bucket(expiryBucket).Delete(indexKey(rec, key)); err != nil {
			return false, err
		}
	}
	return true, records.Delete(key)
}

// newRecord returns a record of val, a copy, with room for the expiry.
func newRecord(val []byte) []byte {
	return append(make([]byte, expiryLen, expiryLen+len(val)), val...)
}

// indexKey returns the key of a record's entry in the index.
func indexKey(rec, key []byte) []byte {
	return append(append(make([]byte, 0, expiryLen+len(key)), rec[:expiryLen]...), key...)
}

// expiryOf reads the time at the head of a record or of an index key.
func expiryOf(b []byte) int64 {
	return int64(binary.BigEndian.Uint64(b)) //nolint:gosec // undoes put
}

// guard runs fn and turns a panic of bbolt into an error, also one from the
// memory of a mapped file that is shorter than its pages say.
func guard(fn func() error) (panicked bool, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			panicked, err = true, fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	return false, fn()
}
