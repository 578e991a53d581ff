package devlms

import (
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const admin = "u-1002"

// registrationOf is a registration of a foreign tool, as it should be.
func registrationOf(name string) map[string]any {
	return map[string]any{
		"application_type": "web", "response_types": []any{"id_token"}, "grant_types": []any{"client_credentials", "implicit"},
		"initiate_login_uri": "https://tool.example/login", "redirect_uris": []any{"https://tool.example/launch", "https://tool.example/other"},
		"client_name": name, "client_name#fr": "Nommé", "jwks_uri": "https://keys.example/jwks",
		"logo_uri": "https://tool.example/logo.png", "token_endpoint_auth_method": "private_key_jwt", "contacts": []any{"a@tool.example"},
		"client_uri": nil, "unknown": map[string]any{"x": 1.0},
		"scope": "openid https://purl.imsglobal.org/spec/lti-bo/scope/basicoutcome " + scopeScore + " " + scopeMembers + " " + scopeScore,
		toolMember: map[string]any{
			"domain": "tool.example", "secondary_domains": []any{"second.example:8443"}, "description": "Does <things>",
			"target_link_uri": "https://tool.example/start", "custom_parameters": map[string]any{"who": "$Person.name.full", "how": "fixed"},
			"claims": []any{"iss", "sub", "name", "email", "picture"},
			"messages": []any{
				map[string]any{
					"type": messageDeepLink, "target_link_uri": "https://second.example:8443/pick", "label": "Pick", "label#nl": "Kies",
					"placements": []any{"ContentArea", "RichTextEditor"}, "custom_parameters": map[string]any{"place": "$Context.id"},
				},
				map[string]any{"type": messageResourceLink, "label": "Lesson", "target_link_uri": "https://tool.example/lesson", "custom_parameters": map[string]any{"link": "$ResourceLink.id"}},
				map[string]any{"type": messageResourceLink, "label": "Menu", "placements": []any{"course_navigation"}},
				map[string]any{"type": "LtiSomethingElse"},
			},
		},
	}
}

func (l *lms) begin(tool string) (id, location string) {
	l.t.Helper()
	w := l.do(http.MethodPost, "/admin/registration", url.Values{"url": {tool}, "open": {"iframe"}})
	if w.Code != http.StatusSeeOther {
		l.t.Fatalf("begin: %d %s", w.Code, w.Body)
	}
	id = strings.TrimPrefix(w.Header().Get("Location"), "/admin/registration/")
	src := regexp.MustCompile(`<iframe class="tool" src="([^"]*)"`).FindStringSubmatch(l.get("/admin/registration/" + id).Body.String())
	if src == nil {
		l.t.Fatal("no frame")
	}
	return id, html.UnescapeString(src[1])
}

// token begins a registration and returns its token.
func (l *lms) token() string {
	l.t.Helper()
	_, location := l.begin("https://tool.example/register")
	u, err := url.Parse(location)
	if err != nil {
		l.t.Fatal(err)
	}
	return u.Query().Get("registration_token")
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// post registers a tool; body is what is sent.
func (l *lms) post(body []byte, change ...func(*http.Request)) *httptest.ResponseRecorder {
	l.t.Helper()
	r := httptest.NewRequest(http.MethodPost, testOrigin+"/register", strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	if err := l.serve(w, r, strings.HasPrefix(r.URL.String(), "https:")); err != nil {
		l.t.Fatal(err)
	}
	return w
}

func (l *lms) register(reg map[string]any) map[string]any {
	l.t.Helper()
	data, err := json.Marshal(reg)
	if err != nil {
		l.t.Fatal(err)
	}
	var answer map[string]any
	decode(l.t, l.post(data, bearer(l.token())), http.StatusCreated, &answer)
	return answer
}

func newAdmin(t *testing.T) *lms {
	l := newLMS(t)
	l.who = admin
	return l
}

// TestRegistrationURL: what the tool's URL had in its query stays as it was.
func TestRegistrationURL(t *testing.T) {
	const configuration = "openid_configuration=http%3A%2F%2Flms.localhost%3A8080%2F.well-known%2Fopenid-configuration"
	for _, tc := range []struct{ url, token, want string }{
		{"https://tool.example/register", "", "https://tool.example/register?" + configuration + "&registration_token=TOKEN"},
		{"https://tool.example/register?", "", "https://tool.example/register?" + configuration + "&registration_token=TOKEN"},
		{"https://tool.example/r?b=é&a=%2f", "", "https://tool.example/r?b=é&a=%2f&" + configuration + "&registration_token=TOKEN"},
		{"http://localhost:9/r", tokenConfig, "http://localhost:9/r?" + configuration + "%3Fregistration_token%3DTOKEN&registration_token=TOKEN"},
		{"https://tool.example/r", tokenURL, "https://tool.example/r?" + configuration + "%3Fregistration_token%3DTOKEN"},
	} {
		l := newAdmin(t)
		l.registration.Token = tc.token
		id, got := l.begin(tc.url)
		o, _, _ := l.state.offer(testOrigin, id)
		got = strings.ReplaceAll(got, o.token(), "TOKEN")
		// HTML attributes have the é encoded.
		if got = strings.ReplaceAll(got, "%c3%a9", "é"); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.url, got, tc.want)
		}
	}
	l := newAdmin(t)
	for _, bad := range []string{"", "tool.example", "javascript:alert(1)", "http://tool.example/r", "https://u:p@tool.example/", "https://tool.example/#x"} {
		if w := l.do(http.MethodPost, "/admin/registration", url.Values{"url": {bad}}); w.Code != 400 || !strings.Contains(w.Body.String(), "cannot be used") {
			t.Errorf("%q: %d", bad, w.Code)
		}
	}
}

func TestPlatformConfiguration(t *testing.T) {
	l := newLMS(t)
	l.who = ""
	var doc map[string]any
	w := l.get("/.well-known/openid-configuration")
	decode(t, w, 200, &doc)
	if w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Error("tools cannot read it in a browser")
	}
	for name, want := range map[string]any{
		"issuer": testOrigin, "authorization_endpoint": testOrigin + "/auth", "registration_endpoint": testOrigin + "/register",
		"jwks_uri": testOrigin + "/jwks", "token_endpoint": testOrigin + "/token",
		"token_endpoint_auth_methods_supported":            []any{"private_key_jwt"},
		"token_endpoint_auth_signing_alg_values_supported": []any{"RS256"},
		"response_types_supported":                         []any{"id_token"},
		"id_token_signing_alg_values_supported":            []any{"RS256"},
		"claims_supported":                                 []any{"iss", "sub", "name", "given_name", "family_name", "email", "locale"},
		"scopes_supported":                                 []any{"openid", scopeLineItem, scopeLineItemRead, scopeResult, scopeScore, scopeMembers},
	} {
		if !reflect.DeepEqual(doc[name], want) {
			t.Errorf("%s: %v, want %v", name, doc[name], want)
		}
	}
	own, _ := doc[platformMember].(map[string]any)
	if got := fmt.Sprint(own["messages_supported"]); got != "[map[type:LtiResourceLinkRequest] map[placements:[ContentArea] type:LtiDeepLinkingRequest]]" {
		t.Errorf("messages %s", got)
	}
	// What is promised is kept.
	who, c := findPerson("u-2001"), courses[0]
	a := &activity{Link: &Link{Title: "x"}, ID: "x", Tool: l.tools[0], Added: &content{course: c.ID, id: "x", item: new(contentItem)}}
	for _, name := range own["variables"].([]any) {
		if _, ok := l.variable(name.(string), testOrigin, who, c, l.tools[0], a); !ok && name != "LineItem.url" {
			t.Errorf("$%s is not filled in", name)
		}
	}

	l.registration.Messages = messagesStrings
	decode(t, l.get("/.well-known/openid-configuration"), 200, &doc)
	if own, _ = doc[platformMember].(map[string]any); fmt.Sprint(own["messages_supported"], own["placements"]) != "[LtiResourceLinkRequest LtiDeepLinkingRequest] [AddContentMenu]" {
		t.Errorf("as strings: %v", own)
	}
	l.registration.Token = tokenConfig
	if w := l.get("/.well-known/openid-configuration"); w.Code != 401 {
		t.Errorf("without the token: %d", w.Code)
	}
	l.who = admin
	if w := l.do(http.MethodGet, "/.well-known/openid-configuration", nil, bearer(l.token())); w.Code != 200 {
		t.Errorf("with the token: %d", w.Code)
	}
	l.registration.Off = true
	for _, path := range []string{"/.well-known/openid-configuration", "/register", "/admin/registration"} {
		method := http.MethodPost
		if strings.HasPrefix(path, "/.") {
			method = http.MethodGet
		}
		if w := l.do(method, path, nil); w.Code != 404 {
			t.Errorf("%s while registration is off: %d", path, w.Code)
		}
	}
	if w := l.get("/admin/tools"); !strings.Contains(w.Body.String(), "cannot register themselves") {
		t.Error("the page of the tools does not say so")
	}
}

