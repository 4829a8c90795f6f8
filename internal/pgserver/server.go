package pgserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

const superuser = "postgres"

// Server is a running PostgreSQL. It is safe for concurrent use.
type Server struct {
	cfg    Config
	as     *account
	binDir string
	dir    *directory
	log    *os.File // open since before the directory went to the server's account
	port   int

	mu      sync.Mutex
	process *process
	stopped bool
}

// Start starts a server and waits until it replies. ctx bounds the start alone: the server runs until Stop, or
// until the program ends. Where Start fails, nothing stays behind.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	as, err := serverAccount()
	if err != nil {
		return nil, err
	}
	base, err := baseDirectory(as)
	if err != nil {
		return nil, err
	}
	if err := cleanStale(ctx, base, cfg.Logger); err != nil {
		cfg.Logger.WarnContext(ctx, "Postgres: leftovers of killed programs stay", slog.Any("error", err))
	}
	binDir, err := findBinaries(ctx, cfg, as)
	if err != nil {
		return nil, err
	}
	dir, err := claim(ctx, base)
	if err != nil {
		return nil, err
	}

	s := &Server{cfg: cfg, as: as, binDir: binDir, dir: dir}
	if err := s.bringUp(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	cfg.Logger.InfoContext(ctx, "Postgres: started", "bin", binDir, "directory", dir.path, "url", s.URL(superuser))
	return s, nil
}

// URL returns how the superuser connects to a database; no password is needed.
func (s *Server) URL(database string) string {
	query := url.Values{"sslmode": {"disable"}}
	u := url.URL{Scheme: "postgres", User: url.User(superuser), Path: "/" + database}
	if s.cfg.TCP {
		u.Host = net.JoinHostPort(loopback, strconv.Itoa(s.port))
	} else {
		query.Set("host", s.dir.path)
		query.Set("port", strconv.Itoa(s.port))
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// BinDir is the directory of the server's binaries.
func (s *Server) BinDir() string { return s.binDir }

// Restart stops the server, where it runs, and starts it again at the same address. Sessions end; committed
// data stays, unless a setting gave that up. ctx bounds the new start.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errors.New("restart PostgreSQL: it was stopped permanently")
	}
	s.process.stop(syscall.SIGINT, s.cfg.StopTimeout)
	return s.launch(ctx)
}

// Kill ends the server as a crash would: sessions are cut, nothing is written any more. Restart brings it back,
// through crash recovery.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.stop(syscall.SIGQUIT, killGrace)
	}
}

// Stop ends the server and removes its private directory. A second call does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	if s.process != nil {
		s.process.stop(syscall.SIGINT, s.cfg.StopTimeout)
	}
	var logErr error
	if s.log != nil {
		logErr = s.log.Close()
	}
	return errors.Join(logErr, s.dir.remove())
}

// bringUp prepares the private directory and starts the server in it.
func (s *Server) bringUp(ctx context.Context) error {
	var err error
	if s.log, err = os.OpenFile(filepath.Join(s.dir.path, "server.log"), os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return fmt.Errorf("make the server's log: %w", err)
	}
	if err := s.linkData(); err != nil {
		return err
	}
	if err := s.as.own(s.dir.path); err != nil {
		return err
	}
	if err := s.initialise(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.launchOnFreePort(ctx)
}
