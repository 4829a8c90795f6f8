package iusql_test

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

// config returns the Config for the database of a URL. It logs to the test.
func config(t testing.TB, url string) iusql.Config {
	t.Helper()
	conn, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	return iusql.Config{ConnConfig: conn, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

func up(t testing.TB, db *iutest.DB) *iusql.Result {
	t.Helper()
	result, err := iusql.Up(t.Context(), config(t, db.URL))
	require.NoError(t, err)
	return result
}

// dump returns the database's schema. It sorts the grants on an object, whose order in a dump is random.
func dump(t testing.TB, db *iutest.DB, args ...string) string {
	t.Helper()
	if len(args) == 0 || args[0] != "--data-only" {
		args = append(args, "--schema-only")
	}
	out, err := iutest.Program(t, "pg_dump", append([]string{db.URL}, args...)...)
	require.NoError(t, err)
	out = regexp.MustCompile(`(?m)^\\(un)?restrict .*\n`).ReplaceAllString(out, "")
	return regexp.MustCompile(`(?m)(^GRANT .*\n)+`).ReplaceAllStringFunc(out, func(grants string) string {
		lines := strings.SplitAfter(grants, "\n")
		slices.Sort(lines)
		return strings.Join(lines, "")
	})
}

// sameDump requires two dumps to be equal, and reports the lines in which they differ.
func sameDump(t testing.TB, want, have string) {
	t.Helper()
	if want == have {
		return
	}
	wanted, had := strings.Split(want, "\n"), strings.Split(have, "\n")
	require.Fail(t, "dumps differ", "only wanted:\n%s\n\nonly there:\n%s",
		strings.Join(without(slices.Clone(wanted), had), "\n"), strings.Join(without(slices.Clone(had), wanted), "\n"))
}

func without(lines, others []string) []string {
	return slices.DeleteFunc(lines, func(line string) bool { return slices.Contains(others, line) })
}

// origin returns the origin of a version that a run reported.
func origin(result *iusql.Result, version int64) string {
	for _, status := range result.Versions {
		if status.Version == version {
			return status.Origin
		}
	}
	return "not in this run"
}

// rows returns the rows of a query as text.
func rows(t testing.TB, db *iutest.DB, query string) []string {
	t.Helper()
	result, err := db.Pool.Query(t.Context(), query)
	require.NoError(t, err)
	all, err := pgx.CollectRows(result, pgx.RowTo[string])
	require.NoError(t, err)
	return all
}

const (
	origins  = "SELECT object || ' ' || origin FROM iu_migration.origin ORDER BY object"
	versions = "SELECT version_id::text FROM iu_migration.goose_db_version WHERE is_applied ORDER BY id"
	river    = "SELECT line || ' ' || version FROM iu_river.river_migration ORDER BY version"
)

func TestUpFresh(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)

	result := up(t, db)
	require.Zero(t, result.From)
	require.EqualValues(t, iusql.SchemaVersion, result.To)
	require.True(t, result.Functions)
	require.Len(t, result.Versions, 5)
	require.NoError(t, iusql.CheckSchema(t.Context(), db.Pool))
	require.Equal(t, []string{"iu_core_032 created", "iu_core_033 created", "iu_river created"}, rows(t, db, origins))
	require.Equal(t, []string{"0", "32", "33", "34", "35", "36"}, rows(t, db, versions))
	require.Len(t, rows(t, db, river), 8)
}

func TestUpTwice(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	before := dump(t, db)

	result := up(t, db)
	require.EqualValues(t, iusql.SchemaVersion, result.From)
	require.EqualValues(t, iusql.SchemaVersion, result.To)
	require.Empty(t, result.Versions)
	require.False(t, result.Functions)
	sameDump(t, before, dump(t, db))
}

// Up continues a run that was killed between any two transactions.
func TestUpContinues(t *testing.T) {
	t.Parallel()
	whole := iutest.New(t)
	script := printed(t, iutest.Empty(t))
	steps := strings.SplitAfter(script, "\nCOMMIT;\n")
	require.Len(t, steps, 15, "transactions, and what follows the last")
	for done := 1; done < len(steps); done++ {
		t.Run(lastComment(steps[done-1]), func(t *testing.T) {
			t.Parallel()
			db := iutest.Empty(t)
			require.NoError(t, run(t, db, strings.Join(steps[:done], "")))
			up(t, db)
			require.NoError(t, iusql.CheckSchema(t.Context(), db.Pool))
			sameDump(t, dump(t, whole), dump(t, db))
		})
	}
}

func lastComment(step string) string {
	return strings.TrimPrefix(regexp.MustCompile(`(?m)^-- .*\nBEGIN;$`).FindString(step), "-- ")
}

func TestUpSixAtOnce(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	results := make([]*iusql.Result, 6)
	errs := make([]error, len(results))
	var group sync.WaitGroup
	for i := range results {
		group.Go(func() { results[i], errs[i] = iusql.Up(t.Context(), config(t, db.URL)) })
	}
	group.Wait()

	migrated := 0
	for i, result := range results {
		require.NoError(t, errs[i])
		require.EqualValues(t, iusql.SchemaVersion, result.To)
		migrated += len(result.Versions)
	}
	require.Equal(t, 5, migrated, "versions over all runs")
	require.Equal(t, []string{"0", "32", "33", "34", "35", "36"}, rows(t, db, versions))
	sameDump(t, dump(t, iutest.New(t)), dump(t, db))
}

// processURL tells a process of the test binary which database to migrate.
const processURL = "TEST_MIGRATE_URL"

func TestUpProcess(t *testing.T) { //nolint:paralleltest // it runs in a process of its own
	url := os.Getenv(processURL)
	if url == "" {
		return // TestUpSixProcesses starts it with one
	}
	result, err := iusql.Up(t.Context(), config(t, url))
	require.NoError(t, err)
	_, _ = os.Stdout.WriteString(strings.Repeat("migrated a version\n", len(result.Versions)))
}

func TestUpSixProcesses(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	program, err := os.Executable()
	require.NoError(t, err)
	outputs := make([]bytes.Buffer, 6)
	processes := make([]*exec.Cmd, len(outputs))
	for i := range processes {
		processes[i] = exec.CommandContext(t.Context(), program, "-test.run=^TestUpProcess$")
		processes[i].Dir = filepath.Dir(program)
		processes[i].Env = append(os.Environ(), processURL+"="+db.URL)
		processes[i].Stdout, processes[i].Stderr = &outputs[i], &outputs[i]
		require.NoError(t, processes[i].Start())
	}
	var all strings.Builder
	for i, process := range processes {
		require.NoError(t, process.Wait(), outputs[i].String())
		all.WriteString(outputs[i].String())
	}
	require.Equal(t, 5, strings.Count(all.String(), "migrated a version"), all.String())
	require.Equal(t, []string{"0", "32", "33", "34", "35", "36"}, rows(t, db, versions))
	require.NoError(t, iusql.CheckSchema(t.Context(), db.Pool))
}
