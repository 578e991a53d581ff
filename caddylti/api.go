package caddylti

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/session"
)

// API is the interface for the app's server: scores, line items, results and
// rosters, without a token of the platform ever reaching the app. It is called with the
// token that comes as X-LTI-Token with each request of a launch, or with a key.
type API struct {
	// From lists the addresses and networks that may call it. Default: all; a
	// token or key is needed in any case.
	From []string `json:"from,omitempty"`

	// Keys are for work outside of a launch. Default: none.
	Keys []*APIKey `json:"keys,omitempty"`

	from []netPrefix
}

// APIKey lets a program of the app call the API without a launch.
type APIKey struct {
	// Name is what logs call it: 1 to 32 of a-z, 0-9 and the hyphen. Required.
	Name string `json:"name"`

	// Secret is what the program sends as its bearer token: at least 22
	// characters, all random. It may be a placeholder such as {env.LTI_KEY}.
	// Required.
	Secret string `json:"secret"`

	// Platforms are the names of those that it is good for. Required.
	Platforms []string `json:"platforms,omitempty"`

	// Contexts are the ids of the courses that it is good for. Default: all of
	// the platforms.
	Contexts []string `json:"contexts,omitempty"`

	// Allow lists what it may do: scores, lineitems, results, members. Required.
	Allow []string `json:"allow,omitempty"`

	sum [sha256.Size]byte
}

// What a key may be allowed.
const (
	allowScores    = "scores"
	allowLineItems = "lineitems"
	allowResults   = "results"
	allowMembers   = "members"
)

var allowances = []string{allowScores, allowLineItems, allowResults, allowMembers}

// minKey is the length of 128 random bits in base64.
const minKey = 22

// check looks at a key as it is written.
func (k *APIKey) check() error {
	switch {
	case !platformName.MatchString(k.Name):
		return fmt.Errorf("key %q: expected a name of 1 to 32 of a-z, 0-9 and -", k.Name)
	case len(k.Platforms) == 0:
		return fmt.Errorf("key %s: no platform: name those that it is good for", k.Name)
	case len(k.Allow) == 0:
		return fmt.Errorf("key %s: no allow: name what it may do, of %s", k.Name, strings.Join(allowances, ", "))
	}
	for _, name := range k.Platforms {
		if err := checkPlatformName(name); err != nil {
			return fmt.Errorf("key %s: %w", k.Name, err)
		}
	}
	for _, a := range k.Allow {
		if !slices.Contains(allowances, a) {
			return fmt.Errorf("key %s: allow %q: expected some of %s", k.Name, a, strings.Join(allowances, ", "))
		}
	}
	if !strings.Contains(k.Secret, "{") && len(k.Secret) < minKey {
		return fmt.Errorf("key %s: the secret is shorter than %d characters: make one with openssl rand -base64 32", k.Name, minKey)
	}
	return nil
}

func (h *Handler) provisionAPI() error {
	if h.API == nil {
		return nil
	}
	var err error
	if h.API.from, err = parsePrefixes(h.API.From); err != nil {
		return fmt.Errorf("api: from: %w", err)
	}
	names, sums := make(map[string]bool), make(map[[sha256.Size]byte]bool)
	for _, k := range h.API.Keys {
		if k == nil {
			return errors.New("api: key: null")
		}
		if err := k.check(); err != nil {
			return fmt.Errorf("api: %w", err)
		}
		secret, err := caddy.NewReplacer().ReplaceOrErr(k.Secret, true, true)
		if err != nil {
			return fmt.Errorf("api: key %s: %w", k.Name, err)
		}
		if len(secret) < minKey {
			return fmt.Errorf("api: key %s: the secret is shorter than %d characters", k.Name, minKey)
		}
		k.sum = sha256.Sum256([]byte(secret))
		if names[k.Name] || sums[k.sum] {
			return fmt.Errorf("api: key %s is there twice, or has the secret of another one", k.Name)
		}
		names[k.Name], sums[k.sum] = true, true
		for _, p := range k.Platforms {
			if h.Registration == nil && !slices.ContainsFunc(h.Platforms, func(o *Platform) bool { return o != nil && o.Name == p }) {
				return fmt.Errorf("api: key %s: platform %s is none of this site's", k.Name, p)
			}
		}
	}
	return nil
}

