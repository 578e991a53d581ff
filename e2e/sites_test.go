package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Names of two sites, which are as foreign to each other as browsers know it:
// "test" is their public suffix.
const (
	lmsHost  = "lms.school.test"
	toolHost = "tool.app.test"
)

// startTLSSites runs a server of sites like https://lms.school.test:$PORT, with a
// certificate that only tests' browsers take. More global options may be given,
// such as ltiGlobal.
//
// Caddy's own authority would do (local_certs), were there not a data race in
// Caddy 2.11: it makes certificates while its TLS app is still starting.
func startTLSSites(tb testing.TB, sites string, options ...string) *caddy {
	tb.Helper()
	return startTLSSitesOn(newCaddy(tb), sites, options...)
}

// startTLSSitesOn does that with a server whose port is already known.
func startTLSSitesOn(c *caddy, sites string, options ...string) *caddy {
	tb := c.tb
	tb.Helper()
	var names []string
	for _, m := range siteAddress.FindAllStringSubmatch(sites, -1) {
		names = append(names, m[1])
	}
	writeCertificate(tb, filepath.Join(c.dir, "sites.pem"), names)
	c.start(`{
	admin localhost:$ADMIN
	skip_install_trust
	auto_https disable_redirects
	default_bind 127.0.0.1
	debug
` + strings.Join(options, "\n") + `
}
https://certificates.test:$PORT {
	tls $DIR/sites.pem $DIR/sites.pem
}
` + sites)
	return c
}

var siteAddress = regexp.MustCompile(`https://([a-z0-9.-]+):\$PORT\b`)

// writeCertificate stores a certificate of these names that signs itself, and its
// key.
func writeCertificate(tb testing.TB, path string, names []string) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: append(names, "certificates.test"),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// secureOrigin is the address of a site of startTLSSites.
func (c *caddy) secureOrigin(host string) string { return fmt.Sprintf("https://%s:%d", host, c.port) }

// cookieSetting is what somebody chose in the settings of a browser.
type cookieSetting int

const (
	cookiesDefault    cookieSetting = iota // nothing: a fresh profile
	thirdPartyAllowed                      // all cookies allowed
	thirdPartyBlocked                      // third-party cookies blocked
	framesForbidden                        // Chromium alone: the tool's cookies forbidden in the LMS's pages
	allOff                                 // no cookies at all
)

func (c cookieSetting) String() string {
	return [...]string{"default", "third-party allowed", "third-party blocked", "forbidden in frames", "all off"}[c]
}

// webBrowser is a real browser for which every name is this machine and every
// certificate good. Its popup blocker is on. It is not for concurrent use.
type webBrowser struct {
	tb     testing.TB
	engine engine
}

// engine is what differs from browser to browser.
type engine interface {
	places(ctx context.Context) ([]place, error) // newest first
	eval(ctx context.Context, p place, js string, clicked bool) (string, error)
	navigate(ctx context.Context, url string) error
	activate(ctx context.Context, tab string) error
	closeWindows(ctx context.Context) error
	picture(ctx context.Context) ([]byte, error)
}

// place is a document in a tab or frame.
type place struct {
	url   string
	tab   string // the browser's name for it
	world string // where its scripts run; empty if they cannot yet
}

// scriptError says what was wrong with a script. Other errors of engine.eval say
// that its document has gone.
type scriptError string

func (e scriptError) Error() string { return string(e) }

// startBrowser starts Chromium or Firefox with a fresh profile.
func startBrowser(tb testing.TB, name string, cookies cookieSetting) *webBrowser {
	tb.Helper()
	b := &webBrowser{tb: tb}
	switch name {
	case "Chromium":
		b.engine = newChromium(tb, cookies)
	case "Firefox":
		b.engine = newFirefox(tb, cookies)
	default:
		tb.Fatalf("no browser %q", name)
	}
	return b
}

// do gives a function of the engine time, and fails the test with its error.
func (b *webBrowser) do(what string, f func(context.Context) error) {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.tb.Context(), 40*time.Second)
	defer cancel()
	if err := f(ctx); err != nil {
		b.tb.Fatalf("%s: %v", what, err)
	}
}

// open navigates the first tab, and returns when the page is there, though
// perhaps not its frames.
func (b *webBrowser) open(url string) {
	b.tb.Helper()
	b.do("opening "+url, func(ctx context.Context) error { return b.engine.navigate(ctx, url) })
}

