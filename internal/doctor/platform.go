package doctor

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-lti/lti/internal/fault"
	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/jose"
	"github.com/caddy-lti/lti/internal/jwkset"
	"github.com/caddy-lti/lti/internal/service"
	"github.com/caddy-lti/lti/lti"
)

// HTTP sends requests to platforms. It is an [*httpx.Client].
type HTTP interface {
	jwkset.Fetcher
	service.HTTP
}

// Tool is what the checks of platforms work with.
type Tool struct {
	HTTP HTTP
	// Sign returns claims as a compact JWS with the tool's current key.
	Sign func(claims []byte) (string, error)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Registration is a tool's registration with a platform, as the site has it.
type Registration struct {
	service.Platform
	Deployment string   // one of them, or empty
	AuthURL    string   // where logins begin
	KeysURL    string   // the platform's key set
	Algorithms []string // that may sign launches; none means all that are known
	Leeway     time.Duration
	// Scopes are those that the site uses. Without one, no token is asked for.
	Scopes []string
	// OwnKeysURL is where the platform finds the tool's keys, for messages.
	OwnKeysURL string
}

var (
	jwksMissing = define(rule{
		CheckJWKS, "missing", Failure, fault.ToolAdmin,
		"compare jwks_url with the address that the platform shows", "",
	})
	jwksStatus = define(rule{
		CheckJWKS, "status", Failure, fault.PlatformAdmin,
		"see why the platform does not give out its keys; launches fail until it does", "",
	})
	jwksRedirect = define(rule{
		CheckJWKS, "redirect", Failure, fault.ToolAdmin,
		"set jwks_url to where the keys really are, with https", "",
	})
	jwksMoved = define(rule{
		CheckJWKS, "moved", Note, fault.ToolAdmin,
		"set jwks_url to the new address", "",
	})
	jwksTooLarge = define(rule{
		CheckJWKS, "too_large", Failure, fault.ToolAdmin,
		"compare jwks_url with the address that the platform shows: no key set is that large", "",
	})
	jwksUnreadable = define(rule{
		CheckJWKS, "unreadable", Failure, fault.ToolAdmin,
		"compare jwks_url with the address that the platform shows: what answers there is no key set", "",
	})
	jwksNoKeys = define(rule{
		CheckJWKS, "no_keys", Failure, fault.PlatformAdmin,
		"publish a key for signatures with a kid: RSA of 2048 bits or more, EC or Ed25519", "",
	})
	jwksAlgorithm = define(rule{
		CheckJWKS, "algorithm", Failure, fault.ToolAdmin,
		"list under algorithms what the platform's keys are for, or leave the option out", "",
	})
	jwksWeak = define(rule{
		CheckJWKS, "weak_key", Warning, fault.PlatformAdmin,
		"make a new key of 2048 to 8192 bits; launches that are signed with this one fail", "",
	})
	jwksNoID = define(rule{
		CheckJWKS, "no_kid", Warning, fault.PlatformAdmin,
		"give every key a kid: without one it cannot be found", "",
	})
	jwksTwice = define(rule{
		CheckJWKS, "duplicate_kid", Warning, fault.PlatformAdmin,
		"give every key a kid of its own", "",
	})
	jwksUnusable = define(rule{CheckJWKS, "unusable_key", Note, fault.Nobody, "", ""})

	authMissing = define(rule{
		CheckAuth, "missing", Failure, fault.ToolAdmin,
		"compare auth_url with the address that the platform shows", "",
	})
	authUnclear = define(rule{CheckAuth, "unclear", Note, fault.Nobody, "", ""})
	authBroken  = define(rule{
		CheckAuth, "broken", Failure, fault.PlatformAdmin,
		"see why the platform is out of order", "",
	})
)

// examination is the check of one platform.
type examination struct {
	tool Tool
	reg  Registration

	mu      sync.Mutex
	samples []sample
	reached []string // hosts
}

// Platform checks what a site needs of a platform: its key set, its login, tokens
// for the services, and its clock. It takes no longer than a few requests do.
func Platform(ctx context.Context, t Tool, reg Registration) []Finding {
	t.Now = clock(t.Now)
	x := &examination{tool: t, reg: reg}
	var parts [3]report
	var wg sync.WaitGroup
	for i, check := range []func(context.Context, *report){x.jwks, x.auth, x.token} {
		parts[i].subject = reg.Name
		wg.Go(func() { check(ctx, &parts[i]) })
	}
	wg.Wait()

	all := report{subject: reg.Name}
	for i := range parts {
		for _, f := range parts[i].found {
			all.put(f)
		}
	}
	if len(x.reached) > 0 && !all.has(CheckConnection, CheckCertificate) {
		hosts := strings.Join(slices.Compact(slices.Sorted(slices.Values(x.reached))), ", ")
		all.ok(CheckConnection, "%s can be reached", hosts)
		all.ok(CheckCertificate, "TLS is sound")
	}
	all.clock(x.samples, reg.Leeway)
	return all.found
}

// wire sends the requests of one check and keeps what is interesting about the last
// answer.
type wire struct {
	HTTP
	x    *examination
	last *httpx.Response
}

func (w *wire) note(sent time.Time, resp *httpx.Response, err error) {
	w.last = resp
	if err != nil {
		return
	}
	w.x.mu.Lock()
	defer w.x.mu.Unlock()
	w.x.samples = append(w.x.samples, sample{sent, w.x.tool.Now(), resp.Header})
	w.x.reached = append(w.x.reached, hostOf(resp.URL))
}

// Get implements jwkset.Fetcher.
func (w *wire) Get(ctx context.Context, url, accept string, maxBytes int64) (*httpx.Response, error) {
	sent := w.x.tool.Now()
	resp, err := w.HTTP.Get(ctx, url, accept, maxBytes)
	w.note(sent, resp, err)
	return resp, err
}

// Do implements service.HTTP.
func (w *wire) Do(ctx context.Context, r *httpx.Request) (*httpx.Response, error) {
	sent := w.x.tool.Now()
	resp, err := w.HTTP.Do(ctx, r)
	w.note(sent, resp, err)
	return resp, err
}

func (x *examination) wire() *wire { return &wire{HTTP: x.tool.HTTP, x: x} }

// sane reports whether an address is one that may be asked at all.
func (r *report) sane(option, rawURL string) bool {
	_, err := httpx.CheckURL(rawURL)
	if err != nil {
		r.broken(connectionURL, "%s: %v", option, err)
	}
	return err == nil
}

// jwks checks the platform's key set.
func (x *examination) jwks(ctx context.Context, r *report) {
	raw := x.reg.KeysURL
	if !r.sane("jwks_url", raw) {
		return
	}
	w := x.wire()
	set, _, err := jwkset.Fetch(ctx, w, raw)
	switch {
	case errors.Is(err, httpx.ErrTooLarge):
		r.broken(jwksTooLarge, "%v", err)
		return
	case errors.Is(err, httpx.ErrRedirect):
		r.broken(jwksRedirect, "%v", err)
		return
	case w.last == nil:
		r.reach(raw, err)
		return
	case w.last.Status >= 400 && w.last.Status < 500:
		r.broken(jwksMissing, "%v", err)
		return
	case w.last.Status != http.StatusOK:
		r.broken(jwksStatus, "%v", err)
		return
	}
	if w.last.URL != raw {
		if u, err := url.Parse(w.last.URL); err == nil {
			r.broken(jwksMoved, "the address of the keys leads on to %s", bare(u))
		}
	}
	if err != nil {
		// It is that no key can be used, or it is no key set: look which.
		if set, _ = jose.ParseKeySet(w.last.Body); set == nil {
			r.broken(jwksUnreadable, "%v", err)
			return
		}
	}
	x.keys(r, set)
}

// keys judges the keys of a platform.
func (x *examination) keys(r *report, set *jose.KeySet) {
	for _, why := range set.Skipped() {
		if errors.Is(why, jose.ErrKeySize) {
			r.broken(jwksWeak, "%v", why)
		} else {
			r.broken(jwksUnusable, "a key is not used: %v", why)
		}
	}
	allowed := x.reg.Algorithms
	if len(allowed) == 0 {
		allowed = lti.Algorithms()
	}
	ids := make(map[string]bool)
	var usable, others []string // algorithms
	for _, key := range set.All() {
		switch id := key.ID(); {
		case id == "":
			r.broken(jwksNoID, "a key has no kid")
			continue
		case ids[id]:
			r.broken(jwksTwice, "two keys have the kid %s", lti.Quote(id))
		default:
			ids[id] = true
		}
		for _, alg := range lti.Algorithms() {
			switch {
			case !key.Suits(alg):
			case slices.Contains(allowed, alg):
				usable = append(usable, alg)
			default:
				others = append(others, alg)
			}
		}
	}
	switch {
	case len(usable) > 0:
		r.ok(CheckJWKS, "keys that can be used: %d, for %s", len(ids), list(usable))
	case len(others) > 0:
		r.broken(jwksAlgorithm, "the platform's keys are for %s, and only %s are allowed", list(others), list(allowed))
	default:
		r.broken(jwksNoKeys, "the key set has no key that can be used")
	}
}

func list(words []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(words))), ", ")
}

