package ags

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/service"
)

const (
	container = "https://lms.example/li?type_id=13"
	item      = "https://lms.example/li/7/lineitem?type_id=13"
)

func everything(f callerFunc) *Client {
	return New(f, Endpoint{Scopes: []string{ScopeLineItem, ScopeResultReadOnly, ScopeScore}, LineItems: container})
}

func refused(status int, kind service.Kind, words string) callerFunc {
	return func(string, string, http.Header, []byte) (http.Header, []byte, error) {
		return nil, nil, &service.Error{Kind: kind, Status: status, Words: words, Platform: "lms", URL: "https://lms.example/li", Whose: service.Caller}
	}
}

func good() Score {
	return Score{UserID: "u42", ScoreGiven: new(8.5), ScoreMaximum: new(10.0), Timestamp: time.Date(2026, 3, 1, 10, 0, 0, 123e6, time.UTC)}
}

func TestScoreJSON(t *testing.T) {
	s := good()
	s.SetDefaults()
	s.Comment = "Well done"
	want := `{"userId":"u42","scoreGiven":8.5,"scoreMaximum":10,"activityProgress":"Completed","gradingProgress":"FullyGraded","timestamp":"2026-03-01T10:00:00.123Z","comment":"Well done"}`
	if got, err := json.Marshal(s); err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	s = Score{
		UserID: "u", ScoringUserID: "t", ActivityProgress: Started, GradingProgress: NotReady,
		Timestamp:  time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 7200)),
		Submission: Submission{StartedAt: time.Date(2026, 3, 1, 9, 0, 0, 5e8, time.UTC)},
		Extensions: map[string]json.RawMessage{"https://canvas.instructure.com/lti/submission": json.RawMessage(`{"new_submission":false}`), "userId": json.RawMessage(`"x"`), "more": json.RawMessage(`1`)},
	}
	want = `{"userId":"u","activityProgress":"Started","gradingProgress":"NotReady","timestamp":"2026-03-01T10:00:00.000Z","scoringUserId":"t","submission":{"startedAt":"2026-03-01T09:00:00.500Z"},"https://canvas.instructure.com/lti/submission":{"new_submission":false}}`
	if got, err := json.Marshal(s); err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	// Zero is a score, and none is none.
	s = good()
	s.ScoreGiven = new(0.0)
	if got, _ := json.Marshal(s); !strings.Contains(string(got), `"scoreGiven":0,`) {
		t.Errorf("%s lost its zero", got)
	}
}

