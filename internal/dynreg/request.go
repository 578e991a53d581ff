package dynreg

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/service"
	"github.com/caddy-lti/lti/lti"
)

// Tool is what a site wants to be registered as. URLs are absolute; those that a
// platform sends people to are of one host.
type Tool struct {
	Name        string
	Description string

	LoginURL     string
	RedirectURLs []string // at least one
	JWKSURL      string
	TargetURL    string // where a launch lands that has no place of its own

	LogoURL, HomeURL, PolicyURL, TermsURL string // optional
	Contacts                              []string

	Messages []Message
	Scopes   []string // of services
	// Claims about people that the site uses, such as name and email, besides iss
	// and sub. Platforms make their privacy settings of them.
	Claims           []string
	CustomParameters map[string]string // values such as $Context.id are the platform's variables
}

// Message is a message type that a site takes.
type Message struct {
	Type      string
	TargetURL string // default: that of the tool
	Label     string // default: the tool's name
	// Placements are the places in the platform that it is offered in, by the
	// names of the specification or of the platform. Default for deep linking:
	// where teachers add and edit content.
	Placements       []string
	CustomParameters map[string]string
}

// Request is a registration as it goes to a platform (LTI Dynamic Registration
// §3.5, OpenID Connect Registration §2). Its JSON is what is sent.
type Request struct {
	ApplicationType         string            `json:"application_type"`
	ResponseTypes           []string          `json:"response_types"`
	GrantTypes              []string          `json:"grant_types"`
	InitiateLoginURI        string            `json:"initiate_login_uri"`
	RedirectURIs            []string          `json:"redirect_uris"`
	ClientName              string            `json:"client_name"`
	JWKSURI                 string            `json:"jwks_uri"`
	LogoURI                 string            `json:"logo_uri,omitempty"`
	ClientURI               string            `json:"client_uri,omitempty"`
	PolicyURI               string            `json:"policy_uri,omitempty"`
	TOSURI                  string            `json:"tos_uri,omitempty"`
	Contacts                []string          `json:"contacts,omitempty"`
	TokenEndpointAuthMethod string            `json:"token_endpoint_auth_method"`
	Scope                   string            `json:"scope"`
	Tool                    ToolConfiguration `json:"https://purl.imsglobal.org/spec/lti-tool-configuration"`

	// Notes say what the platform does not offer, which was left out, and what it
	// may not understand.
	Notes []Note `json:"-"`
}

// ToolConfiguration is the part of a [Request] that is LTI's own.
type ToolConfiguration struct {
	Domain           string            `json:"domain"`
	Description      string            `json:"description,omitempty"`
	TargetLinkURI    string            `json:"target_link_uri"`
	CustomParameters map[string]string `json:"custom_parameters"` // never null: Moodle wants an object
	Claims           []string          `json:"claims"`
	Messages         []MessageRequest  `json:"messages"`
	PrivacyLevel     string            `json:"https://canvas.instructure.com/lti/privacy_level,omitempty"`
}

// MessageRequest is one of the messages of a [ToolConfiguration].
type MessageRequest struct {
	Type             string            `json:"type"`
	TargetLinkURI    string            `json:"target_link_uri"`
	Label            string            `json:"label"`
	Placements       []string          `json:"placements,omitempty"`
	CustomParameters map[string]string `json:"custom_parameters,omitempty"`
}

// NewRequest composes what a platform is sent for a tool, and sends nothing. Only
// what both have goes in: Canvas refuses a registration that asks for a scope it
// does not know. The error is an [*Error], and the tool's fault.
func NewRequest(cfg *Configuration, tool *Tool) (*Request, error) {
	d := draft{cfg: cfg, tool: tool}
	d.check()
	if len(d.bad) > 0 {
		return nil, &Error{Op: opRequest, Hint: "the tool cannot be registered like this", Members: d.bad, Whose: ToolAdmin}
	}
	target, _ := httpx.CheckURL(tool.TargetURL) // it was checked
	scopes := d.offered("scope", tool.Scopes, cfg.Scopes)
	claims := d.claims()
	r := &Request{
		ApplicationType: "web", ResponseTypes: []string{response}, GrantTypes: []string{"implicit", "client_credentials"},
		InitiateLoginURI: tool.LoginURL, RedirectURIs: slices.Clone(tool.RedirectURLs), JWKSURI: tool.JWKSURL,
		ClientName: tool.Name, LogoURI: tool.LogoURL, ClientURI: tool.HomeURL, PolicyURI: tool.PolicyURL, TOSURI: tool.TermsURL,
		Contacts: slices.Clone(tool.Contacts), TokenEndpointAuthMethod: authMethod,
		Scope: strings.Join(scopes, " "),
		Tool: ToolConfiguration{
			// The port belongs to it: Moodle compares it with the target's.
			Domain: target.Host, Description: tool.Description, TargetLinkURI: tool.TargetURL,
			CustomParameters: d.parameters("custom_parameters", tool.CustomParameters),
			Claims:           claims, Messages: d.messages(),
		},
	}
	if r.Tool.CustomParameters == nil {
		r.Tool.CustomParameters = map[string]string{}
	}
	if cfg.isCanvas() {
		r.Tool.PrivacyLevel = privacyLevel(claims)
	}
	r.Notes = d.left
	return r, nil
}

