-- Moves these dead letters into the outbox, all of them or none, and returns how many: those that are locked or gone
-- are not counted. The ledger notes their keys. Bulk work keeps out of the way of live events (priority 4).
-- Locks dead letters.
CREATE OR REPLACE FUNCTION iu_outbox.move_dead_letters(p_ids bigint[]) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_count integer;
BEGIN
    WITH picked AS MATERIALIZED (
        SELECT d.id FROM iu_outbox.dead_letter AS d WHERE d.id = ANY (p_ids) ORDER BY d.id FOR UPDATE SKIP LOCKED
    ), taken AS (
        DELETE FROM iu_outbox.dead_letter AS d USING picked AS p WHERE d.id = p.id
        RETURNING d.id, d.event, d.queue, d.idempotency_key
    ), noted AS (
        INSERT INTO iu_outbox.settled (key, how)
        SELECT t.idempotency_key::uuid, 'retried' FROM taken AS t WHERE t.idempotency_key ~ '^[0-9a-f]{32}$'
    )
    INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode,
                                 actor, note, priority, trace_context)
    SELECT (t.event ->> 'event_id')::uuid, iu_outbox.event_text(t.event, 'event_type'),
           (t.event ->> 'template_collection_id')::uuid, iu_outbox.event_text(t.event, 'instance_key_suffix'),
           t.event ->> 'emit_mode', iu_outbox.event_text(t.event, 'actor'), iu_outbox.event_text(t.event, 'note'),
           CASE WHEN t.queue = 'scaleout' THEN 4 ELSE COALESCE((t.event ->> 'priority')::smallint, 1) END,
           COALESCE(iu_outbox.event_text(t.event, 'trace_context')::jsonb, '{}')
    FROM taken AS t
    ORDER BY t.id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;

-- Puts these dead letters back into the outbox and returns how many. One whose event the outbox refuses (a job that
-- did not come by the outbox) stays, and delays no other. What is wrong with the installation is raised, and moves
-- none. Locks dead letters; skips those that are locked.
CREATE OR REPLACE FUNCTION iu_outbox.retry_dead_letters(p_ids bigint[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_id bigint;
    v_count integer := 0;
BEGIN
    RETURN iu_outbox.move_dead_letters(p_ids);
EXCEPTION WHEN OTHERS THEN
    IF pg_catalog.left(SQLSTATE, 2) IN ('25', '42', '53', '57', '58', '3F', 'XX') THEN
        RAISE;
    END IF;
    FOREACH v_id IN ARRAY p_ids LOOP
        BEGIN
            v_count := v_count + iu_outbox.move_dead_letters(ARRAY[v_id]);
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
    RETURN v_count;
END
$$;

-- The same for up to p_limit dead letters, oldest first. p_status and p_event narrow the choice; NULL means any.
CREATE OR REPLACE FUNCTION iu_outbox.retry_dead_letters(p_status text, p_event uuid, p_limit integer) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT iu_outbox.retry_dead_letters(ARRAY(
        SELECT d.id FROM iu_outbox.dead_letter AS d
        WHERE (p_status IS NULL OR d.status = p_status) AND (p_event IS NULL OR d.event_id = p_event)
        ORDER BY d.id
        LIMIT p_limit
        FOR UPDATE SKIP LOCKED))
$$;
