package ags

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"

	"github.com/caddy-lti/lti/internal/fault"
	"github.com/caddy-lti/lti/internal/httpx"
)

// Scopes of the service (AGS 2.0 §3.1).
const (
	ScopeLineItem         = "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem"
	ScopeLineItemReadOnly = "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem.readonly"
	ScopeResultReadOnly   = "https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly"
	ScopeScore            = "https://purl.imsglobal.org/spec/lti-ags/scope/score"
)

// Media types. They go without a charset: some platforms compare strings.
const (
	typeLineItem  = "application/vnd.ims.lis.v2.lineitem+json"
	typeLineItems = "application/vnd.ims.lis.v2.lineitemcontainer+json"
	typeResults   = "application/vnd.ims.lis.v2.resultcontainer+json"
	typeScore     = "application/vnd.ims.lis.v1.score+json"
)

const (
	maxPage   = 8 << 20 // bytes; Moodle has no pages unless asked for them
	maxAnswer = 1 << 20
	maxPages  = 1000
	maxItems  = 100_000
)

// Caller makes authorised requests to a platform. An answer whose status is not
// 2xx is an error. It sends no Accept but that in header, and shows its
// credential only to the platform whose launch it belongs to. With a maxBytes of
// 0 nobody reads the body: what breaks off in it, or is too much, is no error.
type Caller interface {
	Call(ctx context.Context, scopes []string, method, url string, header http.Header, body []byte, maxBytes int64) (http.Header, []byte, error)
}

// Endpoint is the claim of a launch that says what the service offers it.
type Endpoint struct {
	Scopes    []string `json:"scope"`
	LineItems string   `json:"lineitems,omitempty"` // those of the course
	LineItem  string   `json:"lineitem,omitempty"`  // the one that belongs to the link, if there is just one
}

// Client has access to the service as one launch offers it. It is safe for
// concurrent use if its Caller is.
type Client struct {
	caller   Caller
	endpoint Endpoint
}

// New returns a client for one launch.
func New(c Caller, e Endpoint) *Client { return &Client{caller: c, endpoint: e} }

// scope picks the first of wanted that the launch offers.
func (c *Client) scope(op string, wanted ...string) ([]string, *Error) {
	for _, s := range wanted {
		if slices.Contains(c.endpoint.Scopes, s) {
			return []string{s}, nil
		}
	}
	return nil, fault.NotOffered(op, wanted[0])
}

// Filter narrows a list of line items. What is set must be equal.
type Filter struct {
	ResourceLinkID string
	ResourceID     string
	Tag            string

	// Limit asks for pages of that many; 0 leaves it to the platform. All pages
	// are read in any case.
	Limit int
}

func (f *Filter) matches(li *LineItem) bool {
	return (f.ResourceLinkID == "" || f.ResourceLinkID == li.ResourceLinkID) &&
		(f.ResourceID == "" || f.ResourceID == li.ResourceID) &&
		(f.Tag == "" || f.Tag == li.Tag)
}

// LineItems yields the tool's line items in the course, page by page. An error
// is the last thing that it yields.
func (c *Client) LineItems(ctx context.Context, f Filter) iter.Seq2[LineItem, error] {
	return func(yield func(LineItem, error) bool) {
		scopes, err := c.scope(opList, ScopeLineItem, ScopeLineItemReadOnly)
		if err == nil && c.endpoint.LineItems == "" {
			err = fault.NotOffered(opList, "lineitems")
		}
		if err != nil {
			yield(LineItem{}, err)
			return
		}
		limit := ""
		if f.Limit > 0 {
			limit = strconv.Itoa(f.Limit)
		}
		first, urlErr := withParams(c.endpoint.LineItems, param{"resource_link_id", f.ResourceLinkID},
			param{"resource_id", f.ResourceID}, param{"tag", f.Tag}, param{"limit", limit})
		if urlErr != nil {
			yield(LineItem{}, fault.Broken(opList, "its URL of line items: "+urlErr.Error()))
			return
		}
		for li, err := range pages[LineItem](ctx, c, opList, scopes, first, typeLineItems) {
			if err == nil && !f.matches(&li) {
				continue // a platform that ignores filters
			}
			if !yield(li, err) {
				return
			}
		}
	}
}

// LineItem reads one line item.
func (c *Client) LineItem(ctx context.Context, url string) (*LineItem, error) {
	scopes, err := c.scope(opRead, ScopeLineItem, ScopeLineItemReadOnly)
	if err != nil {
		return nil, err
	}
	return c.read(ctx, opRead, scopes, url)
}

func (c *Client) read(ctx context.Context, op string, scopes []string, url string) (*LineItem, error) {
	_, body, err := c.caller.Call(ctx, scopes, http.MethodGet, url, http.Header{"Accept": {typeLineItem}}, nil, maxAnswer)
	if err != nil {
		return nil, wrap(op, err)
	}
	li := new(LineItem)
	if json.Unmarshal(body, li) != nil {
		return nil, fault.Broken(op, "it is not a line item")
	}
	return li, nil
}

