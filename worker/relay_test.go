package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

// Another relay holds the first row of a key. The relay must wait for it before it takes a later row: the lowest id wins.
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

// A failed hand-off loses no row. Here River's table refuses the job.
func TestRowsStayWhereTheHandOffFails(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "t", 1)
	log, lines := logging(t)
	start(t, db, polling(10*time.Millisecond), func(c *worker.Config) { c.Logger = log })
	db.Exec(t, "ALTER TABLE iu_river.river_job ADD CONSTRAINT refuse CHECK (queue <> 'events')")
	insert(t, db, template, "s")
	iutest.Eventually(t, func() bool { return lines.Count("Relay: passing by a row that cannot be moved") == 1 }, patience)
	require.Zero(t, lines.Count("Relay: database lost"))
	require.Equal(t, 1, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.event"))
	db.Exec(t, "ALTER TABLE iu_river.river_job DROP CONSTRAINT refuse")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job")
}

// The claim reads the outbox by its indexes, even with a plan made while the outbox was empty.
func TestPlanOfTheClaim(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "t", 1)
	conn, err := db.Pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	claim := func(limit int) {
		_, err := conn.Exec(t.Context(), "SELECT FROM iu_outbox.claim($1)", limit)
		require.NoError(t, err)
	}
	for range 10 { // enough executions for a generic plan
		claim(500)
	}
	db.Exec(t, `INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix)
		SELECT md5((g / 2)::text)::uuid, 'e', $1, 's-' || g / 2 FROM generate_series(1, 20000) AS g`, template)
	scans := func() (seq int) {
		_, err := conn.Exec(t.Context(), "SELECT pg_stat_force_next_flush()")
		require.NoError(t, err)
		return value[int](t, db, "SELECT seq_scan::int FROM pg_stat_user_tables WHERE relid = 'iu_outbox.event'::regclass")
	}
	before := scans()
	claim(500)
	require.Equal(t, before, scans(), "no sequential scan")
	require.Equal(t, 19001, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.event"))
}

// If a vacuum finds a table empty but cannot truncate it, the planner takes it for empty until the next ANALYZE. Even if it is
// full by then, claim and emit read about as many rows as they take.
func TestPlansWhereTablesCountAsEmpty(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "t", 1)
	const rows, limit = 10_000, 500
	db.Exec(t, `INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix)
		SELECT md5((g / 2)::text)::uuid, 'e', $1, 's-' || g / 2 FROM generate_series(1, $2::int) AS g`, template, rows)
	db.Exec(t, "INSERT INTO iu_outbox.emission (instance_collection_id, event) SELECT gen_random_uuid(), '{}' FROM generate_series(1, $1::int)", rows)
	db.OpenGates(t)
	db.Exec(t, `INSERT INTO iu_river.river_job (state, kind, args, max_attempts, queue, scheduled_at, metadata)
		SELECT 'scheduled', 'auto_instantiate', '{}', 10, 'events', now() + interval '1 day', '{"parked": {"gate": "composer"}}'
		FROM generate_series(1, $1::int)`, rows)
	db.Exec(t, `UPDATE pg_class SET reltuples = 0, relpages = 300
		WHERE oid IN ('iu_outbox.event'::regclass, 'iu_outbox.emission'::regclass, 'iu_river.river_job'::regclass)`)
	conn, err := db.Pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	for table, most := range map[string]int{"iu_outbox.event": 20 * limit, "iu_outbox.emission": 20 * limit, "iu_river.river_job": 2*rows + 20*limit} {
		call := map[string]string{
			"iu_outbox.event": "SELECT FROM iu_outbox.claim($1)", "iu_outbox.emission": "SELECT FROM iu_outbox.emit($1)",
			"iu_river.river_job": "SELECT iu_outbox.resume_parked($1)", // it sorts all parked jobs by id
		}[table]
		read := func() int {
			_, err := conn.Exec(t.Context(), "SELECT pg_stat_force_next_flush()")
			require.NoError(t, err)
			return value[int](t, db, "SELECT sum(idx_tup_read)::int FROM pg_stat_user_indexes WHERE relid = $1::regclass", table)
		}
		before := read()
		_, err := conn.Exec(t.Context(), call, limit)
		require.NoError(t, err)
		require.Less(t, read()-before, most, call)
	}
}
