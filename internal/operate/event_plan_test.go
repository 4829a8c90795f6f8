package operate_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/operate"
)

// explaining begins transactions that explain each statement before they run it.
type explaining struct {
	pool *pgxpool.Pool
	seen []explained
}

type explained struct {
	sql          string
	blocks       int
	milliseconds float64
}

func (e *explaining) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	tx, err := e.pool.BeginTx(ctx, options)
	return &explainingTx{tx, e}, err
}

type explainingTx struct {
	pgx.Tx

	to *explaining
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
		t.to.seen = append(t.to.seen, explained{sql, plans[0].Plan.Hit + plans[0].Plan.Read, plans[0].Milliseconds})
	}
}

func (t *explainingTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	t.explain(ctx, sql, args)
	return t.Tx.Query(ctx, sql, args...)
}

func (t *explainingTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	t.explain(ctx, sql, args)
	return t.Tx.QueryRow(ctx, sql, args...)
}

// No statement of the list reads more than a bounded number of blocks, whatever the filter and the page.
func TestEventsReadsABoundedPartOfTheTables(t *testing.T) {
	t.Parallel()
	const rows, mostBlocks = 25_000, 12_000
	db, template := eventful(t, rows)
	db.Exec(t, "ANALYZE iu_outbox.event, iu_outbox.dead_letter, iu_outbox.emission, iu_river.river_job")
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var filters []operate.EventFilter
	for _, state := range append([]string{""}, operate.EventStates...) {
		for _, f := range []operate.EventFilter{
			{},
			{Template: template},
			{Template: uuid.New()},
			{Suffix: "done-1"},
			{Suffix: "nothing"},
			{Actor: "bob"},
			{Actor: "nobody"},
			{EventType: "nothing"},
			{Since: begun.Add(time.Hour), Until: begun.Add(2 * time.Hour)},
			{Since: time.Now()},
			{Until: begun},
			{Template: template, Suffix: "x", Actor: "ann", EventType: "order.placed", Since: begun, Until: begun.Add(time.Hour)},
		} {
			f.State = state
			filters = append(filters, f)
		}
	}
	worst := explained{}
	slowest := explained{}
	for _, filter := range filters {
		on := &explaining{pool: db.Pool}
		page, err := operate.Events(t.Context(), on, filter, "", 50)
		require.NoError(t, err)
		if page.Older != "" {
			_, err = operate.Events(t.Context(), on, filter, page.Older, 50)
			require.NoError(t, err)
		}
		require.NotEmpty(t, on.seen)
		for _, statement := range on.seen {
			if statement.blocks > worst.blocks {
				worst = statement
			}
			if statement.milliseconds > slowest.milliseconds {
				slowest = statement
			}
			require.LessOrEqual(t, statement.blocks, mostBlocks, "%+v\n%s", filter, statement.sql)
		}
	}
	t.Logf("most blocks: %d, slowest: %.0f ms: %s", worst.blocks, slowest.milliseconds, slowest.sql)
}
