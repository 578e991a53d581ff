package lab_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/lab"
)

// pemOf is the public key as a file, which a confused tool takes for a secret.
func pemOf(jwk map[string]any) []byte {
	der, err := x509.MarshalPKIXPublicKey(publicKey(jwk))
	if err != nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// testPlatform publishes keys, well or badly.
type testPlatform struct {
	t     *testing.T
	srv   *httptest.Server
	asked atomic.Int64

	mu    sync.Mutex
	keys  []lab.Key
	fault string
}

var keyPool = sync.OnceValue(func() []*rsa.PrivateKey {
	var keys []*rsa.PrivateKey
	for range 2 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys = append(keys, key)
	}
	return keys
})

func newTestPlatform(t *testing.T) *testPlatform {
	t.Helper()
	p := &testPlatform{t: t, keys: []lab.Key{{ID: "first", Private: keyPool()[0]}}}
	mux := http.NewServeMux()
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		fault, keys := p.fault, slices.Clone(p.keys)
		p.mu.Unlock()
		var set []any
		for _, key := range keys {
			set = append(set, key.JWK())
		}
		doc, err := json.Marshal(map[string]any{"keys": set})
		if err != nil {
			t.Error(err)
		}
		switch fault {
		case "500":
			w.WriteHeader(http.StatusInternalServerError)
		case "truncated":
			doc = doc[:len(doc)/2]
		case "redirect":
			http.Redirect(w, r, "https://elsewhere.invalid/", http.StatusFound)
			return
		case "hang":
			<-r.Context().Done()
			return
		}
		_, _ = w.Write(doc)
	})
	mux.HandleFunc("/stranger/", func(w http.ResponseWriter, _ *http.Request) {
		p.asked.Add(1)
		doc, err := lab.StrangerKeys("stranger")
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(doc)
	})
	p.srv = httptest.NewServer(mux)
	t.Cleanup(p.srv.Close)
	return p
}

func (p *testPlatform) Key() (lab.Key, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[len(p.keys)-1], nil
}

func (p *testPlatform) Rotate() (func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = append(p.keys, lab.Key{ID: "second", Private: keyPool()[1]})
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		slices.Reverse(p.keys)
	}, nil
}

func (p *testPlatform) BreakKeys(fault string) (func(), error) {
	set := func(fault string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.fault = fault
	}
	set(fault)
	return func() { set("") }, nil
}

func (p *testPlatform) Stranger() (string, func() int) {
	return p.srv.URL + "/stranger", func() int { return int(p.asked.Load()) }
}

