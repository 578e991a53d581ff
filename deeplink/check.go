package deeplink

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"mime"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Sizes of texts, in bytes.
const (
	maxTitle = 1 << 10 // and the like: labels, ids, names
	maxText  = 16 << 10
	maxHTML  = 64 << 10
	maxURL   = 4 << 10
)

// maxPixels is more than any screen has.
const maxPixels = 100_000

var pixelsRule = fmt.Sprintf("must be a whole number of pixels from 1 to %d", maxPixels)

// check holds one response against a request.
type check struct {
	req     *Request
	site    Site
	errs    FieldErrors
	dropped []string
}

// response returns res as it can be sent. It changes nothing of what it is given.
func (c *check) response(res *Response) *Response {
	fit := *res
	for _, m := range []struct{ name, value string }{
		{"msg", res.Msg}, {"log", res.Log}, {"errormsg", res.ErrorMsg}, {"errorlog", res.ErrorLog},
	} {
		c.text(m.name, m.value, maxText)
	}
	switch n := len(res.Items); {
	case n > MaxItems:
		c.errs.add("content_items", "must have at most %d items", MaxItems)
		return nil
	case n > 1 && !c.req.AcceptMultiple:
		c.errs.add("content_items", "must have one item at most: the platform takes no more here")
	}
	fit.Items = make([]Item, len(res.Items)) // never null
	for i := range res.Items {
		fit.Items[i] = c.item(res.Items[i], itemPath(i)+".")
	}
	if len(c.errs) > 0 {
		return nil
	}
	if data, err := json.Marshal(fit.Items); err != nil {
		c.errs.add("content_items", "cannot be written as JSON") // some Extra is none
	} else if len(data) > MaxBytes {
		c.errs.add("content_items", "must have at most %d bytes together", MaxBytes)
	}
	return &fit
}

// item returns the item as the platform takes it.
func (c *check) item(it Item, path string) Item {
	if !checkType(it.Type, path, &c.errs) {
		return it
	}
	if !slices.Contains(c.req.AcceptTypes, it.Type) {
		c.errs.add(path+"type", "is %s: here the platform takes %s", clip(it.Type), list(c.req.AcceptTypes))
		return it
	}
	if isForeign(it.Type) {
		return it
	}
	if it.Type == TypeResourceLink && it.URL == "" {
		// The specification lets it be left out; Blackboard does not.
		it.URL = c.site.Home
	}
	for _, m := range it.members() {
		switch {
		case !slices.Contains(membersOf[it.Type], m.name):
			c.errs.add(path+m.name, "does not belong to an item of type %s", it.Type)
		case isTarget(m.name) && !slices.Contains(c.req.AcceptTargets, m.name):
			c.errs.add(path+m.name, "is a way to show the item that the platform does not take here: it takes %s", list(c.req.AcceptTargets))
		}
	}
	c.extra(path, it.Extra)
	c.text(path+"title", it.Title, maxTitle)
	c.text(path+"text", it.Text, maxText)
	c.picture(path+"icon.", it.Icon)
	c.picture(path+"thumbnail.", it.Thumbnail)
	c.window(path, &it)
	switch it.Type {
	case TypeHTML:
		c.html(path+"html", it.HTML)
	default:
		c.url(path+"url", it.URL, it.Type == TypeResourceLink)
	}
	c.custom(path+"custom.", it.Custom)
	c.period(path+"available", it.Available)
	c.period(path+"submission", it.Submission)
	c.time(path+"expiresAt", it.ExpiresAt)
	c.mediaType(path+"mediaType", it.MediaType)
	c.pixels(path, it.Width, it.Height)
	if it.LineItem != nil {
		c.lineItem(path+"lineItem.", it.LineItem)
		if c.req.AcceptLineItem != nil && !*c.req.AcceptLineItem {
			it.LineItem = nil
			c.dropped = append(c.dropped, path+"lineItem")
		}
	}
	return it
}

func checkType(typ, path string, errs *FieldErrors) bool {
	switch {
	case typ == "":
		errs.add(path+"type", "is required: one of %s", list(slices.Sorted(maps.Keys(membersOf))))
	case membersOf[typ] == nil && !isForeign(typ):
		errs.add(path+"type", "is %s: it must be one of %s, or a full URL", clip(typ), list(slices.Sorted(maps.Keys(membersOf))))
	default:
		return true
	}
	return false
}

func list(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	clipped := make([]string, len(words))
	for i, w := range words {
		clipped[i] = clip(w)
	}
	return strings.Join(clipped, ", ")
}

// isTarget tells whether a member says how the item is shown.
func isTarget(name string) bool { return name == "window" || name == "iframe" || name == "embed" }

func (c *check) text(field, s string, limit int) {
	switch {
	case len(s) > limit:
		c.errs.add(field, "must have at most %d bytes", limit)
	case !utf8.ValidString(s) || hasControl(s, "\n\r\t"):
		c.errs.add(field, "must not contain control characters or invalid UTF-8")
	}
}

func (c *check) html(field, s string) {
	if strings.TrimSpace(s) == "" {
		c.errs.add(field, "is required")
	}
	c.text(field, s, maxHTML)
}

