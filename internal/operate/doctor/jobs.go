package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/jobs"
)

// How many seconds may pass for what takes moments while all is well.
const (
	slow  = 10.0
	stuck = 60.0
)

const restart = "check that a worker is alive, and read its log"

// again is how long to wait before what looks stuck is read again: rows that a long transaction has just committed look old.
const again = 1200 * time.Millisecond

// oldest is the oldest row of a table whose rows should stay for moments only.
type oldest struct {
	ID      int64
	Seconds float64
}

// lingering returns the oldest row that a statement finds; nil if there is none, if it is young, or if another one is the
// oldest when it reads again.
func lingering(ctx context.Context, tx pgx.Tx, sql string) (*oldest, error) {
	first, err := structs[oldest](ctx, tx, sql)
	if err != nil || len(first) == 0 || first[0].Seconds < slow {
		return nil, err
	}
	if !retry.Pause(ctx, again) {
		return nil, ctx.Err()
	}
	second, err := structs[oldest](ctx, tx, sql)
	if err != nil || len(second) == 0 || second[0].ID != first[0].ID {
		return nil, err
	}
	return &second[0], nil
}

// dueSQL reads the first job of each priority by River's index for fetching: a million jobs that are not due cost nothing.
const dueSQL = `
	SELECT j.id, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - j.scheduled_at)::double precision - %[2]d
	FROM pg_catalog.unnest(pg_catalog.enum_range((NULL::iu_outbox.job).state)) AS s (state)
	CROSS JOIN pg_catalog.generate_series(1, 4) AS p (priority)
	CROSS JOIN LATERAL (
		SELECT j.id, j.scheduled_at FROM iu_outbox.job AS j
		WHERE s.state IN (%[1]s) AND j.state = s.state AND j.queue = 'events' AND j.priority = p.priority
		ORDER BY j.scheduled_at, j.id LIMIT 1) AS j
	ORDER BY j.scheduled_at LIMIT 1`

// delay is a way in which something is late: its message, with the id and the duration, the way out, the command for an ID, and
// a statement that finds the latest one.
type delay struct{ says, wayOut, command, sql string }

// worstDelay returns the gravest of several delays, or a check that says none.
func worstDelay(ctx context.Context, tx pgx.Tx, none string, delays ...delay) (Check, error) {
	worst := fine("%s", none)
	for _, kind := range delays {
		row, err := lingering(ctx, tx, kind.sql)
		if err != nil {
			return Check{}, err
		}
		if row == nil {
			continue
		}
		late := wrong(row.Seconds >= stuck, kind.says, row.ID, operate.Lasted(row.Seconds)).
			so(kind.wayOut, strings.Replace(kind.command, "ID", fmt.Sprint(row.ID), 1))
		if worse(late.Result, worst.Result) {
			worst = late
		}
	}
	return worst, nil
}

func (e *examination) outbox(ctx context.Context, tx pgx.Tx) (Check, error) {
	return worstDelay(ctx, tx, "no row has waited for long", delay{
		"row %d has waited in the outbox for %s, and the relay does not take it",
		restart + "; the relay skips rows that another session has locked", "iuworker status",
		`SELECT e.id, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - e.created_at)::double precision
		 FROM iu_outbox.event AS e ORDER BY e.id LIMIT 1`,
	})
}

func (e *examination) emissions(ctx context.Context, tx pgx.Tx) (Check, error) {
	return worstDelay(ctx, tx, "no emission has waited for long", delay{
		"emission %d has waited to be announced for %s", restart + "; see also the check event type", "iuworker status",
		`SELECT e.id, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - e.created_at)::double precision
		 FROM iu_outbox.emission AS e WHERE e.position IS NULL ORDER BY e.id LIMIT 1`,
	})
}

