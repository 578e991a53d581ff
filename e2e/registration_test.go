package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-lti/lti/internal/ltitest"
)

const (
	toolMember     = "https://purl.imsglobal.org/spec/lti-tool-configuration"
	platformMember = "https://purl.imsglobal.org/spec/lti-platform-configuration"

	testInvite = "c0ffee0123456789abcdef0123456789"
)

// registrar is a platform with which tools can register.
type registrar struct {
	*ltitest.Platform
	tb  testing.TB
	srv *httptest.Server

	posts atomic.Int64 // at the registration endpoint

	mu      sync.Mutex
	config  map[string]any // differences
	answer  func(w http.ResponseWriter, asked map[string]any)
	last    map[string]any // what was asked for last
	headers http.Header
}

func newRegistrar(tb testing.TB) *registrar {
	tb.Helper()
	p := &registrar{Platform: ltitest.NewPlatform(tb), tb: tb}
	mux := http.NewServeMux()
	mux.HandleFunc("/config", p.serveConfig)
	mux.HandleFunc("/register", p.serveRegister)
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/config", http.StatusFound) })
	mux.HandleFunc("/huge", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"issuer":"`)
		for range 1 << 12 {
			if _, err := io.WriteString(w, strings.Repeat("x", 1<<19)); err != nil {
				return
			}
		}
	})
	p.srv = httptest.NewServer(mux)
	tb.Cleanup(p.srv.Close)
	p.Issuer = p.srv.URL
	p.answers(map[string]any{}, map[string]any{"deployment_id": p.Deployment})
	return p
}

// answers has the registration be answered with what was asked for and these
// members, those of tool in the tool's configuration.
func (p *registrar) answers(more, tool map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = func(w http.ResponseWriter, asked map[string]any) {
		asked["client_id"] = p.ClientID
		for k, v := range more {
			asked[k] = v
			if v == nil {
				delete(asked, k)
			}
		}
		if own, ok := asked[toolMember].(map[string]any); ok {
			maps.Copy(own, tool)
		}
		_ = json.NewEncoder(w).Encode(asked)
	}
}

func (p *registrar) refuses(status int, words string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = func(w http.ResponseWriter, _ map[string]any) { http.Error(w, words, status) }
}

func (p *registrar) differs(config map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.config = config
}

func (p *registrar) serveConfig(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	doc := map[string]any{
		"issuer": p.Issuer, "authorization_endpoint": p.Issuer + "/auth", "registration_endpoint": p.Issuer + "/register",
		"jwks_uri": p.JWKSURL(), "token_endpoint": p.Issuer + "/token",
		"scopes_supported": []string{"openid", "https://purl.imsglobal.org/spec/lti-ags/scope/score"},
		"claims_supported": []string{"iss", "sub", "name", "email", "given_name", "family_name"},
		platformMember: map[string]any{
			"product_family_code": "moodle", "version": "4.5",
			"messages_supported": []map[string]any{{"type": "LtiResourceLinkRequest"}, {"type": "LtiDeepLinkingRequest", "placements": []string{"ContentArea"}}},
		},
	}
	for k, v := range p.config {
		if doc[k] = v; v == nil {
			delete(doc, k)
		}
	}
	_ = json.NewEncoder(w).Encode(doc)
}

func (p *registrar) serveRegister(w http.ResponseWriter, r *http.Request) {
	p.posts.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := make(map[string]any)
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		p.tb.Errorf("the registration is no JSON: %v", err)
	}
	p.headers = r.Header
	body, _ := json.Marshal(asked)
	p.last = nil
	_ = json.Unmarshal(body, &p.last)
	p.answer(w, asked)
}

// registrationSite runs a site that platforms can register with.
func registrationSite(tb testing.TB, p *registrar, options string) *tool {
	tb.Helper()
	c := startCaddy(tb, registrationCaddyfile(options))
	return &tool{caddy: c, host: "tool.localhost", base: "/lti", platform: p.Platform}
}

func registrationCaddyfile(options string) string {
	return global(ltiGlobal) + registrationSiteBlock(options)
}

