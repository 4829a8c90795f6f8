package iusql

import (
	"context"
	"fmt"
	"strings"

	"github.com/iu-core/iuworker/internal/names"
)

// A step is one transaction of Up, which Up runs and Print writes.
type step struct {
	version int64 // its record by goose is part of sql; 0 if goose does not record the step
	title   string
	origin  string // created or adopted, empty if nothing can be adopted
	sql     []string
}

const functionsTitle = "functions"

const (
	created = "created"
	adopted = "adopted"
)

// Objects that may have existed before us, under their names in iu_migration.origin.
const (
	originBaseline    = "iu_core_032"
	originInstantiate = "iu_core_033"
	originRiver       = names.RiverSchema
)

const bookkeepingSQL = `CREATE SCHEMA IF NOT EXISTS iu_migration;
COMMENT ON SCHEMA iu_migration IS 'iuworker: what was migrated, and what was there before; survives migrate down';
CREATE TABLE IF NOT EXISTS iu_migration.origin (
    object      text PRIMARY KEY,
    origin      text NOT NULL CHECK (origin IN ('created', 'adopted')),
    recorded_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE iu_migration.origin IS 'What iuworker created, and what it found; what it found it never drops.';
`

func originSQL(object, origin string) string {
	return fmt.Sprintf(`INSERT INTO iu_migration.origin (object, origin) VALUES ('%s', '%s')
ON CONFLICT (object) DO UPDATE SET origin = EXCLUDED.origin, recorded_at = EXCLUDED.recorded_at;
`, object, origin)
}

// planUp returns the steps that Up has to run on a database in this state, in order.
func (s *session) planUp(ctx context.Context, st *state, found *findings) ([]step, error) {
	var steps []step
	if !st.origin || !st.gooseDB {
		next := step{title: "bookkeeping", sql: []string{bookkeepingSQL}}
		if !st.gooseDB {
			next.sql = append(next.sql, gooseTableSQL())
		}
		next.sql = sealed(next.sql...)
		steps = append(steps, next)
	}
	for _, version := range st.pending() {
		next := step{version: version, title: versionName(version)}
		switch version {
		case versionBaseline:
			next.origin = created
			if found.core && !st.marked {
				next.origin = adopted
			}
			if !found.core {
				next.sql = append(next.sql, body(baselineFile))
			}
			next.sql = append(next.sql, originSQL(originBaseline, next.origin))
		case versionInstantiate:
			next.origin = adopted
			if !found.instantiate {
				next.origin = created
				next.sql = append(next.sql, body(instantiateFile))
			}
			next.sql = append(next.sql, originSQL(originInstantiate, next.origin))
		case versionOutbox:
			next.sql = sealed(body(outboxFile))
		case versionRiver:
			river, err := s.planRiver(ctx, st)
			if err != nil {
				return nil, err
			}
			steps = append(steps, river...)
			continue
		case versionShared:
			next.sql = sealed(body(sharedFile))
		}
		next.sql = append(next.sql, recordSQL(version))
		steps = append(steps, next)
	}
	if !st.current() {
		steps = append(steps, functionsStep())
	}
	return steps, nil
}

// functionsStep installs the functions and records them in schema_info.
func functionsStep() step {
	var texts []string
	for _, name := range functions() {
		texts = append(texts, text(name))
	}
	texts = append(texts, fmt.Sprintf(`UPDATE iu_outbox.schema_info
SET schema_version = %d, min_program_version = '%s', functions_hash = '%s', updated_at = pg_catalog.now();
`, SchemaVersion, minProgramVersion, functionsRecord()))
	return step{title: functionsTitle, sql: texts}
}

func (st step) text() string { return strings.Join(st.sql, "\n") }
