package deeplink

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/caddy-lti/lti/internal/strictjson"
)

// What a response may have. A form has to carry all of it.
const (
	MaxBytes = 256 << 10 // as JSON
	MaxItems = 100
)

// ParseResponse reads what an app chose:
//
//	{"content_items": […], "msg": …, "log": …, "errormsg": …, "errorlog": …}
//
// all of them optional, items as the specification has them. An unknown member is
// an error, for a misspelt one would be lost without a word; extensions, whose
// names are full URLs, are kept. Whether the platform takes the response is found
// out by [Request.Answer]. If the JSON is sound, the error is a [FieldErrors].
func ParseResponse(data []byte) (*Response, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("the response has more than %d bytes", MaxBytes)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("the response is not UTF-8")
	}
	obj, err := strictjson.Object(data)
	if err != nil {
		return nil, err
	}
	var errs FieldErrors
	r := reader{obj: obj, errs: &errs}
	res := &Response{Msg: r.text("msg"), Log: r.text("log"), ErrorMsg: r.text("errormsg"), ErrorLog: r.text("errorlog")}
	if raw, ok := r.take("content_items"); ok {
		res.Items = parseItems(raw, &errs)
	}
	r.unknown(nil)
	if err := errs.orNil(); err != nil {
		return nil, err
	}
	return res, nil
}

func parseItems(data json.RawMessage, errs *FieldErrors) []Item {
	var raws []json.RawMessage
	if json.Unmarshal(data, &raws) != nil {
		errs.add("content_items", "must be a list")
		return nil
	}
	if len(raws) > MaxItems {
		errs.add("content_items", "must have at most %d items", MaxItems)
		return nil
	}
	items := make([]Item, len(raws))
	for i, raw := range raws {
		path := itemPath(i)
		obj, err := strictjson.Object(raw)
		if err != nil {
			errs.add(path, "%s", whyNoObject(err))
			continue
		}
		r := reader{obj: obj, path: path + ".", errs: errs}
		items[i] = r.item()
	}
	return items
}

func itemPath(i int) string { return fmt.Sprintf("content_items[%d]", i) }

func whyNoObject(err error) string {
	if errors.Is(err, strictjson.ErrDuplicate) {
		return "must not have a member twice"
	}
	return "must be an object"
}

// reader takes members out of what an app wrote, strictly. A member that is null
// counts as absent.
type reader struct {
	obj  map[string]json.RawMessage
	path string // before the names of members, in messages
	errs *FieldErrors
}

func (r *reader) item() Item {
	it := Item{Type: r.text("type")}
	switch {
	case isForeign(it.Type):
		it.Extra = r.obj
		return it
	case membersOf[it.Type] == nil:
		checkType(it.Type, r.path, r.errs)
		return it
	}
	it.URL = r.text("url")
	it.HTML = r.text("html")
	it.Title = r.text("title")
	it.Text = r.text("text")
	it.Icon = r.picture("icon")
	it.Thumbnail = r.picture("thumbnail")
	if o := r.object("window"); o != nil {
		it.Window = &Window{o.text("targetName"), o.pixels("width"), o.pixels("height"), o.text("windowFeatures")}
		o.unknown(nil)
	}
	if o := r.object("iframe"); o != nil {
		it.Iframe = &Iframe{o.text("src"), o.pixels("width"), o.pixels("height")}
		o.unknown(nil)
	}
	if o := r.object("embed"); o != nil {
		it.Embed = &Embed{o.text("html")}
		o.unknown(nil)
	}
	if o := r.object("custom"); o != nil {
		it.Custom = o.texts()
	}
	if o := r.object("lineItem"); o != nil {
		it.LineItem = o.lineItem()
	}
	it.Available = r.period("available")
	it.Submission = r.period("submission")
	it.ExpiresAt = r.time("expiresAt")
	it.MediaType = r.text("mediaType")
	it.Width = r.pixels("width")
	it.Height = r.pixels("height")
	it.Extra = r.unknown(isExtension)
	return it
}

func (r *reader) lineItem() *LineItem {
	li := &LineItem{Label: r.text("label"), ResourceID: r.text("resourceId"), Tag: r.text("tag")}
	if raw, ok := r.take("scoreMaximum"); !ok {
		r.errs.add(r.path+"scoreMaximum", "is required")
	} else if json.Unmarshal(raw, &li.ScoreMaximum) != nil {
		r.errs.add(r.path+"scoreMaximum", "must be a finite number")
	}
	if raw, ok := r.take("gradesReleased"); ok && json.Unmarshal(raw, &li.GradesReleased) != nil {
		r.errs.add(r.path+"gradesReleased", "must be true or false")
	}
	li.SubmissionReview, _ = r.take("submissionReview")
	li.Extra = r.unknown(isExtension)
	return li
}

func (r *reader) take(name string) (json.RawMessage, bool) {
	raw, ok := r.obj[name]
	delete(r.obj, name)
	if !ok || string(raw) == "null" {
		return nil, false
	}
	return raw, true
}

func (r *reader) text(name string) string {
	var s string
	if raw, ok := r.take(name); ok && json.Unmarshal(raw, &s) != nil {
		r.errs.add(r.path+name, "must be a string")
	}
	return s
}

// texts takes all members, which must be strings. Here null is none.
func (r *reader) texts() map[string]string {
	vals := make(map[string]string, len(r.obj))
	for _, name := range slices.Sorted(maps.Keys(r.obj)) {
		var s *string
		if json.Unmarshal(r.obj[name], &s) != nil || s == nil {
			r.errs.add(r.path+clip(name), "must be a string")
			continue
		}
		vals[name] = *s
	}
	return vals
}

func (r *reader) pixels(name string) int {
	raw, ok := r.take(name)
	if !ok {
		return 0
	}
	var n int
	if json.Unmarshal(raw, &n) != nil || n <= 0 {
		r.errs.add(r.path+name, "%s", pixelsRule)
		return 0
	}
	return n
}

const timeRule = "must be a time with a zone, such as 2026-03-01T10:00:00Z"

// timeForm is RFC 3339. The parser of package time takes more than that.
var timeForm = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$`)

func (r *reader) time(name string) time.Time {
	s := r.text(name)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if !timeForm.MatchString(s) || err != nil || t.IsZero() {
		r.errs.add(r.path+name, timeRule)
		return time.Time{}
	}
	return t
}

func (r *reader) object(name string) *reader {
	raw, ok := r.take(name)
	if !ok {
		return nil
	}
	obj, err := strictjson.Object(raw)
	if err != nil {
		r.errs.add(r.path+name, "%s", whyNoObject(err))
		return nil
	}
	return &reader{obj: obj, path: r.path + name + ".", errs: r.errs}
}

func (r *reader) picture(name string) *Picture {
	o := r.object(name)
	if o == nil {
		return nil
	}
	p := &Picture{o.text("url"), o.pixels("width"), o.pixels("height")}
	o.unknown(nil)
	return p
}

func (r *reader) period(name string) *Period {
	o := r.object(name)
	if o == nil {
		return nil
	}
	p := &Period{o.time("startDateTime"), o.time("endDateTime")}
	o.unknown(nil)
	return p
}

// unknown complains about what is left but for what may be there, and returns
// that.
func (r *reader) unknown(may func(name string) bool) map[string]json.RawMessage {
	for _, name := range slices.Sorted(maps.Keys(r.obj)) {
		if may == nil || !may(name) {
			r.errs.add(r.path+clip(name), "is not a member that is known here")
		}
	}
	if len(r.obj) == 0 {
		return nil
	}
	return r.obj
}
