package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// loginSites is a Caddy with three sites, and what stands behind them: one has
// one platform, two has three registrations, of which two share an issuer, and
// shared has two registrations whose deployments are not told apart.
func loginSites(tb testing.TB) (*caddy, *recordingApp, *ltitest.Platform) {
	tb.Helper()
	p := ltitest.NewPlatform(tb)
	app := newRecordingApp(tb)
	platform := func(name, issuer, client, deployment string) string {
		return fmt.Sprintf("\t\tplatform %s {\n\t\t\tissuer %s\n\t\t\tclient_id %s\n\t\t\tdeployment %s\n"+
			"\t\t\tauth_url \"https://lms.example/auth?tenant=a%%20b&x=%%26&%s\"\n\t\t\tjwks_url %s\n\t\t}\n",
			name, issuer, client, deployment, name, p.JWKSURL())
	}
	site := func(host string, platforms ...string) string {
		return "http://" + host + ".localhost:$PORT {\n\tlti {\n" + strings.Join(platforms, "") + "\t}\n\treverse_proxy " + app.addr + "\n}\n"
	}
	c := startCaddy(tb, global(ltiGlobal)+
		site("one", platform("lms", p.Issuer, p.ClientID, p.Deployment))+
		site("two",
			platform("lms", p.Issuer, p.ClientID, "dep-1 dep-2"),
			platform("second", p.Issuer, "client-2", "dep-3"),
			platform("other", "https://other.example/lti", "client-1", "dep-1"))+
		site("shared",
			platform("lms", p.Issuer, p.ClientID, "any"),
			platform("second", p.Issuer, "client-2", "dep-3")))
	return c, app, p
}

// params are the parameters of a login initiation.
type params [][2]string

func (p params) encode() string {
	parts := make([]string, 0, len(p))
	for _, kv := range p {
		parts = append(parts, url.QueryEscape(kv[0])+"="+url.QueryEscape(kv[1]))
	}
	return strings.Join(parts, "&")
}

// goodLogin is what a platform sends, with other values for some parameters;
// an absent one has ltitest.Absent.
func goodLogin(c *caddy, host string, diff ...string) params {
	p := params{
		{"iss", "https://lms.example"},
		{"login_hint", "5"},
		{"target_link_uri", c.origin(host) + "/"},
		{"client_id", "client-1"},
	}
	for i := 0; i+1 < len(diff); i += 2 {
		found := false
		for j := range p {
			if p[j][0] == diff[i] {
				p[j][1], found = diff[i+1], true
			}
		}
		if !found {
			p = append(p, [2]string{diff[i], diff[i+1]})
		}
	}
	var kept params
	for _, kv := range p {
		if kv[1] != ltitest.Absent {
			kept = append(kept, kv)
		}
	}
	return kept
}

