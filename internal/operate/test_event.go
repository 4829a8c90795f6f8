package operate

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// TestEventType is the type of the events that SendTest inserts.
const TestEventType = "iuworker.test"

// SQLStateNoTemplate is the SQLSTATE of add_event if the template does not exist.
const SQLStateNoTemplate = "IU003"

// SendTest inserts an event for a template into the outbox, and returns its idempotency key. The template is a key or an id;
// if there is none, the error is a PgError with SQLStateNoTemplate.
func (o Operator) SendTest(ctx context.Context, template, emitMode string) (key string, err error) {
	err = o.change(ctx, "event.test", func(tx pgx.Tx) (any, error) {
		event := uuid.NewString()
		var id int64
		err := tx.QueryRow(ctx, `
			SELECT iu_outbox.add_event(template => $1, event_type => $2, event_id => $3::text::uuid, suffix => 'test-' || $3::text,
				emit_mode => $4, actor => $5, note => 'sent from the pages')`,
			template, TestEventType, event, emitMode, o.Actor).Scan(&id)
		if err == nil {
			err = tx.QueryRow(ctx, "SELECT e.idempotency_key FROM iu_outbox.event AS e WHERE e.id = $1", id).Scan(&key)
		}
		return map[string]any{"template": template, "emit_mode": emitMode, "idempotency_key": key}, err
	})
	if err != nil {
		return "", fmt.Errorf("send a test event: %w", err)
	}
	return key, nil
}
