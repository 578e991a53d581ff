package page

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Text is the words of one page.
type Text struct {
	Title string   `json:"title"`
	Lead  string   `json:"lead"`
	Steps []string `json:"steps,omitempty"`
}

// Texts is everything that is said in one language.
type Texts struct {
	// Pages is keyed by the id of the page: a code of lti.Error, or a name such
	// as signed_out.
	Pages map[string]Text `json:"pages"`
	// Words are the few that all pages share.
	Words map[string]string `json:"words"`
}

const (
	maxText  = 2000 // bytes of one text
	maxSteps = 20
)

// placeholder stands in a text for something that differs: {count}.
var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

// placeholders are those of a text, in order of their names.
func placeholders(text string) []string {
	return slices.Compact(slices.Sorted(slices.Values(placeholder.FindAllString(text, -1))))
}

// on returns t laid over texts that are complete: what t lacks is said as there.
func (t *Texts) on(below *Texts) *Texts {
	out := &Texts{Pages: maps.Clone(below.Pages), Words: maps.Clone(below.Words)}
	maps.Copy(out.Words, t.Words)
	for id, text := range t.Pages {
		under := out.Pages[id]
		if text.Title == "" {
			text.Title = under.Title
		}
		if text.Lead == "" {
			text.Lead = under.Lead
		}
		if text.Steps == nil {
			text.Steps = under.Steps
		}
		out.Pages[id] = text
	}
	return out
}

// textError is what is wrong with a file of texts, and where.
type textError struct {
	line int
	what string
}

// Error implements error.
func (e *textError) Error() string { return fmt.Sprintf("%d: %s", e.line, e.what) }

// textReader reads a file of texts, and knows in which line it is.
type textReader struct {
	data []byte
	dec  *json.Decoder
}

// parseTexts reads a file of texts. It may lack any, but has none that the
// English texts do not have: such a one would never be seen. If english is nil,
// any will do.
func parseTexts(data []byte, english *Texts) (*Texts, error) {
	if !utf8.Valid(data) {
		return nil, &textError{1 + bytes.Count(data[:validPrefix(data)], []byte("\n")), "this is not UTF-8"}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // some editors put one in front
	r := &textReader{data, json.NewDecoder(bytes.NewReader(data))}
	t := &Texts{Pages: make(map[string]Text), Words: make(map[string]string)}
	err := r.object(map[string]func(string) error{
		"words": func(string) error {
			return r.object(nil, func(word string) error {
				if english != nil && english.Words[word] == "" {
					return r.errorf("there is no word %q", word)
				}
				s, err := r.text()
				if err == nil && english != nil {
					err = r.checkWord(word, s, english.Words[word])
				}
				t.Words[word] = s
				return err
			})
		},
		"pages": func(string) error {
			return r.object(nil, func(id string) error {
				if _, ok := t.known(english, id); !ok {
					return r.errorf("there is no page %q", id)
				}
				text, err := r.page()
				t.Pages[id] = text
				return err
			})
		},
	}, nil)
	if err != nil {
		return nil, err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, r.errorf("there is more behind the end of the object")
	}
	return t, nil
}

func (t *Texts) known(english *Texts, id string) (Text, bool) {
	if english == nil {
		return Text{}, true
	}
	text, ok := english.Pages[id]
	return text, ok
}

// validPrefix is how much of data is UTF-8.
func validPrefix(data []byte) int {
	n := 0
	for n < len(data) {
		c, size := utf8.DecodeRune(data[n:])
		if c == utf8.RuneError && size <= 1 {
			break
		}
		n += size
	}
	return n
}

func (r *textReader) errorf(format string, args ...any) error {
	read := min(int(r.dec.InputOffset()), len(r.data))
	return &textError{1 + bytes.Count(r.data[:read], []byte("\n")), fmt.Sprintf(format, args...)}
}

func (r *textReader) token() (json.Token, error) {
	tok, err := r.dec.Token()
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		read := min(int(syntax.Offset), len(r.data))
		return nil, &textError{1 + bytes.Count(r.data[:read], []byte("\n")), syntax.Error()}
	}
	if err != nil {
		return nil, r.errorf("the file ends too early")
	}
	return tok, nil
}

// object reads an object, each member with the function that members or other
// have for it.
func (r *textReader) object(members map[string]func(string) error, other func(string) error) error {
	tok, err := r.token()
	if err != nil {
		return err
	}
	if tok != json.Delim('{') {
		return r.errorf("expected an object, { … }")
	}
	seen := make(map[string]bool)
	for r.dec.More() {
		tok, err := r.token()
		if err != nil {
			return err
		}
		name := tok.(string) // the decoder takes nothing else for a name
		if seen[name] {
			return r.errorf("%q is there twice", name)
		}
		seen[name] = true
		read := other
		if read == nil {
			if read = members[name]; read == nil {
				return r.errorf("%q is not known here: expected %s", name, strings.Join(slices.Sorted(maps.Keys(members)), ", "))
			}
		}
		if err := read(name); err != nil {
			return err
		}
	}
	_, err = r.token()
	return err
}

func (r *textReader) page() (Text, error) {
	var text Text
	into := func(s *string) func(string) error {
		return func(string) error {
			var err error
			*s, err = r.text()
			return err
		}
	}
	err := r.object(map[string]func(string) error{
		"title": into(&text.Title),
		"lead":  into(&text.Lead),
		"steps": func(string) error {
			tok, err := r.token()
			if err != nil {
				return err
			}
			if tok != json.Delim('[') {
				return r.errorf("expected a list, [ … ]")
			}
			text.Steps = []string{}
			for r.dec.More() {
				if len(text.Steps) == maxSteps {
					return r.errorf("more than %d steps", maxSteps)
				}
				s, err := r.text()
				if err != nil {
					return err
				}
				text.Steps = append(text.Steps, s)
			}
			_, err = r.token()
			return err
		},
	}, nil)
	return text, err
}

// text reads one text.
func (r *textReader) text() (string, error) {
	tok, err := r.token()
	if err != nil {
		return "", err
	}
	s, ok := tok.(string)
	switch {
	case !ok:
		return "", r.errorf("expected a text")
	case strings.TrimSpace(s) == "":
		return "", r.errorf("an empty text")
	case len(s) > maxText:
		return "", r.errorf("a text of more than %d bytes", maxText)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", r.errorf("a text with a line break or another control character")
	}
	return s, nil
}

// checkWord checks that a word has the placeholders that the English one has, and
// that those that are no words are what they have to be.
func (r *textReader) checkWord(word, s, english string) error {
	switch word {
	case "time":
		if at := time.Date(2006, 1, 2, 15, 4, 0, 0, time.UTC); !timeForm.MatchString(s) || at.Format(s) != s {
			return r.errorf("expected the moment 2006-01-02 15:04 UTC as it is written in the language")
		}
	case "decimal":
		if s != "." && s != "," {
			return r.errorf("expected . or ,")
		}
	}
	if want := placeholders(english); !slices.Equal(placeholders(s), want) {
		if len(want) == 0 {
			return r.errorf("%s: this text has no placeholders", strings.Join(placeholders(s), " "))
		}
		return r.errorf("the text has to have the placeholders %s", strings.Join(want, " "))
	}
	return nil
}

// timeForm matches a way to write that moment.
var timeForm = regexp.MustCompile(`2006.*15:04|15:04.*2006`)
