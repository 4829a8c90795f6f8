package iusql_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

const patience = time.Minute

// composeLive composes an event on the caller's connection.
func composeLive(t *testing.T, conn *pgx.Conn, template uuid.UUID) {
	t.Helper()
	var status string
	require.NoError(t, conn.QueryRow(t.Context(), `
		SELECT public.fn_iu_auto_instantiate_from_event($1, 'e', $2, $3, 'live', 'a') ->> 'status'`,
		uuid.New(), template, uuid.NewString()).Scan(&status))
	require.Equal(t, "instantiated", status)
}

func replica(t *testing.T, db *iutest.DB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.URL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	_, err = conn.Exec(t.Context(), "SET session_replication_role = replica")
	require.NoError(t, err)
	return conn
}

// Instances that are composed in a session that skips ordinary triggers are still announced, rolled back and recorded.
func TestTriggersFireInReplicas(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	conn := replica(t, db)
	composeLive(t, conn, template)
	require.Equal(t, []string{"1"}, rows(t, db, "SELECT count(*)::text FROM iu_outbox.emission"))
	_, err := conn.Exec(t.Context(), "SELECT public.fn_iu_auto_instantiate_rollback_by_actor('a', false)")
	require.NoError(t, err)
	require.Equal(t, []string{"0 1"}, rows(t, db, `SELECT (SELECT count(*) FROM iu_outbox.emission) || ' ' ||
		(SELECT count(*) FROM iu_outbox.settled WHERE how = 'rolled_back')`))

	_, err = conn.Exec(t.Context(), `
		INSERT INTO iu_river.river_job (kind, args, state, max_attempts) VALUES ('auto_instantiate', '{}', 'running', 3);
		UPDATE iu_river.river_job SET state = 'discarded', finalized_at = now();
		INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix) VALUES ('e', gen_random_uuid(), 's');
		DELETE FROM iu_outbox.event`)
	require.NoError(t, err)
	require.Equal(t, []string{"1 1"}, rows(t, db, `SELECT (SELECT count(*) FROM iu_outbox.dead_letter) || ' ' ||
		(SELECT count(*) FROM iu_outbox.settled WHERE how = 'removed')`))
}

// A session that restores rows announces neither what was already announced nor what has been pruned since.
func TestRestoredRowsAreNotAnnouncedAgain(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	conn := replica(t, db)
	for range 3 {
		composeLive(t, conn, template)
	}
	require.Equal(t, []string{"3"}, rows(t, db, "SELECT emitted::text FROM iu_outbox.emit(10)"))
	require.Equal(t, []string{"1"}, rows(t, db, `
		WITH gone AS (DELETE FROM iu_outbox.emission WHERE position = 1 RETURNING created_at)
		UPDATE iu_outbox.emission_pruned SET position = 1, instances = 1, created_until = (SELECT created_at FROM gone) RETURNING '1'`))
	_, err := conn.Exec(t.Context(), `
		CREATE TEMPORARY TABLE dump AS SELECT * FROM public.iu_auto_instantiate_event_log;
		ALTER TABLE public.iu_auto_instantiate_event_log DISABLE TRIGGER USER;
		DELETE FROM public.iu_auto_instantiate_event_log;
		ALTER TABLE public.iu_auto_instantiate_event_log ENABLE ALWAYS TRIGGER iu_outbox_emission_written;
		INSERT INTO public.iu_auto_instantiate_event_log SELECT * FROM dump`)
	require.NoError(t, err)
	require.Equal(t, []string{"2 0"}, rows(t, db,
		"SELECT count(*) || ' ' || count(*) FILTER (WHERE position IS NULL) FROM iu_outbox.emission"))
}

// Up repairs triggers that somebody switched off, or that fire only in some sessions.
func TestUpHealsTriggers(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	const always = `SELECT count(*)::text FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid
		WHERE p.pronamespace = 'iu_outbox'::regnamespace AND t.tgenabled <> 'A'`
	require.Equal(t, []string{"0"}, rows(t, db, always))
	db.Exec(t, `
		ALTER TABLE iu_outbox.event DISABLE TRIGGER event_doorbell;
		ALTER TABLE public.dot_config ENABLE TRIGGER iu_outbox_gate_bell`)
	require.Equal(t, []string{"2"}, rows(t, db, always))
	result, err := iusql.Up(t.Context(), config(t, db.URL))
	require.NoError(t, err)
	require.True(t, result.Functions)
	require.Equal(t, []string{"0"}, rows(t, db, always))
}

// A subscription applies what the publisher's triggers created, and creates nothing itself: each instance exists
// once, and so does its emission.
func TestSubscriptionsAnnounceNothingAgain(t *testing.T) {
	t.Parallel()
	db, server := iutest.Own(t)
	there := db.Beside(t)
	db.Exec(t, "ALTER SYSTEM SET wal_level = logical")
	require.NoError(t, server.Restart(t.Context()))
	db.WaitFor(t, patience, "SELECT current_setting('wal_level') = 'logical'")
	db.Exec(t, "CREATE PUBLICATION everything FOR ALL TABLES")
	db.OpenGates(t)
	template := db.Template(t, "t", 2)

	there.WaitFor(t, patience, "SELECT true")
	up(t, there)
	there.Exec(t, `TRUNCATE public.dot_config, public.event_type_registry, iu_outbox.epoch, iu_outbox.emission_counter, iu_outbox.emission_pruned,
		iu_outbox.attendance, iu_outbox.retention,
		iu_outbox.schema_info, iu_migration.goose_db_version, iu_migration.origin, iu_river.river_migration CASCADE`)
	db.Exec(t, "SELECT pg_create_logical_replication_slot('s', 'pgoutput')") // a subscription in the same cluster waits for itself
	there.Exec(t, "CREATE SUBSCRIPTION s CONNECTION '"+db.URL+"' PUBLICATION everything WITH (create_slot = false, slot_name = 's')")
	t.Cleanup(func() {
		there.Exec(t, "ALTER SUBSCRIPTION s DISABLE")
		there.Exec(t, "ALTER SUBSCRIPTION s SET (slot_name = NONE)")
		there.Exec(t, "DROP SUBSCRIPTION s")
	})
	there.WaitFor(t, 3*patience, "SELECT count(*) = 2 FROM public.iu_piece")
	there.WaitFor(t, 3*patience, "SELECT bool_and(srsubstate IN ('r', 's')) FROM pg_subscription_rel")

	conn, err := pgx.Connect(t.Context(), db.URL)
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	composeLive(t, conn, template)
	composeLive(t, conn, template)
	require.Equal(t, []string{"2"}, rows(t, db, "SELECT emitted::text FROM iu_outbox.emit(10)"))
	db.Exec(t, `
		INSERT INTO iu_river.river_job (kind, args, state, max_attempts) VALUES ('auto_instantiate', '{}', 'running', 3);
		UPDATE iu_river.river_job SET state = 'discarded', finalized_at = now();
		INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix) VALUES ('e', gen_random_uuid(), 's');`)
	require.Equal(t, []string{"1"}, rows(t, db, "SELECT count(*)::text FROM iu_outbox.claim(10)"))
	there.WaitFor(t, patience, "SELECT count(*) = 1 FROM iu_outbox.claimed")
	require.Equal(t, []string{"2 2 1 0"}, rows(t, there, `
		SELECT count(*) || ' ' || count(position) || ' ' || (SELECT count(*) FROM iu_outbox.dead_letter)
			|| ' ' || (SELECT count(*) FROM iu_outbox.settled) FROM iu_outbox.emission`))
}
