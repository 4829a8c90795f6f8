package operate

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEachCheckBelongsToAGroup(t *testing.T) {
	t.Parallel()
	for _, step := range doctorSteps {
		require.Contains(t, DoctorGroups(), DoctorCheck{Check: step.check}.Group(), step.check)
	}
	require.Len(t, doctorGroups, len(doctorSteps))
}
