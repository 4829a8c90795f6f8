package pgserver

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestServerEndsWithAKilledProgram(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"plain", "standby"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			d, pid := killed(t, mode, openDir(t))
			eventually(t, func() bool { return !d.runs(t.Context(), pid) }, "the server outlived its program")
			require.DirExists(t, d.path, "what it had stays for the next start")
			require.NoError(t, cleanStale(t.Context(), filepath.Dir(d.path), quiet()))
			require.NoDirExists(t, d.path)
		})
	}
}
