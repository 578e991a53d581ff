package catalog

import (
	"errors"
	"fmt"
	"math"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxTitle = 200 // runes
	maxText  = 300

	maxPath   = 2048 // bytes, as the others
	maxName   = 255  // resource_id and tag
	maxCustom = 32   // pairs
	maxPair   = 1024
	maxScore  = 1e9
)

// Item is something that a teacher can pick.
type Item struct {
	// ID is the identity: the resource_id, or else the path.
	ID string
	// Path begins with a slash, is percent-encoded, and may have a query.
	Path  string
	Title string
	Text  string
	// Image is the path of a picture of this site, or empty.
	Image string
	// ScoreMaximum is more than zero if the item is graded.
	ScoreMaximum float64
	ResourceID   string
	Tag          string
	// Custom goes into the link. It is shared: do not change it.
	Custom map[string]string
}

// check brings the item into the form that it has in the catalogue, or says
// which member cannot be.
func (s *site) check(it *Item) error {
	var err error
	if it.Path, err = s.page(it.Path); err != nil {
		return fmt.Errorf("path: %w", err)
	}
	if it.Image != "" {
		if it.Image = s.image(it.Image, it.Path); it.Image == "" {
			return errors.New("image: expected a path of this site")
		}
	}
	it.Title, it.Text = tidy(it.Title, maxTitle), tidy(it.Text, maxText)
	if it.ScoreMaximum != 0 && !validScore(it.ScoreMaximum) {
		return fmt.Errorf("score_maximum: expected a number above 0, up to %d", int(maxScore))
	}
	if err := checkName(it.ResourceID); err != nil {
		return fmt.Errorf("resource_id: %w", err)
	}
	if err := checkName(it.Tag); err != nil {
		return fmt.Errorf("tag: %w", err)
	}
	if len(it.Custom) > maxCustom {
		return fmt.Errorf("custom: more than %d parameters", maxCustom)
	}
	for name, value := range it.Custom {
		if name == "" || len(name) > maxName || len(value) > maxPair {
			return fmt.Errorf("custom: a parameter has no name, one of more than %d bytes, or a value of more than %d bytes", maxName, maxPair)
		}
	}
	if it.ID = it.ResourceID; it.ID == "" {
		it.ID = it.Path
	}
	return nil
}

func validScore(v float64) bool { return v > 0 && v <= maxScore && !math.IsNaN(v) }

func checkName(s string) error {
	if len(s) > maxName || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("expected at most %d bytes without control characters", maxName)
	}
	return nil
}

// titleOf makes a title of the last name in a path.
func titleOf(p string) string {
	p, _, _ = strings.Cut(p, "?")
	name := path.Base(decoded(p))
	if ext := path.Ext(name); isPage(name) {
		name = strings.TrimSuffix(name, ext)
	}
	words := strings.Fields(strings.NewReplacer("-", " ", "_", " ").Replace(name))
	title := tidy(strings.Join(words, " "), maxTitle)
	first, size := utf8.DecodeRuneInString(title)
	if size == 0 {
		return tidy(p, maxTitle)
	}
	return string(unicode.ToTitle(first)) + title[size:]
}

// tidy makes one line of a text, of so many runes at most, and drops what does
// not print or turns the direction of what stands beside it. The result shares
// no memory with s.
func tidy(s string, limit int) string {
	var b strings.Builder
	runes, space := 0, false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			space = true
			continue
		case r == utf8.RuneError, unicode.IsControl(r), r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069:
			continue
		}
		if space && runes > 0 {
			b.WriteByte(' ')
			runes++
		}
		space = false
		if runes++; runes > limit {
			return cut(b.String(), limit-1) + "…"
		}
		b.WriteRune(r)
	}
	return strings.Clone(b.String())
}

// cut returns so many runes of s, without a space at the end.
func cut(s string, runes int) string {
	for i := range s {
		if runes == 0 {
			return strings.TrimRight(s[:i], " ")
		}
		runes--
	}
	return strings.TrimRight(s, " ")
}
