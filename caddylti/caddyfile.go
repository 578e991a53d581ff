package caddylti

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/lti"
	"github.com/caddy-lti/lti/store/redis"
)

func init() {
	httpcaddyfile.RegisterDirective("lti", parseDirective)
	// Before any rewrite, so that try_files of a single-page app cannot swallow
	// our routes, and before redir, so that a blanket redirect cannot turn the
	// platform's POST into a GET.
	httpcaddyfile.RegisterDirectiveOrder("lti", httpcaddyfile.Before, "redir")
	httpcaddyfile.RegisterGlobalOption("lti", parseGlobal)
}

// parseDirective reads the site directive; for its grammar see
// Handler.UnmarshalCaddyfile.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return h.NewRoute(nil, handler), nil
}

// UnmarshalCaddyfile reads the directive:
//
//	lti {
//		url             <https://host>
//		base            <path>
//		home            <path>
//		public          <paths...>
//		protect         <paths...>
//		unauthenticated page|pass
//		allow role      <names...>
//		anonymous       refuse|allow
//		user            sub|email|lis.person_sourcedid|ext.user_username
//		headers         off|minimal|standard|full
//		header          <name> <value>
//		session {
//			idle <duration>
//			max  <duration>
//		}
//		frame           on|off
//		app_cookies     on|off
//		message         <type> [<path>]
//		forward_auth    <addresses or networks...>
//		items {
//			folder  <dir> [<path>]
//			exclude <paths...>
//			item    <path> <title> {
//				text          <text>
//				image         <path>
//				score_maximum <number>
//				resource_id   <text>
//				tag           <text>
//				custom        <name> <value>
//			}
//			json    <path or URL...>
//		}
//		deep_linking [app [<path>]] {
//			app   [<path>]
//			allow role <names...>
//		}
//		grade {
//			header <name>
//			on     <path> score <given/maximum>
//			visit  <paths...>
//			browser on|off
//		}
//		roster          <paths...>
//		roster_cache    <duration>|off
//		api {
//			from <addresses or networks...>
//			key  <name> <secret> {
//				platform <names...>
//				context  <ids...>
//				allow    scores|lineitems|results|members...
//			}
//		}
//		registration {
//			invite      <secret> [<label>]
//			approve     auto|manual
//			deployment  first|any|listed
//			name        <text>
//			description <text>
//			logo        <path or URL>
//			custom      <name> <value>
//			placement   <names...>
//		}
//		pages           <folder>
//		platform <name> {
//			issuer     <url>
//			preset     <name>
//			client_id  <id>
//			deployment <ids...>|any
//			auth_url   <url>
//			token_url  <url>
//			jwks_url   <url>
//			token_audience <text>
//			user_scope client|tenant|deployment
//			origin     <urls...>
//			algorithms <names...>
//			leeway     <duration>
//		}
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		if arg := d.Val(); strings.HasPrefix(arg, "@") || strings.HasPrefix(arg, "/") || arg == "*" {
			return d.Errf("lti takes no matcher (%s): write the paths inside its block, as public or protect, or put the block into a handle", arg)
		}
		return d.Errf("unexpected %q: the options of lti stand in a block, one a line", d.Val())
	}
	once := make(onceOnly)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		switch option {
		case "public", "protect", "header", "message", "platform", "allow", "forward_auth", "roster":
		default:
			if err := once.check(d, option); err != nil {
				return err
			}
		}
		var err error
		switch option {
		case "url":
			err = oneArg(d, &h.URL)
			if err == nil && !strings.Contains(h.URL, "{") { // else it has no value yet
				if _, uerr := publicOrigin(h.URL); uerr != nil {
					err = d.WrapErr(uerr)
				}
			}
		case "base":
			err = oneArg(d, &h.Base)
			if err == nil && !basePath.MatchString(h.Base) {
				err = d.Errf("base %q: expected a path such as /lti, of letters, digits, - and _, without a slash at the end", h.Base)
			}
		case "home":
			err = oneArg(d, &h.Home)
			if err == nil && classify(h.Home).odd {
				err = d.Errf("home %q: expected the path of a page, such as /start", h.Home)
			}
		case "public":
			err = patterns(d, &h.Public)
		case "protect":
			err = patterns(d, &h.Protect)
		case "unauthenticated":
			err = oneOf(d, &h.Unauthenticated, "page", "pass")
		case "allow":
			err = h.unmarshalAllow(d)
		case "anonymous":
			err = oneOf(d, &h.Anonymous, "refuse", "allow")
		case "user":
			err = oneOf(d, &h.User, "sub", "email", "lis.person_sourcedid", "ext.user_username")
		case "headers":
			err = oneOf(d, &h.Headers, "off", "minimal", "standard", "full")
		case "header":
			err = h.unmarshalHeader(d)
		case "session":
			err = h.unmarshalSession(d)
		case "frame":
			err = oneOf(d, &h.Frame, "on", "off")
		case "app_cookies":
			err = oneOf(d, &h.AppCookies, "on", "off")
		case "message":
			err = h.unmarshalMessage(d)
		case "forward_auth":
			args := d.RemainingArgs()
			if len(args) == 0 {
				return d.ArgErr()
			}
			if _, perr := parsePrefixes(args); perr != nil {
				return d.Errf("forward_auth: %v: expected addresses or networks, such as 127.0.0.1", perr)
			}
			h.ForwardAuth = append(h.ForwardAuth, args...)
		case "items":
			err = h.unmarshalItems(d)
		case "deep_linking":
			err = h.unmarshalDeepLinking(d)
		case "grade":
			err = h.unmarshalGrade(d)
		case "roster":
			err = h.unmarshalRoster(d)
		case "roster_cache":
			err = h.unmarshalRosterCache(d)
		case "api":
			err = h.unmarshalAPI(d)
		case "registration":
			err = h.unmarshalRegistration(d)
		case "pages":
			err = h.unmarshalPages(d)
		case "platform":
			err = h.unmarshalPlatform(d)
		default:
			err = d.Errf("unrecognized option of lti: %s", option)
		}
		if err != nil {
			return err
		}
	}
	if len(h.Platforms) == 0 && h.Registration == nil {
		return d.WrapErr(errNoPlatform)
	}
	if err := h.checkPicker(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (h *Handler) unmarshalAllow(d *caddyfile.Dispenser) error {
	if !d.NextArg() || d.Val() != "role" {
		return d.Err("expected: allow role NAMES")
	}
	names := d.RemainingArgs()
	if len(names) == 0 {
		return d.ArgErr()
	}
	for _, name := range names {
		if _, err := lti.ParseRole(name); err != nil {
			return d.WrapErr(err)
		}
	}
	h.AllowRoles = append(h.AllowRoles, names...)
	return nil
}

func (h *Handler) unmarshalHeader(d *caddyfile.Dispenser) error {
	var name, value string
	if !d.AllArgs(&name, &value) {
		return d.ArgErr()
	}
	if err := checkHeader(name, value); err != nil {
		return d.WrapErr(err)
	}
	for other := range h.ExtraHeaders {
		if strings.EqualFold(other, name) {
			return d.Errf("header %s is there twice", name)
		}
	}
	if h.ExtraHeaders == nil {
		h.ExtraHeaders = make(map[string]string)
	}
	h.ExtraHeaders[name] = value
	return nil
}

func (h *Handler) unmarshalSession(d *caddyfile.Dispenser) error {
	h.Session = new(SessionLimits)
	err := onceEach(d, func(option string) error {
		switch option {
		case "idle":
			return duration(d, &h.Session.Idle)
		case "max":
			return duration(d, &h.Session.Max)
		default:
			return d.Errf("unrecognized option of session: %s", option)
		}
	})
	if err != nil {
		return err
	}
	if _, err := h.Session.resolve(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (h *Handler) unmarshalMessage(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.ArgErr()
	}
	typ, path := args[0], ""
	if typ == lti.MessageResourceLink || typ == lti.MessageDeepLinking {
		return d.Errf("message %s: this type cannot be switched on this way: LtiResourceLinkRequest always is, LtiDeepLinkingRequest by items or deep_linking", typ)
	}
	if len(args) == 2 {
		if path = args[1]; classify(path).odd {
			return d.Errf("message %s: path %q: expected the path of a page, such as /review", typ, path)
		}
	}
	if _, ok := h.Messages[typ]; ok {
		return d.Errf("message %s is there twice", typ)
	}
	if h.Messages == nil {
		h.Messages = make(map[string]string)
	}
	h.Messages[typ] = path
	return nil
}

func (h *Handler) unmarshalGrade(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	h.Grade = new(Grade)
	once := make(onceOnly)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option := d.Val(); option {
		case "header":
			if err := once.check(d, option); err != nil {
				return err
			}
			if err := oneArg(d, &h.Grade.Header); err != nil {
				return err
			}
			if err := checkGradeHeader(h.Grade.Header); err != nil {
				return d.WrapErr(err)
			}
		case "on":
			on := new(GradeOn)
			var word string
			if !d.AllArgs(&on.Path, &word, &on.Score) || word != "score" {
				return d.Err("expected: on PATH score GIVEN/MAXIMUM")
			}
			if _, err := on.check(); err != nil {
				return d.WrapErr(err)
			}
			if slices.ContainsFunc(h.Grade.On, func(o *GradeOn) bool { return o.Path == on.Path }) {
				return d.Errf("on %s is there twice", on.Path)
			}
			h.Grade.On = append(h.Grade.On, on)
		case "visit":
			pages := d.RemainingArgs()
			if len(pages) == 0 {
				return d.ArgErr()
			}
			h.Grade.Visit = append(h.Grade.Visit, pages...)
			if err := checkVisit(h.Grade.Visit); err != nil {
				return d.WrapErr(err)
			}
		case "browser":
			if err := once.check(d, option); err != nil {
				return err
			}
			if err := oneOf(d, &h.Grade.Browser, "on", "off"); err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized option of grade: %s", option)
		}
	}
	if !h.Grade.source() {
		return d.WrapErr(errNoSource)
	}
	return nil
}

func (h *Handler) unmarshalAPI(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	h.API = new(API)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option := d.Val(); option {
		case "from":
			args := d.RemainingArgs()
			if len(args) == 0 {
				return d.ArgErr()
			}
			if _, err := parsePrefixes(args); err != nil {
				return d.Errf("from: %v: expected addresses or networks, such as 127.0.0.1", err)
			}
			h.API.From = append(h.API.From, args...)
		case "key":
			if err := h.unmarshalKey(d); err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized option of api: %s", option)
		}
	}
	return nil
}

