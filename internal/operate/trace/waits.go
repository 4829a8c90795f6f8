package trace

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/rivertype"

	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/jobs"
)

// noWorker is what an event waits for while no worker is alive.
const noWorker = "a worker: none is alive; to start one, run: iuworker work"

// waits returns what an event waits for; "" if it waits for nothing.
func (r *reader) waits(ctx context.Context, event *Event) (string, error) {
	switch event.State {
	case operate.EventDone:
		return r.announcing(ctx, event)
	case operate.EventWaiting, operate.EventWorking, operate.EventParked:
		for i := range event.Jobs {
			if event.Jobs[i].unfinished {
				return r.job(ctx, event.State, &event.Jobs[i])
			}
		}
		if len(event.Outbox) > 0 {
			return r.outbox(ctx, event.Outbox[0])
		}
	case operate.EventDead:
		if len(event.DeadLetters) == 0 {
			break
		}
		letter := event.DeadLetters[len(event.DeadLetters)-1]
		choice := "--status " + letter.Status
		if letter.EventID != nil {
			choice = "--event " + letter.EventID.String()
		}
		return fmt.Sprintf("an operator to retry or drop it: %s; fix the cause, then run: iuworker dead-letters retry %s",
			reason(letter), choice), nil
	}
	return "", nil
}

func reason(letter operate.DeadLetter) string {
	if letter.Detail == nil || *letter.Detail == "" {
		return letter.Status
	}
	return letter.Status + ": " + *letter.Detail
}

func (r *reader) anyWorker(ctx context.Context) (alive bool, err error) {
	err = r.tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM iu_outbox.worker_status AS w WHERE w.alive)").Scan(&alive)
	return alive, err
}

func (r *reader) outbox(ctx context.Context, row OutboxRow) (string, error) {
	if alive, err := r.anyWorker(ctx); err != nil || !alive {
		return noWorker, err
	}
	if row.AvailableAt.After(time.Now()) {
		return "its time: not before " + stamp(row.AvailableAt), nil
	}
	return "the relay to take it out of the outbox", nil
}

func (r *reader) job(ctx context.Context, state string, job *Job) (string, error) {
	if state == operate.EventParked {
		return r.parked(ctx, job)
	}
	if job.State == string(rivertype.JobStateRunning) {
		return r.blocked(ctx, job)
	}
	alive, err := r.anyWorker(ctx)
	switch {
	case err != nil:
		return "", err
	case !alive:
		return noWorker, nil
	case job.QueuePaused:
		out := "resume it on the page Workers"
		if job.Queue == jobs.QueueScaleout {
			out = "to resume it, run: iuworker scaleout resume"
		}
		return fmt.Sprintf("its queue %s, which is paused; %s", job.Queue, out), nil
	case job.retrying:
		in, err := r.inTheWay(ctx, job, true)
		if in != "" {
			return in + "; next try at " + stamp(job.ScheduledAt), err
		}
		lastError := "unknown error"
		if job.reason != nil {
			lastError = *job.reason
		}
		return fmt.Sprintf("its next try at %s; the last one failed: %s", stamp(job.ScheduledAt), lastError), err
	case state == operate.EventWaiting:
		return "its time: not before " + stamp(job.ScheduledAt), nil
	}
	return r.queued(ctx, job)
}

func (r *reader) parked(ctx context.Context, job *Job) (string, error) {
	if job.Parked == nil || job.Parked.Gate == "" {
		return "a fault of the installation to be fixed: " + *cmp.Or(job.reason, new(string)), nil
	}
	gates, err := operate.Gates(ctx, r.tx)
	if slices.ContainsFunc(gates, func(g operate.Gate) bool { return g.Gate == job.Parked.Gate && g.Open }) {
		return "a worker to pick it up (its gate has reopened)", err
	}
	return "its gate to open: " + job.Parked.Reason, err
}

func (r *reader) queued(ctx context.Context, job *Job) (string, error) {
	var n int64
	err := r.tx.QueryRow(ctx, `
		SELECT pg_catalog.count(*) FROM (
			SELECT FROM iu_outbox.job AS j
			WHERE j.state = 'available' AND j.queue = $1 AND j.scheduled_at <= $2 AND j.id <> $3
			LIMIT $4) AS j`, job.Queue, job.ScheduledAt, job.ID, operate.CountLimit+1).Scan(&n)
	return fmt.Sprintf("its turn in the queue %s: %s before it", job.Queue, operate.Counted(n).Of("job is", "jobs are")), err
}

// blocked returns what a running job waits for.
func (r *reader) blocked(ctx context.Context, job *Job) (string, error) {
	in, err := r.inTheWay(ctx, job, false)
	switch {
	case err != nil || in != "":
		return in, err
	case job.Worker == nil:
		return "its worker", nil
	}
	return "its worker, running in " + *job.Worker, nil
}

// inTheWay returns which sessions block the one that composes the job's event; "" if none do. With holders it includes those
// that hold the instance key, for a job between two attempts. A composing session is recognized by its lock on the key, and
// before it has that by its statement, which it shares with other jobs.
func (r *reader) inTheWay(ctx context.Context, job *Job, holders bool) (string, error) {
	pids, err := operate.Collect(ctx, r.tx, pgx.RowTo[string], `
		WITH key AS (
			SELECT pg_catalog.hashtextextended('iu_core.auto_instantiate:' || $1, 0) AS k
		), held AS MATERIALIZED (
			SELECT l.pid, l.granted FROM pg_catalog.pg_locks AS l, key
			WHERE l.locktype = 'advisory' AND l.objsubid = 1
			  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
			  AND l.classid::bigint = ((key.k >> 32) & 4294967295) AND l.objid::bigint = (key.k & 4294967295)
		), composing AS (
			SELECT h.pid FROM held AS h
			UNION
			SELECT a.pid FROM pg_catalog.pg_stat_activity AS a
			WHERE a.datname = pg_catalog.current_database() AND a.wait_event_type = 'Lock'
			  AND (pg_catalog.strpos(a.query, 'compose_batch') > 0
			       OR pg_catalog.strpos(a.query, 'fn_iu_auto_instantiate_from_event') > 0)
		), found AS (
			SELECT b.pid FROM composing AS c CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(c.pid)) AS b (pid)
			WHERE b.pid <> 0
			UNION
			SELECT h.pid FROM held AS h WHERE $2 AND h.granted
		)
		SELECT pg_catalog.concat('pid ', f.pid, ' (', pg_catalog.concat_ws(', ',
			NULLIF(a.application_name, ''), a.usename, a.state,
			'for ' || pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - a.xact_start)), ')')
		FROM found AS f
		LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = f.pid
		ORDER BY f.pid LIMIT 5`, job.Args.InstanceKeySuffix, holders)
	if err != nil || len(pids) == 0 {
		return "", err
	}
	return "a lock: blocked by " + strings.Join(pids, " and ") +
		"; wait for that transaction, or end it by: SELECT pg_terminate_backend(pid)", nil
}

// announcing returns what a composed instance waits for to be announced.
func (r *reader) announcing(ctx context.Context, event *Event) (string, error) {
	if event.Instance == nil || event.Instance.EmitMode != "live" || event.Emission == nil || event.Emission.Position != nil {
		return "", nil
	}
	var active bool
	if err := r.tx.QueryRow(ctx, "SELECT iu_outbox.announcing()").Scan(&active); err != nil {
		return "", err
	}
	if !active {
		return "the event type " + names.EventType + " to be active again in the registry", nil
	}
	if alive, err := r.anyWorker(ctx); err != nil || !alive {
		return noWorker, err
	}
	return "the emitter to announce it", nil
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05 UTC") }
