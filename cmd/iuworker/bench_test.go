package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/bench"
	"github.com/iu-core/iuworker/internal/iutest"
)

func TestBenchMeasuresOnAGivenServerAndDropsItsDatabase(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	file := filepath.Join(t.TempDir(), "bench.json")
	args := []string{"bench", "--quick", "--only", "throughput", "--repetitions", "1", "--events", "64", "--json"}

	table := run(t, on(db), append(args, file)...).done(t).out
	require.Contains(t, table, "pipeline")
	require.Contains(t, table, "reference of drain: pgbench, 32 clients")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	report := decode[bench.Report](t, result{out: string(text)})
	require.Equal(t, 64, report.Events)
	require.Equal(t, "drain", report.Measures[0].Name)

	report = decode[bench.Report](t, run(t, on(db), args...).done(t))
	require.Equal(t, 1, report.Repetitions)
	require.NotEqual(t, bench.Verdict(""), report.Measures[0].Verdict)
	db.WaitFor(t, patience, `
		SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_database AS d WHERE pg_catalog.starts_with(d.datname::text, 'iuworker_bench_'))`)
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
