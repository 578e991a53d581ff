package devlms

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestAuthDeviations changes one thing of a good request at a time.
func TestAuthDeviations(t *testing.T) {
	set := func(name string, values ...string) func(*lms, url.Values) {
		return func(_ *lms, v url.Values) { v[name] = values }
	}
	for _, tc := range []struct {
		name   string
		change func(*lms, url.Values)
		err    string // "page" is a page of the LMS, nothing for the tool
		about  string // part of the page or the description
	}{
		{"client unknown", set("client_id", "other"), "page", "client_id"},
		{"client missing", set("client_id"), "page", "client_id"},
		{"client twice", set("client_id", "demo-site", "demo-site"), "page", "client_id"},
		{"redirect missing", set("redirect_uri"), "page", "redirect_uri"},
		{"redirect of nobody", set("redirect_uri", "http://site.localhost:8080/lti/other"), "page", "redirect_uri"},
		{"redirect with a query", set("redirect_uri", "http://site.localhost:8080/lti/launch?x=1"), "page", "redirect_uri"},
		{"redirect with a slash", set("redirect_uri", "http://site.localhost:8080/lti/launch/"), "page", "redirect_uri"},
		{"redirect in capitals", set("redirect_uri", "http://SITE.localhost:8080/lti/launch"), "page", "redirect_uri"},
		{"redirect of another tool", set("redirect_uri", "http://echo.localhost:8080/lti/launch"), "page", "redirect_uri"},
		{"redirect twice", set("redirect_uri", "http://site.localhost:8080/lti/launch", "http://site.localhost:8080/lti/launch"), "page", "redirect_uri"},
		{"scope missing", set("scope"), "invalid_scope", "scope"},
		{"scope with more", set("scope", "openid email"), "invalid_scope", "scope"},
		{"scope twice", set("scope", "openid", "openid"), "invalid_request", "scope"},
		{"response type code", set("response_type", "code"), "unsupported_response_type", "response_type"},
		{"response type missing", set("response_type"), "unsupported_response_type", "response_type"},
		{"response mode query", set("response_mode", "query"), "invalid_request", "response_mode"},
		{"response mode missing", set("response_mode"), "invalid_request", "response_mode"},
		{"prompt login", set("prompt", "login"), "invalid_request", "prompt"},
		{"prompt missing", set("prompt"), "invalid_request", "prompt"},
		{"nonce missing", set("nonce"), "invalid_request", "nonce"},
		{"nonce empty", set("nonce", ""), "invalid_request", "nonce"},
		{"nonce twice", set("nonce", "a", "b"), "invalid_request", "nonce"},
		{"nonce used before", func(l *lms, v url.Values) { l.state.firstUse("demo-site", v.Get("nonce")) }, "invalid_request", "nonce"},
		{"state missing", set("state"), "invalid_request", "state"},
		{"state empty", set("state", ""), "invalid_request", "state"},
		{"state twice", set("state", "a", "b"), "invalid_request", "state"},
		{"login hint missing", set("login_hint"), "invalid_request", "login_hint"},
		{"login hint of another", set("login_hint", "u-2002"), "access_denied", "login_hint"},
		{"nobody signed in", func(l *lms, _ url.Values) { l.who = "" }, "login_required", "signed in"},
		{"a person that is not there", func(l *lms, _ url.Values) { l.who = "u-9" }, "login_required", "signed in"},
		{"another signed in", func(l *lms, _ url.Values) { l.who = "u-2002" }, "access_denied", "signed in"},
		{"message hint missing", set("lti_message_hint"), "invalid_request", "lti_message_hint"},
		{"message hint twice", set("lti_message_hint", "a", "b"), "invalid_request", "lti_message_hint"},
		{"message hint unknown", set("lti_message_hint", "x"), "launch_no_longer_valid", "lti_message_hint"},
		{"message hint without its quotes", func(_ *lms, v url.Values) {
			v.Set("lti_message_hint", strings.ReplaceAll(v.Get("lti_message_hint"), `"`, ""))
		}, "launch_no_longer_valid", "lti_message_hint"},
		{"message hint too old", func(l *lms, _ url.Values) { l.at = l.at.Add(hintLifetime + time.Second) }, "launch_no_longer_valid", "five minutes"},
		{"message hint of another person", func(l *lms, v url.Values) {
			l.who = "u-2002"
			v.Set("login_hint", "u-2002")
		}, "launch_no_longer_valid", "another launch"},
		{"message hint of another tool", func(l *lms, v url.Values) {
			_, login := readPost(l.t, l.get("/initiate/c-31/echo.link"))
			v.Set("lti_message_hint", login.Get("lti_message_hint"))
		}, "launch_no_longer_valid", "another launch"},
		{"activity gone after a reload", func(l *lms, _ url.Values) { l.activities = l.activities[1:] }, "launch_no_longer_valid", "no longer there"},
		{"activity of another tool after a reload", func(l *lms, _ url.Values) { l.activities[0].Tool = l.tools[1] }, "launch_no_longer_valid", "no longer there"},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(tc.name+"/"+method, func(t *testing.T) {
				l := newLMS(t)
				params := l.authRequest(chapter1)
				tc.change(l, params)
				w := l.do(http.MethodGet, "/auth?"+params.Encode(), nil)
				if method == http.MethodPost {
					l = newLMS(t)
					params = l.authRequest(chapter1)
					tc.change(l, params)
					w = l.do(http.MethodPost, "/auth", params)
				}
				if tc.err == "page" {
					if w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), "<form") {
						t.Fatalf("expected a page with 400, got %d: %s", w.Code, w.Body)
					}
					if !strings.Contains(w.Body.String(), tc.about) {
						t.Errorf("expected a page about %q, got %s", tc.about, w.Body)
					}
					return
				}
				action, fields := readPost(t, w)
				if action != "http://site.localhost:8080/lti/launch" {
					t.Errorf("posted to %s", action)
				}
				if fields.Get("error") != tc.err || !strings.Contains(fields.Get("error_description"), tc.about) {
					t.Errorf("expected %s about %q, got %v", tc.err, tc.about, fields)
				}
				if fields.Has("id_token") {
					t.Error("a token beside the error")
				}
				wantState := ""
				if len(params["state"]) == 1 {
					wantState = params.Get("state")
				}
				if fields.Get("state") != wantState {
					t.Errorf("expected state %q, got %q", wantState, fields.Get("state"))
				}
			})
		}
	}
}

