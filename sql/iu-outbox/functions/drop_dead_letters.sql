-- Drops these dead letters permanently and returns how many it dropped; the ledger notes their keys. Locks them;
-- skips those that are locked.
CREATE OR REPLACE FUNCTION iu_outbox.drop_dead_letters(p_ids bigint[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_count integer;
BEGIN
    WITH dropped AS (
        DELETE FROM iu_outbox.dead_letter AS d
        WHERE d.id IN (SELECT p.id FROM iu_outbox.dead_letter AS p WHERE p.id = ANY (p_ids) ORDER BY p.id FOR UPDATE SKIP LOCKED)
        RETURNING d.idempotency_key
    ), noted AS (
        INSERT INTO iu_outbox.settled (key, how)
        SELECT d.idempotency_key::uuid, 'dropped' FROM dropped AS d WHERE d.idempotency_key ~ '^[0-9a-f]{32}$'
    )
    SELECT pg_catalog.count(*) INTO v_count FROM dropped;
    RETURN v_count;
END
$$;

-- The same for up to p_limit dead letters, oldest first, selected as by retry_dead_letters.
CREATE OR REPLACE FUNCTION iu_outbox.drop_dead_letters(p_status text, p_event uuid, p_limit integer) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT iu_outbox.drop_dead_letters(ARRAY(
        SELECT d.id FROM iu_outbox.dead_letter AS d
        WHERE (p_status IS NULL OR d.status = p_status) AND (p_event IS NULL OR d.event_id = p_event)
        ORDER BY d.id
        LIMIT p_limit
        FOR UPDATE SKIP LOCKED))
$$;
