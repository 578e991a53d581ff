package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-lti/lti/store"
	"github.com/caddy-lti/lti/store/memory"
)

// The model: processes that put, send, crash at random writes and start again,
// a store that fails now and then, and platforms that note what arrives.

var (
	errCrashed = errors.New("the process is dead")
	errFlaky   = errors.New("the store is away")
)

// process is one life of an outbox.
type process struct {
	store.Store
	w     *world
	o     *Outbox
	flaky float64

	mu     sync.Mutex
	writes int // until it crashes; negative for never
	dead   bool
}

func (p *process) crash() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
}

func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead
}

// op says whether an operation is done, and whether the caller hears of it.
func (p *process) op(write bool) (do bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return false, errCrashed
	}
	if write && p.writes > 0 {
		if p.writes--; p.writes == 0 {
			p.dead = true
			return p.w.chance(0.5), errCrashed
		}
	}
	if p.w.chance(p.flaky) {
		return p.w.chance(0.5), errFlaky
	}
	return true, nil
}

func (p *process) Get(ctx context.Context, key string) ([]byte, error) {
	if _, err := p.op(false); err != nil {
		return nil, err
	}
	return p.Store.Get(ctx, key)
}

func (p *process) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if _, err := p.op(false); err != nil {
		return nil, err
	}
	return p.Store.List(ctx, prefix, after, limit)
}

func (p *process) write(fn func() (bool, error)) (bool, error) {
	p.w.jitter() // another goroutine may come between
	do, err := p.op(true)
	if !do {
		return false, err
	}
	ok, werr := fn()
	if err != nil {
		return false, err
	}
	return ok, werr
}

func (p *process) Put(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	_, err := p.write(func() (bool, error) { return true, p.Store.Put(ctx, key, val, ttl) })
	return err
}

func (p *process) PutIfAbsent(ctx context.Context, key string, val []byte, ttl time.Duration) (bool, error) {
	return p.write(func() (bool, error) { return p.Store.PutIfAbsent(ctx, key, val, ttl) })
}

func (p *process) Swap(ctx context.Context, key string, old, val []byte, ttl time.Duration) (bool, error) {
	return p.write(func() (bool, error) { return p.Store.Swap(ctx, key, old, val, ttl) })
}

func (p *process) Delete(ctx context.Context, key string) error {
	_, err := p.write(func() (bool, error) { return true, p.Store.Delete(ctx, key) })
	return err
}

type arrival struct {
	id   string
	time time.Time
	body string
}

type world struct {
	t     *testing.T
	inner store.Store
	calm  bool // senders deliver

	mu       sync.Mutex
	rnd      *rand.Rand
	procs    []*process
	arrived  map[string][]arrival // by lane
	sending  map[string]*process  // by lane
	verdicts map[string]Outcome   // the last clear one, by id
	accepted map[string]Entry
	keys     map[string]string // idempotency key → id
	puts     int
}

func (w *world) chance(p float64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rnd.Float64() < p
}

func (w *world) n(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rnd.IntN(n)
}

func (w *world) jitter() {
	if w.chance(0.3) {
		time.Sleep(time.Duration(w.n(5)) * time.Millisecond)
	}
}

func (w *world) violation(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf(format, args...)
}

func (w *world) start(alone bool, writes int, flaky float64) *process {
	p := &process{Store: w.inner, w: w, writes: writes, flaky: flaky}
	p.o = Open(p, Config{Node: "n", Alone: alone, PerPlatform: 3, Total: 6})
	p.o.SetSender(p.send)
	w.mu.Lock()
	w.procs = append(w.procs, p)
	w.mu.Unlock()
	return p
}

func laneName(platform, lane string) string { return platform + "/" + lane }

