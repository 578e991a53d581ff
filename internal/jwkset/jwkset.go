// Package jwkset keeps the keys of one platform: fetched when they are first
// needed, kept as long as HTTP allows within bounds, asked for anew when a token
// names a key that is not there, and used on while the platform is down
// (Security Framework §6.3).
package jwkset

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/jose"
	"github.com/caddy-lti/lti/lti"
)

const (
	maxBody = 512 << 10

	// Lifetimes by Cache-Control or Expires are kept within these.
	defaultTTL = time.Hour
	minTTL     = 5 * time.Minute
	maxTTL     = 24 * time.Hour

	// A token names its key itself, so whoever can post one can ask for a
	// fetch: three at once, then one in 30 seconds.
	burst  = 3
	refill = 30 * time.Second

	// staleWait is how long a launch waits for keys that have outlived their
	// time before it makes do with them.
	staleWait = 2 * time.Second
)

// Fetcher gets a document of a platform.
type Fetcher interface {
	Get(ctx context.Context, url, accept string, maxBytes int64) (*httpx.Response, error)
}

// Set holds the keys behind one JWKS URL, for all configurations that name it.
type Set struct {
	url string
	now func() time.Time

	ctx    context.Context // ends with Close; fetches belong to it, not to who waits
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	keys    *jose.KeySet
	expires time.Time
	retry   time.Time // no scheduled refresh before then
	lastErr error
	lastBy  Fetcher // what the last fetch was made with
	skipped string  // what was said of keys that cannot be used
	flight  *flight
	tokens  float64
	filled  time.Time
	closed  bool
}

type flight struct {
	done chan struct{}
	err  error
}

// New makes a Set that has fetched nothing yet. A nil clock is time.Now.
func New(url string, now func() time.Time) *Set {
	if now == nil {
		now = time.Now
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Set{url: url, now: now, ctx: ctx, cancel: cancel, tokens: burst, filled: now()}
}

// Keys is a Set as one configuration uses it. It implements lti.KeySet.
type Keys struct {
	set     *Set
	fetcher Fetcher
	warn    func(msg string, err error)
}

// For returns the set for a configuration that fetches with f, and hears from
// warn of a platform that is down or a key that cannot be used. While it is being
// loaded, and if it is refused, nothing changes for the one that runs.
func (s *Set) For(f Fetcher, warn func(msg string, err error)) *Keys {
	return &Keys{set: s, fetcher: f, warn: warn}
}

// Destruct ends a fetch under way and waits for it.
func (s *Set) Destruct() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	return nil
}

// VerifySignature implements lti.KeySet.
func (k *Keys) VerifySignature(ctx context.Context, compact string, algorithms []string) ([]byte, error) {
	tok, err := jose.Parse(compact)
	if err != nil {
		return nil, err
	}
	set, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	keys := set.Find(tok.KeyID())
	if len(keys) == 0 {
		if set, err = k.refetch(ctx, set); err != nil {
			return nil, err
		}
		if keys = set.Find(tok.KeyID()); len(keys) == 0 {
			return nil, fmt.Errorf("%w: kid %s is not among the %d keys of %s", lti.ErrKeyUnknown, lti.Quote(tok.KeyID()), set.Len(), k.set.url)
		}
	}
	return tok.Verify(keys, algorithms)
}

// current returns the keys, fetching them if there are none or their time is
// over.
func (k *Keys) current(ctx context.Context) (*jose.KeySet, error) {
	s := k.set
	s.mu.Lock()
	now := s.now()
	if s.keys != nil && (now.Before(s.expires) || now.Before(s.retry)) {
		defer s.mu.Unlock()
		return s.keys, nil
	}
	stale := s.keys
	fl := s.flight
	if fl == nil {
		if s.lastBy != k.fetcher {
			s.tokens = max(s.tokens, 1) // a new configuration may have mended it
		}
		if stale == nil && !s.take(now) {
			err := s.lastErr
			s.mu.Unlock()
			return nil, fmt.Errorf("%w; the next try is due within %s: %w", lti.ErrKeysUnavailable, refill, err)
		}
		if fl = k.start(); fl == nil {
			s.mu.Unlock()
			return nil, fmt.Errorf("%w: shutting down", lti.ErrKeysUnavailable)
		}
	}
	s.mu.Unlock()

	if stale != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, staleWait)
		defer cancel()
	}
	err := wait(ctx, fl)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys != nil {
		return s.keys, nil
	}
	return nil, fmt.Errorf("%w: %w", lti.ErrKeysUnavailable, err)
}

