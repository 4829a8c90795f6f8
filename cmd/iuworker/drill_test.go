package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/drill"
	"github.com/iu-core/iuworker/internal/iutest"
)

// startDrill starts a drill whose directories are in the test's own, on a database or, with nil, on a server of its own.
func startDrill(t *testing.T, db *iutest.DB, args ...string) (p *program, temp string) {
	t.Helper()
	iutest.Heavy(t)
	temp, err := os.MkdirTemp("/tmp", "drill") //nolint:usetesting // short enough for sockets, and open to the server's user
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(temp)) })
	require.NoError(t, os.Chmod(temp, 0o711)) //nolint:gosec // its parts are private
	p = &program{
		cmd: exec.CommandContext(t.Context(), os.Args[0], append([]string{"drill", "--json"}, args...)...),
		out: newBuffer(), errOut: newBuffer(), ended: make(chan error, 1),
	}
	p.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TMPDIR=") }),
		runsMain+"=1", "TMPDIR="+temp)
	if db != nil {
		p.cmd.Env = append(p.cmd.Env, "IUWORKER_DATABASE_URL="+db.URL)
	}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.errOut
	require.NoError(t, p.cmd.Start())
	go func() { p.ended <- p.cmd.Wait() }()
	return p, temp
}

// drills returns what drills left in a directory.
func drills(t *testing.T, temp string) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(temp, "iuworker-drill-*"))
	require.NoError(t, err)
	return left
}

// reportOf returns the report that a drill printed.
func reportOf(t *testing.T, p *program) (report drill.Report) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(p.out.String()), &report), "stdout: %s\nstderr: %s", p.out, p.errOut)
	return report
}

func TestDrillPassesAndLeavesNothing(t *testing.T) {
	t.Parallel()
	p, temp := startDrill(t, nil, "--only", "kill-workers,kill-server,lossy-failover", "--seed", "3")
	require.NoError(t, <-p.ended, "%s%s", p.out, p.errOut)
	report := reportOf(t, p)
	require.True(t, report.Passed)
	require.Empty(t, report.Findings)
	require.Positive(t, report.Audited.Announced)
	require.Positive(t, report.Verified)
	require.Len(t, report.Scenarios, 3)
	for _, s := range report.Scenarios {
		require.Equal(t, drill.Passed, s.Verdict, s.Scenario)
		require.Len(t, s.Recoveries, 1, s.Scenario)
		require.Positive(t, s.Recoveries[0], s.Scenario)
	}
	require.Empty(t, drills(t, temp), "what passed leaves nothing")
	require.Equal(t, 4*report.Audited.Announced, report.Audited.Received, "each subscriber has each announcement of the present history")
}

// scratchOf waits until a drill on a server has composed, and connects to its scratch database.
func scratchOf(t *testing.T, db *iutest.DB, login string) *pgx.Conn {
	t.Helper()
	const whose = `FROM pg_catalog.pg_database AS d
		WHERE pg_catalog.starts_with(d.datname::text, 'iuworker_drill_') AND pg_catalog.pg_get_userbyid(d.datdba) = `
	db.WaitFor(t, patience, "SELECT EXISTS (SELECT "+whose+"'"+login+"')")
	var name string
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT d.datname "+whose+"$1", login).Scan(&name))
	cfg := db.Pool.Config().ConnConfig
	cfg.Database = name
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) }) // the drill may have ended it
	return conn
}

// drillLogin creates a login for this test alone, and returns the database with its address, and a query that is true while it owns
// no scratch database.
func drillLogin(t *testing.T, db *iutest.DB) (as *iutest.DB, login, dropped string) {
	t.Helper()
	login = strings.ToLower(t.Name())
	db.Exec(t, "CREATE ROLE "+login+" LOGIN SUPERUSER")
	t.Cleanup(func() {
		_, err := db.Pool.Exec(context.WithoutCancel(t.Context()), "DROP ROLE "+login)
		require.NoError(t, err)
	})
	copied := *db
	copied.URL = db.URLAs(login)
	return &copied, login, `SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_database AS d
		WHERE pg_catalog.starts_with(d.datname::text, 'iuworker_drill_') AND pg_catalog.pg_get_userbyid(d.datdba) = '` + login + `')`
}

// skips lets a consumer of a drill skip more events than the batch that it may just be handling, while the first scenario runs. It
// reports whether it could: on a busy machine, the drill may have ended before.
func skips(t *testing.T, p *program, conn *pgx.Conn) (done bool) {
	t.Helper()
	unlessEnded := func(condition func() bool, limit time.Duration) bool {
		iutest.Eventually(t, func() bool {
			done = condition()
			return done || len(p.ended) > 0
		}, limit)
		return done
	}
	// A drill whose events are not delivered before its first scenario ends without a report.
	began := func() bool { return strings.Contains(p.errOut.String(), "scenario 1 of 1: restart-loop") }
	received := func() (received bool) {
		err := conn.QueryRow(t.Context(), `
			SELECT (SELECT pg_catalog.count(*) = 2 FROM iu_outbox.consumer AS c WHERE c.position > 30)
			   AND EXISTS (`+finishedDryRun+`)`).Scan(&received)
		return err == nil && received
	}
	skipped := func() bool {
		tag, err := conn.Exec(t.Context(), `
			UPDATE iu_outbox.consumer AS c SET position = c.position + 60, last_event_id = NULL
			FROM iu_outbox.emission_counter AS e WHERE c.name = 'consumer-2' AND c.position > e.position - 5`)
		return err == nil && tag.RowsAffected() == 1
	}
	return unlessEnded(began, 2*patience) && unlessEnded(received, patience) && unlessEnded(skipped, patience)
}

