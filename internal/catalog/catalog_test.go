package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// long ago, for the clock of a synctest bubble too, which starts in 2000.
var longAgo = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)

func write(t testing.TB, dir, name, content string, changed time.Time) {
	t.Helper()
	p := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(p, changed, changed); err != nil {
		t.Fatal(err)
	}
}

func titled(title string) string { return "<!doctype html><title>" + title + "</title>" }

func open(t testing.TB, cfg Config) *Catalog {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func search(t testing.TB, c *Catalog, query string) Page {
	t.Helper()
	p, err := c.Search(t.Context(), query, 0, MaxPage)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func titles(p Page) string {
	var s []string
	for _, it := range p.Items {
		s = append(s, it.Title)
	}
	return strings.Join(s, ", ")
}

func expectTitles(t testing.TB, c *Catalog, want string) {
	t.Helper()
	if got := titles(search(t, c, "")); got != want {
		t.Errorf("titles %q, expected %q", got, want)
	}
}

func fixed(doc string) List {
	return List{Name: "list", Fetch: func(context.Context) ([]byte, error) { return []byte(doc), nil }}
}

func TestSourcesTogether(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "quiz.html", titled("The page's own title"), longAgo)
	write(t, dir, "other.html", titled("Other page"), longAgo)
	write(t, dir, "listed.html", titled("Not this one"), longAgo)
	c := open(t, Config{
		Entries: []Item{
			{Path: "/quiz.html", Title: "Quiz 7", ScoreMaximum: 50, ResourceID: "quiz-7", Tag: "grade", Image: "/7.png", Custom: map[string]string{"a": "b"}},
			{Path: "/ohne_titel.html"},
			{Path: "/quiz.html", Title: "Quiz 7 again", ResourceID: "quiz-7b"},
		},
		Lists: []List{fixed(`[{"path":"/listed.html","title":"Listed"},{"path":"/quiz.html","title":"Hidden by the entry"},
			{"path":"/elsewhere","title":"Same identity","resource_id":"quiz-7"}]`)},
		Folders: []Folder{{Dir: dir}},
	})
	expectTitles(t, c, "Listed, Ohne titel, Other page, Quiz 7, Quiz 7 again")

	it, ok, err := c.Find(t.Context(), "quiz-7")
	if err != nil || !ok {
		t.Fatalf("the entry is not found by its resource_id: %v", err)
	}
	if it.Path != "/quiz.html" || it.ScoreMaximum != 50 || it.Tag != "grade" || it.Custom["a"] != "b" || it.ID != "quiz-7" || it.Image != "/7.png" {
		t.Errorf("entry: %+v", it)
	}
	if it, ok, _ := c.Find(t.Context(), "/other.html"); !ok || it.Title != "Other page" {
		t.Errorf("a page is not found by its path: %+v", it)
	}
	for _, id := range []string{"", "/", "/nothing.html", "/quiz.html", "quiz-"} {
		if it, ok, _ := c.Find(t.Context(), id); ok {
			t.Errorf("Find(%q) found %+v", id, it)
		}
	}
}

func TestEntriesRefused(t *testing.T) {
	reserved := func(p string) bool { return p == "/lti" || strings.HasPrefix(p, "/lti/") }
	for _, tc := range []struct {
		name  string
		items []Item
		want  string
	}{
		{"another site", []Item{{Path: "https://evil.example/x"}}, "item https://evil.example/x: path: expected a path of this site"},
		{"the tool's own", []Item{{Path: "/lti/launch"}}, "not the site's own"},
		{"the tool's own, encoded", []Item{{Path: "/%6cti/launch"}}, "not the site's own"},
		{"score", []Item{{Path: "/x", ScoreMaximum: -1}}, "score_maximum"},
		{"image", []Item{{Path: "/x", Image: "https://evil.example/x.png"}}, "image"},
		{"resource_id", []Item{{Path: "/x", ResourceID: strings.Repeat("x", 256)}}, "resource_id"},
		{"tag", []Item{{Path: "/x", Tag: "a\nb"}}, "tag"},
		{"custom", []Item{{Path: "/x", Custom: map[string]string{"": "x"}}}, "custom"},
		{"twice", []Item{{Path: "/x"}, {Path: "/x", Title: "X"}}, "another one with the identity /x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := New(Config{Entries: tc.items, Reserved: reserved}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, expected one with %q", err, tc.want)
			}
		})
	}
	if _, err := New(Config{Origin: "https://tool.example", Entries: []Item{{Path: "https://tool.example/x"}}}); err != nil {
		t.Errorf("an absolute URL of the site: %v", err)
	}
	if _, err := New(Config{Folders: []Folder{{Dir: ".", URL: "/../x"}}}); err == nil {
		t.Error("a folder at /../x was taken")
	}
}

