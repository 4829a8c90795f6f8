-- An event that was said again while its job ran has no job of its own. Where that job ends and its instance is not
-- there (it was rolled back in between, or is being), the event goes back into the outbox. The ledger notes its key.
-- Locks the log row, unless a rollback has it: that one is not waited for.
CREATE OR REPLACE FUNCTION iu_outbox.say_again() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_event jsonb := NEW.metadata -> 'said_again';
BEGIN
    IF iu_outbox.applying() THEN
        RETURN NULL;
    END IF;
    PERFORM FROM public.iu_auto_instantiate_event_log AS l
    WHERE l.idempotency_key = v_event ->> 'idempotency_key'
    FOR KEY SHARE SKIP LOCKED;
    IF NOT FOUND THEN
        INSERT INTO iu_outbox.settled (key, how) VALUES ((v_event ->> 'idempotency_key')::uuid, 'retried');
        PERFORM iu_outbox.insert_events(pg_catalog.jsonb_build_array(iu_outbox.event_again(v_event)));
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER iu_outbox_said_again
    AFTER UPDATE OF state ON iu_river.river_job
    FOR EACH ROW
    WHEN (NEW.kind = 'auto_instantiate' AND NEW.state = 'completed' AND OLD.state <> 'completed'
          AND NEW.metadata ? 'said_again')
    EXECUTE FUNCTION iu_outbox.say_again();
