package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/internal/ltitest"
)

// gradedSite is a site with an API whose platform is the demo LMS, and the app
// behind it, which sees the tokens.
type gradedSite struct {
	*caddy
	platform *caddy // the demo LMS, a process of its own
	app      *httptest.Server
	text     string // the Caddyfile of the site
	*seen
}

// seen is what the app has been sent.
type seen struct {
	mu     sync.Mutex
	tokens map[string]string // by the X-LTI-Launch-Id that came along
	last   string
}

const gradeKey = "0123456789abcdefghijklmn"

func newGradedSite(tb testing.TB, lmsOptions, toolOptions string) *gradedSite {
	tb.Helper()
	s := &gradedSite{caddy: newCaddy(tb), platform: newCaddy(tb), seen: &seen{tokens: make(map[string]string)}}
	s.app = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, score := range r.URL.Query()["score"] {
			w.Header().Add("X-LTI-Score", score)
		}
		w.Header().Set("X-LTI-Token", r.Header.Get("X-LTI-Token")) // as apps do that show what they got
		if r.URL.Query().Has("missing") {
			w.WriteHeader(http.StatusNotFound)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.last = r.Header.Get("X-LTI-Token")
		s.tokens[r.Header.Get("X-LTI-Launch-Id")] = s.last
		_, _ = fmt.Fprintf(w, "link=%s launch=%s.", r.Header.Get("X-LTI-Resource-Link-Id"), r.Header.Get("X-LTI-Launch-Id"))
	}))
	tb.Cleanup(s.app.Close)
	s.startLMS(lmsOptions)
	s.text = fmt.Sprintf(`{
	admin localhost:$ADMIN
	auto_https off
	default_bind 127.0.0.1
	lti {
		http_client {
			allow_private 127.0.0.1
		}
	}
}
http://tool.localhost:$PORT {
	lti {
		public /open/*
		api {
			key nightly %[1]s {
				platform demo
				allow scores results lineitems
			}
			key other 0123456789abcdefghijklmX {
				platform demo
				context c-32
				allow scores
			}
		}
		%[2]s
		%[4]s
	}
	reverse_proxy %[3]s
}
`, gradeKey, toolOptions, s.app.Listener.Addr(), s.platformBlock("demo"))
	s.start(s.text)
	return s
}

// startLMS starts the demo LMS that s.platform is to be.
func (s *gradedSite) startLMS(options string) {
	s.platform.start(fmt.Sprintf(`{
	admin localhost:$ADMIN
	auto_https off
	default_bind 127.0.0.1
}
http://lms.localhost:$PORT {
	devlms {
		%[1]s
		tool quiz {
			client_id quiz
			deployment 1
			login http://tool.localhost:%[2]d/lti/login
			redirect http://tool.localhost:%[2]d/lti/launch
			jwks http://tool.localhost:%[2]d/lti/jwks.json
			link "Quiz one" http://tool.localhost:%[2]d/one/ iframe
			link "Quiz two" http://tool.localhost:%[2]d/two/ iframe
		}
	}
}
`, options, s.port))
}

// platformBlock is what the site has to know of the demo LMS.
func (s *gradedSite) platformBlock(name string) string {
	return fmt.Sprintf(`platform %[1]s {
			issuer http://lms.localhost:%[2]d
			auth_url http://lms.localhost:%[2]d/auth
			token_url http://lms.localhost:%[2]d/token
			jwks_url http://lms.localhost:%[2]d/jwks
			client_id quiz
			deployment 1
		}`, name, s.platform.port)
}

// secondPlatform starts another demo LMS, and returns the site as it is seen
// from there.
func (s *gradedSite) secondPlatform(tb testing.TB, name string) *gradedSite {
	tb.Helper()
	other := &gradedSite{caddy: s.caddy, platform: newCaddy(tb), app: s.app, seen: s.seen}
	other.startLMS("")
	s.text = strings.Replace(s.text, "platform demo {", other.platformBlock(name)+"\n\t\tplatform demo {", 1)
	// The same in the options of a key.
	s.text = strings.Replace(s.text, "platform demo\n", "platform demo "+name+"\n", 1)
	other.text = s.text
	if err := s.reload(s.text); err != nil {
		tb.Fatal(err)
	}
	return other
}

func (s *gradedSite) lms(path string) string  { return s.platform.origin("lms.localhost") + path }
func (s *gradedSite) site(path string) string { return s.origin("tool.localhost") + path }

var formAction = regexp.MustCompile(`<form method="post" action="([^"]+)"`)

// submit posts the form that a page would post by itself.
func (b *browser) submit(res *answer) *answer {
	b.tb.Helper()
	m := formAction.FindStringSubmatch(res.body)
	if m == nil {
		b.tb.Fatalf("no form to post: %d %s", res.StatusCode, res.body)
	}
	return b.post(html.UnescapeString(m[1]), hidden(res.body).Encode())
}

