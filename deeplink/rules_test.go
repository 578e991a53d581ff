package deeplink_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddy-lti/lti/deeplink"
)

// TestParseResponse has what an app may get wrong in writing.
func TestParseResponse(t *testing.T) {
	items := func(items ...string) string { return `{"content_items":[` + strings.Join(items, ",") + `]}` }
	act := func(more string) string { return items(`{"type":"ltiResourceLink",` + more + `}`) }
	for _, tc := range []struct {
		name, body string
		want       string // "" if it can be read
	}{
		{"null is absent", act(`"url":null,"icon":null,"lineItem":null,"custom":null,"available":null,"expiresAt":null,"width":null`), ""},
		{"numbers written otherwise", act(`"window":{"width":1},"lineItem":{"scoreMaximum":1e1}`), ""},
		{
			"all of these are mistakes", `{"content_items":[{"type":"link","titel":"x"},5],"message":1,"msg":2}`,
			"msg must be a string; content_items[0].titel is not a member that is known here; content_items[1] must be an object; message is not a member that is known here",
		},

		{"not JSON", `{"content_items":[}`, "reading JSON: invalid character '}' looking for beginning of value"},
		{"cut off", `{"content_items":[`, "reading JSON: unexpected EOF"},
		{"nothing", ``, "reading JSON: unexpected EOF"},
		{"not an object", `[]`, "not a JSON object"},
		{"more behind it", `{}{}`, "data after the JSON object"},
		{"a member twice", `{"msg":"a","msg":"b"}`, `duplicate member "msg"`},
		{"not UTF-8", "{\"msg\":\"\xff\"}", "the response is not UTF-8"},
		{"too long", `{"msg":"` + strings.Repeat("x", deeplink.MaxBytes) + `"}`, "the response has more than 262144 bytes"},

		{"items not a list", `{"content_items":{"type":"link"}}`, "content_items must be a list"},
		{"item null", items(`null`), "content_items[0] must be an object"},
		{"item a list", items(`[]`), "content_items[0] must be an object"},
		{"a member twice in an item", items(`{"type":"html"}`, `{"type":"link","url":"a","url":"b"}`), "content_items[1] must not have a member twice"},
		{"a member twice in a line item", act(`"lineItem":{"scoreMaximum":1,"scoreMaximum":2}`), "content_items[0].lineItem must not have a member twice"},
		{"a member twice in custom", act(`"custom":{"a":"1","a":"2"}`), "content_items[0].custom must not have a member twice"},
		{"100 items", items(strings.Split(strings.Repeat(`{"type":"html"} `, 100), " ")[:100]...), ""},
		{"101 items", items(strings.Split(strings.Repeat(`{"type":"html"} `, 101), " ")[:101]...), "content_items must have at most 100 items"},
		{"the request's own", `{"data":"x","return_url":"https://evil.example"}`, "data is not a member that is known here; return_url is not a member that is known here"},

		{"no type", items(`{"url":"https://tool.example/"}`), "content_items[0].type is required: one of file, html, image, link, ltiResourceLink"},
		{"type of LTI 1.1", items(`{"type":"LtiLinkItem"}`), "content_items[0].type is LtiLinkItem: it must be one of file, html, image, link, ltiResourceLink, or a full URL"},
		{"type a number", items(`{"type":5}`), "content_items[0].type must be a string"},
		{"type in another case", items(`{"type":"Link"}`), "content_items[0].type is Link: it must be one of file, html, image, link, ltiResourceLink, or a full URL"},

		{"url a number", act(`"url":5`), "content_items[0].url must be a string"},
		{"unknown", act(`"URL":"https://tool.example/"`), "content_items[0].URL is not a member that is known here"},
		{"unknown with a control character", act(`"a\nb":1`), `content_items[0]."a\nb" is not a member that is known here`},
		{"icon a URL", act(`"icon":"https://tool.example/i"`), "content_items[0].icon must be an object"},
		{"unknown in an icon", act(`"icon":{"url":"https://tool.example/i","size":1}`), "content_items[0].icon.size is not a member that is known here"},
		{"width as text", act(`"thumbnail":{"width":"10"}`), "content_items[0].thumbnail.width must be a whole number of pixels from 1 to 100000"},
		{"width with a fraction", act(`"window":{"width":10.5}`), "content_items[0].window.width must be a whole number of pixels from 1 to 100000"},
		{"width 0", act(`"iframe":{"width":0}`), "content_items[0].iframe.width must be a whole number of pixels from 1 to 100000"},
		{"height negative", act(`"iframe":{"height":-1}`), "content_items[0].iframe.height must be a whole number of pixels from 1 to 100000"},
		{"unknown in a window", act(`"window":{"target":"x"}`), "content_items[0].window.target is not a member that is known here"},
		{"unknown in an iframe", act(`"iframe":{"url":"x"}`), "content_items[0].iframe.url is not a member that is known here"},
		{"unknown in embed", items(`{"type":"link","embed":{"url":"x"}}`), "content_items[0].embed.url is not a member that is known here"},
		{"custom a list", act(`"custom":["a"]`), "content_items[0].custom must be an object"},
		{"custom null within", act(`"custom":{"a":null}`), "content_items[0].custom.a must be a string"},
		{"custom a number within", act(`"custom":{"a":7}`), "content_items[0].custom.a must be a string"},
		{"no maximum", act(`"lineItem":{"label":"x"}`), "content_items[0].lineItem.scoreMaximum is required"},
		{"maximum as text", act(`"lineItem":{"scoreMaximum":"10"}`), "content_items[0].lineItem.scoreMaximum must be a finite number"},
		{"maximum beyond all", act(`"lineItem":{"scoreMaximum":1e999}`), "content_items[0].lineItem.scoreMaximum must be a finite number"},
		{"gradesReleased as text", act(`"lineItem":{"scoreMaximum":1,"gradesReleased":"true"}`), "content_items[0].lineItem.gradesReleased must be true or false"},
		{"unknown in a line item", act(`"lineItem":{"scoreMaximum":1,"scoreMax":2}`), "content_items[0].lineItem.scoreMax is not a member that is known here"},
		{"unknown in a period", act(`"available":{"start":"x"}`), "content_items[0].available.start is not a member that is known here"},
		{"a day only", act(`"available":{"startDateTime":"2026-01-01"}`), "content_items[0].available.startDateTime must be a time with a zone, such as 2026-03-01T10:00:00Z"},
		{"no zone", act(`"submission":{"endDateTime":"2026-01-01T10:00:00"}`), "content_items[0].submission.endDateTime must be a time with a zone, such as 2026-03-01T10:00:00Z"},
		{"no such day", items(`{"type":"file","expiresAt":"2026-02-30T10:00:00Z"}`), "content_items[0].expiresAt must be a time with a zone, such as 2026-03-01T10:00:00Z"},
		{"a comma in the seconds", items(`{"type":"file","expiresAt":"2026-02-03T10:00:00,5Z"}`), "content_items[0].expiresAt must be a time with a zone, such as 2026-03-01T10:00:00Z"},
		{"seconds since 1970", items(`{"type":"file","expiresAt":1700000000}`), "content_items[0].expiresAt must be a string"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, err := deeplink.ParseResponse([]byte(tc.body))
			if (res == nil) != (err != nil) {
				t.Errorf("%v with error %v", res, err)
			}
			if got := fmt.Sprint(err); got != tc.want && (err != nil || tc.want != "") {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// Who gets everything wrong is told so in few words.
func TestErrorsEnd(t *testing.T) {
	body := make(map[string]int)
	for i := range 5000 {
		body[fmt.Sprint("member", i)] = i
	}
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	_, err = deeplink.ParseResponse(data)
	if fields, ok := errors.AsType[deeplink.FieldErrors](err); !ok || len(fields) != 20 {
		t.Errorf("%d problems", len(fields))
	}
}

// answer sends one item to a request.
func answer(t *testing.T, req *deeplink.Request, items ...deeplink.Item) (*deeplink.Answer, error) {
	t.Helper()
	return req.Answer(moment, plain{}, site("tool.example"), &deeplink.Response{Items: items})
}

// plain signs nothing.
type plain struct{}

func (plain) Sign(claims any) (string, error) {
	data, err := json.Marshal(claims)
	return string(data), err
}

// TestItemRules has one deviation from a good item in each row.
func TestItemRules(t *testing.T) {
	type item = deeplink.Item
	url := func(raw string) item { return item{Type: "ltiResourceLink", URL: raw} }
	link := func(raw string) item { return item{Type: "link", URL: raw} }
	lineItem := func(li deeplink.LineItem) item { return item{Type: "ltiResourceLink", LineItem: &li} }
	long := strings.Repeat("x", 70<<10)
	at := func(s string) time.Time {
		tm, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return tm
	}
	const notOwn = "content_items[0].url is no page of this site, and only those can be opened by a launch; what lies elsewhere is of type link"
	const notWhole = "content_items[0].url must be a whole URL that begins with https:// or http://"
	for _, tc := range []struct {
		name string
		item item
		want string
	}{
		{"activity", url("https://tool.example/quiz"), ""},
		{"activity without a URL", url(""), ""},
		{"activity elsewhere", url("https://elsewhere.example/quiz"), notOwn},
		{"activity on another port", url("https://tool.example:8443/quiz"), notOwn},
		{"activity without TLS", url("http://tool.example/quiz"), notOwn},
		{"activity among our routes", url("https://tool.example/lti/login"), notOwn},
		{"activity by path", url("/quiz"), notWhole},
		{"activity without a scheme", url("//tool.example/quiz"), notWhole},
		{"activity without a host", url("https:///quiz"), notWhole},
		{"activity without slashes", url("https:tool.example"), notWhole},
		{"activity with a user", url("https://a:b@tool.example/quiz"), "content_items[0].url must not contain a user name"},
		{"activity with a backslash", url(`https://tool.example/\evil.example`), "content_items[0].url is not a URL"},
		{"activity with a space", url("https://tool.example/a b"), "content_items[0].url is not a URL"},
		{"activity with a line feed", url("https://tool.example/\n"), "content_items[0].url is not a URL"},
		{"activity with a bad escape", url("https://tool.example/%zz"), "content_items[0].url is not a URL"},
		{"activity that is too long", url("https://tool.example/" + long), "content_items[0].url must have at most 4096 bytes"},

		{"link elsewhere", link("https://elsewhere.example/"), ""},
		{"link without TLS", link("http://elsewhere.example/"), ""},
		{"link without a URL", link(""), "content_items[0].url is required"},
		{"link to a script", link("javascript:alert(1)"), notWhole},
		{"link to data", link("data:text/html,x"), notWhole},
		{"link to a file", link("file:///etc/passwd"), notWhole},
		{"file without a URL", item{Type: "file"}, "content_items[0].url is required"},
		{"image without a URL", item{Type: "image"}, "content_items[0].url is required"},
		{"html without HTML", item{Type: "html", Title: "x"}, "content_items[0].html is required"},
		{"html of space", item{Type: "html", HTML: " \n"}, "content_items[0].html is required"},
		{"html too long", item{Type: "html", HTML: long}, "content_items[0].html must have at most 65536 bytes"},

		{"no type", item{URL: "https://tool.example/"}, "content_items[0].type is required: one of file, html, image, link, ltiResourceLink"},
		{"type that is none", item{Type: "quiz"}, "content_items[0].type is quiz: it must be one of file, html, image, link, ltiResourceLink, or a full URL"},
		{"type that is not taken", item{Type: "https://vendor.example/other"}, "content_items[0].type is https://vendor.example/other: here the platform takes link, ltiResourceLink, file, html, image, ltiAssetProcessor, https://vendor.example/type"},
		{"type of another", item{Type: "https://vendor.example/type", Extra: map[string]json.RawMessage{"any": json.RawMessage(`1`)}}, ""},
		{"asset processor", item{Type: "ltiAssetProcessor", Title: "x"}, ""},
		{"extra that is no JSON", item{Type: "ltiAssetProcessor", Extra: map[string]json.RawMessage{"any": json.RawMessage(`{`)}}, "content_items cannot be written as JSON"},

		{"url of html", item{Type: "html", HTML: "x", URL: "https://tool.example/"}, "content_items[0].url does not belong to an item of type html"},
		{"line item of a link", item{Type: "link", URL: "https://tool.example/", LineItem: &deeplink.LineItem{ScoreMaximum: 1}}, "content_items[0].lineItem does not belong to an item of type link"},
		{"custom of a file", item{Type: "file", URL: "https://tool.example/", Custom: map[string]string{}}, "content_items[0].custom does not belong to an item of type file"},
		{"embed of an activity", item{Type: "ltiResourceLink", Embed: &deeplink.Embed{HTML: "x"}}, "content_items[0].embed does not belong to an item of type ltiResourceLink"},
		{"window of an image", item{Type: "image", URL: "https://tool.example/", Window: new(deeplink.Window)}, "content_items[0].window does not belong to an item of type image"},
		{"width of an activity", item{Type: "ltiResourceLink", Width: 5}, "content_items[0].width does not belong to an item of type ltiResourceLink"},
		{"end of a link", item{Type: "link", URL: "https://tool.example/", ExpiresAt: moment}, "content_items[0].expiresAt does not belong to an item of type link"},
		{"dates of a link", item{Type: "link", URL: "https://tool.example/", Available: new(deeplink.Period), Submission: new(deeplink.Period)}, "content_items[0].available does not belong to an item of type link; content_items[0].submission does not belong to an item of type link"},
		{"media type of a link", item{Type: "link", URL: "https://tool.example/", MediaType: "text/html"}, "content_items[0].mediaType does not belong to an item of type link"},
		{"html of a link", item{Type: "link", URL: "https://tool.example/", HTML: "x"}, "content_items[0].html does not belong to an item of type link"},
		{"icon of html", item{Type: "html", HTML: "x", Icon: &deeplink.Picture{URL: "https://tool.example/i"}}, "content_items[0].icon does not belong to an item of type html"},
		{"extra that is no extension", item{Type: "ltiResourceLink", Extra: map[string]json.RawMessage{"any": json.RawMessage(`1`)}}, "content_items[0].any is not a member that is known here"},

		{"title too long", item{Type: "ltiResourceLink", Title: long}, "content_items[0].title must have at most 1024 bytes"},
		{"title with a control character", item{Type: "ltiResourceLink", Title: "a\x00"}, "content_items[0].title must not contain control characters or invalid UTF-8"},
		{"title not UTF-8", item{Type: "ltiResourceLink", Title: "\xff"}, "content_items[0].title must not contain control characters or invalid UTF-8"},
		{"text too long", item{Type: "ltiResourceLink", Text: long}, "content_items[0].text must have at most 16384 bytes"},
		{"icon without a URL", item{Type: "ltiResourceLink", Icon: new(deeplink.Picture)}, "content_items[0].icon.url is required"},
		{"icon of data", item{Type: "ltiResourceLink", Icon: &deeplink.Picture{URL: "data:image/png,x"}}, "content_items[0].icon.url must be a whole URL that begins with https:// or http://"},
		{"thumbnail too wide", item{Type: "ltiResourceLink", Thumbnail: &deeplink.Picture{URL: "https://cdn.example/", Width: math.MaxInt}}, "content_items[0].thumbnail.width must be a whole number of pixels from 1 to 100000"},
		{"image of no height", item{Type: "image", URL: "https://cdn.example/", Height: -1}, "content_items[0].height must be a whole number of pixels from 1 to 100000"},
		{"window too high", item{Type: "ltiResourceLink", Window: &deeplink.Window{Height: 100_001}}, "content_items[0].window.height must be a whole number of pixels from 1 to 100000"},
		{"window with a long name", item{Type: "ltiResourceLink", Window: &deeplink.Window{TargetName: long, Features: long}}, "content_items[0].window.targetName must have at most 1024 bytes; content_items[0].window.windowFeatures must have at most 1024 bytes"},
		{"iframe of a link without src", item{Type: "link", URL: "https://tool.example/", Iframe: new(deeplink.Iframe)}, "content_items[0].iframe.src is required"},
		{"iframe of an activity with src", item{Type: "ltiResourceLink", Iframe: &deeplink.Iframe{Src: "https://tool.example/"}}, "content_items[0].iframe.src does not belong to an item of type ltiResourceLink: its frame shows its url"},
		{"iframe too wide", item{Type: "ltiResourceLink", Iframe: &deeplink.Iframe{Width: -5}}, "content_items[0].iframe.width must be a whole number of pixels from 1 to 100000"},
		{"embed of nothing", item{Type: "link", URL: "https://tool.example/", Embed: new(deeplink.Embed)}, "content_items[0].embed.html is required"},

		{"custom without a name", item{Type: "ltiResourceLink", Custom: map[string]string{"": "x"}}, "content_items[0].custom. is not a name for a parameter"},
		{"custom name of two lines", item{Type: "ltiResourceLink", Custom: map[string]string{"a\nb": "x"}}, `content_items[0].custom."a\nb" is not a name for a parameter`},
		{"custom value too long", item{Type: "ltiResourceLink", Custom: map[string]string{"a": long}}, "content_items[0].custom.a must have at most 16384 bytes"},
		{"custom value with NUL", item{Type: "ltiResourceLink", Custom: map[string]string{"a": "\x00"}}, "content_items[0].custom.a must not contain control characters or invalid UTF-8"},

		{"maximum 0", lineItem(deeplink.LineItem{}), "content_items[0].lineItem.scoreMaximum must be greater than 0"},
		{"maximum negative", lineItem(deeplink.LineItem{ScoreMaximum: -1}), "content_items[0].lineItem.scoreMaximum must be greater than 0"},
		{"maximum no number", lineItem(deeplink.LineItem{ScoreMaximum: math.NaN()}), "content_items[0].lineItem.scoreMaximum must be a finite number"},
		{"maximum infinite", lineItem(deeplink.LineItem{ScoreMaximum: math.Inf(1)}), "content_items[0].lineItem.scoreMaximum must be a finite number"},
		{"label too long", lineItem(deeplink.LineItem{ScoreMaximum: 1, Label: long}), "content_items[0].lineItem.label must have at most 1024 bytes"},
		{"resource id with a control character", lineItem(deeplink.LineItem{ScoreMaximum: 1, ResourceID: "\x01"}), "content_items[0].lineItem.resourceId must not contain control characters or invalid UTF-8"},
		{"tag too long", lineItem(deeplink.LineItem{ScoreMaximum: 1, Tag: long}), "content_items[0].lineItem.tag must have at most 1024 bytes"},
		{"submission review a list", lineItem(deeplink.LineItem{ScoreMaximum: 1, SubmissionReview: json.RawMessage(`[]`)}), "content_items[0].lineItem.submissionReview must be an object"},
		{"submission review no JSON", lineItem(deeplink.LineItem{ScoreMaximum: 1, SubmissionReview: json.RawMessage(`{`)}), "content_items[0].lineItem.submissionReview must be an object"},
		{"extra of a line item", lineItem(deeplink.LineItem{ScoreMaximum: 1, Extra: map[string]json.RawMessage{"id": json.RawMessage(`"x"`)}}), "content_items[0].lineItem.id is not a member that is known here"},

		{"open ends", item{Type: "ltiResourceLink", Available: &deeplink.Period{Start: moment}, Submission: &deeplink.Period{End: moment}}, ""},
		{"ends before it starts", item{Type: "ltiResourceLink", Available: &deeplink.Period{Start: at("2026-01-01T12:00:00+02:00"), End: at("2026-01-01T09:59:59Z")}}, "content_items[0].available must have startDateTime before endDateTime"},
		{"ends as it starts", item{Type: "ltiResourceLink", Submission: &deeplink.Period{Start: at("2026-01-01T12:00:00+02:00"), End: at("2026-01-01T10:00:00Z")}}, "content_items[0].submission must have startDateTime before endDateTime"},
		{"a year of five digits", item{Type: "ltiResourceLink", Available: &deeplink.Period{End: at("9999-12-31T00:00:00Z").AddDate(1, 0, 0)}}, "content_items[0].available.endDateTime must be a time with a zone, such as 2026-03-01T10:00:00Z"},
		{"a file until then", item{Type: "file", URL: "https://tool.example/", ExpiresAt: at("9999-12-31T00:00:00Z").AddDate(1, 0, 0)}, "content_items[0].expiresAt must be a time with a zone, such as 2026-03-01T10:00:00Z"},

		{"media type that is none", item{Type: "file", URL: "https://tool.example/", MediaType: "html"}, "content_items[0].mediaType is not a media type, such as text/html"},
		{"media type of half", item{Type: "file", URL: "https://tool.example/", MediaType: "text/"}, "content_items[0].mediaType is not a media type, such as text/html"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := answer(t, request(), tc.item)
			if (got == nil) != (err != nil) {
				t.Errorf("%v with error %v", got, err)
			}
			if text := fmt.Sprint(err); text != tc.want && (err != nil || tc.want != "") {
				t.Errorf("got  %s\nwant %s", text, tc.want)
			}
			if _, ok := errors.AsType[deeplink.FieldErrors](err); err != nil && !ok {
				t.Errorf("a %T", err)
			}
		})
	}
}

// TestRequestRules has what one platform takes and another does not.
func TestRequestRules(t *testing.T) {
	yes, no := true, false
	act := deeplink.Item{Type: "ltiResourceLink"}
	graded := deeplink.Item{Type: "ltiResourceLink", LineItem: &deeplink.LineItem{ScoreMaximum: 1}}
	link := deeplink.Item{Type: "link", URL: "https://elsewhere.example/"}
	file := func(typ string) deeplink.Item {
		return deeplink.Item{Type: "file", URL: "https://tool.example/f", MediaType: typ}
	}
	all := link
	all.Window, all.Iframe, all.Embed = new(deeplink.Window), &deeplink.Iframe{Src: "https://elsewhere.example/"}, &deeplink.Embed{HTML: "x"}
	media := func(types ...string) func(*deeplink.Request) {
		return func(r *deeplink.Request) { r.AcceptMediaTypes = types }
	}
	lineItem := func(b *bool) func(*deeplink.Request) { return func(r *deeplink.Request) { r.AcceptLineItem = b } }
	for _, tc := range []struct {
		name   string
		change func(*deeplink.Request)
		items  []deeplink.Item
		want   string
		drops  []string
	}{
		{"several", func(*deeplink.Request) {}, []deeplink.Item{act, link}, "", nil},
		{"several where one is taken", func(r *deeplink.Request) { r.AcceptMultiple = false }, []deeplink.Item{act, act}, "content_items must have one item at most: the platform takes no more here", nil},
		{"one where one is taken", func(r *deeplink.Request) { r.AcceptMultiple = false }, []deeplink.Item{act}, "", nil},
		{"none where one is taken", func(r *deeplink.Request) { r.AcceptMultiple = false }, nil, "", nil},
		{"more than anybody takes", func(*deeplink.Request) {}, make([]deeplink.Item, 101), "content_items must have at most 100 items", nil},
		{"a type that is not taken", func(r *deeplink.Request) { r.AcceptTypes = []string{"ltiResourceLink", "html"} }, []deeplink.Item{act, link}, "content_items[1].type is link: here the platform takes ltiResourceLink, html", nil},
		{
			"ways to show that are not taken", func(r *deeplink.Request) { r.AcceptTargets = []string{"iframe", "frame"} },
			[]deeplink.Item{act, all},
			"content_items[1].window is a way to show the item that the platform does not take here: it takes iframe, frame; " +
				"content_items[1].embed is a way to show the item that the platform does not take here: it takes iframe, frame", nil,
		},
		{
			"no way to show is taken", func(r *deeplink.Request) { r.AcceptTargets = nil },
			[]deeplink.Item{all},
			"content_items[0].window is a way to show the item that the platform does not take here: it takes none; " +
				"content_items[0].iframe is a way to show the item that the platform does not take here: it takes none; " +
				"content_items[0].embed is a way to show the item that the platform does not take here: it takes none", nil,
		},
		{"an item that says nothing of it", func(r *deeplink.Request) { r.AcceptTargets = nil }, []deeplink.Item{act, link}, "", nil},

		{"line items", lineItem(&yes), []deeplink.Item{graded}, "", nil},
		{"line items perhaps", lineItem(nil), []deeplink.Item{graded}, "", nil},
		{"no line items", lineItem(&no), []deeplink.Item{act, graded, graded}, "", []string{"content_items[1].lineItem", "content_items[2].lineItem"}},
		{"no line items, a wrong one", lineItem(&no), []deeplink.Item{{Type: "ltiResourceLink", LineItem: new(deeplink.LineItem)}}, "content_items[0].lineItem.scoreMaximum must be greater than 0", nil},

		{"any file", media(), []deeplink.Item{file("text/html")}, "", nil},
		{"a file of the type", media("text/plain", "text/html"), []deeplink.Item{file("text/html")}, "", nil},
		{"a file of the type in another case", media("Text/HTML; q=1"), []deeplink.Item{file("TEXT/html; charset=utf-8")}, "", nil},
		{"a file of the range", media("image/*"), []deeplink.Item{file("image/png")}, "", nil},
		{"a file of any range", media("*/*"), []deeplink.Item{file("a/b")}, "", nil},
		{"a file beside the range", media("image/*", "text/html"), []deeplink.Item{file("imagery/png")}, "content_items[0].mediaType is imagery/png: here the platform takes files of image/*, text/html", nil},
		{"a file that says nothing", media("image/*"), []deeplink.Item{file("")}, "", nil},
		{"media types of others", media("application/vnd.ims.lti.v1.ltilink"), []deeplink.Item{act, link}, "", nil},
		{"too much together", func(*deeplink.Request) {}, []deeplink.Item{
			{Type: "html", HTML: strings.Repeat("x", 60<<10)},
			{Type: "html", HTML: strings.Repeat("x", 60<<10)},
			{Type: "html", HTML: strings.Repeat("x", 60<<10)},
			{Type: "html", HTML: strings.Repeat("x", 60<<10)},
			{Type: "html", HTML: strings.Repeat("x", 60<<10)},
		}, "content_items must have at most 262144 bytes together", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := request()
			tc.change(req)
			got, err := answer(t, req, tc.items...)
			if text := fmt.Sprint(err); text != tc.want && (err != nil || tc.want != "") {
				t.Fatalf("got  %s\nwant %s", text, tc.want)
			}
			if err != nil {
				return
			}
			if !reflect.DeepEqual(got.Dropped, tc.drops) {
				t.Errorf("dropped %q, want %q", got.Dropped, tc.drops)
			}
			if tc.drops != nil && tc.items[1].LineItem == nil {
				t.Error("the caller's item was changed")
			}
			if strings.Contains(got.JWT, "lineItem") != (tc.drops == nil && len(tc.items) > 0 && tc.items[0].LineItem != nil) {
				t.Errorf("sent %s", got.JWT)
			}
		})
	}
}

func TestTextRules(t *testing.T) {
	for name, res := range map[string]deeplink.Response{
		"msg":      {Msg: "a\x00"},
		"log":      {Log: strings.Repeat("x", 16<<10+1)},
		"errormsg": {ErrorMsg: "\xff"},
		"errorlog": {ErrorLog: "\x1b[31m"},
	} {
		_, err := request().Answer(moment, plain{}, site("tool.example"), &res)
		if fields, ok := errors.AsType[deeplink.FieldErrors](err); !ok || len(fields) != 1 || fields[0].Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An activity always has a URL, and a response is not changed by being sent.
func TestActivityGetsHome(t *testing.T) {
	res := &deeplink.Response{Items: []deeplink.Item{{Type: "ltiResourceLink", Title: "x"}}}
	got, err := request().Answer(moment, plain{}, site("tool.example"), res)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got.JWT, `{"title":"x","type":"ltiResourceLink","url":"https://tool.example/home"}`) {
		t.Errorf("sent %s", got.JWT)
	}
	if res.Items[0].URL != "" {
		t.Errorf("the caller's item now has %s", res.Items[0].URL)
	}
}

// FuzzParseResponse reads anything. What it accepts can be written and read again,
// and what is sent of it opens pages of this site only.
func FuzzParseResponse(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"content_items":[]}`, `{"msg":"a","log":"b","errormsg":"c","errorlog":"d"}`, `[]`, `null`, `{"content_items":[{}]}`,
		`{"content_items":[{"type":"ltiResourceLink","url":"https://tool.example/a","title":"A","text":"<b>","icon":{"url":"https://x.example","width":1,"height":2},` +
			`"thumbnail":{"url":"http://x.example"},"window":{"targetName":"a","width":1,"height":2,"windowFeatures":"b"},"iframe":{"width":1},"custom":{"a":"","B":"$C.d"},` +
			`"lineItem":{"scoreMaximum":1e1,"label":"l","resourceId":"r","tag":"t","gradesReleased":true,"submissionReview":{"url":"x"},"https://x.example/":1},` +
			`"available":{"startDateTime":"2026-01-01T00:00:00Z","endDateTime":"2026-01-01T00:00:00.001+01:00"},"submission":{},"https://x.example/":[null]}]}`,
		`{"content_items":[{"type":"link","url":"https://x.example","iframe":{"src":"https://x.example"},"embed":{"html":"x"}},{"type":"html","html":"x"},` +
			`{"type":"file","url":"https://x.example","mediaType":"a/b","expiresAt":"2026-01-01T00:00:00Z"},{"type":"image","url":"https://x.example","width":1,"height":1},` +
			`{"type":"ltiAssetProcessor","report":{}},{"type":"https://vendor.example/type","url":"javascript:x"}]}`,
		`{"content_items":[{"type":"ltiResourceLink","url":"https://tool.example\\@evil.example"}]}`, `{"content_items":[{"type":"link","type":"html"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		res, err := deeplink.ParseResponse(data)
		if err != nil {
			if res != nil {
				t.Errorf("both a response and %v", err)
			}
			return
		}
		first, err := json.Marshal(res.Items)
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		again, err := deeplink.ParseResponse([]byte(`{"content_items":` + string(first) + `}`))
		if err != nil {
			t.Fatalf("%q became %s: %v", data, first, err)
		}
		if second, err := json.Marshal(again.Items); err != nil || string(first) != string(second) {
			t.Fatalf("%q became\n%s, and then\n%s (%v)", data, first, second, err)
		}
		req := request()
		answer, err := req.Answer(moment, plain{}, site("tool.example"), res)
		if err != nil {
			if _, ok := errors.AsType[deeplink.FieldErrors](err); !ok {
				t.Errorf("a %T: %v", err, err)
			}
			return
		}
		var claims struct {
			Items []struct{ Type, URL string } `json:"https://purl.imsglobal.org/spec/lti-dl/claim/content_items"`
		}
		if err := json.Unmarshal([]byte(answer.JWT), &claims); err != nil {
			t.Fatal(err)
		}
		for _, it := range claims.Items {
			if it.Type == "ltiResourceLink" && !strings.HasPrefix(strings.ToLower(it.URL), "https://tool.example") {
				t.Errorf("a launch of %q", it.URL)
			}
		}
	})
}
