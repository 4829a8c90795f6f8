package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker"
)

// startTimeout bounds the start and the stop of a worker.
const startTimeout = 30 * time.Second

// station is a worker that runs on a scratch database.
type station struct {
	pool *pgxpool.Pool
	w    *worker.Worker
}

// withWorker runs do while a worker works, and stops it.
func (b *bench) withWorker(ctx context.Context, s *scratch, do func() error) error {
	return b.withWorkerAt(ctx, s, b.cfg.Worker.Rate, do)
}

// withWorkerAt is withWorker with a worker that composes at most so many events per second; 0: as many as it can.
func (b *bench) withWorkerAt(ctx context.Context, s *scratch, rate int, do func() error) (err error) {
	st, err := b.startWorker(ctx, s, rate)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.stop(ctx)) }()
	return do()
}

func (b *bench) startWorker(ctx context.Context, s *scratch, rate int) (*station, error) {
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), s.config(b.cfg.PoolSize))
	if err != nil {
		return nil, fmt.Errorf("open the worker's pool: %w", err)
	}
	cfg := b.cfg.Worker
	cfg.Rate = rate
	cfg.Pool, cfg.Direct, cfg.ID, cfg.Version = pool, nil, "", iusql.ProgramVersion
	cfg.Logger = slog.New(warnings{b.cfg.Logger.Handler()})
	w, err := worker.New(cfg)
	if err == nil {
		err = w.Start(ctx)
	}
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("start the worker: %w", err)
	}
	st := &station{pool: pool, w: w}
	ready, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err = poll(ready, 5*time.Millisecond, func() (bool, error) { return w.Ready(ready) == nil, nil })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the worker: %w", err), st.stop(ctx))
	}
	return st, nil
}

func (st *station) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	err := st.w.Stop(ctx)
	st.pool.Close()
	if err != nil {
		return fmt.Errorf("stop the worker: %w", err)
	}
	return nil
}

// warnings passes warnings and errors. The worker logs each batch, and writing that would be measured, too.
type warnings struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

// poll calls ask until it returns true or an error, or ctx ends.
func poll(ctx context.Context, every time.Duration, ask func() (bool, error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		yes, err := ask()
		if yes || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pause waits. It returns an error if ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
