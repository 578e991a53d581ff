package bolt

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

func TestNoPermission(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // others may come as far as this
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"readonly": 0o500, "none": 0} {
		if err := os.Mkdir(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 {
		// Nothing is forbidden to root, so for the file system this thread is
		// somebody else.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := syscall.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := syscall.Setfsuid(0); err != nil {
				t.Error(err)
			}
		}()
	}
	for _, name := range []string{"readonly", "none"} {
		if _, err := Open(filepath.Join(dir, name, fileName), Options{}); !errors.Is(err, os.ErrPermission) {
			t.Errorf("Open in a folder that is %s: %v", name, err)
		}
	}
}
