package devlms

import (
	"maps"
	"strings"
)

// custom returns the custom parameters of a launch. Those of added content must
// all be there (Deep Linking 2.0 §3.2), so they win over the tool's; variables are
// filled in where the whole value is one.
func (p *platform) custom(issuer string, who *person, c *course, a *activity) map[string]string {
	values := make(map[string]string, len(a.Tool.Custom))
	maps.Copy(values, a.Tool.Custom)
	if a.Added == nil {
		return values
	}
	for name, value := range a.Added.item.custom {
		if variable, ok := strings.CutPrefix(value, "$"); ok {
			if filled, ok := p.variable(variable, issuer, who, c, a); ok {
				value = filled
			}
		}
		values[name] = value
	}
	return values
}

// variable returns the value of a variable (LTI Core 1.3, appendix B). One that is
// unknown, or not for this tool to see, stays as it is.
func (p *platform) variable(name, issuer string, who *person, c *course, a *activity) (string, bool) {
	if strings.HasPrefix(name, "Person.") && who.Private {
		return "", false
	}
	switch name {
	case "User.id":
		return who.ID, true
	case "Person.sourcedId":
		return who.SourcedID, true
	case "Person.name.full":
		return who.Name(), true
	case "Person.name.given":
		return who.GivenName, true
	case "Person.name.family":
		return who.FamilyName, true
	case "Person.email.primary":
		return who.Email, true
	case "Context.id":
		return c.ID, true
	case "Context.label":
		return c.Label, true
	case "Context.title":
		return c.Title, true
	case "Context.sourcedId", "CourseSection.sourcedId":
		return c.SourcedID, true
	case "ResourceLink.id":
		return a.resourceLinkID(c), true
	case "ResourceLink.title":
		return a.Title, true
	case "ResourceLink.description":
		return a.Added.item.text, true
	case "ResourceLink.id.history":
		return strings.Join(a.Added.history, ","), true
	case "ResourceLink.available.startDateTime":
		return a.Added.item.available.start, true
	case "ResourceLink.available.endDateTime":
		return a.Added.item.available.end, true
	case "ResourceLink.submission.startDateTime":
		return a.Added.item.submission.start, true
	case "ResourceLink.submission.endDateTime":
		return a.Added.item.submission.end, true
	case "Membership.role":
		return strings.Join(contextRoles(who), ","), true
	case "Message.locale":
		return who.Locale, true
	case "ToolPlatformInstance.guid":
		return platformGUID(issuer), true
	case "ToolPlatformInstance.name":
		return p.title, true
	case "ToolPlatform.productFamilyCode":
		return productFamily, true
	case "LineItems.url", "LineItem.url":
		claim := p.endpointClaim(issuer, c, a)
		if claim == nil {
			return "", false
		}
		url, _ := claim[map[string]string{"LineItems.url": "lineitems", "LineItem.url": "lineitem"}[name]].(string)
		return url, true
	}
	return "", false
}