// finishedDryRun lists instances that nothing composes again if they are missing.
const finishedDryRun = `
	SELECT l.instance_collection_id FROM public.iu_auto_instantiate_event_log AS l
	JOIN iu_river.river_job AS j ON j.args ->> 'idempotency_key' = l.idempotency_key
	WHERE l.emit_mode = 'dry_run' AND j.state = 'completed'`

// A drill whose data are damaged behind its back must find each damage, and say which.
func TestDrillFindsWhatIsLost(t *testing.T) {
	t.Parallel()
	db, login, dropped := drillLogin(t, iutest.Empty(t))
	start := func() (p *program, temp string, conn *pgx.Conn) {
		p, temp = startDrill(t, db, "--only", "restart-loop,kill-server", "--rate", "30", "--patience", "10s")
		return p, temp, scratchOf(t, db, login)
	}
	p, temp, conn := start()
	for tries := 1; !skips(t, p, conn); tries++ {
		<-p.ended //nolint:errcheck // nothing was damaged
		require.Less(t, tries, 3, "the scenario is always over before its data can be damaged: %s%s", p.out, p.errOut)
		p, temp, conn = start()
	}
	var unlogged, unannounced string
	damage := func(to *string, sql string) {
		t.Helper()
		tx, err := conn.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), "SET LOCAL session_replication_role = replica") // no trigger repairs or notes it
		require.NoError(t, err)
		require.NoError(t, tx.QueryRow(t.Context(), sql).Scan(to))
		require.NoError(t, tx.Commit(t.Context()))
	}
	// An instance that nobody has heard of: a dry run.
	damage(&unlogged, `DELETE FROM public.iu_auto_instantiate_event_log AS l WHERE l.instance_collection_id = (`+finishedDryRun+` LIMIT 1)
		RETURNING l.event_id::text`)
	damage(&unannounced, `DELETE FROM iu_outbox.emission AS e WHERE e.position = 10 RETURNING e.event #>> '{data,event_id}'`)

	exit, ok := errors.AsType[*exec.ExitError](<-p.ended)
	require.True(t, ok, "%s%s", p.out, p.errOut)
	require.Equal(t, exitFailed, exit.ExitCode())
	report := reportOf(t, p)
	require.False(t, report.Passed)
	found := func(kind drill.Kind, event, who, problem string) {
		t.Helper()
		require.True(t, slices.ContainsFunc(report.Findings, func(f drill.Finding) bool {
			return f.Kind == kind && (event == "" || f.Event == event) && f.Who == who && strings.Contains(f.Problem, problem)
		}), "%s %s %s %q in %.5000s", kind, event, who, problem, fmt.Sprintf("%+v", report.Findings))
	}
	found(drill.Lost, unlogged, "", "it has no instance")
	found(drill.Gap, "", "", "no event has position 10")
	found(drill.Gap, unannounced, "", "was never announced")
	found(drill.Gap, "", "consumer-2", "it did not receive position")
	require.Positive(t, report.Wrong, "verify finds what it can see, too")
	require.Equal(t, drill.Skipped, report.Scenarios[1].Verdict, "the server is not the drill's")
	require.Contains(t, report.Scenarios[1].Reason, "not the drill's own")

	require.Equal(t, []string{report.Left}, drills(t, temp))
	require.Contains(t, p.errOut.String(), report.Left)
	for _, name := range []string{drill.Evidence, "repeat.sh", "worker-1.log", "consumer-2a.log", "consumer-2.jsonl", "stream-1.jsonl"} {
		require.FileExists(t, filepath.Join(report.Left, name))
	}
	repeat, err := os.ReadFile(filepath.Join(report.Left, "repeat.sh"))
	require.NoError(t, err)
	require.Contains(t, string(repeat), "iuworker drill --only restart-loop,kill-server --seed 1 --rate 30 --patience 10s")
	db.WaitFor(t, patience, dropped)
}

func TestDrillThatIsInterruptedLeavesNothing(t *testing.T) {
	t.Parallel()
	db, login, dropped := drillLogin(t, iutest.Empty(t))
	p, temp := startDrill(t, db, "--only", "suspend", "--rate", "10")
	conn := scratchOf(t, db, login)
	iutest.Eventually(t, func() bool {
		var composed bool
		err := conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log)").Scan(&composed)
		return err == nil && composed
	}, patience)
	p.signal(t, syscall.SIGINT)
	require.Error(t, <-p.ended)
	require.Contains(t, p.errOut.String(), "interrupted; the scratch installation is deleted")
	require.Empty(t, p.out.String())
	require.Empty(t, drills(t, temp))
	db.WaitFor(t, patience, dropped)
}

