-- Twelve probes of 033. Each is one transaction that sets the gates as it needs them, tries what it names with keys
-- of its own, returns one row (probe, result PASS or FAIL, note) and rolls everything back: nothing is left, and
-- nobody is notified. Gates may be closed and workers may run: no probe waits longer than 2 s for a lock, and no
-- statement runs longer than 30 s. Run it as the owner of iu-core.

-- 1. A wrong argument is named, and nothing is written.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '30s';
SET LOCAL plpgsql.check_asserts = on;
DO $probe$
DECLARE
    v_run text := 'iu-probe:' || pg_catalog.gen_random_uuid();
    v_event uuid := pg_catalog.gen_random_uuid();
    v_pieces uuid[];
    v_template uuid;
    v_answer jsonb;
    v_try record;
BEGIN
    UPDATE public.dot_config SET value = 'true'
    WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled') AND value <> 'true';
    WITH piece AS (
        INSERT INTO public.iu_piece (piece_key, body)
        SELECT v_run || '/' || n, pg_catalog.jsonb_build_object('n', n) FROM pg_catalog.generate_series(1, 3) AS n
        RETURNING id, piece_key)
    SELECT pg_catalog.array_agg(p.id ORDER BY p.piece_key) INTO v_pieces FROM piece AS p;
    v_template := public.fn_iu_compose(v_run, 'Probe', v_pieces, v_run) ->> 'collection_id';
    ASSERT v_template IS NOT NULL, 'fn_iu_compose composes nothing with its gate open';
    PERFORM public.fn_iu_collection_mark_template(v_template, v_run);
    FOR v_try IN
        SELECT * FROM (VALUES
            ('p_event_id', NULL, 'iu.probe', v_template, v_run, 'live', v_run),
            ('p_event_type', v_event, NULL, v_template, v_run, 'live', v_run),
            ('p_event_type', v_event, E' \t\n', v_template, v_run, 'live', v_run),
            ('p_template_collection_id', v_event, 'iu.probe', NULL, v_run, 'live', v_run),
            ('p_instance_key_suffix', v_event, 'iu.probe', v_template, NULL, 'live', v_run),
            ('p_instance_key_suffix', v_event, 'iu.probe', v_template, ' ', 'live', v_run),
            ('p_instance_key_suffix', v_event, 'iu.probe', v_template, pg_catalog.rpad(v_run, 201, 'x'), 'live', v_run),
            ('p_emit_mode', v_event, 'iu.probe', v_template, v_run, NULL, v_run),
            ('p_emit_mode', v_event, 'iu.probe', v_template, v_run, 'LIVE', v_run),
            ('p_actor', v_event, 'iu.probe', v_template, v_run, 'live', NULL),
            ('p_actor', v_event, 'iu.probe', v_template, v_run, 'live', '')
        ) AS t (wrong, event, type, template, suffix, mode, actor)
    LOOP
        v_answer := public.fn_iu_auto_instantiate_from_event(
            v_try.event, v_try.type, v_try.template, v_try.suffix, v_try.mode, v_try.actor);
        ASSERT v_answer ->> 'status' = 'invalid_input' AND v_answer ->> 'detail' LIKE '%' || v_try.wrong || '%',
            pg_catalog.concat(v_try.wrong, ': ', v_answer);
    END LOOP;
    ASSERT NOT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.event_id = v_event),
        'a log row was written all the same';
    ASSERT NOT EXISTS (SELECT FROM public.iu_piece_collection AS c WHERE c.collection_key = 'tpl-inst:auto:' || v_run),
        'a collection was composed all the same';
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, pg_catalog.rpad(v_run, 200, 'x'), 'live', v_run);
    ASSERT v_answer ->> 'status' = 'instantiated', pg_catalog.concat('a suffix of 200 characters: ', v_answer);
    PERFORM pg_catalog.set_config('iuworker.probe', '', true);
EXCEPTION WHEN assert_failure OR query_canceled OR OTHERS THEN
    PERFORM pg_catalog.set_config('iuworker.probe', SQLERRM, true);
END
$probe$;
SELECT 'invalid_input' AS probe,
       CASE note WHEN '' THEN 'PASS' ELSE 'FAIL' END AS result,
       note
FROM pg_catalog.current_setting('iuworker.probe') AS note;
ROLLBACK;

