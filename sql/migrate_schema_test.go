package iusql_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

func TestCheckSchema(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sql   string
		want  error
		text  string
		newer bool
	}{
		"as this program makes it": {sql: "SELECT 1"},
		"a newer schema that allows this program": {
			sql:   "UPDATE iu_outbox.schema_info SET schema_version = 37, functions_hash = '0.2.0 abc', min_program_version = '0.1.0'",
			newer: true,
		},
		"newer functions": {sql: "UPDATE iu_outbox.schema_info SET functions_hash = '0.1.1 abc'", newer: true},
		"a newer schema that does not": {
			sql:   "UPDATE iu_outbox.schema_info SET schema_version = 40, functions_hash = '0.10.0 abc', min_program_version = '0.9.0'",
			want:  iusql.ErrSchemaNew,
			text:  "the schema is at version 40 and needs iuworker 0.9.0 or newer, this is 0.1.0; install a newer iuworker",
			newer: true,
		},
		"an older schema": {
			sql:  "UPDATE iu_outbox.schema_info SET schema_version = 34",
			want: iusql.ErrSchemaOld,
			text: "the schema is at version 34 and iuworker 0.1.0 needs 36; run: iuworker migrate up",
		},
		"older functions": {
			sql:  "UPDATE iu_outbox.schema_info SET functions_hash = '0.0.9 abc'",
			want: iusql.ErrSchemaOld,
			text: "the functions of iu_outbox are not those of iuworker 0.1.0; run: iuworker migrate up",
		},
		"other functions of the same version": {
			sql:  "UPDATE iu_outbox.schema_info SET functions_hash = '0.1.0 abc'",
			want: iusql.ErrSchemaOld,
			text: "run: iuworker migrate up",
		},
		"no schema": {
			sql:  "DROP SCHEMA iu_outbox CASCADE",
			want: iusql.ErrSchemaMissing,
			text: "this database has no iuworker schema; run: iuworker migrate up",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.Exec(t, test.sql)
			err := iusql.CheckSchema(t.Context(), db.Pool)
			require.ErrorIs(t, err, test.want)
			if test.want != nil {
				require.ErrorContains(t, err, test.text)
			}
			schema, err := iusql.InspectSchema(t.Context(), db.Pool)
			require.NoError(t, err)
			require.Equal(t, test.newer, schema.Newer())
		})
	}
}

// During a rolling deployment, an older program's Up changes nothing that a newer one created.
func TestUpLeavesANewerSchemaAlone(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, `
		INSERT INTO iu_migration.goose_db_version (version_id, is_applied) VALUES (37, true);
		UPDATE iu_outbox.schema_info SET schema_version = 37, functions_hash = '0.2.0 abc';
		DROP VIEW iu_outbox.template`)
	before := dump(t, db)
	result := up(t, db)
	require.Empty(t, result.Versions)
	require.False(t, result.Functions)
	require.Contains(t, printed(t, db), "Nothing")
	sameDump(t, before, dump(t, db))

	_, err := iusql.Down(t.Context(), config(t, db.URL), 32)
	require.ErrorIs(t, err, iusql.ErrSchemaNew)
	require.ErrorContains(t, err, "the database is at version 37, which iuworker 0.1.0 does not know")

	status, err := iusql.Status(t.Context(), config(t, db.URL))
	require.NoError(t, err)
	require.Equal(t, iusql.FunctionsNewer, status.Functions)
	require.Equal(t, "unknown to this program", status.Versions[5].Name)
}

func TestUpInstallsFunctionsThatChanged(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	before := dump(t, db)
	db.Exec(t, "DROP VIEW iu_outbox.template; UPDATE iu_outbox.schema_info SET functions_hash = '0.1.0 abc'")
	result := up(t, db)
	require.True(t, result.Functions)
	require.Empty(t, result.Versions)
	sameDump(t, before, dump(t, db))
}

func TestStatus(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	before := dump(t, db)
	cfg := config(t, db.URL)
	status, err := iusql.Status(t.Context(), cfg)
	require.NoError(t, err)
	require.False(t, status.Current)
	require.Equal(t, iusql.FunctionsPending, status.Functions)
	require.Len(t, status.Versions, 5)
	for _, version := range status.Versions {
		require.Equal(t, "pending", version.State)
		require.Nil(t, version.AppliedAt)
	}
	sameDump(t, before, dump(t, db))

	db.Exec(t, "ALTER DATABASE "+db.Name+" SET TimeZone = 'Asia/Tokyo'")
	up(t, db)
	status, err = iusql.Status(t.Context(), cfg)
	require.NoError(t, err)
	require.True(t, status.Current)
	require.Equal(t, iusql.FunctionsCurrent, status.Functions)
	require.Equal(t, db.Name, status.Database)
	found := ""
	for _, version := range status.Versions {
		require.Equal(t, "applied", version.State)
		found += version.Origin + ","
		var recent bool
		require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT $1::timestamptz BETWEEN now() - interval '1 hour' AND now()",
			version.AppliedAt).Scan(&recent))
		require.True(t, recent, version.AppliedAt)
	}
	require.Equal(t, "created,created,,created,,", found)
}
