package iusql_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/sql/iutest"
)

func config(t testing.TB, url string) iusql.Config {
	t.Helper()
	conn, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	return iusql.Config{ConnConfig: conn}
}

func TestUpFresh(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	require.ErrorIs(t, iusql.CheckSchema(t.Context(), db.Pool), iusql.ErrSchemaMissing)

	result, err := iusql.Up(t.Context(), config(t, db.URL))
	require.NoError(t, err)
	require.EqualValues(t, 35, result.To)
	require.NoError(t, iusql.CheckSchema(t.Context(), db.Pool))
}
