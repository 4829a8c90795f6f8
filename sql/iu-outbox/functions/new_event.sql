-- The outbox for ORMs, which ask for all columns of the row that they insert. RETURNING returns that row, but a query finds
-- no rows, so no application reads what another one inserted. An INSERT runs with the privileges of the view's owner.
-- security_barrier: the planner must not call a function of the query on rows that the view filters out.
CREATE OR REPLACE VIEW iu_outbox.new_event WITH (security_barrier) AS
SELECT e.* FROM iu_outbox.event AS e WHERE false;

-- The table's defaults would be enough, but ORMs that read the catalog expect defaults of the view.
DO $$
DECLARE
    v_default record;
BEGIN
    FOR v_default IN
        SELECT a.attname, pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS expression
        FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = 'iu_outbox.event'::pg_catalog.regclass AND a.attgenerated = '' AND a.attidentity = ''
    LOOP
        EXECUTE pg_catalog.format('ALTER VIEW iu_outbox.new_event ALTER COLUMN %I SET DEFAULT %s', v_default.attname, v_default.expression);
    END LOOP;
END
$$;
