package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-lti/lti/store"
	"github.com/caddy-lti/lti/store/memory"
)

// rig is an outbox in a bubble, with a sender that a test can change.
type rig struct {
	*testing.T
	*Outbox
	st store.Store

	mu   sync.Mutex
	sent []Entry
	at   []time.Time
	send Sender
}

func (r *rig) sender(ctx context.Context, e Entry) Result {
	r.mu.Lock()
	r.sent, r.at = append(r.sent, e), append(r.at, time.Now())
	send := r.send
	r.mu.Unlock()
	if send == nil {
		return Result{Outcome: Delivered}
	}
	return send(ctx, e)
}

func (r *rig) calls() []Entry {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent
}

func (r *rig) answer(s Sender) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.send = s
}

// with runs a test in a bubble.
func with(t *testing.T, cfg Config, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st := memory.New(memory.Options{})
		r := &rig{T: t, st: st}
		cfg.Alone = true
		r.Outbox = Open(st, cfg)
		r.SetSender(r.sender)
		test(t, r)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
		synctest.Wait()
		st.Close()
	})
}

func score(lane, body string) New {
	return New{Platform: "moodle", Lane: lane, Owner: "app", Body: json.RawMessage(body)}
}

func (r *rig) put(n New) Entry {
	r.Helper()
	e, err := r.Put(r.Context(), n)
	if err != nil {
		r.Fatalf("Put: %v", err)
	}
	return e
}

func (r *rig) want(id string, state State, reason string) Entry {
	r.Helper()
	synctest.Wait()
	e, err := r.Get(r.Context(), id)
	if err != nil || e.State != state || !strings.Contains(e.Reason, reason) {
		r.Errorf("Get = %s (%s), %v; want %s (%s)", e.State, e.Reason, err, state, reason)
	}
	return e
}

func TestDelivers(t *testing.T) {
	with(t, Config{}, func(t *testing.T, r *rig) {
		n := score("a", `{"x": "<&>",  "y":1}`)
		n.Group = "course"
		e := r.put(n)
		got := r.want(e.ID, StateDelivered, "")
		if string(got.Body) != string(n.Body) || got.Group != "course" || got.Owner != "app" || got.Attempts != 1 ||
			!got.Time.Equal(e.Time) || got.Done.IsZero() || got.Attempted.IsZero() || !got.Taken.Equal(time.Now()) {
			t.Errorf("entry is %+v", got)
		}
		if calls := r.calls(); len(calls) != 1 || string(calls[0].Body) != string(n.Body) {
			t.Errorf("calls: %+v", calls)
		}
		time.Sleep(keepDone - time.Second)
		r.want(e.ID, StateDelivered, "")
		time.Sleep(2 * time.Second)
		if _, err := r.Get(t.Context(), e.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get after 30 days: %v", err)
		}
		for _, id := range []string{"", "x", strings.Repeat("0", idLen), strings.Repeat("Z", idLen)} {
			if _, err := r.Get(t.Context(), id); !errors.Is(err, ErrNotFound) {
				t.Errorf("Get(%q): %v", id, err)
			}
		}
	})
}

func TestInvalid(t *testing.T) {
	with(t, Config{}, func(t *testing.T, r *rig) {
		for name, n := range map[string]New{
			"no platform":   {Lane: "a", Body: []byte("1")},
			"no lane":       {Platform: "p", Body: []byte("1")},
			"no body":       {Platform: "p", Lane: "a"},
			"no JSON":       {Platform: "p", Lane: "a", Body: []byte("{")},
			"large body":    {Platform: "p", Lane: "a", Body: []byte(`"` + strings.Repeat("x", MaxBody-1) + `"`)},
			"long lane":     {Platform: "p", Lane: strings.Repeat("x", MaxText+1), Body: []byte("1")},
			"bad UTF-8":     {Platform: "p", Lane: "a", Group: "\xff", Body: []byte("1")},
			"ancient times": {Platform: "p", Lane: "a", Body: []byte("1"), Time: time.Unix(-1, 0)},
		} {
			if _, err := r.Put(t.Context(), n); !errors.Is(err, ErrInvalid) || errors.Is(err, ErrAncient) != (name == "ancient times") {
				t.Errorf("%s: %v", name, err)
			}
		}
		// What is longest on the wire still fits into a record.
		control := strings.Repeat("\x01", MaxText)
		r.answer(func(context.Context, Entry) Result {
			return Result{Outcome: Dead, Reason: strings.Repeat("\x02", 10_000)}
		})
		n := New{Platform: control, Lane: control, Group: control, Owner: control, Key: control}
		n.Body = []byte(`"` + strings.Repeat("<", MaxBody-2) + `"`)
		e := r.put(n)
		if got := r.want(e.ID, StateDead, "\x02"); string(got.Body) != string(n.Body) || got.Lane != control || len(got.Reason) > maxReason {
			t.Error("a large entry came back changed")
		}
	})
}

