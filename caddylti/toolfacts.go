package caddylti

import (
	"maps"
	"slices"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/lti"
	"github.com/caddy-lti/lti/nrps"
)

// What a site asks platforms for: what its configuration uses, and no more.

// scopesUsed are the scopes of the services that the site uses.
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

// claimsUsed are the claims about people that the site uses, besides iss and sub.
func (h *Handler) claimsUsed() []string {
	var claims []string
	if h.needs.people {
		claims = append(claims, "name", "given_name", "family_name", "email", "locale")
	}
	if h.User == "email" && !slices.Contains(claims, "email") {
		claims = append(claims, "email")
	}
	return claims
}

// messagesUsed are the message types that the site takes.
func (h *Handler) messagesUsed() []string {
	types := []string{lti.MessageResourceLink}
	if h.links() {
		types = append(types, lti.MessageDeepLinking)
	}
	return append(types, slices.Sorted(maps.Keys(h.Messages))...)
}
