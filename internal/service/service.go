// Package service is the way to the platforms' services: it gets access tokens
// and makes authorised requests. What the requests are about is the business of
// packages such as ags.
//
// A token is asked for with a signed assertion (Security Framework §4.1), kept
// until shortly before it expires, and shown only to the origins that the signed
// claims of a launch named. Every error is an [Error].
package service

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddy-lti/lti/internal/httpx"
)

// Platform is a tool's registration with a platform, as far as services need it.
type Platform struct {
	Name     string // for messages
	Issuer   string
	ClientID string
	TokenURL string
	Audience string // of assertions; empty means TokenURL, byte for byte
}

// Access is what a launch allows.
type Access struct {
	Platform   *Platform
	Deployment string
	// Origins are those of the service URLs that the signed claims named, in
	// the spelling of [httpx.Origin]. Others never see the token.
	Origins []string
}

// Request is one request to a service.
type Request struct {
	Method      string
	URL         string
	Accept      string // empty sends none: platforms differ on */*
	ContentType string
	Body        []byte
	MaxBytes    int64 // of the answer; 0 means 1 MiB, of which a success need not have any
}

// Response is an answer with a status of 200 to 299.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	URL    string
}

// HTTP sends requests; it is an [httpx.Client].
type HTTP interface {
	Do(ctx context.Context, r *httpx.Request) (*httpx.Response, error)
	Open(ctx context.Context, r *httpx.Request) (*httpx.Stream, error)
}

// Config sets up a [Client].
type Config struct {
	HTTP HTTP
	// Sign returns claims as a compact JWS with the tool's current key.
	Sign func(claims []byte) (string, error)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

const defaultMaxBytes = 1 << 20

// Client has access to services. It is safe for concurrent use. Make it with
// [New].
type Client struct {
	cfg Config

	ctx    context.Context // ends with Close; token requests belong to it, not to who waits
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	entries map[key]*entry
	closed  bool
}

// New returns a client without tokens.
func New(cfg Config) *Client {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Client{cfg: cfg, ctx: ctx, cancel: cancel, entries: make(map[key]*entry)}
}

// Close ends token requests under way and waits for them.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
}

// Do makes a request with a token for scopes. A token that the service does not
// take is renewed once. A status other than 2xx is an [Error], as is all else.
func (c *Client) Do(ctx context.Context, a Access, scopes []string, r Request) (*Response, error) {
	resp, err := c.authorised(ctx, a, scopes, r, func(req *httpx.Request) (*httpx.Response, error) {
		return c.cfg.HTTP.Do(ctx, req)
	})
	if err != nil {
		return nil, err
	}
	return &Response{Status: resp.Status, Header: resp.Header, Body: resp.Body, URL: resp.URL}, nil
}

// Open is [Client.Do] for an answer that may be long: it returns the header, and
// the body to be read as it comes, which must be closed. Errors of the latter,
// but for io.EOF at its end, are of type [Error], too.
func (c *Client) Open(ctx context.Context, a Access, scopes []string, r Request) (http.Header, io.ReadCloser, error) {
	var body io.ReadCloser
	resp, err := c.authorised(ctx, a, scopes, r, func(req *httpx.Request) (*httpx.Response, error) {
		s, err := c.cfg.HTTP.Open(ctx, req)
		if err != nil {
			return nil, err
		}
		resp := &httpx.Response{Status: s.Status, Reason: s.Reason, Header: s.Header}
		if succeeded(s.Status) {
			body = s.Body
			return resp, nil
		}
		defer s.Body.Close()
		resp.Body, _ = io.ReadAll(io.LimitReader(s.Body, maxRead)) // the status says enough without
		return resp, nil
	})
	if err != nil {
		return nil, nil, err
	}
	return resp.Header, &typedBody{ReadCloser: body, typed: func(err error) error { return failure(ctx, a.Platform.Name, r.URL, err) }}, nil
}

// typedBody is a body whose errors are of type [Error].
type typedBody struct {
	io.ReadCloser
	typed func(error) error
}

func (b *typedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.typed(err)
	}
	return n, err
}

func succeeded(status int) bool { return status >= 200 && status <= 299 }

