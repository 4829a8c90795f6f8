-- Emissions: written by the transaction that composes, numbered and announced by the emitter.

-- Writes the emissions of live log rows, in the transaction that composed them, by whichever path. A session that restores
-- rows brings emissions along, and rows whose emissions were pruned: neither is announced again.
-- What the event needs that the log does not have is its trace, a traceparent or one with its tracestate after a space: it
-- comes from the setting iu_outbox.traceparent, or for a statement that writes several rows from iu_outbox.traceparents, a
-- JSON object by idempotency keys.
-- If the setting iu_outbox.announce is on, the emission of a single row is announced at once if possible.
CREATE OR REPLACE FUNCTION iu_outbox.write_emission() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_traces jsonb := NULLIF(pg_catalog.current_setting('iu_outbox.traceparents', true), '');
    v_trace text := NULLIF(pg_catalog.current_setting('iu_outbox.traceparent', true), '');
BEGIN
    IF pg_catalog.current_setting('iu_outbox.announce', true) = 'on' THEN
        IF pg_catalog.current_setting('session_replication_role') <> 'replica' AND (SELECT pg_catalog.count(*) = 1 FROM composed)
           AND iu_outbox.emit_new((SELECT c.instance_collection_id FROM composed AS c WHERE c.emit_mode = 'live'), v_trace) THEN
            RETURN NULL;
        END IF;
    END IF;
    -- An INSERT of no rows would ring the doorbell of the emitter.
    IF NOT EXISTS (SELECT FROM composed AS c WHERE c.emit_mode = 'live') THEN
        RETURN NULL;
    END IF;
    -- Two statements: one for both would be planned again for each call, since a plan made for all values costs more.
    IF pg_catalog.current_setting('session_replication_role') <> 'replica' THEN
        INSERT INTO iu_outbox.emission (instance_collection_id, trace)
        SELECT c.instance_collection_id, pg_catalog.left(CASE WHEN v_traces IS NULL THEN v_trace ELSE v_traces ->> c.idempotency_key END, 4096)
        FROM composed AS c
        WHERE c.emit_mode = 'live';
    ELSIF NOT iu_outbox.applying() THEN
        INSERT INTO iu_outbox.emission (instance_collection_id, trace)
        SELECT c.instance_collection_id, pg_catalog.left(CASE WHEN v_traces IS NULL THEN v_trace ELSE v_traces ->> c.idempotency_key END, 4096)
        FROM composed AS c
        WHERE c.emit_mode = 'live'
          AND NOT (c.created_at <= (SELECT p.created_until FROM iu_outbox.emission_pruned AS p)
                   OR EXISTS (SELECT FROM iu_outbox.emission AS e WHERE e.instance_collection_id = c.instance_collection_id));
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER iu_outbox_emission_written
    AFTER INSERT ON public.iu_auto_instantiate_event_log
    REFERENCING NEW TABLE AS composed
    FOR EACH STATEMENT
    EXECUTE FUNCTION iu_outbox.write_emission();

-- An iu-core that composed live instances before the trigger was there: they are announced, too. The trigger's
-- lock keeps others out until this commits. Only if nothing was ever written: what was pruned stays pruned.
INSERT INTO iu_outbox.emission (instance_collection_id)
SELECT l.instance_collection_id
FROM public.iu_auto_instantiate_event_log AS l
WHERE l.emit_mode = 'live'
  AND NOT EXISTS (SELECT FROM iu_outbox.emission)
  AND EXISTS (SELECT FROM iu_outbox.emission_counter AS c WHERE c.position = 0)
ORDER BY l.created_at, l.idempotency_key;
