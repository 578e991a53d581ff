// Package outbox is a durable queue of what has to reach other servers, such as
// scores for learning platforms. What [Outbox.Put] has returned is sent until
// its platform has taken or refused it, through crashes and restarts, and its
// state can be asked for weeks.
//
// Entries of one lane (a learner's score in one line item) form one order: each
// has a later time than those before it, one is sent at a time, and a newer one
// replaces an older one that has not been sent. Lanes are sent in parallel, some
// per platform; a platform that does not answer costs a call now and then and
// delays no other.
//
// # Records
//
// The store changes one record at a time, so that one of them has to decide:
//
//   - outbox:l:LANE, the lane, which holds the times given out and the state of
//     its entries under way, without their content. It changes by compare and
//     swap alone, and never has the same value twice. An entry has been accepted
//     once its lane names it, and is what its lane says as long as it does.
//   - outbox:p:ID, the content of an entry under way. It is written before the
//     lane names the entry, and deleted after the final record is there: whoever
//     lists these after a crash finds all that is left to do.
//   - outbox:e:ID, content and state of an entry that is final.
//   - outbox:g:GROUP:ID, an index by group, for pages of people.
//   - outbox:k:KEY, the id that an idempotency key stands for.
//
// A crash between any two writes leaves a content without a lane that names it,
// which is cleared away, or a final entry whose content still lies there, which
// is moved. Before a content is cleared away the lane is written anew, so that a
// slow Put which was about to name it fails and starts again.
package outbox

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-lti/lti/store"
)

// Errors of an [Outbox]. Match them with [errors.Is].
var (
	// ErrNotFound says that no entry has the id, or that it has been forgotten.
	ErrNotFound = errors.New("outbox: no such entry")
	// ErrClosed says that the outbox was closed.
	ErrClosed = errors.New("outbox: closed")
	// ErrInvalid says that an entry breaks a limit.
	ErrInvalid = errors.New("outbox: invalid entry")
	// ErrKeyReused says that the idempotency key stands for another entry.
	ErrKeyReused = errors.New("outbox: idempotency key used for something else")
	// ErrOlder says that the lane has a newer entry.
	ErrOlder = errors.New("outbox: not newer than the last one")
	// ErrAncient is the [ErrInvalid] of a time before 1970.
	ErrAncient = fmt.Errorf("%w: time before 1970", ErrInvalid)
	// ErrAhead says that the time given lies too far in the future.
	ErrAhead = errors.New("outbox: time lies ahead")
	// ErrNotDead says that only dead entries can be tried again.
	ErrNotDead = errors.New("outbox: entry is not dead")
)

// Limits.
const (
	MaxBody = 16 << 10 // bytes in a body
	MaxText = 1 << 10  // bytes in each text of an entry

	// MaxAhead is how far in the future a given time may lie.
	MaxAhead = 60 * time.Second

	// keepDone and keepDead are how long final entries can be asked for, and
	// keepLane how long a lane remembers its last time. What has been graded with
	// a handle of 13 months must not start again before it.
	keepDone = 30 * 24 * time.Hour
	keepDead = 90 * 24 * time.Hour
	keepLane = 400 * 24 * time.Hour

	// leaseMargin is what a lease lasts longer than the call it is for, and
	// leaseGuard how long before its end the call is given up in any case.
	leaseMargin = 30 * time.Second
	leaseGuard  = 10 * time.Second
)

// State is what became of an entry.
type State string

// The states.
const (
	StateQueued    State = "queued"
	StateDelivered State = "delivered"
	StateReplaced  State = "replaced" // by a newer one of its lane, before it was sent
	StateSkipped   State = "skipped"
	StateDead      State = "dead"
)

// Final reports whether the state does not change any more (but for
// [Outbox.Retry]).
func (s State) Final() bool { return s != StateQueued }

// New is what is to be sent.
type New struct {
	Platform string // where to; ceiling and breaker go by it
	Lane     string // whose order it keeps, within the platform
	// Time is its own time; zero means now.
	Time time.Time
	// WholeSeconds says that the platform compares times by the second.
	WholeSeconds bool
	Group        string // what it is listed by, such as a course; may be empty
	Owner        string // whose idempotency keys those are
	Body         json.RawMessage
	Key          string // idempotency key; empty for none
}

// Entry is what the outbox knows of one thing to be sent.
type Entry struct {
	ID       string // 26 letters and digits; the newest sorts first
	Platform string
	Lane     string
	Time     time.Time
	Group    string
	Owner    string
	Body     json.RawMessage

	State    State
	Reason   string // of the state, or, while queued, of the last failure
	Attempts int

	Taken     time.Time
	Attempted time.Time // zero if it has not been sent
	Done      time.Time // zero while queued
}

// Outcome is how a call ended.
type Outcome int

// The outcomes.
const (
	Retry      Outcome = iota // it may work later
	Delivered                 // the platform has it
	Dead                      // it will never work
	Skipped                   // there is nobody to send it to, and that is in order
	Superseded                // the platform has this one or a newer one already
)

// Result is the answer of a [Sender].
type Result struct {
	Outcome Outcome
	Reason  string        // for people
	After   time.Duration // with Retry: not before this has passed
}

// Sender delivers an entry. It may be called again for the same entry, and must
// return when its context ends.
type Sender func(ctx context.Context, e Entry) Result

