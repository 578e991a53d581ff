package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxDepth   = 32      // folders in folders
	maxEntries = 1 << 20 // names that are looked at
	maxMemory  = 64 << 20
	maxWorkers = 4

	// racy is how long after a change a file may change once more, within the
	// resolution of the file system's clock, without a new time. Until then it is
	// read every time.
	racy = 2 * time.Second

	// unheard is the name of a page that only a prefix of its folder matches.
	unheard = "\x00"
)

// stamp changes when a file does.
type stamp struct {
	mtime, size int64
	inode       uint64
}

// file is a page that was found.
type file struct {
	name   string // below the folder, with slashes
	stamp  stamp  // zero if it has to be read again
	record *record
}

// folder reads a directory of pages.
type folder struct {
	dir     string
	base    string // decoded path, with slashes around it
	exclude func(string) bool
	site    *site
	pages   int   // at most
	memory  int64 // for them, at most

	files   []file // of the last reading, by name
	records []*record
}

func newFolder(cfg Folder, s *site) (*folder, error) {
	f := &folder{dir: cfg.Dir, base: strings.TrimSuffix(cfg.URL, "/") + "/", exclude: cfg.Exclude, site: s, pages: MaxItems, memory: maxMemory}
	if _, err := CleanPath(escape(f.base)); err != nil {
		return nil, fmt.Errorf("folder %s at %s: %w", cfg.Dir, cfg.URL, err)
	}
	if f.exclude == nil {
		f.exclude = func(string) bool { return false }
	}
	return f, nil
}

// isPage goes by the file's name, as file_server does.
func isPage(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".html", ".htm", ".xhtml":
		return true
	}
	return false
}

// load looks at all files, and reads those that changed.
func (f *folder) load(ctx context.Context) (reading, error) {
	began := time.Now()
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return reading{}, err
	}
	defer root.Close()
	w := &walk{folder: f, root: root}
	if err := w.dir(ctx, root, "", 0); err != nil {
		return reading{}, err
	}
	slices.SortFunc(w.files, func(a, b file) int { return strings.Compare(a.name, b.name) })

	var todo []*file
	var used atomic.Int64
	old := f.files
	for i := range w.files {
		now := &w.files[i]
		for len(old) > 0 && old[0].name < now.name {
			old = old[1:]
		}
		if len(old) == 0 || old[0].name != now.name || old[0].stamp != now.stamp {
			todo = append(todo, now)
		} else if now.record = old[0].record; now.record != nil {
			used.Add(int64(now.record.size()))
		}
	}
	if err := f.read(ctx, root, todo, &used); err != nil {
		return reading{}, err
	}
	var records []*record
	young, ahead := began.Add(-racy).UnixNano(), time.Now().Add(racy).UnixNano()
	for i := range w.files {
		now := &w.files[i]
		if now.stamp.mtime > young && now.stamp.mtime < ahead {
			now.stamp = stamp{}
		}
		if now.record != nil {
			records = append(records, now.record)
		}
	}
	if used.Load() > f.memory {
		w.partial = fmt.Sprintf("the pages take more than %d bytes of memory: some are left out", f.memory)
	}
	changed := !slices.Equal(records, f.records)
	f.files, f.records = slices.Clip(w.files), slices.Clip(records)
	return reading{records: f.records, changed: changed, partial: w.partial}, nil
}

// walk is one way through a folder.
type walk struct {
	*folder
	root    *os.Root
	files   []file
	entries int
	partial string
}

// dir looks at one directory, which is rel below the root, and those in it. What
// cannot be opened is not there: file_server could not serve it either.
func (w *walk) dir(ctx context.Context, at *os.Root, rel string, depth int) error {
	d, err := at.Open(".")
	if err != nil {
		return cmp.Or(ctx.Err(), top(depth, err))
	}
	defer d.Close()
	var below []string
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := d.ReadDir(256)
		for _, e := range entries {
			if w.entries++; w.entries > maxEntries {
				w.partial = fmt.Sprintf("more than %d files of all kinds: the rest is left out", maxEntries)
				return nil
			}
			switch name := e.Name(); {
			case name[0] == '.':
			case isPage(name) && !e.IsDir() && len(w.files) == w.pages:
				w.partial = fmt.Sprintf("more than %d pages: the rest is left out", w.pages)
				return nil
			case e.IsDir():
				below = append(below, name)
			case isPage(name):
				w.file(at, rel, e)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return top(depth, err)
		}
	}
	for _, name := range below {
		switch {
		case w.exclude(w.base + rel + name + "/" + unheard):
		case depth == maxDepth:
			w.partial = fmt.Sprintf("folders lie more than %d deep: those below are left out", maxDepth)
		default:
			sub, err := at.OpenRoot(name)
			if err != nil {
				continue
			}
			err = w.dir(ctx, sub, rel+name+"/", depth+1)
			_ = sub.Close()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// top keeps an error of the folder itself. Others have only their pages missing.
func top(depth int, err error) error {
	if depth == 0 {
		return err
	}
	return nil
}

func (w *walk) file(at *os.Root, rel string, e fs.DirEntry) {
	var info fs.FileInfo
	var err error
	if e.Type()&fs.ModeSymlink != 0 {
		info, err = w.root.Stat(rel + e.Name()) // an error where it leads out
	} else {
		info, err = at.Lstat(e.Name())
	}
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	w.files = append(w.files, file{
		name:  rel + e.Name(),
		stamp: stamp{mtime: info.ModTime().UnixNano(), size: info.Size(), inode: inode(info)},
	})
}

// read reads pages, on half of the cores at most: the site has to be served.
func (f *folder) read(ctx context.Context, root *os.Root, todo []*file, used *atomic.Int64) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(max(runtime.GOMAXPROCS(0)/2, 1), maxWorkers, len(todo)) {
		wg.Go(func() {
			buf := make([]byte, maxHead)
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(todo) {
					return
				}
				r, ok := f.page(root, todo[i].name, buf)
				if r != nil && used.Add(int64(r.size())) > f.memory {
					r, ok = nil, false
				}
				if todo[i].record = r; !ok {
					todo[i].stamp = stamp{}
				}
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

// page reads a page. It returns nil for one that is not to be picked, and false
// if it could not be read this time.
func (f *folder) page(root *os.Root, name string, buf []byte) (*record, bool) {
	plain := f.base + name
	if f.exclude(plain) {
		return nil, true
	}
	if path.Base(plain) == "index.html" {
		plain = strings.TrimSuffix(plain, "index.html")
		if f.exclude(plain) {
			return nil, true
		}
	}
	at, err := f.site.page(escape(plain))
	if err != nil {
		return nil, true // a name that cannot be opened safely
	}
	in, err := root.Open(name)
	if err != nil {
		return nil, false
	}
	defer in.Close()
	n, err := io.ReadFull(in, buf)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, false
	}
	h := readHead(buf[:n])
	if h.hidden {
		return nil, true
	}
	it := Item{ID: at, Path: at, Title: cmp.Or(h.title, titleOf(at)), Text: h.text, ScoreMaximum: h.score}
	if h.image != "" {
		it.Image = f.site.image(h.image, at)
	}
	return newRecord(it), true
}

func escape(p string) string { return (&url.URL{Path: p}).EscapedPath() }
