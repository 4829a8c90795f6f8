package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/iu-core/iuworker/internal/retry"
)

// idle measures the CPU that a worker and its server use while nothing happens, and notes what a bare River uses, and what the
// server uses by itself.
func (b *bench) idle(ctx context.Context) error {
	s := b.main
	b.step("idle, %s with a worker, a bare River and neither", b.cfg.Sizes.Idle)
	if err := errors.Join(s.cleanUp(ctx), s.migrateBareRiver(ctx)); err != nil {
		return err
	}
	var ours, bare, alone idleCost
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
		ours = b.watchIdle(ctx)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if err := s.withBareRiver(ctx, b.cfg.PoolSize, bareNotify, func(*river.Client[pgx.Tx]) error {
		bare = b.watchIdle(ctx)
		return ctx.Err()
	}); err != nil {
		return err
	}
	alone = b.watchIdle(ctx)
	if ours.cost == nil || bare.cost == nil || alone.cost == nil {
		b.note("The CPU of the idle worker was not measured: only Linux reports it.")
		return ctx.Err()
	}
	worker := measure("idle CPU, worker", "% of core", []float64{ours.percent(ours.client)})
	worker.Note = fmt.Sprintf("a bare River with one queue uses %.2f", bare.percent(bare.client))
	b.add(worker)
	if b.meter.postmaster == 0 {
		b.note("The CPU of the idle server was not measured: it runs on another machine, or hides its processes.")
		return ctx.Err()
	}
	server := measure("idle CPU, server", "% of core", []float64{ours.percent(ours.server)})
	server.Note = fmt.Sprintf("%.2f with the bare River; %.2f by itself, autovacuum included", bare.percent(bare.server), alone.percent(alone.server))
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
