package caddylti

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/lti"
)

// origin is how the handler knows its public address: it was told, or it is in
// a site whose address names the host.
type origin struct {
	fixed string // scheme://host[:port], or empty
	hosts map[string]bool
	ports map[string]bool
}

func (h *Handler) provisionOrigin() error {
	h.route = -1
	if h.server != nil {
		h.where.hosts, h.route = siteHosts(h.server)
		h.where.ports = listenPorts(h.server)
	}
	if h.URL == "" {
		if len(h.where.hosts) == 0 {
			return fmt.Errorf("the public address of this site is not known, as its site address names no single host: write url https://HOST in the lti block")
		}
		return nil
	}
	raw, err := caddy.NewReplacer().ReplaceOrErr(h.URL, true, true)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	h.where.fixed, err = publicOrigin(raw)
	return err
}

// publicOrigin reads the option url.
func publicOrigin(raw string) (string, error) {
	u, err := httpx.CheckURL(raw)
	if err != nil {
		return "", fmt.Errorf("url: %w", err)
	}
	if (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.ForceQuery {
		return "", fmt.Errorf("url %q: expected scheme and host only; paths belong into base and home", raw)
	}
	if frameOrigin(raw) == "" {
		return "", fmt.Errorf("url %q: expected one host, in ASCII", raw)
	}
	return originOf(u), nil
}

// siteHosts returns the hosts that the route which is being provisioned names
// exactly, and the index of that route. Hosts are only looked for at the top
// level, where a Caddyfile's site addresses are.
func siteHosts(srv *caddyhttp.Server) (map[string]bool, int) {
	for i, route := range srv.Routes {
		if route.HandlersRaw == nil {
			continue // provisioned before
		}
		hosts := make(map[string]bool)
		for _, set := range route.MatcherSets {
			for _, m := range set {
				mh, ok := m.(*caddyhttp.MatchHost)
				if !ok {
					continue
				}
				for _, host := range *mh {
					if !strings.ContainsAny(host, "*{") {
						hosts[strings.ToLower(host)] = true
					}
				}
			}
		}
		return hosts, i
	}
	return nil, -1
}

// outside returns the paths of the block in which this handler stands, where none of
// them leads to its routes. Only the outermost paths count: what is further inside may
// compare what handle_path left of a path.
func (h *Handler) outside(ctx caddy.Context) []string {
	var lists []caddyhttp.RouteList
	if h.server != nil {
		lists = append(lists, h.server.Routes)
	}
	for _, m := range ctx.Modules() {
		if sub, ok := m.(*caddyhttp.Subroute); ok {
			lists = append(lists, sub.Routes)
		}
	}
	r := &http.Request{URL: &url.URL{Path: h.Base + "/login"}}
	r = r.WithContext(context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer()))
lists:
	for _, routes := range lists {
		i := slices.IndexFunc(routes, func(r caddyhttp.Route) bool { return r.HandlersRaw != nil })
		if i < 0 {
			continue // an error route
		}
		var paths []string
		for _, set := range routes[i].MatcherSets {
			at := slices.IndexFunc(set, func(m any) bool { _, ok := m.(*caddyhttp.MatchPath); return ok })
			if at < 0 {
				continue lists
			}
			match := set[at].(*caddyhttp.MatchPath)
			if ok, err := match.MatchWithError(r); ok || err != nil {
				return nil
			}
			paths = append(paths, *match...)
		}
		if paths != nil {
			return paths
		}
	}
	return nil
}

func listenPorts(srv *caddyhttp.Server) map[string]bool {
	ports := make(map[string]bool)
	for _, addr := range srv.Listen {
		na, err := caddy.ParseNetworkAddress(addr)
		if err != nil {
			continue
		}
		for i := range na.PortRangeSize() {
			_, port, _ := net.SplitHostPort(na.JoinHostPort(i))
			ports[port] = true
		}
	}
	return ports
}

// public returns the site's public origin for a request. A Host header is only
// believed where the site's address names that host, with no port or one that
// this server listens on.
func (h *Handler) public(r *http.Request) (string, error) {
	if h.where.fixed != "" {
		return h.where.fixed, nil
	}
	host, port := splitHost(r.Host)
	if !h.where.hosts[host] || (port != "" && port != "443" && port != "80" && !h.where.ports[port]) {
		return "", lti.Refuse(lti.CodePublicURLUnknown, "the request is for host %s, which this site's address does not name; write url https://HOST in the lti block", lti.Quote(r.Host))
	}
	scheme := "http"
	if r.TLS != nil || forwardedProto(r) == "https" {
		scheme = "https"
	}
	if scheme == "http" && !httpx.IsLocalHost(host) {
		return "", lti.Refuse(lti.CodePublicURLUnknown, "the request for %s came over http; LTI needs https. Behind a load balancer that speaks https, list it in trusted_proxies or write url https://HOST in the lti block", lti.Quote(r.Host))
	}
	return originAt(scheme, host, port), nil
}

// originAt is the origin of a host, which has no brackets, and a port, which may be
// empty.
func originAt(scheme, host, port string) string {
	u := url.URL{Scheme: scheme, Host: host}
	if strings.Contains(host, ":") {
		u.Host = "[" + host + "]"
	}
	if port != "" {
		u.Host = net.JoinHostPort(host, port)
	}
	return originOf(&u)
}

// splitHost returns the host of a Host header, in lower case and without
// brackets, and the port, which may be empty.
func splitHost(hostport string) (host, port string) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		host, port = strings.Trim(hostport, "[]"), ""
	}
	return strings.ToLower(host), port
}

// forwardedProto returns the scheme that a trusted proxy saw.
func forwardedProto(r *http.Request) string {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); !trusted {
		return ""
	}
	proto, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	return strings.ToLower(strings.TrimSpace(proto))
}

// originOf returns scheme, host and port of a URL, in lower case and without
// the scheme's own port.
func originOf(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return scheme + "://" + strings.TrimSuffix(host, ":")
}
