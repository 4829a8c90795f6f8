package subscribe_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// restore sets the database back to a position, with its consumers and effects, and adds n other events. It does so in one
// transaction, because clients see only the result of a restore. newEpoch says whether a new epoch begins.
func (b *bundle) restore(t *testing.T, position int64, n int, newEpoch bool) {
	t.Helper()
	require.NoError(t, pgx.BeginFunc(t.Context(), b.Pool, func(tx pgx.Tx) error {
		for _, sql := range []string{
			"DELETE FROM iu_outbox.emission WHERE position > $1",
			"UPDATE iu_outbox.emission_counter SET position = $1",
			`UPDATE iu_outbox.consumer SET position = $1, last_event_id = (
				SELECT e.instance_collection_id FROM iu_outbox.emission AS e WHERE e.position = $1) WHERE position > $1`,
			"DELETE FROM effect WHERE position > $1",
		} {
			if _, err := tx.Exec(t.Context(), sql, position); err != nil {
				return err
			}
		}
		if newEpoch {
			if _, err := tx.Exec(t.Context(), "UPDATE iu_outbox.epoch SET timeline = 99"); err != nil {
				return err
			}
		}
		for range n {
			_, err := tx.Exec(t.Context(), `SELECT fn_iu_auto_instantiate_from_event(
				gen_random_uuid(), 'e', $1, gen_random_uuid()::text, 'live', 'another history')`, b.template)
			if err != nil {
				return err
			}
		}
		_, err := tx.Exec(t.Context(), "SELECT iu_outbox.emit(500)")
		return err
	}))
}

func withEffects(t *testing.T) *bundle {
	t.Helper()
	b := setup(t)
	b.Exec(t, "CREATE TABLE effect (position bigint, id text)")
	return b
}

func effect(ctx context.Context, tx pgx.Tx, events []subscribe.Event) error {
	for _, e := range events {
		if _, err := tx.Exec(ctx, "INSERT INTO effect VALUES ($1, $2)", e.Cursor.Position, e.ID); err != nil {
			return err
		}
	}
	return nil
}

func TestRunningSubscribersAreToldOfARewind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		grown    int
		newEpoch bool
	}{
		"shorter now":                            {0, false},
		"shorter now, in a new epoch":            {1, true},
		"of the same length":                     {3, false},
		"of the same length, in a new epoch":     {3, true},
		"longer than before":                     {7, false},
		"longer than before, in a new epoch":     {7, true},
		"much longer than before, page by page ": {150, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := withEffects(t)
			keys := b.announce(t, 6)
			var alone, mail, batch, standby inbox
			fromBeginning := b.config(t, "", func(c *subscribe.Config) { c.From = subscribe.Beginning() })
			runs := map[string]*running{
				"alone": start(t, serial(fromBeginning, alone.handle)),
				"mail":  start(t, serial(b.config(t, "mail"), mail.handle)),
				"batch": start(t, func(ctx context.Context) error {
					return subscribe.RunBatch(ctx, b.config(t, "batch"), func(_ context.Context, events []subscribe.Event) error {
						batch.add(events...)
						return nil
					})
				}),
			}
			mail.waitFor(t, keys...)
			b.until(t, "SELECT position = 6 FROM iu_outbox.consumer WHERE name = 'mail'")
			log, said := logging(t)
			runs["standby"] = start(t, serial(b.config(t, "mail", func(c *subscribe.Config) { c.Logger = log }), standby.handle))
			txLog, txSaid := logging(t)
			tx := start(t, func(ctx context.Context) error {
				return subscribe.RunTx(ctx, b.config(t, "tx", func(c *subscribe.Config) { c.Logger = txLog }), effect)
			})
			alone.waitFor(t, keys...)
			batch.waitFor(t, keys...)
			b.until(t, "SELECT count(*) = 3 FROM iu_outbox.consumer WHERE position = 6")
			eventually(t, func() bool { return said.Count("standing by") == 1 })

			b.restore(t, 3, test.grown, test.newEpoch)
			for who, run := range runs {
				err := run.wait(t)
				require.ErrorIs(t, err, subscribe.ErrRewound, who)
				require.ErrorContains(t, err, "history rewound", who)
			}
			require.Equal(t, keys, alone.keys(), "nothing of the other history was given to those who know this one")
			require.Equal(t, keys, mail.keys())
			require.Equal(t, keys, batch.keys())
			require.Empty(t, standby.keys())

			// Effects in the database were set back with it. The consumer continues, and each event has its effect once.
			b.until(t, "SELECT count(*) = $1 FROM effect", 3+test.grown)
			eventually(t, func() bool { return txSaid.Count("the consumer with all of its effects") == 1 })
			require.NoError(t, tx.stop())
			require.True(t, value[bool](t, b, `
				SELECT bool_and(e.instance_collection_id::text = f.id) FROM effect AS f JOIN iu_outbox.emission AS e USING (position)`))

			// After a restart they continue after the cursors in their rows.
			if test.grown > 0 {
				var again inbox
				require.NoError(t, subscribe.Run(t.Context(), b.config(t, "mail", func(c *subscribe.Config) { c.Limit = test.grown }), again.handle))
				require.EqualValues(t, 4, again.all()[0].Cursor.Position)
			}
		})
	}
}

