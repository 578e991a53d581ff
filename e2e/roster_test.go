package e2e

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/ltitest"
)

const membersKey = "0123456789abcdefghijklM"

// newRosterSite is a graded site that reads rosters too.
func newRosterSite(tb testing.TB, lmsOptions, toolOptions string) *gradedSite {
	tb.Helper()
	s := newGradedSite(tb, lmsOptions, "public *.csv *.json\n\t\troster /one/members.csv /members.json\n\t\t"+toolOptions)
	s.text = strings.Replace(s.text, "api {\n", "api {\n\t\t\tkey roll "+membersKey+" {\n\t\t\t\tplatform demo\n\t\t\t\tallow members\n\t\t\t}\n", 1)
	if err := s.reload(s.text); err != nil {
		tb.Fatal(err)
	}
	return s
}

type rosterMember struct {
	UserID  string           `json:"user_id"`
	Roles   []string         `json:"roles"`
	Status  string           `json:"status"`
	Name    string           `json:"name"`
	Email   string           `json:"email"`
	Message []map[string]any `json:"message"`
}

// members reads a roster that has to be whole, and returns it short: u-1 Learner.
func (a *answer) members(tb testing.TB) (list []rosterMember, short string) {
	tb.Helper()
	var got struct {
		ID      string
		Context map[string]string
		Members []rosterMember
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.StatusCode != http.StatusOK {
		tb.Fatalf("%d %v %s", a.StatusCode, err, a.body)
	}
	if got.ID == "" || got.Context["id"] == "" {
		tb.Errorf("of which course? %s", a.body)
	}
	var all []string
	for _, m := range got.Members {
		var roles []string
		for _, role := range m.Roles {
			roles = append(roles, role[strings.LastIndexByte(role, '#')+1:])
		}
		all = append(all, m.UserID+" "+strings.Join(roles, "+"))
	}
	return got.Members, strings.Join(all, ", ")
}

// counted returns how often the demo LMS was asked for a page of a roster.
func (s *gradedSite) counted(tb testing.TB) int {
	tb.Helper()
	counts := newBrowser(tb).get(s.lms("/faults")).json(tb)["count"].(map[string]any)
	return int(counts["members"].(float64))
}

const (
	staff    = "u-1001 Instructor, u-1002 Instructor"
	learners = "u-2001 Learner, u-2002 Learner, u-2003 Learner"
)

func TestMembers(t *testing.T) {
	s := newRosterSite(t, "", "")
	learner := s.open(newBrowser(t), "u-2001", "c-31", "quiz-one")
	handle, _ := s.call(t, learner, "GET", "launch", "").json(t)["score_handle"].(string)
	token := s.open(newBrowser(t), "u-1001", "c-31", "quiz-one")
	link := s.call(t, token, "GET", "launch", "").json(t)["resource_link"].(map[string]any)["id"].(string)

	all := s.call(t, token, "GET", "members", "")
	list, short := all.members(t)
	if short != staff+", "+learners || list[3].Name != "Zoë Łukasiewicz-山田" || list[3].Status != "Active" || list[4].Name != "" {
		t.Errorf("the course has %s: %s", short, all.body)
	}
	if got := all.Header; got.Get("Cache-Control") != "no-store" || got.Get("Vary") != "Accept" || got.Get("Content-Type") != "application/json" || got.Get("Etag") == "" {
		t.Errorf("headers %v", got)
	}
	for _, tt := range []struct{ query, want string }{
		{"role=Learner", learners},
		{"role=" + url.QueryEscape("http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"), staff},
		{"role=instructor%23grader", ""},
		{"status=active", staff + ", " + learners},
		{"status=Inactive", ""},
		{"resource_link=" + url.QueryEscape(link) + "&role=learner", learners},
	} {
		list, short := s.call(t, token, "GET", "members?"+tt.query, "").members(t)
		if short != tt.want {
			t.Errorf("%s: %s", tt.query, short)
		}
		for _, m := range list {
			if strings.Contains(tt.query, "resource_link") != (len(m.Message) == 1) {
				t.Errorf("%s: message %v", tt.query, m.Message)
			}
		}
	}
	lines := strings.Split(s.call(t, token, "GET", "members", "", "Accept", "application/x-ndjson").body, "\n")
	if len(lines) != 7 || !strings.Contains(lines[3], `"user_id":"u-2002"`) || lines[5] != `{"complete":true,"count":5}` {
		t.Errorf("lines %q", lines)
	}

	// With a key.
	for _, path := range []string{"members?platform=demo&context=c-31", "members?score_handle=" + handle} {
		if _, short := s.call(t, membersKey, "GET", path, "").members(t); short != staff+", "+learners {
			t.Errorf("%s: %s", path, short)
		}
	}
	for _, tt := range []struct {
		name, token, method, path string
		status                    int
		code, field               string
	}{
		{"a learner", learner, "GET", "members", 403, "forbidden", ""},
		{"a learner, of learners", learner, "GET", "members?role=Learner", 403, "forbidden", ""},
		{"nobody", "", "GET", "members", 401, "token_invalid", ""},
		{"another key", gradeKey, "GET", "members?platform=demo&context=c-31", 403, "forbidden", ""},
		{"another key with a handle", gradeKey, "GET", "members?score_handle=" + handle, 403, "forbidden", ""},
		{"a made-up handle", membersKey, "GET", "members?score_handle=AAAA", 422, "invalid", "score_handle"},
		{"a key for members only", membersKey, "GET", "lineitems?platform=demo&context=c-31", 403, "forbidden", ""},
		{"a key and no course", membersKey, "GET", "members", 422, "invalid", "context"},
		{"a key and an unknown course", membersKey, "GET", "members?platform=demo&context=c-99", 409, "service_missing", ""},
		{"unknown role", token, "GET", "members?role=Teacher", 422, "invalid", "role"},
		{"no role", token, "GET", "members?role=", 422, "invalid", "role"},
		{"two roles", token, "GET", "members?role=Learner&role=Instructor", 422, "invalid", "role"},
		{"a long role", token, "GET", "members?role=http://" + strings.Repeat("x", 2000), 422, "invalid", "role"},
		{"unknown status", token, "GET", "members?status=here", 422, "invalid", "status"},
		{"unknown activity", token, "GET", "members?resource_link=nothing", 404, "not_found", "resource_link"},
		{"wrong method", token, "POST", "members", 405, "method_not_allowed", ""},
		{"something below", token, "GET", "members/1", 404, "not_found", ""},
	} {
		res := s.call(t, tt.token, tt.method, tt.path, "")
		got := res.json(t)
		if field, _ := got["field"].(string); res.StatusCode != tt.status || got["code"] != tt.code || field != tt.field {
			t.Errorf("%s: %d %s", tt.name, res.StatusCode, res.body)
		}
	}
}

// A roster that was read is kept for those who may see it, and said to be
// unchanged to those who have it.
func TestMembersAreKept(t *testing.T) {
	s := newRosterSite(t, "", "")
	token := s.open(newBrowser(t), "u-1001", "c-31", "quiz-one")
	other := s.open(newBrowser(t), "u-1002", "c-31", "quiz-two")
	ask := func(token, path string, want int, header ...string) *answer {
		t.Helper()
		res := s.call(t, token, "GET", path, "", header...)
		if got := s.counted(t); got != want {
			t.Errorf("%s %v: the platform was asked %d times, want %d", path, header, got, want)
		}
		return res
	}
	tag := ask(token, "members", 1).Header.Get("Etag")
	ask(other, "members", 1)
	ask(membersKey, "members?platform=demo&context=c-31", 1)
	lines := ask(token, "members", 1, "Accept", "application/x-ndjson").Header.Get("Etag")
	some := ask(token, "members?role=LEARNER", 2).Header.Get("Etag")
	ask(token, "members?role="+url.QueryEscape("http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"), 2)
	if tag == "" || tag == lines || tag == some {
		t.Errorf("tags %s, %s of lines, %s of some", tag, lines, some)
	}
	if res := ask(token, "members", 2, "If-None-Match", `"x", `+tag); res.StatusCode != http.StatusNotModified || res.body != "" || res.Header.Get("Etag") != tag {
		t.Errorf("it has not changed: %d %v", res.StatusCode, res.Header)
	}
	if res := ask(token, "members", 2, "If-None-Match", lines); res.StatusCode != http.StatusOK {
		t.Errorf("with the tag of another form: %d", res.StatusCode)
	}
	s.fault(t, "inactive", "on")
	if res := ask(token, "members", 2, "If-None-Match", tag); res.StatusCode != http.StatusNotModified {
		t.Errorf("what is kept: %d", res.StatusCode)
	}
	res := ask(token, "members", 3, "Cache-Control", "no-cache", "If-None-Match", tag)
	if _, short := res.members(t); short != staff+", "+learners+", u-2900 Learner" || res.Header.Get("Etag") == tag {
		t.Errorf("asked anew: %s", short)
	}
	// What was read does not end who may ask.
	learner := s.open(newBrowser(t), "u-2001", "c-31", "quiz-one")
	if res := ask(learner, "members", 3); res.StatusCode != http.StatusForbidden {
		t.Errorf("a learner: %d", res.StatusCode)
	}

	if err := s.reload(strings.Replace(s.text, "roster /one", "roster_cache off\n\t\troster /one", 1)); err != nil {
		t.Fatal(err)
	}
	ask(token, "members", 4)
	ask(token, "members", 5)
}

// Whatever the peculiarities of the platform, members have one form.
func TestMembersOfPeculiarPlatforms(t *testing.T) {
	s := newRosterSite(t, "", "roster_cache off")
	token := s.open(newBrowser(t), "u-1001", "c-31", "quiz-one")
	s.fault(t, "inactive", "on")
	want := s.call(t, token, "GET", "members", "")
	list, short := want.members(t)
	if short != staff+", "+learners+", u-2900 Learner" || list[5].Status != "Inactive" || list[5].Name != "Ines Brandt & <Sohn>" {
		t.Fatalf("%s", want.body)
	}
	for _, quirk := range [][]string{
		{"short_roles", "on"},
		{"escaped_names", "on"},
		{"page_size", "1", "broken_link", "on"},
		{"strict_accept", "on", "html_token", "on"},
		{"members", "wrong_type"},
	} {
		s.fault(t, append([]string{"reset", "faults", "inactive", "on", "reset", "count"}, quirk...)...)
		if _, got := s.call(t, token, "GET", "members", "").members(t); got != short {
			t.Errorf("%v: %s", quirk, got)
		}
		if list, _ := s.call(t, token, "GET", "members?status=Inactive", "").members(t); len(list) != 1 || list[0].Name != "Ines Brandt & <Sohn>" || list[0].Roles[0] != "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner" {
			t.Errorf("%v: %v", quirk, list)
		}
		if got := s.counted(t); quirk[0] == "page_size" && got != 2*6 {
			t.Errorf("%d pages of one member were fetched", got)
		}
	}
}

// stream reads an answer of the API as far as it comes.
func (s *gradedSite) stream(tb testing.TB, token, path string, header ...string) (*http.Response, string, error) {
	tb.Helper()
	b := newBrowser(tb)
	b.client.Timeout = 5 * time.Minute
	res, err := b.client.Do(b.request("GET", s.site("/lti/api/v1/"+path), nil, append([]string{"Authorization", "Bearer " + token}, header...)...))
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

// rosterFaults are what platforms do wrong in the middle of a roster, and what is
// said of it.
var rosterFaults = []struct {
	switches  []string
	code      string
	says      string
	elsewhere bool // on the first page already
}{
	{[]string{"members", "down"}, "platform_unreachable", "page 1: ", true},
	{[]string{"members", "503"}, "platform_unreachable", "page 1: ", true},
	{[]string{"members", "429 7"}, "platform_unreachable", "page 1: ", true},
	{[]string{"members", "lost"}, "platform_unreachable", "page 1: ", true},
	{[]string{"members", "redirect"}, "platform_refused", "page 1: ", true},
	{[]string{"members", "half"}, "platform_unreachable", "page 2: ", false},
	{[]string{"members", "truncated"}, "platform_unreachable", "page 1: the platform's answer is cut off", false},
	{[]string{"members", "unclosed"}, "platform_unreachable", "page 1: the platform's answer is cut off", false},
	{[]string{"members", "no_user_id"}, "platform_refused", "page 1: the platform's answer cannot be understood: a member has no user_id", false},
	{[]string{"members", "loop"}, "platform_refused", "page 1: the platform's list does not end", false},
	{[]string{"members", "foreign"}, "platform_refused", "page 1: the platform's answer cannot be understood: the link to the next page leads to another origin", false},
	{[]string{"token", "500"}, "platform_unreachable", "page 1: ", true},
}

// notes are what a page says to people who can mend something.
var notes = regexp.MustCompile(`(?s)<ul class="notes">.*?</ul>`)

// A roster that cannot be read to its end is none, and the error names the page.
func TestRosterFaults(t *testing.T) {
	s := newRosterSite(t, "", "roster_cache off")
	b := newBrowser(t)
	token := s.open(b, "u-1001", "c-31", "quiz-one")
	for _, tt := range rosterFaults {
		t.Run(strings.Join(tt.switches, " "), func(t *testing.T) {
			on := func() {
				s.fault(t, append([]string{"reset", "faults", "page_size", "2"}, tt.switches...)...)
			}
			if tt.switches[0] == "token" { // those that are known do
				if err := s.reload(s.text); err != nil {
					t.Fatal(err)
				}
			}
			for _, accept := range []string{"application/json", "application/x-ndjson"} {
				on()
				res := s.call(t, token, "GET", "members", "", "Accept", accept)
				got := res.json(t)
				if detail, _ := got["detail"].(string); res.StatusCode != http.StatusBadGateway || got["code"] != tt.code || !strings.Contains(detail, tt.says) || res.Header.Get("Etag") != "" {
					t.Errorf("%s: %d %s", accept, res.StatusCode, res.body)
				}
				if after := res.Header.Get("Retry-After"); (after == "7") != strings.HasPrefix(tt.switches[1], "429") {
					t.Errorf("Retry-After: %s", after)
				}
			}
			for _, path := range []string{"/one/members.csv", "/members.json"} {
				on()
				res := b.get(s.site(path), "Sec-Fetch-Mode", "navigate")
				if res.StatusCode != http.StatusBadGateway || !strings.Contains(res.body, "The list of members could not be read") || !strings.Contains(res.body, strings.SplitAfter(tt.says, ":")[0]) ||
					res.Header.Get("Content-Disposition") != "" || strings.Contains(res.body, "u-1001") {
					t.Errorf("%s: %d %s", path, res.StatusCode, notes.FindString(res.body))
				}
			}
			on()
			res := b.get(s.site("/members.json"), "Sec-Fetch-Mode", "cors")
			if got := res.json(t); got["code"] != "roster_failed" || !strings.Contains(fmt.Sprint(got["detail"]), tt.says) {
				t.Errorf("for a script: %d %s", res.StatusCode, res.body)
			}
		})
	}
	s.fault(t, "reset", "faults")
	if err := s.reload(s.text); err != nil { // for a token
		t.Fatal(err)
	}
	if _, short := s.call(t, token, "GET", "members", "").members(t); short != staff+", "+learners {
		t.Errorf("afterwards: %s", short)
	}
}

// One of which a part has been answered is cut off.
func TestLargeRosterFaults(t *testing.T) {
	s := newRosterSite(t, "", "")
	b := newBrowser(t)
	token := s.open(b, "u-1001", "c-100k", "quiz-one")
	for _, tt := range rosterFaults {
		if tt.elsewhere {
			continue
		}
		t.Run(strings.Join(tt.switches, " "), func(t *testing.T) {
			size := "5100"
			if strings.Contains(tt.says, "cut off") { // after half of a page
				size = "10200"
			}
			on := func() {
				s.fault(t, append([]string{"reset", "faults", "page_size", size}, tt.switches...)...)
			}
			on()
			res, body, err := s.stream(t, token, "members")
			if err == nil || json.Valid([]byte(body)) || !strings.Contains(body, `"u-2001"`) || res.Header.Get("Etag") != "" {
				t.Errorf("JSON: %v, %d bytes that end in %s", err, len(body), body[max(0, len(body)-100):])
			}
			on()
			res, body, err = s.stream(t, token, "members", "Accept", "application/x-ndjson")
			lines := strings.Split(body, "\n")
			var last struct {
				Complete     *bool
				Code, Detail string
			}
			if err != nil || len(lines) < 5000 || lines[len(lines)-1] != "" || strings.Contains(body, `"complete":true`) {
				t.Fatalf("lines: %d, %v", len(lines), err)
			}
			if err := json.Unmarshal([]byte(lines[len(lines)-2]), &last); err != nil || last.Complete == nil || *last.Complete || last.Code != tt.code || !strings.Contains(last.Detail, tt.says) {
				t.Errorf("the last line: %v, %s", err, lines[len(lines)-2])
			}
			validate(t, "GET", "members", &answer{res, strings.Join(lines[len(lines)-3:], "\n")})
			on()
			page := b.get(s.site("/one/members.csv"), "Sec-Fetch-Mode", "navigate")
			if page.StatusCode != http.StatusBadGateway || !strings.Contains(page.body, "The list of members could not be read") || strings.Contains(page.body, "u-2001") {
				t.Errorf("the file: %d", page.StatusCode)
			}
		})
	}
	if !strings.Contains(s.log.String(), "a roster could not be read to its end") || strings.Contains(s.log.String(), "Łukasiewicz") {
		t.Error("the log does not say it, or names people")
	}
}

// A caller who leaves has the platform left alone.
func TestRosterCallerLeaves(t *testing.T) {
	s := newRosterSite(t, "", "")
	token := s.open(newBrowser(t), "u-1001", "c-100k", "quiz-one")
	s.fault(t, "page_size", "1000")
	b := newBrowser(t)
	for range 5 { // more than may be read at the same time
		res, err := b.client.Do(b.request("GET", s.site("/lti/api/v1/members"), nil, "Authorization", "Bearer "+token))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(res.Body, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	asked, same := 0, 0
	until(t, "the platform to be left alone", func() bool {
		if n := s.counted(t); n != asked {
			asked, same = n, 0
		}
		same++
		return same == 10
	})
	if asked > 5*80 {
		t.Errorf("%d pages of 500 were fetched", asked)
	}
	// A reload waits for nobody who has left.
	if err := s.reload(s.text); err != nil {
		t.Error(err)
	}
}

// peak returns the most memory that a process has had, in bytes.
func peak(tb testing.TB, pid int) int64 {
	tb.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0 // not Linux
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return kb << 10
}

// countLines reads members line by line and returns how many there are, all
// different, and whether it says that these are all.
func countLines(tb testing.TB, r io.Reader) (n int, complete bool) {
	tb.Helper()
	seen := make(map[string]bool)
	in := bufio.NewScanner(r)
	for in.Scan() {
		var line struct {
			UserID   string `json:"user_id"`
			Complete bool
			Count    int
		}
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			tb.Fatal(err)
		}
		if line.Complete {
			complete = line.Count == n
			continue
		}
		if line.UserID == "" || seen[line.UserID] {
			tb.Fatalf("twice, or no member: %s", in.Text())
		}
		seen[line.UserID] = true
		n++
	}
	if err := in.Err(); err != nil {
		tb.Fatal(err)
	}
	return n, complete
}

// 100,000 members pass through: all of them, each page fetched once, in little
// memory.
func TestLargeRoster(t *testing.T) {
	s := newRosterSite(t, "fault page_size 2000", "")
	b := newBrowser(t)
	b.client.Timeout = 5 * time.Minute
	token := s.open(b, "u-1001", "c-100k", "quiz-one")
	s.call(t, token, "GET", "members?role=Instructor", "").members(t)
	before, asked := peak(t, s.cmd.Process.Pid), s.counted(t)

	res, body, err := s.stream(t, token, "members", "Accept", "application/x-ndjson")
	if n, complete := countLines(t, strings.NewReader(body)); err != nil || res.StatusCode != http.StatusOK || n != 100_000 || !complete {
		t.Errorf("lines: %d members, complete: %v, %v", n, complete, err)
	}
	if got := s.counted(t) - asked; got != 50 {
		t.Errorf("%d pages of 50 were fetched", got)
	}
	used := peak(t, s.cmd.Process.Pid) - before
	t.Logf("%d bytes of a roster: %.1f MB, with the race detector", len(body), float64(used)/1e6)
	if used > 120e6 {
		t.Errorf("%d bytes of memory were needed", used)
	}

	file := b.get(s.site("/one/members.csv"))
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(file.body, "\ufeff"))).ReadAll()
	if err != nil || file.StatusCode != http.StatusOK || len(rows) != 100_001 || rows[4][0] != "u-2002" || rows[4][1] != "Zoë Łukasiewicz-山田" {
		t.Errorf("CSV: %d rows, %v", len(rows), err)
	}
}

// The file is for instructors, and nothing makes it public.
func TestRosterFile(t *testing.T) {
	s := newRosterSite(t, "", "unauthenticated pass")
	const csvPath = "/one/members.csv"
	learner, teacher := newBrowser(t), newBrowser(t)
	s.open(learner, "u-2001", "c-31", "quiz-one")
	s.open(teacher, "u-1001", "c-31", "quiz-one")
	for _, tt := range []struct {
		name   string
		b      *browser
		method string
		path   string
		status int
	}{
		{"nobody", newBrowser(t), "GET", csvPath, 401},
		{"nobody's JSON", newBrowser(t), "GET", "/members.json", 401},
		{"nobody's HEAD", newBrowser(t), "HEAD", csvPath, 401},
		{"a learner", learner, "GET", csvPath, 403},
		{"a learner's HEAD", learner, "HEAD", csvPath, 403},
		{"another method", teacher, "POST", csvPath, 405},
		{"a page beside it", newBrowser(t), "GET", "/two/members.csv", 200},
	} {
		res := tt.b.do(tt.b.request(tt.method, s.site(tt.path), nil, "Sec-Fetch-Mode", "navigate"))
		if res.StatusCode != tt.status || strings.Contains(res.body, "u-1001") {
			t.Errorf("%s: %d %s", tt.name, res.StatusCode, res.body)
		}
	}
	if got := s.counted(t); got != 0 {
		t.Errorf("the platform was asked %d times", got)
	}
	res := teacher.get(s.site(csvPath))
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(res.body, "\ufeff"))).ReadAll()
	if err != nil || len(rows) != 6 || !slices.Equal(rows[3], []string{"u-2001", "Maeve O'Hara", "Maeve", "O'Hara", "maeve.ohara@university.example", "Learner", "Active"}) {
		t.Errorf("%v in %s", err, res.body)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/csv; charset=utf-8", "Content-Disposition": "attachment; filename=members.csv",
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	file := teacher.get(s.site("/members.json"))
	if _, short := file.members(t); short != staff+", "+learners || file.Header.Get("Content-Disposition") != "attachment; filename=members.json" {
		t.Errorf("JSON: %s", file.body)
	}
	if got := s.counted(t); got != 1 {
		t.Errorf("the platform was asked %d times", got)
	}
	// Reloading the page is to see what is new.
	if teacher.get(s.site(csvPath), "Cache-Control", "max-age=0"); s.counted(t) != 2 {
		t.Error("reloading shows what was kept")
	}
}

