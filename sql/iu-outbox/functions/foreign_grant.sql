-- The privileges on objects of the worker or of iu-core that are not intended, one row each. part: worker (our
-- schemas), core (the baseline up to 032), or 033. grantee: NULL for PUBLIC. by_default: today's default
-- privileges, PostgreSQL's own included, would grant it. option: the role is meant to have the privilege, but not
-- to grant it to others.
CREATE OR REPLACE VIEW iu_outbox.foreign_grant AS
WITH core (part, name) AS (VALUES
    ('core', 'dot_config'), ('core', 'event_type_registry'), ('core', 'event_route'), ('core', 'iu_piece'),
    ('core', 'iu_piece_collection'), ('core', 'iu_piece_membership'), ('core', 'iu_collection_template_registry'),
    ('core', 'iu_collection_template_version'), ('core', 'iu_collection_template_instance_lineage'),
    ('core', 'fn_iu_composer_enabled()'), ('core', 'fn_iu_collection_digest(uuid)'),
    ('core', 'fn_iu_compose(text, text, uuid[], text, text)'), ('core', 'fn_iu_collection_mark_template(uuid, text, boolean)'),
    ('core', 'fn_iu_collection_record_template_instance(uuid, uuid, text, text)'),
    ('033', 'iu_auto_instantiate_event_log'), ('033', 'v_iu_auto_instantiate_event_log'),
    ('033', 'v_iu_auto_instantiate_event_summary'),
    ('033', 'fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text)'),
    ('033', 'fn_iu_auto_instantiate_rollback_by_actor(text, boolean)')
), object AS (
    SELECT 'SCHEMA' AS kind, n.oid AS schema, NULL::text AS name, n.oid, NULL::name AS column_name,
           pg_catalog.quote_ident(n.nspname) AS written, n.nspowner AS owner, n.nspacl AS acl, 'n'::"char" AS type
    FROM pg_catalog.pg_namespace AS n
    UNION ALL
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.relnamespace, c.relname, c.oid, NULL,
           pg_catalog.format('%I.%I', n.nspname, c.relname), c.relowner, c.relacl,
           CASE c.relkind WHEN 'S' THEN 'S'::"char" ELSE 'r' END
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'TABLE', c.relnamespace, c.relname, c.oid, a.attname, pg_catalog.format('%I.%I', n.nspname, c.relname), c.relowner, a.attacl, NULL
    FROM pg_catalog.pg_attribute AS a
    JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
    UNION ALL
    SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, p.pronamespace,
           p.proname || '(' || pg_catalog.oidvectortypes(p.proargtypes) || ')', p.oid, NULL,
           pg_catalog.format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)),
           p.proowner, p.proacl, 'f'
    FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname IN ('public', 'iu_outbox', 'iu_river', 'iu_migration')
    UNION ALL
    SELECT 'TYPE', t.typnamespace, NULL, t.oid, NULL, pg_catalog.format('%I.%I', n.nspname, t.typname), t.typowner, t.typacl, 'T'
    FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
    WHERE t.typtype IN ('e', 'd', 'r') -- row types and array types have no privileges of their own
), ours AS MATERIALIZED (
    SELECT COALESCE(k.part, 'worker') AS part, o.*,
           COALESCE(o.acl, CASE WHEN k.part IS NULL THEN pg_catalog.acldefault(o.type, o.owner) END) AS given
    FROM object AS o
    JOIN pg_catalog.pg_namespace AS n ON n.oid = o.schema
    LEFT JOIN core AS k ON n.nspname = 'public' AND k.name = o.name
    WHERE n.nspname IN ('iu_outbox', 'iu_river', 'iu_migration') OR k.part IS NOT NULL
), actual AS MATERIALIZED (
    SELECT o.*, g.grantee AS grantee_oid, g.privilege_type AS privilege, g.is_grantable, i.role IS NOT NULL AS intended
    FROM ours AS o
    CROSS JOIN LATERAL pg_catalog.aclexplode(o.given) AS g
    LEFT JOIN (SELECT DISTINCT i.role, i.role_oid, i.oid, i.kind, i.column_name, i.privilege FROM iu_outbox.intended_grant AS i) AS i
        ON i.role_oid = g.grantee AND i.oid = o.oid AND i.kind = o.kind AND i.privilege = g.privilege_type
        AND i.column_name IS NOT DISTINCT FROM o.column_name::text
    WHERE g.grantee <> o.owner
)
SELECT DISTINCT e.part, e.kind, e.oid, e.written AS object, e.column_name::text AS column_name,
       e.grantee_oid, r.rolname::text AS grantee, e.privilege, e.intended AS option,
       pg_catalog.pg_get_userbyid(e.owner)::text AS owner,
       e.acl IS NULL OR e.grantee_oid = 0 AND e.kind IN ('FUNCTION', 'PROCEDURE', 'TYPE') OR EXISTS (
           SELECT FROM pg_catalog.pg_default_acl AS d CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS g
           WHERE d.defaclrole = e.owner AND d.defaclnamespace IN (0, e.schema) AND d.defaclobjtype = e.type
             AND g.grantee = e.grantee_oid AND g.privilege_type = e.privilege) AS by_default,
       pg_catalog.format('REVOKE %s%s%s ON %s %s FROM %s CASCADE', CASE WHEN e.intended THEN 'GRANT OPTION FOR ' END, e.privilege,
                         ' (' || pg_catalog.quote_ident(e.column_name) || ')', e.kind, e.written,
                         COALESCE(pg_catalog.quote_ident(r.rolname), 'PUBLIC')) AS statement
FROM actual AS e
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee_oid
WHERE NOT e.intended OR e.is_grantable
;
