package devlms

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	itemsPath = "/ags/c-31/lineitems?type_id=1"
	itemPath  = "/ags/c-31/lineitems/site.chapter-1-b/lineitem?type_id=1"
	testItem  = `{"label":"L","scoreMaximum":10}`
)

// call calls a service; kind is the Accept of a GET and the Content-Type of what
// has a body.
func (l *tooled) call(token, method, target, kind, body string) *httptest.ResponseRecorder {
	l.t.Helper()
	target = strings.TrimPrefix(target, testOrigin)
	r := httptest.NewRequest(method, testOrigin+target, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	switch {
	case kind == "":
	case body == "":
		r.Header.Set("Accept", kind)
	default:
		r.Header.Set("Content-Type", kind)
	}
	w := httptest.NewRecorder()
	if err := l.serve(w, r, false); err != nil {
		l.t.Fatal(err)
	}
	return w
}

// below puts a part behind the path of a line item's URL, before its query.
func below(itemURL, part string) string {
	path, query, _ := strings.Cut(itemURL, "?")
	return path + part + "?" + query
}

func (l *tooled) create(token, body string) map[string]any {
	l.t.Helper()
	var item map[string]any
	decode(l.t, l.call(token, "POST", itemsPath, typeLineItem, body), 201, &item)
	return item
}

func TestScopes(t *testing.T) {
	l := newTooled(t)
	made := l.create(l.accessToken(), testItem)["id"].(string)
	for _, tc := range []struct {
		method, path, kind, body string
		scopes                   []string // any of them will do
	}{
		{"GET", itemsPath, "", "", []string{scopeLineItem, scopeLineItemRead}},
		{"POST", itemsPath, typeLineItem, testItem, []string{scopeLineItem}},
		{"GET", made, "", "", []string{scopeLineItem, scopeLineItemRead}},
		{"PUT", made, typeLineItem, testItem, []string{scopeLineItem}},
		{"GET", below(made, "/results"), "", "", []string{scopeResult}},
		{"POST", below(made, "/scores"), typeScore, "{}", []string{scopeScore}},
		{"DELETE", made, "", "", []string{scopeLineItem}},
	} {
		for _, scope := range agsScopes {
			w := l.call(l.accessToken(scope), tc.method, tc.path, tc.kind, tc.body)
			allowed := slices.Contains(tc.scopes, scope)
			if (w.Code == 403) == allowed {
				t.Errorf("%s %s with %s: %d", tc.method, tc.path, scope, w.Code)
			}
			if got := w.Header().Get("WWW-Authenticate"); !allowed && !strings.Contains(got, `error="insufficient_scope"`) {
				t.Errorf("%s %s: %q", tc.method, tc.path, got)
			}
		}
	}
}

func TestAccessTokens(t *testing.T) {
	l := newTooled(t)
	token := l.accessToken()
	for _, tc := range []struct {
		name, authorization string
		after               time.Duration
		code                int
	}{
		{"good", "Bearer " + token, 0, 200},
		{"lower case", "bearer " + token, 3599 * time.Second, 200},
		{"expired", "Bearer " + token, 3600 * time.Second, 401},
		{"unknown", "Bearer x", 0, 401},
		{"none", "", 0, 401},
		{"empty", "Bearer ", 0, 401},
		{"basic", "Basic " + token, 0, 401},
	} {
		begin := l.at
		l.at = l.at.Add(tc.after)
		w := l.do("GET", itemsPath, nil, func(r *http.Request) { r.Header.Set("Authorization", tc.authorization) })
		l.at = begin
		if w.Code != tc.code || (tc.code == 401) != strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %d, %v", tc.name, w.Code, w.Header())
		}
	}
	// A token is good at the issuer that gave it.
	w := l.do("GET", itemsPath, nil, func(r *http.Request) {
		r.Host = "other.localhost:8080"
		r.Header.Set("Authorization", "Bearer "+token)
	})
	if w.Code != 401 {
		t.Errorf("at another issuer: %d", w.Code)
	}
}

