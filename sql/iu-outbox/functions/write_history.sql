-- The history: one row per minute of what happened, for the charts on the pages. It is computed from rows that
-- exist anyway, so INSERTs, jobs and announcements do no work for it.

-- Writes the minute that ended last, or else the latest missing minute of the hour before it, and deletes what is older
-- than seven days. The history begins with the installation. Returns the minute that it wrote; NULL if there is none to
-- write, or another process is writing it. A minute is written at least five seconds after its end, because the end of
-- a job is noted a moment later. One that is written late lacks the state at its end and the number of inserted events.
-- Reads at most 500 jobs of each second, and counts 10,000; for the templates, each of which must be right, at most
-- 2,000, and counts 40,000. Locks the new row; waits at most two seconds for another writer.
CREATE OR REPLACE FUNCTION iu_outbox.write_history() RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET lock_timeout = '2s' AS $$
DECLARE
    v_now timestamptz := pg_catalog.clock_timestamp();
    v_last timestamptz := pg_catalog.date_trunc('minute', v_now - interval '5 seconds', 'UTC') - interval '1 minute';
    v_at timestamptz;
    v_until timestamptz;
BEGIN
    SELECT m.at INTO v_at
    FROM pg_catalog.generate_series(v_last, v_last - interval '59 minutes', interval '-1 minute') AS m (at)
    WHERE m.at + interval '1 minute' > (SELECT pg_catalog.min(e.created_at) FROM iu_outbox.epoch AS e)
      AND NOT EXISTS (SELECT FROM iu_outbox.history AS h WHERE h.at = m.at)
    ORDER BY m.at DESC
    LIMIT 1;
    IF v_at IS NULL THEN
        RETURN NULL;
    END IF;
    v_until := v_at + interval '1 minute';
    INSERT INTO iu_outbox.history (at) VALUES (v_at) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;

    UPDATE iu_outbox.history AS h
    SET composed = c.composed, scaleout = c.scaleout, dry_run = c.dry_run, dead = c.dead, after_parking = c.after_parking,
        announced = c.announced, measured = c.measured, p50 = c.p50, p95 = c.p95, announce_p95 = c.announce_p95
    FROM iu_outbox.count_minute(v_at, v_until, 60, 500) AS c
    WHERE h.at = v_at;

    INSERT INTO iu_outbox.history_template AS t (at, template_collection_id, composed, dead, p95)
    SELECT pg_catalog.date_bin('5 minutes', v_at, '2000-01-01 00:00:00+00'), iu_outbox.as_uuid(e.template),
           COALESCE(pg_catalog.sum(e.weight) FILTER (WHERE e.outcome <> 'dead'), 0),
           COALESCE(pg_catalog.sum(e.weight) FILTER (WHERE e.outcome = 'dead'), 0),
           pg_catalog.percentile_cont(0.95) WITHIN GROUP (ORDER BY e.seconds) FILTER (WHERE e.outcome = 'composed' AND NOT e.parked)
    FROM iu_outbox.ended_jobs(v_at, v_until, 60, 2000) AS e
    WHERE e.outcome <> 'other' AND iu_outbox.as_uuid(e.template) IS NOT NULL
    GROUP BY iu_outbox.as_uuid(e.template)
    ORDER BY pg_catalog.sum(e.weight) DESC
    LIMIT 50
    ON CONFLICT (at, template_collection_id) DO UPDATE
    SET composed = t.composed + EXCLUDED.composed, dead = t.dead + EXCLUDED.dead, p95 = GREATEST(t.p95, EXCLUDED.p95);

    IF v_at = v_last THEN
        PERFORM iu_outbox.note_history(v_at);
    END IF;

    DELETE FROM iu_outbox.history AS h WHERE h.at < v_last - interval '7 days';
    DELETE FROM iu_outbox.history_consumer AS h WHERE h.at < v_last - interval '7 days';
    DELETE FROM iu_outbox.history_template AS h WHERE h.at < v_last - interval '7 days';
    RETURN v_at;
EXCEPTION WHEN lock_not_available THEN
    RETURN NULL;
END
$$;

-- Adds the current state to the row of the minute that ended last. Counts at most 100,000 rows of each kind.
CREATE OR REPLACE FUNCTION iu_outbox.note_history(p_at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    v_now timestamptz := pg_catalog.clock_timestamp();
    v_seq bigint := (SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END FROM iu_outbox.event_id_seq AS s);
BEGIN
    UPDATE iu_outbox.history AS h
    SET counted_at = v_now,
        event_seq = v_seq,
        inserted = (SELECT GREATEST(v_seq - b.event_seq, 0) FROM iu_outbox.history AS b WHERE b.at = p_at - interval '1 minute'),
        outbox = (SELECT pg_catalog.count(*) FROM (SELECT FROM iu_outbox.event LIMIT 100000) AS e),
        outbox_age = (SELECT GREATEST(0, EXTRACT(EPOCH FROM v_now - e.created_at)) FROM iu_outbox.event AS e ORDER BY e.id LIMIT 1),
        unannounced = (SELECT pg_catalog.count(*) FROM (SELECT FROM iu_outbox.emission AS e WHERE e.position IS NULL LIMIT 100000) AS e),
        unannounced_age = (SELECT GREATEST(0, EXTRACT(EPOCH FROM v_now - e.created_at)) FROM iu_outbox.emission AS e
                           WHERE e.position IS NULL ORDER BY e.id LIMIT 1),
        parked_composer = p.composer, parked_auto_instantiate = p.auto_instantiate, held = p.held,
        workers = w.alive, started = w.started, versions = w.versions
    FROM (SELECT pg_catalog.count(*) FILTER (WHERE j.mark ->> 'gate' = 'composer') AS composer,
                 pg_catalog.count(*) FILTER (WHERE j.mark ->> 'gate' = 'auto-instantiate') AS auto_instantiate,
                 pg_catalog.count(*) FILTER (WHERE j.mark ->> 'status' = 'installation_fault') AS held
          FROM (SELECT j.parked AS mark FROM iu_outbox.job AS j WHERE j.state = 'scheduled' LIMIT 100000) AS j) AS p,
         (SELECT pg_catalog.count(*) AS alive,
                 pg_catalog.count(*) FILTER (WHERE w.started_at >= p_at AND w.started_at < p_at + interval '1 minute') AS started,
                 pg_catalog.array_agg(DISTINCT w.version ORDER BY w.version) AS versions
          FROM iu_outbox.worker_status AS w WHERE w.alive) AS w
    WHERE h.at = p_at;

    INSERT INTO iu_outbox.history_consumer (at, consumer, lag)
    SELECT p_at, c.name, c.lag_events FROM iu_outbox.consumer_status AS c
    ORDER BY c.lag_events DESC NULLS LAST, c.name
    LIMIT 100
    ON CONFLICT DO NOTHING;
END
$$;
