package iusql_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

const (
	baselineSQL      = "iu-core/032_iu_core_baseline.sql"
	instantiateSQL   = "iu-core/033_auto_instantiate_from_event.sql"
	uninstantiateSQL = "iu-core/rollback/033_auto_instantiate_from_event.rollback.sql"
	conformanceSQL   = "iu-core/runtime/110_iu_core_dot_conformance_scan.sql"
	adoptedSQL       = "testdata/adopted_core.sql"
)

// A core is a database that has an iu-core, but not the worker's own schema.
type core struct{ *iutest.DB }

// newCore runs files in an empty database, each in its own psql.
func newCore(t testing.TB, files ...string) core {
	t.Helper()
	c := core{iutest.Empty(t)}
	for _, name := range files {
		c.psql(t, "-f", name)
	}
	return c
}

func (c core) psql(t testing.TB, args ...string) string {
	t.Helper()
	out, err := iutest.Psql(t, c.DB, append([]string{"-q"}, args...)...)
	require.NoError(t, err)
	return out
}

// eachCore runs a test with 033 on a baseline that we created, and on one that we adopted.
func eachCore(t *testing.T, test func(t *testing.T, c core)) {
	t.Helper()
	for name, baseline := range map[string]string{"created": baselineSQL, "adopted": adoptedSQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newCore(t, baseline, instantiateSQL))
		})
	}
}

// A call holds the arguments of fn_iu_auto_instantiate_from_event.
type call struct {
	event, template     uuid.UUID
	suffix, mode, actor string
}

// An answer is what a function of iu-core returns.
type answer struct {
	Status, Detail       string
	InstanceCollectionID *uuid.UUID `json:"instance_collection_id"`
	InstanceKey          string     `json:"instance_key"`
	PieceCount           int        `json:"piece_count"`
	IdempotencyKey       string     `json:"idempotency_key"`

	// of fn_iu_auto_instantiate_rollback_by_actor
	Actor     string
	DryRun    bool `json:"dry_run"`
	Counts    counts
	BlockedBy []use `json:"blocked_by"`

	// of iu-core's own functions
	CollectionID *uuid.UUID `json:"collection_id"`
	Version      *int
	Digest       string
}

type counts struct {
	EventLog   int `json:"event_log"`
	Lineage    int
	Membership int
	Collection int
}

type use struct {
	InstanceCollectionID uuid.UUID `json:"instance_collection_id"`
	InstanceKey          string    `json:"instance_key"`
	UsedBy               string    `json:"used_by"`
}

// A session is a pool, a connection or a transaction.
type session interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func ask(ctx context.Context, s session, query string, args ...any) (answer, error) {
	var raw []byte
	var got answer
	if err := s.QueryRow(ctx, query, args...).Scan(&raw); err != nil {
		return got, err
	}
	err := json.Unmarshal(raw, &got)
	return got, err
}

func (c call) in(ctx context.Context, s session) (answer, error) {
	return ask(ctx, s, "SELECT public.fn_iu_auto_instantiate_from_event($1, 'order.placed', $2, $3, $4, $5)",
		c.event, c.template, c.suffix, c.mode, c.actor)
}

// must calls on the pool and requires a status.
func (c core) must(t testing.TB, status string, args call) answer {
	t.Helper()
	got, err := args.in(t.Context(), c.Pool)
	require.NoError(t, err)
	require.Equal(t, status, got.Status, "%+v", got)
	return got
}

func rollBack(ctx context.Context, s session, actor string, dryRun bool) (answer, error) {
	return ask(ctx, s, "SELECT public.fn_iu_auto_instantiate_rollback_by_actor($1, $2)", actor, dryRun)
}

func (c core) gates(t testing.TB, composer, autoInstantiate string) {
	t.Helper()
	c.Exec(t, `UPDATE dot_config SET value = CASE key WHEN 'iu_core.composer_enabled' THEN $1 ELSE $2 END
	           WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled')`, composer, autoInstantiate)
}

// written returns the number of rows that instances have in each table.
func (c core) written(t testing.TB) (got counts) {
	t.Helper()
	require.NoError(t, c.Pool.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM iu_auto_instantiate_event_log), (SELECT count(*) FROM iu_collection_template_instance_lineage),
		       (SELECT count(*) FROM iu_piece_membership), (SELECT count(*) FROM iu_piece_collection)`).
		Scan(&got.EventLog, &got.Lineage, &got.Membership, &got.Collection))
	return got
}

// consistent requires every instance to be complete, and nothing to be left of deleted ones.
func (c core) consistent(t testing.TB) {
	t.Helper()
	require.Empty(t, rows(t, c.DB, `
		SELECT 'instance without a log row: ' || c.collection_key FROM iu_piece_collection AS c
		WHERE c.collection_key LIKE 'tpl-inst:auto:%'
		  AND NOT EXISTS (SELECT FROM iu_auto_instantiate_event_log AS l WHERE l.instance_collection_id = c.id)
		UNION ALL
		SELECT 'instance with other pieces: ' || v.instance_key FROM v_iu_auto_instantiate_event_log AS v WHERE NOT v.digest_match
		UNION ALL
		SELECT 'lineage without a log row: ' || t.instance_collection_id FROM iu_collection_template_instance_lineage AS t
		WHERE NOT EXISTS (SELECT FROM iu_auto_instantiate_event_log AS l WHERE l.instance_collection_id = t.instance_collection_id)`))
}

func (c core) begin(t testing.TB) pgx.Tx {
	t.Helper()
	tx, err := c.Pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	return tx
}

// atOnce runs do n times, starting all of them at the same moment, and returns when all have ended.
func atOnce(n int, do func(i int)) {
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		group.Go(func() {
			<-start
			do(i)
		})
	}
	close(start)
	group.Wait()
}

// asked is an answer that later returns.
type asked struct {
	answer
	err error
}

func later(ask func() (answer, error)) <-chan asked {
	done := make(chan asked, 1)
	go func() {
		got, err := ask()
		done <- asked{got, err}
	}()
	return done
}
