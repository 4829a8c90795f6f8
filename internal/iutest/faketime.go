package iutest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/pgserver"
)

// OwnAt makes a database like Own's whose server's clock is off by what libfaketime understands, such as "-8s" or "+1h".
func OwnAt(t testing.TB, off string) *DB {
	t.Helper()
	libraries, err := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	require.NoError(t, err)
	require.NotEmpty(t, libraries, "libfaketime is not installed: run .ci/setup tests, or install the package faketime")
	own := newCluster(offClock(t, libraries[0], off))
	t.Cleanup(func() { require.NoError(t, own.stop(), "end the test's own server") })
	return own.migrated(t)
}

// offClock makes a directory of PostgreSQL's programs in which postgres is started with another clock.
func offClock(t testing.TB, library, off string) string {
	t.Helper()
	bin := pgserver.Find(t.Context())
	require.NotEmpty(t, bin, "PostgreSQL is not installed")
	dir, err := os.MkdirTemp("", "iutest-clock-") //nolint:usetesting // the server's user must get into it
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // the server runs as another user
	programs, err := os.ReadDir(bin)
	require.NoError(t, err)
	for _, program := range programs {
		if program.Name() != "postgres" {
			require.NoError(t, os.Symlink(filepath.Join(bin, program.Name()), filepath.Join(dir, program.Name())))
		}
	}
	script := fmt.Sprintf("#!/bin/sh\nLD_PRELOAD=%s FAKETIME=%s FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1 exec %s \"$@\"\n",
		library, off, filepath.Join(bin, "postgres"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "postgres"), []byte(script), 0o755)) //nolint:gosec // the same
	return dir
}
