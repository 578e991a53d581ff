package doctor

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-lti/lti/internal/fault"
	"github.com/caddy-lti/lti/internal/httpx"
)

// App is what an answer of the app is judged by.
type App struct {
	Subject   string   // what was asked: a path, or an address
	Site      string   // the public origin
	Upstream  string   // where the app is behind the proxy, host:port; may be empty
	Platforms []string // origins that show the app in a frame
	Frame     bool     // the option frame is on
	Cookies   bool     // the option app_cookies is on
}

var (
	frameOptions = define(rule{
		CheckFrame, "x_frame_options", Failure, fault.ToolAdmin,
		"write frame on in the lti block, or have the app leave the header off", "",
	})
	frameAncestors = define(rule{
		CheckFrame, "frame_ancestors", Failure, fault.ToolAdmin,
		"write frame on in the lti block, or have the app name the platform in frame-ancestors", "",
	})
	frameAnybody = define(rule{
		CheckFrame, "anybody", Note, fault.ToolAdmin,
		"write frame on in the lti block: only the platform that launched may show the app then", "",
	})
	frameSandbox = define(rule{
		CheckFrame, "sandbox", Warning, fault.Developer,
		"leave sandbox out of the Content-Security-Policy, or give it allow-same-origin, allow-scripts and allow-forms", "",
	})

	isolationLost = define(rule{
		CheckIsolation, "isolated", Warning, fault.Developer,
		"do without SharedArrayBuffer in a frame, or set the activity to open in a new window", "",
	})
	isolationPermission = define(rule{
		CheckIsolation, "permissions", Note, fault.PlatformAdmin,
		"see that the platform allows it to tools in its frame; otherwise set the activity to open in a new window", "",
	})

	redirectInsecure = define(rule{
		CheckRedirects, "insecure", Failure, fault.ToolAdmin,
		"write frame on in the lti block, or tell the app that its address begins with https (X-Forwarded-Proto)", "",
	})
	redirectInternal = define(rule{
		CheckRedirects, "internal", Failure, fault.ToolAdmin,
		"tell the app its public address; with frame on, redirects to where the proxy reaches it are mended", "",
	})
	redirectMixed = define(rule{
		CheckRedirects, "mixed", Failure, fault.Developer,
		"redirect to https: browsers show no plain HTTP inside a page with TLS", "",
	})
	redirectElsewhere = define(rule{
		CheckRedirects, "elsewhere", Note, fault.Developer,
		"see that the page there lets itself be shown in a frame; a sign-in seldom does, and the headers say already who the person is", "",
	})
)

// Headers judges an answer of the app, as the app sent it: whether it can be shown
// in a platform's frame, and what of it the site's options mend.
func Headers(h http.Header, a App) []Finding {
	r := &report{subject: a.Subject}
	r.frame(h, a)
	r.cookies(h, a)
	r.redirect(h, a)
	r.isolation(h)
	return r.found
}

// frame judges what an answer says of frames.
func (r *report) frame(h http.Header, a App) {
	var policies []policy
	for _, line := range h.Values("Content-Security-Policy") {
		for p := range strings.SplitSeq(line, ",") {
			policies = append(policies, parsePolicy(p))
		}
	}
	named := false
	blocked := ""
	for _, p := range policies {
		if lacking := lacks(p["sandbox"], "allow-same-origin", "allow-scripts", "allow-forms"); p["sandbox"] != nil && len(lacking) > 0 {
			r.broken(frameSandbox, "the app's page is in a sandbox without %s", list(lacking))
		}
		sources, ok := p["frame-ancestors"]
		if !ok {
			continue
		}
		named = true
		for _, origin := range a.Platforms {
			if !slices.ContainsFunc(sources, func(s string) bool { return allows(s, origin) }) {
				blocked = origin
			}
		}
	}
	option := strings.ToLower(strings.Join(h.Values("X-Frame-Options"), ","))
	// Browsers pass over values that they do not know, such as ALLOW-FROM, and over
	// all of it where there are frame-ancestors (CSP 3 §6.4.2).
	denies := !named && (strings.Contains(option, "deny") || strings.Contains(option, "sameorigin"))
	switch {
	case a.Frame && (denies || blocked != ""):
		r.ok(CheckFrame, "the app forbids frames, and frame on lets the platform show it")
	case a.Frame:
		r.ok(CheckFrame, "the platform may show the app in a frame, and nobody else")
	case denies:
		r.broken(frameOptions, "the app's X-Frame-Options keep the platform from showing it in a frame")
	case blocked != "":
		r.broken(frameAncestors, "the app's frame-ancestors do not name %s", blocked)
	case !named:
		r.broken(frameAnybody, "any page of the world may show the app in a frame")
	default:
		r.ok(CheckFrame, "the app itself lets the platform show it in a frame")
	}
}

// policy is a content security policy: the directives' values by name.
type policy map[string][]string

