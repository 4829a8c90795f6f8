-- Logical replication does not copy sequences. One that is behind its table gives numbers that are in use.

-- Returns the sequences that number rows of the worker's and of River's tables, with the highest number in the table and
-- the last number that the sequence gave; behind if that is lower. Reads the highest number from each table's index.
CREATE OR REPLACE FUNCTION iu_outbox.sequences()
RETURNS TABLE (name text, highest bigint, last bigint, behind boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_sequence record;
    v_highest bigint;
BEGIN
    FOR v_sequence IN
        SELECT s.oid, pg_catalog.format('%I.%I', n.nspname, s.relname) AS name,
               COALESCE(pg_catalog.array_agg(pg_catalog.format('SELECT max(%I) FROM %s', a.attname, a.attrelid::regclass))
                            FILTER (WHERE a.attname IS NOT NULL),
                        ARRAY['SELECT max(entry) FROM iu_outbox.claimed', 'SELECT max(entry) FROM iu_outbox.settled']) AS queries
        FROM pg_catalog.pg_class AS s
        JOIN pg_catalog.pg_namespace AS n ON n.oid = s.relnamespace
        LEFT JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = s.oid
                                           AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')
        LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE s.relkind = 'S' AND n.nspname IN ('iu_outbox', 'iu_river')
        GROUP BY s.oid, n.nspname, s.relname
        ORDER BY 2
    LOOP
        name := v_sequence.name;
        highest := NULL;
        FOR i IN 1..pg_catalog.cardinality(v_sequence.queries) LOOP
            EXECUTE v_sequence.queries[i] INTO v_highest;
            highest := GREATEST(highest, v_highest);
        END LOOP;
        -- Read after the table, so that rows numbered in the meantime do not make it look behind.
        EXECUTE pg_catalog.format('SELECT CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END FROM %s AS s', name) INTO last;
        behind := COALESCE(highest > last, false);
        RETURN NEXT;
    END LOOP;
END
$$;
