package caddylti

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-lti/lti/internal/dynreg"
	"github.com/caddy-lti/lti/internal/page"
	"github.com/caddy-lti/lti/lti"
)

// serveIndex shows administrators of platforms what to enter there, and what this
// site has to know of it: our addresses only, nothing of the platforms that are
// configured.
func (h *Handler) serveIndex(w http.ResponseWriter, r *http.Request) error {
	origin, err := h.public(r)
	if err != nil {
		return h.refuse(w, r, &refusal{err: err})
	}
	setup, err := h.setup(origin)
	if err != nil {
		return err
	}
	return h.in(r).Write(w, http.StatusOK, page.Page{ID: "index", Setup: setup})
}

// setup is what the set-up page is made of.
func (h *Handler) setup(origin string) (*page.Setup, error) {
	t := h.tool(origin)
	config, err := dynreg.CanvasJSON(t)
	if err != nil {
		return nil, err
	}
	links := t.TargetURL
	for _, m := range t.Messages {
		if m.Type == lti.MessageDeepLinking {
			links = m.TargetURL
		}
	}
	_, host, _ := strings.Cut(origin, "://")
	custom := make([]string, 0, len(t.CustomParameters))
	for _, name := range slices.Sorted(maps.Keys(t.CustomParameters)) {
		custom = append(custom, name+"="+t.CustomParameters[name])
	}
	addresses := map[string]string{
		"target": t.TargetURL, "login": t.LoginURL, "redirect": t.RedirectURLs[0], "redirects": jsonList(t.RedirectURLs), "jwks": t.JWKSURL,
		"links": links, "config": origin + h.Base + "/config.json", "domain": host, "origin": origin,
	}
	if len(custom) > 0 {
		addresses["custom"], addresses["customs"] = strings.Join(custom, "\n"), jsonList(custom)
	}
	guides, err := page.Guides(addresses, page.Uses{
		Links: h.links(), Scores: h.scores(), Roster: h.rosters(),
		Name: slices.Contains(t.Claims, "name"), Email: slices.Contains(t.Claims, "email"),
	})
	return &page.Setup{Guides: guides, Link: h.Registration != nil, JSON: string(config)}, err
}

// jsonList is a list as fields for JSON take it.
func jsonList(list []string) string {
	data, _ := json.Marshal(list)
	return string(data)
}

// serveConfig is the tool's configuration in the form that Canvas imports.
func (h *Handler) serveConfig(w http.ResponseWriter, r *http.Request) error {
	origin, err := h.public(r)
	if err != nil {
		return h.refuse(w, r, &refusal{err: err})
	}
	config, err := dynreg.CanvasJSON(h.tool(origin))
	if err != nil {
		return err
	}
	hdr := w.Header()
	hdr.Set("Content-Type", "application/json")
	hdr.Set("Cache-Control", "no-store")
	hdr.Set("X-Content-Type-Options", "nosniff")
	_, err = w.Write(config) //nolint:gosec // JSON, and browsers are told not to guess
	return err
}
