package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// What is wrong is said, with who has to mend it, and the exit status tells; what
// is in order is said, too. The app is looked at behind the gate.
func TestDoctor(t *testing.T) {
	const app = "header X-Frame-Options DENY\n\theader +Set-Cookie \"app=1; SameSite=Lax\"\n\trespond \"secret of the app\""
	site := startTool(t, "frame off\n\t\tapp_cookies off", app)
	has := func(found []finding, check, rule, level string) bool {
		for _, f := range found {
			if f.Check == check && f.Rule == rule && f.Level == level && f.Text != "" && (level == "ok" || level == "note" || f.Mend != "" && f.Whose != "") {
				return true
			}
		}
		return false
	}
	found, ok := site.doctor(t)
	if ok {
		t.Error("the exit status is 0")
	}
	for _, want := range [][3]string{
		{"jwks", "", "ok"},
		{"store", "", "ok"},
		{"keys", "", "ok"},
		{"public_keys", "", "ok"},
		{"routes", "", "ok"},
		{"frame", "x_frame_options", "failure"},
		{"connection", "no_such_host", "failure"}, // lms.example
	} {
		if !has(found, want[0], want[1], want[2]) {
			t.Errorf("no %v in %+v", want, found)
		}
	}
	if !strings.Contains(strings.Join(rulesOf(found, "cookies"), " "), "same_site") {
		t.Errorf("nothing of the cookie in %+v", found)
	}
	if out, err := site.lti("doctor"); err == nil || !strings.Contains(out, "→ tool administrator: write frame on") {
		t.Errorf("%v %s", err, out)
	}
	// With what the options do by default, the app's headers are no matter.
	if err := site.reload(global(ltiGlobal) + toolSite(site.platform, "", app)); err != nil {
		t.Fatal(err)
	}
	if found, _ := site.doctor(t); has(found, "frame", "x_frame_options", "failure") || !has(found, "frame", "", "ok") {
		t.Errorf("with frame on: %+v", found)
	}
	// The gate is as closed as ever.
	if res := newBrowser(t).get(site.url("/"), "X-Forwarded-For", "127.0.0.1", "Forwarded", "for=\"127.0.0.1:0\""); res.StatusCode != http.StatusUnauthorized || strings.Contains(res.body, "secret") {
		t.Errorf("%d %s", res.StatusCode, res.body)
	}
	if out, err := site.lti("doctor", "--score-platform", "lms", "--score-user", "4"); err == nil || !strings.Contains(out, "line_item") {
		t.Errorf("half a test score: %v %s", err, out)
	}
}

func rulesOf(found []finding, check string) (rules []string) {
	for _, f := range found {
		if f.Check == check {
			rules = append(rules, f.Rule)
		}
	}
	return rules
}

type finding struct{ Check, Rule, Subject, Level, Text, Mend, Whose string }

func (c *caddy) doctor(tb testing.TB) (found []finding, ok bool) {
	tb.Helper()
	out, err := c.lti("doctor", "--json")
	if i := strings.Index(out, "["); i >= 0 {
		out = out[i:]
	}
	if derr := json.NewDecoder(strings.NewReader(out)).Decode(&found); derr != nil {
		tb.Fatalf("caddy lti doctor: %v\n%s", derr, out)
	}
	return found, err == nil
}