// draft composes a request.
type draft struct {
	cfg  *Configuration
	tool *Tool
	bad  notes // what a tool must not be
	left notes // what the platform does not offer
}

func (d *draft) check() {
	t := d.tool
	d.text("client_name", t.Name, true)
	d.text("description", t.Description, false)
	d.url("target_link_uri", t.TargetURL, "")
	host := t.TargetURL
	d.url("initiate_login_uri", t.LoginURL, host)
	d.url("jwks_uri", t.JWKSURL, "")
	if len(t.RedirectURLs) == 0 {
		d.bad.add("redirect_uris", "is missing")
	}
	for i, u := range t.RedirectURLs {
		d.url(fmt.Sprintf("redirect_uris[%d]", i), u, host)
	}
	for _, u := range []struct{ member, url string }{
		{"logo_uri", t.LogoURL}, {"client_uri", t.HomeURL}, {"policy_uri", t.PolicyURL}, {"tos_uri", t.TermsURL},
	} {
		if u.url != "" {
			d.url(u.member, u.url, "")
		}
	}
	for i, c := range t.Contacts {
		d.text(fmt.Sprintf("contacts[%d]", i), c, true)
	}
	for i, scope := range t.Scopes {
		if scope == "" || !visible(scope) {
			d.bad.add(fmt.Sprintf("scope[%d]", i), "is not one scope")
		}
	}
	d.values("custom_parameters", t.CustomParameters)
	for i, m := range t.Messages {
		member := fmt.Sprintf("messages[%d]", i)
		d.text(member+".type", m.Type, true)
		d.text(member+".label", m.Label, false)
		if m.TargetURL != "" {
			d.url(member+".target_link_uri", m.TargetURL, host)
		}
		d.values(member+".custom_parameters", m.CustomParameters)
	}
}

func (d *draft) text(member, s string, required bool) {
	switch {
	case required && strings.TrimSpace(s) == "":
		d.bad.add(member, "is missing")
	case s != "" && service.Sanitize(s, len(s)) != s:
		d.bad.add(member, "must be one line of plain text without space around it")
	}
}

// values checks custom parameters. Moodle writes them as lines of name=value, so
// a line break would make another one.
func (d *draft) values(member string, params map[string]string) {
	for name, val := range params {
		if strings.TrimSpace(name) == "" || strings.ContainsAny(name, "=\r\n") || strings.ContainsAny(val, "\r\n") {
			d.bad.add(member, "must have names without = and values of one line")
			return
		}
	}
}

// url checks a URL of the tool's, whose host must be that of another one, if one
// is given.
func (d *draft) url(member, raw, like string) {
	if raw == "" {
		d.bad.add(member, "is missing")
		return
	}
	u, err := httpx.CheckURL(raw)
	if err != nil {
		d.bad.add(member, whyNoURL(err))
		return
	}
	if other, err := httpx.CheckURL(like); err == nil && origin(u) != origin(other) {
		d.bad.add(member, "must be of the same host as target_link_uri, for platforms compare them")
	}
}

// offered returns those of wanted that a platform has, and notes the others. If
// the platform does not say, it may have all.
func (d *draft) offered(member string, wanted, has []string) []string {
	got := make([]string, 0, len(wanted))
	for _, w := range wanted {
		switch {
		case slices.Contains(got, w):
		case has != nil && !slices.Contains(has, w):
			d.left.add(member, "the platform does not offer "+service.Sanitize(w, maxText))
		default:
			got = append(got, w)
		}
	}
	return got
}

