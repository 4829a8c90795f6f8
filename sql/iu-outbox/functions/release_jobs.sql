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
