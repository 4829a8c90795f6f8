package iusql

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/names"
)

var ourSchemas = []string{"iu_migration", "iu_outbox", names.RiverSchema}

// state is what a database has of ours.
type state struct {
	database      string
	role          string
	serverVersion int // as server_version_num: 150012
	standby       bool
	readOnly      bool // by default, which our sessions change

	applied map[int64]time.Time // goose's versions
	origins map[string]string   // rows of iu_migration.origin
	schemas map[string]bool     // of iu_migration, iu_outbox and iu_river, those that exist
	gooseDB bool                // goose's table exists
	origin  bool                // iu_migration.origin exists

	core   bool // public.iu_piece_collection exists
	marked bool // and its comment says that our baseline created it

	unsealed bool // a grant is missing, or default privileges added one: Up repairs that

	unalways bool // a trigger of ours does not always fire, and this role may change that

	schema *Schema
}

func readState(ctx context.Context, tx pgx.Tx) (*state, error) {
	st := &state{applied: map[int64]time.Time{}, origins: map[string]string{}, schemas: map[string]bool{}}
	var schemas []string
	err := tx.QueryRow(ctx, `
		SELECT pg_catalog.current_database(), CURRENT_USER, pg_catalog.current_setting('server_version_num')::integer,
		       pg_catalog.pg_is_in_recovery(),
		       `+relationExists("public", "iu_piece_collection")+`,
		       `+coreCreated+`,
		       `+relationExists("iu_migration", "goose_db_version")+`,
		       `+relationExists("iu_migration", "origin")+`,
		       ARRAY(SELECT n.nspname::text FROM pg_catalog.pg_namespace AS n WHERE n.nspname = ANY ($1))`, ourSchemas).
		Scan(&st.database, &st.role, &st.serverVersion, &st.standby, &st.core, &st.marked, &st.gooseDB, &st.origin, &schemas)
	if err != nil {
		return nil, fmt.Errorf("read the state of the database: %w", err)
	}
	for _, name := range schemas {
		st.schemas[name] = true
	}
	for _, read := range []func(context.Context, pgx.Tx) error{st.checkReadable, st.readVersions, st.readOrigins, st.readRest} {
		if err := read(ctx, tx); err != nil {
			return nil, err
		}
	}
	st.schema, err = InspectSchema(ctx, tx)
	return st, err
}

// coreCreated is the condition that the database's iu-core is our baseline.
const coreCreated = `COALESCE((SELECT pg_catalog.obj_description(c.oid, 'pg_class') = 'iu-core baseline 032, created by iuworker'
		                 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		                 WHERE n.nspname = 'public' AND c.relname = 'iu_piece_collection'), false)`

// readRest reads whether transactions are read-only by default, whether grants are not as intended, and whether a
// trigger of ours does not fire in every session. Up repairs the latter two.
func (st *state) readRest(ctx context.Context, tx pgx.Tx) error {
	err := tx.QueryRow(ctx, `
		SELECT (SELECT g.reset_val::boolean FROM pg_catalog.pg_settings AS g WHERE g.name = 'default_transaction_read_only'), EXISTS (
			SELECT FROM pg_catalog.pg_trigger AS t
			JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
			JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
			JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
			WHERE n.nspname = 'iu_outbox' AND t.tgenabled <> 'A' AND pg_catalog.pg_has_role(c.relowner, 'USAGE'))`).Scan(&st.readOnly, &st.unalways)
	if err != nil {
		return fmt.Errorf("check settings and triggers: %w", err)
	}
	if err := tx.QueryRow(ctx, unsealedQuery).Scan(&st.unsealed); err != nil {
		return fmt.Errorf("compare grants: %w", err)
	}
	return nil
}

// relationExists returns a condition that needs no privilege, not even on the schema.
func relationExists(schema, name string) string {
	return fmt.Sprintf(`EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		        WHERE n.nspname = '%s' AND c.relname = '%s')`, schema, name)
}

// checkReadable returns ErrPrivileges if this role may not read the bookkeeping.
func (st *state) checkReadable(ctx context.Context, tx pgx.Tx) error {
	if !st.gooseDB && !st.origin {
		return nil
	}
	var readable bool
	err := tx.QueryRow(ctx, `
		SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND NOT EXISTS (
		    SELECT FROM pg_catalog.pg_class AS c
		    WHERE c.relnamespace = n.oid AND c.relname IN ('goose_db_version', 'origin')
		      AND NOT pg_catalog.has_table_privilege(c.oid, 'SELECT'))
		FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'iu_migration'`).Scan(&readable)
	if err != nil {
		return fmt.Errorf("read the state of the database: %w", err)
	}
	if !readable {
		return fail(ErrPrivileges,
			"role %s may not read the tables of schema iu_migration; use the role that migrated, or one that has iu_worker or iu_operator", st.role)
	}
	// Hidden rows would look as if nothing had been migrated yet.
	return checkBookkeeping(ctx, tx)
}

func (st *state) readVersions(ctx context.Context, tx pgx.Tx) error {
	if !st.gooseDB {
		return nil
	}
	return readPairs(ctx, tx, st.applied, "read versions", `
		SELECT v.version_id, pg_catalog.max(v.tstamp) FROM iu_migration.goose_db_version AS v
		WHERE v.is_applied AND v.version_id > 0
		GROUP BY v.version_id`)
}

func (st *state) readOrigins(ctx context.Context, tx pgx.Tx) error {
	if !st.origin {
		return nil
	}
	return readPairs(ctx, tx, st.origins, "read origins", "SELECT o.object, o.origin FROM iu_migration.origin AS o")
}

// readPairs adds the rows of a query, each a key and a value, to a map. doing begins the text of its error.
func readPairs[K comparable, V any](ctx context.Context, tx pgx.Tx, into map[K]V, doing, query string) error {
	var key K
	var value V
	rows, _ := tx.Query(ctx, query) // ForEachRow returns its error
	_, err := pgx.ForEachRow(rows, []any{&key, &value}, func() error {
		into[key] = value
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

func (st *state) has(version int64) bool {
	_, ok := st.applied[version]
	return ok
}

// current reports whether Up has nothing to do.
func (st *state) current() bool {
	return len(st.pending()) == 0 && st.schema.currentFunctions() && (!st.unsealed && !st.unalways || st.schema.Newer())
}

// version returns the highest applied version, or 0 if there is none.
func (st *state) version() int64 {
	return slices.Max(append(slices.Collect(maps.Keys(st.applied)), 0))
}

// pending returns the versions that Up would apply, in order.
func (st *state) pending() []int64 {
	return slices.DeleteFunc(slices.Clone(versions), st.has)
}
