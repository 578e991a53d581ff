package devlms

import (
	"bufio"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// typeMembers is the media type of NRPS 2.0 §2.2.
const typeMembers = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"

// claimMembers is the claim of NRPS 2.0 §3.6.1.1.
const claimMembers = "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice"

// contextRole begins the URIs of the roles that say something about a course.
const contextRole = "http://purl.imsglobal.org/vocab/lis/v2/membership#"

// escapeNames does what Moodle does to names; quotes stay.
var escapeNames = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// nrpsOn tells whether the tool may read rosters.
func (t *Tool) nrpsOn() bool { return t.isOn(t.NRPS) }

// membersClaim is what the tool learns at a launch; nil means that it may not use
// the service.
func membersClaim(issuer string, c *course, t *Tool) map[string]any {
	if !t.nrpsOn() {
		return nil
	}
	return map[string]any{
		"context_memberships_url": issuer + "/nrps/" + c.ID + "/members?" + typeID(t),
		"service_versions":        []string{"2.0"},
	}
}

// member is somebody as a roster shows them (NRPS 2.0 §2.2). Who is private in
// launches is private here too.
type member struct {
	Status     string           `json:"status"`
	Roles      []string         `json:"roles"`
	UserID     string           `json:"user_id,omitempty"`
	SourcedID  string           `json:"lis_person_sourcedid,omitempty"`
	Name       string           `json:"name,omitempty"`
	GivenName  string           `json:"given_name,omitempty"`
	FamilyName string           `json:"family_name,omitempty"`
	Email      string           `json:"email,omitempty"`
	Message    []map[string]any `json:"message,omitempty"`
}

// roster is who is in a course: some people, and after them those that are made
// up one by one.
type roster struct {
	course    *course
	people    []*person
	generated int
}

// roster lists the members of a course who have a role; "" is any.
func (p *platform) roster(b *book, c *course, role string) roster {
	if role != "" && !strings.Contains(role, ":") {
		role = contextRole + role // simple names are those of context roles
	}
	has := func(who *person) bool { return role == "" || slices.Contains(contextRoles(who), role) }
	r := roster{course: c}
	all := people
	if p.quirk(b, quirkInactive) {
		all = append(slices.Clone(people), gone)
	}
	for _, who := range all {
		if has(who) {
			r.people = append(r.people, who)
		}
	}
	if c.Generated > 0 && has(c.learner(0)) {
		r.generated = c.Generated
	}
	return r
}

func (r roster) len() int { return len(r.people) + r.generated }

func (r roster) at(i int) *person {
	if i < len(r.people) {
		return r.people[i]
	}
	return r.course.learner(i - len(r.people))
}

// contextRoles are those that a membership is about; an institution's are not.
func contextRoles(who *person) []string {
	return slices.DeleteFunc(slices.Clone(who.Roles), func(role string) bool { return !strings.HasPrefix(role, contextRole) })
}

// listMembers answers with the roster of a course, written as it is read: nobody
// holds all of a large one.
func (p *platform) listMembers(c *call) *refusal {
	var link *activity
	if c.query.Has("rlid") {
		var refused *refusal
		if link, refused = p.linkOf(c, c.query.Get("rlid")); refused != nil {
			return refused
		}
	}
	all := p.roster(c.book, c.course, c.query.Get("role"))
	from, to, refused := p.cut(c, all.len())
	if refused != nil {
		return refused
	}
	url := c.issuer + c.r.URL.RequestURI()
	f, _ := p.faultFor(c.book, targetMembers)
	h := c.w.Header()
	h.Set("Content-Type", typeMembers+"; charset=utf-8")
	switch f.kind {
	case faultWrongType:
		h.Set("Content-Type", "application/json")
	case faultLoop:
		h.Set("Link", "<"+url+`>; rel="next"`)
	case faultForeign:
		h.Set("Link", "<"+f.to+`>; rel="next"`)
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")

	head, err := json.Marshal(struct {
		ID      string            `json:"id"`
		Context map[string]string `json:"context"`
	}{url, map[string]string{"id": c.course.ID, "label": c.course.Label, "title": c.course.Title}})
	if err != nil {
		return refuse(http.StatusInternalServerError, "the roster cannot be written")
	}
	shortRoles, escaped := p.quirk(c.book, quirkShortRoles), p.quirk(c.book, quirkEscapedNames)
	w := bufio.NewWriterSize(c.w, 32<<10)
	_, _ = w.Write(head[:len(head)-1]) // without its brace
	_, _ = w.WriteString(`,"members":[`)
	for i := from; i < to; i++ {
		if i == from+(to-from)/2 && (f.kind == faultTruncated || f.kind == faultUnclosed) {
			_ = w.Flush()
			if f.kind == faultTruncated {
				_ = http.NewResponseController(c.w).Flush()
				panic(http.ErrAbortHandler)
			}
			return nil
		}
		m := p.member(c, all.at(i), link)
		if shortRoles {
			for i, role := range m.Roles {
				m.Roles[i] = strings.TrimPrefix(role, contextRole)
			}
		}
		if escaped {
			for _, name := range []*string{&m.Name, &m.GivenName, &m.FamilyName} {
				*name = escapeNames.Replace(*name)
			}
		}
		if f.kind == faultNoUserID && i == to-1 {
			m.UserID = ""
		}
		data, err := json.Marshal(m)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if i > from {
			_ = w.WriteByte(',')
		}
		if _, err := w.Write(data); err != nil {
			return nil // the tool has left
		}
	}
	_, _ = w.WriteString("]}")
	_ = w.Flush()
	return nil
}

// linkOf finds the link that a roster is asked for. One that is another tool's,
// or in another course, is nobody else's business (NRPS 2.0 §2.4.1).
func (p *platform) linkOf(c *call, id string) (*activity, *refusal) {
	if a := p.linked(c.book, c.course, c.tool, id); a != nil {
		return a, nil
	}
	for _, other := range courses {
		for _, t := range p.known(c.book) {
			if p.linked(c.book, other, t, id) != nil {
				return nil, refuse(http.StatusForbidden, "rlid is no link of this tool in this course")
			}
		}
	}
	return nil, refuse(http.StatusNotFound, "rlid is no link")
}

func (p *platform) member(c *call, who *person, link *activity) *member {
	m := &member{Status: "Active", Roles: contextRoles(who), UserID: who.ID}
	if who.Inactive {
		m.Status = "Inactive"
	}
	if !who.Private {
		m.SourcedID = who.SourcedID
	}
	if c.tool.isTold(claimName, who) {
		m.Name = who.Name()
	}
	if c.tool.isTold(claimGivenName, who) {
		m.GivenName = who.GivenName
	}
	if c.tool.isTold(claimFamilyName, who) {
		m.FamilyName = who.FamilyName
	}
	if c.tool.isTold(claimEmail, who) {
		m.Email = who.Email
	}
	if link != nil {
		m.Message = []map[string]any{{
			claimPrefix + "message_type": messageResourceLink,
			claimPrefix + "custom":       p.custom(c.issuer, who, c.course, c.tool, link),
		}}
	}
	return m
}
