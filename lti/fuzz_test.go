package lti_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/ltitest"
	"github.com/caddy-lti/lti/lti"
)

// payloadOf returns the claims of a compact JWS.
func payloadOf(tb testing.TB, token string) map[string]any {
	tb.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		tb.Fatalf("%d parts", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		tb.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		tb.Fatal(err)
	}
	return claims
}

// FuzzParseLoginRequest reads any query. What it accepts has all that is
// required, and reaches the platform unchanged.
func FuzzParseLoginRequest(f *testing.F) {
	for _, seed := range []string{
		"iss=https%3A%2F%2Flms.example&login_hint=5&target_link_uri=https%3A%2F%2Ftool.example%2F",
		"iss=https%3A%2F%2Flms.example&login_hint=5&target_link_uri=x&client_id=c&lti_deployment_id=1&lti_message_hint=%7B%22cmid%22%3A21%7D",
		"iss=a&iss=a&login_hint=b&target_link_uri=c",
		"iss=a&iss=b&login_hint=b&target_link_uri=c",
		"iss=a&login_hint=%00%0d%0a%ff&target_link_uri=c",
		"iss=a&login_hint=b+c&target_link_uri=%2B%26%3D",
		"iss=&login_hint=&target_link_uri=",
		"iss=a;login_hint=b", "%", "&&&=&=", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		req, err := lti.ParseLoginRequest(values)
		if err != nil {
			refusal(t, err)
			return
		}
		if req.Issuer == "" || req.LoginHint == "" || req.TargetLinkURI == "" {
			t.Fatalf("accepted %q as %+v", query, req)
		}
		for name, got := range map[string]string{
			"iss": req.Issuer, "login_hint": req.LoginHint, "target_link_uri": req.TargetLinkURI,
			"client_id": req.ClientID, "lti_message_hint": req.MessageHint, "lti_deployment_id": req.DeploymentID,
		} {
			if slices.ContainsFunc(values[name], func(v string) bool { return v != got }) {
				t.Errorf("%s is %q, read from %q", name, got, values[name])
			}
		}
		location, err := lti.AuthRequest{
			ClientID: "client", RedirectURI: "https://tool.example/lti/launch", State: "state", Nonce: "nonce",
			LoginHint: req.LoginHint, MessageHint: req.MessageHint,
		}.URL("https://lms.example/auth?tenant=a&client_id=x")
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(location)
		if err != nil || u.Host != "lms.example" || u.Path != "/auth" || u.Fragment != "" {
			t.Fatalf("leads to %q: %v", location, err)
		}
		want := url.Values{
			"scope": {"openid"}, "response_type": {"id_token"}, "response_mode": {"form_post"}, "prompt": {"none"},
			"client_id": {"client"}, "redirect_uri": {"https://tool.example/lti/launch"},
			"login_hint": {req.LoginHint}, "state": {"state"}, "nonce": {"nonce"}, "tenant": {"a"},
		}
		if req.MessageHint != "" {
			want.Set("lti_message_hint", req.MessageHint)
		}
		if got := u.Query().Encode(); got != want.Encode() {
			t.Errorf("asks with %q, expected %q", got, want.Encode())
		}
	})
}

// FuzzParseAuthResponse reads any form. What it accepts has a state, a token or
// an error, and each once.
func FuzzParseAuthResponse(f *testing.F) {
	for _, seed := range []string{
		"state=a&id_token=b.c.d",
		"state=a&error=login_required&error_description=x",
		"state=a&id_token=b&id_token=b", "state=a&state=a&id_token=b",
		"state=a&error=x&error=y", "state=a&error=x&id_token=b",
		"id_token=b", "state=a", "state=&id_token=", "%zz", "a=b;c=d", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, form string) {
		values, err := url.ParseQuery(form)
		if err != nil {
			return
		}
		res, err := lti.ParseAuthResponse(values)
		if err != nil {
			refusal(t, err)
			return
		}
		if res.State == "" || (res.IDToken == "" && res.Error == "") {
			t.Errorf("accepted %q as %+v", form, res)
		}
		for _, name := range []string{"state", "id_token", "error"} {
			if len(values[name]) > 1 {
				t.Errorf("accepted %d fields %s in %q", len(values[name]), name, form)
			}
		}
	})
}

// FuzzVerify tries any text as a token. Only those that the platform has signed
// are accepted.
func FuzzVerify(f *testing.F) {
	var valid []string
	for _, m := range moodleTokens {
		token := readMoodleToken(f, m.file)
		valid = append(valid, token)
		parts := strings.Split(token, ".")
		for _, header := range []string{
			`{"alg":"none"}`, `{"alg":"HS256","kid":"bf3ec982c73ac1e71ce0"}`, `{"alg":"RS256","alg":"none"}`, `{"alg":"RS256"}`,
			`{"alg":"RS256","kid":"bf3ec982c73ac1e71ce0","crit":["b64"],"b64":false}`, `{"alg":"RS256","kid":"","jku":"https://evil.example"}`, `[]`, `null`,
		} {
			f.Add(base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + parts[1] + "." + parts[2])
		}
		f.Add(token)
		f.Add(parts[0] + "." + parts[1] + ".")
		f.Add(parts[0] + ".." + parts[2])
	}
	for _, seed := range []string{"", ".", "..", "....", "a.b.c", `{"protected":"","payload":"","signature":""}`, "\x00.\xff.\n"} {
		f.Add(seed)
	}
	keys := newKeySet(f, readMoodleFile(f, "jwks.json"))
	v := lti.Verifier{
		Now:     func() time.Time { return time.Unix(moodleTokens[0].issuedAt, 0) },
		Accepts: func(string) bool { return true },
	}
	f.Fuzz(func(t *testing.T, token string) {
		// Each is given the nonce that it says, so that no other rule hides what
		// the signature is worth.
		var claims struct {
			Nonce string `json:"nonce"`
		}
		if parts := strings.Split(token, "."); len(parts) == 3 {
			if payload, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
				_ = json.Unmarshal(payload, &claims)
			}
		}
		l, err := v.Verify(t.Context(), &moodle, keys, token, lti.Expected{Nonce: claims.Nonce})
		switch {
		case err != nil && l != nil:
			t.Errorf("both a launch and %v", err)
		case err != nil:
			refusal(t, err)
		case !slices.Contains(valid, token):
			t.Errorf("accepted %q", token)
		}
	})
}

