package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/iu-core/iuworker/internal/compose"
)

// traceRows begins a span for each row that becomes a job, and makes the job follow from it. The caller ends the spans once the jobs
// are committed, and drops them if they are not: the rows will be moved again.
func (r *relay) traceRows(ctx context.Context, rows []claimedRow) []trace.Span {
	if r.tracer == nil {
		return nil
	}
	spans := make([]trace.Span, 0, len(rows))
	for i := range rows {
		args := rows[i].AutoInstantiateArgs
		ctx, span := r.tracer.Start(compose.Traced(ctx, args), "relay",
			trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(compose.Attributes(args)...),
			trace.WithAttributes(attribute.Int("iuworker.batch.rows", len(rows))))
		if span.IsRecording() { // otherwise the job keeps the application's trace
			rows[i].AutoInstantiateArgs = args.WithTrace(ctx)
			spans = append(spans, span)
		}
	}
	return spans
}

// traceEmissions makes a span for each emission of a batch, below the job that composed it.
func (e *emitter) traceEmissions(ctx context.Context, emission compose.Emission, start time.Time) {
	if e.tracer == nil {
		return
	}
	end := time.Now()
	rows, err := e.pool.Query(ctx, `
		SELECT e.event ->> 'traceparent', COALESCE(e.event ->> 'tracestate', ''), e.position, e.instance_collection_id::text
		FROM iu_outbox.emission AS e
		WHERE e.position > $1 AND e.position <= $2 AND e.event ? 'traceparent'`,
		emission.LastPosition-int64(emission.Emitted), emission.LastPosition)
	if err == nil {
		var parent, state, instance string
		var position int64
		_, err = pgx.ForEachRow(rows, []any{&parent, &state, &position, &instance}, func() error {
			ctx := propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent, "tracestate": state})
			_, span := e.tracer.Start(ctx, "emit", trace.WithSpanKind(trace.SpanKindProducer), trace.WithTimestamp(start),
				trace.WithAttributes(attribute.Int64("iuworker.position", position), attribute.String("iuworker.instance", instance),
					attribute.Bool("iuworker.notified", emission.Notified)))
			span.End(trace.WithTimestamp(end))
			return nil
		})
	}
	if err != nil { // the emissions are announced; only their spans are lost
		e.logger.DebugContext(ctx, "Emitter: cannot trace a batch", slog.String("error", err.Error()))
	}
}
