-- 033: instances composed from templates because an event said so. Additive: one table, two views, two
-- functions, one config row (a gate, closed), one event type. No route, and nothing that exists is changed.
BEGIN;

-- Refuses a second run, and names everything that 033 stands on and does not find.
DO $$
DECLARE
    v_missing text;
BEGIN
    IF pg_catalog.to_regclass('public.iu_auto_instantiate_event_log') IS NOT NULL THEN
        RAISE EXCEPTION '033 is here already: table public.iu_auto_instantiate_event_log exists'
            USING ERRCODE = 'duplicate_table';
    END IF;

    SELECT pg_catalog.string_agg(m.what, '; ' ORDER BY m.what) INTO v_missing
    FROM (
        SELECT 'column public.' || n.tab || '.' || n.col || COALESCE(' (' || n.typ || ')', '') AS what
        FROM (VALUES
            ('dot_config', 'key', NULL), ('dot_config', 'value', NULL), ('dot_config', 'description', NULL),
            ('event_type_registry', 'event_type', NULL), ('event_type_registry', 'event_stream', NULL),
            ('event_type_registry', 'delivery_lane', NULL), ('event_type_registry', 'active', 'boolean'),
            ('event_type_registry', 'description', NULL),
            ('iu_piece_collection', 'id', 'uuid'), ('iu_piece_collection', 'collection_key', NULL),
            ('iu_piece_collection', 'title', NULL),
            ('iu_piece_membership', 'collection_id', 'uuid'), ('iu_piece_membership', 'piece_id', 'uuid'),
            ('iu_piece_membership', 'position', NULL), ('iu_piece_membership', 'is_active', 'boolean'),
            ('iu_collection_template_registry', 'collection_id', 'uuid'),
            ('iu_collection_template_registry', 'is_template', 'boolean'),
            ('iu_collection_template_version', 'collection_id', 'uuid'),
            ('iu_collection_template_instance_lineage', 'instance_collection_id', 'uuid'),
            ('iu_collection_template_instance_lineage', 'template_collection_id', 'uuid')
        ) AS n (tab, col, typ)
        WHERE NOT EXISTS (
            SELECT FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = pg_catalog.to_regclass('public.' || n.tab)
              AND a.attname = n.col AND a.attnum > 0 AND NOT a.attisdropped
              AND COALESCE(a.atttypid = n.typ::pg_catalog.regtype, true))
        UNION ALL
        SELECT 'function public.' || n.signature || ' returning ' || n.returns
        FROM (VALUES
            ('fn_iu_composer_enabled()', 'boolean'),
            ('fn_iu_collection_digest(uuid)', 'text'),
            ('fn_iu_compose(text, text, uuid[], text, text)', 'jsonb'),
            ('fn_iu_collection_record_template_instance(uuid, uuid, text, text)', 'jsonb')
        ) AS n (signature, returns)
        WHERE NOT EXISTS (
            SELECT FROM pg_catalog.pg_proc AS p
            WHERE p.oid = pg_catalog.to_regprocedure('public.' || n.signature)
              AND p.prokind = 'f' AND NOT p.proretset AND p.prorettype = n.returns::pg_catalog.regtype)
    ) AS m;
    IF v_missing IS NOT NULL THEN
        RAISE EXCEPTION '033 cannot be installed, this iu-core lacks: %', v_missing
            USING ERRCODE = 'undefined_object',
                  HINT = 'In a database without an iu-core, run 032_iu_core_baseline.sql first.';
    END IF;
END
$$;

