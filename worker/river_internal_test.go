package worker

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// River warns each day of an index that it is to rebuild and that is not there.
func TestIndexesThatRiverRebuildsAreThere(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	rows, err := db.Pool.Query(t.Context(), "SELECT indexname::text FROM pg_indexes WHERE schemaname = 'iu_river'")
	require.NoError(t, err)
	there, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.NotEmpty(t, rebuiltIndexes())
	require.Subset(t, there, rebuiltIndexes())
}
