package caddylti

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/keyring"
	"github.com/caddy-lti/lti/internal/outbox"
	"github.com/caddy-lti/lti/internal/session"
)

// The nouns of the admin endpoint that are long lists: scores and sessions. They
// hold the platform's ids of people, and no names.

// How many of a list one call answers, if it says nothing else, and at most.
const (
	adminListLen    = 100
	maxAdminListLen = 1000
)

// listLimit reads how many are wanted.
func listLimit(q url.Values) (int, error) {
	if !q.Has("limit") {
		return adminListLen, nil
	}
	n, err := strconv.Atoi(q.Get("limit"))
	if err != nil || n < 1 || n > maxAdminListLen {
		return 0, adminError(http.StatusBadRequest, "limit %q: expected 1 to %d", q.Get("limit"), maxAdminListLen)
	}
	return n, nil
}

// adminScore is a score on its way, or at the end of it.
type adminScore struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	Reason   string `json:"reason,omitempty"`
	Platform string `json:"platform"`
	User     string `json:"user,omitempty"`      // the platform's id
	LineItem string `json:"line_item,omitempty"` // its URL, if it is known
	Activity string `json:"activity,omitempty"`
	Points   string `json:"points,omitempty"`
	Attempts int    `json:"attempts"`

	Taken     time.Time `json:"taken"`
	Attempted time.Time `json:"attempted,omitzero"`
	Done      time.Time `json:"done,omitzero"`
}

// adminScores is a page of them, the newest first.
type adminScores struct {
	Scores []adminScore `json:"scores"`
	// Next is the after of the next page, or empty. A page may be short where few
	// scores pass the filter.
	Next string `json:"next,omitempty"`
}

func showScore(e *outbox.Entry) adminScore {
	q := queuedIn(e)
	s := adminScore{
		ID: e.ID, State: string(e.State), Reason: e.Reason, Attempts: e.Attempts, Taken: e.Taken, Attempted: e.Attempted, Done: e.Done,
		Platform: q.Destination.Platform, User: q.Destination.User, LineItem: q.Destination.LineItem, Activity: q.Destination.activity(),
	}
	if given, most := q.points(); given != nil {
		s.Points = strconv.FormatFloat(*given, 'g', -1, 64) + " / " + strconv.FormatFloat(*most, 'g', -1, 64)
	}
	return s
}

var scoreStates = []outbox.State{outbox.StateQueued, outbox.StateDelivered, outbox.StateReplaced, outbox.StateSkipped, outbox.StateDead}

func (a *adminAPI) scores(ready *ready, r *http.Request) (any, error) {
	q := r.URL.Query()
	limit, err := listLimit(q)
	if err != nil {
		return nil, err
	}
	f := outbox.Filter{State: outbox.State(q.Get("state"))}
	if f.State != "" && !slices.Contains(scoreStates, f.State) {
		return nil, adminError(http.StatusBadRequest, "state %q: expected one of %v", f.State, scoreStates)
	}
	list, next, err := ready.outbox.List(r.Context(), f, q.Get("after"), min(limit, outbox.MaxList))
	if errors.Is(err, outbox.ErrInvalid) {
		return nil, adminError(http.StatusBadRequest, "after %q: expected the next of another page", q.Get("after"))
	}
	if err != nil {
		return nil, err
	}
	out := adminScores{Scores: []adminScore{}, Next: next}
	for i := range list {
		if s := showScore(&list[i]); q.Get("platform") == "" || s.Platform == q.Get("platform") {
			out.Scores = append(out.Scores, s)
		}
	}
	return out, nil
}

func (a *adminAPI) retryScore(ready *ready, r *http.Request, id string) (any, error) {
	e, err := ready.outbox.Retry(r.Context(), id)
	switch {
	case errors.Is(err, outbox.ErrNotFound):
		return nil, adminError(http.StatusNotFound, "there is no score %q, or it has been forgotten", id)
	case errors.Is(err, outbox.ErrNotDead):
		return nil, adminError(http.StatusConflict, "score %s has not failed for good: there is nothing to send again", id)
	case errors.Is(err, outbox.ErrOlder):
		return nil, adminError(http.StatusConflict, "score %s is not sent again: the learner has a newer one for this activity", id)
	case err != nil:
		return nil, err
	}
	a.app.logger.Info("a score that had failed is sent again", zap.String("score", id))
	return showScore(&e), nil
}