func TestMediaTypes(t *testing.T) {
	for _, tc := range []struct {
		method, path, kind, body string
		code, strict             int
	}{
		{"GET", itemsPath, "", "", 200, 200},
		{"GET", itemsPath, typeLineItems, "", 200, 200},
		{"GET", itemsPath, typeLineItems + "; q=0.9, application/json", "", 200, 400},
		{"GET", itemsPath, typeLineItems + "; q=0", "", 406, 400},
		{"GET", itemsPath, "*/*", "", 406, 400},
		{"GET", itemsPath, "application/json", "", 406, 400},
		{"GET", itemsPath, typeLineItem, "", 406, 400},
		{"GET", itemPath, typeLineItem, "", 200, 200},
		{"GET", itemPath, typeLineItems, "", 406, 400},
		{"GET", below(itemPath, "/results"), typeResults, "", 200, 200},
		{"GET", below(itemPath, "/results"), "*/*", "", 406, 400},
		{"POST", itemsPath, typeLineItem, testItem, 201, 201},
		{"POST", itemsPath, typeLineItem + "; charset=utf-8", testItem, 201, 400},
		{"POST", itemsPath, "application/json", testItem, 415, 400},
		{"PUT", itemPath, "application/json", testItem, 415, 400},
		{"PUT", itemPath, typeLineItem, testItem, 200, 200},
		{"POST", below(itemPath, "/scores"), "application/json", "{}", 415, 400},
		{"POST", below(itemPath, "/scores"), strings.Replace(typeScore, "v1", "v2", 1), "{}", 415, 400},
	} {
		for strict, want := range map[bool]int{false: tc.code, true: tc.strict} {
			l := newTooled(t)
			if strict {
				l.faults = map[string]fault{quirkStrictAccept: {kind: "on"}}
			}
			if w := l.call(l.accessToken(), tc.method, tc.path, tc.kind, tc.body); w.Code != want {
				t.Errorf("%s %s %q, strict %t: expected %d, got %d %s", tc.method, tc.path, tc.kind, strict, want, w.Code, w.Body)
			}
		}
	}
}

