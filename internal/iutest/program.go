package iutest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Psql runs psql on the test's database as superuser, without a psqlrc and ending at the first error. The error has
// what psql wrote to stderr.
func Psql(t testing.TB, db *DB, args ...string) (stdout string, err error) {
	t.Helper()
	return Program(t, "psql", append([]string{"-X", "-v", "ON_ERROR_STOP=1", "-d", db.URL}, args...)...)
}

// Program runs a program of the test server's PostgreSQL, such as pg_dump, found beside the server or on PATH. The
// error has what it wrote to stderr.
func Program(t testing.TB, name string, args ...string) (stdout string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), programPath(t, name), args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

func programPath(t testing.TB, name string) string {
	t.Helper()
	require.NoError(t, shared.start(), "start the test server")
	beside := filepath.Join(shared.server.BinDir(), name)
	if _, err := os.Stat(beside); !errors.Is(err, os.ErrNotExist) {
		return beside
	}
	path, err := exec.LookPath(name)
	require.NoError(t, err, "tests need %s: install PostgreSQL's client programs", name)
	return path
}
