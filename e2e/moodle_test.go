package e2e

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// moodleMessage is what a Moodle 4.5 sent: the form of the login initiation,
// field by field, and the message. Where the signed token was not kept, there
// are the claims. What the tokens are worth as they are, is tested in package
// lti.
type moodleMessage struct {
	Login        [][2]string       `json:"login"`
	LoginHeaders map[string]string `json:"login_headers"`
	IDToken      string            `json:"id_token"`
	Claims       map[string]any    `json:"claims"`
}

func readMoodle(tb testing.TB, name string) *moodleMessage {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "moodle", name+".json"))
	if err != nil {
		tb.Fatal(err)
	}
	m := new(moodleMessage)
	if err := json.Unmarshal(data, m); err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	if m.Claims == nil {
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(m.IDToken, ".")[1])
		if err != nil {
			tb.Fatalf("%s: %v", name, err)
		}
		if err := json.Unmarshal(payload, &m.Claims); err != nil {
			tb.Fatalf("%s: %v", name, err)
		}
	}
	return m
}

// moodleTool is a site that a Moodle launches, whose key is ours.
func moodleTool(tb testing.TB) (*tool, *recordingApp) {
	tb.Helper()
	app := newRecordingApp(tb)
	p := ltitest.NewPlatform(tb)
	p.Issuer, p.ClientID, p.Deployment = "https://moodle.localhost:8443", "S3plmL0dr9eQWnO", "13"
	p.Key.ID = "bf3ec982c73ac1e71ce0"
	p.ServeKeys(ltitest.With(p.Key.JWK(), map[string]any{"alg": "RS256", "use": "sig"}))
	c := startCaddy(tb, global(ltiGlobal)+`http://tool.localhost:$PORT {
	lti {
		headers full
		platform moodle {
			issuer `+p.Issuer+`
			preset moodle
			client_id `+p.ClientID+`
			deployment `+p.Deployment+`
			jwks_url `+p.JWKSURL()+`
		}
	}
	reverse_proxy `+app.addr+`
}
`)
	return &tool{caddy: c, host: "tool.localhost", base: "/lti", platform: p}, app
}

// launchMoodle sends the recorded message through a browser, with this login's
// nonce, the time of now and the address of this tool, and claims that differ by
// diff.
func launchMoodle(t *testing.T, tl *tool, b *browser, m *moodleMessage, diff map[string]any, header ...string) *answer {
	t.Helper()
	var sent params
	for _, field := range m.Login {
		if field[0] == "target_link_uri" {
			field[1] = tl.url("/")
		}
		sent = append(sent, field)
	}
	var headers []string
	for name, val := range m.LoginHeaders {
		headers = append(headers, name, val)
	}
	res := b.passProbe(b.post(tl.url("/lti/login"), sent.encode(), headers...))
	loc, err := res.Location()
	if res.StatusCode != http.StatusFound || err != nil {
		t.Fatalf("login: %d %s", res.StatusCode, res.body)
	}
	if got, want := loc.Scheme+"://"+loc.Host+loc.Path, "https://moodle.localhost:8443/mod/lti/auth.php"; got != want {
		t.Errorf("the authentication request goes to %s, expected %s", got, want)
	}
	auth := loc.Query()
	// Moodle answers 404 to any other scope, response type or redirect_uri, and
	// to a hint that is not the one it gave.
	for name, want := range map[string]string{
		"scope": "openid", "response_type": "id_token", "response_mode": "form_post", "prompt": "none",
		"client_id": "S3plmL0dr9eQWnO", "redirect_uri": tl.url("/lti/launch"),
		"login_hint": sent.get("login_hint"), "lti_message_hint": sent.get("lti_message_hint"),
	} {
		if got := auth[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, expected %q", name, got, want)
		}
	}
	now := time.Now().Unix()
	claims := ltitest.With(m.Claims, map[string]any{
		"nonce": auth.Get("nonce"), "iat": now, "exp": now + 60, ltitest.Claim("target_link_uri"): tl.url("/"),
	})
	token := tl.platform.Token(ltitest.With(claims, diff))
	form := url.Values{"id_token": {token}, "state": {auth.Get("state")}}
	return b.post(tl.url("/lti/launch"), form.Encode(), append(headers, header...)...)
}

func (p params) get(name string) string {
	for _, kv := range p {
		if kv[0] == name {
			return kv[1]
		}
	}
	return ""
}

