package devlms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/jose"
)

var testKeys = sync.OnceValue(func() []*jose.Key {
	keys := make([]*jose.Key, 2)
	for i := range keys {
		key, err := jose.GenerateKey()
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

// fetcher stands for the tool's key set.
type fetcher struct {
	keys    []*jose.Key
	fetches int
	err     error
}

func (f *fetcher) Get(_ context.Context, url, _ string, _ int64) (*httpx.Response, error) {
	f.fetches++
	if f.err != nil {
		return nil, f.err
	}
	set, err := jose.PublicSet(f.keys...)
	return &httpx.Response{Status: 200, Header: http.Header{}, Body: set, URL: url}, err
}

// tooled is an LMS whose tool site has a key set.
type tooled struct {
	*lms

	fetcher *fetcher
	key     *jose.Key
	serial  int
}

func newTooled(t *testing.T) *tooled {
	t.Helper()
	keys := testKeys()
	l := &tooled{lms: newLMS(t), fetcher: &fetcher{keys: keys[:1]}, key: keys[0]}
	l.who = ""
	l.fetchers["site"] = l.fetcher
	return l
}

func (l *tooled) assertion() map[string]any {
	l.serial++
	return map[string]any{
		"iss": "demo-site", "sub": "demo-site", "aud": testOrigin + "/token",
		"iat": l.at.Unix(), "exp": l.at.Unix() + 300, "jti": fmt.Sprint("jti-", l.serial),
		claimPrefix + "deployment_id": "1",
	}
}

// form is a good token request with these claims.
func (l *tooled) form(claims map[string]any, scopes ...string) url.Values {
	l.t.Helper()
	signed, err := l.key.Sign(claims)
	if err != nil {
		l.t.Fatal(err)
	}
	return url.Values{
		"grant_type":            {"client_credentials"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {signed},
		"scope":                 {strings.Join(scopes, " ")},
	}
}

// accessToken gets one with these scopes, or all.
func (l *tooled) accessToken(scopes ...string) string {
	l.t.Helper()
	if len(scopes) == 0 {
		scopes = agsScopes
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	decode(l.t, l.do(http.MethodPost, "/token", l.form(l.assertion(), scopes...)), 200, &answer)
	return answer.Token
}

func decode(t *testing.T, w *httptest.ResponseRecorder, status int, into any) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("expected %d, got %d: %s", status, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
}

func TestTokenAnswer(t *testing.T) {
	l := newTooled(t)
	w := l.do(http.MethodPost, "/token", l.form(l.assertion(), scopeScore, "https://tool.example/none", scopeLineItem, scopeScore))
	var answer map[string]any
	decode(t, w, 200, &answer)
	if answer["token_type"] != "Bearer" || answer["expires_in"] != 3600.0 || answer["scope"] != scopeScore+" "+scopeLineItem || len(answer) != 4 {
		t.Errorf("got %v", answer)
	}
	if token := answer["access_token"].(string); len(token) < 22 || token == l.accessToken() {
		t.Errorf("token %s", token)
	}
	h := w.Header()
	if h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" || h.Get("Pragma") != "no-cache" {
		t.Errorf("headers %v", h)
	}
	if l.fetcher.fetches != 1 {
		t.Errorf("the key set was fetched %d times", l.fetcher.fetches)
	}
}

func TestAssertions(t *testing.T) {
	const hour = 3600
	set := func(name string, value any) func(*tooled, map[string]any) {
		return func(_ *tooled, c map[string]any) { c[name] = value }
	}
	date := func(name string, from int64) func(*tooled, map[string]any) {
		return func(l *tooled, c map[string]any) { c[name] = l.at.Unix() + from }
	}
	for _, tc := range []struct {
		name   string
		change func(*tooled, map[string]any)
		want   string // "" is good
	}{
		{"good", func(*tooled, map[string]any) {}, ""},
		{"no deployment", func(_ *tooled, c map[string]any) { delete(c, claimPrefix+"deployment_id") }, ""},
		{"audiences", set("aud", []string{"x", testOrigin + "/token"}), ""},
		{"an hour", date("exp", hour), ""},
		{"fractions", func(l *tooled, c map[string]any) { c["exp"] = float64(l.at.Unix()) + 0.5 }, ""},
		{"other deployment", set(claimPrefix+"deployment_id", "2"), "deployment_id"},
		{"deployment that is a number", set(claimPrefix+"deployment_id", 1), "deployment_id"},
		{"iss", set("iss", testOrigin), "iss must"},
		{"no iss", set("iss", nil), "iss must"},
		{"sub unknown", set("sub", "nobody"), "sub is no client id"},
		{"no sub", set("sub", nil), "no JWT with a sub"},
		{"sub of another", set("sub", "demo-echo"), "without a key set"},
		{"aud is the issuer", set("aud", testOrigin), "aud must be " + testOrigin + "/token"},
		{"aud with a slash", set("aud", testOrigin+"/token/"), "aud must"},
		{"no aud", set("aud", nil), "aud must"},
		{"other audiences", set("aud", []string{testOrigin}), "aud must"},
		{"exp now", date("exp", 0), "exp has passed"},
		{"exp past", date("exp", -1), "exp has passed"},
		{"exp far", date("exp", hour+1), "exp is more than"},
		{"exp in quotes", func(l *tooled, c map[string]any) { c["exp"] = fmt.Sprint(l.at.Unix() + 300) }, "exp is missing or not a number"},
		{"exp null", set("exp", nil), "exp is missing or not a number"},
		{"exp huge", set("exp", 1e300), "exp is missing or not a number"},
		{"no exp", func(_ *tooled, c map[string]any) { delete(c, "exp") }, "exp is missing"},
		{"iat in quotes", func(l *tooled, c map[string]any) { c["iat"] = fmt.Sprint(l.at.Unix()) }, "iat is missing or not a number"},
		{"no iat", func(_ *tooled, c map[string]any) { delete(c, "iat") }, "iat is missing"},
		{"iat ahead", date("iat", 1), "iat is ahead"},
		{"iat ahead, within the leeway", func(l *tooled, c map[string]any) { l.leeway = 5 * time.Second; c["iat"] = l.at.Unix() + 5 }, ""},
		{"iat ahead of the leeway", func(l *tooled, c map[string]any) { l.leeway = 5 * time.Second; c["iat"] = l.at.Unix() + 6 }, "iat is ahead"},
		{"jti empty", set("jti", ""), "jti is missing"},
		{"jti a number", set("jti", 7), "jti is missing"},
		{"no jti", func(_ *tooled, c map[string]any) { delete(c, "jti") }, "jti is missing"},
		{"key unknown", func(l *tooled, _ map[string]any) { l.key = testKeys()[1] }, "not among the 1 keys"},
		{"key set away", func(l *tooled, _ map[string]any) { l.fetcher.err = errors.New("away") }, "away"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newTooled(t)
			claims := l.assertion()
			tc.change(l, claims)
			w := l.do(http.MethodPost, "/token", l.form(claims, scopeScore))
			var answer map[string]any
			if tc.want == "" {
				decode(t, w, 200, &answer)
				return
			}
			decode(t, w, 400, &answer)
			if answer["error"] != "invalid_client" || !strings.Contains(answer["error_description"].(string), tc.want) {
				t.Errorf("expected %q, got %v", tc.want, answer)
			}
			if w.Header().Get("Cache-Control") != "no-store" {
				t.Error("the answer may be cached")
			}
		})
	}
}

func TestTokenRequests(t *testing.T) {
	set := func(name string, values ...string) func(url.Values) {
		return func(form url.Values) { form[name] = values }
	}
	tamper := func(form url.Values) {
		parts := strings.Split(form.Get("client_assertion"), ".")
		form.Set("client_assertion", parts[0]+"."+parts[1]+"."+strings.Repeat("A", len(parts[2])-1)+"A")
	}
	for _, tc := range []struct {
		name, contentType string
		change            func(url.Values)
		want              string
	}{
		{"charset", formType + "; charset=UTF-8", func(url.Values) {}, ""},
		{"client_id too", formType, set("client_id", "demo-site"), ""},
		{"JSON", "application/json", func(url.Values) {}, "invalid_request"},
		{"no type", "", func(url.Values) {}, "invalid_request"},
		{"no grant type", formType, set("grant_type"), "invalid_request"},
		{"grant type", formType, set("grant_type", "authorization_code"), "unsupported_grant_type"},
		{"grant type twice", formType, set("grant_type", grantType, grantType), "invalid_request"},
		{"assertion type", formType, set("client_assertion_type", "jwt"), "invalid_request"},
		{"no assertion", formType, set("client_assertion"), "invalid_request"},
		{"no scope", formType, set("scope"), "invalid_request"},
		{"unknown scope", formType, set("scope", "openid"), "invalid_scope"},
		{"other client_id", formType, set("client_id", "demo-echo"), "invalid_client"},
		{"nonsense", formType, set("client_assertion", "a.b.c"), "invalid_client"},
		{"signature", formType, tamper, "invalid_client"},
		{"no signature", formType, func(form url.Values) {
			parts := strings.Split(form.Get("client_assertion"), ".")
			form.Set("client_assertion", parts[0]+"."+parts[1]+".")
		}, "invalid_client"},
		{"alg none", formType, func(form url.Values) {
			parts := strings.Split(form.Get("client_assertion"), ".")
			form.Set("client_assertion", "eyJhbGciOiJub25lIn0."+parts[1]+".AA")
		}, "invalid_client"},
		{"huge", formType, set("x", strings.Repeat("x", maxTokenBody)), "invalid_request"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newTooled(t)
			form := l.form(l.assertion(), scopeScore)
			tc.change(form)
			w := l.do(http.MethodPost, "/token?scope="+scopeLineItem, form, func(r *http.Request) { r.Header.Set("Content-Type", tc.contentType) })
			var answer map[string]any
			if tc.want == "" {
				decode(t, w, 200, &answer)
				return
			}
			decode(t, w, 400, &answer)
			if answer["error"] != tc.want {
				t.Errorf("expected %s, got %v", tc.want, answer)
			}
		})
	}
}

// TestAssertionOnce: a replay is refused, also where the first got nothing for
// want of a scope.
func TestAssertionOnce(t *testing.T) {
	for _, scope := range []string{scopeScore, "none"} {
		l := newTooled(t)
		claims := l.assertion()
		l.do(http.MethodPost, "/token", l.form(claims, scope))
		w := l.do(http.MethodPost, "/token", l.form(claims, scopeScore))
		if w.Code != 400 || !strings.Contains(w.Body.String(), "jti was used before") {
			t.Errorf("replayed: %d %s", w.Code, w.Body)
		}
	}
	l := newTooled(t)
	for i := range maxNonces + 10 {
		l.state.firstAssertion("demo-site", fmt.Sprint(i))
	}
	if n := len(l.state.jtis["demo-site"].entries); n != maxNonces {
		t.Errorf("%d are remembered", n)
	}
}

func TestNewKey(t *testing.T) {
	l := newTooled(t)
	l.accessToken()
	l.fetcher.keys, l.key = testKeys()[1:], testKeys()[1]
	l.accessToken()
	l.accessToken()
	if l.fetcher.fetches != 2 {
		t.Errorf("%d fetches, expected 2", l.fetcher.fetches)
	}
}

func TestAGSOff(t *testing.T) {
	l := newTooled(t)
	token := l.accessToken()
	l.tools[0].AGS = optionOff
	w := l.do(http.MethodPost, "/token", l.form(l.assertion(), agsScopes...))
	if w.Code != 400 || !strings.Contains(w.Body.String(), "invalid_scope") {
		t.Errorf("token: %d %s", w.Code, w.Body)
	}
	if w := l.call(token, "GET", itemsPath, "", ""); w.Code != 403 {
		t.Errorf("an old token: %d", w.Code)
	}
}

func TestLocalRules(t *testing.T) {
	for _, tc := range []struct {
		url  string
		want []string
	}{
		{"http://site.localhost:8080/jwks", []string{"127.0.0.1:8080", "[::1]:8080"}},
		{"https://localhost/jwks", []string{"127.0.0.1:443", "[::1]:443"}},
		{"http://127.0.0.5/jwks", []string{"127.0.0.5:80"}},
		{"https://tool.example/jwks", nil},
		{"https://10.0.0.1/jwks", nil},
	} {
		var got []string
		for _, rule := range localRules(tc.url) {
			got = append(got, rule.String())
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, expected %v", tc.url, got, tc.want)
		}
	}
}

// TestKeySetOverHTTP fetches a key set from this machine, as the demo does, and
// none from another port of it.
func TestKeySetOverHTTP(t *testing.T) {
	set, err := jose.PublicSet(testKeys()[0])
	if err != nil {
		t.Fatal(err)
	}
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))
	defer keys.Close()
	other := httptest.NewServer(http.RedirectHandler(keys.URL, http.StatusFound))
	defer other.Close()
	for _, tc := range []struct {
		url   string
		allow []string
		code  int
	}{
		{keys.URL, nil, 200},
		{other.URL, nil, 400},
		{other.URL, []string{"127.0.0.0/8"}, 200},
	} {
		h := &Handler{Tools: testTools(), AllowPrivate: tc.allow}
		h.Tools[0].JWKSURL = tc.url
		provision(t, h)
		l := newTooled(t)
		l.tools[0].JWKSURL, l.fetchers["site"] = tc.url, h.platform.fetchers["site"]
		if w := l.do(http.MethodPost, "/token", l.form(l.assertion(), scopeScore)); w.Code != tc.code {
			t.Errorf("%s: %d %s", tc.url, w.Code, w.Body)
		} else if tc.code != 200 && !strings.Contains(w.Body.String(), "devlms { allow_private 127.0.0.1:") {
			t.Errorf("no remedy: %s", w.Body)
		}
		if err := h.Cleanup(); err != nil {
			t.Fatal(err)
		}
	}
}