CREATE TABLE public.iu_auto_instantiate_event_log (
    instance_collection_id uuid PRIMARY KEY
        REFERENCES public.iu_collection_template_instance_lineage (instance_collection_id) ON DELETE CASCADE,
    template_collection_id uuid NOT NULL REFERENCES public.iu_piece_collection (id),
    event_id               uuid NOT NULL,
    event_type             text NOT NULL,
    idempotency_key        text NOT NULL UNIQUE,
    emit_mode              text NOT NULL CHECK (emit_mode IN ('dry_run', 'live')),
    triggered_by           text NOT NULL,
    created_at             timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE public.iu_auto_instantiate_event_log IS
    'One row for each instance composed from an event; its idempotency key is used up for good.';
CREATE INDEX iu_auto_instantiate_event_log_event_id_idx
    ON public.iu_auto_instantiate_event_log (event_id);
CREATE INDEX iu_auto_instantiate_event_log_triggered_by_idx
    ON public.iu_auto_instantiate_event_log (triggered_by);
CREATE INDEX iu_auto_instantiate_event_log_template_collection_id_idx
    ON public.iu_auto_instantiate_event_log (template_collection_id);

-- A row for each log row. Digests are those of now: a template that was edited since no longer matches.
CREATE VIEW public.v_iu_auto_instantiate_event_log AS
SELECT l.instance_collection_id,
       i.collection_key AS instance_key,
       i.title AS instance_title,
       l.template_collection_id,
       t.collection_key AS template_key,
       t.title AS template_title,
       l.event_id,
       l.event_type,
       l.idempotency_key,
       l.emit_mode,
       l.triggered_by,
       l.created_at,
       d.template_digest,
       d.instance_digest,
       d.template_digest = d.instance_digest AS digest_match
FROM public.iu_auto_instantiate_event_log AS l
JOIN public.iu_piece_collection AS i ON i.id = l.instance_collection_id
JOIN public.iu_piece_collection AS t ON t.id = l.template_collection_id
CROSS JOIN LATERAL (
    -- OFFSET 0: each digest is computed once a row, not once more for digest_match.
    SELECT public.fn_iu_collection_digest(l.template_collection_id) AS template_digest,
           public.fn_iu_collection_digest(l.instance_collection_id) AS instance_digest
    OFFSET 0
) AS d;

CREATE VIEW public.v_iu_auto_instantiate_event_summary AS
SELECT s.template_collection_id,
       t.collection_key AS template_key,
       t.title AS template_title,
       s.emit_mode,
       s.instances_total,
       s.instances_last_hour,
       s.instances_last_day,
       s.first_at,
       s.last_at
FROM (
    SELECT l.template_collection_id,
           l.emit_mode,
           pg_catalog.count(*) AS instances_total,
           pg_catalog.count(*) FILTER (WHERE l.created_at > pg_catalog.now() - interval '1 hour') AS instances_last_hour,
           pg_catalog.count(*) FILTER (WHERE l.created_at > pg_catalog.now() - interval '1 day') AS instances_last_day,
           pg_catalog.min(l.created_at) AS first_at,
           pg_catalog.max(l.created_at) AS last_at
    FROM public.iu_auto_instantiate_event_log AS l
    GROUP BY l.template_collection_id, l.emit_mode
) AS s
JOIN public.iu_piece_collection AS t ON t.id = s.template_collection_id;

-- Composes one instance of a template for one event and answers {"status": ...}; p_note alone may be NULL.
-- Raises nothing that a caller can cause at READ COMMITTED. Locks, in this order: the suffix (advisory, to
-- the end of the transaction, so that calls for one idempotency key or one instance key take turns); the
-- log row of a replay FOR KEY SHARE (waits for a rollback of it); then what fn_iu_compose and
-- fn_iu_collection_record_template_instance lock. Sequential scans are off: a plan that a session made
-- on small tables, those of foreign keys included, would go on reading all of them while they grow. Where row security
-- would hide rows it raises: a gate that is hidden is not closed.
CREATE FUNCTION public.fn_iu_auto_instantiate_from_event(
    p_event_id uuid,
    p_event_type text,
    p_template_collection_id uuid,
    p_instance_key_suffix text,
    p_emit_mode text,
    p_actor text,
    p_note text DEFAULT NULL)
RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
SET row_security = off SET enable_seqscan = off SET jit = off AS $$
DECLARE
    v_detail text;
    v_live_open boolean;
    v_composer_open boolean;
    v_found boolean;
    v_is_template boolean;
    v_title text;
    v_idempotency_key text;
    v_instance_key text;
    v_instance_id uuid;
    v_piece_ids uuid[];
    v_answer jsonb;
BEGIN
    v_detail := CASE
        WHEN p_event_id IS NULL THEN 'p_event_id must not be null'
        WHEN (p_event_type ~ '[^[:space:]]') IS NOT TRUE THEN 'p_event_type must not be null or blank'
        WHEN p_template_collection_id IS NULL THEN 'p_template_collection_id must not be null'
        WHEN (p_instance_key_suffix ~ '[^[:space:]]') IS NOT TRUE THEN 'p_instance_key_suffix must not be null or blank'
        WHEN pg_catalog.char_length(p_instance_key_suffix) > 200
            THEN 'p_instance_key_suffix must not be longer than 200 characters'
        WHEN (p_emit_mode IN ('dry_run', 'live')) IS NOT TRUE THEN 'p_emit_mode must be dry_run or live'
        WHEN (p_actor ~ '[^[:space:]]') IS NOT TRUE THEN 'p_actor must not be null or blank'
    END;
    IF v_detail IS NOT NULL THEN
        RETURN pg_catalog.jsonb_build_object('status', 'invalid_input', 'detail', v_detail);
    END IF;

    SELECT EXISTS (SELECT FROM public.dot_config AS g
                   WHERE g.key = 'iu_core.auto_instantiate_enabled'
                     AND pg_catalog.lower(pg_catalog.btrim(g.value)) = 'true'),
           public.fn_iu_composer_enabled(),
           c.id IS NOT NULL,
           r.is_template,
           CASE WHEN c.title ~ '[^[:space:]]' THEN c.title ELSE c.collection_key END
    INTO v_live_open, v_composer_open, v_found, v_is_template, v_title
    FROM (SELECT p_template_collection_id AS id) AS a
    LEFT JOIN public.iu_piece_collection AS c ON c.id = a.id
    LEFT JOIN public.iu_collection_template_registry AS r ON r.collection_id = a.id;
    CASE
        WHEN p_emit_mode = 'live' AND NOT v_live_open THEN RETURN '{"status": "live_gate_closed"}';
        WHEN v_composer_open IS NOT TRUE THEN RETURN '{"status": "composer_disabled"}';
        WHEN NOT v_found THEN RETURN '{"status": "template_not_found"}';
        WHEN v_is_template IS NOT TRUE THEN RETURN '{"status": "template_not_marked"}';
        ELSE NULL;
    END CASE;

    v_idempotency_key := pg_catalog.md5(
        p_event_id::text || ':' || p_template_collection_id::text || ':' || p_instance_key_suffix);
    v_instance_key := 'tpl-inst:auto:' || p_instance_key_suffix;
    PERFORM pg_catalog.pg_advisory_xact_lock(
        pg_catalog.hashtextextended('iu_core.auto_instantiate:' || p_instance_key_suffix, 0));

    SELECT l.instance_collection_id INTO v_instance_id
    FROM public.iu_auto_instantiate_event_log AS l
    WHERE l.idempotency_key = v_idempotency_key
    FOR KEY SHARE;
    IF FOUND THEN
        RETURN pg_catalog.jsonb_build_object(
            'status', 'idempotent_replay', 'instance_collection_id', v_instance_id,
            'instance_key', v_instance_key, 'idempotency_key', v_idempotency_key);
    END IF;

    SELECT pg_catalog.array_agg(m.piece_id ORDER BY m.position, m.piece_id) INTO v_piece_ids
    FROM public.iu_piece_membership AS m
    WHERE m.collection_id = p_template_collection_id AND m.is_active;
    IF v_piece_ids IS NULL THEN
        RETURN '{"status": "template_empty"}';
    END IF;

    v_answer := public.fn_iu_compose(v_instance_key, v_title, v_piece_ids, p_actor, p_note);
    CASE v_answer ->> 'status'
        WHEN 'composed' THEN v_instance_id := v_answer ->> 'collection_id';
        WHEN 'key_conflict' THEN
            RETURN pg_catalog.jsonb_build_object(
                'status', 'instance_key_conflict', 'instance_key', v_instance_key,
                'detail', 'another event or collection owns ' || v_instance_key);
        WHEN 'composer_disabled' THEN RETURN '{"status": "composer_disabled"}';
        WHEN 'invalid_input' THEN
            RETURN pg_catalog.jsonb_build_object('status', 'invalid_input', 'detail', v_answer -> 'detail');
        ELSE
            RAISE EXCEPTION 'fn_iu_compose answered %, which fn_iu_auto_instantiate_from_event does not know', v_answer
                USING ERRCODE = 'IU001';
    END CASE;

    v_answer := public.fn_iu_collection_record_template_instance(
        p_template_collection_id, v_instance_id, p_actor, p_note);
    IF (v_answer ->> 'status') IS DISTINCT FROM 'recorded' THEN
        RAISE EXCEPTION 'fn_iu_collection_record_template_instance answered %, not recorded', v_answer
            USING ERRCODE = 'IU001';
    END IF;

    INSERT INTO public.iu_auto_instantiate_event_log
        (instance_collection_id, template_collection_id, event_id, event_type, idempotency_key, emit_mode, triggered_by)
    VALUES (v_instance_id, p_template_collection_id, p_event_id, p_event_type, v_idempotency_key, p_emit_mode, p_actor);
    RETURN pg_catalog.jsonb_build_object(
        'status', 'instantiated', 'instance_collection_id', v_instance_id, 'instance_key', v_instance_key,
        'piece_count', pg_catalog.cardinality(v_piece_ids), 'idempotency_key', v_idempotency_key);
END
$$;
REVOKE EXECUTE ON FUNCTION public.fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text) FROM PUBLIC;

