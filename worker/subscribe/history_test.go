package subscribe_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/pgserver"
	"github.com/iu-core/iuworker/worker/subscribe"
)

func at(epoch string, position int64) subscribe.Cursor {
	return subscribe.Cursor{Epoch: epoch, Position: position}
}

func (b *bundle) epoch(t *testing.T) string {
	t.Helper()
	return value[string](t, b, "SELECT epoch FROM iu_outbox.emission_counter")
}

// move makes it look as if the current epoch began on another server.
func (b *bundle) move(t *testing.T) {
	t.Helper()
	b.Exec(t, "UPDATE iu_outbox.epoch SET system_identifier = 1 WHERE epoch = (SELECT epoch FROM iu_outbox.emission_counter)")
}

// setBack deletes the events after a position, as a restore does.
func (b *bundle) setBack(t *testing.T, position int64) {
	t.Helper()
	b.Exec(t, "DELETE FROM iu_outbox.emission WHERE position > $1", position)
	b.Exec(t, "UPDATE iu_outbox.emission_counter SET position = $1", position)
}

func TestEpochBeginsWhereTheServerIsAnother(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.announce(t, 2)
	first := b.epoch(t)
	b.announce(t, 1)
	require.Equal(t, first, b.epoch(t), "nothing happened")
	for _, change := range []string{"system_identifier = 1", "timeline = 99", "database_oid = 1"} {
		before := b.epoch(t)
		b.Exec(t, "UPDATE iu_outbox.epoch SET "+change+" WHERE epoch = $1", before)
		b.announce(t, 1)
		require.NotEqual(t, before, b.epoch(t), change)
	}
	last := b.epoch(t)
	begun := value[string](t, b, "SELECT iu_outbox.begin_epoch()")
	require.NotEqual(t, last, begun)
	require.Equal(t, begun, b.epoch(t))

	// Nothing was lost: readers with cursors of all epochs continue, and get each later event once.
	var in inbox
	cfg := b.config(t, "", func(c *subscribe.Config) { c.From = subscribe.After(at(first, 2)); c.Limit = 4 })
	require.NoError(t, subscribe.Run(t.Context(), cfg, in.handle))
	require.Equal(t, first, in.all()[0].Cursor.Epoch)
	require.Equal(t, last, in.all()[3].Cursor.Epoch)
	require.EqualValues(t, 6, in.all()[3].Cursor.Position)
}

func TestCursorsOfLostHistory(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	b.announce(t, 10)
	first := b.epoch(t)
	b.setBack(t, 6)

	// The emitter has not yet detected it.
	_, err := subscribe.Resolve(ctx, b.Pool, subscribe.After(at(first, 8)))
	var beyond *subscribe.BeyondEndError
	require.ErrorAs(t, err, &beyond)
	require.Equal(t, at(first, 6), beyond.End)
	_, err = subscribe.Read(ctx, b.Pool, at(first, 8), subscribe.Filter{}, 10)
	var rewound *subscribe.RewoundError
	require.ErrorAs(t, err, &rewound, "a cursor that was read from here was lost")
	require.Equal(t, at(first, 6), rewound.CommonUntil)

	b.move(t)
	b.announce(t, 5)
	second := b.epoch(t)
	for position := range int64(12) {
		_, err := subscribe.Resolve(ctx, b.Pool, subscribe.After(at(first, position)))
		if position <= 6 {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, subscribe.ErrRewound)
		require.ErrorAs(t, err, &rewound)
		require.Equal(t, at(first, 6), rewound.CommonUntil)
		require.Equal(t, at(second, 11), rewound.End)
		require.ErrorContains(t, err, "history rewound")
	}
	_, err = subscribe.Resolve(ctx, b.Pool, subscribe.After(at("00000000", 1)))
	require.ErrorAs(t, err, &rewound)
	require.Empty(t, rewound.CommonUntil)
	require.Equal(t, at("00000000", 1), rewound.Cursor)

	page, err := subscribe.Read(ctx, b.Pool, at(first, 6), subscribe.Filter{}, 10)
	require.NoError(t, err)
	require.Len(t, page.Events, 5)
	require.Equal(t, at(second, 7), page.Events[0].Cursor)

	for _, c := range []subscribe.Cursor{{Position: 12}, at(second, 12)} {
		_, err = subscribe.Resolve(ctx, b.Pool, subscribe.After(c))
		require.ErrorIs(t, err, subscribe.ErrBeyondEnd)
		require.NotErrorIs(t, err, subscribe.ErrRewound)
	}
	bare, err := subscribe.Resolve(ctx, b.Pool, subscribe.After(subscribe.Cursor{Position: 7}))
	require.NoError(t, err)
	require.Equal(t, at(second, 7), bare)
}

