-- 110 (D9): compares this database with the one list of what iu-core consists of after 033. One statement, which
-- only reads. Returns a row for each object, one for each class, and the verdict. result: PASS; FAIL (missing, not
-- allowed, or unexpected in a core that iuworker created); LISTED (an additional object of an adopted core).
WITH class (n, class) AS (
    VALUES (1, 'table'), (2, 'view'), (3, 'function'), (4, 'trigger'), (5, 'config'), (6, 'event_type'), (7, 'route')
), expected (class, name) AS (
    VALUES
        ('table', 'dot_config'),
        ('table', 'event_route'),
        ('table', 'event_type_registry'),
        ('table', 'iu_auto_instantiate_event_log'),                 -- 033
        ('table', 'iu_collection_template_instance_lineage'),
        ('table', 'iu_collection_template_registry'),
        ('table', 'iu_collection_template_version'),
        ('table', 'iu_piece'),
        ('table', 'iu_piece_collection'),
        ('table', 'iu_piece_membership'),
        ('view', 'v_iu_auto_instantiate_event_log'),                -- 033
        ('view', 'v_iu_auto_instantiate_event_summary'),            -- 033
        ('function', 'fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text)'), -- 033
        ('function', 'fn_iu_auto_instantiate_rollback_by_actor(text, boolean)'),                     -- 033
        ('function', 'fn_iu_collection_digest(uuid)'),
        ('function', 'fn_iu_collection_mark_template(uuid, text, boolean)'),
        ('function', 'fn_iu_collection_record_template_instance(uuid, uuid, text, text)'),
        ('function', 'fn_iu_compose(text, text, uuid[], text, text)'),
        ('function', 'fn_iu_composer_enabled()'),
        ('config', 'iu_core.auto_instantiate_enabled'),             -- 033
        ('config', 'iu_core.composer_enabled'),
        ('event_type', 'iu.template.instance_auto_composed')        -- 033
), core (is_ours) AS (
    SELECT pg_catalog.obj_description(pg_catalog.to_regclass('public.iu_piece_collection'), 'pg_class')
           IS NOT DISTINCT FROM 'iu-core baseline 032, created by iuworker'
), relation (oid, kind, name) AS (
    SELECT c.oid, c.relkind, c.relname::text
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public'
      AND (c.relname LIKE 'iu!_%' ESCAPE '!' OR c.relname LIKE 'v!_iu!_%' ESCAPE '!'
           OR c.relname IN ('dot_config', 'event_route', 'event_type_registry'))
), scan (class, query) AS (
    -- Rows of tables that may be missing are read by query_to_xml, which is not called for NULL. A query returns
    -- one JSON array, in hexadecimal digits, which XML does not change.
    SELECT q.class,
           'SELECT pg_catalog.encode(pg_catalog.convert_to(pg_catalog.jsonb_agg(' || q.name
           || ')::text, ''UTF8''), ''hex'') AS names FROM public.' || r.name || ' AS t WHERE ' || q.condition
    FROM (VALUES
        ('config', 'dot_config', 't.key', 't.key LIKE ''iu!_core.%'' ESCAPE ''!'''),
        ('event_type', 'event_type_registry', 't.event_type', 't.event_type LIKE ''iu.%'''),
        ('route', 'event_route',
         't.event_type || pg_catalog.concat('' -> '' || (pg_catalog.to_jsonb(t) ->> ''target''))',
         't.event_type LIKE ''iu.%''')
    ) AS q (class, tab, name, condition)
    JOIN relation AS r ON r.name = q.tab AND r.kind IN ('r', 'p')
), found (class, name) AS (
    SELECT 'table', r.name FROM relation AS r WHERE r.kind IN ('r', 'p', 'f') AND r.name NOT LIKE 'v!_iu!_%' ESCAPE '!'
    UNION ALL
    SELECT 'view', r.name FROM relation AS r WHERE r.kind IN ('v', 'm') AND r.name LIKE 'v!_iu!_%' ESCAPE '!'
    UNION ALL
    SELECT 'function', p.proname || '(' || pg_catalog.replace(pg_catalog.oidvectortypes(p.proargtypes), '"', '') || ')'
    FROM pg_catalog.pg_proc AS p
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname = 'public' AND p.proname LIKE 'fn!_iu!_%' ESCAPE '!'
    UNION ALL
    SELECT 'trigger', t.tgname || ' on ' || r.name
    FROM pg_catalog.pg_trigger AS t
    JOIN relation AS r ON r.oid = t.tgrelid
    JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE NOT t.tgisinternal AND n.nspname NOT IN ('iu_outbox', 'iu_river', 'iu_migration')
    UNION ALL
    SELECT s.class, j.name
    FROM scan AS s
    CROSS JOIN LATERAL pg_catalog.query_to_xml(s.query, false, false, '') AS x (answer)
    CROSS JOIN LATERAL pg_catalog.jsonb_array_elements_text(pg_catalog.convert_from(pg_catalog.decode(
        pg_catalog.substring(x.answer::text, '<names>([0-9a-f]*)</names>'), 'hex'), 'UTF8')::jsonb) AS j (name)
), object (class, name, note) AS (
    SELECT COALESCE(e.class, f.class), COALESCE(e.name, f.name),
           CASE WHEN f.name IS NULL THEN 'missing'
                WHEN e.name IS NOT NULL THEN ''
                WHEN f.class = 'route' AND f.name || ' -> ' LIKE 'iu.template.instance!_auto!_composed -> %' ESCAPE '!'
                    THEN 'this event type must have no route'
                WHEN core.is_ours THEN 'unexpected'
                ELSE 'this adopted core has it besides' END
    FROM expected AS e
    FULL JOIN found AS f ON f.class = e.class AND f.name = e.name
    CROSS JOIN core
), judged (class, name, result, note) AS (
    SELECT o.class, o.name,
           CASE o.note WHEN '' THEN 'PASS' WHEN 'this adopted core has it besides' THEN 'LISTED' ELSE 'FAIL' END,
           o.note
    FROM object AS o
), summary (n, class, result, note) AS (
    SELECT c.n, c.class,
           CASE WHEN pg_catalog.bool_or(o.result = 'FAIL') THEN 'FAIL' ELSE 'PASS' END,
           pg_catalog.format('expected %s, found %s',
               pg_catalog.count(*) FILTER (WHERE o.result = 'PASS' OR o.note = 'missing'),
               pg_catalog.count(*) FILTER (WHERE o.note <> 'missing'))
    FROM class AS c
    LEFT JOIN judged AS o ON o.class = c.class
    GROUP BY c.n, c.class
)
SELECT r.class, r.name, r.result, r.note
FROM (
    SELECT c.n, 1 AS part, o.class, o.name, o.result, o.note
    FROM judged AS o JOIN class AS c ON c.class = o.class
    UNION ALL
    SELECT s.n, 2, s.class, 'all', s.result, s.note FROM summary AS s
    UNION ALL
    SELECT 8, 3, 'verdict', 'iu-core',
           pg_catalog.count(*) FILTER (WHERE s.result = 'PASS') || '/7 PASS',
           CASE WHEN pg_catalog.to_regclass('public.iu_piece_collection') IS NULL THEN 'there is no iu-core here'
                WHEN (SELECT core.is_ours FROM core) THEN 'created by iuworker' ELSE 'adopted' END
    FROM summary AS s
) AS r
ORDER BY r.n, r.part, r.name;
