package service

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-lti/lti/internal/httpx"
)

const (
	maxTokenAnswer = 64 << 10
	maxTokenLength = 16 << 10

	assertionLife = 5 * time.Minute

	// Lifetimes of tokens are kept within these; default is for platforms that
	// give none, or nonsense.
	defaultLifetime = 10 * time.Minute
	maxLifetime     = 12 * time.Hour

	// A token is not used in its last minute, or tenth of its life.
	maxSkew = time.Minute

	// A failure is told to all who ask within this time; longer where the
	// platform asks for it.
	failureTTL    = 3 * time.Second
	maxFailureTTL = time.Minute

	// A service that refuses every token would have one made by each request.
	renewGap = 30 * time.Second

	maxEntries = 4096
)

// AssertionBack is how far assertions are dated back: some clocks are behind ours,
// and Moodle refuses an iat ahead of its own.
const AssertionBack = 10 * time.Second

// key says what a token is good for (Security Framework §4.1).
type key struct {
	tokenURL, clientID, deployment string
	scopes                         string // sorted, space-separated
}

func newKey(a Access, scopes []string) key {
	sorted := slices.Compact(slices.Sorted(slices.Values(scopes)))
	return key{a.Platform.TokenURL, a.Platform.ClientID, a.Deployment, strings.Join(sorted, " ")}
}

// token is one access token.
type token struct {
	value   string
	expires time.Time
}

// entry is what is known for a key: a token, a failure, or a request under way.
type entry struct {
	token   *token
	refused *token // one that a service did not take although it was fresh
	err     *Error
	until   time.Time // err is told until then
	renewed time.Time // when a token was last given up
	flight  *flight
}

type flight struct {
	done  chan struct{}
	token *token
	err   *Error
}

// token returns a token for k: the one at hand, or a new one. However many ask,
// one request is under way, and it goes on when one of them gives up.
func (c *Client) token(ctx context.Context, k key, p *Platform) (*token, error) {
	c.mu.Lock()
	now := c.cfg.Now()
	e := c.entries[k]
	if e == nil {
		c.makeRoom(now)
		e = new(entry)
		c.entries[k] = e
	}
	switch {
	case e.token != nil && now.Before(e.token.expires):
		defer c.mu.Unlock()
		return e.token, nil
	case e.err != nil && now.Before(e.until):
		defer c.mu.Unlock()
		told := *e.err
		if told.Retry {
			told.After = max(told.After, e.until.Sub(now))
		}
		return nil, &told
	}
	fl := e.flight
	if fl == nil {
		if c.closed {
			c.mu.Unlock()
			return nil, &Error{Kind: Canceled, Platform: p.Name, Retry: true, Whose: Nobody, Token: true, Err: errors.New("shutting down")}
		}
		fl = &flight{done: make(chan struct{})}
		e.flight = fl
		platform := *p
		c.wg.Go(func() { c.fly(k, e, fl, &platform) })
	}
	c.mu.Unlock()

	select {
	case <-fl.done:
		if fl.err != nil {
			return nil, fl.err
		}
		return fl.token, nil
	case <-ctx.Done():
		err := failure(ctx, p.Name, p.TokenURL, ctx.Err())
		err.Token = true
		return nil, err
	}
}

// Authorise gets a token for scopes, unless one is at hand, and returns how long it
// will be used. Nothing is asked of a service. The error is an [Error].
func (c *Client) Authorise(ctx context.Context, a Access, scopes []string) (time.Duration, error) {
	tok, err := c.token(ctx, newKey(a, scopes), a.Platform)
	if err != nil {
		return 0, err
	}
	return tok.expires.Sub(c.cfg.Now()), nil
}

// fly asks for a token and tells all who wait.
func (c *Client) fly(k key, e *entry, fl *flight, p *Platform) {
	fl.token, fl.err = c.fetch(k, p)
	c.mu.Lock()
	// Forget and makeRoom may have put another entry in place of e, which then
	// nobody looks at any more.
	e.flight, e.token, e.err = nil, fl.token, fl.err
	if fl.err != nil {
		e.until = c.cfg.Now().Add(min(max(failureTTL, fl.err.After), maxFailureTTL))
	}
	c.mu.Unlock()
	close(fl.done)
}

// renew gives up a token that a service did not take, so that the next call of
// token makes a new one. It does nothing where that was done a moment ago: then
// a new token may be tried after the time that it returns, unless a fresh one
// has been refused, too.
func (c *Client) renew(k key, tok *token) (renewed bool, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[k]
	if e == nil || e.token != tok {
		return true, 0 // somebody else just did
	}
	now := c.cfg.Now()
	if wait = e.renewed.Add(renewGap).Sub(now); wait > 0 && !e.renewed.IsZero() {
		if e.refused == tok {
			return false, 0
		}
		return false, wait
	}
	e.token, e.renewed = nil, now
	return true, 0
}

// refused notes that a service did not even take a fresh token.
func (c *Client) refused(k key, tok *token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[k]; e != nil && e.token == tok {
		e.refused = tok
	}
}

// Forget drops all tokens and failures. Requests under way end, but what they
// bring is for those who wait only.
func (c *Client) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
}

// makeRoom keeps the number of entries within bounds. The caller holds the lock.
func (c *Client) makeRoom(now time.Time) {
	if len(c.entries) < maxEntries {
		return
	}
	var oldest key
	var first time.Time
	for k, e := range c.entries {
		if e.flight != nil {
			continue
		}
		end := e.until
		if e.token != nil {
			end = e.token.expires
		}
		if !now.Before(end) {
			delete(c.entries, k)
			continue
		}
		if first.IsZero() || end.Before(first) {
			oldest, first = k, end
		}
	}
	if len(c.entries) >= maxEntries {
		delete(c.entries, oldest)
	}
}

