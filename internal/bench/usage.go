package bench

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/prometheus/procfs"

	"github.com/iu-core/iuworker/internal/retry"
)

// cost is the CPU time of a measurement.
type cost struct {
	server time.Duration
	client time.Duration // the worker and this measuring, or pgbench
	both   bool          // false: the server's is not known
}

// meter measures costs, on Linux. Those of the server are 0 if postmaster is 0: it runs on another machine.
type meter struct{ postmaster int }

// start begins a measurement. stop returns the cost, nil if it could not be read.
func (m meter) start() (stop func() *cost) {
	before, err := m.read()
	return func() *cost {
		after, errAfter := m.read()
		if err != nil || errAfter != nil {
			return nil
		}
		return &cost{server: after.server - before.server, client: after.client - before.client, both: m.postmaster != 0}
	}
}

func (m meter) read() (c cost, err error) {
	own, err := statOf(os.Getpid())
	if err != nil {
		return c, err
	}
	c.client = cpuOf(own)
	if m.postmaster == 0 {
		return c, nil
	}
	server, err := statOf(m.postmaster)
	if err != nil {
		return c, err
	}
	c.server = cpuOf(server)
	processes, err := procfs.AllProcs()
	for _, process := range processes {
		if stat, err := process.Stat(); err == nil && stat.PPID == m.postmaster {
			c.server += cpuOf(stat)
		}
	}
	return c, err
}

func statOf(pid int) (procfs.ProcStat, error) {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return procfs.ProcStat{}, err
	}
	return process.Stat()
}

// clockTicks is the kernel's USER_HZ, which is 100 wherever Go runs.
const clockTicks = 100

// cpuOf returns the CPU time of a process and of its children that ended.
func cpuOf(stat procfs.ProcStat) time.Duration {
	ticks := int(stat.UTime) + int(stat.STime) + stat.CUTime + stat.CSTime //nolint:gosec // the seconds of a process
	return time.Duration(ticks) * time.Second / clockTicks
}

// postmaster returns the pid of the server, 0 if it runs on another machine or hides its processes: the process with the pid
// of this session must name the scratch database in its title.
func (s *scratch) postmaster(ctx context.Context) (int, error) {
	var pid int
	if err := s.Read(ctx, "read the session's pid", []any{&pid}, "SELECT pg_catalog.pg_backend_pid()"); err != nil {
		return 0, err
	}
	title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if here := err == nil && strings.Contains(string(title), s.Name); !here {
		return 0, nil
	}
	stat, err := statOf(pid)
	return stat.PPID, err
}

// loadAverage returns a sentence with the machine's load, "" if it is not known.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	return "Load average at the end, this run's included: " + strings.Join(strings.Fields(string(text))[:3], " ")
}

// residentMB returns this process's resident memory in megabytes, 0 if it is not known.
func residentMB() float64 {
	stat, err := statOf(os.Getpid())
	if err != nil {
		return 0
	}
	return float64(stat.ResidentMemory()) / (1 << 20)
}

// watchMemory reads residentMB ten times per second until stop, which returns what it read. Call stop once.
func watchMemory(ctx context.Context) (stop func() []float64) {
	ctx, cancel := context.WithCancel(ctx)
	read := make(chan []float64, 1)
	go func() {
		values := []float64{residentMB()}
		for retry.Pause(ctx, 100*time.Millisecond) {
			values = append(values, residentMB())
		}
		read <- values
	}()
	return func() []float64 {
		cancel()
		return <-read
	}
}

// memory adds a line for the worker's memory during a drain, with a note on its growth.
func (b *bench) memory(name string, values []float64) {
	if len(values) == 0 || values[0] == 0 {
		b.note("The worker's memory was not measured: only Linux reports it.")
		return
	}
	m := measure(name, "MB", []float64{sampleOf(values).Max})
	if third := len(values) / 3; third > 0 {
		m.Note = fmt.Sprintf("resident, the most of %d readings, this measuring included; %.0f MB in the first third of them, %.0f MB in the last",
			len(values), sampleOf(values[:third]).Median, sampleOf(values[len(values)-third:]).Median)
	}
	b.add(m)
}
