-- Leases: which worker processes live, and what happens to the jobs of those that died.
--
-- A process is an incarnation of a worker's id. Its row in iu_outbox.worker, with the id and the lock_key that it chose at
-- random, is its lease. It renews the lease every 2 s; 8 s after the last renewal the lease has expired, and the process
-- counts as dead. Deleting the row fences the process: if it was only suspended, its next statement that
-- composes finds no row, and fails.
-- One process sweeps expired leases: of those that have renewed theirs for 5 s without a gap, the one with the lowest
-- id. After an outage of the server, or a jump of its clock, all leases are old for a moment; nobody sweeps until the
-- living have renewed theirs.

-- Returns whether a lease is valid that was last renewed at p_seen_at. A time in the future counts as just as old: the
-- server's clock was set back since.
CREATE OR REPLACE FUNCTION iu_outbox.lease_valid(p_seen_at timestamptz) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_catalog.abs(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - p_seen_at)) < 8
$$;

-- Takes the lease of a worker's id for a new incarnation; jobs that run under the id run again. An expired lease is replaced:
-- released says then how many jobs its process had, else it is NULL. If the lease is valid, or a transaction of its
-- process is under way, taken is false, and holder says who has it. seen_at: when it was renewed last. Locks the row, then job rows; waits for neither.
CREATE OR REPLACE FUNCTION iu_outbox.take_lease(
    p_id text, p_lock_key integer, p_hostname text, p_pid integer, p_version text,
    OUT taken boolean, OUT released integer, OUT holder text, OUT seen_at timestamptz)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_expired boolean;
    v_released integer;
BEGIN
    DELETE FROM iu_outbox.worker AS w WHERE w.id = (
        SELECT e.id FROM iu_outbox.worker AS e WHERE e.id = p_id AND NOT iu_outbox.lease_valid(e.seen_at) FOR UPDATE SKIP LOCKED);
    v_expired := FOUND;
    INSERT INTO iu_outbox.worker (id, lock_key, hostname, pid, version, seen_at)
    VALUES (p_id, p_lock_key, p_hostname, p_pid, p_version, pg_catalog.clock_timestamp())
    ON CONFLICT (id) DO NOTHING
    RETURNING worker.seen_at INTO seen_at;
    taken := FOUND;
    IF taken THEN
        v_released := iu_outbox.release_jobs(p_id, NULL);
        released := CASE WHEN v_expired THEN v_released END;
    ELSE
        SELECT pg_catalog.format('%s, pid %s', w.hostname, w.pid), w.seen_at INTO holder, seen_at
        FROM iu_outbox.worker AS w WHERE w.id = p_id;
    END IF;
END
$$;

-- Renews the lease of an incarnation. Locks its row. p_session_pid is the backend of its session with advisory locks, or NULL.
-- seen_at: the time of the renewal; NULL if there is no lease, because the process was taken for dead.
-- sweeps: whether this process is the one to call sweep_leases(), and there is something to sweep.
-- left_behind: the jobs that run under the id and were fetched more than 4 s ago, or by another clock; NULL if there are none.
-- next_expiry: how long until the first of the valid leases expires unless it is renewed, its own included. If that lease is the
-- sweeper's, this process may be the next one to sweep.
-- A renewal more than 4 s after the one before, or before it, ends a run without gaps. A lease does not depend on River's table: if
-- that is locked, there is nothing to sweep and nothing left behind. The transaction commits asynchronously, because a lost renewal
-- does no harm: after a crash of the server no process sweeps until the living ones have renewed their leases.
DROP FUNCTION IF EXISTS iu_outbox.renew_lease(text, integer, integer);
CREATE FUNCTION iu_outbox.renew_lease(
    p_id text, p_lock_key integer, p_session_pid integer,
    OUT seen_at timestamptz, OUT sweeps boolean, OUT left_behind bigint[], OUT next_expiry interval)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET lock_timeout = '1s' AS $$
DECLARE
    v_now timestamptz := pg_catalog.clock_timestamp();
    v_orphans boolean;
    v_expired boolean;