// runner is the laboratory for a test tool.
func runner(t *testing.T, p *testPlatform, tool *testTool) *lab.Runner {
	t.Helper()
	allow, err := httpx.ParseAllow("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	client := httpx.New(httpx.Config{AllowPrivate: []httpx.AllowRule{allow}})
	t.Cleanup(client.CloseIdle)
	return &lab.Runner{
		Tool: lab.Tool{
			Name: "test", Issuer: p.srv.URL, ClientID: toolClient, Deployment: "1", AuthURL: p.srv.URL + "/auth",
			LoginURL: tool.srv.URL + "/login", RedirectURIs: []string{tool.srv.URL + "/launch"}, Target: tool.srv.URL + "/quiz",
		},
		Platform: p, Client: client, Now: time.Now, Timeout: 5 * time.Second, Patience: time.Millisecond,
	}
}

// wrongs lists the cases in which the tool did wrong.
func wrongs(report *lab.Report) []string {
	var names []string
	for _, res := range report.Results {
		if res.Verdict == lab.Wrong {
			names = append(names, res.Case)
		}
	}
	return names
}

func describe(t *testing.T, report *lab.Report) {
	t.Helper()
	for _, res := range report.Results {
		if res.Verdict != lab.Right {
			t.Logf("%s: %s, expected %s, got %s: %s", res.Verdict, res.Case, res.Want, res.Got, res.Why)
		}
	}
}

// A tool that does right is found to.
func TestGoodTool(t *testing.T) {
	for _, pleasant := range []bool{false, true} {
		p := newTestPlatform(t)
		tool := newTestTool(t, p, "")
		tool.pleasant = pleasant
		report := runner(t, p, tool).Run(t.Context(), lab.Catalogue())
		describe(t, report)
		if report.Problem != "" || report.ExitStatus() != 0 || report.Right != len(lab.Catalogue()) {
			t.Errorf("refusals with status 200 %v: %q, %d right of %d, exit status %d",
				pleasant, report.Problem, report.Right, len(lab.Catalogue()), report.ExitStatus())
		}
		for _, res := range report.Results {
			if len(res.Steps) == 0 || res.Why == "" || res.Reference == "" || res.Description == "" {
				t.Errorf("%s says too little: %+v", res.Case, res)
			}
		}
	}
}

// Each check that a tool leaves out is found, and nothing else.
func TestBrokenTool(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ without, finds string }{
		{"signature", "^(alg-|kid-|jk|jwk-|x5u-|token-|cert-0[12]|keys-(fail|break|lead|never))"},
		{"alg none", "^alg-none"},
		{"alg HS256", "^alg-hs256-pem$"},
		{"kid", "^cert-01-no-kid$"},
		{"jku", "^jku-"},
		{"jwk", "^jwk-"},
		{"crit", "^crit-exp$"},
		{"new keys", "^keys-rotated$"},
		{"iss", "^iss-"},
		{"aud", "^(aud-other|aud-missing|aud-empty-list|aud-list-of-others)$"},
		{"strangers in aud", "^aud-with-stranger$"},
		{"azp", "^azp-other$"},
		{"exp", "^exp-missing$"},
		{"iat", "^(iat-missing|cert-07-timestamps-in-future)$"},
		{"nonce", "^(nonce-|state-of-other-login$)"},
		{"state", "^state-(missing|made-up)$"},
		{"state cookie", "^(csrf-|state-of-other-browser|replay-other-browser)"},
		{"one use", "^replay-"},
		{"duplicate fields", "^form-state-twice-different$"},
		{"fields in the form", "^form-in-query$"},
		{"version", "^(cert-0[34]|version-)"},
		{"message_type", "^(cert-08|message-type-)"},
		{"deployment_id", "^(cert-10|deployment-empty)"},
		{"resource_link", "^(cert-11|resource-link-)"},
		{"roles", "^(cert-09|roles-null)"},
		{"sub", "^cert-12"},
		{"target", "^target-missing$"},
		{"target's origin", "^target-"},
		{"iss at login", "^login-(no-iss|unknown-iss|iss-with-slash)$"},
		{"login_hint", "^login-no-hint$"},
		{"only known roles", "^(cert-(teacher|student)-[345]|roles-deprecated)"},
		{"e-mail wanted", "^(cert-(teacher|student)-[78]|optional-absent)"},
		{"context wanted", "^(cert-(teacher|student)-9|optional-absent)"},
	} {
		t.Run(tt.without, func(t *testing.T) {
			t.Parallel()
			p := newTestPlatform(t)
			report := runner(t, p, newTestTool(t, p, tt.without)).Run(t.Context(), lab.Catalogue())
			found := wrongs(report)
			if len(found) == 0 || report.ExitStatus() != 1 || report.Unsure > 0 {
				t.Errorf("found %v, %d undecided, exit status %d, %s", found, report.Unsure, report.ExitStatus(), report.Problem)
			}
			for _, name := range found {
				if !regexp.MustCompile(tt.finds).MatchString(name) {
					t.Errorf("%s was found, too", name)
				}
			}
			if t.Failed() {
				describe(t, report)
			}
		})
	}
}

