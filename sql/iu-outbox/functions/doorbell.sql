-- Doorbells: a producer sends a NOTIFY only while the relay or the emitter sleeps.
--
-- A sleeper holds the exclusive session lock (26997, n). A producer tries the shared lock, which it keeps until its
-- commit, and rings if it does not get it. A sleeper first tries the exclusive lock, then reads the table once
-- more, and only then waits: a producer whose row this read missed tries its lock later, and therefore rings.
-- Locks: (26997, 1) relay; (26997, 2) emitter. Commits with a NOTIFY queue for one lock of the whole database, so
-- ringing every time would cost the application most of its insert rate. Therefore a sleeper handles single rows
-- without releasing its lock, and releases it if rows arrive faster than it handles them.
-- `SET iu_outbox.doorbell = off` keeps a session from ringing and locking, because PREPARE TRANSACTION refuses
-- both; the poll finds its rows.

-- Rings the doorbell named by the trigger's argument. Takes no locks, reads no table.
CREATE OR REPLACE FUNCTION iu_outbox.ring() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_notify(TG_ARGV[0], '');
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER event_doorbell
    AFTER INSERT ON iu_outbox.event
    FOR EACH STATEMENT
    WHEN (pg_catalog.current_setting('iu_outbox.doorbell', true) IS DISTINCT FROM 'off'
          AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(26997, 1))
    EXECUTE FUNCTION iu_outbox.ring('iu_outbox_event');

CREATE OR REPLACE TRIGGER emission_doorbell
    AFTER INSERT ON iu_outbox.emission
    FOR EACH STATEMENT
    WHEN (pg_catalog.current_setting('iu_outbox.doorbell', true) IS DISTINCT FROM 'off'
          AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(26997, 2))
    EXECUTE FUNCTION iu_outbox.ring('iu_outbox_emission');