// open launches an activity as a person, and returns the token that the app gets.
func (s *gradedSite) open(b *browser, person, course, activity string) (token string) {
	b.tb.Helper()
	s.launchFrom(b, person, "/initiate/"+course+"/quiz."+activity)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// launchFrom goes from where the demo LMS starts a launch to the page of the app
// as a person.
func (s *gradedSite) launchFrom(b *browser, person, path string) *answer {
	b.tb.Helper()
	if res := b.post(s.lms("/person"), url.Values{"person": {person}}.Encode(), "Sec-Fetch-Site", "same-origin"); res.StatusCode != http.StatusSeeOther {
		b.tb.Fatalf("choosing %s: %d %s", person, res.StatusCode, res.body)
	}
	res := b.get(s.lms(path))
	if res.StatusCode == http.StatusOK {
		res = b.submit(res)
	} else {
		res = b.get(res.Header.Get("Location"))
	}
	res = b.passProbe(res)
	res = b.submit(b.get(res.Header.Get("Location")))
	if res.StatusCode != http.StatusSeeOther {
		b.tb.Fatalf("launch: %d %s\n%s", res.StatusCode, res.body, s.log)
	}
	if res = b.get(res.Header.Get("Location")); res.StatusCode != http.StatusOK {
		b.tb.Fatalf("the app: %d %s", res.StatusCode, res.body)
	}
	if res.Header.Get("X-LTI-Token") != "" {
		b.tb.Error("the browser got the token for the API")
	}
	return res
}

// call uses the API, as the app's server does.
func (s *gradedSite) call(tb testing.TB, token, method, path, body string, header ...string) *answer {
	tb.Helper()
	b := newBrowser(tb)
	if token != "" {
		header = append([]string{"Authorization", "Bearer " + token}, header...)
	}
	if body != "" {
		header = append([]string{"Content-Type", "application/json"}, header...)
	}
	res := b.do(b.request(method, s.site("/lti/api/v1/"+path), strings.NewReader(body), header...))
	validate(tb, method, path, res)
	return res
}

// fault switches the demo LMS.
func (s *gradedSite) fault(tb testing.TB, fields ...string) {
	tb.Helper()
	form := make(url.Values)
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	if res := newBrowser(tb).post(s.lms("/faults"), form.Encode()); res.StatusCode != http.StatusOK {
		tb.Fatalf("faults %v: %d %s", fields, res.StatusCode, res.body)
	}
}

type lmsScore struct {
	LineItem   string
	UserID     string
	ScoreGiven float64
	Timestamp  string
	Status     int
	Comment    string
}

type lmsGrade struct {
	LineItem    string
	UserID      string
	ResultScore *float64
	Label       string
}

// gradebook is what the demo LMS has.
func (s *gradedSite) gradebook(tb testing.TB) (scores []lmsScore, grades []lmsGrade) {
	tb.Helper()
	var got struct {
		Scores []lmsScore
		Grades []lmsGrade
	}
	res := newBrowser(tb).get(s.lms("/grades.json"))
	if err := json.Unmarshal([]byte(res.body), &got); err != nil {
		tb.Fatalf("%v in %d %s", err, res.StatusCode, res.body)
	}
	return got.Scores, got.Grades
}

func (a *answer) json(tb testing.TB) map[string]any {
	tb.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		tb.Fatalf("%d: %v in %s", a.StatusCode, err, a.body)
	}
	return got
}

// A score goes from the app to the gradebook.
func TestScoreReachesTheGradebook(t *testing.T) {
	s := newGradedSite(t, "", "")
	token := s.open(newBrowser(t), "u-2001", "c-31", "quiz-one")
	launch := s.call(t, token, "GET", "launch", "").json(t)
	if launch["user"].(map[string]any)["id"] != "u-2001" || launch["line_item"] == "" || launch["score_handle"] == nil {
		t.Errorf("the launch is %v", launch)
	}
	res := s.call(t, token, "POST", "scores?wait=20s", `{"scoreGiven": 8, "scoreMaximum": 10, "comment": "Well done"}`)
	state := res.json(t)
	if res.StatusCode != http.StatusAccepted || state["state"] != "delivered" || res.Header.Get("Location") != "/lti/api/v1/scores/"+state["id"].(string) {
		t.Fatalf("got %d %s to %s\n%s", res.StatusCode, res.body, res.Header.Get("Location"), s.log)
	}
	if got := s.call(t, token, "GET", "scores/"+state["id"].(string), "").json(t); got["state"] != "delivered" {
		t.Errorf("asked later: %v", got)
	}
	scores, grades := s.gradebook(t)
	if len(scores) != 1 || scores[0].UserID != "u-2001" || scores[0].ScoreGiven != 8 || scores[0].LineItem != launch["line_item"] || scores[0].Comment != "Well done" {
		t.Errorf("the LMS got %+v", scores)
	}
	if len(grades) != 1 || grades[0].ResultScore == nil || *grades[0].ResultScore != 80 {
		t.Errorf("the gradebook has %+v", grades)
	}
	if got := s.call(t, token, "GET", "results", "").body; !strings.Contains(got, `"resultScore":80`) {
		t.Errorf("the learner's result is %s", got)
	}
	// A repeat with the same key is the same score; with another score it is none.
	one := s.call(t, token, "POST", "scores", `{"scoreGiven": 9, "scoreMaximum": 10}`, "Idempotency-Key", "k")
	two := s.call(t, token, "POST", "scores", `{"scoreGiven": 9, "scoreMaximum": 10}`, "Idempotency-Key", "k")
	if one.json(t)["id"] != two.json(t)["id"] {
		t.Errorf("a repeat: %s and %s", one.body, two.body)
	}
	if res := s.call(t, token, "POST", "scores", `{"scoreGiven": 1, "scoreMaximum": 10}`, "Idempotency-Key", "k"); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("another score with the same key: %d %s", res.StatusCode, res.body)
	}
	// One token for the platform serves many scores.
	if res := s.call(t, token, "POST", "scores?wait=20s", `{"scoreGiven": 10, "scoreMaximum": 10}`); res.json(t)["state"] != "delivered" {
		t.Errorf("the last one: %s", res.body)
	}
	counts := newBrowser(t).get(s.lms("/faults")).json(t)["count"].(map[string]any)
	if counts["token"].(float64) > 2 { // of results, and of scores
		t.Errorf("%v token requests", counts["token"])
	}
}

