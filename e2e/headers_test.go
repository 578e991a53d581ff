package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// app stands behind a site and answers with what reached it. The query of a
// request says how: status=N, and set=NAME:VALUE for headers of the answer.
type app struct {
	*httptest.Server
	requests atomic.Int64
}

// received is a request as it reached the app.
type received struct {
	Method, URI, Host string
	Header, Trailer   http.Header
	Body              string
}

func newApp(tb testing.TB) *app {
	tb.Helper()
	a := new(app)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.requests.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			tb.Errorf("app: reading the request: %v", err)
		}
		query := r.URL.Query()
		for _, line := range query["set"] {
			name, value, _ := strings.Cut(line, ":")
			w.Header().Add(name, value)
		}
		w.Header().Set("X-App-Answered", "yes")
		if status, err := strconv.Atoi(query.Get("status")); err == nil {
			w.WriteHeader(status)
			if status == http.StatusNoContent || status == http.StatusNotModified {
				return
			}
		}
		_ = json.NewEncoder(w).Encode(received{r.Method, r.RequestURI, r.Host, r.Header, r.Trailer, string(body)})
	}))
	tb.Cleanup(a.Close)
	return a
}

// proxy is the directive that leads to the app.
func (a *app) proxy() string { return "reverse_proxy " + a.Listener.Addr().String() }

// reached reports whether the app made this answer.
func (a *answer) reached() bool { return a.Header.Get("X-App-Answered") == "yes" }

// app returns the request that the answer says the app received.
func (a *answer) app(tb testing.TB) received {
	tb.Helper()
	var got received
	if !a.reached() {
		tb.Fatalf("the request did not reach the app: %d %s", a.StatusCode, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		tb.Fatalf("answer of the app: %v\n%s", err, a.body)
	}
	return got
}

// ltiSite is the site block of a host with these options of lti.
func ltiSite(host string, p *ltitest.Platform, options, behind string) string {
	return fmt.Sprintf("http://%s:$PORT {\n\tlti {\n\t\t%s\n%s\n\t}\n\t%s\n}\n", host, platformBlock(p), options, behind)
}

// at is the tool of another site of the same server.
func (t *tool) at(host, base string) *tool {
	return &tool{caddy: t.caddy, host: host, base: base, platform: t.platform}
}

// startSites runs several sites, each with the global options of lti.
func startSites(tb testing.TB, p *ltitest.Platform, options, sites string) *tool {
	tb.Helper()
	c := startCaddy(tb, global(ltiGlobal+"\n"+options)+sites)
	return &tool{caddy: c, host: "tool.localhost", base: "/lti", platform: p}
}

// raw sends a request byte for byte and reads one answer. Lines end with \n
// here and with \r\n on the wire, up to the empty line.
func (c *caddy) raw(tb testing.TB, request string) *answer {
	tb.Helper()
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", c.port), 10*time.Second)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		tb.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		tb.Fatalf("%q: %v", request, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatalf("%q: reading the answer: %v", request, err)
	}
	_ = res.Body.Close()
	return &answer{res, string(body)}
}

// rawGet sends a GET with these header lines, to the letter. The last of them
// may be the browser's session.
func (t *tool) rawGet(tb testing.TB, target string, lines ...string) *answer {
	tb.Helper()
	return t.raw(tb, t.head("GET", target, lines...)+"\n")
}

// head is the head of a request without its final empty line.
func (t *tool) head(method, target string, lines ...string) string {
	return method + " " + target + " HTTP/1.1\n" + fmt.Sprintf("Host: %s:%d\n", t.host, t.port) + strings.Join(append(lines, ""), "\n")
}

// sessionLine is the Cookie header of a browser's session.
func (t *tool) sessionLine(tb testing.TB, b *browser) string {
	tb.Helper()
	name := sessionCookie
	if t.base != "/lti" {
		b.mu.Lock()
		for n := range b.jar[t.host] {
			if n != sessionCookie && strings.HasPrefix(n, sessionCookie+"-") && !strings.HasPrefix(n, sessionCookie+"-s-") {
				name = n
			}
		}
		b.mu.Unlock()
	}
	id := b.cookie(t.host, name)
	if id == "" {
		tb.Fatalf("no session of %s", t.host)
	}
	return "Cookie: " + name + "=" + id
}

const sessionCookie = "__Host-lti"

// fold is a header's name as CGI and its like see it.
func fold(name string) string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
}

// identity returns the headers that could pass for the plugin's, under whatever
// spelling, each with all its values.
func identity(h http.Header) map[string]string {
	got := make(map[string]string)
	for name, vals := range h {
		if f := fold(name); strings.HasPrefix(f, "x-lti") || strings.HasPrefix(f, "remote") {
			got[name] = strings.Join(vals, " | ")
		}
	}
	return got
}

// sameMap compares what should be with what is.
func sameMap(tb testing.TB, what string, got, want map[string]string) {
	tb.Helper()
	for name, value := range want {
		if g, ok := got[name]; !ok {
			tb.Errorf("%s: no %s, expected %q", what, name, value)
		} else if g != value {
			tb.Errorf("%s: %s is %q, expected %q", what, name, g, value)
		}
	}
	for name, value := range got {
		if _, ok := want[name]; !ok {
			tb.Errorf("%s: %s is there: %q", what, name, value)
		}
	}
}

// forgeries are spellings under which an app might read a header of ours.
var forgeries = []string{
	"X-LTI-User-Id", "x-lti-user-id", "X-lti-USER-ID", "X_LTI_USER_ID", "X_LTI-User-Id", "X.LTI.User.Id", "X-LTI_User.Id",
	"X-LTI-Token", "X-LTI-Assertion", "X-LTI-Dropped", "X-LTI-Roles", "x_lti_roles", "X-LTI-Custom-Grade", "X-LTI-Of-A-Later-Version",
	"Remote-User", "remote-user", "REMOTE_USER", "Remote.User", "Remote_User", "Remote-Groups", "remote_groups", "Remote.Groups",
	"Remote-Name", "Remote-Email", "Remote_Email", "Remote-Of-A-Later-Version",
	"X-Course", "x-course", "X_COURSE", "X.Course",
}

// expectedAliases has the server let through the spellings that Caddy drops by
// itself, so that they reach the plugin.
const expectedAliases = `
	servers {
		expected_underscore_headers app_* x_lti_* x_lti-* remote_* x_course x-lti_user.id
		expected_dot_headers app.* x.lti.* remote.* x.course
	}`

