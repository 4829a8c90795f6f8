package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/conformance"
	"github.com/iu-core/iuworker/internal/operate/status"
)

func TestGates(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	require.Regexp(t, `(?m)^composer +closed`, run(t, on(db), "gate", "status").done(t).out)
	require.Equal(t, "opened composer (by ann)\n",
		run(t, on(db), "gate", "open", "composer", "--actor", "ann").done(t).out)
	require.Equal(t, "composer was already open\n", run(t, on(db), "gate", "open", "composer").done(t).out)

	gates := decode[[]operate.Gate](t, run(t, on(db), "gate", "status", "--json").done(t))
	require.Len(t, gates, 2)
	require.True(t, gates[0].Open)
	require.Equal(t, "ann", *gates[0].UpdatedBy, "what is open already is not opened")
	require.False(t, gates[1].Open)

	moved := decode[gateMoved](t, run(t, on(db), "gate", "close", "composer", "--actor", "bob", "--json").done(t))
	require.Equal(t, gateMoved{Gate: "composer", Before: "open", Now: "closed", Actor: "bob"}, moved)

	lines, err := operate.Audit(t.Context(), db.Pool, 0, 10)
	require.NoError(t, err)
	require.Len(t, lines, 2)
	require.Equal(t, "bob", lines[0].Actor)
	require.Equal(t, "gate.close", lines[0].Action)
	require.JSONEq(t, `{"gate": "composer", "was_open": true}`, string(lines[0].Detail))
}

// instantiate composes an instance of a template for an actor, as a job does.
func instantiate(t testing.TB, db *iutest.DB, template uuid.UUID, suffix, actor string) (instance uuid.UUID) {
	t.Helper()
	var status string
	err := db.Pool.QueryRow(t.Context(), `
		SELECT r ->> 'status', (r ->> 'instance_collection_id')::uuid
		FROM public.fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'x', $1, $2, 'live', $3) AS r`,
		template, suffix, actor).Scan(&status, &instance)
	require.NoError(t, err)
	require.Equal(t, "instantiated", status)
	return instance
}

func TestRollback(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 3)
	for _, suffix := range []string{"a-1", "a-2"} {
		instantiate(t, db, template, suffix, "ann")
	}
	used := instantiate(t, db, template, "b-1", "bob")
	count := func() (n int) {
		require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_auto_instantiate_event_log").Scan(&n))
		return n
	}

	dry := run(t, on(db), "rollback", "--actor", "ann").done(t)
	require.Contains(t, dry.out, "a rollback of ann would delete:")
	require.Contains(t, dry.out, "nothing was changed; to delete them, add --execute")
	require.Equal(t, 3, count())

	run(t, on(db), "rollback", "--actor", "ann", "--expect", "2").failed(t, exitUsage, "--expect needs --execute")
	run(t, on(db), "rollback", "--actor", "ann", "--execute", "--expect", "3").
		failed(t, exitFailed, `nothing was deleted: there are 2 instances of "ann" now, not 3; check again`)
	require.Equal(t, 3, count())
	done := decode[operate.RollbackPreview](t, run(t, on(db), "rollback", "--actor", "ann", "--execute", "--expect", "2", "--json").done(t))
	require.Equal(t, operate.RollbackReport{
		Status: "rolled_back", Actor: "ann",
		Counts: operate.RollbackCounts{EventLog: 2, Lineage: 2, Membership: 6, Collection: 2},
	}, done.RollbackReport)
	require.EqualValues(t, 2, done.Reach.Instances)
	require.Equal(t, 1, count())
	require.Contains(t, run(t, on(db), "rollback", "--actor", "nobody").done(t).out, "nothing to roll back: actor \"nobody\" has no instances\n")
	require.Contains(t, run(t, on(db), "rollback", "--actor", "ann", "--execute").done(t).out, "nothing to roll back")

	db.Exec(t, "SELECT public.fn_iu_collection_mark_template($1, 'bob')", used)
	for _, args := range [][]string{{}, {"--execute"}} {
		blocked := run(t, on(db), append([]string{"rollback", "--actor", "bob"}, args...)...)
		blocked.failed(t, exitFailed, "blocked and nothing was deleted: tpl-inst:auto:b-1 is used by")
		require.Contains(t, blocked.out, "tpl-inst:auto:b-1 is used by public.iu_collection_template")
	}
	require.Equal(t, 1, count())
}

