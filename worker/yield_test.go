package worker

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/internal/retry"
)

func TestShareGrowsWithTheWait(t *testing.T) {
	t.Parallel()
	for lag, share := range map[time.Duration]float64{
		-time.Second: leastShare, 0: leastShare, 30 * time.Second: leastShare, 45 * time.Second: 0.5,
		54 * time.Second: 0.8, time.Minute: 1, time.Hour: 1,
	} {
		require.InDelta(t, share, shareFor(lag, time.Minute), 1e-9, lag)
	}
}

// Jobs that River has fetched all get their turn within half of their timeout, however many they are.
func TestLongestRestLeavesJobsTime(t *testing.T) {
	t.Parallel()
	rest := func(concurrency, lanes int, yield time.Duration) time.Duration {
		return longestRest(Config{Concurrency: concurrency, Lanes: lanes, Yield: yield})
	}
	require.Equal(t, 5*time.Second, rest(500, 4, time.Minute))
	require.Equal(t, time.Second, rest(500, 4, 4*time.Second))
	require.Equal(t, 3*time.Second, rest(500, 1, time.Minute))
	require.Equal(t, 600*time.Millisecond, rest(10_000, 4, time.Minute))
}

func TestHeldUp(t *testing.T) {
	t.Parallel()
	steady := func(rate float64) (r recent) {
		for range slotsToProbe {
			r = append(r, rate)
		}
		return r
	}
	lump := steady(0)
	lump[0] = 100_000
	for name, test := range map[string]struct {
		usual  float64
		atRest recent
		heldUp bool
	}{
		"slower than at rest":        {usual: 1000, atRest: steady(4000), heldUp: true},
		"at its own pace":            {usual: 1000, atRest: steady(1000)},
		"hardly slower":              {usual: 800, atRest: steady(1000)},
		"one transaction of many":    {usual: 1000, atRest: lump},
		"few rows":                   {usual: 10, atRest: steady(busyRate - 1)},
		"not looked at long enough":  {usual: 1000, atRest: steady(4000)[1:]},
		"nothing was seen of a rest": {usual: 1000},
	} {
		s := slots{atRest: test.atRest}
		require.Equal(t, test.heldUp, s.heldUp(test.usual), name)
	}
}

func TestTurnsWaitForTheEndOfARest(t *testing.T) {
	t.Parallel()
	y := newYielder(Config{Metrics: metrics.New(metrics.Config{})})
	begun := make(chan func())
	begin := func(stop <-chan struct{}) {
		go func() { begun <- y.turn(stop) }()
	}
	waits := func() {
		t.Helper()
		require.Never(t, func() bool {
			select {
			case <-begun:
				return true
			default:
				return false
			}
		}, 50*time.Millisecond, 10*time.Millisecond)
	}

	y.rest()
	require.True(t, y.resting())
	begin(nil)
	waits()
	y.work()
	(<-begun)()
	require.False(t, y.resting())

	stop := make(chan struct{})
	y.rest()
	begin(stop)
	waits()
	close(stop) // who stops does not wait
	done := <-begun

	idle := make(chan struct{})
	go func() {
		y.untilIdle(t.Context())
		close(idle)
	}()
	done()
	<-idle

	begin(nil)
	y.end()
	(<-begun)()
	y.rest() // comes too late
	require.False(t, y.resting())
	y.turn(nil)()
}

// Room is made for producers that insert more while the process rests, for as long as they do.
func TestMakesRoomForProducersThatItHoldsUp(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]func(held, stopped *atomic.Bool){
		"until they are not held up any more": func(held, _ *atomic.Bool) { held.Store(false) },
		"until they stop":                     func(_, stopped *atomic.Bool) { stopped.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			y := newYielder(Config{
				Pool: db.Pool, Yield: time.Hour, Concurrency: 500, ScaleoutConcurrency: 200, Lanes: 4,
				Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(metrics.Config{}),
			})
			ctx, cancel := context.WithCancel(t.Context())
			g := newGroup(ctx)
			defer g.end()
			defer cancel()
			var held, stopped atomic.Bool
			held.Store(true)
			g.wg.Go(func() { _ = y.run(ctx) })
			g.wg.Go(func() { workAllTheTime(ctx, y) })
			g.wg.Go(func() { produce(t, ctx, db, y, &held, &stopped) })
			makesRoom := func(yes bool) {
				t.Helper()
				require.Eventually(t, func() bool {
					return (y.rows(turnRows+1) == turnRows) == yes
				}, time.Minute, 5*time.Millisecond)
			}
			makesRoom(true)
			require.Eventually(t, y.resting, time.Minute, time.Millisecond)
			then(&held, &stopped)
			makesRoom(false)
			require.Eventually(t, func() bool { return !y.resting() }, time.Minute, time.Millisecond)
		})
	}
}

// The role of workers may look, and sees rows that are not committed yet.
func TestLooksAsAWorker(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	cfg := db.Pool.Config()
	cfg.ConnConfig.RuntimeParams["role"] = "iu_worker"
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	defer pool.Close()
	y := newYielder(Config{Pool: pool})
	before, err := y.look(t.Context())
	require.NoError(t, err)
	tx, err := db.Pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()
	_, err = tx.Exec(t.Context(), `
		INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
		SELECT 'happened', $1, n::text FROM pg_catalog.generate_series(1, 7) AS n`, uuid.Nil)
	require.NoError(t, err)
	after, err := y.look(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 7, after.rows-before.rows)
	require.Positive(t, rate(before, after))
}

// workAllTheTime is a relay that finds ever more rows.
func workAllTheTime(ctx context.Context, y *yielder) {
	for ctx.Err() == nil {
		done := y.turn(ctx.Done())
		retry.Pause(ctx, 5*time.Millisecond) // the work
		y.stirred(1000)
		done()
	}
}

// produce inserts as fast as it can, and, while it is held up, a few rows during the turns.
func produce(t *testing.T, ctx context.Context, db *iutest.DB, y *yielder, held, stopped *atomic.Bool) {
	t.Helper()
	for ctx.Err() == nil && !stopped.Load() {
		if held.Load() && !y.quiet() {
			retry.Pause(ctx, 10*time.Millisecond) // as long as some inserts take
		}
		_, _ = db.Pool.Exec(ctx, `
			INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
			SELECT 'happened', $1, n::text FROM pg_catalog.generate_series(1, 20) AS n`, uuid.Nil)
	}
}

// quiet reports whether no turn is under way.
func (y *yielder) quiet() bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.working == 0
}