// problem is a refusal of the API (RFC 9457).
type problem struct {
	status int
	code   string
	detail string
	field  string // of the body or query, if one is to blame
	after  int    // Retry-After in seconds
	err    error  // for the log
}

func (p *problem) Error() string {
	if p.err != nil {
		return p.code + ": " + p.err.Error()
	}
	return p.code + ": " + p.detail
}

// problems of the API, which docs/api.md explains.
const (
	problemToken       = "token_invalid"
	problemSession     = "session_missing"
	problemForbidden   = "forbidden"
	problemOrigin      = "request_foreign_origin"
	problemService     = "service_missing"
	problemAmbiguous   = "launch_ambiguous"
	problemScope       = "scope_missing"
	problemInvalid     = "invalid"
	problemBody        = "body_malformed"
	problemTooLarge    = "request_too_large"
	problemMediaType   = "media_type"
	problemNotFound    = "not_found"
	problemMethod      = "method_not_allowed"
	problemConflict    = "conflict"
	problemTooOften    = "too_often"
	problemPlatform    = "platform_refused"
	problemUnreachable = "platform_unreachable"
	problemStore       = "store_unavailable"
)

func refuseAPI(status int, code, format string, args ...any) *problem {
	return &problem{status: status, code: code, detail: fmt.Sprintf(format, args...)}
}

func invalid(field, format string, args ...any) *problem {
	return &problem{status: http.StatusUnprocessableEntity, code: problemInvalid, field: field, detail: fmt.Sprintf(format, args...)}
}

// caller is who calls the API: somebody's launch, or a key.
type caller struct {
	visit *visit
	key   *APIKey
	page  bool // it is a page in the person's browser, which says what he wants
}

// instructorRoles are those of the course that may do more than a learner.
var instructorRoles = []string{
	"http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor",
	"http://purl.imsglobal.org/vocab/lis/v2/membership#Administrator",
}

// testRoles are those of people who are none (LTI 1.3 App. A.2.4).
var testRoles = []string{"http://purl.imsglobal.org/vocab/lti/system/person#TestUser"}

func (c *caller) instructor() bool { return c.visit != nil && c.visit.facts.hasRole(instructorRoles) }

// serveAPI answers below /api/v1/.
func (h *Handler) serveAPI(w http.ResponseWriter, r *http.Request, rest string) error {
	hdr := w.Header()
	hdr.Set("Cache-Control", "no-store")
	hdr.Set("X-Content-Type-Options", "nosniff")
	// Idempotent for logs: bearer tokens are in a header, but bodies hold people.
	c, err := h.authorize(r)
	if err == nil {
		err = h.dispatch(w, r, c, rest)
	}
	if err == nil {
		return nil
	}
	return h.writeProblem(w, r, c, err)
}

// authorize finds out who calls.
func (h *Handler) authorize(r *http.Request) (*caller, error) {
	if len(h.API.from) > 0 && !containsPeer(h.API.from, r.RemoteAddr) {
		return nil, refuseAPI(http.StatusForbidden, problemForbidden, "this address may not call the API: see from in the api block")
	}
	if from := r.Header["Origin"]; len(from) > 0 {
		if origin, err := h.public(r); err != nil || from[0] != origin {
			return nil, refuseAPI(http.StatusForbidden, problemOrigin, "a page of another site may not call the API")
		}
	}
	unauthorized := func(detail string) error {
		return refuseAPI(http.StatusUnauthorized, problemToken, "%s", detail)
	}
	lines := r.Header["Authorization"]
	if len(lines) != 1 {
		return nil, unauthorized("Authorization: Bearer with the X-LTI-Token of a launch, or a key, is needed")
	}
	scheme, token, _ := strings.Cut(lines[0], " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > 2<<10 {
		return nil, unauthorized("the Authorization header is not a bearer token")
	}
	sum := sha256.Sum256([]byte(token))
	var key *APIKey
	for _, k := range h.API.Keys {
		if subtle.ConstantTimeCompare(k.sum[:], sum[:]) == 1 {
			key = k
		}
	}
	if key != nil {
		return &caller{key: key}, nil
	}
	ready, err := h.app.open()
	if err != nil {
		return nil, &problem{status: http.StatusServiceUnavailable, code: problemStore, err: err}
	}
	plain, err := ready.ring.Sealer().Open(h.purpose(r, forToken), token)
	if err != nil {
		return nil, unauthorized("the token is none of this site's")
	}
	name, unsure := strings.CutPrefix(string(plain), unsureMark)
	s, err := ready.sessions.Member(r.Context(), &session.Member{Key: name}, h.limits)
	switch {
	case errors.Is(err, session.ErrNotFound):
		return nil, unauthorized("the session of the token has ended")
	case err != nil:
		return nil, &problem{status: http.StatusServiceUnavailable, code: problemStore, err: err}
	}
	return &caller{visit: &visit{session: s, sessions: ready.sessions, book: ready.book, facts: s.Value.(*facts), unsure: unsure}}, nil
}

