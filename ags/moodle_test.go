package ags

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/service"
)

var _ Caller = (*service.Session)(nil)

const moodleSite = "https://moodle.localhost:8443"

// exchange is a recorded request with its answer.
type exchange struct {
	Request struct {
		Method      string
		URL         string
		Accept      *string
		ContentType *string
		Body        json.RawMessage
	}
	Response struct {
		Status  int
		Reason  string
		Headers map[string]string
		Body    json.RawMessage
	}
}

// moodle plays back what a real Moodle 4.5 answered, to the requests that it was
// sent: another request fails the test.
type moodle struct {
	*httptest.Server
	t        *testing.T
	recorded map[string]*exchange

	mu    sync.Mutex
	queue []string
}

func newMoodle(t *testing.T, file string) *moodle {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	m := &moodle{t: t, recorded: make(map[string]*exchange)}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	for name, raw := range all {
		x := new(exchange)
		if json.Unmarshal(raw, x) == nil && x.Response.Status != 0 {
			m.recorded[name] = x
		}
	}
	m.Server = httptest.NewTLSServer(m)
	return m
}

// client returns one that may do everything.
func (m *moodle) client() *Client {
	rule, err := httpx.ParseAllow(m.Listener.Addr().String())
	if err != nil {
		m.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(m.Certificate())
	web := httpx.New(httpx.Config{AllowPrivate: []httpx.AllowRule{rule}, RootCAs: roots})
	access := service.New(service.Config{HTTP: web, Sign: func([]byte) (string, error) { return "a.b.c", nil }})
	m.t.Cleanup(func() {
		access.Close()
		web.CloseIdle()
		m.Close()
	})
	session := access.For(service.Access{
		Platform: &service.Platform{Name: "moodle", ClientID: "c", TokenURL: m.URL + "/token"},
		Origins:  []string{m.URL},
	})
	return New(session, Endpoint{
		Scopes:    []string{ScopeLineItem, ScopeLineItemReadOnly, ScopeResultReadOnly, ScopeScore},
		LineItems: m.URL + "/mod/lti/services.php/2/lineitems?type_id=13",
		LineItem:  m.item(51),
	})
}

func (m *moodle) item(n int) string {
	return fmt.Sprintf("%s/mod/lti/services.php/2/lineitems/%d/lineitem?type_id=13", m.URL, n)
}

// play names the exchanges that come next.
func (m *moodle) play(names ...string) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) > 0 {
		m.t.Errorf("not asked for: %q", m.queue)
	}
	for _, name := range names {
		if m.recorded[name] == nil {
			m.t.Fatalf("no record of %q", name)
		}
	}
	m.queue = names
}

func (m *moodle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `{"access_token":"0123456789abcdef","token_type":"Bearer","expires_in":3600}`)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		m.t.Errorf("unexpected %s %s", r.Method, r.URL)
		return
	}
	name := m.queue[0]
	m.queue = m.queue[1:]
	x := m.recorded[name]
	if want := strings.TrimPrefix(x.Request.URL, moodleSite); r.Method != x.Request.Method || r.URL.String() != want {
		m.t.Errorf("%s: %s %s, want %s %s", name, r.Method, r.URL, x.Request.Method, want)
	}
	header := func(field string, want *string) {
		if got := r.Header.Values(field); want == nil && len(got) > 0 || want != nil && !reflect.DeepEqual(got, []string{*want}) {
			m.t.Errorf("%s: %s is %q, want what was recorded", name, field, got)
		}
	}
	header("Accept", x.Request.Accept)
	header("Content-Type", x.Request.ContentType)
	body, _ := io.ReadAll(r.Body)
	if len(x.Request.Body) > 0 {
		var got, want any
		if json.Unmarshal(body, &got) != nil || json.Unmarshal(x.Request.Body, &want) != nil || !reflect.DeepEqual(got, want) {
			m.t.Errorf("%s: body %s, want %s", name, body, x.Request.Body)
		}
	}

	answer := []byte(x.Response.Body)
	var text string
	if json.Unmarshal(answer, &text) == nil {
		answer = []byte(text)
	}
	answer = bytes.ReplaceAll(answer, []byte(moodleSite), []byte(m.URL))
	conn, buf, err := http.NewResponseController(w).Hijack() // for words of one's own in the status line
	if err != nil {
		m.t.Error(err)
		return
	}
	defer conn.Close()
	fmt.Fprintf(buf, "HTTP/1.1 %d %s\r\nConnection: close\r\n", x.Response.Status, x.Response.Reason)
	for field, value := range x.Response.Headers {
		// The recorder read bytes as Latin-1.
		raw := make([]byte, 0, len(value))
		for _, c := range value {
			raw = append(raw, byte(c))
		}
		fmt.Fprintf(buf, "%s: %s\r\n", field, bytes.ReplaceAll(raw, []byte(moodleSite), []byte(m.URL)))
	}
	if x.Response.Status != 204 {
		fmt.Fprintf(buf, "Content-Length: %d\r\n", len(answer))
	}
	fmt.Fprintf(buf, "\r\n%s", answer)
	buf.Flush()
}

