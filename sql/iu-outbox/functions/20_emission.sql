-- Emissions: written by the transaction that composes, numbered and announced by the emitter.

-- Returns the CloudEvents source of this database; a name that is no plain URI segment is
-- percent-encoded.
CREATE OR REPLACE FUNCTION iu_outbox.event_source() RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_name bytea;
BEGIN
    IF pg_catalog.current_database() ~ '^[A-Za-z0-9._~-]+$' THEN
        RETURN '/iu-core/' || pg_catalog.current_database();
    END IF;
    v_name := pg_catalog.convert_to(pg_catalog.current_database(), 'UTF8');
    RETURN '/iu-core/' || (
        SELECT pg_catalog.string_agg(
            CASE WHEN pg_catalog.chr(b.byte) ~ '^[A-Za-z0-9._~-]$' THEN pg_catalog.chr(b.byte)
                 ELSE '%' || pg_catalog.upper(pg_catalog.lpad(pg_catalog.to_hex(b.byte), 2, '0')) END,
            '' ORDER BY b.i)
        FROM (SELECT g.i, pg_catalog.get_byte(v_name, g.i) AS byte
              FROM pg_catalog.generate_series(0, pg_catalog.length(v_name) - 1) AS g (i)) AS b);
END
$$;

-- Returns a timestamp as RFC 3339 in UTC with microseconds; NULL for NULL.
CREATE OR REPLACE FUNCTION iu_outbox.rfc3339(p_at timestamptz) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT pg_catalog.to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- Returns the CloudEvent of a log row, yet without position and cursor.
CREATE OR REPLACE FUNCTION iu_outbox.composed_event(p_log public.iu_auto_instantiate_event_log) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_instance_key text;
    v_template_key text;
    v_piece_count bigint;
BEGIN
    SELECT i.collection_key, t.collection_key,
           (SELECT pg_catalog.count(*) FROM public.iu_piece_membership AS m
            WHERE m.collection_id = p_log.instance_collection_id AND m.is_active)
    INTO STRICT v_instance_key, v_template_key, v_piece_count
    FROM public.iu_piece_collection AS i, public.iu_piece_collection AS t
    WHERE i.id = p_log.instance_collection_id AND t.id = p_log.template_collection_id;

    RETURN pg_catalog.jsonb_build_object(
        'specversion', '1.0',
        'id', p_log.instance_collection_id,
        'source', iu_outbox.event_source(),
        'type', 'iu.template.instance_auto_composed',
        'subject', v_instance_key,
        'time', iu_outbox.rfc3339(p_log.created_at),
        'datacontenttype', 'application/json',
        'data', pg_catalog.jsonb_build_object(
            'instance_collection_id', p_log.instance_collection_id,
            'instance_key', v_instance_key,
            'template_collection_id', p_log.template_collection_id,
            'template_key', v_template_key,
            'event_id', p_log.event_id,
            'event_type', p_log.event_type,
            'idempotency_key', p_log.idempotency_key,
            'emit_mode', p_log.emit_mode,
            'actor', p_log.triggered_by,
            'piece_count', v_piece_count));
END
$$;