// What the API does not do, and how it says so.
func TestAPIRefuses(t *testing.T) {
	s := newGradedSite(t, "", "")
	b := newBrowser(t)
	token := s.open(b, "u-2001", "c-31", "quiz-one")
	const good = `{"scoreGiven": 8, "scoreMaximum": 10}`
	for _, tt := range []struct {
		name, token, method, path, body string
		header                          []string
		status                          int
		code, field                     string
	}{
		{"no token", "", "POST", "scores", good, nil, 401, "token_invalid", ""},
		{"another token", "AAAA", "POST", "scores", good, nil, 401, "token_invalid", ""},
		{"basic", "", "POST", "scores", good, []string{"Authorization", "Basic " + token}, 401, "token_invalid", ""},
		{"the cookie alone", "", "GET", "launch", "", []string{"Cookie", "__Host-lti=" + b.cookie("tool.localhost", "__Host-lti")}, 401, "token_invalid", ""},
		{"a foreign page", token, "POST", "scores", good, []string{"Origin", "https://evil.example"}, 403, "request_foreign_origin", ""},
		{"another learner", token, "POST", "scores", `{"scoreGiven": 8, "scoreMaximum": 10, "userId": "u-2002"}`, nil, 403, "forbidden", ""},
		{"another line item", token, "POST", "scores", `{"scoreGiven": 8, "scoreMaximum": 10, "lineItem": "http://lms.localhost/x"}`, nil, 403, "forbidden", ""},
		{"line items", token, "GET", "lineitems", "", nil, 403, "forbidden", ""},
		{"making a line item", token, "POST", "lineitems", `{"label": "x", "scoreMaximum": 1}`, nil, 403, "forbidden", ""},
		{"another's result", token, "GET", "results?userId=u-2002", "", nil, 403, "forbidden", ""},
		{"unknown call", token, "GET", "nothing", "", nil, 404, "not_found", ""},
		{"unknown score", token, "GET", "scores/nothing", "", nil, 404, "not_found", ""},
		{"wrong method", token, "PUT", "scores", good, nil, 405, "method_not_allowed", ""},
		{"no JSON", token, "POST", "scores", "scoreGiven=8", nil, 400, "body_malformed", ""},
		{"a list", token, "POST", "scores", "[1]", nil, 400, "body_malformed", ""},
		{"twice", token, "POST", "scores", `{"scoreGiven": 8, "scoreGiven": 9, "scoreMaximum": 10}`, nil, 400, "body_malformed", ""},
		{"no type", token, "POST", "scores", good, []string{"Content-Type", "text/plain"}, 415, "media_type", ""},
		{"negative", token, "POST", "scores", `{"scoreGiven": -1, "scoreMaximum": 10}`, nil, 422, "invalid", "scoreGiven"},
		{"NaN", token, "POST", "scores", `{"scoreGiven": "NaN", "scoreMaximum": 10}`, nil, 422, "invalid", "scoreGiven"},
		{"a text", token, "POST", "scores", `{"scoreGiven": "8", "scoreMaximum": 10}`, nil, 422, "invalid", "scoreGiven"},
		{"maximum 0", token, "POST", "scores", `{"scoreGiven": 0, "scoreMaximum": 0}`, nil, 422, "invalid", "scoreMaximum"},
		{"no maximum", token, "POST", "scores", `{"scoreGiven": 8}`, nil, 422, "invalid", "scoreMaximum"},
		{"misspelt", token, "POST", "scores", `{"score": 8, "scoreGiven": 8, "scoreMaximum": 10}`, nil, 422, "invalid", "score"},
		{"unknown progress", token, "POST", "scores", `{"scoreGiven": 8, "scoreMaximum": 10, "activityProgress": "Done"}`, nil, 422, "invalid", "activityProgress"},
		{"unknown grading", token, "POST", "scores", `{"scoreGiven": 8, "scoreMaximum": 10, "gradingProgress": "Done"}`, nil, 422, "invalid", "gradingProgress"},
		{"a long comment", token, "POST", "scores", `{"scoreGiven": 8, "scoreMaximum": 10, "comment": "` + strings.Repeat("x", 11<<10) + `"}`, nil, 422, "invalid", "comment"},
		{"a comment of 1 MB", token, "POST", "scores", `{"scoreGiven": 8, "scoreMaximum": 10, "comment": "` + strings.Repeat("x", 1<<20) + `"}`, nil, 422, "request_too_large", ""},
		{"ahead", token, "POST", "scores", fmt.Sprintf(`{"scoreGiven": 8, "scoreMaximum": 10, "timestamp": %q}`, time.Now().Add(2*time.Minute).UTC().Format(time.RFC3339Nano)), nil, 422, "invalid", "timestamp"},
		{"before 1970", token, "POST", "scores", `{"scoreGiven": 8, "scoreMaximum": 10, "timestamp": "1960-01-01T00:00:00Z"}`, nil, 422, "invalid", "timestamp"},
		{"a key of repeats in Latin-1", token, "POST", "scores", good, []string{"Idempotency-Key", "\xe9"}, 422, "invalid", "Idempotency-Key"},
		{"nobody", token, "POST", "scores", `{"scoreGiven": 8, "scoreMaximum": 10, "userId": ""}`, nil, 422, "invalid", "userId"},
		{"no time", token, "POST", "scores", `{"scoreGiven": 8, "scoreMaximum": 10, "timestamp": "yesterday"}`, nil, 422, "invalid", "timestamp"},
		{"not final", token, "POST", "scores", `{"scoreGiven": 8, "scoreMaximum": 10, "gradingProgress": "Pending"}`, nil, 422, "invalid", "gradingProgress"},
		{"no score", token, "POST", "scores", `{"activityProgress": "Started"}`, nil, 422, "invalid", "gradingProgress"},
		{"a wait too long", token, "POST", "scores?wait=1h", good, nil, 422, "invalid", "wait"},
		{"a handle with a launch", token, "POST", "scores", `{"scoreGiven": 8, "scoreMaximum": 10, "score_handle": "x"}`, nil, 422, "invalid", "score_handle"},
		{"a handle in the query with a launch", token, "POST", "scores?score_handle=x", good, nil, 422, "invalid", "score_handle"},
		{"a made-up handle for line items", gradeKey, "GET", "lineitems?score_handle=AAAA", "", nil, 422, "invalid", "score_handle"},
		{"a key without a place", gradeKey, "POST", "scores", good, nil, 422, "invalid", "context"},
		{"a key for a course nobody came from", gradeKey, "GET", "lineitems?platform=demo&context=c-99", "", nil, 409, "service_missing", ""},
		{"a key for another platform", gradeKey, "GET", "lineitems?platform=moodle&context=c-31", "", nil, 403, "forbidden", ""},
		{"a key without a user", gradeKey, "POST", "scores?platform=demo&context=c-31", good, nil, 422, "invalid", "userId"},
		{"a key and no launch", gradeKey, "GET", "launch", "", nil, 403, "forbidden", ""},
		{"a made-up handle", gradeKey, "POST", "scores?score_handle=AAAA", good, nil, 422, "invalid", "score_handle"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := s.call(t, tt.token, tt.method, tt.path, tt.body, tt.header...)
			if res.StatusCode != tt.status || res.Header.Get("Content-Type") != "application/problem+json" || res.Header.Get("Cache-Control") != "no-store" {
				t.Fatalf("got %d %v %s", res.StatusCode, res.Header, res.body)
			}
			got := res.json(t)
			if field, _ := got["field"].(string); got["code"] != tt.code || field != tt.field {
				t.Errorf("got %s", res.body)
			}
			if res.Header.Get("Access-Control-Allow-Origin") != "" || (tt.status == 401) != (res.Header.Get("WWW-Authenticate") != "") {
				t.Errorf("headers %v", res.Header)
			}
		})
	}
	if scores, _ := s.gradebook(t); len(scores) > 0 {
		t.Errorf("the LMS got %+v", scores)
	}
	// The token is for protected paths, and dies with the session.
	b.get(s.site("/open/x"))
	if s.last != "" {
		t.Error("a public path got the token")
	}
	if res := b.post(s.site("/lti/logout"), "", "Sec-Fetch-Site", "same-origin"); res.StatusCode != http.StatusOK {
		t.Fatalf("logout: %d", res.StatusCode)
	}
	if res := s.call(t, token, "POST", "scores", good); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("after logout: %d %s", res.StatusCode, res.body)
	}
}

