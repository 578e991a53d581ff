package session

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-lti/lti/store"
)

// Info is what there is to say of a session. The store may know of the last use
// late.
type Info struct {
	// ID names the session to administrators: 16 hex digits. It opens nothing.
	ID      string
	Created time.Time
	Used    time.Time
	// Value is what the decode function made of the stored data.
	Value any
}

// adminID is a hash, for the key is worth something.
func adminID(key string) string {
	sum := hashOf("id", key)
	return hex.EncodeToString(sum[:8])
}

// Each calls f for the sessions that the store has, those first that were made
// first, until it says no. Among them may be some that have come to their end and
// have not been asked for since.
func (m *Manager) Each(ctx context.Context, f func(Info) bool) error {
	return m.each(ctx, func(_ string, i Info) bool { return f(i) })
}

func (m *Manager) each(ctx context.Context, f func(key string, i Info) bool) error {
	over := make(map[string]bool) // by family
	for after := ""; ; {
		page, err := m.store.List(ctx, sessionPrefix, after, store.MaxListLen)
		if err != nil {
			return fmt.Errorf("listing sessions: %w", err)
		}
		for _, r := range page {
			after = r.Key
			var rec record
			if err := json.Unmarshal(r.Value, &rec); err != nil {
				return fmt.Errorf("reading session: %w", err)
			}
			ended, known := over[rec.Family]
			if !known {
				if ended, err = m.ended(ctx, rec.Family); err != nil {
					return err
				}
				over[rec.Family] = ended
			}
			if ended {
				continue
			}
			value, err := m.decode(rec.Data)
			if err != nil {
				return fmt.Errorf("reading session: %w", err)
			}
			if !f(r.Key, Info{adminID(r.Key), time.UnixMilli(rec.Created), time.UnixMilli(rec.Used), value}) {
				return nil
			}
		}
		if len(page) < store.MaxListLen {
			return nil
		}
		if len(over) > maxCached {
			clear(over)
		}
	}
}

// EndEach ends the sessions of which f says so, and with each its family, as
// [Manager.End] does, and returns how many it named.
func (m *Manager) EndEach(ctx context.Context, lim Limits, f func(Info) bool) (int, error) {
	var keys []string
	err := m.each(ctx, func(key string, i Info) bool {
		if f(i) {
			keys = append(keys, key)
		}
		return true
	})
	if err != nil {
		return 0, err
	}
	for _, key := range keys {
		s, err := m.Member(ctx, &Member{Key: key}, lim)
		if errors.Is(err, ErrNotFound) {
			continue // it was of a family that has just been ended
		}
		if err == nil {
			err = m.End(ctx, s, lim)
		}
		if err != nil {
			return 0, err
		}
	}
	return len(keys), nil
}
