package lti

import (
	"strings"
	"testing"
)

func TestEveryRoleRoundTrips(t *testing.T) {
	shorts := make(map[string]string)
	for uri := range readVocabulary(t).roles {
		short, ok := ShortRole(uri)
		if !ok {
			t.Errorf("%s has no short form", uri)
			continue
		}
		if other, ok := shorts[strings.ToLower(short)]; ok {
			t.Errorf("%s and %s are both %s", uri, other, short)
		}
		shorts[strings.ToLower(short)] = uri
		for _, written := range []string{short, strings.ToLower(short), strings.ToUpper(short), uri} {
			if got, err := ParseRole(written); err != nil || got != uri {
				t.Errorf("ParseRole(%q) = %q, %v; want %s", written, got, err, uri)
			}
		}
		if got := NormalizeRole(uri); got != uri {
			t.Errorf("NormalizeRole(%s) = %s", uri, got)
		}
	}
}

func TestNormalizeRole(t *testing.T) {
	const (
		course      = "http://purl.imsglobal.org/vocab/lis/v2/membership#"
		sub         = "http://purl.imsglobal.org/vocab/lis/v2/membership/"
		institution = "http://purl.imsglobal.org/vocab/lis/v2/institution/person#"
		system      = "http://purl.imsglobal.org/vocab/lis/v2/system/person#"
		person      = "http://purl.imsglobal.org/vocab/lis/v2/person#"
	)
	for _, tc := range []struct{ name, in, want string }{
		{"simple name", "Instructor", course + "Instructor"},
		{"simple name, not core", "Officer", course + "Officer"},
		{"URN of the course", "urn:lti:role:ims/lis/Learner", course + "Learner"},
		{"URN with sub-role", "urn:lti:role:ims/lis/Instructor/TeachingAssistant", sub + "Instructor#TeachingAssistant"},
		{"URN with the trap", "urn:lti:role:ims/lis/Learner/Instructor", sub + "Learner#Instructor"},
		{"URN of the institution", "urn:lti:instrole:ims/lis/Student", institution + "Student"},
		{"URN of the system", "urn:lti:sysrole:ims/lis/SysAdmin", system + "SysAdmin"},
		{"old prefix, institution only", person + "Faculty", institution + "Faculty"},
		{"old prefix, system only", person + "SysSupport", system + "SysSupport"},
		{"old prefix, either: the lesser", person + "Administrator", institution + "Administrator"},
		{"old prefix, either: none", person + "None", institution + "None"},

		// A simple name stands for a role of the course only.
		{"no role of the course", "Student", "Student"},
		{"nor this", "Faculty", "Faculty"},
		{"nor a sub-role", "TeachingAssistant", "TeachingAssistant"},
		// Platforms' words are compared exactly.
		{"lower case", "instructor", "instructor"},
		{"lower case in a URI", course + "instructor", course + "instructor"},
		{"lower case in a URN", "urn:lti:role:ims/lis/instructor", "urn:lti:role:ims/lis/instructor"},
		{"https", "https" + strings.TrimPrefix(course, "http") + "Instructor", "https" + strings.TrimPrefix(course, "http") + "Instructor"},
		{"a role with two hashes", course + "Instructor#Grader", course + "Instructor#Grader"},
		{"of a vendor", "https://lms.example/roles#Instructor", "https://lms.example/roles#Instructor"},
		{"space", " Instructor", " Instructor"},
		{"empty", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := NormalizeRole(tc.in); got != tc.want {
				t.Errorf("NormalizeRole(%q) = %q, want %q", tc.in, got, tc.want)
			}
			if _, ok := ShortRole(tc.in); ok {
				t.Errorf("%q has a short form, though it is not a URI of the vocabulary", tc.in)
			}
		})
	}
}

// Nothing that looks like a role may count as another.
func TestHasRoleTraps(t *testing.T) {
	role := func(name string) string {
		uri, err := ParseRole(name)
		if err != nil {
			t.Fatal(err)
		}
		return uri
	}
	for _, tc := range []struct {
		name  string
		roles []string
		asked string
		want  bool
	}{
		{"the role itself", []string{role("instructor")}, "instructor", true},
		{"one of several", []string{role("institution:student"), role("learner")}, "learner", true},
		{"the sub-role itself", []string{role("instructor#grader")}, "instructor#grader", true},
		{"a sub-role is not its principal", []string{role("instructor#teachingassistant")}, "instructor", false},
		{"nor the other way round", []string{role("instructor")}, "instructor#grader", false},
		{"the learner called Instructor", []string{role("learner#instructor")}, "instructor", false},
		{"nor as an instructor's sub-role", []string{role("learner#instructor")}, "instructor#lecturer", false},
		{"an instructor of the institution", []string{role("institution:instructor")}, "instructor", false},
		{"an administrator of the system", []string{role("system:administrator")}, "administrator", false},
		{"of the institution", []string{role("institution:administrator")}, "administrator", false},
		{"of the course is not of the system", []string{role("administrator")}, "system:administrator", false},
		{"another case", []string{strings.ToLower(role("instructor"))}, "instructor", false},
		{"a longer name", []string{role("instructor") + "s"}, "instructor", false},
		{"nobody", nil, "learner", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := &Launch{Roles: tc.roles}
			if got := l.HasRole(role(tc.asked)); got != tc.want {
				t.Errorf("HasRole(%s) with %q = %v, want %v", tc.asked, tc.roles, got, tc.want)
			}
		})
	}
	if (&Launch{Roles: []string{role("learner")}}).HasRole() {
		t.Error("a launch has none of no roles")
	}
}

func TestParseRole(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"https://lms.example/roles#Chef", "https://lms.example/roles#Chef"},
		{"Instructor#Grader", "http://purl.imsglobal.org/vocab/lis/v2/membership/Instructor#Grader"},
		{"officer#VICE-chair", "http://purl.imsglobal.org/vocab/lis/v2/membership/Officer#Vice-Chair"},
		{"System:testuser", "http://purl.imsglobal.org/vocab/lti/system/person#TestUser"},
	} {
		if got, err := ParseRole(tc.in); err != nil || got != tc.want {
			t.Errorf("ParseRole(%q) = %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
	for _, in := range []string{
		"", " ", "teacher", "student", "faculty", "instructor#", "#instructor", "grader", "instructor#learner",
		"institution:", "institution:grader", "system:instructor", "course:instructor", "instructor ", "Instrüctor",
		"urn:lti:role:ims/lis/Instructor",
	} {
		_, err := ParseRole(in)
		if err == nil {
			t.Errorf("ParseRole(%q): no error", in)
			continue
		}
		if msg := err.Error(); !strings.Contains(msg, "unknown role") || !strings.Contains(msg, "instructor") {
			t.Errorf("ParseRole(%q): %q does not say what would be right", in, msg)
		}
	}
}