func TestRegistrationAnswer(t *testing.T) {
	l := newAdmin(t)
	answer := l.register(registrationOf("Ünïque Tool & <b>"))
	want := registrationOf("Ünïque Tool & <b>")
	for _, gone := range []string{"client_uri", "unknown"} {
		delete(want, gone)
	}
	want["grant_types"] = []any{"implicit", "client_credentials"}
	want["scope"] = "openid " + scopeScore + " " + scopeMembers
	want["client_id"] = answer["client_id"]
	own := want[toolMember].(map[string]any)
	own["deployment_id"] = "1"
	own["claims"] = []any{"iss", "sub", "name", "email"}
	own["messages"] = own["messages"].([]any)[:2]
	own["messages"].([]any)[0].(map[string]any)["placements"] = []any{"ContentArea"}
	if !reflect.DeepEqual(answer, want) {
		t.Errorf("answered %v\n    want %v", answer, want)
	}
	if id, _ := answer["client_id"].(string); len(id) != 16 {
		t.Errorf("client_id %q", id)
	}
	// Again, it is another client and another tool.
	again := l.register(registrationOf("Ünïque Tool & <b>"))
	if again["client_id"] == answer["client_id"] || again[toolMember].(map[string]any)["deployment_id"] != "2" {
		t.Errorf("again: %v", again)
	}
	var names []string
	for _, a := range l.waiting(l.state.book(testOrigin)) {
		names = append(names, a.Name)
	}
	if !slices.Equal(names, []string{"n-que-tool-b", "n-que-tool-b-2"}) {
		t.Errorf("names %v", names)
	}

	for _, tc := range []struct {
		how   Registration
		check func(answer, own map[string]any) bool
	}{
		{Registration{Deployment: deploymentTop}, func(a, own map[string]any) bool { return a["deployment_id"] == "3" && own["deployment_id"] == nil }},
		{Registration{Deployment: deploymentNone}, func(a, own map[string]any) bool { return a["deployment_id"] == nil && own["deployment_id"] == nil }},
		{Registration{ApplicationType: typeArray}, func(a, _ map[string]any) bool { return reflect.DeepEqual(a["application_type"], []any{"web"}) }},
		{Registration{Scopes: []string{"score", "result.readonly"}}, func(a, _ map[string]any) bool { return a["scope"] == "openid "+scopeScore }},
		{Registration{Scopes: []string{scopesNone}}, func(a, _ map[string]any) bool { return a["scope"] == "openid" }},
	} {
		l.registration = tc.how
		a := l.register(registrationOf("Tool"))
		if own, _ := a[toolMember].(map[string]any); !tc.check(a, own) {
			t.Errorf("%+v: %v", tc.how, a)
		}
	}
}

