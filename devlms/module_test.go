package devlms

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const goodTool = `
		client_id demo-site
		deployment 1
		login http://site.localhost:8080/lti/login
		redirect http://site.localhost:8080/lti/launch
`

func TestCaddyfile(t *testing.T) {
	d := caddyfile.NewTestDispenser(`devlms {
		title "Localhost University"
		issuer https://lms.example
		storage frame
		leeway 5s
		allow_private 10.1.0.0/16 172.17.0.2:8080
		allow_private 10.2.0.1
		fault ags slow 2s
		fault whole_seconds
		fault page_size 2
		fault members loop
		fault short_roles
		registration {
			deployment none
			messages strings
			token config
			errors text
			scopes score contextmembership.readonly
			application_type array
		}
		tool site {
			title "Static course site"
			client_id demo-site
			deployment 1
			login http://site.localhost:8080/lti/login
			redirect http://site.localhost:8080/lti/launch https://a.example/l
			redirect https://b.example/l
			jwks http://site.localhost:8080/lti/jwks.json
			ags on
			nrps on
			deep_linking on http://site.localhost:8080/dl?x=é
			score_maximum 50
			link "Chapter 1" http://site.localhost:8080/ch1.html iframe {
				score_maximum 12.5
				resource_id quiz-7
				tag grade
			}
			link "Chapter 2" http://site.localhost:8080/ch2.html window {
				ungraded
			}
			link "Chapter 3" http://site.localhost:8080/ch3.html?x=é
			custom level 3
			custom Empty ""
		}
		tool b {
			client_id b
			deployment 1:b
			login https://b.example/login
			redirect https://b.example/launch
			nrps off
			deep_linking off
		}
	}`)
	var h Handler
	if err := h.UnmarshalCaddyfile(d); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(&h)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"title":"Localhost University","issuer":"https://lms.example","storage":"frame","leeway":5000000000,` +
		`"allow_private":["10.1.0.0/16","172.17.0.2:8080","10.2.0.1"],` +
		`"faults":{"ags":"slow 2s","members":"loop","page_size":"2","short_roles":"on","whole_seconds":"on"},` +
		`"registration":{"deployment":"none","messages":"strings","token":"config","errors":"text","scopes":["score","contextmembership.readonly"],"application_type":"array"},"tools":[` +
		`{"name":"site","title":"Static course site","client_id":"demo-site","deployment":"1",` +
		`"login_url":"http://site.localhost:8080/lti/login",` +
		`"redirect_uris":["http://site.localhost:8080/lti/launch","https://a.example/l","https://b.example/l"],` +
		`"jwks_url":"http://site.localhost:8080/lti/jwks.json","ags":"on","nrps":"on","deep_linking":"on","deep_linking_url":"http://site.localhost:8080/dl?x=é","score_maximum":50,"links":[` +
		`{"title":"Chapter 1","target_link_uri":"http://site.localhost:8080/ch1.html","target":"iframe","score_maximum":12.5,"resource_id":"quiz-7","tag":"grade"},` +
		`{"title":"Chapter 2","target_link_uri":"http://site.localhost:8080/ch2.html","target":"window","ungraded":true},` +
		`{"title":"Chapter 3","target_link_uri":"http://site.localhost:8080/ch3.html?x=é","target":"iframe"}],` +
		`"custom":{"Empty":"","level":"3"}},` +
		`{"name":"b","client_id":"b","deployment":"1:b","login_url":"https://b.example/login","redirect_uris":["https://b.example/launch"],"nrps":"off","deep_linking":"off"}]}`
	if string(got) != want {
		t.Errorf("expected %s\n     got %s", want, got)
	}
	var again Handler
	if err := caddy.StrictUnmarshalJSON(got, &again); err != nil || !reflect.DeepEqual(h, again) {
		t.Errorf("JSON does not lead back: %v", err)
	}
}

func TestCaddyfileErrors(t *testing.T) {
	tool := func(options string) string { return "devlms {\n\ttool site {" + goodTool + options + "\n\t}\n}" }
	for _, tc := range []struct{ name, input, want string }{
		{"argument", "devlms x", "wrong argument count"},
		{"unknown option", "devlms {\n\tcolour red\n}", "unrecognized option of devlms: colour"},
		{"registration without value", "devlms {\n\tregistration\n}", "expected off, or a block"},
		{"registration with a word", "devlms {\n\tregistration on\n}", `bad value "on": expected off`},
		{"registration with two", "devlms {\n\tregistration off now\n}", "wrong argument count"},
		{"registration twice", "devlms {\n\tregistration off\n\tregistration off\n}", "registration is given twice"},
		{"registration off with options", "devlms {\n\tregistration off {\n\t\ttoken url\n\t}\n}", "registration is off, so token means nothing"},
		{"unknown option of registration", "devlms {\n\tregistration {\n\t\tcolour red\n\t}\n}", "expected deployment, messages, token, errors, application_type or scopes"},
		{"bad value of registration", "devlms {\n\tregistration {\n\t\ttoken maybe\n\t}\n}", "expected registration, config or url"},
		{"option of registration twice", "devlms {\n\tregistration {\n\t\ttoken url\n\t\ttoken url\n\t}\n}", "token is given twice"},
		{"scopes without value", "devlms {\n\tregistration {\n\t\tscopes\n\t}\n}", "wrong argument count"},
		{"scopes twice", "devlms {\n\tregistration {\n\t\tscopes score\n\t\tscopes score\n\t}\n}", "scopes is given twice"},
		{"unknown scope", "devlms {\n\tregistration {\n\t\tscopes openid\n\t}\n}", `bad value "openid"`},
		{"no scope and one", "devlms {\n\tregistration {\n\t\tscopes none score\n\t}\n}", "none goes with no other"},
		{"the same scope", "devlms {\n\tregistration {\n\t\tscopes score lineitem score\n\t}\n}", "score is given twice"},
		{"title without value", "devlms {\n\ttitle\n}", "wrong argument count"},
		{"title with two", "devlms {\n\ttitle a b\n}", "wrong argument count"},
		{"title twice", "devlms {\n\ttitle a\n\ttitle b\n}", "title is given twice"},
		{"issuer on http", "devlms {\n\tissuer http://lms.example\n}", "issuer: bad URL"},
		{"issuer with slash", "devlms {\n\tissuer https://lms.example/\n}", "expected scheme and host only: https://lms.example"},
		{"issuer in capitals", "devlms {\n\tissuer https://LMS.example\n}", "expected scheme and host only: https://lms.example"},
		{"storage without value", "devlms {\n\tstorage\n}", "wrong argument count"},
		{"storage with two", "devlms {\n\tstorage frame parent\n}", "wrong argument count"},
		{"storage twice", "devlms {\n\tstorage off\n\tstorage frame\n}", "storage is given twice"},
		{"storage of another kind", "devlms {\n\tstorage _parent\n}", `storage: bad value "_parent": expected off, frame or parent`},
		{"storage that is empty", "devlms {\n\tstorage \"\"\n}", `storage: bad value ""`},
		{"leeway without value", "devlms {\n\tleeway\n}", "wrong argument count"},
		{"leeway nonsense", "devlms {\n\tleeway x\n}", "leeway: "},
		{"leeway below 0", "devlms {\n\tleeway -1s\n}", "leeway: it is below 0"},
		{"leeway twice", "devlms {\n\tleeway 1s\n\tleeway 2s\n}", "leeway is given twice"},
		{"allow_private without value", "devlms {\n\tallow_private\n}", "wrong argument count"},
		{"allow_private nonsense", "devlms {\n\tallow_private x\n}", `allow_private "x"`},
		{"fault without name", "devlms {\n\tfault\n}", "wrong argument count"},
		{"fault unknown", "devlms {\n\tfault nrps down\n}", `unknown fault "nrps": expected token, ags, scores`},
		{"fault without value", "devlms {\n\tfault ags\n}", "ags: the value is missing"},
		{"fault with bad value", "devlms {\n\tfault ags gone\n}", `ags: bad value "gone": expected off, down`},
		{"fault twice", "devlms {\n\tfault ags down\n\tfault ags hang\n}", "ags is given twice"},
		{"ags of another kind", tool("ags yes"), `ags: bad value "yes": expected on or off`},
		{"ags without keys", tool("ags on"), "tool site: ags is on, but without"},
		{"nrps of another kind", tool("nrps yes"), `nrps: bad value "yes": expected on or off`},
		{"nrps without keys", tool("nrps on"), "tool site: nrps is on, but without"},
		{"nrps twice", tool("nrps off\n\t\tnrps off"), "nrps is given twice"},
		{"deep_linking without value", tool("deep_linking"), "wrong argument count"},
		{"deep_linking with three", tool("deep_linking on https://a.example/ x"), "wrong argument count"},
		{"deep_linking of another kind", tool("deep_linking yes"), `deep_linking: bad value "yes": expected on or off`},
		{"deep_linking elsewhere", tool("deep_linking on ftp://a.example/"), "deep_linking: bad URL"},
		{"deep_linking twice", tool("deep_linking off\n\t\tdeep_linking off"), "deep_linking is given twice"},
		{"deep_linking without keys", tool("deep_linking on"), "tool site: deep_linking is on, but without"},
		{"fault of rosters elsewhere", "devlms {\n\tfault ags loop\n}", "loop for members"},
		{"score_maximum 0", tool("score_maximum 0"), `score_maximum: bad number "0"`},
		{"score_maximum nonsense", tool("score_maximum NaN"), `score_maximum: bad number "NaN"`},
		{"score_maximum twice", tool("score_maximum 1\n\t\tscore_maximum 2"), "score_maximum is given twice"},
		{"unknown in a link", tool("link x https://a.example/ {\n\tcolour red\n}"), "unrecognized option of link x: colour"},
		{"ungraded with a maximum", tool("link x https://a.example/ {\n\tungraded\n\tscore_maximum 1\n}"), "ungraded: there is no line item"},
		{"ungraded with a value", tool("link x https://a.example/ {\n\tungraded yes\n}"), "wrong argument count"},
		{"tool without name", "devlms {\n\ttool {\n\t}\n}", "wrong argument count"},
		{"tool with bad name", "devlms {\n\ttool Site {\n\t}\n}", `tool: bad name "Site"`},
		{"tool with long name", "devlms {\n\ttool " + strings.Repeat("a", 33) + " {\n\t}\n}", "bad name"},
		{"tool twice", "devlms {\n\ttool a {" + goodTool + "}\n\ttool a {\n\t}\n}", "two tools of this name"},
		{"client twice", "devlms {\n\ttool a {" + goodTool + "}\n\ttool b {" + goodTool + "}\n}", "belongs to tool a already"},
		{"nothing in a tool", "devlms {\n\ttool a {\n\t}\n}", "tool a: client_id is missing"},
		{"no deployment", "devlms {\n\ttool a {\n\tclient_id x\n\t}\n}", "tool a: deployment is missing"},
		{"no login", "devlms {\n\ttool a {\n\tclient_id x\n\tdeployment 1\n\t}\n}", "tool a: login is missing"},
		{"no redirect", "devlms {\n\ttool a {\n\tclient_id x\n\tdeployment 1\n\tlogin https://a.example/\n\t}\n}", "tool a: redirect is missing"},
		{"unknown in a tool", tool("secret x"), "unrecognized option of tool site: secret"},
		{"title of a tool", tool("title"), "wrong argument count"},
		{"client_id again", tool("client_id x"), "client_id is given twice"},
		{"client_id with space", "devlms {\n\ttool a {\n\tclient_id \"a b\"\n\t}\n}", "client_id: bad value"},
		{"deployment again", tool("deployment 2"), "deployment is given twice"},
		{"deployment too long", "devlms {\n\ttool a {\n\tdeployment " + strings.Repeat("1", 256) + "\n\t}\n}", "longer than 255"},
		{"login again", tool("login https://a.example/"), "login is given twice"},
		{"login on http", "devlms {\n\ttool a {\n\tlogin http://a.example/\n\t}\n}", "expected https"},
		{"login relative", "devlms {\n\ttool a {\n\tlogin /lti/login\n\t}\n}", "login: bad URL"},
		{"redirect empty", tool("redirect"), "wrong argument count"},
		{"redirect with fragment", tool("redirect https://a.example/#x"), "fragment"},
		{"redirect with script", tool("redirect javascript:alert(1)"), "redirect: bad URL"},
		{"redirect with password", tool("redirect https://u:p@a.example/"), "password"},
		{"jwks", tool("jwks nonsense"), "jwks: bad URL"},
		{"link with one", tool("link x"), "wrong argument count"},
		{"link with four", tool("link x https://a.example/ iframe y"), "wrong argument count"},
		{"link target", tool("link x https://a.example/ tab"), `bad target "tab": expected iframe or window`},
		{"link without title", tool(`link "" https://a.example/`), "the title is empty"},
		{"link elsewhere", tool("link x ftp://a.example/"), "link: target_link_uri: bad URL"},
		{"custom with one", tool("custom x"), "wrong argument count"},
		{"custom twice", tool("custom x 1\n\t\tcustom x 2"), "custom: x is given twice"},
		{"custom without name", tool(`custom "" 2`), "custom: the name is empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := new(Handler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(tc.input))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("expected an error with %q, got %v", tc.want, err)
			}
			if !strings.Contains(err.Error(), "Testfile:") && !strings.Contains(err.Error(), "line") {
				t.Errorf("the error has no place: %v", err)
			}
		})
	}
}

