package iusql

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/semver"

	"github.com/iu-core/iuworker/internal/names"
)

// Queryer reads the schema: a pgx pool, connection or transaction.
type Queryer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Schema is what a database records about its schema iu_outbox.
type Schema struct {
	Version           int64  // see SchemaVersion
	MinProgramVersion string // the oldest program that may work on it
	FunctionsVersion  string // the program that installed the functions; empty if none has yet
	functionsHash     string
}

// CheckSchema returns nil if this program may work on the database, and otherwise ErrSchemaMissing, ErrSchemaOld, ErrSchemaNew,
// or the error of reading it. It also returns nil on a newer schema that allows this program; see [Schema.Newer].
func CheckSchema(ctx context.Context, q Queryer) error {
	schema, err := InspectSchema(ctx, q)
	if err != nil {
		return err
	}
	return schema.check()
}

// InspectSchema returns what the database records about its schema, nil if it has none.
func InspectSchema(ctx context.Context, q Queryer) (*Schema, error) {
	var exists, readable bool
	var role string
	err := q.QueryRow(ctx, `
		SELECT c.oid IS NOT NULL,
		       c.oid IS NOT NULL AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
		       AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),
		       CURRENT_USER
		FROM (SELECT) AS one
		LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'iu_outbox'
		LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = 'schema_info'`).
		Scan(&exists, &readable, &role)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the schema's version: %w", err)
	case !exists:
		return nil, nil
	case !readable:
		return nil, fail(ErrPrivileges, "role %s may not read iu_outbox.schema_info; grant it one of %s", role, strings.Join(names.Roles, ", "))
	}
	if err := checkRows(ctx, q); err != nil {
		return nil, err
	}
	var schema Schema
	var hash string
	err = q.QueryRow(ctx, "SELECT i.schema_version, i.min_program_version, i.functions_hash FROM iu_outbox.schema_info AS i").
		Scan(&schema.Version, &schema.MinProgramVersion, &hash)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the schema's version: %w", err)
	}
	schema.FunctionsVersion, schema.functionsHash, _ = strings.Cut(hash, " ")
	return &schema, nil
}

// Newer reports whether a newer program made the schema or its functions; nil is not newer.
func (s *Schema) Newer() bool {
	return s != nil && (s.Version > SchemaVersion || s.newerFunctions())
}

func (s *Schema) newerFunctions() bool {
	return semver.Compare("v"+s.FunctionsVersion, "v"+ProgramVersion) > 0
}

// currentFunctions reports whether the functions need not be installed, because they are this program's or newer.
func (s *Schema) currentFunctions() bool {
	return s != nil && (s.Newer() || s.functionsRecord() == functionsRecord())
}

func (s *Schema) functionsRecord() string { return s.FunctionsVersion + " " + s.functionsHash }

// functionsRecord is what schema_info records about the functions. The version keeps an older program that migrates
// during a rolling deployment from installing its own functions.
func functionsRecord() string { return ProgramVersion + " " + functionsHash() }

func (s *Schema) check() error {
	switch {
	case s == nil:
		return ErrSchemaMissing
	case semver.Compare("v"+s.MinProgramVersion, "v"+ProgramVersion) > 0:
		return fail(ErrSchemaNew,
			"the schema is at version %d and needs iuworker %s or newer, this is %s; install a newer iuworker", s.Version, s.MinProgramVersion, ProgramVersion)
	case s.Version < SchemaVersion:
		return fail(ErrSchemaOld, "the schema is at version %d and iuworker %s needs %d; run: iuworker migrate up", s.Version, ProgramVersion, SchemaVersion)
	case !s.currentFunctions():
		return fail(ErrSchemaOld, "the functions of iu_outbox are not those of iuworker %s; run: iuworker migrate up", ProgramVersion)
	}
	return nil
}
