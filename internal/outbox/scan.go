package outbox

import (
	"time"
)

const (
	scanPage  = 500
	scanPause = 5 * time.Second // after a failure
	ageCheck  = time.Minute

	// strayAge is how old a content that no lane names must be to be cleared
	// away. It is no matter of safety, but of not making a Put start again.
	strayAge = 10 * time.Minute
)

// keeper finds what is left to do, at the start and then now and again, and
// gives up what has become too old.
func (o *Outbox) keeper() {
	age := time.NewTicker(ageCheck)
	defer age.Stop()
	started := false // one scan has come to its end
	rescan := func() time.Duration {
		if err := o.scan(!started); err != nil {
			o.warn("the outbox cannot list what is in its store", err)
			return scanPause
		}
		started = true
		return o.cfg.Rescan
	}
	scan := time.NewTimer(rescan())
	defer scan.Stop()
	for {
		select {
		case <-o.closing:
			return
		case <-age.C:
			o.checkAges()
		case <-scan.C:
			scan.Reset(rescan())
		}
	}
}

// scan looks at every content under way, and at the lanes that are not in
// memory.
func (o *Outbox) scan(first bool) error {
	after := ""
	for !o.isClosing() {
		page, err := o.store.List(o.ctx, pendingPrefix, after, scanPage)
		if err != nil {
			return err
		}
		for _, r := range page {
			if o.isClosing() {
				return nil
			}
			if len(r.Value) == 0 {
				continue
			}
			id := r.Key[len(pendingPrefix):]
			c, err := decodeContent(r.Value)
			if err != nil || !validID(id) {
				o.warn("an entry of the outbox cannot be read", err)
				continue
			}
			if err := o.look(id, c, r.Value, first); err != nil {
				return err
			}
		}
		if len(page) < scanPage {
			return nil
		}
		after = page[len(page)-1].Key
	}
	return nil
}

// look makes sure that a content is waited for, or moved, or cleared away.
func (o *Outbox) look(id string, c *content, val []byte, first bool) error {
	key := laneOf(c.Platform, c.Lane)
	o.mu.Lock()
	j := o.jobs[key]
	known := j != nil && (j.id == id || j.busy)
	o.mu.Unlock()
	if known {
		return nil
	}
	s, err := o.visit(key, c.Platform, first)
	if err != nil || s == nil || s.lane.names(id, c.Gen) {
		return err
	}
	if o.cfg.Now().Sub(time.UnixMilli(c.Written)) < strayAge {
		return nil
	}
	return o.clear(o.ctx, key, id, val)
}

// visit settles a lane that nobody is at work in, and has its next entry
// waited for.
func (o *Outbox) visit(key, platform string, atOnce bool) (*settled, error) {
	j := o.claim(key, platform)
	if j == nil {
		return nil, nil
	}
	s, err := o.settle(o.ctx, key, platform)
	if err != nil {
		o.release(j, o.later(j))
		return nil, err
	}
	a := o.whenDue(s, s.next)
	if s.next != nil && s.next.Attempts > 0 && !atOnce {
		// Another node may be pausing.
		if pause := timeOf(s.next.Last).Add(backoff(s.next.Attempts)); pause.After(a.due) {
			a.due = pause
		}
	}
	o.release(j, a)
	return s, nil
}

// checkAges gives up what has become too old, whether or not its platform
// answers.
func (o *Outbox) checkAges() {
	now := o.cfg.Now()
	type old struct{ lane, platform string }
	var list []old
	o.mu.Lock()
	for _, j := range o.jobs {
		if !j.busy && !now.Before(j.dies) {
			list = append(list, old{j.lane, j.platform.name})
		}
	}
	o.mu.Unlock()
	for _, j := range list {
		if _, err := o.visit(j.lane, j.platform, false); err != nil {
			o.warn("an entry that has become too old could not be given up yet", err)
			return
		}
	}
}
