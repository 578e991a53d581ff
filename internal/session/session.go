// Package session keeps who is signed in. A session is known to the browser by
// an opaque id and to the store by a hash of it; what is kept of a launch is the
// caller's affair.
//
// Sessions in use are held in memory, so that a request costs one hash and one
// look-up. When a session was last used is written to the store now and then,
// away from the request.
//
// The sessions that one person opens in one browser form a family, of which the
// browser knows the newest by its cookie; the others are found through it. A
// launch of somebody else in that browser, or a logout, ends the family at once.
package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-lti/lti/store"
)

const (
	// secretSize is the random part of an id: 256 bits. Before it stands the
	// minute in which the id was made, so that store keys follow the clock and
	// an ordered store writes where it has just written.
	secretSize = 32
	// tagSize is the part of an id that tells whether it was made for a person,
	// long after the session is gone.
	tagSize = 8
	idSize  = 4 + secretSize + tagSize

	// maxMembers bounds a family. Who opens more has the oldest forgotten: it is
	// found by its own id alone.
	maxMembers = 32

	// maxCached bounds the sessions held in memory, and with them its use: some
	// 3 KiB each.
	maxCached = 16384

	// touchQueue bounds the writes of last use that may be waiting.
	touchQueue = 1024

	// wordLifetime is how long a launch may take that others have left word for.
	wordLifetime = 20 * time.Minute

	// closeWriters is how many writes Close has under way at once.
	closeWriters = 512
)

// ErrNotFound is returned for an id that names no living session: unknown,
// expired, ended, or made for another site.
var ErrNotFound = errors.New("no such session")

// Limits is how long a session lives.
type Limits struct {
	Idle time.Duration // since it was last used
	Max  time.Duration // since it was made
}

// Session is a person's signed-in state after one launch.
type Session struct {
	// Value is what the decode function made of the stored data.
	Value any
	// Derived is a place for what the holder of the session computes from it.
	Derived atomic.Value

	key     string
	person  string
	launch  Launch
	created time.Time
	data    []byte
	family  *family

	lastUsed atomic.Int64 // Unix milliseconds
	written  atomic.Int64 // lastUsed as the store has it
	queued   atomic.Bool
	idle     atomic.Int64 // limit in milliseconds, for the store's expiry
	max      atomic.Int64
}

// Person returns the key of the person whose session it is.
func (s *Session) Person() string { return s.person }

// Key returns what the store calls the session. Whoever knows it can find the
// session by [Manager.Member], so it leaves the server sealed only.
func (s *Session) Key() string { return s.key }

// Launch returns the launch that made the session.
func (s *Session) Launch() Launch { return s.launch }

// Launch is what tells the sessions of a family apart: the launch that made each
// of them.
type Launch struct {
	ID    string `json:"i"`
	Path  string `json:"p"` // of the page that it opened, decoded
	Query string `json:"q,omitempty"`
	// Activity is the same for launches of one activity.
	Activity string `json:"a,omitempty"`
}

// Member is a session of a family.
type Member struct {
	Launch
	Key string `json:"k"` // in the store
}

// Members returns the sessions of the family of s, oldest first; s is one of
// them. Some may have ended. Callers must not change the slice.
func (s *Session) Members() []Member {
	if list := s.family.members.Load(); list != nil {
		return *list
	}
	return nil
}

// Is reports whether the member is this session.
func (s *Session) Is(m *Member) bool { return s.key == m.Key }

// Ended reports whether the session has been ended before its time.
func (s *Session) Ended() bool { return s.family.over() }

// family is the sessions of one person in one browser.
type family struct {
	id    string
	ended chan struct{} // closed when the family ends
	refs  int           // cached sessions and watchers; guarded by Manager.mu

	members atomic.Pointer[[]Member]
}

func (f *family) over() bool {
	select {
	case <-f.ended:
		return true
	default:
		return false
	}
}

// record is what the store keeps.
type record struct {
	Family  string          `json:"f"`
	Person  string          `json:"p"`
	Launch  Launch          `json:"l"`
	Created int64           `json:"c"` // Unix milliseconds
	Used    int64           `json:"u"` // Unix milliseconds
	Data    json.RawMessage `json:"d"`
}

