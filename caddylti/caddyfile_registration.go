package caddylti

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// unmarshalRegistration reads:
//
//	registration {
//		invite      <secret> [<label>]
//		approve     auto|manual
//		deployment  first|any|listed
//		name        <text>
//		description <text>
//		logo        <path or URL>
//		custom      <name> <value>
//		placement   <names...>
//	}
func (h *Handler) unmarshalRegistration(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	g := new(Registration)
	once := make(onceOnly)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		switch option {
		case "invite", "custom", "placement":
		default:
			if err := once.check(d, option); err != nil {
				return err
			}
		}
		var err error
		switch option {
		case "invite":
			args := d.RemainingArgs()
			if len(args) < 1 || len(args) > 2 {
				return d.Err("expected: invite SECRET [LABEL]")
			}
			i := &Invite{Secret: args[0]}
			if len(args) == 2 {
				i.Label = args[1]
			}
			g.Invites = append(g.Invites, i)
		case "approve":
			err = oneOf(d, &g.Approve, "auto", "manual")
		case "deployment":
			err = oneOf(d, &g.Deployment, "first", "any", "listed")
		case "name":
			err = oneArg(d, &g.Name)
		case "description":
			err = oneArg(d, &g.Description)
		case "logo":
			err = oneArg(d, &g.Logo)
		case "custom":
			var name, value string
			if !d.AllArgs(&name, &value) {
				return d.ArgErr()
			}
			if _, ok := g.Custom[name]; ok {
				return d.Errf("custom %s is there twice", name)
			}
			if g.Custom == nil {
				g.Custom = make(map[string]string)
			}
			g.Custom[name] = value
		case "placement":
			names := d.RemainingArgs()
			if len(names) == 0 {
				return d.ArgErr()
			}
			g.Placements = append(g.Placements, names...)
		default:
			err = d.Errf("unrecognized option of registration: %s", option)
		}
		if err != nil {
			return err
		}
		check := *g // the defaults do not belong into the JSON
		if err := check.check(); err != nil {
			return d.WrapErr(err)
		}
	}
	h.Registration = g
	return nil
}
