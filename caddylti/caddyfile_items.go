package caddylti

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-lti/lti/lti"
)

func (h *Handler) unmarshalItems(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	h.Items = new(Items)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch option := d.Val(); option {
		case "folder":
			args := d.RemainingArgs()
			if len(args) < 1 || len(args) > 2 {
				return d.ArgErr()
			}
			f := &ItemFolder{Dir: args[0]}
			if len(args) == 2 {
				if f.At = args[1]; classify(f.At).odd {
					return d.Errf("folder %s at %q: expected the path at which the site has it, such as /docs/", f.Dir, f.At)
				}
			}
			h.Items.Folders = append(h.Items.Folders, f)
		case "exclude":
			err = patterns(d, &h.Items.Exclude)
		case "item":
			err = h.unmarshalItem(d)
		case "json":
			args := d.RemainingArgs()
			if len(args) == 0 {
				return d.ArgErr()
			}
			for _, arg := range args {
				if !strings.HasPrefix(arg, "/") && !strings.Contains(arg, "://") {
					return d.Errf("json %q: expected the path of a file in the site's root, or a URL", arg)
				}
			}
			h.Items.Lists = append(h.Items.Lists, args...)
		default:
			err = d.Errf("unrecognized option of items: %s", option)
		}
		if err != nil {
			return err
		}
	}
	if len(h.Items.Folders)+len(h.Items.Entries)+len(h.Items.Lists) == 0 {
		return d.Err("items needs something to choose from: folder, item or json")
	}
	if len(h.Items.Exclude) > 0 && len(h.Items.Folders) == 0 {
		return d.Err("exclude is for the pages of folders, and there is no folder")
	}
	return nil
}

func (h *Handler) unmarshalItem(d *caddyfile.Dispenser) error {
	e := new(ItemEntry)
	if !d.AllArgs(&e.Path, &e.Title) {
		return d.Err(`expected: item PATH "TITLE" { … }`)
	}
	if path, _, _ := strings.Cut(e.Path, "?"); classify(path).odd {
		return d.Errf("item %q: expected the path of a page, such as /quiz-7", e.Path)
	}
	once := make(onceOnly)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if option != "custom" {
			if err := once.check(d, option); err != nil {
				return err
			}
		}
		var err error
		switch option {
		case "text":
			err = oneArg(d, &e.Text)
		case "image":
			err = oneArg(d, &e.Image)
		case "score_maximum":
			var raw string
			if err = oneArg(d, &raw); err == nil {
				v, perr := strconv.ParseFloat(raw, 64)
				if perr != nil || !(v > 0) || v > 1e9 {
					return d.Errf("score_maximum %q: expected a number above 0", raw)
				}
				e.ScoreMaximum = v
			}
		case "resource_id":
			err = oneArg(d, &e.ResourceID)
		case "tag":
			err = oneArg(d, &e.Tag)
		case "custom":
			var name, value string
			if !d.AllArgs(&name, &value) || name == "" {
				return d.ArgErr()
			}
			if _, ok := e.Custom[name]; ok || name == itemParam {
				return d.Errf("custom %s is there twice, or names the item, which is done without it", name)
			}
			if e.Custom == nil {
				e.Custom = make(map[string]string)
			}
			e.Custom[name] = value
		default:
			err = d.Errf("unrecognized option of item: %s", option)
		}
		if err != nil {
			return err
		}
	}
	h.Items.Entries = append(h.Items.Entries, e)
	return nil
}

func (h *Handler) unmarshalDeepLinking(d *caddyfile.Dispenser) error {
	dl := new(DeepLinking)
	h.DeepLinking = dl
	words := d.RemainingArgs()
	app := func(args []string) error {
		if dl.App {
			return d.Err("app is there twice")
		}
		if dl.App = true; len(args) > 1 {
			return d.ArgErr()
		}
		if len(args) == 1 {
			if dl.Path = args[0]; classify(dl.Path).odd {
				return d.Errf("deep_linking app %q: expected the path of a page, such as /choose", dl.Path)
			}
		}
		return nil
	}
	if len(words) > 0 {
		if words[0] != "app" {
			return d.Errf("deep_linking %s: expected app, or a block", words[0])
		}
		if err := app(words[1:]); err != nil {
			return err
		}
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option := d.Val(); option {
		case "app":
			if err := app(d.RemainingArgs()); err != nil {
				return err
			}
		case "allow":
			args := d.RemainingArgs()
			if len(args) < 2 || args[0] != "role" {
				return d.Err("expected: allow role NAME…")
			}
			for _, name := range args[1:] {
				if _, err := lti.ParseRole(name); err != nil {
					return d.WrapErr(err)
				}
			}
			dl.AllowRoles = append(dl.AllowRoles, args[1:]...)
		default:
			return d.Errf("unrecognized option of deep_linking: %s", option)
		}
	}
	if !dl.App && len(dl.AllowRoles) == 0 {
		return d.Err("deep_linking needs app, or a block with allow role")
	}
	return nil
}
