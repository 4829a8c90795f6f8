-- 036: what the worker needs in a database that others share. Tables and columns only; functions/ has the rest.
BEGIN;

-- Settings of the installation, which every process obeys whatever its own flags are. No row: the default.
CREATE TABLE iu_outbox.setting (
    name       text PRIMARY KEY,
    value      text NOT NULL,
    updated_by text NOT NULL DEFAULT SESSION_USER,
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);

-- How long workers have been there: a clock that stands while none runs and that no jump of the server's moves.
-- attended, resumed and grace are seconds of it. resumed: when attendance last began after a gap; grace: for how long
-- after that nothing is pruned. retention and consumer_expiry: the shortest that workers have now, in seconds (NULL:
-- none has told), since agreed_at.
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

-- When a consumer was last active, by attended time, and what the times of its row and its lease were then. A table of
-- its own: noting it must never wait for a transaction that moves the position.
CREATE TABLE iu_outbox.consumer_attendance (
    consumer    text PRIMARY KEY REFERENCES iu_outbox.consumer (name) ON UPDATE CASCADE ON DELETE CASCADE,
    moved_at    timestamptz NOT NULL,
    lease_until timestamptz,
    active      double precision NOT NULL
) WITH (fillfactor = 50);

-- The id of the event at a consumer's position, as its process read it: another event there now is another history.
ALTER TABLE iu_outbox.consumer ADD COLUMN last_event_id uuid;

COMMIT;
