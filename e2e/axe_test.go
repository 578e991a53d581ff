package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/caddy-lti/lti/internal/page"
)

// looked is a page to be looked at.
type looked struct{ name, url string }

// gatewayPages serves all pages of the gateway in a language, each with all that
// may be on it.
func gatewayPages(tb testing.TB, lang string) (all, kinds []looked) {
	tb.Helper()
	r, err := page.New()
	if err != nil {
		tb.Fatal(err)
	}
	return servePages(tb, r.In(lang, nil))
}

// servePages serves pages, and returns their addresses; and of those that differ in
// their words alone, one.
func servePages(tb testing.TB, l *page.Language) (all, kinds []looked) {
	tb.Helper()
	samples := l.Samples()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".png") {
			w.Header().Set("Content-Type", "image/svg+xml")
			_, _ = w.Write([]byte(picture))
			return
		}
		i, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil || i >= len(samples) {
			http.NotFound(w, r)
			return
		}
		p := samples[i]
		p.Refresh = 0
		if p.Exchange != nil && p.Exchange.Proof != nil {
			p.Exchange = nil // it would be posted before anybody has looked
		}
		if p.Post != nil { // it would leave at once
			w = &scriptless{w}
		}
		if err := l.Write(w, http.StatusOK, p); err != nil {
			tb.Errorf("%s: %v", p.ID, err)
		}
	}))
	tb.Cleanup(srv.Close)
	seen := make(map[string]bool)
	for i, p := range samples {
		at := looked{p.ID, fmt.Sprintf("%s/%d", srv.URL, i)}
		all = append(all, at)
		p.ID = ""
		if data, err := json.Marshal(p); err != nil {
			tb.Fatal(err)
		} else if !seen[string(data)] {
			seen[string(data)] = true
			kinds = append(kinds, at)
		}
	}
	if len(kinds) < 15 {
		tb.Errorf("only %d kinds of pages", len(kinds))
	}
	return all, kinds
}

// picture is of something to choose.
const picture = `<svg xmlns="http://www.w3.org/2000/svg" width="72" height="54"><rect width="72" height="54" fill="#9cc4e4"/><path d="M0 36q18-14 36 0t36 0v18H0z" fill="#1f5fbf"/></svg>`

// scriptless lets no script of a page run.
type scriptless struct{ http.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *scriptless) WriteHeader(status int) {
	w.Header().Set("Content-Security-Policy", w.Header().Get("Content-Security-Policy")+", script-src 'none'")
	w.ResponseWriter.WriteHeader(status)
}

// scheme has pages shown as on a light or a dark screen.
func scheme(name string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
		})
		return chromedp.Void{}, err
	}
}

// violation is what axe-core says of a page.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML           string
		FailureSummary string
	}
}

// axe looks at what a tab shows, and returns what is serious or critical.
func axe(ctx context.Context, tb testing.TB) []violation {
	tb.Helper()
	source, err := os.ReadFile("axe/node_modules/axe-core/axe.min.js")
	if err != nil {
		tb.Fatalf("axe-core is missing, see scripts/setup.sh: %v", err)
	}
	var found []violation
	run(ctx, tb, func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		await := true
		res, err := cdp.Call(ctx, t, runtime.Evaluate, runtime.EvaluateParams{
			Expression: string(source) + `
				document.querySelectorAll("details").forEach(d => { d.removeAttribute("name"); d.open = true });
				axe.run(document, { iframes: false, resultTypes: ["violations"] }).then(r => JSON.stringify(r.violations))`,
			AwaitPromise: &await,
		})
		if err == nil && res.ExceptionDetails != nil {
			err = errors.New(res.ExceptionDetails.Text)
		}
		if err != nil {
			return chromedp.Void{}, err
		}
		var text string
		if err := json.Unmarshal([]byte(res.Result.Value), &text); err != nil {
			return chromedp.Void{}, err
		}
		return chromedp.Void{}, json.Unmarshal([]byte(text), &found)
	})
	return slices.DeleteFunc(found, func(f violation) bool { return f.Impact != "serious" && f.Impact != "critical" })
}

