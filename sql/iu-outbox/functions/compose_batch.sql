-- Composes the event of each element of the arrays (p_notes and p_traceparents may hold NULLs), and returns the result of
-- fn_iu_auto_instantiate_from_event with the element's number, from 1; NULL: set aside, another transaction works on its
-- suffix. An element without a row was not tried: the others had taken a second by then. p_traceparents: a W3C traceparent each, or one with its tracestate after a space.
-- p_jobs, p_attempts: the job of each event, and which attempt of it this is. A job that ends well is completed here
-- (completed), in the transaction that composed its instance. NULL: the events have no jobs.
-- p_least: of how many events of one template compose_set makes a set; NULL: of none. That function is called for each of
-- the others, and for all if there is an obstacle to sets.
-- Of elements with the same idempotency key the first one is composed, and the others are replays of it.
-- An error of one element is the error of all: the caller tries compose_apart.
-- Locks, in the order of idempotency keys: each suffix by a try, what the function locks by a short wait: an idle
-- transaction of somebody else delays nobody for long; then jobs, of those that nobody has locked. The other settings keep
-- plans, those of foreign-key checks among them, that were made while tables were small.
DROP FUNCTION IF EXISTS iu_outbox.compose_batch(uuid[], text[], uuid[], text[], text[], text[], text[], text[]);
CREATE OR REPLACE FUNCTION iu_outbox.compose_batch(
    p_event_ids uuid[], p_event_types text[], p_template_collection_ids uuid[], p_instance_key_suffixes text[],
    p_emit_modes text[], p_actors text[], p_notes text[], p_traceparents text[],
    p_jobs bigint[], p_attempts integer[], p_least integer)
RETURNS TABLE (n integer, result jsonb, completed boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off SET lock_timeout = '250ms' SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_events iu_outbox.batch_event[] := ARRAY(
        SELECT ROW(u.n, u.event_id, u.event_type, u.template_id, u.suffix, u.emit_mode, u.actor, u.note, u.traceparent,
                   pg_catalog.md5(u.event_id::text || ':' || u.template_id::text || ':' || u.suffix), NULL)::iu_outbox.batch_event
        FROM ROWS FROM (
            pg_catalog.unnest(p_event_ids), pg_catalog.unnest(p_event_types),
            pg_catalog.unnest(p_template_collection_ids), pg_catalog.unnest(p_instance_key_suffixes),
            pg_catalog.unnest(p_emit_modes), pg_catalog.unnest(p_actors), pg_catalog.unnest(p_notes),
            pg_catalog.unnest(p_traceparents)
        ) WITH ORDINALITY AS u (event_id, event_type, template_id, suffix, emit_mode, actor, note, traceparent, n));
    v_results jsonb[] := pg_catalog.array_fill(NULL::jsonb, ARRAY[pg_catalog.cardinality(v_events)]);
    v_done integer[] := '{}';
    v_set record;
    v_event iu_outbox.batch_event;
    v_until timestamptz := pg_catalog.clock_timestamp() + interval '1 s';
    v_untried integer[] := '{}';
    v_jobs bigint[] := '{}'; -- that were completed
BEGIN
    IF p_least IS NOT NULL AND pg_catalog.cardinality(v_events) >= p_least
       AND pg_catalog.has_function_privilege( -- else the call below fails, and says so
           'public.fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text)', 'EXECUTE')
       AND iu_outbox.set_obstacle() IS NULL THEN
        FOR v_set IN
            SELECT (o.event).template_id, pg_catalog.array_agg(o.event) AS events
            FROM (SELECT u AS event, pg_catalog.count(*) OVER (PARTITION BY u.suffix) AS times FROM pg_catalog.unnest(v_events) AS u) AS o
            WHERE o.times = 1 -- of events with one suffix the first in the order of keys wins
            GROUP BY (o.event).template_id
            HAVING pg_catalog.count(*) >= p_least
            ORDER BY (o.event).template_id
        LOOP
            FOR n, result IN SELECT s.n, s.result FROM iu_outbox.compose_set(v_set.template_id, v_set.events) AS s LOOP
                v_results[n] := result;
                v_done := v_done || n;
            END LOOP;
        END LOOP;
    END IF;
    FOR v_event IN
        SELECT u.* FROM pg_catalog.unnest(v_events) AS u WHERE u.n <> ALL (v_done) ORDER BY u.idempotency_key, u.n
    LOOP
        IF pg_catalog.clock_timestamp() > v_until AND pg_catalog.cardinality(v_done) > 0 THEN
            v_untried := v_untried || v_event.n;
            CONTINUE;
        END IF;
        v_done := v_done || v_event.n;
        CONTINUE WHEN NOT pg_catalog.pg_try_advisory_xact_lock(
            pg_catalog.hashtextextended('iu_core.auto_instantiate:' || v_event.suffix, 0));
        PERFORM pg_catalog.set_config('iu_outbox.traceparent', COALESCE(v_event.traceparent, ''), true);
        v_results[v_event.n] := public.fn_iu_auto_instantiate_from_event(
            v_event.event_id, v_event.event_type, v_event.template_id, v_event.suffix, v_event.emit_mode,
            v_event.actor, v_event.note);
    END LOOP;

    IF p_jobs IS NOT NULL THEN
        v_jobs := ARRAY(
            SELECT iu_outbox.complete_jobs(pg_catalog.array_agg(u.job), pg_catalog.array_agg(u.attempt), pg_catalog.array_agg(u.result))
            FROM ROWS FROM (pg_catalog.unnest(p_jobs), pg_catalog.unnest(p_attempts), pg_catalog.unnest(v_results)) AS u (job, attempt, result)
            WHERE u.result ->> 'status' IN ('instantiated', 'idempotent_replay'));
    END IF;
    RETURN QUERY
    SELECT u.n::integer, u.result, COALESCE(u.job = ANY (v_jobs), false)
    FROM ROWS FROM (pg_catalog.unnest(v_results), pg_catalog.unnest(p_jobs)) WITH ORDINALITY AS u (result, job, n)
    WHERE u.n <> ALL (v_untried);
END
$$;
