package devlms

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const at0 = "2027-01-15T08:00:00.500Z"

// scoreOf makes a good score, changed by members; one of "-" is left out.
func scoreOf(members ...any) string {
	m := map[string]any{
		"userId": "u-2001", "scoreGiven": 8, "scoreMaximum": 10, "activityProgress": "Completed", "gradingProgress": "FullyGraded", "timestamp": at0,
	}
	for i := 0; i < len(members); i += 2 {
		if members[i+1] == "-" {
			delete(m, members[i].(string))
			continue
		}
		m[members[i].(string)] = members[i+1]
	}
	data, _ := json.Marshal(m)
	return string(data)
}

func (l *tooled) post(token, body string) *httptest.ResponseRecorder {
	l.t.Helper()
	return l.call(token, "POST", below(itemPath, "/scores"), typeScore, body)
}

type gradesJSON struct {
	Scores []struct {
		LineItem, UserID, Timestamp, Comment string
		ScoreGiven                           *float64
		ScoreMaximum                         float64
		Status                               int
	}
	Forgotten int
	Grades    []struct {
		LineItem, UserID, Label, Comment, Timestamp, StartedAt, SubmittedAt, GradingProgress string
		ResultScore                                                                          *float64
		ResultMaximum                                                                        float64
	}
}

func local(r *http.Request) { r.RemoteAddr = "127.0.0.1:5000" }

func (l *tooled) gradesJSON() (g gradesJSON) {
	l.t.Helper()
	decode(l.t, l.do("GET", "/grades.json", nil, local), 200, &g)
	return g
}

func TestScore(t *testing.T) {
	l := newTooled(t)
	token := l.accessToken()
	w := l.post(token, scoreOf("comment", "Well <b>done</b> é", "scoringUserId", "u-1001", "https://tool.example/x", 1,
		"submission", map[string]string{"startedAt": "2027-01-15T07:00:00.000Z", "submittedAt": "2027-01-15T09:30:00.00+01:00"}))
	if w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Type") != typeScore+"; charset=utf-8" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var results []map[string]any
	decode(t, l.call(token, "GET", below(itemPath, "/results"), typeResults, ""), 200, &results)
	want := []map[string]any{{
		"id": testOrigin + below(itemPath, "/results") + "&user_id=u-2001", "scoreOf": testOrigin + itemPath, "userId": "u-2001",
		"resultScore": 80.0, "resultMaximum": 100.0, "comment": "Well <b>done</b> é", "scoringUserId": "u-1001", "timestamp": "2027-01-15T08:00:00.5Z",
	}}
	if fmt.Sprint(results) != fmt.Sprint(want) {
		t.Errorf("expected %v\n     got %v", want, results)
	}

	// No score and no comment clear those of before.
	l.post(token, scoreOf("scoreGiven", nil, "scoreMaximum", "-", "timestamp", "2027-01-15T08:00:00.501Z", "activityProgress", "Submitted", "gradingProgress", "PendingManual"))
	decode(t, l.call(token, "GET", below(itemPath, "/results"), "", ""), 200, &results)
	if len(results) != 0 {
		t.Errorf("after clearing: %v", results)
	}
	g := l.gradesJSON()
	if len(g.Scores) != 2 || len(g.Grades) != 1 {
		t.Fatalf("got %+v", g)
	}
	if s := g.Scores[0]; s.LineItem != testOrigin+itemPath || s.UserID != "u-2001" || *s.ScoreGiven != 8 || s.ScoreMaximum != 10 || s.Timestamp != at0 || s.Status != 200 {
		t.Errorf("arrived: %+v", s)
	}
	if got := g.Grades[0]; got.ResultScore != nil || got.Comment != "" || got.GradingProgress != "PendingManual" ||
		got.StartedAt != "2027-01-15T07:00:00Z" || got.SubmittedAt != "2027-01-15T09:30:00+01:00" {
		t.Errorf("grade: %+v", got)
	}
	for _, tc := range []struct{ progress, timestamp, started, submitted string }{
		{"Completed", "2027-01-15T08:00:01.0Z", "2027-01-15T07:00:00Z", "2027-01-15T09:30:00+01:00"},
		{"InProgress", "2027-01-15T08:00:02.0Z", "2027-01-15T07:00:00Z", ""},
		{"Initialized", "2027-01-15T08:00:03.0Z", "", ""},
	} {
		l.post(token, scoreOf("timestamp", tc.timestamp, "activityProgress", tc.progress))
		if got := l.gradesJSON().Grades[0]; got.StartedAt != tc.started || got.SubmittedAt != tc.submitted {
			t.Errorf("%s: started %q, submitted %q", tc.progress, got.StartedAt, got.SubmittedAt)
		}
	}
}

