package iusql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3/database"
)

// Down takes away all versions above to, which is 32, 33 or 34: at 32 nothing is left of 034 and later, of iu_river,
// and of a 033 that we created; what was adopted stays, and so do iu_migration and the roles. Below 32 it is ErrUsage.
//
// It is one transaction: it locks the tables, looks for rows that would be lost, and drops, or fails with ErrNotEmpty
// and the counts; [Config.Force] drops them all the same.
func Down(ctx context.Context, cfg Config, to int64) (result *Result, err error) {
	if err := checkTarget(to); err != nil {
		return nil, err
	}
	s, err := openSession(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	var st *state
	err = s.inTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		st, err = readState(ctx, tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if st.version() > SchemaVersion {
		return nil, fail(ErrSchemaNew, "the database is at version %d, which iuworker %s does not know; take it down with the iuworker that migrated it",
			st.version(), ProgramVersion)
	}
	plan := planDown(st, to)
	result = &Result{From: st.version(), To: st.version()}
	if len(plan.steps) == 0 {
		return result, nil
	}
	if err := s.retry(ctx, fmt.Sprintf("down to %d", to), func() error { return s.runDown(ctx, plan, to) }); err != nil {
		return nil, err
	}
	result.To = min(to, result.From)
	for _, step := range plan.steps {
		if step.version > 0 {
			result.Versions = append(result.Versions, VersionStatus{Version: step.version, Name: step.title, State: pending, Origin: step.origin})
		}
		s.cfg.Logger.InfoContext(ctx, "Migration: took away "+step.title, slog.Int64("version", step.version))
	}
	return result, nil
}

func checkTarget(to int64) error {
	switch {
	case to < versionBaseline:
		return fail(ErrUsage, "cannot go down to %d: the versions up to %d are iu-core's own, which iuworker never takes away; give %d or more",
			to, versionBaseline, versionBaseline)
	case !slices.Contains(versions, to):
		return fail(ErrUsage, "there is no version %d; give one of %v", to, versions)
	}
	return nil
}

// A downPlan is one transaction.
type downPlan struct {
	locks  []string // tables, in the order in which they are locked
	losses []loss
	steps  []step
}

// A loss is a query for the number of rows that would be lost.
type loss struct{ what, query string }

// planDown answers what is to be done for what the database has above a version.
func planDown(st *state, to int64) downPlan {
	var plan downPlan
	goes := func(version int64) bool { return st.has(version) && to < version }
	// A run of up that ended among River's migrations left the schema without the version.
	if to < versionRiver && st.schemas[riverSchema] && st.origins[originRiver] == created {
		plan.river(st)
	}
	if goes(versionOutbox) {
		plan.outbox()
	}
	if goes(versionInstantiate) {
		plan.instantiate(st.origins[originInstantiate])
	}
	return plan
}

// Locks come first and in one order, which is the order in which those who work take them: gates, collections, then
// outbox, jobs, dead letters, log, emissions.
var downLocks = []string{
	"public.dot_config", "public.iu_piece_collection", "public.iu_collection_template_instance_lineage",
	"iu_outbox.event", "iu_river.river_job", "iu_outbox.dead_letter", "iu_outbox.consumer_dead_letter",
	"public." + logTable, "iu_outbox.emission",
}

func (p *downPlan) lock(tables ...string) { p.locks = append(p.locks, tables...) }

func (p *downPlan) river(st *state) {
	next := step{title: riverSchema, sql: []string{dropRiverSQL, forgetOriginSQL(originRiver)}}
	if st.has(versionRiver) {
		next.version, next.title, next.origin = versionRiver, versionName(versionRiver), created
		p.lock("iu_river.river_job")
		p.losses = append(p.losses, loss{"unfinished jobs", "SELECT count(*) FROM iu_river.river_job WHERE finalized_at IS NULL"})
	}
	if st.schema != nil {
		next.sql = append(next.sql, fmt.Sprintf(
			"UPDATE iu_outbox.schema_info SET schema_version = %d, functions_hash = '', updated_at = pg_catalog.now();\n", versionOutbox))
	}
	p.steps = append(p.steps, next)
}

func (p *downPlan) outbox() {
	p.lock("public.dot_config", "public."+logTable, "iu_outbox.event", "iu_outbox.dead_letter", "iu_outbox.consumer_dead_letter", "iu_outbox.emission")
	p.losses = append(p.losses,
		loss{"outbox rows", "SELECT count(*) FROM iu_outbox.event"},
		loss{"emissions", "SELECT count(*) FROM iu_outbox.emission"},
		loss{"dead letters", "SELECT count(*) FROM iu_outbox.dead_letter"},
		loss{"dead letters of consumers", "SELECT count(*) FROM iu_outbox.consumer_dead_letter"})
	p.steps = append(p.steps, step{version: versionOutbox, title: versionName(versionOutbox), sql: []string{body(unoutboxFile)}})
}

func (p *downPlan) instantiate(origin string) {
	next := step{version: versionInstantiate, title: versionName(versionInstantiate), origin: origin}
	if origin == created {
		// The tables that the log refers to are locked by its drop.
		p.lock("public.iu_piece_collection", "public.iu_collection_template_instance_lineage", "public."+logTable)
		p.losses = append(p.losses, loss{"log rows", "SELECT count(*) FROM public." + logTable})
		next.sql = append(next.sql, body(uninstantiateFile))
	}
	next.sql = append(next.sql, forgetOriginSQL(originInstantiate))
	p.steps = append(p.steps, next)
}

func forgetOriginSQL(object string) string {
	return fmt.Sprintf("DELETE FROM iu_migration.origin WHERE object = '%s';\n", object)
}

// runDown is the one transaction.
func (s *session) runDown(ctx context.Context, plan downPlan, to int64) (err error) {
	store, err := database.NewStore(database.DialectPostgres, gooseTable)
	if err != nil {
		return fmt.Errorf("set up the migrations: %w", err)
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // the error that counts is known
		}
	}()
	if err := plan.prepare(ctx, tx, to, s.cfg.Force); err != nil {
		return err
	}
	for _, step := range plan.steps {
		if _, err := tx.ExecContext(ctx, step.text()); err != nil {
			return fmt.Errorf("take away %s: %w", step.title, withDetail(err))
		}
		if step.version > 0 {
			if err := store.Delete(ctx, tx, step.version); err != nil {
				return err
			}
		}
	}
	return tx.Commit()
}

// prepare locks, and looks for what would be lost.
func (p *downPlan) prepare(ctx context.Context, tx *sql.Tx, to int64, force bool) error {
	locks := slices.DeleteFunc(slices.Clone(downLocks), func(table string) bool { return !slices.Contains(p.locks, table) })
	if len(locks) > 0 {
		if _, err := tx.ExecContext(ctx, "LOCK TABLE "+strings.Join(locks, ", ")+" IN ACCESS EXCLUSIVE MODE"); err != nil {
			return fmt.Errorf("lock tables: %w", err)
		}
	}
	if force {
		_, err := tx.ExecContext(ctx, "SET LOCAL iu_core.force_rollback_033 = 'true'")
		return err
	}
	var lost []string
	for _, loss := range p.losses {
		var rows int64
		if err := tx.QueryRowContext(ctx, loss.query).Scan(&rows); err != nil {
			return fmt.Errorf("count %s: %w", loss.what, err)
		}
		if rows > 0 {
			lost = append(lost, fmt.Sprintf("%s: %d", loss.what, rows))
		}
	}
	if len(lost) > 0 {
		return fail(ErrNotEmpty, "going down to %d would lose %s; nothing was changed; add --force to lose them", to, strings.Join(lost, ", "))
	}
	return nil
}

// withDetail adds what PostgreSQL says beside its message, such as which objects depend on one.
func withDetail(err error) error {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Detail != "" {
		return fmt.Errorf("%w: %s", err, pgErr.Detail)
	}
	return err
}
