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

-- Repairs what was written before the server's clock was set back, and returns how many jobs that were: jobs that wait for
-- another try longer than any of ours does, a minute, are due now. What an application put off (available_at) stays. A row
-- of River's leader that expires later than any that River elects is deleted. Locks job rows; skips those that are locked.
CREATE OR REPLACE FUNCTION iu_outbox.wake_late() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_count integer;
BEGIN
    DELETE FROM iu_river.river_leader AS l WHERE l.expires_at > pg_catalog.clock_timestamp() + interval '1 minute';
    WITH late AS MATERIALIZED (
        SELECT j.id FROM iu_river.river_job AS j
        WHERE j.state IN ('available', 'retryable', 'scheduled') AND j.kind = 'auto_instantiate'
          AND j.scheduled_at > pg_catalog.clock_timestamp() + interval '2 minutes'
          AND (j.state <> 'scheduled' OR j.metadata ? 'retry') AND NOT j.metadata ? 'parked'
        FOR UPDATE SKIP LOCKED
    )
    UPDATE iu_river.river_job AS j SET scheduled_at = pg_catalog.now() FROM late AS l WHERE j.id = l.id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;
