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
	VALUES (COALESCE($1::uuid, pg_catalog.gen_random_uuid()), $2::text, $3::uuid, $4::text, COALESCE($5::text, 'live'),
		COALESCE($6::text, SESSION_USER), $7::text, COALESCE($8::integer, 1), COALESCE($9::timestamptz, pg_catalog.now()),
		COALESCE($10::jsonb, '{}'))
	RETURNING e.id, e.event_id, e.idempotency_key, e.created_at`

// Insert inserts an event in the caller's transaction. Values that no event may have are an *InvalidError.
func Insert(ctx context.Context, tx pgx.Tx, event Event) (Inserted, error) {
	args, err := event.args()
	if err != nil {
		return Inserted{}, err
	}
	return scan(tx.QueryRow(ctx, insertSQL, args...))
}

// InsertSQL is Insert for database/sql. *InvalidError needs pgx's driver (github.com/jackc/pgx/v5/stdlib); another
// driver's error comes as it is.
func InsertSQL(ctx context.Context, tx *sql.Tx, event Event) (Inserted, error) {
	args, err := event.args()
	if err != nil {
		return Inserted{}, err
	}
	return scan(tx.QueryRowContext(ctx, insertSQL, args...))
}

func scan(row interface{ Scan(into ...any) error }) (Inserted, error) {
	var inserted Inserted
	err := row.Scan(&inserted.ID, &inserted.EventID, &inserted.IdempotencyKey, &inserted.CreatedAt)
	if err != nil {
		return Inserted{}, fmt.Errorf("insert an event: %w", invalid(err))
	}
	return inserted, nil
}

const insertManySQL = `
	INSERT INTO iu_outbox.event AS e (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode,
		actor, note, priority, available_at, trace_context)
	SELECT COALESCE(n.event_id, pg_catalog.gen_random_uuid()), n.event_type, n.template_collection_id,
		n.instance_key_suffix, COALESCE(n.emit_mode, 'live'), COALESCE(n.actor, SESSION_USER), n.note,
		COALESCE(n.priority, 1), COALESCE(n.available_at, pg_catalog.now()), COALESCE(n.trace_context::jsonb, '{}')
	FROM ROWS FROM (
		pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::uuid[]),
		pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::text[]), pg_catalog.unnest($6::text[]),
		pg_catalog.unnest($7::text[]), pg_catalog.unnest($8::integer[]), pg_catalog.unnest($9::timestamptz[]),
		pg_catalog.unnest($10::text[])
	) WITH ORDINALITY AS n (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode, actor, note,
		priority, available_at, trace_context, ordinal)
	ORDER BY n.ordinal
	RETURNING e.id, e.event_id, e.idempotency_key, e.created_at`

// InsertMany inserts events in the caller's transaction by one statement, all of them or none, and answers their rows
// in the order of the events. Some thousands at a time are a good size.
func InsertMany(ctx context.Context, tx pgx.Tx, events []Event) ([]Inserted, error) {
	if len(events) == 0 {
		return nil, nil
	}
	columns := make([][]any, 10)
	for _, event := range events {
		args, err := event.args()
		if err != nil {
			return nil, err
		}
		for i, arg := range args {
			columns[i] = append(columns[i], arg)
		}
	}
	args := make([]any, len(columns))
	for i, column := range columns {
		args[i] = column
	}
	rows, err := tx.Query(ctx, insertManySQL, args...)
	if err != nil {
		return nil, fmt.Errorf("insert %d events: %w", len(events), invalid(err))
	}
	inserted, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Inserted])
	if err != nil {
		return nil, fmt.Errorf("insert %d events: %w", len(events), invalid(err))
	}
	return inserted, nil
}
