-- Twelve instances through the outbox: inserts twelve events as an application would, and a running worker
-- (iuworker work) composes them. The ids of the events follow from the prefix and the number, and events that are
-- already known, in whatever state, are left out: a second run adds nothing. Both gates, composer and
-- auto-instantiate, must be open (only composer with iuworker.emit_mode = dry_run); otherwise nothing is done.
-- Settings that change what it does; SET them in the session before you run it:
--   iuworker.template   collection key of the template; default iu-proof-template, created if it is missing
--   iuworker.prefix     begins each instance key suffix; default iu-proof:bulk
--   iuworker.emit_mode  live (default) or dry_run
--   iuworker.actor      default iuworker-proof; `iuworker rollback --actor iuworker-proof` removes the instances
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;

DO $proof$
DECLARE
    c_template CONSTANT text := 'iu-proof-template';
    v_template text := COALESCE(NULLIF(pg_catalog.current_setting('iuworker.template', true), ''), c_template);
    v_prefix text := COALESCE(NULLIF(pg_catalog.current_setting('iuworker.prefix', true), ''), 'iu-proof:bulk');
    v_emit_mode text := COALESCE(NULLIF(pg_catalog.current_setting('iuworker.emit_mode', true), ''), 'live');
    v_actor text := COALESCE(NULLIF(pg_catalog.current_setting('iuworker.actor', true), ''), 'iuworker-proof');
    v_closed text;
    v_template_id uuid;
    v_answer jsonb;
    v_inserted integer;
BEGIN
    IF pg_catalog.to_regclass('iu_outbox.event') IS NULL THEN
        RAISE EXCEPTION 'there is no outbox here; run: iuworker migrate up' USING ERRCODE = 'undefined_table';
    END IF;
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

    INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode, actor,
                                 note, priority)
    SELECT e.event_id, 'iu.proof.bulk', v_template_id, e.suffix, v_emit_mode, v_actor, 'bulk scale-out', 4
    FROM (SELECT n, pg_catalog.md5(v_prefix || ':' || n)::uuid, v_prefix || ':' || n
          FROM pg_catalog.generate_series(1, 12) AS n) AS e (n, event_id, suffix)
    WHERE NOT EXISTS (SELECT FROM iu_outbox.event_state(e.event_id) AS s WHERE s.instance_key_suffix = e.suffix)
    ORDER BY e.n;
    GET DIAGNOSTICS v_inserted = ROW_COUNT;
    RAISE NOTICE '% of 12 events inserted, the others are known; a worker composes them: iuworker work', v_inserted;
END
$proof$;

COMMIT;

SELECT e.suffix AS instance_key_suffix, s.state, s.reason, s.instance_collection_id
FROM (SELECT n, p.prefix || ':' || n, pg_catalog.md5(p.prefix || ':' || n)::uuid
      FROM (SELECT COALESCE(NULLIF(pg_catalog.current_setting('iuworker.prefix', true), ''), 'iu-proof:bulk') AS prefix) AS p
      CROSS JOIN pg_catalog.generate_series(1, 12) AS n) AS e (n, suffix, event_id)
CROSS JOIN LATERAL iu_outbox.event_state(e.event_id) AS s
ORDER BY e.n;
