package e2e

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// arrives waits until the gradebook has the grade, in percent.
func (s *gradedSite) arrives(tb testing.TB, what, activity, person string, want float64) {
	tb.Helper()
	until(tb, what+" to arrive", func() bool {
		_, grades := s.gradebook(tb)
		for _, g := range grades {
			if g.Label == activity && g.UserID == person && g.ResultScore != nil {
				return math.Abs(*g.ResultScore-want) < .01
			}
		}
		return false
	})
}

// Scores without code: by a header of the app's answer, and by a page.
func TestGradingWithoutCode(t *testing.T) {
	s := newGradedSite(t, "", "grade {\n\t\t\theader X-LTI-Score\n\t\t\ton /one/finished score 1/1\n\t\t\ton /two/parts/* score 2.5/10\n\t\t}")
	b := newBrowser(t)
	s.open(b, "u-2001", "c-31", "quiz-one")
	s.open(b, "u-2001", "c-31", "quiz-two")
	teacher := newBrowser(t)
	s.open(teacher, "u-1001", "c-31", "quiz-one")
	// What counts for nothing.
	for _, score := range []string{"8", "8/0", "-1/10", "NaN/10", "8/Inf", "a/b", "", "8/10/12"} {
		if res := b.get(s.site("/one/?score=" + url.QueryEscape(score))); res.Header.Get("X-LTI-Score") != "" || res.StatusCode != http.StatusOK {
			t.Errorf("%q: %d %v", score, res.StatusCode, res.Header)
		}
	}
	b.get(s.site("/one/?score=1/2&score=1/2"))                           // twice
	b.get(s.site("/save?score=9/10"))                                    // of which activity?
	b.get(s.site("/one/finished?missing=1"))                             // not there
	b.get(s.site("/one/finished"), "Sec-Fetch-Mode", "no-cors")          // no navigation
	b.post(s.site("/one/finished"), "", "Sec-Fetch-Site", "same-origin") // no visit
	teacher.get(s.site("/one/?score=9/10"))
	teacher.get(s.site("/one/finished"))
	if res := newBrowser(t).get(s.site("/open/x?score=9/10")); res.Header.Get("X-LTI-Score") != "" {
		t.Error("a public answer shows the score")
	}
	if res := teacher.get(s.site("/lti/grades")); !strings.Contains(res.body, "no score in this course yet") {
		t.Errorf("taken all the same:\n%s", res.body)
	}

	for _, tt := range []struct {
		path string
		link string
		want float64
	}{
		{"/one/submit?score=8/10", "Quiz one", 80},
		{"/two/parts/3", "Quiz two", 25},
		{"/one/finished", "Quiz one", 100},
		{"/two/?score=" + url.QueryEscape(" 4.5 / 5 "), "Quiz two", 90},
	} {
		if res := b.get(s.site(tt.path), "Sec-Fetch-Mode", "navigate"); res.Header.Get("X-LTI-Score") != "" {
			t.Errorf("%s: the browser sees the score", tt.path)
		}
		s.arrives(t, tt.path, tt.link, "u-2001", tt.want)
	}
}