// What an instructor's launch, or a key, may do beyond a learner's.
func TestGradebookCalls(t *testing.T) {
	s := newGradedSite(t, "fault page_size 1", "")
	learner := s.open(newBrowser(t), "u-2002", "c-31", "quiz-one")
	handle, _ := s.call(t, learner, "GET", "launch", "").json(t)["score_handle"].(string)
	token := s.open(newBrowser(t), "u-1001", "c-31", "quiz-two")
	own, _ := s.call(t, token, "GET", "launch", "").json(t)["line_item"].(string)
	list := func(path string) (items []map[string]any) {
		t.Helper()
		res := s.call(t, token, "GET", path, "")
		if err := json.Unmarshal([]byte(res.body), &items); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s", path, res.StatusCode, res.body)
		}
		return items
	}
	if got := list("lineitems"); len(got) != 2 {
		t.Errorf("the course has %v", got)
	}
	res := s.call(t, token, "POST", "lineitems", `{"label": "Essay", "scoreMaximum": 20, "tag": "essay", "resourceId": "e1"}`)
	made := res.json(t)
	id, _ := made["id"].(string)
	if res.StatusCode != http.StatusCreated || made["label"] != "Essay" || id == "" {
		t.Fatalf("made: %d %s", res.StatusCode, res.body)
	}
	path := "lineitems/" + base64.RawURLEncoding.EncodeToString([]byte(id))
	if res.Header.Get("Location") != "/lti/api/v1/"+path {
		t.Errorf("it is at %s", res.Header.Get("Location"))
	}
	if got := list("lineitems?tag=essay"); len(got) != 1 || got[0]["id"] != id {
		t.Errorf("by tag: %v", got)
	}
	if got := s.call(t, token, "PUT", path, `{"label": "Long essay"}`).json(t); got["label"] != "Long essay" || got["scoreMaximum"] != 20.0 || got["resourceId"] != "e1" {
		t.Errorf("changed: %v", got)
	}
	if got := s.call(t, token, "GET", path, "").json(t); got["label"] != "Long essay" {
		t.Errorf("read: %v", got)
	}
	// Scores of others, there and in the activity.
	for _, where := range []string{id, own} {
		body := fmt.Sprintf(`{"scoreGiven": 5, "scoreMaximum": 10, "userId": "u-2003", "lineItem": %q}`, where)
		if got := s.call(t, token, "POST", "scores?wait=20s", body).json(t); got["state"] != "delivered" {
			t.Errorf("a score of another in %s: %v", where, got)
		}
	}
	if got := list("results?lineItem=" + url.QueryEscape(id)); len(got) != 1 || got[0]["userId"] != "u-2003" || got[0]["resultScore"] != 10.0 {
		t.Errorf("results: %v", got)
	}
	// The platform says no: its words arrive.
	got := s.call(t, token, "POST", "scores?wait=20s", `{"scoreGiven": 5, "scoreMaximum": 10, "userId": "u-1001"}`).json(t)
	if got["state"] != "dead" || !strings.Contains(got["reason"].(string), "not a learner") {
		t.Errorf("a teacher's own score: %v", got)
	}
	// Nothing of another course.
	other := strings.Replace(id, "/c-31/", "/c-32/", 1)
	for _, res := range []*answer{
		s.call(t, token, "POST", "scores", fmt.Sprintf(`{"scoreGiven": 5, "scoreMaximum": 10, "userId": "u-2003", "lineItem": %q}`, other)),
		s.call(t, token, "GET", "results?lineItem="+url.QueryEscape(other), ""),
		s.call(t, token, "DELETE", "lineitems/"+base64.RawURLEncoding.EncodeToString([]byte(other)), ""),
		s.call(t, token, "GET", "lineitems/"+base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(id, "/lineitems/", "/lineitems/../../c-32/lineitems/", 1))), ""),
		s.call(t, token, "GET", "lineitems/"+base64.RawURLEncoding.EncodeToString([]byte("http://127.0.0.1:1/x")), ""),
	} {
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d %s", res.Request.URL, res.StatusCode, res.body)
		}
	}

	// A key, after everybody has gone: by a handle, and by names.
	if res := s.call(t, gradeKey, "POST", "scores?wait=20s", fmt.Sprintf(`{"scoreGiven": 3, "scoreMaximum": 4, "score_handle": %q}`, handle)); res.json(t)["state"] != "delivered" {
		t.Errorf("by handle: %s", res.body)
	}
	if res := s.call(t, gradeKey, "GET", "results?score_handle="+handle, ""); res.StatusCode != http.StatusOK || strings.Count(res.body, `"userId"`) != 1 || !strings.Contains(res.body, `"userId":"u-2002"`) {
		t.Errorf("results by handle: %d %s", res.StatusCode, res.body)
	}
	if res := s.call(t, gradeKey, "GET", "results?score_handle="+handle+"&userId=u-2003", ""); res.StatusCode != http.StatusForbidden {
		t.Errorf("another's results by handle: %d %s", res.StatusCode, res.body)
	}
	if res := s.call(t, gradeKey, "GET", "lineitems?tag=essay&score_handle="+handle, ""); res.StatusCode != http.StatusOK || !strings.Contains(res.body, id) {
		t.Errorf("line items by handle: %d %s", res.StatusCode, res.body)
	}
	if res := s.call(t, "0123456789abcdefghijklmX", "GET", "lineitems?score_handle="+handle, ""); res.StatusCode != http.StatusForbidden {
		t.Errorf("line items by handle, with a key for another course: %d", res.StatusCode)
	}
	if res := s.call(t, "0123456789abcdefghijklmX", "POST", "scores?score_handle="+handle, `{"scoreGiven": 3, "scoreMaximum": 4}`); res.StatusCode != http.StatusForbidden {
		t.Errorf("by handle, with a key for another course: %d", res.StatusCode)
	}
	if res := s.call(t, gradeKey, "POST", "scores?platform=demo&context=c-31&wait=20s", fmt.Sprintf(`{"scoreGiven": 4, "scoreMaximum": 4, "userId": "u-2001", "lineItem": %q}`, id)); res.json(t)["state"] != "delivered" {
		t.Errorf("by names: %s", res.body)
	}
	if res := s.call(t, gradeKey, "GET", "results?platform=demo&context=c-31&lineItem="+url.QueryEscape(id)+"&userId=u-2001", ""); !strings.Contains(res.body, `"resultScore":20`) {
		t.Errorf("results by key: %d %s", res.StatusCode, res.body)
	}
	if res := s.call(t, token, "DELETE", path, ""); res.StatusCode != http.StatusNoContent {
		t.Errorf("deleted: %d %s", res.StatusCode, res.body)
	}
	// A list of which the platform answers a part only is cut off.
	s.fault(t, "reset", "faults", "page_size", "1", "ags", "half")
	if res, body, err := s.stream(t, token, "lineitems"); res.StatusCode != http.StatusOK || err == nil || json.Valid([]byte(body)) || !strings.HasPrefix(body, `[{"id":`) {
		t.Errorf("half a list: %d %q, %v", res.StatusCode, body, err)
	}
	// What the platform does not answer is said.
	s.fault(t, "ags", "down")
	if res := s.call(t, token, "GET", "lineitems", ""); res.StatusCode != http.StatusBadGateway || res.json(t)["code"] != "platform_unreachable" {
		t.Errorf("a platform that is down: %d %s", res.StatusCode, res.body)
	}
	if res := s.call(t, token, "POST", "scores", `{"scoreGiven": 1, "scoreMaximum": 2, "userId": "u-2003"}`); res.StatusCode != http.StatusAccepted {
		t.Errorf("a score for a platform that is down: %d %s", res.StatusCode, res.body)
	}
}

