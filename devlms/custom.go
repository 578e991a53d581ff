package devlms

import "strings"

// custom returns the custom parameters of a launch; that of deep linking is of no
// activity. Those of added content must all be there (Deep Linking 2.0 §3.2), so
// they win over the tool's. Variables are filled in where the whole value is one,
// but for those of a configured tool.
func (p *platform) custom(issuer string, who *person, c *course, t *Tool, a *activity) map[string]string {
	values := make(map[string]string, len(t.Custom))
	put := func(params map[string]string, fill bool) {
		for name, value := range params {
			if variable, ok := strings.CutPrefix(value, "$"); ok && fill {
				if filled, ok := p.variable(variable, issuer, who, c, t, a); ok {
					value = filled
				}
			}
			values[name] = value
		}
	}
	put(t.Custom, t.grant != nil)
	switch {
	case a != nil && a.Added != nil:
		put(a.Added.item.custom, true)
	case a == nil && t.grant != nil:
		put(t.grant.deepLinking, true)
	}
	return values
}

// personal are the variables that say what a claim says.
var personal = map[string]string{
	"Person.name.full":     claimName,
	"Person.name.given":    claimGivenName,
	"Person.name.family":   claimFamilyName,
	"Person.email.primary": claimEmail,
}

// variables are all that variable knows.
var variables = []string{
	"User.id", "Person.sourcedId", "Person.name.full", "Person.name.given", "Person.name.family", "Person.email.primary",
	"Context.id", "Context.label", "Context.title", "Context.sourcedId", "CourseSection.sourcedId",
	"ResourceLink.id", "ResourceLink.title", "ResourceLink.description", "ResourceLink.id.history",
	"ResourceLink.available.startDateTime", "ResourceLink.available.endDateTime",
	"ResourceLink.submission.startDateTime", "ResourceLink.submission.endDateTime",
	"Membership.role", "Message.locale", "ToolPlatformInstance.guid", "ToolPlatformInstance.name",
	"ToolPlatform.productFamilyCode", "LineItems.url", "LineItem.url",
}

// variable returns the value of a variable (LTI Core 1.3, appendix B). One that is
// unknown, not for this tool to see, or about no activity stays as it is.
func (p *platform) variable(name, issuer string, who *person, c *course, t *Tool, a *activity) (string, bool) {
	switch claim := personal[name]; {
	case claim != "" && !t.isTold(claim, who), name == "Person.sourcedId" && who.Private:
		return "", false
	case a == nil && strings.HasPrefix(name, "ResourceLink."):
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
		claim := lineItemsClaim(issuer, c, t)
		if a != nil && claim != nil {
			claim = p.endpointClaim(issuer, c, a)
		}
		if claim == nil || a == nil && name == "LineItem.url" {
			return "", false
		}
		url, _ := claim[map[string]string{"LineItems.url": "lineitems", "LineItem.url": "lineitem"}[name]].(string)
		return url, true
	}
	return "", false
}
