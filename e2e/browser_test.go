package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// newChrome starts a Chromium with a fresh profile, which blocks third-party
// cookies, and returns the context of its first tab.
func newChrome(tb testing.TB) context.Context {
	tb.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.Flag("no-sandbox", true),
		chromedp.Flag("disable-gpu", true),
		chromedp.UserDataDir(tb.TempDir()),
		chromedp.WindowSize(1100, 900),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.WSURLReadTimeout(time.Minute),
	)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	tb.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	tb.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	tb.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		tb.Fatalf("starting Chromium: %v", err)
	}
	return ctx
}

// run executes actions in a tab; on failure it says what the tab shows.
func run(ctx context.Context, tb testing.TB, actions ...chromedp.Action[chromedp.Void]) {
	tb.Helper()
	step, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	if err := chromedp.Do(step, actions...); err != nil {
		show, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		url, _ := chromedp.Run(show, chromedp.Location())
		text, _ := chromedp.Run(show, chromedp.Evaluate[string](`document.body.innerText`))
		tb.Fatalf("%v\nat %s:\n%s", err, url, text)
	}
}

// text returns the text of the first element that the CSS selector finds, once
// it is visible.
func text(ctx context.Context, tb testing.TB, selector string) string {
	tb.Helper()
	step, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	s, err := chromedp.Run(step, chromedp.Text(chromedp.CSS(selector)))
	if err != nil {
		show, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		html, _ := chromedp.Run(show, chromedp.Evaluate[string](`document.documentElement.outerHTML`))
		tb.Fatalf("looking for %s: %v in:\n%s", selector, err, html)
	}
	return s
}

// frame returns the context of the frame of another site once it has arrived at
// an address, or, with * at its end, one that begins so.
func frame(ctx context.Context, tb testing.TB, url string) context.Context {
	tb.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		infos, err := chromedp.Targets(ctx)
		if err != nil {
			tb.Fatal(err)
		}
		for _, info := range infos {
			if info.Type == "iframe" && (info.URL == url || strings.HasSuffix(url, "*") && strings.HasPrefix(info.URL, strings.TrimSuffix(url, "*"))) {
				inner, cancel := chromedp.NewContext(ctx, chromedp.WithTargetID(info.TargetID))
				tb.Cleanup(cancel)
				// Attached here, and not within the time of a first step.
				if err := chromedp.Do(inner); err != nil {
					tb.Fatalf("attaching to the frame at %s: %v", url, err)
				}
				return inner
			}
		}
		time.Sleep(50 * time.Millisecond) // polling: the browser tells of no end of a launch
	}
	infos, _ := chromedp.Targets(ctx)
	var seen []string
	for _, info := range infos {
		seen = append(seen, info.Type+" "+info.URL)
	}
	tb.Fatalf("no frame at %s, but:\n%s", url, strings.Join(seen, "\n"))
	return nil
}

// shot keeps a picture of what a tab shows, for people to look at.
func shot(ctx context.Context, tb testing.TB, name string) {
	tb.Helper()
	step, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	png, err := chromedp.Run(step, func(ctx context.Context, t *chromedp.Target) ([]byte, error) {
		// A tab in the background paints nothing.
		if _, err := cdp.Call(ctx, t, page.BringToFront, cdp.Empty{}); err != nil {
			return nil, err
		}
		return chromedp.CaptureScreenshot()(ctx, t)
	})
	if err != nil {
		tb.Fatalf("taking the picture %s: %v", name, err)
	}
	keep(tb, name, png)
}

