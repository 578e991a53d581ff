package devlms

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-lti/lti/internal/jose"
)

func lateTool(jwks string) *Tool {
	return &Tool{
		Name: "late", ClientID: "late-1", Deployment: "7", LoginURL: "http://late.localhost:8080/lti/login",
		RedirectURIs: []string{"http://late.localhost:8080/lti/launch"}, JWKSURL: jwks,
		Links: []*Link{{Title: "Late chapter", TargetLinkURI: "http://late.localhost:8080/"}},
	}
}

// keySite serves the key set of a tool.
func keySite(t *testing.T) string {
	t.Helper()
	set, err := jose.PublicSet(testKeys()[0])
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestToolAtRunTime uses a tool that is not configured for all that a configured
// one is good for, until it is removed.
func TestToolAtRunTime(t *testing.T) {
	l := newLinker(t)
	b := l.state.book(testOrigin)
	late := lateTool(keySite(t))
	if err := l.addTool(b, late); err != nil {
		t.Fatal(err)
	}
	const activity = "/c-31/late.late-chapter"
	has := func(want bool) {
		t.Helper()
		for path, text := range map[string]string{
			"/":                      "Registration of the tool “late”",
			"/course/c-31":           "/course" + activity[:5] + "/activity/late.late-chapter",
			"/course/c-32":           "/course/c-32/add/late",
			"/course/c-31/gradebook": "Late chapter",
		} {
			if got := strings.Contains(l.get(path).Body.String(), text); got != want {
				t.Errorf("%s has %q: %t", path, text, got)
			}
		}
	}
	has(true)

	params := l.authRequest(activity)
	params.Set("client_id", "late-1")
	params.Set("redirect_uri", late.RedirectURIs[0])
	_, fields := readPost(t, l.auth(params))
	_, claims := l.readToken(fields.Get("id_token"))
	if claims["aud"] != "late-1" || claims[claimPrefix+"deployment_id"] != "7" || claims[claimEndpoint] == nil || claims[claimMembers] == nil {
		t.Errorf("claims %v", claims)
	}

	asked := func() *httptest.ResponseRecorder {
		a := l.assertion()
		a["iss"], a["sub"], a[claimPrefix+"deployment_id"] = "late-1", "late-1", "7"
		return l.do(http.MethodPost, "/token", l.form(a, scopeLineItem, scopeMembers))
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	decode(t, asked(), 200, &answer)
	if w := l.call(answer.Token, "POST", "/ags/c-31/lineitems?type_id=7", typeLineItem, testItem); w.Code != 201 || len(b.order) != 1 {
		t.Fatalf("line item: %d %s", w.Code, w.Body)
	}
	l.add("", `[{"type":"link","url":"https://a.example/"}]`) // of a tool that stays

	if l.removeTool(b, "site") || !l.removeTool(b, "late") || l.removeTool(b, "late") {
		t.Error("removed otherwise")
	}
	has(false)
	if w := asked(); w.Code != 400 || !strings.Contains(w.Body.String(), "invalid_client") {
		t.Errorf("token of a tool that is gone: %d %s", w.Code, w.Body)
	}
	if w := l.call(answer.Token, "GET", "/ags/c-31/lineitems", "", ""); w.Code != 401 {
		t.Errorf("old token: %d %s", w.Code, w.Body)
	}
	if len(b.order) != 0 || len(b.contents) != 1 {
		t.Errorf("left: %v %v", b.order, b.contents)
	}
	if l.state.keys[late.JWKSURL] != nil {
		t.Error("the keys are still there")
	}
}

func TestToolAtRunTimeRefused(t *testing.T) {
	l := newLMS(t)
	b := l.state.book(testOrigin)
	if err := l.addTool(b, lateTool("")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		change func(*Tool)
		want   string
	}{
		{func(t *Tool) { t.Name = "A" }, "bad name"},
		{func(t *Tool) { t.LoginURL = "http://a.example/" }, "http is for localhost"},
		{func(*Tool) {}, "a tool of this name already"},
		{func(t *Tool) { t.Name = "site" }, "a tool of this name already"},
		{func(t *Tool) { t.Name = "b" }, "belongs to tool late already"},
		{func(t *Tool) { t.Name, t.ClientID = "b", "demo-site" }, "belongs to tool site already"},
	} {
		late := lateTool("")
		tc.change(late)
		if err := l.addTool(b, late); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %q", err, tc.want)
		}
	}
	for i := range maxAddedTools {
		late := lateTool("")
		late.Name, late.ClientID = fmt.Sprint("n", i), fmt.Sprint("n", i)
		if err := l.addTool(b, late); (err == nil) != (i < maxAddedTools-1) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	// Another issuer knows nothing of it.
	if other := l.state.book("https://other.example"); l.toolByClient(other, "late-1") != nil {
		t.Error("known to another issuer")
	}
	// What is configured later wins.
	l.tools[0].ClientID = "late-1"
	if got := l.toolByClient(b, "late-1"); got != l.tools[0] || l.toolByName(b, "late") != nil {
		t.Errorf("got %v", got)
	}
}

// TestToolsComeAndGo is for the race detector.
func TestToolsComeAndGo(t *testing.T) {
	l := newLMS(t)
	l.who = "u-1001"
	b := l.state.book(testOrigin)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 50 {
			if err := l.addTool(b, lateTool("http://late.localhost:8080/jwks")); err != nil {
				t.Error(err)
			}
			l.removeTool(b, "late")
		}
	})
	for _, path := range []string{"/", "/course/c-31", "/course/c-31/gradebook", "/course/c-31/activity/late.late-chapter"} {
		wg.Go(func() {
			for range 20 {
				if w := l.get(path); w.Code != 200 && w.Code != 404 {
					t.Errorf("%s: %d", path, w.Code)
				}
			}
		})
	}
	wg.Wait()
}

// TestKeysOnThisMachine: a demo on a public name does not look at its own machine
// for a tool that came at run time.
func TestKeysOnThisMachine(t *testing.T) {
	l := newTooled(t)
	url := keySite(t)
	for _, origin := range []string{testOrigin, "https://lms.example"} {
		if err := l.addTool(l.state.book(origin), lateTool(url)); err != nil {
			t.Fatal(err)
		}
		l.state.forgetKeys(url)
		a := l.assertion()
		a["iss"], a["sub"], a["aud"], a[claimPrefix+"deployment_id"] = "late-1", "late-1", origin+"/token", "7"
		r := httptest.NewRequest(http.MethodPost, origin+"/token", strings.NewReader(l.form(a, scopeScore).Encode()))
		r.Header.Set("Content-Type", formType)
		w := httptest.NewRecorder()
		if err := l.serve(w, r, strings.HasPrefix(origin, "https:")); err != nil {
			t.Fatal(err)
		}
		if got, want := w.Code == 200, origin == testOrigin; got != want || !want && !strings.Contains(w.Body.String(), "allow_private 127.0.0.1:") {
			t.Errorf("%s: %d %s", origin, w.Code, w.Body)
		}
	}
}

// TestKeysThatFailAgain: key sets compare what they are fetched with.
func TestKeysThatFailAgain(t *testing.T) {
	l := newTooled(t)
	srv := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	if err := l.addTool(l.state.book(testOrigin), lateTool(srv.URL)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		a := l.assertion()
		a["iss"], a["sub"] = "late-1", "late-1"
		if w := l.do(http.MethodPost, "/token", l.form(a, scopeScore)); w.Code != 400 || !strings.Contains(w.Body.String(), "invalid_client") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}
