package caddylti

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-lti/lti/internal/session"
)

// One person may have several launches open in one browser: two tabs, two
// courses, two activities of one course. The cookie names the newest; which one
// a request belongs to is told by
//
//  1. an explicit launch id: lti_launch_id in the query, of the request or of the
//     page that it comes from, or the header X-LTI-Launch-Id that a script of the
//     page sends;
//  2. the path: the launch whose page is asked for, or the one whose folder the
//     path is in;
//  3. the path of the page that the request comes from (Referer), in the same
//     way;
//
// and else it is the newest of those that fit equally well.

const (
	launchHeader = "X-Lti-Launch-Id"
	launchParam  = "lti_launch_id"
)

// place is what of a request tells which launch it belongs to.
type place struct {
	launch string // the explicit id
	header string // the same in a header, which may also be somebody's attempt
	path   string // decoded
	query  string
	from   string // the page it comes from, if that is of this site
	fromQ  string
}

func placeOf(r *http.Request, asked *url.URL) place {
	at := place{path: classifyRequest(r).path, query: r.URL.RawQuery}
	if asked != nil {
		at.path, at.query = asked.Path, asked.RawQuery
	}
	at.launch = explicitLaunch(at.query)
	if vals := r.Header[launchHeader]; len(vals) == 1 {
		at.header = vals[0]
	}
	if from := r.Header["Referer"]; len(from) > 0 {
		if u, err := url.Parse(from[0]); err == nil && strings.EqualFold(u.Host, r.Host) {
			at.from, at.fromQ = u.Path, u.RawQuery
			if at.launch == "" {
				at.launch = explicitLaunch(at.fromQ)
			}
		}
	}
	return at
}

// askedFor returns the address of the request about which a front end asks at
// the route /auth, if the front end says it: X-Forwarded-Uri, as Traefik and
// Caddy send it by themselves. It chooses among the person's own launches only.
func (h *Handler) askedFor(r *http.Request) *url.URL {
	says := r.Header["X-Forwarded-Uri"]
	if len(says) == 0 || len(h.peers) == 0 { // as most requests
		return nil
	}
	if rest, ok := strings.CutPrefix(classifyRequest(r).path, h.Base); !ok || rest != "/auth" || !containsPeer(h.peers, r.RemoteAddr) {
		return nil
	}
	asked, err := url.ParseRequestURI(says[0])
	if err != nil {
		return nil
	}
	return asked
}

func explicitLaunch(query string) string {
	if !strings.Contains(query, launchParam) {
		return ""
	}
	vals, err := url.ParseQuery(query)
	if err != nil {
		return ""
	}
	return vals.Get(launchParam)
}

// belongs returns the session of the launch that the request belongs to: s, or
// another one of its family; and whether it could as well belong to the launch of
// another activity. An explicit id of a launch that is not there, or no longer,
// is session.ErrNotFound.
func (h *Handler) belongs(r *http.Request, m *session.Manager, s *session.Session) (found *session.Session, unsure bool, err error) {
	members := s.Members()
	asked := h.askedFor(r)
	if len(members) < 2 && !strings.Contains(r.URL.RawQuery, launchParam) && (asked == nil || !strings.Contains(asked.RawQuery, launchParam)) {
		return s, false, nil
	}
	at := placeOf(r, asked)
	for i := range members {
		if members[i].ID == at.launch || (at.launch == "" && members[i].ID == at.header) {
			found, err := h.member(r, m, s, &members[i])
			return found, false, err
		}
	}
	if at.launch != "" {
		return nil, false, session.ErrNotFound
	}
	var fit []int
	for i := range members {
		fit = append(fit, i)
	}
	for len(fit) > 0 {
		i, unsure := choose(members, fit, at, s)
		found, err := h.member(r, m, s, &members[i])
		if !errors.Is(err, session.ErrNotFound) {
			return found, unsure, err
		}
		fit = slices.DeleteFunc(fit, func(j int) bool { return j == i }) // it has ended
	}
	return s, false, nil
}

func (h *Handler) member(r *http.Request, m *session.Manager, s *session.Session, member *session.Member) (*session.Session, error) {
	if s.Is(member) {
		return s, nil
	}
	found, err := m.Member(r.Context(), member, h.limits)
	if err != nil && !errors.Is(err, session.ErrNotFound) {
		return nil, unavailable(err)
	}
	return found, err
}

// choose returns which of the members in fit the place belongs to, and whether
// that is a guess between activities. own is the session of the cookie: it wins
// where there is nothing to tell members apart.
func choose(members []session.Member, fit []int, at place, own *session.Session) (chosen int, unsure bool) {
	fit = best(members, fit, at.path, at.query)
	if len(fit) > 1 && at.from != "" {
		fit = best(members, fit, at.from, at.fromQ)
	}
	chosen = fit[len(fit)-1]
	for _, i := range fit {
		if own.Is(&members[i]) {
			chosen = i
		}
		unsure = unsure || members[i].Activity != members[chosen].Activity
	}
	return chosen, unsure
}

// best returns those of the members in fit whose page suits path and query best.
func best(members []session.Member, fit []int, path, query string) []int {
	var found []int
	top := -1
	for _, i := range fit {
		switch score := suits(&members[i].Launch, path, query); {
		case score > top:
			top, found = score, []int{i}
		case score == top:
			found = append(found, i)
		}
	}
	return found
}

// suits says how well path and query suit the page of a launch: the page itself,
// the more so with what its query asks for; else how deep the folder is that
// both are in.
func suits(l *session.Launch, path, query string) int {
	const samePath, sameQuery, most = 1 << 20, 1 << 16, 1 << 15
	if l.Path == path {
		switch l.Query {
		case query:
			return samePath + sameQuery + most
		case "":
			return samePath + sameQuery
		}
		asked := strings.Split(query, "&")
		pairs := strings.Split(l.Query, "&")
		for _, pair := range pairs {
			if !slices.Contains(asked, pair) {
				return samePath
			}
		}
		return samePath + sameQuery + min(len(pairs), most-1)
	}
	if l.Path != "/" && strings.HasPrefix(path, strings.TrimSuffix(l.Path, "/")+"/") {
		return min(len(l.Path), samePath-1)
	}
	folder := l.Path[:strings.LastIndexByte(l.Path, '/')+1]
	if len(folder) > 1 && strings.HasPrefix(path, folder) {
		return min(len(folder)-1, samePath-1)
	}
	return 0
}
