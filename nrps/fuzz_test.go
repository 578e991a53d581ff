package nrps

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func FuzzPage(f *testing.F) {
	for _, seed := range []string{
		roster(member("a", "Learner"), member("a", "Instructor"), member("b", "urn:lti:role:ims/lis/Learner")),
		`{"members":[{"user_id":7,"roles":"Learner","status":"inactive","message":[{}],"group_enrollments":[{"group_id":"g"}],"x":null}],"context":{"id":1},"id":"i"}`,
		`{"members":null}`, `{"members":[]} x`, `{"members":[{"user_id":"a"`, `{"members":[{"user_id":"a"}{"user_id":"b"}]}`, `{"id":"`, `[]`, ``, `null`, `{`, `{"members":[]},`, `{"members":[],"members":[{"user_id":"\ud800"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		parse := func(body io.Reader) ([]Member, error) {
			c := New(callerFunc(func(string) (http.Header, io.ReadCloser, error) { return http.Header{}, io.NopCloser(body), nil }), Endpoint{URL: "https://lms.example/m"})
			_, members, err := read(t, c, Filter{})
			return members, err
		}
		members, err := parse(strings.NewReader(string(data)))
		// However it arrives, it says the same.
		again, errAgain := parse(iotest.OneByteReader(strings.NewReader(string(data))))
		if (err == nil) != (errAgain == nil) || !reflect.DeepEqual(members, again) {
			t.Errorf("%v, %v; byte by byte %v, %v", members, err, again, errAgain)
		}
		// What breaks off is never whole.
		if _, err := parse(io.MultiReader(strings.NewReader(string(data)), iotest.ErrReader(io.ErrUnexpectedEOF))); err == nil {
			t.Error("a body that breaks off passes for the whole")
		}
		if err == nil {
			var doc struct {
				Members []struct{} `json:"members"`
			}
			if json.Unmarshal(data, &doc) != nil {
				t.Error("it is taken, and is not JSON")
			}
		} else if e, ok := errors.AsType[*Error](err); !ok || !errors.Is(e, ErrMalformed) && !errors.Is(e, ErrCutOff) {
			t.Errorf("%+v", err)
		}
		for _, m := range members {
			if m.UserID == "" || m.Status == "" || m.Roles == nil {
				t.Errorf("%+v", m)
			}
			text, err := json.Marshal(m)
			var back Member
			if err != nil || json.Unmarshal(text, &back) != nil {
				t.Fatalf("%+v becomes %s, %v", m, text, err)
			}
			if twice, _ := json.Marshal(back); string(twice) != string(text) {
				t.Errorf("%s becomes %s", text, twice)
			}
		}
	})
}