// The share of pages visited: each counts once, when it was there and somebody
// came to it, and no score is lowered by it.
func TestGradingByVisits(t *testing.T) {
	s := newGradedSite(t, "", "grade {\n\t\t\theader X-LTI-Score\n\t\t\tvisit /one/a /one/b\n\t\t\tvisit /one/parts/*\n\t\t}")
	b := newBrowser(t)
	s.open(b, "u-2001", "c-31", "quiz-one")
	teacher := newBrowser(t)
	s.open(teacher, "u-1001", "c-31", "quiz-one")
	visit := func(b *browser, path string, header ...string) {
		t.Helper()
		b.get(s.site(path), append([]string{"Sec-Fetch-Mode", "navigate"}, header...)...)
	}
	// What is no visit.
	visit(b, "/one/")
	visit(b, "/one/A")
	visit(b, "/one/a?missing=1")
	visit(b, "/one/a", "Sec-Purpose", "prefetch;prerender")
	visit(b, "/one/a", "Purpose", "prefetch")
	b.get(s.site("/one/a"), "Sec-Fetch-Mode", "no-cors")
	b.post(s.site("/one/a"), "", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate")
	visit(teacher, "/one/a")
	visit(teacher, "/one/b")

	visit(b, "/one/a")
	s.arrives(t, "the first page", "Quiz one", "u-2001", 100./3)
	visit(b, "/one/a")
	visit(b, "/one/a?again")
	visit(b, "/one/parts/1")
	s.arrives(t, "the second page", "Quiz one", "u-2001", 200./3)
	visit(b, "/one/parts/2")
	// What is known survives a crash, and so does what was written just before.
	s.kill()
	s.start(s.text)
	visit(b, "/one/a")
	visit(b, "/one/b")
	s.arrives(t, "the last page", "Quiz one", "u-2001", 100)
	// What was being sent at the crash may have gone out twice, at the same time.
	taken := func() (scores []lmsScore) {
		all, _ := s.gradebook(t)
		return slices.DeleteFunc(all, func(sc lmsScore) bool { return sc.Status/100 != 2 })
	}
	scores := taken()
	for i, sc := range scores {
		if i > 0 && sc.ScoreGiven <= scores[i-1].ScoreGiven {
			t.Errorf("the LMS got %+v: one that is no more than the one before", scores)
		}
	}
	// Two learners do not share what they have seen; and what the app says is
	// never lowered.
	other := newBrowser(t)
	s.open(other, "u-2002", "c-31", "quiz-one")
	other.get(s.site("/one/?score=8/10"))
	visit(other, "/one/a")
	s.arrives(t, "the app's score", "Quiz one", "u-2002", 80)
	visit(other, "/one/b")
	visit(other, "/one/parts/1")
	s.arrives(t, "all pages", "Quiz one", "u-2002", 100)
	if scores := taken(); len(scores) != 3+2 {
		t.Errorf("the LMS got %+v", scores)
	}
}

// A page reports the score of whoever looks at it, and nothing else does.
func TestPageReportsScores(t *testing.T) {
	s := newGradedSite(t, "", "grade {\n\t\t\tbrowser on\n\t\t}")
	b, teacher := newBrowser(t), newBrowser(t)
	s.open(b, "u-2001", "c-31", "quiz-one")
	s.open(teacher, "u-1001", "c-31", "quiz-one")
	const good = `{"scoreGiven": 8, "scoreMaximum": 10}`
	report := func(b *browser, path, body string, header ...string) *answer {
		t.Helper()
		header = append([]string{"Origin", s.origin("tool.localhost"), "Sec-Fetch-Site", "same-origin", "Content-Type", "application/json"}, header...)
		res := b.do(b.request("POST", s.site(path), strings.NewReader(body), header...))
		if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("headers %v", res.Header)
		}
		return res
	}
	for _, tt := range []struct {
		name        string
		b           *browser
		body        string
		header      []string
		status      int
		code, field string
	}{
		{"nobody", newBrowser(t), good, nil, 401, "session_missing", ""},
		{"another site", b, good, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403, "request_foreign_origin", ""},
		{"another site, of a browser that says less", b, good, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", ""}, 403, "request_foreign_origin", ""},
		{"a page without an origin", b, good, []string{"Origin", "null"}, 403, "request_foreign_origin", ""},
		{"a neighbour", b, good, []string{"Sec-Fetch-Site", "same-site"}, 403, "request_foreign_origin", ""},
		{"no origin", b, good, []string{"Origin", ""}, 403, "request_foreign_origin", ""},
		{"a form's type", b, good, []string{"Content-Type", "text/plain"}, 415, "media_type", ""},
		{"another learner", b, `{"scoreGiven": 8, "scoreMaximum": 10, "userId": "u-2002"}`, nil, 403, "forbidden", ""},
		{"another line item", b, `{"scoreGiven": 8, "scoreMaximum": 10, "lineItem": "http://lms.localhost/x"}`, nil, 403, "forbidden", ""},
		{"as a teacher would", b, `{"scoreGiven": 8, "scoreMaximum": 10, "scoringUserId": "u-1001"}`, nil, 403, "forbidden", ""},
		{"a handle", b, `{"scoreGiven": 8, "scoreMaximum": 10, "score_handle": "x"}`, nil, 422, "invalid", "score_handle"},
		{"negative", b, `{"scoreGiven": -8, "scoreMaximum": 10}`, nil, 422, "invalid", "scoreGiven"},
		{"an eraser", b, `{"activityProgress": "Started"}`, nil, 422, "invalid", "gradingProgress"},
		{"an extension", b, `{"scoreGiven": 8, "scoreMaximum": 10, "https://canvas.instructure.com/lti/submission": {}}`, nil, 422, "invalid", "https://canvas.instructure.com/lti/submission"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := report(tt.b, "/lti/score?erase=true", tt.body, tt.header...)
			if res.StatusCode != tt.status || res.Header.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("got %d %v %s", res.StatusCode, res.Header, res.body)
			}
			got := res.json(t)
			if field, _ := got["field"].(string); got["code"] != tt.code || field != tt.field {
				t.Errorf("got %s", res.body)
			}
		})
	}
	if res := b.get(s.site("/lti/score")); res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", res.StatusCode)
	}
	if got := report(teacher, "/lti/score", good).json(t); got["state"] != "skipped" {
		t.Errorf("a teacher: %v", got)
	}
	if scores, _ := s.gradebook(t); len(scores) > 0 {
		t.Fatalf("the LMS got %+v", scores)
	}
	res := report(b, "/lti/score?wait=20s", good)
	if got := res.json(t); res.StatusCode != http.StatusAccepted || got["state"] != "delivered" {
		t.Errorf("got %d %s", res.StatusCode, res.body)
	}
	s.arrives(t, "the page's score", "Quiz one", "u-2001", 80)
	// Of two activities the one of the page is meant, and if that is not clear,
	// none.
	s.open(b, "u-2001", "c-31", "quiz-two")
	if got := report(b, "/lti/score?wait=20s", `{"scoreGiven": 9, "scoreMaximum": 10}`, "Referer", s.site("/one/page")).json(t); got["state"] != "delivered" {
		t.Errorf("from the page: %v", got)
	}
	s.arrives(t, "the second score", "Quiz one", "u-2001", 90)
	if res := report(b, "/lti/score", good, "Referer", s.site("/")); res.StatusCode != http.StatusConflict || res.json(t)["code"] != "launch_ambiguous" {
		t.Errorf("from nowhere: %d %s", res.StatusCode, res.body)
	}
	// Not without end.
	var last *answer
	for range 40 {
		if last = report(b, "/lti/score", good, "Referer", s.site("/two/")); last.StatusCode == http.StatusTooManyRequests {
			break
		}
	}
	if last.StatusCode != http.StatusTooManyRequests || last.json(t)["code"] != "too_often" || last.Header.Get("Retry-After") == "" {
		t.Errorf("forty at once: %d %s", last.StatusCode, last.body)
	}
}

