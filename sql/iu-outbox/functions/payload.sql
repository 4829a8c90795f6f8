-- Returns whether notifications carry whole events, by the setting notify-payload; what is not "event" means no.
-- Call it in a statement of its own, after the counter row is locked: set_setting waits for that lock, so that no
-- notification carries an event any more once it has returned.
CREATE OR REPLACE FUNCTION iu_outbox.payload_whole() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN NOT EXISTS (SELECT FROM iu_outbox.setting AS s WHERE s.name = 'notify-payload' AND s.value <> 'event');
END
$$;

-- Returns an event as a NOTIFY payload. p_whole: the event if it is under 7900 bytes, else with the ids alone and
-- truncated: true. Not p_whole: an object that has only its cursor. What an event has under original (emit_apart) is left out.
DROP FUNCTION IF EXISTS iu_outbox.payload(jsonb);
CREATE OR REPLACE FUNCTION iu_outbox.payload(p_event jsonb, p_whole boolean) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN p_whole IS NOT TRUE THEN pg_catalog.jsonb_build_object('cursor', p_event -> 'cursor')::text
        WHEN p_event ? 'original' THEN pg_catalog.jsonb_set(p_event - 'original', '{data,truncated}', 'true')::text
        WHEN pg_catalog.octet_length(p_event::text) < 7900 THEN p_event::text
        ELSE (p_event || pg_catalog.jsonb_build_object('data', pg_catalog.jsonb_build_object(
            'instance_collection_id', p_event -> 'data' -> 'instance_collection_id',
            'template_collection_id', p_event -> 'data' -> 'template_collection_id',
            'event_id', p_event -> 'data' -> 'event_id',
            'idempotency_key', p_event -> 'data' -> 'idempotency_key',
            'truncated', true)))::text END
$$;
