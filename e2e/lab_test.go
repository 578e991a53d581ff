package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/caddy-lti/lti/internal/lab"
)

// newLab is our tool, and a demo LMS with a laboratory, each in a Caddy of its
// own.
func newLab(t *testing.T) *gradedSite {
	t.Helper()
	return newGradedSite(t, "lab", "")
}

// labCommand runs caddy lti lab and returns what it prints and its exit status.
func labCommand(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, append([]string{"lti", "lab"}, args...)...) //nolint:gosec // our own
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out), 0
}

// The laboratory finds nothing wrong with our tool.
func TestLab(t *testing.T) {
	s := newLab(t)
	res := newBrowser(t).post(s.lms("/lab/run"), "", "Accept", "application/json")
	report := new(lab.Report)
	if err := json.Unmarshal([]byte(res.body), report); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d %v: %s", res.StatusCode, err, res.body)
	}
	if report.ExitStatus() != 0 || report.Right != len(lab.Catalogue()) || report.Problem != "" {
		t.Errorf("%d right of %d, exit status %d, %s", report.Right, len(lab.Catalogue()), report.ExitStatus(), report.Problem)
	}
	for _, r := range report.Results {
		if r.Verdict != lab.Right || len(r.Steps) == 0 {
			t.Errorf("%s: %s, expected %s, got %s: %s", r.Case, r.Verdict, r.Want, r.Got, r.Why)
		}
	}

	out, status := labCommand(t, s.lms(""), "--group", "payloads", "--tool", "quiz")
	if status != 0 || !strings.Contains(out, "cert-01-no-kid") || !strings.Contains(out, "0 wrong, 0 undecided") || strings.Contains(out, "jku-") {
		t.Errorf("caddy lti lab: exit status %d\n%s", status, out)
	}
	out, status = labCommand(t, s.lms("/lab"), "--case", "aud-other", "--json")
	if json.Unmarshal([]byte(out), report) != nil || status != 0 || len(report.Results) != 1 || report.Results[0].Case != "aud-other" {
		t.Errorf("caddy lti lab --json: exit status %d\n%s", status, out)
	}
	// A tool that lets the wrong ones in.
	out, status = labCommand(t, s.lms(""), "--case", "cert-12-user-missing")
	if status != 0 {
		t.Errorf("exit status %d\n%s", status, out)
	}
	if err := s.reload(strings.Replace(s.text, "\tlti {\n\t\tpublic", "\tlti {\n\t\tanonymous allow\n\t\tpublic", 1)); err != nil {
		t.Fatal(err)
	}
	out, status = labCommand(t, s.lms(""), "--group", "payloads")
	if status != 1 || !strings.Contains(out, "1 wrong, 0 undecided") {
		t.Errorf("with anonymous launches: exit status %d\n%s", status, out)
	}
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{s.lms(""), "--case", "no-such-case"}, `there is no case "no-such-case"`},
		{[]string{s.lms(""), "--tool", "no-such-tool"}, `"no-such-tool" is not one of quiz`},
		{[]string{s.site("")}, "is that a demo LMS"},
		{[]string{"http://127.0.0.1:1"}, "connect"},
		{[]string{"lms"}, "bad URL"},
	} {
		if out, status := labCommand(t, tt.args...); status != 2 || !strings.Contains(out, tt.says) {
			t.Errorf("%v: exit status %d\n%s", tt.args, status, out)
		}
	}
}

// Somebody clicks, and sees each step.
func TestLabInBrowser(t *testing.T) {
	s := newLab(t)
	ctx := newChrome(t)
	run(ctx, t, chromedp.Navigate(s.lms("/lab")))
	if got := text(ctx, t, ".banner"); !strings.Contains(got, "for tests only") {
		t.Errorf("the page says %q", got)
	}
	full(ctx, t, "lab")
	run(ctx, t,
		chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("details").forEach(d => d.open = true)`),
		chromedp.Click(chromedp.CSS(`button[name=case][value=nonce-made-up]`)))
	if got := text(ctx, t, ".verdict"); !strings.Contains(got, "Right") || !strings.Contains(got, "status 401") {
		t.Errorf("the verdict is %q", got)
	}
	if got := text(ctx, t, ".steps"); !strings.Contains(got, "The platform posts the login initiation") || !strings.Contains(got, "/lti/launch") {
		t.Errorf("the steps are %q", got)
	}
	full(ctx, t, "lab-case")
	playPayloads(ctx, t, s.lms(""))
	if got := text(ctx, t, "table.lab"); !strings.Contains(got, "The header has no kid") {
		t.Errorf("the table is %q", got)
	}
	if got := text(ctx, t, "h1"); !strings.Contains(got, fmt.Sprintf("%[1]d of %[1]d right", countCases(lab.GroupPayloads))) {
		t.Errorf("the heading is %q", got)
	}
	full(ctx, t, "lab-result")
}

// playPayloads has somebody click to have certification's bad payloads played, and
// see what came of them.
func playPayloads(ctx context.Context, tb testing.TB, lms string) {
	tb.Helper()
	run(ctx, tb,
		chromedp.Navigate(lms+"/lab"),
		chromedp.Click(chromedp.CSS(`button[name=group][value=payloads]`)),
		chromedp.WaitVisible(chromedp.CSS(`table.lab`)),
	)
}

func countCases(group string) (n int) {
	for _, c := range lab.Catalogue() {
		if c.Group == group {
			n++
		}
	}
	return n
}
