package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"

	"github.com/iu-core/iuworker/jobs"
)

// claimedTimeout bounds the statement that composes claimed events. If it takes longer, they become jobs.
const claimedTimeout = 3 * time.Second

const (
	composeClaimedSQL = `
	SELECT c.n, c.result, c.job
	FROM iu_outbox.compose_claimed($1::text[]::uuid[], $2, $3::text[]::uuid[], $4, $5, $6, $7, $8, $9,
		NULLIF($10::integer, 0), $11, $12, $13::text[]::jsonb[], $14) AS c`

	lockReadySQL = "SELECT r.id, r.attempt, r.event, r.created_at FROM iu_outbox.lock_ready_jobs($1, $2) AS r"
)

// beginReady sets timeouts that do not depend on what a role or a database has set, in the round trip that begins the transaction.
var beginReady = pgx.TxOptions{BeginQuery: fmt.Sprintf(`BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
	SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = 100; SET LOCAL idle_in_transaction_session_timeout = %d`,
	claimedTimeout.Milliseconds(), grace.Milliseconds())}

// Claimed is what became of events in the transaction that took them: that claimed their outbox rows, or locked their jobs.
type Claimed struct {
	Outcomes []*Outcome // of each event; nil: it was not composed, and River works its job

	batcher *Batcher
	queue   string
	batch   Batch
	runs    []trace.Span // of each event
	calls   []trace.Span
}

func (w *Worker) newClaimed(queue string, n int) *Claimed {
	return &Claimed{
		Outcomes: make([]*Outcome, n), batcher: w.batcher(queue), queue: queue, batch: Batch{Began: time.Now()},
		runs: make([]trace.Span, n), calls: make([]trace.Span, n),
	}
}

// ComposeClaimed composes events whose outbox rows tx has claimed, and inserts their jobs, completed: so River need not insert, fetch
// and complete each. The events must be due, and have no unfinished job. What is not sure to end well is left out, and so is
// every event while a fault, a rate or a closed gate holds jobs back. The jobs name by as the worker that ran them. After an error
// tx must be rolled back; once it is committed the caller calls Report.
func (w *Worker) ComposeClaimed(ctx context.Context, tx pgx.Tx, by Incarnation, events []jobs.AutoInstantiateArgs) (*Claimed, error) {
	claimed := w.newClaimed(jobs.QueueEvents, len(events))
	if !w.ComposesAtOnce() {
		return claimed, nil
	}
	taken := make([]Event, len(events))
	for i, event := range events {
		taken[i] = Event{AutoInstantiateArgs: event}
	}
	return claimed, w.composeTaken(ctx, tx, by, claimed, taken)
}

// ComposesAtOnce reports whether nothing holds jobs back: no rate limits them, and no fault. Safe for concurrent use.
func (w *Worker) ComposesAtOnce() bool {
	return !w.cfg.Events.cfg.Throttle.limited() && w.cfg.Hold.Well()
}

// ComposeReady composes the events of up to MaxBatch jobs of a queue that are ready to run, and completes the jobs, in one transaction:
// so River need not fetch and complete each. It is for a backlog. It leaves to River what ComposeClaimed leaves out, and jobs
// that have failed before. It returns how many jobs it completed, and after an error 0.
func (w *Worker) ComposeReady(ctx context.Context, by Incarnation, queue string) (completed int, err error) {
	if !w.ComposesAtOnce() {
		return 0, nil
	}
	var claimed *Claimed
	ctx, cancel := context.WithTimeout(ctx, claimedTimeout+grace)
	defer cancel()
	err = pgx.BeginTxFunc(ctx, w.batcher(queue).cfg.Pool, beginReady, func(tx pgx.Tx) error {
		ready, err := lockReady(ctx, tx, queue)
		if err != nil || len(ready) < leastSet {
			return err
		}
		claimed = w.newClaimed(queue, len(ready))
		return w.composeTaken(ctx, tx, by, claimed, ready)
	})
	if err != nil {
		return 0, fmt.Errorf("compose the events of jobs that are ready: %w", err)
	}
	if claimed == nil {
		return 0, nil
	}
	w.Report(claimed)
	return claimed.batch.Events, nil
}

// lockReady returns jobs that are ready to run, whose arguments are valid.
func lockReady(ctx context.Context, tx pgx.Tx, queue string) (ready []Event, err error) {
	rows, err := tx.Query(ctx, lockReadySQL, queue, MaxBatch)
	if err != nil {
		return nil, err
	}
	var event Event
	var attempt int16
	var raw []byte
	var createdAt time.Time
	_, err = pgx.ForEachRow(rows, []any{&event.JobID, &attempt, &raw, &createdAt}, func() error {
		event.AutoInstantiateArgs = jobs.AutoInstantiateArgs{}
		if json.Unmarshal(raw, &event.AutoInstantiateArgs) != nil || event.CheckKey() != nil {
			return nil //nolint:nilerr // the job's run reports it
		}
		if event.CreatedAt.IsZero() { // inserted by an application; the metrics count from there
			event.CreatedAt = createdAt
		}
		event.Attempt = int(attempt) + 1
		ready = append(ready, event)
		return nil
	})
	return ready, err
}