func (h *Handler) unmarshalKey(d *caddyfile.Dispenser) error {
	k := new(APIKey)
	if !d.AllArgs(&k.Name, &k.Secret) {
		return d.Err("expected: key NAME SECRET { … }")
	}
	for _, other := range h.API.Keys {
		if other.Name == k.Name {
			return d.Errf("two keys are named %s", k.Name)
		}
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var list *[]string
		switch option := d.Val(); option {
		case "platform":
			list = &k.Platforms
		case "context":
			list = &k.Contexts
		case "allow":
			list = &k.Allow
		default:
			return d.Errf("unrecognized option of key: %s", option)
		}
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.ArgErr()
		}
		*list = append(*list, args...)
	}
	if err := k.check(); err != nil {
		return d.WrapErr(err)
	}
	h.API.Keys = append(h.API.Keys, k)
	return nil
}

func (h *Handler) unmarshalPlatform(d *caddyfile.Dispenser) error {
	p := new(Platform)
	if !d.AllArgs(&p.Name) {
		return d.Err("expected: platform NAME { … }")
	}
	if err := checkPlatformName(p.Name); err != nil {
		return d.WrapErr(err)
	}
	for _, other := range h.Platforms {
		if other.Name == p.Name {
			return d.Errf("two platforms are named %s", p.Name)
		}
	}
	once := make(onceOnly)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if option != "deployment" && option != "origin" {
			if err := once.check(d, option); err != nil {
				return err
			}
		}
		var err error
		switch option {
		case "issuer":
			err = oneArg(d, &p.Issuer)
		case "preset":
			err = oneArg(d, &p.Preset)
			if _, ok := presets[p.Preset]; err == nil && !ok {
				err = d.Errf("unknown preset %q: expected one of %s", p.Preset, presetNames())
			}
		case "client_id":
			err = oneArg(d, &p.ClientID)
		case "deployment":
			ids := d.RemainingArgs()
			if len(ids) == 0 {
				return d.ArgErr()
			}
			p.Deployments = append(p.Deployments, ids...)
		case "auth_url":
			err = oneArg(d, &p.AuthURL)
		case "token_url":
			err = oneArg(d, &p.TokenURL)
		case "token_audience":
			err = oneArg(d, &p.TokenAudience)
		case "jwks_url":
			err = oneArg(d, &p.JWKSURL)
		case "user_scope":
			err = oneOf(d, &p.UserScope, "client", "tenant", "deployment")
		case "origin":
			urls := d.RemainingArgs()
			if len(urls) == 0 {
				return d.ArgErr()
			}
			p.Origins = append(p.Origins, urls...)
		case "algorithms":
			if p.Algorithms = d.RemainingArgs(); len(p.Algorithms) == 0 {
				return d.ArgErr()
			}
		case "leeway":
			err = duration(d, &p.Leeway)
		default:
			err = d.Errf("unrecognized option of platform: %s", option)
		}
		if err != nil {
			return err
		}
	}
	// What is wrong with the whole is said here, where there is a line to name;
	// placeholders have no value yet.
	if !p.hasPlaceholders() {
		check := *p
		if err := check.resolve(); err != nil {
			return d.Errf("platform %s: %v", p.Name, err)
		}
	}
	h.Platforms = append(h.Platforms, p)
	return nil
}

