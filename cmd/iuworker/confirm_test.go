package main

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// destructive is a command that destroys or skips something that the database contains.
type destructive struct {
	args   []string
	expect int    // the right value of --expect
	says   string // names what was not done
	left   string // a query that returns true while nothing was lost
}

// prepareDestruction creates what the destructive commands destroy.
func prepareDestruction(t testing.TB, db *iutest.DB) []destructive {
	t.Helper()
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	for n := range 3 {
		instantiate(t, db, template, fmt.Sprint("a-", n), "ann")
	}
	db.Exec(t, "SELECT iu_outbox.emit(100)")
	db.Exec(t, `INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'mail', c.epoch, 1 FROM iu_outbox.emission_counter AS c`)
	db.Exec(t, `INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'old', c.epoch, 1 FROM iu_outbox.emission_counter AS c`)
	db.Exec(t, `INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'late', c.epoch, 0 FROM iu_outbox.emission_counter AS c`)
	db.Exec(t, `
		INSERT INTO iu_outbox.consumer_dead_letter (consumer, epoch, position, event, tries, error)
		SELECT 'late', c.epoch, n, '{}', 3, 'no' FROM iu_outbox.emission_counter AS c, generate_series(1, 2) AS n`)
	bury(t, db, template, 4, "invalid_input")
	run(t, on(db), "scaleout", "--template", "letter", "--count", "5", "--prefix", "spring", "--actor", "a").done(t)
	db.Exec(t, `UPDATE dot_config SET value = 'false' WHERE key = 'iu_core.auto_instantiate_enabled'`)
	db.Exec(t, `
		INSERT INTO iu_river.river_job (kind, args, max_attempts, state, scheduled_at, metadata)
		SELECT 'auto_instantiate', '{}', 1, 'scheduled', now() + interval '1 day', '{"parked": {"gate": "auto-instantiate"}}'
		FROM generate_series(1, $1::int)`, askAbove+1)
	return []destructive{
		{[]string{"rollback", "--actor", "ann", "--execute"}, 3, "deleted", "SELECT count(*) = 3 FROM iu_auto_instantiate_event_log"},
		{[]string{"consumers", "reset", "mail", "--to", "now"}, 2, "skipped", "SELECT position = 1 FROM iu_outbox.consumer WHERE name = 'mail'"},
		{[]string{"consumers", "delete", "old"}, 2, "deleted", "SELECT EXISTS (SELECT FROM iu_outbox.consumer WHERE name = 'old')"},
		{[]string{"consumers", "dead-letters", "late", "--drop"}, 2, "dropped", "SELECT count(*) = 2 FROM iu_outbox.consumer_dead_letter"},
		{[]string{"retry", "--all", "--drop"}, 4, "dropped", "SELECT count(*) = 4 FROM iu_outbox.dead_letter"},
		{
			[]string{"scaleout", "cancel", "spring"}, 5, "cancelled",
			"SELECT count(*) = 5 FROM iu_river.river_job WHERE queue = 'scaleout' AND state = 'available'",
		},
		{[]string{"gate", "open", "auto-instantiate"}, askAbove + 1, "opened", "SELECT NOT open FROM iu_outbox.gate_status() WHERE gate = 'auto-instantiate'"},
	}
}

func intact(t testing.TB, db *iutest.DB, d destructive) bool {
	t.Helper()
	var there bool
	require.NoError(t, db.Pool.QueryRow(t.Context(), d.left).Scan(&there))
	return there
}

func with(args []string, more ...string) []string {
	return append(append([]string{}, args...), more...)
}

func TestWhatDestroysNeedsTheNumberWithoutATerminal(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	for _, d := range prepareDestruction(t, db) {
		// Environment variables never confirm a change.
		env := on(db)
		for _, name := range []string{"YES", "EXPECT", "EXECUTE", "FORCE", "DROP", "ALL", "JSON"} {
			env["IUWORKER_"+name] = "true"
		}
		r := run(t, env, d.args...).failed(t, exitUsage, "nothing was "+d.says+": pass ")
		require.Contains(t, r.errOut, fmt.Sprintf("--expect %d", d.expect), d.args)
		require.Empty(t, r.out, d.args)
		run(t, on(db), with(d.args, "--expect", fmt.Sprint(d.expect+1))...).
			failed(t, exitFailed, fmt.Sprintf("nothing was %s: there are %d ", d.says, d.expect))
		require.True(t, intact(t, db, d), d.args)

		done := run(t, on(db), with(d.args, "--expect", fmt.Sprint(d.expect), "--json")...).done(t)
		require.True(t, json.Valid([]byte(done.out)), done.out)
		require.False(t, intact(t, db, d), d.args)
	}
}

func TestWhatDestroysAsksOnATerminal(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	for _, d := range prepareDestruction(t, db) {
		word := "yes"
		if d.args[0] == "rollback" {
			word = "ann"
		}
		out, err := onTerminal(t, db, "no\n", d.args...)
		require.Error(t, err, out)
		require.Contains(t, out, "Type "+word+" to confirm: ")
		require.Contains(t, out, "nothing was "+d.says+": you did not type "+word)
		require.True(t, intact(t, db, d), d.args)

		out, err = onTerminal(t, db, word+"\n", with(d.args)...)
		require.NoError(t, err, out)
		require.False(t, intact(t, db, d), d.args)
	}
}

// A command that loses nothing asks for no confirmation.
func TestWhatLosesNothingAsksNothing(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	prepareDestruction(t, db)
	for _, args := range [][]string{
		{"rollback", "--actor", "ann"},
		{"rollback", "--actor", "nobody", "--execute"},
		{"consumers", "reset", "mail", "--to", "beginning"},
		{"consumers", "dead-letters", "mail", "--drop"},
		{"retry", "--status", "unheard_of", "--drop"},
		{"retry", "--list"},
		{"gate", "open", "composer"},
		{"gate", "close", "composer"},
	} {
		run(t, on(db), args...).done(t)
	}
	run(t, on(db), "consumers", "delete", "nobody").failed(t, exitFailed, "unknown consumer")
	run(t, on(db), "consumers", "delete", "late", "--yes").failed(t, exitFailed, "replay or drop them first")
	run(t, on(db), "scaleout", "cancel", "nope", "--yes").failed(t, exitFailed, "no such scale-out")
	run(t, on(db), "retry", "--all", "--yes").failed(t, exitUsage, "--expect and --yes need --drop")
	run(t, on(db), "retry", "--all", "--drop", "--yes", "--expect", "1").failed(t, exitUsage, "contradict each other")
}

// A variable that was exported for one command must not change what another command acts on.
func TestVariablesChooseNothing(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	env := on(db)
	for _, name := range []string{"ACTOR", "TEMPLATE", "LIMIT", "FROM", "STATUS", "EVENT", "CONSUMER", "TO", "PREFIX", "COUNT"} {
		env["IUWORKER_"+name] = "1"
	}
	run(t, env, "rollback").failed(t, exitUsage, "--actor is missing")
	run(t, env, "retry").failed(t, exitUsage, "say which dead letters")
	run(t, env, "scaleout").failed(t, exitUsage, "--template is missing")
	run(t, env, "consumers", "reset", "mail").failed(t, exitUsage, "--to is missing")
	db.OpenGates(t)
	instantiate(t, db, db.Template(t, "letter", 1), "a-1", "ann")
	db.Exec(t, "SELECT iu_outbox.emit(100)")
	require.Contains(t, run(t, env, "subscribe", "--from", "beginning", "--limit", "1").out, "tpl-inst:auto:a-1")
}
