-- River jobs: dead letters, parking, jobs of dead workers, and the state of an event.

-- Each job is updated three times and each update leaves a dead row: vacuum by thousands of them, not by a fifth of a
-- table that holds a day's jobs.
ALTER TABLE iu_river.river_job SET (
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 10000);

-- Leaves the event of a job that ends without an instance in the dead letters, in the statement that
-- ends the job, and takes it back where the job is made to run again. Never raises for odd args: it
-- runs inside River's statements, where an error would fail the whole batch.
CREATE OR REPLACE FUNCTION iu_outbox.keep_dead_letter() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_error text := OLD.errors[pg_catalog.array_upper(OLD.errors, 1)] ->> 'error';
    v_status text;
    v_detail text;
BEGIN
    IF iu_outbox.applying() THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF NEW.state NOT IN ('cancelled', 'discarded') THEN
            DELETE FROM iu_outbox.dead_letter AS d WHERE d.job_id = NEW.id;
            RETURN NULL;
        END IF;
        -- The scheduler discards a job whose idempotency key another unfinished job holds: nothing is lost.
        IF NEW.metadata ? 'unique_key_conflict' THEN
            RETURN NULL;
        END IF;
        v_error := NEW.errors[pg_catalog.array_upper(NEW.errors, 1)] ->> 'error';
        v_status := NEW.metadata #>> '{output,status}';
        v_detail := NEW.metadata #>> '{output,detail}';
        IF v_status IS NULL OR v_status IN ('instantiated', 'idempotent_replay', 'composer_disabled', 'live_gate_closed') THEN
            v_status := NEW.state::text;
            v_detail := COALESCE(v_error, 'ended by hand');
        END IF;
        IF v_detail IS NULL AND v_status IN ('template_not_found', 'template_not_marked', 'template_empty') THEN
            SELECT CASE WHEN c.collection_key IS NULL OR v_status = 'template_not_found'
                            THEN pg_catalog.format('template %s does not exist', t.id)
                        WHEN v_status = 'template_not_marked' THEN c.collection_key || ' is not marked as a template'
                        ELSE c.collection_key || ' has no active piece' END
            INTO v_detail
            FROM (SELECT OLD.args ->> 'template_collection_id' AS id) AS t
            LEFT JOIN public.iu_piece_collection AS c
                ON c.id = CASE WHEN t.id ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' THEN t.id::uuid END;
        END IF;
    ELSE
        v_status := 'deleted';
        v_detail := pg_catalog.concat_ws(': ', 'the unfinished job was deleted', v_error);
    END IF;

    INSERT INTO iu_outbox.dead_letter
        (job_id, status, detail, event_id, idempotency_key, event, queue, attempts)
    VALUES (OLD.id, v_status, v_detail,
            CASE WHEN OLD.args ->> 'event_id' ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
                 THEN (OLD.args ->> 'event_id')::uuid END,
            OLD.args ->> 'idempotency_key', OLD.args, OLD.queue, OLD.attempt)
    ON CONFLICT (job_id) DO UPDATE
    SET status = EXCLUDED.status, detail = EXCLUDED.detail, attempts = EXCLUDED.attempts,
        created_at = pg_catalog.now();
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER iu_outbox_dead_letter_on_end
    AFTER UPDATE OF state ON iu_river.river_job
    FOR EACH ROW
    WHEN (NEW.kind = 'auto_instantiate' AND OLD.state <> NEW.state
          AND (NEW.state IN ('cancelled', 'discarded') OR OLD.state IN ('cancelled', 'discarded')))
    EXECUTE FUNCTION iu_outbox.keep_dead_letter();

CREATE OR REPLACE TRIGGER iu_outbox_dead_letter_on_delete
    AFTER DELETE ON iu_river.river_job
    FOR EACH ROW
    WHEN (OLD.kind = 'auto_instantiate' AND OLD.state NOT IN ('cancelled', 'completed', 'discarded'))
    EXECUTE FUNCTION iu_outbox.keep_dead_letter();

