package scratch

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

const patience = 90 * time.Second

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

// A login that may end no process but its own sessions drops a database that autovacuum works in.
func TestDropBesideAutovacuum(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	db.Exec(t, "ALTER SYSTEM SET autovacuum_naptime = '1s'")
	db.Exec(t, "SELECT pg_reload_conf()")
	db.Exec(t, "CREATE ROLE plain LOGIN CREATEDB")
	server, err := pgxpool.ParseConfig(db.URLAs("plain"))
	require.NoError(t, err)
	on := On(server, "iuworker_scratch_00000001")
	for _, drop := range []func() error{
		func() error { return on.Drop(t.Context()) },
		func() error {
			left, err := Sweep(t.Context(), server, "iuworker_scratch_", slog.New(slog.DiscardHandler))
			require.Empty(t, left)
			return err
		},
	} {
		require.NoError(t, on.onServer(t.Context(), func(conn *pgx.Conn) error {
			_, err := conn.Exec(t.Context(), "CREATE DATABASE "+on.Name)
			return err
		}))
		session, err := pgx.ConnectConfig(t.Context(), on.Config(1).ConnConfig)
		require.NoError(t, err)
		t.Cleanup(func() { _ = session.Close(context.WithoutCancel(t.Context())) })
		_, err = session.Exec(t.Context(), `
			CREATE TABLE large WITH (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1) AS
			SELECT pg_catalog.repeat('x', 300) FROM pg_catalog.generate_series(1, 50000);
			DELETE FROM large`)
		require.NoError(t, err)
		db.WaitFor(t, patience, `SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS a
			WHERE a.datname = $1 AND a.backend_type = 'autovacuum worker')`, on.Name)
		require.NoError(t, drop())
		db.WaitFor(t, patience, "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_database AS d WHERE d.datname = $1)", on.Name)
	}
}