-- 2. The live gate stops live events only, and only the value true opens it.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '30s';
SET LOCAL plpgsql.check_asserts = on;
DO $probe$
DECLARE
    v_run text := 'iu-probe:' || pg_catalog.gen_random_uuid();
    v_event uuid := pg_catalog.gen_random_uuid();
    v_pieces uuid[];
    v_template uuid;
    v_answer jsonb;
BEGIN
    UPDATE public.dot_config SET value = CASE key WHEN 'iu_core.composer_enabled' THEN 'true' ELSE 'false' END
    WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled');
    WITH piece AS (
        INSERT INTO public.iu_piece (piece_key, body)
        SELECT v_run || '/' || n, pg_catalog.jsonb_build_object('n', n) FROM pg_catalog.generate_series(1, 3) AS n
        RETURNING id, piece_key)
    SELECT pg_catalog.array_agg(p.id ORDER BY p.piece_key) INTO v_pieces FROM piece AS p;
    v_template := public.fn_iu_compose(v_run, 'Probe', v_pieces, v_run) ->> 'collection_id';
    ASSERT v_template IS NOT NULL, 'fn_iu_compose composes nothing with its gate open';
    PERFORM public.fn_iu_collection_mark_template(v_template, v_run);
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'live', v_run);
    ASSERT v_answer ->> 'status' = 'live_gate_closed', pg_catalog.concat('live: ', v_answer);
    ASSERT NOT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.event_id = v_event),
        'a log row was written all the same';
    ASSERT NOT EXISTS (SELECT FROM public.iu_piece_collection AS c WHERE c.collection_key = 'tpl-inst:auto:' || v_run),
        'a collection was composed all the same';
    UPDATE public.dot_config SET value = 'yes' WHERE key = 'iu_core.auto_instantiate_enabled';
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'live', v_run);
    ASSERT v_answer ->> 'status' = 'live_gate_closed', pg_catalog.concat('live at yes: ', v_answer);
    UPDATE public.dot_config SET value = 'false'
    WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled');
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'live', v_run);
    ASSERT v_answer ->> 'status' = 'live_gate_closed', pg_catalog.concat('live with both closed: ', v_answer);
    UPDATE public.dot_config SET value = 'true' WHERE key = 'iu_core.composer_enabled';
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'dry_run', v_run);
    ASSERT v_answer ->> 'status' = 'instantiated', pg_catalog.concat('dry_run: ', v_answer);
    UPDATE public.dot_config SET value = ' TRUE ' WHERE key = 'iu_core.auto_instantiate_enabled';
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run || ':live', 'live', v_run);
    ASSERT v_answer ->> 'status' = 'instantiated', pg_catalog.concat('live at TRUE: ', v_answer);
    PERFORM pg_catalog.set_config('iuworker.probe', '', true);
EXCEPTION WHEN assert_failure OR query_canceled OR OTHERS THEN
    PERFORM pg_catalog.set_config('iuworker.probe', SQLERRM, true);
END
$probe$;
SELECT 'live_gate_closed' AS probe,
       CASE note WHEN '' THEN 'PASS' ELSE 'FAIL' END AS result,
       note
FROM pg_catalog.current_setting('iuworker.probe') AS note;
ROLLBACK;

-- 3. The composer gate stops both modes.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '30s';
SET LOCAL plpgsql.check_asserts = on;
DO $probe$
DECLARE
    v_run text := 'iu-probe:' || pg_catalog.gen_random_uuid();
    v_event uuid := pg_catalog.gen_random_uuid();
    v_pieces uuid[];
    v_template uuid;
    v_answer jsonb;
BEGIN
    UPDATE public.dot_config SET value = 'true'
    WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled') AND value <> 'true';
    WITH piece AS (
        INSERT INTO public.iu_piece (piece_key, body)
        SELECT v_run || '/' || n, pg_catalog.jsonb_build_object('n', n) FROM pg_catalog.generate_series(1, 3) AS n
        RETURNING id, piece_key)
    SELECT pg_catalog.array_agg(p.id ORDER BY p.piece_key) INTO v_pieces FROM piece AS p;
    v_template := public.fn_iu_compose(v_run, 'Probe', v_pieces, v_run) ->> 'collection_id';
    ASSERT v_template IS NOT NULL, 'fn_iu_compose composes nothing with its gate open';
    PERFORM public.fn_iu_collection_mark_template(v_template, v_run);
    UPDATE public.dot_config SET value = 'false' WHERE key = 'iu_core.composer_enabled';
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'live', v_run);
    ASSERT v_answer ->> 'status' = 'composer_disabled', pg_catalog.concat('live: ', v_answer);
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'dry_run', v_run);
    ASSERT v_answer ->> 'status' = 'composer_disabled', pg_catalog.concat('dry_run: ', v_answer);
    ASSERT NOT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.event_id = v_event),
        'a log row was written all the same';
    ASSERT NOT EXISTS (SELECT FROM public.iu_piece_collection AS c WHERE c.collection_key = 'tpl-inst:auto:' || v_run),
        'a collection was composed all the same';
    PERFORM pg_catalog.set_config('iuworker.probe', '', true);
