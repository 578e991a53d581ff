package outbox

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

const (
	minBackoff = time.Second
	maxBackoff = 15 * time.Minute
	maxAfter   = 24 * time.Hour

	// A platform that has failed so often in a row is taken to be down, and
	// tried by one call at a time with growing pauses.
	breakAfter = 5
	minPause   = 5 * time.Second
	maxPause   = 5 * time.Minute

	// spread is the time over which what waited for a platform is sent once it
	// is back.
	spread = 10 * time.Second

	// storePause is how long to wait after a failure of the store.
	storePause = 2 * time.Second

	never = 1 << 62
)

// job is a lane with something to be sent. It is small: there may be many.
type job struct {
	lane     string
	platform *platform
	id       string    // of the entry to be sent, as far as known
	due      time.Time // next attempt
	notUntil time.Time // which even a platform that comes back does not shorten
	dies     time.Time // the entry is given up then
	busy     bool      // a goroutine works on the lane, and owns the job
	dirty    bool      // something was put into the lane meanwhile
	index    int       // in the platform's queue, -1 if it is not there
}

// platform is the queue of one platform and what is known of its health.
type platform struct {
	name    string
	queue   queue
	jobs    int // in the queue and under way
	sending int

	fails   int // in a row
	probing bool
	pauses  int
	probeAt time.Time
}

func (p *platform) open() bool { return p.fails >= breakAfter }

// platformOf returns a platform. The caller holds the lock, as for all below.
func (o *Outbox) platformOf(name string) *platform {
	p := o.platforms[name]
	if p == nil {
		p = &platform{name: name}
		o.platforms[name] = p
	}
	return p
}

func (o *Outbox) jobOf(lane, platform string) *job {
	j := o.jobs[lane]
	if j == nil {
		j = &job{lane: lane, platform: o.platformOf(platform), index: -1}
		j.platform.jobs++
		o.jobs[lane] = j
	}
	return j
}

// note hears of an entry that was put into a lane. A zero since is unknown.
func (o *Outbox) note(lane, platform, id string, due time.Time, since int64) {
	o.mu.Lock()
	defer o.poke()
	defer o.mu.Unlock()
	j := o.jobOf(lane, platform)
	if j.busy {
		j.dirty = true
		return
	}
	j.id, j.due, j.notUntil, j.dies = id, due, due, o.diesAt(since)
	j.enqueue()
}

// claim makes the caller the owner of a lane's job, unless somebody else is.
func (o *Outbox) claim(lane, platform string) *job {
	o.mu.Lock()
	defer o.mu.Unlock()
	j := o.jobOf(lane, platform)
	if j.busy || o.closed {
		return nil
	}
	j.own()
	return j
}

func (j *job) own() {
	j.busy, j.dirty = true, false
	if j.index >= 0 {
		heap.Remove(&j.platform.queue, j.index)
	}
}

func (j *job) enqueue() {
	if j.index >= 0 {
		heap.Fix(&j.platform.queue, j.index)
	} else {
		heap.Push(&j.platform.queue, j)
	}
}

// again is when a job is to be looked at again; the zero value says that
// nothing is left of it.
type again struct {
	id       string
	due      time.Time
	notUntil time.Time
	since    int64
}

func (o *Outbox) diesAt(since int64) time.Time {
	if since == 0 {
		return o.cfg.Now().Add(o.maxAge())
	}
	return time.Unix(0, since).Add(o.maxAge())
}

// release gives a job back.
func (o *Outbox) release(j *job, a again) {
	o.mu.Lock()
	defer o.poke()
	defer o.mu.Unlock()
	j.busy = false
	switch {
	case j.dirty:
		j.due, j.notUntil, j.dies = time.Time{}, time.Time{}, o.diesAt(0)
		j.enqueue()
	case a.id == "":
		delete(o.jobs, j.lane)
		j.platform.jobs--
		o.tidyPlatform(j.platform)
	default:
		j.id, j.due, j.notUntil, j.dies = a.id, a.due, a.notUntil, o.diesAt(a.since)
		j.enqueue()
	}
}

