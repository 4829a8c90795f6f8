-- What moves our jobs from one of River's states to another, beside River itself. Every function locks job rows, skips those
-- that are locked, which a later call finds again, and returns how many jobs it moved. The rows are chosen by a list of ids,
-- not by a join: see emit().

-- Wakes River's producers of these queues, one of each job that is available now; returns how many jobs that are.
CREATE OR REPLACE FUNCTION iu_outbox.wake_queues(p_queues text[]) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('iu_river.river_insert', pg_catalog.json_build_object('queue', q.queue)::text)
    FROM (SELECT DISTINCT u.queue FROM pg_catalog.unnest(p_queues) AS u (queue)) AS q;
    RETURN COALESCE(pg_catalog.cardinality(p_queues), 0);
END
$$;

-- Makes these parked jobs available. p_over: the fault that held them is known to be over; they keep that in mind.
CREATE OR REPLACE FUNCTION iu_outbox.unpark(p_ids bigint[], p_over boolean) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_count integer;
BEGIN
    IF p_ids = '{}' THEN
        RETURN 0;
    END IF;
    WITH resumed AS (
        UPDATE iu_river.river_job AS j
        SET state = 'available', scheduled_at = pg_catalog.now(),
            metadata = j.metadata - 'parked' || CASE WHEN p_over
                THEN pg_catalog.jsonb_build_object('held', COALESCE(j.metadata -> 'held', '{}') || '{"resumed": true}') ELSE '{}' END
        WHERE j.id = ANY (p_ids)
        RETURNING j.queue
    )
    SELECT iu_outbox.wake_queues(pg_catalog.array_agg(r.queue)) INTO v_count FROM resumed AS r;
    RETURN v_count;
END
$$;

