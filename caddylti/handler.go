package caddylti

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/page"
	"github.com/caddy-lti/lti/internal/session"
	"github.com/caddy-lti/lti/lti"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler makes the site behind it an LTI 1.3 tool: it lets in whom a learning
// platform has signed in, and tells the site who that is.
//
// It answers the routes of LTI under its base (login, launch, key set, set-up
// page, logout). Every other request is stripped of identity headers that the
// client made up. Where the path is protected and nobody is signed in, the
// request ends with 401; otherwise it goes on to the next handler, with the
// person's identity in request headers.
//
// Placeholders, empty where nobody is signed in or the platform did not say:
//
// Placeholder | Description
// ------------|------------
// `{http.auth.user.id}` | The person, as in Remote-User
// `{http.auth.user.name}`, `{http.auth.user.email}` | Name and e-mail address
// `{http.lti.user.id}` | The platform's id of the person (sub)
// `{http.lti.user.name}`, `.given_name`, `.family_name`, `.email`, `.locale` | What the platform shares
// `{http.lti.roles}` | Full URIs, separated by spaces
// `{http.lti.groups}` | Short roles, separated by commas
// `{http.lti.platform}` | The platform's name in this configuration
// `{http.lti.issuer}`, `{http.lti.client_id}`, `{http.lti.deployment_id}` | The registration
// `{http.lti.context.id}`, `.label`, `.title` | The course
// `{http.lti.resource_link.id}`, `.title` | The activity
// `{http.lti.message_type}` | For instance LtiResourceLinkRequest
// `{http.lti.launch_id}` | This launch, unguessable but no secret
// `{http.lti.return_url}` | Where the platform wants the person back
// `{http.lti.custom.NAME}` | A custom parameter, by its header's name in lower case
//
// What a header set leaves out is not kept either, unless a `header` line asks
// for it: names, labels and titles need `standard`, custom parameters and the
// return URL need `full`.
type Handler struct {
	// URL is the site's public address, such as https://tool.example.edu.
	// Default: scheme and host of the request, where the site's address names
	// exactly this host.
	URL string `json:"url,omitempty"`

	// Base is the path under which the routes of LTI are. Default: /lti.
	Base string `json:"base,omitempty"`

	// Home is where a launch without a place of its own lands. Default: the
	// folder above the base, usually /.
	Home string `json:"home,omitempty"`

	// Public lists paths that need no session. A path is compared exactly, as a
	// prefix (/assets/*) or as a suffix (*.css), and case matters. Default: none.
	Public []string `json:"public,omitempty"`

	// Protect lists the paths that need a session, instead of all but Public;
	// /app/* covers /app too. Default: all.
	Protect []string `json:"protect,omitempty"`

	// Unauthenticated says what happens to a request for a protected path
	// without a session: page (401) or pass, which lets it go on without
	// identity headers. Default: page.
	Unauthenticated string `json:"unauthenticated,omitempty"`

	// AllowRoles lists the roles of which a person needs at least one: short, in
	// any case (learner, instructor#grader, institution:staff), or full URIs.
	// Default: every role, or none.
	AllowRoles []string `json:"allow_roles,omitempty"`

	// Anonymous says what happens to launches without sub: refuse or allow.
	// Default: refuse.
	Anonymous string `json:"anonymous,omitempty"`

	// User is the claim that becomes Remote-User: sub, email,
	// lis.person_sourcedid or ext.user_username. Only sub is told apart by
	// platform: with the others, everybody who can set that claim on any of the
	// platforms can be that user. Default: sub.
	User string `json:"user,omitempty"`

	// Headers is the set of identity headers: off, minimal, standard or full.
	// Default: standard.
	Headers string `json:"headers,omitempty"`

	// ExtraHeaders are further request headers, whose values may hold
	// placeholders. An empty value sets none. Default: none.
	ExtraHeaders map[string]string `json:"extra_headers,omitempty"`

	// Session says how long a session lives. Default: 2h unused, 12h in all.
	Session *SessionLimits `json:"session,omitempty"`

	// Frame says what happens to what the app says of frames: on replaces
	// X-Frame-Options and frame-ancestors by the launching platform's addresses,
	// and turns redirects to the app's own address into ones to the site's; off
	// leaves all that alone. Default: on.
	Frame string `json:"frame,omitempty"`

	// AppCookies says what happens to the app's cookies: on has them work in the
	// platform's frame (Secure, SameSite=None, Partitioned), off leaves them
	// alone. Default: on.
	AppCookies string `json:"app_cookies,omitempty"`

	// Messages lists the message types that are accepted besides
	// LtiResourceLinkRequest, each with the path where its launches land; an
	// empty path is the launch's own target. Default: none.
	Messages map[string]string `json:"messages,omitempty"`

	// ForwardAuth lists the addresses and networks of front ends (nginx, Traefik,
	// Apache) that may ask at the route /auth who a request comes from. Default:
	// none, and the route does not exist.
	ForwardAuth []string `json:"forward_auth,omitempty"`

	// API switches the interface for the app's server on, and with it the header
	// X-LTI-Token. Default: none.
	API *API `json:"api,omitempty"`

	// Grade has scores taken from the app's answers. Default: none.
	Grade *Grade `json:"grade,omitempty"`

	// Roster lists the paths at which instructors find the roster of their course
	// as a file: each ends in .csv or .json. Default: none.
	Roster []string `json:"roster,omitempty"`

	// RosterCache is how long rosters of up to 5,000 members are kept, in memory;
	// 0 keeps none. Default: 1m.
	RosterCache *caddy.Duration `json:"roster_cache,omitempty"`

	// Items is what teachers can choose from when they add content to a course.
	// Default: none, and there is no picker.
	Items *Items `json:"items,omitempty"`

	// DeepLinking says who chooses content, and where. Default: instructors and
	// administrators, with the built-in picker if there are items.
	DeepLinking *DeepLinking `json:"deep_linking,omitempty"`

	// Registration lets platforms register themselves. Default: none does.
	Registration *Registration `json:"registration,omitempty"`

	// Pages is a folder with texts, templates, a style sheet and a logo of one's
	// own for the pages that people see. Default: the built-in pages alone.
	Pages string `json:"pages,omitempty"`

	// Platforms lists the learning platforms that may launch this tool. Required:
	// at least one, unless platforms register themselves.
	Platforms []*Platform `json:"platforms,omitempty"`

	app     *App
	logger  *zap.Logger
	pages   *page.Renderer
	limits  session.Limits
	cookie  string // name of the session cookie
	mark    string // name of the cookie that outlives it
	roles   []string
	extra   []extraHeader
	strip   []string // folded names of ExtraHeaders
	peers   []netPrefix
	where   origin
	server  *caddyhttp.Server
	route   int
	needs   needs
	accepts func(string) bool
}

