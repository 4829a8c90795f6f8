-- Deletes up to p_limit emissions that were announced more than p_retention ago, lowest positions first, and returns
-- how many. Keeps those that a consumer has yet to handle if it was active within p_consumer_expiry of attended time
-- (NULL: consumers hold nothing back). Keeps everything during the grace after a gap (attend), which lasts at most
-- p_retention, and for consumers at most p_consumer_expiry. Updates emission_pruned. Locks the row of retention, then
-- emission rows in position order, then emission_pruned; waits for a rollback that marks or counts one.
CREATE OR REPLACE FUNCTION iu_outbox.prune_emissions(
    p_retention interval, p_consumer_expiry interval, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_attendance iu_outbox.attendance;
    v_expiry double precision := EXTRACT(EPOCH FROM p_consumer_expiry);
    v_upto bigint;
    v_count integer;
    v_position bigint;
    v_instances bigint;
    v_created_until timestamptz;
BEGIN
    PERFORM FROM iu_outbox.retention FOR UPDATE;
    SELECT * INTO STRICT v_attendance FROM iu_outbox.attendance;
    IF v_attendance.attended - v_attendance.resumed < LEAST(v_attendance.grace, EXTRACT(EPOCH FROM p_retention)) THEN
        RETURN 0;
    END IF;
    SELECT pg_catalog.min(c.position) INTO v_upto
    FROM iu_outbox.consumer AS c
    LEFT JOIN iu_outbox.consumer_lease AS l ON l.consumer = c.name
    LEFT JOIN iu_outbox.consumer_attendance AS ca ON ca.consumer = c.name
    WHERE v_expiry IS NOT NULL
      AND ((ca.moved_at, ca.lease_until) IS DISTINCT FROM (c.updated_at, l.lease_until) -- active since the last attend()
           OR v_attendance.attended - ca.active < v_expiry
           OR v_attendance.attended - v_attendance.resumed < LEAST(v_attendance.grace, v_expiry));

    WITH lowest AS MATERIALIZED (
        SELECT e.position, e.emitted_at FROM iu_outbox.emission AS e
        WHERE e.position <= COALESCE(v_upto, 9223372036854775807)
        ORDER BY e.position
        LIMIT p_limit
    ), old AS MATERIALIZED (
        -- Leaves no hole: what is kept begins at the first emission that is too young.
        SELECT o.position FROM lowest AS o
        WHERE o.position < COALESCE((SELECT pg_catalog.min(y.position) FROM lowest AS y
                                     WHERE y.emitted_at >= pg_catalog.now() - p_retention), 9223372036854775807)
    ), deleted AS (
        DELETE FROM iu_outbox.emission AS e USING old AS o WHERE e.position = o.position
        RETURNING e.position, e.created_at, e.rolled_back_at
    )
    SELECT pg_catalog.count(*), pg_catalog.max(d.position), pg_catalog.count(*) FILTER (WHERE d.rolled_back_at IS NULL),
           pg_catalog.max(d.created_at)
    INTO v_count, v_position, v_instances, v_created_until FROM deleted AS d;
    IF v_count > 0 THEN
        UPDATE iu_outbox.emission_pruned AS p
        SET position = v_position, instances = p.instances + v_instances,
            created_until = GREATEST(p.created_until, v_created_until);
    END IF;
    RETURN v_count;
END
$$;
