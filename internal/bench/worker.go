package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/retry"
	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker"
)

// startTimeout bounds the start and the stop of a worker.
const startTimeout = 30 * time.Second

// withWorker runs do while a worker runs on a scratch database.
func (b *bench) withWorker(ctx context.Context, s *scratch, do func() error) error {
	return b.withWorkerAs(ctx, s, b.cfg.Worker, do)
}

// withWorkerAs is withWorker with settings of the worker.
func (b *bench) withWorkerAs(ctx context.Context, s *scratch, cfg worker.Config, do func() error) (err error) {
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), s.Config(b.cfg.PoolSize))
	if err != nil {
		return fmt.Errorf("open the worker's pool: %w", err)
	}
	defer pool.Close()
	cfg.Pool, cfg.Direct, cfg.ID, cfg.Version = pool, nil, "", iusql.ProgramVersion
	cfg.Logger = slog.New(warnings{b.cfg.Logger.Handler()})
	w, err := worker.New(cfg)
	if err == nil {
		err = w.Start(ctx)
	}
	if err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
		defer cancel()
		if failed := w.Stop(stopping); failed != nil {
			err = errors.Join(err, fmt.Errorf("stop the worker: %w", failed))
		}
	}()
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for w.Ready(starting) != nil {
		if !retry.Pause(starting, 5*time.Millisecond) {
			return fmt.Errorf("wait for the worker: %w", starting.Err())
		}
	}
	return do()
}

// warnings passes warnings and errors only: the worker logs each batch, and the measurement would include that.
type warnings struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}
