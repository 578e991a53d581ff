package dynreg_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/internal/dynreg"
	"github.com/caddy-lti/lti/internal/httpx"
)

// TestRegisterSends shows what a platform is sent, and that both good statuses do.
func TestRegisterSends(t *testing.T) {
	req, err := dynreg.NewRequest(platform(t, "blackboard"), quiz())
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		token, bearer string
		status        int
	}{{"", "", 200}, {token, "Bearer " + token, 201}} {
		site, client := serve(t, httpx.Config{}, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.Method != "POST" || r.URL.String() != "/r?registrationToken=a%2Fb" || string(body) != string(encode(t, req)) {
				t.Errorf("%s %s with %s", r.Method, r.URL, body)
			}
			if h := r.Header; h.Get("Authorization") != tc.bearer || h.Get("Content-Type") != "application/json" || h.Get("Accept") != "application/json" {
				t.Errorf("header %v", h)
			}
			w.WriteHeader(tc.status)
			io.WriteString(w, `{"client_id":"c"}`)
		})
		// Blackboard's token is in the address.
		cfg := &dynreg.Configuration{RegistrationEndpoint: site + "/r?registrationToken=a%2Fb"}
		res, err := dynreg.Register(t.Context(), client, cfg, tc.token, req)
		if err != nil || res.ClientID != "c" || res.Deployments != nil || len(res.Changes) != 0 {
			t.Errorf("result %+v, %v", res, err)
		}
	}
}

func TestParseResult(t *testing.T) {
	req, err := dynreg.NewRequest(&dynreg.Configuration{}, quiz())
	if err != nil {
		t.Fatal(err)
	}
	asked := strings.Fields(req.Scope)
	tool := func(members string) string { return `,"` + toolMember + `":{` + members + `}` }
	for _, tc := range []struct {
		name, with  string // what the answer has besides its client_id
		deployments string
		scopes      []string
		manage      bool
		changes     string
	}{
		{"nothing more", ``, "", asked, false, ""},
		{"Moodle's deployment", tool(`"deployment_id":"14"`), "14", asked, false, ""},
		{"Canvas's deployment", `,"deployment_id":"9:8865aa05b4b79b64a91a86042e43af5ea8ae79eb"`, "9:8865aa05b4b79b64a91a86042e43af5ea8ae79eb", asked, false, ""},
		{"a number for it", tool(`"deployment_id":14`), "14", asked, false, ""},
		{"the same twice", `,"deployment_id":"1"` + tool(`"deployment_id":"1"`), "1", asked, false, ""},
		{"two", `,"deployment_id":"1"` + tool(`"deployment_id":"2"`), "2 1", asked, false, ""},
		{"null for it", `,"deployment_id":null` + tool(`"deployment_id":null`), "", asked, false, ""},
		{"what is no id", `,"deployment_id":"a\nb"` + tool(`"deployment_id":{}`), "", asked, false, ""},
		{"a list for the configuration", `,"` + toolMember + `":[]`, "", asked, false, ""},
		{"Moodle's application type", `,"application_type":["web"]`, "", asked, false, ""},
		{"a scope less", `,"scope":"` + score + ` ` + lineItem + `"`, "", []string{score, lineItem}, false, "scope: the platform leaves out " + roster},
		{"scopes as a list", `,"scope":["` + score + `","` + lineItem + `","` + roster + `"]`, "", []string{score, lineItem, roster}, false, ""},
		{"scope null", `,"scope":null`, "", asked, false, ""},
		{"managed", `,"registration_client_uri":"https://lms.example/r/1","registration_access_token":"x"`, "", asked, true, ""},
		{"managed without a token", `,"registration_client_uri":"https://lms.example/r/1"`, "", asked, false, ""},
		{"managed nowhere", `,"registration_client_uri":"http://lms.example/r/1","registration_access_token":"x"`, "", asked, false, ""},
		{
			"all of it changed", `,"jwks_uri":"https://evil.example/k","initiate_login_uri":"https://evil.example/l","redirect_uris":["https://evil.example/"]` +
				tool(`"target_link_uri":"https://evil.example/","claims":["sub","iss","name"],"messages":[{"type":"LtiResourceLinkRequest"}]`),
			"", asked, false,
			"initiate_login_uri: the platform keeps https://evil.example/l instead of https://tool.test:9444/lti/login" +
				"|jwks_uri: the platform keeps https://evil.example/k instead of https://tool.test:9444/lti/jwks.json" +
				"|redirect_uris: the platform leaves out https://tool.test:9444/lti/launch" +
				"|target_link_uri: the platform keeps https://evil.example/ instead of https://tool.test:9444/" +
				"|claims: the platform leaves out given_name|claims: the platform leaves out family_name|claims: the platform leaves out email" +
				"|messages: the platform leaves out LtiDeepLinkingRequest",
		},
		{"Moodle's messages", tool(`"messages":[{"type":"LtiDeepLinkingRequest"}]`), "", asked, false, ""},
	} {
		res, err := dynreg.ParseResult([]byte("\ufeff{\"client_id\":\"c\""+tc.with+"}"), req)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if res.ClientID != "c" || strings.Join(res.Deployments, " ") != tc.deployments || !slices.Equal(res.Scopes, tc.scopes) {
			t.Errorf("%s: %+v", tc.name, res)
		}
		want := [2]string{}
		if tc.manage {
			want = [2]string{"https://lms.example/r/1", "x"}
		}
		if [2]string{res.ManagementURI, res.ManagementToken} != want {
			t.Errorf("%s: managed at %q with %q", tc.name, res.ManagementURI, res.ManagementToken)
		}
		changes := make([]string, 0, len(res.Changes))
		for _, n := range res.Changes {
			changes = append(changes, n.String())
		}
		if got := strings.Join(changes, "|"); got != tc.changes {
			t.Errorf("%s: changes\n%s, want\n%s", tc.name, got, tc.changes)
		}
	}
	res, err := dynreg.ParseResult([]byte(`{"client_id":10000000000001}`), req)
	if err != nil || res.ClientID != "10000000000001" {
		t.Errorf("a number for client_id: %+v, %v", res, err)
	}
}

