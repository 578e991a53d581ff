package nrps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"

	"github.com/caddy-lti/lti/internal/fault"
	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/service"
	"github.com/caddy-lti/lti/lti"
)

// ScopeMembership is the scope of the service.
const ScopeMembership = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"

// mediaType goes without a charset: some platforms compare strings.
const mediaType = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"

const (
	maxPage    = 512 << 20 // bytes; no more than a member is in memory
	maxPages   = 10_000
	maxMembers = 1_000_000

	// maxBarren is how many pages in a row may bring nobody new: there are
	// platforms whose last page has a next one.
	maxBarren = 100
)

// Caller makes authorised requests to a platform. It returns the header of the
// answer and its body, to be read as it comes, whose end is io.EOF only if all of
// it has come. An answer whose status is not 2xx is an error. It sends no Accept
// but that in header, and shows its credential only to the platform whose launch
// it belongs to.
type Caller interface {
	Open(ctx context.Context, scopes []string, method, url string, header http.Header, maxBytes int64) (http.Header, io.ReadCloser, error)
}

// Endpoint is what a launch says about the service.
type Endpoint struct {
	// URL is context_memberships_url of the service's claim.
	URL string
	// Context is the course of the launch. It is needed for rosters that do not
	// say whose they are, or only behind the members.
	Context Context
}

// Context is a course.
type Context struct {
	ID    string `json:"id"`
	Label string `json:"label,omitempty"`
	Title string `json:"title,omitempty"`
}

// Client reads rosters as one launch offers them. It is safe for concurrent use if
// its Caller is.
type Client struct {
	caller   Caller
	endpoint Endpoint
}

// New returns a client for one launch.
func New(c Caller, e Endpoint) *Client { return &Client{caller: c, endpoint: e} }

// Filter narrows a roster.
type Filter struct {
	// Role is one that members must have: a full URI, or a short form such as
	// Learner, Instructor#Grader or institution:Student, in any case. A sub-role
	// does not count as its principal role.
	Role string

	// Status is Active or Inactive; empty means any.
	Status string

	// ResourceLinkID asks for the roster of a resource link: those who can open
	// it, with a Message each. Not every platform has such rosters.
	ResourceLinkID string

	// Limit asks for pages of that many; 0 leaves it to the platform. All pages
	// are read in any case.
	Limit int
}

// Normalize gives f the form in which it is applied, or says what is wrong with it.
// [Client.Open] does it too; filters that mean the same are equal afterwards.
func (f *Filter) Normalize() error {
	if f.Role != "" {
		uri := lti.NormalizeRole(f.Role)
		if uri == f.Role {
			var err error
			if uri, err = lti.ParseRole(f.Role); err != nil {
				return err
			}
		}
		f.Role = uri
	}
	if f.Status != "" {
		if f.Status = status(f.Status); f.Status != Active && f.Status != Inactive {
			return errors.New("status must be Active or Inactive")
		}
	}
	return nil
}

func (f *Filter) matches(m *Member) bool {
	return (f.Status == "" || f.Status == m.Status) && (f.Role == "" || slices.Contains(m.Roles, f.Role))
}

// Roster is one that is being read. It is not safe for concurrent use.
type Roster struct {
	// ID and Context are what the first page says. Where it does not say them, or
	// only behind its members, they are those of the [Endpoint]; in the latter case
	// until the members have been read.
	ID      string
	Context Context

	ctx    context.Context // of Open
	client *Client
	filter Filter

	url    string // of the page at hand
	number int
	header http.Header
	body   io.ReadCloser
	page   *page

	hash    hasher
	asked   map[[2]uint64]bool // the URLs
	members int
	roll    *roll
	news    bool // on this page
	barren  int
}

// Open asks for a roster and reads it up to its first member. What it returns must
// be closed, or read with [Roster.Members], before ctx ends.
func (c *Client) Open(ctx context.Context, f Filter) (*Roster, error) {
	if c.endpoint.URL == "" {
		return nil, fault.NotOffered(op, "context_memberships_url")
	}
	if err := f.Normalize(); err != nil {
		return nil, fault.Invalid(op, err)
	}
	limit := ""
	if f.Limit > 0 {
		limit = strconv.Itoa(f.Limit)
	}
	first, err := httpx.WithParams(c.endpoint.URL, httpx.Param{"rlid", f.ResourceLinkID},
		httpx.Param{"role", f.Role}, httpx.Param{"limit", limit})
	if err != nil {
		return nil, fault.Broken(op, "the URL of the roster: "+err.Error())
	}
	r := &Roster{
		ID: c.endpoint.URL, Context: c.endpoint.Context,
		ctx: ctx, client: c, filter: f,
		hash: newHasher(), asked: make(map[[2]uint64]bool), roll: newRoll(),
	}
	if err := r.turn(first); err != nil {
		return nil, err
	}
	r.introduce()
	return r, nil
}

