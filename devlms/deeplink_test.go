package devlms

import (
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-lti/lti/internal/jose"
)

// linker is an LMS with a teacher who adds content of the tool site.
type linker struct{ *tooled }

func newLinker(t *testing.T) *linker {
	t.Helper()
	l := &linker{newTooled(t)}
	l.who = "u-1001"
	l.state.signing = []*jose.Key{testKeys()[1]} // a new one for each would take long
	return l
}

// request goes from the page to the request that the tool gets.
func (l *linker) request(query string) map[string]any {
	l.t.Helper()
	w := l.get("/course/c-31/add/site" + query)
	frame := regexp.MustCompile(`<iframe class="tool" src="([^"]*)"`).FindStringSubmatch(w.Body.String())
	if w.Code != 200 || frame == nil {
		l.t.Fatalf("no frame: %d %s", w.Code, w.Body)
	}
	start := l.get(html.UnescapeString(frame[1]))
	checkPostPage(l.t, start)
	_, login := readPost(l.t, start)
	_, fields := readPost(l.t, l.auth(url.Values{
		"scope": {"openid"}, "response_type": {"id_token"}, "response_mode": {"form_post"}, "prompt": {"none"},
		"client_id": {"demo-site"}, "redirect_uri": {"http://site.localhost:8080/lti/launch"},
		"login_hint": {login.Get("login_hint")}, "lti_message_hint": {login.Get("lti_message_hint")},
		"state": {"s"}, "nonce": {newNonce()},
	}))
	if fields.Get("id_token") == "" {
		l.t.Fatalf("no token: %v", fields)
	}
	_, claims := l.readToken(fields.Get("id_token"))
	if got := login.Get("target_link_uri"); got != claims[claimPrefix+"target_link_uri"] {
		l.t.Errorf("target_link_uri of the login: %s", got)
	}
	return claims
}

func settingsOf(claims map[string]any) map[string]any {
	return claims[claimDeepLink+"deep_linking_settings"].(map[string]any)
}

// answer is a good one to a request.
func (l *linker) answer(request map[string]any, items string) map[string]any {
	l.t.Helper()
	claims := map[string]any{
		"iss": "demo-site", "aud": testOrigin, "iat": l.at.Unix(), "exp": l.at.Unix() + 300, "nonce": newNonce(),
		claimPrefix + "message_type": "LtiDeepLinkingResponse", claimPrefix + "version": "1.3.0", claimPrefix + "deployment_id": "1",
	}
	if data, ok := settingsOf(request)["data"]; ok {
		claims[claimDeepLink+"data"] = data
	}
	if items != "" {
		claims[claimDeepLink+"content_items"] = json.RawMessage(items)
	}
	return claims
}

// send posts an answer as the browser does from a page of the tool: without the
// cookie of the LMS.
func (l *linker) send(request, answer map[string]any) *httptest.ResponseRecorder {
	l.t.Helper()
	signed, err := l.key.Sign(answer)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.sendForm(request, url.Values{"JWT": {signed}})
}

func (l *linker) sendForm(request map[string]any, form url.Values) *httptest.ResponseRecorder {
	l.t.Helper()
	to := strings.TrimPrefix(settingsOf(request)["deep_link_return_url"].(string), testOrigin)
	who := l.who
	defer func() { l.who = who }()
	l.who = ""
	return l.do("POST", to, form, func(r *http.Request) {
		r.Header.Set("Origin", "http://site.localhost:8080")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	})
}

// add adds content and expects no complaint.
func (l *linker) add(query, items string) {
	l.t.Helper()
	request := l.request(query)
	if w := l.send(request, l.answer(request, items)); w.Code != 200 {
		l.t.Fatalf("%s: %d %s", items, w.Code, w.Body)
	}
}

// added is the last activity that was added to a course.
func (l *linker) added(c *course) *activity {
	l.t.Helper()
	b := l.state.book(testOrigin)
	b.mu.Lock()
	defer b.mu.Unlock()
	list := l.activitiesLocked(b, c)
	if a := list[len(list)-1]; a.Added != nil {
		return a
	}
	l.t.Fatal("nothing was added")
	return nil
}

func TestDeepLinkRequest(t *testing.T) {
	l := newLinker(t)
	claims := l.request("")
	for name, want := range map[string]any{
		"iss": testOrigin, "aud": "demo-site", "sub": "u-1001", "name": "Ada Moreau",
		claimPrefix + "message_type":    "LtiDeepLinkingRequest",
		claimPrefix + "version":         "1.3.0",
		claimPrefix + "deployment_id":   "1",
		claimPrefix + "target_link_uri": "http://site.localhost:8080/lti/launch",
		claimPrefix + "resource_link":   nil,
		claimPrefix + "roles":           []any{instructorURI},
		claimPrefix + "custom":          map[string]any{"Mixed_Case": "x", "empty": "", "variable": "$User.id"},
		claimEndpoint: map[string]any{
			"scope": []any{scopeLineItem, scopeLineItemRead, scopeResult, scopeScore}, "lineitems": testOrigin + itemsPath,
		},
	} {
		if fmt.Sprint(claims[name]) != fmt.Sprint(want) {
			t.Errorf("%s: %v", name, claims[name])
		}
	}
	if claims[claimPrefix+"context"].(map[string]any)["id"] != "c-31" || claims[claimMembers] == nil {
		t.Errorf("claims %v", claims)
	}
	s := settingsOf(claims)
	if back, _ := s["deep_link_return_url"].(string); !strings.HasPrefix(back, testOrigin+"/deeplink/return/c-31?launch=") {
		t.Errorf("return URL %s", back)
	}
	if data, _ := s["data"].(string); len(data) < 22 || !strings.Contains(data, "é") {
		t.Errorf("data %s", data)
	}
	delete(s, "deep_link_return_url")
	delete(s, "data")
	want := map[string]any{
		"accept_types":                         []any{"ltiResourceLink", "link", "file", "html", "image"},
		"accept_presentation_document_targets": []any{"iframe", "window", "embed"},
		"accept_multiple":                      true, "accept_lineitem": true, "auto_create": true,
	}
	if fmt.Sprint(s) != fmt.Sprint(want) {
		t.Errorf("settings %v", s)
	}
	if again := settingsOf(l.request("")); again["data"] == s["data"] {
		t.Error("two requests share their data")
	}

	l.tools[0].DeepLinkingURL = "http://site.localhost:8080/dl?x=é"
	if got := l.request("")[claimPrefix+"target_link_uri"]; got != "http://site.localhost:8080/dl?x=é" {
		t.Errorf("target_link_uri %v", got)
	}
}

