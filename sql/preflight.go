package iusql

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/names"
)

const (
	oldestServer = 150000
	newestServer = 180000 // any minor version
)

// findings are what preflight found out about iu-core, and the reasons not to migrate.
type findings struct {
	core        bool // a baseline is there
	instantiate bool // a 033 is there

	unsuitable  []string // about the server
	differences []string // objects that are missing, different, or not ours
	hidden      []string // tables of iu-core whose rows row security may hide
	privileges  []string // that the role lacks
}

// preflight checks everything that could stop up, before the first change.
func (s *session) preflight(ctx context.Context, tx pgx.Tx, st *state, checkPrivileges bool) (*findings, error) {
	found := &findings{core: st.core}
	s.checkServer(ctx, st, found)
	if !st.standby { // a standby would fail some of these checks
		if err := s.checkAbilities(ctx, tx, found); err != nil {
			return nil, err
		}
	}
	cat, err := readCatalog(ctx, tx, coreRelations(), coreFunctions())
	if err != nil {
		return nil, err
	}
	found.instantiate = instantiateThere(cat)
	if !st.has(versionBaseline) || !st.has(versionInstantiate) {
		found.checkBaseline(cat)
	}
	if !st.has(versionInstantiate) && found.instantiate {
		if err := found.checkInstantiate(ctx, tx, cat); err != nil {
			return nil, err
		}
	}
	found.checkSchemas(st)
	if checkPrivileges {
		if found.hidden, err = hiddenCore(ctx, tx); err != nil {
			return nil, err
		}
		if found.privileges, err = missingPrivileges(ctx, tx, st, cat, found); err != nil {
			return nil, err
		}
		if err := checkFunctions(ctx, tx, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (s *session) checkServer(ctx context.Context, st *state, found *findings) {
	major := st.serverVersion / 10000
	switch {
	case st.serverVersion < oldestServer:
		found.unsuitable = append(found.unsuitable, fmt.Sprintf("the server is PostgreSQL %d, use 15 to 18", major))
	case major > newestServer/10000:
		s.cfg.Logger.WarnContext(ctx, "Migration: this PostgreSQL is newer than those iuworker was tested with", slog.Int("major", major))
	}
	if st.standby {
		found.unsuitable = append(found.unsuitable, "the server is a standby, give the address of the primary")
	} else if st.readOnly {
		found.unsuitable = append(found.unsuitable, "default_transaction_read_only is on here, turn it off for this role or database")
	}
}

func (found *findings) checkBaseline(cat *catalog) {
	if found.core {
		for _, difference := range baselineDifferences(cat) {
			found.differences = append(found.differences, "in this iu-core "+difference)
		}
		return
	}
	for _, name := range baselineStrays(cat) {
		found.differences = append(found.differences, name+" exists although public.iu_piece_collection does not")
	}
}

func (found *findings) checkInstantiate(ctx context.Context, tx pgx.Tx, cat *catalog) error {
	rows := instantiateRows{Config: true, Stream: new("update delayed")}
	// If the tables themselves differ, their rows are not read.
	if len(found.differences) == 0 && found.core {
		var readable bool
		if err := tx.QueryRow(ctx, "SELECT "+may("dot_config", "SELECT")+" AND "+may("event_type_registry", "SELECT")).Scan(&readable); err != nil {
			return fmt.Errorf("read the rows of 033: %w", err)
		}
		if readable {
			if err := tx.QueryRow(ctx, instantiateRowsQuery).Scan(&rows.Config, &rows.Stream); err != nil {
				return fmt.Errorf("read the rows of 033: %w", err)
			}
		}
	}
	for _, difference := range instantiateDifferences(cat, rows) {
		found.differences = append(found.differences, "in the 033 that is here "+difference)
	}
	return nil
}

// checkSchemas adds schemas that have our names but that iuworker did not create.
func (found *findings) checkSchemas(st *state) {
	if st.schemas["iu_outbox"] && !st.has(versionOutbox) {
		found.differences = append(found.differences, "schema iu_outbox exists, and iuworker did not create it")
	}
	if st.schemas[names.RiverSchema] && st.origins[originRiver] != created {
		found.differences = append(found.differences, "schema iu_river exists, and iuworker did not create it (another River's tables must not be shared)")
	}
}

// err returns one error that names all findings, or nil if there are none.
func (found *findings) err(st *state) error {
	var kinds []error
	var parts []string
	add := func(kind error, texts ...string) {
		if len(texts) > 0 {
			kinds = append(kinds, kind)
			parts = append(parts, texts...)
		}
	}
	add(ErrServer, found.unsuitable...)
	add(ErrConflict, found.differences...)
	if len(found.hidden) > 0 {
		add(ErrRowSecurity, fmt.Sprintf("row security of %s may hide rows from role %s; run as a superuser: ALTER ROLE %s BYPASSRLS",
			strings.Join(found.hidden, ", "), st.role, pgx.Identifier{st.role}.Sanitize()))
	}
	if len(found.privileges) > 0 {
		add(ErrPrivileges, fmt.Sprintf("role %s lacks %s; grant these, or migrate as a role that has them",
			st.role, strings.Join(found.privileges, ", ")))
	}
	if len(parts) == 0 {
		return nil
	}
	return &failure{kinds, fmt.Sprintf("database %s cannot be migrated, and nothing was changed: %s", st.database, strings.Join(parts, "; "))}
}

func coreRelations() []string {
	names := CoreTables()
	for _, shape := range instantiateViews {
		names = append(names, shape.name)
	}
	return names
}

func coreFunctions() []string {
	var names []string
	for _, shape := range slices.Concat(baselineFunctions, instantiateFunctions) {
		names = append(names, shape.name)
	}
	return names
}
