package httpx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
)

// Request is what [Client.Do] and [Client.Open] send.
type Request struct {
	Method   string
	URL      string
	Header   http.Header
	Body     []byte
	MaxBytes int64 // of the answer's body
	// StatusOnly says that nobody reads the body of a success: [Client.Do] returns
	// one without it where it is too large or breaks off.
	StatusOnly bool
}

// The phases of a request, for errors: who reads "wait for the answer" knows
// that the other side may have done what it was asked.
const (
	phaseConnect = "connect"
	phaseTLS     = "TLS handshake"
	phaseSend    = "send the request"
	phaseWait    = "wait for the answer"
)

// Do sends one request, which may carry a credential: it never follows a
// redirect, but returns it as it is. An answer that is no success and has too
// large a body comes without it, for its status says enough. Otherwise the rules
// of [Client.Get] hold. Errors say in which phase it failed, and hold no query, header or body.
func (c *Client) Do(ctx context.Context, r *Request) (*Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, u, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := complete(resp, u, r.MaxBytes)
	success := resp.StatusCode >= 200 && resp.StatusCode <= 299
	switch {
	case err == nil:
		return answer, nil
	case success && r.StatusOnly, !success && errors.Is(err, ErrTooLarge):
		return &Response{Status: resp.StatusCode, Reason: reason(resp), Header: resp.Header, URL: u.String()}, nil
	default:
		return nil, fmt.Errorf("%s: %w", r.what(u), err)
	}
}

// what says of a request for u what it does, for messages.
func (r *Request) what(u *url.URL) string { return strings.ToLower(r.Method) + " " + display(u) }

// send sends a request and returns the answer, with its body unread, and the URL
// that was asked.
func (c *Client) send(ctx context.Context, r *Request) (*http.Response, *url.URL, error) {
	u, err := CheckURL(r.URL)
	if err != nil {
		return nil, nil, err
	}
	var phase atomic.Pointer[string] // the transport goes on in goroutines of its own
	enter := func(s string) { phase.Store(&s) }
	enter(phaseConnect)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart: func() { enter(phaseTLS) },
		GotConn:           func(httptrace.GotConnInfo) { enter(phaseSend) },
		WroteRequest:      func(httptrace.WroteRequestInfo) { enter(phaseWait) },
	})
	req, err := http.NewRequestWithContext(ctx, r.Method, u.String(), bytes.NewReader(r.Body))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", r.what(u), cause(err))
	}
	for name, values := range r.Header {
		req.Header[http.CanonicalHeaderKey(name)] = append([]string(nil), values...)
	}
	resp, err := c.roundTrip(req)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %s: %w", r.what(u), *phase.Load(), stalled(ctx, cause(err)))
	}
	return resp, u, nil
}
