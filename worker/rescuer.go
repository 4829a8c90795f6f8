package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/internal/retry"
)

// How a process is known to be dead: functions/worker.sql has the rule. After a restart of the server all locks are
// gone and all rows are old for a moment: so a process must have been seen dead for a while by one that was connected all
// the time. The same goes for jobs that run by the table, and by nobody in this process: a completion may be on its way.
//
//	killed at 0 s, row stale at 4 s, seen dead until 7 s, jobs released before 9 s
//	its machine died at 0 s, its session lives on; row too old at 15 s, jobs released before 20 s
const (
	heartbeatInterval = time.Second
	staleAfter        = 4 * time.Second
	deadAfter         = 15 * time.Second
	deadFor           = 3 * time.Second
)

// Rescuer says that this process lives, and lets the jobs of processes that died, and its own that it does not know of, run
// again. Run it once a process.
type Rescuer struct {
	pool     *pgxpool.Pool
	presence *presence
	session  *session // nil: polling
	active   func(jobID int64) bool
	taken    func(error) // called if another process has this one's id
	logger   *slog.Logger
	outage   *retry.Outage
	metrics  *metrics.Metrics

	dead map[corpse]time.Time // since when each was seen dead
	left map[int64]time.Time  // since when each job was seen to run by the table alone
}

// corpse is a process that seems dead. LockKey and SeenAt are zero if only its jobs are left.
type corpse struct {
	ID      string
	LockKey int32
	SeenAt  time.Time
}

// What has running jobs or a row, and does not live.
const deadSQL = `
	SELECT w.id, w.lock_key, w.seen_at
	FROM iu_outbox.worker AS w
	WHERE w.id <> $1 AND NOT iu_outbox.lives(w.seen_at, w.lock_key)
	UNION
	SELECT r.worker, 0, NULL::timestamptz
	FROM (SELECT COALESCE(j.worker, '') AS worker FROM iu_outbox.job AS j WHERE j.state = 'running') AS r
	WHERE r.worker <> $1 AND NOT EXISTS (SELECT FROM iu_outbox.worker AS w WHERE w.id = r.worker)`

// Run beats and watches until ctx ends.
func (r *Rescuer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := r.round(ctx); err != nil {
			r.dead, r.left = nil, nil // what was seen before an outage says nothing after it
			if ctx.Err() == nil {
				r.outage.Failed(ctx, err)
			}
		} else {
			r.outage.Worked(ctx)
		}
		retry.Pause(ctx, heartbeatInterval)
	}
	return nil
}

func (r *Rescuer) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	alive, setBack, err := r.presence.beat(ctx)
	if err != nil {
		return err
	}
	if !alive {
		return r.begin(ctx)
	}
	if setBack {
		if err := r.wakeLate(ctx); err != nil {
			return err
		}
	}
	if err := r.watch(ctx); err != nil {
		return err
	}
	return r.reclaim(ctx)
}

// begin makes this process a new incarnation, after others took the last one for dead.
func (r *Rescuer) begin(ctx context.Context) error {
	err := r.presence.join(ctx)
	switch {
	case errors.Is(err, ErrIDTaken):
		r.taken(err)
		return nil
	case err != nil:
		return err
	}
	if r.session != nil {
		r.session.drop() // its lock is the dead one's
	}
	r.logger.WarnContext(ctx, "Rescuer: this worker was declared dead because it sent no heartbeat for too long; its jobs run elsewhere, and it starts again")
	return nil
}

func (r *Rescuer) wakeLate(ctx context.Context) error {
	var n int
	if err := r.pool.QueryRow(ctx, "SELECT iu_outbox.wake_late()").Scan(&n); err != nil {
		return fmt.Errorf("look for jobs from before the server's clock was set back: %w", err)
	}
	if n > 0 {
		r.logger.WarnContext(ctx, "Rescuer: jobs waited for a time far ahead, since the server's clock was set back; they run now",
			slog.Int("jobs", n))
	}
	return nil
}

func (r *Rescuer) watch(ctx context.Context) error {
	rows, err := r.pool.Query(ctx, deadSQL, r.presence.id)
	if err != nil {
		return fmt.Errorf("look for dead workers: %w", err)
	}
	corpses, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c corpse, err error) {
		var seen *time.Time
		if err = row.Scan(&c.ID, &c.LockKey, &seen); seen != nil {
			c.SeenAt = seen.UTC() // a key of a map has one location
		}
		return c, err
	})
	if err != nil {
		return fmt.Errorf("look for dead workers: %w", err)
	}
	now := time.Now()
	seen := make(map[corpse]time.Time, len(corpses))
	for _, c := range corpses {
		since, known := r.dead[c]
		if !known {
			since = now
		}
		seen[c] = since
		if now.Sub(since) < deadFor {
			continue
		}
		if err := r.bury(ctx, c); err != nil {
			return err
		}
	}
	r.dead = seen
	return nil
}

func (r *Rescuer) bury(ctx context.Context, c corpse) error {
	query, args := "SELECT iu_outbox.bury($1, $2, $3)", []any{c.ID, c.LockKey, c.SeenAt}
	if c.SeenAt.IsZero() {
		query, args = "SELECT iu_outbox.release_jobs($1, NULL)", []any{c.ID}
	}
	var n *int
	if err := r.pool.QueryRow(ctx, query, args...).Scan(&n); err != nil {
		return fmt.Errorf("release the jobs of the dead worker %s: %w", c.ID, err)
	}
	if n == nil {
		return nil // another process did, or it was only late
	}
	r.metrics.Rescued(*n)
	r.logger.WarnContext(ctx, "Rescuer: a worker died; its running jobs continue elsewhere",
		slog.String("worker", c.ID), slog.Int("jobs", *n))
	return nil
}

// reclaim releases jobs that the table gives to this process, and that it does not work: their fetch or completion was
// lost with the database, and River itself would leave them.
func (r *Rescuer) reclaim(ctx context.Context) error {
	rows, err := r.pool.Query(ctx, `
		SELECT j.id FROM iu_outbox.job AS j
		WHERE j.state = 'running' AND j.worker = $1
		  AND j.attempted_at NOT BETWEEN pg_catalog.now() - $2::interval AND pg_catalog.now() + $2::interval`,
		r.presence.id, staleAfter)
	if err != nil {
		return fmt.Errorf("look for jobs left behind: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("look for jobs left behind: %w", err)
	}
	now := time.Now()
	seen := make(map[int64]time.Time)
	var left []int64
	for _, id := range ids {
		if r.active(id) {
			continue
		}
		since, known := r.left[id]
		if !known {
			since = now
		}
		seen[id] = since
		if now.Sub(since) >= deadFor {
			left = append(left, id)
		}
	}
	r.left = seen
	if len(left) == 0 {
		return nil
	}
	var n int
	if err := r.pool.QueryRow(ctx, "SELECT iu_outbox.release_jobs($1, $2)", r.presence.id, left).Scan(&n); err != nil {
		return fmt.Errorf("release jobs left behind: %w", err)
	}
	r.metrics.Rescued(n)
	r.logger.WarnContext(ctx, "Rescuer: jobs whose completion was lost run again", slog.Int("jobs", n))
	return nil
}
