package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/jobs"
)

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

// overdue are the ways in which a job is late, and how to find the latest one.
var overdue = []struct{ says, wayOut, sql string }{
	{
		"job %d has run for %s, and the limit is " + compose.Timeout.String(),
		"its worker hangs, or lost it; a dead worker's jobs run again within 10s, others within two minutes: " + restart,
		`SELECT j.id, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - j.attempted_at)::double precision - 30
		 FROM iu_outbox.job AS j
		 WHERE j.state = 'running' AND j.queue IN ('events', 'scaleout')
		 ORDER BY j.attempted_at LIMIT 1`,
	},
	{
		"job %d in the queue events has been due for %s, and no worker takes it",
		"resume the queue if it is paused, or start more workers: " + restart,
		fmt.Sprintf(dueSQL, "'available'", 0),
	},
	{
		"job %d has been due for %s, and was not made available",
		"one worker does that, River's leader: " + restart,
		fmt.Sprintf(dueSQL, "'scheduled', 'retryable'", 10),
	},
}

// jobs looks for jobs that run longer than they may, that nobody fetches, or that are due and were not made available.
func (e *examination) jobs(ctx context.Context, tx pgx.Tx) (Check, error) {
	found := fine("no job has run or waited for long")
	for _, kind := range overdue {
		job, err := lingering(ctx, tx, kind.sql)
		if err != nil {
			return Check{}, err
		}
		if job == nil {
			continue
		}
		late := wrong(job.Seconds >= stuck, kind.says, job.ID, operate.Lasted(job.Seconds)).so(kind.wayOut, fmt.Sprintf("iuworker trace %d", job.ID))
		if worse(late.Result, found.Result) {
			found = late
		}
	}
	return found, nil
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