// An activity without a line item: one is made, once, however many scores come
// at the same time.
func TestLineItemIsMadeOnce(t *testing.T) {
	s := newGradedSite(t, "", "")
	s.fault(t, "no_lineitem", "on")
	tokens := []string{s.open(newBrowser(t), "u-2001", "c-31", "quiz-one"), s.open(newBrowser(t), "u-2002", "c-31", "quiz-one"), s.open(newBrowser(t), "u-2003", "c-31", "quiz-one")}
	var wg sync.WaitGroup
	for _, token := range tokens {
		wg.Go(func() {
			if got := s.call(t, token, "POST", "scores?wait=20s", `{"scoreGiven": 1, "scoreMaximum": 2}`).json(t); got["state"] != "delivered" {
				t.Errorf("got %v", got)
			}
		})
	}
	wg.Wait()
	_, grades := s.gradebook(t)
	if len(grades) != 3 {
		t.Fatalf("the gradebook has %+v", grades)
	}
	for _, g := range grades {
		if g.LineItem != grades[0].LineItem {
			t.Errorf("two line items: %+v", grades)
		}
	}
	// The activity had a column, which the launch did not name: it is used.
	teacher := s.open(newBrowser(t), "u-1001", "c-31", "quiz-one")
	if res := s.call(t, teacher, "GET", "lineitems", ""); strings.Count(res.body, `"label"`) != 2 {
		t.Errorf("the course has %s", res.body)
	}
}