func TestLineItems(t *testing.T) {
	l := newTooled(t)
	l.activities[1].ScoreMaximum, l.activities[1].ResourceID, l.activities[1].Tag = 20, "res", "grade"
	token := l.accessToken()
	var items []map[string]any
	w := l.call(token, "GET", itemsPath, typeLineItems, "")
	decode(t, w, 200, &items)
	want := []map[string]any{
		{"id": testOrigin + itemPath, "label": `Chapter "1" <b>&`, "scoreMaximum": 100.0, "resourceId": "", "tag": "", "resourceLinkId": "rl-c-31-site.chapter-1-b"},
		{"id": testOrigin + "/ags/c-31/lineitems/site.chapter-2/lineitem?type_id=1", "label": "Chapter 2", "scoreMaximum": 20.0, "resourceId": "res", "tag": "grade", "resourceLinkId": "rl-c-31-site.chapter-2"},
	}
	if fmt.Sprint(items) != fmt.Sprint(want) {
		t.Errorf("expected %v\n     got %v", want, items)
	}
	if got := w.Header().Get("Content-Type"); got != typeLineItems+"; charset=utf-8" {
		t.Errorf("content type %s", got)
	}

	made := l.create(token, `{"id":"x","label":"Made & <b>","scoreMaximum":30.5,"resourceId":"made","tag":"grade","startDateTime":"2026-01-01T00:00:00Z",
		"endDateTime":"","gradesReleased":true,"submissionReview":{"reviewableStatus":["Completed"]},"https://tool.example/x":[1],"unknown":1}`)
	id := made["id"].(string)
	for name, want := range map[string]any{
		"label": "Made & <b>", "scoreMaximum": 30.5, "resourceId": "made", "tag": "grade", "startDateTime": "2026-01-01T00:00:00Z", "endDateTime": "",
		"gradesReleased": true, "https://tool.example/x": []any{1.0}, "submissionReview": map[string]any{"reviewableStatus": []any{"Completed"}},
		"resourceLinkId": nil, "unknown": nil,
	} {
		if fmt.Sprint(made[name]) != fmt.Sprint(want) {
			t.Errorf("%s: %v, expected %v", name, made[name], want)
		}
	}
	linked := l.create(token, `{"label":"Linked","scoreMaximum":1,"resourceLinkId":"rl-c-31-site.chapter-2","tag":"x"}`)["id"].(string)

	for query, want := range map[string]int{
		"": 4, "&tag=grade": 2, "&tag=grade&resource_id=made": 1, "&resource_id=none": 0, "&resource_link_id=rl-c-31-site.chapter-2": 2,
		"&resource_link_id=rl-c-31-site.chapter-2&tag=x": 1, "&tag=": 1,
	} {
		decode(t, l.call(token, "GET", itemsPath+query, "", ""), 200, &items)
		if len(items) != want {
			t.Errorf("%s: %d items, expected %d", query, len(items), want)
		}
	}
	if w := l.call(token, "GET", itemsPath+"&tag=none", "", ""); w.Body.String() != "[]" {
		t.Errorf("nothing found: %s", w.Body)
	}

	var one map[string]any
	decode(t, l.call(token, "GET", id, typeLineItem, ""), 200, &one)
	if fmt.Sprint(one) != fmt.Sprint(made) {
		t.Errorf("read %v", one)
	}
	decode(t, l.call(token, "GET", strings.TrimSuffix(id, "?type_id=1"), "", ""), 200, &one)

	one = nil
	decode(t, l.call(token, "PUT", id, typeLineItem, `{"label":"Now","scoreMaximum":5,"resourceId":null}`), 200, &one)
	if one["label"] != "Now" || one["resourceId"] != "" || one["tag"] != "" || one["gradesReleased"] != nil || one["id"] != id {
		t.Errorf("updated: %v", one)
	}
	one = nil
	decode(t, l.call(token, "PUT", testOrigin+itemPath, typeLineItem, `{"label":"Now","scoreMaximum":50}`), 200, &one)
	if one["label"] != "Now" || one["scoreMaximum"] != 50.0 || one["resourceLinkId"] != "rl-c-31-site.chapter-1-b" {
		t.Errorf("updated coupled: %v", one)
	}

	for _, tc := range []struct {
		url   string
		codes []int
	}{{id, []int{204, 404}}, {linked, []int{204, 404}}, {itemPath, []int{403, 403}}} {
		for _, want := range tc.codes {
			if w := l.call(token, "DELETE", tc.url, "", ""); w.Code != want {
				t.Errorf("delete %s: %d, expected %d", tc.url, w.Code, want)
			}
		}
	}
	if w := l.call(token, "GET", id, "", ""); w.Code != 404 {
		t.Errorf("after deleting: %d", w.Code)
	}
}

