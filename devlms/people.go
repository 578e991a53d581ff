package devlms

import "slices"

// Roles, by their full URIs (LTI Core 1.3, appendix A.2).
const (
	roleLearner          = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"
	roleInstructor       = "http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"
	roleInstitutionAdmin = "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Administrator"
	roleSystemAdmin      = "http://purl.imsglobal.org/vocab/lis/v2/system/person#Administrator"
)

// person is somebody that a visitor can choose to be. All are members of every
// course.
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
}

// Name is how the LMS itself names the person.
func (p *person) Name() string { return p.GivenName + " " + p.FamilyName }

// Initials are shown where a real LMS has a picture.
func (p *person) Initials() string {
	return string([]rune(p.GivenName)[:1]) + string([]rune(p.FamilyName)[:1])
}

// Learner tells whether the person is graded.
func (p *person) Learner() bool { return slices.Contains(p.Roles, roleLearner) }

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

func findPerson(id string) *person {
	for _, p := range people {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// course is one of the two courses that every demo LMS has.
type course struct {
	ID        string
	Label     string
	Title     string
	About     string
	SourcedID string
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
}

func findCourse(id string) *course {
	for _, c := range courses {
		if c.ID == id {
			return c
		}
	}
	return nil
}
