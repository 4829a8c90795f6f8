-- 032: what iu-core had before 033, for a database that has no iu-core yet.
-- Where public.iu_piece_collection exists the core is adopted as it is: this file says so and does nothing.
-- Where only other names of the baseline exist it stops and names them.
BEGIN;

DO $baseline$
DECLARE
    v_tables CONSTANT text[] := ARRAY[
        'dot_config', 'event_type_registry', 'event_route', 'iu_piece', 'iu_piece_collection', 'iu_piece_membership',
        'iu_collection_template_registry', 'iu_collection_template_version', 'iu_collection_template_instance_lineage'];
    v_functions CONSTANT text[] := ARRAY[
        'fn_iu_composer_enabled', 'fn_iu_collection_digest', 'fn_iu_compose', 'fn_iu_collection_mark_template',
        'fn_iu_collection_record_template_instance'];
    v_strays text;
    v_name text;
    v_statement text;
BEGIN
IF pg_catalog.to_regclass('public.iu_piece_collection') IS NOT NULL THEN
    RAISE NOTICE 'public.iu_piece_collection exists: this iu-core is adopted as it is, nothing was created';
    RETURN;
END IF;

SELECT pg_catalog.string_agg(s.name, ', ' ORDER BY s.name) INTO v_strays
FROM (
    SELECT 'public.' || c.relname AS name FROM pg_catalog.pg_class AS c
    WHERE c.relnamespace = 'public'::pg_catalog.regnamespace AND c.relname = ANY (v_tables)
    UNION ALL
    SELECT p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc AS p
    WHERE p.pronamespace = 'public'::pg_catalog.regnamespace AND p.proname = ANY (v_functions)
) AS s;
IF v_strays IS NOT NULL THEN
    RAISE EXCEPTION 'public.iu_piece_collection does not exist, but other names of iu-core do: %', v_strays
        USING ERRCODE = 'duplicate_object',
              HINT = 'Restore the missing table if this is an iu-core; otherwise use a database where these names are free.';
END IF;

CREATE TABLE public.dot_config (
    key         text PRIMARY KEY,
    value       text NOT NULL,
    description text,
    updated_by  text,
    updated_at  timestamptz DEFAULT pg_catalog.now()
);

CREATE TABLE public.event_type_registry (
    event_type    text PRIMARY KEY,
    event_stream  text,
    delivery_lane text,
    active        boolean DEFAULT true,
    description   text,
    created_at    timestamptz DEFAULT pg_catalog.now()
);

CREATE TABLE public.event_route (
    route_id   uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    event_type text REFERENCES public.event_type_registry (event_type),
    target     text,
    active     boolean DEFAULT true,
    created_at timestamptz DEFAULT pg_catalog.now()
);
CREATE INDEX event_route_event_type_idx ON public.event_route (event_type);

CREATE TABLE public.iu_piece (
    id         uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    piece_key  text UNIQUE NOT NULL,
    body       jsonb NOT NULL,
    created_by text,
    created_at timestamptz DEFAULT pg_catalog.now()
);

CREATE TABLE public.iu_piece_collection (
    id             uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    collection_key text UNIQUE NOT NULL,
    title          text,
    created_by     text NOT NULL,
    note           text,
    created_at     timestamptz DEFAULT pg_catalog.now()
);
-- D9 tells a baseline that was created here from an adopted one by this comment.
COMMENT ON TABLE public.iu_piece_collection IS 'iu-core baseline 032, created by iuworker';

CREATE TABLE public.iu_piece_membership (
    collection_id uuid REFERENCES public.iu_piece_collection (id),
    piece_id      uuid REFERENCES public.iu_piece (id),
    position      integer,
    is_active     boolean DEFAULT true,
    created_at    timestamptz DEFAULT pg_catalog.now(),
    PRIMARY KEY (collection_id, piece_id),
    UNIQUE (collection_id, position)
);
-- Deleting a piece looks for its memberships.
CREATE INDEX iu_piece_membership_piece_id_idx ON public.iu_piece_membership (piece_id);

CREATE TABLE public.iu_collection_template_registry (
    collection_id uuid PRIMARY KEY REFERENCES public.iu_piece_collection (id),
    is_template   boolean NOT NULL,
    marked_by     text,
    marked_at     timestamptz DEFAULT pg_catalog.now()
);

CREATE TABLE public.iu_collection_template_version (
    collection_id uuid REFERENCES public.iu_piece_collection (id),
    version       integer,
    digest        text,
    recorded_by   text,
    created_at    timestamptz DEFAULT pg_catalog.now(),
    PRIMARY KEY (collection_id, version)
);

CREATE TABLE public.iu_collection_template_instance_lineage (
    instance_collection_id uuid PRIMARY KEY REFERENCES public.iu_piece_collection (id),
    template_collection_id uuid REFERENCES public.iu_piece_collection (id),
    template_version       integer,
    template_digest        text,
    recorded_by            text,
    note                   text,
    created_at             timestamptz DEFAULT pg_catalog.now()
);
-- Deleting a collection looks for its instances.
CREATE INDEX iu_collection_template_instance_lineage_template_idx
    ON public.iu_collection_template_instance_lineage (template_collection_id);

