package pgserver

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest/executable"
)

// binaries makes a directory whose postgres is a script.
func binaries(t *testing.T, script string) string {
	t.Helper()
	dir := openDir(t)
	for _, name := range []string{"postgres", "initdb"} {
		executable.Write(t, filepath.Join(dir, name), "#!/bin/sh\n"+script+"\n")
	}
	return dir
}

func TestUsable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script, reason string
		version        int
	}{
		"oldest":      {script: "echo 'postgres (PostgreSQL) 15.0'", version: 15},
		"newest":      {script: "echo 'postgres (PostgreSQL) 18.3 (Debian 18.3-1)'", version: 18},
		"too old":     {script: "echo 'postgres (PostgreSQL) 14.2'", reason: "supported are PostgreSQL 15 to 18"},
		"too new":     {script: "echo 'postgres (PostgreSQL) 19devel'", reason: "it is postgres (PostgreSQL) 19devel"},
		"no answer":   {script: "exit 3", reason: "ask postgres for its version"},
		"no postgres": {script: "echo hello", reason: "it is hello"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			version, err := usable(t.Context(), binaries(t, test.script), nil)
			if test.reason != "" {
				require.ErrorContains(t, err, test.reason)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.version, version)
		})
	}
}

func TestUsableOnlyWhereTheAccountGets(t *testing.T) {
	t.Parallel()
	dir := binaries(t, "echo 'postgres (PostgreSQL) 15.0'")
	require.NoError(t, os.Chmod(dir, 0o700))
	_, err := usable(t.Context(), dir, &account{name: "somebody", uid: 12345, gid: 12345})
	require.ErrorContains(t, err, "is closed to user somebody")
}

func TestFind(t *testing.T) {
	t.Parallel()
	found := Find(t.Context())
	require.NotEmpty(t, found, "the tests need an installed PostgreSQL")
	require.FileExists(t, filepath.Join(found, "initdb"))
}

func TestMissing(t *testing.T) {
	t.Parallel()
	refused := errors.New("connection refused")
	err := missing(nil, refused)
	require.ErrorIs(t, err, refused)
	require.Regexp(t, `^no PostgreSQL found and none could be downloaded: .+, or give the URL of a database \(connection refused\)$`,
		err.Error())
	require.ErrorContains(t, missing([]error{errors.New("/opt/bin: it is too old")}, refused),
		"no usable PostgreSQL found (/opt/bin: it is too old) and none could be downloaded")
}
