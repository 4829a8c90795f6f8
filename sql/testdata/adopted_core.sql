-- An iu-core as a running system has it: more columns, more objects, function bodies of its own that name
-- tables without a schema, and data. Nothing of it is ours, so nothing of it may change.
BEGIN;

CREATE TABLE dot_config (
    key         text PRIMARY KEY,
    value       text NOT NULL,
    description text,
    scope       text NOT NULL DEFAULT 'global',
    updated_by  text,
    updated_at  timestamptz DEFAULT now()
);
CREATE TABLE event_type_registry (
    event_type    text PRIMARY KEY,
    event_stream  text,
    delivery_lane text,
    active        boolean,
    description   text,
    owner_team    text,
    created_at    timestamptz DEFAULT now()
);
CREATE TABLE event_route (
    route_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_type text NOT NULL REFERENCES event_type_registry (event_type),
    target     text NOT NULL,
    active     boolean NOT NULL DEFAULT true,
    created_at timestamptz DEFAULT now()
);
CREATE TABLE iu_piece (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    piece_key  text UNIQUE NOT NULL,
    language   text NOT NULL DEFAULT 'en',
    body       jsonb NOT NULL,
    created_by text,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz
);
CREATE TABLE iu_piece_collection (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    collection_key text UNIQUE NOT NULL,
    title          text,
    parent_id      uuid REFERENCES iu_piece_collection (id),
    created_by     text NOT NULL,
    note           text,
    archived       boolean NOT NULL DEFAULT false,
    created_at     timestamptz DEFAULT now()
);
CREATE TABLE iu_piece_membership (
    collection_id uuid REFERENCES iu_piece_collection (id),
    piece_id      uuid REFERENCES iu_piece (id),
    position      int,
    is_active     boolean DEFAULT true,
    weight        numeric,
    created_at    timestamptz DEFAULT now(),
    PRIMARY KEY (collection_id, piece_id),
    UNIQUE (collection_id, position)
);
CREATE TABLE iu_collection_template_registry (
    collection_id uuid PRIMARY KEY REFERENCES iu_piece_collection (id),
    is_template   boolean NOT NULL,
    category      text,
    marked_by     text,
    marked_at     timestamptz DEFAULT now()
);
CREATE TABLE iu_collection_template_version (
    collection_id uuid REFERENCES iu_piece_collection (id),
    version       int,
    digest        text,
    recorded_by   text,
    created_at    timestamptz DEFAULT now(),
    PRIMARY KEY (collection_id, version)
);
CREATE TABLE iu_collection_template_instance_lineage (
    instance_collection_id uuid PRIMARY KEY REFERENCES iu_piece_collection (id),
    template_collection_id uuid REFERENCES iu_piece_collection (id),
    template_version       int,
    template_digest        text,
    recorded_by            text,
    note                   text,
    created_at             timestamptz DEFAULT now()
);

-- Other people's tables: what refers to an instance, its lineage or its memberships holds a rollback up.
CREATE TABLE iu_collection_bookmark (
    reader        text,
    collection_id uuid REFERENCES iu_piece_collection (id) ON DELETE CASCADE,
    PRIMARY KEY (reader, collection_id)
);
CREATE TABLE iu_lineage_review (
    reviewer               text,
    instance_collection_id uuid REFERENCES iu_collection_template_instance_lineage ON DELETE CASCADE
);
CREATE TABLE iu_membership_pin (
    collection_id uuid,
    piece_id      uuid,
    FOREIGN KEY (collection_id, piece_id) REFERENCES iu_piece_membership (collection_id, piece_id) ON DELETE CASCADE
);
CREATE TABLE shop_page (
    slug           text PRIMARY KEY,
    collection_key text REFERENCES iu_piece_collection (collection_key)
);

CREATE VIEW v_iu_piece_use AS
    SELECT p.piece_key, count(m.collection_id) AS collections
    FROM iu_piece p LEFT JOIN iu_piece_membership m ON m.piece_id = p.id
    GROUP BY p.piece_key;

CREATE FUNCTION fn_iu_touch_piece() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
CREATE TRIGGER iu_piece_touched BEFORE UPDATE ON iu_piece FOR EACH ROW EXECUTE FUNCTION fn_iu_touch_piece();

CREATE FUNCTION fn_iu_composer_enabled() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT lower(btrim(value)) = 'true' FROM dot_config WHERE key = 'iu_core.composer_enabled'), false)
$$;

CREATE FUNCTION fn_iu_collection_digest(p_collection_id uuid) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT md5(coalesce(string_agg(p.piece_key || '=' || p.body::text, ';' ORDER BY m.position), ''))
    FROM iu_piece_membership m JOIN iu_piece p ON p.id = m.piece_id
    WHERE m.collection_id = p_collection_id AND m.is_active
$$;

