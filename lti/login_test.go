package lti

import (
	"errors"
	"maps"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// code returns the code of a refusal, or "" for none.
func codeOf(t *testing.T, err error) Code {
	t.Helper()
	if err == nil {
		return ""
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%v (%T) is no *Error", err, err)
	}
	return e.Code
}

func TestParseLoginRequest(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, tc := range []struct {
		name  string
		query string
		code  Code
		want  LoginRequest
	}{
		{"least", "iss=i&login_hint=h&target_link_uri=t", "", LoginRequest{Issuer: "i", LoginHint: "h", TargetLinkURI: "t"}},
		{
			"all", "iss=i&login_hint=h&target_link_uri=t&client_id=c&lti_message_hint=m&lti_deployment_id=d", "",
			LoginRequest{Issuer: "i", LoginHint: "h", TargetLinkURI: "t", ClientID: "c", MessageHint: "m", DeploymentID: "d"},
		},
		{
			"values are kept byte for byte", "iss=%20I%2F&login_hint=%7B%22a%22%3A%22%C3%A9+%2B%22%7D&target_link_uri=https%3A%2F%2Ft%2F%3Fa%3Db%26c", "",
			LoginRequest{Issuer: " I/", LoginHint: `{"a":"é +"}`, TargetLinkURI: "https://t/?a=b&c"},
		},
		{"unknown parameters", "iss=i&login_hint=h&target_link_uri=t&canvas_region=eu&deployment_id=9&deployment_id=8", "", LoginRequest{Issuer: "i", LoginHint: "h", TargetLinkURI: "t"}},
		{"optional ones empty", "iss=i&login_hint=h&target_link_uri=t&client_id=&lti_message_hint=&lti_deployment_id=", "", LoginRequest{Issuer: "i", LoginHint: "h", TargetLinkURI: "t"}},
		{"twice the same", "iss=i&login_hint=h&target_link_uri=t&client_id=c&client_id=c", "", LoginRequest{Issuer: "i", LoginHint: "h", TargetLinkURI: "t", ClientID: "c"}},
		{"names are exact", "ISS=x&iss=i&login_hint=h&target_link_uri=t", "", LoginRequest{Issuer: "i", LoginHint: "h", TargetLinkURI: "t"}},
		{"just short enough", "iss=i&target_link_uri=t&login_hint=" + long(maxHint), "", LoginRequest{Issuer: "i", LoginHint: long(maxHint), TargetLinkURI: "t"}},

		{"nothing", "", CodeIssuerMissing, LoginRequest{}},
		{"no iss", "login_hint=h&target_link_uri=t", CodeIssuerMissing, LoginRequest{}},
		{"empty iss", "iss=&login_hint=h&target_link_uri=t", CodeIssuerMissing, LoginRequest{}},
		{"no hint", "iss=i&target_link_uri=t", CodeLoginHintMissing, LoginRequest{}},
		{"no target", "iss=i&login_hint=h", CodeTargetMissing, LoginRequest{}},
		{"two issuers", "iss=i&iss=j&login_hint=h&target_link_uri=t", CodeRequestMalformed, LoginRequest{}},
		{"two issuers, one empty", "iss=i&iss=&login_hint=h&target_link_uri=t", CodeRequestMalformed, LoginRequest{}},
		{"two clients", "iss=i&login_hint=h&target_link_uri=t&client_id=c&client_id=d", CodeRequestMalformed, LoginRequest{}},
		{"two clients and back", "iss=i&login_hint=h&target_link_uri=t&client_id=c&client_id=d&client_id=c", CodeRequestMalformed, LoginRequest{}},
		{"two hints", "iss=i&login_hint=h&login_hint=g&target_link_uri=t", CodeRequestMalformed, LoginRequest{}},
		{"long iss", "login_hint=h&target_link_uri=t&iss=" + long(maxURL+1), CodeRequestTooLarge, LoginRequest{}},
		{"long hint", "iss=i&target_link_uri=t&login_hint=" + long(maxHint+1), CodeRequestTooLarge, LoginRequest{}},
		{"long target", "iss=i&login_hint=h&target_link_uri=" + long(maxURL+1), CodeRequestTooLarge, LoginRequest{}},
		{"long client", "iss=i&login_hint=h&target_link_uri=t&client_id=" + long(maxURL+1), CodeRequestTooLarge, LoginRequest{}},
		{"long message hint", "iss=i&login_hint=h&target_link_uri=t&lti_message_hint=" + long(maxMessageHint+1), CodeRequestTooLarge, LoginRequest{}},
		{"long deployment", "iss=i&login_hint=h&target_link_uri=t&lti_deployment_id=" + long(maxURL+1), CodeRequestTooLarge, LoginRequest{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			values, err := url.ParseQuery(tc.query)
			if err != nil {
				t.Fatal(err)
			}
			before := values.Encode()
			got, err := ParseLoginRequest(values)
			if c := codeOf(t, err); c != tc.code {
				t.Fatalf("code %q (%v), want %q", c, err, tc.code)
			}
			if err == nil && *got != tc.want {
				t.Errorf("got %+v, want %+v", *got, tc.want)
			}
			if values.Encode() != before {
				t.Error("the values were changed")
			}
		})
	}
}

func TestAuthRequestURL(t *testing.T) {
	full := AuthRequest{
		ClientID: "c", RedirectURI: "https://tool.example/lti/launch", LoginHint: "h", MessageHint: "m", State: "s", Nonce: "n",
	}
	ours := func(more url.Values) url.Values {
		v := url.Values{
			"scope": {"openid"}, "response_type": {"id_token"}, "response_mode": {"form_post"}, "prompt": {"none"},
			"client_id": {"c"}, "redirect_uri": {"https://tool.example/lti/launch"}, "login_hint": {"h"},
			"lti_message_hint": {"m"}, "state": {"s"}, "nonce": {"n"},
		}
		maps.Copy(v, more)
		return v
	}
	const odd = "{\"cmid\":12} &a=b#c;d+e%20f/?é\u2028\x00"
	for _, tc := range []struct {
		name   string
		at     string
		req    AuthRequest
		prefix string // of the address, before the query
		want   url.Values
	}{
		{"plain", "https://lms.example/auth", full, "https://lms.example/auth", ours(nil)},
		{"no path", "https://lms.example", full, "https://lms.example", ours(nil)},
		{"escaped path", "https://lms.example/a%2Fb%20c", full, "https://lms.example/a%2Fb%20c", ours(nil)},
		{"with a query", "https://lms.example/auth?tenant=7&x=%26&x=2", full, "https://lms.example/auth", ours(url.Values{"tenant": {"7"}, "x": {"&", "2"}})},
		{"with an empty query", "https://lms.example/auth?", full, "https://lms.example/auth", ours(nil)},
		{"ours win over the query's", "https://lms.example/auth?prompt=login&state=evil&nonce=evil&client_id=evil", full, "https://lms.example/auth", ours(nil)},
		{
			"no message hint", "https://lms.example/auth",
			AuthRequest{ClientID: "c", RedirectURI: full.RedirectURI, LoginHint: "h", State: "s", Nonce: "n"},
			"https://lms.example/auth", func() url.Values { v := ours(nil); delete(v, "lti_message_hint"); return v }(),
		},
		{
			"odd characters", "https://lms.example/auth",
			AuthRequest{ClientID: odd, RedirectURI: full.RedirectURI, LoginHint: odd, MessageHint: odd, State: "s", Nonce: "n"},
			"https://lms.example/auth", ours(url.Values{"client_id": {odd}, "login_hint": {odd}, "lti_message_hint": {odd}}),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.req.URL(tc.at)
			if err != nil {
				t.Fatal(err)
			}
			for i := range len(got) {
				if got[i] <= ' ' || got[i] > '~' {
					t.Fatalf("%q is not printable ASCII", got)
				}
			}
			prefix, query, _ := strings.Cut(got, "?")
			if prefix != tc.prefix {
				t.Errorf("address %q, want %q", prefix, tc.prefix)
			}
			values, err := url.ParseQuery(query)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(values, tc.want) {
				t.Errorf("query %v\nwant  %v", values, tc.want)
			}
		})
	}
	if _, err := full.URL("https://lms.example/\x7f"); err == nil {
		t.Error("no error for an address that is none")
	}
}