// introduce takes over what the page has said about the roster so far.
func (r *Roster) introduce() {
	if r.number > 1 {
		return
	}
	if r.page.id != "" {
		r.ID = r.page.id
	}
	if r.page.context.ID != "" {
		r.Context = r.page.context
	}
}

// Members yields the members that the filter lets through, as they come. An error
// is the last thing that it yields, and then what came before is not the whole
// roster. It can be used once, and closes the roster.
//
// Who comes several times in a row is one member with all roles of these. Who
// comes again later, with the same status, is left out, unless there are roles
// that have not been told: then the member is yielded again, with all roles known
// by then. So the last mention of a user_id and status is right. With another
// status a person is another member, for a platform may have enrolled one person
// twice.
func (r *Roster) Members() iter.Seq2[Member, error] {
	return func(yield func(Member, error) bool) {
		if r.body == nil {
			yield(Member{}, fault.Invalid(op, errors.New("a roster can be read once, and not after it was closed")))
			return
		}
		defer r.Close()

		var held *Member // until it is known whether the next is the same person
		release := func() bool {
			m := held
			held = nil
			if m == nil || !r.roll.tell(m, r.filter.Role) {
				return true
			}
			r.news = true
			return !r.filter.matches(m) || yield(*m, nil)
		}
		for {
			m, err := r.read()
			if err == nil && held != nil && held.UserID == m.UserID && held.Status == m.Status && len(held.Roles) <= maxRoles {
				held.addRoles(m.Roles...)
				continue
			}
			if !release() {
				return
			}
			switch {
			case err == nil:
				held = m
			case errors.Is(err, io.EOF):
				return
			default:
				yield(Member{}, err)
				return
			}
		}
	}
}

// read returns the next member of all pages, or io.EOF.
func (r *Roster) read() (*Member, error) {
	for {
		m, err := r.page.next()
		if err == nil {
			if r.members++; r.members > maxMembers {
				return nil, r.failed(fault.Endless(op))
			}
			m.clean()
			return m, nil
		}
		if !errors.Is(err, io.EOF) {
			return nil, r.failed(r.unreadable(err))
		}
		r.introduce()
		next, err := httpx.NextPage(r.header, r.url)
		if err != nil {
			return nil, r.failed(fault.Broken(op, err.Error()))
		}
		if next == "" {
			return nil, io.EOF
		}
		if r.barren++; r.news {
			r.barren, r.news = 0, false
		}
		if err := r.turn(next); err != nil {
			return nil, err
		}
	}
}

// turn opens a page, the first or the next.
func (r *Roster) turn(url string) error {
	key := r.hash.of(url)
	if r.asked[key] || r.number == maxPages || r.barren == maxBarren {
		return r.failed(fault.Endless(op))
	}
	r.asked[key] = true
	_ = r.Close()
	r.number++
	header, body, err := r.client.caller.Open(r.ctx, []string{ScopeMembership}, http.MethodGet, url, http.Header{"Accept": {mediaType}}, maxPage)
	if err != nil {
		return r.failed(wrap(err, &r.filter))
	}
	r.url, r.header, r.body, r.page = url, header, body, newPage(body)
	if err := r.page.begin(); err != nil && !errors.Is(err, io.EOF) {
		_ = r.Close()
		return r.failed(r.unreadable(err))
	}
	return nil
}

// unreadable is the error for a page that cannot be read further.
func (r *Roster) unreadable(err error) *Error {
	if !r.page.in.broken() {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return cutOff(err)
		}
		return fault.Broken(op, err.Error())
	}
	e := wrap(err, &r.filter)
	s, ok := errors.AsType[*service.Error](err)
	if e.Reason != nil || ok && s.Kind == service.Canceled {
		return e
	}
	cut := cutOff(err)
	if ok && s.Err != nil {
		err = s.Err // it says where, and is not about reaching the platform
	}
	cut.Hint += ": " + err.Error()
	return cut
}

// failed says on which page it happened.
func (r *Roster) failed(e *Error) *Error {
	e.Hint = fmt.Sprintf("page %d: %s", r.number, e.Hint)
	if r.members > 0 {
		e.Hint += "; what was read so far is not the whole roster"
	}
	return e
}

// Close ends the reading. It may be called more than once.
func (r *Roster) Close() error {
	if r.body == nil {
		return nil
	}
	err := r.body.Close()
	r.body = nil
	return err
}
