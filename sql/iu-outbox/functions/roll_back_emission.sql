-- A rollback deletes instances, not history: an emission without a position is deleted with its instance, and one
-- that was announced is marked. The ledger notes the keys. Locks emission rows, then emission_pruned if pruned
-- emissions are concerned. If the emitter is giving one its position, waits for that and then marks it.
CREATE OR REPLACE FUNCTION iu_outbox.roll_back_emission() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_pruned bigint := (SELECT pg_catalog.count(*) FROM gone AS g WHERE g.emit_mode = 'live');
    v_count bigint;
BEGIN
    IF iu_outbox.applying() THEN
        RETURN NULL;
    END IF;
    INSERT INTO iu_outbox.settled (key, how)
    SELECT g.idempotency_key::uuid, 'rolled_back' FROM gone AS g WHERE g.idempotency_key ~ '^[0-9a-f]{32}$';

    DELETE FROM iu_outbox.emission AS e USING gone AS g
    WHERE e.instance_collection_id = g.instance_collection_id AND e.position IS NULL;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_pruned := v_pruned - v_count;

    UPDATE iu_outbox.emission AS e
    SET rolled_back_at = pg_catalog.now(),
        event = e.event || pg_catalog.jsonb_build_object('rolledbackat', iu_outbox.rfc3339(pg_catalog.now()))
    FROM gone AS g
    WHERE e.instance_collection_id = g.instance_collection_id AND e.rolled_back_at IS NULL;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_pruned := v_pruned - v_count;

    -- An emission that was neither deleted nor marked had been pruned.
    IF v_pruned > 0 THEN
        UPDATE iu_outbox.emission_pruned AS p SET rolled_back = p.rolled_back + v_pruned;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER iu_outbox_emission_rolled_back
    AFTER DELETE ON public.iu_auto_instantiate_event_log
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT
    EXECUTE FUNCTION iu_outbox.roll_back_emission();
