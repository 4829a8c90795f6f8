package operate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/jobs"
)

// The states of a Trace.
const (
	TraceWaiting    = "waiting"
	TraceWorking    = "working"
	TraceParkedNow  = "parked"
	TraceDone       = "done"
	TraceDead       = "dead"
	TraceRolledBack = "rolled_back"
	TraceGone       = "gone" // a job ended that left neither an instance nor a dead letter: the letter was dropped, or retried
)

// explain says what the event's state is and what it waits for. An instance says more than a job (that will find it),
// and whatever is on its way more than a dead letter.
func (t *tracing) explain(ctx context.Context, trace *Trace) (err error) {
	unfinished := trace.unfinished()
	switch {
	case trace.Instance != nil:
		trace.State = TraceDone
		trace.Waits, err = t.announcing(ctx, trace)
	case unfinished != nil:
		trace.State, trace.Waits, err = t.job(ctx, unfinished)
	case len(trace.Outbox) > 0:
		trace.State = TraceWaiting
		trace.Waits, err = t.outbox(ctx, trace.Outbox[0])
	case len(trace.DeadLetters) > 0:
		letter := trace.DeadLetters[len(trace.DeadLetters)-1]
		choice := "--status " + letter.Status
		if letter.EventID != nil {
			choice = "--event " + letter.EventID.String()
		}
		trace.State = TraceDead
		trace.Waits = fmt.Sprintf("an operator to retry or drop it: %s; fix the cause, then run: iuworker dead-letters retry %s",
			reason(letter), choice)
	case trace.Emission != nil && trace.Emission.RolledBackAt != nil || trace.composed():
		trace.State = TraceRolledBack
	default:
		trace.State = TraceGone
	}
	return err
}

func (trace *Trace) unfinished() *TraceJob {
	for i, job := range trace.Jobs {
		switch job.State {
		case "available", "pending", "retryable", "running", "scheduled":
			return &trace.Jobs[i]
		}
	}
	return nil
}

// composed reports whether a job composed an instance; who asks knows that there is none now.
func (trace *Trace) composed() bool {
	for _, job := range trace.Jobs {
		if job.Output != nil && (job.Output.Status == jobs.StatusInstantiated || job.Output.Status == jobs.StatusIdempotentReplay) {
			return true
		}
	}
	return false
}

func reason(letter DeadLetter) string {
	if letter.Detail == nil || *letter.Detail == "" {
		return letter.Status
	}
	return letter.Status + ": " + *letter.Detail
}

// noWorker is what is missing if nothing happens.
const noWorker = "a worker: none is alive; to start one, run: iuworker work"

