package pgserver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// longestSocketDir leaves room for /.s.PGSQL.NNNNN in the 103 bytes that macOS allows a socket's path.
const longestSocketDir = 103 - len("/.s.PGSQL.65535")

const (
	removeTries = 20
	removePause = 100 * time.Millisecond
)

// directory is a server's private directory. It holds the data (or a link to it), the socket and the log. The
// lock file beside it is locked while its owner lives: the kernel lets go of it, however the owner died.
type directory struct {
	path string
	lock *os.File
}

func (d *directory) data() string { return filepath.Join(d.path, "data") }

func lockFile(path string) string { return path + ".lock" }

// baseDirectory is where the private directories of this user's servers lie. It is this user's own; for root
// it lets the server's account pass through, and nobody look around.
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
	if info.Mode().Perm() != mode {
		if err := os.Chmod(base, mode); err != nil {
			return "", err
		}
	}
	return base, as.reaches(base)
}

// claim makes a new private directory and locks it.
func claim(ctx context.Context, base string) (*directory, error) {
	for ctx.Err() == nil {
		name := make([]byte, 4)
		_, _ = rand.Read(name) // never fails
		path := filepath.Join(base, hex.EncodeToString(name))
		lock, err := os.OpenFile(lockFile(path), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("make a private directory: %w", err)
		}
		if !tryLock(lock) {
			lock.Close() //nolint:errcheck // a cleaner was here between the two calls; it removes the file
			continue
		}
		d := &directory{path: path, lock: lock}
		if err := os.Mkdir(path, 0o700); err != nil {
			return nil, errors.Join(fmt.Errorf("make a private directory: %w", err), d.remove())
		}
		return d, nil
	}
	return nil, ctx.Err()
}

// tryLock locks a lock file, unless somebody has it, or it is not the one at its path any more.
func tryLock(lock *os.File) bool {
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return false
	}
	held, err := lock.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(lock.Name())
	return err == nil && os.SameFile(held, named)
}

// remove removes the directory, then its lock file: a directory without one is never left behind. Processes of a
// server that was killed may write for another moment.
func (d *directory) remove() error {
	err := os.RemoveAll(d.path)
	for try := 1; try < removeTries && errors.Is(err, syscall.ENOTEMPTY); try++ {
		time.Sleep(removePause)
		err = os.RemoveAll(d.path)
	}
	if err != nil {
		d.lock.Close() //nolint:errcheck // the next start tries again
		return fmt.Errorf("remove the private directory: %w", err)
	}
	return errors.Join(os.Remove(lockFile(d.path)), d.lock.Close())
}
