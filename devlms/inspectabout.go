package devlms

// Where the meanings of parameters and claims are laid down.
const (
	specLogin    = "Security Framework 1.0 §5.1.1.1"
	specAuth     = "Security Framework 1.0 §5.1.1.2"
	specResponse = "Security Framework 1.0 §5.1.1.3"
	specError    = "OpenID Connect Core 1.0 §3.1.2.6"
	specGrant    = "Security Framework 1.0 §4.1.1"
	specMessage  = "Security Framework 1.0 §5.2"
	specHint     = "LTI Core 1.3 §4.1.1"
	specStorage  = "LTI OIDC Login with LTI Client Side postMessages 0.1"
	specPerson   = "OpenID Connect Core 1.0 §5.1"
	specDeepAsk  = "Deep Linking 2.0 §4.4.1"
	specDeepSay  = "Deep Linking 2.0 §4.5"
	specReturn   = "LTI Core 1.3 §5.4.4"
)

// about says in a line what a name means, and where that is written.
type about struct{ text, spec string }

// aboutParameters are those of forms and queries, by kind of message.
var aboutParameters = map[string]map[string]about{
	kindLogin: {
		"iss":                {"The LMS that the launch comes from.", specLogin},
		"target_link_uri":    {"Where the launch is to land. Not signed: only the claim of the same name counts.", specLogin},
		"login_hint":         {"Who is launching, for the LMS. The tool sends it back unchanged.", specLogin},
		"lti_message_hint":   {"Which launch this is, for the LMS. The tool sends it back unchanged.", specHint},
		"client_id":          {"Which registration of the tool is meant.", "LTI Core 1.3 §4.1.3"},
		"lti_deployment_id":  {"Where in the LMS the tool was added; the same as in the token.", "LTI Core 1.3 §4.1.2"},
		"lti_storage_target": {"The frame that keeps values for the tool, where its cookies are blocked.", specStorage},
	},
	kindAuth: {
		"scope":            {"Must be openid.", specAuth},
		"response_type":    {"Must be id_token.", specAuth},
		"response_mode":    {"Must be form_post: the browser posts the answer.", specAuth},
		"prompt":           {"Must be none: nobody is asked to sign in.", specAuth},
		"client_id":        {"Which tool asks.", specAuth},
		"redirect_uri":     {"Where the answer is to go: exactly one of those that are registered.", specAuth},
		"login_hint":       {"As in the login initiation.", specAuth},
		"lti_message_hint": {"As in the login initiation.", specHint},
		"state":            {"The tool's own, comes back unchanged; it ties the answer to this browser.", specAuth},
		"nonce":            {"Good once; comes back inside the token.", specAuth},
	},
	kindResponse: {
		"id_token":           {"The launch, signed by the LMS. It is decoded below.", specResponse},
		"state":              {"As it was in the authentication request.", specResponse},
		"error":              {"Why there is no token.", specError},
		"error_description":  {"The same for people.", specError},
		"lti_storage_target": {"As in the login initiation.", specStorage},
	},
	kindDeepLink: {
		"JWT":    {"The content that was chosen, signed by the tool. It is decoded below.", specMessage},
		"launch": {"Which request is answered; the LMS has put it into the URL.", specDeepAsk},
	},
	kindReturn: {
		"lti_msg":      {"What the person is to read.", specReturn},
		"lti_errormsg": {"What the person is to read of an error.", specReturn},
		"lti_log":      {"What the LMS is to log.", specReturn},
		"lti_errorlog": {"What the LMS is to log of an error.", specReturn},
	},
	kindToken: {
		"grant_type":            {"Must be client_credentials.", specGrant},
		"client_assertion_type": {"Says that the assertion is a signed token.", specGrant},
		"client_assertion":      {"Who asks, signed by the tool. It is decoded below.", specGrant},
		"scope":                 {"What the access token is to be good for.", specGrant},
		"client_id":             {"Not needed; if it is there, it must be that of the assertion.", "RFC 7521 §4.2"},
	},
	kindMembers: {
		"role":  {"Only members who have this role.", "NRPS 2.0 §2.4"},
		"limit": {"How many members a page is to have.", "NRPS 2.0 §2.4"},
		"rlid":  {"Only members who may open this resource link.", "NRPS 2.0 §2.4"},
	},
}

