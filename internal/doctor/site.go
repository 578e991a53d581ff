package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-lti/lti/internal/fault"
	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/jose"
	"github.com/caddy-lti/lti/lti"
)

// Outside is a site as it is looked at from outside. The zero values of all but URL
// are good.
type Outside struct {
	URL  string // the public address: scheme, host and perhaps a port
	Base string // of the routes; empty means /lti
	// KeyIDs are those of the keys that the server has, as it says itself. Without
	// one they are not compared.
	KeyIDs []string
	// HTTPPort is where the server answers plain HTTP; 0 means 80, where the address
	// has no port of its own, and otherwise none.
	HTTPPort int
	// Timeout is for each request; 0 means ten seconds.
	Timeout time.Duration
	// RootCAs are the authorities to trust; nil means the system's.
	RootCAs *x509.CertPool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

var (
	publicInvalid = define(rule{
		CheckPublicURL, "invalid", Failure, fault.ToolAdmin,
		"write url https://HOST in the lti block", "",
	})
	publicPrivate = define(rule{
		CheckPublicURL, "private", Note, fault.ToolAdmin,
		"if platforms or people out there are to reach the site, enter a public address in the DNS", "",
	})

	keysStatus = define(rule{
		CheckPublicKeys, "status", Failure, fault.ToolAdmin,
		"see what answers at this address instead of Caddy with this configuration, or lets the route not pass", "",
	})
	keysUnreadable = define(rule{
		CheckPublicKeys, "unreadable", Failure, fault.ToolAdmin,
		"see what answers at this address instead of Caddy with this configuration", "",
	})
	keysDiffer = define(rule{
		CheckPublicKeys, "differ", Failure, fault.ToolAdmin,
		"let the address lead to this server, or give all nodes the same storage", "",
	})
	keysStale = define(rule{
		CheckPublicKeys, "stale", Warning, fault.ToolAdmin,
		"let no cache in front of the site keep the keys longer than their Cache-Control says", "",
	})

	routesLogin = define(rule{
		CheckRoutes, "login", Failure, fault.ToolAdmin,
		"let everything below the base pass to Caddy unchanged: see the web server, firewall or cache in front of it", "",
	})
	routesLaunch = define(rule{
		CheckRoutes, "launch", Failure, fault.ToolAdmin,
		"let posts of other sites pass to Caddy unchanged: see the web server, firewall or cache in front of it", "",
	})

	plainClosed = define(rule{
		CheckPlainHTTP, "closed", Note, fault.ToolAdmin,
		"open port 80, so that who types the address without https is led to it, and certificates can be renewed over HTTP", "",
	})
	plainOpen = define(rule{
		CheckPlainHTTP, "not_redirected", Warning, fault.ToolAdmin,
		"redirect to https, as Caddy does by itself unless auto_https is off", "",
	})
	plainElsewhere = define(rule{
		CheckPlainHTTP, "elsewhere", Warning, fault.ToolAdmin,
		"redirect to the same host with https", "",
	})
)

// outside is the check of one site.
type outside struct {
	*report
	Outside
	url       *url.URL
	transport *http.Transport
}

// Site looks at a site as platforms and browsers see it. Unlike the server, it goes
// to private addresses, too: run it where whoever asks can run anything.
func Site(ctx context.Context, s Outside) []Finding {
	o := &outside{report: &report{subject: s.URL, own: true}, Outside: s}
	o.Now = clock(o.Now)
	if o.Base == "" {
		o.Base = "/lti"
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	u, err := httpx.CheckURL(s.URL)
	switch {
	case err != nil:
		o.broken(publicInvalid, "the site's address cannot be used: %v", err)
		return o.found
	case u.Path != "" && u.Path != "/" || u.RawQuery != "":
		o.broken(publicInvalid, "the site's address has more than scheme and host")
		return o.found
	}
	o.url = u
	o.transport = &http.Transport{ // no proxy of the environment: it would see another address
		DialContext:       dialLocal,
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.RootCAs},
		ForceAttemptHTTP2: true,
	}
	defer o.transport.CloseIdleConnections()
	o.address(ctx)
	if o.keys(ctx) {
		o.routes(ctx)
		o.plain(ctx)
	}
	return o.found
}

// dialLocal dials names at or below localhost as loopback (RFC 6761 §6.3).
func dialLocal(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil && httpx.IsLocalHost(host) && net.ParseIP(host) == nil {
		address = net.JoinHostPort("localhost", port)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// address looks where the name leads. That it leads nowhere shows later.
func (o *outside) address(ctx context.Context) {
	host := o.url.Hostname()
	if httpx.IsLocalHost(host) {
		o.ok(CheckPublicURL, "%s is this machine", host)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return
	}
	kinds := make([]string, len(addrs))
	for i, addr := range addrs {
		kinds[i] = httpx.Private(addr)
	}
	if i := slices.Index(kinds, ""); i >= 0 {
		o.ok(CheckPublicURL, "%s is %s", host, addrs[i].Unmap())
		return
	}
	o.broken(publicPrivate, "%s is %s (%s): only who is in the same network can reach it", host, addrs[0].Unmap(), kinds[0])
}

// answer is one answer of the site.
type answer struct {
	*http.Response
	body []byte
	sample
}

// ask sends one request and follows no redirect.
func (o *outside) ask(ctx context.Context, method, url string) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "caddy-lti-doctor")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	sent := o.Now()
	resp, err := o.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	got := o.Now()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	return &answer{resp, body, sample{sent, got, resp.Header}}, nil
}

// at is the URL of a route.
func (o *outside) at(route string) string { return o.url.Scheme + "://" + o.url.Host + o.Base + route }

// keys looks for the tool's keys at the site's address, and at the certificate and
// the clock on the way. It reports whether anything answers there.
func (o *outside) keys(ctx context.Context) bool {
	at := o.at("/jwks.json")
	a, err := o.ask(ctx, http.MethodGet, at)
	if err != nil {
		o.reach(at, err)
		return false
	}
	o.ok(CheckConnection, "%s can be reached", o.url.Host)
	if a.TLS != nil {
		o.timeLeft(a.TLS)
	}
	o.clock([]sample{a.sample}, 0)
	if a.StatusCode != http.StatusOK {
		o.broken(keysStatus, "%s answers %d, expected 200 and the tool's keys", at, a.StatusCode)
		return true
	}
	set, err := jose.ParseKeySet(a.body)
	if err != nil {
		o.broken(keysUnreadable, "%s does not have the tool's keys: %v", at, err)
		return true
	}
	var there, lacking []string
	for _, id := range o.KeyIDs {
		if len(set.Find(id)) > 0 {
			there = append(there, id)
		} else {
			lacking = append(lacking, id)
		}
	}
	switch {
	case len(o.KeyIDs) > 0 && len(there) == 0:
		o.broken(keysDiffer, "another server answers at this address: it has other keys")
	case len(lacking) > 0:
		o.broken(keysStale, "%s lacks %d of the server's %d keys", at, len(lacking), len(o.KeyIDs))
	default:
		o.ok(CheckPublicKeys, "the tool's keys are there: %d", set.Len())
	}
	return true
}

// timeLeft judges how long the certificate, with those above it, is still valid.
func (o *outside) timeLeft(state *tls.ConnectionState) {
	leaf := state.PeerCertificates[0]
	var end time.Time
	for _, chain := range state.VerifiedChains {
		first := leaf.NotAfter
		for _, c := range chain {
			if c.NotAfter.Before(first) {
				first = c.NotAfter
			}
		}
		if first.After(end) { // browsers find the chain that lasts
			end = first
		}
	}
	// Some live for days only; they are renewed in good time, too.
	soon := min(14*24*time.Hour, leaf.NotAfter.Sub(leaf.NotBefore)/4)
	if left := end.Sub(o.Now()); left < soon {
		o.broken(certificateSoon, "the certificate expires on %s, and should have been renewed by now", day(end))
		return
	}
	o.ok(CheckCertificate, "valid until %s", day(end))
}

// routes calls login and launch as no platform does. That both refuse in their own
// words shows that requests come through.
func (o *outside) routes(ctx context.Context) {
	for _, route := range []struct {
		rule         *rule
		method, path string
		code         lti.Code // that it answers; empty means any
	}{
		{routesLogin, http.MethodGet, "/login", lti.CodeIssuerMissing},
		{routesLaunch, http.MethodPost, "/launch", ""},
	} {
		a, err := o.ask(ctx, route.method, o.at(route.path))
		if err != nil {
			o.broken(route.rule, "%s%s does not answer: %v", o.Base, route.path, err)
			continue
		}
		var problem struct {
			Code lti.Code `json:"code"`
		}
		_ = json.Unmarshal(a.body, &problem) // what is none has no code
		if a.StatusCode < 400 || problem.Code == "" || (route.code != "" && problem.Code != route.code) {
			o.broken(route.rule, "%s%s answers %s, which is not from this tool", o.Base, route.path, described(a))
			continue
		}
		o.ok(CheckRoutes, "%s%s answers", o.Base, route.path)
	}
}

// described is an answer in a few words.
func described(a *answer) string {
	to := a.Header.Get("Location")
	if u, err := a.Request.URL.Parse(to); to != "" && err == nil {
		return fmt.Sprintf("%d and leads to %s", a.StatusCode, bare(u))
	}
	return strconv.Itoa(a.StatusCode)
}

// plain looks what answers without TLS.
func (o *outside) plain(ctx context.Context) {
	port := o.HTTPPort
	if port == 0 && o.url.Port() == "" {
		port = 80
	}
	if o.url.Scheme != "https" || port == 0 {
		return
	}
	host := net.JoinHostPort(o.url.Hostname(), strconv.Itoa(port))
	a, err := o.ask(ctx, http.MethodGet, "http://"+host+"/")
	if err != nil {
		o.broken(plainClosed, "nothing answers at http://%s", host)
		return
	}
	to, err := a.Request.URL.Parse(a.Header.Get("Location"))
	switch {
	case a.Header.Get("Location") == "" || a.StatusCode < 300 || a.StatusCode > 399:
		o.broken(plainOpen, "http://%s answers %d instead of leading to https", host, a.StatusCode)
	case err != nil || to.Scheme != "https" || !strings.EqualFold(to.Hostname(), o.url.Hostname()):
		o.broken(plainElsewhere, "http://%s answers %s", host, described(a))
	default:
		o.ok(CheckPlainHTTP, "http leads to https")
	}
}
