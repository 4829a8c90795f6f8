package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
)

// Time limits of the end of a run.
const (
	commandStop = 5 * time.Second        // for a command after a signal; work and dev have --shutdown-timeout
	serverStop  = 20 * time.Second       // for a command that also stops a server of its own
	benchStop   = time.Minute            // for bench: a database that was written to is dropped after a checkpoint
	lastWords   = 700 * time.Millisecond // after that, to write the rest of the log
	flushLimit  = 2 * time.Second        // to write the log if no signal ended the program
	lastStops   = 100 * time.Millisecond // before its deadline the program stops waiting for parts other than the worker
	closeLimit  = time.Second            // to close a pool; the end of the process cuts what is open then, and nothing is lost
)

// ending is the time limit for the end of a run.
type ending struct {
	mu    sync.Mutex
	limit time.Duration
	by    time.Time // zero if it has not begun
}

// allow sets how long the end may last, unless it has begun.
func (e *ending) allow(limit time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.limit = limit
}

// begin begins the end, unless it has begun, and returns how long it may last and until when.
func (e *ending) begin() (limit time.Duration, by time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.by.IsZero() {
		e.by = time.Now().Add(e.limit)
	}
	return e.limit, e.by
}

// flushTime returns how long the log may take to be written.
func (e *ending) flushTime() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.by.IsZero() {
		return flushLimit
	}
	return min(max(time.Until(e.by), 0)+lastWords, flushLimit)
}

// execute runs the command. After ctx is done the command may take as long as its ending allows. Then it is abandoned,
// whatever it waits for: the process ends, and with it the connections.
func (a *app) execute(ctx context.Context, root *cobra.Command) error {
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	limit, by := a.ending.begin()
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Until(by)):
		return fmt.Errorf("timed out stopping: %s, after %s", *a.doing.Load(), limit)
	}
}

// does notes what runs now, for the error if that takes too long.
func (a *app) does(what string) { a.doing.Store(&what) }

// stopContext returns a context for stopping a part of the program, room before the deadline; ctx may be done already.
func (a *app) stopContext(ctx context.Context, room time.Duration) (context.Context, context.CancelFunc) {
	_, by := a.ending.begin()
	return context.WithDeadline(context.WithoutCancel(ctx), by.Add(-room))
}

// wait runs do, and returns when it has ended or ctx is done. In the second case do runs on until the process ends.
func wait(ctx context.Context, do func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		do()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// closePool closes a pool. If the server is silent, it does not wait for the connections.
func closePool(pool *pgxpool.Pool) {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	wait(ctx, pool.Close)
}
