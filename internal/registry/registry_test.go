package registry

import (
	"errors"
	"fmt"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/caddy-lti/lti/store/memory"
)

func open(t *testing.T) *Registry {
	t.Helper()
	s := memory.New(memory.Options{})
	t.Cleanup(func() { s.Close() })
	return Open(s)
}

func registration() *Registration {
	return &Registration{
		Site: "https://tool.example.edu/lti", Name: "moodle-1", State: Active, Rule: DeploymentFirst,
		Issuer: "https://moodle.example.edu", ClientID: "abc", AuthURL: "https://moodle.example.edu/auth",
		TokenURL: "https://moodle.example.edu/token", JWKSURL: "https://moodle.example.edu/jwks",
		Created: time.Unix(1000, 0), Updated: time.Unix(1000, 0),
	}
}

func anyone(string) bool { return true }

func TestNameOf(t *testing.T) {
	name := regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	never := func(string) bool { return false }
	for _, tt := range []struct{ issuer, want string }{
		{"https://moodle.example.edu", `^moodle-example-edu-[0-9a-f]{6}$`},
		{"https://MOODLE.example.edu:8443/lms", `^moodle-example-edu-[0-9a-f]{6}$`},
		{"https://a-very-long-name-of-a-school.example.edu", `^a-very-long-name-of-a-sch-[0-9a-f]{6}$`},
		{"https://[2001:db8::1]", `^2001-db8--1-[0-9a-f]{6}$`},
		{"https://münchen.example", `^m-nchen-example-[0-9a-f]{6}$`},
		{"", `^[0-9a-f]{6}$`},
	} {
		got := NameOf(tt.issuer, "client", never)
		if !regexp.MustCompile(tt.want).MatchString(got) || !name.MatchString(got) {
			t.Errorf("%q: %q", tt.issuer, got)
		}
	}
	first := NameOf("https://moodle.example.edu", "a", never)
	if other := NameOf("https://moodle.example.edu", "b", never); other == first {
		t.Errorf("two client ids are both %s", first)
	}
	second := NameOf("https://moodle.example.edu", "a", func(s string) bool { return s == first })
	if second == first || !name.MatchString(second) {
		t.Errorf("a name that is taken becomes %q", second)
	}
	if got := NameOf("https://moodle.example.edu", "a", func(string) bool { return true }); !name.MatchString(got) {
		t.Errorf("where all are taken: %q", got)
	}
}

func TestSaveUpdates(t *testing.T) {
	g, ctx := open(t), t.Context()
	before, _ := g.Generation(ctx)
	r := registration()
	if updated, err := g.Save(ctx, r); updated || err != nil || r.ID == "" {
		t.Fatal(updated, err)
	}
	after, _ := g.Generation(ctx)
	if before == after {
		t.Error("the generation is the same")
	}
	if _, err := g.Learn(ctx, r.ID, "7"); err != nil {
		t.Fatal(err)
	}
	again := registration()
	again.Name, again.State, again.Created, again.Version, again.Deployments = "other", Pending, time.Unix(2000, 0), "5", []string{"8"}
	if updated, err := g.Save(ctx, again); !updated || err != nil {
		t.Fatal(updated, err)
	}
	all, err := g.List(ctx)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d registrations, %v", len(all), err)
	}
	if got := all[0]; got.Name != "moodle-1" || got.State != Active || !got.Created.Equal(time.Unix(1000, 0)) || got.Version != "5" || fmt.Sprint(got.Deployments) != "[7 8]" {
		t.Errorf("%+v", got)
	}
	// With other endpoints it is approved anew.
	again = registration()
	again.State, again.JWKSURL = Pending, "https://moodle.example.edu/other"
	if _, err := g.Save(ctx, again); err != nil || again.State != Pending {
		t.Errorf("%+v, %v", again, err)
	}
	// Another client id is another registration.
	another := registration()
	another.ClientID = "xyz"
	if updated, err := g.Save(ctx, another); updated || err != nil || another.ID == r.ID {
		t.Errorf("%+v, %v", another, err)
	}
	if err := g.Remove(ctx, r.ID); err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(ctx, r.ID); !errors.Is(err, ErrUnknown) {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := g.Change(ctx, r.ID, func(*Registration) bool { return true }); !errors.Is(err, ErrUnknown) {
		t.Errorf("changed when gone: %v", err)
	}
	if all, err := g.List(ctx); err != nil || len(all) != 1 || all[0].ClientID != "xyz" {
		t.Errorf("%v, %v", all, err)
	}
}

