package caddylti

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/inspect"
	"github.com/caddy-lti/lti/internal/jwkset"
	"github.com/caddy-lti/lti/internal/keyring"
	"github.com/caddy-lti/lti/internal/outbox"
	"github.com/caddy-lti/lti/internal/registry"
	"github.com/caddy-lti/lti/internal/service"
	"github.com/caddy-lti/lti/internal/session"
	"github.com/caddy-lti/lti/store"
)

func init() {
	caddy.RegisterModule(new(App))
}

// What outlives a configuration. Two generations overlap during a reload and
// have to share one open store, and one set of keys for each platform.
var (
	backends = caddy.NewUsagePool() // *backend by the store's key
	keySets  = caddy.NewUsagePool() // *jwkset.Set by URL
)

// App holds what all lti handlers of a configuration share: the store, the
// tool's keys, and the client that talks to platforms. It is there by itself as
// soon as a handler is; it has to be configured only where the defaults do not
// serve.
type App struct {
	// StoreRaw is where sessions and used nonces live. Default: bolt, one file
	// in Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=lti.stores inline_key=backend"`

	// HTTPClient is how platforms are talked to. Default: as its members say.
	HTTPClient *HTTPClient `json:"http_client,omitempty"`

	// Outbox is how scores are delivered. Default: as its members say.
	Outbox *Outbox `json:"outbox,omitempty"`

	// Keys is how long the tool's keys are used. Default: as its members say.
	Keys *Keys `json:"keys,omitempty"`

	provider StoreProvider
	storage  keyring.Storage
	client   *httpx.Client
	// clientConfig is what client was made of.
	clientConfig httpx.Config
	services     *service.Client
	registered   *registered
	rosters      *rosters
	logger       *zap.Logger

	mu       sync.Mutex
	backend  *backend // set while a reference in backends is ours
	ready    *ready
	closed   bool
	handlers []*Handler

	stopKeeping func() // of keys; nil before Start

	labels atomic.Bool // a matcher compares labels of courses

	launches *prometheus.CounterVec // accepted, by platform and way
}

// HTTPClient configures the client for requests to platforms.
type HTTPClient struct {
	// Timeout bounds a whole request. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// AllowPrivate lists the loopback, private and link-local addresses that may
	// be talked to: networks (10.1.0.0/16), addresses, or address:port. Default:
	// none.
	AllowPrivate []string `json:"allow_private,omitempty"`
}

// Keys configures the keys that sign what the tool sends.
type Keys struct {
	// Rotate is how long each is used; then a new one, which platforms have had
	// time to fetch, takes its place. Default: for ever.
	Rotate caddy.Duration `json:"rotate,omitempty"`
}

// every is how long a key is used; 0 is for ever.
func (k *Keys) every() time.Duration {
	if k == nil {
		return 0
	}
	return time.Duration(k.Rotate)
}

func (k *Keys) validate() error {
	const least, most = 24 * time.Hour, 3650 * 24 * time.Hour
	if every := k.every(); every != 0 && (every < least || every > most) {
		return fmt.Errorf("keys: rotate is %s, expected 1d to 3650d", every)
	}
	return nil
}

// Outbox configures the delivery of scores.
type Outbox struct {
	// MaxAge is how long the delivery of a score is tried before it is given up:
	// it is then listed at /grades, from where it can be sent again. Default: 7d.
	MaxAge caddy.Duration `json:"max_age,omitempty"`
}

const defaultMaxAge = 7 * 24 * time.Hour

func (o *Outbox) maxAge() time.Duration {
	if o == nil || o.MaxAge == 0 {
		return defaultMaxAge
	}
	return time.Duration(o.MaxAge)
}

func (o *Outbox) validate() error {
	const least, most = time.Minute, 90 * 24 * time.Hour
	if age := o.maxAge(); age < least || age > most {
		return fmt.Errorf("outbox: max_age is %s, expected 1m to 90d", age)
	}
	return nil
}

// ready is what a running configuration works with.
type ready struct {
	*backend
	ring *keyring.Ring
}

// takeOver is between looks for scores that another node has left behind.
const takeOver = 30 * time.Second

// stopTimeout is how long scores that are under way may take at the end.
const stopTimeout = 5 * time.Second

// backend is an open store and what lives in it.
type backend struct {
	store       store.Store
	sessions    *session.Manager
	registry    *registry.Registry
	inspections *inspect.Inspections
	book        *cookieBook
	outbox      *outbox.Outbox
	progress    *progress

	guesses guesses // of invites

	making makingLock // of line items, one at a time for each resource link

	mu   sync.Mutex
	apps []*App // that can deliver scores; the last one does
}

