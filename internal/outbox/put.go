package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/caddy-lti/lti/store"
)

func (n *New) check(now time.Time) error {
	for name, text := range map[string]string{
		"platform": n.Platform, "lane": n.Lane, "group": n.Group, "owner": n.Owner, "idempotency key": n.Key,
	} {
		switch {
		case len(text) > MaxText:
			return fmt.Errorf("%w: %s of %d bytes, at most %d are allowed", ErrInvalid, name, len(text), MaxText)
		case !utf8.ValidString(text):
			return fmt.Errorf("%w: %s is not UTF-8", ErrInvalid, name)
		}
	}
	switch {
	case n.Platform == "" || n.Lane == "":
		return fmt.Errorf("%w: no platform or lane", ErrInvalid)
	case len(n.Body) > MaxBody:
		return fmt.Errorf("%w: body of %d bytes, at most %d are allowed", ErrInvalid, len(n.Body), MaxBody)
	case !json.Valid(n.Body):
		return fmt.Errorf("%w: body is not JSON", ErrInvalid)
	case n.Time.IsZero():
		return nil
	case n.Time.Unix() <= 0:
		return ErrAncient
	case n.Time.Sub(now) > MaxAhead:
		return fmt.Errorf("%w: %s is more than %s from now", ErrAhead, n.Time.Format(time.RFC3339Nano), MaxAhead)
	}
	return nil
}

// sum is what a repeat with the same idempotency key has to be the same in.
func (n *New) sum() string {
	at := ""
	if !n.Time.IsZero() {
		at = n.Time.UTC().Format(time.RFC3339Nano)
	}
	return hashOf("body", n.Platform, n.Lane, at, string(n.Body))
}

// Put takes an entry. When it returns without an error the entry is in the
// store, and will be sent. After another error than those of this package it
// may have been taken nevertheless; whoever repeats the call with the same
// idempotency key gets it once.
func (o *Outbox) Put(ctx context.Context, n New) (Entry, error) {
	now := o.cfg.Now()
	if err := n.check(now); err != nil {
		return Entry{}, err
	}
	p := &putting{o: o, lane: laneOf(n.Platform, n.Lane), id: newID(now), group: n.Group}
	p.content = content{
		Platform: n.Platform, Lane: n.Lane, Group: n.Group, Owner: n.Owner, Taken: now.UnixNano(),
		body: append(json.RawMessage{}, n.Body...),
	}
	unlock, err := o.lock(ctx, p.lane)
	if err != nil {
		return Entry{}, err
	}
	defer unlock()
	if n.Key != "" {
		if e, found, err := p.claimKey(ctx, &n); err != nil || found {
			return e, err
		}
	}
	return p.name(ctx, func(l *lane) (*item, error) {
		t, asked, notUntil, err := l.timeFor(n.Time, n.WholeSeconds, now)
		if err != nil {
			return nil, err
		}
		l.Last, l.Asked = t, asked
		return &item{ID: p.id, State: StateQueued, Time: t, NotUntil: notUntil, Since: now.UnixNano()}, nil
	})
}

// putting is an entry on its way into a lane.
type putting struct {
	o       *Outbox
	lane    string
	id      string
	group   string
	content content

	written []byte // the content as the store has it
	shared  bool   // others may be putting the same id
	key     string // of the idempotency record, with its value
	keyVal  []byte
}

// claimKey finds the id that an idempotency key stands for, and the entry if
// it is there already. Without one, a Put has come to the key and not to its
// end: this one goes on with its id, so that both can only be one entry.
func (p *putting) claimKey(ctx context.Context, n *New) (e Entry, found bool, err error) {
	o := p.o
	p.shared = true
	p.key, p.keyVal = idempotencyKey(n.Owner, n.Key), []byte(p.id+" "+n.sum())
	for {
		ok, err := o.create(ctx, p.key, p.keyVal, o.maxAge()+keepDone)
		if err != nil {
			return e, false, fmt.Errorf("writing idempotency key: %w", err)
		}
		if ok {
			return e, false, nil
		}
		val, err := o.get(ctx, p.key)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return e, false, fmt.Errorf("reading idempotency key: %w", err)
		}
		id, sum, _ := strings.Cut(string(val), " ")
		switch {
		case !validID(id):
			return e, false, fmt.Errorf("%w: idempotency key", errRecord)
		case sum != n.sum():
			return e, false, ErrKeyReused
		}
		p.id, p.keyVal = id, val
		e, err := o.Get(ctx, id)
		if errors.Is(err, ErrNotFound) {
			return e, false, nil
		}
		return e, true, err
	}
}