func (t *tracing) anyWorker(ctx context.Context) (alive bool, err error) {
	err = t.tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM iu_outbox.worker AS w
			WHERE w.seen_at BETWEEN pg_catalog.clock_timestamp() - $1::interval AND pg_catalog.clock_timestamp() + $1::interval)`,
		SilentAfter).Scan(&alive)
	return alive, err
}

func (t *tracing) outbox(ctx context.Context, row TraceOutbox) (string, error) {
	if alive, err := t.anyWorker(ctx); err != nil || !alive {
		return noWorker, err
	}
	if row.AvailableAt.After(time.Now()) {
		return "its time: not before " + stamp(row.AvailableAt), nil
	}
	return "the relay to take it out of the outbox", nil
}

func (t *tracing) job(ctx context.Context, job *TraceJob) (state, waits string, err error) {
	if job.Parked != nil && job.State == "scheduled" {
		return t.parked(ctx, job)
	}
	if job.State == "running" {
		waits, err = t.blocked(ctx, job)
		return TraceWorking, waits, err
	}
	alive, err := t.anyWorker(ctx)
	switch {
	case err != nil:
		return TraceWorking, "", err
	case !alive:
		return TraceWorking, noWorker, nil
	case job.QueuePaused:
		out := "resume it on the page Workers"
		if job.Queue == jobs.QueueScaleout {
			out = "to resume it, run: iuworker scaleout resume"
		}
		return TraceWorking, fmt.Sprintf("its queue %s, which is paused; %s", job.Queue, out), nil
	case job.State == "scheduled" && job.Retry != nil, job.State == "retryable":
		waits = fmt.Sprintf("its next try at %s; the last one failed: %s", stamp(job.ScheduledAt), job.lastError())
		in, err := t.inTheWay(ctx, job, true)
		if in != "" {
			waits = in + "; next try at " + stamp(job.ScheduledAt)
		}
		return TraceWorking, waits, err
	case job.State == "scheduled" || job.State == "pending":
		return TraceWaiting, "its time: not before " + stamp(job.ScheduledAt), nil
	}
	waits, err = t.queued(ctx, job)
	return TraceWorking, waits, err
}

func (j *TraceJob) lastError() string {
	switch {
	case j.Retry != nil:
		return j.Retry.Error
	case len(j.Errors) > 0:
		return j.Errors[len(j.Errors)-1].Error
	default:
		return "unknown error"
	}
}

func (t *tracing) parked(ctx context.Context, job *TraceJob) (state, waits string, err error) {
	if job.Parked.Gate == "" {
		return TraceParkedNow, "a fault of the installation to be fixed: " + job.Parked.Reason, nil
	}
	gates, err := Gates(ctx, t.tx)
	if err != nil {
		return "", "", err
	}
	for _, gate := range gates {
		if gate.Gate == job.Parked.Gate && gate.Open {
			return TraceParkedNow, "a worker to pick it up (its gate has reopened)", nil
		}
	}
	return TraceParkedNow, "its gate to open: " + job.Parked.Reason, nil
}

func (t *tracing) queued(ctx context.Context, job *TraceJob) (string, error) {
	var n int64
	err := t.tx.QueryRow(ctx, `
		SELECT pg_catalog.count(*) FROM (
			SELECT FROM iu_outbox.job AS j
			WHERE j.state = 'available' AND j.queue = $1 AND j.scheduled_at <= $2 AND j.id <> $3
			LIMIT $4) AS j`, job.Queue, job.ScheduledAt, job.ID, CountLimit+1).Scan(&n)
	return fmt.Sprintf("its turn in the queue %s: %s before it", job.Queue, ahead(Counted(n))), err
}

func ahead(n Count) string {
	if n.N == 1 && !n.More {
		return "1 job is"
	}
	return n.String() + " jobs are"
}

// blocked returns whom a running job waits for.
func (t *tracing) blocked(ctx context.Context, job *TraceJob) (string, error) {
	in, err := t.inTheWay(ctx, job, false)
	switch {
	case err != nil || in != "":
		return in, err
	case job.Worker == nil:
		return "its worker", nil
	default:
		return "its worker, running in " + *job.Worker, nil
	}
}

// inTheWay returns which sessions block the one that composes the job's event, or, if none does now (it is between
// two tries), which hold its instance key; "" for none. A composing session is known by the lock that it takes on the
// key; if it has not come so far, by its statement, which it shares with other jobs.
func (t *tracing) inTheWay(ctx context.Context, job *TraceJob, holders bool) (string, error) {
	var pids []string
	err := t.each(ctx, scanText(&pids), `
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
func (t *tracing) announcing(ctx context.Context, trace *Trace) (string, error) {
	switch {
	case trace.Instance.EmitMode != "live", trace.Emission == nil, trace.Emission.Position != nil:
		return "", nil
	}
	var active bool
	err := t.tx.QueryRow(ctx, "SELECT iu_outbox.announcing()").Scan(&active)
	if err != nil {
		return "", err
	}
	if !active {
		return "the event type " + names.EventType + " to be active again in the registry", nil
	}
	if alive, err := t.anyWorker(ctx); err != nil || !alive {
		return noWorker, err
	}
	return "the emitter to announce it", nil
}

func scanText(to *[]string) func(pgx.CollectableRow) error {
	return func(row pgx.CollectableRow) error {
		var text string
		err := row.Scan(&text)
		*to = append(*to, text)
		return err
	}
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05 UTC") }