// deliverBy has an app deliver scores. The one before goes on if this one ends
// first, as one whose configuration fails to start does.
func (b *backend) deliverBy(a *App) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.apps = append(b.apps, a)
	b.deliver()
}

// noLongerBy undoes deliverBy.
func (b *backend) noLongerBy(a *App) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.apps, a)
	if i < 0 {
		return
	}
	b.apps = slices.Delete(b.apps, i, i+1)
	b.deliver()
}

func (b *backend) deliver() {
	if len(b.apps) == 0 {
		b.outbox.SetSender(nil)
		return
	}
	last := b.apps[len(b.apps)-1]
	b.outbox.SetMaxAge(last.Outbox.maxAge())
	b.outbox.SetSender(last.send)
}

// Destruct implements caddy.Destructor.
func (b *backend) Destruct() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	visits := b.progress.close(ctx)
	// What is being sent when the time is up is sent once more after a restart.
	sent := b.outbox.Close(ctx)
	if errors.Is(sent, context.DeadlineExceeded) {
		sent = nil
	}
	return errors.Join(visits, sent, b.sessions.Close(), b.book.close(), b.store.Close())
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "lti", New: func() caddy.Module { return new(App) }}
}

// Provision sets up the app. Nothing is opened yet.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	a.storage = ctx.Storage()
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"backend":"bolt"}`)
	}
	mod, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("loading store: %w", err)
	}
	a.provider = mod.(StoreProvider)

	cfg := httpx.Config{UserAgent: "caddylti/" + version()}
	if hc := a.HTTPClient; hc != nil {
		cfg.Timeout = time.Duration(hc.Timeout)
		for _, s := range hc.AllowPrivate {
			rule, err := httpx.ParseAllow(s)
			if err != nil {
				return fmt.Errorf("http_client: allow_private: %w", err)
			}
			cfg.AllowPrivate = append(cfg.AllowPrivate, rule)
		}
	}
	a.client, a.clientConfig = httpx.New(cfg), cfg
	a.services = service.New(service.Config{HTTP: a.client, Sign: a.sign})
	a.rosters = newRosters()
	a.registered = &registered{app: a}
	a.launches = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "lti", Name: "launches_total",
		Help: "Launches accepted, by platform and by what bound them to the browser: a cookie, the platform's storage, or a window that one click opened.",
	}, []string{"platform", "way"})
	for _, c := range []prometheus.Collector{a.launches, &scoreMetrics{a}} {
		if err := ctx.GetMetricsRegistry().Register(c); err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

// Validate checks the configuration.
func (a *App) Validate() error {
	if err := a.Outbox.validate(); err != nil {
		return err
	}
	if err := a.Keys.validate(); err != nil {
		return err
	}
	if a.HTTPClient == nil {
		return nil
	}
	return a.HTTPClient.validate()
}

func (hc *HTTPClient) validate() error {
	if hc.Timeout < 0 || time.Duration(hc.Timeout) > time.Minute {
		return fmt.Errorf("http_client: timeout is %s, expected at most 1m", time.Duration(hc.Timeout))
	}
	return nil
}

// Start opens the store and reads the tool's keys, making them if there are none.
func (a *App) Start() error {
	if len(a.used()) == 0 {
		return nil // configured but not used: leave the disk alone
	}
	ready, err := a.open()
	if err != nil {
		return err
	}
	// From now on this configuration delivers, with what it knows of platforms.
	ready.deliverBy(a)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.keepKeys(ctx, ready.ring)
	}()
	a.stopKeeping = func() {
		cancel()
		<-done
	}
	return nil
}

// keysInterval is how often the tool's keys are looked after, and how long what
// another node does to them may go unnoticed.
const keysInterval = time.Minute

// keepKeys replaces keys whose time is over, and notices where another node did.
func (a *App) keepKeys(ctx context.Context, ring *keyring.Ring) {
	tick := time.NewTicker(keysInterval)
	defer tick.Stop()
	failed := false
	for {
		err := ring.Refresh(ctx)
		changed := false
		if err == nil {
			changed, err = ring.Rotate(ctx, a.Keys.every())
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failed:
			a.logger.Error("the tool's keys cannot be looked after; those that are known stay in use", zap.Error(err))
		case changed:
			a.logger.Info("a signing key of the tool was made, or one withdrawn whose time is over")
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Stop does nothing: requests may still be under way, and need the store.
func (a *App) Stop() error { return nil }

// Cleanup gives back what the app holds.
func (a *App) Cleanup() error {
	if a.stopKeeping != nil {
		a.stopKeeping()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.backend != nil {
		a.backend.noLongerBy(a)
	}
	if a.rosters != nil {
		a.rosters.close()
	}
	if a.registered != nil {
		a.registered.close()
	}
	if a.services != nil {
		a.services.Close()
	}
	if a.client != nil {
		a.client.CloseIdle()
	}
	a.closed = true
	if a.backend == nil {
		return nil
	}
	a.backend = nil
	_, err := backends.Delete(a.provider.Key())
	return err
}

// open returns what the handlers work with, opening it on first use: the http
// app may have been started before this one.
func (a *App) open() (*ready, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ready != nil {
		return a.ready, nil
	}
	if a.closed {
		return nil, store.ErrClosed
	}
	if a.backend == nil {
		val, _, err := backends.LoadOrNew(a.provider.Key(), a.newBackend)
		if err != nil {
			return nil, err
		}
		a.backend = val.(*backend)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ring, err := keyring.Open(ctx, a.storage)
	if err != nil {
		return nil, err
	}
	if shared, ok := a.backend.store.(store.Shared); ok {
		if err := sameKeys(ctx, shared, ring); err != nil {
			return nil, err
		}
	}
	if err := a.registered.refresh(ctx, a.backend, a.handlers); err != nil {
		return nil, err
	}
	a.ready = &ready{backend: a.backend, ring: ring}
	return a.ready, nil
}

func (a *App) newBackend() (caddy.Destructor, error) {
	st, err := a.provider.Open()
	if err != nil {
		return nil, err
	}
	shared, _ := st.(store.Shared)
	rescan := time.Duration(0) // the outbox's own
	if shared != nil {
		rescan = takeOver
	}
	logger := a.logger.Named("sessions")
	warn := func(msg string, err error) { logger.Error(msg, zap.Error(err)) }
	scores := a.logger.Named("scores")
	failed := func(msg string, err error) { scores.Error(msg, zap.Error(err)) }
	b := &backend{
		store: st, sessions: session.NewManager(st, nil, decodeFacts, warn), book: newCookieBook(st), registry: registry.Open(st),
		inspections: inspect.Open(st),
		outbox: outbox.Open(st, outbox.Config{
			Alone:  shared == nil,
			Rescan: rescan,
			Warn:   failed,
		}),
		making: makingLock{shared: shared},
	}
	b.progress = newProgress(st, func(ctx context.Context, d *destination, s ags.Score, owner string) error {
		_, err := b.enqueue(ctx, d, s, owner, "")
		if p, ok := errors.AsType[*problem](err); ok {
			failed("a score for pages visited was not taken", p)
			return nil // nothing will mend it
		}
		return err
	}, failed)
	if shared != nil {
		if err := b.hearOthers(shared, a.logger); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// hearOthers has platforms that register with another node known here at once.
func (b *backend) hearOthers(shared store.Shared, logger *zap.Logger) error {
	refresh := func(ctx context.Context) error {
		b.mu.Lock()
		apps := slices.Clone(b.apps)
		b.mu.Unlock()
		for _, a := range apps {
			if err := a.registered.refresh(ctx, b, a.used()); err != nil && !errors.Is(err, store.ErrClosed) {
				return err
			}
		}
		return nil
	}
	return shared.Listen(registry.Topic, store.Listener{
		Heard: func(string) {
			if err := refresh(context.Background()); err != nil {
				logger.Error("platforms that registered themselves cannot be read; those that are known stay in use", zap.Error(err))
			}
		},
		Hears: refresh,
		Deaf:  func() {},
	})
}

// sign returns claims as a JWS of the tool's current key.
func (a *App) sign(claims []byte) (string, error) {
	ready, err := a.open()
	if err != nil {
		return "", err
	}
	return ready.ring.Sign(json.RawMessage(claims))
}

// register enters a handler of this configuration and refuses one that cannot
// live beside those that are there.
func (a *App) register(h *Handler) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, other := range a.handlers {
		switch {
		case other.server != h.server || other.route != h.route:
		case other.Base == h.Base:
			return fmt.Errorf("two lti blocks of one site have the base %s: give one of them a base of its own", h.Base)
		case other.under(h.Base) || h.under(other.Base):
			return fmt.Errorf("two lti blocks of one site have the bases %s and %s: give one of them a base that is not below the other's", other.Base, h.Base)
		}
	}
	a.handlers = append(a.handlers, h)
	return nil
}

// needContextLabels has the labels of courses kept, whatever the header set.
func (a *App) needContextLabels() { a.labels.Store(true) }

func (a *App) used() []*Handler {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.handlers
}

// keySet returns the key set of a platform, which the caller releases with
// keySets.Delete(url).
func (a *App) keySet(url string) (*jwkset.Set, error) {
	val, _, err := keySets.LoadOrNew(url, func() (caddy.Destructor, error) {
		return jwkset.New(url, nil), nil
	})
	if err != nil {
		return nil, err
	}
	return val.(*jwkset.Set), nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
