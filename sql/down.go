package iusql

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3/database"
)

// Down takes away all versions above to, which is 32 to 35: at 32 nothing is left of 034 and later, of iu_river,
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
		return nil, fail(ErrSchemaNew, "the database is at version %d, which iuworker %s does not know; migrate it down with the iuworker that migrated it up",
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
		s.logStep(ctx, "Migration: removed "+step.title, step)
	}
	return result, nil
}

func checkTarget(to int64) error {
	switch {
	case to < versionBaseline:
		return fail(ErrUsage, "cannot go down to %d: the versions up to %d are iu-core's own, which iuworker never removes; give %d or more",
			to, versionBaseline, versionBaseline)
	case !slices.Contains(versions, to):
		return fail(ErrUsage, "there is no version %d; give one of %v", to, versions)
	}
	return nil
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
			return fmt.Errorf("remove %s: %w", step.title, explain(err))
		}
		if step.version > 0 {
			if err := store.Delete(ctx, tx, step.version); err != nil {
				return err
			}
		}
	}
	return tx.Commit()
}

// explain adds what PostgreSQL says beside its message, such as which objects depend on one, and who may do it.
func explain(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return err
	case pgErr.Code == pgerrcode.InsufficientPrivilege:
		return fmt.Errorf("%w (%w); nothing was changed; run it as the owner of that, or as a superuser", ErrPrivileges, err)
	case pgErr.Detail != "":
		return fmt.Errorf("%w: %s", err, pgErr.Detail)
	}
	return err
}
