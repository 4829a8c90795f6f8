package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/iu-core/iuworker/internal/operate/scaleout"
	iusql "github.com/iu-core/iuworker/sql"
)

const (
	million = 1_000_000
	alone   = "the same while nothing else happens"
)

// scaleout measures the latency of live events while a scale-out of a million jobs is enqueued and composed. Then it cancels the
// scale-out.
func (b *bench) scaleout(ctx context.Context) error {
	s := b.main
	if err := s.cleanUp(ctx); err != nil {
		return err
	}
	var quiet, during latencies
	n, repetitions := b.cfg.Sizes.LatencyEvents, min(b.cfg.Sizes.Repetitions, 3) // each ends with a clean-up
	err := b.alternate(ctx, repetitions, "latency during a scale-out", asItIs,
		func(int) error { return quiet.take(b.outboxLatency(ctx, s, n)) },
		func(i int) error { return during.take(b.duringScaleout(ctx, s, fmt.Sprint("bench-", i), n)) })
	if err != nil {
		return err
	}
	b.addLatency("during a scale-out, p%d", during, alone, quiet,
		"from the commit of an outbox row to the NOTIFY, 20 per second, while a scale-out of a million is enqueued and composed")
	return nil
}

// duringScaleout measures a block of events while a scale-out is enqueued and composed.
func (b *bench) duringScaleout(ctx context.Context, s *scratch, prefix string, n int) (block []time.Duration, err error) {
	scaling, stop := context.WithCancel(ctx)
	defer stop()
	began, ended := make(chan struct{}), make(chan error, 1)
	begin := sync.OnceFunc(func() { close(began) })
	go func() {
		_, err := scaleout.Start(scaling, scaleout.Config{
			Pool: s.Pool, Template: s.Template, Prefix: prefix, Count: million, Actor: actor,
			Progress: func(scaleout.Result) { begin() },
		})
		ended <- err
	}()
	select {
	case <-began:
		block, err = b.outboxLatency(ctx, s, n)
		stop()
		if scaleErr := <-ended; !errors.Is(scaleErr, context.Canceled) {
			err = errors.Join(err, scaleErr)
		}
	case err = <-ended:
	}
	if err != nil {
		return nil, fmt.Errorf("scale out: %w", err)
	}
	return block, s.emptyQueue(ctx)
}

// emptyQueue deletes the jobs that were not composed.
func (s *scratch) emptyQueue(ctx context.Context) error {
	if err := s.Exec(ctx, "empty the queue", "TRUNCATE "+iusql.JobTable); err != nil {
		return err
	}
	return s.cleanUp(ctx)
}
