-- 036: what the worker needs in a database that others share. Tables and columns only; functions/ has the rest.
BEGIN;

-- Settings of the installation, which every process obeys whatever its own flags are. No row: the default.
CREATE TABLE iu_outbox.setting (
    name       text PRIMARY KEY,
    value      text NOT NULL,
    updated_by text NOT NULL DEFAULT SESSION_USER,
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);

-- Whether a process of its own session holds an advisory lock: one without (behind a transaction pooler) is known to
-- live by its heartbeat alone.
ALTER TABLE iu_outbox.worker ADD COLUMN session boolean NOT NULL DEFAULT true;

-- The row whose lock keeps emissions from being pruned under a new consumer. Not an advisory lock: any login may take one,
-- and keep it.
CREATE TABLE iu_outbox.retention (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
INSERT INTO iu_outbox.retention DEFAULT VALUES;

COMMIT;
