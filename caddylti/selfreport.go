package caddylti

import (
	"net/http"
	"sync/atomic"
	"time"
)

// serveScore takes the score that a page of the site reports of whoever looks at
// it (grade { browser on }). The person decides what his browser sends: it is for
// quizzes that are no exam.
//
// Pages of other sites cannot call it: the browser's word for where a request
// comes from is needed, and the JSON body has another site ask first, which is
// never answered.
func (h *Handler) serveScore(w http.ResponseWriter, r *http.Request) error {
	hdr := w.Header()
	hdr.Set("Cache-Control", "no-store")
	hdr.Set("X-Content-Type-Options", "nosniff")
	c, err := h.pageCaller(r)
	if err == nil {
		err = h.selfReport(w, r, c)
	}
	if err == nil {
		return nil
	}
	return h.writeProblem(w, r, c, err)
}

// pageCaller finds out whose browser calls, if a page of this site has it do so.
func (h *Handler) pageCaller(r *http.Request) (*caller, error) {
	origin, err := h.public(r)
	if from := r.Header["Origin"]; err != nil || len(from) != 1 || from[0] != origin || !h.sameOrigin(r) {
		return nil, refuseAPI(http.StatusForbidden, problemOrigin, "only a page of this site may report a score")
	}
	v, err := h.visit(r)
	switch {
	case err != nil:
		return nil, err
	case v == nil:
		return nil, refuseAPI(http.StatusUnauthorized, problemSession, "nobody is signed in: the activity has to be opened from the course again")
	}
	c := &caller{visit: v, page: true}
	if len(h.roles) > 0 && !v.facts.hasRole(h.roles) {
		return c, refuseAPI(http.StatusForbidden, problemForbidden, "none of the person's roles is allowed here")
	}
	return c, nil
}

func (h *Handler) selfReport(w http.ResponseWriter, r *http.Request, c *caller) error {
	if c.instructor() {
		return writeJSON(w, http.StatusOK, scoreState{State: "skipped", Reason: "instructors get no scores"})
	}
	if wait := h.derived(c.visit).reports.take(time.Now()); wait > 0 {
		p := refuseAPI(http.StatusTooManyRequests, problemTooOften, "this page reports scores too often")
		p.after = int(wait/time.Second) + 1
		return p
	}
	entry, err := h.postScore(w, r, c)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, stateOf(entry))
}

// pace lets something happen reportBurst times at once, and once in reportEvery
// in the long run (the generic cell rate algorithm).
type pace struct{ next atomic.Int64 } // Unix nanoseconds

const (
	reportEvery = 2 * time.Second
	reportBurst = 30
)

// take returns 0, or how long to wait.
func (p *pace) take(now time.Time) time.Duration {
	for {
		old := p.next.Load()
		at := max(old, now.UnixNano())
		if wait := time.Duration(at-now.UnixNano()) - (reportBurst-1)*reportEvery; wait > 0 {
			return wait
		}
		if p.next.CompareAndSwap(old, at+int64(reportEvery)) {
			return 0
		}
	}
}