// send is the platform.
func (p *process) send(ctx context.Context, e Entry) Result {
	w, lane := p.w, laneName(e.Platform, e.Lane)
	w.mu.Lock()
	if other := w.sending[lane]; other != nil && other.alive() && p.alive() {
		w.violation("two calls at once in lane %s", lane)
	}
	w.sending[lane] = p
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		if w.sending[lane] == p {
			delete(w.sending, lane)
		}
		w.mu.Unlock()
	}()
	dice := w.n(100)
	if w.calm {
		dice = 0
	}
	time.Sleep(time.Duration(w.n(1500)) * time.Millisecond)
	if !p.alive() {
		return Result{}
	}
	switch {
	case dice < 50:
		return w.arrive(p, lane, e)
	case dice < 60:
		w.arrive(p, lane, e)
		return Result{Outcome: Retry, Reason: "the answer was lost", After: time.Duration(w.n(3)) * time.Second}
	case dice < 65:
		w.arrive(p, lane, e)
		p.crash()
		return Result{}
	case dice < 72:
		w.verdict(e, Dead)
		return Result{Outcome: Dead, Reason: "refused"}
	case dice < 75:
		w.verdict(e, Skipped)
		return Result{Outcome: Skipped, Reason: "nobody there"}
	case dice < 78:
		panic("in the sender")
	case dice < 80:
		<-ctx.Done()
		return Result{Outcome: Retry, Reason: "timeout"}
	default:
		return Result{Outcome: Retry, Reason: "503"}
	}
}

func (w *world) verdict(e Entry, o Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verdicts[e.ID] = o
}

// strict platforms compare seconds and refuse what is not newer, as Moodle does.
func strict(platform string) bool { return strings.HasPrefix(platform, "strict") }

func (w *world) arrive(p *process, lane string, e Entry) Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.arrived[lane]
	if len(list) > 0 {
		last := list[len(list)-1]
		repeat := last.id == e.ID && last.time.Equal(e.Time) && last.body == string(e.Body)
		switch {
		case !repeat && !e.Time.After(last.time):
			w.violation("lane %s: %s arrives after %s", lane, e.Time, last.time)
		case !repeat && strict(e.Platform) && e.Time.Unix() <= last.time.Unix():
			w.violation("lane %s: %s arrives in the second of %s", lane, e.Time, last.time)
		}
		if repeat && strict(e.Platform) {
			return Result{Outcome: Superseded, Reason: "409"}
		}
		if repeat {
			return Result{Outcome: Delivered}
		}
	}
	w.arrived[lane] = append(list, arrival{e.ID, e.Time, string(e.Body)})
	return Result{Outcome: Delivered}
}

// put puts one entry at random, as a caller that may give up and repeat.
func (w *world) put(p *process) {
	n := New{
		Platform: []string{"strict", "strict2", "lax"}[w.n(3)], Lane: strconv.Itoa(w.n(4)),
		Group: []string{"", "g1", "g2"}[w.n(3)], Owner: "app",
	}
	n.WholeSeconds = strict(n.Platform)
	w.mu.Lock()
	w.puts++
	n.Body = json.RawMessage(strconv.Itoa(w.puts))
	w.mu.Unlock()
	if w.chance(0.3) {
		n.Time = time.Now().Add(time.Duration(w.n(3000)-2500) * time.Millisecond)
	}
	if w.chance(0.4) {
		n.Key = "k" + string(n.Body)
	}
	repeats := 1
	if n.Key != "" {
		repeats += w.n(3)
	}
	var wg sync.WaitGroup
	for range repeats {
		try := func() {
			e, err := p.o.Put(w.t.Context(), n)
			switch {
			case err == nil:
				w.accept(n, e)
			case errors.Is(err, ErrOlder) && !n.Time.IsZero():
			case errors.Is(err, errCrashed), errors.Is(err, errFlaky), errors.Is(err, ErrClosed):
			default:
				w.violation("Put: %v", err)
			}
		}
		if w.chance(0.5) {
			wg.Go(try)
		} else {
			try()
		}
	}
	wg.Wait()
}