// stripSites are one site for each way in which a request passes the gate.
func stripSites(p *ltitest.Platform, a *app) string {
	const course = "\t\theader X-Course {http.lti.context.label}\n"
	return "http://bare.localhost:$PORT {\n\t" + a.proxy() + "\n}\n" +
		ltiSite("gated.localhost", p, course+"\t\tpublic /public/*", a.proxy()) +
		ltiSite("pass.localhost", p, course+"\t\tunauthenticated pass", a.proxy()) +
		ltiSite("protect.localhost", p, course+"\t\tprotect /app/*", a.proxy()) +
		ltiSite("off.localhost", p, course+"\t\theaders off", a.proxy())
}

// stripCases are the ways through stripSites.
var stripCases = []struct {
	name, host, path string
	session          bool
}{
	{"protected", "gated.localhost", "/page", true},
	{"public with a session", "gated.localhost", "/public/x", true},
	{"public without a session", "gated.localhost", "/public/x", false},
	{"unauthenticated pass", "pass.localhost", "/page", false},
	{"unauthenticated pass with a session", "pass.localhost", "/page", true},
	{"not among protect", "protect.localhost", "/page", false},
	{"not among protect with a session", "protect.localhost", "/page", true},
	{"protect", "protect.localhost", "/app/page", true},
	{"headers off", "off.localhost", "/page", true},
}

// learner is what the sites of stripSites say of a launch as ltitest makes it,
// but for the launch's id.
func learner(p *ltitest.Platform) map[string]string {
	return map[string]string{
		"Remote-User": "user-1@lms", "Remote-Groups": "Learner", "Remote-Name": "Ann Example", "Remote-Email": "ann@school.example",
		"X-Lti-User-Id": "user-1", "X-Lti-Platform": "lms", "X-Lti-Roles": "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner",
		"X-Lti-Context-Id": "course-1", "X-Lti-Resource-Link-Id": "link-1", "X-Lti-Message-Type": "LtiResourceLinkRequest",
		"X-Lti-Issuer": p.Issuer, "X-Lti-Client-Id": "client-1", "X-Lti-Deployment-Id": "dep-1",
		"X-Lti-Context-Label": "BIO1", "X-Lti-Context-Title": "Biology", "X-Lti-Resource-Link-Title": "Quiz 1",
	}
}

