package devlms

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"
)

// Bounds of what one book remembers.
const (
	maxBooks     = 64
	maxTokens    = 10_000
	maxLineItems = 1_000 // that tools made; the coupled ones are configured
	maxArrivals  = 20_000
)

// book is what one issuer remembers: content that teachers added, line items,
// grades, tokens and the faults that were switched at run time. It survives a reload of the
// configuration.
//
// Content, line items and grades do not change once they are in it: they are
// replaced. The same is true of the tools that came at run time.
type book struct {
	tools toolset

	mu       sync.Mutex
	items    map[itemKey]*lineItem // made by tools, and coupled ones that tools changed
	order    []itemKey             // those made by tools, oldest first
	contents []*content            // in the order in which they were added
	grades   map[gradeKey]*grade
	tokens   *table[[sha256.Size]byte, *accessToken]

	arrivals  []arrival // a ring, once it is full
	oldest    int       // where it begins
	forgotten int       // how many have fallen out of it

	counts  counts
	calls   map[string]int   // by target, for the fault half
	faults  map[string]fault // set at run time; they win over the configured ones
	changed chan struct{}    // closed when faults change
}

type itemKey struct{ course, id string }

type gradeKey struct {
	item itemKey
	user string
}

// counts says how often the services were called, whatever they answered.
type counts struct {
	Token   int `json:"token"`
	Scores  int `json:"scores"`
	Members int `json:"members"`
	Keys    int `json:"jwks,omitempty"`
	Other   int `json:"other"`
}

// accessToken is what a tool may call the services with.
type accessToken struct {
	clientID string
	scopes   []string
	expires  time.Time
	refused  bool // once, by the fault expired
}

// arrival is a score as it came.
type arrival struct {
	item     itemKey
	score    score
	status   int
	received time.Time
}

func newBook() *book {
	return &book{
		items:   make(map[itemKey]*lineItem),
		grades:  make(map[gradeKey]*grade),
		tokens:  newTable[[sha256.Size]byte, *accessToken](maxTokens),
		calls:   make(map[string]int),
		faults:  make(map[string]fault),
		changed: make(chan struct{}),
	}
}

// count adds one call.
func (b *book) count(target string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch target {
	case targetToken:
		b.counts.Token++
	case targetScores:
		b.counts.Scores++
	case targetMembers:
		b.counts.Members++
	case targetKeys:
		b.counts.Keys++
	default:
		b.counts.Other++
	}
}

// arrived remembers a score. The caller holds the lock.
func (b *book) arrived(a arrival) {
	if len(b.arrivals) < maxArrivals {
		b.arrivals = append(b.arrivals, a)
		return
	}
	b.arrivals[b.oldest] = a
	b.oldest = (b.oldest + 1) % maxArrivals
	b.forgotten++
}

// inOrder lists the scores that arrived, oldest first. The caller holds the lock.
func (b *book) inOrder() []arrival {
	return slices.Concat(b.arrivals[b.oldest:], b.arrivals[:b.oldest])
}

// find returns the line item of a tool, or nil.
func (p *platform) find(b *book, c *course, t *Tool, id string) *lineItem {
	b.mu.Lock()
	defer b.mu.Unlock()
	return p.findLocked(b, c, t, id)
}

func (p *platform) findLocked(b *book, c *course, t *Tool, id string) *lineItem {
	item := b.items[itemKey{c.ID, id}]
	if item != nil && !item.coupled {
		if item.tool != t.Name {
			return nil
		}
		return item
	}
	a := p.activityLocked(b, c, id)
	if a == nil || a.Tool != t || !a.graded() {
		return nil
	}
	if item != nil {
		return item
	}
	return coupledItem(c, a)
}

// lineItems lists those of a course, of one tool or with nil of all: the coupled
// ones first, in the order of the activities, then those that tools made.
func (p *platform) lineItems(b *book, c *course, t *Tool) []*lineItem {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []*lineItem
	for _, a := range p.activitiesLocked(b, c) {
		if t == nil || a.Tool == t {
			if item := p.findLocked(b, c, a.Tool, a.ID); item != nil {
				list = append(list, item)
			}
		}
	}
	for _, key := range b.order {
		item := b.items[key]
		if key.course != c.ID {
			continue
		}
		if owner := p.toolByName(b, item.tool); owner != nil && owner.agsOn() && (t == nil || owner == t) {
			list = append(list, item)
		}
	}
	return list
}

// put stores a line item, unless there are too many.
func (b *book) put(item *lineItem) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := item.key()
	if _, ok := b.items[key]; !ok && !item.coupled {
		if len(b.order) >= maxLineItems {
			return false
		}
		b.order = append(b.order, key)
	}
	b.items[key] = item
	return true
}

// remove forgets a line item and its grades.
func (b *book) remove(item *lineItem) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.removeLocked(item.key())
}

func (b *book) removeLocked(key itemKey) {
	delete(b.items, key)
	b.order = slices.DeleteFunc(b.order, func(k itemKey) bool { return k == key })
	for k := range b.grades {
		if k.item == key {
			delete(b.grades, k)
		}
	}
}

// grade returns the grade of a person for a line item, or nil.
func (b *book) grade(item *lineItem, user string) *grade {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.grades[gradeKey{item.key(), user}]
}

// clear forgets all grades, line items made or changed by tools, and arrivals.
// Content stays.
func (b *book) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.items)
	clear(b.grades)
	b.order, b.arrivals, b.oldest, b.forgotten = nil, nil, 0, 0
}

// issue remembers an access token.
func (b *book) issue(token string, t *accessToken) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens.add(sha256.Sum256([]byte(token)), t)
}

// redeemToken returns an access token that is still good. With refuseOnce each
// token is refused the first time.
func (b *book) redeemToken(token string, now time.Time, refuseOnce bool) (*accessToken, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.tokens.get(sha256.Sum256([]byte(token)))
	if !ok || !now.Before(t.expires) {
		return nil, false
	}
	if refuseOnce && !t.refused {
		t.refused = true
		return nil, false
	}
	return t, true
}
