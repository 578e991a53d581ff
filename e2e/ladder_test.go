package e2e

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// The ladder by which a launch finds back to its browser, step by step. What
// real browsers make of it is in frames_test.go.

const agent = "Mozilla/5.0 (X11; Linux x86_64) Example/1.0"

// inFrame are the headers of a navigation in the LMS's frame.
var inFrame = []string{"Sec-Fetch-Dest", "iframe", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "cross-site", "User-Agent", agent}

// ownForm are those of a form that our own page posts into a new window.
func ownForm(tl *tool) []string {
	return []string{"Sec-Fetch-Dest", "document", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "same-origin", "Origin", "null", "User-Agent", agent}
}

// with overrides headers; an empty value leaves one out.
func with(headers []string, diff ...string) []string {
	vals := make(map[string]string)
	for _, list := range [][]string{headers, diff} {
		for i := 0; i+1 < len(list); i += 2 {
			vals[list[i]] = list[i+1]
		}
	}
	var out []string
	for name, val := range vals {
		if val != "" {
			out = append(out, name, val)
		}
	}
	return out
}

// forgetful is a browser that keeps no cookie.
func forgetful(tb testing.TB) *browser {
	b := newBrowser(tb)
	b.forgetful = true
	return b
}

func (t *tool) loginURL(more ...string) string {
	q := url.Values{
		"iss": {t.platform.Issuer}, "login_hint": {"hint"}, "client_id": {t.platform.ClientID},
		"target_link_uri": {t.url("/")}, "lti_message_hint": {`{"cmid":1}`},
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return t.url(t.base + "/login?" + q.Encode())
}

var inputs = regexp.MustCompile(`<input type="hidden" name="([a-z_]+)"(?: value="([^"]*)")?>`)

// hidden returns the hidden fields of a page's forms.
func hidden(body string) url.Values {
	vals := make(url.Values)
	for _, m := range inputs.FindAllStringSubmatch(body, -1) {
		vals.Add(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	return vals
}

var dataAttrs = regexp.MustCompile(` data-([a-z]+)="([^"]*)"`)

// exchange returns what a page asks the platform's storage.
func exchange(body string) map[string]string {
	_, attrs, _ := strings.Cut(body, "<body")
	attrs, _, _ = strings.Cut(attrs, ">")
	vals := make(map[string]string)
	for _, m := range dataAttrs.FindAllStringSubmatch(attrs, -1) {
		vals[m[1]] = html.UnescapeString(m[2])
	}
	return vals
}

// signed makes a token for an authentication request.
func (t *tool) signed(auth url.Values) string {
	return t.platform.Token(t.platform.Claims(auth.Get("nonce"), t.url("/quiz")))
}

func isPlatform(loc *url.URL) bool { return loc != nil && loc.Host == "lms.example" }

func location(res *answer) *url.URL {
	loc, _ := res.Location()
	return loc
}

// Where a cookie is known to come back, or nothing says that it might not, no
// redirect is lost on it; else one is.
func TestProbe(t *testing.T) {
	tl := startTool(t, "", echo)
	known := func(tb testing.TB) *browser {
		b := newBrowser(tb)
		tl.mustLaunch(b, nil)
		return b
	}
	for _, tt := range []struct {
		name    string
		browser func(testing.TB) *browser
		params  []string
		headers []string
		probed  bool
	}{
		{"a frame", newBrowserOf, nil, inFrame, true},
		{"a nested frame", newBrowserOf, nil, with(inFrame, "Sec-Fetch-Dest", "frame"), true},
		{"a frame of a browser that has been here", known, nil, inFrame, false},
		{"a window", newBrowserOf, nil, with(inFrame, "Sec-Fetch-Dest", "document"), false},
		{"an old browser", newBrowserOf, nil, []string{"User-Agent", agent}, true},
		{"no browser", newBrowserOf, nil, []string{"User-Agent", "curl/8"}, false},
		{"storage offered", newBrowserOf, []string{"lti_storage_target", "_parent"}, []string{"User-Agent", "curl/8"}, true},
		{"hints too long for a URL", newBrowserOf, []string{"lti_message_hint", strings.Repeat("x", 7000)}, inFrame, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.browser(t)
			before := len(tl.log.String())
			res := b.get(tl.loginURL(tt.params...), tt.headers...)
			loc := location(res)
			// The access log has no logins, so each writes a line of its own, be it
			// that nobody follows the redirect.
			until(t, "a line about the login", func() bool {
				line := tl.log.String()[before:]
				return strings.Contains(line, `"msg":"login `) && strings.Contains(line, `"platform":"lms"`) && !strings.Contains(line, "cmid")
			})
			if res.StatusCode != http.StatusFound || loc == nil {
				t.Fatalf("got %d: %s", res.StatusCode, res.body)
			}
			if probed := loc.Query().Has("probe") && loc.Path == "/lti/login"; probed != tt.probed || probed == isPlatform(loc) {
				t.Fatalf("leads to %s", loc)
			}
			if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Referrer-Policy") != "no-referrer" {
				t.Errorf("Cache-Control %q, Referrer-Policy %q", res.Header.Get("Cache-Control"), res.Header.Get("Referrer-Policy"))
			}
			res = b.passProbe(res, tt.headers...)
			loc = location(res)
			if !isPlatform(loc) {
				t.Fatalf("after the probe: %d to %v", res.StatusCode, loc)
			}
			auth := loc.Query()
			if auth.Get("login_hint") != "hint" || auth.Get("lti_message_hint") == "" || auth.Get("redirect_uri") != tl.url("/lti/launch") {
				t.Errorf("the authentication request is %v", auth)
			}
			if res := tl.post(b, auth.Get("state"), tl.signed(auth), inFrame...); res.StatusCode != http.StatusSeeOther {
				t.Errorf("launch: %d %s", res.StatusCode, res.body)
			}
		})
	}
}

func newBrowserOf(tb testing.TB) *browser { return newBrowser(tb) }

// A frame that keeps no cookie: one click opens a window, where the same launch
// goes on.
func TestWindow(t *testing.T) {
	tl := startTool(t, "", echo)
	frame := forgetful(t)
	offer := func(t *testing.T) url.Values {
		t.Helper()
		res := frame.passProbe(frame.get(tl.loginURL(), inFrame...), inFrame...)
		ticket := hidden(res.body)
		if res.StatusCode != http.StatusOK || len(ticket["ticket"]) != 1 || !strings.Contains(res.body, `target="_blank"`) ||
			!strings.Contains(res.body, "Open in a new window") {
			t.Fatalf("the frame shows %d %s", res.StatusCode, res.body)
		}
		if strings.Contains(res.body, "<script") {
			t.Error("a script where there is nothing for it to do")
		}
		return ticket
	}
	open := func(b *browser, ticket url.Values, headers []string) *answer {
		return b.passProbe(b.post(tl.url("/lti/login"), ticket.Encode(), headers...), with(inFrame, "Sec-Fetch-Dest", "document")...)
	}

	ticket := offer(t)
	window := newBrowser(t)
	res := open(window, ticket, ownForm(tl))
	auth := location(res).Query()
	if !isPlatform(location(res)) || auth.Get("login_hint") != "hint" || auth.Get("lti_message_hint") != `{"cmid":1}` {
		t.Fatalf("the window is led to %v", location(res))
	}
	// The platform asks for a sign-in first: the window may be closed, and opened again.
	again := location(open(window, ticket, ownForm(tl))).Query()
	if again.Get("nonce") == auth.Get("nonce") || again.Get("state") == auth.Get("state") {
		t.Error("two logins with one nonce")
	}
	if res := tl.post(window, auth.Get("state"), tl.signed(auth)); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != tl.url("/quiz") {
		t.Fatalf("launch in the window: %d %s", res.StatusCode, res.body)
	}
	if res := window.get(tl.url("/quiz")); !strings.Contains(res.body, "user=user-1@lms") {
		t.Errorf("in the window: %d %s", res.StatusCode, res.body)
	}
	tl.logs(t, "launch accepted", `"way":"window"`)
	// All that comes of one ticket is one launch.
	if res := tl.post(window, again.Get("state"), tl.signed(again)); res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.body, "opened before") {
		t.Errorf("a second launch of one ticket: %d %s", res.StatusCode, res.body)
	}
	mustRefuse(t, tl, open(newBrowser(t), ticket, ownForm(tl)), 403, "ticket_used")

	// A window whose browser keeps no cookie either hears so, before the
	// platform's hint is spent.
	res = open(forgetful(t), offer(t), ownForm(tl))
	if res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "Your browser keeps no cookies") || strings.Contains(res.body, "ticket") {
		t.Errorf("a browser without cookies: %d %s", res.StatusCode, res.body)
	}

	for name, tt := range map[string]struct {
		ticket  string
		headers []string
		status  int
		code    string
	}{
		"from another site":          {"", with(ownForm(tl), "Sec-Fetch-Site", "cross-site"), 403, "request_foreign_origin"},
		"from a sibling":             {"", with(ownForm(tl), "Sec-Fetch-Site", "same-site"), 403, "request_foreign_origin"},
		"by hand":                    {"", with(ownForm(tl), "Sec-Fetch-Site", "none"), 403, "request_foreign_origin"},
		"an old browser, other site": {"", with(ownForm(tl), "Sec-Fetch-Site", "", "Sec-Fetch-Mode", "", "Origin", "https://evil.example"), 403, "request_foreign_origin"},
		"in another browser":         {"", with(ownForm(tl), "User-Agent", "Mozilla/5.0 Other/2"), 403, "ticket_elsewhere"},
		"made up":                    {"AAAA", ownForm(tl), 400, "ticket_invalid"},
		"empty":                      {" ", ownForm(tl), 400, "ticket_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			given := offer(t)
			if tt.ticket != "" {
				given.Set("ticket", tt.ticket)
			}
			b := newBrowser(t)
			mustRefuse(t, tl, open(b, given, tt.headers), tt.status, tt.code)
			if len(b.stateCookies(tl.host)) > 0 {
				t.Error("the refusal set a cookie")
			}
		})
	}
	t.Run("a state is no ticket", func(t *testing.T) {
		b := newBrowser(t)
		state := tl.login(b).Get("state")
		mustRefuse(t, tl, open(b, url.Values{"ticket": {state}}, ownForm(tl)), 400, "ticket_invalid")
		mustRefuse(t, tl, b.get(tl.url("/lti/login?probe="+state), inFrame...), 400, "state_invalid")
		mustRefuse(t, tl, tl.post(b, offer(t).Get("ticket"), "x"), 400, "state_invalid")
	})
}

