-- Composing in sets: the instances of many events of one template, a statement per table.

-- Returns a UUID version 7 (RFC 9562) whose first 12 random bits are a fraction of its millisecond (method 3 there). Ids in the
-- order of time fill the pages of an index one after the other, where random ones touch all of them and split them in half.
CREATE OR REPLACE FUNCTION iu_outbox.uuid7() RETURNS uuid
LANGUAGE sql VOLATILE AS $$
    SELECT (pg_catalog.overlay(
                pg_catalog.lpad(pg_catalog.to_hex(pg_catalog.floor(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()) * 4096000)::bigint), 15, '0'),
                '7', 13, 0)
            || pg_catalog.substr(pg_catalog.gen_random_uuid()::text, 20))::uuid
$$;

-- Returns a digest of what a function does: its body, and what it runs with.
CREATE OR REPLACE FUNCTION iu_outbox.body_digest(p_function oid) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT pg_catalog.md5(pg_catalog.concat_ws('|', p.prosrc, l.lanname, p.prosecdef, p.provolatile, p.proisstrict, p.proconfig::text))
    FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
    WHERE p.oid = p_function
$$;

-- Returns why instances cannot be composed in sets; NULL: they can. compose_set does what five functions of iu-core do. So
-- these must be the ones that this program created, and their tables must be the owner's to write. To allow another body is
-- to say that compose_set leaves the same rows and statuses.
CREATE OR REPLACE FUNCTION iu_outbox.set_obstacle() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN f.names IS NOT NULL THEN 'iu-core has its own ' || f.names
        WHEN t.names IS NOT NULL THEN pg_catalog.format('role %I may not write %s', CURRENT_USER, t.names) END
    FROM (
        SELECT pg_catalog.string_agg(k.name, ', ' ORDER BY k.name) AS names
        FROM (VALUES
            ('fn_iu_composer_enabled', '()', ARRAY['871eaf2a747decfce98d4a2c3a03e054']),
            ('fn_iu_collection_digest', '(uuid)', ARRAY['61fa380e52ffd5af750fa11a0960a4e5']),
            ('fn_iu_compose', '(text,text,uuid[],text,text)', ARRAY['d47c8afb3d8a644a0cd5f7a0539bd3b0', '38317e396b3e73e89526305e922b69ad']),
            ('fn_iu_collection_record_template_instance', '(uuid,uuid,text,text)', ARRAY['2e894ea1932fdd673503d2d7ac46471e']),
            ('fn_iu_auto_instantiate_from_event', '(uuid,text,uuid,text,text,text,text)', ARRAY['3497b49a296e3f2539fd579f8f2f15c9'])
        ) AS k (name, arguments, bodies)
        LEFT JOIN pg_catalog.pg_proc AS p ON p.oid = pg_catalog.to_regprocedure('public.' || k.name || k.arguments)
        WHERE (iu_outbox.body_digest(p.oid) = ANY (k.bodies)) IS NOT TRUE) AS f,
        (SELECT pg_catalog.string_agg(n.name, ', ' ORDER BY n.name) AS names
         FROM pg_catalog.unnest(ARRAY['public.iu_piece_collection', 'public.iu_piece_membership',
             'public.iu_collection_template_instance_lineage', 'public.iu_auto_instantiate_event_log']) AS n (name)
         WHERE NOT pg_catalog.has_table_privilege(n.name, 'SELECT') OR NOT pg_catalog.has_table_privilege(n.name, 'INSERT')) AS t
$$;

-- The type of an event that a batch composes: n is its number in the batch, id the id that its instance gets if it is
-- composed in a set. It has no rows itself.
CREATE OR REPLACE VIEW iu_outbox.batch_event AS
SELECT 0 AS n, NULL::uuid AS event_id, ''::text AS event_type, NULL::uuid AS template_id, ''::text AS suffix, ''::text AS emit_mode,
       ''::text AS actor, ''::text AS note, ''::text AS traceparent, ''::text AS idempotency_key, NULL::uuid AS id
WHERE false;

