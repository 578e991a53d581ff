package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// inspection asks for a link, and returns it.
func (t *tool) inspection(tb testing.TB, args ...string) string {
	tb.Helper()
	out, err := t.lti(append([]string{"inspect"}, args...)...)
	link, _, _ := strings.Cut(out, "\n")
	if err != nil || !strings.HasPrefix(link, t.url("/lti/inspect?key=")) {
		tb.Fatalf("caddy lti inspect %v: %v\n%s", args, err, out)
	}
	return link
}

// inspected opens such a link, and returns the page and its title.
func (t *tool) inspected(tb testing.TB, link string) (body, title string) {
	tb.Helper()
	res := newBrowser(tb).get(link, "Accept", "text/html")
	for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"} {
		if got := res.Header.Get(name); got != want {
			tb.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	_, title, _ = strings.Cut(res.body, "<h1>")
	title, _, _ = strings.Cut(title, "</h1>")
	return res.body, title
}

var checkShown = regexp.MustCompile(`<li class="note check_(ok|failed|open)"`)

// states says of each check of a page whether it is in order (o), not (f), or was
// not reached (a dot).
func states(body string) string {
	var b strings.Builder
	for _, m := range checkShown.FindAllStringSubmatch(body, -1) {
		b.WriteString(map[string]string{"ok": "o", "failed": "f", "open": "."}[m[1]])
	}
	return b.String()
}

// The administrator sees the next launch, step by step.
func TestInspect(t *testing.T) {
	site := startTool(t, "", echo)
	link := site.inspection(t, "lms")
	if body, title := site.inspected(t, link); title != "Waiting for a launch" || !strings.Contains(body, `http-equiv="refresh"`) {
		t.Fatalf("before: %s", mainOf(body))
	}
	b := newBrowser(t)
	auth := site.login(b)
	body, title := site.inspected(t, link)
	if title != "The login came, the launch has not yet" || !strings.Contains(body, `http-equiv="refresh"`) ||
		!strings.Contains(body, "https://lms.example/auth") || !regexp.MustCompile(`^o+\.+$`).MatchString(states(body)) {
		t.Errorf("after the login: %q %s", states(body), mainOf(body))
	}
	person := map[string]any{
		"name": "Zoë Zeta", "email": "zoe@example.edu", "sub": "subject-of-zoe",
		ltitest.Claim("custom"): map[string]any{"mail": "zoe@example.edu", "due": "$ResourceLink.submission.endDateTime"},
	}
	claims := ltitest.With(site.platform.Claims(auth.Get("nonce"), site.url("/")), person)
	token := site.platform.Token(claims)
	if res := site.post(b, auth.Get("state"), token); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("launch: %d %s", res.StatusCode, res.body)
	}
	body, title = site.inspected(t, link)
	if title != "This launch was accepted" || strings.Contains(body, "refresh") || !regexp.MustCompile(`^o{20,}$`).MatchString(states(body)) {
		t.Errorf("after the launch: %q %q %s", title, states(body), mainOf(body))
	}
	for _, want := range []string{"RS256", site.platform.ClientID, "membership#Learner", "$ResourceLink.submission.endDateTime", "‹8 characters›", "POST /lti/launch"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %s: %s", want, mainOf(body))
		}
	}
	for _, secret := range []string{"Zoë", "zoe@", "subject-of-zoe", auth.Get("nonce"), auth.Get("state"), token[len(token)-40:], "hint\n"} {
		if strings.Contains(body, secret) {
			t.Errorf("the page has %s: %s", secret, mainOf(body))
		}
	}

	// It was for one launch.
	if res := site.launch(newBrowser(t), map[string]any{"nonce": "x"}); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("%d", res.StatusCode)
	}
	if again, _ := site.inspected(t, link); again != body {
		t.Errorf("another launch changed it: %s", mainOf(again))
	}
	key := link[strings.Index(link, "key=")+4:]
	if strings.Contains(site.log.String(), key) {
		t.Error("the log has the link")
	}
	for name, other := range map[string]string{
		"another key": strings.Replace(link, key, strings.Repeat("A", len(key)), 1), "none": site.url("/lti/inspect"), "empty": site.url("/lti/inspect?key="),
	} {
		if res := newBrowser(t).get(other, "Accept", "text/html"); res.StatusCode != http.StatusNotFound || !strings.Contains(res.body, "shows nothing any more") {
			t.Errorf("%s: %d %s", name, res.StatusCode, mainOf(res.body))
		}
	}
}