// adminSession is a visit after one launch.
type adminSession struct {
	ID       string    `json:"id"`
	Platform string    `json:"platform"`
	User     string    `json:"user,omitempty"` // Remote-User; absent for anonymous ones
	LaunchID string    `json:"launch_id"`
	Launched time.Time `json:"launched"`
	Used     time.Time `json:"used"` // up to a tenth of the idle time late
}

func showSession(i *session.Info) adminSession {
	s := adminSession{ID: i.ID, Launched: i.Created, Used: i.Used}
	if f, ok := i.Value.(*facts); ok {
		s.Platform, s.User, s.LaunchID = f.Platform, f.RemoteUser, f.LaunchID
	}
	return s
}

// theseSessions says whether a session is of the platform or the person that is
// asked for.
func theseSessions(q url.Values) func(adminSession) bool {
	platform, user := q.Get("platform"), q.Get("user")
	return func(s adminSession) bool {
		return (platform == "" || s.Platform == platform) && (user == "" || s.User == user)
	}
}

func (a *adminAPI) sessions(ready *ready, r *http.Request) (any, error) {
	q := r.URL.Query()
	limit, err := listLimit(q)
	if err != nil {
		return nil, err
	}
	these, all := theseSessions(q), []adminSession{}
	err = ready.sessions.Each(r.Context(), func(i session.Info) bool {
		if s := showSession(&i); these(s) {
			all = append(all, s)
		}
		return len(all) < limit
	})
	return all, err
}

// endedSessions is the answer to what ends sessions.
type endedSessions struct {
	Ended int `json:"ended"`
}

// endSessions ends one session with all of the same person in the same browser, or
// those of a platform or person.
func (a *adminAPI) endSessions(ready *ready, r *http.Request, id string) (any, error) {
	q := r.URL.Query()
	these := theseSessions(q)
	if id == "" && q.Get("platform") == "" && q.Get("user") == "" {
		return nil, adminError(http.StatusBadRequest, "say which: an id, platform or user")
	}
	var lim session.Limits // no shorter than any site's
	for _, h := range a.app.used() {
		lim.Idle, lim.Max = max(lim.Idle, h.limits.Idle), max(lim.Max, h.limits.Max)
	}
	n, err := ready.sessions.EndEach(r.Context(), lim, func(i session.Info) bool {
		s := showSession(&i)
		return (id == "" || s.ID == id) && these(s)
	})
	switch {
	case err != nil:
		return nil, err
	case n == 0 && id != "":
		return nil, adminError(http.StatusNotFound, "there is no session %q", id)
	}
	a.app.logger.Info("sessions were ended", zap.Int("sessions", n), zap.String("platform", q.Get("platform")))
	return endedSessions{n}, nil
}

// adminKey is a signing key of the tool.
type adminKey struct {
	ID      string    `json:"kid"`
	Created time.Time `json:"created"`
	From    time.Time `json:"from"` // when its use begins
	InUse   bool      `json:"in_use"`
}

// showKeys are those that are published, the newest first.
func showKeys(ring *keyring.Ring) []adminKey {
	all := []adminKey{}
	for _, k := range ring.Keys() {
		all = append(all, adminKey{k.ID, k.Created, k.From, k.InUse})
	}
	return all
}

// newKey is what POST keys takes.
type newKey struct {
	// AtOnce withdraws all other keys, instead of waiting until platforms have
	// had time to fetch the new one.
	AtOnce bool `json:"at_once"`
}

func (a *adminAPI) replaceKey(ready *ready, r *http.Request) (any, error) {
	var n newKey
	if err := readAdmin(r, &n); err != nil {
		return nil, err
	}
	if err := ready.ring.Replace(r.Context(), n.AtOnce); err != nil {
		return nil, err
	}
	a.app.logger.Info("a signing key of the tool was made", zap.Bool("at_once", n.AtOnce))
	return showKeys(ready.ring), nil
}
