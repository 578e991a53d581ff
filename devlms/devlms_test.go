package devlms

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

const (
	testOrigin = "http://lms.localhost:8080"
	// A URL that only survives careful handling: a query, and an é that is not
	// encoded, as Moodle sends it.
	testTarget = "http://site.localhost:8080/ch1.html?a=1&x=é"
)

func testTools() []*Tool {
	return []*Tool{
		{
			Name: "site", Title: "Static <course> & site", ClientID: "demo-site", Deployment: "1",
			LoginURL:     "http://site.localhost:8080/lti/login?keep=this&that=1",
			RedirectURIs: []string{"http://site.localhost:8080/lti/launch", "https://other.example/launch"},
			JWKSURL:      "http://site.localhost:8080/lti/jwks.json",
			Links: []*Link{
				{Title: `Chapter "1" <b>&`, TargetLinkURI: testTarget, Target: targetIframe},
				{Title: "Chapter 2", TargetLinkURI: "http://site.localhost:8080/ch2.html", Target: targetWindow},
			},
			Custom: map[string]string{"Mixed_Case": "x", "empty": "", "variable": "$User.id"},
		},
		{
			Name: "echo", Title: "Echo", ClientID: "demo-echo", Deployment: "2",
			LoginURL:     "http://echo.localhost:8080/lti/login",
			RedirectURIs: []string{"http://echo.localhost:8080/lti/launch"},
			Links:        []*Link{{Title: "山", TargetLinkURI: "http://echo.localhost:8080/", Target: targetIframe}},
		},
	}
}

// lms is a platform with a clock that tests can move.
type lms struct {
	*platform
	t   *testing.T
	at  time.Time
	who string
}

func newLMS(t *testing.T) *lms {
	t.Helper()
	l := &lms{t: t, at: time.Unix(1_800_000_000, 0), who: "u-2001"}
	l.platform = newPlatform("Localhost University", "", storageOff, testTools(), newState(), zap.NewNop())
	l.now = func() time.Time { return l.at }
	return l
}

// do sends a request as the chosen person; body makes it a form post.
func (l *lms) do(method, target string, body url.Values, change ...func(*http.Request)) *httptest.ResponseRecorder {
	l.t.Helper()
	var r *http.Request
	if body != nil {
		r = httptest.NewRequest(method, testOrigin+target, strings.NewReader(body.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		r = httptest.NewRequest(method, testOrigin+target, nil)
	}
	if l.who != "" {
		r.AddCookie(&http.Cookie{Name: userCookie, Value: l.who})
	}
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	if err := l.serve(w, r, strings.HasPrefix(r.URL.String(), "https:")); err != nil {
		l.t.Fatalf("%s %s: unexpected error: %v", method, target, err)
	}
	return w
}

func (l *lms) get(target string) *httptest.ResponseRecorder {
	l.t.Helper()
	return l.do(http.MethodGet, target, nil)
}

var (
	formTag  = regexp.MustCompile(`<form method="post" action="([^"]*)">`)
	inputTag = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// readPost returns where a self-sending page goes, and what it sends.
func readPost(t *testing.T, w *httptest.ResponseRecorder) (string, url.Values) {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("expected 200, got %d: %s", w.Code, w.Body)
	}
	form := formTag.FindStringSubmatch(w.Body.String())
	if form == nil {
		t.Fatalf("no form in %s", w.Body)
	}
	fields := make(url.Values)
	for _, in := range inputTag.FindAllStringSubmatch(w.Body.String(), -1) {
		fields.Add(html.UnescapeString(in[1]), html.UnescapeString(in[2]))
	}
	return html.UnescapeString(form[1]), fields
}

const (
	chapter1 = "/c-31/site.chapter-1-b"
	chapter2 = "/c-32/site.chapter-2"
)

// authRequest begins a launch and returns the good authentication request of
// the tool site.
func (l *lms) authRequest(activity string) url.Values {
	l.t.Helper()
	_, login := readPost(l.t, l.get("/initiate"+activity))
	return url.Values{
		"scope":            {"openid"},
		"response_type":    {"id_token"},
		"response_mode":    {"form_post"},
		"prompt":           {"none"},
		"client_id":        {"demo-site"},
		"redirect_uri":     {"http://site.localhost:8080/lti/launch"},
		"login_hint":       {login.Get("login_hint")},
		"lti_message_hint": {login.Get("lti_message_hint")},
		"state":            {`st"at<e>&`},
		"nonce":            {newNonce()},
	}
}

func newNonce() string { return rand.Text() }

func (l *lms) auth(params url.Values) *httptest.ResponseRecorder {
	l.t.Helper()
	return l.get("/auth?" + params.Encode())
}

// readToken verifies a token with the published key set and returns header and
// claims.
func (l *lms) readToken(token string) (header, claims map[string]any) {
	l.t.Helper()
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	w := l.get("/jwks")
	if ct := w.Header().Get("Content-Type"); ct != "application/json" {
		l.t.Errorf("content type of the key set: %s", ct)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || len(set.Keys) != 1 {
		l.t.Fatalf("key set %s: %v", w.Body, err)
	}
	key := set.Keys[0]
	decode := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			l.t.Fatalf("decoding %q: %v", s, err)
		}
		return b
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		l.t.Fatalf("no compact token: %q", token)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	pub := &rsa.PublicKey{N: new(big.Int).SetBytes(decode(key["n"])), E: int(new(big.Int).SetBytes(decode(key["e"])).Int64())}
	if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], decode(parts[2])); err != nil {
		l.t.Fatalf("signature: %v", err)
	}
	if err := json.Unmarshal(decode(parts[0]), &header); err != nil {
		l.t.Fatal(err)
	}
	if err := json.Unmarshal(decode(parts[1]), &claims); err != nil {
		l.t.Fatal(err)
	}
	if header["kid"] != key["kid"] || header["alg"] != "RS256" {
		l.t.Errorf("header %v does not name the key %v", header, key)
	}
	return header, claims
}
