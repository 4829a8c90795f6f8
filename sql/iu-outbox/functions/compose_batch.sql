-- Calls fn_iu_auto_instantiate_from_event for each element of the arrays (p_notes and p_traceparents may hold NULLs)
-- and returns its result with the element's number, from 1; NULL: set aside, another transaction works on its suffix.
-- p_traceparents: a W3C traceparent each, or one with its tracestate after a space.
-- An error of one element is the error of all: the caller tries compose_apart.
-- Locks, in the order of idempotency keys: each suffix by a try, what the function locks by a short wait: an idle
-- transaction of somebody else delays nobody for long. The other settings keep plans, those of foreign-key checks
-- among them, that were made while tables were small.
CREATE OR REPLACE FUNCTION iu_outbox.compose_batch(
    p_event_ids uuid[], p_event_types text[], p_template_collection_ids uuid[], p_instance_key_suffixes text[],
    p_emit_modes text[], p_actors text[], p_notes text[], p_traceparents text[])
RETURNS TABLE (n integer, result jsonb)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off SET lock_timeout = '250ms' AS $$
DECLARE
    v_event record;
BEGIN
    FOR v_event IN
        SELECT u.*, pg_catalog.md5(u.event_id::text || ':' || u.template_id::text || ':' || u.suffix) AS idempotency_key
        FROM ROWS FROM (
            pg_catalog.unnest(p_event_ids), pg_catalog.unnest(p_event_types),
            pg_catalog.unnest(p_template_collection_ids), pg_catalog.unnest(p_instance_key_suffixes),
            pg_catalog.unnest(p_emit_modes), pg_catalog.unnest(p_actors), pg_catalog.unnest(p_notes),
            pg_catalog.unnest(p_traceparents)
        ) WITH ORDINALITY AS u (event_id, event_type, template_id, suffix, emit_mode, actor, note, traceparent, n)
        ORDER BY idempotency_key
    LOOP
        n := v_event.n;
        IF pg_catalog.pg_try_advisory_xact_lock(
            pg_catalog.hashtextextended('iu_core.auto_instantiate:' || v_event.suffix, 0)) THEN
            PERFORM pg_catalog.set_config('iu_outbox.traceparent', COALESCE(v_event.traceparent, ''), true);
            result := public.fn_iu_auto_instantiate_from_event(
                v_event.event_id, v_event.event_type, v_event.template_id, v_event.suffix, v_event.emit_mode,
                v_event.actor, v_event.note);
        ELSE
            result := NULL;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;
