// Package registry keeps the platforms that registered themselves, and the invites
// with which they may (LTI Dynamic Registration 1.0).
//
// All of it is in a [store.Store], so that what one node takes in the others know:
// whoever keeps a copy asks for the [Registry.Generation] first, which every change
// replaces.
package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddy-lti/lti/store"
)

// Errors of a [Registry]. Match them with [errors.Is].
var (
	// ErrUnknown says that there is no such registration or invite.
	ErrUnknown = errors.New("there is none with that id")
	// ErrInvite says that an invite was never given out, or withdrawn.
	ErrInvite = errors.New("the invite is not known")
	// ErrInviteExpired says that an invite was good until some time ago.
	ErrInviteExpired = errors.New("the invite has expired")
	// ErrInviteUsed says that an invite was good once.
	ErrInviteUsed = errors.New("the invite has been used")
	// ErrInviteBusy says that a registration with the invite is under way.
	ErrInviteBusy = errors.New("a registration with the invite is under way")
)

// States of a [Registration].
const (
	Active  = "active"
	Pending = "pending" // until somebody approves it
)

// Rules for the deployments of a [Registration].
const (
	DeploymentAny    = "any"    // every deployment may launch
	DeploymentFirst  = "first"  // where none is known, the first that launches is learned
	DeploymentListed = "listed" // only those that are known
)

// Registration is a platform that registered itself.
type Registration struct {
	ID string `json:"id"` // 16 hex digits
	// Site is the public address of the tool that it registered with, base
	// included: https://tool.example.edu/lti.
	Site  string `json:"site"`
	Name  string `json:"name"` // as in Remote-User, unique in its site
	State string `json:"state"`

	Issuer        string   `json:"issuer"`
	ClientID      string   `json:"client_id"`
	AuthURL       string   `json:"auth_url"`
	TokenURL      string   `json:"token_url"`
	TokenAudience string   `json:"token_audience"`
	JWKSURL       string   `json:"jwks_url"`
	Preset        string   `json:"preset,omitempty"`
	UserScope     string   `json:"user_scope"`
	Scopes        []string `json:"scopes,omitempty"` // that the platform granted

	Deployments []string `json:"deployments,omitempty"`
	Rule        string   `json:"deployment_rule"`

	Product string    `json:"product,omitempty"` // the platform's word for itself
	Version string    `json:"version,omitempty"`
	Invite  string    `json:"invite,omitempty"` // label of the one that was used
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

// sameEndpoints reports whether what two registrations let a platform do is the
// same.
func (r *Registration) sameEndpoints(o *Registration) bool {
	return r.AuthURL == o.AuthURL && r.TokenURL == o.TokenURL && r.TokenAudience == o.TokenAudience && r.JWKSURL == o.JWKSURL
}

// Registry is safe for concurrent use.
type Registry struct{ store store.Store }

// Open returns the registry that is in a store.
func Open(s store.Store) *Registry { return &Registry{s} }

const (
	registrations = "registration:" // and the id
	invites       = "invite:"       // and a hash of the secret
	generation    = "registrations" // is replaced by each change
)

// Topic is what the nodes on a store tell each other under when registrations have
// changed.
const Topic = "registrations"

// IDOf returns the id that a registration has.
func IDOf(site, issuer, clientID string) string {
	return digest(site, issuer, clientID)[:16]
}

func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// NameOf returns the name that a registration gets: the host of its issuer, and 6
// hex digits of a hash of issuer and client id, or more of them if that name is
// taken. It is 1 to 32 of a-z, 0-9 and the hyphen, and nobody outside chooses it.
func NameOf(issuer, clientID string, taken func(name string) bool) string {
	const longest = 32
	host := issuer
	if u, err := url.Parse(issuer); err == nil && u.Host != "" {
		host = u.Hostname()
	}
	host = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(host))
	hash := digest(issuer, clientID)
	for n := 6; ; n += 2 {
		name := strings.Trim(host[:min(len(host), longest-1-n)], "-") + "-" + hash[:n]
		if name = strings.TrimLeft(name, "-"); !taken(name) || n+2 >= longest {
			return name
		}
	}
}

// Generation returns a value that differs after every change.
func (g *Registry) Generation(ctx context.Context) (string, error) {
	val, err := g.store.Get(ctx, generation)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return string(val), err
}

