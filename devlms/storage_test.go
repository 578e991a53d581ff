package devlms

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const testOrigins = "http://site.localhost:8080 https://other.example http://echo.localhost:8080"

// TestStorageTarget: login and launch name what keeps the values, in a frame
// and in a window.
func TestStorageTarget(t *testing.T) {
	for _, tc := range []struct {
		storage string
		want    []string
	}{
		{storageOff, nil},
		{storageFrame, []string{"post_message_forwarding"}},
		{storageParent, []string{"_parent"}},
	} {
		for _, activity := range []string{chapter1, chapter2} {
			t.Run(tc.storage+activity, func(t *testing.T) {
				l := newLMS(t)
				l.storage = tc.storage
				same := func(step string, got []string) {
					t.Helper()
					if strings.Join(got, " ") != strings.Join(tc.want, " ") || len(got) != len(tc.want) {
						t.Errorf("%s: expected %q, got %q", step, tc.want, got)
					}
				}
				_, login := readPost(t, l.get("/initiate"+activity))
				same("login", login["lti_storage_target"])
				params := l.authRequest(activity)
				_, launch := readPost(t, l.auth(params))
				if !launch.Has("id_token") {
					t.Fatalf("no launch: %v", launch)
				}
				same("launch", launch["lti_storage_target"])
				if _, again := readPost(t, l.auth(params)); again.Has("lti_storage_target") || !again.Has("error") {
					t.Errorf("expected an error alone, got %v", again)
				}
			})
		}
	}
}

func TestStoragePages(t *testing.T) {
	const (
		frame  = `<iframe name="post_message_forwarding" src="/storage"`
		script = `<script src="/assets/messages.js?v=`
		keeps  = ` data-origins="` + testOrigins + `"`
		sends  = ` data-frame="post_message_forwarding"`
		inTool = "; script-src 'self'; frame-src *"
		listen = "; script-src 'self'; frame-src 'self'"
	)
	framed, window := "/course/c-31/activity/site.chapter-1-b", "/course/c-31/activity/site.chapter-2"
	for _, tc := range []struct {
		storage, path string
		code          int
		policy        string // how it ends
		has, lacks    []string
	}{
		{storageOff, framed, 200, inTool, []string{script}, []string{"data-", frame}},
		{storageOff, window, 200, "form-action 'self'", nil, []string{"<script", "data-", frame, "opener"}},
		{storageOff, "/storage", 404, "form-action 'self'", nil, []string{"<script"}},
		{storageParent, framed, 200, inTool, []string{script, keeps}, []string{sends, frame}},
		{storageParent, window, 200, listen, []string{script, keeps, `target="_blank" rel="opener"`}, []string{sends, frame}},
		{storageParent, "/storage", 404, "form-action 'self'", nil, []string{"<script"}},
		{storageFrame, framed, 200, inTool, []string{script, keeps, sends, frame}, nil},
		{storageFrame, window, 200, listen, []string{script, keeps, sends, frame, `target="_blank" rel="opener"`}, nil},
		{storageFrame, "/storage", 200, listen, []string{script, keeps}, []string{sends, "<iframe"}},
	} {
		t.Run(tc.storage+tc.path, func(t *testing.T) {
			l := newLMS(t)
			l.storage = tc.storage
			if tc.path == "/storage" {
				l.who = "" // its frame may be without the cookie
			}
			w := l.get(tc.path)
			if w.Code != tc.code {
				t.Fatalf("expected %d, got %d", tc.code, w.Code)
			}
			csp := w.Header().Get("Content-Security-Policy")
			if !strings.HasSuffix(csp, tc.policy) || strings.Contains(csp, "unsafe") {
				t.Errorf("policy %q", csp)
			}
			body := w.Body.String()
			for _, s := range tc.has {
				if !strings.Contains(body, s) {
					t.Errorf("%q is missing in %s", s, body)
				}
			}
			for _, s := range tc.lacks {
				if strings.Contains(body, s) {
					t.Errorf("%q is in %s", s, body)
				}
			}
			// Whoever the tool speaks to must be listening when its frame loads.
			tool := strings.Index(body, `<iframe class="tool"`)
			if tool >= 0 && (strings.Index(body, script) > tool || strings.Index(body, frame) > tool) {
				t.Error("the tool comes before its listener")
			}
		})
	}
}

// TestStorageCookie: after a page of the tool the LMS still knows who it is.
func TestStorageCookie(t *testing.T) {
	for storage, want := range map[string]string{
		storageOff:    "devlms_user=u-2002; Path=/; HttpOnly; SameSite=Lax",
		storageFrame:  "devlms_user=u-2002; Path=/; HttpOnly; Secure; SameSite=None",
		storageParent: "devlms_user=u-2002; Path=/; HttpOnly; Secure; SameSite=None",
	} {
		l := newLMS(t)
		l.storage = storage
		w := l.do(http.MethodPost, "/person", url.Values{"person": {"u-2002"}})
		if got := w.Header().Get("Set-Cookie"); got != want {
			t.Errorf("%s: expected %s, got %s", storage, want, got)
		}
	}
}

func TestMessagesScript(t *testing.T) {
	l := newLMS(t)
	l.who = ""
	w := l.get("/assets/messages.js")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("got %d, %s", w.Code, w.Header().Get("Content-Type"))
	}
}
