-- Returns whether no transaction holds a lock on a template or one of its active pieces for which composing would wait;
-- true if the caller may not ask. Locks them FOR KEY SHARE, as the foreign keys of an instance do; skips what is locked.
CREATE OR REPLACE FUNCTION iu_outbox.template_free(p_template_collection_id uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off SET lock_timeout = '250ms' AS $$
BEGIN
    PERFORM FROM public.iu_piece_collection AS c WHERE c.id = p_template_collection_id FOR KEY SHARE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NOT EXISTS (SELECT FROM public.iu_piece_collection AS c WHERE c.id = p_template_collection_id);
    END IF;
    RETURN NOT EXISTS (
        SELECT FROM public.iu_piece_membership AS m
        LEFT JOIN LATERAL (
            SELECT p.id FROM public.iu_piece AS p WHERE p.id = m.piece_id FOR KEY SHARE SKIP LOCKED) AS l ON true
        WHERE m.collection_id = p_template_collection_id AND m.is_active AND l.id IS NULL);
EXCEPTION WHEN insufficient_privilege THEN
    RETURN true;
END
$$;

-- Does what compose_batch does with a savepoint an event, and announces nothing itself: for events that failed before.
-- NULL: set aside, another transaction holds the suffix, the template, a piece, or what else composing locks; an error
-- is in the result, under error. Only a timeout, which no savepoint confines, is the error of all.
-- Locks templates and pieces (template_free), then as compose_batch. Waits for one lock at most, and briefly.
CREATE OR REPLACE FUNCTION iu_outbox.compose_apart(
    p_event_ids uuid[], p_event_types text[], p_template_collection_ids uuid[], p_instance_key_suffixes text[],
    p_emit_modes text[], p_actors text[], p_notes text[], p_traceparents text[])
RETURNS TABLE (n integer, result jsonb)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off SET lock_timeout = '250ms' AS $$
DECLARE
    v_held uuid[] := ARRAY(
        SELECT t.id FROM (SELECT DISTINCT u.id FROM pg_catalog.unnest(p_template_collection_ids) AS u (id) ORDER BY u.id) AS t
        WHERE NOT iu_outbox.template_free(t.id));
    v_event record;
    v_code text;
    v_message text;
    v_schema text;
    v_table text;
    v_constraint text;
BEGIN
    FOR v_event IN
        SELECT u.*, pg_catalog.md5(u.event_id::text || ':' || u.template_id::text || ':' || u.suffix) AS idempotency_key
        FROM ROWS FROM (
            pg_catalog.unnest(p_event_ids), pg_catalog.unnest(p_event_types),
            pg_catalog.unnest(p_template_collection_ids), pg_catalog.unnest(p_instance_key_suffixes),
            pg_catalog.unnest(p_emit_modes), pg_catalog.unnest(p_actors), pg_catalog.unnest(p_notes),
            pg_catalog.unnest(p_traceparents)
        ) WITH ORDINALITY AS u (event_id, event_type, template_id, suffix, emit_mode, actor, note, traceparent, n)
        ORDER BY idempotency_key, u.n
    LOOP
        n := v_event.n;
        result := NULL;
        IF v_event.template_id = ANY (v_held) THEN
            RETURN NEXT;
            CONTINUE;
        END IF;
        BEGIN
            IF pg_catalog.pg_try_advisory_xact_lock(
                pg_catalog.hashtextextended('iu_core.auto_instantiate:' || v_event.suffix, 0)) THEN
                PERFORM pg_catalog.set_config('iu_outbox.traceparent', COALESCE(v_event.traceparent, ''), true);
                result := public.fn_iu_auto_instantiate_from_event(
                    v_event.event_id, v_event.event_type, v_event.template_id, v_event.suffix, v_event.emit_mode,
                    v_event.actor, v_event.note);
            END IF;
        EXCEPTION
            WHEN lock_not_available THEN
                PERFORM pg_catalog.set_config('lock_timeout', '1ms', true); -- the next ones must not wait as long again
            WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS v_code = RETURNED_SQLSTATE, v_message = MESSAGE_TEXT, v_schema = SCHEMA_NAME,
                    v_table = TABLE_NAME, v_constraint = CONSTRAINT_NAME;
                result := pg_catalog.jsonb_build_object('error', pg_catalog.jsonb_build_object(
                    'Severity', 'ERROR', 'Code', v_code, 'Message', v_message, 'SchemaName', v_schema,
                    'TableName', v_table, 'ConstraintName', v_constraint));
        END;
        RETURN NEXT;
    END LOOP;
END
$$;