EXCEPTION WHEN assert_failure OR query_canceled OR OTHERS THEN
    PERFORM pg_catalog.set_config('iuworker.probe', SQLERRM, true);
END
$probe$;
SELECT 'composer_disabled' AS probe,
       CASE note WHEN '' THEN 'PASS' ELSE 'FAIL' END AS result,
       note
FROM pg_catalog.current_setting('iuworker.probe') AS note;
ROLLBACK;

-- 4. An unknown template is reported as unknown.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '30s';
SET LOCAL plpgsql.check_asserts = on;
DO $probe$
DECLARE
    v_run text := 'iu-probe:' || pg_catalog.gen_random_uuid();
    v_event uuid := pg_catalog.gen_random_uuid();
    v_answer jsonb;
BEGIN
    UPDATE public.dot_config SET value = 'true'
    WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled') AND value <> 'true';
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_event, v_run, 'live', v_run);
    ASSERT v_answer ->> 'status' = 'template_not_found', pg_catalog.concat('live: ', v_answer);
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_event, v_run, 'dry_run', v_run);
    ASSERT v_answer ->> 'status' = 'template_not_found', pg_catalog.concat('dry_run: ', v_answer);
    ASSERT NOT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.event_id = v_event),
        'a log row was written all the same';
    ASSERT NOT EXISTS (SELECT FROM public.iu_piece_collection AS c WHERE c.collection_key = 'tpl-inst:auto:' || v_run),
        'a collection was composed all the same';
    PERFORM pg_catalog.set_config('iuworker.probe', '', true);
EXCEPTION WHEN assert_failure OR query_canceled OR OTHERS THEN
    PERFORM pg_catalog.set_config('iuworker.probe', SQLERRM, true);
END
$probe$;
SELECT 'template_not_found' AS probe,
       CASE note WHEN '' THEN 'PASS' ELSE 'FAIL' END AS result,
       note
FROM pg_catalog.current_setting('iuworker.probe') AS note;
ROLLBACK;

-- 5. Nothing is composed from a collection that is not a template, or is no longer one.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '30s';
SET LOCAL plpgsql.check_asserts = on;
DO $probe$
DECLARE
    v_run text := 'iu-probe:' || pg_catalog.gen_random_uuid();
    v_event uuid := pg_catalog.gen_random_uuid();
    v_pieces uuid[];
    v_template uuid;
    v_answer jsonb;
BEGIN
    UPDATE public.dot_config SET value = 'true'
    WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled') AND value <> 'true';
    WITH piece AS (
        INSERT INTO public.iu_piece (piece_key, body)
        SELECT v_run || '/' || n, pg_catalog.jsonb_build_object('n', n) FROM pg_catalog.generate_series(1, 3) AS n
        RETURNING id, piece_key)
    SELECT pg_catalog.array_agg(p.id ORDER BY p.piece_key) INTO v_pieces FROM piece AS p;
    v_template := public.fn_iu_compose(v_run, 'Probe', v_pieces, v_run) ->> 'collection_id';
    ASSERT v_template IS NOT NULL, 'fn_iu_compose composes nothing with its gate open';
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'live', v_run);
    ASSERT v_answer ->> 'status' = 'template_not_marked', pg_catalog.concat('live: ', v_answer);
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'dry_run', v_run);
    ASSERT v_answer ->> 'status' = 'template_not_marked', pg_catalog.concat('dry_run: ', v_answer);
    PERFORM public.fn_iu_collection_mark_template(v_template, v_run);
    PERFORM public.fn_iu_collection_mark_template(v_template, v_run, false);
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'live', v_run);
    ASSERT v_answer ->> 'status' = 'template_not_marked', pg_catalog.concat('live after the mark was taken away: ', v_answer);
    ASSERT NOT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.event_id = v_event),
        'a log row was written all the same';
    ASSERT NOT EXISTS (SELECT FROM public.iu_piece_collection AS c WHERE c.collection_key = 'tpl-inst:auto:' || v_run),
        'a collection was composed all the same';
    PERFORM pg_catalog.set_config('iuworker.probe', '', true);