// Where the configuration does not say so, no page reports anything.
func TestPageReportsAreOff(t *testing.T) {
	for _, options := range []string{"", "grade {\n\t\t\theader X-LTI-Score\n\t\t}", "grade {\n\t\t\theader X-LTI-Score\n\t\t\tbrowser off\n\t\t}"} {
		s := newGradedSite(t, "", options)
		b := newBrowser(t)
		s.open(b, "u-2001", "c-31", "quiz-one")
		res := b.do(b.request("POST", s.site("/lti/score"), strings.NewReader(`{"scoreGiven": 8, "scoreMaximum": 10}`),
			"Origin", s.origin("tool.localhost"), "Sec-Fetch-Site", "same-origin", "Content-Type", "application/json"))
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("%q: %d %s", options, res.StatusCode, res.body)
		}
	}
}

// The whole way, in a browser: a learner does the quiz of the demo, the teacher
// sees the grade in the gradebook of the course and on the tool's own page.
func TestQuizOfTheDemo(t *testing.T) {
	lms, site, _ := startDemo(t)
	ctx := newChrome(t)
	open := func(person string) {
		t.Helper()
		be(ctx, t, lms, person)
		run(ctx, t, chromedp.Click(firstCourse))
	}
	open("Zoë")
	run(ctx, t, chromedp.Click(`//a[text()="Quiz: The Moon"]`), chromedp.WaitVisible(chromedp.CSS(`iframe.tool`)))
	quiz := frame(ctx, t, site+"/quiz.html")
	handIn(quiz, t, "Two", "Sunlight", "Two")
	run(quiz, t, chromedp.WaitVisible(`//p[@id="result"][contains(., "2 of 3. It is in your course's gradebook.")]`))
	shot(ctx, t, "demo-quiz")

	// The teacher, who does it too, gets no grade.
	open("Ada")
	run(ctx, t, chromedp.Click(`//a[text()="Quiz: The Moon"]`), chromedp.WaitVisible(chromedp.CSS(`iframe.tool`)))
	quiz = frame(ctx, t, site+"/quiz.html")
	run(quiz, t,
		chromedp.Click(`//label[contains(., "Two")]/input[@name="q1"]`),
		chromedp.Click(`//label[contains(., "Tides")]/input[@name="q2"]`),
		chromedp.Click(`//label[contains(., "Two")]/input[@name="q3"]`),
		chromedp.Click(`//button[text()="Hand in"]`),
		chromedp.WaitVisible(`//p[@id="result"][contains(., "You get no grade here")]`),
		chromedp.Navigate(site+"/lti/grades"),
		chromedp.WaitVisible(`//tr[contains(., "2 / 3")][contains(., "Delivered")]`),
	)
	shot(ctx, t, "demo-grades")
	run(ctx, t,
		chromedp.Navigate(lms+"/course/c-31"),
		chromedp.Click(`//a[text()="Gradebook"]`),
		chromedp.WaitVisible(`//table//tr[contains(., "Zoë")]//*[contains(., "66.67")]`),
	)
	shot(ctx, t, "demo-gradebook")
}