// CreateLineItem makes a line item. Of li.Extra only extensions are sent.
func (c *Client) CreateLineItem(ctx context.Context, li LineItem) (*LineItem, error) {
	scopes, e := c.scope(opCreate, ScopeLineItem)
	if e == nil && c.endpoint.LineItems == "" {
		e = fault.NotOffered(opCreate, "lineitems")
	}
	if e != nil {
		return nil, e
	}
	if err := ValidateLineItem(&li); err != nil {
		return nil, fault.Invalid(opCreate, err)
	}
	li.ID, li.Extra = "", extensions(li.Extra)
	op := opCreate
	if li.ResourceLinkID != "" {
		op = opCreateLinked
	}
	made, err := c.write(ctx, op, scopes, http.MethodPost, c.endpoint.LineItems, &li)
	if err != nil {
		return nil, err
	}
	if made.ID == "" {
		return nil, fault.Broken(op, "the new line item has no id")
	}
	return made, nil
}

// UpdateLineItem reads a line item, has change alter it, and writes it back
// whole, for a platform drops what is left out. The platform may ignore changes;
// what it has made of them is returned.
func (c *Client) UpdateLineItem(ctx context.Context, url string, change func(*LineItem) error) (*LineItem, error) {
	scopes, e := c.scope(opUpdate, ScopeLineItem)
	if e != nil {
		return nil, e
	}
	li, err := c.read(ctx, opUpdate, scopes, url)
	if err != nil {
		return nil, err
	}
	was := *li
	if err := change(li); err != nil {
		return nil, fault.Invalid(opUpdate, err)
	}
	li.ID = was.ID
	if li.ResourceLinkID != was.ResourceLinkID {
		return nil, fault.Invalid(opUpdate, FieldErrors{{"resourceLinkId", "must not change"}})
	}
	checked := *li // times that the platform wrote itself are its business
	if li.StartDateTime == was.StartDateTime {
		checked.StartDateTime = ""
	}
	if li.EndDateTime == was.EndDateTime {
		checked.EndDateTime = ""
	}
	if err := ValidateLineItem(&checked); err != nil {
		return nil, fault.Invalid(opUpdate, err)
	}
	return c.write(ctx, opUpdate, scopes, http.MethodPut, url, li)
}

// write sends a line item and returns it as the platform has it now.
func (c *Client) write(ctx context.Context, op string, scopes []string, method, url string, li *LineItem) (*LineItem, error) {
	body, err := json.Marshal(li)
	if err != nil {
		return nil, fault.Invalid(op, err)
	}
	h := http.Header{"Content-Type": {typeLineItem}}
	_, answer, err := c.caller.Call(ctx, scopes, method, url, h, body, maxAnswer)
	if err != nil {
		return nil, wrap(op, err)
	}
	if len(bytes.TrimSpace(answer)) == 0 {
		return li, nil // a 204
	}
	now := new(LineItem)
	if json.Unmarshal(answer, now) != nil {
		return nil, fault.Broken(op, "it is not a line item")
	}
	return now, nil
}

// DeleteLineItem deletes a line item with all its scores.
func (c *Client) DeleteLineItem(ctx context.Context, url string) error {
	scopes, e := c.scope(opDelete, ScopeLineItem)
	if e != nil {
		return e
	}
	if _, _, err := c.caller.Call(ctx, scopes, http.MethodDelete, url, nil, nil, 0); err != nil {
		return wrap(opDelete, err)
	}
	return nil
}

