package caddylti

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/service"
	"github.com/caddy-lti/lti/lti"
)

// A caller that does not take what it asked for is given up, and holds nobody up.
func TestPatience(t *testing.T) {
	gone := make(chan bool, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p := newPatient(w)
		p.time = 50 * time.Millisecond
		var err error
		for data := make([]byte, chunk); err == nil; {
			_, err = p.Write(data)
		}
		p.rest()
		gone <- p.gone
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case is := <-gone:
		if !is {
			t.Error("it is not said that the caller is gone")
		}
	case <-time.After(20 * time.Second):
		t.Error("the caller is waited for")
	}
}

// deadlines notes when which deadline is set.
type deadlines struct {
	http.ResponseWriter
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

// Each chunk has a deadline of its own, and what comes after the answer has none.
func TestDeadlines(t *testing.T) {
	w := &deadlines{ResponseWriter: httptest.NewRecorder()}
	p := newPatient(w)
	begin := time.Now()
	for range 3 {
		if _, err := p.Write(make([]byte, chunk+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	p.rest()
	for i, at := range w.set {
		if last := i == len(w.set)-1; last != at.IsZero() || !last && at.Before(begin.Add(chunkTime)) {
			t.Errorf("deadline %d is %s", i, at)
		}
	}
	if len(w.set) < 4 {
		t.Errorf("%d deadlines", len(w.set))
	}
}

// Where the roster is, is kept if something reads it, and is no part of a score.
func TestKeepsRoster(t *testing.T) {
	l := &lti.Launch{Subject: "s", MessageType: lti.MessageResourceLink}
	l.Roster.URL = "https://lms.example/m"
	l.Grades.LineItem, l.Grades.Scopes = "https://lms.example/i", []string{"https://purl.imsglobal.org/spec/lti-ags/scope/score"}
	p := &Platform{Name: "lms", service: &service.Platform{TokenURL: "https://lms.example/token"}}
	for name, tt := range map[string]struct {
		h    *Handler
		want string
	}{
		"nothing": {&Handler{}, ""},
		"grades":  {&Handler{Grade: &Grade{Header: "X-LTI-Score"}}, ""},
		"a file":  {&Handler{Roster: []string{"/members.csv"}}, l.Roster.URL},
		"the API": {&Handler{API: &API{}}, l.Roster.URL},
	} {
		tt.h.app, tt.h.Platforms = new(App), []*Platform{p}
		f := tt.h.keep(p, l, "id", "")
		if f.Roster != tt.want {
			t.Errorf("%s: %q is kept", name, f.Roster)
		}
		if f.Grades == nil {
			continue
		}
		if d, err := tt.h.destination(&caller{visit: &visit{facts: f}}, "", ""); err != nil || d.Roster != "" {
			t.Errorf("%s: a score goes with %+v, %v", name, d, err)
		}
	}
}