// check expects an [Error] with a reason.
func check(t *testing.T, what string, err, reason error, words string) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || !errors.Is(err, reason) || e.Words != words {
		t.Errorf("%s: %v (%+v), want %v with the words %q", what, err, e, reason, words)
		return new(Error)
	}
	if !strings.HasPrefix(e.Error(), e.Op+": ") || strings.Contains(e.Error(), "type_id") || strings.Contains(e.Error(), "0123456789abcdef") {
		t.Errorf("%s: %q", what, e)
	}
	return e
}

func TestMoodleLineItems(t *testing.T) {
	m := newMoodle(t, "moodle-lineitems.json")
	c := m.client()
	list := func(f Filter, take int) (ids []string) {
		t.Helper()
		for li, err := range c.LineItems(t.Context(), f) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, strings.TrimSuffix(strings.TrimPrefix(li.ID, m.URL+"/mod/lti/services.php/2/lineitems/"), "/lineitem?type_id=13"))
			if len(ids) == take {
				break
			}
		}
		return ids
	}
	for _, tt := range []struct {
		plays  []string
		filter Filter
		take   int
		want   string
	}{
		{[]string{"list"}, Filter{}, 0, "[51 52 53 54 55]"},
		{[]string{"list, limit=1", "list, limit=1, from=1"}, Filter{Limit: 1}, 2, "[51 52]"},
		{[]string{"list, resource_link_id"}, Filter{ResourceLinkID: "34"}, 0, "[51 55]"},
		{[]string{"list, resource_id"}, Filter{ResourceID: "made-1"}, 0, "[54]"},
		{[]string{"list, tag"}, Filter{Tag: "made"}, 0, "[54 55]"},
		{[]string{"list, tag none"}, Filter{Tag: "none"}, 0, "[]"},
	} {
		m.play(tt.plays...)
		if got := fmt.Sprint(list(tt.filter, tt.take)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.plays, got, tt.want)
		}
	}

	m.play("one")
	li, err := c.LineItem(t.Context(), m.item(51))
	if err != nil {
		t.Fatal(err)
	}
	if li.ID != m.item(51) || li.Label != "Capture & link" || li.ScoreMaximum != 20 || li.ResourceID != "res-1" || li.Tag != "tag-1" || li.ResourceLinkID != "34" || string(li.Extra["ltiLinkId"]) != `"34"` || len(li.Extra) != 1 {
		t.Errorf("%+v", li)
	}

	m.play("create")
	li, err = c.CreateLineItem(t.Context(), LineItem{
		ID: "https://other.example/", Label: "Made by tool & <b>b</b> é", ScoreMaximum: 30, ResourceID: "made-1", Tag: "made",
		StartDateTime: "2026-01-01T00:00:00Z", EndDateTime: "2027-01-01T00:00:00Z",
		Extra: map[string]json.RawMessage{"https://tool.test/ext": json.RawMessage("1"), "ltiLinkId": json.RawMessage("2")},
	})
	if err != nil || li.ID != m.item(54) || string(li.Extra["https://tool.test/ext"]) != "1" {
		t.Errorf("create: %+v, %v", li, err)
	}

	m.play("list, resource_link_id")
	found, made, err := c.FindOrMake(t.Context(), Wanted{ResourceLinkID: "34", ResourceID: "made-2", Tag: "made", Label: "x", ScoreMaximum: 1})
	if err != nil || made || found == nil || found.ID != m.item(55) {
		t.Errorf("find: %+v, %t, %v", found, made, err)
	}
}

func TestMoodleLineItemErrors(t *testing.T) {
	m := newMoodle(t, "moodle-lineitems.json")
	c := m.client()
	m.play("create, resourceLinkId of none")
	_, err := c.CreateLineItem(t.Context(), LineItem{Label: "bad link", ScoreMaximum: 5, ResourceLinkID: "99999"})
	if e := check(t, "unknown link", err, ErrUnknownLink, "Forbidden"); e.Retry || e.Whose != Developer {
		t.Errorf("%+v", e)
	}
	m.play("read-only token creates", "read-only token creates")
	_, err = c.CreateLineItem(t.Context(), LineItem{Label: "ro", ScoreMaximum: 5})
	if e := check(t, "read-only", err, ErrNotAllowed, "Unauthorized"); e.Retry || e.Whose != ToolAdmin {
		t.Errorf("%+v", e)
	}
	m.play("unknown line item")
	_, err = c.LineItem(t.Context(), m.item(99999))
	if e := check(t, "gone", err, ErrGone, "Not Found: Grade item 99999 doesn't exist"); e.Retry || e.Whose != PlatformAdmin || e.Status != 404 {
		t.Errorf("%+v", e)
	}
	for _, li := range []LineItem{{Label: "no max"}, {ScoreMaximum: 5}, {Label: " ", ScoreMaximum: 5}} {
		if _, err := c.CreateLineItem(t.Context(), li); !hasFieldErrors(err) {
			t.Errorf("%+v: %v", li, err)
		}
	}
	m.play()
}