// unsigned is a KeySet for which every token is the platform's, and is nothing
// but its payload.
type unsigned struct{}

func (unsigned) VerifySignature(_ context.Context, payload string, _ []string) ([]byte, error) {
	return []byte(payload), nil
}

// FuzzServiceClaims reads any settings of a deep-linking request, and any roster
// claim. What is accepted has a place to answer to and something to answer.
func FuzzServiceClaims(f *testing.F) {
	const returnTo = `"deep_link_return_url":"https://lms.example/r?x=1"`
	const roster = `{"context_memberships_url":"https://lms.example/m","service_versions":["2.0"]}`
	for _, settings := range []string{
		`{` + returnTo + `,"accept_types":["link"],"accept_presentation_document_targets":["iframe"]}`,
		`{` + returnTo + `,"accept_types":["a","b",null,5],"accept_presentation_document_targets":[],"accept_media_types":"a/*,,b/c ,",` +
			`"accept_multiple":true,"accept_lineitem":false,"auto_create":null,"title":"$A.b","text":"\ud800","data":{"a":[1e3]}}`,
		`{` + returnTo + `,"accept_types":["link"],"accept_presentation_document_targets":["iframe"],"accept_media_types":["a/b"],"data":""}`,
		`{"deep_link_return_url":"http://lms.localhost/r","accept_types":["link"],"accept_presentation_document_targets":["embed"],"data":"\u0000"}`,
		`{"deep_link_return_url":"https://a;b/r","accept_types":["link"],"accept_presentation_document_targets":["embed"]}`,
		`{"deep_link_return_url":"javascript:x","accept_types":{},"accept_presentation_document_targets":"iframe"}`,
		`{"deep_link_return_url":"https://[::1]:80/#x","deep_link_return_url":"//x"}`, `{}`, `[]`, `null`, `"x"`,
	} {
		f.Add([]byte(settings), []byte(roster))
	}
	for _, claim := range []string{
		`{"context_memberships_url":"https://lms.example/m?a=1"}`, `{"context_memberships_url":"https://lms.example/m","service_versions":["1.0"]}`,
		`{"context_memberships_url":"$A.b","service_versions":"2.0"}`, `{"context_memberships_url":5,"service_versions":[2.0]}`, `null`,
	} {
		f.Add([]byte(`{`+returnTo+`,"accept_types":["link"],"accept_presentation_document_targets":["iframe"]}`), []byte(claim))
	}
	s := newSubject(f)
	s.verifier.Accepts = func(typ string) bool { return typ == lti.MessageDeepLinking }
	f.Fuzz(func(t *testing.T, settings, roster []byte) {
		if !json.Valid(settings) || !json.Valid(roster) {
			return
		}
		claims := s.claims()
		claims[ltitest.Claim("message_type")] = lti.MessageDeepLinking
		claims["https://purl.imsglobal.org/spec/lti-dl/claim/deep_linking_settings"] = json.RawMessage(settings)
		claims["https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice"] = json.RawMessage(roster)
		payload, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		l, err := s.verifier.Verify(t.Context(), s.platform, unsigned{}, string(payload), lti.Expected{Nonce: propertyNonce})
		if err != nil {
			if e := refusal(t, err); e.Code != lti.CodeDeepLinkingInvalid {
				t.Errorf("refused by another rule: %v", err)
			}
			return
		}
		d := l.DeepLinking
		u, err := url.Parse(d.ReturnURL)
		if err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(u.Host, "; ,'\"*") {
			t.Errorf("an answer goes to %q", d.ReturnURL)
		} else if host := u.Hostname(); u.Scheme != "https" && (u.Scheme != "http" || !httpx.IsLocalHost(host)) {
			t.Errorf("an answer goes to %q", d.ReturnURL)
		}
		if len(d.AcceptTypes) == 0 {
			t.Error("nothing can be answered")
		}
		for _, list := range [][]string{d.AcceptTypes, d.AcceptTargets, d.AcceptMediaTypes, l.Roster.Versions} {
			if slices.Contains(list, "") {
				t.Errorf("an empty text in %q", list)
			}
		}
		if d.Data != nil && !json.Valid(d.Data) {
			t.Errorf("data is %q", d.Data)
		}
		if l.Roster.URL == "" && l.Roster.Versions != nil || len(l.Roster.Versions) > 0 && !slices.Contains(l.Roster.Versions, "2.0") {
			t.Errorf("roster %+v", l.Roster)
		}
	})
}
