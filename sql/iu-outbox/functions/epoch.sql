-- Returns the epoch to emit in. If the server, its timeline or the database is another than the one the current epoch
-- began on (restore, failover, copy), a new epoch begins after the last position. What the server does not report, or did
-- not then, is not compared. None of them changes under a session that writes: each session compares once, and notes the row
-- that it found to be right. The caller holds the counter row.
CREATE OR REPLACE FUNCTION iu_outbox.current_epoch(p_epoch text, p_position bigint) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_here record;
    v_known iu_outbox.epoch;
    v_epoch text := p_epoch;
BEGIN
    SELECT * INTO STRICT v_known FROM iu_outbox.epoch AS e WHERE e.epoch = p_epoch;
    IF v_known.system_identifier IS NOT NULL AND v_known.timeline IS NOT NULL
       AND pg_catalog.current_setting('iu_outbox.compared_epoch', true) = v_known::text THEN
        RETURN p_epoch;
    END IF;
    v_here := iu_outbox.server_identity();
    IF v_known.database_oid <> v_here.database_oid OR v_known.system_identifier <> v_here.system_identifier
       OR v_known.timeline <> v_here.timeline THEN
        v_epoch := pg_catalog.substr(pg_catalog.gen_random_uuid()::text, 1, 8);
        INSERT INTO iu_outbox.epoch (epoch, after_position, system_identifier, timeline, database_oid)
        VALUES (v_epoch, p_position, v_here.system_identifier, v_here.timeline, v_here.database_oid);
        UPDATE iu_outbox.emission_counter SET epoch = v_epoch;
    ELSIF (v_known.system_identifier IS NULL AND v_here.system_identifier IS NOT NULL)
       OR (v_known.timeline IS NULL AND v_here.timeline IS NOT NULL) OR v_known.database_oid IS NULL THEN
        UPDATE iu_outbox.epoch AS e
        SET system_identifier = COALESCE(e.system_identifier, v_here.system_identifier),
            timeline = COALESCE(e.timeline, v_here.timeline), database_oid = v_here.database_oid
        WHERE e.epoch = p_epoch;
    END IF;
    PERFORM pg_catalog.set_config('iu_outbox.compared_epoch', e::text, false) FROM iu_outbox.epoch AS e WHERE e.epoch = v_epoch;
    RETURN v_epoch;
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
