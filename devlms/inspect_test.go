package devlms

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/jose"
)

// inspected is a message as a script reads it.
type inspected struct {
	ID      uint64
	Kind    string
	Summary string
	From    string
	Tool    string
	Person  string
	Launch  string
	Outcome string
	Problem string
	Fault   string
	Method  string
	URL     string
	Status  int
	Other   uint64

	Granted    uint64   `json:"token_request"`
	Uses       []uint64 `json:"token_uses"`
	Parameters []struct{ Name, Value, About, Spec string }
	Tokens     []struct {
		Name, Signature, KID, Reason, Problem string

		Header, Claims []struct {
			Name, When, About, Spec string

			Value json.RawMessage
		}
	}
	Request struct {
		Headers []struct{ Name, Value string }
		Body    string
		Size    int64
		Note    string
	}
	Answer struct {
		Headers []struct{ Name, Value string }
		Body    string
		Size    int64
		Note    string
	}
}

// messagesOf reads the list for scripts, newest first.
func (l *lms) messagesOf(query string) []inspected {
	l.t.Helper()
	var answer struct{ Messages []inspected }
	decode(l.t, l.get("/inspect.json?"+query), 200, &answer)
	return answer.Messages
}

// latest is the last message of a kind.
func (l *lms) latest(kind string) inspected {
	l.t.Helper()
	list := l.messagesOf("kind=" + kind)
	if len(list) == 0 {
		l.t.Fatalf("there is no message of kind %s", kind)
	}
	return list[0]
}

func (m *inspected) signature() string {
	if len(m.Tokens) != 1 {
		return fmt.Sprint(len(m.Tokens), " tokens")
	}
	return m.Tokens[0].Signature
}

// text is all of a message that is easily compared: what a table asks for.
func (m *inspected) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "from=%s tool=%s person=%s outcome=%s status=%d problem=%s fault=%s %s %s\nsummary=%s\nsignature=%s\n",
		m.From, m.Tool, m.Person, m.Outcome, m.Status, m.Problem, m.Fault, m.Method, m.URL, m.Summary, m.signature())
	for _, p := range m.Parameters {
		fmt.Fprintf(&b, "%s=%s\n", p.Name, p.Value)
	}
	for _, t := range m.Tokens {
		for _, c := range append(t.Header, t.Claims...) {
			fmt.Fprintf(&b, "%s: %s (%s) %s\n", c.Name, c.Value, c.When, c.Spec)
		}
	}
	for _, h := range append(m.Request.Headers, m.Answer.Headers...) {
		fmt.Fprintf(&b, "%s: %s\n", h.Name, h.Value)
	}
	fmt.Fprintf(&b, "%s\n%s\n%s\n%s\n", m.Request.Body, m.Request.Note, m.Answer.Body, m.Answer.Note)
	return b.String()
}

