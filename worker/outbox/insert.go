package outbox

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// insertSQL has one parameter of type text, which every driver supports in every mode of the protocol.
const insertSQL = "SELECT i.id, i.event_id, i.idempotency_key, i.created_at FROM iu_outbox.insert_events($1::text::jsonb) AS i"

// Insert inserts an event in the caller's transaction. The error is an *InvalidError if a value is invalid.
func Insert(ctx context.Context, tx pgx.Tx, event Event) (Inserted, error) {
	inserted, err := InsertMany(ctx, tx, []Event{event})
	if err != nil {
		return Inserted{}, err
	}
	return inserted[0], nil
}

// InsertMany inserts events in the caller's transaction by one statement, all or none, and returns their rows in the same
// order. A few thousand events per call work well.
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

// InsertSQL is Insert for database/sql. If the server refuses a value, the error is an *InvalidError with pgx's driver
// (github.com/jackc/pgx/v5/stdlib), and the driver's own error with others.
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
