package devlms

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const (
	membersPath = "/nrps/c-31/members?type_id=1"
	bigPath     = "/nrps/c-100k/members?type_id=1"
)

// rosterJSON is a roster as a tool reads it.
type rosterJSON struct {
	ID      string            `json:"id"`
	Context map[string]string `json:"context"`
	Members []map[string]any  `json:"members"`
}

func (l *tooled) members(token, path string) rosterJSON {
	l.t.Helper()
	var r rosterJSON
	decode(l.t, l.call(token, "GET", path, typeMembers, ""), 200, &r)
	return r
}

func ids(r rosterJSON) string {
	var list []string
	for _, m := range r.Members {
		list = append(list, fmt.Sprint(m["user_id"]))
	}
	return strings.Join(list, " ")
}

const (
	learnerURI    = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"
	instructorURI = "http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"
)

func TestRoster(t *testing.T) {
	l := newTooled(t)
	token := l.accessToken(scopeMembers)
	w := l.call(token, "GET", membersPath, typeMembers, "")
	var r rosterJSON
	decode(t, w, 200, &r)
	if got := w.Header().Get("Content-Type"); got != typeMembers+"; charset=utf-8" {
		t.Errorf("content type %s", got)
	}
	if w.Header().Get("Link") != "" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", w.Header())
	}
	if r.ID != testOrigin+membersPath || fmt.Sprint(r.Context) != "map[id:c-31 label:ASTRO-101 title:Stars & Planets]" {
		t.Errorf("%s, %v", r.ID, r.Context)
	}
	want := []map[string]any{
		{"status": "Active", "user_id": "u-1001", "roles": []any{instructorURI}, "lis_person_sourcedid": "SIS-4410", "name": "Ada Moreau", "given_name": "Ada", "family_name": "Moreau", "email": "ada.moreau@university.example"},
		{"status": "Active", "user_id": "u-1002", "roles": []any{instructorURI}, "lis_person_sourcedid": "SIS-4402", "name": "Imani Okafor", "given_name": "Imani", "family_name": "Okafor", "email": "imani.okafor@university.example"},
		{"status": "Active", "user_id": "u-2001", "roles": []any{learnerURI}, "lis_person_sourcedid": "SIS-7130", "name": "Maeve O'Hara", "given_name": "Maeve", "family_name": "O'Hara", "email": "maeve.ohara@university.example"},
		{"status": "Active", "user_id": "u-2002", "roles": []any{learnerURI}, "lis_person_sourcedid": "SIS-7131", "name": "Zoë Łukasiewicz-山田", "given_name": "Zoë", "family_name": "Łukasiewicz-山田", "email": "zoe.yamada@university.example"},
		{"status": "Active", "user_id": "u-2003", "roles": []any{learnerURI}},
	}
	if fmt.Sprint(r.Members) != fmt.Sprint(want) {
		t.Errorf("expected %v\n     got %v", want, r.Members)
	}
}

// TestRosterAndLaunchAgree: who somebody is, and what is told of them, is the
// same in both.
func TestRosterAndLaunchAgree(t *testing.T) {
	l := newTooled(t)
	for i, m := range l.members(l.accessToken(scopeMembers), membersPath).Members {
		claims := l.idToken(testOrigin, "n", people[i], courses[0], l.activities[0])
		for member, claim := range map[string]string{"user_id": "sub", "name": "name", "given_name": "given_name", "family_name": "family_name", "email": "email"} {
			if fmt.Sprint(m[member]) != fmt.Sprint(claims[claim]) {
				t.Errorf("%s: %v in the roster, %v in a launch", member, m[member], claims[claim])
			}
		}
	}
}