func TestValidateScore(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Score)
		fields string // with problems
	}{
		{"good", func(*Score) {}, ""},
		{"zero", func(s *Score) { s.ScoreGiven = new(0.0) }, ""},
		{"over the maximum", func(s *Score) { s.ScoreGiven = new(11.0) }, ""},
		{"no score", func(s *Score) { s.ScoreGiven = nil }, ""},
		{"no score and maximum", func(s *Score) { s.ScoreGiven, s.ScoreMaximum = nil, nil }, ""},
		{"comment of lines", func(s *Score) { s.Comment = "a\r\n\tb é 山" }, ""},
		{"longest comment", func(s *Score) { s.Comment = strings.Repeat("x", 10240) }, ""},
		{"longest user", func(s *Score) { s.UserID = strings.Repeat("u", 255) }, ""},
		{"negative", func(s *Score) { s.ScoreGiven = new(-0.1) }, "scoreGiven"},
		{"NaN", func(s *Score) { s.ScoreGiven = new(math.NaN()) }, "scoreGiven"},
		{"Inf", func(s *Score) { s.ScoreGiven = new(math.Inf(1)) }, "scoreGiven"},
		{"no maximum", func(s *Score) { s.ScoreMaximum = nil }, "scoreMaximum"},
		{"maximum 0", func(s *Score) { s.ScoreMaximum = new(0.0) }, "scoreMaximum"},
		{"maximum negative", func(s *Score) { s.ScoreGiven, s.ScoreMaximum = nil, new(-1.0) }, "scoreMaximum"},
		{"maximum NaN", func(s *Score) { s.ScoreMaximum = new(math.NaN()) }, "scoreMaximum"},
		{"maximum Inf", func(s *Score) { s.ScoreMaximum = new(math.Inf(1)) }, "scoreMaximum"},
		{"activity", func(s *Score) { s.ActivityProgress = "completed" }, "activityProgress"},
		{"grading", func(s *Score) { s.GradingProgress = "Sleeping" }, "gradingProgress"},
		{"no time", func(s *Score) { s.Timestamp = time.Time{} }, "timestamp"},
		{"year 10000", func(s *Score) { s.Timestamp = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "timestamp"},
		{"long comment", func(s *Score) { s.Comment = strings.Repeat("x", 10241) }, "comment"},
		{"NUL", func(s *Score) { s.Comment = "a\x00" }, "comment"},
		{"escape", func(s *Score) { s.Comment = "a\x1b[31m" }, "comment"},
		{"C1", func(s *Score) { s.Comment = "a\u0085" }, "comment"},
		{"not UTF-8", func(s *Score) { s.Comment = "a\xff" }, "comment"},
		{"no user", func(s *Score) { s.UserID = "" }, "userId"},
		{"long user", func(s *Score) { s.UserID = strings.Repeat("u", 256) }, "userId"},
		{"é", func(s *Score) { s.UserID = "é" }, "userId"},
		{"line", func(s *Score) { s.UserID = "a\n" }, "userId"},
		{"grader", func(s *Score) { s.ScoringUserID = "é" }, "scoringUserId"},
		{"submitted first", func(s *Score) {
			s.Submission = Submission{StartedAt: s.Timestamp, SubmittedAt: s.Timestamp.Add(-time.Second)}
		}, "submission"},
		{"extension", func(s *Score) { s.Extensions = map[string]json.RawMessage{"https://x.example/": json.RawMessage("{")} }, "https://x.example/"},
		{"several", func(s *Score) { *s = Score{ScoreGiven: new(1.0)} }, "userId scoreMaximum activityProgress gradingProgress timestamp"},
	} {
		s := good()
		s.SetDefaults()
		tt.change(&s)
		err := ValidateScore(&s)
		errs, _ := errors.AsType[FieldErrors](err)
		var fields []string
		for _, e := range errs {
			fields = append(fields, e.Field)
		}
		if got := strings.Join(fields, " "); got != tt.fields || (err == nil) != (tt.fields == "") {
			t.Errorf("%s: %v, want problems with %q", tt.name, err, tt.fields)
		}
		if err != nil {
			// Nothing is sent that does not hold.
			s := s
			c := everything(func(string, string, http.Header, []byte) (http.Header, []byte, error) {
				t.Errorf("%s: sent", tt.name)
				return nil, nil, nil
			})
			if s.ActivityProgress != "" {
				if err := c.SendScore(t.Context(), item, s); !hasFieldErrors(err) {
					t.Errorf("%s: %v", tt.name, err)
				}
			}
		}
	}
}

