package worker

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/internal/retry"
)

// standIn is how old the oldest emission without a position must be before an emitter that does not lead steps in: the leader's
// process may hang and still hold its lock.
const standIn = 3 * time.Second

// emitter gives emissions their positions and announces them. The counter row lets one transaction through at a time, whichever
// process it is of; a session lock says which process leads, so that the others are idle meanwhile.
type emitter struct {
	tools

	session *session // nil: no leader, the counter row alone
	batch   int
	sleeper sleeper
	tracer  trace.Tracer // nil: nothing is traced

	held  bool        // the log says that emissions are held back
	quiet atomic.Bool // the log says that positions are given without notifications
}

// emitState is what iu_outbox.emit returns.
type emitState struct {
	State        string // emitted, idle, held, busy
	Emitted      int
	LastPosition *int64
	Notified     bool
}

// heldWait is how long to wait while another transaction holds the counter row.
const heldWait = 10 * time.Millisecond

// run emits until ctx ends; then call finish.
func (e *emitter) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if e.session.leads(ctx, lockEmitterLeads) {
			e.sleeper.work(ctx, e.handle)
		} else if retry.Pause(ctx, min(e.sleeper.poll.interval, time.Second)) && e.overdue(ctx) {
			e.drain(ctx)
		}
	}
	return nil
}

// finish emits what is left, so that a worker that stops announces what its last jobs composed, and gives up the lead.
func (e *emitter) finish(ctx context.Context) {
	e.drain(ctx)
	if e.session != nil && e.session.up() {
		_ = e.session.unlock(ctx, lockEmitterLeads) // if this fails, the session has ended, and the lock with it
	}
}

func (e *emitter) overdue(ctx context.Context) bool {
	var overdue bool
	err := e.pool.QueryRow(ctx, `
		SELECT EXISTS (
			SELECT FROM (SELECT e.created_at FROM iu_outbox.emission AS e WHERE e.position IS NULL ORDER BY e.id LIMIT 1) AS oldest
			WHERE oldest.created_at < pg_catalog.now() - $1::interval)`, standIn).Scan(&overdue)
	if err != nil {
		e.outage.Failed(ctx, fmt.Errorf("look for overdue emissions: %w", err))
	}
	return overdue
}

// drain emits until nothing is left, or another transaction holds the counter row.
func (e *emitter) drain(ctx context.Context) {
	for ctx.Err() == nil && e.handle(ctx).rows > 0 {
	}
}

// handle emits one batch.
func (e *emitter) handle(ctx context.Context) found {
	start := time.Now()
	state, err := e.emit(ctx)
	if err != nil {
		if n := e.emitApart(ctx, err); n > 0 {
			return found{rows: n, more: true}
		}
		e.outage.Failed(ctx, err)
		return found{left: true}
	}
	e.outage.Worked(ctx)
	e.logHeld(ctx, state)
	switch {
	case state.State == "busy": // with a lone event that announces itself, or with another emitter
		retry.Pause(ctx, heldWait)
		return found{more: true}
	case state.Emitted == 0:
		return found{left: e.held}
	}
	e.announced(ctx, compose.Emission{Emitted: state.Emitted, LastPosition: *state.LastPosition, Notified: state.Notified}, start)
	return found{rows: state.Emitted, more: state.Emitted >= e.batch}
}

// emit finishes a batch even if ctx ends: one that is cut off holds the counter row until the server notices.
func (e *emitter) emit(ctx context.Context) (emitState, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchTimeout)
	defer cancel()
	var state emitState
	err := e.pool.QueryRow(ctx, `SELECT state, emitted, last_position, notified FROM iu_outbox.emit($1)`, e.batch).
		Scan(&state.State, &state.Emitted, &state.LastPosition, &state.Notified)
	if err != nil {
		return emitState{}, fmt.Errorf("emit: %w", err)
	}
	return state, nil
}

// emitApart emits one emission at a time after a batch failed, and returns how many got a position: one that cannot be announced
// as it is must not delay the others.
func (e *emitter) emitApart(ctx context.Context, cause error) (n int) {
	if _, fault := compose.FaultOf(cause); fault || !compose.Divides(cause) {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchTimeout)
	defer cancel()
	if err := e.pool.QueryRow(ctx, "SELECT iu_outbox.emit_apart($1)", e.batch).Scan(&n); err != nil {
		return 0 // the batch's error says more
	}
	if n > 0 {
		e.logger.WarnContext(ctx, "Emitter: a batch could not be announced; announced one by one",
			slog.Int("emitted", n), slog.String("error", cause.Error()))
	}
	return n
}

// announced counts and logs emissions that the emitter or a batch of jobs announced. Safe for concurrent use.
func (e *emitter) announced(ctx context.Context, emission compose.Emission, start time.Time) {
	took := time.Since(start)
	e.metrics.Emitted(emission.Emitted, emission.Notified, took)
	e.logger.InfoContext(ctx, "Emitter: announced instances", slog.Int("emitted", emission.Emitted),
		slog.Int64("position", emission.LastPosition), slog.Duration("took", took))
	if quiet := !emission.Notified; e.quiet.CompareAndSwap(!quiet, quiet) {
		if quiet {
			e.logger.WarnContext(ctx, "Emitter: giving positions without NOTIFY: the notification queue is more than half full, "+
				"since a session that listens is idle in a transaction")
		} else {
			e.logger.InfoContext(ctx, "Emitter: the notification queue has room again")
		}
	}
	e.traceEmissions(ctx, emission, start)
}

// logHeld logs when emissions begin to be held back, and when that ends.
func (e *emitter) logHeld(ctx context.Context, state emitState) {
	held := state.State == "held"
	if held == e.held || state.State == "busy" {
		return
	}
	e.held = held
	if held {
		e.logger.WarnContext(ctx, "Emitter: holding emissions back: the registry row "+names.EventType+" is not active")
	} else {
		e.logger.InfoContext(ctx, "Emitter: the registry row is active again")
	}
}

// traceEmissions makes a span for each emission of a batch, below the job that composed it.
func (e *emitter) traceEmissions(ctx context.Context, emission compose.Emission, start time.Time) {
	if e.tracer == nil {
		return
	}
	end := time.Now()
	rows, _ := e.pool.Query(ctx, `
		SELECT e.event ->> 'traceparent', COALESCE(e.event ->> 'tracestate', ''), e.position, e.instance_collection_id::text
		FROM iu_outbox.emission AS e
		WHERE e.position > $1 AND e.position <= $2 AND e.event ? 'traceparent'`,
		emission.LastPosition-int64(emission.Emitted), emission.LastPosition) // ForEachRow returns its error
	var parent, state, instance string
	var position int64
	_, err := pgx.ForEachRow(rows, []any{&parent, &state, &position, &instance}, func() error {
		ctx := propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent, "tracestate": state})
		_, span := e.tracer.Start(ctx, "emit", trace.WithSpanKind(trace.SpanKindProducer), trace.WithTimestamp(start),
			trace.WithAttributes(attribute.Int64("iuworker.position", position), attribute.String("iuworker.instance", instance),
				attribute.Bool("iuworker.notified", emission.Notified)))
		span.End(trace.WithTimestamp(end))
		return nil
	})
	if err != nil { // the emissions are announced; only their spans are lost
		e.logger.DebugContext(ctx, "Emitter: cannot trace a batch", slog.String("error", err.Error()))
	}
}
