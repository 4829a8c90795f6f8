package worker_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

const traceOfApplication = `{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1"}`

// A row that is alone in the outbox is composed in one call. That call writes what the usual way writes for each of several rows.
func TestRowThatIsAloneIsComposedInOneCall(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Exec(t, `CREATE TABLE composed_alone ();
		CREATE FUNCTION note_alone() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
			AS 'BEGIN INSERT INTO composed_alone DEFAULT VALUES; RETURN NULL; END';
		CREATE TRIGGER note_alone AFTER INSERT ON iu_auto_instantiate_event_log
			FOR EACH ROW WHEN (current_query() LIKE '%iu_outbox.compose_alone(%') EXECUTE FUNCTION note_alone()`)
	template := db.Template(t, "t", 3)
	start(t, db, func(c *worker.Config) { c.ID, c.Pool, c.PollInterval = "w-1", workerPool(t, db), 100*time.Millisecond })
	added := map[string]int{"note": 0, "without": 0}
	add := func(n int, note *string) {
		kind := "note"
		if note == nil {
			kind = "without"
		}
		added[kind] += n
		eventually(t, db, relaySleeps)
		db.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, note, trace_context)
			SELECT 'e', $1, gen_random_uuid(), $2, $3 FROM generate_series(1, $4)`, template, note, traceOfApplication, n)
		eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_outbox.event)")
	}
	const alone = "SELECT count(*)::int FROM composed_alone"
	addAlone := func(note *string) {
		before := value[int](t, db, alone)
		iutest.Eventually(t, func() bool { // a row that takes seconds goes the usual way
			add(1, note)
			return value[int](t, db, alone) > before
		}, patience)
	}
	note := "a note"
	add(2, &note)
	addAlone(&note)
	add(2, nil)
	addAlone(nil)
	require.Equal(t, 2, value[int](t, db, alone))
	total := added["note"] + added["without"]
	eventually(t, db, "SELECT count(*) = $1 FROM iu_outbox.emission WHERE position IS NOT NULL", total)
	require.Equal(t, []string{fmt.Sprint("note ", added["note"]), fmt.Sprint("without ", added["without"])}, value[[]string](t, db, `
		SELECT array_agg(f.kind || ' ' || f.n ORDER BY f.kind)
		FROM (SELECT CASE WHEN j.args ? 'note' THEN 'note' ELSE 'without' END AS kind, count(*) AS n
		      FROM iu_river.river_job AS j
		      GROUP BY j.args ? 'note', j.state, j.queue, j.kind, j.priority, j.attempt, j.max_attempts, j.attempted_by, j.unique_states, j.errors, j.tags,
			       ARRAY(SELECT k FROM jsonb_object_keys(j.args) AS k ORDER BY k), ARRAY(SELECT k FROM jsonb_object_keys(j.metadata) AS k ORDER BY k),
			       j.args -> 'trace_context', j.args ->> 'created_at' ~ '^2.*Z$', j.args ->> 'available_at' ~ '^2.*Z$',
			       j.unique_key = iu_outbox.unique_key(j.args ->> 'idempotency_key'), j.finalized_at >= j.attempted_at) AS f`))
	require.Equal(t, 1, value[int](t, db, `
		SELECT count(DISTINCT e.event - '{id,subject,time,data,position,cursor}'::text[]
			|| jsonb_build_object('keys', (SELECT jsonb_agg(k) FROM jsonb_object_keys(e.event) AS k)))::int
		FROM iu_outbox.emission AS e WHERE e.event ->> 'tracestate' = 'a=1' AND e.event ? 'traceparent'`))
	verified(t, db, total)
}

// A row that cannot be composed alone goes the usual way at once, and the rows after it are composed.
func TestRowThatFailsAloneGoesTheUsualWay(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	start(t, db)
	eventually(t, db, relaySleeps)
	bad := insert(t, db, uuid.New(), "bad")
	eventually(t, db, "SELECT state = 'dead' FROM iu_outbox.event_state($1)", bad)
	require.Equal(t, "template_not_found", value[string](t, db, "SELECT status FROM iu_outbox.dead_letter"))
	good := insert(t, db, template, "good")
	eventually(t, db, "SELECT state = 'done' FROM iu_outbox.event_state($1)", good)
}

// A row that comes alone meets a session that has composed before, whatever other sessions of the pool are free.
func TestRowsThatComeAloneMeetTheSameSession(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Exec(t, `CREATE TABLE composed_by (pid integer);
		CREATE FUNCTION note_session() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
			AS 'BEGIN INSERT INTO composed_by SELECT pg_backend_pid(); RETURN NULL; END';
		CREATE TRIGGER note_session AFTER INSERT ON iu_auto_instantiate_event_log FOR EACH ROW EXECUTE FUNCTION note_session()`)
	template := db.Template(t, "t", 1)
	pool := poolOf(t, db, 10)
	start(t, db, func(c *worker.Config) { c.Pool = pool })
	const events = 5
	iutest.Eventually(t, func() bool { // a row that takes seconds costs the session
		db.Exec(t, "TRUNCATE composed_by")
		for range events {
			eventually(t, db, relaySleeps)
			free := pool.AcquireAllIdle(t.Context()) // so the pool would open a new session
			id := insert(t, db, template, uuid.NewString())
			eventually(t, db, "SELECT state = 'done' FROM iu_outbox.event_state($1)", id)
			for _, conn := range free {
				conn.Release()
			}
		}
		require.Equal(t, events, value[int](t, db, "SELECT count(*) FROM composed_by"))
		return value[int](t, db, "SELECT count(DISTINCT pid) FROM composed_by") == 1
	}, patience)

	// A batch uses any session, and so does what follows an error: the one that was kept may be gone.
	kept := value[int](t, db, "SELECT DISTINCT pid FROM composed_by")
	eventually(t, db, relaySleeps)
	db.Exec(t, "SELECT pg_terminate_backend($1)", kept)
	eventually(t, db, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", kept)
	id := insert(t, db, template, "after")
	eventually(t, db, "SELECT state = 'done' FROM iu_outbox.event_state($1)", id)
}

// A small pool has no connection to spare.
func TestRelayOfASmallPoolKeepsNoConnection(t *testing.T) {
	t.Parallel()
	for size, kept := range map[int32]int32{2: 0, 5: 0, 6: 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template := db.Template(t, "t", 1)
			pool := poolOf(t, db, size)
			start(t, db, func(c *worker.Config) { c.Pool = pool })
			eventually(t, db, relaySleeps)
			for range 2 {
				id := insert(t, db, template, uuid.NewString())
				eventually(t, db, "SELECT state = 'done' FROM iu_outbox.event_state($1)", id)
			}
			iutest.Eventually(t, func() bool { return pool.Stat().AcquiredConns() == kept }, patience)
		})
	}
}

// A batch that follows a row that came alone needs one connection, not a second one next to the one that was kept.
func TestBatchWaitsForNoSecondConnection(t *testing.T) {
	t.Parallel()
	const size = 6
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	pool := poolOf(t, db, size)
	lines := &iutest.Log{}
	start(t, db, func(c *worker.Config) { c.Pool, c.Logger = pool, slog.New(slog.NewTextHandler(lines, nil)) })
	rounds := 0
	iutest.Eventually(t, func() bool { // a batch that takes seconds is not composed at once
		rounds++
		eventually(t, db, relaySleeps)
		id := insert(t, db, template, uuid.NewString())
		eventually(t, db, "SELECT state = 'done' FROM iu_outbox.event_state($1)", id)
		var others []*pgxpool.Conn // all but the one that is kept
		defer func() {
			for _, conn := range others {
				conn.Release()
			}
		}()
		for range size - 1 {
			conn, err := pool.Acquire(t.Context())
			require.NoError(t, err)
			others = append(others, conn)
		}
		db.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
			SELECT 'e', $1, gen_random_uuid() FROM generate_series(1, 2)`, template)
		eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_outbox.event)")
		iutest.Eventually(t, func() bool { return lines.Count("rows=2 ") == rounds }, patience)
		// After waiting in vain for 20 s, the relay would have made jobs of them that River works.
		return lines.Count("rows=2 jobs=2 composed=2") > 0
	}, patience, lines)
}

// A worker that does not compose rows at once has no use for a connection of its own.
func TestRelayThatComposesNothingKeepsNoConnection(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	pool := poolOf(t, db, 10)
	start(t, db, func(c *worker.Config) { c.Pool, c.Rate = pool, 1000 })
	for range 2 {
		eventually(t, db, relaySleeps)
		id := insert(t, db, template, uuid.NewString())
		eventually(t, db, "SELECT state = 'done' FROM iu_outbox.event_state($1)", id)
	}
	eventually(t, db, relaySleeps)
	iutest.Eventually(t, func() bool { return pool.Stat().AcquiredConns() == 0 }, patience)
}