func TestParseScore(t *testing.T) {
	s, err := ParseScore([]byte(`{"scoreGiven": 8, "scoreMaximum": 10, "comment": null, "timestamp": "2026-03-01T10:00:00+01:00",
		"lineItem": "x", "https://x.example/e": [1], "submission": {"startedAt": "2026-03-01T09:00:00Z"}}`), "lineItem")
	if err != nil {
		t.Fatal(err)
	}
	if *s.ScoreGiven != 8 || *s.ScoreMaximum != 10 || s.Comment != "" || !s.Timestamp.Equal(at(t, "2026-03-01T09:00:00Z")) ||
		!s.Submission.StartedAt.Equal(s.Timestamp) || len(s.Extensions) != 1 || s.ActivityProgress != "" {
		t.Errorf("%+v", s)
	}
	for body, field := range map[string]string{
		`{"scoreGivn": 8}`:                        "scoreGivn",
		`{"ScoreGiven": 8}`:                       "ScoreGiven",
		`{"scoreGiven": "8"}`:                     "scoreGiven",
		`{"scoreGiven": 1e999}`:                   "scoreGiven",
		`{"scoreGiven": true}`:                    "scoreGiven",
		`{"userId": 5}`:                           "userId",
		`{"comment": {}}`:                         "comment",
		`{"timestamp": "yesterday"}`:              "timestamp",
		`{"timestamp": "2026-03-01T10:00:00"}`:    "timestamp",
		`{"timestamp": "2026-03-01"}`:             "timestamp",
		`{"timestamp": "2026-03-01 10:00:00Z"}`:   "timestamp",
		`{"timestamp": "2026-03-01T1:00:00Z"}`:    "timestamp",
		`{"timestamp": "2026-03-01T10:00:00,1Z"}`: "timestamp",
		`{"timestamp": "2026-02-30T10:00:00Z"}`:   "timestamp",
		`{"timestamp": 1772359200}`:               "timestamp",
		`{"timestamp": "0001-01-01T00:00:00Z"}`:   "timestamp",
		`{"submission": 1}`:                       "submission",
		`{"submission": {"startedAt": "x"}}`:      "submission.startedAt",
		`{"submission": {"more": "x"}}`:           "submission.more",
		"{\"a\\u001bb\": 1}":                      `"a\x1bb"`,
	} {
		s, err := ParseScore([]byte(body), "lineItem")
		errs, _ := errors.AsType[FieldErrors](err)
		if len(errs) != 1 || errs[0].Field != field || s != nil {
			t.Errorf("%s: %+v, %v, want a problem with %s", body, s, err, field)
		}
	}
	for _, body := range []string{``, `[]`, `null`, `{"scoreGiven":1,"scoreGiven":2}`, `{} {}`, `{"scoreGiven":NaN}`} {
		if s, err := ParseScore([]byte(body)); err == nil || s != nil || hasFieldErrors(err) {
			t.Errorf("%s: %+v, %v", body, s, err)
		}
	}
}

