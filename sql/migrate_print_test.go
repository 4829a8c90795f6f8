package iusql_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

func printed(t testing.TB, db *iutest.DB) string {
	t.Helper()
	var script strings.Builder
	require.NoError(t, iusql.Print(t.Context(), config(t, db.URL), &script))
	return script.String()
}

// run runs a script as an administrator would.
func run(t testing.TB, db *iutest.DB, script string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "up.sql")
	require.NoError(t, os.WriteFile(file, []byte(script), 0o600))
	_, err := iutest.Psql(t, db, "-q", "-f", file)
	return err
}

func TestPrintChangesNothingAndIsWhatUpDoes(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	empty := dump(t, db)
	script := printed(t, db)
	sameDump(t, empty, dump(t, db))

	require.NoError(t, run(t, db, script))
	require.NoError(t, iusql.CheckSchema(t.Context(), db.Pool))
	migrated := iutest.New(t)
	sameDump(t, dump(t, migrated), dump(t, db))
	for _, query := range []string{origins, versions, river, functionsRecord} {
		require.Equal(t, rows(t, migrated, query), rows(t, db, query))
	}

	status, err := iusql.Status(t.Context(), config(t, db.URL))
	require.NoError(t, err)
	require.True(t, status.Current)
	require.Contains(t, printed(t, db), "Nothing: the database is up to date.")
	require.Empty(t, up(t, db).Versions)
}

const functionsRecord = "SELECT schema_version || min_program_version || functions_hash FROM iu_outbox.schema_info"

func TestPrintedScriptRefusesAnotherState(t *testing.T) {
	t.Parallel()
	script := printed(t, iutest.Empty(t))
	db := iutest.New(t)
	before := dump(t, db)
	require.ErrorContains(t, run(t, db, script), "this script was printed for a database with the versions {}, here are {32,33,34,35,36}: print it again")
	sameDump(t, before, dump(t, db))
}

// The script that is printed after Down leads to the same schema again.
func TestPrintAfterDown(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	before := dump(t, db)
	down(t, db, 33)
	require.NoError(t, run(t, db, printed(t, db)))
	sameDump(t, before, dump(t, db))
}

func TestPrintRefusesWhatUpRefuses(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, "CREATE SCHEMA iu_river")
	var script strings.Builder
	require.ErrorIs(t, iusql.Print(t.Context(), config(t, db.URL), &script), iusql.ErrConflict)
	require.Empty(t, script.String())
}
