package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/iu-core/iuworker/internal/retry"
)

// waiting waits for the server while a long-running command starts. If the server is lost before the command works, waiting logs that
// once and retries. An error that a retry cannot fix ends the command: a wrong password, or a missing database, schema or privilege.
// work, serve and publish also wait for a server that they have not reached yet, as services do. subscribe, which people type, connects
// first, and ends if it cannot.
type waiting struct {
	what   string // the component, for the log
	logger *slog.Logger
	reason atomic.Pointer[error] // why it waits; nil: it does not
}

// until calls try until it succeeds, ctx ends, or it returns an error that a retry cannot fix.
func (w *waiting) until(ctx context.Context, try func(ctx context.Context) error) error {
	for n := 1; ; n++ {
		err := try(ctx)
		switch {
		case err == nil:
			if w.reason.Swap(nil) != nil {
				w.logger.InfoContext(ctx, w.what+": the database is reachable", slog.Int("tries", n))
			}
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("wait for the database: %w", ctx.Err())
		case !retry.MayPass(err):
			return err
		case w.reason.Swap(&err) == nil:
			w.logger.WarnContext(ctx, w.what+": waiting for the database; retrying until it is reachable", slog.String("error", sentence(err)))
		}
		if !retry.Pause(ctx, retry.Reconnect.Wait(n)) {
			return fmt.Errorf("wait for the database: %w", ctx.Err())
		}
	}
}

// why returns the error because of which the command waits, or nil if it does not wait.
func (w *waiting) why() error {
	if reason := w.reason.Load(); reason != nil {
		return *reason
	}
	return nil
}