// TestAuthOrder has everything wrong at first, and mends it step by step.
func TestAuthOrder(t *testing.T) {
	l := newLMS(t)
	good := l.authRequest(chapter1)
	params := url.Values{"client_id": good["client_id"], "redirect_uri": good["redirect_uri"]}
	l.who = ""
	for _, step := range []struct{ mend, expect string }{
		{"", "scope must"},
		{"scope", "response_type"},
		{"response_type", "response_mode"},
		{"response_mode", "prompt"},
		{"prompt", "nonce"},
		{"nonce", "state"},
		{"state", "login_hint is missing"},
		{"login_hint", "nobody is signed in"},
	} {
		if step.mend != "" {
			params[step.mend] = good[step.mend]
		}
		if step.mend != "nonce" && params.Has("nonce") {
			params.Set("nonce", newNonce()) // the last one is spent
		}
		_, fields := readPost(t, l.auth(params))
		if !strings.Contains(fields.Get("error_description"), step.expect) {
			t.Errorf("with %q mended: expected %q, got %v", step.mend, step.expect, fields)
		}
	}
	// None of these attempts has spent the hint.
	l.who = "u-2001"
	good.Set("nonce", newNonce())
	if _, fields := readPost(t, l.auth(good)); !fields.Has("id_token") {
		t.Errorf("expected a token, got %v", fields)
	}
}

func TestAuthSuccess(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		l := newLMS(t)
		params := l.authRequest(chapter1)
		params.Set("redirect_uri", "https://other.example/launch")
		params.Set("unknown", "tolerated")
		w := l.do(http.MethodGet, "/auth?"+params.Encode(), nil)
		if method == http.MethodPost {
			params = l.authRequest(chapter1)
			w = l.do(http.MethodPost, "/auth", params)
		}
		action, fields := readPost(t, w)
		if action != params.Get("redirect_uri") {
			t.Errorf("%s: posted to %s", method, action)
		}
		if fields.Get("state") != params.Get("state") || len(fields) != 2 {
			t.Errorf("%s: fields %v", method, fields)
		}
		_, claims := l.readToken(fields.Get("id_token"))
		if claims["nonce"] != params.Get("nonce") {
			t.Errorf("%s: nonce %v", method, claims["nonce"])
		}
		checkPostPage(t, w)
	}
}