// What others know of already is shown before anything is deleted.
func TestRollbackShowsHowFarInstancesCame(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	for i := range announcedShown + 2 {
		instantiate(t, db, template, fmt.Sprint("a-", i), "ann")
	}
	db.Exec(t, "SELECT iu_outbox.emit(100)")
	instantiate(t, db, template, "quiet", "ann")
	db.Exec(t, "INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'billing', c.epoch, 5 FROM iu_outbox.emission_counter AS c")
	db.Exec(t, "INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, actor) VALUES ('e', $1, 'later', 'ann')", template)

	out := run(t, on(db), "rollback", "--actor", "ann").done(t).out
	for _, line := range []string{
		"already announced: 12 of 13; these announcements stay, marked as rolled back\n",
		"  and 2 more\n", "  consumer billing received 5 of them\n", "still to be composed: 1 events of this actor",
	} {
		require.Contains(t, out, line)
	}
	require.NotContains(t, out, "quiet")
}

// On a terminal somebody has to type the name.
func TestRollbackAsksOnATerminal(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	instantiate(t, db, template, "a-1", "ann")
	type answer struct {
		typed, says string
		left        int
	}
	for _, a := range []answer{{"anna", "nothing was deleted: you did not type ann", 1}, {"ann", "rolled back ann, deleted:", 0}} {
		out, _ := onTerminal(t, db, a.typed+"\n", "rollback", "--actor", "ann", "--execute")
		require.Contains(t, out, "1 instances of \"ann\" will be deleted. Type ann to confirm: ")
		require.Contains(t, out, a.says)
		var left int
		require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_auto_instantiate_event_log").Scan(&left))
		require.Equal(t, a.left, left)
	}
}

// onTerminal runs the program in a process of its own on a pseudo-terminal, which script (bsdutils) makes.
func onTerminal(t testing.TB, db *iutest.DB, typed string, args ...string) (string, error) {
	t.Helper()
	return onTerminalWith(t, db, typed, []string{"TERM=xterm", "NO_COLOR="}, args...)
}

// columnsOfTerminal is how wide onTerminalWith makes its terminal.
const columnsOfTerminal = "TEST_COLUMNS"

// onTerminalWith is onTerminal with more environment.
func onTerminalWith(t testing.TB, db *iutest.DB, typed string, env []string, args ...string) (string, error) {
	t.Helper()
	words := []string{shellWord(os.Args[0])}
	for _, arg := range args {
		words = append(words, shellWord(arg))
	}
	command := "exec " + strings.Join(words, " ")
	for _, setting := range env {
		if columns, ok := strings.CutPrefix(setting, columnsOfTerminal+"="); ok {
			command = "stty cols " + columns + " && " + command
		}
	}
	cmd := exec.CommandContext(t.Context(), "script", "--quiet", "--return", "--command", command, os.DevNull)
	cmd.Env = append(os.Environ(), runsMain+"=1", "IUWORKER_DATABASE_URL="+db.URL)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin = strings.NewReader(typed)
	out, err := cmd.CombinedOutput()
	return strings.ReplaceAll(string(out), "\r\n", "\n"), err
}

