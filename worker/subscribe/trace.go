package subscribe

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
)

// Traced returns ctx with the event's trace context: a span that a handler starts in it continues the trace of the job
// that composed the instance. It returns ctx itself if the event has none.
func (e Event) Traced(ctx context.Context) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{
		"traceparent": e.TraceParent, "tracestate": e.TraceState,
	})
}
