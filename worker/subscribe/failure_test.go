package subscribe_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker/subscribe"
)

var errPoison = errors.New("cannot digest this")

// picky is a handler that fails for the events that a test chooses.
type picky struct {
	inbox
	mu       sync.Mutex
	dislikes map[string]bool
	failures int
	batches  []int
}

func dislike(keys ...string) *picky {
	p := &picky{dislikes: make(map[string]bool)}
	for _, k := range keys {
		p.dislikes[k] = true
	}
	return p
}

func (p *picky) like() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dislikes = nil
}

func (p *picky) failed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failures
}

func (p *picky) handleAll(_ context.Context, events []subscribe.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.batches = append(p.batches, len(events))
	for _, e := range events {
		if p.dislikes[e.Subject] {
			p.failures++
			return errPoison
		}
	}
	p.add(events...)
	return nil
}

func (p *picky) handle(ctx context.Context, event subscribe.Event) error {
	return p.handleAll(ctx, []subscribe.Event{event})
}

func TestFailuresAreTriedAgainInOrderAndVisible(t *testing.T) {
	t.Parallel()
	b := setup(t)
	keys := b.announce(t, 3)
	p := dislike(keys[1])
	start(t, serial(b.config(t, "mail"), p.handle))
	eventually(t, func() bool { return p.failed() >= 3 })
	require.Equal(t, keys[:1], p.keys())
	b.until(t, `SELECT position = 1 AND tries >= 3 AND last_error = 'cannot digest this' AND lag_events = 2
		AND last_error_at IS NOT NULL FROM iu_outbox.consumer_status`)
	p.like()
	p.waitFor(t, keys...)
	b.until(t, "SELECT position = 3 AND tries = 0 AND last_error IS NULL FROM iu_outbox.consumer")
}

func TestBatchThatFailsIsTriedEventByEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	keys := b.announce(t, 5)
	p := dislike(keys[2])
	cfg := b.config(t, "mail")
	start(t, func(ctx context.Context) error { return subscribe.RunBatch(ctx, cfg, p.handleAll) })
	p.waitFor(t, keys[:2]...)
	p.like()
	p.waitFor(t, keys...)
	more := b.announce(t, 3)
	p.waitFor(t, append(keys, more...)...)
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Equal(t, []int{5, 1, 1}, p.batches[:3])
	require.Contains(t, p.batches[3:], 3, "together again")
}

func TestMaxTriesEndsRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	keys := b.announce(t, 2)
	for _, consumer := range []string{"", "mail"} {
		p := dislike(keys[1])
		cfg := b.config(t, consumer, func(c *subscribe.Config) {
			c.From = subscribe.Beginning()
			c.Retry.MaxTries = 3
		})
		err := subscribe.Run(t.Context(), cfg, p.handle)
		var exhausted *subscribe.ExhaustedError
		require.ErrorAs(t, err, &exhausted)
		require.ErrorIs(t, err, subscribe.ErrExhausted)
		require.ErrorIs(t, err, errPoison)
		require.Equal(t, 3, exhausted.Tries)
		require.EqualValues(t, 2, exhausted.Cursor.Position)
		require.Equal(t, 3, p.failed())
	}
	require.EqualValues(t, 1, value[int64](t, b, "SELECT position FROM iu_outbox.consumer"))
}

func deadLettering(c *subscribe.Config) {
	c.Retry.MaxTries = 2
	c.Retry.OnExhausted = subscribe.DeadLetter
}

func TestDeadLettersAreKeptListedAndReplayed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	keys := b.announce(t, 4)
	p := dislike(keys[1], keys[2])
	start(t, serial(b.config(t, "mail", deadLettering), p.handle))
	p.waitFor(t, keys[0], keys[3])
	b.until(t, "SELECT dead_letters = 2 AND position = 4 AND tries = 0 FROM iu_outbox.consumer_status")

	letters, err := subscribe.ListDeadLetters(ctx, b.Pool, "mail", 10)
	require.NoError(t, err)
	require.Len(t, letters, 2)
	require.Equal(t, keys[1], letters[0].Event.Subject)
	require.Equal(t, letters[0].Event.Cursor, letters[0].Cursor)
	require.Equal(t, 2, letters[0].Tries)
	require.Equal(t, "cannot digest this", letters[0].Error)
	require.ErrorIs(t, subscribe.DeleteConsumer(ctx, b.Pool, "none", false), subscribe.ErrNoConsumer)

	// A replay before the cause is fixed keeps the dead letter, with one more try.
	n, err := subscribe.ReplayDeadLetters(ctx, b.Pool, "mail", letters[0].ID)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	b.until(t, "SELECT tries = 3 AND replay_requested_at IS NULL FROM iu_outbox.consumer_dead_letter WHERE id = $1", letters[0].ID)

	// The replay gets the event as it is now.
	b.Exec(t, "SELECT fn_iu_auto_instantiate_rollback_by_actor('billing', false)")
	p.like()
	n, err = subscribe.ReplayDeadLetters(ctx, b.Pool, "mail", letters[1].ID)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	p.waitFor(t, keys[0], keys[3], keys[2])
	replayed := p.all()[2]
	require.True(t, replayed.Replayed)
	require.True(t, replayed.RolledBack())
	require.False(t, p.all()[1].Replayed)
	b.until(t, "SELECT count(*) = 1 FROM iu_outbox.consumer_dead_letter")

	n, err = subscribe.DropDeadLetters(ctx, b.Pool, "mail")
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

func TestDeadLettersOfTransactions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, "CREATE TABLE effect (n int GENERATED ALWAYS AS IDENTITY, key text UNIQUE)")
	keys := b.announce(t, 3)
	b.Exec(t, "INSERT INTO effect (key) VALUES ($1)", keys[1]) // conflicts with the effect of the handler
	cfg := b.config(t, "index", deadLettering)
	start(t, func(ctx context.Context) error {
		return subscribe.RunTx(ctx, cfg, func(ctx context.Context, tx pgx.Tx, events []subscribe.Event) error {
			for _, e := range events {
				if _, err := tx.Exec(ctx, "INSERT INTO effect (key) VALUES ($1)", e.Subject); err != nil {
					return err
				}
			}
			return nil
		})
	})
	b.until(t, "SELECT dead_letters = 1 AND position = 3 FROM iu_outbox.consumer_status")
	b.Exec(t, "DELETE FROM effect WHERE key = $1", keys[1])
	n, err := subscribe.ReplayDeadLetters(t.Context(), b.Pool, "index")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	b.until(t, "SELECT count(*) = 0 FROM iu_outbox.consumer_dead_letter")
	require.Equal(t, []string{keys[0], keys[2], keys[1]}, value[[]string](t, b, "SELECT array_agg(key ORDER BY n) FROM effect"))
	require.ErrorIs(t, subscribe.DeleteConsumer(t.Context(), b.Pool, "index", false), subscribe.ErrConsumerActive)
}

func TestPanicIsAFailure(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.announce(t, 1)
	log, lines := logging(t)
	cfg := b.config(t, "mail", func(c *subscribe.Config) { c.Retry.MaxTries = 2; c.Logger = log })
	err := subscribe.Run(t.Context(), cfg, func(context.Context, subscribe.Event) error { panic("oh no") })
	var panicked *subscribe.PanicError
	require.ErrorAs(t, err, &panicked)
	require.Equal(t, "oh no", panicked.Value)
	require.Contains(t, panicked.Stack, "TestPanicIsAFailure")
	require.Equal(t, 1, lines.Count("the handler panicked: oh no"))
}