func TestDrillThatSkipsEverythingDoesNotPass(t *testing.T) {
	t.Parallel()
	db, _, dropped := drillLogin(t, iutest.Empty(t))
	p, temp := startDrill(t, db, "--only", "kill-server,failover", "--rate", "10")
	exit, ok := errors.AsType[*exec.ExitError](<-p.ended)
	require.True(t, ok, "%s%s", p.out, p.errOut)
	require.Equal(t, exitFailed, exit.ExitCode())
	require.Contains(t, p.errOut.String(), "nothing was proven: every scenario was skipped")
	report := reportOf(t, p)
	require.False(t, report.Passed)
	require.Empty(t, report.Findings)
	require.Empty(t, drills(t, temp))
	db.WaitFor(t, patience, dropped)
}

func TestDrillSaysWhatItCannotUse(t *testing.T) {
	t.Parallel()
	env := environment{"IUWORKER_DATABASE_URL": nowhere}
	run(t, env, "drill", "--only", "earthquake").failed(t, exitUsage, `--only names "earthquake", which is none of kill-workers, `)
	run(t, env, "drill", "--minutes", "0").failed(t, exitUsage, "from 1 to")
	run(t, env, "drill", "kill-workers").failed(t, exitUsage, "drill takes no argument")
	run(t, environment{}, "drill", "--direct-database-url", nowhere).failed(t, exitUsage, "needs --database-url")
	run(t, environment{"IUWORKER_DATABASE_URL": "postgres://a@127.0.0.1:1,127.0.0.1:2/x"}, "drill").
		failed(t, exitUsage, "this one names several hosts")
	run(t, env, "drill").failed(t, exitFailed, "cannot connect to PostgreSQL at 127.0.0.1:1")
	list := decode[[]drill.List](t, run(t, env, "drill", "--list", "--json").done(t))
	require.Equal(t, drill.Scenarios(), list)
	require.Contains(t, run(t, env, "drill", "--list").done(t).out, "half-open")
}

// The addresses of the processes lead through a proxy, and keep everything else.
func TestDrillAddressesLeadThroughAProxy(t *testing.T) {
	t.Parallel()
	for address, want := range map[string][2]string{
		"postgres://ann@db.example.com/shop?sslmode=verify-full": {
			"postgres://ann@db.example.com/shop?sslmode=verify-full&dbname=d&hostaddr=127.0.0.1&port=7",
			"postgres://ann@db.example.com/shop?sslmode=verify-full&dbname=d&host=%2Ftmp%2Fx&port=7",
		},
		"postgres:///shop": {
			"postgres:///shop?dbname=d&hostaddr=127.0.0.1&port=7", "postgres:///shop?dbname=d&host=%2Ftmp%2Fx&port=7",
		},
		"host=db user=ann dbname=shop": {
			"host=db user=ann dbname=shop dbname=d hostaddr=127.0.0.1 port=7", "host=db user=ann dbname=shop dbname=d host=/tmp/x port=7",
		},
	} {
		require.Equal(t, want, [2]string{throughProxy(address, "d", "127.0.0.1", 7), throughProxy(address, "d", "/tmp/x", 7)})
	}
	require.Equal(t, []string{"PATH=/bin", "PGSSLMODE=require", "PGPASSWORD=secret"}, drillEnviron(
		[]string{"PATH=/bin", "IUWORKER_RATE=3", "IUWORKER_DATABASE_URL=x", "DATABASE_URL=y", "PGSSLMODE=require", "PGPASSWORD=other"}, true, "secret"))
	require.Equal(t, []string{"PATH=/bin"}, drillEnviron([]string{"PATH=/bin", "PGHOST=x"}, false, ""))
}

// The table of scenarios in docs/reliability.md is that of --list.
func TestDrillScenarios(t *testing.T) {
	t.Parallel()
	table := "| scenario | what it does |\n| --- | --- |\n"
	for _, s := range drill.Scenarios() {
		table += "| `" + s.Name + "` | " + s.Does + " |\n"
	}
	generated(t, "docs/reliability.md", "scenarios", table)
}

// On a server of others a login without privileges on it is enough.
func TestDrillNeedsNoSuperuser(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	login := strings.ToLower(t.Name())
	db.Exec(t, "CREATE ROLE "+login+" LOGIN CREATEDB")
	t.Cleanup(func() {
		_, err := db.Pool.Exec(context.WithoutCancel(t.Context()), "DROP ROLE "+login)
		require.NoError(t, err)
	})
	other := *db
	other.URL = db.URLAs(login)
	p, temp := startDrill(t, &other, "--only", "no-connections,cut-sessions", "--rate", "20")
	require.NoError(t, <-p.ended, "%s%s", p.out, p.errOut)
	report := reportOf(t, p)
	require.True(t, report.Passed)
	require.Equal(t, []drill.Verdict{drill.Passed, drill.Passed}, []drill.Verdict{report.Scenarios[0].Verdict, report.Scenarios[1].Verdict})
	require.Empty(t, drills(t, temp))
}
