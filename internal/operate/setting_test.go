package operate_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

// The commands know the same settings before they connect as the database has.
func TestSettingChoicesAreTheDatabases(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	settings, err := operate.Settings(t.Context(), db.Pool)
	require.NoError(t, err)
	known := operate.SettingChoices()
	require.Len(t, settings, len(known))
	for _, setting := range settings {
		require.Equal(t, known[setting.Name], setting.Choices)
		require.Equal(t, setting.Default, setting.Value)
		require.Nil(t, setting.UpdatedBy)
		require.NotEmpty(t, setting.Meaning)
	}
}