func TestLineItemsRefused(t *testing.T) {
	for _, tc := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"POST", itemsPath, `nonsense`, 400, "JSON object"},
		{"POST", itemsPath, `[]`, 400, "JSON object"},
		{"POST", itemsPath, `{"scoreMaximum":1}`, 400, "label"},
		{"POST", itemsPath, `{"label":" ","scoreMaximum":1}`, 400, "label"},
		{"POST", itemsPath, `{"label":1,"scoreMaximum":1}`, 400, "label"},
		{"POST", itemsPath, `{"label":"a"}`, 400, "scoreMaximum"},
		{"POST", itemsPath, `{"label":"a","scoreMaximum":0}`, 400, "scoreMaximum"},
		{"POST", itemsPath, `{"label":"a","scoreMaximum":-1}`, 400, "scoreMaximum"},
		{"POST", itemsPath, `{"label":"a","scoreMaximum":1e300}`, 400, "scoreMaximum"},
		{"POST", itemsPath, `{"label":"a","scoreMaximum":"1"}`, 400, "scoreMaximum"},
		{"POST", itemsPath, `{"label":"a","scoreMaximum":1,"tag":1}`, 400, "tag"},
		{"POST", itemsPath, `{"label":"a","scoreMaximum":1,"startDateTime":"2026-01-01T00:00:00"}`, 400, "startDateTime"},
		{"POST", itemsPath, `{"label":"a","scoreMaximum":1,"startDateTime":"2026-01-02T00:00:00Z","endDateTime":"2026-01-01T00:00:00Z"}`, 400, "endDateTime"},
		{"POST", itemsPath, `{"label":"a","scoreMaximum":1,"gradesReleased":"yes"}`, 400, "gradesReleased"},
		{"POST", itemsPath, `{"label":"a","scoreMaximum":1,"submissionReview":1}`, 400, "submissionReview"},
		{"POST", itemsPath, `{"label":"a","label":"b","scoreMaximum":1}`, 400, "JSON object"},
		{"POST", itemsPath, `{"label":"a","scoreMaximum":1,"resourceLinkId":"rl-c-31-echo.link"}`, 404, "resourceLinkId"},
		{"POST", itemsPath, `{"label":"a","scoreMaximum":1,"resourceLinkId":"rl-c-32-site.chapter-2"}`, 404, "resourceLinkId"},
		{"POST", itemsPath, `{"label":"` + strings.Repeat("a", maxLineItemBody) + `","scoreMaximum":1}`, 413, "larger"},
		{"PUT", itemPath, `{"label":"a","scoreMaximum":1,"resourceLinkId":"rl-c-31-site.chapter-2"}`, 400, "resourceLinkId"},
		{"PUT", itemPath, `{"label":"a"}`, 400, "scoreMaximum"},
		{"PUT", below(itemPath, "x"), testItem, 404, ""},
		{"GET", "/ags/c-31/lineitems/echo.link/lineitem", "", 404, "no such line item"},
		{"GET", "/ags/c-99/lineitems?type_id=1", "", 404, "no such course"},
		{"GET", itemPath + "/results", "", 400, "appended"},
		{"GET", itemsPath + "&limit=0", "", 400, "limit"},
		{"GET", itemsPath + "&limit=x", "", 400, "limit"},
		{"GET", itemsPath + "&from=-1", "", 400, "from"},
		{"GET", itemsPath + "&x=%zz", "", 400, "query"},
		{"DELETE", itemsPath, "", 405, ""},
		{"POST", itemPath + "/scores", "{}", 405, ""},
	} {
		l := newTooled(t)
		kind := ""
		if tc.body != "" {
			kind = typeLineItem
		}
		w := l.call(l.accessToken(), tc.method, tc.path, kind, tc.body)
		if w.Code != tc.code || !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("%s %s %.80s: expected %d with %q, got %d %s", tc.method, tc.path, tc.body, tc.code, tc.want, w.Code, w.Body)
		}
	}
}

// TestOwnLineItemsOnly: what another tool made is not there.
func TestOwnLineItemsOnly(t *testing.T) {
	l := newTooled(t)
	made := l.create(l.accessToken(), testItem)["id"].(string)
	l.tools[1].JWKSURL = "http://echo.localhost:8080/jwks"
	l.fetchers["echo"] = l.fetcher
	claims := l.assertion()
	claims["iss"], claims["sub"], claims[claimPrefix+"deployment_id"] = "demo-echo", "demo-echo", "2"
	var answer struct {
		Token string `json:"access_token"`
	}
	decode(t, l.do(http.MethodPost, "/token", l.form(claims, agsScopes...)), 200, &answer)
	var items []map[string]any
	decode(t, l.call(answer.Token, "GET", "/ags/c-31/lineitems?type_id=2", "", ""), 200, &items)
	if len(items) != 1 || items[0]["resourceLinkId"] != "rl-c-31-echo.link" {
		t.Errorf("got %v", items)
	}
	for _, u := range []string{made, itemPath} {
		if w := l.call(answer.Token, "GET", strings.Replace(u, "type_id=1", "type_id=2", 1), "", ""); w.Code != 404 {
			t.Errorf("%s: %d", u, w.Code)
		}
	}
}

