package nrps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/service"
)

func TestForms(t *testing.T) {
	for _, tt := range []struct{ name, in, out string }{
		{"least", `{"user_id":"u","roles":[]}`, `{"user_id":"u","roles":[],"status":"Active"}`},
		{
			"all", `{"picture":"https://p.example/1","lti11_legacy_user_id":"old","lis_person_sourcedid":"s","email":"a@b","middle_name":"M","family_name":"F","given_name":"G",
				"name":"G F","status":"Inactive","roles":["` + teacher + `"],"user_id":"u"}`,
			`{"user_id":"u","roles":["` + teacher + `"],"status":"Inactive","name":"G F","given_name":"G","family_name":"F","middle_name":"M","email":"a@b","picture":"https://p.example/1","lis_person_sourcedid":"s","lti11_legacy_user_id":"old"}`,
		},
		{"nulls", `{"user_id":"u","roles":null,"status":null,"name":null,"message":null,"group_enrollments":null}`, `{"user_id":"u","roles":[],"status":"Active"}`},
		{"id is a number", `{"user_id":42,"roles":["Learner"]}`, `{"user_id":"42","roles":["` + learner + `"],"status":"Active"}`},
		{"roles in all spellings", `{"user_id":"u","roles":["Learner","urn:lti:role:ims/lis/Learner","` + learner + `","https://x.example/Own",5,""]}`, `{"user_id":"u","roles":["` + learner + `","https://x.example/Own"],"status":"Active"}`},
		{"a role without list", `{"user_id":"u","roles":"Instructor"}`, `{"user_id":"u","roles":["` + teacher + `"],"status":"Active"}`},
		{"status in small letters", `{"user_id":"u","roles":[],"status":" inactive"}`, `{"user_id":"u","roles":[],"status":"Inactive"}`},
		{"unknown status", `{"user_id":"u","roles":[],"status":"Waiting"}`, `{"user_id":"u","roles":[],"status":"Waiting"}`},
		{"escaped names", `{"user_id":"u","roles":[],"name":"&lt;A&gt; &amp;amp; &quot;B&#039;&#39; &copy R&D","given_name":"&lt;","family_name":"&lt;","middle_name":"&lt;","email":"a&amp;b"}`, `{"user_id":"u","roles":[],"status":"Active","name":"\u003cA\u003e \u0026amp; \"B'' \u0026copy R\u0026D","given_name":"\u003c","family_name":"\u003c","middle_name":"\u003c","email":"a\u0026amp;b"}`},
		{"message and groups", `{"user_id":"u","roles":[],"message":[{"a":1}],"group_enrollments":[{"group_id":"g1"},{"group_id":"g2"}]}`, `{"user_id":"u","roles":[],"status":"Active","message":[{"a":1}],"group_enrollments":[{"group_id":"g1"},{"group_id":"g2"}]}`},
		{"what does not fit", `{"user_id":"u","roles":[],"email":["a"],"message":{},"group_enrollments":[{"group_id":"g"},5],"https://x.example/e":{"b":2},"User_ID":"v","status":{}}`, `{"user_id":"u","roles":[],"status":"Active","User_ID":"v","email":["a"],"group_enrollments":[{"group_id":"g"},5],"https://x.example/e":{"b":2},"message":{}}`},
	} {
		l := newLMS(t, serve(roster(tt.in)))
		_, members, err := read(t, l.client("/m"), Filter{})
		if err != nil || len(members) != 1 {
			t.Errorf("%s: %v, %v", tt.name, members, err)
			continue
		}
		got, err := json.Marshal(members[0])
		if err != nil || string(got) != tt.out {
			t.Errorf("%s: %s, %v, want %s", tt.name, got, err, tt.out)
		}
		var again Member
		if err := json.Unmarshal(got, &again); err != nil || !reflect.DeepEqual(again, members[0]) {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, again, err, members[0])
		}
	}
	if got, err := json.Marshal(Member{UserID: "u"}); err != nil || string(got) != `{"user_id":"u","roles":[]}` {
		t.Errorf("%s, %v", got, err)
	}
}

