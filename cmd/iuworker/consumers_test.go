package main

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/worker/subscribe"
)

func TestConsumers(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	require.Contains(t, run(t, on(db), "consumers").done(t).out, "no durable consumers")
	announce(t, db, template, "a", "b", "c")
	run(t, on(db), "subscribe", "--consumer", "mail", "--limit", "1").done(t)
	listing := regexp.MustCompile(`(?m)^mail +[0-9a-f]{8}-1 +2 events, .+ +none for .+ +0$`)
	iutest.Eventually(t, func() bool { // a lease that could not be given up in time has to end
		return listing.MatchString(run(t, on(db), "consumers").done(t).out)
	}, patience)
	listed := decode[[]subscribe.Consumer](t, run(t, on(db), "consumers", "--json").done(t))
	require.Len(t, listed, 1)
	require.EqualValues(t, 2, *listed[0].LagEvents)
	epoch := listed[0].Cursor.Epoch

	require.Equal(t, "moved consumer mail from "+epoch+"-1 to "+epoch+"-3\n",
		run(t, on(db), "consumers", "reset", "mail", "--to", "now", "--yes").done(t).out)
	require.Regexp(t, `mail +[0-9a-f]{8}-3 +nothing`, run(t, on(db), "consumers").done(t).out)
	moved := decode[operate.ConsumerMove](t, run(t, on(db), "consumers", "reset", "mail", "--to", epoch+"-2", "--json").done(t))
	require.Equal(t, operate.ConsumerMove{
		Consumer: "mail", From: subscribe.Cursor{Epoch: epoch, Position: 3}, To: subscribe.Cursor{Epoch: epoch, Position: 2}, Again: 1,
	}, moved)
	require.Equal(t, []string{"c"}, subjects(t, run(t, on(db), "subscribe", "--consumer", "mail", "--limit", "1").done(t).out))
	for _, to := range []string{"beginning", "0", "1h", "2020-01-01T00:00:00Z"} {
		require.Contains(t, run(t, on(db), "consumers", "reset", "mail", "--to", to).done(t).out, " to "+epoch+"-0\n", to)
	}
	run(t, on(db), "consumers", "reset", "mail", "--to", "99").failed(t, exitFailed, "beyond the end of the history")
	for _, args := range [][]string{{"reset", "post", "--to", "now"}, {"delete", "post"}, {"replay", "post"}, {"dead-letters", "post"}} {
		run(t, on(db), append([]string{"consumers"}, args...)...).
			failed(t, exitFailed, `unknown consumer "post"; to list the consumers, run: iuworker consumers`)
	}
	require.Contains(t, run(t, on(db), "consumers", "delete", "mail", "--yes").done(t).out, "deleted consumer mail")
	require.Contains(t, run(t, on(db), "consumers").done(t).out, "no durable consumers")

	lines, err := operate.Audit(t.Context(), db.Pool, 0, 10)
	require.NoError(t, err)
	require.Len(t, lines, 7, "what was refused leaves none")
	require.Equal(t, "consumer.delete", lines[0].Action)
	require.Equal(t, systemUser(), lines[0].Actor)
	require.JSONEq(t, `{"consumer": "mail", "force": false, "at": "`+epoch+`-0", "lag_events": 3, "dead_letters": 0}`, string(lines[0].Detail))
	require.Equal(t, "consumer.reset", lines[6].Action)
	require.JSONEq(t, `{"consumer": "mail", "from": "`+epoch+`-1", "to": "`+epoch+`-3", "skipped": 2, "again": 0}`, string(lines[6].Detail))
}

func TestDeadLettersOfAConsumer(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	announce(t, db, db.Template(t, "letter", 1), "a", "b")
	handle := func(limit int, err error) {
		t.Helper()
		require.NoError(t, subscribe.Run(t.Context(), subscribe.Config{
			Pool: db.Pool, Consumer: "mail", Limit: limit, Logger: slog.New(slog.DiscardHandler),
			Retry: subscribe.Retry{MaxTries: 1, OnExhausted: subscribe.DeadLetter, Backoff: 1, MaxBackoff: 1},
		}, func(_ context.Context, e subscribe.Event) error {
			if e.Data.InstanceKey == "tpl-inst:auto:a" {
				return err
			}
			return nil
		}))
	}
	handle(1, errors.New("the mail server\nis away"))

	require.Regexp(t, `(?m)^20\S+ +[0-9a-f]{8}-1 +tpl-inst:auto:a +1 +the mail server is away$`,
		run(t, on(db), "consumers", "dead-letters", "mail").done(t).out)
	letters := decode[consumerLetters](t, run(t, on(db), "consumers", "dead-letters", "mail", "--json").done(t))
	require.EqualValues(t, 1, letters.Total)
	require.Contains(t, string(letters.Letters[0].Event), "tpl-inst:auto:a")
	run(t, on(db), "consumers", "delete", "mail").failed(t, exitFailed, "replay or drop them first")

	require.Equal(t, "1 will be replayed\n", run(t, on(db), "consumers", "replay", "mail").done(t).out)
	require.Contains(t, run(t, on(db), "consumers", "dead-letters", "mail").done(t).out, "(to be replayed)")
	handle(1, nil)
	require.Equal(t, "no dead letters\n", run(t, on(db), "consumers", "dead-letters", "mail").done(t).out)

	run(t, on(db), "consumers", "reset", "mail", "--to", "beginning").done(t)
	handle(1, errors.New("again"))
	require.JSONEq(t, `{"consumer": "mail", "dropped": 1}`, run(t, on(db), "consumers", "dead-letters", "mail", "--drop", "--yes", "--json").done(t).out)
	require.Equal(t, "0 dropped\n", run(t, on(db), "consumers", "dead-letters", "mail", "--drop").done(t).out)
	run(t, on(db), "consumers", "delete", "mail", "--yes").done(t)
}

func TestConsumersAreCompleted(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, "SELECT iu_outbox.open_consumer('mail', NULL, NULL), iu_outbox.open_consumer('search', NULL, NULL)")
	requireCompletion(t, on(db), []string{"mail", ":4"}, "consumers", "delete", "m")
}
