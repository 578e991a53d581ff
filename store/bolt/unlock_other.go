//go:build !unix || aix || solaris

package bolt

import "os"

// unlock does nothing: closing a file gives up its locks on this system.
func unlock(*os.File) {}
