package page

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Which language a page has: that of the launch, then of the browser, then
// English.
func TestLanguageIsChosen(t *testing.T) {
	r := newRenderer(t)
	long := strings.Repeat("x-", 5000)
	for _, c := range []struct{ locale, accept, want string }{
		{"", "", "en"},
		{"de", "", "de"},
		{"de-CH", "fr", "de"},
		{"de_AT", "fr", "de"},
		{"de_AT.UTF-8", "", "de"},
		{"de_kids", "fr", "de"}, // Moodle's packs for schools
		{"fr_ca", "", "fr"},
		{"es-MX", "en", "es"},
		{"es-419", "en", "es"},
		{"ar-EG", "en", "ar"},
		{"AR", "", "ar"},
		{"en-GB", "de", "en"},
		{" en ", "de", "en"},
		{"pt-BR", "fr-CH, fr;q=0.9, en;q=0.8", "fr"}, // no Portuguese: the browser is asked
		{"pt-BR", "pt", "en"},
		{"zh_tw", "", "en"},
		{"", "de", "de"},
		{"", "DE-de", "de"},
		{"", "fr;q=0.3, ar;q=0.7", "ar"},
		{"", "nl, es;q=0.5", "es"},
		{"", "de;q=0, fr;q=0.1", "fr"},
		{"", "de;q=2, fr;q=0.1", "fr"},
		{"", "de;q=NaN, fr;q=0.1", "fr"},
		{"", "de;q=-1, fr;q=0.1", "fr"},
		{"", "de ; q=0.1, fr ; Q=0.2", "fr"},
		{"", "*", "en"},
		{"", "*, de;q=0.5", "de"},
		{"", ",,;q=1,de", "de"},
		{"", "de,\x00", "de"},
		{"", long + ",de", "en"},
		{"", "de," + long, "de"},
		{long, "fr", "fr"},
		{"../../etc/passwd", "fr", "fr"},
		{"<script>", "", "en"},
		{"und", "fr", "fr"},
		{"i-klingon", "", "en"},
		{"de-u-co-phonebk", "", "de"},
		{"", strings.Repeat("nl,", 31) + "de", "de"},
		{"", strings.Repeat("nl,", 32) + "de", "en"}, // so many are not looked at
	} {
		var accept []string
		if c.accept != "" {
			accept = []string{c.accept}
		}
		if got := r.In(c.locale, accept).tag.String(); got != c.want {
			t.Errorf("locale %.40q, Accept-Language %.40q: %s, expected %s", c.locale, c.accept, got, c.want)
		}
	}
	if got := r.In("", []string{"nl", "ar;q=0.3"}).tag.String(); got != "ar" {
		t.Errorf("of two headers came %s", got)
	}
	if got := []string{r.Match("de_AT"), r.Match("nl"), r.Match("")}; got[0] != "de" || got[1] != "" || got[2] != "" {
		t.Errorf("Match: %q", got)
	}
}

func FuzzLanguage(f *testing.F) {
	f.Add("de_AT", "fr-CH, fr;q=0.9, *;q=0.1")
	f.Add("en-GB-oxendict", "de-u-co-phonebk;q=1")
	f.Fuzz(func(t *testing.T, locale, accept string) {
		r, err := New()
		if err != nil {
			t.Fatal(err)
		}
		l := r.In(locale, []string{accept})
		if l.Title("failed") == "" {
			t.Errorf("no title in %s", l.tag)
		}
		if m := r.Match(locale); m != "" && r.In(m, nil).tag.String() != m {
			t.Errorf("the language %s of the locale is none", m)
		}
	})
}

// A page says which language it is in, and whether the browser was asked.
func TestLanguageIsSaid(t *testing.T) {
	r := newRenderer(t)
	for _, c := range []struct{ locale, accept, html, vary string }{
		{"ar", "de", `<html lang="ar" dir="rtl">`, ""},
		{"", "de-DE", `<html lang="de" dir="ltr">`, "Accept-Language"},
		{"nl", "", `<html lang="en" dir="ltr">`, "Accept-Language"},
	} {
		rec := httptest.NewRecorder()
		if err := r.In(c.locale, []string{c.accept}).Write(rec, http.StatusForbidden, Page{ID: "failed"}); err != nil {
			t.Fatal(err)
		}
		lang := regexp.MustCompile(`lang="(..)"`).FindStringSubmatch(c.html)[1]
		if h := rec.Header(); h.Get("Content-Language") != lang || h.Get("Vary") != c.vary {
			t.Errorf("%s: %v", lang, h)
		}
		if !strings.Contains(rec.Body.String(), c.html) {
			t.Errorf("%s: no %s", lang, c.html)
		}
	}
}

