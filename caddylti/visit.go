package caddylti

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-lti/lti/internal/session"
)

// visit is a request of somebody who is signed in.
type visit struct {
	session  *session.Session
	sessions *session.Manager
	book     *cookieBook
	facts    *facts
	// unsure is set where the request may as well belong to the launch of another
	// activity: nothing may be written to a gradebook because of it.
	unsure bool
}

// visitVar is the request variable that holds what the last look-up found, so
// that matchers and handler look once, and placeholders speak of the block that
// the request is in.
const visitVar = "lti.visit"

type visitHolder struct {
	h     *Handler
	visit *visit
	err   error
}

// visit finds out who the request is from: nil if nobody is signed in here. An
// error means that it could not be found out.
func (h *Handler) visit(r *http.Request) (*visit, error) {
	holder, _ := caddyhttp.GetVar(r.Context(), visitVar).(*visitHolder)
	if holder != nil && holder.h == h {
		return holder.visit, holder.err
	}
	v, err := h.lookUp(r)
	if holder == nil {
		holder = new(visitHolder)
		caddyhttp.SetVar(r.Context(), visitVar, holder)
		if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
			repl.Map(holder.placeholder)
		}
	}
	holder.h, holder.visit, holder.err = h, v, err
	return v, err
}

// nobody's placeholders are empty. If they were unknown, much of Caddy would
// show their names instead.
var nobody facts

// placeholder gives {http.lti.*} and {http.auth.user.*} their values. Nothing is
// computed before somebody asks.
func (vh *visitHolder) placeholder(key string) (any, bool) {
	f := &nobody
	if vh.visit != nil {
		f = vh.visit.facts
	}
	val, ok := f.lookUp(key)
	return val, ok
}

func (h *Handler) lookUp(r *http.Request) (*visit, error) {
	ids := cookies(r, h.cookie)
	if len(ids) == 0 {
		return nil, nil //nolint:nilnil // nobody is an answer
	}
	ready, err := h.app.open()
	if err != nil {
		return nil, unavailable(err)
	}
	site := h.site(r)
	for _, id := range ids {
		var unsure bool
		s, err := ready.sessions.Find(r.Context(), site, id, h.limits)
		if err == nil {
			s, unsure, err = h.belongs(r, ready.sessions, s)
		}
		if errors.Is(err, session.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, unavailable(err)
		}
		f := s.Value.(*facts)
		if h.platform(f.Platform) == nil {
			continue // it has been removed since
		}
		return &visit{session: s, sessions: ready.sessions, book: ready.book, facts: f, unsure: unsure}, nil
	}
	return nil, nil //nolint:nilnil // nobody is an answer
}

// held returns the living sessions of all cookies that the browser sent: it may
// hold two of one name, one of them partitioned.
func (h *Handler) held(r *http.Request, ready *ready, ids []string) ([]*session.Session, error) {
	var found []*session.Session
	for _, id := range ids {
		s, err := ready.sessions.Find(r.Context(), h.site(r), id, h.limits)
		switch {
		case err == nil:
			found = append(found, s)
		case !errors.Is(err, session.ErrNotFound):
			return nil, unavailable(err)
		}
	}
	return found, nil
}

// site names what a session or a state is good for: this block on this host.
func (h *Handler) site(r *http.Request) string {
	return strings.ToLower(r.Host) + h.Base
}