func registrationSiteBlock(options string) string {
	return "http://tool.localhost:$PORT {\n\tlti {\n\t\t" + options + "\n\t}\n\t" + echo + "\n}\n"
}

const registrationBlock = "registration {\n\t\t\tinvite " + testInvite + " \"Faculty of Law\"\n\t\t}"

// register has a platform register, with these parameters instead of the right
// ones.
func (t *tool) register(b *browser, p *registrar, diff ...string) *answer {
	b.tb.Helper()
	q := url.Values{"invite": {testInvite}, "openid_configuration": {p.Issuer + "/config"}, "registration_token": {"T0ken"}}
	for i := 0; i+1 < len(diff); i += 2 {
		q.Set(diff[i], diff[i+1])
		if diff[i+1] == "" {
			q.Del(diff[i])
		}
	}
	return b.get(t.url("/lti/register?"+q.Encode()), "Accept", "text/html")
}

// A platform registers itself, and its people launch at once, without a reload.
func TestRegistration(t *testing.T) {
	p := newRegistrar(t)
	site := registrationSite(t, p, registrationBlock+"\n\t\tapi\n\t\titems {\n\t\t\titem /one One\n\t\t}")
	b := newBrowser(t)
	res := site.register(b, p)
	if res.StatusCode != http.StatusOK || !strings.Contains(res.body, "The tool is registered") || !strings.Contains(res.body, "org.imsglobal.lti.close") {
		t.Fatalf("%d %s\n%s", res.StatusCode, mainOf(res.body), site.log)
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := p.headers.Get("Authorization"); got != "Bearer T0ken" {
		t.Errorf("Authorization %q", got)
	}
	// With exactly what the configuration uses, of what the platform has.
	base := site.url("/lti")
	own, _ := p.last[toolMember].(map[string]any)
	for what, pair := range map[string][2]any{
		"initiate_login_uri": {p.last["initiate_login_uri"], base + "/login"},
		"redirect_uris":      {fmt.Sprint(p.last["redirect_uris"]), "[" + base + "/launch]"},
		"jwks_uri":           {p.last["jwks_uri"], base + "/jwks.json"},
		"scope":              {p.last["scope"], "https://purl.imsglobal.org/spec/lti-ags/scope/score"},
		"target_link_uri":    {own["target_link_uri"], site.url("/")},
		"claims":             {fmt.Sprint(own["claims"]), "[iss sub name given_name family_name email]"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %v, want %v", what, pair[0], pair[1])
		}
	}
	if got := fmt.Sprint(own["messages"]); !strings.Contains(got, "LtiDeepLinkingRequest") || !strings.Contains(got, "LtiResourceLinkRequest") {
		t.Errorf("messages %s", got)
	}

	site.mustLaunch(b, nil)
	if res := b.get(site.url("/")); !strings.Contains(res.body, "user=") || !strings.Contains(res.body, "@127-0-0-1-") {
		t.Errorf("%d %s", res.StatusCode, mainOf(res.body))
	}
	// Only the deployment of the answer.
	if res := site.launch(newBrowser(t), map[string]any{ltitest.Claim("deployment_id"): "other"}); res.StatusCode != http.StatusForbidden {
		t.Errorf("another deployment: %d", res.StatusCode)
	}
	// Again, it is the same one.
	if res := site.register(newBrowser(t), p); res.StatusCode != http.StatusOK {
		t.Fatalf("again: %d %s", res.StatusCode, mainOf(res.body))
	}
	site.mustLaunch(newBrowser(t), nil)

	// It lasts: across a reload, and a crash.
	if err := site.reload(registrationCaddyfile(registrationBlock)); err != nil {
		t.Fatal(err)
	}
	site.mustLaunch(newBrowser(t), nil)
	site.kill()
	site.start(registrationCaddyfile(registrationBlock))
	site.mustLaunch(newBrowser(t), nil)

	// Where nobody may register any more, nobody can launch who did.
	if err := site.reload(registrationCaddyfile(platformBlock(ltitest.NewPlatform(t)))); err != nil {
		t.Fatal(err)
	}
	if res := b.get(site.url("/"), "Accept", "text/html"); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a visit of a platform that is gone: %d", res.StatusCode)
	}
	if res := site.register(newBrowser(t), p); res.StatusCode != http.StatusNotFound {
		t.Errorf("without registration: %d", res.StatusCode)
	}
	for _, secret := range []string{testInvite, "T0ken"} {
		if strings.Contains(site.log.String(), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
}

// Each is refused with a page that says what is wrong, and nothing is kept.
func TestRegistrationRefused(t *testing.T) {
	p := newRegistrar(t)
	other := newRegistrar(t)
	site := registrationSite(t, p, registrationBlock+"\n\t\t"+platformBlock(&ltitest.Platform{
		Issuer: other.Issuer, ClientID: "known", Deployment: "1", Server: other.Server,
	}))
	moved := func(member, to string) map[string]any { return map[string]any{member: to} }
	for _, tt := range []struct {
		name   string
		diff   []string
		config map[string]any
		answer func()
		status int
		says   string
		asks   bool // the platform is asked to register
	}{
		{"no invite", []string{"invite", ""}, nil, nil, 403, "not valid", false},
		{"wrong invite", []string{"invite", testInvite[1:] + "0"}, nil, nil, 403, "not valid", false},
		{"opened by hand", []string{"openid_configuration", ""}, nil, nil, 400, "belongs into your learning platform", false},
		{"a private address", []string{"openid_configuration", "https://10.1.2.3/config"}, nil, nil, 400, "allow_private", false},
		{"link-local", []string{"openid_configuration", "https://169.254.169.254/latest"}, nil, nil, 400, "could not be registered", false},
		{"a file", []string{"openid_configuration", "file:///etc/passwd"}, nil, nil, 400, "could not be registered", false},
		{"http", []string{"openid_configuration", "http://lms.example.edu/config"}, nil, nil, 400, "https", false},
		{"a redirect", []string{"openid_configuration", p.Issuer + "/redirect"}, nil, nil, 400, "redirects", false},
		{"2 GB", []string{"openid_configuration", p.Issuer + "/huge"}, nil, nil, 400, "could not be registered", false},
		{"nothing there", []string{"openid_configuration", p.Issuer + "/nothing"}, nil, nil, 400, "404", false},
		{"another issuer", nil, moved("issuer", "https://lms.example.edu"), nil, 400, "issuer", false},
		{"no endpoint", nil, map[string]any{"token_endpoint": nil}, nil, 400, "token_endpoint", false},
		{"an issuer of the Caddyfile", []string{"openid_configuration", other.Issuer + "/config"}, nil, nil, 409, "connected already", false},
		{"the platform says no", nil, nil, func() { p.refuses(400, "invalid_redirect_uris & <b>") }, 400, "invalid_redirect_uris &amp; &lt;b&gt;", true},
		{"token used", nil, nil, func() { p.refuses(401, "token_already_used") }, 400, "token_already_used", true},
		{"no client id", nil, nil, func() { p.answers(map[string]any{"client_id": nil}, nil) }, 400, "client_id", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.differs(tt.config)
			p.answers(nil, map[string]any{"deployment_id": p.Deployment})
			if tt.answer != nil {
				tt.answer()
			}
			posts := p.posts.Load() + other.posts.Load()
			res := site.register(newBrowser(t), p, tt.diff...)
			if res.StatusCode != tt.status || !strings.Contains(res.body, tt.says) {
				t.Errorf("%d, want %d and %q in\n%s", res.StatusCode, tt.status, tt.says, mainOf(res.body))
			}
			if asked := p.posts.Load()+other.posts.Load() > posts; asked != tt.asks {
				t.Errorf("the platform was asked: %v", asked)
			}
			if res := newBrowser(t).get(site.url("/lti/login?iss=" + url.QueryEscape(p.Issuer) + "&login_hint=h&target_link_uri=" + url.QueryEscape(site.url("/")))); res.StatusCode != http.StatusForbidden {
				t.Errorf("afterwards the platform can log in: %d", res.StatusCode)
			}
		})
	}
	p.differs(nil)
	p.answers(nil, map[string]any{"deployment_id": p.Deployment})
	t.Run("dry run", func(t *testing.T) {
		posts := p.posts.Load()
		res := site.register(newBrowser(t), p, "dry_run", "1")
		if res.StatusCode != http.StatusOK || !strings.Contains(res.body, "initiate_login_uri") || p.posts.Load() != posts {
			t.Errorf("%d, %d posts\n%s", res.StatusCode, p.posts.Load()-posts, mainOf(res.body))
		}
	})
	t.Run("guessing", func(t *testing.T) {
		b := newBrowser(t)
		for range 12 {
			site.register(b, p, "invite", "nonsense")
		}
		if res := site.register(b, p); res.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%d", res.StatusCode)
		}
	})
}

