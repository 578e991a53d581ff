package devlms

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/pflag"

	"github.com/caddy-lti/lti/internal/lab"
)

func newLabLMS(t *testing.T) *lms {
	t.Helper()
	l := newLMS(t)
	l.openLab(nil)
	return l
}

// Without the option there is none, and no other site may use it.
func TestLabIsGuarded(t *testing.T) {
	off, on := newLMS(t), newLabLMS(t)
	paths := map[string]string{
		"/lab": http.MethodGet, "/lab/stranger": http.MethodGet, "/lab/stranger/jwks": http.MethodGet,
		"/lab/run": http.MethodPost, "/lab/switch": http.MethodPost, "/lab/result/site": http.MethodGet,
	}
	for path, method := range paths {
		var form url.Values
		if method == http.MethodPost {
			form = url.Values{"keys": {"rotate"}}
		}
		if w := off.do(method, path, form); w.Code != http.StatusNotFound {
			t.Errorf("%s without the option: %d", path, w.Code)
		}
		if method == http.MethodGet {
			continue
		}
		for _, foreign := range []func(*http.Request){
			func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
			func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		} {
			if w := on.do(method, path, form, foreign); w.Code != http.StatusForbidden {
				t.Errorf("%s from another site: %d", path, w.Code)
			}
		}
		if w := on.do(method, path, form, func(r *http.Request) { r.Host = "lms.example.edu" }); w.Code != http.StatusForbidden {
			t.Errorf("%s on a public host name: %d", path, w.Code)
		}
	}
	if on.state.signing != nil {
		t.Error("another site made a key")
	}
	if strings.Contains(off.get("/").Body.String(), `"/lab"`) {
		t.Error("without the option the first page leads there")
	}
	body := on.get("/lab").Body.String()
	for _, want := range []string{"for tests only", "nonce-made-up", "Chrome", "Firefox", "Safari", `href="/lab"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestLabSwitches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLabLMS(t)
		send := func(form url.Values) int { t.Helper(); return l.do(http.MethodPost, "/lab/switch", form).Code }
		for _, bad := range []url.Values{
			{"keys": {"burn"}},
			{"clock": {"25h"}},
			{"clock": {"-24h1s"}},
			{"clock": {"soon"}},
			{"storage": {"everywhere"}},
			{"jwks": {"sometimes"}},
			{"token": {"loop"}},
			{"jwks": {"expired"}},
			{"unknown": {"on"}},
			{"erase": {"on"}},
			{"clock": {"1h"}, "jwks": {"sometimes"}},
		} {
			if code := send(bad); code != http.StatusBadRequest {
				t.Errorf("%v: %d", bad, code)
			}
		}
		if l.state.clockOffset() != 0 || l.state.storage != "" || l.state.signing != nil {
			t.Error("what was refused has been switched in part")
		}

		claims := func() map[string]any {
			_, c := l.readTokenOf(t)
			return c
		}
		send(url.Values{"clock": {"-5m"}})
		if iat := claims()["iat"]; iat != float64(time.Now().Add(-5*time.Minute).Unix()) {
			t.Errorf("with the clock off by five minutes iat is %v", iat)
		}
		send(url.Values{"clock": {"0s"}, "storage": {"parent"}})
		if iat := claims()["iat"]; iat != float64(time.Now().Unix()) {
			t.Errorf("with the clock right again iat is %v", iat)
		}
		if _, login := readPost(t, l.get("/initiate"+chapter1)); login.Get("lti_storage_target") != "_parent" {
			t.Errorf("with storage the login says %v", login)
		}
		send(url.Values{"storage": {""}})
		if _, login := readPost(t, l.get("/initiate"+chapter1)); login.Has("lti_storage_target") {
			t.Errorf("without storage the login says %v", login)
		}

		keys := func() (ids []string) {
			var set struct {
				Keys []struct{ Kid string } `json:"keys"`
			}
			if err := json.Unmarshal(l.get("/jwks").Body.Bytes(), &set); err != nil {
				t.Fatal(err)
			}
			for _, k := range set.Keys {
				ids = append(ids, k.Kid)
			}
			return ids
		}
		before := keys()
		send(url.Values{"keys": {"rotate"}})
		after := keys()
		if len(before) != 1 || len(after) != 2 || after[0] != before[0] || after[1] == before[0] {
			t.Errorf("the keys were %v and are %v", before, after)
		}
		if header, _ := l.readTokenOf(t); header["kid"] != after[1] {
			t.Errorf("a token is signed with %v, of %v", header["kid"], after)
		}

		send(url.Values{"jwks": {"500"}})
		if code := l.get("/jwks").Code; code != http.StatusInternalServerError {
			t.Errorf("a key set that fails: %d", code)
		}
		send(url.Values{"jwks": {"slow 5s"}})
		begun := time.Now()
		if code := l.get("/jwks").Code; code != http.StatusOK || time.Since(begun) != 5*time.Second {
			t.Errorf("a slow key set: %d after %v", code, time.Since(begun))
		}
		send(url.Values{"jwks": {"off"}})
		if code := l.get("/jwks").Code; code != http.StatusOK {
			t.Errorf("a key set that is whole again: %d", code)
		}
	})
}

// readTokenOf launches and returns header and claims of the token, unverified.
func (l *lms) readTokenOf(t *testing.T) (header, claims map[string]any) {
	t.Helper()
	_, answer := readPost(t, l.auth(l.authRequest(chapter1)))
	parts := strings.Split(answer.Get("id_token"), ".")
	if len(parts) != 3 {
		t.Fatalf("no token: %v", answer)
	}
	for i, to := range []*map[string]any{&header, &claims} {
		data, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(data, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// What an order may say.
func TestLabOrder(t *testing.T) {
	l := newLabLMS(t)
	for _, tt := range []struct {
		form url.Values
		says string
	}{
		{url.Values{}, "is not one of site, echo"},
		{url.Values{"tool": {"other"}}, "is not one of site, echo"},
		{url.Values{"tool": {"site"}, "case": {"none"}}, "there is no case"},
		{url.Values{"tool": {"site"}, "group": {"none"}}, "is not one of endpoints"},
	} {
		w := l.do(http.MethodPost, "/lab/run", tt.form, func(r *http.Request) { r.Header.Set("Accept", "application/json") })
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), tt.says) {
			t.Errorf("%v: %d %s", tt.form, w.Code, w.Body)
		}
	}
	l.state.lab.running.Lock()
	if w := l.do(http.MethodPost, "/lab/run", url.Values{"tool": {"site"}}); w.Code != http.StatusConflict {
		t.Errorf("while another run is under way: %d", w.Code)
	}
	l.state.lab.running.Unlock()
}

// A tool that answers nothing but nonsense, on the pages.
func TestLabPages(t *testing.T) {
	tool := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("<script>alert(1)</script>"))
	}))
	defer tool.Close()
	l := newLabLMS(t)
	l.tools[0].LoginURL, l.tools[0].RedirectURIs = tool.URL+"/login", []string{tool.URL + "/launch"}
	l.tools[0].Links = nil
	w := l.do(http.MethodPost, "/lab/run", url.Values{"tool": {"site"}, "case": {"aud-other"}})
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/lab/result/site/aud-other" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	for _, path := range []string{"/lab/result/site/aud-other", "/lab/result/site"} {
		body := l.get(path).Body.String()
		for _, want := range []string{"no authentication request", "Undecided", "&lt;script&gt;", "for tests only"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s does not say %q: %s", path, want, body)
			}
		}
		if strings.Contains(body, "<script") {
			t.Errorf("%s has a script", path)
		}
	}
	for _, path := range []string{"/lab/result/echo", "/lab/result/none", "/lab/result/site/none"} {
		if code := l.get(path).Code; code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
}

// The stranger's keys have the kid of the platform's, and count who asks.
func TestStranger(t *testing.T) {
	l := newLabLMS(t)
	address, asked := labPlatform{l.platform, &visit{issuer: testOrigin}}.Stranger()
	if address != testOrigin+"/lab/stranger" || asked() != 0 {
		t.Errorf("%s, asked %d times", address, asked())
	}
	key, err := l.state.signingKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/lab/stranger", "/lab/stranger/jwks"} {
		body := l.get(path).Body.String()
		if !strings.Contains(body, key.ID()) || body == l.get("/jwks").Body.String() {
			t.Errorf("%s: %s", path, body)
		}
	}
	if asked() != 2 {
		t.Errorf("asked %d times", asked())
	}
}

// Each flag, group and field is in the documentation.
func TestLabIsDocumented(t *testing.T) {
	read := func(name string) string {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if !strings.Contains(read("../docs/commands.md"), "`caddy lti lab URL`") {
		t.Error("docs/commands.md does not name the command")
	}
	guide := read("../docs/lab.md")
	labCommand().Flags().VisitAll(func(f *pflag.Flag) {
		if !strings.Contains(guide, "`--"+f.Name) {
			t.Errorf("docs/lab.md does not name --%s", f.Name)
		}
	})
	for _, g := range labGroups {
		if !strings.Contains(strings.Join(lab.Groups, " "), g.Name) {
			t.Errorf("the pages have a group %s", g.Name)
		}
	}
	if len(labGroups) != len(lab.Groups) {
		t.Error("the pages lack a group")
	}
}
