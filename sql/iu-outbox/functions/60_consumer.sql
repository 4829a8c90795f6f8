-- Consumers: cursors and what they are worth, leases, retention.

-- Returns what a cursor is worth in today's history. p_epoch NULL: a position in the current epoch.
-- state: ok; beyond_end (positions of the current epoch are not there yet, or were lost); rewound (the epoch is
-- unknown, or ended before p_position); pruned (what follows it is not kept any more).
-- epoch, position: the end of the history. known_until: the last position that p_epoch has in common with it;
-- NULL if the epoch is unknown. kept_after: everything after it is kept. Takes no locks.
CREATE OR REPLACE FUNCTION iu_outbox.cursor_state(
    p_epoch text, p_position bigint,
    OUT state text, OUT epoch text, OUT "position" bigint, OUT known_until bigint, OUT kept_after bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    SELECT c.epoch, c.position INTO STRICT cursor_state.epoch, cursor_state.position FROM iu_outbox.emission_counter AS c;
    IF p_epoch IS NULL OR p_epoch = cursor_state.epoch THEN
        known_until := cursor_state.position;
    ELSE
        SELECT pg_catalog.min(later.after_position) INTO known_until
        FROM iu_outbox.epoch AS mine JOIN iu_outbox.epoch AS later ON later.id > mine.id
        WHERE mine.epoch = p_epoch;
    END IF;

    -- Positions have no gaps but what was pruned: who finds the next one need not look for the first.
    IF p_position >= cursor_state.position THEN
        kept_after := cursor_state.position;
    ELSIF EXISTS (SELECT FROM iu_outbox.emission AS e WHERE e.position = p_position + 1) THEN
        kept_after := p_position;
    ELSE
        SELECT COALESCE(pg_catalog.min(e.position) - 1, cursor_state.position) INTO kept_after FROM iu_outbox.emission AS e;
    END IF;

    state := CASE
        WHEN known_until IS NULL THEN 'rewound'
        WHEN p_position <= known_until THEN CASE WHEN p_position < kept_after THEN 'pruned' ELSE 'ok' END
        WHEN p_epoch IS NULL OR p_epoch = cursor_state.epoch THEN 'beyond_end'
        ELSE 'rewound' END;
END
$$;

-- Returns the position after which the emissions begin that were announced at p_at or later, as exactly as the
-- server's clock ran. Twenty index look-ups for a million emissions. Takes no locks.
CREATE OR REPLACE FUNCTION iu_outbox.position_before(p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_low bigint;  -- what is at or below it was announced before p_at, or is not kept
    v_high bigint; -- what is above it was announced at p_at or later
    v_middle bigint;
    v_found record;
BEGIN
    SELECT COALESCE((SELECT pg_catalog.min(e.position) - 1 FROM iu_outbox.emission AS e), c.position), c.position
    INTO v_low, v_high FROM iu_outbox.emission_counter AS c;
    WHILE v_low < v_high LOOP
        v_middle := v_low + (v_high - v_low + 1) / 2;
        SELECT e.position, e.emitted_at INTO v_found FROM iu_outbox.emission AS e
        WHERE e.position <= v_middle ORDER BY e.position DESC LIMIT 1;
        IF NOT FOUND OR v_found.position <= v_low OR v_found.emitted_at < p_at THEN
            v_low := v_middle;
        ELSE
            v_high := v_found.position - 1;
        END IF;
    END LOOP;
    RETURN v_low;
END
$$;

-- Forgets the id of a consumer's last event if its position moved without it: the program of the release before, or
-- somebody by hand, knows of no id.
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

-- Keeps emissions from being pruned until the end of the transaction. Locks the retention's row, shared.
CREATE OR REPLACE FUNCTION iu_outbox.hold_retention() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM iu_outbox.retention FOR KEY SHARE;
END
$$;

-- Makes a consumer if there is none: after p_position of p_epoch; both NULL: at the beginning of what is kept.
-- Returns whether it made one. Takes the retention's lock, shared, so that nothing is pruned under a new consumer.
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

-- Gives a consumer to a process for p_for from now, again if it has it. Returns held, taken (another process
-- has it), or gone (there is no such consumer). Locks the consumer's lease. A lease that ends more than an hour from now is
-- not believed: no process takes such a long one, so the server's clock must have been set back.
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

-- Consumers as operators see them. state: that of the cursor; also rewound if another event than its process read is at
-- its position. lag_events: how many are announced that it has not handled, filters aside;
-- lag_seconds: how long the first of them has been waiting; both NULL if the position says nothing (state).
-- process: who works for it now; NULL: nobody.
-- expires_seconds: for how long, of time in which workers run, events that it has not handled are surely kept; NULL
-- while a process works for it, if no worker has stated how long emissions are kept, and if state is not ok.
-- expiring: that is a day or less, or half of the consumer's expiry if that is less.
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

-- Notes that a worker is there, once a minute in each, with how long it keeps emissions, and how long a consumer that is
-- not active holds them back; both NULL: it keeps all. Attended time moves on by what has passed since the last call, two
-- minutes at most: while no worker runs, and when the server's clock jumps, it stands. After such a gap, and in a new
-- epoch (a restore, a failover), nothing is pruned for as long as the gap was, a day at most: subscribers come back as well.
-- A consumer that did anything since the last call is active now. Locks the row of attendance.
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
    -- The shortest counts, until no worker has stated it for five minutes.
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

-- Deletes up to p_limit emissions that were announced more than p_retention ago, lowest positions first, but none that
-- a consumer has yet to handle that was active within p_consumer_expiry of attended time (NULL: consumers hold nothing
-- back), and nothing in the grace after a gap (see attend; it is p_retention at most, and p_consumer_expiry for
-- consumers). Returns how many, and counts them in emission_pruned. Takes the retention's lock, then locks emission
-- rows in position order, then the count; waits for a rollback that marks or counts one.
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
      AND ((ca.moved_at, ca.lease_until) IS DISTINCT FROM (c.updated_at, l.lease_until) -- since the last call
           OR v_attendance.attended - ca.active < v_expiry
           OR v_attendance.attended - v_attendance.resumed < LEAST(v_attendance.grace, v_expiry));

    WITH lowest AS MATERIALIZED (
        SELECT e.position, e.emitted_at FROM iu_outbox.emission AS e
        WHERE e.position <= COALESCE(v_upto, 9223372036854775807)
        ORDER BY e.position
        LIMIT p_limit
    ), old AS MATERIALIZED (
        -- No hole: what is kept begins at the first one that is young.
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

-- Begins a new epoch after the last position, and returns it: for a history that was set back in a way that the
-- server cannot see by itself (a copy of its files). Locks the counter row.
CREATE OR REPLACE FUNCTION iu_outbox.begin_epoch() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_position bigint;
    v_new text := pg_catalog.substr(pg_catalog.gen_random_uuid()::text, 1, 8);
BEGIN
    SELECT c.position INTO STRICT v_position FROM iu_outbox.emission_counter AS c FOR UPDATE;
    INSERT INTO iu_outbox.epoch (epoch, after_position) VALUES (v_new, v_position);
    UPDATE iu_outbox.emission_counter SET epoch = v_new;
    RETURN iu_outbox.current_epoch(v_new, v_position);
END
$$;

-- The epoch knows its server from the start: a copy that is made before the first emission begins its own.
DO $$
BEGIN
    PERFORM iu_outbox.current_epoch(c.epoch, c.position)
    FROM (SELECT * FROM iu_outbox.emission_counter FOR UPDATE) AS c;
END
$$;
