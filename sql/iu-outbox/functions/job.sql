-- River's table of jobs, as everything else of ours sees it. This file and change_jobs.sql own its columns, its states and the
-- keys that its metadata has.

-- Indexes on what the view below is searched by, in place of River's two on all of args and metadata: each of those gets
-- dozens of entries for every version of a job, of which there are three, and made a quarter of all WAL. River itself searches by neither.
DROP INDEX IF EXISTS iu_river.river_job_args_index, iu_river.river_job_metadata_index;
CREATE INDEX IF NOT EXISTS iu_outbox_job_event_id_idx ON iu_river.river_job (pg_catalog.left(args ->> 'event_id', 36));
CREATE INDEX IF NOT EXISTS iu_outbox_job_idempotency_key_idx ON iu_river.river_job (pg_catalog.left(args ->> 'idempotency_key', 32));
CREATE INDEX IF NOT EXISTS iu_outbox_job_suffix_idx ON iu_river.river_job (pg_catalog.left(args ->> 'instance_key_suffix', 200));
-- These have entries for few jobs.
CREATE INDEX IF NOT EXISTS iu_outbox_job_gate_idx ON iu_river.river_job ((metadata #>> '{parked,gate}'), id)
    WHERE state = 'scheduled' AND metadata ? 'parked';
CREATE INDEX IF NOT EXISTS iu_outbox_job_parked_idx ON iu_river.river_job ((metadata #>> '{parked,status}'), id)
    WHERE state = 'scheduled' AND metadata ? 'parked';
CREATE INDEX IF NOT EXISTS iu_outbox_job_retry_idx ON iu_river.river_job (scheduled_at)
    WHERE state = 'scheduled' AND metadata ? 'retry' AND NOT metadata ? 'parked';

-- Our jobs, in columns and states that do not depend on River's. The expressions of event_id, idempotency_key, suffix, held and
-- retrying match the indexes above; those of unfinished and cancellable, and comparisons of state, queue, scheduled_at and
-- finalized_at match River's.
--   event            the arguments: the event as the relay claimed it
--   event_id, idempotency_key, suffix  of the event, cut to the longest that is valid
--   event_state      waiting, working or parked; NULL if the job has ended
--   reason           why it is parked, or the last error
--   held             it is parked because of a fault of the installation
--   was_parked       River counts snoozes: those of a retry, which we count as well, and those of a parked job
--   duplicate        it was discarded because another unfinished job has its idempotency key
-- A migration of River that changes a column which the view has must drop the view first; it is installed again afterwards.
CREATE OR REPLACE VIEW iu_outbox.job WITH (security_invoker = true) AS
SELECT j.id, j.queue, j.priority, j.state, j.attempt, j.max_attempts, j.created_at, j.scheduled_at, j.attempted_at, j.finalized_at,
       j.attempted_by[pg_catalog.array_upper(j.attempted_by, 1)] AS worker,
       j.args AS event,
       j.errors,
       j.metadata -> 'output' AS output,
       j.metadata -> 'parked' AS parked,
       j.metadata -> 'retry' AS retry,
       j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled') AS unfinished,
       j.state IN ('available', 'pending', 'retryable', 'scheduled') AS cancellable,
       j.state = 'scheduled' AND j.metadata ? 'parked' AND j.metadata #>> '{parked,status}' = 'installation_fault' AS held,
       j.state = 'retryable' OR j.state = 'scheduled' AND j.metadata ? 'retry' AND NOT j.metadata ? 'parked' AS retrying,
       CASE WHEN j.state IN ('cancelled', 'completed', 'discarded') THEN NULL
            WHEN j.state = 'scheduled' AND j.metadata ? 'parked' THEN 'parked'
            WHEN j.state IN ('pending', 'scheduled') AND NOT j.metadata ? 'retry' THEN 'waiting'
            ELSE 'working' END AS event_state,
       CASE WHEN j.state = 'scheduled' AND j.metadata ? 'parked' THEN j.metadata #>> '{parked,reason}'
            ELSE COALESCE(j.metadata #>> '{retry,error}', j.errors[pg_catalog.array_upper(j.errors, 1)] ->> 'error') END AS reason,
       CASE WHEN pg_catalog.jsonb_typeof(j.metadata -> 'snoozes') = 'number'
            THEN (j.metadata -> 'snoozes')::numeric > CASE WHEN pg_catalog.jsonb_typeof(j.metadata #> '{retry,count}') = 'number'
                                                           THEN (j.metadata #> '{retry,count}')::numeric ELSE 0 END
            ELSE false END AS was_parked,
       j.metadata ? 'cancel_attempted_at' AS cancel_requested,
       j.metadata ? 'unique_key_conflict' AS duplicate,
       pg_catalog.left(j.args ->> 'event_id', 36) AS event_id,
       pg_catalog.left(j.args ->> 'idempotency_key', 32) AS idempotency_key,
       pg_catalog.left(j.args ->> 'instance_key_suffix', 200) AS suffix
FROM iu_river.river_job AS j
WHERE (j.kind = 'auto_instantiate') IS TRUE; -- not by River's index on kind, which finds nearly every job; estimated right

-- Returns how many jobs are unfinished, but no more than p_most. It reads River's index alone.
CREATE OR REPLACE FUNCTION iu_outbox.count_unfinished(p_most integer) RETURNS integer
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_catalog.count(*)::integer
    FROM (SELECT FROM iu_river.river_job AS j
          WHERE j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled') LIMIT p_most) AS j
$$;

-- Returns the jobs that are parked for a gate. In line with the statement that calls it.
CREATE OR REPLACE FUNCTION iu_outbox.parked_jobs(p_gate text) RETURNS SETOF bigint
LANGUAGE sql STABLE AS $$
    SELECT j.id FROM iu_river.river_job AS j
    WHERE j.state = 'scheduled' AND j.metadata ? 'parked' AND j.metadata #>> '{parked,gate}' = p_gate
$$;

-- Returns River's unique key of a job: the hash of what River says of its kind and its idempotency key.
CREATE OR REPLACE FUNCTION iu_outbox.unique_key(p_key text) RETURNS bytea
LANGUAGE sql STABLE AS $$
    SELECT pg_catalog.sha256(pg_catalog.convert_to('&kind=auto_instantiate&args={"idempotency_key":"' || p_key || '"}', 'UTF8'))
$$;

-- Returns the unfinished job of an idempotency key that River's index of unique keys has. In line with the statement that calls it. The state is a text: so no plan reads all jobs of a state instead.
CREATE OR REPLACE FUNCTION iu_outbox.unique_job(p_key text, OUT id bigint, OUT state text) RETURNS SETOF record
LANGUAGE sql STABLE AS $$
    SELECT j.id, j.state::text FROM iu_river.river_job AS j
    WHERE j.unique_key = iu_outbox.unique_key(p_key)
      AND j.unique_states IS NOT NULL AND iu_river.river_job_state_in_bitmask(j.unique_states, j.state)
$$;

-- Returns the unfinished job of an idempotency key: by River's index of unique keys,
-- and by the key itself, since an application may insert jobs with a unique key of its own. A job may be returned twice. In line with the statement that
-- calls it.
CREATE OR REPLACE FUNCTION iu_outbox.unfinished_jobs(p_key text) RETURNS SETOF bigint
LANGUAGE sql STABLE AS $$
    SELECT j.id FROM iu_outbox.unique_job(p_key) AS j
    UNION ALL
    SELECT j.id FROM iu_outbox.job AS j
    WHERE j.idempotency_key = p_key AND j.unfinished
$$;

-- Each job is updated three times and each update leaves a dead row: vacuum by thousands of them, not by a fifth of a
-- table that holds a day's jobs.
ALTER TABLE iu_river.river_job SET (
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 10000);

-- A job that may run now is due now: the clock of the client that inserts it may be ahead.
CREATE OR REPLACE FUNCTION iu_outbox.due_now() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.scheduled_at := pg_catalog.now();
    NEW.created_at := LEAST(NEW.created_at, pg_catalog.now());
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER iu_outbox_due_now
    BEFORE INSERT ON iu_river.river_job
    FOR EACH ROW
    WHEN (NEW.state = 'available' AND NEW.scheduled_at > pg_catalog.clock_timestamp())
    EXECUTE FUNCTION iu_outbox.due_now();
