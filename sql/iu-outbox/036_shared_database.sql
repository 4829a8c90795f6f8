-- 036: what the worker needs in a database that others share. Tables and columns only; functions/ has the rest.
BEGIN;

-- Settings of the installation, which every process obeys whatever its own flags are. No row: the default.
CREATE TABLE iu_outbox.setting (
    name       text PRIMARY KEY,
    value      text NOT NULL,
    updated_by text NOT NULL DEFAULT SESSION_USER,
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);

-- Nobody but the owner and our roles has a privilege on what is ours, whatever default privileges gave. Our roles lose
-- theirs, too, where the functions are not installed yet: those grant what is meant. The program runs this block after
-- each of its steps that create something.
DO $close$
DECLARE
    v_statement text;
    v_fresh boolean := pg_catalog.to_regclass('iu_outbox.consumer_status') IS NULL;
BEGIN
    FOR v_statement IN
        SELECT DISTINCT pg_catalog.format('REVOKE ALL ON %s FROM %s CASCADE', o.name, COALESCE(pg_catalog.quote_ident(r.rolname), 'PUBLIC'))
        FROM pg_catalog.pg_namespace AS n
        CROSS JOIN LATERAL (
            SELECT pg_catalog.format('SCHEMA %I', n.nspname) AS name, n.nspowner AS owner, n.nspacl AS acl
            UNION ALL
            SELECT pg_catalog.format('%s %I.%I', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname),
                   c.relowner, a.acl
            FROM pg_catalog.pg_class AS c
            CROSS JOIN LATERAL (
                SELECT c.relacl AS acl
                UNION ALL
                SELECT a.attacl FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL) AS a
            WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
            UNION ALL
            SELECT 'ROUTINE ' || p.oid::pg_catalog.regprocedure::text, p.proowner,
                   COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner))
            FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = n.oid
            UNION ALL
            SELECT pg_catalog.format('TYPE %I.%I', n.nspname, t.typname), t.typowner,
                   COALESCE(t.typacl, pg_catalog.acldefault('T', t.typowner))
            FROM pg_catalog.pg_type AS t WHERE t.typnamespace = n.oid AND t.typtype IN ('e', 'd', 'r')) AS o
        CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) AS g
        LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = g.grantee
        WHERE n.nspname IN ('iu_outbox', 'iu_river', 'iu_migration') AND g.grantee <> o.owner
          AND (v_fresh OR COALESCE(r.rolname, 'public') NOT IN ('iu_app', 'iu_worker', 'iu_operator', 'iu_subscriber'))
    LOOP
        EXECUTE v_statement;
    END LOOP;
END
$close$;

COMMIT;
