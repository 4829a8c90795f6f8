-- Roles and grants. Roles belong to the whole cluster: made where the migrating role may, else named
-- in a notice; grants go to those that exist. Functions are for the roles below, not for everybody.
DO $$
DECLARE
    v_role text;
    v_may_create boolean := (SELECT r.rolsuper OR r.rolcreaterole FROM pg_catalog.pg_roles AS r
                             WHERE r.rolname = CURRENT_USER);
    v_function regprocedure;
BEGIN
    FOREACH v_role IN ARRAY ARRAY['iu_app', 'iu_worker', 'iu_operator', 'iu_subscriber'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = v_role);
        IF NOT v_may_create THEN
            RAISE NOTICE 'role % is missing and % may not create it; run as an administrator: CREATE ROLE % NOLOGIN; then run iuworker migrate up again',
                v_role, CURRENT_USER, v_role;
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', v_role);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- another database's migration made it in the meantime
        END;
    END LOOP;

    FOR v_function IN SELECT p.oid FROM pg_catalog.pg_proc AS p
                      WHERE p.pronamespace = 'iu_outbox'::pg_catalog.regnamespace LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', v_function);
    END LOOP;
END
$$;

-- Grants to a role where it exists; one statement an argument.
CREATE OR REPLACE PROCEDURE iu_outbox.grant_to(p_role text, VARIADIC p_privileges text[])
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_privilege text;
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = p_role) THEN
        FOREACH v_privilege IN ARRAY p_privileges LOOP
            EXECUTE pg_catalog.format('GRANT %s TO %I', v_privilege, p_role);
        END LOOP;
    END IF;
END
$$;

CALL iu_outbox.grant_to('iu_app',
    'USAGE ON SCHEMA iu_outbox',
    'INSERT ON iu_outbox.event',
    'SELECT (id, event_id, idempotency_key, created_at) ON iu_outbox.event',
    'SELECT ON iu_outbox.template, iu_outbox.schema_info',
    'EXECUTE ON FUNCTION iu_outbox.event_state(uuid)',
    'EXECUTE ON FUNCTION iu_outbox.template_id(text)',
    'EXECUTE ON FUNCTION iu_outbox.add_event(text, text, uuid, text, text, text, text, integer, timestamptz, jsonb)');

CALL iu_outbox.grant_to('iu_worker',
    'USAGE ON SCHEMA iu_outbox, iu_river, iu_migration',
    'SELECT ON iu_outbox.event',
    'SELECT ON SEQUENCE iu_outbox.event_id_seq', -- to see how busy producers are
    'EXECUTE ON FUNCTION iu_outbox.claim(integer, bigint[], bigint[])',
    'SELECT ON iu_outbox.emission, iu_outbox.emission_counter, iu_outbox.epoch, iu_outbox.schema_info, iu_outbox.template, iu_outbox.consumer, iu_outbox.consumer_status, iu_outbox.consumer_dead_letter',
    'SELECT, DELETE ON iu_outbox.dead_letter',
    'SELECT, INSERT, UPDATE, DELETE ON iu_outbox.worker',
    'SELECT, INSERT (actor, action, detail) ON iu_outbox.audit',
    'SELECT ON ALL TABLES IN SCHEMA iu_migration',
    'SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA iu_river',
    'USAGE, SELECT ON ALL SEQUENCES IN SCHEMA iu_river',
    'EXECUTE ON FUNCTION public.fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text)',
    'SELECT ON public.iu_auto_instantiate_event_log, public.event_type_registry',
    -- What iuworker verify reads.
    'SELECT ON iu_outbox.claimed, iu_outbox.settled, iu_outbox.emission_pruned',
    'SELECT ON public.iu_piece, public.iu_piece_collection, public.iu_piece_membership, public.iu_collection_template_instance_lineage',
    'EXECUTE ON FUNCTION iu_outbox.compose_batch(uuid[], text[], uuid[], text[], text[], text[], text[], text[], boolean)',
    'EXECUTE ON FUNCTION iu_outbox.compose_apart(uuid[], text[], uuid[], text[], text[], text[], text[], text[])',
    'EXECUTE ON FUNCTION iu_outbox.template_free(uuid)',
    'EXECUTE ON FUNCTION iu_outbox.emit(integer)',
    'EXECUTE ON FUNCTION iu_outbox.emit_apart(integer)',
    'EXECUTE ON FUNCTION iu_outbox.sequences()',
    'EXECUTE ON FUNCTION iu_outbox.set_row_aside(bigint, text)',
    'EXECUTE ON FUNCTION iu_outbox.schedule_jobs(integer)',
    'EXECUTE ON FUNCTION iu_outbox.cursor_state(text, bigint)',
    'EXECUTE ON FUNCTION iu_outbox.position_before(timestamptz)',
    'EXECUTE ON FUNCTION iu_outbox.prune_emissions(interval, interval, integer)',
    'EXECUTE ON FUNCTION iu_outbox.attend(interval, interval)',
    'SELECT ON SEQUENCE iu_outbox.dead_letter_id_seq', -- how many there ever were
    'EXECUTE ON FUNCTION iu_outbox.settings()',
    'EXECUTE ON FUNCTION iu_outbox.resume_parked(integer)',
    'EXECUTE ON FUNCTION iu_outbox.resume_held(integer, boolean)',
    'EXECUTE ON FUNCTION iu_outbox.release_jobs(text, bigint[])',
    'EXECUTE ON FUNCTION iu_outbox.gate_open(text)',
    'EXECUTE ON FUNCTION iu_outbox.gate_status()');

