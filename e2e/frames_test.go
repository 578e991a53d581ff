package e2e

import (
	"cmp"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// scriptedLMS is a learning platform whose pages behave, or not, as the query of
// the course says. Its session cookie is one that frames of other sites do not
// get, as most LMSs have it.
type scriptedLMS struct {
	*ltitest.Platform
	self, tool string // origins
}

// evilHost is a third site, which wants what it must not have.
const evilHost = "evil.test"

// startFrames runs the LMS and a tool on names of two sites, over TLS.
func startFrames(tb testing.TB, options string) *scriptedLMS {
	tb.Helper()
	lms := &scriptedLMS{Platform: ltitest.NewPlatform(tb)}
	srv := httptest.NewServer(lms)
	tb.Cleanup(srv.Close)
	c := newCaddy(tb)
	sites := fmt.Sprintf(`
https://%s:$PORT https://`+evilHost+`:$PORT {
	reverse_proxy %s
}
https://%s:$PORT {
	lti {
		platform lms {
			issuer https://%[1]s:%[6]d
			client_id %[4]s
			deployment %[5]s
			auth_url https://%[1]s:%[6]d/auth
			jwks_url %[7]s
		}
		%[8]s
	}
	header Content-Type text/html
	header Cache-Control max-age=600
	respond "<!doctype html><title>App</title><h1>The app</h1><p id=who>{http.request.header.Remote-User}</p>%[9]s"
}
`, lmsHost, srv.Listener.Addr(), toolHost, lms.ClientID, lms.Deployment, c.port, lms.JWKSURL(), options,
		`<script src=/lti/frame.js></script><p id=cookie></p><div id=tall style='height:1800px'></div>`)
	c = startTLSSitesOn(c, sites, ltiGlobal)
	lms.self, lms.tool = c.secureOrigin(lmsHost), c.secureOrigin(toolHost)
	lms.Issuer = lms.self
	return lms
}

// course is the address of the LMS's page with the tool in it. How it behaves:
//
//	window    the tool opens in a window, by a click
//	storage=X platform storage is offered, in frame X or _parent
//	mode=X    how the storage behaves: good; silent, refuses at login; deaf,
//	          wrong, lost at the launch; foreign: somebody else answers
//	anyone    people are recognised without a cookie
//	who=X     who it is
//	locale=X  in which language it shows the tool
//	none      its cookie is one that frames of other sites get
func (l *scriptedLMS) course(query string) string { return l.self + "/course?" + query }

func (l *scriptedLMS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	post := func(action string, fields ...string) {
		_, _ = fmt.Fprintf(w, `<!doctype html><title>LMS</title><form method="post" action="%s">`, html.EscapeString(action))
		for i := 0; i+1 < len(fields); i += 2 {
			_, _ = fmt.Fprintf(w, `<input type="hidden" name="%s" value="%s">`, fields[i], html.EscapeString(fields[i+1]))
		}
		_, _ = fmt.Fprint(w, `</form><script>document.forms[0].submit()</script>`)
	}
	switch r.URL.Path {
	case "/course":
		site := "; SameSite=Lax"
		if q.Has("none") {
			site = "; SameSite=None; Secure"
		}
		w.Header().Add("Set-Cookie", "lms=1; Path=/"+site)
		_, _ = fmt.Fprint(w, `<!doctype html><title>LMS</title><h1>A course</h1>`)
		if q.Get("storage") != "" {
			_, _ = fmt.Fprint(w, storageScript(q.Get("mode"), l.tool))
			if name := q.Get("storage"); name != "_parent" {
				_, _ = fmt.Fprintf(w, `<iframe name="%s" src="/storage?%s" hidden></iframe>`, html.EscapeString(name), html.EscapeString(r.URL.RawQuery))
			}
		}
		if q.Get("mode") == "foreign" {
			_, _ = fmt.Fprintf(w, `<iframe id="evil" src="%s/evil" hidden></iframe>`, strings.Replace(l.self, lmsHost, evilHost, 1))
		}
		if q.Has("window") {
			_, _ = fmt.Fprintf(w, `<form method="post" action="/start?%s" target="_blank"><button>Open</button></form>`, html.EscapeString(r.URL.RawQuery))
			return
		}
		_, _ = fmt.Fprintf(w, `<iframe id="tool" name="tool" width="900" height="500" src="/start?%s"></iframe>
			<script>addEventListener("message", function (e) { if (e.data && e.data.subject === "lti.frameResize") document.getElementById("tool").height = e.data.height })</script>`, html.EscapeString(r.URL.RawQuery))
	case "/evil": // answers in the LMS's place
		_, _ = fmt.Fprint(w, `<script>addEventListener("message", function (e) { parent.frames["tool"].postMessage(e.data, "*") })</script>`)
	case "/storage":
		_, _ = fmt.Fprint(w, storageScript(q.Get("mode"), l.tool))
	case "/start":
		fields := []string{
			"iss", l.Issuer, "client_id", l.ClientID, "login_hint", "ann", "lti_message_hint", strings.ReplaceAll(r.URL.RawQuery, "&", "+"),
			"target_link_uri", l.tool + "/page",
		}
		if q.Get("storage") != "" {
			fields = append(fields, "lti_storage_target", q.Get("storage"))
		}
		post(l.tool+"/lti/login", fields...)
	case "/auth":
		if _, err := r.Cookie("lms"); err != nil && !strings.Contains(q.Get("lti_message_hint"), "anyone") {
			post(q.Get("redirect_uri"), "state", q.Get("state"), "error", "login_required")
			return
		}
		hint := q.Get("lti_message_hint")
		diff := map[string]any{"sub": who(hint)}
		if locale := said(hint, "locale"); locale != "" {
			diff[ltitest.Claim("launch_presentation")] = map[string]any{"locale": locale}
		}
		post(q.Get("redirect_uri"), "state", q.Get("state"), "id_token", l.Token(ltitest.With(l.Claims(q.Get("nonce"), l.tool+"/page"), diff)))
	}
}

// who is the person that a course's query names as who=X.
func who(hint string) string { return cmp.Or(said(hint, "who"), "user-1") }

// said is what a course's query says of something.
func said(hint, name string) string {
	_, rest, _ := strings.Cut(hint, name+"=")
	value, _, _ := strings.Cut(rest, "+")
	return value
}

// storageScript listens as a platform's frame does that stores for tools, well or
// ill.
func storageScript(mode, tool string) string {
	return `<script>
	var kept = {}
	addEventListener("message", function (e) {
		var m = e.data, mode = "` + mode + `"
		if (!m || !/^lti\.(put|get)_data$/.test(m.subject)) return
		document.title += " " + m.subject
		if (e.origin !== "` + tool + `") { document.title += " from " + e.origin; return }
		var answer = { subject: m.subject + ".response", message_id: m.message_id, key: m.key }
		if (m.subject === "lti.put_data") kept[m.key] = answer.value = m.value
		else answer.value = kept[m.key]
		if (mode === "silent" || (mode === "deaf" && m.subject === "lti.get_data")) return
		if (mode === "wrong" && m.subject === "lti.get_data") answer.value = "something else"
		if (mode === "lost" && m.subject === "lti.get_data") delete answer.value
		if (mode === "refuses") answer = { subject: answer.subject, message_id: m.message_id, error: { code: "storage_exhaustion", message: "no" } }
		if (mode === "foreign") { document.getElementById("evil").contentWindow.postMessage(answer, "*"); return }
		e.source.postMessage(answer, e.origin)
	})
	</script>`
}

// What people get, by browser and setting.
const (
	signedIn   = "signed in"
	oneClick   = "one click opens a window: signed in"
	cookiesOff = "a page says that the browser keeps no cookies"
)

// outcome goes through a launch and says what became of it.
func outcome(b *webBrowser, lms *scriptedLMS, query string) string {
	b.tb.Helper()
	b.closeWindows()
	b.open(lms.course(query))
	if strings.Contains(query, "window") {
		b.click(lms.self+"/course", "button")
	}
	// Until a page of the tool is there that waits for the person.
	const arrived = `document.readyState === "complete" && document.querySelector("h1") && !document.querySelector("main[hidden]") ? document.querySelector("h1").textContent : ""`
	name := func(heading string) string {
		switch heading {
		case "The app":
			return signedIn
		case "Your browser keeps no cookies", "Your browser did not keep a cookie":
			return cookiesOff
		}
		return heading
	}
	heading := b.waitFor(lms.tool, arrived)
	if form, _ := b.eval(lms.tool, `document.querySelector("form[target=_blank]") ? "window" : ""`); form == "" {
		return name(heading)
	}
	before := len(b.locations())
	b.click(lms.tool, "form[target=_blank] button")
	until(b.tb, "a window", func() bool { return len(b.locations()) > before })
	inWindow := name(b.waitFor(lms.tool, `window.parent === window && (`+arrived+`)`))
	if inWindow == signedIn {
		return oneClick
	}
	if inWindow == cookiesOff {
		return cookiesOff
	}
	return "one click opens a window: " + inWindow
}

// The table of docs/caddyfile.md: what people get, by browser and setting. In all
// of them somebody gets in, or hears how.
func TestEveryBrowser(t *testing.T) {
	lms := startFrames(t, "")
	tests := []struct {
		browser string
		cookies cookieSetting
		frame   string
		lax     string // the same where the LMS's own cookie is SameSite=Lax
		window  string
	}{
		{"Chromium", cookiesDefault, signedIn, signedIn, signedIn},
		{"Chromium", thirdPartyAllowed, signedIn, signedIn, signedIn},
		{"Chromium", thirdPartyBlocked, signedIn, signedIn, signedIn},
		{"Chromium", framesForbidden, oneClick, oneClick, signedIn},
		{"Chromium", allOff, cookiesOff, cookiesOff, cookiesOff},
		{"Firefox", cookiesDefault, signedIn, oneClick, signedIn},
		{"Firefox", thirdPartyAllowed, signedIn, oneClick, signedIn},
		{"Firefox", thirdPartyBlocked, oneClick, oneClick, signedIn},
		{"Firefox", allOff, cookiesOff, cookiesOff, cookiesOff},
	}
	docs, err := os.ReadFile("../docs/caddyfile.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.browser+" "+tt.cookies.String(), func(t *testing.T) {
			b := startBrowser(t, tt.browser, tt.cookies)
			more := ""
			if tt.cookies == allOff {
				more = "&anyone" // the LMS would not know anybody either
			}
			for query, want := range map[string]string{"none" + more: tt.frame, "lax" + more: tt.lax, "window" + more: tt.window} {
				if got := outcome(b, lms, query); got != want {
					t.Errorf("%s: %s, expected %s\n%s", query, got, want, b.show())
				}
			}
			if tt.frame != signedIn {
				// With the platform's storage in between it comes to the same.
				for _, storage := range []string{"&storage=_parent&mode=good", "&storage=post_message_forwarding&mode=good"} {
					if got := outcome(b, lms, "none"+storage+more); got != tt.frame {
						t.Errorf("%s: %s, expected %s\n%s", storage, got, tt.frame, b.show())
					}
				}
				b.shot("one-click-" + strings.ToLower(tt.browser) + "-" + tt.cookies.String())
			}
			if tt.frame == signedIn {
				// A page that asks for it is as high as its content.
				outcome(b, lms, "none")
				b.waitFor(lms.self+"/course", `document.getElementById("tool").height > 1800 && "resized"`)
			}
			if row := fmt.Sprintf("| %s | %s | %s | %s | %s |\n", tt.browser, tt.cookies, tt.frame, tt.lax, tt.window); !strings.Contains(string(docs), row) {
				t.Errorf("docs/caddyfile.md does not have the row\n%s", row)
			}
		})
	}
}

