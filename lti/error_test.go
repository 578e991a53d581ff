package lti

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestEveryCodeHasARule(t *testing.T) {
	menders := map[Mender]bool{MenderPlatform: true, MenderTool: true, MenderPerson: true, MenderNobody: true}
	// What is no matter of LTI has no section.
	noSection := map[Code]bool{
		CodeRequestTooLarge: true, CodeSessionMissing: true, CodeStoreUnavailable: true, CodePublicURLUnknown: true,
		CodeNotFound: true, CodeMethodNotAllowed: true, CodeRequestForeignOrigin: true,
		CodeInviteRefused: true, CodeInviteExpired: true, CodeInviteUsed: true, CodeTooManyAttempts: true,
	}
	section := regexp.MustCompile(`^((Security Framework|LTI 1\.3|Deep Linking 2\.0|Names and Role Provisioning 2\.0|OpenID Connect Core|Dynamic Registration 1\.0|RFC \d+) §[0-9.]+( rule \d+)?|LTI OIDC Login with LTI Client Side postMessages)$`)
	form := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	codes := 0
	for name, val := range constants(t) {
		if !strings.HasPrefix(name, "Code") {
			continue
		}
		codes++
		code := Code(val)
		rule, ok := Codes()[code]
		if !ok {
			t.Errorf("%s (%s) has no rule", name, code)
			continue
		}
		if !form.MatchString(val) {
			t.Errorf("%s: %q is not a lower-case name", name, val)
		}
		if !menders[rule.Mender] {
			t.Errorf("%s: mender %q", code, rule.Mender)
		}
		// Promise 1: what fails gets a 4xx; 503 is for what is the server's own, 502
		// for what the platform does after the launch.
		if (rule.Status < 400 || rule.Status > 499) != (code == CodeStoreUnavailable || code == CodeRosterFailed) || http.StatusText(rule.Status) == "" {
			t.Errorf("%s: status %d", code, rule.Status)
		}
		if noSection[code] != (rule.Section == "") || (rule.Section != "" && !section.MatchString(rule.Section)) {
			t.Errorf("%s: section %q", code, rule.Section)
		}
		if got := (&Error{Code: code}).Rule(); got != rule {
			t.Errorf("%s: Rule() = %+v, want %+v", code, got, rule)
		}
	}
	if codes != len(Codes()) {
		t.Errorf("%d constants, %d rules", codes, len(Codes()))
	}
	Codes()[CodeNotFound] = Rule{}
	if Codes()[CodeNotFound].Status != http.StatusNotFound {
		t.Error("whoever changes what Codes returns changes the rules")
	}
}

func TestEveryCodeIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	for code := range Codes() {
		if !strings.Contains(string(doc), "| `"+string(code)+"` |") {
			t.Errorf("docs/errors.md has no row for %s", code)
		}
	}
}

func TestError(t *testing.T) {
	cause := errors.New("the cause")
	for _, tc := range []struct {
		err  *Error
		want string
	}{
		{&Error{Code: CodeNotFound}, "not_found"},
		{Refuse(CodeIssuerMismatch, "iss is %s", Quote("a\nb")), `issuer_mismatch: iss is "a\nb"`},
		{&Error{Code: CodeTokenMalformed, Err: cause}, "id_token_malformed: the cause"},
		{&Error{Code: CodeTokenMalformed, Detail: "detail", Err: cause}, "id_token_malformed: detail: the cause"},
	} {
		if got := tc.err.Error(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
	wrapped := fmt.Errorf("outer: %w", &Error{Code: CodeTokenMalformed, Err: cause})
	var e *Error
	if !errors.As(wrapped, &e) || !errors.Is(wrapped, cause) {
		t.Error("code and cause cannot be found in a wrapped error")
	}
}

func TestQuote(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", `""`},
		{"plain", `"plain"`},
		{"a\r\nb\x00\x1b[31m\"", `"a\r\nb\x00\x1b[31m\""`},
		{"\u202egnp.exe", `"\u202egnp.exe"`},
		{strings.Repeat("x", 200), `"` + strings.Repeat("x", 200) + `"`},
		{strings.Repeat("x", 201), `"` + strings.Repeat("x", 200) + `"…`},
		{strings.Repeat("x", 199) + "é", `"` + strings.Repeat("x", 199) + `\xc3"…`},
	} {
		if got := Quote(tc.in); got != tc.want {
			t.Errorf("Quote(%q) = %s, want %s", tc.in, got, tc.want)
		}
	}
}
