-- Announcing emissions one by one, if one of a batch cannot be announced.

-- Does what emit does with a savepoint an emission, for up to p_limit of them, oldest first; returns how many got a
-- position. One whose event cannot be announced as it is (somebody edited it) gets its position all the same, and is
-- announced by its cursor: the event is then an object with the ids, and what was there as text under original. One
-- that cannot even be written stays, and the others go on: positions have no gap.
-- Locks the counter row, then emission rows; waits for neither. READ COMMITTED only.
CREATE OR REPLACE FUNCTION iu_outbox.emit_apart(p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
    v_epoch text;
    v_position bigint;
    v_emitted integer := 0;
    v_emission record;
    v_event jsonb;
    v_whole boolean;
BEGIN
    SELECT c.epoch, c.position INTO v_epoch, v_position FROM iu_outbox.emission_counter AS c FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR NOT iu_outbox.announcing() THEN
        RETURN 0;
    END IF;
    v_epoch := iu_outbox.current_epoch(v_epoch, v_position);
    v_whole := iu_outbox.payload_whole();
    FOR v_emission IN
        SELECT e.id, e.instance_collection_id, e.event FROM iu_outbox.emission AS e WHERE e.position IS NULL
        ORDER BY e.id LIMIT p_limit FOR UPDATE SKIP LOCKED
    LOOP
        FOR v_try IN 1..2 LOOP
            BEGIN
                v_event := CASE WHEN v_try = 1 THEN v_emission.event ELSE pg_catalog.jsonb_build_object(
                    'specversion', '1.0', 'id', v_emission.instance_collection_id, 'source', iu_outbox.event_source(),
                    'type', iu_outbox.event_type(), 'original', v_emission.event::text,
                    'data', pg_catalog.jsonb_build_object('instance_collection_id', v_emission.instance_collection_id)) END
                    || pg_catalog.jsonb_build_object('position', v_position + 1, 'cursor', v_epoch || '-' || (v_position + 1));
                UPDATE iu_outbox.emission AS e
                SET position = v_position + 1, emitted_at = pg_catalog.clock_timestamp(), event = v_event
                WHERE e.id = v_emission.id;
                IF iu_outbox.may_notify() THEN
                    PERFORM pg_catalog.pg_notify(iu_outbox.event_type(), iu_outbox.payload(
                        CASE WHEN v_try = 1 THEN v_event ELSE v_event - 'original' || '{"truncated": true}' END, v_whole));
                END IF;
                v_position := v_position + 1;
                v_emitted := v_emitted + 1;
                EXIT;
            EXCEPTION WHEN OTHERS THEN
                NULL; -- the second try, or the next emission
            END;
        END LOOP;
    END LOOP;
    UPDATE iu_outbox.emission_counter AS c SET position = v_position;
    RETURN v_emitted;
END
$$;
