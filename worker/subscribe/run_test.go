package subscribe_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker/subscribe"
)

func TestDeliversInOrderAndWakesByTheDoorbell(t *testing.T) {
	t.Parallel()
	b := setup(t)
	early := b.announce(t, 3)
	var in inbox
	cfg := b.config(t, "", func(c *subscribe.Config) {
		c.From = subscribe.Beginning()
		c.PollInterval = time.Hour // later events arrive only by notification
	})
	r := start(t, func(ctx context.Context) error { return subscribe.Run(ctx, cfg, in.handle) })
	in.waitFor(t, early...)
	b.until(t, `SELECT EXISTS (SELECT FROM pg_stat_activity
		WHERE datname = current_database() AND query LIKE 'listen "iu.template.instance_auto_composed"%')`)
	late := b.announce(t, 3)
	in.waitFor(t, append(early, late...)...)
	require.NoError(t, r.stop())

	event := in.all()[0]
	require.Equal(t, b.template, event.Data.TemplateCollectionID)
	require.Equal(t, "tpl:invoice", event.Data.TemplateKey)
	require.Equal(t, "order.paid", event.Data.EventType)
	require.Equal(t, "billing", event.Data.Actor)
	require.Equal(t, 1, event.Data.PieceCount)
	require.Equal(t, event.ID, event.Data.InstanceCollectionID.String())
	require.EqualValues(t, 1, event.Cursor.Position)
	require.Equal(t, value[string](t, b, "SELECT epoch FROM iu_outbox.emission_counter"), event.Cursor.Epoch)
	require.False(t, event.RolledBack())
	require.NotContains(t, string(event.JSON), "\n")
	require.WithinDuration(t, time.Now(), event.Time, time.Hour)
}

func TestStartsNowWithoutAName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.announce(t, 2)
	var in inbox
	started := make(chan subscribe.Cursor, 1)
	cfg := b.config(t, "", func(c *subscribe.Config) { c.OnStart = func(at subscribe.Cursor) { started <- at } })
	start(t, func(ctx context.Context) error { return subscribe.Run(ctx, cfg, in.handle) })
	require.EqualValues(t, 2, (<-started).Position)
	in.waitFor(t, b.announce(t, 1)...)
}

func TestNamedConsumerBeginsAtTheBeginningAndResumes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	keys := b.announce(t, 5)
	var in inbox
	limited := b.config(t, "mail", func(c *subscribe.Config) { c.Limit = 2 })
	require.NoError(t, subscribe.Run(t.Context(), limited, in.handle))
	require.Equal(t, keys[:2], in.keys())
	require.EqualValues(t, 2, value[int64](t, b, "SELECT position FROM iu_outbox.consumer WHERE name = 'mail'"))
	require.NoError(t, subscribe.Run(t.Context(), limited, in.handle))
	require.Equal(t, keys[:4], in.keys())
	start(t, func(ctx context.Context) error { return subscribe.Run(ctx, b.config(t, "mail"), in.handle) })
	in.waitFor(t, keys...)
	b.until(t, "SELECT position = 5 FROM iu_outbox.consumer WHERE name = 'mail'")
}

func TestStopEndsRunAndLeavesTheCursor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	keys := b.announce(t, 2)
	broken := errors.New("broken pipe")
	handler := func(_ context.Context, e subscribe.Event) error {
		if e.Subject == keys[1] {
			return subscribe.Stop(broken)
		}
		return nil
	}
	require.ErrorIs(t, subscribe.Run(t.Context(), b.config(t, "cli"), handler), broken)
	require.EqualValues(t, 1, value[int64](t, b, "SELECT position FROM iu_outbox.consumer"))
	require.NoError(t, subscribe.Stop(nil))
}