func TestScoresRefused(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		code       int
	}{
		{"good", scoreOf(), 200},
		{"over the maximum", scoreOf("scoreGiven", 11), 200},
		{"zero", scoreOf("scoreGiven", 0), 200},
		{"fraction and offset", scoreOf("timestamp", "2027-01-15T08:00:00.123456789+01:00"), 200},
		{"no score", scoreOf("scoreGiven", "-", "scoreMaximum", "-"), 200},
		{"in the future", scoreOf("timestamp", "2099-01-15T08:00:00.1Z"), 200},
		{"no JSON", "nonsense", 400},
		{"list", "[" + scoreOf() + "]", 400},
		{"no user", scoreOf("userId", "-"), 400},
		{"user a number", scoreOf("userId", 5), 400},
		{"unknown user", scoreOf("userId", "u-9"), 422},
		{"teacher", scoreOf("userId", "u-1001"), 422},
		{"administrator", scoreOf("userId", "u-1002"), 422},
		{"no activityProgress", scoreOf("activityProgress", "-"), 400},
		{"activityProgress", scoreOf("activityProgress", "Done"), 400},
		{"no gradingProgress", scoreOf("gradingProgress", "-"), 400},
		{"gradingProgress", scoreOf("gradingProgress", "fullygraded"), 400},
		{"no timestamp", scoreOf("timestamp", "-"), 400},
		{"timestamp by the second", scoreOf("timestamp", "2027-01-15T08:00:00Z"), 400},
		{"timestamp without zone", scoreOf("timestamp", "2027-01-15T08:00:00.1"), 400},
		{"timestamp a number", scoreOf("timestamp", 1800000000), 400},
		{"timestamp nonsense", scoreOf("timestamp", "2027-13-15T08:00:00.1Z"), 400},
		{"score in quotes", scoreOf("scoreGiven", "8"), 400},
		{"score below 0", scoreOf("scoreGiven", -1), 400},
		{"score too large", scoreOf("scoreGiven", 1e300), 400},
		{"no maximum", scoreOf("scoreMaximum", "-"), 400},
		{"maximum null", scoreOf("scoreMaximum", nil), 400},
		{"maximum 0", scoreOf("scoreMaximum", 0), 400},
		{"maximum tiny", scoreOf("scoreMaximum", 1e-300), 400},
		{"comment a number", scoreOf("comment", 1), 400},
		{"grader empty", scoreOf("scoringUserId", ""), 400},
		{"grader null", scoreOf("scoringUserId", nil), 400},
		{"submission", scoreOf("submission", "x"), 400},
		{"submission backwards", scoreOf("submission", map[string]string{"startedAt": "2027-01-15T08:00:00.1Z", "submittedAt": "2027-01-15T08:00:00.0Z"}), 400},
		{"submission by the second", scoreOf("submission", map[string]string{"startedAt": "2027-01-15T08:00:00Z"}), 400},
		{"huge", scoreOf("comment", strings.Repeat("x", maxScoreBody)), 413},
	} {
		l := newTooled(t)
		if w := l.post(l.accessToken(), tc.body); w.Code != tc.code {
			t.Errorf("%s: expected %d, got %d %s", tc.name, tc.code, w.Code, w.Body)
		}
		g := l.gradesJSON()
		if len(g.Scores) != 1 || g.Scores[0].Status != tc.code || (len(g.Grades) == 1) != (tc.code == 200) {
			t.Errorf("%s: %+v", tc.name, g)
		}
	}
}

