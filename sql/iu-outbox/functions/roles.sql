-- Roles belong to the whole cluster. Creates missing ones, or names them in a notice if the migrating role may not.
-- Existing roles get the grants of iu_outbox.intended_grant: a new grant is a line in grants.sql, not here.
DO $$
DECLARE
    v_role text;
    v_may_create boolean := (SELECT r.rolsuper OR r.rolcreaterole FROM pg_catalog.pg_roles AS r
                             WHERE r.rolname = CURRENT_USER);
BEGIN
    FOR v_role IN SELECT DISTINCT l.role FROM iu_outbox.listed_grant AS l WHERE l.role NOT LIKE 'owner%' ORDER BY l.role LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = v_role);
        IF NOT v_may_create THEN
            RAISE NOTICE 'role % is missing and % may not create it; run as an administrator: CREATE ROLE % NOLOGIN; then run iuworker migrate up again',
                v_role, CURRENT_USER, v_role;
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', v_role);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- another database's migration created it in the meantime
        END;
    END LOOP;
END
$$;

-- In the worker's own schemas, revokes what default privileges granted and what our roles have beyond the list. A
-- grant that somebody made by hand to another role stays, and iuworker doctor names it.
DO $$
DECLARE
    v_statement text;
BEGIN
    FOR v_statement IN
        SELECT f.statement FROM iu_outbox.foreign_grant AS f
        WHERE f.part = 'worker'
          AND (f.by_default OR f.grantee IN (SELECT l.role FROM iu_outbox.listed_grant AS l))
        ORDER BY f.column_name NULLS LAST
    LOOP
        EXECUTE v_statement;
    END LOOP;
END
$$;

-- Grants even what PUBLIC has, because PUBLIC may lose it. Skips a privilege that this login may not grant if the
-- role has it already.
DO $$
DECLARE
    v_statement text;
BEGIN
    FOR v_statement IN
        SELECT DISTINCT i.statement FROM iu_outbox.intended_grant AS i
        WHERE i.role_oid IS NOT NULL AND CASE
            WHEN i.role LIKE 'owner%' THEN NOT i.effective AND i.grantable
            ELSE NOT i.granted AND (i.grantable OR NOT i.effective) END
        ORDER BY i.statement
    LOOP
        EXECUTE v_statement;
    END LOOP;
END
$$;

-- Functions that read tables raise an error if row security would hide rows from them: fewer rows would look like
-- fewer events. Functions without settings are skipped, so that they can still be inlined.
DO $$
DECLARE
    v_function regprocedure;
BEGIN
    FOR v_function IN
        SELECT p.oid FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = 'iu_outbox'::pg_catalog.regnamespace AND p.proconfig IS NOT NULL
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s SET row_security = off', v_function);
    END LOOP;
END
$$;
