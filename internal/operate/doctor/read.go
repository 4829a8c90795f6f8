package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// read runs do in a transaction that can only read, and in which no statement lasts.
func (e *examination) read(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, e.cfg.Pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			SELECT pg_catalog.set_config('statement_timeout', $1, true), pg_catalog.set_config('lock_timeout', $1, true),
				pg_catalog.set_config('jit', 'off', true), pg_catalog.set_config('row_security', 'off', true)`, fmt.Sprint(checkTimeout.Milliseconds()))
		if err != nil {
			return fmt.Errorf("set timeouts: %w", err)
		}
		return do(tx)
	})
}

// row reads one row.
func (e *examination) row(ctx context.Context, into []any, sql string, args ...any) error {
	return e.read(ctx, func(tx pgx.Tx) error { return tx.QueryRow(ctx, sql, args...).Scan(into...) })
}

// readAll reads rows into a slice of structs, by position.
func readAll[T any](ctx context.Context, e *examination, sql string, args ...any) (found []T, err error) {
	err = e.read(ctx, func(tx pgx.Tx) error {
		found, err = operate.Collect(ctx, tx, pgx.RowToStructByPos[T], sql, args...)
		return err
	})
	return found, err
}

// texts reads rows of one text each.
func (e *examination) texts(ctx context.Context, sql string, args ...any) (found []string, err error) {
	err = e.read(ctx, func(tx pgx.Tx) error {
		found, err = operate.Collect(ctx, tx, pgx.RowTo[string], sql, args...)
		return err
	})
	return found, err
}
