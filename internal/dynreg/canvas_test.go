package dynreg_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/internal/dynreg"
	"github.com/caddy-lti/lti/lti"
)

// TestCanvasJSON is what Canvas fetches, to the letter.
func TestCanvasJSON(t *testing.T) {
	tool := quiz()
	tool.Messages[0].Placements = nil
	got, err := dynreg.CanvasJSON(tool)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
  "title": "Quiz",
  "description": "Quizzes",
  "oidc_initiation_url": "https://tool.test:9444/lti/login",
  "target_link_uri": "https://tool.test:9444/lti/launch",
  "public_jwk_url": "https://tool.test:9444/lti/jwks.json",
  "scopes": [
    "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem",
    "https://purl.imsglobal.org/spec/lti-ags/scope/score",
    "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"
  ],
  "custom_fields": {
    "course": "$Context.id"
  },
  "extensions": [
    {
      "platform": "canvas.instructure.com",
      "domain": "tool.test:9444",
      "privacy_level": "public",
      "settings": {
        "text": "Quiz",
        "icon_url": "https://tool.test:9444/logo.png",
        "placements": [
          {
            "placement": "course_navigation",
            "message_type": "LtiResourceLinkRequest",
            "target_link_uri": "https://tool.test:9444/",
            "default": "disabled"
          },
          {
            "placement": "link_selection",
            "message_type": "LtiDeepLinkingRequest",
            "target_link_uri": "https://tool.test:9444/lti/launch"
          },
          {
            "placement": "assignment_selection",
            "message_type": "LtiDeepLinkingRequest",
            "target_link_uri": "https://tool.test:9444/lti/launch"
          },
          {
            "placement": "editor_button",
            "message_type": "LtiDeepLinkingRequest",
            "target_link_uri": "https://tool.test:9444/lti/launch"
          }
        ]
      }
    }
  ]
}
`
	if string(got) != want {
		t.Errorf("got\n%s", got)
	}
}

// Canvas refuses the whole for one placement that it does not know, or that does
// not take the message, and for a description that is missing.
func TestCanvasJSONVariants(t *testing.T) {
	type place struct {
		Placement string `json:"placement"`
		Message   string `json:"message_type"`
		Target    string `json:"target_link_uri"`
	}
	navigation := place{"course_navigation", lti.MessageResourceLink, "https://tool.example/"}
	link := func(names ...string) []place {
		all := []place{navigation}
		for _, name := range names {
			all = append(all, place{name, lti.MessageDeepLinking, "https://tool.example/pick"})
		}
		return all
	}
	picker := func(placements ...string) []dynreg.Message {
		return []dynreg.Message{{Type: lti.MessageResourceLink}, {Type: lti.MessageDeepLinking, TargetURL: "https://tool.example/pick", Placements: placements}}
	}
	for name, tc := range map[string]struct {
		tool    dynreg.Tool
		privacy string
		places  []place
	}{
		"launches only": {dynreg.Tool{}, "anonymous", []place{navigation, {"link_selection", lti.MessageResourceLink, "https://tool.example/"}}},
		"launches and scores": {
			dynreg.Tool{Scopes: []string{ags.ScopeScore}, Claims: []string{"name", "given_name"}},
			"name_only",
			[]place{navigation, {"link_selection", lti.MessageResourceLink, "https://tool.example/"}, {"assignment_selection", lti.MessageResourceLink, "https://tool.example/"}},
		},
		"a picker":               {dynreg.Tool{Messages: picker(), Claims: []string{"email"}}, "email_only", link("link_selection", "editor_button")},
		"placements chosen":      {dynreg.Tool{Messages: picker("ContentArea", "https://canvas.instructure.com/lti/homework_submission"), Claims: []string{"name", "email"}}, "public", link("link_selection", "homework_submission")},
		"twice and the menu":     {dynreg.Tool{Messages: picker("editor_button", "RichTextEditor", "course_navigation")}, "anonymous", link("editor_button")},
		"another platform's own": {dynreg.Tool{Messages: picker("https://lms.example/place", "nonsense")}, "anonymous", link("link_selection", "editor_button")},
	} {
		tool := tc.tool
		tool.Name, tool.TargetURL = "Tool", "https://tool.example/"
		tool.LoginURL, tool.RedirectURLs, tool.JWKSURL = "https://tool.example/lti/login", []string{"https://tool.example/lti/launch"}, "https://tool.example/lti/jwks.json"
		data, err := dynreg.CanvasJSON(&tool)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Description string         `json:"description"`
			Scopes      []string       `json:"scopes"`
			Custom      map[string]any `json:"custom_fields"`
			Extensions  []struct {
				Privacy  string `json:"privacy_level"`
				Settings struct {
					Placements []place `json:"placements"`
				} `json:"settings"`
			} `json:"extensions"`
		}
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if got.Description != "Tool" || got.Scopes == nil || got.Custom == nil || len(got.Extensions) != 1 {
			t.Fatalf("%s: %s", name, data)
		}
		if !slices.Equal(got.Scopes, append([]string{}, tool.Scopes...)) {
			t.Errorf("%s: scopes %q", name, got.Scopes)
		}
		if x := got.Extensions[0]; x.Privacy != tc.privacy || !reflect.DeepEqual(x.Settings.Placements, tc.places) {
			t.Errorf("%s: %s, %+v", name, x.Privacy, x.Settings.Placements)
		}
	}
}
