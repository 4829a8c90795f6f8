package bench

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

const (
	referenceClients = 32
	referenceCall    = "pgbench, 32 clients, one call of fn_iu_auto_instantiate_from_event per transaction, live, prepared"
)

// call returns the statement of the reference.
func (s *scratch) call(emitMode string) string {
	return fmt.Sprintf(`SELECT public.fn_iu_auto_instantiate_from_event(pg_catalog.gen_random_uuid(), 'bench.happened', `+
		`'%s', 'ref-' || pg_catalog.gen_random_uuid(), '%s', '%s', NULL);`, s.template, emitMode, actor)
}

// rates are the rates of one measurement and its repetitions.
type rates struct {
	rate []float64
	costs
}

func (r *rates) take(m measured, err error) error {
	if err == nil {
		r.rate = append(r.rate, m.rate)
		r.add(m.cost, m.events)
	}
	return err
}

// measured is one measurement.
type measured struct {
	rate   float64
	events int
	cost   *cost     // nil: not known
	memory []float64 // of the worker, in megabytes
}

// throughput measures drain and pipeline, and the worker's memory during them.
func (b *bench) throughput(ctx context.Context) error {
	s := b.main
	var drain, whole, live, dry rates
	var memory []float64
	if _, err := b.calls(ctx, s, "live"); err != nil { // warms the caches up
		return err
	}
	err := b.alternate(ctx, b.cfg.Sizes.Repetitions, "drain, pipeline and their reference", s.cleanUp,
		func(int) error { return live.take(b.calls(ctx, s, "live")) },
		func(int) error { return drain.take(b.through(ctx, s, toJobs, s.insertJobs)) },
		func(int) error {
			m, err := b.through(ctx, s, toEvents, s.insertRows)
			memory = append(memory, m.memory...) // drain's would include the making of its jobs
			return whole.take(m, err)
		},
		func(int) error { return dry.take(b.calls(ctx, s, "dry_run")) })
	if err != nil {
		return err
	}
	b.add(compare("drain", "jobs/s", drain.rate, referenceCall, live.rate, atLeast(1.0, 1.5)),
		compare("pipeline", "events/s", whole.rate, referenceCall, live.rate, atLeast(0.7, 1.0)))
	b.compareCosts("drain", drain.costs, referenceCall, live.costs)
	b.compareCosts("pipeline", whole.costs, referenceCall, live.costs)
	announced := compare("call, live", "calls/s", live.rate, "the same calls as dry runs, which write no emission", dry.rate, nil)
	announced.Note = "what announcing costs a call: the reference of drain against itself without it"
	b.add(announced)
	b.memory("memory", memory)
	return nil
}

// calls is one measurement of the reference.
func (b *bench) calls(ctx context.Context, s *scratch, emitMode string) (measured, error) {
	stop := b.meter.start()
	limit := fmt.Sprintf("--transactions=%d", max(1, b.cfg.Sizes.Events/referenceClients))
	result, err := b.pgbench(ctx, s, s.call(emitMode), referenceClients, limit)
	return measured{rate: result.rate, events: result.transactions, cost: stop()}, err
}

// through warms a worker up, and measures events from the commit that inserts them.
func (b *bench) through(ctx context.Context, s *scratch, how whole, insert func(context.Context, int) error) (m measured, err error) {
	n := b.cfg.Sizes.Events
	before, err := s.count(ctx)
	if err != nil {
		return m, err
	}
	err = b.withWorker(ctx, s, func() error {
		if err := s.walk(ctx, b.cfg.Sizes.Warmup, insert); err != nil {
			return err
		}
		debug.FreeOSMemory() // what was done before is not the worker's
		events, err := s.send(ctx, n, insert)
		if err != nil {
			return err
		}
		memory, usage := watchMemory(ctx), b.meter.start()
		err = s.await(ctx, events, how)
		m = measured{rate: float64(n) / time.Since(events.at).Seconds(), events: n, cost: usage(), memory: memory()}
		if err != nil {
			return err
		}
		return s.await(ctx, events, toEvents)
	})
	if err != nil {
		return m, err
	}
	return m, s.verify(ctx, before, b.cfg.Sizes.Warmup+n)
}