// playBack is a platform that answers what a real Moodle answered, and knows no
// other question.
func playBack(t *testing.T) (origin, members string) {
	t.Helper()
	data, err := os.ReadFile("../nrps/testdata/moodle-nrps.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded map[string]struct {
		Request  struct{ URL string }
		Response struct {
			Status  int
			Headers map[string]string
			Body    json.RawMessage
		}
	}
	if err := json.Unmarshal(data, &recorded); err != nil {
		t.Fatal(err)
	}
	var server *httptest.Server
	const was = "https://moodle.localhost:8443"
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"access_token":"t","token_type":"Bearer","expires_in":3600,"scope":"`+r.FormValue("scope")+`"}`)
			return
		}
		for name, x := range recorded {
			if x.Request.URL != was+r.URL.String() || name == "no Accept" || name == "no scope" || name == "no token" || name == "Accept application/json" {
				continue
			}
			for field, value := range x.Response.Headers {
				w.Header().Set(field, strings.ReplaceAll(value, was, server.URL))
			}
			w.WriteHeader(x.Response.Status)
			_, _ = io.WriteString(w, strings.ReplaceAll(string(x.Response.Body), was, server.URL))
			return
		}
		t.Errorf("%s was not recorded", r.URL)
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(server.Close)
	return server.URL, server.URL + strings.TrimPrefix(recorded["all"].Request.URL, was)
}

// What a real Moodle answers comes in the same form. Its launch offers a roster and
// no grades, or neither.
func TestMembersOfMoodle(t *testing.T) {
	origin, members := playBack(t)
	p := ltitest.NewPlatform(t)
	var token string
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { token = r.Header.Get("X-LTI-Token") }))
	t.Cleanup(app.Close)
	site := strings.Replace(toolSite(p, "\t\troster /members.csv\n\t\tapi {\n\t\t\tkey roll "+membersKey+" {\n\t\t\t\tplatform lms\n\t\t\t\tallow members lineitems\n\t\t\t}\n\t\t}",
		"reverse_proxy "+app.Listener.Addr().String()), "issuer ", "token_url "+origin+"/token\n\t\t\tissuer ", 1)
	tool := &tool{caddy: startCaddy(t, global(ltiGlobal)+site), host: "tool.localhost", base: "/lti", platform: p}
	s := &gradedSite{caddy: tool.caddy}
	b := newBrowser(t)
	const course = "http://purl.imsglobal.org/vocab/lis/v2/membership#"
	launch := func(more map[string]any) {
		t.Helper()
		tool.mustLaunch(b, ltitest.With(map[string]any{
			ltitest.Claim("roles"): []string{course + "Instructor"}, ltitest.Claim("context"): map[string]any{"id": "2"},
		}, more))
		b.get(tool.url("/"))
	}
	launch(nil)
	if res := s.call(t, token, "GET", "members", ""); res.StatusCode != http.StatusConflict || res.json(t)["code"] != "service_missing" {
		t.Errorf("without the service: %d %s", res.StatusCode, res.body)
	}
	if res := b.get(tool.url("/members.csv")); res.StatusCode != http.StatusConflict || !strings.Contains(res.body, "The members of this course are not known here") {
		t.Errorf("the file without the service: %d %s", res.StatusCode, res.body)
	}
	launch(map[string]any{"https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice": map[string]any{
		"context_memberships_url": members, "service_versions": []string{"1.0", "2.0"},
	}})
	res := s.call(t, token, "GET", "members", "")
	list, short := res.members(t)
	if short != "3 Instructor, 6 Learner, 4 Learner, 5 Learner" || list[1].Name != `Conan O'Brien & "Co"` || list[1].Roles[0] != course+"Learner" || list[1].Status != "Active" {
		t.Errorf("%s", res.body)
	}
	if _, short := s.call(t, token, "GET", "members?role=learner", "").members(t); short != "6 Learner, 4 Learner, 5 Learner" {
		t.Errorf("learners: %s", short)
	}
	if list, _ := s.call(t, token, "GET", "members?resource_link=34", "").members(t); len(list) != 4 || len(list[0].Message) != 1 {
		t.Errorf("of a link: %v", list)
	}
	if res := s.call(t, token, "GET", "members?resource_link=99999", ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("of another link: %d %s", res.StatusCode, res.body)
	}
	if _, short := s.call(t, membersKey, "GET", "members?platform=lms&context=2", "").members(t); short != "3 Instructor, 6 Learner, 4 Learner, 5 Learner" {
		t.Errorf("by key: %s", short)
	}
	// The rest is as it was where there are no grades.
	for _, call := range [][2]string{{token, "lineitems"}, {token, "results"}, {membersKey, "lineitems?platform=lms&context=2"}} {
		if res := s.call(t, call[0], "GET", call[1], ""); res.StatusCode != http.StatusConflict || res.json(t)["code"] != "service_missing" {
			t.Errorf("%s: %d %s", call[1], res.StatusCode, res.body)
		}
	}
	if res := b.get(tool.url("/lti/grades")); !strings.Contains(res.body, "<h1>") || res.StatusCode != http.StatusOK {
		t.Errorf("/lti/grades: %d", res.StatusCode)
	}
}
