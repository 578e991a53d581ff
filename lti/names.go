package lti

// Claims of LTI Core 1.3 (§5.3, §5.4) and of the services whose claims arrive
// in a launch.
const (
	claimMessageType   = "https://purl.imsglobal.org/spec/lti/claim/message_type"
	claimVersion       = "https://purl.imsglobal.org/spec/lti/claim/version"
	claimDeploymentID  = "https://purl.imsglobal.org/spec/lti/claim/deployment_id"
	claimTargetLinkURI = "https://purl.imsglobal.org/spec/lti/claim/target_link_uri"
	claimResourceLink  = "https://purl.imsglobal.org/spec/lti/claim/resource_link"
	claimRoles         = "https://purl.imsglobal.org/spec/lti/claim/roles"
	claimContext       = "https://purl.imsglobal.org/spec/lti/claim/context"
	claimToolPlatform  = "https://purl.imsglobal.org/spec/lti/claim/tool_platform"
	claimPresentation  = "https://purl.imsglobal.org/spec/lti/claim/launch_presentation"
	claimLIS           = "https://purl.imsglobal.org/spec/lti/claim/lis"
	claimCustom        = "https://purl.imsglobal.org/spec/lti/claim/custom"
	claimExt           = "https://purl.imsglobal.org/spec/lti/claim/ext"
	claimGrades        = "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"
	claimRoster        = "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice"
	claimDeepLinking   = "https://purl.imsglobal.org/spec/lti-dl/claim/deep_linking_settings"
)

// Version is the only value of the version claim that is accepted (§5.3.2).
const Version = "1.3.0"

// Message types (§5.3.1).
const (
	MessageResourceLink = "LtiResourceLinkRequest"
	MessageDeepLinking  = "LtiDeepLinkingRequest"
)

// maxID is the length in bytes that the specification allows for sub,
// deployment_id, resource_link.id and their like.
const maxID = 255
