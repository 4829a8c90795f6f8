package doctor

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// The doctor checks every trigger of the schema.
func TestExpectedTriggersAreAll(t *testing.T) {
	t.Parallel()
	rows, err := iutest.New(t).Pool.Query(t.Context(), `
		SELECT t.tgrelid::regclass::text || ': ' || t.tgname
		FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid
		WHERE p.pronamespace = 'iu_outbox'::regnamespace`)
	require.NoError(t, err)
	there, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	expected := make([]string, 0, len(expectedTriggers))
	for _, name := range expectedTriggers {
		expected = append(expected, strings.TrimPrefix(name, "public."))
	}
	require.ElementsMatch(t, expected, there)
}
