package caddylti

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/dynreg"
	"github.com/caddy-lti/lti/internal/page"
	"github.com/caddy-lti/lti/internal/registry"
	"github.com/caddy-lti/lti/lti"
)

// serveRegister registers the tool with the platform whose administrator opened
// the link (LTI Dynamic Registration 1.0 §3): all in this one request, for whoever
// has an invite.
func (h *Handler) serveRegister(w http.ResponseWriter, r *http.Request) error {
	// The query holds the invite and the platform's token.
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	ref := &refusal{}
	if err := h.registerPlatform(w, r, ref); err != nil {
		ref.err = err
		return h.refuse(w, r, ref)
	}
	return nil
}

func (h *Handler) registerPlatform(w http.ResponseWriter, r *http.Request, ref *refusal) error {
	if ahead(r) {
		return lti.Refuse(lti.CodeRegistrationIncomplete, "the browser only looks ahead")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return lti.Refuse(lti.CodeRequestMalformed, "the query cannot be read")
	}
	for _, name := range []string{"invite", "openid_configuration", "registration_token"} {
		if len(query[name]) > 1 {
			return lti.Refuse(lti.CodeRequestMalformed, "%s is there twice", name)
		}
	}
	origin, err := h.public(r)
	if err != nil {
		return err
	}
	ready, err := h.app.open()
	if err != nil {
		return unavailable(err)
	}
	site, now := origin+h.Base, time.Now()
	invite, err := h.takeInvite(r, ready, query.Get("invite"), now)
	if err != nil {
		return err
	}
	used := false
	defer func() {
		// Whatever became of the request, the invite is as good as before.
		if !used {
			if err := invite.giveBack(context.WithoutCancel(r.Context()), time.Now()); err != nil {
				h.logger.Error("an invite could not be given back: it is good again in a few minutes", zap.String("invite", invite.label), zap.Error(err))
			}
		}
	}()
	ref.more = append(ref.more, zap.String("invite", invite.label))
	from, token := query.Get("openid_configuration"), query.Get("registration_token")
	if from == "" {
		return lti.Refuse(lti.CodeRegistrationIncomplete, "openid_configuration is missing: the link was opened by hand")
	}
	cfg, err := dynreg.Discover(r.Context(), h.app.client, from, token)
	if err != nil {
		return registrationFailed(ref, err)
	}
	ref.more = append(ref.more, zap.String("issuer", cfg.Issuer))
	if h.hasIssuer(cfg.Issuer) {
		return lti.Refuse(lti.CodeIssuerConfigured, "a platform with issuer %s is written in this site's configuration", lti.Quote(cfg.Issuer))
	}
	req, err := dynreg.NewRequest(cfg, h.tool(origin))
	if err != nil {
		return registrationFailed(ref, err)
	}
	if query.Has("dry_run") {
		return h.showRequest(w, r, req)
	}
	// From here on the platform may have the tool, whether the browser waits or not.
	ctx := context.WithoutCancel(r.Context())
	res, err := dynreg.Register(ctx, h.app.client, cfg, token, req)
	if err != nil {
		return registrationFailed(ref, err)
	}
	reg, updated, err := h.join(ctx, ready, site, cfg, res, invite.label, now)
	if err != nil {
		return unavailable(err)
	}
	used = true
	if err := invite.used(ctx, now); err != nil {
		h.logger.Error("an invite could not be marked as used", zap.String("invite", invite.label), zap.Error(err))
	}
	if err := h.app.refresh(ctx, ready); err != nil {
		return unavailable(err)
	}
	h.logger.Info("a platform registered itself",
		zap.String("platform", reg.Name), zap.String("registration", reg.ID), zap.String("state", reg.State), zap.Bool("updated", updated),
		zap.String("issuer", reg.Issuer), zap.String("client_id", reg.ClientID), zap.Strings("deployments", reg.Deployments),
		zap.String("product", reg.Product), zap.String("invite", invite.label), zap.String("client_ip", clientIP(r)))
	return h.showRegistered(w, r, reg, req, res)
}

