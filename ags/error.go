package ags

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-lti/lti/internal/service"
)

// Reasons that an [Error] may have. Match them with [errors.Is].
var (
	// ErrNotOffered says that the launch's claim has no URL or scope for what
	// was asked.
	ErrNotOffered = errors.New("the platform does not offer this to the tool in this launch")
	// ErrOlder says that the platform has a score with the same or a later
	// time. Moodle counts in whole seconds.
	ErrOlder = errors.New("the platform already has a newer score")
	// ErrNotLearner says that the platform takes no score for this person.
	ErrNotLearner = errors.New("the platform says this person is not a learner here")
	// ErrGone says that the line item does not exist, or not for this tool.
	ErrGone = errors.New("the line item does not exist any more")
	// ErrNotAllowed says that the platform does not let the tool do this.
	ErrNotAllowed = errors.New("the platform does not allow this to the tool")
	// ErrUnknownLink says that a resource link is not one of this tool in this
	// course.
	ErrUnknownLink = errors.New("the platform does not know this resource link, or not as this tool's")
	// ErrTooMany says that a list goes on and on.
	ErrTooMany = errors.New("the platform's list does not end")
	// ErrMalformed says that an answer is not what it should be.
	ErrMalformed = errors.New("the platform's answer cannot be understood")
)

// Party is who can mend something.
type Party string

// The parties.
const (
	PlatformAdmin Party = "platform administrator"
	ToolAdmin     Party = "tool administrator"
	Developer     Party = "developer" // of the app that called
	Nobody        Party = "nobody"
)

// Error is why an operation failed. It holds no token and no query.
type Error struct {
	Op     string // such as "send a score"
	Reason error  // one of the above, or nil
	Hint   string // a sentence that helps a person
	Status int    // of the platform's answer, 0 if there was none
	Retry  bool   // whether the same may succeed later
	After  time.Duration
	Whose  Party
	Words  string // the platform's own, cut
	Err    error  // the cause
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op + ": " + e.Hint)
	if e.Status != 0 {
		b.WriteString(" (" + strconv.Itoa(e.Status))
		if e.Words != "" {
			b.WriteString(", its words: " + strconv.Quote(e.Words))
		}
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap returns reason and cause.
func (e *Error) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Reason, e.Err} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// The operations, for messages.
const (
	opList         = "list line items"
	opRead         = "read a line item"
	opCreate       = "create a line item"
	opCreateLinked = "create a line item for a resource link"
	opUpdate       = "update a line item"
	opDelete       = "delete a line item"
	opResults      = "list results"
	opScore        = "send a score"
)

// wrap judges the error of a [Caller] for one operation.
func wrap(op string, err error) *Error {
	e := &Error{Op: op, Hint: err.Error(), Whose: Nobody, Err: err}
	s, ok := errors.AsType[*service.Error](err)
	if !ok {
		// Somebody else's caller: only time can be known of it.
		e.Retry = errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
		return e
	}
	e.Retry, e.After = s.Retry, s.After
	switch s.Whose {
	case service.PlatformAdmin:
		e.Whose = PlatformAdmin
	case service.ToolAdmin:
		e.Whose = ToolAdmin
	case service.Caller:
		e.Whose = Developer
	case service.Nobody:
	}
	switch s.Kind {
	case service.TokenRefused, service.ScopeNotGranted, service.Forbidden:
		e.Reason = ErrNotAllowed
	case service.NotFound:
		if !s.Token {
			e.Reason = ErrGone
		}
	case service.MalformedAnswer:
		e.Reason = ErrMalformed
	default:
	}
	if s.Token {
		return e // it was not about the operation
	}
	e.Status, e.Words = s.Status, s.Words
	if e.Status != 0 {
		e.Hint = hint(e, s)
	}
	return e
}

// olderScore matches what Canvas says with its 400.
var olderScore = regexp.MustCompile(`(?i)timestamp.*(before|older|earlier|newer|prior)|(before|older|earlier|newer).*timestamp`)

var attempts = regexp.MustCompile(`(?i)\battempts?\b`)

// hint finds reason, party and sentence for a status that an operation was
// answered with. Platforms differ in which they choose.
func hint(e *Error, s *service.Error) string {
	because := func(reason error, whose Party, more string) string {
		e.Reason, e.Whose = reason, whose
		return reason.Error() + more
	}
	status := s.Status
	if s.Retry {
		return plain(s)
	}
	switch e.Op {
	case opScore:
		switch {
		case status == 409, status == 400 && olderScore.MatchString(s.Words):
			return because(ErrOlder, Developer, " for this person")
		case status == 422 && attempts.MatchString(s.Words):
			return because(ErrNotAllowed, PlatformAdmin, ": this person has no attempts left")
		case status == 400: // Moodle's for people who are not gradable, and unknown ones
			return because(ErrNotLearner, Developer, ", or it does not understand the score")
		case status == 422: // D2L's, Canvas's
			return because(ErrNotLearner, Developer, ", or it does not accept the score")
		case status == 403:
			return because(ErrNotLearner, PlatformAdmin, ", or the tool may not grade any more")
		case status == 404 || status == 410:
			return because(ErrGone, PlatformAdmin, ", or the platform does not know this person")
		}
	case opCreateLinked:
		switch status {
		case 403, 404, 412: // Moodle's, the specification's, Canvas's
			return because(ErrUnknownLink, Developer, ", or lets the tool create no line items in this course")
		}
	case opDelete:
		switch status {
		case 401, 403: // Canvas's, Moodle's
			return because(ErrNotAllowed, PlatformAdmin, ": a line item that belongs to an activity goes when the activity is deleted")
		}
	}
	switch s.Kind {
	case service.NotFound:
		return because(ErrGone, PlatformAdmin, ", or is not one of this tool's")
	case service.Forbidden, service.TokenRefused:
		return because(ErrNotAllowed, e.Whose, "; check its permissions there")
	default:
		return plain(s)
	}
}

// plain is the sentence of the cause without what e says itself.
func plain(s *service.Error) string {
	c := *s
	c.Words, c.URL, c.Status = "", "", 0
	return c.Error()
}

// broken is the error for an answer that came with a good status.
func broken(op, what string) *Error {
	return &Error{Op: op, Reason: ErrMalformed, Hint: ErrMalformed.Error() + ": " + what, Whose: PlatformAdmin}
}

// invalid is the error for what a tool must not send.
func invalid(op string, err error) *Error {
	return &Error{Op: op, Hint: err.Error(), Whose: Developer, Err: err}
}
