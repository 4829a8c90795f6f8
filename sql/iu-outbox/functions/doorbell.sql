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

-- Rings the doorbell of the channel in the trigger's first argument, if its sleeper holds the lock (26997, the second
-- argument). The condition names its operator, because it runs with the search_path of the session that inserts.
CREATE OR REPLACE FUNCTION iu_outbox.ring() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF COALESCE(pg_catalog.current_setting('iu_outbox.doorbell', true), '') OPERATOR(pg_catalog.<>) 'off'
       AND NOT pg_catalog.pg_try_advisory_xact_lock_shared(26997, TG_ARGV[1]::pg_catalog.int4) THEN
        PERFORM pg_catalog.pg_notify(TG_ARGV[0], '');
    END IF;
    RETURN NULL;
END
$$;

-- The same condition is in the WHEN of the trigger on event, since applications insert rows in many and short sessions: loading
-- PL/pgSQL and compiling a function costs each new session milliseconds. PostgreSQL parses a WHEN again for each statement
-- that fires the trigger, so the trigger on emission, which workers fire in long sessions, has none.
CREATE OR REPLACE TRIGGER event_doorbell
    AFTER INSERT ON iu_outbox.event
    FOR EACH STATEMENT
    WHEN (CASE WHEN pg_catalog.current_setting('iu_outbox.doorbell', true) OPERATOR(pg_catalog.=) 'off' THEN false
               ELSE NOT pg_catalog.pg_try_advisory_xact_lock_shared(26997, 1) END)
    EXECUTE FUNCTION iu_outbox.ring('iu_outbox_event', '1');

CREATE OR REPLACE TRIGGER emission_doorbell
    AFTER INSERT ON iu_outbox.emission
    FOR EACH STATEMENT
    EXECUTE FUNCTION iu_outbox.ring('iu_outbox_emission', '2');
