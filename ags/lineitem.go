package ags

import (
	"encoding/json"
	"errors"
	"math"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-lti/lti/internal/loosejson"
)

// LineItem is a column of the gradebook (AGS 2.0 §3.2).
type LineItem struct {
	ID             string // its URL, which the platform sets
	Label          string
	ScoreMaximum   float64
	ResourceLinkID string
	ResourceID     string
	Tag            string
	StartDateTime  string // ISO 8601 with a zone
	EndDateTime    string
	GradesReleased *bool

	// SubmissionReview asks for launches that show a submission; see
	// Submission Review 1.0.
	SubmissionReview json.RawMessage

	// Extra are members of other names, as they came: extensions, whose names
	// are full URLs, and what only the platform knows. All go back on update.
	Extra map[string]json.RawMessage
}

// UnmarshalJSON reads what a platform sent, forgivingly: what does not fit its
// member stays in Extra.
func (li *LineItem) UnmarshalJSON(data []byte) error {
	var m loosejson.Members
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	if m == nil {
		return errors.New("a line item is null")
	}
	*li = LineItem{
		ID:             m.Text("id"),
		Label:          m.Text("label"),
		ResourceLinkID: m.Text("resourceLinkId"),
		ResourceID:     m.Text("resourceId"),
		Tag:            m.Text("tag"),
		StartDateTime:  m.Text("startDateTime"),
		EndDateTime:    m.Text("endDateTime"),
		GradesReleased: m.Boolean("gradesReleased"),
	}
	if maximum := m.Number("scoreMaximum"); maximum != nil {
		li.ScoreMaximum = *maximum
	}
	if review, ok := m["submissionReview"]; ok {
		delete(m, "submissionReview")
		if string(review) != "null" {
			li.SubmissionReview = review
		}
	}
	li.Extra = m.Rest()
	return nil
}

// MarshalJSON writes all members that are set.
func (li LineItem) MarshalJSON() ([]byte, error) {
	o := newObject(li.Extra)
	o.text("id", li.ID)
	o.text("label", li.Label)
	o.text("resourceLinkId", li.ResourceLinkID)
	o.text("resourceId", li.ResourceID)
	o.text("tag", li.Tag)
	o.text("startDateTime", li.StartDateTime)
	o.text("endDateTime", li.EndDateTime)
	if li.ScoreMaximum != 0 {
		o["scoreMaximum"] = li.ScoreMaximum
	}
	if li.GradesReleased != nil {
		o["gradesReleased"] = *li.GradesReleased
	}
	if len(li.SubmissionReview) > 0 {
		o["submissionReview"] = li.SubmissionReview
	}
	return json.Marshal(map[string]any(o))
}

const maxText = 1024 // of the strings of a line item

// ValidateLineItem checks what a tool sends. Its error is a [FieldErrors].
func ValidateLineItem(li *LineItem) error {
	var errs FieldErrors
	if strings.TrimSpace(li.Label) == "" {
		errs.add("label", "must not be empty")
	}
	switch m := li.ScoreMaximum; {
	case math.IsNaN(m) || math.IsInf(m, 0):
		errs.add("scoreMaximum", "must be a finite number")
	case m <= 0:
		errs.add("scoreMaximum", "must be greater than 0")
	}
	for _, f := range []struct{ name, value string }{
		{"label", li.Label},
		{"resourceLinkId", li.ResourceLinkID},
		{"resourceId", li.ResourceID},
		{"tag", li.Tag},
	} {
		switch {
		case len(f.value) > maxText:
			errs.add(f.name, "must have at most 1024 bytes")
		case !utf8.ValidString(f.value) || hasControl(f.value, ""):
			errs.add(f.name, "must not contain control characters or invalid UTF-8")
		}
	}
	for _, f := range []struct{ name, value string }{
		{"startDateTime", li.StartDateTime},
		{"endDateTime", li.EndDateTime},
	} {
		if _, err := parseTime(f.value); f.value != "" && err != nil {
			errs.add(f.name, timeRule)
		}
	}
	if len(li.SubmissionReview) > 0 && (!json.Valid(li.SubmissionReview) || li.SubmissionReview[0] != '{') {
		errs.add("submissionReview", "must be an object")
	}
	return errs.orNil()
}

const timeRule = "must be a time with a zone, such as 2026-03-01T10:00:00.123Z"

// timeForm is RFC 3339. The parser of package time takes more than that, such
// as "2026-03-01T1:00:00,5Z", which a platform need not.
var timeForm = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$`)

func parseTime(s string) (time.Time, error) {
	if !timeForm.MatchString(s) {
		return time.Time{}, errors.New(timeRule)
	}
	return time.Parse(time.RFC3339, s)
}
