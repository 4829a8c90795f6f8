package doctor_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

func TestDoctorNamesStrangersThatHoldLocksOfOurs(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Worker(t, "a")
	role := "stranger_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	db.Exec(t, "CREATE ROLE "+role+" LOGIN")
	t.Cleanup(func() { db.Exec(t, "DROP ROLE "+role) })
	conn, err := pgx.Connect(t.Context(), db.URLAs(role))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	_, err = conn.Exec(t.Context(), "SELECT pg_advisory_lock(26997, 1), pg_advisory_lock_shared(26997, 2)")
	require.NoError(t, err)

	for _, url := range []string{db.URL, db.URLAs("iu_operator"), db.URLAs("iu_worker")} {
		check := checked(t, examine(t, url), "workers")
		require.Equal(t, operate.HealthWarn, check.Result, check.Says)
		require.Contains(t, check.Says, "1 session holds advisory locks of the workers without the role iu_worker")
		require.Contains(t, check.Details[0], role)
		require.Contains(t, check.Details[0], "(26997, 1), (26997, 2)")
		require.Equal(t, fmt.Sprintf("psql -c 'SELECT pg_terminate_backend(%d)'", conn.PgConn().PID()), check.Next)
	}
}
