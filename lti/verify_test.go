package lti

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/jose"
	"github.com/caddy-lti/lti/internal/ltitest"
)

// keysOf is a KeySet that holds what it is given and asks nobody.
type keysOf []map[string]any

func (k keysOf) VerifySignature(_ context.Context, compact string, algorithms []string) ([]byte, error) {
	token, err := jose.Parse(compact)
	if err != nil {
		return nil, err
	}
	doc, err := json.Marshal(map[string]any{"keys": k})
	if err != nil {
		return nil, err
	}
	set, err := jose.ParseKeySet(doc)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeysUnavailable, err)
	}
	keys := set.Find(token.KeyID())
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: %q", ErrKeyUnknown, token.KeyID())
	}
	return token.Verify(keys, algorithms)
}

// noKeys is a KeySet whose platform cannot be reached.
type noKeys struct{}

func (noKeys) VerifySignature(context.Context, string, []string) ([]byte, error) {
	return nil, fmt.Errorf("%w: connection refused", ErrKeysUnavailable)
}

// The moment at which everything in these tests happens.
var moment = time.Unix(1_700_000_000, 0)

const (
	testNonce  = "nonce-1"
	testTarget = "https://tool.example/quiz?n=1"
	learner    = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"
)

// testPlatform returns an LMS with its keys and the registration with it.
func testPlatform(t *testing.T) (*ltitest.Platform, *Platform) {
	t.Helper()
	lms := &ltitest.Platform{Issuer: "https://lms.example", ClientID: "client-1", Deployment: "dep-1", Key: ltitest.RSAKey(t, 0, "key-1")}
	return lms, &Platform{
		Name: "school", Issuer: lms.Issuer, ClientID: lms.ClientID, Deployments: []string{"dep-0", "dep-1"},
		Algorithms: Algorithms(), Leeway: DefaultLeeway,
	}
}

// testClaims returns the claims of a good launch at that moment.
func testClaims(lms *ltitest.Platform) map[string]any {
	return ltitest.With(lms.Claims(testNonce, testTarget), map[string]any{"iat": moment.Unix(), "exp": moment.Unix() + 300})
}

