-- Consumers as operators see them. state: that of the cursor; also rewound if the event at the consumer's position
-- is not the one that its process read there.
-- lag_events: how many announced events it has not handled, whatever its filters; lag_seconds: how long the first
-- of them has waited. Both are NULL unless state is ok. process: the process that works for it now; NULL: none.
-- expires_seconds: for how long, counted while workers run, events that it has not handled are certain to be kept.
-- NULL while a process works for it, if no worker has stated how long it keeps emissions, or if state is not ok.
-- expiring: expires_seconds is at most a day, or at most half of the consumer's expiry if that is less.
CREATE OR REPLACE VIEW iu_outbox.consumer_status AS
    SELECT c.name, c.epoch, c.position, h.state,
           CASE WHEN h.state = 'ok' THEN s.position - c.position END AS lag_events,
           CASE WHEN h.state = 'ok' THEN w.seconds END AS lag_seconds,
           CASE WHEN l.lease_until > pg_catalog.clock_timestamp() THEN l.process END AS process,
           CASE WHEN l.lease_until > pg_catalog.clock_timestamp() THEN l.acquired_at END AS process_since,
           GREATEST(c.updated_at, CASE WHEN l.lease_until > pg_catalog.clock_timestamp()
                                       THEN pg_catalog.clock_timestamp() ELSE l.lease_until END) AS active_at,
           c.tries, c.last_error, c.last_error_at,
           (SELECT pg_catalog.count(*) FROM iu_outbox.consumer_dead_letter AS d WHERE d.consumer = c.name) AS dead_letters,
           s.epoch AS end_epoch, s.position AS end_position, c.created_at, c.updated_at,
           x.seconds AS expires_seconds,
           COALESCE(x.seconds <= LEAST(86400, a.consumer_expiry / 2), false) AS expiring
    FROM iu_outbox.consumer AS c
    CROSS JOIN LATERAL iu_outbox.cursor_state(c.epoch, c.position) AS s
    CROSS JOIN LATERAL (
        SELECT CASE WHEN s.state = 'ok' AND EXISTS (
            SELECT FROM iu_outbox.emission AS e
            WHERE e.position = c.position AND e.instance_collection_id <> c.last_event_id) THEN 'rewound' ELSE s.state END AS state) AS h
    LEFT JOIN iu_outbox.consumer_lease AS l ON l.consumer = c.name
    CROSS JOIN iu_outbox.attendance AS a
    LEFT JOIN iu_outbox.consumer_attendance AS ca ON ca.consumer = c.name
    CROSS JOIN LATERAL (
        SELECT COALESCE((
            SELECT GREATEST(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - e.emitted_at), 0)
            FROM iu_outbox.emission AS e WHERE e.position > c.position
            ORDER BY e.position LIMIT 1), 0)::double precision AS seconds) AS w
    CROSS JOIN LATERAL (
        SELECT CASE WHEN h.state = 'ok' AND a.consumer_expiry IS NOT NULL
                         AND (l.lease_until > pg_catalog.clock_timestamp()) IS NOT TRUE THEN GREATEST(
            a.consumer_expiry - CASE WHEN (ca.moved_at, ca.lease_until) IS NOT DISTINCT FROM (c.updated_at, l.lease_until)
                                     THEN a.attended - ca.active ELSE 0 END,
            LEAST(a.grace, a.consumer_expiry) - (a.attended - a.resumed),
            a.retention - w.seconds,
            0) END AS seconds) AS x;
