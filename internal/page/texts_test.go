package page

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func readTexts(t *testing.T, name string) *Texts {
	t.Helper()
	data, err := files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := parseTexts(data, nil)
	if err != nil {
		t.Fatalf("%s:%v", name, err)
	}
	return texts
}

// The languages in which pages come.
var built = []string{"en", "ar", "de", "es", "fr"}

// sameAsEnglish are the texts that are the same in another language, on purpose.
var sameAsEnglish = map[string][]string{
	"ar": {"decimal"},
}

// Every language has every text, and none that is not said.
func TestTexts(t *testing.T) {
	names, err := fs.Glob(files, "texts/*.json")
	if err != nil || len(names) != len(built) {
		t.Fatal(names, err)
	}
	english := readTexts(t, "texts/en.json")
	for _, lang := range built {
		t.Run(lang, func(t *testing.T) {
			texts := readTexts(t, "texts/"+lang+".json")
			flat, want := flatten(texts), flatten(english)
			for id, en := range want {
				s, ok := flat[id]
				switch {
				case !ok:
					t.Errorf("%s is missing", id)
					continue
				case s != strings.TrimSpace(s):
					t.Errorf("%s has space around it: %q", id, s)
				case strings.ContainsAny(s, "<>"):
					t.Errorf("%s: texts are no markup: %q", id, s)
				case lang != "en" && s == en && !slices.Contains(sameAsEnglish[lang], id):
					t.Errorf("%s is what it is in English: %q", id, s)
				}
				if got := placeholders(s); !slices.Equal(got, placeholders(en)) {
					t.Errorf("%s has the placeholders %v, in English %v", id, got, placeholders(en))
				}
				if n, m := strings.Count(s, "\u2066"), strings.Count(s, "\u2069"); n != m {
					t.Errorf("%s: %d isolates begin, %d end: %q", id, n, m, s)
				}
			}
			for id := range flat {
				if _, ok := want[id]; !ok {
					t.Errorf("%s is there, but not in English", id)
				}
			}
			for _, id := range sameAsEnglish[lang] {
				if flat[id] != want[id] {
					t.Errorf("%s is not what it is in English any more", id)
				}
			}
		})
	}
	// Whoever is stopped has to be told how to go on.
	for id, p := range english.Pages {
		if len(p.Steps) == 0 && !slices.Contains([]string{"index", "signed_out", "grades", "grades_empty", "picker"}, id) {
			t.Errorf("%s does not say how to go on", id)
		}
	}
}

func flatten(t *Texts) map[string]string {
	flat := maps.Clone(t.Words)
	for id, p := range t.Pages {
		flat[id+".title"], flat[id+".lead"] = p.Title, p.Lead
		for i, s := range p.Steps {
			flat[fmt.Sprintf("%s.steps[%d]", id, i)] = s
		}
	}
	return flat
}

// In a text that runs from right to left, what is written the other way stands
// apart, so that the signs around it stay where they belong.
func TestIsolates(t *testing.T) {
	for id, s := range flatten(readTexts(t, "texts/ar.json")) {
		if id == "time" {
			continue
		}
		depth, latin := 0, false
		for _, c := range s {
			switch {
			case c == '\u2066':
				depth++
			case c == '\u2069':
				depth--
			case c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z':
				latin = latin || depth != 1
			}
		}
		if latin && len(placeholders(s)) == 0 {
			t.Errorf("%s has Latin letters outside of an isolate: %q", id, s)
		}
	}
}

