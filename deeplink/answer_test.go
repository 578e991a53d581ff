package deeplink_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-lti/lti/deeplink"
	"github.com/caddy-lti/lti/internal/jose"
	"github.com/caddy-lti/lti/internal/keyring"
	"github.com/caddy-lti/lti/lti"
)

// The keys of the plugin sign.
var _ deeplink.Signer = (*keyring.Ring)(nil)

const (
	claim   = "https://purl.imsglobal.org/spec/lti/claim/"
	claimDL = "https://purl.imsglobal.org/spec/lti-dl/claim/"
)

// The moment at which everything in these tests happens.
var moment = time.Unix(1_800_000_000, 987_654_321)

// site is the tool of these tests.
func site(host string) deeplink.Site {
	return deeplink.Site{
		Home: "https://" + host + "/home",
		Owns: func(u *url.URL) bool {
			return u.Scheme == "https" && u.Host == host && !strings.HasPrefix(u.Path, "/lti/")
		},
	}
}

// request returns one that takes all there is.
func request() *deeplink.Request {
	return deeplink.NewRequest(&lti.Launch{
		Issuer: "https://lms.example", ClientID: "client-1", DeploymentID: "dep-1", MessageType: lti.MessageDeepLinking,
		DeepLinking: lti.DeepLinking{
			ReturnURL:      "https://lms.example/return?course=2&token=a%2Fb",
			AcceptTypes:    []string{"link", "ltiResourceLink", "file", "html", "image", "ltiAssetProcessor", "https://vendor.example/type"},
			AcceptTargets:  []string{"embed", "iframe", "window"},
			AcceptMultiple: true,
		},
	}, moment)
}

// key signs in these tests, and is known by its public half.
func key(t *testing.T) (*jose.Key, *rsa.PublicKey) {
	t.Helper()
	k, err := jose.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jose.PublicSet(k)
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []struct{ N, E string } }
	if err := json.Unmarshal(doc, &set); err != nil || len(set.Keys) != 1 {
		t.Fatal(err, len(set.Keys))
	}
	return k, &rsa.PublicKey{N: number(t, set.Keys[0].N), E: int(number(t, set.Keys[0].E).Int64())}
}

func number(t *testing.T, b64 string) *big.Int {
	t.Helper()
	return new(big.Int).SetBytes(decode(t, b64))
}

