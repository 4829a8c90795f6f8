-- The relay's half of the hand-off from the outbox to River, and what the ledger notes of it.

-- Takes up to p_limit rows out of the outbox, lowest id first, each the first of its idempotency key, and with each
-- one the later rows of its key (merged: how many), which its job stands for. later: available_at is to come. Rows whose
-- ids are in p_without stay, and so do all but those in p_only, unless that is NULL.
-- A row whose forerunner another relay holds waits for that one's commit: so the lowest id wins, and no two relays
-- insert the job of one key at a time. The ledger notes what was claimed; River is told to fetch.
-- Locks outbox rows; skips those that are locked. The commit waits for no disk: rows and jobs are lost together, and so
-- the rows are there again; nothing is told of a job before a later commit, its fetch, has brought this one to the disk.
-- An outbox that a vacuum found empty counts as empty until it is analysed, however full it gets. So nothing here is left
-- to estimates: keys are looked up row by row (OFFSET 0; id + 0, for which the primary key is no use), rows are deleted
-- by a list of ids, and the settings leave no way to begin but the primary key, in its order.
DROP FUNCTION IF EXISTS iu_outbox.claim(integer);
CREATE OR REPLACE FUNCTION iu_outbox.claim(p_limit integer, p_without bigint[] DEFAULT '{}', p_only bigint[] DEFAULT NULL)
RETURNS TABLE (id bigint, event_id uuid, event_type text, template_collection_id uuid, instance_key_suffix text,
               emit_mode text, actor text, note text, priority smallint, available_at timestamptz,
               trace_context jsonb, idempotency_key text, created_at timestamptz, later boolean, merged integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_catalog.set_config('iu_outbox.claiming', 'on', true);
    RETURN QUERY
    WITH first AS MATERIALIZED (
        SELECT e.id, e.event_id, e.idempotency_key
        FROM iu_outbox.event AS e
        WHERE NOT EXISTS (
            SELECT FROM iu_outbox.event AS o
            WHERE o.event_id = e.event_id AND o.idempotency_key = e.idempotency_key AND o.id + 0 < e.id
            OFFSET 0)
          AND e.id <> ALL (p_without) AND (p_only IS NULL OR e.id = ANY (p_only))
        ORDER BY e.id
        LIMIT p_limit
        FOR UPDATE OF e SKIP LOCKED
    ), same_key AS MATERIALIZED (
        SELECT f.id AS first_id, s.id
        FROM first AS f
        CROSS JOIN LATERAL (
            SELECT o.id FROM iu_outbox.event AS o
            WHERE o.event_id = f.event_id AND o.idempotency_key = f.idempotency_key AND o.id + 0 > f.id
            FOR UPDATE SKIP LOCKED) AS s
    ), dropped AS (
        DELETE FROM iu_outbox.event AS e WHERE e.id = ANY (ARRAY(SELECT s.id FROM same_key AS s)) RETURNING e.id
    ), counted AS (
        SELECT s.first_id, pg_catalog.count(*)::integer AS merged FROM same_key AS s GROUP BY s.first_id
    ), taken AS (
        DELETE FROM iu_outbox.event AS e WHERE e.id = ANY (ARRAY(SELECT f.id FROM first AS f))
        RETURNING e.id, e.event_id, e.event_type, e.template_collection_id, e.instance_key_suffix, e.emit_mode, e.actor,
                  e.note, e.priority, e.available_at, e.trace_context, e.idempotency_key, e.created_at,
                  -- Not now(): this transaction may have begun before the one that inserted the row.
                  e.available_at > pg_catalog.clock_timestamp() AS later
    ), noted AS (
        INSERT INTO iu_outbox.claimed (from_outbox, events, keys)
        SELECT true, pg_catalog.count(*) + (SELECT pg_catalog.count(*) FROM dropped),
               pg_catalog.array_agg(t.idempotency_key::uuid)
        FROM taken AS t
        HAVING pg_catalog.count(*) > 0
    )
    SELECT t.*, COALESCE(c.merged, 0)
    FROM taken AS t LEFT JOIN counted AS c ON c.first_id = t.id
    ORDER BY t.id;
    IF FOUND THEN
        PERFORM pg_catalog.pg_notify('iu_river.river_insert', '{"queue": "events"}');
        PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
    END IF;
    PERFORM pg_catalog.set_config('iu_outbox.claiming', 'off', true);
END
$$;

-- Reports whether every session that speaks UTF-8 can read a text; in a database of another encoding not all are.
CREATE OR REPLACE FUNCTION iu_outbox.readable(p_text text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_catalog.convert_to(p_text, 'UTF8');
    RETURN true;
EXCEPTION WHEN data_exception THEN
    RETURN false;
END
$$;

-- Returns a text of a dead letter's event; one that no session can read is kept byte by byte, under hex.
CREATE OR REPLACE FUNCTION iu_outbox.event_text(p_event jsonb, p_key text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT COALESCE(pg_catalog.convert_from(pg_catalog.decode(p_event -> 'hex' ->> p_key, 'hex'), pg_catalog.getdatabaseencoding()),
                    p_event ->> p_key)
$$;

-- Makes a dead letter of an outbox row that the relay cannot make a job of, with the reason; returns whether the row was there.
-- The texts that no session can read are in the event with question marks, and whole as bytes, under hex. The ledger
-- notes that it was claimed. Locks the row; skips one that is locked.
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
    FOREACH v_key IN ARRAY ARRAY['event_type', 'instance_key_suffix', 'emit_mode', 'actor', 'note', 'trace_context'] LOOP
        v_text := v_event ->> v_key;
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
    -- Its number is one that a job might have had.
    INSERT INTO iu_outbox.dead_letter (job_id, status, detail, event_id, idempotency_key, event, queue, attempts)
    VALUES (pg_catalog.nextval('iu_river.river_job_id_seq'), 'error', p_reason, v_row.event_id, v_row.idempotency_key, v_event,
            'events', 0);
    RETURN true;
END
$$;

-- Notes in the ledger the idempotency keys of jobs that this transaction inserts without outbox rows.
CREATE OR REPLACE FUNCTION iu_outbox.note_jobs(p_keys text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO iu_outbox.claimed (from_outbox, events, keys)
    SELECT false, pg_catalog.count(*), pg_catalog.array_agg(k.key::uuid)
    FROM pg_catalog.unnest(p_keys) AS k (key)
    HAVING pg_catalog.count(*) > 0
$$;

-- Notes rows that leave the outbox by other hands than the relay's: nobody else knows that they were there.
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
