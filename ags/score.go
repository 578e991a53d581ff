package ags

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-lti/lti/internal/strictjson"
)

// Values of activityProgress (AGS 2.0 §3.4.7).
const (
	Initialized = "Initialized"
	Started     = "Started"
	InProgress  = "InProgress"
	Submitted   = "Submitted"
	Completed   = "Completed"
)

// Values of gradingProgress (AGS 2.0 §3.4.8).
const (
	FullyGraded   = "FullyGraded"
	Pending       = "Pending"
	PendingManual = "PendingManual"
	Failed        = "Failed"
	NotReady      = "NotReady"
)

var (
	activityValues = []string{Initialized, Started, InProgress, Submitted, Completed}
	gradingValues  = []string{FullyGraded, Pending, PendingManual, Failed, NotReady}
)

// Score is what a tool reports of a person (AGS 2.0 §3.4).
type Score struct {
	UserID           string
	ScoreGiven       *float64 // nil: none, which clears an earlier one
	ScoreMaximum     *float64 // needed with ScoreGiven
	ActivityProgress string
	GradingProgress  string
	Timestamp        time.Time // of the change in the tool; sent in milliseconds
	Comment          string    // plain text; empty clears an earlier one
	ScoringUserID    string
	Submission       Submission

	// Extensions are further members, whose names are full URLs. Others are
	// not sent.
	Extensions map[string]json.RawMessage
}

// Submission says when the work was done. The zero time stands for unknown.
type Submission struct {
	StartedAt   time.Time
	SubmittedAt time.Time
}

// SetDefaults fills in what means a final score of finished work.
func (s *Score) SetDefaults() {
	if s.ActivityProgress == "" {
		s.ActivityProgress = Completed
	}
	if s.GradingProgress == "" {
		s.GradingProgress = FullyGraded
	}
}

// Erases tells whether sending the score deletes a grade on platforms such as
// Moodle: it brings none, or one that is not final.
func (s *Score) Erases() bool {
	return s.ScoreGiven == nil || s.GradingProgress != "" && s.GradingProgress != FullyGraded
}

// FieldError says what is wrong with one member of a score or line item, in the
// specification's spelling.
type FieldError struct {
	Field   string
	Problem string
}

func (e FieldError) Error() string { return e.Field + " " + e.Problem }

// FieldErrors is everything that is wrong with a score or line item.
type FieldErrors []FieldError

func (e FieldErrors) Error() string {
	texts := make([]string, len(e))
	for i := range e {
		texts[i] = e[i].Error()
	}
	return strings.Join(texts, "; ")
}

func (e *FieldErrors) add(field, format string, args ...any) {
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

const (
	maxComment = 10 << 10
	maxUserID  = 255 // LTI 1.3 §5.3.6
)

// ValidateScore checks a score that has its defaults. Its error is a
// [FieldErrors].
func ValidateScore(s *Score) error {
	var errs FieldErrors
	s.check(&errs)
	return errs.orNil()
}

func (s *Score) check(errs *FieldErrors) {
	if why := badUserID(s.UserID); why != "" {
		errs.add("userId", "%s", why)
	}
	if s.ScoringUserID != "" {
		if why := badUserID(s.ScoringUserID); why != "" {
			errs.add("scoringUserId", "%s", why)
		}
	}
	if s.ScoreGiven != nil {
		switch given := *s.ScoreGiven; {
		case !finite(given):
			errs.add("scoreGiven", "must be a finite number")
		case given < 0:
			errs.add("scoreGiven", "must not be negative")
		}
		if s.ScoreMaximum == nil {
			errs.add("scoreMaximum", "is required with scoreGiven")
		}
	}
	if s.ScoreMaximum != nil {
		switch maximum := *s.ScoreMaximum; {
		case !finite(maximum):
			errs.add("scoreMaximum", "must be a finite number")
		case maximum <= 0:
			errs.add("scoreMaximum", "must be greater than 0")
		}
	}
	if !slices.Contains(activityValues, s.ActivityProgress) {
		errs.add("activityProgress", "must be one of %s", strings.Join(activityValues, ", "))
	}
	if !slices.Contains(gradingValues, s.GradingProgress) {
		errs.add("gradingProgress", "must be one of %s", strings.Join(gradingValues, ", "))
	}
	switch {
	case s.Timestamp.IsZero():
		errs.add("timestamp", "is required")
	case !sendable(s.Timestamp):
		errs.add("timestamp", timeRule)
	}
	switch {
	case len(s.Comment) > maxComment:
		errs.add("comment", "must have at most %d bytes", maxComment)
	case !utf8.ValidString(s.Comment) || hasControl(s.Comment, "\n\r\t"):
		errs.add("comment", "must not contain control characters or invalid UTF-8")
	}
	started, submitted := s.Submission.StartedAt, s.Submission.SubmittedAt
	switch {
	case !started.IsZero() && !sendable(started) || !submitted.IsZero() && !sendable(submitted):
		errs.add("submission", timeRule)
	case !started.IsZero() && !submitted.IsZero() && submitted.Before(started):
		errs.add("submission", "must not have submittedAt before startedAt")
	}
	for name, raw := range s.Extensions {
		if isExtension(name) && !json.Valid(raw) {
			errs.add(name, "must be JSON")
		}
	}
}

func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

// sendable tells whether a time has the four digits of a year.
func sendable(t time.Time) bool {
	y := t.UTC().Year()
	return y >= 1 && y <= 9999
}

func badUserID(id string) string {
	if id == "" {
		return "is required"
	}
	if len(id) > maxUserID {
		return fmt.Sprintf("must have at most %d characters", maxUserID)
	}
	for i := range len(id) {
		if id[i] < ' ' || id[i] > '~' {
			return "must be printable ASCII"
		}
	}
	return ""
}

func hasControl(s, allowed string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune(allowed, r) })
}

