package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestInspectorOfTheDemo: a learner does the quiz of the demo. What went between the
// LMS and the tool, from the click to the grade, can be looked at and taken apart.
func TestInspectorOfTheDemo(t *testing.T) {
	lms, site, _ := startDemo(t)
	ctx := newChrome(t)
	be(ctx, t, lms, "Zoë")
	run(ctx, t,
		chromedp.Click(firstCourse),
		chromedp.Click(`//a[text()="Quiz: The Moon"]`),
		chromedp.WaitVisible(chromedp.CSS(`iframe.tool`)),
	)
	quiz := frame(ctx, t, site+"/quiz.html")
	handIn(quiz, t, "Two", "Sunlight", "Two")
	run(quiz, t, chromedp.WaitVisible(`//p[@id="result"][contains(., "2 of 3. It is in your course's gradebook.")]`))

	// The list, by way of the link on each page. It keeps itself up to date.
	run(ctx, t,
		chromedp.Navigate(lms),
		chromedp.Click(`//a[text()="See all messages"]`),
		chromedp.WaitVisible(`//ol[@class="messages"]//a[text()="Score"]`),
	)
	shot(ctx, t, "inspector-list")
	for _, order := range []string{"/inspect", "/inspect?by=launch"} {
		run(ctx, t, chromedp.Navigate(lms+order), chromedp.WaitVisible(`//ol[@class="messages"]//a[text()="Score"]`))
		accessible(ctx, t, order)
	}
	heading := func(s string) string { return fmt.Sprintf(`//h1[text()=%q]`, s) }
	open := func(kind string) {
		t.Helper()
		run(ctx, t,
			chromedp.Navigate(lms+"/inspect"),
			chromedp.Click(fmt.Sprintf(`//ol[@class="messages"]//a[text()=%q]`, kind)),
			chromedp.WaitVisible(heading(kind)),
		)
	}
	row := func(name, value string) string {
		return fmt.Sprintf(`//tr[th[.=%q]]/td[contains(., %q)]`, name, value)
	}

	open("Login initiation")
	run(ctx, t,
		chromedp.WaitVisible(row("target_link_uri", site+"/quiz.html")),
		chromedp.WaitVisible(row("iss", lms)),
		chromedp.WaitVisible(`//tr[th[.="login_hint"]]//cite[contains(., "§5.1.1.1")]`),
	)
	// From here on by the links between messages of the launch.
	run(ctx, t,
		chromedp.Click(`//section[@aria-labelledby="launch"]//a[text()="Authentication request"]`),
		chromedp.WaitVisible(heading("Authentication request")),
		chromedp.WaitVisible(row("redirect_uri", site+"/lti/launch")),
		chromedp.WaitVisible(row("response_mode", "form_post")),
		chromedp.Click(`//section[@aria-labelledby="other"]//a[text()="Authentication response"]`),
		chromedp.WaitVisible(heading("Authentication response")),
		chromedp.WaitVisible(`//p[@data-signature="valid"][contains(., "Signed by this LMS")]`),
		chromedp.WaitVisible(row("https://purl.imsglobal.org/spec/lti/claim/message_type", "LtiResourceLinkRequest")),
		chromedp.WaitVisible(row("exp", "1 minute after this message")),
		chromedp.WaitVisible(row("name", "Zoë Łukasiewicz-山田")),
	)
	shot(ctx, t, "inspector-token")
	for _, colours := range []string{"dark", "light"} {
		run(ctx, t, scheme(colours))
		accessible(ctx, t, colours+", id_token")
	}

	open("Access token request")
	run(ctx, t,
		chromedp.WaitVisible(`//p[@data-signature="valid"][contains(., "Checked when it came")]`),
		chromedp.WaitVisible(row("iss", "demo-site")),
		chromedp.WaitVisible(row("grant_type", "client_credentials")),
		chromedp.Click(`//section[@aria-labelledby="uses"]//a[text()="Score"]`),
		chromedp.WaitVisible(heading("Score")),
		chromedp.WaitVisible(`//section[@aria-labelledby="request"]//pre[contains(., '"scoreGiven": 2')]`),
		chromedp.WaitVisible(`//dl//a[contains(@href, "/inspect/")]`), // the token request
	)
	shot(ctx, t, "inspector-score")

	// Copying, where a browser has no clipboard for a page, selects.
	run(ctx, t,
		chromedp.Click(`//button[text()="Copy"]`),
		chromedp.WaitVisible(`//*[@id="copied"][contains(., "Copied") or contains(., "Selected")]`),
	)

	// What comes while the list is open appears in it.
	run(ctx, t,
		chromedp.Navigate(lms+"/inspect?kind=keys"),
		chromedp.WaitVisible(`//ol[@class="messages"]//a[text()="Key set of the LMS"]`),
	)
	count := func() int {
		t.Helper()
		n, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.querySelectorAll(".messages li").length`))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count()
	b := newBrowser(t)
	b.get(lms + "/jwks")
	for deadline := time.Now().Add(20 * time.Second); count() != before+1; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the list has %d entries, expected %d", count(), before+1)
		}
	}

	// The same for scripts.
	var found struct {
		Messages []struct {
			Kind, Tool, Outcome string
			Status              int
			Request             struct{ Body string }
		}
	}
	if err := json.Unmarshal([]byte(b.get(lms+"/inspect.json?kind=score").body), &found); err != nil {
		t.Fatal(err)
	}
	if len(found.Messages) != 1 || found.Messages[0].Tool != "site" || found.Messages[0].Outcome != "ok" || found.Messages[0].Status != 200 {
		t.Errorf("scores %+v", found)
	}
}