func TestTimes(t *testing.T) {
	ms := time.Millisecond
	type step struct {
		after time.Duration // passes before
		given time.Duration // from the start; -1 for none
		want  time.Duration // from the start
		sent  time.Duration // at the latest, from the start
		err   error
	}
	for _, tt := range []struct {
		name  string
		whole bool
		steps []step
	}{
		{"now", false, []step{{0, -1, 0, 0, nil}, {ms, -1, ms, ms, nil}}},
		{"raised by a millisecond", false, []step{{0, -1, 0, 0, nil}, {0, -1, ms, ms, nil}, {ms, -1, 2 * ms, 2 * ms, nil}}},
		{"given", false, []step{{0, 3, 3, 0, nil}, {0, 4, 4, 0, nil}, {0, 4, 0, 0, ErrOlder}, {0, 3, 0, 0, ErrOlder}, {ms, -1, ms, ms, nil}}},
		{"given and ahead", false, []step{
			{0, MaxAhead, MaxAhead, 0, nil},
			{0, MaxAhead + 1, 0, 0, ErrAhead},
			{time.Second, -1, MaxAhead + ms, MaxAhead + ms, nil},
		}},
		{"whole seconds", true, []step{
			{0, -1, 0, 0, nil},
			{300 * ms, -1, time.Second, time.Second, nil},
			{1700 * ms, -1, 2000 * ms, 2000 * ms, nil},
		}},
		{"whole seconds, given", true, []step{
			{0, 100 * ms, 100 * ms, 0, nil},
			{500 * ms, 400 * ms, time.Second, time.Second, nil},
			// Newer than what was asked for, though not than what that became; it
			// replaces the one that waits.
			{0, 450 * ms, time.Second + ms, time.Second + ms, nil},
			{0, 450 * ms, 0, 0, ErrOlder},
			{time.Second, 1500 * ms, 2 * time.Second, 2 * time.Second, nil},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			with(t, Config{}, func(t *testing.T, r *rig) {
				start := time.Now()
				for i, s := range tt.steps {
					time.Sleep(s.after)
					synctest.Wait()
					n := score("a", fmt.Sprint(i))
					n.WholeSeconds = tt.whole
					if s.given >= 0 {
						n.Time = start.Add(s.given)
					}
					e, err := r.Put(t.Context(), n)
					if !errors.Is(err, s.err) {
						t.Fatalf("step %d: %v, want %v", i, err, s.err)
					}
					synctest.Wait()
					if err != nil {
						continue
					}
					if got := e.Time.Sub(start); got != s.want {
						t.Errorf("step %d: time %s, want %s", i, got, s.want)
					}
					if wait := time.Until(start.Add(s.sent)); wait > 0 {
						if calls := r.calls(); calls[len(calls)-1].ID == e.ID {
							t.Errorf("step %d: sent before its time", i)
						}
					}
				}
				time.Sleep(2 * MaxAhead)
				last := tt.steps[len(tt.steps)-1]
				if calls := r.calls(); calls[len(calls)-1].Time.Sub(start) != last.want {
					t.Errorf("last call: %+v", calls[len(calls)-1])
				} else if at := r.at[len(r.at)-1].Sub(start); at != last.sent && last.sent > 0 {
					t.Errorf("last call at %s, want %s", at, last.sent)
				}
			})
		})
	}
}

// TestClockPutBack: what waits for a time that a wrong clock gave out would be
// given up before.
func TestClockPutBack(t *testing.T) {
	var ahead atomic.Int64
	ahead.Store(int64(365 * 24 * time.Hour))
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	with(t, Config{Now: now}, func(t *testing.T, r *rig) {
		first := r.put(score("a", "1"))
		r.want(first.ID, StateDelivered, "")
		ahead.Store(0)
		second := r.put(score("a", "2"))
		if want := first.Time.Add(step); !second.Time.Equal(want) {
			t.Errorf("time %s, want %s", second.Time, want)
		}
		r.want(second.ID, StateDelivered, "")
	})
}