// TestRegisterUnclear has answers of a good status that say nothing good.
func TestRegisterUnclear(t *testing.T) {
	for _, tc := range []struct{ name, body, says, words string }{
		{"no client id", `{"client_name":"Quiz","grant_types":["implicit"]}`, "client_id is missing", ""},
		{"client id null", `{"client_id":null}`, "client_id is missing", ""},
		{"client id empty", `{"client_id":""}`, "client_id is missing", ""},
		{"client id an object", `{"client_id":{}}`, "client_id is no name", ""},
		{"client id with a line break", `{"client_id":"a\nb"}`, "client_id is no name", ""},
		{"client id with control characters", `{"client_id":"a\u0000b"}`, "client_id is no name", ""},
		{"client id that turns the text", `{"client_id":"a\u202eb"}`, "client_id is no name", ""},
		{"client id with a space", `{"client_id":" a"}`, "client_id is no name", ""},
		{"client id very long", `{"client_id":"` + strings.Repeat("x", 256) + `"}`, "client_id is no name", ""},
		{"client id twice", `{"client_id":"a","client_id":"b"}`, `duplicate member "client_id"`, ""},
		{"an error", `{"error":"invalid_client_metadata","error_description":"bad ` + token + `"}`, "client_id is missing", "invalid_client_metadata: bad …"},
		{"a page", `<html><body>Log in</body></html>`, "cannot be read", "Log in"},
		{"nothing", ``, "cannot be read", ""},
	} {
		site, client := serve(t, httpx.Config{}, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, tc.body) })
		_, err := dynreg.Register(t.Context(), client, &dynreg.Configuration{RegistrationEndpoint: site}, token, &dynreg.Request{})
		e := fails(t, err, tc.says, dynreg.PlatformAdmin, false)
		if e.Status != 200 || e.Words != tc.words || !strings.Contains(e.Hint, "look whether") {
			t.Errorf("%s: %d %q %q", tc.name, e.Status, e.Words, e.Hint)
		}
	}
	_, err := dynreg.Register(t.Context(), httpx.New(httpx.Config{}), &dynreg.Configuration{RegistrationEndpoint: "https://10.0.0.1/"}, token, &dynreg.Request{})
	fails(t, err, "allow_private", dynreg.ToolAdmin, false)
	_, err = dynreg.Register(t.Context(), httpx.New(httpx.Config{}), &dynreg.Configuration{}, "S3CRET\n", &dynreg.Request{})
	fails(t, err, "registration_token", dynreg.PlatformAdmin, false)
}

// FuzzParseResult: what is accepted fits into headers, log lines and keys.
func FuzzParseResult(f *testing.F) {
	var rec moodle
	load(f, "moodle.json", &rec)
	f.Add([]byte(rec.Response))
	f.Add([]byte(`{"client_id":1,"deployment_id":"9:ab","scope":["a b"],"redirect_uris":"x"}`))
	f.Add([]byte(`{"client_id":"a","` + toolMember + `":{"messages":["A"],"claims":[null],"deployment_id":7}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		res, err := dynreg.ParseResult(data, &rec.Request)
		if err != nil {
			sound(t, err)
			return
		}
		if !json.Valid(data) && !strings.HasPrefix(string(data), "\ufeff") {
			t.Error("accepted what is no JSON")
		}
		for _, id := range append([]string{res.ClientID}, res.Deployments...) {
			if id == "" || len(id) > 255 || strings.ContainsAny(id, " \r\n\t\x00\u202e") {
				t.Errorf("id %q", id)
			}
		}
		if (res.ManagementURI == "") != (res.ManagementToken == "") {
			t.Errorf("managed at %q with %q", res.ManagementURI, res.ManagementToken)
		}
		for _, n := range res.Changes {
			single(t, n.String())
		}
	})
}