// assertion is the claims that prove who asks (LTI 1.3 §6.2).
type assertion struct {
	Issuer     string `json:"iss"`
	Subject    string `json:"sub"`
	Audience   string `json:"aud"`
	IssuedAt   int64  `json:"iat"`
	Expires    int64  `json:"exp"`
	ID         string `json:"jti"`
	Deployment string `json:"https://purl.imsglobal.org/spec/lti/claim/deployment_id,omitempty"`
}

// fetch asks the platform for a token.
func (c *Client) fetch(k key, p *Platform) (*token, *Error) {
	if _, err := httpx.CheckURL(p.TokenURL); err != nil {
		return nil, &Error{Kind: Unreachable, Platform: p.Name, Whose: ToolAdmin, Token: true, Err: err}
	}
	iat := c.cfg.Now().Add(-AssertionBack)
	claims, err := json.Marshal(assertion{
		Issuer: p.ClientID, Subject: p.ClientID, Audience: cmp.Or(p.Audience, p.TokenURL), Deployment: k.deployment,
		IssuedAt: iat.Unix(), Expires: iat.Add(assertionLife).Unix(), ID: rand.Text(),
	})
	var signed string
	if err == nil {
		signed, err = c.cfg.Sign(claims)
	}
	if err != nil {
		return nil, &Error{Kind: Unreachable, Platform: p.Name, Retry: true, Whose: ToolAdmin, Token: true, Err: fmt.Errorf("sign the assertion: %w", err)}
	}
	form := url.Values{
		"grant_type":            {"client_credentials"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {signed},
		"scope":                 {k.scopes},
	}
	asked := c.cfg.Now()
	resp, err := c.cfg.HTTP.Do(c.ctx, &httpx.Request{
		Method: http.MethodPost, URL: p.TokenURL, Body: []byte(form.Encode()), MaxBytes: maxTokenAnswer,
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}},
	})
	var e *Error
	var tok *token
	switch {
	case err != nil:
		e = failure(c.ctx, p.Name, p.TokenURL, err)
		e.Retry = e.Retry || e.Kind == MalformedAnswer // such as a page that says what is being repaired
	case resp.Status == http.StatusOK || resp.Status == http.StatusCreated:
		// A lifetime counts from the request: the platform's may have begun then.
		if tok, e = parseToken(resp.Body, asked, k.scopes); e != nil {
			e.Status = resp.Status
		}
	default:
		e = tokenRefusal(resp, c.cfg.Now(), signed)
		if e.Kind == ScopeNotGranted {
			e.Scopes = strings.Fields(k.scopes)
		}
	}
	if e != nil {
		e.Platform, e.URL, e.Token = p.Name, withoutQuery(p.TokenURL), true
		return nil, e
	}
	return tok, nil
}

// parseToken reads the answer with a token, whatever type it says it is: Moodle
// calls it text/html.
func parseToken(body []byte, now time.Time, scopes string) (*token, *Error) {
	var answer struct {
		AccessToken string          `json:"access_token"`
		TokenType   string          `json:"token_type"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
		Scope       json.RawMessage `json:"scope"`
	}
	malformed := func(format string, args ...any) *Error {
		return &Error{Kind: MalformedAnswer, Whose: PlatformAdmin, Retry: true, Err: fmt.Errorf(format, args...)}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		// The message of encoding/json would quote a part of the body.
		return nil, malformed("the answer is not the JSON of a token")
	}
	if !sound(answer.AccessToken) {
		return nil, malformed("the answer has no usable access_token")
	}
	if t := answer.TokenType; t != "" && !strings.EqualFold(t, "bearer") {
		return nil, malformed("the answer's token_type is %q, expected bearer", Sanitize(t, 40))
	}
	if missing := notGranted(answer.Scope, scopes); len(missing) > 0 {
		return nil, &Error{Kind: ScopeNotGranted, Scopes: missing, Whose: PlatformAdmin}
	}
	life := lifetime(answer.ExpiresIn)
	return &token{value: answer.AccessToken, expires: now.Add(life - min(maxSkew, life/10))}, nil
}

// sound tells whether a token may stand in a header: visible ASCII.
func sound(tok string) bool {
	if tok == "" || len(tok) > maxTokenLength {
		return false
	}
	for i := range len(tok) {
		if tok[i] <= ' ' || tok[i] > '~' {
			return false
		}
	}
	return true
}

// lifetime reads expires_in, which some platforms send as a string.
func lifetime(raw json.RawMessage) time.Duration {
	secs, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	if err != nil || math.IsNaN(secs) || secs < 1 {
		return defaultLifetime
	}
	if secs >= maxLifetime.Seconds() {
		return maxLifetime
	}
	return time.Duration(secs) * time.Second
}

// notGranted returns which of the scopes asked for are not among those granted.
// No list means all of them (RFC 6749 §5.1). Moodle drops scopes silently.
func notGranted(raw json.RawMessage, asked string) []string {
	var granted []string
	var list string
	if json.Unmarshal(raw, &list) == nil {
		granted = strings.Fields(list)
	} else if json.Unmarshal(raw, &granted) != nil {
		return nil
	}
	if len(granted) == 0 {
		return nil
	}
	var missing []string
	for scope := range strings.FieldsSeq(asked) {
		if !slices.Contains(granted, scope) {
			missing = append(missing, scope)
		}
	}
	return missing
}
