package deeplink

import (
	"fmt"
	"strings"
	"unicode"
)

// FieldError says what is wrong with one member of a response, in the
// specification's spelling: content_items[2].lineItem.scoreMaximum.
type FieldError struct {
	Field   string
	Problem string
}

func (e FieldError) Error() string { return e.Field + " " + e.Problem }

// FieldErrors is what is wrong with a response; of very much, the first.
type FieldErrors []FieldError

func (e FieldErrors) Error() string {
	texts := make([]string, len(e))
	for i := range e {
		texts[i] = e[i].Error()
	}
	return strings.Join(texts, "; ")
}

// maxErrors is how many problems anybody reads.
const maxErrors = 20

func (e *FieldErrors) add(field, format string, args ...any) {
	if len(*e) >= maxErrors {
		return
	}
	for _, f := range *e {
		if f.Field == field { // one problem at a time
			return
		}
	}
	*e = append(*e, FieldError{field, fmt.Sprintf(format, args...)})
}

func (e FieldErrors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// clip makes a text fit for a message.
func clip(s string) string {
	if hasControl(s, "") || len(s) > 60 {
		return fmt.Sprintf("%.60q", s)
	}
	return s
}

func hasControl(s, allowed string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune(allowed, r) })
}
