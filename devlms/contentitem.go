package devlms

import (
	"encoding/json"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-lti/lti/internal/strictjson"
)

// contentItem is a piece of content that a tool offers (Deep Linking 2.0 §3).
type contentItem struct {
	kind        string
	title, text string
	url         string
	icon        string // URL of it, or of the thumbnail
	window      string // targetName
	inWindow    bool
	html        string // of an html item, or to embed
	custom      map[string]string
	line        *contentLine

	available, submission span
	expires               string
}

// Title and Kind are for the page that lists what was added.
func (i *contentItem) Title() string { return i.title }
func (i *contentItem) Kind() string  { return i.kind }

// contentLine is the line item that an item asks for.
type contentLine struct {
	label           string
	maximum         float64
	resourceID, tag string
	kept            map[string]json.RawMessage
}

// span is a time with two ends, as they were written.
type span struct{ start, end string }

// parseItem reads one content item. A problem begins with where it is.
func (s *settings) parseItem(raw json.RawMessage, t *Tool) (*contentItem, string) {
	r := newItemReader(raw)
	item := &contentItem{kind: r.text("type")}
	switch {
	case r.problem != "":
	case item.kind == "":
		r.fail("type", "is missing")
	case !s.Accepts(item.kind):
		r.fail("type", "is none of accept_types")
	case isExtension(item.kind):
		// What it means is between the tool and those who know the type.
		if item.title = r.text("title"); item.title == "" {
			item.title = t.Title
		}
		return item, r.problem
	}
	if r.problem != "" {
		return nil, r.problem
	}
	if item.title = r.text("title"); item.title == "" {
		item.title = t.Title // as in Moodle
	}
	item.text = r.text("text")
	if item.kind != itemHTML {
		item.url = r.url("url")
		icon, thumbnail := r.image("icon"), r.image("thumbnail")
		if item.icon = icon; icon == "" {
			item.icon = thumbnail
		}
	}
	switch item.kind {
	case itemResourceLink:
		r.resourceLink(item, t)
	case itemLink:
		if embed := r.object("embed"); embed != nil {
			item.html = embed.required("html")
			embed.end()
		}
	case itemFile:
		item.expires = r.moment("expiresAt")
		if media := r.text("mediaType"); media != "" && !acceptsMedia(s.MediaTypes, media) {
			r.fail("mediaType", "is none of accept_media_types")
		}
	case itemHTML:
		item.html = r.required("html")
	case itemImage:
		r.integers("width", "height")
	}
	if item.kind == itemResourceLink || item.kind == itemLink {
		r.presentation(item)
		for _, target := range itemTargets {
			if r.used[target] && !slices.Contains(s.Targets, target) {
				r.fail(target, "is none of accept_presentation_document_targets")
			}
		}
	}
	if item.kind != itemHTML && item.kind != itemResourceLink && item.url == "" {
		r.fail("url", "is missing")
	}
	r.end()
	return item, r.problem
}

// resourceLink reads what only a link to the tool itself has.
func (r *itemReader) resourceLink(item *contentItem, t *Tool) {
	if u, err := url.Parse(item.url); item.url != "" && err == nil {
		if !slices.Contains(strings.Fields(origins(t.origins())), u.Scheme+"://"+u.Host) {
			r.fail("url", "is at none of the origins of the tool")
		}
	}
	if raw, ok := r.take("custom"); ok {
		members, err := strictjson.Object(raw)
		if err != nil {
			r.fail("custom", "is not an object")
		}
		item.custom = make(map[string]string, len(members))
		for name, raw := range members {
			value, ok := jsonText(raw)
			if !ok || name == "" {
				r.fail("custom", "has something else than strings under names")
			}
			item.custom[name] = value
		}
	}
	item.available, item.submission = r.span("available"), r.span("submission")
	line := r.object("lineItem")
	if line == nil {
		return
	}
	item.line = &contentLine{
		label: line.text("label"), resourceID: line.text("resourceId"), tag: line.text("tag"),
		kept: make(map[string]json.RawMessage),
	}
	if strings.TrimSpace(item.line.label) == "" {
		item.line.label = item.title
	}
	raw, ok := line.take("scoreMaximum")
	switch {
	case !ok || json.Unmarshal(raw, &item.line.maximum) != nil:
		line.fail("scoreMaximum", "is missing or not a number")
	case item.line.maximum < minMaximum || item.line.maximum > maxPoints:
		line.fail("scoreMaximum", "is not above 0, or too large")
	}
	if raw, ok := line.take("gradesReleased"); ok {
		var released bool
		if json.Unmarshal(raw, &released) != nil {
			line.fail("gradesReleased", "is not true or false")
		}
		item.line.kept["gradesReleased"] = raw
	}
	if raw, ok := line.take("submissionReview"); ok {
		if _, err := strictjson.Object(raw); err != nil {
			line.fail("submissionReview", "is not an object")
		}
		item.line.kept["submissionReview"] = raw
	}
	maps.Copy(item.line.kept, line.end())
}

