package iutest

import (
	"context"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

const (
	poolSize     = 32
	closeTimeout = 10 * time.Second
)

var databases atomic.Int64

// DB is a test's own database, dropped when the test ends. It is safe for concurrent use.
type DB struct {
	// URL is how the superuser connects.
	URL string
	// Name is the database's name.
	Name string
	// Pool holds connections of the superuser, made on demand, 32 at most. It closes when the test ends.
	Pool *pgxpool.Pool

	t       testing.TB
	cluster *cluster
}

// Empty makes an empty database.
func Empty(t testing.TB) *DB {
	t.Helper()
	return shared.database(t, "")
}

// Encoded makes an empty database in another encoding.
func Encoded(t testing.TB, encoding string) *DB {
	t.Helper()
	return shared.database(t, "template0", "ENCODING "+quote(encoding), "LOCALE 'C'")
}

func (c *cluster) database(t testing.TB, template string, options ...string) *DB {
	t.Helper()
	require.NoError(t, c.start(), "start the test server")
	name := "test_" + strconv.FormatInt(databases.Add(1), 10)
	require.NoError(t, c.create(name, template, options...), "create database %s", name)
	if c == shared { // others end with their test
		t.Cleanup(func() {
			if err := c.drop(name); err != nil {
				t.Errorf("drop database %s: %v", name, err)
			}
		})
	}

	db := &DB{URL: c.server.URL(name), Name: name, t: t, cluster: c}
	config, err := pgxpool.ParseConfig(db.URL)
	require.NoError(t, err)
	config.MaxConns = poolSize
	db.Pool, err = pgxpool.NewWithConfig(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(func() { closePool(t, db.Pool) })
	return db
}

// Beside makes an empty database on the same server.
func (db *DB) Beside(t testing.TB) *DB {
	t.Helper()
	return db.cluster.database(t, "")
}

// closePool waits for connections that the test acquired, but not for ever: they die with the database.
func closePool(t testing.TB, pool *pgxpool.Pool) {
	closed := make(chan struct{})
	go func() { pool.Close(); close(closed) }()
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	select {
	case <-closed:
	case <-timeout.C:
		t.Errorf("the test did not release %d connections of its pool", pool.Stat().AcquiredConns())
	}
}

// URLAs is the URL of the same database for another login. A role that may not log in yet is allowed to: the test
// fails if there is no such role.
func (db *DB) URLAs(role string) string {
	db.t.Helper()
	db.cluster.roles.Lock()
	defer db.cluster.roles.Unlock()
	var canLogin bool
	err := db.cluster.admin.QueryRow(context.Background(),
		"SELECT rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = $1", role).Scan(&canLogin)
	require.NoError(db.t, err, "look for role %s", role)
	if !canLogin {
		require.NoError(db.t, db.cluster.exec("ALTER ROLE "+quote(role)+" LOGIN"))
	}
	return db.changed(func(u *url.URL) { u.User = url.User(role) })
}

// changed returns the database's URL after a change.
func (db *DB) changed(change func(*url.URL)) string {
	db.t.Helper()
	u, err := url.Parse(db.URL)
	require.NoError(db.t, err)
	change(u)
	return u.String()
}

// Exec runs a statement as superuser; the test fails if it fails. Without args it may be several statements.
func (db *DB) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	_, err := db.Pool.Exec(context.WithoutCancel(t.Context()), sql, args...) // clean-up calls it, too
	require.NoError(t, err, sql)
}