EXCEPTION WHEN assert_failure OR query_canceled OR OTHERS THEN
    PERFORM pg_catalog.set_config('iuworker.probe', SQLERRM, true);
END
$probe$;
SELECT 'template_not_marked' AS probe,
       CASE note WHEN '' THEN 'PASS' ELSE 'FAIL' END AS result,
       note
FROM pg_catalog.current_setting('iuworker.probe') AS note;
ROLLBACK;

-- 6. Inactive pieces do not count, and an empty template does not use up the key.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '30s';
SET LOCAL plpgsql.check_asserts = on;
DO $probe$
DECLARE
    v_run text := 'iu-probe:' || pg_catalog.gen_random_uuid();
    v_event uuid := pg_catalog.gen_random_uuid();
    v_pieces uuid[];
    v_template uuid;
    v_answer jsonb;
BEGIN
    UPDATE public.dot_config SET value = 'true'
    WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled') AND value <> 'true';
    WITH piece AS (
        INSERT INTO public.iu_piece (piece_key, body)
        SELECT v_run || '/' || n, pg_catalog.jsonb_build_object('n', n) FROM pg_catalog.generate_series(1, 3) AS n
        RETURNING id, piece_key)
    SELECT pg_catalog.array_agg(p.id ORDER BY p.piece_key) INTO v_pieces FROM piece AS p;
    v_template := public.fn_iu_compose(v_run, 'Probe', v_pieces, v_run) ->> 'collection_id';
    ASSERT v_template IS NOT NULL, 'fn_iu_compose composes nothing with its gate open';
    PERFORM public.fn_iu_collection_mark_template(v_template, v_run);
    UPDATE public.iu_piece_membership SET is_active = false WHERE collection_id = v_template;
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'live', v_run);
    ASSERT v_answer ->> 'status' = 'template_empty', pg_catalog.concat('live: ', v_answer);
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'dry_run', v_run);
    ASSERT v_answer ->> 'status' = 'template_empty', pg_catalog.concat('dry_run: ', v_answer);
    ASSERT NOT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.event_id = v_event),
        'a log row was written all the same';
    ASSERT NOT EXISTS (SELECT FROM public.iu_piece_collection AS c WHERE c.collection_key = 'tpl-inst:auto:' || v_run),
        'a collection was composed all the same';
    UPDATE public.iu_piece_membership SET is_active = true WHERE collection_id = v_template;
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'live', v_run);
    ASSERT v_answer ->> 'status' = 'instantiated', pg_catalog.concat('live with its pieces back: ', v_answer);
    PERFORM pg_catalog.set_config('iuworker.probe', '', true);
EXCEPTION WHEN assert_failure OR query_canceled OR OTHERS THEN
    PERFORM pg_catalog.set_config('iuworker.probe', SQLERRM, true);
END
$probe$;
SELECT 'template_empty' AS probe,
       CASE note WHEN '' THEN 'PASS' ELSE 'FAIL' END AS result,
       note
FROM pg_catalog.current_setting('iuworker.probe') AS note;
ROLLBACK;

-- 7. Both modes compose, and write collection, memberships, lineage and log.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '30s';
SET LOCAL plpgsql.check_asserts = on;
DO $probe$
DECLARE
    v_run text := 'iu-probe:' || pg_catalog.gen_random_uuid();
    v_event uuid := pg_catalog.gen_random_uuid();
    v_pieces uuid[];
    v_template uuid;
    v_answer jsonb;
    v_mode text;
    v_suffix text;
    v_instance uuid;