// Manager makes, finds and ends sessions. It is safe for concurrent use.
type Manager struct {
	store  store.Store
	now    func() time.Time
	decode func([]byte) (any, error)
	warn   func(msg string, err error)

	mu       sync.RWMutex
	sessions map[[sha256.Size]byte]*Session
	families map[string]*family
	ends     atomic.Uint64 // families ended so far; changes under mu

	shared store.Shared // the store, if other nodes use it too
	deaf   atomic.Bool  // what other nodes end goes unheard

	people [64]sync.Mutex // by a hash of the person

	touches chan *Session
	stop    context.CancelFunc
	done    chan struct{}
}

// NewManager makes a Manager and starts its writer, which Close stops. decode
// makes a session's Value of its data; warn hears of writes that failed; a nil
// clock is time.Now. On a store that other nodes use, what they end is ended here
// as well.
func NewManager(st store.Store, now func() time.Time, decode func([]byte) (any, error), warn func(msg string, err error)) *Manager {
	if now == nil {
		now = time.Now
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &Manager{
		store: st, now: now, decode: decode, warn: warn,
		sessions: make(map[[sha256.Size]byte]*Session),
		families: make(map[string]*family),
		touches:  make(chan *Session, touchQueue),
		stop:     cancel,
		done:     make(chan struct{}),
	}
	go m.write(ctx)
	m.hearOthers()
	return m
}

// Close writes down when the sessions in memory were last used, and stops the
// writer. The store stays open.
func (m *Manager) Close() error {
	m.stop()
	<-m.done
	m.mu.RLock()
	var unwritten []*Session
	for _, s := range m.sessions {
		if s.lastUsed.Load() != s.written.Load() && !s.family.over() {
			unwritten = append(unwritten, s)
		}
	}
	m.mu.RUnlock()
	// Many at once, which a store on a disk writes in one go: one by one, a
	// thousand sessions take seconds.
	var (
		wg     sync.WaitGroup
		next   atomic.Int64
		failed atomic.Int64
		first  error
		once   sync.Once
	)
	for range min(closeWriters, len(unwritten)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(unwritten)); i = next.Add(1) - 1 {
				if err := m.saveLast(context.Background(), unwritten[i]); err != nil {
					failed.Add(1)
					once.Do(func() { first = err })
				}
			}
		})
	}
	wg.Wait()
	if first != nil {
		return fmt.Errorf("the last use of %d sessions is lost: %w", failed.Load(), first)
	}
	return nil
}

// New says whose session is to be made.
type New struct {
	Site   string
	Person string
	Launch Launch
	Data   []byte // its content

	// Previous is a session of the same browser, if there is one. If it is the
	// same person's, the new one joins its family.
	Previous *Session
	// Login is a secret that only this browser and this launch have, and Others
	// are those of its other launches that are under way. Launches that begin at
	// once, as of a page with several frames, become one family by them.
	Login  string
	Others []string
}

// Create makes a session and returns the id for the browser.
func (m *Manager) Create(ctx context.Context, n New, lim Limits) (string, error) {
	now := m.now()
	raw := newID(n.Site, n.Person, now)
	s := &Session{person: n.Person, launch: n.Launch, created: now, data: n.Data}
	s.key = storeKey(raw[:4], hash(n.Site, raw[:]))
	s.lastUsed.Store(now.UnixMilli())
	s.limit(lim)

	// Launches of one person find to each other one by one. (On several nodes,
	// two at the same instant may become two families.)
	lock := &m.people[hashOf(n.Site, n.Person)[0]%byte(len(m.people))]
	lock.Lock()
	defer lock.Unlock()
	found, err := m.findFamily(ctx, &n)
	if err != nil {
		return "", err
	}
	s.family = &family{id: found}
	// Both at once, which a store on a disk writes in one go.
	var (
		wg     sync.WaitGroup
		joined error
	)
	wg.Go(func() { joined = m.join(ctx, found, Member{Launch: n.Launch, Key: s.key}, lim) })
	err = m.save(ctx, s)
	wg.Wait()
	if err = errors.Join(err, joined); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(raw[:]), nil
}

