package bench

import (
	"context"
	"time"
)

// idle measures the CPU that a worker and its server use while nothing happens.
func (b *bench) idle(ctx context.Context) error {
	s := b.main
	b.step("idle, %s", b.cfg.Sizes.Idle)
	if err := s.settle(ctx); err != nil {
		return err
	}
	var own, server []float64
	err := b.withWorker(ctx, s, func() error {
		if err := s.walk(ctx, b.cfg.Sizes.Warmup, s.insertRows); err != nil {
			return err
		}
		if err := pause(ctx, min(b.cfg.Sizes.Idle, 2*time.Second)); err != nil { // what the warm-up left to do
			return err
		}
		var err error
		own, server, err = watchCPU(ctx, b.cfg.Sizes.Idle, b.meter.postmaster)
		return err
	})
	if err != nil {
		return err
	}
	if own == nil {
		b.report.Notes = append(b.report.Notes, "The CPU of the idle worker was not measured: only Linux tells.")
		return nil
	}
	b.add(measure("idle CPU, worker", "% of a core", own, atMost(2, 2)))
	if server == nil {
		b.report.Notes = append(b.report.Notes, "The CPU of the idle server was not measured: it runs on another machine, or hides its processes.")
		return nil
	}
	b.add(measure("idle CPU, server", "% of a core", server, atMost(2, 2)))
	return nil
}

// watchCPU answers what this process and the server used meanwhile, nil for what cannot be known.
func watchCPU(ctx context.Context, d time.Duration, postmaster int) (own, server []float64, err error) {
	ownBefore, err := ownCPU()
	if err != nil {
		return nil, nil, nil //nolint:nilerr // not on this system
	}
	var serverBefore time.Duration
	if postmaster != 0 {
		if serverBefore, err = serverCPU(postmaster); err != nil {
			return nil, nil, err
		}
	}
	start := time.Now()
	if err := pause(ctx, d); err != nil {
		return nil, nil, err
	}
	took := time.Since(start)
	ownAfter, err := ownCPU()
	if err != nil {
		return nil, nil, err
	}
	own = []float64{100 * (ownAfter - ownBefore).Seconds() / took.Seconds()}
	if postmaster == 0 {
		return own, nil, nil
	}
	serverAfter, err := serverCPU(postmaster)
	if err != nil {
		return nil, nil, err
	}
	return own, []float64{100 * (serverAfter - serverBefore).Seconds() / took.Seconds()}, nil
}