// Who looks whether the link is there, or spells it a little differently, leaves
// no invite in the access log either, but a line that says what came.
func TestRegistrationLinkStaysOutOfTheLog(t *testing.T) {
	p := newRegistrar(t)
	site := registrationSite(t, p, registrationBlock+"\n\t}\n\tlog {")
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{http.MethodHead, "/lti/register", 405},
		{http.MethodPost, "/lti/register", 405},
		{http.MethodGet, "/lti/register/", 404},
		{http.MethodHead, "/lti/login", 405},
		{http.MethodGet, "/lti/launch", 405},
	} {
		b := newBrowser(t)
		res := b.do(b.request(tt.method, site.url(tt.path+"?invite="+testInvite), nil))
		if res.StatusCode != tt.status {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, res.StatusCode, tt.status)
		}
	}
	newBrowser(t).get(site.url("/not-there"))
	site.stop()
	log := site.log.String()
	if strings.Contains(log, testInvite) {
		t.Errorf("the log has the invite:\n%s", log)
	}
	if !strings.Contains(log, "http.log.access") || !strings.Contains(log, "/not-there") {
		t.Errorf("there is no access log:\n%s", log)
	}
	lines := make(map[string]int)
	for line := range strings.Lines(log) {
		var entry struct{ Level, Msg, Code string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "info" && entry.Msg == "refused" {
			lines[entry.Code]++
		}
	}
	if lines["method_not_allowed"] != 4 || lines["not_found"] != 1 {
		t.Errorf("lines of their own: %v\n%s", lines, log)
	}
}

