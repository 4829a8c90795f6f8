-- Returns the type of the events that announce instances. It is their channel, too, and their key in the registry.
CREATE OR REPLACE FUNCTION iu_outbox.event_type() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'iu.template.instance_auto_composed'
$$;

-- Returns whether emissions may be announced: the registry has their type, and it is active.
CREATE OR REPLACE FUNCTION iu_outbox.announcing() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM public.event_type_registry AS r WHERE r.event_type = iu_outbox.event_type() AND r.active)
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
        'type', iu_outbox.event_type(),
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
