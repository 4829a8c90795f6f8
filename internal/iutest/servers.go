package iutest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest/executable"
	"github.com/iu-core/iuworker/internal/pgserver"
)

// Own creates a database like New, on a separate server that the test may restart or kill. Both end with the test.
func Own(t testing.TB) (*DB, *pgserver.Server) {
	t.Helper()
	db := ownCluster(t, pgserver.Config{}).migrated(t)
	return db, db.cluster.server
}

// OwnAt is like Own, but the server's clock is wrong by an offset such as "-8s" or "+1h".
func OwnAt(t testing.TB, off string) *DB {
	t.Helper()
	libraries, err := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	require.NoError(t, err)
	require.NotEmpty(t, libraries, "libfaketime is not installed: run .ci/setup tests, or install the package faketime")
	bin := pgserver.Find(t.Context())
	require.NotEmpty(t, bin, "PostgreSQL is not installed")
	dir := OpenDir(t)
	programs, err := filepath.Glob(filepath.Join(bin, "*"))
	require.NoError(t, err)
	for _, program := range programs {
		if name := filepath.Base(program); name != "postgres" {
			require.NoError(t, os.Symlink(program, filepath.Join(dir, name)))
		}
	}
	script := fmt.Sprintf("#!/bin/sh\nLD_PRELOAD=%s FAKETIME=%s FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1 exec %s \"$@\"\n",
		libraries[0], off, filepath.Join(bin, "postgres"))
	executable.Write(t, filepath.Join(dir, "postgres"), script)
	return ownCluster(t, pgserver.Config{BinDir: dir}).migrated(t)
}

// OpenDir creates a directory that the server's account can enter, unlike those of testing.TB.
func OpenDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "iutest-") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // see above
	return dir
}

// Standby creates a standby of the server of a database that Own created, and returns the database there and the server. Both end
// with the test.
func Standby(t testing.TB, of *DB, cfg pgserver.StandbyConfig) (*DB, *pgserver.Server) {
	t.Helper()
	server, err := of.cluster.server.Standby(t.Context(), cfg)
	require.NoError(t, err)
	standby := &cluster{server: server}
	t.Cleanup(func() { require.NoError(t, standby.stop(), "stop the standby") })
	standby.admin, err = pgxpool.New(context.WithoutCancel(t.Context()), server.URL("postgres"))
	require.NoError(t, err)
	require.NoError(t, server.AwaitReplay(t.Context()))
	return standby.open(t, of.Name), server
}

// Switch is an address that sends new connections to the server of the last Lead, like a DNS name or a proxy in a failover.
// Open connections stay open. The switch ends with the test.
type Switch struct {
	// Addr is the address on which it listens.
	Addr string

	target atomic.Pointer[string]
}

// NewSwitch returns a switch that sends connections to a host and port.
func NewSwitch(t testing.TB, target string) *Switch {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &Switch{Addr: listener.Addr().String()}
	s.Lead(target)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		_ = listener.Close() // there is no way to handle an error
		wg.Wait()
	})
	wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.carry(ctx, client) })
		}
	})
	return s
}

// Lead sends new connections to a host and port.
func (s *Switch) Lead(target string) { s.target.Store(&target) }

func (s *Switch) carry(ctx context.Context, client net.Conn) {
	defer client.Close() //nolint:errcheck // the connection is over
	server, err := new(net.Dialer).DialContext(ctx, "tcp", *s.target.Load())
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		context.AfterFunc(ctx, func() { _ = pair[0].Close() })
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			cancel() // ends the other direction as well
		}()
	}
	<-ctx.Done()
}
