package subscribe_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// storm describes what happens to a history while subscribers read it.
type storm struct {
	Writers  [][]writing // the transactions of each session
	Emitters int
	Emit     int // emissions per call
	Kills    int // of sessions, chosen at random
	Restarts int // of subscribers
	MaxBatch int
}

// writing describes a transaction that composes.
type writing struct {
	Instances int
	Hold      int // for how many calls of emitters it stays open
	RollBack  bool
}

func drawStorm(t *rapid.T) storm {
	transaction := rapid.Custom(func(t *rapid.T) writing {
		return writing{
			Instances: rapid.IntRange(1, 4).Draw(t, "instances"),
			Hold:      rapid.SampledFrom([]int{0, 0, 0, 3, 30}).Draw(t, "hold"),
			RollBack:  rapid.IntRange(0, 3).Draw(t, "roll back") == 0,
		}
	})
	return storm{
		Writers:  rapid.SliceOfN(rapid.SliceOfN(transaction, 5, 15), 3, 6).Draw(t, "writers"),
		Emitters: rapid.IntRange(1, 3).Draw(t, "emitters"),
		Emit:     rapid.IntRange(1, 20).Draw(t, "emit"),
		Kills:    rapid.IntRange(0, 25).Draw(t, "kills"),
		Restarts: rapid.IntRange(0, 4).Draw(t, "restarts"),
		MaxBatch: rapid.IntRange(1, 20).Draw(t, "max batch"),
	}
}

// Sessions are killed, several emitters run, and transactions stay open. All the same, each subscriber gets all live instances
// in the order of their positions, and a transactional consumer has each effect once.
func TestEverySubscriberSeesEveryInstance(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		weather := drawStorm(rt)
		t.Logf("%+v", weather)
		w := &world{bundle: setup(t), storm: weather}
		w.run(t)
	})
}

// world is a database during a storm.
type world struct {
	*bundle
	storm storm
	emits atomic.Int64 // calls of emitters so far
}

func (w *world) run(t *testing.T) {
	effects := w.effects(t)
	var alone, plain inbox
	watch := w.subscribers(t, func(ctx context.Context) error {
		return subscribe.Run(ctx, w.config(t, "", w.patient, func(c *subscribe.Config) { c.From = subscribe.Beginning() }), alone.handle)
	}, 1)
	mail := w.subscribers(t, func(ctx context.Context) error {
		return subscribe.RunBatch(ctx, w.config(t, "plain", w.patient), func(_ context.Context, events []subscribe.Event) error {
			plain.add(events...)
			return nil
		})
	}, 2)
	index := w.subscribers(t, func(ctx context.Context) error {
		return subscribe.RunTx(ctx, w.config(t, "tx", w.patient), effects)
	}, 2)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var emitters, writers, disasters sync.WaitGroup
	for range w.storm.Emitters {
		emitters.Go(func() { w.emitter(ctx) })
	}
	for _, transactions := range w.storm.Writers {
		writers.Go(func() { w.writer(ctx, transactions) })
	}
	disasters.Go(func() { w.kill(ctx, t) })
	disasters.Go(func() {
		for range w.storm.Restarts {
			w.hold(ctx, 20)
			mail.restart(t)
			index.restart(t)
		}
	})
	writers.Wait()
	disasters.Wait()
	w.Pool.Reset() // drops the connections of the pool that were killed
	w.until(t, "SELECT count(*) = 0 FROM iu_outbox.emission WHERE position IS NULL")
	cancel()
	emitters.Wait()
	w.check(t, &alone, &plain)
	for _, group := range []*group{watch, mail, index} {
		group.stop(t)
	}
}

func (w *world) patient(c *subscribe.Config) {
	c.MaxBatch = w.storm.MaxBatch
	c.PollInterval = 20 * time.Millisecond // the listener may be killed
}

func (w *world) check(t *testing.T, alone, plain *inbox) {
	t.Helper()
	end := value[int64](t, w.bundle, "SELECT position FROM iu_outbox.emission_counter")
	keys := value[[]string](t, w.bundle, "SELECT COALESCE(array_agg(event ->> 'subject' ORDER BY position), '{}') FROM iu_outbox.emission")
	require.EqualValues(t, len(keys), end, "positions have no gaps")
	require.Len(t, keys, value[int](t, w.bundle, "SELECT count(*)::int FROM iu_auto_instantiate_event_log"), "each instance has one")
	for _, consumer := range []string{"plain", "tx"} {
		w.until(t, "SELECT position = $2 FROM iu_outbox.consumer WHERE name = $1", consumer, end)
	}
	eventually(t, func() bool { return len(alone.all()) >= len(keys) })
	if len(keys) == 0 {
		return // all transactions were rolled back
	}
	require.Equal(t, keys, alone.keys())
	require.Equal(t, keys, firstOf(plain.keys()))
	effects := value[[]int64](t, w.bundle, "SELECT array_agg(position ORDER BY n) FROM effect")
	require.Len(t, effects, len(keys), "once each")
	for i, position := range effects {
		require.EqualValues(t, i+1, position)
	}
}

func firstOf(keys []string) []string {
	seen := make(map[string]bool)
	var first []string
	for _, k := range keys {
		if !seen[k] {
			seen[k] = true
			first = append(first, k)
		}
	}
	return first
}

func (w *world) emitter(ctx context.Context) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		_, _ = w.Pool.Exec(ctx, "SELECT iu_outbox.emit($1)", w.storm.Emit) // if it is killed, the next call emits
		w.emits.Add(1)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// hold waits for that many calls of emitters.
func (w *world) hold(ctx context.Context, calls int) {
	until := w.emits.Load() + int64(calls)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for w.emits.Load() < until && ctx.Err() == nil {
		<-tick.C
	}
}

// writer runs the transactions of a session. It does not retry one that a kill ended.
func (w *world) writer(ctx context.Context, transactions []writing) {
	for _, how := range transactions {
		tx, err := w.Pool.Begin(ctx)
		if err != nil {
			continue
		}
		for range how.Instances {
			var status string
			_ = tx.QueryRow(ctx, composeSQL, "order.paid", w.template, uniqueSuffix(w.composed.Add(1)), "billing").Scan(&status)
		}
		w.hold(ctx, how.Hold)
		if how.RollBack {
			_ = tx.Rollback(ctx)
		} else {
			_ = tx.Commit(ctx)
		}
	}
}

// kill terminates random sessions: those of writers, emitters, listeners, leases and handlers.
func (w *world) kill(ctx context.Context, t *testing.T) {
	conn, err := pgx.Connect(ctx, w.URL)
	if !assertNoError(t, err) {
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for range w.storm.Kills {
		w.hold(ctx, rand.IntN(15))
		_, err := conn.Exec(ctx, `
			SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity AS a
			WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
			ORDER BY random() LIMIT 1`)
		assertNoError(t, err)
	}
}

// group is the processes of one subscriber.
type group struct {
	run func(context.Context) error
	mu  sync.Mutex
	all []*running
}

func (w *world) subscribers(t *testing.T, run func(context.Context) error, n int) *group {
	t.Helper()
	g := &group{run: run}
	for range n {
		g.all = append(g.all, start(t, run))
	}
	return g
}

// restart ends one of the processes, and starts another.
func (g *group) restart(t *testing.T) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := rand.IntN(len(g.all))
	assertNoError(t, g.all[i].stop())
	g.all[i] = start(t, g.run)
}

func (g *group) stop(t *testing.T) {
	t.Helper()
	for _, r := range g.all {
		require.NoError(t, r.stop())
	}
}
