package devlms

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddy-lti/lti/internal/strictjson"
)

const (
	// maxLineItemBody limits a line item; a thousand are kept.
	maxLineItemBody = 16 << 10

	// Within these nothing that is computed becomes infinite.
	maxPoints  = 1e9
	minMaximum = 1e-6
)

// lineItem is a column of the gradebook (AGS 2.0 §3.2).
type lineItem struct {
	course  string
	id      string
	tool    string // its name
	coupled bool   // it came with the activity, and goes with it

	label        string
	maximum      float64
	resourceLink string
	resourceID   string
	tag          string
	// kept are the members that mean nothing here: the dates, gradesReleased,
	// submissionReview and extensions.
	kept map[string]json.RawMessage
}

// coupledItem is the line item that an activity has from the beginning. Its id
// is the activity's, so that its URL is the same after a restart.
func coupledItem(c *course, a *activity) *lineItem {
	item := &lineItem{
		course: c.ID, id: a.ID, tool: a.Tool.Name, coupled: true,
		label: a.Title, maximum: a.maximum(), resourceLink: a.resourceLinkID(c),
		resourceID: a.ResourceID, tag: a.Tag,
	}
	if a.Added != nil {
		item.label, item.kept = a.Added.item.line.label, a.Added.item.line.kept
	}
	return item
}

func (i *lineItem) key() itemKey { return itemKey{i.course, i.id} }

// url is the line item's own address, or one below it.
func (i *lineItem) url(issuer string, t *Tool, below string) string {
	return issuer + "/ags/" + i.course + "/lineitems/" + url.PathEscape(i.id) + "/lineitem" + below + "?" + typeID(t)
}

func (i *lineItem) view(issuer string, t *Tool) map[string]any {
	m := map[string]any{
		"id":           i.url(issuer, t, ""),
		"label":        i.label,
		"scoreMaximum": i.maximum,
		"resourceId":   i.resourceID,
		"tag":          i.tag,
	}
	if i.resourceLink != "" {
		m["resourceLinkId"] = i.resourceLink
	}
	for name, value := range i.kept {
		m[name] = value
	}
	return m
}

// parseLineItem reads a line item from a body.
func parseLineItem(r io.Reader) (*lineItem, *refusal) {
	members, refused := parseObject(r, maxLineItemBody)
	if refused != nil {
		return nil, refused
	}
	item := &lineItem{kept: make(map[string]json.RawMessage)}
	p := parser{members: members}
	item.label, _ = p.text("label")
	if strings.TrimSpace(item.label) == "" {
		p.fail("label is missing or blank")
	}
	if maximum, ok := p.number("scoreMaximum"); !ok || maximum < minMaximum {
		p.fail("scoreMaximum is missing or not above 0")
	} else {
		item.maximum = maximum
	}
	item.resourceLink, _ = p.text("resourceLinkId")
	item.resourceID, _ = p.text("resourceId")
	item.tag, _ = p.text("tag")

	var dates [2]time.Time
	for n, name := range []string{"startDateTime", "endDateTime"} {
		if s, _ := p.text(name); s != "" {
			t, err := time.Parse(time.RFC3339, s)
			if err != nil {
				p.fail(name + " is no ISO 8601 time with a zone")
			}
			dates[n] = t
		}
	}
	if !dates[0].IsZero() && !dates[1].IsZero() && dates[1].Before(dates[0]) {
		p.fail("endDateTime is before startDateTime")
	}
	var released *bool
	if json.Unmarshal(orNull(members["gradesReleased"]), &released) != nil {
		p.fail("gradesReleased is not true or false")
	}
	var review map[string]json.RawMessage
	if json.Unmarshal(orNull(members["submissionReview"]), &review) != nil {
		p.fail("submissionReview is not an object")
	}
	for name, value := range members {
		// Extensions have full URLs for names (AGS 2.0 §2.3).
		if slices.Contains([]string{"startDateTime", "endDateTime", "gradesReleased", "submissionReview"}, name) || isExtension(name) {
			item.kept[name] = value
		}
	}
	return item, p.refused
}

func isExtension(name string) bool {
	return strings.HasPrefix(name, "https://") || strings.HasPrefix(name, "http://")
}

