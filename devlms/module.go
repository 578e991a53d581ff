// Package devlms is a demo learning management system: an LTI 1.3 platform
// small enough to live in the same binary as the tool that it tries out, and
// as strict with that tool as the strictest real platforms (Moodle, Canvas and
// D2L taken together).
//
// It is for tests and demonstrations only. Everybody may be anybody: a visitor
// picks a person from a list, there are no passwords. That is why it exists
// only where a configuration names it, says on each page what it is, and
// refuses to serve a public host name over plain http.
//
// The files: module.go, check.go and caddyfile.go are the Caddy side; the
// platform itself, from platform.go on, knows nothing of Caddy.
package devlms

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-lti/lti/internal/httpx"
)

func init() {
	caddy.RegisterModule(Handler{})
	httpcaddyfile.RegisterHandlerDirective("devlms", parseCaddyfile)
	// It answers every request itself, as respond does.
	httpcaddyfile.RegisterDirectiveOrder("devlms", httpcaddyfile.Before, "respond")
}

// states holds what must outlive a reload of the configuration: the signing
// key, the launches that are under way, tokens, grades, and faults that were
// switched at run time. The key is the issuer option.
var states = caddy.NewUsagePool()

// Handler is a demo LMS: an LTI 1.3 platform for tests and demonstrations,
// with two courses, a teacher, an administrator and three learners, whose
// activities are the links of the configured tools and what teachers add with
// deep linking; a third course has 100,000 members.
//
// It has no passwords: every visitor chooses who to be. It answers only on
// localhost, names below localhost, loopback addresses, or over https; on any
// other host name over plain http every request is refused with 403.
//
// It ends the handler chain: what is not one of its pages is its own 404.
//
// EXPERIMENTAL: options may change while the demo grows services.
type Handler struct {
	// The name of the institution, shown on the pages and sent to tools as the
	// name of the platform. Default: Localhost University.
	Title string `json:"title,omitempty"`

	// The issuer (`iss`), which is also the origin under which browsers and
	// tools reach the demo: scheme and host, with a port if there is one, and
	// nothing after it, not even a slash. Requests to another origin are
	// refused. Default: scheme and host of the request.
	//
	// The signing key belongs to the issuer. All demos of one process that
	// leave this option out share one key.
	Issuer string `json:"issuer,omitempty"`

	// Whether values are kept for tools while an activity is open, for browsers
	// that let them keep nothing themselves (LTI postMessage Storage 0.1), and
	// what the lti_storage_target of launches is: `frame`, the name of a hidden
	// frame beside the tool, as in Canvas; `parent`, the page of the activity
	// itself (`_parent`); or `off`, no storage. With storage the cookie of the
	// LMS is Secure and SameSite=None. Default: off.
	Storage string `json:"storage,omitempty"`

	// How far ahead of the clock the iat of a tool's assertion may be. Default:
	// 0, as in Moodle.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	// Private addresses that key sets of tools may be fetched from: networks, or
	// single addresses, perhaps with a port. Where a tool's `jwks_url` is on
	// localhost, this machine needs no listing. Default: none.
	AllowPrivate []string `json:"allow_private,omitempty"`

	// What goes wrong on purpose, or as in a certain LMS, in the services;
	// POST /faults changes it at run time.
	//
	// `token`, `ags`, `scores` (the part of `ags` that takes scores),
	// `members` (the rosters) and `jwks` (the key set) each have one of: `off`, `down` (the connection is closed), `503`, `500`,
	// `429 [date] [<seconds>]` (Retry-After), `slow [<time>]`, `hang`, `half`
	// (every second call is a 503), `truncated` (what is asked is done, the
	// answer breaks off), `lost` (the same without any answer),
	// `redirect [<url>]`, and but for `token` and `jwks` `expired` (every token is refused
	// once). `members` may also have: `loop` (each page names itself as the
	// next), `foreign [<url>]` (the next page is at another host), `no_user_id`
	// (the last member of a page has none), `unclosed` (the answer is whole, its
	// JSON is not) and `wrong_type` (it is application/json).
	//
	// `whole_seconds`, `erase`, `html_token`, `strict_accept`, `broken_link`,
	// `short_roles`, `escaped_names` (all seven are Moodle's), `no_lineitem` and
	// `inactive` (somebody who has left is in each roster) are `on` or `off`;
	// `page_size` is a number of entries or `off`. Default: all off.
	Faults map[string]string `json:"faults,omitempty"`

	// How tools may register themselves, with LTI Dynamic Registration 1.0. Default:
	// as the specification has it; what comes waits for the administrator.
	Registration *Registration `json:"registration,omitempty"`

	// Whether there is a laboratory at /lab, which sends a registered tool good
	// launches, bad messages and attacks, and says whether it does right. Default:
	// false.
	Lab bool `json:"lab,omitempty"`

	// The tools that are registered. Default: none.
	Tools []*Tool `json:"tools,omitempty"`

	platform *platform
	poolKey  string
	pooled   bool
}

