-- Composes events that this transaction has taken, as compose_batch does, and completes their jobs. The events are those of locked
-- jobs (p_jobs), or of claimed outbox rows (p_jobs is NULL): then their jobs are inserted, completed, in the queue events, with p_args
-- as their arguments. Returns the results and the jobs of those that ended well, with their numbers, from 1. The others, and
-- all while a gate is closed or the queue is paused, have no row: River works their jobs.
CREATE OR REPLACE FUNCTION iu_outbox.compose_claimed(
    p_event_ids uuid[], p_event_types text[], p_template_collection_ids uuid[], p_instance_key_suffixes text[],
    p_emit_modes text[], p_actors text[], p_notes text[], p_traceparents text[],
    p_worker text, p_least integer, p_queue text, p_jobs bigint[], p_args jsonb[], p_max_attempts integer)
RETURNS TABLE (n integer, result jsonb, job bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_numbers integer[];
    v_results jsonb[];
    v_jobs bigint[];
BEGIN
    IF NOT iu_outbox.gate_open('iu_core.composer_enabled') OR NOT iu_outbox.gate_open('iu_core.auto_instantiate_enabled')
       OR EXISTS (SELECT FROM iu_river.river_queue AS q WHERE q.name = p_queue AND q.paused_at IS NOT NULL) THEN
        RETURN;
    END IF;
    SELECT pg_catalog.array_agg(b.n), pg_catalog.array_agg(b.result) INTO v_numbers, v_results
    FROM iu_outbox.compose_batch(p_event_ids, p_event_types, p_template_collection_ids, p_instance_key_suffixes,
        p_emit_modes, p_actors, p_notes, p_traceparents, NULL, NULL, p_least) AS b
    WHERE b.result ->> 'status' IN ('instantiated', 'idempotent_replay');
    IF p_jobs IS NULL THEN
        v_jobs := iu_outbox.insert_completed_jobs(
            p_worker, ARRAY(SELECT p_args[u.n] FROM pg_catalog.unnest(v_numbers) AS u (n)), v_results, p_max_attempts);
    ELSE
        v_jobs := ARRAY(SELECT p_jobs[u.n] FROM pg_catalog.unnest(v_numbers) AS u (n));
        PERFORM iu_outbox.complete_ready_jobs(p_worker, v_jobs, v_results);
    END IF;
    RETURN QUERY
    SELECT u.n, u.result, u.job
    FROM ROWS FROM (pg_catalog.unnest(v_numbers), pg_catalog.unnest(v_results), pg_catalog.unnest(v_jobs)) AS u (n, result, job);
END
$$;