// A slow app delays the first page, up to the caller's patience, and later ones
// by a moment.
func TestSlowList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		answers := make(chan string)
		c := open(t, Config{Lists: []List{{Name: "app", Fetch: func(ctx context.Context) ([]byte, error) {
			calls.Add(1)
			select {
			case doc := <-answers:
				return []byte(doc), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}}}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Search(ctx, "", 0, 10); !errors.Is(err, ErrLoading) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("first search: %v, expected ErrLoading", err)
		}
		if _, _, err := c.Find(ctx, "/a"); !errors.Is(err, ErrLoading) {
			t.Fatalf("first find: %v, expected ErrLoading", err)
		}
		// Many who ask wait for one reading.
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if got := titles(search(t, c, "")); got != "A" {
					t.Errorf("titles %q", got)
				}
			})
		}
		synctest.Wait()
		answers <- `[{"path":"/a","title":"A"}]`
		wg.Wait()
		if n := calls.Load(); n != 1 {
			t.Errorf("%d readings at a time", n)
		}

		time.Sleep(listEvery)
		began := time.Now()
		p := search(t, c, "")
		if took := time.Since(began); took != patience {
			t.Errorf("waited %v for a reading again", took)
		}
		if titles(p) != "A" || !p.Stale || p.Incomplete {
			t.Errorf("while it is read again: %+v", p)
		}
		answers <- `[{"path":"/a","title":"B"}]`
		synctest.Wait()
		if p := search(t, c, ""); titles(p) != "B" || p.Stale {
			t.Errorf("after it was read again: %+v", p)
		}
		if n := calls.Load(); n != 2 {
			t.Errorf("%d readings, expected 2", n)
		}
		// An answer that does not come counts as an error.
		time.Sleep(time.Minute)
		search(t, c, "")
		time.Sleep(fetchTimeout)
		if p := search(t, c, ""); titles(p) != "B" || p.Stale || !p.Incomplete {
			t.Errorf("after no answer: %+v", p)
		}
	})
}

func TestBrokenListKeepsTheLastGoodOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "items.json")
		core, logs := observer.New(zap.InfoLevel)
		c := open(t, Config{Lists: []List{{Name: "items.json", Fetch: File(file)}}, Entries: []Item{{Path: "/x", Title: "X"}}, Logger: zap.New(core)})

		if p := search(t, c, ""); titles(p) != "X" || !p.Incomplete {
			t.Errorf("without the file: %+v", p)
		}
		put := func(doc string) {
			if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		put(`[{"path":"/a","title":"A"}]`)
		if p := search(t, c, ""); titles(p) != "A, X" || p.Incomplete {
			t.Errorf("with the file: %+v", p)
		}
		whole := c.index.Load()
		for range 3 {
			put(`[{"path":"/a","title":"A"},{"path":"//evil.example","title":"B"}]`)
			if p := search(t, c, ""); titles(p) != "A, X" || !p.Incomplete {
				t.Errorf("with a broken file: %+v", p)
			}
		}
		put(`[{"path":"/a","title":"A"}]`)
		if p := search(t, c, ""); titles(p) != "A, X" || p.Incomplete {
			t.Errorf("with the good file again: %+v", p)
		}
		if c.index.Load() != whole {
			t.Error("the index was made anew from what it had before")
		}
		var said []string
		for _, e := range logs.TakeAll() {
			said = append(said, e.Level.String()+" "+fmt.Sprint(e.ContextMap()["error"]))
		}
		if len(said) != 4 || !strings.HasPrefix(said[0], "warn open ") || !strings.HasPrefix(said[1], "info") ||
			said[2] != "warn items[1]: path: expected a path of this site, which begins with one slash" || !strings.HasPrefix(said[3], "info") {
			t.Errorf("log: %q", said)
		}
	})
}

