package drill

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/iu-core/iuworker/internal/retry"
)

// restartAfter is how long a supervisor waits before it starts a process again.
const restartAfter = 300 * time.Millisecond

// process is a program that is started again whenever it ends, as a supervisor does, until stop. Its stderr goes to a log file.
// Safe for concurrent use.
type process struct {
	name string
	path string
	args []string
	more func() []string // arguments of the incarnation that starts now; nil: none
	env  []string
	log  *os.File
	link *link                                   // its network
	read func(incarnation int, stdout io.Reader) // reads the stdout of one incarnation to its end; nil: there is none

	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}

	mu     sync.Mutex
	cmd    *exec.Cmd // nil while none runs
	starts int
}

func (p *process) start(ctx context.Context) {
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.ended = make(chan struct{})
	go func() {
		// The kernel ends a process when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.ended)
		for {
			if err := p.once(); err != nil {
				fmt.Fprintf(p.log, "drill: %s ended: %v\n", p.name, err)
			}
			if !retry.Pause(p.ctx, restartAfter) {
				return
			}
		}
	}()
}

// once runs one incarnation to its end.
func (p *process) once() error {
	args := p.args
	if p.more != nil {
		args = append(slices.Clip(args), p.more()...)
	}
	cmd := exec.Command(p.path, args...) //nolint:noctx // stop ends it
	cmd.Env, cmd.Stderr = p.env, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches this program alone, which ends them
	endWithParent(cmd.SysProcAttr)
	var output io.ReadCloser
	if p.read != nil {
		var err error
		if output, err = cmd.StdoutPipe(); err != nil {
			return err
		}
	}
	incarnation, err := p.launch(cmd)
	if err != nil {
		return err
	}
	if output != nil {
		p.read(incarnation, output)
	}
	err = cmd.Wait()
	p.mu.Lock()
	p.cmd = nil
	p.mu.Unlock()
	return err
}

// launch starts an incarnation, unless stop was called.
func (p *process) launch(cmd *exec.Cmd) (incarnation int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	p.cmd = cmd
	p.starts++
	return p.starts, nil
}

// signal sends a signal, if a process is there.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s) // fails only if it has ended
	}
}

// stop ends the process and waits for it: with the signal first, and SIGKILL after the grace.
func (p *process) stop(s syscall.Signal, grace time.Duration) {
	p.mu.Lock()
	p.cancel()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		_ = p.cmd.Process.Signal(s)
	}
	p.mu.Unlock()
	select {
	case <-p.ended:
		return
	case <-time.After(grace):
	}
	p.signal(syscall.SIGKILL)
	<-p.ended
}
