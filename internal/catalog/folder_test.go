package catalog

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// excluding matches as the options of the Caddyfile do: exact paths, prefixes
// and endings.
func excluding(patterns ...string) func(string) bool {
	return func(p string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
				return strings.HasPrefix(p, prefix)
			}
			if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
				return strings.HasSuffix(p, suffix)
			}
			return p == pattern
		})
	}
}

func paths(p Page) string {
	var s []string
	for _, it := range p.Items {
		s = append(s, it.Path)
	}
	slices.Sort(s)
	return strings.Join(s, " ")
}

func symlink(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		if runtime.GOOS == "windows" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"index.html", "about.html", "old.HTM", "x.xhtml", "course/index.html", "course/index.htm", "course/1/index.html", "course/1/übung a.html", "100%.html",
		"style.css", "data.json", "notes.txt", "page.html.bak", "index.php", ".hidden.html", ".git/index.html", "course/.x/a.html", "directory.html/in.html",
	} {
		write(t, dir, name, "", longAgo)
	}
	if runtime.GOOS != "windows" {
		for _, name := range []string{`a\b.html`, "a\nb.html", "ask?.html", "a#b.html"} {
			write(t, dir, name, "", longAgo)
		}
	}
	write(t, dir, "draft.html", `<title>Draft</title><meta name="robots" content="noindex">`, longAgo)
	write(t, dir, "moved.html", `<title>Moved</title><meta http-equiv="refresh" content="0; url=about.html">`, longAgo)

	const want = "/ /100%25.html /about.html /course/ /course/1/ /course/1/%C3%BCbung%20a.html /course/index.htm /directory.html/in.html /old.HTM /x.xhtml"
	p := search(t, open(t, Config{Folders: []Folder{{Dir: dir}}}), "")
	got := strings.NewReplacer("/a%23b.html ", "", "/ask%3F.html ", "").Replace(paths(p))
	if got != want || p.Incomplete {
		t.Errorf("paths %s\nexpected %s", got, want)
	}

	// Under a path of its own, with some of it left out.
	for _, tc := range []struct {
		exclude []string
		want    string
	}{
		{[]string{"/wiki/course/*"}, "/wiki/ /wiki/100%25.html /wiki/about.html /wiki/directory.html/in.html /wiki/old.HTM /wiki/x.xhtml"},
		{[]string{"/wiki/course/1/*", "*.html"}, "/wiki/course/index.htm /wiki/old.HTM /wiki/x.xhtml"},
		{[]string{"/wiki/course/", "/wiki/course/1/*", "/wiki/a*", "*.HTM"}, "/wiki/ /wiki/100%25.html /wiki/course/index.htm /wiki/directory.html/in.html /wiki/x.xhtml"},
		{[]string{"/wiki/course/index.html", "/wiki/1*", "/wiki/directory.html/*", "*.htm"}, "/wiki/ /wiki/about.html /wiki/course/1/ /wiki/course/1/%C3%BCbung%20a.html /wiki/old.HTM /wiki/x.xhtml"},
		{[]string{"/*"}, ""},
	} {
		for _, url := range []string{"/wiki", "/wiki/"} {
			c := open(t, Config{Folders: []Folder{{Dir: dir, URL: url, Exclude: excluding(append(tc.exclude, "/wiki/ask?.html", "/wiki/a#b.html")...)}}})
			if got := paths(search(t, c, "")); got != tc.want {
				t.Errorf("%s without %q: %s\nexpected %s", url, tc.exclude, got, tc.want)
			}
		}
	}
	reserved := open(t, Config{Folders: []Folder{{Dir: dir}}, Reserved: excluding("/course/*", "/a*", "/100*", "/directory*", "*.htm", "*.HTM", "*.xhtml")})
	if got := paths(search(t, reserved, "")); got != "/" {
		t.Errorf("reserved paths: %s", got)
	}
}

func TestPageOfFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "course/q.html", `<title>Quiz</title><meta name="description" content="About"><meta property="og:image" content="https://tool.example/q.png">
		<meta name="lti:score-maximum" content="20">`+strings.Repeat(" ", maxHead), longAgo)
	write(t, dir, "late.html", strings.Repeat(" ", maxHead)+titled("Behind what is read"), longAgo)
	// Reading stops within a letter of one of these.
	write(t, dir, "big.html", strings.Repeat(" ", 1024)+titled("Before it: ü")+strings.Repeat("ü", maxHead), longAgo)
	write(t, dir, "big2.html", strings.Repeat(" ", 1024)+titled("Before it: ü2")+strings.Repeat("ü", maxHead), longAgo)
	c := open(t, Config{Origin: "https://tool.example", Folders: []Folder{{Dir: dir}}})
	expectTitles(t, c, "Before it: ü, Before it: ü2, Late, Quiz")
	it, _, _ := c.Find(t.Context(), "/course/q.html")
	if it.ID != it.Path || it.Text != "About" || it.Image != "/q.png" || it.ScoreMaximum != 20 || it.ResourceID != "" {
		t.Errorf("%+v", it)
	}
}