// Storage of a platform that does not do what it should, or that is none: nobody
// is signed in by it, people hear how to go on, and the secret stays where it is.
func TestHostileStorage(t *testing.T) {
	lms := startFrames(t, "")
	evil := strings.Replace(lms.self, lmsHost, evilHost, 1)
	b := startBrowser(t, "Chromium", framesForbidden)
	const (
		heading = `document.querySelector("h1") && !document.querySelector("main[hidden]") && document.querySelector("form[target=_blank]") ? document.querySelector("h1").textContent : ""`
		offer   = "One click, and you are there"
		failed  = "Your browser could not be recognised"
	)
	for mode, want := range map[string]string{
		"silent": offer, "refuses": offer, "foreign": offer,
		"deaf": failed, "wrong": failed, "lost": failed,
	} {
		t.Run(mode, func(t *testing.T) {
			b.closeWindows()
			b.open(lms.course("none&storage=_parent&mode=" + mode))
			if got := b.waitFor(lms.tool, heading); got != want {
				t.Errorf("the page says %q, expected %q", got, want)
			}
			if want == failed {
				b.shot("storage-failed")
			}
			// And one click still does it.
			if got := outcome(b, lms, "none&storage=_parent&mode="+mode); got != oneClick {
				t.Errorf("in the end: %s", got)
			}
		})
	}
	t.Run("another site in the LMS's place", func(t *testing.T) {
		b := startBrowser(t, "Chromium", allOff)
		b.open(evil + "/course?none&storage=_parent&mode=good&anyone")
		if got := b.waitFor(lms.tool, heading); got != offer {
			t.Errorf("the page says %q", got)
		}
		if title, _ := b.eval(evil+"/course", `document.title`); title != "LMS" {
			t.Errorf("the other site was told something: %q", title)
		}
	})
	t.Run("another site shows the app in a frame", func(t *testing.T) {
		b := startBrowser(t, "Chromium", cookiesDefault)
		b.open(lms.course("none"))
		b.waitFor(lms.tool+"/page", `document.title`)
		b.open(evil + "/course?none&anyone")
		until(t, "the browser to refuse", func() bool {
			for _, url := range b.locations() {
				if strings.HasPrefix(url, lms.tool+"/page") {
					if title, _ := b.eval(url, `document.title`); title == "App" {
						t.Fatal("the app is in a frame of another site")
					}
				}
				if strings.HasPrefix(url, "chrome-error:") {
					return true
				}
			}
			return false
		})
	})
}

