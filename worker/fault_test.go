package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate/verify"
	"github.com/iu-core/iuworker/worker"
)

// asWorker makes a worker run with the role iu_worker and no other role.
func asWorker(t *testing.T, db *iutest.DB) func(*worker.Config) {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(db.URLAs("iu_worker"))
	require.NoError(t, err)
	cfg.ConnConfig.RuntimeParams["application_name"] = "worker"
	cfg.MaxConns = 10
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return func(c *worker.Config) { c.Pool = pool }
}

// verified requires that every event was composed at its first attempt, and that verification finds nothing.
func verified(t *testing.T, db *iutest.DB, instances int) {
	t.Helper()
	eventually(t, db, "SELECT count(*) = $1 FROM iu_auto_instantiate_event_log", instances)
	eventually(t, db, "SELECT count(*) = 0 FROM iu_river.river_job WHERE state <> 'completed'")
	require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.dead_letter"))
	require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_river.river_job WHERE attempt > 1 OR errors IS NOT NULL"), "attempts were used up")
	report, err := verify.Run(t.Context(), verify.Config{Pool: db.Pool})
	require.NoError(t, err)
	require.Zero(t, report.Wrong, "%+v", report.Checks)
}

// A fault of the installation holds events back and uses no attempts. It is logged once, and ends when it is fixed.
func TestFaultsOfTheInstallationHoldEventsBack(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct{ broken, mended, says string }{
		"a grant on composing": {
			"REVOKE EXECUTE ON FUNCTION fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text) FROM iu_worker",
			"GRANT EXECUTE ON FUNCTION fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text) TO iu_worker",
			"a privilege is missing",
		},
		"a function": {
			"ALTER FUNCTION fn_iu_collection_digest(uuid) RENAME TO gone", "ALTER FUNCTION gone(uuid) RENAME TO fn_iu_collection_digest",
			"something is missing",
		},
		"a table": {
			"ALTER TABLE iu_outbox.emission RENAME TO gone", "ALTER TABLE iu_outbox.gone RENAME TO emission",
			"something is missing",
		},
		"a sequence": {
			// It keeps returning values that are in use, like a sequence that is far behind.
			"ALTER SEQUENCE iu_outbox.emission_id_seq MINVALUE 1 MAXVALUE 5 CYCLE RESTART 1",
			"ALTER SEQUENCE iu_outbox.emission_id_seq NO MAXVALUE NO CYCLE RESTART 1000",
			"a sequence is behind",
		},
		"a full disk": {
			`CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
			CREATE TRIGGER full_disk BEFORE INSERT ON iu_piece_collection FOR EACH ROW EXECUTE FUNCTION full_disk()`,
			"DROP TRIGGER full_disk ON iu_piece_collection", "the disk is full",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template := db.Template(t, "t", 2)
			log, lines := logging(t)
			w := start(t, db, asWorker(t, db), polling(50*time.Millisecond), func(c *worker.Config) { c.Logger = log })
			for i := range 5 {
				insert(t, db, template, fmt.Sprint("before-", i))
			}
			eventually(t, db, "SELECT count(*) = 5 FROM iu_auto_instantiate_event_log")
			eventually(t, db, "SELECT count(*) = 5 FROM iu_river.river_job WHERE state = 'completed'")

			db.Exec(t, fault.broken)
			id := insert(t, db, template, "first")
			for i := range 30 {
				insert(t, db, template, fmt.Sprint("during-", i))
			}
			if name != "a table" { // event_state returns no reason in this case
				eventually(t, db, "SELECT state = 'parked' AND reason LIKE $2 FROM iu_outbox.event_state($1)", id, "%"+fault.says+"%")
			}
			iutest.Eventually(t, func() bool { return lines.Count("Jobs: held back") > 0 }, patience)
			iutest.Eventually(t, func() bool { return w.Ready(t.Context()) != nil }, patience)
			require.ErrorContains(t, w.Ready(t.Context()), fault.says)
			require.Empty(t, logged(lines, "database lost"))

			db.Exec(t, fault.mended)
			verified(t, db, 36)
			iutest.Eventually(t, func() bool { return w.Ready(t.Context()) == nil }, patience)
			require.Equal(t, 1, lines.Count("Jobs: held back"), "it is told once")
			require.Equal(t, 1, lines.Count("Jobs: the installation's fault is over"))
		})
	}
}

// Without USAGE on its schema the worker moves nothing. It continues when it gets the privilege back.
func TestRevokedSchemas(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{"iu_outbox", "iu_river"} {
		t.Run(schema, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template := db.Template(t, "t", 2)
			log, lines := logging(t)
			w := start(t, db, asWorker(t, db), polling(50*time.Millisecond), func(c *worker.Config) { c.Logger = log })
			db.Exec(t, "REVOKE USAGE ON SCHEMA "+schema+" FROM iu_worker")
			for i := range 20 {
				insert(t, db, template, fmt.Sprint("s-", i))
			}
			iutest.Eventually(t, func() bool { return lines.Count("Relay: blocked by a fault of the installation") == 1 }, patience)
			require.Error(t, w.Ready(t.Context()))
			require.Empty(t, logged(lines, "database lost"))
			db.Exec(t, "GRANT USAGE ON SCHEMA "+schema+" TO iu_worker")
			verified(t, db, 20)
			iutest.Eventually(t, func() bool { return w.Ready(t.Context()) == nil }, patience)
		})
	}
}

// An error in one template's trigger is not a fault of the installation: its events use up their attempts, and others are composed.
func TestOneTemplatesFaultIsItsOwn(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	bad, good := db.Template(t, "bad", 1), db.Template(t, "good", 1)
	db.Exec(t, `
		CREATE FUNCTION public.broken() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN PERFORM public.no_such_function(); RETURN NEW; END $$;
		CREATE TRIGGER broken BEFORE INSERT ON public.iu_auto_instantiate_event_log
			FOR EACH ROW WHEN (NEW.event_type = 'bad') EXECUTE FUNCTION public.broken()`)
	start(t, db, polling(20*time.Millisecond))
	db.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix) VALUES ('bad', $1, 'bad')`, bad)
	n := 0
	iutest.Eventually(t, func() bool {
		n++
		insert(t, db, good, fmt.Sprint("good-", n))
		db.Exec(t, "UPDATE iu_river.river_job SET state = 'available', scheduled_at = now() WHERE state = 'retryable'")
		return value[bool](t, db, "SELECT EXISTS (SELECT FROM iu_outbox.dead_letter WHERE detail LIKE '%no_such_function%')")
	}, patience)
	eventually(t, db, "SELECT count(*) = $1 FROM iu_auto_instantiate_event_log", n)
}
