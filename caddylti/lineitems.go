package caddylti

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/nrps"
)

// gradebook is the grade service of one course, and what the caller may do there.
type gradebook struct {
	*ags.Client
	course *course
	handle *destination // that the call brought in place of its names
}

// gradebook finds the course that a call is about, for an instructor or a key.
func (h *Handler) gradebook(r *http.Request, c *caller, what string, scopes ...string) (*gradebook, error) {
	if len(scopes) == 1 && scopes[0] == ags.ScopeLineItem { // to write
		if err := c.mustBeSure(); err != nil {
			return nil, err
		}
	}
	ready, err := h.app.open()
	if err != nil {
		return nil, unavailable(err)
	}
	var (
		at   *course
		d    *destination
		more string
	)
	switch sealed := r.URL.Query().Get("score_handle"); {
	case c.key != nil && sealed != "":
		if d, err = h.handleOf(r, ready, c.key, sealed, what); err == nil {
			at, more = &d.course, d.LineItem
		}
	case c.key != nil:
		at, err = h.courseByQuery(r, ready, c, what)
	case !c.instructor():
		return nil, refuseAPI(http.StatusForbidden, problemForbidden, "this needs an instructor's launch, or a key")
	default:
		at, err = h.gradesOf(c.visit.facts)
	}
	if err != nil {
		return nil, err
	}
	if err := at.mustGrant(scopes...); err != nil {
		return nil, err
	}
	if c.visit != nil && c.visit.facts.Grades != nil {
		more = c.visit.facts.Grades.LineItem
	}
	client, err := h.app.grades(at, more)
	if err != nil {
		return nil, refuseAPI(http.StatusConflict, problemService, "%s", err)
	}
	return &gradebook{client, at, d}, nil
}

// mustBeOfCourse refuses a line item of another course: it has to lie below the
// course's line items, or else the platform has to list it there.
func (h *Handler) mustBeOfCourse(ctx context.Context, at *course, lineItem string) error {
	item, err := url.Parse(lineItem)
	if err != nil || item.Host == "" {
		return invalid("lineItem", "it is not a URL")
	}
	foreign := refuseAPI(http.StatusForbidden, problemForbidden, "lineItem is not one of this course")
	list, err := url.Parse(at.LineItems)
	if err != nil || at.LineItems == "" || originOf(item) != originOf(list) {
		return foreign
	}
	if classifyURL(item).odd {
		return foreign // it may mean another one to the platform than to us
	}
	if strings.HasPrefix(item.Path, strings.TrimSuffix(list.Path, "/")+"/") {
		return nil
	}
	client, err := h.app.grades(at)
	if err != nil {
		return refuseAPI(http.StatusConflict, problemService, "%s", err)
	}
	for li, err := range client.LineItems(ctx, ags.Filter{}) {
		if err != nil {
			return platformProblem(err)
		}
		if li.ID == lineItem {
			return nil
		}
	}
	return foreign
}

// platformProblem is the refusal for what a platform did not do.
func platformProblem(err error) error {
	failed, ok := errors.AsType[*ags.Error](err)
	if !ok {
		return &problem{status: http.StatusBadGateway, code: problemUnreachable, detail: "the platform could not be asked", err: err}
	}
	if fields, ok := errors.AsType[ags.FieldErrors](err); ok {
		return bodyProblem(fields)
	}
	p := &problem{status: http.StatusBadGateway, code: problemPlatform, detail: failed.Hint, after: int(failed.After.Seconds())}
	if failed.Words != "" {
		p.detail += "; its words: " + failed.Words
	}
	switch {
	case errors.Is(err, ags.ErrNotAllowed):
		p.status, p.code = http.StatusForbidden, problemScope
	case errors.Is(err, ags.ErrNotOffered):
		p.status, p.code = http.StatusConflict, problemService
	case errors.Is(err, ags.ErrGone), errors.Is(err, nrps.ErrGone):
		p.status, p.code = http.StatusNotFound, problemNotFound
	case errors.Is(err, nrps.ErrUnknownLink):
		p.status, p.code, p.field = http.StatusNotFound, problemNotFound, "resource_link"
	case errors.Is(err, nrps.ErrMalformed), errors.Is(err, nrps.ErrTooMany):
	case failed.Retry, failed.Status == 0:
		p.code = problemUnreachable
	}
	return p
}

