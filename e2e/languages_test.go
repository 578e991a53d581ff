package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// speaks reports whether a page is in a language: it says so, in its head and its
// text, and has that title.
func speaks(tb testing.TB, what string, res *answer, lang, title string) {
	tb.Helper()
	if got := res.Header.Get("Content-Language"); got != lang || !strings.Contains(res.body, `<html lang="`+lang+`"`) || !strings.Contains(res.body, "<h1>"+title+"</h1>") {
		tb.Errorf("%s: %d, Content-Language %q; expected %s, %q:\n%s", what, res.StatusCode, got, lang, title, mainOf(res.body))
	}
}

// A page is in the language of the launch, and before one in that of the browser.
func TestLanguageOfPages(t *testing.T) {
	site := startTool(t, "allow role instructor\napi", echo)
	locale := func(l string) map[string]any {
		return map[string]any{ltitest.Claim("launch_presentation"): map[string]any{"locale": l}}
	}
	instructor := func(diff map[string]any) map[string]any {
		diff[ltitest.Claim("roles")] = []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"}
		return diff
	}
	html := []string{"Accept", "text/html"}
	for _, c := range []struct{ accept, lang, title string }{
		{"", "en", "Please open this from your course"},
		{"de-AT,de;q=0.9,en;q=0.8", "de", "Bitte öffnen Sie diese Seite aus Ihrem Kurs"},
		{"pt-BR, es;q=0.5", "es", "Abra esta página desde su curso"},
		{"ar", "ar", "يُرجى فتح هذه الصفحة من مقررك"},
	} {
		res := newBrowser(t).get(site.url("/"), append([]string{"Accept-Language", c.accept}, html...)...)
		speaks(t, "before a launch, "+c.accept, res, c.lang, c.title)
		if vary := strings.Join(res.Header["Vary"], ","); !strings.Contains(vary, "Accept-Language") {
			t.Errorf("%s: Vary: %s", c.accept, vary)
		}
	}
	// A launch that is refused, and believed as far as its language goes.
	b := newBrowser(t)
	auth := site.login(b)
	token := site.platform.Token(ltitest.With(site.platform.Claims(auth.Get("nonce"), site.url("/")), locale("fr-CA")))
	res := site.post(b, auth.Get("state"), token, append([]string{"Accept-Language", "de"}, html...)...)
	speaks(t, "a refused launch", res, "fr", "Ceci ne vous est pas ouvert")
	// One that is not believed speaks the browser's language.
	auth = site.login(b)
	claims := ltitest.With(site.platform.Claims(auth.Get("nonce"), site.url("/")), locale("fr"))
	claims["nonce"] = "another"
	res = site.post(b, auth.Get("state"), site.platform.Token(claims), append([]string{"Accept-Language", "de"}, html...)...)
	speaks(t, "a forged launch", res, "de", "Diese Aktivität konnte nicht geöffnet werden")

	for _, c := range []struct{ locale, lang, out string }{
		{"de_AT", "de", "Sie sind abgemeldet"},
		{"ar-EG", "ar", "تم تسجيل خروجك"},
		{"nl-NL", "es", "Ha cerrado la sesión"}, // no Dutch: the browser is asked
		{strings.Repeat("de", 500), "es", "Ha cerrado la sesión"},
	} {
		b := newBrowser(t)
		site.mustLaunch(b, instructor(locale(c.locale)))
		header := append([]string{"Accept-Language", "es"}, html...)
		if res := b.get(site.url("/"), header...); res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d", c.locale, res.StatusCode)
		}
		res := b.get(site.url("/lti/grades"), header...)
		if got := res.Header.Get("Content-Language"); got != c.lang {
			t.Errorf("the scores of a launch in %.10s are in %q", c.locale, got)
		}
		speaks(t, "the end of a visit, "+c.locale, b.post(site.url("/lti/logout"), "", header...), c.lang, c.out)
	}
	// What programs read stays as it is.
	res = newBrowser(t).get(site.url("/"), "Accept", "application/json", "Accept-Language", "de")
	if !strings.Contains(res.body, `"title":"Please open this from your course"`) {
		t.Errorf("a problem document: %s", res.body)
	}
}

