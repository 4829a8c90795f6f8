-- Gives up to p_limit emissions their positions and announces them, oldest first; with p_id only that one. Nothing else gives
-- positions. state: emitted; idle (nothing to do); held (the registry row is not active); busy (another transaction emits).
-- notified is false if the notification queue is more than half full: positions are given all the same, and subscribers
-- find them by their poll.
-- Locks the counter row, then emission rows; waits for neither. READ COMMITTED only.
-- A join with the picked rows could read the whole table once for each of them, where the table counts as empty or a plan
-- was made while it was: so they are a list of ids, and the settings leave their index as the only way to find them.
-- There is one plan for all values, then, and PostgreSQL need not plan for those of each call.
CREATE OR REPLACE FUNCTION iu_outbox.emit(
    p_limit integer, p_id bigint DEFAULT NULL,
    OUT state text, OUT emitted integer, OUT last_position bigint, OUT notified boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_epoch text;
    v_ids bigint[];
    v_events jsonb[];
    v_whole boolean;
BEGIN
    emitted := 0;
    notified := iu_outbox.may_notify();
    IF NOT iu_outbox.announcing() THEN
        state := 'held';
        RETURN;
    END IF;
    -- Before the lock, because locking a row writes, and an idle emitter polls.
    IF NOT EXISTS (SELECT FROM iu_outbox.emission AS e WHERE e.position IS NULL ORDER BY e.id LIMIT 1) THEN
        state := 'idle';
        RETURN;
    END IF;
    SELECT c.epoch, c.position INTO v_epoch, last_position
    FROM iu_outbox.emission_counter AS c FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        state := 'busy';
        RETURN;
    END IF;
    v_whole := iu_outbox.payload_whole();
    v_epoch := iu_outbox.current_epoch(v_epoch, last_position);

    v_ids := ARRAY(SELECT e.id FROM iu_outbox.emission AS e WHERE e.position IS NULL AND (p_id IS NULL OR e.id = p_id)
                   ORDER BY e.id LIMIT p_limit FOR UPDATE SKIP LOCKED);
    IF v_ids = '{}' THEN
        state := 'idle';
        RETURN;
    END IF;
    v_events := ARRAY(
        SELECT COALESCE(e.event, (SELECT c.event FROM iu_outbox.composed_event(e.instance_collection_id, e.trace) AS c))
               || pg_catalog.jsonb_build_object('position', last_position + u.n, 'cursor', v_epoch || '-' || (last_position + u.n))
        FROM pg_catalog.unnest(v_ids) WITH ORDINALITY AS u (id, n)
        CROSS JOIN LATERAL (SELECT e.* FROM iu_outbox.emission AS e WHERE e.id = u.id OFFSET 0) AS e
        ORDER BY u.n);
    UPDATE iu_outbox.emission AS e
    SET position = last_position + pg_catalog.width_bucket(e.id, v_ids), -- its place among them
        emitted_at = pg_catalog.clock_timestamp(),
        event = v_events[pg_catalog.width_bucket(e.id, v_ids)],
        trace = NULL
    WHERE e.id = ANY (v_ids);
    GET DIAGNOSTICS emitted = ROW_COUNT;
    IF notified THEN
        PERFORM pg_catalog.pg_notify(iu_outbox.event_type(), iu_outbox.payload(u.event, v_whole))
        FROM pg_catalog.unnest(v_events) WITH ORDINALITY AS u (event, n)
        ORDER BY u.n;
    END IF;
    last_position := last_position + emitted;
    UPDATE iu_outbox.emission_counter AS c SET position = last_position;
    state := 'emitted';
END
$$;

-- Emits what this transaction composed, at its end, if nothing else waits to be emitted: for a caller who composes one event and
-- has iu_outbox.doorbell off. That saves a transaction and a doorbell. If it is not emitted, for whatever reason, this rings
-- for the emitter, which will meet an error as well and tell. Holds the counter row until the end of the transaction.
CREATE OR REPLACE FUNCTION iu_outbox.emit_alone(OUT emitted integer, OUT last_position bigint, OUT notified boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
    v_waiting bigint[] := ARRAY(SELECT e.id FROM iu_outbox.emission AS e WHERE e.position IS NULL ORDER BY e.id LIMIT 2);
BEGIN
    emitted := 0;
    IF pg_catalog.cardinality(v_waiting) = 1 THEN
        BEGIN
            SELECT e.emitted, e.last_position, e.notified INTO STRICT emitted, last_position, notified FROM iu_outbox.emit(1) AS e;
        EXCEPTION WHEN OTHERS THEN
            emitted := 0;
        END;
    END IF;
    IF emitted = 0 AND v_waiting <> '{}' AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(26997, 2) THEN
        PERFORM pg_catalog.pg_notify('iu_outbox_emission', '');
    END IF;
END
$$;

-- Writes the emission of an instance that this transaction composed, with its position, and announces it. Returns false and writes
-- nothing if p_id is NULL, or if the emitter has to do it: other emissions wait, or emit() would not emit or notify now.
-- Locks the counter row until the end of the transaction. For a single event it costs half of what emit() costs.
CREATE OR REPLACE FUNCTION iu_outbox.emit_new(p_id uuid, p_trace text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_epoch text;
    v_position bigint;
    v_event jsonb;
    v_doorbell text := pg_catalog.current_setting('iu_outbox.doorbell', true);
BEGIN
    IF p_id IS NULL OR NOT iu_outbox.announcing() OR NOT iu_outbox.may_notify() THEN
        RETURN false;
    END IF;
    SELECT c.epoch, c.position + 1 INTO v_epoch, v_position FROM iu_outbox.emission_counter AS c FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR EXISTS (SELECT FROM iu_outbox.emission AS e WHERE e.position IS NULL ORDER BY e.id LIMIT 1) THEN
        RETURN false;
    END IF;
    v_epoch := iu_outbox.current_epoch(v_epoch, v_position - 1);
    PERFORM pg_catalog.set_config('iu_outbox.doorbell', 'off', true);
    INSERT INTO iu_outbox.emission AS e (position, emitted_at, instance_collection_id, event)
    SELECT v_position, pg_catalog.clock_timestamp(), p_id,
           c.event || pg_catalog.jsonb_build_object('position', v_position, 'cursor', v_epoch || '-' || v_position)
    FROM iu_outbox.composed_event(p_id, p_trace) AS c
    RETURNING e.event INTO v_event;
    PERFORM pg_catalog.set_config('iu_outbox.doorbell', COALESCE(v_doorbell, ''), true),
            pg_catalog.pg_notify(iu_outbox.event_type(), iu_outbox.payload(v_event, iu_outbox.payload_whole()));
    UPDATE iu_outbox.emission_counter AS c SET position = v_position;
    RETURN true;
END
$$;

-- Does what emit does with a savepoint an emission, for up to p_limit of them, oldest first; returns how many got a position. One
-- whose event cannot be announced as it is (somebody edited it) is announced by its cursor: its event becomes an object with
-- the ids, and with what was there, as text, under original. One that cannot even be written stays, and the others go on.
CREATE OR REPLACE FUNCTION iu_outbox.emit_apart(p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
    v_emitted integer := 0;
    v_id bigint;
BEGIN
    FOR v_id IN SELECT e.id FROM iu_outbox.emission AS e WHERE e.position IS NULL ORDER BY e.id LIMIT p_limit LOOP
        FOR v_try IN 1..2 LOOP
            BEGIN
                IF v_try = 2 THEN
                    UPDATE iu_outbox.emission AS e
                    SET event = pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                        'specversion', '1.0', 'id', e.instance_collection_id, 'source', iu_outbox.event_source(),
                        'type', iu_outbox.event_type(), 'original', e.event::text,
                        'data', pg_catalog.jsonb_build_object('instance_collection_id', e.instance_collection_id)))
                    WHERE e.id = v_id;
                END IF;
                v_emitted := v_emitted + (SELECT e.emitted FROM iu_outbox.emit(1, v_id) AS e);
                EXIT;
            EXCEPTION WHEN OTHERS THEN
                NULL; -- the second try, or the next emission
            END;
        END LOOP;
    END LOOP;
    RETURN v_emitted;
END
$$;