func TestStatusWatch(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	lines := start(t, db, "status", "--watch", "--json")
	texts := start(t, db, "status", "--watch")
	require.Eventually(t, func() bool {
		return strings.Count(lines.out.String(), "\n") >= 2 && strings.Count(texts.out.String(), "outbox ") >= 2
	}, patience, 10*time.Millisecond)
	for _, p := range []*program{lines, texts} {
		p.signal(t, syscall.SIGINT)
		require.NoError(t, <-p.ended, p.errOut.String())
	}
	for line := range strings.Lines(lines.out.String()) {
		var status status.Status
		require.NoError(t, json.Unmarshal([]byte(line), &status), line)
		require.Equal(t, 36, status.Schema.Version)
	}
	require.NotContains(t, texts.out.String(), "\x1b", "no terminal, no control characters")
}

// bury makes dead letters: n of each status.
func bury(t testing.TB, db *iutest.DB, template uuid.UUID, n int, statuses ...string) {
	t.Helper()
	db.Exec(t, `
		INSERT INTO iu_outbox.dead_letter (job_id, status, detail, event_id, event, queue, attempts)
		SELECT (SELECT COALESCE(max(job_id), 0) FROM iu_outbox.dead_letter) + row_number() OVER (), s.status, E'went\nwrong', e.id,
		       jsonb_build_object('event_id', e.id, 'event_type', 'x', 'template_collection_id', $1::uuid,
		           'instance_key_suffix', s.status || '-' || e.id, 'emit_mode', 'live', 'actor', 'ann', 'priority', 2), 'events', 1
		FROM unnest($2::text[]) AS s (status)
		CROSS JOIN LATERAL (SELECT gen_random_uuid() AS id FROM generate_series(1, $3) AS n WHERE s.status <> '') AS e`,
		template, statuses, n)
}

func TestRetry(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "letter", 1)
	count := func(table string) (n int) {
		require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_outbox."+table).Scan(&n))
		return n
	}
	require.Equal(t, "no dead letters\n", run(t, on(db), "retry", "--list").done(t).out)
	require.Equal(t, "no dead letters\n", run(t, on(db), "retry", "--all").done(t).out)

	bury(t, db, template, 2500, "template_not_found")
	bury(t, db, template, 3, "cancelled", "invalid_input")
	letters := decode[[]operate.DeadLetter](t, run(t, on(db), "retry", "--list", "--status", "invalid_input", "--json").done(t))
	require.Len(t, letters, 3)
	listed := run(t, on(db), "retry", "--list").done(t).out
	require.Regexp(t, `\n20\S+Z  [0-9a-f-]{36}  letter +template_not_found-[0-9a-f-]{36} +template_not_found +went wrong\n`, listed)
	require.Contains(t, listed, "\nthese are the oldest 100; there are more")
	require.NotContains(t, run(t, on(db), "retry", "--list", "--status", "cancelled").done(t).out, "more")
	require.Contains(t, run(t, on(db), "retry", "--list", "--json").errOut, "Dead letters: there are more")

	require.Equal(t, "1 retried\n", run(t, on(db), "retry", "--event", letters[1].EventID.String()).done(t).out)
	require.Equal(t, 1, count("event"))
	for _, mode := range [][]string{{}, {"--drop"}, {"--list"}} {
		require.Equal(t, "no dead letters with status nonsense; to see all, run: iuworker dead-letters list\n",
			run(t, on(db), append([]string{"retry", "--status", "nonsense"}, mode...)...).done(t).out)
	}
	require.JSONEq(t, `{"retried": 2500, "left": 0}`, run(t, on(db), "retry", "--status", "template_not_found", "--json").done(t).out)
	require.Equal(t, 2501, count("event"))
	require.Equal(t, 5, count("dead_letter"))
	require.Equal(t, "2 dropped\n", run(t, on(db), "retry", "--status", "invalid_input", "--drop", "--expect", "2").done(t).out)
	require.Equal(t, "3 retried\n", run(t, on(db), "retry", "--all").done(t).out)
	require.Zero(t, count("dead_letter"))
	require.Equal(t, 6, count("audit"), "a line for each transaction that moved something")
}

