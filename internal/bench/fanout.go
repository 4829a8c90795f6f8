package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// fanout measures how long an event takes from the commit of the outbox row to the last of one and of many subscribers. Each
// subscriber is one of package subscribe, with a connection that listens.
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
		m := measure(fmt.Sprintf("fan-out to %d, p50", n), "ms", took.blocks(50), nil)
		m.Note = "from the commit of the outbox row to the subscriber that got it last"
		if n > 1 && n < b.cfg.Sizes.Subscribers {
			m.Note += fmt.Sprintf("; max_connections leaves no room for %d", b.cfg.Sizes.Subscribers)
		}
		b.add(m, measure(fmt.Sprintf("fan-out to %d, p99", n), "ms", took.blocks(99), nil))
	}
	return nil
}

// room returns how many subscribers the server has room for, at most n.
func (s *scratch) room(ctx context.Context, n, poolSize int) (int, error) {
	var free int
	err := s.pool.QueryRow(ctx, `
		SELECT pg_catalog.current_setting('max_connections')::integer
		     - pg_catalog.current_setting('superuser_reserved_connections')::integer
		     - (SELECT pg_catalog.count(*)::integer FROM pg_catalog.pg_stat_activity AS a WHERE a.backend_type = 'client backend')`).Scan(&free)
	if err != nil {
		return 0, fmt.Errorf("ask for free connections: %w", err)
	}
	const others = 20 // connections of other programs
	return max(2, min(n, free-poolSize-others)), nil
}

func (b *bench) fanoutTo(ctx context.Context, s *scratch, n int) (block []time.Duration, err error) {
	readers, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), s.config(4))
	if err != nil {
		return nil, fmt.Errorf("open the subscribers' pool: %w", err)
	}
	defer readers.Close()
	err = b.withWorker(ctx, s, func() (err error) {
		crowd := newCrowd(n)
		stop, err := crowd.gather(ctx, readers, b.cfg)
		defer func() { err = errors.Join(err, stop()) }()
		if err != nil {
			return err
		}
		block, err = crowd.clock.drip(ctx, b.cfg.Sizes.FanoutEvents, s.insertRow)
		return err
	})
	return block, err
}

// crowd is a number of subscribers to the same events.
type crowd struct {
	size  int
	clock *clock // hears an event when the last subscriber gets it

	mu   sync.Mutex
	have map[uuid.UUID]int
}

func newCrowd(n int) *crowd { return &crowd{size: n, clock: newClock(), have: map[uuid.UUID]int{}} }

func (c *crowd) got(id uuid.UUID) {
	c.mu.Lock()
	c.have[id]++
	all := c.have[id] == c.size
	c.mu.Unlock()
	if all {
		c.clock.hear(id, nil)
	}
}

// gather starts the subscribers and waits until all of them read. stop ends them, also if gather failed.
func (c *crowd) gather(ctx context.Context, pool *pgxpool.Pool, cfg Config) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, c.size)
	began := make(chan struct{}, c.size)
	stop = func() error {
		cancel()
		var failed error
		for range c.size {
			if err := <-ended; failed == nil {
				failed = err
			}
		}
		return failed
	}
	for range c.size {
		go func() {
			ended <- subscribe.Run(ctx, subscribe.Config{
				Pool: pool, Logger: cfg.Logger, PollInterval: time.Minute,
				OnStart: func(subscribe.Cursor) { began <- struct{}{} },
			}, func(_ context.Context, event subscribe.Event) error {
				c.got(event.Data.EventID)
				return nil
			})
		}()
	}
	for range c.size {
		select {
		case <-began:
		case err := <-ended:
			ended <- err
			return stop, err
		case <-ctx.Done():
			return stop, ctx.Err()
		}
	}
	return stop, nil
}
