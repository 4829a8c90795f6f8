package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/worker/subscribe"
)

const (
	eventsPerSecond = 20
	patience        = 10 * time.Second // for the last event
	bareRiver       = "a bare River with FetchCooldown 1 ms, inserting and working, whose job composes and notifies: commit of the job to NOTIFY"
	idleRiver       = "the same River, whose job only notifies"
)

// latency measures an idle system: from the commit of an outbox row to the NOTIFY at a subscriber.
func (b *bench) latency(ctx context.Context) error {
	s := b.main
	if err := s.settle(ctx); err != nil {
		return err
	}
	bare, err := newBareRiver(ctx, s)
	if err != nil {
		return err
	}
	var ours, theirs, idle latencies
	n := b.cfg.Sizes.LatencyEvents
	err = b.alternate(ctx, b.cfg.Sizes.Repetitions, fmt.Sprintf("latency at %d events per second", eventsPerSecond), asItIs,
		func(int) error { return ours.take(b.outboxLatency(ctx, s, n)) },
		func(int) error { return theirs.take(bare.latency(ctx, b.cfg.PoolSize, n, s.composeAndNotify())) },
		func(int) error { return idle.take(bare.latency(ctx, b.cfg.PoolSize, n, s.notify())) })
	if err != nil {
		return err
	}
	p50 := compare("latency, p50", "ms", ours.blocks(50), bareRiver, theirs.blocks(50), atMost(3, 2))
	p99 := compare("latency, p99", "ms", ours.blocks(99), bareRiver, theirs.blocks(99), atMost(5, 3))
	p99.Note = fmt.Sprintf("of all %d events together p50 %.2f, p99 %.2f ms; of the reference's p50 %.2f, p99 %.2f ms",
		len(ours.all), percentile(ours.all, 50), percentile(ours.all, 99), percentile(theirs.all, 50), percentile(theirs.all, 99))
	b.add(p50, p99,
		compare("latency, p50, not composing", "ms", ours.blocks(50), idleRiver, idle.blocks(50), nil),
		compare("latency, p99, not composing", "ms", ours.blocks(99), idleRiver, idle.blocks(99), nil))
	return nil
}

// latencies are the latencies of several blocks.
type latencies struct {
	each [][]time.Duration
	all  []time.Duration
}

func (l *latencies) take(block []time.Duration, err error) error {
	l.each = append(l.each, block)
	l.all = append(l.all, block...)
	return err
}

func (l *latencies) blocks(p float64) []float64 {
	values := make([]float64, len(l.each))
	for i, block := range l.each {
		values[i] = percentile(block, p)
	}
	return values
}

// outboxLatency is one block of ours.
func (b *bench) outboxLatency(ctx context.Context, s *scratch, n int) (block []time.Duration, err error) {
	err = b.withWorker(ctx, s, func() error {
		clock := newClock()
		stop, err := clock.listen(ctx, s.config(1).ConnConfig, subscribe.EventType, eventIDOf)
		if err != nil {
			return err
		}
		defer stop()
		block, err = clock.drip(ctx, n, s.insertRow)
		return err
	})
	return block, err
}

// insertRow inserts an event as an application does.
func (s *scratch) insertRow(ctx context.Context, id uuid.UUID) error {
	_, err := s.pool.Exec(ctx, `
		INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, actor)
		VALUES ($1, 'bench.happened', $2, $3, $4)`, id, s.template, "drip-"+id.String(), actor)
	if err != nil {
		return fmt.Errorf("insert an outbox row: %w", err)
	}
	return nil
}

// eventIDOf returns the id that the application gave an event, from the payload of its notification.
func eventIDOf(payload string) (uuid.UUID, bool) {
	var event struct {
		Data struct {
			EventID uuid.UUID `json:"event_id"`
		} `json:"data"`
	}
	err := json.Unmarshal([]byte(payload), &event)
	return event.Data.EventID, err == nil && event.Data.EventID != uuid.Nil
}

// clock measures the times from commits to notifications. Safe for concurrent use.
type clock struct {
	mu        sync.Mutex
	committed map[uuid.UUID]time.Time
	heard     map[uuid.UUID]time.Time
	news      chan struct{} // holds one
	failed    error
}

func newClock() *clock {
	return &clock{committed: map[uuid.UUID]time.Time{}, heard: map[uuid.UUID]time.Time{}, news: make(chan struct{}, 1)}
}

// hear notes when an id was heard first.
func (c *clock) hear(id uuid.UUID, err error) {
	now := time.Now()
	c.mu.Lock()
	if _, known := c.heard[id]; !known && err == nil {
		c.heard[id] = now
	}
	c.failed = errors.Join(c.failed, err)
	c.mu.Unlock()
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// listen hears notifications of a channel until stop.
func (c *clock) listen(ctx context.Context, cfg *pgx.ConnConfig, channel string, idOf func(string) (uuid.UUID, bool)) (stop func(), err error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to listen: %w", err)
	}
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		_ = conn.Close(ctx) // the error that matters is err
		return nil, fmt.Errorf("listen: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			notification, err := conn.WaitForNotification(ctx)
			if err != nil {
				if ctx.Err() == nil {
					c.hear(uuid.Nil, fmt.Errorf("wait for notifications: %w", err))
				}
				return
			}
			if id, ok := idOf(notification.Payload); ok {
				c.hear(id, nil)
			}
		}
	}()
	return func() {
		cancel()
		<-ended
		_ = conn.Close(context.WithoutCancel(ctx)) // it only listened
	}, nil
}

// drip calls say n times with a new id, twenty times per second, with jitter, and returns how long each id took to be heard. The
// first ten warm everything up and do not count.
func (c *clock) drip(ctx context.Context, n int, say func(context.Context, uuid.UUID) error) ([]time.Duration, error) {
	const warmup = 10
	ids := make([]uuid.UUID, 0, n+warmup)
	for range n + warmup {
		const interval = time.Second / eventsPerSecond
		if err := pause(ctx, interval/2+rand.N(interval)); err != nil { //nolint:gosec // jitter
			return nil, err
		}
		id := uuid.New()
		if err := say(ctx, id); err != nil {
			return nil, err
		}
		now := time.Now()
		c.mu.Lock()
		c.committed[id] = now
		c.mu.Unlock()
		ids = append(ids, id)
	}
	if err := c.all(ctx, ids); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var took []time.Duration
	for _, id := range ids[warmup:] {
		took = append(took, max(0, c.heard[id].Sub(c.committed[id]))) // an id may be heard before its insert returns
	}
	return took, nil
}

// all waits until all ids were heard.
func (c *clock) all(ctx context.Context, ids []uuid.UUID) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		c.mu.Lock()
		missing, failed := 0, c.failed
		for _, id := range ids {
			if _, ok := c.heard[id]; !ok {
				missing++
			}
		}
		c.mu.Unlock()
		if missing == 0 || failed != nil {
			return failed
		}
		select {
		case <-c.news:
		case <-timer.C:
			return fmt.Errorf("%d of %d events were not announced within %s", missing, len(ids), patience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
