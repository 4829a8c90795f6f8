-- 034: the worker's own schema. Tables only; functions, triggers, views and grants are installed
-- from functions/, one family a file. Nothing here touches schema public.
BEGIN;

CREATE SCHEMA iu_outbox;
COMMENT ON SCHEMA iu_outbox IS 'iuworker: outbox, emissions, consumers, dead letters';

-- What applications insert into. A row leaves in the transaction that inserts its River job.
CREATE TABLE iu_outbox.event (
    id                     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id               uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    event_type             text NOT NULL
        CONSTRAINT event_type_must_not_be_blank CHECK (event_type ~ '\S')
        CONSTRAINT event_type_must_not_exceed_200_characters CHECK (pg_catalog.char_length(event_type) <= 200),
    template_collection_id uuid NOT NULL,
    instance_key_suffix    text NOT NULL
        CONSTRAINT instance_key_suffix_must_not_be_blank CHECK (instance_key_suffix ~ '\S')
        CONSTRAINT instance_key_suffix_must_not_exceed_200_characters
            CHECK (pg_catalog.char_length(instance_key_suffix) <= 200),
    emit_mode              text NOT NULL DEFAULT 'live'
        CONSTRAINT emit_mode_must_be_dry_run_or_live CHECK (emit_mode IN ('dry_run', 'live')),
    actor                  text NOT NULL DEFAULT SESSION_USER
        CONSTRAINT actor_must_not_be_blank CHECK (actor ~ '\S')
        CONSTRAINT actor_must_not_exceed_200_characters CHECK (pg_catalog.char_length(actor) <= 200),
    note                   text
        CONSTRAINT note_must_not_exceed_2000_characters CHECK (pg_catalog.char_length(note) <= 2000),
    priority               smallint NOT NULL DEFAULT 1
        CONSTRAINT priority_must_be_1_to_4 CHECK (priority BETWEEN 1 AND 4),
    available_at           timestamptz NOT NULL DEFAULT pg_catalog.now()
        CONSTRAINT available_at_must_be_between_1970_and_9999
            CHECK (available_at >= '1970-01-01 00:00:00+00' AND available_at < '9999-01-01 00:00:00+00'),
    trace_context          jsonb NOT NULL DEFAULT '{}'
        CONSTRAINT trace_context_must_be_an_object CHECK (pg_catalog.jsonb_typeof(trace_context) = 'object')
        CONSTRAINT trace_context_must_not_exceed_4096_bytes
            CHECK (pg_catalog.octet_length(trace_context::text) <= 4096),
    idempotency_key        text GENERATED ALWAYS AS (pg_catalog.md5(
        event_id::text || ':' || template_collection_id::text || ':' || instance_key_suffix)) STORED,
    created_at             timestamptz NOT NULL DEFAULT pg_catalog.now()
        CONSTRAINT created_at_must_be_between_1970_and_9999
            CHECK (created_at >= '1970-01-01 00:00:00+00' AND created_at < '9999-01-01 00:00:00+00')
) WITH (fillfactor = 100, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
        autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE iu_outbox.event IS
    'Outbox: insert a row in your own transaction and an instance of the template is composed, once.';
-- Serves event_state (by event) and the relay's search for rows of one idempotency key.
CREATE INDEX event_event_id_idempotency_key_idx ON iu_outbox.event (event_id, idempotency_key);

-- The epochs of this history: positions are comparable within one epoch, and across an epoch's end
-- only up to the position at which the next one began. id tells which one is later.
CREATE TABLE iu_outbox.epoch (
    id                integer GENERATED ALWAYS AS IDENTITY CONSTRAINT epoch_id_key UNIQUE,
    epoch             text PRIMARY KEY CONSTRAINT epoch_is_8_hex_digits CHECK (epoch ~ '^[0-9a-f]{8}$'),
    after_position    bigint NOT NULL CONSTRAINT after_position_not_negative CHECK (after_position >= 0),
    system_identifier bigint,
    timeline          integer,
    database_oid      oid,
    created_at        timestamptz NOT NULL DEFAULT pg_catalog.now()
);

-- The one row whose lock orders emissions: who writes a position holds it until commit.
CREATE TABLE iu_outbox.emission_counter (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    epoch     text NOT NULL REFERENCES iu_outbox.epoch (epoch),
    position  bigint NOT NULL DEFAULT 0 CHECK (position >= 0)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

INSERT INTO iu_outbox.epoch (epoch, after_position)
VALUES (pg_catalog.substr(pg_catalog.md5(pg_catalog.gen_random_uuid()::text), 1, 8), 0);
INSERT INTO iu_outbox.emission_counter (epoch) SELECT e.epoch FROM iu_outbox.epoch AS e;

-- One row for each live instance, written in the transaction that composed it. No foreign key: an
-- announcement that was made outlives the instance it announced.
CREATE TABLE iu_outbox.emission (
    id                     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    position               bigint CONSTRAINT emission_position_key UNIQUE,
    instance_collection_id uuid NOT NULL CONSTRAINT emission_instance_collection_id_key UNIQUE,
    event                  jsonb NOT NULL,
    created_at             timestamptz NOT NULL DEFAULT pg_catalog.now(),
    emitted_at             timestamptz,
    rolled_back_at         timestamptz,
    CONSTRAINT emission_position_and_emitted_at_go_together CHECK ((position IS NULL) = (emitted_at IS NULL))
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
CREATE INDEX emission_unemitted_idx ON iu_outbox.emission (id) WHERE position IS NULL;

-- Named durable consumers: what a consumer has handled is everything up to its position. tries and last_error tell
-- of the event after it, until that is handled.
CREATE TABLE iu_outbox.consumer (
    name          text PRIMARY KEY
        CONSTRAINT consumer_name_is_1_to_200_printable_characters CHECK (name ~ '^[[:graph:]]{1,200}$'),
    epoch         text NOT NULL,
    position      bigint NOT NULL DEFAULT 0 CHECK (position >= 0),
    tries         integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
    last_error    text,
    last_error_at timestamptz,
    created_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at    timestamptz NOT NULL DEFAULT pg_catalog.now()
) WITH (fillfactor = 50);

-- The process that works for a consumer, until lease_until. A table of its own: renewing the lease must never wait
-- for, nor disturb, a transaction that moves the position.
CREATE TABLE iu_outbox.consumer_lease (
    consumer    text PRIMARY KEY REFERENCES iu_outbox.consumer (name) ON UPDATE CASCADE ON DELETE CASCADE,
    process     text NOT NULL,
    lease_until timestamptz NOT NULL,
    acquired_at timestamptz NOT NULL DEFAULT pg_catalog.now()
) WITH (fillfactor = 20);

-- An event that a consumer gave up after the tries that it allows itself, until it is replayed or dropped.
CREATE TABLE iu_outbox.consumer_dead_letter (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer            text NOT NULL REFERENCES iu_outbox.consumer (name) ON UPDATE CASCADE ON DELETE CASCADE,
    epoch               text NOT NULL,
    position            bigint NOT NULL,
    event               jsonb NOT NULL,
    tries               integer NOT NULL,
    error               text NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT pg_catalog.now(),
    replay_requested_at timestamptz,
    CONSTRAINT consumer_dead_letter_event_key UNIQUE (consumer, position, epoch)
);
CREATE INDEX consumer_dead_letter_replay_idx ON iu_outbox.consumer_dead_letter (consumer, id)
    WHERE replay_requested_at IS NOT NULL;

-- A job that was cancelled or discarded leaves its event here until an operator retries or drops it.
CREATE TABLE iu_outbox.dead_letter (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id          bigint NOT NULL CONSTRAINT dead_letter_job_id_key UNIQUE,
    status          text NOT NULL,
    detail          text,
    event_id        uuid,
    idempotency_key text,
    event           jsonb NOT NULL,
    queue           text NOT NULL,
    attempts        integer NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX dead_letter_status_idx ON iu_outbox.dead_letter (status, id);
CREATE INDEX dead_letter_event_id_idx ON iu_outbox.dead_letter (event_id);
CREATE INDEX dead_letter_idempotency_key_idx ON iu_outbox.dead_letter (idempotency_key);

-- The ledger: which idempotency keys (16 bytes each) became jobs, and what ended one other than its instance or its
-- dead letter. Rows are merged, River forgets jobs, operators take things away: by the ledger iuworker verify still
-- accounts for every event. One sequence numbers both tables: what ends a claim has a higher entry than the claim.
CREATE SEQUENCE iu_outbox.ledger_entry_seq;

-- A transaction that made jobs: the relay's from outbox rows (events counts them: more than keys where some were
-- merged), a scale-out's without.
CREATE TABLE iu_outbox.claimed (
    entry       bigint PRIMARY KEY DEFAULT pg_catalog.nextval('iu_outbox.ledger_entry_seq'),
    at          timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    from_outbox boolean NOT NULL,
    events      integer NOT NULL CHECK (events > 0),
    keys        uuid[] NOT NULL
);
ALTER TABLE iu_outbox.claimed ALTER COLUMN keys SET STORAGE EXTERNAL; -- digests do not compress

-- rolled_back: its instance was; dropped, retried: its dead letter was; removed: its row was deleted from the outbox
-- by somebody who is not the relay (event is that row).
CREATE TABLE iu_outbox.settled (
    key   uuid NOT NULL,
    entry bigint NOT NULL DEFAULT pg_catalog.nextval('iu_outbox.ledger_entry_seq'),
    at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
    how   text NOT NULL CHECK (how IN ('rolled_back', 'dropped', 'retried', 'removed')),
    event jsonb CHECK ((event IS NOT NULL) = (how = 'removed')),
    PRIMARY KEY (key, entry)
);
CREATE INDEX settled_removed_idx ON iu_outbox.settled (entry) WHERE how = 'removed';

-- What stands for the emissions that were pruned: all of them up to position. instances: how many of their instances
-- were in the log then; rolled_back: how many of these were taken away since; created_until: when the youngest of
-- them was composed.
CREATE TABLE iu_outbox.emission_pruned (
    singleton     boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    position      bigint NOT NULL DEFAULT 0,
    instances     bigint NOT NULL DEFAULT 0,
    rolled_back   bigint NOT NULL DEFAULT 0,
    created_until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);
INSERT INTO iu_outbox.emission_pruned DEFAULT VALUES;

-- The processes that work. A process lives while it holds its advisory lock or its row is fresh.
CREATE TABLE iu_outbox.worker (
    id         text PRIMARY KEY,
    lock_key   integer NOT NULL CHECK (lock_key >= 0),
    hostname   text NOT NULL,
    pid        integer NOT NULL,
    version    text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    seen_at    timestamptz NOT NULL DEFAULT pg_catalog.now()
) WITH (fillfactor = 20);

-- What operators changed: who, what, when. Rows come in the transaction that makes the change; nobody updates them.
CREATE TABLE iu_outbox.audit (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
    actor  text NOT NULL CONSTRAINT actor_must_not_be_blank CHECK (actor ~ '\S'),
    action text NOT NULL CONSTRAINT action_must_not_be_blank CHECK (action ~ '\S'),
    detail jsonb NOT NULL DEFAULT '{}'
        CONSTRAINT detail_must_be_an_object CHECK (pg_catalog.jsonb_typeof(detail) = 'object')
);

-- What is installed, and the oldest program that may work on it.
CREATE TABLE iu_outbox.schema_info (
    singleton           boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    schema_version      integer NOT NULL,
    min_program_version text NOT NULL,
    functions_hash      text NOT NULL DEFAULT '',
    updated_at          timestamptz NOT NULL DEFAULT pg_catalog.now()
);
INSERT INTO iu_outbox.schema_info (schema_version, min_program_version) VALUES (34, '0.1.0');

COMMIT;
