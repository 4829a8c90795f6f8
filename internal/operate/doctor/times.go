package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// fromTheFuture is a time of the server's clock that is still to come.
type fromTheFuture struct {
	What  string
	Ahead float64 // seconds
}

// Times that the server wrote when they were now, or that it wrote as a lease of some seconds.
const futureSQL = `
	SELECT t.what, EXTRACT(EPOCH FROM t.at - pg_catalog.clock_timestamp())::double precision
	FROM (
		SELECT 'the heartbeat of worker ' || w.id AS what, w.seen_at AS at FROM iu_outbox.worker AS w
		UNION ALL
		SELECT 'the newest row of the outbox', (SELECT e.created_at FROM iu_outbox.event AS e ORDER BY e.id DESC LIMIT 1)
		UNION ALL
		SELECT 'the newest emission', (SELECT e.created_at FROM iu_outbox.emission AS e ORDER BY e.id DESC LIMIT 1)
		UNION ALL
		SELECT 'the gate row ' || c.key, c.updated_at FROM public.dot_config AS c WHERE c.key LIKE 'iu\_core.%'
		UNION ALL
		SELECT 'the lease of consumer ' || l.consumer, l.lease_until - interval '5 minutes' FROM iu_outbox.consumer_lease AS l
		UNION ALL
		SELECT 'the lead of River''s client ' || l.leader_id, l.expires_at - interval '1 minute' FROM iu_river.river_leader AS l
		UNION ALL
		SELECT 'the start of the server', pg_catalog.pg_postmaster_start_time()
	) AS t
	WHERE t.at > pg_catalog.clock_timestamp() + interval '5 seconds'
	ORDER BY t.at DESC
	LIMIT 20`

// workerClock is how far the clock of a worker is from the server's, at least: the server says when a job began, and the
// worker when it ended.
type workerClock struct {
	Worker  string
	Seconds float64 // ahead; negative: behind
}

const workerClocksSQL = `
	SELECT c.worker, c.seconds
	FROM (
		SELECT j.worker,
			CASE WHEN pg_catalog.max(j.finalized_at) > pg_catalog.clock_timestamp()
				THEN EXTRACT(EPOCH FROM pg_catalog.max(j.finalized_at) - pg_catalog.clock_timestamp())
				ELSE EXTRACT(EPOCH FROM LEAST(pg_catalog.max(j.finalized_at - j.attempted_at), interval '0')) END::double precision AS seconds
		FROM (
			SELECT j.worker, j.attempted_at, j.finalized_at FROM iu_outbox.job AS j
			WHERE j.state = 'completed' AND j.finalized_at > pg_catalog.clock_timestamp() - interval '1 hour'
			ORDER BY j.finalized_at DESC LIMIT 500
		) AS j
		WHERE j.worker IS NOT NULL
		GROUP BY j.worker
	) AS c
	WHERE pg_catalog.abs(c.seconds) > 2
	ORDER BY pg_catalog.abs(c.seconds) DESC
	LIMIT 20`

// times looks for what shows that a clock was set, or that a worker's runs wrong. The clock check compares this machine's.
func (e *examination) times(ctx context.Context) (Check, error) {
	var future []fromTheFuture
	var clocks []workerClock
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		if future, err = operate.Collect(ctx, tx, pgx.RowToStructByPos[fromTheFuture], futureSQL); err != nil {
			return err
		}
		clocks, err = operate.Collect(ctx, tx, pgx.RowToStructByPos[workerClock], workerClocksSQL)
		return err
	})
	if err != nil {
		return Check{}, err
	}
	return judgeTimes(future, clocks), nil
}

func judgeTimes(future []fromTheFuture, clocks []workerClock) Check {
	var details []string
	for _, f := range future {
		details = append(details, fmt.Sprintf("%s is %s ahead of the server's clock", f.What, operate.Lasted(f.Ahead)))
	}
	for _, c := range clocks {
		where, off := "ahead of", c.Seconds
		if off < 0 {
			where, off = "behind", -off
		}
		details = append(details, fmt.Sprintf("the clock of worker %s is %s %s the server's", c.Worker, operate.Lasted(off), where))
	}
	switch {
	case len(details) == 0:
		return fine("no stored time lies in the future, and the workers' clocks agree with the server's")
	case len(future) == 0:
		return warn("%s", operate.Plural(len(clocks), "worker's clock is wrong", "workers' clocks are wrong")).with(details).
			so("synchronise that machine's clock by NTP", "timedatectl")
	}
	longest := time.Duration(future[0].Ahead * float64(time.Second))
	return warn("the server's clock was set back: work with a time in the future waits for it, %s at most", operate.Lasted(longest.Seconds())).
		with(details).so("synchronise the server's clock by NTP, which slews it; until then workers ignore these times", "timedatectl")
}