// name writes the content and has the lane name it: the item that add returns
// and has noted in the lane.
func (p *putting) name(ctx context.Context, add func(*lane) (*item, error)) (Entry, error) {
	o := p.o
	for {
		if o.isClosing() {
			return Entry{}, ErrClosed
		}
		l, raw, err := o.loadLane(ctx, p.lane)
		if err != nil {
			return Entry{}, err
		}
		if p.shared {
			if e, found, err := p.other(ctx, l); err != nil || found {
				return e, err
			}
		}
		moved, err := o.moveAll(ctx, l)
		if err != nil && len(l.Items) >= maxItems-2 {
			return Entry{}, err
		}
		l.forget(moved)
		it, err := add(l)
		if err != nil {
			p.undo(ctx)
			return Entry{}, err
		}
		if ok, err := p.write(ctx); err != nil || !ok {
			if err != nil {
				return Entry{}, err
			}
			continue
		}
		now := o.cfg.Now()
		ended := o.replaceOlder(l, len(l.Items), func(it *item) bool { return o.leased(it, now) }, now)
		l.Items = append(l.Items, *it)
		_, ok, err := o.swapLane(ctx, p.lane, raw, l)
		if err != nil {
			// It may have been written.
			o.note(p.lane, p.content.Platform, p.id, now.Add(time.Second), 0)
			return Entry{}, err
		}
		if ok {
			o.note(p.lane, p.content.Platform, p.id, timeOf(it.NotUntil), it.Since)
			o.finished(p.content.Platform, ended...)
			p.tidy(ctx, ended)
			return entry(&p.content, it), nil
		}
	}
}

// other returns the entry if another Put with the same idempotency key has
// brought it into the lane, or even to its end.
func (p *putting) other(ctx context.Context, l *lane) (e Entry, found bool, err error) {
	if l.find(p.id) == nil {
		_, err := p.o.get(ctx, finalKey(p.id))
		if errors.Is(err, store.ErrNotFound) {
			return e, false, nil
		}
		if err != nil {
			return e, false, fmt.Errorf("reading entry: %w", err)
		}
		if p.written != nil {
			_ = p.o.drop(ctx, pendingKey(p.id), p.written) // else it is cleared away later
		}
	}
	e, err = p.o.Get(ctx, p.id)
	return e, true, err
}

// write writes the content, and the index with it. Each time it becomes another
// record, see [Outbox.clear].
func (p *putting) write(ctx context.Context) (ok bool, err error) {
	o, key := p.o, pendingKey(p.id)
	val, err := p.content.encode(o.cfg.Now())
	if err != nil {
		return false, err
	}
	if p.written != nil {
		ok, err = o.store.Swap(ctx, key, p.written, val, 0)
	} else {
		// Both at once, which a store on a disk writes in one go.
		var (
			wg      sync.WaitGroup
			indexed error
		)
		if p.group != "" {
			wg.Go(func() {
				indexed = o.store.Put(ctx, groupPrefix(p.group)+p.id, []byte{'.'}, o.maxAge()+keepDead+keepDone)
			})
		}
		ok, err = o.create(ctx, key, val, 0)
		wg.Wait()
		err = errors.Join(err, indexed)
	}
	if err != nil {
		return false, fmt.Errorf("writing entry: %w", err)
	}
	if ok {
		p.written = val
		return true, nil
	}
	// Somebody else's, or one that has been cleared away since.
	p.written, err = o.get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, fmt.Errorf("reading entry: %w", err)
	}
	if other, err := decodeContent(p.written); err == nil && other.Gen > p.content.Gen {
		p.written = nil // called back from the dead by now: the lane will tell
	}
	return false, nil
}

// undo clears away what a refused entry has written.
func (p *putting) undo(ctx context.Context) {
	if p.written != nil {
		_ = p.o.clear(ctx, p.lane, p.id, p.written) // else a scan does
	}
	if p.key != "" {
		_ = p.o.drop(ctx, p.key, p.keyVal) // else the key stays with what was refused
	}
}

// tidy moves what has been replaced. It need not succeed: a scan finds it.
func (p *putting) tidy(ctx context.Context, ended []item) {
	for i := range ended {
		if err := p.o.move(ctx, &ended[i]); err != nil {
			return
		}
	}
}

func (o *Outbox) isClosing() bool {
	select {
	case <-o.closing:
		return true
	default:
		return false
	}
}

// laneLock lets the Puts into one lane go one by one, who would otherwise
// make each other start again.
type laneLock struct {
	held chan struct{}
	refs int
}

func (o *Outbox) lock(ctx context.Context, lane string) (unlock func(), err error) {
	o.mu.Lock()
	l := o.locks[lane]
	if l == nil {
		l = &laneLock{held: make(chan struct{}, 1)}
		o.locks[lane] = l
	}
	l.refs++
	o.mu.Unlock()
	leave := func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if l.refs--; l.refs == 0 {
			delete(o.locks, lane)
		}
	}
	select {
	case l.held <- struct{}{}:
		return func() { <-l.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
