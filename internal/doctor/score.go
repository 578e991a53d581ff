package doctor

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/internal/fault"
)

// Scores is the platform's gradebook for one course. It is an [*ags.Client].
type Scores interface {
	SendScore(ctx context.Context, lineItem string, s ags.Score) error
	Results(ctx context.Context, lineItem, userID string) iter.Seq2[ags.Result, error]
}

// TestScore is a score to send for a test.
type TestScore struct {
	Platform string // its name
	LineItem string // its URL
	UserID   string // best of a test student, such as Canvas's Student View has
	Replace  bool   // send it even if that replaces a score, or nobody knows whether it does
	Time     time.Time
}

var (
	scoreExists = define(rule{
		CheckScore, "exists", Note, fault.ToolAdmin,
		"take a test student, or ask for the score to be replaced", "",
	})
	scoreUnseen = define(rule{
		CheckScore, "unseen", Warning, fault.ToolAdmin,
		"allow the tool to read results, or ask for the score to be replaced if there is one", "",
	})
	scoreRefused = define(rule{
		CheckScore, "refused", Failure, fault.PlatformAdmin,
		"allow the tool to send scores, and see that the person is a student of the course", "",
	})
	scoreNotShown = define(rule{
		CheckScore, "not_shown", Note, fault.Nobody,
		"look into the gradebook in a minute", "",
	})
)

// The test score is neither nothing nor full marks, so that nobody takes it for
// either.
const (
	testGiven   = 0.5
	testMaximum = 1
	testComment = "Test by caddy lti doctor"
)

// Score sends a score, really: it stays in the gradebook until somebody deletes it.
// Unless it is told to replace one, it looks first whether there is any.
func Score(ctx context.Context, s Scores, t TestScore) []Finding {
	r := &report{subject: t.Platform}
	if !t.Replace {
		score, err := result(ctx, s, t)
		switch {
		case err != nil:
			r.broken(scoreUnseen, "nothing was sent, for it cannot be seen whether the person has a score: %v", err)
			return r.found
		case score != nil:
			r.broken(scoreExists, "nothing was sent, for the person has a score already")
			return r.found
		}
	}
	given, maximum := testGiven, float64(testMaximum)
	err := s.SendScore(ctx, t.LineItem, ags.Score{
		UserID: t.UserID, ScoreGiven: &given, ScoreMaximum: &maximum, Timestamp: t.Time, Comment: testComment,
	})
	if err != nil {
		special := *scoreRefused
		if e, ok := errors.AsType[*ags.Error](err); ok && e.Whose != "" && e.Whose != fault.Nobody {
			special.whose = e.Whose
		}
		r.broken(&special, "%v", err)
		return r.found
	}
	r.ok(CheckScore, "the platform took the score %g of %d; it stays in the gradebook until it is deleted there", testGiven, testMaximum)
	if score, err := result(ctx, s, t); err == nil && score == nil {
		r.broken(scoreNotShown, "the score is not among the results yet")
	}
	return r.found
}

// result returns the score that a person has, or nil.
func result(ctx context.Context, s Scores, t TestScore) (*float64, error) {
	for res, err := range s.Results(ctx, t.LineItem, t.UserID) {
		if err != nil {
			return nil, err
		}
		if (res.UserID == "" || res.UserID == t.UserID) && res.ResultScore != nil {
			return res.ResultScore, nil
		}
	}
	return nil, nil
}