// TestDeepLinkSettings: each request can be another one.
func TestDeepLinkSettings(t *testing.T) {
	l := newLinker(t)
	s := settingsOf(l.request("?accept_types=link&accept_types=https://x.example/t&accept_presentation_document_targets=window&accept_media_types=image/*,text/html" +
		"&accept_multiple=off&accept_lineitem=none&auto_create=off&title=T+%26&text=x&data=off"))
	delete(s, "deep_link_return_url")
	want := map[string]any{
		"accept_types": []any{"link", "https://x.example/t"}, "accept_presentation_document_targets": []any{"window"},
		"accept_media_types": "image/*,text/html", "accept_multiple": false, "auto_create": false, "title": "T &", "text": "x",
	}
	if fmt.Sprint(s) != fmt.Sprint(want) {
		t.Errorf("settings %v", s)
	}
	for _, query := range []string{
		"accept_types=x", "accept_presentation_document_targets=frame", "accept_multiple=1", "accept_multiple=on&accept_multiple=on",
		"auto_create=", "data=none", "colour=red", "x=%zz",
	} {
		for _, path := range []string{"/course/c-31/add/site?", "/deeplink/start/c-31/site?"} {
			if w := l.get(path + query); w.Code != 400 || strings.Contains(w.Body.String(), "<iframe") {
				t.Errorf("%s%s: %d", path, query, w.Code)
			}
		}
	}
}

// TestWhoAddsContent: teachers, from tools that have keys and are not switched
// off.
func TestWhoAddsContent(t *testing.T) {
	for _, tc := range []struct {
		who, tool string
		code      int
	}{
		{"u-1001", "site", 200}, {"u-1002", "site", 200}, {"u-2001", "site", 403}, {"u-1001", "echo", 400}, {"u-1001", "none", 400},
	} {
		l := newLinker(t)
		l.who = tc.who
		for _, path := range []string{"/course/c-31/add/", "/deeplink/start/c-31/"} {
			if w := l.get(path + tc.tool); w.Code != tc.code {
				t.Errorf("%s, %s%s: %d", tc.who, path, tc.tool, w.Code)
			}
		}
		if shown := strings.Contains(l.get("/course/c-31").Body.String(), `href="/course/c-31/add/site">Add content from Static &lt;course&gt; &amp; site</a>`); shown != (tc.who != "u-2001") {
			t.Errorf("%s: the button is there: %t", tc.who, shown)
		}
		if strings.Contains(l.get("/course/c-31").Body.String(), "/add/echo") {
			t.Error("there is a button for a tool without keys")
		}
	}
	l := newLinker(t)
	l.tools[0].DeepLinking = optionOff
	if w := l.get("/course/c-31/add/site"); w.Code != 400 || strings.Contains(l.get("/course/c-31").Body.String(), "/add/site") {
		t.Errorf("switched off: %d", w.Code)
	}
}

const quiz = `[{"type":"ltiResourceLink","title":"Quiz <7>","text":"Seven & more","url":"http://site.localhost:8080/quiz?n=7&x=é",
	"custom":{"quiz":"7","Level":"","variable":"$ResourceLink.id","who":"$Person.name.full","until":"$ResourceLink.submission.endDateTime","unknown":"$Foo.bar"},
	"lineItem":{"scoreMaximum":12.5,"label":"Quiz, graded","resourceId":"quiz-7","tag":"grade","gradesReleased":true,"https://x.example/y":1},
	"submission":{"endDateTime":"2027-03-01T10:00:00Z"},"icon":{"url":"http://site.localhost:8080/i.png","width":16,"height":16},"https://x.example/z":null}]`