-- Composes instances of one template as fn_iu_auto_instantiate_from_event does, for those events whose outcome is sure to be
-- instantiated, and returns its result for each. The others are set aside, and get no row: whatever that function would
-- refuse, replay or wait for, and templates of more than 100 pieces. No suffix may occur twice.
-- Locks, in the order of the events, which is that of idempotency keys, each suffix by a try; then what foreign keys refer to
-- FOR KEY SHARE, by a short wait. Where row security would hide rows it raises.
CREATE OR REPLACE FUNCTION iu_outbox.compose_set(p_template_id uuid, p_events iu_outbox.batch_event[])
RETURNS TABLE (n integer, result jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off SET lock_timeout = '250ms' SET row_security = off AS $$
DECLARE
    v_live_open boolean := iu_outbox.gate_open('iu_core.auto_instantiate_enabled');
    v_title text;
    v_version integer;
    v_digest text;
    v_pieces uuid[];
    v_events iu_outbox.batch_event[];
    v_new uuid[];
BEGIN
    SELECT CASE WHEN c.title ~ '[^[:space:]]' THEN c.title ELSE c.collection_key END,
           (SELECT v.version FROM public.iu_collection_template_version AS v
            WHERE v.collection_id = c.id ORDER BY v.version DESC LIMIT 1),
           ARRAY(SELECT m.piece_id FROM public.iu_piece_membership AS m
                 WHERE m.collection_id = c.id AND m.is_active ORDER BY m.position, m.piece_id LIMIT 101),
           public.fn_iu_collection_digest(c.id)
    INTO v_title, v_version, v_pieces, v_digest
    FROM public.iu_piece_collection AS c
    JOIN public.iu_collection_template_registry AS r ON r.collection_id = c.id
    WHERE c.id = p_template_id AND r.is_template AND public.fn_iu_composer_enabled();
    IF NOT FOUND OR pg_catalog.cardinality(v_pieces) NOT BETWEEN 1 AND 100 THEN
        RETURN;
    END IF;

    -- OFFSET 0: no lock is tried for an event that the other conditions leave out.
    SELECT pg_catalog.array_agg(ROW(l.n, l.event_id, l.event_type, l.template_id, l.suffix, l.emit_mode, l.actor, l.note, l.traceparent,
                                    l.idempotency_key, iu_outbox.uuid7())::iu_outbox.batch_event)
    INTO v_events
    FROM (
        SELECT u.* FROM pg_catalog.unnest(p_events) AS u
        WHERE u.event_id IS NOT NULL AND u.event_type ~ '[^[:space:]]' AND u.suffix ~ '[^[:space:]]'
          AND pg_catalog.char_length(u.suffix) <= 200 AND u.actor ~ '[^[:space:]]'
          AND (u.emit_mode = 'dry_run' OR u.emit_mode = 'live' AND v_live_open)
        ORDER BY u.idempotency_key
        OFFSET 0) AS l
    WHERE pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('iu_core.auto_instantiate:' || l.suffix, 0));

    -- A statement that begins now sees what others committed who had these locks. What is in the log is looked up row by
    -- row: an anti-join could read all of it.
    WITH new AS (
        INSERT INTO public.iu_piece_collection AS c (id, collection_key, title, created_by, note)
        SELECT e.id, 'tpl-inst:auto:' || e.suffix, v_title, e.actor, e.note
        FROM pg_catalog.unnest(v_events) AS e
        WHERE (SELECT true FROM public.iu_auto_instantiate_event_log AS l WHERE l.idempotency_key = e.idempotency_key) IS NULL
        ON CONFLICT (collection_key) DO NOTHING
        RETURNING c.id
    )
    SELECT pg_catalog.array_agg(w.id) INTO v_new FROM new AS w;
    IF v_new IS NULL THEN
        RETURN;
    ELSIF pg_catalog.cardinality(v_new) < pg_catalog.cardinality(v_events) THEN
        v_events := ARRAY(SELECT e FROM pg_catalog.unnest(v_events) AS e WHERE e.id = ANY (v_new));
        IF pg_catalog.cardinality(v_new) <> pg_catalog.cardinality(v_events) THEN
            RAISE EXCEPTION 'a trigger of public.iu_piece_collection changes ids' USING ERRCODE = 'IU001';
        END IF;
    END IF;

    INSERT INTO public.iu_piece_membership (collection_id, piece_id, position)
    SELECT i.id, p.id, p.position
    FROM pg_catalog.unnest(v_new) AS i (id) CROSS JOIN pg_catalog.unnest(v_pieces) WITH ORDINALITY AS p (id, position);

    INSERT INTO public.iu_collection_template_instance_lineage
        (instance_collection_id, template_collection_id, template_version, template_digest, recorded_by, note)
    SELECT e.id, p_template_id, v_version, v_digest, e.actor, e.note FROM pg_catalog.unnest(v_events) AS e;

    PERFORM pg_catalog.set_config('iu_outbox.traceparents', COALESCE((
        SELECT pg_catalog.jsonb_object_agg(e.idempotency_key, e.traceparent)::text
        FROM pg_catalog.unnest(v_events) AS e WHERE e.traceparent <> ''), '{}'), true);
    INSERT INTO public.iu_auto_instantiate_event_log
        (instance_collection_id, template_collection_id, event_id, event_type, idempotency_key, emit_mode, triggered_by)
    SELECT e.id, p_template_id, e.event_id, e.event_type, e.idempotency_key, e.emit_mode, e.actor FROM pg_catalog.unnest(v_events) AS e;
    PERFORM pg_catalog.set_config('iu_outbox.traceparents', '', true);

    RETURN QUERY
    SELECT e.n, pg_catalog.jsonb_build_object(
        'status', 'instantiated', 'instance_collection_id', e.id, 'instance_key', 'tpl-inst:auto:' || e.suffix,
        'piece_count', pg_catalog.cardinality(v_pieces), 'idempotency_key', e.idempotency_key)
    FROM pg_catalog.unnest(v_events) AS e;
END
$$;
