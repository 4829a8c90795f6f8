-- Emissions: written by the transaction that composes, numbered and announced by the emitter.

-- Writes the emission of a live log row, in the transaction that composed it, by whichever path. A session that restores
-- rows brings emissions along, and rows whose emissions were pruned: neither is announced again.
-- The trace comes from the setting iu_outbox.traceparent: a traceparent, or one with its tracestate after a space. What is
-- not valid by W3C is left out, and a tracestate that has no valid traceparent with it.
CREATE OR REPLACE FUNCTION iu_outbox.write_emission() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_trace text := pg_catalog.current_setting('iu_outbox.traceparent', true);
    v_traceparent text := pg_catalog.split_part(v_trace, ' ', 1);
    v_event jsonb;
BEGIN
    IF pg_catalog.current_setting('session_replication_role') = 'replica'
       AND (iu_outbox.applying() OR NEW.created_at <= (SELECT p.created_until FROM iu_outbox.emission_pruned AS p)
            OR EXISTS (SELECT FROM iu_outbox.emission AS e WHERE e.instance_collection_id = NEW.instance_collection_id)) THEN
        RETURN NULL;
    END IF;
    v_event := iu_outbox.composed_event(NEW);
    IF v_traceparent ~ '^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$' THEN
        v_event := v_event || pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('traceparent', v_traceparent,
            'tracestate', iu_outbox.tracestate(pg_catalog.substr(v_trace, pg_catalog.length(v_traceparent) + 2))));
    END IF;
    INSERT INTO iu_outbox.emission (instance_collection_id, event) VALUES (NEW.instance_collection_id, v_event);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER iu_outbox_emission_written
    AFTER INSERT ON public.iu_auto_instantiate_event_log
    FOR EACH ROW WHEN (NEW.emit_mode = 'live')
    EXECUTE FUNCTION iu_outbox.write_emission();

-- An iu-core that composed live instances before the trigger was there: they are announced, too. The trigger's
-- lock keeps others out until this commits. Only if nothing was ever written: what was pruned stays pruned.
INSERT INTO iu_outbox.emission (instance_collection_id, event)
SELECT l.instance_collection_id, iu_outbox.composed_event(l)
FROM public.iu_auto_instantiate_event_log AS l
WHERE l.emit_mode = 'live'
  AND NOT EXISTS (SELECT FROM iu_outbox.emission)
  AND EXISTS (SELECT FROM iu_outbox.emission_counter AS c WHERE c.position = 0)
ORDER BY l.created_at, l.idempotency_key;