// A running subscriber gets the error as well, with or without a name. A consumer that was set back together with the database
// is valid and continues.
func TestRunningSubscribersAreTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	keys := b.announce(t, 4)
	var alone, mail inbox
	runAlone := start(t, serial(b.config(t, "", func(c *subscribe.Config) { c.From = subscribe.Beginning() }), alone.handle))
	runMail := start(t, serial(b.config(t, "mail"), mail.handle))
	alone.waitFor(t, keys...)
	b.until(t, "SELECT position = 4 FROM iu_outbox.consumer")
	b.setBack(t, 2)
	require.ErrorIs(t, runAlone.wait(t), subscribe.ErrRewound)
	err := runMail.wait(t)
	require.ErrorIs(t, err, subscribe.ErrRewound)
	require.ErrorContains(t, err, `consumer "mail"`)

	list, err := subscribe.ListConsumers(t.Context(), b.Pool)
	require.NoError(t, err)
	require.Equal(t, "beyond_end", list[0].State)
	require.Nil(t, list[0].LagEvents)
	b.move(t)
	more := b.announce(t, 2)
	list, err = subscribe.ListConsumers(t.Context(), b.Pool)
	require.NoError(t, err)
	require.Equal(t, "rewound", list[0].State)

	var rewound *subscribe.RewoundError
	require.ErrorAs(t, subscribe.Run(t.Context(), b.config(t, "mail"), mail.handle), &rewound)
	_, err = subscribe.ResetConsumer(t.Context(), b.Pool, "mail", subscribe.After(rewound.CommonUntil))
	require.NoError(t, err)
	require.NoError(t, subscribe.Run(t.Context(), b.config(t, "mail", func(c *subscribe.Config) { c.Limit = 2 }), mail.handle))
	require.Equal(t, append(keys, more...), mail.keys())
}

