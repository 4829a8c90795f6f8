package doctor

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	iusql "github.com/iu-core/iuworker/sql"
)

// securedTable is a table with row security, and the roles that would not see all of its rows.
type securedTable struct {
	Name  string
	Ours  bool // in a schema of the worker
	Owner string
	Blind bool // the owner of our functions is subject to it
}

// rowSecurity looks for tables that hide rows: to a worker, a hidden row looks missing.
func (e *examination) rowSecurity(ctx context.Context, tx pgx.Tx) (Check, error) {
	tables, err := structs[securedTable](ctx, tx, `
		SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), n.nspname <> 'public', COALESCE(o.rolname::text, ''),
			COALESCE(NOT (o.rolsuper OR o.rolbypassrls)
			     AND (c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(o.oid, c.relowner, 'USAGE')), false)
		FROM pg_catalog.pg_class AS c
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		LEFT JOIN pg_catalog.pg_namespace AS w ON w.nspname = 'iu_outbox'
		LEFT JOIN pg_catalog.pg_roles AS o ON o.oid = w.nspowner
		WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity
		  AND (n.nspname IN ('iu_outbox', 'iu_river', 'iu_migration') OR n.nspname = 'public' AND c.relname = ANY ($1))
		ORDER BY 2 DESC, 4 DESC, 1`, iusql.CoreTables())
	if err != nil || len(tables) == 0 {
		return fine("row security is off: no rows are hidden"), err
	}
	names := lines(tables, func(t securedTable) string { return t.Name })
	switch {
	case tables[0].Ours:
		return failed("row security is on for %s: hidden rows look missing", operate.Plural(len(tables), "table", "tables")).
			with(names).so("turn it off as the owner; if an event trigger turns it on, exempt these schemas", migrateUp), nil
	case tables[0].Blind:
		bypass := "ALTER ROLE " + pgx.Identifier{tables[0].Owner}.Sanitize() + " BYPASSRLS"
		return failed("row security hides rows of iu-core from %s, the role that the functions run as", tables[0].Owner).with(names).
			so("exempt that role as a superuser, or turn row security off for these tables", psqlIn(e.database, bypass)), nil
	}
	return warn("row security is on for %s of iu-core: the functions see all rows, and verify and doctor need a login with BYPASSRLS",
		operate.Plural(len(tables), "table", "tables")).with(names), nil
}
