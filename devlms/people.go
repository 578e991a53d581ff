package devlms

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Roles, by their full URIs (LTI Core 1.3, appendix A.2).
const (
	roleLearner          = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"
	roleInstructor       = "http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"
	roleInstitutionAdmin = "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Administrator"
	roleSystemAdmin      = "http://purl.imsglobal.org/vocab/lis/v2/system/person#Administrator"
)

// person is somebody that a visitor can choose to be, or is only listed. Those
// to choose from are members of every course.
type person struct {
	// ID is the subject of the person's tokens and, as in Moodle, the
	// login_hint.
	ID         string
	GivenName  string
	FamilyName string
	Email      string
	Locale     string
	Roles      []string
	// SourcedID is the person's number in the student information system.
	SourcedID string
	// Role and About are what the pages say of the person.
	Role  string
	About string
	// Private people share neither name nor email address with tools.
	Private bool
	// Inactive people have left the course: they are only listed.
	Inactive bool
}

// Name is how the LMS itself names the person.
func (p *person) Name() string { return p.GivenName + " " + p.FamilyName }

// Initials are shown where a real LMS has a picture.
func (p *person) Initials() string {
	return string([]rune(p.GivenName)[:1]) + string([]rune(p.FamilyName)[:1])
}

// Learner tells whether the person is graded.
func (p *person) Learner() bool { return slices.Contains(p.Roles, roleLearner) }

// Administrator tells whether the person runs the LMS.
func (p *person) Administrator() bool { return slices.Contains(p.Roles, roleSystemAdmin) }

var people = []*person{
	{
		ID: "u-1001", GivenName: "Ada", FamilyName: "Moreau", Email: "ada.moreau@university.example",
		Locale: "en", SourcedID: "SIS-4410", Roles: []string{roleInstructor},
		Role: "Teacher", About: "Teaches both courses.",
	},
	{
		// An administrator is made instructor as well, as Moodle does it.
		ID: "u-1002", GivenName: "Imani", FamilyName: "Okafor", Email: "imani.okafor@university.example",
		Locale: "en", SourcedID: "SIS-4402", Roles: []string{roleInstitutionAdmin, roleSystemAdmin, roleInstructor},
		Role: "Administrator", About: "Runs the LMS; tools see an instructor too.",
	},
	{
		ID: "u-2001", GivenName: "Maeve", FamilyName: "O'Hara", Email: "maeve.ohara@university.example",
		Locale: "en", SourcedID: "SIS-7130", Roles: []string{roleLearner},
		Role: "Learner", About: "Shares name and email address.",
	},
	{
		ID: "u-2002", GivenName: "Zoë", FamilyName: "Łukasiewicz-山田", Email: "zoe.yamada@university.example",
		Locale: "fr", SourcedID: "SIS-7131", Roles: []string{roleLearner},
		Role: "Learner", About: "A name beyond ASCII; speaks French.",
	},
	{
		ID: "u-2003", GivenName: "Robin", FamilyName: "Vale", Email: "robin.vale@university.example",
		Locale: "en", Roles: []string{roleLearner}, Private: true,
		Role: "Learner", About: "Shares neither name nor email address.",
	},
}

// gone is in the rosters only, where the quirk inactive is on. The name is one
// that an escaped form spoils.
var gone = &person{
	ID: "u-2900", GivenName: "Ines", FamilyName: "Brandt & <Sohn>", Email: "ines.brandt@university.example",
	Locale: "de", SourcedID: "SIS-7001", Roles: []string{roleLearner}, Inactive: true,
}

func findPerson(id string) *person {
	for _, p := range people {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// course is one of the courses that every demo LMS has.
type course struct {
	ID        string
	Label     string
	Title     string
	About     string
	SourcedID string
	// Generated is how many learners there are beyond the people: they are made
	// up when somebody asks for the roster.
	Generated int
}

// One title has an ampersand, the other accents: tools should show both right.
var courses = []*course{
	{
		ID: "c-31", Label: "ASTRO-101", Title: "Stars & Planets", SourcedID: "SIS-ASTRO-101-A",
		About: "A first look at the night sky, no mathematics needed.",
	},
	{
		ID: "c-32", Label: "FR-210", Title: "Français : lire et écrire", SourcedID: "SIS-FR-210-B",
		About: "Reading and writing French for people who can already order coffee.",
	},
	{
		ID: "c-100k", Label: "MASS-100K", Title: "Open lecture for 100,000", SourcedID: "SIS-MASS-100K",
		About:     "So many people that no tool can hold them all at once.",
		Generated: 100_000 - len(people),
	},
}

func findCourse(id string) *course {
	for _, c := range courses {
		if c.ID == id {
			return c
		}
	}
	return nil
}

// Learners are made up of these; the two numbers have no common divisor.
var (
	givenNames  = []string{"Aino", "Bea", "Chidi", "Dana", "Émile", "Fatou", "Grace", "Hiroshi", "Ivo", "Jun", "Kofi", "Lena", "Mei"}
	familyNames = []string{
		"Adeyemi", "Björk", "Castro", "D'Angelo", "Eriksen", "Fischer & Sohn", "García", "Haddad", "Ito", "Jansen", "Kowalczyk",
		"Łaska", "Mbeki", "Novák", "O'Brien", "Popescu", "Qureshi", "Rossi", "Şahin", "Tanaka", "Usman", "Varga", "Wang", "山田",
	}
)

const generatedPrefix = "u-9"

// learner makes up the learner of a number below Generated: the same one every
// time. One in ten is private, one in a thousand has left.
func (c *course) learner(n int) *person {
	number := fmt.Sprintf("%06d", n)
	return &person{
		ID:        generatedPrefix + number,
		GivenName: givenNames[n%len(givenNames)], FamilyName: familyNames[n%len(familyNames)],
		Email:  "learner." + number + "@university.example",
		Locale: "en", SourcedID: "SIS-9" + number, Roles: []string{roleLearner},
		Private: n%10 == 3, Inactive: n%1000 == 7,
	}
}

// generated tells whether a learner was made up for the course.
func (c *course) generated(id string) bool {
	number, ok := strings.CutPrefix(id, generatedPrefix)
	n, err := strconv.Atoi(number)
	return ok && err == nil && n >= 0 && n < c.Generated && c.learner(n).ID == id
}