func TestVerifySignatureRules(t *testing.T) {
	lms, p := testPlatform(t)
	stranger := ltitest.RSAKey(t, 1, "key-1")
	ed := ltitest.EdKey(t, "key-ed")
	payload, err := json.Marshal(testClaims(lms))
	if err != nil {
		t.Fatal(err)
	}
	good := lms.Token(testClaims(lms))
	parts := strings.Split(good, ".")
	header := func(more map[string]any) map[string]any { return ltitest.With(lms.Header(), more) }
	keys := keysOf{lms.Key.JWK(), ed.JWK()}
	for _, tc := range []struct {
		name       string
		token      string
		keys       KeySet
		algorithms []string
		code       Code
	}{
		{"good", good, keys, nil, ""},
		{"another algorithm of the key's kind", lms.Key.Sign(header(map[string]any{"alg": "PS512"}), payload, nil), keys, nil, ""},
		{"another kind of key", ed.Sign(map[string]any{"alg": "EdDSA", "kid": "key-ed"}, payload, nil), keys, nil, ""},
		{"no typ", lms.Key.Sign(header(map[string]any{"typ": ltitest.Absent}), payload, nil), keys, nil, ""},
		{"keys in the header are not looked at", lms.Key.Sign(header(map[string]any{"jwk": stranger.JWK(), "jku": "https://evil.example", "x5u": "https://evil.example"}), payload, nil), keys, nil, ""},

		{"another key", stranger.Sign(lms.Header(), payload, nil), keys, nil, CodeSignatureInvalid},
		{"another key, which the header brings along", stranger.Sign(header(map[string]any{"jwk": stranger.JWK()}), payload, nil), keys, nil, CodeSignatureInvalid},
		{"another payload", parts[0] + "." + strings.Split(lms.Token(lms.Claims("x", "y")), ".")[1] + "." + parts[2], keys, nil, CodeSignatureInvalid},
		{"none", lms.Key.Sign(header(map[string]any{"alg": "none"}), payload, nil) + "x", keys, nil, CodeTokenMalformed},
		{"none with a signature", replaceHeader(good, header(map[string]any{"alg": "none"})), keys, nil, CodeAlgorithmRefused},
		{"None", replaceHeader(good, header(map[string]any{"alg": "None"})), keys, nil, CodeAlgorithmRefused},
		{"HMAC with the public key", lms.Key.Sign(header(map[string]any{"alg": "HS256"}), payload, []byte(fmt.Sprint(lms.Key.JWK()["n"]))), keys, nil, CodeAlgorithmRefused},
		{"not one of the platform's algorithms", lms.Key.Sign(header(map[string]any{"alg": "RS512"}), payload, nil), keys, []string{"RS256"}, CodeAlgorithmRefused},
		{"not of the key's kind", replaceHeader(good, header(map[string]any{"alg": "ES256"})), keys, nil, CodeAlgorithmRefused},
		{"no kid", lms.Key.Sign(header(map[string]any{"kid": ltitest.Absent}), payload, nil), keys, nil, CodeKeyIDMissing},
		{"empty kid", lms.Key.Sign(header(map[string]any{"kid": ""}), payload, nil), keys, nil, CodeKeyIDMissing},
		{"unknown kid", lms.Key.Sign(header(map[string]any{"kid": "key-2"}), payload, nil), keys, nil, CodeKeyUnknown},
		{"crit", lms.Key.Sign(header(map[string]any{"crit": []string{"exp"}}), payload, nil), keys, nil, CodeTokenCritical},
		{"keys out of reach", good, noKeys{}, nil, CodeKeysUnavailable},
		{"empty", "", keys, nil, CodeTokenMalformed},
		{"two parts", parts[0] + "." + parts[1], keys, nil, CodeTokenMalformed},
		{"five parts", good + ".e30.e30", keys, nil, CodeTokenMalformed},
		{"JSON form", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, keys, nil, CodeTokenMalformed},
		{"padding", good + "==", keys, nil, CodeTokenMalformed},
		{"payload is a list", lms.Key.Sign(lms.Header(), []byte(`[1]`), nil), keys, nil, CodeTokenMalformed},
		{"payload is no JSON", lms.Key.Sign(lms.Header(), []byte(`iss=x`), nil), keys, nil, CodeTokenMalformed},
		{"a claim twice", lms.Key.Sign(lms.Header(), append(payload[:len(payload)-1:len(payload)-1], `,"sub":"user-2"}`...), nil), keys, nil, CodeTokenMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := &Verifier{Now: func() time.Time { return moment }}
			reg := *p
			if tc.algorithms != nil {
				reg.Algorithms = tc.algorithms
			}
			l, err := v.Verify(t.Context(), &reg, tc.keys, tc.token, Expected{Nonce: testNonce})
			if c := codeOf(t, err); c != tc.code {
				t.Fatalf("code %q (%v), want %q", c, err, tc.code)
			}
			if (l == nil) != (err != nil) {
				t.Errorf("launch %v with error %v", l, err)
			}
		})
	}
}

// replaceHeader puts another header on a token and leaves the rest.
func replaceHeader(token string, header map[string]any) string {
	_, rest, _ := strings.Cut(token, ".")
	raw, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	head := base64.RawURLEncoding.EncodeToString(raw)
	return head + "." + rest
}