// A folder that is excluded as a whole may be large: it is not gone through.
func TestExcludedFolderIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "node_modules/a/b.html", "", longAgo)
	write(t, dir, "exact/b.html", "", longAgo)
	var asked []string
	exclude := excluding("/node_modules/*", "/exact/", "*.htm")
	c := open(t, Config{Folders: []Folder{{Dir: dir, Exclude: func(p string) bool {
		asked = append(asked, p)
		return exclude(p)
	}}}})
	if got := paths(search(t, c, "")); got != "/exact/b.html" {
		t.Errorf("paths %s", got)
	}
	if slices.ContainsFunc(asked, func(p string) bool { return strings.HasPrefix(p, "/node_modules/a") }) {
		t.Errorf("asked for %q", asked)
	}
}

// What a link leads to outside the folder has no title here.
func TestSymlinks(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	write(t, outside, "secret.html", titled("Secret"), longAgo)
	write(t, outside, "below/secret.html", titled("Secret"), longAgo)
	write(t, dir, "real.html", titled("Real"), longAgo)
	write(t, dir, "sub/page.html", titled("Page"), longAgo)
	symlink(t, filepath.Join(outside, "secret.html"), filepath.Join(dir, "absolute.html"))
	symlink(t, filepath.Join("..", filepath.Base(outside), "secret.html"), filepath.Join(dir, "relative.html"))
	symlink(t, filepath.Join("..", "..", filepath.Base(outside), "secret.html"), filepath.Join(dir, "sub", "relative.html"))
	symlink(t, outside, filepath.Join(dir, "folder"))
	symlink(t, "folder/secret.html", filepath.Join(dir, "through.html"))
	symlink(t, "nothing.html", filepath.Join(dir, "dangling.html"))
	symlink(t, "loop.html", filepath.Join(dir, "loop.html"))
	symlink(t, ".", filepath.Join(dir, "loop"))
	symlink(t, "sub", filepath.Join(dir, "sub.html"))
	symlink(t, "../real.html", filepath.Join(dir, "sub", "inside.html"))

	c := open(t, Config{Folders: []Folder{{Dir: dir}}})
	if got := paths(search(t, c, "")); got != "/real.html /sub/inside.html /sub/page.html" {
		t.Errorf("paths %s", got)
	}
	// The folder itself may be a link, as deployments have it.
	link := filepath.Join(outside, "current")
	symlink(t, dir, link)
	c = open(t, Config{Folders: []Folder{{Dir: link}}})
	if got := paths(search(t, c, "")); got != "/real.html /sub/inside.html /sub/page.html" {
		t.Errorf("paths behind a link: %s", got)
	}
}

func TestChangesAreNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "a.html", titled("A"), longAgo)
		write(t, dir, "b.html", titled("B"), longAgo)
		c := open(t, Config{Folders: []Folder{{Dir: dir}}})
		expectTitles(t, c, "A, B")

		write(t, dir, "a.html", titled("A, newer"), longAgo.Add(time.Second))
		expectTitles(t, c, "A, B") // not looked at so soon
		time.Sleep(folderEvery)
		expectTitles(t, c, "A, newer, B")

		for _, step := range []struct {
			what   string
			change func()
			want   string
		}{
			{"added", func() { write(t, dir, "sub/c.html", titled("C"), longAgo) }, "A, newer, B, C"},
			{"older time", func() { write(t, dir, "a.html", titled("A, older"), longAgo.Add(-time.Hour)) }, "A, older, B, C"},
			{"other size", func() { write(t, dir, "b.html", titled("B, longer"), longAgo) }, "A, older, B, longer, C"},
			{"replaced by one of the same size and time", func() {
				write(t, dir, "new", titled("B, langer"), longAgo)
				if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "b.html")); err != nil {
					t.Fatal(err)
				}
			}, "A, older, B, langer, C"},
			{"renamed", func() {
				if err := os.Rename(filepath.Join(dir, "sub"), filepath.Join(dir, "sub2")); err != nil {
					t.Fatal(err)
				}
			}, "A, older, B, langer, C"},
			{"hides itself", func() { write(t, dir, "a.html", "<meta name=robots content=noindex>", longAgo) }, "B, langer, C"},
			{"shows itself", func() { write(t, dir, "a.html", titled("A again"), longAgo) }, "A again, B, langer, C"},
			{"removed", func() { os.Remove(filepath.Join(dir, "b.html")) }, "A again, C"},
			{"folder removed", func() { os.RemoveAll(filepath.Join(dir, "sub2")) }, "A again"},
			{"just written", func() { write(t, dir, "d.html", titled("D1"), time.Now().Add(folderEvery)) }, "A again, D1"},
			// The clock of a file system is coarse: two writes may have one time.
			{"written again at the same time", func() { write(t, dir, "d.html", titled("D2"), time.Now()) }, "A again, D2"},
		} {
			if runtime.GOOS == "windows" && strings.HasPrefix(step.what, "replaced") {
				continue
			}
			step.change()
			time.Sleep(folderEvery)
			if got := titles(search(t, c, "")); got != step.want {
				t.Errorf("%s: %q, expected %q", step.what, got, step.want)
			}
		}
		if _, ok, _ := c.Find(t.Context(), "/b.html"); ok {
			t.Error("a page that was removed is still found")
		}
	})
}

// A page is read once, as long as its file is the same.
func TestUnchangedPagesAreNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "a.html", titled("A"), longAgo)
		c := open(t, Config{Folders: []Folder{{Dir: dir}}})
		expectTitles(t, c, "A")
		write(t, dir, "a.html", titled("B"), longAgo) // in place, same size, time set back
		time.Sleep(time.Minute)
		expectTitles(t, c, "A")
	})
}

// A folder that is gone for a moment, as in a deployment, takes nothing along.
func TestFolderGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "site")
		core, logs := observer.New(zap.InfoLevel)
		c := open(t, Config{Folders: []Folder{{Dir: dir}}, Logger: zap.New(core)})
		if p := search(t, c, ""); p.Whole != 0 || !p.Incomplete {
			t.Errorf("without the folder: %+v", p)
		}
		write(t, dir, "a.html", titled("A"), longAgo)
		time.Sleep(time.Minute)
		if p := search(t, c, ""); titles(p) != "A" || p.Incomplete {
			t.Errorf("with the folder: %+v", p)
		}
		if err := os.Rename(dir, dir+".old"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if p := search(t, c, ""); titles(p) != "A" || !p.Incomplete {
			t.Errorf("without the folder again: %+v", p)
		}
		if n := logs.Len(); n != 3 {
			t.Errorf("%d lines in the log", n)
		}
	})
}

func TestFolderLimits(t *testing.T) {
	deep := t.TempDir()
	write(t, deep, strings.Repeat("d/", maxDepth)+"in.html", "", longAgo)
	write(t, deep, strings.Repeat("d/", maxDepth+1)+"out.html", "", longAgo)
	p := search(t, open(t, Config{Folders: []Folder{{Dir: deep}}}), "")
	if titles(p) != "In" || !p.Incomplete {
		t.Errorf("deep folders: %+v", p)
	}

	dir := t.TempDir()
	text := strings.Repeat("ﷺ", maxText) // 18 letters each, when folded
	for i := range 50 {
		write(t, dir, fmt.Sprintf("%d/%d.html", i%10, i), fmt.Sprintf("<title>%s</title><meta name=description content=%s>", text, text), longAgo)
	}
	for _, tc := range []struct {
		name   string
		pages  int
		memory int64
		whole  bool
	}{
		{"as it is", MaxItems, maxMemory, true},
		{"just as many", 50, maxMemory, true},
		{"one more", 49, maxMemory, false},
		{"too much text", MaxItems, 500_000, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := newFolder(Folder{Dir: dir}, new(site))
			if err != nil {
				t.Fatal(err)
			}
			f.pages, f.memory = tc.pages, tc.memory
			for range 2 { // a second reading finds the same
				got, err := f.load(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var size int64
				for _, r := range got.records {
					size += int64(r.size())
				}
				if n := len(got.records); n > tc.pages || size > tc.memory || n < 20 || (n == 50) != tc.whole || (got.partial == "") != tc.whole {
					t.Errorf("%d pages of %d bytes, partial %q", n, size, got.partial)
				}
			}
		})
	}
}
