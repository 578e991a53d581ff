package page

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
)

// Language is the pages in one language.
type Language struct {
	*spoken
	r *Renderer
	// asked is set where the browser was asked which language it is to be.
	asked bool
}

// spoken is a language that pages are there in.
type spoken struct {
	tag   language.Tag
	dir   string // ltr or rtl
	texts *Texts
}

const (
	maxLocale = 64
	maxAccept = 1 << 10
	maxTags   = 32
)

func newSpoken(tag language.Tag, texts *Texts) *spoken {
	s := &spoken{tag: tag, dir: "ltr", texts: texts}
	script, _ := tag.Script()
	if slices.Contains([]string{"Arab", "Hebr", "Thaa", "Syrc", "Nkoo", "Adlm", "Rohg", "Mand", "Samr"}, script.String()) {
		s.dir = "rtl"
	}
	return s
}

// In returns the pages in the language of a launch, which its locale says; if
// that is not known, or there are no texts in it, in the one that the browser
// likes best of those that are there; else in English.
func (r *Renderer) In(locale string, accept []string) *Language {
	if s := r.match(localeTag(locale)); s != nil {
		return &Language{s, r, false}
	}
	for _, tag := range acceptTags(accept) {
		if s := r.match(tag); s != nil {
			return &Language{s, r, true}
		}
	}
	return &Language{r.spoken[0], r, true}
}

// English returns the pages in English, for what is read by programs and the
// people who write them.
func (r *Renderer) English() *Language { return &Language{r.spoken[0], r, false} }

// Match returns the language of the pages that people with a locale see, or
// nothing if there is none for it.
func (r *Renderer) Match(locale string) string {
	s := r.match(localeTag(locale))
	if s == nil {
		return ""
	}
	return s.tag.String()
}

func (r *Renderer) match(tag language.Tag) *spoken {
	if tag == language.Und {
		return nil
	}
	if _, i, confidence := r.matcher.Match(tag); confidence >= language.High {
		return r.spoken[i]
	}
	return nil
}

// localeTag reads a locale as platforms write it: de, pt-BR, de_AT.UTF-8,
// en_us. What it does not know behind the language is left out.
func localeTag(locale string) language.Tag {
	if len(locale) > maxLocale {
		return language.Und
	}
	locale, _, _ = strings.Cut(locale, ".")
	locale, _, _ = strings.Cut(locale, "@")
	locale = strings.ReplaceAll(strings.TrimSpace(locale), "_", "-")
	for locale != "" {
		if tag, err := language.Parse(locale); err == nil {
			return tag
		}
		locale = locale[:max(0, strings.LastIndexByte(locale, '-'))]
	}
	return language.Und
}

// acceptTags reads the header Accept-Language (RFC 9110 §12.5.4): the tags in
// the order in which the browser prefers them, without those that it refuses.
func acceptTags(accept []string) []language.Tag {
	all := strings.Join(accept, ",")
	if len(all) > maxAccept {
		all = all[:maxAccept]
		all = all[:max(0, strings.LastIndexByte(all, ','))]
	}
	type wish struct {
		tag    language.Tag
		weight float64
	}
	var wishes []wish
	for _, part := range strings.SplitN(all, ",", maxTags+1)[:min(maxTags, 1+strings.Count(all, ","))] {
		name, params, _ := strings.Cut(part, ";")
		weight := 1.0
		if q, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(params)), "q="); ok {
			var err error
			if weight, err = strconv.ParseFloat(q, 64); err != nil || !(weight >= 0 && weight <= 1) {
				continue
			}
		}
		if tag := localeTag(name); tag != language.Und && weight > 0 {
			wishes = append(wishes, wish{tag, weight})
		}
	}
	slices.SortStableFunc(wishes, func(a, b wish) int {
		switch {
		case a.weight > b.weight:
			return -1
		case a.weight < b.weight:
			return 1
		}
		return 0
	})
	tags := make([]language.Tag, len(wishes))
	for i, w := range wishes {
		tags[i] = w.tag
	}
	return tags
}

// Has reports whether there are words for the page.
func (l *Language) Has(id string) bool {
	_, ok := l.texts.Pages[id]
	return ok
}

// Word returns one of the shared words.
func (l *Language) Word(name string) string { return l.texts.Words[name] }

// Title returns the heading of a page.
func (l *Language) Title(id string) string { return l.texts.Pages[id].Title }

// Fill returns one of the shared words, with its placeholders filled in: name and
// value in turn.
func (s *spoken) Fill(word string, pairs ...any) (string, error) {
	text, ok := s.texts.Words[word]
	if !ok || len(pairs)%2 != 0 {
		return "", fmt.Errorf("fill %q: expected a word, and a value behind each name", word)
	}
	var replace []string
	for i, val := range pairs {
		if i%2 == 0 {
			val = fmt.Sprintf("{%v}", val)
		}
		replace = append(replace, fmt.Sprint(val))
	}
	return strings.NewReplacer(replace...).Replace(text), nil
}

// Time writes a time in the way of the language.
func (s *spoken) Time(t time.Time) string { return t.UTC().Format(s.texts.Words["time"]) }

// Number writes a number in the way of the language.
func (s *spoken) Number(n float64) string {
	return strings.ReplaceAll(strconv.FormatFloat(n, 'g', -1, 64), ".", s.texts.Words["decimal"])
}