func TestVerifyClaimRules(t *testing.T) {
	lms, p := testPlatform(t)
	c := ltitest.Claim
	now := moment.Unix()
	const absent = ltitest.Absent
	leeway := int64(DefaultLeeway / time.Second)
	age := int64(MaxTokenAge / time.Second)
	long := strings.Repeat("x", maxID)
	type set = map[string]any
	anonymous := func(v *Verifier, _ *Platform, _ *Expected) { v.Anonymous = true }
	review := func(v *Verifier, _ *Platform, _ *Expected) {
		v.Accepts = func(typ string) bool { return typ == "LtiSubmissionReviewRequest" }
	}
	atLogin := func(id string) func(*Verifier, *Platform, *Expected) {
		return func(_ *Verifier, _ *Platform, e *Expected) { e.Deployment = id }
	}
	for _, tc := range []struct {
		name   string
		claims set // what differs from a good launch
		code   Code
		setUp  func(*Verifier, *Platform, *Expected)
	}{
		{"good", nil, "", nil},

		// Rule 2.
		{"iss of another", set{"iss": "https://evil.example"}, CodeIssuerMismatch, nil},
		{"iss with a slash", set{"iss": "https://lms.example/"}, CodeIssuerMismatch, nil},
		{"iss in upper case", set{"iss": "https://LMS.example"}, CodeIssuerMismatch, nil},
		{"iss missing", set{"iss": absent}, CodeIssuerMismatch, nil},
		{"iss null", set{"iss": nil}, CodeIssuerMismatch, nil},
		{"iss a list", set{"iss": []string{"https://lms.example"}}, CodeIssuerMismatch, nil},

		// Rules 3 to 5.
		{"aud a list of one", set{"aud": []string{"client-1"}}, "", nil},
		{"aud twice the same", set{"aud": []string{"client-1", "client-1"}}, "", nil},
		{"aud of another", set{"aud": "client-2"}, CodeAudienceMismatch, nil},
		{"aud a list of others", set{"aud": []string{"client-2"}}, CodeAudienceMismatch, nil},
		{"aud with another", set{"aud": []string{"client-1", "client-2"}, "azp": "client-1"}, CodeAudienceMismatch, nil},
		{"aud missing", set{"aud": absent}, CodeAudienceMismatch, nil},
		{"aud null", set{"aud": nil}, CodeAudienceMismatch, nil},
		{"aud empty", set{"aud": ""}, CodeAudienceMismatch, nil},
		{"aud an empty list", set{"aud": []string{}}, CodeAudienceMismatch, nil},
		{"aud a number", set{"aud": 1}, CodeAudienceMismatch, nil},
		{"aud a mixed list", set{"aud": []any{"client-1", 1}}, CodeAudienceMismatch, nil},
		{"aud contains the client id as text", set{"aud": "client-1 client-2"}, CodeAudienceMismatch, nil},
		{"azp", set{"azp": "client-1"}, "", nil},
		{"azp null", set{"azp": nil}, "", nil},
		{"azp of another", set{"azp": "client-2"}, CodeAuthorizedParty, nil},
		{"azp empty", set{"azp": ""}, CodeAuthorizedParty, nil},
		{"azp a list", set{"azp": []string{"client-1"}}, CodeAuthorizedParty, nil},

		// Rule 7.
		{"exp with a fraction", set{"exp": float64(now) + 0.5}, "", nil},
		{"exp just within the leeway", set{"exp": now - leeway + 1}, "", nil},
		{"exp at the leeway", set{"exp": now - leeway}, CodeTokenExpired, nil},
		{"exp missing", set{"exp": absent}, CodeTimestampMissing, nil},
		{"exp null", set{"exp": nil}, CodeTimestampMissing, nil},
		{"exp as text", set{"exp": fmt.Sprint(now + 300)}, CodeTimestampMissing, nil},
		{"exp negative", set{"exp": -1}, CodeTimestampMissing, nil},
		{"exp too large", set{"exp": 1e300}, CodeTimestampMissing, nil},
		{"exp long ago", set{"exp": 0}, CodeTokenExpired, nil},

		// Rule 8.
		{"iat with a fraction", set{"iat": float64(now) - 0.25}, "", nil},
		{"iat just within the leeway", set{"iat": now + leeway}, "", nil},
		{"iat ahead", set{"iat": now + leeway + 1}, CodeTokenFromFuture, nil},
		{"iat just young enough", set{"iat": now - age - leeway}, "", nil},
		{"iat too old", set{"iat": now - age - leeway - 1}, CodeTokenTooOld, nil},
		{"iat too old, exp far", set{"iat": now - 86400, "exp": now + 86400}, CodeTokenTooOld, nil},
		{"iat missing", set{"iat": absent}, CodeTimestampMissing, nil},
		{"iat as text", set{"iat": fmt.Sprint(now)}, CodeTimestampMissing, nil},
		{"iat in milliseconds", set{"iat": now * 1000}, CodeTimestampMissing, nil},
		{"nbf", set{"nbf": now + leeway}, "", nil},
		{"nbf null", set{"nbf": nil}, "", nil},
		{"nbf ahead", set{"nbf": now + leeway + 1}, CodeTokenFromFuture, nil},
		{"nbf as text", set{"nbf": fmt.Sprint(now)}, CodeTimestampMissing, nil},
		{"a smaller leeway", set{"exp": now - 30}, CodeTokenExpired, func(_ *Verifier, p *Platform, _ *Expected) { p.Leeway = 10 * time.Second }},
		{"a larger leeway", set{"exp": now - 200}, "", func(_ *Verifier, p *Platform, _ *Expected) { p.Leeway = MaxLeeway }},

		// Rule 9.
		{"nonce of another login", set{"nonce": "nonce-2"}, CodeNonceMismatch, nil},
		{"nonce in another case", set{"nonce": "NONCE-1"}, CodeNonceMismatch, nil},
		{"nonce missing", set{"nonce": absent}, CodeNonceMissing, nil},
		{"nonce null", set{"nonce": nil}, CodeNonceMissing, nil},
		{"nonce empty", set{"nonce": ""}, CodeNonceMissing, nil},
		{"nonce empty, and none expected", set{"nonce": ""}, CodeNonceMissing, func(_ *Verifier, _ *Platform, e *Expected) { e.Nonce = "" }},
		{"nonce a number", set{"nonce": 1}, CodeNonceMissing, nil},

		// LTI 1.3 §5.3.1 and §5.3.2.
		{"version missing", set{c("version"): absent}, CodeVersionWrong, nil},
		{"version 1.3", set{c("version"): "1.3"}, CodeVersionWrong, nil},
		{"version 1.3.0 with a space", set{c("version"): "1.3.0 "}, CodeVersionWrong, nil},
		{"version as number", set{c("version"): 1.3}, CodeVersionWrong, nil},
		{"version of LTI 1.1", set{c("version"): "LTI-1p0"}, CodeVersionWrong, nil},
		{"message type missing", set{c("message_type"): absent}, CodeMessageTypeMissing, nil},
		{"message type empty", set{c("message_type"): ""}, CodeMessageTypeMissing, nil},
		{"message type a list", set{c("message_type"): []string{"LtiResourceLinkRequest"}}, CodeMessageTypeMissing, nil},
		{"message type unknown", set{c("message_type"): "LtiFooRequest"}, CodeMessageTypeUnwanted, nil},
		{"message type in lower case", set{c("message_type"): "ltiresourcelinkrequest"}, CodeMessageTypeUnwanted, nil},
		{"deep linking", set{c("message_type"): "LtiDeepLinkingRequest"}, CodeMessageTypeUnwanted, nil},
		{"a message that is wanted", set{c("message_type"): "LtiSubmissionReviewRequest", c("resource_link"): absent}, "", review},
		{"a message that is not the wanted one", set{c("message_type"): "LtiStartProctoring"}, CodeMessageTypeUnwanted, review},

		// §5.3.3.
		{"another deployment of the platform", set{c("deployment_id"): "dep-0"}, "", nil},
		{"deployment missing", set{c("deployment_id"): absent}, CodeDeploymentMissing, nil},
		{"deployment empty", set{c("deployment_id"): ""}, CodeDeploymentMissing, nil},
		{"deployment a number", set{c("deployment_id"): 1}, CodeDeploymentMissing, nil},
		{"deployment too long", set{c("deployment_id"): long + "x"}, CodeDeploymentMissing, nil},
		{"deployment not ASCII", set{c("deployment_id"): "dép"}, CodeDeploymentMissing, nil},
		{"deployment unknown", set{c("deployment_id"): "dep-2"}, CodeDeploymentUnknown, nil},
		{"deployment in another case", set{c("deployment_id"): "DEP-1"}, CodeDeploymentUnknown, nil},
		{"any deployment", set{c("deployment_id"): long}, "", func(_ *Verifier, p *Platform, _ *Expected) { p.Deployments, p.AnyDeployment = nil, true }},
		{"any deployment, but none is there", set{c("deployment_id"): absent}, CodeDeploymentMissing, func(_ *Verifier, p *Platform, _ *Expected) { p.AnyDeployment = true }},
		{"the deployment of the login", nil, "", atLogin("dep-1")},
		{"not the deployment of the login", nil, CodeDeploymentMismatch, atLogin("dep-0")},

		// §5.3.4.
		{"target missing", set{c("target_link_uri"): absent}, CodeTargetMissing, nil},
		{"target empty", set{c("target_link_uri"): ""}, CodeTargetMissing, nil},
		{"target null", set{c("target_link_uri"): nil}, CodeTargetMissing, nil},
		{"target too long", set{c("target_link_uri"): "https://tool.example/" + strings.Repeat("x", maxURL)}, CodeRequestTooLarge, nil},

		// §5.3.5.
		{"resource link missing", set{c("resource_link"): absent}, CodeResourceLinkMissing, nil},
		{"resource link null", set{c("resource_link"): nil}, CodeResourceLinkMissing, nil},
		{"resource link a string", set{c("resource_link"): "link-1"}, CodeResourceLinkMissing, nil},
		{"resource link without id", set{c("resource_link"): set{"title": "x"}}, CodeResourceLinkMissing, nil},
		{"resource link with an empty id", set{c("resource_link"): set{"id": ""}}, CodeResourceLinkMissing, nil},
		{"resource link with a number", set{c("resource_link"): set{"id": 7}}, CodeResourceLinkMissing, nil},
		{"resource link id at its limit", set{c("resource_link"): set{"id": long}}, "", nil},
		{"resource link id too long", set{c("resource_link"): set{"id": long + "x"}}, CodeResourceLinkMissing, nil},
		{"resource link id with a line feed", set{c("resource_link"): set{"id": "a\nb"}}, CodeResourceLinkMissing, nil},

		// §5.3.6.
		{"sub missing", set{"sub": absent}, CodeSubjectMissing, nil},
		{"sub null", set{"sub": nil}, CodeSubjectMissing, nil},
		{"sub empty", set{"sub": ""}, CodeSubjectMissing, nil},
		{"sub a number", set{"sub": 5}, CodeSubjectInvalid, nil},
		{"sub too long", set{"sub": long + "x"}, CodeSubjectInvalid, nil},
		{"sub at its limit", set{"sub": long}, "", nil},
		{"sub with a space after it", set{"sub": "user-1 "}, CodeSubjectInvalid, nil},
		{"sub with a space in it", set{"sub": "user 1"}, "", nil},
		{"sub not ASCII", set{"sub": "usér"}, CodeSubjectInvalid, nil},
		{"sub with a control character", set{"sub": "a\x00b"}, CodeSubjectInvalid, nil},
		{"anonymous, sub missing", set{"sub": absent}, "", anonymous},
		{"anonymous, sub null", set{"sub": nil}, "", anonymous},
		{"anonymous, sub empty", set{"sub": ""}, "", anonymous},
		{"anonymous, sub a number", set{"sub": 5}, CodeSubjectInvalid, anonymous},

		// §5.3.7.
		{"roles empty", set{c("roles"): []string{}}, "", nil},
		{"roles unknown", set{c("roles"): []string{"https://lms.example/role#X"}}, "", nil},
		{"roles missing", set{c("roles"): absent}, CodeRolesMissing, nil},
		{"roles null", set{c("roles"): nil}, CodeRolesMissing, nil},
		{"roles a string", set{c("roles"): learner}, CodeRolesMissing, nil},
		{"roles an object", set{c("roles"): set{}}, CodeRolesMissing, nil},

		// What is optional never gets in the way.
		{"no name, no course", set{"name": absent, "given_name": absent, "family_name": absent, "email": absent, c("context"): absent}, "", nil},
		{"unknown claims", set{"https://lms.example/x": set{"a": nil}, "errors": set{"errors": set{}}, "sub2": "x"}, "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := &Verifier{Now: func() time.Time { return moment }}
			reg, want := *p, Expected{Nonce: testNonce}
			if tc.setUp != nil {
				tc.setUp(v, &reg, &want)
			}
			l, err := v.Verify(t.Context(), &reg, keysOf{lms.Key.JWK()}, lms.Token(ltitest.With(testClaims(lms), tc.claims)), want)
			if code := codeOf(t, err); code != tc.code {
				t.Fatalf("code %q (%v), want %q", code, err, tc.code)
			}
			if err == nil {
				return
			}
			if l != nil {
				t.Error("a refused message became a launch")
			}
			// Details go to logs: no names, no ids of people, no nonces.
			for _, secret := range []string{"Ann", "ann@school", "user-1", testNonce, "nonce-2"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%q says %q", err, secret)
				}
			}
		})
	}
}

