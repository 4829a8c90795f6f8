-- Takes 034 away: the schema, its triggers in public and its grants there. Roles stay.
BEGIN;

DROP TRIGGER IF EXISTS iu_outbox_gate_bell ON public.dot_config;
DO $$
BEGIN
    IF pg_catalog.to_regclass('public.iu_auto_instantiate_event_log') IS NOT NULL THEN
        DROP TRIGGER IF EXISTS iu_outbox_emission_written ON public.iu_auto_instantiate_event_log;
        DROP TRIGGER IF EXISTS iu_outbox_emission_rolled_back ON public.iu_auto_instantiate_event_log;
    END IF;
END
$$;

-- Grants on objects of public that functions/90_roles.sql gave.
DO $$
DECLARE
    v_role text;
    v_object text;
BEGIN
    FOR v_role IN SELECT r.rolname FROM pg_catalog.pg_roles AS r
                  WHERE r.rolname IN ('iu_app', 'iu_worker', 'iu_operator', 'iu_subscriber') LOOP
        FOR v_object IN
            SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class AS c
            WHERE c.relnamespace = 'public'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p', 'v')
              AND EXISTS (SELECT FROM pg_catalog.aclexplode(c.relacl) AS a
                          JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee WHERE r.rolname = v_role) LOOP
            EXECUTE pg_catalog.format('REVOKE ALL ON TABLE %s FROM %I', v_object, v_role);
        END LOOP;
        FOR v_object IN
            SELECT p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc AS p
            WHERE p.pronamespace = 'public'::pg_catalog.regnamespace
              AND EXISTS (SELECT FROM pg_catalog.aclexplode(p.proacl) AS a
                          JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee WHERE r.rolname = v_role) LOOP
            EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM %I', v_object, v_role);
        END LOOP;
    END LOOP;
END
$$;

DROP SCHEMA iu_outbox CASCADE;

COMMIT;