func (w *world) accept(n New, e Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if string(e.Body) != string(n.Body) || e.Platform != n.Platform || e.Lane != n.Lane {
		w.violation("Put of %s returned %s", n.Body, e.Body)
	}
	if n.Key != "" {
		if id, ok := w.keys[n.Key]; ok && id != e.ID {
			w.violation("key %s is entries %s and %s", n.Key, id, e.ID)
		}
		w.keys[n.Key] = e.ID
	}
	w.accepted[e.ID] = e
}

// retryDead calls some dead entry back.
func (w *world) retryDead(p *process) {
	list, _, err := p.o.List(w.t.Context(), Filter{State: StateDead}, "", 20)
	if err != nil || len(list) == 0 {
		return
	}
	e := list[w.n(len(list))]
	var wg sync.WaitGroup
	for range 1 + w.n(2) {
		wg.Go(func() {
			_, err := p.o.Retry(w.t.Context(), e.ID)
			if err != nil && !errors.Is(err, ErrOlder) && !errors.Is(err, ErrNotDead) &&
				!errors.Is(err, errCrashed) && !errors.Is(err, errFlaky) && !errors.Is(err, ErrClosed) {
				w.violation("Retry: %v", err)
			}
		})
	}
	wg.Wait()
}

// epoch is some life of one or two processes.
func (w *world) epoch(nodes int) {
	var procs []*process
	for range nodes {
		writes, flaky := -1, 0.0
		if w.chance(0.7) {
			writes = 1 + w.n(60)
		}
		if w.chance(0.3) {
			flaky = 0.1
		}
		procs = append(procs, w.start(nodes == 1, writes, flaky))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range w.n(8) {
				p := procs[w.n(len(procs))]
				w.put(p)
				if w.chance(0.1) {
					w.retryDead(p)
				}
				time.Sleep(time.Duration(w.n(700)) * time.Millisecond)
			}
		})
	}
	wg.Wait()
	time.Sleep(time.Duration(w.n(90)) * time.Second)
	for _, p := range procs {
		if w.chance(0.2) { // an orderly end
			ctx, cancel := context.WithTimeout(w.t.Context(), 40*time.Second)
			if err := p.o.Close(ctx); err != nil && p.alive() && p.flaky == 0 {
				w.violation("Close: %v", err)
			}
			cancel()
		}
		p.crash()
	}
}

// all lists what there is, by id.
func (w *world) all(o *Outbox, f Filter) map[string]Entry {
	entries := make(map[string]Entry)
	for after := ""; ; {
		page, next, err := o.List(w.t.Context(), f, after, 7)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range page {
			if _, ok := entries[e.ID]; ok {
				w.violation("List has %s twice", e.ID)
			}
			entries[e.ID] = e
		}
		if next == "" {
			return entries
		}
		after = next
	}
}

// check brings everything to its end and looks at what became of it.
func (w *world) check() {
	w.calm = true
	p := w.start(true, -1, 0)
	time.Sleep(time.Hour) // leases, back-off, breakers, stray contents
	entries := w.all(p.o, Filter{})
	w.checkEntries(p.o, entries)
	w.checkLanes(entries)
	left, err := w.inner.List(w.t.Context(), pendingPrefix, "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range left {
		if len(r.Value) > 0 {
			w.violation("left behind: %s", r.Key)
		}
	}
	if len(p.o.jobs) > 0 || len(p.o.locks) > 0 || len(p.o.waiters) > 0 || p.o.total != 0 || p.o.probes != 0 {
		w.violation("in memory: %d jobs, %d locks, %d calls, %d probes", len(p.o.jobs), len(p.o.locks), p.o.total, p.o.probes)
	}
	for _, group := range []string{"g1", "g2"} {
		for id, e := range w.all(p.o, Filter{Group: group}) {
			if e.Group != group || entries[id].ID != id {
				w.violation("group %s has %+v", group, e)
			}
		}
	}
}