// Events are announced after a dump, which is then restored to a new server.
func TestRestoreIntoANewServer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.announce(t, 3)
	mail := b.config(t, "mail", func(c *subscribe.Config) { c.Limit = 2 })
	require.NoError(t, subscribe.Run(t.Context(), mail, new(inbox).handle))
	dump := filepath.Join(t.TempDir(), "dump.sql")
	out, err := iutest.Program(t, "pg_dump", "--no-owner", "--no-privileges", b.URL)
	require.NoError(t, err)
	out = strings.Replace(out, "\nSET transaction_timeout = 0;\n", "\n", 1) // a newer pg_dump writes it, and PostgreSQL 16 has no such setting
	require.NoError(t, os.WriteFile(dump, []byte(out), 0o600))
	b.announce(t, 2) // the restore loses these
	first := b.epoch(t)

	server, err := pgserver.Start(t.Context(), pgserver.Config{TCP: true, Settings: map[string]string{"fsync": "off"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	_, err = iutest.Program(t, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", server.URL("postgres"), "-f", dump)
	require.NoError(t, err)
	pool, err := pgxpool.New(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	restored := &bundle{DB: &iutest.DB{URL: server.URL("postgres"), Pool: pool}, template: b.template}
	restored.composed.Store(100)

	// Cursors of events in the backup remain valid.
	keys := restored.announce(t, 3)
	var in inbox
	mail.Pool = pool
	mail.Limit = 4
	require.NoError(t, subscribe.Run(t.Context(), mail, in.handle))
	require.Equal(t, keys, in.keys()[1:])
	second := in.all()[3].Cursor
	require.NotEqual(t, first, second.Epoch)
	require.EqualValues(t, 6, second.Position)

	// A reader that is ahead of the backup gets an error with the point where the histories diverge.
	cfg := subscribe.Config{Pool: pool, From: subscribe.After(at(first, 5)), Logger: logger(t)}
	var rewound *subscribe.RewoundError
	require.ErrorAs(t, subscribe.Run(t.Context(), cfg, in.handle), &rewound)
	require.Equal(t, subscribe.RewoundError{Cursor: at(first, 5), CommonUntil: at(first, 3), End: second}, *rewound)
	require.NoError(t, os.Remove(dump))
}

func TestPrunedReadersAreTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	keys := b.announce(t, 10)
	b.Exec(t, "UPDATE iu_outbox.emission SET emitted_at = now() - interval '40 days' WHERE position <= 6")
	require.NoError(t, subscribe.Run(ctx, b.config(t, "slow", func(c *subscribe.Config) { c.Limit = 2 }), new(inbox).handle))
	b.Exec(t, "UPDATE iu_outbox.attendance SET grace = 0, ticked_at = now(), epoch = (SELECT epoch FROM iu_outbox.emission_counter)")
	prune := func(want int) {
		t.Helper()
		b.Exec(t, "SELECT iu_outbox.attend('30 days', '30 days')")
		require.Equal(t, want, value[int](t, b, "SELECT iu_outbox.prune_emissions('30 days', '30 days', 4)"))
	}
	prune(2) // an active consumer has not handled the rest
	prune(0)
	_, err := subscribe.Resolve(ctx, b.Pool, subscribe.After(subscribe.Cursor{Position: 2}))
	require.NoError(t, err)
	b.Exec(t, "UPDATE iu_outbox.attendance SET attended = attended + 31 * 86400")
	prune(4)
	prune(0) // the others are not old enough

	_, err = subscribe.Resolve(ctx, b.Pool, subscribe.After(subscribe.Cursor{Position: 5}))
	var pruned *subscribe.PrunedError
	require.ErrorAs(t, err, &pruned)
	require.Equal(t, at(b.epoch(t), 6), pruned.KeptAfter)
	err = subscribe.Run(ctx, b.config(t, "slow"), new(inbox).handle)
	require.ErrorIs(t, err, subscribe.ErrPruned)
	list, err := subscribe.ListConsumers(ctx, b.Pool)
	require.NoError(t, err)
	require.Equal(t, "pruned", list[0].State)

	var in inbox
	_, err = subscribe.ResetConsumer(ctx, b.Pool, "slow", subscribe.Beginning())
	require.NoError(t, err)
	require.NoError(t, subscribe.Run(ctx, b.config(t, "slow", func(c *subscribe.Config) { c.Limit = 4 }), in.handle))
	require.Equal(t, keys[6:], in.keys())

	b.Exec(t, "UPDATE iu_outbox.emission SET emitted_at = now() - interval '40 days'")
	prune(4)
	_, err = subscribe.Resolve(ctx, b.Pool, subscribe.After(subscribe.Cursor{Position: 9}))
	require.ErrorIs(t, err, subscribe.ErrPruned, "nothing is left")
	begin, err := subscribe.Resolve(ctx, b.Pool, subscribe.Beginning())
	require.NoError(t, err)
	require.EqualValues(t, 10, begin.Position)
	b.announce(t, 1)
	page, err := subscribe.Read(ctx, b.Pool, begin, subscribe.Filter{}, 5)
	require.NoError(t, err)
	require.EqualValues(t, 11, page.Events[0].Cursor.Position, "positions grow over pruning")
}

// Readers skip gaps that a person made. Only missing events at the beginning of the history count as pruned.
func TestHolesAreSteppedOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.announce(t, 6)
	b.Exec(t, "DELETE FROM iu_outbox.emission WHERE position IN (3, 4)")
	for position := range int64(6) {
		page, err := subscribe.Read(t.Context(), b.Pool, subscribe.Cursor{Position: position}, subscribe.Filter{}, 10)
		require.NoError(t, err)
		require.NotEmpty(t, page.Events)
		require.Greater(t, page.Events[0].Cursor.Position, position)
		require.EqualValues(t, 6, page.Next.Position)
	}
}

func TestSince(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	now := time.Now().Truncate(time.Second)
	none, err := subscribe.Resolve(ctx, b.Pool, subscribe.Since(now))
	require.NoError(t, err)
	require.Zero(t, none.Position)

	b.announce(t, 20)
	b.Exec(t, "UPDATE iu_outbox.emission SET emitted_at = $1::timestamptz - (21 - position) * interval '1 minute'", now)
	b.Exec(t, "DELETE FROM iu_outbox.emission WHERE position <= 3 OR position IN (7, 8, 9, 15)")
	for minutes := -1; minutes <= 25; minutes++ {
		since := now.Add(-time.Duration(minutes) * time.Minute)
		c, err := subscribe.Resolve(ctx, b.Pool, subscribe.Since(since))
		require.NoError(t, err)
		page, err := subscribe.Read(ctx, b.Pool, c, subscribe.Filter{}, 100)
		require.NoError(t, err)
		want := value[int](t, b, "SELECT count(*) FROM iu_outbox.emission WHERE emitted_at >= $1", since)
		require.Len(t, page.Events, want, "%d minutes", minutes)
	}
}

func TestRolledBackInstanceIsReplayedWithItsMark(t *testing.T) {
	t.Parallel()
	b := setup(t)
	keys := b.announce(t, 1, composing{Actor: "unlucky"})
	keys = append(keys, b.announce(t, 1)...)
	b.Exec(t, "SELECT fn_iu_auto_instantiate_rollback_by_actor('unlucky', false)")
	var in inbox
	cfg := b.config(t, "", func(c *subscribe.Config) { c.From = subscribe.Beginning(); c.Limit = 2 })
	require.NoError(t, subscribe.Run(t.Context(), cfg, in.handle))
	require.Equal(t, keys, in.keys())
	events := in.all()
	require.True(t, events[0].RolledBack())
	require.WithinDuration(t, time.Now(), events[0].RolledBackAt, time.Minute)
	require.False(t, events[1].RolledBack())
	var raw struct {
		RolledBackAt string `json:"rolledbackat"`
	}
	require.NoError(t, json.Unmarshal(events[0].JSON, &raw))
	require.NotEmpty(t, raw.RolledBackAt)
}

func TestCloudEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, "BEGIN; SELECT set_config('iu_outbox.traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 v=1', true); "+
		"SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'order.paid', '"+b.template.String()+"', 'traced', 'live', 'a'); COMMIT")
	b.emit(t)
	b.Exec(t, "SELECT fn_iu_auto_instantiate_rollback_by_actor('a', false)")
	page, err := subscribe.Read(t.Context(), b.Pool, subscribe.Cursor{}, subscribe.Filter{}, 1)
	require.NoError(t, err)
	event := page.Events[0]
	require.Equal(t, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", event.TraceParent)

	ce, err := event.CloudEvent()
	require.NoError(t, err)
	require.NoError(t, ce.Validate())
	require.Equal(t, subscribe.EventType, ce.Type())
	require.Equal(t, event.ID, ce.ID())
	require.Equal(t, event.Source, ce.Source())
	require.Equal(t, event.Subject, ce.Subject())
	require.True(t, event.Time.Equal(ce.Time()))
	require.EqualValues(t, 1, ce.Extensions()["position"])
	require.Equal(t, event.Cursor.String(), ce.Extensions()["cursor"])
	require.Equal(t, event.TraceParent, ce.Extensions()["traceparent"])
	require.Equal(t, "v=1", ce.Extensions()["tracestate"])
	require.NotEmpty(t, ce.Extensions()["rolledbackat"])
	var data subscribe.Data
	require.NoError(t, ce.DataAs(&data))
	require.Equal(t, event.Data, data)
}

func TestCloudEventOfALargePosition(t *testing.T) {
	t.Parallel()
	event, err := subscribe.ParseEvent([]byte(`{"specversion": "1.0", "id": "1", "source": "/x", "type": "t", "position": 3000000000,
		"cursor": "0a1b2c3d-3000000000", "data": {"piece_count": 3}}`))
	require.NoError(t, err)
	ce, err := event.CloudEvent()
	require.NoError(t, err)
	require.Equal(t, "3000000000", ce.Extensions()["position"])
	var data subscribe.Data
	require.NoError(t, ce.DataAs(&data))
	require.Equal(t, 3, data.PieceCount)
	_, err = subscribe.ParseEvent([]byte(`{"cursor": "seven"}`))
	require.ErrorIs(t, err, subscribe.ErrBadCursor)
}
