package iusql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// RefusedByRowSecurity reports whether the server refused a statement because of row security: it would have hidden
// rows in a session that has row_security off, or it forbids a new row. There is no SQLSTATE for that, but the
// error names the function of the server that refused.
func RefusedByRowSecurity(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == pgerrcode.InsufficientPrivilege &&
		slices.Contains([]string{"check_enable_rls", "ExecWithCheckOptions"}, pgErr.Routine)
}

// hiddenQuery selects the tables (c, of schema n) whose rows row security may hide from this login. It needs no privilege.
const hiddenQuery = `
	SELECT COALESCE(pg_catalog.array_agg(n.nspname || '.' || c.relname ORDER BY n.nspname, c.relname), '{}')
	FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity AND pg_catalog.row_security_active(c.oid) AND `

// checkRows returns ErrRowSecurity if row security may hide rows of our tables from this login, which may read
// them. It checks all tables at once, because a session must not start with a part of the rows.
func checkRows(ctx context.Context, q Queryer) error {
	return hidden(ctx, q, `n.nspname = ANY ($1) AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT')`, ourSchemas)
}

// checkBookkeeping is checkRows for the tables that record migrations.
func checkBookkeeping(ctx context.Context, q Queryer) error {
	return hidden(ctx, q, `n.nspname = ANY ($1)`, []string{"iu_migration"})
}

func hidden(ctx context.Context, q Queryer, condition string, args ...any) error {
	var role string
	var tables []string
	err := q.QueryRow(ctx, "SELECT CURRENT_USER, ("+hiddenQuery+condition+")", args...).Scan(&role, &tables)
	if err != nil {
		return fmt.Errorf("look for row security: %w", err)
	}
	if len(tables) == 0 {
		return nil
	}
	return fail(ErrRowSecurity, "row security of %s may hide rows from role %s: run iuworker migrate up as their owner, which switches it off",
		shortList(tables), role)
}

// shortList returns the first few names and the number of the others.
func shortList(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more tables", strings.Join(names[:most], ", "), len(names)-most)
}

// hiddenCore returns the tables of an iu-core whose rows row security may hide from the migrating role, as which
// the functions run. It is not ours to switch off.
func hiddenCore(ctx context.Context, tx pgx.Tx) (tables []string, err error) {
	err = tx.QueryRow(ctx, "SELECT ("+hiddenQuery+`n.nspname = 'public' AND c.relname = ANY ($1))`, CoreTables()).Scan(&tables)
	if err != nil {
		return nil, fmt.Errorf("look for row security: %w", err)
	}
	return tables, nil
}

// showRows switches row security off in our schemas if it is on, because the bookkeeping could not be trusted. If
// this login may not do that, others have to, and readState fails.
func (s *session) showRows(ctx context.Context) error {
	var on bool
	err := s.write(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			SELECT COALESCE(pg_catalog.bool_or(c.relrowsecurity OR c.relforcerowsecurity)
			                AND pg_catalog.bool_and(pg_catalog.pg_has_role(c.relowner, 'USAGE')), false)
			FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
			WHERE n.nspname = ANY ($1) AND c.relkind IN ('r', 'p')`, ourSchemas).Scan(&on)
		if err != nil || !on {
			return err
		}
		_, err = tx.Exec(ctx, text(rowSecurityFile))
		return err
	})
	if err != nil {
		return fmt.Errorf("switch row security off: %w", err)
	}
	if on {
		s.cfg.Logger.WarnContext(ctx, "Migration: row security was on for tables of iuworker, and is switched off")
	}
	return nil
}

// CoreTables returns the names of the tables that iu-core consists of, in schema public.
func CoreTables() []string {
	names := []string{logTable}
	for _, shape := range baselineTables {
		names = append(names, shape.name)
	}
	return names
}