// TestAuthBodyOnly: a post is read from its body, not from its query.
func TestAuthBodyOnly(t *testing.T) {
	l := newLMS(t)
	params := l.authRequest(chapter1)
	if w := l.do(http.MethodPost, "/auth?"+params.Encode(), url.Values{}); w.Code != http.StatusBadRequest {
		t.Errorf("query of a post: expected 400, got %d", w.Code)
	}
	if w := l.get("/auth?client_id=%zz"); w.Code != http.StatusBadRequest {
		t.Errorf("bad escape: expected 400, got %d", w.Code)
	}
	params.Set("state", strings.Repeat("x", maxAuthBody))
	if w := l.do(http.MethodPost, "/auth", params); w.Code != http.StatusBadRequest {
		t.Errorf("huge body: expected 400, got %d", w.Code)
	}
}

// TestHintOnce: a hint is good once, and so is a nonce, whatever became of the
// first request.
func TestHintOnce(t *testing.T) {
	l := newLMS(t)
	params := l.authRequest(chapter1)
	if _, fields := readPost(t, l.auth(params)); !fields.Has("id_token") {
		t.Fatalf("expected a token, got %v", fields)
	}
	_, fields := readPost(t, l.auth(params))
	if fields.Get("error") != "invalid_request" {
		t.Errorf("same request again: got %v", fields)
	}
	params.Set("nonce", newNonce())
	_, fields = readPost(t, l.auth(params))
	if fields.Get("error") != "launch_no_longer_valid" {
		t.Errorf("same hint again: got %v", fields)
	}
}

// TestHintOrigin: a hint of one origin is nothing at another.
func TestHintOrigin(t *testing.T) {
	l := newLMS(t)
	params := l.authRequest(chapter1)
	w := l.do(http.MethodGet, "/auth?"+params.Encode(), nil, func(r *http.Request) { r.Host = "other.localhost" })
	if _, fields := readPost(t, w); fields.Get("error") != "launch_no_longer_valid" {
		t.Errorf("got %v", fields)
	}
}

func TestNonceIsPerClient(t *testing.T) {
	st := newState()
	if !st.firstUse("a", "n") || !st.firstUse("b", "n") || st.firstUse("a", "n") {
		t.Error("nonces of two clients are mixed up")
	}
}

func TestBoundedState(t *testing.T) {
	st := newState()
	first, err := st.begin(launch{})
	if err != nil {
		t.Fatal(err)
	}
	var last string
	for i := range maxHints {
		if last, err = st.begin(launch{}); err != nil {
			t.Fatal(err)
		}
		st.firstUse("a", fmt.Sprint(i))
	}
	st.firstUse("a", "one more")
	if n := len(st.hints.entries); n != maxHints {
		t.Errorf("%d hints", n)
	}
	if n := len(st.nonces["a"].entries); n != maxNonces {
		t.Errorf("%d nonces", n)
	}
	if _, ok := st.redeem(first); ok {
		t.Error("the oldest hint is still there")
	}
	if _, ok := st.redeem(last); !ok {
		t.Error("the newest hint is gone")
	}
}

func TestTable(t *testing.T) {
	tb := newTable[string, int](2)
	if !tb.add("a", 1) || tb.add("a", 2) || !tb.add("b", 3) {
		t.Fatal("add")
	}
	tb.add("c", 4) // drops a
	if _, ok := tb.take("a"); ok {
		t.Error("a is still there")
	}
	if v, ok := tb.take("b"); !ok || v != 3 {
		t.Errorf("b: %d, %t", v, ok)
	}
	if _, ok := tb.take("b"); ok {
		t.Error("b was taken twice")
	}
	if len(tb.entries) != 1 || tb.order.Len() != 1 {
		t.Errorf("%d entries, %d in order", len(tb.entries), tb.order.Len())
	}
}

// TestHintRace: of many requests with one hint at the same instant, one wins.
func TestHintRace(t *testing.T) {
	l := newLMS(t)
	params := l.authRequest(chapter1)
	if _, err := l.state.signingKey(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var tokens atomic.Int32
	for range 16 {
		wg.Go(func() {
			mine := maps.Clone(params)
			mine["nonce"] = []string{newNonce()}
			r := httptest.NewRequest(http.MethodGet, testOrigin+"/auth?"+mine.Encode(), nil)
			r.AddCookie(&http.Cookie{Name: userCookie, Value: "u-2001"})
			w := httptest.NewRecorder()
			if err := l.serve(w, r, false); err != nil {
				t.Error(err)
			}
			if strings.Contains(w.Body.String(), `name="id_token"`) {
				tokens.Add(1)
			}
		})
	}
	wg.Wait()
	if n := tokens.Load(); n != 1 {
		t.Errorf("%d tokens for one hint", n)
	}
}
