package iusql

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Down removes all versions above to, which is 32 to 35. At 32, nothing is left of 034 and later, of iu_river, or of a
// 033 that we created; what was adopted stays, and so do iu_migration and the roles. Below 32 it returns ErrUsage.
//
// It runs in one transaction: it locks the tables, counts the rows that would be lost, and drops the objects, or fails
// with ErrNotEmpty and the counts. [Config.Force] drops them anyway.
func Down(ctx context.Context, cfg Config, to int64) (result *Result, err error) {
	if err := checkTarget(to); err != nil {
		return nil, err
	}
	err = inSession(ctx, cfg, func(s *session) error {
		if err := s.lock(ctx); err != nil {
			return err
		}
		st, err := s.state(ctx)
		if err != nil {
			return err
		}
		if st.version() > SchemaVersion {
			return fail(ErrSchemaNew, "the database is at version %d, which iuworker %s does not know; migrate it down with the iuworker that migrated it up",
				st.version(), ProgramVersion)
		}
		result, err = s.down(ctx, st, to)
		return err
	})
	return result, err
}

func (s *session) down(ctx context.Context, st *state, to int64) (*Result, error) {
	plan := planDown(st, to)
	result := &Result{From: st.version(), To: st.version()}
	if len(plan.steps) == 0 {
		return result, nil
	}
	err := s.retry(ctx, fmt.Sprintf("down to %d", to), func() error {
		return s.write(ctx, func(tx pgx.Tx) error { return plan.run(ctx, tx, to, s.cfg.Force) })
	})
	if err != nil {
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

// explain adds PostgreSQL's detail, such as the dependent objects, or names who can do this instead.
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
