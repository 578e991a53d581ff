package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// setupSites are two tools on one host, which use different things of platforms.
func setupSites(p *ltitest.Platform) string {
	return global(ltiGlobal) + `http://tool.localhost:$PORT {
	handle /wiki/* {
		lti {
			base /wiki/lti
			home /wiki/start
			headers minimal
			` + platformBlock(p) + `
		}
		respond wiki
	}
	handle {
		lti {
			api
			public /logo.png
			deep_linking {
				app /pick
			}
			registration {
				invite ` + testInvite + `
				name "Reading room"
				description "Texts to read"
				logo /logo.png
				custom course $Context.id
				custom level "1 & 2"
			}
			` + platformBlock(p) + `
		}
		respond app
	}
}
`
}

// shown are the addresses in a set-up page, each once.
func shown(t *testing.T, body string) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile(`<code dir="ltr" tabindex="0"[^>]*>([^<]+)</code>`).FindAllStringSubmatch(body, -1) {
		s := strings.NewReplacer("[&#34;", "", "&#34;]", "").Replace(m[1])
		if strings.HasPrefix(s, "http") && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	slices.Sort(all)
	return all
}

// Every address that the page shows is one at which this server answers, and each
// block shows its own.
func TestSetupAddresses(t *testing.T) {
	p := ltitest.NewPlatform(t)
	p.Issuer = "https://moodle.school.example"
	c := startCaddy(t, setupSites(p))
	origin := c.origin("tool.localhost")
	b := newBrowser(t)
	for base, want := range map[string]map[string]int{ // address → what a stranger's GET is answered with
		"/lti": {
			"": 401, "/": 401, "/pick": 401, "/lti/login": 400, "/lti/launch": 405, "/lti/jwks.json": 200, "/lti/config.json": 200,
		},
		"/wiki/lti": {
			"": 401, "/wiki/start": 401, "/wiki/lti/login": 400, "/wiki/lti/launch": 405, "/wiki/lti/jwks.json": 200, "/wiki/lti/config.json": 200,
		},
	} {
		res := b.get(origin + base + "/")
		if res.StatusCode != http.StatusOK || res.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%s/: %d %q", base, res.StatusCode, res.Header)
		}
		var paths []string
		for _, u := range shown(t, res.body) {
			path, ok := strings.CutPrefix(u, origin)
			if _, known := want[path]; !ok || !known {
				t.Errorf("%s/ shows %s", base, u)
				continue
			}
			paths = append(paths, path)
			if got := b.get(u).StatusCode; got != want[path] {
				t.Errorf("%s/: GET %s: %d, want %d", base, u, got, want[path])
			}
		}
		if len(paths) != len(want) {
			t.Errorf("%s/ shows only %q", base, paths)
		}
		// Nothing of the platforms, and nothing that lets anybody register.
		for _, secret := range []string{p.Issuer, p.ClientID, p.JWKSURL(), "lms.example/auth", testInvite} {
			if strings.Contains(res.body, secret) || strings.Contains(b.get(origin+base+"/config.json").body, secret) {
				t.Errorf("%s shows strangers %q", base, secret)
			}
		}
		if got := strings.Contains(res.body, "With a registration link"); got != (base == "/lti") {
			t.Errorf("%s/ speaks of a registration link: %v", base, got)
		}
	}
	for _, path := range []string{"/lti/", "/lti/config.json"} {
		if res := b.post(origin+path, ""); res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, res.StatusCode)
		}
		if res := b.do(b.request(http.MethodHead, origin+path, nil)); res.StatusCode != http.StatusOK || res.body != "" {
			t.Errorf("HEAD %s: %d %q", path, res.StatusCode, res.body)
		}
	}
}