// TestDeepLinkedActivity follows one from the answer through the course, the
// gradebook, the services and a launch.
func TestDeepLinkedActivity(t *testing.T) {
	l := newLinker(t)
	request := l.request("")
	w := l.send(request, l.answer(request, quiz))
	for _, want := range []string{"Quiz &lt;7&gt;", `href="/course/c-31" target="_top"`, `<script src="/assets/deeplink.js?v=`} {
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%d, %q is missing in %s", w.Code, want, w.Body)
		}
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'self'") || !strings.Contains(csp, "frame-ancestors 'self'") {
		t.Errorf("policy %s", csp)
	}

	a := l.added(courses[0])
	course := l.get("/course/c-31")
	for _, want := range []string{`<a href="/course/c-31/activity/` + a.ID + `">Quiz &lt;7&gt;</a>`, "Seven &amp; more", `src="http://site.localhost:8080/i.png"`, "in this page"} {
		if !strings.Contains(course.Body.String(), want) {
			t.Errorf("%q is missing in the course", want)
		}
	}
	if csp := course.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "img-src 'self' http://site.localhost:8080;") {
		t.Errorf("policy %s", csp)
	}
	if strings.Contains(l.get("/course/c-32").Body.String(), "Quiz") {
		t.Error("it is in another course too")
	}

	l.who = "u-2001"
	if body := l.get("/course/c-31").Body.String(); !strings.Contains(body, "Quiz &lt;7&gt;") || strings.Contains(body, "Remove") || strings.Contains(body, "Copy") {
		t.Errorf("what a learner sees: %s", body)
	}
	_, fields := readPost(t, l.auth(l.authRequest("/c-31/"+a.ID)))
	_, claims := l.readToken(fields.Get("id_token"))
	link := "rl-c-31-" + a.ID
	item := testOrigin + "/ags/c-31/lineitems/" + a.ID + "/lineitem?type_id=1"
	for name, want := range map[string]any{
		"message_type":    "LtiResourceLinkRequest",
		"target_link_uri": "http://site.localhost:8080/quiz?n=7&x=é",
		"resource_link":   map[string]any{"id": link, "title": "Quiz <7>", "description": "Seven & more"},
		"custom": map[string]any{
			"Mixed_Case": "x", "empty": "", "quiz": "7", "Level": "", "variable": link, "who": "Maeve O'Hara",
			"until": "2027-03-01T10:00:00Z", "unknown": "$Foo.bar",
		},
	} {
		if fmt.Sprint(claims[claimPrefix+name]) != fmt.Sprint(want) {
			t.Errorf("%s: %v", name, claims[claimPrefix+name])
		}
	}
	if got := claims[claimEndpoint].(map[string]any)["lineitem"]; got != item {
		t.Errorf("lineitem %v", got)
	}

	token := l.accessToken(append(slices.Clone(agsScopes), scopeMembers)...)
	var items []map[string]any
	decode(t, l.call(token, "GET", itemsPath+"&resource_id=quiz-7&tag=grade&resource_link_id="+link, typeLineItems, ""), 200, &items)
	want := map[string]any{
		"id": item, "label": "Quiz, graded", "scoreMaximum": 12.5, "resourceId": "quiz-7", "tag": "grade", "resourceLinkId": link,
		"gradesReleased": true, "https://x.example/y": 1.0,
	}
	if len(items) != 1 || fmt.Sprint(items[0]) != fmt.Sprint(want) {
		t.Errorf("line items %v", items)
	}
	if w := l.call(token, "POST", below(item, "/scores"), typeScore, scoreOf()); w.Code != 200 {
		t.Errorf("a score: %d %s", w.Code, w.Body)
	}
	if w := l.call(token, "DELETE", item, "", ""); w.Code != 403 {
		t.Errorf("deleting its line item: %d", w.Code)
	}
	if body := l.get("/course/c-31/gradebook").Body.String(); !strings.Contains(body, "Quiz, graded") || !strings.Contains(body, "out of 12.5") {
		t.Errorf("gradebook %s", body)
	}
	r := l.members(token, membersPath+"&rlid="+link+"&role=Learner")
	if got := r.Members[0]["message"].([]any)[0].(map[string]any)[claimPrefix+"custom"].(map[string]any); got["quiz"] != "7" || got["who"] != "Maeve O'Hara" {
		t.Errorf("custom of a member: %v", got)
	}
	// Who shares no name shares none here either.
	if got := r.Members[2]["message"].([]any)[0].(map[string]any)[claimPrefix+"custom"].(map[string]any); got["who"] != "$Person.name.full" {
		t.Errorf("custom of a private member: %v", got)
	}
}

// TestPlainLinks: what is left out has its default.
func TestPlainLinks(t *testing.T) {
	l := newLinker(t)
	l.add("", `[{"type":"ltiResourceLink"}]`)
	a := l.added(courses[0])
	if a.Title != "Static <course> & site" || a.TargetLinkURI != "http://site.localhost:8080/lti/launch" || a.graded() || a.InWindow() {
		t.Errorf("%+v", a.Link)
	}
	l.add("", `[{"type":"ltiResourceLink","title":"One","window":{"targetName":"n","width":5}},{"type":"ltiResourceLink","lineItem":{"scoreMaximum":5}}]`)
	b := l.state.book(testOrigin)
	if got := len(b.contents); got != 3 {
		t.Fatalf("%d contents", got)
	}
	window := "/course/c-31/activity/" + b.contents[1].id
	if body := l.get(window).Body.String(); !strings.Contains(body, `target="n"`) {
		t.Errorf("window %s", body)
	}
	if a := l.added(courses[0]); a.maximum() != 5 || a.Added.item.line.label != a.Title {
		t.Errorf("%+v", a.Link)
	}
	l.add("", `[{"type":"ltiResourceLink","window":{"targetName":"_top"}}]`)
	if got := l.added(courses[0]).windowName(); got != "_blank" {
		t.Errorf("window name %s", got)
	}
	l.add("", `[{"type":"ltiResourceLink","window":{},"iframe":{"width":1,"height":2}}]`)
	if l.added(courses[0]).InWindow() {
		t.Error("an item for both opens in a window")
	}
}

// TestOtherContent: it is shown without being able to do anything.
func TestOtherContent(t *testing.T) {
	l := newLinker(t)
	l.add("?accept_types=link+file+html+image+https://x.example/t", `[
		{"type":"link","title":"L","url":"https://web.example/a?b=c&d","text":"<i>x</i>","thumbnail":{"url":"https://pic.example/t.png"}},
		{"type":"link","title":"E","url":"https://web.example/","embed":{"html":"<script>alert(1)</script>"}},
		{"type":"link","title":"F","url":"https://web.example/","iframe":{"src":"https://web.example/f","width":1,"height":1}},
		{"type":"file","title":"F","url":"https://web.example/f.pdf","mediaType":"application/pdf","expiresAt":"2027-01-01T00:00:00+01:00"},
		{"type":"html","title":"H","html":"<b onclick=\"x\">bold</b>"},
		{"type":"image","title":"I","url":"https://pic.example:8443/i.png","width":3,"height":4},
		{"type":"https://x.example/t","anything":null}]`)
	w := l.get("/course/c-31")
	body := w.Body.String()
	for _, want := range []string{
		`<a href="https://web.example/a?b=c&amp;d" rel="noopener noreferrer" target="_blank">L</a>`, "&lt;i&gt;x&lt;/i&gt;", `src="https://pic.example/t.png"`,
		`sandbox srcdoc="&lt;script&gt;alert(1)&lt;/script&gt;"`, `sandbox srcdoc="&lt;b onclick=&#34;x&#34;&gt;bold&lt;/b&gt;"`,
		"until 2027-01-01T00:00:00&#43;01:00", `<img src="https://pic.example:8443/i.png" alt="">`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is missing in %s", want, body)
		}
	}
	if strings.Contains(body, "<script") || strings.Contains(body, "<b ") || strings.Contains(body, "<i>") {
		t.Errorf("a tool's HTML is in the page: %s", body)
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'self'; img-src 'self' https://pic.example https://pic.example:8443; ") {
		t.Errorf("policy %s", csp)
	}
	if n := len(l.state.book(testOrigin).contents); n != 7 {
		t.Errorf("%d contents", n)
	}
}

