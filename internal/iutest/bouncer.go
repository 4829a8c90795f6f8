package iutest

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Bouncer starts a PgBouncer before a database, in pool mode session or transaction, and returns the database's URL there.
// It ends with the test.
func Bouncer(t testing.TB, db *DB, mode string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // Debian's, which is on the path of root alone
	}
	dir, err := os.MkdirTemp("", "iutest-bouncer-") //nolint:usetesting // another account must reach it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	host, port, err := net.SplitHostPort(db.Host())
	require.NoError(t, err)
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	login := " user=" + u.User.Username() // auth_type any makes all logins this one
	addr := freeAddr(t)
	_, own, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	config := filepath.Join(dir, "pgbouncer.ini")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `[databases]
* = host=%s port=%s%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
auth_file =
pool_mode = %s
default_pool_size = 40
max_client_conn = 200
logfile =
pidfile =
`, host, port, login, own, mode), 0o600))
	cmd := exec.CommandContext(t.Context(), program, config)
	if os.Geteuid() == 0 { // it does not run as root
		owner := ownAs(t, dir, value(t, db, "SHOW data_directory"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	}
	output, err := os.CreateTemp(t.TempDir(), "log")
	require.NoError(t, err)
	defer func() { _ = output.Close() }()
	cmd.Stdout, cmd.Stderr = output, output
	require.NoError(t, cmd.Start(), "start pgbouncer: install it (Debian: apt-get install pgbouncer)")
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	require.Eventually(t, func() bool {
		conn, err := net.DialTimeout("tcp", addr, time.Second) //nolint:noctx // it has a timeout
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	}, time.Minute, waitPoll, "pgbouncer does not listen")
	return db.URLAt(addr)
}

func freeAddr(t testing.TB) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}