// unsureMark begins the tokens of requests that could belong to the launch of
// another activity.
const unsureMark = "?"

// apiToken returns the token for the app of a session: it names the session, and
// ends with it.
func (h *Handler) apiToken(r *http.Request, v *visit) string {
	ready, err := h.app.open()
	if err != nil {
		return ""
	}
	name := v.session.Key()
	if v.unsure {
		name = unsureMark + name
	}
	return ready.ring.Sealer().Seal(h.purpose(r, forToken), []byte(name))
}

// mustBeSure refuses to write to a gradebook where it is only guessed whose.
func (c *caller) mustBeSure() error {
	if c.visit == nil || !c.visit.unsure {
		return nil
	}
	return refuseAPI(http.StatusConflict, problemAmbiguous, "this person has several activities open, and the request that brought the token could belong to any of them: give each a path of its own, or name the launch in the query as lti_launch_id")
}

// dispatch finds the call.
func (h *Handler) dispatch(w http.ResponseWriter, r *http.Request, c *caller, rest string) error {
	type calls map[string]func(http.ResponseWriter, *http.Request, *caller, string) error
	var found calls
	name, arg, deeper := strings.Cut(rest, "/")
	switch {
	case name == "launch" && !deeper:
		found = calls{"GET": h.apiLaunch}
	case name == "scores" && !deeper:
		found = calls{"POST": h.apiPostScore}
	case name == "scores" && apiID.MatchString(arg):
		found = calls{"GET": h.apiGetScore}
	case name == "lineitems" && !deeper:
		found = calls{"GET": h.apiLineItems, "POST": h.apiCreateLineItem}
	case name == "lineitems" && apiID.MatchString(arg):
		found = calls{"GET": h.apiLineItem, "PUT": h.apiUpdateLineItem, "DELETE": h.apiDeleteLineItem}
	case name == "deeplink" && !deeper && h.linksApp():
		found = calls{"POST": h.apiDeepLink}
	case name == "results" && !deeper:
		found = calls{"GET": h.apiResults}
	case name == "members" && !deeper:
		found = calls{"GET": h.apiMembers}
	default:
		return refuseAPI(http.StatusNotFound, problemNotFound, "there is no such call")
	}
	call, ok := found[r.Method]
	if !ok {
		var allowed []string
		for method := range found {
			allowed = append(allowed, method)
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return refuseAPI(http.StatusMethodNotAllowed, problemMethod, "expected %s", strings.Join(allowed, " or "))
	}
	return call(w, r, c, arg)
}

var apiID = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// writeProblem answers with what went wrong.
func (h *Handler) writeProblem(w http.ResponseWriter, r *http.Request, c *caller, err error) error {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return nil //nolint:nilerr // nobody is listening
	}
	var p *problem
	if !errors.As(err, &p) {
		p = &problem{status: http.StatusServiceUnavailable, code: problemStore, err: err}
	}
	if p.detail == "" {
		p.detail = "the store cannot be used at the moment"
	}
	reference := randomText(6)
	fields := []zap.Field{
		zap.String("code", p.code), zap.String("detail", p.detail), zap.String("field", p.field),
		zap.Int("status", p.status), zap.String("reference", reference),
	}
	if c != nil && c.key != nil {
		fields = append(fields, zap.String("key", c.key.Name))
	} else if c != nil {
		fields = append(fields, zap.String("platform", c.visit.facts.Platform), zap.String("launch_id", c.visit.facts.LaunchID))
	}
	if ip := clientIP(r); ip != "" {
		fields = append(fields, zap.String("client_ip", ip))
	}
	if p.err != nil {
		fields = append(fields, zap.Error(p.err))
	}
	if p.status >= 500 {
		h.logger.Error("API call failed", fields...)
	} else {
		h.logger.Info("API call refused", fields...)
	}
	hdr := w.Header()
	hdr.Set("Content-Type", "application/problem+json")
	if p.status == http.StatusUnauthorized {
		hdr.Set("WWW-Authenticate", "Bearer")
	}
	if p.after > 0 {
		hdr.Set("Retry-After", fmt.Sprint(p.after))
	}
	return writeJSON(w, p.status, struct {
		Type      string `json:"type"`
		Title     string `json:"title"`
		Status    int    `json:"status"`
		Code      string `json:"code"`
		Detail    string `json:"detail"`
		Field     string `json:"field,omitempty"`
		Reference string `json:"reference"`
	}{"about:blank", http.StatusText(p.status), p.status, p.code, p.detail, p.field, reference})
}

