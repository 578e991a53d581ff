package dynreg_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/dynreg"
	"github.com/caddy-lti/lti/internal/httpx"
)

var _ dynreg.Client = (*httpx.Client)(nil)

const (
	lineItem = "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem"
	score    = "https://purl.imsglobal.org/spec/lti-ags/scope/score"
	roster   = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"
	outcome  = "https://purl.imsglobal.org/spec/lti-bo/scope/basicoutcome"

	toolMember     = "https://purl.imsglobal.org/spec/lti-tool-configuration"
	platformMember = "https://purl.imsglobal.org/spec/lti-platform-configuration"

	token = "t0k.en-S3CRET_value"
)

// quiz is a tool with all that a site may have.
func quiz() *dynreg.Tool {
	return &dynreg.Tool{
		Name: "Quiz", Description: "Quizzes", LoginURL: "https://tool.test:9444/lti/login",
		RedirectURLs: []string{"https://tool.test:9444/lti/launch"}, JWKSURL: "https://tool.test:9444/lti/jwks.json",
		TargetURL: "https://tool.test:9444/", LogoURL: "https://tool.test:9444/logo.png", Contacts: []string{"lti@tool.test"},
		Messages: []dynreg.Message{
			{Type: "LtiResourceLinkRequest"},
			{Type: "LtiDeepLinkingRequest", TargetURL: "https://tool.test:9444/lti/launch", Label: "Pick a quiz"},
		},
		Scopes: []string{lineItem, score, roster}, Claims: []string{"name", "given_name", "family_name", "email"},
		CustomParameters: map[string]string{"course": "$Context.id"},
	}
}

