package doctor_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
	"github.com/iu-core/iuworker/internal/operate/operatetest"
)

func TestDoctorNamesAListenerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t) // the queue is the whole server's
	conn, err := pgx.Connect(t.Context(), db.URL)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "LISTEN much")
	require.NoError(t, err)
	pid := conn.PgConn().PID()
	hijacked, err := conn.PgConn().Hijack() // its program goes on, and reads no more
	require.NoError(t, err)
	defer func(c net.Conn) { _ = c.Close() }(hijacked.Conn)
	impatient := func(c *doctor.Config) { c.LongWait = 100 * time.Millisecond }
	var check doctor.Check
	require.Eventually(t, func() bool {
		db.Exec(t, "SELECT pg_notify('much', repeat('x', 7000) || n) FROM generate_series(1, 500) AS n")
		check = checked(t, examine(t, db.URL, impatient), "listeners")
		return check.Result == operate.HealthWarn
	}, 2*operatetest.Patience, 10*time.Millisecond)
	require.Contains(t, check.Details[0], fmt.Sprintf("pid %d, user postgres, database %s", pid, db.Name))
	require.Contains(t, check.Details[0], "has not read its notifications for")
	require.Equal(t, fmt.Sprintf("psql -c 'SELECT pg_terminate_backend(%d)'", pid), check.Next)
}
