package bench

import (
	"context"
	"time"

	"github.com/iu-core/iuworker/internal/retry"
)

// idle measures the CPU that a worker and its server use while nothing happens.
func (b *bench) idle(ctx context.Context) error {
	s := b.main
	b.step("idle, %s", b.cfg.Sizes.Idle)
	if err := s.cleanUp(ctx); err != nil {
		return err
	}
	var used *cost
	var took time.Duration
	err := b.withWorker(ctx, s, func() error {
		if err := s.walk(ctx, b.cfg.Sizes.Warmup, s.insertRows); err != nil {
			return err
		}
		if err := s.cleanUp(ctx); err != nil { // so that neither autovacuum nor a checkpoint has work of the warm-up
			return err
		}
		retry.Pause(ctx, min(b.cfg.Sizes.Idle, 5*time.Second)) // the rest of the warm-up's work
		stop, began := b.meter.start(), time.Now()
		retry.Pause(ctx, b.cfg.Sizes.Idle)
		used, took = stop(), time.Since(began)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if used == nil {
		b.note("The CPU of the idle worker was not measured: only Linux tells.")
		return nil
	}
	percent := func(cpu time.Duration) []float64 { return []float64{100 * cpu.Seconds() / took.Seconds()} }
	b.add(measure("idle CPU, worker", "% of core", percent(used.client)))
	if b.meter.postmaster == 0 {
		b.note("The CPU of the idle server was not measured: it runs on another machine, or hides its processes.")
		return nil
	}
	b.add(measure("idle CPU, server", "% of core", percent(used.server)))
	return nil
}
