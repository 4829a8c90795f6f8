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