// refetch asks for keys anew because old does not hold the one that is wanted.
func (k *Keys) refetch(ctx context.Context, old *jose.KeySet) (*jose.KeySet, error) {
	s := k.set
	s.mu.Lock()
	if s.keys != old { // somebody else just did
		defer s.mu.Unlock()
		return s.keys, nil
	}
	fl := s.flight
	if fl == nil {
		if !s.take(s.now()) {
			s.mu.Unlock()
			return old, nil
		}
		if fl = k.start(); fl == nil {
			s.mu.Unlock()
			return old, nil
		}
	}
	s.mu.Unlock()
	if err := wait(ctx, fl); err != nil {
		return nil, fmt.Errorf("%w: %w", lti.ErrKeysUnavailable, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys, nil
}

// take spends one fetch, if one is left.
func (s *Set) take(now time.Time) bool {
	s.tokens = min(burst, s.tokens+float64(now.Sub(s.filled))/float64(refill))
	s.filled = now
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// start begins the one fetch that may be under way. The caller holds the lock.
func (k *Keys) start() *flight {
	s := k.set
	if s.closed {
		return nil
	}
	fl := &flight{done: make(chan struct{})}
	s.flight, s.lastBy = fl, k.fetcher
	s.wg.Go(func() {
		keys, ttl, err := Fetch(s.ctx, k.fetcher, s.url)
		s.mu.Lock()
		now := s.now()
		hadFailed := s.lastErr != nil
		fl.err, s.lastErr, s.flight = err, err, nil
		var skipped []error
		if err == nil {
			if s.keys == nil {
				s.tokens = burst // the first fetch was for no key in particular
			}
			s.keys, s.expires = keys, now.Add(ttl)
			if text := fmt.Sprint(keys.Skipped()); text != s.skipped {
				s.skipped, skipped = text, keys.Skipped()
			}
		} else {
			s.retry = now.Add(refill)
		}
		stale := s.keys != nil
		s.mu.Unlock()
		close(fl.done)
		if err != nil && !hadFailed && s.ctx.Err() == nil {
			if stale {
				k.warn("the key set of a platform cannot be fetched; the keys known so far go on being used", err)
			} else {
				k.warn("the key set of a platform cannot be fetched; its launches fail until it can", err)
			}
		}
		for _, why := range skipped {
			k.warn("a key of a platform's key set cannot be used", why)
		}
	})
	return fl
}

func wait(ctx context.Context, fl *flight) error {
	select {
	case <-fl.done:
		return fl.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Fetch gets a key set once. It returns how long the keys may be used, too. A set
// without a single usable key is an error.
func Fetch(ctx context.Context, f Fetcher, url string) (*jose.KeySet, time.Duration, error) {
	res, err := f.Get(ctx, url, "application/jwk-set+json, application/json", maxBody)
	if err != nil {
		return nil, 0, err
	}
	if res.Status != http.StatusOK {
		return nil, 0, fmt.Errorf("%s answered %d, expected 200", url, res.Status)
	}
	keys, err := jose.ParseKeySet(res.Body)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", url, err)
	}
	if keys.Len() == 0 {
		return nil, 0, fmt.Errorf("%s has no usable key: %v", url, keys.Skipped())
	}
	return keys, lifetime(res.Header), nil
}

// lifetime reads how long an answer may be kept (RFC 9111 §4.2), within bounds.
func lifetime(h http.Header) time.Duration {
	age := time.Duration(0)
	if secs, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil {
		age = time.Duration(secs) * time.Second
	}
	maxAge := int64(-1)
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, val, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return minTTL
		case "max-age":
			if maxAge < 0 {
				// 0 for what is no number, the most for what is too large.
				secs, _ := strconv.ParseUint(strings.Trim(val, `"`), 10, 31)
				maxAge = int64(secs)
			}
		}
	}
	if maxAge >= 0 {
		return clamp(time.Duration(maxAge)*time.Second - age)
	}
	if _, ok := h["Expires"]; !ok {
		return defaultTTL
	}
	// A time that cannot be read lies in the past (RFC 9111 §5.3).
	expires, err1 := http.ParseTime(h.Get("Expires"))
	date, err2 := http.ParseTime(h.Get("Date"))
	if err1 != nil || err2 != nil {
		return minTTL
	}
	return clamp(expires.Sub(date) - age)
}

func clamp(d time.Duration) time.Duration { return min(max(d, minTTL), maxTTL) }
