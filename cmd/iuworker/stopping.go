package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
)

const (
	// commandStop is how long a command may take to end after a signal. Those that work have --shutdown-timeout.
	commandStop = 5 * time.Second
	// serverStop is how long one may take that ends a server of its own, too.
	serverStop = 20 * time.Second
	// lastWords is how long the program may take beyond that to write what is left of its log.
	lastWords = 700 * time.Millisecond
	// flushLimit is how long it may take for that at any other end.
	flushLimit = 2 * time.Second
	// lastStops is how long before the end of that what is beside the worker is given up.
	lastStops = 100 * time.Millisecond
	// closeLimit is how long a pool may take to close. What is open then is cut when the process ends, and nothing is lost.
	closeLimit = time.Second
)

// ending is the end of a run: when it began, and until when it may last.
type ending struct {
	mu    sync.Mutex
	limit time.Duration
	by    time.Time // zero: it has not begun
}

// allow sets how long the end may last, unless it has begun.
func (e *ending) allow(limit time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.limit = limit
}

// begin returns how long the end may last. It begins once.
func (e *ending) begin() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.by.IsZero() {
		e.by = time.Now().Add(e.limit)
	}
	return e.limit
}

// deadline returns the time by which the end must be over. It begins now if it did not before.
func (e *ending) deadline() time.Time {
	e.begin()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.by
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

// stopTimeout is the error of a run that did not end in time.
type stopTimeout struct {
	what  string
	limit time.Duration
}

func (e *stopTimeout) Error() string {
	return fmt.Sprintf("timed out stopping: %s, after %s", e.what, e.limit)
}

// execute runs the command. Once ctx is done the command may take as long as its ending says; one that does not end by then
// is abandoned, whatever it waits for: the process ends, and cuts its connections.
func (a *app) execute(ctx context.Context, root *cobra.Command) error {
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	limit := a.ending.begin()
	timer := time.NewTimer(time.Until(a.ending.deadline()))
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-timer.C:
		return &stopTimeout{*a.doing.Load(), limit}
	}
}

// does says what runs now.
func (a *app) does(what string) { a.doing.Store(&what) }

// stopContext bounds what stops a part of the program: ctx may be done already.
func (a *app) stopContext(ctx context.Context, room time.Duration) (context.Context, context.CancelFunc) {
	return context.WithDeadline(context.WithoutCancel(ctx), a.ending.deadline().Add(-room))
}

// wait runs do, and returns once it has ended or ctx is done; do then goes on until the process ends.
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

// closePool closes a pool. A server that is silent would keep pgx waiting for each connection that a query was cut off on.
func closePool(pool *pgxpool.Pool) {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	wait(ctx, pool.Close)
}
