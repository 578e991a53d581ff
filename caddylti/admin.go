package caddylti

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/inspect"
	"github.com/caddy-lti/lti/internal/registry"
)

func init() {
	caddy.RegisterModule(new(adminAPI))
}

// adminAPI serves /lti/… on Caddy's admin endpoint, which docs/commands.md
// describes.
type adminAPI struct {
	app *App // nil if nothing of LTI is configured
}

// CaddyModule returns the Caddy module information.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.lti", New: func() caddy.Module { return new(adminAPI) }}
}

// Provision finds the app of the configuration that this endpoint belongs to.
func (a *adminAPI) Provision(ctx caddy.Context) error {
	app, err := ctx.AppIfConfigured("lti")
	if err == nil {
		a.app, _ = app.(*App)
	}
	return nil // an app that failed has been reported
}

// Routes implements caddy.AdminRouter.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: "/lti/", Handler: caddy.AdminHandlerFunc(a.serve)}}
}

// maxAdminBody is larger than anything that is asked.
const maxAdminBody = 64 << 10

// adminError is what the admin endpoint answers, as {"error": …}.
func adminError(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

func (a *adminAPI) serve(w http.ResponseWriter, r *http.Request) error {
	if a.app == nil || len(a.app.used()) == 0 {
		return adminError(http.StatusNotFound, "no site of this configuration has an lti block")
	}
	ready, err := a.app.open()
	if err != nil {
		return adminError(http.StatusServiceUnavailable, "the store or the keys cannot be used: %w", err)
	}
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/lti/"), "/")
	id := ""
	if len(path) > 1 {
		id, path[1] = path[1], "ID"
	}
	call := r.Method + " " + strings.Join(path, " ")
	answer, err := a.answer(ready, r, call, id)
	switch {
	case errors.Is(err, registry.ErrUnknown):
		return adminError(http.StatusNotFound, "%s: %w", id, err)
	case err != nil:
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(answer)
}

func (a *adminAPI) answer(ready *ready, r *http.Request, call, id string) (any, error) {
	switch call {
	case "GET platforms":
		return a.platforms(), nil
	case "GET registrations":
		all, err := ready.registry.List(r.Context())
		return orEmpty(all), err
	case "POST registrations ID approve":
		return a.change(ready, r, id, func(reg *registry.Registration) bool {
			done := reg.State != registry.Active
			reg.State = registry.Active
			return done
		})
	case "POST registrations ID deployment":
		var ids []string
		if err := readAdmin(r, &ids); err != nil {
			return nil, err
		}
		if len(ids) == 0 || slices.Contains(ids, "") || slices.Contains(ids, "any") && len(ids) > 1 {
			return nil, adminError(http.StatusBadRequest, `expected a list of deployment ids, or ["any"]`)
		}
		return a.change(ready, r, id, func(reg *registry.Registration) bool {
			if reg.Deployments, reg.Rule = ids, registry.DeploymentListed; ids[0] == "any" {
				reg.Deployments, reg.Rule = nil, registry.DeploymentAny
			}
			return true
		})
	case "DELETE registrations ID":
		if err := ready.registry.Remove(r.Context(), id); err != nil {
			return nil, err
		}
		a.app.logger.Info("a registration was removed", zap.String("registration", id))
		return struct{}{}, a.app.refresh(r.Context(), ready)
	case "GET doctor":
		return a.app.examine(r.Context(), ready), nil
	case "POST doctor":
		var t scoreTest
		if err := readAdmin(r, &t); err != nil {
			return nil, err
		}
		return a.app.testScore(r.Context(), &t)
	case "GET invites":
		all, err := ready.registry.Invites(r.Context())
		return orEmpty(all), err
	case "POST invites":
		return a.invite(ready, r)
	case "DELETE invites ID":
		return struct{}{}, ready.registry.Withdraw(r.Context(), id)
	case "GET outbox":
		return a.scores(ready, r)
	case "POST outbox ID retry":
		return a.retryScore(ready, r, id)
	case "GET sessions":
		return a.sessions(ready, r)
	case "DELETE sessions", "DELETE sessions ID":
		return a.endSessions(ready, r, id)
	case "GET keys":
		return showKeys(ready.ring), nil
	case "POST keys":
		return a.replaceKey(ready, r)
	case "POST inspections":
		return a.inspect(ready, r)
	default:
		return nil, adminError(http.StatusNotFound, "no such call: %s %s", r.Method, r.URL.Path)
	}
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// readAdmin reads a body of JSON, in which nothing may stand that is not known.
func readAdmin(r *http.Request, to any) error {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxAdminBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(to); err != nil {
		return adminError(http.StatusBadRequest, "the body: %w", err)
	}
	return nil
}

func (a *adminAPI) change(ready *ready, r *http.Request, id string, change func(*registry.Registration) bool) (any, error) {
	reg, err := ready.registry.Change(r.Context(), id, func(reg *registry.Registration) bool {
		if !change(reg) {
			return false
		}
		reg.Updated = time.Now()
		return true
	})
	if err != nil {
		return nil, err
	}
	a.app.logger.Info("a registration was changed",
		zap.String("registration", id), zap.String("platform", reg.Name), zap.String("state", reg.State), zap.Strings("deployments", reg.Deployments))
	return reg, a.app.refresh(r.Context(), ready)
}

// adminPlatform is a platform that may launch.
type adminPlatform struct {
	Name     string `json:"name"`
	Issuer   string `json:"issuer"`
	ClientID string `json:"client_id"`
	// Deployments that may launch; absent is any.
	Deployments  []string `json:"deployments,omitempty"`
	Sites        []string `json:"sites"`                  // where it may
	Registration string   `json:"registration,omitempty"` // its id, if the platform registered itself
}

func (a *adminAPI) platforms() []*adminPlatform {
	all := []*adminPlatform{}
	for _, h := range a.app.used() {
		for _, p := range h.all() {
			known := &adminPlatform{Name: p.Name, Issuer: p.registration.Issuer, ClientID: p.registration.ClientID, Registration: p.id}
			if !p.registration.AnyDeployment {
				known.Deployments = p.registration.Deployments
			}
			i := slices.IndexFunc(all, func(o *adminPlatform) bool {
				return o.Name == known.Name && o.Issuer == known.Issuer && o.ClientID == known.ClientID && slices.Equal(o.Deployments, known.Deployments)
			})
			if i < 0 {
				i, all = len(all), append(all, known)
			}
			all[i].Sites = append(all[i].Sites, h.sites()...)
		}
	}
	return all
}

// sites are the public addresses of the block, base included, as far as they are
// known without a request.
func (h *Handler) sites() []string {
	if h.where.fixed != "" {
		return []string{h.where.fixed + h.Base}
	}
	var all []string
	for host := range h.where.hosts {
		scheme, port := "https", ""
		if httpx.IsLocalHost(host) && len(h.where.ports) > 0 && !h.where.ports["443"] {
			scheme, port = "http", slices.Min(slices.Collect(maps.Keys(h.where.ports)))
		}
		all = append(all, originAt(scheme, host, port)+h.Base)
	}
	slices.Sort(all)
	return all
}

// newInvite is what POST invites takes.
type newInvite struct {
	// Site is the address of the tool, base included. It is needed where several
	// sites let platforms register.
	Site     string `json:"site"`
	Label    string `json:"label"`
	Reusable bool   `json:"reusable"`
	// Lifetime is a duration such as 7d.
	Lifetime string `json:"lifetime"`
}

// madeInvite is what it answers: the only time that the secret is shown.
type madeInvite struct {
	*registry.Invite
	URL string `json:"url"`
}

// How long an invite is good, and how long a link may lie about at most.
const (
	defaultInviteLifetime = 7 * 24 * time.Hour
	maxInviteLifetime     = 366 * 24 * time.Hour
)

func (a *adminAPI) invite(ready *ready, r *http.Request) (any, error) {
	var n newInvite
	if err := readAdmin(r, &n); err != nil {
		return nil, err
	}
	lifetime := defaultInviteLifetime
	if n.Lifetime != "" {
		var err error
		if lifetime, err = caddy.ParseDuration(n.Lifetime); err != nil || lifetime < time.Minute || lifetime > maxInviteLifetime {
			return nil, adminError(http.StatusBadRequest, "lifetime %q: expected 1m to 366d", n.Lifetime)
		}
	}
	if len(n.Label) > 200 || strings.ContainsFunc(n.Label, func(c rune) bool { return c < ' ' }) {
		return nil, adminError(http.StatusBadRequest, "label: expected one line of at most 200 bytes")
	}
	site, err := a.siteFor(n.Site, func(h *Handler) bool { return h.Registration != nil },
		"no site lets platforms register: write registration into its lti block")
	if err != nil {
		return nil, err
	}
	now := time.Now()
	i := &registry.Invite{Label: n.Label, Site: site, Reusable: n.Reusable, Expires: now.Add(lifetime)}
	secret, err := ready.registry.Invite(r.Context(), i, now)
	if err != nil {
		return nil, err
	}
	a.app.logger.Info("an invite was made", zap.String("invite", i.ID), zap.String("label", i.Label), zap.String("site", site), zap.Bool("reusable", i.Reusable), zap.Time("expires", i.Expires))
	return madeInvite{i, site + "/register?invite=" + secret}, nil
}

// siteFor finds the site that something is to be for, among those that take it; none
// says that there is no such site.
func (a *adminAPI) siteFor(wanted string, takes func(*Handler) bool, none string) (string, error) {
	wanted = strings.TrimSuffix(wanted, "/")
	var open []string
	for _, h := range a.app.used() {
		switch {
		case !takes(h):
		case wanted != "" && h.isAt(wanted):
			return wanted, nil
		default:
			open = append(open, h.sites()...)
		}
	}
	switch {
	case len(open) == 0:
		return "", adminError(http.StatusConflict, "%s", none)
	case wanted != "":
		return "", adminError(http.StatusBadRequest, "site %q: expected one of %s", wanted, strings.Join(open, ", "))
	case len(open) > 1:
		return "", adminError(http.StatusBadRequest, "site: several are possible, say which: %s", strings.Join(open, ", "))
	}
	return open[0], nil
}

// newInspection is what POST inspections takes.
type newInspection struct {
	Site string `json:"site"` // as of an invite
	// Platform is the name of the one whose next launch is wanted; empty is any,
	// and what comes from none.
	Platform string `json:"platform"`
}

// madeInspection is what it answers.
type madeInspection struct {
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

func (a *adminAPI) inspect(ready *ready, r *http.Request) (any, error) {
	var n newInspection
	if err := readAdmin(r, &n); err != nil {
		return nil, err
	}
	if n.Platform != "" && !slices.ContainsFunc(a.app.used(), func(h *Handler) bool { return h.platform(n.Platform) != nil }) {
		return nil, adminError(http.StatusBadRequest, "platform %q: there is none; see caddy lti platforms list", n.Platform)
	}
	site, err := a.siteFor(n.Site, func(h *Handler) bool { return n.Platform == "" || h.platform(n.Platform) != nil },
		"no address of a site is known: write url into its lti block")
	if err != nil {
		return nil, err
	}
	secret, i, err := ready.inspections.Ask(r.Context(), site, n.Platform, time.Now())
	if errors.Is(err, inspect.ErrTooMany) {
		return nil, adminError(http.StatusTooManyRequests, "%w", err)
	}
	if err != nil {
		return nil, err
	}
	a.app.logger.Info("the next launch will be shown to whoever has the link", zap.String("platform", n.Platform), zap.String("site", site), zap.Time("expires", i.Expires))
	return madeInspection{site + "/inspect?key=" + secret, i.Expires}, nil
}

// Interface guards
var (
	_ caddy.AdminRouter = (*adminAPI)(nil)
	_ caddy.Provisioner = (*adminAPI)(nil)
)
