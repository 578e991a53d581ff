package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/caddy-lti/lti/internal/page"
)

// focused is what the keyboard is at: its name, and whether it can be seen.
const focused = `(() => {
	const e = document.activeElement;
	if (!e || e === document.body) return "";
	const s = getComputedStyle(e), box = e.getBoundingClientRect();
	const seen = e.tagName === "IFRAME" || (parseFloat(s.outlineWidth) > 0 && s.outlineStyle !== "none" && box.width > 0 && box.bottom > 0 && box.top < innerHeight);
	return (seen ? "" : "UNSEEN ") + (e.getAttribute("aria-label") || e.innerText || e.value || e.name || e.tagName).trim();
})()`

// tabTo presses Tab until something of that name has the focus. Whatever has it on
// the way can be seen to have it.
func tabTo(ctx context.Context, tb testing.TB, name string) {
	tb.Helper()
	var passed []string
	for range 80 {
		run(ctx, tb, chromedp.KeyEvent(kb.Tab))
		at, err := chromedp.Run(ctx, chromedp.Evaluate[string](focused))
		if err != nil {
			tb.Fatal(err)
		}
		if strings.HasPrefix(at, "UNSEEN ") {
			tb.Errorf("on the way to %q: it cannot be seen that the focus is at %q", name, at)
		}
		if strings.Contains(at, name) {
			return
		}
		passed = append(passed, at)
	}
	tb.Fatalf("Tab never comes to %q, but to %q", name, passed)
}

// enter presses Enter where the focus is.
func enter() chromedp.Action[chromedp.Void] { return chromedp.KeyEvent(kb.Enter) }

// With Tab and Enter alone: somebody chooses who to be in the demo LMS, and opens an
// activity; a teacher adds content with the picker.
func TestDemoByKeyboard(t *testing.T) {
	lms, site, app := startDemo(t)
	ctx := newChrome(t)
	run(ctx, t, chromedp.Navigate(lms))
	tabTo(ctx, t, "Be Maeve")
	run(ctx, t, enter(), chromedp.WaitVisible(`//li[contains(., "Maeve")]/p[@class="chosen"]`))
	tabTo(ctx, t, "Stars & Planets")
	run(ctx, t, enter(), chromedp.WaitVisible(`//a[text()="What the app knows of you"]`))
	tabTo(ctx, t, "What the app knows of you")
	run(ctx, t, enter(), chromedp.WaitVisible(chromedp.CSS(`iframe.tool`)))
	if name := text(frame(ctx, t, app+"/"), t, `#name`); name != "Maeve O'Hara" {
		t.Errorf("the app knows %q", name)
	}

	run(ctx, t, chromedp.Navigate(lms))
	tabTo(ctx, t, "Be Ada")
	run(ctx, t, enter(), chromedp.WaitVisible(`//li[contains(., "Ada")]/p[@class="chosen"]`), chromedp.Navigate(lms+"/course/c-31"))
	tabTo(ctx, t, "Add content from Static course site")
	run(ctx, t, enter(), chromedp.WaitVisible(chromedp.CSS(`iframe.tool`)))
	picker := frame(ctx, t, site+"/lti/pick?lti_launch_id=*")
	run(picker, t, chromedp.WaitVisible(`//h2[text()="Chapter 2: Moons"]`))
	tabTo(ctx, t, "IFRAME")
	tabTo(picker, t, "Choose")
	run(picker, t, enter(), chromedp.WaitVisible(chromedp.CSS(`#picker fieldset`)))
	tabTo(picker, t, "Add to the course")
	run(picker, t, enter())
	run(ctx, t, chromedp.WaitVisible(`//button[contains(@aria-label, "Remove ")]`))
}

// The gateway's forms are reached and sent by keyboard: the click that opens a
// window, and the one that sends a score again.
func TestGatewayByKeyboard(t *testing.T) {
	pages, err := page.New()
	if err != nil {
		t.Fatal(err)
	}
	one, ten := 1.0, 10.0
	form := func(at string) *page.Form {
		return &page.Form{Action: at, Values: []page.Value{{Name: "id", Value: "some-id"}}}
	}
	posted := make(chan string, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			posted <- fmt.Sprint(r.URL.Path, " ", r.PostFormValue("id"))
			return
		}
		p := page.Page{ID: "new_window", Window: form("/opened")}
		if r.URL.Path == "/grades" {
			p = page.Page{ID: "grades", Next: "/older", Scores: []page.Score{
				{When: time.Now(), Learner: "u-1", Given: &one, Most: &ten, State: "state_dead", Reason: "no", Resend: form("/resent")},
			}}
		}
		if err := pages.English().Write(w, http.StatusOK, p); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(srv.Close)
	came := func(want string) {
		t.Helper()
		select {
		case got := <-posted:
			if got != want {
				t.Errorf("posted was %q, expected %q", got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("nothing was posted, expected %q", want)
		}
	}
	ctx := newChrome(t)
	run(ctx, t, chromedp.Navigate(srv.URL+"/window"))
	tabTo(ctx, t, "Open in a new window")
	opened := chromedp.WaitNewTarget(ctx, func(info *target.Info) bool { return info.OpenerID != "" })
	run(ctx, t, enter())
	came("/opened some-id")
	<-opened
	run(ctx, t, chromedp.Navigate(srv.URL+"/grades"))
	tabTo(ctx, t, "Send again")
	run(ctx, t, enter())
	came("/resent some-id")
}
