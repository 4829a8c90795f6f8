package worker

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/internal/retry"
)

// group is goroutines that stop together.
type group struct {
	ctx    context.Context //nolint:containedctx // the lifetime of the goroutines, not of a call
	cancel context.CancelFunc
	parts  map[string]chan struct{} // by name; each is closed when the part has ended
}

func newGroup(ctx context.Context) group {
	ctx, cancel := context.WithCancel(ctx)
	return group{ctx: ctx, cancel: cancel, parts: make(map[string]chan struct{})}
}

// start runs a part. If it ends before ctx, that is a bug, which the log must show.
func (r *running) start(g *group, name string, run func(context.Context) error) {
	ended := make(chan struct{})
	g.parts[name] = ended
	go func() {
		defer close(ended)
		if err := run(g.ctx); err != nil && g.ctx.Err() == nil {
			r.logger.ErrorContext(g.ctx, "Worker: a part ended", slog.String("part", name), slog.String("error", err.Error()))
		}
	}()
}

// tools are what most parts work with.
type tools struct {
	pool    *pgxpool.Pool
	logger  *slog.Logger
	metrics *metrics.Metrics
	outage  *retry.Outage
}

// tools returns those of one part.
func (r *running) tools(part string) tools {
	outage := &retry.Outage{
		Logger: r.logger, What: strings.ToUpper(part[:1]) + part[1:] + ": database", Name: faultName,
		Observe: func() { r.cfg.metrics.Failed(part) },
	}
	r.outages = append(r.outages, outage)
	return tools{pool: r.cfg.Pool, logger: r.logger, metrics: r.cfg.metrics, outage: outage}
}

// repeat does rounds until ctx ends, waits after each, and logs when they begin to fail and when they succeed again. After one that
// failed it waits no longer than for a connection: a worker is not ready until the round that a failover broke has succeeded.
func (t tools) repeat(ctx context.Context, wait func(context.Context), round func(context.Context) error) error {
	for ctx.Err() == nil {
		err := round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			t.outage.Worked(ctx)
			wait(ctx)
			continue
		}
		soon, cancel := context.WithTimeout(ctx, retry.Reconnect.Wait(t.outage.Failed(ctx, err)))
		wait(soon)
		cancel()
	}
	return nil
}

// pause returns a function that waits for d.
func pause(d time.Duration) func(context.Context) {
	return func(ctx context.Context) { retry.Pause(ctx, d) }
}
