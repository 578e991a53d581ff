package devlms

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// parseCaddyfile sets up the handler from the devlms directive. The grammar is
// at UnmarshalCaddyfile.
func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return handler, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	devlms [<matcher>] {
//		title   <title>
//		issuer  <url>
//		storage off|frame|parent
//		tool <name> {
//			title      <title>
//			client_id  <id>
//			deployment <id>
//			login      <url>
//			redirect   <urls...>
//			jwks       <url>
//			link       <title> <target_link_uri> [iframe|window]
//			custom     <key> <value>
//		}
//	}
//
// tool, redirect, link and custom may be repeated. Of a tool, client_id,
// deployment, login and redirect are required. The defaults are at the fields
// of Handler, Tool and Link.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option := d.Val(); option {
		case "title":
			if err := single(d, &h.Title, nil); err != nil {
				return err
			}
		case "issuer":
			if err := single(d, &h.Issuer, checkIssuer); err != nil {
				return err
			}
		case "storage":
			if err := single(d, &h.Storage, checkStorage); err != nil {
				return err
			}
		case "tool":
			t, err := h.unmarshalTool(d)
			if err != nil {
				return err
			}
			h.Tools = append(h.Tools, t)
		default:
			return d.Errf("unrecognized option of devlms: %s; expected title, issuer, storage or tool", option)
		}
	}
	return nil
}

func (h *Handler) unmarshalTool(d *caddyfile.Dispenser) (*Tool, error) {
	t := new(Tool)
	if !d.AllArgs(&t.Name) {
		return nil, d.ArgErr()
	}
	if err := checkToolName(t.Name); err != nil {
		return nil, d.Errf("tool: %v", err)
	}
	for _, other := range h.Tools {
		if other.Name == t.Name {
			return nil, d.Errf("tool %s: there are two tools of this name", t.Name)
		}
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := t.unmarshalOption(d); err != nil {
			return nil, err
		}
	}
	for _, required := range []struct{ option, value string }{
		{"client_id", t.ClientID},
		{"deployment", t.Deployment},
		{"login", t.LoginURL},
		{"redirect", strings.Join(t.RedirectURIs, " ")},
	} {
		if required.value == "" {
			return nil, d.Errf("tool %s: %s is missing", t.Name, required.option)
		}
	}
	for _, other := range h.Tools {
		if other.ClientID == t.ClientID {
			return nil, d.Errf("tool %s: client_id %q belongs to tool %s already", t.Name, t.ClientID, other.Name)
		}
	}
	return t, nil
}

func (t *Tool) unmarshalOption(d *caddyfile.Dispenser) error {
	switch option := d.Val(); option {
	case "title":
		return single(d, &t.Title, nil)
	case "client_id":
		return single(d, &t.ClientID, checkID)
	case "deployment":
		return single(d, &t.Deployment, checkID)
	case "login":
		return single(d, &t.LoginURL, checkURL)
	case "jwks":
		return single(d, &t.JWKSURL, checkURL)
	case "redirect":
		urls := d.RemainingArgs()
		if len(urls) == 0 {
			return d.ArgErr()
		}
		for _, u := range urls {
			if err := checkURL(u); err != nil {
				return d.Errf("redirect: %v", err)
			}
		}
		t.RedirectURIs = append(t.RedirectURIs, urls...)
	case "link":
		args := d.RemainingArgs()
		if len(args) < 2 || len(args) > 3 {
			return d.ArgErr()
		}
		l := &Link{Title: args[0], TargetLinkURI: args[1], Target: targetIframe}
		if len(args) == 3 {
			l.Target = args[2]
		}
		if err := l.check(); err != nil {
			return d.Errf("link: %v", err)
		}
		t.Links = append(t.Links, l)
	case "custom":
		var key, value string
		if !d.AllArgs(&key, &value) {
			return d.ArgErr()
		}
		if key == "" {
			return d.Err("custom: the name is empty")
		}
		if _, ok := t.Custom[key]; ok {
			return d.Errf("custom: %s is given twice", key)
		}
		if t.Custom == nil {
			t.Custom = make(map[string]string)
		}
		t.Custom[key] = value
	default:
		return d.Errf("unrecognized option of tool %s: %s; expected title, client_id, deployment, login, redirect, jwks, link or custom", t.Name, option)
	}
	return nil
}

// single reads the one argument of an option that may stand only once.
func single(d *caddyfile.Dispenser, target *string, check func(string) error) error {
	option := d.Val()
	if *target != "" {
		return d.Errf("%s is given twice", option)
	}
	if !d.AllArgs(target) {
		return d.ArgErr()
	}
	if check != nil {
		if err := check(*target); err != nil {
			return d.Errf("%s: %v", option, err)
		}
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
