package iutest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

var databases atomic.Int64

// DB is a test's own database, dropped when the test ends. It is safe for concurrent use.
type DB struct {
	// URL connects as the superuser.
	URL string
	// Name is the database's name.
	Name string
	// Pool holds up to 32 connections of the superuser. It closes when the test ends.
	Pool *pgxpool.Pool

	t         testing.TB
	cluster   *cluster
	anyEvents *atomic.Bool // the test edits events
}

// New creates a migrated database, as a copy of the template. Its gates are closed.
func New(t testing.TB) *DB {
	t.Helper()
	return shared.migrated(t)
}

// Empty creates an empty database.
func Empty(t testing.TB) *DB {
	t.Helper()
	return shared.database(t, "")
}

// Encoded creates an empty database in another encoding.
func Encoded(t testing.TB, encoding string) *DB {
	t.Helper()
	return shared.database(t, "template0", "ENCODING "+quote(encoding), "LOCALE 'C'")
}

// Beside creates an empty database on the same server.
func (db *DB) Beside(t testing.TB) *DB {
	t.Helper()
	return db.cluster.database(t, "")
}

func (c *cluster) migrated(t testing.TB) *DB {
	t.Helper()
	require.NoError(t, c.template(), "make the template database")
	return c.database(t, templateName)
}

func (c *cluster) database(t testing.TB, template string, options ...string) *DB {
	t.Helper()
	require.NoError(t, c.start(), "start the test server")
	name := "test_" + strconv.FormatInt(databases.Add(1), 10)
	require.NoError(t, c.create(name, template, options...), "create database %s", name)
	if c == shared { // other servers end with their test
		t.Cleanup(func() {
			if err := c.exec("DROP DATABASE IF EXISTS " + quote(name) + " WITH (FORCE)"); err != nil {
				t.Errorf("drop database %s: %v", name, err)
			}
		})
	}
	return c.open(t, name)
}

// open returns a database that exists.
func (c *cluster) open(t testing.TB, name string) *DB {
	t.Helper()
	db := &DB{URL: c.server.URL(name), Name: name, t: t, cluster: c, anyEvents: new(atomic.Bool)}
	config, err := pgxpool.ParseConfig(db.URL)
	require.NoError(t, err)
	config.MaxConns = 32
	config.ConnConfig.RuntimeParams["default_transaction_isolation"] = "read committed" // even if a test makes the database serializable
	db.Pool, err = pgxpool.NewWithConfig(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(func() {
		closed := make(chan struct{})
		go func() { db.Pool.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(10 * time.Second): // the database is dropped even if the test still has connections
			t.Errorf("the test did not release %d connections of its pool", db.Pool.Stat().AcquiredConns())
		}
	})
	t.Cleanup(db.checkEvents)
	return db
}

const versionSQL = "SELECT current_setting('server_version_num')::integer / 10000"

// Version returns the server's major version.
func (db *DB) Version(t testing.TB) (major int) {
	t.Helper()
	require.NoError(t, db.cluster.admin.QueryRow(t.Context(), versionSQL).Scan(&major)) // the database may be hostile
	return major
}

// Since skips a test of what PostgreSQL has since a major version, unless the server has it.
func (db *DB) Since(t testing.TB, major int) {
	t.Helper()
	if have := db.Version(t); have < major {
		t.Skipf("PostgreSQL has this since version %d, and the server is %d: run make test PG=%d", major, have, major)
	}
}

// URLAs returns the URL of the database for another role, which it allows to log in. The test fails if the role does not exist.
func (db *DB) URLAs(role string) string {
	db.t.Helper()
	db.cluster.roles.Lock()
	defer db.cluster.roles.Unlock()
	var canLogin bool
	err := db.cluster.admin.QueryRow(context.Background(),
		"SELECT rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = $1", role).Scan(&canLogin)
	require.NoError(db.t, err, "look up role %s", role)
	if !canLogin {
		require.NoError(db.t, db.cluster.exec("ALTER ROLE "+quote(role)+" LOGIN"))
	}
	u := db.parsed()
	u.User = url.User(role)
	return u.String()
}

// URLAt returns the URL of the database at another host and port, such as a proxy's.
func (db *DB) URLAt(host string) string {
	db.t.Helper()
	u := db.parsed()
	u.Host = host
	return u.String()
}

// Host returns the host and port at which the database's server listens.
func (db *DB) Host() string {
	db.t.Helper()
	return db.parsed().Host
}

func (db *DB) parsed() *url.URL {
	db.t.Helper()
	u, err := url.Parse(db.URL)
	require.NoError(db.t, err)
	return u
}

// Exec runs a statement as the superuser, or several if there are no args. The test fails on an error.
func (db *DB) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	_, err := db.Pool.Exec(context.WithoutCancel(t.Context()), sql, args...) // cleanup functions call Exec as well
	require.NoError(t, err, sql)
}

// Psql runs psql on the test's database as the superuser, without a psqlrc, and stops at the first error. The error contains
// psql's stderr.
func Psql(t testing.TB, db *DB, args ...string) (stdout string, err error) {
	t.Helper()
	return Program(t, "psql", append([]string{"-X", "-v", "ON_ERROR_STOP=1", "-d", db.URL}, args...)...)
}

// Program runs a program of the test server's PostgreSQL, such as pg_dump, or one from PATH. The error contains its stderr.
func Program(t testing.TB, name string, args ...string) (stdout string, err error) {
	t.Helper()
	require.NoError(t, shared.start(), "start the test server")
	path := filepath.Join(shared.server.BinDir(), name)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		path, err = exec.LookPath(name)
		require.NoError(t, err, "tests need %s: install PostgreSQL's client programs", name)
		if name == "pg_dump" {
			newEnough(t, path)
		}
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// newEnough fails a test if a program is older than the test server, with which pg_dump does not work.
func newEnough(t testing.TB, path string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), path, "--version").Output()
	require.NoError(t, err, path)
	var server int
	require.NoError(t, shared.admin.QueryRow(t.Context(), versionSQL).Scan(&server))
	var program int
	_, err = fmt.Sscanf(string(out), "pg_dump (PostgreSQL) %d", &program)
	require.NoError(t, err, "%s", out)
	require.GreaterOrEqual(t, program, server, "%s is older than the server: install the client programs of PostgreSQL %[2]d, or run make test PG=%[2]d",
		path, server)
}
