package worker

import (
	"context"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/jobs"
)

// reportEvery is how often a worker reports its load, if that changed.
const reportEvery = 3 * time.Second

// reporter stores what this process goes by and does, for the pages of other processes. It is apart from the heartbeat,
// which must stay small: a report that fails or is late harms nothing.
type reporter struct {
	pool     *pgxpool.Pool
	id       func() jobs.Incarnation
	settings operate.WorkerSettings
	load     func() operate.WorkerLoad
	logger   *slog.Logger

	composed atomic.Int64 // events, ever
}

// report is what was stored last.
type report struct {
	by   jobs.Incarnation
	load operate.WorkerLoad
}

// Run reports until ctx ends.
func (r *reporter) Run(ctx context.Context) error {
	var last report
	before, at := r.composed.Load(), time.Now()
	for ctx.Err() == nil {
		now := report{r.id(), r.load()}
		composed, passed := r.composed.Load(), time.Since(at)
		if composed > before {
			now.load.PerSecond = math.Round(10*float64(composed-before)/passed.Seconds()) / 10
		}
		before, at = composed, time.Now()
		if now != last {
			if err := r.store(ctx, now); err == nil {
				last = now
			} else if ctx.Err() == nil {
				r.logger.DebugContext(ctx, "Worker: cannot report its load", slog.String("error", err.Error()))
			}
		}
		retry.Pause(ctx, reportEvery)
	}
	return nil
}

func (r *reporter) store(ctx context.Context, now report) error {
	ctx, cancel := context.WithTimeout(ctx, reportEvery)
	defer cancel()
	return operate.ReportWorker(ctx, r.pool, now.by.Worker, now.by.Number, r.settings, now.load)
}

// settings are what other processes are told of the configuration.
func (c Config) settings() operate.WorkerSettings {
	kept := func(d, byDefault time.Duration) float64 {
		switch {
		case d < 0:
			return -1
		case d == 0:
			return byDefault.Seconds()
		default:
			return d.Seconds()
		}
	}
	const day = 24 * time.Hour
	return operate.WorkerSettings{
		Lanes: c.Lanes, Concurrency: c.Concurrency, ScaleoutConcurrency: c.ScaleoutConcurrency, PoolSize: int(c.Pool.Config().MaxConns),
		CompletedRetention: kept(c.CompletedRetention, day), CancelledRetention: kept(c.CancelledRetention, day),
		DiscardedRetention: kept(c.DiscardedRetention, 7*day), EmissionRetention: kept(c.EmissionRetention, 30*day),
		ConsumerExpiry: kept(c.ConsumerExpiry, 30*day), Given: c.Given,
	}
}

// load is what the process does now.
func (r *running) load(pool *pgxpool.Pool, running func() []int64) operate.WorkerLoad {
	load := operate.WorkerLoad{
		LanesBusy: r.batcher.Busy(), Running: len(running()), PoolUsed: int(pool.Stat().AcquiredConns()),
		Throttled: r.yielder.throttled.Load(), Hears: operate.HearsByPolling,
	}
	switch {
	case r.listener == nil:
	case r.listener.Up():
		load.Hears = operate.HearsNotifications
	default:
		load.Hears = operate.HearsNothing
	}
	return load
}
