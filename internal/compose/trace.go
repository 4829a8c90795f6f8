package compose

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/iu-core/iuworker/jobs"
)

// TracerName is the instrumentation scope of all spans.
const TracerName = "github.com/iu-core/iuworker"

// wire is the format of a trace in trace_context and in the event: W3C traceparent and tracestate.
var wire propagation.TraceContext

// Traced returns ctx with the trace that an event came with, if any.
func Traced(ctx context.Context, args jobs.AutoInstantiateArgs) context.Context {
	traceparent, tracestate := args.Trace()
	return wire.Extract(ctx, propagation.MapCarrier{"traceparent": traceparent, "tracestate": tracestate})
}

// Attributes returns the attributes of an event in its spans.
func Attributes(args jobs.AutoInstantiateArgs) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("iuworker.event_id", args.EventID.String()),
		attribute.String("iuworker.event_type", args.EventType),
		attribute.String("iuworker.idempotency_key", args.IdempotencyKey),
		attribute.String("iuworker.template", args.TemplateCollectionID.String()),
	}
}

// emittedTrace returns the trace that the emission carries: a traceparent, and after a space its tracestate, if it has one.
// They are those of the span that ctx is in if it records one, else the application's. The database drops what is not valid.
func emittedTrace(ctx context.Context, args jobs.AutoInstantiateArgs) string {
	traceparent, tracestate := args.Trace()
	if trace.SpanFromContext(ctx).IsRecording() {
		carrier := propagation.MapCarrier{}
		wire.Inject(ctx, carrier)
		traceparent, tracestate = carrier["traceparent"], carrier["tracestate"]
	}
	switch {
	case !printable(traceparent):
		return ""
	case tracestate == "" || !printable(tracestate):
		return traceparent
	}
	return traceparent + " " + tracestate
}

// printable reports whether a text is printable ASCII, blanks and tabs included, as a header is. Other texts may have no equivalent
// in the database's encoding, and would fail the whole batch.
func printable(text string) bool {
	for i := range len(text) {
		if b := text[i]; (b < ' ' || b > '~') && b != '\t' {
			return false
		}
	}
	return true
}

// endSpan writes the outcome of a job into its span, and ends it.
func endSpan(span trace.Span, o Outcome) {
	defer span.End()
	if !span.IsRecording() {
		return
	}
	status := o.Result.Status
	if o.Err != nil {
		status = jobs.StatusError
		span.RecordError(o.Err)
	}
	span.SetAttributes(attribute.Int64("iuworker.job_id", o.JobID),
		attribute.String("iuworker.status", string(status)), attribute.String("iuworker.ending", string(o.Ending)))
	if id := o.Result.InstanceCollectionID; id != nil {
		span.SetAttributes(attribute.String("iuworker.instance", id.String()))
	}
	switch {
	case o.Err != nil:
		span.SetStatus(codes.Error, o.Err.Error())
	case o.Ending == EndingCancelled:
		span.SetStatus(codes.Error, (&RefusedError{Status: o.Result.Status, Detail: o.Result.Detail}).Error())
	}
}

// startCall starts the span for the composing of an event, below the span of its job that ctx is in. It has the name of the function,
// in whichever way the event is composed. nil: the job's span records nothing.
func startCall(ctx context.Context, batch int) trace.Span {
	job := trace.SpanFromContext(ctx)
	if !job.IsRecording() {
		return nil
	}
	_, span := job.TracerProvider().Tracer(TracerName).Start(ctx, "fn_iu_auto_instantiate_from_event",
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("db.system.name", "postgresql"), attribute.Int("iuworker.batch.events", batch)))
	return span
}

// endCall ends a span of startCall.
func endCall(span trace.Span, err error) {
	if span == nil {
		return
	}
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// startCalls starts the spans of a batch, which end together.
func startCalls(batch []*request) (end func(error)) {
	spans := make([]trace.Span, len(batch))
	for i, r := range batch {
		spans[i] = startCall(r.ctx, len(batch))
	}
	return func(err error) {
		for _, span := range spans {
			endCall(span, err)
		}
	}
}
