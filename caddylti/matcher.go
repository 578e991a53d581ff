package caddylti

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-lti/lti/lti"
)

func init() {
	caddy.RegisterModule(Matcher{})
}

// Matcher matches requests of people who came by a launch of a certain kind. It
// finds the session itself, so it works before the lti handler too. All kinds
// that are given have to match, each by one of its values.
type Matcher struct {
	// Roles of which the person needs one: short, in any case (instructor,
	// institution:staff), or full URIs. A sub-role does not count as its
	// principal role. Default: any, or none.
	Roles []string `json:"roles,omitempty"`

	// Contexts are ids or labels of courses. Default: any.
	Contexts []string `json:"contexts,omitempty"`

	// Platforms are names of platforms. Default: any.
	Platforms []string `json:"platforms,omitempty"`

	// Messages are message types, such as LtiResourceLinkRequest. Default: any.
	Messages []string `json:"messages,omitempty"`

	app   *App
	roles []string
}

// CaddyModule returns the Caddy module information.
func (Matcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.lti", New: func() caddy.Module { return new(Matcher) }}
}

// Provision sets up the matcher.
func (m *Matcher) Provision(ctx caddy.Context) error {
	app, err := ctx.App("lti")
	if err != nil {
		return fmt.Errorf("loading the lti app: %w", err)
	}
	m.app = app.(*App)
	if len(m.Roles)+len(m.Contexts)+len(m.Platforms)+len(m.Messages) == 0 {
		return errors.New("the lti matcher needs a role, context, platform or message")
	}
	for _, name := range m.Roles {
		uri, err := lti.ParseRole(name)
		if err != nil {
			return err
		}
		m.roles = append(m.roles, uri)
	}
	for _, name := range m.Platforms {
		if err := checkPlatformName(name); err != nil {
			return err
		}
	}
	if m.Contexts != nil {
		m.app.needContextLabels()
	}
	return nil
}

// Match implements caddyhttp.RequestMatcher.
func (m *Matcher) Match(r *http.Request) bool {
	ok, err := m.MatchWithError(r)
	return ok && err == nil
}

// MatchWithError implements caddyhttp.RequestMatcherWithError.
func (m *Matcher) MatchWithError(r *http.Request) (bool, error) {
	h := m.app.handlerOf(r)
	if h == nil {
		return false, nil
	}
	v, err := h.visit(r)
	if err != nil {
		return false, caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	if v == nil {
		return false, nil
	}
	f := v.facts
	return (len(m.roles) == 0 || f.hasRole(m.roles)) &&
		(len(m.Contexts) == 0 || slices.Contains(m.Contexts, f.ContextID) || (f.ContextLabel != "" && slices.Contains(m.Contexts, f.ContextLabel))) &&
		(len(m.Platforms) == 0 || slices.Contains(m.Platforms, f.Platform)) &&
		(len(m.Messages) == 0 || slices.Contains(m.Messages, f.Message)), nil
}

// handlerOf returns the handler that a request will come by: in the same route
// of the server, the one whose folder is the closest above the path.
func (a *App) handlerOf(r *http.Request) *Handler {
	srv, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	path := classifyRequest(r).cleaned()
	var best *Handler
	for _, h := range a.used() {
		if h.server != srv || !h.serves(r) {
			continue
		}
		parent := h.Base[:strings.LastIndexByte(h.Base, '/')+1]
		if !strings.HasPrefix(path+"/", parent) {
			continue
		}
		switch {
		case best == nil,
			len(h.where.hosts) > 0 && len(best.where.hosts) == 0,
			len(h.Base) > len(best.Base) && (len(h.where.hosts) > 0) == (len(best.where.hosts) > 0):
			best = h
		}
	}
	return best
}

// serves reports whether the handler's site is the one of the request's host, as
// far as that can be told.
func (h *Handler) serves(r *http.Request) bool {
	if len(h.where.hosts) == 0 {
		return true
	}
	host, _ := splitHost(r.Host)
	return h.where.hosts[host]
}

// UnmarshalCaddyfile reads the matcher:
//
//	@name lti role|context|platform|message <value...>
//	@name lti {
//		role     <names...>
//		context  <ids or labels...>
//		platform <names...>
//		message  <types...>
//	}
func (m *Matcher) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() { // a matcher's lines are merged
		if d.NextArg() {
			if err := m.unmarshalKind(d); err != nil {
				return err
			}
			if d.NextBlock(d.Nesting()) {
				return d.Err("a kind on the line of lti and a block cannot be combined")
			}
			continue
		}
		found := false
		for nesting := d.Nesting(); d.NextBlock(nesting); {
			found = true
			if err := m.unmarshalKind(d); err != nil {
				return err
			}
		}
		if !found {
			return d.Err("expected a role, context, platform or message")
		}
	}
	return nil
}

func (m *Matcher) unmarshalKind(d *caddyfile.Dispenser) error {
	var to *[]string
	switch d.Val() {
	case "role":
		to = &m.Roles
	case "context":
		to = &m.Contexts
	case "platform":
		to = &m.Platforms
	case "message":
		to = &m.Messages
	default:
		return d.Errf("unrecognized kind %q: expected role, context, platform or message", d.Val())
	}
	kind := d.Val()
	vals := d.RemainingArgs()
	if len(vals) == 0 {
		return d.ArgErr()
	}
	for _, v := range vals {
		var err error
		switch kind {
		case "role":
			_, err = lti.ParseRole(v)
		case "platform":
			err = checkPlatformName(v)
		}
		if err != nil {
			return d.WrapErr(err)
		}
	}
	*to = append(*to, vals...)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner                 = (*Matcher)(nil)
	_ caddyfile.Unmarshaler             = (*Matcher)(nil)
	_ caddyhttp.RequestMatcher          = (*Matcher)(nil)
	_ caddyhttp.RequestMatcherWithError = (*Matcher)(nil)
)