func TestLoginInitiation(t *testing.T) {
	c, app, _ := loginSites(t)
	const absent = ltitest.Absent
	tests := []struct {
		name string
		host string // default: one
		path string // default: /lti/login
		diff []string
		more string // of the query, as it is
		form string // beside the form, as it is
		code string // empty: goes on to the platform
		stat int
		to   string // the platform, where it is not lms
		only string // GET or POST, where not both
	}{
		{name: "good"},
		{name: "no client id", diff: []string{"client_id", absent}},
		{name: "empty client id", diff: []string{"client_id", ""}},
		{name: "empty hint of the message", diff: []string{"lti_message_hint", "", "lti_deployment_id", ""}},
		{name: "deployment", diff: []string{"lti_deployment_id", "dep-1"}},
		{name: "unknown parameters", diff: []string{"canvas_region", "us-east-1", "deployment_id", "x", "nonce", "x", "state", "y", "redirect_uri", "https://evil.example/", "scope", "all", "response_mode", "query"}},
		{name: "target elsewhere is not believed", diff: []string{"target_link_uri", "https://evil.example/\r\nX: y"}},
		{name: "equal values twice", more: "&iss=https%3A%2F%2Flms.example&login_hint=5&client_id=client-1"},
		{name: "unknown parameter twice", more: "&a=1&a=2"},

		{name: "no iss", diff: []string{"iss", absent}, code: "issuer_missing", stat: 400},
		{name: "empty iss", diff: []string{"iss", ""}, code: "issuer_missing", stat: 400},
		{name: "no login_hint", diff: []string{"login_hint", absent}, code: "login_hint_missing", stat: 400},
		{name: "empty login_hint", diff: []string{"login_hint", ""}, code: "login_hint_missing", stat: 400},
		{name: "no target_link_uri", diff: []string{"target_link_uri", absent}, code: "target_link_uri_missing", stat: 400},
		{name: "empty target_link_uri", diff: []string{"target_link_uri", ""}, code: "target_link_uri_missing", stat: 400},
		{name: "names in capitals", diff: []string{"iss", absent, "ISS", "https://lms.example"}, code: "issuer_missing", stat: 400},
		{name: "nothing", diff: []string{"iss", absent, "login_hint", absent, "target_link_uri", absent, "client_id", absent}, code: "issuer_missing", stat: 400},
		{name: "unknown issuer", diff: []string{"iss", "https://evil.example"}, code: "platform_unknown", stat: 403},
		{name: "issuer with a slash", diff: []string{"iss", "https://lms.example/"}, code: "platform_unknown", stat: 403},
		{name: "issuer in capitals", diff: []string{"iss", "https://LMS.example"}, code: "platform_unknown", stat: 403},
		{name: "issuer with a port", diff: []string{"iss", "https://lms.example:443"}, code: "platform_unknown", stat: 403},
		{name: "issuer with spaces", diff: []string{"iss", " https://lms.example"}, code: "platform_unknown", stat: 403},
		{name: "unknown client id", diff: []string{"client_id", "client-9"}, code: "platform_unknown", stat: 403},
		{name: "client id in capitals", diff: []string{"client_id", "CLIENT-1"}, code: "platform_unknown", stat: 403},
		{name: "iss twice", more: "&iss=https%3A%2F%2Fevil.example", code: "request_malformed", stat: 400},
		{name: "login_hint twice", more: "&login_hint=6", code: "request_malformed", stat: 400},
		{name: "client_id twice", more: "&client_id=client-2", code: "request_malformed", stat: 400},
		{name: "target_link_uri twice", more: "&target_link_uri=x", code: "request_malformed", stat: 400},
		{name: "hint of the message twice", more: "&lti_message_hint=a&lti_message_hint=b", code: "request_malformed", stat: 400},
		{name: "deployment twice", more: "&lti_deployment_id=a&lti_deployment_id=b", code: "request_malformed", stat: 400},
		{name: "one value empty", more: "&client_id=", code: "request_malformed", stat: 400},
		{name: "bad escape", more: "&x=%zz", code: "request_malformed", stat: 400},
		{name: "semicolon", more: ";iss=https%3A%2F%2Fevil.example", code: "request_malformed", stat: 400},
		{name: "long login_hint", diff: []string{"login_hint", strings.Repeat("h", 4097)}, code: "request_too_large", stat: 413},
		{name: "long hint of the message", diff: []string{"lti_message_hint", strings.Repeat("h", 8193)}, code: "request_too_large", stat: 413},
		{name: "long iss", diff: []string{"iss", "https://" + strings.Repeat("h", 5000)}, code: "request_too_large", stat: 413},
		{name: "long deployment", diff: []string{"lti_deployment_id", strings.Repeat("d", 256)}, code: "request_malformed", stat: 400},
		{name: "large form", diff: []string{"x", strings.Repeat("x", 65<<10)}, only: http.MethodPost, code: "request_too_large", stat: 413},
		{name: "different values in query and form", only: http.MethodPost, form: "?iss=https%3A%2F%2Fevil.example", code: "request_malformed", stat: 400},
		{name: "a part in the query", only: http.MethodPost, diff: []string{"client_id", absent}, form: "?client_id=client-1"},

		{name: "issuer of one registration", host: "two", diff: []string{"iss", "https://other.example/lti", "client_id", absent}, to: "other"},
		{name: "ambiguous issuer with client id", host: "two", diff: []string{"client_id", "client-2"}, to: "second"},
		{name: "ambiguous issuer without client id", host: "two", diff: []string{"client_id", absent}, code: "platform_ambiguous", stat: 400},
		{name: "ambiguous issuer with empty client id", host: "two", diff: []string{"client_id", ""}, code: "platform_ambiguous", stat: 400},
		{name: "ambiguous issuer with a deployment of one", host: "two", diff: []string{"client_id", absent, "lti_deployment_id", "dep-3"}, to: "second"},
		{name: "ambiguous issuer with a deployment of the other", host: "two", diff: []string{"client_id", absent, "lti_deployment_id", "dep-2"}},
		{name: "ambiguous issuer with a deployment of none", host: "two", diff: []string{"client_id", absent, "lti_deployment_id", "dep-9"}, code: "deployment_unknown", stat: 403},
		{name: "ambiguous issuer with a deployment of both", host: "shared", diff: []string{"client_id", absent, "lti_deployment_id", "dep-3"}, code: "platform_ambiguous", stat: 400},
		{name: "client id of another issuer", host: "two", diff: []string{"iss", "https://other.example/lti", "client_id", "client-2"}, code: "platform_unknown", stat: 403},

		{name: "by name", host: "two", path: "/lti/login/lms", diff: []string{"client_id", absent}},
		{name: "by name of the second", host: "two", path: "/lti/login/second", diff: []string{"client_id", absent}, to: "second"},
		{name: "by name with its client id", host: "two", path: "/lti/login/second", diff: []string{"client_id", "client-2"}, to: "second"},
		{name: "by name with another client id", host: "two", path: "/lti/login/second", code: "platform_unknown", stat: 403},
		{name: "by name with another issuer", host: "two", path: "/lti/login/other", code: "platform_unknown", stat: 403},
		{name: "by unknown name", host: "two", path: "/lti/login/unknown", code: "not_found", stat: 404},
		{name: "by name in capitals", host: "two", path: "/lti/login/LMS", code: "not_found", stat: 404},
		{name: "by empty name", host: "two", path: "/lti/login/", code: "not_found", stat: 404},
		{name: "by name and more", host: "two", path: "/lti/login/lms/", code: "not_found", stat: 404},
	}
	for _, tt := range tests {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if tt.only != "" && tt.only != method {
				continue
			}
			t.Run(tt.name+"/"+method, func(t *testing.T) {
				host, path := "one", "/lti/login"
				if tt.host != "" {
					host = tt.host
				}
				if tt.path != "" {
					path = tt.path
				}
				host += ".localhost"
				b := newBrowser(t)
				send := func(p params, more string) *answer {
					if method == http.MethodPost {
						return b.post(c.origin(host)+path+tt.form, p.encode()+more, "Accept", "application/json")
					}
					return b.get(c.origin(host)+path+"?"+p.encode()+more, "Accept", "application/json")
				}
				p := goodLogin(c, host, tt.diff...)
				res := send(p, tt.more)
				if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Referrer-Policy") != "no-referrer" {
					t.Errorf("Cache-Control %q, Referrer-Policy %q", res.Header.Get("Cache-Control"), res.Header.Get("Referrer-Policy"))
				}
				if n, _ := app.seen(host); n != 0 {
					t.Errorf("the app saw %d requests", n)
				}
				if tt.code != "" {
					code, _ := readRefusal(t, res, false)
					if res.StatusCode != tt.stat || code != tt.code {
						t.Errorf("got %d %s, expected %d %s", res.StatusCode, code, tt.stat, tt.code)
					}
					if len(res.Cookies()) > 0 || res.Header.Get("Location") != "" {
						t.Errorf("the refusal sets %v and leads to %q", res.Header["Set-Cookie"], res.Header.Get("Location"))
					}
					return
				}
				platform := "lms"
				if tt.to != "" {
					platform = tt.to
				}
				checkAuthRequest(t, c, res, host, platform, p)
				checkStateCookie(t, res)
			})
		}
	}
}

