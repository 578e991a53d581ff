package lti

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/jose"
	"github.com/caddy-lti/lti/internal/strictjson"
)

// DefaultLeeway is how far the clocks of platform and tool may differ where
// nothing else is configured; MaxLeeway is the most that can be.
const (
	DefaultLeeway = 60 * time.Second
	MaxLeeway     = 5 * time.Minute
)

// MaxTokenAge is how long after its iat a token may be used, whatever its exp
// says (Security Framework §5.1.3 rule 8 leaves the window to the tool).
const MaxTokenAge = 10 * time.Minute

// Algorithms returns the signature algorithms that a platform may use unless it
// is configured otherwise. Never among them: none and the symmetric ones.
func Algorithms() []string { return slices.Clone(jose.Algorithms) }

// KeySet checks signatures with the keys of one platform.
type KeySet interface {
	// VerifySignature returns the payload of a compact JWS that one of the
	// platform's keys has signed with one of the algorithms. A key that the set
	// does not hold has to be asked for anew before it is ErrKeyUnknown.
	VerifySignature(ctx context.Context, compact string, algorithms []string) ([]byte, error)
}

// Errors that a KeySet returns, besides those about the token itself.
var (
	ErrKeyUnknown      = errors.New("the platform's key set has no such key")
	ErrKeysUnavailable = errors.New("the platform's key set cannot be had")
)

// Expected is what the tool sent and now has to find again.
type Expected struct {
	Nonce string
	// Deployment is the lti_deployment_id of the login, if there was one.
	Deployment string
}

// Verifier decides whether an id_token is to be believed.
type Verifier struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Anonymous allows launches without sub.
	Anonymous bool
	// Accepts reports whether a message type other than LtiResourceLinkRequest
	// is wanted; nil wants none.
	Accepts func(messageType string) bool
	// Passed is called with each check that found nothing wrong; nil is not.
	Passed func(Check)
}

// Check is a step of [Verifier.Verify].
type Check string

// The checks, in their order.
const (
	CheckSignature   Check = "signature"    // by a key of the platform
	CheckParties     Check = "parties"      // iss, aud and azp
	CheckTimes       Check = "times"        // exp, iat and nbf
	CheckNonce       Check = "nonce"        // of this login
	CheckMessage     Check = "message"      // version, message type and resource link
	CheckDeployment  Check = "deployment"   // of this platform
	CheckPerson      Check = "person"       // roles and sub
	CheckTarget      Check = "target"       // target_link_uri
	CheckDeepLinking Check = "deep_linking" // what a deep-linking request has
)

// Verify checks an id_token of platform p by every rule of Security Framework
// §5.1.3 and LTI 1.3 §5.3. What it returns is an *Error. The nonce has been
// compared but not consumed: that is the next step of the caller.
func (v *Verifier) Verify(ctx context.Context, p *Platform, keys KeySet, idToken string, want Expected) (*Launch, error) {
	payload, err := keys.VerifySignature(ctx, idToken, p.Algorithms)
	if err != nil {
		return nil, signatureError(err)
	}
	obj, err := strictjson.Object(payload)
	if err != nil {
		return nil, &Error{Code: CodeTokenMalformed, Detail: "the payload is not a set of claims", Err: err}
	}
	v.passed(CheckSignature)
	m := members(obj)
	l := &Launch{Issuer: p.Issuer, ClientID: p.ClientID}
	for _, check := range []struct {
		name Check
		do   func() error
	}{
		{CheckParties, func() error { return checkParties(m, p) }},
		{CheckTimes, func() error { return v.checkTimes(m, p, l) }},
		{CheckNonce, func() error { return checkNonce(m, want.Nonce) }},
		{CheckMessage, func() error { return v.checkMessage(m, l) }},
		{CheckDeployment, func() error { return checkDeployment(m, p, want.Deployment, l) }},
		{CheckPerson, func() error { return v.checkPerson(m, l) }},
		{CheckTarget, func() error { return checkTarget(m, l) }},
		{CheckDeepLinking, func() error { return checkDeepLinking(m, l) }},
	} {
		if err := check.do(); err != nil {
			return nil, err
		}
		v.passed(check.name)
	}
	readOptional(m, l)
	return l, nil
}

