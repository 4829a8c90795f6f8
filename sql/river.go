package iusql

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/iu-core/iuworker/internal/names"
)

const (
	// JobTable is River's table of jobs. Statements read the view iu_outbox.job instead.
	JobTable = names.RiverSchema + ".river_job"

	// riverTarget is the migration of River to which versionRiver leads. A River that requires a later one gets a
	// new version of ours.
	riverTarget = 8

	// riverLines is the migration of River that added lines to its records.
	riverLines = 5
)

const riverSchemaSQL = `CREATE SCHEMA iu_river;
COMMENT ON SCHEMA iu_river IS 'River''s tables, for iuworker alone';
`

// dropRiverSQL drops River's objects and its schema. River's own down migrations would first build a unique index that
// finished jobs violate. Without CASCADE, it stops at objects that depend on River's, or that others put into the schema.
const dropRiverSQL = `DO $$
DECLARE
    v_names text;
BEGIN
    SELECT pg_catalog.string_agg(pg_catalog.format('iu_river.%I', c.relname), ', ') INTO v_names
    FROM pg_catalog.pg_class AS c
    WHERE c.relnamespace = 'iu_river'::pg_catalog.regnamespace AND c.relkind = 'r' AND c.relname LIKE 'river\_%';
    IF v_names IS NOT NULL THEN
        EXECUTE 'DROP TABLE ' || v_names;
    END IF;
    SELECT pg_catalog.string_agg(p.oid::pg_catalog.regprocedure::text, ', ') INTO v_names
    FROM pg_catalog.pg_proc AS p
    WHERE p.pronamespace = 'iu_river'::pg_catalog.regnamespace AND p.proname LIKE 'river\_%';
    IF v_names IS NOT NULL THEN
        EXECUTE 'DROP FUNCTION ' || v_names;
    END IF;
    SELECT pg_catalog.string_agg(pg_catalog.format('iu_river.%I', t.typname), ', ') INTO v_names
    FROM pg_catalog.pg_type AS t
    WHERE t.typnamespace = 'iu_river'::pg_catalog.regnamespace AND t.typtype = 'e' AND t.typname LIKE 'river\_%';
    IF v_names IS NOT NULL THEN
        EXECUTE 'DROP TYPE ' || v_names;
    END IF;
END
$$;
DROP SCHEMA iu_river;
`

// planRiver returns a step for each missing migration of River, as rivermigrate renders it, with its record; the
// last one is versionRiver. Each is a transaction of its own, as under River's own runner: a value that one adds to
// an enum can be used only after its commit. An interrupted run continues from the records.
func (s *session) planRiver(ctx context.Context, st *state) ([]step, error) {
	missing, err := s.riverMigrations(ctx)
	if err != nil {
		return nil, err
	}
	var steps []step
	for _, migration := range missing {
		steps = append(steps, step{
			title: fmt.Sprintf("river %03d (%s)", migration.Version, migration.Name),
			sql:   []string{strings.TrimSpace(migration.SQL) + "\n", riverRecordSQL(migration.Version)},
		})
	}
	if len(steps) == 0 {
		steps = append(steps, step{})
	}
	if !st.schemas[names.RiverSchema] {
		first := &steps[0]
		first.sql = append([]string{riverSchemaSQL, originSQL(originRiver, created)}, first.sql...)
	}
	for i := range steps {
		steps[i].sql = sealed(steps[i].sql...)
	}
	last := &steps[len(steps)-1]
	last.version, last.title, last.origin = versionRiver, versionName(versionRiver), created
	last.sql = append(last.sql, recordSQL(versionRiver))
	return steps, nil
}

func riverRecordSQL(version int) string {
	if version < riverLines {
		return fmt.Sprintf("INSERT INTO iu_river.river_migration (version) VALUES (%d);\n", version)
	}
	return fmt.Sprintf("INSERT INTO iu_river.river_migration (line, version) VALUES ('main', %d);\n", version)
}

// riverMigrations returns the migrations that the database lacks, up to riverTarget.
func (s *session) riverMigrations(ctx context.Context) ([]rivermigrate.MigrateVersion, error) {
	var result *rivermigrate.MigrateResult
	err := s.read(ctx, func(tx pgx.Tx) error {
		migrator, err := rivermigrate.New(riverpgxv5.New(nil), &rivermigrate.Config{
			Schema: names.RiverSchema,
			Logger: slog.New(slog.DiscardHandler), // a dry run logs "applied", too
		})
		if err != nil {
			return err
		}
		//nolint:staticcheck // deprecated because it runs all migrations in one transaction, but a dry run runs none
		result, err = migrator.MigrateTx(ctx, tx, rivermigrate.DirectionUp, &rivermigrate.MigrateOpts{
			DryRun:        true,
			TargetVersion: riverTarget,
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read River's migrations: %w", err)
	}
	return result.Versions, nil
}
