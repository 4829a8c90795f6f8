-- Switches row security off for our tables: somebody's event trigger may have switched it on for each new table,
-- and a table whose rows are hidden looks empty. Stops if an event trigger switches it on again.
DO $$
DECLARE
    v_table text;
    v_left text;
BEGIN
    FOR v_table IN
        SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('iu_outbox', 'iu_river', 'iu_migration') AND (c.relrowsecurity OR c.relforcerowsecurity)
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', v_table);
    END LOOP;

    SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I', n.nspname, c.relname), ', ') INTO v_left
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('iu_outbox', 'iu_river', 'iu_migration') AND (c.relrowsecurity OR c.relforcerowsecurity);
    IF v_left IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = pg_catalog.format('an event trigger (%s) switches row security of %s on again: disable it while this runs, by ALTER EVENT TRIGGER NAME DISABLE',
                (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(t.evtname), ', ') FROM pg_catalog.pg_event_trigger AS t
                 WHERE t.evtenabled <> 'D' AND t.evtevent = 'ddl_command_end'), v_left);
    END IF;
END
$$;