var launchID = regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`)

// withoutLaunchID takes X-LTI-Launch-Id, which nobody can foretell, from the
// headers of a session.
func withoutLaunchID(tb testing.TB, what string, got map[string]string) map[string]string {
	tb.Helper()
	if id := got["X-Lti-Launch-Id"]; !launchID.MatchString(id) {
		tb.Errorf("%s: X-LTI-Launch-Id is %q", what, id)
	}
	delete(got, "X-Lti-Launch-Id")
	return got
}

func TestForgedHeaders(t *testing.T) {
	// Where Caddy lets an alias through, it drops the name with hyphens itself;
	// so there are two servers, for the one and for the other.
	for _, c := range []struct{ name, options string }{{"as Caddy is", ""}, {"with expected aliases", expectedAliases}} {
		t.Run(c.name, func(t *testing.T) { testForgedHeaders(t, c.options) })
	}
}

func testForgedHeaders(t *testing.T, options string) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	tool := startSites(t, p, options, stripSites(p, a))
	b := newBrowser(t)
	for _, host := range []string{"gated.localhost", "pass.localhost", "protect.localhost", "off.localhost"} {
		tool.at(host, "/lti").mustLaunch(b, nil)
	}
	aliases := options != ""

	// Without lti they get through: the test can fail.
	for _, name := range forgeries {
		got := tool.at("bare.localhost", "/lti").rawGet(t, "/page", name+": forged").app(t)
		reached := false
		for _, vals := range got.Header {
			reached = reached || slices.Contains(vals, "forged")
		}
		if alias := strings.ContainsAny(name, "_."); alias == aliases && !reached {
			t.Errorf("%s does not even get through without lti", name)
		}
	}

	for _, c := range stripCases {
		t.Run(c.name, func(t *testing.T) {
			site := tool.at(c.host, "/lti")
			lines := []string{"App-Own: kept", "App_Own: kept", "App.Own: kept", "X-Forwarded-User: kept", "X-Ltix: kept", "Remotely: kept"}
			if c.session {
				lines = append(lines, site.sessionLine(t, b))
			}
			check := func(what string, forged ...string) {
				t.Helper()
				got := site.rawGet(t, c.path, append(slices.Clone(lines), forged...)...).app(t)
				for name, vals := range got.Header {
					if strings.Contains(strings.Join(vals, " "), "forged") {
						t.Errorf("%s reached the app as %s: %q", what, name, vals)
					}
				}
				ids := identity(got.Header)
				for name := range ids {
					if name != http.CanonicalHeaderKey(name) || strings.ContainsAny(name, "_.") {
						t.Errorf("%s: the app got %s", what, name)
					}
				}
				delete(ids, "X-Ltix")
				delete(ids, "Remotely")
				want := map[string]string{}
				if c.session && c.host != "off.localhost" {
					ids, want = withoutLaunchID(t, what, ids), learner(p)
				}
				sameMap(t, what, ids, want)
				course := "BIO1"
				if !c.session {
					course = ""
				}
				if got.Header.Get("X-Course") != course || len(got.Header.Values("X-Course")) > 1 {
					t.Errorf("%s: X-Course is %q, expected %q", what, got.Header.Values("X-Course"), course)
				}
				for _, name := range []string{"X-Forwarded-User", "X-Ltix", "Remotely"} {
					if got.Header.Get(name) != "kept" {
						t.Errorf("%s: the client's own header %s is gone", what, name)
					}
				}
				for _, name := range []string{"App_own", "App.own"} {
					if len(got.Header[name]) != 1 && aliases {
						t.Errorf("%s: the expected header %s is gone", what, name)
					}
				}
			}
			var all []string
			for _, name := range forgeries {
				check(name, name+": forged")
				check(name+" twice", name+": forged", name+": forged too")
				all = append(all, name+": forged")
			}
			check("all at once", all...)
			check("with odd values", "X-LTI-User-Id:", "Remote-User:  ", "X-LTI-User-Id: forged, forged")
		})
	}
}

func TestForgedTrailers(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	tool := startSites(t, p, "", stripSites(p, a))
	b := newBrowser(t)
	send := func(t *testing.T, host, path string, lines ...string) received {
		t.Helper()
		site := tool.at(host, "/lti")
		lines = append(lines, "Transfer-Encoding: chunked")
		return site.raw(t, site.head("POST", path, lines...)+"\n5\nhello\n0\nX-LTI-User-Id: forged\nRemote-User: forged\nX_LTI_ROLES: forged\nX-Course: forged\n\n").app(t)
	}
	const declared = "Trailer: X-LTI-User-Id, Remote-User, X_LTI_ROLES, X-Course"
	if got := send(t, "bare.localhost", "/page", declared); len(got.Trailer) == 0 {
		t.Errorf("without lti no trailer gets through either: %+v", got)
	}
	for _, c := range stripCases {
		t.Run(c.name, func(t *testing.T) {
			site := tool.at(c.host, "/lti")
			var session []string
			if c.session {
				site.mustLaunch(b, nil)
				session = []string{site.sessionLine(t, b)}
			}
			for what, lines := range map[string][]string{
				"declared":     append([]string{declared}, session...),
				"undeclared":   session,
				"declared odd": append([]string{"Trailer: x-lti-user-id", "Trailer: remote-user,X_LTI_ROLES"}, session...),
			} {
				got := send(t, c.host, c.path, lines...)
				if got.Body != "hello" {
					t.Errorf("%s: body %q", what, got.Body)
				}
				for name, vals := range got.Trailer {
					t.Errorf("%s: trailer %s: %q reached the app", what, name, vals)
				}
				if strings.Contains(fmt.Sprint(got.Header), "forged") {
					t.Errorf("%s: a trailer became a header: %v", what, got.Header)
				}
			}
		})
	}
}

func TestForgedOverHTTP2(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	tool := startSites(t, p, "\tservers {\n\t\tprotocols h1 h2c\n\t}", stripSites(p, a))
	b := newBrowser(t)
	h2 := new(http.Protocols)
	h2.SetUnencryptedHTTP2(true)
	b.client.Transport.(*http.Transport).Protocols = h2
	for _, c := range stripCases {
		site := tool.at(c.host, "/lti")
		if c.session {
			site.mustLaunch(b, nil)
		} else {
			b.setCookie(c.host, sessionCookie, "")
		}
		req := b.request("POST", site.url(c.path), strings.NewReader("hello"))
		req.ContentLength = -1
		req.Trailer = http.Header{"X-Lti-User-Id": {"forged"}, "Remote-User": {"forged"}}
		for _, name := range forgeries {
			req.Header[name] = []string{"forged", "forged"}
		}
		res := b.do(req)
		got := res.app(t)
		if res.ProtoMajor != 2 || got.Body != "hello" {
			t.Errorf("%s: %s, body %q", c.name, res.Proto, got.Body)
		}
		if len(got.Trailer) > 0 || strings.Contains(fmt.Sprint(got.Header), "forged") {
			t.Errorf("%s: the app got %v, trailers %v", c.name, got.Header, got.Trailer)
		}
		if c.session && c.host != "off.localhost" {
			sameMap(t, c.name, withoutLaunchID(t, c.name, identity(got.Header)), learner(p))
		}
	}
}

// A client that calls our headers hop-by-hop must not have the proxy behind us
// remove them.
func TestConnectionNamesOurHeaders(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	tool := startSites(t, p, "", stripSites(p, a))
	site := tool.at("gated.localhost", "/lti")
	b := newBrowser(t)
	site.mustLaunch(b, nil)
	all := "Remote-User, Remote-Groups, Remote-Name, Remote-Email, X-LTI-User-Id, x-lti-roles, X-LTI-Context-Id, X-Course, Cookie, Host"
	for _, lines := range [][]string{
		{"Connection: " + all},
		{"Connection: close, " + all},
		{"Connection: keep-alive", "Connection: " + all},
		{"CONNECTION: " + strings.ToUpper(all)},
		{"Connection: Upgrade, " + all, "Upgrade: websocket"},
		{"Connection: TE,," + strings.ReplaceAll(all, ", ", " \t,"), "TE: trailers"},
		{"Proxy-Connection: " + all},
		{"Keep-Alive: " + all},
		{"Te: " + all},
	} {
		for _, path := range []string{"/page", "/public/x"} {
			what := fmt.Sprint(path, lines)
			got := site.rawGet(t, path, append(slices.Clone(lines), site.sessionLine(t, b)+"; own=1")...).app(t)
			sameMap(t, what, withoutLaunchID(t, what, identity(got.Header)), learner(p))
			if got.Header.Get("X-Course") != "BIO1" {
				t.Errorf("%s: X-Course is %q", what, got.Header.Get("X-Course"))
			}
			if got.Header.Get("Cookie") != "own=1" {
				t.Errorf("%s: Cookie is %q", what, got.Header.Get("Cookie"))
			}
		}
	}
}

func TestCookiesOfOursStayHere(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	tool := startSites(t, p, "", stripSites(p, a))
	b := newBrowser(t)
	for _, c := range stripCases {
		t.Run(c.name, func(t *testing.T) {
			site := tool.at(c.host, "/lti")
			session := sessionCookie + "=nobody"
			if c.session {
				site.mustLaunch(b, nil)
				session = strings.TrimPrefix(site.sessionLine(t, b), "Cookie: ")
			}
			for _, row := range []struct{ sent, want []string }{
				{[]string{session}, nil},
				{[]string{session + "; a=1"}, []string{"a=1"}},
				{[]string{"a=1; " + session}, []string{"a=1"}},
				{[]string{"a=1; " + session + "; b=2"}, []string{"a=1; b=2"}},
				{[]string{"a=1;" + session + ";b=2"}, []string{"a=1;b=2"}},
				{[]string{session + "; __Host-lti-s-tabc12-ABCDEF=state; __Host-lti-0a1b2c3d=another base's; a=1"}, []string{"a=1"}},
				{[]string{"__Host-lti=wrong; " + session + "; a=1"}, []string{"a=1"}},
				{[]string{"\t__Host-lti-x =1 ; a=1; " + session}, []string{"a=1"}},
				{[]string{"__Host-lti; __Host-lti-s-; a=1; " + session}, []string{"a=1"}},
				{[]string{session, "a=1", "__Host-lti-s-1-X=2; b=2"}, []string{"a=1", "b=2"}},
				// What is the app's, arrives byte for byte.
				{
					[]string{`q="x; y"; ` + session + `; e=; =v; bare; dup=1; dup=2; sp = 1 ; u=%20é+/; __Host-ltix=1; __Host-LTI=2; x=__Host-lti; __Secure-lti=3`},
					[]string{`q="x; y"; e=; =v; bare; dup=1; dup=2; sp = 1 ; u=%20é+/; __Host-ltix=1; __Host-LTI=2; x=__Host-lti; __Secure-lti=3`},
				},
				{[]string{session, `odd=  "a,b"  ;;; x`}, []string{`odd=  "a,b"  ;;; x`}},
			} {
				var lines []string
				for _, s := range row.sent {
					lines = append(lines, "Cookie: "+s)
				}
				res := site.rawGet(t, c.path, lines...)
				if got := res.app(t).Header["Cookie"]; !slices.Equal(got, row.want) {
					t.Errorf("sent %q:\nthe app got %q\nexpected    %q", row.sent, got, row.want)
				}
				if got := withoutLaunch(identity(res.app(t).Header)); c.session && c.host != "off.localhost" && got["Remote-User"] != "user-1@lms" {
					t.Errorf("sent %q: the session was not found", row.sent)
				}
			}
		})
	}
}

func withoutLaunch(m map[string]string) map[string]string {
	delete(m, "X-Lti-Launch-Id")
	return m
}

// The app sees no cookie of a whole launch, nor of one that is under way.
func TestCookiesOfALaunchStayHere(t *testing.T) {
	a := newApp(t)
	tool := startTool(t, "", a.proxy())
	b := newBrowser(t)
	tool.mustLaunch(b, nil)
	tool.login(b) // another tab
	b.setCookie(tool.host, "own", "1")
	states := 0
	for name := range b.jar[tool.host] {
		if strings.HasPrefix(name, "__Host-lti-s-") {
			states++
		}
	}
	if states != 1 {
		t.Errorf("%d state cookies, expected 1: %v", states, b.jar)
	}
	if got := b.get(tool.url("/page")).app(t).Header["Cookie"]; !slices.Equal(got, []string{"own=1"}) {
		t.Errorf("the app got %q", got)
	}
}

func TestHeaderSets(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	var sites string
	for _, set := range []string{"off", "minimal", "standard", "full"} {
		sites += ltiSite(set+".localhost", p, "\t\theaders "+set, a.proxy())
	}
	sites += ltiSite("default.localhost", p, "", a.proxy())
	tool := startSites(t, p, "", sites)

	minimal := []string{
		"Remote-User", "Remote-Groups", "X-Lti-User-Id", "X-Lti-Platform", "X-Lti-Roles", "X-Lti-Context-Id",
		"X-Lti-Resource-Link-Id", "X-Lti-Message-Type", "X-Lti-Launch-Id",
	}
	standard := append(slices.Clone(minimal),
		"Remote-Name", "Remote-Email", "X-Lti-Issuer", "X-Lti-Client-Id", "X-Lti-Deployment-Id", "X-Lti-Context-Label",
		"X-Lti-Context-Title", "X-Lti-Resource-Link-Title", "X-Lti-Locale")
	full := append(slices.Clone(standard), "X-Lti-Return-Url", "X-Lti-Custom-Chapter", "X-Lti-Custom-Due-Date")
	more := map[string]string{
		"X-Lti-Locale": "de-CH", "X-Lti-Return-Url": "https://lms.example/back?x=1", "X-Lti-Custom-Chapter": "tides", "X-Lti-Custom-Due-Date": "2030-01-01",
	}
	for set, names := range map[string][]string{"off": nil, "minimal": minimal, "standard": standard, "default": standard, "full": full} {
		t.Run(set, func(t *testing.T) {
			site := tool.at(set+".localhost", "/lti")
			b := newBrowser(t)
			site.mustLaunch(b, map[string]any{
				"locale":                             "de-CH",
				ltitest.Claim("launch_presentation"): map[string]any{"return_url": "https://lms.example/back?x=1"},
				ltitest.Claim("custom"):              map[string]any{"chapter": "tides", "due_date": "2030-01-01", "empty": ""},
			})
			got := identity(b.get(site.url("/page")).app(t).Header)
			want := make(map[string]string)
			for _, name := range names {
				want[name] = learner(p)[name] + more[name]
			}
			if set != "off" {
				withoutLaunchID(t, set, got)
				delete(want, "X-Lti-Launch-Id")
			}
			sameMap(t, set, got, want)
		})
	}

	t.Run("what is not there gets no header", func(t *testing.T) {
		site := tool.at("full.localhost", "/lti")
		b := newBrowser(t)
		site.mustLaunch(b, map[string]any{
			"name": ltitest.Absent, "given_name": ltitest.Absent, "family_name": ltitest.Absent, "email": ltitest.Absent,
			ltitest.Claim("context"): ltitest.Absent, ltitest.Claim("resource_link"): map[string]any{"id": "link-1"},
		})
		want := learner(p)
		for _, name := range []string{
			"Remote-Name", "Remote-Email", "X-Lti-Context-Id", "X-Lti-Context-Label", "X-Lti-Context-Title", "X-Lti-Resource-Link-Title",
		} {
			delete(want, name)
		}
		sameMap(t, "sparse", withoutLaunchID(t, "sparse", identity(b.get(site.url("/page")).app(t).Header)), want)
	})

	t.Run("each launch has an id of its own", func(t *testing.T) {
		site := tool.at("minimal.localhost", "/lti")
		seen := make(map[string]bool)
		for range 3 {
			b := newBrowser(t)
			site.mustLaunch(b, nil)
			seen[b.get(site.url("/")).app(t).Header.Get("X-Lti-Launch-Id")] = true
		}
		if len(seen) != 3 {
			t.Errorf("launch ids %v", seen)
		}
	})
}

func TestHeaderEncoding(t *testing.T) {
	a := newApp(t)
	tool := startTool(t, "\t\theaders full\n\t\theader X-Course \"{http.lti.context.title} of {http.lti.platform}\"", a.proxy())
	for _, c := range []struct{ name, want string }{
		{"Ann Example", "Ann Example"},
		{"Zoë", "Zo%C3%AB"},
		{"名前", "%E5%90%8D%E5%89%8D"},
		{"100% Ann", "100%25 Ann"},
		{"%41nn", "%2541nn"},
		{"🦉", "%F0%9F%A6%89"},
		{"Eve\r\nX-LTI-Roles: admin", "EveX-LTI-Roles: admin"},
		{"a\tb\x00c\x1fd\x7fe", "abcde"},
		{"a\u0085b\u2028c", "a%C2%85b%E2%80%A8c"},
		{"  padded  ", "padded"},
		{"\n \n", ""},
		{`"quoted", comma; <b>~`, `"quoted", comma; <b>~`},
	} {
		b := newBrowser(t)
		tool.mustLaunch(b, map[string]any{
			"name": c.name, "given_name": ltitest.Absent, "family_name": ltitest.Absent,
			ltitest.Claim("context"): map[string]any{"id": "c", "title": c.name},
			ltitest.Claim("custom"):  map[string]any{"x": c.name},
		})
		got := b.get(tool.url("/page")).app(t).Header
		for _, name := range []string{"Remote-Name", "X-Lti-Context-Title", "X-Lti-Custom-X"} {
			if vals := got.Values(name); strings.Join(vals, "|") != c.want || (len(vals) > 0) != (c.want != "") {
				t.Errorf("%q: %s is %q, expected %q", c.name, name, vals, c.want)
			}
		}
		if got, want := got.Get("X-Course"), strings.TrimSpace(c.want+" of lms"); got != want && c.name != "  padded  " {
			t.Errorf("%q: X-Course is %q, expected %q", c.name, got, want)
		}
		if c.want != "" && !strings.HasPrefix(c.want, "EveX") && !strings.HasPrefix(c.want, "a") {
			// Whoever undoes the encoding has what the platform sent.
			if back, err := url.PathUnescape(got.Get("Remote-Name")); err != nil || back != strings.TrimSpace(c.name) {
				t.Errorf("%q came back as %q (%v)", c.name, back, err)
			}
		}
	}
}

func TestHeaderLimits(t *testing.T) {
	a := newApp(t)
	tool := startTool(t, "\t\theaders full", a.proxy())
	get := func(diff map[string]any) http.Header {
		t.Helper()
		b := newBrowser(t)
		tool.mustLaunch(b, diff)
		return b.get(tool.url("/page")).app(t).Header
	}
	long := func(n int) string { return strings.Repeat("x", n) }

	t.Run("a value", func(t *testing.T) {
		for _, c := range []struct {
			value string
			ok    bool
		}{
			{long(1024), true},
			{long(1025), false},
			{long(1021) + "%", true}, // %25 is three bytes
			{long(1022) + "%", false},
			{strings.Repeat("é", 170), true},
			{strings.Repeat("é", 171), false},
			{long(1024) + "\x00\n ", true}, // what is removed does not count
		} {
			got := get(map[string]any{"name": c.value, ltitest.Claim("custom"): map[string]any{"big": c.value}})
			for _, name := range []string{"Remote-Name", "X-Lti-Custom-Big"} {
				if there := got.Get(name) != ""; there != c.ok {
					t.Errorf("%d bytes: %s there is %t", len(c.value), name, there)
				}
				if named := strings.Contains(got.Get("X-Lti-Dropped"), name); named == c.ok {
					t.Errorf("%d bytes: X-LTI-Dropped is %q", len(c.value), got.Get("X-Lti-Dropped"))
				}
			}
			if got.Get("Remote-User") != "user-1@lms" {
				t.Errorf("%d bytes: Remote-User is %q", len(c.value), got.Get("Remote-User"))
			}
		}
	})

	t.Run("all", func(t *testing.T) {
		custom := make(map[string]any)
		for i := range 10 {
			custom[fmt.Sprintf("p%d", i)] = long(1000)
		}
		got := get(map[string]any{
			ltitest.Claim("custom"): custom, "name": long(800), "email": long(100) + "@school.example",
			ltitest.Claim("context"): map[string]any{"id": long(200), "label": long(300), "title": long(900)},
		})
		size, customs := 0, 0
		for name, value := range identity(got) {
			size += len(name) + len(": \r\n") + len(value)
			if strings.HasPrefix(name, "X-Lti-Custom-") {
				customs++
				if strings.Contains(got.Get("X-Lti-Dropped"), name) {
					t.Errorf("%s is there and called dropped", name)
				}
			}
		}
		if size > 6<<10 {
			t.Errorf("%d bytes of headers", size)
		}
		if customs == 0 || customs > 5 {
			t.Errorf("%d custom parameters", customs)
		}
		for i := range 10 {
			name := fmt.Sprintf("X-Lti-Custom-P%d", i)
			if there := got.Get(name) != ""; there == slices.Contains(strings.Split(got.Get("X-Lti-Dropped"), ", "), name) {
				t.Errorf("%s is there: %t; X-LTI-Dropped: %s", name, there, got.Get("X-Lti-Dropped"))
			}
		}
		for _, name := range []string{"Remote-Name", "Remote-Email", "X-Lti-Context-Id", "X-Lti-Context-Label", "X-Lti-Context-Title", "X-Lti-Issuer"} {
			if got.Get(name) == "" {
				t.Errorf("%s had to give way to custom parameters", name)
			}
		}
	})

	t.Run("hundreds of custom parameters", func(t *testing.T) {
		custom := make(map[string]any)
		for i := range 400 {
			custom[fmt.Sprintf("a-rather-long-name-of-a-parameter-%03d", i)] = "v"
		}
		got := get(map[string]any{ltitest.Claim("custom"): custom})
		size := 0
		for name, value := range identity(got) {
			size += len(name) + len(": \r\n") + len(value)
		}
		if size > 6<<10 || got.Get("X-Lti-Dropped") == "" || len(got.Get("X-Lti-Dropped")) > 1024 {
			t.Errorf("%d bytes; X-LTI-Dropped: %q", size, got.Get("X-Lti-Dropped"))
		}
	})

	t.Run("roles", func(t *testing.T) {
		var roles []string
		for i := range 40 {
			roles = append(roles, fmt.Sprintf("http://roles.example/%03d/%s", i, long(40)))
		}
		roles = append(roles, role("membership#Instructor"))
		got := get(map[string]any{ltitest.Claim("roles"): roles})
		uris := strings.Fields(got.Get("X-Lti-Roles"))
		if len(got.Get("X-Lti-Roles")) > 1024 || len(uris) < 10 || uris[0] != role("membership#Instructor") {
			t.Errorf("X-LTI-Roles: %q", got.Get("X-Lti-Roles"))
		}
		for _, uri := range uris {
			if !slices.Contains(roles, uri) {
				t.Errorf("half a role: %s", uri)
			}
		}
		if !strings.EqualFold(got.Get("X-Lti-Dropped"), "X-LTI-Roles") || got.Get("Remote-Groups") != "Instructor" {
			t.Errorf("X-LTI-Dropped: %q, Remote-Groups: %q", got.Get("X-Lti-Dropped"), got.Get("Remote-Groups"))
		}
	})
}

func TestCustomParameterNames(t *testing.T) {
	a := newApp(t)
	tool := startTool(t, "\t\theaders full\n\t\theader X-Chapter {http.lti.custom.book-chapter}", a.proxy())
	for _, c := range []struct {
		sent map[string]any
		want map[string]string
	}{
		{map[string]any{"chapter": "1"}, map[string]string{"Chapter": "1"}},
		{map[string]any{"Chapter": "1"}, map[string]string{"Chapter": "1"}},
		{map[string]any{"book_chapter": "1"}, map[string]string{"Book-Chapter": "1"}},
		{map[string]any{"book.chapter": "1"}, map[string]string{"Book-Chapter": "1"}},
		{map[string]any{"Book Chapter": "1"}, map[string]string{"Book-Chapter": "1"}},
		{map[string]any{"bücher": "1"}, map[string]string{"B-Cher": "1"}},
		// Two names that become one: the lower-case one wins.
		{map[string]any{"chapter": "lower", "CHAPTER": "upper", "Chapter": "mixed"}, map[string]string{"Chapter": "lower"}},
		{map[string]any{"Book_Chapter": "mixed", "book_chapter": "lower"}, map[string]string{"Book-Chapter": "lower"}},
		{map[string]any{"Ab": "first", "aB": "second"}, map[string]string{"Ab": "first"}},
		// Values of sloppy platforms.
		{
			map[string]any{"n": 7, "f": 1.5, "b": true, "null": nil, "list": []string{"x"}, "obj": map[string]any{"x": 1}, "var": "$User.id"},
			map[string]string{"N": "7", "F": "1.5", "B": "true", "Var": "$User.id"}, // unresolved, as the platform passed it
		},
		// Names cannot leave the prefix.
		{map[string]any{"x\r\nremote-user": "eve", ":": "c", "": "e"}, map[string]string{"X--Remote-User": "eve", "-": "c"}},
	} {
		b := newBrowser(t)
		tool.mustLaunch(b, map[string]any{ltitest.Claim("custom"): c.sent})
		header := b.get(tool.url("/page")).app(t).Header
		got := make(map[string]string)
		for name, value := range identity(header) {
			if rest, ok := strings.CutPrefix(name, "X-Lti-Custom-"); ok {
				got[rest] = value
			}
		}
		sameMap(t, fmt.Sprint(c.sent), got, c.want)
		if header.Get("X-Chapter") != c.want["Book-Chapter"] {
			t.Errorf("%v: X-Chapter is %q", c.sent, header.Get("X-Chapter"))
		}
		if header.Get("Remote-User") != "user-1@lms" {
			t.Errorf("%v: Remote-User is %q", c.sent, header.Get("Remote-User"))
		}
	}
}

func role(name string) string { return "http://purl.imsglobal.org/vocab/lis/v2/" + name }

func TestRoles(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	teacher := "@teacher lti role Instructor\n\trequest_header @teacher X-Teacher yes\n\t" + a.proxy()
	tool := startSites(t, p, "", ltiSite("all.localhost", p, "", teacher)+
		ltiSite("staff.localhost", p, "\t\tallow role instructor mentor#tutor institution:staff http://roles.example/Own", a.proxy()))
	for _, c := range []struct {
		what         string
		roles        []string
		groups, uris string // uris: default, the roles as sent
		teacher      bool
		staff        bool
	}{
		{what: "learner", roles: []string{role("membership#Learner")}, groups: "Learner"},
		{what: "instructor", roles: []string{role("membership#Instructor")}, groups: "Instructor", teacher: true, staff: true},
		{
			what: "both", roles: []string{role("membership#Learner"), role("membership#Instructor")},
			groups: "Learner,Instructor", teacher: true, staff: true,
		},
		{what: "a sub-role alone", roles: []string{role("membership/Instructor#Grader")}, groups: "Instructor#Grader"},
		{
			what: "a sub-role with its principal role", roles: []string{role("membership#Instructor"), role("membership/Instructor#TeachingAssistant")},
			groups: "Instructor,Instructor#TeachingAssistant", teacher: true, staff: true,
		},
		{what: "a learner who is called Instructor", roles: []string{role("membership/Learner#Instructor")}, groups: "Learner#Instructor"},
		{what: "an allowed sub-role", roles: []string{role("membership/Mentor#Tutor")}, groups: "Mentor#Tutor", staff: true},
		{
			what: "an instructor of the institution", roles: []string{role("institution/person#Instructor"), role("membership#Learner")},
			groups: "Learner,institution:Instructor",
			uris:   role("membership#Learner") + " " + role("institution/person#Instructor"),
		},
		{what: "staff of the institution", roles: []string{role("institution/person#Staff")}, groups: "institution:Staff", staff: true},
		{
			what: "an administrator of the system", roles: []string{role("system/person#Administrator"), role("institution/person#Administrator")},
			groups: "system:Administrator,institution:Administrator",
		},
		{what: "test user", roles: []string{"http://purl.imsglobal.org/vocab/lti/system/person#TestUser"}, groups: "system:TestUser"},
		{what: "a short name", roles: []string{"Instructor"}, groups: "Instructor", uris: role("membership#Instructor"), teacher: true, staff: true},
		{what: "a URN", roles: []string{"urn:lti:role:ims/lis/Learner"}, groups: "Learner", uris: role("membership#Learner")},
		{
			what: "a URN of a sub-role", roles: []string{"urn:lti:role:ims/lis/Instructor/Lecturer"},
			groups: "Instructor#Lecturer", uris: role("membership/Instructor#Lecturer"),
		},
		{what: "a URN of the institution", roles: []string{"urn:lti:instrole:ims/lis/Instructor"}, groups: "institution:Instructor", uris: role("institution/person#Instructor")},
		{what: "an unknown one", roles: []string{"http://roles.example/Own"}, groups: "", staff: true},
		{what: "an unknown short name", roles: []string{"Professor"}, groups: ""},
		{what: "wrong case", roles: []string{"instructor", role("membership#instructor")}, groups: "", uris: role("membership#instructor") + " instructor"},
		{what: "a lookalike", roles: []string{"https://purl.imsglobal.org/vocab/lis/v2/membership#Instructor", "http://evil.example/membership#Instructor"}, groups: ""},
		{what: "a comma in a role", roles: []string{"x,Instructor"}, groups: ""},
		{what: "a space in a role", roles: []string{"x " + role("membership#Instructor")}, groups: "", uris: "x%20" + role("membership#Instructor")},
		{what: "none", roles: []string{}, groups: ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			site, b := tool.at("all.localhost", "/lti"), newBrowser(t)
			diff := map[string]any{ltitest.Claim("roles"): c.roles}
			site.mustLaunch(b, diff)
			got := b.get(site.url("/page"), "X-Teacher", "no").app(t).Header
			uris := c.uris
			if uris == "" {
				uris = strings.Join(c.roles, " ")
			}
			if got.Get("Remote-Groups") != c.groups || got.Get("X-Lti-Roles") != uris {
				t.Errorf("Remote-Groups %q, X-LTI-Roles %q", got.Get("Remote-Groups"), got.Get("X-Lti-Roles"))
			}
			if teacher := got.Get("X-Teacher") == "yes"; teacher != c.teacher {
				t.Errorf("@teacher matches: %t", teacher)
			}
			site, b = tool.at("staff.localhost", "/lti"), newBrowser(t)
			res := site.launch(b, diff)
			if in := res.StatusCode == http.StatusSeeOther; in != c.staff {
				t.Errorf("allow role: the launch was answered %d", res.StatusCode)
			}
			if !c.staff && (res.StatusCode != http.StatusForbidden || b.cookie(site.host, sessionCookie) != "") {
				t.Errorf("allow role: %d, cookie %q", res.StatusCode, b.cookie(site.host, sessionCookie))
			}
		})
	}
}

func TestCacheControl(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	dir := t.TempDir()
	writeFile(t, dir, "page.html", "hello")
	files := "root * " + dir + "\n\t@broken path /broken\n\terror @broken \"broken\" 500\n\tfile_server"
	tool := startSites(t, p, "", ltiSite("tool.localhost", p, "\t\tpublic /public/*", a.proxy())+
		ltiSite("files.localhost", p, "", files)+
		ltiSite("errors.localhost", p, "", files+"\n\thandle_errors {\n\t\trespond \"{err.status_code} for {http.lti.user.name}\"\n\t}"))
	b := newBrowser(t)
	tool.mustLaunch(b, nil)
	for _, c := range []struct {
		app  []string
		want string
	}{
		{nil, "private"},
		{[]string{"public"}, "private"},
		{[]string{"public, max-age=600"}, "private, max-age=600"},
		{[]string{"PUBLIC,MAX-AGE=600"}, "private, MAX-AGE=600"},
		{[]string{"s-maxage=600"}, "private"},
		{[]string{"max-age=60, S-MaxAge = 600, proxy-revalidate"}, "private, max-age=60"},
		{[]string{"public", "max-age=5"}, "private, max-age=5"},
		{[]string{"private"}, "private"},
		{[]string{`private="Set-Cookie", max-age=5`}, "private, max-age=5"},
		{[]string{`private="Set-Cookie, X-Y", max-age=5`}, "private, max-age=5"},
		{[]string{`no-cache="Set-Cookie, X-Y", public`}, `private, no-cache="Set-Cookie, X-Y"`},
		{[]string{"no-store"}, "private, no-store"},
		{[]string{"no-cache, must-revalidate"}, "private, no-cache, must-revalidate"},
		{[]string{"immutable, public , max-age=1"}, "private, immutable, max-age=1"},
		{[]string{""}, "private"},
	} {
		query := url.Values{}
		for _, line := range c.app {
			query.Add("set", "Cache-Control:"+line)
		}
		for _, status := range []string{"200", "204", "302", "304", "404", "500"} {
			query.Set("status", status)
			res := b.get(tool.url("/page?" + query.Encode()))
			if got := strings.Join(res.Header.Values("Cache-Control"), ", "); got != c.want || fmt.Sprint(res.StatusCode) != status {
				t.Errorf("%s %q: %d, Cache-Control is %q, expected %q", status, c.app, res.StatusCode, got, c.want)
			}
			if !res.reached() {
				t.Error("not the app's answer")
			}
			res = b.get(tool.url("/public/page?" + query.Encode()))
			if got := res.Header.Values("Cache-Control"); !slices.Equal(got, c.app) {
				t.Errorf("public path, %s: Cache-Control is %q, the app said %q", status, got, c.app)
			}
		}
		res := b.do(b.request("HEAD", tool.url("/page?"+query.Encode()), nil))
		if got := strings.Join(res.Header.Values("Cache-Control"), ", "); got != c.want {
			t.Errorf("HEAD: %q", got)
		}
	}
	for _, host := range []string{"files.localhost", "errors.localhost"} {
		site := tool.at(host, "/lti")
		b := newBrowser(t)
		site.mustLaunch(b, nil)
		etag := b.get(site.url("/page.html")).Header.Get("Etag")
		for path, status := range map[string]int{"/page.html": 200, "/missing.html": 404, "/broken": 500} {
			res := b.get(site.url(path))
			if res.StatusCode != status || res.Header.Get("Cache-Control") != "private" {
				t.Errorf("%s%s: %d, Cache-Control %q", host, path, res.StatusCode, res.Header.Get("Cache-Control"))
			}
			if host == "errors.localhost" && status != 200 && res.body != fmt.Sprintf("%d for Ann Example", status) {
				t.Errorf("%s%s: %q", host, path, res.body)
			}
		}
		if res := b.get(site.url("/page.html"), "If-None-Match", etag); res.StatusCode != http.StatusNotModified || res.Header.Get("Cache-Control") != "private" {
			t.Errorf("304: %d, Cache-Control %q", res.StatusCode, res.Header.Get("Cache-Control"))
		}
	}
}

// Apps compare Host, Origin and Referer; and what their pages say of referrers
// is their affair.
func TestRequestAndAnswerAreTheApps(t *testing.T) {
	a := newApp(t)
	tool := startTool(t, "\t\tpublic /public/*\n\t\tframe off\n\t\tapp_cookies off", a.proxy())
	b := newBrowser(t)
	tool.mustLaunch(b, nil)
	for _, path := range []string{"/page", "/public/page"} {
		own := []string{
			"Origin", "https://lms.example", "Referer", "https://lms.example/course?id=1", "Authorization", "Bearer app", "X-Csrf-Token", "t",
			"Sec-Fetch-Site", "cross-site", "If-None-Match", `"x"`, "Accept-Language", "de", "User-Agent", "test/1",
		}
		got := b.get(tool.url(path+"?a=%20b&c=d%2F;e#f"), own...).app(t)
		if want := fmt.Sprintf("%s:%d", tool.host, tool.port); got.Host != want {
			t.Errorf("%s: Host is %q, expected %q", path, got.Host, want)
		}
		if want := path + "?a=%20b&c=d%2F;e"; got.URI != want {
			t.Errorf("URI is %q, expected %q", got.URI, want)
		}
		for i := 0; i < len(own); i += 2 {
			if vals := got.Header.Values(own[i]); len(vals) != 1 || vals[0] != own[i+1] {
				t.Errorf("%s: %s is %q, expected %q", path, own[i], vals, own[i+1])
			}
		}
		res := b.post(tool.url(path), "a=1&b=%C3%A9")
		if got := res.app(t); got.Method != "POST" || got.Body != "a=1&b=%C3%A9" {
			t.Errorf("POST: %+v", got)
		}
		for _, name := range []string{
			"Referrer-Policy", "X-Frame-Options", "Content-Security-Policy", "Vary", "X-Content-Type-Options", "Set-Cookie", "X-Lti-User-Id",
		} {
			if vals := res.Header.Values(name); len(vals) > 0 {
				t.Errorf("%s: the app's answer got %s: %q", path, name, vals)
			}
		}
		query := url.Values{"set": {
			"Referrer-Policy:origin", "Content-Security-Policy:default-src 'self'", "Set-Cookie:sid=1; Path=/app", "Set-Cookie:x=2", "Etag:\"v\"", "X-Lti-Of-The-App:1",
		}}
		res = b.get(tool.url(path + "?" + query.Encode()))
		for _, line := range query["set"] {
			name, value, _ := strings.Cut(line, ":")
			if !slices.Contains(res.Header.Values(name), value) {
				t.Errorf("%s: the app's %s is %q", path, line, res.Header.Values(name))
			}
		}
		if n := len(res.Header.Values("Set-Cookie")); n != 2 {
			t.Errorf("%s: %d cookies", path, n)
		}
	}
}

// What is under the base is never the app's business, however it is written.
func TestNothingUnderBaseReachesTheApp(t *testing.T) {
	p, a := ltitest.NewPlatform(t), newApp(t)
	sites := []string{"gated.localhost", "public.localhost", "pass.localhost", "protect.localhost", "wiki.localhost"}
	tool := startSites(t, p, "", ltiSite(sites[0], p, "", a.proxy())+
		ltiSite(sites[1], p, "\t\tpublic /*", a.proxy())+
		ltiSite(sites[2], p, "\t\tunauthenticated pass", a.proxy())+
		ltiSite(sites[3], p, "\t\tprotect /app/*", a.proxy())+
		ltiSite(sites[4], p, "\t\tbase /wiki/lti", a.proxy()))
	b := newBrowser(t)
	for _, host := range sites {
		site := tool.at(host, "/lti")
		if host == "wiki.localhost" {
			site.base = "/wiki/lti"
		}
		site.mustLaunch(b, nil)
		var targets []string
		for _, path := range []string{
			"", "/", "/login", "/login?iss=x", "/login/nobody", "/launch", "/jwks.json", "/jwks.json?x", "/logout", "/auth", "/api/v1/launch",
			"/no/such/route", "/x.css", "/login/", "/launch/x", "/%6cogin", "/l%6Fgin", "/login%3Fx", "/login;x", "/launch%20",
			// odd ones
			"/../lti/login", "/./login", "//login", "/x/../login", "/../x", "/%2e%2e/x", "%2flogin", "/..%2flogin", "%5clogin", "\\login",
			"/login%00", "/..;/lti/login", "/x/..;/login", "/login/..", "/.", "/..", ";x/login", ";/..", "/..;/x",
		} {
			targets = append(targets, site.base+path, strings.Replace(site.base, "lti", "%6cti", 1)+path, strings.Replace(site.base, "lti", "l%74%69", 1)+path)
		}
		for _, prefix := range []string{"/.", "/x/..", "/", "/%2e", "/x/%2E%2E", "//", "/x;y/..", "/..", "/..;", "/;x", "/%2f"} {
			for _, path := range []string{"", "/login", "/launch", "/../x", "%2flogin", ";x/login"} {
				targets = append(targets, prefix+site.base+path)
			}
		}
		for _, target := range targets {
			for _, session := range []bool{false, true} {
				var lines []string
				if session {
					lines = []string{site.sessionLine(t, b)}
				}
				before := a.requests.Load()
				res := site.rawGet(t, target, lines...)
				if res.reached() || a.requests.Load() != before {
					t.Errorf("%s%s (session: %t) reached the app", host, target, session)
				}
				if odd := strings.ContainsAny(target, ";\\") || strings.Contains(target, "//") || strings.Contains(target, "/."); odd && res.StatusCode < 400 {
					t.Errorf("%s%s (session: %t) was answered %d", host, target, session, res.StatusCode)
				}
			}
		}
		// Neighbours are the app's.
		for _, rest := range []string{"x", "-admin", ".html", "%20", "x/login"} {
			if res := site.rawGet(t, site.base+rest, site.sessionLine(t, b)); !res.reached() {
				t.Errorf("%s%s%s did not reach the app: %d", host, site.base, rest, res.StatusCode)
			}
		}
		// Case matters.
		if res := site.rawGet(t, strings.ToUpper(site.base)+"/login", site.sessionLine(t, b)); !res.reached() {
			t.Errorf("%s%s/login: %d", host, strings.ToUpper(site.base), res.StatusCode)
		}
	}
}
