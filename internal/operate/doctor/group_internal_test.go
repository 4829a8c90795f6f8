package doctor

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEachCheckBelongsToAGroup(t *testing.T) {
	t.Parallel()
	for _, step := range checks {
		require.Contains(t, Groups(), Check{Check: step.check}.Group(), step.check)
	}
	require.Len(t, groups, len(checks))
}
