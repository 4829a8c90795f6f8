package iutest

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/pgserver"
)

// Standby makes a streaming standby of a database that Own made, and returns the database as it is there. Promote makes it
// a primary.
func Standby(t testing.TB, of *DB) (db *DB, server *pgserver.Server) {
	t.Helper()
	primary := of.cluster.server
	base, err := os.MkdirTemp("", "iutest-standby-") //nolint:usetesting // the server's account must reach it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(base) }) // what is left is in the system's directory for that
	require.NoError(t, os.Chmod(base, 0o711))    //nolint:gosec // the server may be another user
	data := filepath.Join(base, "data")
	_, err = Program(t, "pg_basebackup", "-d", primary.URL("postgres"), "-D", data, "-R", "-X", "stream", "-c", "fast", "--no-sync")
	require.NoError(t, err)
	ownAs(t, data, value(t, of, "SHOW data_directory"))

	server, err = pgserver.Start(context.Background(), pgserver.Config{TCP: true, DataDir: data, Settings: settings})
	require.NoError(t, err, "start the standby")
	t.Cleanup(func() { require.NoError(t, server.Stop(), "end the standby") })
	db = &DB{URL: server.URL(of.Name), Name: of.Name, t: t, cluster: &cluster{server: server}}
	db.Pool, err = pgxpool.New(context.Background(), db.URL)
	require.NoError(t, err)
	t.Cleanup(func() { closePool(t, db.Pool) })
	db.cluster.admin = db.Pool
	db.WaitFor(t, time.Minute, "SELECT pg_is_in_recovery()")
	return db, server
}

// Promote waits until a standby has all that its primary has written, and makes it a primary.
func Promote(t testing.TB, standby, of *DB) {
	t.Helper()
	standby.WaitFor(t, time.Minute, "SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", value(t, of, "SELECT pg_current_wal_lsn()::text"))
	standby.Exec(t, "SELECT pg_promote()")
	standby.WaitFor(t, time.Minute, "SELECT NOT pg_is_in_recovery()")
}

func value(t testing.TB, db *DB, sql string) (text string) {
	t.Helper()
	require.NoError(t, db.Pool.QueryRow(t.Context(), sql).Scan(&text))
	return text
}

// ownAs gives everything under a path to the owner of another one, and returns that owner.
func ownAs(t testing.TB, path, other string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Stat(other)
	require.NoError(t, err)
	owner, ok := info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	if int(owner.Uid) != os.Geteuid() {
		require.NoError(t, filepath.WalkDir(path, func(name string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(name, int(owner.Uid), int(owner.Gid)))
		}))
	}
	return owner
}

// Host is the address at which a database's server listens.
func (db *DB) Host() string {
	db.t.Helper()
	u, err := url.Parse(db.URL)
	require.NoError(db.t, err)
	return u.Host
}

// URLAt is the URL of the same database at another host and port: those of a proxy.
func (db *DB) URLAt(host string) string {
	db.t.Helper()
	return db.changed(func(u *url.URL) { u.Host = host })
}