// What of the endpoint's query does not follow the rules for forms is kept too,
// as it is.
func TestAuthRequestURLKeepsStrangeQueries(t *testing.T) {
	for _, query := range []string{"flag", "a=1;b=2", "path=/x/y", "bad=%zz"} {
		got, err := AuthRequest{ClientID: "c", State: "s"}.URL("https://lms.example/auth?" + query)
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		if !strings.Contains(got+"&", "?"+query+"&") && !strings.Contains(got+"&", "&"+query+"&") {
			t.Errorf("%s was not kept: %s", query, got)
		}
	}
}

func TestParseAuthResponse(t *testing.T) {
	for _, tc := range []struct {
		name string
		form string
		code Code
		want AuthResponse
	}{
		{"token", "state=s&id_token=a.b.c", "", AuthResponse{State: "s", IDToken: "a.b.c"}},
		{"with what else there is", "state=s&id_token=a.b.c&session_state=x&lti_storage_target=_parent", "", AuthResponse{State: "s", IDToken: "a.b.c"}},
		{"error", "state=s&error=login_required&error_description=sign+in", "", AuthResponse{State: "s", Error: "login_required", ErrorDescription: "sign in"}},
		{"error and an empty token", "state=s&error=x&id_token=", "", AuthResponse{State: "s", Error: "x"}},
		// Both: the caller has to treat it as an error.
		{"error and token", "state=s&error=x&id_token=a.b.c", "", AuthResponse{State: "s", Error: "x", IDToken: "a.b.c"}},
		{"nothing", "", CodeStateMissing, AuthResponse{}},
		{"no state", "id_token=a.b.c", CodeStateMissing, AuthResponse{}},
		{"empty state", "state=&id_token=a.b.c", CodeStateMissing, AuthResponse{}},
		{"an error without state", "error=x", CodeStateMissing, AuthResponse{}},
		{"no token", "state=s", CodeTokenMissing, AuthResponse{}},
		{"empty token", "state=s&id_token=", CodeTokenMissing, AuthResponse{}},
		{"two states", "state=s&state=t&id_token=a.b.c", CodeRequestMalformed, AuthResponse{}},
		{"two equal states", "state=s&state=s&id_token=a.b.c", CodeRequestMalformed, AuthResponse{}},
		{"two tokens", "state=s&id_token=a.b.c&id_token=a.b.c", CodeRequestMalformed, AuthResponse{}},
		{"two errors", "state=s&error=x&error=y", CodeRequestMalformed, AuthResponse{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			form, err := url.ParseQuery(tc.form)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseAuthResponse(form)
			if c := codeOf(t, err); c != tc.code {
				t.Fatalf("code %q (%v), want %q", c, err, tc.code)
			}
			if err == nil && *got != tc.want {
				t.Errorf("got %+v, want %+v", *got, tc.want)
			}
		})
	}
}
