package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-lti/lti/store/memory"
)

func TestReplaces(t *testing.T) {
	with(t, Config{}, func(t *testing.T, r *rig) {
		r.SetSender(nil)
		var all []Entry
		for i := range 40 {
			all = append(all, r.put(score("a", fmt.Sprint(i))))
		}
		other := r.put(score("b", "1"))
		time.Sleep(time.Minute)
		r.want(other.ID, StateQueued, "")
		r.SetSender(r.sender)
		for _, e := range all[:39] {
			r.want(e.ID, StateReplaced, "newer")
		}
		r.want(all[39].ID, StateDelivered, "")
		if n := len(r.calls()); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
	})
}

func TestNewerWaitsForCallUnderWay(t *testing.T) {
	for _, tt := range []struct {
		res  Result
		want State
	}{
		{Result{Outcome: Delivered}, StateDelivered},
		{Result{Outcome: Retry, Reason: "503"}, StateReplaced},
		{Result{Outcome: Dead, Reason: "no"}, StateDead},
		{Result{Outcome: Skipped}, StateSkipped},
		{Result{Outcome: Superseded}, StateReplaced},
	} {
		with(t, Config{}, func(t *testing.T, r *rig) {
			r.answer(func(ctx context.Context, e Entry) Result {
				time.Sleep(5 * time.Second)
				if string(e.Body) == "1" {
					return tt.res
				}
				return Result{Outcome: Delivered}
			})
			first := r.put(score("a", "1"))
			time.Sleep(time.Second)
			second, third := r.put(score("a", "2")), r.put(score("a", "3"))
			r.want(first.ID, StateQueued, "")
			r.want(second.ID, StateReplaced, "")
			time.Sleep(3 * time.Second)
			if n := len(r.calls()); n != 1 {
				t.Errorf("%d calls while one is under way", n)
			}
			time.Sleep(10 * time.Second)
			r.want(first.ID, tt.want, tt.res.Reason[:0])
			r.want(third.ID, StateDelivered, "")
		})
	}
}

func TestRetryAfterAndBackoff(t *testing.T) {
	with(t, Config{}, func(t *testing.T, r *rig) {
		r.answer(func(context.Context, Entry) Result { return Result{Outcome: Retry, Reason: "429", After: time.Hour} })
		e := r.put(score("a", "1"))
		r.want(e.ID, StateQueued, "429")
		r.answer(func(context.Context, Entry) Result { return Result{Reason: "503"} })
		time.Sleep(time.Hour - time.Second)
		if n := len(r.calls()); n != 1 {
			t.Errorf("%d calls within Retry-After", n)
		}
		time.Sleep(20 * time.Second)
		r.want(e.ID, StateQueued, "503")
		time.Sleep(24 * time.Hour)
		n := len(r.calls())
		if n < 24*60/6 || n > 24*60/2 { // the platform is down, and probed at least each 5 minutes
			t.Errorf("%d calls in a day", n)
		}
		r.mu.Lock()
		for i := 1; i < len(r.at); i++ {
			if d := r.at[i].Sub(r.at[i-1]); d < minBackoff || i > 1 && d > maxBackoff+maxPause {
				t.Errorf("call %d came %s after the one before", i, d)
			}
		}
		r.mu.Unlock()
		time.Sleep(6 * 24 * time.Hour)
		r.want(e.ID, StateDead, "not delivered within 168h0m0s: 503")
		// Called back, it goes with the time it had.
		r.answer(nil)
		again, err := r.Retry(t.Context(), e.ID)
		if err != nil || !again.Time.Equal(e.Time) {
			t.Fatalf("Retry = %+v, %v", again, err)
		}
		time.Sleep(maxPause + maxBackoff)
		r.want(e.ID, StateDelivered, "")
	})
}

// TestBackoffOfOne is of an entry that fails at a platform which answers others.
func TestBackoffOfOne(t *testing.T) {
	with(t, Config{}, func(t *testing.T, r *rig) {
		bad := 0
		r.answer(func(_ context.Context, e Entry) Result {
			if e.Lane != "bad" {
				return Result{Outcome: Delivered}
			}
			bad++
			return Result{Reason: "500"}
		})
		r.put(score("bad", "1"))
		for range 24 * 60 * 6 {
			time.Sleep(10 * time.Second)
			r.put(score("good", "1"))
		}
		synctest.Wait()
		if bad < 24*4 || bad > 24*4*4 { // 15 minutes at most, half of it on the average
			t.Errorf("%d calls in a day", bad)
		}
	})
}

func TestSupersededAfterLostAnswer(t *testing.T) {
	with(t, Config{}, func(t *testing.T, r *rig) {
		r.answer(func(_ context.Context, e Entry) Result {
			if e.Attempts == 1 && string(e.Body) == "1" {
				return Result{Outcome: Retry, Reason: "timeout"}
			}
			return Result{Outcome: Superseded, Reason: "409"}
		})
		e, f := r.put(score("a", "1")), r.put(score("b", "2"))
		r.want(f.ID, StateReplaced, "409")
		time.Sleep(time.Minute)
		r.want(e.ID, StateDelivered, "an earlier attempt seems to have arrived: 409")
	})
}

