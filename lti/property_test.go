package lti_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/jwkset"
	"github.com/caddy-lti/lti/internal/ltitest"
	"github.com/caddy-lti/lti/lti"
)

// document is a jwkset.Fetcher that has the key set already.
type document struct{ body []byte }

func (d *document) Get(context.Context, string, string, int64) (*httpx.Response, error) {
	return &httpx.Response{Status: http.StatusOK, Header: make(http.Header), Body: d.body}, nil
}

// newKeySet returns the keys of a JWKS document.
func newKeySet(tb testing.TB, doc []byte) lti.KeySet {
	tb.Helper()
	set := jwkset.New("https://lms.example/jwks", nil)
	tb.Cleanup(func() { _ = set.Destruct() })
	return set.For(&document{doc}, func(msg string, err error) { tb.Errorf("%s: %v", msg, err) })
}

// subject is a platform, its keys, and a verifier for its launches.
type subject struct {
	tb       testing.TB
	lms      *ltitest.Platform
	platform *lti.Platform
	keys     lti.KeySet
	verifier lti.Verifier
}

const propertyNonce = "nonce-of-this-login"

func newSubject(tb testing.TB) *subject {
	tb.Helper()
	lms := &ltitest.Platform{
		Issuer: "https://lms.example", ClientID: "client-1", Deployment: "dep-1",
		Key: ltitest.RSAKey(tb, 0, "key-1"),
	}
	doc, err := json.Marshal(map[string]any{"keys": []any{lms.Key.JWK()}})
	if err != nil {
		tb.Fatal(err)
	}
	now := time.Now()
	return &subject{
		tb: tb, lms: lms,
		platform: &lti.Platform{
			Name: "lms", Issuer: lms.Issuer, ClientID: lms.ClientID, Deployments: []string{lms.Deployment},
			Algorithms: lti.Algorithms(), Leeway: lti.DefaultLeeway,
		},
		keys:     newKeySet(tb, doc),
		verifier: lti.Verifier{Now: func() time.Time { return now }},
	}
}

func (s *subject) claims() map[string]any {
	return s.lms.Claims(propertyNonce, "https://tool.example/quiz")
}

func (s *subject) verify(token string) (*lti.Launch, error) {
	return s.verifier.Verify(s.tb.Context(), s.platform, s.keys, token, lti.Expected{Nonce: propertyNonce})
}

// refusal checks that err is an *lti.Error with a known code, and that it tells
// nobody's secrets.
func refusal(tb testing.TB, err error) *lti.Error {
	tb.Helper()
	var e *lti.Error
	if !errors.As(err, &e) {
		tb.Fatalf("got %v, expected an *lti.Error", err)
	}
	if _, ok := lti.Codes()[e.Code]; !ok {
		tb.Errorf("unknown code %q", e.Code)
	}
	for _, secret := range []string{propertyNonce, "user-1", "Ann", "ann@school.example"} {
		if strings.Contains(err.Error(), secret) {
			tb.Errorf("the error tells %q: %v", secret, err)
		}
	}
	return e
}

// TestVerifyRefusesEveryBit changes a valid token by one bit, each in turn: of
// its text, and of what its parts are encoded from.
func TestVerifyRefusesEveryBit(t *testing.T) {
	s := newSubject(t)
	token := s.lms.Token(s.claims())
	if _, err := s.verify(token); err != nil {
		t.Fatalf("the token is not valid to begin with: %v", err)
	}
	t.Run("text", func(t *testing.T) {
		for i := range len(token) * 8 {
			changed := []byte(token)
			changed[i/8] ^= 1 << (i % 8)
			if _, err := s.verify(string(changed)); err == nil {
				t.Fatalf("accepted with bit %d of byte %d changed: %s", i%8, i/8, changed)
			} else {
				refusal(t, err)
			}
		}
	})
	parts := strings.Split(token, ".")
	for p, name := range []string{"header", "payload", "signature"} {
		t.Run(name, func(t *testing.T) {
			raw, err := base64.RawURLEncoding.DecodeString(parts[p])
			if err != nil {
				t.Fatal(err)
			}
			for i := range len(raw) * 8 {
				raw[i/8] ^= 1 << (i % 8)
				changed := strings.Join(parts[:p], ".") + "." + base64.RawURLEncoding.EncodeToString(raw) + "." + strings.Join(parts[p+1:], ".")
				changed = strings.Trim(changed, ".")
				if _, err := s.verify(changed); err == nil {
					t.Fatalf("accepted with bit %d of byte %d changed", i%8, i/8)
				} else {
					refusal(t, err)
				}
				raw[i/8] ^= 1 << (i % 8)
			}
		})
	}
}

// TestVerifyRefusesEveryCut takes a piece off either end of a valid token, or
// adds one.
func TestVerifyRefusesEveryCut(t *testing.T) {
	s := newSubject(t)
	token := s.lms.Token(s.claims())
	for i := 1; i <= len(token); i++ {
		for _, changed := range []string{token[i:], token[:len(token)-i]} {
			if _, err := s.verify(changed); err == nil {
				t.Fatalf("accepted %d of %d characters: %s", len(changed), len(token), changed)
			} else {
				refusal(t, err)
			}
		}
	}
	for c := range 256 {
		for _, changed := range []string{token + string([]byte{byte(c)}), string([]byte{byte(c)}) + token} {
			if _, err := s.verify(changed); err == nil {
				t.Fatalf("accepted with the byte %#x added", c)
			}
		}
	}
}