func TestRosterFilters(t *testing.T) {
	for _, tc := range []struct{ query, want string }{
		{"&role=" + url.QueryEscape(instructorURI), "u-1001 u-1002"},
		{"&role=Instructor", "u-1001 u-1002"},
		{"&role=Learner&limit=10", "u-2001 u-2002 u-2003"},
		{"&role=" + url.QueryEscape(learnerURI), "u-2001 u-2002 u-2003"},
		{"&role=Mentor", ""},
		{"&role=learner", ""},
		{"&role=" + url.QueryEscape(roleInstitutionAdmin), ""}, // says nothing about a course
		{"&rlid=rl-c-31-site.chapter-2&role=Instructor", "u-1001 u-1002"},
	} {
		l := newTooled(t)
		r := l.members(l.accessToken(scopeMembers), membersPath+tc.query)
		if ids(r) != tc.want || r.Members == nil || r.ID != testOrigin+membersPath+tc.query {
			t.Errorf("%s: %s: %v", tc.query, r.ID, r.Members)
		}
	}
}

func TestRosterOfLink(t *testing.T) {
	l := newTooled(t)
	r := l.members(l.accessToken(scopeMembers), membersPath+"&rlid=rl-c-31-site.chapter-2")
	want := []any{map[string]any{
		claimPrefix + "message_type": "LtiResourceLinkRequest",
		claimPrefix + "custom":       map[string]any{"Mixed_Case": "x", "empty": "", "variable": "$User.id"},
	}}
	if ids(r) != "u-1001 u-1002 u-2001 u-2002 u-2003" {
		t.Errorf("members %s", ids(r))
	}
	for _, m := range r.Members {
		if fmt.Sprint(m["message"]) != fmt.Sprint(want) {
			t.Errorf("message %v", m["message"])
		}
	}
}

func TestRosterRefused(t *testing.T) {
	for _, tc := range []struct {
		name, method, path, kind, scope string
		code, strict                    int
		want                            string
	}{
		{"good", "GET", membersPath, typeMembers, scopeMembers, 200, 200, ""},
		{"no Accept", "GET", membersPath, "", scopeMembers, 200, 200, ""},
		{"one of several", "GET", membersPath, "application/json, " + typeMembers, scopeMembers, 200, 400, ""},
		{"anything", "GET", membersPath, "*/*", scopeMembers, 406, 400, ""},
		{"JSON", "GET", membersPath, "application/json", scopeMembers, 406, 400, ""},
		{"an old type", "GET", membersPath, "application/vnd.ims.lis.v2.membershipcontainer+json", scopeMembers, 406, 400, ""},
		{"scope of grades", "GET", membersPath, "", scopeLineItemRead, 403, 403, "scope"},
		{"no token", "GET", membersPath, "", "", 401, 401, "token"},
		{"posted", "POST", membersPath, "", scopeMembers, 405, 405, ""},
		{"no course", "GET", "/nrps/c-99/members", "", scopeMembers, 404, 404, "no such course"},
		{"type_id", "GET", membersPath + "x", "", scopeMembers, 400, 400, "type_id"},
		{"limit", "GET", membersPath + "&limit=0", "", scopeMembers, 400, 400, "limit"},
		{"unknown link", "GET", membersPath + "&rlid=x", "", scopeMembers, 404, 404, "no link"},
		{"empty link", "GET", membersPath + "&rlid=", "", scopeMembers, 404, 404, "no link"},
		{"link of another tool", "GET", membersPath + "&rlid=rl-c-31-echo.link", "", scopeMembers, 403, 403, "this tool"},
		{"link in another course", "GET", membersPath + "&rlid=rl-c-32-site.chapter-2", "", scopeMembers, 403, 403, "this course"},
	} {
		for strict, want := range map[bool]int{false: tc.code, true: tc.strict} {
			l := newTooled(t)
			if strict {
				l.faults = map[string]fault{quirkStrictAccept: {kind: "on"}}
			}
			token := ""
			if tc.scope != "" {
				token = l.accessToken(tc.scope)
			}
			w := l.call(token, tc.method, tc.path, tc.kind, "")
			if w.Code != want || !strings.Contains(w.Body.String(), tc.want) {
				t.Errorf("%s, strict %t: expected %d with %q, got %d %s", tc.name, strict, want, tc.want, w.Code, w.Body)
			}
		}
	}
}

