-- Returns where an application's event is, a row an idempotency key: waiting, working, parked, done or
-- dead, with the reason and, if done, the instance. No row: unknown, or rolled back.
CREATE OR REPLACE FUNCTION iu_outbox.event_state(p_event_id uuid)
RETURNS TABLE (state text, reason text, instance_collection_id uuid, idempotency_key text,
               template_collection_id uuid, instance_key_suffix text, job_id bigint, since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET gin_fuzzy_search_limit = 0 AS $$
    WITH known AS (
        SELECT 1 AS rank, 'done' AS state, NULL::text AS reason, l.instance_collection_id, l.idempotency_key,
               l.template_collection_id,
               pg_catalog.substr(c.collection_key, pg_catalog.length('tpl-inst:auto:') + 1) AS instance_key_suffix,
               NULL::bigint AS job_id, l.created_at AS since
        FROM public.iu_auto_instantiate_event_log AS l
        JOIN public.iu_piece_collection AS c ON c.id = l.instance_collection_id
        WHERE l.event_id = p_event_id
        UNION ALL
        SELECT 2,
               CASE WHEN j.metadata ? 'parked' THEN 'parked'
                    WHEN j.state = 'scheduled' AND j.attempt = 0 AND NOT j.metadata ? 'retry' THEN 'waiting'
                    ELSE 'working' END,
               CASE WHEN j.metadata ? 'parked' THEN j.metadata #>> '{parked,reason}'
                    WHEN j.state = 'scheduled' AND j.attempt = 0 AND NOT j.metadata ? 'retry'
                        THEN 'not before ' || iu_outbox.rfc3339(j.scheduled_at)
                    WHEN j.metadata ? 'retry' THEN pg_catalog.concat('retried after: ', j.metadata #>> '{retry,error}')
                    WHEN j.state = 'retryable' OR j.errors IS NOT NULL
                        THEN 'retried after: ' || (j.errors[pg_catalog.array_upper(j.errors, 1)] ->> 'error')
               END,
               NULL, j.args ->> 'idempotency_key',
               (j.args ->> 'template_collection_id')::uuid, j.args ->> 'instance_key_suffix', j.id, j.created_at
        FROM iu_river.river_job AS j
        WHERE j.kind || '' = 'auto_instantiate' -- not by River's index on kind, which finds nearly every job
          AND j.args @> pg_catalog.jsonb_build_object('event_id', p_event_id)
          AND j.state NOT IN ('cancelled', 'completed', 'discarded')
        UNION ALL
        SELECT 3, 'waiting',
               CASE WHEN e.available_at > pg_catalog.now() THEN 'not before ' || iu_outbox.rfc3339(e.available_at)
                    ELSE 'in the outbox' END,
               NULL, e.idempotency_key, e.template_collection_id, e.instance_key_suffix, NULL, e.created_at
        FROM iu_outbox.event AS e
        WHERE e.event_id = p_event_id
        UNION ALL
        SELECT 4, 'dead', pg_catalog.concat_ws(': ', d.status, d.detail), NULL, d.idempotency_key,
               CASE WHEN d.event ->> 'template_collection_id' ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
                    THEN (d.event ->> 'template_collection_id')::uuid END,
               d.event ->> 'instance_key_suffix', d.job_id, d.created_at
        FROM iu_outbox.dead_letter AS d
        WHERE d.event_id = p_event_id
    )
    SELECT DISTINCT ON (k.idempotency_key)
           k.state, k.reason, k.instance_collection_id, k.idempotency_key, k.template_collection_id,
           k.instance_key_suffix, k.job_id, k.since
    FROM known AS k
    ORDER BY k.idempotency_key, k.rank, k.since DESC
$$;