// TestVerifyNeedsEveryRequiredClaim removes each of them, makes it null, and
// gives it the types that it has not.
func TestVerifyNeedsEveryRequiredClaim(t *testing.T) {
	required := map[string]lti.Code{
		"iss":                            lti.CodeIssuerMismatch,
		"aud":                            lti.CodeAudienceMismatch,
		"sub":                            lti.CodeSubjectMissing,
		"exp":                            lti.CodeTimestampMissing,
		"iat":                            lti.CodeTimestampMissing,
		"nonce":                          lti.CodeNonceMissing,
		ltitest.Claim("version"):         lti.CodeVersionWrong,
		ltitest.Claim("message_type"):    lti.CodeMessageTypeMissing,
		ltitest.Claim("deployment_id"):   lti.CodeDeploymentMissing,
		ltitest.Claim("target_link_uri"): lti.CodeTargetMissing,
		ltitest.Claim("resource_link"):   lti.CodeResourceLinkMissing,
		ltitest.Claim("roles"):           lti.CodeRolesMissing,
	}
	s := newSubject(t)
	good := s.claims()
	for name, code := range required {
		for _, val := range []any{ltitest.Absent, nil, true, []any{}, map[string]any{}, "", 7.5, []any{nil}, []any{map[string]any{}}} {
			_, err := s.verify(s.lms.Token(ltitest.With(good, map[string]any{name: val})))
			if name == ltitest.Claim("roles") && err == nil && reflect.TypeOf(val) == reflect.TypeFor[[]any]() {
				continue // a list, in which what means nothing is left out
			}
			if err == nil {
				t.Errorf("%s: accepted %#v", name, val)
				continue
			}
			e := refusal(t, err)
			switch {
			case e.Code == code:
			case name == "sub" && e.Code == lti.CodeSubjectInvalid, val == 7.5 && e.Code == lti.CodeTokenExpired:
			case name == "iat" && val == 7.5 && e.Code == lti.CodeTokenTooOld:
			default:
				t.Errorf("%s %#v: %s, expected %s", name, val, e.Code, code)
			}
		}
	}
	// Of those that are there, none may go either when all the rest is optional.
	minimal := make(map[string]any)
	for name := range required {
		minimal[name] = good[name]
	}
	if _, err := s.verify(s.lms.Token(minimal)); err != nil {
		t.Errorf("the required claims alone: %v", err)
	}
	for name := range required {
		if _, err := s.verify(s.lms.Token(ltitest.With(minimal, map[string]any{name: ltitest.Absent}))); err == nil {
			t.Errorf("accepted the required claims without %s", name)
		}
	}
}

// TestVerifyIgnoresUnknownClaims adds claims of any name and kind: the launch
// stays what it is.
func TestVerifyIgnoresUnknownClaims(t *testing.T) {
	s := newSubject(t)
	good := s.claims()
	want, err := s.verify(s.lms.Token(good))
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	known := map[string]bool{
		"iss": true, "aud": true, "azp": true, "sub": true, "exp": true, "iat": true, "nbf": true, "nonce": true,
		"name": true, "given_name": true, "family_name": true, "email": true, "locale": true,
	}
	for _, name := range []string{"version", "message_type", "deployment_id", "target_link_uri", "resource_link", "roles", "context", "tool_platform", "launch_presentation", "lis", "custom", "ext"} {
		known[ltitest.Claim(name)] = true
	}
	for range 300 {
		more := make(map[string]any)
		for range 1 + rnd.IntN(8) {
			if name := randomName(rnd); !known[name] {
				more[name] = randomValue(rnd, 3)
			}
		}
		got, err := s.verify(s.lms.Token(ltitest.With(good, more)))
		if err != nil {
			t.Fatalf("refused with %#v: %v", more, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("with %#v the launch is\n%+v, expected\n%+v", more, got, want)
		}
	}
}

func randomName(rnd *rand.Rand) string {
	switch rnd.IntN(5) {
	case 0:
		return strings.ToUpper([]string{"sub", "iss", "aud", "nonce", "exp", "azp", "nbf"}[rnd.IntN(7)])
	case 1:
		return ltitest.Claim([]string{"Roles", "role", "roles ", "for_user", "lti1p1", "deployment_Id", "resource_link.id"}[rnd.IntN(7)])
	case 2:
		return "https://vendor.example/claim/" + fmt.Sprint(rnd.IntN(1000))
	case 3:
		return []string{"", " sub", "sub\x00", "jti", "acr", "at_hash", "auth_time", "crit", "alg", "__proto__", "ſub"}[rnd.IntN(11)]
	}
	runes := make([]rune, 1+rnd.IntN(10))
	for i := range runes {
		runes[i] = rune(0x20 + rnd.IntN(0x3000))
	}
	return string(runes)
}

func randomValue(rnd *rand.Rand, depth int) any {
	kinds := 7
	if depth == 0 {
		kinds = 5
	}
	switch rnd.IntN(kinds) {
	case 0:
		return nil
	case 1:
		return rnd.IntN(2) == 0
	case 2:
		return rnd.NormFloat64() * 1e9
	case 3:
		return randomName(rnd)
	case 4:
		return strings.Repeat("x", rnd.IntN(5000))
	case 5:
		list := make([]any, rnd.IntN(4))
		for i := range list {
			list[i] = randomValue(rnd, depth-1)
		}
		return list
	}
	obj := make(map[string]any)
	for range rnd.IntN(4) {
		obj[randomName(rnd)] = randomValue(rnd, depth-1)
	}
	return obj
}
