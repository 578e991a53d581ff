package caddylti

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/store"
	"github.com/caddy-lti/lti/store/memory"
)

// failingStore is a store that can be away for a while.
type failingStore struct {
	store.Store
	away  atomic.Bool
	asked func() // if it is not nil, called once when it is away
}

var errAway = errors.New("the store is away")

func (s *failingStore) Get(ctx context.Context, key string) ([]byte, error) {
	if s.away.Load() {
		if f := s.asked; f != nil {
			s.asked = nil
			f()
		}
		return nil, errAway
	}
	return s.Store.Get(ctx, key)
}

// sentScores is what came of visits.
type sentScores struct {
	mu   sync.Mutex
	list []string
}

func (s *sentScores) send(_ context.Context, d *destination, score ags.Score, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, fmt.Sprintf("%s %g/%g %s", d.User, *score.ScoreGiven, *score.ScoreMaximum, score.ActivityProgress))
	return nil
}

func (s *sentScores) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &failingStore{Store: memory.New(memory.Options{})}
		defer st.Close()
		var (
			sent   sentScores
			warned atomic.Int64
		)
		p := newProgress(st, sent.send, func(string, error) { warned.Add(1) })
		pages := []string{"a", "b", "c", "d"}
		linked := destination{course: course{Platform: "lms", Deployment: "1"}, User: "maeve", Link: "link-1"}
		visited := func(d destination, page string) {
			t.Helper()
			if err := p.visited(t.Context(), note{to: d, of: pages}, page); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		expect := func(what string, want ...string) {
			t.Helper()
			if got := sent.all(); !slices.Equal(got, want) {
				t.Fatalf("%s: sent %q, expected %q", what, got, want)
			}
		}
		visited(linked, "a")
		expect("the first page", "maeve 1/4 InProgress")
		visited(linked, "a")
		expect("the same page", "maeve 1/4 InProgress")

		// The line item that was made for the first score is in the next launch:
		// what was visited stays visited.
		item := linked
		item.LineItem = "https://lms.example/items/1"
		visited(item, "b")
		expect("with a line item", "maeve 1/4 InProgress", "maeve 2/4 InProgress")

		// A store that is away loses nothing.
		st.asked = func() { // another page, while the one before is being written
			if err := p.visited(t.Context(), note{to: item, of: pages}, "d"); err != nil {
				t.Error(err)
			}
		}
		st.away.Store(true)
		visited(item, "c")
		expect("without a store", "maeve 1/4 InProgress", "maeve 2/4 InProgress")
		if warned.Load() == 0 {
			t.Error("nobody was told")
		}
		st.away.Store(false)
		// The worker that failed pauses; another one may be first.
		if err := p.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := sent.all(); got[len(got)-1] != "maeve 4/4 " {
			t.Errorf("at last: %q", got)
		}
	})
}

// What another source sent is the floor for shares, also when it comes in
// between.
func TestProgressNeverLowers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory.New(memory.Options{})
		defer st.Close()
		var sent sentScores
		p := newProgress(st, sent.send, func(_ string, err error) { t.Error(err) })
		d := destination{User: "zoe", LineItem: "https://lms.example/items/1"}
		pages := []string{"a", "b", "c", "d"}
		visited := func(page string) {
			t.Helper()
			if err := p.visited(t.Context(), note{to: d, of: pages}, page); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		other := func(given, maximum float64, err error) error {
			return p.sent(t.Context(), &d, &ags.Score{ScoreGiven: &given, ScoreMaximum: &maximum}, func() error { return err })
		}
		if err := other(10, 10, errAway); !errors.Is(err, errAway) {
			t.Error("a score that was not sent is told as sent")
		}
		visited("a") // 1/4: the score above was none
		if err := other(6, 10, nil); err != nil {
			t.Fatal(err)
		}
		visited("b")                               // 2/4
		visited("c")                               // 3/4, more than 6/10
		if err := other(20, 10, nil); err != nil { // more than all
			t.Fatal(err)
		}
		visited("d")
		if got, want := sent.all(), []string{"zoe 1/4 InProgress", "zoe 3/4 InProgress"}; !slices.Equal(got, want) {
			t.Errorf("sent %q, expected %q", got, want)
		}
		if err := p.close(t.Context()); err != nil {
			t.Error(err)
		}
		// After the end, the request does the work.
		one := note{to: destination{User: "robin", LineItem: "x"}, of: pages}
		if err := p.visited(t.Context(), one, "a"); err != nil || !slices.Contains(sent.all(), "robin 1/4 InProgress") {
			t.Errorf("%v, sent %q", err, sent.all())
		}
	})
}