-- Rolls back what an actor's events composed: rolled_back, or reported where p_dry_run, with the counts; or
-- blocked with the first 100 uses of its instances elsewhere, and nothing is deleted. A use is any row that
-- refers to an instance, or to its lineage, memberships or log row, whatever its foreign key would do.
-- Locks, unless dry: the actor's log rows in key order, their collections in id order, and what else foreign
-- keys refer to, all FOR UPDATE, so that no use appears between the check and the delete.
CREATE FUNCTION public.fn_iu_auto_instantiate_rollback_by_actor(p_actor text, p_dry_run boolean DEFAULT true)
RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET row_security = off AS $$
DECLARE
    v_ids uuid[];
    v_reference record;
    v_uses text;
    v_blocked_by jsonb;
    v_log bigint;
    v_lineage bigint;
    v_membership bigint;
    v_collection bigint;
BEGIN
    IF p_dry_run IS NULL OR (p_actor ~ '[^[:space:]]') IS NOT TRUE THEN
        RETURN pg_catalog.jsonb_build_object('status', 'invalid_input', 'detail',
            CASE WHEN p_dry_run IS NULL THEN 'p_dry_run must not be null'
                 ELSE 'p_actor must not be null or blank' END);
    END IF;

    IF p_dry_run THEN
        v_ids := ARRAY(SELECT l.instance_collection_id FROM public.iu_auto_instantiate_event_log AS l
                       WHERE l.triggered_by = p_actor);
    ELSE
        v_ids := ARRAY(SELECT l.instance_collection_id FROM public.iu_auto_instantiate_event_log AS l
                       WHERE l.triggered_by = p_actor ORDER BY l.idempotency_key FOR UPDATE);
        PERFORM FROM pg_catalog.unnest(v_ids) AS i (id) JOIN public.iu_piece_collection AS c ON c.id = i.id
        ORDER BY c.id FOR UPDATE OF c;
    END IF;

    -- What may refer to an instance: the columns that iu-core has for it, and every foreign key. id_column
    -- is where the referenced table keeps the instance's id; c and p in the condition are child and parent.
    FOR v_reference IN
        SELECT r.child, r.parent, r.condition,
               pg_catalog.format('%I.%I.%s', n.nspname, t.relname, r.child_columns) AS name,
               CASE r.parent WHEN 'public.iu_piece_collection'::regclass THEN 'id'
                             WHEN 'public.iu_piece_membership'::regclass THEN 'collection_id'
                             ELSE 'instance_collection_id' END AS id_column
        FROM (
            SELECT k.child::regclass, 'public.iu_piece_collection'::regclass, k.child_column,
                   pg_catalog.format('c.%I = p.id', k.child_column)
            FROM (VALUES ('public.iu_collection_template_registry', 'collection_id'),
                         ('public.iu_collection_template_version', 'collection_id'),
                         ('public.iu_collection_template_instance_lineage', 'template_collection_id'),
                         ('public.iu_auto_instantiate_event_log', 'template_collection_id')) AS k (child, child_column)
            UNION
            SELECT f.conrelid::regclass, f.confrelid::regclass,
                   pg_catalog.string_agg(ca.attname::text, '+' ORDER BY k.n),
                   pg_catalog.string_agg(pg_catalog.format('c.%I = p.%I', ca.attname, pa.attname), ' AND ' ORDER BY k.n)
            FROM pg_catalog.pg_constraint AS f
            CROSS JOIN LATERAL pg_catalog.generate_subscripts(f.conkey, 1) AS k (n)
            JOIN pg_catalog.pg_attribute AS ca ON ca.attrelid = f.conrelid AND ca.attnum = f.conkey[k.n]
            JOIN pg_catalog.pg_attribute AS pa ON pa.attrelid = f.confrelid AND pa.attnum = f.confkey[k.n]
            WHERE f.contype = 'f' AND f.conparentid = 0
              AND f.confrelid IN ('public.iu_piece_collection'::regclass,
                                  'public.iu_piece_membership'::regclass,
                                  'public.iu_collection_template_instance_lineage'::regclass,
                                  'public.iu_auto_instantiate_event_log'::regclass)
            GROUP BY f.oid, f.conrelid, f.confrelid
        ) AS r (child, parent, child_columns, condition)
        JOIN pg_catalog.pg_class AS t ON t.oid = r.child
        JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
        WHERE (r.child, r.child_columns) NOT IN (
            ('public.iu_piece_membership'::regclass, 'collection_id'),
            ('public.iu_collection_template_instance_lineage'::regclass, 'instance_collection_id'),
            ('public.iu_auto_instantiate_event_log'::regclass, 'instance_collection_id'))
        ORDER BY r.parent::text, name
    LOOP
        IF NOT p_dry_run AND v_reference.parent IN ('public.iu_piece_membership'::regclass,
                                                    'public.iu_collection_template_instance_lineage'::regclass) THEN
            EXECUTE pg_catalog.format(
                'SELECT FROM pg_catalog.unnest($1) AS i (id) JOIN %s AS p ON p.%I = i.id ORDER BY p.ctid FOR UPDATE OF p',
                v_reference.parent, v_reference.id_column) USING v_ids;
        END IF;
        v_uses := pg_catalog.concat_ws(' UNION ALL ', v_uses, pg_catalog.format(
            'SELECT p.%1$I AS id, %2$L AS used_by FROM pg_catalog.unnest($1) AS i (id) JOIN %3$s AS p ON p.%1$I = i.id WHERE EXISTS (SELECT FROM %4$s AS c WHERE %5$s)',
            v_reference.id_column, v_reference.name, v_reference.parent, v_reference.child, v_reference.condition));
    END LOOP;
    EXECUTE pg_catalog.format(
        'SELECT pg_catalog.jsonb_agg(pg_catalog.to_jsonb(b)) FROM (
             SELECT DISTINCT c.id AS instance_collection_id, c.collection_key AS instance_key, u.used_by
             FROM (%s) AS u JOIN public.iu_piece_collection AS c ON c.id = u.id
             ORDER BY instance_key, used_by LIMIT 100) AS b', v_uses)
    INTO v_blocked_by USING v_ids;

    IF p_dry_run OR v_blocked_by IS NOT NULL THEN
        v_log := pg_catalog.cardinality(v_ids);
        SELECT pg_catalog.count(*) INTO v_lineage
        FROM pg_catalog.unnest(v_ids) AS i (id)
        JOIN public.iu_collection_template_instance_lineage AS t ON t.instance_collection_id = i.id;
        SELECT pg_catalog.count(*) INTO v_membership
        FROM pg_catalog.unnest(v_ids) AS i (id) JOIN public.iu_piece_membership AS t ON t.collection_id = i.id;
        SELECT pg_catalog.count(*) INTO v_collection
        FROM pg_catalog.unnest(v_ids) AS i (id) JOIN public.iu_piece_collection AS t ON t.id = i.id;
    ELSE
        DELETE FROM public.iu_auto_instantiate_event_log AS t
        USING pg_catalog.unnest(v_ids) AS i (id) WHERE t.instance_collection_id = i.id;
        GET DIAGNOSTICS v_log = ROW_COUNT;
        DELETE FROM public.iu_collection_template_instance_lineage AS t
        USING pg_catalog.unnest(v_ids) AS i (id) WHERE t.instance_collection_id = i.id;
        GET DIAGNOSTICS v_lineage = ROW_COUNT;
        DELETE FROM public.iu_piece_membership AS t
        USING pg_catalog.unnest(v_ids) AS i (id) WHERE t.collection_id = i.id;
        GET DIAGNOSTICS v_membership = ROW_COUNT;
        DELETE FROM public.iu_piece_collection AS t
        USING pg_catalog.unnest(v_ids) AS i (id) WHERE t.id = i.id;
        GET DIAGNOSTICS v_collection = ROW_COUNT;
    END IF;

    RETURN pg_catalog.jsonb_build_object(
        'status', CASE WHEN v_blocked_by IS NOT NULL THEN 'blocked' WHEN p_dry_run THEN 'reported' ELSE 'rolled_back' END,
        'actor', p_actor,
        'dry_run', p_dry_run,
        'counts', pg_catalog.jsonb_build_object('event_log', v_log, 'lineage', v_lineage,
                                                'membership', v_membership, 'collection', v_collection))
        || CASE WHEN v_blocked_by IS NULL THEN '{}'
                ELSE pg_catalog.jsonb_build_object('blocked_by', v_blocked_by) END;