// aboutHeader is that of signed tokens.
var aboutHeader = map[string]about{
	"alg": {"How it is signed.", "RFC 7515 §4.1.1"},
	"kid": {"Which key of the signer's key set it is signed with.", "RFC 7515 §4.1.4"},
	"typ": {"What it is.", "RFC 7519 §5.1"},
}

// aboutClaims are those of signed tokens, whoever has signed them.
var aboutClaims = map[string]about{
	"iss":   {"Who has signed it.", "RFC 7519 §4.1.1"},
	"sub":   {"Whom it is about: the person of a launch, or the tool that asks for an access token.", "RFC 7519 §4.1.2"},
	"aud":   {"Whom it is for; nobody else may accept it.", "RFC 7519 §4.1.3"},
	"exp":   {"From when on it must be refused.", "RFC 7519 §4.1.4"},
	"nbf":   {"Before this it must be refused.", "RFC 7519 §4.1.5"},
	"iat":   {"When it was made.", "RFC 7519 §4.1.6"},
	"jti":   {"Good once.", "RFC 7519 §4.1.7"},
	"nonce": {"Good once; that of the authentication request.", "Security Framework 1.0 §5.1.2"},
	"azp":   {"Which of several audiences it was made for.", "Security Framework 1.0 §5.1.2"},

	claimPrefix + "message_type":        {"What kind of message this is.", "LTI Core 1.3 §5.3.1"},
	claimPrefix + "version":             {"Always 1.3.0.", "LTI Core 1.3 §5.3.2"},
	claimPrefix + "deployment_id":       {"Where in the LMS the tool was added.", "LTI Core 1.3 §5.3.3"},
	claimPrefix + "target_link_uri":     {"Where the launch is to land.", "LTI Core 1.3 §5.3.4"},
	claimPrefix + "resource_link":       {"The activity that was opened; its id stays the same.", "LTI Core 1.3 §5.3.5"},
	claimPrefix + "roles":               {"What the person is; only roles of the membership are about this course.", "LTI Core 1.3 §5.3.7"},
	claimPrefix + "context":             {"The course.", "LTI Core 1.3 §5.4.1"},
	claimPrefix + "tool_platform":       {"The LMS: product, version, and which of its instances.", "LTI Core 1.3 §5.4.2"},
	claimPrefix + "role_scope_mentor":   {"Whom a mentor looks after.", "LTI Core 1.3 §5.4.3"},
	claimPrefix + "launch_presentation": {"How the tool is shown, in which language, and the way back.", "LTI Core 1.3 §5.4.4"},
	claimPrefix + "lis":                 {"Identifiers of the student information system.", "LTI Core 1.3 §5.4.5"},
	claimPrefix + "custom":              {"Custom parameters of the tool, the link or its placement.", "LTI Core 1.3 §5.4.6"},

	"name":        {"The person's full name.", specPerson},
	"given_name":  {"The person's given name.", specPerson},
	"family_name": {"The person's family name.", specPerson},
	"middle_name": {"The person's middle name.", specPerson},
	"email":       {"The person's e-mail address; no identifier.", specPerson},
	"picture":     {"A picture of the person.", specPerson},
	"locale":      {"The person's language.", specPerson},

	claimEndpoint: {"Where the tool may keep grades, and what for.", "AGS 2.0 §3.1"},
	claimMembers:  {"Where the tool may read the roster of the course.", "NRPS 2.0 §3.6.1.1"},

	claimDeepLink + "deep_linking_settings": {"What content is wanted, and where the answer goes.", specDeepAsk},
	claimDeepLink + "content_items":         {"The content that was chosen.", specDeepSay},
	claimDeepLink + "data":                  {"As it was in the request.", specDeepSay},
	claimDeepLink + "msg":                   {"What the person is to read.", specDeepSay},
	claimDeepLink + "errormsg":              {"What the person is to read of an error.", specDeepSay},
	claimDeepLink + "log":                   {"What the LMS is to log.", specDeepSay},
	claimDeepLink + "errorlog":              {"What the LMS is to log of an error.", specDeepSay},
}

// dateClaims are seconds since 1970.
var dateClaims = map[string]bool{"exp": true, "iat": true, "nbf": true, "auth_time": true}
