package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddy-lti/lti/store"
)

// On a store that several nodes use, a session may be in the memory of each. The
// node that ends one tells the others. Those that cannot hear ask the store, at
// each use of a session. Nobody is told of mere use: where a session seems to be
// past its limits here, the store knows of a use elsewhere.

// endTopic has the ids of families that have ended.
const endTopic = "ended"

// askTimeout is how long a request waits for the store where other nodes are not
// heard: that store is in trouble already.
const askTimeout = time.Second

// hearOthers has other nodes heard, if there may be any.
func (m *Manager) hearOthers() {
	shared, ok := m.store.(store.Shared)
	if !ok {
		return
	}
	m.shared = shared
	m.deaf.Store(true)
	err := shared.Listen(endTopic, store.Listener{
		Heard: m.endHere,
		Hears: m.catchUp,
		Deaf:  func() { m.deaf.Store(true) },
	})
	if err != nil {
		m.warn("other nodes are not heard", err)
	}
}

// catchUp ends what others have ended while they were not heard.
func (m *Manager) catchUp(ctx context.Context) error {
	m.mu.Lock()
	m.ends.Add(1) // what is being loaded asks once more, as it does after an end here
	known := slices.Collect(maps.Values(m.families))
	m.mu.Unlock()
	for _, fam := range known {
		if err := m.askWhetherEnded(ctx, fam); err != nil {
			return err
		}
	}
	m.deaf.Store(false)
	return nil
}

// askWhetherEnded asks the store.
func (m *Manager) askWhetherEnded(ctx context.Context, fam *family) error {
	if fam.over() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	ended, err := m.ended(ctx, fam.id)
	if ended {
		m.endHere(fam.id)
	}
	return err
}

// isOver reports whether the session has been ended, or is past its limits, here
// and on other nodes.
func (m *Manager) isOver(ctx context.Context, s *Session, now time.Time, lim Limits) (bool, error) {
	if s.family.over() {
		return true, nil
	}
	if now.Before(s.end(lim)) {
		return false, nil
	}
	if m.shared == nil || !now.Before(s.created.Add(lim.Max)) {
		return true, nil
	}
	rec, err := m.read(ctx, s.key)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if rec.Used > s.lastUsed.Load() {
		s.lastUsed.Store(rec.Used)
		s.written.Store(rec.Used)
	}
	return !now.Before(s.end(lim)), nil
}

// saveLast writes down the last use here, unless the store knows of a later one.
func (m *Manager) saveLast(ctx context.Context, s *Session) error {
	if m.shared != nil {
		rec, err := m.read(ctx, s.key)
		if errors.Is(err, ErrNotFound) || err == nil && rec.Used >= s.lastUsed.Load() {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return m.save(ctx, s)
}

// read returns what the store has of a session.
func (m *Manager) read(ctx context.Context, key string) (*record, error) {
	val, err := m.store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("loading session: %w", err)
	}
	rec := new(record)
	if err := json.Unmarshal(val, rec); err != nil {
		return nil, fmt.Errorf("reading session: %w", err)
	}
	return rec, nil
}
