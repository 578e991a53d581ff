package dynreg

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/loosejson"
	"github.com/caddy-lti/lti/internal/service"
	"github.com/caddy-lti/lti/internal/strictjson"
)

// Configuration is a platform's, as far as a tool needs it. Lists are nil where
// the platform does not say.
type Configuration struct {
	Issuer                string // byte for byte
	AuthorizationEndpoint string // may have a query
	TokenEndpoint         string
	JWKSURI               string // see KeysURL
	RegistrationEndpoint  string // Blackboard's has the token in its query: a secret
	AuthorizationServer   string // see TokenAudience

	Scopes []string
	Claims []string

	Product   string // product_family_code, such as moodle; see Guess
	Version   string
	Messages  []Supported
	Variables []string // for custom parameters, without the $
}

// Supported is a message type that a platform can send.
type Supported struct {
	Type       string
	Placements []string // nil if the platform does not say
}

const (
	memberPlatform = "https://purl.imsglobal.org/spec/lti-platform-configuration"
	memberTool     = "https://purl.imsglobal.org/spec/lti-tool-configuration"
)

// What a registration asks for is the default of OpenID Connect Registration §2,
// and what we sign with.
const (
	algorithm  = "RS256"
	authMethod = "private_key_jwt"
	response   = "id_token"
)

// foreignIssuers are the issuers whose configuration comes from another host:
// issuer by that host. Whoever serves something from there can speak for the
// issuer, so it takes a vendor's word to get into this list.
var foreignIssuers = map[string]string{
	"developer.blackboard.com": "https://blackboard.com",
}