-- Somebody's event trigger may switch row security on for each new table: a gate that is hidden reads as closed.
FOREACH v_name IN ARRAY v_tables LOOP
    EXECUTE pg_catalog.format('ALTER TABLE public.%I DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', v_name);
END LOOP;

INSERT INTO public.dot_config (key, value, description)
VALUES ('iu_core.composer_enabled', 'false', 'Gate: collections may be composed where this is true.');

-- The functions below are PL/pgSQL throughout: its plans are kept for the session, where an SQL function
-- that is not inlined is planned again in every statement that calls it.

-- Answers whether the composer gate is open: lower(btrim(value)) = 'true'. Never NULL: a missing row is closed.
CREATE FUNCTION public.fn_iu_composer_enabled() RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM public.dot_config AS c
                   WHERE c.key = 'iu_core.composer_enabled'
                     AND pg_catalog.lower(pg_catalog.btrim(c.value)) = 'true');
END
$$;

-- Answers a digest over the keys and bodies of the active pieces in position order. Never NULL: an
-- unknown collection answers as an empty one.
CREATE FUNCTION public.fn_iu_collection_digest(p_collection_id uuid) RETURNS text
LANGUAGE plpgsql STABLE AS $$
BEGIN
    -- The key's length goes first and JSON text holds no line break, so that no two lists share a text. A
    -- lookup a piece: a join would read all pieces where there are a few thousand.
    RETURN (
        SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(COALESCE(pg_catalog.string_agg(
                   (SELECT pg_catalog.char_length(p.piece_key) || ':' || p.piece_key || p.body::text
                    FROM public.iu_piece AS p WHERE p.id = m.piece_id),
                   E'\n' ORDER BY m.position, m.piece_id), ''), 'UTF8')), 'hex')
        FROM public.iu_piece_membership AS m
        WHERE m.collection_id = p_collection_id AND m.is_active);
END
$$;

-- Composes a collection of these pieces, at positions 1 to n in the array's order: composed with its id,
-- or composer_disabled, invalid_input (detail names the argument), key_conflict, and nothing is written.
-- Waits for a transaction that inserts or deletes the same key; then locks the pieces FOR KEY SHARE.
CREATE FUNCTION public.fn_iu_compose(
    p_collection_key text,
    p_title text,
    p_piece_ids uuid[],
    p_actor text,
    p_note text DEFAULT NULL)
RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_piece_count integer := pg_catalog.cardinality(p_piece_ids);
    v_open boolean;
    v_known integer;
    v_detail text;
    v_collection_id uuid;
BEGIN
    -- Each known piece is found once, so that null, repeated and unknown ones all show in the count.
    SELECT public.fn_iu_composer_enabled(),
           (SELECT pg_catalog.count(*) FROM public.iu_piece AS p WHERE p.id = ANY (p_piece_ids))
    INTO v_open, v_known;
    IF NOT v_open THEN
        RETURN '{"status": "composer_disabled"}';
    END IF;

    v_detail := CASE
        WHEN (p_collection_key ~ '[^[:space:]]') IS NOT TRUE THEN 'p_collection_key must not be null or blank'
        WHEN (p_title ~ '[^[:space:]]') IS NOT TRUE THEN 'p_title must not be null or blank'
        WHEN (v_piece_count > 0) IS NOT TRUE THEN 'p_piece_ids must not be null or empty'
        WHEN (p_actor ~ '[^[:space:]]') IS NOT TRUE THEN 'p_actor must not be null or blank'
    END;
    IF v_detail IS NULL THEN
        IF v_known <> v_piece_count THEN
            SELECT CASE
                       WHEN u.id IS NULL THEN 'p_piece_ids must not hold a null'
                       WHEN pg_catalog.count(*) > 1 THEN 'p_piece_ids holds piece ' || u.id || ' more than once'
                       ELSE 'p_piece_ids holds the unknown piece ' || u.id
                   END
            INTO STRICT v_detail
            FROM pg_catalog.unnest(p_piece_ids) AS u (id)
            GROUP BY u.id
            HAVING u.id IS NULL OR pg_catalog.count(*) > 1
                OR NOT EXISTS (SELECT FROM public.iu_piece AS p WHERE p.id = u.id)
            ORDER BY u.id NULLS FIRST
            LIMIT 1;
        END IF;
    END IF;
    IF v_detail IS NOT NULL THEN
        RETURN pg_catalog.jsonb_build_object('status', 'invalid_input', 'detail', v_detail);
    END IF;

    -- The id is a UUID version 7, which begins with the milliseconds: ids in the order of time touch few pages of an index.
    INSERT INTO public.iu_piece_collection (id, collection_key, title, created_by, note)
    VALUES ((pg_catalog.lpad(pg_catalog.to_hex(pg_catalog.floor(
                 EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()) * 1000)::bigint), 12, '0')
             || pg_catalog.overlay(pg_catalog.substr(pg_catalog.gen_random_uuid()::text, 14), '7', 2, 1))::uuid,
            p_collection_key, p_title, p_actor, p_note)
    ON CONFLICT (collection_key) DO NOTHING
    RETURNING id INTO v_collection_id;
    IF v_collection_id IS NULL THEN
        RETURN '{"status": "key_conflict"}';
    END IF;

    INSERT INTO public.iu_piece_membership (collection_id, piece_id, position)
    SELECT v_collection_id, u.id, u.position
    FROM pg_catalog.unnest(p_piece_ids) WITH ORDINALITY AS u (id, position);

    RETURN pg_catalog.jsonb_build_object(
        'status', 'composed', 'collection_id', v_collection_id, 'piece_count', v_piece_count);
