package operate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/listen"
	"github.com/iu-core/iuworker/jobs"
)

// How long things may take that take moments while all is well, in seconds.
const (
	slow    = 10.0
	stuck   = 60.0
	restart = "check that a worker is alive, and read its log"
)

// again is how long to wait before a thing that looks stuck is looked at again: a transaction that has just committed
// shows rows as old as itself.
const again = 1200 * time.Millisecond

func (e *examination) workers(ctx context.Context) (DoctorCheck, error) {
	workers, err := readAll[WorkerStatus](ctx, e, `
		SELECT w.id, w.hostname, w.pid, w.version, w.started_at, w.seen_at,
			w.seen_at BETWEEN pg_catalog.clock_timestamp() - $1::interval AND pg_catalog.clock_timestamp() + $1::interval
		FROM iu_outbox.worker AS w
		ORDER BY w.started_at DESC, w.id
		LIMIT 1000`, silentAfter)
	if err != nil {
		return DoctorCheck{}, err
	}
	var alive int
	var silent []string
	for _, w := range workers {
		if w.Alive {
			alive++
		} else {
			silent = append(silent, fmt.Sprintf("%s on %s, last seen at %s", w.ID, w.Hostname, w.SeenAt.UTC().Format("2006-01-02 15:04:05Z")))
		}
	}
	strangers, err := e.strangers(ctx)
	if err != nil {
		return DoctorCheck{}, err
	}
	switch {
	case alive == 0:
		return failed("no worker is alive: nothing is composed").with(silent).so("start one", "iuworker work"), nil
	case strangers.Result != HealthOK:
		return strangers, nil
	case len(silent) > 0:
		return warn("%s alive, and %s silent", counts(alive, "worker is", "workers are"), counts(len(silent), "is", "are")).with(silent).
			so("a dead worker disappears from this list within 30s; one that stays hangs, or cannot reach the database"), nil
	}
	return fine("%s alive", counts(alive, "worker is", "workers are")), nil
}

// strangers looks for logins that hold locks of ours and may not work. A producer that has just inserted holds a doorbell's
// shared, until it commits.
func (e *examination) strangers(ctx context.Context) (DoctorCheck, error) {
	type holder struct {
		PID         int
		Login       string
		Application string
		Locks       string
	}
	holders, err := readAll[holder](ctx, e, `
		SELECT h.pid, h.login, h.application_name, pg_catalog.string_agg(pg_catalog.format('(%s, %s)', h.class, h.key), ', ' ORDER BY h.class, h.key)
		FROM iu_outbox.lock_holder AS h
		JOIN pg_catalog.pg_stat_activity AS a ON a.pid = h.pid
		WHERE NOT h.may_work
		  AND (NOT h.shared OR a.xact_start IS NULL OR a.xact_start < pg_catalog.clock_timestamp() - $1::interval)
		GROUP BY h.pid, h.login, h.application_name
		ORDER BY h.pid`, silentAfter)
	if err != nil || len(holders) == 0 {
		return fine(""), err
	}
	var details []string
	for _, h := range holders {
		details = append(details, fmt.Sprintf("pid %d, user %s, %s: %s", h.PID, h.Login, orUnnamed(h.Application), h.Locks))
	}
	return warn("%s advisory locks of the workers without the role iu_worker: workers poll instead",
		counts(len(holders), "session holds", "sessions hold")).with(details).
		so("end the session, as an administrator", psql(fmt.Sprintf("SELECT pg_terminate_backend(%d)", holders[0].PID))), nil
}

// oldest is the oldest row of what should be gone in moments.
type oldest struct {
	ID      int64
	Seconds float64
}

// lingering returns the oldest row that a statement finds; nil if there is none, it is young, or it is gone by a
// second look.
func (e *examination) lingering(ctx context.Context, sql string, args ...any) (*oldest, error) {
	var first, second oldest
	err := e.row(ctx, []any{&first.ID, &first.Seconds}, sql, args...)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && first.Seconds < slow {
		return nil, nil //nolint:nilnil // none, which is no error
	}
	if err != nil {
		return nil, err
	}
	if !listen.Pause(ctx, again) {
		return nil, ctx.Err()
	}
	err = e.row(ctx, []any{&second.ID, &second.Seconds}, sql, args...)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && second.ID != first.ID {
		return nil, nil //nolint:nilnil // none, which is no error
	}
	return &second, err
}

// late judges how long something has been waiting.
func late(seconds float64, says string) DoctorCheck {
	if seconds < stuck {
		return warn("%s", says)
	}
	return failed("%s", says)
}

func (e *examination) outbox(ctx context.Context) (DoctorCheck, error) {
	row, err := e.lingering(ctx, `
		SELECT e.id, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - e.created_at)::double precision
		FROM iu_outbox.event AS e ORDER BY e.id LIMIT 1`)
	if err != nil || row == nil {
		return fine("no row has waited for long"), err
	}
	return late(row.Seconds, fmt.Sprintf("row %d has waited in the outbox for %s, and the relay does not take it", row.ID, lasted(row.Seconds))).
		so(restart+"; the relay skips rows that another session has locked", "iuworker status"), nil
}

func (e *examination) emissions(ctx context.Context) (DoctorCheck, error) {
	row, err := e.lingering(ctx, `
		SELECT e.id, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - e.created_at)::double precision
		FROM iu_outbox.emission AS e WHERE e.position IS NULL ORDER BY e.id LIMIT 1`)
	if err != nil || row == nil {
		return fine("no emission has waited for long"), err
	}
	return late(row.Seconds, fmt.Sprintf("emission %d has waited to be announced for %s", row.ID, lasted(row.Seconds))).
		so(restart+"; see also the check event type", "iuworker status"), nil
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

// jobs looks for those that run longer than they may, that nobody fetches, or that are due and not made available.
func (e *examination) jobs(ctx context.Context) (DoctorCheck, error) {
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
			return DoctorCheck{}, err
		}
		if job != nil {
			found = found.worse(late(job.Seconds, fmt.Sprintf(kind.says, job.ID, lasted(job.Seconds))).
				so(kind.wayOut, fmt.Sprintf("iuworker trace %d", job.ID)))
		}
	}
	return found, nil
}
