//go:build unix

package catalog

import (
	"path/filepath"
	"syscall"
	"testing"
)

// What is no file is not opened: a pipe would never end.
func TestPipe(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.html"), 0o644); err != nil {
		t.Fatal(err)
	}
	symlink(t, "pipe.html", filepath.Join(dir, "link.html"))
	write(t, dir, "page.html", titled("Page"), longAgo)
	expectTitles(t, open(t, Config{Folders: []Folder{{Dir: dir}}}), "Page")
}
