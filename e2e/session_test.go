package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// visitor is a browser for tests in which requests may fail, several of them may
// be under way, or many visitors are. It belongs to one goroutine.
type visitor struct {
	tool    *tool
	client  *http.Client
	cookies map[string]string
}

// newVisitor makes a visitor with connections of its own.
func (t *tool) newVisitor(tb testing.TB) *visitor {
	tb.Helper()
	return &visitor{tool: t, client: newBrowser(tb).client, cookies: make(map[string]string)}
}

// with returns a visitor who has these cookies too, and shares the connections.
func (v *visitor) with(cookies map[string]string) *visitor {
	other := &visitor{tool: v.tool, client: v.client, cookies: make(map[string]string)}
	maps.Copy(other.cookies, cookies)
	return other
}

// request makes a request as the visitor's browser would; a form is posted.
func (v *visitor) request(path, form string) (*http.Request, error) {
	method, body := http.MethodGet, io.Reader(nil)
	if form != "" {
		method, body = http.MethodPost, strings.NewReader(form)
	}
	req, err := http.NewRequest(method, v.tool.url(path), body)
	if err != nil {
		return nil, err
	}
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("Accept", "application/json")
	var pairs []string
	for name, val := range v.cookies {
		pairs = append(pairs, name+"="+val)
	}
	if len(pairs) > 0 {
		req.Header.Set("Cookie", strings.Join(pairs, "; "))
	}
	return req, nil
}

// send sends it and keeps the cookies that come back.
func (v *visitor) send(path, form string) (*answer, error) {
	req, err := v.request(path, form)
	if err != nil {
		return nil, err
	}
	res, err := v.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, &url.Error{Op: req.Method, URL: path, Err: err} // as Do does
	}
	for _, c := range res.Cookies() {
		if c.MaxAge < 0 {
			delete(v.cookies, c.Name)
		} else {
			v.cookies[c.Name] = c.Value
		}
	}
	return &answer{res, string(body)}, nil
}

// attemptOf is a launch that only needs to be posted.
type attemptOf struct {
	form    string
	cookies map[string]string // of the login
}

// begin goes through a login of a person whom diff describes.
func (v *visitor) begin(diff map[string]any) (*attemptOf, error) {
	q := url.Values{
		"iss": {v.tool.platform.Issuer}, "login_hint": {"hint"}, "client_id": {v.tool.platform.ClientID},
		"target_link_uri": {v.tool.url("/")},
	}
	res, err := v.send(v.tool.base+"/login?"+q.Encode(), "")
	if err != nil {
		return nil, err
	}
	loc, err := res.Location()
	if err != nil || res.StatusCode != http.StatusFound {
		return nil, fmt.Errorf("login: %d %s", res.StatusCode, res.body)
	}
	auth := loc.Query()
	token := v.tool.platform.Token(ltitest.With(v.tool.platform.Claims(auth.Get("nonce"), v.tool.url("/")), diff))
	a := &attemptOf{
		form:    url.Values{"state": {auth.Get("state")}, "id_token": {token}}.Encode(),
		cookies: make(map[string]string),
	}
	for _, c := range res.Cookies() {
		if c.MaxAge >= 0 {
			a.cookies[c.Name] = c.Value
		}
	}
	return a, nil
}

// finish posts the launch and returns the new session's id.
func (v *visitor) finish(a *attemptOf) (string, error) {
	res, err := v.send(v.tool.base+"/launch", a.form)
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusSeeOther {
		return "", fmt.Errorf("launch: %d %s", res.StatusCode, res.body)
	}
	return v.cookies["__Host-lti"], nil
}

