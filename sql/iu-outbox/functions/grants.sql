-- The grants that are intended: the one list of them.
--
-- A new function, table or view gets a line in the list below, and nothing else: it is what migrate up grants, what it
-- asks for before it begins, what makes it run again when a grant is missing, and what iuworker doctor compares with.
-- Functions are listed by their full signatures, with the types that \df shows; SCHEMA.* stands for all objects of a schema.
-- The roles "owner" and "owner of 033" stand for those as whom the SECURITY DEFINER functions run: they own most of what they
-- need, and nothing is granted to them if they have it already.
--
-- The program runs the texts of the views of grants as well, for logins that may not read the views, and before the views
-- are there. So they read the catalog alone, and each is one statement that begins and ends at the beginning of a line.
CREATE OR REPLACE VIEW iu_outbox.listed_grant AS
WITH listed (roles, privileges, kind, objects) AS (VALUES
    ('iu_app, iu_subscriber', 'USAGE', 'SCHEMA', 'iu_outbox'),
    ('iu_app, iu_operator', 'INSERT', 'TABLE', 'iu_outbox.event'),
    ('iu_app', 'SELECT (id, event_id, idempotency_key, created_at)', 'TABLE', 'iu_outbox.event'),
    ('iu_app', 'SELECT, INSERT', 'TABLE', 'iu_outbox.new_event'),
    ('iu_app', 'SELECT', 'SEQUENCE', 'iu_outbox.event_id_seq'), -- lastval and currval, which drivers ask for the new id; no nextval
    ('iu_app', 'SELECT', 'TABLE', 'iu_outbox.template, iu_outbox.schema_info'),

    ('iu_worker, iu_operator', 'USAGE', 'SCHEMA', 'iu_outbox, iu_river, iu_migration, public'),
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.event'),
    ('iu_worker', 'SELECT', 'SEQUENCE', 'iu_outbox.event_id_seq'), -- to see how busy producers are
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.emission, iu_outbox.emission_counter, iu_outbox.epoch, iu_outbox.schema_info'),
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.template, iu_outbox.consumer, iu_outbox.consumer_status, iu_outbox.consumer_dead_letter'),
    ('iu_worker', 'SELECT, DELETE', 'TABLE', 'iu_outbox.dead_letter'),
    ('iu_worker', 'SELECT, INSERT, UPDATE, DELETE', 'TABLE', 'iu_outbox.worker'),
    ('iu_worker', 'SELECT, INSERT, UPDATE', 'TABLE', 'iu_outbox.worker_report'),
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.attendance'),
    ('iu_worker', 'SELECT, INSERT (actor, action, detail)', 'TABLE', 'iu_outbox.audit'),
    ('iu_worker', 'SELECT, UPDATE', 'TABLE', 'iu_outbox.scaleout'),
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.job, iu_outbox.emission_event, iu_outbox.worker_status'),
    ('iu_worker, iu_operator', 'SELECT', 'TABLE', 'iu_migration.*'),
    ('iu_worker', 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE', 'TABLE', 'iu_river.*'),
    ('iu_worker, iu_operator', 'USAGE, SELECT', 'SEQUENCE', 'iu_river.*'),
    ('iu_worker', 'SELECT', 'TABLE', 'public.iu_auto_instantiate_event_log, public.event_type_registry'),
    -- What iuworker verify reads.
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.claimed, iu_outbox.settled, iu_outbox.emission_pruned'),
    ('iu_worker, iu_operator', 'SELECT', 'TABLE', 'public.iu_piece, public.iu_piece_collection, public.iu_piece_membership'),
    ('iu_worker', 'SELECT', 'TABLE', 'public.iu_collection_template_instance_lineage'),
    ('iu_worker', 'SELECT, INSERT, UPDATE', 'TABLE', 'iu_outbox.verification'),
    ('iu_worker', 'SELECT', 'SEQUENCE', 'iu_outbox.dead_letter_id_seq'), -- how many there ever were
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.lock_holder'),
    ('iu_worker', 'SELECT', 'TABLE', 'iu_outbox.history, iu_outbox.history_consumer, iu_outbox.history_template'),

    ('iu_operator', 'SELECT', 'TABLE', 'iu_outbox.*'),
    ('iu_operator', 'INSERT (actor, action, detail)', 'TABLE', 'iu_outbox.audit'),
    ('iu_operator', 'INSERT, UPDATE, DELETE', 'TABLE', 'iu_outbox.consumer, iu_outbox.consumer_lease, iu_outbox.consumer_dead_letter'),
    ('iu_operator', 'SELECT', 'SEQUENCE', 'iu_outbox.dead_letter_id_seq, iu_outbox.event_id_seq'),
    ('iu_operator', 'SELECT, INSERT', 'TABLE', 'iu_river.*'),
    ('iu_operator', 'UPDATE (kind)', 'TABLE', 'iu_river.river_job'), -- River's INSERT asks for it, ON CONFLICT
    ('iu_operator', 'UPDATE (paused_at, updated_at)', 'TABLE', 'iu_river.river_queue'), -- to pause and resume one
    ('iu_operator', 'INSERT, UPDATE', 'TABLE', 'iu_outbox.scaleout'),
    ('iu_operator', 'SELECT', 'TABLE', 'public.dot_config, public.event_type_registry, public.event_route'),
    ('iu_operator', 'SELECT', 'TABLE', 'public.iu_collection_template_registry, public.iu_collection_template_version'),
    ('iu_operator', 'SELECT', 'TABLE', 'public.iu_collection_template_instance_lineage, public.iu_auto_instantiate_event_log'),
    ('iu_operator', 'SELECT', 'TABLE', 'public.v_iu_auto_instantiate_event_log, public.v_iu_auto_instantiate_event_summary'),

    ('iu_subscriber', 'SELECT', 'TABLE', 'iu_outbox.schema_info, iu_outbox.emission, iu_outbox.emission_counter, iu_outbox.epoch'),
    ('iu_subscriber', 'SELECT', 'TABLE', 'iu_outbox.consumer_status'),
    ('iu_subscriber', 'SELECT, INSERT, UPDATE, DELETE', 'TABLE', 'iu_outbox.consumer, iu_outbox.consumer_lease, iu_outbox.consumer_dead_letter'),

    ('iu_app, iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.add_event(text, text, uuid, text, text, text, text, integer, timestamp with time zone, jsonb)'),
    ('iu_app, iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.event_state(uuid), iu_outbox.insert_events(jsonb), iu_outbox.nearest_templates(text)'),
    ('iu_app, iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.template_id(text)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.attend(interval, interval), iu_outbox.claim(integer, bigint[], bigint[])'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.compose_apart(uuid[], text[], uuid[], text[], text[], text[], text[], text[])'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.compose_batch(uuid[], text[], uuid[], text[], text[], text[], text[], text[], bigint[], integer[], integer)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.compose_claimed(uuid[], text[], uuid[], text[], text[], text[], text[], text[], text, integer, text, bigint[], jsonb[], integer)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.compose_alone(text, integer, integer)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.complete_jobs(bigint[], integer[], jsonb[])'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.insert_completed_jobs(text, jsonb[], jsonb[], integer), iu_outbox.hand_over(boolean)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.lock_ready_jobs(text, integer), iu_outbox.complete_ready_jobs(text, bigint[], jsonb[])'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.compose_set(uuid, iu_outbox.batch_event[])'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.emit(integer, bigint), iu_outbox.emit_alone(), iu_outbox.emit_apart(integer), iu_outbox.fence(text, integer)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.lease_valid(timestamp with time zone), iu_outbox.lock_jobs(bigint[])'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.prune_emissions(interval, interval, integer)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.release_jobs(text, bigint[]), iu_outbox.renew_lease(text, integer, integer)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.resume_held(integer, boolean), iu_outbox.resume_parked(integer)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.schedule_jobs(integer), iu_outbox.set_row_aside(bigint, text), iu_outbox.sweep_leases()'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.take_lease(text, integer, text, integer, text), iu_outbox.template_free(uuid)'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'iu_outbox.wake_late(), iu_outbox.write_history()'),
    ('iu_worker', 'EXECUTE', 'FUNCTION', 'public.fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text)'),
    ('iu_worker, iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.announcing(), iu_outbox.as_uuid(text)'),
    ('iu_worker, iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.count_minute(timestamp with time zone, timestamp with time zone, integer, integer)'),
    ('iu_worker, iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.ended_jobs(timestamp with time zone, timestamp with time zone, integer, integer)'),
    ('iu_worker, iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.composed_event(uuid, text), iu_outbox.event_source()'),
    ('iu_worker, iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.rfc3339(timestamp with time zone), iu_outbox.tracestate(text), iu_outbox.set_obstacle()'),
    ('iu_worker, iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.event_type(), iu_outbox.gate_open(text), iu_outbox.gate_status()'),
    ('iu_worker, iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.may_work(oid), iu_outbox.parked_jobs(text), iu_outbox.sequences()'),
    ('iu_worker, iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.settings(), iu_outbox.unfinished_jobs(text), iu_outbox.unique_job(text), iu_outbox.unique_key(text), iu_river.*'),
    ('iu_worker, iu_operator, iu_subscriber', 'EXECUTE', 'FUNCTION', 'iu_outbox.cursor_state(text, bigint)'),
    ('iu_worker, iu_operator, iu_subscriber', 'EXECUTE', 'FUNCTION', 'iu_outbox.position_before(timestamp with time zone)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.begin_epoch(), iu_outbox.cancel_jobs(bigint[]), iu_outbox.count_unfinished(integer), iu_outbox.drop_dead_letters(bigint[])'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.drop_dead_letters(text, uuid, integer), iu_outbox.find_event(uuid)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.note_jobs(text[]), iu_outbox.retry_dead_letters(bigint[])'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.retry_dead_letters(text, uuid, integer), iu_outbox.set_gate(text, boolean, text)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'iu_outbox.set_setting(text, text, text), public.fn_iu_auto_instantiate_rollback_by_actor(text, boolean)'),
    ('iu_operator', 'EXECUTE', 'FUNCTION', 'public.fn_iu_collection_digest(uuid), public.fn_iu_composer_enabled()'),
    ('iu_operator, iu_subscriber', 'EXECUTE', 'FUNCTION', 'iu_outbox.hold_consumer(text, text, interval), iu_outbox.hold_retention()'),
    ('iu_operator, iu_subscriber', 'EXECUTE', 'FUNCTION', 'iu_outbox.open_consumer(text, text, bigint)'),

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
)
-- Lists are split at the commas outside of brackets.
SELECT r.role, l.kind, o.name,
       pg_catalog.split_part(p.privilege, ' ', 1) AS privilege,
       pg_catalog.string_to_array(pg_catalog.substring(p.privilege, '\((.*)\)'), ', ') AS columns
FROM listed AS l
CROSS JOIN LATERAL pg_catalog.regexp_split_to_table(l.roles, ', ') AS r (role)
CROSS JOIN LATERAL pg_catalog.regexp_split_to_table(l.privileges, ',\s*(?![^(]*\))') AS p (privilege)
CROSS JOIN LATERAL pg_catalog.regexp_split_to_table(l.objects, ',\s*(?![^(]*\))') AS o (name)
;
