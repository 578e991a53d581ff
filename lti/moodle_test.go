package lti_test

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/caddy-lti/lti/lti"
)

// moodleFolder holds messages of a real Moodle 4.5, as it sent them.
const moodleFolder = "../e2e/testdata/moodle/"

func readMoodleFile(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(moodleFolder + name)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func readMoodleToken(tb testing.TB, name string) string {
	tb.Helper()
	var m struct {
		IDToken string `json:"id_token"`
	}
	if err := json.Unmarshal(readMoodleFile(tb, name+".json"), &m); err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	if m.IDToken == "" {
		tb.Fatalf("%s has no id_token", name)
	}
	return m.IDToken
}

var moodle = lti.Platform{
	Name: "moodle", Issuer: "https://moodle.localhost:8443", ClientID: "S3plmL0dr9eQWnO", Deployments: []string{"13"},
	Algorithms: lti.Algorithms(), Leeway: lti.DefaultLeeway,
}

// moodleTokens are the messages, with the time at which they were signed and
// the nonce that they answer.
var moodleTokens = []struct {
	file     string
	issuedAt int64
	nonce    string
	want     lti.Launch
}{
	{"student", 1795492853, "b3b11409-e250-4ce7-b208-fd2bc1c1c503", lti.Launch{
		Subject: "5", Name: "Zoë Łukasiewicz-山田", GivenName: "Zoë", FamilyName: "Łukasiewicz-山田", Email: "student2@moodle.test",
		Username: "student2", MessageType: "LtiResourceLinkRequest", TargetLinkURI: "https://tool.test:9444/launch",
		Roles:        []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"},
		ResourceLink: lti.ResourceLink{ID: "34", Title: "Capture & link"},
		Presentation: lti.Presentation{
			DocumentTarget: "iframe", Locale: "en",
			ReturnURL: "https://moodle.localhost:8443/mod/lti/return.php?course=2&launch_container=2&instanceid=34&sesskey=LCPVFbn3TI",
		},
	}},
	{"teacher", 1795492858, "", lti.Launch{
		Subject: "3", Name: "Grace Hopper", GivenName: "Grace", FamilyName: "Hopper", Email: "teacher@moodle.test",
		Username: "teacher", PersonSourcedID: "T-100", MessageType: "LtiResourceLinkRequest", TargetLinkURI: "https://tool.test:9444/launch",
		Roles:        []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"},
		ResourceLink: lti.ResourceLink{ID: "34", Title: "Capture & link"},
	}},
	{"admin", 1795492863, "", lti.Launch{
		Subject: "2", Name: "Admin User", GivenName: "Admin", FamilyName: "User", Email: "admin@moodle.test",
		Username: "admin", MessageType: "LtiResourceLinkRequest", TargetLinkURI: "https://tool.test:9444/launch",
		Roles: []string{
			"http://purl.imsglobal.org/vocab/lis/v2/institution/person#Administrator",
			"http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor",
			"http://purl.imsglobal.org/vocab/lis/v2/system/person#Administrator",
		},
		ResourceLink: lti.ResourceLink{ID: "34", Title: "Capture & link"},
	}},
	{"deep-linking", 1795492887, "c15a81de-bd14-4723-bbb2-c425778c2cc8", lti.Launch{
		Subject: "3", Name: "Grace Hopper", GivenName: "Grace", FamilyName: "Hopper", Email: "teacher@moodle.test",
		Username: "teacher", PersonSourcedID: "T-100", MessageType: "LtiDeepLinkingRequest", TargetLinkURI: "https://tool.test:9444/dl",
		Roles:        []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"},
		Presentation: lti.Presentation{Locale: "en"},
	}},
}

// TestVerifyMoodle believes a real Moodle, at the time when it spoke, and no
// other.
func TestVerifyMoodle(t *testing.T) {
	keys := newKeySet(t, readMoodleFile(t, "jwks.json"))
	for _, tt := range moodleTokens {
		t.Run(tt.file, func(t *testing.T) {
			token := readMoodleToken(t, tt.file)
			nonce := tt.nonce
			if nonce == "" {
				nonce = payloadOf(t, token)["nonce"].(string)
			}
			at := time.Unix(tt.issuedAt, 0)
			verify := func(at time.Time, nonce string) (*lti.Launch, error) {
				v := lti.Verifier{
					Now:     func() time.Time { return at },
					Accepts: func(typ string) bool { return typ == lti.MessageDeepLinking },
				}
				return v.Verify(t.Context(), &moodle, keys, token, lti.Expected{Nonce: nonce, Deployment: "13"})
			}
			got, err := verify(at, nonce)
			if err != nil {
				t.Fatal(err)
			}
			if got.Issuer != moodle.Issuer || got.ClientID != moodle.ClientID || got.DeploymentID != "13" {
				t.Errorf("registration %q %q %q", got.Issuer, got.ClientID, got.DeploymentID)
			}
			if !got.IssuedAt.Equal(at) || !got.Expires.Equal(at.Add(time.Minute)) {
				t.Errorf("issued %s, expires %s", got.IssuedAt, got.Expires)
			}
			if want := (lti.Context{ID: "2", Label: "LTI101", Title: "LTI & Testing 101"}); got.Context != want {
				t.Errorf("context %+v, expected %+v", got.Context, want)
			}
			if p := got.ToolPlatform; p.Family != "moodle" || p.GUID != "3bf95614b9216e06199ed08edc5f254e" || p.Name != "HARNESS" {
				t.Errorf("platform %+v", p)
			}
			for name, want := range map[string]string{"fixed": "a value", "mixed_case": "x", "Mixed_Case": "x", "tz": "99", "hist": ""} {
				if val, ok := got.Custom[name]; !ok || val != want {
					t.Errorf("custom parameter %s is %q, expected %q", name, val, want)
				}
			}
			if _, ok := got.Custom["rltitle"]; ok != (tt.file != "deep-linking") {
				t.Errorf("custom parameter rltitle, which is null in deep linking: %q", got.Custom["rltitle"])
			}
			// What is left is compared as a whole.
			want := tt.want
			want.Issuer, want.ClientID, want.DeploymentID = got.Issuer, got.ClientID, got.DeploymentID
			want.IssuedAt, want.Expires = got.IssuedAt, got.Expires
			want.Context, want.ToolPlatform, want.Custom, want.Locale = got.Context, got.ToolPlatform, got.Custom, "en"
			if want.Presentation == (lti.Presentation{}) {
				want.Presentation = got.Presentation
			}
			// Nobody's activity has a line item in deep linking.
			const services = "https://moodle.localhost:8443/mod/lti/services.php/2/lineitems"
			want.Grades = lti.GradeService{LineItems: services + "?type_id=13", Scopes: []string{
				"https://purl.imsglobal.org/spec/lti-ags/scope/lineitem", "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem.readonly",
				"https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly", "https://purl.imsglobal.org/spec/lti-ags/scope/score",
			}}
			want.Roster = lti.RosterService{
				URL:      "https://moodle.localhost:8443/mod/lti/services.php/CourseSection/2/bindings/13/memberships",
				Versions: []string{"1.0", "2.0"},
			}
			if tt.file == "deep-linking" {
				want.DeepLinking = lti.DeepLinking{
					ReturnURL:      "https://moodle.localhost:8443/mod/lti/contentitem_return.php?course=2&id=13&sesskey=CLjsKGmEpz",
					AcceptTypes:    []string{"ltiResourceLink"},
					AcceptTargets:  []string{"frame", "iframe", "window"},
					AcceptMultiple: true,
					Title:          "Capture",
				}
			} else {
				want.Grades.LineItem = services + "/51/lineitem?type_id=13"
			}
			if !reflect.DeepEqual(*got, want) {
				t.Errorf("got\n%+v, expected\n%+v", *got, want)
			}

			if _, err := verify(at.Add(119*time.Second), nonce); err != nil {
				t.Errorf("59 s after it expired: %v", err)
			}
			for name, refused := range map[lti.Code]func() (*lti.Launch, error){
				lti.CodeTokenExpired:    func() (*lti.Launch, error) { return verify(at.Add(120*time.Second), nonce) },
				lti.CodeTokenFromFuture: func() (*lti.Launch, error) { return verify(at.Add(-61*time.Second), nonce) },
				lti.CodeNonceMismatch:   func() (*lti.Launch, error) { return verify(at, "another") },
			} {
				if _, err := refused(); err == nil || refusal(t, err).Code != name {
					t.Errorf("got %v, expected %s", err, name)
				}
			}
		})
	}
}
