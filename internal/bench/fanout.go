package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// fanout measures the time from the commit of an outbox row until the last subscriber has the event, with one subscriber and
// with many. Each runs subscribe.Run, with a connection that listens.
func (b *bench) fanout(ctx context.Context) error {
	s := b.main
	many, err := s.room(ctx, b.cfg.Sizes.Subscribers, b.cfg.PoolSize)
	if err != nil {
		return err
	}
	for _, n := range []int{1, many} {
		b.step("fan-out to %d subscribers", n)
		var took latencies
		if err := took.take(b.fanoutTo(ctx, s, n)); err != nil {
			return err
		}
		m := measure(fmt.Sprintf("fan-out to %d, p50", n), "ms", took.blocks(50))
		m.Note = "from the commit of the outbox row to the subscriber that got it last"
		if n > 1 && n < b.cfg.Sizes.Subscribers {
			m.Note += fmt.Sprintf("; max_connections leaves no room for %d", b.cfg.Sizes.Subscribers)
		}
		b.add(m, measure(fmt.Sprintf("fan-out to %d, p99", n), "ms", took.blocks(99)))
	}
	return nil
}

// room returns how many subscribers the server has room for, at most n.
func (s *scratch) room(ctx context.Context, n, poolSize int) (int, error) {
	var free int
	err := s.read(ctx, "read the number of free connections", []any{&free}, `
		SELECT pg_catalog.current_setting('max_connections')::integer
		     - pg_catalog.current_setting('superuser_reserved_connections')::integer
		     - COALESCE(pg_catalog.current_setting('reserved_connections', true), '0')::integer -- from PostgreSQL 16 on
		     - (SELECT pg_catalog.count(*)::integer FROM pg_catalog.pg_stat_activity AS a WHERE a.backend_type = 'client backend')`)
	const others = 20 // connections of other programs
	return max(2, min(n, free-poolSize-others)), err
}

// fanoutTo measures a block of events until the last of n subscribers has each.
func (b *bench) fanoutTo(ctx context.Context, s *scratch, n int) (block []time.Duration, err error) {
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), s.config(4))
	if err != nil {
		return nil, fmt.Errorf("open the subscribers' pool: %w", err)
	}
	defer pool.Close()
	err = b.withWorker(ctx, s, func() error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		subscribers, ctx := errgroup.WithContext(ctx)
		clock, began := newClock(n), make(chan struct{}, n)
		for range n {
			subscribers.Go(func() error {
				return subscribe.Run(ctx, subscribe.Config{
					Pool: pool, Logger: b.cfg.Logger, PollInterval: time.Minute,
					OnStart: func(subscribe.Cursor) { began <- struct{}{} },
				}, func(_ context.Context, event subscribe.Event) error {
					clock.hear(event.Data.EventID)
					return nil
				})
			})
		}
		for range n {
			select {
			case <-began:
			case <-ctx.Done():
				return errors.Join(ctx.Err(), subscribers.Wait())
			}
		}
		var failed error
		block, failed = clock.drip(ctx, b.cfg.Sizes.FanoutEvents, s.insertRow)
		cancel()
		return errors.Join(failed, subscribers.Wait())
	})
	return block, err
}
