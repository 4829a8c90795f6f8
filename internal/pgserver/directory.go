package pgserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// longestSocketDir leaves room for /.s.PGSQL.NNNNN in the 103 bytes that macOS allows a socket's path.
const longestSocketDir = 103 - len("/.s.PGSQL.65535")

// directory is a server's private directory. It holds the data (or a link to it), the socket and the log. Its lock file is
// locked while its owner lives: the kernel releases the lock however the owner dies.
type directory struct {
	path string
	lock *os.File
}

func (d *directory) data() string { return filepath.Join(d.path, "data") }

func lockFile(path string) string { return path + ".lock" }

// baseDirectory returns the directory of this user's private directories. It belongs to this user alone; if root, the server's
// account can pass through it but not list it.
func baseDirectory(as *account) (string, error) {
	var failed []error
	for _, temp := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		base, err := baseIn(temp, as)
		if err == nil {
			return base, nil
		}
		failed = append(failed, err)
	}
	return "", fmt.Errorf("find a directory for a private PostgreSQL: %w: set TMPDIR to a directory that all users can enter",
		errors.Join(failed...))
}

func baseIn(temp string, as *account) (string, error) {
	base := filepath.Join(temp, "iuworker-"+strconv.Itoa(os.Geteuid()))
	if len(base)+len("/01234567") > longestSocketDir {
		return "", fmt.Errorf("%s is too long a path for a socket", base)
	}
	mode := os.FileMode(0o700)
	if as != nil {
		mode = 0o711
	}
	if err := os.Mkdir(base, mode); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(base)
	if err != nil {
		return "", err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(owner.Uid) != os.Geteuid() {
		return "", fmt.Errorf("%s is not a directory of this user", base)
	}
	if err := os.Chmod(base, mode); err != nil {
		return "", err
	}
	return base, as.reaches(base)
}

// claim creates a private directory and locks it.
func claim(ctx context.Context, base string) (*directory, error) {
	for ctx.Err() == nil {
		path := filepath.Join(base, fmt.Sprintf("%08x", rand.Uint32()))
		lock, err := os.OpenFile(lockFile(path), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("create a private directory: %w", err)
		}
		if !tryLock(lock) {
			lock.Close() //nolint:errcheck // a cleaner came between the two calls; it removes the file
			continue
		}
		d := &directory{path: path, lock: lock}
		if err := os.Mkdir(path, 0o700); err != nil {
			return nil, errors.Join(fmt.Errorf("create a private directory: %w", err), d.remove())
		}
		return d, nil
	}
	return nil, ctx.Err()
}

// tryLock locks a lock file, unless another process has locked it or it is no longer the file at its path.
func tryLock(lock *os.File) bool {
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return false
	}
	held, heldErr := lock.Stat()
	named, namedErr := os.Stat(lock.Name())
	return heldErr == nil && namedErr == nil && os.SameFile(held, named)
}

// remove removes the directory, then its lock file, so that no directory stays without one. It retries for 2 s: processes of a
// killed server may still write.
func (d *directory) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var err error
	poll(ctx, func() bool {
		err = os.RemoveAll(d.path)
		return !errors.Is(err, syscall.ENOTEMPTY)
	})
	if err != nil {
		d.lock.Close() //nolint:errcheck // the next start tries again
		return fmt.Errorf("remove the private directory: %w", err)
	}
	return errors.Join(os.Remove(lockFile(d.path)), d.lock.Close())
}

// cleanStale ends the servers of killed programs and removes their directories.
func cleanStale(ctx context.Context, base string, logger *slog.Logger) error {
	locks, err := filepath.Glob(filepath.Join(base, lockFile("*")))
	if err != nil {
		return fmt.Errorf("find leftovers: %w", err)
	}
	var failed []error
	for _, name := range locks {
		failed = append(failed, cleanOne(ctx, name, logger))
	}
	return errors.Join(failed...)
}

// cleanOne removes the directory of a lock file, unless its owner lives and holds the lock.
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

// endServer ends the server of a leftover directory, if one runs, by an immediate shutdown: a data directory that is kept
// recovers at its next start.
func (d *directory) endServer(ctx context.Context) error {
	pid := d.serverPID(ctx)
	if pid == 0 {
		return nil
	}
	for _, signal := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end the leftover server %d: %w", pid, err)
		}
		grace, cancel := context.WithTimeout(ctx, killGrace)
		ended := poll(grace, func() bool { return !d.runs(ctx, pid) })
		cancel()
		if ended {
			return nil
		}
	}
	return fmt.Errorf("end the leftover server %d: it is still there", pid)
}

// serverPID returns the process that postmaster.pid names, or 0 unless it is this directory's server.
func (d *directory) serverPID(ctx context.Context) int {
	content, err := os.ReadFile(filepath.Join(d.data(), "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 || !d.runs(ctx, pid) {
		return 0
	}
	return pid
}

// runs reports whether a process is this directory's server: only that has the directory's random name in its arguments. A
// zombie has none.
func (d *directory) runs(ctx context.Context, pid int) bool {
	arguments := commandLine(ctx, pid)
	return len(arguments) >= 3 && filepath.Base(arguments[0]) == "postgres" && arguments[1] == "-D" && arguments[2] == d.data()
}

// commandLine returns a process's arguments from /proc or ps, or nil if the process does not exist.
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

// poll waits until a condition holds, and reports whether it held before ctx ended.
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