// One cell is one, whoever names it by what: an old session by its activity, a
// new one with the line item that was made since, a program by that alone.
func TestProgressOfOneCell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory.New(memory.Options{})
		defer st.Close()
		var sent sentScores
		p := newProgress(st, sent.send, func(_ string, err error) { t.Error(err) })
		old := destination{User: "zoe", Link: "link-1"}
		launched := old
		launched.LineItem = "https://lms.example/items/1"
		program := launched
		program.Link = ""
		pages := []string{"a", "b", "c", "d"}
		visited := func(d destination, page string) {
			t.Helper()
			if err := p.visited(t.Context(), note{to: d, of: pages}, page); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		score := func(d destination, given float64) {
			t.Helper()
			maximum := 10.
			if err := p.sent(t.Context(), &d, &ags.Score{ScoreGiven: &given, ScoreMaximum: &maximum}, func() error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		visited(old, "a")      // 1/4
		score(launched, 1)     // 1/10, and what was visited stays
		visited(launched, "b") // 2/4
		score(program, 9)      // 9/10
		visited(old, "c")      // 3/4 is less
		score(program, 1)      // 1/10
		visited(launched, "d") // 4/4
		want := []string{"zoe 1/4 InProgress", "zoe 2/4 InProgress", "zoe 4/4 "}
		if got := sent.all(); !slices.Equal(got, want) {
			t.Errorf("sent %q, expected %q", got, want)
		}
		if err := p.close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Many at once: nothing is lost, and each learner's last score is the whole.
func TestProgressOfAClass(t *testing.T) {
	st := memory.New(memory.Options{})
	defer st.Close()
	var sent sentScores
	p := newProgress(st, sent.send, func(_ string, err error) { t.Error(err) })
	const learners, count = 50, 20
	pages := make([]string, count)
	for i := range pages {
		pages[i] = fmt.Sprint(i)
	}
	var wg sync.WaitGroup
	for l := range learners {
		for i := range count {
			wg.Go(func() {
				n := note{to: destination{User: fmt.Sprint("u", l), LineItem: "x"}, of: pages}
				if err := p.visited(context.Background(), n, pages[i]); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if err := p.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := make(map[string]string)
	for _, s := range sent.all() {
		var user, score string
		if _, err := fmt.Sscan(s, &user, &score); err != nil {
			t.Fatal(s, err)
		}
		last[user] = score
	}
	for l := range learners {
		if got := last[fmt.Sprint("u", l)]; got != "20/20" {
			t.Errorf("learner %d ends with %s", l, got)
		}
	}
}

// A burst is all right, more only as time goes by.
func TestPace(t *testing.T) {
	var p pace
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range reportBurst {
		if wait := p.take(now); wait != 0 {
			t.Fatalf("number %d has to wait %s", i, wait)
		}
	}
	if wait := p.take(now); wait <= 0 || wait > reportEvery {
		t.Fatalf("one more has to wait %s", wait)
	}
	now = now.Add(reportEvery)
	if wait := p.take(now); wait != 0 {
		t.Errorf("after %s it still has to wait %s", reportEvery, wait)
	}
	if wait := p.take(now); wait == 0 {
		t.Error("two at once after one pause")
	}
}
