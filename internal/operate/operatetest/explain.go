package operatetest

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// Explaining begins transactions that explain each statement before they run it.
type Explaining struct {
	Pool *pgxpool.Pool

	Seen []Explained
}

// Explained is how a statement ran.
type Explained struct {
	SQL          string
	Blocks       int
	Milliseconds float64
}

// BeginTx begins a transaction.
func (e *Explaining) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	tx, err := e.Pool.BeginTx(ctx, options)
	return &explainingTx{tx, e}, err
}

type explainingTx struct {
	pgx.Tx

	to *Explaining
}

func (t *explainingTx) explain(ctx context.Context, sql string, args []any) {
	var text []byte
	if err := t.Tx.QueryRow(ctx, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+sql, args...).Scan(&text); err != nil {
		return // the statement itself fails as well, and is told
	}
	var plans []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
		Milliseconds float64 `json:"Execution Time"`
	}
	if json.Unmarshal(text, &plans) == nil && len(plans) == 1 {
		t.to.Seen = append(t.to.Seen, Explained{sql, plans[0].Plan.Hit + plans[0].Plan.Read, plans[0].Milliseconds})
	}
}

// Query implements pgx.Tx.
func (t *explainingTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	t.explain(ctx, sql, args)
	return t.Tx.Query(ctx, sql, args...)
}

// QueryRow implements pgx.Tx.
func (t *explainingTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	t.explain(ctx, sql, args)
	return t.Tx.QueryRow(ctx, sql, args...)
}

// ReadsAtMost reads in a transaction, none of whose statements may read more than most blocks.
func ReadsAtMost(t *testing.T, db *iutest.DB, most int, read func(tx pgx.Tx) error) {
	t.Helper()
	on := &Explaining{Pool: db.Pool}
	tx, err := on.BeginTx(t.Context(), pgx.TxOptions{})
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	require.NoError(t, read(tx))
	require.NotEmpty(t, on.Seen)
	for _, statement := range on.Seen {
		require.LessOrEqual(t, statement.Blocks, most, statement.SQL)
	}
}