func TestVerifyReadsClaims(t *testing.T) {
	lms, p := testPlatform(t)
	c := ltitest.Claim
	type set = map[string]any
	base := Launch{
		Issuer: "https://lms.example", ClientID: "client-1", Subject: "user-1", DeploymentID: "dep-1",
		MessageType: "LtiResourceLinkRequest", TargetLinkURI: testTarget, IssuedAt: moment, Expires: moment.Add(5 * time.Minute),
		Roles: []string{learner}, ResourceLink: ResourceLink{ID: "link-1", Title: "Quiz 1"},
		Context: Context{ID: "course-1", Label: "BIO1", Title: "Biology"},
		Name:    "Ann Example", GivenName: "Ann", FamilyName: "Example", Email: "ann@school.example",
	}
	for _, tc := range []struct {
		name   string
		claims set
		change func(*Launch)
	}{
		{"as it is", nil, func(*Launch) {}},
		{
			"everything",
			set{
				"locale":                 "de-CH",
				c("launch_presentation"): set{"document_target": "iframe", "return_url": "https://lms.example/back?t=1", "locale": "en", "height": "320", "width": 400},
				c("tool_platform"):       set{"guid": "g", "name": "School", "product_family_code": "moodle", "version": "5", "url": "https://lms.example"},
				c("lis"):                 set{"person_sourcedid": "p-1", "course_section_sourcedid": nil},
				c("ext"):                 set{"user_username": "ann", "lms": "moodle-2"},
				claimGrades:              set{"scope": []string{"s1", "s2"}, "lineitems": "https://lms.example/items", "lineitem": "https://lms.example/items/1"},
				c("custom"):              set{"a": "1", "b": "", "n": 1e3, "t": true, "null": nil, "o": set{}, "l": []int{1}},
			},
			func(l *Launch) {
				l.Locale = "en"
				l.Presentation = Presentation{DocumentTarget: "iframe", ReturnURL: "https://lms.example/back?t=1", Locale: "en"}
				l.ToolPlatform = ToolPlatform{GUID: "g", URL: "https://lms.example", Name: "School", Family: "moodle", Version: "5"}
				l.PersonSourcedID, l.Username = "p-1", "ann"
				l.Grades = GradeService{Scopes: []string{"s1", "s2"}, LineItems: "https://lms.example/items", LineItem: "https://lms.example/items/1"}
				l.Custom = map[string]string{"a": "1", "b": "", "n": "1000", "t": "true"}
			},
		},
		{"locale of the presentation", set{c("launch_presentation"): set{"locale": "fr"}}, func(l *Launch) { l.Locale, l.Presentation.Locale = "fr", "fr" }},
		{
			"null everywhere",
			set{
				"name": nil, "given_name": nil, "family_name": nil, "email": nil, "locale": nil, c("context"): nil, c("tool_platform"): nil,
				c("launch_presentation"): nil, c("lis"): nil, c("ext"): nil, c("custom"): nil, c("resource_link"): set{"id": "link-1", "title": nil},
			},
			func(l *Launch) {
				l.Name, l.GivenName, l.FamilyName, l.Email, l.Context, l.ResourceLink.Title = "", "", "", "", Context{}, ""
			},
		},
		{
			"wrong types everywhere",
			set{
				"name": 1, "given_name": []string{"Ann"}, "family_name": set{}, "email": true, "locale": 1, c("context"): "course-1",
				c("tool_platform"): []any{}, c("launch_presentation"): 1, c("lis"): "x", c("ext"): 1, c("custom"): []any{"a"},
				c("resource_link"): set{"id": "link-1", "title": 5},
			},
			func(l *Launch) {
				l.Name, l.GivenName, l.FamilyName, l.Email, l.Context, l.ResourceLink.Title = "", "", "", "", Context{}, ""
			},
		},
		{
			"variables that nobody filled",
			set{
				"name": "$Person.name.full", "email": "$Person.email.primary", c("lis"): set{"person_sourcedid": "$Person.sourcedId"},
				c("context"): set{"id": "course-1", "label": "$Context.label", "title": "$com.example.Course_X.the-title"},
			},
			func(l *Launch) { l.Name, l.Email, l.Context.Label, l.Context.Title = "", "", "", "" },
		},
		{"a dollar is not a variable", set{"name": "$am", c("context"): set{"id": "$5.00", "title": "Costs $5.00"}}, func(l *Launch) {
			l.Name, l.Context = "$am", Context{ID: "$5.00", Title: "Costs $5.00"}
		}},
		{
			"roles",
			set{c("roles"): []any{"Learner", learner, nil, 5, "", "urn:lti:instrole:ims/lis/Student", "https://lms.example/x"}},
			func(l *Launch) {
				l.Roles = []string{learner, "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Student", "https://lms.example/x"}
			},
		},
		{"names are exact", set{"Name": "Eve", "NAME": "Eve", "Email": "eve@evil.example"}, func(*Launch) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := &Verifier{Now: func() time.Time { return moment }}
			got, err := v.Verify(t.Context(), p, keysOf{lms.Key.JWK()}, lms.Token(ltitest.With(testClaims(lms), tc.claims)), Expected{Nonce: testNonce})
			if err != nil {
				t.Fatal(err)
			}
			want := base
			tc.change(&want)
			if !reflect.DeepEqual(*got, want) {
				t.Errorf("got  %+v\nwant %+v", *got, want)
			}
		})
	}
}

