package devlms

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// claimPrefix begins the names of the claims of LTI Core 1.3.
const claimPrefix = "https://purl.imsglobal.org/spec/lti/claim/"

// Types of messages (LTI Core 1.3 §5.3.1; Deep Linking 2.0 §4).
const (
	messageResourceLink     = "LtiResourceLinkRequest"
	messageDeepLink         = "LtiDeepLinkingRequest"
	messageDeepLinkResponse = "LtiDeepLinkingResponse"
)

// Claims about people (OpenID Connect Core §5.1).
const (
	claimName       = "name"
	claimGivenName  = "given_name"
	claimFamilyName = "family_name"
	claimEmail      = "email"
	claimLocale     = "locale"
)

const (
	// tokenLifetime is Moodle's, the shortest that is known.
	tokenLifetime = 60 * time.Second

	productFamily  = "caddylti-devlms"
	productVersion = "1"
)

// idToken returns the claims of a resource link launch (LTI Core 1.3 §5.3).
func (p *platform) idToken(issuer, nonce string, who *person, c *course, a *activity) map[string]any {
	claims := p.messageClaims(messageResourceLink, issuer, nonce, who, c, a.Tool)
	claims[claimPrefix+"target_link_uri"] = a.TargetLinkURI
	link := map[string]any{
		"id":    a.resourceLinkID(c),
		"title": a.Title,
	}
	if a.Added != nil && a.Added.item.text != "" {
		link["description"] = a.Added.item.text
	}
	claims[claimPrefix+"resource_link"] = link
	claims[claimPrefix+"launch_presentation"] = presentation(issuer, who, c, a.Target)
	claims[claimPrefix+"custom"] = p.custom(issuer, who, c, a.Tool, a)
	if endpoint := p.endpointClaim(issuer, c, a); endpoint != nil {
		claims[claimEndpoint] = endpoint
	}
	return claims
}

func presentation(issuer string, who *person, c *course, target string) map[string]any {
	return map[string]any{
		"document_target": target,
		"return_url":      issuer + "/return/" + c.ID,
		"locale":          who.Locale,
	}
}

// messageClaims returns the claims that do not depend on what is opened. That of
// the roster service is absent where the tool may not use it.
func (p *platform) messageClaims(message, issuer, nonce string, who *person, c *course, t *Tool) map[string]any {
	now := p.now()
	claims := map[string]any{
		"iss":   issuer,
		"aud":   t.ClientID,
		"sub":   who.ID,
		"iat":   now.Unix(),
		"exp":   now.Add(tokenLifetime).Unix(),
		"nonce": nonce,

		claimPrefix + "message_type":  message,
		claimPrefix + "version":       "1.3.0",
		claimPrefix + "deployment_id": t.Deployment,
		claimPrefix + "roles":         who.Roles,
		claimPrefix + "context": map[string]any{
			"id":    c.ID,
			"label": c.Label,
			"title": c.Title,
			"type":  []string{"http://purl.imsglobal.org/vocab/lis/v2/course#CourseSection"},
		},
		claimPrefix + "tool_platform": map[string]any{
			"guid":                platformGUID(issuer),
			"name":                p.title,
			"url":                 issuer,
			"product_family_code": productFamily,
			"version":             productVersion,
		},
		claimPrefix + "lis": map[string]any{
			"person_sourcedid":         who.SourcedID,
			"course_section_sourcedid": c.SourcedID,
		},
	}
	if members := membersClaim(issuer, c, t); members != nil {
		claims[claimMembers] = members
	}
	for name, value := range map[string]string{
		claimName: who.Name(), claimGivenName: who.GivenName, claimFamilyName: who.FamilyName, claimEmail: who.Email,
		claimLocale: who.Locale,
	} {
		if t.isTold(name, who) {
			claims[name] = value
		}
	}
	return claims
}

// platformGUID is stable for an issuer and says nothing about it.
func platformGUID(issuer string) string {
	sum := sha256.Sum256([]byte(productFamily + " " + issuer))
	return hex.EncodeToString(sum[:16])
}
