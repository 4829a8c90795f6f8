package pgserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cleanStale ends servers whose programs were killed, and removes their directories.
func cleanStale(ctx context.Context, base string, logger *slog.Logger) error {
	locks, err := filepath.Glob(filepath.Join(base, lockFile("*")))
	if err != nil {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	var failed []error
	for _, name := range locks {
		failed = append(failed, cleanOne(ctx, name, logger))
	}
	return errors.Join(failed...)
}

// cleanOne removes the directory of a lock file that nobody holds: its owner is gone.
func cleanOne(ctx context.Context, name string, logger *slog.Logger) error {
	lock, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open a leftover's lock: %w", err)
	}
	if !tryLock(lock) {
		return lock.Close()
	}
	d := &directory{path: strings.TrimSuffix(name, lockFile("")), lock: lock}
	if err := d.endServer(ctx); err != nil {
		return errors.Join(err, lock.Close())
	}
	logger.InfoContext(ctx, "Postgres: removed what a killed program left behind", "directory", d.path)
	return d.remove()
}

// endServer ends the server that runs in a leftover directory, if one does: an immediate shutdown, since a data
// directory that stays recovers at its next start.
func (d *directory) endServer(ctx context.Context) error {
	pid := d.serverPID(ctx)
	if pid == 0 {
		return nil
	}
	for _, signal := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end the leftover server %d: %w", pid, err)
		}
		if d.waitEnded(ctx, pid) {
			return nil
		}
	}
	return fmt.Errorf("end the leftover server %d: it is still there", pid)
}

// serverPID returns the process that postmaster.pid names, or 0 unless it is a server of this very directory: the
// pid may be somebody else's by now, but only our server has the directory's random name on its command line.
func (d *directory) serverPID(ctx context.Context) int {
	content, err := os.ReadFile(filepath.Join(d.data(), "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		return 0
	}
	if !d.runs(ctx, pid) {
		return 0
	}
	return pid
}

// runs says whether a process is the server of this directory, and no zombie: those have no arguments.
func (d *directory) runs(ctx context.Context, pid int) bool {
	arguments := commandLine(ctx, pid)
	return len(arguments) >= 3 && filepath.Base(arguments[0]) == "postgres" && arguments[1] == "-D" && arguments[2] == d.data()
}

// commandLine returns a process's arguments, from /proc or from ps, or nothing if there is no such process.
func commandLine(ctx context.Context, pid int) []string {
	if content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		return strings.Split(string(content), "\x00")
	}
	out, err := exec.CommandContext(ctx, "ps", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return nil
	}
	return strings.Fields(string(out))
}

// waitEnded waits until a server that is not our child has ended.
func (d *directory) waitEnded(ctx context.Context, pid int) bool {
	ctx, cancel := context.WithTimeout(ctx, killGrace)
	defer cancel()
	return poll(ctx, func() bool { return !d.runs(ctx, pid) })
}

// poll waits until a condition holds, and reports whether it did before ctx ended.
func poll(ctx context.Context, condition func() bool) bool {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}