BEGIN
    UPDATE public.dot_config SET value = 'true'
    WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled') AND value <> 'true';
    WITH piece AS (
        INSERT INTO public.iu_piece (piece_key, body)
        SELECT v_run || '/' || n, pg_catalog.jsonb_build_object('n', n) FROM pg_catalog.generate_series(1, 3) AS n
        RETURNING id, piece_key)
    SELECT pg_catalog.array_agg(p.id ORDER BY p.piece_key) INTO v_pieces FROM piece AS p;
    v_template := public.fn_iu_compose(v_run, 'Probe', v_pieces, v_run) ->> 'collection_id';
    ASSERT v_template IS NOT NULL, 'fn_iu_compose composes nothing with its gate open';
    PERFORM public.fn_iu_collection_mark_template(v_template, v_run);
    FOREACH v_mode IN ARRAY ARRAY['live', 'dry_run'] LOOP
        v_suffix := v_run || ':' || v_mode;
        v_answer := public.fn_iu_auto_instantiate_from_event(
            v_event, 'iu.probe', v_template, v_suffix, v_mode, v_run, 'Note');
        v_instance := v_answer ->> 'instance_collection_id';
        ASSERT v_answer @> pg_catalog.jsonb_build_object(
            'status', 'instantiated', 'piece_count', 3, 'instance_key', 'tpl-inst:auto:' || v_suffix,
            'idempotency_key', pg_catalog.md5(v_event || ':' || v_template || ':' || v_suffix)),
            pg_catalog.concat(v_mode, ': ', v_answer);
        ASSERT EXISTS (SELECT FROM public.iu_piece_collection AS c
                       WHERE c.id = v_instance AND c.collection_key = 'tpl-inst:auto:' || v_suffix
                         AND c.created_by = v_run AND c.note = 'Note'), v_mode || ': the collection is not there';
        ASSERT v_pieces = ARRAY(SELECT m.piece_id FROM public.iu_piece_membership AS m
                                WHERE m.collection_id = v_instance AND m.is_active ORDER BY m.position),
            v_mode || ': other pieces than those of the template, or in another order';
        ASSERT EXISTS (SELECT FROM public.iu_collection_template_instance_lineage AS t
                       WHERE t.instance_collection_id = v_instance AND t.template_collection_id = v_template
                         AND t.template_version = 1), v_mode || ': the lineage is not there';
        ASSERT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log AS l
                       WHERE l.instance_collection_id = v_instance AND l.template_collection_id = v_template
                         AND l.event_id = v_event AND l.event_type = 'iu.probe' AND l.emit_mode = v_mode
                         AND l.idempotency_key = v_answer ->> 'idempotency_key' AND l.triggered_by = v_run),
            v_mode || ': the log row is not there';
    END LOOP;
    ASSERT ARRAY['dry_run 1', 'live 1'] = ARRAY(
        SELECT s.emit_mode || ' ' || s.instances_last_hour FROM public.v_iu_auto_instantiate_event_summary AS s
        WHERE s.template_collection_id = v_template ORDER BY s.emit_mode), 'the summary view counts otherwise';
    PERFORM pg_catalog.set_config('iuworker.probe', '', true);
EXCEPTION WHEN assert_failure OR query_canceled OR OTHERS THEN
    PERFORM pg_catalog.set_config('iuworker.probe', SQLERRM, true);
END
$probe$;
SELECT 'instantiated' AS probe,
       CASE note WHEN '' THEN 'PASS' ELSE 'FAIL' END AS result,
       note
FROM pg_catalog.current_setting('iuworker.probe') AS note;
ROLLBACK;

-- 8. The same event, sent again in either mode, returns the first instance and writes nothing.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '30s';
SET LOCAL plpgsql.check_asserts = on;
DO $probe$
DECLARE
    v_run text := 'iu-probe:' || pg_catalog.gen_random_uuid();
    v_event uuid := pg_catalog.gen_random_uuid();
    v_pieces uuid[];
    v_template uuid;
    v_answer jsonb;
    v_first jsonb;
