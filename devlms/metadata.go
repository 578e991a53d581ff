package devlms

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-lti/lti/internal/strictjson"
)

// toolMember and platformMember are what LTI adds to registrations and to the
// configuration of platforms (LTI Dynamic Registration 1.0 §3).
const (
	toolMember     = "https://purl.imsglobal.org/spec/lti-tool-configuration"
	platformMember = "https://purl.imsglobal.org/spec/lti-platform-configuration"
)

// Values of a registration that are always the same.
const (
	applicationType = "web"
	responseType    = "id_token"
	implicitGrant   = "implicit"
	authMethod      = "private_key_jwt"
	signingAlg      = "RS256"
)

// placeContent is where teachers add content to a course, the only placement that
// there is here.
const placeContent = "ContentArea"

// claimsSupported are what tools can ask for.
var claimsSupported = []string{"iss", "sub", claimName, claimGivenName, claimFamilyName, claimEmail, claimLocale}

// Codes of refusals (OpenID Connect Registration §3.3, RFC 6750 §3.1).
const (
	invalidRedirectURI = "invalid_redirect_uri"
	invalidMetadata    = "invalid_client_metadata"
	invalidToken       = "invalid_token"
)

// metadata is the registration of a tool, of what it asked for that which this
// LMS has.
type metadata struct {
	ClientName   string
	LoginURL     string
	RedirectURIs []string
	JWKSURL      string

	Logo, Home, Policy, Terms string
	Contacts                  []string

	Scopes []string

	Description string
	Domain      string
	Secondary   []string
	Target      string
	Custom      map[string]string
	Claims      []string
	Messages    []*toolMessage

	// spoken are the texts in certain languages, by member, such as client_name#de.
	spoken map[string]string
}

// toolMessage is one of the messages that a tool takes.
type toolMessage struct {
	Type, Target, Label string
	icon                string
	places, roles       []string
	custom              map[string]string
	spoken              map[string]string
}

// deepLinking returns the message that content is added with, or nil.
func (m *metadata) deepLinking() *toolMessage {
	i := slices.IndexFunc(m.Messages, func(one *toolMessage) bool { return one.Type == messageDeepLink })
	if i < 0 {
		return nil
	}
	return m.Messages[i]
}

// links are what teachers can put into a course: the messages that ask for it or,
// for every tool can be launched, the tool itself.
func (m *metadata) links() []*toolMessage {
	var links []*toolMessage
	for _, one := range m.Messages {
		if one.Type == messageResourceLink {
			links = append(links, one)
		}
	}
	if links == nil {
		links = append(links, &toolMessage{Type: messageResourceLink, Target: m.Target, Label: m.ClientName})
	}
	return links
}

// readMetadata checks a registration by the rules of LTI Dynamic Registration 1.0
// §3.5.2 and OpenID Connect Registration §2. What it says of members that nobody
// knows is ignored, and so is null.
func readMetadata(data []byte, gives func(scope string) bool) (*metadata, *authError) {
	r := &metadataReader{newItemReader(data)}
	r.ready()
	m := &metadata{ClientName: r.required("client_name"), spoken: r.spoken("client_name")}
	r.only("application_type", applicationType)
	r.includes("response_types", responseType)
	r.includes("grant_types", implicitGrant, grantType)
	r.only("token_endpoint_auth_method", authMethod)
	m.LoginURL = r.address("initiate_login_uri", true)
	m.JWKSURL = r.address("jwks_uri", true)
	m.Logo, m.Home = r.address("logo_uri", false), r.address("client_uri", false)
	m.Policy, m.Terms = r.address("policy_uri", false), r.address("tos_uri", false)
	m.Contacts = r.texts("contacts", false)
	for scope := range strings.FieldsSeq(r.text("scope")) {
		known := scope == scopeOpenID || slices.Contains(allScopes(), scope)
		if known && gives(scope) && !slices.Contains(m.Scopes, scope) {
			m.Scopes = append(m.Scopes, scope)
		}
	}
	if own := r.part(toolMember); own == nil {
		r.fail(toolMember, "is missing")
	} else {
		own.where = ".lti-tool-configuration"
		own.toolConfiguration(m)
	}
	if problem := r.problem; problem != "" {
		if problem[0] == ' ' {
			problem = "the registration" + problem
		}
		return nil, &authError{invalidMetadata, strings.TrimPrefix(problem, ".")}
	}
	if m.RedirectURIs = r.texts("redirect_uris", true); len(m.RedirectURIs) == 0 {
		r.fail("redirect_uris", "is empty")
	}
	for _, u := range m.RedirectURIs {
		r.checkAddress("redirect_uris", u)
	}
	if problem := r.problem; problem != "" {
		return nil, &authError{invalidRedirectURI, strings.TrimPrefix(problem, ".")}
	}
	return m, nil
}