// TestMessages: each kind of message is found, with what is in it.
func TestMessages(t *testing.T) {
	for _, tc := range []struct {
		name, kind string
		do         func(*linker)
		has        []string
		lacks      []string
	}{
		{"login", kindLogin, func(l *linker) { l.get("/initiate" + chapter1) }, []string{
			"from=lms tool=site person=u-1001 outcome=ok status=0 ", "POST http://site.localhost:8080/lti/login?keep=this&that=1",
			"iss=" + testOrigin, "login_hint=u-1001", "target_link_uri=" + testTarget, "client_id=demo-site", "lti_message_hint={",
			"Content-Type: " + formType,
		}, []string{"keep=this\n"}},
		{"auth", kindAuth, func(l *linker) { l.auth(l.authRequest(chapter1)) }, []string{
			"from=tool tool=site person=u-1001 outcome=ok status=200", "GET /auth?", "scope=openid", "redirect_uri=http://site.localhost:8080/lti/launch",
			`state=st"at<e>&`, "A page of the LMS",
		}, []string{"<form"}},
		{"id_token late in its second", kindResponse, func(l *linker) {
			l.at = l.at.Add(999 * time.Millisecond)
			l.auth(l.authRequest(chapter1))
		}, []string{"exp: 1800000060 (15 Jan 2027, 08:01:00 UTC, 1 minute after this message)"}, nil},
		{"auth by post", kindAuth, func(l *linker) { l.do("POST", "/auth", l.authRequest(chapter1)) }, []string{"POST /auth\n", "scope=openid", `state=st"at<e>&`}, nil},
		{"id_token", kindResponse, func(l *linker) { l.auth(l.authRequest(chapter1)) }, []string{
			"from=lms tool=site person=u-1001 outcome=ok", "POST http://site.localhost:8080/lti/launch", "signature=valid", "summary=LtiResourceLinkRequest",
			`state=st"at<e>&`, `alg: "RS256"`, `"LtiResourceLinkRequest" () LTI Core 1.3 §5.3.1`, "exp: 1800000060 (15 Jan 2027, 08:01:00 UTC, 1 minute after this message)",
			"iat: 1800000000 (15 Jan 2027, 08:00:00 UTC, the time of this message)", `name: "Ada Moreau"`,
		}, nil},
		{"refused launch", kindResponse, func(l *linker) {
			params := l.authRequest(chapter1)
			params.Set("response_mode", "query")
			l.auth(params)
		}, []string{"outcome=failed", "problem=invalid_request: response_mode must be form_post", "error=invalid_request", "signature=0 tokens"}, nil},
		{"refused without an address", kindAuth, func(l *linker) {
			params := l.authRequest(chapter1)
			params.Set("redirect_uri", "http://site.localhost:8080/else")
			l.auth(params)
		}, []string{"tool=site", "outcome=failed status=400", "redirect_uri of the authentication request", "redirect_uri=http://site.localhost:8080/else"}, nil},
		{"deep linking request", kindResponse, func(l *linker) { l.request("") }, []string{
			"signature=valid", "summary=LtiDeepLinkingRequest", "deep_linking_settings", "Deep Linking 2.0 §4.4.1",
		}, nil},
		{"deep linking response", kindDeepLink, func(l *linker) { l.add("", `[{"type":"link","url":"https://x.example/"}]`) }, []string{
			"from=tool tool=site", "outcome=ok status=200", "summary=content items: 1", "signature=valid", "content_items: [{", "Deep Linking 2.0 §4.5", "A page of the LMS",
		}, nil},
		{"deep linking response that is refused", kindDeepLink, func(l *linker) {
			request := l.request("")
			answer := l.answer(request, "[]")
			answer["aud"] = "http://other.example"
			l.send(request, answer)
		}, []string{"outcome=failed status=400", "problem=aud must be " + testOrigin, "signature=valid"}, nil},
		{"way back", kindReturn, func(l *linker) { l.get("/return/c-31?lti_errormsg=Oh+no&lti_log=x") }, []string{
			"person=u-1001", "lti_errormsg=Oh no", "lti_log=x", "summary=Oh no",
		}, nil},
		{"token", kindToken, func(l *linker) { l.accessToken(scopeScore, scopeLineItem) }, []string{
			"from=tool tool=site", "outcome=ok status=200", "POST /token", "grant_type=client_credentials", "signature=valid", "kid: ", `sub: "demo-site"`,
			"summary=for score, lineitem", `"expires_in":3600`, `"access_token":"`, "Cache-Control: no-store",
		}, nil},
		{"token refused for its claims", kindToken, func(l *linker) {
			claims := l.assertion()
			claims["aud"] = "http://other.example/token"
			l.do("POST", "/token", l.form(claims, scopeScore))
		}, []string{"outcome=failed status=400", "problem=invalid_client: aud must be", "signature=valid", `"error":"invalid_client"`}, nil},
		{"token of another key", kindToken, func(l *linker) {
			l.key = testKeys()[1]
			l.do("POST", "/token", l.form(l.assertion(), scopeScore))
		}, []string{"outcome=failed", "signature=invalid", "problem=invalid_client: client_assertion: ", `sub: "demo-site"`}, nil},
		{"token that is none", kindToken, func(l *linker) {
			form := l.form(l.assertion(), scopeScore)
			form.Set("client_assertion", "a.b")
			l.do("POST", "/token", form)
		}, []string{"outcome=failed", "signature=unchecked", "client_assertion is no JWT"}, nil},
		{"key set of the tool", kindToolKeys, func(l *linker) { l.accessToken() }, []string{
			"from=lms tool=site", "outcome=ok status=200", "GET http://site.localhost:8080/lti/jwks.json", "Accept: application/jwk-set+json", `"keys":[`,
		}, nil},
		{"key set of the tool that is not there", kindToolKeys, func(l *linker) {
			l.fetcher.err = fmt.Errorf("dialling: %w", httpx.ErrPrivateAddress)
			l.do("POST", "/token", l.form(l.assertion(), scopeScore))
		}, []string{"outcome=failed status=0 ", "problem=dialling: private address", "no answer that it could use"}, nil},
		{"score", kindScore, func(l *linker) { l.post(l.accessToken(), scoreOf("comment", "good")) }, []string{
			"from=tool tool=site person=u-2001 outcome=ok status=200", "POST " + below(itemPath, "/scores"), "Content-Type: " + typeScore,
			"Authorization: Bearer ", `"comment":"good"`, "summary=", " for u-2001, FullyGraded",
		}, nil},
		{"score without a good token", kindScore, func(l *linker) { l.post("nonsense", scoreOf("comment", "good")) }, []string{
			"outcome=failed status=401", "problem=the access token is unknown", `"comment":"good"`, "WWW-Authenticate: Bearer", "Authorization: Bearer nonsen…",
		}, nil},
		{"score refused as Moodle does", kindScore, func(l *linker) {
			l.setFaults(url.Values{"whole_seconds": {"on"}})
			l.post(l.accessToken(), scoreOf("userId", "u-9"))
		}, []string{"status=400", "problem=userId is nobody of this course", "[]"}, nil},
		{"results", kindResults, func(l *linker) { l.call(l.accessToken(), "GET", below(itemPath, "/results"), typeResults, "") }, []string{
			"tool=site", "status=200", "Accept: " + typeResults, "Content-Type: " + typeResults,
		}, nil},
		{"line items", kindLineItems, func(l *linker) {
			l.call(l.accessToken(), "GET", itemsPath+"&limit=1", typeLineItems, "")
		}, []string{"status=200", "limit=1", "Link: <" + testOrigin + "/ags/", `"scoreMaximum":100`}, nil},
		{"roster", kindMembers, func(l *linker) {
			l.call(l.accessToken(scopeMembers), "GET", "/nrps/c-31/members?limit=2", typeMembers, "")
		}, []string{
			"tool=site", "status=200", "limit=2", "NRPS", `rel="next"`, `"user_id":"u-1001"`,
		}, nil},
		{"fault", kindMembers, func(l *linker) {
			l.setFaults(url.Values{"members": {"429 7"}})
			l.call("x", "GET", "/nrps/c-31/members", typeMembers, "")
		}, []string{"outcome=failed status=429", "fault=429 7", "Retry-After: 7"}, nil},
		{"key set", kindKeys, func(l *linker) { l.get("/jwks") }, []string{"from=tool tool= ", "status=200", `"keys":[`}, nil},
		{"wrong path", kindOther, func(l *linker) {
			l.call("x", "POST", "/ags/c-31/lineitems/x/lineitem?type_id=1/scores", typeScore, scoreOf())
		}, []string{"status=405", "Allow: GET, PUT, DELETE"}, nil},
		{"no path", kindOther, func(l *linker) { l.call("x", "POST", "/scores", typeScore, `{"a":1}`) }, []string{"status=404", `{"a":1}`}, nil},
		{"launch by nobody", kindOther, func(l *linker) {
			l.who = ""
			l.get("/initiate" + chapter1)
		}, []string{"status=403", "problem=Who are you?"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLinker(t)
			tc.do(l)
			kind := tc.kind
			if tc.name == "wrong path" {
				kind = kindLineItems
			}
			m := l.latest(kind)
			text := m.text()
			for _, s := range tc.has {
				if tc.kind == kindMembers && s == "NRPS" {
					if m.Parameters[0].Spec != "NRPS 2.0 §2.4" {
						t.Errorf("parameters %+v", m.Parameters)
					}
					continue
				}
				if !strings.Contains(text, s) {
					t.Errorf("%q is missing in\n%s", s, text)
				}
			}
			for _, s := range tc.lacks {
				if strings.Contains(text, s) {
					t.Errorf("%q is in\n%s", s, text)
				}
			}
			// The page of it says the same.
			w := l.get(fmt.Sprint("/inspect/", m.ID))
			if w.Code != 200 || !strings.Contains(w.Body.String(), "<h1>"+labelOf(kind)+"</h1>") || !strings.Contains(w.Body.String(), "for tests only") {
				t.Errorf("page: %d %s", w.Code, w.Body)
			}
			for _, token := range m.Tokens {
				if !strings.Contains(w.Body.String(), `data-signature="`+token.Signature+`"`) {
					t.Errorf("the page does not say that the signature is %s: %s", token.Signature, w.Body)
				}
			}
		})
	}
}