func TestPages(t *testing.T) {
	a, b, c := member("a", "Learner"), member("b", "Learner"), member("c", "Instructor")
	said := Context{"c1", "BIO", "Biology"}
	launched := Context{ID: "launched", Title: "From the launch"}
	for _, tt := range []struct {
		name            string
		pages           []string
		members         string
		first, last     Context // before and after the members were read
		firstID, lastID string
	}{
		{"one", []string{roster(a, b)}, "a:Learner b:Learner", said, said, "https://lms.example/m", ""},
		{"three", []string{roster(a), roster(b), roster(c)}, "a:Learner b:Learner c:Instructor", said, said, "https://lms.example/m", ""},
		{"empty ones between", []string{roster(), roster(a), roster(), roster(b), roster()}, "a:Learner b:Learner", said, said, "https://lms.example/m", ""},
		{"nobody", []string{roster()}, "", said, said, "https://lms.example/m", ""},
		{"null", []string{`{"members":null}`}, "", launched, launched, "", ""},
		{"head behind the members", []string{`{"members":[` + a + `],"context":{"id":7},"id":"x"}`, roster(b)}, "a:Learner b:Learner", launched, Context{ID: "7"}, "", "x"},
		{"head on a later page", []string{`{"members":[` + a + `]}`, roster(b)}, "a:Learner b:Learner", launched, launched, "", ""},
		{"head that does not fit", []string{`{"id":["x"],"context":"c","members":[` + a + `]}`}, "a:Learner", launched, launched, "", ""},
		{"more beside the members", []string{`{"x":{"members":[5]},"members":[` + a + `],"y":[[],{}],"members":[` + b + `]}` + "\r\n\t "}, "a:Learner b:Learner", launched, launched, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLMS(t, serve(tt.pages...))
			client := l.client("/m?course=1")
			r, err := client.Open(t.Context(), Filter{})
			if err != nil {
				t.Fatal(err)
			}
			firstID, lastID := tt.firstID, tt.lastID
			if firstID == "" {
				firstID = client.endpoint.URL
			}
			if lastID == "" {
				lastID = firstID
			}
			if r.Context != tt.first || r.ID != firstID {
				t.Errorf("at first: %+v, %s", r.Context, r.ID)
			}
			var members []Member
			for m, err := range r.Members() {
				if err != nil {
					t.Fatal(err)
				}
				members = append(members, m)
			}
			if got := short(members); got != tt.members || r.Context != tt.last || r.ID != lastID {
				t.Errorf("%s of %+v, %s", got, r.Context, r.ID)
			}
			want := []string{"/m?course=1"}
			for n := range len(tt.pages) - 1 {
				want = append(want, fmt.Sprintf("/m?p=%d", n+2))
			}
			if got := l.asked(); !slices.Equal(got, want) {
				t.Errorf("asked for %q, want %q: each page once", got, want)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	// This platform ignores all filters.
	page := roster(member("a", "Learner"), member("b", "Instructor"), `{"user_id":"c","roles":["Learner"],"status":"inactive"}`,
		`{"user_id":"d","roles":["http://purl.imsglobal.org/vocab/lis/v2/membership/Instructor#Grader"]}`)
	const encoded = "http%3A%2F%2Fpurl.imsglobal.org%2Fvocab%2Flis%2Fv2%2Fmembership"
	for _, tt := range []struct {
		path    string
		filter  Filter
		asked   string
		members string
	}{
		{"/m", Filter{}, "/m", "a:Learner b:Instructor c:Learner/Inactive d:Grader"},
		{"/m", Filter{Role: "Learner"}, "/m?role=" + encoded + "%23Learner", "a:Learner c:Learner/Inactive"},
		{"/m?role=x&", Filter{Role: "urn:lti:role:ims/lis/Instructor"}, "/m?role=x&role=" + encoded + "%23Instructor", "b:Instructor"},
		{"/m", Filter{Role: "instructor#grader"}, "/m?role=" + encoded + "%2FInstructor%23Grader", "d:Grader"},
		{"/m", Filter{Role: learner, Status: "active"}, "/m?role=" + encoded + "%23Learner", "a:Learner"},
		{"/m", Filter{Role: "https://x.example/r"}, "/m?role=https%3A%2F%2Fx.example%2Fr", ""},
		{"/m", Filter{Status: Inactive, Limit: 50}, "/m?limit=50", "c:Learner/Inactive"},
		{"/m?a=%2f&b", Filter{ResourceLinkID: "r&1 é", Limit: -1}, "/m?a=%2f&b&rlid=r%261+%C3%A9", "a:Learner b:Instructor c:Learner/Inactive d:Grader"},
	} {
		l := newLMS(t, serve(page))
		_, members, err := read(t, l.client(tt.path), tt.filter)
		if err != nil || short(members) != tt.members {
			t.Errorf("%+v: %s, %v, want %s", tt.filter, short(members), err, tt.members)
		}
		if got := l.asked(); !slices.Equal(got, []string{tt.asked}) {
			t.Errorf("%+v: asked for %q, want %q", tt.filter, got, tt.asked)
		}
	}
	l := newLMS(t, serve(page))
	c := l.client("/m")
	for _, f := range []Filter{{Role: "Teacher"}, {Role: "urn:lti:role:ims/lis/Teacher"}, {Status: "gone"}, {Status: Deleted}} {
		_, _, err := read(t, c, f)
		if e, _ := errors.AsType[*Error](err); e == nil || e.Whose != Developer || e.Retry {
			t.Errorf("%+v: %v", f, err)
		}
	}
	for url, reason := range map[string]error{"": ErrNotOffered, "http://lms.example/?S3cr3t": ErrMalformed} {
		c.endpoint.URL = url
		_, _, err := read(t, c, Filter{})
		if e, _ := errors.AsType[*Error](err); !errors.Is(err, reason) || e.Whose != PlatformAdmin {
			t.Errorf("%q: %v, want %v", url, err, reason)
		}
	}
	if len(l.asked()) > 0 {
		t.Errorf("asked for %q", l.asked())
	}
}

func TestRepeatedMembers(t *testing.T) {
	inactive := `{"user_id":"a","roles":["Mentor"],"status":"Inactive"}`
	for _, tt := range []struct {
		name, role, members string
		pages               []string
	}{
		{"in a row", "", "a:Learner+Instructor b:Learner", []string{roster(member("a", "Learner"), member("a", "Instructor"), member("a", "Learner"), member("b", "Learner"))}},
		{"over pages", "", "a:Learner+Instructor", []string{roster(member("a", "Learner")), roster(), roster(member("a", "Instructor"))}},
		{"nothing new", "", "a:Learner b:Learner", []string{roster(member("a", "Learner"), member("b", "Learner")), roster(member("a", "Learner"))}},
		{"a new role", "", "a:Learner b:Learner a:Instructor+Learner", []string{roster(member("a", "Learner"), member("b", "Learner")), roster(member("a", "Instructor"), member("b", "Learner"))}},
		{"found by an earlier role", "Learner", "a:Learner b:Learner a:Instructor+Learner", []string{roster(member("a", "Learner"), member("b", "Learner"), member("a", "Instructor"))}},
		{"found by a later role", "Instructor", "a:Instructor+Learner", []string{roster(member("a", "Learner"), member("b", "Learner"), member("a", "Instructor"))}},
		{"another status", "", "a:Learner a:Mentor/Inactive", []string{roster(member("a", "Learner"), inactive), roster(member("a", "Learner"), inactive)}},
	} {
		l := newLMS(t, serve(tt.pages...))
		_, members, err := read(t, l.client("/m"), Filter{Role: tt.role})
		if err != nil || short(members) != tt.members {
			t.Errorf("%s: %s, %v, want %s", tt.name, short(members), err, tt.members)
		}
		yielded := make(map[string]bool)
		for _, m := range members {
			if who := m.UserID + m.Status; m.Again != yielded[who] {
				t.Errorf("%s: %s is there again: %v", tt.name, who, m.Again)
			} else {
				yielded[who] = true
			}
		}
	}

	// More different roles than can be remembered: nobody is lost.
	var members []string
	for i := range 100 {
		members = append(members, member("a", fmt.Sprintf("https://x.example/%d", i)), member("b", "Learner"))
	}
	l := newLMS(t, serve(roster(members...)))
	_, got, err := read(t, l.client("/m"), Filter{})
	told := make(map[string]bool)
	for _, m := range got {
		for _, r := range m.Roles {
			told[m.UserID+" "+r] = true
		}
	}
	if err != nil || len(told) != 101 {
		t.Errorf("%d roles, %v", len(told), err)
	}
}

func TestFailures(t *testing.T) {
	name := `{"user_id":"u","name":"Ada Lovelace","roles":[]`
	answer := func(status int, header, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if field, value, ok := strings.Cut(header, ": "); ok {
				w.Header().Set(field, value)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	raw := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n"+s)
		}
	}
	long := strings.Repeat("x", 40<<10)
	for _, tt := range []struct {
		name   string
		page   http.HandlerFunc
		reason error
		whose  Party
		retry  bool
		says   string
	}{
		{"cut off, with a length", raw("Content-Length: 1000\r\n\r\n" + `{"members":[` + name), ErrCutOff, PlatformAdmin, true, "unexpected EOF"},
		{"cut off, in chunks", raw("Transfer-Encoding: chunked\r\n\r\n11\r\n" + `{"members":[{"use`), ErrCutOff, PlatformAdmin, true, "unexpected EOF"},
		{"cut off behind the roster", raw("Content-Length: 1000\r\n\r\n" + roster()), ErrCutOff, PlatformAdmin, true, "unexpected EOF"},
		{"last chunk is missing", raw("Transfer-Encoding: chunked\r\n\r\ne\r\n" + `{"members":[]}` + "\r\n"), ErrCutOff, PlatformAdmin, true, "unexpected EOF"},
		{"stops half-way", answer(200, "", `{"members":[`+name), ErrCutOff, PlatformAdmin, true, "cut off"},
		{"stops between members", answer(200, "", `{"members":[`+name+`}`), ErrCutOff, PlatformAdmin, true, "cut off"},
		{"stops behind a comma", answer(200, "", `{"members":[`+name+`},`), ErrCutOff, PlatformAdmin, true, "cut off"},
		{"stops behind the members", answer(200, "", `{"members":[`+name+`}]`), ErrCutOff, PlatformAdmin, true, "cut off"},
		{"empty", answer(200, "", ""), ErrCutOff, PlatformAdmin, true, "cut off"},
		{"no content", answer(204, "", ""), ErrCutOff, PlatformAdmin, true, "cut off"},
		{"no user_id", answer(200, "", `{"members":[{"name":"Ada Lovelace","roles":[]}]}`), ErrMalformed, PlatformAdmin, false, "a member has no user_id"},
		{"null for a member", answer(200, "", `{"members":[null]}`), ErrMalformed, PlatformAdmin, false, "a member is no object"},
		{"text for a member", answer(200, "", `{"members":["Lovelace"]}`), ErrMalformed, PlatformAdmin, false, "a member is no object"},
		{"broken JSON", answer(200, "", `{"members":[{"user_id":"u" "name":"Lovelace"}]}`), ErrMalformed, PlatformAdmin, false, "it is not JSON"},
		{"no comma", answer(200, "", `{"members":[{"user_id":"u"}{"user_id":"v"}]}`), ErrMalformed, PlatformAdmin, false, "it is not JSON"},
		{"HTML", answer(200, "", "<html>Lovelace"), ErrMalformed, PlatformAdmin, false, "it is not JSON"},
		{"a list", answer(200, "", `[]`), ErrMalformed, PlatformAdmin, false, "it is not a roster"},
		{"an error with status 200", answer(200, "", `{"status":500,"reason":"Lovelace"}`), ErrMalformed, PlatformAdmin, false, "it is not a roster"},
		{"members are an object", answer(200, "", `{"members":{"1":`+name+`}}}`), ErrMalformed, PlatformAdmin, false, "it is not a roster"},
		{"something behind it", answer(200, "", roster()+"<br>Warning: Lovelace"), ErrMalformed, PlatformAdmin, false, "something follows the roster"},
		{"member that is a little too large", answer(200, "", `{"members":[`+sized(64<<10+1)+`]}`), ErrMalformed, PlatformAdmin, false, "larger than 64 KiB"},
		{"large member", answer(200, "", `{"members":[{"user_id":"u","name":"`+long+long+`","roles":[]}]}`), ErrMalformed, PlatformAdmin, false, "larger than 64 KiB"},
		{"endless member", answer(200, "", `{"members":[{"user_id":"`+strings.Repeat(long, 100)), ErrMalformed, PlatformAdmin, false, "larger than 64 KiB"},
		{"endless blanks", answer(200, "", `{"members":[`+strings.Repeat(strings.Repeat(" ", 40<<10), 100)+`]}`), ErrMalformed, PlatformAdmin, false, "larger than 1024 KiB"},
		{"large other member", answer(200, "", `{"x":"`+strings.Repeat(long, 100)+`","members":[]}`), ErrMalformed, PlatformAdmin, false, "larger than 1024 KiB"},
		{"many roles", answer(200, "", `{"members":[{"user_id":"u","roles":["a"`+strings.Repeat(`,"a"`, 200)+`]}]}`), ErrMalformed, PlatformAdmin, false, "more than 200 roles"},
		{"foreign next", answer(200, "Link: <https://evil.example/m?S3cr3t>; rel=next", roster()), ErrMalformed, PlatformAdmin, false, "another origin: https://evil.example"},
		{"http next", answer(200, "Link: <http://lms.example/m?S3cr3t>; rel=next", roster()), ErrMalformed, PlatformAdmin, false, "https is required"},
		{"same page again", answer(200, "Link: </2>; rel=next", roster()), ErrTooMany, PlatformAdmin, false, "does not end"},
		{"first page again", answer(200, "Link: </m>; rel=next", roster()), ErrTooMany, PlatformAdmin, false, "does not end"},
		{"forbidden", answer(403, "", `{"message":"no"}`), ErrNotAllowed, PlatformAdmin, false, "permissions"},
		{"gone", answer(404, "", ""), ErrGone, PlatformAdmin, false, "course does not exist"},
		{"busy", answer(429, "Retry-After: 17", ""), nil, Nobody, true, "slow down"},
		{"down", answer(503, "", ""), nil, PlatformAdmin, true, "out of order"},
		{"bad", answer(400, "", ""), nil, Developer, false, "does not accept the request"},
		{"moved", answer(302, "Location: /elsewhere", ""), nil, PlatformAdmin, false, "has moved"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check := func(err error, page int, whole bool) {
				t.Helper()
				e, _ := errors.AsType[*Error](err)
				if e == nil || tt.reason != nil && !errors.Is(err, tt.reason) || tt.reason == nil && e.Reason != nil || e.Whose != tt.whose || e.Retry != tt.retry {
					t.Fatalf("%v (%+v)", err, e)
				}
				if (e.After == 17*time.Second) != (tt.name == "busy") {
					t.Errorf("After %s", e.After)
				}
				if !strings.Contains(e.Error(), tt.says) || !strings.Contains(e.Error(), fmt.Sprintf("page %d: ", page)) {
					t.Errorf("%q does not say %q and the page", e, tt.says)
				}
				if strings.Contains(e.Error(), "not the whole") == whole {
					t.Errorf("%q", e)
				}
			}
			l := newLMS(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/m" {
					w.Header().Set("Link", "</2>; rel=next")
					_, _ = io.WriteString(w, roster(member("a", "Learner"), member("b", "Learner")))
					return
				}
				tt.page(w, r)
			})
			// As the second page.
			r, members, err := read(t, l.client("/m"), Filter{})
			if got := short(members); !strings.HasPrefix(got, "a:Learner b:Learner") {
				t.Errorf("%s before the error", got)
			}
			check(err, 2, false)
			for m, err := range r.Members() {
				if err == nil || m.UserID != "" {
					t.Errorf("after the error: %v, %v", m, err)
				}
			}
			if strings.HasPrefix(tt.says, "does not end") {
				return
			}
			// As the first.
			l = newLMS(t, tt.page)
			_, members, err = read(t, l.client("/2"), Filter{})
			check(err, 1, len(members) == 0)
		})
	}
}

