// Package session keeps who is signed in. A session is known to the browser by
// an opaque id and to the store by a hash of it; what is kept of a launch is the
// caller's affair.
//
// Sessions in use are held in memory, so that a request costs one hash and one
// look-up. When a session was last used is written to the store now and then,
// away from the request.
//
// The sessions that one person opens in one browser form a family. A launch of
// somebody else in that browser, or a logout, ends the family at once.
package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
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
	idSize     = 4 + secretSize

	// maxCached bounds the sessions held in memory, and with them its use: some
	// 3 KiB each.
	maxCached = 16384

	// touchQueue bounds the writes of last use that may be waiting.
	touchQueue = 1024

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

// Ended reports whether the session has been ended before its time.
func (s *Session) Ended() bool { return s.family.over() }

// family is the sessions of one person in one browser.
type family struct {
	id    string
	ended chan struct{} // closed when the family ends
	refs  int           // cached sessions and watchers; guarded by Manager.mu
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

	touches chan *Session
	stop    context.CancelFunc
	done    chan struct{}
}

// NewManager makes a Manager and starts its writer, which Close stops. decode
// makes a session's Value of its data; warn hears of writes that failed; a nil
// clock is time.Now.
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
				if err := m.save(context.Background(), unwritten[i]); err != nil {
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

// Create makes a session of person at site, with data as its content. Where
// previous, a session of the same browser, is the same person's, it lives on;
// somebody else's ends, with all its family. It returns the id for the browser.
func (m *Manager) Create(ctx context.Context, site, person string, data []byte, previous *Session, lim Limits) (string, error) {
	var raw [idSize]byte
	now := m.now()
	binary.BigEndian.PutUint32(raw[:4], uint32(now.Unix()/60)) //nolint:gosec // fits until the year 10136
	_, _ = rand.Read(raw[4:])                                  // never fails
	fam := rand.Text()
	if previous != nil {
		if previous.person == person && !previous.Ended() {
			fam = previous.family.id
		} else if err := m.End(ctx, previous, lim); err != nil {
			return "", err
		}
	}
	s := &Session{person: person, created: now, data: data, family: &family{id: fam}}
	s.key = storeKey(raw[:4], hash(site, raw[:]))
	s.lastUsed.Store(now.UnixMilli())
	s.limit(lim)
	if err := m.save(ctx, s); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(raw[:]), nil
}

// Find returns the session with that id at site and notes that it was used.
func (m *Manager) Find(ctx context.Context, site, id string, lim Limits) (*Session, error) {
	var raw [idSize]byte
	if len(id) != base64.RawURLEncoding.EncodedLen(idSize) {
		return nil, ErrNotFound
	}
	if n, err := base64.RawURLEncoding.Strict().Decode(raw[:], []byte(id)); err != nil || n != idSize {
		return nil, ErrNotFound
	}
	sum := hash(site, raw[:])
	m.mu.RLock()
	s := m.sessions[sum]
	m.mu.RUnlock()
	if s == nil {
		var err error
		if s, err = m.load(ctx, sum, storeKey(raw[:4], sum), lim); err != nil {
			return nil, err
		}
	}
	now := m.now()
	if s.family.over() || !now.Before(s.end(lim)) {
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
		Family: s.family.id, Person: s.person, Created: s.created.UnixMilli(), Used: used, Data: s.data,
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
	val, err := m.store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("loading session: %w", err)
	}
	var rec record
	if err := json.Unmarshal(val, &rec); err != nil {
		return nil, fmt.Errorf("reading session: %w", err)
	}
	s := &Session{key: key, person: rec.Person, created: time.UnixMilli(rec.Created), data: rec.Data}
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
		switch _, err := m.store.Get(ctx, endKey(rec.Family)); {
		case err == nil:
			return nil, ErrNotFound
		case !errors.Is(err, store.ErrNotFound):
			return nil, fmt.Errorf("loading session: %w", err)
		}
		if kept, ok := m.keep(sum, s, rec.Family, ends); ok {
			return kept, nil
		}
	}
}

// keep enters a loaded session, unless a family has ended since ends was read.
func (m *Manager) keep(sum [sha256.Size]byte, s *Session, familyID string, ends uint64) (*Session, bool) {
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
	m.mu.Lock()
	m.ends.Add(1)
	if fam := m.families[s.family.id]; fam != nil && !fam.over() {
		close(fam.ended)
	}
	m.mu.Unlock()
	if err := m.store.Delete(ctx, s.key); err != nil {
		return fmt.Errorf("ending session: %w", err)
	}
	return nil
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
			left := s.end(lim).Sub(m.now())
			if left <= 0 {
				cancel()
				return
			}
			timer := time.NewTimer(left)
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

func storeKey(minute []byte, sum [sha256.Size]byte) string {
	return "sess:" + string(minute) + string(sum[:])
}

func endKey(family string) string { return "ended:" + family }
