package caddylti

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/store"
)

// progress keeps which of the pages of grade { visit } learners have been to, and
// gives their share to the outbox. It works beside the requests: they leave a note
// in memory, and go on.
//
// The share never lowers what was sent last, by it or by anything else that knows
// the learner's cell of the gradebook.
type progress struct {
	store store.Store
	send  func(context.Context, *destination, ags.Score, string) error
	warn  func(msg string, err error)

	ctx    context.Context // of what is under way
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	work    sync.Cond        // on mu
	notes   map[string]*note // by cell
	closing bool

	seed maphash.Seed
	busy [64]sync.Mutex // by cell: what is sent, and the memory of it, are one
}

// note is what a learner has seen since the last look.
type note struct {
	to    destination
	owner string   // of the scores
	of    []string // ids of all pages that count
	pages map[string]bool
}

// pageID is the short name of a page in notes and records.
func pageID(pattern string) string {
	sum := sha256.Sum256([]byte(pattern))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// progressRecord is what the store has for a cell.
type progressRecord struct {
	Pages []string `json:"p,omitempty"` // ids
	// Sent is the share that was sent last, by whatever it was.
	Sent float64 `json:"s"`
	// Item is set if the cell is found by its line item too, where To leads from
	// that to it: programs with a key may know no more.
	Item bool   `json:"i,omitempty"`
	To   string `json:"t,omitempty"`
}

const (
	progressWorkers = 4
	// maxNotes bounds what waits in memory; beyond, requests do the work.
	maxNotes = 10_000
	// maxPages bounds the pages of one record, maxVisit those that count.
	maxPages = 2000
	maxVisit = 500
	// progressPause is between two attempts where the store cannot be used.
	progressPause = time.Second
)

func newProgress(st store.Store, send func(context.Context, *destination, ags.Score, string) error, warn func(string, error)) *progress {
	p := &progress{store: st, send: send, warn: warn, notes: make(map[string]*note), seed: maphash.MakeSeed()}
	p.work.L = &p.mu
	p.ctx, p.cancel = context.WithCancel(context.Background())
	for range progressWorkers {
		p.wg.Go(p.worker)
	}
	return p
}

// close does what is still to do, as long as ctx allows.
func (p *progress) close(ctx context.Context) error {
	p.mu.Lock()
	p.closing = true
	p.work.Broadcast()
	p.mu.Unlock()
	stop := context.AfterFunc(ctx, p.cancel)
	defer stop()
	p.wg.Wait()
	p.cancel()
	if left := len(p.notes); left > 0 {
		return fmt.Errorf("visits of pages of %d learners were not written", left)
	}
	return nil
}

// visited notes that a learner has come to a page.
func (p *progress) visited(ctx context.Context, n note, page string) error {
	cell := n.to.cell()
	p.mu.Lock()
	kept := p.notes[cell]
	if kept == nil && len(p.notes) < maxNotes && !p.closing {
		kept = &n
		kept.pages = make(map[string]bool)
		p.notes[cell] = kept
	}
	if kept != nil {
		kept.of = n.of // of the newest configuration
		if n.to.LineItem != "" {
			kept.to = n.to
		}
		kept.pages[page] = true
		p.work.Signal()
		p.mu.Unlock()
		return nil
	}
	p.mu.Unlock()
	n.pages = map[string]bool{page: true}
	return p.write(ctx, cell, &n)
}

func (p *progress) worker() {
	for {
		p.mu.Lock()
		for len(p.notes) == 0 && !p.closing {
			p.work.Wait()
		}
		var (
			cell string
			n    *note
		)
		for cell, n = range p.notes {
			delete(p.notes, cell)
			break
		}
		p.mu.Unlock()
		if n == nil {
			return
		}
		if err := p.write(p.ctx, cell, n); err != nil && !p.again(cell, n, err) {
			return
		}
	}
}

// again puts back what could not be written. It returns false at the end.
func (p *progress) again(cell string, n *note, err error) bool {
	p.mu.Lock()
	if kept := p.notes[cell]; kept != nil {
		maps.Copy(kept.pages, n.pages)
	} else {
		p.notes[cell] = n
	}
	closing := p.closing
	p.mu.Unlock()
	p.warn("visits of pages could not be written; they are kept in memory and tried again", err)
	if closing {
		return false
	}
	select {
	case <-p.ctx.Done():
		return false
	case <-time.After(progressPause):
		return true
	}
}

// write adds what was noted to what is known, and sends the share if it is more.
func (p *progress) write(ctx context.Context, cell string, n *note) error {
	defer p.only(cell)()
	for {
		old, rec, err := p.load(ctx, cell)
		if err != nil {
			return err
		}
		pages := maps.Clone(n.pages)
		for _, page := range rec.Pages {
			pages[page] = true
		}
		seen := 0
		for _, page := range n.of {
			if pages[page] {
				seen++
			}
		}
		if len(pages) > maxPages { // of configurations long gone
			maps.DeleteFunc(pages, func(page string, _ bool) bool { return !slices.Contains(n.of, page) })
		}
		next := progressRecord{Pages: slices.Sorted(maps.Keys(pages)), Sent: rec.Sent, Item: rec.Item}
		if share := float64(seen) / float64(len(n.of)); share > rec.Sent {
			next.Sent = share
			if err := p.send(ctx, &n.to, shareScore(seen, len(n.of)), n.owner); err != nil {
				return err
			}
		}
		ok, err := p.save(ctx, &n.to, cell, old, &next)
		if err != nil || ok {
			return err
		}
		// Another node was quicker.
	}
}

// shareScore is the score for having been to so many of the pages.
func shareScore(seen, of int) ags.Score {
	given, maximum := float64(seen), float64(of)
	s := ags.Score{ScoreGiven: &given, ScoreMaximum: &maximum}
	if seen < of {
		s.ActivityProgress = ags.InProgress
	}
	return s
}

// sent has a score of another source sent, and remembers it, so that no share
// lowers it.
func (p *progress) sent(ctx context.Context, d *destination, s *ags.Score, send func() error) error {
	cell, err := p.find(ctx, d)
	if err != nil {
		return err
	}
	defer p.only(cell)()
	if err := send(); err != nil {
		return err
	}
	if s.ScoreGiven == nil || s.ScoreMaximum == nil {
		return nil
	}
	for {
		old, rec, err := p.load(ctx, cell)
		if err == nil {
			rec.Sent = min(*s.ScoreGiven / *s.ScoreMaximum, 1)
			var ok bool
			if ok, err = p.save(ctx, d, cell, old, rec); ok {
				return nil
			}
		}
		if err != nil {
			p.warn("a score was taken, and could not be noted: pages visited later may lower it", err)
			return nil
		}
	}
}

// find returns the cell of a destination, which may name its line item only.
func (p *progress) find(ctx context.Context, d *destination) (string, error) {
	cell := d.cell()
	if d.Link != "" {
		return cell, nil
	}
	_, rec, err := p.load(ctx, cell)
	if err != nil || rec.To == "" {
		return cell, err
	}
	return rec.To, nil
}

// only waits until nobody else of this process works on the cell.
func (p *progress) only(cell string) (done func()) {
	mu := &p.busy[maphash.String(p.seed, cell)%uint64(len(p.busy))]
	mu.Lock()
	return mu.Unlock
}

// load returns what is known of a cell.
func (p *progress) load(ctx context.Context, cell string) (old []byte, rec *progressRecord, err error) {
	rec = new(progressRecord)
	old, err = p.store.Get(ctx, progressKey(cell))
	if errors.Is(err, store.ErrNotFound) {
		return nil, rec, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(old, rec); err != nil {
		p.warn("what was known of pages visited cannot be read and begins anew", err)
		rec = new(progressRecord)
	}
	return old, rec, nil
}

func (p *progress) save(ctx context.Context, d *destination, cell string, old []byte, rec *progressRecord) (bool, error) {
	if lane := d.lane(); lane != cell && d.Link != "" && !rec.Item {
		to, err := json.Marshal(progressRecord{To: cell})
		if err != nil {
			return false, err
		}
		if err := p.store.Put(ctx, progressKey(lane), to, handleLifetime); err != nil {
			return false, err
		}
		rec.Item = true
	}
	val, err := json.Marshal(rec)
	if err != nil {
		return false, err
	}
	switch {
	case old == nil:
		return p.store.PutIfAbsent(ctx, progressKey(cell), val, handleLifetime)
	case bytes.Equal(old, val):
		return true, nil
	}
	return p.store.Swap(ctx, progressKey(cell), old, val, handleLifetime)
}

func progressKey(cell string) string { return "progress:" + cell }
