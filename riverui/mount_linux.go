package webui

import (
	"os"

	"golang.org/x/sys/unix"
)

// readOnlyMount reports whether a file lies on a file system that is mounted read-only.
func readOnlyMount(file *os.File) bool {
	var stat unix.Statfs_t
	return unix.Fstatfs(int(file.Fd()), &stat) == nil && stat.Flags&unix.ST_RDONLY != 0 //nolint:gosec // file descriptors are small
}