// A platform that named no deployment is known by the first that launches.
func TestRegistrationLearnsDeployment(t *testing.T) {
	p := newRegistrar(t)
	p.answers(nil, nil)
	site := registrationSite(t, p, registrationBlock)
	if res := site.register(newBrowser(t), p); res.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", res.StatusCode, mainOf(res.body))
	}
	deployment := func(id string) map[string]any { return map[string]any{ltitest.Claim("deployment_id"): id} }
	site.mustLaunch(newBrowser(t), deployment("first"))
	if res := site.launch(newBrowser(t), deployment("second")); res.StatusCode != http.StatusForbidden {
		t.Errorf("a second deployment: %d", res.StatusCode)
	}
	site.mustLaunch(newBrowser(t), deployment("first"))
}

// mainOf is a page without its style.
func mainOf(body string) string {
	_, rest, _ := strings.Cut(body, "</style>")
	return rest
}

// lti runs caddy lti against the running server.
func (c *caddy) lti(args ...string) (string, error) {
	out, err := c.command(append([]string{"lti"}, append(args, "--address", fmt.Sprintf("localhost:%d", c.admin))...)...).CombinedOutput()
	return string(out), err
}

// With approve manual a platform waits, until the command line lets it in; and
// there it is shown the door again.
func TestRegistrationByCommand(t *testing.T) {
	p := newRegistrar(t)
	p.answers(nil, nil)
	site := registrationSite(t, p, "registration {\n\t\t\tapprove manual\n\t\t\tdeployment listed\n\t\t}")
	do := func(args ...string) string {
		t.Helper()
		out, err := site.lti(args...)
		if err != nil {
			t.Fatalf("caddy lti %v: %v\n%s", args, err, out)
		}
		return out
	}
	fails := func(says string, args ...string) {
		t.Helper()
		if out, err := site.lti(args...); err == nil || !strings.Contains(out, says) {
			t.Errorf("caddy lti %v: %v, want %q in\n%s", args, err, says, out)
		}
	}
	linkOf := func(out string) string {
		t.Helper()
		link, _, _ := strings.Cut(out, "\n")
		if !strings.HasPrefix(link, site.url("/lti/register?invite=")) {
			t.Fatalf("no link: %s", out)
		}
		return link
	}
	open := func(link string) *answer {
		t.Helper()
		return newBrowser(t).get(link+"&openid_configuration="+url.QueryEscape(p.Issuer+"/config"), "Accept", "text/html")
	}
	link := linkOf(do("invites", "create", "--label", "Faculty of Law"))
	if out := do("invites", "list"); !strings.Contains(out, "Faculty of Law") || !strings.Contains(out, "good") || strings.Contains(out, link[len(link)-43:]) {
		t.Errorf("invites list: %s", out)
	}
	// A registration that fails leaves the invite as it was.
	p.refuses(http.StatusBadRequest, "not today")
	if res := open(link); res.StatusCode != http.StatusBadRequest || !strings.Contains(res.body, "not today") {
		t.Errorf("refused: %d %s", res.StatusCode, mainOf(res.body))
	}
	p.answers(nil, nil)
	res := open(link)
	id := idShown.FindString(mainOf(res.body))
	if res.StatusCode != http.StatusOK || !strings.Contains(res.body, "waits for approval") || id == "" {
		t.Fatalf("%d %s", res.StatusCode, mainOf(res.body))
	}
	if res := open(link); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "has been used") {
		t.Errorf("the invite again: %d %s", res.StatusCode, mainOf(res.body))
	}
	login := func() *answer {
		return newBrowser(t).get(site.url("/lti/login?iss="+url.QueryEscape(p.Issuer)+"&login_hint=h&target_link_uri="+url.QueryEscape(site.url("/"))), "Accept", "text/html")
	}
	if res := login(); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "not been approved") {
		t.Errorf("before approval: %d %s", res.StatusCode, mainOf(res.body))
	}
	if out := do("registrations", "list"); !strings.Contains(out, id) || !strings.Contains(out, "pending") || !strings.Contains(out, p.Issuer) {
		t.Errorf("registrations list: %s", out)
	}
	do("registrations", "approve", id)
	if res := site.launch(newBrowser(t), nil); res.StatusCode != http.StatusForbidden {
		t.Errorf("no deployment is listed: %d", res.StatusCode)
	}
	do("registrations", "deployment", id, p.Deployment)
	b := newBrowser(t)
	site.mustLaunch(b, nil)
	if res := b.get(site.url("/")); res.StatusCode != http.StatusOK {
		t.Errorf("after approval: %d", res.StatusCode)
	}
	if out := do("platforms", "list", "--json"); !strings.Contains(out, `"registration":"`+id+`"`) {
		t.Errorf("platforms list: %s", out)
	}
	do("registrations", "remove", id)
	if res := b.get(site.url("/"), "Accept", "text/html"); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a visit after the removal: %d", res.StatusCode)
	}
	if res := login(); res.StatusCode != http.StatusForbidden {
		t.Errorf("a login after the removal: %d", res.StatusCode)
	}

	invites := func() (all []struct{ ID string }) {
		t.Helper()
		if err := json.Unmarshal([]byte(do("invites", "list", "--json")), &all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	link = linkOf(do("invites", "create", "--reusable", "--lifetime", "1h"))
	for range 2 {
		if res := open(link); res.StatusCode != http.StatusOK {
			t.Errorf("a reusable invite: %d", res.StatusCode)
		}
	}
	for _, i := range invites() {
		do("invites", "remove", i.ID)
	}
	if res := open(link); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "not valid") {
		t.Errorf("a withdrawn invite: %d", res.StatusCode)
	}
	fails("there is none", "registrations", "approve", "0123456789abcdef")
	fails("there is none", "invites", "remove", "0123456789ab")
	fails("expected 1m to 366d", "invites", "create", "--lifetime", "10s")
	fails("expected one of", "invites", "create", "--site", "https://elsewhere.example.edu/lti")
	fails("accepts 1 arg", "registrations", "approve")
}

var idShown = regexp.MustCompile(`\b[0-9a-f]{16}\b`)