// findFamily returns the family that a new session joins: that of the previous
// one; else that of a launch which was under way at the same time: either it has
// seen our secret and left word under it, or we have seen its; else a new one.
// Of any two launches in one browser, at least one sees the other's secret or
// session.
func (m *Manager) findFamily(ctx context.Context, n *New) (string, error) {
	if p := n.Previous; p != nil && p.person == n.Person && !p.Ended() {
		return p.family.id, nil
	}
	own := rand.Text()
	if n.Login != "" {
		own = familyOf(n, n.Login)
	}
	found, err := m.livingFamily(ctx, n, append([]string{n.Login}, n.Others...))
	if err != nil {
		return "", err
	}
	if found == "" {
		if found = own; n.Login != "" {
			if ended, err := m.ended(ctx, own); err != nil {
				return "", err
			} else if ended {
				found = rand.Text()
			}
		}
	}
	// Leave word for those who have not seen us.
	for _, secret := range append([]string{n.Login}, n.Others...) {
		id := familyOf(n, secret)
		if secret == "" || id == found {
			continue
		}
		if err := m.store.Put(ctx, wordKey(id), []byte(found), wordLifetime); err != nil {
			return "", fmt.Errorf("joining family: %w", err)
		}
	}
	return found, nil
}

// livingFamily returns the first family that one of the secrets leads to, or
// nothing.
func (m *Manager) livingFamily(ctx context.Context, n *New, secrets []string) (string, error) {
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		id := familyOf(n, secret)
		word, err := m.store.Get(ctx, wordKey(id))
		switch {
		case err == nil:
			id = string(word)
		case !errors.Is(err, store.ErrNotFound):
			return "", fmt.Errorf("finding family: %w", err)
		}
		switch _, err := m.store.Get(ctx, familyKey(id)); {
		case errors.Is(err, store.ErrNotFound):
			continue
		case err != nil:
			return "", fmt.Errorf("finding family: %w", err)
		}
		if ended, err := m.ended(ctx, id); err != nil || !ended {
			return id, err
		}
	}
	return "", nil
}

// ended reports whether a family has been ended.
func (m *Manager) ended(ctx context.Context, family string) (bool, error) {
	switch _, err := m.store.Get(ctx, endKey(family)); {
	case err == nil:
		return true, nil
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	default:
		return false, fmt.Errorf("finding family: %w", err)
	}
}

