package main

import (
	"context"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const hangupPoll = 500 * time.Millisecond

// whileRead answers a context that ends, with errResultsClosed as its cause, when the reader of a pipe goes away. A write
// would notice, but a subscriber may have nothing to write for long, and keep a consumer meanwhile. Call stop when done.
func (r *results) whileRead(ctx context.Context) (reading context.Context, stop func()) {
	reading, cancel := context.WithCancelCause(ctx)
	file, ok := r.w.(*os.File)
	if !ok {
		return reading, func() { cancel(nil) }
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		ticker := time.NewTicker(hangupPoll)
		defer ticker.Stop()
		for !hungUp(file) {
			select {
			case <-reading.Done():
				return
			case <-ticker.C:
			}
		}
		cancel(errResultsClosed)
	})
	return reading, func() {
		cancel(nil)
		watching.Wait()
	}
}

// hungUp reports whether nobody can read any more what is written to a pipe or a socket.
func hungUp(file *os.File) bool {
	raw, err := file.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	_ = raw.Control(func(fd uintptr) { // fails where the file is closed: then a write will say so
		poll := []unix.PollFd{{Fd: int32(fd)}} //nolint:gosec // file descriptors are small
		n, err := unix.Poll(poll, 0)
		gone = err == nil && n == 1 && poll[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
	})
	return gone
}