// lineItemID is what the API calls a line item.
func lineItemID(lineItem string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(lineItem))
}

// lineItem opens the gradebook of a call about one line item.
func (h *Handler) lineItem(r *http.Request, c *caller, id string, scopes ...string) (*gradebook, string, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil {
		return nil, "", refuseAPI(http.StatusNotFound, problemNotFound, "the id is not the unpadded base64url form of a line item's URL")
	}
	book, err := h.gradebook(r, c, allowLineItems, scopes...)
	if err != nil {
		return nil, "", err
	}
	return book, string(raw), h.mustBeOfCourse(r.Context(), book.course, string(raw))
}

func (h *Handler) apiLineItems(w http.ResponseWriter, r *http.Request, c *caller, _ string) error {
	book, err := h.gradebook(r, c, allowLineItems, ags.ScopeLineItem, ags.ScopeLineItemReadOnly)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	return writeList(h.logger, w, book.LineItems(r.Context(), ags.Filter{
		ResourceLinkID: q.Get("resource_link_id"), ResourceID: q.Get("resource_id"), Tag: q.Get("tag"),
	}))
}

func (h *Handler) apiCreateLineItem(w http.ResponseWriter, r *http.Request, c *caller, _ string) error {
	book, err := h.gradebook(r, c, allowLineItems, ags.ScopeLineItem)
	if err != nil {
		return err
	}
	li, err := readLineItem(w, r)
	if err != nil {
		return err
	}
	if err := ags.ValidateLineItem(li); err != nil {
		return bodyProblem(err)
	}
	made, err := book.CreateLineItem(r.Context(), *li)
	if err != nil {
		return platformProblem(err)
	}
	w.Header().Set("Location", h.Base+"/api/v1/lineitems/"+lineItemID(made.ID))
	return writeJSON(w, http.StatusCreated, made)
}

func readLineItem(w http.ResponseWriter, r *http.Request) (*ags.LineItem, error) {
	data, err := readAPIBody(w, r, maxAPIBody)
	if err != nil {
		return nil, err
	}
	li := new(ags.LineItem)
	if err := json.Unmarshal(data, li); err != nil {
		return nil, refuseAPI(http.StatusBadRequest, problemBody, "the body is not a JSON object")
	}
	for name := range li.Extra {
		if !strings.Contains(name, "://") {
			return nil, invalid(name, "a line item has no such member, or it is of another kind")
		}
	}
	return li, nil
}

func (h *Handler) apiLineItem(w http.ResponseWriter, r *http.Request, c *caller, id string) error {
	book, lineItem, err := h.lineItem(r, c, id, ags.ScopeLineItem, ags.ScopeLineItemReadOnly)
	if err != nil {
		return err
	}
	li, err := book.LineItem(r.Context(), lineItem)
	if err != nil {
		return platformProblem(err)
	}
	return writeJSON(w, http.StatusOK, li)
}

func (h *Handler) apiUpdateLineItem(w http.ResponseWriter, r *http.Request, c *caller, id string) error {
	book, lineItem, err := h.lineItem(r, c, id, ags.ScopeLineItem)
	if err != nil {
		return err
	}
	change, err := readLineItem(w, r)
	if err != nil {
		return err
	}
	// What the body leaves out stays: platforms drop it (Moodle does), so the
	// whole item goes back.
	li, err := book.UpdateLineItem(r.Context(), lineItem, func(li *ags.LineItem) error {
		set := func(to *string, val string) {
			if val != "" {
				*to = val
			}
		}
		set(&li.Label, change.Label)
		set(&li.ResourceID, change.ResourceID)
		set(&li.Tag, change.Tag)
		set(&li.StartDateTime, change.StartDateTime)
		set(&li.EndDateTime, change.EndDateTime)
		if change.ScoreMaximum != 0 {
			li.ScoreMaximum = change.ScoreMaximum
		}
		if change.GradesReleased != nil {
			li.GradesReleased = change.GradesReleased
		}
		if len(change.SubmissionReview) > 0 {
			li.SubmissionReview = change.SubmissionReview
		}
		return ags.ValidateLineItem(li)
	})
	if err != nil {
		return platformProblem(err)
	}
	return writeJSON(w, http.StatusOK, li)
}

