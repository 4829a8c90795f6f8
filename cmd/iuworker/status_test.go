package main

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
)

func TestStatusWatch(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	lines := start(t, db, "status", "--watch", "--json")
	texts := start(t, db, "status", "--watch")
	iutest.Eventually(t, func() bool {
		return strings.Count(lines.out.String(), "\n") >= 2 && strings.Count(texts.out.String(), "outbox ") >= 2
	}, patience)
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
	db.KeepAlive(t, "w1")
	db.Exec(t, `INSERT INTO iu_outbox.consumer (name, epoch, position, tries, last_error) SELECT 'invoices', epoch, 0, 3, 'no' FROM iu_outbox.emission_counter`)
	db.Exec(t, "SELECT iu_outbox.emit(10)")
	instantiate(t, db, template, "a-2", "ann")
	db.Exec(t, "UPDATE public.event_type_registry SET active = false")

	state := decode[status.Status](t, run(t, on(db), "status", "--json").done(t))
	require.Equal(t, db.Name, state.Database)
	require.Len(t, state.Gates, 2)
	require.Equal(t, status.Composing{Way: status.WaySets, ByFunction: []string{}}, state.Composing)
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
		`  outbox +1, the oldest for `, `  gate composer +open$`, `  composing +in sets$`,
		`  to announce +1, the oldest for .*, held back`, `  parked +composer +1$`,
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
