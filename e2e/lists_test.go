package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// ltiDoes runs caddy lti and returns what it printed.
func (c *caddy) ltiDoes(tb testing.TB, args ...string) string {
	tb.Helper()
	out, err := c.lti(args...)
	if err != nil {
		tb.Fatalf("caddy lti %v: %v\n%s", args, err, out)
	}
	return out
}

// ltiFails runs caddy lti where it has to say that it cannot.
func (c *caddy) ltiFails(tb testing.TB, says string, args ...string) {
	tb.Helper()
	if out, err := c.lti(args...); err == nil || !strings.Contains(out, says) {
		tb.Errorf("caddy lti %v: %v, want %q in\n%s", args, err, says, out)
	}
}

// The administrator sees which scores failed and why, mends that, and sends them.
func TestOutboxByCommand(t *testing.T) {
	s := newGradedSite(t, "", "")
	first := s.open(newBrowser(t), "u-2001", "c-31", "quiz-one")
	second := s.open(newBrowser(t), "u-2002", "c-31", "quiz-one")
	score := func(token, body string) string {
		t.Helper()
		return s.call(t, token, "POST", "scores?wait=20s", body).json(t)["id"].(string)
	}
	done := score(first, `{"scoreGiven": 1, "scoreMaximum": 10, "comment": "well tried"}`)
	s.fault(t, "scores", "redirect")
	older := score(second, `{"scoreGiven": 3, "scoreMaximum": 10}`)
	newer := score(second, `{"scoreGiven": 4, "scoreMaximum": 10}`)
	third := score(first, `{"scoreGiven": 5, "scoreMaximum": 10}`)

	list := s.ltiDoes(t, "outbox", "list")
	for _, want := range []string{done, "delivered", third, "dead", "demo", "u-2001", "5 / 10"} {
		if !strings.Contains(list, want) {
			t.Errorf("outbox list has no %s:\n%s", want, list)
		}
	}
	if strings.Contains(list, "well tried") || strings.Contains(list, "Maeve") {
		t.Errorf("outbox list says too much:\n%s", list)
	}
	dead := s.ltiDoes(t, "outbox", "list", "--state", "dead", "--platform", "demo")
	if strings.Contains(dead, done) || !strings.Contains(dead, third) || !strings.Contains(dead, newer) {
		t.Errorf("the dead ones:\n%s", dead)
	}
	if out := s.ltiDoes(t, "outbox", "list", "--platform", "another"); strings.Contains(out, "demo") {
		t.Errorf("of another platform:\n%s", out)
	}
	if out := s.ltiDoes(t, "outbox", "list", "--limit", "2"); strings.Count(out, "\n") != 3 {
		t.Errorf("two of them:\n%s", out)
	}
	var page struct {
		Scores []struct{ ID, State, Reason string }
		Next   string
	}
	if err := json.Unmarshal([]byte(s.ltiDoes(t, "outbox", "list", "--json", "--limit", "1")), &page); err != nil || len(page.Scores) != 1 || page.Scores[0].ID != third || page.Next == "" {
		t.Errorf("as JSON: %+v %v", page, err)
	}

	s.fault(t, "reset", "faults")
	s.ltiFails(t, "nothing to send again", "outbox", "retry", done)
	s.ltiFails(t, "no score", "outbox", "retry", "nonsense")
	s.ltiFails(t, "say which", "outbox", "retry")
	s.ltiFails(t, "expected one of", "outbox", "list", "--state", "lost")
	s.ltiFails(t, "expected 1 to", "outbox", "list", "--json", "--limit", "5000")
	// The newer one goes out, and the older one does not come after it.
	if out := s.ltiDoes(t, "outbox", "retry", newer); !strings.Contains(out, "1 of 1 will be sent again") {
		t.Errorf("retry: %s", out)
	}
	until(t, "the score to arrive", func() bool { return strings.Contains(s.ltiDoes(t, "outbox", "list", "--state", "delivered"), newer) })
	s.ltiFails(t, "newer one", "outbox", "retry", older)
	if out, _ := s.lti("outbox", "retry", "--all"); !strings.Contains(out, "1 of 2 will be sent again") {
		t.Errorf("retry --all: %s", out)
	}
	until(t, "the score to arrive", func() bool { return strings.Contains(s.ltiDoes(t, "outbox", "list", "--state", "delivered"), third) })
	_, grades := s.gradebook(t)
	points := make(map[string]float64)
	for _, g := range grades {
		points[g.UserID] = *g.ResultScore
	}
	if points["u-2001"] != 50 || points["u-2002"] != 40 {
		t.Errorf("the gradebook has %v", points)
	}
}

// The administrator sees who is there, and ends visits.
func TestSessionsByCommand(t *testing.T) {
	site := startTool(t, "", echo)
	in := func(b *browser) bool { return b.get(site.url("/")).StatusCode == http.StatusOK }
	ann, bob, cem := newBrowser(t), newBrowser(t), newBrowser(t)
	for b, sub := range map[*browser]string{ann: "ann", bob: "bob", cem: "cem"} {
		site.mustLaunch(b, map[string]any{"sub": sub, "name": "Full Name"})
	}
	list := site.ltiDoes(t, "sessions", "list")
	if strings.Count(list, "\n") != 4 || !strings.Contains(list, "ann@lms") || strings.Contains(list, "Full Name") {
		t.Errorf("sessions list:\n%s", list)
	}
	idOf := func(user string) string {
		t.Helper()
		var all []struct{ ID, User string }
		if err := json.Unmarshal([]byte(site.ltiDoes(t, "sessions", "list", "--json", "--user", user)), &all); err != nil || len(all) != 1 {
			t.Fatalf("%s: %v %v", user, all, err)
		}
		return all[0].ID
	}
	// What names a session opens nothing.
	stranger := newBrowser(t)
	stranger.setCookie("tool.localhost", "__Host-lti", idOf("ann@lms"))
	if in(stranger) {
		t.Error("the id of a list opens the session")
	}
	if out := site.ltiDoes(t, "sessions", "end", idOf("ann@lms")); !strings.Contains(out, "1 ended") || in(ann) || !in(bob) {
		t.Errorf("end ID: %s; ann in: %v, bob in: %v", out, in(ann), in(bob))
	}
	if out := site.ltiDoes(t, "sessions", "end", "--user", "bob@lms"); !strings.Contains(out, "1 ended") || in(bob) || !in(cem) {
		t.Errorf("end --user: %s; bob in: %v, cem in: %v", out, in(bob), in(cem))
	}
	if out := site.ltiDoes(t, "sessions", "end", "--platform", "other"); !strings.Contains(out, "0 ended") || !in(cem) {
		t.Errorf("end --platform: %s", out)
	}
	site.ltiFails(t, "say which", "sessions", "end")
	site.ltiFails(t, "no session", "sessions", "end", "0123456789abcdef")
	if out := site.ltiDoes(t, "sessions", "list"); strings.Count(out, "\n") != 2 || !strings.Contains(out, "cem@lms") {
		t.Errorf("at last:\n%s", out)
	}

	var keys struct{ Keys []struct{ Kid string } }
	if err := json.Unmarshal([]byte(newBrowser(t).get(site.url("/lti/jwks.json")).body), &keys); err != nil || len(keys.Keys) != 1 {
		t.Fatal(keys, err)
	}
	if out := site.ltiDoes(t, "keys", "list"); !strings.Contains(out, keys.Keys[0].Kid) || !strings.Contains(out, "true") || strings.Contains(out, "PRIVATE") {
		t.Errorf("keys list:\n%s", out)
	}
}
