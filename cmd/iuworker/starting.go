package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/retry"
	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker"
)

// starting starts a worker, and waits for its server if that is not there yet, or goes away meanwhile: a server that starts
// later than its worker is no more than one that restarts under it.
type starting struct {
	w       *worker.Worker
	pool    *pgxpool.Pool
	logger  *slog.Logger
	migrate *iusql.Config         // not nil: bring the schema up first if that is needed
	waiting atomic.Pointer[error] // why it did not start yet; nil: it did, or was not tried
}

// run tries until the worker has started, ctx ends, or an error comes that waiting does not mend: a wrong password, a
// database or schema that is missing, an id that is taken.
func (s *starting) run(ctx context.Context) error {
	for try := 1; ; try++ {
		err := s.once(ctx)
		switch {
		case err == nil:
			if s.waiting.Swap(nil) != nil {
				s.logger.InfoContext(ctx, "Worker: the database is reachable", slog.Int("tries", try))
			}
			return nil
		case ctx.Err() != nil || !retry.MayPass(err):
			return err
		case s.waiting.Swap(&err) == nil:
			s.logger.WarnContext(ctx, "Worker: waiting for the database; retrying until it is reachable", slog.String("error", sentence(err)))
		}
		if !retry.Pause(ctx, retry.Reconnect.Wait(try)) {
			return fmt.Errorf("wait for the database: %w", ctx.Err())
		}
	}
}

func (s *starting) once(ctx context.Context) error {
	asked, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := s.pool.Ping(asked); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if s.migrate != nil {
		if err := s.migrateUp(ctx); err != nil {
			return err
		}
	}
	schema, err := iusql.InspectSchema(asked, s.pool)
	if err != nil {
		return err
	}
	if err := s.w.Start(ctx); err != nil {
		return err
	}
	if schema.Newer() {
		s.logger.WarnContext(ctx, "Worker: the schema is newer than this program, and allows it; upgrade the program soon",
			slog.Int64("schema", schema.Version), slog.Int64("program_schema", iusql.SchemaVersion))
	}
	s.logger.InfoContext(ctx, "Worker: started", slog.String("version", iusql.ProgramVersion))
	return nil
}

// migrateUp brings the schema up if this program cannot work on it; a login that may only work needs no more otherwise.
func (s *starting) migrateUp(ctx context.Context) error {
	err := iusql.CheckSchema(ctx, s.pool)
	if !errors.Is(err, iusql.ErrSchemaMissing) && !errors.Is(err, iusql.ErrSchemaOld) {
		return err
	}
	if _, err := iusql.Up(ctx, *s.migrate); err != nil {
		return &migrationError{err}
	}
	return nil
}

// ready reports why the worker is not ready, that it still waits for its server included.
func (s *starting) ready(ctx context.Context) error {
	if waiting := s.waiting.Load(); waiting != nil {
		return *waiting
	}
	return s.w.Ready(ctx)
}
