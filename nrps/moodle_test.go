package nrps

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

const moodleSite = "https://moodle.localhost:8443"

// newMoodle plays back what a real Moodle 4.5 answered to the requests that it was
// sent. Another request fails the test.
func newMoodle(t *testing.T) *Client {
	t.Helper()
	data, err := os.ReadFile("testdata/moodle-nrps.json")
	if err != nil {
		t.Fatal(err)
	}
	type exchange struct {
		Request  struct{ URL string }
		Response struct {
			Status  int
			Reason  string
			Headers map[string]string
			Body    json.RawMessage
		}
	}
	recorded := make(map[string]exchange)
	var all map[string]exchange
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	for name, x := range all {
		switch name {
		case "claim", "no Accept", "Accept application/json", "no token": // what we do not send
		case "no scope":
			recorded["/refused"] = x
		default:
			recorded[strings.TrimPrefix(x.Request.URL, moodleSite)] = x
		}
	}
	var l *lms
	l = newLMS(t, func(w http.ResponseWriter, r *http.Request) {
		x, ok := recorded[r.URL.String()]
		if !ok {
			t.Errorf("%s was not recorded", r.URL)
		}
		local := func(s []byte) []byte { return bytes.ReplaceAll(s, []byte(moodleSite), []byte(l.URL)) }
		conn, buf, err := http.NewResponseController(w).Hijack() // for words of one's own in the status line
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(buf, "HTTP/1.1 %d %s\r\nConnection: close\r\n", x.Response.Status, x.Response.Reason)
		for field, value := range x.Response.Headers {
			fmt.Fprintf(buf, "%s: %s\r\n", field, local([]byte(value)))
		}
		body := local(x.Response.Body)
		fmt.Fprintf(buf, "Content-Length: %d\r\n\r\n%s", len(body), body)
		_ = buf.Flush()
	})
	return l.client("/mod/lti/services.php/CourseSection/2/bindings/13/memberships")
}

func TestMoodle(t *testing.T) {
	c := newMoodle(t)
	r, all, err := read(t, c, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if r.ID != c.endpoint.URL || r.Context != (Context{"2", "LTI101", "LTI & Testing 101"}) {
		t.Errorf("%q, %+v", r.ID, r.Context)
	}
	if got := short(all); got != "3:Instructor 6:Learner 4:Learner 5:Learner" {
		t.Error(got)
	}
	got, _ := json.Marshal(all[1])
	want := `{"user_id":"6","roles":["` + learner + `"],"status":"Active","name":"Conan O'Brien \u0026 \"Co\"","given_name":"Conan",` +
		`"family_name":"O'Brien \u0026 \"Co\"","email":"student3@moodle.test","lis_person_sourcedid":"S-003","ext_user_username":"student3"}`
	if string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}

	// In two pages.
	if _, paged, err := read(t, c, Filter{Limit: 2}); err != nil || short(paged) != short(all) {
		t.Errorf("%s, %v", short(paged), err)
	}
	if _, learners, err := read(t, c, Filter{Role: "learner"}); err != nil || short(learners) != "6:Learner 4:Learner 5:Learner" {
		t.Errorf("%s, %v", short(learners), err)
	}

	// Of a resource link.
	_, linked, err := read(t, c, Filter{ResourceLinkID: "34"})
	if err != nil || short(linked) != short(all) {
		t.Errorf("%s, %v", short(linked), err)
	}
	for _, m := range linked {
		var messages []map[string]json.RawMessage
		if err := json.Unmarshal(m.Message, &messages); err != nil || len(messages) != 1 ||
			string(messages[0]["https://purl.imsglobal.org/spec/lti/claim/message_type"]) != `"LtiResourceLinkRequest"` {
			t.Errorf("message %s, %v", m.Message, err)
		}
	}
	_, _, err = read(t, c, Filter{ResourceLinkID: "99999"})
	e, _ := errors.AsType[*Error](err)
	if !errors.Is(err, ErrUnknownLink) || e.Status != 404 || e.Whose != Developer || e.Words != "Not Found: LTI link 99999 doesn't exist" || e.Retry {
		t.Errorf("%+v", e)
	}
	c.endpoint.URL = strings.TrimSuffix(c.endpoint.URL, "/mod/lti/services.php/CourseSection/2/bindings/13/memberships") + "/refused"
	_, _, err = read(t, c, Filter{})
	e, _ = errors.AsType[*Error](err)
	if !errors.Is(err, ErrNotAllowed) || e.Status != 401 || e.Whose != ToolAdmin || e.Retry {
		t.Errorf("%+v", e)
	}
}