// Canvas's form, with what the configuration of each block uses.
func TestSetupForCanvas(t *testing.T) {
	c := startCaddy(t, setupSites(ltitest.NewPlatform(t)))
	origin := c.origin("tool.localhost")
	host := strings.TrimPrefix(origin, "http://")
	navigation := func(target string) map[string]any {
		return map[string]any{"placement": "course_navigation", "message_type": "LtiResourceLinkRequest", "target_link_uri": origin + target, "default": "disabled"}
	}
	place := func(name, typ, target string) map[string]any {
		return map[string]any{"placement": name, "message_type": typ, "target_link_uri": origin + target}
	}
	for base, want := range map[string]map[string]any{
		"/lti": {
			"title": "Reading room", "description": "Texts to read",
			"oidc_initiation_url": origin + "/lti/login", "target_link_uri": origin + "/lti/launch", "public_jwk_url": origin + "/lti/jwks.json",
			"scopes": []any{
				"https://purl.imsglobal.org/spec/lti-ags/scope/score", "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem",
				"https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly", "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly",
			},
			"custom_fields": map[string]any{"course": "$Context.id", "level": "1 & 2"},
			"extensions": []any{map[string]any{
				"platform": "canvas.instructure.com", "domain": host, "privacy_level": "public",
				"settings": map[string]any{"text": "Reading room", "icon_url": origin + "/logo.png", "placements": []any{
					navigation("/"), place("link_selection", "LtiDeepLinkingRequest", "/pick"),
					place("assignment_selection", "LtiDeepLinkingRequest", "/pick"), place("editor_button", "LtiDeepLinkingRequest", "/pick"),
				}},
			}},
		},
		"/wiki/lti": {
			"title": host, "description": host,
			"oidc_initiation_url": origin + "/wiki/lti/login", "target_link_uri": origin + "/wiki/lti/launch", "public_jwk_url": origin + "/wiki/lti/jwks.json",
			"scopes": []any{}, "custom_fields": map[string]any{},
			"extensions": []any{map[string]any{
				"platform": "canvas.instructure.com", "domain": host, "privacy_level": "anonymous",
				"settings": map[string]any{"text": host, "placements": []any{
					navigation("/wiki/start"), place("link_selection", "LtiResourceLinkRequest", "/wiki/start"),
				}},
			}},
		},
	} {
		res := newBrowser(t).get(origin + base + "/config.json")
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %d %q", base, res.StatusCode, res.Header)
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(res.body), &got); err != nil {
			t.Fatal(err)
		}
		for name := range want {
			if !reflect.DeepEqual(got[name], want[name]) {
				t.Errorf("%s: %s is\n%v, want\n%v", base, name, got[name], want[name])
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %s", base, res.body)
		}
	}
}

// What a client sends as Host, or for a proxy, is in no address.
func TestSetupBelievesNoHost(t *testing.T) {
	p := ltitest.NewPlatform(t)
	c := startCaddy(t, global(ltiGlobal)+"http://:$PORT {\n\tlti {\n\t\turl http://tool.localhost:$PORT\n\t\t"+platformBlock(p)+"\n\t}\n}\n")
	b := newBrowser(t)
	for _, path := range []string{"/lti/", "/lti/config.json"} {
		req := b.request(http.MethodGet, c.origin("tool.localhost")+path, nil, "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https", "Forwarded", "host=evil.example")
		req.Host = "evil.example"
		res := b.do(req)
		if res.StatusCode != http.StatusOK || strings.Contains(res.body, "evil.example") || !strings.Contains(res.body, c.origin("tool.localhost")+"/lti/login") {
			t.Errorf("%s: %d %s", path, res.StatusCode, res.body)
		}
	}
}

