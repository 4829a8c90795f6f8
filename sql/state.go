package iusql

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// state is what a database has of ours.
type state struct {
	database      string
	role          string
	serverVersion int // as server_version_num: 150012
	standby       bool

	applied map[int64]time.Time // goose's versions
	origins map[string]string   // rows of iu_migration.origin
	schemas map[string]bool     // of iu_migration, iu_outbox and iu_river, those that exist
	gooseDB bool                // goose's table exists
	origin  bool                // iu_migration.origin exists

	core   bool // public.iu_piece_collection exists
	marked bool // and says that our baseline made it

	schema *Schema
}

func readState(ctx context.Context, tx pgx.Tx) (*state, error) {
	st := &state{applied: map[int64]time.Time{}, origins: map[string]string{}, schemas: map[string]bool{}}
	err := tx.QueryRow(ctx, `
		SELECT pg_catalog.current_database(), CURRENT_USER, pg_catalog.current_setting('server_version_num')::integer,
		       pg_catalog.pg_is_in_recovery(),
		       pg_catalog.to_regclass('public.iu_piece_collection') IS NOT NULL,
		       COALESCE(pg_catalog.obj_description(pg_catalog.to_regclass('public.iu_piece_collection'), 'pg_class')
		                = 'iu-core baseline 032, created by iuworker', false),
		       `+relationExists("iu_migration", "goose_db_version")+`,
		       `+relationExists("iu_migration", "origin")).
		Scan(&st.database, &st.role, &st.serverVersion, &st.standby, &st.core, &st.marked, &st.gooseDB, &st.origin)
	if err != nil {
		return nil, fmt.Errorf("read the state of the database: %w", err)
	}
	if err := st.readSchemas(ctx, tx); err != nil {
		return nil, err
	}
	if st.gooseDB {
		if err := st.readVersions(ctx, tx); err != nil {
			return nil, err
		}
	}
	if st.origin {
		if err := st.readOrigins(ctx, tx); err != nil {
			return nil, err
		}
	}
	st.schema, err = InspectSchema(ctx, tx)
	return st, err
}

// relationExists is a condition that needs no privilege, not even on the schema.
func relationExists(schema, name string) string {
	return fmt.Sprintf(`EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		        WHERE n.nspname = '%s' AND c.relname = '%s')`, schema, name)
}

func (st *state) readSchemas(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `
		SELECT n.nspname::text FROM pg_catalog.pg_namespace AS n
		WHERE n.nspname IN ('iu_migration', 'iu_outbox', 'iu_river')`)
	if err != nil {
		return fmt.Errorf("read schemas: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("read schemas: %w", err)
	}
	for _, name := range names {
		st.schemas[name] = true
	}
	return nil
}

func (st *state) readVersions(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `
		SELECT v.version_id, pg_catalog.max(v.tstamp) FROM iu_migration.goose_db_version AS v
		WHERE v.is_applied AND v.version_id > 0
		GROUP BY v.version_id`)
	if err != nil {
		return fmt.Errorf("read versions: %w", err)
	}
	var version int64
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&version, &at}, func() error {
		st.applied[version] = at
		return nil
	})
	if err != nil {
		return fmt.Errorf("read versions: %w", err)
	}
	return nil
}

func (st *state) readOrigins(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, "SELECT o.object, o.origin FROM iu_migration.origin AS o")
	if err != nil {
		return fmt.Errorf("read origins: %w", err)
	}
	var object, origin string
	_, err = pgx.ForEachRow(rows, []any{&object, &origin}, func() error {
		st.origins[object] = origin
		return nil
	})
	if err != nil {
		return fmt.Errorf("read origins: %w", err)
	}
	return nil
}

func (st *state) has(version int64) bool {
	_, ok := st.applied[version]
	return ok
}

// version is the highest version that was applied, 0 for none.
func (st *state) version() int64 {
	var highest int64
	for version := range st.applied {
		highest = max(highest, version)
	}
	return highest
}

// pending are the versions that up would apply, in order.
func (st *state) pending() []int64 {
	var missing []int64
	for _, version := range versions {
		if !st.has(version) {
			missing = append(missing, version)
		}
	}
	return missing
}