func TestRegistrationRefused(t *testing.T) {
	set := func(path string, value any) func(map[string]any) {
		return func(m map[string]any) {
			if name, ok := strings.CutPrefix(path, "tool."); ok {
				m, path = m[toolMember].(map[string]any), name
			}
			if name, ok := strings.CutPrefix(path, "message."); ok {
				m, path = m["messages"].([]any)[0].(map[string]any), name
			}
			if m[path] = value; value == nil {
				delete(m, path)
			}
		}
	}
	for _, tc := range []struct {
		member string
		value  any // nil takes it away
		want   string
	}{
		{"application_type", nil, "application_type must be web"},
		{"application_type", "native", "application_type must be web"},
		{"response_types", nil, "response_types is missing"},
		{"response_types", "id_token", "response_types is not an array of strings"},
		{"response_types", []any{"code"}, "response_types must have id_token"},
		{"grant_types", nil, "grant_types is missing"},
		{"grant_types", []any{"implicit"}, "grant_types must have client_credentials"},
		{"grant_types", []any{"client_credentials", "code"}, "grant_types must have implicit"},
		{"token_endpoint_auth_method", nil, "token_endpoint_auth_method must be private_key_jwt"},
		{"token_endpoint_auth_method", "client_secret_basic", "token_endpoint_auth_method must be private_key_jwt"},
		{"client_name", nil, "client_name is missing"},
		{"client_name", 7, "client_name is not a string"},
		{"client_name#fr", 7, "client_name#fr is not a string"},
		{"initiate_login_uri", nil, "initiate_login_uri is missing"},
		{"initiate_login_uri", "http://tool.example/login", "initiate_login_uri has a bad URL"},
		{"initiate_login_uri", "https://tool.example/login#x", "may not have a fragment"},
		{"initiate_login_uri", "https://tool.example;default-src/login", "host cannot be one"},
		{"jwks_uri", nil, "jwks_uri is missing"},
		{"jwks_uri", "javascript:alert(1)", "jwks_uri has a bad URL"},
		{"redirect_uris", nil, "redirect_uris is missing"},
		{"redirect_uris", []any{}, "redirect_uris is empty"},
		{"redirect_uris", "https://tool.example/launch", "redirect_uris is not an array of strings"},
		{"redirect_uris", []any{"https://tool.example/launch", nil}, "redirect_uris is not an array of strings"},
		{"redirect_uris", []any{"https://tool.example/launch", "/launch"}, "redirect_uris has a bad URL"},
		{"redirect_uris", []any{"https://tool.example/launch#x"}, "may not have a fragment"},
		{"logo_uri", "data:image/png,x", "logo_uri has a bad URL"},
		{"policy_uri", "x", "policy_uri has a bad URL"},
		{"contacts", "me", "contacts is not an array"},
		{"scope", []any{scopeScore}, "scope is not a string"},
		{toolMember, nil, toolMember + " is missing"},
		{toolMember, "x", "is not an object"},
		{"tool.domain", nil, "lti-tool-configuration.domain is missing"},
		{"tool.domain", "https://tool.example", "domain is not the name of a host"},
		{"tool.domain", "other.example", "target_link_uri is not at domain"},
		{"tool.secondary_domains", nil, "messages[0].target_link_uri is not at domain"},
		{"tool.target_link_uri", nil, "target_link_uri is missing"},
		{"tool.target_link_uri", "https://evil.example/", "target_link_uri is not at domain"},
		{"tool.target_link_uri", "/start", "target_link_uri has a bad URL"},
		{"tool.claims", nil, "claims is missing"},
		{"tool.claims", "sub", "claims is not an array"},
		{"tool.custom_parameters", []any{}, "custom_parameters is not an object"},
		{"tool.custom_parameters", map[string]any{"a": 1}, "custom_parameters has something else than strings"},
		{"tool.messages", nil, "messages is missing"},
		{"tool.messages", []any{"LtiResourceLinkRequest"}, "messages[0] is not an object"},
		{"tool.message.type", nil, "messages[0].type is missing"},
		{"tool.message.placements", "ContentArea", "messages[0].placements is not an array"},
		{"tool.message.target_link_uri", "https://evil.example/", "messages[0].target_link_uri is not at domain"},
		{"tool.message.custom_parameters", "x", "messages[0].custom_parameters is not an object"},
	} {
		l := newAdmin(t)
		id, _ := l.begin("https://tool.example/register")
		o, _, _ := l.state.offer(testOrigin, id)
		reg := registrationOf("Tool")
		set(tc.member, tc.value)(reg)
		data, err := json.Marshal(reg)
		if err != nil {
			t.Fatal(err)
		}
		code := "invalid_client_metadata"
		if tc.member == "redirect_uris" {
			code = "invalid_redirect_uri"
		}
		var answer struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		w := l.post(data, bearer(o.token()))
		decode(t, w, http.StatusBadRequest, &answer)
		if answer.Error != code || !strings.Contains(answer.Description, tc.want) || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s %v: %+v, want %s %q", tc.member, tc.value, answer, code, tc.want)
		}
		if len(l.waiting(l.state.book(testOrigin))) != 0 {
			t.Errorf("%s %v: the tool is there", tc.member, tc.value)
		}
		// The administrator reads why; and the token is as good as before.
		if page := html.UnescapeString(l.get("/admin/registration/" + id + "?closed").Body.String()); !strings.Contains(page, tc.want) {
			t.Errorf("%s %v: the page does not say why: %s", tc.member, tc.value, page)
		}
		good, _ := json.Marshal(registrationOf("Tool"))
		if w := l.post(good, bearer(o.token())); w.Code != http.StatusCreated {
			t.Errorf("%s: afterwards %d %s", tc.member, w.Code, w.Body)
		}
	}
}

