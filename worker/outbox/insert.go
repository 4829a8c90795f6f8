package outbox

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const insertSQL = `
	INSERT INTO iu_outbox.event AS e (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode,
		actor, note, priority, available_at, trace_context)
	VALUES (COALESCE($1::text::uuid, pg_catalog.gen_random_uuid()), $2::text, $3::text::uuid, $4::text, COALESCE($5::text, 'live'),
		COALESCE($6::text, SESSION_USER), $7::text, COALESCE($8::integer, 1), COALESCE($9::timestamptz, pg_catalog.now()),
		COALESCE($10::text::jsonb, '{}'))
	RETURNING e.id, e.event_id, e.idempotency_key, e.created_at`

// Insert inserts an event in the caller's transaction. Values that no event may have are an *InvalidError.
func Insert(ctx context.Context, tx pgx.Tx, event Event) (Inserted, error) {
	r, err := event.row(ctx)
	if err != nil {
		return Inserted{}, err
	}
	return scan(tx.QueryRow(ctx, insertSQL, r.args()...))
}

// InsertSQL is Insert for database/sql. *InvalidError needs pgx's driver (github.com/jackc/pgx/v5/stdlib); another
// driver's error comes as it is.
func InsertSQL(ctx context.Context, tx *sql.Tx, event Event) (Inserted, error) {
	r, err := event.row(ctx)
	if err != nil {
		return Inserted{}, err
	}
	return scan(tx.QueryRowContext(ctx, insertSQL, r.args()...))
}

func (r row) args() []any {
	return []any{r.eventID, r.eventType, r.template, r.suffix, r.emitMode, r.actor, r.note, r.priority, r.availableAt, r.trace}
}

func scan(row interface{ Scan(into ...any) error }) (Inserted, error) {
	var inserted Inserted
	err := row.Scan(&inserted.ID, &inserted.EventID, &inserted.IdempotencyKey, &inserted.CreatedAt)
	if err != nil {
		return Inserted{}, fmt.Errorf("insert an event: %w", invalid(err))
	}
	return inserted, nil
}
