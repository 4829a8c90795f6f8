-- Each worker calls this once a minute with how long it keeps emissions and how long an inactive consumer holds them back;
-- both are NULL if it keeps everything. Attended time advances by the time since the last call, but by at most two minutes:
-- it stands still while no worker runs and if the server's clock jumps. Nothing is pruned for the length of such a gap, at
-- most a day, or for a day in a new epoch (a restore, a failover): subscribers need time to return, too.
-- A consumer that did anything since the last call becomes active. Locks the row of attendance.
CREATE OR REPLACE FUNCTION iu_outbox.attend(p_retention interval, p_consumer_expiry interval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v iu_outbox.attendance;
    v_now timestamptz;
    v_epoch text := (SELECT c.epoch FROM iu_outbox.emission_counter AS c);
    v_passed double precision;
    v_gap double precision := 0;
    v_retention double precision := EXTRACT(EPOCH FROM p_retention);
    v_expiry double precision := EXTRACT(EPOCH FROM p_consumer_expiry);
BEGIN
    SELECT * INTO STRICT v FROM iu_outbox.attendance FOR UPDATE;
    v_now := pg_catalog.clock_timestamp();
    v_passed := COALESCE(EXTRACT(EPOCH FROM v_now - v.ticked_at), 1e9);
    IF v_passed > 120 THEN
        v_gap := v_passed - 120;
    ELSIF v_passed < 0 THEN
        v_gap := -v_passed;
    END IF;
    IF v.epoch IS DISTINCT FROM v_epoch THEN
        v_gap := 86400;
    END IF;
    IF v.ticked_at IS NOT NULL THEN
        v.attended := v.attended + LEAST(GREATEST(v_passed, 0), 120);
    END IF;
    IF v_gap > 0 THEN
        v.grace := GREATEST(LEAST(v_gap, 86400), v.grace - (v.attended - v.resumed));
        v.resumed := v.attended;
    END IF;
    -- The shortest times of all workers count, until no worker has stated them for five minutes.
    IF v.retention IS NULL OR (v_retention <= v.retention AND v_expiry <= v.consumer_expiry)
       OR v.attended - v.agreed_at > 300 THEN
        v.retention := v_retention;
        v.consumer_expiry := v_expiry;
        v.agreed_at := v.attended;
    ELSIF v_retention < v.retention OR v_expiry < v.consumer_expiry THEN
        v.retention := LEAST(v.retention, v_retention);
        v.consumer_expiry := LEAST(v.consumer_expiry, v_expiry);
    END IF;
    UPDATE iu_outbox.attendance
    SET attended = v.attended, ticked_at = v_now, epoch = v_epoch, resumed = v.resumed, grace = v.grace,
        retention = v.retention, consumer_expiry = v.consumer_expiry, agreed_at = v.agreed_at;

    INSERT INTO iu_outbox.consumer_attendance AS ca (consumer, moved_at, lease_until, active)
    SELECT c.name, c.updated_at, l.lease_until, v.attended
    FROM iu_outbox.consumer AS c
    LEFT JOIN iu_outbox.consumer_lease AS l ON l.consumer = c.name
    LEFT JOIN iu_outbox.consumer_attendance AS known ON known.consumer = c.name
    WHERE (known.moved_at, known.lease_until) IS DISTINCT FROM (c.updated_at, l.lease_until)
    ON CONFLICT (consumer) DO UPDATE
    SET moved_at = EXCLUDED.moved_at, lease_until = EXCLUDED.lease_until, active = EXCLUDED.active;
END
$$;
