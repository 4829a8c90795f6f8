-- The grants that are intended, and those that other roles have.
--
-- A new function, table or view gets a line in the list below, and nothing else: it is what migrate up grants, what it
-- asks for before it begins, what makes it run again when a grant is missing, and what iuworker doctor compares with.
-- Both views read the catalog alone, by names: the program runs their texts as well, for logins that may not read the
-- views, and before they are there. Each is one statement, which begins and ends at the beginning of a line.

-- The intended grants, a row each that has something to apply to. granted: the role has it by this very grant; effective:
-- it has the privilege by some grant, PUBLIC's included; mine: this login has it; grantable: this login may grant it.
-- role_oid is NULL if the role is not there. The roles "owner" and "owner of 033" stand for those as whom the SECURITY
-- DEFINER functions run: they own most of what they need, and nothing is granted to them where they have it already.
CREATE OR REPLACE VIEW iu_outbox.intended_grant AS
WITH listed (role, privileges, kind, objects) AS (VALUES
    ('iu_app', 'USAGE', 'SCHEMA', 'iu_outbox'),
    ('iu_app', 'INSERT', 'TABLE', 'iu_outbox.event'),
    ('iu_app', 'SELECT (id, event_id, idempotency_key, created_at)', 'TABLE', 'iu_outbox.event'),
    ('iu_app', 'SELECT, INSERT', 'TABLE', 'iu_outbox.new_event'),
    ('iu_app', 'SELECT', 'SEQUENCE', 'iu_outbox.event_id_seq'), -- lastval and currval, which drivers ask for the new id; no nextval
    ('iu_app', 'SELECT', 'TABLE', 'iu_outbox.template, iu_outbox.schema_info'),
    ('iu_app', 'EXECUTE', 'FUNCTION', 'iu_outbox.event_state(uuid), iu_outbox.template_id(text), iu_outbox.nearest_templates(text)'),
    ('iu_app', 'EXECUTE', 'FUNCTION', 'iu_outbox.insert_events(jsonb)'),
    ('iu_app', 'EXECUTE', 'FUNCTION',
     'iu_outbox.add_event(text, text, uuid, text, text, text, text, integer, timestamp with time zone, jsonb)'),

    ('iu_worker', 'USAGE', 'SCHEMA', 'iu_outbox, iu_river, iu_migration, public'),
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.event'),
    ('iu_worker', 'SELECT', 'SEQUENCE', 'iu_outbox.event_id_seq'), -- to see how busy producers are
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.claim(integer, bigint[], bigint[]), iu_outbox.set_row_aside(bigint, text)'),
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.emission, iu_outbox.emission_counter, iu_outbox.epoch, iu_outbox.schema_info'),
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.template, iu_outbox.consumer, iu_outbox.consumer_status, iu_outbox.consumer_dead_letter'),
    ('iu_worker', 'SELECT, DELETE', 'TABLE', 'iu_outbox.dead_letter'),
    ('iu_worker', 'SELECT, INSERT, UPDATE, DELETE', 'TABLE', 'iu_outbox.worker'),
    ('iu_worker', 'SELECT, INSERT, UPDATE', 'TABLE', 'iu_outbox.worker_report'),
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.attendance'),
    ('iu_worker', 'SELECT, INSERT (actor, action, detail)', 'TABLE', 'iu_outbox.audit'),
    ('iu_worker', 'SELECT, UPDATE', 'TABLE', 'iu_outbox.scaleout'),
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.job'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.parked_jobs(text), iu_outbox.unfinished_jobs(text), iu_outbox.as_uuid(text)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.note_said_again(bigint[], text[]), iu_outbox.lock_jobs(bigint[])'),
    ('iu_worker', 'SELECT', 'TABLE', 'iu_migration.*'),
    ('iu_worker', 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE', 'TABLE', 'iu_river.*'),
    ('iu_worker', 'USAGE, SELECT', 'SEQUENCE', 'iu_river.*'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_river.*'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'public.fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text)'),
    ('iu_worker', 'SELECT', 'TABLE', 'public.iu_auto_instantiate_event_log, public.event_type_registry'),
    -- What iuworker verify reads.
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.claimed, iu_outbox.settled, iu_outbox.emission_pruned'),
    ('iu_worker', 'SELECT', 'TABLE', 'public.iu_piece, public.iu_piece_collection, public.iu_piece_membership'),
    ('iu_worker', 'SELECT', 'TABLE', 'public.iu_collection_template_instance_lineage'),
    ('iu_worker', 'SELECT, INSERT, UPDATE', 'TABLE', 'iu_outbox.verification'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.compose_batch(uuid[], text[], uuid[], text[], text[], text[], text[], text[], boolean)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.compose_apart(uuid[], text[], uuid[], text[], text[], text[], text[], text[])'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.template_free(uuid), iu_outbox.sequences()'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.event_type(), iu_outbox.emit(integer), iu_outbox.emit_apart(integer), iu_outbox.announcing()'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.schedule_jobs(integer), iu_outbox.resume_held(integer, boolean)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.cursor_state(text, bigint)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.position_before(timestamp with time zone)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.prune_emissions(interval, interval, integer)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.attend(interval, interval), iu_outbox.settings()'),
    ('iu_worker', 'SELECT', 'SEQUENCE', 'iu_outbox.dead_letter_id_seq'), -- how many there ever were
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.resume_parked(integer)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.release_jobs(text, bigint[])'),
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.lock_holder'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.may_work(oid), iu_outbox.lease_valid(timestamp with time zone)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.take_lease(text, integer, text, integer, text)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.renew_lease(text, integer, integer), iu_outbox.sweep_leases()'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.fence(text, integer), iu_outbox.wake_late()'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.gate_open(text), iu_outbox.gate_status()'),
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.history, iu_outbox.history_consumer, iu_outbox.history_template'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.write_history()'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.count_minute(timestamp with time zone, timestamp with time zone, integer, integer)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.ended_jobs(timestamp with time zone, timestamp with time zone, integer, integer)'),

    ('iu_operator', 'USAGE', 'SCHEMA', 'iu_outbox, iu_river, iu_migration, public'),
    ('iu_operator', 'INSERT', 'TABLE', 'iu_outbox.event'),
    ('iu_operator', 'SELECT', 'TABLE', 'iu_outbox.*'),
    ('iu_operator', 'INSERT (actor, action, detail)', 'TABLE', 'iu_outbox.audit'),
    ('iu_operator', 'INSERT, UPDATE, DELETE', 'TABLE', 'iu_outbox.consumer, iu_outbox.consumer_lease, iu_outbox.consumer_dead_letter'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.cursor_state(text, bigint)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.position_before(timestamp with time zone)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.open_consumer(text, text, bigint)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.hold_consumer(text, text, interval)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.hold_retention(), iu_outbox.may_work(oid)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.event_type(), iu_outbox.begin_epoch(), iu_outbox.sequences(), iu_outbox.announcing()'),
    ('iu_operator', 'SELECT', 'SEQUENCE', 'iu_outbox.dead_letter_id_seq, iu_outbox.event_id_seq'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.settings(), iu_outbox.set_setting(text, text, text)'),
    ('iu_operator', 'SELECT', 'TABLE', 'iu_migration.*'),
    ('iu_operator', 'SELECT, INSERT', 'TABLE', 'iu_river.*'),
    ('iu_operator', 'UPDATE (kind)', 'TABLE', 'iu_river.river_job'), -- River's INSERT asks for it, ON CONFLICT
    ('iu_operator', 'UPDATE (paused_at, updated_at)', 'TABLE', 'iu_river.river_queue'), -- to pause and resume one
    ('iu_operator', 'USAGE, SELECT', 'SEQUENCE', 'iu_river.*'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_river.*'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.parked_jobs(text), iu_outbox.unfinished_jobs(text), iu_outbox.as_uuid(text)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.find_event(uuid)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.event_state(uuid), iu_outbox.template_id(text), iu_outbox.nearest_templates(text)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.insert_events(jsonb)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION',
     'iu_outbox.add_event(text, text, uuid, text, text, text, text, integer, timestamp with time zone, jsonb)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.gate_open(text), iu_outbox.gate_status()'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.count_minute(timestamp with time zone, timestamp with time zone, integer, integer)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.ended_jobs(timestamp with time zone, timestamp with time zone, integer, integer)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.set_gate(text, boolean, text)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.note_jobs(text[])'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.retry_dead_letters(text, uuid, integer), iu_outbox.retry_dead_letters(bigint[])'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.drop_dead_letters(text, uuid, integer), iu_outbox.drop_dead_letters(bigint[])'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.cancel_jobs(bigint[])'),
    ('iu_operator', 'INSERT, UPDATE', 'TABLE', 'iu_outbox.scaleout'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'public.fn_iu_auto_instantiate_rollback_by_actor(text, boolean)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'public.fn_iu_composer_enabled(), public.fn_iu_collection_digest(uuid)'),
    ('iu_operator', 'SELECT', 'TABLE', 'public.dot_config, public.event_type_registry, public.event_route'),
    ('iu_operator', 'SELECT', 'TABLE', 'public.iu_piece, public.iu_piece_collection, public.iu_piece_membership'),
    ('iu_operator', 'SELECT', 'TABLE', 'public.iu_collection_template_registry, public.iu_collection_template_version'),
    ('iu_operator', 'SELECT', 'TABLE', 'public.iu_collection_template_instance_lineage, public.iu_auto_instantiate_event_log'),
    ('iu_operator', 'SELECT', 'TABLE', 'public.v_iu_auto_instantiate_event_log, public.v_iu_auto_instantiate_event_summary'),

    ('iu_subscriber', 'USAGE', 'SCHEMA', 'iu_outbox'),
    ('iu_subscriber', 'SELECT', 'TABLE', 'iu_outbox.schema_info, iu_outbox.emission, iu_outbox.emission_counter, iu_outbox.epoch'),
    ('iu_subscriber', 'SELECT', 'TABLE', 'iu_outbox.consumer_status'),
    ('iu_subscriber', 'SELECT, INSERT, UPDATE, DELETE', 'TABLE', 'iu_outbox.consumer, iu_outbox.consumer_lease, iu_outbox.consumer_dead_letter'),
    ('iu_subscriber', 'EXECUTE', 'FUNCTION', 'iu_outbox.cursor_state(text, bigint)'),
    ('iu_subscriber', 'EXECUTE', 'FUNCTION', 'iu_outbox.position_before(timestamp with time zone)'),
    ('iu_subscriber', 'EXECUTE', 'FUNCTION', 'iu_outbox.open_consumer(text, text, bigint)'),
    ('iu_subscriber', 'EXECUTE', 'FUNCTION', 'iu_outbox.hold_consumer(text, text, interval), iu_outbox.hold_retention()'),

    ('owner', 'USAGE', 'SCHEMA', 'public, iu_outbox, iu_river'),
    ('owner', 'SELECT, INSERT, UPDATE', 'TABLE', 'public.dot_config'),
    ('owner', 'SELECT', 'TABLE', 'public.event_type_registry, public.iu_piece_collection, public.iu_piece_membership'),
    ('owner', 'SELECT', 'TABLE', 'public.iu_collection_template_registry, public.iu_auto_instantiate_event_log'),
    ('owner', 'SELECT, INSERT, UPDATE, DELETE', 'TABLE', 'iu_outbox.event, iu_outbox.emission, iu_outbox.dead_letter, iu_river.river_job'),
    ('owner', 'SELECT, UPDATE', 'TABLE', 'iu_outbox.emission_counter'),
    ('owner', 'SELECT, INSERT, UPDATE', 'TABLE', 'iu_outbox.epoch'),

    ('owner of 033', 'USAGE', 'SCHEMA', 'public'),
    ('owner of 033', 'SELECT', 'TABLE', 'public.dot_config, public.iu_collection_template_registry'),
    ('owner of 033', 'SELECT, DELETE', 'TABLE', 'public.iu_piece_collection, public.iu_piece_membership'),
    ('owner of 033', 'SELECT, DELETE', 'TABLE', 'public.iu_collection_template_instance_lineage'),
    ('owner of 033', 'SELECT, INSERT, UPDATE, DELETE', 'TABLE', 'public.iu_auto_instantiate_event_log'),
    ('owner of 033', 'EXECUTE', 'FUNCTION', 'public.fn_iu_composer_enabled(), public.fn_iu_compose(text, text, uuid[], text, text)'),
    ('owner of 033', 'EXECUTE', 'FUNCTION', 'public.fn_iu_collection_record_template_instance(uuid, uuid, text, text)')
), item AS MATERIALIZED (
    -- Lists are split at the commas outside of brackets.
    SELECT l.role, l.kind, o.name,
           pg_catalog.split_part(p.privilege, ' ', 1) AS privilege,
           pg_catalog.string_to_array(pg_catalog.substring(p.privilege, '\((.*)\)'), ', ') AS columns
    FROM listed AS l
    CROSS JOIN LATERAL pg_catalog.regexp_split_to_table(l.privileges, ',\s*(?![^(]*\))') AS p (privilege)
    CROSS JOIN LATERAL pg_catalog.regexp_split_to_table(l.objects, ',\s*(?![^(]*\))') AS o (name)
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

-- What roles other than the owner and those above may do with what belongs to the worker or to iu-core, a row for each of
-- their privileges. part: worker (our schemas), core (the baseline up to 032), 033. grantee: NULL for PUBLIC. by_default:
-- default privileges, PostgreSQL's own among them, gave it, as far as they are still the same. option: the role may have
-- the privilege, and not grant it to others.
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
    WHERE t.typtype IN ('e', 'd', 'r') -- the types of rows and arrays have no privileges of their own
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
