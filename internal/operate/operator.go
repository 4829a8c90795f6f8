package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Operator makes changes in the name of a person. Each method makes its change and writes its audit line in one transaction. A
// method that finds nothing to change writes no line. Methods that change many rows take them in batches, each with a
// transaction and an audit line of its own; if they fail, their result says how much they changed before. Safe for concurrent
// use.
type Operator struct {
	// Pool is the database. Required.
	Pool *pgxpool.Pool

	// Actor is who makes the changes. Required.
	Actor string

	// Remote is the address that the request came from, for the audit lines. Default: none.
	Remote string

	// Audited, if it is not nil, is called with each audit line after its transaction has committed.
	Audited func(AuditLine)
}

// NotAsSeenError reports that a change would now do something other than what the user was shown and confirmed. Nothing was
// changed.
type NotAsSeenError struct {
	Now  int64  // how many it would change now, if the numbers differ
	Says string // what is different now
}

// Error implements error.
func (e *NotAsSeenError) Error() string {
	return "nothing was changed: " + e.Says + "; check again"
}

// errUnchanged rolls back a transaction that found nothing to change.
var errUnchanged = errors.New("nothing to change")

// Change runs a change that another package implements, and writes its audit line in the same transaction.
func (o Operator) Change(ctx context.Context, action string, detail any, change func(tx pgx.Tx) error) error {
	return o.change(ctx, action, func(tx pgx.Tx) (any, error) { return detail, change(tx) })
}

// change makes a change and writes its audit line in one transaction. do returns the line's detail, which becomes a JSON
// object, or errUnchanged.
func (o Operator) change(ctx context.Context, action string, do func(tx pgx.Tx) (detail any, err error)) error {
	var line AuditLine
	err := pgx.BeginFunc(ctx, o.Pool, func(tx pgx.Tx) error {
		detail, err := do(tx)
		if err == nil {
			line, err = o.audit(ctx, tx, action, detail)
		}
		return err
	})
	switch {
	case errors.Is(err, errUnchanged):
		return nil
	case err != nil:
		return err
	case o.Audited != nil:
		o.Audited(line)
	}
	return nil
}

// audit writes an audit line.
func (o Operator) audit(ctx context.Context, tx pgx.Tx, action string, detail any) (line AuditLine, err error) {
	text, err := json.Marshal(detail)
	if err == nil {
		err = tx.QueryRow(ctx, `
			INSERT INTO iu_outbox.audit AS a (actor, action, detail)
			VALUES ($1, $2, $3::jsonb || CASE WHEN $4::text = '' THEN '{}' ELSE pg_catalog.jsonb_build_object('remote', $4::text) END)
			RETURNING a.id, a.at, a.actor, a.action, a.detail`, o.Actor, action, string(text), o.Remote).
			Scan(&line.ID, &line.At, &line.Actor, &line.Action, &line.Detail)
	}
	if err != nil {
		return line, fmt.Errorf("write an audit line: %w", err)
	}
	return line, nil
}

// changedAtOnce is how many rows one transaction changes.
const changedAtOnce = 1000

// changeRows runs a function of the schema that changes the rows with these ids and returns how many. detail returns the
// detail of the audit line for n changed rows.
func (o Operator) changeRows(ctx context.Context, action, sql string, ids []int64, detail func(tx pgx.Tx, n int) (any, error)) (n int, err error) {
	err = o.change(ctx, action, func(tx pgx.Tx) (any, error) {
		err := tx.QueryRow(ctx, sql, ids).Scan(&n)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", action, err)
		case n == 0:
			return nil, errUnchanged
		}
		return detail(tx, n)
	})
	return n, err
}
