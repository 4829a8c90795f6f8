-- Settings of the installation: rows of iu_outbox.setting, which every process obeys, whatever its own flags say.

-- Returns all settings: the values that each may have, its default, and its current value. updated_by and
-- updated_at are NULL if it was never set.
CREATE OR REPLACE FUNCTION iu_outbox.settings()
RETURNS TABLE (name text, value text, default_value text, choices text[], meaning text, updated_by text, updated_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.name, COALESCE(s.value, k.default_value), k.default_value, k.choices, k.meaning, s.updated_by, s.updated_at
    FROM (VALUES
        ('notify-payload', 'event', ARRAY['event', 'cursor'],
         'what a notification carries, which every login of the database may read: the event, or its cursor alone')
    ) AS k (name, default_value, choices, meaning)
    LEFT JOIN iu_outbox.setting AS s ON s.name = k.name
    ORDER BY k.name
$$;

-- Sets a setting in the actor's name, leaves an audit line, and returns the value before. Raises 22023 for an
-- unknown name or value. Locks the counter row: see payload_whole(). It also updates that row, so that a
-- transaction with an older snapshot fails instead of reading the old value.
CREATE OR REPLACE FUNCTION iu_outbox.set_setting(p_name text, p_value text, p_actor text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_known record;
    v_was text;
BEGIN
    SELECT * INTO v_known FROM iu_outbox.settings() AS s WHERE s.name = p_name;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('there is no setting %s: use %s', pg_catalog.quote_nullable(p_name),
                (SELECT pg_catalog.string_agg(s.name, ' or ') FROM iu_outbox.settings() AS s));
    END IF;
    IF p_value IS NULL OR p_value <> ALL (v_known.choices) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('the setting %s cannot be %s: use %s', p_name, pg_catalog.quote_nullable(p_value),
                pg_catalog.array_to_string(v_known.choices, ' or '));
    END IF;
    UPDATE iu_outbox.emission_counter AS c SET position = c.position;
    v_was := (SELECT s.value FROM iu_outbox.settings() AS s WHERE s.name = p_name);
    INSERT INTO iu_outbox.setting (name, value, updated_by) VALUES (p_name, p_value, p_actor)
    ON CONFLICT (name) DO UPDATE
    SET value = EXCLUDED.value, updated_by = EXCLUDED.updated_by, updated_at = pg_catalog.now();
    INSERT INTO iu_outbox.audit (actor, action, detail) VALUES (p_actor, 'setting.set',
        pg_catalog.jsonb_build_object('name', p_name, 'was', v_was, 'value', p_value));
    RETURN v_was;
END
$$;
