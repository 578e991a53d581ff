// Package httpx is the client for everything that the plugin fetches from
// elsewhere: key sets, tokens, rosters. Who registers a platform chooses the
// URLs, so the client trusts none of them.
//
//   - It asks https URLs only, and http ones on this machine; see [CheckURL].
//   - It resolves names itself and connects to public addresses only, or to
//     those that the administrator has allowed; see [ParseAllow].
//   - Each request has one limit of time, body included, and one of size,
//     counted after decompression. A body that is read as it comes has limits
//     for each wait and for all of them; see [Client.Open].
//   - Redirects are few, never lead from https to http, and pass the same
//     checks. What may carry a credential follows none; see [Client.Do]. No
//     request carries a cookie, and no proxy of the environment is used,
//     because it would resolve names in our place.
//   - No error contains a URL's query, a header or a body.
package httpx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Errors of [Client.Get], [Client.Do] and [Client.Open]. Match them with
// [errors.Is]. That time ran out shows as [context.DeadlineExceeded] or as a
// [net.Error] with Timeout.
var (
	// ErrPrivateAddress says that the host has no address that may be
	// dialled. The error is a [PrivateAddressError], too.
	ErrPrivateAddress = errors.New("private address refused")

	// ErrTooLarge says that the body is larger than the caller wants.
	ErrTooLarge = errors.New("response too large")

	// ErrRedirect says that a redirect must not be followed. Only Get follows
	// any, so only Get returns it.
	ErrRedirect = errors.New("redirect refused")
)

const (
	defaultTimeout   = 10 * time.Second
	defaultUserAgent = "caddylti"

	maxRedirects   = 3
	maxHeaderBytes = 64 << 10

	// connectTimeout bounds the name and the connection, and then the TLS
	// handshake, within the time of the request.
	connectTimeout = 5 * time.Second

	// One platform must not take all descriptors, nor keep many for nothing.
	maxConnsPerHost     = 16
	maxIdleConns        = 64
	maxIdleConnsPerHost = 4
	idleTimeout         = 90 * time.Second

	// A silent HTTP/2 connection is asked for a sign of life: one that died
	// without a word would fail every request until the system notices.
	pingAfter   = 15 * time.Second
	pingTimeout = 5 * time.Second
)

// Config sets up a [Client]. The zero value is good.
type Config struct {
	// Timeout is for a whole request, redirects and body included; 0 means
	// ten seconds.
	Timeout time.Duration

	// AllowPrivate are the private addresses that may be dialled.
	AllowPrivate []AllowRule

	// UserAgent is the header of that name; empty means "caddylti".
	UserAgent string

	// RootCAs are the authorities to trust; nil means the system's.
	RootCAs *x509.CertPool
}

// Client fetches. It is safe for concurrent use. Make it with [New].
type Client struct {
	timeout   time.Duration
	userAgent string
	transport *http.Transport
}

// Response is a complete answer, whatever its status.
type Response struct {
	Status int
	Reason string // the words after the status, where they are the server's own: HTTP/1 only
	Header http.Header
	Body   []byte
	URL    string // what was asked last, after redirects
}

// New returns a client with connections of its own.
func New(cfg Config) *Client {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = defaultUserAgent
	}
	connect := min(connectTimeout, cfg.Timeout)
	return &Client{
		timeout:   cfg.Timeout,
		userAgent: cfg.UserAgent,
		transport: &http.Transport{
			Proxy:       nil, // it would resolve names in our place
			DialContext: newDialer(cfg.AllowPrivate, connect).DialContext,
			TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS12,
				RootCAs:    cfg.RootCAs,
			},
			ForceAttemptHTTP2:      true, // a dialer of one's own switches it off
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
			TLSHandshakeTimeout:    connect,
			ResponseHeaderTimeout:  cfg.Timeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			MaxConnsPerHost:        maxConnsPerHost,
			MaxIdleConns:           maxIdleConns,
			MaxIdleConnsPerHost:    maxIdleConnsPerHost,
			IdleConnTimeout:        idleTimeout,
		},
	}
}

// CloseIdle closes the connections that no request uses.
func (c *Client) CloseIdle() { c.transport.CloseIdleConnections() }

