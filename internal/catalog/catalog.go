// Package catalog is what a teacher can pick from in deep linking: the pages of
// the site's folder, entries of the configuration, and lists in JSON that a file
// or the app itself gives.
//
// Sources are read when somebody asks, in the background, one reading at a time
// for each however many ask, and again when what is there is some seconds old.
// Who asks waits for the first reading, and for later ones a moment at most:
// then the last good list is used. Nothing is opened or started before.
//
// # Identity
//
// An item is known by its resource_id, or else by its path, which is what the
// picker sends to the server and what a link carries in its custom parameters
// (Deep Linking 2.0, content items). Where two sources have the same path or
// identity, entries of the configuration win over lists, and lists over folders,
// so that an entry can say more about a page that the folder has too.
//
// # Pages
//
// Of a folder the files *.html, *.htm and *.xhtml count, with the addresses under
// which Caddy's file_server has them; index.html is its folder. Left out are
// hidden files and folders (a leading dot), what the configuration excludes, what
// a link leads to outside the folder, folders behind symbolic links, pages that
// send the browser on at once (meta refresh), and pages that do not want to be
// found (meta robots noindex). Of each file the first 64 KiB are read, for:
//
//   - <title>, or else the first <h1>, or else the name of the file
//   - <meta name="description">, or else og:description
//   - og:image, if it is of this site: the picker loads nothing from elsewhere
//   - <meta name="lti:score-maximum" content="10">, the points of a page that
//     reports a score
package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// ErrLoading says that the catalogue is being read for the first time, and was
// not ready when the caller's time was up. Later calls find it.
var ErrLoading = errors.New("catalog: still being read for the first time")

const (
	// MaxItems is how many items a folder or a list has at most.
	MaxItems = 50_000

	// MaxPage is how many items a page of results has at most.
	MaxPage = 200

	// What is read again, if somebody asks, is at least that old, and four times
	// as old as reading took: a slow disk is not kept busy.
	folderEvery = 2 * time.Second
	listEvery   = 5 * time.Second
	restFactor  = 4

	// patience is how long a request waits for what is read again.
	patience = 300 * time.Millisecond

	// fetchTimeout is how long a list may take.
	fetchTimeout = 5 * time.Second
)

// Config says what is in a catalogue.
type Config struct {
	// Origin is the origin of the site, if it is known: scheme and host in lower
	// case, without the scheme's own port. With it, pages and images may be named
	// by absolute URLs of the site too.
	Origin string
	// Reserved reports whether a decoded path is not the site's, such as those
	// of the tool itself. Such items are refused, and such files left out.
	Reserved func(path string) bool

	Entries []Item // ID is set by the catalogue
	Lists   []List
	Folders []Folder

	Logger *zap.Logger // told when a source breaks and when it is whole again
}

// Folder is a directory of pages.
type Folder struct {
	Dir string // on disk
	// URL is the decoded path under which the site serves it; empty means /.
	URL string
	// Exclude reports whether a decoded path, of a page or of a file, is left
	// out. It may know exact paths, prefixes and endings: a folder is not even
	// opened if a name in it that no site has is excluded.
	Exclude func(path string) bool
}

// List is a JSON document with items:
//
//	{"items": [{"path": "/quiz-7", "title": "Quiz 7", "text": "…", "image": "/7.png",
//	  "score_maximum": 50, "resource_id": "quiz-7", "tag": "grade", "custom": {"level": "2"}}]}
//
// or the array alone. Only path, which may be called url, and title are needed.
type List struct {
	Name string // for the log
	// Fetch gets it, at most [MaxList] bytes. See [File].
	Fetch func(context.Context) ([]byte, error)
}

// Page is a page of results.
type Page struct {
	Items []Item
	Total int // how many match
	Whole int // how many there are
	// Stale says that a source was being read again, and has not been waited for.
	Stale bool
	// Incomplete says that a source could not be read, or not to its end. What
	// was last read of it is there.
	Incomplete bool
}

// Catalog is a catalogue. Its methods may be called at the same time.
type Catalog struct {
	logger  *zap.Logger
	sources []*source
	index   atomic.Pointer[index]

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	build sync.Mutex // makes indexes
	parts [][]*record

	mu     sync.Mutex
	closed bool
}

// source is something that is read again and again.
type source struct {
	name  string
	part  int // of the catalogue
	every time.Duration
	// load reads it. It is not called twice at a time.
	load func(context.Context) (reading, error)

	// Guarded by Catalog.mu.
	running chan struct{} // closed after the reading under way, nil if there is none
	read    bool          // once at least, be it in vain
	due     time.Time
	trouble string // of the last reading
}

// reading is what a source has.
type reading struct {
	records []*record
	changed bool
	// partial says what is missing.
	partial string
}

