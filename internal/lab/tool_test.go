package lab_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/lab"
)

// testTool is a small LTI tool that does right, but for one check, which may be
// left out.
type testTool struct {
	srv      *httptest.Server
	issuer   string
	jwksURL  string
	without  string // the check that is left out
	deviant  func(w http.ResponseWriter, r *http.Request) bool
	pleasant bool // refusals are pages with status 200

	mu     sync.Mutex
	logins map[string]*testLogin // by state
	keys   map[string]map[string]any
}

type testLogin struct {
	nonce, secret string
	used          bool
}

const toolClient = "lab-client"

func newTestTool(t *testing.T, p *testPlatform, without string) *testTool {
	t.Helper()
	tool := &testTool{issuer: p.srv.URL, jwksURL: p.srv.URL + "/jwks", without: without, logins: make(map[string]*testLogin)}
	mux := http.NewServeMux()
	mux.HandleFunc("/login", tool.login)
	mux.HandleFunc("/launch", tool.launch)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("session"); err != nil || c.Value == "" {
			tool.refuse(w, errors.New("nobody is signed in"))
			return
		}
		fmt.Fprint(w, "<!doctype html><title>The tool</title><p>Welcome")
	})
	tool.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tool.deviant == nil || !tool.deviant(w, r) {
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(tool.srv.Close)
	return tool
}

func (tool *testTool) checks(name string) bool { return tool.without != name }

func (tool *testTool) refuse(w http.ResponseWriter, err error) {
	if !tool.pleasant {
		w.WriteHeader(http.StatusForbidden)
	}
	fmt.Fprintf(w, "<!doctype html><title>Sorry</title><p>%s", template(err.Error()))
}

func template(s string) string { return strings.NewReplacer("<", "&lt;", "&", "&amp;").Replace(s) }

func (tool *testTool) login(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.FormValue("iss") != tool.issuer && tool.checks("iss at login"):
		tool.refuse(w, errors.New("unknown platform"))
		return
	case r.FormValue("login_hint") == "" && tool.checks("login_hint"):
		tool.refuse(w, errors.New("no login_hint"))
		return
	}
	state, l := rand.Text(), &testLogin{nonce: rand.Text(), secret: rand.Text()}
	tool.mu.Lock()
	tool.logins[state] = l
	tool.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: "login-" + state, Value: l.secret, Path: "/"})
	http.Redirect(w, r, tool.issuer+"/auth?"+url.Values{
		"scope": {"openid"}, "response_type": {"id_token"}, "response_mode": {"form_post"}, "prompt": {"none"},
		"client_id": {toolClient}, "redirect_uri": {tool.srv.URL + "/launch"}, "login_hint": {r.FormValue("login_hint")},
		"lti_message_hint": {r.FormValue("lti_message_hint")}, "state": {state}, "nonce": {l.nonce},
	}.Encode(), http.StatusFound)
}

func (tool *testTool) launch(w http.ResponseWriter, r *http.Request) {
	target, err := tool.verify(r)
	if err != nil {
		tool.refuse(w, err)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: "session", Value: rand.Text(), Path: "/"})
	http.Redirect(w, r, target, http.StatusSeeOther)
}

// verify returns where a launch is to land.
func (tool *testTool) verify(r *http.Request) (string, error) {
	if err := r.ParseForm(); err != nil {
		return "", err
	}
	form := r.PostForm
	if !tool.checks("fields in the form") {
		form = r.Form
	}
	for _, name := range []string{"state", "id_token", "error"} {
		if len(form[name]) > 1 && tool.checks("duplicate fields") {
			return "", fmt.Errorf("%s is there more than once", name)
		}
	}
	tool.mu.Lock()
	l := tool.logins[form.Get("state")]
	tool.mu.Unlock()
	switch {
	case l == nil && !tool.checks("state"):
		l = &testLogin{}
	case l == nil:
		return "", errors.New("unknown state")
	case tool.checks("state cookie"):
		if c, err := r.Cookie("login-" + form.Get("state")); err != nil || c.Value != l.secret {
			return "", errors.New("the login began in another browser")
		}
	}
	if form.Has("error") {
		return "", errors.New("the platform has an error")
	}
	header, claims, err := tool.parse(form.Get("id_token"))
	if err != nil {
		return "", err
	}
	if err := tool.checkClaims(claims, l); err != nil {
		return "", err
	}
	if _, ok := header["crit"]; ok && tool.checks("crit") {
		return "", errors.New("crit is not understood")
	}
	tool.mu.Lock()
	defer tool.mu.Unlock()
	if l.used && tool.checks("one use") {
		return "", errors.New("the login was used")
	}
	l.used = true
	return tool.target(claims)
}

func (tool *testTool) target(claims map[string]any) (string, error) {
	raw, _ := claims[lab.Claim("target_link_uri")].(string)
	switch {
	case raw == "" && tool.checks("target"):
		return "", errors.New("no target_link_uri")
	case raw == "":
		return "/", nil
	case !tool.checks("target's origin"):
		return raw, nil
	}
	u, _ := url.Parse(raw)
	if u == nil || u.User != nil || "http://"+u.Host != tool.srv.URL || u.Scheme != "http" {
		return "/", nil // its own first page, which is right as well
	}
	return raw, nil
}