// authorised has send make a request, with a token, and perhaps again with a new
// one. It returns answers with a status of 2xx only.
func (c *Client) authorised(ctx context.Context, a Access, scopes []string, r Request, send func(*httpx.Request) (*httpx.Response, error)) (*httpx.Response, error) {
	origin, err := httpx.Origin(r.URL)
	if err != nil {
		return nil, &Error{Kind: ForeignURL, Platform: a.Platform.Name, Whose: PlatformAdmin, Err: err}
	}
	if !slices.Contains(a.Origins, origin) {
		return nil, &Error{Kind: ForeignURL, Platform: a.Platform.Name, URL: origin, Whose: Caller}
	}
	k := newKey(a, scopes)
	var tok *token
	var resp *httpx.Response
	try := func() error {
		if tok, err = c.token(ctx, k, a.Platform); err != nil {
			return err
		}
		if resp, err = send(r.with(tok)); err != nil {
			return failure(ctx, a.Platform.Name, r.URL, err)
		}
		return nil
	}
	if err := try(); err != nil {
		return nil, err
	}
	if resp.Status == http.StatusUnauthorized {
		renewed, wait := c.renew(k, tok)
		if wait > 0 {
			e := c.refusal(a, tok, r, resp)
			e.Retry, e.After = true, wait
			return nil, e
		}
		if renewed {
			if err := try(); err != nil {
				return nil, err
			}
			if resp.Status == http.StatusUnauthorized {
				c.refused(k, tok)
			}
		}
	}
	if !succeeded(resp.Status) {
		return nil, c.refusal(a, tok, r, resp)
	}
	return resp, nil
}

// with is the request as it is sent.
func (r *Request) with(tok *token) *httpx.Request {
	h := http.Header{"Authorization": {"Bearer " + tok.value}}
	if r.Accept != "" {
		h.Set("Accept", r.Accept)
	}
	if r.ContentType != "" {
		h.Set("Content-Type", r.ContentType)
	}
	limit := r.MaxBytes
	if limit <= 0 {
		limit = defaultMaxBytes
	}
	return &httpx.Request{Method: r.Method, URL: r.URL, Header: h, Body: r.Body, MaxBytes: limit, StatusOnly: r.MaxBytes <= 0}
}

// refusal is the error for an answer that is no success.
func (c *Client) refusal(a Access, tok *token, r Request, resp *httpx.Response) *Error {
	e := fromStatus(resp, c.cfg.Now(), tok.value)
	e.Platform, e.URL = a.Platform.Name, withoutQuery(r.URL)
	return e
}

// Session is a [Client] with the access of one launch.
type Session struct {
	client *Client
	access Access
}

// For returns the client for one launch. Its methods have the form of the
// interfaces that packages such as ags declare.
func (c *Client) For(a Access) *Session { return &Session{client: c, access: a} }

// Call makes a request with a token for scopes and returns the answer's header
// and body; see [Client.Do]. With a maxBytes of 0 the body of a success may be
// missing.
func (s *Session) Call(ctx context.Context, scopes []string, method, url string, header http.Header, body []byte, maxBytes int64) (http.Header, []byte, error) {
	resp, err := s.client.Do(ctx, s.access, scopes, Request{
		Method: method, URL: url, Body: body, MaxBytes: maxBytes,
		Accept: header.Get("Accept"), ContentType: header.Get("Content-Type"),
	})
	if err != nil {
		return nil, nil, err
	}
	return resp.Header, resp.Body, nil
}

// Open makes a request with a token for scopes and returns the answer's header,
// and its body to be read as it comes; see [Client.Open].
func (s *Session) Open(ctx context.Context, scopes []string, method, url string, header http.Header, maxBytes int64) (http.Header, io.ReadCloser, error) {
	return s.client.Open(ctx, s.access, scopes, Request{
		Method: method, URL: url, MaxBytes: maxBytes,
		Accept: header.Get("Accept"), ContentType: header.Get("Content-Type"),
	})
}

// failure is the error for a request that got no answer, or not all of it.
func failure(ctx context.Context, platform, rawURL string, err error) *Error {
	e := &Error{Platform: platform, URL: withoutQuery(rawURL), Err: err}
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		e.Kind, e.Retry, e.Whose = Canceled, true, Nobody
		e.Err = context.Canceled // the phase it was in is of no interest
	case errors.Is(err, httpx.ErrPrivateAddress):
		e.Kind, e.Whose = Unreachable, ToolAdmin
	case errors.Is(err, httpx.ErrTooLarge):
		e.Kind, e.Whose = MalformedAnswer, PlatformAdmin
	case errors.As(err, &timeout) && timeout.Timeout(): // DeadlineExceeded is one
		e.Kind, e.Retry, e.Whose = TimedOut, true, PlatformAdmin
	default:
		e.Kind, e.Retry, e.Whose = Unreachable, true, PlatformAdmin
	}
	return e
}
