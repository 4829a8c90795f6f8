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
	EmitDryRun = "dry_run" // composes the instance and never announces it; the composer's gate must be open
)

// Event says what happened in an application, and from which template to compose an instance. Subscribers do not receive it:
// they receive a subscribe.Event when the instance has been composed. The names in its JSON are the columns of
// iu_outbox.event. A zero field means the column's default.
type Event struct {
	// EventID is the application's id of what happened. The same id means the same event. Default: a new id.
	EventID uuid.UUID `json:"event_id,omitzero"`

	// EventType says what happened, such as order.paid. Required, at most 200 characters.
	EventType string `json:"event_type"`

	// TemplateCollectionID is the template's id. The view iu_outbox.template lists ids and keys. Required.
	TemplateCollectionID uuid.UUID `json:"template_collection_id"`

	// InstanceKeySuffix is the end of the instance's key, tpl-inst:auto:<suffix>. Suffixes are global, so include the
	// template's name and your own id. Required, at most 200 characters.
	InstanceKeySuffix string `json:"instance_key_suffix"`

	// EmitMode is EmitLive or EmitDryRun. Default EmitLive.
	EmitMode string `json:"emit_mode,omitempty"`

	// Actor is the user or program that caused the event. An operator can roll back all instances of an actor. At most 200
	// characters. Default: the database login.
	Actor string `json:"actor,omitempty"`

	// Note is free text, at most 2000 characters. Default: none.
	Note string `json:"note,omitempty"`

	// Priority is 1 (highest) to 4. Default 1.
	Priority int `json:"priority,omitempty"`

	// AvailableAt is the earliest time to compose the instance. Default: now, by the database's clock.
	AvailableAt time.Time `json:"available_at,omitzero"`

	// TraceContext has the W3C traceparent and tracestate, at most 4 kB as JSON. Default: those of the span in the context
	// that the insert gets. An empty map means none.
	TraceContext map[string]string `json:"trace_context,omitempty"`
}

// Inserted has the columns of an inserted event that the database sets.
type Inserted struct {
	ID             int64     `json:"id"`
	EventID        uuid.UUID `json:"event_id"`
	IdempotencyKey string    `json:"idempotency_key"` // events with the same key compose one instance
	CreatedAt      time.Time `json:"created_at"`
}

// encode returns events as JSON. Invalid UTF-8, which JSON cannot hold, and NUL, which jsonb cannot, are an *InvalidError.
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
