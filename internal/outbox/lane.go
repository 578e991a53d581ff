package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-lti/lti/store"
)

const (
	// step is the least by which a time is raised.
	step = time.Millisecond

	// farAhead is more than a time can be raised above now by given times that
	// lie ahead. What lies further was caused by a clock that has been put back;
	// to wait for it would be to lose the entry.
	farAhead = 5 * time.Minute

	replacedReason = "a newer one was taken before it was sent"
)

// newest returns the entry that is to be sent: of those queued, the last.
func (l *lane) newest() *item {
	for i := len(l.Items) - 1; i >= 0; i-- {
		if !l.Items[i].State.Final() {
			return &l.Items[i]
		}
	}
	return nil
}

func (l *lane) find(id string) *item {
	if i := slices.IndexFunc(l.Items, func(it item) bool { return it.ID == id }); i >= 0 {
		return &l.Items[i]
	}
	return nil
}

// names reports whether the lane has use for a content of that generation.
func (l *lane) names(id string, gen int) bool {
	it := l.find(id)
	return it != nil && (!it.State.Final() || it.Gen >= gen)
}

// forget removes final entries whose content has been moved.
func (l *lane) forget(ids []string) {
	l.Items = slices.DeleteFunc(l.Items, func(it item) bool { return it.State.Final() && slices.Contains(ids, it.ID) })
}

// end makes an entry final. A lease that it still has is of a call that nobody
// knows the end of, unless the caller has taken that away.
func (l *lane) end(it *item, state State, reason string, now time.Time) {
	it.Unsure = it.Unsure || it.Lease != nil
	it.State, it.Reason, it.Done, it.Lease, it.NotUntil = state, cutReason(reason), now.UnixNano(), nil, 0
	if state == StateDelivered || it.Unsure {
		l.Arrived = max(l.Arrived, it.Time)
	}
}

// giveUp ends an entry that has become too old.
func (l *lane) giveUp(it *item, age time.Duration, now time.Time) {
	reason := fmt.Sprintf("not delivered within %s", age)
	if it.Reason != "" {
		reason += ": " + it.Reason
	}
	l.end(it, StateDead, reason, now)
}

// timeFor finds the time of a new entry, and until when it must wait for that
// to come, 0 if it need not. It notes neither.
//
// A time is later than all those given out in the lane (AGS §7); where seconds
// are compared, it is also in a later second than what has been sent. What the
// caller gives is compared with what was asked for before, not with what that
// was raised to: its order is right if it is the caller's.
func (l *lane) timeFor(given time.Time, wholeSeconds bool, now time.Time) (t, asked, notUntil int64, err error) {
	want := now.Truncate(step).UnixNano()
	asked = max(want, l.Asked)
	if !given.IsZero() {
		if want = given.UnixNano(); want <= l.Asked {
			return 0, 0, 0, fmt.Errorf("%w, of %s", ErrOlder, timeOf(l.Asked).Format(time.RFC3339Nano))
		}
		asked = want
	}
	const second = int64(time.Second)
	t = max(want, l.Last+int64(step))
	if want > l.Last {
		t = want
	}
	if wholeSeconds && t/second <= l.Sent/second {
		t = (l.Sent/second + 1) * second
	}
	if t != want && t < now.Add(farAhead).UnixNano() {
		notUntil = t
	}
	return t, asked, notUntil, nil
}

// leased reports whether somebody is sending the entry.
func (o *Outbox) leased(it *item, now time.Time) bool {
	return it.Lease != nil && now.UnixNano() < it.Lease.Until && (!o.cfg.Alone || it.Lease.Node == o.node)
}

// replaceOlder ends the queued entries before the item at index end, but for
// one that is being sent, and returns them.
func (o *Outbox) replaceOlder(l *lane, end int, sending func(*item) bool, now time.Time) (ended []item) {
	for i := range l.Items[:end] {
		if it := &l.Items[i]; !it.State.Final() && !sending(it) {
			l.end(it, StateReplaced, replacedReason, now)
			ended = append(ended, *it)
		}
	}
	return ended
}

// settled is a lane in which nothing is left to do but to send.
type settled struct {
	lane  *lane
	raw   []byte
	next  *item     // to be sent, nil if there is none
	wait  time.Time // until when somebody else may be at work in the lane
	moved []string  // final entries whose content has been moved
}