// ParseConfiguration reads a platform's configuration (OpenID Connect Discovery
// §3) that came from a URL, without a redirect. The error is an [*Error].
//
// The issuer must live where the document came from; the endpoints need not:
// Brightspace's token service, and Canvas's of late, have hosts of their own.
// Other members may be missing or odd.
func ParseConfiguration(data []byte, from string) (*Configuration, error) {
	source, problem := checkURL(from)
	if problem != "" {
		return nil, badSource(problem)
	}
	obj, err := strictjson.Object(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	if err != nil {
		return nil, malformed(opDiscover, "the address that the platform gave for its configuration holds something else: "+err.Error(), err)
	}
	m := loosejson.Members(obj)
	var bad notes
	cfg := &Configuration{
		Issuer:                issuer(m, source, &bad),
		AuthorizationEndpoint: endpoint(m, "authorization_endpoint", &bad),
		TokenEndpoint:         endpoint(m, "token_endpoint", &bad),
		JWKSURI:               endpoint(m, "jwks_uri", &bad),
		RegistrationEndpoint:  endpoint(m, "registration_endpoint", &bad),
		AuthorizationServer:   service.Sanitize(m.Text("authorization_server"), maxURL),
		Scopes:                list(m["scopes_supported"]),
		Claims:                list(m["claims_supported"]),
	}
	for member, needed := range map[string]string{
		"id_token_signing_alg_values_supported":            algorithm,
		"token_endpoint_auth_signing_alg_values_supported": algorithm,
		"token_endpoint_auth_methods_supported":            authMethod,
		"response_types_supported":                         response,
	} {
		if has := list(m[member]); has != nil && !slices.Contains(has, needed) {
			bad.add(member, "lacks "+needed+", which LTI requires")
		}
	}
	if len(bad) > 0 {
		slices.SortStableFunc(bad, func(a, b Note) int { return strings.Compare(a.Member, b.Member) })
		return nil, malformed(opDiscover, "the platform's configuration cannot be used", nil, bad...)
	}

	var pm loosejson.Members
	if json.Unmarshal(m[memberPlatform], &pm) == nil {
		cfg.Product = service.Sanitize(pm.Text("product_family_code"), maxText)
		cfg.Version = service.Sanitize(pm.Text("version"), maxText)
		cfg.Messages = messages(pm)
		cfg.Variables = list(pm["variables"])
	}
	return cfg, nil
}

// issuer takes out the issuer, which must be the configuration's own host's.
func issuer(m loosejson.Members, from *url.URL, bad *notes) string {
	raw := endpoint(m, "issuer", bad)
	if raw == "" {
		return ""
	}
	u, _ := checkURL(raw) // it has none
	switch {
	case strings.Contains(raw, "?"):
		bad.add("issuer", "must have no query")
	case origin(u) == origin(from):
	case from.Scheme == "https" && foreignIssuers[authority(from)] == raw:
	default:
		bad.add("issuer", "is "+service.Sanitize(raw, maxText)+", but the configuration comes from "+service.Sanitize(origin(from), maxText)+
			": only the issuer's own host can speak for it")
	}
	return raw
}

// endpoint takes out a required URL.
func endpoint(m loosejson.Members, name string, bad *notes) string {
	raw := m.Text(name)
	if raw == "" {
		text := "is missing"
		if m[name] != nil {
			text = "is not a string"
		}
		bad.add(name, text)
		return ""
	}
	if _, problem := checkURL(raw); problem != "" {
		bad.add(name, problem)
		return ""
	}
	return raw
}

// checkURL parses a URL of a platform, or says what is wrong with it.
func checkURL(raw string) (u *url.URL, problem string) {
	if len(raw) > maxURL {
		return nil, "is longer than any address"
	}
	if !visible(raw) {
		return nil, "is no address: it has a space or another character that no URL has"
	}
	u, err := httpx.CheckURL(raw)
	if err != nil {
		return nil, whyNoURL(err)
	}
	return u, ""
}

func whyNoURL(err error) string {
	return "is no address that can be used: " + strings.TrimPrefix(err.Error(), "invalid URL: ")
}

// visible tells whether a text has the visible characters of ASCII only, as URLs,
// scopes and tokens have.
func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// origin is scheme, host and port of a URL, to be compared.
func origin(u *url.URL) string { return u.Scheme + "://" + authority(u) }

// authority is host and port of a URL, without a port that the scheme implies.
func authority(u *url.URL) string {
	host := strings.ToLower(u.Host)
	return strings.TrimSuffix(host, map[string]string{"https": ":443", "http": ":80"}[u.Scheme])
}

// list reads a list of strings: what else is in it does not count, a lone string
// is a list of one. It is nil if nothing is left.
func list(raw json.RawMessage) []string {
	var one string
	if json.Unmarshal(raw, &one) == nil && one != "" {
		return []string{one}
	}
	var elems []any
	if json.Unmarshal(raw, &elems) != nil {
		return nil
	}
	var all []string
	for _, e := range elems {
		if s, ok := e.(string); ok && s != "" {
			all = append(all, s)
		}
	}
	return all
}

// messages reads messages_supported: objects with a type, or, in older Moodles,
// plain strings, whose placements are a list beside it.
func messages(platform loosejson.Members) []Supported {
	var elems []json.RawMessage
	if json.Unmarshal(platform["messages_supported"], &elems) != nil {
		return nil
	}
	beside := list(platform["placements"])
	var all []Supported
	for _, raw := range elems {
		s := Supported{Placements: beside}
		if json.Unmarshal(raw, &s.Type) != nil {
			var m loosejson.Members
			if json.Unmarshal(raw, &m) != nil {
				continue
			}
			s.Type = m.Text("type")
			if own := list(m["placements"]); own != nil {
				s.Placements = own
			}
		}
		if s.Type != "" {
			all = append(all, s)
		}
	}
	return all
}

// KeysURL is where the keys are that a platform signs with for a client id.
// Blackboard's configuration names a set for all, but each application has keys of
// its own.
func (c *Configuration) KeysURL(clientID string) string {
	if c.JWKSURI == "https://developer.blackboard.com/.well-known/jwks.json" {
		return "https://developer.blackboard.com/api/v1/management/applications/" + url.PathEscape(clientID) + "/jwks.json"
	}
	return c.JWKSURI
}

// TokenAudience is what a platform is to be called where the tool asks it for a
// token (Security Framework §4.1.1), or "" if that is the token endpoint.
//
// Canvas gives the mere name of a host as authorization_server, and takes nothing
// but its token endpoint.
func (c *Configuration) TokenAudience() string {
	_, problem := checkURL(c.AuthorizationServer)
	switch {
	case problem == "" && c.AuthorizationServer != c.TokenEndpoint:
		return c.AuthorizationServer
	case problem != "" && c.TokenEndpoint == "https://auth.brightspace.com/core/connect/token":
		return "https://api.brightspace.com/auth/token"
	}
	return ""
}
