package caddylti

import (
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// unmarshalRoster reads: roster <paths...>
func (h *Handler) unmarshalRoster(d *caddyfile.Dispenser) error {
	paths := d.RemainingArgs()
	if len(paths) == 0 {
		return d.ArgErr()
	}
	for _, p := range paths {
		if err := checkRosterPath(p); err != nil {
			return d.WrapErr(err)
		}
		if slices.Contains(h.Roster, p) {
			return d.Errf("roster %s is there twice", p)
		}
		h.Roster = append(h.Roster, p)
	}
	return nil
}

// unmarshalRosterCache reads: roster_cache <duration>|off
func (h *Handler) unmarshalRosterCache(d *caddyfile.Dispenser) error {
	var raw string
	if err := oneArg(d, &raw); err != nil {
		return err
	}
	h.RosterCache = new(caddy.Duration)
	if raw == "off" {
		return nil
	}
	kept, err := caddy.ParseDuration(raw)
	if err != nil || kept <= 0 {
		return d.Errf("roster_cache %q: expected a duration such as 30s, or off", raw)
	}
	*h.RosterCache = caddy.Duration(kept)
	if err := checkRosterCache(*h.RosterCache); err != nil {
		return d.WrapErr(err)
	}
	return nil
}
