package devlms

import (
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
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
//		leeway  <duration>
//		allow_private <networks or addresses...>
//		fault   <name> [<value...>]
//		registration off | {
//			deployment tool|top|none
//			messages   objects|strings
//			token      registration|config|url
//			errors     json|text
//			scopes     <names...>|none
//			application_type string|array
//		}
//		lab
//		tool <name> {
//			title      <title>
//			client_id  <id>
//			deployment <id>
//			login      <url>
//			redirect   <urls...>
//			jwks       <url>
//			ags        on|off
//			nrps       on|off
//			deep_linking on|off [<target_link_uri>]
//			score_maximum <number>
//			link       <title> <target_link_uri> [iframe|window] {
//				score_maximum <number>
//				resource_id   <id>
//				tag           <tag>
//				ungraded
//			}
//			custom     <key> <value>
//		}
//	}
//
// The block of a link may be left out, and so may the value of those faults that
// are on or off.
//
// tool, redirect, link, custom, allow_private and fault may be repeated. Of a tool, client_id,
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
		case "leeway":
			if err := h.unmarshalLeeway(d); err != nil {
				return err
			}
		case "allow_private":
			words := d.RemainingArgs()
			if len(words) == 0 {
				return d.ArgErr()
			}
			if _, err := parseAllow(words); err != nil {
				return d.WrapErr(err)
			}
			h.AllowPrivate = append(h.AllowPrivate, words...)
		case "fault":
			if err := h.unmarshalFault(d); err != nil {
				return err
			}
		case "registration":
			if err := h.unmarshalRegistration(d); err != nil {
				return err
			}
		case "lab":
			if d.NextArg() {
				return d.ArgErr()
			}
			h.Lab = true
		case "tool":
			t, err := h.unmarshalTool(d)
			if err != nil {
				return err
			}
			h.Tools = append(h.Tools, t)
		default:
			return d.Errf("unrecognized option of devlms: %s; expected title, issuer, storage, leeway, allow_private, fault, registration, lab or tool", option)
		}
	}
	return nil
}

func (h *Handler) unmarshalLeeway(d *caddyfile.Dispenser) error {
	var word string
	if err := single(d, &word, nil); err != nil {
		return err
	}
	leeway, err := caddy.ParseDuration(word)
	switch {
	case err != nil:
		return d.Errf("leeway: %v", err)
	case leeway < 0:
		return d.Err("leeway: it is below 0")
	case h.Leeway != 0:
		return d.Err("leeway is given twice")
	}
	h.Leeway = caddy.Duration(leeway)
	return nil
}

func (h *Handler) unmarshalFault(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	name, value := args[0], strings.Join(args[1:], " ")
	if value == "" && !slices.Contains(targets, name) {
		value = "on"
	}
	if _, err := parseFault(name, value); err != nil {
		return d.Errf("fault: %v", err)
	}
	if _, ok := h.Faults[name]; ok {
		return d.Errf("fault: %s is given twice", name)
	}
	if h.Faults == nil {
		h.Faults = make(map[string]string)
	}
	h.Faults[name] = value
	return nil
}

func (h *Handler) unmarshalRegistration(d *caddyfile.Dispenser) error {
	if h.Registration != nil {
		return d.Err("registration is given twice")
	}
	r := new(Registration)
	h.Registration = r
	args := d.RemainingArgs()
	switch {
	case len(args) > 1:
		return d.ArgErr()
	case len(args) == 1 && args[0] != optionOff:
		return d.Errf("registration: bad value %q: expected %s, or a block of options", args[0], optionOff)
	}
	r.Off = len(args) == 1
	empty := true
	for nesting := d.Nesting(); d.NextBlock(nesting); empty = false {
		if r.Off {
			return d.Errf("registration is off, so %s means nothing", d.Val())
		}
		if err := r.unmarshalOption(d); err != nil {
			return err
		}
	}
	if empty && !r.Off {
		return d.Errf("registration: expected %s, or a block of options", optionOff)
	}
	return nil
}

func (r *Registration) unmarshalOption(d *caddyfile.Dispenser) error {
	option := d.Val()
	var options []string
	for _, c := range r.choices() {
		if c.option == option {
			return single(d, c.value, c.check)
		}
		options = append(options, c.option)
	}
	if option != "scopes" {
		return d.Errf("unrecognized option of registration: %s; expected %s or scopes", option, strings.Join(options, ", "))
	}
	if r.Scopes != nil {
		return d.Err("scopes is given twice")
	}
	if r.Scopes = d.RemainingArgs(); len(r.Scopes) == 0 {
		return d.ArgErr()
	}
	if err := checkScopes(r.Scopes); err != nil {
		return d.WrapErr(err)
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
	if err := t.checkKeys(); err != nil {
		return nil, d.Errf("tool %s: %v", t.Name, err)
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
	case "ags":
		return single(d, &t.AGS, checkSwitch)
	case "nrps":
		return single(d, &t.NRPS, checkSwitch)
	case "deep_linking":
		return t.unmarshalDeepLinking(d)
	case "score_maximum":
		return maximum(d, &t.ScoreMaximum)
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
		if err := l.unmarshalBlock(d); err != nil {
			return err
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
		return d.Errf("unrecognized option of tool %s: %s; expected title, client_id, deployment, login, redirect, jwks, ags, nrps, deep_linking, score_maximum, link or custom", t.Name, option)
	}
	return nil
}

func (t *Tool) unmarshalDeepLinking(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	switch {
	case t.DeepLinking != "":
		return d.Err("deep_linking is given twice")
	case len(args) < 1 || len(args) > 2:
		return d.ArgErr()
	}
	t.DeepLinking = args[0]
	if err := checkSwitch(t.DeepLinking); err != nil {
		return d.Errf("deep_linking: %v", err)
	}
	if len(args) == 2 {
		t.DeepLinkingURL = args[1]
		if err := checkURL(t.DeepLinkingURL); err != nil {
			return d.Errf("deep_linking: %v", err)
		}
	}
	return nil
}

func (l *Link) unmarshalBlock(d *caddyfile.Dispenser) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch option := d.Val(); option {
		case "score_maximum":
			err = maximum(d, &l.ScoreMaximum)
		case "resource_id":
			err = single(d, &l.ResourceID, nil)
		case "tag":
			err = single(d, &l.Tag, nil)
		case "ungraded":
			if d.NextArg() {
				err = d.ArgErr()
			}
			l.Ungraded = true
		default:
			err = d.Errf("unrecognized option of link %s: %s; expected score_maximum, resource_id, tag or ungraded", l.Title, option)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maximum reads a number above 0.
func maximum(d *caddyfile.Dispenser, target *float64) error {
	option := d.Val()
	var word string
	if err := single(d, &word, nil); err != nil {
		return err
	}
	n, err := strconv.ParseFloat(word, 64)
	if err != nil || checkMaximum(n) != nil || n == 0 {
		return d.Errf("%s: bad number %q: expected one above 0, such as 100", option, word)
	}
	if *target != 0 {
		return d.Errf("%s is given twice", option)
	}
	*target = n
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