BEGIN
    UPDATE public.dot_config SET value = 'true'
    WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled') AND value <> 'true';
    WITH piece AS (
        INSERT INTO public.iu_piece (piece_key, body)
        SELECT v_run || '/' || n, pg_catalog.jsonb_build_object('n', n) FROM pg_catalog.generate_series(1, 3) AS n
        RETURNING id, piece_key)
    SELECT pg_catalog.array_agg(p.id ORDER BY p.piece_key) INTO v_pieces FROM piece AS p;
    v_template := public.fn_iu_compose(v_run, 'Probe', v_pieces, v_run) ->> 'collection_id';
    ASSERT v_template IS NOT NULL, 'fn_iu_compose composes nothing with its gate open';
    PERFORM public.fn_iu_collection_mark_template(v_template, v_run);
    v_first := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'dry_run', v_run);
    ASSERT v_first ->> 'status' = 'instantiated', pg_catalog.concat('first: ', v_first);
    -- The log identifies a replay, even if the template could no longer be composed.
    UPDATE public.iu_piece_membership SET is_active = false WHERE collection_id = v_template;
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'dry_run', v_run);
    ASSERT v_answer ->> 'status' = 'idempotent_replay', pg_catalog.concat('again: ', v_answer);
    ASSERT v_answer -> 'instance_collection_id' = v_first -> 'instance_collection_id',
        pg_catalog.concat('another instance than the first: ', v_answer);
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'live', v_run);
    ASSERT v_answer ->> 'status' = 'idempotent_replay', pg_catalog.concat('again, live: ', v_answer);
    ASSERT 1 = (SELECT pg_catalog.count(*) FROM public.iu_auto_instantiate_event_log AS l WHERE l.event_id = v_event),
        'the log does not have one row';
    PERFORM pg_catalog.set_config('iuworker.probe', '', true);
EXCEPTION WHEN assert_failure OR query_canceled OR OTHERS THEN
    PERFORM pg_catalog.set_config('iuworker.probe', SQLERRM, true);
END
$probe$;
SELECT 'idempotent_replay' AS probe,
       CASE note WHEN '' THEN 'PASS' ELSE 'FAIL' END AS result,
       note
FROM pg_catalog.current_setting('iuworker.probe') AS note;
ROLLBACK;

-- 9. The instance key belongs to another event, or to a collection that no event composed.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '30s';
SET LOCAL plpgsql.check_asserts = on;
DO $probe$
DECLARE
    v_run text := 'iu-probe:' || pg_catalog.gen_random_uuid();
    v_event uuid := pg_catalog.gen_random_uuid();
    v_pieces uuid[];
    v_template uuid;
    v_answer jsonb;
BEGIN
    UPDATE public.dot_config SET value = 'true'
    WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled') AND value <> 'true';
    WITH piece AS (
        INSERT INTO public.iu_piece (piece_key, body)
        SELECT v_run || '/' || n, pg_catalog.jsonb_build_object('n', n) FROM pg_catalog.generate_series(1, 3) AS n
        RETURNING id, piece_key)
    SELECT pg_catalog.array_agg(p.id ORDER BY p.piece_key) INTO v_pieces FROM piece AS p;
    v_template := public.fn_iu_compose(v_run, 'Probe', v_pieces, v_run) ->> 'collection_id';
    ASSERT v_template IS NOT NULL, 'fn_iu_compose composes nothing with its gate open';
    PERFORM public.fn_iu_collection_mark_template(v_template, v_run);
    v_answer := public.fn_iu_auto_instantiate_from_event(pg_catalog.gen_random_uuid(), 'iu.probe', v_template, v_run, 'live', v_run);
    ASSERT v_answer ->> 'status' = 'instantiated', pg_catalog.concat('first: ', v_answer);
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'live', v_run);
    ASSERT v_answer ->> 'status' = 'instance_key_conflict', pg_catalog.concat('another event: ', v_answer);
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'dry_run', v_run);
    ASSERT v_answer ->> 'status' = 'instance_key_conflict', pg_catalog.concat('another event, dry_run: ', v_answer);
    PERFORM public.fn_iu_compose('tpl-inst:auto:' || v_run || ':by hand', 'Probe', v_pieces, v_run);
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run || ':by hand', 'live', v_run);
    ASSERT v_answer ->> 'status' = 'instance_key_conflict', pg_catalog.concat('a collection made by hand: ', v_answer);
    ASSERT NOT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.event_id = v_event),
        'a log row was written all the same';
    PERFORM pg_catalog.set_config('iuworker.probe', '', true);
EXCEPTION WHEN assert_failure OR query_canceled OR OTHERS THEN
    PERFORM pg_catalog.set_config('iuworker.probe', SQLERRM, true);
END
$probe$;
SELECT 'instance_key_conflict' AS probe,
       CASE note WHEN '' THEN 'PASS' ELSE 'FAIL' END AS result,
       note
FROM pg_catalog.current_setting('iuworker.probe') AS note;
ROLLBACK;

-- 10. Instance and template have one digest, until the template is edited.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '30s';
SET LOCAL plpgsql.check_asserts = on;
DO $probe$
DECLARE
    v_run text := 'iu-probe:' || pg_catalog.gen_random_uuid();
    v_event uuid := pg_catalog.gen_random_uuid();
    v_pieces uuid[];
    v_template uuid;
    v_answer jsonb;
    v_digest text;
    v_seen record;
