package doctor_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
	"github.com/iu-core/iuworker/internal/operate/operatetest"
)

// shareable names the check of the server's sessions. Tests that run at the same time share the server.
const shareable = "sessions"

func examine(t *testing.T, url string, change ...func(*doctor.Config)) doctor.Report {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	defer pool.Close()
	// A busy machine may need longer than the default timeouts.
	cfg := doctor.Config{Pool: pool, Timeout: operatetest.Patience, StatementTimeout: 30 * time.Second}
	for _, c := range change {
		c(&cfg)
	}
	report := doctor.Run(t.Context(), cfg)
	for _, check := range report.Checks {
		require.NotEmpty(t, check.Name)
		require.NotEmpty(t, check.Says, check.Name)
		if check.Result == operate.HealthFail {
			require.NotEmpty(t, check.WayOut+check.Next, check.Name)
		}
	}
	return report
}

func checked(t *testing.T, report doctor.Report, name string) doctor.Check {
	t.Helper()
	for _, check := range report.Checks {
		if check.Name == name {
			return check
		}
	}
	require.FailNow(t, "no such check", name)
	return doctor.Check{}
}

// healthy fails the test if a check that is not excused is not ok.
func healthy(t *testing.T, report doctor.Report, excused ...string) {
	t.Helper()
	for _, check := range report.Checks {
		if check.Name != shareable && !strings.Contains(strings.Join(excused, ","), check.Name) {
			require.Equal(t, operate.HealthOK, check.Result, "%+v", check)
			require.Empty(t, check.WayOut+check.Next, check.Name)
		}
	}
}

func TestDoctorFindsNothing(t *testing.T) {
	t.Parallel()
	db := operatetest.Lived(t)
	db.Exec(t, "SELECT iu_outbox.drop_dead_letters(NULL, NULL, 10)")
	operatetest.Work(t, db)
	db.WaitFor(t, operatetest.Patience, "SELECT EXISTS (SELECT FROM iu_outbox.worker)")
	report := examine(t, db.URL)
	healthy(t, report)
	require.True(t, report.OK())
	require.Contains(t, checked(t, report, "connection").Says, "database "+db.Name+" at 127.0.0.1:")
	require.Less(t, report.Seconds, operatetest.Patience.Seconds())
}

func TestDoctorNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	const row = `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, created_at)
		SELECT 'e', gen_random_uuid(), 'x', now() - interval '%s'`
	const job = `INSERT INTO iu_river.river_job (kind, args, queue, max_attempts, state, attempted_at, scheduled_at, finalized_at, metadata, errors)
		VALUES ('auto_instantiate', '{}', '%s', 10, '%s', now() - interval '3 minutes', now() - interval '3 minutes', NULL, '%s', %s)`
	const consumer = `INSERT INTO iu_outbox.consumer (name, epoch, position, tries, last_error)
		SELECT 'c', %s, %s, %d, 'no room' FROM iu_outbox.emission_counter`
	const workers = `WITH started AS (
			INSERT INTO iu_outbox.worker (id, lock_key, hostname, pid, version)
			SELECT w.id, w.n, 'h', w.n, '1' FROM unnest(ARRAY['a', 'b', 'c']) WITH ORDINALITY AS w (id, n))
		INSERT INTO iu_outbox.worker_report (worker, load, settings) SELECT r.id, '{}', r.settings::jsonb FROM (VALUES %s) AS r (id, settings)`
	for _, test := range []struct {
		breakage, check, says string
		result                operate.Health
		next                  string
	}{
		{"UPDATE iu_outbox.schema_info SET functions_hash = ''", "schema", "functions of iu_outbox are not those", operate.HealthFail, "iuworker migrate up"},
		{"UPDATE iu_outbox.schema_info SET schema_version = 34, functions_hash = ''",
			"schema", "schema is at version 34", operate.HealthFail, "iuworker migrate up"},
		{"UPDATE iu_outbox.schema_info SET schema_version = 99", "schema", "a newer iuworker created", operate.HealthWarn, ""},
		{"UPDATE iu_outbox.schema_info SET min_program_version = '99.0.0'", "schema", "needs iuworker 99.0.0", operate.HealthFail, "iuworker version"},
		{"ALTER TABLE iu_outbox.event DISABLE TRIGGER event_doorbell", "triggers", "1 trigger is disabled or missing", operate.HealthFail,
			"psql -c 'ALTER TABLE iu_outbox.event ENABLE ALWAYS TRIGGER event_doorbell'"},
		{"ALTER TABLE public.dot_config ENABLE TRIGGER iu_outbox_gate_bell", "triggers", "1 trigger is disabled or missing", operate.HealthFail,
			"psql -c 'ALTER TABLE public.dot_config ENABLE ALWAYS TRIGGER iu_outbox_gate_bell'"},
		{"DROP TRIGGER iu_outbox_emission_written ON iu_auto_instantiate_event_log",
			"triggers", "1 trigger is disabled or missing", operate.HealthFail, "iuworker migrate up"},
		{"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'iu_river.river_job_unique_idx'::regclass",
			"indexes", "1 index is not valid", operate.HealthFail,
			"psql -c 'REINDEX INDEX CONCURRENTLY iu_river.river_job_unique_idx'"},
		{fmt.Sprintf(job, "events", "scheduled", `{"parked": {"status": "installation_fault", "reason": "the disk is full; make room"}}`, "NULL"),
			"installation", "held back by a fault of the installation", operate.HealthFail, "iuworker status"},
		{fmt.Sprintf(job, "events", "scheduled", "{}", "NULL") + "; SELECT setval('iu_river.river_job_id_seq', 1, false)",
			"sequences", "1 sequence is behind", operate.HealthFail, ""},
		{"CREATE TABLE iu_stray (); DROP VIEW v_iu_auto_instantiate_event_summary",
			"conformance", "D9: 5/7 PASS", operate.HealthFail, "iuworker conformance"},
		{"UPDATE event_type_registry SET active = false",
			"event type", "not active: emissions are held back", operate.HealthFail, "UPDATE event_type_registry"},
		{"DELETE FROM event_type_registry", "event type", "no row", operate.HealthFail, "INSERT INTO event_type_registry"},
		{"INSERT INTO event_route (event_type, target) VALUES ('iu.template.instance_auto_composed', 'http://x')",
			"route", "1 route is attached", operate.HealthFail,
			"DELETE FROM event_route"},
		{"UPDATE dot_config SET value = 'no' WHERE key = 'iu_core.composer_enabled'",
			"gates", "1 gate is closed", operate.HealthWarn, "iuworker gate open composer"},
		{"SELECT", "composing", "^in sets$", operate.HealthOK, ""},
		{"ALTER FUNCTION fn_iu_collection_digest(uuid) SET work_mem = '1MB'",
			"composing", "^by a call for each event: iu-core has its own fn_iu_collection_digest$", operate.HealthOK, ""},
		{fmt.Sprintf(workers, `('a', '{"compose_by": "function"}')`), "composing", "^by a call for each event: --compose-by function$", operate.HealthOK, ""},
		{fmt.Sprintf(workers, `('a', '{"compose_by": "function"}'), ('b', '{"compose_by": "auto"}'), ('c', '{}')`),
			"composing", `^in sets, and by a call for each event in 1 of 3 workers \(--compose-by function\)$`, operate.HealthOK, ""},
		{"DROP FUNCTION iu_outbox.set_obstacle()", "composing", "does not fit this program", operate.HealthSkipped, "iuworker migrate up"},
		{"SELECT", "workers", "no worker is alive", operate.HealthFail, "iuworker work"},
		{`INSERT INTO iu_outbox.worker (id, lock_key, hostname, pid, version, seen_at) VALUES
			('a', 1, 'h', 1, '1', now()), ('silent', 2, 'h', 2, '1', now() + interval '1 hour')`,
			"workers", "1 worker is alive, and 1 is silent", operate.HealthWarn, ""},
		{fmt.Sprintf(row, "20 seconds"), "outbox", `row \d+ has waited in the outbox for [2-5]\d`, operate.HealthWarn, "iuworker status"},
		{fmt.Sprintf(row, "2 hours"), "outbox", `row \d+ has waited in the outbox for 2h0m`, operate.HealthFail, "iuworker status"},
		{fmt.Sprintf(job, "events", "running", "{}", "NULL"), "jobs", `job \d+ has run for 2m`, operate.HealthFail, "iuworker trace"},
		{fmt.Sprintf(job, "events", "available", "{}", "NULL"), "jobs",
			`job \d+ in the queue events has been due for 3m`, operate.HealthFail, "iuworker trace"},
		{fmt.Sprintf(job, "events", "retryable", "{}", "NULL"), "jobs", `job \d+ has been due for 2m`, operate.HealthFail, "iuworker trace"},
		{"INSERT INTO iu_river.river_queue (name, paused_at, updated_at) VALUES ('events', now(), now())",
			"queues", "1 queue is paused", operate.HealthWarn, ""},
		{fmt.Sprintf(job, "events", "retryable", "{}", `ARRAY['{"error": "no room"}'::jsonb]`),
			"retries", "1 job failed", operate.HealthWarn, "iuworker status"},
		{fmt.Sprintf(job, "scaleout", "scheduled", `{"retry": {"error": "no room"}}`, "NULL"),
			"retries", "1 job failed", operate.HealthWarn, "iuworker status"},
		{"UPDATE dot_config SET updated_at = now() - interval '1 minute'; " +
			fmt.Sprintf(job, "events", "scheduled", `{"parked": {"gate": "composer"}}`, "NULL"),
			"parked", "1 job is parked for the gate composer, which is open", operate.HealthFail, "iuworker status"},
		{`INSERT INTO iu_outbox.dead_letter (job_id, status, event, queue, attempts) VALUES (1, 'cancelled', '{}', 'events', 1)`,
			"dead letters", "1 event ended as dead letters", operate.HealthWarn, "iuworker dead-letters list"},
		{`INSERT INTO iu_outbox.emission (instance_collection_id, event, created_at) VALUES (gen_random_uuid(), '{}', now() - interval '2 minutes')`,
			"emissions", `emission \d+ has waited to be announced for 2m`, operate.HealthFail, "iuworker status"},
		{fmt.Sprintf(consumer, "epoch", "99", 0), "consumers", "1 of 1 consumers needs attention", operate.HealthFail, "iuworker consumers"},
		{"INSERT INTO iu_outbox.consumer (name, epoch) SELECT 'c', epoch FROM iu_outbox.emission_counter; SELECT iu_outbox.attend('1 hour', '30 days'); " +
			"UPDATE iu_outbox.attendance SET attended = 29.5 * 86400, grace = 0",
			"consumers", "1 of 1 consumers needs attention", operate.HealthWarn, "iuworker consumers"},
		{fmt.Sprintf(consumer, "epoch", "0", 2), "consumers", "1 of 1 consumers needs attention", operate.HealthWarn, "iuworker consumers"},
		{"ALTER TABLE iu_outbox.event SET (autovacuum_enabled = off)", "vacuum", "autovacuum is off for tables", operate.HealthFail,
			"ALTER TABLE iu_outbox.event RESET (autovacuum_enabled)"},
		// If the schema is missing or of another version, the checks report that they cannot run.
		{"DROP FUNCTION iu_outbox.gate_status() CASCADE", "gates", "does not fit this program", operate.HealthSkipped, "iuworker migrate up"},
		{"DROP TABLE iu_outbox.worker CASCADE", "workers", "does not fit this program", operate.HealthSkipped, "iuworker migrate up"},
		{"DROP SCHEMA iu_river CASCADE", "jobs", "there is no schema iu_river", operate.HealthSkipped, ""},
	} {
		t.Run(test.check+" "+string(test.result), func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			db.Exec(t, test.breakage)
			db.KeepAlive(t, "a", "b", "c")
			check := checked(t, examine(t, db.URL), test.check)
			require.Equal(t, test.result, check.Result, "%+v", check)
			require.Regexp(t, test.says, check.Says)
			require.Contains(t, check.Next, test.next)
		})
	}
}

