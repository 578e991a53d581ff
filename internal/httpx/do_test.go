package httpx

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestDo(t *testing.T) {
	s := newSite(t, Config{UserAgent: "tool/1"})
	s.handle("/scores", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for name, want := range map[string]string{
			"User-Agent": "tool/1", "Authorization": "Bearer S3cr3t", "Content-Type": "application/vnd.ims.lis.v1.score+json", "Accept": "",
		} {
			if got := r.Header.Values(name); strings.Join(got, " and ") != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if r.Method != "PUT" || string(body) != "{}" || r.ContentLength != 2 || r.URL.RawQuery != query[1:] {
			t.Errorf("%s %s with %d bytes %q", r.Method, r.URL, r.ContentLength, body)
		}
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(422)
		_, _ = io.WriteString(w, "no")
	})
	resp, err := s.client.Do(t.Context(), &Request{
		Method: "PUT", URL: s.URL + "/scores" + query, Body: []byte("{}"), MaxBytes: 2,
		Header: http.Header{"Authorization": {"Bearer S3cr3t"}, "content-type": {"application/vnd.ims.lis.v1.score+json"}, "user-agent": {"other"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Status != 422 || resp.Reason != "" || string(resp.Body) != "no" || resp.Header.Get("X-Answer") != "yes" || resp.URL != s.URL+"/scores"+query {
		t.Errorf("answer %+v", resp)
	}
}

// A redirect would take the credential along, to a host of the answer's choice.
func TestDoFollowsNoRedirect(t *testing.T) {
	s := newPlainSite(t, Config{})
	s.handle("/elsewhere", func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") })
	for _, status := range []int{301, 302, 303, 307, 308} {
		s.mux = http.NewServeMux()
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				t.Error("the redirect was followed")
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		})
		for _, method := range []string{"GET", "POST"} {
			resp, err := s.client.Do(t.Context(), &Request{Method: method, URL: s.URL + "/", MaxBytes: 1000})
			if err != nil || resp.Status != status || resp.Header.Get("Location") != "/elsewhere" {
				t.Errorf("%s with %d: %+v, %v", method, status, resp, err)
			}
		}
	}
}

func TestDoRefuses(t *testing.T) {
	s := newPlainSite(t, Config{})
	s.handle("/", func(http.ResponseWriter, *http.Request) { t.Error("the server was reached") })
	c := New(Config{})
	for _, raw := range []string{s.URL + "/" + query, "https://169.254.169.254/" + query, "https://[::1]/" + query} {
		_, err := c.Do(t.Context(), &Request{Method: "POST", URL: raw, MaxBytes: 1})
		if !errors.Is(err, ErrPrivateAddress) || !strings.Contains(err.Error(), ": connect: ") {
			t.Errorf("%s: %v, want ErrPrivateAddress while connecting", raw, err)
		}
		checkMessage(t, err)
	}
	for _, raw := range []string{"", "http://lms.example.edu/" + query, "https://u:p@lms.example.edu/", "https://lms.example.edu/#x"} {
		if _, err := c.Do(t.Context(), &Request{Method: "POST", URL: raw}); err == nil {
			t.Errorf("Do(%q) succeeded", raw)
		} else {
			checkMessage(t, err)
		}
	}
	for _, r := range []*Request{
		{Method: "S3 cr3t", URL: s.URL},
		{Method: "GET", URL: s.URL, Header: http.Header{"Authorization": {"Bearer S3cr3t\n"}}},
	} {
		if _, err := s.client.Do(t.Context(), r); err == nil {
			t.Errorf("Do(%+v) succeeded", r)
		} else {
			checkMessage(t, err)
		}
	}
}

func TestDoSaysWhatFailed(t *testing.T) {
	s := newSite(t, Config{Timeout: 200 * time.Millisecond})
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	s.handle("/silent", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-release
	})
	s.handle("/half", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "x")
		_ = http.NewResponseController(w).Flush()
		<-release
	})
	s.handle("/large", func(w http.ResponseWriter, _ *http.Request) {
		for range 10 {
			_, _ = io.WriteString(w, "0123456789")
			_ = http.NewResponseController(w).Flush()
		}
	})
	plain, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	go func() {
		conn, err := plain.Accept()
		if err == nil {
			<-release
			conn.Close()
		}
	}()
	mute := New(Config{Timeout: 200 * time.Millisecond, AllowPrivate: []AllowRule{allow(t, "127.0.0.1")}})
	for _, tt := range []struct {
		name   string
		client *Client
		url    string
		says   string
		is     error
	}{
		{"refused", mute, "https://127.0.0.1:1/", ": connect: ", nil},
		{"mute", mute, "https://" + plain.Addr().String() + "/", ": TLS handshake: ", nil},
		{"silent", s.client, s.URL + "/silent", ": wait for the answer: ", nil},
		{"half", s.client, s.URL + "/half", ": read the body: ", context.DeadlineExceeded},
		{"large", s.client, s.URL + "/large", "response too large", ErrTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, err := tt.client.Do(t.Context(), &Request{Method: "POST", URL: tt.url + query, Body: []byte("S3cr3t"), MaxBytes: 99})
			if err == nil {
				t.Fatalf("answer %+v", resp)
			}
			if !strings.HasPrefix(err.Error(), "post "+tt.url+": ") || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%q does not say %q", err, tt.says)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is no %v", err, tt.is)
			}
			var timeout net.Error
			if tt.name == "silent" && (!errors.As(err, &timeout) || !timeout.Timeout()) {
				t.Errorf("%v is no timeout", err) // of the context or of the transport, whichever comes first
			}
			checkMessage(t, err)
		})
	}
}

