package lti

import (
	"fmt"
	"slices"
	"strings"
)

// The role vocabulary (LTI 1.3 App. A.2). Only roles of the context say anything
// about the course; an institution's instructor may be a learner here.
const (
	prefixContext     = "http://purl.imsglobal.org/vocab/lis/v2/membership#"
	prefixSubRole     = "http://purl.imsglobal.org/vocab/lis/v2/membership/"
	prefixInstitution = "http://purl.imsglobal.org/vocab/lis/v2/institution/person#"
	prefixSystem      = "http://purl.imsglobal.org/vocab/lis/v2/system/person#"
	prefixLTISystem   = "http://purl.imsglobal.org/vocab/lti/system/person#"
	// prefixPerson is deprecated: it stood for institution and system alike.
	prefixPerson = "http://purl.imsglobal.org/vocab/lis/v2/person#"
)

var (
	contextRoles = []string{
		"Administrator", "ContentDeveloper", "Instructor", "Learner", "Mentor", "Manager", "Member", "Officer",
	}
	institutionRoles = []string{
		"Administrator", "Faculty", "Guest", "None", "Other", "Staff", "Student",
		"Alumni", "Instructor", "Learner", "Member", "Mentor", "Observer", "ProspectiveStudent",
	}
	systemRoles = []string{
		"Administrator", "None", "AccountAdmin", "Creator", "SysAdmin", "SysSupport", "User",
	}
	subRoles = map[string][]string{
		"Administrator": {
			"Administrator", "Developer", "ExternalDeveloper", "ExternalSupport",
			"ExternalSystemAdministrator", "Support", "SystemAdministrator",
		},
		"ContentDeveloper": {"ContentDeveloper", "ContentExpert", "ExternalContentExpert", "Librarian"},
		"Instructor": {
			"ExternalInstructor", "Grader", "GuestInstructor", "Lecturer", "PrimaryInstructor", "SecondaryInstructor",
			"TeachingAssistant", "TeachingAssistantGroup", "TeachingAssistantOffering", "TeachingAssistantSection",
			"TeachingAssistantSectionAssociation", "TeachingAssistantTemplate",
		},
		"Learner": {"ExternalLearner", "GuestLearner", "Instructor", "Learner", "NonCreditLearner"},
		"Manager": {"AreaManager", "CourseCoordinator", "ExternalObserver", "Manager", "Observer"},
		"Member":  {"Member"},
		"Mentor": {
			"Advisor", "Auditor", "ExternalAdvisor", "ExternalAuditor", "ExternalLearningFacilitator",
			"ExternalMentor", "ExternalReviewer", "ExternalTutor", "LearningFacilitator", "Mentor", "Reviewer", "Tutor",
		},
		"Officer": {"Chair", "Communications", "Secretary", "Treasurer", "Vice-Chair"},
	}

	// shortByURI has every role of the vocabulary: the full URI and its short
	// form. A role of the course is short by its bare name, a sub-role as
	// Instructor#Grader, the others with the kind before it.
	shortByURI = map[string]string{prefixLTISystem + "TestUser": "system:TestUser"}
	// uriByFold finds a URI by the short form in lower case.
	uriByFold = map[string]string{}
	// uriByOld finds a URI by what older platforms write.
	uriByOld = map[string]string{}
)

func init() {
	add := func(uri, short string) { shortByURI[uri] = short }
	for _, r := range contextRoles {
		add(prefixContext+r, r)
		uriByOld[r] = prefixContext + r
		uriByOld["urn:lti:role:ims/lis/"+r] = prefixContext + r
		for _, s := range subRoles[r] {
			add(prefixSubRole+r+"#"+s, r+"#"+s)
			uriByOld["urn:lti:role:ims/lis/"+r+"/"+s] = prefixSubRole + r + "#" + s
		}
	}
	for _, r := range systemRoles {
		add(prefixSystem+r, "system:"+r)
		uriByOld["urn:lti:sysrole:ims/lis/"+r] = prefixSystem + r
		uriByOld[prefixPerson+r] = prefixSystem + r
	}
	// After the system's: where the deprecated prefix could mean either, the
	// lesser one is meant.
	for _, r := range institutionRoles {
		add(prefixInstitution+r, "institution:"+r)
		uriByOld["urn:lti:instrole:ims/lis/"+r] = prefixInstitution + r
		uriByOld[prefixPerson+r] = prefixInstitution + r
	}
	for uri, short := range shortByURI {
		uriByFold[strings.ToLower(short)] = uri
	}
}

// NormalizeRole returns the URI of a role that a platform wrote as a simple name
// or URN; both stand for roles of the vocabulary only (LTI 1.3 App. A.2.3).
// Anything else is returned as it is.
func NormalizeRole(role string) string {
	if uri, ok := uriByOld[role]; ok {
		return uri
	}
	return role
}

// ShortRole returns the short form of a role's URI: Instructor,
// Instructor#Grader, institution:Faculty, system:Administrator. Roles outside
// the vocabulary have none.
func ShortRole(uri string) (string, bool) {
	short, ok := shortByURI[uri]
	return short, ok
}

// ParseRole returns the URI of a role that a person wrote in a configuration: a
// short form, in any case, or a full URI.
func ParseRole(name string) (string, error) {
	if uri, ok := uriByFold[strings.ToLower(name)]; ok {
		return uri, nil
	}
	if strings.Contains(name, "://") {
		return name, nil
	}
	return "", fmt.Errorf("unknown role %q: expected one of the course (%s), a sub-role such as instructor#grader, "+
		"institution:NAME, system:NAME, or a full URI", name, strings.ToLower(strings.Join(contextRoles, ", ")))
}

// HasRole reports whether one of the launch's roles is among the URIs. A
// sub-role does not count as its principal role.
func (l *Launch) HasRole(uris ...string) bool {
	return slices.ContainsFunc(l.Roles, func(r string) bool { return slices.Contains(uris, r) })
}
