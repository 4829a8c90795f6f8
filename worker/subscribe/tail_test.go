package subscribe_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// tail returns a tail of the test's database.
func (b *bundle) tail(t *testing.T, change ...func(*subscribe.TailConfig)) *subscribe.Tail {
	t.Helper()
	cfg := subscribe.TailConfig{Pool: b.Pool, Logger: logger(t)}
	for _, c := range change {
		c(&cfg)
	}
	tail, err := subscribe.NewTail(cfg)
	require.NoError(t, err)
	t.Cleanup(tail.Stop)
	return tail
}

func follow(t *testing.T, tail *subscribe.Tail, from subscribe.Start, filter ...subscribe.Filter) *subscribe.Follower {
	t.Helper()
	filter = append(filter, subscribe.Filter{})
	f, err := tail.Follow(t.Context(), from, filter[0])
	require.NoError(t, err)
	t.Cleanup(f.Close)
	return f
}

// take returns a follower's next n events.
func take(t *testing.T, f *subscribe.Follower, n int) (events []*subscribe.Event) {
	t.Helper()
	for len(events) < n {
		more, err := f.Next(t.Context(), patience)
		require.NoError(t, err)
		require.NotEmpty(t, more, "after %d of %d", len(events), n)
		events = append(events, more...)
	}
	require.Len(t, events, n)
	return events
}

func subjects(events []*subscribe.Event) (keys []string) {
	for _, e := range events {
		keys = append(keys, e.Subject)
	}
	return keys
}

func TestFollowersStartWhereTheySay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tail := b.tail(t)
	keys := b.announce(t, 3)
	moment := value[time.Time](t, b, "SELECT clock_timestamp()")
	keys = append(keys, b.announce(t, 2)...)
	now := follow(t, tail, subscribe.Now())
	require.Equal(t, at(b.epoch(t), 5), now.Cursor())
	for name, test := range map[string]struct {
		from  subscribe.Start
		after int
	}{
		"beginning":  {subscribe.Beginning(), 0},
		"position":   {subscribe.After(subscribe.Cursor{Position: 1}), 1},
		"cursor":     {subscribe.After(at(b.epoch(t), 2)), 2},
		"time":       {subscribe.Since(moment), 3},
		"the end":    {subscribe.After(at(b.epoch(t), 5)), 5},
		"as a place": {subscribe.After(subscribe.Cursor{Position: 5}), 5},
	} {
		f := follow(t, tail, test.from)
		require.Equal(t, at(b.epoch(t), int64(test.after)), f.Cursor(), name)
		if test.after < 5 {
			require.Equal(t, keys[test.after:], subjects(take(t, f, 5-test.after)), name)
		}
		none, err := f.Next(t.Context(), time.Millisecond)
		require.NoError(t, err)
		require.Empty(t, none, name)
	}
	require.Equal(t, b.announce(t, 2), subjects(take(t, now, 2)))
	require.Equal(t, at(b.epoch(t), 7), now.Cursor())
}

func TestFollowIsRefusedWhereTheHistoryDoesNotHoldTheCursor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tail := b.tail(t)
	b.announce(t, 5)
	b.Exec(t, "DELETE FROM iu_outbox.emission WHERE position <= 2")
	for cursor, want := range map[subscribe.Cursor]error{
		{Position: 6}:     subscribe.ErrBeyondEnd,
		at("00000000", 5): subscribe.ErrRewound,
		{Position: 1}:     subscribe.ErrPruned,
		{Position: 2}:     nil,
	} {
		f, err := tail.Follow(t.Context(), subscribe.After(cursor), subscribe.Filter{})
		if want == nil {
			require.NoError(t, err, cursor)
			f.Close()
			continue
		}
		require.ErrorIs(t, err, want, cursor)
	}
	require.Zero(t, tail.Followers(), "those that were refused are not counted")
}

