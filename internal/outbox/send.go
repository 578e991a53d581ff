package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-lti/lti/store"
)

// deliver makes one call for a lane, if there is one to be made.
func (o *Outbox) deliver(j *job, send Sender, probe bool) {
	v := silent
	freed := false
	free := func() {
		if !freed {
			freed = true
			o.called(j.platform, probe, v)
		}
	}
	var a again
	// Also if the sender ends the goroutine.
	defer func() { free(); o.release(j, a) }()

	s, err := o.settle(o.ctx, j.lane, j.platform.name)
	if err != nil {
		o.warn("the outbox cannot read its store", err)
		a = o.later(j)
		return
	}
	if a = o.whenDue(s, s.next); a.id == "" || a.due.After(o.cfg.Now()) {
		return
	}
	a = o.later(j)
	c, val, err := o.lease(s, j)
	if err != nil {
		o.warn("the outbox cannot write to its store", err)
		return
	}
	if c == nil {
		a.due = time.Time{} // somebody else has changed the lane
		return
	}
	it := *s.next
	res := o.call(send, entry(c, &it), time.Unix(0, it.Lease.Until))
	v = answered
	if res.Outcome == Retry {
		v = failed
	}
	free()
	a = o.record(j, &it, res, s, val)
}

// later is for a job of which nothing is known anew.
func (o *Outbox) later(j *job) again {
	at := o.cfg.Now().Add(storePause + jitter(storePause))
	return again{id: j.id, due: at, notUntil: at}
}

// whenDue says when the lane's next entry can be sent.
func (o *Outbox) whenDue(s *settled, next *item) again {
	if next == nil {
		return again{}
	}
	a := again{id: next.ID, since: next.Since, notUntil: timeOf(next.NotUntil)}
	if s.wait.After(a.notUntil) {
		a.notUntil = s.wait
	}
	a.due = a.notUntil
	return a
}

// lease writes that this process is about to send the lane's next entry, and
// returns its content; none if the lane has changed.
func (o *Outbox) lease(s *settled, j *job) (c *content, raw []byte, err error) {
	val, err := o.get(o.ctx, pendingKey(s.next.ID))
	if err == nil {
		c, err = decodeContent(val)
	}
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, errRecord) {
		// This cannot be, but for a damaged store. It must not block the lane.
		s.lane.end(s.next, StateDead, "its content is lost", o.cfg.Now())
		ended := *s.next
		if _, ok, err := o.swapLane(o.ctx, j.lane, s.raw, s.lane); err != nil || !ok {
			return nil, nil, err
		}
		o.finished(j.platform.name, ended)
		return nil, nil, o.putFinal(o.ctx, &final{content: content{Platform: j.platform.name}, Item: ended})
	}
	if err != nil {
		return nil, nil, err
	}
	now := o.cfg.Now()
	s.lane.forget(s.moved)
	s.next = s.lane.newest()                             // its place has changed
	s.next.Unsure = s.next.Unsure || s.next.Lease != nil // that call was never concluded
	s.next.Lease = &lease{Node: o.node, Until: now.Add(o.cfg.Timeout + leaseMargin).UnixNano()}
	s.next.Attempts++
	s.next.Last = now.UnixNano()
	s.lane.Sent = max(s.lane.Sent, s.next.Time)
	raw, ok, err := o.swapLane(o.ctx, j.lane, s.raw, s.lane)
	if err != nil || !ok {
		return nil, nil, err
	}
	return c, raw, nil
}

// call calls the sender.
func (o *Outbox) call(send Sender, e Entry, until time.Time) (res Result) {
	left := min(o.cfg.Timeout, until.Sub(o.cfg.Now())-leaseGuard)
	if left <= 0 {
		return Result{Reason: "the store was too slow"}
	}
	ctx, cancel := context.WithTimeout(o.ctx, left)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			res = Result{Outcome: Retry, Reason: fmt.Sprintf("panic: %v", p)}
		}
	}()
	return send(ctx, e)
}

// record writes down how a call ended, and says when the lane is due again. It
// tries until the store takes it: until then the lease of this process stands,
// and then the entry is sent again.
func (o *Outbox) record(j *job, it *item, res Result, s *settled, raw []byte) again {
	l := s.lane
	for tries := 0; ; tries++ {
		a, ended, ok, err := o.conclude(j, it, res, l, raw)
		if ok {
			o.finished(j.platform.name, ended...)
			for i := range ended {
				if err := o.move(o.ctx, &ended[i]); err != nil {
					o.warn("the state of an entry could not be stored where it is kept; this will be tried again", err)
				}
			}
			return a
		}
		if raw = nil; err == nil {
			continue // the lane has changed
		}
		o.warn("what became of an entry could not be stored; it may be sent again", err)
		if errors.Is(err, store.ErrClosed) || o.ctx.Err() != nil {
			return o.later(j)
		}
		pause := time.NewTimer(min(30*time.Second, storePause<<min(tries, 8)))
		select {
		case <-pause.C:
		case <-o.closing:
			pause.Stop()
			if tries > 0 {
				return o.later(j)
			}
		}
	}
}

// conclude writes the result into a lane as it was read. If somebody else has
// taken the entry over, only a delivery still counts.
func (o *Outbox) conclude(j *job, sent *item, res Result, l *lane, raw []byte) (a again, ended []item, ok bool, err error) {
	if raw == nil {
		if l, raw, err = o.loadLane(o.ctx, j.lane); err != nil {
			return a, nil, false, err
		}
	}
	now := o.cfg.Now()
	it := l.find(sent.ID)
	s := &settled{lane: l}
	ours := it != nil && it.Lease != nil && it.Lease.Node == o.node && it.Attempts == sent.Attempts
	if it == nil || it.State.Final() || !ours && (res.Outcome != Delivered || it.Gen != sent.Gen) {
		return o.whenDue(s, l.newest()), nil, true, nil
	}
	last := l.newest().ID == it.ID
	if ours {
		it.Lease = nil
	}
	switch res.Outcome {
	case Delivered:
		l.end(it, StateDelivered, res.Reason, now)
	case Dead:
		l.end(it, StateDead, res.Reason, now)
	case Skipped:
		l.end(it, StateSkipped, res.Reason, now)
	case Superseded:
		if it.Unsure {
			// A call before this one had no answer. A platform that has got it then
			// refuses it now, for it is not newer than itself.
			l.end(it, StateDelivered, "an earlier attempt seems to have arrived: "+res.Reason, now)
		} else {
			l.end(it, StateReplaced, res.Reason, now)
		}
	default:
		it.Unsure, it.Reason = true, cutReason(res.Reason)
		switch {
		case !last:
			l.end(it, StateReplaced, replacedReason, now)
		case now.UnixNano()-it.Since >= int64(o.maxAge()):
			l.giveUp(it, o.maxAge(), now)
		case res.After > 0:
			it.NotUntil = now.Add(min(res.After, maxAfter)).UnixNano()
		}
	}
	if it.State.Final() {
		ended = append(ended, *it)
	}
	_, ok, err = o.swapLane(o.ctx, j.lane, raw, l)
	if err != nil || !ok {
		return a, nil, false, err
	}
	a = o.whenDue(s, l.newest())
	if a.id == sent.ID {
		if pause := now.Add(backoff(it.Attempts)); pause.After(a.due) {
			a.due = pause
		}
	}
	return a, ended, true, nil
}
