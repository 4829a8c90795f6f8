package iutest

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	inMemory = "/dev/shm"

	// The servers of two packages, which go test runs at once on two cores, take about 2 GB at most.
	roomNeeded   = 4 << 30
	memoryNeeded = 8 << 30
)

// useMemory puts temporary files, and with them the data of servers, into memory if there is plenty: creating and dropping
// hundreds of databases then costs a quarter less CPU. TMPDIR, if it is set, decides instead.
func useMemory() {
	if os.Getenv("TMPDIR") == "" && holds(inMemory) {
		_ = os.Setenv("TMPDIR", inMemory) // cannot fail with these arguments
	}
}

// holds reports whether a directory lies in memory, has room for servers and can hold programs, and memory is not scarce.
func holds(dir string) bool {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC || fs.Flags&unix.ST_NOEXEC != 0 {
		return false
	}
	return fs.Bavail*uint64(fs.Bsize) >= roomNeeded && availableMemory() >= memoryNeeded //nolint:gosec // a size of blocks is positive
}

// availableMemory returns the bytes of memory that programs could use, or 0 if the kernel does not tell.
func availableMemory() uint64 {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer file.Close() //nolint:errcheck // it was read only
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), "MemAvailable:"); found {
			kilobytes, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64) // 0 if it fails
			return kilobytes << 10
		}
	}
	return 0
}