// hasPlaceholders reports whether some value is only known at run time.
func (p *Platform) hasPlaceholders() bool {
	all := strings.Join(append([]string{p.Issuer, p.ClientID, p.AuthURL, p.TokenURL, p.TokenAudience, p.JWKSURL}, slices.Concat(p.Deployments, p.Origins)...), "\n")
	return strings.Contains(all, "{")
}

// parseGlobal reads the global option:
//
//	lti {
//		store bolt [<path>]
//		store memory
//		http_client {
//			timeout       <duration>
//			allow_private <networks, addresses, address:port...>
//		}
//		outbox {
//			max_age <duration>
//		}
//		keys {
//			rotate <duration>
//		}
//	}
func parseGlobal(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // the option's name
	if existing != nil {
		return nil, d.Err("the global option lti is there twice")
	}
	app := new(App)
	err := onceEach(d, func(option string) error {
		switch option {
		case "store":
			return app.unmarshalStore(d)
		case "http_client":
			return app.unmarshalClient(d)
		case "outbox":
			return app.unmarshalOutbox(d)
		case "keys":
			return app.unmarshalKeys(d)
		default:
			return d.Errf("unrecognized global option of lti: %s", option)
		}
	})
	if err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "lti", Value: caddyconfig.JSON(app, nil)}, nil
}

