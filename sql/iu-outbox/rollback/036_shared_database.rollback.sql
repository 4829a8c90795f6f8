-- Removes what 036 added, with the views and functions that read it: migrate up installs those again.
BEGIN;

DROP TABLE IF EXISTS iu_outbox.setting CASCADE;

-- Events of emissions without a position were not stored.
UPDATE iu_outbox.emission AS e
SET event = (SELECT c.event FROM iu_outbox.composed_event(e.instance_collection_id, e.trace) AS c)
WHERE e.event IS NULL;
DROP VIEW IF EXISTS iu_outbox.emission_event;
ALTER TABLE iu_outbox.emission
    ALTER COLUMN event SET NOT NULL,
    DROP COLUMN IF EXISTS trace,
    DROP CONSTRAINT IF EXISTS emission_with_a_position_has_its_event;

ALTER TABLE iu_outbox.worker DROP COLUMN IF EXISTS steady_since, DROP COLUMN IF EXISTS session_pid CASCADE;

DROP TABLE IF EXISTS iu_outbox.retention CASCADE;

DROP TABLE IF EXISTS iu_outbox.verification CASCADE;
DROP FUNCTION IF EXISTS iu_outbox.write_history(), iu_outbox.note_history(timestamptz);
DROP FUNCTION IF EXISTS iu_outbox.count_minute(timestamptz, timestamptz, integer, integer);
DROP FUNCTION IF EXISTS iu_outbox.ended_jobs(timestamptz, timestamptz, integer, integer);
DROP TABLE IF EXISTS iu_outbox.history, iu_outbox.history_consumer, iu_outbox.history_template;

DROP TABLE IF EXISTS iu_outbox.worker_report;

DROP TABLE IF EXISTS iu_outbox.consumer_attendance, iu_outbox.attendance CASCADE;
DROP FUNCTION IF EXISTS iu_outbox.keep_last_event() CASCADE;
ALTER TABLE iu_outbox.consumer DROP COLUMN IF EXISTS last_event_id CASCADE;

DROP INDEX IF EXISTS iu_outbox.dead_letter_template_idx, iu_outbox.dead_letter_actor_idx, iu_outbox.dead_letter_event_type_idx,
    iu_outbox.dead_letter_created_at_idx, iu_outbox.dead_letter_suffix_idx, iu_outbox.audit_actor_idx, iu_outbox.audit_action_idx, iu_outbox.audit_at_idx;
DROP TABLE IF EXISTS iu_outbox.scaleout CASCADE;

DROP VIEW IF EXISTS iu_outbox.foreign_grant, iu_outbox.intended_grant, iu_outbox.listed_grant;

DROP VIEW IF EXISTS iu_outbox.new_event;
DROP VIEW IF EXISTS iu_outbox.claimed_event CASCADE; -- and claim(), which returns its rows

-- It would keep River's table from being dropped.
DROP VIEW IF EXISTS iu_outbox.job;

-- 034's rollback knows of tables and functions alone.
DO $$
DECLARE
    v_role text;
BEGIN
    FOR v_role IN
        SELECT r.rolname FROM pg_catalog.pg_namespace AS n
        CROSS JOIN LATERAL pg_catalog.aclexplode(n.nspacl) AS g
        JOIN pg_catalog.pg_roles AS r ON r.oid = g.grantee
        WHERE n.nspname = 'public' AND r.rolname IN ('iu_worker', 'iu_operator')
    LOOP
        EXECUTE pg_catalog.format('REVOKE USAGE ON SCHEMA public FROM %I', v_role);
    END LOOP;
END
$$;

COMMIT;
