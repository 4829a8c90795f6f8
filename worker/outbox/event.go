package outbox

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
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

	// TraceContext carries W3C traceparent and tracestate, at most 4 kB as JSON. Default: none.
	TraceContext map[string]string
}

// Inserted is the row of an event.
type Inserted struct {
	ID             int64     `json:"id"`
	EventID        uuid.UUID `json:"event_id"`
	IdempotencyKey string    `json:"idempotency_key"` // one instance an idempotency key, for good
	CreatedAt      time.Time `json:"created_at"`
}

// args are the event's columns in the order of the statements, nil standing for a column's default. They are of types
// that every driver takes.
func (e Event) args() ([]any, error) {
	args := make([]any, 10)
	args[1], args[2], args[3] = e.EventType, e.TemplateCollectionID.String(), e.InstanceKeySuffix
	if e.EventID != uuid.Nil {
		args[0] = e.EventID.String()
	}
	for i, text := range map[int]string{4: e.EmitMode, 5: e.Actor, 6: e.Note} {
		if text != "" {
			args[i] = text
		}
	}
	if e.Priority != 0 {
		args[7] = e.Priority
	}
	if !e.AvailableAt.IsZero() {
		args[8] = e.AvailableAt
	}
	if e.TraceContext != nil {
		carrier, err := json.Marshal(e.TraceContext)
		if err != nil {
			return nil, fmt.Errorf("write the trace context as JSON: %w", err)
		}
		args[9] = string(carrier)
	}
	return args, nil
}
