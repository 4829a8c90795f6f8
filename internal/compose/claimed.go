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

const composeClaimedSQL = `
	SELECT c.n, c.result, c.job
	FROM iu_outbox.compose_claimed($1::text[]::uuid[], $2, $3::text[]::uuid[], $4, $5, $6, $7, $8, $9,
		NULLIF($10::integer, 0), $11::text[]::jsonb[], $12) AS c`

// Claimed is what became of events in the transaction that claimed their outbox rows.
type Claimed struct {
	Outcomes []*Outcome // of each event; nil: it was not composed, and becomes a job

	batch Batch
	runs  []trace.Span // of each event
	calls []trace.Span
}

// ComposeClaimed composes events whose outbox rows tx has claimed, and inserts their jobs, completed: so River need not insert, fetch
// and complete each. The events must be due, and have no unfinished job. What is not sure to end well is left out, and so is
// every event while a fault, a rate or a closed gate holds jobs back. The jobs name by as the worker that ran them. After an error
// tx must be rolled back; once it is committed the caller calls Report.
func (w *Worker) ComposeClaimed(ctx context.Context, tx pgx.Tx, by Incarnation, events []jobs.AutoInstantiateArgs) (*Claimed, error) {
	n := len(events)
	claimed := &Claimed{
		Outcomes: make([]*Outcome, n), runs: make([]trace.Span, n), calls: make([]trace.Span, n), batch: Batch{Began: time.Now()},
	}
	batcher := w.cfg.Events
	if batcher.cfg.Throttle.limited() || !w.cfg.Hold.Well() {
		return claimed, nil
	}
	call := batchCall{by: by}
	var args []string
	var at []int // the index in events of each event of the call
	for i, event := range events {
		raw, err := json.Marshal(event)
		if err != nil || batcher.held.has(event.TemplateCollectionID) {
			continue // what cannot be marshaled River refuses, too
		}
		ctx, run := w.startRun(ctx, event, jobs.QueueEvents)
		claimed.runs[i], claimed.calls[i] = run, startCall(ctx, n)
		call.events, call.traces = append(call.events, Event{AutoInstantiateArgs: event}), append(call.traces, emittedTrace(ctx, event))
		at, args = append(at, i), append(args, string(raw))
	}
	if len(at) == 0 {
		return claimed, nil
	}
	var emission *Emission
	if n == 1 && batcher.Busy() == 0 {
		emission = &Emission{}
	}
	err := call.claimed(ctx, tx, []any{batcher.leastSet(), args, jobs.MaxAttempts}, emission, func(n int, result Result, job int64) {
		i := at[n-1]
		claimed.Outcomes[i] = &Outcome{
			Args: events[i], JobID: job, Queue: jobs.QueueEvents, Result: result, Ending: EndingCompleted, Trace: claimed.runs[i].SpanContext(),
		}
		claimed.batch.Events++
	})
	if err != nil {
		return nil, fmt.Errorf("compose claimed events: %w", err)
	}
	if emission != nil && emission.Emitted > 0 {
		claimed.batch.Emission = emission
	}
	return claimed, nil
}

// Report tells of what was composed, once it is committed.
func (w *Worker) Report(claimed *Claimed) {
	if claimed.batch.Events == 0 {
		return
	}
	claimed.batch.Took = time.Since(claimed.batch.Began)
	w.cfg.Events.cfg.Observe(claimed.batch)
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
	arguments = arguments[:len(arguments)-1] // the incarnation's number was checked when the rows were claimed
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
