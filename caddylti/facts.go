package caddylti

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-lti/lti/lti"
)

// facts is what is kept of a launch, and no more of it than the configuration
// uses.
type facts struct {
	LaunchID   string `json:"id"`
	Platform   string `json:"pf"`
	Issuer     string `json:"iss"`
	ClientID   string `json:"cid"`
	Deployment string `json:"dep"`
	Scope      string `json:"sc,omitempty"`
	Subject    string `json:"sub,omitempty"`
	RemoteUser string `json:"ru,omitempty"`
	Message    string `json:"mt"`
	Language   string `json:"la,omitempty"` // of the pages that the person sees

	Roles        []string `json:"ro,omitempty"`
	ContextID    string   `json:"cx,omitempty"`
	ResourceLink string   `json:"rl,omitempty"`

	// Frames is where the platform's pages are, as the launch says, for frame on.
	Frames []string `json:"fr,omitempty"`

	// DeepLinking is what the platform takes, where content is to be chosen.
	DeepLinking *lti.DeepLinking `json:"dl,omitempty"`

	// Grades is where scores go, where something of the configuration sends them.
	Grades *gradeFacts `json:"gr,omitempty"`

	// Roster is where the roster of the course is, where something of the
	// configuration reads it.
	Roster string `json:"ros,omitempty"`

	// From the set standard on.
	Name          string `json:"nm,omitempty"`
	GivenName     string `json:"gn,omitempty"`
	FamilyName    string `json:"fn,omitempty"`
	Email         string `json:"em,omitempty"`
	Locale        string `json:"lo,omitempty"`
	ContextLabel  string `json:"cl,omitempty"`
	ContextTitle  string `json:"ct,omitempty"`
	ResourceTitle string `json:"rt,omitempty"`

	// From the set full on.
	ReturnURL string            `json:"rp,omitempty"`
	Custom    map[string]string `json:"cu,omitempty"` // by header name, lower case
}

// gradeFacts is the claim of the grade service.
type gradeFacts struct {
	Scopes    []string `json:"s,omitempty"`
	LineItems string   `json:"c,omitempty"`
	LineItem  string   `json:"i,omitempty"`
}

func decodeFacts(data []byte) (any, error) {
	f := new(facts)
	if err := json.Unmarshal(data, f); err != nil {
		return nil, err
	}
	return f, nil
}

// needs says which personal facts a configuration uses beyond its header set.
type needs struct {
	people bool // names, e-mail address, locale, titles
	extras bool // custom parameters, return URL
}

// keep makes the facts of a launch.
func (h *Handler) keep(p *Platform, l *lti.Launch, launchID, remoteUser string) *facts {
	f := &facts{
		LaunchID: launchID, Platform: p.Name,
		Issuer: l.Issuer, ClientID: l.ClientID, Deployment: l.DeploymentID,
		Scope: p.registration.Scope(l), Subject: l.Subject, RemoteUser: remoteUser,
		Message: l.MessageType, Language: h.pages.Match(l.Locale), Roles: l.Roles,
		ContextID: l.Context.ID, ResourceLink: l.ResourceLink.ID,
	}
	if h.Frame == "on" {
		f.Frames = framesOf(l)
	}
	if g := l.Grades; h.scores() && (g.LineItem != "" || g.LineItems != "") {
		f.Grades = &gradeFacts{Scopes: g.Scopes, LineItems: g.LineItems, LineItem: g.LineItem}
	}
	if h.rosters() {
		f.Roster = l.Roster.URL
	}
	if l.MessageType == lti.MessageDeepLinking {
		takes := l.DeepLinking
		takes.ReturnURL, takes.Data = "", nil // the platform's secrets are kept apart
		f.DeepLinking = &takes
	}
	if h.app.labels.Load() {
		f.ContextLabel = l.Context.Label
	}
	if h.needs.people {
		f.Name, f.GivenName, f.FamilyName, f.Email, f.Locale = fullName(l), l.GivenName, l.FamilyName, l.Email, l.Locale
		f.ContextLabel, f.ContextTitle, f.ResourceTitle = l.Context.Label, l.Context.Title, l.ResourceLink.Title
	}
	if h.needs.extras {
		f.ReturnURL, f.Custom = l.Presentation.ReturnURL, customNames(l.Custom)
	}
	return f
}