// TestNRPSOption: off takes away the claim, the scope, and what was granted
// before.
func TestNRPSOption(t *testing.T) {
	for _, tc := range []struct {
		nrps, jwks string
		on         bool
	}{{"", "x", true}, {"", "", false}, {"on", "x", true}, {"off", "x", false}} {
		tool := &Tool{NRPS: tc.nrps, JWKSURL: tc.jwks, AGS: optionOff}
		if claim := membersClaim(testOrigin, courses[0], tool); (claim != nil) != tc.on || slices.Contains(tool.scopes(), scopeMembers) != tc.on {
			t.Errorf("%+v: claim %v, scopes %v", tc, claim, tool.scopes())
		}
	}
	l := newTooled(t)
	token := l.accessToken(scopeMembers)
	l.tools[0].NRPS = optionOff
	if w := l.call(token, "GET", membersPath, "", ""); w.Code != 403 {
		t.Errorf("switched off: %d", w.Code)
	}
	if w := l.do("POST", "/token", l.form(l.assertion(), scopeMembers)); w.Code != 400 || !strings.Contains(w.Body.String(), "invalid_scope") {
		t.Errorf("a token for it: %d %s", w.Code, w.Body)
	}
}

func TestRosterPages(t *testing.T) {
	for _, tc := range []struct {
		name, query string
		pageSize    int
		pages       []string
	}{
		{"limit", "&limit=2", 0, []string{"u-1001 u-1002", "u-2001 u-2002", "u-2003"}},
		{"with a role", "&limit=2&role=" + url.QueryEscape(learnerURI), 0, []string{"u-2001 u-2002", "u-2003"}},
		{"not asked for", "", 3, []string{"u-1001 u-1002 u-2001", "u-2002 u-2003"}},
		{"smaller than asked for", "&limit=4", 3, []string{"u-1001 u-1002 u-2001", "u-2002 u-2003"}},
		{"of a link", "&limit=3&rlid=rl-c-31-site.chapter-2", 0, []string{"u-1001 u-1002 u-2001", "u-2002 u-2003"}},
	} {
		l := newTooled(t)
		l.faults = map[string]fault{quirkPageSize: {kind: "on", size: tc.pageSize}}
		token := l.accessToken(scopeMembers)
		next := membersPath + tc.query
		for n, want := range tc.pages {
			w := l.call(token, "GET", next, typeMembers, "")
			var r rosterJSON
			decode(t, w, 200, &r)
			if ids(r) != want {
				t.Errorf("%s, page %d: %s", tc.name, n, ids(r))
			}
			next = nextLink(w)
		}
		if next != "" {
			t.Errorf("%s: one more page: %s", tc.name, next)
		}
	}
	l := newTooled(t)
	l.faults = map[string]fault{quirkBrokenLink: {kind: "on"}}
	if got := l.call(l.accessToken(scopeMembers), "GET", membersPath+"&limit=1", "", "").Header().Get("Link"); !strings.Contains(got, "rel=“next”") {
		t.Errorf("broken link: %s", got)
	}
}

func TestRosterQuirks(t *testing.T) {
	l := newTooled(t)
	token := l.accessToken(scopeMembers)
	l.setFaults(url.Values{"short_roles": {"on"}, "escaped_names": {"on"}, "inactive": {"on"}})
	r := l.members(token, membersPath)
	if len(r.Members) != 6 {
		t.Fatalf("members %v", r.Members)
	}
	want := map[string]any{
		"status": "Inactive", "user_id": "u-2900", "roles": []any{"Learner"}, "lis_person_sourcedid": "SIS-7001",
		"name": "Ines Brandt &amp; &lt;Sohn&gt;", "given_name": "Ines", "family_name": "Brandt &amp; &lt;Sohn&gt;", "email": "ines.brandt@university.example",
	}
	if fmt.Sprint(r.Members[5]) != fmt.Sprint(want) || r.Members[2]["name"] != "Maeve O'Hara" || fmt.Sprint(r.Members[0]["roles"]) != "[Instructor]" {
		t.Errorf("members %v", r.Members)
	}
	// The filter takes both forms all the same.
	for _, role := range []string{"Instructor", url.QueryEscape(instructorURI)} {
		if r := l.members(token, membersPath+"&role="+role); ids(r) != "u-1001 u-1002" {
			t.Errorf("%s: %s", role, ids(r))
		}
	}
	if people[0].Roles[0] != instructorURI {
		t.Error("the person was changed")
	}
}