// Changes of a consumer by people or other processes, a new epoch, and retention do not count as a rewind.
func TestWhatIsNoRewind(t *testing.T) {
	t.Parallel()
	b := withEffects(t)
	ctx := t.Context()
	keys := b.announce(t, 6)
	var in inbox
	fail := errors.New("no")
	run := start(t, serial(b.config(t, "mail", func(c *subscribe.Config) {
		c.Retry.MaxTries, c.Retry.OnExhausted = 1, subscribe.DeadLetter
	}), func(ctx context.Context, e subscribe.Event) error {
		if e.Cursor.Position == 2 && !e.Replayed {
			return fail
		}
		return in.handle(ctx, e)
	}))
	want := []string{keys[0], keys[2], keys[3], keys[4], keys[5]}
	in.waitFor(t, want...)
	b.until(t, "SELECT position = 6 FROM iu_outbox.consumer")

	_, err := subscribe.ResetConsumer(ctx, b.Pool, "mail", subscribe.After(subscribe.Cursor{Position: 4}))
	require.NoError(t, err)
	want = append(want, keys[4], keys[5])
	in.waitFor(t, want...)
	b.until(t, "SELECT position = 6 FROM iu_outbox.consumer")
	b.Exec(t, "UPDATE iu_outbox.consumer SET position = 5") // as a person may do in psql
	want = append(want, keys[5])
	in.waitFor(t, want...)

	n, err := subscribe.ReplayDeadLetters(ctx, b.Pool, "mail")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	want = append(want, keys[1])
	in.waitFor(t, want...)

	b.Exec(t, "SELECT iu_outbox.begin_epoch()")
	want = append(want, b.announce(t, 2)...)
	in.waitFor(t, want...)
	b.Exec(t, "SELECT fn_iu_auto_instantiate_rollback_by_actor('billing', false)")
	b.Exec(t, "DELETE FROM iu_outbox.emission WHERE position <= 8") // pruned
	want = append(want, b.announce(t, 1)...)
	in.waitFor(t, want...)
	_, err = subscribe.ResetConsumer(ctx, b.Pool, "mail", subscribe.Now())
	require.NoError(t, err)
	require.NoError(t, run.stop())
}

// A dead letter from a lost history is replayed unchanged, even if another event has its position now.
func TestReplayAfterARewind(t *testing.T) {
	t.Parallel()
	b := withEffects(t)
	keys := b.announce(t, 3)
	refuse := b.config(t, "mail", func(c *subscribe.Config) {
		c.Limit, c.Retry.MaxTries, c.Retry.OnExhausted = 2, 1, subscribe.DeadLetter
	})
	require.NoError(t, subscribe.Run(t.Context(), refuse, func(_ context.Context, e subscribe.Event) error {
		if e.Cursor.Position == 3 {
			return errors.New("no")
		}
		return nil
	}))
	refuse.Limit = 1
	refuse.OnStart = nil
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	run := start(t, func(context.Context) error {
		return subscribe.Run(ctx, refuse, func(context.Context, subscribe.Event) error { return errors.New("no") })
	})
	b.until(t, "SELECT count(*) = 1 FROM iu_outbox.consumer_dead_letter")
	stop()
	require.NoError(t, run.wait(t))
	b.restore(t, 2, 2, false)
	_, err := subscribe.ReplayDeadLetters(t.Context(), b.Pool, "mail")
	require.NoError(t, err)
	var in inbox
	require.NoError(t, subscribe.Run(t.Context(), b.config(t, "mail", func(c *subscribe.Config) { c.Limit = 1 }), in.handle))
	require.Equal(t, keys[2:], in.keys())
}