// toolConfiguration reads the part that is LTI's own.
func (r *metadataReader) toolConfiguration(m *metadata) {
	m.Domain, m.Secondary = r.required("domain"), r.texts("secondary_domains", false)
	for _, domain := range append([]string{m.Domain}, m.Secondary...) {
		if domain != "" && !host.MatchString(domain) {
			r.fail("domain", "is not the name of a host, without scheme and path")
		}
	}
	m.Target = r.covered(m, "target_link_uri", true)
	m.Description = r.text("description")
	m.Custom, m.Claims = r.parameters(), []string{}
	for _, claim := range r.texts("claims", true) {
		if slices.Contains(claimsSupported, claim) && !slices.Contains(m.Claims, claim) {
			m.Claims = append(m.Claims, claim)
		}
	}
	raw, ok := r.take("messages")
	var list []json.RawMessage
	if !ok || json.Unmarshal(raw, &list) != nil || list == nil {
		r.fail("messages", "is missing or not an array")
	}
	for n, raw := range list {
		inner := &metadataReader{&itemReader{root: r.root, where: fmt.Sprintf("%s.messages[%d]", r.where, n)}}
		inner.read(raw)
		inner.ready()
		if one := inner.message(m); one != nil {
			m.Messages = append(m.Messages, one)
		}
	}
}

// message reads one of the messages. It is nil if it is not for this LMS.
func (r *metadataReader) message(m *metadata) *toolMessage {
	one := &toolMessage{
		Type: r.required("type"), Target: r.covered(m, "target_link_uri", false), Label: r.text("label"), spoken: r.spoken("label"),
		icon: r.address("icon_uri", false), places: r.texts("placements", false), roles: r.texts("roles", false), custom: r.parameters(),
	}
	if one.Target == "" {
		one.Target = m.Target
	}
	if one.Label == "" {
		one.Label = m.ClientName
	}
	elsewhere := len(one.places) > 0 && !slices.Contains(one.places, placeContent)
	if one.Type != messageResourceLink && one.Type != messageDeepLink || elsewhere {
		return nil
	}
	if one.places != nil {
		one.places = []string{placeContent}
	}
	return one
}

// metadataReader reads the members of a registration.
type metadataReader struct{ *itemReader }

// ready takes away the members that are null.
func (r *metadataReader) ready() {
	maps.DeleteFunc(r.members, func(_ string, raw json.RawMessage) bool { return string(raw) == "null" })
}

func (r *metadataReader) part(name string) *metadataReader {
	inner := r.object(name)
	if inner == nil {
		return nil
	}
	part := &metadataReader{inner}
	part.ready()
	return part
}

// only reads a text that can only be one; it has to be there.
func (r *metadataReader) only(name, want string) {
	if r.text(name) != want {
		r.fail(name, "must be "+want)
	}
}

// texts reads an array of texts.
func (r *metadataReader) texts(name string, required bool) []string {
	raw, ok := r.take(name)
	if !ok {
		if required {
			r.fail(name, "is missing")
		}
		return nil
	}
	var list []*string
	if json.Unmarshal(raw, &list) != nil || slices.Contains(list, nil) {
		r.fail(name, "is not an array of strings")
		return nil
	}
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = *s
	}
	return texts
}

// includes reads an array that has to hold certain texts.
func (r *metadataReader) includes(name string, want ...string) {
	list := r.texts(name, true)
	for _, w := range want {
		if !slices.Contains(list, w) {
			r.fail(name, "must have "+w)
		}
	}
}

// address reads a URL of the tool.
func (r *metadataReader) address(name string, required bool) string {
	s := r.text(name)
	switch {
	case s != "":
		r.checkAddress(name, s)
	case required:
		r.fail(name, "is missing or empty")
	}
	return s
}