func TestMoodleLaunches(t *testing.T) {
	const (
		membership  = "http://purl.imsglobal.org/vocab/lis/v2/membership#"
		institution = "http://purl.imsglobal.org/vocab/lis/v2/institution/person#"
		system      = "http://purl.imsglobal.org/vocab/lis/v2/system/person#"
	)
	tl, app := moodleTool(t)
	common := map[string]string{
		"X-LTI-Platform": "moodle", "X-LTI-Issuer": "https://moodle.localhost:8443",
		"X-LTI-Client-Id": "S3plmL0dr9eQWnO", "X-LTI-Deployment-Id": "13", "X-LTI-Message-Type": "LtiResourceLinkRequest",
		"X-LTI-Context-Id": "2", "X-LTI-Context-Label": "LTI101", "X-LTI-Context-Title": "LTI & Testing 101",
		"X-LTI-Locale": "en", "X-LTI-Dropped": "",
		"X-LTI-Custom-Fixed": "a value", "X-LTI-Custom-Ctx": "2", "X-LTI-Custom-Hist": "", "X-LTI-Custom-Mixed-Case": "x",
		"X-LTI-Custom-System-Setting-Url": "https://moodle.localhost:8443/mod/lti/services.php/tool/13/custom",
	}
	tests := []struct {
		name    string
		diff    map[string]any
		headers map[string]string // empty: must not be there
	}{
		{"student", nil, map[string]string{
			"Remote-User": "5@moodle", "Remote-Name": "Zo%C3%AB %C5%81ukasiewicz-%E5%B1%B1%E7%94%B0", "Remote-Email": "student2@moodle.test",
			"Remote-Groups": "Learner", "X-LTI-User-Id": "5", "X-LTI-Roles": membership + "Learner",
			"X-LTI-Resource-Link-Id": "34", "X-LTI-Resource-Link-Title": "Capture & link",
			"X-LTI-Return-Url":   "https://moodle.localhost:8443/mod/lti/return.php?course=2&launch_container=2&instanceid=34&sesskey=LCPVFbn3TI",
			"X-LTI-Custom-Roles": "Learner", "X-LTI-Custom-Uname": "student2", "X-LTI-Custom-Perlink": "yes",
		}},
		{"teacher", nil, map[string]string{
			"Remote-User": "3@moodle", "Remote-Name": "Grace Hopper", "Remote-Email": "teacher@moodle.test",
			"Remote-Groups": "Instructor", "X-LTI-Roles": membership + "Instructor", "X-LTI-Resource-Link-Id": "34",
		}},
		{"admin", nil, map[string]string{
			"Remote-User": "2@moodle", "Remote-Name": "Admin User",
			"Remote-Groups": "Instructor,institution:Administrator,system:Administrator",
			"X-LTI-Roles":   membership + "Instructor " + institution + "Administrator " + system + "Administrator",
		}},
		{"new-window", nil, map[string]string{
			"Remote-User": "5@moodle", "X-LTI-Resource-Link-Id": "35", "X-LTI-Resource-Link-Title": "Capture ungraded",
			"X-LTI-Return-Url": "https://moodle.localhost:8443/mod/lti/return.php?course=2&launch_container=4&instanceid=35&sesskey=LCPVFbn3TI",
		}},
		// A name that an administrator wrote with capitals comes twice.
		{"student", map[string]any{ltitest.Claim("custom"): map[string]any{"mixed_case": "lower", "Mixed_Case": "upper", "fixed": "a value", "ctx": "2", "hist": nil, "system_setting_url": common["X-LTI-Custom-System-Setting-Url"]}}, map[string]string{
			"X-LTI-Custom-Mixed-Case": "lower", "X-LTI-Custom-Perlink": "",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBrowser(t)
			res := launchMoodle(t, tl, b, readMoodle(t, tt.name), tt.diff)
			if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != tl.url("/") {
				t.Fatalf("got %d to %q: %s", res.StatusCode, res.Header.Get("Location"), res.body)
			}
			if res := b.get(tl.url("/"), "X-LTI-Custom-Fixed", "spoofed", "Remote-User", "admin"); res.StatusCode != http.StatusOK {
				t.Fatalf("the page: %d %s", res.StatusCode, res.body)
			}
			_, got := app.seen(tl.host)
			for _, want := range []map[string]string{common, tt.headers} {
				for name, val := range want {
					if own, ok := tt.headers[name]; ok {
						val = own
					}
					switch vals := got.Values(name); {
					case val == "" && len(vals) > 0:
						t.Errorf("%s is %q, expected none", name, vals)
					case val != "" && (len(vals) != 1 || vals[0] != val):
						t.Errorf("%s is %q, expected %q", name, vals, val)
					}
				}
			}
		})
	}
	t.Run("log", func(t *testing.T) {
		// The return URL holds the person's session key.
		for _, secret := range []string{"sesskey", "student2", "Łukasiewicz", "Grace", "moodle.test"} {
			for line := range strings.Lines(tl.log.String()) {
				if strings.Contains(line, `"logger":"http.handlers.lti`) && strings.Contains(line, secret) {
					t.Errorf("the log tells %s: %s", secret, line)
				}
			}
		}
	})
}

// TestMoodleDeepLinking sends the request of a tool without anything to choose.
func TestMoodleDeepLinking(t *testing.T) {
	tl, app := moodleTool(t)
	b := newBrowser(t)
	res := launchMoodle(t, tl, b, readMoodle(t, "deep-linking"), nil, "Accept", "application/json", "Sec-Fetch-Mode", "cors")
	if code, _ := readRefusal(t, res, false); res.StatusCode != http.StatusBadRequest || code != "message_type_unwanted" {
		t.Errorf("got %d %s", res.StatusCode, code)
	}
	if n, _ := app.seen(tl.host); n != 0 || b.cookie(tl.host, "__Host-lti") != "" {
		t.Error("there is a session all the same")
	}
}
