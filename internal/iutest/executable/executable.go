// Package executable writes programs for tests.
package executable

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Write writes a program that every user may run. Meanwhile nothing in this process is forked: a child would hold the file open for
// writing until its own exec, and starting the program would fail with "text file busy" (https://go.dev/issue/22315).
func Write(t testing.TB, path, content string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o755)) //nolint:gosec // a program, and a server runs as another user
}
