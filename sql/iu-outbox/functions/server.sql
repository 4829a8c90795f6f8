-- Questions that the server may refuse: a service lacks the function, or an administrator revoked it from
-- everybody. Each has a fallback, so the worker can do without.

-- Returns which server this is. system_identifier and timeline are NULL if the server does not reveal them.
CREATE OR REPLACE FUNCTION iu_outbox.server_identity(
    OUT system_identifier bigint, OUT timeline integer, OUT database_oid oid)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    database_oid := (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database());
    BEGIN
        system_identifier := (SELECT s.system_identifier FROM pg_catalog.pg_control_system() AS s);
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    BEGIN
        timeline := ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::integer;
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
END
$$;

-- Returns whether the notification queue is less than half full. Returns true if the server does not tell: if the
-- queue is full, a NOTIFY fails at commit.
CREATE OR REPLACE FUNCTION iu_outbox.may_notify() RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN pg_catalog.pg_notification_queue_usage() < 0.5;
EXCEPTION WHEN OTHERS THEN
    RETURN true;
END
$$;

-- Returns whether this session applies changes of another server (a logical subscription). They include what triggers
-- did there, and our triggers fire even if session_replication_role is replica, so those that write call this function.
CREATE OR REPLACE FUNCTION iu_outbox.applying() RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN pg_catalog.current_setting('session_replication_role') = 'replica'
       AND EXISTS (SELECT FROM pg_catalog.pg_stat_get_subscription(NULL) AS s WHERE s.pid = pg_catalog.pg_backend_pid());
END
$$;
