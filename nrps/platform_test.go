package nrps

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/service"
)

var _ Caller = (*service.Session)(nil)

const (
	token   = "0123456789abcdef"
	learner = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"
	teacher = "http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"
)

// lms is a platform that counts what it is asked.
type lms struct {
	*httptest.Server
	t    testing.TB
	mu   sync.Mutex
	asks []string // what was asked for, in order
}

// newLMS starts a platform whose roster service is h.
func newLMS(t testing.TB, h http.HandlerFunc) *lms {
	t.Helper()
	l := &lms{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if scope := r.FormValue("scope"); scope != ScopeMembership {
			t.Errorf("scope %q", scope)
		}
		_, _ = io.WriteString(w, `{"access_token":"`+token+`","token_type":"Bearer","expires_in":3600}`)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		l.asks = append(l.asks, r.URL.String())
		l.mu.Unlock()
		accept := r.Header.Values("Accept")
		if r.Method != "GET" || r.Header.Get("Authorization") != "Bearer "+token || !slices.Equal(accept, []string{mediaType}) {
			t.Errorf("%s %s with %v", r.Method, r.URL, r.Header)
		}
		w.Header().Set("Content-Type", mediaType)
		h(w, r)
	})
	l.Server = httptest.NewUnstartedServer(mux)
	l.Config.ErrorLog = log.New(io.Discard, "", 0)
	l.StartTLS()
	return l
}

func (l *lms) asked() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.asks)
}

// client returns one for the roster at a path.
func (l *lms) client(path string) *Client {
	rule, err := httpx.ParseAllow(l.Listener.Addr().String())
	if err != nil {
		l.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(l.Certificate())
	web := httpx.New(httpx.Config{AllowPrivate: []httpx.AllowRule{rule}, RootCAs: roots})
	access := service.New(service.Config{HTTP: web, Sign: func([]byte) (string, error) { return "a.b.c", nil }})
	l.t.Cleanup(func() {
		access.Close()
		web.CloseIdle()
		l.Close()
	})
	session := access.For(service.Access{
		Platform: &service.Platform{Name: "lms", ClientID: "c", TokenURL: l.URL + "/token"},
		Origins:  []string{l.URL},
	})
	return New(session, Endpoint{URL: l.URL + path, Context: Context{ID: "launched", Title: "From the launch"}})
}

// serve answers each request with the page that its query p names, the first for
// none, and links to the next one.
func serve(pages ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n := 1
		_, _ = fmt.Sscan(r.FormValue("p"), &n)
		if n < len(pages) {
			w.Header().Set("Link", fmt.Sprintf(`<?p=%d>; rel="next"`, n+1))
		}
		_, _ = io.WriteString(w, pages[n-1])
	}
}

// roster is a page with these members.
func roster(members ...string) string {
	return `{"id":"https://lms.example/m","context":{"id":"c1","label":"BIO","title":"Biology"},"members":[` + strings.Join(members, ",") + `]}`
}

// member is one with a role.
func member(id, role string) string { return fmt.Sprintf(`{"user_id":%q,"roles":[%q]}`, id, role) }

// read reads a roster and returns what it says, and its members.
func read(t testing.TB, c *Client, f Filter) (*Roster, []Member, error) {
	t.Helper()
	r, err := c.Open(t.Context(), f)
	if err != nil {
		return nil, nil, known(t, err)
	}
	var members []Member
	for m, err := range r.Members() {
		if err != nil {
			return r, members, known(t, err)
		}
		members = append(members, m)
	}
	return r, members, nil
}

// known checks what holds for every error.
func known(t testing.TB, err error) error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%T is no *Error: %v", err, err)
	}
	for _, secret := range []string{token, "S3cr3t", "Lovelace"} {
		if strings.Contains(e.Error(), secret) {
			t.Errorf("%q holds %q", e, secret)
		}
	}
	if e.Op != op || !strings.HasPrefix(e.Error(), op+": ") || e.Whose == "" {
		t.Errorf("%+v", e)
	}
	return err
}

// short writes members as "id:role+role/status", the latter if not Active.
func short(members []Member) string {
	var out []string
	for _, m := range members {
		var roles []string
		for _, r := range m.Roles {
			roles = append(roles, r[strings.LastIndexAny(r, "#/")+1:])
		}
		s := m.UserID + ":" + strings.Join(roles, "+")
		if m.Status != Active {
			s += "/" + m.Status
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// callerFunc is a platform without a network.
type callerFunc func(url string) (http.Header, io.ReadCloser, error)

func (f callerFunc) Open(_ context.Context, _ []string, _, url string, _ http.Header, _ int64) (http.Header, io.ReadCloser, error) {
	return f(url)
}
