package jwkset

import (
	"context"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/jose"
	"github.com/caddy-lti/lti/internal/ltitest"
	"github.com/caddy-lti/lti/lti"
)

const testURL = "https://lms.example/jwks"

// platform is a Fetcher with a key set behind it, and the configuration that
// uses it.
type platform struct {
	*Keys
	set *Set

	mu      sync.Mutex
	answer  func(ctx context.Context) (*httpx.Response, error)
	fetches int
	warned  []string
}

// Get implements Fetcher.
func (p *platform) Get(ctx context.Context, url, _ string, maxBytes int64) (*httpx.Response, error) {
	if url != testURL || maxBytes > 1<<20 {
		panic("unexpected fetch of " + url)
	}
	p.mu.Lock()
	p.fetches++
	answer := p.answer
	p.mu.Unlock()
	return answer(ctx)
}

func (p *platform) warn(msg string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warned = append(p.warned, msg+": "+err.Error())
}

// newPlatform makes a platform that publishes these keys, and ends with the test.
func newPlatform(t *testing.T, keys ...map[string]any) *platform {
	t.Helper()
	p := &platform{set: New(testURL, nil)}
	p.Keys = p.set.For(p, p.warn)
	p.publish(keys...)
	t.Cleanup(func() { _ = p.set.Destruct() })
	return p
}

// respond has the platform answer so from now on.
func (p *platform) respond(answer func(ctx context.Context) (*httpx.Response, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *platform) say(status int, header http.Header, body string) {
	p.respond(func(context.Context) (*httpx.Response, error) {
		return &httpx.Response{Status: status, Header: header, Body: []byte(body)}, nil
	})
}

func (p *platform) publish(keys ...map[string]any) { p.say(200, nil, document(keys...)) }

func document(keys ...map[string]any) string {
	doc, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(doc)
}

var errDown = errors.New("connection refused")

func (p *platform) fail() {
	p.respond(func(context.Context) (*httpx.Response, error) { return nil, errDown })
}

// hang has fetches last until they are called off, or the channel is closed and
// the last answer comes after all.
func (p *platform) hang() (release chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.answer
	release = make(chan struct{})
	p.answer = func(ctx context.Context) (*httpx.Response, error) {
		select {
		case <-release:
			return last(ctx)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return release
}

func (p *platform) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches
}

// expect fails the test unless the platform has been asked so often.
func (p *platform) expect(t *testing.T, fetches int) {
	t.Helper()
	if n := p.count(); n != fetches {
		t.Errorf("%d fetches, expected %d", n, fetches)
	}
}

// warnings returns what has been complained of, in a bubble.
func (p *platform) warnings() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.warned...)
}

// verify checks a token of that key with a set.
func verify(ctx context.Context, keys lti.KeySet, key ltitest.Key) error {
	tok := key.Sign(map[string]any{"alg": "RS256", "kid": key.ID}, []byte(`{"sub":"x"}`), nil)
	payload, err := keys.VerifySignature(ctx, tok, jose.Algorithms)
	if err == nil && string(payload) != `{"sub":"x"}` {
		return errors.New("wrong payload: " + string(payload))
	}
	return err
}

func mustVerify(t *testing.T, p *platform, key ltitest.Key) {
	t.Helper()
	if err := verify(t.Context(), p, key); err != nil {
		t.Errorf("a token signed with %s: %v", key.ID, err)
	}
}

func TestFetchedWhenNeededAndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := ltitest.RSAKey(t, 0, "k")
		p := newPlatform(t, key.JWK())
		p.expect(t, 0)
		release := p.hang()
		const waiters = 50
		var wg sync.WaitGroup
		for range waiters {
			wg.Go(func() { mustVerify(t, p, key) })
		}
		synctest.Wait()
		p.expect(t, 1)
		close(release)
		wg.Wait()
		mustVerify(t, p, key)
		p.expect(t, 1)
	})
}

