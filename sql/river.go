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
	// JobTable is River's table of jobs. Statements read the view iu_outbox.job in its place.
	JobTable = names.RiverSchema + ".river_job"

	// riverTarget is the migration of River that versionRiver leads to. A River that needs a later one gets a
	// version of ours after it.
	riverTarget = 8

	// riverLines is the migration of River that gave its records a line.
	riverLines = 5
)

const riverSchemaSQL = `CREATE SCHEMA iu_river;
COMMENT ON SCHEMA iu_river IS 'River''s tables, for iuworker alone';
`

// dropRiverSQL drops what River made, and the schema. River's own way down would build a unique index first that
// finished jobs violate. Without CASCADE: what somebody else made of it, or in it, stops it.
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

// planRiver returns a step for each of River's migrations that is missing, as rivermigrate renders it, with its
// record; the last one is versionRiver. They are transactions apart, as under River's own runner: a value that one
// adds to an enum can be used only after its commit. A run that ends between them is continued from the records.
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
			Logger: slog.New(slog.DiscardHandler), // it says "applied" of a dry run, too
		})
		if err != nil {
			return err
		}
		//nolint:staticcheck // deprecated because it runs all of them in one transaction; a dry run runs none
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
