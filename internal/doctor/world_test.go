package doctor

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/jose"
	"github.com/caddy-lti/lti/internal/ltitest"
	"github.com/caddy-lti/lti/internal/service"
)

// Names of the tests: those below example.edu are this machine, public.example.net
// is a public address, nobody knows where down.example.net is, and others are not
// there.
const (
	platformName = "moodle.example.edu"
	secret       = "S3cr3t-" // begins what no finding may show
)

func TestMain(m *testing.M) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go serveDNS(conn)
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	os.Exit(m.Run())
}

// serveDNS answers for the names of the tests (RFC 1035 §4).
func serveDNS(conn net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil || n < 12 {
			return
		}
		var labels []string
		i := 12
		for buf[i] != 0 {
			labels = append(labels, string(buf[i+1:i+1+int(buf[i])]))
			i += 1 + int(buf[i])
		}
		end := i + 5 // the root, type and class
		typ := binary.BigEndian.Uint16(buf[i+1:])
		const noError, servFail, nxDomain = 0, 2, 3
		code, addr := byte(nxDomain), net.IP(nil)
		switch name := strings.Join(labels, "."); {
		case strings.HasSuffix(name, ".example.edu"):
			code, addr = noError, net.IPv4(127, 0, 0, 1)
		case name == "public.example.net":
			code, addr = noError, net.IPv4(8, 8, 8, 8)
		case name == "down.example.net":
			code = servFail
		}
		answer := append([]byte{}, buf[:end]...)
		answer[2], answer[3] = 0x84, 0x80|code // an answer, with authority; recursion available
		copy(answer[4:12], []byte{0, 1, 0, 0, 0, 0, 0, 0})
		if addr != nil && typ == 1 {
			answer[7] = 1
			answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
			answer = append(answer, addr.To4()...)
		}
		_, _ = conn.WriteTo(answer, from)
	}
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

// newAuthority makes one that lasts some days.
func newAuthority(t *testing.T, days int) *authority {
	t.Helper()
	a := new(authority)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Tests"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(0, 0, days), KeyUsage: x509.KeyUsageCertSign,
	}
	made := a.issue(t, template)
	a.cert, a.key = made.Leaf, made.PrivateKey.(*ecdsa.PrivateKey)
	a.pool = x509.NewCertPool()
	a.pool.AddCert(a.cert)
	return a
}

// issue signs a certificate, which signs itself if there is no authority yet.
func (a *authority) issue(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// certificate is the template of one for a server with that name, good for three
// months of which two are left.
func certificate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().AddDate(0, -1, 0), NotAfter: time.Now().AddDate(0, 2, 0),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// serve starts a server with TLS, or without if cfg is nil, and returns its port.
func serve(t *testing.T, h http.Handler, cfg *tls.Config) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	if cfg != nil {
		srv.TLS = cfg
		srv.EnableHTTP2 = true
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// toolKey is the tool's key in all tests.
var toolKey = sync.OnceValue(func() *jose.Key {
	key, err := jose.GenerateKey()
	if err != nil {
		panic(err)
	}
	return key
})

// platform is a learning platform that does everything right, until a test breaks
// something.
type platform struct {
	t    *testing.T
	port string
	auth *authority

	tls    *tls.Config
	cert   *x509.Certificate   // its template
	self   bool                // it signs itself
	date   func(h http.Header) // changes the answers' clock
	routes map[string]func(http.ResponseWriter, *http.Request)
	keys   []map[string]any

	audience string // that it wants; empty is its token URL
	grants   []string
	whole    bool // it grants all or nothing
	expires  int

	client     httpx.Config
	tooPrivate bool // the server does not go to private addresses
	reg        func(*Registration)
	sign       func([]byte) (string, error)
	ctx        context.Context
}

var allScopes = []string{ags.ScopeScore, ags.ScopeLineItem, "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"}

func newPlatform(t *testing.T) *platform {
	t.Helper()
	p := &platform{
		t: t, auth: newAuthority(t, 365), tls: new(tls.Config), cert: certificate(platformName),
		date: func(http.Header) {}, grants: allScopes, expires: 3600, ctx: t.Context(),
		keys: []map[string]any{ltitest.RSAKey(t, 0, "key-1").JWK()},
		reg:  func(*Registration) {},
		sign: func(claims []byte) (string, error) { return toolKey().Sign(json.RawMessage(claims)) },
	}
	p.routes = map[string]func(http.ResponseWriter, *http.Request){
		"/jwks": func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]any{"keys": p.keys})
		},
		"/auth": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "login_hint is missing", http.StatusBadRequest)
		},
		"/token": p.token,
	}
	return p
}

// token checks an assertion as a platform does.
func (p *platform) token(w http.ResponseWriter, r *http.Request) {
	tok, err := jose.Parse(r.FormValue("client_assertion"))
	if err != nil {
		p.t.Errorf("assertion: %v", err)
		return
	}
	doc, _ := jose.PublicSet(toolKey())
	set, _ := jose.ParseKeySet(doc)
	payload, err := tok.Verify(set.All(), []string{"RS256"})
	if err != nil {
		p.t.Errorf("assertion: %v", err)
		return
	}
	var claims struct {
		Iss, Aud string
		Iat      int64
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		p.t.Errorf("assertion: %v", err)
	}
	want := p.audience
	if want == "" {
		want = p.url("/token")
	}
	if claims.Iss != "client-1" || claims.Aud != want {
		refuse(w, http.StatusBadRequest, `{"error": "invalid_client"}`)
		return
	}
	var granted []string
	asked := strings.Fields(r.FormValue("scope"))
	for _, scope := range asked {
		if slices.Contains(p.grants, scope) {
			granted = append(granted, scope)
		}
	}
	if len(granted) == 0 || p.whole && len(granted) < len(asked) {
		refuse(w, http.StatusBadRequest, `{"error": "invalid_scope"}`)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": secret + "token", "token_type": "Bearer", "expires_in": p.expires, "scope": strings.Join(granted, " "),
	})
}

