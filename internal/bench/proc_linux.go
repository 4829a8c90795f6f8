package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTicks is the kernel's USER_HZ, which is 100 wherever Go runs.
const clockTicks = 100

// ownCPU answers the CPU time that this process has used, and those that it started and that ended.
func ownCPU() (time.Duration, error) {
	var total time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		if err := syscall.Getrusage(who, &usage); err != nil {
			return 0, fmt.Errorf("ask for the CPU time: %w", err)
		}
		total += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	return total, nil
}

// ownRSS answers this process's resident memory in bytes, 0 where it is not known.
func ownRSS() int64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// loadAverage answers a sentence on what the machine had to do, "" where that is not known.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	return "Load average at the end, this run's included: " + strings.Join(strings.Fields(string(text))[:3], " ")
}

// procStat is what /proc/<pid>/stat says of a process.
type procStat struct {
	name   string
	parent int
	cpu    time.Duration // its own and that of children that ended
}

func readStat(pid int) (procStat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, err
	}
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return procStat{}, fmt.Errorf("read /proc/%d/stat: %q", pid, text)
	}
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 15 {
		return procStat{}, fmt.Errorf("read /proc/%d/stat: %q", pid, text)
	}
	stat := procStat{name: string(text[open+1 : end])}
	if stat.parent, err = strconv.Atoi(fields[1]); err != nil {
		return procStat{}, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
	}
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return procStat{}, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
		}
		stat.cpu += time.Duration(ticks) * time.Second / clockTicks
	}
	return stat, nil
}

// postmaster answers the pid of the server on this machine, 0 where it runs elsewhere: one of its processes must be the
// backend that says so in its title.
func (s *scratch) postmaster(ctx context.Context) (int, error) {
	var pid int
	if err := s.pool.QueryRow(ctx, "SELECT pg_catalog.pg_backend_pid()").Scan(&pid); err != nil {
		return 0, fmt.Errorf("ask for the backend's pid: %w", err)
	}
	title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if here := err == nil && bytes.Contains(title, []byte(s.name)); !here {
		return 0, nil
	}
	stat, err := readStat(pid)
	return stat.parent, err
}

// serverCPU answers the CPU time that a server's processes have used.
func serverCPU(postmaster int) (time.Duration, error) {
	stat, err := readStat(postmaster)
	if err != nil {
		return 0, err
	}
	total := stat.cpu
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if stat, err := readStat(pid); err == nil && stat.parent == postmaster {
			total += stat.cpu
		}
	}
	return total, nil
}
