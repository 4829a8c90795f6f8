package doctor

import (
	"context"
	"fmt"

	"github.com/iu-core/iuworker/internal/operate"
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

// jobs looks for those that run longer than they may, that nobody fetches, or that are due and not made available.
func (e *examination) jobs(ctx context.Context) (Check, error) {
	found := fine("no job has run or waited for long")
	for _, kind := range []struct{ says, wayOut, sql string }{
		{
			"job %d has run for %s, and the limit is " + jobs.Timeout.String(),
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
	} {
		job, err := e.lingering(ctx, kind.sql)
		if err != nil {
			return Check{}, err
		}
		if job != nil {
			found = found.worse(late(job.Seconds, fmt.Sprintf(kind.says, job.ID, operate.Lasted(job.Seconds))).
				so(kind.wayOut, fmt.Sprintf("iuworker trace %d", job.ID)))
		}
	}
	return found, nil
}
