package dynreg

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/url"
	"slices"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/lti"
)

// canvasTool is a developer key for LTI 1.3 as Canvas imports it.
type canvasTool struct {
	Title         string            `json:"title"`
	Description   string            `json:"description"`
	InitiationURL string            `json:"oidc_initiation_url"`
	TargetURL     string            `json:"target_link_uri"`
	KeysURL       string            `json:"public_jwk_url"`
	Scopes        []string          `json:"scopes"`
	CustomFields  map[string]string `json:"custom_fields"`
	Extensions    []canvasExtension `json:"extensions"`
}

type canvasExtension struct {
	Platform     string         `json:"platform"`
	Domain       string         `json:"domain"`
	PrivacyLevel string         `json:"privacy_level"`
	Settings     canvasSettings `json:"settings"`
}

type canvasSettings struct {
	Text       string        `json:"text"`
	IconURL    string        `json:"icon_url,omitempty"`
	Placements []canvasPlace `json:"placements"`
}

// canvasPlace is a place in Canvas in which the tool is found.
type canvasPlace struct {
	Placement   string `json:"placement"`
	MessageType string `json:"message_type"`
	TargetURL   string `json:"target_link_uri"`
	Default     string `json:"default,omitempty"`
}

// CanvasJSON writes a tool in the form that administrators of Canvas paste, or
// have it fetch, where they make a developer key.
func CanvasJSON(t *Tool) ([]byte, error) {
	target, err := url.Parse(t.TargetURL)
	if err != nil {
		return nil, err
	}
	c := canvasTool{
		Title: t.Name, Description: t.Description, InitiationURL: t.LoginURL, KeysURL: t.JWKSURL,
		// Canvas fills the redirect URIs of the key with it. As the target of a
		// launch it stands for the tool.
		TargetURL: t.RedirectURLs[0],
		Scopes:    append([]string{}, t.Scopes...), CustomFields: t.CustomParameters,
		Extensions: []canvasExtension{{
			Platform: "canvas.instructure.com", Domain: target.Host, PrivacyLevel: privacyLevel(t.Claims),
			Settings: canvasSettings{Text: t.Name, IconURL: t.LogoURL, Placements: canvasPlaces(t)},
		}},
	}
	if c.Description == "" {
		c.Description = t.Name // Canvas wants one
	}
	if c.CustomFields == nil {
		c.CustomFields = map[string]string{}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err = enc.Encode(c)
	return buf.Bytes(), err
}

// canvasPlaces are where a tool is of use: in the menu of a course, where each
// teacher switches it on, and where content and assignments are added.
func canvasPlaces(t *Tool) []canvasPlace {
	places := []canvasPlace{{Placement: "course_navigation", MessageType: lti.MessageResourceLink, TargetURL: t.TargetURL, Default: "disabled"}}
	typ, target := lti.MessageResourceLink, t.TargetURL
	names := []string{"link_selection"}
	if slices.Contains(t.Scopes, ags.ScopeScore) {
		names = append(names, "assignment_selection")
	}
	if i := slices.IndexFunc(t.Messages, func(m Message) bool { return m.Type == lti.MessageDeepLinking }); i >= 0 {
		m := t.Messages[i]
		typ, target = m.Type, cmp.Or(m.TargetURL, target)
		names = append(names, "editor_button")
		var chosen []string
		for _, name := range m.Placements {
			if name = canvasPlacement(name); slices.Contains(canvasLinkPlaces, name) && !slices.Contains(chosen, name) {
				chosen = append(chosen, name)
			}
		}
		if len(chosen) > 0 {
			names = chosen
		}
	}
	for _, name := range names {
		places = append(places, canvasPlace{Placement: name, MessageType: typ, TargetURL: target})
	}
	return places
}

// canvasLinkPlaces are the placements in which Canvas sends deep-linking requests.
// One that it does not know would have it refuse the whole.
var canvasLinkPlaces = []string{
	"assignment_selection", "collaboration", "conference_selection", "course_assignments_menu", "editor_button", "homework_submission",
	"link_selection", "migration_selection", "module_index_menu_modal", "module_menu_modal", "submission_type_selection",
}
