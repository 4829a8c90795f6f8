package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/iu-core/iuworker/internal/retry"
)

// idle measures the CPU that a worker and its server use while nothing happens, and notes what the server uses without the worker.
func (b *bench) idle(ctx context.Context) error {
	s := b.main
	b.step("idle, %s with a worker and without", b.cfg.Sizes.Idle)
	if err := s.cleanUp(ctx); err != nil {
		return err
	}
	var with, without idleCost
	err := b.withWorker(ctx, s, func() error {
		if err := s.walk(ctx, b.cfg.Sizes.Warmup, s.insertRows); err != nil {
			return err
		}
		// This leaves autovacuum and the checkpointer no work of the warm-up, or of the migration that filled the catalogs.
		if err := s.cleanUp(ctx); err != nil {
			return err
		}
		if err := s.Exec(ctx, "vacuum the database", "VACUUM (ANALYZE)"); err != nil {
			return err
		}
		with = b.watchIdle(ctx)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	without = b.watchIdle(ctx)
	if with.cost == nil || without.cost == nil {
		b.note("The CPU of the idle worker was not measured: only Linux reports it.")
		return ctx.Err()
	}
	b.add(measure("idle CPU, worker", "% of core", []float64{with.percent(with.client)}))
	if b.meter.postmaster == 0 {
		b.note("The CPU of the idle server was not measured: it runs on another machine, or hides its processes.")
		return ctx.Err()
	}
	server := measure("idle CPU, server", "% of core", []float64{with.percent(with.server)})
	server.Note = fmt.Sprintf("%.2f without the worker: PostgreSQL's own processes, autovacuum's among them", without.percent(without.server))
	b.add(server)
	return ctx.Err()
}

// idleCost is the CPU that was used within took; cost is nil if it could not be read.
type idleCost struct {
	*cost

	took time.Duration
}

// watchIdle waits until earlier work has ended, then measures.
func (b *bench) watchIdle(ctx context.Context) idleCost {
	retry.Pause(ctx, min(b.cfg.Sizes.Idle, 5*time.Second))
	stop, began := b.meter.start(), time.Now()
	retry.Pause(ctx, b.cfg.Sizes.Idle)
	return idleCost{stop(), time.Since(began)}
}

// percent returns CPU time in percent of a core.
func (c idleCost) percent(cpu time.Duration) float64 { return 100 * cpu.Seconds() / c.took.Seconds() }