func (a *App) unmarshalStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	if _, err := caddy.GetModule("lti.stores." + name); err != nil {
		return d.Errf("unknown store %q: expected one of %s", name, storeNames())
	}
	mod, err := caddyfile.UnmarshalModule(d, "lti.stores."+name)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(mod, "backend", name, nil)
	return nil
}

// storeNames lists the stores of this build for messages.
func storeNames() string {
	var names []string
	for _, mod := range caddy.GetModules("lti.stores") {
		names = append(names, mod.ID.Name())
	}
	return strings.Join(names, ", ")
}

func (a *App) unmarshalClient(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	a.HTTPClient = new(HTTPClient)
	once := make(onceOnly)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		var err error
		switch option {
		case "timeout":
			if err = once.check(d, option); err == nil {
				err = duration(d, &a.HTTPClient.Timeout)
			}
			if err == nil {
				if verr := a.HTTPClient.validate(); verr != nil {
					err = d.WrapErr(verr)
				}
			}
		case "allow_private":
			args := d.RemainingArgs()
			if len(args) == 0 {
				return d.ArgErr()
			}
			for _, arg := range args {
				if _, err := httpx.ParseAllow(arg); err != nil {
					return d.Errf("allow_private: %v", err)
				}
			}
			a.HTTPClient.AllowPrivate = append(a.HTTPClient.AllowPrivate, args...)
		default:
			err = d.Errf("unrecognized option of http_client: %s", option)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *App) unmarshalKeys(d *caddyfile.Dispenser) error {
	a.Keys = new(Keys)
	return onceEach(d, func(option string) error {
		switch option {
		case "rotate":
			if err := duration(d, &a.Keys.Rotate); err != nil {
				return err
			}
			if err := a.Keys.validate(); err != nil {
				return d.WrapErr(err)
			}
			return nil
		default:
			return d.Errf("unrecognized option of keys: %s", option)
		}
	})
}

func (a *App) unmarshalOutbox(d *caddyfile.Dispenser) error {
	a.Outbox = new(Outbox)
	return onceEach(d, func(option string) error {
		switch option {
		case "max_age":
			if err := duration(d, &a.Outbox.MaxAge); err != nil {
				return err
			}
			if err := a.Outbox.validate(); err != nil {
				return d.WrapErr(err)
			}
			return nil
		default:
			return d.Errf("unrecognized option of outbox: %s", option)
		}
	})
}

// UnmarshalCaddyfile reads: store bolt [<path>]
func (b *BoltStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if d.NextArg() {
		b.Path = d.Val()
	}
	return endOfStore(d)
}

// UnmarshalCaddyfile reads: store memory
func (*MemoryStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	return endOfStore(d)
}

// endOfStore refuses what no store takes.
func endOfStore(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	if d.NextBlock(0) {
		return d.Errf("unexpected %q: this store takes no block", d.Val())
	}
	return nil
}

// UnmarshalCaddyfile reads: store redis URL
func (r *RedisStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if !d.NextArg() {
		return d.ArgErr()
	}
	r.URL = d.Val()
	if err := endOfStore(d); err != nil {
		return err
	}
	if strings.Contains(r.URL, "{") {
		return nil // its placeholders are known when it is used
	}
	if _, err := redis.ParseURL(r.URL); err != nil {
		return d.Errf("store redis: %w", err)
	}
	return nil
}

// onceOnly remembers which options have been seen.
type onceOnly map[string]bool

func (o onceOnly) check(d *caddyfile.Dispenser, option string) error {
	if o[option] {
		return d.Errf("%s is there twice", option)
	}
	o[option] = true
	return nil
}

// onceEach reads a block, none of whose options may be there twice.
func onceEach(d *caddyfile.Dispenser, read func(option string) error) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	once := make(onceOnly)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if err := once.check(d, option); err != nil {
			return err
		}
		if err := read(option); err != nil {
			return err
		}
	}
	return nil
}