func TestPaging(t *testing.T) {
	for _, tc := range []struct {
		name, query string
		pageSize    int
		pages       []int
	}{
		{"no limit", "", 0, []int{7}},
		{"limit", "&limit=3", 0, []int{3, 3, 1}},
		{"limit that fits", "&limit=7", 0, []int{7}},
		{"large limit", "&limit=9223372036854775807", 0, []int{7}},
		{"with a filter", "&limit=3&tag=a%26b", 0, []int{3, 2}},
		{"pages not asked for", "", 4, []int{4, 3}},
		{"smaller pages than asked for", "&limit=5", 4, []int{4, 3}},
		{"past the end", "&limit=2&from=99", 0, []int{0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newTooled(t)
			token := l.accessToken()
			for range 5 {
				l.create(token, `{"label":"L","scoreMaximum":10,"tag":"a&b"}`)
			}
			if tc.pageSize > 0 {
				l.faults = map[string]fault{quirkPageSize: {kind: "on", size: tc.pageSize}}
			}
			next := itemsPath + tc.query
			seen := make(map[any]bool)
			for n, want := range tc.pages {
				var items []map[string]any
				w := l.call(token, "GET", next, "", "")
				decode(t, w, 200, &items)
				if len(items) != want {
					t.Errorf("page %d: %d items, expected %d", n, len(items), want)
				}
				for _, item := range items {
					if seen[item["id"]] {
						t.Errorf("%v twice", item["id"])
					}
					seen[item["id"]] = true
				}
				next = nextLink(w)
			}
			if next != "" {
				t.Errorf("one more page: %s", next)
			}
		})
	}

	l := newTooled(t)
	l.faults = map[string]fault{quirkBrokenLink: {kind: "on"}}
	w := l.call(l.accessToken(), "GET", itemsPath+"&limit=1", "", "")
	if got := w.Header().Get("Link"); !strings.Contains(got, "rel=“next”") || !strings.Contains(got, "&amp;") || strings.Contains(got, `"`) {
		t.Errorf("broken link: %s", got)
	}
}

// nextLink returns the URL of Link rel=next.
func nextLink(w *httptest.ResponseRecorder) string {
	for link := range strings.SplitSeq(w.Header().Get("Link"), ", ") {
		if target, ok := strings.CutSuffix(link, `>; rel="next"`); ok {
			return strings.TrimPrefix(target, "<")
		}
	}
	return ""
}

func TestEndpointClaim(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*tooled)
		item   bool
	}{
		{"one line item", func(*tooled) {}, true},
		{"ungraded", func(l *tooled) { l.activities[0].Ungraded = true }, false},
		{"two", func(l *tooled) {
			l.create(l.accessToken(), `{"label":"L","scoreMaximum":1,"resourceLinkId":"rl-c-31-site.chapter-1-b"}`)
		}, false},
		{"two, of which one is of no link", func(l *tooled) { l.create(l.accessToken(), testItem) }, true},
		{"none of its own, but one made for it", func(l *tooled) {
			l.activities[0].Ungraded = true
			l.create(l.accessToken(), `{"label":"L","scoreMaximum":1,"resourceLinkId":"rl-c-31-site.chapter-1-b"}`)
		}, true},
		{"no_lineitem", func(l *tooled) { l.faults = map[string]fault{quirkNoLineItem: {kind: "on"}} }, false},
	} {
		l := newTooled(t)
		tc.change(l)
		claim := l.endpointClaim(testOrigin, courses[0], l.activities[0])
		if _, ok := claim["lineitem"]; ok != tc.item || claim["lineitems"] != testOrigin+itemsPath {
			t.Errorf("%s: %v", tc.name, claim)
		}
	}
	l := newTooled(t)
	l.tools[0].Deployment = "1:a&b"
	claim := l.endpointClaim(testOrigin, courses[0], l.activities[0])
	u, err := url.Parse(claim["lineitem"].(string))
	if err != nil || u.Query().Get("type_id") != "1:a&b" {
		t.Errorf("%v: %v", claim["lineitem"], err)
	}
	if data, err := json.Marshal(claim); err != nil || !strings.Contains(string(data), "lineitems") {
		t.Errorf("%s: %v", data, err)
	}
}

func TestMaximum(t *testing.T) {
	for _, tc := range []struct{ tool, link, want float64 }{{0, 0, 100}, {20, 0, 20}, {20, 7.5, 7.5}, {0, 7, 7}} {
		a := &activity{Link: &Link{ScoreMaximum: tc.link}, Tool: &Tool{ScoreMaximum: tc.tool}}
		if got := a.maximum(); got != tc.want {
			t.Errorf("%v: %v", tc, got)
		}
	}
}

func TestLineItemsAreBounded(t *testing.T) {
	b := newBook()
	for i := range maxLineItems + 1 {
		if ok := b.put(&lineItem{course: "c-31", id: fmt.Sprint(i)}); ok != (i < maxLineItems) {
			t.Fatalf("%d: %t", i, ok)
		}
	}
}
