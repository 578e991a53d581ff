//go:build unix

package catalog

import (
	"io/fs"
	"syscall"
)

// inode tells files apart that were replaced by others of the same size and
// time, as build systems make them.
func inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Ino) //nolint:unconvert // narrower on some systems
	}
	return 0
}