// TestAnswersRefused: each breaks one rule, which is named, and nothing is added.
func TestAnswersRefused(t *testing.T) {
	set := func(name string, value any) func(*linker, map[string]any) {
		return func(_ *linker, c map[string]any) { c[name] = value }
	}
	without := func(name string) func(*linker, map[string]any) {
		return func(_ *linker, c map[string]any) { delete(c, name) }
	}
	date := func(name string, from int64) func(*linker, map[string]any) {
		return func(l *linker, c map[string]any) { c[name] = l.at.Unix() + from }
	}
	for _, tc := range []struct {
		name   string
		change func(*linker, map[string]any)
		want   string // "" is good
	}{
		{"good", func(*linker, map[string]any) {}, ""},
		{"audiences", set("aud", []string{"x", testOrigin}), ""},
		{"an unknown claim", set("https://x.example/y", 1), ""},
		{"a subject, as for Blackboard", set("sub", "demo-site"), ""},
		{"no items", without(claimDeepLink + "content_items"), ""},
		{"an empty list", set(claimDeepLink+"content_items", []any{}), ""},
		{"iss is the issuer", set("iss", testOrigin), "iss must be the client id"},
		{"no iss", without("iss"), "iss must be"},
		{"aud is the return URL", set("aud", testOrigin+"/deeplink/return/c-31"), "aud must be " + testOrigin},
		{"aud with a slash", set("aud", testOrigin+"/"), "aud must be"},
		{"no aud", without("aud"), "aud must be"},
		{"exp now", date("exp", 0), "exp has passed"},
		{"exp far", date("exp", 3601), "exp is more than"},
		{"exp in quotes", set("exp", "1800000300"), "exp is missing"},
		{"no exp", without("exp"), "exp is missing"},
		{"iat ahead", date("iat", 1), "iat is ahead"},
		{"no iat", without("iat"), "iat is missing"},
		{"no nonce", without("nonce"), "nonce is missing"},
		{"nonce empty", set("nonce", ""), "nonce is missing"},
		{"nonce a number", set("nonce", 1), "nonce is missing"},
		{"message type", set(claimPrefix+"message_type", "LtiDeeplinkingResponse"), "message_type must be LtiDeepLinkingResponse"},
		{"message type of the request", set(claimPrefix+"message_type", "LtiDeepLinkingRequest"), "message_type must be"},
		{"version", set(claimPrefix+"version", "1.3"), "version must be 1.3.0"},
		{"no version", without(claimPrefix + "version"), "version must be"},
		{"deployment", set(claimPrefix+"deployment_id", "2"), "deployment_id must be"},
		{"deployment a number", set(claimPrefix+"deployment_id", 1), "deployment_id must be"},
		{"no data", without(claimDeepLink + "data"), "data must be that of the request"},
		{"other data", set(claimDeepLink+"data", "x"), "data must be"},
		{"items null", set(claimDeepLink+"content_items", nil), "content_items is not an array"},
		{"items an object", set(claimDeepLink+"content_items", map[string]any{}), "content_items is not an array"},
		{"msg a number", set(claimDeepLink+"msg", 1), "msg is not a string"},
		{"errorlog null", set(claimDeepLink+"errorlog", nil), "errorlog is not a string"},
		{"key unknown", func(l *linker, _ map[string]any) { l.key = testKeys()[1] }, "not among the 1 keys"},
		{"key set away", func(l *linker, _ map[string]any) { l.fetcher.err = fmt.Errorf("away") }, "away"},
		{"too late", func(l *linker, c map[string]any) {
			l.at = l.at.Add(time.Hour + time.Second)
			c["iat"], c["exp"] = l.at.Unix(), l.at.Unix()+300
		}, "more than an hour old"},
		{"tool gone", func(l *linker, _ map[string]any) { l.tools[0].DeepLinking = optionOff }, "no longer there"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLinker(t)
			request := l.request("")
			answer := l.answer(request, `[{"type":"ltiResourceLink"}]`)
			tc.change(l, answer)
			w := l.send(request, answer)
			added := len(l.state.book(testOrigin).contents)
			if tc.want == "" {
				if w.Code != 200 {
					t.Errorf("%d %s", w.Code, w.Body)
				}
				return
			}
			body := html.UnescapeString(w.Body.String())
			if w.Code != 400 || !strings.Contains(body, tc.want) || added != 0 || strings.Contains(body, "<script") || !strings.Contains(body, `target="_top"`) {
				t.Errorf("expected %q, got %d %s, %d added", tc.want, w.Code, body, added)
			}
		})
	}
}

// TestAnswersOnce: one answer to a request, one use of a nonce; a refused answer
// uses up neither.
func TestAnswersOnce(t *testing.T) {
	l := newLinker(t)
	first, second := l.request(""), l.request("")
	answer := l.answer(first, `[{"type":"ltiResourceLink"}]`)
	bad := maps.Clone(answer)
	bad[claimPrefix+"version"] = "1"
	crossed := l.answer(first, "")
	replayed := l.answer(second, "")
	replayed["nonce"] = answer["nonce"]
	for _, step := range []struct {
		name            string
		request, answer map[string]any
		want            string
	}{
		{"refused", first, bad, "version"},
		{"data of another request", second, crossed, "data must be"},
		{"good", first, answer, ""},
		{"again", first, answer, "answered before"},
		{"another to the same", first, l.answer(first, ""), "answered before"},
		{"the nonce again", second, replayed, "nonce was used before"},
		{"the second", second, l.answer(second, ""), ""},
	} {
		w := l.send(step.request, step.answer)
		if (w.Code == 200) != (step.want == "") || !strings.Contains(w.Body.String(), step.want) {
			t.Errorf("%s: %d %s", step.name, w.Code, w.Body)
		}
	}
	if n := len(l.state.book(testOrigin).contents); n != 1 {
		t.Errorf("%d contents", n)
	}
}

