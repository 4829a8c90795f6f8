-- Returns whether sessions that speak UTF-8 can read a text: some encodings have texts that cannot be converted.
CREATE OR REPLACE FUNCTION iu_outbox.readable(p_text text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_catalog.convert_to(p_text, 'UTF8');
    RETURN true;
EXCEPTION WHEN data_exception THEN
    RETURN false;
END
$$;

-- Turns an outbox row that the relay cannot make a job of into a dead letter with the reason; returns whether the
-- row existed. In the event, texts that sessions cannot read have question marks; hex keeps their bytes. The ledger
-- notes that the row was claimed. Locks the row; skips one that is locked.
CREATE OR REPLACE FUNCTION iu_outbox.set_row_aside(p_id bigint, p_reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_row iu_outbox.event;
    v_event jsonb;
    v_key text;
    v_text text;
    v_hex jsonb := '{}';
BEGIN
    SELECT * INTO v_row FROM iu_outbox.event AS e WHERE e.id = p_id FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    v_event := pg_catalog.to_jsonb(v_row);
    FOR v_key, v_text IN SELECT * FROM pg_catalog.jsonb_each_text(v_event) LOOP
        IF NOT iu_outbox.readable(v_text) THEN
            v_hex := v_hex || pg_catalog.jsonb_build_object(v_key, pg_catalog.encode(
                pg_catalog.convert_to(v_text, pg_catalog.getdatabaseencoding()), 'hex'));
            v_event := v_event || pg_catalog.jsonb_build_object(v_key, CASE v_key WHEN 'trace_context' THEN '{}'::jsonb
                ELSE pg_catalog.to_jsonb(pg_catalog.regexp_replace(v_text, '[^ -~]', '?', 'g')) END);
        END IF;
    END LOOP;
    IF v_hex <> '{}' THEN
        v_event := v_event || pg_catalog.jsonb_build_object('hex', v_hex);
    END IF;
    PERFORM pg_catalog.set_config('iu_outbox.claiming', 'on', true);
    DELETE FROM iu_outbox.event AS e WHERE e.id = p_id;
    PERFORM pg_catalog.set_config('iu_outbox.claiming', 'off', true);
    INSERT INTO iu_outbox.claimed (from_outbox, events, keys) VALUES (true, 1, ARRAY[v_row.idempotency_key::uuid]);
    -- The job id comes from River's sequence, so that no job has the same one.
    INSERT INTO iu_outbox.dead_letter (job_id, status, detail, event_id, idempotency_key, event, queue, attempts)
    VALUES (pg_catalog.nextval('iu_river.river_job_id_seq'), 'error', p_reason, v_row.event_id, v_row.idempotency_key, v_event,
            'events', 0);
    RETURN true;
END
$$;
