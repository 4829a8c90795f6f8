package pgserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

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