// jobs finds jobs that run longer than they may, that no worker fetches, or that are due and were not made available.
func (e *examination) jobs(ctx context.Context, tx pgx.Tx) (Check, error) {
	return worstDelay(ctx, tx, "no job has run or waited for long", delay{
		"job %d has run for %s, and the limit is " + compose.Timeout.String(),
		"its worker hangs, or lost it; a dead worker's jobs run again within 10s, others within two minutes: " + restart, "iuworker trace ID",
		`SELECT j.id, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - j.attempted_at)::double precision - 30
		 FROM iu_outbox.job AS j
		 WHERE j.state = 'running' AND j.queue IN ('events', 'scaleout')
		 ORDER BY j.attempted_at LIMIT 1`,
	}, delay{
		"job %d in the queue events has been due for %s, and no worker takes it",
		"resume the queue if it is paused, or start more workers: " + restart, "iuworker trace ID",
		fmt.Sprintf(dueSQL, "'available'", 0),
	}, delay{
		"job %d has been due for %s, and was not made available",
		"one worker does that, River's leader: " + restart, "iuworker trace ID",
		fmt.Sprintf(dueSQL, "'scheduled', 'retryable'", 10),
	})
}

func (e *examination) queues(ctx context.Context, tx pgx.Tx) (Check, error) {
	paused, err := texts(ctx, tx, `
		SELECT pg_catalog.format('%s since %s', q.name, pg_catalog.date_trunc('second', q.paused_at)) FROM iu_river.river_queue AS q
		WHERE q.paused_at IS NOT NULL ORDER BY q.paused_at`)
	if err != nil || len(paused) == 0 {
		return fine("no queue is paused"), err
	}
	var command string
	if slices.ContainsFunc(paused, func(queue string) bool { return strings.HasPrefix(queue, jobs.QueueScaleout+" since ") }) {
		command = "iuworker scaleout resume"
	}
	return warn("%s paused: no worker takes jobs from it", operate.Plural(len(paused), "queue is", "queues are")).with(paused).
		so("resume it unless it was paused deliberately; the pages resume any queue", command), nil
}

// retries counts the jobs that failed and are tried again, up to CountLimit.
func (e *examination) retries(ctx context.Context, tx pgx.Tx) (Check, error) {
	var n int64
	var last *string
	err := tx.QueryRow(ctx, `
		WITH retried AS MATERIALIZED (
			SELECT j.id, j.reason FROM iu_outbox.job AS j WHERE j.retrying LIMIT $1
		)
		SELECT pg_catalog.count(*), (SELECT r.reason FROM retried AS r ORDER BY r.id DESC LIMIT 1) FROM retried`, operate.CountLimit+1).Scan(&n, &last)
	if err != nil || n == 0 {
		return fine("no job waits for a retry"), err
	}
	found := warn("%s and wait for a retry", operate.Counted(n).Of("job failed", "jobs failed"))
	if last != nil {
		found = found.with([]string{fmt.Sprintf("one of them: %.300s", *last)})
	}
	return found.so("fix the cause: transient errors are retried for a day, others ten times", "iuworker status"), nil
}

// installation reports faults of the installation that hold events back.
func (e *examination) installation(ctx context.Context, tx pgx.Tx) (Check, error) {
	held, err := status.ReadHeld(ctx, tx)
	if err != nil || len(held) == 0 {
		return fine("no event is held back"), err
	}
	return failed("events are held back by a fault of the installation; they use no attempt").
		with(lines(held, func(h status.HeldCount) string { return fmt.Sprintf("%s jobs: %s", h.Count, h.Reason) })).
		so("fix the cause as described above; the events run again within seconds", "iuworker status"), nil
}

func (e *examination) deadLetters(ctx context.Context, tx pgx.Tx) (Check, error) {
	counts, err := status.DeadLetterCounts(ctx, tx)
	if err != nil || len(counts) == 0 {
		return fine("no dead letters"), err
	}
	var total operate.Count
	details := lines(counts, func(c status.DeadLetterCount) string {
		total = operate.Count{N: total.N + c.N, More: total.More || c.More}
		return fmt.Sprintf("%s: %s", c.Status, c.Count)
	})
	return warn("%s ended as dead letters", total.Of("event", "events")).with(details).
		so("see why, fix the cause, then retry them: iuworker dead-letters retry --status STATUS", "iuworker dead-letters list"), nil
}
