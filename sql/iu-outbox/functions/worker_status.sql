-- The worker processes. alive: its last heartbeat is within 10 s of now, in either direction. The lease of a process expires
-- earlier (lease.sql); the rest is the time in which another process sweeps it.
CREATE OR REPLACE VIEW iu_outbox.worker_status AS
    SELECT w.id, w.hostname, w.pid, w.version, w.started_at, w.seen_at, w.session_pid,
           w.seen_at BETWEEN pg_catalog.clock_timestamp() - interval '10 s' AND pg_catalog.clock_timestamp() + interval '10 s' AS alive
    FROM iu_outbox.worker AS w;