func TestIdempotency(t *testing.T) {
	with(t, Config{}, func(t *testing.T, r *rig) {
		n := score("a", "1")
		n.Key = "k"
		var wg sync.WaitGroup
		ids := make([]string, 20)
		for i := range ids {
			wg.Go(func() { ids[i] = r.put(n).ID })
		}
		wg.Wait()
		for _, id := range ids {
			if id != ids[0] {
				t.Errorf("two entries for one key: %s, %s", id, ids[0])
			}
		}
		r.want(ids[0], StateDelivered, "")
		r.put(score("a", "2"))
		if e := r.put(n); e.ID != ids[0] || e.State != StateDelivered {
			t.Errorf("repeat gave %+v", e)
		}
		for name, change := range map[string]func(*New){
			"body":     func(n *New) { n.Body = []byte("3") },
			"lane":     func(n *New) { n.Lane = "b" },
			"platform": func(n *New) { n.Platform = "canvas" },
			"time":     func(n *New) { n.Time = time.Now().Add(time.Second) },
		} {
			o := n
			change(&o)
			if _, err := r.Put(t.Context(), o); !errors.Is(err, ErrKeyReused) {
				t.Errorf("another %s with the same key: %v", name, err)
			}
		}
		n.Owner = "somebody else"
		if e := r.put(n); e.ID == ids[0] {
			t.Error("a key was shared by two owners")
		}
		if n := len(r.calls()); n != 1 { // the others wait for their millisecond
			t.Errorf("%d calls", n)
		}
		// What was refused does not keep its key.
		n = score("a", "9")
		n.Key, n.Time = "k2", time.Now().Add(-time.Hour)
		if _, err := r.Put(t.Context(), n); !errors.Is(err, ErrOlder) {
			t.Errorf("Put: %v", err)
		}
		time.Sleep(time.Second)
		n.Time = time.Now()
		r.put(n)
	})
}