func TestLifetimes(t *testing.T) {
	key := ltitest.RSAKey(t, 0, "k")
	date := time.Now().UTC()
	at := func(d time.Duration) string { return date.Add(d).Format(http.TimeFormat) }
	for _, tc := range []struct {
		name   string
		header http.Header
		want   time.Duration
	}{
		{"nothing said", nil, time.Hour},
		{"max-age", http.Header{"Cache-Control": {"max-age=1800"}}, 30 * time.Minute},
		{"among others", http.Header{"Cache-Control": {`public, Max-Age="7200" , must-revalidate`}}, 2 * time.Hour},
		{"on two lines", http.Header{"Cache-Control": {"public", "max-age=7200"}}, 2 * time.Hour},
		{"twice", http.Header{"Cache-Control": {"max-age=7200, max-age=60000"}}, 2 * time.Hour},
		{"with an Age", http.Header{"Cache-Control": {"max-age=7200"}, "Age": {"3600"}}, time.Hour},
		{"with an Age beyond", http.Header{"Cache-Control": {"max-age=7200"}, "Age": {"9999999"}}, 5 * time.Minute},
		{"with a senseless Age", http.Header{"Cache-Control": {"max-age=7200"}, "Age": {"-3600"}}, 2 * time.Hour},
		{"too short", http.Header{"Cache-Control": {"max-age=0"}}, 5 * time.Minute},
		{"too long", http.Header{"Cache-Control": {"max-age=31536000"}}, 24 * time.Hour},
		{"far too long", http.Header{"Cache-Control": {"max-age=99999999999999999999"}}, 24 * time.Hour},
		{"negative", http.Header{"Cache-Control": {"max-age=-1"}}, 5 * time.Minute},
		{"no number", http.Header{"Cache-Control": {"max-age=soon"}}, 5 * time.Minute},
		{"no-store", http.Header{"Cache-Control": {"no-store"}}, 5 * time.Minute},
		{"no-cache after max-age", http.Header{"Cache-Control": {"max-age=7200, no-cache"}}, 5 * time.Minute},
		{"something else", http.Header{"Cache-Control": {"public"}}, time.Hour},
		{"Expires", http.Header{"Date": {at(0)}, "Expires": {at(2 * time.Hour)}}, 2 * time.Hour},
		{"Expires with an Age", http.Header{"Date": {at(0)}, "Expires": {at(2 * time.Hour)}, "Age": {"3600"}}, time.Hour},
		{"Expires in the past", http.Header{"Date": {at(0)}, "Expires": {at(-time.Hour)}}, 5 * time.Minute},
		{"Expires far ahead", http.Header{"Date": {at(0)}, "Expires": {at(1000 * time.Hour)}}, 24 * time.Hour},
		{"Expires 0", http.Header{"Date": {at(0)}, "Expires": {"0"}}, 5 * time.Minute},
		{"max-age before Expires", http.Header{"Cache-Control": {"max-age=7200"}, "Date": {at(0)}, "Expires": {at(0)}}, 2 * time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlatform(t)
				p.say(200, tc.header, document(key.JWK()))
				mustVerify(t, p, key)
				time.Sleep(tc.want - time.Millisecond)
				mustVerify(t, p, key)
				if n := p.count(); n != 1 {
					t.Errorf("fetched %d times before %s were over", n, tc.want)
				}
				time.Sleep(time.Millisecond)
				mustVerify(t, p, key)
				if n := p.count(); n != 2 {
					t.Errorf("fetched %d times when %s were over, expected 2", n, tc.want)
				}
			})
		})
	}
}

func FuzzLifetime(f *testing.F) {
	f.Add("max-age=1", "1", "Mon, 02 Jan 2006 15:04:05 GMT", "0")
	f.Add("no-store", "", "", "")
	f.Fuzz(func(t *testing.T, control, age, expires, date string) {
		h := http.Header{"Cache-Control": {control}, "Age": {age}, "Expires": {expires}, "Date": {date}}
		if d := lifetime(h); d < 5*time.Minute || d > 24*time.Hour {
			t.Errorf("%s", d)
		}
	})
}

// A key that is not there is asked for at once: platforms rotate without notice.
// As anyone can make up a kid, no more often than three times in a row and then
// once in 30 seconds.
func TestUnknownKeyID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, next := ltitest.RSAKey(t, 0, "k"), ltitest.RSAKey(t, 1, "next")
		p := newPlatform(t, key.JWK())
		mustVerify(t, p, key) // the first fetch is not one of the three
		forged := ltitest.RSAKey(t, 1, "forged")
		for range 20 {
			if err := verify(t.Context(), p, forged); !errors.Is(err, lti.ErrKeyUnknown) || !strings.Contains(err.Error(), `"forged"`) {
				t.Fatalf("an unknown kid: %v", err)
			}
		}
		p.expect(t, 1+3)
		for i := range 3 {
			time.Sleep(30*time.Second - time.Millisecond)
			_ = verify(t.Context(), p, forged)
			p.expect(t, 4+i)
			time.Sleep(time.Millisecond)
			_ = verify(t.Context(), p, forged)
			_ = verify(t.Context(), p, forged)
			p.expect(t, 5+i)
		}
		mustVerify(t, p, key) // nobody else suffers
		time.Sleep(time.Minute)
		p.publish(key.JWK(), next.JWK())
		mustVerify(t, p, next)
		mustVerify(t, p, key)
		p.expect(t, 8)
		if w := p.warnings(); len(w) != 0 {
			t.Errorf("warnings %q", w)
		}
	})
}

func TestUnknownKeyIDsShareAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, next := ltitest.RSAKey(t, 0, "k"), ltitest.RSAKey(t, 1, "next")
		p := newPlatform(t, key.JWK())
		mustVerify(t, p, key)
		p.publish(next.JWK())
		release := p.hang()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { mustVerify(t, p, next) })
		}
		synctest.Wait()
		mustVerify(t, p, key) // does not wait for them
		close(release)
		wg.Wait()
		p.expect(t, 2)
		// The old key has been withdrawn.
		if err := verify(t.Context(), p, key); !errors.Is(err, lti.ErrKeyUnknown) {
			t.Errorf("a withdrawn key: %v", err)
		}
	})
}

func TestStaleKeysWhilePlatformIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, next := ltitest.RSAKey(t, 0, "k"), ltitest.RSAKey(t, 1, "next")
		p := newPlatform(t, key.JWK())
		mustVerify(t, p, key)
		p.fail()
		time.Sleep(time.Hour)
		// Ten minutes of launches, one a second: none fails, and the platform is
		// asked every 30 seconds.
		for range 600 {
			mustVerify(t, p, key)
			time.Sleep(time.Second)
		}
		p.expect(t, 1+20)
		w := p.warnings()
		if len(w) != 1 || !strings.Contains(w[0], "go on being used") || !strings.Contains(w[0], errDown.Error()) {
			t.Errorf("warnings %q, expected one", w)
		}
		// It recovers, with other keys.
		p.publish(next.JWK())
		time.Sleep(30 * time.Second)
		mustVerify(t, p, next)
		if err := verify(t.Context(), p, key); !errors.Is(err, lti.ErrKeyUnknown) {
			t.Errorf("a withdrawn key: %v", err)
		}
		// The next time it is down is news again.
		p.fail()
		time.Sleep(2 * time.Hour)
		mustVerify(t, p, next)
		mustVerify(t, p, next)
		if w := p.warnings(); len(w) != 2 {
			t.Errorf("warnings %q, expected two", w)
		}
	})
}

func TestStaleKeysWhilePlatformHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := ltitest.RSAKey(t, 0, "k")
		p := newPlatform(t, key.JWK())
		mustVerify(t, p, key)
		time.Sleep(time.Hour)
		release := p.hang()
		for range 3 {
			begun := time.Now()
			mustVerify(t, p, key)
			if took := time.Since(begun); took != 2*time.Second {
				t.Errorf("a launch waited %s for keys that it did not need, expected 2s", took)
			}
		}
		p.expect(t, 2)
		close(release)
		synctest.Wait()
		begun := time.Now()
		mustVerify(t, p, key)
		if took := time.Since(begun); took != 0 {
			t.Errorf("a launch waited %s after the platform had answered", took)
		}
		p.expect(t, 2)
	})
}

// A person who goes away does not spoil it for the others.
func TestWaiterGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := ltitest.RSAKey(t, 0, "k")
		p := newPlatform(t, key.JWK())
		release := p.hang()
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { gone <- verify(ctx, p, key) }()
		synctest.Wait()
		stays := make(chan error, 1)
		go func() { stays <- verify(t.Context(), p, key) }()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) || !errors.Is(err, lti.ErrKeysUnavailable) {
			t.Errorf("the one who went: %v", err)
		}
		close(release)
		if err := <-stays; err != nil {
			t.Errorf("the one who stayed: %v", err)
		}
		p.expect(t, 1)
	})
}

func TestPlatformDownFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := ltitest.RSAKey(t, 0, "k")
		p := newPlatform(t, key.JWK())
		p.fail()
		for range 10 {
			if err := verify(t.Context(), p, key); !errors.Is(err, lti.ErrKeysUnavailable) || !errors.Is(err, errDown) {
				t.Fatalf("without keys: %v", err)
			}
		}
		p.expect(t, 3)
		if w := p.warnings(); len(w) != 1 || !strings.Contains(w[0], "launches fail") {
			t.Errorf("warnings %q, expected one", w)
		}
		p.publish(key.JWK())
		time.Sleep(30 * time.Second)
		mustVerify(t, p, key)
		p.expect(t, 4)
	})
}

func TestWhatIsNoKeySet(t *testing.T) {
	key := ltitest.RSAKey(t, 0, "k")
	good := document(key.JWK())
	for _, tc := range []struct {
		name   string
		status int
		body   string
		says   string
	}{
		{"404", 404, good, "answered 404"},
		{"500", 500, good, "answered 500"},
		{"204", 204, "", "answered 204"},
		{"a redirect that was not followed", 302, "", "answered 302"},
		{"a login page", 200, "<!DOCTYPE html><title>Log in</title>", "not JSON"},
		{"an empty body", 200, "", "not JSON"},
		{"another document", 200, `{"issuer":"https://lms.example"}`, `no "keys"`},
		{"no keys", 200, `{"keys":[]}`, "no usable key"},
		{"only keys that cannot be used", 200, `{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`, "no usable key"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlatform(t)
				p.say(tc.status, nil, tc.body)
				err := verify(t.Context(), p, key)
				if !errors.Is(err, lti.ErrKeysUnavailable) || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "%!") {
					t.Errorf("at first: %v, expected it to say %q", err, tc.says)
				}
				if strings.Contains(err.Error(), "c2VjcmV0") {
					t.Errorf("the error shows a key: %v", err)
				}
				// With keys at hand, the answer changes nothing.
				p.publish(key.JWK())
				mustVerify(t, p, key)
				p.say(tc.status, nil, tc.body)
				time.Sleep(time.Hour)
				mustVerify(t, p, key)
				p.expect(t, 3)
			})
		})
	}
}

func TestStrangeKeysAmongGoodOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, ec := ltitest.RSAKey(t, 0, "k"), ltitest.ECKey(t, elliptic.P256(), "ec")
		odd := map[string]any{"kty": "AKP", "kid": "odd", "alg": "ML-DSA-44"}
		p := newPlatform(t, odd, key.JWK(), ec.JWK())
		mustVerify(t, p, key) // its JWK names no alg
		tok := ec.Sign(map[string]any{"alg": "ES256", "kid": "ec"}, []byte("{}"), nil)
		if _, err := p.VerifySignature(t.Context(), tok, jose.Algorithms); err != nil {
			t.Errorf("ES256: %v", err)
		}
		if _, err := p.VerifySignature(t.Context(), tok, []string{"RS256"}); !errors.Is(err, jose.ErrAlgorithm) {
			t.Errorf("ES256 where RS256 is allowed: %v", err)
		}
		// Said once, not at every fetch, and again when there is another.
		for range 5 {
			time.Sleep(time.Hour)
			mustVerify(t, p, key)
		}
		if w := p.warnings(); len(w) != 1 || !strings.Contains(w[0], "AKP") {
			t.Errorf("warnings %q, expected one", w)
		}
		p.publish(key.JWK(), odd, map[string]any{"kty": "oct"})
		time.Sleep(time.Hour)
		mustVerify(t, p, key)
		if w := p.warnings(); len(w) != 3 {
			t.Errorf("warnings %q, expected one more for each of two keys", w)
		}
	})
}

// What cannot be a token of this platform costs it no fetch.
func TestNoFetchForRubbish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := ltitest.RSAKey(t, 0, "k")
		p := newPlatform(t, key.JWK())
		for _, tok := range []string{
			"", "rubbish", "a.b.c",
			key.Sign(map[string]any{"alg": "RS256"}, []byte("{}"), nil),
			key.Sign(map[string]any{"alg": "HS256", "kid": "k"}, []byte("{}"), []byte("x")),
		} {
			if _, err := p.VerifySignature(t.Context(), tok, jose.Algorithms); err == nil {
				t.Errorf("%q was verified", tok)
			}
		}
		p.expect(t, 0)
		// Nor does a wrong signature under a known name.
		mustVerify(t, p, key)
		if err := verify(t.Context(), p, ltitest.RSAKey(t, 1, "k")); !errors.Is(err, jose.ErrSignature) {
			t.Errorf("a wrong signature: %v", err)
		}
		p.expect(t, 1)
	})
}

