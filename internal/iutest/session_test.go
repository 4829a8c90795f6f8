package iutest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

func TestURLAs(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, "CREATE ROLE iutest_somebody NOLOGIN")
	t.Cleanup(func() { db.Exec(t, "DROP ROLE iutest_somebody") })

	var login, name string
	require.NoError(t, connect(t, db.URLAs("iutest_somebody")).
		QueryRow(t.Context(), "SELECT session_user, current_database()").Scan(&login, &name))
	require.Equal(t, "iutest_somebody", login)
	require.Equal(t, db.Name, name)
}

// connect returns a connection that closes when the test ends.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	return conn
}

func TestPsql(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)

	out, err := iutest.Psql(t, db, "-At", "-c", "SELECT current_database()")
	require.NoError(t, err)
	require.Equal(t, db.Name, strings.TrimSpace(out))

	_, err = iutest.Psql(t, db, "-c", "SELECT no_such_column")
	require.ErrorContains(t, err, `column "no_such_column" does not exist`)

	dump, err := iutest.Program(t, "pg_dump", "--schema-only", db.URL)
	require.NoError(t, err)
	require.Contains(t, dump, "PostgreSQL database dump complete")
}

func TestWaiting(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, "CREATE TABLE public.item (id int PRIMARY KEY); INSERT INTO public.item VALUES (1)")

	holder, err := db.Pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = holder.Exec(t.Context(), "UPDATE public.item SET id = 2")
	require.NoError(t, err)
	waiting := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := db.Pool.Exec(t.Context(), "UPDATE public.item SET id = id + 1")
			waiting <- err
		}()
	}
	iutest.WaitBlocked(t, db, 2)
	require.NoError(t, holder.Commit(t.Context()))
	db.WaitFor(t, time.Minute, "SELECT id = $1 FROM public.item", 4)
	require.NoError(t, <-waiting)
	require.NoError(t, <-waiting)
}
