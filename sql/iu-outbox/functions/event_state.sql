-- Returns where an event is, a row an idempotency key. state: waiting, working, parked, done or dead; rolled_back if its job
-- composed an instance that does not exist any more; gone if its job left neither an instance nor a dead letter, which was
-- dropped or retried. No row: nothing is known of it. What shows the state of an event reads it here, and that of a job in
-- iu_outbox.job, from which this function takes it.
CREATE OR REPLACE FUNCTION iu_outbox.find_event(p_event_id uuid)
RETURNS TABLE (state text, reason text, instance_collection_id uuid, idempotency_key text,
               template_collection_id uuid, instance_key_suffix text, job_id bigint, since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH known AS (
        SELECT 1 AS rank, 'done' AS state, NULL::text AS reason, l.instance_collection_id, l.idempotency_key,
               l.template_collection_id,
               pg_catalog.substr(c.collection_key, pg_catalog.length('tpl-inst:auto:') + 1) AS instance_key_suffix,
               NULL::bigint AS job_id, l.created_at AS since
        FROM public.iu_auto_instantiate_event_log AS l
        JOIN public.iu_piece_collection AS c ON c.id = l.instance_collection_id
        WHERE l.event_id = p_event_id
        UNION ALL
        SELECT CASE WHEN j.unfinished THEN 2 ELSE 5 END,
               CASE WHEN j.unfinished THEN j.event_state
                    WHEN j.output ->> 'status' IN ('instantiated', 'idempotent_replay') THEN 'rolled_back'
                    ELSE 'gone' END,
               CASE j.event_state WHEN 'parked' THEN j.reason
                                  WHEN 'waiting' THEN 'not before ' || iu_outbox.rfc3339(j.scheduled_at)
                                  WHEN 'working' THEN 'retried after: ' || j.reason END,
               NULL, j.event ->> 'idempotency_key', iu_outbox.as_uuid(j.event ->> 'template_collection_id'),
               j.event ->> 'instance_key_suffix', j.id, j.created_at
        FROM iu_outbox.job AS j
        WHERE j.event_id = p_event_id::text
        UNION ALL
        SELECT 3, 'waiting',
               CASE WHEN e.available_at > pg_catalog.now() THEN 'not before ' || iu_outbox.rfc3339(e.available_at)
                    ELSE 'in the outbox' END,
               NULL, e.idempotency_key, e.template_collection_id, e.instance_key_suffix, NULL, e.created_at
        FROM iu_outbox.event AS e
        WHERE e.event_id = p_event_id
        UNION ALL
        SELECT 4, 'dead', pg_catalog.concat_ws(': ', d.status, d.detail), NULL, d.idempotency_key,
               iu_outbox.as_uuid(d.event ->> 'template_collection_id'), d.event ->> 'instance_key_suffix', d.job_id, d.created_at
        FROM iu_outbox.dead_letter AS d
        WHERE d.event_id = p_event_id
    )
    SELECT DISTINCT ON (k.idempotency_key)
           k.state, k.reason, k.instance_collection_id, k.idempotency_key, k.template_collection_id,
           k.instance_key_suffix, k.job_id, k.since
    FROM known AS k
    ORDER BY k.idempotency_key, k.rank, k.state DESC, k.since DESC
$$;

-- Returns where an application's event is, a row an idempotency key: waiting, working, parked, done or
-- dead, with the reason and, if done, the instance. No row: unknown, or rolled back.
CREATE OR REPLACE FUNCTION iu_outbox.event_state(p_event_id uuid)
RETURNS TABLE (state text, reason text, instance_collection_id uuid, idempotency_key text,
               template_collection_id uuid, instance_key_suffix text, job_id bigint, since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT f.* FROM iu_outbox.find_event(p_event_id) AS f WHERE f.state NOT IN ('rolled_back', 'gone')
$$;