func TestRegistrationRequests(t *testing.T) {
	good, err := json.Marshal(registrationOf("Tool"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name      string
		body      []byte
		change    func(l *lms, token string, r *http.Request)
		status    int
		want      string
		challenge string
	}{
		{"no token", good, func(_ *lms, _ string, r *http.Request) { r.Header.Del("Authorization") }, 401, "is missing", "Bearer"},
		{"basic", good, func(_ *lms, token string, r *http.Request) { r.Header.Set("Authorization", "Basic "+token) }, 401, "is missing", "Bearer"},
		{"in the query", good, func(_ *lms, token string, r *http.Request) {
			r.Header.Del("Authorization")
			r.URL.RawQuery = "registration_token=" + token
		}, 401, "is missing", "Bearer"},
		{"other secret", good, func(_ *lms, token string, r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+token[:len(token)-1]+"x")
		}, 401, "not one of this platform", `Bearer error="invalid_token"`},
		{"only the id", good, func(_ *lms, token string, r *http.Request) {
			id, _, _ := strings.Cut(token, ".")
			r.Header.Set("Authorization", "Bearer "+id)
		}, 401, "not one of this platform", `Bearer error="invalid_token"`},
		{"too late", good, func(l *lms, _ string, _ *http.Request) { l.at = l.at.Add(time.Hour) }, 401, "expired", `Bearer error="invalid_token"`},
		{"at the last moment", good, func(l *lms, _ string, _ *http.Request) { l.at = l.at.Add(time.Hour - time.Second) }, 201, "client_id", ""},
		{"another issuer", good, func(_ *lms, _ string, r *http.Request) { r.Host = "other.localhost:8080" }, 401, "not one of this platform", `Bearer error="invalid_token"`},
		{"no type", good, func(_ *lms, _ string, r *http.Request) { r.Header.Del("Content-Type") }, 400, "content type", ""},
		{"a form", good, func(_ *lms, _ string, r *http.Request) { r.Header.Set("Content-Type", formType) }, 400, "content type", ""},
		{"no JSON", []byte("x"), nil, 400, "the registration is not an object", ""},
		{"an array", []byte("[]"), nil, 400, "the registration is not an object", ""},
		{"twice", []byte(`{"client_name":"a","client_name":"b"}`), nil, 400, "different names", ""},
		{"too large", append(good, strings.Repeat(" ", maxRegistration)...), nil, 400, "too large", ""},
	} {
		l := newAdmin(t)
		token := l.token()
		w := l.post(tc.body, func(r *http.Request) {
			bearer(token)(r)
			if tc.change != nil {
				tc.change(l, token, r)
			}
		})
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.want) || w.Header().Get("WWW-Authenticate") != tc.challenge {
			t.Errorf("%s: %d %q %s", tc.name, w.Code, w.Header().Get("WWW-Authenticate"), w.Body)
		}
	}

	l := newAdmin(t)
	l.registration.Errors = errorsText
	if w := l.post([]byte("{}"), bearer(l.token())); w.Code != 400 || w.Body.String() != "client_name is missing or empty" || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("as text: %d %s", w.Code, w.Body)
	}
	// With the secret in the URLs, as in Blackboard.
	l.registration = Registration{Token: tokenURL}
	_, location := l.begin("https://tool.example/register")
	u, _ := url.Parse(location)
	if u.Query().Has("registration_token") {
		t.Error("there is a token")
	}
	configuration, _ := url.Parse(u.Query().Get("openid_configuration"))
	var doc map[string]any
	decode(t, l.get(configuration.RequestURI()), 200, &doc)
	endpoint, _ := url.Parse(doc["registration_endpoint"].(string))
	for _, want := range []int{201, 401} {
		if w := l.post(good, func(r *http.Request) { r.URL.RawQuery = endpoint.RawQuery }); w.Code != want {
			t.Errorf("with the secret in the URL: %d, want %d: %s", w.Code, want, w.Body)
		}
	}
	// From a page of the tool's.
	w := l.do(http.MethodOptions, "/register", nil)
	if w.Code != 204 || !strings.Contains(w.Header().Get("Access-Control-Allow-Headers"), "Authorization") || w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
}

