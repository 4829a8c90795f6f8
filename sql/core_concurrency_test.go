package iusql_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

const sessions = 24

// all makes all calls at the same moment, each in its own session, and returns their answers by status.
func (c core) all(t *testing.T, calls []call) map[string][]answer {
	t.Helper()
	var lock sync.Mutex
	got := map[string][]answer{}
	atOnce(len(calls), func(i int) {
		one, err := calls[i].in(t.Context(), c.Pool)
		if err != nil {
			t.Errorf("call %+v: %v", calls[i], err)
		}
		lock.Lock()
		defer lock.Unlock()
		got[one.Status] = append(got[one.Status], one)
	})
	return got
}

func TestOneKeyComposesOnce(t *testing.T) {
	t.Parallel()
	eachCore(t, func(t *testing.T, c core) {
		c.OpenGates(t)
		template := c.Template(t, "kit", 12)
		for round := range 10 {
			calls := make([]call, sessions)
			event := uuid.New()
			for i := range calls {
				calls[i] = call{event, template, fmt.Sprint("order-", round), []string{"live", "dry_run"}[i%2], "shop"}
			}
			got := c.all(t, calls)
			require.Len(t, got["instantiated"], 1, "%v", got)
			require.Len(t, got["idempotent_replay"], sessions-1, "%v", got)
			for _, replay := range got["idempotent_replay"] {
				require.Equal(t, got["instantiated"][0].InstanceCollectionID, replay.InstanceCollectionID)
			}
		}
		require.Equal(t, 10, c.written(t).EventLog)
		c.consistent(t)
	})
}

func TestOneInstanceKeyGoesToOneEvent(t *testing.T) {
	t.Parallel()
	eachCore(t, func(t *testing.T, c core) {
		c.OpenGates(t)
		templates := []uuid.UUID{c.Template(t, "kit", 3), c.Template(t, "box", 3)}
		for round := range 10 {
			calls := make([]call, sessions)
			for i := range calls {
				calls[i] = call{uuid.New(), templates[i%2], fmt.Sprint("order-", round), "live", "shop"}
			}
			got := c.all(t, calls)
			require.Len(t, got["instantiated"], 1, "%v", got)
			require.Len(t, got["instance_key_conflict"], sessions-1, "%v", got)
		}
		require.Equal(t, 10, c.written(t).EventLog)
		c.consistent(t)
	})
}

// A call waits for another one with its key or instance key, and then depends on how that one ended.
func TestCallsOfOneKeyTakeTurns(t *testing.T) {
	t.Parallel()
	for _, try := range []struct {
		name      string
		sameEvent bool
		commit    bool
		want      string
	}{
		{"same key, committed", true, true, "idempotent_replay"},
		{"same key, rolled back", true, false, "instantiated"},
		{"same instance key, committed", false, true, "instance_key_conflict"},
		{"same instance key, rolled back", false, false, "instantiated"},
	} {
		t.Run(try.name, func(t *testing.T) {
			t.Parallel()
			c := newCore(t, baselineSQL, instantiateSQL)
			c.OpenGates(t)
			one := call{uuid.New(), c.Template(t, "kit", 3), "order-1", "live", "shop"}
			two := one
			if !try.sameEvent {
				two.event = uuid.New()
			}
			tx := c.begin(t)
			first, err := one.in(t.Context(), tx)
			require.NoError(t, err)
			require.Equal(t, "instantiated", first.Status)
			second := later(func() (answer, error) { return two.in(t.Context(), c.Pool) })
			iutest.WaitBlocked(t, c.DB, 1)
			if try.commit {
				require.NoError(t, tx.Commit(t.Context()))
			} else {
				require.NoError(t, tx.Rollback(t.Context()))
			}
			got := <-second
			require.NoError(t, got.err)
			require.Equal(t, try.want, got.Status)
			require.Equal(t, 1, c.written(t).EventLog)
			c.consistent(t)
		})
	}
}

// An open call does not block calls with other suffixes, even of its template.
func TestCallsOfOtherKeysDoNotWait(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	c.OpenGates(t)
	args := call{uuid.New(), c.Template(t, "kit", 3), "order-1", "live", "shop"}
	tx := c.begin(t)
	_, err := args.in(t.Context(), tx)
	require.NoError(t, err)
	args.suffix = "order-2"
	c.must(t, "instantiated", args)
}

