package bench

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/iu-core/iuworker/worker"
)

const (
	referenceClients = 32
	referenceCall    = "pgbench, 32 clients, one call of fn_iu_auto_instantiate_from_event per transaction, dry_run, prepared"

	batchClients = 4
	batchCalls   = 500 // in one statement
	batchCall    = "pgbench, 4 clients, 500 such calls in one statement"
)

// call returns the statement of the reference.
func (s *scratch) call(emitMode string) string { return "SELECT " + s.compose(emitMode) + ";" }

// batch returns a statement that makes so many calls.
func (s *scratch) batch(calls int) string {
	return fmt.Sprintf("SELECT pg_catalog.count(%s) FROM pg_catalog.generate_series(1, %d);", s.compose("dry_run"), calls)
}

// compose returns a call of the function for a new event.
func (s *scratch) compose(emitMode string) string {
	return fmt.Sprintf(`public.fn_iu_auto_instantiate_from_event(pg_catalog.gen_random_uuid(), 'bench.happened', `+
		`'%s', 'ref-' || pg_catalog.gen_random_uuid(), '%s', '%s', NULL)`, s.Template, emitMode, actor)
}

// measured is one measurement.
type measured struct {
	usage

	rate   float64
	events int
	memory []float64 // of the worker, in megabytes
}

// throughput measures drain and pipeline, and the worker's memory during them.
func (b *bench) throughput(ctx context.Context) error {
	s := b.main
	var drain, whole, byFunction, single, batches, live rates
	var memory []float64
	cfg, way := b.cfg.Worker, ""
	if cfg.ComposeBy == worker.ComposeByFunction {
		way = " by function"
	}
	measurements := []func(int) error{
		func(int) error { return single.take(b.calls(ctx, s, s.call("dry_run"), referenceClients, 1)) },
		func(int) error { return drain.take(b.through(ctx, s, cfg, toJobs, s.insertJobs)) },
		func(int) error {
			m, err := b.through(ctx, s, cfg, toEvents, s.insertRows)
			memory = append(memory, m.memory...) // drain's would include the making of its jobs
			return whole.take(m, err)
		},
		func(int) error {
			calls := max(1, min(batchCalls, b.cfg.Sizes.Events/batchClients))
			return batches.take(b.calls(ctx, s, s.batch(calls), batchClients, calls))
		},
		func(int) error { return live.take(b.calls(ctx, s, s.call("live"), referenceClients, 1)) },
	}
	if way == "" {
		function := cfg
		function.ComposeBy = worker.ComposeByFunction
		measurements = append(measurements, func(int) error {
			return byFunction.take(b.through(ctx, s, function, toEvents, s.insertRows))
		})
	}
	if _, err := b.calls(ctx, s, s.call("dry_run"), referenceClients, 1); err != nil { // warms the caches up
		return err
	}
	if err := b.alternate(ctx, b.cfg.Sizes.Repetitions, "drain, pipeline and their references", s.cleanUp, measurements...); err != nil {
		return err
	}
	const jobs, events = "jobs/s", "events/s"
	b.add(compare("drain"+way, jobs, drain.rate, referenceCall, single.rate),
		compare("drain"+way+" against batches", jobs, drain.rate, batchCall, batches.rate),
		compare("pipeline"+way, events, whole.rate, referenceCall, single.rate),
		compare("pipeline"+way+" against batches", events, whole.rate, batchCall, batches.rate))
	if way == "" {
		b.add(compare("pipeline by function", events, byFunction.rate, referenceCall, single.rate))
	}
	b.add(compare("pipeline"+way+", WAL", "B/event", whole.wal, referenceCall, single.wal), callsLive(live, single))
	b.memory("memory", memory)
	b.addCost("drain"+way, drain)
	b.addCost("pipeline"+way, whole)
	if way == "" {
		b.addCost("pipeline by function", byFunction)
	}
	b.addCost("pgbench, 32 clients", single)
	b.addCost("the same calls, live", live)
	b.addCost("500 calls in one statement", batches)
	return nil
}

// callsLive returns the line of the reference's calls in live.
func callsLive(live, dry rates) Measure {
	m := compare("call, live", "calls/s", live.rate, "the same calls as dry runs, which write no emission", dry.rate)
	m.Note = "what announcing costs a call: the reference of drain in live against itself"
	return m
}

// calls is one measurement of a reference, whose statement composes so many events. It returns an error if one of them was not
// composed.
func (b *bench) calls(ctx context.Context, s *scratch, statement string, clients, composes int) (m measured, err error) {
	before, err := s.count(ctx)
	if err != nil {
		return m, err
	}
	stop, err := b.watch(ctx, s)
	if err != nil {
		return m, err
	}
	limit := fmt.Sprintf("--transactions=%d", max(1, b.cfg.Sizes.Events/(clients*composes)))
	result, err := b.pgbench(ctx, s, statement, clients, limit)
	if err != nil {
		return m, err
	}
	m = measured{rate: result.rate * float64(composes), events: result.transactions * composes}
	if m.usage, err = stop(); err != nil {
		return m, err
	}
	after, err := s.count(ctx)
	if made := after.instances - before.instances; err == nil && made != m.events {
		err = fmt.Errorf("%d calls of the reference made %d instances", m.events, made)
	}
	return m, err
}

// through warms a worker up, and measures events from the commit that inserts them.
func (b *bench) through(
	ctx context.Context, s *scratch, cfg worker.Config, how whole, insert func(context.Context, int) error,
) (m measured, err error) {
	n := b.cfg.Sizes.Events
	before, err := s.count(ctx)
	if err != nil {
		return m, err
	}
	err = b.withWorkerAs(ctx, s, cfg, func() error {
		if err := s.walk(ctx, b.cfg.Sizes.Warmup, insert); err != nil {
			return err
		}
		debug.FreeOSMemory() // what was done before is not the worker's
		events, err := s.send(ctx, n, insert)
		if err != nil {
			return err
		}
		memory := watchMemory(ctx)
		stop, err := b.watch(ctx, s)
		if err == nil {
			err = s.await(ctx, events, how)
		}
		m = measured{rate: float64(n) / time.Since(events.at).Seconds(), events: n, memory: memory()}
		if err != nil {
			return err
		}
		if m.usage, err = stop(); err != nil {
			return err
		}
		return s.await(ctx, events, toEvents)
	})
	if err != nil {
		return m, err
	}
	return m, s.verify(ctx, before, b.cfg.Sizes.Warmup+n)
}