// paste puts the clipboard into a field of the page, as a person would see it.
func paste(ctx context.Context, t *testing.T) string {
	t.Helper()
	run(ctx, t,
		chromedp.Evaluate[chromedp.Void](`{
			const field = document.createElement("textarea");
			field.id = "pasted";
			document.body.append(field);
			field.focus();
		}`),
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: "keyDown", Commands: []string{"paste"}})
			return err
		}),
	)
	got, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.getElementById("pasted").value`))
	if err != nil {
		t.Fatal(err)
	}
	run(ctx, t, chromedp.Evaluate[chromedp.Void](`document.getElementById("pasted").remove()`))
	return got
}

// In a browser: by mouse and by keyboard, and where the clipboard is not to be had.
func TestSetupPage(t *testing.T) {
	c := startCaddy(t, setupSites(ltitest.NewPlatform(t)))
	origin := c.origin("tool.localhost")
	ctx := newChrome(t)
	button := func(label string) string { return `//button[@aria-label="Copy: ` + label + `"]` }
	run(ctx, t, chromedp.Navigate(origin+"/lti/"))
	shot(ctx, t, "setup")
	run(ctx, t,
		chromedp.Click(`//summary[contains(., "Moodle")]`),
		chromedp.WaitVisible(button("Public keyset")),
		chromedp.Click(button("Public keyset")),
		chromedp.WaitVisible(`//button[@aria-label="Copy: Public keyset"][text()="Copied"]`),
	)
	if said := text(ctx, t, "#said"); said != "Copied" {
		t.Errorf("a screen reader says %q", said)
	}
	if got := paste(ctx, t); got != origin+"/lti/jwks.json" {
		t.Errorf("the clipboard has %q", got)
	}
	run(ctx, t, chromedp.Click(button("Custom parameters")), chromedp.WaitVisible(`//button[@aria-label="Copy: Custom parameters"][text()="Copied"]`))
	if got := paste(ctx, t); got != "course=$Context.id\nlevel=1 & 2" {
		t.Errorf("the clipboard has %q", got)
	}
	full(ctx, t, "setup-moodle")

	// By the keyboard alone: the next platform opens, and the first that can be
	// copied in it is copied.
	run(ctx, t,
		chromedp.Evaluate[chromedp.Void](`document.querySelector("#canvas").parentNode.querySelector("summary").focus()`),
		chromedp.KeyEvent(kb.Enter),
		chromedp.WaitVisible(button("Redirect URIs")),
		chromedp.WaitNotPresent(`//details[@open]/div[@id="moodle"]`),
		chromedp.KeyEvent(kb.Tab),
		chromedp.KeyEvent(kb.Enter),
		chromedp.WaitVisible(`//button[@aria-label="Copy: Redirect URIs"][text()="Copied"]`),
	)
	if got := paste(ctx, t); got != origin+"/lti/launch" {
		t.Errorf("by the keyboard the clipboard has %q", got)
	}
	run(ctx, t,
		chromedp.Click(`//summary[text()="The same as JSON"]`),
		chromedp.Click(button("JSON")),
		chromedp.WaitVisible(`//button[@aria-label="Copy: JSON"][text()="Copied"]`),
	)
	if got := paste(ctx, t); got != newBrowser(t).get(origin+"/lti/config.json").body {
		t.Errorf("the clipboard has %s", got)
	}
	full(ctx, t, "setup-canvas")

	// A page that may not write the clipboard copies what it selects, and one that
	// cannot do that either says that it is selected.
	run(ctx, t,
		chromedp.Evaluate[chromedp.Void](`Object.defineProperty(navigator, "clipboard", {value: undefined})`),
		chromedp.Click(button("JSON URL")),
		chromedp.WaitVisible(`//button[@aria-label="Copy: JSON URL"][text()="Copied"]`),
	)
	if got := paste(ctx, t); got != origin+"/lti/config.json" {
		t.Errorf("without the clipboard's interface it has %q", got)
	}
	run(ctx, t,
		chromedp.Evaluate[chromedp.Void](`document.execCommand = () => false`),
		chromedp.Click(`//div[@id="canvas"]//button[@aria-label="Copy: Caddyfile"]`),
		chromedp.WaitVisible(`//button[@aria-label="Copy: Caddyfile"][starts-with(text(), "Selected")]`),
	)
	if got, err := chromedp.Run(ctx, chromedp.Evaluate[string](`getSelection().toString()`)); err != nil || !strings.HasPrefix(got, "platform canvas {\n\tpreset canvas\n") {
		t.Errorf("selected is %q, %v", got, err)
	}

	// An address with a fragment opens at the platform. A phone at night.
	run(ctx, t,
		chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile),
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}})
			return err
		}),
		chromedp.Navigate(origin+"/wiki/lti/?at#blackboard"),
		chromedp.WaitVisible(button("Tool JWKS URL")),
	)
	if wide, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > innerWidth`)); err != nil || wide {
		t.Errorf("a phone has to scroll sideways: %v, %v", wide, err)
	}
	full(ctx, t, "setup-phone-dark")
}

// full keeps a picture of a whole page.
func full(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	keep(t, name, png)
}
