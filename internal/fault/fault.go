// Package fault is what the clients of the platforms' services have in common in
// their errors.
package fault

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-lti/lti/internal/service"
)

// Reasons that any service may have.
var (
	ErrNotOffered = errors.New("the platform does not offer this to the tool in this launch")
	ErrNotAllowed = errors.New("the platform does not allow this to the tool")
	ErrTooMany    = errors.New("the platform's list does not end")
	ErrMalformed  = errors.New("the platform's answer cannot be understood")
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
	Reason error  // one of the package that returned the error, or nil
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

// Because sets reason and party of e, and returns a sentence of the reason and
// more.
func Because(e *Error, reason error, whose Party, more string) string {
	e.Reason, e.Whose = reason, whose
	return reason.Error() + more
}

// Wrap judges what a request for an operation failed with. Where the service
// itself answered, hint finds a better sentence, and perhaps reason and party:
// what the status means depends on the operation. Gone is the reason for what
// does not exist.
func Wrap(op string, err, gone error, hint func(*Error, *service.Error) string) *Error {
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
			e.Reason = gone
		}
	case service.MalformedAnswer:
		e.Reason = ErrMalformed
	default:
	}
	if s.Token {
		return e // it was not about the operation
	}
	e.Status, e.Words = s.Status, s.Words
	switch {
	case e.Status == 0:
	case e.Retry:
		e.Hint = Plain(s)
	default:
		e.Hint = hint(e, s)
	}
	return e
}

// Plain is the sentence of a cause without what an [Error] says itself.
func Plain(s *service.Error) string {
	c := *s
	c.Words, c.URL, c.Status = "", "", 0
	return c.Error()
}

// NotOffered is the error for something that the claim of the launch lacks.
func NotOffered(op, what string) *Error {
	return &Error{Op: op, Reason: ErrNotOffered, Whose: PlatformAdmin, Hint: ErrNotOffered.Error() + ": " + what + " is not in its claim"}
}

// Endless is the error for a list that goes on and on.
func Endless(op string) *Error {
	return &Error{Op: op, Reason: ErrTooMany, Hint: ErrTooMany.Error(), Whose: PlatformAdmin}
}

// Broken is the error for an answer that came with a good status.
func Broken(op, what string) *Error {
	return &Error{Op: op, Reason: ErrMalformed, Hint: ErrMalformed.Error() + ": " + what, Whose: PlatformAdmin}
}

// Invalid is the error for what a tool must not send.
func Invalid(op string, err error) *Error {
	return &Error{Op: op, Hint: err.Error(), Whose: Developer, Err: err}
}
