package caddylti

import (
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestMatcherUnmarshalCaddyfile(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     Matcher
		err      string
	}{
		{"role", "lti role instructor", Matcher{Roles: []string{"instructor"}}, ""},
		{"roles", "lti role Instructor institution:staff https://lms.example/x", Matcher{Roles: []string{"Instructor", "institution:staff", "https://lms.example/x"}}, ""},
		{"context", `lti context BIO1 "course 7"`, Matcher{Contexts: []string{"BIO1", "course 7"}}, ""},
		{"platform", "lti platform moodle canvas", Matcher{Platforms: []string{"moodle", "canvas"}}, ""},
		{"message", "lti message LtiResourceLinkRequest", Matcher{Messages: []string{"LtiResourceLinkRequest"}}, ""},
		{
			"block", "lti {\n\trole instructor\n\tcontext BIO1\n\tplatform moodle\n\tmessage LtiResourceLinkRequest\n}",
			Matcher{Roles: []string{"instructor"}, Contexts: []string{"BIO1"}, Platforms: []string{"moodle"}, Messages: []string{"LtiResourceLinkRequest"}},
			"",
		},
		{"a kind twice in a block", "lti {\n\trole instructor\n\trole mentor\n}", Matcher{Roles: []string{"instructor", "mentor"}}, ""},
		{"lines are merged", "lti role instructor\nlti role mentor\nlti context BIO1", Matcher{Roles: []string{"instructor", "mentor"}, Contexts: []string{"BIO1"}}, ""},
		{"a line and a block are merged", "lti role instructor\nlti {\n\tcontext BIO1\n}", Matcher{Roles: []string{"instructor"}, Contexts: []string{"BIO1"}}, ""},

		{"nothing", "lti", Matcher{}, "expected a role, context, platform or message"},
		{"empty block", "lti {\n}", Matcher{}, "expected a role, context, platform or message"},
		{"nothing in a second line", "lti role instructor\nlti", Matcher{}, "expected a role, context, platform or message"},
		{"unknown kind", "lti name ann", Matcher{}, `unrecognized kind "name"`},
		{"kind in another case", "lti Role instructor", Matcher{}, `unrecognized kind "Role"`},
		{"unknown kind in a block", "lti {\n\trole instructor\n\tname ann\n}", Matcher{}, `unrecognized kind "name"`},
		{"no role", "lti role", Matcher{}, "wrong argument count"},
		{"no context", "lti context", Matcher{}, "wrong argument count"},
		{"no platform in a block", "lti {\n\tplatform\n}", Matcher{}, "wrong argument count"},
		{"unknown role", "lti role teacher", Matcher{}, `unknown role "teacher"`},
		{"kind and block", "lti role instructor {\n\tcontext BIO1\n}", Matcher{}, "cannot be combined"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got Matcher
			err := got.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tc.in))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || !strings.Contains(err.Error(), "Testfile:") {
					t.Errorf("error %v, want one with %q and the line", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}
