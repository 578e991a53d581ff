package httpx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Stream is an answer, whatever its status, whose body is still to be read.
type Stream struct {
	Status int
	Reason string // as in [Response]
	Header http.Header

	// Body ends with io.EOF only if all of it has come. It must be closed.
	Body io.ReadCloser
}

// maxWaits is how many timeouts all waits for one body may take together: a
// server that sends a byte now and then is got rid of.
const maxWaits = 30

// errStalled is why a stream is given up.
var errStalled = fmt.Errorf("nothing came in time: %w", context.DeadlineExceeded)

// Open is [Client.Do] for an answer that may be long: it returns when the header
// is there. The timeout is for that, and again for each wait for more of the
// body; all waits together may take thirty times as long. How long the caller
// takes to ask for more does not count.
//
// Errors that reading returns are like those of Do.
func (c *Client) Open(ctx context.Context, r *Request) (*Stream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(c.timeout, func() { cancel(errStalled) })
	end := func() {
		timer.Stop()
		cancel(nil)
	}
	resp, u, err := c.send(ctx, r) //nolint:bodyclose // Close of the Stream does it
	if err != nil {
		end()
		return nil, err
	}
	timer.Stop()
	body, err := newBounded(resp, r.MaxBytes)
	if err != nil {
		_ = resp.Body.Close()
		end()
		return nil, fmt.Errorf("%s: %w", r.what(u), err)
	}
	return &Stream{
		Status: resp.StatusCode, Reason: reason(resp), Header: resp.Header,
		Body: &streamBody{
			ctx: ctx, what: r.what(u), body: body, timer: timer, wait: c.timeout, left: maxWaits * c.timeout,
			close: func() error { defer end(); return resp.Body.Close() },
		},
	}, nil
}

type streamBody struct {
	ctx   context.Context // of the request; ends with Close
	what  string
	body  io.Reader
	timer *time.Timer // ends the request
	wait  time.Duration
	left  time.Duration // of all waits
	close func() error
}

func (b *streamBody) Read(p []byte) (int, error) {
	start := time.Now()
	b.timer.Reset(min(b.wait, b.left))
	n, err := b.body.Read(p)
	b.timer.Stop()
	b.left -= time.Since(start)
	switch ended := context.Cause(b.ctx); {
	case err == nil:
	case ended != nil: // giving up may end the connection in a way that looks like the end of the answer
		err = fmt.Errorf("%s: read the body: %w", b.what, ended)
	case !errors.Is(err, io.EOF):
		err = fmt.Errorf("%s: %w", b.what, err)
	}
	return n, err
}

func (b *streamBody) Close() error { return b.close() }

// stalled is err, or that time ran out where that is why it happened.
func stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}