// launch does both.
func (v *visitor) launch(tb testing.TB, diff map[string]any) string {
	tb.Helper()
	a, err := v.begin(diff)
	if err != nil {
		tb.Fatal(err)
	}
	id, err := v.finish(a)
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// page asks for a protected page with this session's id alone, and returns the
// answer's status and body.
func (v *visitor) page(tb testing.TB, id string) (int, string) {
	tb.Helper()
	res, err := v.with(map[string]string{"__Host-lti": id}).send("/page", "")
	if err != nil {
		tb.Fatal(err)
	}
	return res.StatusCode, res.body
}

// mustBe fails the test unless the id belongs to that person, or to nobody.
func (v *visitor) mustBe(tb testing.TB, what, id, person string) {
	tb.Helper()
	status, body := v.page(tb, id)
	switch {
	case person == "" && status != http.StatusUnauthorized:
		tb.Errorf("%s: %d %q, expected 401", what, status, body)
	case person != "" && (status != http.StatusOK || !strings.Contains(body, "user="+person+"@lms ")):
		tb.Errorf("%s: %d %q, expected the page of %s", what, status, body, person)
	}
}

func sub(name string) map[string]any { return map[string]any{"sub": name} }

func TestEachLaunchGetsItsOwnID(t *testing.T) {
	tool := startTool(t, "", echo)
	v := tool.newVisitor(t)
	var ids []string
	for range 4 {
		ids = append(ids, v.launch(t, sub("ann")))
	}
	// A person may come from several courses and keep a tab open for each.
	course := v.launch(t, map[string]any{"sub": "ann", ltitest.Claim("context"): map[string]any{"id": "course-2"}})
	ids = append(ids, course)
	for i, id := range ids {
		if len(id) < 43 || slices.Index(ids, id) != i {
			t.Errorf("id %d is %q", i, id)
		}
		v.mustBe(t, fmt.Sprintf("launch %d of %d", i, len(ids)), id, "ann")
	}
}

// Two tabs of one browser: each goes on with the launch that its requests name.
func TestTwoTabs(t *testing.T) {
	tool := startTool(t, "", `respond "course={http.request.header.X-Lti-Context-Id}"`)
	v := tool.newVisitor(t)
	begun := make(map[string]*attemptOf)
	for _, course := range []string{"course-1", "course-2"} { // both logins are under way
		a, err := v.begin(map[string]any{ltitest.Claim("context"): map[string]any{"id": course}})
		if err != nil {
			t.Fatal(err)
		}
		begun[course] = a
	}
	ids := make(map[string]string)
	for course, a := range begun {
		id, err := v.finish(a)
		if err != nil {
			t.Fatal(err)
		}
		ids[course] = id
	}
	for course, id := range ids {
		if status, body := v.page(t, id); status != http.StatusOK || body != "course="+course {
			t.Errorf("the session of %s: %d %s", course, status, body)
		}
	}
}

// On a shared computer, the next person's launch leaves nothing of the one before.
func TestAnotherPersonsLaunch(t *testing.T) {
	p := ltitest.NewPlatform(t)
	second := strings.NewReplacer("platform lms", "platform second", "client_id client-1", "client_id client-2").Replace(platformBlock(p))
	tool := &tool{host: "tool.localhost", base: "/lti", platform: p}
	tool.caddy = startCaddy(t, global(ltiGlobal)+toolSite(p, second, echo))
	v, elsewhere := tool.newVisitor(t), tool.newVisitor(t)

	first, anns := v.launch(t, sub("ann")), v.launch(t, sub("ann"))
	others := elsewhere.launch(t, sub("ann"))
	bobs := v.launch(t, sub("bob"))
	v.mustBe(t, "ann's first session", first, "")
	v.mustBe(t, "ann's second session", anns, "")
	v.mustBe(t, "bob's session", bobs, "bob")
	v.mustBe(t, "ann's session in another browser", others, "ann")

	// The same sub of another client is somebody else.
	q := url.Values{"iss": {p.Issuer}, "login_hint": {"x"}, "client_id": {"client-2"}, "target_link_uri": {tool.url("/")}}
	res, err := v.send("/lti/login?"+q.Encode(), "")
	if err != nil {
		t.Fatal(err)
	}
	loc, err := res.Location()
	if err != nil {
		t.Fatalf("login: %d %s", res.StatusCode, res.body)
	}
	claims := ltitest.With(p.Claims(loc.Query().Get("nonce"), tool.url("/")), map[string]any{"sub": "bob", "aud": "client-2"})
	id, err := v.finish(&attemptOf{form: url.Values{"state": {loc.Query().Get("state")}, "id_token": {p.Token(claims)}}.Encode()})
	if err != nil {
		t.Fatal(err)
	}
	v.mustBe(t, "bob of the first client", bobs, "")
	if status, body := v.page(t, id); status != http.StatusOK || !strings.Contains(body, "user=bob@second ") {
		t.Errorf("bob of the second client: %d %s", status, body)
	}
}

// A browser that learned about partitioned cookies meanwhile has two of the
// name, and does not say which is which.
func TestTwoCookiesOfOneName(t *testing.T) {
	tool := startTool(t, "", echo)
	v := tool.newVisitor(t)
	for _, order := range [][2]string{{"ann", "cay"}, {"cay", "ann"}, {"ann", "bob"}, {"bob", "ann"}} {
		ids := [2]string{tool.newVisitor(t).launch(t, sub(order[0])), tool.newVisitor(t).launch(t, sub(order[1]))}
		// The cookie's value carries the other cookie, which is how two look.
		shared := v.with(map[string]string{"__Host-lti": ids[0] + "; __Host-lti=" + ids[1]})
		bobs := shared.launch(t, sub("bob"))
		for i, id := range ids {
			want := ""
			if order[i] == "bob" {
				want = "bob"
			}
			v.mustBe(t, fmt.Sprintf("cookies of %v, then bob: cookie %d", order, i), id, want)
		}
		v.mustBe(t, "bob's session", bobs, "bob")

		// Whoever signs out is signed out.
		ids = [2]string{tool.newVisitor(t).launch(t, sub(order[0])), tool.newVisitor(t).launch(t, sub(order[1]))}
		shared = v.with(map[string]string{"__Host-lti": ids[0] + "; __Host-lti=" + ids[1]})
		if res, err := shared.send("/lti/logout", "x="); err != nil || res.StatusCode != http.StatusNoContent {
			t.Fatalf("logout: %v %v", res, err)
		}
		for i, id := range ids {
			v.mustBe(t, fmt.Sprintf("cookies of %v after logout: cookie %d", order, i), id, "")
		}
	}
}

// Several logins of one browser are under way, whatever order they end in. More
// than 20 are not kept: the oldest goes.
func TestLoginsUnderWay(t *testing.T) {
	tool := startTool(t, "", echo)
	for _, order := range []string{"in order", "in reverse"} {
		t.Run(order, func(t *testing.T) {
			v := tool.newVisitor(t)
			var begun []*attemptOf
			for range 25 {
				a, err := v.begin(nil)
				if err != nil {
					t.Fatal(err)
				}
				begun = append(begun, a)
			}
			if len(v.cookies) != 20 {
				t.Errorf("%d cookies are kept for 25 logins, expected 20", len(v.cookies))
			}
			for name, val := range v.cookies {
				if n := len(name + "=" + val); n > 100 {
					t.Errorf("%s takes %d bytes, at most 100 are allowed", name, n)
				}
			}
			late, kept := begun[:5], begun[5:]
			if order == "in reverse" {
				slices.Reverse(kept)
			}
			for i, a := range kept {
				if _, err := v.finish(a); err != nil {
					t.Fatalf("%s, launch %d: %v", order, i, err)
				}
			}
			for i, a := range late {
				if _, err := v.finish(a); err == nil || !strings.Contains(err.Error(), "state_cookie_missing") {
					t.Errorf("the oldest logins but %d: %v, expected state_cookie_missing", i, err)
				}
			}
			if len(v.cookies) != 2 || v.cookies["__Host-ltip"] == "" {
				t.Errorf("%d cookies are left, expected the session's and the one that outlives it: %v", len(v.cookies), v.cookies)
			}
		})
	}
	// A page of activities opens many frames at once: none of these requests
	// knows of another's cookie.
	t.Run("at once", func(t *testing.T) {
		v := tool.newVisitor(t)
		const n = 16
		attempts := make([]*attemptOf, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				a, err := v.with(nil).begin(nil)
				if err != nil {
					t.Error(err)
				}
				attempts[i] = a
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		for _, a := range attempts {
			maps.Copy(v.cookies, a.cookies)
		}
		if len(v.cookies) != n {
			t.Fatalf("%d logins set %d cookies", n, len(v.cookies))
		}
		for _, a := range attempts {
			wg.Go(func() {
				if _, err := v.with(v.cookies).finish(a); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

// Every cookie that is set, on whatever way, has exactly these attributes.
func TestCookieAttributes(t *testing.T) {
	p := ltitest.NewPlatform(t)
	wiki := "http://tool.localhost:$PORT {\n\thandle /wiki/* {\n\t\tlti {\n\t\t\tbase /wiki/lti\n" + platformBlock(p) + "\n\t\t}\n\t\t" + echo + "\n\t}\n" +
		"\thandle {\n\t\tlti {\n" + platformBlock(p) + "\n\t\t}\n\t\t" + echo + "\n\t}\n}\n"
	c := startCaddy(t, global(ltiGlobal)+wiki)
	seen := make(map[string]int)
	check := func(what string, res *answer) {
		t.Helper()
		for _, line := range res.Header["Set-Cookie"] {
			pair, attributes, _ := strings.Cut(line, "; ")
			name, value, _ := strings.Cut(pair, "=")
			kind := "session"
			want := []string{"HttpOnly", "Partitioned", "Path=/", "SameSite=None", "Secure"}
			switch {
			case strings.HasPrefix(name, "__Host-lti-s-") && value != "":
				kind = "login"
				want = append(want, "Max-Age=600")
			case strings.HasPrefix(name, "__Host-ltip") && value != "":
				kind = "mark"
				want = append(want, "Max-Age=34560000")
			case value == "":
				kind = "removal"
				want = append(want, "Max-Age=0")
			}
			slices.Sort(want)
			got := strings.Split(attributes, "; ")
			slices.Sort(got)
			if !strings.HasPrefix(name, "__Host-lti") || !slices.Equal(got, want) {
				t.Errorf("%s: %s; expected the attributes %v", what, line, want)
			}
			if len(pair) > 100 {
				t.Errorf("%s: cookie of %d bytes", what, len(pair))
			}
			seen[kind]++
		}
	}
	for _, base := range []string{"/lti", "/wiki/lti"} {
		tool := &tool{caddy: c, host: "tool.localhost", base: base, platform: p}
		b := newBrowser(t)
		for range 22 {
			res := b.get(tool.url(base + "/login?" + url.Values{
				"iss": {p.Issuer}, "login_hint": {"hint"}, "client_id": {p.ClientID}, "target_link_uri": {tool.url("/")},
			}.Encode()))
			check("login", res)
		}
		target := map[string]any{ltitest.Claim("target_link_uri"): tool.url(strings.TrimSuffix(base, "lti"))}
		check("launch", tool.mustLaunch(b, target))
		check("second launch", tool.mustLaunch(b, target))
		check("refused launch", tool.launch(b, map[string]any{"exp": 1}))
		check("page", b.get(tool.url(strings.TrimSuffix(base, "lti"))))
		check("logout", b.post(tool.url(base+"/logout"), ""))
	}
	if seen["login"] < 44 || seen["session"] != 4 || seen["mark"] != 4 || seen["removal"] < 10 {
		t.Errorf("saw %v", seen)
	}
}

// An id is good for the host and the block that made it, whatever cookie or host
// it is sent to.
func TestSessionIsForOneSite(t *testing.T) {
	p := ltitest.NewPlatform(t)
	block := func(base string) string {
		return "\t\tlti {\n\t\t\tbase " + base + "\n" + platformBlock(p) + "\n\t\t}\n\t\t" + echo + "\n"
	}
	c := startCaddy(t, global(ltiGlobal)+
		"http://tool.localhost:$PORT {\n\thandle /wiki/* {\n"+block("/wiki/lti")+"\t}\n\thandle {\n"+block("/lti")+"\t}\n}\n"+
		"http://other.localhost:$PORT {\n"+block("/lti")+"}\n")
	at := func(host, base string) *tool { return &tool{caddy: c, host: host, base: base, platform: p} }
	main, wiki, other := at("tool.localhost", "/lti"), at("tool.localhost", "/wiki/lti"), at("other.localhost", "/lti")
	b := newBrowser(t)
	main.mustLaunch(b, nil)
	wiki.mustLaunch(b, map[string]any{ltitest.Claim("target_link_uri"): wiki.url("/wiki/")})
	other.mustLaunch(b, map[string]any{ltitest.Claim("target_link_uri"): other.url("/")})
	ids := map[*tool]string{main: b.cookie("tool.localhost", "__Host-lti"), other: b.cookie("other.localhost", "__Host-lti")}
	names := make(map[string]bool)
	for name, val := range b.jar["tool.localhost"] {
		if !strings.HasPrefix(name, "__Host-lti-s-") && !strings.HasPrefix(name, "__Host-ltip") {
			names[name] = true
			if name != "__Host-lti" {
				ids[wiki] = val
			}
		}
	}
	if len(names) != 2 || ids[wiki] == "" {
		t.Fatalf("the browser holds %v", b.jar)
	}
	pages := map[*tool]string{main: "/page", wiki: "/wiki/page", other: "/page"}
	for of, id := range ids {
		for where, page := range pages {
			v := where.newVisitor(t)
			for name := range names {
				v.cookies[name] = id
			}
			res, err := v.send(page, "")
			if err != nil {
				t.Fatal(err)
			}
			want := http.StatusUnauthorized
			if of == where {
				want = http.StatusOK
			}
			if res.StatusCode != want {
				t.Errorf("session of %s%s at %s%s: %d, expected %d", of.host, of.base, where.host, page, res.StatusCode, want)
			}
		}
	}
	// Nor by another name of the same server.
	conn := main.rawGet(t, "/page", "Cookie: __Host-lti="+ids[main])
	if conn.StatusCode != http.StatusOK {
		t.Errorf("the session at its own host: %d", conn.StatusCode)
	}
	for _, host := range []string{"other.localhost", "tool.localhost.", "evil.example"} {
		res := c.raw(t, fmt.Sprintf("GET /page HTTP/1.1\nHost: %s:%d\nCookie: __Host-lti=%s\n\n", host, c.port, ids[main]))
		if strings.Contains(res.body, "user=user-1") {
			t.Errorf("the session is good at %s: %d %s", host, res.StatusCode, res.body)
		}
	}
}

// The limits of a session, on a real clock: nothing is said of requests that may
// have come in time or too late, however slow the machine is.
func TestSessionLimits(t *testing.T) {
	p := ltitest.NewPlatform(t)
	site := func(host, limits string) string {
		return "http://" + host + ":$PORT {\n\tlti {\n\t\t" + platformBlock(p) + "\n\t\tsession {\n" + limits + "\n\t\t}\n\t}\n\t" + echo + "\n}\n"
	}
	c := startCaddy(t, global(ltiGlobal)+site("idle.localhost", "idle 4s\nmax 1m")+site("max.localhost", "idle 3s\nmax 4s"))

	t.Run("idle", func(t *testing.T) {
		const idle = 4 * time.Second
		v := (&tool{caddy: c, host: "idle.localhost", base: "/lti", platform: p}).newVisitor(t)
		before := time.Now()
		id := v.launch(t, nil)
		last := time.Now()
		// Steady use keeps it alive, well beyond the limit.
		for deadline := time.Now().Add(3 * idle); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
			sent := time.Now()
			status, _ := v.page(t, id)
			if inTime := time.Since(before) < idle; inTime && status != http.StatusOK {
				t.Fatalf("%d, %s after it was last used", status, time.Since(before))
			} else if status != http.StatusOK {
				t.Fatalf("this machine took %s for two requests", time.Since(before))
			}
			before, last = sent, time.Now()
		}
		<-time.After(time.Until(last.Add(idle)))
		for range 2 {
			if status, _ := v.page(t, id); status != http.StatusUnauthorized {
				t.Errorf("%d after it had not been used for %s, expected 401", status, idle)
			}
		}
	})
	t.Run("max", func(t *testing.T) {
		const most = 4 * time.Second
		v := (&tool{caddy: c, host: "max.localhost", base: "/lti", platform: p}).newVisitor(t)
		begun := time.Now()
		id := v.launch(t, nil)
		made := time.Now()
		for last := begun; ; <-time.After(50 * time.Millisecond) {
			sent := time.Now()
			status, _ := v.page(t, id)
			if done := time.Now(); done.Sub(begun) < most && done.Sub(last) < 3*time.Second && status != http.StatusOK {
				t.Fatalf("%d, %s after the launch", status, done.Sub(begun))
			}
			if !sent.Before(made.Add(most)) {
				if status != http.StatusUnauthorized {
					t.Errorf("%d, %s after the launch, expected 401", status, sent.Sub(made))
				}
				return
			}
			last = sent
		}
	})
}

// The same launch is posted twice, or twenty times, at the same instant: it is
// good once.
func TestEqualLaunchesAtOnce(t *testing.T) {
	tool := startTool(t, "", echo)
	v := tool.newVisitor(t)
	for _, n := range []int{2, 2, 2, 20, 20, 20} {
		a, err := v.with(nil).begin(nil)
		if err != nil {
			t.Fatal(err)
		}
		// Everything but the last byte is on its way before any of them ends.
		conns := make([]net.Conn, n)
		pairs := ""
		for name, val := range a.cookies {
			pairs += name + "=" + val
		}
		request := fmt.Sprintf("POST /lti/launch HTTP/1.1\r\nHost: %s:%d\r\nAccept: application/json\r\nCookie: %s\r\n"+
			"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", tool.host, tool.port, pairs, len(a.form), a.form)
		for i := range conns {
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", tool.port))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.WriteString(conn, request[:len(request)-1]); err != nil {
				t.Fatal(err)
			}
			conns[i] = conn
		}
		var wg sync.WaitGroup
		start := make(chan struct{})
		answers := make([]*answer, n)
		errs := make([]error, n)
		for i, conn := range conns {
			wg.Go(func() {
				<-start
				if _, errs[i] = io.WriteString(conn, request[len(request)-1:]); errs[i] != nil {
					return
				}
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					errs[i] = err
					return
				}
				body, err := io.ReadAll(res.Body)
				answers[i], errs[i] = &answer{res, string(body)}, err
			})
		}
		close(start)
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		won := 0
		for _, res := range answers {
			switch {
			case res.StatusCode == http.StatusSeeOther:
				won++
				for _, cookie := range res.Cookies() {
					if cookie.Name == "__Host-lti" {
						v.mustBe(t, "the winner's session", cookie.Value, "user-1")
					}
				}
			case res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.body, "nonce_reused"):
				t.Errorf("one of %d: %d %s, expected nonce_reused", n, res.StatusCode, res.body)
			}
			for _, cookie := range res.Cookies() {
				if res.StatusCode != http.StatusSeeOther && cookie.Name == "__Host-lti" {
					t.Errorf("a launch that lost set %s", cookie.Name)
				}
			}
		}
		if won != 1 {
			t.Errorf("%d of %d equal launches were accepted, expected one", won, n)
		}
	}
}