func refuse(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// always is a route that answers every request alike.
func always(status int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { refuse(w, status, body) }
}

func (p *platform) url(path string) string { return "https://" + platformName + ":" + p.port + path }

func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.date(w.Header())
	if h := p.routes[r.URL.Path]; h != nil {
		h(w, r)
		return
	}
	http.Error(w, "There is no "+r.URL.Path, http.StatusNotFound)
}

// examine starts the platform and checks it.
func (p *platform) examine() []Finding {
	t := p.t
	if p.tls != nil {
		signer := p.auth
		if p.self {
			signer = new(authority)
		}
		p.tls.Certificates = []tls.Certificate{signer.issue(t, p.cert)}
	}
	p.port = serve(t, p, p.tls)
	if p.client.RootCAs == nil {
		p.client.RootCAs = p.auth.pool
	}
	if !p.tooPrivate {
		rule, err := httpx.ParseAllow("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		p.client.AllowPrivate = []httpx.AllowRule{rule}
	}
	client := httpx.New(p.client)
	defer client.CloseIdle()
	reg := Registration{
		Platform: service.Platform{Name: "moodle", Issuer: "https://" + platformName, ClientID: "client-1", TokenURL: p.url("/token")},
		AuthURL:  p.url("/auth?key=" + secret), KeysURL: p.url("/jwks"), Deployment: "1", Scopes: allScopes,
		OwnKeysURL: "https://tool.example.edu/lti/jwks.json",
	}
	p.reg(&reg)
	return Platform(p.ctx, Tool{HTTP: client, Sign: p.sign}, reg)
}

// site is a site with the tool, until a test breaks something.
type site struct {
	t     *testing.T
	auth  *authority
	name  string
	cert  *x509.Certificate
	date  func(http.Header)
	paths map[string]func(http.ResponseWriter, *http.Request)
	plain http.HandlerFunc // nil: no plain HTTP
	look  Outside
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, auth: newAuthority(t, 365), name: "tool.localhost", date: func(http.Header) {}}
	s.cert = certificate(s.name)
	s.look.KeyIDs = []string{toolKey().ID()}
	s.paths = map[string]func(http.ResponseWriter, *http.Request){
		"GET /lti/jwks.json": always(http.StatusOK, string(toolKeys(t))),
		"GET /lti/login":     always(http.StatusBadRequest, `{"code": "issuer_missing"}`),
		"POST /lti/launch":   always(http.StatusBadRequest, `{"code": "state_missing"}`),
	}
	s.plain = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://"+s.name+r.RequestURI)
		w.WriteHeader(http.StatusPermanentRedirect)
	}
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.date(w.Header())
	h := s.paths[r.Method+" "+r.URL.Path]
	if h == nil {
		h = always(http.StatusNotFound, "nothing")
	}
	h(w, r)
}

func (s *site) examine() []Finding {
	if s.look.URL == "" {
		s.look.URL = "https://" + s.name + ":" + serve(s.t, s, &tls.Config{Certificates: []tls.Certificate{s.auth.issue(s.t, s.cert)}})
	}
	if s.plain != nil {
		port := serve(s.t, s.plain, nil)
		_, _ = fmt.Sscan(port, &s.look.HTTPPort)
	} else {
		s.look.HTTPPort = closedPort(s.t)
	}
	if s.look.RootCAs == nil {
		s.look.RootCAs = s.auth.pool
	}
	return Site(s.t.Context(), s.look)
}

// closedPort is one that nobody listens on.
func closedPort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// brokenRules are the rules that findings say are broken, as check/rule.
func brokenRules(found []Finding) []string {
	var names []string
	for _, f := range found {
		if f.Level != OK {
			names = append(names, string(f.Check)+"/"+f.Rule)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// sound checks what holds for every finding.
func sound(t *testing.T, found []Finding) {
	t.Helper()
	if len(found) == 0 {
		t.Error("nothing was found, not even good")
	}
	var text bytes.Buffer
	if err := WriteText(&text, found, false); err != nil {
		t.Error(err)
	}
	doc, err := json.Marshal(found)
	if err != nil {
		t.Error(err)
	}
	if all := text.String() + string(doc); strings.Contains(all, secret) {
		t.Errorf("a secret is shown: %s", all)
	}
	for _, f := range found {
		switch {
		case f.Check == "" || f.Subject == "" || f.Text == "":
			t.Errorf("%+v says nothing", f)
		case f.Level == OK && (f.Rule != "" || f.Mend != "" || f.Whose != ""):
			t.Errorf("%+v is good, and to be mended", f)
		case f.Level != OK && (f.Rule == "" || f.Whose == ""):
			t.Errorf("%+v has no rule, or is nobody's", f)
		case (f.Level == Failure || f.Level == Warning) && f.Mend == "":
			t.Errorf("%+v: nobody knows what to do", f)
		case strings.ContainsAny(f.Text+f.Mend, "\n\r\x1b"):
			t.Errorf("%+v has control characters", f)
		}
	}
}

// foreign is a URL's host replaced.
func foreign(raw, host string) string {
	u, err := url.Parse(raw)
	if err != nil {
		panic(err)
	}
	u.Host = host
	return u.String()
}