// A line item that no score may be sent to is not kept for the next one: the
// platform may have been mended.
func TestUnusableLineItem(t *testing.T) {
	var mended atomic.Bool
	var at string
	at = serve(t, func(w http.ResponseWriter, r *http.Request) {
		item := "https://elsewhere.invalid/items/1"
		if mended.Load() {
			item = at + "/items/1"
		}
		switch r.URL.Path {
		case "/token":
			_, _ = io.WriteString(w, `{"access_token": "abc", "token_type": "Bearer", "expires_in": 3600}`)
		case "/items":
			_, _ = fmt.Fprintf(w, `[{"id": %q, "label": "Quiz", "scoreMaximum": 10, "resourceLinkId": "link-1"}]`, item)
		case "/items/1/scores":
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	var token atomic.Value
	app := serve(t, func(_ http.ResponseWriter, r *http.Request) { token.Store(r.Header.Get("X-LTI-Token")) })
	p := ltitest.NewPlatform(t)
	site := strings.Replace(toolSite(p, "api", "reverse_proxy "+strings.TrimPrefix(app, "http://")), "jwks_url", "token_url "+at+"/token\n\t\t\tjwks_url", 1)
	tool := &tool{caddy: startCaddy(t, global(ltiGlobal)+site), host: "tool.localhost", base: "/lti", platform: p}
	b := newBrowser(t)
	tool.mustLaunch(b, map[string]any{
		ltitest.Claim("resource_link"): map[string]any{"id": "link-1"},
		"https://purl.imsglobal.org/spec/lti-ags/claim/endpoint": map[string]any{
			"scope": []string{ags.ScopeScore, ags.ScopeLineItem}, "lineitems": at + "/items",
		},
	})
	b.get(tool.url("/"))
	for _, state := range []string{"dead", "delivered"} {
		res := b.do(b.request("POST", tool.url("/lti/api/v1/scores?wait=20s"), strings.NewReader(`{"scoreGiven": 8, "scoreMaximum": 10}`),
			"Authorization", "Bearer "+token.Load().(string), "Content-Type", "application/json"))
		if got := res.json(t); got["state"] != state {
			t.Errorf("got %s, expected %s", res.body, state)
		}
		mended.Store(true)
	}
}

// Two tabs of one learner: the token of each is for its own activity.
func TestTokensNeverCross(t *testing.T) {
	s := newGradedSite(t, "", "")
	b := newBrowser(t)
	s.open(b, "u-2001", "c-31", "quiz-one")
	s.open(b, "u-2001", "c-31", "quiz-two")
	for i := range 50 {
		want := []string{"one", "two"}[i%2]
		res := b.get(s.site("/" + want + "/page"))
		s.mu.Lock()
		token := s.last
		s.mu.Unlock()
		launch := s.call(t, token, "GET", "launch", "").json(t)
		if got := launch["resource_link"].(map[string]any)["title"]; got != "Quiz "+want || launch["launch_id"] != launchOf(res) {
			t.Fatalf("in tab %s the token is of %v", want, launch)
		}
	}
}

// Where it stays open which of two activities a request belongs to, nothing is
// written to a gradebook.
func TestAmbiguousLaunch(t *testing.T) {
	s := newGradedSite(t, "", "")
	b := newBrowser(t)
	const score = `{"scoreGiven": 1, "scoreMaximum": 2}`
	at := func(path string, header ...string) string {
		t.Helper()
		if res := b.get(s.site(path), header...); res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s", path, res.StatusCode, res.body)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.last
	}
	first := s.open(b, "u-2001", "c-31", "quiz-one")
	id, _ := s.call(t, first, "GET", "launch", "").json(t)["launch_id"].(string)
	if res := s.call(t, at("/save"), "POST", "scores", score); res.StatusCode != http.StatusAccepted {
		t.Errorf("one launch: %d %s", res.StatusCode, res.body)
	}
	s.open(b, "u-2001", "c-31", "quiz-one")
	if res := s.call(t, at("/save"), "POST", "scores", score); res.StatusCode != http.StatusAccepted {
		t.Errorf("one activity, launched twice: %d %s", res.StatusCode, res.body)
	}
	s.open(b, "u-2001", "c-31", "quiz-two")
	unsure := at("/save")
	if res := s.call(t, unsure, "POST", "scores", score); res.StatusCode != http.StatusConflict || res.json(t)["code"] != "launch_ambiguous" {
		t.Errorf("two activities: %d %s", res.StatusCode, res.body)
	}
	launch := s.call(t, unsure, "GET", "launch", "").json(t)
	if launch["resource_link"].(map[string]any)["title"] != "Quiz two" || launch["score_handle"] != nil {
		t.Errorf("the launch is %v", launch)
	}
	for what, token := range map[string]string{
		"the token of before": first,
		"by path":             at("/one/save"),
		"by the page":         at("/save", "Referer", s.site("/two/")),
		"by name":             at("/save?lti_launch_id=" + id),
	} {
		if res := s.call(t, token, "POST", "scores", score); res.StatusCode != http.StatusAccepted {
			t.Errorf("%s: %d %s", what, res.StatusCode, res.body)
		}
	}
}

// A thousand scores, an LMS that fails half its calls, a server that is killed
// ten times: the last score of each learner in each activity arrives, none in a
// wrong place, none out of order.
func TestScoresSurviveAll(t *testing.T) {
	const total, kills = 1000, 10
	s := newGradedSite(t, "", "")
	type cell struct{ person, activity string }
	type target struct {
		token, lineItem string
		last            int
	}
	targets := make(map[cell]*target)
	var cells []cell
	for _, person := range []string{"u-2001", "u-2002", "u-2003"} {
		for _, course := range []string{"c-31", "c-32"} {
			for _, activity := range []string{"quiz-one", "quiz-two"} {
				token := s.open(newBrowser(t), person, course, activity)
				item, _ := s.call(t, token, "GET", "launch", "").json(t)["line_item"].(string)
				c := cell{person, course + activity}
				targets[c] = &target{token: token, lineItem: item}
				cells = append(cells, c)
			}
		}
	}
	s.fault(t, "scores", "half")
	ids := make(map[string]*target)
	for n := range total {
		if n%(total/kills) == total/kills-1 {
			// In the middle of what is being sent.
			s.kill()
			s.start(s.text)
		}
		c := cells[n%len(cells)]
		to := targets[c]
		res := s.call(t, to.token, "POST", "scores", fmt.Sprintf(`{"scoreGiven": %d, "scoreMaximum": %d}`, n, total), "Idempotency-Key", fmt.Sprint(n))
		if res.StatusCode != http.StatusAccepted {
			t.Fatalf("score %d: %d %s\n%s", n, res.StatusCode, res.body, s.log)
		}
		ids[res.json(t)["id"].(string)] = to
		to.last = n
	}
	s.fault(t, "reset", "faults")
	deadline := time.Now().Add(3 * time.Minute)
	for id, to := range ids {
		for {
			state := s.call(t, to.token, "GET", "scores/"+id, "").json(t)
			if state["state"] == "delivered" || state["state"] == "replaced" {
				break
			}
			if state["state"] != "queued" || time.Now().After(deadline) {
				t.Fatalf("score %s is %v\n%s", id, state, s.log)
			}
			time.Sleep(50 * time.Millisecond) // polling: it is up to the outbox when it tries again
		}
	}
	scores, grades := s.gradebook(t)
	at := make(map[string]string)
	for _, sc := range scores {
		if cell := sc.LineItem + sc.UserID; sc.Status/100 == 2 {
			if sc.Timestamp < at[cell] {
				t.Errorf("%s in %s: %s came after %s", sc.UserID, sc.LineItem, sc.Timestamp, at[cell])
			}
			at[cell] = sc.Timestamp
		}
	}
	got := make(map[string]float64)
	for _, g := range grades {
		if g.ResultScore != nil {
			got[g.LineItem+" "+g.UserID] = *g.ResultScore
		}
	}
	if len(got) != len(cells) {
		t.Errorf("%d grades for %d learners and activities", len(got), len(cells))
	}
	for c, to := range targets {
		if want := 100 * float64(to.last) / total; math.Abs(got[to.lineItem+" "+c.person]-want) > 1e-6 {
			t.Errorf("%v has %v, expected %v", c, got[to.lineItem+" "+c.person], want)
		}
	}
}

// A platform that hangs keeps no page and no launch waiting.
func TestHangingPlatform(t *testing.T) {
	s := newGradedSite(t, "", "")
	b := newBrowser(t)
	token := s.open(b, "u-2001", "c-31", "quiz-one")
	s.fault(t, "ags", "hang", "token", "hang")
	begun := time.Now()
	id := s.call(t, token, "POST", "scores", `{"scoreGiven": 1, "scoreMaximum": 2}`).json(t)["id"].(string)
	s.open(newBrowser(t), "u-2002", "c-31", "quiz-two")
	if res := b.get(s.site("/one/")); res.StatusCode != http.StatusOK {
		t.Errorf("the app: %d", res.StatusCode)
	}
	if state := s.call(t, token, "GET", "scores/"+id, "").json(t); state["state"] != "queued" {
		t.Errorf("the score is %v", state)
	}
	if took := time.Since(begun); took > 8*time.Second { // a call to the platform would have taken its 10 s
		t.Errorf("all that took %s", took)
	}
}

// Instructors see what became of the scores, and send again what failed.
func TestGradesPage(t *testing.T) {
	s := newGradedSite(t, "", "")
	learner := newBrowser(t)
	token := s.open(learner, "u-2001", "c-31", "quiz-one")
	if res := learner.get(s.site("/lti/grades")); res.StatusCode != http.StatusForbidden {
		t.Errorf("a learner: %d", res.StatusCode)
	}
	if res := newBrowser(t).get(s.site("/lti/grades")); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("nobody: %d", res.StatusCode)
	}
	b := newBrowser(t)
	s.open(b, "u-1001", "c-31", "quiz-two")
	if res := b.get(s.site("/lti/grades")); !strings.Contains(res.body, "no score in this course yet") {
		t.Errorf("at first: %d %s", res.StatusCode, res.body)
	}
	if got := s.call(t, token, "POST", "scores?wait=20s", `{"scoreGiven": 7, "scoreMaximum": 10}`).json(t); got["state"] != "delivered" {
		t.Fatalf("got %v", got)
	}
	s.fault(t, "whole_seconds", "on", "scores", "redirect")
	dead := s.call(t, token, "POST", "scores?wait=20s", `{"scoreGiven": 9, "scoreMaximum": 10}`).json(t)
	if dead["state"] != "dead" {
		t.Fatalf("a platform that leads elsewhere: %v", dead)
	}
	res := b.get(s.site("/lti/grades"))
	for _, want := range []string{"Maeve O&#39;Hara", "7 / 10", "9 / 10", "Delivered", "Failed", "Send again"} {
		if !strings.Contains(res.body, want) {
			t.Errorf("the page has no %q:\n%s", want, res.body)
		}
	}
	// The teacher of another course sees nothing of it, and sends nothing again.
	other := newBrowser(t)
	s.open(other, "u-1001", "c-32", "quiz-one")
	if res := other.get(s.site("/lti/grades")); strings.Contains(res.body, "u-2001") {
		t.Error("the page of another course has it too")
	}
	form := url.Values{"id": {dead["id"].(string)}}.Encode()
	for name, res := range map[string]*answer{
		"another course": other.post(s.site("/lti/grades"), form, "Sec-Fetch-Site", "same-origin"),
		"a learner":      learner.post(s.site("/lti/grades"), form, "Sec-Fetch-Site", "same-origin"),
		"another site":   b.post(s.site("/lti/grades"), form, "Sec-Fetch-Site", "cross-site"),
	} {
		if res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, res.StatusCode, res.body)
		}
	}
	s.fault(t, "reset", "faults")
	if res := b.post(s.site("/lti/grades"), form, "Sec-Fetch-Site", "same-origin"); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("sent again: %d %s", res.StatusCode, res.body)
	}
	until(t, "the score to arrive", func() bool {
		return s.call(t, token, "GET", "scores/"+dead["id"].(string), "").json(t)["state"] == "delivered"
	})
	if _, grades := s.gradebook(t); len(grades) != 1 || *grades[0].ResultScore != 90 {
		t.Errorf("the gradebook has %+v", grades)
	}
	if res := b.post(s.site("/lti/grades"), form, "Sec-Fetch-Site", "same-origin"); res.StatusCode != http.StatusConflict {
		t.Errorf("a third time: %d", res.StatusCode)
	}
}