func TestDoctorWithoutADatabase(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never replies
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	silent := "postgres://me:secret@" + listener.Addr().String() + "/x?sslmode=disable"
	for _, url := range []string{"postgres://me:secret@127.0.0.1:1/x", silent, strings.Replace(iutest.Empty(t).URL, "/test_", "/no_", 1)} {
		report := examine(t, url, func(c *doctor.Config) { c.Timeout = time.Second })
		require.False(t, report.OK())
		require.Equal(t, operate.HealthFail, checked(t, report, "connection").Result)
		require.Equal(t, len(report.Checks)-1, report.Count(operate.HealthSkipped), "all but the connection")
		require.NotContains(t, fmt.Sprint(report), "secret")
		require.Less(t, report.Seconds, operatetest.Patience.Seconds())
	}
}

func TestDoctorWithoutASchema(t *testing.T) {
	t.Parallel()
	report := examine(t, iutest.Empty(t).URL)
	schema := checked(t, report, "schema")
	require.Equal(t, operate.HealthFail, schema.Result)
	require.Equal(t, "iuworker migrate up", schema.Next)
	require.Equal(t, operate.HealthFail, checked(t, report, "conformance").Result)
	require.Equal(t, operate.HealthSkipped, checked(t, report, "jobs").Result)
	require.Contains(t, checked(t, report, "jobs").Says, "there is no schema")
	for _, name := range []string{"connection", "server", "clock", "listener", "notifications", "locks", "vacuum"} {
		require.Equal(t, operate.HealthOK, checked(t, report, name).Result, name)
	}
}