END
$$;
REVOKE EXECUTE ON FUNCTION public.fn_iu_auto_instantiate_rollback_by_actor(text, boolean) FROM PUBLIC;

-- All of it is its owner's alone, and no row of it is hidden, whatever default privileges and event triggers did.
DO $$
DECLARE
    v_statement text;
BEGIN
    ALTER TABLE public.iu_auto_instantiate_event_log DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
    FOR v_statement IN
        SELECT DISTINCT pg_catalog.format('REVOKE ALL ON %s FROM %s CASCADE', o.name, COALESCE(pg_catalog.quote_ident(r.rolname), 'PUBLIC'))
        FROM (
            SELECT pg_catalog.format('TABLE public.%I', c.relname) AS name, c.relowner AS owner, c.relacl AS acl
            FROM pg_catalog.pg_class AS c
            WHERE c.relnamespace = 'public'::pg_catalog.regnamespace
              AND c.relname IN ('iu_auto_instantiate_event_log', 'v_iu_auto_instantiate_event_log',
                                'v_iu_auto_instantiate_event_summary')
            UNION ALL
            SELECT 'FUNCTION ' || p.oid::pg_catalog.regprocedure::text, p.proowner, p.proacl
            FROM pg_catalog.pg_proc AS p
            WHERE p.oid IN ('public.fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text)'::pg_catalog.regprocedure,
                            'public.fn_iu_auto_instantiate_rollback_by_actor(text, boolean)'::pg_catalog.regprocedure)
        ) AS o
        CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) AS g
        LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = g.grantee
        WHERE g.grantee <> o.owner
    LOOP
        EXECUTE v_statement;
    END LOOP;
END
$$;

INSERT INTO public.dot_config (key, value, description)
VALUES ('iu_core.auto_instantiate_enabled', 'false', 'Gate: live events compose instances where this is true.')
ON CONFLICT DO NOTHING;

INSERT INTO public.event_type_registry (event_type, event_stream, delivery_lane, active, description)
VALUES ('iu.template.instance_auto_composed', 'update', 'delayed', true,
        'An instance was composed from a template because of an event. Subscribers come and ask: it has no route.')
ON CONFLICT DO NOTHING;

COMMIT;
