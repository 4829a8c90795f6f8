package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
)

// unfinished matches the report of a doctor that a busy machine gave no time for a check.
var unfinished = regexp.MustCompile("no reply (within|in time)|there was no time left|does not arrive within")

// examine runs doctor, and runs it again while the machine gives it too little time.
func examine(t testing.TB, env environment, args ...string) result {
	t.Helper()
	return examined(func() result { return run(t, env, append([]string{"doctor"}, args...)...) })
}

func examined(doctor func() result) (r result) {
	for deadline := time.Now().Add(patience); ; {
		if r = doctor(); !unfinished.MatchString(r.out) || time.Now().After(deadline) {
			return r
		}
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Worker(t, "w")
	well := examine(t, on(db)).done(t)
	require.NotContains(t, well.out, "connection ", "what is ok is not shown")
	require.NotContains(t, well.out, "Run:")
	require.Regexp(t, `\d+ checks( are)? ok.*; --all shows`, well.out)
	every := examine(t, on(db), "--all").done(t)
	require.Regexp(t, `(?m)^ok       connection      database `+db.Name+` at 127\.0\.0\.1:\d+, user postgres, replies in `, every.out)

	db.Exec(t, "DELETE FROM iu_outbox.worker")
	db.Exec(t, "UPDATE dot_config SET value = 'no' WHERE key = 'iu_core.composer_enabled'")
	sick := examine(t, on(db)).failed(t, exitFailed, "checks fails; begin with workers: iuworker work")
	require.Regexp(t, `(?m)^fail     workers +no worker is alive: nothing is composed\n +fix: start one$`, sick.out)
	require.Regexp(t,
		`(?m)^warn     gates +1 gate is closed; jobs are parked \(nothing is lost\)\n.*\n +fix: open it unless it was closed deliberately$`, sick.out)
	require.Less(t, strings.Index(sick.out, "\nwarn"), strings.Index(sick.out, "\nfail"), "the worst is last")
	require.Regexp(t, `\n\nRun:\n  iuworker work\n(  .*\n)*  iuworker gate open composer\n`, sick.out)
	require.Regexp(t, `\n\n1 check fails, \d+ warnings?, \d+ checks ok.*; --all shows all of them\n$`, sick.out)
	require.NotContains(t, sick.out, "\nok ")
	require.NotContains(t, sick.out, "\x1b", "no terminal, no colours")

	asJSON := examine(t, on(db), "--json")
	require.Equal(t, exitFailed, asJSON.code)
	report := decode[doctor.Report](t, asJSON)
	require.Contains(t, sick.errOut, fmt.Sprintf("iuworker: 1 of %d checks fails", len(report.Checks)))
	require.Equal(t, 1, report.Count(operate.HealthFail))
	for _, check := range report.Checks {
		require.Equal(t, strings.Join(check.Commands, " && "), check.Next)
		for _, command := range check.Commands {
			require.NotRegexp(t, `[.…]$`, command, "a command is copied as it stands")
		}
	}
}

func TestDoctorInColour(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	shown := func(env ...string) string {
		return examined(func() result {
			out, err := onTerminalWith(t, db, "", env, "doctor")
			require.Error(t, err)
			return result{out: out}
		}).out
	}
	out := shown("TERM=xterm", "NO_COLOR=")
	require.Contains(t, out, "\x1b[31mfail   \x1b[0m  workers")
	require.Contains(t, out, "\x1b[33mwarn   \x1b[0m  gates")
	for _, plain := range []string{"NO_COLOR=1", "TERM=dumb"} {
		out := shown(plain)
		require.Contains(t, out, "\nfail     workers")
		require.NotContains(t, out, "\x1b", plain)
	}
}

// The doctor reports even if no other command works, and prints no password.
func TestDoctorWithoutADatabase(t *testing.T) {
	t.Parallel()
	gone := run(t, environment{"DATABASE_URL": "postgres://me:s3cret@127.0.0.1:1/x"}, "doctor").
		failed(t, exitFailed, "checks fails; begin with connection")
	require.Contains(t, gone.out, "cannot connect to PostgreSQL at 127.0.0.1:1 as user me, database x")
	require.Regexp(t, `(?m)^1 check fails, \d+ checks skipped: no connection; --all shows all of them$`, gone.out)
	require.Equal(t, 1, strings.Count(gone.out, "no connection"))
	require.NotContains(t, gone.out+gone.errOut, "iuworker dev", "no advice to start a toy server")
	require.NotContains(t, gone.out+gone.errOut, "s3cret")

	empty := examine(t, on(iutest.Empty(t))).failed(t, exitFailed, "begin with schema: iuworker migrate up")
	require.Contains(t, empty.out, "this database has no iuworker schema")
	run(t, on(iutest.Empty(t)), "doctor", "now").failed(t, exitUsage, "doctor takes no argument")
}