// tidyPlatform forgets a platform of which there is nothing to know.
func (o *Outbox) tidyPlatform(p *platform) {
	if p.sending == 0 && p.fails == 0 && p.jobs == 0 {
		delete(o.platforms, p.name)
	}
}

// dispatcher starts calls as they become due.
func (o *Outbox) dispatcher() {
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		timer.Reset(o.dispatch())
		select {
		case <-o.wake:
		case <-timer.C:
		case <-o.closing:
			return
		}
	}
}

// dispatch starts what may be started, and returns how long nothing else will
// be due.
func (o *Outbox) dispatch() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.sender == nil {
		return never
	}
	now, wait := o.cfg.Now(), time.Duration(never)
	for _, p := range o.platforms {
		for len(p.queue) > 0 && o.total < o.cfg.Total {
			j, probe := p.queue[0], p.open()
			at := j.due
			if probe {
				// Whether it answers does not depend on how often this entry failed.
				at = j.notUntil
				if p.probeAt.After(at) {
					at = p.probeAt
				}
			}
			if d := at.Sub(now); d > 0 {
				wait = min(wait, d)
				break
			}
			if !o.mayCall(p) {
				break
			}
			j.own()
			p.sending++
			o.total++
			if probe {
				p.probing = true
				o.probes++
			}
			send := o.sender
			o.wg.Go(func() { o.deliver(j, send, probe) })
		}
	}
	return wait
}

// mayCall reports whether one more call to a platform may begin. A call that
// ends makes the dispatcher look again.
func (o *Outbox) mayCall(p *platform) bool {
	if p.open() {
		// Those that are down leave most of the calls to the others.
		return !p.probing && p.sending == 0 && o.probes < max(1, o.cfg.Total/4)
	}
	return p.sending < min(o.cfg.PerPlatform, breakAfter-p.fails)
}

// verdict is what a call says of its platform.
type verdict int

const (
	silent   verdict = iota // there was no call
	answered                // it took or refused the entry
	failed
)

// called ends a call: its place is free, and the platform's health noted.
func (o *Outbox) called(p *platform, probe bool, v verdict) {
	o.mu.Lock()
	defer o.poke()
	defer o.mu.Unlock()
	p.sending--
	o.total--
	if probe {
		p.probing = false
		o.probes--
	}
	switch v {
	case silent:
	case answered:
		if p.open() {
			o.reopen(p)
		}
		p.fails, p.pauses = 0, 0
		o.tidyPlatform(p)
	case failed:
		wasOpen := p.open()
		p.fails++
		if p.open() && (!wasOpen || probe) {
			pause := min(maxPause, minPause<<min(p.pauses, 16))
			p.pauses++
			p.probeAt = o.cfg.Now().Add(pause/2 + jitter(pause/2))
		}
	}
}

// reopen lets go what waited because the platform was down.
func (o *Outbox) reopen(p *platform) {
	now := o.cfg.Now()
	for _, j := range p.queue {
		soon := now.Add(jitter(spread))
		if soon.Before(j.notUntil) {
			soon = j.notUntil
		}
		if soon.Before(j.due) {
			j.due = soon
		}
	}
	heap.Init(&p.queue)
}

func jitter(limit time.Duration) time.Duration {
	return rand.N(limit) //nolint:gosec // nobody gains by guessing
}

// backoff is how long to wait after so many attempts: full jitter.
func backoff(attempts int) time.Duration {
	limit := min(maxBackoff, minBackoff<<min(max(attempts, 1), 16))
	return max(minBackoff, jitter(limit))
}

// queue is a [heap.Interface] of jobs by when they are due.
type queue []*job

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	j := x.(*job)
	j.index = len(*q)
	*q = append(*q, j)
}

func (q *queue) Pop() any {
	old := *q
	last := len(old) - 1
	j := old[last]
	old[last] = nil
	*q = old[:last]
	j.index = -1
	return j
}
