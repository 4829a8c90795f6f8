package doctor

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEachCheckBelongsToAGroup(t *testing.T) {
	t.Parallel()
	for _, check := range checks {
		require.Contains(t, Groups(), Check{Name: check.name}.Group(), check.name)
	}
}
