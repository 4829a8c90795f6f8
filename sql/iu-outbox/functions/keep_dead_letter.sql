-- Keeps the event of a job that ends without an instance as a dead letter, in the statement that ends the job, and
-- removes it if the job is made to run again. Never raises for malformed args: it runs inside River's statements,
-- where an error would fail the whole batch.
CREATE OR REPLACE FUNCTION iu_outbox.keep_dead_letter() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_error text := OLD.errors[pg_catalog.array_upper(OLD.errors, 1)] ->> 'error';
    v_status text;
    v_detail text;
BEGIN
    IF iu_outbox.applying() THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF NEW.state NOT IN ('cancelled', 'discarded') THEN
            DELETE FROM iu_outbox.dead_letter AS d WHERE d.job_id = NEW.id;
            RETURN NULL;
        END IF;
        -- The scheduler discards a job whose idempotency key another unfinished job holds: nothing is lost.
        IF NEW.metadata ? 'unique_key_conflict' THEN
            RETURN NULL;
        END IF;
        v_error := NEW.errors[pg_catalog.array_upper(NEW.errors, 1)] ->> 'error';
        v_status := NEW.metadata #>> '{output,status}';
        v_detail := NEW.metadata #>> '{output,detail}';
        IF v_status IS NULL OR v_status IN ('instantiated', 'idempotent_replay', 'composer_disabled', 'live_gate_closed') THEN
            v_status := NEW.state::text;
            v_detail := COALESCE(v_error, 'ended by hand');
        END IF;
        IF v_detail IS NULL AND v_status IN ('template_not_found', 'template_not_marked', 'template_empty') THEN
            SELECT CASE WHEN c.collection_key IS NULL OR v_status = 'template_not_found'
                            THEN pg_catalog.format('template %s does not exist', t.id)
                        WHEN v_status = 'template_not_marked' THEN c.collection_key || ' is not marked as a template'
                        ELSE c.collection_key || ' has no active piece' END
            INTO v_detail
            FROM (SELECT OLD.args ->> 'template_collection_id' AS id) AS t
            LEFT JOIN public.iu_piece_collection AS c ON c.id = iu_outbox.as_uuid(t.id);
        END IF;
    ELSE
        v_status := 'deleted';
        v_detail := pg_catalog.concat_ws(': ', 'the unfinished job was deleted', v_error);
    END IF;

    INSERT INTO iu_outbox.dead_letter
        (job_id, status, detail, event_id, idempotency_key, event, queue, attempts)
    VALUES (OLD.id, v_status, v_detail,
            iu_outbox.as_uuid(OLD.args ->> 'event_id'), OLD.args ->> 'idempotency_key', OLD.args, OLD.queue, OLD.attempt)
    ON CONFLICT (job_id) DO UPDATE
    SET status = EXCLUDED.status, detail = EXCLUDED.detail, attempts = EXCLUDED.attempts,
        created_at = pg_catalog.now();
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER iu_outbox_dead_letter_on_end
    AFTER UPDATE OF state ON iu_river.river_job
    FOR EACH ROW
    WHEN (NEW.kind = 'auto_instantiate' AND OLD.state <> NEW.state
          AND (NEW.state IN ('cancelled', 'discarded') OR OLD.state IN ('cancelled', 'discarded')))
    EXECUTE FUNCTION iu_outbox.keep_dead_letter();

CREATE OR REPLACE TRIGGER iu_outbox_dead_letter_on_delete
    AFTER DELETE ON iu_river.river_job
    FOR EACH ROW
    WHEN (OLD.kind = 'auto_instantiate' AND OLD.state NOT IN ('cancelled', 'completed', 'discarded'))
    EXECUTE FUNCTION iu_outbox.keep_dead_letter();
