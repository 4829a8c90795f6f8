package spelling

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	words := []string{"start", "status", "pause", "résumé"}
	for typed, meant := range map[string]string{
		"stauts": "status", "statu": "status", "pase": "pause", "resume": "résumé", "x": "", "nonsense": "", "": "",
	} {
		require.Equal(t, meant, Nearest(typed, words), typed)
	}
	require.Empty(t, Nearest("any", nil))
}
