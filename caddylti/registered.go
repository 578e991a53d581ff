package caddylti

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/registry"
	"github.com/caddy-lti/lti/lti"
	"github.com/caddy-lti/lti/store"
)

// registered knows the platforms that registered themselves, as a configuration
// sees them: a copy of the store's, which follows it without a reload.
type registered struct {
	app *App

	mu     sync.Mutex
	closed bool
	known  map[string]*knownRegistration // by id

	view atomic.Pointer[registeredView]
}

// knownRegistration is a registration, as it was when its platform was made.
type knownRegistration struct {
	state    string // all of it
	platform *Platform
}

// registeredView does not change.
type registeredView struct {
	generation string
	of         map[*Handler]*joined
}

// joined are the platforms that registered with a site.
type joined struct {
	active  []*Platform
	pending []*Platform // wait for approval
}

// of returns the platforms that registered with a site.
func (g *registered) of(h *Handler) joined {
	if view := g.view.Load(); view != nil {
		if j := view.of[h]; j != nil {
			return *j
		}
	}
	return joined{}
}

// refresh has the app know what has been registered, here or on another node.
func (a *App) refresh(ctx context.Context, ready *ready) error {
	return a.registered.refresh(ctx, ready.backend, a.used())
}

// refresh brings the copy up to date.
func (g *registered) refresh(ctx context.Context, b *backend, handlers []*Handler) error {
	if !slices.ContainsFunc(handlers, func(h *Handler) bool { return h.Registration != nil }) {
		return nil
	}
	generation, err := b.registry.Generation(ctx)
	if err != nil {
		return err
	}
	if view := g.view.Load(); view != nil && view.generation == generation {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return store.ErrClosed
	}
	// Asked before the list is read, so that a change between the two is seen the
	// next time.
	if generation, err = b.registry.Generation(ctx); err != nil {
		return err
	}
	all, err := b.registry.List(ctx)
	if err != nil {
		return err
	}
	view := &registeredView{generation: generation, of: make(map[*Handler]*joined)}
	known := make(map[string]*knownRegistration, len(all))
	for _, r := range all {
		for _, h := range handlers {
			if h.Registration == nil || !h.isAt(r.Site) || !h.mayJoin(r) {
				continue
			}
			k, err := g.know(known, r)
			if err != nil {
				g.app.logger.Error("a platform that registered itself cannot be used", zap.String("platform", r.Name), zap.String("registration", r.ID), zap.Error(err))
				break
			}
			j := view.of[h]
			if j == nil {
				j = new(joined)
				view.of[h] = j
			}
			if r.State == registry.Active {
				j.active = append(j.active, k)
			} else {
				j.pending = append(j.pending, k)
			}
		}
	}
	g.view.Store(view)
	for id, old := range g.known {
		if now := known[id]; now == nil || now.platform != old.platform {
			old.platform.cleanup()
		}
	}
	g.known = known
	return nil
}

// know returns the platform of a registration, and makes it if it is new or has
// changed.
func (g *registered) know(known map[string]*knownRegistration, r *registry.Registration) (*Platform, error) {
	if k := known[r.ID]; k != nil {
		return k.platform, nil // of another site block
	}
	state, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	k := g.known[r.ID]
	if k == nil || k.state != string(state) {
		p, err := g.platform(r)
		if err != nil {
			return nil, err
		}
		k = &knownRegistration{string(state), p}
	}
	known[r.ID] = k
	return k.platform, nil
}

// platform makes the platform of a registration. What a stranger wrote into it is
// no placeholder.
func (g *registered) platform(r *registry.Registration) (*Platform, error) {
	p := &Platform{Name: r.Name, Preset: r.Preset, id: r.ID}
	if !platformName.MatchString(p.Name) {
		return nil, fmt.Errorf("its name is %q", p.Name)
	}
	e := endpoints{
		issuer: r.Issuer, authURL: r.AuthURL, tokenURL: r.TokenURL, audience: r.TokenAudience, jwksURL: r.JWKSURL, userScope: r.UserScope,
	}
	if err := p.settle(e, r.ClientID, []string{"any"}, nil); err != nil {
		return nil, err
	}
	// A deployment may have any name, that one too.
	p.registration.Deployments = r.Deployments
	p.registration.AnyDeployment = len(r.Deployments) == 0 && r.Rule != registry.DeploymentListed
	return p, p.acquire(g.app, g.app.logger)
}

// close gives back what the platforms hold.
func (g *registered) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range g.known {
		k.platform.cleanup()
	}
	g.known, g.closed = nil, true
}

// isAt reports whether an address of a tool, base included, is one of this
// block's.
func (h *Handler) isAt(site string) bool {
	origin, ok := strings.CutSuffix(site, h.Base)
	if !ok {
		return false
	}
	if h.where.fixed != "" {
		return origin == h.where.fixed
	}
	_, hostport, _ := strings.Cut(origin, "://")
	host, _ := splitHost(hostport)
	return h.where.hosts[host]
}

// mayJoin reports whether a registration is nothing that the configuration has
// already.
func (h *Handler) mayJoin(r *registry.Registration) bool {
	return !h.hasIssuer(r.Issuer) && !h.hasName(r.Name)
}

// hasIssuer reports whether a platform of the configuration has that issuer.
func (h *Handler) hasIssuer(issuer string) bool {
	return slices.ContainsFunc(h.Platforms, func(p *Platform) bool { return p.registration.Issuer == issuer })
}

// hasName reports whether a platform of the configuration has that name.
func (h *Handler) hasName(name string) bool {
	return slices.ContainsFunc(h.Platforms, func(p *Platform) bool { return p.Name == name })
}

// waits reports whether a login is of a platform that waits for approval.
func (h *Handler) waits(req *lti.LoginRequest) bool {
	return h.Registration != nil && slices.ContainsFunc(h.app.registered.of(h).pending, func(p *Platform) bool {
		return p.registration.Issuer == req.Issuer && (req.ClientID == "" || p.registration.ClientID == req.ClientID)
	})
}

// all returns every platform that may launch here.
func (h *Handler) all() []*Platform {
	if h.Registration == nil {
		return h.Platforms
	}
	return append(slices.Clip(h.Platforms), h.app.registered.of(h).active...)
}

// platform returns the platform with that name, or nil.
func (h *Handler) platform(name string) *Platform {
	named := func(p *Platform) bool { return p.Name == name }
	if i := slices.IndexFunc(h.Platforms, named); i >= 0 {
		return h.Platforms[i]
	}
	if h.Registration != nil {
		joined := h.app.registered.of(h).active
		if i := slices.IndexFunc(joined, named); i >= 0 {
			return joined[i]
		}
	}
	return nil
}
