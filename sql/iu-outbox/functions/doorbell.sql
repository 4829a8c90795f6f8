-- Doorbells: a producer rings only while somebody sleeps.
--
-- Who sleeps holds the exclusive session lock (26997, n); a producer tries the shared one, which lives
-- until its commit. The sleeper must win the exclusive lock by a try, take a last look at the table and
-- only then wait: a row that its look missed belongs to a producer whose try came later, and that rings.
-- Locks: 26997,1 relay; 26997,2 emitter. A NOTIFY makes commits queue for one lock of the whole
-- database, so that ringing always would cost the application most of its insert rate: so a sleeper handles single rows
-- without giving its lock up, and gives it up when rows come faster than it handles them.
-- `SET iu_outbox.doorbell = off` keeps a session from ringing and locking (PREPARE TRANSACTION
-- refuses both); its rows are found by the poll.

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
