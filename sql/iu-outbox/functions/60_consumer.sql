-- Consumers: cursors and what they are worth, leases, retention.

-- Answers what a cursor is worth in today's history. p_epoch NULL: a position in the current epoch.
-- state: ok; beyond_end (positions of the current epoch are not there yet, or were lost); rewound (the epoch is
-- unknown, or ended before p_position); pruned (what follows it is not kept any more).
-- epoch, position: the end of the history. known_until: the last position that p_epoch has in common with it;
-- NULL where the epoch is unknown. kept_after: everything after it is kept. Takes no locks.
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

-- Answers the position after which the emissions begin that were announced at p_at or later, as exactly as the
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

-- Keeps emissions from being pruned until the end of the transaction. Locks the retention's row, shared.
CREATE OR REPLACE FUNCTION iu_outbox.hold_retention() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM iu_outbox.retention FOR KEY SHARE;
END
$$;

-- Makes a consumer where there is none: after p_position of p_epoch; both NULL: at the beginning of what is kept.
-- Answers whether it made one. Takes the retention's lock, shared, so that nothing is pruned under a new consumer.
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

-- Gives a consumer to a process for p_for from now, again where it has it. Answers held, taken (another process
-- has it), or gone (there is no such consumer). Locks the consumer's lease. A lease until more than an hour from now is
-- not believed: nobody takes so long a one, so that the server's clock was set back since.
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

-- Consumers as operators see them. lag_events: how many are announced that it has not handled, filters aside;
-- lag_seconds: how long the first of them has been waiting; both NULL where the position says nothing (state).
-- process: who works for it now; NULL: nobody.
CREATE OR REPLACE VIEW iu_outbox.consumer_status AS
    SELECT c.name, c.epoch, c.position, s.state,
           CASE WHEN s.state = 'ok' THEN s.position - c.position END AS lag_events,
           CASE WHEN s.state = 'ok' THEN COALESCE((
               SELECT GREATEST(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - e.emitted_at), 0)
               FROM iu_outbox.emission AS e WHERE e.position > c.position
               ORDER BY e.position LIMIT 1), 0)::double precision END AS lag_seconds,
           CASE WHEN l.lease_until > pg_catalog.clock_timestamp() THEN l.process END AS process,
           CASE WHEN l.lease_until > pg_catalog.clock_timestamp() THEN l.acquired_at END AS process_since,
           GREATEST(c.updated_at, CASE WHEN l.lease_until > pg_catalog.clock_timestamp()
                                       THEN pg_catalog.clock_timestamp() ELSE l.lease_until END) AS active_at,
           c.tries, c.last_error, c.last_error_at,
           (SELECT pg_catalog.count(*) FROM iu_outbox.consumer_dead_letter AS d WHERE d.consumer = c.name) AS dead_letters,
           s.epoch AS end_epoch, s.position AS end_position, c.created_at, c.updated_at
    FROM iu_outbox.consumer AS c
    CROSS JOIN LATERAL iu_outbox.cursor_state(c.epoch, c.position) AS s
    LEFT JOIN iu_outbox.consumer_lease AS l ON l.consumer = c.name;

-- Deletes up to p_limit emissions that were announced more than p_retention ago, lowest positions first, but none that
-- a consumer has yet to handle that was active within p_consumer_expiry (NULL: consumers hold nothing back).
-- Answers how many, and counts them in emission_pruned. Takes the retention's lock, then locks emission rows in
-- position order, then the count; waits for a rollback that marks or counts one.
CREATE OR REPLACE FUNCTION iu_outbox.prune_emissions(
    p_retention interval, p_consumer_expiry interval, p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_upto bigint;
    v_count integer;
    v_position bigint;
    v_instances bigint;
    v_created_until timestamptz;
BEGIN
    PERFORM FROM iu_outbox.retention FOR UPDATE;
    SELECT pg_catalog.min(c.position) INTO v_upto
    FROM iu_outbox.consumer AS c
    LEFT JOIN iu_outbox.consumer_lease AS l ON l.consumer = c.name
    WHERE GREATEST(c.updated_at, l.lease_until) > pg_catalog.now() - p_consumer_expiry;

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

-- Begins a new epoch after the last position, and answers it: for a history that was set back in a way that the
-- server cannot see by itself (a copy of its files). Locks the counter row.
CREATE OR REPLACE FUNCTION iu_outbox.begin_epoch() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_position bigint;
    v_new text := pg_catalog.substr(pg_catalog.md5(pg_catalog.gen_random_uuid()::text), 1, 8);
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