// url checks an address. An own one must be a page of the site.
func (c *check) url(field, raw string, own bool) {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		c.errs.add(field, "is required")
	case len(raw) > maxURL:
		c.errs.add(field, "must have at most %d bytes", maxURL)
	case err != nil, !utf8.ValidString(raw), strings.ContainsFunc(raw, oddInURL):
		c.errs.add(field, "is not a URL")
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		c.errs.add(field, "must be a whole URL that begins with https:// or http://")
	case u.User != nil:
		c.errs.add(field, "must not contain a user name")
	case own && !c.site.Owns(u):
		c.errs.add(field, "is no page of this site, and only those can be opened by a launch; what lies elsewhere is of type link")
	}
}

// oddInURL finds what browsers read in another way than we do.
func oddInURL(r rune) bool { return r == '\\' || unicode.IsSpace(r) || unicode.IsControl(r) }

func (c *check) pixels(path string, width, height int) {
	for _, m := range []struct {
		name string
		n    int
	}{{"width", width}, {"height", height}} {
		if m.n < 0 || m.n > maxPixels {
			c.errs.add(path+m.name, "%s", pixelsRule)
		}
	}
}

func (c *check) picture(path string, p *Picture) {
	if p != nil {
		c.url(path+"url", p.URL, false)
		c.pixels(path, p.Width, p.Height)
	}
}

// window checks the ways to show an item.
func (c *check) window(path string, it *Item) {
	if w := it.Window; w != nil {
		c.text(path+"window.targetName", w.TargetName, maxTitle)
		c.text(path+"window.windowFeatures", w.Features, maxTitle)
		c.pixels(path+"window.", w.Width, w.Height)
	}
	if f := it.Iframe; f != nil {
		switch {
		case it.Type == TypeLink:
			c.url(path+"iframe.src", f.Src, false)
		case f.Src != "":
			c.errs.add(path+"iframe.src", "does not belong to an item of type %s: its frame shows its url", it.Type)
		}
		c.pixels(path+"iframe.", f.Width, f.Height)
	}
	if it.Embed != nil {
		c.html(path+"embed.html", it.Embed.HTML)
	}
}

func (c *check) custom(path string, custom map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(custom)) {
		field := path + clip(name)
		if name == "" || len(name) > maxTitle || hasControl(name, "") || !utf8.ValidString(name) {
			c.errs.add(field, "is not a name for a parameter")
		}
		c.text(field, custom[name], maxText)
	}
}

func (c *check) period(path string, p *Period) {
	if p == nil {
		return
	}
	c.time(path+".startDateTime", p.Start)
	c.time(path+".endDateTime", p.End)
	if !p.Start.IsZero() && !p.End.IsZero() && !p.Start.Before(p.End) {
		c.errs.add(path, "must have startDateTime before endDateTime")
	}
}

// time checks that a time has the four digits of a year.
func (c *check) time(field string, t time.Time) {
	if _, err := t.MarshalJSON(); err != nil {
		c.errs.add(field, timeRule)
	}
}

// mediaType holds that of a file against those that the platform takes. A file
// need not have one.
func (c *check) mediaType(field, s string) {
	if s == "" {
		return
	}
	typ, _, err := mime.ParseMediaType(s)
	if kind, sub, ok := strings.Cut(typ, "/"); err != nil || !ok || kind == "" || sub == "" || len(s) > maxTitle {
		c.errs.add(field, "is not a media type, such as text/html")
		return
	}
	if takes := c.req.AcceptMediaTypes; len(takes) > 0 && !slices.ContainsFunc(takes, func(t string) bool { return covers(t, typ) }) {
		c.errs.add(field, "is %s: here the platform takes files of %s", clip(typ), list(takes))
	}
}

// covers tells whether a range such as image/* has the media type, which is in
// lower case.
func covers(mediaRange, typ string) bool {
	mediaRange, _, _ = strings.Cut(strings.ToLower(mediaRange), ";")
	mediaRange = strings.TrimSpace(mediaRange)
	if mediaRange == "*/*" || mediaRange == "*" {
		return true
	}
	if kind, ok := strings.CutSuffix(mediaRange, "/*"); ok {
		return strings.HasPrefix(typ, kind+"/")
	}
	return mediaRange == typ
}

func (c *check) lineItem(path string, li *LineItem) {
	switch m := li.ScoreMaximum; {
	case math.IsNaN(m) || math.IsInf(m, 0):
		c.errs.add(path+"scoreMaximum", "must be a finite number")
	case m <= 0:
		c.errs.add(path+"scoreMaximum", "must be greater than 0")
	}
	c.text(path+"label", li.Label, maxTitle)
	c.text(path+"resourceId", li.ResourceID, maxTitle)
	c.text(path+"tag", li.Tag, maxTitle)
	if len(li.SubmissionReview) > 0 && (!json.Valid(li.SubmissionReview) || li.SubmissionReview[0] != '{') {
		c.errs.add(path+"submissionReview", "must be an object")
	}
	c.extra(path, li.Extra)
}

// extra checks what others than [ParseResponse] may have put there.
func (c *check) extra(path string, extra map[string]json.RawMessage) {
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if !isExtension(name) {
			c.errs.add(path+clip(name), "is not a member that is known here")
		}
	}
}
