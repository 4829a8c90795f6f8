package worker

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/listen"
)

const resumeBatch = 1000

// resumer makes parked jobs run again: at once when a gate's doorbell rings, and by a sweep while the gate is open. The sweep
// finds a job that was parked by a call that saw the gate closed and ended after the gate had opened. Of the jobs that a fault of
// the installation held back, the resumer runs one at a time until one succeeds, and then all of them. Several processes may
// resume: each takes jobs that no other has locked.
type resumer struct {
	tools

	hold *compose.Hold
	bell listen.Bell
	poll poll

	busy bool // the last sweep resumed jobs, or failed
}

// run resumes until ctx ends.
func (r *resumer) run(ctx context.Context) error {
	return r.repeat(ctx, func(ctx context.Context) {
		d := r.poll.interval
		if !r.busy && r.hold.Well() {
			d = r.poll.next()
		}
		r.bell.Wait(ctx, d)
	}, r.resume)
}

func (r *resumer) resume(ctx context.Context) error {
	r.busy = true
	total, err := r.all(ctx, "SELECT iu_outbox.resume_parked($1)", resumeBatch)
	if err != nil {
		return err
	}
	if r.hold.Well() {
		var held int
		held, err = r.all(ctx, "SELECT iu_outbox.resume_held($1, false)", resumeBatch)
		total += held
	} else {
		var probes int
		probes, err = r.all(ctx, "SELECT iu_outbox.resume_held($1, true)", 1)
		if err == nil && probes == 0 && r.hold.Idle() {
			r.hold.Over() // it holds no job back any more
		}
	}
	if total > 0 {
		r.logger.InfoContext(ctx, "Resumer: parked jobs run again", slog.Int("jobs", total))
	}
	r.busy = total > 0 || err != nil
	return err
}

// all runs a statement that resumes up to limit jobs until there are fewer, or once if limit is 1.
func (r *resumer) all(ctx context.Context, sql string, limit int) (total int, err error) {
	for {
		var n int
		if err := r.pool.QueryRow(ctx, sql, limit).Scan(&n); err != nil {
			return total, fmt.Errorf("resume parked jobs: %w", err)
		}
		total += n
		r.metrics.Resumed(n)
		if n < limit || limit == 1 {
			return total, nil
		}
	}
}
