-- Returns whether a login may act as a worker: it is a superuser, owns the schema, or has the role iu_worker. Other
-- logins' locks are ignored, because any login may take any advisory lock.
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

-- The sessions of this database that hold one of our advisory locks (class 26997), and whether they may act as a worker. Keys:
-- 1, the relay sleeps; 2, the emitter sleeps (doorbell.sql); 3, it leads the announcing; 4, it leads the verification.
CREATE OR REPLACE VIEW iu_outbox.lock_holder AS
    SELECT l.classid::bigint AS class, l.objid::bigint AS key, l.mode = 'ShareLock' AS shared, l.pid,
           a.usename AS login, a.application_name, iu_outbox.may_work(a.usesysid) AS may_work
    FROM pg_catalog.pg_locks AS l
    JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
      AND l.classid = 26997::oid
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database());