// checkAuthRequest looks at the authentication request (Security Framework
// §5.1.1.2, LTI 1.3 §4.1.1) that a login is answered with.
func checkAuthRequest(t *testing.T, c *caddy, res *answer, host, platform string, sent params) {
	t.Helper()
	loc, err := res.Location()
	if err != nil || res.StatusCode != http.StatusFound {
		t.Fatalf("got %d %s, expected a redirect", res.StatusCode, res.body)
	}
	if got := loc.Scheme + "://" + loc.Host + loc.Path; got != "https://lms.example/auth" || loc.Fragment != "" {
		t.Errorf("leads to %s", loc)
	}
	want := map[string]string{
		"scope": "openid", "response_type": "id_token", "response_mode": "form_post", "prompt": "none",
		"client_id":    map[string]string{"lms": "client-1", "second": "client-2", "other": "client-1"}[platform],
		"redirect_uri": c.origin(host) + "/lti/launch",
		// The query that the endpoint has anyway.
		"tenant": "a b", "x": "&", platform: "",
	}
	for _, kv := range sent {
		if kv[0] == "login_hint" || (kv[0] == "lti_message_hint" && kv[1] != "") {
			want[kv[0]] = kv[1]
		}
	}
	got, err := url.ParseQuery(loc.RawQuery)
	if err != nil {
		t.Fatalf("query of %s: %v", loc, err)
	}
	for name, val := range want {
		if vals := got[name]; len(vals) != 1 || vals[0] != val {
			t.Errorf("%s is %q, expected %q", name, vals, val)
		}
	}
	for name, vals := range got {
		switch _, ok := want[name]; {
		case name == "state" || name == "nonce":
			if len(vals) != 1 || len(vals[0]) < 22 {
				t.Errorf("%s is %q, expected 128 bits or more", name, vals)
			}
		case !ok:
			t.Errorf("unexpected parameter %s=%q", name, vals)
		}
	}
	state := got.Get("state")
	plain, err := base64.RawURLEncoding.DecodeString(state)
	if err != nil {
		t.Errorf("state %q: %v", state, err)
	}
	if strings.Contains(string(plain), got.Get("nonce")) {
		t.Error("the state shows the nonce")
	}
}

