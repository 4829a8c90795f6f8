package worker

import (
	"context"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/operate/fleet"
	"github.com/iu-core/iuworker/internal/retry"
)

// reportEvery is how often a worker reports its load, if that changed.
const reportEvery = 3 * time.Second

// reporter stores this process's settings and load, for the pages of other processes. It is not part of the heartbeat, which must
// stay small: a report that fails or is late does no harm.
type reporter struct {
	tools

	id       func() compose.Incarnation
	settings fleet.Settings
	load     func() fleet.Load

	composed atomic.Int64 // events since the start
}

// report is what the reporter stores.
type report struct {
	by   compose.Incarnation
	load fleet.Load
}

// run reports until ctx ends.
func (r *reporter) run(ctx context.Context) error {
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
	return fleet.Report(ctx, r.pool, now.by.Worker, now.by.Number, r.settings, now.load)
}

// settings returns the part of the configuration that other processes show.
func (c Config) settings() fleet.Settings {
	seconds := func(d time.Duration) float64 {
		if d < 0 {
			return -1
		}
		return d.Seconds()
	}
	var given []fleet.GivenSetting
	for _, s := range c.Given {
		given = append(given, fleet.GivenSetting(s))
	}
	return fleet.Settings{
		Lanes: c.Lanes + c.scaleoutLanes(), Concurrency: c.Concurrency, ScaleoutConcurrency: c.ScaleoutConcurrency, PoolSize: int(c.Pool.Config().MaxConns),
		ComposeBy: c.ComposeBy, CompletedRetention: seconds(c.CompletedRetention), CancelledRetention: seconds(c.CancelledRetention),
		DiscardedRetention: seconds(c.DiscardedRetention), EmissionRetention: seconds(c.EmissionRetention),
		ConsumerExpiry: seconds(c.ConsumerExpiry), Given: given,
	}
}

// load returns what the process does now.
func (r *running) load() fleet.Load {
	load := fleet.Load{
		LanesBusy: r.events.Busy() + r.scaleouts.Busy(), Running: len(r.work.ActiveJobs()),
		PoolUsed: int(r.cfg.Pool.Stat().AcquiredConns()), Hears: fleet.HearsByPolling,
	}
	switch {
	case r.listener == nil:
	case r.listener.Up():
		load.Hears = fleet.HearsNotifications
	default:
		load.Hears = fleet.HearsNothing
	}
	return load
}