func TestWait(t *testing.T) {
	with(t, Config{}, func(t *testing.T, r *rig) {
		r.answer(func(context.Context, Entry) Result {
			time.Sleep(3 * time.Second)
			return Result{Outcome: Delivered}
		})
		start := time.Now()
		e := r.put(score("a", "1"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := r.Wait(ctx, e.ID); !errors.Is(err, context.DeadlineExceeded) || got.State != StateQueued {
			t.Errorf("Wait = %+v, %v", got, err)
		}
		if got, err := r.Wait(t.Context(), e.ID); err != nil || got.State != StateDelivered || time.Since(start) != 3*time.Second {
			t.Errorf("Wait = %+v, %v after %s", got, err, time.Since(start))
		}
		if _, err := r.Wait(t.Context(), strings.Repeat("0", idLen)); !errors.Is(err, ErrNotFound) {
			t.Errorf("Wait for nothing: %v", err)
		}
		if len(r.waiters) != 0 {
			t.Error("waiters are left")
		}
	})
}

func TestList(t *testing.T) {
	with(t, Config{}, func(t *testing.T, r *rig) {
		r.answer(func(_ context.Context, e Entry) Result {
			if e.Platform == "p2" {
				return Result{Outcome: Dead, Reason: "no"}
			}
			return Result{Outcome: Delivered}
		})
		var ids []string
		for i := range 50 {
			n := New{Platform: fmt.Sprint("p", i%3), Lane: fmt.Sprint(i), Group: fmt.Sprint("g", i%2), Body: []byte("1")}
			ids = append(ids, r.put(n).ID)
			time.Sleep(time.Millisecond)
		}
		r.SetSender(nil)
		last := r.put(New{Platform: "p0", Lane: "last", Group: "g0", Body: []byte("1")})
		for _, tt := range []struct {
			f    Filter
			want int
		}{
			{Filter{}, 51},
			{Filter{Group: "g0"}, 26},
			{Filter{Group: "none"}, 0},
			{Filter{Platform: "p2"}, 16},
			{Filter{State: StateDead}, 16},
			{Filter{State: StateQueued}, 1},
			{Filter{Group: "g1", Platform: "p2", State: StateDead}, 8},
		} {
			var got []string
			for after := ""; ; {
				page, next, err := r.List(t.Context(), tt.f, after, 4)
				if err != nil || len(page) > 4 {
					t.Fatalf("List = %d entries, %v", len(page), err)
				}
				for _, e := range page {
					got = append(got, e.ID)
				}
				if after = next; next == "" {
					break
				}
			}
			if len(got) != tt.want {
				t.Errorf("%+v: %d entries, want %d", tt.f, len(got), tt.want)
			}
			for i := 1; i < len(got); i++ {
				if got[i] <= got[i-1] {
					t.Errorf("%+v: out of order", tt.f)
				}
			}
		}
		page, _, err := r.List(t.Context(), Filter{}, "", 2)
		if err != nil || len(page) != 2 || page[0].ID != last.ID || page[1].ID != ids[49] {
			t.Errorf("the newest are not first: %+v, %v", page, err)
		}
		if _, _, err := r.List(t.Context(), Filter{}, "nonsense", 2); !errors.Is(err, ErrInvalid) {
			t.Errorf("List after nonsense: %v", err)
		}
	})
}

func TestRetry(t *testing.T) {
	with(t, Config{}, func(t *testing.T, r *rig) {
		r.answer(func(context.Context, Entry) Result { return Result{Outcome: Dead, Reason: "no"} })
		first := r.put(score("a", "1"))
		r.want(first.ID, StateDead, "no")
		time.Sleep(time.Second)
		second := r.put(score("a", "2"))
		r.want(second.ID, StateDead, "no")
		r.answer(nil)
		if e, err := r.Retry(t.Context(), first.ID); err != nil || e.State != StateQueued {
			t.Errorf("Retry = %+v, %v", e, err)
		}
		r.want(first.ID, StateDelivered, "")
		if _, err := r.Retry(t.Context(), first.ID); !errors.Is(err, ErrNotDead) {
			t.Errorf("Retry of a delivered one: %v", err)
		}
		if _, err := r.Retry(t.Context(), second.ID); err != nil {
			t.Errorf("Retry of the newer one: %v", err)
		}
		r.want(second.ID, StateDelivered, "")
		if _, err := r.Retry(t.Context(), strings.Repeat("0", idLen)); !errors.Is(err, ErrNotFound) {
			t.Errorf("Retry of nothing: %v", err)
		}

		r.answer(func(context.Context, Entry) Result { return Result{Outcome: Dead, Reason: "no"} })
		time.Sleep(time.Second)
		third := r.put(score("a", "3"))
		r.want(third.ID, StateDead, "no")
		r.SetSender(nil)
		time.Sleep(time.Second)
		r.put(score("a", "4"))
		if _, err := r.Retry(t.Context(), third.ID); !errors.Is(err, ErrOlder) {
			t.Errorf("Retry before a queued one: %v", err)
		}
		r.answer(nil)
		r.SetSender(r.sender)
		synctest.Wait()
		if _, err := r.Retry(t.Context(), third.ID); !errors.Is(err, ErrOlder) {
			t.Errorf("Retry before a delivered one: %v", err)
		}
		time.Sleep(keepDead - time.Minute)
		r.want(third.ID, StateDead, "no")
	})
}

func TestAgesWithoutSender(t *testing.T) {
	with(t, Config{MaxAge: time.Hour}, func(t *testing.T, r *rig) {
		r.SetSender(nil)
		e := r.put(score("a", "1"))
		time.Sleep(time.Hour - time.Minute)
		r.want(e.ID, StateQueued, "")
		time.Sleep(3 * time.Minute)
		r.want(e.ID, StateDead, "not delivered within 1h0m0s")
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory.New(memory.Options{})
		o := Open(st, Config{Alone: true})
		var cancelled atomic.Bool
		o.SetSender(func(ctx context.Context, e Entry) Result {
			select {
			case <-time.After(10 * time.Second):
				return Result{Outcome: Delivered}
			case <-ctx.Done():
				cancelled.Store(true)
				return Result{}
			}
		})
		n := score("a", "1")
		first, err := o.Put(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		n.Lane = "b"
		time.Sleep(5 * time.Second)
		second, err := o.Put(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		if err := o.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		synctest.Wait()
		if !cancelled.Load() {
			t.Error("the second call was not cancelled")
		}
		if _, err := o.Put(t.Context(), n); !errors.Is(err, ErrClosed) {
			t.Errorf("Put after Close: %v", err)
		}
		o = Open(st, Config{Alone: true})
		if e, err := o.Get(t.Context(), first.ID); err != nil || e.State != StateDelivered {
			t.Errorf("the first is %+v, %v", e, err)
		}
		o.SetSender(func(context.Context, Entry) Result { return Result{Outcome: Delivered} })
		synctest.Wait() // at once: the lease of the process before is void
		if e, err := o.Get(t.Context(), second.ID); err != nil || e.State != StateDelivered || e.Attempts != 2 {
			t.Errorf("the second is %+v, %v", e, err)
		}
		if err := o.Close(t.Context()); err != nil {
			t.Error(err)
		}
		st.Close()
	})
}
