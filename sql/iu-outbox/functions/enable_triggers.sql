-- Makes our triggers fire in every session, whatever its session_replication_role. Only a table's owner may set that.
-- If an adopted iu-core has another owner, a notice shows the statement to run, and iuworker doctor reports it.
DO $$
DECLARE
    v_trigger record;
BEGIN
    FOR v_trigger IN
        SELECT pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', t.tgrelid::pg_catalog.regclass, t.tgname) AS statement,
               pg_catalog.pg_has_role(c.relowner, 'USAGE') AS may
        FROM pg_catalog.pg_trigger AS t
        JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
        JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
        WHERE p.pronamespace = 'iu_outbox'::pg_catalog.regnamespace AND NOT t.tgisinternal AND t.tgenabled <> 'A'
        ORDER BY t.tgrelid, t.tgname
    LOOP
        IF v_trigger.may THEN
            EXECUTE v_trigger.statement;
        ELSE
            RAISE NOTICE 'a session with session_replication_role = replica bypasses a trigger of iuworker; run as the owner of the table: %',
                v_trigger.statement;
        END IF;
    END LOOP;
END
$$;
