-- What producers call instead of inserting into iu_outbox.event themselves.

-- Inserts an event for a template and returns the id of its outbox row. NULL means the default of the column. The names of
-- its arguments are what callers write: add_event(template => 'welcome-letter', event_type => 'order.placed', ...).
-- Runs with the caller's privileges: it needs what the INSERT needs. Locks what the INSERT locks.
CREATE OR REPLACE FUNCTION iu_outbox.add_event(
    template text, event_type text, event_id uuid DEFAULT NULL, suffix text DEFAULT NULL,
    emit_mode text DEFAULT NULL, actor text DEFAULT NULL, note text DEFAULT NULL, priority integer DEFAULT NULL,
    available_at timestamptz DEFAULT NULL, trace_context jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_event_id uuid := COALESCE(add_event.event_id, pg_catalog.gen_random_uuid());
    v_id bigint;
BEGIN
    INSERT INTO iu_outbox.event AS e
        (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode, actor, note, priority, available_at,
         trace_context)
    VALUES (v_event_id, add_event.event_type, iu_outbox.template_id(add_event.template),
            COALESCE(add_event.suffix, add_event.template || '-' || v_event_id::text), COALESCE(add_event.emit_mode, 'live'),
            COALESCE(add_event.actor, SESSION_USER), add_event.note, COALESCE(add_event.priority, 1)::smallint,
            COALESCE(add_event.available_at, pg_catalog.now()), COALESCE(add_event.trace_context, '{}'))
    RETURNING e.id INTO v_id;
    RETURN v_id;
END
$$;