-- An event that was said again while its job ran has no job of its own. Where that job ends and its instance is not
-- there (it was rolled back in between, or is being), the event goes back into the outbox. The ledger notes its key.
-- Locks the log row, unless a rollback has it: that one is not waited for.
CREATE OR REPLACE FUNCTION iu_outbox.say_again() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_event jsonb := NEW.metadata -> 'said_again';
BEGIN
    IF iu_outbox.applying() THEN
        RETURN NULL;
    END IF;
    PERFORM FROM public.iu_auto_instantiate_event_log AS l
    WHERE l.idempotency_key = v_event ->> 'idempotency_key'
    FOR KEY SHARE SKIP LOCKED;
    IF NOT FOUND THEN
        INSERT INTO iu_outbox.settled (key, how) VALUES ((v_event ->> 'idempotency_key')::uuid, 'retried');
        INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode,
                                     actor, note, priority, trace_context)
        VALUES ((v_event ->> 'event_id')::uuid, v_event ->> 'event_type', (v_event ->> 'template_collection_id')::uuid,
                v_event ->> 'instance_key_suffix', v_event ->> 'emit_mode', v_event ->> 'actor', v_event ->> 'note',
                (v_event ->> 'priority')::smallint, COALESCE(v_event -> 'trace_context', '{}'));
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER iu_outbox_said_again
    AFTER UPDATE OF state ON iu_river.river_job
    FOR EACH ROW
    WHEN (NEW.kind = 'auto_instantiate' AND NEW.state = 'completed' AND OLD.state <> 'completed'
          AND NEW.metadata ? 'said_again')
    EXECUTE FUNCTION iu_outbox.say_again();

-- Wakes River's producers of these queues, one of each job that is available now; returns how many jobs that are.
CREATE OR REPLACE FUNCTION iu_outbox.wake_queues(p_queues text[]) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('iu_river.river_insert', pg_catalog.json_build_object('queue', q.queue)::text)
    FROM (SELECT DISTINCT u.queue FROM pg_catalog.unnest(p_queues) AS u (queue)) AS q;
    RETURN COALESCE(pg_catalog.cardinality(p_queues), 0);
END
$$;