func strangersToken(tb testing.TB, site *tool, nonce string) string {
	tb.Helper()
	payload, err := json.Marshal(site.platform.Claims(nonce, site.url("/")))
	if err != nil {
		tb.Fatal(err)
	}
	return ltitest.RSAKey(tb, 1, "key-1").Sign(site.platform.Header(), payload, nil)
}

// A launch that goes on in a window is watched there.
func TestInspectWithoutCookies(t *testing.T) {
	site := startTool(t, "", echo)
	link := site.inspection(t)
	q := url.Values{"iss": {site.platform.Issuer}, "login_hint": {"hint"}, "client_id": {site.platform.ClientID}, "target_link_uri": {site.url("/")}}
	frame := []string{"Sec-Fetch-Dest", "iframe", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "cross-site"}
	res := newBrowser(t).get(site.url("/lti/login?"+q.Encode()), frame...)
	loc, err := res.Location()
	if err != nil || !loc.Query().Has("probe") {
		t.Fatalf("%d %s", res.StatusCode, res.body)
	}
	res = newBrowser(t).get(loc.String(), frame...)
	ticket := ticketShown.FindStringSubmatch(res.body)
	if len(ticket) == 0 {
		t.Fatalf("no ticket: %s", mainOf(res.body))
	}
	if body, title := site.inspected(t, link); title != "The login came, the launch has not yet" || !strings.Contains(body, "keeps no cookie in this frame") {
		t.Errorf("in the frame: %q %s", title, mainOf(body))
	}
	window := newBrowser(t)
	own := []string{"Sec-Fetch-Site", "same-origin", "Origin", site.url("")}
	res = window.passProbe(window.post(site.url("/lti/login"), url.Values{"ticket": {ticket[1]}}.Encode(), own...))
	loc, err = res.Location()
	if err != nil {
		t.Fatalf("%d %s", res.StatusCode, mainOf(res.body))
	}
	token := site.platform.Token(site.platform.Claims(loc.Query().Get("nonce"), site.url("/")))
	if res := site.post(window, loc.Query().Get("state"), token); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d %s", res.StatusCode, mainOf(res.body))
	}
	if body, title := site.inspected(t, link); title != "This launch was accepted" || !strings.Contains(body, "the person clicked") && !strings.Contains(body, "keeps cookies here") {
		t.Errorf("in the window: %q %s", title, mainOf(body))
	}
}

var ticketShown = regexp.MustCompile(`name="ticket" value="([^"]+)"`)

