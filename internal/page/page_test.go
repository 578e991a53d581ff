package page

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/lti"
)

func newRenderer(t *testing.T) *Renderer {
	t.Helper()
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func render(t *testing.T, r *Renderer, p Page) (*http.Response, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	if err := r.English().Write(rec, http.StatusForbidden, p); err != nil {
		t.Fatal(err)
	}
	return rec.Result(), rec.Body.String()
}

// What a person cannot do anything about but try again, and report, is said by
// one page; the log has the rule. A new code has to be put here or get a page.
var fallsBack = []lti.Code{
	lti.CodeRequestMalformed, lti.CodeRequestTooLarge, lti.CodeIssuerMissing, lti.CodeLoginHintMissing, lti.CodeTargetMissing,
	lti.CodeStateMissing, lti.CodeStateInvalid, lti.CodeTokenMissing, lti.CodeTokenMalformed, lti.CodeTokenCritical,
	lti.CodeAlgorithmRefused, lti.CodeKeyIDMissing, lti.CodeKeyUnknown, lti.CodeSignatureInvalid, lti.CodeIssuerMismatch,
	lti.CodeAudienceMismatch, lti.CodeAuthorizedParty, lti.CodeTimestampMissing, lti.CodeTokenFromFuture, lti.CodeTokenTooOld,
	lti.CodeNonceMissing, lti.CodeNonceMismatch, lti.CodeVersionWrong, lti.CodeMessageTypeMissing, lti.CodeMessageTypeUnwanted,
	lti.CodeDeploymentMissing, lti.CodeDeploymentMismatch, lti.CodeTargetForeign, lti.CodeResourceLinkMissing,
	lti.CodeRolesMissing, lti.CodeSubjectInvalid, lti.CodeDeepLinkingInvalid,
}

// Pages that are not named after a code.
var otherPages = []string{"index", "registered", "registered_pending", "registration_dry_run", "inspection_waiting", "inspection_running", "inspection_passed", "inspection_failed", "inspection_unknown", "signed_out", "failed", "platform_login_required", "platform_login_required_frame", "platform_launch_expired", "new_window", "cookies_off", "grades", "grades_empty", "grades_none", "score_not_resent", "picker", "picked"}

func TestEveryCodeHasAPageOrFallsBack(t *testing.T) {
	r := newRenderer(t)
	for code := range lti.Codes() {
		if has, falls := r.English().Has(string(code)), slices.Contains(fallsBack, code); has == falls {
			t.Errorf("%s: has a page %v, falls back on purpose %v", code, has, falls)
		}
	}
	for id := range r.English().texts.Pages {
		if _, ok := lti.Codes()[lti.Code(id)]; !ok && !slices.Contains(otherPages, id) {
			t.Errorf("page %s is for no code", id)
		}
	}
	for _, id := range otherPages {
		if !r.English().Has(id) {
			t.Errorf("page %s is missing", id)
		}
	}
	_, failed := render(t, r, Page{ID: "failed"})
	if _, got := render(t, r, Page{ID: string(lti.CodeVersionWrong)}); got != failed {
		t.Error("a code without a page does not show the page failed")
	}
}

func TestPageSecurityHeaders(t *testing.T) {
	r := newRenderer(t)
	res, body := render(t, r, Page{ID: "failed", Reference: "abc"})
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("status %d", res.StatusCode)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff",
		"Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	// The browser hashes what stands between the tags, byte for byte.
	style, _, ok := strings.Cut(body[strings.Index(body, "<style>")+len("<style>"):], "</style>")
	if !ok {
		t.Fatal("no style")
	}
	sum := sha256.Sum256([]byte(style))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
	if got := res.Header.Get("Content-Security-Policy"); got != want {
		t.Errorf("Content-Security-Policy: %s\nwant %s", got, want)
	}
	// That policy lets nothing else through, so nothing else may be there.
	for _, no := range []string{"<script", " style=", " src=", "<link", "<form", "<iframe", " onclick", "@import", "url("} {
		if strings.Contains(body, no) {
			t.Errorf("the page has %q", no)
		}
	}
}

// Pages that post somewhere say so, and one script may run where it has to.
func TestPageForms(t *testing.T) {
	r := newRenderer(t)
	const evil = `"><script>alert(1)</script>`
	form := &Form{Action: "/lti/login", Values: []Value{{"ticket", evil}}}
	script := func(body string) string {
		_, rest, _ := strings.Cut(body, "<script>")
		script, _, _ := strings.Cut(rest, "</script>")
		return script
	}
	res, body := render(t, r, Page{ID: "new_window", Window: form})
	if policy := res.Header.Get("Content-Security-Policy"); strings.Contains(policy, "form-action") || strings.Contains(policy, "script-src") {
		t.Errorf("a form that ends at the platform, under the policy %s", policy)
	}
	if !strings.Contains(body, `<form method="post" action="/lti/login" target="_blank">`) || strings.Contains(body, "<script>") ||
		!strings.Contains(body, "<button>"+r.English().Word("open_window")) || !strings.Contains(body, `name="ticket" value="&#34;&gt;&lt;script&gt;`) {
		t.Errorf("the form is\n%s", body)
	}
	res, body = render(t, r, Page{ID: "storage_failed", Window: form, Reference: "r", TellOrigin: true, Exchange: &Exchange{
		Origin: "https://lms.example", Frame: evil, Key: evil, Value: evil, Next: evil,
		Proof: &Form{Action: "/lti/launch", Values: []Value{{"state", evil}}},
	}})
	policy := res.Header.Get("Content-Security-Policy")
	if want := "script-src " + sourceHash([]byte(script(body))); !strings.HasPrefix(policy, "default-src 'none'; ") || !strings.HasSuffix(policy, "; "+want) {
		t.Errorf("the policy is %s, expected %s in it", policy, want)
	}
	if strings.Count(body, "<script") != 1 || strings.Contains(body, "alert(1)</") {
		t.Errorf("something is not escaped in\n%s", body)
	}
	if got := res.Header.Get("Referrer-Policy"); got != "same-origin" {
		t.Errorf("Referrer-Policy is %s", got)
	}
	if len(FrameScript()) == 0 {
		t.Error("no script for frames")
	}
	_, body = render(t, r, Page{ID: "failed", Back: "https://lms.example/back?a=1&b=<x>"})
	if !strings.Contains(body, `<a href="https://lms.example/back?a=1&amp;b=%3cx%3e">`+r.English().Word("back")) {
		t.Errorf("the way back is\n%s", body)
	}
	if _, body = render(t, r, Page{ID: "failed", Back: "javascript:alert(1)"}); strings.Contains(body, "javascript:") {
		t.Error("a script is a way back")
	}
}

func TestPageEscapes(t *testing.T) {
	r := newRenderer(t)
	const evil = `"><img src=x onerror=alert(1)><script>alert(1)</script>&amp;'`
	_, body := render(t, r, Page{ID: "index", Reference: evil, Fields: []Field{{Label: evil, Help: evil, Value: evil}}})
	for _, no := range []string{"<img", "<script", "&amp;'"} {
		if strings.Contains(body, no) {
			t.Errorf("%s was not escaped", no)
		}
	}
	if n := strings.Count(body, "&lt;img src=x onerror=alert(1)&gt;"); n != 4 {
		t.Errorf("%d of 4 values are there", n)
	}
	// The id chooses words and is never shown.
	if _, body := render(t, r, Page{ID: evil}); strings.Contains(body, "onerror") {
		t.Error("the id is shown")
	}
}

func TestPageReferenceAndFields(t *testing.T) {
	r := newRenderer(t)
	if _, body := render(t, r, Page{ID: "session_missing"}); strings.Contains(body, r.English().Word("reference")) || strings.Contains(body, "<dl>") {
		t.Error("a page without reference and fields shows some")
	}
	_, body := render(t, r, Page{ID: "failed", Reference: "Zx-9_"})
	if !strings.Contains(body, ">Zx-9_<") || !strings.Contains(body, r.English().Word("reference_help")) {
		t.Error("no reference")
	}
	if r.English().Title("failed") == "" || r.English().Title("nonsense") != "" || r.English().Word("nonsense") != "" {
		t.Error("titles or words")
	}
}

// The parts of WCAG 2.2 that can be seen in the text of a page.
func TestPageAccessibility(t *testing.T) {
	r := newRenderer(t)
	for id := range r.English().texts.Pages {
		t.Run(id, func(t *testing.T) {
			_, body := render(t, r, Page{ID: id, Reference: "abc", Fields: []Field{{"Label", "Help", "https://tool.example/lti/login"}}})
			for what, pattern := range map[string]string{
				"doctype":            `^<!DOCTYPE html>\n<html lang="en" dir="ltr">`,
				"charset first":      `<head>\n<meta charset="utf-8">`,
				"zoomable viewport":  `<meta name="viewport" content="width=device-width, initial-scale=1">`,
				"title":              `<title>[^<]+</title>`,
				"main":               `<main>\n<h1>[^<]+</h1>`,
				"colours of the OS":  `color-scheme: light dark`,
				"focus can be seen":  `:focus-visible`,
				"long addresses":     `overflow-wrap: anywhere`,
				"term and value":     `<dt>Label</dt>\n<dd><code dir="ltr" tabindex="0">https://tool\.example/lti/login</code>`,
				"end":                `</main>\n</body>\n</html>\n$`,
				"not in a search":    `<meta name="robots" content="noindex">`,
				"relative text size": `font: 1\.\d+rem`,
			} {
				if !regexp.MustCompile(pattern).MatchString(body) {
					t.Errorf("%s: nothing matches %s", what, pattern)
				}
			}
			for _, once := range []string{"<h1", "<main", "<title", "<html", "<body"} {
				if n := strings.Count(body, once); n != 1 {
					t.Errorf("%d times %s", n, once)
				}
			}
			title := regexp.MustCompile(`<title>([^<]+)</title>`).FindStringSubmatch(body)
			h1 := regexp.MustCompile(`<h1>([^<]+)</h1>`).FindStringSubmatch(body)
			if len(title) != 2 || !reflect.DeepEqual(title[1:], h1[1:]) {
				t.Errorf("title %q, heading %q", title, h1)
			}
			if n := len(r.English().texts.Pages[id].Steps); (n > 1) != strings.Contains(body, "<ol>") || (n > 1 && strings.Count(body, "<li>") != n) {
				t.Errorf("%d steps in\n%s", n, body)
			}
			for _, open := range []string{"main", "ol", "dl", "p", "h1", "div", "code", "li"} {
				if a, b := strings.Count(body, "<"+open+">")+strings.Count(body, "<"+open+" "), strings.Count(body, "</"+open+">"); a != b {
					t.Errorf("<%s> is opened %d times and closed %d times", open, a, b)
				}
			}
		})
	}
}