// checkStateCookie looks at the cookie that binds a login to the browser.
func checkStateCookie(t *testing.T, res *answer) {
	t.Helper()
	lines := res.Header["Set-Cookie"]
	if len(lines) != 1 {
		t.Fatalf("Set-Cookie: %q, expected one", lines)
	}
	pair, attributes, _ := strings.Cut(lines[0], "; ")
	name, value, _ := strings.Cut(pair, "=")
	if !strings.HasPrefix(name, "__Host-lti-s-") || len(pair) > 100 || len(value) < 43 {
		t.Errorf("cookie %s", pair)
	}
	have := make(map[string]bool)
	for a := range strings.SplitSeq(attributes, "; ") {
		have[a] = true
	}
	for _, want := range []string{"Path=/", "Max-Age=600", "HttpOnly", "Secure", "SameSite=None", "Partitioned"} {
		if !have[want] {
			t.Errorf("the cookie has no %s: %s", want, lines[0])
		}
		delete(have, want)
	}
	if len(have) > 0 {
		t.Errorf("the cookie has %v besides", have)
	}
}

func TestLoginHintsAreEchoed(t *testing.T) {
	c, _, _ := loginSites(t)
	const host = "one.localhost"
	hints := []string{
		`{"cmid":21,"launchid":"ltilaunch20_948049405"}`,
		`eyJhbGciOiJIUzI1NiJ9.e30.x-_y==`,
		`a+b c%20d%2Be&f=g;h#i?j/k\l`,
		`"'<>{}|^` + "`" + `~!$()*,:@[]`,
		" spaces around ",
		"line\nbreaks\r\nand\ttabs\x00\x01\x7f",
		"Zoë 山田 🧪 \u200b\ufeff",
		"not UTF-8: \xff\xfe\x80",
		strings.Repeat("é", 500),
		"0", "null", "false", "%", "+", "&",
	}
	for _, hint := range hints {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			name := ltitest.Thumb(hint)
			if len(hint) < 50 && utf8.ValidString(hint) {
				name = fmt.Sprintf("%q", hint)
			}
			t.Run(name+"/"+method, func(t *testing.T) {
				b := newBrowser(t)
				p := goodLogin(c, host, "login_hint", hint, "lti_message_hint", hint+hint)
				var res *answer
				if method == http.MethodPost {
					res = b.post(c.origin(host)+"/lti/login", p.encode())
				} else {
					res = b.get(c.origin(host) + "/lti/login?" + p.encode())
				}
				loc, err := res.Location()
				if err != nil {
					t.Fatalf("got %d %s", res.StatusCode, res.body)
				}
				q := loc.Query()
				if got := q.Get("login_hint"); got != hint {
					t.Errorf("login_hint came back as %q", got)
				}
				if got := q.Get("lti_message_hint"); got != hint+hint {
					t.Errorf("lti_message_hint came back as %q", got)
				}
			})
		}
	}
}

