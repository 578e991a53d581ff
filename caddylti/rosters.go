package caddylti

import (
	"context"
	"crypto/sha256"
	"iter"
	"net/http"
	"sync"
	"time"

	"github.com/caddy-lti/lti/nrps"
)

const (
	// Rosters up to these sizes are read whole before anything is answered, and
	// may be kept; larger ones pass through.
	maxWholeMembers = 5000
	maxWholeBytes   = 16 << 20

	maxKept      = 64
	maxKeptBytes = 32 << 20

	// maxReading is how many rosters of one host are read at the same time. Each
	// holds one of the few connections to it, which scores need too.
	maxReading = 4
	// maxTurn is how long one waits for a turn.
	maxTurn = 30 * time.Second
)

// wanted is a roster that somebody asks for.
type wanted struct {
	client *nrps.Client
	filter nrps.Filter
	host   string
	key    rosterKey // what it depends on
}

type rosterKey [sha256.Size]byte

// rosters reads rosters for one configuration. What several ask for at the same
// time is read once; what is small is kept for a short while, in memory only.
// Who may ask for what is for others to decide.
type rosters struct {
	ctx    context.Context // ends with the configuration
	cancel context.CancelFunc
	wg     sync.WaitGroup
	turns  turns
	most   int // members that are read whole

	mu      sync.Mutex
	closed  bool
	clock   uint64 // counts requests and readings
	flights map[rosterKey]*flight
	kept    map[rosterKey]*kept
	bytes   int // of all that is kept
}

// flight is a roster that is being read, for all who wait for it.
type flight struct {
	clock   uint64
	cancel  context.CancelFunc
	waiting int
	done    chan struct{} // closed when there is one of these
	whole   *whole
	begun   *begun // for one of those who wait
	err     error
}

type kept struct {
	*whole
	clock   uint64
	at      time.Time
	removal *time.Timer
}

func newRosters() *rosters {
	ctx, cancel := context.WithCancel(context.Background())
	return &rosters{
		ctx: ctx, cancel: cancel, most: maxWholeMembers,
		turns: turns{of: make(map[string]*turn)}, flights: make(map[rosterKey]*flight), kept: make(map[rosterKey]*kept),
	}
}

// close forgets what is kept, ends all reading and waits for it.
func (rs *rosters) close() {
	rs.mu.Lock()
	rs.closed = true
	for key := range rs.kept {
		rs.drop(key)
	}
	rs.mu.Unlock()
	rs.cancel()
	rs.wg.Wait()
}

// get returns a roster: whole, or with its beginning read, if it is large. The
// latter must be closed. One that was kept is good for ttl; anew has the platform
// asked later than now.
func (rs *rosters) get(ctx context.Context, want *wanted, ttl time.Duration, anew bool) (*whole, *begun, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.clock++
	now := rs.clock
	recent := func(clock uint64) bool { return !anew || clock > now }
	for {
		if rs.closed {
			return nil, nil, errBusy
		}
		if k := rs.kept[want.key]; k != nil && time.Since(k.at) < ttl && recent(k.clock) {
			return k.whole, nil, nil
		}
		f := rs.flights[want.key]
		if f == nil {
			f = rs.begin(want, ttl)
		}
		joins := recent(f.clock)
		if joins {
			f.waiting++
		}
		rs.mu.Unlock()
		var gone error
		select {
		case <-f.done:
		case <-ctx.Done():
			gone = ctx.Err()
		}
		rs.mu.Lock()
		if joins {
			f.waiting--
			if gone != nil && f.waiting == 0 {
				rs.abandon(want.key, f)
			}
		}
		switch {
		case gone != nil:
			return nil, nil, gone
		case !joins:
		case f.err != nil || f.whole != nil:
			return f.whole, nil, f.err
		case f.begun != nil:
			b := f.begun
			f.begun = nil
			b.until(ctx)
			return nil, b, nil
		}
		// It was too old, or so large that only one can have it.
	}
}