// TestPagesAreNoMessages: what people do in the LMS itself is not listed.
func TestPagesAreNoMessages(t *testing.T) {
	l := newLinker(t)
	for _, path := range []string{
		"/", "/course/c-31", "/course/c-31/roster", "/course/c-31/gradebook", "/course/none", "/course/c-31/activity/site.chapter-2",
		"/assets/style.css", "/faults", "/grades.json", "/inspect", "/inspect/1", "/inspect.json", "/storage",
	} {
		l.do("GET", path, nil, local)
	}
	l.do("POST", "/person", url.Values{"person": {"u-1001"}})
	l.do("POST", "/course/c-31/copy", url.Values{"to": {"c-32"}})
	for _, m := range l.messagesOf("") {
		if m.URL != "/storage" { // it is not there, so it is no page
			t.Errorf("%s %s is listed as %s", m.Method, m.URL, m.Kind)
		}
	}
}

// TestMessagesOfALaunch: what belongs together is linked and grouped.
func TestMessagesOfALaunch(t *testing.T) {
	l := newLinker(t)
	l.add("", `[{"type":"link","url":"https://x.example/"}]`)
	login := l.latest(kindLogin)
	for _, kind := range []string{kindAuth, kindResponse, kindDeepLink} {
		if m := l.latest(kind); m.Launch == "" || m.Launch != login.Launch {
			t.Errorf("%s is of launch %q, the login of %q", kind, m.Launch, login.Launch)
		}
	}
	auth, response := l.latest(kindAuth), l.latest(kindResponse)
	if auth.Other != response.ID || response.Other != auth.ID {
		t.Errorf("request %d knows %d, response %d knows %d", auth.ID, auth.Other, response.ID, response.Other)
	}
	l.get("/initiate" + chapter1)
	if again := l.latest(kindLogin); again.Launch == login.Launch {
		t.Error("two launches are one")
	}
	l.post(l.accessToken(), scoreOf())
	token, score := l.latest(kindToken), l.latest(kindScore)
	if score.Granted != token.ID || len(token.Uses) != 1 || token.Uses[0] != score.ID {
		t.Errorf("score %d has its token from %d; the token of %d is used by %v", score.ID, score.Granted, token.ID, token.Uses)
	}
	if score.Launch != "" {
		t.Errorf("the score is of launch %s", score.Launch)
	}

	page := l.get(fmt.Sprint("/inspect/", login.ID)).Body.String()
	for _, m := range []inspected{auth, response, l.latest(kindDeepLink)} {
		if !strings.Contains(page, fmt.Sprintf(`href="/inspect/%d"`, m.ID)) {
			t.Errorf("no link to %s in %s", m.Kind, page)
		}
	}
	for query, want := range map[string]int{
		"launch=" + login.Launch: 4, "tool=echo": 0, "tool=site&kind=score": 1, "person=u-2001": 1, "person=u-1001&kind=login": 2,
		"outcome=failed": 0, "limit=2": 2, "before=" + fmt.Sprint(auth.ID): int(auth.ID) - 1,
	} {
		if got := len(l.messagesOf(query)); got != want {
			t.Errorf("%s: %d messages, expected %d", query, got, want)
		}
	}
	list := l.get("/inspect?by=launch").Body.String()
	if n := strings.Count(list, "Launch by Ada Moreau"); n != 2 {
		t.Errorf("%d launches in %s", n, list)
	}
	// A launch is told from its beginning.
	first, second := strings.Index(list, fmt.Sprintf(`"/inspect/%d"`, login.ID)), strings.Index(list, fmt.Sprintf(`"/inspect/%d"`, auth.ID))
	if first < 0 || second < first {
		t.Errorf("order of the launch: %d, %d", first, second)
	}
	flat := l.get("/inspect").Body.String()
	first, second = strings.Index(flat, fmt.Sprintf(`"/inspect/%d"`, login.ID)), strings.Index(flat, fmt.Sprintf(`"/inspect/%d"`, auth.ID))
	if first < second || second < 0 {
		t.Errorf("order of the list: %d, %d", first, second)
	}
	if w := l.get("/inspect?by=tool&kind=score&outcome=failed"); !strings.Contains(w.Body.String(), "No message fits") {
		t.Errorf("%s", w.Body)
	}
	for _, path := range []string{"/inspect/0", "/inspect/x", "/inspect/99999"} {
		if w := l.get(path); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// TestMessagesAreBounded: 10,000 messages with large bodies, URLs and headers.
func TestMessagesAreBounded(t *testing.T) {
	l := newTooled(t)
	body := strings.Repeat("x", maxMessageBody*2)
	long := strings.Repeat("y", maxMessageText*2)
	for n := range 10_000 {
		r := httptest.NewRequest("POST", testOrigin+"/ags/c-31/lineitems?"+long, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+long)
		r.Header.Set("Accept", long)
		r.ProtoMajor = 1 + n%2
		r.ContentLength = maxMessageBody // else nobody reads it
		if err := l.serve(&discard{header: make(http.Header)}, r, false); err != nil {
			t.Fatal(err)
		}
	}
	j := &l.state.journal
	held := 0
	for _, m := range j.messages {
		held += m.bytes()
		if len(m.body.data) > maxMessageBody || len(m.url) > maxMessageText+4 {
			t.Fatalf("a body of %d, a URL of %d bytes", len(m.body.data), len(m.url))
		}
	}
	if held != j.bytes || held > maxJournalBytes || held < maxJournalBytes/2 || len(j.messages) > maxMessages {
		t.Errorf("%d messages of %d bytes are held, %d counted", len(j.messages), held, j.bytes)
	}
	if cap(j.messages) > 4*maxMessages {
		t.Errorf("room for %d messages", cap(j.messages))
	}
	if j.dropped+uint64(len(j.messages)) != 10_000 {
		t.Errorf("%d dropped, %d held", j.dropped, len(j.messages))
	}
	for range 10_000 {
		l.call("", "GET", "/jwks", "", "")
	}
	if len(j.messages) != maxMessages {
		t.Errorf("%d messages", len(j.messages))
	}
	if w := l.get("/inspect"); !strings.Contains(w.Body.String(), "500 of 500 messages") || !strings.Contains(w.Body.String(), "older ones were dropped") {
		t.Errorf("%d %.3000s", w.Code, w.Body)
	}
}

// TestLongBodyIsCut, and says so; a roster of a hundred thousand goes by.
func TestLongBodyIsCut(t *testing.T) {
	l := newTooled(t)
	w := l.call(l.accessToken(scopeMembers), "GET", "/nrps/c-100k/members", typeMembers, "")
	if w.Code != 200 {
		t.Fatalf("%d %.300s", w.Code, w.Body)
	}
	m := l.latest(kindMembers)
	if m.Answer.Size != int64(w.Body.Len()) || len(m.Answer.Body) != maxMessageBody || m.Answer.Size < 10_000_000 {
		t.Errorf("%d of %d bytes are kept", len(m.Answer.Body), m.Answer.Size)
	}
	if want := fmt.Sprintf("Cut: only the first %d of %d bytes", maxMessageBody, w.Body.Len()); !strings.Contains(m.Answer.Note, want) {
		t.Errorf("note %q", m.Answer.Note)
	}
}

// TestCutTokenIsNoBadToken: of a deep linking response that is too long to be kept
// the result of the check still is.
func TestCutTokenIsNoBadToken(t *testing.T) {
	l := newLinker(t)
	request := l.request("")
	answer := l.answer(request, `[{"type":"html","html":"`+strings.Repeat("h", maxMessageBody)+`"}]`)
	l.send(request, answer)
	m := l.latest(kindDeepLink)
	if m.signature() != signatureValid || !strings.Contains(m.Tokens[0].Problem, "not whole") || !strings.Contains(m.Request.Note, "Cut") {
		t.Errorf("%s", m.text())
	}
}

// TestHostileMessages: nothing that a tool sends is markup, a link, or turns text
// around.
func TestHostileMessages(t *testing.T) {
	const script = `"><script>alert(1)</script><img src=x onerror=alert(2)>`
	l := newLinker(t)
	claims := l.assertion()
	claims["iss"], claims[script], claims["evil"] = script, script, "\u202etxt.exe\x00\x1b[2J"
	form := l.form(claims, scopeScore)
	form.Set(script, script)
	l.do("POST", "/token", form)
	l.auth(url.Values{"client_id": {"demo-site"}, "redirect_uri": {"javascript:alert(1)"}, "state": {script}, "nonce": {"\u202e"}, "lti_message_hint": {script}})
	l.get("/return/c-31?lti_errormsg=" + url.QueryEscape(script) + "&%zz=%zz&lti_msg=%FF%FE")
	l.call(script, "POST", below(itemPath, "/scores"), typeScore, script)
	l.call("x", "POST", "/nowhere/"+url.PathEscape(script)+"?"+script[2:9], script, `{"a":`+strings.Repeat("[", 9_000)+strings.Repeat("]", 9_000)+"}")
	l.do("GET", "/jwks", nil, func(r *http.Request) { r.Header.Set("User-Agent", script) })

	link := regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	pages := []string{"/inspect", "/inspect?by=launch", "/inspect?by=tool", "/inspect?kind=" + url.QueryEscape(script) + "&launch=" + url.QueryEscape(script) + "&by=" + url.QueryEscape(script)}
	for _, m := range l.messagesOf("") {
		pages = append(pages, fmt.Sprint("/inspect/", m.ID))
	}
	for _, path := range pages {
		w := l.get(path)
		body := w.Body.String()
		if w.Code != 200 || strings.Contains(body, "<script>") || strings.Contains(body, "<img src=x") || strings.ContainsAny(body, "\u202e\x00\x1b") {
			t.Errorf("%s: %d %s", path, w.Code, body)
		}
		for _, found := range link.FindAllStringSubmatch(body, -1) {
			if !strings.HasPrefix(found[1], "/") && !strings.HasPrefix(found[1], "#") {
				t.Errorf("%s leads to %s", path, found[1])
			}
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("policy %q", csp)
		}
		if len(body) > 1<<20 {
			t.Errorf("%s has %d bytes", path, len(body))
		}
	}
	w := l.get("/inspect.json")
	if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("X-Content-Type-Options") != "nosniff" || bytes.ContainsAny(w.Body.Bytes(), "<>") {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
}

// TestSecretsAreShortened: what is good more than once cannot be read off.
func TestSecretsAreShortened(t *testing.T) {
	l := newTooled(t)
	token := l.accessToken()
	l.post(token, scoreOf())
	l.call("", "GET", "/nowhere?registration_token=0123456789secret&x=1", "", "")
	l.call("", "POST", "/nowhere", "application/json", `{"client_secret": "0123456789secret"}`)
	l.do("GET", "/nowhere", nil, func(r *http.Request) { r.Header.Set("Authorization", "0123456789secret") })
	pages := []string{"/inspect", "/inspect.json"}
	for _, m := range l.messagesOf("") {
		pages = append(pages, fmt.Sprint("/inspect/", m.ID))
	}
	short := false
	for _, path := range pages {
		body := l.get(path).Body.String()
		if strings.Contains(body, token) || strings.Contains(body, "789secret") {
			t.Errorf("%s shows a secret: %s", path, body)
		}
		short = short || strings.Contains(body, "Bearer "+token[:6]+"…")
	}
	if !short {
		t.Error("nothing is left of the token")
	}
}

// TestForgetting: the button forgets the messages of this LMS, and no page of
// another site can press it.
func TestForgetting(t *testing.T) {
	l := newLMS(t)
	l.get("/jwks")
	elsewhere := func(r *http.Request) { r.Host, r.URL.Host = "other.localhost:8080", "other.localhost:8080" }
	l.do("GET", "/jwks", nil, elsewhere)
	l.do("GET", "/jwks", nil, elsewhere)
	if n := len(l.messagesOf("")); n != 1 {
		t.Errorf("%d messages of this LMS", n)
	}
	w := l.do("POST", "/inspect/clear", url.Values{}, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	if w.Code != 403 || len(l.messagesOf("")) != 1 {
		t.Errorf("another site: %d", w.Code)
	}
	if w := l.do("POST", "/inspect/clear", url.Values{}); w.Code != 303 || w.Header().Get("Location") != "/inspect" || len(l.messagesOf("")) != 0 {
		t.Errorf("%d %s", w.Code, w.Header().Get("Location"))
	}
	if w := l.get("/inspect/clear"); w.Code != 405 {
		t.Errorf("%d", w.Code)
	}
	var other struct{ Messages []inspected }
	decode(t, l.do("GET", "/inspect.json", nil, elsewhere), 200, &other)
	if len(other.Messages) != 2 {
		t.Errorf("%d messages of the other LMS", len(other.Messages))
	}
	held := 0
	for _, m := range l.state.journal.messages {
		held += m.bytes()
	}
	if held != l.state.journal.bytes {
		t.Errorf("%d bytes are held, %d counted", held, l.state.journal.bytes)
	}
}

// TestMessagesOfFaults: what breaks off is kept as well, and breaks off as before.
func TestMessagesOfFaults(t *testing.T) {
	for _, tc := range []struct {
		target, fault string
		status        int // what the tool sees; 0 is no answer
		has           string
	}{
		{"scores", "down", 0, "broke the connection off"},
		{"scores", "lost", 0, "broke the connection off"},
		{"scores", "truncated", 200, "broke the connection off"},
		{"scores", "503", 503, "this is the fault 503"},
		{"scores", "redirect", 302, "Location: https://elsewhere.invalid/"},
		{"scores", "slow 1ms", 200, ""},
		{"members", "truncated", 200, "broke the connection off"},
		{"members", "unclosed", 200, `"members":[`},
	} {
		t.Run(tc.target+" "+tc.fault, func(t *testing.T) {
			l := newTooled(t)
			server := l.listen()
			token := l.accessToken(append(agsScopes, scopeMembers)...)
			l.setFaults(url.Values{tc.target: {tc.fault}})
			kind, method, path, media, body := kindScore, "POST", below(itemPath, "/scores"), typeScore, scoreOf()
			if tc.target == targetMembers {
				kind, method, path, media, body = kindMembers, "GET", "/nrps/c-31/members", typeMembers, ""
			}
			resp, err := l.request(server, token, method, path, media, body)
			switch {
			case (err != nil) != (tc.status == 0):
				t.Fatalf("error %v", err)
			case err == nil:
				_, err = io.ReadAll(resp.Body)
				if resp.StatusCode != tc.status || errors.Is(err, io.ErrUnexpectedEOF) != (tc.fault == "truncated") {
					t.Errorf("%d, %v", resp.StatusCode, err)
				}
			}
			// The client may see the end before the serving has come to its own.
			server.Close()
			m := l.latest(kind)
			if m.Status != tc.status || m.Fault != tc.fault || !strings.Contains(m.text(), tc.has) {
				t.Errorf("%s", m.text())
			}
			if failed := tc.status != 200 && tc.status != 302 || tc.fault == "truncated"; (m.Outcome == outcomeFailed) != failed {
				t.Errorf("outcome %s", m.Outcome)
			}
		})
	}
}

// TestWatchingChangesNothing that a client could see.
func TestWatchingChangesNothing(t *testing.T) {
	l := newTooled(t)
	server := l.listen()
	token := l.accessToken()
	send := func(path, token string, body io.Reader, change ...func(*http.Request)) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", typeScore)
		r.Header.Set("Authorization", "Bearer "+token)
		for _, f := range change {
			f(r)
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.ReadAll(resp.Body)
		return resp
	}
	// What is too large closes the connection.
	resp := send("/token", "", strings.NewReader(strings.Repeat("x", maxTokenBody+1)), func(r *http.Request) { r.Header.Set("Content-Type", formType) })
	if resp.StatusCode != 400 || !resp.Close {
		t.Errorf("%d, closed: %t", resp.StatusCode, resp.Close)
	}
	// A body that has to be asked for is not, whether its length is known or not.
	for _, length := range []int64{-1, 100} {
		in, out := io.Pipe()
		written := make(chan error, 1)
		go func() {
			_, err := out.Write([]byte(`{"a`))
			written <- err
		}()
		r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+below(itemPath, "/scores"), in)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = length
		r.Header.Set("Expect", "100-continue")
		r.Header.Set("Authorization", "Bearer nonsense")
		transport := &http.Transport{ExpectContinueTimeout: time.Minute}
		defer transport.CloseIdleConnections()
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		_ = in.Close()
		if err := <-written; err == nil || resp.StatusCode != 401 {
			t.Errorf("%d, and the body of length %d was asked for: %v", resp.StatusCode, length, err)
		}
	}
	// A score that is refused before it is read, is read for the inspector only as
	// far as the server reads it.
	if resp := send(below(itemPath, "/scores"), token+"x", strings.NewReader(scoreOf("comment", "refused"))); resp.StatusCode != 401 || resp.Close {
		t.Errorf("%d, closed: %t", resp.StatusCode, resp.Close)
	}
	server.Close()
	if m := l.latest(kindScore); !strings.Contains(m.Request.Body, "refused") {
		t.Errorf("%s", m.text())
	}
}

// TestWatchedKeySetIsSpared: a key set that is down is asked for three times at
// once, and no more for being watched.
func TestWatchedKeySetIsSpared(t *testing.T) {
	l := newTooled(t)
	l.fetcher.err = errors.New("down")
	for range 10 {
		l.do("POST", "/token", l.form(l.assertion(), scopeScore))
	}
	if l.fetcher.fetches != 3 || len(l.messagesOf("kind=toolkeys")) != 3 {
		t.Errorf("%d fetches, %d messages of them", l.fetcher.fetches, len(l.messagesOf("kind=toolkeys")))
	}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "less than a millisecond", 900 * time.Microsecond: "less than a millisecond", time.Millisecond: "1 millisecond",
		1300 * time.Millisecond: "1 second 300 milliseconds", time.Minute: "1 minute", 90 * time.Second: "1 minute 30 seconds",
		time.Hour: "1 hour", 49*time.Hour + time.Second: "2 days 1 hour", 24*time.Hour + time.Second: "1 day 1 second",
	} {
		if got := words(d); got != want {
			t.Errorf("%s: %q, expected %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		time.Minute: "1 minute after this message", -2 * time.Second: "2 seconds before this message", time.Millisecond: "the time of this message",
	} {
		if got := relation(d); got != want {
			t.Errorf("%s: %q, expected %q", d, got, want)
		}
	}
	now := time.Date(2027, 1, 1, 0, 0, 5, 0, time.UTC)
	if got := clock(now, now); got != "00:00:05 UTC" {
		t.Error(got)
	}
	if got := clock(now.Add(-10*time.Second), now); got != "31 Dec, 23:59:55 UTC" {
		t.Error(got)
	}
}

// FuzzInspector: whatever is sent can be shown, and takes no more room than a small
// multiple of it.
func FuzzInspector(f *testing.F) {
	part := base64.RawURLEncoding.EncodeToString
	f.Add("client_assertion="+part([]byte(`{"alg":"RS256","kid":"k"}`))+"."+part([]byte(`{"iss":"a","exp":1e99,"iat":-5,"x":{"y":[1]}}`))+".c", formType, "a=1&b=%zz")
	f.Add(`{"a":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+"}", typeScore, "")
	f.Add(`JWT=a.`+part([]byte(`{"a":1,"a":2`))+".&access_token=abcdefghijkl", formType, "?&&==")
	f.Fuzz(func(t *testing.T, body, contentType, query string) {
		l := newLMS(t)
		l.state.signing = []*jose.Key{testKeys()[1]}
		kinds := []string{kindToken, kindResponse, kindDeepLink, kindScore}
		for _, kind := range kinds {
			m := &message{kind: kind, toTool: kind == kindResponse, issuer: testOrigin, at: l.at, method: "POST", url: "/x?" + query, header: []field{{"Content-Type", contentType}}, status: 200}
			m.body.add([]byte(quiet(body)))
			l.state.journal.add(m)
		}
		w := l.get("/inspect.json")
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("not JSON: %s", w.Body)
		}
		for id := range len(kinds) {
			w := l.get(fmt.Sprint("/inspect/", id+1))
			if w.Code != 200 || w.Body.Len() > 100_000+400*(len(body)+len(query)+len(contentType)) {
				t.Fatalf("%d, %d bytes", w.Code, w.Body.Len())
			}
		}
	})
}

// TestMessagesOfRoutesAddedLater: nobody has to think of the inspector. Here, the
// messages of a registration.
func TestMessagesOfRoutesAddedLater(t *testing.T) {
	l := newLMS(t)
	answers := func(status int) func(*visit) error {
		return func(v *visit) error {
			answerJSON(v, status, "application/json", map[string]string{"registration_access_token": "0123456789secret"})
			return nil
		}
	}
	l.routes = append([]route{ // the first that fits counts
		{"/.well-known/openid-configuration", []string{"GET"}, answers(200)},
		{"/register", []string{"POST"}, answers(201)},
		{"/new/service", []string{"GET"}, answers(200)},
		{"/new/page", []string{"GET"}, l.home},
	}, l.routes...)
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer 0123456789secret") }
	l.do("GET", "/.well-known/openid-configuration?registration_token=0123456789secret", nil)
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", testOrigin+"/register", strings.NewReader(`{"client_name":"A tool"}`))
	bearer(r)
	if err := l.serve(w, r, false); err != nil || w.Code != 201 {
		t.Fatalf("%d, %v", w.Code, err)
	}
	l.get("/new/service")
	l.get("/new/page")
	configuration, registration := l.latest(kindConfiguration), l.latest(kindRegistration)
	if configuration.Launch == "" || configuration.Launch != registration.Launch {
		t.Errorf("%q and %q", configuration.Launch, registration.Launch)
	}
	if registration.Summary != "of A tool" || registration.Status != 201 || !strings.Contains(registration.text(), `{"client_name":"A tool"}`) {
		t.Errorf("%s", registration.text())
	}
	if m := l.latest(kindOther); m.URL != "/new/service" {
		t.Errorf("%s", m.text())
	}
	if n := len(l.messagesOf("")); n != 3 {
		t.Errorf("%d messages", n)
	}
	for _, path := range []string{"/inspect?by=launch", fmt.Sprint("/inspect/", registration.ID), "/inspect.json"} {
		if body := l.get(path).Body.String(); strings.Contains(body, "789secret") || path != "/inspect.json" && !strings.Contains(body, "Registration") {
			t.Errorf("%s: %s", path, body)
		}
	}
}

// TestInspectorIsDocumented: each kind, and each field for scripts.
func TestInspectorIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../docs/inspector.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, k := range kinds {
		if !strings.Contains(text, "`"+k.Kind+"`") {
			t.Errorf("kind %s is missing", k.Kind)
		}
	}
	for _, of := range []any{shownMessage{}, half{}, shownHeader{}, parameter{}, token{}, claim{}} {
		for field := range reflect.TypeOf(of).Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name != "" && name != "-" && !strings.Contains(text, "`"+name+"`") && !strings.Contains(text, `"`+name+`"`) {
				t.Errorf("field %s is missing", name)
			}
		}
	}
	// The example is one of a message as it is.
	_, example, _ := strings.Cut(text, "```json\n")
	example, _, _ = strings.Cut(example, "```")
	var shape struct {
		Messages []shownMessage `json:"messages"`
		Dropped  uint64         `json:"dropped"`
	}
	d := json.NewDecoder(strings.NewReader(example))
	d.DisallowUnknownFields()
	if err := d.Decode(&shape); err != nil || len(shape.Messages) != 1 || shape.Messages[0].Label != labelOf(shape.Messages[0].Kind) {
		t.Errorf("the example: %v, %+v", err, shape)
	}
}