// Nothing of a catalogue outlives it; what was read stays. (A goroutine that is
// left over fails the bubble.)
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, calls, ended := false, 0, false
		c, err := New(Config{Lists: []List{{Name: "app", Fetch: func(ctx context.Context) ([]byte, error) {
			if calls++; slow {
				<-ctx.Done()
				time.Sleep(time.Second) // clears up
				ended = true
				return nil, ctx.Err()
			}
			return []byte(`[{"path":"/a","title":"A"}]`), nil
		}}}})
		if err != nil {
			t.Fatal(err)
		}
		expectTitles(t, c, "A")
		slow = true
		time.Sleep(time.Minute)
		if p := search(t, c, ""); !p.Stale {
			t.Fatal("no reading is under way")
		}
		began := time.Now()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != time.Second || !ended {
			t.Errorf("Close waited %v for the reading under way", took)
		}
		time.Sleep(time.Minute)
		if p := search(t, c, ""); titles(p) != "A" || p.Stale || calls != 2 {
			t.Errorf("after Close: %+v, %d readings", p, calls)
		}
		if err := c.Close(); err != nil {
			t.Errorf("Close again: %v", err)
		}
	})
	c, err := New(Config{Folders: []Folder{{Dir: t.TempDir()}}})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if p := search(t, c, ""); !p.Incomplete {
		t.Error("what was never read counts as complete")
	}
}

func TestPaging(t *testing.T) {
	var items []Item
	for i := range 500 {
		items = append(items, Item{Path: fmt.Sprintf("/%d", i), Title: fmt.Sprintf("Chapter %d", i)})
	}
	slices.Reverse(items)
	c := open(t, Config{Entries: items})
	for _, tc := range []struct {
		query         string
		offset, limit int
		first, last   string
		count, total  int
	}{
		{"", 0, 3, "Chapter 0", "Chapter 2", 3, 500},
		{"", 10, 2, "Chapter 10", "Chapter 11", 2, 500},
		{"", 499, 10, "Chapter 499", "Chapter 499", 1, 500},
		{"", 500, 10, "", "", 0, 500},
		{"", 1 << 40, 10, "", "", 0, 500},
		{"", -5, 1, "Chapter 0", "Chapter 0", 1, 500},
		{"", 0, 0, "", "", 0, 500},
		{"", 0, -1, "", "", 0, 500},
		{"", 0, 1000, "Chapter 0", "Chapter 199", MaxPage, 500},
		{"chapter 49", 0, 3, "Chapter 49", "Chapter 491", 3, 15}, // itself, 490 to 499, then 149 and its like
		{"chapter 49", 11, 100, "Chapter 149", "Chapter 449", 4, 15},
	} {
		p, err := c.Search(t.Context(), tc.query, tc.offset, tc.limit)
		if err != nil {
			t.Fatal(err)
		}
		var first, last string
		if n := len(p.Items); n > 0 {
			first, last = p.Items[0].Title, p.Items[n-1].Title
		}
		if first != tc.first || last != tc.last || len(p.Items) != tc.count || p.Total != tc.total || p.Whole != 500 {
			t.Errorf("Search(%q, %d, %d): %d items from %q to %q, total %d of %d", tc.query, tc.offset, tc.limit, len(p.Items), first, last, p.Total, p.Whole)
		}
	}
}

// Searches, changes of files and Close at the same time, for the race detector.
func TestTogether(t *testing.T) {
	dir := t.TempDir()
	for i := range 50 {
		write(t, dir, fmt.Sprintf("%d.html", i), titled(fmt.Sprint(i)), longAgo)
	}
	n := 0
	c := open(t, Config{Folders: []Folder{{Dir: dir}}, Lists: []List{{Name: "app", Fetch: func(context.Context) ([]byte, error) {
		n++ // one reading at a time
		return fmt.Appendf(nil, `[{"path":"/app","title":"App %d"}]`, n), nil
	}}}})
	for _, s := range c.sources {
		s.every = 0
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 30 {
				if p, err := c.Search(context.Background(), "", 0, 100); err != nil || p.Total < 50 {
					t.Errorf("%d found, %v", p.Total, err)
				}
				if _, ok, err := c.Find(context.Background(), "/7.html"); err != nil || !ok {
					t.Errorf("a page was lost: %v", err)
				}
				if i == 0 {
					write(t, dir, "50.html", titled(fmt.Sprint(time.Now())), time.Now())
				}
			}
		})
	}
	wg.Wait()
	_ = c.Close()
}