// SessionLimits says how long a session lives.
type SessionLimits struct {
	// Idle ends a session that has not been used for so long. Default: 2h.
	Idle caddy.Duration `json:"idle,omitempty"`

	// Max ends a session after so long, however it is used. Default: 12h.
	Max caddy.Duration `json:"max,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.lti", New: func() caddy.Module { return new(Handler) }}
}

// Provision sets up the handler. It makes no request.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	app, err := ctx.App("lti")
	if err != nil {
		return fmt.Errorf("loading the lti app: %w", err)
	}
	h.app = app.(*App)
	if err := h.provisionPages(); err != nil {
		return err
	}
	h.server, _ = ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	for _, step := range []func() error{
		h.provisionPaths, h.provisionOrigin, h.provisionPeople, h.provisionSession, h.provisionFrame, h.provisionHeaders,
		h.provisionDeepLinking, h.provisionItems, h.provisionRoster,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if len(h.Platforms) == 0 && h.Registration == nil {
		return errNoPlatform
	}
	names := make(map[string]bool)
	clients := make(map[[2]string]string)
	for _, p := range h.Platforms {
		if p == nil {
			return errors.New("platform: null")
		}
		if err := p.provision(h.app, h.logger); err != nil {
			return err
		}
		if names[p.Name] {
			return fmt.Errorf("two platforms are named %s", p.Name)
		}
		names[p.Name] = true
		client := [2]string{p.registration.Issuer, p.registration.ClientID}
		if other, ok := clients[client]; ok {
			return fmt.Errorf("platforms %s and %s have the same issuer and client_id: list all deployments in one of them", other, p.Name)
		}
		clients[client] = p.Name
	}
	for _, step := range []func() error{h.provisionAPI, h.provisionGrade, h.provisionRegistration} {
		if err := step(); err != nil {
			return err
		}
	}
	if paths := h.outside(ctx); paths != nil {
		h.logger.Warn("the routes of this lti block are never reached, for its base is outside of the paths for which the block stands: write a base below them, such as /wiki/lti for /wiki/*",
			zap.String("base", h.Base), zap.Strings("paths", paths))
	}
	return h.app.register(h)
}

var errNoPlatform = errors.New("no platform: a tool needs at least one (platform NAME { … }), or registration, with which they register themselves")

func (h *Handler) provisionPaths() error {
	if h.Base == "" {
		h.Base = "/lti"
	}
	if !basePath.MatchString(h.Base) {
		return fmt.Errorf("base %q: expected a path such as /lti, of letters, digits, - and _, without a slash at the end", h.Base)
	}
	parent := h.Base[:strings.LastIndexByte(h.Base, '/')+1]
	if h.Home == "" {
		h.Home = parent
	}
	if c := classify(h.Home); c.odd || h.under(c.path) {
		return fmt.Errorf("home %q: expected the path of a page outside of %s", h.Home, h.Base)
	}
	for option, patterns := range map[string][]string{"public": h.Public, "protect": h.Protect} {
		for _, p := range patterns {
			if err := checkPattern(p); err != nil {
				return fmt.Errorf("%s %q: %w", option, p, err)
			}
		}
	}
	switch h.Unauthenticated {
	case "":
		h.Unauthenticated = "page"
	case "page", "pass":
	default:
		return fmt.Errorf("unauthenticated %q: expected page or pass", h.Unauthenticated)
	}
	for typ, target := range h.Messages {
		switch {
		case typ == lti.MessageResourceLink:
			return fmt.Errorf("message %s: these launches are always accepted", typ)
		case typ == lti.MessageDeepLinking:
			return fmt.Errorf("message %s: deep linking is switched on by items, or by deep_linking app", typ)
		case target != "":
			if c := classify(target); c.odd || h.under(c.path) {
				return fmt.Errorf("message %s: path %q: expected the path of a page outside of %s", typ, target, h.Base)
			}
		}
	}
	h.accepts = func(typ string) bool {
		if typ == lti.MessageDeepLinking {
			return h.links()
		}
		_, ok := h.Messages[typ]
		return ok
	}
	var err error
	h.peers, err = parsePrefixes(h.ForwardAuth)
	if err != nil {
		return fmt.Errorf("forward_auth: %w", err)
	}
	h.cookie = sessionCookieName(h.Base)
	h.mark = markPrefix + strings.TrimPrefix(h.cookie, cookiePrefix)
	return nil
}

func (h *Handler) provisionPeople() error {
	for _, name := range h.AllowRoles {
		uri, err := lti.ParseRole(name)
		if err != nil {
			return fmt.Errorf("allow role: %w", err)
		}
		h.roles = append(h.roles, uri)
	}
	switch h.Anonymous {
	case "":
		h.Anonymous = "refuse"
	case "refuse", "allow":
	default:
		return fmt.Errorf("anonymous %q: expected refuse or allow", h.Anonymous)
	}
	if h.User == "" {
		h.User = "sub"
	}
	if _, ok := userClaims[h.User]; !ok {
		return fmt.Errorf("user %q: expected one of %s", h.User, strings.Join(slices.Sorted(maps.Keys(userClaims)), ", "))
	}
	return nil
}

func (h *Handler) provisionFrame() error {
	for option, to := range map[string]*string{"frame": &h.Frame, "app_cookies": &h.AppCookies} {
		switch *to {
		case "":
			*to = "on"
		case "on", "off":
		default:
			return fmt.Errorf("%s %q: expected on or off", option, *to)
		}
	}
	return nil
}

func (h *Handler) provisionSession() (err error) {
	h.limits, err = h.Session.resolve()
	return err
}

// resolve applies the defaults and checks the outcome; nil is all defaults.
func (s *SessionLimits) resolve() (session.Limits, error) {
	l := session.Limits{Idle: 2 * time.Hour, Max: 12 * time.Hour}
	if s != nil {
		if s.Idle != 0 {
			l.Idle = time.Duration(s.Idle)
		}
		if s.Max != 0 {
			l.Max = time.Duration(s.Max)
		}
		if s.Max == 0 {
			l.Max = max(l.Max, l.Idle)
		}
		if s.Idle == 0 {
			l.Idle = min(l.Idle, l.Max)
		}
	}
	const most = 30 * 24 * time.Hour
	switch {
	case l.Idle < time.Second, l.Max < time.Second:
		return l, errors.New("session: idle and max have to be at least 1s")
	case l.Idle > l.Max:
		return l, fmt.Errorf("session: idle (%s) is longer than max (%s)", l.Idle, l.Max)
	case l.Max > most:
		return l, fmt.Errorf("session: max is %s, expected at most %s", l.Max, most)
	}
	return l, nil
}

// Cleanup gives back the platforms' key sets, and ends what reads the catalogue.
func (h *Handler) Cleanup() error {
	for _, p := range h.Platforms {
		if p != nil {
			p.cleanup()
		}
	}
	return h.Items.close()
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	where := classifyRequest(r)
	if h.looks(r) {
		return h.serveLook(w, r, next)
	}
	if !where.odd && h.under(where.path) {
		return h.serveRoute(w, r, where.path[len(h.Base):])
	}
	if !where.odd && slices.Contains(h.Roster, where.path) {
		return h.serveRoster(w, r, where.path)
	}
	return h.serveSite(w, r, next, where)
}

// serveSite passes the gate, or not.
func (h *Handler) serveSite(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, where location) error {
	protected := h.protects(where)
	v, err := h.visit(r)
	if err != nil && protected {
		return h.refuse(w, r, &refusal{err: err})
	}
	switch {
	case v == nil && protected && h.Unauthenticated == "page":
		return h.refuse(w, r, &refusal{err: &lti.Error{Code: lti.CodeSessionMissing}})
	case v != nil && protected && len(h.roles) > 0 && !v.facts.hasRole(h.roles):
		return h.refuse(w, r, &refusal{err: lti.Refuse(lti.CodeRoleRefused, "none of the person's roles is allowed here"), platform: v.facts.Platform})
	case where.ambiguous() && h.through(where):
		// Not one of our routes as it is written, but perhaps to what stands
		// behind us.
		return h.refuse(w, r, &refusal{err: &lti.Error{Code: lti.CodeNotFound}})
	}
	h.cleanRequest(r, v, protected)
	if v != nil && protected && lastsLong(r) {
		ctx, cancel := v.sessions.Watch(r.Context(), v.session, h.limits)
		defer cancel()
		r = r.WithContext(ctx)
	}
	aw := &appWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, h: h, r: r, v: v, protected: protected, path: where.path}
	aw.navigation = h.Grade != nil && forPerson(r, false) && !ahead(r)
	err = next.ServeHTTP(aw, r)
	if h.Grade != nil && h.Grade.header != "" {
		// Of an answer past aw, by the server or the site's handle_errors, or in
		// a trailer.
		w.Header().Del(h.Grade.header)
		w.Header().Del(http.TrailerPrefix + h.Grade.header)
	}
	if !aw.wrote {
		aw.prepare()
	}
	return err
}

// ahead reports whether the browser asks for a page that nobody has come to yet.
func ahead(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Sec-Purpose"), "prefetch") || r.Header.Get("Purpose") == "prefetch"
}

// lastsLong reports whether the request is for something that goes on after the
// answer has begun: a WebSocket or a stream of events.
func lastsLong(r *http.Request) bool {
	if r.Method == http.MethodConnect || r.Header["Upgrade"] != nil {
		return true
	}
	for _, v := range r.Header["Accept"] {
		if strings.Contains(v, "text/event-stream") {
			return true
		}
	}
	return false
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
