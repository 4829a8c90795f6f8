-- Writes an emission that has its position at once, announces it, and notes that in the setting iu_outbox.emitted.
-- Returns false, and has done nothing, if that is for the emitter: emissions wait already, the counter row is locked,
-- the registry row is not active, or an error came, which the emitter will meet and tell.
-- Locks the counter row; waits for nothing.
CREATE OR REPLACE FUNCTION iu_outbox.emit_now(p_instance_collection_id uuid, p_event jsonb) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
    v_notified boolean := iu_outbox.may_notify();
    v_epoch text;
    v_position bigint;
    v_event jsonb;
    v_whole boolean;
BEGIN
    SELECT c.epoch, c.position + 1 INTO v_epoch, v_position
    FROM iu_outbox.emission_counter AS c
    WHERE iu_outbox.announcing()
      AND NOT EXISTS (SELECT FROM iu_outbox.emission AS e WHERE e.position IS NULL)
    FOR UPDATE OF c SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    v_whole := iu_outbox.payload_whole();
    v_epoch := iu_outbox.current_epoch(v_epoch, v_position - 1);
    v_event := p_event || pg_catalog.jsonb_build_object('position', v_position, 'cursor', v_epoch || '-' || v_position);
    INSERT INTO iu_outbox.emission (position, instance_collection_id, event, emitted_at)
    VALUES (v_position, p_instance_collection_id, v_event, pg_catalog.clock_timestamp());
    UPDATE iu_outbox.emission_counter AS c SET position = v_position;
    IF v_notified THEN
        PERFORM pg_catalog.pg_notify(iu_outbox.event_type(), iu_outbox.payload(v_event, v_whole));
    END IF;
    PERFORM pg_catalog.set_config('iu_outbox.emitted', pg_catalog.jsonb_build_object(
        'emitted', 1, 'last_position', v_position, 'notified', v_notified)::text, true);
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    RETURN false;
END
$$;

-- Gives up to p_limit emissions their positions and announces them, oldest first. state: emitted;
-- idle (nothing to do); held (the registry row is not active); busy (another emitter works).
-- notified is false if the notification queue is more than half full: positions are given all
-- the same, and subscribers find them by their poll.
-- Locks the counter row, then emission rows; waits for neither. READ COMMITTED only.
-- A join with the picked rows could read the whole table once for each of them, where the table counts as empty or a plan
-- was made while it was: so they are a list of ids, and the settings leave their index as the only way to find them.
CREATE OR REPLACE FUNCTION iu_outbox.emit(
    p_limit integer,
    OUT state text, OUT emitted integer, OUT last_position bigint, OUT notified boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
    v_epoch text;
    v_ids bigint[];
    v_whole boolean;
BEGIN
    emitted := 0;
    notified := iu_outbox.may_notify();
    SELECT c.epoch, c.position INTO v_epoch, last_position
    FROM iu_outbox.emission_counter AS c FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        state := 'busy';
        RETURN;
    END IF;
    IF NOT iu_outbox.announcing() THEN
        state := 'held';
        RETURN;
    END IF;
    v_whole := iu_outbox.payload_whole();
    v_epoch := iu_outbox.current_epoch(v_epoch, last_position);

    v_ids := ARRAY(SELECT e.id FROM iu_outbox.emission AS e WHERE e.position IS NULL
                   ORDER BY e.id LIMIT p_limit FOR UPDATE SKIP LOCKED);
    WITH written AS (
        UPDATE iu_outbox.emission AS e
        SET position = last_position + pg_catalog.width_bucket(e.id, v_ids), -- its place among them
            emitted_at = pg_catalog.clock_timestamp(),
            event = e.event || pg_catalog.jsonb_build_object(
                'position', last_position + pg_catalog.width_bucket(e.id, v_ids),
                'cursor', v_epoch || '-' || (last_position + pg_catalog.width_bucket(e.id, v_ids)))
        WHERE e.id = ANY (v_ids)
        RETURNING e.position, e.event
    ), announced AS (
        SELECT w.position,
               CASE WHEN notified THEN pg_catalog.pg_notify(
                   iu_outbox.event_type(), iu_outbox.payload(w.event, v_whole)) END
        FROM (SELECT * FROM written ORDER BY written.position) AS w
    )
    SELECT pg_catalog.count(*), pg_catalog.max(a.position) INTO emitted, last_position FROM announced AS a;

    IF emitted = 0 THEN
        state := 'idle';
        RETURN;
    END IF;
    UPDATE iu_outbox.emission_counter AS c SET position = last_position;
    state := 'emitted';
END
$$;
