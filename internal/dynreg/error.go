package dynreg

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"

	"github.com/caddy-lti/lti/internal/fault"
	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/service"
)

// Party is who can mend something. It is the same type in all clients of
// platforms.
type Party = fault.Party

// The parties.
const (
	PlatformAdmin = fault.PlatformAdmin
	ToolAdmin     = fault.ToolAdmin
	Nobody        = fault.Nobody
)

// Note says something of one member of a document, in the specification's
// spelling: messages[1].placements. A member of the tool or platform configuration
// goes without that object's name.
type Note struct {
	Member string
	Text   string
}

func (n Note) String() string { return n.Member + ": " + n.Text }

// notes collects what is to be said, up to what anybody reads.
type notes []Note

const maxNotes = 20

func (n *notes) add(member, text string) {
	if len(*n) < maxNotes {
		*n = append(*n, Note{service.Sanitize(member, maxText), text})
	}
}

// Error is why a registration failed. It holds no token and no query.
type Error struct {
	Op      string // such as "register"
	Hint    string // a sentence that helps a person
	Members []Note // what is wrong with which, if that is the reason
	Status  int    // of the platform's answer, 0 if that is not the matter
	Words   string // the platform's own, cut and without control characters; not HTML-escaped
	Whose   Party
	Retry   bool  // whether the same may succeed in a while
	Err     error // the cause, or nil
}

// The operations, for messages.
const (
	opDiscover = "read the platform's configuration"
	opRequest  = "prepare the registration"
	opRegister = "register"
)

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op + ": " + e.Hint)
	if len(e.Members) > 0 {
		all := make([]string, len(e.Members))
		for i, n := range e.Members {
			all[i] = n.Member + " " + n.Text
		}
		b.WriteString(" (" + strings.Join(all, "; ") + ")")
	}
	if e.Status != 0 {
		b.WriteString(" (" + strconv.Itoa(e.Status))
		if e.Words != "" {
			b.WriteString(", its words: " + strconv.Quote(e.Words))
		}
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// malformed is the error for a document of the platform that cannot be read.
func malformed(op, hint string, err error, members ...Note) *Error {
	return &Error{Op: op, Hint: hint, Members: members, Whose: PlatformAdmin, Err: err}
}

// lookFirst goes with errors after which nobody knows what the platform did.
const lookFirst = "; look whether the platform has the tool already before trying again"

// unreachable judges why there is no answer.
func unreachable(op string, err error) *Error {
	e := &Error{Op: op, Hint: "the platform cannot be reached: " + err.Error(), Whose: PlatformAdmin, Err: err}
	nerr, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		e.Hint, e.Whose = "the registration was broken off", Nobody
	case errors.Is(err, httpx.ErrPrivateAddress):
		e.Whose = ToolAdmin
	case errors.Is(err, httpx.ErrTooLarge):
		e.Hint = "the platform's answer is no such document: " + err.Error()
	case errors.Is(err, context.DeadlineExceeded), isNet && nerr.Timeout():
		e.Hint, e.Retry = "the platform did not answer in time: "+err.Error(), true
	default:
		e.Retry = true
	}
	if op == opRegister && e.Whose != ToolAdmin {
		e.Hint += lookFirst
	}
	return e
}

// refused judges an answer whose status is no success.
func refused(op string, resp *httpx.Response, secrets []string) *Error {
	e := &Error{Op: op, Status: resp.Status, Words: words(resp.Body, secrets), Whose: PlatformAdmin}
	switch {
	case resp.Status >= 500, resp.Status == 429:
		e.Hint, e.Retry = "the platform has trouble of its own; try again later", true
	case resp.Status >= 300 && resp.Status < 400:
		e.Hint = "the platform redirects to another address, which is not followed: only the host of the issuer can speak for it"
		if op == opRegister {
			e.Hint = "the platform redirects to another address, which is not followed: the request carries a secret"
		}
		e.Words = ""
	case resp.Status == 401, resp.Status == 403:
		e.Hint = "the platform does not accept the registration token: it is good once and for a short time, so start again in the platform"
	case resp.Status == 404, resp.Status == 410:
		e.Hint = "the platform does not know this address; start again in the platform"
	case op == opRegister:
		e.Hint, e.Whose = "the platform refused the registration", ToolAdmin
	default:
		e.Hint = "the platform did not give out its configuration"
	}
	return e
}
