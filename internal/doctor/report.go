package doctor

import (
	"cmp"
	"io"
	"slices"
	"strings"

	"github.com/caddy-lti/lti/internal/fault"
)

// weight orders levels, the worst first.
var weight = map[Level]int{Failure: 0, Warning: 1, Note: 2, OK: 3}

var colours = map[Level]string{Failure: "\x1b[31m", Warning: "\x1b[33m", Note: "\x1b[36m", OK: "\x1b[32m"}

const plainColour = "\x1b[0m"

// WriteText writes findings for a terminal: by subject, the worst first, and below
// each what helps. Colours are for who asks for them.
func WriteText(w io.Writer, found []Finding, colour bool) error {
	var b strings.Builder
	var subjects []string
	width := 0
	for _, f := range found {
		if !slices.Contains(subjects, f.Subject) {
			subjects = append(subjects, f.Subject)
		}
		width = max(width, len(f.Check))
	}
	for i, subject := range subjects {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(subject + "\n")
		for _, f := range sorted(found, subject) {
			level := pad(string(f.Level), len(Failure))
			if colour {
				level = colours[f.Level] + level + plainColour
			}
			b.WriteString("  " + level + "  " + pad(string(f.Check), width) + "  " + f.Text + "\n")
			if f.Mend == "" {
				continue
			}
			b.WriteString("  " + pad("", len(Failure)) + "  → ")
			if f.Whose != "" && f.Whose != fault.Nobody {
				b.WriteString(string(f.Whose) + ": ")
			}
			b.WriteString(f.Mend + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func sorted(found []Finding, subject string) []Finding {
	var of []Finding
	for _, f := range found {
		if f.Subject == subject {
			of = append(of, f)
		}
	}
	slices.SortStableFunc(of, func(a, b Finding) int { return cmp.Compare(weight[a.Level], weight[b.Level]) })
	return of
}

func pad(s string, width int) string { return s + strings.Repeat(" ", max(0, width-len(s))) }

// ExitStatus is that of a program which found this: 1 if anything fails.
func ExitStatus(found []Finding) int {
	if slices.ContainsFunc(found, func(f Finding) bool { return f.Level == Failure }) {
		return 1
	}
	return 0
}
