-- The intended grants, one row for each object that exists. granted: the role has the privilege by this very grant;
-- effective: by any grant, PUBLIC's included; mine: this login has it; grantable: this login may grant it. role_oid
-- is NULL if the role does not exist.
CREATE OR REPLACE VIEW iu_outbox.intended_grant AS
WITH item AS MATERIALIZED (
    SELECT * FROM iu_outbox.listed_grant
), holder (role, oid) AS MATERIALIZED (
    SELECT r.rolname::text, r.oid FROM pg_catalog.pg_roles AS r
    UNION ALL
    SELECT 'owner', n.nspowner FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'iu_outbox'
    UNION ALL
    SELECT 'owner of 033', p.proowner
    FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname = 'public' AND p.proname = 'fn_iu_auto_instantiate_from_event' AND p.prosecdef
), object AS MATERIALIZED (
    SELECT 'SCHEMA' AS kind, n.nspname::text AS name, NULL::text AS all_name, n.oid, n.nspacl AS acl,
           pg_catalog.quote_ident(n.nspname) AS written
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname IN ('public', 'iu_outbox', 'iu_river', 'iu_migration')
    UNION ALL
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname || '.' || c.relname, n.nspname || '.*', c.oid, c.relacl,
           pg_catalog.format('%I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('public', 'iu_outbox', 'iu_river', 'iu_migration') AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'FUNCTION', pg_catalog.format('%s.%s(%s)', n.nspname, p.proname, pg_catalog.oidvectortypes(p.proargtypes)),
           n.nspname || '.*', p.oid, p.proacl,
           pg_catalog.format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid))
    FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname IN ('public', 'iu_outbox', 'iu_river', 'iu_migration') AND p.prokind = 'f'
)
SELECT i.role, h.oid AS role_oid, i.kind, o.oid, o.written AS object, a.attname::text AS column_name, i.privilege,
       pg_catalog.bool_or(COALESCE(g.grantee = h.oid AND g.privilege_type = i.privilege, false)) AS granted,
       CASE WHEN i.kind = 'SCHEMA' THEN pg_catalog.has_schema_privilege(COALESCE(h.oid, 0), o.oid, i.privilege)
            WHEN i.kind = 'FUNCTION' THEN pg_catalog.has_function_privilege(COALESCE(h.oid, 0), o.oid, i.privilege)
            WHEN i.kind = 'SEQUENCE' THEN pg_catalog.has_sequence_privilege(COALESCE(h.oid, 0), o.oid, i.privilege)
            WHEN a.attnum IS NULL THEN pg_catalog.has_table_privilege(COALESCE(h.oid, 0), o.oid, i.privilege)
            ELSE pg_catalog.has_column_privilege(COALESCE(h.oid, 0), o.oid, a.attnum, i.privilege) END AS effective,
       CASE WHEN i.kind = 'SCHEMA' THEN pg_catalog.has_schema_privilege(o.oid, i.privilege)
            WHEN i.kind = 'FUNCTION' THEN pg_catalog.has_function_privilege(o.oid, i.privilege)
            WHEN i.kind = 'SEQUENCE' THEN pg_catalog.has_sequence_privilege(o.oid, i.privilege)
            WHEN a.attnum IS NULL THEN pg_catalog.has_table_privilege(o.oid, i.privilege)
            ELSE pg_catalog.has_column_privilege(o.oid, a.attnum, i.privilege) END AS mine,
       CASE WHEN i.kind = 'SCHEMA' THEN pg_catalog.has_schema_privilege(o.oid, i.privilege || ' WITH GRANT OPTION')
            WHEN i.kind = 'FUNCTION' THEN pg_catalog.has_function_privilege(o.oid, i.privilege || ' WITH GRANT OPTION')
            WHEN i.kind = 'SEQUENCE' THEN pg_catalog.has_sequence_privilege(o.oid, i.privilege || ' WITH GRANT OPTION')
            WHEN a.attnum IS NULL THEN pg_catalog.has_table_privilege(o.oid, i.privilege || ' WITH GRANT OPTION')
            ELSE pg_catalog.has_column_privilege(o.oid, a.attnum, i.privilege || ' WITH GRANT OPTION') END AS grantable,
       pg_catalog.format('GRANT %s%s ON %s %s TO %I', i.privilege, ' (' || pg_catalog.quote_ident(a.attname) || ')', i.kind, o.written,
                         COALESCE(pg_catalog.pg_get_userbyid(h.oid), i.role)) AS statement
FROM item AS i
JOIN object AS o ON o.kind = i.kind AND i.name IN (o.name, o.all_name)
LEFT JOIN holder AS h ON h.role = i.role
LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = o.oid AND o.kind = 'TABLE' AND a.attname = ANY (i.columns)
LEFT JOIN LATERAL pg_catalog.aclexplode(CASE WHEN a.attnum IS NULL THEN o.acl ELSE a.attacl END) AS g ON true
WHERE i.columns IS NULL OR a.attnum IS NOT NULL
GROUP BY i.role, h.oid, i.kind, o.oid, o.written, a.attname, a.attnum, i.privilege
;
