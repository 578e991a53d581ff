package inspect

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

func token(t testing.TB, header, claims any) string {
	t.Helper()
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	return part(header) + "." + part(claims) + ".SIGNATURE"
}

type object = map[string]any

// What helps to find a fault is shown, what says who somebody is, is not.
func TestToken(t *testing.T) {
	got := Token(token(t, object{"alg": "RS256", "kid": "key-1", "x5c": []string{"SECRET-CERT"}}, object{
		"iss": "https://lms.example", "aud": []string{"client-1"}, "exp": 1700000000, "nonce": "SECRET-NONCE", "sub": "SECRET-SUB",
		"name": "SECRET Zoë", "given_name": "SECRET", "email": "SECRET@x.example", "picture": "https://lms.example/SECRET",
		core + "roles":               []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"},
		core + "target_link_uri":     "https://USER:SECRET@tool.example/quiz?n=SECRET&plain",
		core + "context":             object{"id": "course-1", "label": "BIO", "title": "SECRET talks", "type": []string{"CourseSection"}},
		core + "launch_presentation": object{"return_url": "https://lms.example/back?sesskey=SECRET#SECRET", "locale": "de"},
		core + "custom":              object{"mail": "SECRET@x.example", "due": "$ResourceLink.submission.endDateTime", "odd": "$SECRET pay", "deep": object{"x": "SECRET"}},
		core + "lis":                 object{"person_sourcedid": "SECRET"},
		core + "role_scope_mentor":   []string{"SECRET"},
		dl + "deep_linking_settings": object{"deep_link_return_url": "https://lms.example/dl?data=SECRET", "data": "SECRET", "accept_types": []string{"link"}},
		"https://vendor.example/ext": object{"person": []any{"SECRET", object{"mail": "SECRET"}}, "n": 12345, "yes": true},
	}))
	if strings.Contains(got, "SECRET") || strings.Contains(got, "SIGNATURE") || strings.Contains(got, "12345") {
		t.Errorf("shows what it must not:\n%s", got)
	}
	for _, want := range []string{
		`"alg": "RS256"`, `"kid": "key-1"`, `"iss": "https://lms.example"`, `"client-1"`, "1700000000", `"sub": "‹10 characters›"`,
		"membership#Learner", "https://tool.example/quiz?n=…&plain", `"id": "course-1"`, `"label": "BIO"`, "https://lms.example/back?sesskey=…",
		`"due": "$ResourceLink.submission.endDateTime"`, `"accept_types": [`, "https://lms.example/dl?data=…", `"person": "‹list of 2›"`, `"yes": true`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("does not show %s in\n%s", want, got)
		}
	}
}

func TestTokenThatIsNone(t *testing.T) {
	for in, want := range map[string]string{
		"":                   "1 parts instead of 3",
		"a.b":                "2 parts instead of 3",
		"a.b.c.d.e":          "5 parts instead of 3",
		"!.!.x":              "not base64url",
		"e30.W10.x":          "not a JSON object",
		"e30.bm90LWpzb24.x":  "not a JSON object",
		"bnVsbA.bnVsbA.sign": "not a JSON object",
	} {
		if got := Token(in); !strings.Contains(got, want) || strings.Contains(got, "sign\"") {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	long := Token(token(t, object{}, object{"iss": strings.Repeat("ä", 1000), core + "roles": make([]int, 100_000)}))
	if len(long) > maxDoc+8 {
		t.Errorf("%d bytes", len(long))
	}
}

func TestParams(t *testing.T) {
	got := Params(url.Values{
		"iss": {"https://lms.example"}, "login_hint": {"SECRET"}, "target_link_uri": {"https://t.example/?a=SECRET"}, "empty": {""},
		"twice": {"x", "y", "z", "w"},
	}, "iss", "target_link_uri")
	want := []Param{
		{"empty", ""},
		{"iss", "https://lms.example"},
		{"login_hint", "‹6 characters›"},
		{"target_link_uri", "https://t.example/?a=…"},
		{"twice", "‹1 character›"},
		{"twice", "‹1 character›"},
		{"twice", "‹1 character›"},
	}
	if len(got) != len(want) {
		t.Fatal(got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%d: %v, want %v", i, got[i], want[i])
		}
	}
	many := make(url.Values)
	for i := range 10_000 {
		many.Set(strings.Repeat("n", i%500+1), "v")
	}
	if got := Params(many); len(got) > maxParams {
		t.Errorf("%d parameters", len(got))
	}
}

// Whatever is sent, a value that is not among those to be shown is not.
func FuzzToken(f *testing.F) {
	f.Add("name", "x", "y")
	f.Add("https://purl.imsglobal.org/spec/lti/claim/custom", "id", "roles")
	f.Add("iss", "context", "sub")
	f.Fuzz(func(t *testing.T, outer, inner, key string) {
		const secret = "s3cr3t0ne"
		if _, known := payload.members[outer]; known {
			return
		}
		out := Token(token(t, object{key: object{inner: secret}}, object{outer: secret, outer + "x": object{inner: secret, "list": []any{secret, object{key: secret}}}}))
		if strings.Contains(out, secret) && !strings.Contains(outer+inner+key, secret) {
			if r, ok := header.members[key]; !ok || !r.open {
				t.Errorf("shown:\n%s", out)
			}
		}
		Token(outer + "." + inner + "." + key)
	})
}
