package dynreg_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/internal/dynreg"
)

// TestRequestJSON is what goes over the wire, to the letter.
func TestRequestJSON(t *testing.T) {
	tool := quiz()
	tool.HomeURL, tool.PolicyURL, tool.TermsURL = "https://quiz.example", "https://quiz.example/policy", "https://quiz.example/terms"
	tool.Messages[0].CustomParameters = map[string]string{"a": "1"}
	req, err := dynreg.NewRequest(platform(t, "brightspace"), tool)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
		"application_type": "web",
		"response_types": ["id_token"],
		"grant_types": ["implicit", "client_credentials"],
		"initiate_login_uri": "https://tool.test:9444/lti/login",
		"redirect_uris": ["https://tool.test:9444/lti/launch"],
		"client_name": "Quiz",
		"jwks_uri": "https://tool.test:9444/lti/jwks.json",
		"logo_uri": "https://tool.test:9444/logo.png",
		"client_uri": "https://quiz.example",
		"policy_uri": "https://quiz.example/policy",
		"tos_uri": "https://quiz.example/terms",
		"contacts": ["lti@tool.test"],
		"token_endpoint_auth_method": "private_key_jwt",
		"scope": "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem https://purl.imsglobal.org/spec/lti-ags/scope/score https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly",
		"https://purl.imsglobal.org/spec/lti-tool-configuration": {
			"domain": "tool.test:9444",
			"description": "Quizzes",
			"target_link_uri": "https://tool.test:9444/",
			"custom_parameters": {"course": "$Context.id"},
			"claims": ["iss", "sub", "name", "given_name", "family_name", "email"],
			"messages": [
				{
					"type": "LtiDeepLinkingRequest",
					"target_link_uri": "https://tool.test:9444/lti/launch",
					"label": "Pick a quiz",
					"placements": ["ContentArea", "RichTextEditor"]
				},
				{
					"type": "LtiResourceLinkRequest",
					"target_link_uri": "https://tool.test:9444/",
					"label": "Quiz",
					"custom_parameters": {"a": "1"}
				}
			]
		}
	}`
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(want)); err != nil {
		t.Fatal(err)
	}
	if got := string(encode(t, req)); got != compact.String() {
		t.Errorf("request\n%s, want\n%s", got, compact.String())
	}

	// The least that a tool has: objects and lists are there, and not null.
	least := &dynreg.Tool{Name: "Q", LoginURL: lms + "/l", RedirectURLs: []string{lms + "/r"}, JWKSURL: lms + "/j", TargetURL: lms}
	req, err = dynreg.NewRequest(&dynreg.Configuration{}, least)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(encode(t, req)); !strings.HasSuffix(got, `"scope":"","`+toolMember+`":{"domain":"lms.example","target_link_uri":"https://lms.example","custom_parameters":{},"claims":["iss","sub"],"messages":[]}}`) {
		t.Errorf("request %s", got)
	}
}

// TestRequestFits shows what is left out where a platform lacks it.
func TestRequestFits(t *testing.T) {
	const canvas = "https://canvas.instructure.com/lti/"
	for _, tc := range []struct {
		platform   string
		change     func(*dynreg.Tool, *dynreg.Configuration)
		scopes     string
		claims     int
		placements []string // of deep linking; the messages are none without it
		notes      string
	}{
		{"canvas", nil, lineItem + " " + score + " " + roster, 6, []string{"ContentArea", "RichTextEditor", canvas + "assignment_selection"}, ""},
		{"canvas_own", nil, lineItem + " " + score + " " + roster, 6, []string{"link_selection", "editor_button", "assignment_selection"}, ""},
		{"blackboard", nil, lineItem + " " + score, 6, []string{"ContentArea", "RichTextEditor"}, "scope: the platform does not offer " + roster},
		{"old_moodle", nil, lineItem + " " + score + " " + roster, 6, nil, ""},
		{"old_moodle", func(tool *dynreg.Tool, _ *dynreg.Configuration) {
			tool.Messages[1].Placements = []string{"AddContentMenu", "Elsewhere"}
		}, lineItem + " " + score + " " + roster, 6, []string{"AddContentMenu"}, "messages[1].placements: the platform has no Elsewhere"},
		{"canvas", func(tool *dynreg.Tool, _ *dynreg.Configuration) {
			tool.Messages[1].Placements = []string{"editor_button", "submission_type_selection", "RichTextEditor", canvas + "nowhere"}
		}, lineItem + " " + score + " " + roster, 6, []string{"RichTextEditor", canvas + "submission_type_selection"}, "messages[1].placements: the platform has no nowhere"},
		{
			"canvas", func(_ *dynreg.Tool, cfg *dynreg.Configuration) { cfg.Messages = nil },
			lineItem + " " + score + " " + roster, 6,
			[]string{"link_selection", "editor_button", "assignment_selection"},
			"",
		},
		{"brightspace", func(tool *dynreg.Tool, cfg *dynreg.Configuration) {
			cfg.Messages, cfg.Scopes = []dynreg.Supported{{Type: "Other"}}, []string{"x"}
			cfg.Claims = []string{"email"}
			tool.CustomParameters = nil
		}, "", 3, nil, "scope: the platform does not offer " + lineItem + "|scope: the platform does not offer " + score +
			"|scope: the platform does not offer " + roster + "|claims: the platform does not offer name|claims: the platform does not offer given_name" +
			"|claims: the platform does not offer family_name|messages[1]: the platform does not send LtiDeepLinkingRequest"},
		{
			"canvas_own", func(tool *dynreg.Tool, _ *dynreg.Configuration) {
				tool.CustomParameters = map[string]string{"a": "$Foo.bar", "b": "$5", "c": "$ResourceLink.id", "d": "x $Foo.bar"}
				tool.Scopes, tool.Claims = []string{score, score}, []string{"sub", "email"}
			}, score, 3,
			[]string{"link_selection", "editor_button", "assignment_selection"},
			"custom_parameters.a: the platform does not list the variable $Foo.bar, which may arrive as it is written",
		},
	} {
		tool, cfg := quiz(), platform(t, tc.platform)
		if tc.change != nil {
			tc.change(tool, cfg)
		}
		req, err := dynreg.NewRequest(cfg, tool)
		if err != nil {
			t.Errorf("%s: %v", tc.platform, err)
			continue
		}
		if req.Scope != tc.scopes || len(req.Tool.Claims) != tc.claims {
			t.Errorf("%s: scope %q, claims %q", tc.platform, req.Scope, req.Tool.Claims)
		}
		deep := slices.IndexFunc(req.Tool.Messages, func(m dynreg.MessageRequest) bool { return m.Type == "LtiDeepLinkingRequest" })
		switch {
		case strings.Contains(tc.notes, "does not send"):
			if deep >= 0 || len(req.Tool.Messages) != 1 {
				t.Errorf("%s: messages %+v", tc.platform, req.Tool.Messages)
			}
		case deep != 0 || !slices.Equal(req.Tool.Messages[0].Placements, tc.placements):
			t.Errorf("%s: messages %+v, want deep linking first, in %q", tc.platform, req.Tool.Messages, tc.placements)
		}
		notes := make([]string, 0, len(req.Notes))
		for _, n := range req.Notes {
			notes = append(notes, n.String())
		}
		if got := strings.Join(notes, "|"); got != tc.notes {
			t.Errorf("%s: notes %q, want %q", tc.platform, got, tc.notes)
		}
		if len(tool.CustomParameters) > 0 && !reflect.DeepEqual(req.Tool.CustomParameters, tool.CustomParameters) {
			t.Errorf("%s: custom parameters %v", tc.platform, req.Tool.CustomParameters)
		}
	}
}

// TestPrivacyLevel: Canvas sends no more about people than this says.
func TestPrivacyLevel(t *testing.T) {
	for _, tc := range []struct {
		claims string
		want   string
	}{
		{"", "anonymous"},
		{"locale", "anonymous"},
		{"name", "name_only"},
		{"given_name", "name_only"},
		{"email", "email_only"},
		{"family_name email", "public"},
		{"picture", "public"},
	} {
		tool := quiz()
		tool.Claims = strings.Fields(tc.claims)
		for name, want := range map[string]string{"canvas": tc.want, "canvas_own": tc.want, "brightspace": "", "blackboard": ""} {
			req, err := dynreg.NewRequest(platform(t, name), tool)
			if err != nil || req.Tool.PrivacyLevel != want {
				t.Errorf("%s with %q: %q, %v; want %q", name, tc.claims, req.Tool.PrivacyLevel, err, want)
			}
		}
	}
}

func TestRequestRefused(t *testing.T) {
	for says, change := range map[string]func(*dynreg.Tool){
		"client_name is missing":                            func(t *dynreg.Tool) { t.Name = " " },
		"client_name must be one line":                      func(t *dynreg.Tool) { t.Name = "a\nb" },
		"description must be one line":                      func(t *dynreg.Tool) { t.Description = "a\u202e" },
		"target_link_uri is missing":                        func(t *dynreg.Tool) { t.TargetURL = "" },
		"target_link_uri is no address that can be used":    func(t *dynreg.Tool) { t.TargetURL = "http://tool.test:9444/" },
		"initiate_login_uri is missing":                     func(t *dynreg.Tool) { t.LoginURL = "" },
		"initiate_login_uri must be of the same host":       func(t *dynreg.Tool) { t.LoginURL = "https://tool.test/login" },
		"jwks_uri is missing":                               func(t *dynreg.Tool) { t.JWKSURL = "" },
		"redirect_uris is missing":                          func(t *dynreg.Tool) { t.RedirectURLs = nil },
		"redirect_uris[1] must be of the same host":         func(t *dynreg.Tool) { t.RedirectURLs = append(t.RedirectURLs, "https://other.test/") },
		"logo_uri is no address":                            func(t *dynreg.Tool) { t.LogoURL = "/logo.png" },
		"policy_uri is no address":                          func(t *dynreg.Tool) { t.PolicyURL = "x" },
		"contacts[0] is missing":                            func(t *dynreg.Tool) { t.Contacts[0] = "" },
		"scope[0] is not one scope":                         func(t *dynreg.Tool) { t.Scopes[0] += " openid" },
		"messages[0].type is missing":                       func(t *dynreg.Tool) { t.Messages[0].Type = "" },
		"messages[1].label must be one line":                func(t *dynreg.Tool) { t.Messages[1].Label = "a\x00" },
		"messages[1].target_link_uri must be of the same":   func(t *dynreg.Tool) { t.Messages[1].TargetURL = "https://other.test/" },
		"messages[0].custom_parameters must have names":     func(t *dynreg.Tool) { t.Messages[0].CustomParameters = map[string]string{"a=b": ""} },
		"custom_parameters must have names without = and v": func(t *dynreg.Tool) { t.CustomParameters["a"] = "1\nadmin=1" },
	} {
		tool := quiz()
		change(tool)
		_, err := dynreg.NewRequest(&dynreg.Configuration{}, tool)
		if err == nil {
			t.Errorf("accepted, want %q", says)
			continue
		}
		fails(t, err, says, dynreg.ToolAdmin, false)
	}
}