const maxPage = 1 << 20 // of an error page

// auth checks whether there is a login where it should be. It gets none of the
// parameters, so an error page is what comes.
func (x *examination) auth(ctx context.Context, r *report) {
	raw := x.reg.AuthURL
	if !r.sane("auth_url", raw) {
		return
	}
	resp, err := x.page(ctx, raw)
	switch {
	case errors.Is(err, httpx.ErrTooLarge): // a page it is
		r.ok(CheckAuth, "the login answers")
	case err != nil:
		r.reach(raw, err)
	case resp.Status >= 500:
		r.broken(authBroken, "the login answers %d", resp.Status)
	case resp.Status == http.StatusNotFound, resp.Status == http.StatusGone:
		// Moodle answers 404 to whatever it does not like.
		if x.nothing(ctx, raw, resp) {
			r.broken(authMissing, "the login answers %d, as any address does that is not there", resp.Status)
		} else {
			r.broken(authUnclear, "the login answers %d, but in other words than where nothing is; Moodle does that", resp.Status)
		}
	default:
		r.ok(CheckAuth, "the login answers %d to a request without a login", resp.Status)
	}
}

// page gets what a browser would see first. Redirects are not followed: that
// there is one says enough.
func (x *examination) page(ctx context.Context, rawURL string) (*httpx.Response, error) {
	return x.wire().Do(ctx, &httpx.Request{
		Method: http.MethodGet, URL: rawURL, Header: http.Header{"Accept": {"text/html"}}, MaxBytes: maxPage,
	})
}

// nothing reports whether the platform says the same of an address beside this one
// that cannot be there.
func (x *examination) nothing(ctx context.Context, rawURL string, resp *httpx.Response) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		return true
	}
	v := *u
	v.Path, v.RawPath, v.RawQuery = strings.TrimSuffix(u.Path, "/")+"-not-there", "", ""
	other, err := x.page(ctx, v.String())
	return err == nil && other.Status == resp.Status && prose(other.Body, v.Path) == prose(resp.Body, u.Path)
}

var markup = regexp.MustCompile(`(?is)<(script|style)\b.*?</(?:script|style)\s*>|<[^>]*>`)

// prose is the text of a page, without the path that was asked for.
func prose(body []byte, path string) string {
	text := markup.ReplaceAllString(string(body), " ")
	return strings.Join(strings.Fields(strings.ReplaceAll(text, path, "")), " ")
}