var (
	// What is not shown, is marked as English, or is for machines.
	notShown = regexp.MustCompile(`(?s)<style>.*?</style>|<script>.*?</script>|<pre .*?</pre>|lang="en"[^>]*>[^<]*`)
	tags     = regexp.MustCompile(`<[^>]*>`)
)

// Every page renders in every language, and no word of it is English.
func TestEveryPageInEveryLanguage(t *testing.T) {
	r := newRenderer(t)
	english := flatten(r.English().texts)
	for _, lang := range built[1:] {
		l := r.In(lang, nil)
		own := flatten(l.texts)
		words := slices.Collect(maps.Values(own))
		pages := 0
		for _, s := range l.samples() {
			pages++
			rec := httptest.NewRecorder()
			if err := l.Write(rec, http.StatusOK, s.Page); err != nil {
				t.Errorf("%s: %v", lang, err)
				continue
			}
			body := rec.Body.String()
			if !strings.Contains(body, `lang="`+lang+`"`) || strings.Contains(body, "ZgotmplZ") {
				t.Errorf("%s: %s\n%s", lang, s.ID, body)
			}
			shown := tags.ReplaceAllString(notShown.ReplaceAllString(body, ""), "\n")
			for line := range strings.SplitSeq(shown, "\n") {
				line = strings.TrimSpace(line)
				for _, text := range english {
					if line == text && !slices.Contains(words, line) {
						t.Errorf("%s: page %s says %q, which is English", lang, s.ID, line)
					}
				}
				if placeholder.MatchString(line) {
					t.Errorf("%s: page %s has a gap that was not filled: %q", lang, s.ID, line)
				}
			}
			// Attributes are read out, too.
			for _, m := range regexp.MustCompile(`(?:placeholder|aria-label|alt)="([^"]+)"`).FindAllStringSubmatch(body, -1) {
				for id, text := range english {
					if strings.HasPrefix(m[1], text) && own[id] != text && own[id] != "" {
						t.Errorf("%s: page %s has the attribute %s, which is English", lang, s.ID, m[0])
					}
				}
			}
		}
		if pages < len(r.English().texts.Pages) {
			t.Errorf("%s: %d pages", lang, pages)
		}
	}
}

// What machines say stands from left to right wherever the page runs, and what
// is English is said to be.
func TestMachineWordsStandApart(t *testing.T) {
	l := newRenderer(t).In("ar", nil)
	for _, s := range l.samples() {
		rec := httptest.NewRecorder()
		if err := l.Write(rec, http.StatusOK, s.Page); err != nil {
			t.Fatal(err)
		}
		body := rec.Body.String()
		for _, m := range regexp.MustCompile(`<(?:code|pre|legend|bdi)\b[^>]*>`).FindAllString(body, -1) {
			if !strings.Contains(m, `dir="ltr"`) {
				t.Errorf("page %s: %s", s.ID, m)
			}
		}
		for _, c := range s.Checks {
			if !strings.Contains(body, `<span lang="en" dir="ltr">`+c.Text) {
				t.Errorf("page %s: a finding is not said to be English", s.ID)
			}
		}
	}
}

// The style knows no left and right, so that it fits both ways.
func TestStyleIsLogical(t *testing.T) {
	css := newRenderer(t).style
	for _, m := range regexp.MustCompile(`[^;{]*\b(?:left|right)\b[^;]*;`).FindAllString(string(css), -1) {
		t.Errorf("the style has%s", m)
	}
	for _, m := range regexp.MustCompile(`(?:padding|margin): *([^;]+);`).FindAllStringSubmatch(string(css), -1) {
		if sides := strings.Fields(regexp.MustCompile(`\([^()]*\)`).ReplaceAllString(m[1], "")); len(sides) == 4 && sides[1] != sides[3] {
			t.Errorf("%s is not the same on both sides", m[0])
		}
	}
}
