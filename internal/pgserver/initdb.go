package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// linkData lets the private directory lead to a data directory that was given, so that the server, and who
// looks for leftovers, find both kinds at one place.
func (s *Server) linkData() error {
	if s.cfg.DataDir == "" {
		return nil
	}
	data, err := filepath.Abs(s.cfg.DataDir)
	if err != nil {
		return fmt.Errorf("find the data directory: %w", err)
	}
	err = os.Mkdir(data, 0o700)
	if err == nil {
		err = s.as.own(data)
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if err := s.as.reaches(data); err != nil {
		return fmt.Errorf("use the data directory: %w", err)
	}
	if err := os.Symlink(data, s.dir.data()); err != nil {
		return fmt.Errorf("link the data directory: %w", err)
	}
	return nil
}

// initialise makes the data directory, unless it is there. The locale is C, which needs no locale of the system's,
// and the encoding UTF-8 all the same. initdb's own flushing to disk is left out: before the first start there is
// nothing to lose.
func (s *Server) initialise(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(s.dir.data(), "PG_VERSION")); err == nil {
		return nil
	}
	cmd := s.command("initdb", "-D", s.dir.data(), "-U", superuser, "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if err := run(ctx, cmd); err != nil {
		return fmt.Errorf("initialise PostgreSQL: %w", explain(err, s.as))
	}
	return nil
}

// command makes a command of a PostgreSQL program: the server's account, its directory, a clean environment.
func (s *Server) command(name string, arguments ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.binDir, name), arguments...) //nolint:noctx // it outlives the start; run and Stop end it
	cmd.Dir = s.dir.path
	cmd.Env = environment(s.dir.path)
	cmd.SysProcAttr = s.as.attributes()
	return cmd
}