// Results yields what the gradebook shows in a line item, of one person if
// userID is not empty, page by page. An error is the last thing that it yields.
//
// There is no limit to set: Moodle answers one with 404.
func (c *Client) Results(ctx context.Context, lineItem, userID string) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		scopes, e := c.scope(opResults, ScopeResultReadOnly)
		if e != nil {
			yield(Result{}, e)
			return
		}
		first, err := ResultsURL(lineItem)
		if err == nil {
			first, err = withParams(first, param{"user_id", userID})
		}
		if err != nil {
			yield(Result{}, fault.Invalid(opResults, fmt.Errorf("line item: %w", err)))
			return
		}
		for r, err := range pages[Result](ctx, c, opResults, scopes, first, typeResults) {
			if err == nil && userID != "" && r.UserID != userID {
				continue // a platform that ignores filters
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// SendScore sends a score, with defaults for the two kinds of progress. It is
// safe to repeat with the same timestamp; with two in one second Moodle takes the
// first only.
func (c *Client) SendScore(ctx context.Context, lineItem string, s Score) error {
	scopes, e := c.scope(opScore, ScopeScore)
	if e != nil {
		return e
	}
	s.SetDefaults()
	if err := ValidateScore(&s); err != nil {
		return fault.Invalid(opScore, err)
	}
	url, err := ScoresURL(lineItem)
	if err != nil {
		return fault.Invalid(opScore, fmt.Errorf("line item: %w", err))
	}
	body, err := json.Marshal(s)
	if err != nil {
		return fault.Invalid(opScore, err)
	}
	if _, _, err := c.caller.Call(ctx, scopes, http.MethodPost, url, http.Header{"Content-Type": {typeScore}}, body, 0); err != nil {
		return wrap(opScore, err)
	}
	return nil
}

// OnlyLineItem returns the line item of a resource link if it has exactly one,
// whoever made it, and nil otherwise: what the claim of a launch would name
// (AGS 2.0 §3.1).
func (c *Client) OnlyLineItem(ctx context.Context, resourceLinkID string) (*LineItem, error) {
	var only *LineItem
	for li, err := range c.LineItems(ctx, Filter{ResourceLinkID: resourceLinkID}) {
		switch {
		case err != nil:
			return nil, err
		case li.ID == "":
		case only != nil:
			return nil, nil //nolint:nilnil // none is an answer
		default:
			only = &li
		}
	}
	return only, nil
}

// Wanted is a line item to be found, or else made.
type Wanted struct {
	ResourceLinkID string
	ResourceID     string
	Tag            string
	Label          string // for a new one only
	ScoreMaximum   float64
}

// FindOrMake returns the line item that is wanted, and whether it had to be made:
// one of the resource link, otherwise one that no other link has, in each case
// with resource id and tag if these are given. After a course was copied, the
// latter keeps a tool from making everything twice (AGS 2.0 §3.2.6).
//
// Nothing on the platform keeps two calls at once from making two: who calls it
// lets one at a time do so.
func (c *Client) FindOrMake(ctx context.Context, w Wanted) (li *LineItem, made bool, err error) {
	if w.ResourceLinkID == "" && w.ResourceID == "" && w.Tag == "" {
		return nil, false, fault.Invalid(opList, errors.New("without resourceLinkId, resourceId and tag a line item could never be found again"))
	}
	if w.ResourceLinkID != "" {
		li, err = c.find(ctx, Filter{ResourceLinkID: w.ResourceLinkID}, w)
		if li != nil || err != nil {
			return li, false, err
		}
	}
	if w.ResourceID != "" || w.Tag != "" {
		f := Filter{ResourceID: w.ResourceID}
		if w.ResourceID == "" {
			f.Tag = w.Tag
		}
		li, err = c.find(ctx, f, w)
		if li != nil || err != nil {
			return li, false, err
		}
	}
	li, err = c.CreateLineItem(ctx, LineItem{
		Label: w.Label, ScoreMaximum: w.ScoreMaximum,
		ResourceLinkID: w.ResourceLinkID, ResourceID: w.ResourceID, Tag: w.Tag,
	})
	return li, err == nil, err
}

// find returns the line item that fits best among those of a filter: the one
// that has nothing more than what is wanted, or else the first. It asks the
// platform for one property only, for their combination is rarely tried there.
func (c *Client) find(ctx context.Context, f Filter, w Wanted) (*LineItem, error) {
	fits := Filter{ResourceID: w.ResourceID, Tag: w.Tag}
	var best *LineItem
	for li, err := range c.LineItems(ctx, f) {
		switch {
		case err != nil:
			return nil, err
		case li.ID == "" || !fits.matches(&li):
			continue
		case w.ResourceLinkID != "" && li.ResourceLinkID != "" && li.ResourceLinkID != w.ResourceLinkID:
			continue // another activity's, after a copy within the course
		case li.ResourceID == w.ResourceID && li.Tag == w.Tag:
			return &li, nil
		case best == nil:
			best = &li
		}
	}
	return best, nil
}

// pages yields the elements of a list and of those that follow it (RFC 8288).
func pages[T any](ctx context.Context, c *Client, op string, scopes []string, next, accept string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		seen := make(map[string]bool)
		items := 0
		for next != "" {
			if seen[next] || len(seen) == maxPages {
				yield(none, fault.Endless(op))
				return
			}
			seen[next] = true
			header, body, err := c.caller.Call(ctx, scopes, http.MethodGet, next, http.Header{"Accept": {accept}}, nil, maxPage)
			if err != nil {
				yield(none, wrap(op, err))
				return
			}
			for item, err := range elements[T](body) {
				if err != nil {
					yield(none, fault.Broken(op, err.Error()))
					return
				}
				if items++; items > maxItems {
					yield(none, fault.Endless(op))
					return
				}
				if !yield(item, nil) {
					return
				}
			}
			if next, err = httpx.NextPage(header, next); err != nil {
				yield(none, fault.Broken(op, err.Error()))
				return
			}
		}
	}
}

// elements yields those of a JSON array. Its errors quote nothing of it.
func elements[T any](body []byte) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		dec := json.NewDecoder(bytes.NewReader(body))
		switch tok, err := dec.Token(); {
		case err == nil && tok == nil:
			return // null
		case err != nil || tok != json.Delim('['):
			yield(none, errors.New("it is not a list"))
			return
		}
		for dec.More() {
			var item T
			if dec.Decode(&item) != nil {
				yield(none, errors.New("the list has an element that is no object"))
				return
			}
			if !yield(item, nil) {
				return
			}
		}
		if _, err := dec.Token(); err != nil {
			yield(none, errors.New("the list is cut off"))
		}
	}
}

// Offers tells whether the launch lets the tool do what needs one of scopes.
func (e *Endpoint) Offers(scopes ...string) bool {
	return slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(e.Scopes, s) })
}
