//go:build unix && !aix && !solaris

package bolt

import (
	"os"
	"syscall"
)

// unlock gives up bbolt's lock on a file that stays mapped.
func unlock(f *os.File) { _ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
