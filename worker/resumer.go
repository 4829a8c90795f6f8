package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/worker/listen"
	"github.com/iu-core/iuworker/worker/metrics"
)

const resumeBatch = 1000

// Resumer makes parked jobs run again: at once when a gate's doorbell rings, and by a sweep while the gate is open,
// which finds the job that was parked by a call that saw the gate closed and ended after it had opened. Several may
// run: each takes jobs that no other has locked.
type Resumer struct {
	pool    *pgxpool.Pool
	bell    listen.Bell
	sweep   time.Duration
	logger  *slog.Logger
	outage  *listen.Outage
	metrics *metrics.Metrics
}

// Run resumes until ctx ends.
func (r *Resumer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		r.resume(ctx)
		timer := time.NewTimer(r.sweep)
		select {
		case <-ctx.Done():
		case <-r.bell:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

func (r *Resumer) resume(ctx context.Context) {
	var total int
	for ctx.Err() == nil {
		var n int
		err := r.pool.QueryRow(ctx, "SELECT iu_outbox.resume_parked($1)", resumeBatch).Scan(&n)
		if err != nil {
			if ctx.Err() == nil {
				r.outage.Failed(ctx, fmt.Errorf("resume parked jobs: %w", err))
			}
			return
		}
		r.outage.Worked(ctx)
		total += n
		r.metrics.Resumed(n)
		if n < resumeBatch {
			break
		}
	}
	if total > 0 {
		r.logger.InfoContext(ctx, "Resumer: parked jobs run again", slog.Int("jobs", total))
	}
}
