package caddylti

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/internal/outbox"
	"github.com/caddy-lti/lti/store"
)

const (
	maxAPIBody = 64 << 10
	// handleLifetime is how long a score_handle is good: a school year and the
	// summer after it.
	handleLifetime = 400 * 24 * time.Hour
	// maxWait is how long ?wait= may be.
	maxWait = 30 * time.Second
)

// course is where the services of a course are, as a launch said.
type course struct {
	Platform     string   `json:"p"` // name
	Registration []byte   `json:"r"` // hash of issuer and client id
	Deployment   string   `json:"d"`
	Context      string   `json:"c,omitempty"`
	LineItems    string   `json:"l,omitempty"` // URL
	Scopes       []string `json:"s,omitempty"`
	Roster       string   `json:"m,omitempty"` // URL
}

// destination is where a score goes: a learner's cell in the gradebook.
type destination struct {
	course
	User     string `json:"u"`
	LineItem string `json:"i,omitempty"`
	// Link is the resource link that was opened, if the score is for that: its
	// line item is found or made where no LineItem is known. Label is what it is
	// called.
	Link  string `json:"k,omitempty"`
	Label string `json:"t,omitempty"`
	// Test is set for a person who is none: a teacher who looks at the course as
	// a student would.
	Test bool `json:"x,omitempty"`
}

// lane names the destination: scores of one lane go out in order.
func (d *destination) lane() string {
	item := d.LineItem
	if item == "" {
		item = "link " + d.LineItems + " " + d.Link
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%x %q %q %q", d.Registration, d.Deployment, item, d.User))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// cell is lane, but the same before and after the activity had a line item.
func (d *destination) cell() string {
	if d.Link == "" {
		return d.lane()
	}
	linked := *d
	linked.LineItem = ""
	return linked.lane()
}

// queue names the registration: what waits for one delays no other. Names of
// platforms are those of a site, and another site may have the same.
func (c *course) queue() string {
	return c.Platform + " " + base64.RawURLEncoding.EncodeToString(c.Registration)
}

// queueName returns the name in what queue returned.
func queueName(queue string) string {
	name, _, _ := strings.Cut(queue, " ")
	return name
}

// group names the course, for the list of its scores.
func (c *course) group() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%x %q %q", c.Registration, c.Deployment, c.Context))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// grants reports whether the launch's claim names one of the scopes.
func (c *course) grants(scopes ...string) bool {
	return slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(c.Scopes, s) })
}

// errNoGrades is the refusal where there is no grade service.
var errNoGrades = refuseAPI(http.StatusConflict, problemService, "the launch names no grade service: the platform's administrator has to switch it on for this tool")

// mustGrant refuses a call for which the claim has no scope.
func (c *course) mustGrant(scopes ...string) error {
	if c.grants(scopes...) {
		return nil
	}
	if len(c.Scopes) == 0 && c.LineItems == "" {
		return errNoGrades // only its roster is known
	}
	return refuseAPI(http.StatusForbidden, problemScope, "the platform does not let this tool use %s: its administrator has to grant it", scopes[0])
}

// gradesOf returns the course of a launch, if the platform takes grades there.
func (h *Handler) gradesOf(f *facts) (*course, error) {
	if f.Grades == nil {
		return nil, errNoGrades
	}
	return h.courseOf(f)
}

// courseOf returns the course of a launch.
func (h *Handler) courseOf(f *facts) (*course, error) {
	p := h.platform(f.Platform)
	if p == nil {
		return nil, refuseAPI(http.StatusConflict, problemService, "the platform of the launch is no longer configured")
	}
	if p.service.TokenURL == "" {
		return nil, refuseAPI(http.StatusConflict, problemService, "platform %s has no token_url in this site's configuration, and its services need one", p.Name)
	}
	at := &course{
		Platform: p.Name, Registration: registrationHash(&p.registration), Deployment: f.Deployment, Context: f.ContextID, Roster: f.Roster,
	}
	if f.Grades != nil {
		at.LineItems, at.Scopes = f.Grades.LineItems, f.Grades.Scopes
	}
	return at, nil
}

