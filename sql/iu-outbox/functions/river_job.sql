-- Each job is updated three times and each update leaves a dead row: vacuum by thousands of them, not by a fifth of a
-- table that holds a day's jobs.
ALTER TABLE iu_river.river_job SET (
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 10000);

-- A job that may run now is due now: the clock of the client that inserts it may be ahead.
CREATE OR REPLACE FUNCTION iu_outbox.due_now() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.scheduled_at := pg_catalog.now();
    NEW.created_at := LEAST(NEW.created_at, pg_catalog.now());
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER iu_outbox_due_now
    BEFORE INSERT ON iu_river.river_job
    FOR EACH ROW
    WHEN (NEW.state = 'available' AND NEW.scheduled_at > pg_catalog.clock_timestamp())
    EXECUTE FUNCTION iu_outbox.due_now();