func (w *world) checkEntries(o *Outbox, entries map[string]Entry) {
	for id, was := range w.accepted {
		e, ok := entries[id]
		if !ok {
			w.violation("accepted and lost: %+v", was)
			continue
		}
		if got, err := o.Get(w.t.Context(), id); err != nil || got.State != e.State {
			w.violation("Get = %+v, %v; List has %+v", got, err, e)
		}
		if string(e.Body) != string(was.Body) || !e.Time.Equal(was.Time) || e.Group != was.Group || !e.Taken.Equal(was.Taken) && was.Group == "" {
			w.violation("entry changed from %+v to %+v", was, e)
		}
	}
	for id, e := range entries {
		lane := laneName(e.Platform, e.Lane)
		there := slices.ContainsFunc(w.arrived[lane], func(a arrival) bool { return a.id == id && a.body == string(e.Body) })
		switch e.State {
		case StateDelivered:
			if !there {
				w.violation("delivered, but it never arrived: %+v", e)
			}
		case StateReplaced:
			newer := false
			for _, other := range entries {
				newer = newer || laneName(other.Platform, other.Lane) == lane && other.Time.After(e.Time)
			}
			if !newer {
				w.violation("replaced by nothing: %+v", e)
			}
		case StateDead:
			if w.verdicts[id] != Dead {
				w.violation("dead without a verdict: %+v", e)
			}
		case StateSkipped:
			if w.verdicts[id] != Skipped {
				w.violation("skipped without a verdict: %+v", e)
			}
		default:
			w.violation("not at its end: %+v", e)
		}
		if e.State.Final() == e.Done.IsZero() {
			w.violation("times of %+v", e)
		}
	}
}

// checkLanes checks that the newest of each lane is what its platform has.
func (w *world) checkLanes(entries map[string]Entry) {
	newest := make(map[string]Entry)
	times := make(map[string]bool)
	for _, e := range entries {
		lane := laneName(e.Platform, e.Lane)
		if at := lane + e.Time.String(); times[at] {
			w.violation("two entries of one time: %s", at)
		} else {
			times[at] = true
		}
		if n, ok := newest[lane]; !ok || e.Time.After(n.Time) {
			newest[lane] = e
		}
	}
	for lane, e := range newest {
		if e.State == StateReplaced {
			w.violation("lane %s: the newest is replaced: %+v", lane, e)
		}
		if list := w.arrived[lane]; e.State == StateDelivered && list[len(list)-1].id != e.ID {
			w.violation("lane %s has %+v last, not %+v", lane, list[len(list)-1], e)
		}
	}
}

var (
	firstSeed = flag.Uint64("seed", 1, "first seed of TestModel")
	seedCount = flag.Uint64("seeds", 12, "seeds of TestModel")
)

func TestModel(t *testing.T) {
	first, seeds := *firstSeed, *seedCount
	for seed := first; seed < first+seeds; seed++ {
		for nodes := 1; nodes <= 2; nodes++ {
			t.Run(fmt.Sprintf("seed %d, %d nodes", seed, nodes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					inner := memory.New(memory.Options{})
					w := &world{
						t: t, inner: inner, rnd: rand.New(rand.NewPCG(seed, uint64(nodes))),
						arrived: make(map[string][]arrival), sending: make(map[string]*process), verdicts: make(map[string]Outcome),
						accepted: make(map[string]Entry), keys: make(map[string]string),
					}
					for range 8 {
						w.epoch(nodes)
					}
					w.check()
					if len(w.accepted) < 10 {
						t.Errorf("only %d entries were accepted", len(w.accepted))
					}
					for _, p := range w.procs {
						p.crash()
						ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
						_ = p.o.Close(ctx)
						cancel()
					}
					synctest.Wait()
					_ = inner.Close()
				})
			})
		}
	}
}
