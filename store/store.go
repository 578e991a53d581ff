// Package store defines where the plugin keeps what must outlive a request:
// sessions, spent nonces, registrations, invites and scores under way.
//
// The interface is small on purpose. Every operation but one touches one key,
// and the only two atomic steps beyond a plain write are [Store.PutIfAbsent] and
// [Store.Swap], so a network store can serve it as well as a file or a map can.
// Package storetest holds the suite that every implementation passes.
//
// The exception is [Store.List], for what has to be found again after a crash
// and for pages that people turn. It is not for requests that must be quick: a
// store without an order of its own may have to look at every key, or to keep an
// index of those that begin alike. Keys that are to be listed should therefore
// share a prefix which is not used for anything numerous, and nothing should be
// listed that can be found by its key.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Limits that every implementation enforces, so that what works with one
// store works with all of them.
const (
	MaxKeyLen   = 512       // bytes in a key
	MaxValueLen = 64 * 1024 // bytes in a value
	MaxListLen  = 1000      // records that one List returns
)

// Errors of a [Store]. Match them with [errors.Is].
var (
	// ErrNotFound says that no live record has the key.
	ErrNotFound = errors.New("store: record not found")

	// ErrClosed says that the store was closed. A request that outlives its
	// configuration meets it, so callers answer 503 and do not panic.
	ErrClosed = errors.New("store: closed")

	// ErrInvalid says that a key, value or lifetime breaks the contract.
	ErrInvalid = errors.New("store: invalid argument")
)

// Record is a key and its value, as [Store.List] returns them.
type Record struct {
	Key   string
	Value []byte
}

// Store keeps records: opaque values under opaque keys, with an optional
// lifetime. It is safe for concurrent use.
//
// Keys are byte strings of 1 to [MaxKeyLen] bytes; any byte may occur. Values
// hold up to [MaxValueLen] bytes and may be empty or nil, which are the same.
// Anything else is [ErrInvalid].
//
// A lifetime begins when the record is written. It ends at the time of writing
// plus ttl, rounded up to a whole millisecond, and from that instant on
// (now >= expiry) the record does not exist, whether or not its space has been
// freed yet. Several nodes on one store need clocks that agree as closely as
// the lifetimes matter.
//
// What a call acknowledged is seen by every call that starts afterwards, and,
// in a durable store, survives a crash. A call that failed for another reason
// than an invalid argument may or may not have taken effect: whoever must know
// asks again.
//
// A context that is done before the call starts yields its error, and nothing
// is written. One that ends during the call may end the wait, not always the
// work. A closed store answers ErrClosed whatever the context and arguments.
type Store interface {
	// Get returns the value of the live record under key, or ErrNotFound. The
	// result belongs to the caller.
	Get(ctx context.Context, key string) ([]byte, error)

	// Put writes a record and replaces any other under key, its lifetime
	// included. A ttl of 0 means no expiry, a negative one is ErrInvalid. The
	// store does not keep val.
	Put(ctx context.Context, key string, val []byte, ttl time.Duration) error

	// PutIfAbsent writes a record only if no live one is under key, and says
	// whether it did. Of all concurrent calls for one key, on all nodes,
	// exactly one wins. An expired record counts as absent. A record that is
	// there stays as it is, its lifetime too.
	PutIfAbsent(ctx context.Context, key string, val []byte, ttl time.Duration) (bool, error)

	// Swap replaces the live record under key, its lifetime included, only if
	// its value is old, byte for byte, and says whether it did. It never
	// creates a record: an expired one counts as absent, and a nil old means
	// the empty value. Of all concurrent calls that give the value which the
	// record has, on all nodes, exactly one wins, unless that value is written
	// again. A record with another value stays as it is, its lifetime too. An
	// old longer than any value is no error: it matches none. The store keeps
	// neither slice.
	Swap(ctx context.Context, key string, old, val []byte, ttl time.Duration) (bool, error)

	// Delete removes the record under key. One that is not there is no error.
	Delete(ctx context.Context, key string) error

	// List returns live records whose keys begin with prefix and are greater than
	// after, in the order of the keys' bytes, at most limit of them (1 to
	// [MaxListLen]). Prefix and after have at most [MaxKeyLen] bytes and may be
	// empty; after need not be a key, nor begin with prefix. Fewer than limit are
	// returned only where no more are left, so that the last key is the after of
	// the next page. A record that lives throughout the call and is not written
	// meanwhile is returned if it is in the range; one that is written, deleted
	// or expires during the call may or may not be, and with any of its values.
	// The result belongs to the caller.
	List(ctx context.Context, prefix, after string, limit int) ([]Record, error)

	// Close releases what the store holds, after the calls under way. From
	// then on every method answers ErrClosed; a second Close returns nil.
	Close() error
}