-- Makes up to p_limit parked jobs available whose gate is open, for each gate lowest id first. If the composer's
-- gate is closed, it reads two rows and no job. If no job is parked, it reads little more.
CREATE OR REPLACE FUNCTION iu_outbox.resume_parked(p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off AS $$
DECLARE
    v_gate text;
    v_count integer := 0;
BEGIN
    IF NOT iu_outbox.gate_open('iu_core.composer_enabled') THEN
        RETURN 0;
    END IF;
    IF NOT EXISTS (SELECT FROM iu_river.river_job AS j WHERE j.state = 'scheduled' AND j.kind = 'auto_instantiate' AND j.metadata ? 'parked') THEN
        RETURN 0;
    END IF;
    FOR v_gate IN SELECT g.gate FROM iu_outbox.gate_status() AS g WHERE g.open LOOP
        v_count := v_count + iu_outbox.unpark(ARRAY(
            SELECT j.id FROM iu_river.river_job AS j
            WHERE j.state = 'scheduled' AND j.kind = 'auto_instantiate' AND j.metadata ? 'parked' AND j.metadata #>> '{parked,gate}' = v_gate
            ORDER BY j.id
            LIMIT p_limit - v_count
            FOR UPDATE SKIP LOCKED), false);
    END LOOP;
    RETURN v_count;
END
$$;

-- Makes up to p_limit jobs available that a fault of the installation held back, lowest id first. With p_probe the jobs find
-- out whether the fault is over; without, it is known to be over.
CREATE OR REPLACE FUNCTION iu_outbox.resume_held(p_limit integer, p_probe boolean) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off AS $$
BEGIN
    RETURN iu_outbox.unpark(ARRAY(
        SELECT j.id FROM iu_outbox.job AS j WHERE j.held ORDER BY j.id LIMIT p_limit FOR UPDATE SKIP LOCKED), NOT p_probe);
END
$$;

-- Makes up to p_limit of our jobs available whose time has come, as River's scheduler does, which waits for locked rows.
CREATE OR REPLACE FUNCTION iu_outbox.schedule_jobs(p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off AS $$
DECLARE
    v_ids bigint[] := ARRAY(
        SELECT j.id FROM iu_outbox.job AS j
        WHERE j.state IN ('retryable', 'scheduled') AND j.scheduled_at <= pg_catalog.now()
        LIMIT p_limit
        FOR UPDATE SKIP LOCKED);
    v_count integer;
BEGIN
    WITH due AS (
        UPDATE iu_river.river_job AS j SET state = 'available' WHERE j.id = ANY (v_ids) RETURNING j.queue
    )
    SELECT iu_outbox.wake_queues(pg_catalog.array_agg(d.queue)) INTO v_count FROM due AS d;
    RETURN v_count;
END
$$;

-- Repairs what was written before the server's clock was set back. Jobs that wait for another try longer than any of ours
-- does, a minute, are due now; what an application put off (available_at) stays. A row of River's leader that expires
-- later than any that River elects is deleted.
CREATE OR REPLACE FUNCTION iu_outbox.wake_late() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_count integer;
BEGIN
    DELETE FROM iu_river.river_leader AS l WHERE l.expires_at > pg_catalog.clock_timestamp() + interval '1 minute';
    WITH late AS MATERIALIZED (
        SELECT j.id FROM iu_outbox.job AS j
        WHERE (j.state = 'available' OR j.retrying) AND j.scheduled_at > pg_catalog.clock_timestamp() + interval '2 minutes'
        FOR UPDATE SKIP LOCKED
    )
    UPDATE iu_river.river_job AS j SET scheduled_at = pg_catalog.now() FROM late AS l WHERE j.id = l.id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;

-- Lets the running jobs of a worker ('': of none; p_jobs: these of them; NULL: all) run again, with no attempt used up. A job
-- whose cancelling was asked for is cancelled instead.
CREATE OR REPLACE FUNCTION iu_outbox.release_jobs(p_worker text, p_jobs bigint[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_ids bigint[] := ARRAY(
        SELECT j.id FROM iu_river.river_job AS j
        WHERE j.state = 'running' AND COALESCE(j.attempted_by[pg_catalog.array_upper(j.attempted_by, 1)], '') = p_worker
          AND (p_jobs IS NULL OR j.id = ANY (p_jobs))
        FOR UPDATE SKIP LOCKED);
    v_count integer;
BEGIN
    WITH released AS (
        UPDATE iu_river.river_job AS j
        SET state = CASE WHEN j.metadata ? 'cancel_attempted_at' THEN 'cancelled' ELSE 'available' END::iu_river.river_job_state,
            finalized_at = CASE WHEN j.metadata ? 'cancel_attempted_at' THEN pg_catalog.now() END,
            scheduled_at = pg_catalog.now(),
            attempt = GREATEST(j.attempt - 1, 0),
            metadata = j.metadata || pg_catalog.jsonb_build_object('released_from', p_worker)
        WHERE j.id = ANY (v_ids)
        RETURNING j.queue
    )
    SELECT iu_outbox.wake_queues(pg_catalog.array_agg(r.queue)) INTO v_count FROM released AS r;
    RETURN v_count;
END
$$;

-- Cancels those of these jobs that have not begun and drops the dead letters that this makes: for work that an operator
-- takes back and that needs no attention. Locks dead letters after the jobs, which it locks in the order of their ids.
CREATE OR REPLACE FUNCTION iu_outbox.cancel_jobs(p_ids bigint[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_cancelled bigint[];
BEGIN
    WITH picked AS MATERIALIZED (
        SELECT j.id FROM iu_outbox.job AS j WHERE j.id = ANY (p_ids) AND j.cancellable ORDER BY j.id FOR UPDATE SKIP LOCKED
    ), cancelled AS (
        UPDATE iu_river.river_job AS j
        SET state = 'cancelled', finalized_at = pg_catalog.now(),
            metadata = j.metadata || pg_catalog.jsonb_build_object('cancel_attempted_at', pg_catalog.now())
        FROM picked AS p
        WHERE j.id = p.id
        RETURNING j.id
    )
    SELECT pg_catalog.array_agg(c.id) INTO v_cancelled FROM cancelled AS c;
    PERFORM iu_outbox.drop_dead_letters(ARRAY(
        SELECT d.id FROM iu_outbox.dead_letter AS d WHERE d.job_id = ANY (v_cancelled)));
    RETURN COALESCE(pg_catalog.cardinality(v_cancelled), 0);
END
$$;

-- Locks those of these jobs that no other transaction has locked, in the order of their ids, and returns them.
CREATE OR REPLACE FUNCTION iu_outbox.lock_jobs(p_ids bigint[]) RETURNS bigint[]
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY(SELECT j.id FROM iu_river.river_job AS j WHERE j.id = ANY (p_ids) ORDER BY j.id FOR NO KEY UPDATE SKIP LOCKED)
$$;

-- Completes running jobs of these ids and attempts with these outputs, and returns the ids of those that it completed. What it
-- leaves, since another transaction has locked it or the job runs elsewhere by now, River's completer gets to. The state is compared as
-- a text: so no plan reads all running jobs for each id.
CREATE OR REPLACE FUNCTION iu_outbox.complete_jobs(p_ids bigint[], p_attempts integer[], p_outputs jsonb[]) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_free bigint[] := iu_outbox.lock_jobs(p_ids);
    v_all boolean := pg_catalog.cardinality(v_free) = pg_catalog.cardinality(p_ids);
BEGIN
    RETURN QUERY
    UPDATE iu_river.river_job AS j
    SET state = 'completed', finalized_at = pg_catalog.clock_timestamp(),
        metadata = j.metadata || pg_catalog.jsonb_build_object('output', u.output)
    FROM ROWS FROM (pg_catalog.unnest(p_ids), pg_catalog.unnest(p_attempts), pg_catalog.unnest(p_outputs)) AS u (id, attempt, output)
    WHERE j.id = u.id AND (v_all OR u.id = ANY (v_free)) AND j.state::text = 'running' AND j.attempt = u.attempt
    RETURNING j.id;
END
$$;

-- Inserts completed jobs for events that this transaction has composed: as if p_worker had run them at once. p_events are their
-- arguments, p_outputs their results. Returns their ids, in the order of the arrays. They have River's unique key for the states of
-- unfinished jobs: an operator may run a job again. This and the next two are in PL/pgSQL, which keeps plans; a function in
-- SQL is planned for each call.
CREATE OR REPLACE FUNCTION iu_outbox.insert_completed_jobs(p_worker text, p_events jsonb[], p_outputs jsonb[], p_max_attempts integer)
RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_ids bigint[];
BEGIN
    WITH inserted AS (
        INSERT INTO iu_river.river_job AS j (
            kind, queue, state, args, metadata, max_attempts, attempt, attempted_by, attempted_at, finalized_at, unique_key, unique_states)
        SELECT 'auto_instantiate', 'events', 'completed', u.event, pg_catalog.jsonb_build_object('output', u.output), p_max_attempts, 1,
               ARRAY[p_worker], pg_catalog.now(), pg_catalog.clock_timestamp(), iu_outbox.unique_key(u.event ->> 'idempotency_key'), '11110001'
        FROM ROWS FROM (pg_catalog.unnest(p_events), pg_catalog.unnest(p_outputs)) WITH ORDINALITY AS u (event, output, n)
        ORDER BY u.n
        RETURNING j.id
    )
    SELECT pg_catalog.array_agg(i.id ORDER BY i.id) INTO v_ids FROM inserted AS i;
    RETURN v_ids;
END
$$;

-- Locks up to p_limit jobs of a queue that are ready to run and have not failed yet, in the order in which River fetches them, and
-- returns them. A sort could read all that is ready.
CREATE OR REPLACE FUNCTION iu_outbox.lock_ready_jobs(p_queue text, p_limit integer)
RETURNS TABLE (id bigint, attempt smallint, event jsonb, created_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT j.id, j.attempt, j.args, j.created_at FROM iu_river.river_job AS j
    WHERE j.state = 'available' AND j.queue = p_queue AND j.scheduled_at <= pg_catalog.now()
      AND j.kind = 'auto_instantiate' AND j.errors IS NULL AND NOT j.metadata ?| ARRAY['retry', 'held']
    ORDER BY j.priority, j.scheduled_at, j.id
    LIMIT p_limit
    FOR UPDATE SKIP LOCKED;
END
$$;

-- Completes jobs that this transaction has locked while they were ready to run: as if p_worker had run them at once. Their state
-- is no condition: a plan could read all that are available for each of them.
CREATE OR REPLACE FUNCTION iu_outbox.complete_ready_jobs(p_worker text, p_ids bigint[], p_outputs jsonb[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    UPDATE iu_river.river_job AS j
    SET state = 'completed', attempt = j.attempt + 1, attempted_at = pg_catalog.now(), attempted_by = j.attempted_by || p_worker,
        finalized_at = pg_catalog.clock_timestamp(), metadata = j.metadata || pg_catalog.jsonb_build_object('output', u.output)
    FROM ROWS FROM (pg_catalog.unnest(p_ids), pg_catalog.unnest(p_outputs)) AS u (id, output)
    WHERE j.id = u.id;
END
$$;