// parse verifies the signature.
func (tool *testTool) parse(token string) (header, claims map[string]any, err error) {
	parts := strings.Split(token, ".")
	if len(parts) == 2 && !tool.checks("signature") {
		parts = append(parts, "")
	}
	if len(parts) != 3 {
		return nil, nil, errors.New("no compact JWS")
	}
	raw := make([][]byte, 3)
	for i, part := range parts {
		if raw[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return nil, nil, err
		}
	}
	if err := json.Unmarshal(raw[0], &header); err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(raw[1], &claims); err != nil {
		return nil, nil, err
	}
	if !tool.checks("signature") {
		return header, claims, nil
	}
	input := []byte(parts[0] + "." + parts[1])
	alg, _ := header["alg"].(string)
	switch {
	case strings.EqualFold(alg, "none") && !tool.checks("alg none"):
		return header, claims, nil
	case alg == "HS256" && !tool.checks("alg HS256"):
		jwk, err := tool.key(header)
		if err != nil {
			return nil, nil, err
		}
		mac := hmac.New(sha256.New, pemOf(jwk))
		mac.Write(input)
		if !hmac.Equal(mac.Sum(nil), raw[2]) {
			return nil, nil, errors.New("the HMAC does not fit")
		}
		return header, claims, nil
	case alg != "RS256":
		return nil, nil, errors.New("only RS256 is taken")
	}
	sum := sha256.Sum256(input)
	if _, ok := header["kid"]; !ok && !tool.checks("kid") {
		tool.mu.Lock()
		keys := slices.Collect(maps.Values(tool.keys))
		tool.mu.Unlock()
		for _, jwk := range keys {
			if rsa.VerifyPKCS1v15(publicKey(jwk), crypto.SHA256, sum[:], raw[2]) == nil {
				return header, claims, nil
			}
		}
	}
	jwk, err := tool.key(header)
	if err != nil {
		return nil, nil, err
	}
	if err := rsa.VerifyPKCS1v15(publicKey(jwk), crypto.SHA256, sum[:], raw[2]); err != nil {
		return nil, nil, err
	}
	return header, claims, nil
}

// key finds the key of a header.
func (tool *testTool) key(header map[string]any) (map[string]any, error) {
	if jwk, ok := header["jwk"].(map[string]any); ok && !tool.checks("jwk") {
		return jwk, nil
	}
	kid, _ := header["kid"].(string)
	if address, ok := header["jku"].(string); ok && !tool.checks("jku") {
		keys, err := fetch(address)
		if err != nil {
			return nil, err
		}
		for _, jwk := range keys {
			return jwk, nil
		}
	}
	tool.mu.Lock()
	defer tool.mu.Unlock()
	if jwk, ok := tool.keys[kid]; ok {
		return jwk, nil
	}
	if tool.keys == nil || tool.checks("new keys") {
		keys, err := fetch(tool.jwksURL)
		if err != nil {
			return nil, err
		}
		tool.keys = keys
	}
	if jwk, ok := tool.keys[kid]; ok {
		return jwk, nil
	}
	return nil, errors.New("unknown kid")
}

var impatient = &http.Client{Timeout: 200 * time.Millisecond}

func fetch(address string) (map[string]map[string]any, error) {
	resp, err := impatient.Get(address)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("key set: %d, %w", resp.StatusCode, err)
	}
	keys := make(map[string]map[string]any)
	for _, jwk := range set.Keys {
		kid, _ := jwk["kid"].(string)
		keys[kid] = jwk
	}
	return keys, nil
}

func publicKey(jwk map[string]any) *rsa.PublicKey {
	number := func(name string) *big.Int {
		text, _ := jwk[name].(string)
		data, _ := base64.RawURLEncoding.DecodeString(text)
		return new(big.Int).SetBytes(data)
	}
	return &rsa.PublicKey{N: number("n"), E: int(number("e").Int64())}
}

func (tool *testTool) checkClaims(claims map[string]any, l *testLogin) error {
	text := func(name string) string { s, _ := claims[name].(string); return s }
	number := func(name string) float64 { n, _ := claims[name].(float64); return n }
	now := float64(time.Now().Unix())
	audience, _ := claims["aud"].([]any)
	if s := text("aud"); s != "" {
		audience = []any{s}
	}
	link, _ := claims[lab.Claim("resource_link")].(map[string]any)
	id, _ := link["id"].(string)
	_, roles := claims[lab.Claim("roles")].([]any)
	known := func(role any) bool { s, _ := role.(string); return strings.Contains(s, "/membership#") }
	list, _ := claims[lab.Claim("roles")].([]any)
	_, hasAzp := claims["azp"]
	for _, c := range []struct {
		name string
		good bool
	}{
		{"iss", text("iss") == tool.issuer},
		{"aud", slices.Contains(audience, any(toolClient))},
		{"strangers in aud", len(audience) < 2},
		{"azp", !hasAzp || text("azp") == toolClient},
		{"exp", number("exp") > now-60},
		{"iat", number("iat") > now-600 && number("iat") < now+60},
		{"nonce", l.nonce != "" && text("nonce") == l.nonce || !tool.checks("state") && l.nonce == ""},
		{"version", text(lab.Claim("version")) == "1.3.0"},
		{"message_type", text(lab.Claim("message_type")) == "LtiResourceLinkRequest"},
		{"deployment_id", text(lab.Claim("deployment_id")) != ""},
		{"resource_link", id != ""},
		{"roles", roles},
		{"sub", text("sub") != ""},
		// What no tool should ask for.
		{"-only known roles", len(list) > 0 && known(list[0])},
		{"-e-mail wanted", text("email") != ""},
		{"-context wanted", claims[lab.Claim("context")] != nil},
	} {
		demand, extra := strings.CutPrefix(c.name, "-")
		if extra == (tool.without == demand) && !c.good {
			return fmt.Errorf("%s is not good", c.name)
		}
	}
	return nil
}
