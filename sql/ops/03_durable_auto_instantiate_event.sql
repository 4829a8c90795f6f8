-- One durable proof event: composes one instance of a proof template and keeps it. The event's id is fixed, so a
-- second run returns idempotent_replay and adds nothing. Both gates, composer and auto-instantiate, must be open
-- (only composer with iuworker.emit_mode = dry_run); otherwise nothing is done.
-- Settings that change what it does; SET them in the session before you run it:
--   iuworker.template   collection key of the template; default iu-proof-template, created if it is missing
--   iuworker.emit_mode  live (default) or dry_run
--   iuworker.actor      default iuworker-proof; `iuworker rollback --actor iuworker-proof` removes the instance
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;

DO $proof$
DECLARE
    c_template CONSTANT text := 'iu-proof-template';
    v_template text := COALESCE(NULLIF(pg_catalog.current_setting('iuworker.template', true), ''), c_template);
    v_emit_mode text := COALESCE(NULLIF(pg_catalog.current_setting('iuworker.emit_mode', true), ''), 'live');
    v_actor text := COALESCE(NULLIF(pg_catalog.current_setting('iuworker.actor', true), ''), 'iuworker-proof');
    v_closed text;
    v_template_id uuid;
    v_answer jsonb;
BEGIN
    SELECT pg_catalog.string_agg('iuworker gate open ' || g.gate, ' and ' ORDER BY g.n) INTO v_closed
    FROM (VALUES (1, 'composer', 'iu_core.composer_enabled', true),
                 (2, 'auto-instantiate', 'iu_core.auto_instantiate_enabled', v_emit_mode = 'live')
    ) AS g (n, gate, key, needed)
    WHERE g.needed AND NOT EXISTS (SELECT FROM public.dot_config AS c
                                   WHERE c.key = g.key AND pg_catalog.lower(pg_catalog.btrim(c.value)) = 'true');
    IF v_closed IS NOT NULL THEN
        RAISE EXCEPTION 'a gate is closed, and nothing was done; open it with: %', v_closed
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;

    IF v_template = c_template
       AND NOT EXISTS (SELECT FROM public.iu_piece_collection AS c WHERE c.collection_key = c_template) THEN
        INSERT INTO public.iu_piece (piece_key, body, created_by)
        SELECT c_template || '/' || n, pg_catalog.jsonb_build_object('text', 'Proof, piece ' || n), v_actor
        FROM pg_catalog.generate_series(1, 3) AS n
        ON CONFLICT (piece_key) DO NOTHING;
        v_answer := public.fn_iu_compose(
            c_template, 'Proof template',
            ARRAY(SELECT p.id FROM public.iu_piece AS p WHERE p.piece_key LIKE c_template || '/%' ORDER BY p.piece_key),
            v_actor);
        v_answer := public.fn_iu_collection_mark_template((v_answer ->> 'collection_id')::uuid, v_actor);
    END IF;
    v_template_id := (SELECT c.id FROM public.iu_piece_collection AS c WHERE c.collection_key = v_template);
    IF v_template_id IS NULL THEN
        RAISE EXCEPTION 'there is no collection with the key %', v_template USING ERRCODE = 'no_data_found';
    END IF;

    v_answer := public.fn_iu_auto_instantiate_from_event(
        '5d1f0c6e-6f0e-4a43-9a55-7c0e0a3b0f03', 'iu.proof.durable', v_template_id, 'iu-proof:durable:' || v_template,
        v_emit_mode, v_actor, 'durable proof event');
    IF v_answer ->> 'status' NOT IN ('instantiated', 'idempotent_replay') THEN
        RAISE EXCEPTION 'the proof event composed nothing: %', v_answer;
    END IF;
    PERFORM pg_catalog.set_config('iuworker.answer', v_answer::text, true);
END
$proof$;

SELECT a.answer ->> 'status' AS status, l.instance_key, l.instance_collection_id, l.template_key, l.emit_mode,
       l.triggered_by, l.created_at, l.digest_match
FROM (SELECT pg_catalog.current_setting('iuworker.answer')::jsonb AS answer) AS a
JOIN public.v_iu_auto_instantiate_event_log AS l
  ON l.instance_collection_id = (a.answer ->> 'instance_collection_id')::uuid;

COMMIT;
