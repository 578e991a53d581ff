package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// tool is a protected site of a running Caddy, and the platform that may launch
// it.
type tool struct {
	*caddy
	host     string
	base     string
	platform *ltitest.Platform
}

// ltiGlobal allows the tests' platform, which is on loopback.
const ltiGlobal = "\tlti {\n\t\thttp_client {\n\t\t\tallow_private 127.0.0.1\n\t\t}\n\t}"

// platformBlock is the platform as a site has it.
func platformBlock(p *ltitest.Platform) string {
	return fmt.Sprintf(`platform lms {
			issuer %s
			client_id %s
			deployment %s
			auth_url https://lms.example/auth
			jwks_url %s
		}`, p.Issuer, p.ClientID, p.Deployment, p.JWKSURL())
}

// echo answers with what an app would receive.
const echo = "respond \"user={http.request.header.Remote-User} name={http.request.header.Remote-Name} path={http.request.orig_uri}\""

// startTool runs a site tool.localhost with these options of lti, and what is
// behind it.
func startTool(tb testing.TB, options, behind string) *tool {
	tb.Helper()
	p := ltitest.NewPlatform(tb)
	c := startCaddy(tb, global(ltiGlobal)+toolSite(p, options, behind))
	return &tool{caddy: c, host: "tool.localhost", base: "/lti", platform: p}
}

// toolSite is the site block that startTool makes.
func toolSite(p *ltitest.Platform, options, behind string) string {
	return "http://tool.localhost:$PORT {\n\tlti {\n\t\t" + platformBlock(p) + "\n" + options + "\n\t}\n\t" + behind + "\n}\n"
}

func (t *tool) url(path string) string { return t.origin(t.host) + path }

// login begins a launch in the browser and returns the authentication request.
func (t *tool) login(b *browser, more ...string) url.Values {
	b.tb.Helper()
	q := url.Values{
		"iss": {t.platform.Issuer}, "login_hint": {"hint"}, "client_id": {t.platform.ClientID},
		"target_link_uri": {t.url("/")},
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	res := b.passProbe(b.get(t.url(t.base + "/login?" + q.Encode())))
	if res.StatusCode != http.StatusFound {
		b.tb.Fatalf("login: %d %s", res.StatusCode, res.body)
	}
	loc, err := res.Location()
	if err != nil {
		b.tb.Fatal(err)
	}
	return loc.Query()
}

// passProbe follows the redirect by which a login finds out whether the browser
// keeps cookies.
func (b *browser) passProbe(res *answer, header ...string) *answer {
	b.tb.Helper()
	if loc, err := res.Location(); err == nil && loc.Query().Has("probe") {
		return b.get(loc.String(), header...)
	}
	return res
}

// post sends a token to the redirect URI.
func (t *tool) post(b *browser, state, token string, header ...string) *answer {
	b.tb.Helper()
	return b.post(t.url(t.base+"/launch"), url.Values{"state": {state}, "id_token": {token}}.Encode(), header...)
}

// launch goes through a whole launch with claims that differ by diff, and
// returns the answer of the redirect URI.
func (t *tool) launch(b *browser, diff map[string]any) *answer {
	b.tb.Helper()
	auth := t.login(b)
	claims := ltitest.With(t.platform.Claims(auth.Get("nonce"), t.url("/")), diff)
	return t.post(b, auth.Get("state"), t.platform.Token(claims))
}

// mustLaunch is launch where nothing may go wrong.
func (t *tool) mustLaunch(b *browser, diff map[string]any) *answer {
	b.tb.Helper()
	res := t.launch(b, diff)
	if res.StatusCode != http.StatusSeeOther {
		b.tb.Fatalf("launch: %d %s\n%s", res.StatusCode, res.body, t.log)
	}
	return res
}

func TestFirstLaunch(t *testing.T) {
	tool := startTool(t, "", echo)
	b := newBrowser(t)
	if res := b.get(tool.url("/quiz")); res.StatusCode != http.StatusUnauthorized {
		t.Fatalf("without a launch: %d", res.StatusCode)
	}
	res := tool.mustLaunch(b, map[string]any{ltitest.Claim("target_link_uri"): tool.url("/quiz?item=a&x=é#part")})
	if got, want := res.Header.Get("Location"), tool.url("/quiz?item=a&x=%C3%A9#part"); got != want {
		t.Errorf("landed at %s, expected %s", got, want)
	}
	res = b.get(tool.url("/quiz"))
	if res.StatusCode != http.StatusOK || !strings.Contains(res.body, "user=user-1@lms name=Ann Example path=/quiz") {
		t.Errorf("after the launch: %d %s", res.StatusCode, res.body)
	}
}

// Who comes back to the platform's form posts the launch again, and hears that,
// not that the browser keeps no cookies: the launch itself took its cookie away.
func TestLaunchPostedAgain(t *testing.T) {
	tool := startTool(t, "", echo)
	b := newBrowser(t)
	auth := tool.login(b)
	token := tool.platform.Token(tool.platform.Claims(auth.Get("nonce"), tool.url("/quiz")))
	if res := tool.post(b, auth.Get("state"), token); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("launch: %d %s", res.StatusCode, res.body)
	}
	mustRefuse(t, tool, tool.post(b, auth.Get("state"), token, inFrame...), 401, "nonce_reused")
	mustRefuse(t, tool, tool.post(newBrowser(t), auth.Get("state"), token, inFrame...), 401, "nonce_reused")
	if res := b.get(tool.url("/quiz")); !strings.Contains(res.body, "user=user-1@lms") {
		t.Errorf("afterwards: %d %s", res.StatusCode, res.body)
	}
}
