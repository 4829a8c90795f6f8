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
	well := r.hold.Well()
	total, err := r.all(ctx, well)
	if err == nil && !well {
		var probes int
		probes, err = r.probe(ctx)
		total += probes
	}
	if total > 0 {
		r.logger.InfoContext(ctx, "Resumer: parked jobs run again", slog.Int("jobs", total))
	}
	r.busy = total > 0 || err != nil
	return err
}

// all resumes all parked jobs whose gate is open and, if held is set, those that a fault held back. It returns how many.
func (r *resumer) all(ctx context.Context, held bool) (total int, err error) {
	sql := "SELECT iu_outbox.resume_parked($1), 0"
	if held {
		sql = "SELECT iu_outbox.resume_parked($1), iu_outbox.resume_held($1, false)"
	}
	for {
		var fromGates, fromFaults int
		if err := r.pool.QueryRow(ctx, sql, resumeBatch).Scan(&fromGates, &fromFaults); err != nil {
			return total, fmt.Errorf("resume parked jobs: %w", err)
		}
		total += fromGates + fromFaults
		r.metrics.Resumed(fromGates + fromFaults)
		if max(fromGates, fromFaults) < resumeBatch {
			return total, nil
		}
	}
}

// probe resumes one job that a fault held back, if there is one. It returns how many it resumed.
func (r *resumer) probe(ctx context.Context) (n int, err error) {
	if err := r.pool.QueryRow(ctx, "SELECT iu_outbox.resume_held(1, true)").Scan(&n); err != nil {
		return 0, fmt.Errorf("resume a job that a fault held back: %w", err)
	}
	r.metrics.Resumed(n)
	if n == 0 && r.hold.Idle() {
		r.hold.Over() // it holds no job back any more
	}
	return n, nil
}