// TestRegistrationOnce: of many registrations with one token one counts.
func TestRegistrationOnce(t *testing.T) {
	l := newAdmin(t)
	token := l.token()
	good, err := json.Marshal(registrationOf("Tool"))
	if err != nil {
		t.Fatal(err)
	}
	codes := make([]int, 20)
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() { codes[i] = l.post(good, bearer(token)).Code })
	}
	wg.Wait()
	slices.Sort(codes)
	if codes[0] != 201 || codes[1] != 401 || codes[19] != 401 || len(l.waiting(l.state.book(testOrigin))) != 1 {
		t.Errorf("%v", codes)
	}
	_, secret, _ := strings.Cut(token, ".")
	if seen := l.get("/inspect.json").Body.String(); !strings.Contains(seen, kindRegistration) || strings.Contains(seen, secret) {
		t.Error("the inspector does not show the registrations, or the token with them")
	}
}

// TestRegisteredTool: what the administrator allows is what the tool gets, once he
// has activated it.
func TestRegisteredTool(t *testing.T) {
	l := newTooled(t)
	l.who = admin
	keys := keySite(t)
	reg := registrationOf("Tool <1>")
	reg["jwks_uri"] = keys
	reg["scope"] = strings.Join(allScopes(), " ")
	answer := l.register(reg)
	clientID := answer["client_id"].(string)
	b := l.state.book(testOrigin)

	page := l.get("/admin/tools/tool-1").Body.String()
	for _, want := range []string{"Tool &lt;1&gt;", "Nobody can use it before", `value="email" checked`, `value="` + scopeScore + `" checked`, "Does &lt;things&gt;", keys} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	params := func() url.Values {
		return url.Values{
			"scope": {"openid"}, "response_type": {"id_token"}, "response_mode": {"form_post"}, "prompt": {"none"},
			"client_id": {clientID}, "redirect_uri": {"https://tool.example/launch"}, "login_hint": {l.who}, "state": {"s"}, "nonce": {newNonce()},
		}
	}
	if w := l.auth(params()); w.Code != 403 || !strings.Contains(w.Body.String(), "has not activated it") {
		t.Errorf("before: %d %s", w.Code, w.Body)
	}
	if strings.Contains(l.get("/course/c-31").Body.String(), "Lesson") {
		t.Error("it can be added before it is active")
	}

	allow := url.Values{"allow": {"name", scopeScore, scopeLineItem, "family_name"}}
	if w := l.do(http.MethodPost, "/admin/tools/tool-1/activate", allow); w.Code != 303 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := l.do(http.MethodPost, "/admin/tools/tool-1/activate", allow); w.Code != 404 {
		t.Errorf("again: %d", w.Code)
	}
	if page = l.get("/admin/tools/tool-1").Body.String(); !strings.Contains(page, "The tool is active") || strings.Contains(page, `value="email" checked`) || !strings.Contains(page, `value="name" checked`) {
		t.Errorf("the page does not say what is granted: %s", page)
	}

	l.who = "u-1001"
	if page = l.get("/course/c-31").Body.String(); !strings.Contains(page, `<option value="tool-1 0">Lesson (Tool &lt;1&gt;)`) || !strings.Contains(page, "/course/c-31/add/tool-1") {
		t.Errorf("it cannot be added: %s", page)
	}
	for _, bad := range []string{"", "tool-1", "tool-1 1", "tool-1 -1", "site 0", "x 0"} {
		if w := l.do(http.MethodPost, "/course/c-31/activity", url.Values{"link": {bad}}); w.Code != 404 {
			t.Errorf("link %q: %d", bad, w.Code)
		}
	}
	if w := l.do(http.MethodPost, "/course/c-31/activity", url.Values{"link": {"tool-1 0"}, "graded": {"on"}}); w.Code != 303 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := l.do(http.MethodPost, "/course/c-31/activity", url.Values{"link": {"tool-1 0"}, "title": {"Later"}, "open": {"window"}}); w.Code != 303 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	l.who = "u-2001"
	if w := l.do(http.MethodPost, "/course/c-31/activity", url.Values{"link": {"tool-1 0"}}); w.Code != 403 {
		t.Errorf("a learner adds: %d", w.Code)
	}
	first, second := b.contents[0], b.contents[1]
	if first.item.title != "Lesson" || second.item.title != "Later" || !second.item.inWindow {
		t.Errorf("%+v %+v", first.item, second.item)
	}

	launch := func(id string) map[string]any {
		t.Helper()
		action, login := readPost(t, l.get("/initiate/c-31/"+id))
		if action != "https://tool.example/login" || login.Get("target_link_uri") != "https://tool.example/lesson" {
			t.Errorf("%s %v", action, login)
		}
		q := params()
		q.Set("lti_message_hint", login.Get("lti_message_hint"))
		_, fields := readPost(t, l.auth(q))
		_, claims := l.readToken(fields.Get("id_token"))
		return claims
	}
	claims := launch(first.id)
	custom, _ := claims[claimPrefix+"custom"].(map[string]any)
	endpoint, _ := claims[claimEndpoint].(map[string]any)
	if claims["name"] != "Maeve O'Hara" || claims["email"] != nil || claims["family_name"] != nil || claims["locale"] != nil || claims[claimMembers] != nil {
		t.Errorf("told %v", claims)
	}
	if want := map[string]any{"who": "Maeve O'Hara", "how": "fixed", "link": "rl-c-31-" + first.id}; !reflect.DeepEqual(custom, want) {
		t.Errorf("custom %v", custom)
	}
	if !reflect.DeepEqual(endpoint["scope"], []any{scopeLineItem, scopeScore}) || endpoint["lineitem"] == nil {
		t.Errorf("endpoint %v", endpoint)
	}
	if claims := launch(second.id); claims[claimEndpoint].(map[string]any)["lineitem"] != nil {
		t.Error("the one without a column has one")
	}
	l.who = "u-2003" // private
	claims = launch(first.id)
	if custom, _ = claims[claimPrefix+"custom"].(map[string]any); claims["name"] != nil || custom["who"] != "$Person.name.full" {
		t.Errorf("a private person: %v", claims)
	}

	a := l.assertion()
	a["iss"], a["sub"], a[claimPrefix+"deployment_id"] = clientID, clientID, "1"
	var token struct {
		Scope string `json:"scope"`
	}
	decode(t, l.do(http.MethodPost, "/token", l.form(a, allScopes()...)), 200, &token)
	if token.Scope != scopeLineItem+" "+scopeScore {
		t.Errorf("scope %s", token.Scope)
	}

	l.who = admin
	if w := l.do(http.MethodPost, "/admin/tools/tool-1/remove", nil); w.Code != 303 || len(b.contents) != 0 {
		t.Errorf("removed: %d, %v", w.Code, b.contents)
	}
	for _, path := range []string{"/admin/tools/tool-1/remove", "/admin/tools/site/remove"} {
		if w := l.do(http.MethodPost, path, nil); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := l.get("/admin/tools/tool-1"); w.Code != 404 {
		t.Errorf("the page of a tool that is gone: %d", w.Code)
	}
}

// TestRegisteredToolBare: a tool that asks for nothing can be launched, and is told
// nothing.
func TestRegisteredToolBare(t *testing.T) {
	l := newAdmin(t)
	reg := registrationOf("Bare")
	delete(reg, "scope")
	own := reg[toolMember].(map[string]any)
	maps.DeleteFunc(own, func(name string, _ any) bool { return name == "custom_parameters" || name == "description" })
	own["messages"], own["claims"] = []any{}, []any{}
	answer := l.register(reg)
	if answer["scope"] != "" || fmt.Sprint(answer[toolMember].(map[string]any)["claims"]) != "[]" {
		t.Errorf("%v", answer)
	}
	l.do(http.MethodPost, "/admin/tools/bare/activate", url.Values{"allow": {"email", scopeScore}})
	b := l.state.book(testOrigin)
	bare := l.toolByName(b, "bare")
	if bare == nil || bare.agsOn() || bare.nrpsOn() || bare.deepLinkOn() || len(bare.links()) != 1 || len(bare.scopes()) != 0 {
		t.Fatalf("%+v", bare)
	}
	l.do(http.MethodPost, "/course/c-31/activity", url.Values{"link": {"bare 0"}, "graded": {"on"}})
	a := l.activity(b, courses[0], b.contents[0].id)
	claims := l.idToken(testOrigin, "n", findPerson("u-2001"), courses[0], a)
	for _, name := range []string{"name", "email", "locale", claimEndpoint, claimMembers} {
		if claims[name] != nil {
			t.Errorf("%s: %v", name, claims[name])
		}
	}
	if a.TargetLinkURI != "https://tool.example/start" || a.Title != "Bare" {
		t.Errorf("%+v", a.Link)
	}
}

// TestAdministering: nobody but the administrator, and no page of another site.
func TestAdministering(t *testing.T) {
	l := newAdmin(t)
	l.register(registrationOf("Tool"))
	for _, path := range []string{"/admin/registration", "/admin/tools/tool/activate", "/admin/tools/tool/remove"} {
		for _, who := range []string{"", "u-1001", "u-2001"} {
			l.who = who
			if w := l.do(http.MethodPost, path, url.Values{"url": {"https://tool.example/"}}); w.Code != 403 {
				t.Errorf("%s as %q: %d", path, who, w.Code)
			}
		}
		l.who = admin
		if w := l.do(http.MethodPost, path, url.Values{}, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }); w.Code != 403 {
			t.Errorf("%s from another site: %d", path, w.Code)
		}
	}
	l.who = "u-1001"
	if w := l.get("/admin/tools/tool"); w.Code != 403 {
		t.Errorf("the page of the tool: %d", w.Code)
	}
	if w := l.get("/admin/tools"); w.Code != 200 || strings.Contains(w.Body.String(), "Open the tool") || !strings.Contains(w.Body.String(), `value="u-1002"`) {
		t.Errorf("the page of the tools: %d %s", w.Code, w.Body)
	}
	if w := l.do(http.MethodPost, "/person", url.Values{"person": {admin}, "next": {"/admin/tools"}}); w.Header().Get("Location") != "/admin/tools" {
		t.Errorf("back to %s", w.Header().Get("Location"))
	}
	l.who = admin
	if w := l.get("/admin/registration/nothing"); w.Code != 404 {
		t.Errorf("an unknown registration: %d", w.Code)
	}
	id, _ := l.begin("https://tool.example/")
	l.at = l.at.Add(time.Hour)
	if w := l.get("/admin/registration/" + id); w.Code != 410 {
		t.Errorf("an hour later: %d", w.Code)
	}
}

