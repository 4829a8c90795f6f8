package pgserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	portTries    = 5
	pollInterval = 20 * time.Millisecond
	pingTimeout  = 5 * time.Second
	tailLines    = 10
	tailBytes    = 4096
)

// launchOnFreePort chooses the port, and another where somebody was quicker. s.mu is held.
func (s *Server) launchOnFreePort(ctx context.Context) error {
	if !s.cfg.TCP {
		s.port = socketPort
		return s.launch(ctx)
	}
	for try := 1; ; try++ {
		var err error
		if s.port, err = freePort(ctx); err != nil {
			return err
		}
		err = s.launch(ctx)
		if err == nil || try == portTries || portFree(ctx, s.port) || ctx.Err() != nil {
			return err
		}
	}
}

// launch starts postgres and waits until it replies; it leaves none running if it fails. s.mu is held.
func (s *Server) launch(ctx context.Context) error {
	arguments, err := s.cfg.arguments(s.dir.data(), s.dir.path, s.port)
	if err != nil {
		return err
	}
	cmd := s.command("postgres", arguments...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if s.process, err = spawn(cmd, s.cfg.orphan); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", explain(err, s.as))
	}
	if err := s.awaitReady(ctx); err != nil {
		err = fmt.Errorf("start PostgreSQL: %w\nits log ends with:\n%s", err, s.logTail())
		s.process.stop(syscall.SIGQUIT, killGrace)
		return err
	}
	return nil
}

// awaitReady waits until the server replies.
func (s *Server) awaitReady(ctx context.Context) error {
	timeout := fmt.Errorf("no reply within %s", s.cfg.StartTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.StartTimeout, timeout)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		pingErr := s.ping(ctx)
		if pingErr == nil {
			return nil
		}
		select {
		case <-s.process.ended:
			return errors.Join(errors.New("it ended at once"), s.process.err)
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), pingErr)
		case <-ticker.C:
		}
	}
}

// ping asks the server for its data directory: whatever else listens on that port is not ours.
func (s *Server) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL(superuser))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it was a question
	var data string
	if err := conn.QueryRow(ctx, "SHOW data_directory").Scan(&data); err != nil {
		return err
	}
	if data != s.dir.data() {
		return fmt.Errorf("port %d belongs to another PostgreSQL", s.port)
	}
	return nil
}

// logTail returns the last lines of the server's log.
func (s *Server) logTail() string {
	info, err := s.log.Stat()
	if err != nil {
		return err.Error()
	}
	from := max(0, info.Size()-tailBytes)
	tail := make([]byte, info.Size()-from)
	n, _ := s.log.ReadAt(tail, from) // what could be read is what there is to say
	lines := strings.Split(strings.TrimSpace(string(tail[:n])), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
