package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-lti/lti/store"
)

const (
	// waitPoll is how often Wait asks the store for what another node does.
	waitPoll = 2 * time.Second

	// MaxList bounds a page, and listWork what is looked at for one.
	MaxList  = 500
	listWork = 2000
)

// Get returns an entry.
func (o *Outbox) Get(ctx context.Context, id string) (Entry, error) {
	if !validID(id) {
		return Entry{}, ErrNotFound
	}
	// An entry may move from one record to the other between two looks, and back.
	for range 3 {
		e, err := o.underWay(ctx, id)
		if !errors.Is(err, ErrNotFound) {
			return e, err
		}
		val, err := o.get(ctx, finalKey(id))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return Entry{}, fmt.Errorf("reading entry: %w", err)
		}
		f, err := decodeFinal(val)
		if err != nil {
			return Entry{}, err
		}
		return entry(&f.content, &f.Item), nil
	}
	return Entry{}, ErrNotFound
}

// underWay returns an entry whose content has not been moved.
func (o *Outbox) underWay(ctx context.Context, id string) (Entry, error) {
	val, err := o.get(ctx, pendingKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return Entry{}, ErrNotFound
	}
	if err != nil {
		return Entry{}, fmt.Errorf("reading entry: %w", err)
	}
	c, err := decodeContent(val)
	if err != nil {
		return Entry{}, err
	}
	l, _, err := o.loadLane(ctx, laneOf(c.Platform, c.Lane))
	if err != nil {
		return Entry{}, err
	}
	it := l.find(id)
	if it == nil {
		return Entry{}, ErrNotFound
	}
	return entry(c, it), nil
}

// Wait returns an entry once it is final. When ctx ends before, it returns the
// entry as it was last seen, and the context's error.
func (o *Outbox) Wait(ctx context.Context, id string) (Entry, error) {
	var last Entry
	for {
		ch := make(chan struct{})
		o.mu.Lock()
		o.waiters[id] = append(o.waiters[id], ch)
		o.mu.Unlock()
		e, err := o.Get(ctx, id)
		switch {
		case err == nil:
			last = e
		case ctx.Err() != nil:
			err = ctx.Err()
		}
		if err != nil || e.State.Final() {
			o.forgetWaiter(id, ch)
			return last, err
		}
		poll := time.NewTimer(waitPoll)
		select {
		case <-ch:
		case <-poll.C:
		case <-ctx.Done():
			err = ctx.Err()
		case <-o.closing:
			err = ErrClosed
		}
		poll.Stop()
		o.forgetWaiter(id, ch)
		if err != nil {
			return last, err
		}
	}
}

func (o *Outbox) forgetWaiter(id string, ch chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	left := slices.DeleteFunc(o.waiters[id], func(c chan struct{}) bool { return c == ch })
	if o.waiters[id] = left; len(left) == 0 {
		delete(o.waiters, id)
	}
}

// Filter says which entries to list; empty fields let all pass.
type Filter struct {
	Group    string
	Platform string
	State    State
}

// List returns entries, the newest first. after is empty for the first page and
// then what the call before returned as next, which is empty when nothing is
// left. A page may have fewer than limit entries, even none: with a filter that
// few pass, a call gives up its search after a while.
//
// A group is found by its index; without one, all entries are looked at.
func (o *Outbox) List(ctx context.Context, f Filter, after string, limit int) (list []Entry, next string, err error) {
	limit = min(max(limit, 1), MaxList)
	if after != "" && !validID(after) {
		return nil, "", fmt.Errorf("%w: no place to list from", ErrInvalid)
	}
	next = after
	for seen := 0; seen < listWork; {
		ids, more, err := o.listIDs(ctx, f.Group, next, limit)
		if err != nil {
			return nil, "", err
		}
		for _, id := range ids {
			next = id
			seen++
			e, err := o.Get(ctx, id)
			switch {
			case errors.Is(err, ErrNotFound): // not taken, or forgotten
				continue
			case err != nil:
				return nil, "", err
			}
			if (f.Group == "" || e.Group == f.Group) && (f.Platform == "" || e.Platform == f.Platform) &&
				(f.State == "" || e.State == f.State) {
				list = append(list, e)
			}
			if len(list) == limit {
				return list, next, nil
			}
		}
		if !more {
			return list, "", nil
		}
	}
	return list, next, nil
}

// listIDs returns up to limit ids of a group, or of all entries, and whether
// there are more.
func (o *Outbox) listIDs(ctx context.Context, group, after string, limit int) (ids []string, more bool, err error) {
	prefixes := []string{groupPrefix(group)}
	if group == "" {
		prefixes = []string{pendingPrefix, finalPrefix} // in this order: what moves is in the second
	}
	for _, prefix := range prefixes {
		page, err := o.store.List(ctx, prefix, prefix+after, limit)
		if err != nil {
			return nil, false, fmt.Errorf("listing entries: %w", err)
		}
		more = more || len(page) == limit
		for _, r := range page {
			if id := strings.TrimPrefix(r.Key, prefix); validID(id) {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	more = more || len(ids) > limit
	return ids[:min(limit, len(ids))], more, nil
}

// Retry queues a dead entry again, with the time it had, unless its lane has a
// newer one that is queued, or that its platform has or may have.
func (o *Outbox) Retry(ctx context.Context, id string) (Entry, error) {
	e, err := o.Get(ctx, id)
	if err != nil {
		return Entry{}, err
	}
	if e.State != StateDead {
		return Entry{}, ErrNotDead
	}
	key := laneOf(e.Platform, e.Lane)
	unlock, err := o.lock(ctx, key)
	if err != nil {
		return Entry{}, err
	}
	defer unlock()
	p := &putting{o: o, lane: key, id: id, group: e.Group}
	return p.name(ctx, func(l *lane) (*item, error) {
		f, err := o.dead(ctx, l, id)
		if err != nil {
			return nil, err
		}
		was := f.Item
		if next := l.newest(); next != nil && next.Time > was.Time || l.Arrived > was.Time {
			return nil, fmt.Errorf("%w: the lane has a newer one", ErrOlder)
		}
		l.forget([]string{id})
		l.Last, l.Asked = max(l.Last, was.Time), max(l.Asked, was.Time)
		p.content = f.content
		p.content.Gen = was.Gen + 1
		return &item{
			ID: id, Gen: p.content.Gen, State: StateQueued, Reason: was.Reason, Time: was.Time, Since: o.cfg.Now().UnixNano(),
			Attempts: was.Attempts, Unsure: was.Unsure, Last: was.Last,
		}, nil
	})
}

// dead returns the final record of an entry that is dead in a lane, or has left
// it. The record is made first, so that nothing is lost with the content.
func (o *Outbox) dead(ctx context.Context, l *lane, id string) (*final, error) {
	if it := l.find(id); it != nil {
		if it.State != StateDead {
			return nil, ErrNotDead
		}
		if err := o.move(ctx, it); err != nil {
			return nil, err
		}
	}
	val, err := o.get(ctx, finalKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading entry: %w", err)
	}
	f, err := decodeFinal(val)
	if err == nil && f.Item.State != StateDead {
		err = ErrNotDead
	}
	return f, err
}