// discard counts what is written, keeps nothing, and looks now and then how much
// is in memory.
type discard struct {
	header     http.Header
	n, objects int
	peak       uint64
}

func (d *discard) Header() http.Header { return d.header }
func (*discard) WriteHeader(int)       {}
func (d *discard) Write(p []byte) (int, error) {
	d.n += len(p)
	d.objects += bytes.Count(p, []byte("}"))
	if d.n%(1<<20) < len(p) {
		d.peak = max(d.peak, live())
	}
	return len(p), nil
}

func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestBigRoster: 100,000 members, none of them twice, and never all in memory.
func TestBigRoster(t *testing.T) {
	l := newTooled(t)
	all := l.roster(l.state.book(testOrigin), courses[2], "")
	seen := make(map[string]bool)
	private, inactive := 0, 0
	for i := range all.len() {
		who := all.at(i)
		seen[who.ID] = true
		if who.Private {
			private++
		}
		if who.Inactive {
			inactive++
		}
	}
	if len(seen) != 100_000 || inactive != 100 || private != 10_001 {
		t.Errorf("%d members, %d inactive, %d private", len(seen), inactive, private)
	}

	token := l.accessToken(scopeMembers)
	request := httptest.NewRequest("GET", testOrigin+bigPath, nil)
	request.Header.Set("Authorization", "Bearer "+token)
	d := &discard{header: make(http.Header)}
	before := live()
	if err := l.serve(d, request, false); err != nil {
		t.Fatal(err)
	}
	// Each member is one object; the list and its context are two more.
	if grown := int64(d.peak) - int64(before); d.objects != 100_002 || d.n < 10<<20 || grown > 2<<20 {
		t.Errorf("%d objects in %d bytes were written with %d more in memory", d.objects, d.n, grown)
	}

	w := l.call(token, "GET", bigPath+"&limit=3&role=Learner&from=99993", typeMembers, "")
	var r rosterJSON
	decode(t, w, 200, &r)
	if ids(r) != "u-9099990 u-9099991 u-9099992" || r.Members[2]["status"] != "Active" {
		t.Errorf("members %v", r.Members)
	}
	r = l.members(token, strings.TrimPrefix(nextLink(w), testOrigin))
	if ids(r) != "u-9099993 u-9099994" || r.Members[0]["name"] != nil {
		t.Errorf("the last members are %v", r.Members)
	}
	if r := l.members(token, bigPath+"&role=Instructor"); ids(r) != "u-1001 u-1002" {
		t.Errorf("teachers %s", ids(r))
	}
}

// TestBigCourse: its pages stay those of a small one, and it can be opened.
func TestBigCourse(t *testing.T) {
	l := newTooled(t)
	l.who = "u-1001"
	for _, path := range []string{"/course/c-100k", "/course/c-100k/roster", "/course/c-100k/gradebook", "/course/c-100k/activity/site.chapter-1-b"} {
		if w := l.get(path); w.Code != 200 || w.Body.Len() > 20_000 {
			t.Errorf("%s: %d, %d bytes", path, w.Code, w.Body.Len())
		}
	}
	if w := l.get("/course/c-100k/roster"); !strings.Contains(w.Body.String(), "99995 learners more") {
		t.Errorf("roster %s", w.Body)
	}
	_, fields := readPost(t, l.auth(l.authRequest("/c-100k/site.chapter-1-b")))
	_, claims := l.readToken(fields.Get("id_token"))
	if got := claims[claimMembers].(map[string]any)["context_memberships_url"]; got != testOrigin+bigPath {
		t.Errorf("roster at %v", got)
	}
	item := strings.Replace(itemPath, "c-31", "c-100k", 1)
	for user, want := range map[string]string{"u-2001": "", "u-9000000": "only listed", "u-9099995": "nobody", "u-90": "nobody", "u-9+00001": "nobody"} {
		w := l.call(l.accessToken(), "POST", below(item, "/scores"), typeScore, scoreOf("userId", user))
		if (w.Code == 200) != (want == "") || !strings.Contains(w.Body.String(), want) {
			t.Errorf("a score of %s: %d %s", user, w.Code, w.Body)
		}
	}
	if _, err := json.Marshal(courses[2].learner(0)); err != nil {
		t.Error(err)
	}
}