func oneArg(d *caddyfile.Dispenser, to *string) error {
	if !d.AllArgs(to) || *to == "" {
		return d.ArgErr()
	}
	return nil
}

func oneOf(d *caddyfile.Dispenser, to *string, allowed ...string) error {
	option := d.Val()
	if err := oneArg(d, to); err != nil {
		return err
	}
	if slices.Contains(allowed, *to) {
		return nil
	}
	return d.Errf("%s %q: expected %s", option, *to, strings.Join(allowed, ", "))
}

func duration(d *caddyfile.Dispenser, to *caddy.Duration) error {
	option := d.Val()
	var raw string
	if err := oneArg(d, &raw); err != nil {
		return err
	}
	dur, err := caddy.ParseDuration(raw)
	if err != nil || dur <= 0 {
		return d.Errf("%s %q: expected a duration such as 90s, 2h or 1d", option, raw)
	}
	*to = caddy.Duration(dur)
	return nil
}

func patterns(d *caddyfile.Dispenser, to *[]string) error {
	option := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	for _, p := range args {
		if err := checkPattern(p); err != nil {
			return d.Errf("%s %q: %v", option, p, err)
		}
	}
	*to = append(*to, args...)
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*BoltStore)(nil)
	_ caddyfile.Unmarshaler       = (*MemoryStore)(nil)
	_ caddyfile.Unmarshaler       = (*RedisStore)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
