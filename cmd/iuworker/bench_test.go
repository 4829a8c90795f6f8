package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/bench"
	"github.com/iu-core/iuworker/internal/iutest"
)

// benchLogin creates a login for this test alone, and returns the database with its address, and a query that is true while the
// login owns no scratch database.
func benchLogin(t *testing.T, db *iutest.DB) (as *iutest.DB, dropped string) {
	t.Helper()
	login := strings.ToLower(t.Name())
	db.Exec(t, "CREATE ROLE "+login+" LOGIN SUPERUSER")
	t.Cleanup(func() {
		_, err := db.Pool.Exec(context.WithoutCancel(t.Context()), "DROP ROLE "+login)
		require.NoError(t, err)
	})
	copied := *db
	copied.URL = db.URLAs(login)
	return &copied, fmt.Sprintf(`
		SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_database AS d
		WHERE pg_catalog.starts_with(d.datname::text, 'iuworker_bench_') AND pg_catalog.pg_get_userbyid(d.datdba) = '%s')`, login)
}

func TestBenchMeasuresOnAGivenServerAndDropsItsDatabase(t *testing.T) {
	t.Parallel()
	db, dropped := benchLogin(t, iutest.Empty(t))
	file := filepath.Join(t.TempDir(), "bench.json")
	table := run(t, on(db), "bench", "--quick", "--only", "throughput", "--repetitions", "1", "--events", "64", "--json", file).done(t).out
	require.Contains(t, table, "pipeline")
	require.Contains(t, table, "reference of drain: pgbench, 32 clients")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	report := decode[bench.Report](t, result{out: string(text)})
	require.Equal(t, 64, report.Events)
	require.Equal(t, "drain", report.Measures[0].Name)

	report = decode[bench.Report](t, run(t, on(db), "bench", "--quick", "--only", "latency", "--repetitions", "1", "--json").done(t))
	require.Equal(t, 1, report.Repetitions)
	require.NotEqual(t, bench.Verdict(""), report.Measures[0].Verdict)
	db.WaitFor(t, patience, dropped)
}

func TestBenchThatIsInterruptedDropsItsDatabase(t *testing.T) {
	t.Parallel()
	db, dropped := benchLogin(t, iutest.Empty(t))
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		p := start(t, db, "bench", "--only", "throughput", "--events", "1000000")
		db.WaitFor(t, patience, `SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS a
			WHERE a.usename = '`+strings.ToLower(t.Name())+`' AND a.query LIKE '%fn_iu_auto_instantiate_from_event%pg_catalog.gen_random_uuid%')`)
		p.signal(t, signal)
		require.Error(t, <-p.ended)
		require.Contains(t, p.errOut.String(), "interrupted; the scratch database is deleted")
		require.Empty(t, p.out.String())
		db.WaitFor(t, patience, dropped)
	}
}

// The database of a run that was killed is dropped by the next run, even if its pgbench still runs. Those of living runs are not.
func TestBenchDropsWhatAKilledRunLeft(t *testing.T) {
	t.Parallel()
	db, dropped := benchLogin(t, iutest.Empty(t))
	begin := func(but string) (p *program, name string) {
		p = start(t, db, "bench", "--only", "throughput", "--events", "1000000")
		database := fmt.Sprintf("FROM pg_catalog.pg_database AS d WHERE pg_catalog.pg_get_userbyid(d.datdba) = '%s' AND d.datname NOT IN ('%s')",
			strings.ToLower(t.Name()), but)
		db.WaitFor(t, patience, "SELECT EXISTS (SELECT "+database+")")
		require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT d.datname "+database).Scan(&name))
		return p, name
	}
	const there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_database AS d WHERE d.datname = $1)"
	killed, left := begin("")
	db.WaitFor(t, patience, "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS a WHERE a.datname = $1 AND a.application_name = 'iuworker-bench')", left)
	killed.signal(t, syscall.SIGKILL)
	require.Error(t, <-killed.ended)
	// The server notices only after a while that the killed run's session has ended. Until then its lock says that the run lives.
	db.WaitFor(t, patience, `SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_locks AS l
		WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND $1 = 'iuworker_bench_' || pg_catalog.lpad(pg_catalog.to_hex(l.objid::bigint), 8, '0'))`, left)

	living, own := begin(left)
	db.WaitFor(t, patience, "SELECT NOT ("+strings.TrimPrefix(there, "SELECT ")+")", left)
	next, _ := begin(own) // has swept, since its own database is there
	db.WaitFor(t, patience, there, own)
	for _, p := range []*program{living, next} {
		p.signal(t, syscall.SIGTERM)
		require.Error(t, <-p.ended)
		require.Contains(t, p.errOut.String(), "interrupted; the scratch database is deleted")
	}
	db.WaitFor(t, patience, dropped)
}

func TestBenchSaysWhatItCannotUse(t *testing.T) {
	t.Parallel()
	env := environment{"IUWORKER_DATABASE_URL": nowhere}
	run(t, env, "bench", "--only", "speed").failed(t, exitUsage, `--only names "speed", which is none of throughput, growth`)
	run(t, env, "bench", "--repetitions", "0").failed(t, exitUsage, "from 1 to 100")
	run(t, env, "bench", "bench.json").failed(t, exitUsage, "bench takes no argument")
	run(t, env, "bench", "--json=").failed(t, exitUsage, "it must be the name of a file")
	run(t, environment{}, "bench", "--direct-database-url", nowhere).failed(t, exitUsage, "needs --database-url")
	run(t, env, "bench", "--quick").failed(t, exitFailed, "cannot connect to PostgreSQL at 127.0.0.1:1")
	run(t, env, "bench", "--pgbench", "/nowhere/pgbench").failed(t, exitFailed, "/nowhere/pgbench")
}
