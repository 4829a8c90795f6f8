package webui

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxSecrets = 1 << 20     // bytes of a file
	checkEvery = time.Second // at most: anybody may make a request
)

// secrets holds the users or tokens of a text. A file is read again when it changes. If its new contents are wrong, the old ones
// stay in use and the log says so once. It is safe for concurrent use.
type secrets[T any] struct {
	path, what string // "": there is no file
	parse      func(text string) (*T, error)
	logger     atomic.Pointer[slog.Logger]
	now        atomic.Pointer[T]

	mu      sync.Mutex
	checked time.Time   // when the file was checked for changes last
	info    os.FileInfo // of the file as it was read last
	broken  string      // what is wrong with it since
}

// open reads the file for the first time.
func (s *secrets[T]) open(path, what string, parse func(text string) (*T, error)) error {
	s.path, s.what, s.parse, s.checked = path, what, parse, time.Now()
	return s.read()
}

// set takes the result of a parse if it succeeded.
func (s *secrets[T]) set(parsed *T, err error) error {
	if err == nil {
		s.now.Store(parsed)
	}
	return err
}

func (s *secrets[T]) read() error {
	text, info, err := readSecrets(s.path, s.what)
	if err != nil {
		return fmt.Errorf("read the %s: %w", s.what, err)
	}
	if err := s.set(s.parse(text)); err != nil {
		return fmt.Errorf("the %s file %s: %w", s.what, s.path, err)
	}
	s.info, s.broken = info, ""
	return nil
}

// current returns the secrets. It checks the file for changes, at most once per second.
func (s *secrets[T]) current() *T {
	if s.path != "" && s.mu.TryLock() {
		if time.Since(s.checked) >= checkEvery {
			info, err := os.Stat(s.path)
			if err != nil || s.broken != "" || !os.SameFile(info, s.info) || !info.ModTime().Equal(s.info.ModTime()) || info.Size() != s.info.Size() {
				s.readAgain()
			}
			s.checked = time.Now()
		}
		s.mu.Unlock()
	}
	return s.now.Load()
}

// Reload reads the file again at once.
func (s *secrets[T]) Reload() {
	if s.path != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.readAgain()
	}
}

func (s *secrets[T]) readAgain() {
	err := s.read()
	logger := s.logger.Load()
	switch {
	case logger == nil:
	case err == nil:
		logger.Info("Pages: the " + s.what + " were read again")
	case s.broken != err.Error():
		logger.Warn("Pages: the "+s.what+" cannot be read again; what was read before stays in use", slog.String("error", err.Error()))
	}
	if err != nil {
		s.broken = err.Error()
	}
}

// secretLines calls parse for each line that is neither empty nor a comment. Its errors name the line.
func secretLines(text string, parse func(line string) error) error {
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\uFEFF")) {
		number++
		if trimmed := strings.TrimSpace(line); trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		if err := parse(strings.TrimRight(line, "\r\n")); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	return nil
}

// digestKey makes digests that reveal nothing outside of this process. Comparing them need not take constant time, because a caller
// cannot predict them.
type digestKey [32]byte

func newDigestKey() (key digestKey) {
	_, _ = rand.Read(key[:]) // never fails
	return key
}

func (key digestKey) digest(text string) [32]byte {
	mac := hmac.New(sha256.New, key[:])
	_, _ = mac.Write([]byte(text)) // a hash never fails
	return [32]byte(mac.Sum(nil))
}

// readSecrets reads a file. If anyone but its owner and its group may read it, it must have been mounted for this program.
func readSecrets(path, what string) (string, os.FileInfo, error) {
	file, err := os.Open(path) //nolint:gosec // an operator names the file
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	if err != nil {
		return "", nil, err
	}
	forbidden := os.FileMode(0o027)
	if mounted(path, file) {
		forbidden = 0o022 // only this program runs in the container
	}
	if mode := info.Mode().Perm(); mode&forbidden != 0 && runtime.GOOS != "windows" {
		return "", nil, fmt.Errorf("the %s file %s may be read or changed by others (mode %04o): run chmod 600 %s", what, path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSecrets))
	return string(text), info, err
}

// mounted reports whether a file was mounted for this program: in a Kubernetes volume, which links to it through ..data and
// makes it readable for everybody by default, or on a file system that is mounted read-only.
func mounted(path string, file *os.File) bool {
	if link, err := os.Readlink(path); err == nil && strings.HasPrefix(filepath.ToSlash(link), "..data/") {
		return true
	}
	return readOnlyMount(file)
}
