package dynreg_test

import (
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/internal/dynreg"
	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/lti"
)

const lms = "https://lms.example"

// TestIssuerHost is the rule that a configuration is of the issuer's own host.
func TestIssuerHost(t *testing.T) {
	for _, tc := range []struct {
		issuer, from string
		ok           bool
	}{
		{"https://lms.example", "https://lms.example/c", true},
		{"https://lms.example", "https://LMS.example:443/c?x=y", true},
		{"https://lms.example:443/moodle", "https://lms.example/elsewhere", true},
		{"https://lms.example:8443", "https://lms.example:8443/c", true},
		{"http://localhost:8080", "http://localhost:8080/c", true},
		{"https://blackboard.com", "https://developer.blackboard.com/c", true},

		{"https://lms.example", "https://evil.example/c", false},
		{"https://lms.example", "https://lms.example.evil.example/c", false},
		{"https://lms.example", "https://evil.example/lms.example", false},
		{"https://lms.example", "https://sub.lms.example/c", false},
		{"https://sub.lms.example", "https://lms.example/c", false},
		{"https://lms.example", "https://lms.example:8443/c", false},
		{"https://lms.example", "https://lms.example./c", false},
		{"https://localhost", "http://localhost/c", false},
		{"https://canvas.instructure.com", "https://school.instructure.com/c", false},
		{"https://schoology.schoology.com", "https://developer.blackboard.com/c", false},
		{"https://blackboard.com/", "https://developer.blackboard.com/c", false},
		{"https://blackboard.com", "https://developer.blackboard.com:8443/c", false},
		{"https://blackboard.com", "https://developer.blackboard.com.evil.example/c", false},
		{"https://blackboard.com", "https://evil.example/c", false},
		{"https://lms.example?", "https://lms.example/c", false},
		{"https://lms.example/?a=b", "https://lms.example/c", false},
		{"https://lms.example#", "https://lms.example/c", false},
		{"https://u@lms.example", "https://lms.example/c", false},
		{"http://lms.example", "https://lms.example/c", false},
		{"lms.example", "https://lms.example/c", false},
		{" https://lms.example", "https://lms.example/c", false},
		{"https://lms.éxample", "https://lms.éxample/c", false},
	} {
		doc := minimal(lms)
		doc["issuer"] = tc.issuer
		cfg, err := dynreg.ParseConfiguration(encode(t, doc), tc.from)
		if tc.ok {
			if err != nil || cfg.Issuer != tc.issuer {
				t.Errorf("issuer %s from %s: %v", tc.issuer, tc.from, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("issuer %s was accepted from %s", tc.issuer, tc.from)
			continue
		}
		fails(t, err, "", dynreg.PlatformAdmin, false)
	}
}

// TestConfigurationRefused has what no platform may do.
func TestConfigurationRefused(t *testing.T) {
	for _, name := range []string{"issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "registration_endpoint"} {
		for val, says := range map[string]string{
			`-`:                                   " is missing",
			`null`:                                " is missing",
			`""`:                                  " is missing",
			`{}`:                                  " is not a string",
			`["https://lms.example/x"]`:           " is not a string",
			`5`:                                   " is no address",
			`"/x"`:                                " is no address that can be used: not absolute",
			`"http://lms.example/x"`:              "https is required",
			`"https://u:S3CRET@lms.example"`:      "must not contain a user",
			`"https://lms.example/x#y"`:           "fragment",
			`"https://lms.example/\u0000"`:        " a space or another character",
			`"https://lms.example/ x"`:            " a space or another character",
			`"javascript:alert(1)"`:               "https is required",
			`"` + strings.Repeat("x", 3000) + `"`: "longer than any address",
		} {
			doc := minimal(lms)
			if delete(doc, name); val != "-" {
				doc[name] = json.RawMessage(val)
			}
			_, err := dynreg.ParseConfiguration(encode(t, doc), lms+"/c")
			e := fails(t, err, says, dynreg.PlatformAdmin, false)
			if len(e.Members) != 1 || e.Members[0].Member != name {
				t.Errorf("%s %s: members %v", name, val, e.Members)
			}
		}
	}
	for name, lacks := range map[string]string{
		"id_token_signing_alg_values_supported":            "RS256",
		"token_endpoint_auth_signing_alg_values_supported": "RS256",
		"token_endpoint_auth_methods_supported":            "private_key_jwt",
		"response_types_supported":                         "id_token",
	} {
		doc := minimal(lms)
		doc[name] = []string{"none", "HS256", "client_secret_basic", "code"}
		_, err := dynreg.ParseConfiguration(encode(t, doc), lms+"/c")
		fails(t, err, name+" lacks "+lacks, dynreg.PlatformAdmin, false)
		doc[name] = []string{"other", lacks}
		if _, err := dynreg.ParseConfiguration(encode(t, doc), lms+"/c"); err != nil {
			t.Errorf("%s with %s: %v", name, lacks, err)
		}
	}
	for name, tc := range map[string]struct{ doc, says string }{
		"a page":         {"<!DOCTYPE html>", "holds something else"},
		"nothing":        {"", "holds something else"},
		"a list":         {"[]", "not a JSON object"},
		"an issuer more": {`{"issuer":"https://lms.example","issuer":"https://evil.example"}`, `duplicate member "issuer"`},
		"more behind it": {"{}{}", "data after the JSON object"},
		"all missing": {
			"{}",
			"(authorization_endpoint is missing; issuer is missing; jwks_uri is missing; registration_endpoint is missing; token_endpoint is missing)",
		},
		"names in capitals": {`{"ISSUER":"https://lms.example"}`, "issuer is missing"},
	} {
		_, err := dynreg.ParseConfiguration([]byte(tc.doc), lms+"/c")
		if e := fails(t, err, tc.says, dynreg.PlatformAdmin, false); e.Status != 0 {
			t.Errorf("%s: status %d", name, e.Status)
		}
	}
	_, err := dynreg.ParseConfiguration(encode(t, minimal(lms)), "http://lms.example/c")
	fails(t, err, "openid_configuration", dynreg.PlatformAdmin, false)
}

// TestConfigurationForgiven has what platforms get wrong without harm.
func TestConfigurationForgiven(t *testing.T) {
	for name, tc := range map[string]struct {
		with string // members besides the least ones
		want dynreg.Configuration
	}{
		"nothing more":         {``, dynreg.Configuration{}},
		"null everywhere":      {`"scopes_supported":null,"id_token_signing_alg_values_supported":null,"` + platformMember + `":null`, dynreg.Configuration{}},
		"empty lists":          {`"response_types_supported":[],"scopes_supported":[],"` + platformMember + `":{"messages_supported":[]}`, dynreg.Configuration{}},
		"other types":          {`"scopes_supported":5,"claims_supported":{},"` + platformMember + `":"x"`, dynreg.Configuration{}},
		"one for a list":       {`"response_types_supported":"id_token","scopes_supported":"a"`, dynreg.Configuration{Scopes: []string{"a"}}},
		"odd elements":         {`"claims_supported":["sub",null,7,"",{}]`, dynreg.Configuration{Claims: []string{"sub"}}},
		"unknown members":      {`"frontchannel_logout_supported":true`, dynreg.Configuration{}},
		"no version":           {`"` + platformMember + `":{"product_family_code":"x"}`, dynreg.Configuration{Product: "x"}},
		"a number for version": {`"` + platformMember + `":{"version":4.5}`, dynreg.Configuration{Version: "4.5"}},
		"control characters":   {`"` + platformMember + `":{"product_family_code":"a\u0000\nb\u202e"}`, dynreg.Configuration{Product: "a b"}},
		"messages as strings": {
			`"` + platformMember + `":{"messages_supported":["A","B"],"placements":["AddContentMenu"]}`,
			dynreg.Configuration{Messages: []dynreg.Supported{{"A", []string{"AddContentMenu"}}, {"B", []string{"AddContentMenu"}}}},
		},
		"messages of all kinds": {
			`"` + platformMember + `":{"messages_supported":["A",{"type":"B","placements":["p"]},{"type":"C"},{"placements":["p"]},5,null,"",{"type":null}]}`,
			dynreg.Configuration{Messages: []dynreg.Supported{{"A", nil}, {"B", []string{"p"}}, {"C", nil}}},
		},
		"messages no list": {`"` + platformMember + `":{"messages_supported":{"type":"A"}}`, dynreg.Configuration{}},
	} {
		doc := strings.TrimSuffix(string(encode(t, minimal(lms))), "}")
		if tc.with != "" {
			doc += "," + tc.with
		}
		cfg, err := dynreg.ParseConfiguration([]byte("\ufeff"+doc+"}\n"), lms+"/c")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		tc.want.Issuer, tc.want.AuthorizationEndpoint, tc.want.TokenEndpoint = lms, lms+"/auth", lms+"/token"
		tc.want.JWKSURI, tc.want.RegistrationEndpoint = lms+"/jwks", lms+"/register"
		if !reflect.DeepEqual(*cfg, tc.want) {
			t.Errorf("%s:\n%+v, want\n%+v", name, *cfg, tc.want)
		}
	}
}

// platforms are documents in the shapes of real platforms.
func platforms(t testing.TB) map[string]json.RawMessage {
	var all map[string]json.RawMessage
	load(t, "platforms.json", &all)
	return all
}

var platformHosts = map[string]string{
	"canvas": "https://canvas.instructure.com", "canvas_own": "https://canvas.school.example",
	"brightspace": "https://school.brightspace.com", "blackboard": "https://developer.blackboard.com", "old_moodle": "https://old.example.edu",
}

func platform(t testing.TB, name string) *dynreg.Configuration {
	t.Helper()
	cfg, err := dynreg.ParseConfiguration(platforms(t)[name], platformHosts[name]+"/c?registration_token=x")
	if err != nil {
		t.Fatal(name, err)
	}
	return cfg
}

func TestPlatforms(t *testing.T) {
	for _, tc := range []struct {
		name, issuer    string
		preset          string
		scope           lti.UserScope
		audience        string
		keys            string
		endpoint        string
		messages, extra int
	}{
		{
			"canvas", "https://canvas.instructure.com", "canvas", lti.ScopeTenant, "",
			"https://sso.canvaslms.com/api/lti/security/jwks", "https://school.instructure.com/api/lti/registrations", 2, 3,
		},
		{
			"canvas_own", "https://canvas.school.example", "canvas-own", lti.ScopeTenant, "",
			"https://canvas.school.example/api/lti/security/jwks", "https://canvas.school.example/api/lti/registrations", 2, 3,
		},
		{
			"brightspace", "https://school.brightspace.com", "brightspace", lti.ScopeClient, "https://api.brightspace.com/auth/token",
			"https://school.brightspace.com/d2l/.well-known/jwks", "https://school.brightspace.com/d2l/api/lti/registration", 2, 0,
		},
		{
			"blackboard", "https://blackboard.com", "blackboard", lti.ScopeDeployment, "",
			"https://developer.blackboard.com/api/v1/management/applications/a%2Fb/jwks.json",
			"https://developer.blackboard.com/api/v1/gateway/registerLti?registrationToken=11111111-2222-3333-4444-555555555555", 3, 0,
		},
		{
			"old_moodle", "https://old.example.edu/moodle", "moodle", lti.ScopeClient, "",
			"https://old.example.edu/moodle/mod/lti/certs.php", "https://old.example.edu/moodle/mod/lti/openid-registration.php", 2, 0,
		},
	} {
		cfg := platform(t, tc.name)
		if cfg.Issuer != tc.issuer || cfg.RegistrationEndpoint != tc.endpoint || len(cfg.Messages) != tc.messages || len(cfg.Variables) != tc.extra {
			t.Errorf("%s: %+v", tc.name, cfg)
		}
		if g := cfg.Guess(); g.Preset != tc.preset || g.Scope != tc.scope {
			t.Errorf("%s: guess %+v", tc.name, g)
		}
		if a := cfg.TokenAudience(); a != tc.audience {
			t.Errorf("%s: audience %q, want %q", tc.name, a, tc.audience)
		}
		if k := cfg.KeysURL("a/b"); k != tc.keys {
			t.Errorf("%s: keys %q, want %q", tc.name, k, tc.keys)
		}
	}
}

func TestTokenAudience(t *testing.T) {
	const d2l = "https://auth.brightspace.com/core/connect/token"
	for _, tc := range []struct{ server, endpoint, want string }{
		{"", lms + "/token", ""},
		{lms + "/token", lms + "/token", ""},
		{lms, lms + "/token", lms},
		{"https://as.example/id?x", lms + "/token", "https://as.example/id?x"},
		{"lms.example", lms + "/token", ""},
		{"http://lms.example", lms + "/token", ""},
		{"", d2l, "https://api.brightspace.com/auth/token"},
		{"https://as.example", d2l, "https://as.example"},
	} {
		cfg := dynreg.Configuration{AuthorizationServer: tc.server, TokenEndpoint: tc.endpoint}
		if got := cfg.TokenAudience(); got != tc.want {
			t.Errorf("authorization_server %q of %s: audience %q, want %q", tc.server, tc.endpoint, got, tc.want)
		}
	}
}

func TestGuess(t *testing.T) {
	for _, tc := range []struct {
		issuer, product, preset string
		scope                   lti.UserScope
	}{
		{lms, "Moodle", "moodle", lti.ScopeClient},
		{lms, "canvas", "canvas-own", lti.ScopeTenant},
		{"https://canvas.instructure.com", "", "canvas", lti.ScopeTenant},
		{"https://canvas.beta.instructure.com", "canvas", "canvas-beta", lti.ScopeTenant},
		{"https://canvas.test.instructure.com", "canvas", "canvas-test", lti.ScopeTenant},
		{"https://blackboard.com", "moodle", "blackboard", lti.ScopeDeployment},
		{lms, "BlackboardLearn", "blackboard", lti.ScopeDeployment},
		{lms, "desire2learn", "brightspace", lti.ScopeClient},
		{lms, "sakai", "sakai", lti.ScopeClient},
		{lms, "schoology", "schoology", lti.ScopeDeployment},
		{lms, "openedx", "openedx", lti.ScopeClient},
		{lms, "ilias", "", lti.ScopeClient},
		{lms, "", "", lti.ScopeClient},
	} {
		g := (&dynreg.Configuration{Issuer: tc.issuer, Product: tc.product}).Guess()
		if g.Preset != tc.preset || g.Scope != tc.scope {
			t.Errorf("%s of %s: %+v, want %s, %s", tc.product, tc.issuer, g, tc.preset, tc.scope)
		}
	}
}

// FuzzParseConfiguration: whatever is accepted can be used without another look,
// and no message breaks a log line.
func FuzzParseConfiguration(f *testing.F) {
	for name, doc := range platforms(f) {
		f.Add([]byte(doc), platformHosts[name]+"/c")
	}
	var rec moodle
	load(f, "moodle.json", &rec)
	f.Add([]byte(rec.Configuration), moodleSite+"/c")
	f.Add([]byte(`{"issuer":"https://a","`+platformMember+`":{"messages_supported":["A",{"type":5}],"placements":"x"}}`), "https://a/c")
	f.Fuzz(func(t *testing.T, data []byte, from string) {
		cfg, err := dynreg.ParseConfiguration(data, from)
		if err != nil {
			sound(t, err)
			return
		}
		for _, raw := range []string{cfg.Issuer, cfg.AuthorizationEndpoint, cfg.TokenEndpoint, cfg.JWKSURI, cfg.RegistrationEndpoint, cfg.KeysURL("ü/?#")} {
			if _, err := httpx.CheckURL(raw); err != nil {
				t.Errorf("%q was accepted: %v", raw, err)
			}
		}
		iss, _ := url.Parse(cfg.Issuer)
		src, _ := url.Parse(from)
		if !strings.EqualFold(iss.Hostname(), src.Hostname()) && cfg.Issuer != "https://blackboard.com" {
			t.Errorf("issuer %s was accepted from %s", cfg.Issuer, from)
		}
		req, err := dynreg.NewRequest(cfg, quiz())
		if err != nil {
			t.Fatal(err)
		}
		if len(req.Tool.Messages) == 0 || !slices.Contains(req.Tool.Claims, "sub") {
			t.Errorf("request %+v", req)
		}
		for _, n := range req.Notes {
			single(t, n.String())
		}
		encode(t, req)
	})
}

func sound(t *testing.T, err error) {
	t.Helper()
	e, ok := errors.AsType[*dynreg.Error](err)
	if !ok || e.Hint == "" || e.Whose == "" {
		t.Fatalf("error %#v", err)
	}
	single(t, err.Error())
}

// single checks that a text is one line of bearable length.
func single(t *testing.T, s string) {
	t.Helper()
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x202e }) || len(s) > 8<<10 {
		t.Errorf("message %.200q of %d bytes", s, len(s))
	}
}
