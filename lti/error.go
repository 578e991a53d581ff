package lti

import (
	"fmt"
	"maps"
)

// Mender says who can mend what a refusal is about.
type Mender string

// Those who can mend something.
const (
	MenderPlatform Mender = "administrator of the LMS"
	MenderTool     Mender = "administrator of the tool"
	MenderPerson   Mender = "the person"
	MenderNobody   Mender = "nobody: this looks like an attack"
)

// Code names a rule that a message broke. Codes are stable: they appear in logs,
// problem documents and docs/errors.md.
type Code string

// The codes.
const (
	CodeRequestMalformed       Code = "request_malformed"
	CodeRequestTooLarge        Code = "request_too_large"
	CodeIssuerMissing          Code = "issuer_missing"
	CodeLoginHintMissing       Code = "login_hint_missing"
	CodeTargetMissing          Code = "target_link_uri_missing"
	CodePlatformUnknown        Code = "platform_unknown"
	CodePlatformAmbiguous      Code = "platform_ambiguous"
	CodePlatformPending        Code = "platform_pending"
	CodeStateMissing           Code = "state_missing"
	CodeStateInvalid           Code = "state_invalid"
	CodeStateExpired           Code = "state_expired"
	CodeStateCookieMissing     Code = "state_cookie_missing"
	CodeStateCookieMismatch    Code = "state_cookie_mismatch"
	CodeStorageFailed          Code = "storage_failed"
	CodeTicketInvalid          Code = "ticket_invalid"
	CodeTicketExpired          Code = "ticket_expired"
	CodeTicketUsed             Code = "ticket_used"
	CodeTicketElsewhere        Code = "ticket_elsewhere"
	CodeTokenMissing           Code = "id_token_missing"
	CodeTokenMalformed         Code = "id_token_malformed"
	CodeTokenCritical          Code = "id_token_crit"
	CodeAlgorithmRefused       Code = "algorithm_refused"
	CodeKeyIDMissing           Code = "kid_missing"
	CodeKeyUnknown             Code = "kid_unknown"
	CodeKeysUnavailable        Code = "keys_unavailable"
	CodeSignatureInvalid       Code = "signature_invalid"
	CodeIssuerMismatch         Code = "issuer_mismatch"
	CodeAudienceMismatch       Code = "audience_mismatch"
	CodeAuthorizedParty        Code = "azp_mismatch"
	CodeTimestampMissing       Code = "timestamp_missing"
	CodeTokenExpired           Code = "token_expired"
	CodeTokenFromFuture        Code = "token_from_future"
	CodeTokenTooOld            Code = "token_too_old"
	CodeNonceMissing           Code = "nonce_missing"
	CodeNonceMismatch          Code = "nonce_mismatch"
	CodeNonceReused            Code = "nonce_reused"
	CodeVersionWrong           Code = "version_wrong"
	CodeMessageTypeMissing     Code = "message_type_missing"
	CodeMessageTypeUnwanted    Code = "message_type_unwanted"
	CodeDeploymentMissing      Code = "deployment_missing"
	CodeDeploymentUnknown      Code = "deployment_unknown"
	CodeDeploymentMismatch     Code = "deployment_mismatch"
	CodeTargetForeign          Code = "target_link_uri_foreign"
	CodeResourceLinkMissing    Code = "resource_link_missing"
	CodeRolesMissing           Code = "roles_missing"
	CodeDeepLinkingInvalid     Code = "deep_linking_settings_invalid"
	CodeDeepLinkMissing        Code = "deep_link_missing"
	CodeDeepLinkExpired        Code = "deep_link_expired"
	CodeDeepLinkUsed           Code = "deep_link_used"
	CodeDeepLinkRefused        Code = "deep_link_refused"
	CodeRosterMissing          Code = "roster_missing"
	CodeRosterFailed           Code = "roster_failed"
	CodeSubjectMissing         Code = "sub_missing"
	CodeSubjectInvalid         Code = "sub_invalid"
	CodeUserClaimMissing       Code = "user_claim_missing"
	CodeRoleRefused            Code = "role_refused"
	CodePlatformError          Code = "platform_error"
	CodeSessionMissing         Code = "session_missing"
	CodeStoreUnavailable       Code = "store_unavailable"
	CodePublicURLUnknown       Code = "public_url_unknown"
	CodeNotFound               Code = "not_found"
	CodeMethodNotAllowed       Code = "method_not_allowed"
	CodeRequestForeignOrigin   Code = "request_foreign_origin"
	CodeInviteRefused          Code = "invite_refused"
	CodeInviteExpired          Code = "invite_expired"
	CodeInviteUsed             Code = "invite_used"
	CodeTooManyAttempts        Code = "too_many_attempts"
	CodeRegistrationIncomplete Code = "registration_incomplete"
	CodeRegistrationFailed     Code = "registration_failed"
	CodeRegistrationRefused    Code = "registration_refused"
	CodeIssuerConfigured       Code = "issuer_configured"
)

