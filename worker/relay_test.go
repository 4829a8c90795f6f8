package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/sql/iutest"
	"github.com/iu-core/iuworker/worker"
)

// Another relay holds the first row of a key: the later one must wait for it, or the lowest id would not win.
func TestLaterRowsWaitForTheFirstOfTheirKey(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "t", 1)
	const row = `INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, actor)
		VALUES ('00000000-0000-0000-0000-000000000001', 'e', $1, 's', $2)`
	db.Exec(t, row, template, "first")
	tx, err := db.Pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = tx.Exec(t.Context(), "SELECT FROM iu_outbox.event FOR UPDATE")
	require.NoError(t, err)

	db.Exec(t, row, template, "second")
	other := insert(t, db, template, "other")
	start(t, db, polling(10*time.Millisecond))
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE args ->> 'event_id' = $1", other.String())
	require.Equal(t, 2, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.event"))

	require.NoError(t, tx.Rollback(t.Context()))
	eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_outbox.event)")
	require.Equal(t, "first", value[string](t, db, "SELECT args ->> 'actor' FROM iu_river.river_job WHERE args ->> 'instance_key_suffix' = 's'"))
}

// A row that nobody else may have loses nothing when the hand-off fails: here River's table refuses the job.
func TestRowsStayWhereTheHandOffFails(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "t", 1)
	log, lines := logging(t)
	start(t, db, polling(10*time.Millisecond), func(c *worker.Config) { c.Logger = log })
	db.Exec(t, "ALTER TABLE iu_river.river_job ADD CONSTRAINT refuse CHECK (queue <> 'events')")
	insert(t, db, template, "s")
	require.Eventually(t, func() bool { return lines.count("Relay: database lost") == 1 }, patience, 5*time.Millisecond)
	require.Equal(t, 1, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.event"))
	db.Exec(t, "ALTER TABLE iu_river.river_job DROP CONSTRAINT refuse")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job")
}

// The claim reads the outbox by its keys, however many rows wait.
func TestPlanOfTheClaim(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "t", 1)
	db.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
		SELECT 'e', $1, 's-' || g FROM generate_series(1, 20000) AS g`, template)
	db.Exec(t, "ANALYZE iu_outbox.event")
	rows, err := db.Pool.Query(t.Context(), "EXPLAIN "+worker.ClaimSQL, 500)
	require.NoError(t, err)
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	for _, line := range plan {
		require.NotContains(t, line, "Seq Scan on event")
	}
}