// Milliseconds and Z are what every platform reads.
const wireTime = "2006-01-02T15:04:05.000Z"

// wire is a score as it is sent, and in this order.
type wire struct {
	UserID           string          `json:"userId"`
	ScoreGiven       *float64        `json:"scoreGiven,omitempty"`
	ScoreMaximum     *float64        `json:"scoreMaximum,omitempty"`
	ActivityProgress string          `json:"activityProgress"`
	GradingProgress  string          `json:"gradingProgress"`
	Timestamp        string          `json:"timestamp,omitempty"`
	Comment          string          `json:"comment,omitempty"`
	ScoringUserID    string          `json:"scoringUserId,omitempty"`
	Submission       *wireSubmission `json:"submission,omitempty"`
}

type wireSubmission struct {
	StartedAt   string `json:"startedAt,omitempty"`
	SubmittedAt string `json:"submittedAt,omitempty"`
}

// MarshalJSON writes the score as it is sent: members of the specification and
// extensions only.
func (s Score) MarshalJSON() ([]byte, error) {
	w := wire{
		UserID: s.UserID, ScoreGiven: s.ScoreGiven, ScoreMaximum: s.ScoreMaximum,
		ActivityProgress: s.ActivityProgress, GradingProgress: s.GradingProgress,
		Timestamp: formatTime(s.Timestamp), Comment: s.Comment, ScoringUserID: s.ScoringUserID,
	}
	if sub := (wireSubmission{formatTime(s.Submission.StartedAt), formatTime(s.Submission.SubmittedAt)}); sub != (wireSubmission{}) {
		w.Submission = &sub
	}
	data, err := json.Marshal(w)
	ext := extensions(s.Extensions)
	if err != nil || len(ext) == 0 {
		return data, err
	}
	more, err := json.Marshal(ext)
	if err != nil {
		return nil, err
	}
	// Both are objects that are not empty.
	return append(append(data[:len(data)-1], ','), more[1:]...), nil
}

func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(wireTime)
}

// UnmarshalJSON is [ParseScore] without further members.
func (s *Score) UnmarshalJSON(data []byte) error {
	parsed, err := ParseScore(data)
	if err != nil {
		return err
	}
	*s = *parsed
	return nil
}

// ParseScore reads a score that an app wrote. An unknown member is an error, for
// a misspelt scoreGiven would clear a grade; those in also are the caller's own.
// What is missing stays so: [Score.SetDefaults] and [ValidateScore] come later.
// If the JSON is sound, the error is a [FieldErrors].
func ParseScore(data []byte, also ...string) (*Score, error) {
	obj, err := strictjson.Object(data)
	if err != nil {
		return nil, err
	}
	r := reader{obj: obj}
	s := &Score{
		UserID:           r.text("userId"),
		ScoreGiven:       r.number("scoreGiven"),
		ScoreMaximum:     r.number("scoreMaximum"),
		ActivityProgress: r.text("activityProgress"),
		GradingProgress:  r.text("gradingProgress"),
		Timestamp:        r.time("timestamp"),
		Comment:          r.text("comment"),
		ScoringUserID:    r.text("scoringUserId"),
	}
	if raw, ok := r.take("submission"); ok {
		sub := reader{within: "submission."}
		if sub.obj, err = strictjson.Object(raw); err != nil {
			r.errs.add("submission", "must be an object")
		}
		s.Submission = Submission{StartedAt: sub.time("startedAt"), SubmittedAt: sub.time("submittedAt")}
		sub.unknown(nil)
		r.errs = append(r.errs, sub.errs...)
	}
	s.Extensions = r.unknown(also)
	if err := r.errs.orNil(); err != nil {
		return nil, err
	}
	return s, nil
}

// reader takes members out of what an app wrote, strictly. A member that is null
// counts as absent.
type reader struct {
	obj    map[string]json.RawMessage
	within string
	errs   FieldErrors
}

func (r *reader) take(name string) (json.RawMessage, bool) {
	raw, ok := r.obj[name]
	delete(r.obj, name)
	return raw, ok && string(raw) != "null"
}

func (r *reader) text(name string) string {
	var s string
	if raw, ok := r.take(name); ok && json.Unmarshal(raw, &s) != nil {
		r.errs.add(r.within+name, "must be a string")
	}
	return s
}

func (r *reader) number(name string) *float64 {
	raw, ok := r.take(name)
	if !ok {
		return nil
	}
	var f float64
	if json.Unmarshal(raw, &f) != nil {
		r.errs.add(r.within+name, "must be a finite number")
		return nil
	}
	return &f
}

func (r *reader) time(name string) time.Time {
	s := r.text(name)
	if s == "" {
		return time.Time{}
	}
	t, err := parseTime(s)
	if err != nil || t.IsZero() {
		r.errs.add(r.within+name, timeRule)
		return time.Time{}
	}
	return t
}

// unknown returns the extensions among what is left, and complains about the
// rest.
func (r *reader) unknown(also []string) map[string]json.RawMessage {
	for _, name := range slices.Sorted(maps.Keys(r.obj)) {
		switch {
		case slices.Contains(also, name):
			delete(r.obj, name)
		case !isExtension(name):
			r.errs.add(r.within+clip(name), "is not a member that is known here")
			delete(r.obj, name)
		}
	}
	if len(r.obj) == 0 {
		return nil
	}
	return r.obj
}

// clip makes the name of a member fit for a message.
func clip(s string) string {
	if hasControl(s, "") || len(s) > 60 {
		return fmt.Sprintf("%.60q", s)
	}
	return s
}