func (v *Verifier) passed(c Check) {
	if v.Passed != nil {
		v.Passed(c)
	}
}

func signatureError(err error) *Error {
	code := CodeSignatureInvalid
	switch {
	case errors.Is(err, jose.ErrMalformed):
		code = CodeTokenMalformed
	case errors.Is(err, jose.ErrCritical):
		code = CodeTokenCritical
	case errors.Is(err, jose.ErrAlgorithm):
		code = CodeAlgorithmRefused
	case errors.Is(err, jose.ErrNoKeyID):
		code = CodeKeyIDMissing
	case errors.Is(err, ErrKeyUnknown):
		code = CodeKeyUnknown
	case errors.Is(err, ErrKeysUnavailable):
		code = CodeKeysUnavailable
	}
	return &Error{Code: code, Err: err}
}

// checkParties holds iss, aud and azp against the registration, which comes
// from the state and never from the token (rules 2 to 5).
func checkParties(m members, p *Platform) error {
	if iss, _ := m.exact("iss"); iss != p.Issuer {
		return Refuse(CodeIssuerMismatch, "iss is %s, the platform is registered as %s", Quote(iss), Quote(p.Issuer))
	}
	var aud []string
	if one, ok := m.exact("aud"); ok {
		aud = []string{one}
	} else if json.Unmarshal(m["aud"], &aud) != nil {
		return Refuse(CodeAudienceMismatch, "aud is neither a string nor a list of strings")
	}
	if !slices.Contains(aud, p.ClientID) {
		return Refuse(CodeAudienceMismatch, "aud does not contain the client id %s", Quote(p.ClientID))
	}
	for _, a := range aud {
		if a != p.ClientID {
			return Refuse(CodeAudienceMismatch, "aud names %s besides the client id, which is not trusted", Quote(a))
		}
	}
	if m.present("azp") {
		if azp, _ := m.exact("azp"); azp != p.ClientID {
			return Refuse(CodeAuthorizedParty, "azp is %s, the client id is %s", Quote(azp), Quote(p.ClientID))
		}
	}
	return nil
}

// checkTimes holds exp, iat and nbf against the clock (rules 7 and 8).
func (v *Verifier) checkTimes(m members, p *Platform, l *Launch) error {
	now := time.Now
	if v.Now != nil {
		now = v.Now
	}
	t := now()
	var ok bool
	if l.Expires, ok = m.seconds("exp"); !ok {
		return Refuse(CodeTimestampMissing, "exp is missing or not a number of seconds since 1970")
	}
	if l.IssuedAt, ok = m.seconds("iat"); !ok {
		return Refuse(CodeTimestampMissing, "iat is missing or not a number of seconds since 1970")
	}
	if late := t.Sub(l.Expires); late >= p.Leeway {
		return Refuse(CodeTokenExpired, "the token expired %s ago (leeway %s); compare the clocks if this happens at once", late.Round(time.Second), p.Leeway)
	}
	if early := l.IssuedAt.Sub(t); early > p.Leeway {
		return Refuse(CodeTokenFromFuture, "iat is %s ahead of this server's clock (leeway %s); compare the clocks", early.Round(time.Second), p.Leeway)
	}
	if age := t.Sub(l.IssuedAt); age > MaxTokenAge+p.Leeway {
		return Refuse(CodeTokenTooOld, "the token was issued %s ago, more than %s", age.Round(time.Second), MaxTokenAge)
	}
	if m.present("nbf") {
		nbf, ok := m.seconds("nbf")
		if !ok {
			return Refuse(CodeTimestampMissing, "nbf is not a number of seconds since 1970")
		}
		if early := nbf.Sub(t); early > p.Leeway {
			return Refuse(CodeTokenFromFuture, "nbf is %s ahead of this server's clock (leeway %s); compare the clocks", early.Round(time.Second), p.Leeway)
		}
	}
	return nil
}

