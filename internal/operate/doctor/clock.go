package doctor

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// clock compares this machine's clock, by which workers schedule retries, with the server's, by which they fetch them.
func (e *examination) clock(ctx context.Context, tx pgx.Tx) (Check, error) {
	var there time.Time
	before := time.Now()
	err := tx.QueryRow(ctx, "SELECT pg_catalog.clock_timestamp()").Scan(&there)
	took := time.Since(before)
	return judgeClock(before.Add(took/2).Sub(there), took/2), err
}

// judgeClock judges how far this machine's clock is ahead; within is the error of that measurement.
func judgeClock(ahead, within time.Duration) Check {
	off := max(ahead.Abs()-within, 0)
	says := fmt.Sprintf("this machine's clock is %s the server's", offset(off.Seconds(), ahead < 0))
	const wayOut = "synchronise the clocks of both machines by NTP"
	switch {
	case off > time.Minute:
		return failed("%s: retries come that much early or late", says).so(wayOut, "timedatectl")
	case off > 2*time.Second:
		return warn("%s", says).so(wayOut, "timedatectl")
	case off < 100*time.Millisecond:
		return fine("this machine's clock agrees with the server's")
	}
	return fine("%s", says)
}

// offset returns how far a clock is ahead of another one, or behind it.
func offset(seconds float64, behind bool) string {
	if behind {
		return operate.Lasted(seconds) + " behind"
	}
	return operate.Lasted(seconds) + " ahead of"
}

// fromTheFuture is a stored time of the server's clock that is in the future.
type fromTheFuture struct {
	What  string
	Ahead float64 // seconds
}

// Times that the server wrote as the current time, or as the end of a lease.
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

// workerClock is how far, at least, the clock of a worker is from the server's: the server sets the time at which a job
// begins, and the worker the time at which it ends.
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

// times finds signs that the server's clock was set back, or that a worker's clock is wrong.
func (e *examination) times(ctx context.Context, tx pgx.Tx) (Check, error) {
	future, err := structs[fromTheFuture](ctx, tx, futureSQL)
	if err != nil {
		return Check{}, err
	}
	clocks, err := structs[workerClock](ctx, tx, workerClocksSQL)
	return judgeTimes(future, clocks), err
}

func judgeTimes(future []fromTheFuture, clocks []workerClock) Check {
	details := append(lines(future, func(f fromTheFuture) string {
		return fmt.Sprintf("%s is %s ahead of the server's clock", f.What, operate.Lasted(f.Ahead))
	}), lines(clocks, func(c workerClock) string {
		return fmt.Sprintf("the clock of worker %s is %s the server's", c.Worker, offset(math.Abs(c.Seconds), c.Seconds < 0))
	})...)
	switch {
	case len(details) == 0:
		return fine("no stored time lies in the future, and the workers' clocks agree with the server's")
	case len(future) == 0:
		return warn("%s", operate.Plural(len(clocks), "worker's clock is wrong", "workers' clocks are wrong")).with(details).
			so("synchronise that machine's clock by NTP", "timedatectl")
	}
	return warn("the server's clock was set back: work with a time in the future waits for it, %s at most", operate.Lasted(future[0].Ahead)).
		with(details).so("synchronise the server's clock by NTP, which slews it; until then workers ignore these times", "timedatectl")
}