-- Returns a W3C tracestate as events carry it, without blanks around its members and without empty ones; NULL: it is not
-- valid. Of more than 512 characters those members go that have over 128, then the last ones, as W3C asks.
CREATE OR REPLACE FUNCTION iu_outbox.tracestate(p_text text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_members text[] := ARRAY(
        SELECT pg_catalog.btrim(m.member, E' \t')
        FROM pg_catalog.unnest(pg_catalog.string_to_array(p_text, ',')) WITH ORDINALITY AS m (member, n)
        WHERE pg_catalog.btrim(m.member, E' \t') <> ''
        ORDER BY m.n);
BEGIN
    IF pg_catalog.cardinality(v_members) > 32
       OR pg_catalog.cardinality(v_members) > (SELECT pg_catalog.count(DISTINCT pg_catalog.split_part(m, '=', 1)) FROM pg_catalog.unnest(v_members) AS m)
       OR EXISTS (
           SELECT FROM pg_catalog.unnest(v_members) AS m
           WHERE m !~ '^([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})=[ -+\--<>-~]{0,255}[!-+\--<>-~]$') THEN
        RETURN NULL;
    END IF;
    IF pg_catalog.length(pg_catalog.array_to_string(v_members, ',')) > 512 THEN
        v_members := ARRAY(SELECT m.member FROM pg_catalog.unnest(v_members) WITH ORDINALITY AS m (member, n)
                           WHERE pg_catalog.length(m.member) <= 128 ORDER BY m.n);
        WHILE pg_catalog.length(pg_catalog.array_to_string(v_members, ',')) > 512 LOOP
            v_members := pg_catalog.trim_array(v_members, 1);
        END LOOP;
    END IF;
    RETURN NULLIF(pg_catalog.array_to_string(v_members, ','), '');
END
$$;

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
    IF pg_catalog.current_setting('iu_outbox.emitting', true) = 'on' THEN
        IF iu_outbox.emit_now(NEW.instance_collection_id, v_event) THEN
            RETURN NULL;
        END IF;
        PERFORM pg_catalog.set_config('iu_outbox.emitting', 'off', true); -- ring, the emitter has to do it
    END IF;
    INSERT INTO iu_outbox.emission (instance_collection_id, event) VALUES (NEW.instance_collection_id, v_event);
    RETURN NULL;
END
$$;

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
    WHERE EXISTS (SELECT FROM public.event_type_registry AS r
                  WHERE r.event_type = 'iu.template.instance_auto_composed' AND r.active)
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
        PERFORM pg_catalog.pg_notify('iu.template.instance_auto_composed', iu_outbox.payload(v_event, v_whole));
    END IF;
    PERFORM pg_catalog.set_config('iu_outbox.emitted', pg_catalog.jsonb_build_object(
        'emitted', 1, 'last_position', v_position, 'notified', v_notified)::text, true);
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    RETURN false;
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

-- Rolling back deletes instances, not history: an emission without a position goes with its instance,
-- one that was announced stays and is marked; the ledger notes the keys. Locks emission rows, then the count of
-- pruned ones if one of those is concerned; if the emitter is numbering one, waits for it and then marks it.
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

    -- What was neither deleted nor marked was pruned before.
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

-- Returns the epoch to emit in. If the server, its timeline or the database is another than the one the current epoch
-- began on (restore, failover, copy), a new epoch begins after the last position. What the server does not report, or did
-- not then, is not compared. The caller holds the counter row.
CREATE OR REPLACE FUNCTION iu_outbox.current_epoch(p_epoch text, p_position bigint) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_here record := iu_outbox.server_identity();
    v_known iu_outbox.epoch;
    v_epoch text := p_epoch;
BEGIN
    SELECT * INTO STRICT v_known FROM iu_outbox.epoch AS e WHERE e.epoch = p_epoch;
    IF v_known.database_oid <> v_here.database_oid OR v_known.system_identifier <> v_here.system_identifier
       OR v_known.timeline <> v_here.timeline THEN
        v_epoch := pg_catalog.substr(pg_catalog.gen_random_uuid()::text, 1, 8);
        INSERT INTO iu_outbox.epoch (epoch, after_position, system_identifier, timeline, database_oid)
        VALUES (v_epoch, p_position, v_here.system_identifier, v_here.timeline, v_here.database_oid);
        UPDATE iu_outbox.emission_counter SET epoch = v_epoch;
    ELSIF (v_known.system_identifier IS NULL AND v_here.system_identifier IS NOT NULL)
       OR (v_known.timeline IS NULL AND v_here.timeline IS NOT NULL) OR v_known.database_oid IS NULL THEN
        UPDATE iu_outbox.epoch AS e
        SET system_identifier = COALESCE(e.system_identifier, v_here.system_identifier),
            timeline = COALESCE(e.timeline, v_here.timeline), database_oid = v_here.database_oid
        WHERE e.epoch = p_epoch;
    END IF;
    RETURN v_epoch;
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
    IF NOT EXISTS (SELECT FROM public.event_type_registry AS r
                   WHERE r.event_type = 'iu.template.instance_auto_composed' AND r.active) THEN
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
                   'iu.template.instance_auto_composed', iu_outbox.payload(w.event, v_whole)) END
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

-- Returns whether notifications carry whole events, by the setting notify-payload; what is not "event" means no.
-- Call it in a statement of its own, after the counter row is locked: set_setting waits for that lock, so that no
-- notification carries an event any more once it has returned.
CREATE OR REPLACE FUNCTION iu_outbox.payload_whole() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT NOT EXISTS (SELECT FROM iu_outbox.setting AS s WHERE s.name = 'notify-payload' AND s.value <> 'event')
$$;

-- Returns an event as a NOTIFY payload. p_whole: the event if it is under 7900 bytes, else with the ids alone and
-- truncated: true. Not p_whole: an object that has only its cursor.
DROP FUNCTION IF EXISTS iu_outbox.payload(jsonb);
CREATE OR REPLACE FUNCTION iu_outbox.payload(p_event jsonb, p_whole boolean) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_whole IS NOT TRUE THEN pg_catalog.jsonb_build_object('cursor', p_event -> 'cursor')::text
        WHEN pg_catalog.octet_length(p_event::text) < 7900 THEN p_event::text
        ELSE (p_event || pg_catalog.jsonb_build_object('data', pg_catalog.jsonb_build_object(
            'instance_collection_id', p_event -> 'data' -> 'instance_collection_id',
            'template_collection_id', p_event -> 'data' -> 'template_collection_id',
            'event_id', p_event -> 'data' -> 'event_id',
            'idempotency_key', p_event -> 'data' -> 'idempotency_key',
            'truncated', true)))::text END
$$;
