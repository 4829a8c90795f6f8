-- Takes 033 away: its views, functions, rows and log. What it composed stays: instances, memberships and
-- lineage are iu-core's (fn_iu_auto_instantiate_rollback_by_actor deletes those, before this).
BEGIN;

DO $$
DECLARE
    v_rows bigint;
BEGIN
    IF pg_catalog.to_regclass('public.iu_auto_instantiate_event_log') IS NULL THEN
        RAISE EXCEPTION 'REFUSED: 033 is not here, table public.iu_auto_instantiate_event_log does not exist'
            USING ERRCODE = 'undefined_table';
    END IF;
    IF pg_catalog.to_regnamespace('iu_outbox') IS NOT NULL THEN
        RAISE EXCEPTION 'REFUSED: schema iu_outbox stands on 033; take both away with: iuworker migrate down --to 32'
            USING ERRCODE = 'dependent_objects_still_exist';
    END IF;

    -- No row may come in between the count and the drop.
    LOCK TABLE public.iu_auto_instantiate_event_log IN ACCESS EXCLUSIVE MODE;
    SELECT pg_catalog.count(*) INTO v_rows FROM public.iu_auto_instantiate_event_log;
    IF v_rows > 0
       AND pg_catalog.current_setting('iu_core.force_rollback_033', true) IS DISTINCT FROM 'true' THEN
        RAISE EXCEPTION 'REFUSED: the log of auto-instantiated events has % row(s), and dropping it forgets which events have been handled; to drop it all the same: SET iu_core.force_rollback_033 = ''true'' in this session, or iuworker migrate down --to 32 --force',
            v_rows
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END
$$;

DROP VIEW public.v_iu_auto_instantiate_event_summary;
DROP VIEW public.v_iu_auto_instantiate_event_log;

DROP FUNCTION public.fn_iu_auto_instantiate_rollback_by_actor(text, boolean);
DROP FUNCTION public.fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text);

DELETE FROM public.event_type_registry WHERE event_type = 'iu.template.instance_auto_composed';
DELETE FROM public.dot_config WHERE key = 'iu_core.auto_instantiate_enabled';

DROP TABLE public.iu_auto_instantiate_event_log;

COMMIT;
