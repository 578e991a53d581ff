package devlms

import (
	"crypto/rand"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// maxContents bounds what teachers add, per issuer.
const maxContents = 1_000

// content is what a teacher has added to a course.
type content struct {
	id, course string
	tool       string // its name
	item       *contentItem
	history    []string // resource link ids of what it is a copy of, newest first
}

func (ct *content) resourceLinkID() string { return "rl-" + ct.course + "-" + ct.id }

// newContentID has no dot, so that it is no configured activity's.
func newContentID() string { return "dl-" + strings.ToLower(rand.Text()[:12]) }

// addItems adds content items to the course of a request, all or none.
func (b *book) addItems(d *deepLink, items []*contentItem) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.contents)+len(items) > maxContents {
		return false
	}
	for _, item := range items {
		b.contents = append(b.contents, &content{id: newContentID(), course: d.course, tool: d.tool, item: item})
	}
	return true
}

// forgetLink removes the line items of a link, and their grades. The caller holds
// the lock.
func (b *book) forgetLink(resourceLink string) {
	for key, item := range maps.Clone(b.items) {
		if item.resourceLink == resourceLink {
			b.removeLocked(key)
		}
	}
	for key := range b.grades { // of a line item that never was in the book
		if "rl-"+key.item.course+"-"+key.item.id == resourceLink {
			delete(b.grades, key)
		}
	}
}

// activityFor makes an activity of content that is a link to a tool which is still
// there; of other content nil.
func (p *platform) activityFor(b *book, ct *content) *activity {
	t := p.toolByName(b, ct.tool)
	if ct.item.kind != itemResourceLink || t == nil {
		return nil
	}
	l := &Link{Title: ct.item.title, TargetLinkURI: ct.item.url, Target: targetIframe, Ungraded: true}
	if l.TargetLinkURI == "" {
		l.TargetLinkURI = t.deepLinkURL()
	}
	if ct.item.inWindow {
		l.Target = targetWindow
	}
	if line := ct.item.line; line != nil {
		l.Ungraded, l.ScoreMaximum, l.ResourceID, l.Tag = false, line.maximum, line.resourceID, line.tag
	}
	return &activity{Link: l, ID: ct.id, Tool: t, Added: ct}
}

// toolActivities lists the activities that stand in every course: first those that
// are configured.
func (p *platform) toolActivities(b *book) []*activity {
	list := slices.Clone(p.activities)
	for _, t := range p.added(b) {
		list = append(list, t.activities...)
	}
	return list
}

// activitiesLocked lists the activities of a course: first those that the tools
// bring, then those that were added. The caller holds the lock of the book.
func (p *platform) activitiesLocked(b *book, c *course) []*activity {
	list := p.toolActivities(b)
	for _, ct := range b.contents {
		if ct.course == c.ID {
			if a := p.activityFor(b, ct); a != nil {
				list = append(list, a)
			}
		}
	}
	return list
}

func (p *platform) activityLocked(b *book, c *course, id string) *activity {
	for _, a := range p.activitiesLocked(b, c) {
		if a.ID == id {
			return a
		}
	}
	return nil
}

// activity returns an activity of a course, or nil.
func (p *platform) activity(b *book, c *course, id string) *activity {
	b.mu.Lock()
	defer b.mu.Unlock()
	return p.activityLocked(b, c, id)
}

// linked returns the activity of a tool in a course that has a resource link id,
// or nil.
func (p *platform) linked(b *book, c *course, t *Tool, resourceLink string) *activity {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range p.activitiesLocked(b, c) {
		if a.Tool == t && a.resourceLinkID(c) == resourceLink {
			return a
		}
	}
	return nil
}

// courseEntry is a line of a course's page.
type courseEntry struct {
	Title, Text string
	Tool        string
	Tag         string // what it is
	Path        string // of an activity
	URL         string // of what is elsewhere
	Icon, Image string
	HTML        string // a document for a frame in which nothing may be done
	Added       string // the id of what can be removed
}