// The clock of a Verifier that has none is the real one.
func TestVerifyUsesTheRealClock(t *testing.T) {
	lms, p := testPlatform(t)
	keys := keysOf{lms.Key.JWK()}
	if _, err := new(Verifier).Verify(t.Context(), p, keys, lms.Token(lms.Claims(testNonce, testTarget)), Expected{Nonce: testNonce}); err != nil {
		t.Error(err)
	}
	if _, err := new(Verifier).Verify(t.Context(), p, keys, lms.Token(testClaims(lms)), Expected{Nonce: testNonce}); codeOf(t, err) != CodeTokenExpired {
		t.Errorf("a token of 2023: %v", err)
	}
}

// Milliseconds are a number, so the line in the log says that seconds are wanted.
func TestMillisecondsAreExplained(t *testing.T) {
	lms, p := testPlatform(t)
	v := Verifier{Now: func() time.Time { return moment }}
	for _, name := range []string{"exp", "iat", "nbf"} {
		claims := ltitest.With(testClaims(lms), map[string]any{name: moment.UnixMilli()})
		_, err := v.Verify(t.Context(), p, keysOf{lms.Key.JWK()}, lms.Token(claims), Expected{Nonce: testNonce})
		if !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "number of seconds") {
			t.Errorf("%s in milliseconds: %v", name, err)
		}
	}
}