func TestRetryLeavesWhatTheOutboxRefuses(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "letter", 1)
	bury(t, db, template, 1200, "refused")
	db.Exec(t, `UPDATE iu_outbox.dead_letter SET event = event || '{"instance_key_suffix": " "}'`)
	bury(t, db, template, 1, "good")
	r := run(t, on(db), "retry", "--all")
	r.failed(t, exitFailed, "1200 dead letters remain: the outbox refuses their events")
	require.Equal(t, "1 retried\n", r.out)
	require.Equal(t, "1200 dropped\n", run(t, on(db), "retry", "--all", "--drop", "--yes").done(t).out)
}

func TestStatus(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	require.Regexp(t, `(?s)\nPipeline\n  outbox +empty\n.*\nJobs: none\n\nDead letters: none\n\nConsumers: none\n\nWorkers: none\n\nRun:\n  iuworker work\n$`,
		run(t, on(db), "status").done(t).out)

	instantiate(t, db, template, "a-1", "ann")
	bury(t, db, template, 10001, "cancelled")
	bury(t, db, template, 2, "invalid_input")
	run(t, on(db), "enqueue", "--template", "letter").done(t)
	run(t, on(db), "scaleout", "--template", "letter", "--count", "3", "--prefix", "p", "--actor", "ann").done(t)
	db.Exec(t, `UPDATE iu_river.river_job SET state = 'scheduled', metadata = '{"parked": {"gate": "composer"}}' WHERE id = 1`)
	db.Exec(t, `INSERT INTO iu_outbox.worker (id, lock_key, hostname, pid, version, seen_at)
		VALUES ('w1', 1, 'h', 2, '0.1.0', now()), ('w2', 2, 'h', 3, '0.1.0', now() - interval '1 hour')`)
	db.Exec(t, `INSERT INTO iu_outbox.consumer (name, epoch, position, tries, last_error) SELECT 'invoices', epoch, 0, 3, 'no' FROM iu_outbox.emission_counter`)
	db.Exec(t, "SELECT iu_outbox.emit(10)")
	instantiate(t, db, template, "a-2", "ann")
	db.Exec(t, "UPDATE public.event_type_registry SET active = false")

	state := decode[status.Status](t, run(t, on(db), "status", "--json").done(t))
	require.Equal(t, db.Name, state.Database)
	require.Len(t, state.Gates, 2)
	require.EqualValues(t, 1, state.Outbox.N)
	require.NotNil(t, state.Outbox.OldestAt)
	require.Equal(t, []status.JobCount{
		{Queue: "scaleout", State: "available", Count: operate.Count{N: 2}},
		{Queue: "scaleout", State: "scheduled", Count: operate.Count{N: 1}},
	}, state.Jobs)
	require.Equal(t, []status.ParkedCount{{Gate: "composer", Count: operate.Count{N: 1}}}, state.Parked)
	require.Equal(t, []status.DeadLetterCount{
		{Status: "cancelled", Count: operate.Count{N: 10000, More: true}},
		{Status: "invalid_input", Count: operate.Count{N: 2}},
	}, state.DeadLetters)
	require.EqualValues(t, 1, state.Emissions.LastPosition)
	require.EqualValues(t, 1, state.Emissions.Waiting.N)
	require.True(t, state.Emissions.Held)
	require.Len(t, state.Consumers, 1)
	require.EqualValues(t, 1, *state.Consumers[0].Lag)
	require.True(t, state.Workers[0].Alive)
	require.False(t, state.Workers[1].Alive)

	db.Exec(t, `INSERT INTO iu_river.river_queue (name, paused_at, updated_at) VALUES ('scaleout', now() - interval '90 minutes', now())
		ON CONFLICT (name) DO UPDATE SET paused_at = excluded.paused_at`)
	text := run(t, on(db), "status").done(t).out
	for _, line := range []string{
		`  outbox +1, the oldest for `, `  gate composer +open$`, `  to announce +1, the oldest for .*, held back`, `  parked +composer +1$`,
		`  queue scaleout +paused +for 1h30m`, `Dead letters: over 10,002$`, `  cancelled +over 10,000$`, `Consumers: 1, 1 needs attention$`,
		`  invoices +1 behind, no process for `, `Workers: 1 alive, 1 silent$`, `  w1 +alive, version 0.1.0`, `  w2 +silent for 1h`,
		`  iuworker scaleout resume$`, `  iuworker dead-letters list$`, `  iuworker consumers$`,
	} {
		require.Regexp(t, "(?m)^"+line, text)
	}
	require.NotContains(t, text, "gate open", "the gate is open: a worker resumes what is parked")
	db.Exec(t, "UPDATE public.dot_config SET value = 'false' WHERE key = 'iu_core.composer_enabled'")
	require.Regexp(t, `(?m)^  iuworker gate open composer$`, run(t, on(db), "status").done(t).out)

	db.Exec(t, `INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT repeat('long-', 24), epoch, 0 FROM iu_outbox.emission_counter`)
	long := run(t, on(db), "status").done(t).out
	require.Contains(t, long, strings.Repeat("long-", 24), "a pipe is given all of it")
	narrow, err := onTerminalWith(t, db, "", []string{"TERM=xterm", "NO_COLOR=1", columnsOfTerminal + "=80"}, "status")
	require.NoError(t, err)
	require.Regexp(t, `  (long-)+l?o?n?g?-?…  1 behind, no process for `, narrow)
	for line := range strings.Lines(narrow) {
		require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSpace(line)), 80, line)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	require.Contains(t, run(t, on(db), "conformance").done(t).out, "7/7 PASS, created by iuworker")
	require.Contains(t, run(t, on(db), "conformance", "--all").done(t).out, "fn_iu_compose(text, text, uuid[], text, text)")
	db.Exec(t, "GRANT UPDATE ON dot_config TO PUBLIC")
	require.Contains(t, run(t, on(db), "conformance").done(t).out, "foreign grant: PUBLIC has UPDATE on TABLE public.dot_config; "+
		"to remove it, run: REVOKE UPDATE ON TABLE public.dot_config FROM PUBLIC CASCADE\n7/7 PASS, created by iuworker")
	db.Exec(t, "REVOKE UPDATE ON dot_config FROM PUBLIC")

	db.Exec(t, "DROP VIEW public.v_iu_auto_instantiate_event_summary")
	r := run(t, on(db), "conformance").failed(t, exitFailed, "iu-core does not conform: 6/7 PASS")
	require.Regexp(t, `v_iu_auto_instantiate_event_summary +FAIL +missing`, r.out)
	report := decode[conformance.Report](t, run(t, on(db), "conformance", "--json"))
	require.Equal(t, "6/7 PASS", report.Verdict)
	require.False(t, report.Passed())

	run(t, on(iutest.Empty(t)), "conformance").failed(t, exitFailed, "there is no iu-core here")
}

