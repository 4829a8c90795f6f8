package subscribe

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
)

// Traced returns ctx with the trace that the event belongs to, so that the spans which a handler begins in it follow
// from the job that composed the instance; ctx itself if the event has none.
func (e Event) Traced(ctx context.Context) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{
		"traceparent": e.TraceParent, "tracestate": e.TraceState,
	})
}
