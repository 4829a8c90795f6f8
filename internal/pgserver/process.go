package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// killGrace is how long what ends at once may take to.
const killGrace = 5 * time.Second

// process is a started process; ended is closed when it is gone, err says how.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error
}

// spawn starts cmd. Unless orphan, the kernel ends it with this program where the kernel can: it signals when
// the thread dies that started the process, so that thread is kept until the process is gone.
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

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// stop sends the signal, after the timeout SIGQUIT, and after another SIGKILL.
func (p *process) stop(signal syscall.Signal, timeout time.Duration) {
	p.signalAndWait(signal, timeout)
	p.signalAndWait(syscall.SIGQUIT, timeout)
	if p.alive() {
		_ = p.cmd.Process.Kill() // fails only where it is gone
		<-p.ended
	}
}

func (p *process) signalAndWait(signal syscall.Signal, timeout time.Duration) {
	if !p.alive() {
		return
	}
	_ = p.cmd.Process.Signal(signal) // fails only where it is gone
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
	}
}

// run runs a program of PostgreSQL to its end; an error has what it printed.
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

// environment keeps what a program needs to run, and nothing that steers PostgreSQL (PG*, locales).
func environment(home string) []string {
	env := []string{"LC_ALL=C", "HOME=" + home}
	for _, name := range []string{"PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// explain adds the way out to the refusal that containers without CAP_SETUID give.
func explain(err error, as *account) error {
	if as != nil && errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("run PostgreSQL as user %s, since it does not run as root: %w: "+
			"run this program as an ordinary user, or give the URL of a database", as.name, err)
	}
	return err
}