// TestAnswerForms: what is not the answer of this tool to a request of this LMS.
func TestAnswerForms(t *testing.T) {
	good := func(l *linker, request map[string]any) string {
		signed, err := l.key.Sign(l.answer(request, ""))
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	for _, tc := range []struct {
		name string
		send func(*linker, map[string]any) *httptest.ResponseRecorder
		code int
		want string
	}{
		{"good", func(l *linker, r map[string]any) *httptest.ResponseRecorder {
			return l.sendForm(r, url.Values{"JWT": {good(l, r)}})
		}, 200, "Nothing was added"},
		{"no JWT", func(l *linker, r map[string]any) *httptest.ResponseRecorder {
			return l.sendForm(r, url.Values{"jwt": {good(l, r)}})
		}, 400, "one field JWT"},
		{"two", func(l *linker, r map[string]any) *httptest.ResponseRecorder {
			return l.sendForm(r, url.Values{"JWT": {good(l, r), good(l, r)}})
		}, 400, "one field JWT"},
		{"nonsense", func(l *linker, r map[string]any) *httptest.ResponseRecorder {
			return l.sendForm(r, url.Values{"JWT": {"a.b.c"}})
		}, 400, "JWT: "},
		{"alg none", func(l *linker, r map[string]any) *httptest.ResponseRecorder {
			return l.sendForm(r, url.Values{"JWT": {"eyJhbGciOiJub25lIn0." + strings.Split(good(l, r), ".")[1] + ".AA"}})
		}, 400, "JWT: "},
		{"no kid", func(l *linker, r map[string]any) *httptest.ResponseRecorder {
			parts := strings.Split(good(l, r), ".")
			return l.sendForm(r, url.Values{"JWT": {"eyJhbGciOiJSUzI1NiJ9." + parts[1] + "." + parts[2]}})
		}, 400, "kid"},
		{"too large", func(l *linker, r map[string]any) *httptest.ResponseRecorder {
			return l.sendForm(r, url.Values{"JWT": {good(l, r)}, "x": {strings.Repeat("x", maxAnswer)}})
		}, 400, "larger than"},
		{"without the launch", func(l *linker, r map[string]any) *httptest.ResponseRecorder {
			return l.do("POST", "/deeplink/return/c-31", url.Values{"JWT": {good(l, r)}})
		}, 400, "not the deep_link_return_url"},
		{"to another course", func(l *linker, r map[string]any) *httptest.ResponseRecorder {
			s := settingsOf(r)
			s["deep_link_return_url"] = strings.Replace(s["deep_link_return_url"].(string), "c-31", "c-32", 1)
			return l.sendForm(r, url.Values{"JWT": {good(l, r)}})
		}, 400, "not the deep_link_return_url"},
		{"to no course", func(l *linker, r map[string]any) *httptest.ResponseRecorder {
			return l.do("POST", "/deeplink/return/c-9", url.Values{})
		}, 404, ""},
		{"by GET", func(l *linker, r map[string]any) *httptest.ResponseRecorder {
			return l.get("/deeplink/return/c-31?JWT=" + good(l, r))
		}, 405, ""},
		{"as JSON", func(l *linker, r map[string]any) *httptest.ResponseRecorder {
			to := strings.TrimPrefix(settingsOf(r)["deep_link_return_url"].(string), testOrigin)
			return l.do("POST", to, url.Values{}, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") })
		}, 400, "content type"},
		{"after somebody else has signed in", func(l *linker, r map[string]any) *httptest.ResponseRecorder {
			l.who = "u-1002"
			to := strings.TrimPrefix(settingsOf(r)["deep_link_return_url"].(string), testOrigin)
			return l.do("POST", to, url.Values{"JWT": {good(l, r)}})
		}, 400, "somebody else"},
		{"at another issuer", func(l *linker, r map[string]any) *httptest.ResponseRecorder {
			to := strings.TrimPrefix(settingsOf(r)["deep_link_return_url"].(string), testOrigin)
			return l.do("POST", to, url.Values{"JWT": {good(l, r)}}, func(r *http.Request) { r.Host = "other.localhost" })
		}, 400, "not the deep_link_return_url"},
	} {
		l := newLinker(t)
		w := tc.send(l, l.request(""))
		if w.Code != tc.code || !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("%s: expected %d with %q, got %d %s", tc.name, tc.code, tc.want, w.Code, w.Body)
		}
	}
}

// TestToolSpeaks: what it says is read, not run, and the page does not go away.
func TestToolSpeaks(t *testing.T) {
	l := newLinker(t)
	core, logs := observer.New(zap.DebugLevel)
	l.platform.log = zap.New(core)
	request := l.request("")
	answer := l.answer(request, "")
	for name, text := range map[string]string{"msg": "All <b>good</b>", "errormsg": "Went <i>wrong", "log": "to the log", "errorlog": "to the error log"} {
		answer[claimDeepLink+name] = text
	}
	w := l.send(request, answer)
	body := w.Body.String()
	for _, want := range []string{"All &lt;b&gt;good&lt;/b&gt;", "Went &lt;i&gt;wrong", `role="alert"`} {
		if w.Code != 200 || !strings.Contains(body, want) {
			t.Errorf("%d, %q is missing in %s", w.Code, want, body)
		}
	}
	if strings.Contains(body, "<script") || strings.Contains(body, " log") {
		t.Errorf("got %s", body)
	}
	entries := logs.FilterMessage("a tool answered a deep linking request").All()
	if len(entries) != 1 || entries[0].ContextMap()["log"] != "to the log" || entries[0].ContextMap()["errorlog"] != "to the error log" {
		t.Errorf("log %v", entries)
	}
}

// TestLineItemsNotWanted: they are ignored, as the specification has it, and the
// page says so.
func TestLineItemsNotWanted(t *testing.T) {
	for query, graded := range map[string]bool{"?accept_lineitem=off": false, "?accept_lineitem=none": true, "": true} {
		l := newLinker(t)
		request := l.request(query)
		w := l.send(request, l.answer(request, `[{"type":"ltiResourceLink","lineItem":{"scoreMaximum":1}}]`))
		if a := l.added(courses[0]); w.Code != 200 || a.graded() != graded || strings.Contains(w.Body.String(), "are ignored") == graded {
			t.Errorf("%s: graded %t, %d %s", query, a.graded(), w.Code, w.Body)
		}
	}
}

func TestContentItems(t *testing.T) {
	link := func(members string) string {
		return `[{"type":"ltiResourceLink"` + strings.TrimSuffix(","+members, ",") + `}]`
	}
	web := func(kind, members string) string {
		return `[{"type":"` + kind + `","url":"https://w.example/",` + members + `}]`
	}
	for _, tc := range []struct{ query, items, want string }{
		{"", `[1]`, "content_items[0] is not an object"},
		{"", `[{"type":"ltiResourceLink"},{"type":"x","type":"y"}]`, "content_items[1] is not an object"},
		{"", `[{}]`, "content_items[0].type is missing"},
		{"", `[{"type":1}]`, "[0].type is not a string"},
		{"", `[{"type":null}]`, "[0].type is null"},
		{"", `[{"type":"LtiResourceLink"}]`, "type is none of accept_types"},
		{"", `[{"type":"https://x.example/t"}]`, "type is none of accept_types"},
		{"?accept_types=link", link(""), "type is none of accept_types"},
		{"?accept_multiple=off", `[{"type":"ltiResourceLink"},{"type":"ltiResourceLink"}]`, "accept_multiple is not true"},
		{"?accept_multiple=none", `[{"type":"ltiResourceLink"},{"type":"ltiResourceLink"}]`, "accept_multiple is not true"},
		{"?accept_multiple=off", link(""), ""},
		{"", link(`"title":1`), "[0].title is not a string"},
		{"", link(`"text":null`), "[0].text is null"},
		{"", link(`"colour":"red"`), "[0].colour is no member of it"},
		{"", link(`"https://x.example/colour":"red"`), ""},
		{"", link(`"html":"x"`), "[0].html is no member of it"},
		{"", link(`"url":"/quiz"`), "[0].url is no absolute URL"},
		{"", link(`"url":"javascript:alert(1)"`), "[0].url is no absolute URL"},
		{"", link(`"url":"http://site.localhost:8080@evil.example/"`), "[0].url is no absolute URL"},
		{"", link(`"url":"https://other.example/quiz#part"`), ""},
		{"", link(`"url":"https://evil.example/quiz"`), "[0].url is at none of the origins of the tool"},
		{"", link(`"custom":[]`), "[0].custom is not an object"},
		{"", link(`"custom":{"a":1}`), "[0].custom has something else"},
		{"", link(`"custom":{"a":null}`), "[0].custom has something else"},
		{"", link(`"custom":{"":"x"}`), "[0].custom has something else"},
		{"", link(`"custom":{"a":""}`), ""},
		{"", link(`"lineItem":{}`), "[0].lineItem.scoreMaximum is missing"},
		{"", link(`"lineItem":[]`), "[0].lineItem is not an object"},
		{"", link(`"lineItem":{"scoreMaximum":0}`), "[0].lineItem.scoreMaximum is not above 0"},
		{"", link(`"lineItem":{"scoreMaximum":1e300}`), "scoreMaximum is not above 0, or too large"},
		{"", link(`"lineItem":{"scoreMaximum":"5"}`), "scoreMaximum is missing or not a number"},
		{"", link(`"lineItem":{"scoreMaximum":5,"resourceLinkId":"x"}`), "[0].lineItem.resourceLinkId is no member of it"},
		{"", link(`"lineItem":{"scoreMaximum":5,"tag":5}`), "[0].lineItem.tag is not a string"},
		{"", link(`"lineItem":{"scoreMaximum":5,"gradesReleased":"yes"}`), "gradesReleased is not true or false"},
		{"", link(`"lineItem":{"scoreMaximum":5,"submissionReview":1}`), "submissionReview is not an object"},
		{"", link(`"lineItem":{"scoreMaximum":5,"submissionReview":{"reviewableStatus":["Completed"]}}`), ""},
		{"?accept_lineitem=off", link(`"lineItem":{}`), "scoreMaximum is missing"},
		{"", link(`"icon":{"width":1}`), "[0].icon.url is missing"},
		{"", link(`"icon":{"url":"https://x;script-src.example/"}`), "[0].icon.url is no absolute URL"},
		{"", link(`"icon":{"url":"http://pic.example/"}`), "[0].icon.url is on http"},
		{"", link(`"icon":{"url":"https://pic.example/","width":"1"}`), "[0].icon.width is not an integer"},
		{"", link(`"icon":{"url":"https://pic.example/","width":1.0}`), "[0].icon.width is not an integer"},
		{"", link(`"thumbnail":{"url":"https://pic.example/","height":-1}`), "[0].thumbnail.height is not an integer"},
		{"", link(`"icon":{"url":"https://pic.example/","alt":"x"}`), "[0].icon.alt is no member of it"},
		{"", link(`"window":{"targetName":1}`), "[0].window.targetName is not a string"},
		{"", link(`"window":{"windowFeatures":"x","height":1.5}`), "[0].window.height is not an integer"},
		{"", link(`"iframe":{"src":"https://w.example/"}`), "[0].iframe.src is no member of it"},
		{"", link(`"iframe":{"width":null}`), "[0].iframe.width is null"},
		{"", link(`"embed":{"html":"x"}`), "[0].embed is no member of it"},
		{"?accept_presentation_document_targets=iframe", link(`"window":{}`), "[0].window is none of accept_presentation_document_targets"},
		{"?accept_presentation_document_targets=window", link(`"iframe":{}`), "[0].iframe is none of accept_presentation_document_targets"},
		{"", link(`"available":{"startDateTime":"2027-01-01T00:00:00"}`), "[0].available.startDateTime is no ISO 8601"},
		{"", link(`"available":{"from":"2027-01-01T00:00:00Z"}`), "[0].available.from is no member of it"},
		{"", link(`"submission":{"startDateTime":"2027-01-02T00:00:00Z","endDateTime":"2027-01-01T00:00:00Z"}`), "endDateTime is before"},
		{"", `[{"type":"link"}]`, "[0].url is missing"},
		{"", web("link", `"url2":1`), "[0].url2 is no member of it"},
		{"", web("link", `"custom":{}`), "[0].custom is no member of it"},
		{"", web("link", `"iframe":{"width":1}`), "[0].iframe.src is missing"},
		{"", web("link", `"embed":{}`), "[0].embed.html is missing"},
		{"?accept_presentation_document_targets=iframe", web("link", `"embed":{"html":"x"}`), "[0].embed is none of"},
		{"", `[{"type":"file"}]`, "[0].url is missing"},
		{"", web("file", `"expiresAt":"soon"`), "[0].expiresAt is no ISO 8601"},
		{"", web("file", `"window":{}`), "[0].window is no member of it"},
		{"?accept_media_types=image/*,text/html", web("file", `"mediaType":"application/pdf"`), "[0].mediaType is none of accept_media_types"},
		{"?accept_media_types=image/*,text/html", web("file", `"mediaType":"image/png"`), ""},
		{"?accept_media_types=image/*,+text/html", web("file", `"mediaType":"text/html"`), ""},
		{"", `[{"type":"html"}]`, "[0].html is missing"},
		{"", `[{"type":"html","html":""}]`, "[0].html is missing or empty"},
		{"", `[{"type":"html","html":"x","icon":{}}]`, "[0].icon is no member of it"},
		{"", `[{"type":"html","html":"x","url":"https://w.example/"}]`, "[0].url is no member of it"},
		{"", `[{"type":"image"}]`, "[0].url is missing"},
		{"", web("image", `"width":"3"`), "[0].width is not an integer"},
	} {
		l := newLinker(t)
		request := l.request(tc.query)
		w := l.send(request, l.answer(request, tc.items))
		body := html.UnescapeString(w.Body.String())
		if (w.Code == 200) != (tc.want == "") || !strings.Contains(body, tc.want) {
			t.Errorf("%s %s: expected %q, got %d %s", tc.query, tc.items, tc.want, w.Code, body)
		}
		if n := len(l.state.book(testOrigin).contents); tc.want != "" && n != 0 {
			t.Errorf("%s: %d added", tc.items, n)
		}
	}
}

// TestRemoveContent: with its line items and grades, by teachers only.
func TestRemoveContent(t *testing.T) {
	l := newLinker(t)
	l.add("", quiz)
	a := l.added(courses[0])
	link, item := "rl-c-31-"+a.ID, testOrigin+"/ags/c-31/lineitems/"+a.ID+"/lineitem?type_id=1"
	token := l.accessToken()
	made := l.create(token, `{"label":"Linked","scoreMaximum":1,"resourceLinkId":"`+link+`"}`)["id"].(string)
	for _, u := range []string{item, made} {
		if w := l.call(token, "POST", below(u, "/scores"), typeScore, scoreOf()); w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	remove := func(who, course, id string, change ...func(*http.Request)) int {
		l.who = who
		return l.do("POST", "/course/"+course+"/remove", url.Values{"content": {id}}, change...).Code
	}
	for _, tc := range []struct {
		name, who, course, id string
		change                []func(*http.Request)
		code                  int
	}{
		{"by a learner", "u-2001", "c-31", a.ID, nil, 403},
		{"by nobody", "", "c-31", a.ID, nil, 303},
		{"from another site", "u-1001", "c-31", a.ID, []func(*http.Request){func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }}, 403},
		{"in another course", "u-1001", "c-32", a.ID, nil, 404},
		{"of the configuration", "u-1001", "c-31", "site.chapter-2", nil, 404},
	} {
		if code := remove(tc.who, tc.course, tc.id, tc.change...); code != tc.code {
			t.Errorf("%s: %d", tc.name, code)
		}
	}
	if n := len(l.state.book(testOrigin).contents); n != 1 {
		t.Fatalf("%d contents", n)
	}
	l.who = "u-1001"
	w := l.do("POST", "/course/c-31/remove", url.Values{"content": {a.ID}})
	if w.Code != 303 || w.Header().Get("Location") != "/course/c-31" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for _, u := range []string{item, made} {
		if w := l.call(token, "GET", u, "", ""); w.Code != 404 {
			t.Errorf("%s: %d", u, w.Code)
		}
	}
	for _, path := range []string{"/course/c-31/activity/" + a.ID, "/initiate/c-31/" + a.ID} {
		if w := l.get(path); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	b := l.state.book(testOrigin)
	if len(b.grades) != 0 || len(b.items) != 0 || len(b.order) != 0 {
		t.Errorf("left behind: %v %v %v", b.grades, b.items, b.order)
	}
	if code := remove("u-1001", "c-31", a.ID); code != 404 {
		t.Errorf("again: %d", code)
	}
}

// TestCopyCourse: what a tool knows things by comes along, what an LMS gives out
// is new.
func TestCopyCourse(t *testing.T) {
	l := newLinker(t)
	l.add("", strings.Replace(quiz, `"quiz":"7"`, `"quiz":"7","history":"$ResourceLink.id.history"`, 1))
	a := l.added(courses[0])
	token := l.accessToken()
	l.call(token, "PUT", "/ags/c-31/lineitems/"+a.ID+"/lineitem", typeLineItem, `{"label":"Changed","scoreMaximum":20,"resourceId":"quiz-7","tag":"t"}`)
	l.create(token, `{"label":"Linked","scoreMaximum":1,"resourceId":"made","resourceLinkId":"rl-c-31-`+a.ID+`"}`)
	l.create(token, `{"label":"Of a chapter","scoreMaximum":1,"resourceId":"made","resourceLinkId":"rl-c-31-site.chapter-2"}`)
	l.create(token, `{"label":"Free","scoreMaximum":1,"resourceId":"made"}`)
	l.call(token, "POST", "/ags/c-31/lineitems/"+a.ID+"/lineitem/scores", typeScore, scoreOf())

	copyTo := func(who, to string) int {
		l.who = who
		return l.do("POST", "/course/c-31/copy", url.Values{"to": {to}}).Code
	}
	for to, code := range map[string]int{"c-31": 400, "c-9": 400, "": 400} {
		if got := copyTo("u-1001", to); got != code {
			t.Errorf("to %q: %d", to, got)
		}
	}
	if got := copyTo("u-2001", "c-32"); got != 403 {
		t.Errorf("by a learner: %d", got)
	}
	if got := copyTo("u-1001", "c-32"); got != 303 {
		t.Fatalf("copying: %d", got)
	}

	twin := l.added(courses[1])
	if twin.ID == a.ID || twin.Title != a.Title || twin.TargetLinkURI != a.TargetLinkURI {
		t.Errorf("%+v", twin)
	}
	_, fields := readPost(t, l.auth(l.authRequest("/c-32/"+twin.ID)))
	_, claims := l.readToken(fields.Get("id_token"))
	custom := claims[claimPrefix+"custom"].(map[string]any)
	if custom["quiz"] != "7" || custom["variable"] != "rl-c-32-"+twin.ID || custom["history"] != "rl-c-31-"+a.ID {
		t.Errorf("custom %v", custom)
	}
	links := make(map[string]any)
	var items []map[string]any
	decode(t, l.call(token, "GET", "/ags/c-32/lineitems", "", ""), 200, &items)
	for _, item := range items {
		links[item["label"].(string)] = item["resourceLinkId"]
		if id := item["id"].(string); !strings.Contains(id, "/c-32/") {
			t.Errorf("id %s", id)
		}
	}
	want := map[string]any{
		`Chapter "1" <b>&`: "rl-c-32-site.chapter-1-b", "Chapter 2": "rl-c-32-site.chapter-2",
		"Changed": "rl-c-32-" + twin.ID, "Linked": "rl-c-32-" + twin.ID, "Of a chapter": "rl-c-32-site.chapter-2", "Free": nil,
	}
	if fmt.Sprint(links) != fmt.Sprint(want) {
		t.Errorf("line items %v", links)
	}
	for key := range l.state.book(testOrigin).grades {
		if key.item.course == "c-32" {
			t.Error("a grade was copied")
		}
	}
	if n := len(l.state.book(testOrigin).contents); n != 2 {
		t.Errorf("%d contents", n)
	}
}

// TestContentIsBounded, and forgotten on demand.
func TestContentIsBounded(t *testing.T) {
	l := newLinker(t)
	many := "[" + strings.Repeat(`{"type":"html","html":"x"},`, maxContents-1) + `{"type":"ltiResourceLink","lineItem":{"scoreMaximum":1}}]`
	l.add("", many)
	request := l.request("")
	if w := l.send(request, l.answer(request, `[{"type":"html","html":"x"}]`)); w.Code != 400 || !strings.Contains(w.Body.String(), "1000 pieces") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	b := l.state.book(testOrigin)
	if l.copyContents(b, courses[0], courses[1]) || len(b.contents) != maxContents {
		t.Errorf("%d contents", len(b.contents))
	}
	item := "/ags/c-31/lineitems/" + l.added(courses[0]).ID + "/lineitem"
	if w := l.call(l.accessToken(), "POST", item+"/scores", typeScore, scoreOf()); w.Code != 200 {
		t.Errorf("a score: %d", w.Code)
	}
	l.setFaults(url.Values{"reset": {"grades"}})
	if len(b.contents) != maxContents || len(b.grades) != 0 {
		t.Error("grades and content are mixed up")
	}
	l.call(l.accessToken(), "POST", item+"/scores", typeScore, scoreOf())
	l.setFaults(url.Values{"reset": {"content"}})
	if len(b.contents) != 0 || len(b.grades) != 0 {
		t.Errorf("left behind: %d, %v", len(b.contents), b.grades)
	}
}

// TestContentOutlivesReload, but not its tool.
func TestContentOutlivesReload(t *testing.T) {
	l := newLinker(t)
	l.add("", quiz)
	after := newPlatform("Other", "", storageOff, testTools(), l.state, zap.NewNop())
	b := l.state.book(testOrigin)
	id := b.contents[0].id
	if a := after.activity(b, courses[0], id); a == nil || a.Title != "Quiz <7>" {
		t.Errorf("after a reload: %+v", a)
	}
	gone := newPlatform("Other", "", storageOff, testTools()[1:], l.state, zap.NewNop())
	if a := gone.activity(b, courses[0], id); a != nil {
		t.Errorf("without its tool: %+v", a)
	}
	if items := gone.lineItems(b, courses[0], nil); len(items) != 0 {
		t.Errorf("line items %v", items)
	}
}

// FuzzContentItem: whatever a tool sends is read or refused.
func FuzzContentItem(f *testing.F) {
	for _, seed := range []string{quiz[1 : len(quiz)-1], `{"type":"html","html":"x"}`, `{"type":"link","url":"https://a.example/","embed":{"html":"x"}}`, `{}`, `[`, `null`} {
		f.Add([]byte(seed))
	}
	s, err := parseSettings(url.Values{})
	if err != nil {
		f.Fatal(err)
	}
	tool := testTools()[0]
	f.Fuzz(func(t *testing.T, data []byte) {
		item, problem := s.parseItem(data, tool)
		if problem != "" {
			return
		}
		if !s.Accepts(item.kind) || item.title == "" || item.line != nil && item.line.maximum <= 0 {
			t.Errorf("taken: %+v", item)
		}
		for _, raw := range []string{item.url, item.icon} {
			if raw != "" && strings.ContainsAny(origins([]string{raw}), " ;,'\"") {
				t.Errorf("origin of %q", raw)
			}
		}
	})
}