// A row that comes from another database than the history is detected by the id in it.
func TestConsumerOfAnotherHistory(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.announce(t, 3)
	var in inbox
	limited := func(n int) subscribe.Config {
		return b.config(t, "mail", func(c *subscribe.Config) { c.Limit = n })
	}
	require.NoError(t, subscribe.Run(t.Context(), limited(2), in.handle))
	require.True(t, value[bool](t, b, `
		SELECT c.last_event_id = e.instance_collection_id FROM iu_outbox.consumer AS c JOIN iu_outbox.emission AS e USING (position)`))
	b.Exec(t, "UPDATE iu_outbox.consumer SET last_event_id = gen_random_uuid()")
	var rewound *subscribe.RewoundError
	require.ErrorAs(t, subscribe.Run(t.Context(), limited(1), in.handle), &rewound)
	require.NotEmpty(t, rewound.Found)
	list, err := subscribe.ListConsumers(t.Context(), b.Pool)
	require.NoError(t, err)
	require.Equal(t, "rewound", list[0].State)
	require.Nil(t, list[0].LagEvents)
	_, err = subscribe.ResetConsumer(t.Context(), b.Pool, "mail", subscribe.After(subscribe.Cursor{Position: 2}))
	require.NoError(t, err)
	require.NoError(t, subscribe.Run(t.Context(), limited(1), in.handle))

	// An older program moves the cursor without the id. No wrong id remains.
	require.NotNil(t, value[*string](t, b, "SELECT last_event_id::text FROM iu_outbox.consumer"))
	b.Exec(t, "UPDATE iu_outbox.consumer SET position = 1")
	require.Nil(t, value[*string](t, b, "SELECT last_event_id::text FROM iu_outbox.consumer"))
}

func TestAfterEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.announce(t, 3)
	page, err := subscribe.Read(t.Context(), b.Pool, subscribe.Cursor{}, subscribe.Filter{}, 3)
	require.NoError(t, err)
	second, third := page.Events[1], page.Events[2]
	c, err := subscribe.Resolve(t.Context(), b.Pool, subscribe.AfterEvent(second.Cursor, second.ID))
	require.NoError(t, err)
	require.Equal(t, second.Cursor, c)
	var rewound *subscribe.RewoundError
	_, err = subscribe.Resolve(t.Context(), b.Pool, subscribe.AfterEvent(second.Cursor, third.ID))
	require.ErrorAs(t, err, &rewound)
	require.Equal(t, subscribe.RewoundError{Cursor: second.Cursor, End: third.Cursor, Found: second.ID}, *rewound)
	for _, cursor := range []subscribe.Cursor{second.Cursor, third.Cursor} { // third is the end of the tail
		_, err = b.tail(t).Follow(t.Context(), subscribe.AfterEvent(cursor, page.Events[0].ID), subscribe.Filter{})
		require.ErrorIs(t, err, subscribe.ErrRewound)
	}
}