// Each role gets a report. Checks that need more privileges are skipped.
func TestDoctorAsEachRole(t *testing.T) {
	t.Parallel()
	db := operatetest.Lived(t)
	db.Exec(t, "SELECT iu_outbox.drop_dead_letters(NULL, NULL, 10)")
	operatetest.Work(t, db)
	for role, says := range map[string]string{
		"iu_worker": "user iu_worker can run workers", "iu_operator": "user iu_operator can operate",
		"iu_subscriber": "user iu_subscriber can neither run workers nor operate", "iu_app": "user iu_app can neither run workers nor operate",
	} {
		report := examine(t, db.URLAs(role))
		require.Contains(t, checked(t, report, "privileges").Says, says)
		for _, check := range report.Checks {
			switch {
			case check.Name == "privileges" || check.Name == shareable:
			case check.Result == operate.HealthSkipped:
				require.Regexp(t, "this login lacks a privilege|role .* may not", check.Says, "%s: %+v", role, check)
				require.NotEqual(t, "iu_operator", role, "%+v", check)
			default:
				require.Equal(t, operate.HealthOK, check.Result, "%s: %+v", role, check)
			}
		}
	}
	db.Exec(t, "REVOKE EXECUTE ON FUNCTION iu_outbox.claim(integer, bigint[], bigint[]) FROM iu_worker; REVOKE SELECT ON iu_outbox.event FROM iu_worker")
	check := checked(t, examine(t, db.URLAs("iu_worker")), "privileges")
	require.Equal(t, operate.HealthFail, check.Result)
	require.Equal(t, []string{
		"iu_worker lacks EXECUTE on FUNCTION iu_outbox.claim(p_limit integer, p_without bigint[], p_only bigint[]) in database " + db.Name +
			": GRANT EXECUTE ON FUNCTION iu_outbox.claim(p_limit integer, p_without bigint[], p_only bigint[]) TO iu_worker",
		"iu_worker lacks SELECT on TABLE iu_outbox.event in database " + db.Name + ": GRANT SELECT ON TABLE iu_outbox.event TO iu_worker",
	}, check.Details)
	require.Equal(t, "iuworker migrate up", check.Next)
}

