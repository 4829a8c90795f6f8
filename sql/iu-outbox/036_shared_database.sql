-- 036: what the worker needs in a database that it shares with others. Tables and columns only; functions/ has the rest.
BEGIN;

-- Settings of the installation, which every process obeys, whatever its own flags say. Without a row, the default applies.
CREATE TABLE iu_outbox.setting (
    name       text PRIMARY KEY,
    value      text NOT NULL,
    updated_by text NOT NULL DEFAULT SESSION_USER,
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);

-- How long workers have run: a clock that stands still while none runs, and that ignores jumps of the server's
-- clock. attended, resumed and grace are seconds of it. resumed: when attendance last began after a gap; grace: for
-- how long after that nothing is pruned. retention and consumer_expiry: the shortest times that workers have stated
-- since agreed_at, in seconds (NULL: none has stated one).
CREATE TABLE iu_outbox.attendance (
    singleton       boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    attended        double precision NOT NULL DEFAULT 0,
    ticked_at       timestamptz,
    epoch           text,
    resumed         double precision NOT NULL DEFAULT 0,
    grace           double precision NOT NULL DEFAULT 86400,
    retention       double precision,
    consumer_expiry double precision,
    agreed_at       double precision NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
INSERT INTO iu_outbox.attendance DEFAULT VALUES;

-- When a consumer was last active, in attended time, and the times of its row and its lease at that moment. A
-- separate table, because noting it must never wait for a transaction that moves the position.
CREATE TABLE iu_outbox.consumer_attendance (
    consumer    text PRIMARY KEY REFERENCES iu_outbox.consumer (name) ON UPDATE CASCADE ON DELETE CASCADE,
    moved_at    timestamptz NOT NULL,
    lease_until timestamptz,
    active      double precision NOT NULL
) WITH (fillfactor = 50);

-- An emission that has no position yet is a narrow row: its event is built from the log once the position is known.
ALTER TABLE iu_outbox.emission
    ALTER COLUMN event DROP NOT NULL,
    ADD COLUMN trace text,
    ADD CONSTRAINT emission_with_a_position_has_its_event CHECK (position IS NULL OR event IS NOT NULL);

-- The id of the event at a consumer's position, as its process read it. If another event is there now, the history has changed.
ALTER TABLE iu_outbox.consumer ADD COLUMN last_event_id uuid;

-- Each row is the lease of a process (functions/lease.sql). steady_since: it has renewed the lease without a gap since
-- then. session_pid: the backend of its session with advisory locks; NULL: there is none, as behind a transaction pooler.
ALTER TABLE iu_outbox.worker
    ADD COLUMN steady_since timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    ADD COLUMN session_pid integer;

-- The lock on this row keeps emissions that a new consumer needs from being pruned. It is not an advisory lock,
-- because any login could take that one and keep it.
CREATE TABLE iu_outbox.retention (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
INSERT INTO iu_outbox.retention DEFAULT VALUES;

-- Operators search dead letters by these. The expressions are bounded, because a job's arguments may hold texts of any length.
CREATE INDEX dead_letter_template_idx ON iu_outbox.dead_letter (pg_catalog.left(event ->> 'template_collection_id', 36), id);
CREATE INDEX dead_letter_actor_idx ON iu_outbox.dead_letter (pg_catalog.left(event ->> 'actor', 200), id);
CREATE INDEX dead_letter_event_type_idx ON iu_outbox.dead_letter (pg_catalog.left(event ->> 'event_type', 200), id);
CREATE INDEX dead_letter_created_at_idx ON iu_outbox.dead_letter (created_at);
CREATE INDEX dead_letter_suffix_idx ON iu_outbox.dead_letter ((pg_catalog.left(event ->> 'instance_key_suffix', 200) COLLATE "C"));

-- Operators search changes by these.
CREATE INDEX audit_actor_idx ON iu_outbox.audit (actor, id);
CREATE INDEX audit_action_idx ON iu_outbox.audit (action, id);
CREATE INDEX audit_at_idx ON iu_outbox.audit (at);

-- The scale-outs that were started, by prefix, so that listing them reads no jobs. Jobs were inserted for the
-- numbers 1 to enqueued, of total; none of the numbers 1 to counted still has a job. cancelled: jobs that were
-- cancelled since started_at.
CREATE TABLE iu_outbox.scaleout (
    prefix                 text PRIMARY KEY,
    template_collection_id uuid NOT NULL,
    emit_mode              text NOT NULL,
    actor                  text NOT NULL,
    started_by             text NOT NULL,
    total                  bigint NOT NULL CHECK (total > 0),
    enqueued               bigint NOT NULL DEFAULT 0 CHECK (enqueued >= 0),
    counted                bigint NOT NULL DEFAULT 0 CHECK (counted >= 0),
    cancelled              bigint NOT NULL DEFAULT 0 CHECK (cancelled >= 0),
    started_at             timestamptz NOT NULL DEFAULT pg_catalog.now(),
    enqueued_at            timestamptz NOT NULL DEFAULT pg_catalog.now(),
    finished_at            timestamptz
);
CREATE INDEX scaleout_started_at_idx ON iu_outbox.scaleout (started_at);

-- The result of the last verification of all data, by any worker.
CREATE TABLE iu_outbox.verification (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    at        timestamptz NOT NULL,
    seconds   double precision NOT NULL,
    wrong     bigint NOT NULL
);

-- What happened, one row per minute, kept for seven days (write_history). Counts cover what ended in the minute;
-- the other columns show the state at its end. NULL: not known, because nothing was counted then.
-- event_seq: the last id that the outbox had given at counted_at; inserted is computed from it.
CREATE TABLE iu_outbox.history (
    at                      timestamptz PRIMARY KEY, -- when the minute began
    counted_at              timestamptz,
    event_seq               bigint,
    inserted                bigint,  -- rows inserted into the outbox
    composed                integer NOT NULL DEFAULT 0, -- live instances composed by jobs of other queues than scaleout
    scaleout                integer NOT NULL DEFAULT 0, -- live instances composed by jobs of the queue scaleout
    dry_run                 integer NOT NULL DEFAULT 0,
    dead                    integer NOT NULL DEFAULT 0,
    after_parking           integer NOT NULL DEFAULT 0, -- of composed: those that had been parked
    announced               bigint NOT NULL DEFAULT 0,
    measured                integer NOT NULL DEFAULT 0, -- of composed: those that p50 and p95 measure, which were not parked
    p50                     real,    -- seconds from INSERT, or available_at if that is later, to the end of the job
    p95                     real,
    announce_p95            real,    -- seconds from instance to announcement
    outbox                  integer, -- rows waiting
    outbox_age              real,    -- seconds, of the oldest row
    unannounced             integer,
    unannounced_age         real,
    parked_composer         integer,
    parked_auto_instantiate integer,
    held                    integer, -- jobs held by a fault of the installation
    workers                 integer,
    started                 integer, -- workers that started in this minute
    versions                text[]
);

-- How far behind consumers were at the end of a minute. lag NULL: the position is not valid.
CREATE TABLE iu_outbox.history_consumer (
    at       timestamptz,
    consumer text,
    lag      bigint,
    PRIMARY KEY (at, consumer) INCLUDE (lag) -- a week's chart reads the index alone
) WITH (autovacuum_vacuum_insert_scale_factor = 0.02);

-- The most used templates, one row for each of them and each five minutes.
CREATE TABLE iu_outbox.history_template (
    at                     timestamptz, -- when the five minutes began
    template_collection_id uuid,
    composed               integer NOT NULL, -- live and dry run
    dead                   integer NOT NULL,
    p95                    real,             -- the highest of its minutes
    PRIMARY KEY (at, template_collection_id)
);

-- What a worker reports about itself for the pages of others: its settings and its load. Separate from its row,
-- which each heartbeat writes.
CREATE TABLE iu_outbox.worker_report (
    worker      text PRIMARY KEY REFERENCES iu_outbox.worker (id) ON UPDATE CASCADE ON DELETE CASCADE,
    settings    jsonb NOT NULL,
    load        jsonb NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
) WITH (fillfactor = 50);

-- Leaves privileges on our objects to the owner and our roles only, whatever default privileges granted. Our roles
-- lose theirs, too, if the functions are not installed yet: installing those grants the intended ones. The program
-- runs this block after each of its steps that create something.
DO $close$
DECLARE
    v_statement text;
    v_fresh boolean := pg_catalog.to_regclass('iu_outbox.consumer_status') IS NULL;
BEGIN
    FOR v_statement IN
        SELECT DISTINCT pg_catalog.format('REVOKE ALL ON %s FROM %s CASCADE', o.name, COALESCE(pg_catalog.quote_ident(r.rolname), 'PUBLIC'))
        FROM pg_catalog.pg_namespace AS n
        CROSS JOIN LATERAL (
            SELECT pg_catalog.format('SCHEMA %I', n.nspname) AS name, n.nspowner AS owner, n.nspacl AS acl
            UNION ALL
            SELECT pg_catalog.format('%s %I.%I', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname),
                   c.relowner, a.acl
            FROM pg_catalog.pg_class AS c
            CROSS JOIN LATERAL (
                SELECT c.relacl AS acl
                UNION ALL
                SELECT a.attacl FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL) AS a
            WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
            UNION ALL
            SELECT 'ROUTINE ' || p.oid::pg_catalog.regprocedure::text, p.proowner,
                   COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner))
            FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = n.oid
            UNION ALL
            SELECT pg_catalog.format('TYPE %I.%I', n.nspname, t.typname), t.typowner,
                   COALESCE(t.typacl, pg_catalog.acldefault('T', t.typowner))
            FROM pg_catalog.pg_type AS t WHERE t.typnamespace = n.oid AND t.typtype IN ('e', 'd', 'r')) AS o
        CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) AS g
        LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = g.grantee
        WHERE n.nspname IN ('iu_outbox', 'iu_river', 'iu_migration') AND g.grantee <> o.owner
          AND (v_fresh OR COALESCE(r.rolname, 'public') NOT IN ('iu_app', 'iu_worker', 'iu_operator', 'iu_subscriber'))
    LOOP
        EXECUTE v_statement;
    END LOOP;
END
$close$;

COMMIT;