func checkNonce(m members, want string) error {
	nonce, ok := m.exact("nonce")
	if !ok || nonce == "" {
		return Refuse(CodeNonceMissing, "the token has no nonce")
	}
	if subtle.ConstantTimeCompare([]byte(nonce), []byte(want)) != 1 {
		return Refuse(CodeNonceMismatch, "the nonce is not the one of this login")
	}
	return nil
}

func (v *Verifier) checkMessage(m members, l *Launch) error {
	if version, _ := m.exact(claimVersion); version != Version {
		return Refuse(CodeVersionWrong, "version is %s, expected %s", Quote(version), Version)
	}
	typ, ok := m.exact(claimMessageType)
	if !ok || typ == "" {
		return Refuse(CodeMessageTypeMissing, "the token has no message_type")
	}
	if typ != MessageResourceLink && (v.Accepts == nil || !v.Accepts(typ)) {
		return Refuse(CodeMessageTypeUnwanted, "message type %s is not configured here", Quote(typ))
	}
	l.MessageType = typ
	link := m.object(claimResourceLink)
	id, _ := link.exact("id")
	switch {
	case validID(id):
		l.ResourceLink = ResourceLink{ID: id, Title: link.text("title")}
	case typ == MessageResourceLink:
		return Refuse(CodeResourceLinkMissing, "resource_link has no id, or one that is not 1 to %d ASCII characters", maxID)
	}
	return nil
}

func checkDeployment(m members, p *Platform, atLogin string, l *Launch) error {
	id, _ := m.exact(claimDeploymentID)
	if !validID(id) {
		return Refuse(CodeDeploymentMissing, "the token has no deployment_id, or one that is not 1 to %d ASCII characters", maxID)
	}
	if atLogin != "" && id != atLogin {
		return Refuse(CodeDeploymentMismatch, "deployment_id is %s, the login said %s", Quote(id), Quote(atLogin))
	}
	if !p.HasDeployment(id) {
		return Refuse(CodeDeploymentUnknown, "deployment %s is not among those of the platform; if it is yours, write: deployment %s", Quote(id), id)
	}
	l.DeploymentID = id
	return nil
}

func (v *Verifier) checkPerson(m members, l *Launch) error {
	if !m.present(claimRoles) {
		return Refuse(CodeRolesMissing, "the token has no roles (an empty list would do)")
	}
	var roles []any
	if json.Unmarshal(m[claimRoles], &roles) != nil {
		return Refuse(CodeRolesMissing, "roles is not a list")
	}
	for _, r := range roles {
		if s, ok := r.(string); ok && s != "" {
			if s = NormalizeRole(s); !slices.Contains(l.Roles, s) {
				l.Roles = append(l.Roles, s)
			}
		}
	}
	sub, isText := m.exact("sub")
	switch {
	case sub == "" && (isText || !m.present("sub")):
		if !v.Anonymous {
			return Refuse(CodeSubjectMissing, "the token has no sub: the platform does not say who this is (anonymous launches are refused unless configured)")
		}
	case !isText || !validID(sub) || strings.Trim(sub, " ") != sub:
		return Refuse(CodeSubjectInvalid, "sub is not a string of 1 to %d ASCII characters without spaces around it", maxID)
	}
	l.Subject = sub
	return nil
}

func checkTarget(m members, l *Launch) error {
	target, _ := m.exact(claimTargetLinkURI)
	if target == "" {
		return Refuse(CodeTargetMissing, "the token has no target_link_uri")
	}
	if len(target) > maxURL {
		return Refuse(CodeRequestTooLarge, "target_link_uri is longer than %d bytes", maxURL)
	}
	l.TargetLinkURI = target
	return nil
}

// maxReturnURL is more than the others may have: a platform may keep all that it
// wants to know again in there.
const maxReturnURL = 16 << 10

