package lti

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// testSettings is what a deep-linking request must have, and no more.
func testSettings() map[string]any {
	return map[string]any{
		"deep_link_return_url":                 "https://lms.example/return?course=2&sesskey=return-secret",
		"accept_types":                         []string{"ltiResourceLink", "link"},
		"accept_presentation_document_targets": []string{"iframe", "window"},
	}
}

// verifyDeepLinking verifies a deep-linking request with these settings.
func verifyDeepLinking(t *testing.T, settings any) (*Launch, error) {
	t.Helper()
	lms, p := testPlatform(t)
	v := &Verifier{
		Now:     func() time.Time { return moment },
		Accepts: func(typ string) bool { return typ == MessageDeepLinking },
	}
	claims := ltitest.With(testClaims(lms), map[string]any{
		ltitest.Claim("message_type"):                                        "LtiDeepLinkingRequest",
		ltitest.Claim("resource_link"):                                       ltitest.Absent,
		"https://purl.imsglobal.org/spec/lti-dl/claim/deep_linking_settings": settings,
	})
	return v.Verify(t.Context(), p, keysOf{lms.Key.JWK()}, lms.Token(claims), Expected{Nonce: testNonce})
}

func TestDeepLinkingSettings(t *testing.T) {
	type set = map[string]any
	yes, no := true, false
	least := DeepLinking{
		ReturnURL:     "https://lms.example/return?course=2&sesskey=return-secret",
		AcceptTypes:   []string{"ltiResourceLink", "link"},
		AcceptTargets: []string{"iframe", "window"},
	}
	for _, tc := range []struct {
		name   string
		more   set
		change func(*DeepLinking)
	}{
		{"what is required", nil, func(*DeepLinking) {}},
		{
			"everything",
			set{
				"accept_media_types": " image/*, text/html,,application/vnd.ims.lti.v1.ltilink ", "accept_multiple": true, "accept_lineitem": true,
				"auto_create": true, "title": "A title", "text": "A text", "data": "opaque",
			},
			func(d *DeepLinking) {
				d.AcceptMediaTypes = []string{"image/*", "text/html", "application/vnd.ims.lti.v1.ltilink"}
				d.AcceptMultiple, d.AcceptLineItem, d.AutoCreate = true, &yes, true
				d.Title, d.Text, d.Data = "A title", "A text", json.RawMessage(`"opaque"`)
			},
		},
		{"media types as a list", set{"accept_media_types": []any{"image/*", "", 5, "text/html"}}, func(d *DeepLinking) { d.AcceptMediaTypes = []string{"image/*", "text/html"} }},
		{"no line items", set{"accept_lineitem": false, "accept_multiple": false, "auto_create": false}, func(d *DeepLinking) { d.AcceptLineItem = &no }},
		{
			"null and wrong types where it does no harm",
			set{"accept_media_types": 5, "accept_multiple": "true", "accept_lineitem": nil, "auto_create": 1, "title": nil, "text": set{}, "data": nil},
			func(*DeepLinking) {},
		},
		{"variables that nobody filled", set{"title": "$ResourceLink.title", "text": "$Context.title"}, func(*DeepLinking) {}},
		{"empty data", set{"data": ""}, func(d *DeepLinking) { d.Data = json.RawMessage(`""`) }},
		{"data that is no text", set{"data": set{"n": json.Number("1e3"), "l": []any{nil, "é"}}}, func(d *DeepLinking) { d.Data = json.RawMessage(`{"l":[null,"é"],"n":1e3}`) }},
		{"only what fits of the lists", set{"accept_types": []any{5, nil, "", "file"}, "accept_presentation_document_targets": []any{set{}}}, func(d *DeepLinking) {
			d.AcceptTypes, d.AcceptTargets = []string{"file"}, nil
		}},
		{"http on this machine", set{"deep_link_return_url": "http://lms.localhost:8080/r"}, func(d *DeepLinking) { d.ReturnURL = "http://lms.localhost:8080/r" }},
		{"an IPv6 address", set{"deep_link_return_url": "https://[2001:db8::1]:8443/r"}, func(d *DeepLinking) { d.ReturnURL = "https://[2001:db8::1]:8443/r" }},
		{"unknown members", set{"accept_copy_advice": false, "https://lms.example/x": set{}}, func(*DeepLinking) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, err := verifyDeepLinking(t, ltitest.With(testSettings(), tc.more))
			if err != nil {
				t.Fatal(err)
			}
			want := least
			tc.change(&want)
			if !reflect.DeepEqual(l.DeepLinking, want) {
				t.Errorf("got  %+v\nwant %+v", l.DeepLinking, want)
			}
		})
	}
}