func TestFaultsOfMembers(t *testing.T) {
	for _, tc := range []struct {
		fault       string
		status      int // 0: no answer
		contentType string
		link        string
		members     int // -1: the JSON breaks off
		broken      bool
	}{
		{"off", 200, typeMembers, "", 5, false},
		{"loop", 200, typeMembers, `<` + testOrigin + membersPath + `>; rel="next"`, 5, false},
		{"foreign", 200, typeMembers, `<https://elsewhere.invalid/>; rel="next"`, 5, false},
		{"foreign http://127.0.0.1:1/x", 200, typeMembers, `<http://127.0.0.1:1/x>; rel="next"`, 5, false},
		{"no_user_id", 200, typeMembers, "", 4, false},
		{"wrong_type", 200, "application/json", "", 5, false},
		{"unclosed", 200, typeMembers, "", -1, false},
		{"truncated", 200, typeMembers, "", -1, true},
		{"lost", 0, "", "", 0, false},
		{"down", 0, "", "", 0, false},
		{"500", 500, "application/json", "", 0, false},
		{"429 3", 429, "application/json", "", 0, false},
		{"slow 1ms", 200, typeMembers, "", 5, false},
		{"expired", 401, "application/json", "", 0, false},
	} {
		t.Run(tc.fault, func(t *testing.T) {
			l := newTooled(t)
			server := l.listen()
			token := l.accessToken(scopeMembers)
			l.setFaults(url.Values{"members": {tc.fault}, "reset": {"count"}})
			resp, err := l.request(server, token, "GET", membersPath, "", "")
			if got := l.do("GET", "/faults", nil, local).Body.String(); !strings.Contains(got, `"members":1,"other":0`) {
				t.Errorf("counted: %s", got)
			}
			if tc.status == 0 {
				if err == nil {
					t.Errorf("answered: %d", resp.StatusCode)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if errors.Is(err, io.ErrUnexpectedEOF) != tc.broken || err != nil && !tc.broken {
				t.Errorf("reading the body: %v", err)
			}
			if resp.StatusCode != tc.status || !strings.HasPrefix(resp.Header.Get("Content-Type"), tc.contentType) || resp.Header.Get("Link") != tc.link {
				t.Errorf("%d %v", resp.StatusCode, resp.Header)
			}
			var r rosterJSON
			if err := json.Unmarshal(body, &r); tc.status == 200 && (err != nil) != (tc.members < 0) {
				t.Errorf("%s: %v", body, err)
			}
			if tc.members < 0 && !bytes.Contains(body, []byte(`"user_id":"u-1002"`)) {
				t.Errorf("nothing came: %s", body)
			}
			have := 0
			for _, m := range r.Members {
				if m["user_id"] != nil {
					have++
				}
			}
			if tc.status == 200 && tc.members >= 0 && have != tc.members {
				t.Errorf("%d members with an id", have)
			}
		})
	}
}

// TestBigRosterCut: a large one breaks off as well, half of it being sent.
func TestBigRosterCut(t *testing.T) {
	l := newTooled(t)
	server := l.listen()
	token := l.accessToken(scopeMembers)
	l.setFaults(url.Values{"members": {"truncated"}})
	resp, err := l.request(server, token, "GET", bigPath, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) || n < 5<<20 {
		t.Errorf("%d bytes: %v", n, err)
	}
}