// join keeps what a platform and we agreed on.
func (h *Handler) join(ctx context.Context, ready *ready, site string, cfg *dynreg.Configuration, res *dynreg.Result, label string, now time.Time) (*registry.Registration, bool, error) {
	all, err := ready.registry.List(ctx)
	if err != nil {
		return nil, false, err
	}
	taken := func(name string) bool {
		return h.hasName(name) ||
			slices.ContainsFunc(all, func(r *registry.Registration) bool {
				return r.Site == site && r.Name == name && (r.Issuer != cfg.Issuer || r.ClientID != res.ClientID)
			})
	}
	guess := cfg.Guess()
	reg := &registry.Registration{
		Site: site, Name: registry.NameOf(cfg.Issuer, res.ClientID, taken), State: registry.Active,
		Issuer: cfg.Issuer, ClientID: res.ClientID, AuthURL: cfg.AuthorizationEndpoint,
		TokenURL: cfg.TokenEndpoint, TokenAudience: cfg.TokenAudience(), JWKSURL: cfg.KeysURL(res.ClientID),
		Preset: guess.Preset, UserScope: string(guess.Scope), Scopes: res.Scopes,
		Deployments: res.Deployments, Rule: h.Registration.Deployment,
		Product: cfg.Product, Version: cfg.Version, Invite: label, Created: now, Updated: now,
	}
	if len(res.Deployments) > 0 {
		reg.Rule = registry.DeploymentListed
	}
	if h.Registration.Approve == "manual" {
		reg.State = registry.Pending
	}
	updated, err := ready.registry.Save(ctx, reg)
	return reg, updated, err
}

// registrationFailed says why, to whoever registers and to the log.
func registrationFailed(ref *refusal, err error) error {
	e, ok := errors.AsType[*dynreg.Error](err)
	if !ok {
		return err
	}
	ref.notes = append(ref.notes, e.Hint)
	for _, m := range e.Members {
		ref.notes = append(ref.notes, m.String())
	}
	if e.Words != "" {
		ref.notes = append(ref.notes, e.Words)
	}
	code := lti.CodeRegistrationFailed
	if e.Whose == dynreg.ToolAdmin {
		code = lti.CodeRegistrationRefused
	}
	return &lti.Error{Code: code, Err: e}
}

// showRequest shows what would be sent.
func (h *Handler) showRequest(w http.ResponseWriter, r *http.Request, req *dynreg.Request) error {
	doc, err := json.MarshalIndent(req, "", "  ")
	if err != nil {
		return err
	}
	return h.in(r).Write(w, http.StatusOK, page.Page{ID: "registration_dry_run", Checks: notesOf(req.Notes), Document: string(doc)})
}

// notesOf shows what a platform takes otherwise than it was meant.
func notesOf(notes []dynreg.Note) []page.Check {
	var checks []page.Check
	for _, n := range notes {
		checks = append(checks, page.Check{State: page.CheckNote, Text: n.String()})
	}
	return checks
}

// showRegistered shows what came of a registration.
func (h *Handler) showRegistered(w http.ResponseWriter, r *http.Request, reg *registry.Registration, req *dynreg.Request, res *dynreg.Result) error {
	p := page.Page{ID: "registered", Done: page.DoneNow}
	joined := h.app.registered.of(h)
	for _, known := range slices.Concat(joined.active, joined.pending) {
		if known.id == reg.ID {
			p.Checks = checks(h.examinePlatform(r.Context(), known))
		}
	}
	if reg.State == registry.Pending {
		p.ID, p.Done = "registered_pending", page.DoneButton
	}
	if slices.ContainsFunc(p.Checks, func(c page.Check) bool { return c.State == page.CheckFailed }) {
		p.Done = page.DoneButton
	}
	p.Checks = append(p.Checks, notesOf(slices.Concat(req.Notes, res.Changes))...)
	for _, f := range []struct{ id, val string }{
		{"registered_name", reg.Name},
		{"registered_id", reg.ID},
		{"registered_issuer", reg.Issuer},
		{"registered_client", reg.ClientID},
		{"registered_deployments", strings.Join(reg.Deployments, " ")},
	} {
		if f.val != "" {
			p.Fields = append(p.Fields, page.Field{Label: h.in(r).Word(f.id), Value: f.val})
		}
	}
	return h.in(r).Write(w, http.StatusOK, p)
}