// Rule is what is known of a code.
type Rule struct {
	Section string // of the specification, or empty
	Mender  Mender
	Status  int // HTTP status of the answer
}

var rules = map[Code]Rule{
	CodeRequestMalformed:       {"Security Framework §5.1.1", MenderPlatform, 400},
	CodeRequestTooLarge:        {"", MenderNobody, 413},
	CodeIssuerMissing:          {"Security Framework §5.1.1.1", MenderPlatform, 400},
	CodeLoginHintMissing:       {"Security Framework §5.1.1.1", MenderPlatform, 400},
	CodeTargetMissing:          {"Security Framework §5.1.1.1", MenderPlatform, 400},
	CodePlatformUnknown:        {"LTI 1.3 §3.1.3", MenderTool, 403},
	CodePlatformAmbiguous:      {"LTI 1.3 §4.1.3", MenderTool, 400},
	CodePlatformPending:        {"LTI 1.3 §3.1.3", MenderTool, 403},
	CodeStateMissing:           {"Security Framework §5.1.1.3", MenderPlatform, 400},
	CodeStateInvalid:           {"Security Framework §5.1.1.3", MenderNobody, 400},
	CodeStateExpired:           {"Security Framework §5.1.1.3", MenderPerson, 400},
	CodeStateCookieMissing:     {"Security Framework §5.1.1.3", MenderPerson, 403},
	CodeStateCookieMismatch:    {"Security Framework §5.1.1.3", MenderNobody, 403},
	CodeStorageFailed:          {"LTI OIDC Login with LTI Client Side postMessages", MenderPerson, 403},
	CodeTicketInvalid:          {"Security Framework §5.1.1.3", MenderNobody, 400},
	CodeTicketExpired:          {"Security Framework §5.1.1.3", MenderPerson, 400},
	CodeTicketUsed:             {"Security Framework §5.1.1.3", MenderPerson, 403},
	CodeTicketElsewhere:        {"Security Framework §5.1.1.3", MenderNobody, 403},
	CodeTokenMissing:           {"Security Framework §5.1.1.3", MenderPlatform, 400},
	CodeTokenMalformed:         {"Security Framework §5.1.2", MenderPlatform, 400},
	CodeTokenCritical:          {"RFC 7515 §4.1.11", MenderPlatform, 401},
	CodeAlgorithmRefused:       {"Security Framework §5.1.3 rule 6", MenderPlatform, 401},
	CodeKeyIDMissing:           {"Security Framework §6.3", MenderPlatform, 401},
	CodeKeyUnknown:             {"Security Framework §6.3", MenderPlatform, 401},
	CodeKeysUnavailable:        {"Security Framework §6.3", MenderPlatform, 401},
	CodeSignatureInvalid:       {"Security Framework §5.1.3 rule 1", MenderNobody, 401},
	CodeIssuerMismatch:         {"Security Framework §5.1.3 rule 2", MenderTool, 401},
	CodeAudienceMismatch:       {"Security Framework §5.1.3 rule 3", MenderTool, 401},
	CodeAuthorizedParty:        {"Security Framework §5.1.3 rule 5", MenderPlatform, 401},
	CodeTimestampMissing:       {"Security Framework §5.1.2", MenderPlatform, 401},
	CodeTokenExpired:           {"Security Framework §5.1.3 rule 7", MenderPerson, 401},
	CodeTokenFromFuture:        {"Security Framework §5.1.3 rule 8", MenderPlatform, 401},
	CodeTokenTooOld:            {"Security Framework §5.1.3 rule 8", MenderPlatform, 401},
	CodeNonceMissing:           {"Security Framework §5.1.3 rule 9", MenderPlatform, 401},
	CodeNonceMismatch:          {"Security Framework §5.1.3 rule 9", MenderNobody, 401},
	CodeNonceReused:            {"Security Framework §5.1.3 rule 9", MenderPerson, 401},
	CodeVersionWrong:           {"LTI 1.3 §5.3.2", MenderPlatform, 400},
	CodeMessageTypeMissing:     {"LTI 1.3 §5.3.1", MenderPlatform, 400},
	CodeMessageTypeUnwanted:    {"LTI 1.3 §5.3.1", MenderTool, 400},
	CodeDeploymentMissing:      {"LTI 1.3 §5.3.3", MenderPlatform, 400},
	CodeDeploymentUnknown:      {"LTI 1.3 §5.3.3", MenderTool, 403},
	CodeDeploymentMismatch:     {"LTI 1.3 §4.1.2", MenderPlatform, 400},
	CodeTargetForeign:          {"LTI 1.3 §5.3.4", MenderPlatform, 400},
	CodeResourceLinkMissing:    {"LTI 1.3 §5.3.5", MenderPlatform, 400},
	CodeRolesMissing:           {"LTI 1.3 §5.3.7", MenderPlatform, 400},
	CodeDeepLinkingInvalid:     {"Deep Linking 2.0 §4.4", MenderPlatform, 400},
	CodeDeepLinkMissing:        {"Deep Linking 2.0 §4.4", MenderPerson, 409},
	CodeDeepLinkExpired:        {"Deep Linking 2.0 §4.5", MenderPerson, 410},
	CodeDeepLinkUsed:           {"Deep Linking 2.0 §4.5", MenderPerson, 409},
	CodeDeepLinkRefused:        {"Deep Linking 2.0 §4.5", MenderTool, 422},
	CodeRosterMissing:          {"Names and Role Provisioning 2.0 §3.6.1.1", MenderPlatform, 409},
	CodeRosterFailed:           {"Names and Role Provisioning 2.0 §2", MenderPlatform, 502},
	CodeSubjectMissing:         {"LTI 1.3 §5.3.6", MenderPlatform, 400},
	CodeSubjectInvalid:         {"LTI 1.3 §5.3.6", MenderPlatform, 400},
	CodeUserClaimMissing:       {"LTI 1.3 §5.4", MenderPlatform, 403},
	CodeRoleRefused:            {"LTI 1.3 §5.3.7", MenderTool, 403},
	CodePlatformError:          {"OpenID Connect Core §3.1.2.6", MenderPlatform, 403},
	CodeSessionMissing:         {"", MenderPerson, 401},
	CodeStoreUnavailable:       {"", MenderTool, 503},
	CodePublicURLUnknown:       {"", MenderTool, 421},
	CodeNotFound:               {"", MenderPerson, 404},
	CodeMethodNotAllowed:       {"", MenderPerson, 405},
	CodeRequestForeignOrigin:   {"", MenderNobody, 403},
	CodeInviteRefused:          {"", MenderTool, 403},
	CodeInviteExpired:          {"", MenderTool, 403},
	CodeInviteUsed:             {"", MenderTool, 403},
	CodeTooManyAttempts:        {"", MenderNobody, 429},
	CodeRegistrationIncomplete: {"Dynamic Registration 1.0 §3.2", MenderPlatform, 400},
	CodeRegistrationFailed:     {"Dynamic Registration 1.0 §3", MenderPlatform, 400},
	CodeRegistrationRefused:    {"Dynamic Registration 1.0 §3.5", MenderTool, 400},
	CodeIssuerConfigured:       {"Dynamic Registration 1.0 §3", MenderTool, 409},
}

// Codes returns every code with what is known of it.
func Codes() map[Code]Rule {
	return maps.Clone(rules)
}

// Error is a refusal: a message that broke a rule.
type Error struct {
	Code Code
	// Detail says what was found, for the log. It holds neither personal data
	// nor secrets, and what a stranger chose in it is quoted and cut.
	Detail string
	// Err is the cause, if there is one behind the rule.
	Err error
}

// Rule returns section, mender and status of the error's code.
func (e *Error) Rule() Rule { return rules[e.Code] }

func (e *Error) Error() string {
	s := string(e.Code)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Refuse makes an Error whose detail is formatted.
func Refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Quote returns s quoted and cut to a length that a log line bears. Use it for
// whatever a stranger chose.
func Quote(s string) string {
	const limit = 200
	if len(s) > limit {
		return fmt.Sprintf("%q…", s[:limit])
	}
	return fmt.Sprintf("%q", s)
}