// Checks of the whole server are tested on a server of their own.
func TestDoctorOnASickServer(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	db.Exec(t, "SELECT pg_create_physical_replication_slot('left', true)")
	for _, sql := range []string{
		"ALTER SYSTEM SET autovacuum = off", "ALTER SYSTEM SET synchronous_standby_names = 'gone'", "SELECT pg_reload_conf()",
		"ALTER DATABASE " + db.Name + " SET session_replication_role = replica",
	} {
		_, err := db.Pool.Exec(t.Context(), "SET synchronous_commit = local")
		require.NoError(t, err)
		_, err = db.Pool.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	report := examine(t, db.URL)
	for name, says := range map[string]string{
		"vacuum": "autovacuum is off for the whole server", "replicas": "commits wait for a synchronous replica",
		"triggers": "session_replication_role = replica",
	} {
		require.Equal(t, operate.HealthFail, checked(t, report, name).Result, name)
		require.Contains(t, checked(t, report, name).Says, says)
	}
	slots := checked(t, report, "slots")
	require.Equal(t, operate.HealthWarn, slots.Result)
	require.Equal(t, []string{"left: inactive"}, slots.Details)
	require.Equal(t, `psql -c 'SELECT pg_drop_replication_slot('\''left'\'')'`, slots.Next)

	db.Exec(t, "ALTER DATABASE "+db.Name+" SET default_transaction_read_only = on")
	require.Contains(t, checked(t, examine(t, db.URL), "server").Says, "read-only")
}

// Under load, the doctor does not report what is merely slow.
func TestDoctorUnderLoad(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	operatetest.Work(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// The backlog is bounded: even a slow machine drains it in time.
		for pace := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; <-pace.C {
			_, _ = db.Pool.Exec(ctx, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
				SELECT 'e', $1, gen_random_uuid()::text FROM generate_series(1, 20)
				WHERE (SELECT count(*) FROM iu_outbox.event) + (SELECT count(*) FROM iu_river.river_job WHERE finalized_at IS NULL) < 500`,
				template) // ends with the test
		}
	}()
	db.WaitFor(t, operatetest.Patience, "SELECT count(*) > 100 FROM iu_auto_instantiate_event_log")
	for range 3 {
		report := examine(t, db.URL)
		healthy(t, report, "outbox", "jobs", "emissions", "retries") // the load may be too much for the machine
		for _, name := range []string{"outbox", "jobs", "emissions"} {
			require.NotEqual(t, operate.HealthSkipped, checked(t, report, name).Result)
		}
	}
	cancel()
	<-ended
	operatetest.AwaitIdle(t, db)
	healthy(t, examine(t, db.URL))
}

// Connections that are reserved, which PostgreSQL can do from 16 on, are not free for a login that may not use them.
func TestReservedConnectionsAreNotFree(t *testing.T) {
	t.Parallel()
	db, server := iutest.Own(t)
	db.Since(t, 16)
	operator, superuser := db.URLAs("iu_operator"), db.URL
	db.Exec(t, "ALTER SYSTEM SET reserved_connections = 7")
	require.NoError(t, server.Restart(t.Context()))
	require.Contains(t, checked(t, examine(t, operator), "sessions").Says, " of 290 sessions are taken")
	require.Contains(t, checked(t, examine(t, superuser), "sessions").Says, " of 297 sessions are taken")
}