// Of deployments that launch at once, one is the first, and all hear of it.
func TestLearnOnce(t *testing.T) {
	g, ctx := open(t), t.Context()
	r := registration()
	if _, err := g.Save(ctx, r); err != nil {
		t.Fatal(err)
	}
	heard := make([]string, 20)
	var wg sync.WaitGroup
	for i := range heard {
		wg.Go(func() {
			if r, err := g.Learn(ctx, r.ID, fmt.Sprint("d", i)); err == nil {
				heard[i] = fmt.Sprint(r.Deployments)
			}
		})
	}
	wg.Wait()
	for _, h := range heard {
		if h == "" || h != heard[0] {
			t.Fatalf("%q", heard)
		}
	}
}

func TestInvites(t *testing.T) {
	g, ctx, now := open(t), t.Context(), time.Now()
	site := "https://tool.example.edu/lti"
	invite := func(reusable bool) string {
		t.Helper()
		secret, err := g.Invite(ctx, &Invite{Label: "Law", Site: site, Reusable: reusable, Expires: now.Add(time.Hour)}, now)
		if err != nil || len(secret) != 43 {
			t.Fatal(secret, err)
		}
		return secret
	}
	take := func(secret string, want error) *Taken {
		t.Helper()
		taken, err := g.Take(ctx, secret, anyone, now)
		if !errors.Is(err, want) || (err == nil) != (taken != nil) {
			t.Fatalf("%v, want %v", err, want)
		}
		return taken
	}
	once := invite(false)
	taken := take(once, nil)
	if taken.Label() != "Law" {
		t.Errorf("label %q", taken.Label())
	}
	take(once, ErrInviteBusy)
	if err := taken.GiveBack(ctx, now); err != nil {
		t.Fatal(err)
	}
	// A crash takes it for a while.
	take(once, nil)
	now = now.Add(busyTime)
	taken = take(once, nil)
	if err := taken.Used(ctx, now); err != nil {
		t.Fatal(err)
	}
	take(once, ErrInviteUsed)

	often := invite(true)
	first, second := take(often, nil), take(often, nil)
	for _, taken := range []*Taken{first, second} {
		if err := taken.Used(ctx, now); err != nil {
			t.Fatal(err)
		}
	}
	all, err := g.Invites(ctx)
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	uses := 0
	for _, i := range all {
		uses += i.Uses
	}
	if uses != 3 {
		t.Errorf("%d uses", uses)
	}

	take(once[1:]+"A", ErrInvite)
	take("", ErrInvite)
	if _, err := g.Take(ctx, often, func(s string) bool { return s != site }, now); !errors.Is(err, ErrInvite) {
		t.Errorf("at another site: %v", err)
	}
	now = now.Add(2 * time.Hour)
	take(often, ErrInviteExpired)
	for _, i := range all {
		if err := g.Withdraw(ctx, i.ID); err != nil {
			t.Fatal(err)
		}
	}
	take(often, ErrInvite)
	if err := g.Withdraw(ctx, all[0].ID); !errors.Is(err, ErrUnknown) {
		t.Errorf("withdrawn twice: %v", err)
	}
}

// Of many that come at once with an invite for one, one gets in.
func TestInviteOnce(t *testing.T) {
	g, ctx, now := open(t), t.Context(), time.Now()
	secret, err := g.Invite(ctx, &Invite{Expires: now.Add(time.Hour)}, now)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	got := 0
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := g.Take(ctx, secret, anyone, now); err == nil {
				mu.Lock()
				got++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if got != 1 {
		t.Errorf("%d got in", got)
	}
}