func TestRegistrationsAreBounded(t *testing.T) {
	l := newAdmin(t)
	b := l.state.book(testOrigin)
	for i := range maxAddedTools - 1 {
		late := lateTool("")
		late.Name, late.ClientID = fmt.Sprint("n", i), fmt.Sprint("n", i)
		if err := l.addTool(b, late); err != nil {
			t.Fatal(err)
		}
	}
	l.register(registrationOf("Tool"))
	good, _ := json.Marshal(registrationOf("Tool"))
	token := l.token()
	if w := l.post(good, bearer(token)); w.Code != 400 || !strings.Contains(w.Body.String(), "no more tools") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	// The last one can be activated all the same, and room made.
	if w := l.do(http.MethodPost, "/admin/tools/tool/activate", nil); w.Code != 303 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	l.removeTool(b, "n0")
	if w := l.post(good, bearer(token)); w.Code != 201 {
		t.Errorf("with room: %d %s", w.Code, w.Body)
	}
	// What a reload has configured meanwhile wins; the registration is not lost.
	l.tools[0].Name = "tool-2"
	if w := l.do(http.MethodPost, "/admin/tools/tool-2/activate", nil); w.Code != 409 || len(l.waiting(b)) != 1 {
		t.Errorf("%d, %v", w.Code, l.waiting(b))
	}
}

func FuzzMetadata(f *testing.F) {
	good, err := json.Marshal(registrationOf("Tool"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"` + toolMember + `":{"messages":[null,{}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, refused := readMetadata(data, func(string) bool { return true })
		if (m == nil) == (refused == nil) {
			t.Fatalf("%v %v", m, refused)
		}
		if refused != nil {
			if refused.description == "" {
				t.Error("refused without a reason")
			}
			return
		}
		a := &applicant{metadata: m, Name: "t", ClientID: "c", Deployment: "1"}
		if err := a.tool(func(string) bool { return true }).check(); err != nil {
			t.Errorf("what was taken cannot be a tool: %v", err)
		}
		if _, err := json.Marshal(a.registered(Registration{})); err != nil {
			t.Error(err)
		}
	})
}
