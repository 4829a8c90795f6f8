-- The functions that producers call instead of inserting into iu_outbox.event themselves.

-- Inserts events and returns their rows in the order given. p_events is a JSON array of objects whose keys are column names; a
-- key that is missing or null gets the column's default. Runs with the caller's privileges. Locks what the INSERT locks.
CREATE OR REPLACE FUNCTION iu_outbox.insert_events(p_events jsonb)
RETURNS TABLE (id bigint, event_id uuid, idempotency_key text, created_at timestamptz)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    INSERT INTO iu_outbox.event AS e
        (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode, actor, note, priority, available_at,
         trace_context)
    SELECT COALESCE(n.event_id, pg_catalog.gen_random_uuid()), n.event_type, n.template_collection_id, n.instance_key_suffix,
           COALESCE(n.emit_mode, 'live'), COALESCE(n.actor, SESSION_USER), n.note, COALESCE(n.priority, 1),
           COALESCE(n.available_at, pg_catalog.now()), COALESCE(n.trace_context, '{}')
    FROM ROWS FROM (pg_catalog.jsonb_populate_recordset(NULL::iu_outbox.event, p_events)) WITH ORDINALITY AS n
    ORDER BY n.ordinality
    RETURNING e.id, e.event_id, e.idempotency_key, e.created_at;
END
$$;

-- Inserts an event for a template and returns the id of its outbox row. NULL means the column's default. Callers
-- name the arguments: add_event(template => 'welcome-letter', event_type => 'order.placed', ...).
-- Runs with the caller's privileges, which must allow the INSERT. Locks what the INSERT locks.
CREATE OR REPLACE FUNCTION iu_outbox.add_event(
    template text, event_type text, event_id uuid DEFAULT NULL, suffix text DEFAULT NULL,
    emit_mode text DEFAULT NULL, actor text DEFAULT NULL, note text DEFAULT NULL, priority integer DEFAULT NULL,
    available_at timestamptz DEFAULT NULL, trace_context jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    event_id := COALESCE(event_id, pg_catalog.gen_random_uuid());
    RETURN (SELECT i.id FROM iu_outbox.insert_events(pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object(
        'event_id', event_id, 'event_type', event_type, 'template_collection_id', iu_outbox.template_id(template),
        'instance_key_suffix', COALESCE(suffix, template || '-' || event_id::text), 'emit_mode', emit_mode, 'actor', actor,
        'note', note, 'priority', priority, 'available_at', available_at, 'trace_context', trace_context))) AS i);
END
$$;
