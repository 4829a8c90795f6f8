-- Which workers are alive: their processes, the locks that they hold, and what is done for those that died.
--
-- A process is an incarnation of a worker's id: its row in iu_outbox.worker has the id and the lock_key that it chose at
-- random. It beats each second, and holds the session lock (26998, lock_key) if it has a session. It lives while its
-- row is 4 s old at most, or 15 s while its lock is held. A process that finds the row of a dead one deletes it, and so
-- fences it: if it was only suspended, its next statement that composes finds no row, and fails.
-- A time equally far in the future counts as just as old: the server's clock was set back since.

-- Returns whether a login may work: it is a superuser, owns the schema, or has the role iu_worker. Locks and heartbeats
-- of others are ignored: any login may take any advisory lock.
CREATE OR REPLACE FUNCTION iu_outbox.may_work(p_login oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM pg_catalog.pg_roles AS r
        WHERE r.oid = p_login
          AND (r.rolsuper
               OR pg_catalog.pg_has_role(r.oid, (SELECT n.nspowner FROM pg_catalog.pg_namespace AS n
                                                 WHERE n.nspname = 'iu_outbox'), 'MEMBER')
               OR EXISTS (SELECT FROM pg_catalog.pg_roles AS w
                          WHERE w.rolname = 'iu_worker' AND pg_catalog.pg_has_role(r.oid, w.oid, 'MEMBER'))))
$$;

-- The sessions of this database that hold one of our locks, classes 26997 (doorbells, leaders) and 26998 (workers), and
-- whether they may work.
CREATE OR REPLACE VIEW iu_outbox.lock_holder AS
    SELECT l.classid::bigint AS class, l.objid::bigint AS key, l.mode = 'ShareLock' AS shared, l.pid,
           a.usename AS login, a.application_name, iu_outbox.may_work(a.usesysid) AS may_work
    FROM pg_catalog.pg_locks AS l
    JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
      AND l.classid IN (26997::oid, 26998::oid)
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database());

-- Returns whether a process lives, as its row has it.
CREATE OR REPLACE FUNCTION iu_outbox.lives(p_seen_at timestamptz, p_lock_key integer) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN age.seconds < 4 THEN true
        WHEN age.seconds >= 15 THEN false
        ELSE EXISTS (SELECT FROM iu_outbox.lock_holder AS h
                     WHERE h.class = 26998 AND h.key = p_lock_key AND NOT h.shared AND h.may_work)
        END
    FROM (SELECT pg_catalog.abs(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - p_seen_at)) AS seconds) AS age
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

-- Forgets an incarnation of a worker that was last seen at p_seen_at, and lets its running jobs run again; returns how many.
-- NULL: it was seen again, it is gone already, or a transaction of it is under way. Locks the row, then job rows.
CREATE OR REPLACE FUNCTION iu_outbox.bury(p_id text, p_lock_key integer, p_seen_at timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM FROM iu_outbox.worker AS w
    WHERE w.id = p_id AND w.lock_key = p_lock_key AND w.seen_at = p_seen_at
    FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    DELETE FROM iu_outbox.worker AS w WHERE w.id = p_id AND w.lock_key = p_lock_key;
    RETURN iu_outbox.release_jobs(p_id, NULL);
END
$$;
