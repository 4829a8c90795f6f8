package jobs

import (
	"context"
	"encoding/json"

	"go.opentelemetry.io/otel/propagation"
)

// WithTrace returns a copy of a whose job continues the trace in ctx. Other fields of TraceContext stay.
func (a AutoInstantiateArgs) WithTrace(ctx context.Context) AutoInstantiateArgs {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	fields := make(map[string]json.RawMessage)
	if json.Unmarshal(a.TraceContext, &fields) != nil || fields == nil {
		fields = make(map[string]json.RawMessage)
	}
	delete(fields, "tracestate")
	for key, text := range carrier {
		raw, err := json.Marshal(text)
		if err != nil {
			return a // impossible: every string has a JSON encoding
		}
		fields[key] = raw
	}
	if merged, err := json.Marshal(fields); err == nil {
		a.TraceContext = merged
	}
	return a
}