// familyOf names the family that the launch with a secret founds.
func familyOf(n *New, secret string) string {
	sum := hashOf("family", n.Site, n.Person, secret)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// join enters a session into its family.
func (m *Manager) join(ctx context.Context, familyID string, member Member, lim Limits) error {
	key := familyKey(familyID)
	for {
		old, err := m.store.Get(ctx, key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			old = nil
		case err != nil:
			return fmt.Errorf("joining family: %w", err)
		}
		var list []Member
		if old != nil {
			if err := json.Unmarshal(old, &list); err != nil {
				return fmt.Errorf("reading family: %w", err)
			}
		}
		list = append(list, member)
		list = list[max(0, len(list)-maxMembers):]
		val, err := json.Marshal(list)
		if err != nil {
			return fmt.Errorf("writing family: %w", err)
		}
		// The newest member is the last to reach its limits.
		var done bool
		if old == nil {
			done, err = m.store.PutIfAbsent(ctx, key, val, lim.Max)
		} else {
			done, err = m.store.Swap(ctx, key, old, val, lim.Max)
		}
		if err != nil {
			return fmt.Errorf("joining family: %w", err)
		}
		if done {
			m.mu.Lock()
			if fam := m.families[familyID]; fam != nil {
				fam.members.Store(&list)
			}
			m.mu.Unlock()
			return nil
		}
	}
}

// Member returns a session of a family that Members named, and notes that it was
// used.
func (m *Manager) Member(ctx context.Context, member *Member, lim Limits) (*Session, error) {
	sum, ok := sumOf(member.Key)
	if !ok {
		return nil, ErrNotFound
	}
	return m.find(ctx, sum, member.Key, lim)
}

// Mark returns what IsOf takes for an id made for the person at the site, but
// which is none: it lets nobody in.
func Mark(site, person string) string {
	raw := newID(site, person, time.Unix(0, 0))
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// IsOf reports whether an id was made for the person at the site, even if its
// session is long gone.
func IsOf(site, id, person string) bool {
	raw, ok := decodeID(id)
	return ok && subtle.ConstantTimeCompare(raw[4+secretSize:], tag(site, person, raw[:4+secretSize])) == 1
}

// Find returns the session with that id at site and notes that it was used.
func (m *Manager) Find(ctx context.Context, site, id string, lim Limits) (*Session, error) {
	raw, ok := decodeID(id)
	if !ok {
		return nil, ErrNotFound
	}
	sum := hash(site, raw[:])
	m.mu.RLock()
	s := m.sessions[sum]
	m.mu.RUnlock()
	if s == nil {
		return m.find(ctx, sum, storeKey(raw[:4], sum), lim)
	}
	return m.use(ctx, s, sum, lim)
}

// find returns a session by its key in the store.
func (m *Manager) find(ctx context.Context, sum [sha256.Size]byte, key string, lim Limits) (*Session, error) {
	m.mu.RLock()
	s := m.sessions[sum]
	m.mu.RUnlock()
	if s == nil {
		var err error
		if s, err = m.load(ctx, sum, key, lim); err != nil {
			return nil, err
		}
	}
	return m.use(ctx, s, sum, lim)
}

// use notes the use of a session that has not come to its end.
func (m *Manager) use(ctx context.Context, s *Session, sum [sha256.Size]byte, lim Limits) (*Session, error) {
	if m.deaf.Load() {
		if err := m.askWhetherEnded(ctx, s.family); err != nil {
			return nil, err
		}
	}
	now := m.now()
	if over, err := m.isOver(ctx, s, now, lim); err != nil {
		return nil, err
	} else if over {
		m.forget(sum)
		return nil, ErrNotFound
	}
	s.limit(lim)
	m.touch(s, now.UnixMilli())
	return s, nil
}

// end is when the session is over if it is not used again.
func (s *Session) end(lim Limits) time.Time {
	idle := time.UnixMilli(s.lastUsed.Load()).Add(lim.Idle)
	if limit := s.created.Add(lim.Max); limit.Before(idle) {
		return limit
	}
	return idle
}

func (s *Session) limit(lim Limits) {
	s.idle.Store(int64(lim.Idle))
	s.max.Store(int64(lim.Max))
}

// touch notes the use of a session, and has it written down once a tenth of the
// idle time has passed since that was last done.
func (m *Manager) touch(s *Session, now int64) {
	if now <= s.lastUsed.Load() {
		return
	}
	s.lastUsed.Store(now)
	if time.Duration(now-s.written.Load())*time.Millisecond < time.Duration(s.idle.Load())/10 {
		return
	}
	if s.queued.CompareAndSwap(false, true) {
		select {
		case m.touches <- s:
		default: // the next request tries again
			s.queued.Store(false)
		}
	}
}

func (m *Manager) write(ctx context.Context) {
	defer close(m.done)
	for {
		select {
		case s := <-m.touches:
			s.queued.Store(false)
			if s.family.over() {
				continue
			}
			if err := m.save(ctx, s); err != nil && ctx.Err() == nil {
				m.warn("the last use of a session could not be stored; after a restart it may end too early", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (m *Manager) save(ctx context.Context, s *Session) error {
	used := s.lastUsed.Load()
	val, err := json.Marshal(record{
		Family: s.family.id, Person: s.person, Launch: s.launch, Created: s.created.UnixMilli(), Used: used, Data: s.data,
	})
	if err != nil {
		return fmt.Errorf("writing session: %w", err)
	}
	// The store may know of the last use a tenth of the idle time late.
	idle := time.Duration(s.idle.Load())
	left := s.created.Add(time.Duration(s.max.Load())).Sub(m.now())
	ttl := max(time.Millisecond, min(idle+idle/5, left))
	if err := m.store.Put(ctx, s.key, val, ttl); err != nil {
		return fmt.Errorf("storing session: %w", err)
	}
	s.written.Store(used)
	return nil
}

// load reads a session that is not in memory.
func (m *Manager) load(ctx context.Context, sum [sha256.Size]byte, key string, lim Limits) (*Session, error) {
	rec, err := m.read(ctx, key)
	if err != nil {
		return nil, err
	}
	s := &Session{key: key, person: rec.Person, launch: rec.Launch, created: time.UnixMilli(rec.Created), data: rec.Data}
	s.lastUsed.Store(rec.Used)
	s.written.Store(rec.Used)
	s.limit(lim)
	if s.Value, err = m.decode(rec.Data); err != nil {
		return nil, fmt.Errorf("reading session: %w", err)
	}
	for {
		// If a family ends between the answer and the entry below, End has not
		// found it in memory; the count of ends then tells.
		ends := m.ends.Load()
		switch ended, err := m.ended(ctx, rec.Family); {
		case err != nil:
			return nil, err
		case ended:
			return nil, ErrNotFound
		}
		members, err := m.members(ctx, s, rec.Family)
		if err != nil {
			return nil, err
		}
		if kept, ok := m.keep(sum, s, rec.Family, members, ends); ok {
			return kept, nil
		}
	}
}

// members reads the family that s is of.
func (m *Manager) members(ctx context.Context, s *Session, familyID string) ([]Member, error) {
	list := []Member{{Launch: s.launch, Key: s.key}}
	val, err := m.store.Get(ctx, familyKey(familyID))
	if errors.Is(err, store.ErrNotFound) {
		return list, nil
	}
	if err != nil {
		return nil, fmt.Errorf("loading family: %w", err)
	}
	var stored []Member
	if err := json.Unmarshal(val, &stored); err != nil {
		return nil, fmt.Errorf("reading family: %w", err)
	}
	if slices.ContainsFunc(stored, func(o Member) bool { return o.Key == s.key }) {
		return stored, nil
	}
	return append(stored, list...), nil // it was one too many
}

// keep enters a loaded session, unless a family has ended since ends was read.
func (m *Manager) keep(sum [sha256.Size]byte, s *Session, familyID string, members []Member, ends uint64) (*Session, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ends.Load() != ends {
		return nil, false
	}
	if other := m.sessions[sum]; other != nil { // loaded twice at once
		return other, true
	}
	fam := m.families[familyID]
	if fam == nil {
		fam = &family{id: familyID, ended: make(chan struct{})}
		m.families[familyID] = fam
	}
	fam.refs++
	s.family = fam
	// What was read may be older than what is known, but not shorter, unless one
	// was too many: this process hears of its own launches at once, and a launch
	// that another node made comes with an id that is not in memory.
	if known := fam.members.Load(); known == nil || len(*known) <= len(members) {
		fam.members.Store(&members)
	}
	if len(m.sessions) >= maxCached {
		m.evict()
	}
	m.sessions[sum] = s
	return s, true
}

// evict drops one of the sessions that have not been used for longest: the worst
// of a few that the map's random order brings. The caller holds the lock.
func (m *Manager) evict() {
	var (
		victim [sha256.Size]byte
		oldest *Session
		seen   int
	)
	for sum, s := range m.sessions {
		if oldest == nil || s.lastUsed.Load() < oldest.lastUsed.Load() {
			victim, oldest = sum, s
		}
		if seen++; seen == 16 {
			break
		}
	}
	m.drop(victim)
}

func (m *Manager) forget(sum [sha256.Size]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(sum)
}

func (m *Manager) drop(sum [sha256.Size]byte) {
	s := m.sessions[sum]
	if s == nil {
		return
	}
	delete(m.sessions, sum)
	m.release(s.family)
}

func (m *Manager) release(f *family) {
	if f.refs--; f.refs == 0 {
		delete(m.families, f.id)
	}
}

// watched returns the family under which the end of s will be told: its own,
// or, where s has had to leave memory meanwhile, that of those who came back.
func (m *Manager) watched(s *Session) *family {
	m.mu.Lock()
	defer m.mu.Unlock()
	fam := m.families[s.family.id]
	if fam == nil {
		fam = s.family
		m.families[fam.id] = fam
	}
	fam.refs++
	return fam
}

// End ends the session and its family at once, also for requests under way that
// watch it.
func (m *Manager) End(ctx context.Context, s *Session, lim Limits) error {
	// First in the store: whoever loads a session of the family from now on is
	// told. No session of the family outlives the mark.
	if err := m.store.Put(ctx, endKey(s.family.id), []byte("1"), lim.Max+time.Hour); err != nil {
		return fmt.Errorf("ending session: %w", err)
	}
	m.endHere(s.family.id)
	if m.shared != nil {
		if err := m.shared.Tell(ctx, endTopic, s.family.id); err != nil {
			return fmt.Errorf("ending session: %w", err)
		}
	}
	for _, key := range []string{s.key, familyKey(s.family.id)} {
		if err := m.store.Delete(ctx, key); err != nil {
			return fmt.Errorf("ending session: %w", err)
		}
	}
	return nil
}

// endHere ends what is in memory of a family.
func (m *Manager) endHere(familyID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ends.Add(1)
	if fam := m.families[familyID]; fam != nil && !fam.over() {
		close(fam.ended)
	}
}

// Watch returns a context that ends when the session does: for what goes on
// longer than a request, such as a WebSocket. That it is open is no use of the
// session.
func (m *Manager) Watch(ctx context.Context, s *Session, lim Limits) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	fam := m.watched(s)
	go func() {
		defer func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.release(fam)
		}()
		for {
			now := m.now()
			if over, err := m.isOver(ctx, s, now, lim); over || err != nil {
				cancel()
				return
			}
			timer := time.NewTimer(s.end(lim).Sub(now))
			select {
			case <-timer.C: // it may have been used meanwhile
			case <-fam.ended:
				timer.Stop()
				cancel()
				return
			case <-ctx.Done():
				timer.Stop()
				return
			}
		}
	}()
	return ctx, cancel
}

// Over reports whether the session has been ended, or is past its limits.
func (m *Manager) Over(s *Session, lim Limits) bool {
	return s.family.over() || !m.now().Before(s.end(lim))
}

// hash is what memory and store know of an id. It covers the site, so that an
// id is worth nothing anywhere else.
func hash(site string, raw []byte) [sha256.Size]byte {
	buf := make([]byte, 0, 256)
	buf = append(buf, raw...)
	buf = append(buf, site...)
	return sha256.Sum256(buf)
}

// hashOf hashes texts so that no two lists of them are the same.
func hashOf(texts ...string) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%q", texts))
}

// tag is what an id says of the person it was made for, to those who know both.
func tag(site, person string, random []byte) []byte {
	sum := hashOf("person", site, person, string(random))
	return sum[:tagSize]
}

// newID makes an id. It begins with the minute in which its session was made.
func newID(site, person string, now time.Time) (raw [idSize]byte) {
	binary.BigEndian.PutUint32(raw[:4], uint32(now.Unix()/60)) //nolint:gosec // fits until the year 10136
	_, _ = rand.Read(raw[4 : 4+secretSize])                    // never fails
	copy(raw[4+secretSize:], tag(site, person, raw[:4+secretSize]))
	return raw
}

// decodeID reads an id.
func decodeID(id string) (raw [idSize]byte, ok bool) {
	if len(id) != base64.RawURLEncoding.EncodedLen(idSize) {
		return raw, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(raw[:], []byte(id))
	return raw, err == nil && n == idSize
}

const sessionPrefix = "sess:"

// keyText writes bytes as text, for keys stand in the JSON of families too, and
// keeps their order.
var keyText = base32.HexEncoding.WithPadding(base32.NoPadding)

func storeKey(minute []byte, sum [sha256.Size]byte) string {
	return sessionPrefix + keyText.EncodeToString(append(slices.Clone(minute), sum[:]...))
}

// sumOf undoes storeKey.
func sumOf(key string) (sum [sha256.Size]byte, ok bool) {
	raw, err := keyText.DecodeString(strings.TrimPrefix(key, sessionPrefix))
	if err != nil || len(raw) != 4+sha256.Size {
		return sum, false
	}
	return [sha256.Size]byte(raw[4:]), true
}

func endKey(family string) string    { return "ended:" + family }
func familyKey(family string) string { return "family:" + family }
func wordKey(family string) string   { return "word:" + family }