// destination returns where a score of the caller's launch goes, and whether he
// may send it there. Both arguments may be empty.
func (h *Handler) destination(c *caller, user, lineItem string) (*destination, error) {
	f := c.visit.facts
	at, err := h.gradesOf(f)
	if err != nil {
		return nil, err
	}
	at.Roster = "" // no score needs it
	if err := at.mustGrant(ags.ScopeScore); err != nil {
		return nil, err
	}
	d := &destination{course: *at, User: user, LineItem: lineItem, Test: f.hasRole(testRoles) && (user == "" || user == f.Subject)}
	if d.User == "" {
		if d.User = f.Subject; d.User == "" {
			return nil, refuseAPI(http.StatusConflict, problemService, "the launch does not say who the person is, so there is nobody to give the score to")
		}
	}
	if d.User != f.Subject && !c.instructor() {
		return nil, refuseAPI(http.StatusForbidden, problemForbidden, "userId is somebody else: only an instructor's launch, or a key, may score others")
	}
	switch {
	case lineItem == "":
		d.LineItem = f.Grades.LineItem
	case lineItem != f.Grades.LineItem && !c.instructor():
		return nil, refuseAPI(http.StatusForbidden, problemForbidden, "lineItem is not the one of this launch: only an instructor's launch, or a key, may score others")
	}
	if d.LineItem == "" && (at.LineItems == "" || f.ResourceLink == "" || !at.grants(ags.ScopeLineItem)) {
		return nil, refuseAPI(http.StatusConflict, problemService, "the activity has no line item, and the platform does not let this tool make one")
	}
	if d.LineItem == f.Grades.LineItem {
		d.Link, d.Label = f.ResourceLink, f.ResourceTitle
	}
	return d, nil
}

// handle is a destination that an app may keep.
type handle struct {
	destination
	Until int64 `json:"until"` // Unix seconds
}

func (d *destination) handle() handle {
	return handle{*d, time.Now().Add(handleLifetime).Unix()}
}

// openHandle undoes what apiLaunch sealed.
func (h *Handler) openHandle(r *http.Request, ready *ready, sealed string) (*destination, error) {
	plain, err := ready.ring.Sealer().Open(h.purpose(r, forHandle), sealed)
	if err != nil {
		return nil, invalid("score_handle", "it is none of this site's")
	}
	var got handle
	if err := json.Unmarshal(plain, &got); err != nil {
		return nil, invalid("score_handle", "it cannot be read")
	}
	if time.Now().After(time.Unix(got.Until, 0)) {
		return nil, invalid("score_handle", "it has expired")
	}
	return &got.destination, nil
}

// covers refuses what the key is not for.
func (k *APIKey) covers(platform, context, what string) error {
	switch {
	case !slices.Contains(k.Allow, what):
		return refuseAPI(http.StatusForbidden, problemForbidden, "the key %s is not allowed %s", k.Name, what)
	case !slices.Contains(k.Platforms, platform):
		return refuseAPI(http.StatusForbidden, problemForbidden, "the key %s is not for platform %q", k.Name, cut(platform, 64))
	case len(k.Contexts) > 0 && !slices.Contains(k.Contexts, context):
		return refuseAPI(http.StatusForbidden, problemForbidden, "the key %s is not for that course", k.Name)
	}
	return nil
}

// handleOf opens a score_handle of a call with a key, if the key covers its course.
func (h *Handler) handleOf(r *http.Request, ready *ready, k *APIKey, sealed, what string) (*destination, error) {
	d, err := h.openHandle(r, ready, sealed)
	if err != nil {
		return nil, err
	}
	return d, k.covers(d.Platform, d.Context, what)
}

