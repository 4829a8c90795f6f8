package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
)

// Emit modes of an event.
const (
	EmitLive   = "live"    // composes and announces the instance; both gates must be open
	EmitDryRun = "dry_run" // composes and uses the event up, and announces nothing; the composer's gate must be open
)

// Event is what happened, and which template it makes an instance of.
type Event struct {
	// EventID is the application's own id of what happened: the same one again is the same event. Zero: a new id.
	EventID uuid.UUID

	// EventType names what happened. Not blank, at most 200 characters.
	EventType string

	// TemplateCollectionID is the template's id; the view iu_outbox.template has it by key.
	TemplateCollectionID uuid.UUID

	// InstanceKeySuffix makes the instance's key, tpl-inst:auto:<suffix>. Suffixes are global: put the template's name
	// and your own id into them. Not blank, at most 200 characters.
	InstanceKeySuffix string

	// EmitMode is EmitLive or EmitDryRun. Default EmitLive.
	EmitMode string

	// Actor is who did it; an actor's instances can be rolled back together. At most 200 characters. Default: the
	// database login.
	Actor string

	// Note is free text, at most 2000 characters. Empty: none.
	Note string

	// Priority is 1 (highest) to 4. Default 1.
	Priority int

	// AvailableAt is when to compose at the earliest. Default: now, by the database's clock.
	AvailableAt time.Time

	// TraceContext carries W3C traceparent and tracestate, at most 4 kB as JSON. Default: those of the span in the
	// context that the event is inserted with; none where there is no span. An empty map: none.
	TraceContext map[string]string
}

// Inserted is the row of an event.
type Inserted struct {
	ID             int64     `json:"id"`
	EventID        uuid.UUID `json:"event_id"`
	IdempotencyKey string    `json:"idempotency_key"` // one instance an idempotency key, for good
	CreatedAt      time.Time `json:"created_at"`
}

// row is an event as its statements take it: nil stands for a column's default, and all types are such that every
// driver takes them in every mode of the protocol.
type row struct {
	eventID, eventType, template, suffix, emitMode, actor, note, trace *string

	priority    *int32
	availableAt *time.Time
}

func (e Event) row(ctx context.Context) (row, error) {
	template := e.TemplateCollectionID.String()
	r := row{
		eventType: &e.EventType, template: &template, suffix: &e.InstanceKeySuffix,
		emitMode: given(e.EmitMode), actor: given(e.Actor), note: given(e.Note),
	}
	if e.EventID != uuid.Nil {
		r.eventID = given(e.EventID.String())
	}
	if e.Priority != 0 {
		priority := int32(min(max(e.Priority, math.MinInt32), math.MaxInt32)) //nolint:gosec // it is within its bounds
		r.priority = &priority
	}
	if !e.AvailableAt.IsZero() {
		r.availableAt = &e.AvailableAt
	}
	if trace := e.traceContext(ctx); len(trace) > 0 {
		carrier, err := json.Marshal(trace)
		if err != nil {
			return row{}, fmt.Errorf("write the trace context as JSON: %w", err)
		}
		r.trace = given(string(carrier))
	}
	return r, nil
}

func (e Event) traceContext(ctx context.Context) map[string]string {
	if e.TraceContext != nil {
		return e.TraceContext
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier
}

// given is nil for an empty text.
func given(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
