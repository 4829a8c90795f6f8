package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/retry"
)

// rescuer renews this process's lease and releases its jobs that it does not know of. If the lease says that this process
// sweeps, it also releases the jobs of processes whose leases have expired.
type rescuer struct {
	tools

	lease  *lease
	active func(jobID int64) bool
	taken  func(error) // called if another process has this one's id

	left map[int64]time.Time // jobs that ran by the table alone in the last round, and since when
	next time.Duration       // until the next round
}

// run renews the lease and releases jobs until ctx ends.
func (r *rescuer) run(ctx context.Context) error {
	wait := func(ctx context.Context) { retry.Pause(ctx, r.next) }
	return r.repeat(ctx, wait, func(ctx context.Context) error {
		r.next = heartbeat
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		err := r.round(ctx)
		if err != nil {
			r.left = nil // what was found before an outage says nothing after it
		}
		return err
	})
}

func (r *rescuer) round(ctx context.Context) error {
	renewed, err := r.lease.renew(ctx)
	if err != nil {
		return err
	}
	if !renewed.alive {
		return r.begin(ctx)
	}
	r.next = renewed.next()
	if renewed.setBack {
		if err := r.wakeLate(ctx); err != nil {
			return err
		}
	}
	if renewed.sweeps {
		if err := r.sweep(ctx); err != nil {
			return err
		}
	}
	return r.reclaim(ctx, renewed.leftBehind)
}

// begin makes this process a new incarnation after another process declared the last one dead.
func (r *rescuer) begin(ctx context.Context) error {
	err := r.lease.take(ctx)
	if errors.Is(err, ErrIDTaken) {
		r.taken(err)
		return nil
	}
	if err == nil {
		r.logger.WarnContext(ctx, "Rescuer: this worker was declared dead because it sent no heartbeat for too long; "+
			"its jobs run elsewhere, and it starts again")
	}
	return err
}

func (r *rescuer) wakeLate(ctx context.Context) error {
	var n int
	if err := r.pool.QueryRow(ctx, "SELECT iu_outbox.wake_late()").Scan(&n); err != nil {
		return fmt.Errorf("wake the jobs from before the server's clock was set back: %w", err)
	}
	if n > 0 {
		r.logger.WarnContext(ctx, "Rescuer: jobs waited for a time far ahead, since the server's clock was set back; they run now",
			slog.Int("jobs", n))
	}
	return nil
}

// sweep releases the jobs of dead workers.
func (r *rescuer) sweep(ctx context.Context) error {
	rows, _ := r.pool.Query(ctx, "SELECT worker, released FROM iu_outbox.sweep_leases()") // ForEachRow returns its error
	var worker string
	var n int
	_, err := pgx.ForEachRow(rows, []any{&worker, &n}, func() error {
		r.metrics.Rescued(n)
		r.logger.WarnContext(ctx, "Rescuer: a worker died; its running jobs continue elsewhere",
			slog.String("worker", worker), slog.Int("jobs", n))
		return nil
	})
	if err != nil {
		return fmt.Errorf("release the jobs of dead workers: %w", err)
	}
	return nil
}

// reclaim releases jobs that the table gives to this process and that it does not run: their fetch or completion was lost with
// the database, and River itself would leave them. A completion may be on its way, so a job is released by a round that finds it
// a heartbeat after another did.
func (r *rescuer) reclaim(ctx context.Context, ids []int64) error {
	now, left := time.Now(), make(map[int64]time.Time)
	var again []int64
	for _, id := range ids {
		if r.active(id) {
			continue
		}
		since, found := r.left[id]
		if !found {
			since = now
		}
		left[id] = since
		if now.Sub(since) >= heartbeat {
			again = append(again, id)
		}
	}
	r.left = left
	if len(again) == 0 {
		return nil
	}
	var n int
	if err := r.pool.QueryRow(ctx, "SELECT iu_outbox.release_jobs($1, $2)", r.lease.id, again).Scan(&n); err != nil {
		return fmt.Errorf("release jobs left behind: %w", err)
	}
	if n > 0 { // else they were completed in the end
		r.metrics.Rescued(n)
		r.logger.WarnContext(ctx, "Rescuer: jobs whose completion was lost run again", slog.Int("jobs", n))
	}
	return nil
}
