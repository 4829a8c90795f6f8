package doctor

import (
	"context"
	"errors"

	iusql "github.com/iu-core/iuworker/sql"

	"github.com/jackc/pgx/v5"
)

// reinstall installs functions, triggers and grants again.
var reinstall = []string{psql("UPDATE iu_outbox.schema_info SET functions_hash = ''"), migrateUp}

func (e *examination) schema(ctx context.Context) (Check, error) {
	var schema *iusql.Schema
	var current error
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		if schema, err = iusql.InspectSchema(ctx, tx); err == nil {
			current = iusql.CheckSchema(ctx, tx)
		}
		return err
	})
	switch {
	case errors.Is(err, iusql.ErrPrivileges):
		return skipped("%s", err), nil
	case errors.Is(err, iusql.ErrRowSecurity):
		return failed("%s", err).so("turn row security off as the owner of these tables", migrateUp), nil
	case err != nil:
		return Check{}, err
	}
	return judgeSchema(schema, current), nil
}

func judgeSchema(schema *iusql.Schema, current error) Check {
	switch {
	case errors.Is(current, iusql.ErrSchemaMissing):
		return failed("this database has no iuworker schema").so("check that this is the right database, then create the schema", migrateUp)
	case errors.Is(current, iusql.ErrSchemaOld):
		return failed("%s", current).so("migrate the schema; running workers can continue meanwhile", migrateUp)
	case current != nil:
		return failed("%s", current).so("use the iuworker that created it, or a newer one", "iuworker version")
	case schema.Newer():
		return warn("a newer iuworker created the schema (%d, functions of %s), and this is %s: they work together",
			schema.Version, schema.FunctionsVersion, iusql.ProgramVersion).so("finish the update: install the newer iuworker here, too")
	}
	return fine("version %d, functions of %s", schema.Version, schema.FunctionsVersion)
}