CREATE FUNCTION fn_iu_compose(p_collection_key text, p_title text, p_piece_ids uuid[], p_actor text, p_note text DEFAULT NULL)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_id uuid := gen_random_uuid();
BEGIN
    IF NOT fn_iu_composer_enabled() THEN
        RETURN jsonb_build_object('status', 'composer_disabled', 'hint', 'ask the editors');
    END IF;
    IF cardinality(p_piece_ids) > (SELECT value::int FROM dot_config WHERE key = 'iu_core.max_pieces') THEN
        RETURN jsonb_build_object('status', 'invalid_input', 'detail', 'p_piece_ids: too many pieces');
    END IF;
    INSERT INTO iu_piece_collection (id, collection_key, title, created_by, note)
    VALUES (v_id, p_collection_key, p_title, p_actor, p_note)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('status', 'key_conflict');
    END IF;
    FOR i IN 1 .. cardinality(p_piece_ids) LOOP
        INSERT INTO iu_piece_membership (collection_id, piece_id, position) VALUES (v_id, p_piece_ids[i], i * 10);
    END LOOP;
    RETURN jsonb_build_object('status', 'composed', 'collection_id', v_id, 'piece_count', cardinality(p_piece_ids),
                              'composed_at', now());
END
$$;

CREATE FUNCTION fn_iu_collection_mark_template(p_collection_id uuid, p_actor text, p_is_template boolean DEFAULT true)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_digest text := fn_iu_collection_digest(p_collection_id);
    v_version int;
BEGIN
    IF NOT EXISTS (SELECT FROM iu_piece_collection WHERE id = p_collection_id FOR UPDATE) THEN
        RETURN jsonb_build_object('status', 'not_found');
    END IF;
    INSERT INTO iu_collection_template_registry (collection_id, is_template, marked_by)
    VALUES (p_collection_id, p_is_template, p_actor)
    ON CONFLICT (collection_id) DO UPDATE SET is_template = p_is_template, marked_by = p_actor, marked_at = now();
    INSERT INTO iu_collection_template_version (collection_id, version, digest, recorded_by)
    SELECT p_collection_id, coalesce(max(version), 0) + 1, v_digest, p_actor
    FROM iu_collection_template_version WHERE collection_id = p_collection_id
    HAVING NOT coalesce(bool_or(digest = v_digest), false);
    SELECT max(version) INTO v_version FROM iu_collection_template_version WHERE collection_id = p_collection_id;
    RETURN jsonb_build_object('status', 'marked', 'version', v_version, 'digest', v_digest);
END
$$;

CREATE FUNCTION fn_iu_collection_record_template_instance(
    p_template_collection_id uuid, p_instance_collection_id uuid, p_actor text, p_note text DEFAULT NULL)
RETURNS jsonb LANGUAGE sql AS $$
    INSERT INTO iu_collection_template_instance_lineage
        (instance_collection_id, template_collection_id, template_version, template_digest, recorded_by, note)
    SELECT p_instance_collection_id, p_template_collection_id, max(version),
           fn_iu_collection_digest(p_template_collection_id), p_actor, p_note
    FROM iu_collection_template_version WHERE collection_id = p_template_collection_id
    RETURNING jsonb_build_object('status', 'recorded', 'template_version', template_version,
                                 'template_digest', template_digest, 'recorded_at', created_at)
$$;

INSERT INTO dot_config (key, value, updated_by) VALUES
    ('iu_core.composer_enabled', 'false', 'editors'),
    ('iu_core.max_pieces', '50', 'editors'),
    ('shop.theme', 'dark', 'shop');
INSERT INTO event_type_registry (event_type, event_stream, delivery_lane, active, owner_team) VALUES
    ('iu.piece.updated', 'update', 'instant', true, 'editors'),
    ('order.placed', 'order', 'instant', true, 'shop');
INSERT INTO event_route (event_type, target) VALUES
    ('iu.piece.updated', 'search-index'),
    ('order.placed', 'warehouse');

INSERT INTO iu_piece (piece_key, body, created_by)
SELECT 'welcome/' || n, jsonb_build_object('text', 'Welcome, part ' || n), 'editors' FROM generate_series(1, 3) AS n;
INSERT INTO iu_piece_collection (collection_key, title, created_by) VALUES
    ('welcome-kit', 'Welcome kit', 'editors'),
    ('old-newsletter', NULL, 'editors');
INSERT INTO iu_piece_membership (collection_id, piece_id, position)
SELECT c.id, p.id, right(p.piece_key, 1)::int * 10
FROM iu_piece_collection c, iu_piece p WHERE c.collection_key = 'welcome-kit';
SELECT fn_iu_collection_mark_template(id, 'editors') FROM iu_piece_collection WHERE collection_key = 'welcome-kit';

COMMIT;
