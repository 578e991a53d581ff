package devlms

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"time"
)

// claimPrefix begins the names of the claims of LTI Core 1.3.
const claimPrefix = "https://purl.imsglobal.org/spec/lti/claim/"

const (
	// tokenLifetime is Moodle's, the shortest that is known.
	tokenLifetime = 60 * time.Second

	productFamily  = "caddylti-devlms"
	productVersion = "1"
)

// idToken returns the claims of a resource link launch (LTI Core 1.3 §5.3).
// A roster service is not offered, so its claim is absent, as is that of the
// grade services where the tool may not use them.
func (p *platform) idToken(issuer, nonce string, who *person, c *course, a *activity) map[string]any {
	now := p.now()
	custom := make(map[string]string, len(a.Tool.Custom))
	maps.Copy(custom, a.Tool.Custom)

	claims := map[string]any{
		"iss":   issuer,
		"aud":   a.Tool.ClientID,
		"sub":   who.ID,
		"iat":   now.Unix(),
		"exp":   now.Add(tokenLifetime).Unix(),
		"nonce": nonce,

		claimPrefix + "message_type":    "LtiResourceLinkRequest",
		claimPrefix + "version":         "1.3.0",
		claimPrefix + "deployment_id":   a.Tool.Deployment,
		claimPrefix + "target_link_uri": a.TargetLinkURI,
		claimPrefix + "resource_link": map[string]any{
			"id":    a.resourceLinkID(c),
			"title": a.Title,
		},
		claimPrefix + "roles": who.Roles,
		claimPrefix + "context": map[string]any{
			"id":    c.ID,
			"label": c.Label,
			"title": c.Title,
			"type":  []string{"http://purl.imsglobal.org/vocab/lis/v2/course#CourseSection"},
		},
		claimPrefix + "launch_presentation": map[string]any{
			"document_target": a.Target,
			"return_url":      issuer + "/return/" + c.ID,
			"locale":          who.Locale,
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
		claimPrefix + "custom": custom,

		"locale": who.Locale,
	}
	if endpoint := p.endpointClaim(issuer, c, a); endpoint != nil {
		claims[claimEndpoint] = endpoint
	}
	if !who.Private {
		claims["given_name"] = who.GivenName
		claims["family_name"] = who.FamilyName
		claims["name"] = who.Name()
		claims["email"] = who.Email
	}
	return claims
}

// platformGUID is stable for an issuer and says nothing about it.
func platformGUID(issuer string) string {
	sum := sha256.Sum256([]byte(productFamily + " " + issuer))
	return hex.EncodeToString(sum[:16])
}