BEGIN
    UPDATE public.dot_config SET value = 'true'
    WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled') AND value <> 'true';
    WITH piece AS (
        INSERT INTO public.iu_piece (piece_key, body)
        SELECT v_run || '/' || n, pg_catalog.jsonb_build_object('n', n) FROM pg_catalog.generate_series(1, 3) AS n
        RETURNING id, piece_key)
    SELECT pg_catalog.array_agg(p.id ORDER BY p.piece_key) INTO v_pieces FROM piece AS p;
    v_template := public.fn_iu_compose(v_run, 'Probe', v_pieces, v_run) ->> 'collection_id';
    ASSERT v_template IS NOT NULL, 'fn_iu_compose composes nothing with its gate open';
    UPDATE public.iu_piece_membership SET is_active = false WHERE collection_id = v_template AND piece_id = v_pieces[2];
    v_digest := public.fn_iu_collection_mark_template(v_template, v_run) ->> 'digest';
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'live', v_run);
    ASSERT (v_answer -> 'piece_count') = '2', pg_catalog.concat('not the two active pieces: ', v_answer);
    ASSERT v_digest = public.fn_iu_collection_digest((v_answer ->> 'instance_collection_id')::uuid),
        'the digest of the instance is not that of the template';
    ASSERT v_digest = (SELECT t.template_digest FROM public.iu_collection_template_instance_lineage AS t
                       WHERE t.instance_collection_id = (v_answer ->> 'instance_collection_id')::uuid),
        'the lineage has another digest';
    SELECT * INTO v_seen FROM public.v_iu_auto_instantiate_event_log AS l WHERE l.event_id = v_event;
    ASSERT v_seen.digest_match AND v_seen.template_digest = v_digest AND v_seen.instance_digest = v_digest,
        'the view does not show that the digests match';
    UPDATE public.iu_piece_membership SET is_active = true WHERE collection_id = v_template AND piece_id = v_pieces[2];
    SELECT * INTO v_seen FROM public.v_iu_auto_instantiate_event_log AS l WHERE l.event_id = v_event;
    ASSERT NOT v_seen.digest_match AND v_seen.template_digest <> v_digest AND v_seen.instance_digest = v_digest,
        'the view does not show that the template was edited';
    PERFORM pg_catalog.set_config('iuworker.probe', '', true);
EXCEPTION WHEN assert_failure OR query_canceled OR OTHERS THEN
    PERFORM pg_catalog.set_config('iuworker.probe', SQLERRM, true);
END
$probe$;
SELECT 'digest_match' AS probe,
       CASE note WHEN '' THEN 'PASS' ELSE 'FAIL' END AS result,
       note
FROM pg_catalog.current_setting('iuworker.probe') AS note;
ROLLBACK;

-- 11. Dry run and rollback count the same; only this actor's instances are deleted; an instance in use blocks.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '30s';
SET LOCAL plpgsql.check_asserts = on;
DO $probe$
DECLARE
    v_run text := 'iu-probe:' || pg_catalog.gen_random_uuid();
    v_event uuid := pg_catalog.gen_random_uuid();
    v_pieces uuid[];
    v_template uuid;
    v_answer jsonb;
    v_other jsonb;
    v_counts jsonb := '{"event_log": 2, "lineage": 2, "membership": 6, "collection": 2}';