CALL iu_outbox.grant_to('iu_operator',
    'USAGE ON SCHEMA iu_outbox, iu_river, iu_migration',
    'INSERT ON iu_outbox.event',
    'SELECT ON ALL TABLES IN SCHEMA iu_outbox',
    'INSERT (actor, action, detail) ON iu_outbox.audit',
    'INSERT, UPDATE, DELETE ON iu_outbox.consumer, iu_outbox.consumer_lease, iu_outbox.consumer_dead_letter',
    'EXECUTE ON FUNCTION iu_outbox.cursor_state(text, bigint)',
    'EXECUTE ON FUNCTION iu_outbox.position_before(timestamptz)',
    'EXECUTE ON FUNCTION iu_outbox.open_consumer(text, text, bigint)',
    'EXECUTE ON FUNCTION iu_outbox.hold_consumer(text, text, interval)',
    'EXECUTE ON FUNCTION iu_outbox.begin_epoch()',
    'SELECT ON SEQUENCE iu_outbox.dead_letter_id_seq',
    'EXECUTE ON FUNCTION iu_outbox.settings()',
    'EXECUTE ON FUNCTION iu_outbox.set_setting(text, text, text)',
    'EXECUTE ON FUNCTION iu_outbox.sequences()',
    'SELECT ON ALL TABLES IN SCHEMA iu_migration',
    'SELECT, INSERT ON ALL TABLES IN SCHEMA iu_river',
    'UPDATE (kind) ON iu_river.river_job', -- River's INSERT asks for it, ON CONFLICT
    'UPDATE (paused_at, updated_at) ON iu_river.river_queue', -- to pause and resume one
    'USAGE, SELECT ON ALL SEQUENCES IN SCHEMA iu_river',
    'EXECUTE ON FUNCTION iu_outbox.event_state(uuid)',
    'EXECUTE ON FUNCTION iu_outbox.template_id(text)',
    'EXECUTE ON FUNCTION iu_outbox.add_event(text, text, uuid, text, text, text, text, integer, timestamptz, jsonb)',
    'EXECUTE ON FUNCTION iu_outbox.gate_open(text)',
    'EXECUTE ON FUNCTION iu_outbox.gate_status()',
    'EXECUTE ON FUNCTION iu_outbox.set_gate(text, boolean, text)',
    'EXECUTE ON FUNCTION iu_outbox.note_jobs(text[])',
    'EXECUTE ON FUNCTION iu_outbox.retry_dead_letters(text, uuid, integer)',
    'EXECUTE ON FUNCTION iu_outbox.drop_dead_letters(text, uuid, integer)',
    'EXECUTE ON FUNCTION iu_outbox.retry_dead_letters(bigint[])',
    'EXECUTE ON FUNCTION iu_outbox.drop_dead_letters(bigint[])',
    'EXECUTE ON FUNCTION iu_outbox.cancel_jobs(bigint[])',
    'EXECUTE ON FUNCTION public.fn_iu_auto_instantiate_rollback_by_actor(text, boolean)',
    'EXECUTE ON FUNCTION public.fn_iu_composer_enabled()',
    'EXECUTE ON FUNCTION public.fn_iu_collection_digest(uuid)',
    'SELECT ON public.dot_config, public.event_type_registry, public.event_route, public.iu_piece, public.iu_piece_collection, public.iu_piece_membership, public.iu_collection_template_registry, public.iu_collection_template_version, public.iu_collection_template_instance_lineage, public.iu_auto_instantiate_event_log, public.v_iu_auto_instantiate_event_log, public.v_iu_auto_instantiate_event_summary');

CALL iu_outbox.grant_to('iu_subscriber',
    'USAGE ON SCHEMA iu_outbox',
    'SELECT ON iu_outbox.schema_info, iu_outbox.emission, iu_outbox.emission_counter, iu_outbox.epoch, iu_outbox.consumer_status',
    'SELECT, INSERT, UPDATE, DELETE ON iu_outbox.consumer, iu_outbox.consumer_lease, iu_outbox.consumer_dead_letter',
    'EXECUTE ON FUNCTION iu_outbox.cursor_state(text, bigint)',
    'EXECUTE ON FUNCTION iu_outbox.position_before(timestamptz)',
    'EXECUTE ON FUNCTION iu_outbox.open_consumer(text, text, bigint)',
    'EXECUTE ON FUNCTION iu_outbox.hold_consumer(text, text, interval)');

DROP PROCEDURE iu_outbox.grant_to(text, text[]);