// A replay that meets a rollback waits for it, and never names an instance that the rollback deletes.
func TestReplayWaitsForARollback(t *testing.T) {
	t.Parallel()
	for committed, want := range map[bool]string{true: "instantiated", false: "idempotent_replay"} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			c := newCore(t, baselineSQL, instantiateSQL)
			c.OpenGates(t)
			args := call{uuid.New(), c.Template(t, "kit", 3), "order-1", "live", "shop"}
			first := c.must(t, "instantiated", args)
			tx := c.begin(t)
			back, err := rollBack(t.Context(), tx, "shop", false)
			require.NoError(t, err)
			require.Equal(t, "rolled_back", back.Status)
			replay := later(func() (answer, error) { return args.in(t.Context(), c.Pool) })
			iutest.WaitBlocked(t, c.DB, 1)
			if committed {
				require.NoError(t, tx.Commit(t.Context()))
			} else {
				require.NoError(t, tx.Rollback(t.Context()))
			}
			got := <-replay
			require.NoError(t, got.err)
			require.Equal(t, want, got.Status)
			require.Equal(t, committed, *got.InstanceCollectionID != *first.InstanceCollectionID)
			c.consistent(t)
		})
	}
}

// While the transaction of a replay is open, a rollback does not delete the instance that the replay returned.
func TestRollbackWaitsForAReplay(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	c.OpenGates(t)
	args := call{uuid.New(), c.Template(t, "kit", 3), "order-1", "live", "shop"}
	c.must(t, "instantiated", args)
	tx := c.begin(t)
	replay, err := args.in(t.Context(), tx)
	require.NoError(t, err)
	require.Equal(t, "idempotent_replay", replay.Status)
	back := later(func() (answer, error) { return rollBack(t.Context(), c.Pool, "shop", false) })
	iutest.WaitBlocked(t, c.DB, 1)
	var there bool
	require.NoError(t, tx.QueryRow(t.Context(),
		"SELECT EXISTS (SELECT FROM iu_piece_collection WHERE id = $1)", replay.InstanceCollectionID).Scan(&there))
	require.True(t, there)
	require.NoError(t, tx.Commit(t.Context()))
	got := <-back
	require.NoError(t, got.err)
	require.Equal(t, counts{1, 1, 3, 1}, got.Counts)
}

// Several sessions repeat the same few events while their actor is rolled back repeatedly.
func TestRollbackWhileItsEventsAreComposed(t *testing.T) {
	t.Parallel()
	eachCore(t, func(t *testing.T, c core) {
		c.OpenGates(t)
		template := c.Template(t, "kit", 5)
		events := make([]call, 6)
		for i := range events {
			events[i] = call{uuid.New(), template, fmt.Sprint("order-", i), "live", "shop"}
		}
		events[4].suffix = events[5].suffix // two events want one instance key
		var working atomic.Int32
		var composed, deleted atomic.Int64
		const composers = 8
		working.Store(composers)
		atOnce(composers+2, func(i int) {
			if i >= composers {
				for working.Load() > 0 {
					got, err := rollBack(t.Context(), c.Pool, "shop", false)
					if err != nil || got.Status != "rolled_back" || got.Counts.Collection != got.Counts.EventLog {
						t.Errorf("rollback: %+v, %v", got, err)
					}
					deleted.Add(int64(got.Counts.Collection))
				}
				return
			}
			defer working.Add(-1)
			for range 150 {
				got, err := callAndFind(t.Context(), c, events[rand.IntN(len(events))])
				if err != nil {
					t.Errorf("compose: %v", err)
				}
				if got.Status == "instantiated" {
					composed.Add(1)
				}
			}
		})
		c.consistent(t)
		require.Equal(t, composed.Load()-deleted.Load(), int64(c.written(t).EventLog))
		require.Positive(t, deleted.Load())
	})
}

// callAndFind calls, and then reads, in the same transaction, the instance that the answer names.
func callAndFind(ctx context.Context, c core, args call) (got answer, err error) {
	err = pgx.BeginFunc(ctx, c.Pool, func(tx pgx.Tx) error {
		if got, err = args.in(ctx, tx); err != nil {
			return err
		}
		switch got.Status {
		case "instantiated", "idempotent_replay":
			var there bool
			err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM iu_piece_collection WHERE id = $1)", got.InstanceCollectionID).Scan(&there)
			if err == nil && !there {
				err = fmt.Errorf("%s names an instance that is not there", got.Status)
			}
			return err
		case "instance_key_conflict":
			return nil
		}
		return fmt.Errorf("answered %+v", got)
	})
	return got, err
}

// A caller at a higher isolation level may have to retry, and never composes twice.
func TestHigherIsolationRetries(t *testing.T) {
	t.Parallel()
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			c := newCore(t, baselineSQL, instantiateSQL)
			c.OpenGates(t)
			args := call{uuid.New(), c.Template(t, "kit", 3), "order-1", "live", "shop"}
			tx, err := c.Pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: level})
			require.NoError(t, err)
			_, err = tx.Exec(t.Context(), "SELECT count(*) FROM iu_piece_collection") // takes the snapshot
			require.NoError(t, err)
			first := c.must(t, "instantiated", args)
			_, err = args.in(t.Context(), tx)
			require.ErrorContains(t, err, "40001")
			require.NoError(t, tx.Rollback(t.Context()))
			require.Equal(t, first.InstanceCollectionID, c.must(t, "idempotent_replay", args).InstanceCollectionID)
			c.consistent(t)
		})
	}
}