func TestSelftest(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	r := run(t, on(db), "selftest").done(t)
	require.Contains(t, r.out, "12/12 PASS")
	require.NotContains(t, r.out, "FAIL")

	db.Exec(t, "INSERT INTO public.event_route (event_type, target) VALUES ('iu.template.instance_auto_composed', 'x')")
	r = run(t, on(db), "selftest").failed(t, exitFailed, "11 of 12 probes passed")
	require.Contains(t, r.out, "FAIL")
	report := decode[conformance.SelftestReport](t, run(t, on(db), "selftest", "--json"))
	require.Len(t, report.Probes, 12)
	require.Equal(t, 11, report.Passed)
}

// Operators use these commands with the role that is for them, behind whatever pooler.
func TestOperatorsMayDoWhatOperatorsDo(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template := db.Template(t, "letter", 1)
			instantiate(t, db, template, "a-1", "ann")
			bury(t, db, template, 1, "cancelled")
			db.Exec(t, "SELECT iu_outbox.open_consumer('mail', NULL, NULL)")
			db.Exec(t, "INSERT INTO iu_river.river_queue (name, updated_at) VALUES ('scaleout', now())")
			env := environment{"IUWORKER_DATABASE_URL": db.URLAs("iu_operator") + "&default_query_exec_mode=" + mode}
			for _, args := range []string{
				"gate status", "trace tpl-inst:auto:a-1", "gate close composer", "gate open composer", "status", "conformance", "rollback --actor ann",
				"rollback --actor ann --execute --expect 1", "retry --list", "retry --status cancelled", "retry --all --drop --yes",
				"enqueue --template letter --in 1h", "scaleout --template letter --count 2 --prefix p --actor a", "migrate status",
				"scaleout status p", "scaleout cancel p --yes", "scaleout pause", "scaleout resume",
				"consumers", "consumers reset mail --to now --yes", "consumers dead-letters mail", "consumers replay mail",
				"consumers dead-letters mail --drop --yes", "consumers delete mail --yes",
			} {
				t.Log(args)
				run(t, env, strings.Fields(args)...).done(t)
			}
		})
	}
}

