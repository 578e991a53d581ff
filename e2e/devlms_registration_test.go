package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// demoRegistration is the registration URL that examples/Caddyfile speaks of.
const demoRegistration = "/lti/register?invite=demo-only-0123456789-make-your-own"

// demoPerson makes the visitor of a tab somebody of the demo LMS, and shows a page
// of it.
func demoPerson(ctx context.Context, t *testing.T, person, lms, path string) {
	t.Helper()
	be(ctx, t, lms, person)
	run(ctx, t, chromedp.Navigate(lms+path))
}

// addTool pastes a registration URL into the administrator's page.
func addTool(ctx context.Context, t *testing.T, registration, open string) {
	t.Helper()
	run(ctx, t,
		chromedp.SendKeys(chromedp.CSS(`#url`), registration),
		chromedp.SetValue(chromedp.CSS(`#open`), open),
		chromedp.Click(`//button[text()="Open the tool"]`),
	)
}

// addActivity has a teacher add the tool's activity to a course.
func addActivity(ctx context.Context, t *testing.T, lms, title string) {
	t.Helper()
	demoPerson(ctx, t, "Ada", lms, "/course/c-31")
	run(ctx, t,
		chromedp.SendKeys(chromedp.CSS(`#title`), title),
		chromedp.Click(`//button[text()="Add"]`),
		chromedp.WaitVisible(`//h3/a[text()="`+title+`"]`),
	)
}

// The demo's administrator adds a tool by its registration URL, without a value
// typed on either side, and a learner opens it.
func TestDemoToolRegistersItself(t *testing.T) {
	lms, site, _ := startDemo(t)
	site = strings.Replace(site, "site.", "new.", 1)
	ctx := newChrome(t)

	// As somebody who just has a look, from the first page.
	run(ctx, t,
		chromedp.Navigate(lms),
		chromedp.Click(`//a[text()="Add a tool"]`),
		chromedp.Click(`//button[contains(., "the administrator")]`),
		chromedp.WaitVisible(chromedp.CSS(`#url`)),
	)
	shot(ctx, t, "lms-tools")
	accessible(ctx, t, "the list of tools")
	addTool(ctx, t, site+demoRegistration, "iframe")
	// The tool closes its frame itself, and the LMS says what has come.
	run(ctx, t, chromedp.WaitVisible(`//h1[text()="A tool that registered itself"]`))
	shot(ctx, t, "lms-tool-waiting")
	accessible(ctx, t, "a tool that waits")
	run(ctx, t, chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
	shot(ctx, t, "lms-tool-phone")
	run(ctx, t,
		chromedp.ResetViewport(),
		chromedp.Click(`//button[text()="Activate"]`),
		chromedp.WaitVisible(`//p[contains(., "The tool is active")]`),
	)
	shot(ctx, t, "lms-tool-active")
	accessible(ctx, t, "a tool that is active")

	addActivity(ctx, t, lms, "Read this")
	shot(ctx, t, "lms-course-activity")
	demoPerson(ctx, t, "Zoë", lms, "/course/c-31")
	run(ctx, t, chromedp.Click(`//h3/a[text()="Read this"]`), chromedp.WaitVisible(chromedp.CSS(`iframe.tool`)))
	if heading := text(frame(ctx, t, site+"/*"), t, `h1`); heading != "Moon and sea" {
		t.Errorf("the frame shows %q", heading)
	}
}

// With approve manual the learner is kept out until the tool's side has approved
// the platform, too. The registration is done in a window.
func TestDemoToolApprovedByHand(t *testing.T) {
	c := startCaddy(t, global(ltiGlobal)+"http://lms.localhost:$PORT {\n\tdevlms\n}\n"+
		registrationSiteBlock("registration {\n\t\t\tinvite "+testInvite+"\n\t\t\tapprove manual\n\t\t}"))
	lms, site := c.origin("lms.localhost"), c.origin("tool.localhost")
	ctx := newChrome(t)
	demoPerson(ctx, t, "Imani", lms, "/admin/tools")
	addTool(ctx, t, site+"/lti/register?invite="+testInvite, "window")
	run(ctx, t, chromedp.WaitVisible(chromedp.CSS(`a#tool`)))
	shot(ctx, t, "lms-registration-window")
	accessible(ctx, t, "a registration")
	opened := chromedp.WaitNewTarget(ctx, func(info *target.Info) bool { return info.OpenerID != "" })
	run(ctx, t, chromedp.Click(chromedp.CSS(`a#tool`)))
	window, cancel := chromedp.NewContext(ctx, chromedp.WithTargetID(<-opened))
	defer cancel()
	run(window, t, chromedp.WaitVisible(`//h1[contains(., "approv")]`), chromedp.Click(chromedp.CSS(`#done`)))
	run(ctx, t,
		chromedp.WaitVisible(`//button[text()="Activate"]`),
		chromedp.Click(`//button[text()="Activate"]`),
		chromedp.WaitVisible(`//p[contains(., "The tool is active")]`),
	)
	addActivity(ctx, t, lms, "Read this")

	demoPerson(ctx, t, "Maeve", lms, "")
	open := func() context.Context {
		t.Helper()
		run(ctx, t, chromedp.Navigate(lms+"/course/c-31"), chromedp.Click(`//h3/a[text()="Read this"]`), chromedp.WaitVisible(chromedp.CSS(`iframe.tool`)))
		return frame(ctx, t, site+"/*")
	}
	if heading := text(open(), t, `h1`); heading != "This learning platform has not been approved yet" {
		t.Errorf("before the approval the learner sees %q", heading)
	}
	shot(ctx, t, "lms-pending")
	list, err := c.lti("registrations", "list")
	if err != nil {
		t.Fatalf("%v %s", err, list)
	}
	if out, err := c.lti("registrations", "approve", idShown.FindString(list)); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if body := text(open(), t, `body`); !strings.Contains(body, "name=Maeve O'Hara") {
		t.Errorf("after the approval the learner sees %q", body)
	}
}
