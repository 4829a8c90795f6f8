// Package operatetest has what the tests of several packages below internal/operate need: a database with the results of a
// worker, and transactions that explain their statements.
package operatetest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

// Patience is how long a test waits for a condition.
const Patience = 90 * time.Second

// Work runs a worker until stop is called, or the test ends.
func Work(t *testing.T, db *iutest.DB) (stop func()) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), db.URL+"&pool_max_conns=12")
	require.NoError(t, err)
	w, err := worker.New(worker.Config{Pool: pool, Logger: slog.New(slog.DiscardHandler), Concurrency: 50})
	require.NoError(t, err)
	require.NoError(t, w.Start(t.Context()))
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			require.NoError(t, w.Stop(context.WithoutCancel(t.Context())))
			pool.Close()
		}
	}
	t.Cleanup(stop)
	return stop
}

// AwaitIdle waits until every event has ended and every emission was announced. Jobs that wait before they are tried again need not
// wait longer. If it waits in vain, it names some of what is left.
func AwaitIdle(t *testing.T, db *iutest.DB) {
	t.Helper()
	var left []string
	iutest.Eventually(t, func() bool {
		db.Exec(t, `UPDATE iu_river.river_job SET scheduled_at = now()
			WHERE scheduled_at > now() AND id IN (SELECT j.id FROM iu_outbox.job AS j WHERE j.retrying)`)
		rows, _ := db.Pool.Query(t.Context(), `
			SELECT 'event ' || to_jsonb(e)::text FROM (SELECT * FROM iu_outbox.event LIMIT 5) AS e
			UNION ALL SELECT 'emission ' || to_jsonb(e)::text FROM (SELECT * FROM iu_outbox.emission WHERE position IS NULL LIMIT 5) AS e
			UNION ALL SELECT 'job ' || to_jsonb(j)::text FROM (SELECT * FROM iu_outbox.job AS j WHERE j.unfinished LIMIT 5) AS j`)
		var err error
		left, err = pgx.CollectRows(rows, pgx.RowTo[string]) // returns the query's error, too
		require.NoError(t, err)
		return len(left) == 0
	}, Patience, "left: %q", &left)
}

// Say inserts an event. Its id is derived from its suffix.
func Say(t *testing.T, db *iutest.DB, template uuid.UUID, suffix string, mode string, actor string) {
	t.Helper()
	db.Exec(t, `
		INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode, actor)
		VALUES (md5($2)::uuid, 'e', $1, $2, $3, $4)`, template, suffix, mode, actor)
}

// Lived returns a database in which a worker composed five live instances, s1 to s5, and the dry run dry, and failed to
// compose lost.
func Lived(t *testing.T) *iutest.DB {
	t.Helper()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	for i := range 5 {
		Say(t, db, template, fmt.Sprintf("s%d", i+1), "live", "ann")
	}
	Say(t, db, template, "s5", "live", "ann")
	Say(t, db, template, "dry", "dry_run", "bob")
	Say(t, db, uuid.New(), "lost", "live", "ann")
	stop := Work(t, db)
	AwaitIdle(t, db)
	stop()
	return db
}

// Explaining begins transactions that explain each statement before they run it.
type Explaining struct {
	Pool *pgxpool.Pool

	Seen []Explained
}

// Explained is a statement and what running it took.
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
		return // the statement itself fails as well and reports why
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

// ReadsAtMost calls read with a transaction and fails the test if one of its statements reads more than most blocks.
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
