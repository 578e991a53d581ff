package lti

import (
	"encoding/json"
	"regexp"
	"strconv"
	"time"
)

// Launch is a message of a platform that was found to be good. Optional members
// that the platform did not send, or sent in a shape that means nothing, are
// empty.
type Launch struct {
	Issuer   string
	ClientID string
	// Subject is the platform's id of the person; empty in an anonymous launch.
	Subject       string
	DeploymentID  string
	MessageType   string
	TargetLinkURI string
	IssuedAt      time.Time
	Expires       time.Time
	// Roles holds full URIs; simple names and URNs have been replaced by them.
	Roles        []string
	ResourceLink ResourceLink
	Context      Context
	Presentation Presentation
	ToolPlatform ToolPlatform

	Name       string
	GivenName  string
	FamilyName string
	Email      string
	Locale     string

	// PersonSourcedID is lis.person_sourcedid, Username is ext.user_username.
	PersonSourcedID string
	Username        string

	// Grades is where the platform takes scores, if it does.
	Grades GradeService
	// Roster is where the platform tells who is in the course, if it does.
	Roster RosterService
	// DeepLinking is what an LtiDeepLinkingRequest asks for; empty in other
	// messages.
	DeepLinking DeepLinking

	// Custom holds the custom parameters. Teachers write them: they are never
	// authority.
	Custom map[string]string
}

// ResourceLink is the activity that was opened (LTI 1.3 §5.3.5).
type ResourceLink struct {
	ID    string
	Title string
}

// Context is the course (LTI 1.3 §5.4.1).
type Context struct {
	ID    string
	Label string
	Title string
}

// Presentation says how the platform shows the tool (LTI 1.3 §5.4.4).
type Presentation struct {
	DocumentTarget string // frame, iframe or window
	ReturnURL      string // may hold a secret of the platform: never log it
	Locale         string
}

// ToolPlatform describes the LMS (LTI 1.3 §5.4.2).
type ToolPlatform struct {
	GUID    string
	URL     string // of the platform's home page
	Name    string
	Family  string
	Version string
}

// GradeService is the claim of Assignment and Grade Services 2.0 (§3.1).
type GradeService struct {
	Scopes    []string // that the tool may ask for
	LineItems string   // URL of all line items of the course; may be empty
	LineItem  string   // URL of the one that the activity has, if it has exactly one
}

// RosterService is the claim of Names and Role Provisioning Services 2.0. It is
// empty where the platform has other versions of the service only.
type RosterService struct {
	URL      string   // of the course's members
	Versions []string // of the service; empty if the platform does not say
}

// DeepLinking is the claim deep_linking_settings (Deep Linking 2.0 §4.4): which
// items the platform takes, and where the answer goes. Its JSON has the
// specification's names, and lists everywhere.
type DeepLinking struct {
	// ReturnURL is an absolute https URL, or http on this machine. It may hold a
	// secret of the platform (never log it), and is to be posted to as it is.
	ReturnURL string `json:"deep_link_return_url"`
	// AcceptTypes are the types of items, at least one.
	AcceptTypes []string `json:"accept_types"`
	// AcceptTargets are the ways to show an item: embed, iframe, window, and what
	// older platforms call theirs.
	AcceptTargets []string `json:"accept_presentation_document_targets,omitempty"`
	// AcceptMediaTypes are those of files, such as image/*; empty if the platform
	// does not say.
	AcceptMediaTypes []string `json:"accept_media_types,omitempty"`
	// AcceptMultiple allows more than one item.
	AcceptMultiple bool `json:"accept_multiple,omitempty"`
	// AcceptLineItem is false if line items are ignored, nil if the platform does
	// not say.
	AcceptLineItem *bool `json:"accept_lineitem,omitempty"`
	// AutoCreate says that items are saved without a question.
	AutoCreate bool `json:"auto_create,omitempty"`
	// Title and Text are what the platform would call the item.
	Title string `json:"title,omitempty"`
	Text  string `json:"text,omitempty"`
	// Data goes back with the answer, whatever JSON it is; nil if there is none.
	Data json.RawMessage `json:"data,omitempty"`
}

// members is a JSON object whose values have not been interpreted.
type members map[string]json.RawMessage

// present reports whether the member is there and not null.
func (m members) present(name string) bool {
	raw, ok := m[name]
	return ok && string(raw) != "null"
}

// text returns an optional string; anything else counts as absent, as does a
// substitution variable that the platform did not fill (LTI 1.3 App. B).
func (m members) text(name string) string {
	var s string
	if json.Unmarshal(m[name], &s) != nil || unfilled.MatchString(s) {
		return ""
	}
	return s
}

// exact returns a string, and whether the member is one.
func (m members) exact(name string) (string, bool) {
	if !m.present(name) {
		return "", false
	}
	var s string
	err := json.Unmarshal(m[name], &s)
	return s, err == nil
}

// boolean returns an optional truth value, nil if there is none.
func (m members) boolean(name string) *bool {
	var b *bool
	if json.Unmarshal(m[name], &b) != nil {
		return nil
	}
	return b
}

// list returns the strings of a list that are not empty, and whether there is a
// list.
func (m members) list(name string) ([]string, bool) {
	if !m.present(name) {
		return nil, false
	}
	var vals []any
	if json.Unmarshal(m[name], &vals) != nil {
		return nil, false
	}
	var list []string
	for _, v := range vals {
		if s, ok := v.(string); ok && s != "" {
			list = append(list, s)
		}
	}
	return list, true
}

// object returns an optional object; anything else counts as absent.
func (m members) object(name string) members {
	var o members
	if json.Unmarshal(m[name], &o) != nil {
		return nil
	}
	return o
}

// seconds returns a NumericDate (RFC 7519 §2), which may have a fraction.
func (m members) seconds(name string) (time.Time, bool) {
	if !m.present(name) {
		return time.Time{}, false
	}
	var f float64
	if json.Unmarshal(m[name], &f) != nil || f < 0 || f > 253402300799 { // year 9999
		return time.Time{}, false
	}
	return time.UnixMilli(int64(f * 1000)), true
}

// unfilled matches a variable that came back as it was sent: $User.id,
// $ResourceLink.available.startDateTime, $com.instructure.Person.name_sortable.
var unfilled = regexp.MustCompile(`^\$[A-Za-z]+(\.[A-Za-z0-9_-]+)+$`)

// custom returns the custom parameters as strings. Numbers and booleans of
// sloppy platforms become text; null and what has parts is left out.
func (m members) custom() map[string]string {
	obj := m.object(claimCustom)
	if len(obj) == 0 {
		return nil
	}
	vals := make(map[string]string, len(obj))
	for name, raw := range obj {
		var v any
		if json.Unmarshal(raw, &v) != nil {
			continue
		}
		switch v := v.(type) {
		case string:
			vals[name] = v
		case bool:
			vals[name] = strconv.FormatBool(v)
		case float64:
			vals[name] = string(raw) // as it was written: 1e3 stays 1e3
		}
	}
	return vals
}

// validID reports whether s can be an identifier: ASCII without control characters,
// at most 255 bytes.
func validID(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