// serve starts a platform and a client that may talk to it.
func serve(t *testing.T, cfg httpx.Config, h http.HandlerFunc) (string, *httpx.Client) {
	t.Helper()
	srv := httptest.NewServer(h)
	rule, err := httpx.ParseAllow(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cfg.AllowPrivate = append(cfg.AllowPrivate, rule)
	client := httpx.New(cfg)
	t.Cleanup(func() {
		client.CloseIdle()
		srv.Close()
	})
	return srv.URL, client
}

// minimal is the least that a platform's configuration can have.
func minimal(site string) map[string]any {
	return map[string]any{
		"issuer": site, "authorization_endpoint": site + "/auth", "token_endpoint": site + "/token",
		"jwks_uri": site + "/jwks", "registration_endpoint": site + "/register",
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func load(t testing.TB, file string, v any) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

// fails checks an error: what it says, whose it is, and that it keeps secrets.
func fails(t *testing.T, err error, says string, whose dynreg.Party, retry bool) *dynreg.Error {
	t.Helper()
	e, ok := errors.AsType[*dynreg.Error](err)
	if !ok {
		t.Fatalf("error %v (%T), want a *dynreg.Error", err, err)
	}
	if !strings.Contains(e.Error(), says) {
		t.Errorf("error %q, want it to say %q", e, says)
	}
	if e.Whose != whose || e.Retry != retry {
		t.Errorf("%q is the %s's to mend, retry %t; want the %s's, %t", e, e.Whose, e.Retry, whose, retry)
	}
	if all := fmt.Sprint(e, e.Words, e.Members, e.Err); strings.Contains(all, "S3CRET") {
		t.Errorf("error %q holds a secret", all)
	}
	return e
}

// moodle is what was recorded of a Moodle 4.5.6.
type moodle struct {
	Configuration json.RawMessage `json:"openid_configuration"`
	Request       dynreg.Request
	Response      json.RawMessage
	Refusals      map[string]struct {
		Status int
		Body   string
	}
}

const moodleSite = "https://moodle.localhost:8443"

// TestMoodle registers with a server that answers what Moodle answered.
func TestMoodle(t *testing.T) {
	var rec moodle
	load(t, "moodle.json", &rec)
	used := false
	var site string
	site, client := serve(t, httpx.Config{}, func(w http.ResponseWriter, r *http.Request) {
		refuse := func(name string) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(rec.Refusals[name].Status)
			io.WriteString(w, rec.Refusals[name].Body)
		}
		switch r.Method + r.URL.Path {
		case "GET/mod/lti/openid-configuration.php":
			io.WriteString(w, strings.ReplaceAll(string(rec.Configuration), moodleSite, site))
		case "POST/mod/lti/openid-registration.php":
			var req map[string]any
			body, _ := io.ReadAll(r.Body)
			if err := json.Unmarshal(body, &req); err != nil {
				t.Error(err)
			}
			tool, _ := req[toolMember].(map[string]any)
			switch {
			case r.Header.Get("Authorization") == "":
				refuse("no token")
			case used:
				refuse("sameTokenAgain")
			case r.Header.Get("Content-Type") != "application/json" || req["client_name"] == nil:
				refuse("no client_name")
			case tool["domain"] != "tool.test:9444":
				refuse("domain without port")
			default:
				used = true
				w.Write(rec.Response)
			}
		default:
			t.Errorf("unexpected %s %s", r.Method, r.URL)
		}
	})

	cfg, err := dynreg.Discover(t.Context(), client, site+"/mod/lti/openid-configuration.php", token)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Issuer != site || cfg.JWKSURI != site+"/mod/lti/certs.php" || cfg.AuthorizationEndpoint != site+"/mod/lti/auth.php" ||
		cfg.TokenEndpoint != site+"/mod/lti/token.php" || cfg.RegistrationEndpoint != site+"/mod/lti/openid-registration.php" {
		t.Errorf("endpoints of %+v", cfg)
	}
	if cfg.Product != "moodle" || cfg.Version != "4.5.6 (Build: 20250811)" || len(cfg.Scopes) != 8 || len(cfg.Claims) != 6 || len(cfg.Variables) != 40 {
		t.Errorf("configuration %+v", cfg)
	}
	if g := cfg.Guess(); g.Preset != "moodle" || g.Scope != "client" || cfg.TokenAudience() != "" || cfg.KeysURL("x") != cfg.JWKSURI {
		t.Errorf("guess %+v, audience %q, keys %q", g, cfg.TokenAudience(), cfg.KeysURL("x"))
	}

	tool := quiz()
	tool.Scopes = append(tool.Scopes, outcome)
	req, err := dynreg.NewRequest(cfg, tool)
	if err != nil || req.Notes != nil {
		t.Fatal(err, req)
	}
	_, err = dynreg.Register(t.Context(), client, cfg, "", req)
	e := fails(t, err, "start again in the platform", dynreg.PlatformAdmin, false)
	if e.Status != 401 || e.Words != "missing_registration_token" {
		t.Errorf("without a token: %d %q", e.Status, e.Words)
	}
	bare := *req
	bare.Tool.Domain = "tool.test"
	_, err = dynreg.Register(t.Context(), client, cfg, token, &bare)
	fails(t, err, `refused the registration (400, its words: "domain_targetlinkuri_mismatch")`, dynreg.ToolAdmin, false)

	res, err := dynreg.Register(t.Context(), client, cfg, token, req)
	if err != nil {
		t.Fatal(err)
	}
	if res.ClientID != "sqMlqn0go8XeXFu" || !slices.Equal(res.Deployments, []string{"14"}) || res.ManagementURI != "" {
		t.Errorf("result %+v", res)
	}
	// The recorded answer is to another tool.
	if !slices.Contains(res.Changes, dynreg.Note{Member: "scope", Text: "the platform leaves out " + outcome}) || slices.Contains(res.Scopes, outcome) {
		t.Errorf("scopes %q, changes %v", res.Scopes, res.Changes)
	}
	_, err = dynreg.Register(t.Context(), client, cfg, token, req)
	fails(t, err, `token_already_used`, dynreg.PlatformAdmin, false)

	// To its own request Moodle's answer changes nothing but that scope.
	res, err = dynreg.ParseResult(rec.Response, &rec.Request)
	if err != nil || len(res.Changes) != 1 || res.Changes[0].String() != "scope: the platform leaves out "+outcome {
		t.Errorf("changes %v, %v", res.Changes, err)
	}
}

// TestDiscoverSends shows what is asked of a platform: the URL as it came, once.
func TestDiscoverSends(t *testing.T) {
	for _, tok := range []string{"", token} {
		var asked []string
		var site string
		site, client := serve(t, httpx.Config{}, func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.Method+" "+r.URL.String()+" "+r.Header.Get("Accept")+" "+r.Header.Get("Authorization"))
			w.Write(encode(t, minimal(site)))
		})
		if _, err := dynreg.Discover(t.Context(), client, site+"/c?registration_token=a%2Fb&x", tok); err != nil {
			t.Fatal(err)
		}
		want := "GET /c?registration_token=a%2Fb&x application/json "
		if tok != "" {
			want += "Bearer " + tok
		}
		if !slices.Equal(asked, []string{want}) {
			t.Errorf("asked %q, want %q", asked, want)
		}
	}
}

