package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
)

// Emit modes of an event.
const (
	EmitLive   = "live"    // composes and announces the instance; both gates must be open
	EmitDryRun = "dry_run" // composes and uses the event up, and announces nothing; the composer's gate must be open
)

// Event says what happened in an application, and of which template to compose an instance. Subscribers do not receive it:
// they receive a subscribe.Event once the instance is composed. Its JSON has the names of the columns of iu_outbox.event; a
// zero field is left out and stands for the column's default.
type Event struct {
	// EventID is the application's own id of what happened: the same id again is the same event. Zero: a new id.
	EventID uuid.UUID `json:"event_id,omitzero"`

	// EventType names what happened. Not blank, at most 200 characters.
	EventType string `json:"event_type"`

	// TemplateCollectionID is the template's id; the view iu_outbox.template has it by key.
	TemplateCollectionID uuid.UUID `json:"template_collection_id"`

	// InstanceKeySuffix makes the instance's key, tpl-inst:auto:<suffix>. Suffixes are global: put the template's name
	// and your own id into them. Not blank, at most 200 characters.
	InstanceKeySuffix string `json:"instance_key_suffix"`

	// EmitMode is EmitLive or EmitDryRun. Default EmitLive.
	EmitMode string `json:"emit_mode,omitempty"`

	// Actor is who did it; an actor's instances can be rolled back together. At most 200 characters. Default: the
	// database login.
	Actor string `json:"actor,omitempty"`

	// Note is free text, at most 2000 characters. Empty: none.
	Note string `json:"note,omitempty"`

	// Priority is 1 (highest) to 4. Default 1.
	Priority int `json:"priority,omitempty"`

	// AvailableAt is when to compose at the earliest. Default: now, by the database's clock.
	AvailableAt time.Time `json:"available_at,omitzero"`

	// TraceContext carries W3C traceparent and tracestate, at most 4 kB as JSON. Nil: those of the span in the context
	// of the insert, if it has one. An empty map: none.
	TraceContext map[string]string `json:"trace_context,omitempty"`
}

// Inserted is the row of an event.
type Inserted struct {
	ID             int64     `json:"id"`
	EventID        uuid.UUID `json:"event_id"`
	IdempotencyKey string    `json:"idempotency_key"` // one instance is composed for it
	CreatedAt      time.Time `json:"created_at"`
}

// encode returns events as JSON. JSON has no place for invalid UTF-8 and jsonb none for NUL: both are an *InvalidError.
func encode(ctx context.Context, events []Event) (string, error) {
	span := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, span)
	rows := slices.Clone(events)
	for i := range rows {
		if rows[i].TraceContext == nil {
			rows[i].TraceContext = span
		}
		if err := rows[i].checkText(); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return "", fmt.Errorf("write events as JSON: %w", err)
	}
	return string(text), nil
}

func (e Event) checkText() error {
	for field, text := range map[string]string{
		"event_type": e.EventType, "instance_key_suffix": e.InstanceKeySuffix, "emit_mode": e.EmitMode, "actor": e.Actor, "note": e.Note,
	} {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return &InvalidError{Field: field, Reason: "must be valid UTF-8 without NUL"}
		}
	}
	return nil
}