// TestAdapt goes through Caddy's adapter: the directive needs no order option.
func TestAdapt(t *testing.T) {
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	out, _, err := adapter.Adapt([]byte("http://lms.localhost:8080 {\n\trespond later\n\tdevlms {\n\t\ttitle X\n\t}\n}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	first, second := strings.Index(string(out), `"handler":"devlms","title":"X"`), strings.Index(string(out), `"handler":"static_response"`)
	if first < 0 || second < first {
		t.Errorf("got %s", out)
	}
	var cfg caddy.Config
	if err := json.Unmarshal(out, &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&cfg); err != nil {
		t.Errorf("Caddy does not take it: %v", err)
	}
	if _, held := states.References(""); held {
		t.Error("validating has left a state behind")
	}
	_, _, err = adapter.Adapt([]byte("http://lms.localhost:8080 {\n\tdevlms {\n\t\tcolour red\n\t}\n}\n"), nil)
	if err == nil || !strings.Contains(err.Error(), "Caddyfile:3") {
		t.Errorf("expected an error in line 3, got %v", err)
	}
}

func TestChecksOfJSON(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Handler)
		want   string
	}{
		{"issuer", func(h *Handler) { h.Issuer = "https://lms.example/" }, "issuer: bad issuer"},
		{"issuer that is no URL", func(h *Handler) { h.Issuer = "%" }, "issuer: "},
		{"storage", func(h *Handler) { h.Storage = "on" }, `storage: bad value "on"`},
		{"leeway", func(h *Handler) { h.Leeway = -1 }, "leeway: "},
		{"allow_private", func(h *Handler) { h.AllowPrivate = []string{"x"} }, `allow_private "x"`},
		{"fault", func(h *Handler) { h.Faults = map[string]string{"x": "on"} }, `faults: unknown fault "x"`},
		{"registration", func(h *Handler) { h.Registration = &Registration{Deployment: "x"} }, `registration: deployment: bad value "x": expected tool, top or none`},
		{"registration off with an option", func(h *Handler) { h.Registration = &Registration{Off: true, Errors: "text"} }, "it is off, so errors means nothing"},
		{"registration off with scopes", func(h *Handler) { h.Registration = &Registration{Off: true, Scopes: []string{"score"}} }, "it is off, so scopes means nothing"},
		{"scopes of registration", func(h *Handler) { h.Registration = &Registration{Scopes: []string{"x"}} }, `registration: scopes: bad value "x"`},
		{"ags", func(h *Handler) { h.Tools[0].AGS = "x" }, "ags: bad value"},
		{"ags without keys", func(h *Handler) { h.Tools[1].AGS = "on" }, "ags is on, but without"},
		{"nrps", func(h *Handler) { h.Tools[0].NRPS = "x" }, "nrps: bad value"},
		{"nrps without keys", func(h *Handler) { h.Tools[1].NRPS = "on" }, "nrps is on, but without"},
		{"deep_linking", func(h *Handler) { h.Tools[0].DeepLinking = "x" }, "deep_linking: bad value"},
		{"deep_linking without keys", func(h *Handler) { h.Tools[1].DeepLinking = "on" }, "deep_linking is on, but without"},
		{"deep_linking_url", func(h *Handler) { h.Tools[0].DeepLinkingURL = "x" }, "deep_linking_url: bad URL"},
		{"maximum of a tool", func(h *Handler) { h.Tools[0].ScoreMaximum = -1 }, "score_maximum: bad number"},
		{"maximum of a link", func(h *Handler) { h.Tools[0].Links[0].ScoreMaximum = 1e12 }, "score_maximum: bad number"},
		{"ungraded with a tag", func(h *Handler) { h.Tools[0].Links[0].Ungraded, h.Tools[0].Links[0].Tag = true, "x" }, "ungraded: "},
		{"null tool", func(h *Handler) { h.Tools[0] = nil }, "null"},
		{"null link", func(h *Handler) { h.Tools[0].Links[0] = nil }, "null"},
		{"name", func(h *Handler) { h.Tools[0].Name = "" }, "bad name"},
		{"same name", func(h *Handler) { h.Tools[1].Name = "site" }, "two tools of this name"},
		{"same client", func(h *Handler) { h.Tools[1].ClientID = "demo-site" }, "belongs to another tool"},
		{"client", func(h *Handler) { h.Tools[0].ClientID = "" }, "client_id: missing"},
		{"deployment", func(h *Handler) { h.Tools[0].Deployment = "ä" }, "deployment: bad value"},
		{"login", func(h *Handler) { h.Tools[0].LoginURL = "" }, "login_url: missing"},
		{"no redirect", func(h *Handler) { h.Tools[0].RedirectURIs = nil }, "at least one"},
		{"redirect", func(h *Handler) { h.Tools[0].RedirectURIs[1] = "x" }, "redirect_uris: bad URL"},
		{"jwks", func(h *Handler) { h.Tools[0].JWKSURL = "x" }, "jwks_url: bad URL"},
		{"link title", func(h *Handler) { h.Tools[0].Links[0].Title = "" }, "the title is empty"},
		{"link", func(h *Handler) { h.Tools[0].Links[0].TargetLinkURI = "x" }, "target_link_uri: bad URL"},
		{"target", func(h *Handler) { h.Tools[0].Links[0].Target = "x" }, "bad target"},
		{"custom", func(h *Handler) { h.Tools[0].Custom[""] = "x" }, "custom: a name is empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &Handler{Tools: testTools()}
			tc.change(h)
			ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
			defer cancel()
			err := h.Provision(ctx)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("expected an error with %q, got %v", tc.want, err)
			}
			if err := h.Cleanup(); err != nil {
				t.Errorf("cleanup of a handler that was never ready: %v", err)
			}
		})
	}
}