func keep(tb testing.TB, name string, png []byte) {
	tb.Helper()
	name = filepath.Join("artifacts", name+".png")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(name, png, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// startDemo runs examples/Caddyfile as make demo does, on free ports, and
// returns the address of the LMS and of the site that shows what an app
// receives.
func startDemo(tb testing.TB) (lms, site, app string) {
	tb.Helper()
	text, err := os.ReadFile("../examples/Caddyfile")
	if err != nil {
		tb.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		tb.Fatal(err)
	}
	c := newCaddy(tb)
	config := strings.NewReplacer(
		"8080", "$PORT", "8081", fmt.Sprint(freePort(tb)), "localhost:2020", "localhost:$ADMIN",
		"root * examples", "root * "+root+"/examples",
	).Replace(string(text))
	c.start(config)
	return c.origin("lms.localhost"), c.origin("site.localhost"), c.origin("app.localhost")
}

// be makes the visitor of a tab somebody of the demo LMS.
func be(ctx context.Context, tb testing.TB, lms, person string) {
	tb.Helper()
	run(ctx, tb,
		chromedp.Navigate(lms),
		chromedp.Click(`//button[contains(@aria-label, "`+person+`")]`),
		chromedp.WaitVisible(`//li[contains(., "`+person+`")]/p[@class="chosen"]`), // not what was there before
	)
}

// firstCourse is the link to it on the demo LMS's first page.
var firstCourse = chromedp.CSS(`section[aria-labelledby="courses"] h3 a`)

// handIn answers the demo's quiz and hands it in.
func handIn(ctx context.Context, tb testing.TB, bulges, volcanoes, moons string) {
	tb.Helper()
	run(ctx, tb,
		chromedp.Click(`//label[contains(., "`+bulges+`")]/input[@name="q1"]`),
		chromedp.Click(`//label[contains(., "`+volcanoes+`")]/input[@name="q2"]`),
		chromedp.Click(`//label[contains(., "`+moons+`")]/input[@name="q3"]`),
		chromedp.Click(`//button[text()="Hand in"]`),
	)
}

// TestDemo walks through the demo as a person would: from the LMS to the page of
// the app, in a frame and in a window of its own.
func TestDemo(t *testing.T) {
	lms, site, app := startDemo(t)
	ctx := newChrome(t)

	be(ctx, t, lms, "Zoë")
	run(ctx, t,
		chromedp.Click(firstCourse),
		chromedp.Click(`//a[text()="What the app knows of you"]`),
		chromedp.WaitVisible(chromedp.CSS(`iframe.tool`)),
	)
	inner := frame(ctx, t, app+"/")
	name := text(inner, t, `#name`)
	if want := "Zoë Łukasiewicz-山田"; name != want {
		t.Errorf("in the frame the app knows %q, expected %q", name, want)
	}
	shot(ctx, t, "demo-iframe")

	// The same in a new window, as somebody else.
	be(ctx, t, lms, "Maeve")
	run(ctx, t,
		chromedp.Click(firstCourse),
		chromedp.Click(`//a[text()="The same in a new window"]`),
		chromedp.WaitVisible(`//button[text()="Open in a new window"]`),
	)
	opened := chromedp.WaitNewTarget(ctx, func(info *target.Info) bool { return info.OpenerID != "" })
	run(ctx, t, chromedp.Click(`//button[text()="Open in a new window"]`))
	window, cancel := chromedp.NewContext(ctx, chromedp.WithTargetID(<-opened))
	if name = text(window, t, `#name`); name != "Maeve O'Hara" {
		t.Errorf("in the window the app knows %q", name)
	}
	cancel() // closes it: a tab in the background paints nothing

	// The static site, which only shows that it lets people in.
	run(ctx, t,
		chromedp.Navigate(lms),
		chromedp.Click(firstCourse),
		chromedp.Click(`//a[text()="Chapter 1: Tides"]`),
		chromedp.WaitVisible(chromedp.CSS(`iframe.tool`)),
	)
	inner = frame(ctx, t, site+"/ch1.html")
	if heading := text(inner, t, `h1`); heading != "Chapter 1: Tides" {
		t.Errorf("in the frame stands %q", heading)
	}

	// Without a launch there is a page that says what to do.
	stranger := newChrome(t)
	run(stranger, t, chromedp.Navigate(site+"/ch2.html"))
	if heading := text(stranger, t, `h1`); heading != "Please open this from your course" {
		t.Errorf("without a launch the site shows %q", heading)
	}
}