// fullName is the name, put together where the platform sends its parts only.
func fullName(l *lti.Launch) string {
	if l.Name != "" {
		return l.Name
	}
	return strings.TrimSpace(l.GivenName + " " + l.FamilyName)
}

// customNames gives custom parameters the names that their headers have: lower
// case, anything but a-z and 0-9 a hyphen. Where two names become one, the one
// that was lower case wins; between two that were not, the first in order.
func customNames(custom map[string]string) map[string]string {
	if len(custom) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(custom))
	out := make(map[string]string, len(names))
	exact := make(map[string]bool, len(names))
	for _, name := range names {
		lower, key := strings.ToLower(name), customName(name)
		if key == "" {
			continue
		}
		if _, taken := out[key]; taken && (exact[key] || name != lower) {
			continue
		}
		out[key], exact[key] = custom[name], name == lower
	}
	return out
}

func customName(name string) string {
	return strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			return r
		}
		return '-'
	}, strings.ToLower(name))
}

func (f *facts) hasRole(uris []string) bool {
	return slices.ContainsFunc(f.Roles, func(r string) bool { return slices.Contains(uris, r) })
}

// groups returns the short roles, the course's first, separated by commas.
func (f *facts) groups() string {
	var course, other []string
	for _, uri := range f.Roles {
		short, ok := lti.ShortRole(uri)
		switch {
		case !ok:
		case strings.Contains(short, ":"):
			other = append(other, short)
		default:
			course = append(course, short)
		}
	}
	return strings.Join(append(course, other...), ",")
}

// userClaims are the claims that can become Remote-User.
var userClaims = map[string]func(*lti.Launch) string{
	"sub":                  func(l *lti.Launch) string { return l.Subject },
	"email":                func(l *lti.Launch) string { return l.Email },
	"lis.person_sourcedid": func(l *lti.Launch) string { return l.PersonSourcedID },
	"ext.user_username":    func(l *lti.Launch) string { return l.Username },
}

// remoteUser returns what the app knows the person by: SUB@PLATFORM,
// SUB@PLATFORM.SCOPE where user ids are unique only within a scope, or the bare
// value of another claim. It is empty for an anonymous launch.
func (h *Handler) remoteUser(p *Platform, l *lti.Launch) (string, error) {
	if l.Subject == "" {
		return "", nil
	}
	val := userClaims[h.User](l)
	if val == "" {
		return "", lti.Refuse(lti.CodeUserClaimMissing, "the platform did not send %s, which this site uses as the user name", h.User)
	}
	var scope string
	if h.User == "sub" {
		val += "@" + p.Name
		if s := p.registration.Scope(l); s != "" {
			scope = "." + s
		}
	}
	if whole := val + scope; strings.Trim(whole, " ") != whole || strings.ContainsFunc(whole, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return "", lti.Refuse(lti.CodeUserClaimMissing, "%s has control characters in it or spaces around it, which no header carries: two people would have one user name", h.User)
	}
	// The last @ stands before the platform's name, whatever the scope is.
	val = headerValue(val) + strings.ReplaceAll(headerValue(scope), "@", "%40")
	if len(val) > maxHeaderValue {
		return "", lti.Refuse(lti.CodeUserClaimMissing, "%s is longer than %d bytes, too long for a user name", h.User, maxHeaderValue)
	}
	return val, nil
}

// personKey is the key of a person: issuer, client id, scope and sub. Two
// anonymous people never have the same.
func personKey(p *Platform, l *lti.Launch, launchID string) string {
	who := "sub:" + l.Subject
	if l.Subject == "" {
		who = "launch:" + launchID
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", l.Issuer, l.ClientID, p.registration.Scope(l), who))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