// sized is a member of so many bytes.
func sized(n int) string {
	m := `{"user_id":"u","roles":[],"name":""}`
	return strings.Replace(m, `name":"`, `name":"`+strings.Repeat("x", n-len(m)), 1)
}

func TestLargestMember(t *testing.T) {
	l := newLMS(t, serve(roster(sized(64<<10), sized(64<<10))))
	if _, members, err := read(t, l.client("/m"), Filter{}); err != nil || short(members) != "u:" {
		t.Errorf("%d members, %v", len(members), err)
	}
}

func TestUnknownLink(t *testing.T) {
	for status, want := range map[int]error{400: ErrUnknownLink, 404: ErrUnknownLink, 403: ErrNotAllowed} { // 400 is Canvas's
		l := newLMS(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		if _, _, err := read(t, l.client("/m"), Filter{ResourceLinkID: "r"}); !errors.Is(err, want) {
			t.Errorf("%d: %v, want %v", status, err, want)
		}
	}
}

// Other origins than those of the launch never see the token, whatever they are
// called on the way.
func TestForeignEndpoint(t *testing.T) {
	l := newLMS(t, serve(roster()))
	c := l.client("/m")
	c.endpoint.URL = "https://evil.example/m?S3cr3t"
	_, _, err := read(t, c, Filter{})
	if s, ok := errors.AsType[*service.Error](err); !ok || s.Kind != service.ForeignURL || !strings.Contains(err.Error(), "evil.example") {
		t.Errorf("%v", err)
	}
}

func TestStreams(t *testing.T) {
	more := make(chan bool)
	l := newLMS(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"context":{"id":"c1"},"members":[`+member("a", "Learner")+","+member("b", "Learner")+",")
		_ = http.NewResponseController(w).Flush()
		if <-more {
			_, _ = io.WriteString(w, member("c", "Learner")+"]}")
		}
	})
	r, err := l.client("/m").Open(t.Context(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	var got []Member
	for m, err := range r.Members() {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, m); len(got) == 1 {
			more <- true
		}
	}
	if short(got) != "a:Learner b:Learner c:Learner" {
		t.Error(short(got))
	}
	close(more)
}

func TestGivenUp(t *testing.T) {
	l := newLMS(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"members":[`+member("a", "Learner")+","+member("b", "Learner")+",")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := l.client("/m").Open(ctx, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for m, err := range r.Members() {
		if m.UserID == "a" {
			cancel()
			continue
		}
		if m.UserID == "b" {
			continue
		}
		e, _ := errors.AsType[*Error](known(t, err))
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrCutOff) || !e.Retry || e.Whose != Nobody {
			t.Errorf("%+v", e)
		}
	}
}

// body counts how often it is closed.
type body struct {
	io.Reader
	closed int
}

func (b *body) Close() error {
	b.closed++
	return nil
}

func TestClose(t *testing.T) {
	var bodies []*body
	var answer string
	c := New(callerFunc(func(string) (http.Header, io.ReadCloser, error) {
		bodies = append(bodies, &body{Reader: strings.NewReader(answer)})
		h := http.Header{}
		if len(bodies) < 3 {
			h.Set("Link", fmt.Sprintf("<?p=%d>; rel=next", len(bodies)))
		}
		return h, bodies[len(bodies)-1], nil
	}), Endpoint{URL: "https://lms.example/m"})
	check := func(what string, n int) {
		t.Helper()
		if len(bodies) != n {
			t.Errorf("%s: %d pages, want %d", what, len(bodies), n)
		}
		for i, b := range bodies {
			if b.closed != 1 {
				t.Errorf("%s: page %d was closed %d times", what, i+1, b.closed)
			}
		}
		bodies = nil
	}
	open := func() *Roster {
		t.Helper()
		r, err := c.Open(t.Context(), Filter{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	refuses := func(r *Roster) {
		t.Helper()
		n := 0
		for _, err := range r.Members() {
			if e, ok := errors.AsType[*Error](err); !ok || e.Whose != Developer {
				t.Errorf("%v", err)
			}
			n++
		}
		if n != 1 {
			t.Errorf("%d answers: an unread roster must not look like an empty one", n)
		}
	}

	answer = roster(member("a", "Learner"), member("b", "Learner"))
	r := open()
	for range r.Members() {
	}
	refuses(r)
	check("read", 3)

	r = open()
	for range r.Members() {
		break
	}
	refuses(r)
	check("left", 1)

	r = open()
	r.Close()
	r.Close()
	refuses(r)
	check("closed", 1)

	answer = "["
	if _, err := c.Open(t.Context(), Filter{}); err == nil {
		t.Error("a list was taken")
	}
	check("no roster", 1)
}

// What is not a service.Session has errors of its own.
func TestOtherCaller(t *testing.T) {
	c := New(callerFunc(func(string) (http.Header, io.ReadCloser, error) {
		return nil, nil, fmt.Errorf("no way: %w", context.DeadlineExceeded)
	}), Endpoint{URL: "https://lms.example/m"})
	_, _, err := read(t, c, Filter{})
	if e, _ := errors.AsType[*Error](err); !e.Retry || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "page 1: no way") {
		t.Errorf("%v", err)
	}
}

func TestEndless(t *testing.T) {
	for _, tt := range []struct {
		name  string
		page  func(n int) string
		pages int
	}{
		{"always new", func(n int) string { return roster(member(fmt.Sprint(n), "Learner")) }, maxPages},
		{"nobody new", func(n int) string { return roster(member(fmt.Sprint(min(n, 20)), "Learner")) }, 20 + maxBarren},
		{"nobody", func(int) string { return roster() }, maxBarren},
	} {
		n := 0
		c := New(callerFunc(func(string) (http.Header, io.ReadCloser, error) {
			n++
			return http.Header{"Link": {fmt.Sprintf("<?p=%d>; rel=next", n)}}, io.NopCloser(strings.NewReader(tt.page(n))), nil
		}), Endpoint{URL: "https://lms.example/m"})
		_, _, err := read(t, c, Filter{})
		if !errors.Is(err, ErrTooMany) || n < tt.pages || n > tt.pages+2 {
			t.Errorf("%s: %v after %d pages, want about %d", tt.name, err, n, tt.pages)
		}
	}
}