func TestTimestamps(t *testing.T) {
	for _, tc := range []struct {
		name, user, timestamp string
		code, whole           int
	}{
		{"same", "u-2001", at0, 409, 409},
		{"same, written otherwise", "u-2001", "2027-01-15T09:00:00.5+01:00", 409, 409},
		{"older", "u-2001", "2027-01-15T08:00:00.499Z", 409, 409},
		{"newer by a nanosecond", "u-2001", "2027-01-15T08:00:00.500000001Z", 200, 409},
		{"newer, same second", "u-2001", "2027-01-15T08:00:00.999Z", 200, 409},
		{"newer, next second", "u-2001", "2027-01-15T08:00:01.0Z", 200, 200},
		{"other user", "u-2002", at0, 200, 200},
	} {
		for whole, want := range map[bool]int{false: tc.code, true: tc.whole} {
			l := newTooled(t)
			if whole {
				l.faults = map[string]fault{quirkWholeSeconds: {kind: "on"}}
			}
			token := l.accessToken()
			l.post(token, scoreOf())
			w := l.post(token, scoreOf("userId", tc.user, "timestamp", tc.timestamp, "scoreGiven", 1))
			if w.Code != want {
				t.Errorf("%s, whole %t: expected %d, got %d", tc.name, whole, want, w.Code)
			}
			if want == 409 && (w.Body.String() == "[]") != whole {
				t.Errorf("%s, whole %t: body %s", tc.name, whole, w.Body)
			}
			if g := l.gradesJSON(); want == 409 && (len(g.Grades) != 1 || *g.Grades[0].ResultScore != 80) {
				t.Errorf("%s: %+v", tc.name, g.Grades)
			}
		}
	}
	// By line item.
	l := newTooled(t)
	token := l.accessToken()
	l.post(token, scoreOf())
	if w := l.call(token, "POST", "/ags/c-32/lineitems/site.chapter-1-b/lineitem/scores?type_id=1", typeScore, scoreOf()); w.Code != 200 {
		t.Errorf("other line item: %d", w.Code)
	}
}

func TestErase(t *testing.T) {
	for _, tc := range []struct {
		name  string
		score []any
		kept  bool
	}{
		{"final", nil, true},
		{"pending", []any{"gradingProgress", "Pending"}, false},
		{"no score", []any{"scoreGiven", "-"}, false},
	} {
		l := newTooled(t)
		l.faults = map[string]fault{quirkErase: {kind: "on"}}
		token := l.accessToken()
		l.post(token, scoreOf())
		w := l.post(token, scoreOf(append(tc.score, "timestamp", "2027-01-15T08:00:02.0Z")...))
		if kept := len(l.gradesJSON().Grades) == 1; w.Code != 200 || kept != tc.kept {
			t.Errorf("%s: %d, kept %t", tc.name, w.Code, kept)
		}
	}
}

func TestResults(t *testing.T) {
	l := newTooled(t)
	token := l.accessToken()
	for i, user := range []string{"u-2003", "u-2001", "u-2002"} {
		l.post(token, scoreOf("userId", user, "scoreGiven", i+1, "scoreMaximum", 3))
	}
	path := below(itemPath, "/results")
	for query, want := range map[string]string{
		"": "66.7 100.0 33.3", "&user_id=u-2002": "100.0", "&user_id=u-1001": "", "&user_id=u-9": "", "&limit=2": "66.7 100.0", "&limit=2&from=2": "33.3",
	} {
		var results []struct{ ResultScore float64 }
		decode(t, l.call(token, "GET", path+query, typeResults, ""), 200, &results)
		var got []string
		for _, r := range results {
			got = append(got, fmt.Sprintf("%.1f", r.ResultScore))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, expected %s", query, got, want)
		}
	}
	if next := nextLink(l.call(token, "GET", path+"&limit=2", "", "")); next != testOrigin+"/ags/c-31/lineitems/site.chapter-1-b/lineitem/results?from=2&limit=2&type_id=1" {
		t.Errorf("next %s", next)
	}
	// The line item's maximum is what counts, also if it changes later.
	l.call(token, "PUT", itemPath, typeLineItem, `{"label":"x","scoreMaximum":6}`)
	var results []struct{ ResultScore, ResultMaximum float64 }
	decode(t, l.call(token, "GET", path+"&user_id=u-2001", "", ""), 200, &results)
	if results[0].ResultScore != 4 || results[0].ResultMaximum != 6 {
		t.Errorf("got %+v", results)
	}
}

