-- How the relay moves a row that is alone in the outbox: one call claims the row, composes its instance and announces it. It
-- does what claim(), compose_claimed() and emit() do, in fewer statements, for the least latency.

-- Composes the event of the only row in the outbox, and inserts its job as completed. Returns the event, its result, its job, and the
-- position that was announced, which is NULL if the announcement is left to the emitter. Returns a row of NULLs if the outbox is empty.
-- Returns no row and changes nothing if there are other rows, or if the event must not be composed at once, or does not end well: the
-- relay then moves the row in the usual way.
-- Locks the row unless another transaction has, tries to lock the suffix, then locks as fn_iu_auto_instantiate_from_event() and emit()
-- do, with short waits.
CREATE OR REPLACE FUNCTION iu_outbox.compose_alone(
    p_worker text, p_number integer, p_max_attempts integer,
    OUT event jsonb, OUT result jsonb, OUT job bigint, OUT announced bigint)
RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off SET lock_timeout = '100ms'
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_row iu_outbox.event;
BEGIN
    SELECT e.* INTO v_row FROM iu_outbox.event AS e ORDER BY e.id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND AND NOT EXISTS (SELECT FROM iu_outbox.event AS e ORDER BY e.id LIMIT 1) THEN
        RETURN NEXT;
        RETURN;
    ELSIF v_row.id IS NULL OR v_row.priority <> 1 OR v_row.available_at > pg_catalog.clock_timestamp()
       OR EXISTS (SELECT FROM iu_outbox.unique_job(v_row.idempotency_key))
       OR (SELECT pg_catalog.count(*) FROM (SELECT FROM iu_outbox.event AS e ORDER BY e.id LIMIT 2) AS e) > 1
       OR NOT EXISTS (SELECT FROM iu_outbox.worker AS w WHERE w.id = p_worker AND w.lock_key = p_number)
       OR EXISTS (SELECT FROM iu_river.river_queue AS q WHERE q.name = 'events' AND q.paused_at IS NOT NULL)
       -- The caller, not the owner of this function: without the privilege nothing is composed, and the usual way says so.
       OR NOT pg_catalog.has_function_privilege(
           COALESCE(NULLIF(pg_catalog.current_setting('role'), 'none'), session_user)::name,
           'public.fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text)', 'EXECUTE') THEN
        RETURN;
    END IF;
    IF NOT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('iu_core.auto_instantiate:' || v_row.instance_key_suffix, 0)) THEN
        RETURN;
    END IF;
    PERFORM pg_catalog.set_config('iu_outbox.announce', 'on', true),
            pg_catalog.set_config('iu_outbox.traceparent',
                pg_catalog.concat_ws(' ', v_row.trace_context ->> 'traceparent', v_row.trace_context ->> 'tracestate'), true);
    result := public.fn_iu_auto_instantiate_from_event(
        v_row.event_id, v_row.event_type, v_row.template_collection_id, v_row.instance_key_suffix, v_row.emit_mode, v_row.actor, v_row.note);
    IF (result ->> 'status' IN ('instantiated', 'idempotent_replay')) IS NOT TRUE THEN
        RETURN; -- it has changed nothing
    END IF;
    PERFORM pg_catalog.set_config('iu_outbox.claiming', 'on', true);
    DELETE FROM iu_outbox.event AS e WHERE e.id = v_row.id;
    PERFORM pg_catalog.set_config('iu_outbox.claiming', 'off', true);
    INSERT INTO iu_outbox.claimed (from_outbox, events, keys) VALUES (true, 1, ARRAY[v_row.idempotency_key::uuid]);
    event := pg_catalog.jsonb_build_object(
        'id', v_row.id, 'event_id', v_row.event_id, 'event_type', v_row.event_type, 'template_collection_id', v_row.template_collection_id,
        'instance_key_suffix', v_row.instance_key_suffix, 'emit_mode', v_row.emit_mode, 'actor', v_row.actor, 'priority', v_row.priority,
        'available_at', iu_outbox.rfc3339(v_row.available_at), 'trace_context', v_row.trace_context,
        'idempotency_key', v_row.idempotency_key, 'created_at', iu_outbox.rfc3339(v_row.created_at))
        || CASE WHEN v_row.note IS NULL THEN '{}' ELSE pg_catalog.jsonb_build_object('note', v_row.note) END;
    IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
        PERFORM pg_catalog.convert_to(event::text, 'UTF8'); -- raises for a text that no client could read; its row becomes a dead letter
    END IF;
    job := (iu_outbox.insert_completed_jobs(p_worker, ARRAY[event], ARRAY[result], p_max_attempts))[1];
    IF result ->> 'status' = 'instantiated' THEN
        announced := (SELECT e.position FROM iu_outbox.emission AS e
                      WHERE e.instance_collection_id = (result ->> 'instance_collection_id')::uuid);
    END IF;
    RETURN NEXT;
END
$$;