func (g *Registry) changed(ctx context.Context) error {
	if err := g.store.Put(ctx, generation, []byte(rand.Text()), 0); err != nil {
		return err
	}
	if shared, ok := g.store.(store.Shared); ok {
		return shared.Tell(ctx, Topic, "changed")
	}
	return nil
}

// List returns all registrations, in the order of their ids.
func (g *Registry) List(ctx context.Context) ([]*Registration, error) {
	var all []*Registration
	err := each(ctx, g.store, registrations, func(r store.Record) error {
		reg := new(Registration)
		if err := json.Unmarshal(r.Value, reg); err != nil {
			return fmt.Errorf("registration %s cannot be read: %w", strings.TrimPrefix(r.Key, registrations), err)
		}
		all = append(all, reg)
		return nil
	})
	return all, err
}

// each calls a function for each record whose key begins like that.
func each(ctx context.Context, s store.Store, prefix string, f func(store.Record) error) error {
	for after := ""; ; {
		page, err := s.List(ctx, prefix, after, store.MaxListLen)
		if err != nil {
			return err
		}
		for _, r := range page {
			if err := f(r); err != nil {
				return err
			}
			after = r.Key
		}
		if len(page) < store.MaxListLen {
			return nil
		}
	}
}

// Save takes in a registration. One of the same site, issuer and client id is
// brought up to date: it keeps its name, when it was made and the deployments that
// it has, and its state unless its endpoints change. Save fills in the id and what
// was kept, and says whether there was one.
func (g *Registry) Save(ctx context.Context, r *Registration) (updated bool, err error) {
	r.ID = IDOf(r.Site, r.Issuer, r.ClientID)
	fresh := *r
	for {
		old, err := g.store.Get(ctx, registrations+r.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
			*r = fresh
		case err != nil:
			return false, err
		default:
			known := new(Registration)
			if err := json.Unmarshal(old, known); err != nil {
				return false, fmt.Errorf("registration %s cannot be read: %w", r.ID, err)
			}
			*r = fresh
			r.Name, r.Created = known.Name, known.Created
			if r.sameEndpoints(known) {
				r.State = known.State
			}
			r.Deployments = slices.Clone(known.Deployments)
			for _, d := range fresh.Deployments {
				if !slices.Contains(r.Deployments, d) {
					r.Deployments = append(r.Deployments, d)
				}
			}
		}
		val, err := json.Marshal(r)
		if err != nil {
			return false, err
		}
		var done bool
		if old == nil {
			done, err = g.store.PutIfAbsent(ctx, registrations+r.ID, val, 0)
		} else {
			done, err = g.store.Swap(ctx, registrations+r.ID, old, val, 0)
		}
		if err != nil {
			return false, err
		}
		if done {
			return old != nil, g.changed(ctx)
		}
	}
}

// Change changes a registration. The function may be called more than once; if it
// reports false, nothing is written.
func (g *Registry) Change(ctx context.Context, id string, change func(*Registration) bool) (*Registration, error) {
	for {
		old, err := g.store.Get(ctx, registrations+id)
		if errors.Is(err, store.ErrNotFound) {
			return nil, ErrUnknown
		}
		if err != nil {
			return nil, err
		}
		r := new(Registration)
		if err := json.Unmarshal(old, r); err != nil {
			return nil, fmt.Errorf("registration %s cannot be read: %w", id, err)
		}
		if !change(r) {
			return r, nil
		}
		val, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		done, err := g.store.Swap(ctx, registrations+id, old, val, 0)
		if err != nil {
			return nil, err
		}
		if done {
			return r, g.changed(ctx)
		}
	}
}

// Learn has a registration know its first deployment, and returns what it knows
// then: of several that come at once, one is the first.
func (g *Registry) Learn(ctx context.Context, id, deployment string) (*Registration, error) {
	return g.Change(ctx, id, func(r *Registration) bool {
		if r.Rule != DeploymentFirst || len(r.Deployments) > 0 {
			return false
		}
		r.Deployments = []string{deployment}
		return true
	})
}

// Remove forgets a registration.
func (g *Registry) Remove(ctx context.Context, id string) error {
	if _, err := g.store.Get(ctx, registrations+id); errors.Is(err, store.ErrNotFound) {
		return ErrUnknown
	} else if err != nil {
		return err
	}
	if err := g.store.Delete(ctx, registrations+id); err != nil {
		return err
	}
	return g.changed(ctx)
}
