package deeplink

import (
	"encoding/json"
	"strings"
	"time"
)

// Types of items (Deep Linking 2.0, Content Item Types). Others have a full URL
// as their type, or are typeAssetProcessor.
const (
	TypeLink         = "link"            // a page of the web
	TypeResourceLink = "ltiResourceLink" // an activity of the tool
	TypeFile         = "file"            // that the platform fetches
	TypeHTML         = "html"            // a fragment
	TypeImage        = "image"
)

// typeAssetProcessor is 1EdTech's own, from LTI Asset Processor 1.0.
const typeAssetProcessor = "ltiAssetProcessor"

// Response is what a tool says to a deep-linking request. An empty one says that
// nothing was chosen.
type Response struct {
	Items    []Item
	Msg      string // for the person
	Log      string // for the platform's log
	ErrorMsg string // for the person, where something went wrong
	ErrorLog string // for the platform's log, where something went wrong
}

// Item is one thing to be added to the course. Which members it may have is a
// matter of its type; all but a type's own are optional.
type Item struct {
	Type  string
	URL   string // all but html. An activity without gets Site.Home
	HTML  string // html
	Title string
	Text  string

	Icon      *Picture // all but html
	Thumbnail *Picture // all but html
	Window    *Window  // link, ltiResourceLink
	Iframe    *Iframe  // link, ltiResourceLink
	Embed     *Embed   // link

	// Custom parameters come with every launch of an ltiResourceLink. Values may
	// hold $Variables. Schoology lower-cases the names.
	Custom     map[string]string
	LineItem   *LineItem // ltiResourceLink
	Available  *Period   // ltiResourceLink: when it can be opened
	Submission *Period   // ltiResourceLink: when work can be handed in

	ExpiresAt time.Time // file: when URL ends; zero if it does not
	MediaType string    // file

	Width  int // image, in pixels
	Height int // image, in pixels

	// Extra are further members: extensions, whose names are full URLs. Of an
	// item whose type is not one of the above it has all, and they are sent
	// as they are.
	Extra map[string]json.RawMessage
}

// Picture is an icon or thumbnail.
type Picture struct {
	URL    string `json:"url"`
	Width  int    `json:"width,omitempty"`
	Height int    `json:"height,omitempty"`
}

// Window says how the item opens in a window of its own.
type Window struct {
	TargetName string `json:"targetName,omitempty"`
	Width      int    `json:"width,omitempty"`
	Height     int    `json:"height,omitempty"`
	Features   string `json:"windowFeatures,omitempty"`
}

// Iframe says how the item is shown in an iframe.
type Iframe struct {
	Src    string `json:"src,omitempty"` // of a link, which must have it
	Width  int    `json:"width,omitempty"`
	Height int    `json:"height,omitempty"`
}

// Embed is the HTML that shows a link.
type Embed struct {
	HTML string `json:"html"`
}

// Period is from Start to End; the zero time stands for an open end.
type Period struct {
	Start time.Time `json:"startDateTime,omitzero"`
	End   time.Time `json:"endDateTime,omitzero"`
}

// LineItem is the column of the gradebook that comes with an activity.
type LineItem struct {
	ScoreMaximum   float64 // greater than 0
	Label          string  // default: the item's title
	ResourceID     string
	Tag            string
	GradesReleased *bool

	// SubmissionReview asks for launches that show a submission; see
	// Submission Review 1.0.
	SubmissionReview json.RawMessage

	// Extra are extensions, whose names are full URLs.
	Extra map[string]json.RawMessage
}

// member is one of an item, and what it has there.
type member struct {
	name  string
	value any
}

// members returns what is set of the item but its type and Extra.
func (it *Item) members() []member {
	var set []member
	add := func(name string, value any, is bool) {
		if is {
			set = append(set, member{name, value})
		}
	}
	add("url", it.URL, it.URL != "")
	add("html", it.HTML, it.HTML != "")
	add("title", it.Title, it.Title != "")
	add("text", it.Text, it.Text != "")
	add("icon", it.Icon, it.Icon != nil)
	add("thumbnail", it.Thumbnail, it.Thumbnail != nil)
	add("window", it.Window, it.Window != nil)
	add("iframe", it.Iframe, it.Iframe != nil)
	add("embed", it.Embed, it.Embed != nil)
	add("custom", it.Custom, it.Custom != nil)
	add("lineItem", it.LineItem, it.LineItem != nil)
	add("available", it.Available, it.Available != nil)
	add("submission", it.Submission, it.Submission != nil)
	add("expiresAt", it.ExpiresAt, !it.ExpiresAt.IsZero())
	add("mediaType", it.MediaType, it.MediaType != "")
	add("width", it.Width, it.Width != 0)
	add("height", it.Height, it.Height != 0)
	return set
}

// membersOf says which members an item of a type may have.
var membersOf = map[string][]string{
	TypeLink: {"url", "title", "text", "icon", "thumbnail", "window", "iframe", "embed"},
	TypeResourceLink: {
		"url", "title", "text", "icon", "thumbnail", "window", "iframe", "custom", "lineItem", "available", "submission",
	},
	TypeFile:  {"url", "title", "text", "icon", "thumbnail", "expiresAt", "mediaType"},
	TypeHTML:  {"html", "title", "text"},
	TypeImage: {"url", "title", "text", "icon", "thumbnail", "width", "height"},
}

// isForeign tells whether a type is one that may be sent, but is not known here.
func isForeign(typ string) bool { return typ == typeAssetProcessor || isExtension(typ) }

// isExtension tells whether a name is one that anybody may add: a full URL.
func isExtension(name string) bool {
	return strings.HasPrefix(name, "https://") || strings.HasPrefix(name, "http://")
}

// MarshalJSON writes the members that are set, and Extra.
func (it Item) MarshalJSON() ([]byte, error) {
	obj := object(it.Extra)
	obj["type"] = it.Type
	for _, m := range it.members() {
		obj[m.name] = m.value
	}
	return json.Marshal(obj)
}

// MarshalJSON writes the members that are set, and Extra.
func (li LineItem) MarshalJSON() ([]byte, error) {
	obj := object(li.Extra)
	obj["scoreMaximum"] = li.ScoreMaximum
	for _, m := range []struct{ name, value string }{
		{"label", li.Label}, {"resourceId", li.ResourceID}, {"tag", li.Tag},
	} {
		if m.value != "" {
			obj[m.name] = m.value
		}
	}
	if li.GradesReleased != nil {
		obj["gradesReleased"] = *li.GradesReleased
	}
	if len(li.SubmissionReview) > 0 {
		obj["submissionReview"] = li.SubmissionReview
	}
	return json.Marshal(obj)
}

func object(extra map[string]json.RawMessage) map[string]any {
	obj := make(map[string]any, len(extra)+8)
	for name, raw := range extra {
		obj[name] = raw
	}
	return obj
}