func TestParseTexts(t *testing.T) {
	english := readTexts(t, "texts/en.json")
	t.Run("good", func(t *testing.T) {
		texts, err := parseTexts([]byte("\ufeff"+`{"words": {"go_on": "Verder", "picker_found": "{total}: {first} t/m {last}"}, "pages": {"failed": {"title": "Mis"}, "picked": {"steps": []}}}`), english)
		if err != nil {
			t.Fatal(err)
		}
		all := texts.on(english)
		if all.Words["go_on"] != "Verder" || all.Words["wait"] != english.Words["wait"] {
			t.Errorf("words: %q", all.Words)
		}
		failed := all.Pages["failed"]
		if failed.Title != "Mis" || failed.Lead != english.Pages["failed"].Lead || len(failed.Steps) != 2 || len(all.Pages["picked"].Steps) != 0 {
			t.Errorf("pages: %q %q", failed, all.Pages["picked"])
		}
		if english.Words["go_on"] == "Verder" || english.Pages["failed"].Title == "Mis" {
			t.Error("the texts below were changed")
		}
	})
	for name, c := range map[string]struct{ data, want string }{
		"empty":               {"", "1: the file ends too early"},
		"cut off":             {"{\n\"words\": {\n\"go_on\": \"x\"", "3: the file ends too early"},
		"syntax":              {"{\n\"words\": {\n,}}", "3: "},
		"a list":              {"[]", "1: expected an object"},
		"more":                {"{}\n{}", "2: there is more behind"},
		"unknown member":      {"{\n\"word\": {}}", `2: "word" is not known here: expected pages, words`},
		"unknown word":        {"{\"words\": {\n\"goon\": \"x\"}}", `2: there is no word "goon"`},
		"unknown page":        {"{\"pages\": {\n\n\"fail\": {}}}", `3: there is no page "fail"`},
		"unknown part":        {`{"pages": {"failed": {"text": "x"}}}`, `1: "text" is not known here: expected lead, steps, title`},
		"twice":               {"{\"words\": {\"go_on\": \"x\",\n\"go_on\": \"y\"}}", `2: "go_on" is there twice`},
		"empty text":          {`{"words": {"go_on": " "}}`, "1: an empty text"},
		"number":              {`{"words": {"go_on": 1}}`, "1: expected a text"},
		"steps no list":       {`{"pages": {"failed": {"steps": "x"}}}`, "1: expected a list"},
		"step no text":        {`{"pages": {"failed": {"steps": [["x"]]}}}`, "1: expected a text"},
		"too many steps":      {`{"pages": {"failed": {"steps": ["x"` + strings.Repeat(`,"x"`, 20) + `]}}}`, "1: more than 20 steps"},
		"long":                {`{"words": {"go_on": "` + strings.Repeat("x", 2001) + `"}}`, "1: a text of more than 2000 bytes"},
		"line break":          {`{"words": {"go_on": "a\nb"}}`, "1: a text with a line break"},
		"no UTF-8":            {"{\n\"words\": {\"go_on\": \"\xff\"}}", "2: this is not UTF-8"},
		"placeholder missing": {`{"words": {"picker_count": "chosen"}}`, "1: the text has to have the placeholders {count}"},
		"placeholder of none": {`{"words": {"go_on": "{count}"}}`, "1: {count}: this text has no placeholders"},
		"time":                {`{"words": {"time": "yesterday"}}`, "1: expected the moment 2006-01-02 15:04 UTC"},
		"decimal":             {`{"words": {"decimal": "x"}}`, "1: expected . or ,"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseTexts([]byte(c.data), english)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v, expected %s", err, c.want)
			}
		})
	}
}

func FuzzParseTexts(f *testing.F) {
	f.Add([]byte(`{"words": {"go_on": "Verder"}, "pages": {"failed": {"title": "Mis", "steps": ["a", "b"]}}}`))
	f.Add([]byte("{\n\"words\": {\"picker_count\": \"{count}\"}}"))
	data, err := files.ReadFile("texts/en.json")
	if err != nil {
		f.Fatal(err)
	}
	english, err := parseTexts(data, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		texts, err := parseTexts(data, english)
		if err != nil {
			if e, ok := err.(*textError); !ok || e.line < 1 || e.line > 1+strings.Count(string(data), "\n") { //nolint:errorlint // this very one
				t.Fatalf("an error without a line of the file: %v", err)
			}
			return
		}
		for id, s := range flatten(texts.on(english)) {
			if strings.TrimSpace(s) == "" || len(s) > maxText {
				t.Errorf("%s is %q", id, s)
			}
		}
	})
}

// Times and numbers are written as people of a language write them.
func TestTimesAndNumbers(t *testing.T) {
	r := newRenderer(t)
	at := time.Date(2026, 3, 9, 14, 5, 59, 0, time.FixedZone("", 3600))
	for lang, want := range map[string][3]string{
		"en": {"2026-03-09 13:05 UTC", "8.5", "1 to 20 of 61"},
		"de": {"09.03.2026, 13:05 UTC", "8,5", "1 bis 20 von 61"},
		"fr": {"09/03/2026 13:05 UTC", "8,5", "1 à 20 sur 61"},
		"es": {"09/03/2026 13:05 UTC", "8,5", "1 a 20 de 61"},
		"ar": {"2026/03/09 13:05 UTC", "8.5", "من 1 إلى 20 من أصل 61"},
	} {
		l := r.In(lang, nil)
		found, err := l.Fill("picker_found", "first", 1, "last", 20, "total", 61)
		if got := [3]string{l.Time(at), l.Number(8.5), found}; got != want || err != nil {
			t.Errorf("%s: %q, expected %q (%v)", lang, got, want, err)
		}
	}
	if _, err := r.English().Fill("nonsense"); err == nil {
		t.Error("a word that is none was filled")
	}
}
