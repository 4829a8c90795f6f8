package outbox

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// insertSQL inserts events from a JSON array, in its order. One parameter of type text is what every driver takes in every
// mode of the protocol.
const insertSQL = `
	INSERT INTO iu_outbox.event AS e (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode,
		actor, note, priority, available_at, trace_context)
	SELECT COALESCE(n.event_id, pg_catalog.gen_random_uuid()), n.event_type, n.template_collection_id, n.instance_key_suffix,
		COALESCE(n.emit_mode, 'live'), COALESCE(n.actor, SESSION_USER), n.note, COALESCE(n.priority, 1),
		COALESCE(n.available_at, pg_catalog.now()), COALESCE(n.trace_context, '{}')
	FROM ROWS FROM (pg_catalog.json_populate_recordset(NULL::iu_outbox.event, $1::text::json)) WITH ORDINALITY AS n
	ORDER BY n.ordinality
	RETURNING e.id, e.event_id, e.idempotency_key, e.created_at`

// Insert inserts an event in the caller's transaction. A value that no event may have is an *InvalidError.
func Insert(ctx context.Context, tx pgx.Tx, event Event) (Inserted, error) {
	inserted, err := InsertMany(ctx, tx, []Event{event})
	if err != nil {
		return Inserted{}, err
	}
	return inserted[0], nil
}

// InsertMany inserts events in the caller's transaction by one statement, all of them or none, and returns their rows
// in the order of the events. A few thousand at a time are a good size.
func InsertMany(ctx context.Context, tx pgx.Tx, events []Event) ([]Inserted, error) {
	if len(events) == 0 {
		return nil, nil
	}
	text, err := encode(ctx, events)
	if err != nil {
		return nil, failed(err)
	}
	rows, err := tx.Query(ctx, insertSQL, text)
	if err != nil {
		return nil, failed(err)
	}
	inserted, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Inserted])
	if err != nil {
		return nil, failed(err)
	}
	return inserted, nil
}

// InsertSQL is Insert for database/sql. A value that the server refuses is an *InvalidError with pgx's driver
// (github.com/jackc/pgx/v5/stdlib); another driver's error is returned as it is.
func InsertSQL(ctx context.Context, tx *sql.Tx, event Event) (Inserted, error) {
	text, err := encode(ctx, []Event{event})
	if err != nil {
		return Inserted{}, failed(err)
	}
	var inserted Inserted
	err = tx.QueryRowContext(ctx, insertSQL, text).
		Scan(&inserted.ID, &inserted.EventID, &inserted.IdempotencyKey, &inserted.CreatedAt)
	if err != nil {
		return Inserted{}, failed(err)
	}
	return inserted, nil
}

func failed(err error) error { return fmt.Errorf("insert into the outbox: %w", invalid(err)) }