func TestDeepLinkingRefusals(t *testing.T) {
	type set = map[string]any
	const absent = ltitest.Absent
	returnTo := func(url any) set {
		return ltitest.With(testSettings(), set{"deep_link_return_url": url})
	}
	for _, tc := range []struct {
		name     string
		settings any
	}{
		{"no settings", absent},
		{"settings null", nil},
		{"settings a list", []any{testSettings()}},
		{"no return URL", returnTo(absent)},
		{"return URL null", returnTo(nil)},
		{"return URL empty", returnTo("")},
		{"return URL a number", returnTo(5)},
		{"return URL a list", returnTo([]string{"https://lms.example/r"})},
		{"return URL without a host", returnTo("/return?sesskey=return-secret")},
		{"return URL without a scheme", returnTo("lms.example/return")},
		{"return URL http", returnTo("http://lms.example/return?sesskey=return-secret")},
		{"return URL a script", returnTo("javascript:alert('return-secret')")},
		{"return URL data", returnTo("data:text/html,return-secret")},
		{"return URL with a user", returnTo("https://return-secret@lms.example/return")},
		{"return URL with a fragment", returnTo("https://lms.example/return#return-secret")},
		{"return URL with a line feed", returnTo("https://lms.example/return\nreturn-secret")},
		{"return URL with a policy in its host", returnTo("https://lms.example;script-src/return")},
		{"return URL with a quote in its host", returnTo("https://lms'x.example/return")},
		{"return URL too long", returnTo("https://lms.example/" + strings.Repeat("x", maxReturnURL))},
		{"no types", ltitest.With(testSettings(), set{"accept_types": absent})},
		{"types null", ltitest.With(testSettings(), set{"accept_types": nil})},
		{"types a text", ltitest.With(testSettings(), set{"accept_types": "link"})},
		{"types empty", ltitest.With(testSettings(), set{"accept_types": []string{}})},
		{"types of nothing that is a type", ltitest.With(testSettings(), set{"accept_types": []any{nil, 5, ""}})},
		{"no targets", ltitest.With(testSettings(), set{"accept_presentation_document_targets": absent})},
		{"targets null", ltitest.With(testSettings(), set{"accept_presentation_document_targets": nil})},
		{"targets a text", ltitest.With(testSettings(), set{"accept_presentation_document_targets": "iframe"})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, err := verifyDeepLinking(t, tc.settings)
			if code := codeOf(t, err); code != "deep_linking_settings_invalid" {
				t.Fatalf("code %q (%v)", code, err)
			}
			if l != nil {
				t.Error("a refused message became a launch")
			}
			if strings.Contains(err.Error(), "return-secret") {
				t.Errorf("the error tells the platform's secret: %v", err)
			}
			var e *Error
			if errors.As(err, &e) && e.Detail == "" {
				t.Error("the error does not say what is wrong")
			}
		})
	}
}

// A deep-linking request has no activity, and what claims to be one of another
// kind has no place to answer to.
func TestDeepLinkingIsOfItsMessageOnly(t *testing.T) {
	l, err := verifyDeepLinking(t, testSettings())
	if err != nil {
		t.Fatal(err)
	}
	if l.ResourceLink != (ResourceLink{}) {
		t.Errorf("activity %+v", l.ResourceLink)
	}
	lms, p := testPlatform(t)
	for _, settings := range []any{testSettings(), map[string]any{}, "x"} {
		claims := ltitest.With(testClaims(lms), map[string]any{"https://purl.imsglobal.org/spec/lti-dl/claim/deep_linking_settings": settings})
		v := &Verifier{Now: func() time.Time { return moment }}
		l, err := v.Verify(t.Context(), p, keysOf{lms.Key.JWK()}, lms.Token(claims), Expected{Nonce: testNonce})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(l.DeepLinking, DeepLinking{}) {
			t.Errorf("%v: %+v", settings, l.DeepLinking)
		}
	}
}

func TestRoster(t *testing.T) {
	lms, p := testPlatform(t)
	type set = map[string]any
	const url = "https://lms.example/members?type=1"
	for _, tc := range []struct {
		name  string
		claim any
		want  RosterService
	}{
		{"absent", ltitest.Absent, RosterService{}},
		{"null", nil, RosterService{}},
		{"a text", url, RosterService{}},
		{"as it should be", set{"context_memberships_url": url, "service_versions": []string{"2.0"}}, RosterService{url, []string{"2.0"}}},
		{"several versions", set{"context_memberships_url": url, "service_versions": []string{"1.0", "2.0"}}, RosterService{url, []string{"1.0", "2.0"}}},
		{"no versions", set{"context_memberships_url": url}, RosterService{URL: url}},
		{"versions empty", set{"context_memberships_url": url, "service_versions": []string{}}, RosterService{URL: url}},
		{"versions null", set{"context_memberships_url": url, "service_versions": nil}, RosterService{URL: url}},
		{"versions of another shape", set{"context_memberships_url": url, "service_versions": set{}}, RosterService{URL: url}},
		{"other versions only", set{"context_memberships_url": url, "service_versions": []string{"1.0", "3.0"}}, RosterService{}},
		{"no URL", set{"service_versions": []string{"2.0"}}, RosterService{}},
		{"URL null", set{"context_memberships_url": nil, "service_versions": []string{"2.0"}}, RosterService{}},
		{"URL that nobody filled", set{"context_memberships_url": "$ToolProxyBinding.memberships.url", "service_versions": []string{"2.0"}}, RosterService{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := &Verifier{Now: func() time.Time { return moment }}
			claims := ltitest.With(testClaims(lms), set{"https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice": tc.claim})
			l, err := v.Verify(t.Context(), p, keysOf{lms.Key.JWK()}, lms.Token(claims), Expected{Nonce: testNonce})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(l.Roster, tc.want) {
				t.Errorf("got %+v, want %+v", l.Roster, tc.want)
			}
		})
	}
}