// The page of one course stays with it, whatever else is open beside it.
func TestGradesPagesOfTwoCourses(t *testing.T) {
	s := newGradedSite(t, "", "")
	token := s.open(newBrowser(t), "u-2001", "c-31", "quiz-one")
	s.fault(t, "scores", "redirect")
	dead := s.call(t, token, "POST", "scores?wait=20s", `{"scoreGiven": 9, "scoreMaximum": 10}`).json(t)
	if dead["state"] != "dead" {
		t.Fatalf("got %v", dead)
	}
	s.fault(t, "reset", "faults")
	b := newBrowser(t)
	first, _ := s.call(t, s.open(b, "u-1001", "c-31", "quiz-two"), "GET", "launch", "").json(t)["launch_id"].(string)
	s.open(b, "u-1001", "c-32", "quiz-one")
	res := b.get(s.site("/lti/grades?lti_launch_id=" + first))
	// Learners by name, and what they did, for a platform that lets that be known.
	for _, want := range []string{"Stars &amp; Planets", "Maeve O&#39;Hara", "Quiz one", "Send again"} {
		if !strings.Contains(res.body, want) {
			t.Errorf("the page lacks %s:\n%s", want, res.body)
		}
	}
	if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors") {
		t.Errorf("policy %s", csp)
	}
	m := regexp.MustCompile(`<form method="post" action="(/lti/grades[^"]*)">`).FindStringSubmatch(res.body)
	if m == nil {
		t.Fatalf("no form in %s", res.body)
	}
	res = b.post(s.site(html.UnescapeString(m[1])), url.Values{"id": {dead["id"].(string)}}.Encode(), "Sec-Fetch-Site", "same-origin")
	if res.StatusCode != http.StatusSeeOther || !strings.Contains(res.Header.Get("Location"), first) {
		t.Errorf("sent again: %d to %s: %s", res.StatusCode, res.Header.Get("Location"), res.body)
	}
	if res := b.get(s.site("/lti/grades")); !strings.Contains(res.body, "no score in this course yet") {
		t.Errorf("the other course: %s", res.body)
	}
}

