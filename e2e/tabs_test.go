package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// whichLaunch answers with the launch that a request was taken for.
const whichLaunch = `respond "link={http.request.header.X-LTI-Resource-Link-Id} launch={http.request.header.X-LTI-Launch-Id}."`

// activity are the claims of a launch of one activity.
func activity(tl *tool, link, target string) map[string]any {
	return map[string]any{
		ltitest.Claim("resource_link"):   map[string]any{"id": link},
		ltitest.Claim("target_link_uri"): tl.url(target),
	}
}

// linkOf returns the activity that a request was taken for.
func linkOf(res *answer) string {
	_, rest, _ := strings.Cut(res.body, "link=")
	link, _, _ := strings.Cut(rest, " ")
	return link
}

func launchOf(res *answer) string {
	_, rest, _ := strings.Cut(res.body, "launch=")
	id, _, _ := strings.Cut(rest, ".")
	return id
}

// Which of a person's launches a request belongs to.
func TestRequestsFindTheirLaunch(t *testing.T) {
	tl := startTool(t, "public /open/*", whichLaunch)
	b := newBrowser(t)
	for _, a := range [][2]string{
		{"ch1", "/ch1.html"},
		{"ch2", "/ch2.html"},
		{"unit", "/unit/3/start.html"},
		{"spa", "/spa"},
		{"q1", "/quiz?item=1"},
		{"q2", "/quiz?item=2&x=y"},
		{"old", "/twice"},
		{"new", "/twice"},
		{"umlaut", "/%C3%BCbung/"},
	} {
		tl.mustLaunch(b, activity(tl, a[0], a[1]))
	}
	const newest = "umlaut" // the cookie's own
	for _, tt := range []struct{ path, referer, want string }{
		{"/ch1.html", "", "ch1"},
		{"/ch2.html", "", "ch2"},
		{"/ch1.html?page=2", "", "ch1"},
		{"/ch1.html", "/ch2.html", "ch1"}, // the path comes first
		{"/api/save", "/ch1.html", "ch1"},
		{"/api/save", "/ch2.html?page=3", "ch2"},
		{"/api/save", "", newest},
		{"/api/save", "https://elsewhere.example/ch1.html", newest},
		{"/open/style.css", "/ch1.html", "ch1"},
		{"/unit/3/start.html", "", "unit"},
		{"/unit/3/img/a.png", "", "unit"},
		{"/unit/4/img/a.png", "", newest},
		{"/spa/deep/inside", "", "spa"},
		{"/spa2", "", newest},
		{"/quiz?item=1", "", "q1"},
		{"/quiz?item=2&x=y", "", "q2"},
		{"/quiz?x=y&item=2&page=4", "", "q2"},
		{"/quiz?item=1&page=4", "", "q1"},
		{"/quiz/submit", "/quiz?item=1", "q1"},
		{"/quiz/submit", "/quiz?item=2&x=y", "q2"},
		{"/quiz", "", "q2"}, // the newest of the two
		{"/twice", "", "new"},
		{"/%C3%BCbung/x", "", "umlaut"},
		{"/", "", newest},
	} {
		t.Run(tt.path+" from "+tt.referer, func(t *testing.T) {
			var header []string
			if strings.HasPrefix(tt.referer, "/") {
				header = []string{"Referer", tl.url(tt.referer)}
			} else if tt.referer != "" {
				header = []string{"Referer", tt.referer}
			}
			if got := linkOf(b.get(tl.url(tt.path), header...)); got != tt.want {
				t.Errorf("taken for %q, expected %q", got, tt.want)
			}
		})
	}
	// By name, whatever the path.
	id := launchOf(b.get(tl.url("/ch1.html")))
	for _, res := range []*answer{
		b.get(tl.url("/ch2.html"), "X-LTI-Launch-Id", id),
		b.get(tl.url("/ch2.html?lti_launch_id=" + id)),
		b.get(tl.url("/api/save"), "Referer", tl.url("/ch2.html?lti_launch_id="+id)),
	} {
		if linkOf(res) != "ch1" {
			t.Errorf("named by its id, the launch is not found: %d %s", res.StatusCode, res.body)
		}
	}
	// A name that is none, and one of somebody else.
	other := newBrowser(t)
	tl.mustLaunch(other, ltitest.With(activity(tl, "theirs", "/theirs"), map[string]any{"sub": "user-2"}))
	theirs := launchOf(other.get(tl.url("/theirs")))
	for _, id := range []string{"made-up", theirs} {
		if res := b.get(tl.url("/ch1.html?lti_launch_id=" + id)); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("named %q: %d %s", id, res.StatusCode, res.body)
		}
		if res := b.get(tl.url("/ch1.html"), "X-LTI-Launch-Id", id); linkOf(res) != "ch1" {
			t.Errorf("with a header %q: %d %s", id, res.StatusCode, res.body)
		}
	}
	if res := b.get(tl.url("/open/x?lti_launch_id=made-up")); res.StatusCode != http.StatusOK || linkOf(res) != "" {
		t.Errorf("public, with the name of no launch: %d %s", res.StatusCode, res.body)
	}

	// It is all there after a restart.
	tl.stop()
	tl.start(global(ltiGlobal) + toolSite(tl.platform, "public /open/*", whichLaunch))
	for path, want := range map[string]string{"/ch1.html": "ch1", "/quiz?item=1": "q1", "/": newest} {
		if got := linkOf(b.get(tl.url(path))); got != want {
			t.Errorf("after a restart %s is taken for %q, expected %q", path, got, want)
		}
	}
	// The end of one is the end of all.
	if res := b.post(tl.url("/lti/logout"), "", "Sec-Fetch-Site", "same-origin"); res.StatusCode != http.StatusOK {
		t.Fatalf("logout: %d", res.StatusCode)
	}
	if res := b.get(tl.url("/ch1.html")); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("after logout: %d", res.StatusCode)
	}
}

// Two tabs, two activities, a thousand interleaved requests, and launches among
// them: none is taken for the other's.
func TestTabsNeverCross(t *testing.T) {
	tl := startTool(t, "", whichLaunch)
	b := newBrowser(t)
	tl.mustLaunch(b, activity(tl, "a", "/a/"))
	tl.mustLaunch(b, activity(tl, "b", "/b/"))
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 125 {
				tab := []string{"a", "b"}[rand.IntN(2)] //nolint:gosec // only a choice
				path, header := fmt.Sprintf("/%s/page%d", tab, i), []string(nil)
				if i%3 == 0 {
					path, header = "/api", []string{"Referer", tl.url("/" + tab + "/")}
				}
				if got := linkOf(b.get(tl.url(path), header...)); got != tab {
					t.Errorf("worker %d: a request of tab %s is taken for %q", w, tab, got)
				}
				if i%50 == 49 {
					tl.mustLaunch(b, activity(tl, tab, "/"+tab+"/"))
				}
			}
		})
	}
	wg.Wait()
}

// A page with several frames of one tool launches them all at once, in a browser
// that has never been here.
func TestFramesOfOnePage(t *testing.T) {
	tl := startTool(t, "", whichLaunch)
	for range 5 {
		b := newBrowser(t)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() { tl.mustLaunch(b, activity(tl, fmt.Sprint("frame", i), fmt.Sprintf("/frame%d/", i))) })
		}
		wg.Wait()
		for i := range 4 {
			if got, want := linkOf(b.get(tl.url(fmt.Sprintf("/frame%d/x", i)))), fmt.Sprint("frame", i); got != want {
				t.Errorf("%s is taken for %q", want, got)
			}
		}
	}
}