// Each refusal is shown in the step that found it, and the steps before are green,
// but for those of a login that did not take place here.
func TestInspectRefused(t *testing.T) {
	site := startTool(t, "\t\tallow role learner", echo)
	launch := func(diff map[string]any) func() { return func() { site.launch(newBrowser(t), diff) } }
	login := func(diff ...string) func() {
		return func() {
			q := url.Values{"iss": {site.platform.Issuer}, "login_hint": {"hint"}, "client_id": {site.platform.ClientID}, "target_link_uri": {site.url("/")}}
			for i := 0; i < len(diff); i += 2 {
				q.Set(diff[i], diff[i+1])
			}
			newBrowser(t).get(site.url("/lti/login?" + q.Encode()))
		}
	}
	for _, tt := range []struct {
		name   string
		of     string // platform that is waited for
		launch func()
		fault  string // code
		says   string
		step   string // that is red
	}{
		{"no login hint", "lms", login("login_hint", ""), "login_hint_missing", "administrator of the LMS", "The login request has"},
		{"wrong client id", "lms", login("client_id", "other"), "platform_unknown", "other", "Its issuer and client id"},
		{"wrong issuer", "", login("iss", "https://other.example"), "platform_unknown", "https://other.example", "Its issuer and client id"},
		{"LTI 1.1", "", func() {
			newBrowser(t).post(site.url("/lti/launch"), "lti_message_type=basic-lti-launch-request&lti_version=LTI-1p0&lis_person_name_full=Zo%C3%AB")
		}, "state_missing", "basic-lti-launch-request", "comes as a form with state"},
		{"state of another site", "", func() { site.post(newBrowser(t), "x", "a.b.c") }, "state_invalid", "", "The state was made by this site"},
		{"another browser", "lms", func() {
			auth := site.login(newBrowser(t))
			site.post(newBrowser(t), auth.Get("state"), site.platform.Token(site.platform.Claims(auth.Get("nonce"), site.url("/"))))
		}, "state_cookie_missing", "", "from the browser in which the login began"},
		{"platform says no", "lms", func() {
			b := newBrowser(t)
			auth := site.login(b)
			b.post(site.url("/lti/launch"), url.Values{"state": {auth.Get("state")}, "error": {"login_required"}, "error_description": {"Zoë is gone"}}.Encode())
		}, "platform_error", "login_required", "The platform agrees"},
		{"another key", "lms", func() {
			b := newBrowser(t)
			auth := site.login(b)
			site.post(b, auth.Get("state"), strangersToken(t, site, auth.Get("nonce")))
		}, "signature_invalid", "", "A key of the platform has signed"},
		{"another client id", "lms", launch(map[string]any{"aud": "other"}), "audience_mismatch", "Security Framework §5.1.3 rule 3", "iss, aud and azp"},
		{"expired", "lms", launch(map[string]any{"exp": 1}), "token_expired", "", "exp, iat and nbf"},
		{"nonce", "lms", launch(map[string]any{"nonce": "other"}), "nonce_mismatch", "", "The nonce is"},
		{"version", "lms", launch(map[string]any{ltitest.Claim("version"): "1.2"}), "version_wrong", "1.2", "LTI version"},
		{"deployment", "lms", launch(map[string]any{ltitest.Claim("deployment_id"): "other"}), "deployment_unknown", "write: deployment", "The deployment is known"},
		{"anonymous", "lms", launch(map[string]any{"sub": ltitest.Absent}), "sub_missing", "", "who this is"},
		{"target missing", "lms", launch(map[string]any{ltitest.Claim("target_link_uri"): ltitest.Absent}), "target_link_uri_missing", "", "has a target_link_uri"},
		{"foreign target", "lms", launch(map[string]any{ltitest.Claim("target_link_uri"): "https://evil.example/"}), "target_link_uri_foreign", "evil.example", "leads to a page of this site"},
		{"role", "lms", launch(map[string]any{ltitest.Claim("roles"): []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"}}), "role_refused", "", "roles are let in"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var args []string
			if tt.of != "" {
				args = []string{tt.of}
			}
			link := site.inspection(t, args...)
			tt.launch()
			body, title := site.inspected(t, link)
			_, red, _ := strings.Cut(body, `<li class="note check_failed">`)
			red, _, _ = strings.Cut(red, "</li>")
			if title != "This launch was refused" || !regexp.MustCompile(`^\.*o*f\.*$`).MatchString(states(body)) ||
				!strings.Contains(red, tt.step) || !strings.Contains(red, tt.fault) || !strings.Contains(body, tt.says) {
				t.Errorf("%q %q, red: %s\n%s", title, states(body), red, mainOf(body))
			}
			if strings.Contains(body, "Zoë") {
				t.Errorf("a name: %s", mainOf(body))
			}
		})
	}
	// Who waits for a platform is shown no other's.
	link := site.inspection(t, "lms")
	login("iss", "https://other.example")()
	if _, title := site.inspected(t, link); title != "Waiting for a launch" {
		t.Errorf("another platform's login: %s", title)
	}
	for _, args := range [][]string{{"inspect", "nobody"}, {"inspect", "--site", "https://other.example/lti"}} {
		if out, err := site.lti(args...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}