// New makes a catalogue. It opens nothing, but an entry that cannot be is an
// error.
func New(cfg Config) (*Catalog, error) {
	s := &site{origin: cfg.Origin, reserved: cfg.Reserved}
	entries, err := newEntries(cfg.Entries, s)
	if err != nil {
		return nil, err
	}
	c := &Catalog{logger: cfg.Logger, parts: [][]*record{entries}}
	if c.logger == nil {
		c.logger = zap.NewNop()
	}
	for _, l := range cfg.Lists {
		c.add(l.Name, listEvery, (&list{fetch: l.Fetch, site: s}).load)
	}
	for _, f := range cfg.Folders {
		folder, err := newFolder(f, s)
		if err != nil {
			return nil, err
		}
		c.add(f.Dir, folderEvery, folder.load)
	}
	c.index.Store(newIndex(c.parts))
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

func (c *Catalog) add(name string, every time.Duration, load func(context.Context) (reading, error)) {
	c.sources = append(c.sources, &source{name: name, part: len(c.parts), every: every, load: load})
	c.parts = append(c.parts, nil)
}

// Close ends all reading. What was read can still be searched.
func (c *Catalog) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
	return nil
}

// Search returns the items in which all words of the query occur, whatever case
// and accents they are written with: best first, equal ones by title, with the
// numbers in it by their value. An empty query finds everything.
//
// Before the first reading is complete it waits; an [ErrLoading] says that ctx
// ended before that.
func (c *Catalog) Search(ctx context.Context, query string, offset, limit int) (Page, error) {
	p, err := c.refresh(ctx)
	if err != nil {
		return Page{}, err
	}
	x := c.index.Load()
	p.Whole = len(x.records)
	p.Items, p.Total = x.search(query, max(offset, 0), min(max(limit, 0), MaxPage))
	return p, nil
}

// Find returns the item with that identity, if there is one. It waits as
// [Catalog.Search] does.
func (c *Catalog) Find(ctx context.Context, id string) (Item, bool, error) {
	if r := c.index.Load().find(id); r != nil {
		return r.Item, true, nil
	}
	if _, err := c.refresh(ctx); err != nil {
		return Item{}, false, err
	}
	if r := c.index.Load().find(id); r != nil {
		return r.Item, true, nil
	}
	return Item{}, false, nil
}

// refresh has everything read that is due, and waits as long as one should.
func (c *Catalog) refresh(ctx context.Context) (Page, error) {
	first, again := c.start()
	for _, done := range first {
		select {
		case <-done:
		case <-ctx.Done():
			return Page{}, fmt.Errorf("%w: %w", ErrLoading, ctx.Err())
		}
	}
	var p Page
	if len(again) > 0 {
		enough, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		for _, done := range again {
			select {
			case <-done:
			case <-enough.Done():
				p.Stale = true
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.Incomplete = slices.ContainsFunc(c.sources, func(s *source) bool { return !s.read || s.trouble != "" })
	return p, nil
}

// start begins to read what is due, and returns what ends with the readings
// under way: those of sources that have never been read, and others.
func (c *Catalog) start() (first, again []<-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for _, s := range c.sources {
		if s.running == nil && !now.Before(s.due) && !c.closed {
			s.running = make(chan struct{})
			c.wg.Go(func() { c.read(s) })
		}
		switch {
		case s.running == nil:
		case s.read:
			again = append(again, s.running)
		default:
			first = append(first, s.running)
		}
	}
	return first, again
}

func (c *Catalog) read(s *source) {
	began := time.Now()
	got, err := s.load(c.ctx)
	if err == nil && got.changed {
		c.replace(s.part, got.records)
	}
	trouble := got.partial
	if err != nil {
		trouble = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	took := time.Since(began)
	s.due = began.Add(took + max(s.every, restFactor*took))
	if c.ctx.Err() == nil {
		c.tell(s.name, s.trouble, trouble)
	}
	s.trouble, s.read = trouble, true
	close(s.running)
	s.running = nil
}

// tell logs what changed about a source: what is broken is not said every time
// that somebody looks.
func (c *Catalog) tell(name, before, now string) {
	if now == before {
		return
	}
	if now == "" {
		c.logger.Info("items for deep linking: readable again", zap.String("source", name))
		return
	}
	c.logger.Warn("items for deep linking: a source is not read, or not to its end; what it had before stays", zap.String("source", name), zap.String("error", now))
}

func (c *Catalog) replace(part int, records []*record) {
	c.build.Lock()
	defer c.build.Unlock()
	c.parts[part] = records
	c.index.Store(newIndex(c.parts))
}

// newEntries checks the entries of the configuration.
func newEntries(items []Item, s *site) ([]*record, error) {
	records := make([]*record, 0, len(items))
	seen := make(map[string]bool, len(items))
	for _, it := range items {
		at := it.Path
		if err := s.check(&it); err != nil {
			return nil, fmt.Errorf("item %s: %w", at, err)
		}
		if seen[it.ID] {
			return nil, fmt.Errorf("item %s: there is another one with the identity %s: give each a resource_id of its own", at, it.ID)
		}
		seen[it.ID] = true
		it.Title = cmp.Or(it.Title, titleOf(it.Path))
		records = append(records, newRecord(it))
	}
	return records, nil
}
