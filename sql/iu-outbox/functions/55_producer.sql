-- What producers call instead of inserting into iu_outbox.event themselves.

-- Returns up to three collection keys of templates that are most similar to a text, by their share of common trigrams,
-- which needs no extension. NULL has none. Takes no locks.
CREATE OR REPLACE FUNCTION iu_outbox.nearest_templates(p_template text) RETURNS TABLE (collection_key text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.collection_key
    FROM iu_outbox.template AS t
    CROSS JOIN LATERAL pg_catalog.generate_series(1, pg_catalog.length(t.collection_key)) AS i
    WHERE pg_catalog.strpos('  ' || pg_catalog.lower(p_template) || ' ',
                            pg_catalog.substr('  ' || pg_catalog.lower(t.collection_key) || ' ', i, 3)) > 0
    GROUP BY t.id, t.collection_key
    ORDER BY pg_catalog.count(*)::float8 / pg_catalog.length(t.collection_key) DESC, t.collection_key
    LIMIT 3
$$;

-- Returns the id of the template with that collection key, or with that id. If there is none it raises IU003 and names
-- the most similar keys. Takes no locks.
CREATE OR REPLACE FUNCTION iu_outbox.template_id(p_template text) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_id uuid;
    v_nearest text;
BEGIN
    SELECT t.id INTO v_id FROM iu_outbox.template AS t
    WHERE t.collection_key = p_template OR t.id::text = pg_catalog.lower(p_template)
    ORDER BY t.collection_key = p_template DESC
    LIMIT 1;
    IF FOUND THEN
        RETURN v_id;
    END IF;
    SELECT pg_catalog.string_agg(n.collection_key, ', ' ORDER BY n.place) INTO v_nearest
    FROM iu_outbox.nearest_templates(p_template) WITH ORDINALITY AS n (collection_key, place);
    RAISE EXCEPTION 'template "%" does not exist', p_template
        USING ERRCODE = 'IU003',
              HINT = CASE WHEN p_template IS NULL THEN 'Pass the collection key of a template.'
                          WHEN v_nearest IS NULL THEN 'SELECT collection_key FROM iu_outbox.template lists the templates.'
                          ELSE 'Did you mean: ' || v_nearest || '?' END;
END
$$;

-- Inserts an event for a template and returns the id of its outbox row. NULL means the default of the column. The names of
-- its arguments are what callers write: add_event(template => 'welcome-letter', event_type => 'order.placed', ...).
-- Runs with the caller's privileges: it needs what the INSERT needs. Locks what the INSERT locks.
CREATE OR REPLACE FUNCTION iu_outbox.add_event(
    template text, event_type text, event_id uuid DEFAULT NULL, suffix text DEFAULT NULL,
    emit_mode text DEFAULT NULL, actor text DEFAULT NULL, note text DEFAULT NULL, priority integer DEFAULT NULL,
    available_at timestamptz DEFAULT NULL, trace_context jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_event_id uuid := COALESCE(add_event.event_id, pg_catalog.gen_random_uuid());
    v_id bigint;
BEGIN
    INSERT INTO iu_outbox.event AS e
        (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode, actor, note, priority, available_at,
         trace_context)
    VALUES (v_event_id, add_event.event_type, iu_outbox.template_id(add_event.template),
            COALESCE(add_event.suffix, add_event.template || '-' || v_event_id::text), COALESCE(add_event.emit_mode, 'live'),
            COALESCE(add_event.actor, SESSION_USER), add_event.note, COALESCE(add_event.priority, 1)::smallint,
            COALESCE(add_event.available_at, pg_catalog.now()), COALESCE(add_event.trace_context, '{}'))
    RETURNING e.id INTO v_id;
    RETURN v_id;
END
$$;

-- The outbox for ORMs, which ask for all columns of the row that they insert: RETURNING gives that row, and a query finds
-- none, so that no application reads what another one inserted. An INSERT runs with the privileges of the view's owner.
-- security_barrier: the planner must not call a function of the query's author on a row before it drops the row.
CREATE OR REPLACE VIEW iu_outbox.new_event WITH (security_barrier) AS
SELECT e.id, e.event_id, e.event_type, e.template_collection_id, e.instance_key_suffix, e.emit_mode, e.actor, e.note, e.priority,
       e.available_at, e.trace_context, e.idempotency_key, e.created_at
FROM iu_outbox.event AS e
WHERE false;

-- The table's defaults would do. ORMs that read the catalog look for the view's.
DO $$
DECLARE
    v_default record;
BEGIN
    FOR v_default IN
        SELECT a.attname, pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS expression
        FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = 'iu_outbox.event'::pg_catalog.regclass AND a.attgenerated = '' AND a.attidentity = ''
    LOOP
        EXECUTE pg_catalog.format('ALTER VIEW iu_outbox.new_event ALTER COLUMN %I SET DEFAULT %s', v_default.attname, v_default.expression);
    END LOOP;
END
$$;