// Tool is the registration of a tool with the demo LMS.
type Tool struct {
	// What the tool is called here: 1 to 32 of a-z, 0-9 and hyphen, once in an
	// LMS. It is part of the identifiers of the tool's resource links.
	// Required.
	Name string `json:"name"`

	// The name that people see. Default: the name above.
	Title string `json:"title,omitempty"`

	// The client id that the platform knows the tool by; no two tools share
	// one. Required.
	ClientID string `json:"client_id"`

	// The deployment id of the tool in this LMS. Required.
	Deployment string `json:"deployment"`

	// Where a launch begins: the tool's login initiation URL. Required.
	LoginURL string `json:"login_url"`

	// Where the platform may send its answers. The tool's redirect_uri must
	// equal one of these, byte for byte. At least one is required.
	RedirectURIs []string `json:"redirect_uris"`

	// The tool's public keys. Default: none; launches need no key of the
	// tool, services do.
	JWKSURL string `json:"jwks_url,omitempty"`

	// Whether the tool may use Assignment and Grade Services 2.0: `on` or `off`.
	// Default: on if the tool has a key set.
	AGS string `json:"ags,omitempty"`

	// Whether the tool may read rosters, with Names and Role Provisioning
	// Services 2.0: `on` or `off`. Default: on if the tool has a key set.
	NRPS string `json:"nrps,omitempty"`

	// Whether teachers may add content of the tool to a course, with Deep
	// Linking 2.0: `on` or `off`. Default: on if the tool has a key set.
	DeepLinking string `json:"deep_linking,omitempty"`

	// The target_link_uri of deep linking, sent to the tool byte for byte, and
	// of content that comes without a URL. Default: the first redirect URI.
	DeepLinkingURL string `json:"deep_linking_url,omitempty"`

	// The maximum of the line items of the tool's activities. Default: 100.
	ScoreMaximum float64 `json:"score_maximum,omitempty"`

	// The activities that this tool provides in each of the courses.
	// Default: none.
	Links []*Link `json:"links,omitempty"`

	// Custom parameters, sent with every launch as they are written here;
	// variables such as $User.id are filled in only in those of added content,
	// which win over these. Default: none.
	Custom map[string]string `json:"custom,omitempty"`

	// grant is nil for a tool that is configured.
	grant *grant
}

// Link is a resource link: an activity in each of the courses.
type Link struct {
	// What the activity is called. Required.
	Title string `json:"title"`

	// Where the launch is to land, sent to the tool byte for byte. Required.
	TargetLinkURI string `json:"target_link_uri"`

	// Where the tool opens: `iframe` in a page of the LMS, `window` in a
	// window of its own. Default: iframe.
	Target string `json:"target,omitempty"`

	// The maximum of the activity's line item. Default: that of the tool.
	ScoreMaximum float64 `json:"score_maximum,omitempty"`

	// The resourceId of the line item. Default: none.
	ResourceID string `json:"resource_id,omitempty"`

	// The tag of the line item. Default: none.
	Tag string `json:"tag,omitempty"`

	// The activity has no line item. Default: false.
	Ungraded bool `json:"ungraded,omitempty"`
}

// Values of Link.Target; the specification's names for document targets.
const (
	targetIframe = "iframe"
	targetWindow = "window"
	targetEmbed  = "embed" // of added content only
)

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.devlms",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets the defaults, checks the options and takes hold of the state.
// No key is made here: that waits for the first request that needs one.
func (h *Handler) Provision(ctx caddy.Context) error {
	if h.Title == "" {
		h.Title = "Localhost University"
	}
	if h.Storage == "" {
		h.Storage = storageOff
	}
	for _, t := range h.Tools {
		if t == nil {
			return fmt.Errorf("a tool is null")
		}
		if t.Title == "" {
			t.Title = t.Name
		}
		for _, l := range t.Links {
			if l == nil {
				return fmt.Errorf("tool %q: a link is null", t.Name)
			}
			if l.Target == "" {
				l.Target = targetIframe
			}
		}
	}
	if err := h.check(); err != nil {
		return err
	}

	h.poolKey = h.Issuer
	st, _, err := states.LoadOrNew(h.poolKey, func() (caddy.Destructor, error) {
		return newState(), nil
	})
	if err != nil {
		return fmt.Errorf("opening the state of the demo LMS: %w", err)
	}
	h.pooled = true
	h.platform = newPlatform(h.Title, h.Issuer, h.Storage, h.Tools, st.(*state), ctx.Logger())
	if h.Registration != nil {
		h.platform.registration = *h.Registration
	}
	h.platform.leeway = time.Duration(h.Leeway)
	h.platform.faults, err = parseFaults(h.Faults)
	if err != nil {
		return fmt.Errorf("faults: %w", err)
	}
	h.platform.allow, err = parseAllow(h.AllowPrivate)
	if err != nil {
		return err
	}
	if h.Lab {
		h.platform.openLab(h.platform.allow)
	}
	for _, t := range h.Tools {
		if t.JWKSURL != "" {
			h.platform.fetchers[t.Name] = newFetcher(append(localRules(t.JWKSURL), h.platform.allow...))
		}
	}
	return nil
}

// Cleanup lets go of the state. The platform stays usable: a request of the
// old configuration may still be running.
func (h *Handler) Cleanup() error {
	if !h.pooled {
		return nil
	}
	h.pooled = false
	if h.platform != nil {
		for _, f := range h.platform.fetchers {
			if client, ok := f.(*httpx.Client); ok {
				client.CloseIdle()
			}
		}
	}
	_, err := states.Delete(h.poolKey)
	return err
}

// ServeHTTP answers every request; the next handler is never called.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if err := h.platform.serve(w, r, isHTTPS(r)); err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	return nil
}

// isHTTPS tells whether the browser speaks https. A proxy's word for that
// counts only if the server trusts the proxy.
func isHTTPS(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddy.Destructor            = (*state)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
