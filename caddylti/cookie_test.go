package caddylti

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestSessionCookieName(t *testing.T) {
	if got := sessionCookieName("/lti"); got != "__Host-lti" {
		t.Errorf("/lti: %s", got)
	}
	form := regexp.MustCompile(`^__Host-lti-[0-9a-f]{8}$`)
	seen := make(map[string]string)
	for _, base := range []string{"/wiki/lti", "/quiz/lti", "/LTI", "/lti2", "/a"} {
		name := sessionCookieName(base)
		if !form.MatchString(name) {
			t.Errorf("%s: %s", base, name)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("%s and %s share %s", base, other, name)
		}
		seen[name] = base
		if strings.HasPrefix(name, stateCookiePrefix) {
			t.Errorf("%s: %s looks like the cookie of a login", base, name)
		}
	}
}

func TestSetCookie(t *testing.T) {
	for age, want := range map[int]string{
		0:   "__Host-lti=v; Path=/; HttpOnly; Secure; SameSite=None; Partitioned",
		600: "__Host-lti=v; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=None; Partitioned",
		-1:  "__Host-lti=v; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=None; Partitioned",
	} {
		rec := httptest.NewRecorder()
		setCookie(rec, "__Host-lti", "v", age)
		if got := rec.Header()["Set-Cookie"]; !reflect.DeepEqual(got, []string{want}) {
			t.Errorf("age %d: %q, want %q", age, got, want)
		}
	}
}

