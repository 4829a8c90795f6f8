package drill

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const errNoSpace = syscall.ENOSPC

// mountSmall mounts a file system of a limited size in memory.
func mountSmall(dir string, uid, gid, bytes int) error {
	return unix.Mount("iuworker-drill", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC,
		fmt.Sprintf("size=%d,mode=0711,uid=%d,gid=%d", bytes, uid, gid))
}

func unmount(dir string) error { return unix.Unmount(dir, 0) }

// ownerOf returns who owns a file.
func ownerOf(path string) (uid, gid int, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, fmt.Errorf("the owner of %s is not known", path)
	}
	return int(stat.Uid), int(stat.Gid), nil
}
