package inspect

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-lti/lti/store/memory"
)

func TestInspection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory.New(memory.Options{})
		defer st.Close()
		n := Open(st)
		ctx := t.Context()
		waiting := func() []Waiting {
			t.Helper()
			list, err := n.Waiting(ctx, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		if got := waiting(); len(got) != 0 {
			t.Fatalf("nobody asked: %v", got)
		}
		first, _, err := n.Ask(ctx, "https://tool.example/lti", "moodle", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		second, _, err := n.Ask(ctx, "https://tool.example/lti", "", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if first == second || len(first) < 43 {
			t.Errorf("secrets %q, %q", first, second)
		}
		list := waiting()
		if len(list) != 2 || list[0].Platform != "moodle" || list[1].Platform != "" {
			t.Fatalf("waiting: %v", list)
		}
		id := list[0].ID
		if strings.Contains(first, id) {
			t.Error("the id is a part of the secret")
		}
		// Many at once change it: none is lost.
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := n.Change(ctx, id, time.Now(), func(i *Inspection) bool {
					i.Seen.Steps = append(i.Seen.Steps, Step{Name: "x"})
					return true
				}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if err := n.Change(ctx, id, time.Now(), func(i *Inspection) bool { i.Done = true; return false }); err != nil {
			t.Fatal(err)
		}
		if i, err := n.Look(ctx, first); err != nil || len(i.Seen.Steps) != 20 || i.Done {
			t.Fatalf("%v %v", i, err)
		}
		// Done, it waits no longer and does not change any more.
		for range 2 {
			if err := n.Change(ctx, id, time.Now(), func(i *Inspection) bool { i.Done, i.Run = true, i.Run+"r"; return true }); err != nil {
				t.Fatal(err)
			}
		}
		if i, err := n.Look(ctx, first); err != nil || i.Run != "r" {
			t.Errorf("%v %v", i, err)
		}
		if list := waiting(); len(list) != 1 || list[0].Platform != "" {
			t.Errorf("waiting: %v", list)
		}
		for _, secret := range []string{"", "x", id} {
			if _, err := n.Look(ctx, secret); !errors.Is(err, ErrUnknown) {
				t.Errorf("%q: %v", secret, err)
			}
		}
		// So much that it cannot be kept: the token goes, the rest stays.
		big := list[1].ID
		if err := n.Change(ctx, big, time.Now(), func(i *Inspection) bool {
			i.Run, i.Seen.Token = "big", strings.Repeat("x", 1<<20)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if i, err := n.Look(ctx, second); err != nil || i.Run != "big" || len(i.Seen.Token) > 100 {
			t.Errorf("%v %v", i, err)
		}

		time.Sleep(Lifetime)
		if list := waiting(); len(list) != 0 {
			t.Errorf("after an hour: %v", list)
		}
		if _, err := n.Look(ctx, first); !errors.Is(err, ErrUnknown) {
			t.Errorf("after an hour: %v", err)
		}
		if err := n.Change(ctx, id, time.Now(), func(*Inspection) bool { return true }); !errors.Is(err, ErrUnknown) {
			t.Errorf("after an hour: %v", err)
		}
		for range MaxWaiting {
			if _, _, err := n.Ask(ctx, "s", "", time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := n.Ask(ctx, "s", "", time.Now()); !errors.Is(err, ErrTooMany) {
			t.Errorf("one more: %v", err)
		}
		time.Sleep(Lifetime)
		if _, _, err := n.Ask(ctx, "s", "", time.Now()); err != nil {
			t.Errorf("after an hour: %v", err)
		}
	})
}