func TestAlgorithmsIsACopy(t *testing.T) {
	Algorithms()[0] = "none"
	for _, alg := range Algorithms() {
		if alg == "none" || strings.HasPrefix(alg, "HS") {
			t.Errorf("%s is among the algorithms", alg)
		}
	}
}

// Whoever watches is told of each check that was passed, up to the one that failed.
func TestVerifyTellsWhatPassed(t *testing.T) {
	lms, p := testPlatform(t)
	all := []Check{CheckSignature, CheckParties, CheckTimes, CheckNonce, CheckMessage, CheckDeployment, CheckPerson, CheckTarget, CheckDeepLinking}
	for _, tc := range []struct {
		claims map[string]any
		passed int
	}{
		{nil, len(all)},
		{map[string]any{"iss": "https://evil.example"}, 1},
		{map[string]any{"exp": 1}, 2},
		{map[string]any{"nonce": "other"}, 3},
		{map[string]any{ltitest.Claim("version"): "1.1"}, 4},
		{map[string]any{ltitest.Claim("deployment_id"): "other"}, 5},
		{map[string]any{"sub": ltitest.Absent}, 6},
		{map[string]any{ltitest.Claim("target_link_uri"): ltitest.Absent}, 7},
	} {
		var passed []Check
		v := &Verifier{Now: func() time.Time { return moment }, Passed: func(c Check) { passed = append(passed, c) }}
		token := lms.Token(ltitest.With(testClaims(lms), tc.claims))
		_, err := v.Verify(t.Context(), p, keysOf{lms.Key.JWK()}, token, Expected{Nonce: testNonce})
		if (err == nil) != (tc.claims == nil) {
			t.Errorf("%v: %v", tc.claims, err)
		}
		if !slices.Equal(passed, all[:tc.passed]) {
			t.Errorf("%v: passed %v, want %v", tc.claims, passed, all[:tc.passed])
		}
	}
}
