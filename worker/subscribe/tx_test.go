package subscribe_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// effects creates a table that a transactional handler writes to. It accepts duplicates, so that a test can count them.
func (b *bundle) effects(t *testing.T) subscribe.TxHandler {
	t.Helper()
	b.Exec(t, "CREATE TABLE effect (n bigint GENERATED ALWAYS AS IDENTITY, position bigint NOT NULL)")
	return func(ctx context.Context, tx pgx.Tx, events []subscribe.Event) error {
		for _, e := range events {
			if _, err := tx.Exec(ctx, "INSERT INTO effect (position) VALUES ($1)", e.Cursor.Position); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestTransactionMovesTheCursorAsWell(t *testing.T) {
	t.Parallel()
	b := setup(t)
	handler := b.effects(t)
	b.announce(t, 3)
	var failures atomic.Int32
	cfg := b.config(t, "index")
	start(t, func(ctx context.Context) error {
		return subscribe.RunTx(ctx, cfg, func(ctx context.Context, tx pgx.Tx, events []subscribe.Event) error {
			if err := handler(ctx, tx, events); err != nil {
				return err
			}
			if failures.Add(1) <= 3 {
				return errors.New("after the effect")
			}
			return nil
		})
	})
	b.until(t, "SELECT position = 3 FROM iu_outbox.consumer")
	require.Equal(t, []int64{1, 2, 3}, value[[]int64](t, b, "SELECT array_agg(position ORDER BY n) FROM effect"))
}

func TestHandlerDoesNotEndTheTransaction(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.announce(t, 1)
	cfg := b.config(t, "index", func(c *subscribe.Config) { c.Retry.MaxTries = 1; c.Limit = 1 })
	for name, handler := range map[string]subscribe.TxHandler{
		"commit":   func(ctx context.Context, tx pgx.Tx, _ []subscribe.Event) error { return tx.Commit(ctx) },
		"rollback": func(ctx context.Context, tx pgx.Tx, _ []subscribe.Event) error { return tx.Rollback(ctx) },
		"a statement that failed, and nobody looked": func(ctx context.Context, tx pgx.Tx, _ []subscribe.Event) error {
			_, _ = tx.Exec(ctx, "SELECT 1 / 0")
			return nil
		},
	} {
		require.ErrorIs(t, subscribe.RunTx(t.Context(), cfg, handler), subscribe.ErrExhausted, name)
		require.Zero(t, value[int64](t, b, "SELECT position FROM iu_outbox.consumer"), name)
		b.Exec(t, "UPDATE iu_outbox.consumer SET tries = 0")
	}
	savepoint := func(ctx context.Context, tx pgx.Tx, _ []subscribe.Event) error {
		return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, "SELECT 1"); return err })
	}
	require.NoError(t, subscribe.RunTx(t.Context(), cfg, savepoint))
	require.EqualValues(t, 1, value[int64](t, b, "SELECT position FROM iu_outbox.consumer"))
}

func TestDeferredConstraintIsTheHandlersFault(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.announce(t, 1)
	b.Exec(t, "CREATE TABLE effect (key text UNIQUE DEFERRABLE INITIALLY DEFERRED)")
	cfg := b.config(t, "index", func(c *subscribe.Config) { c.Retry.MaxTries = 2 })
	err := subscribe.RunTx(t.Context(), cfg, func(ctx context.Context, tx pgx.Tx, _ []subscribe.Event) error {
		_, err := tx.Exec(ctx, "INSERT INTO effect VALUES ('a'), ('a')")
		return err
	})
	require.ErrorIs(t, err, subscribe.ErrExhausted)
	require.ErrorContains(t, err, "effect_key_key")
}

func TestTransactionAtHigherIsolation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	handler := b.effects(t)
	b.announce(t, 3)
	cfg := b.config(t, "index", func(c *subscribe.Config) { c.Limit = 3 })
	require.NoError(t, subscribe.RunTx(t.Context(), cfg, func(ctx context.Context, tx pgx.Tx, events []subscribe.Event) error {
		if _, err := tx.Exec(ctx, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"); err != nil {
			return err
		}
		return handler(ctx, tx, events)
	}))
	require.Equal(t, []int64{1, 2, 3}, value[[]int64](t, b, "SELECT array_agg(position ORDER BY n) FROM effect"))
}

// If two subscribers both believe that they are the active one, only one moves the cursor.
func TestTwoActiveProcessesHaveOneEffect(t *testing.T) {
	t.Parallel()
	b := setup(t)
	handler := b.effects(t)
	b.announce(t, 1)
	inside, release := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	slow := func(ctx context.Context, tx pgx.Tx, events []subscribe.Event) error {
		if calls.Add(1) == 1 {
			close(inside)
			<-release
		}
		return handler(context.WithoutCancel(ctx), tx, events)
	}
	log, lines := logging(t)
	one := start(t, func(ctx context.Context) error {
		return subscribe.RunTx(ctx, b.config(t, "index", func(c *subscribe.Config) { c.Logger = log }), slow)
	})
	<-inside
	first := value[string](t, b, "SELECT process FROM iu_outbox.consumer_lease")
	two := b.config(t, "index", func(c *subscribe.Config) { c.Limit = 1 })
	ended := make(chan error, 1)
	go func() { ended <- subscribe.RunTx(t.Context(), two, handler) }()
	eventually(t, func() bool {
		// The first may renew its lease before the second takes it.
		b.Exec(t, "UPDATE iu_outbox.consumer_lease SET lease_until = 'epoch', process = 'dead' WHERE process = $1", first)
		select {
		case err := <-ended:
			return assert.NoError(t, err)
		default:
			return false
		}
	})
	close(release)
	eventually(t, func() bool { return lines.Count("something else moved the cursor") == 1 })
	require.NoError(t, one.stop())
	require.Equal(t, []int64{1}, value[[]int64](t, b, "SELECT array_agg(position) FROM effect"))
}