func hasFieldErrors(err error) bool {
	_, ok := errors.AsType[FieldErrors](err)
	return ok
}

func at(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestMoodleScores(t *testing.T) {
	m := newMoodle(t, "moodle-scores.json")
	c := m.client()
	of := func(user string, given, maximum float64, when string) Score {
		return Score{UserID: user, ScoreGiven: &given, ScoreMaximum: &maximum, Timestamp: at(t, when)}
	}
	first := of("5", 8, 10, "2026-11-24T05:00:19.153999+01:00")
	first.Comment = "Well <b>done</b> é"
	none := of("5", 0, 10, "2026-11-24T04:01:02.153Z")
	none.ScoreGiven = nil
	pending := of("5", 1, 10, "2026-11-24T04:01:05.153Z")
	pending.GradingProgress = Pending
	progress := of("5", 2, 10, "2026-11-24T04:01:06.153Z")
	progress.GradingProgress, progress.ActivityProgress = NotReady, InProgress
	older := "Refusing score with an earlier timestamp for item 51 and user 5"
	for _, tt := range []struct {
		plays  string
		score  Score
		reason error
		words  string
		erases bool
	}{
		{"first", first, nil, "", false},
		{"same timestamp, other score", of("5", 5, 10, "2026-11-24T04:00:19.153Z"), ErrOlder, older, false},
		{"older timestamp", of("5", 1, 10, "2026-11-24T03:59:19.153Z"), ErrOlder, older, false},
		{"newer by 1 ms", of("5", 7, 10, "2026-11-24T04:00:29.154Z"), ErrOlder, older, false},
		{"now, after one ahead", of("5", 2, 10, "2026-11-24T04:01:19.153Z"), ErrOlder, older, false},
		{"more than the maximum", of("5", 12, 10, "2026-11-24T04:00:59.153Z"), nil, "", false},
		{"fraction", of("5", 0.123456789, 1, "2026-11-24T04:01:09.153Z"), nil, "", false},
		{"no scoreGiven", none, nil, "", true},
		{"Pending", pending, nil, "", true},
		{"NotReady, InProgress", progress, nil, "", true},
		{"unknown user", of("99999", 8, 10, "2026-11-24T04:01:11.153Z"), ErrNotLearner, "Incorrect score received", false},
		{"the teacher", of("3", 8, 10, "2026-11-24T04:01:12.153Z"), ErrNotLearner, "Incorrect score received", false},
	} {
		m.play(tt.plays)
		err := c.SendScore(t.Context(), m.item(51), tt.score)
		if tt.reason == nil {
			if err != nil {
				t.Errorf("%s: %v", tt.plays, err)
			}
		} else if e := check(t, tt.plays, err, tt.reason, tt.words); e.Retry {
			t.Errorf("%s is retried", tt.plays)
		}
		if tt.score.Erases() != tt.erases {
			t.Errorf("%s: Erases is %t", tt.plays, !tt.erases)
		}
	}
	m.play()
}

func TestMoodleResults(t *testing.T) {
	m := newMoodle(t, "moodle-results.json")
	c := m.client()
	list := func(item int, user string) (out []Result) {
		t.Helper()
		for r, err := range c.Results(t.Context(), m.item(item), user) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, r)
		}
		return out
	}
	m.play("all")
	all := list(51, "")
	if len(all) != 1 || all[0].UserID != "5" || *all[0].ResultScore != 20 || all[0].Maximum() != 20 || all[0].ScoreOf != m.item(51) || string(all[0].Extra["timestamp"]) != `"2026-11-24T06:01:19+01:00"` {
		t.Errorf("all: %+v", all)
	}
	m.play("one user")
	if got := list(51, "5"); len(got) != 1 {
		t.Errorf("one user: %+v", got)
	}
	m.play("user without a score")
	if got := list(51, "4"); len(got) != 0 {
		t.Errorf("user without a score: %+v", got)
	}
	m.play("second line item: all")
	if got := list(55, ""); len(got) != 3 {
		t.Errorf("second line item: %+v", got)
	}
	m.play("delete")
	if err := c.DeleteLineItem(t.Context(), m.item(54)); err != nil {
		t.Error(err)
	}
	m.play("get deleted")
	_, err := c.LineItem(t.Context(), m.item(54))
	check(t, "deleted", err, ErrGone, "Not Found: Grade item 54 doesn't exist")
}

// callerFunc is a platform without a network.
type callerFunc func(method, url string, header http.Header, body []byte) (http.Header, []byte, error)

func (f callerFunc) Call(_ context.Context, _ []string, method, url string, header http.Header, body []byte, _ int64) (http.Header, []byte, error) {
	return f(method, url, header, body)
}
