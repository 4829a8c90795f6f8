-- Gates: rows of public.dot_config. A gate is open if lower(btrim(value)) = 'true'.

-- Returns whether the gate of a config key is open. If the row is missing, the gate is closed. Written in PL/pgSQL
-- because each event may call it: PostgreSQL plans a function in SQL again for each call, unless it can inline it.
CREATE OR REPLACE FUNCTION iu_outbox.gate_open(p_key text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM public.dot_config AS c
                   WHERE c.key = p_key AND pg_catalog.lower(pg_catalog.btrim(c.value)) = 'true');
END
$$;

-- Returns both gates; updated_by and updated_at are NULL if the row is missing.
CREATE OR REPLACE FUNCTION iu_outbox.gate_status()
RETURNS TABLE (gate text, key text, open boolean, updated_by text, updated_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT g.gate, g.key, iu_outbox.gate_open(g.key), c.updated_by, c.updated_at
    FROM (VALUES (1, 'composer', 'iu_core.composer_enabled'),
                 (2, 'auto-instantiate', 'iu_core.auto_instantiate_enabled')) AS g (n, gate, key)
    LEFT JOIN public.dot_config AS c ON c.key = g.key
    ORDER BY g.n
$$;

-- Opens or closes a gate ('composer', 'auto-instantiate') in the actor's name and returns whether it
-- was open before. Raises 22023 for an unknown gate. Locks the config row.
CREATE OR REPLACE FUNCTION iu_outbox.set_gate(p_gate text, p_open boolean, p_actor text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_key text := (SELECT g.key FROM iu_outbox.gate_status() AS g WHERE g.gate = p_gate);
    v_was_open boolean;
BEGIN
    IF v_key IS NULL OR p_open IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = pg_catalog.format('there is no gate %s: use composer or auto-instantiate',
                                        pg_catalog.quote_nullable(p_gate));
    END IF;
    PERFORM FROM public.dot_config AS c WHERE c.key = v_key FOR UPDATE;
    v_was_open := iu_outbox.gate_open(v_key);
    INSERT INTO public.dot_config AS c (key, value, updated_by)
    VALUES (v_key, CASE WHEN p_open THEN 'true' ELSE 'false' END, p_actor)
    ON CONFLICT (key) DO UPDATE
    SET value = EXCLUDED.value, updated_by = EXCLUDED.updated_by, updated_at = pg_catalog.now();
    RETURN v_was_open;
END
$$;

-- Sends a NOTIFY on iu_outbox_gate if a gate's row changed, whatever changed it.
CREATE OR REPLACE FUNCTION iu_outbox.ring_gate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM iu_outbox.gate_status() AS g WHERE g.key IN (OLD.key, NEW.key)) THEN
        PERFORM pg_catalog.pg_notify('iu_outbox_gate', '');
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER iu_outbox_gate_bell
    AFTER INSERT OR UPDATE OR DELETE ON public.dot_config
    FOR EACH ROW EXECUTE FUNCTION iu_outbox.ring_gate();