// composeTaken composes the events that tx has taken, and notes how it ended.
func (w *Worker) composeTaken(ctx context.Context, tx pgx.Tx, by Incarnation, claimed *Claimed, events []Event) error {
	call := batchCall{by: by}
	var args []string
	var jobIDs []int64
	var at []int // the index in events of each event of the call
	for i, event := range events {
		if claimed.batcher.held.has(event.TemplateCollectionID) {
			continue
		}
		if event.JobID != 0 {
			jobIDs = append(jobIDs, event.JobID)
		} else if raw, err := json.Marshal(event.AutoInstantiateArgs); err == nil {
			args = append(args, string(raw))
		} else {
			continue // River refuses it, too
		}
		ctx, run := w.startRun(ctx, event.AutoInstantiateArgs, claimed.queue)
		claimed.runs[i], claimed.calls[i] = run, startCall(ctx, len(events))
		call.events, call.traces = append(call.events, event), append(call.traces, emittedTrace(ctx, event.AutoInstantiateArgs))
		at = append(at, i)
	}
	if len(at) == 0 {
		return nil
	}
	var emission *Emission
	if len(events) == 1 && claimed.batcher.Busy() == 0 {
		emission = &Emission{}
	}
	more := []any{claimed.batcher.leastSet(), claimed.queue, jobIDs, args, jobs.MaxAttempts}
	err := call.claimed(ctx, tx, more, emission, func(n int, result Result, job int64) {
		i := at[n-1]
		claimed.Outcomes[i] = &Outcome{
			Args: events[i].AutoInstantiateArgs, JobID: job, Queue: claimed.queue, Result: result, Ending: EndingCompleted,
			Trace: claimed.runs[i].SpanContext(),
		}
		claimed.batch.Events++
	})
	if err != nil {
		return fmt.Errorf("call compose_claimed: %w", err)
	}
	if emission != nil && emission.Emitted > 0 {
		claimed.batch.Emission = emission
	}
	return nil
}

// Events returns how many events were composed.
func (c *Claimed) Events() int { return c.batch.Events }

// Report tells of what was composed, once it is committed.
func (w *Worker) Report(claimed *Claimed) {
	if claimed.batch.Events == 0 {
		return
	}
	claimed.batch.Took = time.Since(claimed.batch.Began)
	claimed.batcher.cfg.Observe(claimed.batch)
	for i, outcome := range claimed.Outcomes {
		if outcome == nil {
			continue
		}
		if outcome.Result.Status == jobs.StatusInstantiated {
			w.cfg.Hold.Over()
		}
		outcome.Took, outcome.Waited = claimed.batch.Took, w.cfg.Now().Sub(outcome.Args.Due())
		endCall(claimed.calls[i], nil)
		endSpan(claimed.runs[i], *outcome)
		w.cfg.Observe(*outcome)
	}
}

// claimed calls compose_claimed, and unless emission is nil the transaction then announces what it composed.
func (b batchCall) claimed(
	ctx context.Context, tx pgx.Tx, more []any, emission *Emission, each func(n int, result Result, job int64),
) error {
	statements := &pgx.Batch{}
	statements.Queue(settingsSQL, strconv.FormatInt(claimedTimeout.Milliseconds(), 10), doorbell(emission))
	arguments := b.columns()
	arguments = arguments[:len(arguments)-1] // no number of the incarnation: rows and jobs that tx has taken run nowhere else
	statements.Queue(composeClaimedSQL, append(arguments, more...)...).Query(func(rows pgx.Rows) error {
		var n int
		var result Result
		var job int64
		_, err := pgx.ForEachRow(rows, []any{&n, &result, &job}, func() error {
			each(n, result, job)
			result = Result{}
			return nil
		})
		return err
	})
	if emission != nil {
		statements.Queue(emitSQL).QueryRow(func(row pgx.Row) error {
			return row.Scan(&emission.Emitted, &emission.LastPosition, &emission.Notified)
		})
	}
	return tx.SendBatch(ctx, statements).Close()
}

// doorbell returns the setting of the emitter's doorbell: off for a transaction that announces itself.
func doorbell(emission *Emission) string {
	if emission != nil {
		return "off"
	}
	return ""
}