func decode(t *testing.T, b64 string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(b64)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// claimsOf checks header and signature as a platform would, and returns the
// payload as it was written.
func claimsOf(t *testing.T, k *jose.Key, pub *rsa.PublicKey, jwt string) map[string]json.RawMessage {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts: %s", len(parts), jwt)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], decode(t, parts[2])); err != nil {
		t.Fatal(err)
	}
	var header map[string]string
	if err := json.Unmarshal(decode(t, parts[0]), &header); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"alg": "RS256", "typ": "JWT", "kid": k.ID()}; k.ID() == "" || !maps.Equal(header, want) {
		t.Errorf("header %v, want %v", header, want)
	}
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(decode(t, parts[1]), &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// The claims of an answer are those of Deep Linking 2.0 §4.5, and no others.
func TestAnswerClaims(t *testing.T) {
	k, pub := key(t)
	const fixed = `"iss":"client-1","aud":"https://lms.example","iat":1799999990,"exp":1800000300,` +
		`"https://purl.imsglobal.org/spec/lti/claim/message_type":"LtiDeepLinkingResponse",` +
		`"https://purl.imsglobal.org/spec/lti/claim/version":"1.3.0",` +
		`"https://purl.imsglobal.org/spec/lti/claim/deployment_id":"dep-1",` +
		`"https://purl.imsglobal.org/spec/lti-dl/claim/content_items":`
	const dl = `"https://purl.imsglobal.org/spec/lti-dl/claim/`
	for _, tc := range []struct {
		name, data, body, want string
	}{
		{"nothing chosen", "", `{}`, `[]`},
		{"no list", "", `{"content_items":null}`, `[]`},
		{"an empty list", "", `{"content_items":[]}`, `[]`},
		{
			"all texts", "", `{"msg":"a <b>","log":"b","errormsg":"c","errorlog":"d\ne"}`,
			`[],` + dl + `msg":"a <b>",` + dl + `log":"b",` + dl + `errormsg":"c",` + dl + `errorlog":"d\ne"`,
		},
		{"empty texts", "", `{"msg":"","log":null}`, `[]`},
		{"data", `"a <b> \ud800 é"`, `{}`, `[],` + dl + `data":"a <b> \ud800 é"`},
		{"empty data", `""`, `{}`, `[],` + dl + `data":""`},
		{"data that is no text", `{"b":1e3,"a":[null]}`, `{}`, `[],` + dl + `data":{"b":1e3,"a":[null]}`},
		{
			"everything", "",
			`{"content_items":[
				{"type":"ltiResourceLink","url":"https://tool.example/quiz?a=é","title":"Quiz 7","text":"<p>x</p>",
				 "icon":{"url":"https://cdn.example/i.png","width":10,"height":20},"thumbnail":{"url":"http://cdn.example/t.png"},
				 "window":{"targetName":"x","width":600,"height":500,"windowFeatures":"menubar=no"},"iframe":{"width":600,"height":500},
				 "custom":{"quiz":"7","Empty":"","v":"$User.id"},
				 "lineItem":{"scoreMaximum":12.5,"label":"L","resourceId":"r","tag":"t","gradesReleased":false,"submissionReview":{"url":"https://tool.example/r"},"https://canvas.instructure.com/lti/x":{"a":1.0}},
				 "available":{"startDateTime":"2026-01-01T00:00:00Z","endDateTime":"2026-02-01T00:00:00.5+02:00"},"submission":{"endDateTime":"2027-01-01T00:00:00Z"},
				 "https://vendor.example/x":[1.00,null]},
				{"type":"link","url":"http://elsewhere.example/a#b","iframe":{"src":"https://elsewhere.example/f","width":1},"embed":{"html":"<b>x</b>"}},
				{"type":"file","url":"https://tool.example/once","expiresAt":"2026-01-01T00:00:00Z","mediaType":"text/html; charset=utf-8"},
				{"type":"html","html":"<b>x</b>","title":"T","text":"U"},
				{"type":"image","url":"https://tool.example/i.png","width":3,"height":4},
				{"type":"ltiAssetProcessor","report":{"n":1e2},"url":"/as it is","lineItem":null},
				{"type":"https://vendor.example/type","any":[true]}
			]}`,
			"", // as it came
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := request()
			if tc.data != "" {
				req.Data = json.RawMessage(tc.data)
			}
			// It comes from a store.
			kept, err := json.Marshal(req)
			if err != nil {
				t.Fatal(err)
			}
			req = new(deeplink.Request)
			if err := json.Unmarshal(kept, req); err != nil {
				t.Fatal(err)
			}
			res, err := deeplink.ParseResponse([]byte(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := req.Answer(moment, k, site("tool.example"), res)
			if err != nil {
				t.Fatal(err)
			}
			if answer.ReturnURL != "https://lms.example/return?course=2&token=a%2Fb" || answer.Dropped != nil {
				t.Errorf("goes to %q, dropped %q", answer.ReturnURL, answer.Dropped)
			}
			claims := claimsOf(t, k, pub, answer.JWT)
			var nonce string
			if err := json.Unmarshal(claims["nonce"], &nonce); err != nil || !regexp.MustCompile(`^[A-Z2-7]{26,}$`).MatchString(nonce) {
				t.Errorf("nonce %s", claims["nonce"])
			}
			delete(claims, "nonce")
			want := tc.want
			if want == "" {
				var body struct {
					Items json.RawMessage `json:"content_items"`
				}
				if err := json.Unmarshal([]byte(tc.body), &body); err != nil {
					t.Fatal(err)
				}
				want = string(body.Items)
			}
			if got, want := canonical(t, claims), canonical(t, json.RawMessage(`{`+fixed+want+`}`)); got != want {
				t.Errorf("claims\n%s, want\n%s", got, want)
			}
		})
	}
}

// canonical returns JSON in one order, numbers as they were written, and escapes
// that are no characters.
func canonical(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(bytes.ReplaceAll(data, []byte(`\ud800`), []byte(`[ud800]`))))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	data, err = json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestNonceIsFresh(t *testing.T) {
	k, pub := key(t)
	seen := make(map[string]bool)
	for range 3 {
		answer, err := request().Answer(moment, k, site("tool.example"), new(deeplink.Response))
		if err != nil {
			t.Fatal(err)
		}
		seen[string(claimsOf(t, k, pub, answer.JWT)["nonce"])] = true
	}
	if len(seen) != 3 {
		t.Errorf("nonces %v", seen)
	}
}

func TestRequestEnds(t *testing.T) {
	k, _ := key(t)
	req := request()
	for _, tc := range []struct {
		after time.Duration
		want  error
	}{
		{0, nil},
		{time.Hour - 2*time.Second, nil},
		{req.Expires.Sub(moment) - 1, nil},
		{req.Expires.Sub(moment), deeplink.ErrExpired},
		{time.Hour, deeplink.ErrExpired},
		{24 * time.Hour, deeplink.ErrExpired},
	} {
		answer, err := req.Answer(moment.Add(tc.after), k, site("tool.example"), new(deeplink.Response))
		if !errors.Is(err, tc.want) || (answer == nil) != (err != nil) {
			t.Errorf("after %s: %v, %v", tc.after, answer, err)
		}
	}
}

// A request is kept as it is, and in few bytes.
func TestRequestIsKept(t *testing.T) {
	no := false
	req := request()
	req.AcceptLineItem, req.Data, req.Title = &no, json.RawMessage(`{"a":""}`), "T"
	req.AcceptMediaTypes, req.AutoCreate = []string{"a/b"}, true
	for _, want := range []*deeplink.Request{req, request()} {
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got := new(deeplink.Request)
		if err := json.Unmarshal(data, got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s became\n%+v, want\n%+v", data, got, want)
		}
		if len(data) > 600 || strings.Contains(string(data), "null") {
			t.Errorf("%d bytes: %s", len(data), data)
		}
	}
}

type failing struct{}

var errNoKey = errors.New("no key")

func (failing) Sign(any) (string, error) { return "", errNoKey }

func TestAnswerCannotBeSigned(t *testing.T) {
	answer, err := request().Answer(moment, failing{}, site("tool.example"), new(deeplink.Response))
	if answer != nil || !errors.Is(err, errNoKey) {
		t.Errorf("got %v, %v", answer, err)
	}
}

// TestMoodle sends what a real Moodle 4.5 was sent, to the request that it made,
// and holds it against what Moodle read out of it.
func TestMoodle(t *testing.T) {
	type activity struct {
		Name, ToolURL, Custom, Intro, Grade string
		ResourceID                          string `json:"resourceId"`
		Tag                                 string
	}
	var recorded struct {
		Request map[string]json.RawMessage
		Answers map[string]struct {
			Sent       map[string]json.RawMessage
			Form       *activity
			Activities []activity
		}
	}
	data, err := os.ReadFile("testdata/moodle.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &recorded); err != nil {
		t.Fatal(err)
	}
	l := &lti.Launch{MessageType: lti.MessageDeepLinking}
	for name, to := range map[string]any{
		"iss": &l.Issuer, "aud": &l.ClientID, claim + "deployment_id": &l.DeploymentID, claimDL + "deep_linking_settings": &l.DeepLinking,
	} {
		if err := json.Unmarshal(recorded.Request[name], to); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	refused := map[string]string{
		// Moodle takes it for an activity of the tool, which it is not.
		"a link item": "content_items[0].type is link: here the platform takes ltiResourceLink",
		// A column in which nobody can reach anything.
		"lineItem scoreMaximum 0": "content_items[0].lineItem.scoreMaximum must be greater than 0",
	}
	if len(recorded.Answers) != 7 {
		t.Fatalf("%d answers", len(recorded.Answers))
	}
	k, pub := key(t)
	for name, rec := range recorded.Answers {
		t.Run(name, func(t *testing.T) {
			body := make(map[string]json.RawMessage)
			for name, val := range rec.Sent {
				body[strings.TrimPrefix(name, claimDL)] = val
			}
			raw, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			res, err := deeplink.ParseResponse(raw)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := deeplink.NewRequest(l, moment).Answer(moment, k, site("tool.test:9444"), res)
			if want := refused[name]; want != "" {
				if err == nil || err.Error() != want {
					t.Errorf("got %v, want %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if answer.ReturnURL != l.DeepLinking.ReturnURL || !strings.Contains(answer.ReturnURL, "&sesskey=") {
				t.Errorf("goes to %s", answer.ReturnURL)
			}
			claims := claimsOf(t, k, pub, answer.JWT)
			for name, want := range map[string]string{
				"iss": l.ClientID, "aud": l.Issuer, claim + "deployment_id": l.DeploymentID,
				claim + "message_type": "LtiDeepLinkingResponse", claim + "version": "1.3.0",
			} {
				var got string
				if json.Unmarshal(claims[name], &got) != nil || got != want || want == "" {
					t.Errorf("%s is %s, want %q", name, claims[name], want)
				}
			}
			for _, name := range []string{"iss", "aud", "iat", "exp", "nonce", claim + "message_type", claim + "version", claim + "deployment_id"} {
				delete(claims, name)
			}
			// Two things are ours: there is a list, and each activity has a URL.
			want := rec.Sent
			if want[claimDL+"content_items"] == nil {
				want[claimDL+"content_items"] = json.RawMessage(`[]`)
			}
			if name == "one item without url, title or line item" {
				want[claimDL+"content_items"] = json.RawMessage(`[{"type":"ltiResourceLink","url":"https://tool.test:9444/home"}]`)
			}
			if got, want := canonical(t, claims), canonical(t, want); got != want {
				t.Errorf("claims\n%s, want\n%s", got, want)
			}
			// What an Item calls a thing is what Moodle makes of it.
			made := rec.Activities
			if made == nil && len(res.Items) > 0 {
				made = []activity{*rec.Form}
			}
			if len(made) != len(res.Items) {
				t.Fatalf("%d activities of %d items", len(made), len(res.Items))
			}
			for i, it := range res.Items {
				want := activity{Name: it.Title, ToolURL: it.URL, Intro: it.Text, Grade: "100"}
				if want.Name == "" {
					want.Name = l.DeepLinking.Title
				}
				if it.LineItem != nil {
					number, err := json.Marshal(it.LineItem.ScoreMaximum)
					if err != nil {
						t.Fatal(err)
					}
					want.Grade, want.ResourceID, want.Tag = string(number), it.LineItem.ResourceID, it.LineItem.Tag
				}
				var custom []string
				for name, val := range it.Custom {
					custom = append(custom, name+"="+val)
				}
				got := made[i]
				if gotLines := strings.Fields(got.Custom); !sameSet(gotLines, custom) {
					t.Errorf("custom %q, want %q", gotLines, custom)
				}
				got.Custom = ""
				if rec.Activities != nil {
					want.Intro = "" // was not recorded
				}
				if got != want {
					t.Errorf("Moodle made\n%+v, expected\n%+v", got, want)
				}
			}
		})
	}
}

func sameSet(a, b []string) bool {
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