// courseKey is where the store has the services of a course, for keys.
func courseKey(site string, registration []byte, context string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %x %q", site, registration, context))
	return "course:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// rememberCourse notes the services of a launch's course, for programs with a
// key.
func (h *Handler) rememberCourse(r *http.Request, ready *ready, data []byte) error {
	if h.API == nil || len(h.API.Keys) == 0 {
		return nil
	}
	f := new(facts)
	if err := json.Unmarshal(data, f); err != nil || (f.Grades == nil && f.Roster == "") || f.ContextID == "" {
		return err
	}
	at, err := h.courseOf(f)
	if err != nil {
		return nil //nolint:nilerr // then there is nothing to remember
	}
	val, err := json.Marshal(at)
	if err != nil {
		return err
	}
	if err := ready.store.Put(r.Context(), courseKey(h.site(r), at.Registration, at.Context), val, handleLifetime); err != nil {
		return unavailable(err)
	}
	return nil
}

// courseByQuery returns the course that platform and context in the query name.
func (h *Handler) courseByQuery(r *http.Request, ready *ready, c *caller, what string) (*course, error) {
	q := r.URL.Query()
	name, id := q.Get("platform"), q.Get("context")
	if name == "" || id == "" {
		return nil, invalid("context", "with a key, the query has to name platform and context, or to bring a score_handle")
	}
	if err := c.key.covers(name, id, what); err != nil {
		return nil, err
	}
	return h.knownCourse(r, ready, name, id)
}

// knownCourse returns the course of a platform, if somebody has come from there.
func (h *Handler) knownCourse(r *http.Request, ready *ready, platform, id string) (*course, error) {
	p := h.platform(platform)
	if p == nil {
		return nil, invalid("platform", "no platform of this site has that name")
	}
	val, err := ready.store.Get(r.Context(), courseKey(h.site(r), registrationHash(&p.registration), id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, refuseAPI(http.StatusConflict, problemService, "nothing is known of that course: somebody has to open the tool from it first")
	}
	if err != nil {
		return nil, unavailable(err)
	}
	at := new(course)
	if err := json.Unmarshal(val, at); err != nil {
		return nil, unavailable(err)
	}
	return at, nil
}

// scoreBody is a score as the API takes it: the specification's members, and the
// handle that stands for a launch.
type scoreBody struct {
	ags.Score
	LineItem string
	Handle   string
}

// readScore reads the body of POST scores.
func readScore(w http.ResponseWriter, r *http.Request) (*scoreBody, error) {
	data, err := readAPIBody(w, r, maxAPIBody)
	if err != nil {
		return nil, err
	}
	s, err := ags.ParseScore(data, "lineItem", "score_handle")
	if err != nil {
		return nil, bodyProblem(err)
	}
	body := &scoreBody{Score: *s}
	var own struct {
		UserID   *string `json:"userId"`
		LineItem *string `json:"lineItem"`
		Handle   *string `json:"score_handle"`
	}
	if err := json.Unmarshal(data, &own); err != nil {
		return nil, invalid("lineItem", "lineItem and score_handle are texts")
	}
	for name, val := range map[string]*string{"userId": own.UserID, "lineItem": own.LineItem, "score_handle": own.Handle} {
		if val != nil && *val == "" {
			return nil, invalid(name, "it is empty: leave it out, or say which is meant")
		}
	}
	if own.LineItem != nil {
		body.LineItem = *own.LineItem
	}
	if own.Handle != nil {
		body.Handle = *own.Handle
	}
	return body, nil
}

// bodyProblem is the refusal of a body that ags could not read or does not
// accept.
func bodyProblem(err error) error {
	if fields, ok := errors.AsType[ags.FieldErrors](err); ok {
		return &problem{status: http.StatusUnprocessableEntity, code: problemInvalid, field: fields[0].Field, detail: fields.Error()}
	}
	return refuseAPI(http.StatusBadRequest, problemBody, "the body is not one JSON object, or has a member twice")
}

// readAPIBody reads a JSON body of so many bytes at most.
func readAPIBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || (mt != "application/json" && !strings.HasSuffix(mt, "+json")) {
		return nil, refuseAPI(http.StatusUnsupportedMediaType, problemMediaType, "expected Content-Type: application/json")
	}
	data, err := readSoon(w, r, most)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, refuseAPI(http.StatusUnprocessableEntity, problemTooLarge, "the body is larger than %d bytes", most)
	}
	if err != nil {
		return nil, refuseAPI(http.StatusBadRequest, problemBody, "the body broke off, or did not come within %s", bodyTimeout)
	}
	return data, nil
}

// queued is what the outbox has to send.
type queued struct {
	Destination destination `json:"d"`
	Score       ags.Score   `json:"s"`
}

// queuedIn returns what an entry has to send, or nothing if it cannot be read.
func queuedIn(e *outbox.Entry) (q queued) {
	if json.Unmarshal(e.Body, &q) != nil {
		return queued{}
	}
	return q
}

// points returns what was given, and of how many, or neither.
func (q *queued) points() (given, most *float64) {
	if q.Score.ScoreGiven == nil || q.Score.ScoreMaximum == nil {
		return nil, nil
	}
	return q.Score.ScoreGiven, q.Score.ScoreMaximum
}

// activity is what people call what it is for, as far as that is known.
func (d *destination) activity() string { return cmp.Or(d.Label, d.Link) }

// apiPostScore takes a score.
func (h *Handler) apiPostScore(w http.ResponseWriter, r *http.Request, c *caller, _ string) error {
	entry, err := h.postScore(w, r, c)
	if err != nil {
		return err
	}
	w.Header().Set("Location", h.Base+"/api/v1/scores/"+entry.ID)
	return writeJSON(w, http.StatusAccepted, stateOf(entry))
}