// mustRefuse checks a refusal, by its page and its line in the log.
func mustRefuse(tb testing.TB, tl *tool, res *answer, status int, code string) {
	tb.Helper()
	if res.StatusCode != status {
		tb.Errorf("got %d, expected %d %s: %s", res.StatusCode, status, code, res.body)
	}
	if res.Header.Get("Location") != "" {
		tb.Errorf("the refusal leads to %s", res.Header.Get("Location"))
	}
	reference := referenceOf.FindStringSubmatch(res.body)
	if reference == nil {
		tb.Errorf("no reference in %s", res.body)
		return
	}
	tl.logs(tb, `"code":"`+code+`"`, reference[1])
}

var referenceOf = regexp.MustCompile(`(?:<code dir="ltr" tabindex="0">|"reference":")([A-Za-z0-9_-]{8})`)

// logs waits for a line with all these words.
func (t *tool) logs(tb testing.TB, words ...string) {
	tb.Helper()
	until(tb, fmt.Sprintf("a line of the log with %q", words), func() bool {
		for line := range strings.Lines(t.log.String()) {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				return true
			}
		}
		return false
	})
}

// The platform's storage proves the browser, and one click opens the window in
// which the session can be.
func TestStorage(t *testing.T) {
	tl := startTool(t, "", echo)
	begin := func(t *testing.T, b *browser, target string) (map[string]string, url.Values) {
		t.Helper()
		res := b.passProbe(b.get(tl.loginURL("lti_storage_target", target), inFrame...), inFrame...)
		ask := exchange(res.body)
		next, err := url.Parse(ask["next"])
		if err != nil || res.StatusCode != http.StatusOK || !isPlatform(next) {
			t.Fatalf("the login shows %d %s", res.StatusCode, res.body)
		}
		return ask, next.Query()
	}
	b := forgetful(t)
	ask, auth := begin(t, b, "post_message_forwarding")
	if ask["origin"] != "https://lms.example" || ask["frame"] != "post_message_forwarding" || !strings.HasPrefix(ask["key"], "lti_state_") || len(ask["value"]) < 43 {
		t.Errorf("the page asks %v", ask)
	}
	if strings.Contains(auth.Encode(), url.QueryEscape(ask["value"])) {
		t.Error("the secret is in the URL")
	}
	token := tl.signed(auth)
	res := tl.post(b, auth.Get("state"), token, inFrame...)
	got := exchange(res.body)
	form := hidden(res.body)
	if res.StatusCode != http.StatusOK || got["key"] != ask["key"] || got["origin"] != ask["origin"] || got["frame"] != ask["frame"] || got["next"] != "" || got["value"] != "" {
		t.Fatalf("the launch shows %d %v", res.StatusCode, got)
	}
	if strings.Contains(res.body, ask["value"]) || len(res.Cookies()) > 0 {
		t.Error("the page has the secret, or a session")
	}
	if form.Get("state") != auth.Get("state") || form.Get("id_token") != token {
		t.Error("the page does not post the launch again")
	}
	prove := func(secret, failure string, headers []string) *answer {
		return b.post(tl.url("/lti/launch"), url.Values{
			"state": {auth.Get("state")}, "id_token": {token}, "storage_proof": {secret}, "storage_error": {failure},
		}.Encode(), headers...)
	}
	ownFrame := with(ownForm(tl), "Sec-Fetch-Dest", "iframe", "Origin", tl.origin(tl.host))
	for name, tt := range map[string]struct {
		res    *answer
		status int
		code   string
	}{
		"wrong":             {prove("x"+ask["value"], "", ownFrame), 403, "storage_failed"},
		"empty":             {prove("", "", ownFrame), 403, "storage_failed"},
		"the key":           {prove(ask["key"], "", ownFrame), 403, "storage_failed"},
		"timeout":           {prove("", "timeout", ownFrame), 403, "storage_failed"},
		"error and secret":  {prove(ask["value"], "timeout", ownFrame), 403, "storage_failed"},
		"from another site": {prove(ask["value"], "", with(ownFrame, "Sec-Fetch-Site", "cross-site")), 403, "request_foreign_origin"},
		"old, another site": {prove(ask["value"], "", with(ownFrame, "Sec-Fetch-Site", "", "Sec-Fetch-Mode", "", "Origin", "https://evil.example")), 403, "request_foreign_origin"},
		"old, origin null":  {prove(ask["value"], "", with(ownFrame, "Sec-Fetch-Site", "", "Sec-Fetch-Mode", "", "Origin", "null")), 403, "request_foreign_origin"},
		"no origin at all":  {prove(ask["value"], "", []string{"User-Agent", agent}), 403, "request_foreign_origin"},
	} {
		t.Run(name, func(t *testing.T) {
			mustRefuse(t, tl, tt.res, tt.status, tt.code)
			if len(tt.res.Cookies()) > 0 {
				t.Errorf("sets %v", tt.res.Cookies())
			}
		})
	}
	tl.logs(t, "storage_failed", "timeout")

	res = prove(ask["value"], "", ownFrame)
	ticket := hidden(res.body)
	if res.StatusCode != http.StatusOK || len(ticket["ticket"]) != 1 || len(res.Cookies()) > 0 {
		t.Fatalf("proven: %d %v %s", res.StatusCode, res.Cookies(), res.body)
	}
	if res := prove(ask["value"], "", ownFrame); res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.body, "opened before") {
		t.Errorf("the launch a second time: %d %s", res.StatusCode, res.body)
	}
	open := func(b *browser, ticket string, headers []string) *answer {
		return b.post(tl.url("/lti/launch"), url.Values{"ticket": {ticket}}.Encode(), headers...)
	}
	own := with(ownForm(tl), "Origin", tl.origin(tl.host))
	mustRefuse(t, tl, open(newBrowser(t), ticket.Get("ticket"), with(own, "User-Agent", "curl/8")), 403, "ticket_elsewhere")
	mustRefuse(t, tl, open(newBrowser(t), ticket.Get("ticket"), with(own, "Sec-Fetch-Site", "cross-site")), 403, "request_foreign_origin")
	mustRefuse(t, tl, open(newBrowser(t), ticket.Get("ticket"), with(own, "Sec-Fetch-Site", "", "Origin", "")), 403, "request_foreign_origin")
	mustRefuse(t, tl, open(newBrowser(t), ticket.Get("ticket")+"A", own), 400, "ticket_invalid")
	window := newBrowser(t)
	landed := open(window, ticket.Get("ticket"), own)
	if loc := location(landed); landed.StatusCode != http.StatusSeeOther || loc == nil || !loc.Query().Has("landed") {
		t.Fatalf("the window: %d %s", landed.StatusCode, landed.body)
	}
	if res := window.get(landed.Header.Get("Location"), inFrame...); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != tl.url("/quiz") {
		t.Fatalf("the window lands with %d at %s", res.StatusCode, res.Header.Get("Location"))
	}
	tl.logs(t, "the window keeps cookies")
	if res := forgetful(t).get(landed.Header.Get("Location"), inFrame...); res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.body, "Your browser keeps no cookies") {
		t.Errorf("a window without cookies lands with %d %s", res.StatusCode, res.body)
	}
	mustRefuse(t, tl, window.get(tl.url("/lti/login?landed="+ticket.Get("ticket")), inFrame...), 400, "ticket_invalid")
	if res := window.get(tl.url("/quiz")); !strings.Contains(res.body, "user=user-1@lms") {
		t.Errorf("in the window: %d %s", res.StatusCode, res.body)
	}
	mustRefuse(t, tl, open(newBrowser(t), ticket.Get("ticket"), own), 403, "ticket_used")
	tl.logs(t, "ticket_used", `"platform":"lms"`)
	tl.logs(t, "launch accepted", `"way":"storage"`)

	t.Run("a cookie is better", func(t *testing.T) {
		b := newBrowser(t)
		res := b.passProbe(b.get(tl.loginURL("lti_storage_target", "_parent"), inFrame...), inFrame...)
		if !isPlatform(location(res)) {
			t.Errorf("a browser that keeps cookies gets %d %s", res.StatusCode, res.body)
		}
	})
	t.Run("without the platform's storage there is no second way", func(t *testing.T) {
		auth := tl.login(newBrowser(t))
		res := forgetful(t).post(tl.url("/lti/launch"), url.Values{
			"state": {auth.Get("state")}, "id_token": {tl.signed(auth)}, "storage_proof": {""},
		}.Encode(), ownFrame...)
		mustRefuse(t, tl, res, 403, "state_cookie_missing")
	})
	t.Run("a bad token is refused before the storage is asked", func(t *testing.T) {
		b := forgetful(t)
		_, auth := begin(t, b, "_parent")
		claims := ltitest.With(tl.platform.Claims(auth.Get("nonce"), tl.url("/")), map[string]any{"aud": "other"})
		mustRefuse(t, tl, tl.post(b, auth.Get("state"), tl.platform.Token(claims), inFrame...), 401, "audience_mismatch")
	})
	for _, target := range []string{"top", "opener", "__proto__", "a b", "x\"><script>", strings.Repeat("x", 65), "parent", "location", "_top"} {
		t.Run("hostile target "+target[:min(len(target), 12)], func(t *testing.T) {
			if ask, _ := begin(t, forgetful(t), target); ask["frame"] != "_parent" {
				t.Errorf("the page asks frame %q", ask["frame"])
			}
		})
	}
}

