package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/verify"
	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker"
)

// lock runs a statement in a transaction that stays open until release is called.
func lock(t *testing.T, db *iutest.DB, sql string, args ...any) (release func()) {
	t.Helper()
	tx, err := db.Pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
	release = func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }
	t.Cleanup(release)
	return release
}

func insertMany(t *testing.T, db *iutest.DB, template uuid.UUID, prefix string, n int) {
	t.Helper()
	db.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
		SELECT 'e', $1, $2 || g FROM generate_series(1, $3::int) AS g`, template, prefix, n)
}

func allIsWell(t *testing.T, db *iutest.DB) {
	t.Helper()
	report, err := verify.Run(t.Context(), verify.Config{Pool: db.Pool})
	require.NoError(t, err)
	require.Zero(t, report.Wrong, "%+v", report.Checks)
}

// encoded returns a migrated database with a single-byte encoding.
func encoded(t *testing.T, encoding string) *iutest.DB {
	t.Helper()
	db := iutest.New(t)
	name := value[string](t, db, "SELECT current_database()") + "_" + strings.ToLower(encoding)
	db.Exec(t, fmt.Sprintf(`CREATE DATABASE %s ENCODING '%s' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`, name, encoding))
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	u.Path = "/" + name
	conn, err := pgx.ParseConfig(u.String())
	require.NoError(t, err)
	_, err = iusql.Up(t.Context(), iusql.Config{ConnConfig: conn, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	pool, err := pgxpool.New(t.Context(), u.String())
	require.NoError(t, err)
	t.Cleanup(func() {
		pool.Close()
		db.Exec(t, "DROP DATABASE "+name+" WITH (FORCE)")
	})
	other := *db
	other.URL, other.Pool = u.String(), pool
	return &other
}

// A row with text that no session can read does not stop others. It becomes a readable dead letter that keeps every byte.
func TestUnreadableRow(t *testing.T) {
	t.Parallel()
	db := encoded(t, "WIN1252")
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	insertMany(t, db, template, "before-", 20)
	db.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, actor, note)
		VALUES ('e', $1, 'bad', 'a', 'caf' || chr(233) || chr(129))`, template)
	insertMany(t, db, template, "after-", 700)
	start(t, db)
	eventually(t, db, "SELECT count(*) = 720 FROM iu_auto_instantiate_event_log")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.dead_letter")
	letters, err := operate.DeadLetters(t.Context(), db.Pool, operate.Selection{}, 0, 10)
	require.NoError(t, err)
	require.Contains(t, *letters[0].Detail, "22P05")
	require.JSONEq(t, `{"note": "636166e981"}`, value[string](t, db, "SELECT event -> 'hex' FROM iu_outbox.dead_letter"))
	require.Equal(t, "caf??", value[string](t, db, "SELECT event ->> 'note' FROM iu_outbox.dead_letter"))
	require.Equal(t, "dead", value[string](t, db, "SELECT state FROM iu_outbox.event_state((SELECT event_id FROM iu_outbox.dead_letter))"))
	allIsWell(t, db)

	// A retry restores the row with its bytes, and it becomes a dead letter again.
	id := letters[0].ID
	moved, err := operate.Operator{Pool: db.Pool, Actor: "otto"}.RetryDeadLetters(t.Context(), operate.Letters{}, 1)
	require.NoError(t, err)
	require.Equal(t, 1, moved.Done)
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.dead_letter WHERE id > $1 AND event #>> '{hex,note}' = '636166e981'", id)
	allIsWell(t, db)
}

