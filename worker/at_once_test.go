package worker_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

// What waits in the outbox is composed in the transaction that claims it, and its jobs look as if a worker had run them.
func TestRelayComposesAtOnce(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 3)
	log, lines := logging(t)
	rounds := 0
	iutest.Eventually(t, func() bool { // what takes a machine seconds is left to River
		rounds++
		prefix := fmt.Sprintf("s-%d-", rounds)
		insertMany(t, db, template, prefix, 700)
		w := start(t, db, func(c *worker.Config) { c.Logger, c.ID = log, "w-1" })
		defer func() { require.NoError(t, w.Stop(t.Context())) }()
		eventually(t, db, "SELECT count(*) = $1 FROM iu_outbox.emission WHERE position IS NOT NULL", 700*rounds)
		return value[int](t, db, `
			SELECT count(*)::int FROM iu_river.river_job AS j
			JOIN iu_auto_instantiate_event_log AS l ON l.idempotency_key = j.args ->> 'idempotency_key'
			WHERE j.state = 'completed' AND j.queue = 'events' AND j.attempt = 1 AND j.max_attempts = 10 AND j.attempted_by = '{w-1}'
			  AND j.finalized_at >= j.attempted_at AND j.metadata #>> '{output,status}' = 'instantiated'
			  AND j.metadata #>> '{output,instance_collection_id}' = l.instance_collection_id::text
			  AND j.unique_key = sha256(convert_to('&kind=auto_instantiate&args={"idempotency_key":"' || l.idempotency_key || '"}', 'UTF8'))
			  AND j.xmin::text = l.xmin::text AND starts_with(j.args ->> 'instance_key_suffix', $1)`, prefix) == 700
	}, patience)
	iutest.Eventually(t, func() bool { return lines.Count("composed=500") > 0 }, patience)
	verified(t, db, 700*rounds)
}

// Rows whose jobs have to wait become jobs.
func TestRelayLeavesToRiverWhatHasToWait(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	db.Exec(t, "INSERT INTO iu_river.river_queue (name, paused_at, updated_at) VALUES ('events', now(), now())")
	start(t, db)
	paused := insert(t, db, template, "paused")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job WHERE state = 'available'")
	again := value[uuid.UUID](t, db, `INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix)
		VALUES ($1, 'e', $2, 'paused') RETURNING event_id`, paused, template)
	require.Equal(t, paused, again)
	later := value[uuid.UUID](t, db, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, available_at)
		VALUES ('e', $1, 'later', now() + interval '1 hour') RETURNING event_id`, template)
	eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_outbox.event)")
	require.Equal(t, 2, value[int](t, db, "SELECT count(*)::int FROM iu_river.river_job"), "the row that was inserted again merges into the job")

	db.Exec(t, "UPDATE iu_river.river_queue SET paused_at = NULL WHERE name = 'events'; NOTIFY \"iu_river.river_control\"")
	eventually(t, db, "SELECT state = 'done' FROM iu_outbox.event_state($1)", paused)
	eventually(t, db, "SELECT state = 'waiting' FROM iu_outbox.event_state($1)", later)
	db.Exec(t, "INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, priority) VALUES ('e', $1, 'low', 4)", template)
	eventually(t, db, `
		SELECT count(*) = 1 FROM iu_river.river_job AS j
		JOIN iu_auto_instantiate_event_log AS l ON l.idempotency_key = j.args ->> 'idempotency_key'
		WHERE j.priority = 4 AND j.state = 'completed' AND j.created_at < l.created_at`)
}

// A backlog of jobs is composed in large transactions, although few jobs may run at once, and River works what is left of it.
func TestBacklogOfJobsIsComposedAtOnce(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	db.Exec(t, `
		WITH e AS (SELECT gen_random_uuid() AS id, CASE WHEN g = 1500 THEN gen_random_uuid() ELSE $1 END AS template, 's-' || g AS suffix
		           FROM generate_series(1, 3000) AS g)
		INSERT INTO iu_river.river_job (kind, queue, max_attempts, args)
		SELECT 'auto_instantiate', 'scaleout', 10, jsonb_build_object('event_id', e.id, 'event_type', 'e', 'template_collection_id', e.template,
			'instance_key_suffix', e.suffix, 'emit_mode', 'live', 'actor', 'a', 'priority', 1, 'created_at', now(), 'available_at', now(),
			'idempotency_key', md5(e.id || ':' || e.template || ':' || e.suffix))
		FROM e`, template)
	start(t, db, func(c *worker.Config) { c.ScaleoutConcurrency = 10 })
	eventually(t, db, "SELECT count(*) = 2999 FROM iu_river.river_job WHERE state = 'completed' AND attempt = 1 AND metadata ? 'output'")
	eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.dead_letter WHERE status = 'template_not_found'")
	require.Less(t, value[int](t, db, "SELECT count(DISTINCT xmin::text)::int FROM iu_auto_instantiate_event_log"), 100, "River alone needs 300 transactions")
	eventually(t, db, "SELECT count(*) = 2999 FROM iu_outbox.emission WHERE position IS NOT NULL")
}

// After a lane of the relay has failed, several compose at once again, while the backlog lasts.
func TestFailedLaneLeavesNoneAlone(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	// A lane that is alone waits a while for another.
	db.Exec(t, `
		CREATE SEQUENCE public.rows;
		CREATE TABLE public.seen (n bigint, lanes bigint);
		CREATE FUNCTION public.watch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
		DECLARE
			v_n bigint := nextval('public.rows');
			v_lanes bigint;
		BEGIN
			IF v_n = 4 THEN RAISE EXCEPTION 'once' USING ERRCODE = '40001'; END IF;
			PERFORM pg_advisory_xact_lock_shared(4711);
			FOR i IN 1..30 LOOP
				SELECT count(*) INTO v_lanes FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
				WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.objid = 4711;
				EXIT WHEN v_n < 4 OR v_lanes > 1;
				PERFORM pg_sleep(0.1);
			END LOOP;
			INSERT INTO public.seen VALUES (v_n, v_lanes);
			RETURN NULL;
		END $$;
		CREATE TRIGGER watch BEFORE INSERT ON public.iu_piece_collection EXECUTE FUNCTION public.watch()`)
	db.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
		SELECT 'e', $1, 's-' || g FROM generate_series(1, 6000) AS g`, template)
	pool := poolOf(t, db, 20) // of fewer connections the worker leaves one lane to the relay
	start(t, db, func(c *worker.Config) { c.Pool = pool })
	eventually(t, db, "SELECT count(*) = 6000 FROM iu_auto_instantiate_event_log")
	require.Positive(t, value[int](t, db, "SELECT count(*)::int FROM public.seen WHERE n > 4 AND lanes > 1"))
	require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM public.seen WHERE n = 4"), "that lane was rolled back")
}
