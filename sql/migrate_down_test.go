package iusql_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

func down(t testing.TB, db *iutest.DB, to int64) *iusql.Result {
	t.Helper()
	result, err := iusql.Down(t.Context(), config(t, db.URL), to)
	require.NoError(t, err)
	return result
}

func TestDownAndUpAgain(t *testing.T) {
	t.Parallel()
	for _, to := range []int64{32, 33, 34, 35} {
		t.Run(strconv.FormatInt(to, 10), func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			before := dump(t, db)

			result := down(t, db, to)
			require.EqualValues(t, 36, result.From)
			require.Equal(t, to, result.To)
			require.Len(t, result.Versions, int(36-to))
			require.Error(t, iusql.CheckSchema(t.Context(), db.Pool))

			again := down(t, db, to)
			require.Empty(t, again.Versions)
			require.Equal(t, to, again.To)

			up(t, db)
			sameDump(t, before, dump(t, db))
			require.NoError(t, iusql.CheckSchema(t.Context(), db.Pool))
		})
	}
}

// fill inserts rows of each kind into a database: 3 outbox rows, 2 unfinished jobs, 1 emission with its log row, 1
// dead letter, 1 dead letter of a consumer.
func fill(t testing.TB, db *iutest.DB) {
	t.Helper()
	template := db.Template(t, "form", 1)
	db.OpenGates(t)
	db.Exec(t, `
		SELECT public.fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'test', $1, 'one', 'live', 'tester')`, template)
	db.Exec(t, `
		INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
		SELECT 'test', $1, 'waits ' || n FROM generate_series(1, 3) AS n`, template)
	db.Exec(t, `
		INSERT INTO iu_river.river_job (kind, args, max_attempts, state, finalized_at)
		SELECT 'auto_instantiate', '{}', 1, s.state, CASE WHEN s.state = 'completed' THEN now() END
		FROM unnest(ARRAY['available', 'scheduled', 'completed']::iu_river.river_job_state[]) AS s (state)`)
	db.Exec(t, `
		INSERT INTO iu_outbox.dead_letter (job_id, status, event, queue, attempts) VALUES (7, 'template_not_found', '{}', 'events', 1)`)
}

func TestDownRefusesToLoseRows(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	fill(t, db)
	before := dump(t, db)

	_, err := iusql.Down(t.Context(), config(t, db.URL), 32)
	require.ErrorIs(t, err, iusql.ErrNotEmpty)
	require.EqualError(t, err, "going down to 32 would lose unfinished jobs: 2, outbox rows: 3, emissions: 1, dead letters: 1, "+
		"log rows: 1; nothing was changed; add --force to lose them")
	_, err = iusql.Down(t.Context(), config(t, db.URL), 34)
	require.EqualError(t, err, "going down to 34 would lose unfinished jobs: 2; nothing was changed; add --force to lose them")
	sameDump(t, before, dump(t, db))
	require.NoError(t, iusql.CheckSchema(t.Context(), db.Pool))

	cfg := config(t, db.URL)
	cfg.Force = true
	result, err := iusql.Down(t.Context(), cfg, 32)
	require.NoError(t, err)
	require.EqualValues(t, 32, result.To)
	up(t, db)
	sameDump(t, before, dump(t, db))
}

// The log of a 033 that existed before us stays with its rows, and needs no --force.
func TestDownKeepsTheLogThatWasAdopted(t *testing.T) {
	t.Parallel()
	db := instantiated(t)
	up(t, db)
	fill(t, db)
	db.Exec(t, "DELETE FROM iu_outbox.event; DELETE FROM iu_outbox.dead_letter")
	db.Exec(t, "UPDATE iu_river.river_job SET state = 'completed', finalized_at = now(); DELETE FROM iu_outbox.emission")

	down(t, db, 32)
	require.Equal(t, []string{"live"}, rows(t, db, "SELECT emit_mode FROM public.iu_auto_instantiate_event_log"))
	require.Equal(t, []string{"0", "32"}, rows(t, db, versions))
	require.Equal(t, []string{"iu_core_032 created"}, rows(t, db, origins))
}

func TestDownBelowTheBaselineIsWrongUsage(t *testing.T) {
	t.Parallel()
	cfg := config(t, "postgres://nobody@127.0.0.1:1/nowhere") // the error comes before connecting
	for to, text := range map[int64]string{
		31: "cannot go down to 31", 0: "cannot go down to 0", -1: "cannot go down to -1", 37: "there is no version 37; give one of [32 33 34 35 36]",
	} {
		_, err := iusql.Down(t.Context(), cfg, to)
		require.ErrorIs(t, err, iusql.ErrUsage)
		require.ErrorContains(t, err, text)
	}
}

func TestDownOnAnEmptyDatabaseDoesNothing(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	before := dump(t, db)
	result := down(t, db, 32)
	require.Empty(t, result.Versions)
	require.Zero(t, result.To)
	sameDump(t, before, dump(t, db))
}

// Objects that others created from our tables are not dropped, with or without --force.
func TestDownStopsAtObjectsOfOthers(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, `
		CREATE SCHEMA shop;
		CREATE VIEW shop.queue AS SELECT count(*) FROM iu_river.river_job;
		CREATE MATERIALIZED VIEW shop.seen AS SELECT id FROM iu_outbox.emission;
		CREATE TABLE shop.page (letter bigint REFERENCES iu_outbox.dead_letter);
		CREATE TABLE iu_river.mine (id int)`)
	before := dump(t, db)
	cfg := config(t, db.URL)
	cfg.Force = true
	_, err := iusql.Down(t.Context(), cfg, 32)
	require.ErrorIs(t, err, iusql.ErrConflict)
	require.EqualError(t, err, "going down to 32 would drop the foreign key page_letter_fkey of shop.page and view shop.queue and view shop.seen, "+
		"which iuworker did not create; nothing was changed; drop that first")
	_, err = iusql.Down(t.Context(), cfg, 34)
	require.ErrorContains(t, err, "going down to 34 would drop view shop.queue, which")

	db.Exec(t, "DROP VIEW shop.queue")
	_, err = iusql.Down(t.Context(), cfg, 34)
	require.ErrorContains(t, err, "table iu_river.mine depends on schema iu_river")
	db.Exec(t, "CREATE VIEW shop.queue AS SELECT count(*) FROM iu_river.river_job")
	sameDump(t, before, dump(t, db))
}

// Down sees an event that commits while it waits, and refuses, so the event is not lost.
func TestDownSeesWhatCommitsMeanwhile(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "form", 1)
	producer, err := db.Pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = producer.Exec(t.Context(), `
		INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix) VALUES ('test', $1, 'late')`, template)
	require.NoError(t, err)
	done := make(chan error, 1)
	cfg := config(t, db.URL)
	go func() { _, err := iusql.Down(t.Context(), cfg, 32); done <- err }()
	iutest.WaitBlocked(t, db, 1)
	require.NoError(t, producer.Commit(t.Context()))
	require.ErrorIs(t, <-done, iusql.ErrNotEmpty)
}

// Down also works if Up was interrupted among River's migrations.
func TestDownFromTheMiddle(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	steps := strings.SplitAfter(printed(t, db), "\nCOMMIT;\n")
	require.NoError(t, run(t, db, strings.Join(steps[:8], "")))
	require.Equal(t, []string{"0", "32", "33", "34"}, rows(t, db, versions))
	require.Equal(t, []string{"4"}, rows(t, db, "SELECT max(version)::text FROM iu_river.river_migration"))

	down(t, db, 32)
	up(t, db)
	sameDump(t, dump(t, iutest.New(t)), dump(t, db))
}