// What a status says stands, whatever comes behind it.
func TestDoWithoutBody(t *testing.T) {
	s := newPlainSite(t, Config{})
	large := strings.Repeat("x", 100)
	s.handle("/large/{status}", func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.PathValue("status"))
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, large)
	})
	s.handle("/broken/{status}", func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.PathValue("status"))
		w.Header().Set("Content-Length", "50")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "x")
	})
	for _, tt := range []struct {
		path       string
		statusOnly bool
		want       int // status; 0 is an error
	}{
		{"/large/503", false, 503},
		{"/large/503", true, 503},
		{"/large/307", false, 307},
		{"/large/200", true, 200},
		{"/large/200", false, 0},
		{"/broken/200", true, 200},
		{"/broken/200", false, 0},
		{"/broken/400", true, 0}, // its words would have said more
	} {
		resp, err := s.client.Do(t.Context(), &Request{Method: "POST", URL: s.URL + tt.path, MaxBytes: 99, StatusOnly: tt.statusOnly})
		switch {
		case tt.want == 0 && err == nil, tt.want != 0 && (err != nil || resp.Status != tt.want || resp.Header.Get("Retry-After") != "7"):
			t.Errorf("%s, %t: %+v, %v", tt.path, tt.statusOnly, resp, err)
		}
	}
}

// Moodle gives its reasons nowhere but in the status line.
func TestReason(t *testing.T) {
	s := newPlainSite(t, Config{})
	for line, want := range map[string]string{
		"409 Refusing score with an earlier timestamp": "Refusing score with an earlier timestamp",
		"409 Conflict":  "",
		"409 conflict":  "",
		"409 ":          "",
		"409":           "",
		"299 Something": "Something",
	} {
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 "+line+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		})
		resp, err := s.client.Do(t.Context(), &Request{Method: "POST", URL: s.URL, MaxBytes: 10})
		if err != nil || resp.Reason != want {
			t.Errorf("%q: %+v, %v; want the reason %q", line, resp, err, want)
		}
	}
}

func TestOrigin(t *testing.T) {
	for raw, want := range map[string]string{
		"https://lms.example.edu/a?b":    "https://lms.example.edu",
		"HTTPS://LMS.example.edu:443":    "https://lms.example.edu",
		"https://lms.example.edu:8443/":  "https://lms.example.edu:8443",
		"https://lms.example.edu:80/":    "https://lms.example.edu:80",
		"http://lms.localhost:80/":       "http://lms.localhost",
		"http://127.0.0.1:8080/x":        "http://127.0.0.1:8080",
		"https://[::1]:443/":             "https://[::1]",
		"http://lms.example.edu/":        "",
		"https://u@lms.example.edu/":     "",
		"//lms.example.edu/":             "",
		"https://lms.example.edu\\@evil": "",
	} {
		if got, err := Origin(raw); got != want || (err == nil) != (want != "") {
			t.Errorf("Origin(%q) = %q, %v; want %q", raw, got, err, want)
		}
	}
}