// River's table refuses some rows. Invalid data becomes a dead letter at once, and a row with another error after ten tries.
func TestRowsThatAreRefused(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	db.Exec(t, `
		CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF NEW.args ->> 'event_type' = 'data' THEN RAISE EXCEPTION 'no such data' USING ERRCODE = '22000'; END IF;
			RAISE EXCEPTION 'not this one';
		END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON iu_river.river_job
			FOR EACH ROW WHEN (NEW.args ->> 'event_type' IN ('data', 'other')) EXECUTE FUNCTION public.refuse()`)
	for _, kind := range []string{"data", "other", "data"} {
		db.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix) VALUES ($1, $2, $1)`, kind, template)
		insertMany(t, db, template, uuid.NewString(), 300)
	}
	log, lines := logging(t)
	start(t, db, polling(20*time.Millisecond), func(c *worker.Config) { c.Logger = log })
	eventually(t, db, "SELECT count(*) = 900 FROM iu_auto_instantiate_event_log")
	eventually(t, db, "SELECT count(*) = 2 FROM iu_outbox.dead_letter WHERE status = 'error' AND detail LIKE '%no such data%'")
	require.Equal(t, "other", value[string](t, db, "SELECT event_type FROM iu_outbox.event"))
	require.Equal(t, 1, lines.Count("Relay: passing by a row"))
	db.Exec(t, "DROP TRIGGER refuse ON iu_river.river_job")
	eventually(t, db, "SELECT count(*) = 901 FROM iu_auto_instantiate_event_log")
	allIsWell(t, db)
}

// An emission that cannot be announced in full gets its position and is announced by its cursor. Others are not affected.
func TestEmissionThatCannotBeAnnounced(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	db.Exec(t, "UPDATE event_type_registry SET active = false WHERE event_type = 'iu.template.instance_auto_composed'")
	start(t, db, polling(20*time.Millisecond))
	insertMany(t, db, template, "s-", 20)
	eventually(t, db, "SELECT count(*) = 20 FROM iu_outbox.emission")
	db.Exec(t, `
		CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
		UPDATE iu_outbox.emission SET event = '{"edited": true}' WHERE id = (SELECT min(id) + 7 FROM iu_outbox.emission);
		CREATE TRIGGER refuse BEFORE UPDATE ON iu_outbox.emission
			FOR EACH ROW WHEN (NEW.event ? 'edited') EXECUTE FUNCTION public.refuse()`)
	db.Exec(t, "UPDATE event_type_registry SET active = true WHERE event_type = 'iu.template.instance_auto_composed'")
	eventually(t, db, "SELECT count(*) = 20 AND max(position) = 20 FROM iu_outbox.emission WHERE position IS NOT NULL")
	require.Equal(t, 1, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.emission WHERE event ->> 'original' LIKE '%edited%'"))
	insertMany(t, db, template, "more-", 5)
	eventually(t, db, "SELECT max(position) = 25 FROM iu_outbox.emission")
}

// An open transaction locks a template or one of its pieces: the template's events wait, and those of other templates do not.
func TestHeldTemplates(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"collection": "SELECT FROM iu_piece_collection WHERE id = $1 FOR UPDATE",
		"piece":      "SELECT FROM iu_piece WHERE id = (SELECT piece_id FROM iu_piece_membership WHERE collection_id = $1 AND position = 1) FOR UPDATE",
		"registry":   "SELECT FROM iu_collection_template_registry WHERE collection_id = $1 FOR UPDATE",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			free, held := db.Template(t, "free", 2), db.Template(t, "held", 2)
			release := lock(t, db, sql, held)
			start(t, db)
			for i := range 10 {
				insertMany(t, db, held, fmt.Sprintf("held-%d-", i), 30)
				insertMany(t, db, free, fmt.Sprintf("free-%d-", i), 100)
			}
			began := time.Now()
			eventually(t, db, "SELECT count(*) = 1000 FROM iu_auto_instantiate_event_log WHERE template_collection_id = $1", free)
			t.Logf("1000 events of the other template took %s", time.Since(began))
			release()
			eventually(t, db, "SELECT count(*) = 1300 FROM iu_auto_instantiate_event_log")
			require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.dead_letter"))
			require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_river.river_job WHERE attempt > 1"))
		})
	}
}

// A lock on a whole table stops all events. Nothing fails, and the work continues after the lock is released.
func TestLockedTables(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"iu_piece_collection", "iu_piece", "dot_config", "iu_outbox.event", "iu_outbox.emission", "iu_river.river_job"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template := db.Template(t, "t", 2)
			start(t, db, polling(50*time.Millisecond))
			insertMany(t, db, template, "s-", 50)
			release := lock(t, db, "LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE")
			rows := 100
			if table != "iu_outbox.event" { // the others may all have been composed before the lock
				insertMany(t, db, template, "locked-", 10)
				rows += 10
			}
			iutest.WaitBlocked(t, db, 1)
			release()
			insertMany(t, db, template, "more-", 50)
			eventually(t, db, "SELECT count(*) = $1 FROM iu_auto_instantiate_event_log", rows)
			eventually(t, db, "SELECT count(*) = $1 FROM iu_outbox.emission WHERE position IS NOT NULL", rows)
			require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.dead_letter"))
			require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_river.river_job WHERE attempt > 1"))
		})
	}
}

// A slow event does not delay others, whatever the role's statement_timeout is.
func TestHeavyEvent(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	small, heavy := db.Template(t, "small", 2), db.Template(t, "heavy", 20000)
	role := "ALTER ROLE iu_worker IN DATABASE " + db.Name
	db.Exec(t, role+" SET statement_timeout = '400ms'")
	var pool *pgxpool.Pool
	start(t, db, asWorker(t, db), func(c *worker.Config) { pool = c.Pool })
	insertMany(t, db, small, "a-", 300)
	insertMany(t, db, heavy, "heavy-", 1)
	insertMany(t, db, small, "b-", 680)
	began := time.Now()
	eventually(t, db, "SELECT count(*) = 980 FROM iu_auto_instantiate_event_log WHERE template_collection_id = $1", small)
	t.Logf("980 small events took %s", time.Since(began))
	eventually(t, db, "SELECT count(*) = 1 FROM iu_auto_instantiate_event_log WHERE template_collection_id = $1", heavy)
	db.Exec(t, role+" RESET statement_timeout") // the worker signs off in a statement that is not tried again
	pool.Reset()
}

// An event that exceeds the time limit of a batch or the server's memory is isolated and composed alone.
func TestEventsThatTakeTooMuch(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"time":   "IF nextval('public.runs') <= 2 THEN PERFORM pg_sleep(60); ELSE PERFORM pg_sleep(5.5); END IF;",
		"memory": "IF nextval('public.runs') <= 3 THEN RAISE EXCEPTION 'out of memory' USING ERRCODE = '53200'; END IF;",
		"limits": "IF nextval('public.runs') <= 3 THEN RAISE EXCEPTION 'too complex' USING ERRCODE = '54001'; END IF;",
		"bug":    "IF nextval('public.runs') <= 3 THEN RAISE EXCEPTION 'internal' USING ERRCODE = 'XX000'; END IF;",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template := db.Template(t, "t", 1)
			db.Exec(t, `
				CREATE SEQUENCE public.runs;
				CREATE FUNCTION public.heavy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN `+body+` RETURN NEW; END $$;
				CREATE TRIGGER heavy BEFORE INSERT ON public.iu_auto_instantiate_event_log
					FOR EACH ROW WHEN (NEW.event_type = 'heavy') EXECUTE FUNCTION public.heavy()`)
			start(t, db, polling(50*time.Millisecond))
			db.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix) VALUES ('heavy', $1, 'heavy')`, template)
			insertMany(t, db, template, "s-", 500)
			eventually(t, db, "SELECT count(*) = 500 FROM iu_auto_instantiate_event_log WHERE event_type = 'e'")
			db.WaitFor(t, 2*patience, "SELECT count(*) = 501 FROM iu_auto_instantiate_event_log")
			require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.dead_letter"))
		})
	}
}

