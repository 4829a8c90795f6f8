package subscribe_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker/subscribe"
)

func serial(cfg subscribe.Config, handler subscribe.Handler) func(context.Context) error {
	return func(ctx context.Context) error { return subscribe.Run(ctx, cfg, handler) }
}

func TestOneProcessIsActiveAndAnotherTakesOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var first, second inbox
	started := make(chan string, 2)
	config := func(name string) subscribe.Config {
		return b.config(t, "mail", func(c *subscribe.Config) { c.OnStart = func(subscribe.Cursor) { started <- name } })
	}
	one := start(t, serial(config("one"), first.handle))
	require.Equal(t, "one", <-started)
	start(t, serial(config("two"), second.handle))
	keys := b.announce(t, 3)
	first.waitFor(t, keys...)
	require.NoError(t, one.stop())
	require.Equal(t, "two", <-started)
	more := b.announce(t, 3)
	second.waitFor(t, more...)
	require.Equal(t, keys, first.keys())
}

// A process that hangs does not renew its lease, and detects the loss late. Here another one takes the lease during a handler.
func TestProcessThatLostItsLeaseMovesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.announce(t, 1)
	called, ended := make(chan struct{}), make(chan struct{})
	var calls int
	handler := func(ctx context.Context, _ subscribe.Event) error {
		if calls++; calls == 1 {
			close(called)
			<-ctx.Done() // the handler ignores that its ctx has ended
			close(ended)
		}
		return nil
	}
	log, lines := logging(t)
	start(t, serial(b.config(t, "mail", func(c *subscribe.Config) { c.Logger = log }), handler))
	<-called
	b.Exec(t, "UPDATE iu_outbox.consumer_lease SET process = 'another', lease_until = now() + interval '30 minutes'")
	<-ended
	eventually(t, func() bool { return lines.Count("standing by") == 1 })
	require.Zero(t, value[int64](t, b, "SELECT position FROM iu_outbox.consumer"))
	b.Exec(t, "UPDATE iu_outbox.consumer_lease SET lease_until = now()")
	b.until(t, "SELECT position = 1 FROM iu_outbox.consumer")
}

func TestResetAndDeleteWhileItRuns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	keys := b.announce(t, 3)
	var in inbox
	r := start(t, serial(b.config(t, "index", func(c *subscribe.Config) { c.PollInterval = 5 * time.Millisecond }), in.handle))
	in.waitFor(t, keys...)
	b.until(t, "SELECT position = 3 FROM iu_outbox.consumer")

	at, err := subscribe.ResetConsumer(t.Context(), b.Pool, "index", subscribe.After(subscribe.Cursor{Position: 1}))
	require.NoError(t, err)
	require.EqualValues(t, 1, at.Position)
	require.NotEmpty(t, at.Epoch)
	in.waitFor(t, append(keys, keys[1:]...)...)

	require.ErrorIs(t, subscribe.DeleteConsumer(t.Context(), b.Pool, "index", false), subscribe.ErrConsumerActive)
	require.NoError(t, subscribe.DeleteConsumer(t.Context(), b.Pool, "index", true))
	require.ErrorIs(t, r.wait(t), subscribe.ErrNoConsumer)
}

func TestAdministrationOfConsumers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	none, err := subscribe.ListConsumers(ctx, b.Pool)
	require.NoError(t, err)
	require.Empty(t, none)
	_, err = subscribe.ResetConsumer(ctx, b.Pool, "mail", subscribe.Now())
	require.ErrorIs(t, err, subscribe.ErrNoConsumer)
	require.ErrorIs(t, subscribe.DeleteConsumer(ctx, b.Pool, "mail", true), subscribe.ErrNoConsumer)

	b.announce(t, 5)
	b.Exec(t, "UPDATE iu_outbox.emission SET emitted_at = now() - interval '1 hour' WHERE position = 3")
	var in inbox
	require.NoError(t, subscribe.Run(ctx, b.config(t, "mail", func(c *subscribe.Config) { c.Limit = 2 }), in.handle))
	list, err := subscribe.ListConsumers(ctx, b.Pool)
	require.NoError(t, err)
	require.Len(t, list, 1)
	mail := list[0]
	require.Equal(t, "mail", mail.Name)
	require.EqualValues(t, 2, mail.Cursor.Position)
	require.Equal(t, "ok", mail.State)
	require.EqualValues(t, 3, *mail.LagEvents)
	require.InDelta(t, 3600, *mail.LagSeconds, 60)
	require.Nil(t, mail.Process)
	require.WithinDuration(t, time.Now(), mail.ActiveAt, time.Minute)

	at, err := subscribe.ResetConsumer(ctx, b.Pool, "mail", subscribe.Now())
	require.NoError(t, err)
	require.EqualValues(t, 5, at.Position)
	_, err = subscribe.ResetConsumer(ctx, b.Pool, "mail", subscribe.After(subscribe.Cursor{Position: 6}))
	require.ErrorIs(t, err, subscribe.ErrBeyondEnd)

	r := start(t, serial(b.config(t, "mail"), in.handle))
	b.until(t, "SELECT process IS NOT NULL AND process_since IS NOT NULL FROM iu_outbox.consumer_status")
	require.NoError(t, r.stop())
	b.until(t, "SELECT process IS NULL FROM iu_outbox.consumer_status")
	require.NoError(t, subscribe.DeleteConsumer(ctx, b.Pool, "mail", false))
}

func TestWrongConfigurations(t *testing.T) {
	t.Parallel()
	b := setup(t)
	handler := func(context.Context, subscribe.Event) error { return nil }
	for name, change := range map[string]func(*subscribe.Config){
		"no pool":                  func(c *subscribe.Config) { c.Pool = nil },
		"after with a consumer":    func(c *subscribe.Config) { c.Consumer = "x"; c.From = subscribe.After(subscribe.Cursor{}) },
		"dead letters, no name":    func(c *subscribe.Config) { c.Retry.OnExhausted = subscribe.DeadLetter },
		"negative limit":           func(c *subscribe.Config) { c.Limit = -1 },
		"negative poll interval":   func(c *subscribe.Config) { c.PollInterval = -1 },
		"a name with a space":      func(c *subscribe.Config) { c.Consumer = "a b" },
		"a name that is too long":  func(c *subscribe.Config) { c.Consumer = string(make([]byte, 201)) },
		"a cursor beyond the end":  func(c *subscribe.Config) { c.From = subscribe.After(subscribe.Cursor{Position: 1}) },
		"a cursor of another base": func(c *subscribe.Config) { c.From = subscribe.After(subscribe.Cursor{Epoch: "00000000"}) },
	} {
		require.Error(t, subscribe.Run(t.Context(), b.config(t, "", change), handler), name)
	}
	err := subscribe.RunTx(t.Context(), b.config(t, ""), nil)
	require.ErrorContains(t, err, "Config.Consumer")
}
