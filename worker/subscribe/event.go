package subscribe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"

	"github.com/iu-core/iuworker/internal/names"
)

// EventType is the type of every event, and the channel on which it is announced.
const EventType = names.EventType

// Event says that an instance was composed. It differs from the application's event (outbox.Event) that made the worker
// compose the instance; Data has the id of that one.
type Event struct {
	// Cursor is the event's place in the history. Store it with the effect, and continue After it.
	Cursor Cursor
	// ID is the instance's id. It is the same each time the event is delivered.
	ID          string
	Source      string // /iu-core/<database>
	Subject     string // the instance's key
	Time        time.Time
	TraceParent string // W3C; empty if the producer gave none
	TraceState  string // W3C; empty if the producer gave none, or no TraceParent
	// RolledBackAt is when an operator rolled the instance back; zero if it was not. A rollback does not make an event that
	// was already handled be delivered again.
	RolledBackAt time.Time
	Data         Data
	// Replayed reports whether the event is a dead letter that is handled again, out of the order of positions.
	Replayed bool
	// JSON is the whole event as CloudEvents JSON, on one line.
	JSON json.RawMessage
}

// Data describes an instance and the application's event that it was composed for.
type Data struct {
	InstanceCollectionID uuid.UUID `json:"instance_collection_id"`
	InstanceKey          string    `json:"instance_key"`
	TemplateCollectionID uuid.UUID `json:"template_collection_id"`
	TemplateKey          string    `json:"template_key"`
	EventID              uuid.UUID `json:"event_id"`
	EventType            string    `json:"event_type"` // of the application's event
	IdempotencyKey       string    `json:"idempotency_key"`
	EmitMode             string    `json:"emit_mode"`
	Actor                string    `json:"actor"`
	PieceCount           int       `json:"piece_count"`
}

// RolledBack reports whether an operator rolled the instance back.
func (e Event) RolledBack() bool { return !e.RolledBackAt.IsZero() }

// Traced returns ctx with the event's trace context: a span started with it continues the trace of the job that composed the
// instance. It returns ctx itself if the event has no trace context.
func (e Event) Traced(ctx context.Context) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{
		"traceparent": e.TraceParent, "tracestate": e.TraceState,
	})
}

// CloudEvent returns the event in the CloudEvents SDK's type, to forward it. CloudEvents integers have 32 bits, so a larger
// position becomes a string.
func (e Event) CloudEvent() (cloudevents.Event, error) {
	event := cloudevents.New()
	text, err := e.JSON, error(nil)
	if e.Cursor.Position > math.MaxInt32 {
		text, err = withPosition(text, strconv.FormatInt(e.Cursor.Position, 10))
	}
	if err == nil {
		err = json.Unmarshal(text, &event)
	}
	if err != nil {
		return event, fmt.Errorf("read event %s as CloudEvents JSON: %w", e.Cursor, err)
	}
	return event, nil
}

func withPosition(text []byte, position string) ([]byte, error) {
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		return nil, err
	}
	fields["position"] = position
	return json.Marshal(fields)
}

// ParseEvent parses an event's CloudEvents JSON, from the table or from a NOTIFY payload. The event refers to text, which must
// not be changed afterwards.
func ParseEvent(text []byte) (Event, error) {
	var envelope struct {
		ID           string    `json:"id"`
		Source       string    `json:"source"`
		Subject      string    `json:"subject"`
		Time         time.Time `json:"time"`
		TraceParent  string    `json:"traceparent"`
		TraceState   string    `json:"tracestate"`
		RolledBackAt time.Time `json:"rolledbackat"`
		Cursor       Cursor    `json:"cursor"`
		Data         Data      `json:"data"`
	}
	if err := json.Unmarshal(text, &envelope); err != nil {
		return Event{}, fmt.Errorf("read event %.60q: %w", text, err)
	}
	return Event{
		Cursor: envelope.Cursor, ID: envelope.ID, Source: envelope.Source, Subject: envelope.Subject,
		Time: envelope.Time, TraceParent: envelope.TraceParent, TraceState: envelope.TraceState,
		RolledBackAt: envelope.RolledBackAt, Data: envelope.Data, JSON: text,
	}, nil
}