// writeJSON answers with a document.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	doc, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, err = w.Write(doc)
	return err
}

// apiLaunch tells the launch of the token, as far as it is kept.
func (h *Handler) apiLaunch(w http.ResponseWriter, r *http.Request, c *caller, _ string) error {
	if c.visit == nil {
		return refuseAPI(http.StatusForbidden, problemForbidden, "a key has no launch: this call needs the X-LTI-Token of one")
	}
	ready, err := h.app.open()
	if err != nil {
		return err
	}
	f := c.visit.facts
	type object map[string]any
	drop := func(o object) object {
		for name, val := range o {
			if val == "" {
				delete(o, name)
			}
		}
		return o
	}
	doc := object{
		"launch_id": f.LaunchID, "message_type": f.Message,
		"platform": drop(object{"name": f.Platform, "issuer": f.Issuer, "client_id": f.ClientID, "deployment_id": f.Deployment}),
		"user": drop(object{
			"id": f.Subject, "remote_user": f.RemoteUser, "name": f.Name, "given_name": f.GivenName, "family_name": f.FamilyName,
			"email": f.Email, "locale": f.Locale,
		}),
		"roles":         slices.Clone(f.Roles),
		"context":       drop(object{"id": f.ContextID, "label": f.ContextLabel, "title": f.ContextTitle}),
		"resource_link": drop(object{"id": f.ResourceLink, "title": f.ResourceTitle}),
	}
	if f.Roles == nil {
		doc["roles"] = []string{}
	}
	if f.Custom != nil {
		doc["custom"] = f.Custom
	}
	if f.ReturnURL != "" {
		doc["return_url"] = f.ReturnURL
	}
	if f.DeepLinking != nil {
		takes := *f.DeepLinking
		about := drop(object{"auto_create": takes.AutoCreate, "title": takes.Title, "text": takes.Text})
		about["accept_types"], about["accept_multiple"] = takes.AcceptTypes, takes.AcceptMultiple
		about["accept_presentation_document_targets"] = append([]string{}, takes.AcceptTargets...)
		if takes.AcceptMediaTypes != nil {
			about["accept_media_types"] = takes.AcceptMediaTypes
		}
		if takes.AcceptLineItem != nil {
			about["accept_lineitem"] = *takes.AcceptLineItem
		}
		doc["deep_linking"] = about
	}
	if f.Grades != nil {
		doc["line_item"] = f.Grades.LineItem
		doc["scopes"] = f.Grades.Scopes
		if d, err := h.destination(c, "", ""); err == nil && !c.visit.unsure {
			handle, err := h.seal(r, ready, forHandle, d.handle())
			if err != nil {
				return err
			}
			doc["score_handle"] = handle
		}
	}
	return writeJSON(w, http.StatusOK, drop(doc))
}
