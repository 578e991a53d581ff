package caddylti

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-lti/lti/internal/outbox"
	"github.com/caddy-lti/lti/internal/page"
	"github.com/caddy-lti/lti/lti"
	"github.com/caddy-lti/lti/nrps"
)

// gradesPage is how many scores one page shows.
const gradesPage = 200

// serveGrades shows instructors what became of the scores of their course, and
// sends again what failed.
func (h *Handler) serveGrades(w http.ResponseWriter, r *http.Request) error {
	v, err := h.visit(r)
	refuse := func(err error) error { return h.refuse(w, r, &refusal{err: err, form: true}) }
	switch {
	case err != nil:
		return refuse(err)
	case v == nil:
		return refuse(&lti.Error{Code: lti.CodeSessionMissing})
	case !v.facts.hasRole(instructorRoles):
		return refuse(lti.Refuse(lti.CodeRoleRefused, "the scores of a course are for its instructors"))
	}
	ready, err := h.app.open()
	if err != nil {
		return refuse(unavailable(err))
	}
	at, err := h.gradesOf(v.facts)
	if err != nil {
		return h.in(r).Write(w, http.StatusOK, page.Page{ID: "grades_none"})
	}
	// What the page leads to is of this course, whatever else is open beside it.
	self := h.Base + "/grades?" + launchParam + "=" + v.facts.LaunchID
	if r.Method == http.MethodPost {
		return h.resendScore(w, r, ready, at, self)
	}
	entries, next, err := ready.outbox.List(r.Context(), outbox.Filter{Group: at.group()}, r.URL.Query().Get("after"), gradesPage)
	if errors.Is(err, outbox.ErrInvalid) {
		return refuse(lti.Refuse(lti.CodeNotFound, "no such page of scores"))
	}
	if err != nil {
		return refuse(unavailable(err))
	}
	p := page.Page{ID: "grades", Course: cmp.Or(v.facts.ContextTitle, v.facts.ContextLabel), Frames: h.derived(v).frames}
	if len(entries) == 0 && next == "" {
		p.ID = "grades_empty"
	}
	if len(entries) > 0 {
		names := h.namesOf(r, at)
		for i := range entries {
			p.Scores = append(p.Scores, scoreLine(&entries[i], names, self))
		}
	}
	if next != "" {
		p.Next = self + "&after=" + url.QueryEscape(next)
	}
	return h.in(r).Write(w, http.StatusOK, p)
}

// showsNames reports whether the page about scores may say who people are.
func (h *Handler) showsNames() bool { return h.scores() && headerSets[h.Headers] >= setStandard }

// namesWait is how long the page waits for the names of learners.
const namesWait = 3 * time.Second

// namesOf returns the names of a course's people by their ids, if the platform
// lets them be known and soon says so: scores are kept with ids only.
func (h *Handler) namesOf(r *http.Request, at *course) map[string]string {
	if !h.showsNames() || at.Roster == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), namesWait)
	defer cancel()
	all, more, err := h.roster(r.WithContext(ctx), at, nrps.Filter{})
	if more != nil {
		more.close() // too many to be looked through for a page
	}
	if all == nil || err != nil {
		return nil
	}
	names := make(map[string]string)
	for line, err := range all.all() {
		var m nrps.Member
		if err != nil || json.Unmarshal(line, &m) != nil {
			return names
		}
		if name := cmp.Or(m.Name, strings.TrimSpace(m.GivenName+" "+m.FamilyName)); name != "" {
			names[m.UserID] = name
		}
	}
	return names
}

func scoreLine(e *outbox.Entry, names map[string]string, self string) page.Score {
	q := queuedIn(e)
	line := page.Score{
		When: e.Taken, State: "state_" + string(e.State), Reason: e.Reason,
		Learner: cmp.Or(names[q.Destination.User], q.Destination.User), Activity: q.Destination.activity(),
	}
	line.Given, line.Most = q.points()
	if e.State == outbox.StateDead {
		line.Resend = &page.Form{Action: self, Values: []page.Value{{Name: "id", Value: e.ID}}}
	}
	return line
}

// resendScore queues a score again that had failed.
func (h *Handler) resendScore(w http.ResponseWriter, r *http.Request, ready *ready, at *course, self string) error {
	refuse := func(err error) error { return h.refuse(w, r, &refusal{err: err, form: true}) }
	if !h.sameOrigin(r) {
		return refuse(lti.Refuse(lti.CodeRequestForeignOrigin, "a score was to be sent again by another site's page"))
	}
	form, err := readForm(w, r, 4<<10)
	if err != nil {
		return refuse(err)
	}
	entry, err := ready.outbox.Get(r.Context(), form.Get("id"))
	if err == nil && entry.Group != at.group() {
		err = outbox.ErrNotFound
	}
	if err == nil {
		_, err = ready.outbox.Retry(r.Context(), entry.ID)
	}
	switch {
	case errors.Is(err, outbox.ErrNotFound):
		return refuse(lti.Refuse(lti.CodeNotFound, "no such score in this course"))
	case errors.Is(err, outbox.ErrOlder), errors.Is(err, outbox.ErrNotDead):
		return h.in(r).Write(w, http.StatusConflict, page.Page{ID: "score_not_resent"})
	case err != nil:
		return refuse(unavailable(err))
	}
	redirect(w, http.StatusSeeOther, self)
	return nil
}