// In a browser: an Arabic launch shows a page from right to left, in which machine
// words run the other way.
func TestArabicInTheFrame(t *testing.T) {
	lms := startFrames(t, "allow role instructor")
	b := startBrowser(t, "Chromium", cookiesDefault)
	b.open(lms.course("locale=ar-EG"))
	got := b.waitFor(lms.tool, `document.querySelector("h1") ? [document.documentElement.lang, getComputedStyle(document.querySelector("h1")).direction,
		getComputedStyle(document.querySelector("code")).direction, document.querySelector("h1").textContent].join("|") : ""`)
	if want := "ar|rtl|ltr|هذا غير متاح لك"; got != want {
		t.Errorf("the page of an Arabic launch: %s", got)
	}
	b.shot("arabic")
	b.open(lms.course("locale=de-AT&again"))
	if got := b.waitFor(lms.tool, `document.documentElement.lang === "de" && document.querySelector("h1") ? document.querySelector("h1").textContent : ""`); got != "Das ist für Sie nicht freigegeben" {
		t.Errorf("the page of a German launch: %s", got)
	}
}

// Before a launch, pages speak the browser's language; an administrator may lay
// his own over them.
func TestLanguageOfTheBrowser(t *testing.T) {
	own, err := filepath.Abs("../examples/pages")
	if err != nil {
		t.Fatal(err)
	}
	site := startTool(t, "pages "+own, echo)
	ctx := newChrome(t)
	title := func(accept string) string {
		t.Helper()
		run(ctx, t, func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
			agent, err := chromedp.Evaluate[string](`navigator.userAgent`)(ctx, target)
			if err != nil {
				return chromedp.Void{}, err
			}
			_, err = cdp.Call(ctx, target, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: agent, AcceptLanguage: accept})
			return chromedp.Void{}, err
		}, chromedp.Navigate(site.url("/")))
		return text(ctx, t, "h1")
	}
	if got := title("fr-CH,fr"); got != "Veuillez ouvrir cette page depuis votre cours" {
		t.Errorf("in French: %s", got)
	}
	if got := title("nl"); got != "Open dit vanuit je cursus" {
		t.Errorf("in Dutch: %s", got)
	}
	run(ctx, t, chromedp.WaitVisible(`//footer[contains(., "Universiteit Voorbeeld")]`), chromedp.WaitVisible(`//a[text()="moodle.university.example"]`))
	colour, err := chromedp.Run(ctx, chromedp.Evaluate[string](`getComputedStyle(document.querySelector("main")).borderTopColor + " " + (document.querySelector("img.logo").naturalWidth > 0)`))
	if err != nil || colour != "rgb(138, 21, 56) true" {
		t.Errorf("the style and logo of one's own: %s, %v", colour, err)
	}
	shot(ctx, t, "pages-own")
}

// A folder with something wrong in it is an error at load, and the configuration
// before goes on; a reload takes what has changed.
func TestPagesAreReadAtLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("footer.html", "<footer>The first</footer>")
	p := ltitest.NewPlatform(t)
	config := global(ltiGlobal) + toolSite(p, "pages "+dir, echo)
	site := &tool{caddy: startCaddy(t, config), host: "tool.localhost", base: "/lti", platform: p}
	footer := func() string {
		_, after, _ := strings.Cut(newBrowser(t).get(site.url("/"), "Accept", "text/html").body, "<footer>")
		text, _, _ := strings.Cut(after, "</footer>")
		return text
	}
	if got := footer(); got != "The first" {
		t.Fatalf("the footer is %q", got)
	}
	write("footer.html", "<footer>The second\n{{.Oops}}</footer>")
	if err := site.reload(config); err == nil || !strings.Contains(err.Error(), "footer.html:2") || !strings.Contains(err.Error(), "Caddyfile:") {
		t.Errorf("a broken footer: %v", err)
	}
	if got := footer(); got != "The first" {
		t.Errorf("after a reload that failed, the footer is %q", got)
	}
	write("footer.html", "<footer>The third</footer>")
	if err := site.reload(config); err != nil {
		t.Fatal(err)
	}
	if got := footer(); got != "The third" {
		t.Errorf("after a reload, the footer is %q", got)
	}
}
