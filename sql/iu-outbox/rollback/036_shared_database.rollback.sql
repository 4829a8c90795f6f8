-- Removes what 036 added, with the views and functions that read it: migrate up installs those again.
BEGIN;

DROP TABLE IF EXISTS iu_outbox.setting CASCADE;

ALTER TABLE iu_outbox.worker DROP COLUMN IF EXISTS session;

DROP TABLE IF EXISTS iu_outbox.retention CASCADE;

COMMIT;