func (p *platform) entries(v *visit, c *course) []courseEntry {
	b := p.state.book(v.issuer)
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []courseEntry
	add := func(a *activity, e courseEntry) {
		e.Title, e.Tool, e.Path, e.Tag = a.Title, a.Tool.Title, "/course/"+c.ID+"/activity/"+a.ID, "in this page"
		if a.InWindow() {
			e.Tag = "new window"
		}
		list = append(list, e)
	}
	for _, a := range p.toolActivities(b) {
		add(a, courseEntry{})
	}
	for _, ct := range b.contents {
		t := p.toolByName(b, ct.tool)
		if ct.course != c.ID || t == nil {
			continue
		}
		e := courseEntry{Text: ct.item.text, Icon: ct.item.icon, Added: ct.id}
		if a := p.activityFor(b, ct); a != nil {
			add(a, e)
			continue
		}
		e.Title, e.Tool, e.Tag, e.URL, e.HTML = ct.item.title, t.Title, ct.item.kind, ct.item.url, ct.item.html
		if ct.item.kind == itemImage {
			e.Image = ct.item.url
		}
		if ct.item.expires != "" {
			e.Tag += ", until " + ct.item.expires
		}
		list = append(list, e)
	}
	return list
}

// formOf reads one field of a form of the course's page.
func (p *platform) formOf(v *visit, name string) string {
	v.limit(4 << 10)
	if v.r.ParseForm() != nil {
		return ""
	}
	return v.r.PostForm.Get(name)
}

// removeContent removes what was added, with its line items and grades.
func (p *platform) removeContent(v *visit, c *course) error {
	id := p.formOf(v, "content")
	b := p.state.book(v.issuer)
	b.mu.Lock()
	i := slices.IndexFunc(b.contents, func(ct *content) bool { return ct.course == c.ID && ct.id == id })
	if i >= 0 {
		b.forgetLink(b.contents[i].resourceLinkID())
		b.contents = slices.Delete(b.contents, i, i+1)
	}
	b.mu.Unlock()
	if i < 0 {
		return p.refuse(v, http.StatusNotFound, "Not found", "There is no such content in this course. Was it removed before?")
	}
	http.Redirect(v.w, v.r, "/course/"+c.ID, http.StatusSeeOther)
	return nil
}

// copyCourse copies what was added to a course, and the line items, into another
// one, as an LMS copies a course: the links have new ids, grades stay behind.
func (p *platform) copyCourse(v *visit, c *course) error {
	to := findCourse(p.formOf(v, "to"))
	if to == nil || to == c {
		return p.refuse(v, http.StatusBadRequest, "Not understood", "There is no such course to copy to.")
	}
	if !p.copyContents(p.state.book(v.issuer), c, to) {
		return p.refuse(v, http.StatusConflict, "Too much", "The course cannot hold all of that as well.")
	}
	http.Redirect(v.w, v.r, "/course/"+to.ID, http.StatusSeeOther)
	return nil
}

func (p *platform) copyContents(b *book, from, to *course) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	var contents []*content
	ids := make(map[string]string) // new ones of contents, by old ones
	for _, ct := range b.contents {
		if ct.course == from.ID {
			twin := *ct
			twin.id, twin.course = newContentID(), to.ID
			twin.history = append([]string{ct.resourceLinkID()}, ct.history...)
			ids[ct.id] = twin.id
			contents = append(contents, &twin)
		}
	}
	links := make(map[string]string) // the same for resource links
	for _, a := range p.activitiesLocked(b, from) {
		id := a.ID
		if a.Added != nil {
			id = ids[a.ID]
		}
		links[a.resourceLinkID(from)] = "rl-" + to.ID + "-" + id
	}
	var items []*lineItem
	for _, item := range b.items {
		if item.course != from.ID {
			continue
		}
		twin := *item
		twin.course, twin.resourceLink = to.ID, links[item.resourceLink]
		switch id, added := ids[item.id]; {
		case added:
			twin.id = id
		case item.coupled:
			continue // the other course has its own
		default:
			twin.id = strings.ToLower(rand.Text()[:12])
		}
		items = append(items, &twin)
	}
	if len(b.contents)+len(contents) > maxContents || len(b.order)+len(items) > maxLineItems {
		return false
	}
	b.contents = append(b.contents, contents...)
	for _, item := range items {
		if !item.coupled {
			b.order = append(b.order, item.key())
		}
		b.items[item.key()] = item
	}
	return true
}