// An open transaction locks job rows: neither the relay nor the completion of jobs waits for it.
func TestLockedJobs(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "t", 1)
	log, lines := logging(t)
	start(t, db, polling(50*time.Millisecond), func(c *worker.Config) { c.Logger = log })
	// Events of parked jobs are inserted again while the rows of the jobs are locked.
	const again = `INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix)
		SELECT md5(g::text)::uuid, 'e', $1, 'again-' || g FROM generate_series(1, 5) AS g`
	db.Exec(t, again, template)
	eventually(t, db, "SELECT count(*) = 5 FROM iu_river.river_job WHERE metadata ? 'parked'")
	release := lock(t, db, "SELECT FROM iu_river.river_job FOR UPDATE")
	db.Exec(t, again, template)
	insertMany(t, db, template, "s-", 500)
	db.OpenGates(t)
	eventually(t, db, "SELECT count(*) = 500 FROM iu_auto_instantiate_event_log")
	eventually(t, db, "SELECT count(*) = 500 FROM iu_river.river_job WHERE state = 'completed'")
	require.Equal(t, lines.Count("connection lost"), lines.Count("lost"), "only connections are lost, by a machine that stalls")
	release()
	eventually(t, db, "SELECT count(*) = 505 FROM iu_auto_instantiate_event_log")
	eventually(t, db, "SELECT count(*) = 0 FROM iu_outbox.event")
	eventually(t, db, "SELECT count(*) = 0 FROM iu_river.river_job WHERE state <> 'completed'")
	allIsWell(t, db)
}

