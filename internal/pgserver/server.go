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
	log    *os.File // opened before the directory was given to the server's account
	port   int

	mu      sync.Mutex
	process *process
	stopped bool
}

// Start starts a server and waits until it replies. ctx bounds only the start: the server runs until Stop, or until the program
// ends. If Start fails, it leaves nothing behind.
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
		cfg.Logger.WarnContext(ctx, "Postgres: cannot remove all leftovers of killed programs", slog.Any("error", err))
	}
	binDir, err := findBinaries(ctx, cfg, as)
	if err != nil {
		return nil, err
	}
	dir, err := claim(ctx, base)
	if err != nil {
		return nil, err
	}

	log, err := os.OpenFile(filepath.Join(dir.path, "server.log"), os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create the server's log: %w", err), dir.remove())
	}
	s := &Server{cfg: cfg, as: as, binDir: binDir, dir: dir, log: log}
	if err := s.bringUp(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	cfg.Logger.InfoContext(ctx, "Postgres: started", "bin", binDir, "directory", dir.path, "url", s.URL(superuser))
	return s, nil
}

// URL returns the superuser's URL of a database. It needs no password.
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

// BinDir returns the directory of the server's binaries.
func (s *Server) BinDir() string { return s.binDir }

// Restart stops the server if it runs, and starts it again at the same address. ctx bounds the new start.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errors.New("restart PostgreSQL: it was stopped permanently")
	}
	s.process.stop(syscall.SIGINT, s.cfg.StopTimeout)
	return s.launch(ctx)
}

// Kill ends the server as a crash would, without a checkpoint. Restart recovers it.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process.stop(syscall.SIGQUIT, killGrace)
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
	return errors.Join(s.log.Close(), s.dir.remove())
}

// bringUp prepares the private directory and starts the server in it.
func (s *Server) bringUp(ctx context.Context) error {
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
