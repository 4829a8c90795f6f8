package executable_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest/executable"
)

// Each test forks while the others write.
func TestProgramsRunAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 16 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			for j := range 25 {
				path := filepath.Join(dir, fmt.Sprint(i, "-", j))
				executable.Write(t, path, "#!/bin/sh\necho ran\n")
				out, err := exec.CommandContext(t.Context(), path).Output()
				require.NoError(t, err)
				require.Equal(t, "ran\n", string(out))
			}
		})
	}
}