// takenInvite is an invite that a registration uses.
type takenInvite struct {
	label string
	taken *registry.Taken // nil if it is of the configuration
}

func (i *takenInvite) used(ctx context.Context, now time.Time) error {
	if i.taken == nil {
		return nil
	}
	return i.taken.Used(ctx, now)
}

func (i *takenInvite) giveBack(ctx context.Context, now time.Time) error {
	if i.taken == nil {
		return nil
	}
	return i.taken.GiveBack(ctx, now)
}

// takeInvite finds the invite with that secret. Whoever guesses gets few tries.
func (h *Handler) takeInvite(r *http.Request, ready *ready, secret string, now time.Time) (*takenInvite, error) {
	from := clientIP(r)
	if wait := ready.guesses.wait(from, now); wait > 0 {
		return nil, lti.Refuse(lti.CodeTooManyAttempts, "%d wrong invites came from this address; the next is looked at in %s", guessBurst, wait.Round(time.Second))
	}
	if label, ok := h.Registration.invited(secret); ok {
		return &takenInvite{label: label}, nil
	}
	taken, err := ready.registry.Take(r.Context(), secret, h.isAt, now)
	switch {
	case err == nil:
		return &takenInvite{taken.Label(), taken}, nil
	case errors.Is(err, registry.ErrInviteExpired):
		return nil, lti.Refuse(lti.CodeInviteExpired, "%v", err)
	case errors.Is(err, registry.ErrInviteUsed), errors.Is(err, registry.ErrInviteBusy):
		return nil, lti.Refuse(lti.CodeInviteUsed, "%v", err)
	case errors.Is(err, registry.ErrInvite):
		if secret == "" {
			return nil, lti.Refuse(lti.CodeInviteRefused, "there is no invite in the link")
		}
		ready.guesses.count(from, now)
		return nil, lti.Refuse(lti.CodeInviteRefused, "%v", err)
	default:
		return nil, unavailable(err)
	}
}

const (
	guessBurst = 10              // wrong invites at once
	guessEvery = 2 * time.Minute // and one more each
	// maxGuessers bounds the memory that guessers cost. Beyond it all of them are
	// one.
	maxGuessers = 10_000
)

// guesses limits wrong invites for each address, of IPv6 for each network that
// one household gets.
type guesses struct {
	mu   sync.Mutex
	from map[string]time.Time // when all of its guesses are forgiven
}

func guesser(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	addr = addr.Unmap()
	if addr.Is6() {
		if p, err := addr.WithZone("").Prefix(56); err == nil {
			return p.String()
		}
	}
	return addr.String()
}

// key is under which an address is counted.
func (g *guesses) key(ip string) string {
	key := guesser(ip)
	if _, known := g.from[key]; !known && len(g.from) >= maxGuessers {
		return ""
	}
	return key
}

// wait returns 0, or how long an address has to wait.
func (g *guesses) wait(ip string, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := g.key(ip)
	if free := g.from[key].Add(-(guessBurst - 1) * guessEvery); now.Before(free) {
		return free.Sub(now)
	}
	return 0
}

// count notes a wrong guess.
func (g *guesses) count(ip string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, end := range g.from {
		if !now.Before(end) {
			delete(g.from, key)
		}
	}
	if g.from == nil {
		g.from = make(map[string]time.Time)
	}
	key := g.key(ip)
	end := g.from[key]
	if end.Before(now) {
		end = now
	}
	g.from[key] = end.Add(guessEvery)
}
