-- Templates as applications see them: an id or a key to put into an event.
CREATE OR REPLACE VIEW iu_outbox.template AS
    SELECT c.id, c.collection_key, c.title
    FROM public.iu_piece_collection AS c
    JOIN public.iu_collection_template_registry AS r ON r.collection_id = c.id AND r.is_template;

-- Returns the collection keys of the templates that are most similar to a text, at most three, by the share of
-- trigrams in common. Needs no extension. Returns no rows for NULL. Takes no locks.
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

-- Returns the id of the template with this collection key or this id. Raises IU003 if there is none, and names the
-- most similar keys. Takes no locks.
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