// With a ring of any size and many writers, followers that leave and return with their cursors miss no event and get all of them
// in order.
func TestFollowersMissNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.announce(t, 1) // the epoch of this copy of the database begins
	const writers, each, followers = 4, 30, 8
	for _, keep := range []int{1, 7, 4096} {
		tail := b.tail(t, func(c *subscribe.TailConfig) { c.Keep, c.Replays = keep, 2 })
		first := value[int64](t, b, "SELECT position FROM iu_outbox.emission_counter")
		last := first + writers*each
		var wg sync.WaitGroup
		for n := range writers {
			wg.Go(func() { b.write(t, fmt.Sprintf("w-%d-%d", keep, n), each) })
		}
		for n := range followers {
			wg.Go(func() {
				var filter subscribe.Filter
				if n%2 == 0 {
					filter.Actors = []string{"billing"} // the actor of all events
				}
				followInPieces(t, tail, b.epoch(t), first, last, filter)
			})
		}
		wg.Wait()
		tail.Stop()
	}
}

// write composes and announces in transactions of different sizes, and rolls some back.
func (b *bundle) write(t *testing.T, name string, n int) {
	for i := 0; i < n; {
		tx, err := b.Pool.Begin(t.Context())
		if !assertNoError(t, err) {
			return
		}
		size, keep := min(1+rand.IntN(5), n-i), rand.IntN(4) > 0
		for k := range size {
			_, err = tx.Exec(t.Context(), composeSQL, "order.paid", b.template, fmt.Sprintf("%s-%d", name, i+k), "billing")
			assertNoError(t, err)
		}
		if !keep {
			assertNoError(t, tx.Rollback(t.Context()))
			continue
		}
		assertNoError(t, tx.Commit(t.Context()))
		_, err = b.Pool.Exec(t.Context(), "SELECT iu_outbox.emit(500)")
		assertNoError(t, err)
		i += size
	}
	for left := true; left; { // another emitter may still hold emissions
		err := b.Pool.QueryRow(t.Context(), `
			SELECT EXISTS (SELECT FROM iu_outbox.emission WHERE position IS NULL) FROM iu_outbox.emit(500)`).Scan(&left)
		if !assertNoError(t, err) {
			return
		}
	}
}

func followInPieces(t *testing.T, tail *subscribe.Tail, epoch string, first, last int64, filter subscribe.Filter) {
	for position := first; position < last; {
		f, err := tail.Follow(t.Context(), subscribe.After(at(epoch, position)), filter)
		if !assertNoError(t, err) {
			return
		}
		for until := position + rand.Int64N(60); position < last && position <= until; {
			events, err := f.Next(t.Context(), patience)
			if !assertNoError(t, err) {
				break
			}
			for _, e := range events {
				position++
				if e.Cursor.Position != position {
					t.Errorf("got position %d, not %d", e.Cursor.Position, position)
				}
			}
		}
		f.Close()
		if t.Failed() {
			return
		}
	}
}

// The filter in Go selects the same events as the filter in SQL.
func TestTheTailsFilterIsTheDatabases(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := b.Template(t, "tpl:other", 1)
	lists := func(values ...string) [][]string {
		return [][]string{nil, {values[0]}, {values[1]}, values, {"nobody"}}
	}
	tail := b.tail(t)
	var filters []subscribe.Filter
	var live []*subscribe.Follower
	for _, templates := range lists("TPL:OTHER", b.template.String(), "tpl:other") {
		for _, actors := range lists("shop", "billing") {
			for _, types := range lists("order.sent", "order.paid") {
				filter := subscribe.Filter{Templates: templates, Actors: actors, EventTypes: types}
				filters = append(filters, filter)
				live = append(live, follow(t, tail, subscribe.Now(), filter))
			}
		}
	}
	b.announce(t, 2)
	b.announce(t, 1, composing{Template: other, Actor: "shop", EventType: "order.sent"})
	b.announce(t, 1, composing{Template: other})
	b.announce(t, 1, composing{Actor: "shop"})
	b.announce(t, 1, composing{EventType: "order.sent"})
	for i, filter := range filters {
		page, err := subscribe.Read(t.Context(), b.Pool, at(b.epoch(t), 0), filter, 100)
		require.NoError(t, err)
		var want []string
		for _, e := range page.Events {
			want = append(want, e.Subject)
		}
		require.Equal(t, want, subjects(take(t, live[i], len(want))), filter)
	}
}