// A tool that hangs, leads in circles or answers garbage is said to, and the
// laboratory comes to an end.
func TestUselessTool(t *testing.T) {
	t.Parallel()
	endless := strings.Repeat("garbage ", 1<<18)
	launch := func(f http.HandlerFunc) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/launch" {
				return false
			}
			f(w, r)
			return true
		}
	}
	all := func(f http.HandlerFunc) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool { f(w, r); return true }
	}
	hang := func(_ http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // until it is read the server does not see that the client leaves
		<-r.Context().Done()
	}
	circle := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusSeeOther) }
	garbage := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("\xff\xfe\x00<<<")) }
	for _, tt := range []struct {
		name    string
		deviant func(w http.ResponseWriter, r *http.Request) bool
		says    string
	}{
		{"login hangs", all(hang), "did not answer within 300ms"},
		{"launch hangs", launch(hang), "did not answer within 300ms"},
		{"login leads in circles", all(circle), "more than 10 times"},
		{"launch leads in circles", launch(circle), "more than 10 times"},
		{"login is garbage", all(garbage), "no authentication request"},
		{"launch is garbage", launch(garbage), "cannot be told apart"},
		{"endless", all(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(endless)) }), "larger than"},
		{"no HTTP", all(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte("220 smtp\r\n\r\n"))
				_ = conn.Close()
			}
		}), "no answer that can be read"},
		{"leads elsewhere", all(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/", http.StatusFound)
		}), "leads to evil.example"},
		{"redirect to nowhere", launch(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://[::1")
			w.WriteHeader(http.StatusFound)
		}), "no URL"},
		{"launch fails", launch(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }), "status 502"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newTestPlatform(t)
			tool := newTestTool(t, p, "")
			tool.deviant = tt.deviant
			r := runner(t, p, tool)
			if strings.HasSuffix(tt.name, "hangs") {
				r.Timeout = 300 * time.Millisecond
			}
			report := r.Run(t.Context(), lab.Catalogue())
			if !strings.Contains(report.Problem, tt.says) || report.ExitStatus() != 2 || report.Unsure != len(lab.Catalogue()) || len(report.Steps) == 0 {
				t.Errorf("says %q, exit status %d, %d undecided", report.Problem, report.ExitStatus(), report.Unsure)
			}
		})
	}
}

// One message that a tool cannot bear does not end a run.
func TestGoesOn(t *testing.T) {
	p := newTestPlatform(t)
	tool := newTestTool(t, p, "")
	tool.deviant = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/launch" || r.FormValue("id_token") != "hello" {
			return false
		}
		<-r.Context().Done()
		return true
	}
	r := runner(t, p, tool)
	r.Timeout = 3 * time.Second
	cases := slices.DeleteFunc(lab.Catalogue(), func(c *lab.Case) bool { return c.Group != lab.GroupPayloads })
	report := r.Run(t.Context(), cases)
	if report.Unsure != 1 || report.Wrong != 0 || report.Right != len(cases)-1 || report.ExitStatus() != 2 {
		describe(t, report)
		t.Errorf("%d right, %d wrong, %d undecided", report.Right, report.Wrong, report.Unsure)
	}
	for _, res := range report.Results {
		if res.Case == "token-not-a-token" && (res.Verdict != lab.Undecided || !strings.Contains(res.Why, "did not answer")) {
			t.Errorf("of the message that hangs it says %s: %s", res.Verdict, res.Why)
		}
	}
}

// A refusal proves nothing where good launches have stopped getting in.
func TestToolThatBreaksDown(t *testing.T) {
	p := newTestPlatform(t)
	tool := newTestTool(t, p, "")
	var broken atomic.Bool
	tool.deviant = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/launch" && r.FormValue("id_token") == "hello" {
			broken.Store(true)
		}
		if broken.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return broken.Load()
	}
	cases := slices.DeleteFunc(lab.Catalogue(), func(c *lab.Case) bool { return c.Name != "token-not-a-token" && c.Name != "aud-list" })
	report := runner(t, p, tool).Run(t.Context(), cases)
	if report.Right != 1 || report.Unsure != 1 {
		describe(t, report)
		t.Errorf("%d right, %d wrong, %d undecided", report.Right, report.Wrong, report.Unsure)
	}
}

// A marker tells pages apart that look alike.
func TestMarker(t *testing.T) {
	p := newTestPlatform(t)
	tool := newTestTool(t, p, "nonce")
	tool.pleasant = true
	r := runner(t, p, tool)
	r.Tool.Marker = "Welcome"
	if found := wrongs(r.Run(t.Context(), lab.Catalogue())); !slices.Contains(found, "nonce-made-up") || slices.Contains(found, "aud-other") {
		t.Errorf("found %v", found)
	}
	r.Tool.Marker = "Something else"
	if report := r.Run(t.Context(), lab.Catalogue()); !strings.Contains(report.Problem, "marker") {
		t.Errorf("with a marker that is nowhere: %q", report.Problem)
	}
}
