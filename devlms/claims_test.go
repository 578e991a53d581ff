package devlms

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestClaimsOfEachPerson(t *testing.T) {
	const (
		learner     = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"
		instructor  = "http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"
		instAdmin   = "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Administrator"
		systemAdmin = "http://purl.imsglobal.org/vocab/lis/v2/system/person#Administrator"
	)
	for _, tc := range []struct {
		id, name, email string
		roles           []any
	}{
		{"u-1001", "Ada Moreau", "ada.moreau@university.example", []any{instructor}},
		{"u-1002", "Imani Okafor", "imani.okafor@university.example", []any{instAdmin, systemAdmin, instructor}},
		{"u-2001", "Maeve O'Hara", "maeve.ohara@university.example", []any{learner}},
		{"u-2002", "Zoë Łukasiewicz-山田", "zoe.yamada@university.example", []any{learner}},
		{"u-2003", "", "", []any{learner}},
	} {
		t.Run(tc.id, func(t *testing.T) {
			l := newLMS(t)
			l.who = tc.id
			params := l.authRequest(chapter1)
			_, fields := readPost(t, l.auth(params))
			_, claims := l.readToken(fields.Get("id_token"))

			if claims["sub"] != tc.id {
				t.Errorf("sub %v", claims["sub"])
			}
			if got := claims[claimPrefix+"roles"]; !reflect.DeepEqual(got, tc.roles) {
				t.Errorf("roles %v", got)
			}
			if tc.name == "" {
				for _, name := range []string{"name", "given_name", "family_name", "email"} {
					if _, ok := claims[name]; ok {
						t.Errorf("%s is shared", name)
					}
				}
				return
			}
			if claims["name"] != tc.name || claims["email"] != tc.email {
				t.Errorf("name %v, email %v", claims["name"], claims["email"])
			}
			if claims["given_name"].(string)+" "+claims["family_name"].(string) != tc.name {
				t.Errorf("given name %v, family name %v", claims["given_name"], claims["family_name"])
			}
		})
	}
}

func TestClaimsOfLaunch(t *testing.T) {
	l := newLMS(t)
	l.who = "u-2002"
	params := l.authRequest(chapter1)
	_, fields := readPost(t, l.auth(params))
	_, claims := l.readToken(fields.Get("id_token"))

	want := map[string]any{
		"iss": testOrigin, "aud": "demo-site", "sub": "u-2002", "nonce": params.Get("nonce"),
		"iat": float64(l.at.Unix()), "exp": float64(l.at.Unix() + 60),
		"name": "Zoë Łukasiewicz-山田", "given_name": "Zoë", "family_name": "Łukasiewicz-山田",
		"email": "zoe.yamada@university.example", "locale": "fr",
		claimPrefix + "message_type":    "LtiResourceLinkRequest",
		claimPrefix + "version":         "1.3.0",
		claimPrefix + "deployment_id":   "1",
		claimPrefix + "target_link_uri": testTarget,
		claimPrefix + "resource_link":   map[string]any{"id": "rl-c-31-site.chapter-1-b", "title": `Chapter "1" <b>&`},
		claimPrefix + "roles":           []any{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"},
		claimPrefix + "context": map[string]any{
			"id": "c-31", "label": "ASTRO-101", "title": "Stars & Planets",
			"type": []any{"http://purl.imsglobal.org/vocab/lis/v2/course#CourseSection"},
		},
		claimPrefix + "launch_presentation": map[string]any{
			"document_target": "iframe", "locale": "fr", "return_url": testOrigin + "/return/c-31",
		},
		claimPrefix + "tool_platform": map[string]any{
			"guid": platformGUID(testOrigin), "name": "Localhost University", "url": testOrigin,
			"product_family_code": "caddylti-devlms", "version": "1",
		},
		claimPrefix + "lis": map[string]any{"person_sourcedid": "SIS-7131", "course_section_sourcedid": "SIS-ASTRO-101-A"},
		claimEndpoint: map[string]any{
			"scope": []any{
				"https://purl.imsglobal.org/spec/lti-ags/scope/lineitem",
				"https://purl.imsglobal.org/spec/lti-ags/scope/lineitem.readonly",
				"https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly",
				"https://purl.imsglobal.org/spec/lti-ags/scope/score",
			},
			"lineitems": testOrigin + "/ags/c-31/lineitems?type_id=1",
			"lineitem":  testOrigin + "/ags/c-31/lineitems/site.chapter-1-b/lineitem?type_id=1",
		},
		claimMembers: map[string]any{
			"context_memberships_url": testOrigin + "/nrps/c-31/members?type_id=1", "service_versions": []any{"2.0"},
		},
		claimPrefix + "custom": map[string]any{"Mixed_Case": "x", "empty": "", "variable": "$User.id"},
	}
	if !reflect.DeepEqual(claims, want) {
		for _, name := range slices.Sorted(maps.Keys(claims)) {
			if !reflect.DeepEqual(claims[name], want[name]) {
				t.Errorf("%s: expected %v, got %v", name, want[name], claims[name])
			}
		}
		t.Errorf("claims are %v", claims)
	}
}

// TestServicesAreNotPromised: a claim of a service that does not exist, or that
// the tool may not use, would send tools after it.
func TestServicesAreNotPromised(t *testing.T) {
	l := newLMS(t)
	l.tools[0].AGS, l.tools[0].NRPS = optionOff, optionOff // the other has no keys
	for _, who := range people {
		for _, a := range l.activities {
			for name := range l.idToken(testOrigin, "n", who, courses[0], a) {
				if strings.Contains(name, "lti-ags") || strings.Contains(name, "lti-nrps") {
					t.Errorf("%s: claim %s", who.ID, name)
				}
			}
		}
	}
}

func TestWindowAndSecondCourse(t *testing.T) {
	l := newLMS(t)
	_, fields := readPost(t, l.auth(l.authRequest(chapter2)))
	_, claims := l.readToken(fields.Get("id_token"))
	if got := claims[claimPrefix+"launch_presentation"].(map[string]any)["document_target"]; got != "window" {
		t.Errorf("document target %v", got)
	}
	if got := claims[claimPrefix+"context"].(map[string]any)["id"]; got != "c-32" {
		t.Errorf("context %v", got)
	}
}

func TestActivityIDs(t *testing.T) {
	tools := []*Tool{
		{Name: "a-b", Links: []*Link{{Title: "C"}, {Title: "c!"}, {Title: "C 2"}, {Title: "山"}, {Title: "???"}}},
		{Name: "a", Links: []*Link{{Title: "b c"}, {Title: strings.Repeat("long ", 30)}}},
	}
	p := newPlatform("", "", storageOff, tools, newState(), nil)
	want := []string{"a-b.c", "a-b.c-2", "a-b.c-2-2", "a-b.link", "a-b.link-2", "a.b-c", "a.long-long-long-long-long-long-long-long"}
	ids := make(map[string]bool)
	for i, a := range p.activities {
		if a.ID != want[i] {
			t.Errorf("activity %d: expected %s, got %s", i, want[i], a.ID)
		}
		for _, c := range courses {
			if id := a.resourceLinkID(c); ids[id] {
				t.Errorf("resource link id %s twice", id)
			} else {
				ids[id] = true
			}
		}
	}
}
