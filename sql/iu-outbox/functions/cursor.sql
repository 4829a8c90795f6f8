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