// A platform that did not recognise the person in the frame: one click tries it
// in a window.
func TestLoginRequiredInFrame(t *testing.T) {
	tl := startTool(t, "", echo)
	b := newBrowser(t)
	begin := func() url.Values {
		t.Helper()
		loc := location(b.passProbe(b.get(tl.loginURL(), inFrame...), inFrame...))
		if !isPlatform(loc) {
			t.Fatalf("the login leads to %v", loc)
		}
		return loc.Query()
	}
	failed := func(b *browser, auth url.Values, headers []string) *answer {
		return b.post(tl.url("/lti/launch"), url.Values{"state": {auth.Get("state")}, "error": {"login_required"}}.Encode(), headers...)
	}
	res := failed(b, begin(), inFrame)
	ticket := hidden(res.body)
	if res.StatusCode != http.StatusForbidden || len(ticket["ticket"]) != 1 || !strings.Contains(res.body, "In a window of its own") {
		t.Fatalf("in the frame: %d %s", res.StatusCode, res.body)
	}
	res = b.post(tl.url("/lti/login"), ticket.Encode(), ownForm(tl)...)
	if !isPlatform(location(res)) {
		t.Fatalf("the window: %d %s", res.StatusCode, res.body)
	}
	auth := location(res).Query()
	// There it ends, whatever it says: no loop.
	if res := failed(b, auth, with(inFrame, "Sec-Fetch-Dest", "document")); res.StatusCode != http.StatusForbidden || len(hidden(res.body)) > 0 {
		t.Errorf("in the window: %d %s", res.StatusCode, res.body)
	}
	if res := failed(b, begin(), with(inFrame, "Sec-Fetch-Dest", "document")); len(hidden(res.body)) > 0 {
		t.Errorf("where the LMS had opened a window: %s", res.body)
	}
}

// Which step bound a launch to its browser is counted.
func TestWaysAreCounted(t *testing.T) {
	p := ltitest.NewPlatform(t)
	c := startCaddy(t, global(ltiGlobal+"\n\tmetrics")+toolSite(p, "", echo))
	tl := &tool{caddy: c, host: "tool.localhost", base: "/lti", platform: p}
	tl.mustLaunch(newBrowser(t), nil)
	tl.mustLaunch(newBrowser(t), nil)
	res := newBrowser(t).get(fmt.Sprintf("http://localhost:%d/metrics", c.admin), "Accept", "text/plain")
	if want := `caddy_lti_launches_total{platform="lms",way="cookie"} 2`; !strings.Contains(res.body, want) {
		t.Errorf("the metrics have no %s:\n%s", want, res.body)
	}
}