func TestNextPage(t *testing.T) {
	const base = "https://lms.example.edu/li?type_id=13"
	for _, tt := range []struct {
		name   string
		fields []string
		want   string
	}{
		{"none", nil, ""},
		{"usual", []string{`<https://lms.example.edu/li?p=2>; rel="next"`}, "https://lms.example.edu/li?p=2"},
		{"token", []string{`<https://lms.example.edu/li?p=2>;rel=next`}, "https://lms.example.edu/li?p=2"},
		{"among others", []string{`<https://lms.example.edu/1>; rel="first", <https://lms.example.edu/3>; title="a, b; rel=\"next\""; REL="last Next"`}, "https://lms.example.edu/3"},
		{"second field", []string{`</1>; rel="first"`, `</2>; rel="next"`}, "https://lms.example.edu/2"},
		{"relative", []string{`<?p=2>; rel="next"`}, "https://lms.example.edu/li?p=2"},
		{"comma and semicolon within", []string{`</li?a=1,2;3>; rel="next"`}, "https://lms.example.edu/li?a=1,2;3"},
		{"verbatim", []string{`</li?b=%2f+%20&a=[1]&a>; rel="next"`}, "https://lms.example.edu/li?b=%2f+%20&a=[1]&a"},
		{"first rel counts", []string{`</2>; rel="prev"; rel="next"`}, ""},
		{"about something else", []string{`</2>; rel="next"; anchor="#x"`}, ""},
		{"not next", []string{`</2>; rel="nextish"; title=next`}, ""},
		{"entities that are parameters", []string{`</2?a=1&lt=3&copy=4>; rel="next"`}, "https://lms.example.edu/2?a=1&lt=3&copy=4"},
		{"fragment", []string{`</2#x>; rel="next"`}, "https://lms.example.edu/2"},
		{"same origin, other spelling", []string{`<https://LMS.example.edu:443/2>; rel=next`}, "https://LMS.example.edu:443/2"},
		{"no brackets", []string{`https://lms.example.edu/2; rel=next`, `<https://lms.example.edu/2`}, ""},
		{"empty", []string{`<>; rel="next"`, ``, `,`}, ""},
		{"Moodle", []string{"<https://lms.example.edu/li?type_id=13&amp;limit=1&amp;from=0>; rel=“first”, <https://lms.example.edu/li?type_id=13&amp;limit=1&amp;from=1>; rel=“next”, <https://lms.example.edu/li?type_id=13&amp;limit=1&amp;from=5>; rel=“last”"}, "https://lms.example.edu/li?type_id=13&limit=1&from=1"},
	} {
		h := http.Header{"Link": tt.fields}
		if got, err := NextPage(h, base); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
	for _, target := range []string{
		"https://evil.example/2", "https://lms.example.edu:8443/2", "//evil.example/2", "https://lms.example.edu.evil.example/",
		"http://lms.example.edu/2", "https://u@lms.example.edu/2", "ftp://lms.example.edu/", "javascript:1", "https://lms.example.edu:x/",
	} {
		if got, err := NextPage(http.Header{"Link": {"<" + target + ">; rel=next"}}, base); err == nil || got != "" {
			t.Errorf("%s was taken: %q", target, got)
		}
	}
}

func FuzzNextPage(f *testing.F) {
	f.Add(`<https://lms.example.edu/li?p=2>; rel="next"`)
	f.Add("</1>; rel=“first”, </li?a&amp;b>; rel=“next”")
	f.Add(`</1>; title="a\", b"; rel=next`)
	f.Add(`<//evil.example/>;rel=next`)
	f.Fuzz(func(t *testing.T, field string) {
		const base = "https://lms.example.edu/li?type_id=13"
		got, err := NextPage(http.Header{"Link": {field}}, base)
		if err != nil || got == "" {
			if got != "" {
				t.Errorf("%q beside %v", got, err)
			}
			return
		}
		if o, err := Origin(got); err != nil || o != "https://lms.example.edu" {
			t.Errorf("NextPage(%q) = %q of origin %q, %v", field, got, o, err)
		}
	})
}