// TestDiscoverFollowsNoRedirect: an open redirect of an issuer's host must not let
// a stranger speak for it.
func TestDiscoverFollowsNoRedirect(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		var site string
		site, client := serve(t, httpx.Config{}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/open" {
				t.Errorf("%d was followed to %s", status, r.URL.Path)
			}
			w.Header().Set("Location", site+"/upload.json")
			w.WriteHeader(status)
		})
		_, err := dynreg.Discover(t.Context(), client, site+"/open", token)
		fails(t, err, "redirects to another address", dynreg.PlatformAdmin, false)

		cfg := &dynreg.Configuration{RegistrationEndpoint: site + "/open"}
		_, err = dynreg.Register(t.Context(), client, cfg, token, &dynreg.Request{})
		fails(t, err, "redirects to another address", dynreg.PlatformAdmin, false)
	}
}

func TestDiscoverRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, url, token string
		says             string
	}{
		{"nothing", "", "", "openid_configuration is no address"},
		{"http", "http://lms.example/c", "", "https is required"},
		{"another scheme", "file:///etc/passwd", "", "https is required"},
		{"a fragment", "https://lms.example/c#x", "", "fragment"},
		{"a user", "https://S3CRET@lms.example/c", "", "must not contain a user"},
		{"a relative one", "/c", "", "not absolute"},
		{"a space", "https://lms.example/a b", "", "a space or another character"},
		{"a line break", "https://lms.example/c\r\nX: y", "", "a space or another character"},
		{"very long", "https://lms.example/" + strings.Repeat("c", 3000), "", "longer than any address"},
		{"token with a line break", "https://lms.example/c", "S3CRET\r\nX: y", "registration_token"},
		{"token that is long", "https://lms.example/c", strings.Repeat("S3CRET", 3000), "registration_token"},
	} {
		_, err := dynreg.Discover(t.Context(), httpx.New(httpx.Config{}), tc.url, tc.token)
		e := fails(t, err, tc.says, dynreg.PlatformAdmin, false)
		if len(e.Members) != 1 {
			t.Errorf("%s: members %v, want one", tc.name, e.Members)
		}
	}
	_, err := dynreg.Discover(t.Context(), httpx.New(httpx.Config{}), "https://10.0.0.1/c?t=S3CRETS3CRET", token)
	fails(t, err, "allow_private 10.0.0.1:443", dynreg.ToolAdmin, false)
	_, err = dynreg.Discover(t.Context(), httpx.New(httpx.Config{}), "http://localhost:1/c", token)
	fails(t, err, "127.0.0.1", dynreg.ToolAdmin, false)
}

// answers are what goes wrong with an answer, the same for both requests.
var answers = []struct {
	name   string
	status int
	body   string
	says   string // of the words
	whose  dynreg.Party
	retry  bool
}{
	{"OAuth's form", 400, `{"error":"invalid_redirect_uri","error_description":"Not on the list"}`, "invalid_redirect_uri: Not on the list", "", false},
	{"a code alone", 400, `{"error":"invalid_client_metadata"}`, "invalid_client_metadata", "", false},
	{"a description alone", 400, `{"error_description":"No"}`, "No", "", false},
	{"Canvas's list", 422, `{"errors":{"scopes":[{"attribute":"scopes","message":"Invalid scopes: x"}],"jwks_uri":[{"message":"is invalid"}]}}`, "is invalid; Invalid scopes: x", "", false},
	{"Canvas's other form", 401, `{"errorMessage":"JWT did not include expected contents"}`, "JWT did not include expected contents", dynreg.PlatformAdmin, false},
	{"plain text", 400, " missing required attribute jwks_uri\n", "missing required attribute jwks_uri", "", false},
	{"a page", 404, "<html><head><title>x</title></head><body><script>alert(1)</script><p>Can't find&nbsp;<b>it</b></p><!-- c --></body>", "Can't find&nbsp; it", dynreg.PlatformAdmin, false},
	{"nothing", 400, "", "", "", false},
	{"control characters", 400, "a\x00\x1b[31mb\u202ec\r\nd\xff", "a [31mbc d�", "", false},
	{"the token, repeated", 400, `{"error":"bad token ` + token + `, ` + token + `"}`, "bad token …, …", "", false},
	{"the token of the address", 403, "q=queryS3CRET", "q=…", dynreg.PlatformAdmin, false},
	{"very much", 400, strings.Repeat("é", 5000), strings.Repeat("é", 300) + "…", "", false},
	{"nested without end", 400, strings.Repeat(`{"error":`, 50) + `"x"` + strings.Repeat("}", 50), "", "", false},
	{"trouble", 503, "down", "down", dynreg.PlatformAdmin, true},
	{"too many", 429, "", "", dynreg.PlatformAdmin, true},
}