// A follower depends on what it has read itself: it continues if its place is before the point where the histories diverge.
func TestFollowersAreToldOfARewindInTheSameEpoch(t *testing.T) {
	t.Parallel()
	b := withEffects(t)
	tail := b.tail(t, func(c *subscribe.TailConfig) { c.PollInterval = 10 * time.Millisecond })
	early := follow(t, tail, subscribe.Beginning())
	b.announce(t, 2)
	require.Len(t, take(t, early, 2), 2)
	now := follow(t, tail, subscribe.Now()) // at 2
	waiting := follow(t, tail, subscribe.Beginning())
	b.announce(t, 4)
	require.Len(t, take(t, waiting, 6), 6)
	atEnd := follow(t, tail, subscribe.Now()) // at 6, with no event read
	b.restore(t, 3, 5, false)

	for name, f := range map[string]*subscribe.Follower{"at the end": waiting, "at the end by name": atEnd} {
		iutest.Eventually(t, func() bool {
			events, err := f.Next(t.Context(), 20*time.Millisecond)
			require.Empty(t, events, name)
			return errors.Is(err, subscribe.ErrRewound)
		}, patience, name)
	}
	for _, f := range []*subscribe.Follower{early, now} {
		events := take(t, f, 6)
		require.EqualValues(t, 3, events[0].Cursor.Position)
		require.Equal(t, "another history", events[5].Data.Actor)
	}
}

// The server's files are replaced by a copy that was taken while it was stopped. The server cannot detect that.
func TestFilesThatWereSetBack(t *testing.T) {
	t.Parallel()
	db, server := iutest.Own(t)
	db.OpenGates(t)
	b := &bundle{DB: db, template: db.Template(t, "tpl:invoice", 1)}
	keys := b.announce(t, 3)
	var mail, alone inbox
	run := start(t, serial(b.config(t, "mail"), mail.handle))
	runAlone := start(t, serial(b.config(t, "", func(c *subscribe.Config) { c.From = subscribe.Beginning() }), alone.handle))
	mail.waitFor(t, keys...)
	alone.waitFor(t, keys...)
	b.until(t, "SELECT position = 3 FROM iu_outbox.consumer")
	data, err := filepath.EvalSymlinks(value[string](t, b, "SHOW data_directory"))
	require.NoError(t, err)
	still := func(do ...string) {
		t.Helper()
		server.Kill()
		for _, command := range do {
			out, err := exec.CommandContext(t.Context(), "sh", "-c", fmt.Sprintf(command, data)).CombinedOutput()
			require.NoError(t, err, "%s: %s", command, out)
		}
		require.NoError(t, server.Restart(t.Context()))
		b.until(t, "SELECT true")
	}
	still("cp -a %[1]s %[1]s.copy")
	lost := b.announce(t, 2)
	mail.waitFor(t, append(keys, lost...)...)
	alone.waitFor(t, append(keys, lost...)...)
	epoch := b.epoch(t)

	still("rm -rf %[1]s/*", "cp -a %[1]s.copy/. %[1]s/", "rm -rf %[1]s.copy")
	other := b.announce(t, 3)
	require.Equal(t, epoch, b.epoch(t))
	require.EqualValues(t, 6, value[int64](t, b, "SELECT position FROM iu_outbox.emission_counter"))
	require.ErrorIs(t, run.wait(t), subscribe.ErrRewound)
	require.ErrorIs(t, runAlone.wait(t), subscribe.ErrRewound)
	require.Equal(t, append(keys, lost...), mail.keys())

	var again inbox
	require.NoError(t, subscribe.Run(t.Context(), b.config(t, "mail", func(c *subscribe.Config) { c.Limit = 3 }), again.handle))
	require.Equal(t, other, again.keys())
}

// A process that starts after the database was set back does not know which events were lost. It logs a warning that some may
// have been.
func TestANewProcessIsToldOfTheNewEpoch(t *testing.T) {
	t.Parallel()
	b := withEffects(t)
	b.announce(t, 5)
	limited := func(n int) (subscribe.Config, *iutest.Log) {
		log, said := logging(t)
		return b.config(t, "mail", func(c *subscribe.Config) { c.Limit, c.Logger = n, log }), said
	}
	cfg, said := limited(5)
	require.NoError(t, subscribe.Run(t.Context(), cfg, new(inbox).handle))
	require.Zero(t, said.Count("restored"))
	b.restore(t, 3, 4, true)
	cfg, said = limited(2)
	require.NoError(t, subscribe.Run(t.Context(), cfg, new(inbox).handle))
	require.Equal(t, 1, said.Count("common_until=3"))
	cfg, said = limited(1)
	require.NoError(t, subscribe.Run(t.Context(), cfg, new(inbox).handle))
	require.Zero(t, said.Count("restored"), "it has moved since")
}
