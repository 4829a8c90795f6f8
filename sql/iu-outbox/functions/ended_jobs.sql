-- Returns those of our jobs that ended from p_from on and before p_until. To read few rows, it divides that time
-- into p_slices equal parts, returns at most p_limit jobs of each state in each part, and counts up to twenty times
-- as many. weight: the number of jobs that the row stands for.
-- outcome: composed, scaleout, dry_run, dead, or other (a replay, or cancelled by an operator). seconds: from
-- INSERT, or from available_at if that is later, to the job's end. parked: whether the job was ever parked.
CREATE OR REPLACE FUNCTION iu_outbox.ended_jobs(p_from timestamptz, p_until timestamptz, p_slices integer, p_limit integer)
RETURNS TABLE (at timestamptz, weight double precision, outcome text, template text, seconds double precision, parked boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
    SELECT j.finalized_at,
           c.n::double precision / LEAST(c.n, p_limit)
               * CASE WHEN c.n < 20 * p_limit THEN 1
                      ELSE GREATEST(1, EXTRACT(EPOCH FROM s.until - s.at) / NULLIF(EXTRACT(EPOCH FROM c.last_at - s.at), 0)) END,
           CASE
               WHEN j.state = 'completed' AND j.output ->> 'status' IS DISTINCT FROM 'instantiated' THEN 'other'
               WHEN j.state = 'completed' AND j.event ->> 'emit_mode' = 'dry_run' THEN 'dry_run'
               WHEN j.state = 'completed' AND j.queue = 'scaleout' THEN 'scaleout'
               WHEN j.state = 'completed' THEN 'composed'
               WHEN j.duplicate THEN 'other'
               WHEN j.cancel_requested AND NOT EXISTS (SELECT FROM iu_outbox.dead_letter AS d WHERE d.job_id = j.id) THEN 'other'
               ELSE 'dead' END,
           j.event ->> 'template_collection_id',
           GREATEST(0, EXTRACT(EPOCH FROM j.finalized_at - GREATEST(
               CASE WHEN j.event ->> 'created_at' ~ '^20\d\d-\d\d-\d\dT' THEN (j.event ->> 'created_at')::timestamptz ELSE j.created_at END,
               CASE WHEN j.event ->> 'available_at' ~ '^20\d\d-\d\d-\d\dT' THEN (j.event ->> 'available_at')::timestamptz END))),
           j.was_parked
    FROM (SELECT p_from + (p_until - p_from) * (i::double precision / p_slices) AS at,
                 p_from + (p_until - p_from) * ((i + 1)::double precision / p_slices) AS until
          FROM pg_catalog.generate_series(0, p_slices - 1) AS i) AS s
    CROSS JOIN (VALUES ('completed'::iu_river.river_job_state), ('cancelled'), ('discarded')) AS st (state)
    CROSS JOIN LATERAL (
        SELECT pg_catalog.count(*) AS n, pg_catalog.max(j.finalized_at) AS last_at
        FROM (SELECT j.finalized_at FROM iu_outbox.job AS j
              WHERE j.state = st.state AND j.finalized_at >= s.at AND j.finalized_at < s.until
              ORDER BY j.finalized_at LIMIT 20 * p_limit) AS j) AS c
    CROSS JOIN LATERAL (
        SELECT j.* FROM iu_outbox.job AS j
        WHERE c.n > 0 AND j.state = st.state AND j.finalized_at >= s.at AND j.finalized_at < s.until
        ORDER BY j.finalized_at LIMIT p_limit) AS j
$$;
