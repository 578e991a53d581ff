package caddylti

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/internal/dynreg"
	"github.com/caddy-lti/lti/lti"
	"github.com/caddy-lti/lti/nrps"
)

// tool is what the site wants to be registered as: with what its configuration
// uses, and no more.
func (h *Handler) tool(origin string) *dynreg.Tool {
	t := &dynreg.Tool{
		LoginURL:     origin + h.Base + "/login",
		RedirectURLs: []string{origin + h.Base + "/launch"},
		JWKSURL:      origin + h.Base + "/jwks.json",
		TargetURL:    origin + h.Home,
		Messages:     h.messagesUsed(origin),
		Scopes:       h.scopesUsed(),
		Claims:       h.claimsUsed(),
	}
	if g := h.Registration; g != nil {
		t.Name, t.Description, t.LogoURL, t.CustomParameters = g.Name, g.Description, g.Logo, g.custom
		if strings.HasPrefix(g.Logo, "/") {
			t.LogoURL = origin + g.Logo
		}
	}
	if t.Name == "" {
		_, t.Name, _ = strings.Cut(origin, "://")
	}
	return t
}

// messagesUsed are the message types that are accepted, the resource link first,
// and where each lands.
func (h *Handler) messagesUsed(origin string) []dynreg.Message {
	all := []dynreg.Message{{Type: lti.MessageResourceLink, TargetURL: origin + h.Home}}
	add := func(typ, path string) {
		m := dynreg.Message{Type: typ, TargetURL: origin + h.Home}
		if path != "" {
			m.TargetURL = origin + path
		}
		all = append(all, m)
	}
	if h.links() {
		path := ""
		if h.linksApp() {
			path = h.DeepLinking.Path
		}
		add(lti.MessageDeepLinking, path)
		if h.Registration != nil {
			all[len(all)-1].Placements = h.Registration.Placements
		}
	}
	for _, typ := range slices.Sorted(maps.Keys(h.Messages)) {
		add(typ, h.Messages[typ])
	}
	return all
}

// scopesUsed are the scopes of the services that something of the configuration
// calls. Who sends scores also makes the line item of an activity that has none.
func (h *Handler) scopesUsed() []string {
	var scopes []string
	if h.scores() {
		scopes = append(scopes, ags.ScopeScore, ags.ScopeLineItem)
	}
	if h.API != nil {
		scopes = append(scopes, ags.ScopeResultReadOnly)
	}
	if h.rosters() {
		scopes = append(scopes, nrps.ScopeMembership)
	}
	return scopes
}

// claimsUsed are the claims about people that reach the app, besides iss and sub,
// in the order in which OpenID Connect has them.
func (h *Handler) claimsUsed() []string {
	used := make(map[string]bool)
	use := func(names ...string) {
		for _, name := range names {
			used[name] = true
		}
	}
	if headerSets[h.Headers] >= setStandard {
		use(personClaims...)
	}
	if h.User == "email" {
		use("email")
	}
	for _, value := range h.ExtraHeaders {
		for _, m := range placeholder.FindAllStringSubmatch(value, -1) {
			use(placeholderClaims[m[1]]...)
		}
	}
	var claims []string
	for _, name := range personClaims {
		if used[name] {
			claims = append(claims, name)
		}
	}
	return claims
}

// personClaims are the claims about people that can reach an app.
var personClaims = append(slices.Clone(nameClaims), "email", "locale")

// nameClaims are those of which a full name is made.
var nameClaims = []string{"name", "given_name", "family_name"}

// placeholderClaims has the claims that a placeholder is made of.
var placeholderClaims = map[string][]string{
	"http.auth.user.name":       nameClaims,
	"http.auth.user.email":      {"email"},
	"http.lti.user.name":        nameClaims,
	"http.lti.user.given_name":  {"given_name"},
	"http.lti.user.family_name": {"family_name"},
	"http.lti.user.email":       {"email"},
	"http.lti.user.locale":      {"locale"},
}