// accessible fails for each serious or critical violation.
func accessible(ctx context.Context, tb testing.TB, name string) {
	tb.Helper()
	for _, f := range axe(ctx, tb) {
		for _, n := range f.Nodes {
			tb.Errorf("%s: %s (%s): %s\n%s\n%s", name, f.ID, f.Impact, f.Help, n.HTML, n.FailureSummary)
		}
	}
}

// axe-core finds what is wrong with a page, so that it means something where it
// finds nothing.
func TestAxeFinds(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `<!doctype html><html><title>x</title><p style="color:#aaa;background:#fff">pale</p><input>`)
	}))
	t.Cleanup(srv.Close)
	ctx := newChrome(t)
	run(ctx, t, chromedp.Navigate(srv.URL))
	var ids []string
	for _, f := range axe(ctx, t) {
		ids = append(ids, f.ID)
	}
	for _, want := range []string{"color-contrast", "html-has-lang", "label"} {
		if !slices.Contains(ids, want) {
			t.Errorf("%s was not found, but %v", want, ids)
		}
	}
}

// No page of the gateway keeps anybody out: in light and dark, and from right to
// left.
func TestPagesAreAccessible(t *testing.T) {
	for _, lang := range []string{"en", "ar"} {
		_, kinds := gatewayPages(t, lang)
		ctx := newChrome(t)
		for _, colours := range []string{"light", "dark"} {
			run(ctx, t, scheme(colours))
			for _, p := range kinds {
				run(ctx, t, chromedp.Navigate(p.url))
				accessible(ctx, t, lang+", "+colours+", "+p.name)
			}
		}
	}
}

// numbers are the parts of an address that differ from one page of a kind to the
// next.
var numbers = regexp.MustCompile(`[a-z]*-?[0-9][0-9a-zA-Z-]*`)

// crawl follows the links of a site, in the tab's name, and has one page of each
// kind looked at.
func crawl(ctx context.Context, tb testing.TB, origin string, look func(path string)) {
	tb.Helper()
	todo, seen := []string{origin + "/"}, map[string]bool{}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		u, err := url.Parse(at)
		if err != nil || !strings.HasPrefix(at, origin+"/") {
			continue
		}
		kind := numbers.ReplaceAllString(u.Path, "#")
		if seen[kind] {
			continue
		}
		seen[kind] = true
		run(ctx, tb, chromedp.Navigate(at))
		kindOf, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.contentType`))
		if err != nil {
			tb.Fatal(err)
		}
		if kindOf != "text/html" {
			continue // what is for programs has no pages
		}
		look(u.Path)
		links, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](`[...document.querySelectorAll("a[href]:not([target])")].map(a => a.href)`))
		if err != nil {
			tb.Fatal(err)
		}
		todo = append(todo, links...)
	}
	if len(seen) < 5 {
		tb.Errorf("only %d kinds of pages found at %s", len(seen), origin)
	}
}

// No page of the demo LMS does either, for a teacher and for a learner. Those of an
// administrator are looked at in TestDemoToolRegistersItself.
func TestDemoLMSIsAccessible(t *testing.T) {
	lms, _, _ := startDemo(t)
	playPayloads(newChrome(t), t, lms)
	for _, person := range []string{"Ada", "Zoë"} {
		for _, colours := range []string{"light", "dark"} {
			ctx := newChrome(t)
			run(ctx, t, scheme(colours))
			be(ctx, t, lms, person)
			crawl(ctx, t, lms, func(path string) { accessible(ctx, t, person+", "+colours+", "+path) })
			for _, path := range []string{"/lab/result/site", "/lab/result/site/cert-01-no-kid"} {
				run(ctx, t, chromedp.Navigate(lms+path))
				accessible(ctx, t, person+", "+colours+", "+path)
			}
		}
	}
}
