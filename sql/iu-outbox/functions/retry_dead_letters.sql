-- Returns the event of a dead letter as insert_events takes it: due now, and without what the outbox assigns. Texts
-- that set_row_aside kept as bytes, under hex, become texts again.
CREATE OR REPLACE FUNCTION iu_outbox.event_again(p_event jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT p_event - ARRAY['id', 'idempotency_key', 'created_at', 'available_at'] || COALESCE((
        SELECT pg_catalog.jsonb_object_agg(h.key, CASE h.key WHEN 'trace_context' THEN t.text::jsonb ELSE pg_catalog.to_jsonb(t.text) END)
        FROM pg_catalog.jsonb_each_text(p_event -> 'hex') AS h
        CROSS JOIN LATERAL pg_catalog.convert_from(pg_catalog.decode(h.value, 'hex'), pg_catalog.getdatabaseencoding()) AS t (text)), '{}')
$$;

-- Moves these dead letters into the outbox, all or none, and returns how many it moved; those that are locked or no
-- longer exist do not count. The ledger notes their keys. Events of scale-outs get priority 4, behind live events.
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
    SELECT pg_catalog.count(*) INTO v_count
    FROM iu_outbox.insert_events((
        SELECT pg_catalog.jsonb_agg(iu_outbox.event_again(t.event) ||
                   CASE WHEN t.queue = 'scaleout' THEN '{"priority": 4}' ELSE '{}' END::jsonb ORDER BY t.id)
        FROM taken AS t));
    RETURN v_count;
END
$$;

-- Puts these dead letters back into the outbox and returns how many. A dead letter whose event the outbox refuses
-- (its job did not come from the outbox) stays and does not stop the others. Raises if the installation is at
-- fault, and then moves none. Locks dead letters; skips those that are locked.
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
