-- The relay's half of the hand-off from the outbox to River.

DROP FUNCTION IF EXISTS iu_outbox.claim(integer), iu_outbox.claim(integer, bigint[], bigint[]);
DROP VIEW IF EXISTS iu_outbox.claimed_event;

-- The type of a row that claim() returns: all columns of the outbox, after three more. It has no rows itself.
CREATE VIEW iu_outbox.claimed_event AS
SELECT false AS later, 0 AS merged, false AS has_job, e.* FROM iu_outbox.event AS e WHERE false;

-- Takes up to p_limit rows out of the outbox, lowest id first, each the first of its idempotency key, and with each
-- one the later rows of its key (merged: how many), which its job stands for. later: available_at is to come. has_job: its key
-- has an unfinished job, which stands for the row. Rows whose
-- ids are in p_without stay, and so do all but those in p_only, unless that is NULL. A row whose key's job runs stays until
-- that job has ended: it may have composed already, and been rolled back, and would not compose again for this row.
-- A row whose forerunner another relay holds waits for that one's commit: so the lowest id wins, and no two relays
-- insert the job of one key at a time. The ledger notes what was claimed.
-- Locks outbox rows; skips those that are locked.
-- An outbox that a vacuum found empty counts as empty until it is analysed, however full it gets. So nothing here is left
-- to estimates: keys are looked up row by row (OFFSET 0; id + 0, for which the primary key is no use), rows are deleted
-- by a list of ids, and the settings leave no way to begin but the primary key, in its order. So one plan serves all calls.
CREATE FUNCTION iu_outbox.claim(p_limit integer, p_without bigint[] DEFAULT '{}', p_only bigint[] DEFAULT NULL)
RETURNS SETOF iu_outbox.claimed_event
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_catalog.set_config('iu_outbox.claiming', 'on', true);
    RETURN QUERY
    WITH first AS MATERIALIZED (
        SELECT e.id, e.event_id, e.idempotency_key
        FROM iu_outbox.event AS e
        WHERE NOT EXISTS (
            SELECT FROM iu_outbox.event AS o
            WHERE o.event_id = e.event_id AND o.idempotency_key = e.idempotency_key AND o.id + 0 < e.id
            OFFSET 0)
          AND NOT EXISTS (SELECT FROM iu_outbox.unique_job(e.idempotency_key) AS j WHERE j.state = 'running' OFFSET 0)
          AND e.id <> ALL (p_without) AND (p_only IS NULL OR e.id = ANY (p_only))
        ORDER BY e.id
        LIMIT p_limit
        FOR UPDATE OF e SKIP LOCKED
    ), same_key AS MATERIALIZED (
        SELECT f.id AS first_id, s.id
        FROM first AS f
        CROSS JOIN LATERAL (
            SELECT o.id FROM iu_outbox.event AS o
            WHERE o.event_id = f.event_id AND o.idempotency_key = f.idempotency_key AND o.id + 0 > f.id
            FOR UPDATE SKIP LOCKED) AS s
    ), dropped AS (
        DELETE FROM iu_outbox.event AS e WHERE e.id = ANY (ARRAY(SELECT s.id FROM same_key AS s)) RETURNING e.id
    ), counted AS (
        SELECT s.first_id, pg_catalog.count(*)::integer AS merged FROM same_key AS s GROUP BY s.first_id
    ), taken AS (
        DELETE FROM iu_outbox.event AS e WHERE e.id = ANY (ARRAY(SELECT f.id FROM first AS f))
        RETURNING e.*
    ), noted AS (
        INSERT INTO iu_outbox.claimed (from_outbox, events, keys)
        SELECT true, pg_catalog.count(*) + (SELECT pg_catalog.count(*) FROM dropped),
               pg_catalog.array_agg(t.idempotency_key::uuid)
        FROM taken AS t
        HAVING pg_catalog.count(*) > 0
    )
    -- Not now(): this transaction may have begun before the one that inserted the row.
    SELECT t.available_at > pg_catalog.clock_timestamp(), COALESCE(c.merged, 0),
           EXISTS (SELECT FROM iu_outbox.unique_job(t.idempotency_key) OFFSET 0), t.*
    FROM taken AS t LEFT JOIN counted AS c ON c.first_id = t.id
    ORDER BY t.id;
    PERFORM pg_catalog.set_config('iu_outbox.claiming', 'off', true);
END
$$;

-- Tells River to fetch the jobs of claimed rows. Unless this transaction has composed other rows (p_composed), its commit waits
-- for no disk: rows and jobs are lost together, and so the rows are there again; nothing is told of a job before a later
-- commit, its fetch, has brought this one to the disk.
CREATE OR REPLACE FUNCTION iu_outbox.hand_over(p_composed boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM iu_outbox.wake_queues(ARRAY['events']);
    IF NOT p_composed THEN
        PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
    END IF;
END
$$;
