package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/worker/subscribe"
)

const (
	eventsPerSecond = 20
	patience        = 10 * time.Second // for the last event
	bareRiver       = "a bare River with FetchCooldown 1 ms, inserting and working, whose job composes and notifies: commit of the job to NOTIFY"
	idleRiver       = "the same River, whose job only notifies"
)

// latency measures the time from the commit of an outbox row to the NOTIFY at a subscriber, on an idle system.
func (b *bench) latency(ctx context.Context) error {
	s := b.main
	if err := s.cleanUp(ctx); err != nil {
		return err
	}
	if err := s.migrateBareRiver(ctx); err != nil {
		return err
	}
	var ours, theirs, idle latencies
	n := b.cfg.Sizes.LatencyEvents
	err := b.alternate(ctx, b.cfg.Sizes.Repetitions, fmt.Sprintf("latency at %d events per second", eventsPerSecond), asItIs,
		func(int) error { return ours.take(b.outboxLatency(ctx, s, n)) },
		func(int) error { return theirs.take(s.bareLatency(ctx, b.cfg.PoolSize, n, s.composeAndNotify())) },
		func(int) error { return idle.take(s.bareLatency(ctx, b.cfg.PoolSize, n, bareNotify)) })
	if err != nil {
		return err
	}
	all, reference := slices.Concat(ours...), slices.Concat(theirs...)
	b.addLatency("latency, p%d", ours, bareRiver, theirs,
		fmt.Sprintf("of all %d events together p50 %.2f, p99 %.2f ms; of the reference's p50 %.2f, p99 %.2f ms",
			len(all), percentile(all, 50), percentile(all, 99), percentile(reference, 50), percentile(reference, 99)))
	b.addLatency("latency, p%d, not composing", ours, idleRiver, idle, "")
	return nil
}

// latencies are the latencies of several blocks of events.
type latencies [][]time.Duration

func (l *latencies) take(block []time.Duration, err error) error {
	*l = append(*l, block)
	return err
}

// blocks returns a percentile of each block.
func (l latencies) blocks(p float64) []float64 {
	values := make([]float64, len(l))
	for i, block := range l {
		values[i] = percentile(block, p)
	}
	return values
}

// addLatency adds the lines p50 and p99, whose name has a %d for the percentile, and a note to the second.
func (b *bench) addLatency(name string, ours latencies, reference string, theirs latencies, note string) {
	p50 := compare(fmt.Sprintf(name, 50), "ms", ours.blocks(50), reference, theirs.blocks(50))
	p99 := compare(fmt.Sprintf(name, 99), "ms", ours.blocks(99), reference, theirs.blocks(99))
	p99.Note = note
	b.add(p50, p99)
}

// outboxLatency measures a block of events through a worker.
func (b *bench) outboxLatency(ctx context.Context, s *scratch, n int) (block []time.Duration, err error) {
	err = b.withWorker(ctx, s, func() error {
		clock := newClock(1)
		stop, err := clock.listen(ctx, s.Config(1).ConnConfig, subscribe.EventType, eventIDOf)
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
	return s.Exec(ctx, "insert an outbox row", `
		INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, actor)
		VALUES ($1, 'bench.happened', $2, $3, $4)`, id, s.Template, "drip-"+id.String(), actor)
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
	listeners int // that must hear an event

	mu        sync.Mutex
	committed map[uuid.UUID]time.Time
	times     map[uuid.UUID]int       // how often an event was heard
	heard     map[uuid.UUID]time.Time // by the last listener
	failed    error
}

func newClock(listeners int) *clock {
	return &clock{
		listeners: listeners,
		committed: map[uuid.UUID]time.Time{}, times: map[uuid.UUID]int{}, heard: map[uuid.UUID]time.Time{},
	}
}

// hear notes when the last listener heard an event.
func (c *clock) hear(id uuid.UUID) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.times[id]++; c.times[id] == c.listeners {
		c.heard[id] = now
	}
}

func (c *clock) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = errors.Join(c.failed, err)
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
					c.fail(fmt.Errorf("wait for notifications: %w", err))
				}
				return
			}
			if id, ok := idOf(notification.Payload); ok {
				c.hear(id)
			}
		}
	}()
	return func() {
		cancel()
		<-ended
		_ = conn.Close(context.WithoutCancel(ctx)) // it only listened
	}, nil
}

// drip calls say n times with a new id, twenty times per second with jitter, and returns how long each id took to be heard.
// The first ten warm everything up and do not count.
func (c *clock) drip(ctx context.Context, n int, say func(context.Context, uuid.UUID) error) ([]time.Duration, error) {
	const warmup = 10
	ids := make([]uuid.UUID, 0, n+warmup)
	for range n + warmup {
		const interval = time.Second / eventsPerSecond
		if !retry.Pause(ctx, interval/2+rand.N(interval)) { //nolint:gosec // jitter
			return nil, ctx.Err()
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
	deadline := time.Now().Add(patience)
	for {
		missing, err := c.missing(ids)
		switch {
		case err != nil:
			return nil, err
		case missing > 0 && time.Now().After(deadline):
			return nil, fmt.Errorf("%d of %d events were not announced within %s", missing, len(ids), patience)
		case missing > 0 && !retry.Pause(ctx, 10*time.Millisecond):
			return nil, ctx.Err()
		case missing == 0:
			return c.took(ids[warmup:]), nil
		}
	}
}

// missing returns how many events were not heard, and the error that ended the listening.
func (c *clock) missing(ids []uuid.UUID) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if c.heard[id].IsZero() {
			n++
		}
	}
	return n, c.failed
}

func (c *clock) took(ids []uuid.UUID) (times []time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		times = append(times, max(0, c.heard[id].Sub(c.committed[id]))) // an id may be heard before its insert returns
	}
	return times
}