// returnHost has what may stand in a host of a content security policy, for one
// has to name it.
var returnHost = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?$`)

// checkDeepLinking reads what a deep-linking request must have (Deep Linking 2.0
// §4.4). No other message gets a place to answer to.
func checkDeepLinking(m members, l *Launch) error {
	if l.MessageType != MessageDeepLinking {
		return nil
	}
	set := m.object(claimDeepLinking)
	if set == nil {
		return Refuse(CodeDeepLinkingInvalid, "the token has no deep_linking_settings")
	}
	dl := DeepLinking{Title: set.text("title"), Text: set.text("text"), AcceptLineItem: set.boolean("accept_lineitem")}
	dl.ReturnURL, _ = set.exact("deep_link_return_url")
	if dl.ReturnURL == "" {
		return Refuse(CodeDeepLinkingInvalid, "deep_link_return_url is missing: there is no place to answer to")
	}
	if len(dl.ReturnURL) > maxReturnURL {
		return Refuse(CodeDeepLinkingInvalid, "deep_link_return_url is longer than %d bytes", maxReturnURL)
	}
	u, err := httpx.CheckURL(dl.ReturnURL)
	if err != nil {
		return &Error{Code: CodeDeepLinkingInvalid, Detail: "deep_link_return_url cannot be posted to", Err: err}
	}
	if !returnHost.MatchString(u.Host) {
		return Refuse(CodeDeepLinkingInvalid, "deep_link_return_url has a host that cannot be posted to: %s", Quote(u.Host))
	}
	if dl.AcceptTypes, _ = set.list("accept_types"); len(dl.AcceptTypes) == 0 {
		return Refuse(CodeDeepLinkingInvalid, "accept_types is missing, or lists no type: nothing could be answered")
	}
	var ok bool
	if dl.AcceptTargets, ok = set.list("accept_presentation_document_targets"); !ok {
		return Refuse(CodeDeepLinkingInvalid, "accept_presentation_document_targets is missing or not a list")
	}
	if dl.AcceptMediaTypes, ok = set.list("accept_media_types"); !ok {
		for typ := range strings.SplitSeq(set.text("accept_media_types"), ",") {
			if typ = strings.TrimSpace(typ); typ != "" {
				dl.AcceptMediaTypes = append(dl.AcceptMediaTypes, typ)
			}
		}
	}
	if multiple := set.boolean("accept_multiple"); multiple != nil {
		dl.AcceptMultiple = *multiple
	}
	if create := set.boolean("auto_create"); create != nil {
		dl.AutoCreate = *create
	}
	if set.present("data") {
		dl.Data = set["data"]
	}
	l.DeepLinking = dl
	return nil
}

func readOptional(m members, l *Launch) {
	ctx := m.object(claimContext)
	l.Context = Context{ID: ctx.text("id"), Label: ctx.text("label"), Title: ctx.text("title")}
	pres := m.object(claimPresentation)
	l.Presentation = Presentation{
		DocumentTarget: pres.text("document_target"),
		ReturnURL:      pres.text("return_url"),
		Locale:         pres.text("locale"),
	}
	plat := m.object(claimToolPlatform)
	l.ToolPlatform = ToolPlatform{
		GUID: plat.text("guid"), URL: plat.text("url"), Name: plat.text("name"),
		Family: plat.text("product_family_code"), Version: plat.text("version"),
	}
	l.Name = m.text("name")
	l.GivenName = m.text("given_name")
	l.FamilyName = m.text("family_name")
	l.Email = m.text("email")
	// What the activity is shown in comes before what the person prefers.
	l.Locale = cmp.Or(l.Presentation.Locale, m.text("locale"))
	l.PersonSourcedID = m.object(claimLIS).text("person_sourcedid")
	l.Username = m.object(claimExt).text("user_username")
	grades := m.object(claimGrades)
	l.Grades = GradeService{LineItems: grades.text("lineitems"), LineItem: grades.text("lineitem")}
	_ = json.Unmarshal(grades["scope"], &l.Grades.Scopes) // another shape grants nothing
	l.Roster = readRoster(m.object(claimRoster))
	l.Custom = m.custom()
}

// rosterVersion is the version of Names and Role Provisioning Services that is
// known here.
const rosterVersion = "2.0"

func readRoster(m members) RosterService {
	versions, _ := m.list("service_versions")
	url := m.text("context_memberships_url")
	if url == "" || len(versions) > 0 && !slices.Contains(versions, rosterVersion) {
		return RosterService{}
	}
	return RosterService{URL: url, Versions: versions}
}