func FuzzParseScore(f *testing.F) {
	f.Add([]byte(`{"userId":"u42","scoreGiven":8.5,"scoreMaximum":10,"activityProgress":"Completed","gradingProgress":"FullyGraded","timestamp":"2026-03-01T10:00:00.123Z","comment":"Well done"}`))
	f.Add([]byte(`{"userId":"u","timestamp":"2026-03-01T10:00:00.123456+23:59","submission":{"startedAt":"9999-12-31T23:59:59-23:00"},"https://x.example/":{"a":[null]}}`))
	f.Add([]byte(`{"scoreGiven":1e308,"scoringUserId":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseScore(data)
		if err != nil {
			return
		}
		s.SetDefaults()
		if ValidateScore(s) != nil {
			return
		}
		once, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseScore(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if err := ValidateScore(again); err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice, err := json.Marshal(again); err != nil || string(twice) != string(once) {
			t.Errorf("%s became %s, %v", once, twice, err)
		}
		if again.Erases() != s.Erases() {
			t.Errorf("%s erases, or not", once)
		}
	})
}

func TestURLs(t *testing.T) {
	for in, want := range map[string]string{
		"https://lms.example/li/7/lineitem?type_id=3":        "https://lms.example/li/7/lineitem/scores?type_id=3",
		"https://lms.example/li/7/lineitem":                  "https://lms.example/li/7/lineitem/scores",
		"https://lms.example/li/7/?a=/b?c":                   "https://lms.example/li/7/scores?a=/b?c",
		"https://lms.example?x":                              "https://lms.example/scores?x",
		"https://lms.example/a%2Fb/c%3Fd?e=%20+&f":           "https://lms.example/a%2Fb/c%3Fd/scores?e=%20+&f",
		"https://lms.example/../a/./b//c":                    "https://lms.example/../a/./b//c/scores",
		"http://lms.example/":                                "",
		"https://lms.example/#x":                             "",
		"/li/7":                                              "",
		"":                                                   "",
		"https://u:p@lms.example/li":                         "",
		"https://lms.example/li?return=https://x.example/#y": "",
	} {
		if got, err := ScoresURL(in); got != want || (err == nil) != (want != "") {
			t.Errorf("ScoresURL(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	if got, err := ResultsURL(item); err != nil || got != "https://lms.example/li/7/lineitem/results?type_id=13" {
		t.Errorf("%q, %v", got, err)
	}
	for in, want := range map[string]string{
		"https://lms.example/li":      "https://lms.example/li?user_id=a%26b+c",
		"https://lms.example/li?":     "https://lms.example/li?user_id=a%26b+c",
		"https://lms.example/li?x=1":  "https://lms.example/li?x=1&user_id=a%26b+c",
		"https://lms.example/li?x=1&": "https://lms.example/li?x=1&user_id=a%26b+c",
	} {
		if got, err := withParams(in, param{"tag", ""}, param{"user_id", "a&b c"}); err != nil || got != want {
			t.Errorf("withParams(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func FuzzURLs(f *testing.F) {
	f.Add("https://lms.example/li/7/lineitem?type_id=3", "a&b")
	f.Add("https://lms.example?", "")
	f.Add("https://lms.example/a%2fb;c?d=?/&e#f", "=")
	f.Fuzz(func(t *testing.T, raw, value string) {
		got, err := ScoresURL(raw)
		if err != nil {
			return
		}
		before, err1 := url.Parse(raw)
		after, err2 := url.Parse(got)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if after.Scheme != before.Scheme || after.Host != before.Host || after.RawQuery != before.RawQuery || after.Fragment != "" || after.User != nil {
			t.Errorf("%q became %q", raw, got)
		}
		if after.EscapedPath() != strings.TrimSuffix(before.EscapedPath(), "/")+"/scores" {
			t.Errorf("%q became %q", raw, got)
		}
		more, err := withParams(got, param{"user_id", value})
		if err != nil {
			t.Fatal(err)
		}
		with, err := url.Parse(more)
		if err != nil || with.Host != after.Host || with.EscapedPath() != after.EscapedPath() || !strings.HasPrefix(with.RawQuery, after.RawQuery) {
			t.Errorf("%q became %q, %v", got, more, err)
		}
		last := with.RawQuery[strings.LastIndex("&"+with.RawQuery, "&"):]
		if q, err := url.ParseQuery(last); value != "" && (err != nil || q.Get("user_id") != value) {
			t.Errorf("%q became %q", value, more)
		}
	})
}

func TestLineItemKeepsWhatItDoesNotKnow(t *testing.T) {
	in := `{"id":"https://lms.example/7","label":"A","scoreMaximum":"20","resourceLinkId":34,"resourceId":null,"tag":"","gradesReleased":false,` +
		`"startDateTime":"","submissionReview":{"reviewableStatus":["Submitted"]},"ltiLinkId":"34","https://x.example/e":{"a":[1,2.50]},"endDateTime":{"odd":1}}`
	var li LineItem
	if err := json.Unmarshal([]byte(in), &li); err != nil {
		t.Fatal(err)
	}
	if li.ScoreMaximum != 20 || li.ResourceLinkID != "34" || li.ResourceID != "" || li.GradesReleased == nil || *li.GradesReleased || li.EndDateTime != "" {
		t.Errorf("%+v", li)
	}
	out, err := json.Marshal(&li)
	want := `{"endDateTime":{"odd":1},"gradesReleased":false,"https://x.example/e":{"a":[1,2.50]},"id":"https://lms.example/7","label":"A","ltiLinkId":"34","resourceLinkId":"34","scoreMaximum":20,"submissionReview":{"reviewableStatus":["Submitted"]}}`
	if err != nil || string(out) != want {
		t.Errorf("%s, %v\nwant %s", out, err, want)
	}
	for _, bad := range []string{`null`, `[]`, `1`, `"x"`} {
		if json.Unmarshal([]byte(bad), &li) == nil {
			t.Errorf("%s is a line item", bad)
		}
		if json.Unmarshal([]byte(bad), new(Result)) == nil {
			t.Errorf("%s is a result", bad)
		}
	}
	var r Result
	if err := json.Unmarshal([]byte(`{"userId":5,"resultScore":null,"comment":null,"resultMaximum":"NaN"}`), &r); err != nil || r.UserID != "5" || r.ResultScore != nil || r.Maximum() != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if out, err := json.Marshal(r); err != nil || string(out) != `{"resultMaximum":"NaN","userId":"5"}` {
		t.Errorf("%s, %v", out, err)
	}
}

func TestUpdate(t *testing.T) {
	stored := `{"id":"https://lms.example/7","label":"A","endDateTime":"2026-01-01 00:00","scoreMaximum":20,"resourceLinkId":"34","resourceId":"r","ltiLinkId":"34","https://x.example/e":1}`
	var put string
	answer := ""
	c := everything(func(method, url string, h http.Header, body []byte) (http.Header, []byte, error) {
		if url != item {
			t.Errorf("%s %s", method, url)
		}
		if method == "GET" {
			return nil, []byte(stored), nil
		}
		if method != "PUT" || h.Get("Content-Type") != "application/vnd.ims.lis.v2.lineitem+json" {
			t.Errorf("%s, %v", method, h)
		}
		put = string(body)
		return nil, []byte(answer), nil
	})
	relabel := func(li *LineItem) error { li.Label, li.ID = "B", "https://evil.example/"; return nil }
	li, err := c.UpdateLineItem(t.Context(), item, relabel)
	want := `{"endDateTime":"2026-01-01 00:00","https://x.example/e":1,"id":"https://lms.example/7","label":"B","ltiLinkId":"34","resourceId":"r","resourceLinkId":"34","scoreMaximum":20}`
	if err != nil || put != want || li.Label != "B" {
		t.Errorf("%s, %+v, %v", put, li, err)
	}
	answer = `{"label":"still A"}`
	if li, err = c.UpdateLineItem(t.Context(), item, relabel); err != nil || li.Label != "still A" {
		t.Errorf("%+v, %v", li, err)
	}
	answer = `<html>`
	if _, err = c.UpdateLineItem(t.Context(), item, relabel); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	put = ""
	no := errors.New("no")
	for _, change := range []func(*LineItem) error{
		func(li *LineItem) error { li.ResourceLinkID = "35"; return nil },
		func(li *LineItem) error { li.ScoreMaximum = 0; return nil },
		func(li *LineItem) error { li.StartDateTime = "2026-01-01"; return nil },
		func(li *LineItem) error { li.Tag = "a\x00"; return nil },
		func(*LineItem) error { return no },
	} {
		_, err := c.UpdateLineItem(t.Context(), item, change)
		if !hasFieldErrors(err) && !errors.Is(err, no) || put != "" {
			t.Errorf("%v, put %s", err, put)
		}
	}
}

func TestPaging(t *testing.T) {
	pages := map[string][2]string{ // URL: body, Link
		container:                      {`[{"id":"a"},{"id":"b"}]`, `<https://lms.example/li?p=2>; rel="next"`},
		"https://lms.example/li?p=2":   {`[]`, `<?p=3&amp;x>; rel=“next”`},
		"https://lms.example/li?p=3&x": {` [{"id":"c"}] `, ``},
	}
	var asked []string
	c := everything(func(_, url string, h http.Header, _ []byte) (http.Header, []byte, error) {
		asked = append(asked, url)
		p, ok := pages[url]
		if !ok || h.Get("Accept") != "application/vnd.ims.lis.v2.lineitemcontainer+json" {
			t.Errorf("%s, %v", url, h)
		}
		return http.Header{"Link": {p[1]}}, []byte(p[0]), nil
	})
	list := func() (ids string, err error) {
		for li, e := range c.LineItems(t.Context(), Filter{}) {
			if err != nil {
				t.Error("something came after an error")
			}
			ids, err = ids+li.ID, e
		}
		return ids, err
	}
	if ids, err := list(); ids != "abc" || err != nil || len(asked) != 3 {
		t.Errorf("%q, %v, %q", ids, err, asked)
	}
	for li := range c.LineItems(t.Context(), Filter{}) {
		if asked = nil; li.ID == "b" {
			break // the rest is not asked for
		}
	}
	if len(asked) != 0 {
		t.Errorf("asked for %q", asked)
	}
	for _, tt := range []struct {
		body, link string
		ids        string
		reason     error
	}{
		{`[{"id":"a"}]`, `<https://evil.example/>; rel="next"`, "a", ErrMalformed},
		{`[{"id":"a"}]`, `<http://lms.example/li?p=2>; rel="next"`, "a", ErrMalformed},
		{`[{"id":"a"}]`, `<` + container + `>; rel="next"`, "a", ErrTooMany},
		{`[{"id":"a"},5]`, ``, "a", ErrMalformed},
		{`[{"id":"a"}`, ``, "a", ErrMalformed},
		{`[{"id":"a"},`, ``, "a", ErrMalformed},
		{`[{"id":"a"},null]`, ``, "a", ErrMalformed},
		{`{}`, ``, "", ErrMalformed},
		{``, ``, "", ErrMalformed},
		{`<html>S3cr3t`, ``, "", ErrMalformed},
		{`null`, ``, "", nil},
	} {
		pages = map[string][2]string{container: {tt.body, tt.link}}
		if ids, err := list(); ids != tt.ids || !errors.Is(err, tt.reason) || (err != nil) != (tt.reason != nil) || err != nil && strings.Contains(err.Error(), "S3cr3t") {
			t.Errorf("%s %s: %q, %v", tt.body, tt.link, ids, err)
		}
	}

	// A list that goes on for ever, by many pages or many items.
	n := 0
	c = everything(func(string, string, http.Header, []byte) (http.Header, []byte, error) {
		n++
		return http.Header{"Link": {fmt.Sprintf(`<?p=%d>; rel=next`, n)}}, []byte(`[]`), nil
	})
	if _, err := list(); !errors.Is(err, ErrTooMany) || n != maxPages {
		t.Errorf("%v after %d pages", err, n)
	}
	c = everything(func(string, string, http.Header, []byte) (http.Header, []byte, error) {
		n++
		return http.Header{"Link": {fmt.Sprintf(`<?p=%d>; rel=next`, n)}}, []byte("[" + strings.Repeat("{},", 9999) + "{}]"), nil
	})
	got := 0
	for _, err := range c.LineItems(t.Context(), Filter{}) {
		if err != nil {
			if !errors.Is(err, ErrTooMany) || got != maxItems {
				t.Errorf("%v after %d items", err, got)
			}
			break
		}
		got++
	}
}

// lms keeps line items and ignores filters, as some do.
type lms struct {
	items []LineItem
	asked []string
	made  int
}

func (l *lms) call(method, url string, _ http.Header, body []byte) (http.Header, []byte, error) {
	l.asked = append(l.asked, method+" "+url)
	if method == "GET" {
		data, err := json.Marshal(l.items)
		return nil, data, err
	}
	var li LineItem
	if err := json.Unmarshal(body, &li); err != nil {
		return nil, nil, err
	}
	l.made++
	li.ID = "https://lms.example/new"
	l.items = append(l.items, li)
	data, err := json.Marshal(li)
	return nil, data, err
}

func TestOnlyLineItem(t *testing.T) {
	l := &lms{items: []LineItem{
		{ID: "one", ResourceLinkID: "1", ResourceID: "quiz", Tag: "grade"},
		{ID: "free", ResourceID: "quiz"},
		{ID: "two", ResourceLinkID: "2"},
		{ID: "three", ResourceLinkID: "2"},
		{ID: "", ResourceLinkID: "3"},
	}}
	for link, want := range map[string]string{"1": "one", "2": "", "3": "", "4": ""} {
		li, err := everything(l.call).OnlyLineItem(t.Context(), link)
		if err != nil || (li == nil) != (want == "") || li != nil && li.ID != want {
			t.Errorf("link %s: %+v, %v", link, li, err)
		}
	}
	c := everything(func(string, string, http.Header, []byte) (http.Header, []byte, error) {
		return nil, nil, errors.New("down")
	})
	if li, err := c.OnlyLineItem(t.Context(), "1"); li != nil || err == nil {
		t.Errorf("a list that fails: %+v, %v", li, err)
	}
}

func TestFindOrMake(t *testing.T) {
	items := []LineItem{
		{ID: "other", ResourceLinkID: "1", ResourceID: "quiz", Tag: "grade"},
		{ID: "linked-extra", ResourceLinkID: "2", ResourceID: "quiz", Tag: "grade"},
		{ID: "linked", ResourceLinkID: "2"},
		{ID: "free", ResourceID: "quiz", Tag: "grade"},
		{ID: "free-other-tag", ResourceID: "quiz", Tag: "extra"},
		{ID: "", ResourceLinkID: "9"},
	}
	for _, tt := range []struct {
		wanted Wanted
		id     string
		asks   int
	}{
		{Wanted{ResourceLinkID: "2"}, "linked", 1},
		{Wanted{ResourceLinkID: "2", ResourceID: "quiz"}, "linked-extra", 1},
		{Wanted{ResourceLinkID: "2", ResourceID: "quiz", Tag: "extra"}, "free-other-tag", 2},
		{Wanted{ResourceLinkID: "3", ResourceID: "quiz", Tag: "grade"}, "free", 2},
		{Wanted{ResourceID: "quiz", Tag: "grade"}, "other", 1},
		{Wanted{Tag: "extra"}, "free-other-tag", 1},
		{Wanted{ResourceLinkID: "1"}, "other", 1},
		{Wanted{ResourceLinkID: "1", ResourceID: "essay"}, "", 3},
		{Wanted{ResourceLinkID: "3"}, "", 2},
		{Wanted{ResourceLinkID: "9"}, "", 2},
	} {
		l := &lms{items: slices.Clone(items)}
		tt.wanted.Label, tt.wanted.ScoreMaximum = "New", 10
		li, made, err := everything(l.call).FindOrMake(t.Context(), tt.wanted)
		if err != nil || li == nil {
			t.Errorf("%+v: %v", tt.wanted, err)
			continue
		}
		if want := tt.id; want == "" && (!made || l.made != 1 || li.ResourceLinkID != tt.wanted.ResourceLinkID || li.ResourceID != tt.wanted.ResourceID) || want != "" && (made || li.ID != want) || len(l.asked) != tt.asks {
			t.Errorf("%+v: %+v, made %t, asked %q", tt.wanted, li, made, l.asked)
		}
		// Once more finds the same.
		again, made, err := everything(l.call).FindOrMake(t.Context(), tt.wanted)
		if err != nil || made || again.ID != li.ID {
			t.Errorf("%+v again: %+v, made %t, %v", tt.wanted, again, made, err)
		}
	}
	l := new(lms)
	if _, _, err := everything(l.call).FindOrMake(t.Context(), Wanted{Label: "x", ScoreMaximum: 1}); err == nil || len(l.asked) > 0 {
		t.Errorf("%v, asked %q", err, l.asked)
	}
	// A list that fails makes nothing.
	c := everything(func(method, _ string, _ http.Header, _ []byte) (http.Header, []byte, error) {
		if method != "GET" {
			t.Error("made although the list failed")
		}
		return nil, nil, &service.Error{Kind: service.ServerError, Status: 503, Retry: true, After: time.Minute, Whose: service.PlatformAdmin}
	})
	_, _, err := c.FindOrMake(t.Context(), Wanted{ResourceLinkID: "2", Label: "x", ScoreMaximum: 1})
	if e, ok := errors.AsType[*Error](err); !ok || !e.Retry || e.After != time.Minute || e.Whose != PlatformAdmin || e.Status != 503 {
		t.Errorf("%+v", err)
	}
}

func TestScoreErrors(t *testing.T) {
	for _, tt := range []struct {
		status int
		kind   service.Kind
		words  string
		reason error
	}{
		{400, service.BadRequest, "", ErrNotLearner},
		{400, service.BadRequest, "Provided timestamp of 2026-03-01 before last updated timestamp of 2026-03-02", ErrOlder},
		{400, service.BadRequest, "Provided timestamp of yesterday not a valid timestamp", ErrNotLearner},
		{403, service.Forbidden, "", ErrNotLearner},
		{404, service.NotFound, "", ErrGone},
		{410, service.NotFound, "", ErrGone},
		{409, service.Conflict, "", ErrOlder},
		{422, service.Unprocessable, "User not found", ErrNotLearner},
		{422, service.Unprocessable, "The maximum number of allowed attempts has been reached", ErrNotAllowed},
		{401, service.TokenRefused, "", ErrNotAllowed},
		{302, service.Redirected, "", nil},
	} {
		err := everything(refused(tt.status, tt.kind, tt.words)).SendScore(t.Context(), item, good())
		e, ok := errors.AsType[*Error](err)
		if !ok || !errors.Is(err, tt.reason) && tt.reason != nil || e.Retry || e.Status != tt.status || e.Whose == Nobody {
			t.Errorf("%d %s: %+v", tt.status, tt.words, e)
		}
		if strings.Count(err.Error(), "\n") > 0 || tt.words != "" && strings.Count(err.Error(), tt.words) != 1 {
			t.Errorf("%q", err)
		}
	}
	// What goes wrong before, on the way to a token, is no verdict on the score.
	c := everything(func(string, string, http.Header, []byte) (http.Header, []byte, error) {
		return nil, nil, &service.Error{Kind: service.NotFound, Status: 404, Token: true, Whose: service.ToolAdmin}
	})
	err := c.SendScore(t.Context(), item, good())
	if e, ok := errors.AsType[*Error](err); !ok || errors.Is(err, ErrGone) || e.Whose != ToolAdmin || e.Status != 0 {
		t.Errorf("%+v", err)
	}
	c = everything(func(string, string, http.Header, []byte) (http.Header, []byte, error) {
		return nil, nil, fmt.Errorf("x: %w", context.DeadlineExceeded)
	})
	if e, ok := errors.AsType[*Error](c.SendScore(t.Context(), item, good())); !ok || !e.Retry {
		t.Errorf("%+v", e)
	}
	for status, kind := range map[int]service.Kind{401: service.TokenRefused, 403: service.Forbidden} {
		if err := everything(refused(status, kind, "")).DeleteLineItem(t.Context(), item); !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), "activity") {
			t.Error(err)
		}
	}
	for status, kind := range map[int]service.Kind{403: service.Forbidden, 404: service.NotFound, 412: service.BadRequest} {
		c := everything(refused(status, kind, ""))
		if _, err := c.CreateLineItem(t.Context(), LineItem{Label: "x", ScoreMaximum: 1, ResourceLinkID: "1"}); !errors.Is(err, ErrUnknownLink) {
			t.Error(err)
		}
		if _, err := c.CreateLineItem(t.Context(), LineItem{Label: "x", ScoreMaximum: 1}); errors.Is(err, ErrUnknownLink) {
			t.Error(err)
		}
	}
}

