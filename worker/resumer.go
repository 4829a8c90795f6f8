package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/listen"
)

const resumeBatch = 1000

// Resumer makes parked jobs run again: at once when a gate's doorbell rings, and by a sweep while the gate is open,
// which finds the job that was parked by a call that saw the gate closed and ended after it had opened. Jobs that a fault of
// the installation held back it makes run one by one, to find out whether the fault is over, and all of them when it is.
// Several may run: each takes jobs that no other has locked.
type Resumer struct {
	tools

	hold  *compose.Hold
	bell  listen.Bell
	sweep time.Duration
}

// Run resumes until ctx ends.
func (r *Resumer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		r.resume(ctx)
		r.bell.Wait(ctx, r.sweep)
	}
	return nil
}

func (r *Resumer) resume(ctx context.Context) {
	total, ok := r.all(ctx, "SELECT iu_outbox.resume_parked($1)", resumeBatch)
	if !ok {
		return
	}
	if r.hold.Well() {
		var held int
		held, ok = r.all(ctx, "SELECT iu_outbox.resume_held($1, false)", resumeBatch)
		total += held
	} else {
		var probes int
		if probes, ok = r.all(ctx, "SELECT iu_outbox.resume_held($1, true)", 1); ok && probes == 0 && r.hold.Idle() {
			r.hold.Over() // nobody is left whom it holds back
		}
	}
	if ok {
		r.outage.Worked(ctx)
	}
	if total > 0 {
		r.logger.InfoContext(ctx, "Resumer: parked jobs run again", slog.Int("jobs", total))
	}
}

// all runs a statement that resumes up to limit jobs until there are fewer, or once if limit is 1, and reports whether
// it went through.
func (r *Resumer) all(ctx context.Context, sql string, limit int) (total int, ok bool) {
	for ctx.Err() == nil {
		var n int
		if err := r.pool.QueryRow(ctx, sql, limit).Scan(&n); err != nil {
			if ctx.Err() == nil {
				r.outage.Failed(ctx, fmt.Errorf("resume parked jobs: %w", err))
			}
			return total, false
		}
		total += n
		r.metrics.Resumed(n)
		if n < limit || limit == 1 {
			return total, true
		}
	}
	return total, false
}
