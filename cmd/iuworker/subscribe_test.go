package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// announce composes instances and announces them.
func announce(t testing.TB, db *iutest.DB, template uuid.UUID, suffixes ...string) {
	t.Helper()
	for _, suffix := range suffixes {
		instantiate(t, db, template, suffix, "ann")
	}
	db.Exec(t, "SELECT iu_outbox.emit(1000)")
}

func subjects(t testing.TB, lines string) (subjects []string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var event struct{ Subject string }
		require.NoError(t, json.Unmarshal([]byte(line), &event), line)
		iutest.RequireEvent(t, line)
		subjects = append(subjects, strings.TrimPrefix(event.Subject, "tpl-inst:auto:"))
	}
	return subjects
}

func TestSubscribe(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	announce(t, db, template, "a", "b", "c", "d")

	require.Equal(t, []string{"a", "b"}, subjects(t, run(t, on(db), "subscribe", "--after", "0", "--limit", "2").done(t).out))
	require.Equal(t, []string{"c"}, subjects(t, run(t, on(db), "subscribe", "--after", "2", "--limit", "1").done(t).out))
	require.Equal(t, []string{"a"}, subjects(t, run(t, on(db), "subscribe", "--consumer", "c1", "--limit", "1").done(t).out))
	require.Equal(t, []string{"b", "c"}, subjects(t, run(t, on(db), "subscribe", "--consumer", "c1", "--limit", "2").done(t).out))
	run(t, on(db), "subscribe", "--after", "99").failed(t, exitFailed, "beyond the end of the history")
}

func TestSubscribeBeginsAndChooses(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	letter, bill := db.Template(t, "letter", 1), db.Template(t, "bill", 1)
	announce(t, db, letter, "a")
	announce(t, db, bill, "b")
	instantiate(t, db, letter, "c", "bob")
	announce(t, db, letter, "d")
	db.Exec(t, "UPDATE iu_outbox.emission SET emitted_at = emitted_at - interval '3 days' WHERE position = 1")

	for args, want := range map[string]string{
		"--from beginning --limit 4":                                                    "a b c d",
		"--since 2d --limit 3":                                                          "b c d",
		"--since 2000-01-01T00:00:00Z --limit 1":                                        "a",
		"--consumer c1 --since 2d --limit 1":                                            "b",
		"--from beginning --template letter --limit 3":                                  "a c d",
		"--from beginning --template letter --actor bob --limit 1":                      "c",
		"--after 0 --actor bob --actor ann --event-type x --limit 4":                    "a b c d",
		"--from beginning --template bill --template " + letter.String() + " --limit 4": "a b c d",
		"--consumer c2 --template bill --limit 1":                                       "b",
	} {
		require.Equal(t, strings.Fields(want), subjects(t, run(t, on(db), append([]string{"subscribe"}, strings.Fields(args)...)...).done(t).out), args)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errOut, ended := newBuffer(), make(chan int, 1)
	go func() {
		ended <- Run(ctx, []string{"subscribe", "--template", "lettre"}, func(name string) string { return on(db)[name] }, io.Discard, errOut)
	}()
	errOut.await(t, "no such template yet")
	cancel()
	require.Equal(t, exitDone, <-ended)
}

func TestSubscribeGoesOnUntilItIsTold(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	announce(t, db, template, "before")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, ended := newBuffer(), make(chan int, 1)
	go func() {
		ended <- Run(ctx, []string{"subscribe", "--after", "1"}, func(name string) string { return on(db)[name] }, out, io.Discard)
	}()
	announce(t, db, template, "now")
	out.await(t, "tpl-inst:auto:now")
	require.Equal(t, []string{"now"}, subjects(t, out.String()))
	cancel()
	require.Equal(t, exitDone, <-ended)
}

func TestASubscriberWithNothingToWriteNoticesThatItsReaderHasEnded(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	ended := make(chan int, 1)
	go func() {
		ended <- Run(t.Context(), []string{"subscribe", "--consumer", "c"}, func(name string) string { return on(db)[name] }, writer, io.Discard)
	}()
	db.WaitFor(t, patience, "SELECT count(*) = 1 FROM iu_outbox.consumer_lease WHERE consumer = 'c'")
	require.NoError(t, reader.Close())
	require.Equal(t, exitDone, <-ended)
	require.NoError(t, writer.Close())
}

func TestAClosedPipeIsNoError(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	announce(t, db, db.Template(t, "letter", 1), "a", "b")
	for _, args := range [][]string{{"subscribe", "--after", "0"}, {"subscribe", "--consumer", "c"}, {"status"}, {"completion", "bash"}} {
		reader, writer, err := os.Pipe()
		require.NoError(t, err)
		require.NoError(t, reader.Close())
		var stderr strings.Builder
		code := Run(t.Context(), args, func(name string) string { return on(db)[name] }, writer, &stderr)
		require.NoError(t, writer.Close())
		require.Equal(t, exitDone, code, stderr.String())
		require.Empty(t, unhurried(stderr.String()))
	}
	require.Equal(t, []string{"a"}, subjects(t, run(t, on(db), "subscribe", "--consumer", "c", "--limit", "1").done(t).out),
		"what was not written was not handled")
}

// After a restore, a consumer's cursor is older, and the positions of lost events are assigned to other events.
func TestSubscribeEndsIfTheHistoryWasRewound(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	announce(t, db, template, "a", "b", "c")
	running := make(chan result, 1)
	go func() { running <- runWith(t.Context(), on(db), "subscribe", "--consumer", "mail") }()
	db.WaitFor(t, patience, "SELECT (SELECT position = 3 FROM iu_outbox.consumer)")
	db.Exec(t, `
		BEGIN;
		DELETE FROM iu_outbox.emission WHERE position > 1;
		UPDATE iu_outbox.emission_counter SET position = 1;
		UPDATE iu_outbox.consumer SET position = 1;
		SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', '`+template.String()+`', n::text, 'live', 'a') FROM generate_series(1, 4) AS n;
		SELECT iu_outbox.emit(10);
		COMMIT`)
	failed := (<-running).failed(t, exitFailed, `consumer "mail": history rewound: a different event is at cursor`)
	require.Equal(t, []string{"a", "b", "c"}, subjects(t, failed.out), "nothing else was printed")
	require.Regexp(t, `start it again; it continues after [0-9a-f]{8}-1\n`, failed.errOut)
	require.Equal(t, []string{"1", "2", "3", "4"}, subjects(t, run(t, on(db), "subscribe", "--consumer", "mail", "--limit", "4").done(t).out))
}