// Config sets up an [Outbox]. Zero fields have the defaults named.
type Config struct {
	Now  func() time.Time // time.Now
	Node string           // names this process in leases
	// Alone says that no other process uses the store: leases that others have
	// left are void.
	Alone       bool
	PerPlatform int           // calls under way to one platform; 4
	Total       int           // calls under way; 64
	Timeout     time.Duration // of a call; 30 s
	MaxAge      time.Duration // until an entry is given up; 7 days
	Rescan      time.Duration // between looks for what other nodes left; 3 min
	// Warn hears of failures of the store that nobody else is told.
	Warn func(msg string, err error)
}

func (c *Config) setDefaults() {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Warn == nil {
		c.Warn = func(string, error) {}
	}
	setDefault(&c.PerPlatform, 4)
	setDefault(&c.Total, 64)
	setDefault(&c.Timeout, 30*time.Second)
	setDefault(&c.MaxAge, 7*24*time.Hour)
	setDefault(&c.Rescan, 3*time.Minute)
}

func setDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// Outbox is the queue. It is safe for concurrent use. Make it with [Open].
type Outbox struct {
	store store.Store
	cfg   Config
	node  string       // of this process, unlike that of any before it
	age   atomic.Int64 // nanoseconds until an entry is given up

	ctx     context.Context // of the calls under way
	cancel  context.CancelFunc
	closing chan struct{}
	wake    chan struct{}
	wg      sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	sender    Sender
	jobs      map[string]*job // by lane
	platforms map[string]*platform
	total     int // calls under way
	probes    int // of them, to platforms that do not answer
	waiters   map[string][]chan struct{}
	finals    map[string]map[State]int64
	warned    time.Time
	locks     map[string]*laneLock
}

// Open returns the outbox on a store, and starts to look for what is left to
// do in it. The store stays the caller's, who closes it after the outbox.
func Open(st store.Store, cfg Config) *Outbox {
	cfg.setDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	o := &Outbox{
		store: st, cfg: cfg, node: cfg.Node + "/" + rand.Text(),
		ctx: ctx, cancel: cancel,
		closing:   make(chan struct{}),
		wake:      make(chan struct{}, 1),
		jobs:      make(map[string]*job),
		platforms: make(map[string]*platform),
		waiters:   make(map[string][]chan struct{}),
		finals:    make(map[string]map[State]int64),
		locks:     make(map[string]*laneLock),
	}
	o.SetMaxAge(cfg.MaxAge)
	o.wg.Go(o.dispatcher)
	o.wg.Go(o.keeper)
	return o
}

// SetSender sets who delivers from now on. With nil, entries wait.
func (o *Outbox) SetSender(s Sender) {
	o.mu.Lock()
	o.sender = s
	o.mu.Unlock()
	o.poke()
}

// SetMaxAge sets how long an entry is tried, also for those that wait already.
func (o *Outbox) SetMaxAge(d time.Duration) {
	o.age.Store(int64(d))
	o.poke()
}

func (o *Outbox) maxAge() time.Duration { return time.Duration(o.age.Load()) }

// Close begins no more calls and waits for those under way; when ctx ends, they
// are cancelled, and Close returns its error. What has not been sent stays in
// the store.
func (o *Outbox) Close(ctx context.Context) error {
	o.mu.Lock()
	if !o.closed {
		o.closed = true
		close(o.closing)
	}
	o.mu.Unlock()
	done := make(chan struct{})
	go func() {
		o.wg.Wait()
		close(done)
	}()
	defer o.cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// PlatformStats is what is in memory of one platform. With several nodes on one
// store, each counts what it knows of.
type PlatformStats struct {
	Queued  int             // lanes that wait
	Sending int             // calls under way
	Down    bool            // it does not answer: one call at a time tries it
	Final   map[State]int64 // entries that became final in this process
}

// Stats returns counts by platform.
func (o *Outbox) Stats() map[string]PlatformStats {
	o.mu.Lock()
	defer o.mu.Unlock()
	stats := make(map[string]PlatformStats, len(o.platforms))
	for name, p := range o.platforms {
		stats[name] = PlatformStats{Queued: len(p.queue), Sending: p.sending, Down: p.open()}
	}
	for name, counts := range o.finals {
		s := stats[name]
		s.Final = maps.Clone(counts)
		stats[name] = s
	}
	return stats
}

// finished tells those who wait, and the counts, of entries that have become
// final.
func (o *Outbox) finished(platform string, items ...item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range items {
		it := &items[i]
		counts := o.finals[platform]
		if counts == nil {
			counts = make(map[State]int64)
			o.finals[platform] = counts
		}
		counts[it.State]++
		for _, ch := range o.waiters[it.ID] {
			close(ch)
		}
		delete(o.waiters, it.ID)
	}
}

// warn reports a failure that nobody else is told, at most once in a minute: a
// store that is away would be reported for each entry.
func (o *Outbox) warn(msg string, err error) {
	now := o.cfg.Now()
	o.mu.Lock()
	quiet := now.Sub(o.warned) < time.Minute && !now.Before(o.warned)
	if !quiet {
		o.warned = now
	}
	o.mu.Unlock()
	if !quiet {
		o.cfg.Warn(msg, err)
	}
}

// poke makes the dispatcher look again.
func (o *Outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}