func TestOthersMayDoWhatIsTheirs(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	announce(t, db, db.Template(t, "letter", 1), "a")
	app := environment{"IUWORKER_DATABASE_URL": db.URLAs("iu_app")}
	run(t, app, "templates").failed(t, exitFailed, "it needs the role iu_operator; as an administrator, run: GRANT iu_operator TO \"iu_app\"")
	run(t, app, "gate", "open", "composer").failed(t, exitFailed, "it needs the role iu_operator; as an administrator, run: GRANT iu_operator TO \"iu_app\"")
	run(t, app, "enqueue", "--template", "letter").done(t)
	subscriber := environment{"IUWORKER_DATABASE_URL": db.URLAs("iu_subscriber")}
	run(t, subscriber, "subscribe", "--after", "0", "--limit", "1").done(t)
	run(t, subscriber, "subscribe", "--consumer", "c", "--limit", "1").done(t)
	run(t, subscriber, "subscribe", "--from", "beginning", "--template", "letter", "--limit", "1").done(t)
}

func TestACancelledCommandEnds(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := runWith(ctx, on(db), "status")
	require.Equal(t, exitFailed, r.code)
	r.oneSentence(t)
}

// On a terminal the watch has a screen of its own: what the terminal showed before comes back, with its scrollback.
func TestStatusWatchLeavesTheTerminalAsItWas(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := newBuffer()
	cmd := exec.CommandContext(ctx, "script", "--quiet", "--return", "--command", "exec "+shellWord(os.Args[0])+" status --watch", os.DevNull)
	cmd.Env = append(os.Environ(), runsMain+"=1", "IUWORKER_DATABASE_URL="+db.URL)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	out.await(t, "gate composer")
	_, err = stdin.Write([]byte{3}) // Ctrl-C
	require.NoError(t, err)
	out.await(t, leaveScreen)
	require.NoError(t, cmd.Wait())
	require.True(t, strings.HasPrefix(out.String(), enterScreen) || strings.Contains(out.String(), enterScreen+clearScreen), out.String())
	require.NotContains(t, out.String(), "\x1b[3J", "it erases the scrollback")
}

func TestSubscribeSaysOnATerminalThatItWaits(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	instantiate(t, db, db.Template(t, "letter", 1), "a-1", "ann")
	db.Exec(t, "SELECT iu_outbox.emit(100)")
	out, err := onTerminal(t, db, "", "subscribe", "--after", "0", "--limit", "1")
	require.NoError(t, err, out)
	require.Regexp(t, `waiting for events after [0-9a-f]{8}-0; Ctrl-C to stop\n`, out)
}
