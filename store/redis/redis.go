// Package redis is a [store.Store] on a Redis server, for several nodes that
// serve the same sites. Servers that speak its protocol, such as Valkey, do too;
// a Redis Cluster does not.
//
// A record is a string: when it ceases to exist, a token of the call that wrote
// it, and the value. Beside the records there is an index of their keys, for
// lists, and one by their end, by which they are freed. A script writes all three
// at once. By its token a call that is repeated, because its answer got lost,
// knows that it was done.
package redis

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/caddy-lti/lti/store"
)

const (
	// namespace begins the name of everything that is written. Format is part of
	// it: what another version cannot read it does not see.
	namespace   = "caddylti:1:"
	recordsName = namespace + "r:"
	indexName   = namespace + "index"
	expiryName  = namespace + "expiry"

	expirySize = 16 // digits
	tokenSize  = 8
	headerSize = expirySize + tokenSize

	sweepInterval = time.Minute
	sweepBatch    = 500
	// sweepGrace is how long a record that does not exist any more is kept, for
	// nodes whose clock is behind.
	sweepGrace = time.Minute

	// listBatch bounds the records that one question of a list brings.
	listBatch = 200
)

// Scripts. What they are given stands in each.
var (
	//go:embed write.lua
	writeText string
	//go:embed remove.lua
	removeText string
	//go:embed sweep.lua
	sweepText string

	write  = redis.NewScript(3, writeText)
	remove = redis.NewScript(3, removeText)
	sweep  = redis.NewScript(2, sweepText)
)

// Store is a [store.Store] on a Redis server. Make it with [Open].
type Store struct {
	at   *Address
	pool *redis.Pool
	now  func() time.Time

	mu     sync.RWMutex // held, to read, during a call
	closed bool

	failed atomic.Int64 // when a connection failed last, in Unix nanoseconds

	stop context.CancelFunc // of the sweeper and the listeners
	ctx  context.Context    //nolint:containedctx // ends with the store
	wg   sync.WaitGroup
}

var _ store.Shared = (*Store)(nil)

// call begins a call, which ends with done.
func (s *Store) call(ctx context.Context) (done func(), err error) {
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return nil, store.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		s.mu.RUnlock()
		return nil, err
	}
	return s.mu.RUnlock, nil
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	done, err := s.call(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := store.CheckKey(key); err != nil {
		return nil, err
	}
	raw, err := redis.Bytes(s.do(ctx, command("GET", recordsName+key)))
	if errors.Is(err, redis.ErrNil) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, failed("reading", err)
	}
	val, live, err := decode(raw, s.now())
	if err == nil && !live {
		err = store.ErrNotFound
	}
	return val, err
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	_, err := s.write(ctx, "put", key, nil, val, ttl)
	return err
}

// PutIfAbsent implements [store.Store].
func (s *Store) PutIfAbsent(ctx context.Context, key string, val []byte, ttl time.Duration) (bool, error) {
	return s.write(ctx, "absent", key, nil, val, ttl)
}

// Swap implements [store.Store].
func (s *Store) Swap(ctx context.Context, key string, old, val []byte, ttl time.Duration) (bool, error) {
	return s.write(ctx, "swap", key, old, val, ttl)
}

func (s *Store) write(ctx context.Context, how, key string, old, val []byte, ttl time.Duration) (bool, error) {
	done, err := s.call(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	if err := store.CheckPut(key, val, ttl); err != nil {
		return false, err
	}
	if len(old) > store.MaxValueLen {
		return false, nil
	}
	now := s.now()
	expiry := store.Expiry(now, ttl)
	did, err := redis.Bool(s.do(ctx, script(write, recordsName+key, indexName, expiryName,
		key, now.UnixMilli(), expiry, encode(expiry, val), how, old)))
	if err != nil {
		return false, failed("writing", err)
	}
	return did, nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	done, err := s.call(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := store.CheckKey(key); err != nil {
		return err
	}
	if _, err := s.do(ctx, script(remove, recordsName+key, indexName, expiryName, key)); err != nil {
		return failed("deleting", err)
	}
	return nil
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	done, err := s.call(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := store.CheckList(prefix, after, limit); err != nil {
		return nil, err
	}
	from, to := "["+prefix, end(prefix)
	switch {
	case after >= prefix && after != "":
		from = "(" + after
	case prefix == "":
		from = "-"
	}
	list := []store.Record{}
	for len(list) < limit {
		batch := min(limit-len(list), listBatch)
		keys, err := redis.Strings(s.do(ctx, command("ZRANGEBYLEX", indexName, from, to, "LIMIT", 0, batch)))
		if err != nil {
			return nil, failed("listing", err)
		}
		if len(keys) == 0 {
			break
		}
		names := make([]any, len(keys))
		for i, key := range keys {
			names[i] = recordsName + key
		}
		values, err := redis.ByteSlices(s.do(ctx, command("MGET", names...)))
		if err != nil {
			return nil, failed("listing", err)
		}
		now := s.now()
		for i, key := range keys {
			if values[i] == nil {
				continue // deleted meanwhile
			}
			val, live, err := decode(values[i], now)
			if err != nil {
				return nil, err
			}
			if live {
				list = append(list, store.Record{Key: key, Value: val})
			}
		}
		if len(keys) < batch {
			break
		}
		from = "(" + keys[len(keys)-1]
	}
	return list, nil
}

// end is the bound of a list below which everything with the prefix is.
func end(prefix string) string {
	b := []byte(prefix)
	for len(b) > 0 && b[len(b)-1] == 0xff {
		b = b[:len(b)-1]
	}
	if len(b) == 0 {
		return "+"
	}
	b[len(b)-1]++
	return "(" + string(b)
}

// Close implements [store.Store].
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.wg.Wait()
	if err := s.pool.Close(); err != nil {
		return failed("closing", err)
	}
	return nil
}

// sweeper frees what has expired. All nodes do; what one has freed the others do
// not find any more. What fails is done the next time.
func (s *Store) sweeper() {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
			for {
				n, err := s.sweep(s.ctx)
				if err != nil || n < sweepBatch {
					break
				}
			}
		}
	}
}

func (s *Store) sweep(ctx context.Context) (int, error) {
	n, err := redis.Int(s.do(ctx, script(sweep, indexName, expiryName,
		recordsName, s.now().Add(-sweepGrace).UnixMilli(), sweepBatch)))
	if err != nil {
		return 0, failed("sweeping", err)
	}
	return n, nil
}

// encode makes a record. Its token is like that of no other call.
func encode(expiry int64, val []byte) []byte {
	raw := make([]byte, 0, headerSize+len(val))
	raw = fmt.Appendf(raw, "%0*d", expirySize, expiry)
	raw = raw[:headerSize]
	_, _ = rand.Read(raw[expirySize:]) // never fails
	return append(raw, val...)
}

// decode reads a record, and tells whether it exists at now.
func decode(raw []byte, now time.Time) (val []byte, live bool, err error) {
	if len(raw) < headerSize {
		return nil, false, errForeign
	}
	expiry, err := strconv.ParseInt(string(raw[:expirySize]), 10, 64)
	if err != nil {
		return nil, false, errForeign
	}
	if store.Expired(now, expiry) {
		return nil, false, nil
	}
	return raw[headerSize:len(raw):len(raw)], true, nil
}

var errForeign = errors.New("store redis: a record is damaged: does another program write to " + namespace + "*?")

// failed says of what is on the way to Redis what was being done. Errors of the
// context stay what they are.
func failed(doing string, err error) error {
	return fmt.Errorf("store redis: %s: %w", doing, err)
}