func TestDestruct(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := ltitest.RSAKey(t, 0, "k")
		p := newPlatform(t, key.JWK())
		p.hang()
		waiting := make(chan error, 1)
		go func() { waiting <- verify(t.Context(), p, key) }()
		synctest.Wait()
		if err := p.set.Destruct(); err != nil {
			t.Fatal(err)
		}
		// Nothing is left running: the bubble would not end.
		if err := <-waiting; !errors.Is(err, lti.ErrKeysUnavailable) {
			t.Errorf("a launch that was waiting: %v", err)
		}
		if err := verify(t.Context(), p, key); !errors.Is(err, lti.ErrKeysUnavailable) {
			t.Errorf("a launch afterwards: %v", err)
		}
		p.expect(t, 1)
		if w := p.warnings(); len(w) != 0 {
			t.Errorf("the end of a configuration was reported as a fault: %q", w)
		}
	})
}

// Requests that outlive their configuration go on with the keys that are there.
func TestDestructKeepsKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := ltitest.RSAKey(t, 0, "k")
		p := newPlatform(t, key.JWK())
		mustVerify(t, p, key)
		_ = p.set.Destruct()
		mustVerify(t, p, key)
		if err := verify(t.Context(), p, ltitest.RSAKey(t, 1, "other")); !errors.Is(err, lti.ErrKeyUnknown) {
			t.Errorf("an unknown key: %v", err)
		}
		p.expect(t, 1)
	})
}

// Two configurations overlap during a reload, and the new one may be refused.
func TestConfigurationsShareKeysAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, next := ltitest.RSAKey(t, 0, "k"), ltitest.RSAKey(t, 1, "next")
		p := newPlatform(t, key.JWK())
		mustVerify(t, p, key)
		broken := &platform{set: p.set}
		broken.fail()
		broken.Keys = p.set.For(broken, broken.warn)
		mustVerify(t, broken, key)
		broken.expect(t, 0)
		// What the running one needs, it fetches in its own way.
		p.publish(next.JWK())
		mustVerify(t, p, next)
		p.expect(t, 2)
		broken.expect(t, 0)
		mustVerify(t, broken, next)
	})
}

// Whoever mends the configuration need not wait for the next try.
func TestNewConfigurationTriesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := ltitest.RSAKey(t, 0, "k")
		p := newPlatform(t)
		p.fail()
		for range 10 {
			_ = verify(t.Context(), p, key)
		}
		p.expect(t, 3)
		mended := &platform{set: p.set}
		mended.publish(key.JWK())
		mended.Keys = p.set.For(mended, mended.warn)
		mustVerify(t, mended, key)
		mended.expect(t, 1)
		mustVerify(t, p, key)
		p.expect(t, 3)
	})
}

// Over real HTTP, with the client that the product uses.
func TestHTTP(t *testing.T) {
	lms := ltitest.NewPlatform(t)
	rule, err := httpx.ParseAllow("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	set := New(lms.JWKSURL(), nil)
	t.Cleanup(func() { _ = set.Destruct() })
	warn := func(msg string, err error) { t.Logf("%s: %v", msg, err) }
	keys := set.For(httpx.New(httpx.Config{AllowPrivate: []httpx.AllowRule{rule}}), warn)

	// Loopback is not talked to unless that is configured.
	strict := set.For(httpx.New(httpx.Config{}), warn)
	if err := verify(t.Context(), strict, lms.Key); !errors.Is(err, httpx.ErrPrivateAddress) {
		t.Errorf("loopback without allow_private: %v", err)
	}
	if n := lms.Fetches.Load(); n != 0 {
		t.Errorf("%d requests reached loopback", n)
	}
	if err := verify(t.Context(), keys, lms.Key); err != nil {
		t.Errorf("loopback where it is allowed: %v", err)
	}
	for range 5 {
		if err := verify(t.Context(), keys, lms.Key); err != nil {
			t.Error(err)
		}
	}
	if n := lms.Fetches.Load(); n != 1 {
		t.Errorf("%d fetches, expected 1", n)
	}
	// A document that never ends is given up.
	lms.ServeJWKS(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	if err := verify(t.Context(), keys, ltitest.RSAKey(t, 1, "unknown")); !errors.Is(err, httpx.ErrTooLarge) {
		t.Errorf("an endless document: %v", err)
	}
	if err := verify(t.Context(), keys, lms.Key); err != nil {
		t.Errorf("after it: %v", err)
	}
}