// eval runs a script in the newest frame or window whose address begins with
// where, as if its user had just clicked there, and returns the script's value,
// awaited. A value of nothing (undefined, null, false) is "". It is false if
// there is no such frame, or no longer. A script that throws fails the test.
func (b *webBrowser) eval(where, js string) (string, bool) {
	b.tb.Helper()
	value, found, err := b.try(where, js, true)
	if wrong, ok := errors.AsType[scriptError](err); ok {
		b.tb.Fatalf("%s at %s: %v", js, where, wrong)
	}
	return value, found && err == nil
}

// try is eval, with or without a click, that leaves it to its caller what an
// error means.
func (b *webBrowser) try(where, js string, clicked bool) (value string, found bool, err error) {
	b.tb.Helper()
	for _, p := range b.places() {
		if strings.HasPrefix(p.url, where) {
			value, err = b.evalIn(p, js, clicked)
			return value, true, err
		}
	}
	return "", false, nil
}

func (b *webBrowser) evalIn(p place, js string, clicked bool) (string, error) {
	if p.world == "" {
		return "", errors.New("the document is not ready for scripts")
	}
	ctx, cancel := context.WithTimeout(b.tb.Context(), 20*time.Second)
	defer cancel()
	return b.engine.eval(ctx, p, js, clicked)
}

// waitFor runs a script as eval does, but without the click, until its value is
// not empty. It may throw meanwhile: what it looks for may be yet to come.
func (b *webBrowser) waitFor(where, js string) string {
	b.tb.Helper()
	var last error
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); {
		value, found, err := b.try(where, js, false)
		if value != "" {
			return value
		}
		if found {
			last = err
		}
		time.Sleep(50 * time.Millisecond) // polling: no browser tells of everything that scripts may wait for
	}
	b.tb.Fatalf("waited in vain at %s for %s (last error: %v), but there are:\n%s", where, js, last, b.show())
	return ""
}

// click clicks what a CSS selector finds in the newest frame or window whose
// address begins with where, once it is there, and once its tab is in front.
func (b *webBrowser) click(where, selector string) {
	b.tb.Helper()
	b.waitFor(where, fmt.Sprintf(`!!document.querySelector(%q)`, selector))
	for _, p := range b.places() {
		if strings.HasPrefix(p.url, where) {
			b.do("bringing a tab to the front", func(ctx context.Context) error { return b.engine.activate(ctx, p.tab) })
			b.waitFor(where, `document.visibilityState === "visible"`)
			break
		}
	}
	if _, ok := b.eval(where, fmt.Sprintf(`document.querySelector(%q).click()`, selector)); !ok {
		b.tb.Fatalf("%s went away before a click on %s", where, selector)
	}
}

// show tells of everything that is open, with its text.
func (b *webBrowser) show() string {
	b.tb.Helper()
	var s strings.Builder
	for _, p := range b.places() {
		text, err := b.evalIn(p, `document.body.innerText.slice(0, 1000)`, false)
		if err != nil {
			text = "(" + err.Error() + ")"
		}
		fmt.Fprintf(&s, "%s\n\t%s\n", p.url, strings.ReplaceAll(text, "\n", "\n\t"))
	}
	return s.String()
}

func (b *webBrowser) places() (places []place) {
	b.tb.Helper()
	b.do("listing tabs and frames", func(ctx context.Context) (err error) {
		places, err = b.engine.places(ctx)
		return err
	})
	return places
}

// locations returns the addresses in all tabs and frames, the newest first.
func (b *webBrowser) locations() []string {
	b.tb.Helper()
	var urls []string
	for _, p := range b.places() {
		urls = append(urls, p.url)
	}
	return urls
}

// closeWindows closes all tabs but the first.
func (b *webBrowser) closeWindows() {
	b.tb.Helper()
	b.do("closing windows", b.engine.closeWindows)
}

// shot keeps a picture of the newest tab, for people to look at.
func (b *webBrowser) shot(name string) {
	b.tb.Helper()
	b.do("taking the picture "+name, func(ctx context.Context) error {
		png, err := b.engine.picture(ctx)
		if err != nil {
			return err
		}
		if err := os.MkdirAll("artifacts", 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join("artifacts", name+".png"), png, 0o600)
	})
}

// scriptResult makes a string of the value of a script as both protocols tell it.
func scriptResult(kind string, value json.RawMessage) (string, error) {
	switch {
	case kind == "undefined" || kind == "null" || string(value) == "false":
		return "", nil
	case kind == "boolean" || kind == "number":
		return string(value), nil
	case kind != "string":
		return "", scriptError("its value is of type " + kind + ": make a string of it")
	}
	var text string
	err := json.Unmarshal(value, &text)
	return text, err
}