func TestWithoutOurs(t *testing.T) {
	for _, tc := range []struct{ in, want []string }{
		{nil, nil},
		{[]string{"a=1"}, []string{"a=1"}},
		{[]string{"a=1; b=\"x y\"; c"}, []string{"a=1; b=\"x y\"; c"}},
		{[]string{"__Host-lti=x"}, nil},
		{[]string{"__Host-lti=x; a=1"}, []string{"a=1"}},
		{[]string{"a=1; __Host-lti=x"}, []string{"a=1"}},
		{[]string{"a=1; __Host-lti=x; b=2"}, []string{"a=1; b=2"}},
		{[]string{"a=1;__Host-lti=x;b=2"}, []string{"a=1;b=2"}},
		{[]string{"__Host-lti-0123abcd=x; __Host-lti-s-t3x-ABC=y; a=1"}, []string{"a=1"}},
		{[]string{"__Host-lti=x", "a=1", "b=2; __Host-lti-s-1-a=y"}, []string{"a=1", "b=2"}},
		{[]string{"__Host-ltip=x; a=1; __Host-ltip-0123abcd=y"}, []string{"a=1"}},
		{[]string{"__Host-lti =x; a=1"}, []string{"a=1"}},
		{[]string{" __Host-lti=x ;a=1"}, []string{"a=1"}},
		{[]string{"__Host-lti"}, nil},
		{[]string{"__Host-lti;"}, nil},
		{[]string{"__Host-lti=x; __Host-lti=y"}, nil},
		// Not ours.
		{[]string{"__Host-ltix=1; a=1"}, []string{"__Host-ltix=1; a=1"}},
		{[]string{"__Host-ltipx=1"}, []string{"__Host-ltipx=1"}},
		{[]string{"lti=1; a=__Host-lti"}, []string{"lti=1; a=__Host-lti"}},
		{[]string{"x__Host-lti=1"}, []string{"x__Host-lti=1"}},
	} {
		if got := withoutOurs(tc.in); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("withoutOurs(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestCookies(t *testing.T) {
	for _, tc := range []struct{ in, want []string }{
		{nil, nil},
		{[]string{"a=1"}, nil},
		{[]string{"__Host-lti=x"}, []string{"x"}},
		{[]string{"a=1; __Host-lti=x ; b=2"}, []string{"x"}},
		{[]string{"__Host-lti=x; __Host-lti=y"}, []string{"x", "y"}},
		{[]string{"__Host-lti=x", "__Host-lti=y"}, []string{"x", "y"}},
		{[]string{"__Host-lti-s=x; __Host-ltix=y; _Host-lti=z; __host-lti=w"}, nil},
		{[]string{"__Host-lti=a=b"}, []string{"a=b"}},
		{[]string{"__Host-lti="}, []string{""}},
		{[]string{"__Host-lti"}, nil},
		// However many a client sends, few are looked up.
		{[]string{strings.Repeat("__Host-lti=x;", 100)}, []string{"x", "x", "x", "x"}},
	} {
		r := &http.Request{Header: http.Header{"Cookie": tc.in}}
		if got := cookies(r, "__Host-lti"); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%q: got %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestNewStateCookie(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	stateCookie := func(age time.Duration) string {
		return stateCookiePrefix + strconv.FormatInt(now.Add(-age).UnixMicro(), 36) + "-ABCDEF"
	}
	many := func(n int) string { // the oldest first
		var parts []string
		for i := range n {
			parts = append(parts, stateCookie(time.Duration(n-i)*time.Second)+"=x")
		}
		return strings.Join(parts, "; ")
	}
	for _, tc := range []struct {
		name    string
		cookies []string
		deleted []string
	}{
		{"the first", nil, nil},
		{"others' cookies", []string{"a=1; __Host-lti=x; __Host-lti-01234567=y"}, nil},
		{"some", []string{many(5)}, nil},
		{"just enough room", []string{many(maxLogins - 1)}, nil},
		{"the oldest goes", []string{many(maxLogins)}, []string{stateCookie(maxLogins * time.Second)}},
		{"the two oldest go, from whatever line", []string{many(maxLogins), stateCookie(time.Hour) + "=y"}, []string{stateCookie(maxLogins * time.Second), stateCookie(time.Hour)}},
		{"garbage goes first", []string{many(maxLogins - 1), stateCookiePrefix + "!!=x"}, []string{stateCookiePrefix + "!!"}},
		{"garbage that overflows goes first too", []string{many(maxLogins - 1), stateCookiePrefix + "zzzzzzzzzzzzzzzz-A=x"}, []string{stateCookiePrefix + "zzzzzzzzzzzzzzzz-A"}},
		{"a name that is too long is none of ours", []string{many(maxLogins - 1), stateCookiePrefix + strings.Repeat("a", 60) + "=x"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			name, secret := newStateCookie(rec, &http.Request{Header: http.Header{"Cookie": tc.cookies}}, now)
			var deleted []string
			made := 0
			for _, c := range rec.Result().Cookies() {
				if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteNoneMode || !c.Partitioned || c.Path != "/" || c.Domain != "" {
					t.Errorf("%s: attributes %+v", c.Name, c)
				}
				switch {
				case c.MaxAge < 0:
					deleted = append(deleted, c.Name)
				case c.Name == name && c.Value == secret && c.MaxAge == 600:
					made++
				default:
					t.Errorf("cookie %+v", c)
				}
			}
			if made != 1 || !reflect.DeepEqual(deleted, tc.deleted) {
				t.Errorf("made %d, deleted %q; want 1, %q", made, deleted, tc.deleted)
			}
			if !regexp.MustCompile(`^__Host-lti-s-[0-9a-z]+-[A-Z2-7]{6}$`).MatchString(name) || len(name)+1+len(secret) > 100 {
				t.Errorf("%s=%s", name, secret)
			}
			if !ours(name) {
				t.Errorf("%s would reach the app", name)
			}
		})
	}
}

// A browser that holds very many gets rid of them, a bounded number a time.
func TestNewStateCookieBounds(t *testing.T) {
	var parts []string
	for i := range 500 {
		parts = append(parts, fmt.Sprintf("%s%d-A=x", stateCookiePrefix, i))
	}
	rec := httptest.NewRecorder()
	newStateCookie(rec, &http.Request{Header: http.Header{"Cookie": {strings.Join(parts, "; ")}}}, time.Now())
	if n := len(rec.Header()["Set-Cookie"]); n < 50 || n > 100 {
		t.Errorf("%d Set-Cookie headers", n)
	}
}

func TestRandomText(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		s := randomText(16)
		if len(s) != 22 || seen[s] {
			t.Fatalf("%q", s)
		}
		seen[s] = true
	}
}