// listLineItems answers with the tool's own line items (AGS 2.0 §3.2.6).
func (p *platform) listLineItems(c *call) *refusal {
	filters := map[string]func(*lineItem) string{
		"resource_link_id": func(i *lineItem) string { return i.resourceLink },
		"resource_id":      func(i *lineItem) string { return i.resourceID },
		"tag":              func(i *lineItem) string { return i.tag },
	}
	items := slices.DeleteFunc(p.lineItems(c.book, c.course, c.tool), func(i *lineItem) bool {
		for name, value := range filters {
			if c.query.Has(name) && value(i) != c.query.Get(name) {
				return true
			}
		}
		return false
	})
	from, to, refused := p.cut(c, len(items))
	if refused != nil {
		return refused
	}
	list := []map[string]any{} // an array even if it is empty
	for _, item := range items[from:to] {
		list = append(list, item.view(c.issuer, c.tool))
	}
	answerJSON(c.visit, http.StatusOK, typeLineItems, list)
	return nil
}

func (p *platform) createLineItem(c *call) *refusal {
	item, refused := parseLineItem(c.r.Body)
	if refused != nil {
		return refused
	}
	if item.resourceLink != "" && p.linked(c.book, c.course, c.tool, item.resourceLink) == nil {
		return refuse(http.StatusNotFound, "resourceLinkId is no link of this tool in this course")
	}
	item.course, item.tool = c.course.ID, c.tool.Name
	item.id = strings.ToLower(rand.Text()[:12])
	if !c.book.put(item) {
		return refuse(http.StatusForbidden, "there are %d line items already", maxLineItems)
	}
	answerJSON(c.visit, http.StatusCreated, typeLineItem, item.view(c.issuer, c.tool))
	return nil
}

// withItem serves a call of one line item.
func (p *platform) withItem(serve func(*call, *lineItem) *refusal) func(*call) *refusal {
	return func(c *call) *refusal {
		item := p.find(c.book, c.course, c.tool, c.args[1])
		if item == nil {
			return refuse(http.StatusNotFound, "there is no such line item")
		}
		return serve(c, item)
	}
}

func (p *platform) readLineItem(c *call, item *lineItem) *refusal {
	answerJSON(c.visit, http.StatusOK, typeLineItem, item.view(c.issuer, c.tool))
	return nil
}

// updateLineItem replaces all of it: what is left out is gone.
func (p *platform) updateLineItem(c *call, item *lineItem) *refusal {
	changed, refused := parseLineItem(c.r.Body)
	if refused != nil {
		return refused
	}
	// AGS 2.0 §3.2.9: it must not change.
	if changed.resourceLink != "" && changed.resourceLink != item.resourceLink {
		return refuse(http.StatusBadRequest, "resourceLinkId cannot be changed")
	}
	changed.course, changed.id, changed.tool, changed.coupled = item.course, item.id, item.tool, item.coupled
	changed.resourceLink = item.resourceLink
	c.book.put(changed)
	answerJSON(c.visit, http.StatusOK, typeLineItem, changed.view(c.issuer, c.tool))
	return nil
}

func (p *platform) deleteLineItem(c *call, item *lineItem) *refusal {
	if item.coupled {
		return refuse(http.StatusForbidden, "this line item belongs to its activity")
	}
	c.book.remove(item)
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// parser reads members of an object, and remembers the first mistake.
type parser struct {
	members map[string]json.RawMessage
	refused *refusal
}

func parseObject(r io.Reader, limit int64) (map[string]json.RawMessage, *refusal) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "the body cannot be read")
	case int64(len(data)) > limit:
		return nil, refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", limit)
	}
	members, err := strictjson.Object(data)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the body is not one JSON object")
	}
	// null and absent are the same here.
	maps.DeleteFunc(members, func(name string, value json.RawMessage) bool {
		return bytes.Equal(value, []byte("null")) && !isExtension(name) && name != "scoringUserId"
	})
	return members, nil
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func (p *parser) fail(reason string) {
	if p.refused == nil {
		p.refused = refuse(http.StatusBadRequest, "%s", reason)
	}
}

// text returns a string, and whether it is there.
func (p *parser) text(name string) (s string, ok bool) {
	raw, ok := p.members[name]
	if ok && json.Unmarshal(raw, &s) != nil {
		p.fail(name + " is not a string")
		return "", false
	}
	return s, ok
}

// number returns a number, and whether it is there.
func (p *parser) number(name string) (n float64, ok bool) {
	raw, ok := p.members[name]
	switch {
	case !ok:
		return 0, false
	case json.Unmarshal(raw, &n) != nil:
		p.fail(name + " is not a number")
		return 0, false
	case math.Abs(n) > maxPoints:
		p.fail(name + " is too large")
		return 0, false
	}
	return n, true
}
