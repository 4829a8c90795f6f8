package iutest_test

import (
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

func TestMain(m *testing.M) { iutest.Main(m) }

func TestEmpty(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)

	var name, encoding string
	var tables int
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		SELECT current_database(), current_setting('server_encoding'),
		       (SELECT count(*) FROM pg_catalog.pg_class WHERE relnamespace = 'public'::regnamespace)`).
		Scan(&name, &encoding, &tables))
	require.Equal(t, db.Name, name)
	require.Equal(t, "UTF8", encoding)
	require.Zero(t, tables)
}

func TestDatabasesAreDropped(t *testing.T) { //nolint:tparallel // it continues after its subtest
	t.Parallel()
	keep := iutest.Empty(t)
	var gone string
	t.Run("with a session still open", func(t *testing.T) {
		db := iutest.Empty(t)
		gone = db.Name
		pool, err := pgxpool.New(t.Context(), db.URL)
		require.NoError(t, err)
		require.NoError(t, pool.Ping(t.Context()))
		t.Cleanup(pool.Close)
	})
	var exists bool
	require.NoError(t, keep.Pool.QueryRow(t.Context(),
		"SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1)", gone).Scan(&exists))
	require.False(t, exists)
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	var names sync.Map
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		for range 8 {
			t.Run("one", func(t *testing.T) {
				t.Parallel()
				db := iutest.Empty(t)
				db.Exec(t, "CREATE TABLE public.mine (id int)")
				_, taken := names.LoadOrStore(db.Name, true)
				require.False(t, taken)
			})
		}
	})
}