BEGIN
    UPDATE public.dot_config SET value = 'true'
    WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled') AND value <> 'true';
    WITH piece AS (
        INSERT INTO public.iu_piece (piece_key, body)
        SELECT v_run || '/' || n, pg_catalog.jsonb_build_object('n', n) FROM pg_catalog.generate_series(1, 3) AS n
        RETURNING id, piece_key)
    SELECT pg_catalog.array_agg(p.id ORDER BY p.piece_key) INTO v_pieces FROM piece AS p;
    v_template := public.fn_iu_compose(v_run, 'Probe', v_pieces, v_run) ->> 'collection_id';
    ASSERT v_template IS NOT NULL, 'fn_iu_compose composes nothing with its gate open';
    PERFORM public.fn_iu_collection_mark_template(v_template, v_run);
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'live', v_run);
    PERFORM public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run || ':2', 'dry_run', v_run);
    v_other := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run || ':3', 'live', v_run || ':other');

    PERFORM public.fn_iu_collection_mark_template((v_answer ->> 'instance_collection_id')::uuid, v_run);
    v_answer := public.fn_iu_auto_instantiate_rollback_by_actor(v_run, false);
    ASSERT v_answer ->> 'status' = 'blocked' AND v_answer -> 'blocked_by' @> pg_catalog.jsonb_build_array(
        pg_catalog.jsonb_build_object('instance_key', 'tpl-inst:auto:' || v_run)), pg_catalog.concat('in use: ', v_answer);
    ASSERT 3 = (SELECT pg_catalog.count(*) FROM public.iu_auto_instantiate_event_log AS l WHERE l.event_id = v_event),
        'blocked, and deleted all the same';
    DELETE FROM public.iu_collection_template_version AS v USING public.iu_auto_instantiate_event_log AS l
    WHERE l.event_id = v_event AND v.collection_id = l.instance_collection_id;
    DELETE FROM public.iu_collection_template_registry AS r USING public.iu_auto_instantiate_event_log AS l
    WHERE l.event_id = v_event AND r.collection_id = l.instance_collection_id;

    v_answer := public.fn_iu_auto_instantiate_rollback_by_actor(v_run);
    ASSERT v_answer ->> 'status' = 'reported' AND v_answer -> 'counts' = v_counts,
        pg_catalog.concat('dry run: ', v_answer);
    ASSERT 3 = (SELECT pg_catalog.count(*) FROM public.iu_auto_instantiate_event_log AS l WHERE l.event_id = v_event),
        'the dry run deleted something';
    v_answer := public.fn_iu_auto_instantiate_rollback_by_actor(v_run, false);
    ASSERT v_answer ->> 'status' = 'rolled_back' AND v_answer -> 'counts' = v_counts,
        pg_catalog.concat('rollback: ', v_answer);
    ASSERT ARRAY[(v_other ->> 'instance_collection_id')::uuid] = ARRAY(
        SELECT l.instance_collection_id FROM public.iu_auto_instantiate_event_log AS l WHERE l.event_id = v_event),
        'the log does not keep the other actor''s instance alone';
    ASSERT NOT EXISTS (SELECT FROM public.iu_piece_collection AS c
                       WHERE c.collection_key IN ('tpl-inst:auto:' || v_run, 'tpl-inst:auto:' || v_run || ':2')),
        'an instance is still there';
    v_answer := public.fn_iu_auto_instantiate_from_event(v_event, 'iu.probe', v_template, v_run, 'live', v_run);
    ASSERT v_answer ->> 'status' = 'instantiated', pg_catalog.concat('the same event after the rollback: ', v_answer);
    PERFORM pg_catalog.set_config('iuworker.probe', '', true);
EXCEPTION WHEN assert_failure OR query_canceled OR OTHERS THEN
    PERFORM pg_catalog.set_config('iuworker.probe', SQLERRM, true);
END
$probe$;
SELECT 'rollback_by_actor' AS probe,
       CASE note WHEN '' THEN 'PASS' ELSE 'FAIL' END AS result,
       note
FROM pg_catalog.current_setting('iuworker.probe') AS note;
ROLLBACK;

-- 12. The event type is registered, and nothing is pushed to anyone.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '30s';
SET LOCAL plpgsql.check_asserts = on;
DO $probe$
BEGIN
    ASSERT EXISTS (SELECT FROM public.event_type_registry AS r
                   WHERE r.event_type = 'iu.template.instance_auto_composed'
                     AND r.event_stream = 'update' AND r.delivery_lane = 'delayed'),
        'the event type is not registered with stream update and lane delayed';
    ASSERT NOT EXISTS (SELECT FROM public.event_route AS r WHERE r.event_type = 'iu.template.instance_auto_composed'),
        'the event type has a route';
    PERFORM pg_catalog.set_config('iuworker.probe', '', true);
EXCEPTION WHEN assert_failure OR query_canceled OR OTHERS THEN
    PERFORM pg_catalog.set_config('iuworker.probe', SQLERRM, true);
END
$probe$;
SELECT 'event_type_without_route' AS probe,
       CASE note WHEN '' THEN 'PASS' ELSE 'FAIL' END AS result,
       note
FROM pg_catalog.current_setting('iuworker.probe') AS note;
ROLLBACK;