// claims are those to ask for. Everything rests on iss and sub, which Canvas and
// others forget to list.
func (d *draft) claims() []string {
	has := d.cfg.Claims
	if has != nil {
		has = append([]string{"iss", "sub"}, has...)
	}
	return d.offered("claims", append([]string{"iss", "sub"}, d.tool.Claims...), has)
}

// messages are those to ask for. Deep linking comes first: Canvas takes a message
// without placements for one in the selection of links, and of two in one place
// the first.
func (d *draft) messages() []MessageRequest {
	all := make([]MessageRequest, 0, len(d.tool.Messages))
	for i, m := range d.tool.Messages {
		member := fmt.Sprintf("messages[%d]", i)
		known := slices.IndexFunc(d.cfg.Messages, func(s Supported) bool { return s.Type == m.Type })
		if known < 0 && d.cfg.Messages != nil && m.Type != lti.MessageResourceLink {
			d.left.add(member, "the platform does not send "+m.Type)
			continue
		}
		var has []string
		if known >= 0 {
			has = d.cfg.Messages[known].Placements
		}
		r := MessageRequest{
			Type: m.Type, TargetLinkURI: m.TargetURL, Label: m.Label,
			Placements:       d.placements(member+".placements", m, has),
			CustomParameters: d.parameters(member+".custom_parameters", m.CustomParameters),
		}
		if r.TargetLinkURI == "" {
			r.TargetLinkURI = d.tool.TargetURL
		}
		if r.Label == "" {
			r.Label = d.tool.Name
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b MessageRequest) int {
		rank := map[string]int{lti.MessageDeepLinking: -1}
		return rank[a.Type] - rank[b.Type]
	})
	return all
}

// The placements of the specification, and Canvas's names.
const (
	placeContent = "ContentArea"
	placeEditor  = "RichTextEditor"

	canvasPrefix = "https://canvas.instructure.com/lti/"
)

// placements are where a message is to be offered, in the spelling of the
// platform's own list, if it has one.
func (d *draft) placements(member string, m Message, has []string) []string {
	wanted, chosen := m.Placements, true
	if len(wanted) == 0 && m.Type == lti.MessageDeepLinking {
		wanted, chosen = []string{placeContent, placeEditor}, false
		if d.cfg.isCanvas() { // what is graded has a place of its own there
			wanted = append(wanted, "assignment_selection")
		}
	}
	var got []string
	for _, w := range wanted {
		if d.cfg.isCanvas() {
			w = canvasPlacement(w)
		}
		i := slices.IndexFunc(has, func(s string) bool { return s == w || d.cfg.isCanvas() && canvasPlacement(s) == w })
		switch {
		case i >= 0:
			w = has[i]
		case has == nil:
		default:
			if chosen {
				d.left.add(member, "the platform has no "+service.Sanitize(w, maxText))
			}
			continue
		}
		if !slices.Contains(got, w) {
			got = append(got, w)
		}
	}
	return got
}

// canvasPlacement is the short name that Canvas has for a placement.
func canvasPlacement(s string) string {
	switch s {
	case placeContent:
		return "link_selection"
	case placeEditor:
		return "editor_button"
	}
	return strings.TrimPrefix(s, canvasPrefix)
}

// variable matches a value that a platform replaces.
var variable = regexp.MustCompile(`^\$([A-Za-z][A-Za-z0-9._-]*)$`)

// parameters are custom parameters. A variable that the platform does not list is
// sent all the same, for lists leave out those of services.
func (d *draft) parameters(member string, params map[string]string) map[string]string {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		v := variable.FindStringSubmatch(params[name])
		if v != nil && d.cfg.Variables != nil && !slices.Contains(d.cfg.Variables, v[1]) {
			d.left.add(member+"."+name, "the platform does not list the variable $"+v[1]+", which may arrive as it is written")
		}
	}
	return maps.Clone(params)
}

// privacyLevel is what Canvas calls a set of claims.
func privacyLevel(claims []string) string {
	name := slices.ContainsFunc(claims, func(c string) bool {
		return c == "name" || c == "given_name" || c == "family_name"
	})
	email := slices.Contains(claims, "email")
	switch {
	case name && email, slices.Contains(claims, "picture"):
		return "public"
	case name:
		return "name_only"
	case email:
		return "email_only"
	}
	return "anonymous"
}