// begin starts to read a roster.
func (rs *rosters) begin(want *wanted, ttl time.Duration) *flight {
	ctx, cancel := context.WithCancel(rs.ctx)
	rs.clock++
	f := &flight{clock: rs.clock, cancel: cancel, done: make(chan struct{})}
	rs.flights[want.key] = f
	rs.wg.Go(func() {
		w, b, err := rs.read(ctx, cancel, want)
		rs.mu.Lock()
		defer rs.mu.Unlock()
		defer close(f.done)
		if rs.flights[want.key] == f {
			delete(rs.flights, want.key)
		}
		f.whole, f.begun, f.err = w, b, err
		switch {
		case w != nil && ttl > 0:
			rs.keep(want.key, &kept{whole: w, clock: f.clock}, ttl)
		case b != nil && f.waiting == 0:
			rs.abandon(want.key, f)
		}
	})
	return f
}

// abandon ends what nobody waits for any more.
func (rs *rosters) abandon(key rosterKey, f *flight) {
	if rs.flights[key] == f {
		delete(rs.flights, key)
	}
	f.cancel()
	if f.begun != nil {
		f.begun.close()
		f.begun, f.err = nil, context.Canceled
	}
}

// keep keeps a roster for ttl, in the place of older ones.
func (rs *rosters) keep(key rosterKey, k *kept, ttl time.Duration) {
	if rs.closed {
		return
	}
	rs.drop(key)
	for len(rs.kept) > 0 && (len(rs.kept) >= maxKept || rs.bytes+k.size() > maxKeptBytes) {
		var oldest rosterKey
		var at time.Time
		for other, o := range rs.kept {
			if at.IsZero() || o.at.Before(at) {
				oldest, at = other, o.at
			}
		}
		rs.drop(oldest)
	}
	k.at = time.Now()
	k.removal = time.AfterFunc(ttl, func() {
		rs.mu.Lock()
		defer rs.mu.Unlock()
		if rs.kept[key] == k {
			rs.drop(key)
		}
	})
	rs.kept[key] = k
	rs.bytes += k.size()
}

func (rs *rosters) drop(key rosterKey) {
	if k := rs.kept[key]; k != nil {
		k.removal.Stop()
		rs.bytes -= k.size()
		delete(rs.kept, key)
	}
}

// read reads a roster to its end, or to the point where it is too large for that.
// In the latter case cancel belongs to what it returns.
func (rs *rosters) read(ctx context.Context, cancel context.CancelFunc, want *wanted) (*whole, *begun, error) {
	give, err := rs.turns.take(ctx, want.host)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	roster, err := want.client.Open(ctx, want.filter)
	if err != nil {
		cancel()
		give()
		return nil, nil, err
	}
	next, stop := iter.Pull2(roster.Members())
	b := &begun{next: next, cancel: cancel, end: func() {
		stop()
		_ = roster.Close() // which Members does only if it was asked for one
		cancel()
		give()
	}}
	for b.members <= rs.most && len(b.lines) <= maxWholeBytes {
		m, err, ok := next()
		if ok && err == nil {
			err = b.add(&m)
		}
		switch {
		case err != nil:
			b.close()
			return nil, nil, err
		case !ok:
			b.close()
			b.id, b.context = roster.ID, roster.Context
			w, err := b.whole()
			return w, nil, err
		}
	}
	b.id, b.context = roster.ID, roster.Context
	return nil, b, nil
}

// errBusy says that too many rosters of one host are being read.
var errBusy = &problem{
	status: http.StatusServiceUnavailable, code: problemUnreachable, after: 10,
	detail: "as many rosters as may be read from this platform at the same time are being read: try again later",
}

// turns lets few at a time at each host.
type turns struct {
	mu sync.Mutex
	of map[string]*turn
}

type turn struct {
	slots chan struct{}
	users int // who have one, or wait
}

// take waits for a turn and returns what gives it back.
func (ts *turns) take(ctx context.Context, host string) (give func(), err error) {
	ts.mu.Lock()
	t := ts.of[host]
	if t == nil {
		t = &turn{slots: make(chan struct{}, maxReading)}
		ts.of[host] = t
	}
	t.users++
	ts.mu.Unlock()
	leave := func() {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(ts.of, host)
		}
	}
	timer := time.NewTimer(maxTurn)
	defer timer.Stop()
	select {
	case t.slots <- struct{}{}:
		return sync.OnceFunc(func() { <-t.slots; leave() }), nil
	case <-timer.C:
		err = errBusy
	case <-ctx.Done():
		err = ctx.Err()
	}
	leave()
	return nil, err
}
