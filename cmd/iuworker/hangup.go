package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/iu-core/iuworker/internal/retry"
)

const hangupPoll = 500 * time.Millisecond

// whileRead returns a context that ends, with the cause errResultsClosed, when the reader of a pipe closes it. A write would
// fail then, too, but a subscriber without events writes nothing, and occupies its consumer. Call stop when done.
func (r *results) whileRead(ctx context.Context) (reading context.Context, stop func()) {
	reading, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	if file, ok := r.w.(*os.File); ok {
		watching.Go(func() {
			for !hungUp(file) {
				if !retry.Pause(reading, hangupPoll) {
					return
				}
			}
			cancel(errResultsClosed)
		})
	}
	return reading, func() {
		cancel(nil)
		watching.Wait()
	}
}

// hungUp reports whether the other end of a pipe, a socket or a terminal is closed.
func hungUp(file *os.File) bool {
	raw, err := file.SyscallConn()
	if err != nil {
		return false
	}
	closed := false
	_ = raw.Control(func(fd uintptr) { // fails if the file is closed: then a write fails, too
		poll := []unix.PollFd{{Fd: int32(fd)}} //nolint:gosec // file descriptors are small
		n, err := unix.Poll(poll, 0)
		closed = err == nil && n == 1 && poll[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
	})
	return closed
}

// endAtHangup calls end when the terminal closes that the program was started on. Any other SIGHUP is a request to read files
// again.
func endAtHangup(end func()) {
	var terminals []*os.File
	for _, file := range []*os.File{os.Stdin, os.Stderr} {
		if isTerminal(file) && !signal.Ignored(syscall.SIGHUP) {
			terminals = append(terminals, file)
		}
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for range hangups {
			if slices.ContainsFunc(terminals, hungUp) {
				end()
			}
		}
	}()
}

// rereadAtHangup reads addresses and secrets again at each SIGHUP, until stop.
func (a *app) rereadAtHangup(ctx context.Context, at addresses, who access) (stop func()) {
	return a.atHangup(ctx, "addresses, credentials and tokens", func(ctx context.Context) {
		for _, reread := range at.reread {
			reread(ctx)
		}
		who.reload()
	})
}

// atHangup calls do at each SIGHUP, until stop. what is what it reads again, for the log.
func (a *app) atHangup(ctx context.Context, what string, do func(ctx context.Context)) (stop func()) {
	ctx = context.WithoutCancel(ctx)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for range hangups {
			a.logger.InfoContext(ctx, "SIGHUP: re-reading "+what)
			do(ctx)
		}
	})
	return func() {
		signal.Stop(hangups)
		close(hangups)
		waiting.Wait()
	}
}
