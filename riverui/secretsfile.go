package webui

import (
	"context"
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
	lookEvery  = time.Second // at most: everybody may make a request
)

// secrets hold the users or tokens that a text lists. If it comes from a file, that is read again when it changes; a new
// text that is wrong leaves the old one in use, and the log says so once. Safe for concurrent use.
type secrets[T any] struct {
	path, what string // "": there is no file
	parse      func(text string) (*T, error)
	logger     atomic.Pointer[slog.Logger]
	now        atomic.Pointer[T]
	looked     atomic.Int64 // when, in nanoseconds

	mu     sync.Mutex
	info   os.FileInfo // of the file as it was read last
	broken string      // what is wrong with it since
}

// open reads the file for the first time.
func (s *secrets[T]) open(path, what string, parse func(text string) (*T, error)) error {
	s.path, s.what, s.parse = path, what, parse
	read, info, err := s.read()
	if err != nil {
		return err
	}
	s.info = info
	s.now.Store(read)
	s.looked.Store(time.Now().UnixNano())
	return nil
}

func (s *secrets[T]) read() (*T, os.FileInfo, error) {
	text, info, err := readSecrets(s.path, s.what)
	if err != nil {
		return nil, nil, err
	}
	read, err := s.parse(text)
	if err != nil {
		return nil, nil, fmt.Errorf("the %s file %s: %w", s.what, s.path, err)
	}
	return read, info, nil
}

// current returns the secrets as of now. It checks the file for changes, at most once a second.
func (s *secrets[T]) current() *T {
	if s.path != "" {
		looked, now := s.looked.Load(), time.Now().UnixNano()
		if (now-looked >= int64(lookEvery) || now < looked) && s.looked.CompareAndSwap(looked, now) {
			s.look(false)
		}
	}
	return s.now.Load()
}

// look reads the file if it changed, or if it is forced to.
func (s *secrets[T]) look(anyway bool) {
	if s.path == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(s.path)
	same := err == nil && s.broken == "" && os.SameFile(info, s.info) && info.ModTime().Equal(s.info.ModTime()) && info.Size() == s.info.Size()
	if same && !anyway {
		return
	}
	read, info, err := s.read()
	if err != nil {
		if s.broken != err.Error() {
			s.broken = err.Error()
			s.log(slog.LevelWarn, "Pages: the "+s.what+" cannot be read again; what was read before stays in use", slog.String("error", s.broken))
		}
		return
	}
	s.info, s.broken = info, ""
	s.now.Store(read)
	s.log(slog.LevelInfo, "Pages: the "+s.what+" were read again")
}

func (s *secrets[T]) log(level slog.Level, message string, attrs ...slog.Attr) {
	if logger := s.logger.Load(); logger != nil {
		logger.LogAttrs(context.Background(), level, message, attrs...)
	}
}

// readSecrets reads a file that others than its owner and its group may not read, unless it was mounted for this program.
func readSecrets(path, what string) (string, os.FileInfo, error) {
	file, err := os.Open(path) //nolint:gosec // an operator names the file
	if err != nil {
		return "", nil, fmt.Errorf("read the %s: %w", what, err)
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	if err != nil {
		return "", nil, fmt.Errorf("read the %s: %w", what, err)
	}
	forbidden := os.FileMode(0o027)
	if mounted(path, file) {
		forbidden = 0o022 // everybody in the container may read it, and that is this program
	}
	if mode := info.Mode().Perm(); mode&forbidden != 0 && runtime.GOOS != "windows" {
		return "", nil, fmt.Errorf("the %s file %s may be read or changed by others (mode %04o): run chmod 600 %s", what, path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSecrets))
	if err != nil {
		return "", nil, fmt.Errorf("read the %s: %w", what, err)
	}
	return string(text), info, nil
}

// mounted reports whether a file was put there for this program: by a Kubernetes volume, which links to it through ..data and
// makes it readable for everybody by default, or on a file system that is mounted read-only.
func mounted(path string, file *os.File) bool {
	if link, err := os.Readlink(path); err == nil && strings.HasPrefix(filepath.ToSlash(link), "..data/") {
		return true
	}
	return readOnlyMount(file)
}