// A platform that hangs keeps no other waiting: its scores, its launches, and
// the pages of both go on as before.
func TestHangingPlatformDelaysNoOther(t *testing.T) {
	for name, quirks := range map[string][]string{"": nil, "where line items are looked for": {"no_lineitem", "on"}} {
		t.Run(name, func(t *testing.T) { testHangingPlatform(t, quirks) })
	}
}

func testHangingPlatform(t *testing.T, quirks []string) {
	s := newGradedSite(t, "", "")
	other := s.secondPlatform(t, "other")
	s.fault(t, quirks...)
	other.fault(t, quirks...)
	var stuck, free []string
	for _, person := range []string{"u-2001", "u-2002", "u-2003"} {
		for _, activity := range []string{"quiz-one", "quiz-two"} {
			stuck = append(stuck, s.open(newBrowser(t), person, "c-31", activity))
			free = append(free, other.open(newBrowser(t), person, "c-31", activity))
		}
	}
	s.fault(t, "ags", "hang", "token", "hang")
	begun := time.Now()
	var held []string
	for i, token := range stuck { // more than may be under way to one platform
		id := s.call(t, token, "POST", "scores", `{"scoreGiven": 1, "scoreMaximum": 2}`).json(t)["id"].(string)
		held = append(held, id)
		if got := s.call(t, free[i], "POST", "scores?wait=20s", `{"scoreGiven": 1, "scoreMaximum": 2}`).json(t); got["state"] != "delivered" {
			t.Errorf("a score for the other platform: %v", got)
		}
	}
	b := newBrowser(t)
	other.open(b, "u-2001", "c-32", "quiz-one")
	s.open(b, "u-2001", "c-32", "quiz-one")
	if res := b.get(s.site("/one/")); res.StatusCode != http.StatusOK {
		t.Errorf("the app: %d", res.StatusCode)
	}
	if took := time.Since(begun); took > 8*time.Second { // one call to the platform takes its 10 s
		t.Errorf("all that took %s", took)
	}
	for i, id := range held {
		if got := s.call(t, stuck[i], "GET", "scores/"+id, "").json(t); got["state"] != "queued" {
			t.Errorf("a score for the platform that hangs: %v", got)
		}
	}
	res := newBrowser(t).get(fmt.Sprintf("http://localhost:%d/metrics", s.admin), "Accept", "text/plain")
	for _, want := range []string{
		`caddy_lti_scores_total{platform="other",state="delivered"} 6`,
		`caddy_lti_scores_waiting{platform="demo"} 6`,
	} {
		if !strings.Contains(res.body, want) {
			t.Errorf("the metrics lack %s in:\n%s", want, res.body)
		}
	}
	s.fault(t, "reset", "faults")
	for i, id := range held {
		until(t, "the scores that waited", func() bool {
			return s.call(t, stuck[i], "GET", "scores/"+id, "").json(t)["state"] == "delivered"
		})
	}
}
