-- Notes in the ledger the idempotency keys of jobs that this transaction inserts without outbox rows.
CREATE OR REPLACE FUNCTION iu_outbox.note_jobs(p_keys text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO iu_outbox.claimed (from_outbox, events, keys)
    SELECT false, pg_catalog.count(*), pg_catalog.array_agg(k.key::uuid)
    FROM pg_catalog.unnest(p_keys) AS k (key)
    HAVING pg_catalog.count(*) > 0
$$;

-- Notes rows that leave the outbox without the relay: nothing else records that they existed.
CREATE OR REPLACE FUNCTION iu_outbox.note_removed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF iu_outbox.applying() THEN
        NULL;
    ELSIF TG_OP = 'TRUNCATE' THEN
        INSERT INTO iu_outbox.settled (key, how, event)
        SELECT e.idempotency_key::uuid, 'removed', pg_catalog.to_jsonb(e) FROM iu_outbox.event AS e;
    ELSE
        INSERT INTO iu_outbox.settled (key, how, event)
        VALUES (OLD.idempotency_key::uuid, 'removed', pg_catalog.to_jsonb(OLD));
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER event_removed
    AFTER DELETE ON iu_outbox.event
    FOR EACH ROW
    WHEN (pg_catalog.current_setting('iu_outbox.claiming', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION iu_outbox.note_removed();

CREATE OR REPLACE TRIGGER event_truncated
    BEFORE TRUNCATE ON iu_outbox.event
    FOR EACH STATEMENT
    EXECUTE FUNCTION iu_outbox.note_removed();
