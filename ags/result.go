package ags

import (
	"encoding/json"
	"errors"

	"github.com/caddy-lti/lti/internal/loosejson"
)

// Result is what the gradebook shows for a person, after changes by teachers
// (AGS 2.0 §3.3).
type Result struct {
	ID            string
	ScoreOf       string // the line item
	UserID        string
	ResultScore   *float64 // nil: none
	ResultMaximum *float64 // nil: see [Result.Maximum]
	ScoringUserID string
	Comment       string

	// Extra are members of other names, as they came.
	Extra map[string]json.RawMessage
}

// Maximum is what ResultScore is out of: 1 unless the platform says otherwise.
func (r *Result) Maximum() float64 {
	if r.ResultMaximum == nil || *r.ResultMaximum <= 0 {
		return 1
	}
	return *r.ResultMaximum
}

// UnmarshalJSON reads what a platform sent, forgivingly: what does not fit its
// member stays in Extra.
func (r *Result) UnmarshalJSON(data []byte) error {
	var m loosejson.Members
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	if m == nil {
		return errors.New("a result is null")
	}
	*r = Result{
		ID:            m.Text("id"),
		ScoreOf:       m.Text("scoreOf"),
		UserID:        m.Text("userId"),
		ResultScore:   m.Number("resultScore"),
		ResultMaximum: m.Number("resultMaximum"),
		ScoringUserID: m.Text("scoringUserId"),
		Comment:       m.Text("comment"),
	}
	r.Extra = m.Rest()
	return nil
}

// MarshalJSON writes all members that are set.
func (r Result) MarshalJSON() ([]byte, error) {
	o := newObject(r.Extra)
	o.text("id", r.ID)
	o.text("scoreOf", r.ScoreOf)
	o.text("userId", r.UserID)
	o.text("scoringUserId", r.ScoringUserID)
	o.text("comment", r.Comment)
	if r.ResultScore != nil {
		o["resultScore"] = *r.ResultScore
	}
	if r.ResultMaximum != nil {
		o["resultMaximum"] = *r.ResultMaximum
	}
	return json.Marshal(map[string]any(o))
}
