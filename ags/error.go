package ags

import (
	"errors"
	"regexp"

	"github.com/caddy-lti/lti/internal/fault"
	"github.com/caddy-lti/lti/internal/service"
)

// Reasons that an [Error] may have. Match them with [errors.Is].
var (
	// ErrNotOffered says that the launch's claim has no URL or scope for what
	// was asked.
	ErrNotOffered = fault.ErrNotOffered
	// ErrOlder says that the platform has a score with the same or a later
	// time. Moodle counts in whole seconds.
	ErrOlder = errors.New("the platform already has a newer score")
	// ErrNotLearner says that the platform takes no score for this person.
	ErrNotLearner = errors.New("the platform says this person is not a learner here")
	// ErrGone says that the line item does not exist, or not for this tool.
	ErrGone = errors.New("the line item does not exist any more")
	// ErrNotAllowed says that the platform does not let the tool do this.
	ErrNotAllowed = fault.ErrNotAllowed
	// ErrUnknownLink says that a resource link is not one of this tool in this
	// course.
	ErrUnknownLink = errors.New("the platform does not know this resource link, or not as this tool's")
	// ErrTooMany says that a list goes on and on.
	ErrTooMany = fault.ErrTooMany
	// ErrMalformed says that an answer is not what it should be.
	ErrMalformed = fault.ErrMalformed
)

// Party is who can mend something. It is the same type in all clients of
// services.
type Party = fault.Party

// The parties.
const (
	PlatformAdmin = fault.PlatformAdmin
	ToolAdmin     = fault.ToolAdmin
	Developer     = fault.Developer // of the app that called
	Nobody        = fault.Nobody
)

// Error is why an operation failed: which one (Op), a Reason of those above or
// nil, a Hint that helps a person, the Status of the platform's answer or 0,
// whether the same may succeed later (Retry) and when (After), Whose it is to
// mend, the platform's own Words, cut, and the cause (Err). It holds no token and
// no query. It is the same type in all clients of services.
type Error = fault.Error

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
func wrap(op string, err error) *Error { return fault.Wrap(op, err, ErrGone, hint) }

// olderScore matches what Canvas says with its 400.
var olderScore = regexp.MustCompile(`(?i)timestamp.*(before|older|earlier|newer|prior)|(before|older|earlier|newer).*timestamp`)

var attempts = regexp.MustCompile(`(?i)\battempts?\b`)

// hint finds reason, party and sentence for a status that an operation was
// answered with. Platforms differ in which they choose.
func hint(e *Error, s *service.Error) string {
	status := s.Status
	switch e.Op {
	case opScore:
		switch {
		case status == 409, status == 400 && olderScore.MatchString(s.Words):
			return fault.Because(e, ErrOlder, Developer, " for this person")
		case status == 422 && attempts.MatchString(s.Words):
			return fault.Because(e, ErrNotAllowed, PlatformAdmin, ": this person has no attempts left")
		case status == 400: // Moodle's for people who are not gradable, and unknown ones
			return fault.Because(e, ErrNotLearner, Developer, ", or it does not understand the score")
		case status == 422: // D2L's, Canvas's
			return fault.Because(e, ErrNotLearner, Developer, ", or it does not accept the score")
		case status == 403:
			return fault.Because(e, ErrNotLearner, PlatformAdmin, ", or the tool may not grade any more")
		case status == 404 || status == 410:
			return fault.Because(e, ErrGone, PlatformAdmin, ", or the platform does not know this person")
		}
	case opCreateLinked:
		switch status {
		case 403, 404, 412: // Moodle's, the specification's, Canvas's
			return fault.Because(e, ErrUnknownLink, Developer, ", or lets the tool create no line items in this course")
		}
	case opDelete:
		switch status {
		case 401, 403: // Canvas's, Moodle's
			return fault.Because(e, ErrNotAllowed, PlatformAdmin, ": a line item that belongs to an activity goes when the activity is deleted")
		}
	}
	switch s.Kind {
	case service.NotFound:
		return fault.Because(e, ErrGone, PlatformAdmin, ", or is not one of this tool's")
	case service.Forbidden, service.TokenRefused:
		return fault.Because(e, ErrNotAllowed, e.Whose, "; check its permissions there")
	default:
		return fault.Plain(s)
	}
}