func (r *metadataReader) checkAddress(name, raw string) {
	if err := checkURL(raw); err != nil {
		r.fail(name, "has a "+truncate(err.Error()))
		return
	}
	if u, err := url.Parse(raw); err != nil || !host.MatchString(u.Host) {
		r.fail(name, "has a URL whose host cannot be one")
	}
}

// covered reads a URL that people are sent to. It has to be of the tool's domains.
func (r *metadataReader) covered(m *metadata, name string, required bool) string {
	raw := r.address(name, required)
	if u, err := url.Parse(raw); raw != "" && err == nil {
		is := func(domain string) bool {
			return strings.EqualFold(domain, u.Host) || strings.EqualFold(domain, u.Hostname())
		}
		if !is(m.Domain) && !slices.ContainsFunc(m.Secondary, is) {
			r.fail(name, "is not at domain, nor at one of secondary_domains")
		}
	}
	return raw
}

// spoken reads the variants of a text (OpenID Connect Registration §2.1).
func (r *metadataReader) spoken(name string) map[string]string {
	variants := make(map[string]string)
	for _, member := range slices.Sorted(maps.Keys(r.members)) {
		if strings.HasPrefix(member, name+"#") {
			variants[member] = r.text(member)
		}
	}
	return variants
}

// parameters reads custom parameters.
func (r *metadataReader) parameters() map[string]string {
	raw, ok := r.take("custom_parameters")
	if !ok {
		return nil
	}
	members, err := strictjson.Object(raw)
	if err != nil {
		r.fail("custom_parameters", "is not an object")
	}
	params := make(map[string]string, len(members))
	for name, raw := range members {
		value, ok := jsonText(raw)
		if !ok || name == "" {
			r.fail("custom_parameters", "has something else than strings under names")
		}
		params[name] = value
	}
	return params
}

// registered is the answer to a registration: what is registered, and as whom
// (OpenID Connect Registration §3.2).
func (a *applicant) registered(how Registration) map[string]any {
	own := map[string]any{
		"domain": a.Domain, "target_link_uri": a.Target, "claims": a.Claims,
	}
	put := func(in map[string]any, name string, value any, is bool) {
		if is {
			in[name] = value
		}
	}
	put(own, "secondary_domains", a.Secondary, len(a.Secondary) > 0)
	put(own, "description", a.Description, a.Description != "")
	put(own, "custom_parameters", a.Custom, a.Custom != nil)
	messages := make([]map[string]any, len(a.Messages))
	for i, m := range a.Messages {
		messages[i] = map[string]any{"type": m.Type, "target_link_uri": m.Target, "label": m.Label}
		put(messages[i], "icon_uri", m.icon, m.icon != "")
		put(messages[i], "placements", m.places, m.places != nil)
		put(messages[i], "roles", m.roles, m.roles != nil)
		put(messages[i], "custom_parameters", m.custom, m.custom != nil)
		for name, text := range m.spoken {
			messages[i][name] = text
		}
	}
	own["messages"] = messages
	answer := map[string]any{
		"client_id": a.ClientID, "application_type": applicationType,
		"response_types": []string{responseType}, "grant_types": []string{implicitGrant, grantType},
		"token_endpoint_auth_method": authMethod, "client_name": a.ClientName,
		"initiate_login_uri": a.LoginURL, "redirect_uris": a.RedirectURIs, "jwks_uri": a.JWKSURL,
		"scope": strings.Join(a.Scopes, " "), toolMember: own,
	}
	for name, uri := range map[string]string{"logo_uri": a.Logo, "client_uri": a.Home, "policy_uri": a.Policy, "tos_uri": a.Terms} {
		put(answer, name, uri, uri != "")
	}
	put(answer, "contacts", a.Contacts, len(a.Contacts) > 0)
	for name, text := range a.spoken {
		answer[name] = text
	}
	put(own, "deployment_id", a.Deployment, how.Deployment == "" || how.Deployment == deploymentTool)
	put(answer, "deployment_id", a.Deployment, how.Deployment == deploymentTop)
	put(answer, "application_type", []string{applicationType}, how.ApplicationType == typeArray)
	return answer
}
