-- Returns what happened from p_from on and before p_until, computed from the jobs that ended_jobs returns. The
-- table history explains the columns. Takes no locks.
CREATE OR REPLACE FUNCTION iu_outbox.count_minute(
    p_from timestamptz, p_until timestamptz, p_slices integer, p_limit integer,
    OUT composed integer, OUT scaleout integer, OUT dry_run integer, OUT dead integer, OUT after_parking integer,
    OUT announced bigint, OUT measured integer, OUT p50 real, OUT p95 real, OUT announce_p95 real)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    v_before bigint := iu_outbox.position_before(p_from);
    v_quantiles double precision[];
BEGIN
    SELECT COALESCE(pg_catalog.sum(e.weight) FILTER (WHERE e.outcome = 'composed'), 0),
           COALESCE(pg_catalog.sum(e.weight) FILTER (WHERE e.outcome = 'scaleout'), 0),
           COALESCE(pg_catalog.sum(e.weight) FILTER (WHERE e.outcome = 'dry_run'), 0),
           COALESCE(pg_catalog.sum(e.weight) FILTER (WHERE e.outcome = 'dead'), 0),
           COALESCE(pg_catalog.sum(e.weight) FILTER (WHERE e.outcome = 'composed' AND e.parked), 0),
           COALESCE(pg_catalog.sum(e.weight) FILTER (WHERE e.outcome = 'composed' AND NOT e.parked), 0),
           pg_catalog.percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY e.seconds)
               FILTER (WHERE e.outcome = 'composed' AND NOT e.parked)
    INTO composed, scaleout, dry_run, dead, after_parking, measured, v_quantiles
    FROM iu_outbox.ended_jobs(p_from, p_until, p_slices, p_limit) AS e;
    p50 := v_quantiles[1];
    p95 := v_quantiles[2];

    -- Dead letters whose job does not exist: the relay could not create one, or it was deleted.
    dead := dead + (
        SELECT pg_catalog.count(*)
        FROM (SELECT d.job_id, d.created_at FROM iu_outbox.dead_letter AS d ORDER BY d.id DESC LIMIT 5000) AS d
        WHERE d.created_at >= p_from AND d.created_at < p_until
          AND NOT EXISTS (SELECT FROM iu_outbox.job AS j WHERE j.id = d.job_id));

    -- Positions have no gaps, so their difference is the number of announcements. Two hundred of them are measured.
    announced := iu_outbox.position_before(p_until) - v_before;
    SELECT pg_catalog.percentile_cont(0.95) WITHIN GROUP (
               ORDER BY GREATEST(0, EXTRACT(EPOCH FROM e.emitted_at - e.created_at)::double precision)) INTO announce_p95
    FROM pg_catalog.generate_series(v_before + 1, v_before + announced, GREATEST(announced / 200, 1)) AS p (position)
    CROSS JOIN LATERAL (SELECT e.emitted_at, e.created_at FROM iu_outbox.emission AS e WHERE e.position = p.position) AS e;
END
$$;