// Shared is a Store that several processes use at once. Beside the records there
// are messages, by which one tells the others what they hold a copy of and must
// not use any more.
type Shared interface {
	Store

	// Tell sends a message to all that listen to the topic now, in this process
	// too, and does not wait for them.
	Tell(ctx context.Context, topic, msg string) error

	// Listen calls the listener from now on, until the store is closed. It does
	// not wait.
	Listen(topic string, l Listener) error
}

// Listener hears messages. Its functions are called one after the other, and
// must return. At first it is deaf.
type Listener struct {
	// Heard is called with each message.
	Heard func(msg string)
	// Hears is called when all messages sent from now on will be heard. If it
	// fails the listener stays deaf, and the attempt is repeated.
	Hears func(ctx context.Context) error
	// Deaf is called when messages may have been missed. It may be called again
	// before Hears is.
	Deaf func()
}

// CheckKey tells whether key keeps the contract. It is for implementations.
func CheckKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: empty key", ErrInvalid)
	case len(key) > MaxKeyLen:
		return fmt.Errorf("%w: key of %d bytes, at most %d are allowed", ErrInvalid, len(key), MaxKeyLen)
	}
	return nil
}

// CheckPut tells whether the arguments of a write keep the contract. It is for
// implementations.
func CheckPut(key string, val []byte, ttl time.Duration) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	switch {
	case len(val) > MaxValueLen:
		return fmt.Errorf("%w: value of %d bytes, at most %d are allowed", ErrInvalid, len(val), MaxValueLen)
	case ttl < 0:
		return fmt.Errorf("%w: negative lifetime %s", ErrInvalid, ttl)
	}
	return nil
}

// CheckList tells whether the arguments of a listing keep the contract. It is
// for implementations.
func CheckList(prefix, after string, limit int) error {
	switch {
	case len(prefix) > MaxKeyLen:
		return fmt.Errorf("%w: prefix of %d bytes, at most %d are allowed", ErrInvalid, len(prefix), MaxKeyLen)
	case len(after) > MaxKeyLen:
		return fmt.Errorf("%w: list after a key of %d bytes, at most %d are allowed", ErrInvalid, len(after), MaxKeyLen)
	case limit < 1 || limit > MaxListLen:
		return fmt.Errorf("%w: list of %d records, 1 to %d are allowed", ErrInvalid, limit, MaxListLen)
	}
	return nil
}

// Expiry returns when a record written at now with lifetime ttl ceases to
// exist, in milliseconds since 1970, or 0 for never. It rounds up: a spent
// nonce must not be forgotten early. It is for implementations.
func Expiry(now time.Time, ttl time.Duration) int64 {
	if ttl == 0 {
		return 0
	}
	end := now.Add(ttl)
	ms := end.UnixMilli()
	if end.Sub(time.UnixMilli(ms)) > 0 {
		ms++
	}
	// A clock that stands before 1970 must not produce the value for "never".
	return max(ms, 1)
}

// Expired tells whether a record with this [Expiry] is gone at now. It is for
// implementations.
func Expired(now time.Time, expiry int64) bool {
	return expiry != 0 && now.UnixMilli() >= expiry
}
