package nrps

import (
	"errors"
	"net/http"

	"github.com/caddy-lti/lti/internal/fault"
	"github.com/caddy-lti/lti/internal/service"
)

// Reasons that an [Error] may have. Match them with [errors.Is].
var (
	// ErrNotOffered says that the launch's claim has no URL of the roster.
	ErrNotOffered = fault.ErrNotOffered
	// ErrNotAllowed says that the platform does not let the tool read it.
	ErrNotAllowed = fault.ErrNotAllowed
	// ErrGone says that the course does not exist, or not for this tool.
	ErrGone = errors.New("the course does not exist any more")
	// ErrUnknownLink says that the resource link of a [Filter] is not one of this
	// tool in this course.
	ErrUnknownLink = errors.New("the platform does not know this resource link, or not as this tool's")
	// ErrCutOff says that an answer ends before it is complete.
	ErrCutOff = errors.New("the platform's answer is cut off")
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

// Error is why a roster could not be read to its end: what was done (Op), a
// Reason of those above or nil, a Hint that helps a person and names the page, the
// Status of the platform's answer or 0, whether the same may succeed later (Retry)
// and when (After), Whose it is to mend, the platform's own Words, cut, and the
// cause (Err). It holds no token, no query and nothing of a member. It is the same
// type in all clients of services.
type Error = fault.Error

const op = "read the roster" // for messages

// wrap judges the error of a [Caller].
func wrap(err error, f *Filter) *Error {
	return fault.Wrap(op, err, ErrGone, func(e *Error, s *service.Error) string {
		if f.ResourceLinkID != "" && (s.Status == http.StatusBadRequest || s.Status == http.StatusNotFound) { // Canvas's, Moodle's
			return fault.Because(e, ErrUnknownLink, Developer, ", or has no roster of it")
		}
		switch s.Kind {
		case service.NotFound:
			return fault.Because(e, ErrGone, PlatformAdmin, ", or the tool is not in it any more")
		case service.Forbidden, service.TokenRefused:
			return fault.Because(e, ErrNotAllowed, e.Whose, "; check its permissions there")
		default:
			return fault.Plain(s)
		}
	})
}

// cutOff is the error for an answer that began well. It may be another's fault
// than the platform's.
func cutOff(cause error) *Error {
	return &Error{Op: op, Reason: ErrCutOff, Hint: ErrCutOff.Error(), Retry: true, Whose: PlatformAdmin, Err: cause}
}
