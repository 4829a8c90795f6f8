-- What operators do with dead letters, and what everybody may read.

-- Templates as applications see them: an id or a key to put into an event.
CREATE OR REPLACE VIEW iu_outbox.template AS
    SELECT c.id, c.collection_key, c.title
    FROM public.iu_piece_collection AS c
    JOIN public.iu_collection_template_registry AS r ON r.collection_id = c.id AND r.is_template;

-- Puts up to p_limit dead letters back into the outbox, oldest first, and answers how many. p_status and
-- p_event narrow the choice; NULL means any. Bulk work keeps out of the way of live events (priority 4).
-- Locks dead letters; skips those that are locked.
CREATE OR REPLACE FUNCTION iu_outbox.retry_dead_letters(p_status text, p_event uuid, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_count integer;
BEGIN
    WITH picked AS MATERIALIZED (
        SELECT d.id FROM iu_outbox.dead_letter AS d
        WHERE (p_status IS NULL OR d.status = p_status) AND (p_event IS NULL OR d.event_id = p_event)
        ORDER BY d.id
        LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    ), taken AS (
        DELETE FROM iu_outbox.dead_letter AS d USING picked AS p WHERE d.id = p.id
        RETURNING d.id, d.event, d.queue
    )
    INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode,
                                 actor, note, priority, trace_context)
    SELECT (t.event ->> 'event_id')::uuid, t.event ->> 'event_type',
           (t.event ->> 'template_collection_id')::uuid, t.event ->> 'instance_key_suffix',
           t.event ->> 'emit_mode', t.event ->> 'actor', t.event ->> 'note',
           CASE WHEN t.queue = 'scaleout' THEN 4 ELSE COALESCE((t.event ->> 'priority')::smallint, 1) END,
           COALESCE(t.event -> 'trace_context', '{}')
    FROM taken AS t
    ORDER BY t.id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;

-- Drops up to p_limit dead letters for good and answers how many; the choice as in retry_dead_letters.
CREATE OR REPLACE FUNCTION iu_outbox.drop_dead_letters(p_status text, p_event uuid, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_count integer;
BEGIN
    DELETE FROM iu_outbox.dead_letter AS d
    WHERE d.id IN (
        SELECT p.id FROM iu_outbox.dead_letter AS p
        WHERE (p_status IS NULL OR p.status = p_status) AND (p_event IS NULL OR p.event_id = p_event)
        ORDER BY p.id
        LIMIT p_limit
        FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;
