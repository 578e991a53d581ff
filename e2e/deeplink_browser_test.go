package e2e

import (
	"testing"

	"github.com/chromedp/chromedp"
)

// The whole way, in a browser: a teacher adds two pages of the demo's site to a
// course, a learner opens one and does the quiz, and the score is in its column.
func TestContentOfTheDemo(t *testing.T) {
	lms, site, _ := startDemo(t)
	ctx := newChrome(t)
	demoPerson(ctx, t, "Ada", lms, "/course/c-31")
	run(ctx, t,
		chromedp.Click(`//a[contains(., "Add content from Static course site")]`),
		chromedp.WaitVisible(chromedp.CSS(`iframe.tool`)),
	)
	picker := frame(ctx, t, site+"/lti/pick?lti_launch_id=*")
	run(picker, t, chromedp.WaitVisible(`//h2[text()="Chapter 2: Moons"]`))
	shot(ctx, t, "picker")
	// By the keyboard: what is typed is found without a click.
	run(picker, t,
		chromedp.SendKeys(chromedp.CSS(`#q`), "questions"),
		chromedp.WaitNotPresent(`//h2[text()="Chapter 2: Moons"]`),
		chromedp.WaitVisible(`//p[@id="found"][contains(., "1 to 1 of 1")]`),
		chromedp.Click(`//li[contains(., "Quiz: The Moon")]/button[text()="Choose"]`),
		chromedp.WaitVisible(`//fieldset//input[@name="points"][@value="3"]`),
		chromedp.Evaluate[chromedp.Void](`document.getElementById("t0").select()`),
		chromedp.SendKeys(chromedp.CSS(`#t0`), "Quiz of the week"),
		chromedp.Evaluate[chromedp.Void](`document.getElementById("q").select()`),
		chromedp.SendKeys(chromedp.CSS(`#q`), "tides"),
		chromedp.WaitVisible(`//p[@id="found"][contains(., "1 to 2 of 2")]`), // the list moves until then
		chromedp.WaitVisible(`//li[contains(., "Chapter 1: Tides")]/button[text()="Choose"]`),
		chromedp.Click(`//li[contains(., "Chapter 1: Tides")]/button[text()="Choose"]`),
		chromedp.WaitVisible(`//fieldset[legend[text()="/ch1.html"]]`),
	)
	if got, err := chromedp.Run(picker, chromedp.Value(chromedp.CSS(`#t0`))); err != nil || got != "Quiz of the week" {
		t.Errorf("the title that was written is %q now, %v", got, err)
	}
	shot(ctx, t, "picker-chosen")
	run(ctx, t, chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
	shot(ctx, t, "picker-phone")
	run(ctx, t, chromedp.ResetViewport())
	run(picker, t, chromedp.Click(`//button[text()="Add to the course"]`))
	run(ctx, t,
		chromedp.WaitVisible(`//h3/a[text()="Quiz of the week"]`),
		chromedp.WaitVisible(`//button[@aria-label="Remove Chapter 1: Tides"]`),
	)
	shot(ctx, t, "picked")

	demoPerson(ctx, t, "Zoë", lms, "/course/c-31")
	run(ctx, t, chromedp.Click(`//h3/a[text()="Quiz of the week"]`), chromedp.WaitVisible(chromedp.CSS(`iframe.tool`)))
	quiz := frame(ctx, t, site+"/quiz.html")
	handIn(quiz, t, "Two", "Tides", "None")
	run(quiz, t, chromedp.WaitVisible(`//p[@id="result"][contains(., "2 of 3. It is in your course's gradebook.")]`))
	run(ctx, t,
		chromedp.Navigate(lms+"/course/c-31/gradebook"),
		chromedp.WaitVisible(`//th[contains(., "Quiz of the week")][contains(., "out of 3")]`),
		chromedp.WaitVisible(`//tr[contains(., "Zoë")]//td[contains(., "2 / 3")]`),
	)
	shot(ctx, t, "picked-gradebook")
}