func provision(t *testing.T, h *Handler) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
}

func serveHandler(t *testing.T, h *Handler, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		t.Error("the next handler was called")
		return nil
	})
	if err := h.ServeHTTP(w, r, next); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestDefaults(t *testing.T) {
	h := &Handler{Tools: []*Tool{{
		Name: "a", ClientID: "c", Deployment: "1", LoginURL: "https://a.example/", RedirectURIs: []string{"https://a.example/"},
		Links: []*Link{{Title: "L", TargetLinkURI: "https://a.example/"}},
	}}}
	provision(t, h)
	t.Cleanup(func() { _ = h.Cleanup() })
	if h.Title != "Localhost University" || h.Storage != "off" || h.Tools[0].Title != "a" || h.Tools[0].Links[0].Target != "iframe" {
		t.Errorf("got %+v", h)
	}
	if h.platform.state.signing != nil {
		t.Error("a key was made before anybody needed one")
	}
}

// TestReload: the key outlives a change of the configuration, and goes with the
// last one.
func TestReload(t *testing.T) {
	jwks := func(h *Handler) string {
		return serveHandler(t, h, httptest.NewRequest(http.MethodGet, "http://lms.localhost/jwks", nil)).Body.String()
	}
	before := &Handler{Tools: testTools()}
	provision(t, before)
	first := jwks(before)
	late := lateTool("")
	if err := before.platform.addTool(before.platform.state.book("http://lms.localhost"), late); err != nil {
		t.Fatal(err)
	}

	after := &Handler{Title: "Other", Tools: testTools()[:1]}
	provision(t, after)
	if err := before.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if got := jwks(after); got != first {
		t.Error("the key did not outlive the reload")
	}
	if after.platform.toolByClient(after.platform.state.book("http://lms.localhost"), late.ClientID) == nil {
		t.Error("the tool that came at run time did not outlive the reload")
	}
	if got := jwks(before); got != first {
		t.Error("a late request of the old configuration finds no key")
	}

	other := &Handler{Issuer: "http://lms.localhost"}
	provision(t, other)
	if got := jwks(other); got == first {
		t.Error("two issuers share a key")
	}
	for _, h := range []*Handler{after, other, other} {
		if err := h.Cleanup(); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"", "http://lms.localhost"} {
		if _, ok := states.References(key); ok {
			t.Errorf("state %q is still held", key)
		}
	}
}