BEGIN
    PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
    UPDATE iu_outbox.worker AS w
    SET seen_at = v_now, session_pid = p_session_pid,
        steady_since = CASE WHEN v_now - w.seen_at BETWEEN interval '0' AND interval '4 s' THEN w.steady_since ELSE v_now END
    WHERE w.id = p_id AND w.lock_key = p_lock_key
    RETURNING w.seen_at, w.steady_since < v_now - interval '5 s' AND NOT EXISTS (
        SELECT FROM iu_outbox.worker AS o
        WHERE o.id < w.id AND o.steady_since < v_now - interval '5 s' AND iu_outbox.lease_valid(o.seen_at))
    INTO seen_at, sweeps;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    BEGIN
        SELECT pg_catalog.array_agg(j.id) FILTER (
                   WHERE j.worker = p_id AND j.attempted_at NOT BETWEEN v_now - interval '4 s' AND v_now + interval '4 s'),
               pg_catalog.bool_or(sweeps AND NOT EXISTS (SELECT FROM iu_outbox.worker AS w WHERE w.id = COALESCE(j.worker, '')))
        INTO left_behind, v_orphans
        FROM iu_outbox.job AS j WHERE j.state = 'running';
    EXCEPTION WHEN lock_not_available THEN
        NULL;
    END;
    SELECT pg_catalog.bool_or(NOT v.valid), pg_catalog.min(w.seen_at - v_now + interval '8 s') FILTER (WHERE v.valid)
    INTO v_expired, next_expiry
    FROM iu_outbox.worker AS w CROSS JOIN LATERAL (SELECT iu_outbox.lease_valid(w.seen_at) AS valid OFFSET 0) AS v;
    sweeps := sweeps AND (v_expired OR COALESCE(v_orphans, false));
END
$$;

-- Deletes the leases that have expired, and makes running jobs run again whose worker has no lease; returns these workers
-- with the numbers of their jobs. Locks lease rows, then job rows; skips those that are locked, among them a
-- lease whose process has a transaction under way.
CREATE OR REPLACE FUNCTION iu_outbox.sweep_leases(OUT worker text, OUT released integer) RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_dead text[];
BEGIN
    WITH expired AS MATERIALIZED (
        SELECT w.id FROM iu_outbox.worker AS w WHERE NOT iu_outbox.lease_valid(w.seen_at) FOR UPDATE SKIP LOCKED
    ), dead AS (
        DELETE FROM iu_outbox.worker AS w USING expired AS e WHERE w.id = e.id RETURNING w.id
    )
    SELECT pg_catalog.array_agg(d.id) INTO v_dead FROM dead AS d;
    FOR worker IN
        SELECT d.id FROM pg_catalog.unnest(v_dead) AS d (id)
        UNION
        SELECT COALESCE(j.worker, '') FROM iu_outbox.job AS j WHERE j.state = 'running'
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM iu_outbox.worker AS w WHERE w.id = sweep_leases.worker);
        released := iu_outbox.release_jobs(worker, NULL);
        CONTINUE WHEN released = 0 AND worker <> ALL (COALESCE(v_dead, '{}'));
        RETURN NEXT;
    END LOOP;
END
$$;

-- Returns true if this incarnation of a worker was not taken for dead, else raises IU002. Locks its row until the end of
-- the transaction, so that it is not taken for dead before; a heartbeat does not wait for that. It waits for nobody: a row
-- that an idle transaction has locked lets the worker through, and what is then done twice composes once. p_id NULL: no
-- worker asks.
CREATE OR REPLACE FUNCTION iu_outbox.fence(p_id text, p_lock_key integer) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF p_id IS NULL THEN
        RETURN true;
    END IF;
    PERFORM FROM iu_outbox.worker AS w WHERE w.id = p_id AND w.lock_key = p_lock_key FOR KEY SHARE SKIP LOCKED;
    IF NOT FOUND AND NOT EXISTS (SELECT FROM iu_outbox.worker AS w WHERE w.id = p_id AND w.lock_key = p_lock_key) THEN
        RAISE EXCEPTION 'worker % was declared dead: it must start over', p_id USING ERRCODE = 'IU002';
    END IF;
    RETURN true;
END
$$;
