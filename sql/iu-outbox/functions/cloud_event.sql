-- Returns the type of the events that announce instances. It is also their channel, and their key in the registry.
CREATE OR REPLACE FUNCTION iu_outbox.event_type() RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT 'iu.template.instance_auto_composed'
$$;

-- Returns whether emissions may be announced: the registry has their type, and it is active.
CREATE OR REPLACE FUNCTION iu_outbox.announcing() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM public.event_type_registry AS r WHERE r.event_type = iu_outbox.event_type() AND r.active);
END
$$;

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

-- Returns the CloudEvent that announces an instance, without position and cursor. p_trace: the trace that the emission was
-- written with, a traceparent or one with its tracestate after a space; what is not valid by W3C is left out, and so is a
-- tracestate without a valid traceparent. An instance that is not in the log has an event with its id alone.
-- A table of one row, so that it is planned with the statement that joins it. Lookups are by primary keys alone (OFFSET 0).
DROP FUNCTION IF EXISTS iu_outbox.composed_event(public.iu_auto_instantiate_event_log);
CREATE OR REPLACE FUNCTION iu_outbox.composed_event(p_instance_collection_id uuid, p_trace text) RETURNS TABLE (event jsonb)
LANGUAGE sql STABLE AS $$
    SELECT COALESCE((
        SELECT pg_catalog.jsonb_build_object(
            'specversion', '1.0',
            'id', l.instance_collection_id,
            'source', (SELECT iu_outbox.event_source()),
            'type', iu_outbox.event_type(),
            'subject', i.collection_key,
            'time', iu_outbox.rfc3339(l.created_at),
            'datacontenttype', 'application/json',
            'data', pg_catalog.jsonb_build_object(
                'instance_collection_id', l.instance_collection_id,
                'instance_key', i.collection_key,
                'template_collection_id', l.template_collection_id,
                'template_key', (SELECT t.collection_key FROM public.iu_piece_collection AS t WHERE t.id = l.template_collection_id),
                'event_id', l.event_id,
                'event_type', l.event_type,
                'idempotency_key', l.idempotency_key,
                'emit_mode', l.emit_mode,
                'actor', l.triggered_by,
                'piece_count', (SELECT pg_catalog.count(*) FROM public.iu_piece_membership AS m
                                WHERE m.collection_id = l.instance_collection_id AND m.is_active)))
        FROM public.iu_auto_instantiate_event_log AS l
        CROSS JOIN LATERAL (
            SELECT i.collection_key FROM public.iu_piece_collection AS i WHERE i.id = l.instance_collection_id OFFSET 0) AS i
        WHERE l.instance_collection_id = p_instance_collection_id
    ), pg_catalog.jsonb_build_object(
        'specversion', '1.0', 'id', p_instance_collection_id, 'source', iu_outbox.event_source(), 'type', iu_outbox.event_type(),
        'data', pg_catalog.jsonb_build_object('instance_collection_id', p_instance_collection_id)))
    || CASE WHEN p_trace ~ '^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}( |$)'
            THEN pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                'traceparent', pg_catalog.left(p_trace, 55), 'tracestate', iu_outbox.tracestate(pg_catalog.substr(p_trace, 57))))
            ELSE '{}' END
$$;

-- Emissions with their events: the event of one that has no position yet is not stored, and is built here.
CREATE OR REPLACE VIEW iu_outbox.emission_event WITH (security_invoker = true) AS
SELECT e.id, e.position, e.instance_collection_id, e.created_at, e.emitted_at, e.rolled_back_at,
       COALESCE(e.event, (SELECT c.event FROM iu_outbox.composed_event(e.instance_collection_id, e.trace) AS c)) AS event
FROM iu_outbox.emission AS e;
