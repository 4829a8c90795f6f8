package doctor

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	iusql "github.com/iu-core/iuworker/sql"
)

func (e *examination) schema(ctx context.Context, tx pgx.Tx) (Check, error) {
	schema, err := iusql.InspectSchema(ctx, tx)
	switch {
	case errors.Is(err, iusql.ErrPrivileges):
		return skipped("%s", err), nil
	case errors.Is(err, iusql.ErrRowSecurity):
		return failed("%s", err).so("turn row security off as the owner of these tables", migrateUp), nil
	case err != nil:
		return Check{}, err
	}
	switch err := iusql.CheckSchema(ctx, tx); {
	case errors.Is(err, iusql.ErrSchemaMissing):
		return failed("this database has no iuworker schema").so("check that this is the right database, then create the schema", migrateUp), nil
	case errors.Is(err, iusql.ErrSchemaOld):
		return failed("%s", err).so("migrate the schema; running workers can continue meanwhile", migrateUp), nil
	case err != nil:
		return failed("%s", err).so("use the iuworker that created it, or a newer one", "iuworker version"), nil
	case schema.Newer():
		return warn("a newer iuworker created the schema (%d, functions of %s), and this is %s: they work together",
			schema.Version, schema.FunctionsVersion, iusql.ProgramVersion).so("finish the update: install the newer iuworker here, too"), nil
	}
	return fine("version %d, functions of %s", schema.Version, schema.FunctionsVersion), nil
}

// indexes looks for those that a failed index build left invalid. One that is being built now is none of them.
func (e *examination) indexes(ctx context.Context, tx pgx.Tx) (Check, error) {
	invalid, err := texts(ctx, tx, `
		SELECT n.nspname || '.' || c.relname
		FROM pg_catalog.pg_index AS i
		JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
		WHERE NOT (i.indisvalid AND i.indisready)
		  AND (n.nspname IN ('iu_outbox', 'iu_river', 'iu_migration')
		    OR n.nspname = 'public' AND (t.relname LIKE 'iu\_%' OR t.relname IN ('dot_config', 'event_type_registry', 'event_route')))
		  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.relid = i.indrelid)
		ORDER BY 1`)
	if err != nil || len(invalid) == 0 {
		return fine("all indexes are valid"), err
	}
	next := "REINDEX INDEX CONCURRENTLY " + invalid[0]
	if strings.Contains(invalid[0], "_ccnew") || strings.Contains(invalid[0], "_ccold") {
		next = "DROP INDEX CONCURRENTLY " + invalid[0] // left over by REINDEX; the index itself exists
	}
	return failed("%s not valid: queries do not use it, or rows get past it", operate.Plural(len(invalid), "index is", "indexes are")).
		with(invalid).so("rebuild it, or drop it if a failed rebuild left it behind", psql(next)), nil
}

// sequences looks for those that return numbers which are taken.
func (e *examination) sequences(ctx context.Context, tx pgx.Tx) (Check, error) {
	behind, err := texts(ctx, tx, "SELECT s.name FROM iu_outbox.sequences() AS s WHERE s.behind ORDER BY s.name")
	if err != nil || len(behind) == 0 {
		return fine("every sequence is ahead of its table"), err
	}
	return failed("%s behind and would return numbers that are taken", operate.Plural(len(behind), "sequence is", "sequences are")).
		with(lines(behind, func(name string) string { return name + ": " + operate.ForwardSequence(name) })).
		so("logical replication does not copy sequences: run these statements as the owner"), nil
}