func TestPanicAndTimeout(t *testing.T) {
	with(t, Config{}, func(t *testing.T, r *rig) {
		r.answer(func(context.Context, Entry) Result { panic("oh no") })
		e := r.put(score("a", "1"))
		r.want(e.ID, StateQueued, "oh no")
		r.answer(func(ctx context.Context, _ Entry) Result {
			<-ctx.Done()
			return Result{Reason: ctx.Err().Error()}
		})
		f := r.put(score("b", "1"))
		time.Sleep(29 * time.Second)
		r.want(f.ID, StateQueued, "")
		time.Sleep(2 * time.Second)
		r.want(f.ID, StateQueued, "deadline")
	})
}

func TestBreaker(t *testing.T) {
	with(t, Config{}, func(t *testing.T, r *rig) {
		down := true
		r.answer(func(ctx context.Context, e Entry) Result {
			r.mu.Lock()
			isDown := down && e.Platform == "moodle"
			r.mu.Unlock()
			if !isDown {
				return Result{Outcome: Delivered}
			}
			<-ctx.Done()
			return Result{Reason: "no answer"}
		})
		var ids []string
		for i := range 200 {
			ids = append(ids, r.put(score(fmt.Sprint(i), "1")).ID)
		}
		time.Sleep(2 * time.Minute)
		if !r.Stats()["moodle"].Down {
			t.Error("the breaker is closed")
		}
		before := len(r.calls())
		if before > 12 {
			t.Errorf("%d calls to a platform that is down", before)
		}
		// Others are not delayed.
		n := score("x", "1")
		n.Platform = "canvas"
		r.want(r.put(n).ID, StateDelivered, "")
		time.Sleep(time.Hour)
		if n := len(r.calls()) - before; n < 10 || n > 25 {
			t.Errorf("%d probes in an hour", n)
		}
		r.mu.Lock()
		down = false
		r.mu.Unlock()
		time.Sleep(maxPause + time.Minute)
		for _, id := range ids {
			r.want(id, StateDelivered, "")
		}
		s := r.Stats()["moodle"]
		if s.Down || s.Queued != 0 || s.Sending != 0 || s.Final[StateDelivered] != 200 {
			t.Errorf("Stats = %+v", s)
		}
	})
}

func TestDeadPlatformsLeaveRoom(t *testing.T) {
	with(t, Config{Total: 8}, func(t *testing.T, r *rig) {
		r.answer(func(ctx context.Context, e Entry) Result {
			if e.Platform == "alive" {
				return Result{Outcome: Delivered}
			}
			<-ctx.Done()
			return Result{}
		})
		for p := range 100 {
			for lane := range 2 {
				n := score(fmt.Sprint(lane), "1")
				n.Platform = fmt.Sprint("dead", p)
				r.put(n)
			}
		}
		time.Sleep(4 * time.Hour)
		for i := range 100 {
			n := score(fmt.Sprint(i), "1")
			n.Platform = "alive"
			r.want(r.put(n).ID, StateDelivered, "")
			time.Sleep(time.Second)
		}
	})
}

func TestCeilings(t *testing.T) {
	with(t, Config{PerPlatform: 3, Total: 5}, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		under, most, total, mostTotal := map[string]int{}, 0, 0, 0
		r.answer(func(_ context.Context, e Entry) Result {
			mu.Lock()
			under[e.Platform]++
			total++
			most, mostTotal = max(most, under[e.Platform]), max(mostTotal, total)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			under[e.Platform]--
			total--
			mu.Unlock()
			return Result{Outcome: Delivered}
		})
		for i := range 60 {
			n := score(fmt.Sprint(i), "1")
			n.Platform = fmt.Sprint(i % 3)
			r.put(n)
		}
		time.Sleep(20 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if most != 3 || mostTotal != 5 {
			t.Errorf("%d calls to one platform, %d in all; want 3, 5", most, mostTotal)
		}
		if n := len(r.calls()); n != 60 {
			t.Errorf("%d calls", n)
		}
	})
}

// TestMany also bounds the memory: what waits is not held with its content.
func TestMany(t *testing.T) {
	st := memory.New(memory.Options{})
	defer st.Close()
	const many = 10_000
	body := json.RawMessage(`"` + strings.Repeat("x", 2000) + `"`)
	o := Open(st, Config{Alone: true})
	for i := range many {
		n := New{Platform: fmt.Sprint("p", i%50), Lane: fmt.Sprint(i), Group: "g", Body: body}
		if _, err := o.Put(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	o = Open(st, Config{Alone: true}) // the one before is garbage
	start := time.Now()
	for queued := 0; queued < many; {
		queued = 0
		for _, s := range o.Stats() {
			queued += s.Queued
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("%d of %d entries found", queued, many)
		}
		runtime.Gosched()
	}
	t.Logf("found within %s", time.Since(start))
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > many*1000 {
		t.Errorf("%d bytes for an entry that waits", grown/many)
	} else {
		t.Logf("%d bytes for an entry that waits", grown/many)
	}
	start = time.Now()
	var sent atomic.Int64
	done := make(chan struct{})
	o.SetSender(func(context.Context, Entry) Result {
		if sent.Add(1) == many {
			close(done)
		}
		return Result{Outcome: Delivered}
	})
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("%d of %d entries sent", sent.Load(), many)
	}
	if err := o.Close(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("sent within %s", time.Since(start))
}