func (h *Handler) apiDeleteLineItem(w http.ResponseWriter, r *http.Request, c *caller, id string) error {
	book, lineItem, err := h.lineItem(r, c, id, ags.ScopeLineItem)
	if err != nil {
		return err
	}
	if err := book.DeleteLineItem(r.Context(), lineItem); err != nil {
		return platformProblem(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// apiResults passes on what the gradebook says. A learner sees his own.
func (h *Handler) apiResults(w http.ResponseWriter, r *http.Request, c *caller, _ string) error {
	q := r.URL.Query()
	lineItem, user := q.Get("lineItem"), q.Get("userId")
	var (
		book *gradebook
		err  error
	)
	if c.visit != nil && !c.instructor() {
		f := c.visit.facts
		if (user != "" && user != f.Subject) || (lineItem != "" && (f.Grades == nil || lineItem != f.Grades.LineItem)) || f.Subject == "" {
			return refuseAPI(http.StatusForbidden, problemForbidden, "a learner's launch reaches that learner's own result in its own activity")
		}
		at, err := h.gradesOf(f)
		if err != nil {
			return err
		}
		if err := at.mustGrant(ags.ScopeResultReadOnly); err != nil {
			return err
		}
		client, err := h.app.grades(at, f.Grades.LineItem)
		if err != nil {
			return refuseAPI(http.StatusConflict, problemService, "%s", err)
		}
		book, user, lineItem = &gradebook{Client: client, course: at}, f.Subject, f.Grades.LineItem
	} else if book, err = h.gradebook(r, c, allowResults, ags.ScopeResultReadOnly); err != nil {
		return err
	}
	own := c.visit != nil && c.visit.facts.Grades != nil && (lineItem == "" || lineItem == c.visit.facts.Grades.LineItem)
	if own {
		lineItem = c.visit.facts.Grades.LineItem
	}
	if d := book.handle; d != nil {
		if (user != "" && user != d.User) || (lineItem != "" && d.LineItem != "" && lineItem != d.LineItem) {
			return refuseAPI(http.StatusForbidden, problemForbidden, "the score_handle is for another learner or line item")
		}
		own = d.LineItem != ""
		user, lineItem = d.User, cmp.Or(d.LineItem, lineItem)
	}
	if lineItem == "" {
		return invalid("lineItem", "the launch has no line item of its own: say which is meant")
	}
	if !own {
		if err := h.mustBeOfCourse(r.Context(), book.course, lineItem); err != nil {
			return err
		}
	}
	return writeList(h.logger, w, book.Results(r.Context(), lineItem, user))
}

// writeList sends a list as it comes. One that cannot be finished is cut off
// before it closes; if not even its beginning came, it is a refusal.
func writeList[T any](logger *zap.Logger, w http.ResponseWriter, list iter.Seq2[T, error]) error {
	begun := false
	begin := func() {
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusOK)
		}
	}
	sep := "["
	for item, err := range list {
		if err != nil {
			if !begun {
				return platformProblem(err)
			}
			logger.Error("a list could not be read to its end, and the answer was cut off", zap.Error(err))
			// The connection is cut, so that nobody takes it for the whole.
			_ = http.NewResponseController(w).Flush() // what came is on its way first
			panic(http.ErrAbortHandler)
		}
		doc, err := json.Marshal(item)
		if err != nil {
			return err
		}
		begin()
		if _, err := w.Write(append([]byte(sep), doc...)); err != nil {
			return err
		}
		sep = ","
	}
	begin()
	if sep == "[" {
		_, err := w.Write([]byte("[]"))
		return err
	}
	_, err := w.Write([]byte("]"))
	return err
}
