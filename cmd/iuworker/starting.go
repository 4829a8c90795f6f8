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

// starting starts a worker. If the server cannot be reached yet, or is lost meanwhile, it waits and tries again.
type starting struct {
	w       *worker.Worker
	pool    *pgxpool.Pool
	logger  *slog.Logger
	migrate *iusql.Config         // migrates the schema first if that is needed; nil: never
	waiting atomic.Pointer[error] // why the worker has not started; nil if it has, or before the first try
}

// run tries until the worker has started, ctx ends, or an error occurs that waiting does not mend: a wrong password, a missing
// database or schema, an id that is in use.
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

// migrateUp migrates the schema only if this program cannot work on it: a worker's login may be unable to migrate.
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

// ready returns why the worker is not ready, which may be that it waits for the server.
func (s *starting) ready(ctx context.Context) error {
	if waiting := s.waiting.Load(); waiting != nil {
		return *waiting
	}
	return s.w.Ready(ctx)
}