// Somebody else in the same browser meets nothing that the app left there of the
// person before: no cookie, no page from the cache, no stored data.
func TestNothingIsLeftOfThePersonBefore(t *testing.T) {
	lms := startFrames(t, "")
	for _, name := range []string{"Chromium", "Firefox"} {
		for _, where := range []string{"none", "window"} {
			t.Run(name+" "+where, func(t *testing.T) {
				b := startBrowser(t, name, cookiesDefault)
				as := func(person string) string {
					t.Helper()
					if got := outcome(b, lms, where+"&who="+person); got != signedIn {
						t.Fatalf("%s: %s", person, got)
					}
					return b.waitFor(lms.tool+"/page", `document.getElementById("who").textContent`)
				}
				if got := as("ann"); got != "ann@lms" {
					t.Fatalf("Ann is %s", got)
				}
				b.eval(lms.tool+"/page", `localStorage.draft = "Ann's"; document.cookie = "script=ann; Secure; SameSite=None; Partitioned"; document.cookie = "plain=ann; Secure; SameSite=None"`)
				const left = `"left: " + (localStorage.draft || "") + document.cookie`
				if got := as("ann"); got != "ann@lms" || !strings.Contains(b.waitFor(lms.tool+"/page", left), "Ann's") {
					t.Errorf("Ann lost her own things: %s", b.waitFor(lms.tool+"/page", left))
				}
				if got := as("bob"); got != "bob@lms" {
					t.Errorf("Bob sees the page of %s", got)
				}
				if got := b.waitFor(lms.tool+"/page", left); got != "left: " {
					t.Errorf("Bob finds what Ann left: %s", got)
				}
			})
		}
	}
}