// postScore reads a score and gives it to the outbox; if the caller asks for
// that, it waits for what becomes of it.
func (h *Handler) postScore(w http.ResponseWriter, r *http.Request, c *caller) (*outbox.Entry, error) {
	q := r.URL.Query()
	var wait time.Duration
	if raw := q.Get("wait"); raw != "" {
		var err error
		if wait, err = time.ParseDuration(raw); err != nil || wait < 0 || wait > maxWait {
			return nil, invalid("wait", "expected a time such as 5s, at most %s", maxWait)
		}
	}
	idempotency := r.Header.Get("Idempotency-Key")
	if len(idempotency) > 255 || !utf8.ValidString(idempotency) {
		return nil, invalid("Idempotency-Key", "expected at most 255 bytes of UTF-8")
	}
	if err := c.mustBeSure(); err != nil {
		return nil, err
	}
	body, err := readScore(w, r)
	if err != nil {
		return nil, err
	}
	ready, err := h.app.open()
	if err != nil {
		return nil, unavailable(err)
	}
	d, owner, err := h.scoreDestination(r, ready, c, body)
	if err != nil {
		return nil, err
	}
	if err := h.mustKnow(d, body.Extensions); err != nil {
		return nil, err
	}
	check := body.Score
	check.UserID = d.User
	check.SetDefaults()
	if check.Timestamp.IsZero() {
		check.Timestamp = time.Now()
	}
	if err := ags.ValidateScore(&check); err != nil {
		return nil, bodyProblem(err)
	}
	if check.Erases() && (c.page || q.Get("erase") != "true") {
		return nil, invalid("gradingProgress", "many platforms delete a grade when a score comes that is not final or says nothing: send scoreGiven and FullyGraded, or say erase=true in the query if that is meant")
	}
	entry, err := h.enqueue(r.Context(), ready, d, body.Score, owner, idempotency)
	if err != nil {
		return nil, err
	}
	if wait > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), wait)
		defer cancel()
		if final, err := ready.outbox.Wait(ctx, entry.ID); err == nil {
			entry = final
		}
	}
	return &entry, nil
}

// mustKnow refuses extensions that the platform is not known to have: some
// refuse the whole score for one.
func (h *Handler) mustKnow(d *destination, extensions map[string]json.RawMessage) error {
	var known []string
	if p := h.platform(d.Platform); p != nil {
		known = presets[p.Preset].scoreExtensions
	}
	for name := range extensions {
		if !slices.Contains(known, name) {
			return invalid(name, "the platform is not known to have this extension: see preset of the platform")
		}
	}
	return nil
}

// scoreDestination returns where a score goes, and whose it is to ask for.
func (h *Handler) scoreDestination(r *http.Request, ready *ready, c *caller, body *scoreBody) (*destination, string, error) {
	sealed := cmp.Or(body.Handle, r.URL.Query().Get("score_handle"))
	if c.visit != nil {
		if sealed != "" {
			return nil, "", invalid("score_handle", "it is for keys; a launch knows where its scores go")
		}
		if c.page && body.ScoringUserID != "" && body.ScoringUserID != c.visit.facts.Subject {
			return nil, "", refuseAPI(http.StatusForbidden, problemForbidden, "scoringUserId is somebody else")
		}
		d, err := h.destination(c, body.UserID, body.LineItem)
		if err != nil {
			return nil, "", err
		}
		if d.LineItem != "" && d.LineItem != c.visit.facts.Grades.LineItem {
			if err := h.mustBeOfCourse(r.Context(), &d.course, d.LineItem); err != nil {
				return nil, "", err
			}
		}
		return d, h.ownerOf(r, c), nil
	}
	if sealed != "" {
		d, err := h.handleOf(r, ready, c.key, sealed, allowScores)
		if err != nil {
			return nil, "", err
		}
		if (body.UserID != "" && body.UserID != d.User) || (body.LineItem != "" && body.LineItem != d.LineItem) {
			return nil, "", refuseAPI(http.StatusForbidden, problemForbidden, "the score_handle is for another learner or line item")
		}
		return d, h.ownerOf(r, c), nil
	}
	at, err := h.courseByQuery(r, ready, c, allowScores)
	if err != nil {
		return nil, "", err
	}
	if err := at.mustGrant(ags.ScopeScore); err != nil {
		return nil, "", err
	}
	switch {
	case body.UserID == "":
		return nil, "", invalid("userId", "a key has no launch: say whose score it is, or send a score_handle")
	case body.LineItem == "":
		return nil, "", invalid("lineItem", "a key has no launch: say which line item is meant, or send a score_handle")
	}
	if err := h.mustBeOfCourse(r.Context(), at, body.LineItem); err != nil {
		return nil, "", err
	}
	return &destination{course: *at, User: body.UserID, LineItem: body.LineItem}, h.ownerOf(r, c), nil
}

