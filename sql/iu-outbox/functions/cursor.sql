-- Returns how a cursor relates to the current history. p_epoch NULL: the position is of the current epoch.
-- state: ok; beyond_end (the current epoch has not reached the position, or has lost it); rewound (the epoch is
-- unknown, or ended before p_position); pruned (emissions after it are no longer kept).
-- epoch, position: the end of the history. known_until: the last position that p_epoch shares with this history;
-- NULL if the epoch is unknown. kept_after: all emissions after it are kept. Takes no locks.
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

    -- Only pruning leaves gaps: if the next position exists, so do all later ones.
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

-- Returns the position after which the emissions begin that were announced at p_at or later. It is as accurate as
-- the server's clock. Needs about twenty index lookups for a million emissions. Takes no locks.
CREATE OR REPLACE FUNCTION iu_outbox.position_before(p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_low bigint;  -- positions up to this one were announced before p_at, or are not kept
    v_high bigint; -- positions above this one were announced at p_at or later
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
