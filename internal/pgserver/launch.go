package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
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

	loopback = "127.0.0.1"

	// Systems give the ports from 32768 on to outgoing connections, which could take one while the server restarts.
	lowestPort  = 20000
	highestPort = 32000

	socketPort = 5432 // only a part of the socket's name
)

// linkData makes a given data directory appear in the private directory, so that the server and the cleaning of leftovers find
// both kinds at one place.
func (s *Server) linkData() error {
	if s.cfg.DataDir == "" {
		return nil
	}
	data, err := filepath.Abs(s.cfg.DataDir)
	if err != nil {
		return fmt.Errorf("find the data directory: %w", err)
	}
	if err = os.Mkdir(data, 0o700); err == nil {
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

// initialise initialises the data directory, unless it has been. The locale C needs no locale of the system. initdb does not
// flush to disk: before the first start there is nothing to lose.
func (s *Server) initialise(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(s.dir.data(), "PG_VERSION")); err == nil {
		return nil
	}
	cmd := s.command("initdb", "-D", s.dir.data(), "-U", superuser, "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if err := run(ctx, cmd); err != nil {
		return fmt.Errorf("initialise PostgreSQL: %w", s.as.explain(err))
	}
	return nil
}

// launchOnFreePort launches the server, on another port if the first was taken meanwhile. s.mu is held.
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

// freePort returns a loopback port on which nothing listens.
func freePort(ctx context.Context) (int, error) {
	for range 100 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if portFree(ctx, port) {
			return port, nil
		}
	}
	return 0, errors.New("find a free port on " + loopback + ": a hundred were taken")
}

func portFree(ctx context.Context, port int) bool {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
	return err == nil && listener.Close() == nil
}

// launch starts postgres and waits until it replies. If that fails, postgres does not run. s.mu is held.
func (s *Server) launch(ctx context.Context) error {
	arguments, err := s.cfg.arguments(s.dir.data(), s.dir.path, s.port)
	if err != nil {
		return err
	}
	cmd := s.command("postgres", arguments...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if s.process, err = spawn(cmd, s.cfg.orphan); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", s.as.explain(err))
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
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.StartTimeout, fmt.Errorf("no reply within %s", s.cfg.StartTimeout))
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

// ping connects and compares the data directory: another server may listen on the port.
func (s *Server) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL(superuser))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it only asked
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
	end, err := s.log.Seek(0, io.SeekEnd)
	if err != nil {
		return err.Error()
	}
	tail, _ := io.ReadAll(io.NewSectionReader(s.log, max(0, end-tailBytes), tailBytes)) // what can be read must do
	lines := strings.Split(strings.TrimSpace(string(tail)), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

// killGrace is how long a process may take to end at once.
const killGrace = 5 * time.Second

// process is a started process. When it has ended, ended is closed and err is how it ended.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error
}

// spawn starts cmd. Unless orphan, the kernel ends the process with this program, if the kernel can: it signals when the thread
// that started the process dies, so that thread is kept.
func spawn(cmd *exec.Cmd, orphan bool) (*process, error) {
	if !orphan {
		endWithParent(cmd.SysProcAttr)
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	return p, <-started
}

// stop sends the signal, after the timeout SIGQUIT, and after another SIGKILL.
func (p *process) stop(signal syscall.Signal, timeout time.Duration) {
	for _, next := range []syscall.Signal{signal, syscall.SIGQUIT, syscall.SIGKILL} {
		_ = p.cmd.Process.Signal(next) // fails only if it has ended
		select {
		case <-p.ended:
			return
		case <-time.After(timeout):
		}
	}
	<-p.ended
}

// run runs a program to its end. An error has what it printed.
func run(ctx context.Context, cmd *exec.Cmd) error {
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = killGrace
	p, err := spawn(cmd, false)
	if err != nil {
		return err
	}
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.stop(syscall.SIGTERM, killGrace)
		return ctx.Err()
	}
	if p.err != nil {
		return fmt.Errorf("%w: %s", p.err, strings.TrimSpace(output.String()))
	}
	return nil
}

// command returns a command of a PostgreSQL program that runs as the server's account, in its directory, without the
// environment that steers PostgreSQL (PG*, locales).
func (s *Server) command(name string, arguments ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.binDir, name), arguments...) //nolint:noctx // it outlives the start; run and Stop end it
	cmd.Dir = s.dir.path
	cmd.Env = []string{"LC_ALL=C", "HOME=" + s.dir.path}
	for _, name := range []string{"PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = s.as.attributes()
	return cmd
}