// A follower that reads from the database gets RolledBackAt, even if the rollback was after the tail had read the event.
func TestFollowersSeeTheMarkOfARollback(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tail := b.tail(t)
	first := follow(t, tail, subscribe.Now())
	b.announce(t, 3)
	for _, e := range take(t, first, 3) {
		require.False(t, e.RolledBack())
	}
	b.Exec(t, "SELECT public.fn_iu_auto_instantiate_rollback_by_actor('billing', false)")
	again := follow(t, tail, subscribe.After(subscribe.Cursor{Position: 1}))
	for _, e := range take(t, again, 2) {
		require.True(t, e.RolledBack())
		require.Contains(t, string(e.JSON), `"rolledbackat"`)
	}
}

func TestFollowersOfALostHistoryAreTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tail := b.tail(t)
	all := follow(t, tail, subscribe.Now())
	nobodys := follow(t, tail, subscribe.Now(), subscribe.Filter{Actors: []string{"nobody"}})
	behind := follow(t, tail, subscribe.Beginning())
	b.announce(t, 5)
	take(t, all, 5)
	first := b.epoch(t)
	b.setBack(t, 3)
	b.move(t)
	more := b.announce(t, 1)

	var rewound *subscribe.RewoundError
	_, err := all.Next(t.Context(), patience)
	require.ErrorAs(t, err, &rewound)
	require.Equal(t, at(first, 3), rewound.CommonUntil)
	require.Equal(t, at(b.epoch(t), 4), rewound.End)
	none, err := nobodys.Next(t.Context(), time.Millisecond)
	require.Empty(t, none)
	if err != nil { // the follower had read an event that was lost
		require.ErrorIs(t, err, subscribe.ErrRewound)
	}
	// A follower that had not read lost events continues in the new history.
	require.Equal(t, more, subjects(take(t, behind, 4)[3:]))
	require.Equal(t, b.announce(t, 1), subjects(take(t, behind, 1)))
}

func TestFollowersOutliveLostConnections(t *testing.T) {
	t.Parallel()
	b := setup(t)
	cfg := b.Pool.Config()
	cfg.ConnConfig.RuntimeParams["application_name"] = "tail"
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	tail := b.tail(t, func(c *subscribe.TailConfig) { c.Pool = pool })
	live := follow(t, tail, subscribe.Now())
	replay := follow(t, tail, subscribe.Beginning())
	var keys []string
	for range 5 {
		keys = append(keys, b.announce(t, 3)...)
		b.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'tail'`)
	}
	require.Equal(t, keys, subjects(take(t, live, len(keys))))
	require.Equal(t, keys, subjects(take(t, replay, len(keys))))
}

// A tail without followers closes its listening connection and stops polling. The next follower starts it again.
func TestATailWithoutFollowersCostsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const listening = "SELECT count(*) = $1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'listen %'"
	tail := b.tail(t, func(c *subscribe.TailConfig) { c.Linger, c.PollInterval = 50*time.Millisecond, 10*time.Millisecond })
	for range 3 {
		f := follow(t, tail, subscribe.Now())
		b.until(t, listening, 1)
		require.Equal(t, b.announce(t, 1), subjects(take(t, f, 1)))
		f.Close()
		f.Close()
		require.Zero(t, tail.Followers())
		b.until(t, listening, 0)
	}
}

func TestStopEndsFollowers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tail := b.tail(t)
	f := follow(t, tail, subscribe.Now())
	ended := make(chan error, 1)
	go func() {
		_, err := f.Next(context.Background(), patience)
		ended <- err
	}()
	tail.Stop()
	tail.Stop()
	require.ErrorIs(t, <-ended, subscribe.ErrTailStopped)
	_, err := tail.Follow(t.Context(), subscribe.Now(), subscribe.Filter{})
	require.ErrorIs(t, err, subscribe.ErrTailStopped)

	_, err = subscribe.NewTail(subscribe.TailConfig{})
	require.ErrorContains(t, err, "Pool is required")
	_, err = subscribe.NewTail(subscribe.TailConfig{Pool: b.Pool, Keep: -1})
	require.ErrorContains(t, err, "must not be negative")
	never, err := subscribe.NewTail(subscribe.TailConfig{Pool: b.Pool})
	require.NoError(t, err)
	never.Stop()
}
