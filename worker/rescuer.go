package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/jobs"
	"github.com/iu-core/iuworker/worker/listen"
	"github.com/iu-core/iuworker/worker/metrics"
)

// How a process is known to be dead. It lives while it holds its session lock, which ends with its connection, or
// while its row is fresh, which does for a process without a session (behind a transaction pooler) and for one
// that is reconnecting. After a restart of the server all locks are gone and all rows are old for a moment: so a
// process must have been seen dead for a while by one that was connected all the time.
//
//	killed at 0 s, row stale at 4 s, seen dead until 7 s, jobs released before 9 s
const (
	heartbeatInterval = time.Second
	staleAfter        = 4 * time.Second
	deadFor           = 3 * time.Second
)

// leftBehind is how long a job may be running by the table, and by nobody in the process that it names: its
// completion was lost with the database, and River itself would wait for an hour.
const leftBehind = 2 * jobs.Timeout

// Rescuer announces this process, and lets the jobs of processes that died run again. Run it once a process.
type Rescuer struct {
	pool    *pgxpool.Pool
	id      string
	lockKey int32
	about   presence
	active  func(jobID int64) bool
	logger  *slog.Logger
	outage  *listen.Outage
	metrics *metrics.Metrics

	dead map[string]time.Time // since when each was seen dead
}

type presence struct {
	Hostname string
	PID      int
	Version  string
}

const heartbeatSQL = `
	INSERT INTO iu_outbox.worker AS w (id, lock_key, hostname, pid, version)
	VALUES ($1, $2, $3, $4, $5)
	ON CONFLICT (id) DO UPDATE SET seen_at = pg_catalog.clock_timestamp()`

// Whoever has running jobs or a row, and neither a lock nor a fresh row.
const deadSQL = `
	SELECT c.id
	FROM (
		SELECT w.id FROM iu_outbox.worker AS w
		UNION
		SELECT j.attempted_by[pg_catalog.array_upper(j.attempted_by, 1)]
		FROM iu_river.river_job AS j WHERE j.state = 'running' AND j.kind = $3
	) AS c
	WHERE c.id <> $1
	  AND NOT EXISTS (
		SELECT FROM iu_outbox.worker AS w
		WHERE w.id = c.id
		  AND (w.seen_at > pg_catalog.clock_timestamp() - $2::interval
			OR EXISTS (
				SELECT FROM pg_catalog.pg_locks AS l
				WHERE l.locktype = 'advisory' AND l.classid = $4::bigint::oid AND l.objid = w.lock_key::bigint::oid
				  AND l.objsubid = 2 AND l.granted
				  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d
				                    WHERE d.datname = pg_catalog.current_database()))))`

// Run beats and watches until ctx ends.
func (r *Rescuer) Run(ctx context.Context) error {
	for beat := 0; ctx.Err() == nil; beat++ {
		if err := r.round(ctx, beat); err != nil {
			r.dead = nil // what was seen before an outage says nothing after it
			if ctx.Err() == nil {
				r.outage.Failed(ctx, err)
			}
		} else {
			r.outage.Worked(ctx)
		}
		listen.Pause(ctx, heartbeatInterval)
	}
	return nil
}

func (r *Rescuer) round(ctx context.Context, beat int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := r.pool.Exec(ctx, heartbeatSQL, r.id, r.lockKey, r.about.Hostname, r.about.PID, r.about.Version)
	if err != nil {
		return fmt.Errorf("say that this worker lives: %w", err)
	}
	if err := r.watch(ctx); err != nil {
		return err
	}
	if beat%15 == 14 {
		return r.reclaim(ctx)
	}
	return nil
}

func (r *Rescuer) watch(ctx context.Context) error {
	rows, err := r.pool.Query(ctx, deadSQL, r.id, staleAfter, jobs.Kind, lockClassWorker)
	if err != nil {
		return fmt.Errorf("look for dead workers: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for dead workers: %w", err)
	}
	now := time.Now()
	seen := make(map[string]time.Time, len(ids))
	for _, id := range ids {
		since, known := r.dead[id]
		if !known {
			since = now
		}
		seen[id] = since
		if now.Sub(since) < deadFor {
			continue
		}
		if err := r.release(ctx, id); err != nil {
			return err
		}
		delete(seen, id)
	}
	r.dead = seen
	return nil
}

func (r *Rescuer) release(ctx context.Context, id string) error {
	var n int
	if err := r.pool.QueryRow(ctx, "SELECT iu_outbox.release_jobs($1, NULL)", id).Scan(&n); err != nil {
		return fmt.Errorf("release the jobs of the dead worker %s: %w", id, err)
	}
	if _, err := r.pool.Exec(ctx, "DELETE FROM iu_outbox.worker AS w WHERE w.id = $1", id); err != nil {
		return fmt.Errorf("forget the dead worker %s: %w", id, err)
	}
	r.metrics.Rescued(n)
	r.logger.WarnContext(ctx, "Rescuer: a worker died; its running jobs go on elsewhere",
		slog.String("worker", id), slog.Int("jobs", n))
	return nil
}

// reclaim releases jobs that the table gives to this process, and that it does not work.
func (r *Rescuer) reclaim(ctx context.Context) error {
	rows, err := r.pool.Query(ctx, `
		SELECT j.id FROM iu_river.river_job AS j
		WHERE j.state = 'running' AND j.kind = $3 AND j.attempted_by[pg_catalog.array_upper(j.attempted_by, 1)] = $1
		  AND j.attempted_at < pg_catalog.now() - $2::interval`, r.id, leftBehind, jobs.Kind)
	if err != nil {
		return fmt.Errorf("look for jobs left behind: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("look for jobs left behind: %w", err)
	}
	var left []int64
	for _, id := range ids {
		if !r.active(id) {
			left = append(left, id)
		}
	}
	if len(left) == 0 {
		return nil
	}
	var n int
	if err := r.pool.QueryRow(ctx, "SELECT iu_outbox.release_jobs($1, $2)", r.id, left).Scan(&n); err != nil {
		return fmt.Errorf("release jobs left behind: %w", err)
	}
	r.metrics.Rescued(n)
	r.logger.WarnContext(ctx, "Rescuer: jobs whose completion was lost run again", slog.Int("jobs", n))
	return nil
}

// leave takes this process's row away: what it still ran was given back by the shutdown.
func (r *Rescuer) leave(ctx context.Context) error {
	if _, err := r.pool.Exec(ctx, "DELETE FROM iu_outbox.worker AS w WHERE w.id = $1", r.id); err != nil {
		return fmt.Errorf("sign off: %w", err)
	}
	return nil
}