// Jobs whose rows are locked when they end do not delay the completion of others.
func TestJobsLockedWhileTheyRun(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	let := db.HoldComposing(t)
	start(t, db, polling(50*time.Millisecond))
	insertMany(t, db, template, "held-", 3)
	eventually(t, db, "SELECT count(*) = 3 FROM iu_river.river_job WHERE state = 'running'")
	release := lock(t, db, "SELECT FROM iu_river.river_job FOR UPDATE")
	let()
	insertMany(t, db, template, "s-", 300)
	eventually(t, db, "SELECT count(*) = 303 FROM iu_auto_instantiate_event_log")
	eventually(t, db, "SELECT count(*) = 300 FROM iu_river.river_job WHERE state = 'completed'")
	release()
}

// An open transaction that locks rows of one of our tables does not delay new events.
func TestOpenTransactionsOnOurRows(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"iu_outbox.event", "iu_outbox.emission", "iu_outbox.worker", "iu_outbox.epoch", "iu_outbox.claimed",
		"iu_outbox.consumer", "iu_outbox.audit", "dot_config", "event_type_registry", "iu_river.river_queue"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template := db.Template(t, "t", 1)
			start(t, db, polling(50*time.Millisecond))
			insertMany(t, db, template, "s-", 10)
			eventually(t, db, "SELECT count(*) = 10 FROM iu_outbox.emission WHERE position IS NOT NULL")
			db.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, available_at)
				VALUES ('e', $1, 'later', now() + interval '1 hour')`, template)
			lock(t, db, "SELECT FROM "+table+" FOR UPDATE")
			insertMany(t, db, template, "more-", 50)
			eventually(t, db, "SELECT count(*) = 60 FROM iu_outbox.emission WHERE position IS NOT NULL")
		})
	}
}

// A due job whose row is locked by an open transaction does not keep other due jobs from running.
func TestLockedDueJob(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	start(t, db)
	db.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, available_at)
		SELECT 'e', $1, 'later-' || g, now() + interval '1 hour' FROM generate_series(1, 2) AS g`, template)
	eventually(t, db, "SELECT count(*) = 2 FROM iu_river.river_job WHERE state = 'scheduled'")
	// River's scheduler takes jobs that are due within 5 s.
	release := lock(t, db, `UPDATE iu_river.river_job SET scheduled_at = now() + interval '8 seconds';
		COMMIT; BEGIN; SELECT FROM iu_river.river_job ORDER BY id LIMIT 1 FOR UPDATE`)
	eventually(t, db, "SELECT count(*) = 1 FROM iu_auto_instantiate_event_log")
	release()
	eventually(t, db, "SELECT count(*) = 2 FROM iu_auto_instantiate_event_log")
}