// TestLoginCannotBeConfused sends what is no login initiation.
func TestLoginCannotBeConfused(t *testing.T) {
	c, app, _ := loginSites(t)
	const host = "one.localhost"
	good := goodLogin(c, host).encode()
	doc, err := json.Marshal(map[string]string{"iss": "https://lms.example", "login_hint": "5", "target_link_uri": c.origin(host) + "/"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, method, path, contentType, body string
		status                                int
		code                                  string
	}{
		{"PUT", http.MethodPut, "/lti/login", "application/x-www-form-urlencoded", good, 405, "method_not_allowed"},
		{"DELETE", http.MethodDelete, "/lti/login?" + good, "", "", 405, "method_not_allowed"},
		{"OPTIONS", http.MethodOptions, "/lti/login?" + good, "", "", 405, "method_not_allowed"},
		{"lower case", "post", "/lti/login", "application/x-www-form-urlencoded", good, 405, "method_not_allowed"},
		{"GET launch", http.MethodGet, "/lti/launch?state=a&id_token=b", "", "", 405, "method_not_allowed"},
		{"PUT launch", http.MethodPut, "/lti/launch", "application/x-www-form-urlencoded", "state=a&id_token=b", 405, "method_not_allowed"},
		{"JSON", http.MethodPost, "/lti/login", "application/json", string(doc), 400, "request_malformed"},
		{"no type", http.MethodPost, "/lti/login", "", good, 400, "request_malformed"},
		{"text", http.MethodPost, "/lti/login", "text/plain", good, 400, "request_malformed"},
		{"multipart", http.MethodPost, "/lti/login", "multipart/form-data; boundary=x", "--x--", 400, "request_malformed"},
		{"path in capitals", http.MethodPost, "/lti/LOGIN", "application/x-www-form-urlencoded", good, 404, "not_found"},
		{"path with a slash", http.MethodPost, "/lti/launch/", "application/x-www-form-urlencoded", good, 404, "not_found"},
		{"path below", http.MethodPost, "/lti/launch/x", "application/x-www-form-urlencoded", good, 404, "not_found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBrowser(t)
			req := b.request(tt.method, c.origin(host)+tt.path, strings.NewReader(tt.body), "Accept", "application/json")
			if tt.contentType != "" {
				req.Header.Set("Content-Type", tt.contentType)
			}
			res := b.do(req)
			code, _ := readRefusal(t, res, false)
			if res.StatusCode != tt.status || code != tt.code {
				t.Errorf("got %d %s, expected %d %s", res.StatusCode, code, tt.status, tt.code)
			}
			if (res.Header.Get("Allow") != "") != (tt.status == 405) {
				t.Errorf("Allow is %q", res.Header.Get("Allow"))
			}
			if len(res.Cookies()) > 0 {
				t.Errorf("sets %v", res.Header["Set-Cookie"])
			}
			if n, _ := app.seen(host); n != 0 {
				t.Errorf("the app saw %d requests", n)
			}
		})
	}
}

// What is refused before a platform can be held to anything names it in the log
// all the same, as far as it can be told.
func TestRefusalsNameThePlatform(t *testing.T) {
	c, _, p := loginSites(t)
	tl := &tool{caddy: c, host: "two.localhost", base: "/lti", platform: p}
	refused := func(t *testing.T, res *answer, code, platform string) {
		t.Helper()
		got, reference := readRefusal(t, res, false)
		if got != code {
			t.Errorf("got %d %s, expected %s", res.StatusCode, got, code)
		}
		tl.logs(t, reference, `"code":"`+code+`"`, `"platform":"`+platform+`"`)
	}
	const absent = ltitest.Absent
	for name, tt := range map[string]struct {
		path, more string
		diff       []string
		code       string
		platform   string
	}{
		"no hint":                    {"", "", []string{"login_hint", absent}, "login_hint_missing", "lms"},
		"no target":                  {"", "", []string{"target_link_uri", absent}, "target_link_uri_missing", "lms"},
		"a long hint":                {"", "", []string{"login_hint", strings.Repeat("x", 5000)}, "request_too_large", "lms"},
		"a hint twice":               {"", "&login_hint=6", nil, "request_malformed", "lms"},
		"another issuer":             {"", "", []string{"iss", "https://other.example/lti", "login_hint", absent}, "login_hint_missing", "other"},
		"which of two is not said":   {"", "", []string{"client_id", absent, "login_hint", absent}, "login_hint_missing", ""},
		"an unknown issuer":          {"", "", []string{"iss", "https://evil.example", "login_hint", absent}, "login_hint_missing", ""},
		"named by the path":          {"/second", "", []string{"iss", absent}, "issuer_missing", "second"},
		"named, with another's id":   {"/second", "", nil, "platform_unknown", "second"},
		"named, and cannot be read":  {"/second", "&x=%zz", nil, "request_malformed", "second"},
		"named, with another issuer": {"/other", "", []string{"client_id", absent, "login_hint", absent}, "login_hint_missing", "other"},
	} {
		t.Run(name, func(t *testing.T) {
			query := goodLogin(c, tl.host, tt.diff...).encode() + tt.more
			refused(t, newBrowser(t).get(tl.url("/lti/login"+tt.path+"?"+query), "Accept", "application/json"), tt.code, tt.platform)
		})
	}
	for name, tt := range map[string]struct{ more, code string }{
		"no token":      {"", "id_token_missing"},
		"a token twice": {"&id_token=a&id_token=b", "request_malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBrowser(t)
			form := url.Values{"state": {tl.login(b).Get("state")}}.Encode() + tt.more
			refused(t, b.post(tl.url("/lti/launch"), form, "Accept", "application/json"), tt.code, "lms")
		})
	}
}
