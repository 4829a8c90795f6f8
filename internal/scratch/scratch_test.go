package scratch

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

func TestMain(m *testing.M) { iutest.Main(m) }

func TestRolesThatTheRunCreatedGoWithIt(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, "CREATE ROLE iu_scratch_test_role NOLOGIN")
	server, err := pgxpool.ParseConfig(db.URL)
	require.NoError(t, err)
	d := &Database{server: server, Name: "iuworker_scratch_none", newRoles: []string{"iu_scratch_test_role"}}
	require.NoError(t, d.Drop(t.Context()))
	var exists bool
	require.NoError(t, db.Pool.QueryRow(t.Context(),
		"SELECT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = 'iu_scratch_test_role')").Scan(&exists))
	require.False(t, exists)
}

func TestCreateSaysWhatTheLoginLacks(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, `CREATE ROLE "no creator" LOGIN`)
	t.Cleanup(func() { db.Exec(t, `DROP ROLE "no creator"`) })
	server, err := pgxpool.ParseConfig(db.URLAs("no creator"))
	require.NoError(t, err)
	_, err = Create(t.Context(), Config{Server: server, Prefix: "iuworker_scratch_"})
	require.EqualError(t, err, `create the scratch database: permission denied to create database; as an administrator, run: ALTER ROLE "no creator" CREATEDB`)
}
