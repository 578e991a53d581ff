package caddylti

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/internal/doctor"
	"github.com/caddy-lti/lti/internal/jose"
	"github.com/caddy-lti/lti/internal/page"
)

// lookTime bounds what the app may take for the page that the doctor looks at.
const lookTime = 10 * time.Second

// lookAddr is where the doctor's own requests come from: a port that no
// connection has.
const lookAddr = "127.0.0.1:0"

// lookKey is the context key of a request that the doctor makes, within the
// process, to see what the app behind a block answers. Its value is the block.
type lookKey struct{}

// looks reports whether a request is the doctor's look at what is behind h.
func (h *Handler) looks(r *http.Request) bool {
	return r.RemoteAddr == lookAddr && r.Context().Value(lookKey{}) == h
}

// look asks what is behind the gate for a page, as if nobody were signed in, and
// returns the head of the answer.
func (h *Handler) look(ctx context.Context, origin, path string) (*headOnly, error) {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, lookKey{}, h), lookTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, origin+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	r.RequestURI, r.RemoteAddr = path, lookAddr
	r.Header.Set("Accept", "text/html")
	if r.URL.Scheme == "https" {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true, ServerName: r.URL.Hostname()}
	}
	w := &headOnly{header: make(http.Header)}
	h.server.ServeHTTP(w, r)
	return w, nil
}

// headOnly is an answer of which only the head is kept.
type headOnly struct {
	header http.Header
	status int
	head   http.Header // as it was sent
}

// Header implements http.ResponseWriter.
func (w *headOnly) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *headOnly) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status, w.head = status, w.header.Clone()
	}
}

// Write implements http.ResponseWriter.
func (w *headOnly) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return len(p), nil
}

// examined is what the server says of itself to the doctor.
type examined struct {
	Sites    []examinedSite   `json:"sites"` // to be looked at from outside
	Findings []doctor.Finding `json:"findings"`
}

type examinedSite struct {
	URL    string   `json:"url"`
	Base   string   `json:"base"`
	KeyIDs []string `json:"key_ids"`
}

// examine checks what the server can: platforms, store, keys and apps.
func (a *App) examine(ctx context.Context, ready *ready) *examined {
	out := &examined{Sites: []examinedSite{}, Findings: doctor.Store(ctx, ready.store)}
	public := ready.ring.PublicKeys()
	out.Findings = append(out.Findings, doctor.Keys(public, ready.ring.Created(), time.Now())...)
	ids := keyIDs(public)
	seen := make(map[*Platform]bool)
	for _, h := range a.used() {
		for _, p := range h.all() {
			if !seen[p] {
				out.Findings = append(out.Findings, h.examinePlatform(ctx, p)...)
			}
			seen[p] = true
		}
		for _, site := range h.sites() {
			origin := strings.TrimSuffix(site, h.Base)
			out.Sites = append(out.Sites, examinedSite{origin, h.Base, ids})
			out.Findings = append(out.Findings, h.examineApp(ctx, origin)...)
		}
	}
	return out
}

// keyIDs are those of a key set of ours.
func keyIDs(document []byte) []string {
	set, err := jose.ParseKeySet(document)
	if err != nil {
		return nil // which is a finding
	}
	var ids []string
	for _, k := range set.All() {
		ids = append(ids, k.ID())
	}
	return ids
}

// examinePlatform checks what the site needs of a platform.
func (h *Handler) examinePlatform(ctx context.Context, p *Platform) []doctor.Finding {
	reg := doctor.Registration{
		Platform: *p.service, AuthURL: p.registration.AuthURL, KeysURL: p.keysURL,
		Algorithms: p.registration.Algorithms, Leeway: p.registration.Leeway,
	}
	if !p.registration.AnyDeployment && len(p.registration.Deployments) > 0 {
		reg.Deployment = p.registration.Deployments[0]
	}
	if p.service.TokenURL != "" {
		reg.Scopes = h.scopesUsed()
	}
	if sites := h.sites(); len(sites) > 0 {
		reg.OwnKeysURL = sites[0] + "/jwks.json"
	}
	return doctor.Platform(ctx, doctor.Tool{HTTP: h.app.client, Sign: h.app.sign}, reg)
}

// examineApp looks at the page where launches land.
func (h *Handler) examineApp(ctx context.Context, origin string) []doctor.Finding {
	if h.server == nil {
		return nil
	}
	path := h.Home
	answer, err := h.look(ctx, origin, path)
	if err != nil || answer.status == 0 {
		return nil // what answers in no way has no headers
	}
	var platforms []string
	for _, p := range h.all() {
		platforms = append(platforms, p.origins...)
	}
	return doctor.Headers(answer.head, doctor.App{
		Subject: origin + path, Site: origin, Platforms: platforms, Frame: h.Frame == "on", Cookies: h.AppCookies == "on",
	})
}

// checks shows findings on a page. Right after a registration many platforms give
// no token yet, for somebody has to activate the tool first.
func checks(found []doctor.Finding) []page.Check {
	var all []page.Check
	for _, f := range found {
		c := page.Check{State: page.CheckOK, Text: f.Text, Mend: f.Mend, Who: string(f.Whose)}
		switch {
		case f.Level == doctor.OK:
		case f.Level == doctor.Failure && f.Check != doctor.CheckToken && f.Check != doctor.CheckAudience && f.Check != doctor.CheckScopes:
			c.State = page.CheckFailed
		default:
			c.State = page.CheckNote
		}
		all = append(all, c)
	}
	return all
}

// scoreTest is what POST doctor takes: a score to send, really.
type scoreTest struct {
	Platform string `json:"platform"`  // its name
	LineItem string `json:"line_item"` // its URL
	User     string `json:"user"`      // the platform's id of a test student
	Replace  bool   `json:"replace"`   // even if that replaces a score
}

func (a *App) testScore(ctx context.Context, t *scoreTest) ([]doctor.Finding, error) {
	if u, err := url.Parse(t.LineItem); t.Platform == "" || t.User == "" || err != nil || u.Host == "" {
		return nil, adminError(http.StatusBadRequest, "a test score needs platform (its name), line_item (its URL) and user (the platform's id of a test student)")
	}
	for _, h := range a.used() {
		p := h.platform(t.Platform)
		if p == nil {
			continue
		}
		at := &course{
			Platform: p.Name, Registration: registrationHash(&p.registration),
			Scopes: []string{ags.ScopeScore, ags.ScopeResultReadOnly, ags.ScopeLineItem},
		}
		if !p.registration.AnyDeployment && len(p.registration.Deployments) > 0 {
			at.Deployment = p.registration.Deployments[0]
		}
		client, err := a.grades(at, t.LineItem)
		if err != nil {
			return nil, adminError(http.StatusConflict, "%w", err)
		}
		return doctor.Score(ctx, client, doctor.TestScore{
			Platform: p.Name, LineItem: t.LineItem, UserID: t.User, Replace: t.Replace, Time: time.Now(),
		}), nil
	}
	return nil, adminError(http.StatusBadRequest, "no site has a platform named %s", t.Platform)
}

// serveLook lets the doctor see what the app answers, past the gate: without
// anybody's identity.
func (h *Handler) serveLook(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	h.cleanRequest(r, nil, false)
	return next.ServeHTTP(w, r)
}