// ownerOf names who may ask for a score: its sender.
func (h *Handler) ownerOf(r *http.Request, c *caller) string {
	if c.key != nil {
		return "key " + h.site(r) + " " + c.key.Name
	}
	return "person " + h.site(r) + " " + c.visit.session.Person()
}

// enqueue gives a score to the outbox.
func (h *Handler) enqueue(ctx context.Context, ready *ready, d *destination, score ags.Score, owner, idempotency string) (entry outbox.Entry, err error) {
	if h.Grade == nil || len(h.Grade.Visit) == 0 {
		return ready.enqueue(ctx, d, score, owner, idempotency)
	}
	err = ready.progress.sent(ctx, d, &score, func() (err error) {
		entry, err = ready.enqueue(ctx, d, score, owner, idempotency)
		return err
	})
	return entry, err
}

func (b *backend) enqueue(ctx context.Context, d *destination, score ags.Score, owner, idempotency string) (outbox.Entry, error) {
	at := score.Timestamp
	score.Timestamp = time.Time{} // the outbox keeps it
	score.UserID = d.User
	score.SetDefaults()
	body, err := json.Marshal(queued{*d, score})
	if err != nil {
		return outbox.Entry{}, err
	}
	entry, err := b.outbox.Put(ctx, outbox.New{
		Platform: d.queue(), Lane: d.lane(), Group: d.group(), Owner: owner, Time: at,
		// Most platforms do not say how finely they count; to count whole
		// seconds costs at most one of them.
		WholeSeconds: true,
		Body:         body, Key: idempotency,
	})
	switch {
	case errors.Is(err, outbox.ErrOlder):
		return entry, invalid("timestamp", "a newer score of this learner and line item has been taken already")
	case errors.Is(err, outbox.ErrAncient):
		return entry, invalid("timestamp", "it lies before 1970")
	case errors.Is(err, outbox.ErrAhead):
		return entry, invalid("timestamp", "it is more than 60 s ahead of this server's clock")
	case errors.Is(err, outbox.ErrKeyReused):
		return entry, refuseAPI(http.StatusUnprocessableEntity, problemConflict, "this Idempotency-Key was used for another score")
	case errors.Is(err, outbox.ErrInvalid):
		return entry, refuseAPI(http.StatusUnprocessableEntity, problemTooLarge, "the score is larger than %d bytes", outbox.MaxBody)
	case err != nil:
		return entry, unavailable(err)
	}
	return entry, nil
}

// scoreState is what became of a score.
type scoreState struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}

func stateOf(e *outbox.Entry) scoreState {
	return scoreState{e.ID, string(e.State), e.Reason}
}

// apiGetScore says what became of a score, to those who sent it and to
// instructors of the course.
func (h *Handler) apiGetScore(w http.ResponseWriter, r *http.Request, c *caller, id string) error {
	ready, err := h.app.open()
	if err != nil {
		return unavailable(err)
	}
	unknown := refuseAPI(http.StatusNotFound, problemNotFound, "there is no such score, or it is not for you to see")
	entry, err := ready.outbox.Get(r.Context(), id)
	if errors.Is(err, outbox.ErrNotFound) {
		return unknown
	}
	if err != nil {
		return unavailable(err)
	}
	allowed := entry.Owner == h.ownerOf(r, c)
	if !allowed && c.instructor() {
		if at, err := h.courseOf(c.visit.facts); err == nil {
			allowed = entry.Group == at.group()
		}
	}
	if !allowed {
		return unknown
	}
	return writeJSON(w, http.StatusOK, stateOf(&entry))
}

// originsOf returns the origins of URLs, which the bearer may be sent to.
func originsOf(urls ...string) []string {
	var origins []string
	for _, raw := range urls {
		if u, err := url.Parse(raw); err == nil && raw != "" {
			if o := originOf(u); !slices.Contains(origins, o) {
				origins = append(origins, o)
			}
		}
	}
	return origins
}
