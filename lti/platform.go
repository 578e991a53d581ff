package lti

import (
	"slices"
	"time"
)

// Platform is one registration with an LMS: the tool as client ClientID of
// Issuer (Security Framework §5.1.1, LTI 1.3 §3.1.3).
type Platform struct {
	// Name is what the configuration calls it. It appears in Remote-User.
	Name string
	// Issuer is compared byte for byte.
	Issuer   string
	ClientID string
	// AuthURL is the platform's OIDC authorization endpoint.
	AuthURL string
	// Deployments lists the deployment ids that may launch.
	Deployments []string
	// AnyDeployment accepts every deployment id.
	AnyDeployment bool
	// Algorithms that may sign id_tokens. Which of them a token may use is
	// settled by the kind of the platform's keys.
	Algorithms []string
	// Leeway is how far the clocks may differ.
	Leeway time.Duration
	// UserScope says how far the platform's user ids are unique.
	UserScope UserScope
}

// UserScope says within what a user id (sub) of a platform is unique beyond
// issuer and client id. Where one issuer serves many institutions, it is not.
type UserScope string

// The scopes.
const (
	ScopeClient     UserScope = "client"     // issuer and client id suffice
	ScopeTenant     UserScope = "tenant"     // within tool_platform.guid
	ScopeDeployment UserScope = "deployment" // within the deployment
)

// Scope returns the scope of the launch's user id: "" where issuer and client id
// suffice. A tenant scope without a tenant narrows to the deployment, so that no
// two people ever share a key.
func (p *Platform) Scope(l *Launch) string {
	switch p.UserScope {
	case ScopeTenant:
		if l.ToolPlatform.GUID != "" {
			return l.ToolPlatform.GUID
		}
		return "deployment-" + l.DeploymentID
	case ScopeDeployment:
		return l.DeploymentID
	case ScopeClient:
	}
	return ""
}

// HasDeployment reports whether the deployment may launch.
func (p *Platform) HasDeployment(id string) bool {
	return p.AnyDeployment || slices.Contains(p.Deployments, id)
}