func TestHTTPSBehindProxy(t *testing.T) {
	h := &Handler{Tools: testTools()}
	provision(t, h)
	t.Cleanup(func() { _ = h.Cleanup() })
	for _, tc := range []struct {
		trusted bool
		proto   string
		code    int
	}{
		{false, "https", http.StatusForbidden},
		{true, "http", http.StatusForbidden},
		{true, "https", http.StatusOK},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://lms.example/", nil)
		r.Header.Set("X-Forwarded-Proto", tc.proto)
		w := httptest.NewRecorder()
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
		caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, tc.trusted)
		if err := h.ServeHTTP(w, r, nil); err != nil {
			t.Fatal(err)
		}
		if w.Code != tc.code {
			t.Errorf("trusted %t, %s: expected %d, got %d", tc.trusted, tc.proto, tc.code, w.Code)
		}
	}
}

// TestModule: the module is found by its id, and takes no unknown key.
// TestRegistrationIsDocumented: every option, with every value.
func TestRegistrationIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/caddyfile.md")
	if err != nil {
		t.Fatal(err)
	}
	row := func(option string) string {
		_, rest, _ := strings.Cut(string(text), "\n| `"+option+"` |")
		line, _, _ := strings.Cut(rest, "\n")
		return line
	}
	for _, c := range new(Registration).choices() {
		for n, value := range c.values {
			if line := row(c.option); !strings.Contains(line, "`"+value+"`") || n == 0 && !strings.Contains(line, "`"+value+"` (default") {
				t.Errorf("%s %s: %q", c.option, value, line)
			}
		}
	}
	if !strings.Contains(row("scopes"), "`none`") {
		t.Error("scopes is not there")
	}
}

func TestModule(t *testing.T) {
	info, err := caddy.GetModule("http.handlers.devlms")
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.StrictUnmarshalJSON(caddyconfig.JSON(map[string]string{"titel": "x"}, nil), info.New()); err == nil {
		t.Error("an unknown key was taken")
	}
}

// TestNoForeignResources: pages load nothing from elsewhere.
func TestNoForeignResources(t *testing.T) {
	for _, dir := range []string{"templates", "assets"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			data, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(string(data), `xmlns="http://www.w3.org/2000/svg"`, "")
			for _, bad := range []string{"http://", "https://", "@import", "url(", "style=", "onclick"} {
				if strings.Contains(text, bad) {
					t.Errorf("%s holds %q", f.Name(), bad)
				}
			}
		}
	}
}
