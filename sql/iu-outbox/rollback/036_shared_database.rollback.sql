-- Removes what 036 added, with the views and functions that read it: migrate up installs those again.
BEGIN;

DROP TABLE IF EXISTS iu_outbox.setting CASCADE;

DROP TABLE IF EXISTS iu_outbox.consumer_attendance, iu_outbox.attendance CASCADE;
DROP FUNCTION IF EXISTS iu_outbox.keep_last_event() CASCADE;
ALTER TABLE iu_outbox.consumer DROP COLUMN IF EXISTS last_event_id CASCADE;

COMMIT;