// presentation reads how a link is to be shown.
func (r *itemReader) presentation(item *contentItem) {
	if w := r.object("window"); w != nil {
		item.inWindow, item.window = true, w.text("targetName")
		w.text("windowFeatures")
		w.integers("width", "height")
		w.end()
		r.used[targetWindow] = true
	}
	if f := r.object("iframe"); f != nil {
		item.inWindow = false // in the page, where both will do
		if item.kind == itemLink && f.url("src") == "" {
			f.fail("src", "is missing")
		}
		f.integers("width", "height")
		f.end()
		r.used[targetIframe] = true
	}
	r.used[targetEmbed] = item.html != ""
}

// itemReader reads the members of an object of a content item, each once, and
// remembers the first mistake.
type itemReader struct {
	root    *itemReader // where the mistake is remembered
	where   string
	members map[string]json.RawMessage
	problem string
	used    map[string]bool // document targets
}

func newItemReader(raw json.RawMessage) *itemReader {
	r := &itemReader{used: make(map[string]bool)}
	r.root = r
	r.read(raw)
	return r
}

func (r *itemReader) read(raw json.RawMessage) {
	members, err := strictjson.Object(raw)
	if err != nil {
		r.fail("", "is not an object whose members have different names")
	}
	r.members = members
}

func (r *itemReader) fail(name, reason string) {
	if r.root.problem == "" {
		where := r.where
		if name != "" {
			where += "." + truncate(name)
		}
		r.root.problem = where + " " + reason
	}
}

// take returns a member that has a value; it is not left for end.
func (r *itemReader) take(name string) (json.RawMessage, bool) {
	raw, ok := r.members[name]
	delete(r.members, name)
	if ok && string(raw) == "null" {
		r.fail(name, "is null")
		return nil, false
	}
	return raw, ok
}

// end refuses what is left and is no extension, whose names are full URLs (Deep
// Linking 2.0 §3), and returns the rest.
func (r *itemReader) end() map[string]json.RawMessage {
	for _, name := range slices.Sorted(maps.Keys(r.members)) {
		if !isExtension(name) {
			r.fail(name, "is no member of it, and extensions have full URLs for names")
		}
	}
	return r.members
}

// text returns a string, or "" if there is none.
func (r *itemReader) text(name string) string {
	raw, ok := r.take(name)
	if !ok {
		return ""
	}
	s, ok := jsonText(raw)
	if !ok {
		r.fail(name, "is not a string")
	}
	return s
}

func (r *itemReader) required(name string) string {
	s := r.text(name)
	if s == "" {
		r.fail(name, "is missing or empty")
	}
	return s
}

// host leaves nothing that a policy or an attribute could take for its own end.
var host = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?$`)

func (r *itemReader) url(name string) string {
	s := r.text(name)
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", !host.MatchString(u.Host), u.User != nil:
		r.fail(name, "is no absolute URL with http or https")
	case u.Scheme == "http" && !isLocal(u.Host):
		r.fail(name, "is on http, which is for localhost only")
	}
	return s
}

// integers reads numbers of pixels.
func (r *itemReader) integers(names ...string) {
	for _, name := range names {
		if raw, ok := r.take(name); ok {
			if n, err := strconv.Atoi(string(raw)); err != nil || n < 0 {
				r.fail(name, "is not an integer")
			}
		}
	}
}

// object returns a reader of an object that is a member, or nil.
func (r *itemReader) object(name string) *itemReader {
	raw, ok := r.take(name)
	if !ok {
		return nil
	}
	inner := &itemReader{root: r.root, where: r.where + "." + name, used: r.used}
	inner.read(raw)
	return inner
}

func (r *itemReader) image(name string) string {
	o := r.object(name)
	if o == nil {
		return ""
	}
	u := o.url("url")
	if u == "" {
		o.fail("url", "is missing")
	}
	o.integers("width", "height")
	o.end()
	return u
}

// moment reads an ISO 8601 time.
func (r *itemReader) moment(name string) string {
	s := r.text(name)
	if s != "" {
		if _, err := time.Parse(time.RFC3339, s); err != nil {
			r.fail(name, "is no ISO 8601 time with a zone")
		}
	}
	return s
}

func (r *itemReader) span(name string) span {
	o := r.object(name)
	if o == nil {
		return span{}
	}
	s := span{o.moment("startDateTime"), o.moment("endDateTime")}
	if s.start != "" && s.end != "" {
		start, _ := time.Parse(time.RFC3339, s.start)
		if end, _ := time.Parse(time.RFC3339, s.end); end.Before(start) {
			o.fail("endDateTime", "is before startDateTime")
		}
	}
	o.end()
	return s
}

// acceptsMedia compares a media type with accept_media_types, such as
// "image/*,text/html"; "" is any.
func acceptsMedia(accepted, media string) bool {
	if accepted == "" {
		return true
	}
	kind, _, _ := strings.Cut(media, "/")
	for one := range strings.SplitSeq(accepted, ",") {
		if one = strings.TrimSpace(one); one == "*/*" || one == media || one == kind+"/*" {
			return true
		}
	}
	return false
}