// Scores that wait are delivered by the next configuration, and go on being
// delivered by the old one where the next does not start.
func TestScoresSurviveReload(t *testing.T) {
	s := newGradedSite(t, "", "")
	token := s.open(newBrowser(t), "u-2001", "c-31", "quiz-one")
	arrives := func(what string, given int) {
		t.Helper()
		id := s.call(t, token, "POST", "scores", fmt.Sprintf(`{"scoreGiven": %d, "scoreMaximum": 100}`, given)).json(t)["id"].(string)
		until(t, what, func() bool {
			return s.call(t, token, "GET", "scores/"+id, "").json(t)["state"] == "delivered"
		})
	}
	s.fault(t, "scores", "down")
	id := s.call(t, token, "POST", "scores", `{"scoreGiven": 1, "scoreMaximum": 100}`).json(t)["id"].(string)
	if err := s.reload(strings.Replace(s.text, "public /open/*", "public /opened/*", 1)); err != nil {
		t.Fatal(err)
	}
	s.fault(t, "reset", "faults")
	until(t, "the score of before the reload", func() bool {
		return s.call(t, token, "GET", "scores/"+id, "").json(t)["state"] == "delivered"
	})
	arrives("a score after the reload", 2)
	// The address is taken, which only shows when the configuration starts.
	if err := s.reload(s.text + fmt.Sprintf("http://taken.localhost:%d {\n\tbind 127.0.0.1\n}\n", taken(t))); err == nil {
		t.Fatal("a port that is taken was loaded")
	}
	arrives("a score after a reload that failed", 3)
	if _, grades := s.gradebook(t); len(grades) != 1 || *grades[0].ResultScore != 3 {
		t.Errorf("the gradebook has %+v", grades)
	}
}

// taken returns a port that somebody else listens on.
func taken(tb testing.TB) int {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().(*net.TCPAddr).Port
}