// cookieSites are an LMS whose pages hold a frame of a tool. Pages of the tool set
// cookies that name them, and then go to one that says which came back.
const cookieSites = `
https://` + lmsHost + `:$PORT {
	header Content-Type "text/html; charset=utf-8"
	respond "<!doctype html><title>LMS</title><h1>An LMS</h1><iframe width=700 height=300 src=https://` + toolHost + `:$PORT{uri}></iframe>"
}
https://` + toolHost + `:$PORT {
	header Content-Type "text/html; charset=utf-8"
	handle /look {
		respond "<!doctype html><title>Tool</title><h1>A tool</h1>
			<p>These came back: <code>{http.request.header.Cookie}</code>
			<p><a href=/window target=_blank>In a window of its own</a>, <a id=more href=/look?more target=_blank>and one more</a>
			<script>document.documentElement.dataset.popup = window.open('/popup') ? 'opened' : 'blocked'</script>"
	}
	@sets path /frame /window
	handle @sets {
		header +Set-Cookie "plain={path}; Path=/; Secure; SameSite=None"
		header +Set-Cookie "part={path}; Path=/; Secure; SameSite=None; Partitioned"
		header +Set-Cookie "lax={path}; Path=/; Secure; SameSite=Lax"
		respond "<!doctype html><title>Tool</title><script>location.replace('/look?{path}')</script>"
	}
}
`

// TestBrowserCookieSettings shows that the browsers of these tests do with
// cookies what browsers with such settings do, inside and outside of frames.
func TestBrowserCookieSettings(t *testing.T) {
	c := startTLSSites(t, cookieSites)
	lms, tool := c.secureOrigin(lmsHost), c.secureOrigin(toolHost)
	const window = "lax=/window part=/window plain=/window"
	for _, test := range []struct {
		browser string
		cookies cookieSetting
		frame   string // what comes back in the LMS's page
		window  string
		later   string // what comes back in the LMS's page after the window: from one jar, or from two
	}{
		{"Chromium", cookiesDefault, "part=/frame", window, "part=/frame"},
		{"Chromium", thirdPartyAllowed, "part=/frame plain=/frame", window, "part=/frame plain=/window"},
		{"Chromium", thirdPartyBlocked, "part=/frame", window, "part=/frame"},
		{"Chromium", framesForbidden, "", window, ""},
		{"Chromium", allOff, "", "", ""},
		{"Firefox", cookiesDefault, "part=/frame plain=/frame", window, "part=/frame plain=/frame"},
		{"Firefox", thirdPartyAllowed, "part=/frame plain=/frame", window, "part=/frame plain=/window"},
		{"Firefox", thirdPartyBlocked, "", window, ""},
		{"Firefox", allOff, "", "", ""},
	} {
		t.Run(test.browser+" "+test.cookies.String(), func(t *testing.T) {
			b := startBrowser(t, test.browser, test.cookies)
			check := func(where, want string) {
				t.Helper()
				if got := cookiesAt(b, tool+where); got != want {
					t.Errorf("at %s came back %q, expected %q", where, got, want)
				}
			}
			b.open(lms + "/frame")
			check("/look?/frame", test.frame)
			if got := b.waitFor(tool+"/look?/frame", `document.documentElement.dataset.popup`); got != "blocked" {
				t.Errorf("a window that nobody clicked for was %s", got)
			}
			b.click(tool+"/look?/frame", "a")
			check("/look?/window", test.window)
			if test.cookies == cookiesDefault {
				b.shot("window-" + strings.ToLower(test.browser))
				b.click(tool+"/look?/frame", "#more") // in a tab that is in the background now
				b.waitFor(tool+"/look?more", `document.title`)
			}
			b.closeWindows()
			b.open(lms + "/look?later")
			check("/look?later", test.later)
			if test.cookies == cookiesDefault {
				b.shot("frame-" + strings.ToLower(test.browser))
			}
			want := []string{tool + "/look?later", lms + "/look?later"}
			if got := b.locations(); !slices.Equal(got, want) {
				t.Errorf("at the end there is %q, expected %q", got, want)
			}
		})
	}
}

// cookiesAt returns the cookies that came back to a page of cookieSites.
func cookiesAt(b *webBrowser, where string) string {
	b.tb.Helper()
	header := b.waitFor(where, `"cookies: " + document.querySelector("code").textContent`)
	cookies := strings.FieldsFunc(strings.TrimPrefix(header, "cookies: "), func(r rune) bool { return r == ';' || r == ' ' })
	slices.Sort(cookies)
	return strings.Join(cookies, " ")
}
