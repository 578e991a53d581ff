package caddylti

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/internal/dynreg"
	"github.com/caddy-lti/lti/lti"
	"github.com/caddy-lti/lti/nrps"
)

// A site asks a platform for what its configuration uses, and for no more.
func TestToolFacts(t *testing.T) {
	const origin = "https://tool.example.edu"
	people := []string{"name", "given_name", "family_name", "email", "locale"}
	launches := dynreg.Message{Type: lti.MessageResourceLink, TargetURL: origin + "/"}
	for name, tc := range map[string]struct {
		h        Handler
		scopes   []string
		claims   []string
		messages []dynreg.Message
	}{
		"nothing but the default headers": {Handler{}, nil, people, nil},
		"pseudonymous":                    {Handler{Headers: "minimal"}, nil, nil, nil},
		"no headers":                      {Handler{Headers: "off"}, nil, nil, nil},
		"all headers":                     {Handler{Headers: "full"}, nil, people, nil},
		"the api": {
			Handler{Headers: "minimal", API: new(API)},
			[]string{ags.ScopeScore, ags.ScopeLineItem, ags.ScopeResultReadOnly, nrps.ScopeMembership},
			nil, nil,
		},
		"grades without names": {Handler{Headers: "minimal", Grade: new(Grade)}, []string{ags.ScopeScore, ags.ScopeLineItem}, nil, nil},
		"grades with names":    {Handler{Grade: new(Grade)}, []string{ags.ScopeScore, ags.ScopeLineItem, nrps.ScopeMembership}, people, nil},
		"a roster":             {Handler{Headers: "minimal", Roster: []string{"/members.csv"}}, []string{nrps.ScopeMembership}, nil, nil},
		"the address as the user's name": {
			Handler{Headers: "minimal", User: "email"}, nil, []string{"email"}, nil,
		},
		"headers of one's own": {
			Handler{Headers: "minimal", ExtraHeaders: map[string]string{"X-Mail": "<{http.lti.user.email}>", "X-Lang": "{http.lti.user.locale}", "X-Course": "{http.lti.context.title}"}},
			nil,
			[]string{"email", "locale"},
			nil,
		},
		"the picker": {
			Handler{Headers: "off", Home: "/start", Items: new(Items)},
			nil, nil,
			[]dynreg.Message{{Type: lti.MessageResourceLink, TargetURL: origin + "/start"}, {Type: lti.MessageDeepLinking, TargetURL: origin + "/start"}},
		},
		"the app's own picker": {
			Handler{Headers: "off", DeepLinking: &DeepLinking{App: true, Path: "/pick"}, Messages: map[string]string{"LtiSubmissionReviewRequest": "/review", "LtiEulaRequest": ""}},
			nil, nil,
			[]dynreg.Message{
				launches,
				{Type: lti.MessageDeepLinking, TargetURL: origin + "/pick"},
				{Type: "LtiEulaRequest", TargetURL: origin + "/"},
				{Type: "LtiSubmissionReviewRequest", TargetURL: origin + "/review"},
			},
		},
	} {
		h := tc.h
		for _, step := range []func() error{h.provisionPaths, h.provisionPeople, h.provisionHeaders} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		if tc.messages == nil {
			tc.messages = []dynreg.Message{launches}
		}
		got := h.tool(origin)
		if !slices.Equal(got.Scopes, tc.scopes) {
			t.Errorf("%s: scopes %q", name, got.Scopes)
		}
		if !slices.Equal(got.Claims, tc.claims) {
			t.Errorf("%s: claims %q", name, got.Claims)
		}
		if !slices.EqualFunc(got.Messages, tc.messages, func(a, b dynreg.Message) bool { return a.Type == b.Type && a.TargetURL == b.TargetURL }) {
			t.Errorf("%s: messages %+v", name, got.Messages)
		}
	}
}

// What registration says of the tool goes into it; without, its host is its name.
func TestToolOfRegistration(t *testing.T) {
	h := &Handler{Base: "/lti", Home: "/", Items: new(Items), Registration: &Registration{
		Name: "Reading room", Description: "Texts", Logo: "/logo.png", Placements: []string{"ContentArea"}, custom: map[string]string{"a": "b"},
	}}
	got := h.tool("https://tool.example.edu:8443")
	if got.Name != "Reading room" || got.Description != "Texts" || got.LogoURL != "https://tool.example.edu:8443/logo.png" || got.CustomParameters["a"] != "b" {
		t.Errorf("%+v", got)
	}
	if p := got.Messages[1].Placements; !slices.Equal(p, []string{"ContentArea"}) || got.Messages[0].Placements != nil {
		t.Errorf("%+v", got.Messages)
	}
	h.Registration = nil
	if got := h.tool("https://tool.example.edu:8443"); got.Name != "tool.example.edu:8443" || got.LogoURL != "" {
		t.Errorf("without registration: %+v", got)
	}
}

// No placeholder about a person is filled from a claim that is not asked for.
func TestPlaceholderClaims(t *testing.T) {
	var keys []string
	for name := range placeholders {
		keys = append(keys, "http.lti."+name)
	}
	for _, name := range []string{"id", "name", "email"} {
		keys = append(keys, "http.auth.user."+name)
	}
	for _, key := range keys {
		people, _ := neededFor(key)
		if people = people && strings.Contains(key, "user."); people != (len(placeholderClaims[key]) > 0) {
			t.Errorf("%s: claims %q", key, placeholderClaims[key])
		}
	}
}