func TestAnswers(t *testing.T) {
	for _, tc := range answers {
		t.Run(tc.name, func(t *testing.T) {
			site, client := serve(t, httpx.Config{}, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				io.WriteString(w, tc.body)
			})
			who := func(other dynreg.Party) dynreg.Party {
				if tc.whose != "" {
					return tc.whose
				}
				return other
			}
			_, err := dynreg.Discover(t.Context(), client, site+"/c?t=queryS3CRET", token)
			e := fails(t, err, "read the platform's configuration: ", who(dynreg.PlatformAdmin), tc.retry)
			if e.Status != tc.status || e.Words != tc.says {
				t.Errorf("Discover: %d %q, want %d %q", e.Status, e.Words, tc.status, tc.says)
			}
			cfg := &dynreg.Configuration{RegistrationEndpoint: site + "/r?registrationToken=queryS3CRET"}
			_, err = dynreg.Register(t.Context(), client, cfg, token, &dynreg.Request{})
			e = fails(t, err, "register: ", who(dynreg.ToolAdmin), tc.retry)
			if e.Status != tc.status || e.Words != tc.says {
				t.Errorf("Register: %d %q, want %d %q", e.Status, e.Words, tc.status, tc.says)
			}
		})
	}
}

// TestBrokenOff: the administrator closed the window.
func TestBrokenOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	site, client := serve(t, httpx.Config{}, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	cfg := &dynreg.Configuration{RegistrationEndpoint: site}
	_, err := dynreg.Register(ctx, client, cfg, token, &dynreg.Request{})
	fails(t, err, "was broken off; look whether", dynreg.Nobody, false)
}

// TestLimits: what a platform sends, and how slowly, is its own choice.
func TestLimits(t *testing.T) {
	const gigabytes = 2 << 30
	for _, tc := range []struct {
		name  string
		serve func(w http.ResponseWriter, r *http.Request, sent *atomic.Int64)
		says  string
		retry bool
		limit time.Duration
	}{
		{"two gigabytes", func(w http.ResponseWriter, _ *http.Request, sent *atomic.Int64) {
			io.WriteString(w, `{"client_id":"`)
			chunk := []byte(strings.Repeat("a", 64<<10))
			for sent.Load() < gigabytes {
				n, err := w.Write(chunk)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		}, "too large", false, 0},
		{"never an answer", func(_ http.ResponseWriter, r *http.Request, _ *atomic.Int64) {
			<-r.Context().Done()
		}, "did not answer in time", true, 100 * time.Millisecond},
		{"never the end of it", func(w http.ResponseWriter, r *http.Request, _ *atomic.Int64) {
			io.WriteString(w, `{"client_id":`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "did not answer in time", true, 100 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var sent atomic.Int64
			site, client := serve(t, httpx.Config{Timeout: tc.limit}, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body) // or the server does not notice that the client is gone
				tc.serve(w, r, &sent)
			})
			_, err := dynreg.Discover(t.Context(), client, site+"/c?t=queryS3CRET", token)
			fails(t, err, tc.says, dynreg.PlatformAdmin, tc.retry)
			cfg := &dynreg.Configuration{RegistrationEndpoint: site + "/r?t=queryS3CRET"}
			_, err = dynreg.Register(t.Context(), client, cfg, token, &dynreg.Request{})
			e := fails(t, err, "look whether the platform has the tool already", dynreg.PlatformAdmin, tc.retry)
			if !strings.Contains(e.Hint, tc.says) {
				t.Errorf("hint %q, want %q", e.Hint, tc.says)
			}
			if sent.Load() > gigabytes/16 {
				t.Errorf("%d bytes were read", sent.Load())
			}
		})
	}
}
