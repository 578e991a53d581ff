package session

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// join makes a session of ann's that joins the family of previous.
func join(tb testing.TB, m *Manager, previous *Session, launch string) string {
	tb.Helper()
	return begin(tb, m, New{Site: site, Person: ann, Previous: previous}, launch)
}

func begin(tb testing.TB, m *Manager, n New, launch string) string {
	tb.Helper()
	n.Launch, n.Data = Launch{ID: launch, Path: "/" + launch}, []byte("1")
	id, err := m.Create(tb.Context(), n, limits)
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

func launches(s *Session) []string {
	var ids []string
	for _, m := range s.Members() {
		ids = append(ids, m.ID)
	}
	return ids
}

// The newest id finds the launches before it, and each of them its own session.
func TestMembers(t *testing.T) {
	st := newSpy(t)
	m := newManager(t, st)
	ids := []string{join(t, m, nil, "one")}
	first := find(t, m, ids[0]) // in memory before the others join
	ids = append(ids, join(t, m, first, "two"), join(t, m, first, "three"))
	want := []string{"one", "two", "three"}
	check := func(m *Manager) {
		t.Helper()
		for i, id := range ids {
			s := find(t, m, id)
			if got := launches(s); !slices.Equal(got, want) {
				t.Fatalf("%s has the launches %q", want[i], got)
			}
			for j, member := range s.Members() {
				other, err := m.Member(t.Context(), &member, limits)
				if err != nil || other.Launch().ID != want[j] || other.Launch().Path != "/"+want[j] {
					t.Errorf("member %s: %v, %v", want[j], other, err)
				}
				if s.Is(&member) != (i == j) {
					t.Errorf("%s takes itself for %s", want[i], want[j])
				}
			}
		}
	}
	check(m)
	check(newManager(t, st)) // after a restart
	if _, err := m.Member(t.Context(), &Member{Key: "sess:nonsense"}, limits); !errors.Is(err, ErrNotFound) {
		t.Errorf("a member that is none: %v", err)
	}
	// The end of one is the end of all.
	members := find(t, m, ids[1]).Members()
	if err := m.End(t.Context(), find(t, m, ids[1]), limits); err != nil {
		t.Fatal(err)
	}
	for _, member := range members {
		if s, err := m.Member(t.Context(), &member, limits); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s is there after the end: %v, %v", member.ID, s, err)
		}
	}
}

// A member goes on to its own limits.
func TestMemberExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, newSpy(t))
		old := find(t, m, join(t, m, nil, "old"))
		time.Sleep(limits.Idle * 3 / 4)
		young := join(t, m, old, "young")
		time.Sleep(limits.Idle / 2)
		members := find(t, m, young).Members()
		if len(members) != 2 {
			t.Fatalf("%d members", len(members))
		}
		if _, err := m.Member(t.Context(), &members[0], limits); !errors.Is(err, ErrNotFound) {
			t.Errorf("a member past its idle time: %v", err)
		}
		if _, err := m.Member(t.Context(), &members[1], limits); err != nil {
			t.Errorf("the young one: %v", err)
		}
	})
}

// Twenty launches at once, as of a page with twenty frames: none is lost.
func TestJoinAtOnce(t *testing.T) {
	m := newManager(t, newSpy(t))
	first := find(t, m, join(t, m, nil, "first"))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { join(t, m, first, fmt.Sprint(i)) })
	}
	wg.Wait()
	if got := launches(first); len(got) != 21 || len(slices.Compact(slices.Sorted(slices.Values(got)))) != 21 {
		t.Errorf("%d launches: %q", len(got), got)
	}
}

func TestFamilyIsBounded(t *testing.T) {
	m := newManager(t, newSpy(t))
	first := join(t, m, nil, "first")
	previous := find(t, newManager(t, m.store), first)
	for i := range maxMembers + 3 {
		join(t, m, previous, fmt.Sprint(i))
	}
	s := find(t, m, first)
	if got := launches(s); len(got) != maxMembers+1 || got[len(got)-1] != "first" {
		t.Errorf("the first has %d launches, and knows itself as %q", len(got), got[len(got)-1])
	}
	if got := launches(find(t, newManager(t, m.store), join(t, m, previous, "last"))); len(got) != maxMembers {
		t.Errorf("the last has %d launches", len(got))
	}
}