func TestArrivalsAreBounded(t *testing.T) {
	b := newBook()
	for i := range maxArrivals + 3 {
		b.arrived(arrival{status: i})
	}
	list := b.inOrder()
	if len(list) != maxArrivals || list[0].status != 3 || list[maxArrivals-1].status != maxArrivals+2 || b.forgotten != 3 {
		t.Errorf("%d, from %d to %d, %d forgotten", len(list), list[0].status, list[len(list)-1].status, b.forgotten)
	}
	if got := (score{comment: strings.Repeat("x", 9999)}).clipped(); len(got.comment) > 600 {
		t.Errorf("a comment of %d bytes", len(got.comment))
	}
}

func TestGradebook(t *testing.T) {
	l := newTooled(t)
	token := l.accessToken()
	l.create(token, `{"label":"Made <i>","scoreMaximum":3}`)
	l.post(token, scoreOf("comment", "Nice <i>work</i>", "timestamp", "2027-01-15T09:00:00.123+01:00", "scoreGiven", 2, "scoreMaximum", 3))
	l.post(token, scoreOf("userId", "u-2002", "gradingProgress", "PendingManual", "comment", "wait"))
	for _, tc := range []struct {
		who        string
		has, lacks []string
	}{
		{"u-1001", []string{
			"<strong>66.67</strong> / 100", "Nice &lt;i&gt;work&lt;/i&gt;", `<time datetime="2027-01-15T08:00:00.123Z">15 Jan 2027, 08:00:00 UTC</time>`,
			"<strong>80</strong> / 100", "Completed, PendingManual", "wait", "Made &lt;i&gt;", "out of 3", "Robin Vale", "refresh.js?v=",
		}, []string{"No scores yet", "<i>"}},
		{"u-2001", []string{"<strong>66.67</strong>", "Nice"}, []string{"wait", `<th scope="row">Zo`}},
		{"u-2003", []string{"No scores yet"}, []string{"66.67", "wait"}},
	} {
		l.who = tc.who
		w := l.get("/course/c-31/gradebook")
		for _, s := range tc.has {
			if !strings.Contains(w.Body.String(), s) {
				t.Errorf("%s: %q is missing in %s", tc.who, s, w.Body)
			}
		}
		for _, s := range tc.lacks {
			if strings.Contains(w.Body.String(), s) {
				t.Errorf("%s: %q is in %s", tc.who, s, w.Body)
			}
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.HasSuffix(csp, "form-action 'self'; script-src 'self'; connect-src 'self'") {
			t.Errorf("policy %s", csp)
		}
	}
	if w := l.get("/assets/refresh.js"); w.Code != 200 || w.Header().Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("script: %d %v", w.Code, w.Header())
	}
	l.who = "u-1001"
	l.tools[0].AGS = optionOff
	if w := l.get("/course/c-31/gradebook"); !strings.Contains(w.Body.String(), "No tool has a line item") {
		t.Errorf("without tools: %s", w.Body)
	}
}

// TestGradesOutliveReload: grades, tokens and faults set at run time are kept.
func TestGradesOutliveReload(t *testing.T) {
	l := newTooled(t)
	token := l.accessToken()
	l.post(token, scoreOf())
	l.do("POST", "/faults", map[string][]string{"no_lineitem": {"on"}}, local)

	again := newTooled(t)
	again.state = l.state
	again.at = l.at.Add(time.Minute)
	if g := again.gradesJSON(); len(g.Grades) != 1 || len(g.Scores) != 1 {
		t.Errorf("got %+v", g)
	}
	if w := again.call(token, "GET", itemsPath, "", ""); w.Code != 200 {
		t.Errorf("old token: %d", w.Code)
	}
	if claim := again.endpointClaim(testOrigin, courses[0], again.activities[0]); claim["lineitem"] != nil {
		t.Errorf("claim %v", claim)
	}
}
