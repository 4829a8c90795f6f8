-- Clears a consumer's last_event_id if its position moved without it: the previous release, or an update by hand,
-- does not set the id.
CREATE OR REPLACE FUNCTION iu_outbox.keep_last_event() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.last_event_id := NULL;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER iu_outbox_last_event_moved
    BEFORE UPDATE ON iu_outbox.consumer
    FOR EACH ROW
    WHEN (NEW.position <> OLD.position AND NEW.last_event_id = OLD.last_event_id)
    EXECUTE FUNCTION iu_outbox.keep_last_event();
ALTER TABLE iu_outbox.consumer ENABLE ALWAYS TRIGGER iu_outbox_last_event_moved;

-- Keeps emissions from being pruned until the transaction ends. Locks the row of retention, shared.
CREATE OR REPLACE FUNCTION iu_outbox.hold_retention() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM iu_outbox.retention FOR KEY SHARE;
END
$$;

-- Creates a consumer, unless it exists, after p_position of p_epoch; both NULL: at the beginning of what is kept. Returns
-- whether it created one. Locks the row of retention, shared, so that nothing that the new consumer needs is pruned.
CREATE OR REPLACE FUNCTION iu_outbox.open_consumer(p_name text, p_epoch text, p_position bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM iu_outbox.consumer AS c WHERE c.name = p_name) THEN
        RETURN false;
    END IF;
    PERFORM iu_outbox.hold_retention();
    INSERT INTO iu_outbox.consumer (name, epoch, position)
    SELECT p_name, COALESCE(p_epoch, s.epoch), COALESCE(p_position, s.kept_after)
    FROM iu_outbox.cursor_state(NULL, -1) AS s
    ON CONFLICT (name) DO NOTHING;
    RETURN FOUND;
END
$$;

-- Leases a consumer to a process for p_for from now, or extends the lease that the process has. Returns held, taken
-- (another process has the lease) or gone (the consumer does not exist). Locks the consumer's lease. Ignores a lease
-- that ends more than an hour from now: no process takes one that long, so the server's clock must have been set back.
CREATE OR REPLACE FUNCTION iu_outbox.hold_consumer(p_name text, p_process text, p_for interval) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO iu_outbox.consumer_lease AS l (consumer, process, lease_until)
    SELECT c.name, p_process, pg_catalog.clock_timestamp() + p_for
    FROM iu_outbox.consumer AS c WHERE c.name = p_name
    ON CONFLICT (consumer) DO UPDATE
    SET process = EXCLUDED.process,
        lease_until = EXCLUDED.lease_until,
        acquired_at = CASE WHEN l.process = EXCLUDED.process THEN l.acquired_at ELSE pg_catalog.now() END
    WHERE l.process = EXCLUDED.process
       OR l.lease_until NOT BETWEEN pg_catalog.clock_timestamp() AND pg_catalog.clock_timestamp() + interval '1 hour';
    RETURN CASE
        WHEN FOUND THEN 'held'
        WHEN EXISTS (SELECT FROM iu_outbox.consumer AS c WHERE c.name = p_name) THEN 'taken'
        ELSE 'gone' END;
END
$$;