func parsePolicy(s string) policy {
	p := make(policy)
	for d := range strings.SplitSeq(s, ";") {
		words := strings.Fields(d)
		if len(words) == 0 {
			continue
		}
		name := strings.ToLower(words[0])
		if _, twice := p[name]; !twice { // the first counts
			p[name] = words[1:]
		}
	}
	return p
}

// lacks returns which of wanted are not among words.
func lacks(words []string, wanted ...string) []string {
	return slices.DeleteFunc(wanted, func(w string) bool {
		return slices.ContainsFunc(words, func(have string) bool { return strings.EqualFold(have, w) })
	})
}

// allows reports whether a source of frame-ancestors matches an origin (CSP 3
// §6.7.2.8), but for what only unusual ones would need: a path.
func allows(source, origin string) bool {
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	source = strings.ToLower(source)
	switch scheme, host, ok := strings.Cut(source, "://"); {
	case source == "*":
		return true
	case source == u.Scheme+":":
		return true
	case ok && scheme != u.Scheme && (scheme != "http" || u.Scheme != "https"):
		return false
	case ok:
		source = host
	}
	source = strings.TrimSuffix(source, "/")
	host, port, ok := strings.Cut(source, ":")
	switch {
	case ok && port != "*" && port != portOf(u), !ok && u.Port() != "":
		return false
	}
	if suffix, ok := strings.CutPrefix(host, "*"); ok {
		return suffix != "" && strings.HasSuffix(u.Hostname(), suffix)
	}
	return host == u.Hostname()
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "http":
		return "80"
	}
	return "443"
}

// isolation looks for what a page cannot have in another site's frame.
func (r *report) isolation(h http.Header) {
	opener, embedder := token(h, "Cross-Origin-Opener-Policy"), token(h, "Cross-Origin-Embedder-Policy")
	if opener == "same-origin" && (embedder == "require-corp" || embedder == "credentialless") {
		r.broken(isolationLost, "the app wants its pages isolated (Cross-Origin-Opener-Policy and -Embedder-Policy), which they cannot be in a frame")
	}
	var wanted []string
	for _, line := range h.Values("Permissions-Policy") {
		for d := range strings.SplitSeq(line, ",") {
			name, who, _ := strings.Cut(strings.TrimSpace(d), "=")
			if who = strings.TrimSpace(who); delegated[name] && who != "" && who != "()" {
				wanted = append(wanted, name)
			}
		}
	}
	if len(wanted) > 0 {
		r.broken(isolationPermission, "the app uses %s, which a page in a frame has only if the platform's page allows it", list(wanted))
	}
}

// token is a header's value without its parameters.
func token(h http.Header, name string) string {
	val, _, _ := strings.Cut(h.Get(name), ";")
	return strings.TrimSpace(val)
}

// delegated are what a page in another site's frame gets only through the frame's
// allow attribute (Permissions Policy §9.1), and apps for learning use.
var delegated = map[string]bool{
	"autoplay": true, "camera": true, "clipboard-read": true, "clipboard-write": true, "display-capture": true,
	"encrypted-media": true, "fullscreen": true, "geolocation": true, "microphone": true, "midi": true,
}

// redirect judges where an answer leads.
func (r *report) redirect(h http.Header, a App) {
	to, err := url.Parse(h.Get("Location"))
	if err != nil || to.Host == "" {
		return
	}
	site, err := url.Parse(a.Site)
	if err != nil || originString(to) == originString(site) {
		return
	}
	sameHost := strings.EqualFold(to.Hostname(), site.Hostname())
	upstream := &url.URL{Host: a.Upstream}
	mended := a.Frame && (sameHost || strings.EqualFold(to.Hostname(), upstream.Hostname()))
	switch {
	case mended:
		r.ok(CheckRedirects, "the app redirects to %s, which is turned into the site's own address", originString(to))
	case sameHost:
		r.broken(redirectInsecure, "the app redirects to %s instead of %s", originString(to), originString(site))
	case internal(to.Hostname()):
		r.broken(redirectInternal, "the app redirects to %s, which no browser out there can reach", originString(to))
	case to.Scheme == "http" && site.Scheme == "https":
		r.broken(redirectMixed, "the app redirects to %s, which is shown in no frame of a page with TLS", originString(to))
	default:
		r.broken(redirectElsewhere, "the app redirects to another site, %s", originString(to))
	}
}

// originString is where a URL with a host leads, whatever its scheme.
func originString(u *url.URL) string {
	scheme := u.Scheme
	if scheme == "" {
		scheme = "https"
	}
	o := scheme + "://" + strings.ToLower(u.Host)
	if canonical, err := httpx.Origin(o); err == nil {
		return canonical
	}
	return o
}

// internal reports whether a host can only be one of a network of its own.
func internal(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return httpx.Private(addr) != ""
	}
	return httpx.IsLocalHost(host) || !strings.Contains(host, ".")
}
