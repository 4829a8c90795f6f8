package bench

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// clockTicks is the kernel's USER_HZ, which is 100 wherever Go runs.
const clockTicks = 100

// ownCPU returns the CPU time that this process has used, and its children that ended.
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

// ownRSS returns this process's resident memory in bytes, 0 if it is not known.
func ownRSS() int64 {
	stat, err := statOf(os.Getpid())
	if err != nil {
		return 0
	}
	return int64(stat.ResidentMemory())
}

// loadAverage returns a sentence with the machine's load, "" if it is not known.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	return "Load average at the end, this run's included: " + strings.Join(strings.Fields(string(text))[:3], " ")
}

func statOf(pid int) (procfs.ProcStat, error) {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return procfs.ProcStat{}, err
	}
	return process.Stat()
}

// cpuOf returns the CPU time of a process and of its children that ended.
func cpuOf(stat procfs.ProcStat) time.Duration {
	ticks := int(stat.UTime) + int(stat.STime) + stat.CUTime + stat.CSTime //nolint:gosec // the seconds of a process
	return time.Duration(ticks) * time.Second / clockTicks
}

// postmaster returns the pid of the server, 0 if it runs elsewhere: one of this machine's processes must be the backend that
// names the scratch database in its title.
func (s *scratch) postmaster(ctx context.Context) (int, error) {
	var pid int
	if err := s.pool.QueryRow(ctx, "SELECT pg_catalog.pg_backend_pid()").Scan(&pid); err != nil {
		return 0, fmt.Errorf("ask for the backend's pid: %w", err)
	}
	title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if here := err == nil && strings.Contains(string(title), s.name); !here {
		return 0, nil
	}
	stat, err := statOf(pid)
	return stat.PPID, err
}

// serverCPU returns the CPU time that a server's processes have used.
func serverCPU(postmaster int) (time.Duration, error) {
	stat, err := statOf(postmaster)
	if err != nil {
		return 0, err
	}
	total := cpuOf(stat)
	processes, err := procfs.AllProcs()
	if err != nil {
		return 0, err
	}
	for _, process := range processes {
		if stat, err := process.Stat(); err == nil && stat.PPID == postmaster {
			total += cpuOf(stat)
		}
	}
	return total, nil
}