// Launches under way at the same time find to each other by the secrets that
// one of them has seen, in whatever order they end; nobody else finds to them.
func TestFamilyOfLaunchesAtOnce(t *testing.T) {
	// What each of the launches a, b, c has seen of the others.
	for _, seen := range []map[string]string{
		{"a": "", "b": "a", "c": "ab"},
		{"a": "b", "b": "", "c": "ab"},
		{"a": "c", "b": "a", "c": "b"},
		{"a": "bc", "b": "ac", "c": "ab"},
		{"a": "xc", "b": "ax", "c": "by"}, // and logins that come to nothing
	} {
		for _, order := range []string{"abc", "acb", "bac", "bca", "cab", "cba"} {
			m := newManager(t, newSpy(t))
			var last string
			for l := range strings.SplitSeq(order, "") {
				n := New{Site: site, Person: ann, Login: "secret " + l}
				for o := range strings.SplitSeq(seen[l], "") {
					n.Others = append(n.Others, "secret "+o)
				}
				last = begin(t, m, n, l)
			}
			if got := launches(find(t, m, last)); strings.Join(got, "") != order {
				t.Errorf("seen %v, in the order %s: the last has the family %q", seen, order, got)
			}
		}
	}
}

func TestNobodyElseInTheFamily(t *testing.T) {
	m := newManager(t, newSpy(t))
	a := find(t, m, begin(t, m, New{Site: site, Person: ann, Login: "one", Others: []string{"two"}}, "a"))
	for what, n := range map[string]New{
		"another login":  {Site: site, Person: ann, Login: "three"},
		"no secret":      {Site: site, Person: ann},
		"empty secrets":  {Site: site, Person: ann, Others: []string{""}},
		"another person": {Site: site, Person: bob, Login: "two", Others: []string{"one"}},
		"another site":   {Site: "other.example/lti", Person: ann, Login: "two", Others: []string{"one"}},
		"bob's previous": {Site: site, Person: bob, Previous: a},
	} {
		begin(t, m, n, what)
	}
	if got := launches(a); !slices.Equal(got, []string{"a"}) {
		t.Errorf("the family is %q", got)
	}
	// One that has ended is joined by nobody.
	if err := m.End(t.Context(), a, limits); err != nil {
		t.Fatal(err)
	}
	for _, n := range []New{
		{Site: site, Person: ann, Login: "one"},
		{Site: site, Person: ann, Login: "two"},
		{Site: site, Person: ann, Login: "four", Others: []string{"one", "two"}},
		{Site: site, Person: ann, Previous: a},
	} {
		if id := begin(t, m, n, "late"); !alive(t, m, id) {
			t.Errorf("%+v joined a family that had ended", n)
		}
	}
}

// An id tells whose it was, to those who know whom to ask about.
func TestIsOf(t *testing.T) {
	m := newManager(t, newSpy(t))
	id, mark := create(t, m, ann, nil), Mark(site, ann)
	if _, err := m.Find(t.Context(), site, mark, limits); !errors.Is(err, ErrNotFound) {
		t.Errorf("a mark lets in: %v", err)
	}
	for _, c := range []struct {
		site, id, person string
		want             bool
	}{
		{site, mark, ann, true},
		{site, mark, bob, false},
		{"other.example/lti", mark, ann, false},
		{site, id, ann, true},
		{site, id, bob, false},
		{"other.example/lti", id, ann, false},
		{site, "", ann, false},
		{site, id[:len(id)-1], ann, false},
		{site, id + "A", ann, false},
		{site, "B" + id[1:], ann, false},
	} {
		if got := IsOf(c.site, c.id, c.person); got != c.want {
			t.Errorf("IsOf(%q, %q, %q) = %v", c.site, c.id, c.person, got)
		}
	}
}
