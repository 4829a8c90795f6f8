package main

import (
	"context"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/scaleout"
)

// scaleOut starts a scale-out of count instances with the prefix spring.
func scaleOut(t testing.TB, db *iutest.DB, count string, more ...string) result {
	t.Helper()
	return run(t, on(db), append([]string{"scaleout", "--template", "letter", "--count", count, "--prefix", "spring", "--actor", "bulk"}, more...)...)
}

// composeJobs composes the events of these suffixes, and completes their jobs.
func composeJobs(t testing.TB, db *iutest.DB, suffixes ...string) {
	t.Helper()
	db.Exec(t, `
		SELECT public.fn_iu_auto_instantiate_from_event((j.args ->> 'event_id')::uuid, 'x', (j.args ->> 'template_collection_id')::uuid,
			j.args ->> 'instance_key_suffix', 'live', 'bulk')
		FROM iu_river.river_job AS j WHERE j.args ->> 'instance_key_suffix' = ANY ($1)`, suffixes)
	db.Exec(t, `UPDATE iu_river.river_job SET state = 'completed', finalized_at = now() WHERE args ->> 'instance_key_suffix' = ANY ($1)`, suffixes)
}

func TestScaleoutStatus(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "letter", 1)
	run(t, on(db), "scaleout", "status", "spring").failed(t, exitFailed, `no such scale-out: "spring"`)
	scaleOut(t, db, "10").done(t)
	run(t, on(db), "scaleout", "--template", "letter", "--count", "3", "--prefix", "spring-2", "--actor", "a").done(t)
	composeJobs(t, db, "spring-1", "spring-2")
	db.Exec(t, `
		UPDATE iu_river.river_job SET state = 'scheduled', metadata = '{"parked": {"gate": "composer"}}' WHERE args ->> 'instance_key_suffix' = 'spring-3';
		UPDATE iu_river.river_job SET state = 'retryable' WHERE args ->> 'instance_key_suffix' = 'spring-4';
		UPDATE iu_river.river_job SET state = 'running' WHERE args ->> 'instance_key_suffix' = 'spring-5';
		UPDATE iu_river.river_job SET state = 'cancelled', finalized_at = now() WHERE args ->> 'instance_key_suffix' IN ('spring-6', 'spring-7')`)
	var letter string
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT event_id FROM iu_outbox.dead_letter ORDER BY id").Scan(&letter))
	run(t, on(db), "retry", "--event", letter).done(t)
	state := decode[scaleout.Status](t, run(t, on(db), "scaleout", "status", "spring", "--json").done(t))
	require.Equal(t, scaleout.Status{Prefix: "spring", Composed: 2, Left: scaleout.Left{
		Waiting: 3, Running: 1, Retrying: 1, Parked: 1, Outbox: 1, DeadLetters: 1,
	}}, state)
	require.Regexp(t, `^composed +2\nwaiting +3\nrunning +1\nto be retried +1\nparked +1; .*\nback in the outbox +1\n`+
		`dead letters +1; .*iuworker dead-letters list\n$`, run(t, on(db), "scaleout", "status", "spring").done(t).out)
	require.Contains(t, run(t, on(db), "scaleout", "status", "spring-2").done(t).out, "waiting   3\n")
}

func TestScaleoutCancel(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	scaleOut(t, db, "1200").done(t)
	composeJobs(t, db, "spring-1")
	db.Exec(t, `
		UPDATE iu_river.river_job SET state = 'running' WHERE args ->> 'instance_key_suffix' = 'spring-5';
		INSERT INTO iu_river.river_job (args, kind, max_attempts, queue)
		VALUES ('{"event_id": "7d1f6a52-3c5e-4a53-9f0e-2b8f0c1d4e61", "instance_key_suffix": "spring-6"}', 'auto_instantiate', 10, 'events')`)
	bury(t, db, template, 1, "invalid_input")
	r := run(t, on(db), "scaleout", "cancel", "spring", "--yes").done(t)
	require.Equal(t, "1198 cancelled; 2 were already running and will finish\n", r.out, "another event's job has such a suffix, too")
	var letters, dropped, lines int
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM iu_outbox.dead_letter), (SELECT count(*) FROM iu_outbox.settled WHERE how = 'dropped'),
			(SELECT count(*) FROM iu_outbox.audit WHERE action = 'scaleout.cancel')`).Scan(&letters, &dropped, &lines))
	require.Equal(t, []int{1, 1198, 2}, []int{letters, dropped, lines}, "only what it made is dropped")
	require.JSONEq(t, `{"prefix": "spring", "cancelled": 0, "left": 2}`, run(t, on(db), "scaleout", "cancel", "spring", "--json").done(t).out)
	require.Equal(t, "1198 added, 2 skipped\n", scaleOut(t, db, "1200").done(t).out, "the same again goes on")
}

func TestScaleoutPause(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Template(t, "letter", 1)
	run(t, on(db), "scaleout", "pause").failed(t, exitFailed, "start one first: iuworker work")
	db.Exec(t, "INSERT INTO iu_river.river_queue (name, updated_at) VALUES ('scaleout', now())")
	scaleOut(t, db, "1").done(t)
	require.Contains(t, run(t, on(db), "scaleout", "pause").done(t).out, "all scale-outs are paused")
	require.Contains(t, run(t, on(db), "scaleout", "status", "spring").done(t).out, "paused; to resume it, run: iuworker scaleout resume")
	require.JSONEq(t, `{"queue": "scaleout", "paused": false}`, run(t, on(db), "scaleout", "resume", "--json").done(t).out)
	require.NotContains(t, run(t, on(db), "scaleout", "status", "spring").done(t).out, "paused")
	lines, err := operate.Audit(t.Context(), db.Pool, 0, 10)
	require.NoError(t, err)
	require.Len(t, lines, 3)
	require.Equal(t, "queue.resume", lines[0].Action)
	require.Equal(t, "scaleout.start", lines[2].Action)
}

func TestScaleoutIsWatchedToItsEnd(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "letter", 1)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan result, 1)
	go func() { ended <- runWith(ctx, on(db), "work", "--http-addr", "off", "--log-level", "error") }()
	r := scaleOut(t, db, "300", "--watch")
	require.Equal(t, exitDone, r.code, r.errOut)
	require.Equal(t, "300 added, 0 skipped\ncomposed  300\n", r.out)
	require.Contains(t, r.errOut, "composed 300 of 300, 0 left\n")
	r = scaleOut(t, db, "300", "--watch", "--json")
	require.Equal(t, scaleout.Status{Prefix: "spring", Composed: 300}, decode[scaleout.Status](t, r))
	stop()
	(<-ended).done(t)
}

func TestAnInterruptedWatchSaysHowToContinue(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Template(t, "letter", 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errOut, ended := newBuffer(), make(chan int, 1)
	args := []string{"scaleout", "--template", "letter", "--count", "5", "--prefix", "it's spring", "--actor", "a", "--watch"}
	go func() { ended <- Run(ctx, args, func(name string) string { return on(db)[name] }, io.Discard, errOut) }()
	errOut.await(t, "composed 0 of 5, 5 left\n")
	cancel()
	require.Equal(t, exitDone, <-ended)
	require.Contains(t, errOut.String(), `to watch them again, run: iuworker scaleout status --watch 'it'\''s spring'`)
	require.Contains(t, run(t, on(db), "scaleout", "status", "it's spring").done(t).out, "waiting   5")
}