// settle reads a lane, ends what is to be ended, and moves the content of what
// is final. The caller has claimed the lane's job, so that no call of this
// process is under way in the lane, whatever leases say.
func (o *Outbox) settle(ctx context.Context, key, platform string) (*settled, error) {
	for {
		l, raw, err := o.loadLane(ctx, key)
		if err != nil {
			return nil, err
		}
		now := o.cfg.Now()
		s := &settled{lane: l, raw: raw}
		others := func(it *item) bool { return o.leased(it, now) && it.Lease.Node != o.node }
		var ended []item
		if next := l.newest(); next != nil {
			ended = o.replaceOlder(l, slices.IndexFunc(l.Items, func(it item) bool { return it.ID == next.ID }), others, now)
			if !others(next) && now.UnixNano()-next.Since >= int64(o.maxAge()) {
				l.giveUp(next, o.maxAge(), now)
				ended = append(ended, *next)
			}
		}
		if len(ended) > 0 {
			var ok bool
			switch s.raw, ok, err = o.swapLane(ctx, key, raw, l); {
			case err != nil:
				return nil, err
			case !ok:
				continue
			}
			o.finished(platform, ended...)
		}
		s.next = l.newest()
		for i := range l.Items {
			if it := &l.Items[i]; !it.State.Final() && others(it) {
				s.wait = time.Unix(0, it.Lease.Until)
			}
		}
		if s.moved, err = o.moveAll(ctx, l); err != nil {
			o.warn("the state of an entry could not be stored where it is kept; this will be tried again", err)
		}
		return s, nil
	}
}

// moveAll moves the content of the lane's final entries, and returns the ids of
// those that need not be in the lane any more.
func (o *Outbox) moveAll(ctx context.Context, l *lane) (moved []string, err error) {
	for i := range l.Items {
		if it := &l.Items[i]; it.State.Final() {
			if err := o.move(ctx, it); err != nil {
				return moved, err
			}
			moved = append(moved, it.ID)
		}
	}
	return moved, nil
}

// move makes the final record of an entry of its content. It may be done twice,
// and late: an entry that has been called back from the dead meanwhile has a
// content of a later generation, which stays, as does its later final record.
func (o *Outbox) move(ctx context.Context, it *item) error {
	val, err := o.get(ctx, pendingKey(it.ID))
	if errors.Is(err, store.ErrNotFound) {
		return nil // it has been moved
	}
	if err != nil {
		return fmt.Errorf("reading entry: %w", err)
	}
	c, err := decodeContent(val)
	if err != nil || c.Gen > it.Gen {
		return err
	}
	c.Gen = it.Gen
	if err := o.putFinal(ctx, &final{content: *c, Item: *it}); err != nil {
		return err
	}
	if err := o.drop(ctx, pendingKey(it.ID), val); err != nil {
		return fmt.Errorf("clearing entry: %w", err)
	}
	return nil
}

func (o *Outbox) putFinal(ctx context.Context, f *final) error {
	val, err := encode(f, f.body)
	if err != nil {
		return err
	}
	ttl := keepDone
	if f.Item.State == StateDead {
		ttl = keepDead
	}
	key := finalKey(f.Item.ID)
	for {
		old, err := o.store.Get(ctx, key)
		ok := false
		switch {
		case errors.Is(err, store.ErrNotFound):
			ok, err = o.store.PutIfAbsent(ctx, key, val, ttl)
		case err == nil:
			if other, derr := decodeFinal(old); derr == nil && other.Item.Gen >= f.Item.Gen {
				return nil
			}
			ok, err = o.store.Swap(ctx, key, old, val, ttl)
		}
		if err != nil {
			return fmt.Errorf("writing entry: %w", err)
		}
		if ok {
			return nil
		}
	}
}

// clear removes a content that no lane names: of a Put or a Retry that did not
// come to its end. It writes the lane anew before, so that one which is under
// way fails to name it, and starts again with another content. val must have
// been read before.
func (o *Outbox) clear(ctx context.Context, key, id string, val []byte) error {
	c, err := decodeContent(val)
	if err != nil {
		return err
	}
	l, raw, err := o.loadLane(ctx, key)
	if err != nil {
		return err
	}
	if l.names(id, c.Gen) {
		return nil
	}
	if _, ok, err := o.swapLane(ctx, key, raw, l); err != nil || !ok {
		return err
	}
	return o.drop(ctx, pendingKey(id), val)
}