-- Makes up to p_limit parked jobs available whose gate is open, lowest id first, and wakes River's
-- producers; returns how many. With the composer closed it reads two rows and no job.
-- Locks job rows; skips those that are locked. A list of ids, not a join: see emit().
CREATE OR REPLACE FUNCTION iu_outbox.resume_parked(p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off AS $$
DECLARE
    v_live_open boolean := iu_outbox.gate_open('iu_core.auto_instantiate_enabled');
    v_ids bigint[];
    v_count integer;
BEGIN
    IF NOT iu_outbox.gate_open('iu_core.composer_enabled') THEN
        RETURN 0;
    END IF;
    v_ids := ARRAY(
        SELECT j.id FROM iu_river.river_job AS j
        WHERE j.state = 'scheduled' AND j.kind = 'auto_instantiate'
          AND (j.metadata @> '{"parked": {"gate": "composer"}}'
               OR (v_live_open AND j.metadata @> '{"parked": {"gate": "auto-instantiate"}}'))
        ORDER BY j.id
        LIMIT p_limit
        FOR UPDATE SKIP LOCKED);
    IF pg_catalog.cardinality(v_ids) = 0 THEN
        RETURN 0;
    END IF;
    WITH resumed AS (
        UPDATE iu_river.river_job AS j
        SET state = 'available', scheduled_at = pg_catalog.now(), metadata = j.metadata - 'parked'
        WHERE j.id = ANY (v_ids)
        RETURNING j.queue
    )
    SELECT iu_outbox.wake_queues(pg_catalog.array_agg(r.queue)) INTO v_count FROM resumed AS r;
    RETURN v_count;
END
$$;

-- Makes up to p_limit jobs available that a fault of the installation held back, lowest id first, and wakes River's
-- producers; returns how many. With p_probe the jobs find out whether the fault is over; without, it is known to be over.
-- Locks job rows; skips those that are locked. A list of ids, not a join: see emit().
CREATE OR REPLACE FUNCTION iu_outbox.resume_held(p_limit integer, p_probe boolean) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off AS $$
DECLARE
    v_ids bigint[];
    v_count integer;
BEGIN
    v_ids := ARRAY(
        SELECT j.id FROM iu_river.river_job AS j
        WHERE j.state = 'scheduled' AND j.kind = 'auto_instantiate'
          AND j.metadata @> '{"parked": {"status": "installation_fault"}}'
        ORDER BY j.id
        LIMIT p_limit
        FOR UPDATE SKIP LOCKED);
    IF pg_catalog.cardinality(v_ids) = 0 THEN
        RETURN 0;
    END IF;
    WITH resumed AS (
        UPDATE iu_river.river_job AS j
        SET state = 'available', scheduled_at = pg_catalog.now(),
            metadata = j.metadata - 'parked' || CASE WHEN p_probe THEN '{}'
                ELSE pg_catalog.jsonb_build_object('held', COALESCE(j.metadata -> 'held', '{}') || '{"resumed": true}') END
        WHERE j.id = ANY (v_ids)
        RETURNING j.queue
    )
    SELECT iu_outbox.wake_queues(pg_catalog.array_agg(r.queue)) INTO v_count FROM resumed AS r;
    RETURN v_count;
END
$$;

-- Makes up to p_limit of our jobs available whose time has come, as River's scheduler does, which waits for rows that
-- another transaction has locked. Returns how many. Locks job rows; skips those that are locked.
CREATE OR REPLACE FUNCTION iu_outbox.schedule_jobs(p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off AS $$
DECLARE
    v_ids bigint[] := ARRAY(
        SELECT j.id FROM iu_river.river_job AS j
        WHERE j.state IN ('retryable', 'scheduled') AND j.kind || '' = 'auto_instantiate' AND j.scheduled_at <= pg_catalog.now()
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

-- Lets the running jobs of a worker ('': of none; p_jobs: these of them; NULL: all) run again, with no attempt used up; returns
-- how many. A job whose cancelling was asked for is cancelled instead. Locks job rows; skips those that are locked, which
-- are found again.
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

-- Returns where an application's event is, a row an idempotency key: waiting, working, parked, done or
-- dead, with the reason and, if done, the instance. No row: unknown, or rolled back.
CREATE OR REPLACE FUNCTION iu_outbox.event_state(p_event_id uuid)
RETURNS TABLE (state text, reason text, instance_collection_id uuid, idempotency_key text,
               template_collection_id uuid, instance_key_suffix text, job_id bigint, since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET gin_fuzzy_search_limit = 0 AS $$
    WITH known AS (
        SELECT 1 AS rank, 'done' AS state, NULL::text AS reason, l.instance_collection_id, l.idempotency_key,
               l.template_collection_id,
               pg_catalog.substr(c.collection_key, pg_catalog.length('tpl-inst:auto:') + 1) AS instance_key_suffix,
               NULL::bigint AS job_id, l.created_at AS since
        FROM public.iu_auto_instantiate_event_log AS l
        JOIN public.iu_piece_collection AS c ON c.id = l.instance_collection_id
        WHERE l.event_id = p_event_id
        UNION ALL
        SELECT 2,
               CASE WHEN j.metadata ? 'parked' THEN 'parked'
                    WHEN j.state = 'scheduled' AND j.attempt = 0 AND NOT j.metadata ? 'retry' THEN 'waiting'
                    ELSE 'working' END,
               CASE WHEN j.metadata ? 'parked' THEN j.metadata #>> '{parked,reason}'
                    WHEN j.state = 'scheduled' AND j.attempt = 0 AND NOT j.metadata ? 'retry'
                        THEN 'not before ' || iu_outbox.rfc3339(j.scheduled_at)
                    WHEN j.metadata ? 'retry' THEN pg_catalog.concat('retried after: ', j.metadata #>> '{retry,error}')
                    WHEN j.state = 'retryable' OR j.errors IS NOT NULL
                        THEN 'retried after: ' || (j.errors[pg_catalog.array_upper(j.errors, 1)] ->> 'error')
               END,
               NULL, j.args ->> 'idempotency_key',
               (j.args ->> 'template_collection_id')::uuid, j.args ->> 'instance_key_suffix', j.id, j.created_at
        FROM iu_river.river_job AS j
        WHERE j.kind || '' = 'auto_instantiate' -- not by River's index on kind, which finds nearly every job
          AND j.args @> pg_catalog.jsonb_build_object('event_id', p_event_id)
          AND j.state NOT IN ('cancelled', 'completed', 'discarded')
        UNION ALL
        SELECT 3, 'waiting',
               CASE WHEN e.available_at > pg_catalog.now() THEN 'not before ' || iu_outbox.rfc3339(e.available_at)
                    ELSE 'in the outbox' END,
               NULL, e.idempotency_key, e.template_collection_id, e.instance_key_suffix, NULL, e.created_at
        FROM iu_outbox.event AS e
        WHERE e.event_id = p_event_id
        UNION ALL
        SELECT 4, 'dead', pg_catalog.concat_ws(': ', d.status, d.detail), NULL, d.idempotency_key,
               CASE WHEN d.event ->> 'template_collection_id' ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
                    THEN (d.event ->> 'template_collection_id')::uuid END,
               d.event ->> 'instance_key_suffix', d.job_id, d.created_at
        FROM iu_outbox.dead_letter AS d
        WHERE d.event_id = p_event_id
    )
    SELECT DISTINCT ON (k.idempotency_key)
           k.state, k.reason, k.instance_collection_id, k.idempotency_key, k.template_collection_id,
           k.instance_key_suffix, k.job_id, k.since
    FROM known AS k
    ORDER BY k.idempotency_key, k.rank, k.since DESC
$$;