// Get fetches rawURL, with accept as its Accept header if that is not empty.
// The answer is complete or an error; one with a body of more than maxBytes is
// [ErrTooLarge]. A status such as 404 is no error.
//
// The request carries no credentials, so a redirect may lead to another host,
// if that passes the checks.
func (c *Client) Get(ctx context.Context, rawURL, accept string, maxBytes int64) (*Response, error) {
	u, err := CheckURL(rawURL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for hops := 0; ; hops++ {
		resp, next, err := c.once(ctx, u, accept, maxBytes)
		if err != nil {
			return nil, fmt.Errorf("get %s: %w", display(u), err)
		}
		if next == nil {
			return resp, nil
		}
		if hops == maxRedirects {
			return nil, fmt.Errorf("get %s: %w: more than %d in a row", display(u), ErrRedirect, maxRedirects)
		}
		u = next
	}
}

// once sends one request. It returns the answer, or where that leads.
func (c *Client) once(ctx context.Context, u *url.URL, accept string, maxBytes int64) (*Response, *url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, cause(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := c.roundTrip(req)
	if err != nil {
		return nil, nil, cause(err)
	}
	defer resp.Body.Close()

	if location := resp.Header.Get("Location"); location != "" && isRedirect(resp.StatusCode) {
		next, err := redirect(u, location)
		return nil, next, err
	}
	answer, err := complete(resp, u, maxBytes)
	return answer, nil, err
}

// roundTrip uses the transport without an http.Client, whose errors quote URLs
// and whose redirects tell the next host the last URL.
func (c *Client) roundTrip(req *http.Request) (*http.Response, error) {
	req.Header.Set("User-Agent", c.userAgent)
	return c.transport.RoundTrip(req)
}

// complete reads the rest of an answer to a request for u.
func complete(resp *http.Response, u *url.URL, maxBytes int64) (*Response, error) {
	body, err := readAll(resp, maxBytes)
	if err != nil {
		return nil, err
	}
	return &Response{Status: resp.StatusCode, Reason: reason(resp), Header: resp.Header, Body: body, URL: u.String()}, nil
}

// reason returns the words of the status line that say more than its number.
func reason(resp *http.Response) string {
	_, words, _ := strings.Cut(resp.Status, " ") // HTTP/2 has none, and Go puts in the usual
	if strings.EqualFold(words, http.StatusText(resp.StatusCode)) {
		return ""
	}
	return words
}

// cause strips the URL, which it quotes in full, from an error of package url.
func cause(err error) error {
	if uerr, ok := errors.AsType[*url.Error](err); ok {
		return uerr.Err
	}
	return err
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// redirect tells where location leads from u, and whether we go there.
func redirect(u *url.URL, location string) (*url.URL, error) {
	next, err := u.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRedirect, cause(err))
	}
	// A fragment is for browsers, and means nothing here.
	next.Fragment, next.RawFragment = "", ""
	next, err = CheckURL(next.String())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRedirect, err)
	}
	if u.Scheme == "https" && next.Scheme != "https" {
		return nil, fmt.Errorf("%w: from https to %s", ErrRedirect, display(next))
	}
	return next, nil
}

// readAll reads a body of at most maxBytes.
func readAll(resp *http.Response, maxBytes int64) ([]byte, error) {
	body, err := newBounded(resp, maxBytes)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(body)
}

// bounded is a body of at most max bytes. The transport has undone gzip by then,
// so the limit is for what arrives in memory.
type bounded struct {
	body io.Reader
	max  int64
	n    int64
}

func newBounded(resp *http.Response, maxBytes int64) (*bounded, error) {
	if resp.ContentLength > maxBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrTooLarge, resp.ContentLength, maxBytes)
	}
	return &bounded{body: resp.Body, max: maxBytes}, nil
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.n > b.max {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, b.max)
	}
	// One more byte tells a body that fits from one that was cut off.
	n, err := b.body.Read(p[:min(int64(len(p)), b.max-b.n+1)])
	if b.n += int64(n); b.n > b.max {
		return n - 1, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, b.max)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("read the body: %w", err)
	}
	return n, err
}
