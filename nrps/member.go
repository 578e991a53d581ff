package nrps

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/caddy-lti/lti/internal/loosejson"
	"github.com/caddy-lti/lti/lti"
)

// The values of a [Member]'s status. A platform may have others.
const (
	Active   = "Active"
	Inactive = "Inactive"
	Deleted  = "Deleted" // in lists of differences only
)

// Member is a person in a course. What is told of a person beside
// id, roles and status depends on what the platform's administrator permits.
type Member struct {
	UserID       string   `json:"user_id"` // the sub of the person's launches
	Roles        []string `json:"roles"`   // full URIs
	Status       string   `json:"status,omitempty"`
	Name         string   `json:"name,omitempty"`
	GivenName    string   `json:"given_name,omitempty"`
	FamilyName   string   `json:"family_name,omitempty"`
	MiddleName   string   `json:"middle_name,omitempty"`
	Email        string   `json:"email,omitempty"`
	Picture      string   `json:"picture,omitempty"` // a URL
	SourcedID    string   `json:"lis_person_sourcedid,omitempty"`
	LegacyUserID string   `json:"lti11_legacy_user_id,omitempty"`

	// Message is a list of messages with claims, as it came, in the roster of a
	// resource link.
	Message json.RawMessage `json:"message,omitempty"`

	// GroupEnrollments are the person's groups (Course Groups 1.0), where the
	// platform tells them.
	GroupEnrollments []GroupEnrollment `json:"group_enrollments,omitempty"`

	// Again says that the person was yielded before with this status, and with
	// fewer roles; see [Roster.Members].
	Again bool `json:"-"`

	// Extra are members of the JSON object with other names, as they came.
	Extra map[string]json.RawMessage `json:"-"`
}

// GroupEnrollment is one group that a person is in.
type GroupEnrollment struct {
	GroupID string `json:"group_id"`
}

// UnmarshalJSON reads what a platform sent, forgivingly: what does not fit its
// member stays in Extra. Who has no user_id is an error.
func (m *Member) UnmarshalJSON(data []byte) error {
	var obj loosejson.Members
	if json.Unmarshal(data, &obj) != nil || obj == nil {
		return errors.New("a member is no object")
	}
	*m = Member{
		UserID:       obj.Text("user_id"),
		Roles:        roles(obj["roles"]),
		Status:       obj.Text("status"),
		Name:         obj.Text("name"),
		GivenName:    obj.Text("given_name"),
		FamilyName:   obj.Text("family_name"),
		MiddleName:   obj.Text("middle_name"),
		Email:        obj.Text("email"),
		Picture:      obj.Text("picture"),
		SourcedID:    obj.Text("lis_person_sourcedid"),
		LegacyUserID: obj.Text("lti11_legacy_user_id"),
	}
	if m.UserID == "" {
		return errors.New("a member has no user_id")
	}
	delete(obj, "roles") // these are written in any case, and once
	delete(obj, "status")
	switch raw := obj["message"]; {
	case string(raw) == "null":
		delete(obj, "message")
	case len(raw) > 0 && raw[0] == '[':
		m.Message = raw
		delete(obj, "message")
	}
	if json.Unmarshal(obj["group_enrollments"], &m.GroupEnrollments) == nil {
		delete(obj, "group_enrollments")
	} else {
		m.GroupEnrollments = nil // not half of it
	}
	m.Extra = obj.Rest()
	return nil
}

// roles returns the strings of a list, or the one that stands in its place.
func roles(raw json.RawMessage) []string {
	var vals []any
	var one any
	if json.Unmarshal(raw, &vals) != nil && json.Unmarshal(raw, &one) == nil {
		vals = []any{one}
	}
	list := make([]string, 0, len(vals))
	for _, v := range vals {
		if s, ok := v.(string); ok && s != "" {
			list = append(list, s)
		}
	}
	return list
}

// MarshalJSON writes all members that are set, and user_id and roles.
func (m Member) MarshalJSON() ([]byte, error) {
	type plain Member
	if m.Roles == nil {
		m.Roles = []string{}
	}
	data, err := json.Marshal(plain(m))
	if err != nil || len(m.Extra) == 0 {
		return data, err
	}
	more, err := json.Marshal(m.Extra)
	if err != nil {
		return nil, err
	}
	// Both are objects that are not empty.
	return append(append(data[:len(data)-1], ','), more[1:]...), nil
}

// unescape undoes what makes text fit for HTML, once: Moodle does it to names. Who
// is really called "&amp;" is not told apart. Other entities stay, for they are
// not what escaping writes.
var unescape = strings.NewReplacer("&amp;", "&", "&lt;", "<", "&gt;", ">", "&quot;", `"`, "&#39;", "'", "&#039;", "'")

// clean gives what came from a platform its one form.
func (m *Member) clean() {
	names := m.Roles
	m.Roles = make([]string, 0, len(names))
	for _, name := range names {
		m.addRoles(lti.NormalizeRole(name))
	}
	m.Status = status(m.Status)
	for _, name := range []*string{&m.Name, &m.GivenName, &m.FamilyName, &m.MiddleName} {
		*name = unescape.Replace(*name)
	}
}

// status returns a status in the spelling of the specification: Active if there
// is none, and an unknown one as it is.
func status(s string) string {
	s = strings.TrimSpace(s)
	for _, known := range []string{Active, Inactive, Deleted} {
		if strings.EqualFold(s, known) {
			return known
		}
	}
	if s == "" {
		return Active
	}
	return s
}

func (m *Member) addRoles(uris ...string) {
	for _, uri := range uris {
		if !slices.Contains(m.Roles, uri) {
			m.Roles = append(m.Roles, uri)
		}
	}
}