func TestScaleoutThatFailedInPartSaysSo(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Template(t, "letter", 1)
	scaleOut(t, db, "2").done(t)
	db.Exec(t, "UPDATE iu_river.river_job SET state = 'cancelled', finalized_at = now()")
	r := scaleOut(t, db, "2", "--watch", "--json")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.errOut, `2 jobs of the scale-out "spring" ended as dead letters; to see why, run: iuworker dead-letters list`)
	var state scaleout.Status
	require.NoError(t, json.Unmarshal([]byte(r.out), &state))
	require.EqualValues(t, 2, state.DeadLetters)
}

func TestScaleoutKeepsToItsRate(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Template(t, "letter", 1)
	began := time.Now()
	require.Equal(t, "60 added, 0 skipped\n", scaleOut(t, db, "60", "--rate", "100").done(t).out)
	require.GreaterOrEqual(t, time.Since(began), 400*time.Millisecond, "the last 20 are due after 40 of 100 a second")
}

func TestProgressSaysWhatABarCannot(t *testing.T) {
	t.Parallel()
	require.Equal(t, "150 left, 50/s, about 3s to go, 2 failed, 1 to be retried, 9 parked, paused", progressText(scaleout.Left{
		Waiting: 140, Retrying: 1, Parked: 9, DeadLetters: 2, QueuePaused: true,
	}, 50))
	require.Equal(t, "0 left", progressText(scaleout.Left{}, 50))
	require.Zero(t, rateOf(10, 0))
	require.InDelta(t, 5, rateOf(10, 2*time.Second), 0.01)
}

func TestScaleoutsAreListed(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "letter", 1)
	require.Contains(t, run(t, on(db), "scaleout", "list").done(t).out, "no scale-outs; to start one")
	scaleOut(t, db, "10").done(t)
	composeJobs(t, db, "spring-1", "spring-2", "spring-4")
	db.Exec(t, `UPDATE iu_river.river_job SET state = 'cancelled', finalized_at = now() WHERE args ->> 'instance_key_suffix' = 'spring-3'`)
	list := func() scaleout.Line {
		t.Helper()
		lines := decode[[]scaleout.Line](t, run(t, on(db), "scaleout", "list", "--json").done(t))
		require.Len(t, lines, 1)
		return lines[0]
	}
	l := list()
	require.Equal(t, []any{"spring", "letter", "bulk", int64(10), int64(4), int64(6), int64(1), scaleout.StateRunning},
		[]any{l.Prefix, *l.TemplateKey, l.Actor, l.Enqueued, l.Done, l.Waiting, l.DeadLetters, l.State})
	require.Regexp(t, `spring +letter +running +4 +10 +1 +6 `, run(t, on(db), "scaleout", "list").done(t).out)

	run(t, on(db), "scaleout", "cancel", "spring", "--yes").done(t)
	l = list()
	require.Equal(t, []any{scaleout.StateCancelled, int64(6), int64(0)}, []any{l.State, l.Cancelled, l.Waiting})
	scaleOut(t, db, "10").done(t)
	l = list()
	require.Equal(t, []any{scaleout.StateRunning, int64(0), int64(6)}, []any{l.State, l.Cancelled, l.Waiting}, "the same again goes on")
	composeJobs(t, db, "spring-5", "spring-6", "spring-7", "spring-8", "spring-9", "spring-10")
	l = list()
	require.Equal(t, []any{scaleout.StateFinished, int64(10)}, []any{l.State, l.Done})
	db.Exec(t, "SELECT public.fn_iu_auto_instantiate_rollback_by_actor('bulk', false)")
	require.Equal(t, scaleout.StateFinished, list().State, "what was counted stays counted")
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

	// A number is not added twice if it has an unfinished job, an instance, a dead letter, or a row in the outbox.
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