END
$$;

-- Marks a collection as a template, or no longer as one, and answers marked with the latest version and
-- its digest. Marking records a new version where the content differs from the latest one; both are NULL
-- where none was ever recorded. not_found for an unknown collection, invalid_input for other null or
-- blank arguments. Locks the collection FOR NO KEY UPDATE: markers of one collection take turns.
CREATE FUNCTION public.fn_iu_collection_mark_template(
    p_collection_id uuid,
    p_actor text,
    p_is_template boolean DEFAULT true)
RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_version integer;
    v_digest text;
    v_digest_now text;
BEGIN
    IF p_is_template IS NULL OR (p_actor ~ '[^[:space:]]') IS NOT TRUE THEN
        RETURN pg_catalog.jsonb_build_object('status', 'invalid_input', 'detail',
            CASE WHEN p_is_template IS NULL THEN 'p_is_template must not be null'
                 ELSE 'p_actor must not be null or blank' END);
    END IF;
    PERFORM FROM public.iu_piece_collection AS c WHERE c.id = p_collection_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN '{"status": "not_found"}';
    END IF;

    INSERT INTO public.iu_collection_template_registry (collection_id, is_template, marked_by)
    VALUES (p_collection_id, p_is_template, p_actor)
    ON CONFLICT (collection_id) DO UPDATE
    SET is_template = EXCLUDED.is_template, marked_by = EXCLUDED.marked_by, marked_at = pg_catalog.now();

    SELECT v.version, v.digest INTO v_version, v_digest
    FROM public.iu_collection_template_version AS v
    WHERE v.collection_id = p_collection_id
    ORDER BY v.version DESC
    LIMIT 1;
    v_digest_now := public.fn_iu_collection_digest(p_collection_id);
    IF p_is_template AND v_digest IS DISTINCT FROM v_digest_now THEN
        v_version := COALESCE(v_version, 0) + 1;
        v_digest := v_digest_now;
        INSERT INTO public.iu_collection_template_version (collection_id, version, digest, recorded_by)
        VALUES (p_collection_id, v_version, v_digest, p_actor);
    END IF;
    RETURN pg_catalog.jsonb_build_object('status', 'marked', 'version', v_version, 'digest', v_digest);
END
$$;

-- Records which template a collection was composed from: recorded with the template's latest version
-- (NULL where it has none) and its digest as it is now. Raises for collections that do not exist and
-- for an instance that is recorded already. Locks both collections FOR KEY SHARE.
CREATE FUNCTION public.fn_iu_collection_record_template_instance(
    p_template_collection_id uuid,
    p_instance_collection_id uuid,
    p_actor text,
    p_note text DEFAULT NULL)
RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_version integer;
    v_digest text;
BEGIN
    INSERT INTO public.iu_collection_template_instance_lineage
        (instance_collection_id, template_collection_id, template_version, template_digest, recorded_by, note)
    VALUES (p_instance_collection_id, p_template_collection_id,
            (SELECT v.version FROM public.iu_collection_template_version AS v
             WHERE v.collection_id = p_template_collection_id ORDER BY v.version DESC LIMIT 1),
            public.fn_iu_collection_digest(p_template_collection_id), p_actor, p_note)
    RETURNING template_version, template_digest INTO v_version, v_digest;
    RETURN pg_catalog.jsonb_build_object(
        'status', 'recorded', 'template_version', v_version, 'template_digest', v_digest);
END
$$;

-- All of it is its owner's alone, whatever default privileges gave to others. What is granted later stays.
FOR v_statement IN
    SELECT DISTINCT pg_catalog.format('REVOKE ALL ON %s FROM %s CASCADE', o.name, COALESCE(pg_catalog.quote_ident(r.rolname), 'PUBLIC'))
    FROM (
        SELECT pg_catalog.format('TABLE public.%I', c.relname) AS name, c.relowner AS owner, c.relacl AS acl
        FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = 'public'::pg_catalog.regnamespace AND c.relname = ANY (v_tables)
        UNION ALL
        SELECT 'FUNCTION ' || p.oid::pg_catalog.regprocedure::text, p.proowner,
               COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner))
        FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = 'public'::pg_catalog.regnamespace AND p.proname = ANY (v_functions)
    ) AS o
    CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) AS g
    LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = g.grantee
    WHERE g.grantee <> o.owner
LOOP
    EXECUTE v_statement;
END LOOP;

END
$baseline$;

COMMIT;
