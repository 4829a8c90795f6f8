package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate/scaleout"
	"github.com/iu-core/iuworker/worker/outbox"
)

func TestEnqueue(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "letter", 1)
	id := uuid.New()
	args := []string{
		"enqueue", "--template", "letter", "--event-id", id.String(), "--event-type", "order.placed", "--suffix", "shop-order-1",
		"--emit-mode", "dry_run", "--actor", "ann", "--note", "express", "--priority", "3", "--available-at", "2031-01-02T03:04:05+01:00", "--json",
	}
	inserted := decode[outbox.Inserted](t, run(t, on(db), args...).done(t))
	require.Equal(t, id, inserted.EventID)

	var typ, suffix, mode, actor, note, key string
	var to uuid.UUID
	var priority int
	var at time.Time
	row := db.Pool.QueryRow(t.Context(), `
		SELECT event_type, template_collection_id, instance_key_suffix, emit_mode, actor, note, priority, available_at, idempotency_key
		FROM iu_outbox.event WHERE id = $1`, inserted.ID)
	require.NoError(t, row.Scan(&typ, &to, &suffix, &mode, &actor, &note, &priority, &at, &key))
	require.Equal(t, []any{"order.placed", template, "shop-order-1", "dry_run", "ann", "express", 3, inserted.IdempotencyKey},
		[]any{typ, to, suffix, mode, actor, note, priority, key})
	require.True(t, at.Equal(time.Date(2031, 1, 2, 2, 4, 5, 0, time.UTC)), at)
}

func TestEnqueueFillsIn(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Template(t, "letter", 1)
	text := run(t, on(db), "enqueue", "--template", "letter", "--in", "2h").done(t).out
	require.Regexp(t, `^event id +[0-9a-f-]{36}\nidempotency key +[0-9a-f]{32}\noutbox id +1\n$`, text)
	var right bool
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		SELECT instance_key_suffix = 'letter-' || event_id AND emit_mode = 'live' AND actor = $1 AND priority = 1
		   AND available_at - created_at BETWEEN interval '119 minutes' AND interval '2 hours'
		FROM iu_outbox.event`, systemUser()).Scan(&right))
	require.True(t, right)

	unknown := uuid.NewString()
	run(t, on(db), "enqueue", "--template", unknown).done(t) // its job reports it, as an application's would
	run(t, on(db), "enqueue", "--template", "nothing").failed(t, exitFailed, `there is no template "nothing"`)
	db.Template(t, strings.Repeat("k", 300), 1)
	run(t, on(db), "enqueue", "--template", strings.Repeat("k", 300)).failed(t, exitFailed, "give --suffix")
	run(t, on(db), "enqueue", "--template", "letter", "--available-at", "0001-01-02T00:00:00Z").
		failed(t, exitFailed, "available_at must be between 1970 and 9999")
}

func TestScaleout(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	args := func(count string, more ...string) []string {
		return append([]string{"scaleout", "--template", "letter", "--count", count, "--prefix", "spring", "--actor", "bulk", "--json"}, more...)
	}
	first := decode[scaleout.Result](t, run(t, on(db), args("1500")...).done(t))
	require.Equal(t, scaleout.Result{Template: template, Prefix: "spring", Count: 1500, Done: 1500, Added: 1500}, first)
	second := decode[scaleout.Result](t, run(t, on(db), args("1502")...).done(t))
	require.Equal(t, 2, second.Added)
	require.Equal(t, 1500, second.Skipped)

	// A number is known while its job is unfinished, then by its instance, its dead letter, or its row in the outbox.
	db.Exec(t, `
		UPDATE iu_river.river_job SET state = 'cancelled', finalized_at = now() WHERE args ->> 'instance_key_suffix' IN ('spring-2', 'spring-3');
		DELETE FROM iu_river.river_job WHERE args ->> 'instance_key_suffix' IN ('spring-1', 'spring-2', 'spring-3');
		DELETE FROM iu_outbox.dead_letter WHERE event ->> 'instance_key_suffix' = 'spring-1';
		SELECT iu_outbox.retry_dead_letters(NULL, (SELECT event_id FROM iu_outbox.dead_letter WHERE event ->> 'instance_key_suffix' = 'spring-2'), 1)`)
	third := decode[scaleout.Result](t, run(t, on(db), args("10", "--emit-mode", "dry_run")...).done(t))
	require.Equal(t, 1, third.Added, "the one that nobody knows of any more")

	var right bool
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		SELECT bool_and(j.queue = 'scaleout' AND j.kind = 'auto_instantiate' AND j.args ->> 'actor' = 'bulk'
			AND j.args ->> 'idempotency_key' = md5((j.args ->> 'event_id') || ':' || (j.args ->> 'template_collection_id') || ':'
				|| (j.args ->> 'instance_key_suffix')))
		FROM iu_river.river_job AS j`).Scan(&right))
	require.True(t, right)
	instantiate(t, db, template, "taken-1", "ann")
	run(t, on(db), "scaleout", "--template", "letter", "--count", "1", "--prefix", "taken", "--actor", "a").
		failed(t, exitFailed, `the prefix "taken" is taken: another event or another template owns tpl-inst:auto:taken-1`)
	run(t, on(db), "scaleout", "--template", "nothing", "--count", "1", "--prefix", "p", "--actor", "a").
		failed(t, exitFailed, `there is no template "nothing"`)
}

func TestScaleoutThatIsInterruptedSaysHowFarItCame(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "letter", 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result, err := scaleout.Start(ctx, scaleout.Config{
		Pool: db.Pool, Template: template, Prefix: "p", Count: 100, Actor: "a", Batch: 10,
		Progress: func(r scaleout.Result) {
			if r.Done == 30 {
				cancel()
			}
		},
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 30, result.Done)
	require.Equal(t, 30, result.Added)
	result, err = scaleout.Start(t.Context(), scaleout.Config{
		Pool: db.Pool, Template: template, Prefix: "p", Count: 100, Actor: "a",
	})
	require.NoError(t, err)
	require.Equal(t, 70, result.Added)

	ctx, cancel = context.WithCancel(t.Context())
	a := &app{stdout: &results{w: io.Discard}, stderr: newLogWriter(io.Discard)}
	_, err = a.enqueueScaleout(ctx, scaleout.Config{
		Pool: db.Pool, Template: template, Prefix: "q", Count: 100, Actor: "a", Batch: 10,
		Progress: func(scaleout.Result) { cancel() },
	})
	require.EqualError(t, err, "interrupted after 10 of 100: 10 added, 0 skipped; the same command continues from there")
}

// announce composes instances and gives them positions.
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

func TestASubscriberWithNothingToWriteNoticesThatItsReaderIsGone(t *testing.T) {
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
		require.Empty(t, stderr.String())
	}
	require.Equal(t, []string{"a"}, subjects(t, run(t, on(db), "subscribe", "--consumer", "c", "--limit", "1").done(t).out),
		"what was not written was not handled")
}