func TestNotOffered(t *testing.T) {
	c := New(callerFunc(func(string, string, http.Header, []byte) (http.Header, []byte, error) {
		t.Error("asked")
		return nil, nil, nil
	}), Endpoint{Scopes: []string{ScopeLineItemReadOnly}})
	_, _, makeErr := c.FindOrMake(t.Context(), Wanted{Tag: "x", Label: "x", ScoreMaximum: 1})
	_, createErr := c.CreateLineItem(t.Context(), LineItem{Label: "x", ScoreMaximum: 1})
	_, updateErr := c.UpdateLineItem(t.Context(), item, func(*LineItem) error { return nil })
	var resultErr error
	for _, err := range c.Results(t.Context(), item, "") {
		resultErr = err
	}
	for i, err := range []error{makeErr, createErr, updateErr, resultErr, c.DeleteLineItem(t.Context(), item), c.SendScore(t.Context(), item, good())} {
		if !errors.Is(err, ErrNotOffered) {
			t.Errorf("%d: %v", i, err)
		}
	}
	// Reading is offered.
	c.caller = refused(404, service.NotFound, "")
	if _, err := c.LineItem(t.Context(), item); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
}

// A learner's own result must not become somebody else's where a platform
// ignores the filter.
func TestResultsOfOnePerson(t *testing.T) {
	c := everything(func(_, url string, h http.Header, _ []byte) (http.Header, []byte, error) {
		if url != "https://lms.example/li/7/lineitem/results?type_id=13&user_id=u%26+2" || h.Get("Accept") != "application/vnd.ims.lis.v2.resultcontainer+json" {
			t.Errorf("%s, %v", url, h)
		}
		return nil, []byte(`[{"userId":"u1","resultScore":1},{"userId":"u& 2","resultScore":2}]`), nil
	})
	n := 0
	for r, err := range c.Results(t.Context(), item, "u& 2") {
		if n++; err != nil || r.UserID != "u& 2" {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if n != 1 {
		t.Errorf("%d results", n)
	}
}
